//! The encoder for what a camera delivers: the best that the setting allows and the board has, made anew when the
//! format changes or it fails, and replaced by software when the board's own fails again and again. Made with each
//! opening of the camera, so that what was given up is tried again then. Runs on the camera's thread. Not here: when a
//! camera is opened, and what becomes of the frames (`worker`).

use std::sync::Arc;

use super::MakeEncoder;
use crate::{
    camera::{PixelFormat, VideoFormat},
    encode::{
        Bitrate, EncodeError, Encoder, Output,
        choice::{self, Choice, InUse, Kind, Made},
    },
};

/// So many failures without a frame between, and the camera is closed and tried again later.
const FAILURES: u32 = 3;
/// So many failures of the board's encoder, each less than `WORKED` frames after the one before, and software takes
/// over.
const HARDWARE_FAILURES: u32 = 2;
/// Frames; ten seconds of an ordinary camera.
const WORKED: u32 = 300;

/// The encoder for what the camera delivers.
pub(super) struct Stage {
    make_encoder: Arc<MakeEncoder>,
    choice: Choice,
    pub(super) encoder: Box<dyn Encoder>,
    pub(super) in_use: InUse,
    pub(super) format: VideoFormat,
    /// The configured rate, for which the encoder's level is chosen.
    ceiling: Bitrate,
    bitrate: Bitrate,
    /// Since the last frame.
    failures: u32,
    /// Of the board's encoder.
    hardware_failures: u32,
    /// Since the last failure.
    frames: u32,
    /// Why the board's encoder is not used any more.
    given_up: Option<EncodeError>,
}

impl Stage {
    pub(super) fn new(
        make_encoder: Arc<MakeEncoder>,
        choice: Choice,
        format: VideoFormat,
        ceiling: Bitrate,
    ) -> Result<Self, EncodeError> {
        let (encoder, in_use) = make(make_encoder.as_ref(), choice, format, ceiling, None)?;
        Ok(Self {
            make_encoder,
            choice,
            encoder,
            in_use,
            format,
            ceiling,
            bitrate: ceiling,
            failures: 0,
            hardware_failures: 0,
            frames: 0,
            given_up: None,
        })
    }

    /// Whether the camera encodes by itself, so that it is to be asked for key frames.
    pub(super) fn hands_on(&self) -> bool {
        self.in_use.kind == Kind::Passthrough
    }

    pub(super) fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        if bitrate != self.bitrate {
            self.bitrate = bitrate;
            self.encoder.set_bitrate(bitrate)?;
        }
        Ok(())
    }

    /// A frame came of it.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
        self.frames = self.frames.saturating_add(1);
    }

    /// Another format, and what becomes of its first frame.
    pub(super) fn change(
        &mut self,
        format: VideoFormat,
        result: Result<Option<Output>, EncodeError>,
    ) -> Result<Option<Output>, EncodeError> {
        tracing::info!(from = %Described(self.format), to = %Described(format), "the camera's format changed");
        let handed_on = self.hands_on() && format.pixel == PixelFormat::H264;
        self.format = format;
        if handed_on {
            return result;
        }
        self.rebuild().map(|()| None)
    }

    /// After a failure: a new encoder, perhaps of another kind.
    ///
    /// # Errors
    /// It failed too often, or there is no other.
    pub(super) fn replace(&mut self, failure: EncodeError) -> Result<(), EncodeError> {
        if self.frames >= WORKED {
            self.hardware_failures = 0;
        }
        self.frames = 0;
        self.failures += 1;
        self.hardware_failures += u32::from(self.in_use.kind == Kind::M2m);
        let tired = self.in_use.kind == Kind::M2m && self.hardware_failures >= HARDWARE_FAILURES;
        if tired && self.choice == Choice::Auto {
            self.given_up = Some(failure);
            self.failures = 0;
        } else if self.failures >= FAILURES {
            return Err(failure);
        }
        self.rebuild()
    }

    fn rebuild(&mut self) -> Result<(), EncodeError> {
        let made =
            make(self.make_encoder.as_ref(), self.choice, self.format, self.ceiling, self.given_up.as_ref());
        (self.encoder, self.in_use) = made?;
        self.bitrate = self.ceiling;
        Ok(())
    }
}

/// The best encoder that can be made; but not the board's own where that was given up.
fn make(
    make_encoder: &MakeEncoder,
    choice: Choice,
    format: VideoFormat,
    bitrate: Bitrate,
    given_up: Option<&EncodeError>,
) -> Result<(Box<dyn Encoder>, InUse), EncodeError> {
    let mut refusal = None;
    for kind in choice.candidates(format.pixel)?.iter().copied() {
        if kind == Kind::M2m && given_up.is_some() {
            continue;
        }
        match make_encoder(kind, format, bitrate) {
            Ok(Made { encoder, name }) => {
                let why = choice::why(choice, kind, given_up.or(refusal.as_ref()));
                return Ok((encoder, InUse { kind, name, why }));
            }
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or(EncodeError::NoHardware))
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
