//! Tells whether a datagram is a STUN binding request (RFC 8489) from someone who knows our ICE password. Pure.
//! Not here: ICE itself; the WebRTC crate reads the same request again and answers it.

use ring::hmac;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
/// RFC 8656, 18.1: method Data, an indication.
const DATA_INDICATION: [u8; 2] = [0x00, 0x17];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
/// An HMAC-SHA1 attribute with its header.
const INTEGRITY_LEN: usize = 4 + 20;
/// ICE checks are about 100 bytes; nothing longer is worth an HMAC.
const MAX_LEN: usize = 1024;

/// What a peer must know to reach us: our half of the ICE user name, and our password.
#[derive(Debug, Clone)]
pub struct Credentials {
    ufrag: String,
    key: hmac::Key,
}

impl Credentials {
    /// From `a=ice-ufrag` and `a=ice-pwd` of our own description.
    pub fn new(ufrag: &str, password: &str) -> Self {
        Self {
            ufrag: ufrag.to_owned(),
            // RFC 8489, 9.1.1: a short-term credential's key is the password itself.
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()),
        }
    }

    /// Our half of the ICE user name.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// Whether `datagram` is a binding request to us, sealed with our password.
    pub fn match_request(&self, datagram: &[u8]) -> bool {
        let Some(request) = Request::parse(datagram) else { return false };
        // RFC 8445, 7.2.2: the user name is the receiver's fragment, a colon, the sender's.
        let ours = request.username.strip_prefix(self.ufrag.as_bytes());
        ours.is_some_and(|rest| rest.first() == Some(&b':')) && self.seals(&request)
    }

    fn seals(&self, request: &Request<'_>) -> bool {
        let mut sealed = request.sealed.to_vec();
        // RFC 8489, 14.5: the length field as if the message ended with this attribute.
        let length = (sealed.len() - HEADER_LEN + INTEGRITY_LEN) as u16;
        sealed[2..4].copy_from_slice(&length.to_be_bytes());
        hmac::verify(&self.key, &sealed, request.integrity).is_ok()
    }
}

/// Whether a datagram has the form of a binding request; it may still be anyone's.
pub fn is_binding_request(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[..2] == BINDING_REQUEST && datagram[4..8] == MAGIC_COOKIE
}

/// Whether a datagram has the form in which a relay brings a peer's.
pub fn is_data_indication(datagram: &[u8]) -> bool {
    datagram.get(..2) == Some(&DATA_INDICATION[..])
}

struct Request<'a> {
    username: &'a [u8],
    /// All before MESSAGE-INTEGRITY.
    sealed: &'a [u8],
    integrity: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(datagram: &'a [u8]) -> Option<Self> {
        if !is_binding_request(datagram) || datagram.len() > MAX_LEN {
            return None;
        }
        let mut username = None;
        let mut at = HEADER_LEN;
        loop {
            let header = datagram.get(at..at + 4)?;
            let kind = u16::from_be_bytes([header[0], header[1]]);
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let value = datagram.get(at + 4..at + 4 + length)?;
            match kind {
                USERNAME => username = Some(value),
                MESSAGE_INTEGRITY => {
                    return Some(Self { username: username?, sealed: &datagram[..at], integrity: value });
                }
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A binding request as an ICE agent sends it.
    pub fn binding_request(ufrag: &str, password: &str) -> Vec<u8> {
        let username = format!("{ufrag}:peer");
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        message.extend([7; 12]);
        message.extend(USERNAME.to_be_bytes());
        message.extend((username.len() as u16).to_be_bytes());
        message.extend(username.as_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
        let length = (message.len() - HEADER_LEN + INTEGRITY_LEN) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let tag = hmac::sign(&key, &message);
        message.extend(MESSAGE_INTEGRITY.to_be_bytes());
        message.extend(20u16.to_be_bytes());
        message.extend(tag.as_ref());
        message
    }

    /// RFC 5769, 2.1: user name `evtj:h6vY`, password `VOkJxbRl1RmTxUk/WvJxBt`.
    const SAMPLE_REQUEST: [u8; 108] = [
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
        0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
        0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
        0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
        0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
        0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];

    #[test]
    fn the_rfc_5769_sample_request_is_authentic() {
        let credentials = Credentials::new("evtj", "VOkJxbRl1RmTxUk/WvJxBt");
        assert!(credentials.match_request(&SAMPLE_REQUEST));
    }

    #[test]
    fn another_password_or_name_is_not() {
        assert!(!Credentials::new("evtj", "VOkJxbRl1RmTxUk/WvJxBu").match_request(&SAMPLE_REQUEST));
        assert!(!Credentials::new("evt", "VOkJxbRl1RmTxUk/WvJxBt").match_request(&SAMPLE_REQUEST));
    }

    #[test]
    fn a_request_changed_or_cut_anywhere_before_its_seal_is_not() {
        let credentials = Credentials::new("ours", "a password of ours");
        let request = binding_request("ours", "a password of ours");
        assert!(credentials.match_request(&request));
        for end in 0..request.len() {
            assert!(!credentials.match_request(&request[..end]), "cut to {end}");
        }
        // Bytes 2 and 3, the length, are put right before the seal is checked.
        for at in (0..request.len()).filter(|at| !(2..4).contains(at)) {
            let mut changed = request.clone();
            changed[at] ^= 1;
            assert!(!credentials.match_request(&changed), "byte {at}");
        }
    }
}
