//! An MQTT 5 client for other things than signaling: it publishes what it is given, brings what it is subscribed to, says
//! whether it is up, and keeps trying as the carrier does. One task. Not here: what the messages mean.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnAck, ConnectionError, Event, EventLoop, Incoming, LastWill, MqttOptions, PubAck,
    PubAckReason, PublishOptions, QoS, SubAck, SubscribeFilter, SubscribeReasonCode,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    BrokerUrl, MqttError, MqttSettings,
    backoff::{Backoff, Kind},
    connect,
    reason::{self, Failure},
};
use crate::{
    clock,
    signal::{Address, keys},
    tasks,
};

/// Messages waiting in each direction, and as many again in the client crate; beyond, they are lost.
const QUEUE: usize = 64;
/// From the request to stop to the end, whether the broker answers or not.
const FAREWELL: Duration = Duration::from_secs(1);

/// A message to publish, QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub kept: Kept,
}

/// Whether the broker keeps a message for those who come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Yes,
    No,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainEvent {
    /// Connected anew: nothing that was published before may be counted on.
    Up,
    /// One sentence.
    Down(String),
    /// What came, other than kept messages.
    Received { topic: String, payload: Bytes },
}

/// What the client is for.
#[derive(Debug, Clone)]
pub struct Purpose {
    pub client_id: String,
    /// Filters.
    pub subscriptions: Vec<String>,
    /// What the broker publishes, kept, when this client is gone without a word; and this client when it stops.
    pub will: (String, Bytes),
}

/// A running client. It is stopped by dropping `outgoing`: it then publishes what is queued and the will, and ends.
#[derive(Debug)]
pub struct Plain {
    pub events: mpsc::Receiver<PlainEvent>,
    pub outgoing: mpsc::Sender<Message>,
    pub task: JoinHandle<()>,
}

/// Starts it. Must be called on a runtime.
///
/// # Errors
/// What can never work: the address, a file, or options that contradict each other.
pub fn start(settings: MqttSettings, address: &Address, purpose: Purpose) -> Result<Plain, MqttError> {
    let settings = MqttSettings { client_id: Some(purpose.client_id.clone()), ..settings };
    let (url, mut options) = super::prepare(settings, address)?;
    let (topic, payload) = purpose.will.clone();
    options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, true, None));
    let (events_in, events) = mpsc::channel(QUEUE);
    let (outgoing, outgoing_out) = mpsc::channel(QUEUE);
    let client = Client {
        options,
        url,
        purpose,
        events: events_in,
        outgoing: outgoing_out,
        backoff: Backoff::default(),
        refusal_told: false,
    };
    Ok(Plain { events, outgoing, task: tasks::spawn("plain mqtt", client.run()) })
}

struct Client {
    options: MqttOptions,
    url: Arc<BrokerUrl>,
    purpose: Purpose,
    events: mpsc::Sender<PlainEvent>,
    outgoing: mpsc::Receiver<Message>,
    backoff: Backoff,
    /// A message that was refused is told once.
    refusal_told: bool,
}

/// The end of an attempt.
enum End {
    Stopped,
    Failed(Failure),
}

/// What woke the task.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Woken {
    Stop,
    Late,
    Event(Result<Event, ConnectionError>),
}

impl Client {
    async fn run(mut self) {
        loop {
            let mut up = None;
            let failure = match self.attempt(&mut up).await {
                End::Stopped => return,
                End::Failed(failure) => failure,
            };
            let now = clock::now();
            let lasted = up.map_or(Duration::ZERO, |up| now.saturating_duration_since(up));
            let mut random = [0; 4];
            keys::random(&mut random);
            let wait = self.backoff.failed(failure.kind, lasted, u32::from_ne_bytes(random));
            if self.events.send(PlainEvent::Down(failure.text)).await.is_err() {
                return;
            }
            if self.wait_until(now + wait).await.is_none() {
                return;
            }
        }
    }

    /// Nothing can be sent meanwhile. `None`: it is to stop.
    async fn wait_until(&mut self, at: Instant) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                message = self.outgoing.recv() => drop(message?),
                () = clock::sleep_until(Some(at)) => return Some(()),
            }
        }
    }

    async fn attempt(&mut self, up: &mut Option<Instant>) -> End {
        let (client, mut connection) = AsyncClient::builder(self.options.clone()).capacity(QUEUE).build();
        let deadline = clock::now() + connect::WHOLE;
        loop {
            let until = if up.is_some() { None } else { Some(deadline) };
            let event = match self.next(&client, &mut connection, until).await {
                Woken::Stop => {
                    if up.is_some() {
                        self.say_farewell(&client, &mut connection).await;
                    }
                    return End::Stopped;
                }
                Woken::Late => {
                    let why = "it took the connection but did not answer: check that it is an MQTT 5 broker";
                    return End::Failed(Failure::new(&self.url, Kind::Passing, why));
                }
                Woken::Event(Err(error)) => {
                    return End::Failed(reason::of_connection(&self.url, &self.purpose.client_id, &error));
                }
                Woken::Event(Ok(event)) => event,
            };
            let told = match event {
                Event::Incoming(Incoming::ConnAck(connack)) => {
                    if let Err(failure) = self.connected(&client, &connack) {
                        return End::Failed(failure);
                    }
                    true
                }
                Event::Incoming(Incoming::SubAck(suback)) => {
                    if let Err(failure) = self.subscribed(&suback) {
                        return End::Failed(failure);
                    }
                    *up = Some(clock::now());
                    self.events.send(PlainEvent::Up).await.is_ok()
                }
                Event::Incoming(Incoming::PubAck(puback)) => {
                    self.acknowledged(&puback);
                    true
                }
                Event::Incoming(Incoming::Publish(publish)) if !publish.retain => {
                    let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { continue };
                    let received = PlainEvent::Received { topic, payload: publish.payload };
                    // Who does not take what comes loses it.
                    !matches!(self.events.try_send(received), Err(mpsc::error::TrySendError::Closed(_)))
                }
                Event::Incoming(_) | Event::Outgoing(_) | Event::Auth(_) => true,
            };
            if !told {
                return End::Stopped;
            }
        }
    }

    fn connected(&self, client: &AsyncClient, connack: &ConnAck) -> Result<(), Failure> {
        reason::of_retain(&self.url, connack)?;
        let filters = self
            .purpose
            .subscriptions
            .iter()
            .map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
        client
            .try_subscribe_many(filters.collect::<Vec<_>>())
            .map_err(|error| Failure::new(&self.url, Kind::Passing, error))
    }

    /// All of them in one answer.
    fn subscribed(&self, suback: &SubAck) -> Result<(), Failure> {
        for (topic, code) in self.purpose.subscriptions.iter().zip(&suback.return_codes) {
            match code {
                SubscribeReasonCode::Success(_) => {}
                code => return Err(reason::of_subscription(&self.url, topic, *code)),
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, puback: &PubAck) {
        let refused = !matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if refused && !self.refusal_told {
            self.refusal_told = true;
            let topic = self.purpose.will.0.rsplit_once('/').map_or("#", |(base, _)| base);
            let failure = reason::of_publication(&self.url, &format!("{topic}/# and others"), puback.reason);
            tracing::warn!("{}", failure.text);
        }
    }

    /// Waits for the connection's next event, and takes messages meanwhile; they are queued without waiting, because
    /// only polling makes room in the queue.
    async fn next(
        &mut self,
        client: &AsyncClient,
        connection: &mut EventLoop,
        deadline: Option<Instant>,
    ) -> Woken {
        // Not polled anew for each message: that would begin the connection again and again.
        let mut event = pin!(connection.poll());
        loop {
            tokio::select! {
                message = self.outgoing.recv() => match message {
                    None => return Woken::Stop,
                    // There is none once it is up.
                    Some(message) if deadline.is_none() => publish(client, message),
                    Some(_) => {}
                },
                () = clock::sleep_until(deadline) => return Woken::Late,
                event = &mut event => return Woken::Event(event),
            }
        }
    }

    /// What is queued, then the will, then DISCONNECT. Should time run out first, the broker publishes the will.
    async fn say_farewell(&self, client: &AsyncClient, connection: &mut EventLoop) {
        let (topic, payload) = self.purpose.will.clone();
        publish(client, Message { topic, payload, kept: Kept::Yes });
        let goodbye = async {
            // Requests are sent in their order, so the disconnection is the last.
            if client.try_disconnect().is_ok() {
                while connection.poll().await.is_ok() {}
            }
        };
        let _ = timeout(FAREWELL, goodbye).await;
    }
}

fn publish(client: &AsyncClient, Message { topic, payload, kept }: Message) {
    let options = PublishOptions::at_least_once().retain(kept == Kept::Yes);
    if client.try_publish(topic, payload, options).is_err() {
        tracing::debug!("a message is lost: the broker does not take them fast enough");
    }
}
