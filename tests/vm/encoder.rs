//! The memory-to-memory encoder against the kernel's own, vicodec, which codes FWHT instead of H.264, and whose decoder
//! shows what came out. Started in both of V4L2's APIs.

mod decoder;
mod picture;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use decoder::{Decoded, decode};
use picture::{psnr, smooth};
use pinhole::{
    camera::{
        Camera, CameraSource, Frame, FrameRate, PixelFormat, VideoFormat,
        negotiate::FourCc,
        v4l2::{V4l2Source, capture_devices},
    },
    clock,
    encode::{
        Bitrate, EncodeError, Encoder, Output, Request, choice,
        m2m::{self, M2mEncoder},
    },
    sys::m2m::{M2m, Memory, Picture, Queue, Ready, Side, Taken},
};

use crate::{contract::DEFAULT_WISH, wish};

const FWHT: FourCc = FourCc(*b"FWHT");
const DRIVER: &str = "/sys/bus/platform/drivers/vicodec";
/// In decibels. A picture of the wrong planes or strides has less than 20.
const LEAST: f64 = 35.0;

fn encoder_path() -> PathBuf {
    let found = m2m::find(FWHT);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().expect("one").path
}

fn open(format: VideoFormat) -> M2mEncoder {
    M2mEncoder::open(&encoder_path(), FWHT, format, Bitrate(2_000_000))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn format(pixel: PixelFormat, width: u32, height: u32, padding: u32) -> VideoFormat {
    let stride = pixel.row_bytes(width).map_or(0, |row| row + padding);
    VideoFormat { pixel, width, height, stride, rate: FrameRate::new(30) }
}

fn frame(data: &[u8], captured: Instant) -> Frame<'_> {
    Frame { data, captured, dmabuf: None, skipped: 0 }
}

/// Encodes pictures, each taken a frame's time after the one before; `keys` are to be key frames.
fn encode(encoder: &mut M2mEncoder, pictures: &[Vec<u8>], keys: &[usize]) -> Vec<Output> {
    let start = clock::now();
    let taken = |number: usize| start + Duration::from_millis(33) * number as u32;
    let mut outputs = Vec::new();
    for (number, picture) in pictures.iter().enumerate() {
        let request = if keys.contains(&number) { Request::Key } else { Request::Any };
        outputs.extend(encoder.encode(&frame(picture, taken(number)), request).unwrap());
        while let Some(output) = encoder.take_ready().unwrap() {
            outputs.push(output);
        }
    }
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(output.captured, taken(number), "frame {number} has another's time");
    }
    assert_eq!(outputs.len(), pictures.len());
    outputs
}

/// What comes out of the encoder is, decoded, what went in.
fn assert_shows(format: &VideoFormat, pictures: &[Vec<u8>], decoded: &[Decoded]) {
    assert_eq!(pictures.len(), decoded.len());
    for (number, (picture, decoded)) in pictures.iter().zip(decoded).enumerate() {
        for (plane, quality) in psnr(format, picture, &decoded.layout, &decoded.data).into_iter().enumerate()
        {
            assert!(quality > LEAST, "{format:?} frame {number} plane {plane}: {quality:.1} dB");
        }
    }
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn the_encoder_is_found_by_what_it_can_do() {
    let found = m2m::find(FWHT);
    let [encoder] = &found[..] else { panic!("{found:?}") };
    assert_eq!((encoder.card.as_str(), encoder.driver.as_str()), ("vicodec", "vicodec"));
    assert_eq!(encoder.formats, [FWHT]);
    assert!(encoder.inputs.contains(&FourCc(*b"NV12")) && encoder.inputs.contains(&FourCc(*b"YUYV")));
    assert_eq!(encoder.largest, Some((4096, 2160)));
    assert_eq!(choice::encoders(), [], "none for H.264");
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn output_decodes_to_the_picture_at_every_size_and_layout() {
    use PixelFormat::{Bgr24, I420, Nv12, Rgb24, Uyvy, Yuyv};
    for pixel in [I420, Nv12, Yuyv, Uyvy, Rgb24, Bgr24] {
        // Whole blocks; a height and then both sides that are not, so that they are cropped; padded rows.
        for (width, height, padding) in [(640, 480, 0), (640, 360, 0), (854, 482, 0), (640, 480, 64)] {
            let format = format(pixel, width, height, padding);
            let pictures: Vec<_> = (0..3).map(|number| smooth(&format, number)).collect();
            let outputs = encode(&mut open(format), &pictures, &[]);
            assert_shows(&format, &pictures, &decode(&outputs, &format));
        }
    }
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn key_frames_come_on_request_and_else_as_late_as_the_encoder_can() {
    let format = format(PixelFormat::I420, 640, 480, 0);
    let pictures: Vec<_> = (0..40).map(|number| smooth(&format, number)).collect();
    let outputs = encode(&mut open(format), &pictures, &[5, 6]);
    let decoded = decode(&outputs, &format);
    assert_shows(&format, &pictures, &decoded);
    let keys: Vec<_> = (0..40).filter(|number| decoded[*number].key).collect();
    // vicodec has no control to force one, so it is started over; its longest distance is 16, its usual one 10.
    assert_eq!(keys, [0, 5, 6, 22, 38]);
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn a_stream_can_begin_at_a_key_frame() {
    let format = format(PixelFormat::Nv12, 640, 480, 0);
    let pictures: Vec<_> = (0..8).map(|number| smooth(&format, number)).collect();
    let outputs = encode(&mut open(format), &pictures, &[5]);
    assert_shows(&format, &pictures[5..], &decode(&outputs[5..], &format));
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn what_cannot_be_encoded_is_refused_in_words() {
    let refusal = |format| {
        let opened = M2mEncoder::open(&encoder_path(), FWHT, format, Bitrate(1_000_000));
        opened.expect_err("it is refused").to_string()
    };
    let small = refusal(format(PixelFormat::I420, 320, 240, 0));
    assert!(small.contains("cannot take 320x240 pictures") && small.contains("codes 640x360"), "{small}");
    let large = refusal(format(PixelFormat::I420, 4098, 2160, 0));
    assert!(large.contains("makes YU12 4096x2160 of it"), "{large}");
    let coded = refusal(format(PixelFormat::H264, 640, 480, 0));
    assert!(coded.contains("H.264 already"), "{coded}");
    let camera = M2mEncoder::open(&camera_path(), FWHT, format(PixelFormat::I420, 640, 480, 0), Bitrate(1));
    assert!(matches!(camera.err(), Some(EncodeError::Failed(_))), "a camera is no encoder");
}

fn camera_path() -> PathBuf {
    let found = capture_devices();
    found.into_iter().find(|found| found.card == "vivid").expect("vivid is there").path
}

fn camera(pixel: PixelFormat) -> Box<dyn Camera> {
    let wish = pinhole::camera::Wish { accept: pinhole::camera::Accept::Only(pixel), ..wish(640, 480, 25) };
    V4l2Source::new(camera_path()).open(&wish).unwrap_or_else(|error| panic!("{error}"))
}

/// Which of those frames are key frames.
const KEYS: [bool; 10] = [true, false, false, false, true, false, false, false, false, false];

/// Frames from the camera through an encoder; gives what went in and what came out.
fn film(camera: &mut dyn Camera, encoder: &mut M2mEncoder, shares: Shares) -> (Vec<Vec<u8>>, Vec<Output>) {
    let (mut pictures, mut outputs) = (Vec::new(), Vec::new());
    while pictures.len() < 10 {
        let Some(mut frame) = camera.next_frame(Duration::from_secs(5)).unwrap() else { continue };
        if shares == Shares::No {
            frame.dmabuf = None;
        }
        let request = if pictures.len() == 4 { Request::Key } else { Request::Any };
        pictures.push(frame.data.to_vec());
        outputs.extend(encoder.encode(&frame, request).unwrap());
    }
    assert_eq!(outputs.len(), pictures.len());
    (pictures, outputs)
}

fn is_shared(camera: &mut dyn Camera) -> bool {
    loop {
        if let Some(frame) = camera.next_frame(Duration::from_secs(5)).unwrap() {
            return frame.dmabuf.is_some();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shares {
    Yes,
    No,
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn frames_are_read_from_the_cameras_memory_where_both_drivers_can() {
    use PixelFormat::{I420, Nv12, Rgb24, Uyvy, Yuyv};
    for pixel in [I420, Nv12, Yuyv, Uyvy, Rgb24] {
        let mut camera = camera(pixel);
        let format = camera.format();
        let mut encoder = open(format);
        // Through the multi-planar API vivid puts something before pictures of some layouts.
        let shared = is_shared(camera.as_mut());
        assert!(shared || !matches!(pixel, I420 | Nv12), "{format:?}");
        let (pictures, outputs) = film(camera.as_mut(), &mut encoder, Shares::Yes);
        assert_eq!(encoder.reads_in_place(), shared, "{format:?}");
        let decoded = decode(&outputs, &format);
        assert_shows(&format, &pictures, &decoded);
        assert_eq!(decoded.iter().map(|decoded| decoded.key).collect::<Vec<_>>(), KEYS, "{format:?}");
    }
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn frames_are_copied_where_the_camera_does_not_share_or_ceases_to() {
    let mut camera = camera(PixelFormat::Nv12);
    let format = camera.format();
    let mut encoder = open(format);
    for shares in [Shares::Yes, Shares::No] {
        let (pictures, outputs) = film(camera.as_mut(), &mut encoder, shares);
        assert_eq!(encoder.reads_in_place(), shares == Shares::Yes);
        assert_eq!(pictures.len(), outputs.len());
        // The decoder needs a key frame to begin with.
        if shares == Shares::Yes {
            assert_shows(&format, &pictures, &decode(&outputs, &format));
        }
    }
    let mut encoder = open(format);
    let (pictures, outputs) = film(camera.as_mut(), &mut encoder, Shares::No);
    assert!(!encoder.reads_in_place());
    assert_shows(&format, &pictures, &decode(&outputs, &format));
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn memory_that_the_encoder_cannot_read_is_copied_from_instead() {
    let format = format(PixelFormat::Nv12, 640, 480, 0);
    let (picture, file) = (smooth(&format, 0), fs::File::open("/dev/null").unwrap());
    let mut encoder = open(format);
    let mut outputs = Vec::new();
    for _ in 0..3 {
        use std::os::fd::AsFd;
        // A descriptor that is no DMABUF: the driver refuses it.
        let frame = Frame { dmabuf: Some(file.as_fd()), ..frame(&picture, clock::now()) };
        outputs.extend(encoder.encode(&frame, Request::Any).unwrap());
        assert!(!encoder.reads_in_place());
    }
    let pictures = vec![picture; 3];
    assert_shows(&format, &pictures, &decode(&outputs, &format));
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn several_encoders_run_beside_each_other() {
    let formats = [format(PixelFormat::Nv12, 640, 480, 0), format(PixelFormat::Yuyv, 1280, 720, 0)];
    let mut encoders = formats.map(open);
    for number in 0..3 {
        for (encoder, format) in encoders.iter_mut().zip(formats) {
            let picture = smooth(&format, number);
            let output =
                encoder.encode(&frame(&picture, clock::now()), Request::Key).unwrap().expect("a frame");
            assert_shows(&format, &[picture], &decode(&[output], &format));
        }
    }
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn a_short_frame_is_refused_and_the_next_one_encoded() {
    let format = format(PixelFormat::I420, 640, 480, 0);
    let (mut encoder, picture) = (open(format), smooth(&format, 0));
    let error = encoder.encode(&frame(&picture[1..], clock::now()), Request::Key).unwrap_err();
    assert!(matches!(error, EncodeError::Damaged(_)), "{error}");
    let output = encoder.encode(&frame(&picture, clock::now()), Request::Any).unwrap().expect("a frame");
    assert_shows(&format, &[picture], &decode(&[output], &format));
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn an_encoder_that_goes_away_fails_and_its_successor_works() {
    let format = format(PixelFormat::I420, 640, 480, 0);
    let (mut encoder, picture) = (open(format), smooth(&format, 0));
    encoder.encode(&frame(&picture, clock::now()), Request::Any).unwrap().expect("a frame");
    fs::write(format!("{DRIVER}/unbind"), "vicodec.0").unwrap();
    let error = encoder.encode(&frame(&picture, clock::now()), Request::Any).unwrap_err();
    assert!(matches!(&error, EncodeError::Failed(reason) if reason.contains("No such device")), "{error}");
    assert_eq!(m2m::find(FWHT), []);
    drop(encoder);
    fs::write(format!("{DRIVER}/bind"), "vicodec.0").unwrap();
    let output = open(format).encode(&frame(&picture, clock::now()), Request::Any).unwrap().expect("a frame");
    assert_shows(&format, &[picture], &decode(&[output], &format));
}

/// The device by itself, without the encoder around it.
#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn a_drain_gives_all_frames_and_marks_the_last() {
    let device = M2m::open(&encoder_path()).unwrap();
    let wanted = |fourcc| Picture { fourcc, width: 640, height: 480, stride: 0, bytes: 0 };
    device.set_format(Side::Capture, &wanted(FWHT.0)).unwrap();
    let raw = device.set_format(Side::Output, &wanted(*b"YU12")).unwrap();
    assert_eq!((raw.width, raw.height, raw.stride, raw.bytes), (640, 480, 640, 460_800));
    assert_eq!(device.format(Side::Output).unwrap(), raw);
    let mut input = Queue::new(&device, Side::Output, Memory::Mapped, 4).unwrap();
    let mut coded = Queue::new(&device, Side::Capture, Memory::Mapped, 2).unwrap();
    for index in 0..coded.count() {
        coded.give(index, 0, Duration::ZERO).unwrap();
    }
    input.start().unwrap();
    for index in 0..4 {
        input.bytes_mut(index).fill(100);
        input.give(index, raw.bytes as usize, Duration::from_micros(u64::from(index) + 7)).unwrap();
        assert!(input.bytes(index).is_empty(), "it is the driver's now");
        assert!(input.give(index, 1, Duration::ZERO).is_err(), "twice");
    }
    coded.start().unwrap();
    device.drain().unwrap();
    // Two buffers for four frames: the drain goes on as they are given back.
    let mut stamps = Vec::new();
    let last = loop {
        assert!(device.wait(Ready::Capture, Duration::from_secs(10)).unwrap());
        match coded.take().unwrap() {
            Taken::Buffer(done) => {
                assert!(!done.damaged && coded.bytes(done.index).len() >= done.used);
                stamps.extend((done.used > 0).then_some(done.stamp.as_micros()));
                if done.last {
                    break done;
                }
                coded.give(done.index, 0, Duration::ZERO).unwrap();
            }
            Taken::Nothing => {}
            Taken::Drained => panic!("before the last"),
        }
    };
    assert_eq!(stamps, [7, 8, 9, 10]);
    assert_eq!(coded.take().unwrap(), Taken::Drained, "after {last:?}");
}

#[test]
#[ignore = "needs vicodec: run by tests/vm/test encoder"]
fn the_cameras_default_wish_can_be_encoded() {
    let mut camera =
        V4l2Source::new(camera_path()).open(&DEFAULT_WISH).unwrap_or_else(|error| panic!("{error}"));
    let format = camera.format();
    let mut encoder = open(format);
    let (pictures, outputs) = film(camera.as_mut(), &mut encoder, Shares::Yes);
    assert_shows(&format, &pictures, &decode(&outputs, &format));
}
