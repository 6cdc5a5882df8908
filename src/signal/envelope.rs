//! The sealed envelope of pinhole/1 (docs/signaling.md, "Envelope"): reading and writing its JSON, deriving a
//! session's keys, sealing and opening, and the counters that keep a key from being used twice with one nonce.
//! Pure. Not here: which sessions and nonces are acceptable (`desk`), and what the body means (`message`).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::{aead, hkdf};
use serde::{Deserialize, Deserializer};

use super::topic::{DeviceId, DeviceNonce, KeyId, SessionId};

/// Bytes of an envelope at most.
pub const MAX_ENVELOPE: usize = 32 * 1024;
/// Counters stay below this, so that a JSON number holds them exactly everywhere (RFC 8259, section 6).
pub const MAX_COUNTER: u64 = 1 << 53;
/// Characters of a message type at most.
const MAX_KIND: usize = 16;
/// An uncompressed point on P-256 (SEC 1, 2.3.3).
pub const POINT_BYTES: usize = 65;

/// An uncompressed public point, as sent; not yet known to lie on the curve.
pub type Point = [u8; POINT_BYTES];

/// Why bytes are no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("longer than {MAX_ENVELOPE} bytes")]
    TooLarge,
    #[error("not a JSON object with exactly the fields of an envelope")]
    Malformed,
}

/// An envelope that was read but not opened: nothing in it is true yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `t`: 1 to 16 lower-case letters and digits.
    pub kind: String,
    /// `k`: the viewer's key; in `pair1` and `pair2` the pairing's id.
    pub key: KeyId,
    /// `s`.
    pub session: SessionId,
    /// `nd`.
    pub nonce: DeviceNonce,
    /// `n`, below [`MAX_COUNTER`].
    pub counter: u64,
    /// `e`: only while pairing.
    pub ephemeral: Option<Point>,
    /// `c`: ciphertext and tag.
    sealed: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    v: u8,
    #[serde(borrow)]
    t: Cow<'a, str>,
    #[serde(borrow)]
    k: Cow<'a, str>,
    #[serde(borrow)]
    s: Cow<'a, str>,
    #[serde(borrow)]
    nd: Cow<'a, str>,
    n: u64,
    #[serde(borrow, default, deserialize_with = "present")]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    c: Cow<'a, str>,
}

/// A field that may be missing, but not `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    Cow::deserialize(deserializer).map(Some)
}

impl Envelope {
    /// Reads an envelope. Fields that are unknown or come twice are refused: the seal does not cover them.
    ///
    /// # Errors
    /// When it is too large or not of this form.
    pub fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        if payload.len() > MAX_ENVELOPE {
            return Err(ParseError::TooLarge);
        }
        let raw: Raw = from_json_object(payload).map_err(|_| ParseError::Malformed)?;
        Self::check(&raw).ok_or(ParseError::Malformed)
    }

    fn check(raw: &Raw) -> Option<Self> {
        let kind_fits = (1..=MAX_KIND).contains(&raw.t.len())
            && raw.t.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if raw.v != 1 || raw.n >= MAX_COUNTER || !kind_fits {
            return None;
        }
        let ephemeral = match &raw.e {
            Some(text) => Some(from_base64(text)?.try_into().ok()?),
            None => None,
        };
        Some(Self {
            kind: raw.t.clone().into_owned(),
            key: KeyId::parse(&raw.k)?,
            session: SessionId::parse(&raw.s)?,
            nonce: DeviceNonce::parse(&raw.nd)?,
            counter: raw.n,
            ephemeral,
            sealed: from_base64(&raw.c)?,
        })
    }

    /// The body, if it was sealed with `key` for `device` and nothing around it was changed.
    pub fn open(&self, device: DeviceId, key: &SealKey) -> Option<Vec<u8>> {
        let header = Header {
            kind: &self.kind,
            device,
            key: self.key,
            session: self.session,
            nonce: self.nonce,
            counter: self.counter,
        };
        let mut body = self.sealed.clone();
        let length = key.0.open_in_place(header.aead_nonce(), header.aad(), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// A body does not fit into an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit into an envelope of {MAX_ENVELOPE} bytes")]
pub struct TooLarge;

/// Everything that is sealed into an envelope beside its body.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    pub kind: &'a str,
    pub device: DeviceId,
    pub key: KeyId,
    pub session: SessionId,
    pub nonce: DeviceNonce,
    pub counter: u64,
}

impl Header<'_> {
    /// Seals `body`. The caller never uses a key twice with one counter.
    ///
    /// # Errors
    /// When the envelope would be larger than [`MAX_ENVELOPE`].
    pub fn seal(&self, key: &SealKey, ephemeral: Option<&Point>, body: &[u8]) -> Result<Bytes, TooLarge> {
        if body.len() > MAX_ENVELOPE {
            return Err(TooLarge);
        }
        let mut sealed = body.to_vec();
        key.0
            .seal_in_place_append_tag(self.aead_nonce(), self.aad(), &mut sealed)
            .expect("AES-GCM takes 32 KiB");
        let Self { kind, key, session, nonce, counter, .. } = self;
        let ephemeral = ephemeral.map_or(String::new(), |point| format!(r#","e":"{}""#, to_base64(point)));
        let sealed = to_base64(&sealed);
        let envelope = format!(
            r#"{{"v":1,"t":"{kind}","k":"{key}","s":"{session}","nd":"{nonce}","n":{counter}{ephemeral},"c":"{sealed}"}}"#
        );
        if envelope.len() > MAX_ENVELOPE { Err(TooLarge) } else { Ok(envelope.into()) }
    }

    /// `0^4 || n` as a big-endian 64-bit number.
    fn aead_nonce(&self) -> aead::Nonce {
        let mut nonce = [0; aead::NONCE_LEN];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        aead::Nonce::assume_unique_for_key(nonce)
    }

    fn aad(&self) -> aead::Aad<String> {
        let Self { kind, device, key, session, nonce, counter } = self;
        aead::Aad::from(format!("pinhole/1|{kind}|{device}|{key}|{session}|{nonce}|{counter}"))
    }
}

/// A key for AES-256-GCM. Never shown.
pub struct SealKey(aead::LessSafeKey);

impl SealKey {
    /// A key from derived bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, bytes).expect("32 bytes are a key for AES-256");
        Self(aead::LessSafeKey::new(key))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

/// `K_v`: the secret that a viewer and the device share. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ViewerKey([u8; 32]);

impl ViewerKey {
    /// A key from derived or stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For the key store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ViewerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewerKey")
    }
}

/// HKDF-SHA256 (RFC 5869).
pub fn derive<const N: usize>(secret: &[&[u8]], salt: &[&[u8]], info: &str) -> [u8; N] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; N];
    hkdf::Salt::new(hkdf::HKDF_SHA256, &salt.concat())
        .extract(&secret.concat())
        .expand(&[info.as_bytes()], Length(N))
        .and_then(|derived| derived.fill(&mut bytes))
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    bytes
}

/// What a session's keys are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionIds {
    pub device: DeviceId,
    pub key: KeyId,
    pub session: SessionId,
    pub nonce: DeviceNonce,
}

/// `K_to_device || K_to_viewer`.
pub fn session_keys(ids: &SessionIds, viewer_key: &ViewerKey) -> [u8; 64] {
    let info = format!("pinhole/1 session|{}|{}", ids.device, ids.key);
    derive(&[viewer_key.as_bytes()], &[ids.session.as_bytes(), ids.nonce.as_bytes()], &info)
}

/// Whose end of a session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Device,
    Viewer,
}

/// Why an envelope was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("of another session, key or nonce")]
    Elsewhere,
    #[error("its counter has not risen")]
    Replayed,
    #[error("not sealed with this session's key")]
    Forged,
}

/// One end of a session: a key and a counter for each direction.
#[derive(Debug)]
pub struct Channel {
    ids: SessionIds,
    sealing: SealKey,
    opening: SealKey,
    /// The counter of the next envelope out.
    next: u64,
    /// The lowest counter that is still acceptable.
    expected: u64,
}

impl Channel {
    /// A session at its begin. The same ids and key must not begin twice at the same end.
    pub fn new(end: End, ids: SessionIds, viewer_key: &ViewerKey) -> Self {
        let keys = session_keys(&ids, viewer_key);
        let (to_device, to_viewer) = keys.split_at(32);
        let key = |half: &[u8]| SealKey::new(half.try_into().expect("half of 64 bytes"));
        let (sealing, opening) = match end {
            End::Device => (key(to_viewer), key(to_device)),
            End::Viewer => (key(to_device), key(to_viewer)),
        };
        Self { ids, sealing, opening, next: 0, expected: 0 }
    }

    /// What the keys were made from.
    pub const fn ids(&self) -> &SessionIds {
        &self.ids
    }

    /// Seals a message and counts it.
    ///
    /// # Errors
    /// When it is too large; then nothing was counted, and something smaller can be sealed.
    pub fn seal(&mut self, kind: &str, body: &[u8]) -> Result<Bytes, TooLarge> {
        assert!(self.next < MAX_COUNTER, "a thousand envelopes a second reach this after 285,000 years");
        let SessionIds { device, key, session, nonce } = self.ids;
        let header = Header { kind, device, key, session, nonce, counter: self.next };
        let envelope = header.seal(&self.sealing, None, body)?;
        self.next += 1;
        Ok(envelope)
    }

    /// Opens an envelope of the other end, once.
    ///
    /// # Errors
    /// Says why not; then nothing has changed.
    pub fn open(&mut self, envelope: &Envelope) -> Result<Vec<u8>, OpenError> {
        let SessionIds { device, key, session, nonce } = self.ids;
        if (envelope.key, envelope.session, envelope.nonce) != (key, session, nonce)
            || envelope.ephemeral.is_some()
        {
            return Err(OpenError::Elsewhere);
        }
        if envelope.counter < self.expected {
            return Err(OpenError::Replayed);
        }
        let body = envelope.open(device, &self.opening).ok_or(OpenError::Forged)?;
        self.expected = envelope.counter + 1;
        Ok(body)
    }
}

/// Base64url without padding (RFC 4648, section 5).
pub fn to_base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads base64url; padding, other alphabets and stray bits at the end are refused.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Reads a JSON object; serde alone would take an array with the fields in order, too.
pub(super) fn from_json_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(json),
        _ => Err(serde::de::Error::custom("not a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> SessionIds {
        SessionIds {
            device: DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap(),
            key: KeyId::from_bytes([1; 8]),
            session: SessionId::from_bytes([2; 16]),
            nonce: DeviceNonce::from_bytes([3; 16]),
        }
    }

    fn ends() -> (Channel, Channel) {
        let key = ViewerKey::from_bytes([4; 32]);
        (Channel::new(End::Viewer, ids(), &key), Channel::new(End::Device, ids(), &key))
    }

    fn text(envelope: &Bytes) -> String {
        String::from_utf8(envelope.to_vec()).unwrap()
    }

    #[test]
    fn what_one_end_seals_the_other_opens() {
        let (mut viewer, mut device) = ends();
        for body in ["{}", r#"{"sdp":"v=0"}"#] {
            let there = Envelope::parse(&viewer.seal("offer", body.as_bytes()).unwrap()).unwrap();
            assert_eq!(device.open(&there).unwrap(), body.as_bytes());
            let back = Envelope::parse(&device.seal("answer", body.as_bytes()).unwrap()).unwrap();
            assert_eq!(viewer.open(&back).unwrap(), body.as_bytes());
        }
    }

    #[test]
    fn opens_once_and_in_order_only() {
        let (mut viewer, mut device) = ends();
        let sent: Vec<_> =
            (0..3).map(|_| Envelope::parse(&viewer.seal("candidate", b"{}").unwrap()).unwrap()).collect();
        assert_eq!(device.open(&sent[1]).as_deref(), Ok(&b"{}"[..]));
        assert_eq!(device.open(&sent[1]), Err(OpenError::Replayed));
        assert_eq!(device.open(&sent[0]), Err(OpenError::Replayed));
        assert_eq!(device.open(&sent[2]).as_deref(), Ok(&b"{}"[..]));
    }

    #[test]
    fn a_change_anywhere_is_noticed() {
        let (mut viewer, mut device) = ends();
        let sent = Envelope::parse(&viewer.seal("offer", b"{}").unwrap()).unwrap();
        let mut changed = sent.clone();
        changed.kind = "bye".into();
        assert_eq!(device.open(&changed), Err(OpenError::Forged));
        let mut changed = sent.clone();
        changed.counter = 1;
        assert_eq!(device.open(&changed), Err(OpenError::Forged));
        for at in 0..sent.sealed.len() {
            let mut changed = sent.clone();
            changed.sealed[at] ^= 1;
            assert_eq!(device.open(&changed), Err(OpenError::Forged));
        }
        let mut changed = sent.clone();
        changed.sealed.clear();
        assert_eq!(device.open(&changed), Err(OpenError::Forged));
        let mut changed = sent.clone();
        changed.session = SessionId::from_bytes([9; 16]);
        assert_eq!(device.open(&changed), Err(OpenError::Elsewhere));
        assert!(device.open(&sent).is_ok(), "what was refused cost nothing");
    }

    #[test]
    fn a_reflected_envelope_is_forged() {
        let (mut viewer, mut device) = ends();
        let own = Envelope::parse(&device.seal("bye", b"{}").unwrap()).unwrap();
        assert_eq!(device.open(&own), Err(OpenError::Forged));
        let own = Envelope::parse(&viewer.seal("bye", b"{}").unwrap()).unwrap();
        assert_eq!(viewer.open(&own), Err(OpenError::Forged));
    }

    #[test]
    fn only_the_exact_form_is_read() {
        let (mut viewer, _) = ends();
        let good = text(&viewer.seal("offer", b"{}").unwrap());
        assert!(Envelope::parse(good.as_bytes()).is_ok());
        assert!(Envelope::parse(good.replace("offer", "o\\u0066fer").as_bytes()).is_ok(), "JSON escapes");
        let changes = [
            (r#""v":1"#, r#""v":2"#),
            (r#""v":1"#, r#""v":1,"v":1"#),
            (r#""v":1"#, r#""v":1,"x":0"#),
            (r#""v":1,"#, ""),
            (r#""n":0"#, r#""n":-1"#),
            (r#""n":0"#, r#""n":0.0"#),
            (r#""n":0"#, r#""n":"0""#),
            (r#""n":0"#, r#""n":9007199254740992"#),
            (r#""n":0"#, r#""n":0,"e":"AAAA""#),
            (r#""n":0"#, r#""n":0,"e":null"#),
            (r#""t":"offer""#, r#""t":"Offer""#),
            (r#""t":"offer""#, r#""t":"""#),
            (r#""t":"offer""#, r#""t":"offer|offer""#),
            (r#""k":"01"#, r#""k":"0""#),
            (r#""s":"02"#, r#""s":"+2"#),
            (r#""c":""#, r#""c":"="#),
            (r#""c":""#, r#""c":"+"#),
            (r#""}"#, r#"=="}"#),
            (r#""}"#, r#""}x"#),
        ];
        for (from, to) in changes {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert_eq!(Envelope::parse(bad.as_bytes()), Err(ParseError::Malformed), "{bad}");
        }
    }

    #[test]
    fn hostile_sizes_and_depths_are_refused() {
        assert_eq!(Envelope::parse(&[b'{'; 33 * 1024]), Err(ParseError::TooLarge));
        let deep = "[".repeat(20_000);
        for bad in [deep.clone(), format!(r#"{{"v":{deep}"#), format!(r#"{{"x":{deep}"#), String::new()] {
            assert_eq!(Envelope::parse(bad.as_bytes()), Err(ParseError::Malformed));
        }
        let array = r#"[1,"offer","0101010101010101","02","03",0,null,""]"#;
        assert_eq!(Envelope::parse(array.as_bytes()), Err(ParseError::Malformed));
    }

    #[test]
    fn too_large_a_body_is_not_counted() {
        let (mut viewer, mut device) = ends();
        assert_eq!(viewer.seal("offer", &[b' '; MAX_ENVELOPE]), Err(TooLarge));
        assert_eq!(viewer.seal("offer", &[b' '; MAX_ENVELOPE * 3 / 4]), Err(TooLarge));
        let small = viewer.seal("offer", &[b' '; MAX_ENVELOPE * 3 / 4 - 256]).unwrap();
        assert!(small.len() <= MAX_ENVELOPE);
        let small = Envelope::parse(&small).unwrap();
        assert_eq!(small.counter, 0);
        assert!(device.open(&small).is_ok());
    }

    #[test]
    fn keys_are_never_shown() {
        let (viewer, _) = ends();
        let shown = format!("{viewer:?} {:?}", ViewerKey::from_bytes([0x41; 32]));
        assert!(shown.contains("SealKey") && shown.contains("ViewerKey"));
        assert!(!shown.contains("65, 65") && !shown.contains("4141"));
    }
}
