//! The software encoder: OpenH264, one thread, constrained baseline. Runs on the camera's pipeline thread.
//! Not here: when a key frame is due (`keyframe`), at which rate (`bitrate`), and pixel layouts (`convert`).

use bytes::Bytes;
use openh264::{
    OpenH264API, Timestamp,
    encoder::{
        BitRate, Complexity, EncodedBitStream, Encoder as Codec, EncoderConfig, FrameRate, FrameType,
        IntraFramePeriod, Level, Profile, RateControlMode, SpsPpsStrategy, UsageType,
    },
    formats::YUVSlices,
};

use super::{
    Bitrate, EncodeError, Encoder, FrameKind, Output, Request,
    convert::{Converter, I420},
    level,
};
use crate::{
    camera::{Frame, VideoFormat},
    sys,
};

/// Pixels; OpenH264's own limit, in either direction.
const LONGEST: u32 = 3840;
const SHORTEST_OF_LONGEST: u32 = 2160;
/// Pixels; one macroblock.
const SMALLEST: u32 = 16;

/// OpenH264 for one format.
pub struct OpenH264 {
    format: VideoFormat,
    converter: Converter,
    codec: Codec,
    /// What the level was chosen for.
    ceiling: Bitrate,
    bitrate: Bitrate,
    /// Set where `codec` does not know `bitrate` yet.
    bitrate_changed: bool,
    /// Frames given to the codec, which is initialised by the first.
    frames: u64,
}

impl std::fmt::Debug for OpenH264 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenH264")
            .field("format", &self.format)
            .field("bitrate", &self.bitrate)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl OpenH264 {
    /// An encoder for frames of `format`, which starts at `bitrate` (also the most that its level is chosen for).
    ///
    /// # Errors
    /// A size that is odd or beyond OpenH264's, or a format that is H.264 already.
    pub fn new(format: VideoFormat, bitrate: Bitrate) -> Result<Self, EncodeError> {
        let (width, height) = (format.width, format.height);
        if width.max(height) > LONGEST || width.min(height) > SHORTEST_OF_LONGEST {
            let reason = format!("the largest is {LONGEST}x{SHORTEST_OF_LONGEST}");
            return Err(EncodeError::Unsupported { width, height, reason });
        }
        if width.min(height) < SMALLEST {
            let reason = format!("the smallest is {SMALLEST}x{SMALLEST}");
            return Err(EncodeError::Unsupported { width, height, reason });
        }
        let converter = Converter::new(format)?;
        let mut codec = Codec::with_api_config(OpenH264API::from_source(), config(&format, bitrate))
            .map_err(|error| EncodeError::Failed(format!("OpenH264 does not start: {error}")))?;
        sys::openh264::silence(&mut codec).map_err(|sys::openh264::Refused(code)| {
            EncodeError::Failed(format!("OpenH264 does not start (its error {code})"))
        })?;
        Ok(Self { format, converter, codec, ceiling: bitrate, bitrate, bitrate_changed: false, frames: 0 })
    }

    fn apply_bitrate(&mut self) -> Result<(), EncodeError> {
        if self.frames == 0 || !std::mem::take(&mut self.bitrate_changed) {
            return Ok(());
        }
        sys::openh264::set_bitrate(&mut self.codec, self.bitrate.0).map_err(|sys::openh264::Refused(code)| {
            EncodeError::Failed(format!("OpenH264 does not take {} (its error {code})", self.bitrate))
        })
    }
}

impl Encoder for OpenH264 {
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Output>, EncodeError> {
        self.apply_bitrate()?;
        let size = (self.format.width as usize, self.format.height as usize);
        let I420 { y, u, v, y_stride, chroma_stride } = self.converter.convert(frame.data)?;
        let planes = YUVSlices::new((y, u, v), size, (y_stride, chroma_stride, chroma_stride));
        // The first frame is an IDR by itself, and OpenH264 cannot be asked before it.
        if request == Request::Key && self.frames > 0 {
            self.codec.force_intra_frame();
        }
        // Its rate control counts frames; the time only has to rise.
        let interval = self.format.rate.interval().as_secs_f64();
        let time = Timestamp::from_millis((self.frames as f64 * interval * 1000.0) as u64);
        self.frames += 1;
        let stream = self
            .codec
            .encode_at(&planes, time)
            .map_err(|error| EncodeError::Failed(format!("OpenH264: {error}")))?;
        let kind = match stream.frame_type() {
            FrameType::IDR => FrameKind::Key,
            FrameType::I | FrameType::P | FrameType::IPMixed => FrameKind::Delta,
            FrameType::Skip => return Ok(None),
            FrameType::Invalid => {
                return Err(EncodeError::Failed("OpenH264 gave a frame of no known type".to_owned()));
            }
        };
        Ok(Some(Output { data: collect(&stream), kind, captured: frame.captured }))
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        self.bitrate_changed |= bitrate != self.bitrate;
        self.bitrate = bitrate;
        self.apply_bitrate()
    }

    fn profile_level(&self) -> Option<[u8; 3]> {
        Some(profile_level(&self.format, self.ceiling))
    }
}

/// The access unit in one piece: the only allocation per frame. OpenH264 writes four-byte start codes, and SPS and
/// PPS before each IDR.
fn collect(stream: &EncodedBitStream<'_>) -> Bytes {
    let layers = || (0..stream.num_layers()).filter_map(|index| stream.layer(index));
    let mut length = 0;
    for layer in layers() {
        length +=
            (0..layer.nal_count()).filter_map(|nal| layer.nal_unit(nal)).map(<[u8]>::len).sum::<usize>();
    }
    let mut data = Vec::with_capacity(length);
    for layer in layers() {
        for nal in (0..layer.nal_count()).filter_map(|nal| layer.nal_unit(nal)) {
            data.extend_from_slice(nal);
        }
    }
    data.into()
}

/// Measured on a noisy picture in motion (November 2026): only with adaptive quantisation, background detection and
/// scene-change detection off does OpenH264 hold its bitrate, and then it needs no frame skipping to hold it.
fn config(format: &VideoFormat, bitrate: Bitrate) -> EncoderConfig {
    EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .complexity(Complexity::Low)
        .adaptive_quantization(false)
        .background_detection(false)
        .scene_change_detect(false)
        .rate_control_mode(RateControlMode::Bitrate)
        .skip_frames(false)
        .bitrate(BitRate::from_bps(bitrate.0))
        .max_frame_rate(FrameRate::from_hz(format.rate.per_second() as f32))
        .profile(Profile::Baseline)
        .level(level(level::idc(format, bitrate)))
        .sps_pps_strategy(SpsPpsStrategy::ConstantId)
        // Key frames only when someone needs one: `keyframe` decides.
        .intra_frame_period(IntraFramePeriod::auto())
        .num_threads(1)
}

/// The `profile_idc`, constraint flags and `level_idc` that this encoder's SPS will have, as in `profile-level-id`
/// (RFC 6184, section 8.1): constrained baseline.
pub fn profile_level(format: &VideoFormat, bitrate: Bitrate) -> [u8; 3] {
    [0x42, 0xc0, level::idc(format, bitrate)]
}

/// The level as OpenH264 names it.
const fn level(idc: u8) -> Level {
    match idc {
        10 => Level::Level_1_0,
        11 => Level::Level_1_1,
        12 => Level::Level_1_2,
        13 => Level::Level_1_3,
        20 => Level::Level_2_0,
        21 => Level::Level_2_1,
        22 => Level::Level_2_2,
        30 => Level::Level_3_0,
        31 => Level::Level_3_1,
        32 => Level::Level_3_2,
        40 => Level::Level_4_0,
        41 => Level::Level_4_1,
        42 => Level::Level_4_2,
        50 => Level::Level_5_0,
        51 => Level::Level_5_1,
        _ => Level::Level_5_2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{self, PixelFormat};

    fn format(width: u32, height: u32, fps: u32) -> VideoFormat {
        VideoFormat {
            pixel: PixelFormat::I420,
            width,
            height,
            stride: width,
            rate: camera::FrameRate::new(fps),
        }
    }

    #[test]
    fn impossible_sizes_are_refused_in_words() {
        for (width, height) in [(4096, 2160), (3840, 2400), (8, 720), (1280, 8), (641, 480)] {
            let error = OpenH264::new(format(width, height, 30), Bitrate(1_000_000)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("{width}x{height}")) && text.contains("--size"), "{text}");
        }
    }
}
