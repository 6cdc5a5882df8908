//! vicodec's stateful decoder, as far as a test needs it: coded frames in, pictures in a given layout out (the kernel's
//! "Memory-to-Memory Stateful Video Decoder Interface").

use std::{path::PathBuf, time::Duration};

use pinhole::{
    camera::{PixelFormat, VideoFormat},
    encode::Output,
    sys::m2m::{M2m, Memory, Picture, Queue, Ready, Side, Taken},
};

use super::FWHT;

/// A decoded picture.
pub struct Decoded {
    pub data: Vec<u8>,
    /// How it lies in `data`: what the codec has added to the picture's size is still there.
    pub layout: Picture,
    /// It was decoded without another.
    pub key: bool,
}

/// Decodes frames, of which the first is a key frame, to the layout that they were made of.
pub fn decode(coded: &[Output], format: &VideoFormat) -> Vec<Decoded> {
    let device = M2m::open(&path()).unwrap();
    let longest = coded.iter().map(|coded| coded.data.len()).max().expect("frames");
    let (width, height) = (format.width, format.height);
    let wanted = Picture { fourcc: FWHT.0, width, height, stride: 0, bytes: longest as u32 };
    device.set_format(Side::Output, &wanted).unwrap();
    let mut input = Queue::new(&device, Side::Output, Memory::Mapped, 2).unwrap();
    input.start().unwrap();
    put_in(&mut input, coded, 0);
    // From the first frame the decoder knows what pictures it will give.
    let found = device.format(Side::Capture).unwrap();
    let wanted = Picture { fourcc: fourcc(format.pixel), stride: 0, bytes: 0, ..found };
    let layout = device.set_format(Side::Capture, &wanted).unwrap();
    assert_eq!(layout.fourcc, wanted.fourcc, "the coded frames are of another kind");
    let mut pictures = Queue::new(&device, Side::Capture, Memory::Mapped, 2).unwrap();
    for index in 0..pictures.count() {
        pictures.give(index, 0, Duration::ZERO).unwrap();
    }
    pictures.start().unwrap();
    let mut decoded = Vec::new();
    while decoded.len() < coded.len() {
        assert!(
            device.wait(Ready::Capture, Duration::from_secs(10)).unwrap(),
            "after {} frames",
            decoded.len()
        );
        let Taken::Buffer(done) = pictures.take().unwrap() else { continue };
        assert!(!done.damaged, "frame {}", decoded.len());
        decoded.push(Decoded {
            data: pictures.bytes(done.index)[..done.used].to_vec(),
            layout,
            key: done.key,
        });
        pictures.give(done.index, 0, Duration::ZERO).unwrap();
        if decoded.len() < coded.len() {
            assert!(device.wait(Ready::Output, Duration::from_secs(10)).unwrap());
            assert!(matches!(input.take().unwrap(), Taken::Buffer(_)));
            put_in(&mut input, coded, decoded.len());
        }
    }
    decoded
}

fn put_in(input: &mut Queue, coded: &[Output], number: usize) {
    let (index, data) = (input.free().expect("a free buffer"), &coded[number].data);
    input.bytes_mut(index)[..data.len()].copy_from_slice(data);
    input.give(index, data.len(), Duration::ZERO).unwrap();
}

fn path() -> PathBuf {
    let is_decoder =
        |path: &PathBuf| M2m::open(path).is_ok_and(|device| device.formats(Side::Output).contains(&FWHT.0));
    (0..10).map(|number| PathBuf::from(format!("/dev/video{number}"))).find(is_decoder).expect("a decoder")
}

fn fourcc(pixel: PixelFormat) -> [u8; 4] {
    match pixel {
        PixelFormat::Yuyv => *b"YUYV",
        PixelFormat::Uyvy => *b"UYVY",
        PixelFormat::Nv12 => *b"NV12",
        PixelFormat::I420 => *b"YU12",
        PixelFormat::Rgb24 => *b"RGB3",
        PixelFormat::Bgr24 => *b"BGR3",
        PixelFormat::Grey | PixelFormat::Mjpeg | PixelFormat::H264 => panic!("not decoded here"),
    }
}
