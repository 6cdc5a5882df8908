//! Logging set-up: to standard error, so that standard output holds the links alone. Under systemd the journal
//! keeps the time. Not here: what is logged at which level (each part's own affair).

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging with a filter as `info` or `info,pinhole::signal=debug`.
///
/// # Errors
/// The filter's fault, in one sentence.
pub fn start(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| {
            format!("--log: `{filter}` does not fit ({error}): give error, warn, info, debug or trace")
        })?
        // The WebRTC crate reports ordinary things, as a viewer that left, as warnings and errors.
        .add_directive("rtc=off".parse().expect("a fixed directive"))
        .add_directive("webrtc=off".parse().expect("a fixed directive"));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let terminal = std::io::stderr().is_terminal();
    if crate::config::goes_to_journal(std::io::stderr()) {
        log.with_ansi(false).without_time().init();
    } else {
        log.with_ansi(terminal).compact().init();
    }
    Ok(())
}
