//! The kernel's monotonic clock as a number, in which drivers stamp their buffers. Not for deadlines: those use
//! `clock::now`, which reads the same clock.

use std::{mem::MaybeUninit, time::Duration};

/// `CLOCK_MONOTONIC`: time since some moment near the system's start.
pub fn monotonic() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` is writable and lives through the call. The clock exists on every Linux, so the call
    // cannot fail; if it did, `time` would stay zero.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
    // SAFETY: a timespec is plain numbers, for which zero is valid.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}
