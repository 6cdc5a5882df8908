//! One buffer of a driver's, mapped into our memory. Not here: whose turn it is to read or write it, which its owner sees
//! to (`buffers`, `m2m`).

use std::{
    ffi::c_void,
    io,
    ptr::{self, NonNull},
};

use v4l::{device::Handle, v4l2};

/// What may be done with the mapped bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    ReadWrite,
}

/// A mapping, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and this one is owned by one value.
unsafe impl Send for Map {}

impl Map {
    /// Maps `length` bytes of the device from the offset on by which its driver knows the buffer.
    pub(super) fn new(device: &Handle, length: u32, offset: u32, access: Access) -> io::Result<Self> {
        // On 32-bit systems off_t has a sign; the drivers' offsets (2^30 at the most, for a second queue) fit.
        let (length, offset) = (length as usize, offset as libc::off_t);
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        let (flags, fd) = (libc::MAP_SHARED, device.fd());
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that Rust knows.
        let start = unsafe { v4l2::mmap(ptr::null_mut(), length, protection, flags, fd, offset) }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// Where it begins. Valid for `length` bytes until it is dropped.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// In bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; slices of it borrow its owner, so there are none left.
        let _ = unsafe { v4l2::munmap(self.start.as_ptr(), self.length) };
    }
}
