//! The encoder for what a camera delivers: the best that the setting allows and the board has, made anew when the
//! format changes or it fails, and replaced by software when the board's own fails again and again. Made with each
//! opening of the camera, so that what was given up is tried again then. Runs on the camera's thread. Not here: when a
//! camera is opened, and what becomes of the frames (`worker`).

use std::sync::Arc;

use super::{
    MakeEncoder,
    governor::Step,
    turning::{self, Lack, Plan, Writing},
};
use crate::{
    camera::{FrameRate, PixelFormat, VideoFormat, orientation::Orientation},
    encode::{
        Bitrate, EncodeError, Encoder, Output,
        choice::{self, Choice, InUse, Kind, Made},
        overlay::Caption,
        passthrough::Passthrough,
        prepare::{self, Treatment},
        scaled::Halved,
    },
};

/// So many failures without a frame between, and the camera is closed and tried again later.
const FAILURES: u32 = 3;
/// So many failures of the board's encoder, each less than `WORKED` frames after the one before, and software takes
/// over.
const HARDWARE_FAILURES: u32 = 2;
/// Pixels: the shorter side of pictures that may be halved.
const SMALL: u32 = 240;
/// Frames; ten seconds of an ordinary camera.
const WORKED: u32 = 300;

/// What is to be made of a camera's pictures.
pub(super) struct Task {
    pub(super) choice: Choice,
    /// The configured rate, for which the encoder's level is chosen.
    pub(super) ceiling: Bitrate,
    /// What the camera leaves to be turned.
    pub(super) left: Orientation,
    pub(super) caption: Option<Caption>,
    /// Viewers who do not turn pictures themselves.
    pub(super) rigid_viewers: u64,
    /// How much of it is encoded, where the processor does that.
    pub(super) step: Step,
}

/// The encoder for what the camera delivers.
pub(super) struct Stage {
    make_encoder: Arc<MakeEncoder>,
    choice: Choice,
    pub(super) encoder: Box<dyn Encoder>,
    pub(super) in_use: InUse,
    /// What the camera delivers.
    pub(super) format: VideoFormat,
    /// What the camera leaves to be turned.
    left: Orientation,
    pub(super) plan: Plan,
    caption: Option<Caption>,
    rigid_viewers: u64,
    /// How much of it is encoded, where the processor does that.
    step: Step,
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
        format: VideoFormat,
        task: Task,
    ) -> Result<Self, EncodeError> {
        let Task { choice, ceiling, left, caption, rigid_viewers, step } = task;
        if caption.is_some() && format.pixel == PixelFormat::H264 {
            tracing::warn!(
                "the camera gives H.264, into which nothing can be written here: the overlay is left out; have the \
                 camera give another format, or leave `overlay` out"
            );
        }
        let plan = turning::plan(left, format.pixel, writing(&caption), rigid_viewers);
        plan.complain(left);
        let treatment = Treatment { orientation: plan.convert, caption: caption.clone() };
        let job = Job { format, treatment, step, bitrate: ceiling };
        let (encoder, in_use) = make(make_encoder.as_ref(), choice, &job, None)?;
        Ok(Self {
            make_encoder,
            choice,
            encoder,
            in_use,
            format,
            left,
            plan,
            caption,
            rigid_viewers,
            step,
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

    /// Whether the processor encodes, so that it can be spared.
    pub(super) fn in_software(&self) -> bool {
        self.in_use.kind == Kind::OpenH264
    }

    /// What the encoder gets: the camera's format, turned, and all or a part of it.
    pub(super) fn encoded_format(&self) -> VideoFormat {
        let treated = self.treatment().applied_to(self.format);
        if self.in_software() { reduced(&treated, self.step) } else { treated }
    }

    /// More or less of it, by a new encoder.
    pub(super) fn set_step(&mut self, step: Step) -> Result<(), EncodeError> {
        self.step = step;
        self.rebuild()
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
        let plan = turning::plan(self.left, self.format.pixel, writing(&self.caption), rigid_viewers);
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

    /// Another configured rate. An encoder's level is chosen for the most that it is asked for, so a higher one needs
    /// another encoder: `true`, when there is one. What the camera has encoded is not concerned.
    pub(super) fn raise_ceiling(&mut self, ceiling: Bitrate) -> Result<bool, EncodeError> {
        if ceiling <= self.ceiling {
            return Ok(false);
        }
        self.ceiling = ceiling;
        if self.hands_on() {
            return Ok(false);
        }
        let bitrate = self.bitrate;
        self.rebuild()?;
        self.set_bitrate(bitrate)?;
        Ok(true)
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
        self.plan = turning::plan(self.left, format.pixel, writing(&self.caption), self.rigid_viewers);
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
        // The old one goes first: a board may have room for one only.
        self.encoder = Box::new(Passthrough::new());
        let job =
            Job { format: self.format, treatment: self.treatment(), step: self.step, bitrate: self.ceiling };
        let made = make(self.make_encoder.as_ref(), self.choice, &job, self.given_up.as_ref());
        (self.encoder, self.in_use) = made?;
        self.bitrate = self.ceiling;
        Ok(())
    }
}

/// What an encoder is made for.
struct Job {
    /// What the camera delivers.
    format: VideoFormat,
    treatment: Treatment,
    /// How much of what was treated is encoded, where the processor does that.
    step: Step,
    bitrate: Bitrate,
}

/// The best encoder that can be made; but not the board's own where that was given up.
fn make(
    make_encoder: &MakeEncoder,
    choice: Choice,
    job: &Job,
    given_up: Option<&EncodeError>,
) -> Result<(Box<dyn Encoder>, InUse), EncodeError> {
    let mut refusal = None;
    for kind in choice.candidates(job.format.pixel)?.iter().copied() {
        if kind == Kind::M2m && given_up.is_some() {
            continue;
        }
        let mut known_by = String::new();
        let made = prepare::encoder(job.format, &job.treatment, |format| {
            let Made { encoder, name } = make_for(make_encoder, kind, (format, job.step), job.bitrate)?;
            known_by = name;
            Ok(encoder)
        });
        match made {
            Ok(encoder) => {
                let why = choice::why(choice, kind, given_up.or(refusal.as_ref()));
                return Ok((encoder, InUse { kind, name: known_by, why }));
            }
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or(EncodeError::NoHardware))
}

/// An encoder for all or a part of what comes to it.
fn make_for(
    make_encoder: &MakeEncoder,
    kind: Kind,
    (format, step): (VideoFormat, Step),
    bitrate: Bitrate,
) -> Result<Made, EncodeError> {
    if kind != Kind::OpenH264 {
        return make_encoder(kind, format, bitrate);
    }
    let encoded = reduced(&format, step);
    if (encoded.width, encoded.height) == (format.width, format.height) {
        return make_encoder(kind, VideoFormat { rate: encoded.rate, ..format }, bitrate);
    }
    let Made { encoder, name } = make_encoder(kind, encoded, bitrate)?;
    Ok(Made { encoder: Box::new(Halved::new(format, encoder)?), name })
}

/// What is encoded in a step. Small pictures are not made smaller.
fn reduced(format: &VideoFormat, step: Step) -> VideoFormat {
    let FrameRate { numerator, denominator } = format.rate;
    let rate = FrameRate { numerator: numerator * step.keep, denominator: denominator * step.of };
    let shrink = step.shrink > 1 && format.width.min(format.height) >= SMALL;
    VideoFormat { rate, ..if shrink { Halved::half(format) } else { *format } }
}

fn writing(caption: &Option<Caption>) -> Writing {
    if caption.is_some() { Writing::Caption } else { Writing::None }
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
