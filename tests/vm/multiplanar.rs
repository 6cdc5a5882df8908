//! vivid through the multi-planar API, as the image units of system chips speak it.

use pinhole::camera::{Accept, FrameRate, PixelFormat, Wish, v4l2::V4l2Source};

use crate::{DEVICE, assert_shares_its_buffers, bars, contract::check, control, wish};

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn each_format_keeps_the_contract_and_shows_the_bars() {
    control("test_pattern=0");
    control("osd_text_mode=2");
    for pixel in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::I420] {
        let wish = Wish { accept: Accept::Only(pixel), ..wish(640, 480, 25) };
        let (format, picture) = check(&V4l2Source::new(DEVICE), &wish, 5);
        assert_eq!((format.pixel, format.width, format.height), (pixel, 640, 480));
        assert_eq!(format.rate, FrameRate::new(25));
        bars::assert_bars(&format, &picture.data);
    }
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test multiplanar"]
fn buffers_are_shared_with_other_drivers() {
    assert_shares_its_buffers();
}
