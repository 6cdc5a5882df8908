//! One picture of a camera, as a JPEG: taken when exposure and colours have settled, whatever the camera gives. Pure, but
//! for memory; `Settling` is used on the thread that has the frames, and `jpeg` wherever there is time. Not here: opening
//! cameras, and who asks (`pipeline`, `cli`).

use std::time::{Duration, Instant};

use ::openh264::{decoder::Decoder, formats::YUVSource, nal_units};

use super::{
    EncodeError, jpeg,
    orient::orient,
    planes::{I420, Picture},
    prepare::{Preparer, Treatment},
};
use crate::{
    camera::{PixelFormat, VideoFormat, orientation::Orientation},
    h264::{self, NalKind},
};

/// After the first frame. Webcams need most of a second to find exposure and white balance.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Bytes of H.264 that are kept from a key frame on; what is longer waits for the next key frame.
const MAX_STREAM: usize = 8 << 20;

/// A picture as the camera gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub format: VideoFormat,
    /// A frame; of H.264 the access units from a key frame up to the picture that is meant.
    pub data: Vec<u8>,
    /// What is to be done to it, so that it is as viewers see it.
    pub treatment: Treatment,
}

/// Waits for a settled picture among the frames of an open camera.
#[derive(Debug, Default)]
pub struct Settling {
    treatment: Treatment,
    first: Option<Instant>,
    stream: Vec<u8>,
}

impl Settling {
    /// For a camera that was opened just now, and whose pictures need this treatment.
    pub fn new(treatment: Treatment) -> Self {
        Self { treatment, ..Self::default() }
    }

    /// A frame comes of which no picture is wanted yet.
    pub fn pass(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.stream = Vec::new();
    }

    /// A frame comes: the picture, once there is one that has settled.
    pub fn take(&mut self, format: &VideoFormat, data: &[u8], now: Instant) -> Option<Taken> {
        let first = *self.first.get_or_insert(now);
        let settled = now.saturating_duration_since(first) >= SETTLED_AFTER;
        if format.pixel != PixelFormat::H264 {
            return settled.then(|| self.taken(format, data.to_vec()));
        }
        let key = h264::annexb::nal_units(data).any(|nal| NalKind::of(nal) == NalKind::IdrSlice);
        if key || self.stream.len() + data.len() > MAX_STREAM {
            self.stream.clear();
        }
        // All frames since the key frame are needed, for each refers to the one before.
        if key || !self.stream.is_empty() {
            self.stream.extend_from_slice(data);
        }
        let decodable = settled && !self.stream.is_empty();
        let stream = decodable.then(|| std::mem::take(&mut self.stream))?;
        Some(self.taken(format, stream))
    }

    fn taken(&self, format: &VideoFormat, data: Vec<u8>) -> Taken {
        Taken { format: *format, data, treatment: self.treatment.clone() }
    }
}

/// Makes a JPEG of what was taken, at the time `since_epoch` (since 1970, UTC). Quality: 1 to 100.
///
/// # Errors
/// It is no whole picture.
pub fn jpeg(taken: &Taken, since_epoch: Duration, quality: u8) -> Result<Vec<u8>, EncodeError> {
    if taken.format.pixel == PixelFormat::H264 {
        return decoded(&taken.data, taken.treatment.orientation, quality);
    }
    let mut preparer = Preparer::new(taken.format, taken.treatment.clone())?;
    whole(preparer.prepare(&taken.data, since_epoch)?, quality)
}

fn whole(picture: &Picture, quality: u8) -> Result<Vec<u8>, EncodeError> {
    jpeg::encode(&picture.planes(), (picture.width(), picture.height()), quality)
}

/// The last picture of a stream.
fn decoded(stream: &[u8], orientation: Orientation, quality: u8) -> Result<Vec<u8>, EncodeError> {
    let failed = |what: String| EncodeError::Failed(format!("the camera's H.264 cannot be decoded: {what}"));
    let mut decoder = Decoder::new().map_err(|error| failed(error.to_string()))?;
    let (mut last, mut reason) = (None, "there is no picture in it".to_owned());
    for nal in nal_units(stream) {
        match decoder.decode(nal) {
            Ok(Some(picture)) => {
                let planes = [picture.y(), picture.u(), picture.v()].map(<[u8]>::to_vec);
                last = Some((planes, picture.strides(), picture.dimensions()));
            }
            Ok(None) => {}
            Err(error) => reason = error.to_string(),
        }
    }
    let ([y, u, v], (y_stride, chroma_stride, _), size) = last.ok_or_else(|| failed(reason))?;
    let (width, height) = if orientation.swaps_sides() { (size.1, size.0) } else { size };
    let mut picture = Picture::new(width, height);
    orient(&I420 { y: &y, u: &u, v: &v, y_stride, chroma_stride }, size, orientation, &mut picture);
    whole(&picture, quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        camera::{
            Frame, FrameRate,
            orientation::{Flip, Rotation},
        },
        clock,
        encode::{
            Bitrate, Encoder, Request,
            jpeg::JpegDecoder,
            openh264::OpenH264,
            overlay::{Caption, Content},
        },
    };

    const NOON: Duration = Duration::from_secs(1_800_000_000);

    const fn format(pixel: PixelFormat) -> VideoFormat {
        VideoFormat { pixel, width: 64, height: 48, stride: 64, rate: FrameRate::new(30) }
    }

    /// A picture of one colour.
    fn flat(luma: u8) -> Vec<u8> {
        let mut data = vec![luma; 64 * 48];
        data.resize(64 * 48 * 3 / 2, 110);
        data
    }

    /// The mean luma and the first chroma values of a JPEG.
    fn colours(jpeg: &[u8]) -> (u64, u8, u8) {
        let mut decoder = JpegDecoder::new().unwrap();
        let picture = decoder.decode(jpeg, 64, 48).unwrap();
        let sum: u64 = picture.y.iter().map(|value| u64::from(*value)).sum();
        (sum / picture.y.len() as u64, picture.u[0], picture.v[0])
    }

    /// Access units: a key frame, then pictures that get brighter.
    fn stream() -> Vec<Vec<u8>> {
        let mut encoder = OpenH264::new(format(PixelFormat::I420), Bitrate(2_000_000)).unwrap();
        let encode = |luma| {
            let data = flat(luma);
            let frame = Frame { data: &data, captured: clock::now(), dmabuf: None, skipped: 0 };
            encoder.encode(&frame, Request::Any).unwrap().unwrap().data.to_vec()
        };
        [60, 90, 120, 150].map(encode).to_vec()
    }

    #[test]
    fn a_raw_picture_is_taken_once_it_has_settled() {
        let (mut settling, now, raw) = (Settling::default(), clock::now(), format(PixelFormat::I420));
        assert_eq!(settling.take(&raw, &flat(20), now), None);
        assert_eq!(settling.take(&raw, &flat(30), now + SETTLED_AFTER / 2), None);
        let taken = settling.take(&raw, &flat(100), now + SETTLED_AFTER).unwrap();
        assert_eq!(taken, Taken { format: raw, data: flat(100), treatment: Treatment::default() });
        let (luma, u, v) = colours(&jpeg(&taken, NOON, 90).unwrap());
        assert!(luma.abs_diff(100) <= 2 && u.abs_diff(110) <= 2 && v.abs_diff(110) <= 2, "{luma} {u} {v}");
    }

    #[test]
    fn a_camera_that_was_open_before_has_settled() {
        let (mut settling, now, raw) = (Settling::default(), clock::now(), format(PixelFormat::I420));
        settling.pass(now);
        settling.pass(now + SETTLED_AFTER);
        assert!(settling.take(&raw, &flat(9), now + SETTLED_AFTER).is_some());
    }

    #[test]
    fn of_h264_the_last_picture_is_decoded_from_the_key_frame_on() {
        let (mut settling, now, h264) = (Settling::default(), clock::now(), format(PixelFormat::H264));
        let units = stream();
        assert_eq!(settling.take(&h264, &units[1], now), None, "of no use without its key frame");
        for unit in &units[..3] {
            assert_eq!(settling.take(&h264, unit, now), None);
        }
        let taken = settling.take(&h264, &units[3], now + SETTLED_AFTER).unwrap();
        assert_eq!(taken.data, units.concat());
        let (luma, ..) = colours(&jpeg(&taken, NOON, 90).unwrap());
        assert!(luma.abs_diff(150) <= 6, "{luma}");
    }

    #[test]
    fn a_settled_h264_camera_gives_its_next_key_frame() {
        let (mut settling, now, h264) = (Settling::default(), clock::now(), format(PixelFormat::H264));
        let units = stream();
        settling.pass(now);
        let later = now + SETTLED_AFTER;
        assert_eq!(settling.take(&h264, &units[1], later), None);
        let taken = settling.take(&h264, &units[0], later).unwrap();
        let (luma, ..) = colours(&jpeg(&taken, NOON, 90).unwrap());
        assert!(luma.abs_diff(60) <= 6, "{luma}");
    }

    #[test]
    fn pictures_are_turned_as_viewers_see_them() {
        let orientation = Orientation::new(Rotation::Quarter, Flip::None);
        let treatment = Treatment { orientation, caption: None };
        // Bright at the top: after a quarter turn clockwise that is the right.
        let mut data = flat(40);
        data[..64 * 24].fill(200);
        let raw =
            Taken { format: format(PixelFormat::I420), data: data.clone(), treatment: treatment.clone() };
        let mut encoder = OpenH264::new(format(PixelFormat::I420), Bitrate(2_000_000)).unwrap();
        let frame = Frame { data: &data, captured: clock::now(), dmabuf: None, skipped: 0 };
        let unit = encoder.encode(&frame, Request::Key).unwrap().unwrap();
        let h264 = Taken { format: format(PixelFormat::H264), data: unit.data.to_vec(), treatment };
        for taken in [raw, h264] {
            let jpeg = jpeg(&taken, NOON, 90).unwrap();
            let mut decoder = JpegDecoder::new().unwrap();
            let picture = decoder.decode(&jpeg, 48, 64).unwrap();
            let at = |x: usize, y: usize| picture.y[y * picture.y_stride + x];
            for y in [4, 60] {
                assert!(at(4, y).abs_diff(40) < 8 && at(44, y).abs_diff(200) < 8, "{:?}", taken.format.pixel);
            }
        }
    }

    #[test]
    fn what_viewers_read_in_the_picture_is_in_a_snapshot_too() {
        let treatment = |caption| Treatment { caption, ..Treatment::default() };
        let caption = Caption { content: Content::Time, name: String::new() };
        let format = VideoFormat { width: 640, height: 360, stride: 640, ..format(PixelFormat::I420) };
        let raw = |treatment| Taken { format, data: vec![128; format.frame_bytes()], treatment };
        let plain = jpeg(&raw(treatment(None)), NOON, 90).unwrap();
        let written = jpeg(&raw(treatment(Some(caption.clone()))), NOON, 90).unwrap();
        let later = jpeg(&raw(treatment(Some(caption))), NOON + Duration::from_secs(1), 90).unwrap();
        assert!(written.len() > plain.len() + 500, "{} {}", written.len(), plain.len());
        assert_ne!(written, later, "it is the time");
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let taken = |pixel, data: &[u8]| Taken {
            format: format(pixel),
            data: data.to_vec(),
            treatment: Treatment::default(),
        };
        assert!(jpeg(&taken(PixelFormat::I420, &[0; 9]), NOON, 85).is_err());
        assert!(jpeg(&taken(PixelFormat::Mjpeg, b"no JPEG"), NOON, 85).is_err());
        let said = jpeg(&taken(PixelFormat::H264, &[0, 0, 0, 1, 0x67, 1]), NOON, 85).unwrap_err().to_string();
        assert!(said.contains("cannot be decoded"), "{said}");
    }
}
