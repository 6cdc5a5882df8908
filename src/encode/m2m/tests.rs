//! The encoder over a device that is made of OpenH264 and does what the test says: is late, loses frames, hangs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use super::{coder::Sink, *};
use crate::{
    camera::{FrameRate, PixelFormat},
    encode::openh264::OpenH264,
};

/// What the test and its device share.
#[derive(Default)]
struct Script {
    /// So many pictures stay within until another is put in.
    behind: usize,
    /// The next pictures come out damaged.
    damaged: usize,
    /// The next pictures are swallowed.
    swallowed: usize,
    /// Nothing is taken in any more.
    full: bool,
    /// The control for key frames does nothing.
    deaf: bool,
    /// Key frames that were asked for.
    forced: usize,
}

/// A device like those of single-board computers: it gives parameter sets before the first picture only, and those
/// in a piece of their own.
struct Device {
    script: Arc<Mutex<Script>>,
    codec: OpenH264,
    request: Request,
    within: VecDeque<Piece>,
    sets_given: bool,
}

struct Piece {
    data: Vec<u8>,
    stamp: Duration,
    damaged: bool,
}

impl Coder for Device {
    fn put_in(&mut self, frame: &Frame<'_>, stamp: Duration) -> Result<PutIn, EncodeError> {
        let mut script = self.script.lock().unwrap();
        if script.full {
            return Ok(PutIn::NoRoom);
        }
        let request = std::mem::replace(&mut self.request, Request::Any);
        let coded = self.codec.encode(frame, request)?.expect("OpenH264 skips nothing");
        let due = |count: &mut usize| std::mem::replace(count, count.saturating_sub(1)) > 0;
        if due(&mut script.swallowed) {
            return Ok(PutIn::Taken);
        }
        let damaged = due(&mut script.damaged);
        let idr = coded.data.windows(5).position(|window| window == [0, 0, 0, 1, 0x65]).unwrap_or(0);
        let (sets, picture) = coded.data.split_at(idr);
        if !std::mem::replace(&mut self.sets_given, true) {
            self.within.push_back(Piece { data: sets.to_vec(), stamp, damaged: false });
        }
        self.within.push_back(Piece { data: picture.to_vec(), stamp, damaged });
        Ok(PutIn::Taken)
    }

    fn take(&mut self, sink: &mut Sink<'_>) -> Result<bool, EncodeError> {
        if self.within.len() <= self.script.lock().unwrap().behind {
            return Ok(false);
        }
        let Some(Piece { data, stamp, damaged }) = self.within.pop_front() else { return Ok(false) };
        sink(Coded { data: &data, stamp, damaged, key: false });
        Ok(true)
    }

    fn wait(&mut self, _wait: Duration) -> Result<Waited, EncodeError> {
        Ok(Waited::InVain)
    }

    fn force_key_frame(&mut self, means: Means, _sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        let mut script = self.script.lock().unwrap();
        if !(script.deaf && means == Means::Control) {
            self.request = Request::Key;
        }
        script.forced += 1;
        Ok(())
    }

    fn set_bitrate(&mut self, bitrate: Bitrate, _sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        self.codec.set_bitrate(bitrate)
    }

    fn reads_in_place(&self) -> bool {
        false
    }
}

/// An encoder over such a device, which is quick and in order.
pub(in crate::encode) fn over_openh264(
    format: VideoFormat,
    bitrate: Bitrate,
) -> Result<M2mEncoder, EncodeError> {
    Ok(scripted(format, bitrate)?.0)
}

fn scripted(format: VideoFormat, bitrate: Bitrate) -> Result<(M2mEncoder, Arc<Mutex<Script>>), EncodeError> {
    let script = Arc::new(Mutex::new(Script::default()));
    let codec = OpenH264::new(format, bitrate)?;
    let device = Device {
        script: Arc::clone(&script),
        codec,
        request: Request::Any,
        within: VecDeque::new(),
        sets_given: false,
    };
    let payload = Payload::H264(Assembler::default());
    Ok((M2mEncoder::new("a device".to_owned(), Box::new(device), payload, format, bitrate), script))
}

const FRAME: Duration = Duration::from_millis(33);
const FORMAT: VideoFormat =
    VideoFormat { pixel: PixelFormat::I420, width: 64, height: 48, stride: 64, rate: FrameRate::new(30) };

struct Rig {
    encoder: M2mEncoder,
    script: Arc<Mutex<Script>>,
    start: std::time::Instant,
    frames: u32,
}

impl Rig {
    fn new() -> Self {
        let (encoder, script) = scripted(FORMAT, Bitrate(500_000)).unwrap();
        Self { encoder, script, start: clock::now(), frames: 0 }
    }

    fn set(&self, set: impl FnOnce(&mut Script)) {
        set(&mut self.script.lock().unwrap());
    }

    /// Frame number `frames`, taken at so many frames' time from the start.
    fn encode(&mut self, request: Request) -> Result<Option<Output>, EncodeError> {
        let data = vec![(self.frames % 200) as u8; FORMAT.frame_bytes()];
        let captured = self.start + FRAME * self.frames;
        self.frames += 1;
        self.encoder.encode(&Frame { data: &data, captured, dmabuf: None, skipped: 0 }, request)
    }

    /// The number of the frame that came out, and what it is.
    fn number(&self, output: &Output) -> (u32, FrameKind) {
        let since = (output.captured - self.start).as_micros() / FRAME.as_micros();
        (u32::try_from(since).unwrap(), output.kind)
    }

    fn next(&mut self, request: Request) -> Option<(u32, FrameKind)> {
        let output = self.encode(request).unwrap()?;
        Some(self.number(&output))
    }

    fn late(&mut self) -> Option<(u32, FrameKind)> {
        let output = self.encoder.take_ready().unwrap()?;
        Some(self.number(&output))
    }
}

#[test]
fn frames_of_an_encoder_that_is_behind_have_their_own_times() {
    let mut rig = Rig::new();
    rig.set(|script| script.behind = 1);
    assert_eq!(rig.next(Request::Any), None, "the first is within");
    for number in 0..5 {
        let kind = if number == 0 { FrameKind::Key } else { FrameKind::Delta };
        assert_eq!(rig.next(Request::Any), Some((number, kind)));
        assert_eq!(rig.late(), None);
    }
    rig.set(|script| script.behind = 0);
    assert_eq!(rig.late(), Some((5, FrameKind::Delta)), "it has caught up");
    assert_eq!(rig.late(), None);
    assert_eq!(rig.next(Request::Any), Some((6, FrameKind::Delta)));
}

#[test]
fn a_key_frame_on_its_way_serves_further_requests() {
    let mut rig = Rig::new();
    rig.set(|script| script.behind = 2);
    let mut kinds = vec![];
    for number in 0..10 {
        let request = if (4..6).contains(&number) { Request::Key } else { Request::Any };
        kinds.extend(rig.next(request).map(|(number, kind)| (kind == FrameKind::Key).then_some(number)));
    }
    assert_eq!(kinds.into_iter().flatten().collect::<Vec<_>>(), [0, 4]);
    assert_eq!(rig.script.lock().unwrap().forced, 1, "the first key frame comes by itself");
}

#[test]
fn an_encoder_that_does_not_heed_its_control_is_started_over_for_a_key_frame() {
    let mut rig = Rig::new();
    rig.set(|script| script.deaf = true);
    assert_eq!(rig.next(Request::Any), Some((0, FrameKind::Key)));
    for number in 1..=2 {
        assert_eq!(rig.next(Request::Key), Some((number, FrameKind::Delta)));
    }
    assert_eq!(rig.next(Request::Key), Some((3, FrameKind::Key)));
    assert_eq!(rig.next(Request::Any), Some((4, FrameKind::Delta)));
}

#[test]
fn after_a_lost_frame_comes_a_key_frame_and_nothing_broken_before() {
    let mut rig = Rig::new();
    assert_eq!(rig.next(Request::Any), Some((0, FrameKind::Key)));
    assert_eq!(rig.next(Request::Any), Some((1, FrameKind::Delta)));
    rig.set(|script| script.damaged = 1);
    assert_eq!(rig.next(Request::Any), None);
    assert_eq!(rig.next(Request::Any), Some((3, FrameKind::Key)));
    assert_eq!(rig.next(Request::Any), Some((4, FrameKind::Delta)));
    rig.set(|script| (script.behind, script.damaged) = (1, 1));
    assert_eq!(rig.next(Request::Any), None);
    assert_eq!(rig.next(Request::Any), None, "the damaged one came out");
    assert_eq!(rig.next(Request::Any), None, "a frame that refers to it");
    assert_eq!(rig.next(Request::Any), Some((7, FrameKind::Key)));
}

#[test]
fn a_swallowed_frame_is_no_failure() {
    let mut rig = Rig::new();
    assert_eq!(rig.next(Request::Any), Some((0, FrameKind::Key)));
    for _ in 0..100 {
        rig.set(|script| script.swallowed = 1);
        assert_eq!(rig.next(Request::Any), None);
        let number = rig.frames;
        assert_eq!(rig.next(Request::Any), Some((number, FrameKind::Delta)));
    }
}

#[test]
fn an_encoder_that_gives_nothing_for_a_second_has_failed() {
    for hang in [|script: &mut Script| script.full = true, |script: &mut Script| script.swallowed = 1000] {
        let mut rig = Rig::new();
        rig.next(Request::Any);
        rig.set(|script| script.behind = 100);
        rig.next(Request::Any);
        rig.set(hang);
        let failed = (0..60).find_map(|frame| Some((frame, rig.encode(Request::Any).err()?)));
        let (frame, error) = failed.expect("it fails");
        assert!((25..40).contains(&frame), "frame {frame}");
        assert!(error.to_string().contains("a device gave nothing for 1.0 s"), "{error}");
    }
}

#[test]
fn a_frame_that_found_no_room_is_dropped_and_its_key_frame_comes_with_the_next() {
    let mut rig = Rig::new();
    rig.next(Request::Any);
    rig.set(|script| script.full = true);
    assert_eq!(rig.next(Request::Key), None);
    rig.set(|script| script.full = false);
    assert_eq!(rig.next(Request::Any), Some((2, FrameKind::Key)));
}

#[test]
fn short_frames_do_not_reach_the_device() {
    let mut rig = Rig::new();
    let frame = Frame { data: &[0; 17], captured: rig.start, dmabuf: None, skipped: 0 };
    let error = rig.encoder.encode(&frame, Request::Key).unwrap_err();
    assert!(matches!(error, EncodeError::Damaged(Damage::Short { got: 17, need: 4608 })), "{error}");
    assert_eq!(rig.next(Request::Any), Some((0, FrameKind::Key)));
}
