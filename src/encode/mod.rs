//! From a camera's frame to an H.264 access unit, once for all viewers. Runs on the camera's pipeline thread.
//! `convert`, `bitrate`, `keyframe` and `level` are pure. Not here: opening cameras, and who watches.

pub mod bitrate;
pub mod choice;
pub mod convert;
pub mod jpeg;
pub mod keyframe;
pub mod level;
pub mod m2m;
pub mod openh264;
pub mod orient;
pub mod overlay;
pub mod passthrough;
pub mod planes;
pub mod prepare;
pub mod scaled;
pub mod still;

mod range;

#[cfg(test)]
mod contract;

use std::time::Instant;

use bytes::Bytes;

use crate::camera::{Frame, PixelFormat, orientation::Rotation};

/// One access unit as it goes to every viewer; a clone shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// Annex B with four-byte start codes; a key frame begins with its SPS and PPS.
    pub data: Bytes,
    /// An IDR access unit: decoding can start here.
    pub kind: FrameKind,
    /// Counts up by one for each frame of a camera, over restarts too.
    pub number: u64,
    /// When the picture was taken.
    pub captured: Instant,
    /// How far it must be turned to be upright, for viewers who can (3GPP TS 26.114, section 7.4.5).
    pub rotation: Rotation,
}

/// Whether decoding can start at a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Key,
    Delta,
}

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bitrate(pub u32);

impl std::fmt::Display for Bitrate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kbit/s", self.0 / 1000)
    }
}

/// What the encoder shall make of the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Key,
    Any,
}

/// An encoder for one format. It is made anew when the format changes.
pub trait Encoder: Send {
    /// Encodes one frame; `None` when the encoder made nothing of it (it may skip to hold its bitrate), or nothing
    /// yet: what is given may be an earlier frame. The first frame is a key frame, and `Request::Key` gives one.
    ///
    /// # Errors
    /// The encoder is unusable and shall be made anew.
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError>;

    /// A further frame, of an encoder that was behind and has caught up. Does not wait.
    ///
    /// # Errors
    /// As for `encode`.
    fn take_ready(&mut self) -> Result<Option<Output>, EncodeError> {
        Ok(None)
    }

    /// Sets the rate that the frames after this call aim at.
    ///
    /// # Errors
    /// As for `encode`.
    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError>;

    /// `profile_idc`, constraint flags and `level_idc` of the SPS that the stream will have (RFC 6184, section 8.1),
    /// where that is known before the first key frame; else that frame tells.
    fn profile_level(&self) -> Option<[u8; 3]>;
}

/// What an encoder gives: a frame without a number yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// As in [`EncodedFrame::data`].
    pub data: Bytes,
    pub kind: FrameKind,
    /// When its picture was taken.
    pub captured: Instant,
}

/// An access unit by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// As in [`EncodedFrame::data`].
    pub data: Bytes,
    pub kind: FrameKind,
}

/// Why an encoder cannot be made or has failed.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("the encoder cannot take {width}x{height} pictures: {reason}; choose another --size")]
    Unsupported { width: u32, height: u32, reason: String },
    #[error(
        "this board has no H.264 encoder that Linux drives as a memory-to-memory device: choose --encoder auto or openh264"
    )]
    NoHardware,
    #[error("the camera gives {pixel:?}, which is nothing for encoder {choice}: choose --encoder auto")]
    Mismatch { choice: choice::Choice, pixel: PixelFormat },
    #[error("the encoder failed: {0}")]
    Failed(String),
    /// This frame is no whole picture: it is dropped and counted, and the encoder goes on with the next.
    #[error("a damaged frame came: {0}")]
    Damaged(Damage),
}

impl EncodeError {
    /// What is wrong with the frame, where it is that.
    pub fn damage(&self) -> Option<&Damage> {
        if let Self::Damaged(damage) = self { Some(damage) } else { None }
    }
}

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it has {got} bytes and a picture {need}")]
    Short { got: usize, need: usize },
    /// Width and height in pixels.
    #[error("it is {}x{} and not {}x{}", .got.0, .got.1, .need.0, .need.1)]
    Size { got: (usize, usize), need: (usize, usize) },
    /// In the decoder's words.
    #[error("its JPEG cannot be decoded: {0}")]
    Jpeg(String),
}
