//! `[broker]`, as far as it is about several agents of one house: the embedded broker's TCP port, whom it serves besides
//! its own device, and the agent whose broker serves this one. Pure.

use super::{ConfigError, Embedded, Listen, no_password, parse_listen, value};
use crate::signal::login::AcceptedDevice;

/// Devices that one agent's broker serves beside its own.
const MAX_DEVICES: usize = 32;

/// What binds the agents of a house together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct House {
    /// Where the embedded broker takes TCP connections; it always has `/mqtt` on the page's port.
    pub listen: Option<Listen>,
    /// The other devices that the embedded broker serves.
    pub accept_devices: Vec<AcceptedDevice>,
    pub hub: Option<Hub>,
}

/// Another agent, whose page shows this one's cameras, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// Its page, with a slash at the end.
    pub page: String,
    /// Its broker: `/mqtt` beside the page.
    pub broker: String,
}

/// The keys as they are written.
#[derive(Debug, Default)]
pub struct RawHouse {
    pub listen: Option<String>,
    pub accept_devices: Vec<String>,
    pub hub: Option<String>,
}

/// Checks them.
///
/// # Errors
/// The first that is wrong.
pub fn house(raw: RawHouse, embedded: Embedded) -> Result<House, ConfigError> {
    if embedded == Embedded::Off {
        let orphan = [("listen", raw.listen.is_some()), ("accept_devices", !raw.accept_devices.is_empty())];
        if let Some((key, _)) = orphan.iter().find(|(_, set)| *set) {
            let what = "is for the embedded broker, which is off: remove it, or remove broker.embedded";
            return Err(value(format!("broker.{key}"), what));
        }
    }
    let listen = raw.listen.map(|text| parse_listen("broker.listen", &text, 1883)).transpose()?;
    let hub = raw.hub.map(|url| parse_hub(&url)).transpose()?;
    Ok(House { listen, accept_devices: accept_devices(&raw.accept_devices)?, hub })
}

fn accept_devices(texts: &[String]) -> Result<Vec<AcceptedDevice>, ConfigError> {
    const KEY: &str = "broker.accept_devices";
    if texts.len() > MAX_DEVICES {
        let what = format!("names {} devices: at most {MAX_DEVICES} can be served", texts.len());
        return Err(value(KEY, what));
    }
    let mut devices: Vec<AcceptedDevice> = Vec::new();
    for text in texts {
        let device: AcceptedDevice = text.parse().map_err(|error| value(KEY, format!("{error}")))?;
        if devices.iter().any(|other| other.device == device.device) {
            let what = format!("names device {} twice: keep the line with its present key", device.device);
            return Err(value(KEY, what));
        }
        devices.push(device);
    }
    Ok(devices)
}

fn parse_hub(url: &str) -> Result<Hub, ConfigError> {
    const KEY: &str = "broker.hub";
    no_password(KEY, url)?;
    let unfit = || {
        let what = format!("`{url}` does not fit: give the other agent's page as http://HOST:8480/");
        value(KEY, what)
    };
    let (scheme, rest) = match url.split_once("://") {
        Some(("http", rest)) => ("ws", rest),
        Some(("https", rest)) => ("wss", rest),
        Some(_) | None => return Err(unfit()),
    };
    if rest.is_empty() || rest.starts_with('/') || rest.contains(['#', '?', ' ']) {
        return Err(unfit());
    }
    let rest = rest.trim_end_matches('/');
    let page = format!("{}://{rest}/", if scheme == "ws" { "http" } else { "https" });
    Ok(Hub { page, broker: format!("{scheme}://{rest}/mqtt") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{login::LoginKey, topic::DeviceId};

    fn line(device: &str) -> String {
        LoginKey::from_seed(DeviceId::parse(device).unwrap(), &[1; 32]).public().to_string()
    }

    fn with(devices: Vec<String>) -> Result<House, ConfigError> {
        house(RawHouse { accept_devices: devices, ..RawHouse::default() }, Embedded::On)
    }

    fn hub(url: &str) -> Result<Hub, ConfigError> {
        let raw = RawHouse { hub: Some(url.to_owned()), ..RawHouse::default() };
        house(raw, Embedded::Off).map(|house| house.hub.unwrap())
    }

    #[test]
    fn a_hub_is_its_page_and_the_broker_beside_it() {
        let given = ["http://hub.local:8480", "http://hub.local:8480/", "https://example.org/cameras"];
        let read: Vec<_> = given.into_iter().map(|url| hub(url).unwrap()).collect();
        assert_eq!(
            (&*read[0].page, &*read[0].broker),
            ("http://hub.local:8480/", "ws://hub.local:8480/mqtt")
        );
        assert_eq!(read[0], read[1]);
        assert_eq!(
            (&*read[2].page, &*read[2].broker),
            ("https://example.org/cameras/", "wss://example.org/cameras/mqtt")
        );
        for wrong in
            ["hub.local", "ws://hub.local:8480/mqtt", "http://", "http:///x", "http://a#b", "http://u:p@h"]
        {
            let error = hub(wrong).unwrap_err().to_string();
            assert!(error.starts_with("broker.hub: "), "{error}");
        }
    }

    #[test]
    fn devices_come_once_and_are_not_too_many() {
        assert_eq!(
            with(vec![line("abcdefghijkl2345"), line("bbbbbbbbbbbbbbbb")]).unwrap().accept_devices.len(),
            2
        );
        let twice = with(vec![line("abcdefghijkl2345"), line("abcdefghijkl2345")]).unwrap_err().to_string();
        assert!(twice.contains("abcdefghijkl2345 twice"), "{twice}");
        let wrong = with(vec!["abcdefghijkl2345".into()]).unwrap_err().to_string();
        assert!(wrong.contains("pinhole device-key"), "{wrong}");
        let many = with(vec![line("abcdefghijkl2345"); 33]).unwrap_err().to_string();
        assert!(many.contains("at most 32"), "{many}");
    }

    #[test]
    fn without_the_embedded_broker_nothing_of_it_may_be_set() {
        for raw in [
            RawHouse { listen: Some("1883".into()), ..RawHouse::default() },
            RawHouse { accept_devices: vec![line("abcdefghijkl2345")], ..RawHouse::default() },
        ] {
            let error = house(raw, Embedded::Off).unwrap_err().to_string();
            assert!(error.contains("remove broker.embedded"), "{error}");
        }
    }

    #[test]
    fn a_port_alone_is_enough() {
        let listen = |text: &str| {
            let raw = RawHouse { listen: Some(text.to_owned()), ..RawHouse::default() };
            house(raw, Embedded::On).map(|house| house.listen.unwrap())
        };
        assert_eq!(listen("1883").unwrap(), Listen::Everywhere(1883));
        assert_eq!(listen("127.0.0.1:1884").unwrap(), Listen::At("127.0.0.1:1884".parse().unwrap()));
        let error = listen("everywhere").unwrap_err().to_string();
        assert!(
            error.starts_with("broker.listen: `everywhere`") && error.contains("0.0.0.0:1883"),
            "{error}"
        );
    }
}
