//! The task between carriers, desk and peers: it owns the desk and the key store, gives the desk every envelope that
//! arrives, and carries out what the desk says. One task; nothing else touches the desk. Not here: what an
//! envelope means (`desk`), and what a viewer gets (`peer`).
//!
//! Priorities of its loop, highest first: stop, the owner's commands, the desk's timers, what sessions send, what
//! the agent's own doors bring, what carriers bring. A flood from a broker therefore delays viewers' envelopes and
//! nothing else.

mod by_hand;
mod people_work;
mod report;
mod route;

pub use self::{
    by_hand::{Carried, HandReply},
    report::{CarrierReport, Report},
};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::{debug, error, info, warn};

use self::{
    by_hand::Waiting,
    report::Condition,
    route::{Route, Routes},
};
use super::{
    Carrier, CarrierEvent, Outgoing,
    desk::{Desk, Output},
    door::{Doorkeeper, Knock},
    keys::{self, KeyError, KeyStore, ViewerRecord},
    link::PairingSecret,
    login::AcceptedDevice,
    message::{ByeReason, ErrorCode, Role, ToViewer},
    pairing::Invite,
    people::{self, ClockNotSet, NotRevoked, Person, Standing},
    topic::{KeyId, PairingId, SessionId},
    whep::token::{Token, Tokens},
};
use crate::{
    clock,
    peer::{Inbound, Last, Peers, ToSession, registry},
    tasks,
};

/// For the carriers to say good-bye.
const CLOSING: Duration = Duration::from_secs(1);
/// How often it is saved when viewers were last heard of. Flash memory wears with each writing.
const SAVE_SEEN: Duration = Duration::from_secs(3600);
const BUSY: &str = "the camera has too much to do right now; try again in a moment";

/// What the owner asks of a running exchange.
#[derive(Debug)]
pub enum Command {
    /// A one-time secret for a new viewer, whose key is good for `lifetime` from now; without, for ever.
    Invite {
        role: Role,
        name: Option<String>,
        lifetime: Option<Duration>,
        reply: oneshot::Sender<Result<PairingSecret, ClockNotSet>>,
    },
    /// A token for a new WHEP client, good for `lifetime` from now; without, for ever. Why there is none is a sentence.
    MakeToken {
        role: Role,
        name: String,
        lifetime: Option<Duration>,
        reply: oneshot::Sender<Result<Token, String>>,
    },
    /// All viewers, in the order in which they were paired.
    Viewers { reply: oneshot::Sender<Vec<Person>> },
    /// What other agents' configurations have to hold of this device's key, which is made when it is first asked for.
    DeviceKey { reply: oneshot::Sender<Result<AcceptedDevice, KeyError>> },
    /// Whether the task moves.
    Ping { reply: oneshot::Sender<()> },
    /// How signaling is doing.
    Report { reply: oneshot::Sender<Report> },
    /// Removes the viewer with this key or name, and ends its sessions.
    Revoke { who: String, reply: oneshot::Sender<Result<Person, NotRevoked>> },
    /// Takes an offer, or a link's request, that the owner carries in; an offer's viewer may take `wait` to connect.
    ByHand { envelope: Bytes, wait: Duration, reply: oneshot::Sender<Result<HandReply, String>> },
    /// Says good-bye to all viewers and lets nobody in any more.
    EndSessions { done: oneshot::Sender<()> },
    /// Ends the task and the carriers.
    Stop,
}

/// A fault in pinhole: the task that has the viewers' sessions has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the viewers' task has ended")]
pub struct PeersEnded;

/// The task's parts, put together by the composition root.
#[derive(Debug)]
pub struct Exchange {
    pub desk: Desk,
    pub store: KeyStore,
    pub carriers: Vec<Carrier>,
    pub peers: Peers,
    pub from_peers: mpsc::Receiver<ToSession>,
    pub commands: mpsc::Receiver<Command>,
    /// The agent's own doors.
    pub doors: Doorkeeper,
}

impl Exchange {
    /// Runs until [`Command::Stop`], or until nobody can send one any more.
    ///
    /// # Errors
    /// The viewers' task has ended, and nobody could be let in any more.
    pub async fn run(self) -> Result<(), PeersEnded> {
        let Self { desk, store, carriers, mut from_peers, peers, mut commands, doors } = self;
        let Doorkeeper { mut knocks, tokens } = doors;
        let mut watching = peers.viewers();
        let withheld = store.viewers().iter().filter(|viewer| !desk.has(viewer.id));
        let mut work = Work {
            withheld: withheld.map(|viewer| viewer.id).collect(),
            desk,
            store,
            conditions: carriers.iter().map(|_| Condition::new(clock::now())).collect(),
            carriers,
            peers: Some(peers),
            turn: 0,
            routes: Routes::default(),
            tokens,
            by_hand: HashMap::new(),
            watching: watching.clone(),
            present: BTreeSet::new(),
            seen: BTreeMap::new(),
            check_at: clock::now(),
            save_at: clock::now() + SAVE_SEEN,
        };
        if !work.withheld.is_empty() && keys::date(clock::since_epoch()).is_none() {
            let waiting = work.withheld.len();
            warn!(waiting, "the clock is not set: viewers whose keys expire are not let in until it is");
        }
        work.tell_tokens();
        let mut ending: Option<JoinHandle<()>> = None;
        let ended = loop {
            let timer = work.desk.poll_timeout();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => break Ok(()),
                    Some(Command::Invite { role, name, lifetime, reply }) => {
                        let expires_at = people::expiry(lifetime, clock::since_epoch());
                        let secret = expires_at.map(|expires_at| {
                            work.desk.invite(clock::now(), Invite { role, name, expires_at })
                        });
                        let _ = reply.send(secret);
                    }
                    Some(Command::MakeToken { role, name, lifetime, reply }) => {
                        let _ = reply.send(work.make_token(role, name, lifetime));
                    }
                    Some(Command::Viewers { reply }) => {
                        let _ = reply.send(work.people());
                    }
                    Some(Command::DeviceKey { reply }) => {
                        let key = tokio::task::block_in_place(|| work.store.login_key());
                        let _ = reply.send(key.map(|key| key.public()));
                    }
                    Some(Command::Ping { reply }) => {
                        let _ = reply.send(());
                    }
                    Some(Command::Report { reply }) => {
                        let _ = reply.send(work.report());
                    }
                    Some(Command::Revoke { who, reply }) => {
                        let _ = reply.send(work.revoke(&who));
                    }
                    Some(Command::ByHand { envelope, wait, reply }) => work.take_by_hand(&envelope, wait, reply),
                    Some(Command::EndSessions { done }) => if let Some(peers) = work.peers.take() {
                        ending = Some(tasks::spawn("end of sessions", async move {
                            peers.shutdown().await;
                            let _ = done.send(());
                        }));
                    }
                },
                () = clock::sleep_until(timer) => {
                    let outputs = work.desk.handle_timeout(clock::now());
                    work.carry_out(None, outputs);
                }
                () = clock::sleep_until(Some(work.check_at)) => work.check(clock::now()),
                Some(message) = from_peers.recv() => work.send(message),
                changed = watching.changed(), if work.peers.is_some() => match changed {
                    Ok(()) => work.note_present(),
                    Err(_) => break Err(PeersEnded),
                },
                Some(knock) = knocks.recv() => work.on_knock(knock),
                (index, event) = next_event(&mut work.carriers, work.turn) => {
                    work.turn = index + 1;
                    work.on_event(index, event);
                }
            }
        };
        if let Some(ending) = ending {
            ending.abort();
        }
        while let Ok(message) = from_peers.try_recv() {
            work.send(message);
        }
        work.close().await;
        ended
    }
}

/// What the loop works with.
struct Work {
    desk: Desk,
    store: KeyStore,
    carriers: Vec<Carrier>,
    /// How each of them is.
    conditions: Vec<Condition>,
    /// The carrier whose turn it is.
    turn: usize,
    /// `None` once the agent is stopping: then nobody is let in.
    peers: Option<Peers>,
    /// By which way each session's answers go back.
    routes: Routes,
    /// Of those that are let in.
    tokens: watch::Sender<Tokens>,
    /// What owners wait for who carry it back by hand. No more than connections to the control socket.
    by_hand: HashMap<SessionId, Waiting>,
    /// Who watches now.
    watching: watch::Receiver<Vec<registry::Viewer>>,
    /// Who did when that changed last.
    present: BTreeSet<KeyId>,
    /// When viewers were last heard of, since the agent started.
    seen: BTreeMap<KeyId, Instant>,
    /// Known, but not to the desk: their keys expire, and the clock is not set.
    withheld: BTreeSet<KeyId>,
    /// When to look next whose key has expired.
    check_at: Instant,
    /// When to save next what was seen.
    save_at: Instant,
}

impl Work {
    fn on_event(&mut self, index: usize, event: CarrierEvent) {
        let name = &self.carriers[index].name;
        match event {
            CarrierEvent::Up => {
                info!(carrier = %name, "signaling is up");
                self.conditions[index].came_up(clock::now());
                let status = self.desk.status();
                self.publish(index, Outgoing::Status(status));
            }
            CarrierEvent::Down { reason } => {
                warn!(carrier = %name, "signaling is down: {reason}; trying again until it is back");
                self.conditions[index].went_down(&reason, clock::now());
            }
            CarrierEvent::Envelope(payload) => {
                let outputs = self.desk.receive(clock::now(), &payload);
                self.carry_out(Some(index), outputs);
            }
        }
    }

    /// `from` is the carrier whose envelope led to the outputs; without one, a timer did.
    fn carry_out(&mut self, from: Option<usize>, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Status(status) => {
                    // Once a minute: what was dropped is counted, and never logged one by one.
                    debug!(counters = ?self.desk.counters(), "envelopes so far");
                    for index in 0..self.carriers.len() {
                        self.publish(index, Outgoing::Status(status.clone()));
                    }
                }
                Output::Reply { session, envelope } => {
                    // One viewer's envelope may end another session of it, which came by another carrier.
                    if let Some(index) = self.routes.carrier(session).or(from) {
                        self.publish(index, Outgoing::Reply { session, envelope });
                    }
                }
                Output::Deliver { session, viewer, role, message } => {
                    if let Some(index) = from {
                        self.routes.by_carrier(session, index);
                    }
                    self.seen.insert(viewer, clock::now());
                    self.deliver(Inbound { session, viewer, role, message });
                }
                Output::Pair { pairing, record } => {
                    let answer = self.pair(pairing, record);
                    self.carry_out(from, answer.into_iter().collect());
                }
                Output::Ended { session } => {
                    self.routes.remove(session);
                }
            }
        }
    }

    /// A door has let its viewer in; it may have been revoked since.
    fn on_knock(&mut self, knock: Knock) {
        let (session, viewer, message) = match knock {
            Knock::Open { session, viewer, message, answers } => {
                self.routes.by_door(session, viewer, answers);
                (session, viewer, message)
            }
            Knock::Go { session, message } => {
                let Some(viewer) = self.routes.direct_viewer(session) else { return };
                (session, viewer, message)
            }
        };
        let is_let_in = |record: &&ViewerRecord| record.id == viewer && !self.withheld.contains(&viewer);
        let Some(role) = self.store.viewers().iter().find(is_let_in).map(|record| record.role) else {
            let message = ToViewer::Bye { reason: ByeReason::Revoked };
            self.send(ToSession { session, message, last: Last::Yes });
            return;
        };
        self.seen.insert(viewer, clock::now());
        self.deliver(Inbound { session, viewer, role, message });
    }

    fn deliver(&mut self, inbound: Inbound) {
        let session = inbound.session;
        let refused = match &self.peers {
            Some(peers) => peers.deliver(inbound).is_err(),
            None => true,
        };
        if refused {
            let message = ToViewer::Error { code: ErrorCode::Busy, message: BUSY.to_owned() };
            self.send(ToSession { session, message, last: Last::No });
        }
    }

    /// The key is on the disk before the viewer hears of it, so that a power cut cannot lose a paired viewer.
    fn pair(&mut self, pairing: PairingId, record: ViewerRecord) -> Option<Output> {
        let (viewer, role, name) = (record.id, record.role, record.name.clone());
        let saved = self.save_viewer(record);
        match &saved {
            Ok(()) => info!(%viewer, ?role, name, "a viewer was paired"),
            Err(error) => error!("a viewer could not be paired: {error}"),
        }
        self.check_at = clock::now();
        self.desk.commit_pairing(clock::now(), pairing, saved)
    }

    fn save_viewer(&mut self, record: ViewerRecord) -> Result<(), String> {
        if people::standing(&record, clock::since_epoch()) == Standing::Expired {
            return Err("the time for which its owner wanted this viewer is over".to_owned());
        }
        tokio::task::block_in_place(|| self.store.add(record, clock::since_epoch()))
            .map_err(|error| error.to_string())
    }

    fn send(&mut self, message: ToSession) {
        let Some(ToSession { session, message, last }) = self.of_carriers(message) else { return };
        match self.routes.get(session) {
            Some(Route::Direct { answers, .. }) => {
                let sent = answers.try_send(message);
                if sent.is_err() {
                    debug!(%session, "a message is lost: its door is overrun, or gone");
                }
            }
            Some(&Route::Carrier(index)) => {
                if let Some(envelope) = self.desk.seal(clock::now(), session, &message) {
                    self.publish(index, Outgoing::Reply { session, envelope });
                }
            }
            None => {}
        }
        if last == Last::Yes {
            self.desk.end(session);
            self.routes.remove(session);
        }
    }

    /// A carrier that is down or overrun loses the message, as a network would: viewers ask again.
    fn publish(&mut self, index: usize, outgoing: Outgoing) {
        let carrier = &self.carriers[index];
        if carrier.outgoing.try_send(outgoing).is_err() {
            self.conditions[index].lost += 1;
            debug!(carrier = %carrier.name, "a message is lost: the carrier is down or overrun");
        }
    }

    /// Each carrier publishes what is queued and the offline status; all at once, so that a slow one takes no time
    /// from the others.
    async fn close(mut self) {
        self.save_seen();
        let goodbyes = self.carriers.into_iter().map(|Carrier { name, task, outgoing, events }| {
            drop((outgoing, events));
            async move {
                if tokio::time::timeout(CLOSING, task).await.is_err() {
                    debug!(carrier = %name, "did not end in time");
                }
            }
        });
        join_all(goodbyes).await;
    }
}

/// The next event of any carrier; for ever, when none is left. They take turns, from `turn` on: a broker that floods
/// delays viewers who come by another by no more than one message each.
async fn next_event(carriers: &mut [Carrier], turn: usize) -> (usize, CarrierEvent) {
    poll_fn(|cx: &mut Context<'_>| {
        for offset in 0..carriers.len() {
            let index = (turn + offset) % carriers.len();
            if let Poll::Ready(Some(event)) = carriers[index].events.poll_recv(cx) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        peer::{self, PeerSettings, ice::IceServers, rtc::RtcSettings, session::Timings},
        signal::door::Doorbell,
    };

    #[tokio::test]
    async fn a_carrier_that_floods_leaves_the_others_their_turn() {
        let mut senders = Vec::new();
        let mut carriers: Vec<Carrier> = (0..3)
            .map(|index| {
                let (events, events_out) = mpsc::channel(8);
                senders.push(events);
                let outgoing = mpsc::channel(1).0;
                let task = tasks::spawn("carrier", async {});
                Carrier { name: index.to_string(), events: events_out, outgoing, task }
            })
            .collect();
        let envelope = || CarrierEvent::Envelope(Bytes::from_static(b"{}"));
        for _ in 0..4 {
            senders[0].send(envelope()).await.unwrap();
        }
        senders[1].send(envelope()).await.unwrap();
        senders[2].send(envelope()).await.unwrap();
        let (mut turn, mut order) = (0, Vec::new());
        for _ in 0..6 {
            let (index, _) = next_event(&mut carriers, turn).await;
            turn = index + 1;
            order.push(index);
        }
        assert_eq!(order, [0, 1, 2, 0, 0, 0]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_the_viewers_task_it_ends_and_says_so() {
        let folder = std::env::temp_dir().join(format!("pinhole-exchange-fault-{}", std::process::id()));
        let store = KeyStore::open(&folder).unwrap();
        let settings = PeerSettings {
            rtc: RtcSettings::default(),
            max_viewers: 1,
            device_name: "porch".to_owned(),
            ice: IceServers::default(),
            timings: Timings::default(),
            privacy: tokio::sync::watch::channel(crate::config::Switch::Off).1,
        };
        let (to_viewers, from_peers) = mpsc::channel(1);
        let peers = peer::start(settings, Vec::new(), to_viewers);
        peers.abort();
        let desk = Desk::new(store.device(), Vec::new(), Box::new(keys::random), clock::now());
        let (_commands, queue) = mpsc::channel(1);
        let (_doorbell, doors) = Doorbell::new();
        let exchange =
            Exchange { desk, store, carriers: Vec::new(), peers, from_peers, commands: queue, doors };
        assert_eq!(exchange.run().await, Err(PeersEnded));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
