//! What a command's reader thread hands to the pipeline thread: of raw pictures the newest, of H.264 a short queue
//! that on overflow skips to the next key frame. Bounded, losses counted. Not here: reading.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::encode::{Encoded, FrameKind};

/// About a second of access units, for a pipeline that is held up.
const MAX_UNITS: usize = 30;

/// Bytes of access units, for pictures that are large.
const MAX_BYTES: usize = 8 << 20;

/// A picture on its way.
#[derive(Debug)]
pub(super) struct Picture<T> {
    pub(super) content: T,
    pub(super) captured: Instant,
    /// Lost since the one before.
    pub(super) skipped: u32,
}

/// How pictures of one kind wait.
pub(super) trait Waiting {
    type Content;
    fn put(&mut self, content: Self::Content, captured: Instant);
    fn take(&mut self) -> Option<Picture<Self::Content>>;
}

/// A slot of one for raw pictures, and the buffers that are free: three in all make a round.
#[derive(Debug, Default)]
pub(super) struct Newest {
    ready: Option<(Vec<u8>, Instant)>,
    free: Vec<Vec<u8>>,
    skipped: u32,
}

impl Newest {
    /// A buffer to fill; a new, empty one if none is free.
    pub(super) fn free_buffer(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        self.free.push(buffer);
    }
}

impl Waiting for Newest {
    type Content = Vec<u8>;

    fn put(&mut self, content: Vec<u8>, captured: Instant) {
        if let Some((older, _)) = self.ready.replace((content, captured)) {
            self.skipped = self.skipped.saturating_add(1);
            self.free.push(older);
        }
    }

    fn take(&mut self) -> Option<Picture<Vec<u8>>> {
        let (content, captured) = self.ready.take()?;
        Some(Picture { content, captured, skipped: std::mem::take(&mut self.skipped) })
    }
}

/// Access units in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    units: VecDeque<Picture<Encoded>>,
    bytes: usize,
    skipped: u32,
    /// Whether the last access unit was queued, so that one that refers to it can be.
    unbroken: bool,
}

impl Queue {
    /// The stream is damaged here: nothing is of use until the next key frame.
    pub(super) fn break_off(&mut self) {
        self.unbroken = false;
    }
}

impl Waiting for Queue {
    type Content = Encoded;

    fn put(&mut self, content: Encoded, captured: Instant) {
        let full = self.units.len() >= MAX_UNITS || self.bytes + content.data.len() > MAX_BYTES;
        if full && !self.units.is_empty() {
            let waited: u32 = self.units.drain(..).map(|unit| unit.skipped.saturating_add(1)).sum();
            self.skipped = self.skipped.saturating_add(waited);
            (self.bytes, self.unbroken) = (0, false);
        }
        if !self.unbroken && content.kind == FrameKind::Delta {
            self.skipped = self.skipped.saturating_add(1);
            return;
        }
        self.unbroken = true;
        self.bytes += content.data.len();
        self.units.push_back(Picture { content, captured, skipped: std::mem::take(&mut self.skipped) });
    }

    fn take(&mut self) -> Option<Picture<Encoded>> {
        let unit = self.units.pop_front()?;
        self.bytes -= unit.content.data.len();
        Some(unit)
    }
}

/// One reader puts, one pipeline takes. The mutex is there because they are threads; it is held for a few moves.
#[derive(Debug)]
pub(super) struct Mailbox<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State<W> {
    waiting: W,
    /// Why no more will come.
    end: Option<End>,
    stopped: bool,
}

/// Why a reader ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The command closed its output.
    Closed,
    /// What it wrote is not what was agreed, or cannot be read.
    Unusable(String),
}

/// What waiting for a picture gave.
#[derive(Debug)]
pub(super) enum Taken<T> {
    Picture(Picture<T>),
    Nothing,
    End(End),
}

impl<W: Waiting + Default> Mailbox<W> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new() }
    }

    /// Changes what waits, for what is not a picture coming or going.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut W) -> T) -> T {
        change(&mut self.lock().waiting)
    }

    pub(super) fn put(&self, content: W::Content, captured: Instant) {
        self.lock().waiting.put(content, captured);
        self.changed.notify_one();
    }

    pub(super) fn end(&self, end: End) {
        self.lock().end = Some(end);
        self.changed.notify_one();
    }

    /// Tells the reader to stop.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
    }

    pub(super) fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits at most `wait` for a picture. The end comes after all that was put before it.
    pub(super) fn take(&self, wait: Duration) -> Taken<W::Content> {
        let deadline = crate::clock::now() + wait;
        let mut state = self.lock();
        loop {
            if let Some(picture) = state.waiting.take() {
                return Taken::Picture(picture);
            }
            if let Some(end) = &state.end {
                return Taken::End(end.clone());
            }
            let left = deadline.saturating_duration_since(crate::clock::now());
            if left.is_zero() {
                return Taken::Nothing;
            }
            // Waking early is no harm: the loop looks again.
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing here panics half-way, so a poisoned state is a sound one.
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock;

    fn unit(kind: FrameKind, length: usize) -> Encoded {
        Encoded { data: Bytes::from(vec![0; length]), kind }
    }

    #[test]
    fn the_newest_raw_picture_wins_and_buffers_go_round() {
        let (mut slot, now) = (Newest::default(), clock::now());
        assert!(slot.take().is_none());
        for number in 0..4 {
            let mut buffer = slot.free_buffer();
            buffer.clear();
            buffer.push(number);
            slot.put(buffer, now);
        }
        let picture = slot.take().unwrap();
        assert_eq!((picture.content.as_slice(), picture.skipped), (&[3][..], 3));
        slot.give_back(picture.content);
        assert_eq!(slot.free.len(), 2, "four pictures took two buffers");
        slot.put(vec![9], now);
        assert_eq!(slot.take().unwrap().skipped, 0);
    }

    #[test]
    fn h264_starts_at_a_key_frame_and_keeps_its_order() {
        let (mut queue, now) = (Queue::default(), clock::now());
        queue.put(unit(FrameKind::Delta, 1), now);
        for length in 1..=3 {
            queue.put(unit(if length == 1 { FrameKind::Key } else { FrameKind::Delta }, length), now);
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.take())
            .map(|picture| (picture.content.data.len(), picture.skipped))
            .collect();
        assert_eq!(taken, [(1, 1), (2, 0), (3, 0)]);
    }

    #[test]
    fn a_full_queue_skips_to_the_next_key_frame() {
        let (mut queue, now) = (Queue::default(), clock::now());
        queue.put(unit(FrameKind::Key, 1), now);
        for _ in 1..MAX_UNITS + 5 {
            queue.put(unit(FrameKind::Delta, 1), now);
        }
        assert!(queue.take().is_none());
        queue.put(unit(FrameKind::Key, 2), now);
        queue.put(unit(FrameKind::Delta, 3), now);
        let key = queue.take().unwrap();
        assert_eq!((key.content.kind, key.skipped as usize), (FrameKind::Key, MAX_UNITS + 5));
        assert_eq!(queue.take().unwrap().skipped, 0);
    }

    #[test]
    fn large_pictures_fill_the_queue_too_but_one_always_passes() {
        let (mut queue, now) = (Queue::default(), clock::now());
        queue.put(unit(FrameKind::Key, MAX_BYTES + 1), now);
        assert!(queue.take().is_some());
        queue.put(unit(FrameKind::Key, MAX_BYTES), now);
        queue.put(unit(FrameKind::Key, 1), now);
        let picture = queue.take().unwrap();
        assert_eq!((picture.content.data.len(), picture.skipped), (1, 1));
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn damage_skips_to_the_next_key_frame() {
        let (mut queue, now) = (Queue::default(), clock::now());
        queue.put(unit(FrameKind::Key, 1), now);
        queue.break_off();
        queue.put(unit(FrameKind::Delta, 1), now);
        queue.put(unit(FrameKind::Key, 1), now);
        let skipped: Vec<_> = std::iter::from_fn(|| queue.take()).map(|picture| picture.skipped).collect();
        assert_eq!(skipped, [0, 1]);
    }

    #[test]
    fn the_end_comes_after_the_pictures() {
        let mailbox = Mailbox::<Newest>::new();
        assert!(matches!(mailbox.take(Duration::ZERO), Taken::Nothing));
        mailbox.put(vec![1], clock::now());
        mailbox.end(End::Closed);
        assert!(matches!(mailbox.take(Duration::ZERO), Taken::Picture(_)));
        assert!(matches!(mailbox.take(Duration::from_secs(60)), Taken::End(End::Closed)));
    }
}
