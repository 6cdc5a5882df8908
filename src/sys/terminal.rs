//! A terminal that shows nothing of what is typed, for passwords (termios(3)). Not here: what is read.

use std::{io, mem::MaybeUninit, os::fd::AsRawFd, os::fd::BorrowedFd};

/// A terminal that gives each key at once and shows none, until this is dropped.
#[derive(Debug)]
pub struct Silent<'a> {
    terminal: BorrowedFd<'a>,
    before: libc::termios,
}

impl<'a> Silent<'a> {
    /// Neither echo nor lines nor signals: Ctrl-C arrives as a byte, so that the terminal can be put right again.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn new(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let mut told = MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the descriptor is open, and `told` is writable and lives through the call.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), told.as_mut_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has filled it, and it is plain numbers.
        let before = unsafe { told.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ICANON | libc::ISIG);
        set(terminal, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = set(self.terminal, &self.before);
    }
}

fn set(terminal: BorrowedFd<'_>, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the settings live through the call.
    let result = unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, settings) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
