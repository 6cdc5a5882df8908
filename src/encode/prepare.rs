//! What is done to a camera's pictures before an encoder gets them: turned and mirrored. An encoder behind this knows
//! nothing of it: it gets I420. Runs on the camera's pipeline thread. Not here: whether it is to be done
//! (`pipeline::turning`).

use super::{
    Bitrate, EncodeError, Encoder, Output, Request, convert::Converter, orient::orient, planes::Picture,
};
use crate::camera::{Frame, PixelFormat, VideoFormat, orientation::Orientation};

/// What is to be done to pictures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Treatment {
    pub orientation: Orientation,
}

impl Treatment {
    /// Whether pictures can go to the encoder as the camera gives them.
    pub fn is_none(&self) -> bool {
        self.orientation == Orientation::UPRIGHT
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
}

impl Preparer {
    /// # Errors
    /// A format that cannot be converted: see [`Converter::new`].
    pub fn new(from: VideoFormat, treatment: Treatment) -> Result<Self, EncodeError> {
        let VideoFormat { width, height, .. } = treatment.applied_to(from);
        let picture = Picture::new(width as usize, height as usize);
        Ok(Self { converter: Converter::new(from)?, from, treatment, picture })
    }

    /// The picture of one frame.
    ///
    /// # Errors
    /// `Damaged`: the frame is no whole picture.
    pub fn prepare(&mut self, data: &[u8]) -> Result<&Picture, EncodeError> {
        let orientation = self.treatment.orientation;
        if orientation == Orientation::UPRIGHT {
            self.converter.convert_into(data, &mut self.picture)?;
        } else {
            let size = (self.from.width as usize, self.from.height as usize);
            orient(&self.converter.convert(data)?, size, orientation, &mut self.picture);
        }
        Ok(&self.picture)
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
        let data = self.preparer.prepare(frame.data)?.bytes();
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
