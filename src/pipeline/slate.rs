//! The slate's thread: while there are viewers and the camera gives no picture, it draws, encodes and publishes a few
//! frames a second that say why. It is a thread of its own, so that neither a driver that blocks nor an encoder that
//! hangs keeps viewers in the dark. Not here: when the slate is due (`air`), and how it looks (`picture`).

mod picture;

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use super::{
    CameraState, Control, Notice, NoticeCode, Shared, Timing,
    air::{Due, Origin, Stream},
};
use crate::{
    camera::{Frame, FrameRate, PixelFormat, VideoFormat, Wish, orientation::Rotation},
    clock,
    encode::{
        Bitrate, EncodeError, Encoder, Output, Request,
        openh264::{self, OpenH264},
    },
};
use picture::{Card, Picture};

/// Frames per second.
const RATE: FrameRate = FrameRate::new(4);
/// Letters that hardly change need little.
const BITRATE: Bitrate = Bitrate(300_000);
/// On a board that is slow to encode, at most this part of its time goes into the slate.
const SHARE: u32 = 4;
/// Pixels; larger ones are halved.
const LARGEST: (u32, u32) = (1920, 1088);

pub(super) struct Slate {
    shared: Arc<Shared>,
    timing: Timing,
    /// Made when the slate is shown, and dropped afterwards.
    studio: Option<Studio>,
    /// When the next frame is due, and the reason that the last one shows: another is shown at once.
    next: Option<(Instant, String)>,
    /// Until when not to try again, after it could not be made.
    rest: Option<Instant>,
    /// Why it cannot be made, said in the log once.
    reported: Option<String>,
}

/// What the thread is to do next.
struct Order {
    card: Card,
    format: VideoFormat,
    request: Request,
    bitrate: Bitrate,
}

impl Slate {
    pub(super) fn new(shared: Arc<Shared>, timing: Timing) -> Self {
        Self { shared, timing, studio: None, next: None, rest: None, reported: None }
    }

    /// Until the pipeline is stopped.
    pub(super) fn run(mut self) {
        while let Some(order) = self.wait() {
            let now = self.shared.now();
            let begun = clock::now();
            let made = self.make(&order);
            let took = clock::now().saturating_duration_since(begun);
            self.next = Some((now + RATE.interval().max(took * SHARE), order.card.reason.clone()));
            match made {
                Ok(Some(encoded)) => self.publish(encoded, order, now),
                Ok(None) => self.rest = Some(now + RATE.interval()),
                Err(error) => {
                    self.rest = Some(now + self.timing.retry);
                    self.complain(error, order);
                }
            }
        }
    }

    /// Waits, without cost while nobody watches, until a frame is due; `None` when the thread shall end.
    fn wait(&mut self) -> Option<Order> {
        let shared = Arc::clone(&self.shared);
        let mut control = shared.control();
        loop {
            if control.stopping || control.ended {
                return None;
            }
            let now = shared.now();
            if control.air.on() != Some(Origin::Slate) {
                // It begins anew, and at once when it is due.
                (self.studio, self.next) = (None, None);
            }
            let until = match control.slate(now) {
                Due::Now(reason) => {
                    let next = self.next.as_ref().filter(|(_, shown)| *shown == reason).map(|(at, _)| *at);
                    match next.max(self.rest).filter(|at| now < *at) {
                        Some(at) => Some(at),
                        None => return Some(self.order(&mut control, reason, now)),
                    }
                }
                Due::At(at) => Some(at),
                Due::No => {
                    self.studio = None;
                    None
                }
            };
            control = match until {
                Some(until) => {
                    let left = until.saturating_duration_since(now).min(self.timing.look);
                    shared.changed.wait_timeout(control, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => shared.changed.wait(control).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn order(&self, control: &mut Control, reason: String, now: Instant) -> Order {
        let settings = &self.shared.settings;
        Order {
            card: Card { name: self.shared.name().clone(), reason },
            format: format(control.air.known, &settings.wish),
            request: control.slate_request(now),
            bitrate: BITRATE.min(control.bitrate.target(now)),
        }
    }

    fn make(&mut self, order: &Order) -> Result<Option<Output>, EncodeError> {
        let studio = match self.studio.take().filter(|studio| studio.format == order.format) {
            Some(studio) => studio,
            None => Studio::new(order.format, order.bitrate)?,
        };
        self.studio.insert(studio).make(order)
    }

    fn publish(&mut self, made: Output, order: Order, now: Instant) {
        self.reported = None;
        let shared = &self.shared;
        let mut control = shared.control();
        if control.stopping || control.ended {
            return;
        }
        let Some((frame, first)) = shared.admit(&mut control, Origin::Slate, made, Rotation::None, now)
        else {
            // The camera came back meanwhile.
            return;
        };
        if first {
            tracing::info!(camera = %shared.settings.id, reason = order.card.reason, "viewers see the slate");
        }
        // Under the lock, as the camera's thread might say meanwhile that there is a picture.
        announce(shared, &control.air.known, order.card.reason);
        shared.hub.publish(frame);
    }

    fn complain(&mut self, error: EncodeError, order: Order) {
        let error = error.to_string();
        if self.reported.as_ref() != Some(&error) {
            tracing::warn!(camera = %self.shared.settings.id, "the slate cannot be shown: {error}");
            self.reported = Some(error);
        }
        let control = self.shared.control();
        if matches!(control.slate(self.shared.now()), Due::Now(_)) {
            announce(&self.shared, &control.air.known, order.card.reason);
        }
    }
}

/// Tells the sessions. They answer viewers with the profile that the camera had, so that its picture needs no new
/// session when it comes; a decoder of any profile plays the slate.
fn announce(shared: &Shared, known: &Option<Stream>, reason: String) {
    let profile_level = known.map_or_else(
        || openh264::profile_level(&wished(&shared.settings.wish), shared.settings.bitrate),
        |stream| stream.profile_level,
    );
    shared.notify(Some(Notice { code: NoticeCode::Slate, message: reason.clone() }));
    shared.set_state(CameraState::NoPicture { reason, profile_level });
}

/// The size that the camera had or is to have.
fn format(known: Option<Stream>, wish: &Wish) -> VideoFormat {
    let VideoFormat { mut width, mut height, .. } = known.map_or_else(|| wished(wish), |known| known.format);
    while width.max(height) > LARGEST.0 || width.min(height) > LARGEST.1 {
        (width, height) = (width / 2, height / 2);
    }
    let (width, height) = ((width & !1).max(16), (height & !1).max(16));
    VideoFormat { pixel: PixelFormat::I420, width, height, stride: width, rate: RATE }
}

fn wished(wish: &Wish) -> VideoFormat {
    let Wish { width, height, rate, .. } = *wish;
    VideoFormat { pixel: PixelFormat::I420, width, height, stride: width, rate }
}

/// Drawing board and encoder.
struct Studio {
    format: VideoFormat,
    picture: Picture,
    encoder: OpenH264,
    frames: u64,
}

impl Studio {
    fn new(format: VideoFormat, bitrate: Bitrate) -> Result<Self, EncodeError> {
        let picture = Picture::new(format.width as usize, format.height as usize);
        Ok(Self { format, picture, encoder: OpenH264::new(format, bitrate)?, frames: 0 })
    }

    fn make(&mut self, order: &Order) -> Result<Option<Output>, EncodeError> {
        self.encoder.set_bitrate(order.bitrate)?;
        let data = self.picture.draw(&order.card, self.frames, clock::since_epoch());
        self.frames += 1;
        self.encoder.encode(&Frame { data, captured: clock::now(), dmabuf: None, skipped: 0 }, order.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{Accept, SizeWish};

    #[test]
    fn the_slate_has_the_cameras_size_and_no_more_than_full_hd() {
        let wish = Wish {
            width: 1280,
            height: 720,
            rate: FrameRate::new(30),
            size: SizeWish::Nearest,
            accept: Accept::Any,
        };
        let sized = |width, height| {
            let format = VideoFormat { width, height, ..wished(&wish) };
            let known = Stream { format, profile_level: [0x64, 0, 0x28] };
            let slate = super::format(Some(known), &wish);
            (slate.width, slate.height)
        };
        let unknown = super::format(None, &wish);
        assert_eq!((unknown.width, unknown.height, unknown.rate), (1280, 720, RATE));
        assert_eq!(sized(640, 360), (640, 360));
        assert_eq!(sized(1080, 1920), (1080, 1920));
        assert_eq!(sized(3840, 2160), (1920, 1080));
        assert_eq!(sized(2592, 1944), (1296, 972));
        assert_eq!(sized(8, 8), (16, 16));
    }
}
