//! The bodies of what is carried by hand, where there is one envelope each way: what a `welcome` would have said stands in
//! the answer. Pure.

use serde::{Deserialize, Serialize};

use super::{BodyError, Welcome, read, write};

/// The body of an `answer` that is carried by hand. Viewers that do not know `welcome` ignore it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// With all candidates.
    pub sdp: String,
    #[serde(default)]
    pub welcome: Option<Welcome>,
}

impl Answer {
    /// Reads the body.
    ///
    /// # Errors
    /// When it is not right.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        read("answer", body)
    }
}

/// The body of an `answer`.
pub fn answer(sdp: &str, welcome: Option<&Welcome>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Written<'a> {
        sdp: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        welcome: Option<&'a Welcome>,
    }
    write(&Written { sdp, welcome })
}
