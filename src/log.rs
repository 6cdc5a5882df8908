//! Logging set-up: to standard error, so that standard output holds the links alone; under systemd to its journal. The
//! level can be changed while the program runs. Not here: what is logged at which level (each part's own affair).

mod journal;

use std::{fmt, io::IsTerminal};

use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt as text,
    layer::{Layered, SubscriberExt as _},
    reload,
    util::SubscriberInitExt as _,
};

use journal::Journal;

type Filter = reload::Layer<Targets, Registry>;
type Output = Box<dyn Layer<Layered<Filter, Registry>> + Send + Sync>;

/// The running log's filter, which can be changed.
#[derive(Clone)]
pub struct Log(reload::Handle<Targets, Registry>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// Why a filter is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{filter}` does not fit ({reason}): give error, warn, info, debug or trace, or by part, as info,pinhole::signal=debug"
)]
pub struct FilterError {
    filter: String,
    reason: String,
}

/// Starts logging with a filter as `info` or `info,pinhole::signal=debug`. To be called once in a process.
///
/// # Errors
/// The filter's fault, in one sentence.
pub fn start(filter: &str) -> Result<Log, FilterError> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    tracing_subscriber::registry().with(filter).with(output()).init();
    Ok(Log(handle))
}

impl Log {
    /// Takes another filter from now on.
    ///
    /// # Errors
    /// The filter's fault, in one sentence; then the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = parse(filter)?;
        self.0
            .reload(parsed)
            .map_err(|error| FilterError { filter: filter.to_owned(), reason: error.to_string() })
    }
}

fn parse(filter: &str) -> Result<Targets, FilterError> {
    let refuse = |reason: String| FilterError { filter: filter.to_owned(), reason };
    // A word alone would be taken for a part of the program, all of whose lines are wanted.
    let alone = filter.split(',').map(str::trim).find(|part| !part.contains('=') && !is_level(part));
    if let Some(word) = alone {
        return Err(refuse(format!("{word:?} is no level")));
    }
    let parsed: Targets =
        filter.parse().map_err(|error: <Targets as std::str::FromStr>::Err| refuse(error.to_string()))?;
    // The WebRTC crate reports ordinary things, as a viewer that left, as warnings and errors.
    Ok(parsed.with_target("rtc", LevelFilter::OFF).with_target("webrtc", LevelFilter::OFF))
}

fn is_level(word: &str) -> bool {
    !word.is_empty() && word.parse::<LevelFilter>().is_ok()
}

fn output() -> Output {
    let lines = text::layer().with_writer(std::io::stderr).with_target(false);
    if !crate::config::goes_to_journal(std::io::stderr()) {
        return lines.with_ansi(std::io::stderr().is_terminal()).compact().boxed();
    }
    match Journal::open() {
        Ok(journal) => journal.boxed(),
        // The journal keeps the time itself.
        Err(_) => lines.with_ansi(false).without_time().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_told_with_the_remedy() {
        for filter in ["loud", "", "info,", "pinhole=loud", "a=b=c"] {
            let error = parse(filter).expect_err("no filter").to_string();
            assert!(
                error.starts_with(&format!("`{filter}`")) && error.contains("info,pinhole::signal=debug"),
                "{error}"
            );
        }
        assert!(parse("info,pinhole::signal=debug").is_ok());
    }
}
