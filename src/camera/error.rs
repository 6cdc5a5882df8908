//! Why a camera gives no picture, in words for its owner and for those who watch. Pure. Not here: what is done about it
//! (`pipeline`).

/// Why a camera cannot be opened or has stopped. Each message names the thing, the reason, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    #[error("no camera at {device}: {remedy}")]
    NotFound { device: String, remedy: String },
    #[error("camera {device} is in use{by}: close the other program, or choose another camera with --camera")]
    Busy {
        device: String,
        /// Empty, or ` by NAME (pid N)`.
        by: String,
    },
    #[error(
        "not allowed to open {device}: add this user to the group `video` (usermod -aG video USER) and log in again"
    )]
    Permission { device: String },
    #[error("{device} is not a camera that can be used: {reason}; {remedy}")]
    NotUsable { device: String, reason: String, remedy: String },
    #[error(
        "camera {device} cannot do {width}x{height}: it offers {offered}; choose one of them with --size"
    )]
    Size { device: String, width: u32, height: u32, offered: String },
    #[error(
        "nothing to see comes in at {device}: {reason}; connect a source, switch it on, or choose another mode there"
    )]
    NoSignal { device: String, reason: String },
    #[error("another signal comes in at {device}: it is opened anew")]
    SignalChanged { device: String },
    #[error("camera {device} was disconnected")]
    Lost { device: String },
    #[error("camera {device} gave no picture for {seconds:.1} s")]
    Stalled { device: String, seconds: f32 },
    #[error("camera {device} gives nothing but damaged pictures: {what}; try another size, cable or socket")]
    Damaged {
        device: String,
        /// What was wrong with the last.
        what: String,
    },
    #[error("camera command `{command}` {what}{stderr}")]
    Command {
        command: String,
        /// `ended with exit status 1`, `cannot be started: …`.
        what: String,
        /// Empty, or `; it said: …`, its last words on standard error.
        stderr: String,
    },
    #[error(
        "{file} cannot be played: {reason}; give an H.264 file in Annex B form (ffmpeg -i INPUT -c:v libx264 -bf 0 -an OUTPUT.h264)"
    )]
    BadFile { file: String, reason: String },
    #[error("camera {device}: {action} failed: {source}")]
    Io { device: String, action: &'static str, source: std::io::Error },
}

impl CameraError {
    /// Whether it may be otherwise later, with nothing changed in the configuration: the camera is plugged in, or no
    /// longer in use.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Busy { .. }
            | Self::Lost { .. }
            | Self::Stalled { .. }
            | Self::NoSignal { .. }
            | Self::SignalChanged { .. }
            | Self::Damaged { .. }
            | Self::Command { .. }
            | Self::Io { .. } => true,
            Self::Permission { .. } | Self::NotUsable { .. } | Self::Size { .. } | Self::BadFile { .. } => {
                false
            }
        }
    }

    /// The same for those who watch: without the remedy, which is the owner's affair, and without the command of a
    /// camera that is one, in which a password may be.
    pub fn for_viewers(&self) -> String {
        match self {
            Self::NotFound { device, .. } if is_command(device) => format!("{PROGRAM} is not there"),
            Self::NotFound { device, .. } => format!("no camera at {device}"),
            Self::Busy { device, by } => format!("{} is in use{by}", shown(device)),
            Self::Permission { device } => format!("not allowed to open {}", shown(device)),
            Self::NotUsable { device, reason, .. } => format!("{} cannot be used: {reason}", shown(device)),
            Self::Size { device, width, height, .. } => {
                format!("{} cannot do {width}x{height}", shown(device))
            }
            Self::NoSignal { device, reason } => {
                format!("nothing to see comes in at {}: {reason}", shown(device))
            }
            Self::SignalChanged { device } => format!("another signal comes in at {}", shown(device)),
            Self::Lost { device } => format!("{} was disconnected", shown(device)),
            Self::Stalled { device, seconds } => {
                format!("{} gave no picture for {seconds:.1} s", shown(device))
            }
            Self::Damaged { device, .. } => format!("{} gives nothing but damaged pictures", shown(device)),
            Self::Command { what, .. } => format!("{PROGRAM} {what}"),
            Self::BadFile { reason, .. } => format!("the recording cannot be played: {reason}"),
            Self::Io { device, action, .. } => format!("{}: {action} failed", shown(device)),
        }
    }
}

const PROGRAM: &str = "the camera's program";

/// A device by its name, a command as what it is.
fn shown(device: &str) -> String {
    if is_command(device) { PROGRAM.to_owned() } else { format!("camera {device}") }
}

/// As `process` calls its cameras.
fn is_command(device: &str) -> bool {
    device.starts_with("command `") || device.starts_with("process:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_read_neither_remedies_nor_commands() {
        let command = "ffmpeg -i rtsp://anna:hunter2@camera/ -";
        let device = || "/dev/video0".to_owned();
        for (error, words) in [
            (
                CameraError::NotFound { device: device(), remedy: "plug one in".into() },
                "no camera at /dev/video0",
            ),
            (
                CameraError::Busy { device: device(), by: " by cheese (pid 7)".into() },
                "camera /dev/video0 is in use by cheese (pid 7)",
            ),
            (
                CameraError::Stalled { device: format!("command `{command}`"), seconds: 5.0 },
                "the camera's program gave no picture for 5.0 s",
            ),
            (
                CameraError::Damaged { device: format!("process:{command}"), what: "x".into() },
                "the camera's program gives nothing but damaged pictures",
            ),
            (
                CameraError::Command {
                    command: command.into(),
                    what: "ended with exit status 1".into(),
                    stderr: format!("; it said: {command}"),
                },
                "the camera's program ended with exit status 1",
            ),
        ] {
            assert_eq!(error.for_viewers(), words);
        }
    }
}
