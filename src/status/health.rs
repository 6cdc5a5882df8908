//! Whether the agent can serve: the judgement that feeds systemd's watchdog and answers `/healthz`. Not here: what it is
//! doing otherwise (`status`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{sync::Semaphore, time::timeout};

use super::Monitor;
use crate::{clock, signal::exchange::Command};

/// The exchange answers within microseconds; while it writes to a slow SD card it may take a second or two.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A judgement holds for so long: strangers may ask, as often as they like.
const HOLDS: Duration = Duration::from_secs(1);

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

/// The judgement for strangers: made at most once a second, however many ask. A clone has the same.
#[derive(Debug, Clone)]
pub struct Health {
    monitor: Monitor,
    last: Arc<Last>,
}

#[derive(Debug)]
struct Last {
    /// One looks, and the others wait for what it finds.
    looks: Semaphore,
    /// Held for a look at it.
    found: Mutex<Option<(Instant, Result<(), Trouble>)>>,
}

impl Health {
    pub fn new(monitor: Monitor) -> Self {
        Self { monitor, last: Arc::new(Last { looks: Semaphore::new(1), found: Mutex::default() }) }
    }

    /// As [`Monitor::check`], a second ago at most.
    ///
    /// # Errors
    /// What does not move.
    pub async fn check(&self) -> Result<(), Trouble> {
        let _look = self.last.looks.acquire().await;
        let recent = |(at, _): &(Instant, _)| clock::now().saturating_duration_since(*at) < HOLDS;
        let found = self.found().clone().filter(recent);
        if let Some((_, found)) = found {
            return found;
        }
        let found = self.monitor.check().await;
        *self.found() = Some((clock::now(), found.clone()));
        found
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Result<(), Trouble>)>> {
        self.last.found.lock().unwrap_or_else(PoisonError::into_inner)
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
