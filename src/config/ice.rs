//! `[[webrtc.ice_server]]`: of which kind an entry is, and that its keys fit together. Pure, but for the secrets it
//! reads. Not here: making and fetching credentials (`peer::ice`).

use std::time::Duration;

use super::{ConfigError, file::RawIceServer, secrets::Files, value};
use crate::{
    control::show::parse_lifetime,
    peer::ice::{
        IceSource, Provider, SharedSecret,
        fetch::{AskBy, Login, ProviderUrl},
        is_ice_url,
    },
    signal::message::IceServer,
};

const KEY: &str = "webrtc.ice_server";
/// Of credentials that are made here, or asked for.
const DEFAULT_TTL: Duration = Duration::from_secs(12 * 3600);
/// Shorter, and viewers would do little else than ask.
const SHORTEST_TTL: Duration = Duration::from_secs(60);
/// Longer ones are better fixed.
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Reads one entry.
pub fn source(raw: RawIceServer, files: Files<'_>) -> Result<IceSource, ConfigError> {
    let fetched = raw.credentials_url.is_some();
    let shared = raw.secret_file.is_some();
    let misplaced = [
        ("credentials_method", raw.credentials_method.is_some() && !fetched, "credentials_url"),
        ("token_file", raw.token_file.is_some() && !fetched, "credentials_url"),
        ("ca_file", raw.ca_file.is_some() && !fetched, "credentials_url"),
        ("ttl", raw.ttl.is_some() && !fetched && !shared, "secret_file or credentials_url"),
    ];
    if let Some((key, _, wanted)) = misplaced.iter().find(|(_, misplaced, _)| *misplaced) {
        return Err(refuse(format!("{key} has no effect without {wanted}: remove it, or give that too")));
    }
    if fetched {
        provider(raw, files)
    } else if shared {
        secret(raw, files)
    } else {
        fixed(raw, files)
    }
}

fn fixed(raw: RawIceServer, files: Files<'_>) -> Result<IceSource, ConfigError> {
    check_urls(&raw.urls)?;
    let credential = match (raw.credential, raw.credential_file) {
        (Some(_), Some(_)) => return Err(refuse("has both credential and credential_file: give one")),
        (Some(credential), None) => Some(credential),
        (None, Some(file)) => {
            Some(files.secret("webrtc.ice_server.credential_file", &file)?.reveal().to_owned())
        }
        (None, None) => None,
    };
    let turn = raw.urls.iter().any(|url| url.starts_with("turn"));
    if turn && (raw.username.is_none() || credential.is_none()) {
        return Err(refuse(format!(
            "`{}` needs username and credential (or credential_file), secret_file, or credentials_url",
            raw.urls[0]
        )));
    }
    Ok(IceSource::Fixed(IceServer { urls: raw.urls, username: raw.username, credential }))
}

fn secret(raw: RawIceServer, files: Files<'_>) -> Result<IceSource, ConfigError> {
    check_urls(&raw.urls)?;
    if let Some(stun) = raw.urls.iter().find(|url| url.starts_with("stun")) {
        return Err(refuse(format!("`{stun}` takes no secret: give it an [[{KEY}]] of its own")));
    }
    if raw.username.is_some() || raw.credential.is_some() || raw.credential_file.is_some() {
        return Err(refuse("has secret_file, from which username and credential are made: remove those"));
    }
    let file = raw.secret_file.unwrap_or_default();
    let secret = files.secret("webrtc.ice_server.secret_file", &file)?;
    Ok(IceSource::Shared(SharedSecret { urls: raw.urls, secret, ttl: ttl(raw.ttl.as_deref())? }))
}

fn provider(raw: RawIceServer, files: Files<'_>) -> Result<IceSource, ConfigError> {
    if !raw.urls.is_empty()
        || raw.secret_file.is_some()
        || raw.credential.is_some()
        || raw.credential_file.is_some()
    {
        return Err(refuse(
            "has credentials_url, whose answer names servers and credentials: remove urls, credential, \
             credential_file and secret_file",
        ));
    }
    // The address can hold a key, and is not repeated.
    let url = raw.credentials_url.as_deref().and_then(ProviderUrl::parse).ok_or_else(|| {
        refuse("credentials_url does not fit: give an address as https://HOST/PATH, without an `@`")
    })?;
    let method = match raw.credentials_method.as_deref() {
        None | Some("GET") => AskBy::Get,
        Some("POST") => AskBy::Post,
        Some(other) => return Err(refuse(format!("credentials_method = `{other}`: give GET or POST"))),
    };
    let token = raw.token_file.map(|file| files.secret("webrtc.ice_server.token_file", &file)).transpose()?;
    let login = match (raw.username, token) {
        (None, None) => None,
        (None, Some(token)) => Some(Login::Bearer(token)),
        (Some(user), Some(password)) => Some(Login::Basic { user, password }),
        (Some(_), None) => return Err(refuse("username needs token_file, with its password, beside it")),
    };
    let ca = raw.ca_file.map(|file| files.path("webrtc.ice_server.ca_file", &file)).transpose()?;
    Ok(IceSource::Fetched(Provider { url, method, login, ca, ttl: ttl(raw.ttl.as_deref())? }))
}

fn check_urls(urls: &[String]) -> Result<(), ConfigError> {
    if urls.is_empty() {
        return Err(refuse("has no urls: give urls = [\"stun:HOST:PORT\"]"));
    }
    match urls.iter().find(|url| !is_ice_url(url)) {
        Some(url) => Err(refuse(format!("`{url}` does not fit: give stun:HOST:PORT or turn:HOST:PORT"))),
        None => Ok(()),
    }
}

fn ttl(text: Option<&str>) -> Result<Duration, ConfigError> {
    let Some(text) = text else { return Ok(DEFAULT_TTL) };
    let ttl = parse_lifetime(text).ok().filter(|ttl| (SHORTEST_TTL..=LONGEST_TTL).contains(ttl));
    ttl.ok_or_else(|| refuse(format!("ttl = `{text}` does not fit: give 1m to 30d, as 30m or 12h")))
}

fn refuse(what: impl Into<String>) -> ConfigError {
    value(KEY, what)
}
