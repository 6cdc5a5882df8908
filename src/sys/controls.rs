//! The calls by which a V4L2 device is asked for its controls, and told their values. Not here: what a control is and
//! which value fits it (`camera::controls`).

use std::{
    ffi::{c_char, c_void},
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use v4l::{
    v4l_sys::{
        self, v4l2_control, v4l2_ext_control, v4l2_ext_controls, v4l2_query_ext_ctrl, v4l2_queryctrl,
        v4l2_querymenu,
    },
    v4l2::{self, vidioc},
};

/// Strings that are longer are cut: no driver has such, and a broken one shall not make us allocate at its will.
const MAX_TEXT: usize = 64 * 1024;

/// What a driver says of one of its controls (VIDIOC_QUERY_EXT_CTRL), in its own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub id: u32,
    /// A `V4L2_CTRL_TYPE_…`.
    pub kind: u32,
    /// For people.
    pub name: String,
    pub minimum: i64,
    pub maximum: i64,
    pub step: u64,
    pub default: i64,
    /// The `V4L2_CTRL_FLAG_…` flags.
    pub flags: u32,
    /// Dimensions of an array; 0 for a single value.
    pub dimensions: u32,
}

/// A device, opened to ask for its controls and to set them: that works while another descriptor streams.
#[derive(Debug)]
pub struct ControlNode(File);

impl ControlNode {
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NONBLOCK;
        Ok(Self(OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?))
    }

    /// The device's name for people.
    ///
    /// # Errors
    /// `ENOTTY`: not a V4L2 node. `ENODEV`: unplugged.
    pub fn card(&self) -> io::Result<String> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut raw: v4l_sys::v4l2_capability = unsafe { std::mem::zeroed() };
        // SAFETY: VIDIOC_QUERYCAP takes exactly this structure.
        unsafe { self.ioctl(vidioc::VIDIOC_QUERYCAP, &mut raw) }?;
        Ok(name(raw.card.iter().copied()))
    }

    /// Describes the control with this id or, with `V4L2_CTRL_FLAG_NEXT_…` in it, the first after it.
    ///
    /// # Errors
    /// `EINVAL`: there is none. `ENOTTY`: an old driver, which may know [`ControlNode::query_old`].
    pub fn query(&self, id: u32) -> io::Result<Description> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut raw: v4l2_query_ext_ctrl = unsafe { std::mem::zeroed() };
        raw.id = id;
        // SAFETY: VIDIOC_QUERY_EXT_CTRL takes exactly this structure.
        unsafe { self.ioctl(vidioc::VIDIOC_QUERY_EXT_CTRL, &mut raw) }?;
        Ok(Description {
            id: raw.id,
            kind: raw.type_,
            name: name(raw.name.iter().map(|letter| letter.to_ne_bytes()[0])),
            minimum: raw.minimum,
            maximum: raw.maximum,
            step: raw.step,
            default: raw.default_value,
            flags: raw.flags,
            dimensions: raw.nr_of_dims,
        })
    }

    /// The same by VIDIOC_QUERYCTRL, which knows neither arrays nor numbers of 64 bits.
    ///
    /// # Errors
    /// `EINVAL`: there is none. `ENOTTY`: the device has no controls.
    pub fn query_old(&self, id: u32) -> io::Result<Description> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut raw: v4l2_queryctrl = unsafe { std::mem::zeroed() };
        raw.id = id;
        // SAFETY: VIDIOC_QUERYCTRL takes exactly this structure.
        unsafe { self.ioctl(vidioc::VIDIOC_QUERYCTRL, &mut raw) }?;
        Ok(Description {
            id: raw.id,
            kind: raw.type_,
            name: name(raw.name.iter().copied()),
            minimum: raw.minimum.into(),
            maximum: raw.maximum.into(),
            step: u64::from(raw.step.unsigned_abs()),
            default: raw.default_value.into(),
            flags: raw.flags,
            dimensions: 0,
        })
    }

    /// The name of a menu's entry.
    ///
    /// # Errors
    /// `EINVAL`: the menu has no such entry; there may be others after it.
    pub fn menu_name(&self, id: u32, index: u32) -> io::Result<String> {
        let entry = self.menu(id, index)?;
        // SAFETY: the driver fills in the name for a menu; any bytes are a valid name.
        let bytes = unsafe { entry.__bindgen_anon_1.name };
        Ok(name(bytes.into_iter()))
    }

    /// The number behind an entry of a menu of integers.
    ///
    /// # Errors
    /// As for [`ControlNode::menu_name`].
    pub fn menu_number(&self, id: u32, index: u32) -> io::Result<i64> {
        let entry = self.menu(id, index)?;
        // SAFETY: the driver fills in the value for a menu of integers; any bytes are a valid number.
        Ok(unsafe { entry.__bindgen_anon_1.value })
    }

    fn menu(&self, id: u32, index: u32) -> io::Result<v4l2_querymenu> {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut raw: v4l2_querymenu = unsafe { std::mem::zeroed() };
        raw.id = id;
        raw.index = index;
        // SAFETY: VIDIOC_QUERYMENU takes exactly this structure.
        unsafe { self.ioctl(vidioc::VIDIOC_QUERYMENU, &mut raw) }?;
        Ok(raw)
    }

    /// The value of a control of 32 bits.
    ///
    /// # Errors
    /// `EACCES`: it is write-only. Others: the device does not answer.
    pub fn number(&self, id: u32) -> io::Result<i32> {
        let mut raw = empty(id);
        // SAFETY: the size is 0.
        match unsafe { self.extended(vidioc::VIDIOC_G_EXT_CTRLS, &mut raw) } {
            // SAFETY: the driver fills in `value` for controls of 32 bits; any bytes are a valid number.
            Ok(()) => Ok(unsafe { raw.__bindgen_anon_1.value }),
            // Drivers from before extended controls.
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {
                let mut raw = v4l2_control { id, value: 0 };
                // SAFETY: VIDIOC_G_CTRL takes exactly this structure.
                unsafe { self.ioctl(vidioc::VIDIOC_G_CTRL, &mut raw) }?;
                Ok(raw.value)
            }
            Err(error) => Err(error),
        }
    }

    /// The value of a control of 64 bits.
    ///
    /// # Errors
    /// As for [`ControlNode::number`].
    pub fn large_number(&self, id: u32) -> io::Result<i64> {
        let mut raw = empty(id);
        // SAFETY: the size is 0.
        unsafe { self.extended(vidioc::VIDIOC_G_EXT_CTRLS, &mut raw) }?;
        // SAFETY: the driver fills in `value64` for controls of 64 bits; any bytes are a valid number.
        Ok(unsafe { raw.__bindgen_anon_1.value64 })
    }

    /// The value of a string of at most `longest` bytes.
    ///
    /// # Errors
    /// As for [`ControlNode::number`].
    pub fn string(&self, id: u32, longest: usize) -> io::Result<String> {
        // The driver ends it with a zero.
        let mut bytes = vec![0_u8; longest.min(MAX_TEXT) + 1];
        let mut raw = empty(id);
        raw.size = bytes.len() as u32;
        raw.__bindgen_anon_1.string = bytes.as_mut_ptr().cast::<c_char>();
        // SAFETY: it points to `bytes`, and the size is theirs.
        unsafe { self.extended(vidioc::VIDIOC_G_EXT_CTRLS, &mut raw) }?;
        Ok(text(bytes.into_iter()))
    }

    /// Sets a control of 32 bits; a button is pressed by any number.
    ///
    /// # Errors
    /// `ERANGE`: out of range. `EACCES`: read-only, or not now. `EBUSY`: not while the device streams.
    pub fn set_number(&self, id: u32, value: i32) -> io::Result<()> {
        let mut raw = empty(id);
        raw.__bindgen_anon_1.value = value;
        // SAFETY: the size is 0.
        match unsafe { self.extended(vidioc::VIDIOC_S_EXT_CTRLS, &mut raw) } {
            // Drivers from before extended controls.
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => {
                // SAFETY: VIDIOC_S_CTRL takes exactly this structure.
                unsafe { self.ioctl(vidioc::VIDIOC_S_CTRL, &mut v4l2_control { id, value }) }
            }
            result => result,
        }
    }

    /// Sets a control of 64 bits.
    ///
    /// # Errors
    /// As for [`ControlNode::set_number`].
    pub fn set_large_number(&self, id: u32, value: i64) -> io::Result<()> {
        let mut raw = empty(id);
        raw.__bindgen_anon_1.value64 = value;
        // SAFETY: the size is 0.
        unsafe { self.extended(vidioc::VIDIOC_S_EXT_CTRLS, &mut raw) }
    }

    /// Sets a string. What follows a zero is not read.
    ///
    /// # Errors
    /// As for [`ControlNode::set_number`].
    pub fn set_string(&self, id: u32, value: &str) -> io::Result<()> {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        let mut raw = empty(id);
        raw.size = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        raw.__bindgen_anon_1.string = bytes.as_mut_ptr().cast::<c_char>();
        // SAFETY: it points to `bytes`, and the size is theirs.
        unsafe { self.extended(vidioc::VIDIOC_S_EXT_CTRLS, &mut raw) }
    }

    /// Gets or sets one control.
    ///
    /// # Safety
    /// Where `control` has a size, it must point to so many bytes, that may be written and live through the call.
    unsafe fn extended(&self, request: vidioc::_IOC_TYPE, control: &mut v4l2_ext_control) -> io::Result<()> {
        // SAFETY: the structure is plain numbers and pointers, for which zero is valid; a `which` of 0 are the
        // current values.
        let mut all: v4l2_ext_controls = unsafe { std::mem::zeroed() };
        all.count = 1;
        all.controls = control;
        // SAFETY: both requests take this structure; it points to one control, which lives through the call.
        unsafe { self.ioctl(request, &mut all) }
    }

    /// # Safety
    /// `argument` must be of the type that the request takes.
    unsafe fn ioctl<T>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        let argument: *mut T = argument;
        // SAFETY: the pointer is valid for the call, and of the right type as the caller promises.
        unsafe { v4l2::ioctl(self.0.as_raw_fd(), request, argument.cast::<c_void>()) }
    }
}

fn empty(id: u32) -> v4l2_ext_control {
    // SAFETY: the structure is plain numbers and pointers, for which zero is valid.
    let mut raw: v4l2_ext_control = unsafe { std::mem::zeroed() };
    raw.id = id;
    raw
}

fn name(bytes: impl Iterator<Item = u8>) -> String {
    text(bytes).trim().to_owned()
}

/// Text ends with a zero or where the field ends, be it within a character.
fn text(bytes: impl Iterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_video_device_has_no_controls() {
        let node = ControlNode::open(Path::new("/dev/null")).unwrap();
        // ENOSYS is qemu-user's, which passes none of these requests on.
        let refused = |error: io::Error| matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::ENOSYS));
        assert!(refused(node.query(0).unwrap_err()));
        assert!(refused(node.number(1).unwrap_err()));
        assert!(refused(node.set_number(1, 1).unwrap_err()));
        assert!(ControlNode::open(Path::new("/dev/\0")).is_err());
    }

    #[test]
    fn names_cut_within_a_character_are_readable() {
        assert_eq!(name(b" Gain \0junk".iter().copied()), "Gain");
        assert_eq!(name(b"Gain \xc3".iter().copied()), "Gain \u{fffd}");
        assert_eq!(text(b"  \0".iter().copied()), "  ", "a value is as it is");
    }
}
