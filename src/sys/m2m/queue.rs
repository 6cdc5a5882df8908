//! The buffers of one side of a memory-to-memory device: ours or the driver's by turns, each mapped, or (for what is
//! put in) another device's, imported by descriptor. Not here: what is in them.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    slice,
    time::Duration,
};

use v4l::{
    v4l_sys::{self, v4l2_buffer, v4l2_plane, v4l2_requestbuffers},
    v4l2::vidioc,
};

use super::{M2m, Node, Side};
use crate::sys::{
    format::Api,
    ioctl::ioctl,
    map::{Access, Map},
};

/// Where the buffers' memory is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The driver's own, mapped.
    Mapped,
    /// Another device's, given by descriptor (DMABUF) with each picture.
    Imported,
}

/// One side's buffers. Dropping it stops its stream and frees them.
#[derive(Debug)]
pub struct Queue {
    device: Node,
    side: Side,
    memory: Memory,
    buffers: Vec<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    /// None where the memory is imported.
    map: Option<Map>,
    owner: Owner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Us,
    Driver,
}

/// What taking a buffer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Buffer(Done),
    /// None is ready.
    Nothing,
    /// None will come: the device was drained, and the marked buffer was taken already.
    Drained,
}

/// A buffer that the driver has given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub index: u32,
    /// Bytes written into it.
    pub used: usize,
    /// What was put in with the picture that this was made of.
    pub stamp: Duration,
    /// The driver says that its content is damaged.
    pub damaged: bool,
    /// The driver says that decoding can start here.
    pub key: bool,
    /// The last one after a drain; it may be empty.
    pub last: bool,
}

impl Queue {
    /// Has the driver allocate about `count` buffers, and maps them.
    ///
    /// # Errors
    /// `EINVAL`: it does not take this kind of memory. Others: the system's.
    pub fn new(device: &M2m, side: Side, memory: Memory, count: u32) -> io::Result<Self> {
        let mut queue = Self { device: device.device.clone(), side, memory, buffers: Vec::new() };
        let mut request = queue.request(count);
        // SAFETY: VIDIOC_REQBUFS takes exactly this structure.
        unsafe { ioctl(&queue.device.handle, vidioc::VIDIOC_REQBUFS, &mut request) }?;
        for index in 0..request.count {
            let map = match memory {
                Memory::Mapped => Some(queue.map(index)?),
                Memory::Imported => None,
            };
            queue.buffers.push(Buffer { map, owner: Owner::Us });
        }
        if queue.buffers.is_empty() { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(queue) }
    }

    /// Starts the stream.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&mut self) -> io::Result<()> {
        let mut kind = self.device.kind(self.side);
        // SAFETY: VIDIOC_STREAMON takes a pointer to the buffer type.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_STREAMON, &mut kind) }
    }

    /// Stops the stream: all buffers are ours, and what was in them is nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn stop(&mut self) -> io::Result<()> {
        let mut kind = self.device.kind(self.side);
        // SAFETY: VIDIOC_STREAMOFF takes a pointer to the buffer type.
        unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_STREAMOFF, &mut kind) }?;
        self.buffers.iter_mut().for_each(|buffer| buffer.owner = Owner::Us);
        Ok(())
    }

    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// How many buffers there are.
    pub fn count(&self) -> u32 {
        // As many as REQBUFS counted in 32 bits.
        self.buffers.len() as u32
    }

    /// Whether a buffer is ours.
    pub fn is_free(&self, index: u32) -> bool {
        self.buffers.get(index as usize).is_some_and(|buffer| buffer.owner == Owner::Us)
    }

    /// A buffer that is ours, the first if several.
    pub fn free(&self) -> Option<u32> {
        (0..self.count()).find(|index| self.is_free(*index))
    }

    /// A buffer's bytes; none while it is the driver's, and none of imported memory.
    pub fn bytes(&self, index: u32) -> &[u8] {
        let Some(map) = self.ours(index) else { return &[] };
        // SAFETY: `map` is mapped over `length` bytes until it is dropped, and the driver does not write to a buffer
        // that is ours. Giving it to the driver takes `&mut self`, which outlasts this borrow.
        unsafe { slice::from_raw_parts(map.start(), map.length()) }
    }

    /// A buffer's bytes to write to; none while it is the driver's, and none of imported memory.
    pub fn bytes_mut(&mut self, index: u32) -> &mut [u8] {
        let Some(map) = self.ours(index) else { return &mut [] };
        // SAFETY: as in `bytes`; and the borrow of `self` is unique, so there is no other slice of it.
        unsafe { slice::from_raw_parts_mut(map.start(), map.length()) }
    }

    /// Gives a mapped buffer to the driver, with `used` bytes in it. `stamp` comes out with what is made of it.
    ///
    /// # Errors
    /// The system's.
    pub fn give(&mut self, index: u32, used: usize, stamp: Duration) -> io::Result<()> {
        let (mut buffer, mut plane) = self.describe(index, used, stamp);
        self.hand_over(&mut buffer, &mut plane)
    }

    /// Gives the driver another device's buffer, as long as it is. It must not be written to until the driver has
    /// given this one back.
    ///
    /// # Errors
    /// The driver cannot use that memory.
    pub fn give_imported(
        &mut self,
        index: u32,
        memory: BorrowedFd<'_>,
        used: usize,
        stamp: Duration,
    ) -> io::Result<()> {
        let (mut buffer, mut plane) = self.describe(index, used, stamp);
        let fd = memory.as_raw_fd();
        match self.device.api {
            // The kernel asks the memory itself how long it is.
            Api::SinglePlane => buffer.m.fd = fd,
            // Here it compares with what it is told.
            Api::MultiPlane => {
                plane.m.fd = fd;
                plane.length = length(memory)?;
            }
        }
        self.hand_over(&mut buffer, &mut plane)
    }

    /// Takes a buffer that the driver has finished with.
    ///
    /// # Errors
    /// `ENODEV`: the device is gone. `EIO`: it has failed. Others: the system's.
    pub fn take(&mut self) -> io::Result<Taken> {
        let (mut buffer, mut plane) = self.describe(0, 0, Duration::ZERO);
        match self.exchange(vidioc::VIDIOC_DQBUF, &mut buffer, &mut plane) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Taken::Nothing),
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => return Ok(Taken::Drained),
            Err(error) => return Err(error),
        }
        if let Some(taken) = self.buffers.get_mut(buffer.index as usize) {
            taken.owner = Owner::Us;
        }
        let used = match self.device.api {
            Api::SinglePlane => buffer.bytesused,
            Api::MultiPlane => plane.bytesused,
        };
        let has = |flag| buffer.flags & flag != 0;
        Ok(Taken::Buffer(Done {
            index: buffer.index,
            used: used as usize,
            stamp: stamp(&buffer),
            damaged: has(v4l_sys::V4L2_BUF_FLAG_ERROR),
            key: has(v4l_sys::V4L2_BUF_FLAG_KEYFRAME),
            last: has(v4l_sys::V4L2_BUF_FLAG_LAST),
        }))
    }

    fn ours(&self, index: u32) -> Option<&Map> {
        self.buffers.get(index as usize).filter(|buffer| buffer.owner == Owner::Us)?.map.as_ref()
    }

    fn hand_over(&mut self, buffer: &mut v4l2_buffer, plane: &mut v4l2_plane) -> io::Result<()> {
        let index = buffer.index as usize;
        if self.buffers.get(index).is_none_or(|buffer| buffer.owner == Owner::Driver) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.exchange(vidioc::VIDIOC_QBUF, buffer, plane)?;
        self.buffers[index].owner = Owner::Driver;
        Ok(())
    }

    fn map(&self, index: u32) -> io::Result<Map> {
        let (mut buffer, mut plane) = self.describe(index, 0, Duration::ZERO);
        self.exchange(vidioc::VIDIOC_QUERYBUF, &mut buffer, &mut plane)?;
        let (length, offset) = match self.device.api {
            // SAFETY: for mapped memory the driver has filled in `offset`.
            Api::SinglePlane => (buffer.length, unsafe { buffer.m.offset }),
            // SAFETY: for mapped memory the driver has filled in `mem_offset`.
            Api::MultiPlane => (plane.length, unsafe { plane.m.mem_offset }),
        };
        Map::new(&self.device.handle, length, offset, Access::ReadWrite)
    }

    fn describe(&self, index: u32, used: usize, stamp: Duration) -> (v4l2_buffer, v4l2_plane) {
        // SAFETY: the structure is plain numbers and pointers, for which zero is valid.
        let mut buffer: v4l2_buffer = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut plane: v4l2_plane = unsafe { std::mem::zeroed() };
        buffer.index = index;
        buffer.type_ = self.device.kind(self.side);
        buffer.memory = self.memory_kind();
        buffer.field = v4l_sys::v4l2_field_V4L2_FIELD_NONE;
        // Buffers are smaller than 4 GiB.
        (buffer.bytesused, plane.bytesused) = (used as u32, used as u32);
        // Where seconds have 32 bits, a stamp that counts from the start of a stream fits for 68 years.
        buffer.timestamp.tv_sec = stamp.as_secs() as _;
        buffer.timestamp.tv_usec = stamp.subsec_micros() as _;
        (buffer, plane)
    }

    fn exchange(
        &self,
        request: vidioc::_IOC_TYPE,
        buffer: &mut v4l2_buffer,
        plane: &mut v4l2_plane,
    ) -> io::Result<()> {
        if self.device.api == Api::MultiPlane {
            buffer.m.planes = plane;
            buffer.length = 1;
        }
        // SAFETY: QUERYBUF, QBUF and DQBUF take exactly this structure. Where the API has it point to planes, it
        // points to as many as `length` says, which live through the call.
        unsafe { ioctl(&self.device.handle, request, buffer) }
    }

    fn request(&self, count: u32) -> v4l2_requestbuffers {
        // SAFETY: the structure is plain numbers, for which zero is valid.
        let mut request: v4l2_requestbuffers = unsafe { std::mem::zeroed() };
        request.count = count;
        request.type_ = self.device.kind(self.side);
        request.memory = self.memory_kind();
        request
    }

    fn memory_kind(&self) -> u32 {
        match self.memory {
            Memory::Mapped => v4l_sys::v4l2_memory_V4L2_MEMORY_MMAP,
            Memory::Imported => v4l_sys::v4l2_memory_V4L2_MEMORY_DMABUF,
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Errors say that the device is gone, and with it the stream.
        let _ = self.stop();
        // The driver frees its buffers only when they are unmapped.
        self.buffers.clear();
        let mut request = self.request(0);
        // SAFETY: VIDIOC_REQBUFS takes exactly this structure; a count of 0 frees the buffers.
        let _ = unsafe { ioctl(&self.device.handle, vidioc::VIDIOC_REQBUFS, &mut request) };
    }
}

/// The length of another device's buffer in bytes.
fn length(memory: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: lseek takes plain numbers, and the descriptor is open as long as it is borrowed. Nobody reads a DMABUF
    // from where it stands.
    match unsafe { libc::lseek(memory.as_raw_fd(), 0, libc::SEEK_END) } {
        -1 => Err(io::Error::last_os_error()),
        length => u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput.into()),
    }
}

fn stamp(buffer: &v4l2_buffer) -> Duration {
    let seconds = u64::try_from(buffer.timestamp.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(buffer.timestamp.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(microseconds.min(999_999))
}
