//! Threads and tasks: the only place that starts one. Each has a name, which is in its log lines and,
//! for threads, in `top -H`. Not here: what they do, and which there are (`agent.rs` draws that).
#![allow(clippy::disallowed_methods)]

use std::{future::Future, io, thread};

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Starts a task on the current runtime.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::trace_span!("task", name)))
}

/// Runs what blocks for a while on a thread of the runtime's that is there for it.
pub fn blocking<F, T>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(body)
}

/// Starts a thread. `name` is cut to 15 bytes by the kernel.
///
/// # Errors
/// The system's, when it has no more threads to give.
pub fn thread<F, T>(name: &str, body: F) -> io::Result<thread::JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    thread::Builder::new().name(name.to_owned()).spawn(body)
}
