//! The agent's own doors: ways by which viewers come whose messages are not sealed, because the door has checked
//! itself who they are (WHEP: by a bearer token), in this process. Run by the door's own tasks, one [`DirectSession`]
//! each. Not here: that check, and what the exchange does with the messages (`exchange`).

use tokio::sync::{mpsc, watch};

use super::{
    message::{ToDevice, ToViewer},
    topic::{KeyId, SessionId},
    viewer::new_session,
    whep::token::Tokens,
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

/// The exchange's end: it hears who knocks, and says by which tokens doors let in.
#[derive(Debug)]
pub struct Doorkeeper {
    pub knocks: mpsc::Receiver<Knock>,
    pub tokens: watch::Sender<Tokens>,
}

/// Where doors knock.
#[derive(Debug, Clone)]
pub struct Doorbell {
    knocks: mpsc::Sender<Knock>,
    tokens: watch::Receiver<Tokens>,
}

impl Doorbell {
    /// And the other end.
    pub fn new() -> (Self, Doorkeeper) {
        let (knocks, heard) = mpsc::channel(KNOCKS);
        let (tokens, known) = watch::channel(Tokens::default());
        (Self { knocks, tokens: known }, Doorkeeper { knocks: heard, tokens })
    }

    /// Whose token this is.
    pub fn viewer_of(&self, token: &str) -> Option<KeyId> {
        self.tokens.borrow().find(token)
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
        self.knocks.try_send(Knock::Open { session, viewer, message, answers }).map_err(|_| Crowded)?;
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
        self.doorbell.knocks.try_send(knock).map_err(|_| Crowded)
    }
}
