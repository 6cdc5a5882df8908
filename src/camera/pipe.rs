//! Reading what a command writes to its standard output: raw pictures of a fixed size, or an H.264 stream. Runs on
//! the thread `cam-read`, which ends when the pipe does or when it is told to. Not here: starting the command.

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use super::{
    child::TICK,
    mailbox::{End, Mailbox, Newest, Queue},
};
use crate::{clock, h264::stream::AccessUnits, sys::fd};

/// Bytes read at a time of an H.264 stream.
const PIECE: usize = 64 << 10;

/// Within this many bytes an H.264 stream has a start code.
const START_WITHIN: u64 = 1 << 20;

/// Within this many bytes it has a picture with its parameter sets.
const PICTURE_WITHIN: u64 = 4 << 20;

/// Reads pictures of `size` bytes each until the end.
pub(super) fn read_raw(mut pipe: impl Read + AsFd, size: usize, mailbox: &Mailbox<Newest>) {
    fd::enlarge_pipe(pipe.as_fd());
    while !mailbox.stopped() {
        let mut buffer = mailbox.with(Newest::free_buffer);
        buffer.resize(size, 0);
        match fill(&mut pipe, &mut buffer, || mailbox.stopped()) {
            Ok(Some(began)) => mailbox.put(buffer, began),
            Ok(None) => return mailbox.end(End::Closed),
            Err(error) => return mailbox.end(unreadable(&error)),
        }
    }
}

/// Fills the buffer; gives when its first bytes came, which is when the picture was taken as far as we can know.
/// `None`: the pipe was closed, or we shall stop.
fn fill(
    pipe: &mut (impl Read + AsFd),
    buffer: &mut [u8],
    stopped: impl Fn() -> bool,
) -> io::Result<Option<Instant>> {
    let (mut filled, mut began) = (0, None);
    while filled < buffer.len() {
        if !wait(pipe.as_fd(), TICK)? {
            if stopped() {
                return Ok(None);
            }
            continue;
        }
        match read(pipe, &mut buffer[filled..])? {
            Some(0) => return Ok(None),
            Some(count) => {
                began.get_or_insert_with(clock::now);
                filled += count;
            }
            None => {}
        }
    }
    Ok(began)
}

/// Reads access units until the end.
///
/// That an access unit is complete shows only when the next begins, a frame's time later. So when the pipe has
/// been quiet for `rest`, what is there is given out as complete. Should the rest of it come after all, the stream
/// goes on at the next key frame, and no rest counts any more.
pub(super) fn read_h264(mut pipe: impl Read + AsFd, rest: Duration, mailbox: &Mailbox<Queue>) {
    let mut stream = Stream::new(rest);
    let mut piece = vec![0; PIECE];
    while !mailbox.stopped() {
        let patience = stream.rest.filter(|_| stream.units.in_picture()).unwrap_or(TICK);
        let end = match wait(pipe.as_fd(), patience) {
            Ok(false) => {
                stream.rests(mailbox);
                continue;
            }
            Ok(true) => match read(&mut pipe, &mut piece) {
                Ok(Some(0)) => Some(stream.closed(mailbox)),
                Ok(Some(count)) => stream.goes_on(&piece[..count], clock::now(), mailbox).err(),
                Ok(None) => None,
                Err(error) => Some(unreadable(&error)),
            },
            Err(error) => Some(unreadable(&error)),
        };
        if let Some(end) = end {
            return mailbox.end(end);
        }
    }
}

struct Stream {
    units: AccessUnits,
    /// How long a pause ends an access unit; absent once that proved wrong.
    rest: Option<Duration>,
    /// When the access unit in progress began to come; absent if there is none.
    pending: Option<Instant>,
    /// Bytes so far.
    read: u64,
    /// Access units so far.
    given: u64,
    /// What [`AccessUnits::torn`] was when we last looked.
    torn: u64,
}

impl Stream {
    fn new(rest: Duration) -> Self {
        Self { units: AccessUnits::default(), rest: Some(rest), pending: None, read: 0, given: 0, torn: 0 }
    }

    fn goes_on(&mut self, piece: &[u8], now: Instant, mailbox: &Mailbox<Queue>) -> Result<(), End> {
        let unusable = |what: String| End::Unusable(not_h264(&what));
        self.read += piece.len() as u64;
        self.units.push(piece);
        while let Some(unit) = self.units.take_next().map_err(|error| unusable(error.to_string()))? {
            // Before the access unit is queued: it may be the rest of the torn one, or refer to it.
            self.look_for_tears(mailbox);
            mailbox.put(unit, self.pending.take().unwrap_or(now));
            self.given += 1;
        }
        self.look_for_tears(mailbox);
        self.pending.get_or_insert(now);
        if self.given == 0 && self.torn >= START_WITHIN - 2 {
            return Err(unusable(format!("no start code in its first {} MiB", START_WITHIN >> 20)));
        }
        if self.given == 0 && self.read >= PICTURE_WITHIN {
            let what =
                format!("no picture with its parameter sets in its first {} MiB", PICTURE_WITHIN >> 20);
            return Err(unusable(what));
        }
        Ok(())
    }

    fn look_for_tears(&mut self, mailbox: &Mailbox<Queue>) {
        let torn = self.units.torn();
        // Before the first access unit it says only that we came in the middle of the stream.
        if torn > self.torn && self.given > 0 {
            tracing::debug!("the camera command's stream is torn; waiting for a key frame");
            self.rest = None;
            mailbox.with(Queue::break_off);
        }
        self.torn = torn;
    }

    fn rests(&mut self, mailbox: &Mailbox<Queue>) {
        if self.rest.is_some() && self.units.in_picture() {
            self.flush(mailbox);
        }
    }

    fn closed(&mut self, mailbox: &Mailbox<Queue>) -> End {
        self.flush(mailbox);
        if self.given == 0 && self.read > 0 {
            return End::Unusable(not_h264(&format!("no picture in the {} bytes that it wrote", self.read)));
        }
        End::Closed
    }

    fn flush(&mut self, mailbox: &Mailbox<Queue>) {
        let began = self.pending.take().unwrap_or_else(clock::now);
        for unit in self.units.flush() {
            mailbox.put(unit, began);
            self.given += 1;
        }
    }
}

fn not_h264(what: &str) -> String {
    format!(
        "gives no H.264 in Annex B form ({what}): have it write such a stream, or for raw pictures give their format, as in --camera process:i420:1280x720@30:COMMAND"
    )
}

fn unreadable(error: &io::Error) -> End {
    End::Unusable(format!("cannot be read: {error}"))
}

fn wait(pipe: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    fd::wait_readable(pipe, patience)
}

/// `None`: a signal came first.
fn read(pipe: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match pipe.read(buffer) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
