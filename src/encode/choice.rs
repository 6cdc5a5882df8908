//! Which encoder a camera's pictures go to: what the setting `encoder` allows, in the order of preference, and in words
//! why. The choosing is pure; `make` and `encoders` look at the board. Runs on the camera's pipeline thread. Not here:
//! what happens when an encoder fails (`pipeline`).

use std::{fmt, str::FromStr};

use super::{
    Bitrate, EncodeError, Encoder,
    m2m::{self, FoundEncoder, M2mEncoder},
    openh264::OpenH264,
    passthrough::Passthrough,
};
use crate::camera::{Accept, PixelFormat, VideoFormat};

/// The setting `encoder`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// The camera's own H.264, else the board's encoder, else software.
    #[default]
    Auto,
    /// Only the board's encoder.
    M2m,
    /// Only software.
    OpenH264,
    /// Only H.264 that the camera makes.
    Passthrough,
}

impl Choice {
    pub const ALL: [Self; 4] = [Self::Auto, Self::M2m, Self::OpenH264, Self::Passthrough];

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::M2m => "m2m",
            Self::OpenH264 => "openh264",
            Self::Passthrough => "passthrough",
        }
    }

    /// Which of a camera's formats this encoder leaves open.
    pub const fn accept(self) -> Accept {
        match self {
            Self::Auto => Accept::Any,
            Self::M2m | Self::OpenH264 => Accept::Pictures,
            Self::Passthrough => Accept::H264,
        }
    }

    /// What to try for a camera's format, the best first; the next where one cannot be made.
    ///
    /// # Errors
    /// `Mismatch`: what the camera gives is not for the encoder that was named.
    pub fn candidates(self, pixel: PixelFormat) -> Result<&'static [Kind], EncodeError> {
        match (self, pixel == PixelFormat::H264) {
            (Self::Auto | Self::Passthrough, true) => Ok(&[Kind::Passthrough]),
            (Self::Auto, false) => Ok(&[Kind::M2m, Kind::OpenH264]),
            (Self::M2m, false) => Ok(&[Kind::M2m]),
            (Self::OpenH264, false) => Ok(&[Kind::OpenH264]),
            (Self::M2m | Self::OpenH264, true) | (Self::Passthrough, false) => {
                Err(EncodeError::Mismatch { choice: self, pixel })
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|choice| choice.name() == text);
        known.ok_or_else(|| format!("no encoder is called `{text}`: there are {names}"))
    }
}

/// A kind of encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The camera's own: handed on as it is.
    Passthrough,
    /// The board's: a V4L2 memory-to-memory device.
    M2m,
    /// OpenH264, on the processor.
    OpenH264,
}

/// An encoder that was made, and what people know it by.
pub struct Made {
    pub encoder: Box<dyn Encoder>,
    /// A device's path and name, or that of the software.
    pub name: String,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The encoder that is in use, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    pub kind: Kind,
    /// As in [`Made::name`].
    pub name: String,
    /// One clause.
    pub why: String,
}

/// The board's encoders that can be used, in the order in which they are tried.
pub fn encoders() -> Vec<FoundEncoder> {
    m2m::find(m2m::H264)
}

/// Makes an encoder of a kind for frames of `format`, which starts at `bitrate`, the most that it will be asked for.
///
/// # Errors
/// There is none, or it cannot take such frames.
pub fn make(kind: Kind, format: VideoFormat, bitrate: Bitrate) -> Result<Made, EncodeError> {
    match kind {
        Kind::Passthrough => {
            Ok(Made { encoder: Box::new(Passthrough::new()), name: "the camera's own".to_owned() })
        }
        Kind::OpenH264 => {
            Ok(Made { encoder: Box::new(OpenH264::new(format, bitrate)?), name: "OpenH264".to_owned() })
        }
        Kind::M2m => make_m2m(format, bitrate),
    }
}

/// The first of the board's encoders that can be started; if none can, the first one's reason.
fn make_m2m(format: VideoFormat, bitrate: Bitrate) -> Result<Made, EncodeError> {
    let mut refusal = None;
    for found in m2m::search(m2m::H264) {
        match M2mEncoder::open(&found.path, m2m::H264, format, bitrate) {
            Ok(encoder) => return Ok(Made { encoder: Box::new(encoder), name: found.to_string() }),
            Err(error) => {
                tracing::debug!(encoder = %found, "{error}");
                refusal.get_or_insert(error);
            }
        }
    }
    Err(refusal.unwrap_or(EncodeError::NoHardware))
}

/// What the setting gives for a camera's format on a board with these encoders, and in words why: for who asks before
/// anything is opened. (What is opened may refuse all the same.)
///
/// # Errors
/// There is nothing to use.
pub fn explain(choice: Choice, format: &VideoFormat, found: &[FoundEncoder]) -> Result<InUse, EncodeError> {
    let mut refusal = None;
    for kind in choice.candidates(format.pixel)?.iter().copied() {
        let name = match kind {
            Kind::Passthrough => "the camera's own".to_owned(),
            Kind::OpenH264 => "OpenH264".to_owned(),
            Kind::M2m => match found.iter().find(|encoder| encoder.takes(format)) {
                Some(encoder) => encoder.to_string(),
                None => {
                    let first = found.first().map(|encoder| encoder.refusal(format));
                    refusal = Some(first.unwrap_or(EncodeError::NoHardware));
                    continue;
                }
            },
        };
        return Ok(InUse { kind, name, why: why(choice, kind, refusal.as_ref()) });
    }
    Err(refusal.unwrap_or(EncodeError::NoHardware))
}

/// Why an encoder is used: `refusal` is why a better one is not.
pub fn why(choice: Choice, kind: Kind, refusal: Option<&EncodeError>) -> String {
    match (choice, kind, refusal) {
        (Choice::M2m | Choice::OpenH264 | Choice::Passthrough, _, _) => {
            format!("the configuration asks for {choice}")
        }
        (Choice::Auto, Kind::Passthrough, _) => "the camera makes H.264 itself".to_owned(),
        (Choice::Auto, Kind::M2m, _) => {
            "the board has an encoder that takes the camera's pictures".to_owned()
        }
        (Choice::Auto, Kind::OpenH264, Some(EncodeError::NoHardware) | None) => {
            "the board has no H.264 encoder that can be used".to_owned()
        }
        (Choice::Auto, Kind::OpenH264, Some(refusal)) => format!("not the board's: {refusal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{FrameRate, negotiate::FourCc};

    fn format(pixel: PixelFormat, width: u32, height: u32) -> VideoFormat {
        let stride = pixel.row_bytes(width).unwrap_or(0);
        VideoFormat { pixel, width, height, stride, rate: FrameRate::new(30) }
    }

    /// As on a Raspberry Pi 4.
    fn board() -> Vec<FoundEncoder> {
        vec![FoundEncoder {
            path: "/dev/video11".into(),
            card: "bcm2835-codec-encode".into(),
            driver: "bcm2835-codec".into(),
            formats: vec![m2m::H264],
            inputs: [*b"YU12", *b"NV12", *b"YUYV", *b"RGB3"].map(FourCc).to_vec(),
            largest: Some((1920, 1920)),
        }]
    }

    #[test]
    fn auto_takes_the_cameras_h264_then_the_boards_encoder_then_software() {
        let explain = |pixel, found: &[FoundEncoder]| {
            let InUse { kind, name, why } = explain(Choice::Auto, &format(pixel, 1280, 720), found).unwrap();
            (kind, format!("{name}: {why}"))
        };
        assert_eq!(
            explain(PixelFormat::H264, &board()),
            (Kind::Passthrough, "the camera's own: the camera makes H.264 itself".to_owned())
        );
        let m2m =
            "/dev/video11 (bcm2835-codec-encode): the board has an encoder that takes the camera's pictures";
        for pixel in [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Mjpeg, PixelFormat::Grey] {
            assert_eq!(explain(pixel, &board()), (Kind::M2m, m2m.to_owned()), "{pixel:?}");
        }
        assert_eq!(
            explain(PixelFormat::Yuyv, &[]),
            (Kind::OpenH264, "OpenH264: the board has no H.264 encoder that can be used".to_owned())
        );
    }

    #[test]
    fn auto_says_why_the_boards_encoder_is_not_used() {
        let why = |format, found: &[FoundEncoder]| explain(Choice::Auto, &format, found).unwrap().why;
        let large = why(format(PixelFormat::Yuyv, 3840, 2160), &board());
        assert!(large.contains("/dev/video11 (bcm2835-codec-encode) codes 1920x1920 at the most"), "{large}");
        let mut strange = board();
        strange[0].inputs = vec![FourCc(*b"NM12")];
        let strange = why(format(PixelFormat::Yuyv, 640, 480), &strange);
        assert!(strange.contains("takes only NM12"), "{strange}");
    }

    #[test]
    fn a_named_encoder_is_used_or_the_refusal_says_what_to_do() {
        let yuyv = format(PixelFormat::Yuyv, 1280, 720);
        let h264 = format(PixelFormat::H264, 1280, 720);
        let kind = |choice, format| explain(choice, format, &board()).map(|in_use| in_use.kind);
        assert_eq!(kind(Choice::OpenH264, &yuyv).unwrap(), Kind::OpenH264);
        assert_eq!(kind(Choice::M2m, &yuyv).unwrap(), Kind::M2m);
        assert_eq!(kind(Choice::Passthrough, &h264).unwrap(), Kind::Passthrough);
        let refusal =
            |choice, format, found: &[FoundEncoder]| explain(choice, format, found).unwrap_err().to_string();
        let none = refusal(Choice::M2m, &yuyv, &[]);
        assert!(none.contains("no H.264 encoder") && none.contains("--encoder auto"), "{none}");
        let raw = refusal(Choice::Passthrough, &yuyv, &board());
        assert!(
            raw.contains("passthrough") && raw.contains("Yuyv") && raw.contains("--encoder auto"),
            "{raw}"
        );
        for choice in [Choice::M2m, Choice::OpenH264] {
            let coded = refusal(choice, &h264, &board());
            assert!(coded.contains(choice.name()) && coded.contains("--encoder auto"), "{coded}");
        }
    }

    #[test]
    fn a_camera_is_asked_for_what_its_encoder_takes() {
        for choice in Choice::ALL {
            for pixel in [PixelFormat::H264, PixelFormat::Yuyv, PixelFormat::Mjpeg] {
                assert_eq!(
                    choice.accept().takes(pixel),
                    choice.candidates(pixel).is_ok(),
                    "{choice} {pixel:?}"
                );
            }
        }
    }

    #[test]
    fn choices_are_read_as_people_write_them() {
        for choice in Choice::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "h264".parse::<Choice>().unwrap_err();
        assert_eq!(error, "no encoder is called `h264`: there are auto, m2m, openh264, passthrough");
    }
}
