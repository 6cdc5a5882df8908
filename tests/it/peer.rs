//! Real WebRTC connections on loopback, between the agent's side and a viewer written with the same crate.

pub mod viewer;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use pinhole::{
    camera::orientation::Rotation,
    clock,
    encode::{EncodedFrame, FrameKind},
    peer::{
        self, Inbound, Last, PeerSettings, Signaling, ToSession,
        ice::IceServers,
        rtc::{Answered, Connection, RtcError, RtcEvent, RtcSettings},
        servers::{Kind, Server},
        session::Timings,
    },
    signal::{
        message::{ErrorCode, Offer, Role, ToDevice, ToViewer},
        topic::{KeyId, SessionId},
    },
    tasks,
};
use tokio::sync::mpsc;

use viewer::Viewer;

/// Constrained Baseline, level 3.1.
const PROFILE_LEVEL: [u8; 3] = [0x42, 0xc0, 0x1f];
/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> RtcSettings {
    RtcSettings { addresses: Some(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) }
}

/// An access unit of the given size; a key frame begins with SPS and PPS.
fn frame(kind: FrameKind, number: u64, length: usize) -> EncodedFrame {
    let mut data = Vec::new();
    if kind == FrameKind::Key {
        data.extend([0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0xda]);
        data.extend([0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]);
    }
    data.extend([0, 0, 0, 1, if kind == FrameKind::Key { 0x65 } else { 0x41 }]);
    data.extend((0..length).map(|i| (i % 251) as u8 | 1));
    EncodedFrame { data: Bytes::from(data), kind, number, captured: clock::now(), rotation: Rotation::None }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

async fn wait_for(events: &mut mpsc::Receiver<RtcEvent>, wanted: &RtcEvent) {
    within(&format!("{wanted:?}"), async {
        while let Some(event) = events.recv().await {
            if event == *wanted {
                return;
            }
        }
        panic!("the events ended before {wanted:?}");
    })
    .await;
}

async fn connect(viewer: &Viewer) -> Answered {
    let mut answered =
        Connection::answer(&loopback(), &[], &viewer.offer().await, PROFILE_LEVEL, Signaling::Live)
            .await
            .unwrap();
    viewer.take(&answered.sdp).await;
    wait_for(&mut answered.events, &RtcEvent::Connected).await;
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_receives_the_key_frame_first_and_whole() {
    let mut viewer = Viewer::new().await;
    let mut answered = connect(&viewer).await;
    let key = frame(FrameKind::Key, 1, 5000);
    answered.writer.write(&key).await.unwrap();
    answered.writer.write(&frame(FrameKind::Delta, 2, 100)).await.unwrap();

    let units = within("two access units", viewer.access_units(2)).await;
    let types = |unit: &viewer::AccessUnit| unit.nal_types.clone();
    assert_eq!(types(&units[0]), [7, 8, 5]);
    assert_eq!(types(&units[1]), [1]);
    assert_eq!(units[0].longest, 5001);
    assert!(units[1].timestamp != units[0].timestamp);
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_loss_indication_asks_for_a_key_frame() {
    let mut viewer = Viewer::new().await;
    let mut answered = connect(&viewer).await;
    answered.writer.write(&frame(FrameKind::Key, 1, 100)).await.unwrap();
    within("a frame", viewer.access_units(1)).await;
    viewer.send_pli().await;
    wait_for(&mut answered.events, &RtcEvent::KeyFrameWanted).await;
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ice_restart_goes_on_with_the_same_stream() {
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let mut answered = connect(&viewer).await;
    answered.writer.write(&frame(FrameKind::Key, 1, 100)).await.unwrap();
    within("a frame", viewer.access_units(1)).await;

    let offer = viewer.restart_offer().await;
    let answer = answered.connection.renegotiate(&offer).await.unwrap();
    let ufrag = |sdp: &str| sdp.lines().find(|l| l.starts_with("a=ice-ufrag")).map(str::to_owned);
    assert_ne!(ufrag(&answer), ufrag(&answered.sdp));
    viewer.take(&answer).await;
    // While the pair changes, packets may be lost: it must not stay so.
    let playing = async {
        for number in 2.. {
            answered.writer.write(&frame(FrameKind::Key, number, 100)).await.unwrap();
            clock::sleep(Duration::from_millis(10)).await;
        }
    };
    within("frames after the restart", async {
        tokio::select! {
            () = playing => unreachable!("it plays for ever"),
            units = viewer.access_units(30) => assert_eq!(units.len(), 30),
        }
    })
    .await;
    assert_eq!(answered.connection.counts().0.unauthenticated, 0);
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_client_hellos_from_a_third_address_do_not_keep_it_from_connecting() {
    let viewer = Viewer::new().await;
    let mut answered =
        Connection::answer(&loopback(), &[], &viewer.offer().await, PROFILE_LEVEL, Signaling::Live)
            .await
            .unwrap();
    let port: u16 = answered
        .sdp
        .lines()
        .find_map(|line| line.strip_prefix("a=candidate:")?.split(' ').nth(5)?.parse().ok())
        .unwrap();
    let flood = tasks::spawn("flood", async move {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        loop {
            let _ = socket.send_to(&viewer::client_hello(), ("127.0.0.1", port)).await;
            clock::sleep(Duration::from_millis(1)).await;
        }
    });
    clock::sleep(Duration::from_millis(50)).await;
    viewer.take(&answered.sdp).await;
    wait_for(&mut answered.events, &RtcEvent::Connected).await;
    flood.abort();
    assert!(answered.connection.counts().0.unverified > 0);
    answered.connection.close().await;
    viewer.close().await;
}

/// Answers binding requests (RFC 8489) after `delay`, as if everyone came from 203.0.113.7:1234.
async fn stun_server(delay: Duration) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tasks::spawn("stun", async move {
        let mut request = [0; 1500];
        while let Ok((_, from)) = socket.recv_from(&mut request).await {
            let mut response = vec![0x01, 0x01, 0, 12];
            response.extend(&request[4..20]);
            response.extend([0, 0x20, 0, 8, 0, 1]);
            response.extend((1234u16 ^ 0x2112).to_be_bytes());
            response.extend((u32::from(Ipv4Addr::new(203, 0, 113, 7)) ^ 0x2112_a442).to_be_bytes());
            clock::sleep(delay).await;
            let _ = socket.send_to(&response, from).await;
        }
    });
    address
}

const CARRIED: Signaling = Signaling::ByHand { wait: Duration::from_secs(60) };

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_carried_by_hand_waits_for_stun_and_nothing_follows_it() {
    let viewer = Viewer::new().await;
    // Longer than an answer waits whose candidates may follow.
    let delay = Duration::from_millis(400);
    let servers = [Server { address: stun_server(delay).await, kind: Kind::Stun }];
    let offer = viewer.offer().await;
    let mut answered =
        Connection::answer(&loopback(), &servers, &offer, PROFILE_LEVEL, CARRIED).await.unwrap();
    assert_eq!(answered.sdp.matches("203.0.113.7 1234 typ srflx").count(), 1, "{}", answered.sdp);
    let mut next = None;
    within("the end of candidates", async {
        while next.is_none() {
            let event = answered.events.recv().await.expect("the connection is open");
            next = if let RtcEvent::LocalCandidate(candidate) = event { Some(candidate) } else { None };
        }
    })
    .await;
    assert_eq!(next, Some(None), "no candidate comes after the answer");
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_answer_is_carried_the_viewers_address_is_checked_on_and_on() {
    let viewer = Viewer::new().await;
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let offer = viewer.offer().await;
    let own = offer.lines().find_map(|line| line.strip_prefix("a=candidate:")).expect("a candidate");
    let own = own.split(' ').nth(5).expect("its port");
    let offer = offer.replace(&format!(" {own} typ"), &format!(" {port} typ"));
    let answered = Connection::answer(&loopback(), &[], &offer, PROFILE_LEVEL, CARRIED).await.unwrap();
    // By itself the crate gives an address up after eight.
    for check in 0..20 {
        within(&format!("check {check}"), silent.recv_from(&mut [0; 1500])).await.unwrap();
    }
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_carried_by_hand_does_not_wait_for_ever_for_stun() {
    let viewer = Viewer::new().await;
    let servers = [Server { address: stun_server(PATIENCE * 10).await, kind: Kind::Stun }];
    let offer = viewer.offer().await;
    let settings = loopback();
    let answer = Connection::answer(&settings, &servers, &offer, PROFILE_LEVEL, CARRIED);
    let answered = within("an answer", answer).await.unwrap();
    assert!(answered.sdp.contains("typ host") && !answered.sdp.contains("srflx"), "{}", answered.sdp);
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_does_not_wait_for_stun_whose_candidate_follows() {
    let viewer = Viewer::new().await;
    let servers = [Server { address: stun_server(Duration::ZERO).await, kind: Kind::Stun }];
    let offer = viewer.offer().await;
    let mut answered =
        Connection::answer(&loopback(), &servers, &offer, PROFILE_LEVEL, Signaling::Live).await.unwrap();
    assert_eq!(answered.sdp.matches("typ host").count(), 1);
    let mut told = Vec::new();
    within("the end of candidates", async {
        loop {
            match answered.events.recv().await.expect("the connection is open") {
                RtcEvent::LocalCandidate(Some(candidate)) => told.push(candidate),
                RtcEvent::LocalCandidate(None) => return,
                _ => {}
            }
        }
    })
    .await;
    let reflexive = |text: &str| text.contains("203.0.113.7 1234 typ srflx");
    let followed = told.iter().filter(|candidate| reflexive(&candidate.candidate)).count();
    // On loopback the server may be faster than the answer.
    assert_eq!(followed + usize::from(reflexive(&answered.sdp)), 1, "{told:?}\n{}", answered.sdp);
    assert!(told.iter().all(|candidate| candidate.sdp_mid.as_deref() == Some("0")));
    answered.connection.close().await;
    viewer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_without_h264_is_refused_and_leaves_nothing_open() {
    let viewer = Viewer::new().await;
    let offer = viewer.offer().await.replace("H264/90000", "VP8/90000");
    let result = Connection::answer(&loopback(), &[], &offer, PROFILE_LEVEL, Signaling::Live).await;
    assert!(matches!(result, Err(RtcError::NoH264)), "{result:?}");
    viewer.close().await;
}

/// Alone in this process (nextest starts one for each test), so that descriptors can be counted.
#[tokio::test(flavor = "multi_thread")]
async fn descriptors_are_back_to_the_start_after_close_and_after_drop() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let viewer = Viewer::new().await;
    let offer = viewer.offer().await;
    let start = open();
    for round in 0..6 {
        let answered =
            Connection::answer(&loopback(), &[], &offer, PROFILE_LEVEL, Signaling::Live).await.unwrap();
        assert!(open() > start);
        if round % 2 == 0 {
            answered.connection.close().await;
        } else {
            drop(answered);
        }
    }
    within("all descriptors back", async {
        while open() > start {
            clock::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;

    let connected = Viewer::new().await;
    let before = open();
    let answered = connect(&connected).await;
    answered.connection.close().await;
    within("the connection's descriptors back", async {
        while open() > before {
            clock::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    connected.close().await;
    viewer.close().await;
}

fn peer_settings() -> PeerSettings {
    PeerSettings {
        rtc: loopback(),
        max_viewers: 8,
        device_name: "porch".to_owned(),
        ice: IceServers::default(),
        timings: Timings::default(),
        privacy: tokio::sync::watch::channel(pinhole::config::Switch::Off).1,
    }
}

fn inbound(session: u8, message: ToDevice) -> Inbound {
    let (session, viewer) = (SessionId::from_bytes([session; 16]), KeyId::from_bytes([1; 8]));
    Inbound { session, viewer, role: Role::View, message }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_also_without_a_camera() {
    let (out, mut answers) = mpsc::channel(16);
    let peers = peer::start(peer_settings(), Vec::new(), out);
    peers.deliver(inbound(1, ToDevice::Hello)).unwrap();
    let ToSession { message, last, .. } = within("welcome", answers.recv()).await.unwrap();
    let ToViewer::Welcome(welcome) = message else { panic!("a welcome: {message:?}") };
    assert_eq!((welcome.name.as_str(), welcome.role, last), ("porch", Role::View, Last::No));
    assert_eq!((welcome.cameras.len(), welcome.limits.viewers), (0, 8));

    let offer = Offer { camera: "front".into(), sdp: String::new(), audio: false, talk: false };
    peers.deliver(inbound(1, ToDevice::Offer(offer))).unwrap();
    let ToSession { message, last, .. } = within("an error", answers.recv()).await.unwrap();
    assert!(matches!(message, ToViewer::Error { code: ErrorCode::NoCamera, .. }), "{message:?}");
    assert_eq!(last, Last::Yes);
    assert!(peers.viewers().borrow().is_empty());
    within("the end", peers.shutdown()).await;
    assert_eq!(answers.recv().await, None);
}
