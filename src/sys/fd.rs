//! File descriptors: waiting for one with a deadline. Blocks the calling thread; never call it in a task.

use std::{io, os::fd::AsRawFd, os::fd::BorrowedFd, time::Duration};

/// Waits at most `wait` until reading would not block: there is data, an end of file, or an error to read.
/// `false`: nothing yet. It may come back early when a signal arrives.
///
/// # Errors
/// The system's, for want of memory.
pub fn wait_readable(fd: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    wait_for(fd, libc::POLLIN, wait)
}

/// The same until writing would not block.
///
/// # Errors
/// As for [`wait_readable`].
pub fn wait_writable(fd: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    wait_for(fd, libc::POLLOUT, wait)
}

fn wait_for(fd: BorrowedFd<'_>, events: libc::c_short, wait: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // Rounded up, or a wait of less than 1 ms would be none.
    let milliseconds = i32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: `entry` is one valid pollfd, which lives through the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, milliseconds) };
    match ready {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
        count => Ok(count > 0),
    }
}

/// Gives a pipe room for more than its usual 64 KiB, so that its two ends take turns less often. Whether it
/// worked does not matter.
pub fn enlarge_pipe(fd: BorrowedFd<'_>) {
    // The most that an unprivileged process gets by default (/proc/sys/fs/pipe-max-size).
    const MOST: libc::c_int = 1 << 20;
    // SAFETY: F_SETPIPE_SZ takes a plain number, and the descriptor is open as long as it is borrowed.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, MOST) };
}
