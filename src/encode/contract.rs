//! What every encoder must do, run over all that make pictures; and the bitrate, measured over the noisy synthetic
//! picture. Decoding is done by OpenH264's own decoder.

use std::time::Duration;

use openh264::{
    decoder::{DecodedYUV, Decoder},
    formats::YUVSource,
};

use super::{
    Bitrate, EncodeError, Encoder, FrameKind, Request,
    convert::{Converter, I420},
    jpeg, m2m,
    openh264::OpenH264,
    passthrough,
    planes::{Picture, PlanesMut},
    range::full_luma,
};
use crate::{
    camera::{Accept, CameraSource, Frame, FrameRate, PixelFormat, SizeWish, VideoFormat, Wish, synthetic},
    clock,
};

type Make = fn(VideoFormat, Bitrate) -> Result<Box<dyn Encoder>, EncodeError>;

/// All that make H.264 of pictures. The driver of a memory-to-memory encoder is played by OpenH264 here; real drivers
/// are met in tests/vm.
const ENCODERS: [(&str, Make); 2] = [
    ("openh264", |format, bitrate| Ok(Box::new(OpenH264::new(format, bitrate)?))),
    ("m2m", |format, bitrate| Ok(Box::new(m2m::over_openh264(format, bitrate)?))),
];

const SIZES: [(u32, u32); 7] =
    [(160, 96), (176, 144), (320, 240), (640, 360), (854, 480), (642, 362), (1280, 720)];

fn format(pixel: PixelFormat, width: u32, height: u32, padding: u32) -> VideoFormat {
    let stride = pixel.row_bytes(width).map_or(0, |row| row + padding);
    VideoFormat { pixel, width, height, stride, rate: FrameRate::new(30) }
}

/// The picture that every layout shows: smooth and in motion, so what is lost in it, the encoder lost, and within what
/// RGB can show. Coordinates of luma.
fn luma(x: usize, y: usize, number: usize) -> u8 {
    (60 + (x + y + number * 2) % 320 * 120 / 320) as u8
}

fn u(x: usize, y: usize) -> u8 {
    (112 + (x / 2 + y / 4) % 256 / 8) as u8
}

fn v(x: usize, y: usize) -> u8 {
    (144 - (x / 4 + y / 2) % 256 / 8) as u8
}

fn truth(width: usize, height: usize, number: usize) -> Picture {
    let mut picture = Picture::new(width, height);
    let PlanesMut { y: y_plane, u: u_plane, v: v_plane } = picture.planes_mut();
    for y in 0..height {
        for x in 0..width {
            y_plane[y * width + x] = luma(x, y, number);
        }
    }
    for y in (0..height).step_by(2) {
        for x in (0..width).step_by(2) {
            let at = y / 2 * (width / 2) + x / 2;
            (u_plane[at], v_plane[at]) = (u(x, y), v(x, y));
        }
    }
    picture
}

/// ITU-R BT.601, limited range.
fn rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (1.164 * (f64::from(y) - 16.0), f64::from(u) - 128.0, f64::from(v) - 128.0);
    [y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u].map(|value| value.round() as u8)
}

/// That picture in any layout.
fn smooth(format: &VideoFormat, number: usize) -> Vec<u8> {
    let (width, height) = (format.width as usize, format.height as usize);
    let stride = format.stride as usize;
    let mut data = vec![0; format.frame_bytes()];
    match format.pixel {
        PixelFormat::Yuyv | PixelFormat::Uyvy => {
            for y in 0..height {
                for x in (0..width).step_by(2) {
                    let even = y & !1;
                    let [y0, u, y1, v] = [luma(x, y, number), u(x, even), luma(x + 1, y, number), v(x, even)];
                    let four =
                        if format.pixel == PixelFormat::Yuyv { [y0, u, y1, v] } else { [u, y0, v, y1] };
                    data[y * stride + 2 * x..][..4].copy_from_slice(&four);
                }
            }
        }
        PixelFormat::Rgb24 | PixelFormat::Bgr24 => {
            for y in 0..height {
                for x in 0..width {
                    let (even_x, even_y) = (x & !1, y & !1);
                    let mut pixel = rgb(luma(x, y, number), u(even_x, even_y), v(even_x, even_y));
                    if format.pixel == PixelFormat::Bgr24 {
                        pixel.reverse();
                    }
                    data[y * stride + 3 * x..][..3].copy_from_slice(&pixel);
                }
            }
        }
        PixelFormat::Grey => {
            for y in 0..height {
                for x in 0..width {
                    data[y * stride + x] = full_luma(luma(x, y, number));
                }
            }
        }
        PixelFormat::Nv12 | PixelFormat::I420 => {
            for y in 0..height {
                for x in 0..width {
                    data[y * stride + x] = luma(x, y, number);
                }
            }
            let chroma = &mut data[stride * height..];
            for y in (0..height).step_by(2) {
                for x in (0..width).step_by(2) {
                    if format.pixel == PixelFormat::Nv12 {
                        chroma[y / 2 * stride + x] = u(x, y);
                        chroma[y / 2 * stride + x + 1] = v(x, y);
                    } else {
                        chroma[y / 2 * (stride / 2) + x / 2] = u(x, y);
                        chroma[(height / 2 + y / 2) * (stride / 2) + x / 2] = v(x, y);
                    }
                }
            }
        }
        PixelFormat::Mjpeg => {
            data = jpeg::encode(&truth(width, height, number).planes(), (width, height), 95).unwrap();
        }
        PixelFormat::H264 => panic!("not made here"),
    }
    data
}

fn frame(data: &[u8]) -> Frame<'_> {
    Frame { data, captured: clock::now(), dmabuf: None, skipped: 0 }
}

fn plane_psnr(ours: (&[u8], usize), decoded: (&[u8], usize), width: usize, height: usize) -> f64 {
    let mut error = 0_u64;
    for row in 0..height {
        let (a, b) = (&ours.0[row * ours.1..][..width], &decoded.0[row * decoded.1..][..width]);
        error += a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
    }
    10.0 * (255.0_f64.powi(2) * (width * height) as f64 / error.max(1) as f64).log10()
}

/// The worst plane's peak signal-to-noise ratio, in decibels.
fn psnr(ours: I420<'_>, decoded: &DecodedYUV<'_>, width: usize, height: usize) -> f64 {
    let strides = decoded.strides();
    let chroma = (width / 2, height / 2);
    [
        plane_psnr((ours.y, ours.y_stride), (decoded.y(), strides.0), width, height),
        plane_psnr((ours.u, ours.chroma_stride), (decoded.u(), strides.1), chroma.0, chroma.1),
        plane_psnr((ours.v, ours.chroma_stride), (decoded.v(), strides.2), chroma.0, chroma.1),
    ]
    .into_iter()
    .fold(f64::INFINITY, f64::min)
}

#[test]
fn output_decodes_to_the_picture_at_every_size_and_layout() {
    for pixel in [
        PixelFormat::I420,
        PixelFormat::Nv12,
        PixelFormat::Yuyv,
        PixelFormat::Uyvy,
        PixelFormat::Rgb24,
        PixelFormat::Bgr24,
        PixelFormat::Grey,
        PixelFormat::Mjpeg,
    ] {
        for (width, height) in SIZES {
            let paddings: &[u32] = if width == 642 { &[0, 2, 32] } else { &[0] };
            for padding in paddings.iter().copied() {
                let format = format(pixel, width, height, padding);
                let (width, height) = (width as usize, height as usize);
                for (name, make) in ENCODERS {
                    let mut encoder = make(format, Bitrate(4_000_000)).unwrap();
                    let mut decoder = Decoder::new().unwrap();
                    for number in 0..3 {
                        let data = smooth(&format, number);
                        let encoded = encoder.encode(&frame(&data), Request::Any).unwrap().unwrap();
                        let first = if number == 0 { FrameKind::Key } else { FrameKind::Delta };
                        assert_eq!(encoded.kind, first, "{name}: {format:?} frame {number}");
                        let decoded = decoder.decode(&encoded.data).unwrap().expect("a picture");
                        assert_eq!(decoded.dimensions(), (width, height));
                        let mut shown = truth(width, height, number);
                        if pixel == PixelFormat::Grey {
                            let PlanesMut { u, v, .. } = shown.planes_mut();
                            u.fill(128);
                            v.fill(128);
                        }
                        let quality = psnr(shown.planes(), &decoded, width, height);
                        assert!(quality > 32.0, "{name}: {format:?} frame {number}: {quality:.1} dB");
                    }
                }
            }
        }
    }
}

/// The bound above must be one that a picture of wrong colours cannot reach.
#[test]
fn planes_in_the_wrong_places_would_be_noticed() {
    let (width, height) = (320, 240);
    let picture = truth(width, height, 0);
    let I420 { y, u, v, y_stride, chroma_stride } = picture.planes();
    let swapped = plane_psnr((u, chroma_stride), (v, chroma_stride), width / 2, height / 2);
    let upside_down: Vec<u8> = y.chunks_exact(y_stride).rev().flatten().copied().collect();
    let flipped = plane_psnr((y, y_stride), (&upside_down, y_stride), width, height);
    assert!(swapped < 30.0 && flipped < 30.0, "{swapped:.1} dB, {flipped:.1} dB");
}

#[test]
fn key_frame_comes_on_request_and_only_then() {
    for (name, make) in ENCODERS {
        let format = format(PixelFormat::I420, 160, 96, 0);
        let mut encoder = make(format, Bitrate(200_000)).unwrap();
        for number in 0..400 {
            let wanted = matches!(number, 0 | 7 | 8 | 200);
            let request = if wanted { Request::Key } else { Request::Any };
            let encoded = encoder.encode(&frame(&smooth(&format, number)), request).unwrap().unwrap();
            assert_eq!(encoded.kind == FrameKind::Key, wanted, "{name}: frame {number}");
        }
    }
}

/// NAL unit types of an access unit all of whose start codes have four bytes.
fn nal_types(data: &[u8]) -> Vec<u8> {
    let starts: Vec<usize> =
        data.windows(3).enumerate().filter(|(_, window)| *window == [0, 0, 1]).map(|(at, _)| at).collect();
    assert_eq!(starts.first(), Some(&1));
    assert!(starts.iter().all(|at| data[at - 1] == 0), "a three-byte start code");
    starts.iter().map(|at| data[at + 3] & 0x1f).collect()
}

#[test]
fn every_key_frame_begins_with_sps_and_pps_of_the_announced_profile() {
    for (name, make) in ENCODERS {
        for (width, height) in SIZES {
            let format = format(PixelFormat::I420, width, height, 0);
            let bitrate = Bitrate(1_500_000);
            let mut encoder = make(format, bitrate).unwrap();
            for number in 0..6 {
                let request = if number == 3 { Request::Key } else { Request::Any };
                let encoded = encoder.encode(&frame(&smooth(&format, number)), request).unwrap().unwrap();
                match encoded.kind {
                    FrameKind::Key => {
                        assert_eq!(
                            nal_types(&encoded.data),
                            [7, 8, 5],
                            "{name}: {width}x{height} frame {number}"
                        );
                        let told = passthrough::profile_level(&encoded.data);
                        // Who does not know before leaves it to the SPS.
                        let announced = encoder.profile_level().or(told);
                        assert_eq!(told, announced, "{name}: {width}x{height}");
                        assert_eq!(told.map(|[profile, ..]| profile), Some(0x42), "{name}: baseline");
                    }
                    FrameKind::Delta => assert_eq!(nal_types(&encoded.data), [1], "{name}"),
                }
            }
        }
    }
}

#[test]
fn a_new_decoder_can_start_at_any_key_frame() {
    for (name, make) in ENCODERS {
        let format = format(PixelFormat::I420, 320, 240, 0);
        let mut encoder = make(format, Bitrate(500_000)).unwrap();
        for number in 0..20 {
            encoder.encode(&frame(&smooth(&format, number)), Request::Any).unwrap();
        }
        let mut decoder = Decoder::new().unwrap();
        for number in 20..30 {
            let request = if number == 20 { Request::Key } else { Request::Any };
            let encoded = encoder.encode(&frame(&smooth(&format, number)), request).unwrap().unwrap();
            assert!(decoder.decode(&encoded.data).unwrap().is_some(), "{name}");
        }
    }
}

/// A camera's own H.264, here made by OpenH264, keeps to what viewers rely on when it is handed on.
#[test]
fn what_a_camera_encoded_is_handed_on_to_the_same_contract() {
    let raw = format(PixelFormat::I420, 320, 240, 0);
    let mut camera = OpenH264::new(raw, Bitrate(500_000)).unwrap();
    let (mut encoder, mut decoder) = (passthrough::Passthrough::new(), Decoder::new().unwrap());
    for number in 0..10 {
        // The camera was open before: its first key frame comes with the third.
        let request = if number == 3 { Request::Key } else { Request::Any };
        let picture = smooth(&raw, number);
        let unit = camera.encode(&frame(&picture), request).unwrap().unwrap();
        let handed_on = if number == 0 { None } else { encoder.encode(&frame(&unit.data), request).unwrap() };
        let Some(output) = handed_on else {
            assert!(number < 3, "frame {number} is missing");
            continue;
        };
        assert_eq!(output.kind == FrameKind::Key, number == 3, "frame {number}");
        let decoded = decoder.decode(&output.data).unwrap().expect("a picture");
        assert!(psnr(truth(320, 240, number).planes(), &decoded, 320, 240) > 32.0, "frame {number}");
        if output.kind == FrameKind::Key {
            assert_eq!(passthrough::profile_level(&output.data), camera.profile_level());
        }
    }
}

#[test]
fn short_frame_is_refused_and_the_next_one_encoded() {
    for (name, make) in ENCODERS {
        let format = format(PixelFormat::I420, 160, 96, 0);
        let mut encoder = make(format, Bitrate(300_000)).unwrap();
        let data = smooth(&format, 0);
        assert!(encoder.encode(&frame(&data[1..]), Request::Key).is_err());
        let encoded = encoder.encode(&frame(&data), Request::Any).unwrap().unwrap();
        assert_eq!(encoded.kind, FrameKind::Key, "{name}");
    }
}

/// Encodes `seconds` of the synthetic picture as fast as it goes; gives the bits per second of picture time.
fn rate_over(encoder: &mut dyn Encoder, pictures: &mut synthetic::Pictures, seconds: u32) -> f64 {
    let mut bytes = 0;
    for _ in 0..seconds * 30 {
        let encoded = encoder.encode(&frame(pictures.next()), Request::Any).unwrap();
        bytes += encoded.expect("no frame is skipped").data.len();
    }
    bytes as f64 * 8.0 / f64::from(seconds)
}

#[test]
fn bitrate_is_held_on_a_noisy_picture_without_skipping() {
    for (name, make) in ENCODERS {
        for (width, height, bits) in [(640, 360, 800_000), (640, 360, 400_000)] {
            let format = format(PixelFormat::I420, width, height, 0);
            let mut pictures = synthetic::Pictures::new(width, height);
            let mut encoder = make(format, Bitrate(bits)).unwrap();
            let rate = rate_over(encoder.as_mut(), &mut pictures, 10);
            let off = rate / f64::from(bits) - 1.0;
            assert!(
                off.abs() < 0.15,
                "{name}: {width}x{height}: {:.0} kbit/s for {}",
                rate / 1000.0,
                Bitrate(bits)
            );
        }
    }
}

#[test]
fn bitrate_follows_down_and_up() {
    for (name, make) in ENCODERS {
        let format = format(PixelFormat::I420, 640, 360, 0);
        let mut pictures = synthetic::Pictures::new(640, 360);
        let mut encoder = make(format, Bitrate(1_000_000)).unwrap();
        for bits in [1_000_000, 400_000, 1_200_000] {
            encoder.set_bitrate(Bitrate(bits)).unwrap();
            rate_over(encoder.as_mut(), &mut pictures, 2);
            let rate = rate_over(encoder.as_mut(), &mut pictures, 4);
            let off = rate / f64::from(bits) - 1.0;
            assert!(off.abs() < 0.2, "{name}: {:.0} kbit/s for {}", rate / 1000.0, Bitrate(bits));
        }
    }
}

#[test]
fn synthetic_camera_can_be_encoded() {
    let wish = Wish {
        width: 320,
        height: 240,
        rate: FrameRate::new(60),
        size: SizeWish::Exact,
        accept: Accept::Any,
    };
    let mut camera = synthetic::SyntheticSource.open(&wish).unwrap();
    let mut encoder = OpenH264::new(camera.format(), Bitrate(500_000)).unwrap();
    let picture = camera.next_frame(Duration::from_secs(5)).unwrap().unwrap();
    let encoded = encoder.encode(&picture, Request::Key).unwrap().unwrap();
    assert!(Decoder::new().unwrap().decode(&encoded.data).unwrap().is_some());
}

/// Prints the costs and rates that the README quotes. Run alone, in a release build:
/// `cargo test --release -- --ignored --nocapture measure_720p`.
#[test]
#[ignore = "a measurement, not a test"]
fn measure_720p() {
    let (width, height) = (1280, 720);
    let frames = 300;
    let mut pictures = synthetic::Pictures::new(width, height);
    let per_frame = |what: &str, run: &mut dyn FnMut(u32)| {
        run(0);
        let start = clock::now();
        (1..=frames).for_each(&mut *run);
        println!("{what}: {:.3} ms/frame", start.elapsed().as_secs_f64() * 1000.0 / f64::from(frames));
    };
    per_frame("synthetic picture", &mut |_| {
        std::hint::black_box(pictures.next());
    });
    for pixel in [
        PixelFormat::Yuyv,
        PixelFormat::Uyvy,
        PixelFormat::Nv12,
        PixelFormat::I420,
        PixelFormat::Rgb24,
        PixelFormat::Grey,
        PixelFormat::Mjpeg,
    ] {
        let format = format(pixel, width, height, 0);
        let data = smooth(&format, 0);
        let mut converter = Converter::new(format).unwrap();
        per_frame(&format!("convert {pixel:?}"), &mut |_| {
            std::hint::black_box(converter.convert(&data).unwrap());
        });
    }
    for bits in [1_500_000, 3_000_000, 800_000] {
        let mut encoder = OpenH264::new(format(PixelFormat::I420, width, height, 0), Bitrate(bits)).unwrap();
        let mut bytes = 0;
        per_frame(&format!("synthetic picture and encode at {}", Bitrate(bits)), &mut |number| {
            let encoded = encoder.encode(&frame(pictures.next()), Request::Any).unwrap().unwrap();
            bytes += if number == 0 { 0 } else { encoded.data.len() };
        });
        println!("  gave {:.0} kbit/s", bytes as f64 * 8.0 / f64::from(frames) * 30.0 / 1000.0);
    }
}
