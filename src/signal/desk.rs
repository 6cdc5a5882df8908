//! The desk: where viewers come to ask. It decides which envelopes are let in, keeps each session's counters, and
//! pairs. Pure: bytes and a time in, outputs out; one task owns it, carries its outputs out and calls
//! [`Desk::handle_timeout`] when [`Desk::poll_timeout`] says so. Not here: carriers, the disk, WebRTC, and how many
//! viewers may watch (`peer`).
//!
//! Until an envelope's seal is found right, it gets no answer and leaves nothing behind but a count.

mod by_hand;

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    envelope::{Channel, End, Envelope, OpenError, ParseError, SessionIds, TooLarge},
    keys::ViewerRecord,
    limit::Bucket,
    link::PairingSecret,
    message::{ByeReason, ErrorCode, Role, ToDevice, ToViewer},
    pairing::{Invitations, Invite, Refusal as PairingRefusal, Request},
    topic::{DeviceId, DeviceNonce, KeyId, PairingId, SessionId},
};

use self::by_hand::Answered;
pub use self::by_hand::{ByHand, HandOffer, HandRefusal, HandSeal};

/// How long a nonce is the newest. It is accepted for as long again.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(60);
/// A session in which nothing was answered is closed after this long without a message.
pub const IDLE: Duration = Duration::from_secs(120);
/// Sessions of one viewer at once.
pub const MAX_SESSIONS: usize = 16;
/// Sessions of one viewer that are remembered, the ended ones included. Above it, new ones are refused rather
/// than old ones forgotten: a forgotten session could be begun again with the same keys.
pub const MAX_REMEMBERED: usize = 256;
/// Envelopes of one viewer in a second.
pub const ENVELOPES_PER_SECOND: u32 = 50;
/// Offers of one viewer in a second.
pub const OFFERS_PER_SECOND: u32 = 5;
/// Envelopes in a second that are read although they turn out not to be authentic.
pub const STRANGERS_PER_SECOND: u32 = 2000;

/// Fills bytes with random ones: `keys::random`, or a test's own.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// What the desk wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Publish on the status topic, retained.
    Status(Bytes),
    /// An authenticated message, for the first time.
    Deliver { session: SessionId, viewer: KeyId, role: Role, message: ToDevice },
    /// Publish on the session's `out` topic.
    Reply { session: SessionId, envelope: Bytes },
    /// Save the viewer, then call [`Desk::commit_pairing`].
    Pair { pairing: PairingId, record: ViewerRecord },
    /// The desk closed a session that was idle or in the way; nothing can be sealed in it any more.
    Ended { session: SessionId },
}

/// What happened so far. Never reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeskCounters {
    /// Messages delivered.
    pub delivered: u64,
    /// Viewers paired.
    pub paired: u64,
    /// Dropped unread, because too much was not authentic.
    pub flooded: u64,
    /// Larger than an envelope may be.
    pub too_large: u64,
    /// Not of an envelope's form.
    pub malformed: u64,
    /// Of a nonce that is not, or no longer, the device's.
    pub stale: u64,
    /// Of a session that has ended, is another viewer's, or was never begun.
    pub wrong_session: u64,
    /// Of a key that is not, or no longer, a viewer's.
    pub unknown_key: u64,
    /// Opened before, or older than what was.
    pub replayed: u64,
    /// Not sealed with the key they name.
    pub forged: u64,
    /// Of a viewer that began too many sessions.
    pub too_many_sessions: u64,
    /// Pairing requests that got no answer.
    pub pairings_refused: u64,
    /// Authentic, but over the viewer's rate.
    pub rate_limited: u64,
    /// Authentic, but not a message.
    pub bad_requests: u64,
    /// Answers that did not fit into an envelope.
    pub answers_too_large: u64,
}

/// Why an envelope is dropped without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum Refusal {
    #[error(transparent)]
    Form(#[from] ParseError),
    #[error("of an unknown nonce")]
    Stale,
    #[error("of a session that cannot be")]
    WrongSession,
    #[error("of an unknown key")]
    UnknownKey,
    #[error("of a viewer with too many sessions")]
    TooManySessions,
    #[error(transparent)]
    Seal(#[from] OpenError),
    #[error(transparent)]
    Pairing(#[from] PairingRefusal),
}

impl DeskCounters {
    fn count(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Form(ParseError::TooLarge) => &mut self.too_large,
            Refusal::Form(ParseError::Malformed) => &mut self.malformed,
            Refusal::Stale => &mut self.stale,
            Refusal::WrongSession | Refusal::Seal(OpenError::Elsewhere) => &mut self.wrong_session,
            Refusal::UnknownKey => &mut self.unknown_key,
            Refusal::TooManySessions => &mut self.too_many_sessions,
            Refusal::Seal(OpenError::Replayed) => &mut self.replayed,
            Refusal::Seal(OpenError::Forged) => &mut self.forged,
            Refusal::Pairing(_) => &mut self.pairings_refused,
        };
        *counter += 1;
    }
}

/// See the module.
pub struct Desk {
    device: DeviceId,
    random: Random,
    nonce: DeviceNonce,
    previous_nonce: Option<DeviceNonce>,
    rotate_at: Instant,
    viewers: BTreeMap<KeyId, Viewer>,
    sessions: BTreeMap<SessionId, Session>,
    invitations: Invitations,
    answered: Answered,
    strangers: Bucket,
    counters: DeskCounters,
}

#[derive(Debug)]
struct Viewer {
    record: ViewerRecord,
    envelopes: Bucket,
    offers: Bucket,
    /// Answers of `rate_limited`.
    complaints: Bucket,
    /// Sessions that are over, until their nonce has expired.
    ended: BTreeMap<SessionId, DeviceNonce>,
}

impl Viewer {
    fn new(record: ViewerRecord, now: Instant) -> Self {
        Self {
            record,
            envelopes: Bucket::new(now, ENVELOPES_PER_SECOND, ENVELOPES_PER_SECOND),
            offers: Bucket::new(now, OFFERS_PER_SECOND, OFFERS_PER_SECOND),
            complaints: Bucket::new(now, 1, 1),
            ended: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
struct Session {
    channel: Channel,
    /// The last message in either direction.
    active: Instant,
    /// Something was answered, so there is a connection: only [`Desk::end`] ends it.
    answered: bool,
}

/// What is wrong with an authentic envelope, to be told to its viewer.
struct Complaint {
    code: ErrorCode,
    message: String,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("device", &self.device)
            .field("viewers", &self.viewers.len())
            .field("sessions", &self.sessions.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk for the viewers that are known. `random` fills bytes for nonces, ids and secrets.
    pub fn new(device: DeviceId, viewers: Vec<ViewerRecord>, mut random: Random, now: Instant) -> Self {
        Self {
            device,
            nonce: DeviceNonce::from_bytes(draw(&mut random)),
            random,
            previous_nonce: None,
            rotate_at: now + NONCE_LIFETIME,
            viewers: viewers.into_iter().map(|record| (record.id, Viewer::new(record, now))).collect(),
            sessions: BTreeMap::new(),
            invitations: Invitations::new(device),
            answered: Answered::default(),
            strangers: Bucket::new(now, STRANGERS_PER_SECOND, STRANGERS_PER_SECOND),
            counters: DeskCounters::default(),
        }
    }

    /// The status to publish while the desk is there.
    pub fn status(&self) -> Bytes {
        format!(r#"{{"v":1,"online":true,"nd":"{}"}}"#, self.nonce).into()
    }

    /// What was counted so far.
    pub const fn counters(&self) -> DeskCounters {
        self.counters
    }

    /// Takes what came on the `in` topic.
    pub fn receive(&mut self, now: Instant, payload: &[u8]) -> Vec<Output> {
        if !self.strangers.is_open(now) {
            self.counters.flooded += 1;
            return Vec::new();
        }
        self.admit(now, payload).unwrap_or_else(|refusal| {
            self.strangers.take(now);
            self.counters.count(refusal);
            Vec::new()
        })
    }

    /// Seals a message; `None` when there is no such session.
    pub fn seal(&mut self, now: Instant, session: SessionId, message: &ToViewer) -> Option<Bytes> {
        let state = self.sessions.get_mut(&session)?;
        state.active = now;
        state.answered |= matches!(message, ToViewer::Answer { .. });
        let (kind, body) = message.encode();
        let sealed = state.channel.seal(kind, &body).or_else(|TooLarge| {
            self.counters.answers_too_large += 1;
            let message = format!("the {kind} does not fit into an envelope");
            let (kind, body) = ToViewer::Error { code: ErrorCode::Internal, message }.encode();
            state.channel.seal(kind, &body)
        });
        sealed.ok()
    }

    /// Ends a session. Its id stays refused until its nonce has expired.
    pub fn end(&mut self, session: SessionId) {
        let Some(state) = self.sessions.remove(&session) else { return };
        let ids = *state.channel.ids();
        if self.knows(ids.nonce)
            && let Some(viewer) = self.viewers.get_mut(&ids.key)
        {
            viewer.ended.insert(session, ids.nonce);
        }
    }

    /// Opens an invitation, for ten minutes and one viewer.
    pub fn invite(&mut self, now: Instant, invite: Invite) -> PairingSecret {
        let random = draw(&mut self.random);
        self.invitations.add(now, invite, random)
    }

    /// Whether a viewer is let in.
    pub fn has(&self, viewer: KeyId) -> bool {
        self.viewers.contains_key(&viewer)
    }

    /// Lets in a viewer that this desk never knew. One that was revoked must not come back: which of its sessions
    /// have ended was forgotten with it.
    pub fn let_in(&mut self, now: Instant, record: ViewerRecord) {
        self.viewers.entry(record.id).or_insert_with(|| Viewer::new(record, now));
    }

    /// Answers a pairing after its viewer was saved, or, with the reason, could not be.
    pub fn commit_pairing(
        &mut self,
        now: Instant,
        pairing: PairingId,
        saved: Result<(), String>,
    ) -> Option<Output> {
        let (session, envelope, viewer) = self.invitations.commit(pairing, saved)?;
        if let Some(record) = viewer {
            self.counters.paired += 1;
            self.viewers.insert(record.id, Viewer::new(record, now));
        }
        Some(Output::Reply { session, envelope })
    }

    /// Lets a viewer in no more. Its sessions, which are returned, hear nothing from it; they can still be told
    /// why, and must then be ended.
    pub fn revoke(&mut self, viewer: KeyId) -> Vec<SessionId> {
        self.viewers.remove(&viewer);
        self.sessions_of(viewer).map(|(session, _)| *session).collect()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.sessions.values().filter_map(Session::idle_at);
        idle.chain(self.invitations.next_expiry()).chain([self.rotate_at]).min()
    }

    /// Changes the nonce each minute, and forgets what has expired.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        self.invitations.expire(now);
        let mut outputs = Vec::new();
        let idle = |session: &Session| session.idle_at().is_some_and(|at| at <= now);
        let idle: Vec<_> = self.sessions.iter().filter(|(_, s)| idle(s)).map(|(id, _)| *id).collect();
        for session in idle {
            self.dismiss(now, session, ByeReason::Idle, &mut outputs);
        }
        if self.rotate_at <= now {
            self.rotate_at = now + NONCE_LIFETIME;
            let new = DeviceNonce::from_bytes(draw(&mut self.random));
            self.previous_nonce = Some(std::mem::replace(&mut self.nonce, new));
            let (current, previous) = (self.nonce, self.previous_nonce);
            for viewer in self.viewers.values_mut() {
                viewer.ended.retain(|_, nonce| *nonce == current || Some(*nonce) == previous);
            }
            outputs.push(Output::Status(self.status()));
        }
        outputs
    }

    /// The checks, in the order of docs/signaling.md: cheap ones first, nothing kept before the seal is right.
    fn admit(&mut self, now: Instant, payload: &[u8]) -> Result<Vec<Output>, Refusal> {
        let envelope = Envelope::parse(payload)?;
        if envelope.nonce == DeviceNonce::BY_HAND {
            return Err(Refusal::Stale);
        }
        if envelope.kind == "pair1" {
            return self.pair(now, &envelope);
        }
        let Envelope { key, session, nonce, .. } = envelope;
        if let Some(state) = self.sessions.get_mut(&session) {
            if *state.channel.ids() != (SessionIds { device: self.device, key, session, nonce }) {
                return Err(Refusal::WrongSession);
            }
            if !self.viewers.contains_key(&key) {
                return Err(Refusal::UnknownKey);
            }
            let body = state.channel.open(&envelope)?;
            state.active = now;
            return Ok(self.known_session(now, &envelope, &body));
        }
        if !self.knows(nonce) {
            return Err(Refusal::Stale);
        }
        let viewer = self.viewers.get(&key).ok_or(Refusal::UnknownKey)?;
        if envelope.counter != 0 || viewer.ended.contains_key(&session) {
            return Err(Refusal::WrongSession);
        }
        if viewer.ended.len() + self.sessions_of(key).count() >= MAX_REMEMBERED {
            return Err(Refusal::TooManySessions);
        }
        let ids = SessionIds { device: self.device, key, session, nonce };
        let mut channel = Channel::new(End::Device, ids, &viewer.record.key);
        let body = channel.open(&envelope)?;
        Ok(self.new_session(now, channel, &envelope.kind, &body))
    }

    fn known_session(&mut self, now: Instant, envelope: &Envelope, body: &[u8]) -> Vec<Output> {
        let Envelope { key, session, .. } = *envelope;
        match self.read(now, key, &envelope.kind, body) {
            Ok(message) => self.deliver(key, session, message).into_iter().collect(),
            Err(complaint) if self.may_complain(now, key, &complaint) => {
                self.reply(now, session, &complaint.into()).into_iter().collect()
            }
            Err(_) => Vec::new(),
        }
    }

    /// An authentic envelope that begins a session. If it is refused, its session is over at once; if it is not
    /// even answered, nothing was sealed in it and it need not be remembered.
    fn new_session(&mut self, now: Instant, channel: Channel, kind: &str, body: &[u8]) -> Vec<Output> {
        let SessionIds { key, session, .. } = *channel.ids();
        let mut outputs = Vec::new();
        let message = self.read(now, key, kind, body).and_then(|message| match message {
            ToDevice::Hello | ToDevice::Offer(_) => self.make_room(now, key, &mut outputs).map(|()| message),
            ToDevice::Candidate(_) | ToDevice::Bye { .. } => {
                self.counters.bad_requests += 1;
                let message = format!("a session begins with hello or offer, not with {kind}");
                Err(Complaint { code: ErrorCode::BadRequest, message })
            }
        });
        let state = Session { channel, active: now, answered: false };
        match message {
            Ok(message) => {
                self.sessions.insert(session, state);
                outputs.extend(self.deliver(key, session, message));
            }
            Err(complaint) if self.may_complain(now, key, &complaint) => {
                self.sessions.insert(session, state);
                outputs.extend(self.reply(now, session, &complaint.into()));
                self.end(session);
            }
            Err(_) => {}
        }
        outputs
    }

    /// The message in an authentic envelope, within its viewer's rates.
    fn read(&mut self, now: Instant, key: KeyId, kind: &str, body: &[u8]) -> Result<ToDevice, Complaint> {
        let slower = |what: &str, rate: u32| Complaint {
            code: ErrorCode::RateLimited,
            message: format!("more than {rate} {what} in a second: send fewer"),
        };
        let Some(viewer) = self.viewers.get_mut(&key) else {
            return Err(Complaint { code: ErrorCode::Forbidden, message: "not paired".into() });
        };
        if !viewer.envelopes.take(now) {
            self.counters.rate_limited += 1;
            return Err(slower("messages", ENVELOPES_PER_SECOND));
        }
        let message = ToDevice::decode(kind, body).map_err(|error| {
            self.counters.bad_requests += 1;
            Complaint { code: ErrorCode::BadRequest, message: error.to_string() }
        })?;
        if matches!(message, ToDevice::Offer(_)) && !viewer.offers.take(now) {
            self.counters.rate_limited += 1;
            return Err(slower("offers", OFFERS_PER_SECOND));
        }
        Ok(message)
    }

    /// A viewer that is too fast hears so once a second; everything else is always answered.
    fn may_complain(&mut self, now: Instant, key: KeyId, complaint: &Complaint) -> bool {
        complaint.code != ErrorCode::RateLimited
            || self.viewers.get_mut(&key).is_some_and(|viewer| viewer.complaints.take(now))
    }

    /// Room for one more session of a viewer: the one that was silent longest goes, if it has no connection.
    fn make_room(&mut self, now: Instant, key: KeyId, outputs: &mut Vec<Output>) -> Result<(), Complaint> {
        if self.sessions_of(key).count() < MAX_SESSIONS {
            return Ok(());
        }
        let unanswered = self.sessions_of(key).filter(|(_, session)| !session.answered);
        let Some(oldest) = unanswered.min_by_key(|(_, session)| session.active).map(|(id, _)| *id) else {
            let message = format!("this viewer has {MAX_SESSIONS} sessions already: close one");
            return Err(Complaint { code: ErrorCode::Busy, message });
        };
        self.dismiss(now, oldest, ByeReason::Replaced, outputs);
        Ok(())
    }

    fn pair(&mut self, now: Instant, envelope: &Envelope) -> Result<Vec<Output>, Refusal> {
        let fresh = self.knows(envelope.nonce);
        let key = self.new_key();
        let pairing = PairingId::from_bytes(*envelope.key.as_bytes());
        Ok(vec![match self.invitations.receive(now, envelope, fresh, key)? {
            Request::New(record) => Output::Pair { pairing, record },
            Request::Reply(answer) => Output::Reply { session: envelope.session, envelope: answer },
        }])
    }

    /// One that no viewer has.
    fn new_key(&mut self) -> KeyId {
        let mut key = KeyId::from_bytes(draw(&mut self.random));
        while self.viewers.contains_key(&key) {
            key = KeyId::from_bytes(draw(&mut self.random));
        }
        key
    }

    fn deliver(&mut self, viewer: KeyId, session: SessionId, message: ToDevice) -> Option<Output> {
        let role = self.viewers.get(&viewer)?.record.role;
        self.counters.delivered += 1;
        Some(Output::Deliver { session, viewer, role, message })
    }

    fn reply(&mut self, now: Instant, session: SessionId, message: &ToViewer) -> Option<Output> {
        self.seal(now, session, message).map(|envelope| Output::Reply { session, envelope })
    }

    fn dismiss(&mut self, now: Instant, session: SessionId, reason: ByeReason, outputs: &mut Vec<Output>) {
        outputs.extend(self.reply(now, session, &ToViewer::Bye { reason }));
        outputs.push(Output::Ended { session });
        self.end(session);
    }

    fn knows(&self, nonce: DeviceNonce) -> bool {
        nonce == self.nonce || Some(nonce) == self.previous_nonce
    }

    fn sessions_of(&self, viewer: KeyId) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.sessions.iter().filter(move |(_, session)| session.channel.ids().key == viewer)
    }
}

impl Session {
    /// When it is closed for want of a message.
    fn idle_at(&self) -> Option<Instant> {
        (!self.answered).then(|| self.active + IDLE)
    }
}

impl From<Complaint> for ToViewer {
    fn from(Complaint { code, message }: Complaint) -> Self {
        Self::Error { code, message }
    }
}

fn draw<const N: usize>(random: &mut dyn FnMut(&mut [u8])) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
