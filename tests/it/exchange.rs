//! The task between carriers and sessions, with carriers that are channels and viewers that seal for themselves.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use pinhole::{
    clock,
    peer::{self, PeerSettings, ice::IceServers, rtc::RtcSettings, session::Timings},
    signal::{
        Carrier, CarrierEvent, Outgoing,
        desk::{Desk, MAX_SESSIONS},
        door::Doorbell,
        exchange::{Command, Exchange, PeersEnded},
        keys::{self, KeyStore, ViewerRecord},
        link::{Link, PairingSecret},
        message::{ByeReason, ErrorCode, Offer, Role, ToDevice, ToViewer},
        topic::{DeviceId, DeviceNonce, SessionId},
        viewer::{Status, ViewerPairing, ViewerSession, new_session},
    },
    tasks,
};
use tokio::sync::{mpsc, oneshot};

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

/// The network's end of a carrier.
struct Line {
    events: mpsc::Sender<CarrierEvent>,
    outgoing: mpsc::Receiver<Outgoing>,
}

impl Line {
    fn new(name: &str) -> (Self, Carrier) {
        let (events, events_out) = mpsc::channel(64);
        let (outgoing, outgoing_out) = mpsc::channel(64);
        let task = tasks::spawn("carrier", async {});
        let carrier = Carrier { name: name.to_owned(), events: events_out, outgoing, task };
        (Self { events, outgoing: outgoing_out }, carrier)
    }

    async fn bring(&self, event: CarrierEvent) {
        self.events.send(event).await.unwrap();
    }

    async fn put(&self, envelope: Bytes) {
        self.bring(CarrierEvent::Envelope(envelope)).await;
    }

    async fn next(&mut self) -> Outgoing {
        within("something to carry", self.outgoing.recv()).await.expect("the exchange runs")
    }

    async fn reply(&mut self) -> (SessionId, Bytes) {
        match self.next().await {
            Outgoing::Reply { session, envelope } => (session, envelope),
            Outgoing::Status(status) => panic!("a reply: {status:?}"),
        }
    }

    async fn status(&mut self) -> DeviceNonce {
        match self.next().await {
            Outgoing::Status(status) => match Status::parse(&status) {
                Some(Status::Online { nonce }) => nonce,
                other => panic!("online: {other:?}"),
            },
            Outgoing::Reply { .. } => panic!("a status"),
        }
    }
}

/// An exchange with two carriers and no camera.
struct Bench {
    first: Line,
    second: Line,
    commands: mpsc::Sender<Command>,
    doorbell: Doorbell,
    exchange: tokio::task::JoinHandle<Result<(), PeersEnded>>,
    device: DeviceId,
    nonce: DeviceNonce,
    folder: PathBuf,
}

impl Bench {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pinhole-exchange-{name}-{}", std::process::id()));
        let store = KeyStore::open(&folder).unwrap();
        let device = store.device();
        let settings = PeerSettings {
            rtc: RtcSettings::default(),
            max_viewers: 8,
            device_name: "porch".to_owned(),
            ice: IceServers::default(),
            timings: Timings::default(),
            privacy: tokio::sync::watch::channel(pinhole::config::Switch::Off).1,
        };
        let (to_viewers, from_peers) = mpsc::channel(64);
        let peers = peer::start(settings, Vec::new(), to_viewers);
        let desk = Desk::new(device, Vec::new(), Box::new(keys::random), clock::now());
        let (commands, queue) = mpsc::channel(8);
        let ((mut first, one), (mut second, two)) = (Line::new("first"), Line::new("second"));
        let carriers = vec![one, two];
        let (doorbell, doors) = Doorbell::new();
        let exchange = Exchange { desk, store, carriers, peers, from_peers, commands: queue, doors };
        let exchange = tasks::spawn("exchange", exchange.run());
        first.bring(CarrierEvent::Up).await;
        second.bring(CarrierEvent::Up).await;
        let nonce = first.status().await;
        assert_eq!(second.status().await, nonce);
        Self { first, second, commands, doorbell, exchange, device, nonce, folder }
    }

    async fn invite(&self) -> PairingSecret {
        let (reply, secret) = oneshot::channel();
        let invite = Command::Invite { role: Role::View, name: None, lifetime: None, reply };
        self.commands.send(invite).await.unwrap();
        within("a secret", secret).await.unwrap().unwrap()
    }

    fn pairing(&self, secret: &PairingSecret, name: &str) -> ViewerPairing {
        let (device, root, secret) = (self.device, "pinhole".to_owned(), secret.clone());
        ViewerPairing::new(
            Link { device, root, secret, broker: None, more_brokers: Vec::new() },
            self.nonce,
            name,
        )
        .unwrap()
    }

    /// A viewer, paired by the first carrier.
    async fn paired(&mut self) -> ViewerRecord {
        let mut pairing = self.pairing(&self.invite().await, "Anna");
        self.first.put(pairing.request()).await;
        let (session, envelope) = self.first.reply().await;
        assert_eq!(session, pairing.id());
        pairing.finish(&envelope).unwrap().expect("it is the answer")
    }

    fn session(&self, viewer: &ViewerRecord) -> ViewerSession {
        ViewerSession::new(self.device, viewer, new_session(), self.nonce)
    }

    async fn stop(self) {
        self.commands.send(Command::Stop).await.unwrap();
        within("the end", self.exchange).await.unwrap().unwrap();
        std::fs::remove_dir_all(self.folder).unwrap();
    }
}

fn is_welcome(message: Option<ToViewer>) -> bool {
    matches!(message, Some(ToViewer::Welcome(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_back_by_the_carrier_of_the_last_envelope() {
    let mut bench = Bench::new("routes").await;
    let viewer = bench.paired().await;
    let mut session = bench.session(&viewer);
    bench.first.put(session.seal(&ToDevice::Hello).unwrap()).await;
    assert!(is_welcome(session.open(&bench.first.reply().await.1)));
    bench.second.put(session.seal(&ToDevice::Hello).unwrap()).await;
    assert!(is_welcome(session.open(&bench.second.reply().await.1)));
    bench.first.put(session.seal(&ToDevice::Hello).unwrap()).await;
    assert!(is_welcome(session.open(&bench.first.reply().await.1)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_envelope_does_not_draw_the_answers_to_another_carrier() {
    let mut bench = Bench::new("replay").await;
    let viewer = bench.paired().await;
    let mut session = bench.session(&viewer);
    let hello = session.seal(&ToDevice::Hello).unwrap();
    bench.first.put(hello.clone()).await;
    assert!(is_welcome(session.open(&bench.first.reply().await.1)));
    bench.second.put(hello).await;
    // One that is answered by the second says that it has been through what came before.
    let mut other = bench.session(&viewer);
    bench.second.put(other.seal(&ToDevice::Hello).unwrap()).await;
    let (of, envelope) = bench.second.reply().await;
    assert_eq!(of, other.id());
    assert!(is_welcome(other.open(&envelope)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_makes_room_hears_of_it_by_its_own_carrier() {
    let mut bench = Bench::new("room").await;
    let viewer = bench.paired().await;
    let mut oldest = bench.session(&viewer);
    bench.first.put(oldest.seal(&ToDevice::Hello).unwrap()).await;
    assert!(is_welcome(oldest.open(&bench.first.reply().await.1)));
    for _ in 0..MAX_SESSIONS {
        let mut next = bench.session(&viewer);
        bench.second.put(next.seal(&ToDevice::Hello).unwrap()).await;
        let (of, envelope) = bench.second.reply().await;
        assert_eq!(of, next.id());
        assert!(is_welcome(next.open(&envelope)));
    }
    let (of, envelope) = bench.first.reply().await;
    assert_eq!(of, oldest.id());
    assert_eq!(oldest.open(&envelope), Some(ToViewer::Bye { reason: ByeReason::Replaced }));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_viewers_with_one_link_the_first_is_paired_and_the_other_gets_no_answer() {
    let mut bench = Bench::new("pairing").await;
    let secret = bench.invite().await;
    let (mut anna, mut eve) = (bench.pairing(&secret, "Anna"), bench.pairing(&secret, "Eve"));
    bench.first.put(anna.request()).await;
    let (of, envelope) = bench.first.reply().await;
    assert_eq!(of, anna.id());
    assert_eq!(anna.finish(&envelope).unwrap().expect("paired").name, "Anna");
    bench.first.put(eve.request()).await;
    bench.first.put(anna.request()).await;
    let (of, again) = bench.first.reply().await;
    assert_eq!(
        (of, again),
        (anna.id(), envelope.clone()),
        "only the first is answered, and with the same bytes"
    );
    assert_eq!(eve.finish(&envelope), Ok(None));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_is_back_gets_the_status_anew() {
    let mut bench = Bench::new("back").await;
    bench.second.bring(CarrierEvent::Down { reason: "the cable".to_owned() }).await;
    bench.second.bring(CarrierEvent::Up).await;
    assert_eq!(bench.second.status().await, bench.nonce);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_sessions_end_is_told_busy_and_carriers_are_let_go_at_the_stop() {
    let mut bench = Bench::new("stop").await;
    let viewer = bench.paired().await;
    let (done, ended) = oneshot::channel();
    bench.commands.send(Command::EndSessions { done }).await.unwrap();
    within("the sessions' end", ended).await.unwrap();
    let mut session = bench.session(&viewer);
    bench.first.put(session.seal(&ToDevice::Hello).unwrap()).await;
    let answer = session.open(&bench.first.reply().await.1);
    assert!(matches!(answer, Some(ToViewer::Error { .. })), "{answer:?}");
    bench.commands.send(Command::Stop).await.unwrap();
    within("the end", &mut bench.exchange).await.unwrap().unwrap();
    assert_eq!(within("the carrier let go", bench.first.outgoing.recv()).await, None);
    assert_eq!(within("the carrier let go", bench.second.outgoing.recv()).await, None);
    std::fs::remove_dir_all(bench.folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_a_door_is_answered_there_and_nowhere_else() {
    let mut bench = Bench::new("door").await;
    let viewer = bench.paired().await;
    let (session, mut answers) = bench.doorbell.open(viewer.id, ToDevice::Hello).unwrap();
    let welcome = within("a welcome", answers.recv()).await;
    assert!(
        matches!(&welcome, Some(ToViewer::Welcome(welcome)) if welcome.role == Role::View),
        "{welcome:?}"
    );
    session.send(ToDevice::Hello).unwrap();
    assert!(is_welcome(within("a second one", answers.recv()).await));
    // No camera is there, so an offer is refused, and that is the session's end.
    let offer = Offer { camera: "front".into(), sdp: String::new(), audio: false, talk: false };
    session.send(ToDevice::Offer(offer)).unwrap();
    let refused = within("a refusal", answers.recv()).await;
    assert!(matches!(refused, Some(ToViewer::Error { code: ErrorCode::NoCamera, .. })), "{refused:?}");
    assert_eq!(within("the end", answers.recv()).await, None);
    session.send(ToDevice::Hello).unwrap();
    // A carrier hears nothing of all this: what it brings next is the first that it is answered.
    let mut sealed = bench.session(&viewer);
    bench.first.put(sealed.seal(&ToDevice::Hello).unwrap()).await;
    assert!(is_welcome(sealed.open(&bench.first.reply().await.1)));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_viewer_hears_so_at_the_door_and_is_let_in_no_more() {
    let mut bench = Bench::new("door-revoked").await;
    let viewer = bench.paired().await;
    let (session, mut answers) = bench.doorbell.open(viewer.id, ToDevice::Hello).unwrap();
    assert!(is_welcome(within("a welcome", answers.recv()).await));
    let (reply, revoked) = oneshot::channel();
    let who = viewer.id.to_string();
    bench.commands.send(Command::Revoke { who, reply }).await.unwrap();
    within("the revocation", revoked).await.unwrap().unwrap();
    let bye = Some(ToViewer::Bye { reason: ByeReason::Revoked });
    assert_eq!(within("a bye", answers.recv()).await, bye);
    assert_eq!(within("the end", answers.recv()).await, None);
    // The door may not have heard of it yet.
    session.send(ToDevice::Hello).unwrap();
    let (_session, mut answers) = bench.doorbell.open(viewer.id, ToDevice::Hello).unwrap();
    assert_eq!(within("a bye", answers.recv()).await, bye);
    assert_eq!(within("the end", answers.recv()).await, None);
    bench.stop().await;
}
