//! The viewer's side of pinhole/1, for native viewers and for tests that play one. The page has its own in
//! JavaScript (`web/page/protocol.mjs`); both are held to the same test vectors. Pure but for random bytes.
//! Not here: carriers, and WebRTC.

use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;

use super::{
    envelope::{Channel, End, Envelope, Header, SealKey, SessionIds, TooLarge, from_json_object},
    keys::{ViewerRecord, random},
    link::Link,
    message::{ErrorCode, Offer, ToDevice, ToViewer, Welcome, by_hand},
    pairing::{Agreement, ConfirmBody, Ephemeral, RequestBody, agree, pairing_id, request_key},
    topic::{DeviceId, DeviceNonce, KeyId, SessionId},
};

/// What a device says of itself on its status topic. Not sealed: a broker may lie here, and then nothing works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Online { nonce: DeviceNonce },
    Offline,
}

impl Status {
    /// Reads a status; `None` if it is none.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            v: u8,
            online: bool,
            nd: Option<String>,
        }
        match from_json_object(payload).ok()? {
            Raw { v: 1, online: true, nd: Some(nd) } => {
                Some(Self::Online { nonce: DeviceNonce::parse(&nd)? })
            }
            Raw { v: 1, online: false, .. } => Some(Self::Offline),
            Raw { .. } => None,
        }
    }
}

/// A new session's id.
pub fn new_session() -> SessionId {
    let mut bytes = [0; 16];
    random(&mut bytes);
    SessionId::from_bytes(bytes)
}

/// A paired viewer's session.
#[derive(Debug)]
pub struct ViewerSession(Channel);

impl ViewerSession {
    /// Begins a session under the device's present nonce.
    pub fn new(device: DeviceId, viewer: &ViewerRecord, session: SessionId, nonce: DeviceNonce) -> Self {
        let ids = SessionIds { device, key: viewer.id, session, nonce };
        Self(Channel::new(End::Viewer, ids, &viewer.key))
    }

    /// Where the device answers.
    pub const fn id(&self) -> SessionId {
        self.0.ids().session
    }

    /// Seals a message.
    ///
    /// # Errors
    /// When it is too large.
    pub fn seal(&mut self, message: &ToDevice) -> Result<Bytes, TooLarge> {
        let (kind, body) = message.encode();
        self.0.seal(kind, &body)
    }

    /// Seals any body, as a viewer of another version would, or a wrong one.
    ///
    /// # Errors
    /// When it is too large.
    pub fn seal_raw(&mut self, kind: &str, body: &[u8]) -> Result<Bytes, TooLarge> {
        self.0.seal(kind, body)
    }

    /// The device's message, if it is one of this session and was not read before.
    pub fn open(&mut self, payload: &[u8]) -> Option<ToViewer> {
        let envelope = Envelope::parse(payload).ok()?;
        let body = self.0.open(&envelope).ok()?;
        ToViewer::decode(&envelope.kind, &body).ok()
    }
}

/// A paired viewer's session by hand: one offer there, one answer back.
#[derive(Debug)]
pub struct HandSession {
    device: DeviceId,
    viewer: ViewerRecord,
    session: SessionId,
}

impl HandSession {
    /// A new one.
    pub fn new(device: DeviceId, viewer: ViewerRecord) -> Self {
        Self::resume(device, viewer, new_session())
    }

    /// One whose offer was sealed before.
    pub const fn resume(device: DeviceId, viewer: ViewerRecord, session: SessionId) -> Self {
        Self { device, viewer, session }
    }

    /// Seals the offer, which must hold all candidates. Once in a session.
    ///
    /// # Errors
    /// When it is too large.
    pub fn offer(&self, offer: &Offer) -> Result<Bytes, TooLarge> {
        let (kind, body) = ToDevice::Offer(offer.clone()).encode();
        self.channel(DeviceNonce::BY_HAND).seal(kind, &body)
    }

    /// The device's answer, if it is one to this offer.
    pub fn open(&self, payload: &[u8]) -> Option<by_hand::Answer> {
        by_hand::Answer::decode(&self.read("answer", payload)?).ok()
    }

    /// What goes with the key of a viewer that was paired by hand, in the pairing's session.
    pub fn open_welcome(&self, payload: &[u8]) -> Option<Welcome> {
        match ToViewer::decode("welcome", &self.read("welcome", payload)?) {
            Ok(ToViewer::Welcome(welcome)) => Some(welcome),
            _ => None,
        }
    }

    fn read(&self, kind: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let envelope = Envelope::parse(payload).ok()?;
        if envelope.nonce == DeviceNonce::BY_HAND || envelope.counter != 0 || envelope.kind != kind {
            return None;
        }
        self.channel(envelope.nonce).open(&envelope).ok()
    }

    fn channel(&self, nonce: DeviceNonce) -> Channel {
        let Self { device, viewer: ViewerRecord { id: key, key: secret, .. }, session } = self;
        Channel::new(End::Viewer, SessionIds { device: *device, key: *key, session: *session, nonce }, secret)
    }
}

/// The device's reason not to pair, sealed by it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the device refused the pairing: {message}")]
pub struct Refused {
    pub code: ErrorCode,
    pub message: String,
}

/// A link being taken.
pub struct ViewerPairing {
    link: Link,
    session: SessionId,
    nonce: DeviceNonce,
    point: super::envelope::Point,
    ephemeral: Option<Ephemeral>,
    request: Bytes,
}

impl std::fmt::Debug for ViewerPairing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewerPairing").field("session", &self.session).finish_non_exhaustive()
    }
}

impl ViewerPairing {
    /// Prepares the request under the device's present nonce. `name` is what the viewer calls itself.
    ///
    /// # Errors
    /// When the name is too large.
    pub fn new(link: Link, nonce: DeviceNonce, name: &str) -> Result<Self, TooLarge> {
        let session = new_session();
        let ephemeral = Ephemeral::new();
        let point = *ephemeral.point();
        let body = serde_json::to_vec(&RequestBody { name: name.to_owned() });
        let body = body.expect("a string is always JSON");
        let key = KeyId::from_bytes(*pairing_id(&link.secret).as_bytes());
        let header = Header { kind: "pair1", device: link.device, key, session, nonce, counter: 0 };
        let seal = SealKey::new(&request_key(&link.secret, &point, link.device));
        let request = header.seal(&seal, Some(&point), &body)?;
        Ok(Self { link, session, nonce, point, ephemeral: Some(ephemeral), request })
    }

    /// Where the device answers.
    pub const fn id(&self) -> SessionId {
        self.session
    }

    /// `pair1`: always the same bytes, so it may be sent again.
    pub fn request(&self) -> Bytes {
        self.request.clone()
    }

    /// What this viewer now is, if `payload` is the device's answer; `None` if it is not.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn finish(&mut self, payload: &[u8]) -> Result<Option<ViewerRecord>, Refused> {
        let Some((kind, body, agreed)) = self.open(payload) else { return Ok(None) };
        if kind == "pair2" {
            return Ok(record(&body, agreed));
        }
        match ToViewer::decode(&kind, &body) {
            Ok(ToViewer::Error { code, message }) => Err(Refused { code, message }),
            _ => Ok(None),
        }
    }

    fn open(&mut self, payload: &[u8]) -> Option<(String, Vec<u8>, Agreement)> {
        let envelope = Envelope::parse(payload).ok()?;
        let device_point = envelope.ephemeral?;
        let key = KeyId::from_bytes(*pairing_id(&self.link.secret).as_bytes());
        if (envelope.key, envelope.session, envelope.nonce, envelope.counter)
            != (key, self.session, self.nonce, 0)
        {
            return None;
        }
        let Link { device, secret, .. } = &self.link;
        // `ring` agrees once for each key: a forged first answer ends this attempt, and the viewer begins anew.
        let agreed = self
            .ephemeral
            .take()?
            .agree(&device_point, |shared| agree(shared, secret, &self.point, &device_point, *device))?;
        let body = envelope.open(*device, &SealKey::new(&agreed.confirm_key))?;
        Some((envelope.kind, body, agreed))
    }
}

fn record(body: &[u8], agreed: Agreement) -> Option<ViewerRecord> {
    let ConfirmBody { k, role, name } = from_json_object(body).ok()?;
    Some(ViewerRecord::new(KeyId::parse(&k)?, agreed.viewer_key, role, name))
}
