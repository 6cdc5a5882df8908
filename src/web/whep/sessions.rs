//! The WHEP sessions that are there, by the ids in their addresses. One task for each hears what the agent says in it, and
//! forgets it when it ends, however it does. Not here: requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    signal::{
        door::DirectSession,
        keys::random,
        limit::Bucket,
        message::{ToDevice, ToViewer},
        topic::{KeyId, SessionId},
        whep::{heard::Heard, precondition::EntityTag},
    },
    tasks,
};

/// PATCH requests of one session in a second; a browser gathers fewer candidates.
const PATCHES_PER_SECOND: u32 = 10;
const PATCHES_AT_ONCE: u32 = 30;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    /// Only its token may touch it.
    owner: KeyId,
    pub direct: DirectSession,
    pub heard: watch::Receiver<Heard>,
    /// Held while ICE restarts: one after the other.
    pub ice: tokio::sync::Mutex<Ice>,
    /// Held for one look.
    patches: Mutex<Bucket>,
    gone: CancellationToken,
}

/// The ICE session: the client's description of it, and its tag.
#[derive(Debug, Clone)]
pub(super) struct Ice {
    pub offer: String,
    pub tag: EntityTag,
}

/// All of them. Their number is bounded by that of viewers, for each ends with its viewer's session.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Held for one look.
    table: Mutex<BTreeMap<SessionId, Arc<Session>>>,
}

impl Sessions {
    /// Takes a session in. Until it is [kept](Begun::keep) it ends with what is returned.
    pub(super) fn begin(
        self: &Arc<Self>,
        owner: KeyId,
        offer: String,
        direct: DirectSession,
        answers: mpsc::Receiver<ToViewer>,
    ) -> Begun {
        let mut id = [0; 16];
        random(&mut id);
        let id = SessionId::from_bytes(id);
        let (hear, heard) = watch::channel(Heard::default());
        let gone = CancellationToken::new();
        let session = Arc::new(Session {
            owner,
            direct,
            heard,
            ice: tokio::sync::Mutex::new(Ice { offer, tag: EntityTag::FIRST }),
            patches: Mutex::new(Bucket::new(clock::now(), PATCHES_PER_SECOND, PATCHES_AT_ONCE)),
            gone: gone.clone(),
        });
        self.lock().insert(id, Arc::clone(&session));
        let sessions = Arc::clone(self);
        tasks::spawn("whep session", async move {
            listen(answers, &hear, &gone).await;
            sessions.lock().remove(&id);
        });
        Begun { id, session, kept: Kept::No }
    }

    /// A client's session.
    pub(super) fn find(&self, owner: KeyId, id: &str) -> Option<Arc<Session>> {
        let session = Arc::clone(self.lock().get(&SessionId::parse(id)?)?);
        (session.owner == owner).then_some(session)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Arc<Session>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Whether one more PATCH may come.
    pub(super) fn may_patch(&self) -> bool {
        self.patches.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now())
    }

    /// Ends it. Where the agent does not take the message, the connection's end is noticed as that of any viewer.
    pub(super) fn end(&self) {
        let reason = "it was deleted".to_owned();
        if let Err(error) = self.direct.send(ToDevice::Bye { reason }) {
            tracing::debug!(%error, "a WHEP session is left to end by itself");
        }
        self.gone.cancel();
    }
}

/// A session whose client was not answered yet.
#[derive(Debug)]
pub(super) struct Begun {
    pub id: SessionId,
    pub session: Arc<Session>,
    kept: Kept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

impl Begun {
    /// From now on it ends by itself.
    pub(super) fn keep(mut self) {
        self.kept = Kept::Yes;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.kept == Kept::No {
            self.session.end();
        }
    }
}

async fn listen(
    mut answers: mpsc::Receiver<ToViewer>,
    hear: &watch::Sender<Heard>,
    gone: &CancellationToken,
) {
    loop {
        let message = tokio::select! {
            biased;
            () = gone.cancelled() => break,
            message = answers.recv() => message,
        };
        let Some(message) = message else { break };
        hear.send_modify(|heard| heard.take(&message));
    }
    hear.send_modify(Heard::end);
}
