//! The carrier through an external broker: an MQTT 5 client over TCP, TLS, WebSocket, or WebSocket over TLS, that
//! keeps trying. `url` and `backoff` are pure, `reason` turns errors into sentences; `client` runs on one task.
//! Not here: what is carried, and the embedded broker (`broker`).

mod backoff;
mod client;
mod connect;
mod login;
pub mod plain;
mod probe;
mod reason;
mod tls;
mod url;

use std::{fmt, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use rumqttc::{Broker, ConnectProperties, LastWill, MqttOptions, QoS};
use tokio::sync::mpsc;

pub use self::{
    probe::{Usable, probe},
    url::{BrokerUrl, Scheme, UrlError},
};
use super::{Address, Carrier, OFFLINE_STATUS, login::LoginKey};
use crate::tasks;

/// The largest packet, both ways, bytes. An envelope has at most 32 KiB.
const PACKET_MAX: u32 = 64 * 1024;
/// Envelopes and changes of state waiting for the desk.
const EVENTS: usize = 256;
/// Messages waiting for the client's task, and as many again in the client crate.
const OUTGOING: usize = 128;

/// How to reach a broker.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// `mqtt://`, `mqtts://`, `ws://` or `wss://`; without credentials.
    pub url: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// A PEM file with the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files with the agent's own certificate chain and its private key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// The device's key, for the embedded broker of another agent.
    pub login: Option<Arc<LoginKey>>,
    /// `None`: `pinhole-` and the device's id. One for each agent: a broker ends the older connection of two.
    pub client_id: Option<String>,
    /// What to ask for in the TLS handshake (RFC 7301), where one port serves several protocols.
    pub alpn: Vec<String>,
    /// After so long without a packet, one is sent; after twice as long without an answer, the broker is gone.
    pub keep_alive: Duration,
}

impl MqttSettings {
    /// Settings for a broker that wants no credentials.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            ca: None,
            client_cert: None,
            login: None,
            client_id: None,
            alpn: Vec::new(),
            keep_alive: Duration::from_secs(20),
        }
    }
}

/// Something that must not get into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why an external broker cannot even be tried. A broker that is not there is no error.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error("the {what} {} cannot be read: {source}; check the path and that this user may read it", file.display())]
    Unreadable { what: &'static str, file: PathBuf, source: io::Error },
    #[error("the {what} {} cannot be used: {reason}; give a file in PEM form (-----BEGIN …)", file.display())]
    Pem { what: &'static str, file: PathBuf, reason: String },
    #[error(
        "the client certificate {} and the key {} cannot be used together: {source}; give the key that belongs to the first certificate of the file",
        certificate.display(), key.display()
    )]
    KeyPair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error(
        "this system has no certificate authorities to check servers with: install the package ca-certificates, or give the server's authority with `ca_file`"
    )]
    NoSystemRoots,
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    #[error(
        "`{option}` is for mqtts:// and wss:// and has no effect with {url}: remove it, or change the address"
    )]
    NeedsTls { option: &'static str, url: BrokerUrl },
}

/// TLS for a client that trusts the authorities in this PEM file, or the system's.
///
/// # Errors
/// The file cannot be read or used, or the system has none.
pub fn trusting(ca: Option<PathBuf>) -> Result<Arc<rustls::ClientConfig>, MqttError> {
    tls::configure(&MqttSettings { ca, ..MqttSettings::new("") })
}

/// Starts the client for `address`. It keeps trying until it is stopped by dropping the carrier's `outgoing`; then it
/// publishes what is queued and the offline status, and ends within a second. Must be called on a runtime.
///
/// # Errors
/// What can never work: the address, a file, or options that contradict each other.
pub fn start(settings: MqttSettings, address: Address) -> Result<Carrier, MqttError> {
    let (url, mut options) = prepare(settings, &address)?;
    let will = LastWill::new(address.topic_status(), OFFLINE_STATUS, QoS::AtLeastOnce, true, None);
    options.set_last_will(will);
    let (events_in, events) = mpsc::channel(EVENTS);
    let (outgoing, outgoing_out) = mpsc::channel(OUTGOING);
    let name = url.to_string();
    let client = client::Client::new(options, url, address, events_in, outgoing_out);
    let task = tasks::spawn("mqtt client", client.run());
    Ok(Carrier { name, events, outgoing, task })
}

/// What the client crate needs to connect.
fn prepare(settings: MqttSettings, address: &Address) -> Result<(Arc<BrokerUrl>, MqttOptions), MqttError> {
    let url = Arc::new(BrokerUrl::parse(&settings.url)?);
    let tls = if url.scheme().is_secure() {
        Some(Arc::new(tls::Tls::new(settings.clone())?))
    } else {
        let set = [
            ("ca_file", settings.ca.is_some()),
            ("cert_file", settings.client_cert.is_some()),
            ("alpn", !settings.alpn.is_empty()),
        ];
        if let Some((option, _)) = set.into_iter().find(|(_, set)| *set) {
            return Err(MqttError::NeedsTls { option, url: BrokerUrl::clone(&url) });
        }
        None
    };
    if settings.password.is_some() && tls.is_none() && !is_this_machine(url.host()) {
        tracing::warn!(broker = %url, "the password goes over the network unencrypted: use mqtts:// or wss://");
    }
    let mut options = options(&settings, &url, address);
    {
        let url = Arc::clone(&url);
        options.set_socket_connector(move |_, _| {
            connect::connect(Arc::clone(&url), tls.as_ref().map(|tls| tls.current()))
        });
    }
    Ok((url, options))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn options(settings: &MqttSettings, url: &BrokerUrl, address: &Address) -> MqttOptions {
    // TLS is the socket connector's, so that its errors arrive whole: to the client crate there is none.
    let broker = if url.scheme().is_websocket() {
        Broker::websocket(url.websocket_request_url()).expect("BrokerUrl::parse lets only valid URLs pass")
    } else {
        Broker::tcp(url.host(), url.port())
    };
    let id = settings.client_id.clone().unwrap_or_else(|| format!("pinhole-{}", address.device));
    let mut options = MqttOptions::new(id, broker);
    let mut properties = ConnectProperties::new();
    properties.max_packet_size = Some(PACKET_MAX);
    options
        .set_clean_start(true)
        .set_connect_properties(properties)
        .set_max_packet_size(Some(PACKET_MAX))
        .set_keep_alive(u16::try_from(settings.keep_alive.as_secs().max(5)).unwrap_or(u16::MAX))
        .set_connect_timeout(connect::WHOLE);
    if let Some(key) = &settings.login {
        login::set(&mut options, key);
    }
    match (&settings.user, &settings.password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user, password.0.clone());
        }
        (Some(user), None) => {
            options.set_username(user);
        }
        (None, Some(password)) => {
            options.set_password(password.0.clone());
        }
        (None, None) => {}
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::topic::DeviceId;

    fn start_error(settings: MqttSettings) -> String {
        let device = DeviceId::parse("abcdefghijkl2345").unwrap();
        start(settings, Address { root: "pinhole".to_owned(), device }).unwrap_err().to_string()
    }

    #[test]
    fn secret_is_not_printed() {
        let settings =
            MqttSettings { password: Some(Secret::new("hunter2")), ..MqttSettings::new("mqtt://b") };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn unreadable_file_is_named_with_the_reason() {
        let ca = Some(PathBuf::from("/nonexistent/ca.pem"));
        let message = start_error(MqttSettings { ca, ..MqttSettings::new("mqtts://b") });
        assert!(
            message.contains("CA certificate /nonexistent/ca.pem cannot be read: No such file"),
            "{message}"
        );
    }

    #[test]
    fn file_that_is_no_certificate_is_refused() {
        let ca = Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
        let message = start_error(MqttSettings { ca, ..MqttSettings::new("mqtts://b") });
        assert!(message.contains("Cargo.toml cannot be used: it holds none"), "{message}");
    }

    #[test]
    fn tls_options_without_tls_are_refused() {
        let ca = Some(PathBuf::from("/etc/hostname"));
        let message = start_error(MqttSettings { ca, ..MqttSettings::new("mqtt://b") });
        assert!(message.starts_with("`ca_file` is for mqtts:// and wss://"), "{message}");
    }

    #[test]
    fn bad_address_is_refused_at_start() {
        assert!(start_error(MqttSettings::new("broker")).contains("mqtt://HOST"));
    }
}
