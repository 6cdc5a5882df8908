//! A capture device's mapped buffers (V4L2 streaming I/O), one of them in our hands at a time.
//!
//! The `v4l` crate has such a stream, but one cannot take the newest of several filled buffers from it, it queues
//! a buffer twice after a wait that timed out, and its `Drop` can panic. So only its ioctl layer is used.

use std::{
    ffi::c_void,
    io,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

use v4l::{
    Device,
    device::Handle,
    v4l_sys::{self, v4l2_buffer, v4l2_requestbuffers},
    v4l2::{self, vidioc},
};

/// The buffers of one device, and whether it streams. Dropping stops the stream and unmaps the buffers.
#[derive(Debug)]
pub struct CaptureBuffers {
    device: OpenDevice,
    maps: Vec<Map>,
    held: Option<Held>,
}

/// What the driver tells of a filled buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// The driver marked the content as damaged.
    pub damaged: bool,
    /// Counts frames from the start of the stream, lost ones too. Some drivers leave it at 0.
    pub sequence: u32,
    /// On `sys::time::monotonic`; absent where the driver uses another clock.
    pub stamp: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    index: u32,
    used: usize,
}

impl CaptureBuffers {
    /// Has the driver allocate about `count` buffers, and maps them.
    ///
    /// # Errors
    /// `EBUSY`: another program captures from the device. Others: the system's.
    pub fn new(device: &Device, count: u32) -> io::Result<Self> {
        let device = OpenDevice(device.handle());
        let mut request = empty_request();
        request.count = count;
        // SAFETY: VIDIOC_REQBUFS takes exactly this structure.
        unsafe { device.ioctl(vidioc::VIDIOC_REQBUFS, &mut request) }?;
        let mut buffers = Self { device, maps: Vec::new(), held: None };
        for index in 0..request.count {
            let mut buffer = empty_buffer(index);
            // SAFETY: VIDIOC_QUERYBUF takes exactly this structure.
            unsafe { buffers.device.ioctl(vidioc::VIDIOC_QUERYBUF, &mut buffer) }?;
            // SAFETY: for the memory type that was requested, the driver has filled in `offset`.
            let offset = unsafe { buffer.m.offset };
            buffers.maps.push(Map::new(&buffers.device, buffer.length, offset)?);
        }
        Ok(buffers)
    }

    /// Gives all buffers to the driver and starts the stream.
    ///
    /// # Errors
    /// As for [`CaptureBuffers::new`].
    pub fn start(&mut self) -> io::Result<()> {
        for index in 0..self.maps.len() {
            // As many as REQBUFS counted in 32 bits.
            self.queue(index as u32)?;
        }
        let mut kind = v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
        // SAFETY: VIDIOC_STREAMON takes a pointer to the buffer type.
        unsafe { self.device.ioctl(vidioc::VIDIOC_STREAMON, &mut kind) }
    }

    /// Waits at most `wait` for [`CaptureBuffers::take_next`] to have something: a filled buffer, or an error.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, wait: Duration) -> io::Result<bool> {
        // SAFETY: the descriptor is open as long as the handle lives, which is longer than this call.
        let fd = unsafe { BorrowedFd::borrow_raw(self.device.0.fd()) };
        super::fd::wait_readable(fd, wait)
    }

    /// Takes the next filled buffer, and gives back the one that was held. `None`: there is none yet, and the one
    /// held is held on.
    ///
    /// # Errors
    /// `ENODEV`: unplugged. `EIO`: the stream has failed.
    pub fn take_next(&mut self) -> io::Result<Option<Filled>> {
        let mut buffer = empty_buffer(0);
        // SAFETY: VIDIOC_DQBUF takes exactly this structure.
        match unsafe { self.device.ioctl(vidioc::VIDIOC_DQBUF, &mut buffer) } {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        self.release()?;
        self.held = Some(Held { index: buffer.index, used: buffer.bytesused as usize });
        Ok(Some(Filled {
            damaged: buffer.flags & v4l_sys::V4L2_BUF_FLAG_ERROR != 0,
            sequence: buffer.sequence,
            stamp: stamp(&buffer),
        }))
    }

    /// Gives the held buffer, if any, back to the driver.
    ///
    /// # Errors
    /// As for [`CaptureBuffers::take_next`].
    pub fn release(&mut self) -> io::Result<()> {
        match self.held.take() {
            Some(held) => self.queue(held.index),
            None => Ok(()),
        }
    }

    /// What the driver wrote into the held buffer; nothing if none is held.
    pub fn bytes(&self) -> &[u8] {
        let Some(held) = self.held else { return &[] };
        let Some(map) = self.maps.get(held.index as usize) else { return &[] };
        // SAFETY: `map` is mapped for reading over `length` bytes until it is dropped. The driver does not write
        // to a buffer that is dequeued, and queueing it again takes `&mut self`, which outlasts this borrow.
        let all = unsafe { slice::from_raw_parts(map.start.as_ptr().cast::<u8>(), map.length) };
        &all[..held.used.min(map.length)]
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        // SAFETY: VIDIOC_QBUF takes exactly this structure.
        unsafe { self.device.ioctl(vidioc::VIDIOC_QBUF, &mut empty_buffer(index)) }
    }
}

impl Drop for CaptureBuffers {
    fn drop(&mut self) {
        let mut kind = v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
        // Errors say that the device is gone, and with it the stream.
        // SAFETY: VIDIOC_STREAMOFF takes a pointer to the buffer type.
        let _ = unsafe { self.device.ioctl(vidioc::VIDIOC_STREAMOFF, &mut kind) };
        // The driver frees its buffers, and the device for others, only when they are unmapped.
        self.maps.clear();
        // SAFETY: VIDIOC_REQBUFS takes exactly this structure; a count of 0 frees the buffers.
        let _ = unsafe { self.device.ioctl(vidioc::VIDIOC_REQBUFS, &mut empty_request()) };
    }
}

struct OpenDevice(Arc<Handle>);

impl OpenDevice {
    /// # Safety
    /// `argument` must be of the type that the request takes.
    unsafe fn ioctl<T>(&self, request: vidioc::_IOC_TYPE, argument: &mut T) -> io::Result<()> {
        let argument: *mut T = argument;
        // SAFETY: the pointer is valid for the call, and of the right type as the caller promises.
        unsafe { v4l2::ioctl(self.0.fd(), request, argument.cast::<c_void>()) }
    }
}

impl std::fmt::Debug for OpenDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "fd {}", self.0.fd())
    }
}

/// One mapped buffer.
#[derive(Debug)]
struct Map {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and this one is owned by one value.
unsafe impl Send for Map {}

impl Map {
    fn new(device: &OpenDevice, length: u32, offset: u32) -> io::Result<Self> {
        // On 32-bit systems off_t has a sign; the drivers' offsets stay below 2^31.
        let (length, offset) = (length as usize, offset as libc::off_t);
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that Rust knows.
        let start = unsafe { v4l2::mmap(ptr::null_mut(), length, protection, flags, device.0.fd(), offset) }?;
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; slices of it borrow its owner, so there are none left.
        let _ = unsafe { v4l2::munmap(self.start.as_ptr(), self.length) };
    }
}

fn empty_buffer(index: u32) -> v4l2_buffer {
    // SAFETY: the structure is plain numbers and pointers, for which zero is valid.
    let mut buffer: v4l2_buffer = unsafe { std::mem::zeroed() };
    buffer.index = index;
    buffer.type_ = v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
    buffer.memory = v4l_sys::v4l2_memory_V4L2_MEMORY_MMAP;
    buffer
}

fn empty_request() -> v4l2_requestbuffers {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    let mut request: v4l2_requestbuffers = unsafe { std::mem::zeroed() };
    request.type_ = v4l_sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
    request.memory = v4l_sys::v4l2_memory_V4L2_MEMORY_MMAP;
    request
}

fn stamp(buffer: &v4l2_buffer) -> Option<Duration> {
    let clock = buffer.flags & v4l_sys::V4L2_BUF_FLAG_TIMESTAMP_MASK;
    let seconds = u64::try_from(buffer.timestamp.tv_sec).ok()?;
    let microseconds = u64::try_from(buffer.timestamp.tv_usec).ok()?;
    let stamp = Duration::from_secs(seconds).checked_add(Duration::from_micros(microseconds))?;
    (clock == v4l_sys::V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC).then_some(stamp)
}
