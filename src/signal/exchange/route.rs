//! By which way a session's messages go back to its viewer. Pure but for the channels' ends it holds. Not here: what is
//! sent (`exchange`).

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::{KeyId, SessionId, ToViewer};

/// One session's way.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// Sealed, by the carrier that its last envelope came by.
    Carrier(usize),
    /// As they are, to a door of the agent's own. It is closed when the session ends.
    Direct { viewer: KeyId, answers: mpsc::Sender<ToViewer> },
}

/// All ways.
#[derive(Debug, Default)]
pub(super) struct Routes(HashMap<SessionId, Route>);

impl Routes {
    pub(super) fn get(&self, session: SessionId) -> Option<&Route> {
        self.0.get(&session)
    }

    /// By which carrier it came, if by any.
    pub(super) fn carrier(&self, session: SessionId) -> Option<usize> {
        match self.get(session)? {
            Route::Carrier(index) => Some(*index),
            Route::Direct { .. } => None,
        }
    }

    pub(super) fn by_carrier(&mut self, session: SessionId, index: usize) {
        self.0.insert(session, Route::Carrier(index));
    }

    /// Those whose doors have gone are forgotten first: a session that was never begun has no end to forget it at.
    pub(super) fn by_door(&mut self, session: SessionId, viewer: KeyId, answers: mpsc::Sender<ToViewer>) {
        self.0.retain(|_, route| !matches!(route, Route::Direct { answers, .. } if answers.is_closed()));
        self.0.insert(session, Route::Direct { viewer, answers });
    }

    /// The viewer of a session that came by a door.
    pub(super) fn direct_viewer(&self, session: SessionId) -> Option<KeyId> {
        match self.get(session)? {
            Route::Carrier(_) => None,
            Route::Direct { viewer, .. } => Some(*viewer),
        }
    }

    /// A viewer's sessions that came by doors.
    pub(super) fn direct_of(&self, viewer: KeyId) -> Vec<SessionId> {
        let of = |(session, route): (&SessionId, &Route)| match route {
            Route::Direct { viewer: whose, .. } if *whose == viewer => Some(*session),
            Route::Direct { .. } | Route::Carrier(_) => None,
        };
        self.0.iter().filter_map(of).collect()
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        self.0.remove(&session);
    }
}
