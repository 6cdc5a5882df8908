//! Which capture devices there are, and who uses one: what `/dev` and `/proc` tell. Not here: capturing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use v4l::Device;

use super::{
    identity::{Identity, Present},
    negotiate::{self, FourCc},
};
use crate::sys::{format, video};

/// A video node that can capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// The device's name for people.
    pub card: String,
}

/// Image processors, not cameras, though their nodes say that they capture: those give back what a program
/// puts in. Raspberry Pi OS has them on each board, camera or not.
const PROCESSORS: [&str; 2] = ["bcm2835-isp", "pispbe"];

/// The devices that can capture, those with a format that can be used first, then by number. A device that may
/// not be opened is logged and left out.
pub fn capture_devices() -> Vec<Found> {
    present().into_iter().map(|Present { path, identity }| Found { path, card: identity.card }).collect()
}

/// The same, and what tells one from another.
pub(super) fn present() -> Vec<Present> {
    by_use().into_iter().map(|(present, _)| present).collect()
}

/// The same, each with whether it has a format that can be used.
pub(super) fn by_use() -> Vec<(Present, bool)> {
    let links = links();
    let mut found: Vec<_> = video_nodes().into_iter().filter_map(|path| look_at(path, &links)).collect();
    // The sort is stable, so the numbers' order stays.
    found.sort_by_key(|(_, usable)| !usable);
    found
}

/// Who is at this path, if it is a camera.
pub(super) fn identify(path: &Path) -> Option<Identity> {
    look_at(path.to_path_buf(), &links()).map(|(present, _)| present.identity)
}

/// ` by NAME (pid N)` for another process that has the device open, as far as `/proc` lets us see; else empty.
pub(super) fn holder(path: &Path) -> String {
    let Ok(device) = path.canonicalize() else { return String::new() };
    let numbers = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(numbers);
    let us = std::process::id();
    for pid in processes.filter(|pid| *pid != us) {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        if descriptors.filter_map(|entry| entry.path().read_link().ok()).any(|open| open == device) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return format!(" by {} (pid {pid})", name.trim());
        }
    }
    String::new()
}

/// What to do where there is no camera at a path.
pub(super) fn remedy_for_missing() -> String {
    let found = capture_devices();
    if found.is_empty() {
        return "no camera is plugged in; plug one in, or use --camera synthetic".to_owned();
    }
    let list: Vec<_> =
        found.iter().map(|Found { path, card }| format!("{} ({card})", path.display())).collect();
    format!("there is {}; choose one with --camera", list.join(", "))
}

/// Whether a driver is an image processor's.
pub(super) fn is_processor(driver: &str) -> bool {
    PROCESSORS.contains(&driver)
}

/// All of `/dev/videoN`, by number.
pub(crate) fn video_nodes() -> Vec<PathBuf> {
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("video")?.parse::<u32>().ok()
    };
    let mut numbers: Vec<_> =
        fs::read_dir("/dev").into_iter().flatten().flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| PathBuf::from(format!("/dev/video{number}"))).collect()
}

/// The links in `/dev/v4l`, each with the node that it leads to. udev makes them; where it does not run, there are none.
fn links() -> Vec<(PathBuf, PathBuf)> {
    let entries = |folder| fs::read_dir(folder).into_iter().flatten().flatten();
    let all = entries("/dev/v4l/by-id").chain(entries("/dev/v4l/by-path")).map(|entry| entry.path());
    all.filter_map(|link| Some((link.clone(), link.canonicalize().ok()?))).collect()
}

/// The device, if it can capture, and whether in a format that can be used.
fn look_at(path: PathBuf, links: &[(PathBuf, PathBuf)]) -> Option<(Present, bool)> {
    let capability = Device::with_path(&path).and_then(|device| {
        video::close_on_exec(&device)?;
        Ok((video::capability(&device)?, device))
    });
    let (capability, device) = match capability {
        Ok(opened) => opened,
        Err(reason) if matches!(reason.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
            return None;
        }
        Err(reason) => {
            tracing::warn!(device = %path.display(), %reason, "cannot look at a video device");
            return None;
        }
    };
    let api = capability.capture_api().filter(|_| capability.streams())?;
    if is_processor(&capability.driver) {
        return None;
    }
    let formats = format::formats(&device, api).unwrap_or_default();
    let usable = formats.into_iter().any(|code| negotiate::pixel_format(FourCc(code)).is_some());
    let node = path.canonicalize().unwrap_or_else(|_| path.clone());
    let links = links.iter().filter(|(_, target)| *target == node).map(|(link, _)| link.clone()).collect();
    let (card, bus, index) = (capability.card, capability.bus, index_of(&node));
    Some((Present { path, identity: Identity { card, bus, index, links } }, usable))
}

/// Which of its device's nodes this is.
fn index_of(node: &Path) -> Option<u32> {
    let file = Path::new("/sys/class/video4linux").join(node.file_name()?).join("index");
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn finds_the_process_that_has_a_file_open() {
        use std::process::{Command, Stdio};
        let path = std::env::temp_dir().join(format!("pinhole-held-{}", std::process::id()));
        let file = fs::File::create(&path).unwrap();
        assert_eq!(holder(&path), "", "held by ourselves only");
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::from(file)).spawn().unwrap();
        // The child has the file from its first instruction on, under its new name from exec on, for which qemu-user lets
        // nobody wait.
        let (by_cat, end) = (format!(" by cat (pid {})", child.id()), clock::now() + Duration::from_secs(20));
        let mut by = holder(&path);
        while by != by_cat && clock::now() < end {
            by = holder(&path);
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(by, by_cat);
    }
}
