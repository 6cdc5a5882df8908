//! `/metrics`, for Prometheus and what reads its format, and who may read it. Runs on the connections' tasks. Not here:
//! what it says (`status::metrics`).

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    origin,
    routes::{Peer, text},
    whep::token,
};
use crate::{
    config::MetricsFor,
    links,
    signal::{mqtt::Secret, whep::token::TokenHash},
    status::{Monitor, metrics},
};

/// Fields by which a proxy says that it speaks for somebody else.
const BY_PROXY: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Who may read the metrics, and where they come from.
#[derive(Debug, Clone)]
pub struct Metrics {
    readers: MetricsFor,
    /// Who has it may read them from anywhere.
    token: Option<TokenHash>,
    monitor: Monitor,
}

impl Metrics {
    pub fn new(readers: MetricsFor, token: Option<&Secret>, monitor: Monitor) -> Self {
        Self { readers, token: token.map(|token| TokenHash::of(token.reveal())), monitor }
    }
}

/// Answers a request, whose `Host` was checked.
pub(super) async fn get(State(metrics): State<Metrics>, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.ip().to_canonical());
    let has_token = match (&metrics.token, token(&request)) {
        (Some(known), Some(given)) => known.is(&TokenHash::of(&given)),
        (Some(_) | None, _) => false,
    };
    if !has_token && !peer.is_some_and(|peer| may_read(metrics.readers, peer, request.headers())) {
        return match metrics.token {
            // As if there were none.
            None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
            Some(_) => (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, "Bearer realm=\"pinhole metrics\"")],
                "a token is needed\n",
            )
                .into_response(),
        };
    }
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match metrics.monitor.status().await {
        Ok(status) => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            ([kind, no_store], metrics::text(&status)).into_response()
        }
        Err(trouble) => (StatusCode::SERVICE_UNAVAILABLE, [no_store], format!("{trouble}\n")).into_response(),
    }
}

/// Without a token. What a proxy on this machine hands on comes from elsewhere.
fn may_read(readers: MetricsFor, peer: IpAddr, headers: &HeaderMap) -> bool {
    let by_proxy = || BY_PROXY.iter().any(|name| headers.contains_key(HeaderName::from_static(name)));
    let is_own =
        || peer.is_loopback() && !by_proxy() && origin::is_this_machine(text(headers, &header::HOST));
    match readers {
        MetricsFor::Nobody => false,
        MetricsFor::ThisMachine => is_own(),
        MetricsFor::Lan => is_own() || (links::is_private(peer) && !by_proxy()),
        MetricsFor::Everybody => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(readers: MetricsFor, peer: &str, fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", "127.0.0.1:8480")].iter().chain(fields) {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        may_read(readers, peer.parse().unwrap(), &headers)
    }

    #[test]
    fn this_machine_is_who_comes_from_it_and_means_it() {
        use MetricsFor::ThisMachine;
        assert!(ask(ThisMachine, "127.0.0.1", &[]));
        assert!(ask(ThisMachine, "127.0.0.1", &[("host", "localhost:8480")]));
        assert!(ask(ThisMachine, "::1", &[("host", "[::1]:8480")]));
        assert!(!ask(ThisMachine, "192.168.1.9", &[]), "another machine");
        for name in BY_PROXY {
            assert!(!ask(ThisMachine, "127.0.0.1", &[(name, "192.0.2.1")]), "{name}");
        }
        assert!(!ask(ThisMachine, "127.0.0.1", &[("host", "camera.example.org")]), "a proxy's name");
    }

    #[test]
    fn the_local_network_is_private_addresses() {
        use MetricsFor::Lan;
        for peer in
            ["127.0.0.1", "192.168.1.9", "10.1.2.3", "172.16.0.1", "169.254.1.1", "fd00::9", "fe80::9"]
        {
            assert!(ask(Lan, peer, &[]), "{peer}");
        }
        for peer in ["203.0.113.9", "172.32.0.1", "2001:db8::9", "100.64.0.1"] {
            assert!(!ask(Lan, peer, &[]), "{peer}");
        }
        assert!(!ask(Lan, "192.168.1.9", &[("x-forwarded-for", "203.0.113.9")]), "a proxy in the network");
    }

    #[test]
    fn off_is_nobody_and_all_is_everybody() {
        assert!(!ask(MetricsFor::Nobody, "127.0.0.1", &[]));
        assert!(ask(MetricsFor::Everybody, "203.0.113.9", &[("via", "1.1 proxy")]));
    }
}
