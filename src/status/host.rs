//! What the agent takes of the machine, by proc(5), and how hot the board is. Read when somebody asks. Not here: what
//! follows from it.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::{pipeline, sys};

/// The process and the board it runs on; what cannot be read is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// °C of the hottest thermal zone.
    pub temperature_c: Option<f32>,
    /// Bytes of memory that are really in use (`VmRSS`).
    pub memory_bytes: Option<u64>,
    pub threads: Option<u64>,
    /// Files, sockets and devices that are open.
    pub open_files: Option<u64>,
    /// How many may be.
    pub max_open_files: Option<u64>,
    /// Seconds of processor time, its children not counted.
    pub cpu_seconds: f64,
}

impl Host {
    /// Reads a few small files that the kernel makes up: no disk is touched.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            temperature_c: pipeline::temperature(),
            memory_bytes: field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024),
            threads: field(&status, "Threads:"),
            // The folder's own descriptor is one of them while it is read.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| (files.count() as u64).saturating_sub(1)),
            max_open_files: field(&limits, "Max open files"),
            cpu_seconds: sys::time::of_processor().as_secs_f64(),
        }
    }
}

/// The first number after a line's title.
fn field(text: &str, title: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(title))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_titles() {
        let status = "Name:\tpinhole\nVmRSS:\t   18264 kB\nThreads:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(18_264));
        assert_eq!(field(status, "Threads:"), Some(9));
        assert_eq!(field(status, "VmSwap:"), None);
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024     4096    files\n";
        assert_eq!(field(limits, "Max open files"), Some(1024));
        assert_eq!(field("Max open files   unlimited\n", "Max open files"), None);
    }

    #[test]
    fn a_running_process_takes_something() {
        let host = Host::read();
        assert!(host.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{host:?}");
        assert!(host.threads.is_some_and(|threads| threads > 0), "{host:?}");
        let (open, most) = (host.open_files.expect("/proc/self/fd"), host.max_open_files.expect("a limit"));
        assert!((3..=most).contains(&open), "{host:?}");
        assert!(host.cpu_seconds > 0.0, "{host:?}");
    }
}
