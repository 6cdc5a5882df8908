//! Tokens of WHEP clients: 32 random bytes, shown once and kept only as a hash. A hash without salt will do, as nobody can
//! try 2^256 tokens. Pure but for random bytes. Not here: where they are kept (`signal::keys`).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::signal::{
    envelope::{from_base64, to_base64},
    keys::random,
    topic::KeyId,
};

/// So that people and scanners for leaked secrets know what it is.
pub const PREFIX: &str = "pinhole_whep_";

/// A token in the clear: in its maker's hands, until it is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(String);

impl Token {
    /// A new one.
    pub fn new() -> Self {
        let mut bytes = [0; 32];
        random(&mut bytes);
        Self(format!("{PREFIX}{}", to_base64(&bytes)))
    }

    /// The text to tell, once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the token, which belongs in no log.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// SHA-256 of a token's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a token's text.
    pub fn of(token: &str) -> Self {
        Self(digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// As the state file has it: base64url.
    pub fn to_text(self) -> String {
        to_base64(&self.0)
    }

    /// Reads that.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(from_base64(text)?.try_into().ok()?))
    }

    /// Whether it is the same, found in the same time wherever they differ.
    pub fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// The tokens that are good now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<(TokenHash, KeyId)>);

impl Tokens {
    /// Whose token it is. Each is looked at, whichever it is.
    pub fn find(&self, token: &str) -> Option<KeyId> {
        let hash = TokenHash::of(token);
        self.0.iter().fold(None, |found, (known, key)| if known.is(&hash) { Some(*key) } else { found })
    }
}

impl FromIterator<(TokenHash, KeyId)> for Tokens {
    fn from_iter<T: IntoIterator<Item = (TokenHash, KeyId)>>(tokens: T) -> Self {
        Self(tokens.into_iter().collect())
    }
}

/// The token of an `Authorization` field: as a bearer (RFC 6750, 2.1), or as the password of Basic (RFC 7617), whoever the
/// user is, which programs send that know a server's address alone, as `http://user:TOKEN@host/`.
pub fn token_of(authorization: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = authorization.trim().split_once(' ')?;
    let rest = rest.trim_start();
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        Cow::Borrowed(rest)
    } else if scheme.eq_ignore_ascii_case("basic") {
        let user_and_password = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        Cow::Owned(user_and_password.split_once(':')?.1.to_owned())
    } else {
        return None;
    };
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8) -> KeyId {
        KeyId::from_bytes([id; 8])
    }

    #[test]
    fn a_token_is_known_by_its_prefix_and_by_nothing_else() {
        let token = Token::new();
        assert!(token.reveal().starts_with(PREFIX));
        assert_eq!(token.reveal().len(), PREFIX.len() + 43);
        assert_ne!(token, Token::new());
        assert_eq!(format!("{token:?} {:?}", token.hash()), "Token TokenHash");
    }

    #[test]
    fn whose_a_token_is_is_found_and_what_is_like_it_is_nobodys() {
        let (anna, ben) = (Token::new(), Token::new());
        let tokens: Tokens = [(anna.hash(), key(1)), (ben.hash(), key(2))].into_iter().collect();
        assert_eq!(tokens.find(anna.reveal()), Some(key(1)));
        assert_eq!(tokens.find(ben.reveal()), Some(key(2)));
        for wrong in ["", &anna.reveal()[..20], &format!("{}A", ben.reveal()), &anna.hash().to_text()] {
            assert_eq!(tokens.find(wrong), None, "{wrong}");
        }
        assert_eq!(Tokens::default().find(""), None);
    }

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let hash = Token("pinhole_whep_x".to_owned()).hash();
        assert_eq!(TokenHash::parse(&hash.to_text()), Some(hash));
        assert_eq!(TokenHash::parse("AAAA"), None);
    }

    #[test]
    fn a_token_is_a_bearer_or_the_password_of_whomever() {
        for (field, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("abc", None),
            ("Digest abc", None),
            // `whep:abc`, `:a:b`, `whep:`, `whep` and what is not UTF-8.
            ("Basic d2hlcDphYmM=", Some("abc")),
            ("basic OmE6Yg==", Some("a:b")),
            ("Basic d2hlcDo=", None),
            ("Basic d2hlcA==", None),
            ("Basic Ov8=", None),
            ("Basic abc", None),
            ("Basic", None),
        ] {
            assert_eq!(token_of(field).as_deref(), token, "{field}");
        }
    }
}
