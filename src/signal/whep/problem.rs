//! Refusals, as status and body (RFC 9457: `application/problem+json`). Pure. Not here: header fields that go with one
//! status alone (`web::whep`).

use serde::Serialize;

use crate::signal::message::{ByeReason, ErrorCode};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What the status means, in HTTP's own words, as no further `type` is given (RFC 9457, 4.2.1).
    pub title: &'static str,
    pub status: u16,
    /// One sentence for people.
    pub detail: String,
    /// When to try again.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// # Panics
    /// Never for the statuses below; each has its words.
    fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { title: title(status), status, detail: detail.into(), retry_after_s: None }
    }

    fn later(status: u16, seconds: u32, detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(seconds), ..Self::new(status, detail) }
    }

    pub fn no_token() -> Self {
        Self::new(401, "a bearer token of this device is needed; `pinhole pair --whep --name NAME` makes one")
    }

    pub fn too_many_wrong_tokens() -> Self {
        Self::later(429, 1, "too many requests without a token of this device; wait")
    }

    pub fn too_fast() -> Self {
        Self::later(429, 1, "too many requests for this session; send fewer")
    }

    pub fn no_camera() -> Self {
        Self::new(404, "there is no such camera on this device")
    }

    pub fn no_session() -> Self {
        Self::new(404, "there is no such session, or it has ended; begin a new one")
    }

    pub fn method() -> Self {
        Self::new(405, "this is not done here; the field Allow says what is")
    }

    pub fn not_acceptable() -> Self {
        Self::new(406, "the answer is application/sdp, which the field Accept leaves out")
    }

    pub fn slow() -> Self {
        Self::new(408, "the body did not come in time")
    }

    pub fn stale() -> Self {
        Self::new(412, "ICE was restarted since; the field If-Match must have the present ETag")
    }

    pub fn too_large(limit: usize) -> Self {
        Self::new(413, format!("the body is longer than {limit} bytes"))
    }

    pub fn media_type(wanted: &str) -> Self {
        Self::new(415, format!("the body must be {wanted}"))
    }

    pub fn no_offer() -> Self {
        Self::new(
            400,
            "the body is empty: it must be an SDP offer, as this device answers and makes no offers",
        )
    }

    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    pub fn precondition_required() -> Self {
        Self::new(428, "which ICE session is meant? Send If-Match, or the session's ice-ufrag and ice-pwd")
    }

    pub fn busy(detail: impl Into<String>) -> Self {
        Self::later(503, 5, detail)
    }

    /// What the agent refuses.
    pub fn refused(code: ErrorCode, message: &str) -> Self {
        match code {
            ErrorCode::Busy => Self::busy(message),
            ErrorCode::Forbidden | ErrorCode::Privacy => Self::new(403, message),
            // That the camera exists was found out before: it gives no picture now.
            ErrorCode::NoCamera => Self::later(409, 5, message),
            ErrorCode::Codec => Self::new(422, message),
            ErrorCode::BadRequest => Self::bad(message),
            ErrorCode::RateLimited => Self::later(429, 1, message),
            ErrorCode::Internal => Self::new(500, message),
        }
    }

    /// The session ended before it was answered.
    pub fn ended(reason: ByeReason) -> Self {
        match reason {
            ByeReason::Shutdown => Self::busy("the device is stopping"),
            ByeReason::Revoked => Self::no_token(),
            ByeReason::Replaced => Self::later(409, 1, "a newer session took the place of this one"),
            ByeReason::Idle => Self::busy("the session has ended"),
            ByeReason::Camera => Self::later(409, 1, "the camera has changed; begin a new session"),
            ByeReason::Privacy => Self::new(403, "the camera is turned off for privacy"),
        }
    }
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_the_rfc_has_it() {
        let json = serde_json::to_string(&Problem::no_camera()).unwrap();
        let expected =
            r#"{"title":"Not Found","status":404,"detail":"there is no such camera on this device"}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn what_passes_by_itself_says_when_to_try_again() {
        for (code, status, again) in [
            (ErrorCode::Busy, 503, true),
            (ErrorCode::Forbidden, 403, false),
            (ErrorCode::NoCamera, 409, true),
            (ErrorCode::Privacy, 403, false),
            (ErrorCode::Codec, 422, false),
            (ErrorCode::BadRequest, 400, false),
            (ErrorCode::RateLimited, 429, true),
            (ErrorCode::Internal, 500, false),
        ] {
            let problem = Problem::refused(code, "why");
            assert_eq!((problem.status, problem.retry_after_s.is_some()), (status, again), "{code:?}");
            assert_eq!(problem.detail, "why");
        }
        assert_eq!(Problem::ended(ByeReason::Shutdown).status, 503);
        assert_eq!(Problem::ended(ByeReason::Revoked).status, 401);
    }
}
