//! What the agent needs of the machine: its configuration, a folder that can be written to, a clock, memory, files. Not
//! here: cameras (`cameras`) and the network (`reach`).

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Case, Finding, judge};
use crate::{clock, config::is_hidden, control::show::length, signal::keys, status::Host, sys};

pub(super) fn configuration(case: &Case) -> Finding {
    let cameras = case.config.cameras.len();
    let brokers = case.config.broker.external.len();
    let file = match &case.file {
        Some(file) => file.display().to_string(),
        None => "no file, the usual settings".to_owned(),
    };
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let brokers = match brokers {
        0 => "no broker but its own".to_owned(),
        brokers => count(brokers, "broker"),
    };
    Finding::ok("configuration", format!("{file}: {}, {brokers}", count(cameras, "camera")))
}

pub(super) fn agent(case: &Case, sockets: &[PathBuf]) -> Finding {
    match &case.running {
        Some(status) => {
            let said = format!("pinhole {} runs for {}", status.version, length(status.uptime_s));
            if status.version == env!("CARGO_PKG_VERSION") {
                return Finding::ok("agent", said);
            }
            let said = format!("{said}, and this is {}", env!("CARGO_PKG_VERSION"));
            Finding::warning("agent", said, "restart it: sudo systemctl restart pinhole")
        }
        None if is_hidden(sockets) => Finding::warning(
            "agent",
            "one runs that this user may not ask",
            "run this as the user that it runs as, or with sudo",
        ),
        None => Finding::ok("agent", "none is running"),
    }
}

/// Whether keys can be kept.
pub(super) fn state_folder(folder: &Path) -> Finding {
    const PART: &str = "state folder";
    let shown = folder.display();
    let metadata = fs::metadata(folder);
    if metadata.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        let remedy = "run this as the user that the agent runs as, or with sudo";
        return Finding::warning(PART, format!("this user may not look at {shown}"), remedy);
    }
    let Ok(metadata) = metadata else {
        // The nearest that is there decides.
        let above = folder.ancestors().skip(1).find(|above| above.is_dir());
        return match above.map(sys::fs::is_writable) {
            Some(true) => Finding::ok(PART, format!("{shown} is made at the first start")),
            Some(false) | None => Finding::warning(
                PART,
                format!("{shown} is not there, and this user may not make it"),
                "run this as the user that the agent runs as, or with sudo",
            ),
        };
    };
    if !metadata.is_dir() {
        return Finding::bad(
            PART,
            format!("{shown} is no folder"),
            "name another with --state, or remove the file",
        );
    }
    match try_to_write(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Finding::warning(
                PART,
                format!("this user may not write to {shown}"),
                "run this as the user that the agent runs as, or with sudo",
            );
        }
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it for writing, or name another folder with --state"
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on this disk",
                _ => "look at the disk (dmesg), or name another folder with --state",
            };
            return Finding::bad(PART, format!("{shown} cannot be written to ({error})"), remedy);
        }
    }
    match sys::fs::free_bytes(folder) {
        Ok(free) => judge::disk(PART, &format!("{shown} can be written to"), free),
        Err(error) => {
            Finding::warning(PART, format!("{shown}: its free room cannot be told ({error})"), "look with df")
        }
    }
}

/// As the agent writes: a new file beside, and synced.
fn try_to_write(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".check-{}", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

pub(super) fn clock() -> Finding {
    let now = clock::since_epoch();
    match (keys::date(now), sys::time::local(now)) {
        (Some(_), Some(t)) => Finding::ok(
            "clock",
            format!("it says {:04}-{:02}-{:02} {:02}:{:02} here", t.year, t.month, t.day, t.hour, t.minute),
        ),
        (_, _) => Finding::warning(
            "clock",
            "it is not set: brokers by TLS are refused, and keys that expire are good for nothing",
            "set it: sudo timedatectl set-ntp true",
        ),
    }
}

pub(super) fn memory(case: &Case) -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let taken = case.running.as_ref().and_then(|status| status.host.memory_bytes);
    match available {
        Some(kibibytes) => judge::memory(kibibytes * 1024, taken),
        None => Finding::warning("memory", "the kernel does not tell how much there is", "look with free"),
    }
}

pub(super) fn open_files(case: &Case) -> Finding {
    let own = Host::read();
    let (most, open) = match &case.running {
        Some(status) => (status.host.max_open_files, status.host.open_files),
        None => (own.max_open_files, None),
    };
    // Unlimited, or not to be told.
    most.map_or_else(|| Finding::ok("open files", "without a limit"), |most| judge::open_files(most, open))
}
