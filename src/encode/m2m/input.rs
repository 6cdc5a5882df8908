//! What an encoder is given: the camera's picture as it is where the encoder takes that layout, else one converted to
//! YUV 4:2:0; and how it is written into the encoder's buffer, whose rows and planes may be longer. Pure.

use crate::{
    camera::{PixelFormat, VideoFormat, negotiate::FourCc},
    encode::{
        EncodeError,
        convert::{Converter, I420},
    },
};

/// The layout of pictures in the encoder's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) pixel: PixelFormat,
    /// Pixels of the picture.
    pub(super) width: u32,
    /// Pixels of the picture.
    pub(super) height: u32,
    /// Bytes from one row of the first plane to the next.
    pub(super) stride: u32,
    /// Rows of the first plane: those of the picture, and those that the encoder adds below it.
    pub(super) rows: u32,
}

/// Whether the camera's picture is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// The camera's layout is the encoder's.
    AsCaptured,
    /// Converted to I420 first, and from there to the encoder's layout.
    Converted,
}

/// What to ask of an encoder that takes `offered`, for a camera's pictures; `None`: it takes nothing that we can give.
pub(super) fn choose(camera: PixelFormat, offered: &[FourCc]) -> Option<(PixelFormat, Feed)> {
    let takes = |pixel: PixelFormat| fourcc(pixel).is_some_and(|fourcc| offered.contains(&fourcc));
    if takes(camera) {
        return Some((camera, Feed::AsCaptured));
    }
    let target = [PixelFormat::I420, PixelFormat::Nv12].into_iter().find(|pixel| takes(*pixel))?;
    Some((target, Feed::Converted))
}

/// V4L2's code of a layout that an encoder may be given.
pub(super) fn fourcc(pixel: PixelFormat) -> Option<FourCc> {
    Some(FourCc(match pixel {
        PixelFormat::Yuyv => *b"YUYV",
        PixelFormat::Uyvy => *b"UYVY",
        PixelFormat::Nv12 => *b"NV12",
        PixelFormat::I420 => *b"YU12",
        PixelFormat::Rgb24 => *b"RGB3",
        PixelFormat::Bgr24 => *b"BGR3",
        // Cameras give grey from black to white, and encoders take it as luma, which has a smaller range.
        PixelFormat::Grey | PixelFormat::Mjpeg | PixelFormat::H264 => return None,
    }))
}

/// One plane of a layout within a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plane {
    offset: usize,
    stride: usize,
    /// Bytes of a row that are the picture's.
    row: usize,
    /// Rows that are the picture's.
    rows: usize,
}

impl Layout {
    /// The camera's own.
    pub(super) fn of_camera(format: &VideoFormat) -> Self {
        let VideoFormat { pixel, width, height, stride, .. } = *format;
        Self { pixel, width, height, stride, rows: height }
    }

    /// Bytes of a whole picture, what the encoder adds included.
    pub(super) fn bytes(&self) -> usize {
        let luma = self.stride as usize * self.rows as usize;
        match self.pixel {
            PixelFormat::Yuyv
            | PixelFormat::Uyvy
            | PixelFormat::Rgb24
            | PixelFormat::Bgr24
            | PixelFormat::Grey => luma,
            PixelFormat::Nv12 => luma + self.stride as usize * (self.rows as usize / 2),
            PixelFormat::I420 => luma + 2 * (self.stride as usize / 2 * (self.rows as usize / 2)),
            PixelFormat::Mjpeg | PixelFormat::H264 => 0,
        }
    }

    /// Whether a picture of the other layout is, byte for byte, one of this.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self == other && self.pixel.row_bytes(self.width).is_some_and(|row| self.stride >= row)
    }

    /// One to three planes.
    fn planes(&self) -> impl Iterator<Item = Plane> + use<> {
        let (stride, width) = (self.stride as usize, self.width as usize);
        let (rows, height) = (self.rows as usize, self.height as usize);
        let luma = |row| Some(Plane { offset: 0, stride, row, rows: height });
        let chroma = |offset, stride, row| Some(Plane { offset, stride, row, rows: height / 2 });
        let planes = match self.pixel {
            PixelFormat::Yuyv | PixelFormat::Uyvy => [luma(width * 2), None, None],
            PixelFormat::Rgb24 | PixelFormat::Bgr24 => [luma(width * 3), None, None],
            PixelFormat::Grey => [luma(width), None, None],
            PixelFormat::Nv12 => [luma(width), chroma(stride * rows, stride, width), None],
            PixelFormat::I420 => {
                let (u, v) = (stride * rows, stride * rows + stride / 2 * (rows / 2));
                [luma(width), chroma(u, stride / 2, width / 2), chroma(v, stride / 2, width / 2)]
            }
            PixelFormat::Mjpeg | PixelFormat::H264 => [None, None, None],
        };
        planes.into_iter().flatten()
    }

    /// Writes a picture of the same pixel format and size, but other strides, into a buffer of this layout. `false`:
    /// one of the two is too short.
    pub(super) fn write(&self, buffer: &mut [u8], from: &Layout, picture: &[u8]) -> bool {
        self.planes()
            .zip(from.planes())
            .all(|(to, from)| copy(to, buffer, from.stride, picture.get(from.offset..).unwrap_or_default()))
    }

    /// Writes planes into a buffer of this layout, which is `I420` or `Nv12`. `false`: one of the two is too short.
    pub(super) fn write_planes(&self, buffer: &mut [u8], picture: I420<'_>) -> bool {
        let mut planes = self.planes();
        match (planes.next(), planes.next(), planes.next()) {
            (Some(y), Some(u), Some(v)) => {
                copy(y, buffer, picture.y_stride, picture.y)
                    && copy(u, buffer, picture.chroma_stride, picture.u)
                    && copy(v, buffer, picture.chroma_stride, picture.v)
            }
            (Some(y), Some(uv), None) => {
                copy(y, buffer, picture.y_stride, picture.y) && interleave(uv, buffer, picture)
            }
            (_, None, _) | (None, ..) => false,
        }
    }
}

fn copy(plane: Plane, buffer: &mut [u8], from_stride: usize, from: &[u8]) -> bool {
    (0..plane.rows).all(|row| {
        let to =
            buffer.get_mut(plane.offset + row * plane.stride..).and_then(|rest| rest.get_mut(..plane.row));
        let from = from.get(row * from_stride..).and_then(|rest| rest.get(..plane.row));
        let (Some(to), Some(from)) = (to, from) else { return false };
        to.copy_from_slice(from);
        true
    })
}

/// U and V, a byte of each by turns. (The compiler makes vector code of this loop.)
fn interleave(plane: Plane, buffer: &mut [u8], picture: I420<'_>) -> bool {
    (0..plane.rows).all(|row| {
        let to =
            buffer.get_mut(plane.offset + row * plane.stride..).and_then(|rest| rest.get_mut(..plane.row));
        let begin = row * picture.chroma_stride;
        let u = picture.u.get(begin..).and_then(|rest| rest.get(..plane.row / 2));
        let v = picture.v.get(begin..).and_then(|rest| rest.get(..plane.row / 2));
        let (Some(to), Some(u), Some(v)) = (to, u, v) else { return false };
        for ((pair, u), v) in to.chunks_exact_mut(2).zip(u).zip(v) {
            pair[0] = *u;
            pair[1] = *v;
        }
        true
    })
}

/// From the camera's picture to the encoder's buffer, with one copy.
#[derive(Debug)]
pub(super) struct Writer {
    camera: Layout,
    encoder: Layout,
    /// None where the layouts differ in strides only.
    converter: Option<Converter>,
}

impl Writer {
    /// # Errors
    /// The camera's format cannot be converted.
    pub(super) fn new(format: &VideoFormat, encoder: Layout, feed: Feed) -> Result<Self, EncodeError> {
        let converter = match feed {
            Feed::AsCaptured => None,
            Feed::Converted => Some(Converter::new(*format)?),
        };
        Ok(Self { camera: Layout::of_camera(format), encoder, converter })
    }

    /// Whether the encoder can read a frame where it lies.
    pub(super) fn is_copy(&self) -> bool {
        self.converter.is_none() && self.encoder.is_same(&self.camera)
    }

    /// Bytes that a picture takes in the encoder's buffer.
    pub(super) fn bytes(&self) -> usize {
        self.encoder.bytes()
    }

    /// Writes a frame into the encoder's buffer.
    ///
    /// # Errors
    /// A frame that is not whole, or a buffer that is too small for one.
    pub(super) fn write(&mut self, data: &[u8], buffer: &mut [u8]) -> Result<(), EncodeError> {
        let written = match &mut self.converter {
            Some(converter) => self.encoder.write_planes(buffer, converter.convert(data)?),
            None => self.encoder.write(buffer, &self.camera, data),
        };
        if written {
            return Ok(());
        }
        let room = buffer.len();
        let reason =
            format!("a picture of {} bytes does not go into its buffer of {room}", self.encoder.bytes());
        Err(EncodeError::Failed(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{camera::FrameRate, h264::random::Random};

    const YU12: FourCc = FourCc(*b"YU12");
    const NV12: FourCc = FourCc(*b"NV12");
    const YUYV: FourCc = FourCc(*b"YUYV");

    fn format(pixel: PixelFormat, padding: u32) -> VideoFormat {
        let (width, height) = (36, 18);
        let stride = pixel.row_bytes(width).unwrap_or(0) + padding;
        VideoFormat { pixel, width, height, stride, rate: FrameRate::new(30) }
    }

    #[test]
    fn the_cameras_own_layout_is_taken_where_it_can_be() {
        assert_eq!(choose(PixelFormat::Yuyv, &[YU12, YUYV]), Some((PixelFormat::Yuyv, Feed::AsCaptured)));
        assert_eq!(choose(PixelFormat::I420, &[NV12, YU12]), Some((PixelFormat::I420, Feed::AsCaptured)));
    }

    #[test]
    fn other_layouts_are_converted_to_planes_first_of_all() {
        assert_eq!(choose(PixelFormat::Yuyv, &[NV12, YU12]), Some((PixelFormat::I420, Feed::Converted)));
        assert_eq!(choose(PixelFormat::Mjpeg, &[NV12]), Some((PixelFormat::Nv12, Feed::Converted)));
        assert_eq!(choose(PixelFormat::Yuyv, &[FourCc(*b"NM12")]), None);
        assert_eq!(choose(PixelFormat::Yuyv, &[]), None);
    }

    /// A picture's visible bytes, whatever the layout.
    fn visible(layout: &Layout, data: &[u8]) -> Vec<Vec<u8>> {
        let rows = |plane: Plane| {
            (0..plane.rows).map(move |row| data[plane.offset + row * plane.stride..][..plane.row].to_vec())
        };
        layout.planes().flat_map(rows).collect()
    }

    const RAW: [PixelFormat; 7] = [
        PixelFormat::Yuyv,
        PixelFormat::Uyvy,
        PixelFormat::Nv12,
        PixelFormat::I420,
        PixelFormat::Rgb24,
        PixelFormat::Bgr24,
        PixelFormat::Grey,
    ];

    #[test]
    fn longer_rows_and_more_of_them_keep_the_picture() {
        let mut random = Random(5);
        for pixel in RAW {
            for (padding, to_padding, more_rows) in [(0, 0, 0), (0, 28, 14), (4, 0, 0), (12, 64, 2)] {
                let format = format(pixel, padding);
                let camera = Layout::of_camera(&format);
                let stride = pixel.row_bytes(format.width).unwrap() + to_padding;
                let encoder = Layout { stride, rows: format.height + more_rows, ..camera };
                let data = random.bytes(format.frame_bytes());
                assert_eq!(camera.bytes(), data.len(), "{pixel:?}");
                let mut buffer = vec![0; encoder.bytes()];
                let mut writer = Writer::new(&format, encoder, Feed::AsCaptured).unwrap();
                writer.write(&data, &mut buffer).unwrap();
                assert_eq!(visible(&encoder, &buffer), visible(&camera, &data), "{pixel:?}");
                assert_eq!(writer.is_copy(), (padding, more_rows) == (to_padding, 0), "{pixel:?}");
                buffer.pop();
                if to_padding == 0 && more_rows == 0 {
                    assert!(writer.write(&data, &mut buffer).is_err(), "{pixel:?}: no room");
                }
                assert!(
                    writer.write(&data[..data.len() / 2], &mut buffer).is_err(),
                    "{pixel:?}: half a picture"
                );
            }
        }
    }

    #[test]
    fn converted_pictures_have_the_planes_of_the_conversion() {
        let mut random = Random(6);
        let format = format(PixelFormat::Yuyv, 4);
        let data = random.bytes(format.frame_bytes());
        let mut converter = Converter::new(format).unwrap();
        let I420 { y, u, v, y_stride, chroma_stride } = converter.convert(&data).unwrap();
        for pixel in [PixelFormat::I420, PixelFormat::Nv12] {
            let encoder = Layout { pixel, width: 36, height: 18, stride: 64, rows: 32 };
            let mut buffer = vec![0; encoder.bytes()];
            let mut writer = Writer::new(&format, encoder, Feed::Converted).unwrap();
            assert!(!writer.is_copy());
            writer.write(&data, &mut buffer).unwrap();
            for row in 0..18 {
                assert_eq!(buffer[row * 64..][..36], y[row * y_stride..][..36]);
            }
            let chroma = &buffer[64 * 32..];
            for (row, column) in (0..9).flat_map(|row| (0..18).map(move |column| (row, column))) {
                let at = match pixel {
                    PixelFormat::Nv12 => (row * 64 + 2 * column, row * 64 + 2 * column + 1),
                    _ => (row * 32 + column, 32 * 16 + row * 32 + column),
                };
                let from = row * chroma_stride + column;
                assert_eq!((chroma[at.0], chroma[at.1]), (u[from], v[from]), "{pixel:?} {row} {column}");
            }
        }
    }
}
