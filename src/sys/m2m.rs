//! A memory-to-memory device: pictures are put in on one side and come out of the other, coded or decoded (the
//! kernel's "Memory-to-Memory Stateful Video Encoder Interface", userspace-api/media/v4l/dev-encoder.rst). Formats,
//! controls, commands and waiting; `queue` has the buffers. Both APIs, as long as all planes of a picture lie in one
//! buffer. Blocks only in `wait`. Not here: in which order to do what, and what any of it means (`encode::m2m`).
//!
//! Of the `v4l` crate only the ioctl layer and the structures are of use: it knows neither such devices nor the
//! multi-planar API.

mod queue;

use std::{io, os::fd::BorrowedFd, path::Path, sync::Arc, time::Duration};

use v4l::{Device, device::Handle, v4l_sys, v4l2::vidioc};

pub use queue::{Done, Memory, Queue, Taken};

use super::{format::Api, ioctl::ioctl, video};

/// The queues, named as V4L2 does, from the side of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What goes into the device: for an encoder, raw pictures.
    Output,
    /// What comes out of it: for an encoder, coded ones.
    Capture,
}

/// An open device. Each opening is an encoder (or decoder) of its own.
#[derive(Debug)]
pub struct M2m {
    device: Node,
    card: String,
    driver: String,
}

/// A picture format on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub fourcc: [u8; 4],
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes from one row of the first plane to the next; 0 for coded formats. As a wish, 0 leaves it to the driver.
    pub stride: u32,
    /// Bytes of a buffer. As a wish, 0 leaves it to the driver.
    pub bytes: u32,
}

/// What values a control takes (VIDIOC_QUERYCTRL).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub min: i32,
    pub max: i32,
    pub default: i32,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// A buffer of `Side::Output` came back: its picture was read.
    Output,
    /// A buffer of `Side::Capture` was filled.
    Capture,
}

impl M2m {
    /// Opens a device that takes pictures in and gives others out.
    ///
    /// # Errors
    /// `Unsupported`: it is something else. `EBUSY`: it has no free instance. Others: the system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let device = Device::with_path(path)?;
        video::close_on_exec(&device)?;
        let capability = video::capability(&device)?;
        let has = |flag| capability.flags & flag != 0;
        let api = if has(v4l_sys::V4L2_CAP_VIDEO_M2M_MPLANE) {
            Api::MultiPlane
        } else if has(v4l_sys::V4L2_CAP_VIDEO_M2M) {
            Api::SinglePlane
        } else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if !has(v4l_sys::V4L2_CAP_STREAMING) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let device = Node { handle: device.handle(), api };
        Ok(Self { device, card: capability.card, driver: capability.driver })
    }

    /// The device's name for people.
    pub fn card(&self) -> &str {
        &self.card
    }

    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// What one side takes or gives. Which raw formats there are may depend on the coded format that is set.
    pub fn formats(&self, side: Side) -> Vec<[u8; 4]> {
        // More than any device has: a driver that never says that it was the last must not keep us here.
        const MOST: u32 = 256;
        let mut formats = Vec::new();
        for index in 0..MOST {
            // SAFETY: the structure is plain numbers, for which zero is valid.
            let mut description: v4l_sys::v4l2_fmtdesc = unsafe { std::mem::zeroed() };
            description.index = index;
            description.type_ = self.device.kind(side);
            // SAFETY: VIDIOC_ENUM_FMT takes exactly this structure.
            if unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_ENUM_FMT, &mut description) }.is_err() {
                break;
            }
            formats.push(description.pixelformat.to_le_bytes());
        }
        formats
    }

    /// The largest picture of a format, width and height in pixels, where the driver tells.
    pub fn largest(&self, fourcc: [u8; 4]) -> Option<(u32, u32)> {
        const MOST: u32 = 256;
        let mut largest: Option<(u32, u32)> = None;
        for index in 0..MOST {
            // SAFETY: the structure is plain numbers, for which zero is valid.
            let mut size: v4l_sys::v4l2_frmsizeenum = unsafe { std::mem::zeroed() };
            size.index = index;
            size.pixel_format = u32::from_le_bytes(fourcc);
            // SAFETY: VIDIOC_ENUM_FRAMESIZES takes exactly this structure.
            if unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_ENUM_FRAMESIZES, &mut size) }.is_err() {
                break;
            }
            let found = if size.type_ == v4l_sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                // SAFETY: the type says that this is the field that the driver filled in.
                let discrete = unsafe { size.__bindgen_anon_1.discrete };
                (discrete.width, discrete.height)
            } else {
                // SAFETY: the other types, stepwise and continuous, both use this field.
                let stepwise = unsafe { size.__bindgen_anon_1.stepwise };
                (stepwise.max_width, stepwise.max_height)
            };
            let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
            largest = largest.into_iter().chain([found]).max_by_key(|size| area(*size));
        }
        largest
    }

    /// The format of a side.
    ///
    /// # Errors
    /// `Unsupported`: its pictures need several buffers each. Others: the system's.
    pub fn format(&self, side: Side) -> io::Result<Picture> {
        let mut format = self.device.empty_format(side);
        // SAFETY: VIDIOC_G_FMT takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_G_FMT, &mut format) }?;
        self.device.picture(&format)
    }

    /// Asks for a format. The driver answers with the nearest it can do.
    ///
    /// # Errors
    /// As for [`M2m::format`].
    pub fn set_format(&self, side: Side, wanted: &Picture) -> io::Result<Picture> {
        let mut format = self.device.wanted(side, wanted);
        // SAFETY: VIDIOC_S_FMT takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_S_FMT, &mut format) }?;
        self.device.picture(&format)
    }

    /// Has only the upper left `width` times `height` pixels of what is put in coded; gives what the driver made of
    /// that.
    ///
    /// # Errors
    /// `ENOTTY` or `EINVAL`: it cannot crop. Others: the system's.
    pub fn set_crop(&self, width: u32, height: u32) -> io::Result<(u32, u32)> {
        let mut selection = crop(width, height);
        // SAFETY: VIDIOC_S_SELECTION takes exactly this structure.
        unsafe { ioctl(&self.device.handle, VIDIOC_S_SELECTION, &mut selection) }?;
        Ok((selection.r.width, selection.r.height))
    }

    /// What part of what is put in is coded, in pixels.
    ///
    /// # Errors
    /// As for [`M2m::set_crop`].
    pub fn crop(&self) -> io::Result<(u32, u32)> {
        let mut selection = crop(0, 0);
        // SAFETY: VIDIOC_G_SELECTION takes exactly this structure.
        unsafe { ioctl(&self.device.handle, VIDIOC_G_SELECTION, &mut selection) }?;
        Ok((selection.r.width, selection.r.height))
    }

    /// Sets the rate at which pictures are put in, in frames per second as a ratio.
    ///
    /// # Errors
    /// `ENOTTY` or `EINVAL`: the driver does not care. Others: the system's.
    pub fn set_rate(&self, frames: u32, seconds: u32) -> io::Result<()> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut parameters: v4l_sys::v4l2_streamparm = unsafe { std::mem::zeroed() };
        parameters.type_ = self.device.kind(Side::Output);
        parameters.parm.output.timeperframe = v4l_sys::v4l2_fract { numerator: seconds, denominator: frames };
        // SAFETY: VIDIOC_S_PARM takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_S_PARM, &mut parameters) }
    }

    /// What values a control takes; `None` where the device does not have it.
    pub fn control(&self, id: u32) -> Option<Range> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut query: v4l_sys::v4l2_queryctrl = unsafe { std::mem::zeroed() };
        query.id = id;
        // SAFETY: VIDIOC_QUERYCTRL takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_QUERYCTRL, &mut query) }.ok()?;
        let usable =
            query.flags & (v4l_sys::V4L2_CTRL_FLAG_DISABLED | v4l_sys::V4L2_CTRL_FLAG_READ_ONLY) == 0;
        usable.then_some(Range { min: query.minimum, max: query.maximum, default: query.default_value })
    }

    /// Whether a menu control has this entry.
    pub fn has_entry(&self, id: u32, entry: i32) -> bool {
        let Ok(index) = u32::try_from(entry) else { return false };
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut query: v4l_sys::v4l2_querymenu = unsafe { std::mem::zeroed() };
        query.id = id;
        query.index = index;
        // SAFETY: VIDIOC_QUERYMENU takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_QUERYMENU, &mut query) }.is_ok()
    }

    /// Sets a control.
    ///
    /// # Errors
    /// `EBUSY`: not while it streams. `EINVAL`, `ERANGE`: not this value. Others: the system's.
    pub fn set_control(&self, id: u32, value: i32) -> io::Result<()> {
        let mut control = v4l_sys::v4l2_control { id, value };
        // SAFETY: VIDIOC_S_CTRL takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_S_CTRL, &mut control) }
    }

    /// A control's value.
    ///
    /// # Errors
    /// `EINVAL`: there is no such control. Others: the system's.
    pub fn control_value(&self, id: u32) -> io::Result<i32> {
        let mut control = v4l_sys::v4l2_control { id, value: 0 };
        // SAFETY: VIDIOC_G_CTRL takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_G_CTRL, &mut control) }?;
        Ok(control.value)
    }

    /// Begins to drain: what was put in is coded, and the last filled buffer is marked.
    ///
    /// # Errors
    /// `ENOTTY`: the driver cannot. Others: the system's.
    pub fn drain(&self) -> io::Result<()> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut command: v4l_sys::v4l2_encoder_cmd = unsafe { std::mem::zeroed() };
        command.cmd = v4l_sys::V4L2_ENC_CMD_STOP;
        // SAFETY: VIDIOC_ENCODER_CMD takes exactly this structure.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_ENCODER_CMD, &mut command) }
    }

    /// Waits at most `wait` until a buffer can be taken, or an error. `false`: not yet.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, what: Ready, wait: Duration) -> io::Result<bool> {
        // SAFETY: the descriptor is open as long as the handle lives, which is longer than this call.
        let fd = unsafe { BorrowedFd::borrow_raw(self.device.handle.fd()) };
        match what {
            Ready::Capture => super::fd::wait_readable(fd, wait),
            Ready::Output => super::fd::wait_writable(fd, wait),
        }
    }
}

fn crop(width: u32, height: u32) -> v4l_sys::v4l2_selection {
    v4l_sys::v4l2_selection {
        // The multi-planar types are not to be used here (VIDIOC_G_SELECTION's page), though newer kernels take both.
        type_: v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT,
        target: v4l_sys::V4L2_SEL_TGT_CROP,
        flags: 0,
        r: v4l_sys::v4l2_rect { left: 0, top: 0, width, height },
        reserved: [0; 9],
    }
}

// What `v4l` leaves out of its list.
const VIDIOC_G_SELECTION: vidioc::_IOC_TYPE = selection_request(94);
const VIDIOC_S_SELECTION: vidioc::_IOC_TYPE = selection_request(95);

/// `_IOWR('V', number, struct v4l2_selection)`, by the rules of asm-generic/ioctl.h, which hold on x86 and ARM.
const fn selection_request(number: vidioc::_IOC_TYPE) -> vidioc::_IOC_TYPE {
    // Casts: the type is as wide as C's on the target, signed with musl.
    const READ_WRITE: u32 = 3;
    let size = size_of::<v4l_sys::v4l2_selection>() as u32;
    (READ_WRITE << 30 | size << 16 | (b'V' as u32) << 8) as vidioc::_IOC_TYPE | number
}

/// The open device with the API that it speaks.
#[derive(Clone)]
struct Node {
    handle: Arc<Handle>,
    api: Api,
}

impl Node {
    fn kind(&self, side: Side) -> u32 {
        match (side, self.api) {
            (Side::Output, Api::SinglePlane) => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT,
            (Side::Output, Api::MultiPlane) => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
            (Side::Capture, Api::SinglePlane) => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            (Side::Capture, Api::MultiPlane) => v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
        }
    }

    fn empty_format(&self, side: Side) -> v4l_sys::v4l2_format {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut format: v4l_sys::v4l2_format = unsafe { std::mem::zeroed() };
        format.type_ = self.kind(side);
        format
    }

    fn wanted(&self, side: Side, picture: &Picture) -> v4l_sys::v4l2_format {
        let Picture { width, height, stride, bytes, .. } = *picture;
        let pixelformat = u32::from_le_bytes(picture.fourcc);
        let field = v4l_sys::v4l2_field_V4L2_FIELD_NONE;
        // What cameras give is BT.601 with limited range, mostly; the encoder only writes it down, if anything.
        let colorspace = v4l_sys::v4l2_colorspace_V4L2_COLORSPACE_SMPTE170M;
        let mut format = self.empty_format(side);
        match self.api {
            Api::SinglePlane => {
                // SAFETY: the structure is plain numbers, for which zero is valid.
                let mut pix: v4l_sys::v4l2_pix_format = unsafe { std::mem::zeroed() };
                (pix.width, pix.height, pix.pixelformat) = (width, height, pixelformat);
                (pix.bytesperline, pix.sizeimage) = (stride, bytes);
                (pix.field, pix.colorspace) = (field, colorspace);
                format.fmt.pix = pix;
            }
            Api::MultiPlane => {
                // SAFETY: the structure is plain numbers, for which zero is valid.
                let mut pix: v4l_sys::v4l2_pix_format_mplane = unsafe { std::mem::zeroed() };
                (pix.width, pix.height, pix.pixelformat) = (width, height, pixelformat);
                (pix.field, pix.colorspace, pix.num_planes) = (field, colorspace, 1);
                pix.plane_fmt[0] = v4l_sys::v4l2_plane_pix_format {
                    sizeimage: bytes,
                    bytesperline: stride,
                    reserved: [0; 6],
                };
                format.fmt.pix_mp = pix;
            }
        }
        format
    }

    fn picture(&self, format: &v4l_sys::v4l2_format) -> io::Result<Picture> {
        match self.api {
            Api::SinglePlane => {
                // SAFETY: this API uses this field, and all of its bits are valid numbers.
                let pix = unsafe { format.fmt.pix };
                let fourcc = pix.pixelformat.to_le_bytes();
                let (stride, bytes) = (pix.bytesperline, pix.sizeimage);
                Ok(Picture { fourcc, width: pix.width, height: pix.height, stride, bytes })
            }
            Api::MultiPlane => {
                // SAFETY: this API uses this field, and all of its bits are valid numbers.
                let pix = unsafe { format.fmt.pix_mp };
                if pix.num_planes > 1 {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                let plane = pix.plane_fmt[0];
                Ok(Picture {
                    fourcc: { pix.pixelformat }.to_le_bytes(),
                    width: pix.width,
                    height: pix.height,
                    stride: plane.bytesperline,
                    bytes: plane.sizeimage,
                })
            }
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fd {} ({:?})", self.handle.fd(), self.api)
    }
}
