//! A command as a process group: started, listened to on standard error, ended with all its descendants, and
//! always reaped. The thread `cam-stderr` listens. Not here: its standard output (`pipe`).

use std::{
    collections::VecDeque,
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    clock,
    sys::{
        fd,
        process::{self, Signal},
    },
    tasks,
};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// How much of what it says last is kept, in bytes.
const LAST_WORDS: usize = 500;

/// How often a thread that waits for a pipe looks whether it shall stop.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// A running command, or one that has ended.
#[derive(Debug)]
pub(super) struct ChildGroup {
    child: Child,
    status: Option<ExitStatus>,
    words: Arc<Words>,
    listener: Option<JoinHandle<()>>,
}

impl ChildGroup {
    /// Runs a command in a process group of its own, without standard input. It ends with the thread that calls this,
    /// at the latest.
    pub(super) fn start(mut command: Command) -> io::Result<(Self, ChildStdout)> {
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::end_with_this_thread(&mut command);
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // From here on an error ends the child, by Drop.
        let mut group = Self { child, status: None, words: Arc::default(), listener: None };
        let missing = || io::Error::other("its output is not a pipe");
        let (stdout, stderr) = (stdout.ok_or_else(missing)?, stderr.ok_or_else(missing)?);
        let words = Arc::clone(&group.words);
        group.listener = Some(tasks::thread("cam-stderr", move || words.listen(stderr))?);
        Ok((group, stdout))
    }

    /// Whether the command has ended within `patience`.
    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        wait_until(patience, || self.has_ended())
    }

    /// Ends the whole group: asks, waits until the command is gone and `closed` says that the output is closed, at
    /// most half a second, and then kills what is left. Gives how the command ended.
    pub(super) fn end(&mut self, closed: impl Fn() -> bool) -> Option<ExitStatus> {
        if self.status.is_none() {
            process::signal_group(self.child.id(), Signal::Terminate);
            wait_until(GRACE, || self.has_ended() && closed());
            // Before the command is reaped, so that the group's number is still its own.
            process::signal_group(self.child.id(), Signal::Kill);
            self.status = self.child.wait().ok();
        }
        self.status
    }

    /// ``; it said: …``, what it wrote last to standard error, on one line; empty if nothing.
    pub(super) fn last_words(&self) -> String {
        // What it said just before its end may still be in the pipe.
        wait_until(TICK, || self.listener.as_ref().is_none_or(JoinHandle::is_finished));
        let words = self.words.last();
        if words.is_empty() { words } else { format!("; it said: {words}") }
    }

    fn has_ended(&self) -> bool {
        process::has_ended(self.child.id()).unwrap_or(true)
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        self.end(|| true);
        self.words.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // It panicked or not: there is nothing of it left.
            let _ = listener.join();
        }
    }
}

/// A command as a person writes it, for `sh -c`.
pub(super) fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    shell
}

/// How a command ended, for people.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn wait_until(patience: Duration, done: impl Fn() -> bool) -> bool {
    const STEP: Duration = Duration::from_millis(5);
    let deadline = clock::now() + patience;
    while !done() {
        if clock::now() >= deadline {
            return false;
        }
        clock::pause(STEP);
    }
    true
}

/// What a command says on standard error. The mutex is there because one thread listens and another asks.
#[derive(Debug, Default)]
struct Words {
    last: Mutex<VecDeque<u8>>,
    stop: AtomicBool,
}

impl Words {
    fn listen(&self, mut stderr: ChildStderr) {
        let (mut piece, mut line) = ([0; 1024], Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            match fd::wait_readable(stderr.as_fd(), TICK) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => break,
            }
            match stderr.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => self.hear(&piece[..count], &mut line),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    fn hear(&self, piece: &[u8], line: &mut Vec<u8>) {
        for &byte in piece {
            // Progress meters end their lines with a carriage return.
            if byte == b'\n' || byte == b'\r' || line.len() >= 1000 {
                tracing::debug!(line = %String::from_utf8_lossy(line), "the camera command says");
                line.clear();
            } else {
                line.push(byte);
            }
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.extend(piece);
        let excess = last.len().saturating_sub(LAST_WORDS);
        last.drain(..excess);
    }

    /// On one line, without control characters.
    fn last(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = last.iter().copied().collect();
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(command: &str) -> (String, String) {
        let (mut group, stdout) = ChildGroup::start(shell(command)).unwrap();
        drop(stdout);
        assert!(group.ends_within(Duration::from_secs(30)), "{command}");
        let status = group.end(|| true).unwrap();
        (describe(status), group.last_words())
    }

    #[test]
    fn tells_how_a_command_ended_and_what_it_said() {
        let quiet = ("ended with exit status 0".to_owned(), String::new());
        assert_eq!(finished("true"), quiet);
        let (how, words) = finished("echo no camera >&2; printf 'a\\tb\\033[1m\\n' >&2; exit 3");
        assert_eq!(
            (how.as_str(), words.as_str()),
            ("ended with exit status 3", "; it said: no camera a b [1m")
        );
        assert_eq!(finished("kill -9 $$").0, "was killed by signal 9");
        let (how, words) = finished("no-such-program-here");
        assert_eq!(how, "ended with exit status 127");
        assert!(words.contains("no-such-program-here"), "{words}");
    }

    #[test]
    fn keeps_only_the_last_words() {
        let words = Words::default();
        for number in 0..1000 {
            words.hear(format!("line {number}\n").as_bytes(), &mut Vec::new());
        }
        let last = words.last();
        assert!(last.ends_with("line 999") && last.len() <= LAST_WORDS, "{last}");
    }

    #[test]
    fn the_whole_group_ends_even_if_it_ignores_the_request() {
        // A child of the shell writes its number; both ignore SIGTERM.
        let command = "trap '' TERM; sh -c 'echo $$; exec cat /dev/zero >/dev/null' & wait";
        let (mut group, stdout) = ChildGroup::start(shell(command)).unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
        let descendant: u32 = line.trim().parse().unwrap();
        assert!(is_running(descendant));
        let status = group.end(|| true).unwrap();
        assert_eq!(describe(status), "was killed by signal 9");
        assert!(wait_until(Duration::from_secs(30), || !is_running(descendant)));
    }

    #[test]
    fn dropping_ends_the_group() {
        let (group, stdout) = ChildGroup::start(shell("echo $$; cat /dev/zero >/dev/null")).unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
        let shell: u32 = line.trim().parse().unwrap();
        assert_eq!(shell, group.child.id());
        drop(group);
        assert!(!is_running(shell));
    }

    /// Whether there is such a process, other than as a zombie that its new parent has yet to reap.
    fn is_running(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
    }
}
