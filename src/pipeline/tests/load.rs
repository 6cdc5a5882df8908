//! What happens when the processor does not keep up: the governor at work on the camera's thread.

use super::*;

/// A frame of the camera's, and the test's time up to the next one.
async fn frame(rig: &Rig, format: &VideoFormat) {
    let before = (rig.handle.stats().captured, rig.script.milliseconds.load(SeqCst));
    rig.step(Step::Frame(picture(format)));
    while rig.handle.stats().captured == before.0 {
        tokio::task::yield_now().await;
    }
    // The encoder's time has gone by only when the frame is done with.
    let asked = rig.script.asked.load(SeqCst);
    while rig.script.asked.load(SeqCst) == asked {
        tokio::task::yield_now().await;
    }
    let took = rig.script.milliseconds.load(SeqCst) - before.1;
    rig.advance(33_u64.saturating_sub(took));
}

fn rate(state: &CameraState) -> Option<f64> {
    match state {
        CameraState::Streaming { format, .. } => Some(format.rate.per_second().round()),
        _ => None,
    }
}

#[tokio::test]
async fn a_slow_encoder_gets_fewer_frames_and_later_all_again_and_viewers_are_told() {
    let (notes, make) = fake_encoder();
    let rig = Rig::with_encoder(I420, make);
    let mut viewer = rig.handle.subscribe();
    rig.through(&mut viewer).await;
    notes.lock().unwrap().slow = Some((Arc::clone(&rig.script), 35));
    for _ in 0..200 {
        frame(&rig, &I420).await;
    }
    let slowed = rate(&rig.state.borrow()).unwrap();
    assert!(slowed < 30.0, "{slowed}");
    let notice = rig.handle.notice().borrow().clone().expect("viewers are told");
    assert_eq!(notice.code, NoticeCode::Slowed);
    assert_eq!(
        notice.message,
        format!("the device cannot encode more than 64x48 at {slowed} pictures a second")
    );
    let stats = rig.handle.stats();
    assert!(stats.left_out > 0 && stats.left_out + stats.encoded <= stats.captured, "{stats:?}");

    notes.lock().unwrap().slow = None;
    for _ in 0..3000 {
        frame(&rig, &I420).await;
    }
    assert_eq!(rate(&rig.state.borrow()), Some(30.0));
    assert_eq!(*rig.handle.notice().borrow(), None);
    assert_eq!(rig.opened(), 1, "the camera stays open meanwhile");
}

#[tokio::test]
async fn a_step_to_half_the_size_begins_with_a_key_frame_of_it() {
    let large = VideoFormat { width: 640, height: 480, stride: 640, ..I420 };
    // Real encoders, whose pictures are looked at; the time that they take is the test's.
    let clock: Arc<Mutex<Option<Arc<Script>>>> = Arc::default();
    let shared = Arc::clone(&clock);
    let make: Arc<MakeEncoder> = Arc::new(move |kind, format, bitrate| {
        let made = choice::make(kind, format, bitrate)?;
        let took = if format.width > 320 { 150 } else { 30 };
        let script = Arc::clone(&shared);
        Ok(Made { encoder: Box::new(Slow { inner: made.encoder, script, took }), name: made.name })
    });
    let rig = Rig::with_choice(large, Choice::OpenH264, make);
    *clock.lock().unwrap() = Some(Arc::clone(&rig.script));
    let mut viewer = rig.handle.subscribe();
    let mut decoder = ::openh264::decoder::Decoder::new().unwrap();
    for _ in 0..200 {
        frame(&rig, &large).await;
        while let Some(Some(received)) = futures_util::FutureExt::now_or_never(viewer.next()) {
            let decoded = decoder.decode(&received.frame.data).unwrap();
            let Some(decoded) = decoded else { continue };
            if ::openh264::formats::YUVSource::dimensions(&decoded) == (320, 240) {
                assert_eq!(received.frame.kind, FrameKind::Key);
                assert!(is_grey(&decoded));
                return;
            }
        }
    }
    panic!("the picture did not become smaller");
}

/// An encoder that takes its time, by the test's clock.
struct Slow {
    inner: Box<dyn crate::encode::Encoder>,
    script: Arc<Mutex<Option<Arc<Script>>>>,
    took: u64,
}

impl crate::encode::Encoder for Slow {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        if let Some(script) = self.script.lock().unwrap().as_ref() {
            script.milliseconds.fetch_add(self.took, SeqCst);
        }
        self.inner.encode(frame, request)
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        self.inner.set_bitrate(bitrate)
    }

    fn profile_level(&self) -> Option<[u8; 3]> {
        self.inner.profile_level()
    }
}
