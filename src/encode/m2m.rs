//! The board's own encoder: any V4L2 device that follows the kernel's "Memory-to-Memory Stateful Video Encoder
//! Interface" (userspace-api/media/v4l/dev-encoder.rst). Runs on the camera's pipeline thread, which waits for the
//! encoder for a frame's time at the most: what is not ready then comes out with a later frame, with its own time.
//! Not here: the device (`coder`, and `sys::m2m` below it), and when a key frame is due (`keyframe`).

mod coder;
mod flight;
mod found;
mod input;
mod settings;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, path::Path, time::Duration};

use bytes::Bytes;

use super::{Bitrate, Damage, EncodeError, Encoded, Encoder, FrameKind, Output, Request};
use crate::{
    camera::{Frame, VideoFormat, negotiate::FourCc},
    clock,
    h264::access_unit::Assembler,
};
use coder::{Coded, Coder, Means, PutIn, Waited};
use flight::{Asked, Flight};

pub(in crate::encode) use found::search;
pub use found::{FoundEncoder, find};
#[cfg(test)]
pub(in crate::encode) use tests::over_openh264;

/// What viewers get.
pub const H264: FourCc = FourCc(*b"H264");

/// The thread waits for a frame's time, but no shorter and no longer than this.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
/// An encoder that was waited for so long, all in all, and gave nothing, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(1);

/// An encoder that so often in a row made no key frame when asked by its control is started over instead.
const UNHEEDED: u32 = 2;

/// A V4L2 encoder for one format.
pub struct M2mEncoder {
    /// What people know it by.
    name: String,
    format: VideoFormat,
    coder: Box<dyn Coder>,
    tail: Tail,
    bitrate: Bitrate,
    /// A key frame is wanted, and not asked for yet.
    key_due: bool,
    /// The stream has begun, so that a key frame does not come by itself.
    begun: bool,
    /// How long it was waited for since something came out.
    waited: Duration,
}

impl std::fmt::Debug for M2mEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("M2mEncoder")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("bitrate", &self.bitrate)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

impl M2mEncoder {
    /// Starts an encoder that makes `fourcc` of frames of `format`.
    ///
    /// # Errors
    /// `Unsupported`: it does not take such frames. `Failed`: the driver's reason.
    pub fn open(
        path: &Path,
        fourcc: FourCc,
        format: VideoFormat,
        bitrate: Bitrate,
    ) -> Result<Self, EncodeError> {
        let coder = coder::Device::open(path, fourcc, &format, bitrate)?;
        let payload = if fourcc == H264 { Payload::H264(Assembler::default()) } else { Payload::Other };
        Ok(Self::new(path.display().to_string(), Box::new(coder), payload, format, bitrate))
    }

    /// Whether it reads cameras' frames where they lie, without a copy.
    pub fn reads_in_place(&self) -> bool {
        self.coder.reads_in_place()
    }

    fn new(
        name: String,
        coder: Box<dyn Coder>,
        payload: Payload,
        format: VideoFormat,
        bitrate: Bitrate,
    ) -> Self {
        let flight = Flight::new(clock::now());
        let tail =
            Tail { flight, payload, whole: true, unheeded: 0, ready: VecDeque::new(), came: Came::Nothing };
        Self { name, format, coder, tail, bitrate, key_due: false, begun: false, waited: Duration::ZERO }
    }

    /// Takes what is ready, without waiting.
    fn collect(&mut self) -> Result<(), EncodeError> {
        while self.coder.take(&mut |coded| self.tail.take(coded))? {}
        if std::mem::replace(&mut self.tail.came, Came::Nothing) == Came::Something {
            self.waited = Duration::ZERO;
        }
        Ok(())
    }

    /// Waits until the encoder has made something of all that was put in, for a frame's time at the most.
    fn collect_all(&mut self) -> Result<(), EncodeError> {
        let patience = self.format.rate.interval().clamp(PATIENCE.0, PATIENCE.1);
        let deadline = clock::now() + patience;
        loop {
            self.collect()?;
            if self.tail.flight.is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() || self.coder.wait(left)? == Waited::InVain {
                break;
            }
        }
        self.waited += patience;
        if self.waited >= HANGS_AFTER {
            let seconds = self.waited.as_secs_f32();
            return Err(EncodeError::Failed(format!("{} gave nothing for {seconds:.1} s", self.name)));
        }
        Ok(())
    }

    fn put_in(&mut self, frame: &Frame<'_>) -> Result<(), EncodeError> {
        let ask = self.key_due && self.begun;
        if ask {
            let means = if self.tail.unheeded < UNHEEDED { Means::Control } else { Means::StartOver };
            self.coder.force_key_frame(means, &mut |coded| self.tail.take(coded))?;
        }
        let stamp = self.tail.flight.stamp(frame.captured);
        match self.coder.put_in(frame, stamp)? {
            PutIn::Taken => {
                let asked = if self.key_due || !self.begun { Asked::Key } else { Asked::Any };
                self.tail.flight.put_in(stamp, frame.captured, asked);
                (self.key_due, self.begun) = (false, true);
            }
            PutIn::NoRoom => {
                tracing::debug!(encoder = %self.name, "it has no room for a frame, which is dropped")
            }
        }
        Ok(())
    }
}

impl Encoder for M2mEncoder {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        let (got, need) = (frame.data.len(), self.format.frame_bytes());
        if got < need.max(1) {
            return Err(EncodeError::Damaged(Damage::Short { got, need }));
        }
        self.collect()?;
        let wanted = request == Request::Key || !self.tail.whole;
        // One on its way serves this request, too.
        self.key_due |= wanted && !self.tail.flight.has_key();
        self.put_in(frame)?;
        self.collect_all()?;
        Ok(self.tail.ready.pop_front())
    }

    fn take_ready(&mut self) -> Result<Option<Output>, EncodeError> {
        self.collect()?;
        Ok(self.tail.ready.pop_front())
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        if bitrate == self.bitrate {
            return Ok(());
        }
        self.bitrate = bitrate;
        self.coder.set_bitrate(bitrate, &mut |coded| self.tail.take(coded))
    }

    /// Drivers choose among profiles and levels what they like: its SPS says which.
    fn profile_level(&self) -> Option<[u8; 3]> {
        None
    }
}

/// What the coded bytes are.
#[derive(Debug)]
enum Payload {
    /// Some encoders give parameter sets once only, and some in a piece of their own.
    H264(Assembler),
    /// A picture each, of which only the driver's word is known.
    Other,
}

/// What becomes of what comes out of an encoder. Pure.
#[derive(Debug)]
struct Tail {
    flight: Flight,
    payload: Payload,
    /// What came out so far can be decoded up to the next; not after a damaged frame, until a key frame.
    whole: bool,
    /// Requests for key frames in a row that gave none.
    unheeded: u32,
    /// At most as many as are in flight.
    ready: VecDeque<Output>,
    came: Came,
}

/// Whether the encoder is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Something,
    Nothing,
}

impl Tail {
    fn take(&mut self, coded: Coded<'_>) {
        self.came = Came::Something;
        if coded.damaged || coded.data.is_empty() {
            tracing::debug!(bytes = coded.data.len(), "the encoder lost a frame");
            self.flight.came_out(coded.stamp);
            self.whole = false;
            return;
        }
        // Parameter sets in a piece of their own are no picture.
        let Some(Encoded { data, kind }) = self.payload.picture(&coded) else { return };
        let flight::Came { captured, asked } = self.flight.came_out(coded.stamp);
        match (kind, asked) {
            (FrameKind::Key, _) => (self.whole, self.unheeded) = (true, 0),
            (FrameKind::Delta, Asked::Key) => self.unheeded += 1,
            (FrameKind::Delta, Asked::Any) => {}
        }
        if self.whole {
            self.ready.push_back(Output { data, kind, captured });
        }
    }
}

impl Payload {
    fn picture(&mut self, coded: &Coded<'_>) -> Option<Encoded> {
        match self {
            Self::H264(assembler) => assembler.whole(coded.data),
            Self::Other => {
                let kind = if coded.key { FrameKind::Key } else { FrameKind::Delta };
                Some(Encoded { data: Bytes::copy_from_slice(coded.data), kind })
            }
        }
    }
}
