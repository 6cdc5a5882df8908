//! Pairing (docs/signaling.md, "Pairing"): from a link's one-time secret to a key that only this viewer and the
//! device know. Pure but for the ephemeral key, which `ring` draws from the kernel by itself. Not here: the link's
//! text (`link`), and where the key is kept (`keys`).

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ring::{
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    rand::SystemRandom,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    envelope::{Envelope, Header, Point, SealKey, ViewerKey, derive, from_json_object},
    keys::ViewerRecord,
    link::PairingSecret,
    message::{ErrorCode, Role, ToViewer, printable},
    topic::{DeviceId, KeyId, PairingId, SessionId},
};

/// How long an invitation can be taken.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// Requests with a wrong seal after which an invitation is void.
pub const MAX_FAILURES: u32 = 5;
/// How often one request's answer is sent again, for a viewer that lost it.
const MAX_REPEATS: u32 = 5;
/// Invitations that are open at once; one more replaces the oldest.
pub const MAX_INVITATIONS: usize = 16;
/// Characters of a viewer's name at most.
pub const MAX_NAME: usize = 64;

/// The public name of a secret: where it stands, only its holders can read it as more than random bytes.
pub fn pairing_id(secret: &PairingSecret) -> PairingId {
    PairingId::from_bytes(derive(&[secret.as_bytes()], &[], "pinhole/1 pairing id"))
}

/// The key that seals `pair1`. A changed `EV` gives another key.
pub fn request_key(secret: &PairingSecret, viewer_point: &Point, device: DeviceId) -> [u8; 32] {
    derive(&[secret.as_bytes()], &[viewer_point], &format!("pinhole/1 pair1|{device}"))
}

/// What both sides know after the exchange.
pub struct Agreement {
    /// `K_v`.
    pub viewer_key: ViewerKey,
    /// Seals `pair2`, and so confirms that the device holds the secret.
    pub confirm_key: [u8; 32],
}

impl fmt::Debug for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agreement")
    }
}

/// Both keys from `shared`, the x-coordinate that ECDH gave (SEC 1, 3.3.1), and the secret.
pub fn agree(
    shared: &[u8],
    secret: &PairingSecret,
    viewer_point: &Point,
    device_point: &Point,
    device: DeviceId,
) -> Agreement {
    let secrets: [&[u8]; 2] = [shared, secret.as_bytes()];
    let points: [&[u8]; 2] = [viewer_point, device_point];
    let viewer_key = derive(&secrets, &points, &format!("pinhole/1 viewer key|{device}"));
    let confirm_key = derive(&secrets, &points, &format!("pinhole/1 pair2|{device}"));
    Agreement { viewer_key: ViewerKey::from_bytes(viewer_key), confirm_key }
}

/// One side's half of an exchange, for one use.
pub(super) struct Ephemeral {
    private: EphemeralPrivateKey,
    point: Point,
}

impl Ephemeral {
    pub(super) fn new() -> Self {
        let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
        let private = private.expect("Linux gives random bytes to whoever asks, since 3.17");
        let public = private.compute_public_key().expect("a private key on P-256 has a public one");
        let point = public.as_ref().try_into().expect("ring writes points of P-256 uncompressed");
        Self { private, point }
    }

    pub(super) const fn point(&self) -> &Point {
        &self.point
    }

    /// Hands the shared x-coordinate to `use_it`; `None` if the other side's point is not on the curve.
    pub(super) fn agree<T>(self, other: &Point, use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
        agree_ephemeral(self.private, &UnparsedPublicKey::new(&ECDH_P256, other), use_it).ok()
    }
}

/// The body of `pair1`.
#[derive(Serialize, Deserialize)]
pub(super) struct RequestBody {
    #[serde(default)]
    pub(super) name: String,
}

/// The body of `pair2`.
#[derive(Serialize, Deserialize)]
pub(super) struct ConfirmBody {
    pub(super) k: String,
    pub(super) role: Role,
    pub(super) name: String,
}

/// What a right `pair1` leads to.
#[derive(Debug)]
pub enum Request {
    /// A viewer to be saved; then [`Invitations::commit`].
    New(ViewerRecord),
    /// An envelope for its session: a refusal, or an answer once more.
    Reply(Bytes),
}

/// Why a `pair1` is dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("no such invitation, or no longer")]
    Unknown,
    #[error("not sealed by a holder of the link")]
    Forged,
    #[error("the link is used up")]
    Used,
    #[error("of a nonce that has expired")]
    Stale,
}

/// What a viewer is to be, as its owner says when making the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub role: Role,
    /// What the owner calls the viewer; without, it is asked.
    pub name: Option<String>,
    /// When its key ends, in seconds since 1970; without, never.
    pub expires_at: Option<u64>,
}

impl Invite {
    /// For a viewer that names itself, and for good.
    pub const fn to(role: Role) -> Self {
        Self { role, name: None, expires_at: None }
    }
}

/// The secrets that are out, and how far each has come.
#[derive(Debug)]
pub struct Invitations {
    device: DeviceId,
    /// Oldest first.
    open: Vec<Invitation>,
}

#[derive(Debug)]
struct Invitation {
    id: PairingId,
    secret: PairingSecret,
    /// Its name is printable.
    invite: Invite,
    expires: Instant,
    failures: u32,
    taken: Option<Taken>,
}

/// A right `pair1`, whose sender has the invitation for itself.
#[derive(Debug)]
struct Taken {
    request: Envelope,
    device_point: Point,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    WhenSaved { record: ViewerRecord, confirm: Box<SealKey> },
    Sent { envelope: Bytes, repeats: u32 },
}

impl Invitations {
    /// None yet.
    pub const fn new(device: DeviceId) -> Self {
        Self { device, open: Vec::new() }
    }

    /// Opens an invitation. `random` makes its secret.
    pub fn add(&mut self, now: Instant, invite: Invite, random: [u8; 32]) -> PairingSecret {
        self.expire(now);
        if self.open.len() >= MAX_INVITATIONS {
            // A used one is kept only to repeat its answer, so it goes before one that may still be taken.
            let oldest = self.open.iter().position(|invitation| invitation.taken.is_some()).unwrap_or(0);
            self.open.remove(oldest);
        }
        let secret = PairingSecret::from_bytes(random);
        self.open.push(Invitation {
            id: pairing_id(&secret),
            secret: secret.clone(),
            invite: Invite {
                name: invite.name.map(|name| printable(&name, MAX_NAME)).filter(|name| !name.is_empty()),
                ..invite
            },
            expires: now + LIFETIME,
            failures: 0,
            taken: None,
        });
        secret
    }

    /// Takes a `pair1`. `key` names the viewer if it becomes one; `fresh` says whether its nonce is still known.
    ///
    /// # Errors
    /// When it gets no answer.
    pub fn receive(
        &mut self,
        now: Instant,
        envelope: &Envelope,
        fresh: bool,
        key: KeyId,
    ) -> Result<Request, Refusal> {
        self.expire(now);
        let id = PairingId::from_bytes(*envelope.key.as_bytes());
        let at = self.open.iter().position(|invitation| invitation.id == id).ok_or(Refusal::Unknown)?;
        let invitation = &mut self.open[at];
        if let Some(taken) = &mut invitation.taken {
            // However old its nonce: a viewer that lost the answer may ask for it while the invitation lives.
            return taken.again(envelope).map(Request::Reply).ok_or(Refusal::Used);
        }
        if !fresh {
            return Err(Refusal::Stale);
        }
        let outcome = invitation.take(self.device, envelope, key);
        if invitation.failures >= MAX_FAILURES {
            self.open.remove(at);
        }
        outcome
    }

    /// After the viewer was saved, or could not be: the answer to it, and the viewer if it now is one.
    pub fn commit(
        &mut self,
        id: PairingId,
        saved: Result<(), String>,
    ) -> Option<(SessionId, Bytes, Option<ViewerRecord>)> {
        let at = self.open.iter().position(|invitation| invitation.id == id)?;
        let invitation = &mut self.open[at];
        let Some(Taken { request, device_point, answer: Answer::WhenSaved { record, confirm } }) =
            invitation.taken.take_if(|taken| matches!(taken.answer, Answer::WhenSaved { .. }))
        else {
            return None;
        };
        let session = request.session;
        if let Err(reason) = saved {
            // The invitation stays open: the owner may make room and the viewer try again.
            invitation.failures += 1;
            let reply = refusal(self.device, &request, &device_point, &confirm, ErrorCode::Internal, reason);
            if invitation.failures >= MAX_FAILURES {
                self.open.remove(at);
            }
            return Some((session, reply, None));
        }
        let body = ConfirmBody { k: record.id.to_string(), role: record.role, name: record.name.clone() };
        let body = serde_json::to_vec(&body).expect("strings are always JSON");
        let envelope = answer(self.device, &request, "pair2", &device_point, &confirm, &body);
        let sent = Answer::Sent { envelope: envelope.clone(), repeats: 0 };
        invitation.taken = Some(Taken { request, device_point, answer: sent });
        Some((session, envelope, Some(record)))
    }

    /// Forgets what can no longer be taken.
    pub fn expire(&mut self, now: Instant) {
        self.open.retain(|invitation| now < invitation.expires);
    }

    /// When the next one expires.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.open.iter().map(|invitation| invitation.expires).min()
    }

    /// How far each has come, for tests of bounds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Invitation {
    fn take(&mut self, device: DeviceId, envelope: &Envelope, key: KeyId) -> Result<Request, Refusal> {
        let opened = envelope.ephemeral.filter(|_| envelope.counter == 0).and_then(|viewer_point| {
            let seal = SealKey::new(&request_key(&self.secret, &viewer_point, device));
            Some((viewer_point, envelope.open(device, &seal)?))
        });
        let Some((viewer_point, body)) = opened else {
            self.failures += 1;
            return Err(Refusal::Forged);
        };
        let ephemeral = Ephemeral::new();
        let device_point = *ephemeral.point();
        let agreed = ephemeral
            .agree(&viewer_point, |shared| agree(shared, &self.secret, &viewer_point, &device_point, device));
        let Some(agreed) = agreed else {
            self.failures += 1;
            return Err(Refusal::Forged);
        };
        let confirm = SealKey::new(&agreed.confirm_key);
        let Ok(RequestBody { name }) = from_json_object(&body) else {
            self.failures += 1;
            let reason = "the pairing's body is not a JSON object with a name".to_owned();
            let code = ErrorCode::BadRequest;
            return Ok(Request::Reply(refusal(device, envelope, &device_point, &confirm, code, reason)));
        };
        let asked = printable(&name, MAX_NAME);
        let Invite { role, name: given, expires_at } = self.invite.clone();
        let called = given.unwrap_or(asked);
        let name = if called.is_empty() { "viewer".to_owned() } else { called };
        let record = ViewerRecord { expires_at, ..ViewerRecord::new(key, agreed.viewer_key, role, name) };
        let answer = Answer::WhenSaved { record: record.clone(), confirm: Box::new(confirm) };
        self.taken = Some(Taken { request: envelope.clone(), device_point, answer });
        Ok(Request::New(record))
    }
}

impl Taken {
    /// The same bytes once more, for the very same request: nothing is sealed a second time.
    fn again(&mut self, envelope: &Envelope) -> Option<Bytes> {
        match &mut self.answer {
            Answer::Sent { envelope: sent, repeats }
                if *envelope == self.request && *repeats < MAX_REPEATS =>
            {
                *repeats += 1;
                Some(sent.clone())
            }
            Answer::Sent { .. } | Answer::WhenSaved { .. } => None,
        }
    }
}

fn refusal(
    device: DeviceId,
    request: &Envelope,
    device_point: &Point,
    confirm: &SealKey,
    code: ErrorCode,
    reason: String,
) -> Bytes {
    let (kind, body) = ToViewer::Error { code, message: printable(&reason, 1000) }.encode();
    answer(device, request, kind, device_point, confirm, &body)
}

/// Seals the one envelope for which `confirm` is used.
fn answer(
    device: DeviceId,
    request: &Envelope,
    kind: &str,
    point: &Point,
    confirm: &SealKey,
    body: &[u8],
) -> Bytes {
    let Envelope { key, session, nonce, .. } = *request;
    Header { kind, device, key, session, nonce, counter: 0 }
        .seal(confirm, Some(point), body)
        .expect("bodies of pairing are a few kilobytes at most")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        signal::{link::Link, topic::DeviceNonce, viewer::ViewerPairing},
    };

    const KEY: KeyId = KeyId::from_bytes([8; 8]);

    fn device() -> DeviceId {
        DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap()
    }

    fn viewer(secret: &PairingSecret, name: &str) -> ViewerPairing {
        let link = Link {
            device: device(),
            root: "pinhole".into(),
            secret: secret.clone(),
            broker: None,
            more_brokers: Vec::new(),
        };
        ViewerPairing::new(link, DeviceNonce::from_bytes([3; 16]), name).unwrap()
    }

    fn request(pairing: &ViewerPairing) -> Envelope {
        Envelope::parse(&pairing.request()).unwrap()
    }

    fn invite(now: Instant) -> (Invitations, PairingSecret) {
        let mut invitations = Invitations::new(device());
        let secret = invitations.add(now, Invite::to(Role::Control), [7; 32]);
        (invitations, secret)
    }

    fn new_viewer(outcome: Result<Request, Refusal>) -> ViewerRecord {
        match outcome {
            Ok(Request::New(record)) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_sides_end_with_the_same_key() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let mut viewer = viewer(&secret, " Anna's\u{7} phone ");
        let record = new_viewer(invitations.receive(now, &request(&viewer), true, KEY));
        assert_eq!((record.role, record.name.as_str()), (Role::Control, "Anna's phone"));
        let (session, reply, saved) = invitations.commit(pairing_id(&secret), Ok(())).unwrap();
        assert_eq!(session, viewer.id());
        assert_eq!(saved.as_ref(), Some(&record));
        assert_eq!(viewer.finish(&reply), Ok(Some(record)));
    }

    #[test]
    fn the_owners_name_for_it_wins() {
        let now = clock::now();
        let mut invitations = Invitations::new(device());
        let invite = Invite { name: Some("Kitchen".into()), expires_at: Some(9), ..Invite::to(Role::View) };
        let secret = invitations.add(now, invite, [7; 32]);
        let outcome = invitations.receive(now, &request(&viewer(&secret, "x")), true, KEY);
        let viewer = new_viewer(outcome);
        assert_eq!((viewer.name.as_str(), viewer.expires_at), ("Kitchen", Some(9)));
    }

    #[test]
    fn a_link_is_used_once() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let first = viewer(&secret, "first");
        let second = viewer(&secret, "second");
        new_viewer(invitations.receive(now, &request(&first), true, KEY));
        assert_eq!(invitations.receive(now, &request(&second), true, KEY).err(), Some(Refusal::Used));
        invitations.commit(pairing_id(&secret), Ok(())).unwrap();
        assert_eq!(invitations.receive(now, &request(&second), true, KEY).err(), Some(Refusal::Used));
        assert!(invitations.commit(pairing_id(&secret), Ok(())).is_none());
    }

    #[test]
    fn a_lost_answer_is_repeated_to_the_same_request_a_few_times() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let viewer = viewer(&secret, "");
        new_viewer(invitations.receive(now, &request(&viewer), true, KEY));
        let (_, reply, _) = invitations.commit(pairing_id(&secret), Ok(())).unwrap();
        for _ in 0..MAX_REPEATS {
            match invitations.receive(now, &request(&viewer), false, KEY) {
                Ok(Request::Reply(again)) => assert_eq!(again, reply),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(invitations.receive(now, &request(&viewer), true, KEY).err(), Some(Refusal::Used));
    }

    #[test]
    fn wrong_seals_burn_an_invitation() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let good = request(&viewer(&secret, ""));
        // Another viewer's point: the seal no longer fits.
        let mut forged = good.clone();
        forged.ephemeral = request(&viewer(&secret, "")).ephemeral;
        for _ in 0..MAX_FAILURES {
            assert_eq!(invitations.receive(now, &forged, true, KEY).err(), Some(Refusal::Forged));
        }
        assert_eq!(invitations.receive(now, &good, true, KEY).err(), Some(Refusal::Unknown));
    }

    #[test]
    fn an_invitation_expires() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let request = request(&viewer(&secret, ""));
        assert_eq!(invitations.next_expiry(), Some(now + LIFETIME));
        assert_eq!(invitations.receive(now, &request, false, KEY).err(), Some(Refusal::Stale));
        assert_eq!(invitations.receive(now + LIFETIME, &request, true, KEY).err(), Some(Refusal::Unknown));
        assert_eq!(invitations.next_expiry(), None);
    }

    #[test]
    fn what_could_not_be_saved_can_be_tried_again() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let mut first = viewer(&secret, "");
        new_viewer(invitations.receive(now, &request(&first), true, KEY));
        let (_, reply, saved) =
            invitations.commit(pairing_id(&secret), Err("the disk is full".into())).unwrap();
        assert_eq!(saved, None);
        assert_eq!(first.finish(&reply).unwrap_err().message, "the disk is full");
        new_viewer(invitations.receive(now, &request(&viewer(&secret, "")), true, KEY));
    }

    #[test]
    fn invitations_are_bounded_and_used_ones_go_first() {
        let now = clock::now();
        let mut invitations = Invitations::new(device());
        let secrets: Vec<_> = (0..MAX_INVITATIONS)
            .map(|i| invitations.add(now, Invite::to(Role::View), [u8::try_from(i).unwrap(); 32]))
            .collect();
        new_viewer(invitations.receive(now, &request(&viewer(&secrets[3], "")), true, KEY));
        invitations.add(now, Invite::to(Role::View), [100; 32]);
        assert_eq!(invitations.len(), MAX_INVITATIONS);
        new_viewer(invitations.receive(now, &request(&viewer(&secrets[0], "")), true, KEY));
        let gone = invitations.receive(now, &request(&viewer(&secrets[3], "")), true, KEY);
        assert_eq!(gone.err(), Some(Refusal::Unknown));
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let now = clock::now();
        let (mut invitations, secret) = invite(now);
        let point = [4; 65];
        let key = KeyId::from_bytes(*pairing_id(&secret).as_bytes());
        let (session, nonce) = (SessionId::from_bytes([1; 16]), DeviceNonce::from_bytes([3; 16]));
        let header = Header { kind: "pair1", device: device(), key, session, nonce, counter: 0 };
        let seal = SealKey::new(&request_key(&secret, &point, device()));
        let sealed = header.seal(&seal, Some(&point), b"{}").unwrap();
        let outcome = invitations.receive(now, &Envelope::parse(&sealed).unwrap(), true, KEY);
        assert_eq!(outcome.err(), Some(Refusal::Forged));
    }
}
