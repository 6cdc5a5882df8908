//! The setting `auto`: the first camera that is found, and the same one again when it was unplugged and has come back
//! under another number. Where there is none when the agent starts, the synthetic picture. Not here: which devices
//! there are (`devices`), and which is the same (`identity`).

use std::{path::PathBuf, sync::Arc};

use super::{CameraSource, csi::CsiSource, devices, synthetic, v4l2::V4l2Source};
use crate::encode::Bitrate;

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Device(PathBuf),
    Csi,
    Synthetic,
}

/// What `auto` means now. Looks at the devices once.
pub fn source(bitrate: Bitrate) -> Arc<dyn CameraSource> {
    let found = devices::by_use();
    let first = |wanted: bool| {
        found.iter().find(|(_, usable)| *usable == wanted).map(|(present, _)| present.path.clone())
    };
    match choose(first(true), first(false), CsiSource::is_installed) {
        Choice::Device(path) => {
            // It is the first of these, as those that can be used come first.
            let present = found.into_iter().map(|(present, _)| present).collect();
            Arc::new(V4l2Source::first(present).unwrap_or_else(|| V4l2Source::new(path)))
        }
        Choice::Csi => {
            let mut csi = CsiSource::new(0);
            csi.bitrate = bitrate;
            Arc::new(csi)
        }
        Choice::Synthetic => synthetic::source(),
    }
}

/// A device that gives pictures comes first: who has plugged in a webcam wants to see it. A device that gives none is
/// most probably the camera port; without the program for that, opening the device says what is missing.
fn choose(usable: Option<PathBuf>, other: Option<PathBuf>, csi: impl FnOnce() -> bool) -> Choice {
    match (usable, other) {
        (Some(path), _) => Choice::Device(path),
        (None, Some(_)) if csi() => Choice::Csi,
        (None, Some(path)) => Choice::Device(path),
        (None, None) => Choice::Synthetic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webcam_comes_before_the_camera_port_and_that_before_a_made_picture() {
        let path = |number: u32| PathBuf::from(format!("/dev/video{number}"));
        for (usable, other, installed, chosen) in [
            (Some(2), Some(0), true, Choice::Device(path(2))),
            (Some(2), None, false, Choice::Device(path(2))),
            (None, Some(0), true, Choice::Csi),
            (None, Some(0), false, Choice::Device(path(0))),
            (None, None, true, Choice::Synthetic),
        ] {
            assert_eq!(choose(usable.map(path), other.map(path), || installed), chosen);
        }
    }
}
