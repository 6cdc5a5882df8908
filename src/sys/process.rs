//! Child processes with their descendants: signals to a process group, seeing an end without reaping it, an end
//! together with the agent's. Not here: when to do which.

use std::{io, mem::MaybeUninit, os::unix::process::CommandExt, process::Command};

/// What a process group is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end in order.
    Terminate,
    /// SIGKILL: end now.
    Kill,
}

/// Sends a signal to each process of the group whose leader is, or was, `leader`. The caller must not have
/// reaped the leader, or the number may meanwhile be another group's. A group without processes is no error.
pub fn signal_group(leader: u32, signal: Signal) {
    let Some(group) = i32::try_from(leader).ok().filter(|group| *group > 1) else { return };
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    // SAFETY: kill takes plain numbers. The group is neither 0 (our own) nor 1 (which as -1 means everyone).
    unsafe { libc::kill(-group, number) };
}

/// Whether the child has ended. It stays a zombie, so that its number stays its own.
///
/// # Errors
/// There is no such child: it was reaped.
pub fn has_ended(child: u32) -> io::Result<bool> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable and lives through the call.
    let result = unsafe { libc::waitid(libc::P_PID, child, info.as_mut_ptr(), options) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: siginfo_t is plain data, for which zero is valid, and the call wrote nothing else than a value.
    let info = unsafe { info.assume_init() };
    // SAFETY: after waitid, si_pid is the active field, or zero when no child has changed state.
    Ok(unsafe { info.si_pid() } != 0)
}

/// Has the kernel terminate the child when the thread that starts it ends, however it ends: kill -9 of the agent
/// too. (Descendants of the child are not covered; those that write to a pipe end by SIGPIPE.) So start the
/// child on the thread that owns it.
pub fn end_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes a plain number.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
        if result == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: getppid has no arguments and cannot fail.
        let now = unsafe { libc::getppid() };
        // The agent ended before the kernel was told.
        if u32::try_from(now) != Ok(parent) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, which are async-signal-safe, and
    // neither allocates nor locks: these errors carry a number or a kind only.
    unsafe { command.pre_exec(before_exec) };
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Stdio};

    use super::*;
    use crate::clock;

    fn wait_until_ended(child: &Child) {
        while !has_ended(child.id()).unwrap() {
            clock::pause(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn sees_an_end_without_reaping() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(!has_ended(child.id()).unwrap());
        drop(child.stdin.take());
        wait_until_ended(&child);
        assert!(has_ended(child.id()).unwrap(), "still there to be seen");
        assert!(child.wait().unwrap().success());
        assert!(has_ended(child.id()).is_err());
    }

    #[test]
    fn ends_a_group() {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        signal_group(child.id(), Signal::Kill);
        wait_until_ended(&child);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn child_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("cat");
            end_with_this_thread(&mut command);
            command.stdin(Stdio::piped()).spawn().unwrap()
        };
        let mut child = crate::tasks::thread("starter", start).unwrap().join().unwrap();
        wait_until_ended(&child);
        assert!(!child.wait().unwrap().success());
    }
}
