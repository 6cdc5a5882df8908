//! Runs one session: does what `session` says, on a task of its own, with a second one that writes frames. However
//! it ends, even by a panic, the connection is closed, the camera's viewer count falls, and the registry hears of it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Outbox, Signaling,
    rtc::{Answered, Connection, FrameWriter, RtcError, RtcEvent, RtcSettings},
    servers::Server,
    session::{Input, Output, Phase, Playing, Session, Timings},
    tally::End,
};
use crate::{
    clock,
    encode::FrameKind,
    pipeline::{self, CameraHandle, Subscription},
    signal::{
        message::{ByeReason, Notice, NoticeCode, Offer, ToDevice, ToViewer},
        topic::SessionId,
    },
    tasks,
};

/// For each request to the WebRTC stack; all take milliseconds. Without a limit a session could wait for ever, deaf to
/// its own end.
const STACK_TIMEOUT: Duration = Duration::from_secs(3);

/// What a session task needs.
#[derive(Debug)]
pub struct Context {
    pub session: SessionId,
    /// Tells viewers' estimates apart; never used twice.
    pub number: u64,
    pub camera: CameraHandle,
    pub rtc: Arc<RtcSettings>,
    pub servers: watch::Receiver<Vec<Server>>,
    pub timings: Timings,
    pub signaling: Signaling,
    pub out: Outbox,
    /// How far the session is.
    pub phase: watch::Sender<Phase>,
}

/// What others want of a session.
#[derive(Debug)]
pub enum Command {
    Message(ToDevice),
    End(ByeReason),
}

/// Runs the session to its end.
pub async fn run(context: Context, offer: Offer, mut commands: mpsc::Receiver<Command>) {
    // Before anything else, so that the camera opens while the viewer connects.
    let watching = Watching::new(&context);
    let mut session = Session::new(clock::now(), context.timings, offer);
    let (mut camera_state, mut notices) = (context.camera.state(), context.camera.notice());
    let was = camera_state.borrow_and_update().clone();
    let mut outputs = session.handle(clock::now(), Input::Notice(notices.borrow_and_update().clone()));
    outputs.extend(session.handle(clock::now(), Input::CameraWas(was)));
    let mut link =
        Link { context, watching, connection: None, events: None, writer: None, player: None, left: None };
    link.carry_out(&mut session, outputs).await;
    while !session.is_over() {
        let deadline = session.timeout();
        let input = tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Message(message)) => of_message(message),
                Some(Command::End(reason)) => Input::End(reason),
                None => Input::End(ByeReason::Shutdown),
            },
            event = next_event(&mut link.events) => Input::Rtc(event),
            stopped = stopped(&mut link.player) => match stopped {
                Stopped::CameraEnded => Input::CameraEnded,
                Stopped::ConnectionLost => Input::ConnectionLost,
            },
            changed = camera_state.changed() => match changed {
                Ok(()) => Input::Camera(camera_state.borrow_and_update().clone()),
                Err(_) => Input::CameraEnded,
            },
            changed = notices.changed() => match changed {
                Ok(()) => Input::Notice(notices.borrow_and_update().clone()),
                Err(_) => Input::CameraEnded,
            },
            () = clock::sleep_until(deadline) => {
                let outputs = session.handle_timeout(clock::now());
                link.carry_out(&mut session, outputs).await;
                continue;
            }
        };
        if matches!(input, Input::Bye) {
            link.left = Some(End::Left);
        }
        let outputs = session.handle(clock::now(), input);
        link.carry_out(&mut session, outputs).await;
    }
    link.close().await;
}

fn of_message(message: ToDevice) -> Input {
    match message {
        ToDevice::Offer(offer) => Input::Offer(offer),
        ToDevice::Candidate(candidate) => Input::Candidate(candidate),
        ToDevice::Bye { .. } => Input::Bye,
        // Answered before it comes here.
        ToDevice::Hello => Input::Candidate(None),
    }
}

fn to_viewer(camera: String, notice: Option<pipeline::Notice>) -> Notice {
    let Some(pipeline::Notice { code, message }) = notice else {
        return Notice { camera, code: NoticeCode::Ok, message: String::new() };
    };
    let code = match code {
        pipeline::NoticeCode::Slate => NoticeCode::Slate,
        pipeline::NoticeCode::Slowed => NoticeCode::Slowed,
        pipeline::NoticeCode::Hot => NoticeCode::Hot,
    };
    Notice { camera, code, message }
}

async fn next_event(events: &mut Option<mpsc::Receiver<RtcEvent>>) -> RtcEvent {
    let Some(receiver) = events else { return std::future::pending().await };
    match receiver.recv().await {
        Some(event) => event,
        None => {
            *events = None;
            RtcEvent::Closed
        }
    }
}

async fn stopped(player: &mut Option<Player>) -> Stopped {
    let Some(running) = player else { return std::future::pending().await };
    let stopped = (&mut running.task).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the task that writes a viewer's frames failed");
        Stopped::ConnectionLost
    });
    *player = None;
    stopped
}

/// What a session holds.
#[derive(Debug)]
struct Link {
    context: Context,
    watching: Watching,
    connection: Option<Connection>,
    events: Option<mpsc::Receiver<RtcEvent>>,
    /// Until the player has it.
    writer: Option<FrameWriter>,
    player: Option<Player>,
    /// That the viewer itself ended the session.
    left: Option<End>,
}

#[derive(Debug)]
struct Player {
    playing: watch::Sender<Playing>,
    task: AbortOnDropHandle<Stopped>,
}

impl Link {
    async fn carry_out(&mut self, session: &mut Session, outputs: Vec<Output>) {
        let mut outputs = std::collections::VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            if let Some(input) = self.do_one(output).await {
                outputs.extend(session.handle(clock::now(), input));
            }
        }
        // Its end is reported by the end of the task.
        if !session.is_over() {
            self.context.phase.send_if_modified(|phase| {
                let changed = *phase != session.phase();
                *phase = session.phase();
                changed
            });
        }
    }

    async fn do_one(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Answer { sdp, profile_level } => {
                return Some(Input::Answered(in_time(self.answer(&sdp, profile_level)).await));
            }
            Output::Renegotiate { sdp } => {
                let answer = match &self.connection {
                    Some(connection) => in_time(connection.renegotiate(&sdp)).await,
                    None => Err(RtcError::Internal("there is no connection".to_owned())),
                };
                return Some(Input::Answered(answer));
            }
            Output::AddCandidate(candidate) => {
                if let Some(connection) = &self.connection
                    && let Err(error) = in_time(connection.add_candidate(&candidate)).await
                {
                    tracing::debug!(%error, "a viewer's candidate was passed over");
                }
            }
            Output::Reply(message) => self.context.out.reply(self.context.session, message),
            Output::Notify(notice) => {
                let camera = self.context.camera.settings().id.clone();
                let message = ToViewer::Notice(to_viewer(camera, notice));
                self.context.out.reply(self.context.session, message);
            }
            Output::Finish(message) => {
                let end = self.left.unwrap_or_else(|| End::told(&message));
                self.context.out.end(self.context.session, message, end);
            }
            Output::Play(playing) => {
                self.start_player();
                if let Some(player) = &self.player {
                    player.playing.send_replace(playing);
                }
            }
            Output::RequestKeyFrame => self.context.camera.request_key_frame(),
            Output::Estimate { bits_per_second } => {
                self.context.camera.report_estimate(self.context.number, bits_per_second);
            }
        }
        None
    }

    async fn answer(&mut self, offer: &str, profile_level: [u8; 3]) -> Result<String, RtcError> {
        let servers = self.context.servers.borrow().clone();
        let signaling = self.context.signaling;
        let answered =
            Connection::answer(&self.context.rtc, &servers, offer, profile_level, signaling).await?;
        let Answered { connection, writer, sdp, events } = answered;
        self.connection = Some(connection);
        self.events = Some(events);
        self.writer = Some(writer);
        match signaling {
            Signaling::Live => self.start_player(),
            // Nobody watches while the answer is carried: the camera opens again for who connects.
            Signaling::ByHand { .. } => self.watching.subscription = None,
        }
        Ok(sdp)
    }

    /// Once, with the connection's writer.
    fn start_player(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let camera = &self.watching.camera;
        let mut subscription = self.watching.subscription.take().unwrap_or_else(|| camera.subscribe());
        if !writer.viewer_turns() {
            subscription.does_not_turn();
        }
        let (playing, is_playing) = watch::channel(Playing::Paused);
        let task = tasks::spawn("viewer", play(subscription, writer, is_playing));
        self.player = Some(Player { playing, task: AbortOnDropHandle::new(task) });
    }

    async fn close(mut self) {
        self.player = None;
        if let Some(connection) = self.connection.take() {
            let (guard, events_lost) = connection.counts();
            tracing::debug!(?guard, events_lost, "the viewer's connection closes");
            if timeout(STACK_TIMEOUT, connection.close()).await.is_err() {
                tracing::warn!("a viewer's connection did not close in time; it is left behind");
            }
        }
    }
}

async fn in_time<T>(request: impl Future<Output = Result<T, RtcError>>) -> Result<T, RtcError> {
    timeout(STACK_TIMEOUT, request)
        .await
        .unwrap_or_else(|_| Err(RtcError::Internal("it did not answer in time".to_owned())))
}

/// Counts as a viewer of the camera while it lives.
#[derive(Debug)]
struct Watching {
    camera: CameraHandle,
    number: u64,
    /// Until the player has it.
    subscription: Option<Subscription>,
}

impl Watching {
    fn new(context: &Context) -> Self {
        let camera = context.camera.clone();
        let subscription = Some(camera.subscribe());
        Self { camera, number: context.number, subscription }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.camera.forget_viewer(self.number);
    }
}

/// Why frames are no longer written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    CameraEnded,
    ConnectionLost,
}

/// Writes the camera's frames to one viewer, at its own pace: when it falls behind, the hub's cursor jumps to a
/// key frame.
async fn play(
    mut subscription: Subscription,
    mut writer: FrameWriter,
    mut playing: watch::Receiver<Playing>,
) -> Stopped {
    let mut wants_key = true;
    loop {
        if *playing.borrow_and_update() == Playing::Paused {
            // The cursor rests meanwhile: a viewer that connects soon after the camera opened begins with the
            // camera's first key frame, which the hub keeps for a moment, and waits for no other.
            wants_key = true;
            if playing.changed().await.is_err() {
                return Stopped::ConnectionLost;
            }
            continue;
        }
        let received = tokio::select! {
            biased;
            changed = playing.changed() => match changed {
                Ok(()) => {
                    // Each pause and resumption begins with a key frame, also one that passed in between.
                    wants_key = true;
                    continue;
                }
                Err(_) => return Stopped::ConnectionLost,
            },
            received = subscription.next() => match received {
                Some(received) => received,
                None => return Stopped::CameraEnded,
            },
        };
        if wants_key && received.frame.kind != FrameKind::Key {
            continue;
        }
        if received.lost > 0 {
            tracing::debug!(lost = received.lost, "a viewer fell behind and goes on at a key frame");
        }
        wants_key = false;
        if let Err(error) = writer.write(&received.frame).await {
            tracing::debug!(%error, "a viewer's frames can no longer be written");
            return Stopped::ConnectionLost;
        }
        subscription.sent(&received.frame);
    }
}
