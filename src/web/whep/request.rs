//! What a WHEP request must be, whatever it asks: its token, its types, and its body in bounded length and time.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, header},
};
use tokio::time::timeout;

use crate::{
    signal::whep::{problem::Problem, token::token_of},
    web::routes::Peer,
};

pub(super) const SDP: &str = "application/sdp";
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// For a body to come.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Bytes of a proxy's prefix at most.
const MAX_PREFIX: usize = 128;

/// The token, by the `Authorization` field alone: an address with a token in it gets into logs and histories.
pub(in crate::web) fn token(request: &Request) -> Option<Cow<'_, str>> {
    token_of(field(request.headers(), &header::AUTHORIZATION)?)
}

/// Where it came from.
pub(super) fn address(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |Peer(address)| address.ip())
}

/// One field; a second of its name would make it ambiguous.
pub(super) fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// Whether the body is of this type, whatever its parameters are.
pub(super) fn check_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let mime = field(headers, &header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    let fits = mime.is_some_and(|mime| mime.trim().eq_ignore_ascii_case(wanted));
    if fits { Ok(()) } else { Err(Problem::media_type(wanted)) }
}

/// Whether an SDP may be the answer (RFC 9110, 12.5.1).
pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), Problem> {
    let mut ranges =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let takes_sdp = |range: &str| {
        let mime = range.split(';').next().unwrap_or_default().trim();
        ["*/*", "application/*", SDP].iter().any(|wanted| mime.eq_ignore_ascii_case(wanted))
    };
    let fits = ranges.peek().is_none() || ranges.flat_map(|value| value.split(',')).any(takes_sdp);
    if fits { Ok(()) } else { Err(Problem::not_acceptable()) }
}

/// The whole body.
pub(super) async fn body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match timeout(BODY_TIME, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Or it broke off; then nobody hears the answer.
        Ok(Err(_)) => Err(Problem::too_large(limit)),
        Err(_) => Err(Problem::slow()),
    }
}

/// What a reverse proxy says that it has taken from the front of the path. Whoever forges it misleads himself alone.
pub(super) fn prefix(headers: &HeaderMap) -> &str {
    const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
    let prefix = field(headers, &FORWARDED_PREFIX).unwrap_or_default().trim_end_matches('/');
    let is_path = prefix.starts_with('/')
        && !prefix.starts_with("//")
        && prefix.len() <= MAX_PREFIX
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte));
    if is_path { prefix } else { "" }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_type_may_have_parameters_and_must_be_said_once() {
        let fits = |values: &[&'static str]| check_type(&headers(header::CONTENT_TYPE, values), SDP).is_ok();
        assert!(fits(&["application/sdp"]) && fits(&["Application/SDP; charset=utf-8"]));
        assert!(!fits(&[]) && !fits(&["application/sdp", "text/plain"]) && !fits(&["application/sdpfrag"]));
    }

    #[test]
    fn a_client_that_takes_no_sdp_is_told_so() {
        let fits = |values: &[&'static str]| check_accept(&headers(header::ACCEPT, values)).is_ok();
        assert!(fits(&[]) && fits(&["*/*"]) && fits(&["text/html, application/sdp;q=0.5"]));
        assert!(fits(&["text/html", "application/*"]));
        assert!(!fits(&["text/html"]) && !fits(&["application/json, text/*"]));
    }

    #[test]
    fn a_proxy_may_say_what_it_took_from_the_path() {
        let name = HeaderName::from_static("x-forwarded-prefix");
        let read = |value: &'static str| prefix(&headers(name.clone(), &[value])).to_owned();
        assert_eq!(read("/cam"), "/cam");
        assert_eq!(read("/a/b-c/"), "/a/b-c");
        for wrong in ["", "/", "cam", "//evil.test", "/a b", "/a\"", "https://evil.test"] {
            assert_eq!(read(wrong), "", "{wrong}");
        }
    }
}
