//! Time: the only place that reads a clock or sleeps. Everything else takes `now` as an argument,
//! or asks here, so that a test decides what time it is. Not here: deadlines' meaning, which belong to
//! the part that sets them. All deadlines are monotonic: a board without a real-time clock boots in 1970.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time. tokio's, which is the system's unless a test has stopped it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Wall-clock time since 1970, for what a person or a measuring viewer reads. Never for a deadline, but
/// for the end of a key, which outlives restarts.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Sleeps in a task.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Sleeps in a task until `at`; without a time, for ever. Meant as an arm of `select!`.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Sleeps on a thread of its own. Never in a task.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
