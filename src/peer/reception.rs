//! The task that all viewers' messages pass through: asks the `registry`, starts session tasks, hands messages on
//! to them, and clears up after them. Never waits for a session or for the signaling.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;

use super::{
    Inbound, Outbox, PeerSettings, Posted, Signaling,
    ice::{IceServers, Lease},
    registry::{Decision, Fate, Place, Registry, Viewer},
    servers::{self, Server},
    session::Phase,
    session_task::{self, Command, Context},
    tally::End,
};
use crate::{
    clock,
    pipeline::CameraHandle,
    signal::{
        message::{ByeReason, CameraInfo, ErrorCode, Limits, Offer, Role, ToDevice, ToViewer, Welcome},
        topic::{KeyId, SessionId},
    },
    tasks,
};

/// Messages that wait for one session; a viewer that sends faster loses them.
const SESSION_QUEUE: usize = 64;
/// The agent itself, among viewers' keys, to TURN servers.
const OWN_LABEL: &str = "pinhole";
/// Names are resolved no more often than this, however short credentials live.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
/// How long sessions have to say good-bye.
const STOP_TIMEOUT: Duration = Duration::from_millis(900);

/// Keys whose sessions shall end. A set, not a queue: a revocation is never lost.
#[derive(Debug, Default)]
pub struct Revocations {
    /// Held for an insertion or a swap.
    keys: Mutex<BTreeSet<KeyId>>,
    added: Notify,
}

impl Revocations {
    pub fn add(&self, key: KeyId) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.added.notify_one();
    }

    async fn next(&self) -> BTreeSet<KeyId> {
        loop {
            let keys = std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
            if !keys.is_empty() {
                return keys;
            }
            self.added.notified().await;
        }
    }
}

/// See the module.
pub struct Reception {
    settings: PeerSettings,
    rtc: Arc<super::rtc::RtcSettings>,
    cameras: Vec<CameraHandle>,
    registry: Registry,
    sessions: BTreeMap<SessionId, Running>,
    /// Resolves when a session's task has ended, in whatever way.
    ended: FuturesUnordered<BoxFuture<'static, (SessionId, Result<(), tokio::task::JoinError>)>>,
    phases: FuturesUnordered<BoxFuture<'static, PhaseChange>>,
    servers: watch::Receiver<Vec<Server>>,
    /// Keeps them fresh.
    resolver: Option<AbortOnDropHandle<()>>,
    out: Outbox,
    viewers: watch::Sender<Vec<Viewer>>,
    /// The next session's number.
    number: u64,
}

type PhaseChange = (SessionId, Option<watch::Receiver<Phase>>);

struct Running {
    commands: mpsc::Sender<Command>,
    abort: tokio::task::AbortHandle,
    /// Whether its viewer ever was.
    connected: bool,
    span: tracing::Span,
}

impl Reception {
    pub fn new(
        settings: PeerSettings,
        cameras: Vec<CameraHandle>,
        out: Outbox,
        viewers: watch::Sender<Vec<Viewer>>,
    ) -> Self {
        let ids = cameras.iter().map(|camera| camera.settings().id.clone()).collect();
        let registry = Registry::new(settings.max_viewers, ids);
        Self {
            rtc: Arc::new(settings.rtc.clone()),
            settings,
            cameras,
            registry,
            sessions: BTreeMap::new(),
            ended: FuturesUnordered::new(),
            phases: FuturesUnordered::new(),
            servers: watch::channel(Vec::new()).1,
            resolver: None,
            out,
            viewers,
            number: 0,
        }
    }

    /// Runs until `stop`, and then until all sessions have said good-bye.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Posted>,
        revocations: Arc<Revocations>,
        mut tuned: watch::Receiver<PeerSettings>,
        stop: CancellationToken,
    ) {
        self.start_resolver();
        let mut privacy = self.settings.privacy.clone();
        privacy.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = privacy.changed() => {
                    let state = *privacy.borrow_and_update();
                    for session in self.registry.set_privacy(state) {
                        self.command(session, Command::End(ByeReason::Privacy));
                    }
                }
                Ok(()) = tuned.changed() => {
                    let settings = tuned.borrow_and_update().clone();
                    self.tune(settings);
                }
                keys = revocations.next() => self.revoke(&keys),
                Some((session, result)) = self.ended.next() => self.clear_up(session, result),
                Some(change) = self.phases.next() => self.note_phase(change),
                inbound = inbox.recv() => match inbound {
                    Some(posted) => self.receive(posted),
                    None => break,
                },
            }
            self.publish();
        }
        self.stop().await;
    }

    fn start_resolver(&mut self) {
        let (servers, resolved) = watch::channel(Vec::new());
        self.servers = resolved;
        let resolver = resolve_servers(self.settings.ice.clone(), servers);
        self.resolver = Some(AbortOnDropHandle::new(tasks::spawn("ice-servers", resolver)));
    }

    fn tune(&mut self, settings: PeerSettings) {
        let other_servers = !settings.ice.is_same(&self.settings.ice);
        self.registry.set_max_viewers(settings.max_viewers);
        self.settings = settings;
        if other_servers {
            self.start_resolver();
        }
    }

    fn receive(&mut self, Posted { inbound, signaling }: Posted) {
        let Inbound { session, viewer, role, message } = inbound;
        match self.registry.decide(clock::now(), session, viewer, role, &message, signaling) {
            Decision::Welcome => self.out.reply(session, ToViewer::Welcome(self.welcome(viewer, role))),
            Decision::Start { camera, replaced } => {
                for old in replaced {
                    self.command(old, Command::End(ByeReason::Replaced));
                }
                if let ToDevice::Offer(offer) = message {
                    self.start(session, viewer, camera, offer, signaling);
                }
            }
            Decision::Forward => self.command(session, Command::Message(message)),
            Decision::Refuse { code, message, session: fate } => {
                tracing::debug!(%viewer, ?code, message, "a viewer's message was refused");
                self.out.tally.refused(code);
                let error = ToViewer::Error { code, message };
                match fate {
                    Fate::Continues => self.out.reply(session, error),
                    Fate::Over => self.out.finish(session, error),
                }
            }
            Decision::Ignore => {}
        }
    }

    fn welcome(&self, viewer: KeyId, role: Role) -> Welcome {
        // A key's id says nothing about whose it is, and the broker sees it too.
        let lease = self.settings.ice.lease(clock::now(), clock::since_epoch(), &viewer.to_string());
        let camera = |camera: &CameraHandle| {
            let settings = camera.settings();
            CameraInfo {
                id: settings.id.clone(),
                name: camera.name(),
                width: settings.wish.width,
                height: settings.wish.height,
                fps: settings.wish.rate.per_second().round() as u32,
                audio: false,
            }
        };
        Welcome {
            name: self.settings.device_name.clone(),
            role,
            cameras: self.cameras.iter().map(camera).collect(),
            ice_servers: lease.servers,
            ice_expires_s: u32::try_from(lease.life.as_secs()).unwrap_or(u32::MAX),
            limits: Limits { viewers: u32::try_from(self.settings.max_viewers).unwrap_or(u32::MAX) },
        }
    }

    fn start(
        &mut self,
        session: SessionId,
        viewer: KeyId,
        camera: usize,
        offer: Offer,
        signaling: Signaling,
    ) {
        let (commands, queue) = mpsc::channel(SESSION_QUEUE);
        let (phase, phases) = watch::channel(Phase::Unfinished);
        let camera = self.cameras[camera].clone();
        let span = tracing::info_span!("session", %viewer, camera = camera.settings().id);
        self.number += 1;
        let context = Context {
            session,
            number: self.number,
            camera,
            rtc: Arc::clone(&self.rtc),
            servers: self.servers.clone(),
            timings: self.settings.timings.with(signaling),
            signaling,
            out: self.out.clone(),
            phase,
        };
        let task = tasks::spawn("session", session_task::run(context, offer, queue).instrument(span.clone()));
        let running = Running { commands, abort: task.abort_handle(), connected: false, span };
        self.out.tally.begun();
        self.sessions.insert(session, running);
        self.ended.push(Box::pin(async move { (session, task.await) }));
        self.phases.push(Box::pin(next_phase(session, phases)));
    }

    fn command(&self, session: SessionId, command: Command) {
        let Some(running) = self.sessions.get(&session) else { return };
        let ends = matches!(command, Command::End(_));
        if running.commands.try_send(command).is_err() {
            tracing::debug!(%session, "a session's queue is full: a message is dropped");
            if ends {
                // It shall end in any case; its end is noticed as that of any task.
                running.abort.abort();
            }
        }
    }

    fn revoke(&mut self, keys: &BTreeSet<KeyId>) {
        for key in keys {
            for session in self.registry.revoke(*key) {
                self.command(session, Command::End(ByeReason::Revoked));
            }
        }
    }

    fn clear_up(&mut self, session: SessionId, result: Result<(), tokio::task::JoinError>) {
        let ended = self.sessions.remove(&session);
        self.registry.finished(session);
        if let Some(Running { span, .. }) = ended {
            span.in_scope(|| tracing::info!("the viewer has left"));
        }
        let Err(error) = result else { return };
        if error.is_panic() {
            tracing::error!(%error, "a session failed; the others go on");
        }
        let message = "the session failed on the device; try again".to_owned();
        self.out.end(session, ToViewer::Error { code: ErrorCode::Internal, message }, End::Failed);
    }

    fn note_phase(&mut self, (session, phases): PhaseChange) {
        let Some(mut phases) = phases else { return };
        let phase = *phases.borrow_and_update();
        if self.registry.report(session, phase) == Place::Taken {
            tracing::info!(%session, "a viewer that was answered by hand connects too late: all places are taken");
            self.command(session, Command::End(ByeReason::Replaced));
        }
        if let Some(Running { connected, span, .. }) = self.sessions.get_mut(&session) {
            if phase == Phase::Connected && !std::mem::replace(connected, true) {
                self.out.tally.connected();
            }
            span.in_scope(|| match phase {
                Phase::Unfinished => {}
                Phase::Connected => tracing::info!("the viewer is connected"),
                Phase::Lost => tracing::info!("nothing is heard of the viewer; it may come back"),
            });
        }
        self.phases.push(Box::pin(next_phase(session, phases)));
    }

    fn publish(&self) {
        let now = self.registry.viewers();
        self.viewers.send_if_modified(|shown| {
            let changed = *shown != now;
            *shown = now;
            changed
        });
    }

    async fn stop(mut self) {
        for running in self.sessions.values() {
            if running.commands.try_send(Command::End(ByeReason::Shutdown)).is_err() {
                running.abort.abort();
            }
        }
        let all_ended = async { while self.ended.next().await.is_some() {} };
        tokio::select! {
            biased;
            () = all_ended => {}
            () = clock::sleep(STOP_TIMEOUT) => {
                for running in self.sessions.values() {
                    running.abort.abort();
                }
            }
        }
        self.viewers.send_replace(Vec::new());
    }
}

impl std::fmt::Debug for Reception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reception").field("registry", &self.registry).finish_non_exhaustive()
    }
}

async fn next_phase(session: SessionId, mut phases: watch::Receiver<Phase>) -> PhaseChange {
    let changed = phases.changed().await;
    (session, changed.is_ok().then_some(phases))
}

/// Keeps the agent's own servers, their addresses and its credentials for them fresh: a session that begins has at
/// least half of the credentials' life before it.
async fn resolve_servers(mut ice: IceServers, resolved: watch::Sender<Vec<Server>>) {
    if ice.is_empty() {
        return;
    }
    loop {
        let mut seen = ice.seen();
        let Lease { servers, life } = ice.lease(clock::now(), clock::since_epoch(), OWN_LABEL);
        let (servers, complete) = servers::resolve(&servers).await;
        resolved.send_replace(servers);
        let wait = if complete { servers::REFRESH } else { servers::RETRY };
        tokio::select! {
            biased;
            () = ice.changed(&mut seen) => {}
            () = clock::sleep(wait.min(life / 2).max(SHORTEST_REFRESH)) => {}
        }
    }
}
