//! Several cameras of one agent: each has its own size, and one that is absent holds up no other.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use openh264::{OpenH264API, decoder::Decoder, formats::YUVSource};
use pinhole::{
    camera::{self, Accept, CameraSource, FrameRate, SizeWish, Wish, orientation::Orientation, synthetic},
    encode::{Bitrate, choice::Choice},
    peer::{self, Inbound, PeerSettings, ToSession, ice::IceServers, rtc::RtcSettings, session::Timings},
    pipeline::{self, CameraHandle, CameraSettings, CameraState, Pipeline},
    signal::{
        message::{NoticeCode, Offer, Role, ToDevice, ToViewer},
        topic::{KeyId, SessionId},
    },
};

use super::peer::viewer::Viewer;

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

fn start(id: &str, width: u32, height: u32, source: Arc<dyn CameraSource>) -> (CameraHandle, Pipeline) {
    let settings = CameraSettings {
        id: id.to_owned(),
        name: id.to_owned(),
        wish: Wish { width, height, rate: FrameRate::new(15), size: SizeWish::Exact, accept: Accept::Any },
        bitrate: Bitrate(300_000),
        encoder: Choice::Auto,
        hot: None,
        orientation: Orientation::UPRIGHT,
        caption: None,
    };
    pipeline::start(settings, source).unwrap()
}

/// Watches one camera, and gives the size of its first picture and the notice that came with it.
async fn watch(
    peers: &peer::Peers,
    answers: &mut tokio::sync::mpsc::Receiver<ToSession>,
    id: u8,
    camera: &str,
) -> ((usize, usize), Option<NoticeCode>) {
    let mut viewer = Viewer::guarded("127.0.0.1").await;
    let sdp = viewer.offer().await;
    let message = ToDevice::Offer(Offer { camera: camera.to_owned(), sdp, audio: false, talk: false });
    let session = SessionId::from_bytes([id; 16]);
    peers
        .deliver(Inbound { session, viewer: KeyId::from_bytes([id; 8]), role: Role::View, message })
        .unwrap();
    let mut notice = None;
    let mut of_session = async || loop {
        let said = within("a message", answers.recv()).await.unwrap();
        if said.session == session {
            return said.message;
        }
    };
    loop {
        match of_session().await {
            ToViewer::Answer { sdp } => break viewer.take(&sdp).await,
            ToViewer::Candidate(_) => {}
            other => panic!("instead of an answer: {other:?}"),
        }
    }
    let unit = within("a picture", viewer.access_units(1)).await.remove(0);
    let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), Default::default()).unwrap();
    let decoded = decoder.decode(&unit.annex_b).unwrap().expect("a picture");
    while let Ok(said) = answers.try_recv() {
        if let ToViewer::Notice(said) = said.message {
            assert_eq!(said.camera, camera);
            notice = Some(said.code);
        }
    }
    let size = decoded.dimensions();
    viewer.close().await;
    (size, notice)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_camera_has_its_own_size_and_one_that_is_absent_holds_up_no_other() {
    let absent = camera::parse("/dev/video97").unwrap().source();
    let started = [
        start("large", 320, 240, synthetic::source()),
        start("absent", 640, 360, absent),
        start("small", 160, 96, synthetic::source()),
    ];
    let (cameras, pipelines): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let settings = PeerSettings {
        rtc: RtcSettings { addresses: Some(vec![Ipv4Addr::LOCALHOST.into()]) },
        max_viewers: 8,
        device_name: "porch".to_owned(),
        ice: IceServers::default(),
        timings: Timings::default(),
        privacy: tokio::sync::watch::channel(pinhole::config::Switch::Off).1,
    };
    let (out, mut answers) = tokio::sync::mpsc::channel(256);
    let peers = peer::start(settings, cameras.clone(), out);
    assert_eq!(watch(&peers, &mut answers, 1, "absent").await, ((640, 360), Some(NoticeCode::Slate)));
    assert_eq!(watch(&peers, &mut answers, 2, "small").await, ((160, 96), None));
    assert_eq!(watch(&peers, &mut answers, 3, "large").await, ((320, 240), None));
    let state = cameras[1].state().borrow().clone();
    assert!(
        matches!(&state, CameraState::NoPicture { reason, .. } if reason.starts_with("no camera at /dev/video97")),
        "{state:?}"
    );
    within("the end", peers.shutdown()).await;
    tokio::task::block_in_place(|| Pipeline::stop_all(pipelines));
}
