//! How many sessions there were, and how they ended. Counted by the reception and by the sessions' tasks, read by whoever
//! asks. Not here: who is there now (`registry`).

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::signal::message::{ByeReason, ErrorCode, ToViewer};

/// Since the agent started. Reasons are words of a fixed list, and nothing of a viewer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounts {
    /// Offers that got a session.
    pub begun: u64,
    /// Sessions whose viewer connected.
    pub connected: u64,
    /// Sessions that ended, by why.
    pub ended: BTreeMap<String, u64>,
    /// Messages that were refused before there was a session, or in one, by why.
    pub refused: BTreeMap<String, u64>,
    /// Messages to viewers that were lost, as signaling did not take them fast enough.
    pub messages_lost: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    /// A few changes for each session; held for one of them.
    counts: Mutex<SessionCounts>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The viewer said so.
    Left,
    Bye(ByeReason),
    Error(ErrorCode),
    /// Its task failed, or was ended by force.
    Failed,
}

impl End {
    /// What the viewer is told last says why, unless it was the viewer who ended it.
    pub fn told(message: &ToViewer) -> Self {
        match message {
            ToViewer::Bye { reason } => Self::Bye(*reason),
            ToViewer::Error { code, .. } => Self::Error(*code),
            ToViewer::Welcome(_) | ToViewer::Answer { .. } | ToViewer::Candidate(_) | ToViewer::Notice(_) => {
                Self::Failed
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Bye(ByeReason::Shutdown) => "shutdown",
            Self::Bye(ByeReason::Revoked) => "revoked",
            Self::Bye(ByeReason::Replaced) => "replaced",
            Self::Bye(ByeReason::Idle) => "lost",
            Self::Bye(ByeReason::Camera) => "camera",
            Self::Bye(ByeReason::Privacy) => "privacy",
            Self::Error(code) => code_name(code),
            Self::Failed => "failed",
        }
    }
}

/// As in docs/signaling.md.
const fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Busy => "busy",
        ErrorCode::Forbidden => "forbidden",
        ErrorCode::NoCamera => "no_camera",
        ErrorCode::Privacy => "privacy",
        ErrorCode::Codec => "codec",
        ErrorCode::BadRequest => "bad_request",
        ErrorCode::RateLimited => "rate_limited",
        ErrorCode::Internal => "internal",
    }
}

impl Tally {
    pub fn begun(&self) {
        self.change(|counts| counts.begun += 1);
    }

    pub fn connected(&self) {
        self.change(|counts| counts.connected += 1);
    }

    pub fn ended(&self, end: End) {
        self.change(|counts| *counts.ended.entry(end.name().to_owned()).or_default() += 1);
    }

    pub fn refused(&self, code: ErrorCode) {
        self.change(|counts| *counts.refused.entry(code_name(code).to_owned()).or_default() += 1);
    }

    /// Gives how many there are now.
    pub fn message_lost(&self) -> u64 {
        self.change(|counts| {
            counts.messages_lost += 1;
            counts.messages_lost
        })
    }

    pub fn read(&self) -> SessionCounts {
        self.change(|counts| counts.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut SessionCounts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_by_their_reason() {
        let tally = Tally::default();
        tally.begun();
        tally.ended(End::Left);
        tally.ended(End::told(&ToViewer::Bye { reason: ByeReason::Idle }));
        tally.ended(End::told(&ToViewer::Error { code: ErrorCode::Codec, message: String::new() }));
        tally.ended(End::Left);
        tally.refused(ErrorCode::Busy);
        let counts = tally.read();
        let ended: Vec<(&str, u64)> = counts.ended.iter().map(|(why, n)| (why.as_str(), *n)).collect();
        assert_eq!(ended, [("codec", 1), ("left", 2), ("lost", 1)]);
        assert_eq!((counts.begun, counts.refused["busy"]), (1, 1));
        assert_eq!((tally.message_lost(), tally.message_lost()), (1, 2));
    }
}
