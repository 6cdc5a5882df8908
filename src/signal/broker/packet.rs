//! MQTT 3.1.1 and 5 packets as the rest of the broker sees them: one form for both. Pure; the bytes are the codec
//! crate's. Not here: what is allowed (`topic`), and what follows from a packet (`state`).

use std::{num::NonZeroU16, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;
use rmqtt_codec::{
    MqttPacket,
    types::{Publish, QoS},
    v3, v5,
};

use super::{limits::Limits, topic::Retain};

pub use rmqtt_codec::v5::{
    ConnectAckReason, DisconnectReasonCode as Reason, PublishAckReason, RetainHandling, SubscribeAckReason,
    UnsubscribeAckReason,
};

/// The protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1 (and 3.1).
    V3,
    /// MQTT 5.
    V5,
}

/// What of a CONNECT matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    /// Empty: the broker gives one.
    pub client_id: ByteString,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// QoS 1 messages that the client takes without acknowledging (MQTT 5, 3.1.2.11.3).
    pub receive_maximum: u16,
    /// The largest packet that the client takes.
    pub maximum_packet: Option<u32>,
    /// Whether it wants to keep its session after the connection; it is told that there is none.
    pub wants_session: bool,
    /// What is to be said for the client when it is gone without a DISCONNECT (MQTT 5, 3.1.2.5).
    pub will: Option<Will>,
    /// How it wants to show who it is, beyond user and password, which mean nothing here.
    pub auth: Option<Auth>,
    /// What nobody may ask for.
    pub refused: Option<ConnectAckReason>,
}

/// A last will. Its delay is none: a session ends with its connection here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: ByteString,
    pub payload: Bytes,
    pub retain: Retain,
}

impl Will {
    fn new(topic: ByteString, payload: Bytes, retain: bool) -> Self {
        Self { topic, payload, retain: if retain { Retain::Yes } else { Retain::No } }
    }
}

/// The enhanced authentication of a CONNECT or an AUTH (MQTT 5, 4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    pub method: ByteString,
    pub data: Bytes,
}

impl Auth {
    /// Reads the AUTH with which a client answers a challenge; `None` when it is anything else.
    pub fn from_packet(packet: MqttPacket) -> Option<Self> {
        match packet {
            MqttPacket::V5(v5::Packet::Auth(auth))
                if auth.reason_code == v5::AuthReasonCode::ContinueAuth =>
            {
                Self::new(auth.auth_method, auth.auth_data)
            }
            MqttPacket::V3(_) | MqttPacket::V5(_) | MqttPacket::Version(_) => None,
        }
    }

    /// The AUTH that asks for an answer.
    pub fn into_challenge(self) -> MqttPacket {
        MqttPacket::V5(v5::Packet::Auth(v5::Auth {
            reason_code: v5::AuthReasonCode::ContinueAuth,
            auth_method: Some(self.method),
            auth_data: Some(self.data),
            ..v5::Auth::default()
        }))
    }

    fn new(method: Option<ByteString>, data: Option<Bytes>) -> Option<Self> {
        Some(Self { method: method?, data: data.unwrap_or_default() })
    }
}

impl Connect {
    /// Reads a decoded packet; `None` when it is not a CONNECT.
    pub fn from_packet(packet: MqttPacket) -> Option<Self> {
        match packet {
            MqttPacket::V3(v3::Packet::Connect(connect)) => Some(Self {
                version: Version::V3,
                client_id: connect.client_id,
                keep_alive: connect.keep_alive,
                receive_maximum: u16::MAX,
                maximum_packet: None,
                wants_session: false,
                refused: unsupported(connect.last_will.as_ref().map(|will| will.qos)),
                will: connect.last_will.map(|will| Will::new(will.topic, will.message, will.retain)),
                auth: None,
            }),
            MqttPacket::V5(v5::Packet::Connect(connect)) => Some(Self {
                version: Version::V5,
                client_id: connect.client_id,
                keep_alive: connect.keep_alive,
                receive_maximum: connect.receive_max.map_or(u16::MAX, NonZeroU16::get),
                maximum_packet: connect.max_packet_size.map(std::num::NonZeroU32::get),
                wants_session: connect.session_expiry_interval_secs > 0,
                refused: unsupported(connect.last_will.as_ref().map(|will| will.qos)),
                will: connect.last_will.map(|will| Will::new(will.topic, will.message, will.retain)),
                auth: Auth::new(connect.auth_method, connect.auth_data),
            }),
            MqttPacket::V3(_) | MqttPacket::V5(_) | MqttPacket::Version(_) => None,
        }
    }

    /// The keep-alive that is in force, never longer than the broker's.
    pub fn effective_keep_alive(&self, limits: &Limits) -> Duration {
        match self.keep_alive {
            0 => limits.keep_alive,
            seconds => Duration::from_secs(seconds.into()).min(limits.keep_alive),
        }
    }

    /// The CONNACK: `assigned` is the client id when the broker made it.
    pub fn acknowledge(
        &self,
        limits: &Limits,
        outcome: Result<Option<ByteString>, ConnectAckReason>,
    ) -> MqttPacket {
        let (reason_code, assigned_client_id) = match outcome {
            Ok(assigned) => (ConnectAckReason::Success, assigned),
            Err(reason) => (reason, None),
        };
        match self.version {
            Version::V3 => MqttPacket::V3(v3::Packet::ConnectAck(v3::ConnectAck {
                session_present: false,
                return_code: v3_return_code(reason_code),
            })),
            Version::V5 => {
                let keep_alive = self.effective_keep_alive(limits).as_secs();
                MqttPacket::V5(v5::Packet::ConnectAck(Box::new(v5::ConnectAck {
                    reason_code,
                    max_qos: QoS::AtLeastOnce,
                    max_packet_size: Some(limits.packet),
                    receive_max: NonZeroU16::new(limits.window).unwrap_or(NonZeroU16::MIN),
                    session_expiry_interval_secs: self.wants_session.then_some(0),
                    server_keepalive_sec: (keep_alive != u64::from(self.keep_alive))
                        .then(|| u16::try_from(keep_alive).unwrap_or(u16::MAX)),
                    wildcard_subscription_available: false,
                    subscription_identifiers_available: false,
                    shared_subscription_available: false,
                    assigned_client_id,
                    // To be named again where it was used (MQTT 5, 3.2.2.3.17), and only there.
                    auth_method: (reason_code == ConnectAckReason::Success)
                        .then(|| self.auth.as_ref().map(|auth| auth.method.clone()))
                        .flatten(),
                    ..v5::ConnectAck::default()
                })))
            }
        }
    }
}

/// There is no QoS 2 here, for wills neither (MQTT 5, 3.2.2.3.4).
fn unsupported(will: Option<QoS>) -> Option<ConnectAckReason> {
    (will == Some(QoS::ExactlyOnce)).then_some(ConnectAckReason::QosNotSupported)
}

fn v3_return_code(reason: ConnectAckReason) -> v3::ConnectAckReason {
    use v3::ConnectAckReason as Code;
    match reason {
        ConnectAckReason::Success => Code::ConnectionAccepted,
        ConnectAckReason::ClientIdentifierNotValid => Code::IdentifierRejected,
        ConnectAckReason::NotAuthorized | ConnectAckReason::BadAuthenticationMethod => Code::NotAuthorized,
        // 3.1.1 has one code for everything that may be better later.
        _ => Code::ServiceUnavailable,
    }
}

/// What a connected client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Publish {
        topic: ByteString,
        payload: Bytes,
        retain: Retain,
        /// Present for QoS 1.
        packet_id: Option<NonZeroU16>,
    },
    /// PUBACK.
    Acknowledge(NonZeroU16),
    Subscribe {
        packet_id: NonZeroU16,
        filters: Vec<Filter>,
    },
    Unsubscribe {
        packet_id: NonZeroU16,
        filters: Vec<ByteString>,
    },
    Ping,
    /// The client leaves, and takes its will with it.
    Disconnect,
    /// It leaves, and wants its will published (MQTT 5, 3.14.2.1).
    DisconnectWithWill,
    /// Against the protocol, or something that the CONNACK has said there is not.
    Invalid(Reason),
}

/// One line of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub topic: ByteString,
    pub qos: Qos,
    /// The client wants the retain flag as it was published (MQTT 5, 3.8.3.1).
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// The qualities of service there are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

impl From<QoS> for Qos {
    /// QoS 2 is granted as 1.
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Self::AtLeastOnce,
        }
    }
}

impl Request {
    /// Reads a decoded packet.
    pub fn from_packet(packet: MqttPacket) -> Self {
        match packet {
            MqttPacket::V3(packet) => Self::from_v3(packet),
            MqttPacket::V5(packet) => Self::from_v5(packet),
            MqttPacket::Version(_) => Self::Invalid(Reason::ProtocolError),
        }
    }

    fn from_v3(packet: v3::Packet) -> Self {
        match packet {
            v3::Packet::Publish(publish) => Self::publish(*publish),
            v3::Packet::PublishAck { packet_id } => Self::Acknowledge(packet_id),
            v3::Packet::Subscribe { packet_id, topic_filters } => Self::Subscribe {
                packet_id,
                filters: topic_filters
                    .into_iter()
                    .map(|(topic, qos)| Filter {
                        topic,
                        qos: qos.into(),
                        retain_as_published: false,
                        retain_handling: RetainHandling::AtSubscribe,
                    })
                    .collect(),
            },
            v3::Packet::Unsubscribe { packet_id, topic_filters } => {
                Self::Unsubscribe { packet_id, filters: topic_filters }
            }
            v3::Packet::PingRequest => Self::Ping,
            v3::Packet::Disconnect => Self::Disconnect,
            _ => Self::Invalid(Reason::ProtocolError),
        }
    }

    fn from_v5(packet: v5::Packet) -> Self {
        match packet {
            v5::Packet::Publish(publish) => Self::publish(*publish),
            v5::Packet::PublishAck(ack) => Self::Acknowledge(ack.packet_id),
            v5::Packet::Subscribe(subscribe) if subscribe.id.is_some() => {
                Self::Invalid(Reason::SubscriptionIdentifiersNotSupported)
            }
            v5::Packet::Subscribe(subscribe) => Self::Subscribe {
                packet_id: subscribe.packet_id,
                filters: subscribe
                    .topic_filters
                    .into_iter()
                    .map(|(topic, options)| Filter {
                        topic,
                        qos: options.qos.into(),
                        retain_as_published: options.retain_as_published,
                        retain_handling: options.retain_handling,
                    })
                    .collect(),
            },
            v5::Packet::Unsubscribe(unsubscribe) => {
                Self::Unsubscribe { packet_id: unsubscribe.packet_id, filters: unsubscribe.topic_filters }
            }
            v5::Packet::PingRequest => Self::Ping,
            v5::Packet::Disconnect(disconnect)
                if disconnect.reason_code == Reason::DisconnectWithWillMessage =>
            {
                Self::DisconnectWithWill
            }
            v5::Packet::Disconnect(_) => Self::Disconnect,
            v5::Packet::Auth(_) => Self::Invalid(Reason::BadAuthenticationMethod),
            _ => Self::Invalid(Reason::ProtocolError),
        }
    }

    fn publish(publish: Publish) -> Self {
        if publish.qos == QoS::ExactlyOnce {
            return Self::Invalid(Reason::QosNotSupported);
        }
        // The CONNACK allows no alias, and only a broker may name subscriptions (MQTT 5, 3.3.2.3.4 and 3.3.4).
        if publish.properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some()) {
            return Self::Invalid(Reason::TopicAliasInvalid);
        }
        if publish.properties.as_ref().is_some_and(|properties| !properties.subscription_ids.is_empty()) {
            return Self::Invalid(Reason::ProtocolError);
        }
        Self::Publish {
            topic: publish.topic,
            payload: publish.payload,
            retain: if publish.retain { Retain::Yes } else { Retain::No },
            packet_id: publish.packet_id,
        }
    }
}

/// What goes back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Published { packet_id: NonZeroU16, code: PublishAckReason },
    Subscribed { packet_id: NonZeroU16, codes: Vec<SubscribeAckReason> },
    Unsubscribed { packet_id: NonZeroU16, codes: Vec<UnsubscribeAckReason> },
    Pong,
}

impl Reply {
    /// The packet for a client of that version.
    pub fn into_packet(self, version: Version) -> MqttPacket {
        match version {
            Version::V3 => MqttPacket::V3(match self {
                Self::Published { packet_id, .. } => v3::Packet::PublishAck { packet_id },
                Self::Subscribed { packet_id, codes } => v3::Packet::SubscribeAck {
                    packet_id,
                    status: codes.into_iter().map(v3_subscribe_code).collect(),
                },
                Self::Unsubscribed { packet_id, .. } => v3::Packet::UnsubscribeAck { packet_id },
                Self::Pong => v3::Packet::PingResponse,
            }),
            Version::V5 => MqttPacket::V5(match self {
                Self::Published { packet_id, code } => v5::Packet::PublishAck(v5::PublishAck {
                    packet_id,
                    reason_code: code,
                    properties: Vec::new(),
                    reason_string: None,
                }),
                Self::Subscribed { packet_id, codes } => v5::Packet::SubscribeAck(v5::SubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: None,
                    status: codes,
                }),
                Self::Unsubscribed { packet_id, codes } => v5::Packet::UnsubscribeAck(v5::UnsubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: None,
                    status: codes,
                }),
                Self::Pong => v5::Packet::PingResponse,
            }),
        }
    }
}

fn v3_subscribe_code(code: SubscribeAckReason) -> v3::SubscribeReturnCode {
    match code {
        SubscribeAckReason::GrantedQos0 => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
        SubscribeAckReason::GrantedQos1 => v3::SubscribeReturnCode::Success(QoS::AtLeastOnce),
        _ => v3::SubscribeReturnCode::Failure,
    }
}

/// A message on its way to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub topic: ByteString,
    pub payload: Bytes,
    pub retain: Retain,
    /// Present for QoS 1.
    pub packet_id: Option<NonZeroU16>,
}

impl Delivery {
    /// The PUBLISH for a client of that version.
    pub fn into_packet(self, version: Version) -> MqttPacket {
        let publish = Box::new(Publish {
            dup: false,
            retain: self.retain == Retain::Yes,
            qos: if self.packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            topic: self.topic,
            packet_id: self.packet_id,
            payload: self.payload,
            properties: (version == Version::V5).then(v5::PublishProperties::default),
        });
        match version {
            Version::V3 => MqttPacket::V3(v3::Packet::Publish(publish)),
            Version::V5 => MqttPacket::V5(v5::Packet::Publish(publish)),
        }
    }
}

/// The DISCONNECT with which the broker ends a connection; 3.1.1 has none.
pub fn farewell(version: Version, reason: Reason) -> Option<MqttPacket> {
    match version {
        Version::V3 => None,
        Version::V5 => Some(MqttPacket::V5(v5::Packet::Disconnect(v5::Disconnect::new(reason)))),
    }
}
