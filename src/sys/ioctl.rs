//! One ioctl on a V4L2 device. Used by the other files
//! of `sys`, which know which structure a request takes; blocks for as long as the driver does.

use std::{ffi::c_void, io};

use v4l::{
    device::Handle,
    v4l2::{self, vidioc::_IOC_TYPE},
};

/// Calls the driver.
///
/// # Safety
/// `argument` must be of the type that the request takes, and what it points to must be as the request says.
///
/// # Errors
/// The driver's.
pub(super) unsafe fn ioctl<T>(device: &Handle, request: _IOC_TYPE, argument: &mut T) -> io::Result<()> {
    let argument: *mut T = argument;
    // SAFETY: the pointer is valid for the call, and of the right type as the caller promises.
    unsafe { v4l2::ioctl(device.fd(), request, argument.cast::<c_void>()) }
}
