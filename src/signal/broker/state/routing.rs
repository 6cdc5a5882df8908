//! Where messages go: from a client, the agent or a will to whoever it is for, through each client's queue. Pure, a part
//! of the state. Not here: who may connect, and what a subscription is.

use std::{num::NonZeroU16, time::Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::{ClientKey, LastWord, Message, State, Step, identity};
use crate::signal::{
    broker::{
        packet::{Delivery, PublishAckReason, Qos, Reason, Reply, Version},
        topic::{Party, Place, Retain},
    },
    topic::{DeviceId, SessionId, Topic},
};

impl State {
    pub(super) fn publish(
        &mut self,
        key: ClientKey,
        topic: &str,
        payload: Bytes,
        retain: Retain,
        packet_id: Option<NonZeroU16>,
        now: Instant,
    ) -> Result<Step, Reason> {
        let Some(client) = self.clients.get_mut(&key) else { return Err(Reason::AdministrativeAction) };
        let version = client.version;
        let code = match self.rules.may_publish(client.identity.party, topic, retain) {
            Some(Place { device, topic: Topic::In }) if device == self.rules.own() => {
                return Ok(Step::ToAgent { payload, packet_id });
            }
            Some(place) if place.topic == Topic::Status => {
                if payload.len() > self.limits.status || !client.status_rate.take(now) {
                    self.counters.publish_refused += 1;
                    PublishAckReason::QuotaExceeded
                } else {
                    self.route(place, payload)
                }
            }
            Some(place) => self.route(place, payload),
            None => {
                self.counters.publish_refused += 1;
                // 3.1.1 has no other way to refuse (3.3.5-2).
                if version == Version::V3 {
                    return Err(Reason::NotAuthorized);
                }
                PublishAckReason::NotAuthorized
            }
        };
        Ok(packet_id.map_or(Step::Nothing, |packet_id| Step::Reply(Reply::Published { packet_id, code })))
    }

    /// A message that may be published, on its way to whoever it is for; what became of it.
    fn route(&mut self, place: Place, payload: Bytes) -> PublishAckReason {
        match place.topic {
            Topic::Status => {
                self.keep_status(place.device, payload);
                PublishAckReason::Success
            }
            Topic::Out(_) => {
                if self.distribute(place, &payload, Retain::No) > 0 {
                    return PublishAckReason::Success;
                }
                self.counters.undelivered += 1;
                PublishAckReason::NoMatchingSubscribers
            }
            Topic::In if place.device == self.rules.own() => {
                self.for_agent.push(payload);
                PublishAckReason::Success
            }
            Topic::In => {
                let code = self.pass_to_device(place, payload);
                if code != PublishAckReason::Success {
                    self.counters.device_missed += 1;
                }
                code
            }
        }
    }

    /// An envelope for another device. Viewers may send more than it can take: that is theirs to hear of, and no
    /// reason to cut the device.
    fn pass_to_device(&mut self, place: Place, payload: Bytes) -> PublishAckReason {
        let identity = identity(Party::Device(place.device), &ByteString::new());
        let found = self.by_identity.get(&identity).copied();
        let Some((key, client)) = found.and_then(|key| Some((key, self.clients.get(&key)?))) else {
            return PublishAckReason::NoMatchingSubscribers;
        };
        let Some(subscription) = client.subscriptions.get(&place).copied() else {
            return PublishAckReason::NoMatchingSubscribers;
        };
        if !client.has_room(&self.limits, payload.len()) {
            return PublishAckReason::QuotaExceeded;
        }
        self.enqueue(key, Message { place, payload, retain: Retain::No, qos: subscription.qos });
        PublishAckReason::Success
    }

    fn keep_status(&mut self, device: DeviceId, payload: Bytes) {
        // An empty one means that none is kept (MQTT 5, 3.3.1.3).
        if payload.is_empty() {
            self.statuses.remove(&device);
        } else {
            self.statuses.insert(device, payload.clone());
        }
        self.distribute(Place { device, topic: Topic::Status }, &payload, Retain::Yes);
    }

    pub(super) fn publish_will(&mut self, key: ClientKey) {
        if let Some(LastWord { place, payload }) =
            self.clients.get_mut(&key).and_then(|client| client.will.take())
        {
            self.route(place, payload);
        }
    }

    /// The agent's status: kept, and sent to all who follow it.
    pub fn publish_status(&mut self, payload: Bytes) {
        self.keep_status(self.rules.own(), payload);
    }

    /// The agent's answer to a session.
    pub fn publish_reply(&mut self, session: SessionId, payload: &Bytes) {
        self.route(Place { device: self.rules.own(), topic: Topic::Out(session) }, payload.clone());
    }

    fn distribute(&mut self, place: Place, payload: &Bytes, published: Retain) -> usize {
        let receivers: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.cut.is_none())
            .filter_map(|(key, client)| client.subscriptions.get(&place).map(|found| (*key, *found)))
            .collect();
        for (key, subscription) in &receivers {
            let retain = if subscription.retain_as_published { published } else { Retain::No };
            self.enqueue(*key, Message { place, payload: payload.clone(), retain, qos: subscription.qos });
        }
        receivers.len()
    }

    pub(super) fn enqueue(&mut self, key: ClientKey, message: Message) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if !client.has_room(&self.limits, message.payload.len()) {
            self.counters.slow += 1;
            self.cut(key, Reason::QuotaExceeded);
            return;
        }
        client.queued_bytes += message.payload.len();
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
        client.queued_bytes -= message.payload.len();
        let topic = self.rules.name(message.place).into();
        Some(Delivery { topic, payload: message.payload, retain: message.retain, packet_id })
    }
}
