//! From a camera's pixel layout to the three planes that the encoder takes. What is a plane already is borrowed
//! from the frame and not copied. Pure, but for the scratch planes, which are kept from frame to frame.

use yuv::{BufferStoreMut, YuvPackedImage, YuvPlanarImageMut, yuyv422_to_yuv420};

use super::{Damage, EncodeError};
use crate::camera::{PixelFormat, VideoFormat};

/// A picture in I420: three planes, U and V at half size.
#[derive(Debug, Clone, Copy)]
pub struct I420<'a> {
    pub y: &'a [u8],
    pub u: &'a [u8],
    pub v: &'a [u8],
    /// Bytes from one row of luma to the next.
    pub y_stride: usize,
    /// Bytes from one row of U or V to the next.
    pub chroma_stride: usize,
}

/// Scratch planes for one format.
#[derive(Debug)]
pub struct Converter {
    format: VideoFormat,
    /// Empty where luma can be borrowed from the frame.
    y: Vec<u8>,
    /// Empty where chroma can be borrowed from the frame.
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Converter {
    /// # Errors
    /// A size that is not even, a stride shorter than a row, or H.264, which has no planes.
    pub fn new(format: VideoFormat) -> Result<Self, EncodeError> {
        let refuse = |reason: &str| {
            Err(EncodeError::Unsupported {
                width: format.width,
                height: format.height,
                reason: reason.to_owned(),
            })
        };
        let (width, height) = (format.width as usize, format.height as usize);
        if width == 0 || height == 0 || !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            return refuse("width and height must be even");
        }
        let (luma, chroma) = match format.pixel {
            PixelFormat::Yuyv => (width * height, width * height / 4),
            PixelFormat::Nv12 => (0, width * height / 4),
            PixelFormat::I420 => (0, 0),
            PixelFormat::Uyvy
            | PixelFormat::Rgb24
            | PixelFormat::Bgr24
            | PixelFormat::Grey
            | PixelFormat::Mjpeg => return refuse("its layout is not supported"),
            PixelFormat::H264 => return refuse("it is H.264 already"),
        };
        if format.pixel.row_bytes(format.width).is_some_and(|row| format.stride < row) {
            return refuse("its rows are shorter than the picture is wide");
        }
        Ok(Self { format, y: vec![0; luma], u: vec![0; chroma], v: vec![0; chroma] })
    }

    /// The planes of one frame.
    ///
    /// # Errors
    /// `Damaged` where `data` is not a whole picture.
    pub fn convert<'a>(&'a mut self, data: &'a [u8]) -> Result<I420<'a>, EncodeError> {
        let need = self.format.frame_bytes();
        let Some(data) = data.get(..need) else {
            return Err(EncodeError::Damaged(Damage::Short { got: data.len(), need }));
        };
        let (stride, height) = (self.format.stride as usize, self.format.height as usize);
        let width = self.format.width as usize;
        match self.format.pixel {
            PixelFormat::Yuyv => {
                self.unpack_yuyv(data)?;
                Ok(I420 { y: &self.y, u: &self.u, v: &self.v, y_stride: width, chroma_stride: width / 2 })
            }
            PixelFormat::Nv12 => {
                let (y, uv) = data.split_at(stride * height);
                self.split_chroma(uv);
                Ok(I420 { y, u: &self.u, v: &self.v, y_stride: stride, chroma_stride: width / 2 })
            }
            PixelFormat::I420 => {
                // V4L2 defines the chroma stride of YU12 as half of luma's.
                let (y, chroma) = data.split_at(stride * height);
                let (u, v) = chroma.split_at(stride / 2 * (height / 2));
                Ok(I420 { y, u, v, y_stride: stride, chroma_stride: stride / 2 })
            }
            PixelFormat::Uyvy
            | PixelFormat::Rgb24
            | PixelFormat::Bgr24
            | PixelFormat::Grey
            | PixelFormat::Mjpeg
            | PixelFormat::H264 => Err(EncodeError::Failed("this layout cannot be converted".to_owned())),
        }
    }

    fn unpack_yuyv(&mut self, data: &[u8]) -> Result<(), EncodeError> {
        let VideoFormat { width, height, stride, .. } = self.format;
        let mut planes = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut self.y),
            y_stride: width,
            u_plane: BufferStoreMut::Borrowed(&mut self.u),
            u_stride: width / 2,
            v_plane: BufferStoreMut::Borrowed(&mut self.v),
            v_stride: width / 2,
            width,
            height,
        };
        let packed = YuvPackedImage { yuy: data, yuy_stride: stride, width, height };
        yuyv422_to_yuv420(&mut planes, &packed)
            .map_err(|error| EncodeError::Failed(format!("the picture cannot be converted: {error:?}")))
    }

    /// NV12's interleaved chroma into two planes. (The compiler makes vector code of this loop.)
    fn split_chroma(&mut self, uv: &[u8]) {
        let (stride, width) = (self.format.stride as usize, self.format.width as usize);
        let rows = self.u.chunks_exact_mut(width / 2).zip(self.v.chunks_exact_mut(width / 2));
        for ((u, v), row) in rows.zip(uv.chunks_exact(stride)) {
            for ((u, v), pair) in u.iter_mut().zip(v).zip(row.chunks_exact(2)) {
                *u = pair[0];
                *v = pair[1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::FrameRate;

    const SIZES: [(u32, u32); 6] = [(2, 2), (16, 16), (34, 18), (160, 96), (854, 480), (640, 362)];

    fn format(pixel: PixelFormat, width: u32, height: u32, stride: u32) -> VideoFormat {
        VideoFormat { pixel, width, height, stride, rate: FrameRate::new(30) }
    }

    /// Bytes without a pattern that a wrong stride could hide in.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    fn rows(plane: &[u8], stride: usize, width: usize, height: usize) -> Vec<&[u8]> {
        (0..height).map(|row| &plane[row * stride..][..width]).collect()
    }

    #[test]
    fn i420_is_borrowed_whatever_its_stride() {
        for (width, height) in SIZES {
            for padding in [0, 2, 64] {
                let format = format(PixelFormat::I420, width, height, width + padding);
                let data = noise(format.frame_bytes());
                let mut converter = Converter::new(format).unwrap();
                let planes = converter.convert(&data).unwrap();
                assert_eq!(planes.y.as_ptr(), data.as_ptr());
                assert_eq!(planes.y.len() + planes.u.len() + planes.v.len(), data.len());
                let luma = format.stride as usize * height as usize;
                assert_eq!(planes.u[0], data[luma]);
                assert_eq!(planes.v[0], data[luma + luma / 4]);
            }
        }
    }

    #[test]
    fn nv12_splits_its_chroma() {
        for (width, height) in SIZES {
            for padding in [0, 2, 64] {
                let format = format(PixelFormat::Nv12, width, height, width + padding);
                let data = noise(format.frame_bytes());
                let mut converter = Converter::new(format).unwrap();
                let planes = converter.convert(&data).unwrap();
                let (width, height, stride) = (width as usize, height as usize, format.stride as usize);
                assert_eq!(
                    rows(planes.y, planes.y_stride, width, height),
                    rows(&data, stride, width, height)
                );
                for (y, row) in rows(&data[stride * height..], stride, width, height / 2).iter().enumerate() {
                    for x in 0..width / 2 {
                        assert_eq!(planes.u[y * planes.chroma_stride + x], row[2 * x], "u at {x},{y}");
                        assert_eq!(planes.v[y * planes.chroma_stride + x], row[2 * x + 1], "v at {x},{y}");
                    }
                }
            }
        }
    }

    #[test]
    fn yuyv_keeps_its_luma_and_halves_its_chroma_rows() {
        for (width, height) in SIZES {
            for padding in [0, 4, 64] {
                let format = format(PixelFormat::Yuyv, width, height, width * 2 + padding);
                let data = noise(format.frame_bytes());
                let mut converter = Converter::new(format).unwrap();
                let planes = converter.convert(&data).unwrap();
                let (width, height, stride) = (width as usize, height as usize, format.stride as usize);
                let source = rows(&data, stride, width * 2, height);
                for (y, row) in source.iter().enumerate() {
                    for x in 0..width {
                        assert_eq!(planes.y[y * planes.y_stride + x], row[2 * x], "y at {x},{y}");
                    }
                }
                for y in 0..height / 2 {
                    for x in 0..width / 2 {
                        // Of either row, or between: libraries differ, and the eye cannot tell.
                        let at = y * planes.chroma_stride + x;
                        for (value, offset) in [(planes.u[at], 1), (planes.v[at], 3)] {
                            let pair = [source[2 * y][4 * x + offset], source[2 * y + 1][4 * x + offset]];
                            let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                            assert!((low..=high).contains(&value), "chroma at {x},{y}: {value} of {pair:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn short_frame_is_refused_and_a_long_one_taken() {
        for pixel in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::I420] {
            let format = format(pixel, 64, 48, 128);
            let need = format.frame_bytes();
            let mut converter = Converter::new(format).unwrap();
            for got in [0, 1, need - 1] {
                match converter.convert(&vec![0; got]) {
                    Err(EncodeError::Damaged(Damage::Short { got: reported, need: wanted })) => {
                        assert_eq!((reported, wanted), (got, need));
                    }
                    other => panic!("{pixel:?} of {got} bytes gave {other:?}"),
                }
            }
            assert!(converter.convert(&vec![0; need + 100]).is_ok());
        }
    }

    #[test]
    fn impossible_formats_are_refused() {
        for format in [
            format(PixelFormat::I420, 63, 48, 64),
            format(PixelFormat::I420, 64, 47, 64),
            format(PixelFormat::I420, 0, 0, 0),
            format(PixelFormat::I420, 64, 48, 62),
            format(PixelFormat::Yuyv, 64, 48, 64),
            format(PixelFormat::H264, 64, 48, 0),
        ] {
            assert!(
                matches!(Converter::new(format), Err(EncodeError::Unsupported { .. })),
                "{format:?} was taken"
            );
        }
    }
}
