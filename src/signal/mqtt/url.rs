//! A broker's address as people write it: `mqtt://host`, `mqtts://host:8883`, `ws://host/path`, `wss://…`. Pure.
//! Not here: credentials, which do not belong into an address that ends up in logs.

use std::fmt;

/// How the bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "mqtt" => Some(Self::Mqtt),
            "mqtts" => Some(Self::Mqtts),
            "ws" => Some(Self::Ws),
            "wss" => Some(Self::Wss),
            _ => None,
        }
    }

    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether there is TLS.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether there is a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// A broker's address, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error(
        "broker address `{url}` has no scheme: write it as mqtt://HOST, mqtts://HOST, ws://HOST or wss://HOST"
    )]
    NoScheme { url: String },
    #[error("broker address `{url}` has the unknown scheme `{scheme}`: use {remedy}")]
    Scheme { url: String, scheme: String, remedy: &'static str },
    #[error(
        "broker address for {host} holds a user name or password, which would end up in logs: remove it, and use `user` and `password_file` of the configuration"
    )]
    Credentials { host: String },
    #[error("broker address `{url}` has no host: write it as {scheme}://HOST or {scheme}://HOST:PORT")]
    NoHost { url: String, scheme: &'static str },
    #[error(
        "broker address `{url}` has the host `{host}`, which is not a name or an IP address: check it for typing errors (an IPv6 address stands in brackets, as in mqtt://[::1])"
    )]
    Host { url: String, host: String },
    #[error("broker address `{url}` has the port `{port}`: a port is a number from 1 to 65535")]
    Port { url: String, port: String },
    #[error("broker address `{url}` has a path, which only ws:// and wss:// have: remove `{path}`")]
    Path { url: String, path: String },
    #[error(
        "broker address `{url}` has a `{part}` part, which means nothing here: remove everything from `{part}` on"
    )]
    Extra { url: String, part: char },
    #[error("broker address has a path with a character that no URL may hold: percent-encode it")]
    PathCharacter,
}

impl BrokerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// One sentence that names the part that is wrong. It never repeats a password.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").ok_or_else(|| match url.rsplit_once('@') {
            Some((_, host)) => UrlError::Credentials { host: host.to_owned() },
            None => UrlError::NoScheme { url: url.to_owned() },
        })?;
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // First of all: no other message may repeat what stands before the `@`.
        if let Some((_, host)) = rest.rsplit_once('@') {
            return Err(UrlError::Credentials { host: host.to_owned() });
        }
        let scheme = Scheme::parse(scheme).ok_or_else(|| unknown_scheme(url, scheme))?;
        let (host, port) = split_port(url, scheme, authority)?;
        Ok(Self { scheme, host, port, path: checked_path(url, scheme, path)? })
    }

    /// How the bytes travel.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A name or an IP address, the latter without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The WebSocket's path, with its slash; empty without a WebSocket.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn bracketed_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The request that opens the WebSocket; TLS, if any, is underneath and not part of it.
    pub(super) fn websocket_request_url(&self) -> String {
        format!("ws://{}:{}{}", self.bracketed_host(), self.port, self.path)
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.as_str(), self.bracketed_host(), self.port, self.path)
    }
}

fn unknown_scheme(url: &str, scheme: &str) -> UrlError {
    let remedy = match scheme.to_ascii_lowercase().as_str() {
        "tcp" => "mqtt://",
        "ssl" | "tls" | "mqtt+tls" | "mqtt+ssl" => "mqtts://",
        "http" => "ws://",
        "https" => "wss://",
        _ => "mqtt://, mqtts://, ws:// or wss://",
    };
    UrlError::Scheme { url: url.to_owned(), scheme: scheme.to_owned(), remedy }
}

fn split_port(url: &str, scheme: Scheme, authority: &str) -> Result<(String, u16), UrlError> {
    let bad_host = |host: &str| UrlError::Host { url: url.to_owned(), host: host.to_owned() };
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| bad_host(authority))?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host(host))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(bad_host(authority)),
        };
        (host, port)
    } else {
        match authority.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            Some(_) => return Err(bad_host(authority)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err(UrlError::NoHost { url: url.to_owned(), scheme: scheme.as_str() });
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(is_name) || host.len() > 253 {
        return Err(bad_host(host));
    }
    let port = match port {
        None => scheme.default_port(),
        Some(text) => match text.parse() {
            Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => port,
            Ok(_) | Err(_) => return Err(UrlError::Port { url: url.to_owned(), port: text.to_owned() }),
        },
    };
    Ok((host.to_owned(), port))
}

fn checked_path(url: &str, scheme: Scheme, path: &str) -> Result<String, UrlError> {
    if path.contains('#') {
        return Err(UrlError::Extra { url: url.to_owned(), part: '#' });
    }
    if scheme.is_websocket() {
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`'))
        {
            return Err(UrlError::PathCharacter);
        }
        return Ok(match path {
            // Where brokers and the agents' own pages have it.
            "" | "/" => "/mqtt".to_owned(),
            query if query.starts_with('?') => format!("/mqtt{query}"),
            path => path.to_owned(),
        });
    }
    match path {
        "" | "/" => Ok(String::new()),
        query if query.starts_with('?') => Err(UrlError::Extra { url: url.to_owned(), part: '?' }),
        path => Err(UrlError::Path { url: url.to_owned(), path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(url: &str) -> String {
        BrokerUrl::parse(url).unwrap().to_string()
    }

    fn error(url: &str) -> String {
        BrokerUrl::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_filled_in() {
        assert_eq!(text("mqtt://broker"), "mqtt://broker:1883");
        assert_eq!(text("mqtts://broker/"), "mqtts://broker:8883");
        assert_eq!(text("ws://broker"), "ws://broker:80/mqtt");
        assert_eq!(text("WSS://broker.example/"), "wss://broker.example:443/mqtt");
        assert_eq!(text(" mqtt://192.0.2.1:1884 "), "mqtt://192.0.2.1:1884");
        assert_eq!(text("ws://broker:9001/a/b?c=d"), "ws://broker:9001/a/b?c=d");
    }

    #[test]
    fn ipv6_stands_in_brackets_and_is_kept_without() {
        let url = BrokerUrl::parse("mqtt://[2001:db8::1]:1884").unwrap();
        assert_eq!((url.host(), url.port()), ("2001:db8::1", 1884));
        assert_eq!(url.to_string(), "mqtt://[2001:db8::1]:1884");
        for wrong in ["mqtt://2001:db8::1", "mqtt://[2001:db8::1", "mqtt://[broker]", "mqtt://[::1]1883"] {
            assert!(error(wrong).contains("brackets"), "{wrong}");
        }
    }

    #[test]
    fn credentials_are_refused_and_never_repeated() {
        for url in [
            "mqtt://user:hunter2@broker:1883",
            "user:hunter2@broker",
            "mqtt://hunter2@broker",
            "odd://user:hunter2@broker",
            "mqtt://user:hunt/hunter2@broker",
            "mqtt://user:hunter2#@broker",
        ] {
            let message = error(url);
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("password_file"), "{message}");
        }
    }

    #[test]
    fn each_error_names_the_part_and_the_remedy() {
        assert!(error("broker:1883").contains("write it as mqtt://HOST"));
        assert!(error("tcp://broker").contains("unknown scheme `tcp`: use mqtt://"));
        assert!(error("https://broker").contains("use wss://"));
        assert!(error("mqtt://").contains("has no host"));
        assert!(error("mqtt://:1883").contains("has no host"));
        assert!(error("mqtt://bro ker").contains("`bro ker`"));
        assert!(error("mqtt://broker:").contains("number from 1 to 65535"));
        assert!(error("mqtt://broker:0").contains("`0`"));
        assert!(error("mqtt://broker:65536").contains("`65536`"));
        assert!(error("mqtt://broker:+80").contains("`+80`"));
        assert!(error("mqtt://broker/path").contains("remove `/path`"));
        assert!(error("mqtt://broker?x=y").contains("`?`"));
        assert!(error("ws://broker/#x").contains("`#`"));
        assert!(error("ws://broker/a b").contains("percent-encode"));
    }
}
