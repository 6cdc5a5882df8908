//! Cameras of a Raspberry Pi's camera port, as libcamera's own program lists them. Not here: using one (`camera`).
//!
//! The list's form is that of rpicam-apps (`--list-cameras`): a line `0 : imx219 [3280x2464 10-bit RGGB] (/base/…)` for
//! each camera, with its modes below. This was not tried on a board.

use std::{
    io::{self, Read},
    os::fd::AsFd,
    process::{Command, Stdio},
    time::Duration,
};

use serde::Serialize;

use crate::{clock, sys::fd};

/// What it is called in Raspberry Pi OS since Bookworm, and before.
const PROGRAMS: [&str; 2] = ["rpicam-vid", "libcamera-vid"];
/// It looks at the hardware, which takes a second or two.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a list at most.
const MAX_LIST: u64 = 64 * 1024;

/// One camera of the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Port {
    /// As in `--camera csi:1`.
    pub(super) number: u32,
    /// The sensor, its size in pixels and its format.
    pub(super) name: String,
}

/// The cameras of the port; `None` where no program for it is installed.
pub(super) fn list() -> Option<Vec<Port>> {
    PROGRAMS.iter().find_map(|program| ask(program))
}

fn ask(program: &str) -> Option<Vec<Port>> {
    let mut command = Command::new(program);
    command.arg("--list-cameras").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut text = Vec::new();
    let read = child.stdout.take().map_or(Ok(()), |stdout| read(stdout, &mut text));
    // It has said all, or is not to say more.
    let _ = child.kill();
    let _ = child.wait();
    if let Err(reason) = read {
        tracing::warn!(program, %reason, "the cameras of the port are not known");
    }
    Some(parse(&String::from_utf8_lossy(&text)))
}

/// All that is written, as far as it comes in time.
fn read(mut from: impl Read + AsFd, to: &mut Vec<u8>) -> io::Result<()> {
    let end = clock::now() + PATIENCE;
    let mut piece = [0; 4096];
    while (to.len() as u64) < MAX_LIST {
        let left = end.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if fd::wait_readable(from.as_fd(), left)? {
            match from.read(&mut piece)? {
                0 => break,
                length => to.extend_from_slice(&piece[..length]),
            }
        }
    }
    Ok(())
}

fn parse(text: &str) -> Vec<Port> {
    let port = |line: &str| {
        let (number, rest) = line.split_once(" : ")?;
        let number = number.parse().ok()?;
        // The place in the device tree says nothing to people.
        let name = rest.split(" (/").next().unwrap_or(rest).trim().to_owned();
        Some(Port { number, name })
    };
    text.lines().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
Available cameras
-----------------
0 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 [206.65 fps - (1000, 752)/1280x960 crop]
                             1640x1232 [41.85 fps - (0, 0)/3280x2464 crop]

1 : ov5647 [2592x1944 10-bit GBRG] (/base/soc/i2c0mux/i2c@0/ov5647@36)
";

    #[test]
    fn each_camera_of_the_list_is_found_and_no_mode() {
        let port = |number, name: &str| Port { number, name: name.to_owned() };
        let expected = [port(0, "imx219 [3280x2464 10-bit RGGB]"), port(1, "ov5647 [2592x1944 10-bit GBRG]")];
        assert_eq!(parse(LIST), expected);
        assert_eq!(parse("No cameras available!\n"), []);
    }

    #[test]
    fn a_program_is_run_and_read_and_a_missing_one_is_none() {
        let missing = "/nowhere/rpicam-vid";
        // qemu-user does not tell the parent that there is no such program: there it is one that says nothing.
        let told = Command::new(missing).spawn().is_err();
        assert_eq!(ask(missing), if told { None } else { Some(Vec::new()) });
        // It prints its argument, which is no camera.
        assert_eq!(ask("echo"), Some(Vec::new()));
    }
}
