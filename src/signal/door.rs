//! The agent's own doors: ways by which viewers come whose messages are not sealed, because the door has checked
//! itself who they are (WHEP: by a bearer token), in this process. Run by the door's own tasks, one [`DirectSession`]
//! each. Not here: that check, and what the exchange does with the messages (`exchange`).

use tokio::sync::mpsc;

use super::{
    message::{ToDevice, ToViewer},
    topic::{KeyId, SessionId},
    viewer::new_session,
};

/// Messages from all doors that wait for the exchange; when it is full they are refused.
pub const KNOCKS: usize = 64;
/// Messages that wait for one session's door. An answer, its candidates and a notice have room by far.
const ANSWERS: usize = 256;

/// What doors tell the exchange.
#[derive(Debug)]
pub enum Knock {
    /// The first message of a session of a viewer that the door has let in. Its answers go to `answers`, which ends
    /// with the session.
    Open { session: SessionId, viewer: KeyId, message: ToDevice, answers: mpsc::Sender<ToViewer> },
    /// A further one; nothing happens when the session is over.
    Go { session: SessionId, message: ToDevice },
}

/// The exchange takes no more messages: too many wait, or it is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the camera has too much to do right now; try again in a moment")]
pub struct Crowded;

/// Where doors knock.
#[derive(Debug, Clone)]
pub struct Doorbell(mpsc::Sender<Knock>);

impl Doorbell {
    /// And where the exchange hears of it.
    pub fn new() -> (Self, mpsc::Receiver<Knock>) {
        let (knocks, heard) = mpsc::channel(KNOCKS);
        (Self(knocks), heard)
    }

    /// Begins a session, and gives its answers. Never waits.
    ///
    /// # Errors
    /// [`Crowded`]: there is none.
    pub fn open(
        &self,
        viewer: KeyId,
        message: ToDevice,
    ) -> Result<(DirectSession, mpsc::Receiver<ToViewer>), Crowded> {
        let session = new_session();
        let (answers, receiver) = mpsc::channel(ANSWERS);
        self.0.try_send(Knock::Open { session, viewer, message, answers }).map_err(|_| Crowded)?;
        Ok((DirectSession { session, doorbell: self.clone() }, receiver))
    }
}

/// A session that came by a door. Dropping it ends nothing.
#[derive(Debug, Clone)]
pub struct DirectSession {
    session: SessionId,
    doorbell: Doorbell,
}

impl DirectSession {
    /// Sends a further message. Never waits.
    ///
    /// # Errors
    /// [`Crowded`]: it was not taken.
    pub fn send(&self, message: ToDevice) -> Result<(), Crowded> {
        let knock = Knock::Go { session: self.session, message };
        self.doorbell.0.try_send(knock).map_err(|_| Crowded)
    }
}
