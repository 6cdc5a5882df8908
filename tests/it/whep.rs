//! WHEP over real HTTP: a device with a synthetic camera, and viewers on real sockets that know only HTTP.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use pinhole::{
    clock,
    config::Listen,
    listen,
    peer::{self, PeerSettings, ice::IceServers, registry, sdp::ice_credentials, session::Phase},
    pipeline::{CameraHandle, CameraState, Pipeline},
    signal::{
        desk::Desk,
        door::Doorbell,
        exchange::{Command, Exchange, PeersEnded},
        keys::{self, KeyStore},
        message::{IceServer, Role},
        people::{self, NotRevoked, Person},
        whep::token::Token,
    },
    tasks,
    web::{self, WebSettings, whep::Whep},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{peer::viewer::Viewer, peers::porch};

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

/// A device whose only door is WHEP.
struct Device {
    at: SocketAddr,
    commands: mpsc::Sender<Command>,
    viewers: watch::Receiver<Vec<registry::Viewer>>,
    camera: CameraHandle,
    pipeline: Pipeline,
    exchange: JoinHandle<Result<(), PeersEnded>>,
    web: JoinHandle<()>,
    cancel: CancellationToken,
    folder: PathBuf,
}

impl Device {
    async fn new(name: &str) -> Self {
        Self::with(name, |_| {}).await
    }

    async fn with(name: &str, change: impl FnOnce(&mut PeerSettings)) -> Self {
        let folder = std::env::temp_dir().join(format!("pinhole-whep-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self::open(folder, change).await
    }

    /// On a state folder that may be of an earlier one.
    async fn open(folder: PathBuf, change: impl FnOnce(&mut PeerSettings)) -> Self {
        let (camera, pipeline, mut settings) = porch();
        change(&mut settings);
        let store = KeyStore::open(&folder).unwrap();
        let (to_viewers, from_peers) = mpsc::channel(64);
        let peers = peer::start(settings, vec![camera.clone()], to_viewers);
        let viewers = peers.viewers();
        let desk = Desk::new(
            store.device(),
            people::good(store.viewers(), clock::since_epoch()),
            Box::new(keys::random),
            clock::now(),
        );
        let (commands, queue) = mpsc::channel(8);
        let (doorbell, doors) = Doorbell::new();
        let exchange =
            Exchange { desk, store, carriers: Vec::new(), peers, from_peers, commands: queue, doors };
        let exchange = tasks::spawn("exchange", exchange.run());
        let listener = listen::bind(Listen::At("127.0.0.1:0".parse().unwrap()), "--listen").await.unwrap();
        let at = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let settings = WebSettings { whep: Some(Whep::new(doorbell)), ..WebSettings::default() };
        let web = web::serve(listener, settings, None, cancel.clone());
        Self { at, commands, viewers, camera, pipeline, exchange, web, cancel, folder }
    }

    async fn command<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.unwrap();
        within("the command's answer", answer).await.unwrap()
    }

    async fn token(&self, name: &str) -> Token {
        let make = |reply| Command::MakeToken { role: Role::View, name: name.into(), lifetime: None, reply };
        self.command(make).await.unwrap()
    }

    async fn people(&self) -> Vec<Person> {
        self.command(|reply| Command::Viewers { reply }).await
    }

    async fn revoke(&self, who: &str) -> Result<Person, NotRevoked> {
        self.command(|reply| Command::Revoke { who: who.into(), reply }).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.at,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        within("an answer", stream.read_to_end(&mut bytes)).await.unwrap();
        Answer::parse(&bytes)
    }

    async fn post(&self, token: &Token, offer: &str) -> Answer {
        let authorization = bearer(token);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/sdp")];
        self.ask("POST", "/whep/front", &headers, offer).await
    }

    async fn patch(&self, token: &Token, at: &str, headers: &[(&str, &str)], fragment: &str) -> Answer {
        let authorization = bearer(token);
        let mut all = vec![
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/trickle-ice-sdpfrag"),
        ];
        all.extend(headers);
        self.ask("PATCH", at, &all, fragment).await
    }

    async fn delete(&self, token: &Token, at: &str) -> Answer {
        self.ask("DELETE", at, &[("Authorization", &bearer(token))], "").await
    }

    /// A viewer with its first picture, and its session's address.
    async fn watch(&self, token: &Token) -> (Viewer, String) {
        let mut viewer = Viewer::guarded("127.0.0.1").await;
        let created = self.post(token, &viewer.offer().await).await;
        assert_eq!(created.status, 201, "{created:?}");
        viewer.take(&created.body).await;
        within("the first picture", viewer.access_units(1)).await;
        (viewer, created.header("location").to_owned())
    }

    async fn wait_for_viewers(&self, count: usize) {
        let mut viewers = self.viewers.clone();
        within("so many viewers", viewers.wait_for(|shown| shown.len() == count)).await.unwrap();
    }

    /// The session is forgotten by HTTP, which follows its end within a moment.
    async fn wait_until_gone(&self, token: &Token, at: &str) {
        let gone = async { while self.patch(token, at, &[("If-Match", "*")], "").await.status != 404 {} };
        within("the session forgotten", gone).await;
    }

    async fn end_sessions(&self) {
        self.command(|done| Command::EndSessions { done }).await;
    }

    async fn stop(self) {
        let _ = self.commands.send(Command::Stop).await;
        within("the end", self.exchange).await.unwrap().unwrap();
        self.cancel.cancel();
        within("the web server's end", self.web).await.unwrap();
        tokio::task::block_in_place(|| self.pipeline.stop());
        std::fs::remove_dir_all(self.folder).unwrap();
    }
}

fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.reveal())
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status, headers: lines.map(field).collect(), body: body.to_owned() }
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The one field of this name.
    fn header(&self, name: &str) -> &str {
        let [value] = self.all(name)[..] else { panic!("one {name}: {self:?}") };
        value
    }

    /// A refusal of this status, as RFC 9457 has it.
    fn is_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        assert_eq!(self.header("access-control-allow-origin"), "*");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_token_watches_until_it_deletes_its_session() {
    let device = Device::new("watch").await;
    let token = device.token("OBS").await;
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let created = device.post(&token, &viewer.offer().await).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created.header("content-type"), "application/sdp");
    assert_eq!(created.header("access-control-allow-origin"), "*");
    assert!(created.header("access-control-expose-headers").contains("Location"));
    assert_eq!(created.header("cache-control"), "no-store");
    let session = created.header("location");
    assert!(session.starts_with("/whep/front/") && session.len() == "/whep/front/".len() + 32, "{session}");
    // The answer is whole: nothing comes after it.
    assert!(
        created.body.contains("\r\na=candidate:") && created.body.contains("\r\na=end-of-candidates\r\n")
    );
    viewer.take(&created.body).await;
    within("pictures", viewer.access_units(10)).await;
    let [person] = &device.people().await[..] else { panic!("one viewer") };
    assert!(person.whep && person.name == "OBS" && person.watching == ["front"], "{person:?}");
    assert_eq!(device.delete(&token, session).await.status, 200);
    device.wait_for_viewers(0).await;
    device.delete(&token, session).await.is_problem(404);
    let mut state = device.camera.state();
    within("the camera closed", state.wait_for(|state| *state == CameraState::Idle)).await.unwrap();
    viewer.close().await;
    device.stop().await;
}

/// As go2rtc has it, whose source is an address: `webrtc:http://whep:TOKEN@HOST/whep/front`.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_come_as_a_password() {
    let device = Device::new("password").await;
    let token = device.token("go2rtc").await;
    let basic =
        |user: &str, password: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let (offer, sdp) = (viewer.offer().await, ("Content-Type", "application/sdp"));
    for wrong in
        [basic("whep", ""), basic(token.reveal(), ""), basic("whep", &format!("{}A", token.reveal()))]
    {
        device.ask("POST", "/whep/front", &[("Authorization", &wrong), sdp], &offer).await.is_problem(401);
    }
    let right = basic("whep", token.reveal());
    let created = device.ask("POST", "/whep/front", &[("Authorization", &right), sdp], &offer).await;
    assert_eq!(created.status, 201, "{created:?}");
    viewer.take(&created.body).await;
    within("pictures", viewer.access_units(3)).await;
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_said_but_that_one_is_needed() {
    let device = Device::new("stranger").await;
    let token = device.token("OBS").await;
    let offer = Viewer::new().await.offer().await;
    let sdp = ("Content-Type", "application/sdp");
    let almost = format!("{}A", bearer(&token));
    for path in ["/whep/front", "/whep/none", "/whep", "/whep/"] {
        for headers in [vec![sdp], vec![sdp, ("Authorization", almost.as_str())]] {
            let refused = device.ask("POST", path, &headers, &offer).await;
            refused.is_problem(401);
            assert!(refused.header("www-authenticate").starts_with("Bearer"));
        }
    }
    let in_the_address = format!("/whep/front?access_token={}", token.reveal());
    let some = device.ask("POST", &in_the_address, &[sdp], &offer).await;
    some.is_problem(401);
    for method in ["PATCH", "DELETE"] {
        let session = "/whep/front/00000000000000000000000000000000";
        let answer = device.ask(method, session, &[], "").await;
        assert!([401, 429].contains(&answer.status), "{answer:?}");
    }
    // Those that go on are told to wait; whoever has a token is not, though it comes from the same address.
    let mut refused = Vec::new();
    for _ in 0..20 {
        refused.push(device.ask("POST", "/whep/front", &[sdp], &offer).await);
    }
    let fast = refused.iter().find(|answer| answer.status == 429).expect("one is too many");
    fast.is_problem(429);
    assert_eq!(fast.header("retry-after"), "1");
    let (viewer, _) = device.watch(&token).await;
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_offer_is_refused_by_its_reason() {
    let device = Device::new("refusals").await;
    let sdp = ("Content-Type", "application/sdp");
    let offer = Viewer::new().await.offer().await;
    let without_h264 = offer.replace("H264/90000", "H266/90000");
    let huge = format!("{offer}{}", "a=x\r\n".repeat(8000));
    let text = ("Content-Type", "text/plain");
    let html = ("Accept", "text/html");
    for (path, headers, body, status) in [
        ("/whep/back", vec![sdp], offer.as_str(), 404),
        ("/whep/front", vec![text], offer.as_str(), 415),
        ("/whep/front", vec![], offer.as_str(), 415),
        ("/whep/front", vec![sdp, html], offer.as_str(), 406),
        ("/whep/front", vec![], "", 400),
        ("/whep/front", vec![sdp], "hello", 400),
        ("/whep/front", vec![sdp], "v=0\r\n", 400),
        ("/whep/front", vec![sdp], huge.as_str(), 413),
        ("/whep/front", vec![sdp], without_h264.as_str(), 422),
    ] {
        // Each by another client, none of which offers too often.
        let authorization = bearer(&device.token("OBS").await);
        let headers: Vec<_> =
            headers.into_iter().chain([("Authorization", authorization.as_str())]).collect();
        device.ask("POST", path, &headers, body).await.is_problem(status);
        device.wait_for_viewers(0).await;
    }
    let authorization = bearer(&device.token("OBS").await);
    let with = ("Authorization", authorization.as_str());
    for (method, path, allowed) in [
        ("GET", "/whep/front", "POST, OPTIONS"),
        ("PUT", "/whep", "POST, OPTIONS"),
        ("GET", "/whep/front/0", "PATCH, DELETE, OPTIONS"),
        ("POST", "/whep/front/0", "PATCH, DELETE, OPTIONS"),
    ] {
        let refused = device.ask(method, path, &[with], "").await;
        refused.is_problem(405);
        assert_eq!(refused.header("allow"), allowed);
    }
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_may_ask_what_it_may_do() {
    let device = Device::new("cors").await;
    let preflight = [
        ("Origin", "https://player.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let asked = device.ask("OPTIONS", "/whep/front", &preflight, "").await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.header("access-control-allow-origin"), "*");
    assert!(asked.header("access-control-allow-methods").contains("POST"));
    assert!(asked.header("access-control-allow-headers").contains("Authorization"));
    assert_eq!(asked.header("accept-post"), "application/sdp");
    let asked = device.ask("OPTIONS", "/whep/front/0", &preflight, "").await;
    assert!(asked.header("access-control-allow-methods").contains("PATCH"));
    assert_eq!(asked.header("accept-patch"), "application/trickle-ice-sdpfrag");
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_camera_needs_no_name_and_a_proxy_may_have_a_prefix() {
    let device = Device::new("first").await;
    let token = device.token("OBS").await;
    let authorization = bearer(&token);
    for (path, prefix) in [("/whep", ""), ("/whep/", "/garden")] {
        let mut viewer = Viewer::guarded("127.0.0.1").await;
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/sdp"),
            ("X-Forwarded-Prefix", prefix),
        ];
        let created = device.ask("POST", path, &headers, &viewer.offer().await).await;
        assert_eq!(created.status, 201, "{created:?}");
        let start = format!("{prefix}/whep/front/");
        assert!(created.header("location").starts_with(&start), "{created:?}");
        viewer.take(&created.body).await;
        within("a picture", viewer.access_units(1)).await;
        viewer.close().await;
    }
    device.stop().await;
}

/// Without its candidates, as a client offers that trickles; and those.
fn trickled(offer: &str) -> (String, Vec<&str>) {
    let candidates: Vec<&str> = offer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    let kept = offer.lines().filter(|line| !candidates.contains(line) && *line != "a=end-of-candidates");
    (kept.map(|line| format!("{line}\r\n")).collect(), candidates)
}

fn fragment(offer: &str, candidates: &[&str]) -> String {
    let (ufrag, password) = ice_credentials(offer).unwrap();
    let lines: String = candidates.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{lines}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_come_by_patch_to_the_ice_session_they_name() {
    let device = Device::new("trickle").await;
    let (token, other) = (device.token("OBS").await, device.token("VLC").await);
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let whole = viewer.offer().await;
    let (offer, candidates) = trickled(&whole);
    assert!(!candidates.is_empty());
    let created = device.post(&token, &offer).await;
    let (at, tag) = (created.header("location").to_owned(), created.header("etag").to_owned());
    let body = fragment(&offer, &candidates);
    let stale = device.patch(&token, &at, &[("If-Match", "\"other\"")], &body).await;
    stale.is_problem(412);
    device.patch(&token, &at, &[], "a=end-of-candidates\r\n").await.is_problem(428);
    device.patch(&token, &at, &[("If-Match", &tag)], "what?").await.is_problem(400);
    device.patch(&other, &at, &[("If-Match", &tag)], &body).await.is_problem(404);
    device.delete(&other, &at).await.is_problem(404);
    let sdp = [("Authorization", &*bearer(&token)), ("Content-Type", "application/sdp"), ("If-Match", &tag)];
    device.ask("PATCH", &at, &sdp, &body).await.is_problem(415);
    let done = device.patch(&token, &at, &[("If-Match", &tag)], &body).await;
    assert_eq!((done.status, done.body.as_str()), (204, ""));
    // Some clients send no tag. Theirs is known by its credentials.
    let end = fragment(&offer, &["a=end-of-candidates"]);
    assert_eq!(device.patch(&token, &at, &[], &end).await.status, 204);
    viewer.take(&created.body).await;
    within("a picture", viewer.access_units(1)).await;
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ice_restarts_by_patch_and_the_picture_goes_on() {
    let device = Device::new("restart").await;
    let token = device.token("OBS").await;
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let created = device.post(&token, &viewer.offer().await).await;
    let at = created.header("location").to_owned();
    viewer.take(&created.body).await;
    within("a picture", viewer.access_units(1)).await;
    let offer = viewer.restart_offer().await;
    let (_, candidates) = trickled(&offer);
    let restarted = device.patch(&token, &at, &[("If-Match", "*")], &fragment(&offer, &candidates)).await;
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_eq!(restarted.header("content-type"), "application/trickle-ice-sdpfrag");
    assert_ne!(restarted.header("etag"), created.header("etag"));
    assert!(restarted.body.contains("a=candidate:") && restarted.body.contains("a=end-of-candidates"));
    let (old, new) = (ice_credentials(&created.body).unwrap(), ice_credentials(&restarted.body).unwrap());
    assert_ne!(old, new);
    // What a client makes of it: the answer it has, with the new credentials and candidates.
    let candidates: String = restarted
        .body
        .lines()
        .filter(|line| line.starts_with("a=candidate:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let (answer, _) = trickled(&created.body);
    let answer = answer
        .replace(old.0, new.0)
        .replace(&format!("a=ice-pwd:{}\r\n", old.1), &format!("a=ice-pwd:{}\r\n{candidates}", new.1));
    viewer.take(&answer).await;
    within("pictures after the restart", viewer.access_units(60)).await;
    // The tag of before is of an ICE session that is over.
    let late = device.patch(&token, &at, &[("If-Match", created.header("etag"))], "").await;
    late.is_problem(412);
    assert_eq!(device.patch(&token, &at, &[("If-Match", restarted.header("etag"))], "").await.status, 204);
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_is_cut_off_and_its_token_is_good_no_more() {
    let device = Device::new("revoked").await;
    let (token, other) = (device.token("OBS").await, device.token("VLC").await);
    let (viewer, at) = device.watch(&token).await;
    let (mut stays, _) = device.watch(&other).await;
    let started = clock::now();
    assert_eq!(device.revoke("OBS").await.unwrap().name, "OBS");
    device.wait_for_viewers(1).await;
    assert!(clock::now() - started < Duration::from_secs(5));
    device.delete(&token, &at).await.is_problem(401);
    device.post(&token, &Viewer::new().await.offer().await).await.is_problem(401);
    within("the other's pictures", stays.access_units(40)).await;
    viewer.close().await;
    stays.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_kept_as_hashes_and_are_good_after_a_restart() {
    let device = Device::new("kept").await;
    let token = device.token("OBS").await;
    let file = std::fs::read_to_string(device.folder.join("viewers.json")).unwrap();
    assert!(!file.contains(token.reveal()) && file.contains(&token.hash().to_text()), "{file}");
    let folder = device.folder.clone();
    let copy = folder.with_extension("copy");
    std::fs::create_dir(&copy).unwrap();
    for name in ["device.json", "viewers.json"] {
        std::fs::copy(folder.join(name), copy.join(name)).unwrap();
    }
    device.stop().await;
    let again = Device::open(copy, |_| {}).await;
    let (viewer, _) = again.watch(&token).await;
    viewer.close().await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_by_itself_and_so_do_its_sessions() {
    let device = Device::new("expires").await;
    let lifetime = Some(Duration::from_secs(4));
    let make = |reply| Command::MakeToken { role: Role::View, name: "OBS".into(), lifetime, reply };
    let token = device.command(make).await.unwrap();
    let (viewer, at) = device.watch(&token).await;
    device.wait_for_viewers(0).await;
    device.delete(&token, &at).await.is_problem(401);
    assert_eq!(device.people().await, []);
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_places_are_taken_the_next_is_told_to_wait() {
    let device = Device::with("full", |settings| settings.max_viewers = 1).await;
    let (token, other) = (device.token("OBS").await, device.token("VLC").await);
    let (viewer, at) = device.watch(&token).await;
    let refused = device.post(&other, &Viewer::new().await.offer().await).await;
    refused.is_problem(503);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    device.delete(&token, &at).await;
    device.wait_for_viewers(0).await;
    let (next, _) = device.watch(&other).await;
    viewer.close().await;
    next.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_are_limited_as_those_of_any_viewer() {
    let device = Device::new("rate").await;
    let token = device.token("OBS").await;
    // No fingerprint: each is refused at once, and counts.
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(device.post(&token, "v=0\r\n").await.status);
    }
    assert!(statuses.contains(&400) && statuses.contains(&429), "{statuses:?}");
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_connects_and_who_goes_silently_is_forgotten() {
    let device =
        Device::with("silent", |settings| settings.timings.connect = Duration::from_millis(500)).await;
    let token = device.token("OBS").await;
    let created = device.post(&token, &Viewer::new().await.offer().await).await;
    assert_eq!(created.status, 201);
    device.wait_until_gone(&token, created.header("location")).await;
    device.wait_for_viewers(0).await;
    let (viewer, at) = device.watch(&token).await;
    let mut viewers = device.viewers.clone();
    within("a connected one", viewers.wait_for(|all| all.iter().any(|one| one.phase == Phase::Connected)))
        .await
        .unwrap();
    // As a viewer whose page is closed.
    viewer.close().await;
    device.wait_until_gone(&token, &at).await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_for_ice_are_told_with_their_account() {
    let device = Device::with("ice", |settings| {
        settings.ice = IceServers::fixed(vec![
            IceServer { urls: vec!["stun:127.0.0.1:9".into()], username: None, credential: None },
            IceServer {
                urls: vec!["turn:127.0.0.1:9?transport=tcp".into()],
                username: Some("anna".into()),
                credential: Some("pa\"ss".into()),
            },
        ]);
    })
    .await;
    let token = device.token("OBS").await;
    let created = device.post(&token, &Viewer::new().await.offer().await).await;
    assert_eq!(created.status, 201);
    assert_eq!(
        created.all("link"),
        [
            "<stun:127.0.0.1:9>; rel=\"ice-server\"",
            "<turn:127.0.0.1:9?transport=tcp>; rel=\"ice-server\"; username=\"anna\"; \
             credential=\"pa\\\"ss\"; credential-type=\"password\""
        ]
    );
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_stops_ends_its_sessions_and_takes_no_more() {
    let device = Device::new("stop").await;
    let token = device.token("OBS").await;
    let (viewer, at) = device.watch(&token).await;
    within("good-bye", device.end_sessions()).await;
    device.wait_until_gone(&token, &at).await;
    device.post(&token, &Viewer::new().await.offer().await).await.is_problem(503);
    viewer.close().await;
    device.stop().await;
}
