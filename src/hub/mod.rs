//! One encode, many viewers: a ring of the newest encoded frames, and a cursor for each viewer.
//! Publishing never waits; a viewer that falls behind goes on at the next key frame and is told
//! how many frames it lost. Published to from the camera's pipeline thread, read from the sessions' tasks.
//! Not here: encoding, and sending.

pub mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::encode::EncodedFrame;
pub use ring::Received;
use ring::{Next, Position, Ring};

/// A camera's frames on their way to its viewers. A clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Written by one thread and read by many tasks, each for as long as it takes to copy a handle to a frame.
    ring: Mutex<Ring>,
    /// Wakes the cursors; true when no more frames will come.
    closed: watch::Sender<bool>,
}

impl Hub {
    /// A hub without frames.
    pub fn new() -> Self {
        let shared = Shared { ring: Mutex::new(Ring::new()), closed: watch::Sender::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// Adds a frame and wakes the viewers. Never waits for one.
    pub fn publish(&self, frame: EncodedFrame) {
        self.ring().push(frame);
        self.shared.closed.send_modify(|_| {});
    }

    /// Forgets all frames, so that nobody begins with an old picture.
    pub fn clear(&self) {
        self.ring().clear();
    }

    /// No more frames will come: the cursors end.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }

    /// A cursor for a new viewer.
    pub fn cursor(&self) -> Cursor {
        Cursor { hub: self.clone(), position: Position::start(), woken: self.shared.closed.subscribe() }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A ring is whole between any two of its operations, so a panic elsewhere does not spoil it.
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

/// A viewer's place in the stream.
#[derive(Debug)]
pub struct Cursor {
    hub: Hub,
    position: Position,
    woken: watch::Receiver<bool>,
}

/// What a cursor has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Frame(Received),
    /// This viewer can go on only at a key frame; said once for each time.
    NeedsKeyFrame,
}

impl Cursor {
    /// The next frame for this viewer: the first is a key frame, and so is the first after a loss. `None` when the
    /// hub was closed. May be dropped while it waits; nothing is lost by that.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            // Marked before the ring is read, so that a frame published in between wakes.
            if *self.woken.borrow_and_update() {
                return None;
            }
            let next = self.hub.ring().next(&mut self.position);
            match next {
                Next::Frame(received) => return Some(Event::Frame(received)),
                Next::NeedsKeyFrame => return Some(Event::NeedsKeyFrame),
                Next::Wait => {}
            }
            // An error is impossible while `self.hub` holds the sender.
            self.woken.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{camera::orientation::Rotation, clock, encode::FrameKind, tasks};

    fn frame(number: u64, kind: FrameKind) -> EncodedFrame {
        EncodedFrame {
            data: Bytes::from_static(b"x"),
            kind,
            number,
            captured: clock::now(),
            rotation: Rotation::None,
        }
    }

    async fn number(cursor: &mut Cursor) -> Option<u64> {
        match cursor.next().await? {
            Event::Frame(received) => Some(received.frame.number),
            Event::NeedsKeyFrame => panic!("there is a key frame"),
        }
    }

    #[tokio::test]
    async fn every_viewer_gets_every_frame_and_the_end() {
        let hub = Hub::new();
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let mut cursor = hub.cursor();
                tasks::spawn("reader", async move {
                    let mut numbers = vec![];
                    while numbers.len() < 10 {
                        numbers.extend(number(&mut cursor).await);
                    }
                    (numbers, number(&mut cursor).await)
                })
            })
            .collect();
        for count in 0..10 {
            hub.publish(frame(count, if count == 0 { FrameKind::Key } else { FrameKind::Delta }));
            tokio::task::yield_now().await;
        }
        // Let the readers take the last frame before the end.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        hub.close();
        for reader in readers {
            assert_eq!(reader.await.unwrap(), ((0..10).collect(), None));
        }
    }

    #[tokio::test]
    async fn a_frame_is_shared_and_not_copied() {
        let hub = Hub::new();
        let data = Bytes::from(vec![1, 2, 3]);
        hub.publish(EncodedFrame { data: data.clone(), ..frame(0, FrameKind::Key) });
        for _ in 0..2 {
            let Some(Event::Frame(received)) = hub.cursor().next().await else { panic!("no frame") };
            assert_eq!(received.frame.data.as_ptr(), data.as_ptr());
        }
    }

    #[tokio::test]
    async fn publishing_from_a_thread_wakes_a_waiting_viewer() {
        let hub = Hub::new();
        let mut cursor = hub.cursor();
        let waiting = tasks::spawn("viewer", async move { number(&mut cursor).await });
        let publisher = hub.clone();
        let thread = tasks::thread("publisher", move || publisher.publish(frame(7, FrameKind::Key))).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(7));
        thread.join().unwrap();
    }
}
