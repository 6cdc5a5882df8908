//! The setting `camera` as people write it. Pure, but for making the source, and for looking whether a name alone is that
//! of a camera that is there. Not here: where the setting comes
//! from, and which camera is the default.

use std::{path::PathBuf, sync::Arc};

use super::{
    CameraSource,
    csi::CsiSource,
    devices,
    identity::{self, Present, Unclear},
    process::{self, ProcessSource},
    replay::ReplaySource,
    synthetic,
    v4l2::V4l2Source,
};

/// Which camera.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// `synthetic`: pictures made by the agent.
    Synthetic,
    /// `/dev/video0`, `/dev/v4l/by-id/…`: a V4L2 device.
    Device(PathBuf),
    /// `card:HD Pro Webcam C920`: the V4L2 device of that name, in capitals or not.
    Card(String),
    /// `csi`, `csi:1`: a camera at a Raspberry Pi's camera port.
    Csi(CsiSource),
    /// `process:…`: what a command writes to its standard output; see [`process::parse`].
    Process(ProcessSource),
    /// `replay:FILE`: an H.264 file.
    Replay(PathBuf),
}

impl Spec {
    /// What opens this camera.
    pub fn source(self) -> Arc<dyn CameraSource> {
        match self {
            Self::Synthetic => synthetic::source(),
            Self::Device(path) => Arc::new(V4l2Source::new(path)),
            Self::Card(name) => Arc::new(V4l2Source::card(name)),
            Self::Csi(source) => Arc::new(source),
            Self::Process(source) => Arc::new(source),
            Self::Replay(file) => Arc::new(ReplaySource { file }),
        }
    }
}

/// Reads `synthetic`, a device's path, `card:NAME`, `csi`, `csi:NUMBER`, `process:…` or `replay:FILE`, and the name alone of a camera that is
/// plugged in.
///
/// # Errors
/// One line that says what is wrong and what would be right.
pub fn parse(text: &str) -> Result<Spec, String> {
    parse_among(text, devices::present)
}

fn parse_among(text: &str, present: impl FnOnce() -> Vec<Present>) -> Result<Spec, String> {
    const FORMS: &str =
        "write synthetic, a device such as /dev/video0, card:NAME, csi, process:COMMAND, or replay:FILE";
    if text == "synthetic" {
        Ok(Spec::Synthetic)
    } else if text.starts_with('/') {
        Ok(Spec::Device(text.into()))
    } else if text == "csi" {
        Ok(Spec::Csi(CsiSource::new(0)))
    } else if let Some(number) = text.strip_prefix("csi:") {
        let number = number.parse().ok().filter(|number| *number < 16);
        number.map(|number| Spec::Csi(CsiSource::new(number))).ok_or_else(|| {
            "csi: needs the camera's number, as in csi:1; rpicam-vid --list-cameras shows them".to_owned()
        })
    } else if let Some(rest) = text.strip_prefix("process:") {
        process::parse(rest).map(Spec::Process)
    } else if let Some(file) = text.strip_prefix("replay:") {
        if file.is_empty() {
            return Err("replay: needs a file, as in replay:walk.h264".to_owned());
        }
        Ok(Spec::Replay(file.into()))
    } else if let Some(name) = text.strip_prefix("card:").map(str::trim) {
        if name.is_empty() {
            return Err("card: needs a name, as in card:HD Pro Webcam C920".to_owned());
        }
        Ok(Spec::Card(name.to_owned()))
    } else if text.starts_with("video") {
        Err(format!("no camera is called `{text}`: a device is written with its path, as in /dev/{text}"))
    } else if text.ends_with(".h264") || text.ends_with(".264") {
        Err(format!("no camera is called `{text}`: a file is written as replay:{text}"))
    } else {
        match identity::by_card(text, None, &present()) {
            Ok(_) => Ok(Spec::Card(text.to_owned())),
            Err(Unclear::None) => Err(format!("no camera is called `{text}`: {FORMS}")),
            Err(Unclear::Several(names)) => {
                let names = names.join(", ");
                Err(format!("several cameras are called `{text}`: choose one by its path, {names}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{identity::Identity, process::Output};

    #[test]
    fn reads_each_form() {
        assert_eq!(parse("synthetic"), Ok(Spec::Synthetic));
        assert_eq!(parse("/dev/video2"), Ok(Spec::Device("/dev/video2".into())));
        assert_eq!(parse("card: HD Pro Webcam C920"), Ok(Spec::Card("HD Pro Webcam C920".into())));
        assert_eq!(parse("replay:a b.h264"), Ok(Spec::Replay("a b.h264".into())));
        let process = ProcessSource { command: "cat x: y".into(), output: Output::H264 };
        assert_eq!(parse("process:cat x: y"), Ok(Spec::Process(process)));
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, hint) in [
            ("", "write synthetic, a device such as /dev/video0"),
            ("synthetik", "write synthetic"),
            ("video0", "as in /dev/video0"),
            ("walk.h264", "replay:walk.h264"),
            ("replay:", "replay:walk.h264"),
            ("csi:x", "as in csi:1"),
            ("card: ", "card: needs a name"),
            ("process:", "process: needs a command"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_name_alone_is_that_of_a_camera_that_is_there() {
        let camera = |number: u32, card: &str| Present {
            path: format!("/dev/video{number}").into(),
            identity: Identity {
                card: card.to_owned(),
                bus: format!("usb-{number}"),
                index: Some(0),
                links: Vec::new(),
            },
        };
        let present = || vec![camera(0, "C920"), camera(2, "Grabber"), camera(4, "Grabber")];
        assert_eq!(parse_among("c920", present), Ok(Spec::Card("c920".into())));
        let error = parse_among("Grabber", present).unwrap_err();
        assert_eq!(
            error,
            "several cameras are called `Grabber`: choose one by its path, /dev/video2, /dev/video4"
        );
        assert!(parse_among("C930", present).unwrap_err().starts_with("no camera is called `C930`: write "));
    }

    #[test]
    fn sources_are_called_as_people_wrote_them() {
        for text in
            ["/dev/video2", "card:Cam 2", "replay:a.h264", "process:cat x", "process:i420:64x48@5:cat x"]
        {
            assert_eq!(parse(text).unwrap().source().describe(), text);
        }
    }
}
