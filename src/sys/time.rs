//! The kernel's monotonic clock as a number, in which drivers stamp their buffers, the processor time of this process, and
//! the time of day of the place that the system is set to. Not for deadlines: those use `clock::now`.

use std::{mem::MaybeUninit, time::Duration};

/// `CLOCK_MONOTONIC`: time since some moment near the system's start.
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// Processor time that all threads of this process have taken, in user mode and in the kernel.
pub fn of_processor() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` is writable and lives through the call. The clocks exist on every Linux, so the call
    // cannot fail; if it did, `time` would stay zero.
    unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    // SAFETY: a timespec is plain numbers, for which zero is valid.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// A time of day as a clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    pub year: i32,
    /// From 1.
    pub month: i32,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    /// Up to 60, in a leap second.
    pub second: i32,
}

/// The time `since_epoch` (since 1970, UTC) in the system's time zone, or the one that `TZ` names. The C library reads the
/// zone once. `None`: a year that it cannot tell.
pub fn local(since_epoch: Duration) -> Option<LocalTime> {
    // As wide as the C library has it; the type's name is deprecated where that changes.
    let seconds = since_epoch.as_secs().try_into().ok()?;
    let mut time = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values for the length of the call, and the second is writable. It is the
    // reentrant form, which returns null on failure. (It reads the environment, which nobody here writes.)
    let told = unsafe { libc::localtime_r(&raw const seconds, time.as_mut_ptr()) };
    if told.is_null() {
        return None;
    }
    // SAFETY: the call has filled it; it was zeroed before, which is valid for its numbers and its pointer.
    let time = unsafe { time.assume_init() };
    Some(LocalTime {
        year: time.tm_year + 1900,
        month: time.tm_mon + 1,
        day: time.tm_mday,
        hour: time.tm_hour,
        minute: time.tm_min,
        second: time.tm_sec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_within_a_day_of_utc_and_runs_with_it() {
        // 2026-11-25 12:34:56 UTC.
        let noon = Duration::from_secs(1_795_610_096);
        let here = local(noon).unwrap();
        assert_eq!((here.year, here.month, here.second), (2026, 11, 56));
        assert!((24..=26).contains(&here.day), "{here:?}");
        let later = local(noon + Duration::from_secs(3)).unwrap();
        assert_eq!(later.second, 59);
        assert_eq!((here.minute - later.minute, here.hour - later.hour), (0, 0));
    }
}
