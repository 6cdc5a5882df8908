//! Every format that the driver lists: used as it should be, or refused in words.

use std::process::Command;

use pinhole::camera::{
    Accept, CameraError, FrameRate, PixelFormat, Wish,
    negotiate::{self, FourCc, Offer},
    v4l2::V4l2Source,
};

use crate::{DEVICE, bars, contract::check, control, wish};

/// What pinhole takes of vivid's formats.
const TAKEN: [PixelFormat; 7] = {
    use PixelFormat::{Bgr24, Grey, I420, Nv12, Rgb24, Uyvy, Yuyv};
    [Yuyv, Uyvy, I420, Nv12, Grey, Rgb24, Bgr24]
};

/// Opens each format that can be used and compares its pictures with vivid's bars; sees to it that a device which had
/// nothing but one of the others would be refused, naming it.
pub fn assert_each_is_shown_or_refused() {
    control("test_pattern=0");
    control("osd_text_mode=2");
    let (mut taken, mut refused) = (Vec::new(), 0);
    for fourcc in listed() {
        match negotiate::pixel_format(fourcc) {
            Some(pixel) => {
                assert_shown(pixel);
                taken.push(pixel);
            }
            None => {
                assert_refused(fourcc);
                refused += 1;
            }
        }
    }
    assert_eq!(taken, TAKEN);
    assert!(refused > 50, "vivid lists more formats than {refused}");
}

/// As another program sees them.
fn listed() -> Vec<FourCc> {
    let output = Command::new("v4l2-ctl").args(["-d", DEVICE, "--list-formats"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split_once("]: '")?.1.split_once("' ("))
        .map(|(code, _)| {
            let (code, swapped) = code.strip_suffix("-BE").map_or((code, 0), |code| (code, 0x80));
            let mut bytes: [u8; 4] = code.as_bytes().try_into().unwrap();
            bytes[3] |= swapped;
            FourCc(bytes)
        })
        .collect()
}

fn assert_shown(pixel: PixelFormat) {
    let wish = Wish { accept: Accept::Only(pixel), ..wish(640, 480, 25) };
    let (format, picture) = check(&V4l2Source::new(DEVICE), &wish, 5);
    assert_eq!((format.pixel, format.width, format.height), (pixel, 640, 480));
    assert_eq!(format.rate, FrameRate::new(25));
    assert_eq!(picture.data.len(), format.frame_bytes(), "{pixel:?}");
    bars::assert_bars(&format, &picture.data);
}

fn assert_refused(fourcc: FourCc) {
    let alone = [Offer { fourcc, sizes: Vec::new() }];
    let error = negotiate::choose(DEVICE, &alone, &wish(640, 480, 25)).unwrap_err();
    assert!(matches!(error, CameraError::NotUsable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("({fourcc})")), "{error}");
}
