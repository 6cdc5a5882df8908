//! The newest encoded frames of a camera, and where each viewer stands in them. Pure: frames in, frames out; what
//! waits and wakes is in `mod.rs`.

use std::{collections::VecDeque, time::Duration};

use crate::encode::{EncodedFrame, FrameKind};

/// How many frames are kept: more than a viewer may be behind, at any frame rate.
const MAX_FRAMES: usize = 90;
/// How many bytes are kept: at most 4 s of 16 Mbit/s.
const MAX_BYTES: usize = 8 << 20;
/// A viewer that is further behind than this jumps to a key frame: its delay must never grow.
const MAX_LAG: Duration = Duration::from_millis(500);
/// At a low frame rate one frame is more than `MAX_LAG`; so many frames are always allowed.
const MAX_LAG_FRAMES: u64 = 2;
/// A new viewer begins at a key frame that is at most this old, and waits for the next one otherwise. So a viewer
/// whose connection opened with the camera has its first picture at once, at the price of a short burst.
const MAX_START_LAG: Duration = Duration::from_millis(250);

/// The newest frames, numbered without a gap.
#[derive(Debug, Default)]
pub struct Ring {
    frames: VecDeque<EncodedFrame>,
    bytes: usize,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The frame that would follow the last one it was given; `None` before the first.
    expected: Option<u64>,
    stand: Stand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// It can decode the frame it expects.
    Following,
    /// It needs a key frame, of this number or later.
    NeedsKey { from: u64, asked: bool },
}

/// What a viewer is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub frame: EncodedFrame,
    /// Frames between the last one given and this, which the viewer never had; then this is a key frame.
    pub lost: u32,
}

/// What is there for a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Frame(Received),
    /// Nothing will do but a key frame; said once for each time it is needed.
    NeedsKeyFrame,
    /// Nothing yet.
    Wait,
}

impl Position {
    /// Of a viewer that has had nothing yet.
    pub fn start() -> Self {
        Self { expected: None, stand: Stand::NeedsKey { from: 0, asked: false } }
    }
}

impl Ring {
    /// An empty ring. It takes memory as frames come.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the newest frame; the oldest give way. Frames before a gap in the numbers are of no more use.
    pub fn push(&mut self, frame: EncodedFrame) {
        if self.newest().is_some_and(|newest| newest.number + 1 != frame.number) {
            self.clear();
        }
        self.bytes += frame.data.len();
        self.frames.push_back(frame);
        while self.frames.len() > MAX_FRAMES || (self.bytes > MAX_BYTES && self.frames.len() > 1) {
            let oldest = self.frames.pop_front();
            self.bytes -= oldest.map_or(0, |frame| frame.data.len());
        }
    }

    /// Forgets all frames: the camera was closed, and nobody shall begin with an old picture.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// The next frame for a viewer, whose position moves on with it.
    pub fn next(&self, position: &mut Position) -> Next {
        if let (Stand::Following, Some(expected)) = (position.stand, position.expected) {
            match self.get(expected) {
                Some(frame) if self.is_in_time(frame) => return deliver(frame, position),
                None if self.newest().is_none_or(|newest| newest.number < expected) => return Next::Wait,
                // Too far behind, or out of the ring.
                Some(_) | None => {
                    position.stand = Stand::NeedsKey { from: expected, asked: false };
                }
            }
        }
        let Stand::NeedsKey { from, asked } = position.stand else {
            return Next::Wait;
        };
        let lag = if position.expected.is_some() { MAX_LAG } else { MAX_START_LAG };
        if let Some(frame) = self.newest_key_frame(from, lag) {
            return deliver(frame, position);
        }
        let Some(newest) = self.newest().filter(|newest| newest.number >= from) else {
            // What comes next may be a key frame by itself, as the first of a camera is.
            return Next::Wait;
        };
        position.stand = Stand::NeedsKey { from: newest.number + 1, asked: true };
        if asked && !self.key_frame_came(from) { Next::Wait } else { Next::NeedsKeyFrame }
    }

    fn newest(&self) -> Option<&EncodedFrame> {
        self.frames.back()
    }

    fn get(&self, number: u64) -> Option<&EncodedFrame> {
        let index = number.checked_sub(self.frames.front()?.number)?;
        self.frames.get(usize::try_from(index).ok()?)
    }

    /// Whether a frame is near enough to the newest one to be worth sending.
    fn is_in_time(&self, frame: &EncodedFrame) -> bool {
        self.newest().is_some_and(|newest| {
            newest.number - frame.number <= MAX_LAG_FRAMES || self.lag(frame) <= MAX_LAG
        })
    }

    fn newest_key_frame(&self, from: u64, lag: Duration) -> Option<&EncodedFrame> {
        let newest_key = self.frames.iter().rev().find(|frame| frame.kind == FrameKind::Key)?;
        (newest_key.number >= from && self.lag(newest_key) <= lag).then_some(newest_key)
    }

    /// Whether a key frame since `from` has come and, for who asks, gone: one that is still there but too old, or
    /// perhaps one that has left the ring.
    fn key_frame_came(&self, from: u64) -> bool {
        self.frames.front().is_some_and(|oldest| oldest.number > from)
            || self.frames.iter().any(|frame| frame.number >= from && frame.kind == FrameKind::Key)
    }

    fn lag(&self, frame: &EncodedFrame) -> Duration {
        self.newest()
            .map_or(Duration::ZERO, |newest| newest.captured.saturating_duration_since(frame.captured))
    }
}

fn deliver(frame: &EncodedFrame, position: &mut Position) -> Next {
    let lost = position.expected.map_or(0, |expected| frame.number - expected);
    *position = Position { expected: Some(frame.number + 1), stand: Stand::Following };
    Next::Frame(Received { frame: frame.clone(), lost: u32::try_from(lost).unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::{camera::orientation::Rotation, clock};

    /// A camera's worth of frames at 30 a second.
    struct Source {
        ring: Ring,
        number: u64,
        at: Instant,
        interval: Duration,
    }

    impl Source {
        fn new() -> Self {
            Self { ring: Ring::new(), number: 0, at: clock::now(), interval: Duration::from_millis(33) }
        }

        fn publish(&mut self, kind: FrameKind, length: usize) {
            static ZEROS: [u8; MAX_BYTES + 1] = [0; MAX_BYTES + 1];
            let data = Bytes::from_static(&ZEROS[..length]);
            self.ring.push(EncodedFrame {
                data,
                kind,
                number: self.number,
                captured: self.at,
                rotation: Rotation::None,
            });
            self.number += 1;
            self.at += self.interval;
        }

        fn key(&mut self) {
            self.publish(FrameKind::Key, 10);
        }

        fn deltas(&mut self, count: usize) {
            for _ in 0..count {
                self.publish(FrameKind::Delta, 10);
            }
        }

        fn next(&self, position: &mut Position) -> Next {
            self.ring.next(position)
        }

        /// Number and losses of all that is there for a viewer.
        fn drain(&self, position: &mut Position) -> Vec<(u64, u32)> {
            let mut all = vec![];
            loop {
                match self.next(position) {
                    Next::Frame(received) => all.push((received.frame.number, received.lost)),
                    Next::NeedsKeyFrame => {}
                    Next::Wait => return all,
                }
            }
        }
    }

    #[test]
    fn viewer_begins_at_a_fresh_key_frame() {
        let mut source = Source::new();
        source.key();
        source.deltas(3);
        assert_eq!(source.drain(&mut Position::start()), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn viewer_waits_for_a_key_frame_when_the_last_is_old_and_asks_once() {
        let mut source = Source::new();
        source.key();
        source.deltas(20);
        let mut position = Position::start();
        assert_eq!(source.next(&mut position), Next::NeedsKeyFrame);
        for _ in 0..5 {
            source.deltas(1);
            assert_eq!(source.next(&mut position), Next::Wait);
        }
        source.key();
        source.deltas(1);
        assert_eq!(source.drain(&mut position), [(26, 0), (27, 0)]);
    }

    #[test]
    fn viewer_before_the_first_frame_asks_for_nothing() {
        let mut source = Source::new();
        let mut position = Position::start();
        assert_eq!(source.next(&mut position), Next::Wait);
        source.key();
        assert_eq!(source.drain(&mut position), [(0, 0)]);
    }

    #[test]
    fn viewer_that_is_a_little_late_loses_nothing() {
        let mut source = Source::new();
        source.key();
        let mut position = Position::start();
        source.drain(&mut position);
        source.deltas(15);
        let numbers: Vec<_> = source.drain(&mut position).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
    }

    #[test]
    fn viewer_that_is_half_a_second_behind_jumps_to_the_next_key_frame() {
        let mut source = Source::new();
        source.key();
        let mut position = Position::start();
        source.drain(&mut position);
        source.deltas(17);
        assert_eq!(source.next(&mut position), Next::NeedsKeyFrame);
        assert_eq!(source.next(&mut position), Next::Wait);
        source.deltas(2);
        assert_eq!(source.next(&mut position), Next::Wait);
        source.key();
        source.deltas(1);
        assert_eq!(source.drain(&mut position), [(20, 19), (21, 0)]);
    }

    #[test]
    fn viewer_that_misses_the_key_frame_it_asked_for_asks_again() {
        for deltas_after in [20, 200] {
            let mut source = Source::new();
            source.key();
            source.deltas(20);
            let mut position = Position::start();
            assert_eq!(source.next(&mut position), Next::NeedsKeyFrame);
            source.key();
            source.deltas(deltas_after);
            assert_eq!(source.next(&mut position), Next::NeedsKeyFrame);
            assert_eq!(source.next(&mut position), Next::Wait);
        }
    }

    #[test]
    fn viewer_behind_goes_on_at_a_key_frame_that_is_there_already() {
        let mut source = Source::new();
        source.key();
        let mut position = Position::start();
        source.drain(&mut position);
        source.deltas(30);
        source.key();
        source.deltas(2);
        assert_eq!(source.drain(&mut position), [(31, 30), (32, 0), (33, 0)]);
    }

    #[test]
    fn low_frame_rate_is_not_a_delay() {
        let mut source = Source::new();
        source.interval = Duration::from_secs(1);
        source.key();
        let mut position = Position::start();
        source.drain(&mut position);
        source.deltas(3);
        assert_eq!(source.drain(&mut position), [(1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn after_the_camera_was_closed_nobody_begins_with_an_old_picture() {
        let mut source = Source::new();
        source.key();
        let mut old = Position::start();
        source.drain(&mut old);
        source.deltas(2);
        source.ring.clear();
        let mut new = Position::start();
        assert_eq!(source.drain(&mut new), []);
        assert_eq!(source.drain(&mut old), []);
        source.key();
        assert_eq!(source.drain(&mut new), [(3, 0)]);
        assert_eq!(source.drain(&mut old), [(3, 2)]);
    }

    #[test]
    fn a_frame_larger_than_the_ring_is_kept_alone() {
        let mut source = Source::new();
        source.key();
        source.publish(FrameKind::Key, MAX_BYTES + 1);
        assert_eq!(source.ring.frames.len(), 1);
        assert_eq!(source.drain(&mut Position::start()), [(1, 0)]);
    }

    /// One viewer as a test sees it, and what must hold of all it was given.
    #[derive(Default)]
    struct Seen {
        first: Option<u64>,
        last: Option<u64>,
        delivered: u64,
        lost: u64,
    }

    impl Seen {
        fn check(&mut self, received: &Received, newest: &EncodedFrame) {
            let frame = &received.frame;
            if self.last.is_none_or(|last| frame.number != last + 1) {
                assert_eq!(frame.kind, FrameKind::Key, "began or went on at {} of no key", frame.number);
            }
            assert!(self.last.is_none_or(|last| frame.number > last), "numbers do not rise");
            let behind = newest.captured - frame.captured;
            assert!(behind <= MAX_LAG || newest.number - frame.number <= MAX_LAG_FRAMES, "{behind:?} late");
            self.first = self.first.or(Some(frame.number));
            self.last = Some(frame.number);
            self.delivered += 1;
            self.lost += u64::from(received.lost);
            assert_eq!(
                self.delivered + self.lost,
                frame.number - self.first.unwrap_or_default() + 1,
                "losses do not add up"
            );
        }
    }

    /// Seeded lists of operations: publish, close, read a little or much, by three viewers.
    #[test]
    fn invariants_hold_after_any_operations() {
        for seed in 0..300_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut pick = |below: u64| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % below
            };
            let mut source = Source::new();
            source.interval = Duration::from_millis([16, 33, 100, 1000][pick(4) as usize]);
            let mut viewers = [(); 3].map(|()| (Position::start(), Seen::default()));
            let mut must_be_key = true;
            for _ in 0..400 {
                match pick(10) {
                    0..=4 => {
                        let key = must_be_key || pick(25) == 0;
                        let length = [10, 5_000, 700_000][pick(3) as usize];
                        source.publish(if key { FrameKind::Key } else { FrameKind::Delta }, length);
                        must_be_key = false;
                    }
                    5 if pick(20) == 0 => {
                        source.ring.clear();
                        must_be_key = true;
                    }
                    _ => {
                        let (position, seen) = &mut viewers[pick(3) as usize];
                        for _ in 0..pick(8) {
                            if let Next::Frame(received) = source.ring.next(position) {
                                seen.check(&received, source.ring.newest().unwrap());
                            }
                        }
                    }
                }
                let ring = &source.ring;
                assert!(ring.frames.len() <= MAX_FRAMES);
                assert!(ring.bytes <= MAX_BYTES || ring.frames.len() == 1);
                assert_eq!(ring.bytes, ring.frames.iter().map(|frame| frame.data.len()).sum::<usize>());
                assert!(
                    ring.frames.iter().zip(ring.frames.iter().skip(1)).all(|(a, b)| a.number + 1 == b.number)
                );
            }
        }
    }
}
