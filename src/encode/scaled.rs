//! An encoder for pictures of half the width and height, over another one: each pixel is the mean of four. Runs on the
//! camera's pipeline thread. Not here: when a smaller picture is wanted (`pipeline::governor`).

use super::{Bitrate, EncodeError, Encoder, Output, Request, convert::Converter};
use crate::camera::{Frame, PixelFormat, VideoFormat};

/// Halves what the camera gives and hands it to an encoder for that.
pub struct Halved {
    converter: Converter,
    format: VideoFormat,
    /// I420 without padding.
    small: Vec<u8>,
    inner: Box<dyn Encoder>,
}

impl Halved {
    /// The format of half the size; width and height stay even.
    pub fn half(format: &VideoFormat) -> VideoFormat {
        let (width, height) = (format.width / 4 * 2, format.height / 4 * 2);
        VideoFormat { pixel: PixelFormat::I420, width, height, stride: width, rate: format.rate }
    }

    /// `inner` takes pictures of [`Self::half`] of `format`.
    ///
    /// # Errors
    /// As of [`Converter::new`].
    pub fn new(format: VideoFormat, inner: Box<dyn Encoder>) -> Result<Self, EncodeError> {
        let half = Self::half(&format);
        Ok(Self {
            converter: Converter::new(format)?,
            format: half,
            small: vec![0; half.frame_bytes()],
            inner,
        })
    }
}

impl std::fmt::Debug for Halved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Halved").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Encoder for Halved {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        let planes = self.converter.convert(frame.data)?;
        let (width, height) = (self.format.width as usize, self.format.height as usize);
        let (y, chroma) = self.small.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(width * height / 4);
        halve(planes.y, planes.y_stride, y, width);
        halve(planes.u, planes.chroma_stride, u, width / 2);
        halve(planes.v, planes.chroma_stride, v, width / 2);
        let small =
            Frame { data: &self.small, captured: frame.captured, skipped: frame.skipped, dmabuf: None };
        self.inner.encode(&small, request)
    }

    fn take_ready(&mut self) -> Result<Option<Output>, EncodeError> {
        self.inner.take_ready()
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        self.inner.set_bitrate(bitrate)
    }

    fn profile_level(&self) -> Option<[u8; 3]> {
        self.inner.profile_level()
    }
}

/// Each pixel of `small`, whose rows are `width` long, is the mean of four of `large`. Written so that the compiler
/// makes vector instructions of it.
fn halve(large: &[u8], stride: usize, small: &mut [u8], width: usize) {
    for (row, out) in small.chunks_exact_mut(width).enumerate() {
        let upper = &large[2 * row * stride..][..2 * width];
        let lower = &large[(2 * row + 1) * stride..][..2 * width];
        for ((out, upper), lower) in out.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
            let sum = u16::from(upper[0]) + u16::from(upper[1]) + u16::from(lower[0]) + u16::from(lower[1]);
            *out = ((sum + 2) / 4) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use openh264::{decoder::Decoder, formats::YUVSource};

    use super::*;
    use crate::{camera::FrameRate, clock, encode::openh264::OpenH264};

    #[test]
    fn each_pixel_is_the_mean_of_four_and_padding_is_left_out() {
        let large = [0, 4, 10, 10, 99, 99, 8, 4, 20, 20, 99, 99];
        let mut small = [0; 2];
        halve(&large, 6, &mut small, 2);
        assert_eq!(small, [4, 15]);
    }

    #[test]
    fn sizes_stay_even() {
        let format = |width, height| VideoFormat {
            pixel: PixelFormat::Yuyv,
            width,
            height,
            stride: width * 2,
            rate: FrameRate::new(30),
        };
        for (size, half) in [((1280, 720), (640, 360)), ((854, 480), (426, 240)), ((1296, 972), (648, 486))] {
            let given = Halved::half(&format(size.0, size.1));
            assert_eq!((given.width, given.height, given.stride), (half.0, half.1, half.0));
        }
    }

    #[test]
    fn the_decoded_picture_is_the_source_at_half_its_size() {
        // Four quarters of different brightness, in a packed format.
        let format = VideoFormat {
            pixel: PixelFormat::Yuyv,
            width: 128,
            height: 96,
            stride: 256,
            rate: FrameRate::new(30),
        };
        let luma = |x: u32, y: u32| [40, 90, 140, 200][(x / 64 + y / 48 * 2) as usize];
        let data: Vec<u8> = (0..96).flat_map(|y| (0..128).flat_map(move |x| [luma(x, y), 128])).collect();
        let inner = OpenH264::new(Halved::half(&format), Bitrate(500_000)).unwrap();
        let mut encoder = Halved::new(format, Box::new(inner)).unwrap();
        let frame = Frame { data: &data, captured: clock::now(), skipped: 0, dmabuf: None };
        let output = encoder.encode(&frame, Request::Key).unwrap().unwrap();
        let mut decoder = Decoder::new().unwrap();
        let decoded = decoder.decode(&output.data).unwrap().expect("a picture");
        assert_eq!(decoded.dimensions(), (64, 48));
        let stride = decoded.strides().0;
        for (x, y) in [(16, 12), (48, 12), (16, 36), (48, 36)] {
            let (got, want) = (decoded.y()[y * stride + x], luma(2 * x as u32, 2 * y as u32));
            assert!(got.abs_diff(want) <= 4, "{got} instead of {want} at {x},{y}");
        }
        let short = Frame { data: &data[..100], captured: clock::now(), skipped: 0, dmabuf: None };
        assert!(matches!(encoder.encode(&short, Request::Any), Err(EncodeError::Damaged(_))));
    }
}
