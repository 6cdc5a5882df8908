//! V4L2 calls in which the `v4l` crate falls short: it panics on a card name cut within a character, and leaves
//! its descriptors open in child processes.

use std::io;

use v4l::{Device, v4l_sys, v4l2::vidioc};

use super::{format::Api, ioctl::ioctl};

/// What a video node says of itself (VIDIOC_QUERYCAP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The device's name for people.
    pub card: String,
    pub driver: String,
    /// Where it is plugged in: `usb-0000:01:00.0-1.2`.
    pub bus: String,
    /// The `V4L2_CAP_…` flags of this node, not of the whole device.
    pub flags: u32,
}

impl Capability {
    /// How it gives pictures; `None`: it gives none. Of a node that speaks both APIs, the simpler one.
    pub fn capture_api(&self) -> Option<Api> {
        if self.flags & v4l_sys::V4L2_CAP_VIDEO_CAPTURE != 0 {
            Some(Api::SinglePlane)
        } else if self.flags & v4l_sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE != 0 {
            Some(Api::MultiPlane)
        } else {
            None
        }
    }

    /// Can hand over mapped buffers.
    pub fn streams(&self) -> bool {
        self.flags & v4l_sys::V4L2_CAP_STREAMING != 0
    }
}

/// Asks a node what it is.
///
/// # Errors
/// `ENOTTY`: not a V4L2 node. `ENODEV`: unplugged.
pub fn capability(device: &Device) -> io::Result<Capability> {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    let mut raw: v4l_sys::v4l2_capability = unsafe { std::mem::zeroed() };
    // SAFETY: VIDIOC_QUERYCAP takes exactly this structure.
    unsafe { ioctl(&device.handle(), vidioc::VIDIOC_QUERYCAP, &mut raw) }?;
    let whole_device = raw.capabilities & v4l_sys::V4L2_CAP_DEVICE_CAPS == 0;
    let flags = if whole_device { raw.capabilities } else { raw.device_caps };
    Ok(Capability { card: text(&raw.card), driver: text(&raw.driver), bus: text(&raw.bus_info), flags })
}

/// Keeps child processes from inheriting the device, which would hold it open after the agent has closed it.
///
/// # Errors
/// The system's.
pub fn close_on_exec(device: &Device) -> io::Result<()> {
    let handle = device.handle();
    // SAFETY: F_SETFD takes a plain number, and the descriptor is open as long as `handle` lives.
    match unsafe { libc::fcntl(handle.fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Drivers fill in names as C strings, cut where the field ends, be it within a character.
pub(super) fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn names_cut_within_a_character_are_readable() {
        assert_eq!(text(b"Webcam\0junk"), "Webcam");
        assert_eq!(text(b"Cam \xc3"), "Cam \u{fffd}");
    }
}
