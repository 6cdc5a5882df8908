//! Home Assistant's side, with a real mosquitto in between and the whole agent: what it is told, and what it may ask for.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use pinhole::signal::{
    Address,
    mqtt::{
        MqttSettings,
        plain::{self, Kept, Message, Plain, PlainEvent, Purpose},
    },
    topic::DeviceId,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    broker_support::PATIENCE,
    mqtt_support::{Folder, Mosquitto, free_port, publish_with_mosquitto, subscribe_with_mosquitto},
};

/// An agent that tells Home Assistant what it does.
struct Agent {
    child: Child,
    folder: Folder,
    at: SocketAddr,
}

impl Agent {
    fn start(port: u16, more: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write(
            "pinhole.toml",
            &format!(
                "name = \"Porch\"\nstate_dir = \"state\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
                 [camera]\nsource = \"synthetic\"\nsize = \"320x240\"\nfps = 10\n\
                 [home_assistant]\nurl = \"mqtt://127.0.0.1:{port}\"\n{more}"
            ),
        );
        let child = Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .arg("--config")
            .arg(file)
            .env_remove("RUNTIME_DIRECTORY")
            // Nobody listens there; it is told that systemd does, and may be restarted.
            .env("NOTIFY_SOCKET", folder.0.join("nobody"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { child, folder, at: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn state(&self) -> PathBuf {
        self.folder.0.join("state")
    }

    /// The first message on a topic, kept or new.
    async fn first(&self, topic: &str) -> String {
        let mut subscriber = subscribe_with_mosquitto(self.at, &["-t", topic]);
        subscriber.line().await
    }

    /// Waits until it is told on that topic. What was kept there before may come first: the broker learns of an end later than
    /// this process does.
    async fn becomes(&self, topic: &str, text: &str) {
        let mut subscriber = subscribe_with_mosquitto(self.at, &["-t", topic]);
        let told = async { while subscriber.line().await != text {} };
        timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("{topic} becomes {text} in time"));
    }

    /// Waits until a state, as it is told, is like that.
    async fn until(&self, base: &str, is: impl Fn(&Value) -> bool) {
        let mut subscriber = subscribe_with_mosquitto(self.at, &["-t", &format!("{base}/state")]);
        let heard = async {
            loop {
                let line = subscriber.line().await;
                if serde_json::from_str(&line).is_ok_and(|state| is(&state)) {
                    break;
                }
            }
        };
        timeout(PATIENCE, heard).await.expect("it is told in time");
    }

    async fn ask(&self, topic: &str, payload: &str) {
        let done = publish_with_mosquitto(self.at, &["-t", topic, "-m", payload]).await;
        assert!(done.status.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its base topic, from what it says of itself.
async fn base(agent: &Agent) -> (Value, String) {
    let discovery: Value = serde_json::from_str(&agent.first("homeassistant/device/+/config").await).unwrap();
    let availability = discovery["availability_topic"].as_str().unwrap();
    let base = availability.strip_suffix("/availability").unwrap().to_owned();
    (discovery, base)
}

#[tokio::test]
async fn the_device_is_there_with_its_values_and_its_picture() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let mut agent = Agent::start(port, "");
    let (discovery, base) = base(&agent).await;
    assert_eq!(discovery["device"]["name"], "Porch");
    let entities = discovery["components"].as_object().unwrap();
    for id in ["cam0_picture", "cam0_bitrate", "cam0_fps", "viewers", "problem", "privacy", "restart"] {
        assert!(entities.contains_key(id), "{id}: {discovery}");
    }
    assert_eq!(agent.first(&format!("{base}/availability")).await, "online");
    agent
        .until(&base, |state| {
            state["viewers"] == 0 && state["privacy"] == "off" && state["problem"] == "none"
        })
        .await;
    let mut pictures = listen(port, entities["cam0_picture"]["topic"].as_str().unwrap());
    let picture = next(&mut pictures).await;
    assert!(picture.starts_with(&[0xff, 0xd8, 0xff]) && picture.len() > 1000, "a JPEG");

    // Without a word: the broker says so.
    agent.child.kill().unwrap();
    agent.becomes(&format!("{base}/availability"), "offline").await;
}

#[tokio::test]
async fn privacy_is_its_switch_and_the_last_picture_is_forgotten() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let agent = Agent::start(port, "picture_every = 5\n");
    let (discovery, base) = base(&agent).await;
    let topic = discovery["components"]["cam0_picture"]["topic"].as_str().unwrap().to_owned();
    let mut pictures = listen(port, &topic);
    assert!(!next(&mut pictures).await.is_empty());
    // What means nothing does nothing.
    agent.ask(&format!("{base}/set/privacy"), "perhaps").await;
    agent.ask(&format!("{base}/set/camera/cam0/none"), "1").await;
    agent.ask(&format!("{base}/set/privacy"), "on").await;
    agent.until(&base, |state| state["privacy"] == "on").await;
    let forgotten = async { while !next(&mut pictures).await.is_empty() {} };
    timeout(PATIENCE, forgotten).await.expect("an empty message takes its place");
    assert!(std::fs::read_to_string(agent.state().join("privacy.json")).unwrap().contains("true"));
    agent.ask(&format!("{base}/set/privacy"), "off").await;
    agent.until(&base, |state| state["privacy"] == "off").await;
    assert!(!next(&mut pictures).await.is_empty(), "pictures again");
}

#[tokio::test]
async fn the_restart_button_ends_the_agent_in_order() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let mut agent = Agent::start(port, "picture_every = 0\n");
    let (discovery, base) = base(&agent).await;
    assert!(discovery["components"].get("cam0_picture").is_none());
    agent.ask(&format!("{base}/set/restart"), "PRESS").await;
    let ended = tokio::task::spawn_blocking(move || agent.child.wait().map(|status| (status, agent)));
    let (status, agent) = timeout(PATIENCE, ended).await.expect("it ends").unwrap().unwrap();
    assert!(status.success(), "{status}");
    agent.becomes(&format!("{base}/availability"), "offline").await;
}

#[tokio::test]
async fn what_may_only_look_changes_nothing_and_all_is_told_again_when_home_assistant_starts() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let agent = Agent::start(port, "controls = false\npicture_every = 0\n");
    let (discovery, base) = base(&agent).await;
    assert!(!discovery.to_string().contains("command_topic"), "{discovery}");
    agent.ask(&format!("{base}/set/privacy"), "on").await;
    agent.ask(&format!("{base}/set/restart"), "PRESS").await;
    let mut subscriber = subscribe_with_mosquitto(agent.at, &["-t", "homeassistant/device/+/config"]);
    subscriber.line().await;
    agent.ask("homeassistant/status", "online").await;
    let again: Value = serde_json::from_str(&subscriber.line().await).unwrap();
    assert_eq!(again, discovery);
    agent.until(&base, |state| state["privacy"] == "off").await;
}

#[test]
fn a_table_that_is_wrong_is_told() {
    let folder = Folder::new();
    for (table, words) in [
        ("", "home_assistant: needs url"),
        ("url = \"mqtt://b\"\npicture_every = 1\n", "home_assistant.picture_every: 1 does not fit"),
        ("url = \"mqtt://b\"\nprefix = \"a/#\"\n", "home_assistant.prefix"),
        ("url = \"b\"\n", "home_assistant.url"),
    ] {
        let file = folder.write("pinhole.toml", &format!("[home_assistant]\n{table}"));
        let output = Command::new(env!("CARGO_BIN_EXE_pinhole")).arg("--config").arg(file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{table}: {said}");
    }
}

/// Bytes are nothing for mosquitto_sub's lines.
fn listen(port: u16, topic: &str) -> Plain {
    let address =
        Address { root: "pinhole".to_owned(), device: DeviceId::parse("abcdefghijkl2345").unwrap() };
    let purpose = Purpose {
        client_id: format!("test-{port}-{}", topic.len()),
        subscriptions: vec![topic.to_owned()],
        will: ("test/away".to_owned(), Bytes::new()),
    };
    plain::start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")), &address, purpose).unwrap()
}

async fn next(client: &mut Plain) -> Bytes {
    let received = async {
        loop {
            match client.events.recv().await.expect("it runs") {
                PlainEvent::Received { payload, .. } => break payload,
                PlainEvent::Up => {
                    let message = Message {
                        topic: "test/here".to_owned(),
                        payload: Bytes::from_static(b"1"),
                        kept: Kept::No,
                    };
                    client.outgoing.send(message).await.expect("it runs");
                }
                PlainEvent::Down(reason) => panic!("{reason}"),
            }
        }
    };
    timeout(PATIENCE + Duration::from_secs(10), received).await.expect("something comes in time")
}
