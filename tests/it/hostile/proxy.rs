//! A broker that lies: a proxy between the agent and a real mosquitto, which reads each MQTT 5 packet, records what is
//! published, and lets a test drop or change it. What an attacker adds, he publishes at mosquitto himself.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use pinhole::tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    time::timeout,
};

use crate::broker_support::{PATIENCE, field, packet};

/// A message as it came to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

impl Message {
    pub fn is_in(&self) -> bool {
        self.topic.ends_with("/in")
    }

    pub fn is_out(&self) -> bool {
        self.topic.contains("/out/")
    }
}

/// What becomes of a message.
pub enum Fate {
    Pass,
    Drop,
    /// Carried with this payload.
    Instead(Vec<u8>),
}

type Filter = Box<dyn FnMut(&Message) -> Fate + Send>;

/// The writing end of a connection; acknowledgements of dropped messages come between the forwarded packets.
type Writer = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

struct Shared {
    broker: SocketAddr,
    filter: Mutex<Filter>,
    messages: Mutex<Vec<Message>>,
    count: watch::Sender<usize>,
    cut: broadcast::Sender<()>,
}

pub struct Proxy {
    pub at: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub async fn start(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            broker,
            filter: Mutex::new(Box::new(|_| Fate::Pass)),
            messages: Mutex::default(),
            count: watch::channel(0).0,
            cut: broadcast::channel(1).0,
        });
        let serving = Arc::clone(&shared);
        tasks::spawn("hostile proxy", async move {
            while let Ok((agent, _)) = listener.accept().await {
                tasks::spawn("hostile connection", serve(agent, Arc::clone(&serving)));
            }
        });
        Self { at, shared }
    }

    /// From now on each message goes through `filter`.
    pub fn filter(&self, filter: impl FnMut(&Message) -> Fate + Send + 'static) {
        *self.shared.filter.lock().unwrap() = Box::new(filter);
    }

    /// All messages so far, in the order in which they came; the dropped ones and changed ones as they were.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// How many the device has said to viewers' sessions.
    pub fn replies(&self) -> usize {
        self.messages().iter().filter(|message| message.is_out()).count()
    }

    /// Waits for a message, those that came already included.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Message) -> bool) {
        self.wait_for_more(what, 0, wanted).await;
    }

    /// Waits for a message, without the first `known` ones.
    pub async fn wait_for_more(&self, what: &str, known: usize, wanted: impl Fn(&Message) -> bool) {
        let mut count = self.shared.count.subscribe();
        let came = count.wait_for(|_| self.shared.messages.lock().unwrap().iter().skip(known).any(&wanted));
        timeout(PATIENCE, came).await.unwrap_or_else(|_| panic!("in time: {what}")).unwrap();
    }

    /// Cuts the agent's connection, as a broker may at any time.
    pub fn cut(&self) {
        let _ = self.shared.cut.send(());
    }
}

async fn serve(agent: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let Ok(broker) = TcpStream::connect(shared.broker).await else { return };
    let ((from_agent, to_agent), (from_broker, to_broker)) = (agent.into_split(), broker.into_split());
    let to_agent: Writer = Arc::new(tokio::sync::Mutex::new(to_agent));
    let to_broker: Writer = Arc::new(tokio::sync::Mutex::new(to_broker));
    tokio::select! {
        _ = forward(from_agent, &to_broker, &to_agent, &shared) => {}
        _ = forward(from_broker, &to_agent, &to_broker, &shared) => {}
        _ = cut.recv() => {}
    }
}

/// `None` at the end of the connection.
async fn forward(mut from: OwnedReadHalf, to: &Writer, back: &Writer, shared: &Shared) -> Option<()> {
    loop {
        let (kind, body) = read_packet(&mut from).await?;
        if kind & 0xf0 != 0x30 {
            to.lock().await.write_all(&packet(kind, &body)).await.ok()?;
            continue;
        }
        let publish = Publish::read(kind, &body)?;
        let fate = (shared.filter.lock().unwrap())(&publish.message);
        shared.messages.lock().unwrap().push(publish.message.clone());
        match (fate, publish.packet_id) {
            (Fate::Pass, _) => to.lock().await.write_all(&packet(kind, &body)).await.ok()?,
            (Fate::Instead(payload), _) => {
                to.lock().await.write_all(&publish.with(kind, &payload)).await.ok()?;
            }
            // Who sent it believes that it arrived.
            (Fate::Drop, Some(id)) => {
                back.lock().await.write_all(&packet(0x40, &id.to_be_bytes())).await.ok()?;
            }
            (Fate::Drop, None) => {}
        }
        shared.count.send_modify(|count| *count += 1);
    }
}

async fn read_packet(from: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let kind = from.read_u8().await.ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = from.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

/// A PUBLISH packet of MQTT 5, taken apart (section 3.3).
struct Publish {
    message: Message,
    packet_id: Option<u16>,
    /// With their length.
    properties: Vec<u8>,
}

impl Publish {
    fn read(kind: u8, body: &[u8]) -> Option<Self> {
        let (length, rest) = body.split_first_chunk::<2>()?;
        let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let mut packet_id = None;
        if kind & 0x06 != 0 {
            let (id, after) = rest.split_first_chunk::<2>()?;
            (packet_id, rest) = (Some(u16::from_be_bytes(*id)), after);
        }
        let size = usize::from(*rest.first()?);
        assert!(size < 128, "no message here has so many properties");
        let (properties, payload) = rest.split_at_checked(1 + size)?;
        let topic = String::from_utf8(topic.to_vec()).ok()?;
        let message = Message { topic, payload: payload.to_vec(), retain: kind & 1 == 1 };
        Some(Self { message, packet_id, properties: properties.to_vec() })
    }

    fn with(&self, kind: u8, payload: &[u8]) -> Vec<u8> {
        let id = self.packet_id.map(u16::to_be_bytes);
        let id = id.as_ref().map_or(&[][..], |id| &id[..]);
        packet(kind, &[&field(self.message.topic.as_bytes()), id, &self.properties, payload].concat())
    }
}
