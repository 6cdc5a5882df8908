//! Which requests may come in, by their `Host` and `Origin`: a page of another site must not reach the agent through
//! its visitor's browser, neither directly (Origin, RFC 6454) nor by giving this address its own name (DNS
//! rebinding). Pure. Programs that are no browsers send no Origin and are let in; what protects the agent from them
//! is the seal of the messages.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a request needs a valid Host header")]
    BadHost,
    #[error(
        "this camera does not go by that name: open it by its IP address, or add the name to `names` under [web] in its configuration"
    )]
    UnknownName,
    #[error("pages of other sites cannot connect to this camera")]
    ForeignOrigin,
}

/// A host as in `Host` or `Origin`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(String),
}

/// Checks the Host of any request; `names` are the configured ones.
///
/// # Errors
/// Why it is refused.
pub(super) fn check_host(host: Option<&str>, names: &[String]) -> Result<(), Refusal> {
    let authority = host.and_then(Authority::parse).ok_or(Refusal::BadHost)?;
    let Host::Name(name) = authority.host else { return Ok(()) };
    let is_local = !name.contains('.') || name.ends_with(".local") || name.ends_with(".localhost");
    let is_configured = || names.iter().any(|known| known.trim_end_matches('.').eq_ignore_ascii_case(&name));
    if is_local || is_configured() { Ok(()) } else { Err(Refusal::UnknownName) }
}

/// Whether a Host names this machine as itself.
pub(super) fn is_this_machine(host: Option<&str>) -> bool {
    match host.and_then(Authority::parse).map(|authority| authority.host) {
        Some(Host::V4(v4)) => v4.is_loopback(),
        Some(Host::V6(v6)) => v6.is_loopback(),
        Some(Host::Name(name)) => name == "localhost",
        None => false,
    }
}

/// Checks the Origin of a WebSocket request whose Host was checked: the page must have come from here.
///
/// # Errors
/// Why it is refused.
pub(super) fn check_origin(host: Option<&str>, origin: Option<&str>) -> Result<(), Refusal> {
    let Some(origin) = origin else { return Ok(()) };
    let (authority, default_port) = if let Some(rest) = origin.strip_prefix("http://") {
        (rest, 80)
    } else if let Some(rest) = origin.strip_prefix("https://") {
        (rest, 443)
    } else {
        return Err(Refusal::ForeignOrigin);
    };
    let origin = Authority::parse(authority).ok_or(Refusal::ForeignOrigin)?;
    let host = host.and_then(Authority::parse).ok_or(Refusal::BadHost)?;
    let same_port = origin.port.unwrap_or(default_port) == host.port.unwrap_or(default_port);
    if origin.host == host.host && same_port { Ok(()) } else { Err(Refusal::ForeignOrigin) }
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']')?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if after.is_empty() => None,
                None => return None,
            };
            return Some(Self { host: Host::V6(host.parse().ok()?), port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (text, None),
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(v4) = text.parse() {
            return Some(Self::V4(v4));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        (name.len() <= 253 && name.split('.').all(is_label)).then_some(Self::Name(name))
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str) -> Result<(), Refusal> {
        check_host(Some(host), &["cam.example.org".to_owned()])
    }

    #[test]
    fn addresses_local_names_and_configured_names_are_let_in() {
        for good in [
            "192.168.1.7",
            "192.168.1.7:8080",
            "[fd00::7]:8080",
            "[::1]",
            "localhost:8080",
            "camera",
            "Camera.local:80",
            "cam.local.",
            "CAM.example.org",
            "cam.example.org:443",
        ] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        for foreign in
            ["evil.test", "evil.test:8080", "cam.example.org.evil.test", "local.evil.test", "xlocal.test"]
        {
            assert_eq!(host(foreign), Err(Refusal::UnknownName), "{foreign}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in [
            "", ":80", "a b", "a:b", "a:80:80", "a:+80", "a:99999", "[::1", "[::1]x", "[a]", "a..b", "a/b",
            "u@h",
        ] {
            assert_eq!(host(bad), Err(Refusal::BadHost), "{bad}");
        }
        assert_eq!(check_host(None, &[]), Err(Refusal::BadHost));
    }

    #[test]
    fn origin_must_be_the_host_with_its_port() {
        for (host, origin) in [
            ("192.168.1.7:8080", "http://192.168.1.7:8080"),
            ("camera.local", "http://camera.local"),
            ("camera.local", "https://Camera.local"),
            ("camera.local:80", "http://camera.local"),
            ("camera.local:443", "https://camera.local"),
            ("[fd00::7]:8080", "http://[fd00:0::7]:8080"),
        ] {
            assert_eq!(check_origin(Some(host), Some(origin)), Ok(()), "{host} {origin}");
        }
    }

    #[test]
    fn other_origins_are_refused_and_none_is_let_in() {
        for origin in [
            "http://evil.test",
            "http://192.168.1.7",
            "http://192.168.1.7:8081",
            "https://192.168.1.7:8443",
            "http://192.168.1.7:8080.evil.test",
            "http://192.168.1.70:8080",
            "null",
            "",
            "file://",
            "chrome-extension://abc",
            "http://user@192.168.1.7:8080",
            "http://192.168.1.7:8080/",
        ] {
            assert_eq!(
                check_origin(Some("192.168.1.7:8080"), Some(origin)),
                Err(Refusal::ForeignOrigin),
                "{origin}"
            );
        }
        assert_eq!(check_origin(Some("192.168.1.7:8080"), None), Ok(()));
    }
}
