//! A viewer's MQTT connection, by the WebSocket that its link leads to, and its pairing there.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use pinhole::{
    clock,
    signal::{
        keys::ViewerRecord,
        link::Link,
        topic::{Address, DeviceNonce, SessionId},
        viewer::{Status, ViewerPairing, new_session},
    },
};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, QoS};
use tokio::{sync::mpsc, time::timeout};

/// For each answer of the device.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a link's fragment says, and the broker's address that follows from the whole.
pub fn address(url: &str) -> Result<(Link, String)> {
    let (page, fragment) = url.split_once('#').context("the link has no fragment")?;
    let link = Link::parse(fragment)?;
    let broker = match &link.broker {
        Some(broker) => broker.clone(),
        None => format!("{}mqtt", page.replacen("http", "ws", 1)),
    };
    Ok((link, broker))
}

/// The viewer's MQTT connection.
pub struct Mail {
    client: AsyncClient,
    address: Address,
    incoming: mpsc::Receiver<(String, Bytes)>,
    acknowledged: mpsc::Receiver<()>,
}

impl Mail {
    pub async fn connect(broker: &str, address: Address) -> Result<Self> {
        let mut options =
            MqttOptions::new(format!("test-{}", new_session()), rumqttc::Broker::websocket(broker)?);
        options.set_max_packet_size(Some(65536));
        let (client, mut connection) = AsyncClient::builder(options).capacity(16).build();
        let (publish, incoming) = mpsc::channel(64);
        let (acknowledge, acknowledged) = mpsc::channel(16);
        pinhole::tasks::spawn("mail", async move {
            loop {
                match connection.poll().await {
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        let topic = String::from_utf8_lossy(&message.topic).into_owned();
                        let _ = publish.send((topic, message.payload)).await;
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        let _ = acknowledge.try_send(());
                    }
                    Ok(_) => {}
                    Err(error) => return eprintln!("viewer: the broker's connection ended: {error}"),
                }
            }
        });
        let mail = Self { client, address, incoming, acknowledged };
        Ok(mail)
    }

    pub async fn subscribe(&mut self, topic: String) -> Result<()> {
        self.client.subscribe(topic, QoS::AtLeastOnce).await?;
        timeout(PATIENCE, self.acknowledged.recv()).await?.context("the broker is gone")
    }

    pub async fn nonce(&mut self) -> Result<DeviceNonce> {
        self.subscribe(self.address.topic_status()).await?;
        loop {
            let (topic, payload) =
                timeout(PATIENCE, self.incoming.recv()).await?.context("the broker is gone")?;
            match Status::parse(&payload) {
                Some(Status::Online { nonce }) if topic == self.address.topic_status() => return Ok(nonce),
                _ => {}
            }
        }
    }

    /// The nonce of a device that was started anew.
    pub async fn nonce_after(&mut self, old: DeviceNonce) -> Result<DeviceNonce> {
        loop {
            let (topic, payload) =
                timeout(PATIENCE, self.incoming.recv()).await?.context("the broker is gone")?;
            match Status::parse(&payload) {
                Some(Status::Online { nonce }) if topic == self.address.topic_status() && nonce != old => {
                    return Ok(nonce);
                }
                _ => {}
            }
        }
    }

    pub async fn pair(&mut self, link: Link, nonce: DeviceNonce, name: &str) -> Result<ViewerRecord> {
        let mut pairing = ViewerPairing::new(link, nonce, name)?;
        self.listen(pairing.id()).await?;
        self.send(pairing.request()).await?;
        loop {
            if let Some(record) = pairing.finish(&self.next().await?)? {
                return Ok(record);
            }
        }
    }

    pub async fn listen(&mut self, session: SessionId) -> Result<()> {
        self.subscribe(self.address.topic_out(&session)).await
    }

    pub async fn send(&self, envelope: Bytes) -> Result<()> {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        self.client
            .publish(self.address.topic_in(), envelope.to_vec(), options)
            .await
            .map_err(|error| anyhow!("{error}"))
    }

    /// The broker has ended the connection.
    pub fn is_cut(&self) -> bool {
        self.incoming.is_closed()
    }

    /// The next message that is not a status.
    pub async fn next(&mut self) -> Result<Bytes> {
        loop {
            let (topic, payload) = timeout(PATIENCE, self.incoming.recv())
                .await
                .context("no answer came")?
                .context("the broker is gone")?;
            if topic != self.address.topic_status() {
                return Ok(payload);
            }
        }
    }

    pub async fn close(self) {
        let _ = self.client.disconnect().await;
        clock::sleep(Duration::from_millis(200)).await;
    }
}
