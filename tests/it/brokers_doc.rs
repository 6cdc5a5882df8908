//! docs/brokers.md with a real mosquitto: its files and commands are run as they stand there, and the agent with its
//! configuration. Replaced are the folders (all into one of the test's own), the two ports, the broker's name by
//! `localhost`, and Let's Encrypt by the document's own authority, which the agent is told of by `ca_file`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use futures_util::{SinkExt, StreamExt};
use pinhole::{
    signal::{
        Address,
        keys::ViewerRecord,
        link::Link,
        message::{ToDevice, ToViewer},
        topic::DeviceNonce,
        viewer::{Status, ViewerPairing, ViewerSession, new_session},
    },
    tasks,
};
use rumqttc::tokio_rustls::{TlsConnector, client::TlsStream};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex},
    net::TcpStream,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use crate::{
    broker_support::{RawClient, connect, connect_with, field, publish},
    cli::{self, Agent},
    mqtt_support::{Mosquitto, free_port},
};

const DOCUMENT: &str = include_str!("../../docs/brokers.md");

/// "Not authorized", in CONNACK, PUBACK and SUBACK (MQTT 5, 2.4).
const NOT_AUTHORIZED: u8 = 0x87;

type Client = RawClient<DuplexStream>;

/// The fenced block that begins with that line.
fn block(first: &str) -> &'static str {
    let mut blocks = DOCUMENT.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap().1);
    blocks.find(|block| block.lines().next() == Some(first)).unwrap_or_else(|| panic!("no block `{first}`"))
}

/// What the document sets up.
struct Setup {
    folder: cli::Folder,
    ca: PathBuf,
    ports: (u16, u16),
    _mosquitto: Mosquitto,
    agent: Option<Agent>,
    link: Link,
}

impl Setup {
    /// `account` is the agent's.
    async fn start(account: &str, rules: &str, configuration: &str) -> Self {
        let folder = cli::Folder::new(&format!("brokers-{account}"));
        for name in ["mosquitto/certs", "mosquitto/conf.d", "pinhole", "credentials"] {
            fs::create_dir_all(folder.0.join(name)).unwrap();
        }
        let certificates = folder.0.join("mosquitto/certs");
        let ca = certificates.join("ca.pem");
        let ports = (free_port(), free_port());
        let here = |text: &str| {
            text.replace("/etc/mosquitto", &folder.0.join("mosquitto").display().to_string())
                .replace("/etc/pinhole", &folder.0.join("pinhole").display().to_string())
                .replace("broker.example.org", "localhost")
                .replace("listener 8883", &format!("listener {}", ports.0))
                .replace("listener 8084", &format!("listener {}", ports.1))
                .replace("mqtts://localhost", &format!("mqtts://localhost:{}", ports.0))
                .replace("localhost:8084", &format!("localhost:{}", ports.1))
        };
        let authority = here(block("# An authority, and a certificate for the broker"));
        run(&format!("cd {}\n{authority}", certificates.display()));
        run(&here(block("# Accounts")).replace("camera:", &format!("{account}:")));
        fs::write(folder.0.join("mosquitto/pinhole.acl"), here(block(rules))).unwrap();
        let mosquitto = Mosquitto::start(&here(block("# /etc/mosquitto/conf.d/pinhole.conf"))).await;
        load_credentials(&here(block("# /etc/systemd/system/pinhole.service.d/broker.conf")), &folder.0);
        let configuration = format!("{}ca_file = \"{}\"\n", here(block(configuration)), ca.display());
        let file = folder.file("pinhole/pinhole.toml", configuration);
        let quiet = ["--camera", "synthetic", "--listen", "127.0.0.1:0", "--config", &file];
        let mut command = cli::pinhole(&folder, &quiet);
        command.env("CREDENTIALS_DIRECTORY", folder.0.join("credentials"));
        let (agent, link) = Agent::start(command);
        let link = Link::parse(link.trim().split_once('#').expect("a link").1).unwrap();
        Self { folder, ca, ports, _mosquitto: mosquitto, agent: Some(agent), link }
    }

    fn address(&self) -> Address {
        Address { root: self.link.root.clone(), device: self.link.device }
    }

    /// The viewers' account, as the link gives it to browsers.
    fn viewers(&self) -> (String, String) {
        let [broker] = &self.link.more_brokers[..] else { panic!("one broker: {:?}", self.link) };
        assert_eq!(self.link.broker, None, "the device's own page comes by its own broker first");
        let (account, rest) = broker.strip_prefix("wss://").unwrap().split_once('@').unwrap();
        assert_eq!(rest, format!("localhost:{}/mqtt", self.ports.1));
        let (user, password) = account.split_once(':').unwrap();
        (user.to_owned(), password.to_owned())
    }

    fn password_file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.0.join("pinhole").join(name)).unwrap().trim().to_owned()
    }

    async fn tls(&self, port: u16) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// MQTT over TLS.
    async fn by_tls(&self) -> DuplexStream {
        let mut stream = self.tls(self.ports.0).await;
        let (near, mut far) = duplex(64 * 1024);
        tasks::spawn("TLS", async move {
            let _ = copy_bidirectional(&mut far, &mut stream).await;
        });
        near
    }

    /// MQTT over WebSocket over TLS.
    async fn by_websocket(&self) -> DuplexStream {
        let mut request = format!("ws://localhost:{}/mqtt", self.ports.1).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        let stream = self.tls(self.ports.1).await;
        let (mut socket, _) = client_async(request, stream).await.unwrap();
        let (near, mut far) = duplex(64 * 1024);
        tasks::spawn("WebSocket", async move {
            let mut bytes = vec![0; 32 * 1024];
            loop {
                tokio::select! {
                    read = far.read(&mut bytes) => match read {
                        Ok(length) if length > 0 => {
                            let message = Message::binary(bytes[..length].to_vec());
                            if socket.send(message).await.is_err() {
                                return;
                            }
                        }
                        Ok(_) | Err(_) => return,
                    },
                    message = socket.next() => match message {
                        Some(Ok(message)) => {
                            if far.write_all(&message.into_data()).await.is_err() {
                                return;
                            }
                        }
                        Some(Err(_)) | None => return,
                    },
                }
            }
        });
        near
    }

    /// The broker's answer to a CONNECT with that account.
    async fn log_in(&self, stream: DuplexStream, user: &str, password: &str) -> (Client, u8) {
        let mut client = RawClient { stream, level: 5 };
        let account = [field(user.as_bytes()), field(password.as_bytes())].concat();
        client.write(&connect_with(5, &format!("{user} {}", new_session()), 0b1100_0010, 60, &account)).await;
        let (kind, body) = client.read().await.expect("a CONNACK");
        assert_eq!(kind, 0x20);
        (client, body[1])
    }

    async fn viewer(&self, stream: DuplexStream) -> Client {
        let (user, password) = self.viewers();
        let (client, code) = self.log_in(stream, &user, &password).await;
        assert_eq!(code, 0, "viewers are let in");
        client
    }
}

/// Runs a script of the document's.
fn run(script: &str) {
    let done = Command::new("sh").args(["-eu", "-c", script]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What systemd does with `LoadCredential=NAME:PATH`.
fn load_credentials(unit: &str, folder: &Path) {
    for line in unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")) {
        let (name, path) = line.split_once(':').unwrap();
        fs::copy(path, folder.join("credentials").join(name)).unwrap();
    }
}

/// The reason in the broker's PUBACK; the message is retained where `status` is.
async fn publish_code(client: &mut Client, topic: &str, payload: &[u8]) -> u8 {
    client.write(&publish(5, topic, payload, Some(9), topic.ends_with("/status"))).await;
    let (_, body) = client.read_kind(0x40).await;
    body.get(2).copied().unwrap_or(0)
}

async fn online(client: &mut Client, address: &Address) -> DeviceNonce {
    client.subscribe(&address.topic_status()).await;
    loop {
        // The agent may have come a moment later.
        if let Some(Status::Online { nonce }) = Status::parse(&client.message().await.expect("a status").2) {
            return nonce;
        }
    }
}

async fn pair(client: &mut Client, link: &Link, nonce: DeviceNonce, address: &Address) -> ViewerRecord {
    let mut pairing = ViewerPairing::new(link.clone(), nonce, "Anna").unwrap();
    client.subscribe(&address.topic_out(&pairing.id())).await;
    client.write(&publish(5, &address.topic_in(), &pairing.request(), None, false)).await;
    loop {
        let (_, topic, payload) = client.message().await.expect("an answer");
        if topic == address.topic_out(&pairing.id()) {
            return pairing.finish(&payload).unwrap().expect("paired");
        }
    }
}

/// Says hello; the answer must be the device's.
async fn greet(client: &mut Client, session: &mut ViewerSession, address: &Address) {
    client.subscribe(&address.topic_out(&session.id())).await;
    let hello = session.seal(&ToDevice::Hello).unwrap();
    client.write(&publish(5, &address.topic_in(), &hello, None, false)).await;
    loop {
        let (_, topic, payload) = client.message().await.expect("an answer");
        if topic == address.topic_out(&session.id()) {
            assert!(matches!(session.open(&payload), Some(ToViewer::Welcome(_))));
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_as_documented_carries_and_lets_nobody_do_more() {
    let mut setup =
        Setup::start("camera", "# /etc/mosquitto/pinhole.acl", "# /etc/pinhole/pinhole.toml").await;
    let address = setup.address();

    // Strangers are refused, by either way.
    for stream in [setup.by_tls().await, setup.by_websocket().await] {
        let mut stranger = RawClient { stream, level: 5 };
        stranger.write(&connect(5, "stranger")).await;
        assert_eq!(stranger.read().await.expect("a CONNACK").1[1], NOT_AUTHORIZED, "anonymous");
    }
    let (_, code) = setup.log_in(setup.by_tls().await, "viewer", "wrong").await;
    assert_eq!(code, NOT_AUTHORIZED, "a wrong password");

    // A viewer pairs by secure WebSocket, is answered there, and goes on by TLS.
    let mut viewer = setup.viewer(setup.by_websocket().await).await;
    let nonce = online(&mut viewer, &address).await;
    let record = pair(&mut viewer, &setup.link, nonce, &address).await;
    let mut session = ViewerSession::new(address.device, &record, new_session(), nonce);
    greet(&mut viewer, &mut session, &address).await;
    let mut by_tls = setup.viewer(setup.by_tls().await).await;
    greet(&mut by_tls, &mut session, &address).await;

    // Viewers may not speak for the device, nor agents for viewers, nor anybody of anything else.
    for topic in [address.topic_status(), address.topic_out(&session.id()), "home/door".to_owned()] {
        assert_eq!(publish_code(&mut by_tls, &topic, b"forged").await, NOT_AUTHORIZED, "{topic}");
    }
    let password = setup.password_file("broker-password");
    let (mut agent, code) = setup.log_in(setup.by_tls().await, "camera", &password).await;
    assert_eq!(code, 0);
    for topic in [address.topic_in(), "home/door".to_owned()] {
        assert_eq!(publish_code(&mut agent, &topic, b"x").await, NOT_AUTHORIZED, "{topic}");
    }

    // Who subscribes to everything hears nothing of what viewers send.
    let mut curious = setup.viewer(setup.by_tls().await).await;
    curious.subscribe("#").await;
    greet(&mut viewer, &mut session, &address).await;
    loop {
        let (_, topic, payload) = curious.message().await.expect("what viewers may read");
        assert_ne!(topic, address.topic_in());
        assert!(topic == address.topic_status() || topic.contains("/out/"), "{topic}");
        assert_ne!(payload, b"forged");
        if topic == address.topic_out(&session.id()) {
            break;
        }
    }

    // The agent vanishes, and its last will is heard.
    drop(setup.agent.take());
    loop {
        let (_, topic, payload) = curious.message().await.expect("a last will");
        if topic == address.topic_status() && Status::parse(&payload) == Some(Status::Offline) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_with_roots_of_their_own_are_kept_apart() {
    let setup = Setup::start(
        "anna",
        "# /etc/mosquitto/pinhole.acl, for several owners",
        "# /etc/pinhole/pinhole.toml, of the owner with the account anna",
    )
    .await;
    let address = setup.address();
    assert_eq!(address.root, "pinhole/anna");
    let mut viewer = setup.viewer(setup.by_websocket().await).await;
    let nonce = online(&mut viewer, &address).await;
    let record = pair(&mut viewer, &setup.link, nonce, &address).await;
    let mut session = ViewerSession::new(address.device, &record, new_session(), nonce);
    greet(&mut viewer, &mut session, &address).await;

    let (mut anna, code) =
        setup.log_in(setup.by_tls().await, "anna", &setup.password_file("broker-password")).await;
    assert_eq!(code, 0);
    let others = Address { root: "pinhole/bert".to_owned(), ..address.clone() };
    assert_eq!(publish_code(&mut anna, &others.topic_status(), b"forged").await, NOT_AUTHORIZED);
    assert_eq!(publish_code(&mut viewer, &address.topic_status(), b"forged").await, NOT_AUTHORIZED);
}
