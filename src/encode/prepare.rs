//! What is done to a camera's pictures before an encoder gets them: they are turned and mirrored, and written on. An
//! encoder behind this knows nothing of it: it gets I420. Runs on the camera's pipeline thread. Not here: whether it is
//! to be done (`pipeline::turning`).

use std::time::Duration;

use super::{
    Bitrate, EncodeError, Encoder, Output, Request,
    convert::Converter,
    orient::orient,
    overlay::{self, Caption},
    planes::Picture,
};
use crate::{
    camera::{Frame, PixelFormat, VideoFormat, orientation::Orientation},
    clock,
    sys::time,
};

/// What is to be done to pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Treatment {
    pub orientation: Orientation,
    /// Written when the picture is upright.
    pub caption: Option<Caption>,
}

impl Treatment {
    /// Whether pictures can go to the encoder as the camera gives them.
    pub fn is_none(&self) -> bool {
        self.orientation == Orientation::UPRIGHT && self.caption.is_none()
    }

    /// The format of a camera's pictures afterwards.
    pub fn applied_to(&self, format: VideoFormat) -> VideoFormat {
        if self.is_none() || format.pixel == PixelFormat::H264 {
            return format;
        }
        let VideoFormat { width, height, rate, .. } = format;
        let (width, height) = if self.orientation.swaps_sides() { (height, width) } else { (width, height) };
        VideoFormat { pixel: PixelFormat::I420, width, height, stride: width, rate }
    }
}

/// Makes pictures of one camera's frames.
#[derive(Debug)]
pub struct Preparer {
    converter: Converter,
    from: VideoFormat,
    treatment: Treatment,
    picture: Picture,
    /// The second for which `text` is.
    second: Option<u64>,
    text: String,
}

impl Preparer {
    /// # Errors
    /// A format that cannot be converted: see [`Converter::new`].
    pub fn new(from: VideoFormat, treatment: Treatment) -> Result<Self, EncodeError> {
        let VideoFormat { width, height, .. } = treatment.applied_to(from);
        let picture = Picture::new(width as usize, height as usize);
        let converter = Converter::new(from)?;
        Ok(Self { converter, from, treatment, picture, second: None, text: String::new() })
    }

    /// The picture of one frame, taken at the time `since_epoch` (since 1970, UTC).
    ///
    /// # Errors
    /// `Damaged`: the frame is no whole picture.
    pub fn prepare(&mut self, data: &[u8], since_epoch: Duration) -> Result<&Picture, EncodeError> {
        let orientation = self.treatment.orientation;
        if orientation == Orientation::UPRIGHT {
            self.converter.convert_into(data, &mut self.picture)?;
        } else {
            let size = (self.from.width as usize, self.from.height as usize);
            orient(&self.converter.convert(data)?, size, orientation, &mut self.picture);
        }
        self.write_caption(since_epoch);
        Ok(&self.picture)
    }

    fn write_caption(&mut self, since_epoch: Duration) {
        let Some(caption) = &self.treatment.caption else { return };
        let second = Some(since_epoch.as_secs());
        if self.second != second
            && let Some(time) = time::local(since_epoch)
        {
            (self.second, self.text) = (second, caption.text(time));
        }
        overlay::draw(&mut self.picture, &self.text);
    }
}

/// The encoder that `make` makes for pictures of `format` after their treatment.
///
/// # Errors
/// Those of `make`, and a format that cannot be converted. H.264 is not treated: it goes to `make` as it is.
pub fn encoder(
    format: VideoFormat,
    treatment: &Treatment,
    make: impl FnOnce(VideoFormat) -> Result<Box<dyn Encoder>, EncodeError>,
) -> Result<Box<dyn Encoder>, EncodeError> {
    if treatment.is_none() || format.pixel == PixelFormat::H264 {
        return make(format);
    }
    let preparer = Preparer::new(format, treatment.clone())?;
    Ok(Box::new(Prepared { preparer, encoder: make(treatment.applied_to(format))? }))
}

/// An encoder with the treatment before it.
struct Prepared {
    preparer: Preparer,
    encoder: Box<dyn Encoder>,
}

impl Encoder for Prepared {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        let age = clock::now().saturating_duration_since(frame.captured);
        let data = self.preparer.prepare(frame.data, clock::since_epoch().saturating_sub(age))?.bytes();
        // What was treated does not lie in the camera's buffer any more.
        self.encoder.encode(&Frame { data, dmabuf: None, ..*frame }, request)
    }

    fn take_ready(&mut self) -> Result<Option<Output>, EncodeError> {
        self.encoder.take_ready()
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        self.encoder.set_bitrate(bitrate)
    }

    fn profile_level(&self) -> Option<[u8; 3]> {
        self.encoder.profile_level()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        camera::{
            FrameRate,
            orientation::{Flip, Rotation},
        },
        encode::overlay::Content,
    };

    const FROM: VideoFormat = VideoFormat {
        pixel: PixelFormat::Yuyv,
        width: 160,
        height: 96,
        stride: 320,
        rate: FrameRate::new(30),
    };

    fn quarter(caption: Option<Caption>) -> Treatment {
        Treatment { orientation: Orientation::new(Rotation::Quarter, Flip::None), caption }
    }

    fn name() -> Option<Caption> {
        Some(Caption { content: Content::Name, name: "Yard".to_owned() })
    }

    /// Dark on the left, bright on the right.
    fn halves() -> Vec<u8> {
        let row: Vec<u8> = (0..160).flat_map(|x| [if x < 80 { 50 } else { 200 }, 128]).collect();
        row.repeat(96)
    }

    #[test]
    fn caption_is_upright_at_the_bottom_of_the_turned_picture() {
        let mut preparer = Preparer::new(FROM, quarter(name())).unwrap();
        let picture = preparer.prepare(&halves(), Duration::ZERO).unwrap().clone();
        assert_eq!((picture.width(), picture.height()), (96, 160));
        let mut upright = Preparer::new(FROM, quarter(None)).unwrap();
        let mut expected = upright.prepare(&halves(), Duration::ZERO).unwrap().clone();
        assert_eq!(
            (expected.bytes()[0], expected.planes().y[96 * 159]),
            (50, 200),
            "the left side is on top"
        );
        overlay::draw(&mut expected, "Yard");
        assert_eq!(picture, expected);
    }

    #[test]
    fn the_time_changes_with_the_second_and_the_frame_below_stays() {
        let time = Some(Caption { content: Content::Time, name: String::new() });
        let mut preparer =
            Preparer::new(FROM, Treatment { orientation: Orientation::UPRIGHT, caption: time }).unwrap();
        let mut at =
            |milliseconds| preparer.prepare(&halves(), Duration::from_millis(milliseconds)).unwrap().clone();
        let (first, same, next) = (at(1_000), at(1_999), at(2_000));
        assert_eq!(first, same);
        assert_ne!(first, next);
        // All rows above the box.
        assert_eq!(first.bytes()[..160 * 80], next.bytes()[..160 * 80]);
    }

    #[test]
    fn without_treatment_and_for_h264_the_encoder_gets_the_cameras_own_frames() {
        let h264 = VideoFormat { pixel: PixelFormat::H264, stride: 0, ..FROM };
        for (format, treatment) in [(FROM, Treatment::default()), (h264, quarter(name()))] {
            let mut asked = None;
            let refused = encoder(format, &treatment, |format| {
                asked = Some(format);
                Err(EncodeError::Failed("none is made here".to_owned()))
            });
            assert!(refused.is_err());
            assert_eq!(asked, Some(format));
        }
        let turned = quarter(None).applied_to(FROM);
        assert_eq!((turned.pixel, turned.width, turned.height), (PixelFormat::I420, 96, 160));
    }
}
