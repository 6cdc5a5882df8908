//! The encoder for what a camera delivers, made anew when that changes or the encoder fails. Runs on the camera's
//! thread. Not here: when a camera is opened, and what becomes of the frames (`worker`).

use std::sync::Arc;

use super::MakeEncoder;
use crate::{
    camera::{PixelFormat, VideoFormat},
    encode::{Bitrate, EncodeError, Encoder, Output},
};

/// The encoder for what the camera delivers.
pub(super) struct Stage {
    make_encoder: Arc<MakeEncoder>,
    pub(super) encoder: Box<dyn Encoder>,
    pub(super) format: VideoFormat,
    /// The configured rate, for which the encoder's level is chosen.
    ceiling: Bitrate,
    bitrate: Bitrate,
    /// Failures since the last frame.
    pub(super) failures: u32,
}

impl Stage {
    pub(super) fn new(
        make_encoder: Arc<MakeEncoder>,
        format: VideoFormat,
        ceiling: Bitrate,
    ) -> Result<Self, EncodeError> {
        let encoder = make_encoder(format, ceiling)?;
        Ok(Self { make_encoder, encoder, format, ceiling, bitrate: ceiling, failures: 0 })
    }

    pub(super) fn rebuild(&mut self) -> Result<(), EncodeError> {
        self.encoder = (self.make_encoder)(self.format, self.ceiling)?;
        self.bitrate = self.ceiling;
        Ok(())
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        if bitrate != self.bitrate {
            self.bitrate = bitrate;
            self.encoder.set_bitrate(bitrate)?;
        }
        Ok(())
    }

    /// Another format, and what becomes of its first frame.
    pub(super) fn change(
        &mut self,
        format: VideoFormat,
        result: Result<Option<Output>, EncodeError>,
    ) -> Result<Option<Output>, EncodeError> {
        tracing::info!(from = %Described(self.format), to = %Described(format), "the camera's format changed");
        let handed_on = self.format.pixel == PixelFormat::H264 && format.pixel == PixelFormat::H264;
        self.format = format;
        if handed_on {
            return result;
        }
        self.rebuild().map(|()| None)
    }
}

/// A format in a log line.
pub(super) struct Described(pub(super) VideoFormat);

impl std::fmt::Display for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let VideoFormat { pixel, width, height, rate, .. } = self.0;
        let fps = (rate.per_second() * 100.0).round() / 100.0;
        write!(f, "{pixel:?} {width}x{height} at {fps} fps")
    }
}
