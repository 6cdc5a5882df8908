//! The encoder for what a camera delivers, made anew when that changes or the encoder fails. Runs on the camera's
//! thread. Not here: when a camera is opened, and what becomes of the frames (`worker`).

use std::sync::Arc;

use super::{
    MakeEncoder,
    turning::{self, Lack, Plan},
};
use crate::{
    camera::{PixelFormat, VideoFormat, orientation::Orientation},
    encode::{
        Bitrate, EncodeError, Encoder, Output,
        overlay::Caption,
        prepare::{self, Treatment},
    },
};

/// The encoder for what the camera delivers.
pub(super) struct Stage {
    make_encoder: Arc<MakeEncoder>,
    pub(super) encoder: Box<dyn Encoder>,
    pub(super) format: VideoFormat,
    /// What the camera leaves to be turned.
    left: Orientation,
    pub(super) plan: Plan,
    caption: Option<Caption>,
    rigid_viewers: u64,
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
        left: Orientation,
        caption: Option<Caption>,
        rigid_viewers: u64,
    ) -> Result<Self, EncodeError> {
        if caption.is_some() && format.pixel == PixelFormat::H264 {
            tracing::warn!(
                "the camera gives H.264, into which nothing can be written here: the overlay is left out; have the \
                 camera give another format, or leave `overlay` out"
            );
        }
        let plan = turning::plan(left, format.pixel, rigid_viewers);
        plan.complain(left);
        let treatment = Treatment { orientation: plan.convert, caption: caption.clone() };
        let encoder = prepare::encoder(format, &treatment, |format| make_encoder(format, ceiling))?;
        Ok(Self {
            make_encoder,
            encoder,
            format,
            left,
            plan,
            caption,
            rigid_viewers,
            ceiling,
            bitrate: ceiling,
            failures: 0,
        })
    }

    /// What the encoder gets: the camera's format, turned.
    pub(super) fn encoded_format(&self) -> VideoFormat {
        self.treatment().applied_to(self.format)
    }

    /// What makes pictures as viewers see them, whoever does it for them.
    pub(super) fn whole_treatment(&self) -> Treatment {
        Treatment { orientation: self.left, caption: self.caption.clone() }
    }

    fn treatment(&self) -> Treatment {
        Treatment { orientation: self.plan.convert, caption: self.caption.clone() }
    }

    /// Turns the picture in the way that suits so many viewers who do not do it themselves. `true`: there is another
    /// encoder, for pictures of another format.
    pub(super) fn turn_for(&mut self, rigid_viewers: u64) -> Result<bool, EncodeError> {
        self.rigid_viewers = rigid_viewers;
        let plan = turning::plan(self.left, self.format.pixel, rigid_viewers);
        if plan == self.plan {
            return Ok(false);
        }
        plan.complain(self.left);
        let converted = plan.convert != self.plan.convert;
        self.plan = plan;
        if converted {
            tracing::debug!(convert = %plan.convert, viewers = ?plan.show, "the picture is turned in another way");
            self.rebuild()?;
        }
        Ok(converted)
    }

    pub(super) fn rebuild(&mut self) -> Result<(), EncodeError> {
        let make = |format| (self.make_encoder)(format, self.ceiling);
        self.encoder = prepare::encoder(self.format, &self.treatment(), make)?;
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
        self.plan = turning::plan(self.left, format.pixel, self.rigid_viewers);
        if handed_on {
            return result;
        }
        self.rebuild().map(|()| None)
    }
}

impl Plan {
    /// Says what is shown wrongly.
    fn complain(&self, left: Orientation) {
        match self.lacks {
            Lack::Nothing => {}
            Lack::Turn => tracing::warn!(
                "a viewer's browser does not turn pictures, and the camera's own H.264 cannot be turned here: this \
                 viewer sees it unturned; have the camera give another format to mend that"
            ),
            Lack::Mirror => tracing::warn!(
                "the camera gives H.264, which cannot be {left} here: the picture is not mirrored; have the camera \
                 give another format, or leave `flip` out"
            ),
        }
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
