//! Which picture the viewers get: the camera's, or the slate that says why there is none. It also gives each frame its
//! number and its time, which go on from one to the other. Pure. Not here: who makes the frames (`worker`, `slate`).

use std::time::{Duration, Instant};

use crate::{camera::VideoFormat, encode::FrameKind};

/// A camera that has given pictures may pause for so long, or for three frames' time.
const PATIENCE: Duration = Duration::from_millis(900);
/// The same before its first picture: most need a second for that, and viewers need not read of it.
const FIRST_PICTURE: Duration = Duration::from_secs(2);
/// The time of each frame is at least so much later than the one before: RTP's clock must rise.
const TICK: Duration = Duration::from_millis(1);

/// Where a frame comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Camera,
    Slate,
}

/// A stream as sessions need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) format: VideoFormat,
    /// `profile_idc`, constraint flags and `level_idc`.
    pub(super) profile_level: [u8; 3],
}

/// Whether the slate is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Not, as far as can be said.
    No,
    /// From this time on, if no picture comes before.
    At(Instant),
    /// Now, with this reason.
    Now(String),
}

/// What `admit` makes of a frame that is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) captured: Instant,
    /// What was on the air was the other origin, or nothing.
    pub(super) first: bool,
}

#[derive(Debug)]
pub(super) struct Air {
    on: Option<Origin>,
    /// Since when viewers wait for a picture: the last one, or the opening. `None` while nobody watches.
    since: Option<Instant>,
    /// The camera has given a picture since it was opened for these viewers.
    seen: bool,
    /// Why the camera does not work, until it gives a picture.
    trouble: Option<String>,
    /// The encoder has had a frame for so long and not answered yet.
    encoding: Option<Instant>,
    interval: Duration,
    /// The number of the next frame.
    number: u64,
    last: Option<Instant>,
    /// What the camera gave last.
    pub(super) known: Option<Stream>,
}

impl Air {
    pub(super) fn new() -> Self {
        Self {
            on: None,
            since: None,
            seen: false,
            trouble: None,
            encoding: None,
            interval: Duration::ZERO,
            number: 0,
            last: None,
            known: None,
        }
    }

    /// Which picture viewers get now; `None` before the first.
    pub(super) fn on(&self) -> Option<Origin> {
        self.on
    }

    /// The camera is being opened, perhaps once more: then what it failed of stays on the slate until there is a
    /// picture.
    pub(super) fn opening(&mut self, now: Instant) {
        (self.since, self.seen, self.encoding) = (Some(now), false, None);
    }

    /// The camera is open and gives a picture as often as that.
    pub(super) fn opened(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The camera does not work.
    /// Why the camera does not work, if it does not.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn failed(&mut self, reason: String) {
        self.trouble = Some(reason);
        self.encoding = None;
    }

    /// Nobody watches any more.
    pub(super) fn closed(&mut self) {
        (self.on, self.since, self.seen, self.trouble) = (None, None, false, None);
    }

    /// The encoder has got a frame.
    pub(super) fn encoding(&mut self, now: Instant) {
        self.encoding = Some(now);
    }

    /// The encoder has answered.
    pub(super) fn encoded(&mut self) {
        self.encoding = None;
    }

    /// Whether the slate is to be shown at `now`.
    pub(super) fn slate(&self, now: Instant) -> Due {
        if let Some(reason) = &self.trouble {
            return Due::Now(reason.clone());
        }
        let Some(since) = self.since else { return Due::No };
        let at = since + if self.seen { PATIENCE.max(self.interval * 3) } else { FIRST_PICTURE };
        if now < at {
            return Due::At(at);
        }
        let hangs = self.encoding.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
        Due::Now(match (hangs, self.seen) {
            (true, _) => "the encoder does not answer".to_owned(),
            (false, true) => "the camera gives no picture".to_owned(),
            (false, false) => "the camera has not given its first picture yet".to_owned(),
        })
    }

    /// Lets a frame through to the viewers, or not: the camera's come before the slate's, and each begins with a key
    /// frame.
    pub(super) fn admit(
        &mut self,
        origin: Origin,
        kind: FrameKind,
        captured: Instant,
        now: Instant,
    ) -> Option<Slot> {
        let first = self.on != Some(origin);
        if first && kind == FrameKind::Delta {
            return None;
        }
        match origin {
            Origin::Camera => {
                self.since = Some(now);
                self.seen = true;
                self.trouble = None;
            }
            Origin::Slate => {
                if !matches!(self.slate(now), Due::Now(_)) {
                    return None;
                }
            }
        }
        self.on = Some(origin);
        let captured = self.last.map_or(captured, |last| captured.max(last + TICK));
        self.last = Some(captured);
        let number = self.number;
        self.number += 1;
        Some(Slot { number, captured, first })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        FrameKind::{Delta, Key},
        Origin::{Camera, Slate},
        *,
    };
    use crate::clock;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn playing(now: Instant) -> Air {
        let mut air = Air::new();
        air.opening(now);
        air.opened(ms(33));
        assert!(air.admit(Camera, Key, now, now).is_some());
        air
    }

    #[test]
    fn a_camera_that_pauses_gives_way_to_the_slate_within_a_second() {
        let now = clock::now();
        let air = playing(now);
        assert_eq!(air.slate(now + ms(899)), Due::At(now + ms(900)));
        assert_eq!(air.slate(now + ms(900)), Due::Now("the camera gives no picture".into()));
    }

    #[test]
    fn a_slow_camera_is_given_three_frames_time() {
        let now = clock::now();
        let mut air = playing(now);
        air.opened(ms(1000));
        assert_eq!(air.slate(now + ms(2999)), Due::At(now + ms(3000)));
    }

    #[test]
    fn a_failure_is_shown_at_once_until_there_is_a_picture() {
        let now = clock::now();
        let mut air = playing(now);
        air.failed("it was unplugged".into());
        assert_eq!(air.slate(now), Due::Now("it was unplugged".into()));
        air.opening(now + ms(1000));
        assert_eq!(air.slate(now + ms(1000)), Due::Now("it was unplugged".into()));
        assert!(air.admit(Camera, Key, now, now + ms(1500)).is_some());
        assert_eq!(air.slate(now + ms(1500)), Due::At(now + ms(2400)));
    }

    #[test]
    fn the_first_picture_may_take_longer() {
        let (mut air, now) = (Air::new(), clock::now());
        assert_eq!(air.slate(now), Due::No);
        air.opening(now);
        assert_eq!(air.slate(now + ms(1999)), Due::At(now + ms(2000)));
        assert!(matches!(air.slate(now + ms(2000)), Due::Now(_)));
    }

    #[test]
    fn an_encoder_that_hangs_is_named() {
        let now = clock::now();
        let mut air = playing(now);
        air.encoding(now + ms(30));
        assert_eq!(air.slate(now + ms(930)), Due::Now("the encoder does not answer".into()));
        air.encoded();
        assert_eq!(air.slate(now + ms(930)), Due::Now("the camera gives no picture".into()));
    }

    #[test]
    fn each_side_begins_with_a_key_frame_and_numbers_go_on() {
        let now = clock::now();
        let mut air = playing(now);
        assert_eq!(air.admit(Slate, Key, now, now + ms(10)), None, "the camera works");
        air.failed("gone".into());
        assert_eq!(air.admit(Slate, Delta, now, now), None);
        let slot = air.admit(Slate, Key, now + ms(5), now + ms(10)).unwrap();
        assert_eq!((slot.number, slot.captured, slot.first), (1, now + ms(5), true));
        assert!(!air.admit(Slate, Delta, now + ms(250), now + ms(250)).unwrap().first);
        assert_eq!(air.admit(Camera, Delta, now + ms(260), now + ms(260)), None);
        assert_eq!(air.on(), Some(Slate));
        // Taken before the slate's last frame was made.
        let slot = air.admit(Camera, Key, now + ms(240), now + ms(270)).unwrap();
        assert_eq!((slot.number, slot.captured, slot.first), (3, now + ms(251), true));
        assert_eq!(air.admit(Slate, Key, now + ms(280), now + ms(280)), None);
    }

    /// Seeded lists of operations: numbers have no gap, times rise, and each change of origin is at a key frame.
    #[test]
    fn invariants_hold_after_any_operations() {
        let mut seed = 0x2545_f491_u32;
        let mut random = move |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed % below
        };
        for _ in 0..300 {
            let (mut air, mut now) = (Air::new(), clock::now());
            let (mut next, mut last, mut on) = (0, None, None);
            for _ in 0..200 {
                now += ms(u64::from(random(600)));
                match random(8) {
                    0 => air.failed("gone".into()),
                    1 => air.opening(now),
                    2 if random(6) == 0 => {
                        air.closed();
                        on = None;
                    }
                    _ => {
                        let origin = if random(2) == 0 { Camera } else { Slate };
                        let kind = if random(3) == 0 { Key } else { Delta };
                        let captured = now - ms(u64::from(random(100)));
                        let due = matches!(air.slate(now), Due::Now(_));
                        let Some(slot) = air.admit(origin, kind, captured, now) else { continue };
                        assert_eq!(slot.number, next);
                        assert!(last.is_none_or(|last| slot.captured > last));
                        assert!(on == Some(origin) || kind == Key);
                        assert_eq!(slot.first, on != Some(origin));
                        assert!(origin == Camera || due);
                        (next, last, on) = (next + 1, Some(slot.captured), Some(origin));
                    }
                }
            }
        }
    }
}
