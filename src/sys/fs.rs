//! What the standard library does not tell of a file system. Not here: reading and writing.

use std::{ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

/// Bytes that this user can still write on the disk on which `path` is (statvfs(3)).
///
/// # Errors
/// The system's.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut told = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path is a string with its end, `told` is writable, and both live through the call.
    let result = unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it, and it is plain numbers.
    let told = unsafe { told.assume_init() };
    #[expect(clippy::allow_attributes, reason = "the types differ from target to target")]
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    Ok((told.f_bavail as u64).saturating_mul(told.f_frsize as u64))
}

/// Whether this user may make files there (access(2)).
pub fn is_writable(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path is a string with its end that lives through the call.
    unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_there_has_room_and_one_that_is_not_has_none() {
        assert!(free_bytes(Path::new("/tmp")).is_ok_and(|free| free > 0));
        assert!(free_bytes(Path::new("/nonexistent")).is_err());
        assert!(is_writable(Path::new("/tmp")));
        assert!(!is_writable(Path::new("/proc/1/nonexistent")));
    }
}
