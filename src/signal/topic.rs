//! Ids and topics of pinhole/1. Pure. An id is checked before any use: fixed length, lower case, nothing that
//! means something to a broker or a file system. Not here: what is in a message.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The id's raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// An id from raw (random) bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Reads the text form: exactly `2 × bytes` lower-case hex digits.
            pub fn parse(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != 2 * $bytes {
                    return None;
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                    *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
                }
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id!(
    /// `k`: a viewer's key id, 16 hex digits.
    KeyId,
    8
);
id!(
    /// A pairing's public name, made from its one-time secret; stands where `k` stands in `pair1` and `pair2`.
    PairingId,
    8
);
id!(
    /// `s`: a session, 32 hex digits, random, chosen by the viewer.
    SessionId,
    16
);
id!(
    /// `nd`: the device's nonce, 32 hex digits, new at start and every 60 s.
    DeviceNonce,
    16
);

impl DeviceNonce {
    /// Stands where a viewer cannot know the device's nonce, as in what is carried by hand. No device ever draws it.
    pub const BY_HAND: Self = Self([0; 16]);
}

/// `d`: a device, 16 characters of base32 (RFC 4648 alphabet in lower case: 80 random bits), made at first start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 16]);

impl DeviceId {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// An id from ten random bytes.
    pub fn from_random(bytes: [u8; 10]) -> Self {
        let mut wide = [0; 16];
        wide[6..].copy_from_slice(&bytes);
        let bits = u128::from_be_bytes(wide);
        Self(std::array::from_fn(|i| Self::ALPHABET[(bits >> (75 - 5 * i)) as usize & 31]))
    }

    /// Reads the text form: exactly 16 characters of the alphabet.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 16] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| Self::ALPHABET.contains(byte)).then_some(Self(bytes))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({self})")
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// What a topic of one device carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Device → all, retained.
    Status,
    /// Viewers → device.
    In,
    /// Device → one viewer.
    Out(SessionId),
}

/// Why a root cannot stand before the device's id in a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    #[error("the topic root is empty: give it at least one level, as in \"pinhole\"")]
    Empty,
    #[error("the topic root is {0} bytes long: at most {MAX_ROOT} are allowed")]
    TooLong(usize),
    #[error("the topic root {0:?} has an empty level: remove the slash at an end, or the double one")]
    EmptyLevel(String),
    #[error("the topic root {0:?} has {1} levels: at most {MAX_ROOT_LEVELS} are allowed")]
    TooDeep(String, usize),
    #[error("the topic root {0:?} holds {1:?}, which means something else to a broker: leave it out")]
    Forbidden(String, char),
}

/// Bytes of a root.
const MAX_ROOT: usize = 64;
/// Levels of a root, which leaves a topic well below what brokers refuse (AWS IoT: seven slashes).
const MAX_ROOT_LEVELS: usize = 4;

/// Where a device's messages go: the root (`pinhole`) and the device's id. Its topics are `<root>/<d>/status`,
/// `<root>/<d>/in` and `<root>/<d>/out/<s>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub root: String,
    pub device: DeviceId,
}

impl Address {
    /// The address of `device` below `root`.
    ///
    /// # Errors
    /// When `root` would not be a plain prefix of a topic.
    pub fn new(root: &str, device: DeviceId) -> Result<Self, RootError> {
        check_root(root)?;
        Ok(Self { root: root.to_owned(), device })
    }

    /// `<root>/<d>/in`: viewer → device.
    pub fn topic_in(&self) -> String {
        self.name(Topic::In)
    }

    /// `<root>/<d>/status`: device → all, retained.
    pub fn topic_status(&self) -> String {
        self.name(Topic::Status)
    }

    /// `<root>/<d>/out/<s>`: device → one viewer's session.
    pub fn topic_out(&self, session: &SessionId) -> String {
        self.name(Topic::Out(*session))
    }

    /// The topic's name.
    pub fn name(&self, topic: Topic) -> String {
        name(&self.root, self.device, topic)
    }

    /// Reads a topic's name; a filter, or another device's topic, is none.
    pub fn parse(&self, topic: &str) -> Option<Topic> {
        parse(&self.root, topic).filter(|(device, _)| *device == self.device).map(|(_, topic)| topic)
    }
}

/// The name of a device's topic.
pub fn name(root: &str, device: DeviceId, topic: Topic) -> String {
    match topic {
        Topic::Status => format!("{root}/{device}/status"),
        Topic::In => format!("{root}/{device}/in"),
        Topic::Out(session) => format!("{root}/{device}/out/{session}"),
    }
}

/// Reads the name of any device's topic below `root`; a filter is none.
pub fn parse(root: &str, topic: &str) -> Option<(DeviceId, Topic)> {
    let (device, rest) = topic.strip_prefix(root)?.strip_prefix('/')?.split_once('/')?;
    let topic = match rest {
        "status" => Topic::Status,
        "in" => Topic::In,
        rest => Topic::Out(SessionId::parse(rest.strip_prefix("out/")?)?),
    };
    Some((DeviceId::parse(device)?, topic))
}

/// Checks what may stand before a device's id.
///
/// # Errors
/// The first rule that `root` breaks.
pub fn check_root(root: &str) -> Result<(), RootError> {
    if root.is_empty() {
        return Err(RootError::Empty);
    }
    if root.len() > MAX_ROOT {
        return Err(RootError::TooLong(root.len()));
    }
    // MQTT 5, 4.7: wildcards may not stand in a topic name, nor U+0000; a leading $ belongs to the broker.
    let forbidden = |c: &char| matches!(c, '+' | '#') || c.is_control();
    if let Some(c) = root.chars().find(forbidden).or_else(|| root.starts_with('$').then_some('$')) {
        return Err(RootError::Forbidden(root.to_owned(), c));
    }
    if root.split('/').any(str::is_empty) {
        return Err(RootError::EmptyLevel(root.to_owned()));
    }
    match root.split('/').count() {
        0..=MAX_ROOT_LEVELS => Ok(()),
        levels => Err(RootError::TooDeep(root.to_owned(), levels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceId {
        DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap()
    }

    #[test]
    fn ids_keep_their_text() {
        let text = "00112233445566778899aabbccddeeff";
        assert_eq!(SessionId::parse(text).unwrap().to_string(), text);
        assert_eq!(KeyId::from_bytes([0xfe; 8]).to_string(), "fefefefefefefefe");
        assert_eq!(DeviceId::from_random([0; 10]).as_str(), "aaaaaaaaaaaaaaaa");
        assert_eq!(DeviceId::from_random([0xff; 10]).as_str(), "7777777777777777");
    }

    #[test]
    fn ids_of_another_form_are_refused() {
        for text in
            ["", "0011", "00112233445566778899AABBCCDDEEFF", "../#/+/aaaaaaaaaaaaaaaaaaaaaaaaaa", "éé"]
        {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
        for text in ["", "q3v7m2k5x4n6p7r", "Q3V7M2K5X4N6P7R2", "q3v7m2k5x4n6p7r1", "q3v7m2k5x4n6p7r/"] {
            assert_eq!(DeviceId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn topics_read_back() {
        let address = Address::new("home/cameras", device()).unwrap();
        let session = SessionId::from_bytes([0xa5; 16]);
        assert_eq!(address.topic_in(), "home/cameras/q3v7m2k5x4n6p7r2/in");
        assert_eq!(address.topic_status(), "home/cameras/q3v7m2k5x4n6p7r2/status");
        assert_eq!(
            address.topic_out(&session),
            "home/cameras/q3v7m2k5x4n6p7r2/out/a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"
        );
        for topic in [Topic::Status, Topic::In, Topic::Out(session)] {
            assert_eq!(address.parse(&address.name(topic)), Some(topic));
            assert_eq!(parse("home/cameras", &address.name(topic)), Some((device(), topic)));
        }
    }

    #[test]
    fn other_topics_are_none() {
        let address = Address::new("pinhole", device()).unwrap();
        for topic in [
            "pinhole/q3v7m2k5x4n6p7r2",
            "pinhole/q3v7m2k5x4n6p7r2/",
            "pinhole/q3v7m2k5x4n6p7r2/in/",
            "pinhole/q3v7m2k5x4n6p7r2x/in",
            "pinhole/aaaaaaaaaaaaaaaa/in",
            "pinhole/q3v7m2k5x4n6p7r2/out/+",
            "pinhole/q3v7m2k5x4n6p7r2/out/#",
            "pinhole/+/status",
            "#",
            "/pinhole/q3v7m2k5x4n6p7r2/in",
            "pinholeq3v7m2k5x4n6p7r2/in",
            "q3v7m2k5x4n6p7r2/in",
            "",
        ] {
            assert_eq!(address.parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn roots_that_a_broker_would_read_otherwise_are_refused() {
        for root in ["a", "pinhole", "a/b/c/d", "a$b", "caméra"] {
            assert_eq!(check_root(root), Ok(()), "{root}");
        }
        for root in ["a+", "#", "$SYS", "a\0b", "a\nb"] {
            assert!(matches!(check_root(root), Err(RootError::Forbidden(..))), "{root:?}");
        }
        for root in ["/a", "a/", "a//b"] {
            assert!(matches!(check_root(root), Err(RootError::EmptyLevel(_))), "{root}");
        }
        assert_eq!(check_root(""), Err(RootError::Empty));
        assert_eq!(check_root(&"a".repeat(65)), Err(RootError::TooLong(65)));
        assert!(matches!(check_root("a/b/c/d/e"), Err(RootError::TooDeep(_, 5))));
    }
}
