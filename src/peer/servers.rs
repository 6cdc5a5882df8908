//! The STUN and TURN servers that the agent uses itself. Their names are resolved here, ahead of any viewer:
//! the WebRTC crate would do it on its driver task, where a slow name server holds up ICE and media. Reading the
//! URLs is pure. Not here: the servers that viewers use, which are told them as configured.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{clock, signal::message::IceServer};

const DEFAULT_PORT: u16 = 3478;
/// Names are resolved anew this often: a server may move.
pub const REFRESH: Duration = Duration::from_secs(300);
/// Sooner, while a name cannot be resolved.
pub const RETRY: Duration = Duration::from_secs(10);
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A server at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub address: SocketAddr,
    pub kind: Kind,
}

/// What a server is for.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Turn { username: String, credential: String },
}

/// Without the credential, which belongs in no log.
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stun => f.write_str("Stun"),
            Self::Turn { username, .. } => {
                f.debug_struct("Turn").field("username", username).finish_non_exhaustive()
            }
        }
    }
}

impl Server {
    /// The server's URL with its address for its name.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Stun => format!("stun:{}", self.address),
            Kind::Turn { .. } => format!("turn:{}?transport=udp", self.address),
        }
    }
}

/// A URL as configured, read (RFC 7064, 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    host: String,
    port: u16,
    kind: Kind,
}

/// The configured servers that the agent can use: STUN, and TURN over UDP with a password. The others are for
/// viewers only.
fn usable(servers: &[IceServer]) -> Vec<Named> {
    let mut usable = Vec::new();
    for server in servers {
        for url in &server.urls {
            match read_url(url, server) {
                Ok(named) => usable.push(named),
                Err(reason) => tracing::debug!(url, reason, "this ICE server is for viewers only"),
            }
        }
    }
    usable
}

fn read_url(url: &str, server: &IceServer) -> Result<Named, &'static str> {
    let (scheme, rest) = url.split_once(':').ok_or("not a URL")?;
    let (authority, query) =
        rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let kind = match scheme {
        "stun" => Kind::Stun,
        "turn" if query.is_none_or(|query| query == "transport=udp") => Kind::Turn {
            username: server.username.clone().filter(|name| !name.is_empty()).ok_or("no user name")?,
            credential: server.credential.clone().filter(|word| !word.is_empty()).ok_or("no password")?,
        },
        "turn" => return Err("the agent uses TURN over UDP only"),
        _ => return Err("the agent uses stun: and turn: only"),
    };
    let (host, port) = read_authority(authority).ok_or("no host")?;
    Ok(Named { host: host.to_owned(), port, kind })
}

fn read_authority(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok())?;
    (!host.is_empty()).then_some((host, port))
}

/// The usable servers with their addresses, at most one of each family. The second value: whether every name
/// could be resolved.
pub async fn resolve(servers: &[IceServer]) -> (Vec<Server>, bool) {
    let mut resolved = Vec::new();
    let mut complete = true;
    for Named { host, port, kind } in usable(servers) {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => look_up(&host, port).await,
        };
        complete &= !addresses.is_empty();
        let families: [fn(&&SocketAddr) -> bool; 2] = [|a| a.is_ipv4(), |a| a.is_ipv6()];
        for family in families {
            if let Some(address) = addresses.iter().find(family) {
                resolved.push(Server { address: *address, kind: kind.clone() });
            }
        }
    }
    (resolved, complete)
}

async fn look_up(host: &str, port: u16) -> Vec<SocketAddr> {
    let found = tokio::select! {
        biased;
        found = tokio::net::lookup_host((host, port)) => found.map(Iterator::collect),
        () = clock::sleep(RESOLVE_TIMEOUT) => Err(std::io::ErrorKind::TimedOut.into()),
    };
    found.unwrap_or_else(|error: std::io::Error| {
        tracing::warn!(host, %error, "this STUN or TURN server is not used for now: its name cannot be resolved");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(urls: &[&str]) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: Some("user".into()),
            credential: Some("word".into()),
        }
    }

    fn named(url: &str) -> Result<(String, u16), &'static str> {
        read_url(url, &server(&[])).map(|named| (named.host, named.port))
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(named("stun:stun.example"), Ok(("stun.example".into(), 3478)));
        assert_eq!(named("stun:192.0.2.1:19302"), Ok(("192.0.2.1".into(), 19302)));
        assert_eq!(named("turn:[2001:db8::1]:5000?transport=udp"), Ok(("2001:db8::1".into(), 5000)));
        assert_eq!(named("turn:turn.example"), Ok(("turn.example".into(), 3478)));
    }

    #[test]
    fn what_the_agent_cannot_use_is_left_to_viewers() {
        for url in
            ["turns:turn.example", "turn:turn.example?transport=tcp", "stuns:x", "stun:", "x", "stun:a:b"]
        {
            assert!(named(url).is_err(), "{url}");
        }
        let open = IceServer { username: None, ..server(&[]) };
        assert!(read_url("turn:turn.example", &open).is_err());
        assert!(read_url("stun:stun.example", &open).is_ok());
    }

    #[tokio::test]
    async fn addresses_need_no_name_server() {
        let (servers, complete) = resolve(&[server(&["stun:192.0.2.1", "turn:[2001:db8::1]:99"])]).await;
        assert!(complete);
        let urls: Vec<String> = servers.iter().map(Server::url).collect();
        assert_eq!(urls, ["stun:192.0.2.1:3478", "turn:[2001:db8::1]:99?transport=udp"]);
    }
}
