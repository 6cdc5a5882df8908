//! The pictures that are within an encoder: put in, and not come out yet. Each carries a stamp through the encoder,
//! by which it is known when it comes out, be it a frame later. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Far more than an encoder's buffers: those before were swallowed.
const MOST: usize = 32;

/// What is known of the pictures within the encoder.
#[derive(Debug)]
pub(super) struct Flight {
    /// Stamps count from here.
    base: Instant,
    /// The stamp that was put in last.
    last: Duration,
    came: Came,
    /// In the order in which they were put in.
    pictures: VecDeque<Picture>,
}

#[derive(Debug, Clone, Copy)]
struct Picture {
    stamp: Duration,
    captured: Instant,
    asked: Asked,
}

/// What came out, or came out last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Came {
    /// When its picture was taken.
    pub(super) captured: Instant,
    pub(super) asked: Asked,
}

/// What was asked to be made of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Key,
    Any,
}

impl Flight {
    pub(super) fn new(base: Instant) -> Self {
        let came = Came { captured: base, asked: Asked::Any };
        Self { base, last: Duration::ZERO, came, pictures: VecDeque::new() }
    }

    /// The stamp for a picture: when it was taken, in whole microseconds; above 0, which some drivers take for none,
    /// and above the one before.
    pub(super) fn stamp(&self, captured: Instant) -> Duration {
        const STEP: Duration = Duration::from_micros(1);
        let since = captured.saturating_duration_since(self.base).as_micros();
        Duration::from_micros(u64::try_from(since).unwrap_or(u64::MAX)).max(self.last + STEP)
    }

    /// A picture was put in.
    pub(super) fn put_in(&mut self, stamp: Duration, captured: Instant, asked: Asked) {
        self.last = stamp;
        self.pictures.push_back(Picture { stamp, captured, asked });
        if self.pictures.len() > MOST {
            self.pictures.pop_front();
        }
    }

    /// Something made of the picture with this stamp came out: gives what that was. Those before it were
    /// swallowed: encoders for real time give pictures in the order of time. A stamp that nothing has (some drivers
    /// make up their own) is taken for the oldest's; a second piece has the time of the first.
    pub(super) fn came_out(&mut self, stamp: Duration) -> Came {
        let at = self.pictures.iter().position(|picture| picture.stamp == stamp).unwrap_or(0);
        for picture in self.pictures.drain(..self.pictures.len().min(at + 1)) {
            self.came = Came { captured: picture.captured, asked: picture.asked };
        }
        self.came
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// Whether a key frame is on its way.
    pub(super) fn has_key(&self) -> bool {
        self.pictures.iter().any(|picture| picture.asked == Asked::Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const FRAME: Duration = Duration::from_millis(33);

    #[test]
    fn each_picture_comes_out_with_its_own_time() {
        let start = clock::now();
        let mut flight = Flight::new(start);
        let times = [start + FRAME, start + FRAME * 2, start + FRAME * 3];
        let stamps = times.map(|captured| {
            let stamp = flight.stamp(captured);
            flight.put_in(stamp, captured, Asked::Any);
            stamp
        });
        for (stamp, captured) in stamps.into_iter().zip(times) {
            assert!(!flight.is_empty());
            assert_eq!(flight.came_out(stamp).captured, captured);
        }
        assert!(flight.is_empty());
        assert_eq!(flight.came_out(FRAME).captured, times[2], "a further piece of the last");
    }

    #[test]
    fn stamps_rise_whatever_the_camera_says_and_are_never_zero() {
        let start = clock::now();
        let mut flight = Flight::new(start);
        let mut last = Duration::ZERO;
        let before = start.checked_sub(FRAME).unwrap_or(start);
        for captured in [before, start, start + FRAME, start + FRAME, start, start + FRAME * 2] {
            let stamp = flight.stamp(captured);
            assert!(stamp > last && stamp.subsec_nanos().is_multiple_of(1000), "{stamp:?} after {last:?}");
            flight.put_in(stamp, captured, Asked::Any);
            assert_eq!(flight.came_out(stamp).captured, captured);
            last = stamp;
        }
        assert_eq!(last, FRAME * 2, "an ordinary stamp is the time itself");
    }

    #[test]
    fn pictures_before_one_that_came_out_were_swallowed() {
        let start = clock::now();
        let mut flight = Flight::new(start);
        for frame in 1..=3 {
            let asked = if frame == 2 { Asked::Key } else { Asked::Any };
            flight.put_in(FRAME * frame, start + FRAME * frame, asked);
        }
        assert!(flight.has_key());
        assert_eq!(flight.came_out(FRAME * 2).captured, start + FRAME * 2);
        assert!(!flight.has_key() && !flight.is_empty());
        assert_eq!(flight.came_out(FRAME * 3).captured, start + FRAME * 3);
    }

    #[test]
    fn an_unknown_stamp_is_the_oldest_pictures() {
        let start = clock::now();
        let mut flight = Flight::new(start);
        flight.put_in(FRAME, start + FRAME, Asked::Any);
        flight.put_in(FRAME * 2, start + FRAME * 2, Asked::Any);
        assert_eq!(flight.came_out(Duration::ZERO).captured, start + FRAME);
        assert_eq!(flight.came_out(Duration::ZERO).captured, start + FRAME * 2);
    }

    #[test]
    fn an_encoder_that_swallows_everything_costs_no_memory() {
        let start = clock::now();
        let mut flight = Flight::new(start);
        for frame in 1..1000 {
            flight.put_in(FRAME * frame, start + FRAME * frame, Asked::Any);
        }
        assert_eq!(flight.pictures.len(), MOST);
    }
}
