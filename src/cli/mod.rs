//! The command line, as clap reads it, and what the commands beside the agent do, each in a file. Flags may also be
//! given by the environment (`PINHOLE_…`). A command runs in a process of its own, and blocks.
//!
//! - `people`: `pinhole pair`, `viewers`, `revoke`, `device-key`, `log-level`, `reload`.
//! - `answer`: `pinhole answer`.
//! - `check`: `pinhole check`.
//! - `controls`: `pinhole controls`.
//! - `devices`: `pinhole devices`.
//! - `setup`: `pinhole setup`.
//! - `snapshot`: `pinhole snapshot`.
//! - `status`: `pinhole status`.
//! - `files`: files that are written as a whole.
//! - `place`: which device is meant.
//! - `table`: text in columns.

mod answer;
mod check;
mod controls;
mod devices;
mod files;
mod people;
mod place;
mod setup;
mod snapshot;
mod status;
mod table;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{
    CommandFactory, Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{
    camera::controls::Setting,
    config::Switch,
    config::{self, BitrateValue, ConfigError, Size},
    control::{
        client::AskError,
        message::{BadRequest, MAX_WAIT, MIN_WAIT, Reply},
        show::parse_lifetime,
    },
    encode::choice::Choice,
    links::Output,
    setup::{Asking, Given, SetupError},
    signal::{
        message::{Role, printable},
        pairing::MAX_NAME,
    },
};

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
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is asked of the agent that runs already, or of the machine. Without a command, the agent is run.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Print links (and a QR code) for one new viewer
    Pair {
        /// What it may do: `view` watches, `control` also moves the camera and talks, `admin` also pairs and revokes
        #[arg(long, default_value = "view", value_parser = role_parser())]
        role: Role,
        /// What to call the viewer [default: what it calls itself]
        #[arg(long, value_parser = parse_name)]
        name: Option<String>,
        /// How long its key is good for, from now on, as 7d, 12h or 30m [default: for ever]
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        expires: Option<Duration>,
        /// Print a token instead, for a program that plays WHEP (docs/whep.md); it needs a name
        #[arg(long, requires = "name")]
        whep: bool,
    },
    /// List the paired viewers
    Viewers {
        /// As JSON: times in seconds since 1970
        #[arg(long)]
        json: bool,
    },
    /// End a viewer's key, and its sessions at once
    Revoke {
        /// Its key, or its name
        #[arg(value_name = "KEY|NAME")]
        who: String,
    },
    /// Change how much the running agent logs, until it ends
    LogLevel {
        /// error, warn, info, debug or trace; or by part, as info,pinhole::signal=debug
        #[arg(value_name = "LEVEL")]
        filter: String,
    },
    /// Answer an offer that came by mail or as a file, where the viewer reaches no broker of this device
    Answer {
        /// The file with the offer, which may have other text around it; `-` for standard input
        #[arg(long, value_name = "FILE", default_value = "-")]
        offer: PathBuf,
        /// The file to write the answer to; `-` for standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        out: PathBuf,
        /// How long to wait for the viewer to connect, as 15m: one minute to one hour
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_wait)]
        wait: Duration,
    },
    /// Show what the running agent is doing: cameras, viewers, signaling
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Show it anew every two seconds, until Ctrl-C
        #[arg(long, conflicts_with = "json")]
        watch: bool,
    },
    /// Have the running agent read its configuration again, and say which changes it took up and which need a restart
    Reload,
    /// Close all cameras, end all sessions and let nobody in; or turn that off again; without a word, tell which it is
    Privacy {
        #[arg(value_name = "on|off", value_parser = switch_parser())]
        set: Option<Switch>,
    },
    /// Print this device's public key, for the configuration of another agent that shall show its cameras, too
    DeviceKey,
    /// Ask for camera, name and broker, write the configuration, start the service with it, and print links
    Setup {
        /// Ask nothing: take what is given here, and leave the rest as it is
        #[arg(long)]
        yes: bool,
        /// Where pictures come from, as in the configuration (`source`)
        #[arg(long, value_name = "SOURCE", id = "set-camera")]
        camera: Option<String>,
        /// What viewers see as the device's name
        #[arg(long)]
        name: Option<String>,
        /// `embedded`, or a broker of yours: mqtt://HOST, mqtts://HOST, ws://HOST/PATH or wss://HOST/PATH
        #[arg(long, value_name = "URL", id = "set-broker")]
        broker: Option<String>,
        /// Where browsers reach that broker, its WebSocket listener: ws:// or wss://
        #[arg(long, value_name = "URL", id = "set-broker-page", requires = "set-broker")]
        broker_page: Option<String>,
        /// User name at that broker
        #[arg(long, value_name = "NAME", id = "set-broker-user", requires = "set-broker")]
        broker_user: Option<String>,
        /// File with the password for that broker; it is copied
        #[arg(long, value_name = "FILE", id = "set-broker-password-file", requires = "set-broker-user")]
        broker_password_file: Option<PathBuf>,
    },
    /// Look at everything that pinhole needs (cameras, encoder, brokers, network, disk), and say what to do about it
    Check {
        /// Only this camera: one of the configuration by its id, or a source as for the agent
        #[arg(long, value_name = "CAMERA", id = "only")]
        camera: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the cameras and encoders of this machine, and what pinhole would choose
    Devices {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List a camera's controls (brightness, exposure, …), or set some
    Controls {
        /// A camera of the running agent by its id, a device as /dev/video0, or a card's name
        device: String,
        /// What to set: NAME=VALUE; a menu by number or by name; a button is a NAME alone
        #[arg(value_name = "NAME=VALUE")]
        settings: Vec<Setting>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a picture of a camera, as a JPEG
    Snapshot {
        /// A camera of the running agent by its id, or a source as for the agent [default: the first camera]
        #[arg(long, value_name = "CAMERA")]
        camera: Option<String>,
        /// The file to write; `-` for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// 1 to 100
        #[arg(long, default_value_t = 85, value_parser = clap::value_parser!(u8).range(1..=100))]
        quality: u8,
    },
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Refused(String),
    /// Of `pinhole check`.
    #[error("{}", bad(*.0))]
    Bad(usize),
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

impl CommandError {
    /// What else the agent answered than was asked.
    fn unexpected(reply: Reply) -> Self {
        match reply {
            Reply::Error(message) | Reply::NoCamera { message } | Reply::Several { message, .. } => {
                Self::Refused(message)
            }
            Reply::Links(_)
            | Reply::Whep { .. }
            | Reply::Viewers(_)
            | Reply::Status(_)
            | Reply::Privacy(_)
            | Reply::Reloaded(_)
            | Reply::Revoked(_)
            | Reply::Answer { .. }
            | Reply::DeviceKey(_)
            | Reply::Controls(_)
            | Reply::Done
            | Reply::Picture { .. } => {
                let message =
                    "the agent answered something else: it may be of another version, so restart it";
                Self::Refused(message.to_owned())
            }
        }
    }
}

fn bad(count: usize) -> String {
    if count == 1 { "one thing is bad".to_owned() } else { format!("{count} things are bad") }
}

/// Does what the command says.
///
/// # Errors
/// Why not, as one sentence.
pub fn run(command: &Command, args: &RunArgs) -> Result<(), CommandError> {
    let sockets = match command {
        // It tells itself what is wrong with the configuration.
        Command::Check { .. } | Command::Setup { .. } => Vec::new(),
        _ => config::control_sockets(args)?,
    };
    let mut out = Stdout(io::stdout());
    match command {
        Command::Pair { role, name: Some(name), expires, whep: true } => {
            people::whep(&sockets, *role, name, *expires, &mut out)
        }
        Command::Pair { role, name, expires, whep: _ } => {
            people::pair(&sockets, *role, name.as_deref(), *expires, &mut out)
        }
        Command::Setup { yes, camera, name, broker, broker_page, broker_user, broker_password_file } => {
            let given = Given {
                camera: camera.clone(),
                name: name.clone(),
                broker: broker.clone(),
                broker_page: broker_page.clone(),
                broker_user: broker_user.clone(),
                broker_password_file: broker_password_file.clone(),
            };
            let asking = if *yes { Asking::Nobody } else { Asking::Person };
            setup::run(args, &given, asking, &mut out)
        }
        Command::Check { camera, json } => check::run(args, camera.as_deref(), *json, &mut out),
        Command::Status { json: true, .. } => status::run(&sockets, status::Form::Json, &mut out),
        Command::Status { watch: true, .. } => status::run(&sockets, status::Form::Watch, &mut out),
        Command::Status { .. } => status::run(&sockets, status::Form::Text, &mut out),
        Command::Viewers { json } => people::viewers(&sockets, *json, &mut out),
        Command::Revoke { who } => people::revoke(&sockets, who, &mut out),
        Command::Reload => people::reload(&sockets, &mut out),
        Command::LogLevel { filter } => people::log_level(&sockets, filter),
        Command::Answer { offer, out: file, wait } => answer::run(&sockets, offer, file, *wait, &mut out),
        Command::Privacy { set } => people::privacy(&sockets, *set, &mut out),
        Command::DeviceKey => people::device_key(&sockets, &mut out),
        Command::Devices { json } => devices::run(*json, &mut out),
        Command::Controls { device, settings, json } => {
            controls::run(&sockets, device, settings, *json, &mut out)
        }
        Command::Snapshot { camera, out: file, quality } => {
            snapshot::run(&sockets, camera.as_deref(), file, *quality, &mut out)
        }
    }
}

/// Where commands print.
struct Stdout(io::Stdout);

impl Stdout {
    /// Whether a person reads it.
    fn kind(&self) -> Output {
        if self.0.is_terminal() { Output::Terminal } else { Output::Plain }
    }

    fn print(&mut self, text: &str) -> Result<(), CommandError> {
        self.write(text.as_bytes())
    }

    fn print_json(&mut self, value: &impl serde::Serialize) -> Result<(), CommandError> {
        let json = serde_json::to_string_pretty(value);
        self.print(&format!("{}\n", json.expect("strings, numbers and lists are always JSON")))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).map_err(CommandError::Output)
    }
}

fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name))
        .map(|name| Role::ALL.into_iter().find(|role| role.name() == name).expect("one of these names"))
}

fn switch_parser() -> impl TypedValueParser<Value = Switch> {
    PossibleValuesParser::new(["on", "off"]).map(|word| if word == "on" { Switch::On } else { Switch::Off })
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let wait = parse_lifetime(text)?;
    if (MIN_WAIT..=MAX_WAIT).contains(&wait) { Ok(wait) } else { Err(BadRequest::Wait.to_string()) }
}

fn parse_name(text: &str) -> Result<String, String> {
    if printable(text, MAX_NAME) == text && !text.is_empty() {
        return Ok(text.to_owned());
    }
    Err(format!("give 1 to {MAX_NAME} characters, no control characters, and no blanks around them"))
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
    /// What encodes: `auto`, `m2m` (the board's encoder), `openh264` (software), or `passthrough` (the camera's H.264)
    #[arg(long, env = "PINHOLE_ENCODER", hide_env_values = true, value_name = "ENCODER")]
    pub encoder: Option<Choice>,
    /// Configuration file (TOML; docs/configuration.md)
    #[arg(long, global = true, env = "PINHOLE_CONFIG", hide_env_values = true, value_name = "FILE")]
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
    #[arg(long, global = true, env = "PINHOLE_STATE_DIR", hide_env_values = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What to log: error, warn, info, debug or trace; or by part, as info,pinhole::signal=debug [default: info; of
    /// commands warn]
    #[arg(long, env = "PINHOLE_LOG", hide_env_values = true, value_name = "LEVEL", global = true)]
    pub log: Option<String>,
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
