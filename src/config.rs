//! Configuration: a TOML file, then the environment, then flags, each over the one before, read into a [`Config`] that
//! is valid by construction. Every field is described in docs/configuration.md, whose examples a test parses.
//! This is the only place that reads the environment. Not here: opening what is configured.
#![allow(clippy::disallowed_methods)]

mod cameras;
mod file;
mod values;

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::signal::mqtt::Secret;
use crate::{cli::RunArgs, signal::message::IceServer};
pub use cameras::{CameraConfig, Source, default_wish};
use file::{RawBroker, RawConfig, RawIceServer};
pub use values::{BitrateValue, Size, nearest};

/// The port of the page and of `/mqtt`.
pub const DEFAULT_PORT: u16 = 8480;
const DEFAULT_MAX_VIEWERS: u32 = 8;
const DEFAULT_ROOT: &str = "pinhole";
const CONTROL_SOCKET: &str = "control.sock";
/// systemd's `RuntimeDirectory=pinhole`.
const SERVICE_RUNTIME_DIR: &str = "/run/pinhole";

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
}

/// The page's HTTP server.
#[derive(Debug, Clone)]
pub struct WebConfig {
    pub listen: Listen,
    /// Where the page can be reached from elsewhere, when it is served there too: a further link is printed for it.
    pub page_url: Option<String>,
    /// Host names under which the page may be opened, besides those that only a local network knows.
    pub names: Vec<String>,
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// All addresses, IPv6 and IPv4, at this port.
    Everywhere(u16),
    At(SocketAddr),
}

/// How signaling travels.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The first level of every topic.
    pub root: String,
    /// Whether the embedded broker serves `/mqtt` on the page's port.
    pub embedded: Embedded,
    pub external: Option<ExternalBroker>,
    /// Where viewers' browsers reach the external broker (`ws://` or `wss://`); `None`: they use the embedded one.
    pub page: Option<PageBroker>,
}

/// The external broker as browsers reach it.
#[derive(Debug, Clone)]
pub struct PageBroker {
    pub url: String,
    /// The account that all viewers share there, where the broker wants one. It travels in the links.
    pub account: Option<(String, Secret)>,
}

impl PageBroker {
    /// The address with the account in it (RFC 3986, section 3.2.1), for a link.
    pub fn address_for_links(&self) -> String {
        let Some((user, password)) = &self.account else { return self.url.clone() };
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("wss", &self.url));
        format!(
            "{scheme}://{}:{}@{rest}",
            values::percent_encode(user),
            values::percent_encode(password.reveal())
        )
    }
}

/// Whether the embedded broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedded {
    On,
    Off,
}

/// A broker of the user's.
#[derive(Debug, Clone)]
pub struct ExternalBroker {
    pub url: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// PEM; the system's certificate authorities when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain and key for a broker that asks for a client certificate.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// WebRTC.
#[derive(Debug, Clone)]
pub struct WebRtcConfig {
    /// Given to viewers and used by the agent.
    pub ice_servers: Vec<IceServer>,
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
    File { key: &'static str, path: PathBuf, source: std::io::Error },
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
        Self::build(args, raw, &folder)
    }

    /// The same from a file's text. `path` is for messages, and what stands beside it is found there.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(args: &RunArgs, path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::build(args, file::parse(path, text)?, path.parent().unwrap_or(Path::new("")))
    }

    fn build(args: &RunArgs, raw: RawConfig, folder: &Path) -> Result<Self, ConfigError> {
        let name = raw.name.unwrap_or_else(host_name);
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(value("name", "give 1 to 64 characters, none of them a control character"));
        }
        let state_dir = match state_dir(args, raw.state_dir, folder) {
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
                    Some(text) => parse_listen(text)?,
                    None => Listen::Everywhere(DEFAULT_PORT),
                },
                page_url: raw.web.page_url.map(|url| parse_page_url(&url)).transpose()?,
                names: raw.web.names,
            },
            broker: broker(args, raw.broker, folder)?,
            webrtc: WebRtcConfig {
                ice_servers: raw
                    .webrtc
                    .ice_server
                    .into_iter()
                    .map(|server| ice_server(server, folder))
                    .collect::<Result<_, _>>()?,
                max_viewers: match raw.webrtc.max_viewers.unwrap_or(DEFAULT_MAX_VIEWERS) {
                    0 => return Err(value("webrtc.max_viewers", "give at least 1")),
                    max => max,
                },
            },
        })
    }
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

fn broker(args: &RunArgs, raw: RawBroker, folder: &Path) -> Result<BrokerConfig, ConfigError> {
    let external = match args.broker.clone().or(raw.url) {
        None => {
            let orphan = [
                ("user", args.broker_user.is_some() || raw.user.is_some()),
                ("password_file", args.broker_password_file.is_some() || raw.password_file.is_some()),
                ("ca_file", raw.ca_file.is_some()),
                ("cert_file", raw.cert_file.is_some()),
                ("key_file", raw.key_file.is_some()),
            ];
            if let Some((key, _)) = orphan.iter().find(|(_, set)| *set) {
                return Err(value(
                    format!("broker.{key}"),
                    "is for a broker of yours, and none is named: set broker.url, or give --broker",
                ));
            }
            None
        }
        Some(url) => {
            let password_file =
                args.broker_password_file.clone().or(raw.password_file.map(|path| folder.join(path)));
            Some(ExternalBroker {
                url,
                user: args.broker_user.clone().or(raw.user),
                password: password_file
                    .map(|path| read_secret("broker.password_file", &path).map(Secret::new))
                    .transpose()?,
                ca_file: raw.ca_file.map(|path| folder.join(path)),
                client_certificate: match (raw.cert_file, raw.key_file) {
                    (Some(cert), Some(key)) => Some((folder.join(cert), folder.join(key))),
                    (None, None) => None,
                    (Some(_), None) => {
                        return Err(value("broker.cert_file", "needs broker.key_file beside it"));
                    }
                    (None, Some(_)) => {
                        return Err(value("broker.key_file", "needs broker.cert_file beside it"));
                    }
                },
            })
        }
    };
    let page = match args.broker_page.clone().or(raw.page_url) {
        Some(page) => Some(parse_broker_page(&page)?),
        // A WebSocket address serves browsers as well as the agent.
        None => external.as_ref().map(|broker| &broker.url).filter(|url| is_websocket(url)).cloned(),
    };
    let account = match (raw.page_user, raw.page_password_file) {
        (None, None) => None,
        (Some(user), Some(file)) => {
            let password = read_secret("broker.page_password_file", &folder.join(file))?;
            Some((user, Secret::new(password)))
        }
        (Some(_), None) => {
            return Err(value("broker.page_user", "needs broker.page_password_file beside it"));
        }
        (None, Some(_)) => {
            return Err(value("broker.page_password_file", "needs broker.page_user beside it"));
        }
    };
    if account.is_some() && page.is_none() {
        return Err(value(
            "broker.page_user",
            "is viewers' account at your broker, and they use the embedded one: set broker.page_url",
        ));
    }
    if page.is_some() && external.is_none() {
        return Err(value(
            "broker.page_url",
            "says where viewers reach your broker, and none is named: set broker.url, or give --broker",
        ));
    }
    let embedded = if raw.embedded.unwrap_or(true) { Embedded::On } else { Embedded::Off };
    if embedded == Embedded::Off && page.is_none() {
        return Err(value(
            "broker.embedded",
            "is off, so viewers need a broker: set broker.url and broker.page_url, its WebSocket address",
        ));
    }
    let root = raw.root.unwrap_or_else(|| DEFAULT_ROOT.to_owned());
    crate::signal::topic::check_root(&root).map_err(|error| value("broker.root", error.to_string()))?;
    let page = page.map(|url| PageBroker { url, account });
    Ok(BrokerConfig { root, embedded, external, page })
}

fn is_websocket(url: &str) -> bool {
    url.starts_with("ws://") || url.starts_with("wss://")
}

fn parse_broker_page(url: &str) -> Result<String, ConfigError> {
    no_password("broker.page_url", url)?;
    if is_websocket(url) && url.len() > "wss://".len() {
        return Ok(url.to_owned());
    }
    Err(value(
        "broker.page_url",
        format!(
            "`{url}` does not fit: give the broker's WebSocket address as ws://HOST:PORT/PATH or wss://HOST:PORT/PATH"
        ),
    ))
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

fn parse_listen(text: &str) -> Result<Listen, ConfigError> {
    if let Ok(at) = text.parse() {
        return Ok(Listen::At(at));
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(Listen::Everywhere(port));
    }
    Err(value(
        "web.listen",
        format!("`{text}` does not fit: give ADDRESS:PORT as 0.0.0.0:8480 or [::]:8480, or a port alone"),
    ))
}

fn ice_server(raw: RawIceServer, folder: &Path) -> Result<IceServer, ConfigError> {
    const KEY: &str = "webrtc.ice_server";
    if raw.urls.is_empty() {
        return Err(value(KEY, "has no urls: give urls = [\"stun:HOST:PORT\"]"));
    }
    for url in &raw.urls {
        if !["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme))
            || url.contains("//")
        {
            return Err(value(KEY, format!("`{url}` does not fit: give stun:HOST:PORT or turn:HOST:PORT")));
        }
    }
    let credential = match (raw.credential, raw.credential_file) {
        (Some(_), Some(_)) => return Err(value(KEY, "has both credential and credential_file: give one")),
        (Some(credential), None) => Some(credential),
        (None, Some(path)) => Some(read_secret("webrtc.ice_server.credential_file", &folder.join(path))?),
        (None, None) => None,
    };
    let turn = raw.urls.iter().any(|url| url.starts_with("turn"));
    if turn && (raw.username.is_none() || credential.is_none()) {
        return Err(value(
            KEY,
            format!("`{}` needs username and credential (or credential_file)", raw.urls[0]),
        ));
    }
    Ok(IceServer { urls: raw.urls, username: raw.username, credential })
}

fn read_secret(key: &'static str, path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        key,
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(value(key, format!("{} is empty: write the password into it", path.display())));
    }
    Ok(text.to_owned())
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

/// Whether standard error goes to systemd's journal, which keeps the time itself (systemd.exec(5), JOURNAL_STREAM).
pub fn under_systemd() -> bool {
    env::var_os("JOURNAL_STREAM").is_some()
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
