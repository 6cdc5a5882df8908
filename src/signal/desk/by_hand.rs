//! What the desk says to an envelope that its owner carries in by hand (docs/signaling.md, "By file or mail"). The owner
//! sits at this machine, so a refusal has words; on carriers it has none. Pure, as all of the desk. Not here: the
//! text around an envelope (`signal::hand`), and who waits for the answer (`exchange`).

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use thiserror::Error;

use super::{
    Channel, Desk, DeviceNonce, End, Envelope, KeyId, OpenError, Output, PairingRefusal, ParseError, Request,
    Role, SessionId, SessionIds, ToDevice, draw,
};
use crate::signal::{
    message::{BodyError, Offer, ToViewer, Welcome, by_hand},
    topic::PairingId,
};

/// Sessions that are remembered as answered. Above it the oldest is forgotten: an offer that is answered twice harms
/// nobody, for each answer is sealed with keys of its own.
const MAX_ANSWERED: usize = 256;

/// What came in by hand, and is authentic.
#[derive(Debug)]
pub enum ByHand {
    Offer(Box<HandOffer>),
    /// As from a carrier: save the viewer, or a reply.
    Pair(Output),
}

/// A viewer's offer, and the way to seal its answer.
#[derive(Debug)]
pub struct HandOffer {
    pub session: SessionId,
    pub viewer: KeyId,
    pub role: Role,
    /// What its owner calls the viewer.
    pub name: String,
    pub offer: Offer,
    pub seal: HandSeal,
}

/// Seals the one answer to an offer, with keys that were never used before: a fresh nonce is part of them.
#[derive(Debug)]
pub struct HandSeal(Channel);

impl HandSeal {
    /// The answer with all that the viewer would have been told in a `welcome`; without that where both do not fit.
    /// `None` where even the answer does not.
    pub fn answer(mut self, sdp: &str, welcome: Option<&Welcome>) -> Option<Bytes> {
        let body = by_hand::answer(sdp, welcome);
        let whole = self.0.seal("answer", &body).ok();
        whole.or_else(|| self.0.seal("answer", &ToViewer::Answer { sdp: sdp.to_owned() }.encode().1).ok())
    }

    /// What a viewer that was paired by hand could not ask for. `None` where it does not fit.
    pub fn welcome(mut self, welcome: Welcome) -> Option<Bytes> {
        let (kind, body) = ToViewer::Welcome(welcome).encode();
        self.0.seal(kind, &body).ok()
    }
}

/// Why an envelope that was carried by hand is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandRefusal {
    #[error("this is no offer: {0}")]
    Form(#[from] ParseError),
    #[error("this is an answer of a device, not a viewer's offer: give it to the page that made the offer")]
    Answer,
    #[error("this is no offer but `{0}`, which cannot be carried by hand")]
    NoOffer(String),
    #[error("this was made for a broker, not to be carried by hand: make an offer on the page")]
    ForBroker,
    #[error(
        "no viewer of this device made this offer: its key was revoked or has expired, or it is for another device; pinhole viewers lists those that may"
    )]
    UnknownViewer,
    #[error("this offer was answered already: make a new one on the page")]
    Answered,
    #[error("this offer is damaged, or its seal is forged: copy it once more, or make a new one on the page")]
    Forged,
    #[error("this offer cannot be used: {0}")]
    Body(#[from] BodyError),
    #[error(
        "no open link of this device fits: links are good for ten minutes and one viewer; pinhole pair prints a new one"
    )]
    UnknownLink,
    #[error("this link has paired another browser already: pinhole pair prints a new one")]
    LinkUsed,
}

/// Sessions whose offers were answered by hand, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Answered(VecDeque<SessionId>);

impl Desk {
    /// Takes an envelope that the owner carries in.
    ///
    /// # Errors
    /// Why not, for the owner.
    pub fn receive_by_hand(&mut self, now: Instant, payload: &[u8]) -> Result<ByHand, HandRefusal> {
        let envelope = Envelope::parse(payload)?;
        match envelope.kind.as_str() {
            "pair1" | "offer" if envelope.nonce != DeviceNonce::BY_HAND => Err(HandRefusal::ForBroker),
            "pair1" => self.pair_by_hand(now, &envelope).map(ByHand::Pair),
            "offer" => self.offer_by_hand(&envelope).map(|offer| ByHand::Offer(Box::new(offer))),
            "pair2" | "answer" | "error" => Err(HandRefusal::Answer),
            _ => Err(HandRefusal::NoOffer(envelope.kind)),
        }
    }

    /// Remembers that an offer has its answer.
    pub fn answered_by_hand(&mut self, session: SessionId) {
        let Answered(sessions) = &mut self.answered;
        if sessions.len() >= MAX_ANSWERED {
            sessions.pop_front();
        }
        sessions.push_back(session);
    }

    /// Seals one message to a viewer by hand, under keys of its own; `None` if it is no viewer.
    pub fn hand_seal(&mut self, key: KeyId, session: SessionId) -> Option<HandSeal> {
        let nonce = DeviceNonce::from_bytes(draw(&mut self.random));
        let ids = SessionIds { device: self.device, key, session, nonce };
        Some(HandSeal(Channel::new(End::Device, ids, &self.viewers.get(&key)?.record.key)))
    }

    fn offer_by_hand(&mut self, envelope: &Envelope) -> Result<HandOffer, HandRefusal> {
        let Envelope { key, session, nonce, .. } = *envelope;
        let record = &self.viewers.get(&key).ok_or(HandRefusal::UnknownViewer)?.record;
        let ids = SessionIds { device: self.device, key, session, nonce };
        let opened = Channel::new(End::Device, ids, &record.key).open(envelope);
        let body = opened.map_err(|error| match error {
            OpenError::Elsewhere | OpenError::Replayed | OpenError::Forged => HandRefusal::Forged,
        })?;
        if envelope.counter != 0 || self.answered.0.contains(&session) || self.sessions.contains_key(&session)
        {
            return Err(HandRefusal::Answered);
        }
        let ToDevice::Offer(offer) = ToDevice::decode(&envelope.kind, &body)? else {
            return Err(HandRefusal::NoOffer(envelope.kind.clone()));
        };
        let (role, name) = (record.role, record.name.clone());
        self.counters.delivered += 1;
        let seal = self.hand_seal(key, session).ok_or(HandRefusal::UnknownViewer)?;
        Ok(HandOffer { session, viewer: key, role, name, offer, seal })
    }

    fn pair_by_hand(&mut self, now: Instant, envelope: &Envelope) -> Result<Output, HandRefusal> {
        let key = self.new_key();
        let pairing = PairingId::from_bytes(*envelope.key.as_bytes());
        match self.invitations.receive(now, envelope, true, key) {
            Ok(Request::New(record)) => Ok(Output::Pair { pairing, record }),
            Ok(Request::Reply(answer)) => Ok(Output::Reply { session: envelope.session, envelope: answer }),
            Err(PairingRefusal::Unknown | PairingRefusal::Stale) => Err(HandRefusal::UnknownLink),
            Err(PairingRefusal::Forged) => Err(HandRefusal::Forged),
            Err(PairingRefusal::Used) => Err(HandRefusal::LinkUsed),
        }
    }
}
