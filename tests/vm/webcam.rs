//! A webcam: vivid through the single-planar API, in each of its formats, with every fault it can be made to have.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use pinhole::{
    camera::{
        CameraError, Wish,
        orientation::{Flip, Orientation, Rotation},
        v4l2::{Found, V4l2Source, capture_devices},
    },
    clock,
    encode::convert::Converter,
};

use crate::{
    DEVICE, DRIVER, another_program, assert_counts_a_damaged_buffer,
    assert_opens_again_after_a_failed_stream, assert_shares_its_buffers,
    contract::{DEFAULT_WISH, check, next},
    control, failure, formats, open, refusal, wish,
};

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn the_device_is_found() {
    assert_eq!(capture_devices(), [Found { path: DEVICE.into(), card: "vivid".into() }]);
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn each_format_shows_the_bars_or_is_refused() {
    formats::assert_each_is_shown_or_refused();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn each_size_is_given_at_a_rate_the_device_has() {
    // The slow one first: the rate must not stick.
    for (width, height, rate, given) in
        [(1280, 720, 30, 12.5), (320, 180, 30, 30.0), (640, 480, 15, 15.0), (320, 180, 60, 60.0)]
    {
        let camera = open(&wish(width, height, rate));
        let format = camera.format();
        assert_eq!((format.width, format.height, format.rate.per_second()), (width, height, given));
    }
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_default_size_gives_the_nearest() {
    let wish = Wish { width: 700, height: 500, ..DEFAULT_WISH };
    let (format, _) = check(&V4l2Source::new(DEVICE), &wish, 2);
    assert_eq!((format.width, format.height), (640, 480));
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_named_size_that_is_not_offered_is_refused_with_the_list() {
    assert_eq!(
        refusal(&wish(800, 600, 30)).to_string(),
        "camera /dev/video0 cannot do 800x600: it offers 320x180, 640x360, 640x480, 1280x720, 1920x1080, \
         3840x2160; choose one of them with --size"
    );
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn the_camera_flips_its_picture_by_itself_and_a_quarter_turn_is_left_to_others() {
    let quarter = |flip| Orientation::new(Rotation::Quarter, flip);
    for (wanted, done, left_side) in [
        (Orientation::of_flip(Flip::Horizontal), Orientation::of_flip(Flip::Horizontal), "black"),
        (Orientation::of_flip(Flip::Both), Orientation::of_flip(Flip::Both), "black"),
        (quarter(Flip::None), Orientation::UPRIGHT, "white"),
        // Without the mirror image, viewers can do the rest.
        (quarter(Flip::Horizontal), Orientation::of_flip(Flip::Horizontal), "black"),
        (Orientation::of_flip(Flip::Vertical), Orientation::of_flip(Flip::Vertical), "white"),
    ] {
        let mut camera = open(&wish(320, 180, 30));
        let turned = camera.turn(wanted);
        assert_eq!(turned, done, "{wanted}");
        let mut converter = Converter::new(camera.format()).unwrap();
        // Those that were filled before the flip come first.
        for _ in 0..6 {
            next(camera.as_mut()).unwrap();
        }
        let data = loop {
            if let Some(frame) = camera.next_frame(Duration::from_secs(5)).unwrap() {
                break frame.data.to_vec();
            }
        };
        let picture = converter.convert(&data).unwrap();
        // Below vivid's text, which it does not flip.
        let luma = picture.y[172 * picture.y_stride + 20];
        assert_eq!(
            if luma > 120 { "white" } else { "black" },
            left_side,
            "{wanted}: luma {luma} at the left"
        );
        drop(camera);
        let output =
            Command::new("v4l2-ctl").args(["-d", DEVICE, "-C", "horizontal_flip,vertical_flip"]).output();
        let controls = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(controls, "horizontal_flip: 0\nvertical_flip: 0\n", "it is left as it was found");
    }
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_second_opener_in_this_program_is_told_that_it_is_in_use() {
    let mut first = open(&wish(320, 180, 30));
    next(first.as_mut()).unwrap();
    let error = refusal(&wish(320, 180, 30));
    assert!(matches!(error, CameraError::Busy { .. }), "{error}");
    next(first.as_mut()).unwrap();
    drop(first);
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn the_program_that_uses_the_camera_is_named() {
    let (mut other, _stdout) = another_program();
    let error = refusal(&wish(320, 180, 30));
    other.kill().unwrap();
    other.wait().unwrap();
    let expected = format!("camera /dev/video0 is in use by v4l2-ctl (pid {})", other.id());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn an_unplugged_camera_is_lost_and_comes_back() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    fs::write(PathBuf::from(DRIVER).join("unbind"), "vivid.0").unwrap();
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::Lost { .. }), "{error}");
    drop(camera);
    let error = refusal(&wish(320, 180, 30));
    assert!(error.to_string().contains("no camera is plugged in"), "{error}");
    fs::write(PathBuf::from(DRIVER).join("bind"), "vivid.0").unwrap();
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_driver_that_disconnects_is_lost() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    control("disconnect=1");
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::Lost { .. }), "{error}");
    drop(camera);
    // The driver is itself again once nobody has it open.
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_damaged_buffer_is_dropped_and_counted() {
    assert_counts_a_damaged_buffer();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_driver_that_refuses_a_buffer_can_be_opened_again() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    control("inject_vidioc_qbuf_error=1");
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::Io { action: "capturing", .. }), "{error}");
    drop(camera);
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_driver_that_refuses_to_start_says_so_and_can_be_opened_again() {
    control("inject_vidioc_streamon_error=1");
    let error = refusal(&wish(320, 180, 30));
    assert!(matches!(error, CameraError::Io { action: "starting the stream", .. }), "{error}");
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn frames_the_driver_lost_are_counted() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    control("percentage_of_dropped_buffers=50");
    let skipped: u32 = (0..20).map(|_| next(camera.as_mut()).unwrap().skipped).sum();
    control("percentage_of_dropped_buffers=0");
    assert!(skipped >= 1);
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn the_newest_frame_wins_over_those_that_waited() {
    let mut camera = open(&wish(320, 180, 30));
    let first = next(camera.as_mut()).unwrap();
    clock::pause(Duration::from_millis(500));
    let second = next(camera.as_mut()).unwrap();
    assert!(second.skipped >= 2, "{}", second.skipped);
    assert!(second.captured - first.captured >= Duration::from_millis(60), "two intervals at least");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_camera_without_frames_is_stalled() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    control("percentage_of_dropped_buffers=100");
    let error = failure(camera.as_mut());
    control("percentage_of_dropped_buffers=0");
    assert!(matches!(error, CameraError::Stalled { seconds, .. } if seconds >= 2.0), "{error}");
    drop(camera);
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn a_stream_that_fails_can_be_opened_again() {
    assert_opens_again_after_a_failed_stream();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test webcam"]
fn buffers_are_shared_with_other_drivers() {
    assert_shares_its_buffers();
}
