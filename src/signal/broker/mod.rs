//! The embedded MQTT broker: 3.1.1 and 5, and only what signaling needs. It serves any byte stream (the web server
//! hands it WebSockets, `listener` TCP connections), and has one in-process link for the agent, which alone publishes
//! `status` and `out`. Other agents of the house may be let in by their keys; each then speaks for its own device.
//! `topic`, `limits`, `packet` and `state` are pure; `session` runs on the task of each connection, `link` and
//! `listener` on one of their own. Not here: what is in a message; it is sealed, and the broker is not trusted with it.

pub mod limits;
mod link;
pub mod listener;
mod packet;
mod session;
mod state;
mod topic;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, mpsc},
};
use tokio_util::sync::CancellationToken;

pub use limits::Limits;
pub use state::Counters;

use self::{
    limits::{Crowd, Member},
    packet::{Connect, ConnectAckReason, PublishAckReason},
    state::{Admitted, ClientKey, State},
    topic::{Party, Rules},
};
use super::{Address, Carrier, CarrierEvent, login::AcceptedDevice, topic::DeviceId};

/// The broker of one device, and of those that it accepts beside it. Its sessions end with the tasks that run [`Broker::serve`].
pub struct Broker {
    limits: Limits,
    accepted: BTreeMap<DeviceId, AcceptedDevice>,
    /// Sessions of several tasks share the state; it is held for one packet or message, never while waiting.
    shared: Mutex<Shared>,
}

struct Shared {
    state: State,
    /// Where each connected client's session waits.
    wakers: HashMap<ClientKey, Arc<Notify>>,
    /// Connections that have not sent their CONNECT.
    crowd: Crowd,
    crowd_cuts: BTreeMap<Member, CancellationToken>,
    agent: Option<Agent>,
    next_agent: u64,
}

struct Agent {
    number: u64,
    events: mpsc::Sender<CarrierEvent>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("limits", &self.limits).field("counters", &self.counters()).finish()
    }
}

impl Broker {
    /// A broker with nobody connected, for the device at `address` and for those that it accepts.
    pub fn new(address: Address, limits: Limits, accepted: &[AcceptedDevice]) -> Arc<Self> {
        // Nobody but the agent in this process speaks for its own device.
        let others = accepted.iter().filter(|other| other.device != address.device);
        let accepted: BTreeMap<_, _> = others.map(|other| (other.device, *other)).collect();
        let rules = Rules::new(&address, accepted.keys().copied());
        Arc::new(Self {
            limits,
            accepted,
            shared: Mutex::new(Shared {
                state: State::new(rules, limits),
                wakers: HashMap::new(),
                crowd: Crowd::new(limits.handshakes, limits.handshakes_per_address),
                crowd_cuts: BTreeMap::new(),
                agent: None,
                next_agent: 0,
            }),
        })
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.lock().state.counters()
    }

    /// The bounds it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Clients connected now.
    pub fn connected(&self) -> usize {
        self.lock().state.connected()
    }

    /// Serves one connection to its end. `peer` is the address that counts for the limits.
    pub async fn serve<S>(&self, io: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        session::run(self, io, peer).await;
    }

    /// The agent's own end, up at once. A second one takes the first's place. When it is stopped (or its task ends
    /// otherwise), the offline status is published. Must be called on a runtime.
    pub fn carrier(self: &Arc<Self>) -> Carrier {
        link::start(self)
    }

    /// Sends everyone what is queued for them and then away, and lets nobody in any more. The sessions end within
    /// the time that their peers take to read, at most [`Limits::send_time`].
    pub fn shut_down(&self) {
        self.with_state(State::close);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics halfway through a change; if it did, the state would still be consistent per client.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the sessions that this concerns.
    fn with_state<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut shared = self.lock();
        let result = change(&mut shared.state);
        for key in shared.state.drain_woken() {
            if let Some(waker) = shared.wakers.get(&key) {
                waker.notify_one();
            }
        }
        for payload in shared.state.drain_for_agent() {
            shared.send_to_agent(payload);
        }
        result
    }

    /// Lets a connection begin its handshake; another that has not finished its own may have to go.
    fn begin_handshake(&self, ip: IpAddr) -> Handshake<'_> {
        let mut shared = self.lock();
        let (member, leaves) = shared.crowd.arrive(ip);
        if let Some(cut) = leaves.and_then(|leaves| shared.crowd_cuts.remove(&leaves)) {
            cut.cancel();
        }
        let cut = CancellationToken::new();
        shared.crowd_cuts.insert(member, cut.clone());
        Handshake { broker: self, member, cut }
    }

    /// Takes a client in; it leaves when the membership is dropped.
    fn join(
        &self,
        connect: &Connect,
        party: Party,
        ip: IpAddr,
    ) -> Result<(Membership<'_>, Admitted), ConnectAckReason> {
        let admitted = self.with_state(|state| state.connect(connect, party, ip, crate::clock::now()))?;
        let waker = Arc::new(Notify::new());
        self.lock().wakers.insert(admitted.key, Arc::clone(&waker));
        Ok((Membership { broker: self, key: admitted.key, waker }, admitted))
    }

    /// Hands an envelope to the agent, without waiting for it.
    fn send_to_agent(&self, payload: Bytes) -> PublishAckReason {
        self.lock().send_to_agent(payload)
    }
}

impl Shared {
    fn send_to_agent(&mut self, payload: Bytes) -> PublishAckReason {
        let sent = match &self.agent {
            Some(agent) => agent.events.try_send(CarrierEvent::Envelope(payload)),
            None => Err(mpsc::error::TrySendError::Closed(CarrierEvent::Envelope(payload))),
        };
        let code = match sent {
            Ok(()) => return PublishAckReason::Success,
            Err(mpsc::error::TrySendError::Full(_)) => PublishAckReason::QuotaExceeded,
            Err(mpsc::error::TrySendError::Closed(_)) => PublishAckReason::NoMatchingSubscribers,
        };
        self.state.count_agent_missed();
        code
    }
}

/// A connection whose CONNECT has not come. Dropping it makes room.
struct Handshake<'a> {
    broker: &'a Broker,
    member: Member,
    /// Cancelled when it has to make room for another.
    cut: CancellationToken,
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        let mut shared = self.broker.lock();
        shared.crowd.leave(self.member);
        shared.crowd_cuts.remove(&self.member);
    }
}

/// A connected client. Dropping it disconnects the client.
struct Membership<'a> {
    broker: &'a Broker,
    key: ClientKey,
    waker: Arc<Notify>,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.broker.with_state(|state| state.disconnect(self.key));
        self.broker.lock().wakers.remove(&self.key);
    }
}
