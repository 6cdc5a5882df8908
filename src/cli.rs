//! The command line, as clap reads it. Flags may also be given by the environment (`PINHOLE_…`). Not here: what a
//! command does.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::config::{BitrateValue, Size};

/// A camera agent: serves a camera to browsers by WebRTC, signaled over MQTT.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Without any option: the first camera (or a synthetic picture), the embedded broker, and links to watch on."
)]
pub struct Cli {
    #[command(flatten)]
    pub run: RunArgs,
}

/// The options of running the agent.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct RunArgs {
    /// Where pictures come from: `auto`, `synthetic`, a device as /dev/video0, `process:COMMAND`, or `replay:FILE`
    #[arg(long, env = "PINHOLE_CAMERA", hide_env_values = true, value_name = "SOURCE")]
    pub camera: Option<String>,
    /// Size of the picture in pixels, as 1280x720
    #[arg(long, env = "PINHOLE_SIZE", hide_env_values = true, value_name = "WxH")]
    pub size: Option<Size>,
    /// Frames per second
    #[arg(long, env = "PINHOLE_FPS", hide_env_values = true, value_name = "N")]
    pub fps: Option<u32>,
    /// Bits per second of video, as 1500k or 1.5M
    #[arg(long, env = "PINHOLE_BITRATE", hide_env_values = true, value_name = "RATE")]
    pub bitrate: Option<BitrateValue>,
    /// Configuration file (TOML; docs/configuration.md)
    #[arg(long, env = "PINHOLE_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the page and the embedded broker listen: ADDRESS:PORT, or a port alone [default: 8480]
    #[arg(long, env = "PINHOLE_LISTEN", hide_env_values = true, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// A broker of yours: mqtt://HOST, mqtts://HOST, ws://HOST/PATH or wss://HOST/PATH
    #[arg(long, env = "PINHOLE_BROKER", hide_env_values = true, value_name = "URL")]
    pub broker: Option<String>,
    /// Where browsers reach that broker, its WebSocket listener: ws:// or wss://
    #[arg(long, env = "PINHOLE_BROKER_PAGE", hide_env_values = true, value_name = "URL")]
    pub broker_page: Option<String>,
    /// User name at that broker
    #[arg(long, env = "PINHOLE_BROKER_USER", hide_env_values = true, value_name = "NAME")]
    pub broker_user: Option<String>,
    /// File with the password for that broker
    #[arg(long, env = "PINHOLE_BROKER_PASSWORD_FILE", hide_env_values = true, value_name = "FILE")]
    pub broker_password_file: Option<PathBuf>,
    /// Folder for the device's id and the viewers' keys
    #[arg(long, env = "PINHOLE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What to log: error, warn, info, debug or trace; or by part, as info,pinhole::signal=debug
    #[arg(long, env = "PINHOLE_LOG", hide_env_values = true, value_name = "LEVEL", default_value = "info")]
    pub log: String,
}

impl Cli {
    /// The names of all variables that mean something.
    pub fn variables() -> Vec<String> {
        Self::command()
            .get_arguments()
            .filter_map(|argument| argument.get_env())
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}
