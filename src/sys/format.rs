//! A capture node's formats, sizes and rates, through either of V4L2's two capture APIs; the `v4l` crate knows the
//! single-planar one only. Called on the thread that opens the camera. Not here: what to choose (`camera::negotiate`).

use std::io;

use v4l::{
    Device,
    v4l_sys::{self, v4l2_fmtdesc, v4l2_format, v4l2_streamparm},
    v4l2::vidioc,
};

use super::ioctl::ioctl;

/// Which of V4L2's two capture APIs a node speaks (kernel documentation, "Single- and multi-planar APIs").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// A buffer is one piece of memory, as webcams have it.
    SinglePlane,
    /// A buffer is one or several pieces of memory, as the image units of system chips have it.
    MultiPlane,
}

impl Api {
    /// The `v4l2_buf_type` of capture buffers.
    pub(super) const fn buffer_type(self) -> u32 {
        match self {
            Self::SinglePlane => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            Self::MultiPlane => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        }
    }
}

/// A format as the driver has set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub fourcc: [u8; 4],
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row of the first plane to the next; 0 of compressed formats.
    pub stride: u32,
    /// Pieces of memory that a picture is spread over; 1 in the single-planar API.
    pub memory_planes: u8,
}

/// The codes of the node's formats (VIDIOC_ENUM_FMT), in its order.
///
/// # Errors
/// `ENODEV`: unplugged. A node without formats gives an empty list.
pub fn formats(device: &Device, api: Api) -> io::Result<Vec<[u8; 4]>> {
    // More than any driver has: one that never says "no more" ends here.
    const MOST: u32 = 256;
    let mut codes = Vec::new();
    for index in 0..MOST {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut raw: v4l2_fmtdesc = unsafe { std::mem::zeroed() };
        raw.index = index;
        raw.type_ = api.buffer_type();
        // SAFETY: VIDIOC_ENUM_FMT takes exactly this structure.
        match unsafe { ioctl(&device.handle(), vidioc::VIDIOC_ENUM_FMT, &mut raw) } {
            Ok(()) => codes.push(raw.pixelformat.to_le_bytes()),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(codes)
}

/// The format that is set (VIDIOC_G_FMT).
///
/// # Errors
/// `ENODEV`: unplugged.
pub fn current(device: &Device, api: Api) -> io::Result<Layout> {
    let mut raw = empty_format(api);
    // SAFETY: VIDIOC_G_FMT takes exactly this structure.
    unsafe { ioctl(&device.handle(), vidioc::VIDIOC_G_FMT, &mut raw) }?;
    Ok(layout(&raw, api))
}

/// Sets a format (VIDIOC_S_FMT) and gives what the driver made of it: it changes what it cannot do.
///
/// # Errors
/// `EBUSY`: another program captures from the device. Others: the system's.
pub fn set(device: &Device, api: Api, fourcc: [u8; 4], width: u32, height: u32) -> io::Result<Layout> {
    let mut raw = empty_format(api);
    let pixelformat = u32::from_le_bytes(fourcc);
    match api {
        // Writing to a field of a union is safe: only reading needs to know which it is.
        Api::SinglePlane => {
            raw.fmt.pix.width = width;
            raw.fmt.pix.height = height;
            raw.fmt.pix.pixelformat = pixelformat;
        }
        Api::MultiPlane => {
            raw.fmt.pix_mp.width = width;
            raw.fmt.pix_mp.height = height;
            raw.fmt.pix_mp.pixelformat = pixelformat;
            raw.fmt.pix_mp.num_planes = 1;
        }
    }
    // SAFETY: VIDIOC_S_FMT takes exactly this structure.
    unsafe { ioctl(&device.handle(), vidioc::VIDIOC_S_FMT, &mut raw) }?;
    Ok(layout(&raw, api))
}

/// Asks for the time from one frame to the next, in seconds as a fraction (VIDIOC_S_PARM), and gives what the driver
/// made of it. Both numbers may come back as 0 from a driver that has no rate to set.
///
/// # Errors
/// `ENOTTY`: this driver has no rate to set. Others: the system's.
pub fn set_interval(
    device: &Device,
    api: Api,
    (numerator, denominator): (u32, u32),
) -> io::Result<(u32, u32)> {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    let mut raw: v4l2_streamparm = unsafe { std::mem::zeroed() };
    raw.type_ = api.buffer_type();
    raw.parm.capture.timeperframe = v4l_sys::v4l2_fract { numerator, denominator };
    // SAFETY: VIDIOC_S_PARM takes exactly this structure.
    unsafe { ioctl(&device.handle(), vidioc::VIDIOC_S_PARM, &mut raw) }?;
    // SAFETY: for a capture type the driver fills in `capture`.
    let interval = unsafe { raw.parm.capture.timeperframe };
    Ok((interval.numerator, interval.denominator))
}

fn empty_format(api: Api) -> v4l2_format {
    // SAFETY: the structure is plain numbers and pointers that are not followed for these types; zero is valid.
    let mut raw: v4l2_format = unsafe { std::mem::zeroed() };
    raw.type_ = api.buffer_type();
    raw
}

fn layout(raw: &v4l2_format, api: Api) -> Layout {
    match api {
        Api::SinglePlane => {
            // SAFETY: `pix` is the field of this type; it is plain numbers.
            let pix = unsafe { raw.fmt.pix };
            Layout {
                fourcc: pix.pixelformat.to_le_bytes(),
                width: pix.width,
                height: pix.height,
                stride: pix.bytesperline,
                memory_planes: 1,
            }
        }
        Api::MultiPlane => {
            // SAFETY: `pix_mp` is the field of this type; it is plain numbers.
            let pix = unsafe { raw.fmt.pix_mp };
            let code = pix.pixelformat;
            Layout {
                fourcc: code.to_le_bytes(),
                width: pix.width,
                height: pix.height,
                stride: pix.plane_fmt[0].bytesperline,
                memory_planes: pix.num_planes,
            }
        }
    }
}
