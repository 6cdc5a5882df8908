//! What the exchange does with offers that its owner carries in: hands them to the sessions, waits for the answer, and
//! seals it for the way back. Part of the exchange's task. Not here: whether an envelope is authentic (`desk`), and the
//! text around it (`signal::hand`).

use std::{collections::hash_map::Entry, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::info;

use super::{BUSY, Inbound, ToSession, ToViewer, Work, clock};
use crate::signal::{
    desk::{ByHand, HandOffer, HandSeal, Output},
    hand,
    message::{Role, ToDevice, Welcome},
    topic::{KeyId, SessionId},
    whole::Whole,
};

const UNDER_WAY: &str = "this offer is being answered at this moment";
const STOPPING: &str = "pinhole is stopping: try again when it runs";
const TOO_LARGE: &str = "the answer does not fit into an envelope: use fewer STUN and TURN servers";
const NOT_SAVED: &str = "the viewer could not be saved: see the agent's log, and try again";

/// What is carried back to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carried {
    /// The answer to its offer.
    Answer,
    /// Its key, for which it had a link.
    Pairing,
}

/// What the owner sends to a viewer, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandReply {
    pub what: Carried,
    /// What the owner calls the viewer.
    pub name: String,
    /// As it is sent.
    pub text: String,
}

/// An owner who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    viewer: KeyId,
    role: Role,
    name: String,
    wanted: Wanted,
    seal: HandSeal,
    welcome: Option<Welcome>,
    reply: oneshot::Sender<Result<HandReply, String>>,
}

#[derive(Debug)]
enum Wanted {
    /// The answer to the offer.
    Answer,
    /// The welcome, to go with what pairs.
    Welcome { confirm: Bytes },
}

impl Work {
    pub(super) fn take_by_hand(
        &mut self,
        envelope: &[u8],
        wait: Duration,
        reply: oneshot::Sender<Result<HandReply, String>>,
    ) {
        let begun = match self.desk.receive_by_hand(clock::now(), envelope) {
            Err(refusal) => Err(refusal.to_string()),
            Ok(ByHand::Offer(offer)) => return self.offer_by_hand(*offer, wait, reply),
            Ok(ByHand::Pair(Output::Pair { pairing, record })) => {
                let (viewer, role, name) = (record.id, record.role, record.name.clone());
                match self.pair(pairing, record) {
                    Some(Output::Reply { session, envelope }) if self.desk.has(viewer) => {
                        return self.welcome_by_hand((session, viewer, role, name), envelope, reply);
                    }
                    _ => Err(NOT_SAVED.to_owned()),
                }
            }
            // The owner has carried the same request in again.
            Ok(ByHand::Pair(Output::Reply { envelope, .. })) => Ok(HandReply {
                what: Carried::Pairing,
                name: "the viewer".into(),
                text: hand::write(&envelope),
            }),
            Ok(ByHand::Pair(_)) => Err(NOT_SAVED.to_owned()),
        };
        let _ = reply.send(begun);
    }

    fn offer_by_hand(
        &mut self,
        HandOffer { session, viewer, role, name, offer, seal }: HandOffer,
        wait: Duration,
        reply: oneshot::Sender<Result<HandReply, String>>,
    ) {
        let Entry::Vacant(entry) = self.by_hand.entry(session) else {
            let _ = reply.send(Err(UNDER_WAY.to_owned()));
            return;
        };
        entry.insert(Waiting { viewer, role, name, wanted: Wanted::Answer, seal, welcome: None, reply });
        self.seen.insert(viewer, clock::now());
        let message = |message| Inbound { session, viewer, role, message };
        let taken = self.peers.as_ref().map(|peers| {
            peers.deliver(message(ToDevice::Hello))?;
            peers.deliver_by_hand(message(ToDevice::Offer(offer)), wait)
        });
        match taken {
            Some(Ok(())) => {}
            Some(Err(_)) => self.refuse_by_hand(session, BUSY),
            None => self.refuse_by_hand(session, STOPPING),
        }
    }

    /// A viewer that was paired by hand cannot say hello: what it would hear goes with its key.
    fn welcome_by_hand(
        &mut self,
        (session, viewer, role, name): (SessionId, KeyId, Role, String),
        confirm: Bytes,
        reply: oneshot::Sender<Result<HandReply, String>>,
    ) {
        let Some(seal) = self.desk.hand_seal(viewer, session) else {
            let _ = reply.send(Err(NOT_SAVED.to_owned()));
            return;
        };
        let hello = Inbound { session, viewer, role, message: ToDevice::Hello };
        let asked = self.peers.as_ref().is_some_and(|peers| peers.deliver(hello).is_ok());
        let wanted = Wanted::Welcome { confirm };
        let waiting = Waiting { viewer, role, name, wanted, seal, welcome: None, reply };
        if asked {
            self.by_hand.insert(session, waiting);
        } else {
            waiting.paired();
        }
    }

    fn refuse_by_hand(&mut self, session: SessionId, reason: &str) {
        if let Some(waiting) = self.by_hand.remove(&session) {
            let _ = waiting.reply.send(Err(reason.to_owned()));
        }
    }

    /// Keeps a session's message for its owner; gives back what carriers take.
    pub(super) fn of_carriers(&mut self, message: ToSession) -> Option<ToSession> {
        let session = message.session;
        let Some(waiting) = self.by_hand.get_mut(&session) else { return Some(message) };
        match (message.message, &waiting.wanted) {
            (ToViewer::Welcome(welcome), wanted) => {
                let paired = matches!(wanted, Wanted::Welcome { .. });
                waiting.welcome = Some(welcome);
                if paired && let Some(waiting) = self.by_hand.remove(&session) {
                    waiting.paired();
                }
            }
            (answer @ ToViewer::Answer { .. }, Wanted::Answer) => {
                // Its session has waited for all candidates.
                let mut whole = Whole::default();
                whole.take(&answer);
                self.answered(session, &whole.sdp().expect("an answer was taken"));
            }
            (ToViewer::Error { message, .. }, _) => self.refuse_by_hand(session, &message),
            (ToViewer::Bye { .. }, _) => {
                self.refuse_by_hand(session, "the session ended before it was answered")
            }
            (ToViewer::Answer { .. } | ToViewer::Candidate(_) | ToViewer::Notice(_), _) => {}
        }
        None
    }

    fn answered(&mut self, session: SessionId, sdp: &str) {
        let Some(Waiting { viewer, role, name, seal, welcome, reply, .. }) = self.by_hand.remove(&session)
        else {
            return;
        };
        let told = match seal.answer(sdp, welcome.as_ref()) {
            Some(envelope) => {
                let text = hand::write(&envelope);
                reply.send(Ok(HandReply { what: Carried::Answer, name, text })).is_ok()
            }
            None => {
                let _ = reply.send(Err(TOO_LARGE.to_owned()));
                false
            }
        };
        if told {
            info!(%viewer, "an offer that came by hand was answered");
            self.desk.answered_by_hand(session);
        } else if let Some(peers) = &self.peers {
            // Nobody carries the answer: the session would wait for nothing.
            let message = ToDevice::Bye { reason: "not carried".to_owned() };
            let _ = peers.deliver(Inbound { session, viewer, role, message });
        }
    }
}

impl Waiting {
    /// Hands over what pairs the viewer, and its welcome if there is one.
    fn paired(self) {
        let Self { name, wanted: Wanted::Welcome { confirm }, seal, welcome, reply, .. } = self else {
            return;
        };
        let welcome = welcome.and_then(|welcome| seal.welcome(welcome));
        let texts: Vec<String> = [Some(confirm), welcome].iter().flatten().map(|e| hand::write(e)).collect();
        let _ = reply.send(Ok(HandReply { what: Carried::Pairing, name, text: texts.join("\n\n") }));
    }
}
