//! `[home_assistant]`: the broker where Home Assistant is, and what it gets. Pure but for reading the password's file. Not
//! here: what is told there (`home_assistant`).

use std::time::Duration;

use super::{
    ConfigError, ExternalBroker, Switch,
    brokers::external,
    file::{RawHomeAssistant, RawServer},
    secrets::Files,
    value,
};

const SECTION: &str = "home_assistant";
const DEFAULT_PREFIX: &str = "homeassistant";
const DEFAULT_PICTURE_EVERY: u64 = 60;
/// Seconds between two pictures: a camera that nobody watches is opened for each.
const PICTURE_EVERY: std::ops::RangeInclusive<u64> = 5..=86_400;

/// How Home Assistant is reached, and what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeAssistantConfig {
    pub broker: ExternalBroker,
    /// The first level of its discovery's topics.
    pub prefix: String,
    /// Zero: no pictures.
    pub picture_every: Duration,
    /// Whether it may change anything.
    pub controls: Switch,
}

/// Checks it; `None`: it is not wanted.
///
/// # Errors
/// The first key that is wrong.
pub fn home_assistant(
    raw: Option<RawHomeAssistant>,
    files: Files<'_>,
) -> Result<Option<HomeAssistantConfig>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.url.is_none() {
        return Err(value(
            SECTION,
            "needs url, the broker that Home Assistant uses, as mqtt://homeassistant.local",
        ));
    }
    let prefix = raw.prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
    if prefix.is_empty()
        || prefix.contains(['+', '#', '\0'])
        || prefix.starts_with('/')
        || prefix.ends_with('/')
    {
        let what = format!(
            "`{prefix}` does not fit: give what Home Assistant's MQTT integration has, as homeassistant"
        );
        return Err(value("home_assistant.prefix", what));
    }
    let picture_every = raw.picture_every.unwrap_or(DEFAULT_PICTURE_EVERY);
    if picture_every != 0 && !PICTURE_EVERY.contains(&picture_every) {
        let what = format!("{picture_every} does not fit: give 5 to 86400 seconds, or 0 for no pictures");
        return Err(value("home_assistant.picture_every", what));
    }
    let server = RawServer {
        url: raw.url,
        user: raw.user,
        password_file: raw.password_file,
        client_id: raw.client_id,
        ca_file: raw.ca_file,
        cert_file: raw.cert_file,
        key_file: raw.key_file,
        alpn: raw.alpn,
        ..RawServer::default()
    };
    Ok(Some(HomeAssistantConfig {
        broker: external(SECTION, server, files)?,
        prefix,
        picture_every: Duration::from_secs(picture_every),
        controls: Switch::from(raw.controls),
    }))
}
