//! vivid through the multi-planar API, as the image units of system chips speak it.

use pinhole::camera::CameraError;

use crate::{assert_shares_its_buffers, contract::next, control, failure, formats, open, wish};

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn each_format_shows_the_bars_or_is_refused() {
    formats::assert_each_is_shown_or_refused();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn buffers_are_shared_with_other_drivers() {
    assert_shares_its_buffers();
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn a_damaged_buffer_is_dropped_and_counted() {
    let mut camera = open(&wish(320, 180, 10));
    next(camera.as_mut()).unwrap();
    assert_eq!(next(camera.as_mut()).unwrap().skipped, 0);
    control("inject_v4l2_buf_flag_error=1");
    let skipped: u32 = (0..10).map(|_| next(camera.as_mut()).unwrap().skipped).sum();
    assert!(skipped >= 1);
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn a_stream_that_fails_can_be_opened_again() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    control("inject_fatal_streaming_error=1");
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::Io { .. }), "{error}");
    drop(camera);
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}
