//! `[broker]` and `[[broker.server]]`: how signaling travels, and by which brokers viewers come. Pure but for reading the
//! passwords' files. Not here: the embedded broker's limits, and connecting (`signal::mqtt`).

use std::path::PathBuf;

use super::{
    ConfigError,
    file::{RawBroker, RawServer},
    house::{self, House, RawHouse},
    secrets::Files,
    value, values,
};
use crate::{
    cli::RunArgs,
    signal::{
        link::MAX_BROKERS,
        mqtt::{BrokerUrl, MqttSettings, Secret},
        topic::check_root,
    },
};

const DEFAULT_ROOT: &str = "pinhole";
/// Bytes of a protocol's name in TLS (RFC 7301, section 3.1).
const MAX_ALPN: usize = 255;
/// Bytes of a client id that every broker takes at least is 23 (MQTT 5, 3.1.3.1); those that name one know theirs.
const MAX_CLIENT_ID: usize = 128;

/// How signaling travels.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    /// The first level of every topic.
    pub root: String,
    /// Whether the embedded broker serves `/mqtt` on the page's port.
    pub embedded: Embedded,
    /// All of them are used at once. The first is the one that links name first.
    pub external: Vec<ExternalBroker>,
    pub house: House,
}

impl BrokerConfig {
    /// The brokers of the user's by which browsers can come.
    pub fn pages(&self) -> Vec<PageBroker> {
        self.external.iter().filter_map(|broker| broker.page.clone()).collect()
    }
}

/// Whether the embedded broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedded {
    On,
    Off,
}

/// A broker of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalBroker {
    pub url: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// `None`: one made of the device's id.
    pub client_id: Option<String>,
    /// PEM; the system's certificate authorities when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain and key for a broker that asks for a client certificate.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The protocols offered inside the TLS handshake (RFC 7301), the preferred first.
    pub alpn: Vec<String>,
    /// Where viewers' browsers reach it (`ws://` or `wss://`); `None`: it is no way for them.
    pub page: Option<PageBroker>,
}

impl ExternalBroker {
    /// How the agent connects to it.
    pub fn settings(&self) -> MqttSettings {
        MqttSettings {
            user: self.user.clone(),
            password: self.password.clone(),
            ca: self.ca_file.clone(),
            client_cert: self.client_certificate.clone(),
            client_id: self.client_id.clone(),
            alpn: self.alpn.clone(),
            ..MqttSettings::new(&self.url)
        }
    }
}

/// An external broker as browsers reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Reads and checks it all; flags speak of the first broker.
pub fn broker(args: &RunArgs, mut raw: RawBroker, files: Files<'_>) -> Result<BrokerConfig, ConfigError> {
    let root = raw.root.take().unwrap_or_else(|| DEFAULT_ROOT.to_owned());
    check_root(&root).map_err(|error| value("broker.root", error.to_string()))?;
    let embedded = if raw.embedded.unwrap_or(true) { Embedded::On } else { Embedded::Off };
    let house = RawHouse {
        listen: raw.listen.take(),
        accept_devices: std::mem::take(&mut raw.accept_devices),
        hub: raw.hub.take(),
    };
    let house = house::house(house, embedded)?;
    let external = servers(args, raw)
        .into_iter()
        .map(|(section, server)| external(&section, server, files))
        .collect::<Result<Vec<_>, _>>()?;
    if external.len() > MAX_BROKERS {
        return Err(value("broker.server", format!("there are at most {MAX_BROKERS} brokers: remove some")));
    }
    for (index, broker) in external.iter().enumerate() {
        if external[..index].iter().any(|other| other.url == broker.url) {
            return Err(value("broker.server", format!("{} is there twice: remove one", broker.url)));
        }
    }
    if embedded == Embedded::Off && external.iter().all(|broker| broker.page.is_none()) {
        return Err(value(
            "broker.embedded",
            "is off, so viewers need a broker: set broker.url and broker.page_url, its WebSocket address",
        ));
    }
    Ok(BrokerConfig { root, embedded, external, house })
}

/// The brokers as they are written, each with the name of its section.
fn servers(args: &RunArgs, mut raw: RawBroker) -> Vec<(String, RawServer)> {
    let more = std::mem::take(&mut raw.server);
    let many = more.len() > 1;
    let own = raw.into_server();
    let first = (!own.is_empty()).then(|| ("broker".to_owned(), own));
    let more = more.into_iter().enumerate().map(|(index, server)| {
        let section = if many { format!("broker.server {}", index + 1) } else { "broker.server".to_owned() };
        (section, server)
    });
    let mut all: Vec<_> = first.into_iter().chain(more).collect();
    let named = args.broker.is_some()
        || args.broker_page.is_some()
        || args.broker_user.is_some()
        || args.broker_password_file.is_some();
    if all.is_empty() && named {
        all.push(("broker".to_owned(), RawServer::default()));
    }
    if let Some((_, first)) = all.first_mut() {
        let over = |flag: &Option<String>, written: &mut Option<String>| {
            if flag.is_some() {
                written.clone_from(flag);
            }
        };
        over(&args.broker, &mut first.url);
        over(&args.broker_page, &mut first.page_url);
        over(&args.broker_user, &mut first.user);
        if let Some(file) = &args.broker_password_file {
            // From the working directory, as all that is named on a command line.
            first.password_file = Some(std::path::absolute(file).map_or_else(
                |_| file.clone(),
                |path| {
                    if file.to_string_lossy().starts_with("credential:") { file.clone() } else { path }
                },
            ));
        }
    }
    all
}

/// Checks one broker's keys; `section` is where they stand.
pub(super) fn external(
    section: &str,
    raw: RawServer,
    files: Files<'_>,
) -> Result<ExternalBroker, ConfigError> {
    let key = |name: &str| format!("{section}.{name}");
    let Some(url) = raw.url.clone() else { return Err(no_url(section, &raw)) };
    let parsed = BrokerUrl::parse(&url).map_err(|error| value(key("url"), error.to_string()))?;
    let client_certificate = match (&raw.cert_file, &raw.key_file) {
        (Some(cert), Some(own)) => {
            Some((files.path(&key("cert_file"), cert)?, files.path(&key("key_file"), own)?))
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err(value(key("cert_file"), format!("needs {section}.key_file beside it")));
        }
        (None, Some(_)) => {
            return Err(value(key("key_file"), format!("needs {section}.cert_file beside it")));
        }
    };
    Ok(ExternalBroker {
        page: page(section, &raw, &url, files)?,
        user: raw.user,
        password: raw.password_file.map(|file| files.secret(&key("password_file"), &file)).transpose()?,
        client_id: raw.client_id.map(|id| client_id(&key("client_id"), id)).transpose()?,
        ca_file: raw.ca_file.map(|file| files.path(&key("ca_file"), &file)).transpose()?,
        client_certificate,
        alpn: alpn(&key("alpn"), raw.alpn)?,
        url: parsed.to_string(),
    })
}

/// What is said where a broker has no address: which of its keys has no meaning without one.
fn no_url(section: &str, raw: &RawServer) -> ConfigError {
    let remedy = if section == "broker" {
        "set broker.url, or give --broker".to_owned()
    } else {
        format!("set {section}.url")
    };
    if raw.page_url.is_some() {
        let what = format!("says where viewers reach your broker, and none is named: {remedy}");
        return value(format!("{section}.page_url"), what);
    }
    if raw.page_user.is_some() || raw.page_password_file.is_some() {
        let what =
            "is viewers' account at your broker, and none is named: set broker.url and broker.page_url";
        return value(format!("{section}.page_user"), what);
    }
    let key = raw.first_key().map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"));
    value(key, format!("is for a broker of yours, and none is named: {remedy}"))
}

fn page(
    section: &str,
    raw: &RawServer,
    url: &str,
    files: Files<'_>,
) -> Result<Option<PageBroker>, ConfigError> {
    let key = |name: &str| format!("{section}.{name}");
    let page = match &raw.page_url {
        Some(page) => Some(parse_broker_page(&key("page_url"), page)?),
        // A WebSocket address serves browsers as well as the agent.
        None => Some(url).filter(|url| is_websocket(url)).map(str::to_owned),
    };
    let account = match (&raw.page_user, &raw.page_password_file) {
        (None, None) => None,
        (Some(user), Some(file)) => Some((user.clone(), files.secret(&key("page_password_file"), file)?)),
        (Some(_), None) => {
            return Err(value(key("page_user"), format!("needs {section}.page_password_file beside it")));
        }
        (None, Some(_)) => {
            return Err(value(key("page_password_file"), format!("needs {section}.page_user beside it")));
        }
    };
    match page {
        Some(url) => Ok(Some(PageBroker { url, account })),
        None if account.is_some() => Err(value(
            key("page_user"),
            format!("is viewers' account at your broker, which they do not reach: set {section}.page_url"),
        )),
        None => Ok(None),
    }
}

fn client_id(key: &str, id: String) -> Result<String, ConfigError> {
    if id.is_empty() || id.len() > MAX_CLIENT_ID || id.chars().any(char::is_control) {
        return Err(value(key, format!("give 1 to {MAX_CLIENT_ID} bytes, none of them a control character")));
    }
    Ok(id)
}

fn alpn(key: &str, protocols: Vec<String>) -> Result<Vec<String>, ConfigError> {
    match protocols.iter().find(|name| name.is_empty() || name.len() > MAX_ALPN) {
        Some(_) => Err(value(key, format!("give names of 1 to {MAX_ALPN} bytes, as [\"mqtt\"]"))),
        None => Ok(protocols),
    }
}

fn is_websocket(url: &str) -> bool {
    url.starts_with("ws://") || url.starts_with("wss://")
}

fn parse_broker_page(key: &str, url: &str) -> Result<String, ConfigError> {
    super::no_password(key, url)?;
    if is_websocket(url) && url.len() > "wss://".len() {
        return Ok(url.to_owned());
    }
    Err(value(
        key,
        format!(
            "`{url}` does not fit: give the broker's WebSocket address as ws://HOST:PORT/PATH or wss://HOST:PORT/PATH"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::file, *};

    fn load_with(text: &str, args: &RunArgs) -> Result<BrokerConfig, ConfigError> {
        let raw = file::parse(Path::new("pinhole.toml"), text).unwrap();
        broker(args, raw.broker, Files { folder: Path::new("/etc/pinhole"), credentials: None })
    }

    fn refusal(text: &str) -> String {
        load_with(text, &RunArgs::default()).unwrap_err().to_string()
    }

    const TWO: &str = r#"
        [[broker.server]]
        url = "mqtts://one.example"
        user = "camera"
        alpn = ["mqtt"]
        page_url = "wss://one.example/mqtt"
        [[broker.server]]
        url = "wss://two.example/mqtt"
        client_id = "garden"
        ca_file = "ca.pem"
    "#;

    #[test]
    fn several_brokers_keep_their_order_and_their_own_keys() {
        let [one, two] = load_with(TWO, &RunArgs::default()).unwrap().external.try_into().unwrap();
        assert_eq!((one.url.as_str(), one.user.as_deref()), ("mqtts://one.example:8883", Some("camera")));
        assert_eq!((one.alpn.as_slice(), one.client_id), (&["mqtt".to_owned()][..], None));
        assert_eq!((two.user, two.client_id.as_deref()), (None, Some("garden")));
        assert_eq!(two.ca_file.as_deref(), Some(Path::new("/etc/pinhole/ca.pem")));
        assert_eq!(two.page.unwrap().url, "wss://two.example/mqtt");
    }

    #[test]
    fn the_broker_of_the_section_itself_comes_first_and_flags_speak_of_the_first() {
        let text = format!("[broker]\nurl = \"mqtt://zero\"\n{TWO}");
        let urls = |args: &RunArgs| -> Vec<String> {
            load_with(&text, args).unwrap().external.into_iter().map(|broker| broker.url).collect()
        };
        assert_eq!(urls(&RunArgs::default())[0], "mqtt://zero:1883");
        let args = RunArgs { broker: Some("mqtt://flag".to_owned()), ..RunArgs::default() };
        assert_eq!(
            urls(&args),
            ["mqtt://flag:1883", "mqtts://one.example:8883", "wss://two.example:443/mqtt"]
        );
        let [one, two] = load_with(TWO, &args).unwrap().external.try_into().unwrap();
        assert_eq!((one.url.as_str(), one.user.as_deref()), ("mqtt://flag:1883", Some("camera")));
        assert_eq!(two.url, "wss://two.example:443/mqtt");
    }

    #[test]
    fn mistakes_name_the_section_and_the_remedy() {
        let five: String = (0..5).map(|n| format!("[[broker.server]]\nurl = \"mqtt://b{n}\"\n")).collect();
        for (text, words) in [
            ("[[broker.server]]\nuser = \"u\"", "broker.server.user: is for a broker of yours"),
            ("[[broker.server]]\nurl = \"b\"", "broker.server.url: broker address `b` has no scheme"),
            (&format!("{TWO}\n[[broker.server]]\n"), "broker.server 3: is for a broker of yours"),
            (
                &format!("{TWO}\n[[broker.server]]\nurl = \"mqtt://c\"\ncert_file = \"c\""),
                "broker.server 3.cert_file: needs broker.server 3.key_file",
            ),
            (&format!("{TWO}\n[[broker.server]]\nurl = \"mqtts://one.example:8883\""), "is there twice"),
            (&five, "at most 4 brokers"),
            ("[broker]\nurl = \"mqtts://b\"\nalpn = [\"\"]", "broker.alpn"),
            ("[broker]\nurl = \"mqtt://b\"\nclient_id = \"\"", "broker.client_id"),
        ] {
            let said = refusal(text);
            assert!(said.contains(words), "{text}\n{said}");
        }
    }

    #[test]
    fn a_credential_may_stand_where_a_file_does() {
        let said = refusal("[broker]\nurl = \"mqtt://b\"\npassword_file = \"credential:pw\"");
        assert!(said.starts_with("broker.password_file: the service has no credential `pw`"), "{said}");
        let args = RunArgs {
            broker: Some("mqtt://b".to_owned()),
            broker_password_file: Some("credential:pw".into()),
            ..RunArgs::default()
        };
        let said = load_with("", &args).unwrap_err().to_string();
        assert!(said.contains("LoadCredential=pw:"), "{said}");
    }
}
