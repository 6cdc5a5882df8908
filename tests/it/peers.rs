//! `Peers` as the agent runs it: the synthetic camera's pipeline, sessions, and viewers on real sockets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures_util::FutureExt;
use pinhole::{
    camera::{Accept, FrameRate, SizeWish, Wish, orientation::Orientation, synthetic},
    clock,
    encode::{Bitrate, EncodedFrame, choice::Choice},
    peer::{
        self, Inbound, Last, PeerSettings, Peers, ToSession,
        ice::{IceServers, IceSource, SharedSecret},
        rtc::RtcSettings,
        session::Phase,
        session::Timings,
    },
    pipeline::{self, CameraHandle, CameraSettings, CameraState, Pipeline, Subscription},
    signal::{
        message::{ByeReason, Candidate, ErrorCode, IceServer, Offer, Role, ToDevice, ToViewer},
        mqtt::Secret,
        topic::{KeyId, SessionId},
        whole::Whole,
    },
    tasks,
};
use tokio::sync::mpsc;

use super::{
    coturn::Turn,
    peer::viewer::{AccessUnit, Viewer},
};

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);
const IDR: u8 = 5;

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

fn session(id: u8) -> SessionId {
    SessionId::from_bytes([id; 16])
}

fn is_key(unit: &AccessUnit) -> bool {
    unit.nal_types.contains(&IDR)
}

/// A device with one synthetic camera, as tests begin it: started, and what it would let viewers do.
pub fn porch() -> (CameraHandle, Pipeline, PeerSettings) {
    let camera = CameraSettings {
        id: "front".to_owned(),
        name: "Front".to_owned(),
        wish: Wish {
            width: 320,
            height: 180,
            rate: FrameRate::new(30),
            size: SizeWish::Exact,
            accept: Accept::Any,
        },
        bitrate: Bitrate(400_000),
        encoder: Choice::Auto,
        orientation: Orientation::UPRIGHT,
        caption: None,
        hot: None,
    };
    let (camera, pipeline) = pipeline::start(camera, synthetic::source()).unwrap();
    let settings = PeerSettings {
        rtc: RtcSettings { addresses: Some(vec![Ipv4Addr::LOCALHOST.into()]) },
        max_viewers: 8,
        device_name: "porch".to_owned(),
        ice: IceServers::default(),
        // Those that tests wait for are short where WebRTC lets them.
        timings: Timings {
            camera: PATIENCE,
            connect: Duration::from_secs(3),
            lost: Duration::from_millis(300),
        },
        privacy: tokio::sync::watch::channel(pinhole::config::Switch::Off).1,
    };
    (camera, pipeline, settings)
}

/// A device without signaling: what it says comes out of `answers`.
struct Device {
    camera: CameraHandle,
    pipeline: Pipeline,
    peers: Peers,
    answers: mpsc::Receiver<ToSession>,
}

impl Device {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PeerSettings)) -> Self {
        let (camera, pipeline, mut settings) = porch();
        change(&mut settings);
        let (out, answers) = mpsc::channel(256);
        let peers = peer::start(settings, vec![camera.clone()], out);
        Self { camera, pipeline, peers, answers }
    }

    /// Each session is another viewer's.
    fn put(&self, id: u8, message: ToDevice) {
        let viewer = KeyId::from_bytes([id; 8]);
        self.peers.deliver(Inbound { session: session(id), viewer, role: Role::View, message }).unwrap();
    }

    fn offer(&self, id: u8, sdp: String) {
        self.put(id, ToDevice::Offer(Offer { camera: "front".into(), sdp, audio: false, talk: false }));
    }

    /// The next message that is no candidate; it must be this session's.
    async fn answer(&mut self, id: u8) -> (ToViewer, Last) {
        loop {
            let ToSession { session: of, message, last } =
                within("a message", self.answers.recv()).await.unwrap();
            if !matches!(message, ToViewer::Candidate(_)) {
                assert_eq!(of, session(id), "{message:?}");
                return (message, last);
            }
        }
    }

    async fn answer_sdp(&mut self, id: u8) -> String {
        match self.answer(id).await {
            (ToViewer::Answer { sdp }, Last::No) => sdp,
            other => panic!("an answer: {other:?}"),
        }
    }

    async fn expect_bye(&mut self, id: u8, reason: ByeReason) {
        assert_eq!(self.answer(id).await, (ToViewer::Bye { reason }, Last::Yes));
    }

    /// A viewer that is answered, with its first picture.
    async fn watch(&mut self, id: u8) -> (Viewer, AccessUnit) {
        let mut viewer = Viewer::guarded("127.0.0.1").await;
        self.offer(id, viewer.offer().await);
        viewer.take(&self.answer_sdp(id).await).await;
        let first = within("the first picture", viewer.access_units(1)).await.remove(0);
        (viewer, first)
    }

    /// Takes an offer as one that was carried in by hand.
    fn carry(&self, id: u8, sdp: String, wait: Duration) {
        let message = ToDevice::Offer(Offer { camera: "front".into(), sdp, audio: false, talk: false });
        let viewer = KeyId::from_bytes([id; 8]);
        let inbound = Inbound { session: session(id), viewer, role: Role::View, message };
        self.peers.deliver_by_hand(inbound, wait).unwrap();
    }

    async fn wait_for_viewers(&self, count: usize) {
        let mut viewers = self.peers.viewers();
        within("so many viewers", viewers.wait_for(|shown| shown.len() == count)).await.unwrap();
    }

    async fn wait_for_phase(&self, phase: Phase) {
        let mut viewers = self.peers.viewers();
        within("the phase", viewers.wait_for(|shown| shown.iter().any(|one| one.phase == phase)))
            .await
            .unwrap();
    }

    async fn wait_until_idle(&self) {
        let mut state = self.camera.state();
        within("the camera closed", state.wait_for(|state| *state == CameraState::Idle)).await.unwrap();
        assert_eq!(self.camera.stats().viewers, 0);
    }

    async fn stop(self) {
        within("the end", self.peers.shutdown()).await;
        tokio::task::block_in_place(|| self.pipeline.stop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_end_after_each_answer_so_that_it_can_be_whole() {
    let mut device = Device::new();
    let viewer = Viewer::new().await;
    let mut offer = viewer.offer().await;
    for _ in 0..2 {
        device.offer(1, offer);
        let mut whole = Whole::default();
        while !whole.is_complete() {
            let said = within("an end of candidates", device.answers.recv()).await.unwrap();
            whole.take(&said.message);
        }
        let sdp = whole.sdp().unwrap();
        assert!(sdp.contains("a=candidate:") && sdp.contains("a=end-of-candidates"), "{sdp}");
        viewer.take(&sdp).await;
        offer = viewer.restart_offer().await;
    }
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_gets_the_picture_beginning_with_a_key_frame() {
    let mut device = Device::new();
    assert_eq!(*device.camera.state().borrow(), CameraState::Idle);
    let (mut viewer, first) = device.watch(1).await;
    assert_eq!(first.nal_types, [7, 8, IDR], "SPS, PPS and a key frame");
    let next = within("more pictures", viewer.access_units(10)).await;
    let mut before = first.timestamp;
    for unit in next {
        assert!(matches!(unit.nal_types[..], [1] | [7, 8, IDR]), "{:?}", unit.nal_types);
        assert!(unit.timestamp.wrapping_sub(before) < 1 << 31, "timestamps rise");
        assert_ne!(unit.timestamp, before);
        before = unit.timestamp;
    }
    device.wait_for_phase(Phase::Connected).await;
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_says_goodbye_to_each_viewer() {
    let mut device = Device::new();
    let (viewer, _) = device.watch(1).await;
    let Device { camera: _camera, pipeline, peers, mut answers } = device;
    within("the end", peers.shutdown()).await;
    let bye = ToViewer::Bye { reason: ByeReason::Shutdown };
    let mut last = None;
    while let Some(said) = answers.recv().await {
        last = Some((said.message, said.last));
    }
    assert_eq!(last, Some((bye, Last::Yes)));
    tokio::task::block_in_place(|| pipeline.stop());
    viewer.close().await;
}

/// Somebody who changed the offer's fingerprint on its way, or offers with another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_the_offers_gets_no_picture_and_ends() {
    let mut device = Device::with(|settings| settings.timings.connect = Duration::from_secs(1));
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let offer = viewer.offer().await;
    let (before, fingerprint) = offer.split_once("a=fingerprint:sha-256 ").unwrap();
    let other = if fingerprint.starts_with("00") { "01" } else { "00" };
    device.offer(1, format!("{before}a=fingerprint:sha-256 {other}{}", &fingerprint[2..]));
    viewer.take(&device.answer_sdp(1).await).await;
    device.expect_bye(1, ByeReason::Idle).await;
    assert!(viewer.access_units(1).now_or_never().is_none(), "not a packet came");
    device.wait_for_viewers(0).await;
    device.wait_until_idle().await;
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_loss_indication_leads_to_a_key_frame() {
    let mut device = Device::new();
    let (mut viewer, _) = device.watch(1).await;
    // None comes unasked, once the first has been served.
    let quiet = async {
        let mut deltas = 0;
        while deltas < 45 {
            let unit = viewer.access_units(1).await.remove(0);
            deltas = if is_key(&unit) { 0 } else { deltas + 1 };
        }
    };
    within("pictures without a key frame", quiet).await;
    viewer.send_pli().await;
    within("a key frame", async { while !is_key(&viewer.access_units(1).await[0]) {} }).await;
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_says_goodbye_is_freed_and_the_camera_closed() {
    let mut device = Device::new();
    let (viewer, _) = device.watch(1).await;
    assert!(matches!(*device.camera.state().borrow(), CameraState::Streaming { .. }));
    device.put(1, ToDevice::Bye { reason: "page closed".to_owned() });
    device.expect_bye(1, ByeReason::Idle).await;
    device.wait_for_viewers(0).await;
    device.wait_until_idle().await;

    // And the next one finds everything as new.
    let (again, first) = device.watch(2).await;
    assert!(is_key(&first));
    assert_eq!(device.camera.stats().opened, 2);
    again.close().await;
    viewer.close().await;
    device.stop().await;
}

/// Everything that the camera's hub publishes, read as it comes: who falls behind there loses frames.
fn record(mut subscription: Subscription) -> mpsc::UnboundedReceiver<EncodedFrame> {
    let (frames, recorded) = mpsc::unbounded_channel();
    tasks::spawn("record", async move {
        while let Some(received) = subscription.next().await {
            assert_eq!(received.lost, 0);
            if frames.send(received.frame).is_err() {
                return;
            }
        }
    });
    recorded
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_viewer_costs_the_first_no_frame() {
    let mut device = Device::new();
    let mut published = record(device.camera.subscribe());
    let (mut first, begin) = device.watch(1).await;
    // The first key frame is then too old for another to begin with.
    let mut units = within("a second's worth", first.access_units(30)).await;
    let (mut second, key) = device.watch(2).await;
    assert!(is_key(&key));
    let both = async { tokio::join!(first.access_units(60), second.access_units(10)) };
    let (more, _) = within("pictures for both", both).await;
    units.insert(0, begin);
    units.extend(more);

    let last = &units.last().unwrap().annex_b;
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &EncodedFrame| frame.data != last) {
        frames.push(within("what was published", published.recv()).await.unwrap());
    }
    let start = frames.iter().position(|frame| frame.data == units[0].annex_b).expect("it was published");
    let sent: Vec<&EncodedFrame> = frames[start..].iter().collect();
    assert!(sent.windows(2).all(|pair| pair[1].number == pair[0].number + 1));
    assert_eq!(sent.len(), units.len(), "each frame since the first came, and none twice");
    assert!(sent.iter().zip(&units).all(|(frame, unit)| frame.data == unit.annex_b));
    assert!(units[1..].iter().any(is_key), "the second's key frame went to both");
    device.wait_for_viewers(2).await;
    first.close().await;
    second.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_viewer_above_the_limit_is_told_busy_and_disturbs_nobody() {
    let mut device = Device::with(|settings| settings.max_viewers = 1);
    let (mut first, _) = device.watch(1).await;
    let second = Viewer::guarded("127.0.0.1").await;
    device.offer(2, second.offer().await);
    let (message, last) = device.answer(2).await;
    assert!(matches!(message, ToViewer::Error { code: ErrorCode::Busy, .. }), "{message:?}");
    assert_eq!(last, Last::Yes);
    within("the first goes on", first.access_units(30)).await;

    device.put(1, ToDevice::Bye { reason: String::new() });
    device.expect_bye(1, ByeReason::Idle).await;
    device.wait_for_viewers(0).await;
    let (third, _) = device.watch(3).await;
    third.close().await;
    first.close().await;
    second.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_viewer_is_freed() {
    let mut device = Device::new();
    // A runtime of its own stands for the viewer's machine: when it ends, sockets and timers end without a word.
    let machine = tokio::runtime::Runtime::new().unwrap();
    let (say, mut said) = mpsc::unbounded_channel::<String>();
    let (tell, mut told) = mpsc::unbounded_channel::<String>();
    let watching = machine.spawn(async move {
        let mut viewer = Viewer::guarded("127.0.0.1").await;
        say.send(viewer.offer().await).unwrap();
        viewer.take(&told.recv().await.unwrap()).await;
        viewer.access_units(1).await;
        say.send("it plays".to_owned()).unwrap();
        viewer.access_units(usize::MAX).await;
    });
    device.offer(1, within("the offer", said.recv()).await.unwrap());
    tell.send(device.answer_sdp(1).await).unwrap();
    assert_eq!(within("the picture", said.recv()).await.as_deref(), Some("it plays"));
    device.wait_for_phase(Phase::Connected).await;

    machine.shutdown_background();
    assert!(within("the viewer's end", watching).await.is_err_and(|error| error.is_cancelled()));
    device.expect_bye(1, ByeReason::Idle).await;
    device.wait_for_viewers(0).await;
    device.wait_until_idle().await;
    device.stop().await;
}

/// The device has IPv6 alone and the viewer IPv4 alone: between them there is nothing but the relay.
async fn device_behind(ice: IceServers) -> (Device, Viewer) {
    let device = Device::with(|settings| {
        settings.ice = ice;
        settings.rtc.addresses = Some(vec![IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        settings.timings.connect = PATIENCE;
    });
    (device, Viewer::guarded("127.0.0.1").await)
}

/// The address that the device has at its relay; `None`: it has none.
async fn relayed_candidate(device: &mut Device, viewer: &mut Viewer) -> Option<String> {
    device.offer(1, viewer.offer().await);
    let answer = device.answer_sdp(1).await;
    viewer.take(&answer).await;
    let is_relayed = |text: &str| text.contains(" 127.0.0.1 ") && text.contains("typ relay");
    if let Some(line) = answer.lines().find(|line| is_relayed(line)) {
        return Some(line.to_owned());
    }
    loop {
        match within("the end of candidates", device.answers.recv()).await.unwrap().message {
            ToViewer::Candidate(Some(Candidate { candidate, .. })) if is_relayed(&candidate) => {
                viewer.add_candidate(&candidate).await;
                return Some(candidate);
            }
            ToViewer::Candidate(Some(_)) => {}
            ToViewer::Candidate(None) => return None,
            other => panic!("a candidate: {other:?}"),
        }
    }
}

async fn plays_over_a_relay(ice: IceServers) {
    let (mut device, mut viewer) = device_behind(ice).await;
    relayed_candidate(&mut device, &mut viewer).await.expect("a relayed candidate");
    let units = within("pictures over the relay", viewer.access_units(30)).await;
    assert!(is_key(&units[0]));
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_plays_over_a_turn_relay() {
    let turn = Turn::start(&["--lt-cred-mech", "--user=porch:knock"]).await;
    let server = IceServer {
        urls: vec![turn.url()],
        username: Some("porch".to_owned()),
        credential: Some("knock".to_owned()),
    };
    plays_over_a_relay(IceServers::fixed(vec![server])).await;
}

fn shared(turn: &Turn, secret: &str) -> SharedSecret {
    SharedSecret { urls: vec![turn.url()], secret: Secret::new(secret), ttl: Duration::from_secs(600) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_plays_over_a_relay_whose_credentials_were_made_from_a_shared_secret() {
    let turn = Turn::start(&["--use-auth-secret", "--static-auth-secret=north"]).await;
    let ice = IceServers::start(vec![IceSource::Shared(shared(&turn, "north"))]).unwrap();
    plays_over_a_relay(ice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_that_is_documented_works_as_it_stands_there() {
    let text = include_str!("../../docs/configuration.md");
    let (_, file) = text.split_once("```conf\n# /etc/turnserver.conf\n").expect("the file is in the docs");
    let (file, _) = file.split_once("```").expect("the block has an end");
    let turn = Turn::configured(file).await;
    let ice = IceServers::start(vec![IceSource::Shared(shared(&turn, "0123456789abcdef"))]).unwrap();
    plays_over_a_relay(ice).await;
    let (mut device, mut viewer) =
        device_behind(IceServers::start(vec![IceSource::Shared(shared(&turn, "north"))]).unwrap()).await;
    assert_eq!(relayed_candidate(&mut device, &mut viewer).await, None);
    viewer.close().await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_and_credentials_of_yesterday_give_no_relay() {
    let turn = Turn::start(&["--use-auth-secret", "--static-auth-secret=north"]).await;
    let yesterday = clock::since_epoch() - Duration::from_secs(86_400);
    for ice in [
        IceServers::start(vec![IceSource::Shared(shared(&turn, "south"))]).unwrap(),
        IceServers::fixed(vec![shared(&turn, "north").server(yesterday, "pinhole")]),
    ] {
        let (mut device, mut viewer) = device_behind(ice).await;
        assert_eq!(relayed_candidate(&mut device, &mut viewer).await, None);
        viewer.close().await;
        device.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_by_hand_is_whole_and_the_camera_rests_until_its_viewer_comes() {
    let mut device = Device::new();
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    // Longer than viewers of carriers have: they are given up after three seconds here.
    device.carry(1, viewer.offer().await, Duration::from_secs(60));
    let ToSession { message: ToViewer::Answer { sdp }, .. } =
        within("an answer", device.answers.recv()).await.unwrap()
    else {
        panic!("an answer");
    };
    assert!(sdp.contains("a=candidate:"), "{sdp}");
    let mut state = device.camera.state();
    within("the camera closes", state.wait_for(|state| *state == CameraState::Idle)).await.unwrap();
    assert_eq!(device.peers.viewers().borrow().len(), 1, "it is waited for");
    viewer.take(&sdp).await;
    let first = within("a picture", viewer.access_units(1)).await.remove(0);
    assert!(is_key(&first));
    viewer.close().await;
    device.wait_for_viewers(0).await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_was_answered_by_hand_and_does_not_come_is_given_up_after_its_own_time() {
    let mut device = Device::with(|settings| settings.timings.connect = PATIENCE * 10);
    let viewer = Viewer::guarded("127.0.0.1").await;
    device.carry(1, viewer.offer().await, Duration::from_millis(300));
    device.answer_sdp(1).await;
    device.expect_bye(1, ByeReason::Idle).await;
    device.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_answered_by_hand_waits_without_a_place_and_finds_one_or_must_go() {
    let mut device = Device::with(|settings| settings.max_viewers = 1);
    let late = Viewer::guarded("127.0.0.1").await;
    device.carry(1, late.offer().await, PATIENCE);
    let answer = device.answer_sdp(1).await;
    let (watching, _) = device.watch(2).await;
    device.carry(3, Viewer::guarded("127.0.0.1").await.offer().await, PATIENCE);
    let (refused, last) = device.answer(3).await;
    assert!(matches!(refused, ToViewer::Error { code: ErrorCode::Busy, .. }), "{refused:?}");
    assert_eq!(last, Last::Yes);
    late.take(&answer).await;
    device.expect_bye(1, ByeReason::Replaced).await;
    watching.close().await;
    device.stop().await;
}
