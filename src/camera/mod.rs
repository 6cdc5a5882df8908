//! Where pictures come from. A `Camera` is open and streaming; a `CameraSource` knows how to open one.
//! Both are used from the camera's own pipeline thread (`pipeline.rs`) and may block for as long as they
//! are told. Not here: what becomes of a frame (`encode`, `hub`), and when to open or close (`pipeline`).

pub mod auto;
pub mod controls;
pub mod csi;
pub mod negotiate;
pub mod orientation;
pub mod process;
pub mod replay;
pub mod synthetic;
pub mod v4l2;

mod child;
mod devices;
mod error;
mod identity;
mod mailbox;
mod pipe;
mod spec;

pub(crate) use devices::video_nodes;
pub use error::CameraError;
pub use spec::{Spec, parse};

use std::{
    os::fd::BorrowedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use orientation::Orientation;

/// How a frame's bytes are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Packed 4:2:2, Y0 U Y1 V; 2 bytes a pixel (V4L2 `YUYV`).
    Yuyv,
    /// Packed 4:2:2, U Y0 V Y1; 2 bytes a pixel (V4L2 `UYVY`).
    Uyvy,
    /// A luma plane, then one of interleaved U and V at half size (V4L2 `NV12`).
    Nv12,
    /// Three planes: Y, then U and V at half size (V4L2 `YU12`).
    I420,
    /// Packed R, G, B; 3 bytes a pixel (V4L2 `RGB3`).
    Rgb24,
    /// Packed B, G, R; 3 bytes a pixel (V4L2 `BGR3`).
    Bgr24,
    /// One luma plane (V4L2 `GREY`).
    Grey,
    /// One JPEG picture (V4L2 `MJPG`, `JPEG`), perhaps without its Huffman tables.
    Mjpeg,
    /// One H.264 access unit in Annex B form, not to be encoded again.
    H264,
}

impl PixelFormat {
    /// Bytes of a row of the first plane without padding; `None` for compressed formats, which have no rows.
    pub const fn row_bytes(self, width: u32) -> Option<u32> {
        match self {
            Self::Yuyv | Self::Uyvy => Some(width * 2),
            Self::Rgb24 | Self::Bgr24 => Some(width * 3),
            Self::Nv12 | Self::I420 | Self::Grey => Some(width),
            Self::Mjpeg | Self::H264 => None,
        }
    }
}

/// Frames per second as a ratio, as V4L2 gives it: 30000/1001 stays exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    pub numerator: u32,
    pub denominator: u32,
}

impl FrameRate {
    /// A whole number of frames per second.
    pub const fn new(fps: u32) -> Self {
        Self { numerator: fps, denominator: 1 }
    }

    /// Frames per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator.max(1))
    }

    /// The time from one frame to the next.
    pub fn interval(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second().clamp(0.01, 1000.0))
    }
}

/// What a camera delivers, settled when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoFormat {
    pub pixel: PixelFormat,
    /// Pixels; even.
    pub width: u32,
    /// Pixels; even.
    pub height: u32,
    /// Bytes from one row of the first plane to the next (0 for compressed formats).
    pub stride: u32,
    pub rate: FrameRate,
}

impl VideoFormat {
    /// Bytes of a whole frame, rows padded to the stride; 0 for compressed formats, whose frames differ. The chroma
    /// rows of `I420` are padded to half the stride, as V4L2 lays them out.
    pub fn frame_bytes(&self) -> usize {
        let (stride, height) = (self.stride as usize, self.height as usize);
        match self.pixel {
            PixelFormat::Yuyv
            | PixelFormat::Uyvy
            | PixelFormat::Rgb24
            | PixelFormat::Bgr24
            | PixelFormat::Grey => stride * height,
            PixelFormat::Nv12 => stride * height + stride * (height / 2),
            PixelFormat::I420 => stride * height + 2 * (stride / 2 * (height / 2)),
            PixelFormat::Mjpeg | PixelFormat::H264 => 0,
        }
    }
}

/// What the configuration asks of a camera. A camera gives the nearest it has, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub rate: FrameRate,
    /// Whether the user named the size: then another one is refused, not taken.
    pub size: SizeWish,
    /// For what the pictures are wanted.
    pub accept: Accept,
}

/// Whether a size is the user's or a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeWish {
    /// The user named it; a camera that cannot do it refuses and lists what it can.
    Exact,
    /// A default; the nearest will do.
    Nearest,
}

/// Which of a camera's formats may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// All: H.264 that the camera makes where it meets the wish, else pictures to encode.
    Any,
    /// All, but H.264 only where the camera has nothing else: they shall be mirrored, or written on.
    PicturesFirst,
    /// Pictures only: they shall be encoded here.
    Pictures,
    /// Only H.264 that the camera makes, to be handed on as it is.
    H264,
    /// This format alone.
    Only(PixelFormat),
}

impl Accept {
    /// Whether a format may be taken.
    pub fn takes(self, pixel: PixelFormat) -> bool {
        match self {
            Self::Any | Self::PicturesFirst => true,
            Self::Pictures => pixel != PixelFormat::H264,
            Self::H264 => pixel == PixelFormat::H264,
            Self::Only(only) => pixel == only,
        }
    }
}

/// One picture, borrowed from the camera: for V4L2 the bytes are the driver's own mapped buffer, which
/// goes back to the driver at the next call.
#[derive(Debug)]
pub struct Frame<'a> {
    pub data: &'a [u8],
    /// When the picture was taken, or the nearest to it that the source knows.
    pub captured: Instant,
    /// The driver's buffer in which `data` lies, from its first byte on, for an encoder's driver that can read it
    /// there; where neither side is one, none. Valid as long as the frame.
    pub dmabuf: Option<BorrowedFd<'a>>,
    /// Frames lost before this one since the last was delivered: older ones skipped because a newer was
    /// there, and gaps in the driver's count.
    pub skipped: u32,
}

/// An open camera. Dropping it closes the device.
pub trait Camera: Send {
    /// What `next_frame` delivers. It may change only in the call that delivers the first such frame.
    fn format(&self) -> VideoFormat;

    /// Waits at most `wait` for a frame and gives the newest there is; for `H264`, where none may be
    /// skipped, the next. `None`: nothing came in time, or what came was damaged (and counted).
    ///
    /// # Errors
    /// The camera can no longer be used: close it, and perhaps open it again.
    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError>;

    /// Asks the camera to turn its pictures by itself, and gives what it does of that: nothing, for one that cannot.
    /// Called once, before the first frame.
    fn turn(&mut self, _wanted: Orientation) -> Orientation {
        Orientation::UPRIGHT
    }

    /// Asks a camera that encodes by itself for a key frame. Others, and those that cannot, do nothing.
    fn request_key_frame(&mut self) {}
}

/// Opens a camera. Called at the first viewer, and again after the camera was lost.
pub trait CameraSource: Send + Sync {
    /// # Errors
    /// One sentence that names the device, the reason and the remedy.
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError>;

    /// What a person calls it, for logs: a device path, a command, `synthetic`.
    fn describe(&self) -> String;

    /// The V4L2 node whose controls are this camera's; `None` where it has none.
    fn control_node(&self) -> Option<PathBuf> {
        None
    }

    /// Whether it was told a bit rate when it was made, and encodes at that.
    fn rate_is_fixed(&self) -> bool {
        false
    }
}
