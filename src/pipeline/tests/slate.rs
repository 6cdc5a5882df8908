//! The slate: when viewers see it, and how the picture takes its place.

use super::*;
use crate::encode::passthrough::profile_level;

const HIGH_KEY: &[u8] =
    &[0, 0, 0, 1, 0x67, 0x64, 0x00, 0x28, 0x01, 0, 0, 0, 1, 0x68, 0x01, 0, 0, 0, 1, 0x65, 0x80];

/// A viewer with one decoder for all that comes, as a browser has.
struct Watcher {
    viewer: Subscription,
    decoder: ::openh264::decoder::Decoder,
    next: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Camera,
    Slate,
}

impl Watcher {
    fn new(rig: &Rig) -> Self {
        let decoder = ::openh264::decoder::Decoder::new().unwrap();
        Self { viewer: rig.handle.subscribe(), decoder, next: None }
    }

    /// The next frame, which follows the last without a gap and can be decoded.
    async fn next(&mut self) -> (Shown, FrameKind) {
        let Received { frame, lost } = self.viewer.next().await.unwrap();
        assert_eq!(lost, 0);
        assert!(self.next.is_none_or(|next| frame.number == next), "{} came", frame.number);
        self.next = Some(frame.number + 1);
        let decoded = self.decoder.decode(&frame.data).unwrap().expect("a picture");
        (if is_grey(&decoded) { Shown::Camera } else { Shown::Slate }, frame.kind)
    }

    async fn until(&mut self, what: Shown) -> FrameKind {
        loop {
            let (shown, kind) = self.next().await;
            if shown == what {
                return kind;
            }
        }
    }
}

#[tokio::test]
async fn a_camera_that_is_not_there_is_a_slate_with_the_reason_and_then_the_picture() {
    let mut rig = Rig::new(I420);
    rig.script.refusals.store(usize::MAX, SeqCst);
    let mut watcher = Watcher::new(&rig);
    assert_eq!(watcher.next().await, (Shown::Slate, FrameKind::Key));
    for _ in 0..4 {
        rig.advance(250);
        assert_eq!(watcher.next().await, (Shown::Slate, FrameKind::Delta));
    }
    let state = rig.until(is_down).await;
    let CameraState::NoPicture { profile_level, .. } = state else { unreachable!("{state:?}") };
    assert_eq!(profile_level[..2], [0x42, 0xc0], "what a camera that is encoded here will have");
    let message = "no camera at scripted".to_owned();
    assert_eq!(*rig.handle.notice().borrow(), Some(Notice { code: NoticeCode::Slate, message }));

    rig.script.refusals.store(0, SeqCst);
    rig.frame();
    assert_eq!(watcher.until(Shown::Camera).await, FrameKind::Key);
    rig.until(is_streaming).await;
    assert_eq!(*rig.handle.notice().borrow(), None);
    rig.frame();
    assert_eq!(watcher.next().await, (Shown::Camera, FrameKind::Delta));
}

#[tokio::test]
async fn a_lost_camera_is_a_slate_at_once_and_comes_back_in_the_same_stream() {
    let mut rig = Rig::new(I420);
    let mut watcher = Watcher::new(&rig);
    for _ in 0..2 {
        for _ in 0..3 {
            rig.frame();
        }
        assert_eq!(watcher.until(Shown::Camera).await, FrameKind::Key);
        for _ in 0..2 {
            assert_eq!(watcher.next().await, (Shown::Camera, FrameKind::Delta));
        }
        rig.script.refusals.store(usize::MAX, SeqCst);
        rig.step(Step::Fail);
        assert_eq!(watcher.until(Shown::Slate).await, FrameKind::Key);
        rig.until(is_down).await;
        rig.script.refusals.store(0, SeqCst);
    }
    assert!(rig.handle.stats().slate_frames >= 2);
}

#[tokio::test]
async fn a_pause_of_the_camera_is_a_slate_and_its_next_frame_a_key_frame() {
    let mut rig = Rig::new(I420);
    let mut watcher = Watcher::new(&rig);
    rig.frame();
    assert_eq!(watcher.next().await, (Shown::Camera, FrameKind::Key));
    rig.until(is_streaming).await;
    rig.advance(900);
    assert_eq!(watcher.next().await, (Shown::Slate, FrameKind::Key));
    assert_eq!(reason(rig.until(is_down).await), "the camera gives no picture");
    rig.frame();
    assert_eq!(watcher.until(Shown::Camera).await, FrameKind::Key);
    assert_eq!(rig.opened(), 1);
}

#[tokio::test]
async fn a_driver_that_blocks_leaves_nobody_in_the_dark() {
    let mut rig = Rig::new(I420);
    let (release, blocked) = mpsc::channel();
    *rig.script.blocks.lock().unwrap() = Some(blocked);
    let mut watcher = Watcher::new(&rig);
    rig.until(|state| *state == CameraState::Opening).await;
    rig.advance(2000);
    assert_eq!(watcher.next().await, (Shown::Slate, FrameKind::Key));
    assert_eq!(reason(rig.until(is_down).await), "the camera has not given its first picture yet");
    drop(release);
    rig.frame();
    assert_eq!(watcher.until(Shown::Camera).await, FrameKind::Key);

    let (release, blocked) = mpsc::channel();
    rig.step(Step::Block(blocked));
    rig.advance(900);
    assert_eq!(watcher.until(Shown::Slate).await, FrameKind::Key);
    drop(release);
    rig.frame();
    assert_eq!(watcher.until(Shown::Camera).await, FrameKind::Key);
}

#[tokio::test]
async fn an_encoder_that_hangs_is_named_on_the_slate() {
    let (notes, make) = fake_encoder();
    let mut rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.until(is_streaming).await;
    let (release, hangs) = mpsc::channel();
    notes.lock().unwrap().outcomes.push_back(Outcome::Hang(hangs));
    rig.frame();
    while rig.handle.stats().captured < 2 {
        tokio::task::yield_now().await;
    }
    rig.advance(900);
    let frame = viewer.next().await.unwrap().frame;
    assert!(is_slate(&frame) && frame.kind == FrameKind::Key);
    assert_eq!(reason(rig.until(is_down).await), "the encoder does not answer");
    drop(release);
    rig.frame();
    assert_eq!(rig.camera_frame(&mut viewer).await.kind, FrameKind::Key);
}

#[tokio::test]
async fn the_slate_of_a_camera_that_encodes_is_constrained_baseline_and_the_session_keeps_its_profile() {
    let mut rig = Rig::new(H264);
    let mut viewer = rig.handle.subscribe();
    rig.step(Step::Frame(HIGH_KEY.to_vec()));
    assert_eq!(viewer.next().await.unwrap().frame.data, HIGH_KEY);
    rig.script.refusals.store(usize::MAX, SeqCst);
    rig.step(Step::Fail);
    let slate = viewer.next().await.unwrap().frame;
    assert_eq!(slate.kind, FrameKind::Key);
    assert_eq!(profile_level(&slate.data).unwrap()[..2], [0x42, 0xc0]);
    let state = rig.until(is_down).await;
    assert!(matches!(state, CameraState::NoPicture { profile_level: [0x64, 0, 0x28], .. }), "{state:?}");

    // A frame that needs others before it is of no use, and the camera is asked for one that does not.
    rig.script.refusals.store(0, SeqCst);
    rig.step(Step::Frame(H264_DELTA.to_vec()));
    rig.step(Step::Frame(HIGH_KEY.to_vec()));
    loop {
        let frame = viewer.next().await.unwrap().frame;
        assert_ne!(frame.data, H264_DELTA);
        if frame.data == HIGH_KEY {
            break;
        }
    }
    assert!(rig.script.key_requests.load(SeqCst) >= 1);
}

#[tokio::test]
async fn a_newcomer_to_a_slate_gets_a_key_frame_of_it() {
    let rig = Rig::new(I420);
    rig.script.refusals.store(usize::MAX, SeqCst);
    let mut first = Watcher::new(&rig);
    for _ in 0..5 {
        first.next().await;
        rig.advance(250);
    }
    let mut second = Watcher::new(&rig);
    let coming = async {
        loop {
            // Each of the slate's frames takes a quarter of a second of the test's time.
            rig.advance(250);
            tokio::task::yield_now().await;
            clock::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        shown = second.next() => assert_eq!(shown, (Shown::Slate, FrameKind::Key)),
        () = coming => {}
    }
}

#[tokio::test]
async fn nobody_is_shown_no_slate() {
    let mut rig = Rig::new(I420);
    rig.script.refusals.store(usize::MAX, SeqCst);
    let mut watcher = Watcher::new(&rig);
    watcher.next().await;
    drop(watcher);
    rig.until(|state| *state == CameraState::Idle).await;
    let before = rig.handle.stats().slate_frames;
    rig.advance(10_000);
    // Passes the slate's thread once more: it has nothing to do, and says so by ending in time.
    rig.pipeline.stop();
    assert_eq!(rig.handle.stats().slate_frames, before);
    assert_eq!(*rig.handle.notice().borrow(), None);
}

#[tokio::test]
async fn a_changed_format_has_its_key_frame_with_the_second_frame_of_it() {
    let rig = Rig::new(I420);
    let mut watcher = Watcher::new(&rig);
    rig.frame();
    watcher.next().await;
    let larger = VideoFormat { width: 128, height: 96, stride: 128, ..I420 };
    rig.step(Step::Changed(larger, picture(&larger)));
    rig.step(Step::Frame(picture(&larger)));
    assert_eq!(watcher.next().await, (Shown::Camera, FrameKind::Key));
}

#[tokio::test]
async fn a_camera_whose_pictures_are_all_damaged_is_opened_anew_and_viewers_are_told() {
    let mut rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.until(is_streaming).await;
    for _ in 0..3 {
        rig.step(Step::Frame(vec![0; 7]));
        rig.advance(1000);
    }
    let shown = reason(
        rig.until(
            |state| matches!(state, CameraState::NoPicture { reason, .. } if reason.contains("damaged")),
        )
        .await,
    );
    assert!(shown.ends_with("gives nothing but damaged pictures"), "{shown}");
    assert!(rig.handle.stats().damaged >= 1);
    rig.frame();
    assert_eq!(rig.camera_frame(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!(rig.handle.stats().opened, 2);
}
