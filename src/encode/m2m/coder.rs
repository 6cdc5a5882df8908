//! A V4L2 encoder as a device that takes pictures and gives coded ones: setting it up, putting pictures in by copy or
//! where they lie, taking what comes out, starting over. Blocks in `wait`, and in `put_in` for imported pictures. Not
//! here: what the coded bytes are, whose time they have, and when a key frame is due (`m2m`).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use v4l::v4l_sys;

use super::{
    input::{self, Layout, Writer},
    settings,
};
use crate::{
    camera::{Frame, VideoFormat, negotiate::FourCc},
    clock,
    encode::{Bitrate, EncodeError},
    sys::m2m::{M2m, Memory, Picture, Queue, Ready, Side, Taken},
};

/// One that is read, one to be read next.
const INPUT_BUFFERS: u32 = 2;
/// As many as cameras have buffers at the most, so that each keeps its place and the kernel its mapping.
const IMPORTED_BUFFERS: u32 = 8;
/// One that is written, and others so that a slow reader does not stop the encoder.
const CODED_BUFFERS: u32 = 4;
/// The least that a coded picture gets, in bytes.
const LEAST_CODED: u32 = 512 << 10;
/// How long an encoder may read a camera's buffer, which the camera waits for.
const READ_WITHIN: Duration = Duration::from_millis(200);
/// How long a drain may take.
const DRAINED_WITHIN: Duration = Duration::from_millis(500);

/// What becomes of a picture that is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutIn {
    Taken,
    /// All buffers are in use.
    NoRoom,
}

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// There is something to take.
    Enough,
    InVain,
}

/// Something that came out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded<'a> {
    pub(super) data: &'a [u8],
    /// What was put in with the picture.
    pub(super) stamp: Duration,
    /// The encoder says that the picture cannot be decoded.
    pub(super) damaged: bool,
    /// The encoder says that decoding can start here.
    pub(super) key: bool,
}

/// How a key frame is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The encoder's control; without one, as `StartOver`.
    Control,
    /// For encoders that do not heed it.
    StartOver,
}

/// Takes what comes out of an encoder.
pub(super) type Sink<'a> = dyn FnMut(Coded<'_>) + 'a;

/// An encoder, started. The device is one; tests have another.
pub(super) trait Coder: Send {
    /// Puts a picture in. Afterwards nothing of it is used any more.
    fn put_in(&mut self, frame: &Frame<'_>, stamp: Duration) -> Result<PutIn, EncodeError>;

    /// Gives what has come out, at most one piece; `false`: nothing.
    fn take(&mut self, sink: &mut Sink<'_>) -> Result<bool, EncodeError>;

    /// Waits at most so long for something to come out.
    fn wait(&mut self, wait: Duration) -> Result<Waited, EncodeError>;

    /// Has the next picture that is put in coded as a key frame. What comes out meanwhile goes into the sink.
    fn force_key_frame(&mut self, means: Means, sink: &mut Sink<'_>) -> Result<(), EncodeError>;

    /// Sets the rate. As for `force_key_frame`.
    fn set_bitrate(&mut self, bitrate: Bitrate, sink: &mut Sink<'_>) -> Result<(), EncodeError>;

    /// Whether the last picture that was put in was not copied.
    fn reads_in_place(&self) -> bool;
}

/// Whether cameras' buffers are read where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Import {
    /// As soon as a frame comes that lies in a buffer which others can read.
    Untried,
    InUse,
    /// The layouts differ, or the driver has refused.
    Not,
}

/// The device.
#[derive(Debug)]
pub(super) struct Device {
    path: PathBuf,
    writer: Writer,
    import: Import,
    /// The descriptor that each imported buffer had last.
    imported: Vec<Option<i32>>,
    /// Set up with the first frame, which tells in what kind of memory frames come.
    input: Option<Queue>,
    coded: Queue,
    /// After the queues, which it must outlive.
    device: M2m,
}

impl Device {
    /// Opens an encoder for a camera's pictures and starts it.
    ///
    /// # Errors
    /// `Unsupported`: it cannot take such pictures. `Failed`: the driver's reason.
    pub(super) fn open(
        path: &Path,
        fourcc: FourCc,
        format: &VideoFormat,
        bitrate: Bitrate,
    ) -> Result<Self, EncodeError> {
        let failed = |action: &'static str| move |error: io::Error| failure(path, action, &error);
        let device = M2m::open(path).map_err(failed("opening it"))?;
        let writer = set_formats(&device, path, fourcc, format)?;
        let rate = format.rate;
        if let Err(reason) = device.set_rate(rate.numerator, rate.denominator) {
            tracing::debug!(encoder = %path.display(), %reason, "the encoder does not want to know the frame rate");
        }
        settings::apply(&device, format, bitrate);
        let coded = Queue::new(&device, Side::Capture, Memory::Mapped, CODED_BUFFERS);
        let mut coded = coded.map_err(failed("allocating its buffers"))?;
        start_coded(&mut coded).map_err(failed("starting it"))?;
        let import = if writer.is_copy() { Import::Untried } else { Import::Not };
        Ok(Self { path: path.to_owned(), writer, import, imported: Vec::new(), input: None, coded, device })
    }

    fn failed(&self, action: &'static str, error: &io::Error) -> EncodeError {
        failure(&self.path, action, error)
    }

    /// Takes back the buffers whose pictures were read.
    fn reclaim(&mut self) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        while let Taken::Buffer(_) = input.take()? {}
        Ok(())
    }

    fn copy_in(&mut self, frame: &Frame<'_>, stamp: Duration) -> Result<PutIn, EncodeError> {
        if self.input.is_none() {
            let input = self.start_input(Memory::Mapped, INPUT_BUFFERS);
            self.input = Some(input.map_err(|error| self.failed("allocating its buffers", &error))?);
        }
        let Some(input) = &mut self.input else { return Ok(PutIn::NoRoom) };
        let Some(index) = input.free() else { return Ok(PutIn::NoRoom) };
        self.writer.write(frame.data, input.bytes_mut(index))?;
        let given = input.give(index, self.writer.bytes(), stamp);
        given.map_err(|error| self.failed("giving it a picture", &error))?;
        Ok(PutIn::Taken)
    }

    /// Has the encoder read a frame where it lies, and waits until it has. `None`: it cannot, so frames are to be
    /// copied from now on.
    fn import(&mut self, memory: BorrowedFd<'_>, stamp: Duration) -> Result<Option<PutIn>, EncodeError> {
        match self.give_imported(memory, stamp) {
            Ok(PutIn::Taken) => {}
            Ok(PutIn::NoRoom) => return Ok(Some(PutIn::NoRoom)),
            Err(reason) if is_gone(&reason) => return Err(self.failed("giving it a picture", &reason)),
            Err(reason) => {
                tracing::debug!(encoder = %self.path.display(), %reason, "frames are copied: it cannot read the camera's memory");
                self.stop_importing();
                return Ok(None);
            }
        }
        if self.import == Import::Untried {
            self.import = Import::InUse;
            tracing::debug!(encoder = %self.path.display(), "frames are read where they lie");
        }
        if !self.await_read().map_err(|error| self.failed("reading a picture", &error))? {
            tracing::debug!(encoder = %self.path.display(), "frames are copied: it keeps the camera's memory for too long");
            self.stop_importing();
        }
        Ok(Some(PutIn::Taken))
    }

    fn give_imported(&mut self, memory: BorrowedFd<'_>, stamp: Duration) -> io::Result<PutIn> {
        if self.input.is_none() {
            let input = self.start_input(Memory::Imported, IMPORTED_BUFFERS)?;
            self.imported = vec![None; input.count() as usize];
            self.input = Some(input);
        }
        let Some(input) = &mut self.input else { return Ok(PutIn::NoRoom) };
        let fd = Some(memory.as_raw_fd());
        // The place that this memory had before, else one that had none, else any.
        let place = [fd, None].into_iter().find_map(|wanted| {
            let is = |at: &usize| self.imported.get(*at) == Some(&wanted) && input.is_free(*at as u32);
            (0..self.imported.len()).find(is)
        });
        let Some(index) = place.map(|at| at as u32).or_else(|| input.free()) else {
            return Ok(PutIn::NoRoom);
        };
        input.give_imported(index, memory, self.writer.bytes(), stamp)?;
        self.imported[index as usize] = fd;
        Ok(PutIn::Taken)
    }

    /// Waits until all pictures that were put in are read; `false`: it takes too long.
    fn await_read(&mut self) -> io::Result<bool> {
        let deadline = clock::now() + READ_WITHIN;
        loop {
            self.reclaim()?;
            let Some(input) = &self.input else { return Ok(true) };
            if (0..input.count()).all(|index| input.is_free(index)) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.device.wait(Ready::Output, left)?;
        }
    }

    /// Frees the imported buffers; those for copying are allocated with the next frame.
    fn stop_importing(&mut self) {
        self.import = Import::Not;
        self.imported.clear();
        self.input = None;
    }

    fn start_input(&self, memory: Memory, count: u32) -> io::Result<Queue> {
        // Some drivers count a buffer too few unless they are asked for as many as they need.
        let least = self.device.control_value(v4l_sys::V4L2_CID_MIN_BUFFERS_FOR_OUTPUT).unwrap_or(1);
        let count = count.max(u32::try_from(least).unwrap_or(1));
        let mut input = Queue::new(&self.device, Side::Output, memory, count)?;
        input.start()?;
        Ok(input)
    }

    /// Drains the encoder and starts it over: the next picture is the first of a stream of its own (the kernel's
    /// "Reset" sequence). `change` is done in between, when nothing is coded.
    fn start_over(
        &mut self,
        sink: &mut Sink<'_>,
        change: impl FnOnce(&M2m) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.input.is_some() {
            self.drain(sink)?;
        }
        self.coded.stop()?;
        change(&self.device)?;
        start_coded(&mut self.coded)
    }

    fn drain(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        if let Err(reason) = self.device.drain() {
            // What is within is lost, then.
            tracing::debug!(encoder = %self.path.display(), %reason, "the encoder cannot be drained");
            return Ok(());
        }
        let deadline = clock::now() + DRAINED_WITHIN;
        loop {
            self.reclaim()?;
            match take_coded(&mut self.coded, sink)? {
                Came::Last => return self.reclaim(),
                Came::Piece => {}
                Came::Nothing => {
                    let left = deadline.saturating_duration_since(clock::now());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.device.wait(Ready::Capture, left)?;
                }
            }
        }
    }
}

impl Coder for Device {
    fn put_in(&mut self, frame: &Frame<'_>, stamp: Duration) -> Result<PutIn, EncodeError> {
        self.reclaim().map_err(|error| self.failed("taking a buffer back", &error))?;
        if let (Some(memory), Import::Untried | Import::InUse) = (frame.dmabuf, self.import)
            && let Some(put_in) = self.import(memory, stamp)?
        {
            return Ok(put_in);
        }
        if self.import == Import::InUse {
            // Frames lie elsewhere now, and a queue has memory of one kind.
            self.stop_importing();
        }
        self.copy_in(frame, stamp)
    }

    fn take(&mut self, sink: &mut Sink<'_>) -> Result<bool, EncodeError> {
        let came = take_coded(&mut self.coded, sink);
        Ok(came.map_err(|error| self.failed("taking a coded picture", &error))? == Came::Piece)
    }

    fn wait(&mut self, wait: Duration) -> Result<Waited, EncodeError> {
        let ready = self.device.wait(Ready::Capture, wait);
        let ready = ready.map_err(|error| self.failed("waiting for it", &error))?;
        Ok(if ready { Waited::Enough } else { Waited::InVain })
    }

    fn force_key_frame(&mut self, means: Means, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        let id = v4l_sys::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME;
        let by_control = means == Means::Control && self.device.control(id).is_some();
        if by_control && self.device.set_control(id, 1).is_ok() {
            return Ok(());
        }
        let done = self.start_over(sink, |_| Ok(()));
        done.map_err(|error| self.failed("starting it over for a key frame", &error))
    }

    fn set_bitrate(&mut self, bitrate: Bitrate, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        let id = v4l_sys::V4L2_CID_MPEG_VIDEO_BITRATE;
        let Some(range) = self.device.control(id) else { return Ok(()) };
        let bits = settings::bits(bitrate).clamp(range.min, range.max);
        let set = match self.device.set_control(id, bits) {
            // Some do not while they stream.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                self.start_over(sink, |device| device.set_control(id, bits))
            }
            set => set,
        };
        set.map_err(|error| self.failed("setting its bitrate", &error))
    }

    fn reads_in_place(&self) -> bool {
        self.import == Import::InUse
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Piece,
    /// The last before a drain is over.
    Last,
    Nothing,
}

fn take_coded(coded: &mut Queue, sink: &mut Sink<'_>) -> io::Result<Came> {
    let done = match coded.take()? {
        Taken::Buffer(done) => done,
        Taken::Nothing => return Ok(Came::Nothing),
        Taken::Drained => return Ok(Came::Last),
    };
    let bytes = coded.bytes(done.index);
    let data = &bytes[..done.used.min(bytes.len())];
    // The buffer that ends a drain may be empty, and is no picture then.
    if !(done.last && data.is_empty()) {
        sink(Coded { data, stamp: done.stamp, damaged: done.damaged, key: done.key });
    }
    if done.last {
        return Ok(Came::Last);
    }
    coded.give(done.index, 0, Duration::ZERO)?;
    Ok(Came::Piece)
}

fn start_coded(coded: &mut Queue) -> io::Result<()> {
    for index in 0..coded.count() {
        coded.give(index, 0, Duration::ZERO)?;
    }
    coded.start()
}

/// Sets the coded format and then the raw one, in this order, as the coded one decides which raw ones there are.
fn set_formats(
    device: &M2m,
    path: &Path,
    fourcc: FourCc,
    format: &VideoFormat,
) -> Result<Writer, EncodeError> {
    let failed = |action: &'static str| move |error: io::Error| failure(path, action, &error);
    let (width, height) = (format.width, format.height);
    let unsupported = |reason: String| EncodeError::Unsupported { width, height, reason };
    let bytes = LEAST_CODED.max(width * height / 2);
    let wanted = Picture { fourcc: fourcc.0, width, height, stride: 0, bytes };
    let coded = device.set_format(Side::Capture, &wanted).map_err(failed("setting the coded format"))?;
    if coded.fourcc != fourcc.0 {
        return Err(unsupported(format!("{} does not make {fourcc}", path.display())));
    }
    let offered: Vec<_> = device.formats(Side::Output).into_iter().map(FourCc).collect();
    let refuse = || unsupported(format!("{} takes none of our layouts", path.display()));
    let (pixel, feed) = input::choose(format.pixel, &offered).ok_or_else(refuse)?;
    let raw = input::fourcc(pixel).ok_or_else(refuse)?;
    // The camera's own stride, so that a frame can be read where it lies.
    let stride = if pixel == format.pixel { format.stride } else { 0 };
    let wanted = Picture { fourcc: raw.0, width, height, stride, bytes: 0 };
    let got = device.set_format(Side::Output, &wanted).map_err(failed("setting the raw format"))?;
    if got.fourcc != raw.0 || got.width < width || got.height < height {
        let got = format!("{} {}x{}", FourCc(got.fourcc), got.width, got.height);
        return Err(unsupported(format!("{} makes {got} of it", path.display())));
    }
    crop(device, path, format, &got)?;
    let least = pixel.row_bytes(got.width).unwrap_or(0);
    let layout = Layout { pixel, width, height, stride: got.stride.max(least), rows: got.height };
    Writer::new(format, layout, feed)
}

/// Encoders for macroblocks round sizes up; the picture's own size is set as the part to be coded.
fn crop(device: &M2m, path: &Path, format: &VideoFormat, got: &Picture) -> Result<(), EncodeError> {
    let (width, height) = (format.width, format.height);
    if (got.width, got.height) == (width, height) {
        return Ok(());
    }
    // Some choose it by themselves, and do not let it be set.
    let reason = match device.set_crop(width, height).or_else(|_| device.crop()) {
        Ok(cropped) if cropped == (width, height) => return Ok(()),
        Ok((width, height)) => format!("{} codes {width}x{height} of it", path.display()),
        Err(error) => format!("{} codes {}x{} of it ({error})", path.display(), got.width, got.height),
    };
    Err(EncodeError::Unsupported { width, height, reason })
}

fn failure(path: &Path, action: &str, error: &io::Error) -> EncodeError {
    EncodeError::Failed(format!("{}: {action}: {error}", path.display()))
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}
