//! The setting `auto`: the first camera that is found, and the same one again when it was unplugged and has come back
//! under another number; where there is only the camera port, that; where there is none when the agent starts, the
//! synthetic picture. Not here: which devices there are (`devices`), and which is the same (`identity`).

use std::sync::Arc;

use super::{CameraSource, csi::CsiSource, devices, synthetic, v4l2::V4l2Source};
use crate::encode::Bitrate;

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Device,
    Csi,
    Synthetic,
}

/// What `auto` means now. Looks at the devices once.
pub fn source(bitrate: Bitrate) -> Arc<dyn CameraSource> {
    let (usable, other) = devices::kinds();
    match choose(usable, other, CsiSource::is_installed) {
        Choice::Device => match V4l2Source::first() {
            Some(source) => Arc::new(source),
            None => synthetic::source(),
        },
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
fn choose(usable: bool, other: bool, csi: impl FnOnce() -> bool) -> Choice {
    match (usable, other) {
        (true, _) => Choice::Device,
        (false, true) if csi() => Choice::Csi,
        (false, true) => Choice::Device,
        (false, false) => Choice::Synthetic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webcam_comes_before_the_camera_port_and_that_before_a_made_picture() {
        for (usable, other, installed, chosen) in [
            (true, true, true, Choice::Device),
            (true, false, false, Choice::Device),
            (false, true, true, Choice::Csi),
            (false, true, false, Choice::Device),
            (false, false, true, Choice::Synthetic),
        ] {
            assert_eq!(choose(usable, other, || installed), chosen);
        }
    }
}
