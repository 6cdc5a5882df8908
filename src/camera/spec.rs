//! The setting `camera` as people write it. Pure, but for making the source. Not here: where the setting comes
//! from, and which camera is the default.

use std::{path::PathBuf, sync::Arc};

use super::{
    CameraSource,
    process::{self, ProcessSource},
    replay::ReplaySource,
    synthetic,
    v4l2::V4l2Source,
};

/// Which camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `synthetic`: pictures made by the agent.
    Synthetic,
    /// `/dev/video0`, `/dev/v4l/by-id/…`: a V4L2 device.
    Device(PathBuf),
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
            Self::Process(source) => Arc::new(source),
            Self::Replay(file) => Arc::new(ReplaySource { file }),
        }
    }
}

/// Reads `synthetic`, a device's path, `process:…` or `replay:FILE`.
///
/// # Errors
/// One line that says what is wrong and what would be right.
pub fn parse(text: &str) -> Result<Spec, String> {
    const FORMS: &str = "write synthetic, a device such as /dev/video0, process:COMMAND, or replay:FILE";
    if text == "synthetic" {
        Ok(Spec::Synthetic)
    } else if text.starts_with('/') {
        Ok(Spec::Device(text.into()))
    } else if let Some(rest) = text.strip_prefix("process:") {
        process::parse(rest).map(Spec::Process)
    } else if let Some(file) = text.strip_prefix("replay:") {
        if file.is_empty() {
            return Err("replay: needs a file, as in replay:walk.h264".to_owned());
        }
        Ok(Spec::Replay(file.into()))
    } else if text.starts_with("video") {
        Err(format!("no camera is called `{text}`: a device is written with its path, as in /dev/{text}"))
    } else if text.ends_with(".h264") || text.ends_with(".264") {
        Err(format!("no camera is called `{text}`: a file is written as replay:{text}"))
    } else {
        Err(format!("no camera is called `{text}`: {FORMS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::process::Output;

    #[test]
    fn reads_each_form() {
        assert_eq!(parse("synthetic"), Ok(Spec::Synthetic));
        assert_eq!(parse("/dev/video2"), Ok(Spec::Device("/dev/video2".into())));
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
            ("process:", "process: needs a command"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn sources_are_called_as_people_wrote_them() {
        for text in ["/dev/video2", "replay:a.h264", "process:cat x", "process:i420:64x48@5:cat x"] {
            assert_eq!(parse(text).unwrap().source().describe(), text);
        }
    }
}
