//! From a camera's pixel layout to the three planes that the encoder takes. What is a plane already is borrowed
//! from the frame and not copied. Pure, but for the scratch planes, which are kept from frame to frame. Used on the
//! camera's pipeline thread. Not here: turning a picture (`orient`), writing on it (`overlay`).

use yuv::{
    BufferStoreMut, YuvConversionMode, YuvError, YuvPackedImage, YuvPlanarImageMut, YuvRange,
    YuvStandardMatrix, bgr_to_yuv420, rgb_to_yuv420, uyvy422_to_yuv420, yuyv422_to_yuv420,
};

pub use super::planes::I420;
use super::{
    Damage, EncodeError,
    jpeg::JpegDecoder,
    planes::{Picture, PlanesMut},
    range::limited_luma,
};
use crate::camera::{PixelFormat, VideoFormat};
#[cfg(target_arch = "arm")]
use crate::sys::neon::{Neon, Order, Rows};

/// Converts frames of one format.
#[derive(Debug)]
pub struct Converter {
    format: VideoFormat,
    /// What cannot be borrowed from the frame. Empty where all can.
    scratch: Picture,
    /// Only for `Mjpeg`.
    jpeg: Option<JpegDecoder>,
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
        if format.pixel.row_bytes(format.width).is_some_and(|row| format.stride < row) {
            return refuse("its rows are shorter than the picture is wide");
        }
        let (scratch, jpeg) = match format.pixel {
            PixelFormat::Yuyv
            | PixelFormat::Uyvy
            | PixelFormat::Rgb24
            | PixelFormat::Bgr24
            | PixelFormat::Grey
            | PixelFormat::Nv12 => (Picture::new(width, height), None),
            PixelFormat::I420 => (Picture::new(0, 0), None),
            PixelFormat::Mjpeg => (Picture::new(0, 0), Some(JpegDecoder::new()?)),
            PixelFormat::H264 => return refuse("it is H.264 already"),
        };
        Ok(Self { format, scratch, jpeg })
    }

    /// The planes of one frame.
    ///
    /// # Errors
    /// `Damaged` where `data` is not a whole picture.
    pub fn convert<'a>(&'a mut self, data: &'a [u8]) -> Result<I420<'a>, EncodeError> {
        let data = whole(&self.format, data)?;
        let (stride, height) = (self.format.stride as usize, self.format.height as usize);
        match self.format.pixel {
            PixelFormat::Yuyv
            | PixelFormat::Uyvy
            | PixelFormat::Rgb24
            | PixelFormat::Bgr24
            | PixelFormat::Grey => {
                unpack(&self.format, data, &mut self.scratch.planes_mut())?;
                Ok(self.scratch.planes())
            }
            PixelFormat::Nv12 => {
                let (y, chroma) = data.split_at(stride * height);
                let mut planes = self.scratch.planes_mut();
                split_chroma(&self.format, chroma, &mut planes);
                Ok(I420 { y, y_stride: stride, ..self.scratch.planes() })
            }
            PixelFormat::I420 => {
                // V4L2 defines the chroma stride of YU12 as half of luma's.
                let (y, chroma) = data.split_at(stride * height);
                let (u, v) = chroma.split_at(stride / 2 * (height / 2));
                Ok(I420 { y, u, v, y_stride: stride, chroma_stride: stride / 2 })
            }
            PixelFormat::Mjpeg => match &mut self.jpeg {
                Some(jpeg) => jpeg.decode(data, self.format.width, self.format.height),
                None => Err(EncodeError::Failed("there is no JPEG decoder".to_owned())),
            },
            PixelFormat::H264 => Err(EncodeError::Failed("H.264 cannot be converted".to_owned())),
        }
    }

    /// Writes one frame into a picture of the same size, for who wants to change it.
    ///
    /// # Errors
    /// As for `convert`.
    pub fn convert_into(&mut self, data: &[u8], to: &mut Picture) -> Result<(), EncodeError> {
        let direct = matches!(
            self.format.pixel,
            PixelFormat::Yuyv
                | PixelFormat::Uyvy
                | PixelFormat::Rgb24
                | PixelFormat::Bgr24
                | PixelFormat::Grey
        );
        if direct {
            return unpack(&self.format, whole(&self.format, data)?, &mut to.planes_mut());
        }
        to.copy_from(&self.convert(data)?);
        Ok(())
    }
}

/// The bytes of one picture, without what a driver has put behind it.
fn whole<'a>(format: &VideoFormat, data: &'a [u8]) -> Result<&'a [u8], EncodeError> {
    let need = match format.pixel {
        PixelFormat::Mjpeg | PixelFormat::H264 => data.len(),
        PixelFormat::Yuyv
        | PixelFormat::Uyvy
        | PixelFormat::Nv12
        | PixelFormat::I420
        | PixelFormat::Rgb24
        | PixelFormat::Bgr24
        | PixelFormat::Grey => format.frame_bytes(),
    };
    data.get(..need).ok_or(EncodeError::Damaged(Damage::Short { got: data.len(), need }))
}

/// A packed layout, or grey, into planes without padding.
fn unpack(format: &VideoFormat, data: &[u8], to: &mut PlanesMut<'_>) -> Result<(), EncodeError> {
    let VideoFormat { width, height, stride, .. } = *format;
    if format.pixel == PixelFormat::Grey {
        for (to, row) in to.y.chunks_exact_mut(width as usize).zip(data.chunks(stride as usize)) {
            for (to, value) in to.iter_mut().zip(row) {
                *to = limited_luma(*value);
            }
        }
        to.u.fill(128);
        to.v.fill(128);
        return Ok(());
    }
    #[cfg(target_arch = "arm")]
    if unpack_by_neon(format, data, to) {
        return Ok(());
    }
    let mut planes = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(to.y),
        y_stride: width,
        u_plane: BufferStoreMut::Borrowed(to.u),
        u_stride: width / 2,
        v_plane: BufferStoreMut::Borrowed(to.v),
        v_stride: width / 2,
        width,
        height,
    };
    let packed = YuvPackedImage { yuy: data, yuy_stride: stride, width, height };
    let mode = YuvConversionMode::Balanced;
    let done: Result<(), YuvError> = match format.pixel {
        PixelFormat::Yuyv => yuyv422_to_yuv420(&mut planes, &packed),
        PixelFormat::Uyvy => uyvy422_to_yuv420(&mut planes, &packed),
        PixelFormat::Rgb24 => {
            rgb_to_yuv420(&mut planes, data, stride, YuvRange::Limited, YuvStandardMatrix::Bt601, mode)
        }
        PixelFormat::Bgr24 => {
            bgr_to_yuv420(&mut planes, data, stride, YuvRange::Limited, YuvStandardMatrix::Bt601, mode)
        }
        PixelFormat::Nv12
        | PixelFormat::I420
        | PixelFormat::Grey
        | PixelFormat::Mjpeg
        | PixelFormat::H264 => {
            return Err(EncodeError::Failed("this layout is not packed".to_owned()));
        }
    };
    done.map_err(|error| EncodeError::Failed(format!("the picture cannot be converted: {error:?}")))
}

/// The layouts of 4:2:2 on a 32-bit ARM that has NEON, for which the `yuv` crate has plain code alone. False: nothing is done.
#[cfg(target_arch = "arm")]
fn unpack_by_neon(format: &VideoFormat, data: &[u8], to: &mut PlanesMut<'_>) -> bool {
    let order = match format.pixel {
        PixelFormat::Yuyv => Order::Yuyv,
        PixelFormat::Uyvy => Order::Uyvy,
        PixelFormat::Rgb24
        | PixelFormat::Bgr24
        | PixelFormat::Grey
        | PixelFormat::Nv12
        | PixelFormat::I420
        | PixelFormat::Mjpeg
        | PixelFormat::H264 => return false,
    };
    let Some(neon) = Neon::of_this_processor() else { return false };
    let (width, stride) = (format.width as usize, format.stride as usize);
    let chroma = to.u.chunks_exact_mut(width / 2).zip(to.v.chunks_exact_mut(width / 2));
    let luma = to.y.chunks_exact_mut(width * 2);
    // The last row may end with its last pixel.
    data.chunks(stride * 2).zip(luma).zip(chroma).all(|((packed, luma), (u, v))| {
        let (above, below) = luma.split_at_mut(width);
        let packed = [&packed[..width * 2], &packed[stride..][..width * 2]];
        neon.unpack(order, &mut Rows { packed, luma: [above, below], u, v })
    })
}

/// NV12's interleaved chroma into two planes. (The compiler makes vector code of this loop.)
fn split_chroma(format: &VideoFormat, chroma: &[u8], to: &mut PlanesMut<'_>) {
    let (stride, width) = (format.stride as usize, format.width as usize);
    let rows = to.u.chunks_exact_mut(width / 2).zip(to.v.chunks_exact_mut(width / 2));
    for ((u, v), row) in rows.zip(chroma.chunks_exact(stride)) {
        for ((u, v), pair) in u.iter_mut().zip(v).zip(row.chunks_exact(2)) {
            *u = pair[0];
            *v = pair[1];
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
    fn packed_luma_is_kept_and_chroma_rows_are_halved() {
        // The places of Y, U and V in four bytes.
        for (pixel, y_at, u_at, v_at) in [(PixelFormat::Yuyv, 0, 1, 3), (PixelFormat::Uyvy, 1, 0, 2)] {
            for (width, height) in SIZES {
                for padding in [0, 4, 64] {
                    let format = format(pixel, width, height, width * 2 + padding);
                    let data = noise(format.frame_bytes());
                    let mut converter = Converter::new(format).unwrap();
                    let planes = converter.convert(&data).unwrap();
                    let (width, height, stride) = (width as usize, height as usize, format.stride as usize);
                    let source = rows(&data, stride, width * 2, height);
                    for (y, row) in source.iter().enumerate() {
                        for x in 0..width {
                            let at = y * planes.y_stride + x;
                            assert_eq!(planes.y[at], row[2 * x + y_at], "{pixel:?}: y at {x},{y}");
                        }
                    }
                    for y in 0..height / 2 {
                        for x in 0..width / 2 {
                            // Of either row, or between: libraries differ, and the eye cannot tell.
                            let at = y * planes.chroma_stride + x;
                            for (value, offset) in [(planes.u[at], u_at), (planes.v[at], v_at)] {
                                let pair = [source[2 * y][4 * x + offset], source[2 * y + 1][4 * x + offset]];
                                let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                                assert!(
                                    (low..=high).contains(&value),
                                    "{pixel:?}: chroma at {x},{y}: {value} of {pair:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn colours_have_the_luma_and_chroma_of_bt_601() {
        // Limited range, ITU-R BT.601: white, black, red, green, blue, grey.
        for (rgb, yuv) in [
            ([255, 255, 255], [235, 128, 128]),
            ([0, 0, 0], [16, 128, 128]),
            ([255, 0, 0], [81, 90, 240]),
            ([0, 255, 0], [145, 54, 34]),
            ([0, 0, 255], [41, 240, 110]),
            ([128, 128, 128], [126, 128, 128]),
        ] {
            for pixel in [PixelFormat::Rgb24, PixelFormat::Bgr24] {
                for (width, height) in SIZES {
                    let format = format(pixel, width, height, width * 3 + 8);
                    let mut pixel_bytes: [u8; 3] = rgb;
                    if pixel == PixelFormat::Bgr24 {
                        pixel_bytes.reverse();
                    }
                    let mut data = vec![77; format.frame_bytes()];
                    for row in data.chunks_exact_mut(format.stride as usize) {
                        row[..width as usize * 3]
                            .chunks_exact_mut(3)
                            .for_each(|at| at.copy_from_slice(&pixel_bytes));
                    }
                    let mut converter = Converter::new(format).unwrap();
                    let planes = converter.convert(&data).unwrap();
                    for ((plane, _), expected) in planes.planes().into_iter().zip(yuv) {
                        let off = plane.iter().map(|value| value.abs_diff(expected)).max();
                        assert!(off <= Some(1), "{pixel:?} {rgb:?} {width}x{height}: off by {off:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn grey_is_full_range_and_without_colour() {
        let format = format(PixelFormat::Grey, 64, 4, 80);
        let data: Vec<u8> = (0..320).map(|at| (at % 80 * 4).min(255) as u8).collect();
        let mut converter = Converter::new(format).unwrap();
        let planes = converter.convert(&data).unwrap();
        for row in rows(planes.y, planes.y_stride, 64, 4) {
            // 16 + 252 * 219 / 255, rounded.
            assert_eq!((row[0], row[63]), (16, 232));
        }
        assert!(planes.u.iter().chain(planes.v).all(|value| *value == 128));
    }

    #[test]
    fn a_picture_of_ones_own_holds_the_same_as_the_borrowed_planes() {
        for pixel in [
            PixelFormat::Yuyv,
            PixelFormat::Uyvy,
            PixelFormat::Nv12,
            PixelFormat::I420,
            PixelFormat::Rgb24,
            PixelFormat::Bgr24,
            PixelFormat::Grey,
        ] {
            let format = format(pixel, 34, 18, pixel.row_bytes(34).unwrap() + 16);
            let data = noise(format.frame_bytes());
            let mut picture = Picture::new(34, 18);
            Converter::new(format).unwrap().convert_into(&data, &mut picture).unwrap();
            let mut converter = Converter::new(format).unwrap();
            let borrowed = converter.convert(&data).unwrap();
            let sizes = [(34, 18), (17, 9), (17, 9)];
            for ((ours, theirs), (width, height)) in
                picture.planes().planes().into_iter().zip(borrowed.planes()).zip(sizes)
            {
                assert_eq!(
                    rows(ours.0, ours.1, width, height),
                    rows(theirs.0, theirs.1, width, height),
                    "{pixel:?}"
                );
            }
        }
    }

    #[test]
    fn short_frame_is_refused_and_a_long_one_taken() {
        for pixel in [
            PixelFormat::Yuyv,
            PixelFormat::Uyvy,
            PixelFormat::Nv12,
            PixelFormat::I420,
            PixelFormat::Rgb24,
            PixelFormat::Bgr24,
            PixelFormat::Grey,
        ] {
            let format = format(pixel, 64, 48, 192);
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
            format(PixelFormat::Rgb24, 64, 48, 128),
            format(PixelFormat::Mjpeg, 64, 47, 0),
            format(PixelFormat::H264, 64, 48, 0),
        ] {
            assert!(
                matches!(Converter::new(format), Err(EncodeError::Unsupported { .. })),
                "{format:?} was taken"
            );
        }
    }
}
