//! Answers of WHEP: refusals as `application/problem+json`, what may be asked, and the header fields that each has. Pure.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::request::{FRAGMENT, SDP};
use crate::signal::whep::problem::Problem;

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// `/whep/<camera>`.
    Endpoint,
    /// `/whep/<camera>/<session>`.
    Session,
}

impl Allowed {
    const fn methods(self) -> &'static str {
        match self {
            Self::Endpoint => "POST, OPTIONS",
            Self::Session => "PATCH, DELETE, OPTIONS",
        }
    }

    /// The body that is taken (RFC 9725, 4.2; RFC 5789, 3.1).
    const fn accepted(self) -> (HeaderName, &'static str) {
        match self {
            Self::Endpoint => (ACCEPT_POST, SDP),
            Self::Session => (ACCEPT_PATCH, FRAGMENT),
        }
    }
}

/// For browsers that ask first (Fetch Standard, CORS preflight), and for whoever wants to know. Needs no token: a browser
/// sends none here.
pub(super) fn options(allowed: Allowed) -> Response {
    let (name, value) = allowed.accepted();
    let mut response = StatusCode::OK.into_response();
    let mut set =
        |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    set(header::ALLOW, allowed.methods());
    set(name, value);
    set(header::ACCESS_CONTROL_ALLOW_METHODS, allowed.methods());
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match");
    set(header::ACCESS_CONTROL_MAX_AGE, "86400");
    response
}

pub(super) fn not_allowed(allowed: Allowed) -> Response {
    let mut response = Problem::method().into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed.methods()));
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = serde_json::to_vec(&self).expect("strings and numbers are always JSON");
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], json).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match status {
            StatusCode::UNAUTHORIZED => set(headers, header::WWW_AUTHENTICATE, "Bearer realm=\"pinhole\""),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                set(headers, ACCEPT_POST, SDP);
                set(headers, ACCEPT_PATCH, FRAGMENT);
            }
            _ => {}
        }
        response
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// What every answer has. Nothing of it may be kept: it is for one client and one session.
pub(super) async fn for_everyone(mut response: Response) -> Response {
    let headers = response.headers_mut();
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Location, Link, ETag, Retry-After, Allow, Accept-Post, Accept-Patch, WWW-Authenticate",
    );
    set(headers, header::CACHE_CONTROL, "no-store");
    response
}
