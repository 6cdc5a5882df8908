//! Tries a broker once, for `pinhole check` and `pinhole setup`: name, TCP, TLS, login, subscribing, publishing. It has
//! a client id of its own, so that a running agent keeps its connection, and leaves nothing behind: no will, nothing
//! retained, and what it publishes goes to a session that nobody has. In the task that asks. Not here: the carrier
//! itself (`client`).

use std::{sync::Arc, time::Duration};

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, PubAckReason, PublishOptions, QoS,
    SubscribeReasonCode,
};
use tokio::time::timeout;

use super::{
    BrokerUrl, MqttSettings,
    reason::{self, Failure},
};
use crate::{
    clock,
    signal::{Address, keys, topic::SessionId},
};

/// For all of it.
const WHOLE: Duration = Duration::from_secs(8);

/// A broker that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// From the publication to its acknowledgement.
    pub round_trip: Duration,
    /// Whether passwords and addresses go there encrypted.
    pub secure: bool,
}

/// Tries it.
///
/// # Errors
/// What failed, why, and the remedy, in one sentence that begins with the broker.
pub async fn probe(settings: MqttSettings, address: &Address) -> Result<Usable, String> {
    let mut bytes = [0; 16];
    keys::random(&mut bytes);
    let session = SessionId::from_bytes(bytes);
    let own_id = format!("pinhole-check-{}", &session.to_string()[..8]);
    let settings = MqttSettings { client_id: Some(own_id), ..settings };
    let (url, options) = super::prepare(settings, address).map_err(|error| error.to_string())?;
    let secure = url.scheme().is_secure();
    let (client, mut connection) = AsyncClient::builder(options).capacity(4).build();
    let mut attempt =
        Attempt { url: &url, topic_in: address.topic_in(), topic_out: address.topic_out(&session) };
    match timeout(WHOLE, attempt.run(&client, &mut connection)).await {
        Ok(Ok(round_trip)) => Ok(Usable { round_trip, secure }),
        Ok(Err(failure)) => Err(failure.text),
        Err(_) => Err(format!(
            "broker {url}: it did not answer within {} s: check that it is an MQTT 5 broker",
            WHOLE.as_secs()
        )),
    }
}

struct Attempt<'a> {
    url: &'a Arc<BrokerUrl>,
    topic_in: String,
    topic_out: String,
}

impl Attempt<'_> {
    async fn run(&mut self, client: &AsyncClient, connection: &mut EventLoop) -> Result<Duration, Failure> {
        let passing =
            |error: rumqttc::ClientError| Failure::new(self.url, super::backoff::Kind::Passing, error);
        let mut published = clock::now();
        loop {
            let event = connection.poll().await.map_err(|error| self.failure(&error))?;
            match event {
                Event::Incoming(Incoming::ConnAck(connack)) => {
                    reason::of_retain(self.url, &connack)?;
                    client.try_subscribe(self.topic_in.clone(), QoS::AtLeastOnce).map_err(passing)?;
                }
                Event::Incoming(Incoming::SubAck(suback)) => {
                    let code = suback.return_codes.first().copied();
                    match code.unwrap_or(SubscribeReasonCode::Unspecified) {
                        SubscribeReasonCode::Success(_) => {}
                        code => return Err(reason::of_subscription(self.url, &self.topic_in, code)),
                    }
                    published = clock::now();
                    client
                        .try_publish(self.topic_out.clone(), "{}", PublishOptions::new(QoS::AtLeastOnce))
                        .map_err(passing)?;
                }
                Event::Incoming(Incoming::PubAck(puback)) => {
                    let took = clock::now().saturating_duration_since(published);
                    self.leave(client, connection).await;
                    return match puback.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(took),
                        refused => Err(reason::of_publication(self.url, &self.topic_out, refused)),
                    };
                }
                Event::Incoming(_) | Event::Outgoing(_) | Event::Auth(_) => {}
            }
        }
    }

    fn failure(&self, error: &ConnectionError) -> Failure {
        reason::of_connection(self.url, "", error)
    }

    /// With a DISCONNECT, so that the broker logs no lost client.
    async fn leave(&self, client: &AsyncClient, connection: &mut EventLoop) {
        if client.try_disconnect().is_ok() {
            let _ = timeout(Duration::from_secs(1), async { while connection.poll().await.is_ok() {} }).await;
        }
    }
}
