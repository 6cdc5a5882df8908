//! What every camera keeps to, whatever it is made of.

use std::time::{Duration, Instant};

use pinhole::{
    camera::{
        Accept, Camera, CameraError, CameraSource, FrameRate, PixelFormat, SizeWish, VideoFormat, Wish,
    },
    clock,
    h264::{NalKind, annexb},
};

/// What the agent wishes where the user said nothing.
pub const DEFAULT_WISH: Wish =
    Wish { width: 1280, height: 720, rate: FrameRate::new(30), size: SizeWish::Nearest, accept: Accept::Any };

/// Far longer than anything here takes: who waits this long waits for ever.
const FOREVER: Duration = Duration::from_secs(60);

/// A copied frame.
#[derive(Debug)]
pub struct Picture {
    pub data: Vec<u8>,
    pub captured: Instant,
    pub skipped: u32,
}

/// Waits for the next frame, as long as it takes.
pub fn next(camera: &mut dyn Camera) -> Result<Picture, CameraError> {
    let start = clock::now();
    loop {
        if let Some(frame) = camera.next_frame(Duration::from_millis(100))? {
            let (captured, skipped) = (frame.captured, frame.skipped);
            return Ok(Picture { data: frame.data.to_vec(), captured, skipped });
        }
        assert!(clock::now() - start < FOREVER, "no frame came, and no error either");
    }
}

/// Opens the camera twice, one after the other, and looks at `count` frames each time. Gives the last of them.
pub fn check(source: &dyn CameraSource, wish: &Wish, count: usize) -> (VideoFormat, Picture) {
    assert!(!source.describe().is_empty());
    look_at_frames(source, wish, count);
    look_at_frames(source, wish, count)
}

fn look_at_frames(source: &dyn CameraSource, wish: &Wish, count: usize) -> (VideoFormat, Picture) {
    let mut camera = source.open(wish).unwrap_or_else(|error| panic!("{}: {error}", source.describe()));
    let mut before: Option<Picture> = None;
    let mut settled = None;
    for _ in 0..count {
        let picture = next(camera.as_mut()).unwrap_or_else(|error| panic!("{}: {error}", source.describe()));
        let format = camera.format();
        assert_eq!(*settled.get_or_insert(format), format, "the format changed without reason");
        assert!(picture.captured <= clock::now(), "taken in the future");
        match (&before, format.pixel) {
            (Some(before), _) => assert!(picture.captured >= before.captured, "time went back"),
            (None, PixelFormat::H264) => assert_begins_with_key_frame(&picture.data),
            (None, _) => {}
        }
        assert_whole(&format, &picture.data);
        before = Some(picture);
    }
    (camera.format(), before.expect("count is not 0"))
}

fn assert_whole(format: &VideoFormat, data: &[u8]) {
    let VideoFormat { width, height, stride, .. } = *format;
    assert!(width > 0 && height > 0 && width % 2 == 0 && height % 2 == 0, "{format:?}");
    assert!(format.rate.per_second() > 0.0);
    assert!(stride >= format.pixel.row_bytes(width).unwrap_or(0), "{format:?}");
    assert!(data.len() >= format.frame_bytes().max(1), "{} bytes for {format:?}", data.len());
    if format.pixel == PixelFormat::H264 {
        assert!(data.starts_with(&annexb::START_CODE));
    }
}

fn assert_begins_with_key_frame(data: &[u8]) {
    let kinds: Vec<_> = annexb::nal_units(data).map(NalKind::of).collect();
    assert_eq!(kinds[..2], [NalKind::Sps, NalKind::Pps]);
    assert!(kinds.contains(&NalKind::IdrSlice), "{kinds:?}");
}
