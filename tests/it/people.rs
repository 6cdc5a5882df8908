//! Pairing, listing and revoking viewers of a running agent: the program itself on both sides of the control socket,
//! and viewers that pair by the links it prints.

mod limits;
pub mod mail;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use pinhole::{
    clock,
    signal::{
        keys::ViewerRecord,
        link::Link,
        message::{ByeReason, ErrorCode, Offer, Role, ToDevice, ToViewer},
        topic::{Address, DeviceNonce},
        viewer::{ViewerSession, new_session},
    },
};
use serde_json::Value;
use tokio::{task::block_in_place, time::timeout};

use crate::peer::viewer::Viewer;
use mail::{Mail, PATIENCE, address};

/// A running agent with a state folder of its own; both go when the test ends.
struct Agent {
    child: Child,
    folder: PathBuf,
}

impl Agent {
    /// Starts it, and waits until it takes commands.
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pinhole-people-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let mut agent = Self { child: Self::spawn(&folder), folder };
        agent.wait();
        agent
    }

    fn spawn(folder: &PathBuf) -> Child {
        Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(["--listen", "127.0.0.1:0", "--camera", "synthetic", "--size", "320x240", "--fps", "5"])
            .args(["--log", "warn"])
            .arg("--state")
            .arg(folder)
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    fn wait(&mut self) {
        let mut line = String::new();
        let stdout = self.child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says something");
        assert!(line.starts_with("Watch: http://127.0.0.1:"), "{line}");
        while UnixStream::connect(self.socket()).is_err() {
            assert!(self.child.try_wait().expect("its state").is_none(), "it runs");
            clock::pause(Duration::from_millis(10));
        }
    }

    /// As a crash would: nothing is tidied up.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(&self.folder);
        self.wait();
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(arguments)
            .arg("--state")
            .arg(&self.folder)
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::null())
            .output()
            .expect("it runs")
    }

    /// What a command prints that succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    /// What a command says that fails.
    fn refuses(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments);
        let said = String::from_utf8(stderr).expect("text");
        assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{said}");
        said.strip_prefix("pinhole: ").expect("it says who speaks").trim_end().to_owned()
    }

    fn viewers(&self) -> Vec<Value> {
        serde_json::from_str(&self.says(&["viewers", "--json"])).expect("a list")
    }

    /// The first link that `pinhole pair` prints.
    fn link(&self, arguments: &[&str]) -> String {
        let said = self.says(&[&["pair"], arguments].concat());
        let line = said.lines().next().expect("a line");
        line.strip_prefix("Watch: ").expect("a link").to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A viewer that was paired by a link.
pub struct Paired {
    pub mail: Mail,
    pub link: Link,
    pub nonce: DeviceNonce,
    pub record: ViewerRecord,
}

impl Paired {
    pub async fn by(url: &str, name: &str) -> Self {
        let (link, broker) = address(url).expect("a link");
        let address = Address::new(&link.root, link.device).expect("a root");
        let mut mail = Mail::connect(&broker, address).await.expect("the broker");
        let nonce = mail.nonce().await.expect("a status");
        let record = mail.pair(link.clone(), nonce, name).await.expect("a key");
        Self { mail, link, nonce, record }
    }

    /// A session that has said hello.
    pub async fn hello(&mut self) -> ViewerSession {
        let mut session = ViewerSession::new(self.link.device, &self.record, new_session(), self.nonce);
        self.mail.listen(session.id()).await.expect("the broker");
        let hello = session.seal(&ToDevice::Hello).expect("it fits");
        self.mail.send(hello).await.expect("the broker");
        session
    }

    /// Waits for the answer to the offer that was sent, and for a picture.
    pub async fn see(&mut self, session: &mut ViewerSession, peer: &mut Viewer) {
        loop {
            match self.next(session).await {
                ToViewer::Answer { sdp } => break peer.take(&sdp).await,
                ToViewer::Candidate(_) => {}
                other => panic!("{other:?}"),
            }
        }
        timeout(PATIENCE, peer.access_units(1)).await.expect("a picture");
    }

    pub async fn next(&mut self, session: &mut ViewerSession) -> ToViewer {
        loop {
            if let Some(message) = session.open(&self.mail.next().await.expect("an answer")) {
                return message;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_paired_listed_and_cut_off() {
    let agent = Agent::start("whole");
    assert_eq!(agent.says(&["viewers"]), "nobody is paired; pinhole pair prints links\n");
    let url = agent.link(&["--role", "control", "--name", "Kitchen"]);
    let mut viewer = Paired::by(&url, "what it calls itself").await;
    assert_eq!((viewer.record.role, viewer.record.name.as_str()), (Role::Control, "Kitchen"));

    let mut session = viewer.hello().await;
    let ToViewer::Welcome(welcome) = viewer.next(&mut session).await else { panic!("no welcome") };
    assert_eq!(welcome.role, Role::Control);
    let mut peer = Viewer::guarded("127.0.0.1").await;
    let camera = welcome.cameras[0].id.clone();
    let offer = Offer { camera: camera.clone(), sdp: peer.offer().await, audio: false, talk: false };
    viewer.mail.send(session.seal(&ToDevice::Offer(offer)).expect("it fits")).await.expect("the broker");
    viewer.see(&mut session, &mut peer).await;

    let listed = block_in_place(|| agent.viewers());
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "Kitchen");
    assert_eq!(listed[0]["role"], "control");
    assert_eq!(listed[0]["key"], viewer.record.id.to_string());
    assert_eq!(listed[0]["watching"], serde_json::json!([camera]));
    assert!(listed[0]["seen_ago_s"].is_u64() && listed[0]["expires_at"].is_null(), "{listed:?}");
    let table = block_in_place(|| agent.says(&["viewers"]));
    assert!(table.lines().nth(1).is_some_and(|row| row.starts_with("Kitchen  control")), "{table}");

    let status: Value = serde_json::from_str(&block_in_place(|| agent.says(&["status", "--json"]))).unwrap();
    assert_eq!(status["cameras"][0]["id"], camera.as_str());
    assert_eq!(status["cameras"][0]["state"], "streaming");
    assert_eq!(status["cameras"][0]["picture"]["width"], 320);
    assert_eq!(status["cameras"][0]["counters"]["viewers"], 1);
    assert_eq!(status["signaling"]["people"][0]["watching"], serde_json::json!([camera]));
    assert_eq!(status["signaling"]["carriers"][0]["up"], true);
    let shown = block_in_place(|| agent.says(&["status"]));
    assert!(shown.contains("1 viewer") && shown.contains(&format!("  Kitchen  {camera}\n")), "{shown}");

    // One that has said hello and no more is told, too.
    let mut second = viewer.hello().await;
    assert!(matches!(viewer.next(&mut second).await, ToViewer::Welcome(_)));
    let said = block_in_place(|| agent.says(&["revoke", "Kitchen"]));
    assert_eq!(said, format!("Kitchen ({}) is revoked\n", viewer.record.id));
    let mut told = Vec::new();
    while told.len() < 2 {
        let envelope = viewer.mail.next().await.expect("a bye");
        told.extend([&mut session, &mut second].into_iter().filter_map(|session| session.open(&envelope)));
        told.retain(|message| !matches!(message, ToViewer::Candidate(_)));
    }
    assert!(told.iter().all(|message| *message == ToViewer::Bye { reason: ByeReason::Revoked }), "{told:?}");
    assert!(block_in_place(|| agent.viewers()).is_empty());

    // On the same connection, so in this order: the revoked key asks, and another one does. Only that is answered.
    let url = block_in_place(|| agent.link(&[]));
    let record =
        viewer.mail.pair(address(&url).expect("a link").0, viewer.nonce, "new").await.expect("a key");
    let mut refused = viewer.hello().await;
    viewer.record = record;
    let mut welcomed = viewer.hello().await;
    loop {
        let envelope = viewer.mail.next().await.expect("an answer");
        assert_eq!(refused.open(&envelope), None);
        if let Some(message) = welcomed.open(&envelope) {
            assert!(matches!(message, ToViewer::Welcome(_)), "{message:?}");
            break;
        }
    }
    peer.close().await;
    viewer.mail.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_roles_and_times_are_as_the_owner_says() {
    let mut agent = Agent::start("names");
    let said = agent.says(&["pair", "--expires", "7d"]);
    let urls: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("Watch: ")).collect();
    assert_eq!(urls.len(), said.lines().count(), "a program gets links alone");
    let first = Paired::by(urls[0], "Phone").await;
    assert_eq!((first.record.role, first.record.name.as_str()), (Role::View, "Phone"));
    let second = Paired::by(&block_in_place(|| agent.link(&["--role", "admin"])), "Phone").await;
    assert_eq!(second.record.role, Role::Admin);

    let today = clock::since_epoch().as_secs();
    let listed = block_in_place(|| agent.viewers());
    let expires = listed[0]["expires_at"].as_u64().expect("a time");
    assert!((today + 604_000..=today + 604_800).contains(&expires), "{expires} of {today}");
    assert!(listed[1]["expires_at"].is_null());

    let said = block_in_place(|| agent.refuses(&["revoke", "Phone"]));
    assert!(said.starts_with("2 viewers are called `Phone`: name one by its key\n"), "{said}");
    let keys = [first.record.id.to_string(), second.record.id.to_string()];
    assert!(keys.iter().all(|key| said.contains(key)), "{said}");
    let said = block_in_place(|| agent.refuses(&["revoke", "Anna"]));
    assert_eq!(said, "there is no viewer `Anna`: pinhole viewers lists all, with their keys");
    block_in_place(|| agent.says(&["revoke", &keys[1]]));

    block_in_place(|| agent.restart());
    let listed = block_in_place(|| agent.viewers());
    assert_eq!((listed.len(), listed[0]["key"].as_str()), (1, Some(keys[0].as_str())));
    assert_eq!(listed[0]["expires_at"].as_u64(), Some(expires));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_expires_is_cut_off_and_forgotten() {
    let agent = Agent::start("expiry");
    let url = agent.link(&["--expires", "5s", "--name", "Guest"]);
    let mut guest = Paired::by(&url, "").await;
    let mut session = guest.hello().await;
    assert!(matches!(guest.next(&mut session).await, ToViewer::Welcome(_)));
    assert_eq!(guest.next(&mut session).await, ToViewer::Bye { reason: ByeReason::Revoked });
    assert!(block_in_place(|| agent.viewers()).is_empty());
}

#[test]
fn without_an_agent_the_remedy_is_named() {
    let mut agent = Agent::start("down");
    agent.kill();
    assert!(agent.socket().exists(), "a crash leaves its socket");
    for arguments in [&["pair"][..], &["viewers"], &["revoke", "x"]] {
        let said = agent.refuses(arguments);
        assert!(said.starts_with("no pinhole is running here: ") && said.contains("--state"), "{said}");
        assert!(said.contains(&agent.socket().display().to_string()), "{said}");
    }
    agent.restart();
    assert_eq!(agent.viewers().len(), 0, "the dead agent's socket was replaced");
    let mode = fs::metadata(agent.socket()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_service_has_its_socket_in_its_runtime_folder() {
    let mut agent = Agent::start("service");
    agent.kill();
    fs::remove_file(agent.socket()).expect("it was left");
    let runtime = agent.folder.join("run");
    fs::create_dir(&runtime).expect("a folder");
    let environment = |mut command: Command| {
        command.arg("--state").arg(&agent.folder).env("RUNTIME_DIRECTORY", &runtime).stdin(Stdio::null());
        command
    };
    let mut command = environment(Command::new(env!("CARGO_BIN_EXE_pinhole")));
    command.args(["--listen", "127.0.0.1:0", "--camera", "synthetic", "--log", "warn"]);
    agent.child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    while UnixStream::connect(runtime.join("control.sock")).is_err() {
        assert!(agent.child.try_wait().expect("its state").is_none(), "it runs");
        clock::pause(Duration::from_millis(10));
    }
    assert!(!agent.socket().exists());
    let mut command = environment(Command::new(env!("CARGO_BIN_EXE_pinhole")));
    assert!(command.arg("viewers").output().expect("it runs").status.success());
    let id = agent.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill exists").success());
    assert!(agent.child.wait().expect("it ends").success());
    assert_eq!(fs::read_dir(&runtime).expect("it is there").count(), 0, "nothing is left");
}

#[test]
fn nonsense_on_the_socket_is_refused_and_harms_nothing() {
    let agent = Agent::start("nonsense");
    for (sent, words) in [
        (&b"{}\n"[..], "means nothing"),
        (b"", "means nothing"),
        (&[b'x'; 49_153], "longer than 49152"),
        (br#"{"do":"pair","role":"view","lifetime_s":0}"#, "one second"),
    ] {
        let mut stream = UnixStream::connect(agent.socket()).expect("it listens");
        stream.write_all(sent).expect("it reads");
        stream.shutdown(Shutdown::Write).expect("its end");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it answers");
        assert!(reply.starts_with(r#"{"error":"#) && reply.contains(words), "{reply}");
    }
    // More than are served at once, and all of them silent: the next is served when their time is over.
    let silent: Vec<_> = (0..12).map(|_| UnixStream::connect(agent.socket()).expect("it listens")).collect();
    assert_eq!(agent.viewers().len(), 0);
    drop(silent);
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_pinhole")).args(arguments).output().expect("it runs")
    };
    for (arguments, words) in [
        (&["pair", "--role", "owner"][..], "view, control, admin"),
        (&["pair", "--expires", "soon"], "7d or 12h"),
        (&["pair", "--name", " a"], "1 to 64 characters"),
        (&["revoke"], "KEY|NAME"),
    ] {
        let Output { status, stderr, .. } = run(arguments);
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn privacy_closes_the_camera_ends_sessions_and_outlives_a_restart() {
    let mut agent = Agent::start("privacy");
    let url = agent.link(&["--name", "Kitchen"]);
    let mut viewer = Paired::by(&url, "what it calls itself").await;
    let mut session = viewer.hello().await;
    let ToViewer::Welcome(welcome) = viewer.next(&mut session).await else { panic!("no welcome") };
    let mut peer = Viewer::guarded("127.0.0.1").await;
    let offer =
        Offer { camera: welcome.cameras[0].id.clone(), sdp: peer.offer().await, audio: false, talk: false };
    viewer
        .mail
        .send(session.seal(&ToDevice::Offer(offer.clone())).expect("it fits"))
        .await
        .expect("the broker");
    viewer.see(&mut session, &mut peer).await;

    let on = "privacy is on: the cameras are closed, and nobody is let in\n";
    assert_eq!(block_in_place(|| agent.says(&["privacy", "on"])), on);
    loop {
        match viewer.next(&mut session).await {
            ToViewer::Bye { reason } => break assert_eq!(reason, ByeReason::Privacy),
            ToViewer::Candidate(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let status: Value = serde_json::from_str(&block_in_place(|| agent.says(&["status", "--json"]))).unwrap();
    assert_eq!((&status["privacy"], &status["cameras"][0]["state"]), (&"on".into(), &"private".into()));
    let mut second = viewer.hello().await;
    assert!(matches!(viewer.next(&mut second).await, ToViewer::Welcome(_)));
    viewer.mail.send(second.seal(&ToDevice::Offer(offer)).expect("it fits")).await.expect("the broker");
    let refusal = viewer.next(&mut second).await;
    assert!(matches!(refusal, ToViewer::Error { code: ErrorCode::Privacy, .. }), "{refusal:?}");

    block_in_place(|| agent.restart());
    assert_eq!(block_in_place(|| agent.says(&["privacy"])), on);
    let picture = agent.folder.join("picture.jpg");
    let snapshot = ["snapshot", "--out", picture.to_str().expect("UTF-8")];
    let said = block_in_place(|| agent.refuses(&snapshot));
    assert!(said.contains("turned off for privacy"), "{said}");
    assert_eq!(block_in_place(|| agent.says(&["privacy", "off"])), "privacy is off\n");
    block_in_place(|| agent.says(&snapshot));
    assert!(picture.metadata().expect("a picture").len() > 1000);
}
