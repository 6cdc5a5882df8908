//! What comes in by a grabber's cable: its size and rate are the source's, not ours to choose, and may change at any time.
//! On the camera's pipeline thread. Not here: cameras with a sensor of their own, which have no such input.

use std::{
    io,
    time::{Duration, Instant},
};

use v4l::Device;

use crate::{
    camera::{FrameRate, negotiate::Signal},
    sys::timings::{self, Timings},
};

/// How often a driver that does not tell of changes is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The cable of an open grabber, with the signal that was there when it was opened.
#[derive(Debug)]
pub(super) struct Cable {
    timings: Timings,
    news: News,
}

/// How a change of the signal becomes known.
#[derive(Debug)]
enum News {
    /// The driver tells.
    Told,
    /// It must be asked; when it was last.
    Asked(Instant),
}

/// Why there is no signal to capture.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    NoSignal(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Cable {
    /// Looks what comes in and has the device capture that. `None`: the device is no such grabber.
    pub(super) fn detect(device: &Device, now: Instant) -> Result<Option<Self>, Trouble> {
        let Some(input) = timings::input(device)?.filter(|input| input.has_timings) else { return Ok(None) };
        let timings = timings::query(device).map_err(|error| trouble(error, &input.name))?;
        timings::set(device, timings)?;
        let news = match timings::watch(device) {
            Ok(()) => News::Told,
            Err(reason) => {
                tracing::debug!(input = input.name, %reason, "the driver does not tell when the signal changes");
                News::Asked(now)
            }
        };
        Ok(Some(Self { timings, news }))
    }

    /// What comes in, and not taken up. `None`: the device is no such grabber.
    pub(super) fn look(device: &Device, wished: FrameRate) -> Result<Option<Signal>, Trouble> {
        let Some(input) = timings::input(device)?.filter(|input| input.has_timings) else { return Ok(None) };
        let timings = timings::query(device).map_err(|error| trouble(error, &input.name))?;
        Ok(Some(Self { timings, news: News::Told }.signal(wished)))
    }

    /// The signal's size and rate; `wished` where the driver does not tell a rate.
    pub(super) fn signal(&self, wished: FrameRate) -> Signal {
        let (width, height) = self.timings.size();
        let rate = self.timings.pictures_per_1000_s();
        let rate = rate.map_or(wished, |numerator| FrameRate { numerator, denominator: 1000 });
        Signal { width, height, rate }
    }

    /// Whether another signal has come in than the one that is captured.
    pub(super) fn has_changed(&mut self, device: &Device, now: Instant) -> Result<bool, Trouble> {
        let look = match &mut self.news {
            News::Told => timings::source_changed(device)?,
            News::Asked(last) => is_due(last, now),
        };
        if !look {
            return Ok(false);
        }
        // Some drivers tell of a change that is none: the same signal after a flicker.
        let timings = timings::query(device).map_err(|error| trouble(error, "its cable"))?;
        Ok(timings != self.timings)
    }
}

/// Whether it is time to ask again, which then counts as done.
fn is_due(last: &mut Instant, now: Instant) -> bool {
    let due = now.saturating_duration_since(*last) >= ASK_EVERY;
    if due {
        *last = now;
    }
    due
}

fn trouble(error: io::Error, input: &str) -> Trouble {
    match error.raw_os_error() {
        Some(libc::ENOLINK) => Trouble::NoSignal(format!("there is no signal on {input}")),
        Some(libc::ENOLCK) => Trouble::NoSignal(format!("the signal on {input} is not steady")),
        Some(libc::ERANGE) => Trouble::NoSignal(format!("the signal on {input} is none that it can take")),
        _ => Trouble::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_driver_that_does_not_tell_is_asked_once_a_second() {
        let start = clock::now();
        let mut last = start;
        let asked: Vec<_> = (0..100)
            .map(|step| start + Duration::from_millis(40) * step)
            .filter(|now| is_due(&mut last, *now))
            .map(|now| (now - start).as_millis())
            .collect();
        assert_eq!(asked, [1000, 2000, 3000]);
    }

    #[test]
    fn what_is_wrong_with_a_signal_is_said_and_other_errors_are_kept() {
        let of = |number| trouble(io::Error::from_raw_os_error(number), "HDMI 0").to_string();
        assert_eq!(of(libc::ENOLINK), "there is no signal on HDMI 0");
        assert_eq!(of(libc::ENOLCK), "the signal on HDMI 0 is not steady");
        assert_eq!(of(libc::ERANGE), "the signal on HDMI 0 is none that it can take");
        let gone = trouble(io::Error::from_raw_os_error(libc::ENODEV), "HDMI 0");
        assert!(matches!(gone, Trouble::Io(error) if error.raw_os_error() == Some(libc::ENODEV)));
    }
}
