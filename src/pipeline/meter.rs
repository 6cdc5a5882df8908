//! How many frames and bits a camera's stream has in a second, just now. Pure. On the thread that publishes frames.
//! Not here: what was counted since the start (`control`).

use std::time::{Duration, Instant};

/// Over so long it is measured: long enough that a key frame does not stand out.
const WINDOW: Duration = Duration::from_secs(2);

/// What a stream has in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    pub frames_per_second: f64,
    pub bits_per_second: f64,
}

/// Counts in windows; the last whole one is what is told.
#[derive(Debug, Default)]
pub(super) struct Meter {
    began: Option<Instant>,
    frames: u32,
    bytes: u64,
    last: Pace,
}

impl Meter {
    /// A frame on its way to the viewers.
    pub(super) fn add(&mut self, bytes: usize, now: Instant) {
        match self.began {
            Some(began) if now.saturating_duration_since(began) < WINDOW => {}
            Some(began) => {
                self.last = self.pace(now.saturating_duration_since(began));
                (self.began, self.frames, self.bytes) = (Some(now), 0, 0);
            }
            None => self.began = Some(now),
        }
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// What it was in the last window. A stream that has stopped has none.
    pub(super) fn read(&self, now: Instant) -> Pace {
        match self.began.map(|began| now.saturating_duration_since(began)) {
            None => Pace::default(),
            Some(since) if since > 2 * WINDOW => Pace::default(),
            // The first window is not over.
            Some(since) if self.last == Pace::default() && since > WINDOW / 4 => self.pace(since),
            Some(_) => self.last,
        }
    }

    fn pace(&self, over: Duration) -> Pace {
        let seconds = over.as_secs_f64();
        Pace {
            frames_per_second: f64::from(self.frames) / seconds,
            bits_per_second: self.bytes as f64 * 8.0 / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Frames of 1,000 bytes, ten a second.
    fn run(meter: &mut Meter, from: Instant, frames: u32) -> Instant {
        for number in 0..frames {
            meter.add(1000, from + Duration::from_millis(100) * number);
        }
        from + Duration::from_millis(100) * (frames - 1)
    }

    fn near(pace: Pace, frames: f64, bits: f64) -> bool {
        (pace.frames_per_second - frames).abs() < frames * 0.06
            && (pace.bits_per_second - bits).abs() < bits * 0.06
    }

    #[test]
    fn it_tells_the_pace_of_the_last_seconds() {
        let (mut meter, start) = (Meter::default(), clock::now());
        assert_eq!(meter.read(start), Pace::default());
        let last = run(&mut meter, start, 50);
        assert!(near(meter.read(last), 10.0, 80_000.0), "{:?}", meter.read(last));
        let early = run(&mut Meter::default(), start, 10);
        let mut meter = Meter::default();
        run(&mut meter, start, 10);
        let pace = meter.read(early + Duration::from_millis(100));
        assert!(near(pace, 10.0, 80_000.0), "in the first window, too: {pace:?}");
    }

    #[test]
    fn a_stream_that_stands_still_has_no_pace() {
        let (mut meter, start) = (Meter::default(), clock::now());
        let last = run(&mut meter, start, 50);
        assert_eq!(meter.read(last + Duration::from_secs(5)), Pace::default());
    }
}
