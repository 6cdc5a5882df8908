//! One ioctl on a V4L2 device, and the numbers of those that the `v4l` crate does not name. Used by the other files
//! of `sys`, which know which structure a request takes; blocks for as long as the driver does.

use std::{ffi::c_void, io};

use v4l::{
    device::Handle,
    v4l2::{self, vidioc::_IOC_TYPE},
};

/// Which way a request's structure goes, as in the kernel's `_IOW`, `_IOR` and `_IOWR`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    Write = 1,
    Read = 2,
    Both = 3,
}

/// The request with this number in V4L2's group (`'V'`), which takes a `T` (the kernel's `asm-generic/ioctl.h`).
pub(super) const fn request<T>(direction: Direction, number: u8) -> _IOC_TYPE {
    let size = size_of::<T>() as u32;
    let request = (direction as u32) << 30 | size << 16 | (b'V' as u32) << 8 | number as u32;
    // The C library has it as an int in one place and an unsigned long in another; the bits are the same.
    request as _IOC_TYPE
}

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

#[cfg(test)]
mod tests {
    use v4l::{v4l_sys, v4l2::vidioc};

    use super::*;

    #[test]
    fn numbers_are_those_of_the_crate() {
        assert_eq!(request::<v4l_sys::v4l2_capability>(Direction::Read, 0), vidioc::VIDIOC_QUERYCAP);
        assert_eq!(request::<v4l_sys::v4l2_format>(Direction::Both, 5), vidioc::VIDIOC_S_FMT);
        assert_eq!(request::<std::ffi::c_int>(Direction::Write, 18), vidioc::VIDIOC_STREAMON);
    }
}
