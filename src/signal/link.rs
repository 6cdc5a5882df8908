//! The link that pairs a viewer (docs/signaling.md, "The link"): what stands after `#` in it. Browsers never send
//! that part to a server. Pure. Not here: the page's address before it, and what is done with the secret (`pairing`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    envelope::{from_base64, from_json_object, to_base64},
    topic::{DeviceId, RootError, check_root},
};

/// Characters of a fragment at most.
const MAX_FRAGMENT: usize = 2048;
/// Characters of a broker's address at most.
const MAX_BROKER: usize = 512;
/// Brokers in a link at most, the first included.
pub const MAX_BROKERS: usize = 4;

/// `S`: a pairing's one-time secret, 32 random bytes. Never shown but in its link.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingSecret([u8; 32]);

impl PairingSecret {
    /// A secret from random bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For derivations.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for PairingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingSecret")
    }
}

/// Where the device is found, and the secret that pairs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub device: DeviceId,
    /// The topics' root.
    pub root: String,
    pub secret: PairingSecret,
    /// The broker's WebSocket address for viewers, with user and password in it where it wants them; without, it
    /// is `/mqtt` on the host that serves the page.
    pub broker: Option<String>,
    /// More brokers by which the device is reached, likewise; a viewer tries them in turn.
    pub more_brokers: Vec<String>,
}

/// Why a text is no pairing link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("not a pairing link, or only a part of one: copy the whole link")]
    Malformed,
    #[error("the link is of version {0}, and only version 1 is known: update the viewer")]
    Version(u64),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("the broker's address {0:?} in the link does not begin with ws:// or wss://")]
    Broker(String),
}

#[derive(Serialize, Deserialize)]
struct Raw {
    v: u64,
    d: String,
    r: String,
    s: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bs: Vec<String>,
}

impl Link {
    /// The fragment, without `#`: base64url of a JSON object. The last brokers stay away if it would be too long.
    pub fn fragment(&self) -> String {
        let mut raw = Raw {
            v: 1,
            d: self.device.to_string(),
            r: self.root.clone(),
            s: to_base64(self.secret.as_bytes()),
            b: self.broker.clone(),
            bs: self.more_brokers.iter().take(MAX_BROKERS - 1).cloned().collect(),
        };
        loop {
            let fragment =
                to_base64(&serde_json::to_vec(&raw).expect("strings and a number are always JSON"));
            if fragment.len() <= MAX_FRAGMENT || raw.bs.pop().is_none() {
                return fragment;
            }
        }
    }

    /// Reads a fragment, with or without `#`. Fields that are not known are ignored.
    ///
    /// # Errors
    /// When it is no link, or one that could not be used.
    pub fn parse(fragment: &str) -> Result<Self, LinkError> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        let text = fragment.strip_prefix('#').unwrap_or(fragment);
        let json = from_base64(text).filter(|_| text.len() <= MAX_FRAGMENT).ok_or(LinkError::Malformed)?;
        let Version { v } = from_json_object(&json).map_err(|_| LinkError::Malformed)?;
        if v != 1 {
            return Err(LinkError::Version(v));
        }
        let raw: Raw = from_json_object(&json).map_err(|_| LinkError::Malformed)?;
        check_root(&raw.r)?;
        if raw.bs.len() >= MAX_BROKERS {
            return Err(LinkError::Malformed);
        }
        if let Some(broker) = raw.b.iter().chain(&raw.bs).find(|broker| !is_websocket(broker)) {
            return Err(LinkError::Broker(broker.clone()));
        }
        let secret = from_base64(&raw.s).and_then(|secret| secret.try_into().ok());
        Ok(Self {
            device: DeviceId::parse(&raw.d).ok_or(LinkError::Malformed)?,
            root: raw.r,
            secret: PairingSecret(secret.ok_or(LinkError::Malformed)?),
            broker: raw.b,
            more_brokers: raw.bs,
        })
    }
}

fn is_websocket(address: &str) -> bool {
    let after = address.strip_prefix("ws://").or_else(|| address.strip_prefix("wss://"));
    after.is_some_and(|after| !after.is_empty())
        && address.len() <= MAX_BROKER
        && address.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            device: DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap(),
            root: "pinhole".into(),
            secret: PairingSecret::from_bytes([5; 32]),
            broker: None,
            more_brokers: Vec::new(),
        }
    }

    fn fragment(json: &str) -> String {
        to_base64(json.as_bytes())
    }

    #[test]
    fn reads_what_it_wrote() {
        let elsewhere = Link { broker: Some("wss://u:p@broker.example:8084/mqtt".into()), ..link() };
        let several = Link { more_brokers: vec!["wss://b.example/mqtt".into(), "ws://c".into()], ..link() };
        for link in [link(), elsewhere, several] {
            assert_eq!(Link::parse(&link.fragment()), Ok(link.clone()));
            assert_eq!(Link::parse(&format!("#{}", link.fragment())), Ok(link));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let whole = link().fragment();
        assert_eq!(Link::parse(""), Err(LinkError::Malformed));
        assert_eq!(Link::parse(&whole[..whole.len() - 5]), Err(LinkError::Malformed));
        assert_eq!(Link::parse(&fragment(r#"{"v":2,"x":1}"#)), Err(LinkError::Version(2)));
        let json = String::from_utf8(from_base64(&whole).unwrap()).unwrap();
        let root = json.replace("pinhole", "#");
        assert!(matches!(Link::parse(&fragment(&root)), Err(LinkError::Root(_))));
        for broker in ["javascript:alert(1)", "http://a", "ws://", "ws://a b"] {
            let json = json.replace(r#""r":"#, &format!(r#""b":"{broker}","r":"#));
            assert_eq!(Link::parse(&fragment(&json)), Err(LinkError::Broker(broker.into())));
        }
        let more = json.replace(r#""r":"#, r#""bs":["wss://a","http://b"],"r":"#);
        assert_eq!(Link::parse(&fragment(&more)), Err(LinkError::Broker("http://b".into())));
        let many = json.replace(r#""r":"#, r#""bs":["ws://a","ws://a","ws://a","ws://a"],"r":"#);
        assert_eq!(Link::parse(&fragment(&many)), Err(LinkError::Malformed));
        assert!(Link::parse(&fragment(&json.replace(r#""r":"#, r#""later":[],"r":"#))).is_ok());
    }

    #[test]
    fn a_link_that_would_be_too_long_names_fewer_brokers() {
        let long = |name: &str| format!("wss://{}/{name}", "a".repeat(480));
        let link = Link {
            broker: Some(long("1")),
            more_brokers: vec![long("2"), long("3"), "ws://d".into()],
            ..link()
        };
        let read = Link::parse(&link.fragment()).unwrap();
        assert_eq!(read.broker, link.broker);
        assert_eq!(read.more_brokers, [long("2")]);
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert!(format!("{:?}", link()).contains("secret: PairingSecret,"));
    }
}
