//! The scene of the attacks: the agent as a process behind a proxy that lies, a real mosquitto that lets everybody do
//! everything, viewers that pair by the links the agent prints, and an attacker who has all the rights they have.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pinhole::{
    clock,
    signal::{
        Address,
        message::{Offer, ToDevice, ToViewer},
        viewer::ViewerSession,
    },
};
use serde_json::Value;
use tokio::{net::TcpStream, task::block_in_place, time::timeout};

use super::proxy::Proxy;
use crate::{
    broker_support::{PATIENCE, RawClient, publish},
    mqtt_support::{Folder, Mosquitto, free_port},
    peer::viewer::Viewer,
    people::Paired,
};

/// What the owner called things. No broker must ever see these.
pub const DEVICE_NAME: &str = "Zwiebelhof south gate";
pub const CAMERA_ID: &str = "quincecam";
pub const CAMERA_NAME: &str = "Quince orchard";
pub const TURN_USER: &str = "medlar-user";
pub const TURN_PASSWORD: &str = "medlar-password-51d0";

pub struct House {
    pub proxy: Proxy,
    /// Where mosquitto takes TCP, and WebSockets.
    pub at: SocketAddr,
    websocket: u16,
    mosquitto: Option<Mosquitto>,
    agent: Child,
    folder: Folder,
}

impl House {
    pub async fn new() -> Self {
        let (port, websocket) = (free_port(), free_port());
        let mosquitto = Some(start_mosquitto(port, websocket).await);
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let proxy = Proxy::start(at).await;
        let folder = Folder::new();
        let broker = format!(
            "url = \"mqtt://{}\"\npage_url = \"ws://127.0.0.1:{websocket}/mqtt\"\nembedded = false",
            proxy.at
        );
        folder.write("pinhole.toml", &config(&broker));
        let agent = block_in_place(|| start_agent(&folder));
        let house = Self { proxy, at, websocket, mosquitto, agent, folder };
        house.proxy.wait_for("the device is online", |message| message.topic.ends_with("/status")).await;
        house
    }

    /// Without mosquitto: viewers come by the embedded broker.
    pub async fn alone() -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let proxy = Proxy::start(at).await;
        let folder = Folder::new();
        folder.write("pinhole.toml", &config(""));
        let agent = block_in_place(|| start_agent(&folder));
        Self { proxy, at, websocket: 0, mosquitto: None, agent, folder }
    }

    /// As a power cut would, and then as a boot.
    pub fn restart(&mut self) {
        block_in_place(|| {
            self.agent.kill().expect("it runs");
            self.agent.wait().expect("it ends");
            self.agent = start_agent(&self.folder);
        });
    }

    pub async fn stop_broker(&mut self) {
        self.mosquitto.take().expect("it runs").kill().await;
    }

    pub async fn start_broker(&mut self) {
        self.mosquitto = Some(start_mosquitto(self.at.port(), self.websocket).await);
    }

    /// What a command of the owner prints.
    pub fn says(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
        command
            .args(arguments)
            .arg("--state")
            .arg(self.folder.0.join("state"))
            .env_remove("RUNTIME_DIRECTORY");
        let output = block_in_place(|| command.stdin(Stdio::null()).output()).expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn viewers(&self) -> Vec<Value> {
        serde_json::from_str(&self.says(&["viewers", "--json"])).expect("a list")
    }

    /// How many sessions have a picture.
    pub fn watching(&self) -> usize {
        self.viewers().iter().map(|viewer| viewer["watching"].as_array().map_or(0, Vec::len)).sum()
    }

    /// Waits until so many have a picture in the device's own eyes: the first packet is a little ahead of that.
    pub async fn until_watching(&self, count: usize) {
        let waiting = async {
            while self.watching() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("the device has noticed in time");
    }

    /// A link for one viewer.
    pub fn link(&self) -> String {
        let said = self.says(&["pair", "--role", "control"]);
        said.lines().next().and_then(|line| line.strip_prefix("Watch: ")).expect("a link").to_owned()
    }

    pub async fn paired(&self, name: &str) -> Paired {
        Paired::by(&self.link(), name).await
    }

    /// What the agent has logged above DEBUG.
    pub fn loud(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.0.join("log")).expect("text");
        let loud = |line: &&str| ["INFO", "WARN", "ERROR"].iter().any(|level| line.contains(level));
        log.lines().filter(loud).map(str::to_owned).collect()
    }

    /// Nothing was logged above DEBUG after the first `known` lines: no camera was opened, either.
    pub fn assert_quiet_since(&self, known: usize) {
        let said = self.loud();
        assert!(said.len() == known, "{:?}", &said[known..]);
    }

    /// Resident memory of the agent, in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.id())).expect("it runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has some");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Processor time the agent has used so far, in steps of 10 ms.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.agent.id())).expect("it runs");
        let (_, rest) = stat.rsplit_once(") ").expect("the name stands in brackets");
        // utime and stime (proc(5)), in hundredths of a second on every Linux of ours.
        let ticks: u64 = rest.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Somebody else with all rights on the broker.
    pub async fn attacker(&self, name: &str) -> RawClient<TcpStream> {
        RawClient::connected(TcpStream::connect(self.at).await.expect("mosquitto runs"), name, 5).await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.0.join("log")).unwrap_or_default();
            eprintln!("the agent said:\n{log}");
        }
    }
}

async fn start_mosquitto(port: u16, websocket: u16) -> Mosquitto {
    Mosquitto::start(&format!(
        "allow_anonymous true\nmax_queued_messages 0\nlistener {port} 127.0.0.1\nlistener {websocket} 127.0.0.1\n\
         protocol websockets"
    ))
    .await
}

fn config(broker: &str) -> String {
    format!(
        r#"
name = "{DEVICE_NAME}"
state_dir = "state"
[camera]
id = "{CAMERA_ID}"
name = "{CAMERA_NAME}"
source = "synthetic"
size = "320x240"
fps = 15
[web]
listen = "127.0.0.1:0"
[broker]
{broker}
[[webrtc.ice_server]]
urls = ["turn:127.0.0.1:9"]
username = "{TURN_USER}"
credential = "{TURN_PASSWORD}"
"#
    )
}

fn start_agent(folder: &Folder) -> Child {
    let log = File::options().create(true).append(true).open(folder.0.join("log")).expect("a file");
    let mut agent = Command::new(env!("CARGO_BIN_EXE_pinhole"))
        .arg("--config")
        .arg(folder.0.join("pinhole.toml"))
        .args(["--log", "info"])
        .env_remove("RUNTIME_DIRECTORY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(agent.stdout.take().expect("it is piped")).read_line(&mut line).expect("it speaks");
    while UnixStream::connect(folder.0.join("state/control.sock")).is_err() {
        assert!(agent.try_wait().expect("its state").is_none(), "it runs");
        clock::pause(Duration::from_millis(10));
    }
    agent
}

/// Publishes with QoS 1 and waits until mosquitto has it: what is published after that comes after it.
pub async fn put(attacker: &mut RawClient<TcpStream>, topic: &str, payload: &[u8]) {
    attacker.write(&publish(5, topic, payload, Some(9), false)).await;
    attacker.read_kind(0x40).await;
}

/// The same for a message that the broker keeps.
pub async fn put_retained(attacker: &mut RawClient<TcpStream>, topic: &str, payload: &[u8]) {
    attacker.write(&publish(5, topic, payload, Some(9), true)).await;
    attacker.read_kind(0x40).await;
}

pub fn topics(viewer: &Paired) -> Address {
    Address::new(&viewer.link.root, viewer.link.device).expect("a root")
}

/// Says hello and gets an answer: the device has been through everything that came before.
pub async fn greet(viewer: &mut Paired) -> ViewerSession {
    let mut session = viewer.hello().await;
    let answer = viewer.next(&mut session).await;
    assert!(matches!(answer, ToViewer::Welcome(_)), "{answer:?}");
    session
}

/// The same for a viewer that asks again when its hello was lost, as the page does: so soon after a flood it may be.
pub async fn greet_patiently(viewer: &mut Paired) -> ViewerSession {
    let asked = async {
        loop {
            let mut session = viewer.hello().await;
            if let Ok(answer) = timeout(Duration::from_millis(300), viewer.next(&mut session)).await {
                assert!(matches!(answer, ToViewer::Welcome(_)), "{answer:?}");
                break session;
            }
        }
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}

/// Goes on in a session until there is a picture.
pub async fn watch(viewer: &mut Paired, session: &mut ViewerSession) -> Viewer {
    let mut peer = Viewer::guarded("127.0.0.1").await;
    let offer = Offer { camera: CAMERA_ID.into(), sdp: peer.offer().await, audio: false, talk: false };
    viewer.mail.send(session.seal(&ToDevice::Offer(offer)).expect("it fits")).await.expect("the broker");
    loop {
        match viewer.next(session).await {
            ToViewer::Answer { sdp } => break peer.take(&sdp).await,
            ToViewer::Candidate(_) => {}
            other => panic!("{other:?}"),
        }
    }
    timeout(PATIENCE, peer.access_units(1)).await.expect("a picture");
    peer
}

/// A paired viewer is served as if nothing had happened.
pub async fn assert_served(viewer: &mut Paired) {
    let mut session = greet(viewer).await;
    let peer = watch(viewer, &mut session).await;
    let bye = session.seal(&ToDevice::Bye { reason: "seen".into() }).expect("it fits");
    viewer.mail.send(bye).await.expect("the broker");
    peer.close().await;
}
