//! Configuration: a TOML file, then the environment, then flags, each over the one before, read into a [`Config`] that
//! is valid by construction. Every field is described in docs/configuration.md, whose examples a test parses.
//! This is the only place that reads the environment. Not here: opening what is configured.
#![allow(clippy::disallowed_methods)]

mod brokers;
mod cameras;
mod file;
mod home_assistant;
mod house;
mod ice;
mod secrets;
mod values;

use std::{
    env,
    fs::File,
    net::SocketAddr,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{cli::RunArgs, peer::ice::IceSource, signal::mqtt::Secret};
pub use brokers::{BrokerConfig, Embedded, ExternalBroker, PageBroker};
pub use cameras::{CameraConfig, Source, default_wish};
use file::RawConfig;
pub use home_assistant::HomeAssistantConfig;
pub use house::{House, Hub};
use secrets::Files;
pub use values::{BitrateValue, Size, nearest};

/// The port of the page and of `/mqtt`.
pub const DEFAULT_PORT: u16 = 8480;
const DEFAULT_MAX_VIEWERS: u32 = 8;
/// Characters of a token; a shorter one could be guessed.
const MIN_TOKEN: usize = 16;
const CONTROL_SOCKET: &str = "control.sock";
/// systemd's `RuntimeDirectory=pinhole`.
const SERVICE_RUNTIME_DIR: &str = "/run/pinhole";
/// Where the package puts the service's configuration.
pub const SERVICE_CONFIG: &str = "/etc/pinhole/pinhole.toml";
/// systemd's `StateDirectory=pinhole`.
const SERVICE_STATE_DIR: &str = "/var/lib/pinhole";
/// systemd's folder with the running service's credentials.
const SERVICE_CREDENTIALS_DIR: &str = "/run/credentials/pinhole.service";

/// Everything the agent is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What viewers see as the device's name.
    pub name: String,
    /// Where the device's id and the viewers' keys are kept.
    pub state_dir: PathBuf,
    /// Where the agent takes its owner's commands: a socket.
    pub control: PathBuf,
    pub cameras: Vec<CameraConfig>,
    pub web: WebConfig,
    pub broker: BrokerConfig,
    pub webrtc: WebRtcConfig,
    /// `None`: Home Assistant is told nothing.
    pub home_assistant: Option<HomeAssistantConfig>,
}

/// The page's HTTP server.
#[derive(Debug, Clone)]
pub struct WebConfig {
    pub listen: Listen,
    /// Where the page can be reached from elsewhere, when it is served there too: a further link is printed for it.
    pub page_url: Option<String>,
    /// Host names under which the page may be opened, besides those that only a local network knows.
    pub names: Vec<String>,
    /// Whether programs are served by WHEP at `/whep`.
    pub whep: Switch,
    /// Whether the local network is told of the page.
    pub announce: Switch,
    /// Who may read `/metrics` without a token.
    pub metrics: MetricsFor,
    /// Who has it may read them from anywhere.
    pub metrics_token: Option<Secret>,
}

/// From where something may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFor {
    Nobody,
    ThisMachine,
    /// Addresses that only the local network has.
    Lan,
    Everybody,
}

/// Whether something is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    On,
    Off,
}

/// What is not said is on.
impl From<Option<bool>> for Switch {
    fn from(said: Option<bool>) -> Self {
        if said.unwrap_or(true) { Self::On } else { Self::Off }
    }
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// All addresses, IPv6 and IPv4, at this port.
    Everywhere(u16),
    At(SocketAddr),
}

/// WebRTC.
#[derive(Debug, Clone)]
pub struct WebRtcConfig {
    /// Given to viewers and used by the agent.
    pub ice_servers: Vec<IceSource>,
    /// Viewers at once.
    pub max_viewers: u32,
}

/// Why a configuration is refused. Each message names the key, the reason and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}: {source}; give another with --config")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}, line {line}: {what}")]
    Malformed { path: PathBuf, line: usize, what: String },
    #[error("{key}: {what}")]
    Value { key: String, what: String },
    #[error("{key}: cannot read {path}: {source}; create the file, or correct the path")]
    File { key: String, path: PathBuf, source: std::io::Error },
    #[error(
        "{key}: the service has no credential `{credential}`: add LoadCredential={credential}:/etc/pinhole/{credential} under [Service] (systemctl edit pinhole), or name a file"
    )]
    Credential { key: String, credential: String },
    #[error("no place for the keys: neither HOME nor STATE_DIRECTORY is set; give a folder with --state")]
    NoState,
}

impl Config {
    /// Reads the file that the flags (or `PINHOLE_CONFIG`) name, and lays environment and flags over it.
    ///
    /// # Errors
    /// The first thing that is wrong, as one sentence.
    pub fn load(args: &RunArgs) -> Result<Self, ConfigError> {
        let (raw, folder) = read_file(args)?;
        let credentials = credentials_dir();
        Self::build(args, raw, Files { folder: &folder, credentials: credentials.as_deref() })
    }

    /// The same from a file's text. `path` is for messages, and what stands beside it is found there.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(args: &RunArgs, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::build(args, file::parse(path, text)?, Files { folder, credentials: None })
    }

    fn build(args: &RunArgs, raw: RawConfig, files: Files<'_>) -> Result<Self, ConfigError> {
        let name = raw.name.unwrap_or_else(host_name);
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(value("name", "give 1 to 64 characters, none of them a control character"));
        }
        let state_dir = match state_dir(args, raw.state_dir, files.folder) {
            Some(dir) => dir,
            None => default_state_dir()?,
        };
        let control = runtime_dir().unwrap_or_else(|| state_dir.clone()).join(CONTROL_SOCKET);
        Ok(Self {
            cameras: cameras::cameras(args, raw.camera, &name, cameras::governor(&raw.governor)?)?,
            name,
            state_dir,
            control,
            web: WebConfig {
                listen: match args.listen.as_deref().or(raw.web.listen.as_deref()) {
                    Some(text) => parse_listen("web.listen", text, DEFAULT_PORT)?,
                    None => Listen::Everywhere(DEFAULT_PORT),
                },
                page_url: raw.web.page_url.map(|url| parse_page_url(&url)).transpose()?,
                names: raw.web.names,
                whep: Switch::from(raw.web.whep),
                announce: Switch::from(raw.web.announce),
                metrics: metrics_for(raw.web.metrics.as_deref())?,
                metrics_token: metrics_token(raw.web.metrics_token_file.as_deref(), files)?,
            },
            broker: brokers::broker(args, raw.broker, files)?,
            home_assistant: home_assistant::home_assistant(raw.home_assistant, files)?,
            webrtc: WebRtcConfig {
                ice_servers: raw
                    .webrtc
                    .ice_server
                    .into_iter()
                    .map(|server| ice::source(server, files))
                    .collect::<Result<_, _>>()?,
                max_viewers: match raw.webrtc.max_viewers.unwrap_or(DEFAULT_MAX_VIEWERS) {
                    0 => return Err(value("webrtc.max_viewers", "give at least 1")),
                    max => max,
                },
            },
        })
    }
}

/// The agent that a person means who names none: the service, where it is installed.
#[derive(Debug)]
pub struct Service {
    /// As the service would be started.
    pub args: RunArgs,
    /// As [`control_sockets`].
    pub sockets: Vec<PathBuf>,
}

impl Service {
    /// What was named counts; without a configuration, the service's is meant where there is one.
    pub fn of(args: &RunArgs) -> Self {
        let mut args = args.clone();
        let file = Path::new(SERVICE_CONFIG);
        if args.config.is_none() && file.exists() {
            args.config = Some(file.to_owned());
        }
        let is_service = args.config.as_deref() == Some(file);
        // A file that is wrong is told where it is read in earnest.
        let named = read_file(&args).is_ok_and(|(raw, _)| raw.state_dir.is_some());
        if is_service && args.state.is_none() && !named && env::var_os("STATE_DIRECTORY").is_none() {
            args.state = Some(PathBuf::from(SERVICE_STATE_DIR));
        }
        let mut sockets = control_sockets(&args).unwrap_or_default();
        if is_service {
            sockets.insert(0, Path::new(SERVICE_RUNTIME_DIR).join(CONTROL_SOCKET));
        }
        Self { args, sockets }
    }
}

/// Whether one of the folders of these sockets may not be looked into by this user.
pub fn is_hidden(sockets: &[PathBuf]) -> bool {
    let denied = |socket: &PathBuf| {
        socket.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    sockets.iter().any(denied)
}

/// Where a running agent's control socket may be, the likeliest first. Reads no more of the configuration than that
/// needs: whoever asks may not be allowed to read the agent's passwords.
///
/// # Errors
/// As [`Config::load`].
pub fn control_sockets(args: &RunArgs) -> Result<Vec<PathBuf>, ConfigError> {
    let (raw, folder) = read_file(args)?;
    let folders = match state_dir(args, raw.state_dir, &folder) {
        Some(named) => runtime_dir().into_iter().chain([named]).collect(),
        None => {
            let mut folders: Vec<PathBuf> =
                runtime_dir().into_iter().chain(default_state_dir().ok()).collect();
            // That of a service, when asked from a shell.
            folders.push(PathBuf::from(SERVICE_RUNTIME_DIR));
            folders
        }
    };
    Ok(folders.into_iter().map(|folder| folder.join(CONTROL_SOCKET)).collect())
}

/// The named state folder: a flag's from the working directory, the file's from beside the file.
fn state_dir(args: &RunArgs, raw: Option<PathBuf>, folder: &Path) -> Option<PathBuf> {
    args.state.clone().or_else(|| raw.map(|dir| folder.join(dir)))
}

fn read_file(args: &RunArgs) -> Result<(RawConfig, PathBuf), ConfigError> {
    let Some(path) = &args.config else { return Ok((RawConfig::default(), PathBuf::new())) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    Ok((file::parse(path, &text)?, path.parent().unwrap_or(Path::new("")).to_owned()))
}

/// The names of `PINHOLE_…` variables that are set and mean nothing, each with the nearest that does.
pub fn unknown_variables(known: &[String]) -> Vec<(String, Option<String>)> {
    env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("PINHOLE_") && !known.contains(name))
        .map(|name| {
            let nearest = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
            (name, nearest)
        })
        .collect()
}

fn value(key: impl Into<String>, what: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), what: what.into() }
}

fn metrics_for(text: Option<&str>) -> Result<MetricsFor, ConfigError> {
    match text.unwrap_or("local") {
        "off" => Ok(MetricsFor::Nobody),
        "local" => Ok(MetricsFor::ThisMachine),
        "lan" => Ok(MetricsFor::Lan),
        "all" => Ok(MetricsFor::Everybody),
        other => Err(value("web.metrics", format!("`{other}` does not fit: give off, local, lan or all"))),
    }
}

fn metrics_token(file: Option<&Path>, files: Files<'_>) -> Result<Option<Secret>, ConfigError> {
    const KEY: &str = "web.metrics_token_file";
    let Some(file) = file else { return Ok(None) };
    let token = files.secret(KEY, file)?;
    if token.reveal().len() < MIN_TOKEN || token.reveal().bytes().any(|byte| !byte.is_ascii_graphic()) {
        let what = format!(
            "{} does not fit: write {MIN_TOKEN} or more letters, digits or signs without blanks into it, as \
             `openssl rand -hex 32` makes them",
            file.display()
        );
        return Err(value(KEY, what));
    }
    Ok(Some(token))
}

/// A password in an address would get into links and logs; the refusal does not repeat it.
fn no_password(key: &str, url: &str) -> Result<(), ConfigError> {
    if url.contains('@') {
        return Err(value(
            key,
            "holds an `@`, as before a user name or password: give the address without them",
        ));
    }
    Ok(())
}

fn parse_page_url(url: &str) -> Result<String, ConfigError> {
    no_password("web.page_url", url)?;
    if (url.starts_with("http://") || url.starts_with("https://")) && !url.contains(['#', ' ']) {
        return Ok(url.to_owned());
    }
    Err(value("web.page_url", format!("`{url}` does not fit: give an address as https://HOST/PATH")))
}

fn parse_listen(key: &str, text: &str, usual_port: u16) -> Result<Listen, ConfigError> {
    if let Ok(at) = text.parse() {
        return Ok(Listen::At(at));
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(Listen::Everywhere(port));
    }
    Err(value(
        key,
        format!(
            "`{text}` does not fit: give ADDRESS:PORT as 0.0.0.0:{usual_port} or [::]:{usual_port}, or a port alone"
        ),
    ))
}

/// systemd's folder for the service, else the user's folder for state (XDG Base Directory Specification).
fn default_state_dir() -> Result<PathBuf, ConfigError> {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("STATE_DIRECTORY")
        .or_else(|| folder("XDG_STATE_HOME").map(|path| path.join("pinhole")))
        .or_else(|| folder("HOME").map(|path| path.join(".local/state/pinhole")))
        .ok_or(ConfigError::NoState)
}

/// systemd's folder for what lives as long as the service (systemd.exec(5), RuntimeDirectory); the first, if several.
fn runtime_dir() -> Option<PathBuf> {
    let folders = env::var_os("RUNTIME_DIRECTORY")?;
    env::split_paths(&folders).find(|folder| folder.is_absolute())
}

/// Whether what is written to `stream` goes to systemd's journal (systemd.exec(5), JOURNAL_STREAM: its device and inode, as
/// programs started from there inherit the variable, and may write elsewhere).
pub fn goes_to_journal(stream: impl AsFd) -> bool {
    let Some(journal) = env::var("JOURNAL_STREAM").ok() else { return false };
    let file = stream.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata())
        .is_ok_and(|metadata| journal == format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// systemd's folder with the service's credentials (systemd.exec(5), LoadCredential); root finds it from outside, too.
fn credentials_dir() -> Option<PathBuf> {
    let service = || Some(PathBuf::from(SERVICE_CREDENTIALS_DIR)).filter(|folder| folder.is_dir());
    env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(service)
}

/// Whether systemd wants to hear how the service is (sd_notify(3)).
pub fn systemd_listens() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    // The kernel says `(none)` where nobody has given it a name.
    if name.is_empty() || name == "(none)" { "pinhole".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
