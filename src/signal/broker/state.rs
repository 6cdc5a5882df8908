//! The broker's state: who is connected, what each has subscribed to, what waits for them, and the device's status.
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

use super::{
    limits::{Limits, Neighbour, Rate},
    packet::{
        Connect, ConnectAckReason, Delivery, Filter, PublishAckReason, Qos, Reason, Reply, Request,
        RetainHandling, SubscribeAckReason, UnsubscribeAckReason, Version,
    },
    topic::{Retain, Rules, Topic},
};
use crate::signal::topic::SessionId;

/// The longest client id taken, bytes.
const CLIENT_ID_MAX: usize = 64;

/// One connection, as long as it lasts; a client that comes again gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(u64);

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Envelopes lost because the agent did not take them in time, or was not there.
    pub agent_missed: u64,
    /// Replies of the agent to a session that nobody was subscribed to.
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

#[derive(Debug)]
struct Client {
    id: ByteString,
    version: Version,
    neighbour: Neighbour,
    rate: Rate,
    subscriptions: BTreeMap<Topic, Subscription>,
    queue: VecDeque<Message>,
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

#[derive(Debug, Clone)]
struct Message {
    topic: Topic,
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
    by_id: BTreeMap<ByteString, ClientKey>,
    /// The one retained message there can be.
    status: Option<Bytes>,
    woken: BTreeSet<ClientKey>,
    closed: bool,
    counters: Counters,
}

impl State {
    /// Nobody connected, nothing retained.
    pub fn new(rules: Rules, limits: Limits) -> Self {
        Self {
            limits,
            rules,
            next_key: 0,
            clients: BTreeMap::new(),
            by_id: BTreeMap::new(),
            status: None,
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
        self.counters.agent_missed += 1;
    }

    /// Clients that are connected and not about to be cut.
    pub fn connected(&self) -> usize {
        self.by_id.len()
    }

    /// The clients for whom [`State::fetch`] or [`State::cut_reason`] may have something new.
    pub fn drain_woken(&mut self) -> BTreeSet<ClientKey> {
        std::mem::take(&mut self.woken)
    }

    /// A CONNECT came. A client with the same id is cut (MQTT 5, 3.1.4); all network clients are viewers, so that
    /// nobody can take the agent's place.
    ///
    /// # Errors
    /// The reason for the CONNACK.
    pub fn connect(
        &mut self,
        connect: &Connect,
        ip: IpAddr,
        now: Instant,
    ) -> Result<Admitted, ConnectAckReason> {
        let neighbour = Neighbour::of(ip);
        if let Err(reason) = self.may_connect(connect, neighbour) {
            self.counters.refused += 1;
            return Err(reason);
        }
        let key = ClientKey(self.next_key);
        self.next_key += 1;
        let assigned = connect.client_id.is_empty().then(|| ByteString::from(format!("viewer-{}", key.0)));
        let id = assigned.clone().unwrap_or_else(|| connect.client_id.clone());
        if let Some(old) = self.by_id.get(&id).copied() {
            self.counters.taken_over += 1;
            self.cut(old, Reason::SessionTakenOver);
        }
        self.counters.connected += 1;
        self.by_id.insert(id.clone(), key);
        let client = Client {
            id,
            version: connect.version,
            neighbour,
            rate: Rate::new(self.limits.packets_per_second, now),
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            unacknowledged: BTreeSet::new(),
            window: self.limits.window.min(connect.receive_maximum).max(1).into(),
            last_packet_id: NonZeroU16::MAX,
            cut: None,
        };
        self.clients.insert(key, client);
        Ok(Admitted { key, assigned })
    }

    fn may_connect(&self, connect: &Connect, neighbour: Neighbour) -> Result<(), ConnectAckReason> {
        if self.closed {
            return Err(ConnectAckReason::ServerUnavailable);
        }
        if let Some(reason) = connect.refused {
            return Err(reason);
        }
        if connect.client_id.len() > CLIENT_ID_MAX || connect.client_id.chars().any(char::is_control) {
            return Err(ConnectAckReason::ClientIdentifierNotValid);
        }
        // Clients that were cut and are still being closed count here, so that a storm of takeovers stays bounded.
        if self.clients.len() >= 2 * self.limits.clients {
            return Err(ConnectAckReason::ServerBusy);
        }
        // Who takes another's place needs no new one.
        if self.by_id.contains_key(&connect.client_id) {
            return Ok(());
        }
        if self.by_id.len() >= self.limits.clients {
            return Err(ConnectAckReason::ServerBusy);
        }
        let of_address =
            self.clients.values().filter(|one| one.cut.is_none() && one.neighbour == neighbour).count();
        if !neighbour.is_loopback() && of_address >= self.limits.clients_per_address {
            return Err(ConnectAckReason::QuotaExceeded);
        }
        Ok(())
    }

    /// The connection is over.
    pub fn disconnect(&mut self, key: ClientKey) {
        self.forget_id(key);
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
        for key in self.by_id.values().copied().collect::<Vec<_>>() {
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
        if !client.rate.allow(now) {
            self.counters.too_fast += 1;
            return Err(Reason::MessageRateTooHigh);
        }
        match request {
            Request::Publish { topic, payload, retain, packet_id } => {
                self.publish(key, &topic, payload, retain, packet_id)
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
            Request::Disconnect => Ok(Step::Left),
            Request::Invalid(reason) => Err(reason),
        }
    }

    fn publish(
        &mut self,
        key: ClientKey,
        topic: &str,
        payload: Bytes,
        retain: Retain,
        packet_id: Option<NonZeroU16>,
    ) -> Result<Step, Reason> {
        if self.rules.may_publish(topic, retain) {
            return Ok(Step::ToAgent { payload, packet_id });
        }
        self.counters.publish_refused += 1;
        let version = self.clients.get(&key).map_or(Version::V3, |client| client.version);
        match (version, packet_id) {
            // 3.1.1 has no other way to refuse (3.3.5-2).
            (Version::V3, _) => Err(Reason::NotAuthorized),
            (Version::V5, None) => Ok(Step::Nothing),
            (Version::V5, Some(packet_id)) => {
                Ok(Step::Reply(Reply::Published { packet_id, code: PublishAckReason::NotAuthorized }))
            }
        }
    }

    fn subscribe(&mut self, key: ClientKey, filter: &Filter) -> SubscribeAckReason {
        let Some(client) = self.clients.get_mut(&key) else { return SubscribeAckReason::UnspecifiedError };
        let Some(topic) = self.rules.may_subscribe(&filter.topic) else {
            self.counters.subscribe_refused += 1;
            return SubscribeAckReason::NotAuthorized;
        };
        let known = client.subscriptions.contains_key(&topic);
        if !known && client.subscriptions.len() >= self.limits.subscriptions_per_client {
            self.counters.subscribe_refused += 1;
            return SubscribeAckReason::QuotaExceeded;
        }
        let subscription = Subscription { qos: filter.qos, retain_as_published: filter.retain_as_published };
        client.subscriptions.insert(topic, subscription);
        let wants_retained = match filter.retain_handling {
            RetainHandling::AtSubscribe => true,
            RetainHandling::AtSubscribeNew => !known,
            RetainHandling::NoAtSubscribe => false,
        };
        if topic == Topic::Status
            && wants_retained
            && let Some(payload) = self.status.clone()
        {
            self.enqueue(key, Message { topic, payload, retain: Retain::Yes, qos: filter.qos });
        }
        match filter.qos {
            Qos::AtMostOnce => SubscribeAckReason::GrantedQos0,
            Qos::AtLeastOnce => SubscribeAckReason::GrantedQos1,
        }
    }

    fn unsubscribe(&mut self, key: ClientKey, filter: &str) -> UnsubscribeAckReason {
        let removed = self.rules.may_subscribe(filter).and_then(|topic| {
            self.clients.get_mut(&key).and_then(|client| client.subscriptions.remove(&topic))
        });
        match removed {
            Some(_) => UnsubscribeAckReason::Success,
            None => UnsubscribeAckReason::NoSubscriptionExisted,
        }
    }

    /// The agent's status: kept, and sent to all who follow it.
    pub fn publish_status(&mut self, payload: Bytes) {
        self.status = Some(payload.clone());
        self.distribute(Topic::Status, &payload, Retain::Yes);
    }

    /// The agent's answer to a session.
    pub fn publish_reply(&mut self, session: SessionId, payload: &Bytes) {
        if self.distribute(Topic::Out(session), payload, Retain::No) == 0 {
            self.counters.undelivered += 1;
        }
    }

    fn distribute(&mut self, topic: Topic, payload: &Bytes, published: Retain) -> usize {
        let receivers: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.cut.is_none())
            .filter_map(|(key, client)| client.subscriptions.get(&topic).map(|found| (*key, *found)))
            .collect();
        for (key, subscription) in &receivers {
            let retain = if subscription.retain_as_published { published } else { Retain::No };
            self.enqueue(*key, Message { topic, payload: payload.clone(), retain, qos: subscription.qos });
        }
        receivers.len()
    }

    fn enqueue(&mut self, key: ClientKey, message: Message) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.queue.len() >= self.limits.queue {
            self.counters.slow += 1;
            self.cut(key, Reason::QuotaExceeded);
            return;
        }
        client.queue.push_back(message);
        self.woken.insert(key);
    }

    /// The next message for a client, if there is one and its window has room.
    pub fn fetch(&mut self, key: ClientKey) -> Option<Delivery> {
        let client = self.clients.get_mut(&key)?;
        let qos = client.queue.front()?.qos;
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce if client.unacknowledged.len() >= client.window => return None,
            Qos::AtLeastOnce => Some(client.free_packet_id()),
        };
        let message = client.queue.pop_front()?;
        let topic = self.rules.name(message.topic).into();
        Some(Delivery { topic, payload: message.payload, retain: message.retain, packet_id })
    }

    /// Ends a client's session without what still waits for it.
    fn cut(&mut self, key: ClientKey, reason: Reason) {
        self.mark_cut(key, reason);
        if let Some(client) = self.clients.get_mut(&key) {
            client.queue.clear();
            client.subscriptions.clear();
        }
    }

    fn mark_cut(&mut self, key: ClientKey, reason: Reason) {
        self.forget_id(key);
        if let Some(client) = self.clients.get_mut(&key) {
            client.cut.get_or_insert(reason);
            self.woken.insert(key);
        }
    }

    fn forget_id(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get(&key)
            && self.by_id.get(&client.id) == Some(&key)
        {
            self.by_id.remove(&client.id);
        }
    }
}

impl Client {
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

#[cfg(test)]
mod tests;
