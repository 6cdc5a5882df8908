//! One client's connection, from its CONNECT to its end, on the task that serves it: packets in, replies and
//! deliveries out, and the deadlines between. Not here: what is allowed and who gets what (`state`).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use rmqtt_codec::{
    MqttCodec, MqttPacket,
    error::{DecodeError, EncodeError},
    v3, v5,
    version::{ProtocolVersion, VersionCodec},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::codec::Framed;

use super::{
    Broker, Membership,
    limits::Limits,
    packet::{Auth, Connect, ConnectAckReason, Reason, Reply, Request, Version, farewell},
    state::{State, Step},
    topic::Party,
};
use crate::{
    clock,
    signal::{
        keys::random,
        login::{Challenge, METHOD},
        topic::DeviceId,
    },
};

/// How long the last packet and the closing of the stream may take.
const FAREWELL: Duration = Duration::from_millis(200);
/// Bytes first set aside for reading; it grows to the packet limit at most.
const READ_BUFFER: usize = 1024;

type Stream<S> = Framed<S, MqttCodec>;

/// Why a session is over.
enum End {
    /// The peer said goodbye, went away, or does not read: there is nobody to tell.
    Gone,
    /// The peer is told why.
    Cut(Reason),
}

impl From<Reason> for End {
    fn from(reason: Reason) -> Self {
        Self::Cut(reason)
    }
}

pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(broker: &Broker, io: S, peer: SocketAddr) {
    let mut stream = Framed::with_capacity(io, MqttCodec::Version(VersionCodec), READ_BUFFER);
    let Some((connect, shown)) = handshake(broker, &mut stream, peer).await else {
        broker.with_state(State::count_unfinished);
        return;
    };
    let limits = broker.limits();
    let (membership, admitted) = match shown.and_then(|party| broker.join(&connect, party, peer.ip())) {
        Ok(joined) => joined,
        Err(reason) => {
            tracing::debug!(%peer, ?reason, "mqtt client refused");
            let _ = timeout(FAREWELL, stream.send(connect.acknowledge(limits, Err(reason)))).await;
            let _ = timeout(FAREWELL, SinkExt::<MqttPacket>::close(&mut stream)).await;
            return;
        }
    };
    tracing::debug!(%peer, id = %connect.client_id, version = ?connect.version, "mqtt client connected");
    let welcome = connect.acknowledge(limits, Ok(admitted.assigned));
    let mut session = Session { broker, membership, stream, version: connect.version };
    let end = match session.send(welcome).await {
        Ok(()) => session.talk(connect.effective_keep_alive(limits)).await,
        Err(end) => Err(end),
    };
    if let Err(End::Cut(reason)) = end {
        tracing::debug!(%peer, id = %connect.client_id, ?reason, "mqtt client cut");
        session.say_farewell(reason).await;
    }
}

/// Reads the CONNECT and finds out who it is from, unless the time is over or another connection needs the room.
async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    broker: &Broker,
    stream: &mut Stream<S>,
    peer: SocketAddr,
) -> Option<(Connect, Result<Party, ConnectAckReason>)> {
    let place = broker.begin_handshake(peer.ip());
    let limits = broker.limits();
    let both = async {
        let connect = read_connect(stream, limits).await?;
        let shown = match &connect.auth {
            None => Ok(Party::Viewer),
            Some(auth) => authenticate(broker, stream, auth).await?,
        };
        Some((connect, shown))
    };
    tokio::select! {
        biased;
        () = place.cut.cancelled() => None,
        both = timeout(limits.handshake_time, both) => both.ok().flatten(),
    }
}

/// Lets another device of the house sign a challenge; the CONNECT's authentication data is its id.
async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    broker: &Broker,
    stream: &mut Stream<S>,
    auth: &Auth,
) -> Option<Result<Party, ConnectAckReason>> {
    if auth.method != METHOD {
        return Some(Err(ConnectAckReason::BadAuthenticationMethod));
    }
    let device = std::str::from_utf8(&auth.data).ok().and_then(DeviceId::parse);
    let Some(accepted) = device.and_then(|device| broker.accepted.get(&device)) else {
        return Some(Err(ConnectAckReason::NotAuthorized));
    };
    let mut challenge: Challenge = [0; 32];
    random(&mut challenge);
    let ask = Auth { method: auth.method.clone(), data: challenge.to_vec().into() };
    stream.send(ask.into_challenge()).await.ok()?;
    let answer = Auth::from_packet(stream.next().await?.ok()?.0)?;
    let right = answer.method == METHOD && accepted.verify(&challenge, &answer.data);
    Some(if right { Ok(Party::Device(accepted.device)) } else { Err(ConnectAckReason::NotAuthorized) })
}

async fn read_connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<S>,
    limits: &Limits,
) -> Option<Connect> {
    let version = match stream.next().await? {
        Ok((MqttPacket::Version(version), _)) => version,
        Ok(_) | Err(_) => return None,
    };
    *stream.codec_mut() = match version {
        ProtocolVersion::MQTT3 => MqttCodec::V3(v3::Codec::new(limits.packet)),
        ProtocolVersion::MQTT5 => MqttCodec::V5(v5::Codec::new(limits.packet, limits.packet)),
    };
    let (packet, _) = stream.next().await?.ok()?;
    let connect = Connect::from_packet(packet)?;
    if let (MqttCodec::V5(codec), Some(maximum)) = (stream.codec_mut(), connect.maximum_packet) {
        codec.set_max_outbound_size(maximum.min(limits.packet));
    }
    Some(connect)
}

struct Session<'a, S> {
    broker: &'a Broker,
    membership: Membership<'a>,
    stream: Stream<S>,
    version: Version,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Runs until something ends it.
    async fn talk(&mut self, keep_alive: Duration) -> Result<(), End> {
        // MQTT 5, 3.1.2.10: a client silent for one and a half times its keep-alive is gone.
        let patience = keep_alive * 3 / 2;
        let mut deadline = clock::now() + patience;
        loop {
            self.deliver().await?;
            if let Some(reason) = self.broker.lock().state.cut_reason(self.membership.key) {
                return Err(End::Cut(reason));
            }
            tokio::select! {
                biased;
                () = self.membership.waker.notified() => {}
                () = clock::sleep_until(Some(deadline)) => return Err(End::Cut(Reason::KeepAliveTimeout)),
                packet = self.stream.next() => {
                    let now = clock::now();
                    deadline = now + patience;
                    self.receive(packet, now).await?;
                }
            }
        }
    }

    async fn receive(
        &mut self,
        packet: Option<Result<(MqttPacket, u32), DecodeError>>,
        now: Instant,
    ) -> Result<(), End> {
        let request = match packet {
            None | Some(Err(DecodeError::Io(_))) => return Err(End::Gone),
            Some(Err(DecodeError::MaxSizeExceeded { .. })) => return Err(End::Cut(Reason::PacketTooLarge)),
            Some(Err(_)) => return Err(End::Cut(Reason::MalformedPacket)),
            Some(Ok((packet, _))) => Request::from_packet(packet),
        };
        let key = self.membership.key;
        match self.broker.with_state(|state| state.handle(key, request, now))? {
            Step::Nothing => Ok(()),
            Step::Reply(reply) => self.reply(reply).await,
            Step::Left => Err(End::Gone),
            Step::ToAgent { payload, packet_id } => {
                let code = self.broker.send_to_agent(payload);
                match packet_id {
                    Some(packet_id) => self.reply(Reply::Published { packet_id, code }).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn reply(&mut self, reply: Reply) -> Result<(), End> {
        let packet = reply.into_packet(self.version);
        self.send(packet).await
    }

    /// Sends what waits for this client, as far as its window allows.
    async fn deliver(&mut self) -> Result<(), End> {
        loop {
            let Some(delivery) = self.broker.lock().state.fetch(self.membership.key) else { return Ok(()) };
            self.send(delivery.into_packet(self.version)).await?;
        }
    }

    async fn send(&mut self, packet: MqttPacket) -> Result<(), End> {
        match timeout(self.broker.limits().send_time, self.stream.send(packet)).await {
            Ok(Ok(())) => Ok(()),
            // The client has said that it takes nothing so large: it is not sent (MQTT 5, 3.1.2.11.4).
            Ok(Err(EncodeError::OverMaxPacketSize { .. })) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    async fn say_farewell(&mut self, reason: Reason) {
        if let Some(packet) = farewell(self.version, reason) {
            let _ = timeout(FAREWELL, self.stream.send(packet)).await;
        }
        let _ = timeout(FAREWELL, SinkExt::<MqttPacket>::close(&mut self.stream)).await;
    }
}
