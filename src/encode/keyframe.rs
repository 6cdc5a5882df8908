//! When to make a key frame. Every viewer that joins or loses a packet asks for one, and one serves all: requests
//! are merged, and key frames are at least `MIN_INTERVAL` apart, because each costs as much as a dozen others.
//! Pure. Not here: how an encoder makes one.

use std::time::{Duration, Instant};

use super::Request;

/// The least time between two key frames that were asked for.
pub const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// Requests for key frames, merged and limited in rate.
#[derive(Debug, Default)]
pub struct KeyFrames {
    wanted: bool,
    /// When the last key frame was made or ordered.
    last: Option<Instant>,
    requested: u64,
    merged: u64,
}

impl KeyFrames {
    /// No key frame yet, so the first frame is to be one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Someone needs a key frame. It comes with the next frame, or as soon as the last one is old enough.
    pub fn request(&mut self) {
        self.requested += 1;
        if self.wanted {
            self.merged += 1;
        }
        self.wanted = true;
    }

    /// What to ask of the encoder for the frame at `now`. A key frame that is ordered here counts as made.
    pub fn take(&mut self, now: Instant) -> Request {
        match self.last {
            None => {}
            Some(last) if self.wanted && now.saturating_duration_since(last) >= MIN_INTERVAL => {}
            Some(_) => return Request::Any,
        }
        self.made(now);
        Request::Key
    }

    /// A key frame was made at `now`, ordered or not: it serves whoever was waiting for one.
    pub fn made(&mut self, now: Instant) {
        self.wanted = false;
        self.last = Some(now);
    }

    /// Nothing came of the key frame that `take` ordered: the next frame is to be one.
    pub fn failed(&mut self) {
        self.last = None;
    }

    /// All requests.
    pub fn requested(&self) -> u64 {
        self.requested
    }

    /// Requests that were served by a key frame that another request had asked for already.
    pub fn merged(&self) -> u64 {
        self.merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn first_frame_is_a_key_frame_unasked() {
        let (mut keys, start) = (KeyFrames::new(), clock::now());
        assert_eq!(keys.take(start), Request::Key);
        assert_eq!(keys.take(start + ms(10_000)), Request::Any);
    }

    #[test]
    fn request_is_served_with_the_next_frame_once() {
        let (mut keys, start) = (KeyFrames::new(), clock::now());
        keys.made(start);
        keys.request();
        assert_eq!(keys.take(start + ms(600)), Request::Key);
        assert_eq!(keys.take(start + ms(633)), Request::Any);
        assert_eq!(keys.take(start + ms(5_000)), Request::Any);
    }

    #[test]
    fn request_soon_after_a_key_frame_waits_but_is_not_forgotten() {
        let (mut keys, start) = (KeyFrames::new(), clock::now());
        keys.take(start);
        keys.request();
        assert_eq!(keys.take(start + ms(499)), Request::Any);
        assert_eq!(keys.take(start + ms(500)), Request::Key);
    }

    #[test]
    fn storm_of_requests_gives_two_key_frames_a_second_and_is_counted() {
        let (mut keys, start) = (KeyFrames::new(), clock::now());
        let mut made = 0;
        for millisecond in 0..10_000 {
            keys.request();
            if millisecond % 33 == 0 && keys.take(start + ms(millisecond)) == Request::Key {
                made += 1;
            }
        }
        assert!((19..=20).contains(&made), "{made} key frames in 10 s");
        let waiting = u64::from(keys.wanted);
        assert_eq!(keys.merged() + made + waiting, 10_000);
    }

    #[test]
    fn key_frame_made_by_the_camera_itself_serves_who_waits() {
        let (mut keys, start) = (KeyFrames::new(), clock::now());
        keys.take(start);
        keys.request();
        keys.made(start + ms(100));
        assert_eq!(keys.take(start + ms(2_000)), Request::Any);
    }

    #[test]
    fn key_frame_that_the_encoder_did_not_make_is_ordered_again_at_once() {
        let (mut keys, start) = (KeyFrames::new(), clock::now());
        assert_eq!(keys.take(start), Request::Key);
        keys.failed();
        assert_eq!(keys.take(start + ms(33)), Request::Key);
    }
}
