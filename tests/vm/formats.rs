//! Every format that the driver lists: used as it should be, or refused in words.

use std::process::Command;

use openh264::{decoder::Decoder, formats::YUVSource};
use pinhole::{
    camera::{
        Accept, CameraError, Frame, FrameRate, PixelFormat, VideoFormat, Wish,
        negotiate::{self, FourCc, Offer},
        v4l2::V4l2Source,
    },
    clock,
    encode::{
        Bitrate, Request,
        choice::{self, Kind},
        convert::Converter,
    },
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
    assert_encoded(&format, &picture.data);
}

/// The way to a viewer: converted, encoded and decoded again, each plane is the source's to 35 dB, and the bars have their
/// colours.
fn assert_encoded(format: &VideoFormat, data: &[u8]) {
    let (width, height) = (format.width as usize, format.height as usize);
    let mut converter = Converter::new(*format).unwrap();
    let mut encoder = choice::make(Kind::OpenH264, *format, Bitrate(8_000_000)).unwrap().encoder;
    let frame = Frame { data, captured: clock::now(), dmabuf: None, skipped: 0 };
    let output = encoder.encode(&frame, Request::Any).unwrap().expect("a key frame");
    let mut decoder = Decoder::new().unwrap();
    let decoded = decoder.decode(&output.data).unwrap().expect("a picture");
    let source = converter.convert(data).unwrap();
    let strides = decoded.strides();
    let mut seen = Vec::with_capacity(width * height * 3 / 2);
    for (name, ours, theirs, (width, height)) in [
        ("Y", (source.y, source.y_stride), (decoded.y(), strides.0), (width, height)),
        ("U", (source.u, source.chroma_stride), (decoded.u(), strides.1), (width / 2, height / 2)),
        ("V", (source.v, source.chroma_stride), (decoded.v(), strides.2), (width / 2, height / 2)),
    ] {
        let mut error = 0_u64;
        for row in 0..height {
            let (a, b) = (&ours.0[row * ours.1..][..width], &theirs.0[row * theirs.1..][..width]);
            error += a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
            seen.extend_from_slice(b);
        }
        let psnr = 10.0 * (255.0_f64.powi(2) * (width * height) as f64 / error.max(1) as f64).log10();
        assert!(psnr >= 35.0, "{:?}: {name} has {psnr:.1} dB", format.pixel);
    }
    if format.pixel != PixelFormat::Grey {
        let i420 = VideoFormat { pixel: PixelFormat::I420, stride: format.width, ..*format };
        bars::assert_bars(&i420, &seen);
    }
}

fn assert_refused(fourcc: FourCc) {
    let alone = [Offer { fourcc, sizes: Vec::new() }];
    let error = negotiate::choose(DEVICE, &alone, &wish(640, 480, 25)).unwrap_err();
    assert!(matches!(error, CameraError::NotUsable { .. }), "{error}");
    assert!(error.to_string().contains(&format!("({fourcc})")), "{error}");
}
