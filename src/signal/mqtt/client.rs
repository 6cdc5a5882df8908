//! The client's task: connect, subscribe, carry both ways, and after every end wait and try again. Each attempt has a
//! client of its own, so that nothing of an old connection is sent on a new one. Not here: why an attempt failed in
//! words (`reason`), and how long to wait (`backoff`).

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use rumqttc::{
    AsyncClient, ClientError, ConnAck, ConnectionError, Event, EventLoop, Incoming, MqttOptions, PubAck,
    PubAckReason, Publish, PublishOptions, QoS, SubAck, SubscribeReasonCode,
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    backoff::{Backoff, Kind},
    connect,
    reason::{self, Failure},
    url::BrokerUrl,
};
use crate::{
    clock,
    signal::{Address, CarrierEvent, OFFLINE_STATUS, Outgoing},
};

/// Requests that the client crate holds; beyond, messages are lost and counted.
const REQUESTS: usize = 128;
/// From the request to stop to the end, whether the broker answers or not.
const FAREWELL: Duration = Duration::from_secs(1);
/// Different reasons that are told of one outage.
const REASONS: usize = 8;
/// Losses are logged once per so long.
const LOSS_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Client {
    options: MqttOptions,
    url: Arc<BrokerUrl>,
    address: Address,
    topic_in: String,
    events: mpsc::Sender<CarrierEvent>,
    outgoing: mpsc::Receiver<Outgoing>,
    backoff: Backoff,
    random: SystemRandom,
    /// The last change of state, and whether the desk still has to be told. Changes are never lost: the newest waits
    /// until there is room, without anything else waiting for it.
    state: Option<CarrierEvent>,
    untold: bool,
    /// Why it was down since it was up last. A name with several addresses can fail in turns, which is no news.
    reasons: Vec<String>,
    losses: Losses,
}

/// The end of an attempt.
enum End {
    /// The carrier is to stop.
    Stopped,
    Failed(Failure),
}

/// How far an attempt has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Subscribing,
    Up { since: Instant },
}

/// What woke the task.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Woken {
    Stop,
    Late,
    Event(Result<Event, ConnectionError>),
}

impl Client {
    pub(super) fn new(
        options: MqttOptions,
        url: Arc<BrokerUrl>,
        address: Address,
        events: mpsc::Sender<CarrierEvent>,
        outgoing: mpsc::Receiver<Outgoing>,
    ) -> Self {
        Self {
            topic_in: address.topic_in(),
            losses: Losses::new(url.to_string()),
            options,
            url,
            address,
            events,
            outgoing,
            backoff: Backoff::default(),
            random: SystemRandom::new(),
            state: None,
            untold: false,
            reasons: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let mut phase = Phase::Connecting;
            let failure = match self.attempt(&mut phase).await {
                End::Stopped => return,
                End::Failed(failure) => failure,
            };
            let now = clock::now();
            let lasted = match phase {
                Phase::Up { since } => now.saturating_duration_since(since),
                Phase::Connecting | Phase::Subscribing => Duration::ZERO,
            };
            let wait = self.backoff.failed(failure.kind, lasted, self.random());
            tracing::debug!(broker = %self.url, reason = %failure.text, wait_ms = wait.as_millis(), "next attempt at the broker");
            self.change(CarrierEvent::Down { reason: failure.text });
            if self.wait_until(now + wait).await.is_stop() {
                return;
            }
        }
    }

    /// Tells the desk of a change; what is no change, or was told since the broker was there last, is not told again.
    fn change(&mut self, state: CarrierEvent) {
        let news = match &state {
            CarrierEvent::Down { reason } => {
                let news = !self.reasons.contains(reason) && self.reasons.len() < REASONS;
                if news {
                    self.reasons.push(reason.clone());
                }
                news
            }
            CarrierEvent::Up | CarrierEvent::Envelope(_) => {
                self.reasons.clear();
                true
            }
        };
        if news {
            self.state = Some(state);
            self.untold = true;
        }
    }

    /// Between two attempts: nothing can be sent.
    async fn wait_until(&mut self, at: Instant) -> Woken {
        loop {
            tokio::select! {
                biased;
                message = self.outgoing.recv() => match message {
                    Some(_) => self.losses.count(Loss::Down),
                    None => return Woken::Stop,
                },
                () = clock::sleep_until(Some(at)) => return Woken::Late,
                told = tell(&self.events, &self.state, self.untold) => match told {
                    Ok(()) => self.untold = false,
                    Err(DeskGone) => return Woken::Stop,
                },
            }
        }
    }

    /// One connection, from the first byte to its end.
    async fn attempt(&mut self, phase: &mut Phase) -> End {
        let (client, mut connection) = AsyncClient::builder(self.options.clone()).capacity(REQUESTS).build();
        let deadline = clock::now() + connect::WHOLE;
        let mut unacknowledged = 0;
        let mut refusal_told = false;
        loop {
            match self.next(&client, &mut connection, *phase, deadline, &mut unacknowledged).await {
                Woken::Stop => {
                    if matches!(phase, Phase::Up { .. }) {
                        self.say_farewell(&client, &mut connection, unacknowledged).await;
                    }
                    return End::Stopped;
                }
                Woken::Late => {
                    let why = "it took the connection but did not answer: check that it is an MQTT 5 broker";
                    return End::Failed(Failure::new(&self.url, Kind::Passing, why));
                }
                Woken::Event(Err(error)) => {
                    let id = self.options.client_id();
                    let at_hub = self.options.authentication_method().is_some();
                    let failure = at_hub.then(|| reason::of_login(&self.url, &error)).flatten();
                    return End::Failed(
                        failure.unwrap_or_else(|| reason::of_connection(&self.url, &id, &error)),
                    );
                }
                Woken::Event(Ok(Event::Incoming(packet))) => match packet {
                    Incoming::ConnAck(connack) => match self.connected(&client, &connack) {
                        Ok(()) => *phase = Phase::Subscribing,
                        Err(failure) => return End::Failed(failure),
                    },
                    Incoming::SubAck(suback) => match self.subscribed(&suback) {
                        Ok(()) => *phase = Phase::Up { since: clock::now() },
                        Err(failure) => return End::Failed(failure),
                    },
                    Incoming::Publish(publish) => self.received(publish),
                    Incoming::PubAck(puback) => {
                        unacknowledged -= 1;
                        self.acknowledged(&puback, &mut refusal_told);
                    }
                    _ => {}
                },
                Woken::Event(Ok(_)) => {}
            }
        }
    }

    /// Waits for the connection's next event and meanwhile accepts messages. They are queued without waiting, because
    /// only polling makes room in the queue. The arms are fair: neither direction may starve the other.
    async fn next(
        &mut self,
        client: &AsyncClient,
        connection: &mut EventLoop,
        phase: Phase,
        deadline: Instant,
        unacknowledged: &mut i64,
    ) -> Woken {
        let up = matches!(phase, Phase::Up { .. });
        let deadline = if up { None } else { Some(deadline) };
        // Not polled anew for each message: that would begin the connection again and again.
        let mut event = pin!(connection.poll());
        loop {
            tokio::select! {
                message = self.outgoing.recv() => match message {
                    None => return Woken::Stop,
                    Some(_) if !up => self.losses.count(Loss::Down),
                    Some(message) => match publish(client, &self.address, message) {
                        Ok(()) => *unacknowledged += 1,
                        Err(_) => self.losses.count(Loss::BrokerSlow),
                    },
                },
                told = tell(&self.events, &self.state, self.untold) => match told {
                    Ok(()) => self.untold = false,
                    Err(DeskGone) => return Woken::Stop,
                },
                () = clock::sleep_until(deadline) => return Woken::Late,
                event = &mut event => return Woken::Event(event),
            }
        }
    }

    fn connected(&self, client: &AsyncClient, connack: &ConnAck) -> Result<(), Failure> {
        reason::of_retain(&self.url, connack)?;
        client
            .try_subscribe(self.topic_in.clone(), QoS::AtLeastOnce)
            .map_err(|error| Failure::new(&self.url, Kind::Passing, error))
    }

    fn subscribed(&mut self, suback: &SubAck) -> Result<(), Failure> {
        match suback.return_codes.first() {
            Some(SubscribeReasonCode::Success(_)) => {
                self.change(CarrierEvent::Up);
                Ok(())
            }
            Some(code) => Err(reason::of_subscription(&self.url, &self.topic_in, *code)),
            None => Err(reason::of_subscription(&self.url, &self.topic_in, SubscribeReasonCode::Unspecified)),
        }
    }

    fn received(&mut self, publish: Publish) {
        // A retained message is an old one, and who may retain here may not be a viewer at all.
        if publish.retain || publish.topic != self.topic_in.as_bytes() {
            tracing::debug!("a retained or foreign message was ignored");
            return;
        }
        if self.events.try_send(CarrierEvent::Envelope(publish.payload)).is_err() {
            self.losses.count(Loss::DeskSlow);
        }
    }

    fn acknowledged(&self, puback: &PubAck, refusal_told: &mut bool) {
        if matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers)
            || *refusal_told
        {
            return;
        }
        *refusal_told = true;
        tracing::warn!(
            broker = %self.url,
            reason = ?puback.reason,
            "the broker refused a message: allow this user to publish to {} and {}/{}/out/# in its access rules",
            self.address.topic_status(),
            self.address.root,
            self.address.device,
        );
    }

    /// What is queued, then the offline status, then DISCONNECT. Should time run out first, the connection is cut
    /// without a DISCONNECT, and the broker publishes the last will, which says the same.
    async fn say_farewell(&self, client: &AsyncClient, connection: &mut EventLoop, mut unacknowledged: i64) {
        let goodbye = async {
            let mut said = false;
            loop {
                if !said
                    && publish(client, &self.address, Outgoing::Status(Bytes::from_static(OFFLINE_STATUS)))
                        .is_ok()
                {
                    said = true;
                    unacknowledged += 1;
                }
                if said && unacknowledged <= 0 {
                    break;
                }
                if let Event::Incoming(Incoming::PubAck(_)) = connection.poll().await? {
                    unacknowledged -= 1;
                }
            }
            if client.try_disconnect().is_ok() {
                loop {
                    connection.poll().await?;
                }
            }
            Ok::<(), ConnectionError>(())
        };
        match timeout(FAREWELL, goodbye).await {
            Ok(Ok(()) | Err(ConnectionError::RequestsDone)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the goodbye to the broker failed"),
            Err(_) => tracing::debug!("the goodbye to the broker took too long"),
        }
    }

    fn random(&self) -> u32 {
        let mut bytes = [0; 4];
        match self.random.fill(&mut bytes) {
            Ok(()) => u32::from_ne_bytes(bytes),
            // Without randomness the wait is the longest of its step.
            Err(_) => u32::MAX,
        }
    }
}

impl Woken {
    fn is_stop(&self) -> bool {
        matches!(self, Self::Stop)
    }
}

/// The desk has dropped its receiver.
struct DeskGone;

/// Tells the desk the newest state as soon as it has room; waits for ever when there is nothing to tell.
async fn tell(
    events: &mpsc::Sender<CarrierEvent>,
    state: &Option<CarrierEvent>,
    untold: bool,
) -> Result<(), DeskGone> {
    match state {
        Some(state) if untold => {
            events.reserve().await.map_err(|_| DeskGone)?.send(state.clone());
            Ok(())
        }
        Some(_) | None => {
            events.closed().await;
            Err(DeskGone)
        }
    }
}

fn publish(client: &AsyncClient, address: &Address, message: Outgoing) -> Result<(), ClientError> {
    let options = PublishOptions::new(QoS::AtLeastOnce);
    match message {
        Outgoing::Status(status) => client.try_publish(address.topic_status(), status, options.retained()),
        Outgoing::Reply { session, envelope } => {
            client.try_publish(address.topic_out(&session), envelope, options)
        }
    }
}

/// What can be lost, and where.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// A message while there was no connection.
    Down,
    /// A message that the broker was too slow for.
    BrokerSlow,
    /// An envelope that the desk was too slow for.
    DeskSlow,
}

#[derive(Debug, Default)]
struct Losses {
    broker: String,
    down: u64,
    broker_slow: u64,
    desk_slow: u64,
    logged: Option<Instant>,
}

impl Losses {
    fn new(broker: String) -> Self {
        Self { broker, ..Self::default() }
    }

    fn count(&mut self, loss: Loss) {
        match loss {
            // Expected, and the desk knows: not worth a line.
            Loss::Down => {
                self.down += 1;
                return;
            }
            Loss::BrokerSlow => self.broker_slow += 1,
            Loss::DeskSlow => self.desk_slow += 1,
        }
        let now = clock::now();
        if self.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOSS_INTERVAL) {
            self.logged = Some(now);
            let Self { broker, down, broker_slow, desk_slow, .. } = self;
            tracing::warn!(%broker, down, broker_slow, desk_slow, "messages were lost (counts since the start)");
        }
    }
}
