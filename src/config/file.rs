//! The TOML file as it is written: every key optional, unknown keys refused with the nearest known one. Pure.
//! Not here: defaults and checks across keys (`config.rs`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};

use super::{
    ConfigError,
    values::{BitrateValue, ControlValue, FlipValue, OverlayValue, RotateValue, Size, nearest},
};
use crate::{camera::csi::CsiOptions, encode::choice::Choice};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub name: Option<String>,
    pub state_dir: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    pub camera: Vec<RawCamera>,
    pub governor: RawGovernor,
    pub web: RawWeb,
    pub broker: RawBroker,
    pub webrtc: RawWebRtc,
    pub home_assistant: Option<RawHomeAssistant>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCamera {
    pub id: Option<String>,
    pub name: Option<String>,
    pub source: Option<String>,
    pub size: Option<Size>,
    pub fps: Option<u32>,
    pub bitrate: Option<BitrateValue>,
    #[serde(deserialize_with = "encoder")]
    pub encoder: Option<Choice>,
    pub rotate: Option<RotateValue>,
    pub flip: Option<FlipValue>,
    pub overlay: Option<OverlayValue>,
    pub controls: BTreeMap<String, ControlValue>,
    pub csi: Option<CsiOptions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGovernor {
    pub enabled: Option<bool>,
    pub hot: Option<f32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawWeb {
    pub listen: Option<String>,
    pub page_url: Option<String>,
    pub names: Vec<String>,
    pub whep: Option<bool>,
    pub announce: Option<bool>,
    pub metrics: Option<String>,
    pub metrics_token_file: Option<PathBuf>,
}

/// `[broker]`: its own keys, those of one broker, and more brokers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawBroker {
    pub embedded: Option<bool>,
    pub listen: Option<String>,
    pub accept_devices: Vec<String>,
    pub hub: Option<String>,
    pub root: Option<String>,
    pub server: Vec<RawServer>,
    // As in RawServer: serde cannot refuse unknown keys beside a flattened table.
    pub url: Option<String>,
    pub page_url: Option<String>,
    pub page_user: Option<String>,
    pub page_password_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub client_id: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub alpn: Vec<String>,
}

impl RawBroker {
    /// The broker whose keys stand in `[broker]` itself.
    pub fn into_server(self) -> RawServer {
        RawServer {
            url: self.url,
            page_url: self.page_url,
            page_user: self.page_user,
            page_password_file: self.page_password_file,
            user: self.user,
            password_file: self.password_file,
            client_id: self.client_id,
            ca_file: self.ca_file,
            cert_file: self.cert_file,
            key_file: self.key_file,
            alpn: self.alpn,
        }
    }
}

/// `[[broker.server]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawServer {
    pub url: Option<String>,
    pub page_url: Option<String>,
    pub page_user: Option<String>,
    pub page_password_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub client_id: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub alpn: Vec<String>,
}

impl RawServer {
    /// A key that is set, if any is.
    pub fn first_key(&self) -> Option<&'static str> {
        [
            ("url", self.url.is_some()),
            ("page_url", self.page_url.is_some()),
            ("page_user", self.page_user.is_some()),
            ("page_password_file", self.page_password_file.is_some()),
            ("user", self.user.is_some()),
            ("password_file", self.password_file.is_some()),
            ("client_id", self.client_id.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("cert_file", self.cert_file.is_some()),
            ("key_file", self.key_file.is_some()),
            ("alpn", !self.alpn.is_empty()),
        ]
        .into_iter()
        .find_map(|(key, set)| set.then_some(key))
    }

    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        self.first_key().is_none()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawWebRtc {
    pub max_viewers: Option<u32>,
    pub ice_server: Vec<RawIceServer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawIceServer {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<String>,
    pub credential_file: Option<PathBuf>,
    pub secret_file: Option<PathBuf>,
    pub ttl: Option<String>,
    pub credentials_url: Option<String>,
    pub credentials_method: Option<String>,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

/// `[home_assistant]`: keys of a broker as in [`RawServer`], and its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHomeAssistant {
    pub url: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub client_id: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub alpn: Vec<String>,
    pub prefix: Option<String>,
    pub picture_every: Option<u64>,
    pub controls: Option<bool>,
}

/// Reads the file's text.
pub fn parse(path: &Path, text: &str) -> Result<RawConfig, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
        what: explain(error.message()),
    })
}

/// serde lists all known keys; a person wants the one that was meant.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown field"), quoted.next()) {
        (true, Some(unknown)) => {
            let known: Vec<&str> = quoted.collect();
            match nearest(unknown, known.iter().copied()) {
                Some(meant) => format!("unknown key `{unknown}`: did you mean `{meant}`?"),
                None => format!("unknown key `{unknown}`: known here are {}", known.join(", ")),
            }
        }
        _ => message.trim_end().replace('\n', " "),
    }
}

fn encoder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Choice>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// `[camera]` for one, `[[camera]]` for several.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RawCamera>, D::Error> {
    struct Visitor;

    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<RawCamera>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table [camera], or several [[camera]]")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            RawCamera::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                .map(|camera| vec![camera])
        }
    }

    deserializer.deserialize_any(Visitor)
}
