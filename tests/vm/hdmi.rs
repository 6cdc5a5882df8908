//! An HDMI grabber: vivid's HDMI input, which brings 1280x720 at 60 pictures a second when the guest starts.

use pinhole::camera::{CameraError, CameraSource, SizeWish, Wish, v4l2::V4l2Source};

use crate::{
    DEVICE,
    contract::{DEFAULT_WISH, check, next},
    control, failure, open, refusal, v4l2_ctl, wish,
};

const NEAREST: Wish = Wish { width: 640, height: 480, size: SizeWish::Nearest, ..DEFAULT_WISH };

/// Whatever a test leaves behind: a signal of 1280x720 at 60, which is captured.
fn set_up() {
    control("dv_timings_signal_mode=0");
    v4l2_ctl(&["--set-dv-bt-timings", "index=7"]);
    let format = open(&NEAREST).format();
    assert_eq!((format.width, format.height, format.rate.per_second()), (1280, 720, 60.0));
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test hdmi"]
fn the_signals_size_and_rate_are_taken_and_no_other() {
    set_up();
    let (format, _) = check(&V4l2Source::new(DEVICE), &NEAREST, 5);
    assert_eq!((format.width, format.height), (1280, 720));
    assert_eq!(format.rate.per_second(), 60.0);
    let error = refusal(&wish(640, 480, 30));
    assert!(error.to_string().contains("cannot do 640x480: it offers 1280x720;"), "{error}");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test hdmi"]
fn without_a_signal_it_says_so_and_works_when_there_is_one() {
    set_up();
    for (mode, words) in
        [(1, "there is no signal on HDMI 0"), (2, "not steady"), (3, "none that it can take")]
    {
        control(&format!("dv_timings_signal_mode={mode}"));
        let error = refusal(&NEAREST);
        assert!(matches!(error, CameraError::NoSignal { .. }), "{error}");
        assert!(error.to_string().starts_with("nothing to see comes in at /dev/video0: "), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    control("dv_timings_signal_mode=0");
    next(open(&NEAREST).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test hdmi"]
fn a_signal_that_ends_ends_the_stream() {
    set_up();
    let mut camera = open(&NEAREST);
    next(camera.as_mut()).unwrap();
    control("dv_timings_signal_mode=1");
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::NoSignal { .. }), "{error}");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test hdmi"]
fn another_signal_is_captured_in_its_own_size() {
    set_up();
    let mut camera = open(&NEAREST);
    next(camera.as_mut()).unwrap();
    // 640x480, the first of vivid's list, comes in instead.
    control("dv_timings=0");
    control("dv_timings_signal_mode=4");
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::SignalChanged { .. }), "{error}");
    drop(camera);
    let mut camera = V4l2Source::new(DEVICE).open(&NEAREST).unwrap();
    let format = camera.format();
    assert_eq!((format.width, format.height), (640, 480));
    assert_eq!(next(camera.as_mut()).unwrap().data.len(), format.frame_bytes());
}
