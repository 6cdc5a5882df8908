//! The broker's state: who is connected, what each has subscribed to, what waits for them, and the devices' statuses.
//! Pure: requests and a time go in, replies come out, and [`State::drain_woken`] names the clients that have
//! something to fetch. Not here: sockets (`session`), and the agent's own end (`link`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    num::NonZeroU16,
    time::Instant,
};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::{
    limits::{Limits, Neighbour},
    packet::{
        Connect, ConnectAckReason, Filter, Qos, Reason, Reply, Request, RetainHandling, SubscribeAckReason,
        UnsubscribeAckReason, Version,
    },
    topic::{Party, Place, Retain, Rules},
};
use crate::signal::{
    OFFLINE_STATUS,
    limit::Bucket,
    topic::{DeviceId, Topic},
};

/// The longest client id taken, bytes.
const CLIENT_ID_MAX: usize = 64;

/// Connections of one device at once: the one that counts, and those that it has left and that are being closed.
const CONNECTIONS_OF_DEVICE: usize = 4;

/// One connection, as long as it lasts; a client that comes again gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(u64);

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Clients let in.
    pub connected: u64,
    /// Clients refused in the CONNACK.
    pub refused: u64,
    /// Connections cut before their CONNECT was complete, to make room or because they took too long.
    pub unfinished: u64,
    /// Clients whose place another with the same id took.
    pub taken_over: u64,
    /// Clients dropped because they did not read.
    pub slow: u64,
    /// Clients dropped because they sent too many packets.
    pub too_fast: u64,
    /// Publications refused.
    pub publish_refused: u64,
    /// Subscriptions refused.
    pub subscribe_refused: u64,
    /// Envelopes lost because their device did not take them in time, or was not there.
    pub device_missed: u64,
    /// Replies of a device to a session that nobody was subscribed to.
    pub undelivered: u64,
}

/// What follows from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Reply(Reply),
    /// An envelope for the agent; `packet_id` wants a PUBACK that says what became of it.
    ToAgent {
        payload: Bytes,
        packet_id: Option<NonZeroU16>,
    },
    /// The client said goodbye.
    Left,
}

/// A client that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    pub key: ClientKey,
    /// The client id, when the broker had to make one.
    pub assigned: Option<ByteString>,
}

/// What a newcomer takes over from the one before it. Nobody can take a device's place but that device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    party: Party,
    /// The client id; nothing for a device, which is known by its key.
    id: ByteString,
}

#[derive(Debug)]
struct Client {
    identity: Identity,
    version: Version,
    neighbour: Neighbour,
    rate: Bucket,
    /// For its statuses.
    status_rate: Bucket,
    will: Option<LastWord>,
    subscriptions: BTreeMap<Place, Subscription>,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    /// Packet ids of what was sent with QoS 1 and not acknowledged; at most `window`.
    unacknowledged: BTreeSet<NonZeroU16>,
    window: usize,
    last_packet_id: NonZeroU16,
    /// Why its session has to end.
    cut: Option<Reason>,
}

#[derive(Debug, Clone, Copy)]
struct Subscription {
    qos: Qos,
    retain_as_published: bool,
}

/// A last will that may be published.
#[derive(Debug)]
struct LastWord {
    place: Place,
    payload: Bytes,
}

#[derive(Debug, Clone)]
struct Message {
    place: Place,
    payload: Bytes,
    retain: Retain,
    qos: Qos,
}

/// All of the broker that can be tested without a socket.
#[derive(Debug)]
pub struct State {
    limits: Limits,
    rules: Rules,
    next_key: u64,
    clients: BTreeMap<ClientKey, Client>,
    /// Only clients that are not cut.
    by_identity: BTreeMap<Identity, ClientKey>,
    /// The retained messages, one of each device.
    statuses: BTreeMap<DeviceId, Bytes>,
    /// Wills for the agent in this process.
    for_agent: Vec<Bytes>,
    woken: BTreeSet<ClientKey>,
    closed: bool,
    counters: Counters,
}

impl State {
    /// Nobody connected, and no other device there.
    pub fn new(rules: Rules, limits: Limits) -> Self {
        let offline = |device| (device, Bytes::from_static(OFFLINE_STATUS));
        Self {
            limits,
            statuses: rules.others().map(offline).collect(),
            rules,
            next_key: 0,
            clients: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            for_agent: Vec::new(),
            woken: BTreeSet::new(),
            closed: false,
            counters: Counters::default(),
        }
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Counts a connection that ended before its CONNECT was complete.
    pub fn count_unfinished(&mut self) {
        self.counters.unfinished += 1;
    }

    /// Counts an envelope that the agent did not get.
    pub fn count_agent_missed(&mut self) {
        self.counters.device_missed += 1;
    }

    /// Clients that are connected and not about to be cut.
    pub fn connected(&self) -> usize {
        self.by_identity.len()
    }

    /// Envelopes for the agent that nobody waits to hear of.
    pub fn drain_for_agent(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.for_agent)
    }

    /// The clients for whom [`State::fetch`] or [`State::cut_reason`] may have something new.
    pub fn drain_woken(&mut self) -> BTreeSet<ClientKey> {
        std::mem::take(&mut self.woken)
    }

    /// A CONNECT came, of `party`. A client with the same id is cut (MQTT 5, 3.1.4).
    ///
    /// # Errors
    /// The reason for the CONNACK.
    pub fn connect(
        &mut self,
        connect: &Connect,
        party: Party,
        ip: IpAddr,
        now: Instant,
    ) -> Result<Admitted, ConnectAckReason> {
        let neighbour = Neighbour::of(ip);
        let will = match self.may_connect(connect, party, neighbour) {
            Ok(will) => will,
            Err(reason) => {
                self.counters.refused += 1;
                return Err(reason);
            }
        };
        let key = ClientKey(self.next_key);
        self.next_key += 1;
        let assigned = connect.client_id.is_empty().then(|| ByteString::from(format!("viewer-{}", key.0)));
        let identity = identity(party, assigned.as_ref().unwrap_or(&connect.client_id));
        if let Some(old) = self.by_identity.get(&identity).copied() {
            self.counters.taken_over += 1;
            self.cut(old, Reason::SessionTakenOver);
        }
        self.counters.connected += 1;
        self.by_identity.insert(identity.clone(), key);
        let client = Client {
            identity,
            version: connect.version,
            neighbour,
            rate: self.rate(party, now),
            status_rate: Bucket::new(
                now,
                self.limits.statuses_per_second,
                2 * self.limits.statuses_per_second,
            ),
            will,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            unacknowledged: BTreeSet::new(),
            window: self.limits.window.min(connect.receive_maximum).max(1).into(),
            last_packet_id: NonZeroU16::MAX,
            cut: None,
        };
        self.clients.insert(key, client);
        Ok(Admitted { key, assigned })
    }

    fn rate(&self, party: Party, now: Instant) -> Bucket {
        let per_second = match party {
            Party::Viewer => self.limits.packets_per_second,
            Party::Device(_) => self.limits.packets_per_second_of_device,
        };
        Bucket::new(now, per_second, per_second)
    }

    fn may_connect(
        &self,
        connect: &Connect,
        party: Party,
        neighbour: Neighbour,
    ) -> Result<Option<LastWord>, ConnectAckReason> {
        if self.closed {
            return Err(ConnectAckReason::ServerUnavailable);
        }
        if let Some(reason) = connect.refused {
            return Err(reason);
        }
        if connect.client_id.len() > CLIENT_ID_MAX || connect.client_id.chars().any(char::is_control) {
            return Err(ConnectAckReason::ClientIdentifierNotValid);
        }
        self.has_room(&identity(party, &connect.client_id), neighbour)?;
        let Some(will) = &connect.will else { return Ok(None) };
        let place = self.rules.may_publish(party, &will.topic, will.retain);
        let place = place.ok_or(ConnectAckReason::NotAuthorized)?;
        if place.topic == Topic::Status && will.payload.len() > self.limits.status {
            return Err(ConnectAckReason::QuotaExceeded);
        }
        Ok(Some(LastWord { place, payload: will.payload.clone() }))
    }

    fn has_room(&self, identity: &Identity, neighbour: Neighbour) -> Result<(), ConnectAckReason> {
        let count = |test: &dyn Fn(&&Client) -> bool| self.clients.values().filter(test).count();
        let viewer = |client: &&Client| client.identity.party == Party::Viewer;
        if identity.party != Party::Viewer {
            // Each has its place, whatever viewers do.
            let same = count(&|client| client.identity == *identity);
            return if same < CONNECTIONS_OF_DEVICE { Ok(()) } else { Err(ConnectAckReason::ServerBusy) };
        }
        // Clients that were cut and are still being closed count here, so that a storm of takeovers stays bounded.
        if count(&viewer) >= 2 * self.limits.clients {
            return Err(ConnectAckReason::ServerBusy);
        }
        // Who takes another's place needs no new one.
        if self.by_identity.contains_key(identity) {
            return Ok(());
        }
        let there = |client: &&Client| viewer(client) && client.cut.is_none();
        if count(&there) >= self.limits.clients {
            return Err(ConnectAckReason::ServerBusy);
        }
        let of_address = count(&|client| there(client) && client.neighbour == neighbour);
        if !neighbour.is_loopback() && of_address >= self.limits.clients_per_address {
            return Err(ConnectAckReason::QuotaExceeded);
        }
        Ok(())
    }

    /// The connection is over.
    pub fn disconnect(&mut self, key: ClientKey) {
        self.forget_identity(key);
        self.publish_will(key);
        self.clients.remove(&key);
        self.woken.remove(&key);
    }

    /// Why the client has to go, if it has to.
    pub fn cut_reason(&self, key: ClientKey) -> Option<Reason> {
        match self.clients.get(&key) {
            Some(client) => client.cut,
            None => Some(Reason::AdministrativeAction),
        }
    }

    /// The broker closes: everyone gets what is queued for them, and goes; nobody is let in any more.
    pub fn close(&mut self) {
        self.closed = true;
        for key in self.by_identity.values().copied().collect::<Vec<_>>() {
            self.mark_cut(key, Reason::ServerShuttingDown);
        }
    }

    /// One packet of a client.
    ///
    /// # Errors
    /// The reason for which the connection has to be ended.
    pub fn handle(&mut self, key: ClientKey, request: Request, now: Instant) -> Result<Step, Reason> {
        let client = self.clients.get_mut(&key).ok_or(Reason::AdministrativeAction)?;
        if let Some(reason) = client.cut {
            return Err(reason);
        }
        let awaited =
            matches!(&request, Request::Acknowledge(packet_id) if client.unacknowledged.contains(packet_id));
        if !awaited && !client.rate.take(now) {
            self.counters.too_fast += 1;
            return Err(Reason::MessageRateTooHigh);
        }
        match request {
            Request::Publish { topic, payload, retain, packet_id } => {
                self.publish(key, &topic, payload, retain, packet_id, now)
            }
            Request::Acknowledge(packet_id) => {
                if client.unacknowledged.remove(&packet_id) && !client.queue.is_empty() {
                    self.woken.insert(key);
                }
                Ok(Step::Nothing)
            }
            Request::Subscribe { packet_id, filters } => {
                let codes = filters.into_iter().map(|filter| self.subscribe(key, &filter)).collect();
                Ok(Step::Reply(Reply::Subscribed { packet_id, codes }))
            }
            Request::Unsubscribe { packet_id, filters } => {
                let codes = filters.iter().map(|filter| self.unsubscribe(key, filter)).collect();
                Ok(Step::Reply(Reply::Unsubscribed { packet_id, codes }))
            }
            Request::Ping => Ok(Step::Reply(Reply::Pong)),
            Request::Disconnect => {
                client.will = None;
                Ok(Step::Left)
            }
            Request::DisconnectWithWill => Ok(Step::Left),
            Request::Invalid(reason) => Err(reason),
        }
    }

    fn subscribe(&mut self, key: ClientKey, filter: &Filter) -> SubscribeAckReason {
        let Some(client) = self.clients.get_mut(&key) else { return SubscribeAckReason::UnspecifiedError };
        let Some(place) = self.rules.may_subscribe(client.identity.party, &filter.topic) else {
            self.counters.subscribe_refused += 1;
            return SubscribeAckReason::NotAuthorized;
        };
        let known = client.subscriptions.contains_key(&place);
        if !known && client.subscriptions.len() >= self.limits.subscriptions_per_client {
            self.counters.subscribe_refused += 1;
            return SubscribeAckReason::QuotaExceeded;
        }
        let subscription = Subscription { qos: filter.qos, retain_as_published: filter.retain_as_published };
        client.subscriptions.insert(place, subscription);
        let wants_retained = match filter.retain_handling {
            RetainHandling::AtSubscribe => true,
            RetainHandling::AtSubscribeNew => !known,
            RetainHandling::NoAtSubscribe => false,
        };
        if place.topic == Topic::Status
            && wants_retained
            && let Some(payload) = self.statuses.get(&place.device).cloned()
        {
            self.enqueue(key, Message { place, payload, retain: Retain::Yes, qos: filter.qos });
        }
        match filter.qos {
            Qos::AtMostOnce => SubscribeAckReason::GrantedQos0,
            Qos::AtLeastOnce => SubscribeAckReason::GrantedQos1,
        }
    }

    fn unsubscribe(&mut self, key: ClientKey, filter: &str) -> UnsubscribeAckReason {
        let removed = self.clients.get_mut(&key).and_then(|client| {
            let place = self.rules.may_subscribe(client.identity.party, filter)?;
            client.subscriptions.remove(&place)
        });
        match removed {
            Some(_) => UnsubscribeAckReason::Success,
            None => UnsubscribeAckReason::NoSubscriptionExisted,
        }
    }

    /// Ends a client's session without what still waits for it.
    fn cut(&mut self, key: ClientKey, reason: Reason) {
        self.mark_cut(key, reason);
        if let Some(client) = self.clients.get_mut(&key) {
            client.queue.clear();
            client.queued_bytes = 0;
            client.subscriptions.clear();
        }
    }

    fn mark_cut(&mut self, key: ClientKey, reason: Reason) {
        self.forget_identity(key);
        if let Some(client) = self.clients.get_mut(&key) {
            client.cut.get_or_insert(reason);
            self.woken.insert(key);
        }
        self.publish_will(key);
    }

    fn forget_identity(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get(&key)
            && self.by_identity.get(&client.identity) == Some(&key)
        {
            self.by_identity.remove(&client.identity);
        }
    }
}

fn identity(party: Party, client_id: &ByteString) -> Identity {
    let id = match party {
        Party::Viewer => client_id.clone(),
        Party::Device(_) => ByteString::new(),
    };
    Identity { party, id }
}

impl Client {
    fn has_room(&self, limits: &Limits, bytes: usize) -> bool {
        self.queue.len() < limits.queue && self.queued_bytes + bytes <= limits.queue_bytes
    }

    /// The next packet id that is not in use. There is one, for the window is smaller than the ids.
    fn free_packet_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(NonZeroU16::MIN);
            if self.unacknowledged.insert(self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

mod routing;

#[cfg(test)]
mod tests;
