//! An embedded broker on its TCP listener, and a client that writes MQTT by hand, so that it can also write it wrongly.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use pinhole::signal::{
    Address, Carrier, CarrierEvent,
    broker::{Broker, Limits, listener},
    login::{AcceptedDevice, METHOD},
    topic::{DeviceId, SessionId},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Nothing here takes long; who waits for so long waits in vain.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const IN: &str = "pinhole/abcdefghijkl2345/in";
pub const STATUS: &str = "pinhole/abcdefghijkl2345/status";

pub fn address() -> Address {
    Address { root: "pinhole".to_owned(), device: DeviceId::parse("abcdefghijkl2345").unwrap() }
}

/// A session and its topic.
pub fn session(number: u8) -> (SessionId, String) {
    let session = SessionId::from_bytes([number; 16]);
    (session, address().topic_out(&session))
}

/// What comes next on a carrier.
pub async fn next_event(carrier: &mut Carrier) -> CarrierEvent {
    timeout(PATIENCE, carrier.events.recv()).await.expect("an event in time").expect("the carrier lives")
}

/// The next envelope, over changes of state.
pub async fn next_envelope(carrier: &mut Carrier) -> Bytes {
    loop {
        if let CarrierEvent::Envelope(envelope) = next_event(carrier).await {
            return envelope;
        }
    }
}

/// A broker that serves a TCP port of loopback.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub carrier: Carrier,
    pub at: SocketAddr,
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
}

impl TestBroker {
    pub async fn start(limits: Limits) -> Self {
        Self::accepting(limits, &[]).await
    }

    /// One that serves other devices, too.
    pub async fn accepting(limits: Limits, devices: &[AcceptedDevice]) -> Self {
        let broker = Broker::new(address(), limits, devices);
        let mut carrier = broker.carrier();
        assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let task = listener::serve(listener, Arc::clone(&broker), cancel.clone());
        Self { broker, carrier, at, cancel, task }
    }

    pub async fn connect(&self, id: &str, level: u8) -> RawClient<TcpStream> {
        let stream = TcpStream::connect(self.at).await.unwrap();
        RawClient::connected(stream, id, level).await
    }

    /// Whether a newcomer is served as if nothing had happened.
    pub async fn assert_serves(&mut self) {
        let mut client = self.connect("newcomer", 5).await;
        let code = client.subscribe(STATUS).await;
        assert_eq!(code, 1, "the broker grants a subscription");
        client.write(&publish(5, IN, b"still here", Some(77), false)).await;
        let (kind, body) = client.read_kind(0x40).await;
        assert_eq!((kind, &body[..2]), (0x40, &77_u16.to_be_bytes()[..]));
        loop {
            if next_envelope(&mut self.carrier).await == b"still here"[..] {
                break;
            }
        }
    }
}

/// A client that writes bytes.
pub struct RawClient<S> {
    pub stream: S,
    pub level: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    /// Connects and checks that the broker lets it in.
    pub async fn connected(stream: S, id: &str, level: u8) -> Self {
        let mut client = Self { stream, level };
        client.write(&connect(level, id)).await;
        let (kind, body) = client.read().await.expect("a CONNACK");
        assert_eq!((kind, body[1]), (0x20, 0), "let in");
        client
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Writes what the broker may refuse to take.
    pub async fn stream_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The code of the next PUBACK; `None` when the connection ends before it.
    pub async fn acknowledged(&mut self) -> Option<u8> {
        loop {
            let (kind, body) = self.read().await?;
            if kind == 0x40 {
                return Some(body.get(2).copied().unwrap_or(0));
            }
        }
    }

    /// The next packet's first byte and body; `None` at the end.
    pub async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, self.read_packet()).await.expect("a packet or the end in time")
    }

    async fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }

    /// The next packet of that type, over PUBLISH packets.
    pub async fn read_kind(&mut self, kind: u8) -> (u8, Vec<u8>) {
        loop {
            let (found, body) = self.read().await.expect("a packet");
            if found & 0xf0 == kind {
                return (found, body);
            }
            assert_eq!(found & 0xf0, 0x30, "only messages come in between");
        }
    }

    /// Subscribes with QoS 1; the return code.
    pub async fn subscribe(&mut self, topic: &str) -> u8 {
        self.write(&subscribe(self.level, topic, 1)).await;
        let (_, body) = self.read_kind(0x90).await;
        *body.last().unwrap()
    }

    /// The next message's retain flag, topic and payload, acknowledged.
    pub async fn message(&mut self) -> Option<(bool, String, Vec<u8>)> {
        loop {
            let (kind, body) = self.read().await?;
            if kind & 0xf0 != 0x30 {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
            let mut at = 2 + length;
            if kind & 0x06 != 0 {
                let id = [body[at], body[at + 1]];
                at += 2;
                self.write(&[0x40, 2, id[0], id[1]]).await;
            }
            if self.level == 5 {
                at += 1 + usize::from(body[at]);
            }
            return Some((kind & 1 == 1, topic, body[at..].to_vec()));
        }
    }

    /// Reads to the end; the reason of the DISCONNECT, if one came.
    pub async fn end(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some((kind, body)) = self.read().await {
            if kind == 0xe0 {
                reason = Some(body.first().copied().unwrap_or(0));
            }
        }
        reason
    }
}

/// A packet with its length.
pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A string or bytes with a length in front.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

fn properties(level: u8) -> &'static [u8] {
    if level == 5 { &[0] } else { &[] }
}

pub fn connect_with(level: u8, id: &str, flags: u8, keep_alive: u16, rest: &[u8]) -> Vec<u8> {
    let head = [&field(b"MQTT")[..], &[level, flags], &keep_alive.to_be_bytes(), properties(level)].concat();
    packet(0x10, &[&head[..], &field(id.as_bytes()), rest].concat())
}

pub fn connect(level: u8, id: &str) -> Vec<u8> {
    connect_with(level, id, 2, 60, &[])
}

pub fn subscribe(level: u8, topic: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 7], properties(level), &field(topic.as_bytes()), &[qos]].concat())
}

pub fn publish(level: u8, topic: &str, payload: &[u8], packet_id: Option<u16>, retain: bool) -> Vec<u8> {
    let id = packet_id.map(u16::to_be_bytes);
    let kind = 0x30 | if id.is_some() { 2 } else { 0 } | u8::from(retain);
    let id = id.as_ref().map_or(&[][..], |id| &id[..]);
    packet(kind, &[&field(topic.as_bytes())[..], id, properties(level), payload].concat())
}

/// The CONNECT of a device that logs in by its key, perhaps with a last will: topic and payload.
pub fn connect_by_key(device: &str, will: Option<(&str, &str)>) -> Vec<u8> {
    let properties = [&[0x15][..], &field(METHOD.as_bytes()), &[0x16], &field(device.as_bytes())].concat();
    let flags = 2 | if will.is_some() { 4 | 0x20 } else { 0 };
    let mut body = [&field(b"MQTT")[..], &[5, flags], &60_u16.to_be_bytes()].concat();
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend(properties);
    body.extend(field(b"d"));
    if let Some((topic, payload)) = will {
        body.push(0);
        body.extend(field(topic.as_bytes()));
        body.extend(field(payload.as_bytes()));
    }
    packet(0x10, &body)
}

/// The AUTH that answers a challenge.
pub fn auth(data: &[u8]) -> Vec<u8> {
    let properties = [&[0x15][..], &field(METHOD.as_bytes()), &[0x16], &field(data)].concat();
    packet(0xf0, &[&[0x18, u8::try_from(properties.len()).unwrap()], &properties[..]].concat())
}

/// Sends the CONNECT and answers the challenge with what `sign` makes of it; the CONNACK's code, if one comes.
pub async fn log_in_by_hand<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut RawClient<S>,
    connect: &[u8],
    sign: impl FnOnce(&[u8; 32]) -> Vec<u8>,
) -> Option<u8> {
    client.write(connect).await;
    let (kind, body) = client.read().await?;
    if kind == 0x20 {
        return Some(body[1]);
    }
    assert_eq!((kind, body[0]), (0xf0, 0x18), "a challenge");
    let challenge: [u8; 32] = body[body.len() - 32..].try_into().unwrap();
    client.write(&auth(&sign(&challenge))).await;
    client.read().await.map(|(_, body)| body[1])
}

/// A small generator (xorshift64*), so that a failing run can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }
}
