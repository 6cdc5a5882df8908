//! Viewers: one WebRTC connection and one session each. Everything a viewer asks comes in by [`Peers::deliver`] and
//! is answered by a [`ToSession`]. `rtc`, with the files below it and `guard`, is the only one that names the WebRTC
//! crate; `guard` cures two faults of it at the socket. Not here: how envelopes travel (`signal`), and where frames
//! come from (`pipeline`, `hub`).
//!
//! Tasks: one for all messages (`reception`), two for each session (`session_task`), and those of the WebRTC crate.

pub mod addresses;
pub mod codec;
pub mod guard;
pub mod ice;
pub mod reception;
pub mod registry;
pub mod rtc;
pub mod sdp;
pub mod servers;
pub mod session;
pub mod session_task;
pub mod tally;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::{
    ice::IceServers,
    reception::{Reception, Revocations},
    registry::Viewer,
    rtc::RtcSettings,
    session::Timings,
    tally::{End, SessionCounts, Tally},
};
use crate::{
    config::Switch,
    pipeline::CameraHandle,
    signal::{
        message::{Role, ToDevice, ToViewer},
        topic::{KeyId, SessionId},
    },
    tasks,
};

/// Messages that wait for the reception; when it is full they are refused.
const INBOX: usize = 256;

/// What the part for viewers needs to know.
#[derive(Debug, Clone)]
pub struct PeerSettings {
    pub rtc: RtcSettings,
    /// Sessions at once, all viewers together.
    pub max_viewers: usize,
    /// What people call this device.
    pub device_name: String,
    /// STUN and TURN servers, for viewers and for the agent.
    pub ice: IceServers,
    pub timings: Timings,
    /// While it is on, nobody is let in.
    pub privacy: watch::Receiver<Switch>,
}

/// A message from a viewer, already authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    pub session: SessionId,
    pub viewer: KeyId,
    pub role: Role,
    pub message: ToDevice,
}

/// How a session's messages travel, as far as its connection must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signaling {
    /// At once, and candidates one by one.
    Live,
    /// People carry one offer and one answer, both whole; the viewer connects within `wait`, or not at all.
    ByHand { wait: Duration },
}

/// What waits for the reception.
#[derive(Debug)]
pub struct Posted {
    inbound: Inbound,
    signaling: Signaling,
}

/// A message to a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSession {
    pub session: SessionId,
    pub message: ToViewer,
    pub last: Last,
}

/// Whether a message is the last of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    No,
    /// The session is over: nothing will be taken in it any more.
    Yes,
}

/// The message was refused: too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many messages wait for the sessions")]
pub struct Full;

/// The viewers' part, running.
#[derive(Debug)]
pub struct Peers {
    inbox: mpsc::Sender<Posted>,
    revocations: Arc<Revocations>,
    viewers: watch::Receiver<Vec<Viewer>>,
    tally: Arc<Tally>,
    tuner: Tuner,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts it. `out` takes the answers; when it is full they are lost, and counted, as on any network, but for the
/// last of each session.
pub fn start(settings: PeerSettings, cameras: Vec<CameraHandle>, out: mpsc::Sender<ToSession>) -> Peers {
    let (inbox, messages) = mpsc::channel(INBOX);
    let (viewers, shown) = watch::channel(Vec::new());
    let revocations = Arc::new(Revocations::default());
    let stop = CancellationToken::new();
    let outbox = Outbox::new(out);
    let tally = Arc::clone(&outbox.tally);
    let (tuner, tuned) = watch::channel(settings.clone());
    let reception = Reception::new(settings, cameras, outbox, viewers);
    let task = tasks::spawn("peers", reception.run(messages, Arc::clone(&revocations), tuned, stop.clone()));
    Peers { inbox, revocations, viewers: shown, tally, tuner: Tuner(tuner), stop, task }
}

/// Changes settings of the running part. Sessions that are there go on as they began.
#[derive(Debug, Clone)]
pub struct Tuner(watch::Sender<PeerSettings>);

impl Tuner {
    /// So many viewers at once. Of those who are there, nobody has to go.
    pub fn set_max_viewers(&self, max: usize) {
        self.0.send_modify(|settings| settings.max_viewers = max);
    }

    /// What people call this device.
    pub fn set_name(&self, name: String) {
        self.0.send_modify(|settings| settings.device_name = name);
    }

    /// Other STUN and TURN servers, for who comes from now on.
    pub fn set_ice(&self, ice: IceServers) {
        self.0.send_modify(|settings| settings.ice = ice);
    }
}

impl Peers {
    /// Hands a viewer's message in. Never waits.
    ///
    /// # Errors
    /// [`Full`]: the message was not taken.
    pub fn deliver(&self, inbound: Inbound) -> Result<(), Full> {
        self.post(inbound, Signaling::Live)
    }

    /// The same for what its owner has carried in; the viewer may take `wait` to connect.
    ///
    /// # Errors
    /// [`Full`]: the message was not taken.
    pub fn deliver_by_hand(&self, inbound: Inbound, wait: Duration) -> Result<(), Full> {
        self.post(inbound, Signaling::ByHand { wait })
    }

    fn post(&self, inbound: Inbound, signaling: Signaling) -> Result<(), Full> {
        self.inbox.try_send(Posted { inbound, signaling }).map_err(|_| Full)
    }

    /// Ends all sessions of a viewer whose key was removed.
    pub fn revoke(&self, viewer: KeyId) {
        self.revocations.add(viewer);
    }

    /// Who is there, as it changes.
    pub fn viewers(&self) -> watch::Receiver<Vec<Viewer>> {
        self.viewers.clone()
    }

    /// What changes its settings while it runs.
    pub fn tuner(&self) -> Tuner {
        self.tuner.clone()
    }

    /// What was counted so far.
    pub fn counts(&self) -> SessionCounts {
        self.tally.read()
    }

    /// Ends the task as a fault in it would.
    #[cfg(test)]
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    /// Says good-bye to all and ends, within a second.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the viewers' task failed");
        }
    }
}

/// Where answers go. Nobody waits here.
#[derive(Debug, Clone)]
pub struct Outbox {
    out: mpsc::Sender<ToSession>,
    tally: Arc<Tally>,
}

impl Outbox {
    fn new(out: mpsc::Sender<ToSession>) -> Self {
        Self { out, tally: Arc::default() }
    }

    /// A message in a session that goes on.
    pub fn reply(&self, session: SessionId, message: ToViewer) {
        self.send(ToSession { session, message, last: Last::No });
    }

    /// The last message of a session. It is never lost, for it also frees what the signaling keeps for the session:
    /// where there is no room it waits for some. No more can wait than sessions and messages that were let in.
    pub fn finish(&self, session: SessionId, message: ToViewer) {
        let message = ToSession { session, message, last: Last::Yes };
        if let Err(mpsc::error::TrySendError::Full(message)) = self.out.try_send(message) {
            let out = self.out.clone();
            tasks::spawn("last message", async move {
                // An error: there is no signaling any more, and nothing to free.
                let _ = out.send(message).await;
            });
        }
    }

    /// The same, for a session that there was and that ends so.
    pub fn end(&self, session: SessionId, message: ToViewer, end: End) {
        self.tally.ended(end);
        self.finish(session, message);
    }

    fn send(&self, message: ToSession) {
        if self.out.try_send(message).is_err() {
            let lost = self.tally.message_lost();
            // The first, and then ever more rarely.
            if lost.is_power_of_two() {
                tracing::warn!(
                    lost,
                    "messages to viewers are lost: the signaling does not take them fast enough"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::message::ByeReason;

    #[tokio::test]
    async fn the_last_message_of_a_session_is_not_lost_when_there_is_no_room() {
        let (out, mut taken) = mpsc::channel(1);
        let outbox = Outbox::new(out);
        let session = SessionId::from_bytes([1; 16]);
        let bye = ToViewer::Bye { reason: ByeReason::Idle };
        outbox.reply(session, ToViewer::Candidate(None));
        outbox.reply(session, ToViewer::Candidate(None));
        outbox.finish(session, bye.clone());
        assert_eq!(taken.recv().await.map(|said| said.last), Some(Last::No));
        assert_eq!(taken.recv().await, Some(ToSession { session, message: bye, last: Last::Yes }));
    }
}
