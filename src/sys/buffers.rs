//! A capture device's mapped buffers (V4L2 streaming I/O), one of them in our hands at a time, through the single- or
//! the multi-planar API; each buffer is one piece of memory. Used on the camera's pipeline thread.
//!
//! The `v4l` crate has such a stream, but one cannot take the newest of several filled buffers from it, it queues
//! a buffer twice after a wait that timed out, and its `Drop` can panic. So only its ioctl layer is used.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    slice,
    sync::Arc,
    time::Duration,
};

use v4l::{
    Device,
    device::Handle,
    v4l_sys::{self, v4l2_buffer, v4l2_exportbuffer, v4l2_plane, v4l2_requestbuffers},
    v4l2::vidioc,
};

use super::{
    format::Api,
    ioctl::ioctl,
    map::{Access, Map},
};

/// The buffers of one device, and whether it streams. Dropping stops the stream and unmaps the buffers.
pub struct CaptureBuffers {
    device: Arc<Handle>,
    api: Api,
    buffers: Vec<Buffer>,
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
    /// Where the content begins and ends, in bytes from the buffer's start.
    begin: usize,
    end: usize,
}

struct Buffer {
    map: Map,
    /// The same memory for another driver, where this one can share it.
    shared: Option<OwnedFd>,
}

impl CaptureBuffers {
    /// Has the driver allocate about `count` buffers, and maps them. The format must be one of a single memory plane.
    ///
    /// # Errors
    /// `EBUSY`: another program captures from the device. Others: the system's.
    pub fn new(device: &Device, api: Api, count: u32) -> io::Result<Self> {
        let device = device.handle();
        let mut request = empty_request(api);
        request.count = count;
        // SAFETY: VIDIOC_REQBUFS takes exactly this structure.
        unsafe { ioctl(&device, vidioc::VIDIOC_REQBUFS, &mut request) }?;
        let mut all = Self { device, api, buffers: Vec::new(), held: None };
        for index in 0..request.count {
            let (length, offset) = all.query(index)?;
            all.buffers
                .push(Buffer { map: Map::new(&all.device, length, offset, Access::Read)?, shared: None });
        }
        Ok(all)
    }

    /// Has the driver share its buffers as DMABUF (VIDIOC_EXPBUF), for [`CaptureBuffers::dmabuf`]. A driver that
    /// cannot share leaves that without an answer.
    ///
    /// # Errors
    /// The driver's, with which it says that it cannot.
    pub fn share(&mut self) -> io::Result<()> {
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            // SAFETY: the structure is plain numbers, for which zero is valid.
            let mut request: v4l2_exportbuffer = unsafe { std::mem::zeroed() };
            request.type_ = self.api.buffer_type();
            request.index = index as u32;
            request.flags = (libc::O_CLOEXEC | libc::O_RDONLY) as u32;
            // SAFETY: VIDIOC_EXPBUF takes exactly this structure.
            unsafe { ioctl(&self.device, vidioc::VIDIOC_EXPBUF, &mut request) }?;
            // SAFETY: the driver has made this descriptor for us, and nobody else knows it.
            buffer.shared = Some(unsafe { OwnedFd::from_raw_fd(request.fd) });
        }
        Ok(())
    }

    /// Gives all buffers to the driver and starts the stream.
    ///
    /// # Errors
    /// As for [`CaptureBuffers::new`].
    pub fn start(&mut self) -> io::Result<()> {
        for index in 0..self.buffers.len() {
            // As many as REQBUFS counted in 32 bits.
            self.queue(index as u32)?;
        }
        let mut kind = self.api.buffer_type();
        // SAFETY: VIDIOC_STREAMON takes a pointer to the buffer type.
        unsafe { ioctl(&self.device, vidioc::VIDIOC_STREAMON, &mut kind) }
    }

    /// Waits at most `wait` for [`CaptureBuffers::take_next`] to have something: a filled buffer, or an error.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, wait: Duration) -> io::Result<bool> {
        // SAFETY: the descriptor is open as long as the handle lives, which is longer than this call.
        let fd = unsafe { BorrowedFd::borrow_raw(self.device.fd()) };
        super::fd::wait_readable(fd, wait)
    }

    /// Takes the next filled buffer, and gives back the one that was held. `None`: there is none yet, and the one
    /// held is held on.
    ///
    /// # Errors
    /// `ENODEV`: unplugged. `EIO`: the stream has failed.
    pub fn take_next(&mut self) -> io::Result<Option<Filled>> {
        let mut plane = empty_plane();
        let mut buffer = empty_buffer(self.api, 0, &mut plane);
        // SAFETY: VIDIOC_DQBUF takes exactly this structure; its pointer, if any, is to a plane that lives on.
        match unsafe { ioctl(&self.device, vidioc::VIDIOC_DQBUF, &mut buffer) } {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        self.release()?;
        let (begin, end) = match self.api {
            Api::SinglePlane => (0, buffer.bytesused),
            // `bytesused` counts from the buffer's start, what lies before the content included.
            Api::MultiPlane => (plane.data_offset, plane.bytesused),
        };
        self.held = Some(Held { index: buffer.index, begin: begin as usize, end: end as usize });
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
        let Some((held, Buffer { map, .. })) = self.held() else { return &[] };
        // SAFETY: `map` is mapped for reading over `length` bytes until it is dropped. The driver does not write
        // to a buffer that is dequeued, and queueing it again takes `&mut self`, which outlasts this borrow.
        let all = unsafe { slice::from_raw_parts(map.start(), map.length()) };
        let end = held.end.min(map.length());
        &all[held.begin.min(end)..end]
    }

    /// The held buffer's memory, for another driver to read it: [`CaptureBuffers::bytes`] from its first byte on.
    /// `None` where the driver does not share it, or the content begins within.
    pub fn dmabuf(&self) -> Option<BorrowedFd<'_>> {
        let (held, buffer) = self.held()?;
        buffer.shared.as_ref().filter(|_| held.begin == 0).map(AsFd::as_fd)
    }

    fn held(&self) -> Option<(Held, &Buffer)> {
        let held = self.held?;
        Some((held, self.buffers.get(held.index as usize)?))
    }

    /// The length and the place of a buffer, for mapping it.
    fn query(&self, index: u32) -> io::Result<(u32, u32)> {
        let mut plane = empty_plane();
        let mut buffer = empty_buffer(self.api, index, &mut plane);
        // SAFETY: VIDIOC_QUERYBUF takes exactly this structure; its pointer, if any, is to a plane that lives on.
        unsafe { ioctl(&self.device, vidioc::VIDIOC_QUERYBUF, &mut buffer) }?;
        match self.api {
            Api::SinglePlane => {
                // SAFETY: for the memory type that was requested, the driver has filled in `offset`.
                let offset = unsafe { buffer.m.offset };
                Ok((buffer.length, offset))
            }
            Api::MultiPlane => {
                // SAFETY: for the memory type that was requested, the driver has filled in `mem_offset`.
                let offset = unsafe { plane.m.mem_offset };
                Ok((plane.length, offset))
            }
        }
    }

    fn queue(&self, index: u32) -> io::Result<()> {
        let mut plane = empty_plane();
        let mut buffer = empty_buffer(self.api, index, &mut plane);
        // SAFETY: VIDIOC_QBUF takes exactly this structure; its pointer, if any, is to a plane that lives on.
        unsafe { ioctl(&self.device, vidioc::VIDIOC_QBUF, &mut buffer) }
    }
}

impl Drop for CaptureBuffers {
    fn drop(&mut self) {
        let mut kind = self.api.buffer_type();
        // Errors say that the device is gone, and with it the stream.
        // SAFETY: VIDIOC_STREAMOFF takes a pointer to the buffer type.
        let _ = unsafe { ioctl(&self.device, vidioc::VIDIOC_STREAMOFF, &mut kind) };
        // The driver frees its buffers, and the device for others, only when nobody has them mapped or shared.
        self.buffers.clear();
        // SAFETY: VIDIOC_REQBUFS takes exactly this structure; a count of 0 frees the buffers.
        let _ = unsafe { ioctl(&self.device, vidioc::VIDIOC_REQBUFS, &mut empty_request(self.api)) };
    }
}

impl std::fmt::Debug for CaptureBuffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, api, buffers, held } = self;
        write!(f, "{} buffers of fd {} ({api:?}), held: {held:?}", buffers.len(), device.fd())
    }
}

/// A buffer to ask about or to queue. In the multi-planar API it points to `plane`, which must outlive its use.
fn empty_buffer(api: Api, index: u32, plane: &mut v4l2_plane) -> v4l2_buffer {
    // SAFETY: the structure is plain numbers and pointers, for which zero is valid.
    let mut buffer: v4l2_buffer = unsafe { std::mem::zeroed() };
    buffer.index = index;
    buffer.type_ = api.buffer_type();
    buffer.memory = v4l_sys::v4l2_memory_V4L2_MEMORY_MMAP;
    match api {
        Api::SinglePlane => {}
        Api::MultiPlane => {
            buffer.m.planes = plane;
            // As many planes as it points to.
            buffer.length = 1;
        }
    }
    buffer
}

fn empty_plane() -> v4l2_plane {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    unsafe { std::mem::zeroed() }
}

fn empty_request(api: Api) -> v4l2_requestbuffers {
    // SAFETY: the structure is plain numbers, for which zero is valid.
    let mut request: v4l2_requestbuffers = unsafe { std::mem::zeroed() };
    request.type_ = api.buffer_type();
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
