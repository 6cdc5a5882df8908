//! Time-limited TURN credentials from a secret that is shared with the TURN server (draft-uberti-behave-turn-rest-00,
//! section 2.2; coturn's `use-auth-secret`). Pure. Not here: who gets them and when (`ice`).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

use crate::signal::{message::IceServer, mqtt::Secret};

/// A TURN server, or several that share the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSecret {
    /// RFC 7065.
    pub urls: Vec<String>,
    /// coturn's `static-auth-secret`.
    pub secret: Secret,
    /// For how long credentials are good.
    pub ttl: Duration,
}

impl SharedSecret {
    /// With credentials for `label` that end at `since_epoch` and the `ttl`.
    pub fn server(&self, since_epoch: Duration, label: &str) -> IceServer {
        let username = format!("{}:{label}", (since_epoch + self.ttl).as_secs());
        // The draft names SHA-1, and coturn takes no other here (RFC 2104 holds for it still).
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret.reveal().as_bytes());
        let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        IceServer { urls: self.urls.clone(), username: Some(username), credential: Some(credential) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf 1790000600:0011223344556677 | openssl dgst -sha1 -hmac north -binary | base64`.
    #[test]
    fn credentials_are_those_of_another_implementation() {
        let shared = SharedSecret {
            urls: vec!["turn:192.0.2.1:3478".into()],
            secret: Secret::new("north"),
            ttl: Duration::from_secs(600),
        };
        let server = shared.server(Duration::from_millis(1_790_000_000_900), "0011223344556677");
        assert_eq!(server.urls, shared.urls);
        assert_eq!(server.username.as_deref(), Some("1790000600:0011223344556677"));
        assert_eq!(server.credential.as_deref(), Some("WOYfLUje+iL8ULPWU2Fq1b0BSAg="));
        assert!(!format!("{shared:?} {server:?}").contains("north"));
    }
}
