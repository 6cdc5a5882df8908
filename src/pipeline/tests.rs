//! The pipeline over a camera that does what the test says, step by step, by the test's own clock.

mod encoders;
mod load;
mod slate;
mod turning;

use std::{
    collections::VecDeque,
    sync::{
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
};

use super::*;
use crate::{
    camera::{Accept, Camera, CameraError, Frame, FrameRate, PixelFormat, SizeWish},
    encode::{EncodedFrame, Encoder, FrameKind, Output, Request},
};

const I420: VideoFormat =
    VideoFormat { pixel: PixelFormat::I420, width: 64, height: 48, stride: 64, rate: FrameRate::new(30) };
const H264: VideoFormat = VideoFormat { pixel: PixelFormat::H264, stride: 0, ..I420 };
const H264_KEY: &[u8] =
    &[0, 0, 0, 1, 0x67, 0x4d, 0x00, 0x28, 0x01, 0, 0, 0, 1, 0x68, 0x01, 0, 0, 0, 1, 0x65, 0x80];
const H264_DELTA: &[u8] = &[0, 0, 0, 1, 0x41, 0x80];

/// What the camera does next.
enum Step {
    Frame(Vec<u8>),
    /// A frame that comes after so many lost ones.
    After(u32, Vec<u8>),
    /// The first frame of another format.
    Changed(VideoFormat, Vec<u8>),
    Fail,
    Panic,
    /// Blocks in the driver until the test has dropped its end.
    Block(mpsc::Receiver<()>),
}

/// What a test and its camera share.
struct Script {
    steps: Mutex<mpsc::Receiver<Step>>,
    format: VideoFormat,
    /// What the camera does of turning its pictures.
    turns: Orientation,
    /// The next attempts to open are refused.
    refusals: AtomicUsize,
    /// The next attempt to open blocks until the test has dropped its end.
    blocks: Mutex<Option<mpsc::Receiver<()>>>,
    open: AtomicBool,
    opened: AtomicUsize,
    key_requests: AtomicUsize,
    /// How often a frame was asked for: each time, the one before is done with.
    asked: AtomicUsize,
    /// The test's clock: milliseconds since `start`.
    milliseconds: AtomicU64,
    start: Instant,
}

impl Script {
    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.milliseconds.load(SeqCst))
    }
}

struct ScriptedSource(Arc<Script>);

impl CameraSource for ScriptedSource {
    fn open(&self, _wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        if let Some(end) = self.0.blocks.lock().unwrap().take() {
            let _ = end.recv();
        }
        let refuse = self.0.refusals.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if refuse {
            return Err(CameraError::NotFound { device: "scripted".into(), remedy: "wait".into() });
        }
        assert!(!self.0.open.swap(true, SeqCst), "opened twice at once");
        self.0.opened.fetch_add(1, SeqCst);
        Ok(Box::new(Scripted { script: Arc::clone(&self.0), format: self.0.format, data: vec![] }))
    }

    fn describe(&self) -> String {
        "scripted".into()
    }
}

struct Scripted {
    script: Arc<Script>,
    format: VideoFormat,
    data: Vec<u8>,
}

impl Camera for Scripted {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        self.script.asked.fetch_add(1, SeqCst);
        let step = self.script.steps.lock().unwrap().recv_timeout(wait);
        let (data, skipped) = match step {
            Ok(Step::Frame(data)) => (data, 0),
            Ok(Step::After(skipped, data)) => (data, skipped),
            Ok(Step::Changed(format, data)) => {
                self.format = format;
                (data, 0)
            }
            Ok(Step::Fail) => return Err(CameraError::Lost { device: "scripted".into() }),
            Ok(Step::Panic) => panic!("as the test said"),
            Ok(Step::Block(end)) => {
                let _ = end.recv();
                return Ok(None);
            }
            Err(_) => return Ok(None),
        };
        self.data = data;
        Ok(Some(Frame { data: &self.data, captured: self.script.now(), dmabuf: None, skipped }))
    }

    fn turn(&mut self, _wanted: Orientation) -> Orientation {
        self.script.turns
    }

    fn request_key_frame(&mut self) {
        self.script.key_requests.fetch_add(1, SeqCst);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.script.open.store(false, SeqCst);
    }
}

/// A pipeline and the strings it hangs on.
struct Rig {
    handle: CameraHandle,
    pipeline: Pipeline,
    script: Arc<Script>,
    steps: mpsc::Sender<Step>,
    state: watch::Receiver<CameraState>,
}

impl Rig {
    fn new(format: VideoFormat) -> Self {
        Self::with_encoder(format, on_a_board_without_encoder(choice::make))
    }

    fn with_encoder(format: VideoFormat, make_encoder: Arc<MakeEncoder>) -> Self {
        Self::with_choice(format, Choice::Auto, make_encoder)
    }

    fn with_choice(format: VideoFormat, encoder: Choice, make_encoder: Arc<MakeEncoder>) -> Self {
        Self::build(format, encoder, make_encoder, Orientation::UPRIGHT, Orientation::UPRIGHT, None)
    }

    /// A camera that is to be turned, and what it does of that itself.
    fn turned(format: VideoFormat, wanted: Orientation, by_camera: Orientation) -> Self {
        let make_encoder = on_a_board_without_encoder(choice::make);
        Self::build(format, Choice::Auto, make_encoder, wanted, by_camera, None)
    }

    fn build(
        format: VideoFormat,
        encoder: Choice,
        make_encoder: Arc<MakeEncoder>,
        orientation: Orientation,
        turns: Orientation,
        caption: Option<Caption>,
    ) -> Self {
        let (steps, receiver) = mpsc::channel();
        let script = Arc::new(Script {
            steps: Mutex::new(receiver),
            format,
            turns,
            refusals: AtomicUsize::new(0),
            blocks: Mutex::new(None),
            open: AtomicBool::new(false),
            opened: AtomicUsize::new(0),
            key_requests: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            milliseconds: AtomicU64::new(0),
            start: clock::now(),
        });
        let by_script = Arc::clone(&script);
        let parts = Parts {
            source: Arc::new(ScriptedSource(Arc::clone(&script))),
            make_encoder,
            now: Arc::new(move || by_script.now()),
            timing: Timing {
                slice: Duration::from_millis(1),
                retry: Duration::from_millis(1),
                retry_slowly: Duration::from_millis(1),
                look: Duration::from_millis(1),
                ..Timing::REAL
            },
        };
        let settings = CameraSettings {
            id: "test".into(),
            name: "Test".into(),
            wish: Wish {
                width: 64,
                height: 48,
                rate: FrameRate::new(30),
                size: SizeWish::Nearest,
                accept: Accept::Any,
            },
            bitrate: Bitrate(500_000),
            encoder,
            orientation,
            caption,
            // By load alone: how hot the machine of the tests is shall not matter.
            hot: Some(1000.0),
        };
        let (handle, pipeline) = start_with(settings, parts).unwrap();
        let state = handle.state();
        Self { handle, pipeline, script, steps, state }
    }

    fn step(&self, step: Step) {
        self.steps.send(step).unwrap();
    }

    fn frame(&self) {
        self.step(Step::Frame(picture(&I420)));
    }

    fn advance(&self, milliseconds: u64) {
        self.script.milliseconds.fetch_add(milliseconds, SeqCst);
    }

    /// A frame out of the camera, through the pipeline, and to a viewer.
    async fn through(&self, viewer: &mut Subscription) -> EncodedFrame {
        self.frame();
        viewer.next().await.unwrap().frame
    }

    /// The next frame of the camera, past those of the slate.
    async fn camera_frame(&self, viewer: &mut Subscription) -> EncodedFrame {
        loop {
            let frame = viewer.next().await.unwrap().frame;
            if !is_slate(&frame) {
                return frame;
            }
        }
    }

    async fn until(&mut self, what: impl FnMut(&CameraState) -> bool) -> CameraState {
        self.state.wait_for(what).await.unwrap().clone()
    }

    fn opened(&self) -> usize {
        self.script.opened.load(SeqCst)
    }

    fn is_open(&self) -> bool {
        self.script.open.load(SeqCst)
    }
}

fn picture(format: &VideoFormat) -> Vec<u8> {
    vec![100; format.frame_bytes()]
}

/// Whether a frame is the slate's, and not a key frame of the camera's even grey or of the fake encoder's.
fn is_slate(frame: &EncodedFrame) -> bool {
    let mut decoder = ::openh264::decoder::Decoder::new().unwrap();
    frame.data.len() > 4 && !matches!(decoder.decode(&frame.data), Ok(Some(picture)) if is_grey(&picture))
}

/// Whether a decoded picture is the camera's: all of it as bright as `picture`.
fn is_grey(decoded: &impl ::openh264::formats::YUVSource) -> bool {
    decoded.y()[..16].iter().all(|value| value.abs_diff(100) < 5)
}

fn is_down(state: &CameraState) -> bool {
    matches!(state, CameraState::NoPicture { .. })
}

fn reason(state: CameraState) -> String {
    match state {
        CameraState::NoPicture { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn is_streaming(state: &CameraState) -> bool {
    matches!(state, CameraState::Streaming { .. })
}

#[tokio::test]
async fn camera_is_open_while_someone_watches() {
    let mut rig = Rig::new(I420);
    assert_eq!((rig.opened(), rig.state.borrow().clone()), (0, CameraState::Idle));
    let mut first = rig.handle.subscribe();
    assert_eq!(rig.through(&mut first).await.kind, FrameKind::Key);
    assert!(is_streaming(&rig.state.borrow()));
    let second = rig.handle.subscribe();
    drop(first);
    rig.advance(60_000);
    let mut third = rig.handle.subscribe();
    drop(second);
    rig.handle.request_key_frame();
    rig.through(&mut third).await;
    assert_eq!((rig.opened(), rig.handle.stats().viewers), (1, 1));
    drop(third);
    rig.advance(1_000);
    rig.until(|state| *state == CameraState::Idle).await;
    assert!(!rig.is_open());
    assert_eq!(rig.handle.stats().viewers, 0);
}

#[tokio::test]
async fn viewer_who_comes_back_at_once_finds_the_camera_running() {
    let rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    assert_eq!(rig.through(&mut viewer).await.number, 0);
    drop(viewer);
    rig.advance(999);
    let mut again = rig.handle.subscribe();
    rig.handle.request_key_frame();
    // It may begin with the frame that is there, or with the next.
    let mut frame = rig.through(&mut again).await;
    while frame.number < 1 {
        frame = again.next().await.unwrap().frame;
    }
    assert_eq!((frame.number, rig.opened()), (1, 1));
}

#[tokio::test]
async fn viewer_after_a_pause_gets_a_new_picture_with_the_next_number() {
    let mut rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    assert_eq!(rig.through(&mut viewer).await.number, 0);
    drop(viewer);
    rig.advance(1_000);
    rig.until(|state| *state == CameraState::Idle).await;
    let mut viewer = rig.handle.subscribe();
    let frame = rig.through(&mut viewer).await;
    assert_eq!((frame.number, frame.kind, rig.opened()), (1, FrameKind::Key, 2));
}

#[tokio::test]
async fn camera_that_cannot_be_opened_is_tried_again_and_viewers_stay() {
    let mut rig = Rig::new(I420);
    rig.script.refusals.store(3, SeqCst);
    let mut viewer = rig.handle.subscribe();
    let failed = rig.until(is_down).await;
    assert_eq!(reason(failed), "no camera at scripted");
    rig.frame();
    assert_eq!(rig.camera_frame(&mut viewer).await.kind, FrameKind::Key);
    rig.until(is_streaming).await;
    let stats = rig.handle.stats();
    assert_eq!((stats.opened, stats.reopened), (1, 3));
}

#[tokio::test]
async fn after_a_lost_camera_numbers_go_on_with_a_key_frame() {
    let mut rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    for number in 0..3 {
        assert_eq!(rig.through(&mut viewer).await.number, number);
    }
    rig.step(Step::Fail);
    let failed = rig.until(is_down).await;
    assert_eq!(reason(failed), "camera scripted was disconnected");
    rig.frame();
    for number in 3.. {
        let received = viewer.next().await.unwrap();
        assert_eq!((received.frame.number, received.lost), (number, 0));
        if !is_slate(&received.frame) {
            assert_eq!(received.frame.kind, FrameKind::Key);
            break;
        }
    }
    rig.until(is_streaming).await;
    assert_eq!(rig.opened(), 2);
}

#[tokio::test]
async fn silent_camera_is_reopened() {
    let mut rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.advance(2_000);
    rig.until(|state| is_down(state) && reason(state.clone()) == "camera scripted gave no picture for 2.0 s")
        .await;
    rig.frame();
    rig.camera_frame(&mut viewer).await;
    assert_eq!(rig.opened(), 2);
}

#[tokio::test]
async fn key_frames_are_made_on_request_merged_and_limited() {
    let rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
    for _ in 0..10 {
        rig.handle.request_key_frame();
        rig.advance(40);
        assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Delta);
    }
    rig.advance(100);
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
    // In steps in which the camera does not count as silent, and is not stood in for by the slate.
    for _ in 0..12 {
        rig.advance(400);
        assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Delta, "nobody asked again");
    }
    let stats = rig.handle.stats();
    assert_eq!((stats.key_frames, stats.key_requests_merged, stats.encoded), (2, 9, 24));
}

#[tokio::test]
async fn format_change_gives_a_key_frame_of_the_new_format() {
    let mut rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.through(&mut viewer).await;
    // The same number of bytes: nothing but the format tells that it is another picture.
    let turned = VideoFormat { width: 48, height: 64, stride: 48, ..I420 };
    rig.step(Step::Changed(turned, picture(&turned)));
    rig.step(Step::Frame(picture(&turned)));
    let frame = viewer.next().await.unwrap().frame;
    assert_eq!((frame.number, frame.kind), (2, FrameKind::Key));
    let state = rig.until(is_streaming).await;
    assert!(matches!(state, CameraState::Streaming { format, .. } if format == turned), "{state:?}");
    let mut decoder = ::openh264::decoder::Decoder::new().unwrap();
    let decoded = decoder.decode(&frame.data).unwrap().expect("a picture");
    assert_eq!(::openh264::formats::YUVSource::dimensions(&decoded), (48, 64));
    assert_eq!(rig.opened(), 1);
}

#[tokio::test]
async fn damaged_frame_is_dropped_and_counted() {
    let rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    rig.step(Step::Frame(vec![0; 17]));
    let frame = rig.through(&mut viewer).await;
    assert_eq!((frame.number, frame.kind), (0, FrameKind::Key));
    rig.step(Step::After(4, vec![]));
    assert_eq!(rig.through(&mut viewer).await.number, 1);
    let stats = rig.handle.stats();
    assert_eq!((stats.captured, stats.damaged, stats.skipped, stats.encoded), (4, 2, 4, 2));
    assert_eq!((stats.encode_errors, rig.opened()), (0, 1));
}

/// Obeys, writes down what it was told, and fails when told to.
struct FakeEncoder {
    notes: Arc<Mutex<Notes>>,
    first: bool,
}

#[derive(Default)]
struct Notes {
    made: usize,
    bitrates: Vec<Bitrate>,
    /// What the next frames meet.
    outcomes: VecDeque<Outcome>,
    /// So many milliseconds of the test's time go by with each frame.
    slow: Option<(Arc<Script>, u64)>,
}

enum Outcome {
    Error,
    Nothing,
    /// Does not answer until the test has dropped its end.
    Hang(mpsc::Receiver<()>),
}

impl Encoder for FakeEncoder {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        let outcome = self.notes.lock().unwrap().outcomes.pop_front();
        if let Some((script, took)) = &self.notes.lock().unwrap().slow {
            script.milliseconds.fetch_add(*took, SeqCst);
        }
        match outcome {
            Some(Outcome::Hang(end)) => {
                let _ = end.recv();
            }
            Some(Outcome::Error) => return Err(EncodeError::Failed("as the test said".into())),
            Some(Outcome::Nothing) => return Ok(None),
            None => {}
        }
        let key = std::mem::take(&mut self.first) || request == Request::Key;
        let kind = if key { FrameKind::Key } else { FrameKind::Delta };
        Ok(Some(Output { data: frame.data[..4].to_vec().into(), kind, captured: frame.captured }))
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        self.notes.lock().unwrap().bitrates.push(bitrate);
        Ok(())
    }

    fn profile_level(&self) -> Option<[u8; 3]> {
        Some([0x42, 0xc0, 0x0a])
    }
}

fn fake_encoder() -> (Arc<Mutex<Notes>>, Arc<MakeEncoder>) {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let shared = Arc::clone(&notes);
    let make = on_a_board_without_encoder(move |_, _, _| {
        shared.lock().unwrap().made += 1;
        let encoder = Box::new(FakeEncoder { notes: Arc::clone(&shared), first: true });
        Ok(Made { encoder, name: "fake".to_owned() })
    });
    (notes, make)
}

/// Makes all kinds but that of the board's own encoder.
fn on_a_board_without_encoder(
    make: impl Fn(Kind, VideoFormat, Bitrate) -> Result<Made, EncodeError> + Send + Sync + 'static,
) -> Arc<MakeEncoder> {
    Arc::new(move |kind, format, bitrate| match kind {
        Kind::M2m => Err(EncodeError::NoHardware),
        Kind::OpenH264 | Kind::Passthrough => make(kind, format, bitrate),
    })
}

#[tokio::test]
async fn failed_encoder_is_made_anew_and_begins_with_a_key_frame() {
    let (notes, make) = fake_encoder();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Delta);
    notes.lock().unwrap().outcomes.extend([Outcome::Error, Outcome::Error]);
    rig.frame();
    rig.frame();
    let frame = rig.through(&mut viewer).await;
    assert_eq!((frame.number, frame.kind), (2, FrameKind::Key));
    assert_eq!((notes.lock().unwrap().made, rig.handle.stats().encode_errors, rig.opened()), (3, 2, 1));
}

#[tokio::test]
async fn encoder_that_keeps_failing_fails_the_camera_which_is_tried_again() {
    let (notes, make) = fake_encoder();
    let mut rig = Rig::with_encoder(I420, make);
    notes.lock().unwrap().outcomes.extend([Outcome::Error, Outcome::Error, Outcome::Error]);
    let mut viewer = rig.handle.subscribe();
    for _ in 0..3 {
        rig.frame();
    }
    let failed = rig.until(is_down).await;
    assert_eq!(reason(failed), "the encoder failed: as the test said");
    rig.frame();
    assert_eq!(rig.camera_frame(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!(rig.opened(), 2);
}

#[tokio::test]
async fn key_frame_that_the_encoder_skipped_comes_with_the_next_frame() {
    let (notes, make) = fake_encoder();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.advance(600);
    rig.handle.request_key_frame();
    notes.lock().unwrap().outcomes.push_back(Outcome::Nothing);
    rig.frame();
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
}

#[tokio::test]
async fn bitrate_follows_the_estimates_of_the_viewers() {
    let (notes, make) = fake_encoder();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.handle.report_estimate(1, 200_000);
    rig.through(&mut viewer).await;
    rig.handle.forget_viewer(1);
    rig.advance(1_000);
    rig.through(&mut viewer).await;
    assert_eq!(notes.lock().unwrap().bitrates, [Bitrate(200_000), Bitrate(216_000)]);
}

#[tokio::test]
async fn camera_that_encodes_is_asked_for_the_key_frames_that_are_wanted() {
    let mut rig = Rig::new(H264);
    let mut viewer = rig.handle.subscribe();
    // It begins in the middle of its stream: the frames before a key frame are of no use to anyone.
    rig.step(Step::Frame(H264_DELTA.to_vec()));
    rig.step(Step::Frame(H264_KEY.to_vec()));
    let frame = viewer.next().await.unwrap().frame;
    assert_eq!((frame.number, frame.kind, &frame.data[..]), (0, FrameKind::Key, H264_KEY));
    assert_eq!(rig.script.key_requests.load(SeqCst), 1);
    let state = rig.until(is_streaming).await;
    assert_eq!(state, CameraState::Streaming { format: H264, profile_level: [0x4d, 0, 0x28] });
    rig.advance(600);
    rig.handle.request_key_frame();
    rig.step(Step::Frame(H264_DELTA.to_vec()));
    assert_eq!(viewer.next().await.unwrap().frame.kind, FrameKind::Delta);
    rig.step(Step::Frame(H264_KEY.to_vec()));
    assert_eq!(viewer.next().await.unwrap().frame.kind, FrameKind::Key);
    assert_eq!(rig.script.key_requests.load(SeqCst), 2);
}

#[tokio::test]
async fn gap_in_a_cameras_own_stream_is_closed_by_a_key_frame() {
    let rig = Rig::new(H264);
    let mut viewer = rig.handle.subscribe();
    rig.step(Step::Frame(H264_KEY.to_vec()));
    viewer.next().await.unwrap();
    rig.advance(600);
    rig.step(Step::After(2, H264_DELTA.to_vec()));
    rig.step(Step::Frame(H264_DELTA.to_vec()));
    rig.step(Step::Frame(H264_KEY.to_vec()));
    let frame = viewer.next().await.unwrap().frame;
    assert_eq!((frame.number, frame.kind), (1, FrameKind::Key));
    assert_eq!(rig.script.key_requests.load(SeqCst), 1);
}

#[tokio::test]
async fn snapshot_opens_the_camera_waits_until_it_has_settled_and_closes_it() {
    let mut rig = Rig::new(I420);
    let handle = rig.handle.clone();
    let still = tasks::spawn("still", async move { handle.still().await });
    rig.until(is_streaming).await;
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    drop(viewer);
    assert!(matches!(rig.handle.still().await, Err(StillError::Busy)), "one at a time");
    rig.advance(1000);
    let mut last = picture(&I420);
    last.fill(33);
    rig.step(Step::Frame(last.clone()));
    let taken = still.await.unwrap().unwrap();
    assert_eq!((taken.format, taken.data), (I420, last));
    rig.advance(1500);
    rig.until(|state| *state == CameraState::Idle).await;
    assert!(!rig.is_open());
}

#[tokio::test]
async fn snapshot_of_a_camera_that_does_not_work_says_why() {
    let rig = Rig::new(I420);
    rig.script.refusals.store(1_000_000, SeqCst);
    let said = rig.handle.still().await.unwrap_err().to_string();
    assert_eq!(said, "no camera at scripted: wait");
}

#[tokio::test]
async fn stop_closes_the_camera_and_ends_the_subscriptions() {
    let rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    let Rig { pipeline, handle, script, .. } = rig;
    pipeline.stop();
    assert!(!script.open.load(SeqCst));
    assert_eq!(viewer.next().await, None);
    assert_eq!(handle.subscribe().next().await, None);
    assert_eq!(*handle.state().borrow(), CameraState::Idle);
}

#[tokio::test]
async fn pipeline_that_was_never_watched_stops() {
    let rig = Rig::new(I420);
    rig.pipeline.stop();
    assert_eq!(rig.script.opened.load(SeqCst), 0);
}

#[tokio::test]
async fn after_a_panic_of_a_camera_it_is_opened_again_and_viewers_stay() {
    let mut rig = Rig::new(I420);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    rig.step(Step::Panic);
    let failed = rig.until(is_down).await;
    assert!(reason(failed).contains("a fault in pinhole"));
    rig.frame();
    assert_eq!(rig.camera_frame(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!(rig.opened(), 2);
    rig.pipeline.stop();
}

#[tokio::test]
async fn synthetic_camera_runs_through_the_real_parts() {
    let settings = CameraSettings {
        id: "synthetic".into(),
        name: "Synthetic".into(),
        wish: Wish {
            width: 160,
            height: 96,
            rate: FrameRate::new(60),
            size: SizeWish::Exact,
            accept: Accept::Any,
        },
        bitrate: Bitrate(300_000),
        encoder: Choice::OpenH264,
        orientation: Orientation::UPRIGHT,
        caption: None,
        hot: None,
    };
    let (handle, pipeline) = start(settings, crate::camera::synthetic::source()).unwrap();
    let mut viewers = [handle.subscribe(), handle.subscribe()];
    for viewer in &mut viewers {
        let mut decoder = ::openh264::decoder::Decoder::new().unwrap();
        for _ in 0..5 {
            let received = viewer.next().await.unwrap();
            assert!(decoder.decode(&received.frame.data).unwrap().is_some());
        }
    }
    assert_eq!(handle.stats().opened, 1);
    drop(viewers);
    pipeline.stop();
}

/// A 720p30 camera with one viewer for ten seconds, for `time` or `perf stat` to measure the process by. Run alone:
/// `cargo test --release -- --ignored --nocapture measure_ten_seconds`.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn measure_ten_seconds() {
    let settings = CameraSettings {
        id: "synthetic".into(),
        name: "Synthetic".into(),
        wish: Wish {
            width: 1280,
            height: 720,
            rate: FrameRate::new(30),
            size: SizeWish::Exact,
            accept: Accept::Any,
        },
        bitrate: Bitrate(1_500_000),
        encoder: Choice::OpenH264,
        orientation: Orientation::UPRIGHT,
        caption: None,
        hot: None,
    };
    let (handle, pipeline) = start(settings, crate::camera::synthetic::source()).unwrap();
    let mut viewer = handle.subscribe();
    let (mut delays, mut last) = (vec![], 0);
    while last < 300 {
        let frame = viewer.next().await.unwrap().frame;
        delays.push(frame.captured.elapsed());
        last = frame.number;
    }
    delays.sort();
    println!(
        "capture to viewer: median {:?}, worst {:?}",
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    );
    println!("{:?}", handle.stats());
    drop(viewer);
    pipeline.stop();
}

#[tokio::test]
async fn a_thread_that_owes_no_step_is_not_stuck_and_one_whose_encoder_hangs_is() {
    let (notes, make_encoder) = fake_encoder();
    let rig = Rig::with_encoder(I420, make_encoder);
    assert!(!rig.handle.is_stuck(rig.handle.shared.now()));
    let mut viewer = rig.handle.subscribe();
    rig.frame();
    viewer.next().await.unwrap();
    assert!(!rig.handle.is_stuck(rig.handle.shared.now()));
    let (release, hangs) = mpsc::channel();
    notes.lock().unwrap().outcomes.push_back(Outcome::Hang(hangs));
    rig.frame();
    while rig.handle.stats().captured < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!rig.handle.is_stuck(rig.handle.shared.now()));
    rig.advance(4001);
    assert!(rig.handle.is_stuck(rig.handle.shared.now()));
    drop(release);
    rig.frame();
    while rig.handle.stats().captured < 3 {
        tokio::task::yield_now().await;
    }
    assert!(!rig.handle.is_stuck(rig.handle.shared.now()));
}
