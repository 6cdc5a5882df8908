//! Whether the agent can serve: the judgement that feeds systemd's watchdog and answers `/healthz`. Not here: what it is
//! doing otherwise (`status`).

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::Monitor;
use crate::{clock, signal::exchange::Command};

/// The exchange answers within microseconds; while it writes to a slow SD card it may take a second or two.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What does not move.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Trouble {
    #[error("the thread of camera `{camera}` hangs")]
    Camera { camera: String },
    #[error("signaling does not answer")]
    Signaling,
}

impl Trouble {
    /// One word, for programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Camera { .. } => "camera",
            Self::Signaling => "signaling",
        }
    }
}

impl Monitor {
    /// Whether everything moves: each camera's thread waits for viewers or has taken a step in time, and the exchange,
    /// which carries all signaling, answers. Takes three seconds at most.
    ///
    /// # Errors
    /// What does not.
    pub async fn check(&self) -> Result<(), Trouble> {
        let now = clock::now();
        if let Some(camera) = self.cameras.iter().find(|camera| camera.is_stuck(now)) {
            return Err(Trouble::Camera { camera: camera.settings().id.clone() });
        }
        let asked = self.ask(|reply| Command::Ping { reply });
        match timeout(PATIENCE, asked).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(Trouble::Signaling),
        }
    }
}
