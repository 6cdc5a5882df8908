//! Which encoder a camera's pictures go to, and to which next when one fails.

use super::*;
use crate::encode::EncodeError;

/// A board whose encoder does as its notes say, and software that always works.
struct Board {
    hardware: Arc<Mutex<Notes>>,
    software: Arc<Mutex<Notes>>,
    /// The board's encoder is there.
    present: Arc<AtomicBool>,
}

impl Board {
    fn new() -> (Self, Arc<MakeEncoder>) {
        let board =
            Self { hardware: Arc::default(), software: Arc::default(), present: Arc::new(true.into()) };
        let (hardware, software) = (Arc::clone(&board.hardware), Arc::clone(&board.software));
        let present = Arc::clone(&board.present);
        let make: Arc<MakeEncoder> = Arc::new(move |kind, _, _| {
            let (notes, name) = match kind {
                Kind::M2m if present.load(SeqCst) => (&hardware, "the board's"),
                Kind::M2m => return Err(EncodeError::NoHardware),
                Kind::OpenH264 | Kind::Passthrough => (&software, "software"),
            };
            notes.lock().unwrap().made += 1;
            let encoder = Box::new(FakeEncoder { notes: Arc::clone(notes), first: true });
            Ok(Made { encoder, name: name.to_owned() })
        });
        (board, make)
    }

    fn fail(&self, times: usize) {
        self.hardware.lock().unwrap().outcomes.extend((0..times).map(|_| Outcome::Error));
    }

    /// How often an encoder was made: the board's, and software.
    fn made(&self) -> (usize, usize) {
        (self.hardware.lock().unwrap().made, self.software.lock().unwrap().made)
    }
}

fn in_use(rig: &Rig) -> (Kind, String) {
    let InUse { kind, why, .. } = rig.handle.encoder().expect("one is in use");
    (kind, why)
}

#[tokio::test]
async fn the_boards_encoder_is_used_where_there_is_one() {
    let (board, make) = Board::new();
    let rig = Rig::with_encoder(I420, make);
    assert_eq!(rig.handle.encoder(), None);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    assert_eq!(rig.handle.encoder().map(|in_use| in_use.name).as_deref(), Some("the board's"));
    assert_eq!((in_use(&rig).0, board.made()), (Kind::M2m, (1, 0)));
}

#[tokio::test]
async fn without_one_software_is_used() {
    let (board, make) = Board::new();
    board.present.store(false, SeqCst);
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    let why = "the board has no H.264 encoder that can be used".to_owned();
    assert_eq!((in_use(&rig), board.made()), ((Kind::OpenH264, why), (0, 1)));
}

#[tokio::test]
async fn one_failure_of_the_boards_encoder_costs_a_frame() {
    let (board, make) = Board::new();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    board.fail(1);
    rig.frame();
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!((in_use(&rig).0, board.made()), (Kind::M2m, (2, 0)));
}

#[tokio::test]
async fn software_takes_over_from_a_failing_encoder_until_the_camera_is_opened_again() {
    let (board, make) = Board::new();
    let mut rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    // Frames in between do not help: it is tired of it.
    for _ in 0..2 {
        board.fail(1);
        rig.frame();
        assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
    }
    assert_eq!((board.made(), rig.handle.stats().encode_errors, rig.opened()), ((2, 1), 2, 1));
    let (kind, why) = in_use(&rig);
    assert_eq!(
        (kind, why.as_str()),
        (Kind::OpenH264, "not the board's: the encoder failed: as the test said")
    );
    assert!(is_streaming(&rig.state.borrow()));
    drop(viewer);
    rig.advance(1_000);
    rig.until(|state| *state == CameraState::Idle).await;
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    assert_eq!((in_use(&rig).0, board.made()), (Kind::M2m, (3, 1)));
}

#[tokio::test]
async fn software_takes_over_at_once_from_an_encoder_that_is_gone() {
    let (board, make) = Board::new();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    board.present.store(false, SeqCst);
    board.fail(1);
    rig.frame();
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!((in_use(&rig).0, board.made(), rig.opened()), (Kind::OpenH264, (1, 1), 1));
}

#[tokio::test]
async fn failures_far_apart_are_forgiven() {
    let (board, make) = Board::new();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    for _ in 0..3 {
        for _ in 0..300 {
            rig.through(&mut viewer).await;
        }
        board.fail(1);
        rig.frame();
    }
    assert_eq!(rig.through(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!((in_use(&rig).0, board.made()), (Kind::M2m, (4, 0)));
}

#[tokio::test]
async fn an_encoder_that_was_named_is_not_replaced_by_another() {
    let (board, make) = Board::new();
    let mut rig = Rig::with_choice(I420, Choice::M2m, make);
    board.fail(3);
    let mut viewer = rig.handle.subscribe();
    for _ in 0..3 {
        rig.frame();
    }
    assert_eq!(reason(rig.until(is_down).await), "the encoder failed: as the test said");
    rig.frame();
    assert_eq!(rig.camera_frame(&mut viewer).await.kind, FrameKind::Key);
    assert_eq!((in_use(&rig), board.made().1), ((Kind::M2m, "the configuration asks for m2m".to_owned()), 0));
}

#[tokio::test]
async fn an_encoder_that_was_named_and_is_not_there_is_a_reason_in_words() {
    let (board, make) = Board::new();
    board.present.store(false, SeqCst);
    let mut rig = Rig::with_choice(I420, Choice::M2m, make);
    let _viewer = rig.handle.subscribe();
    let reason = reason(rig.until(is_down).await);
    assert!(reason.contains("no H.264 encoder") && reason.contains("--encoder auto"), "{reason}");
}

#[tokio::test]
async fn pictures_are_nothing_for_passthrough() {
    let (board, make) = Board::new();
    let mut rig = Rig::with_choice(I420, Choice::Passthrough, make);
    let _viewer = rig.handle.subscribe();
    let reason = reason(rig.until(is_down).await);
    assert!(reason.contains("nothing for encoder passthrough"), "{reason}");
    assert_eq!(board.made(), (0, 0));
}

/// Gives each frame with the one after it, or when asked for late ones, as `behind` says.
struct Late {
    within: VecDeque<Output>,
    behind: Arc<AtomicBool>,
    first: bool,
}

impl Encoder for Late {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        let key = std::mem::take(&mut self.first) || request == Request::Key;
        let kind = if key { FrameKind::Key } else { FrameKind::Delta };
        let (data, captured) = (frame.data[..4].to_vec().into(), frame.captured);
        self.within.push_back(Output { data, kind, captured });
        Ok((self.within.len() > 1).then(|| self.within.pop_front()).flatten())
    }

    fn take_ready(&mut self) -> Result<Option<Output>, EncodeError> {
        Ok(if self.behind.load(SeqCst) { None } else { self.within.pop_front() })
    }

    fn set_bitrate(&mut self, _bitrate: Bitrate) -> Result<(), EncodeError> {
        Ok(())
    }

    fn profile_level(&self) -> Option<[u8; 3]> {
        Some([0x42, 0xc0, 0x0a])
    }
}

#[tokio::test]
async fn frames_of_an_encoder_that_is_behind_keep_their_times_and_come_without_a_next_one() {
    let behind = Arc::new(AtomicBool::new(true));
    let shared = Arc::clone(&behind);
    let make: Arc<MakeEncoder> = Arc::new(move |_, _, _| {
        let encoder = Late { within: VecDeque::new(), behind: Arc::clone(&shared), first: true };
        Ok(Made { encoder: Box::new(encoder), name: "late".to_owned() })
    });
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.frame();
    rig.frame();
    let first = viewer.next().await.unwrap().frame;
    assert_eq!((first.number, first.kind, first.captured), (0, FrameKind::Key, rig.script.start));
    rig.advance(40);
    rig.frame();
    let second = viewer.next().await.unwrap().frame;
    assert_eq!(second.number, 1);
    assert!(second.captured < rig.script.start + Duration::from_millis(40), "not the third's time");
    rig.advance(40);
    behind.store(false, SeqCst);
    let third = viewer.next().await.unwrap().frame;
    assert_eq!((third.number, third.captured), (2, rig.script.start + Duration::from_millis(40)));
    assert_eq!(rig.handle.stats().captured, 3);
}
