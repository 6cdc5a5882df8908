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
    Bitrate, EncodeError, Encoded, Encoder, FrameKind, Request,
    convert::{Converter, I420},
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
        Ok(Self { format, converter, codec, bitrate, bitrate_changed: false, frames: 0 })
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
    fn encode(&mut self, frame: &Frame<'_>, request: Request) -> Result<Option<Encoded>, EncodeError> {
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
        Ok(Some(Encoded { data: collect(&stream), kind }))
    }

    fn set_bitrate(&mut self, bitrate: Bitrate) -> Result<(), EncodeError> {
        self.bitrate_changed |= bitrate != self.bitrate;
        self.bitrate = bitrate;
        self.apply_bitrate()
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
        .level(level(format, bitrate).codec)
        .sps_pps_strategy(SpsPpsStrategy::ConstantId)
        // Key frames only when someone needs one: `keyframe` decides.
        .intra_frame_period(IntraFramePeriod::auto())
        .num_threads(1)
}

/// The `profile_idc`, constraint flags and `level_idc` that this encoder's SPS will have, as in `profile-level-id`
/// (RFC 6184, section 8.1): constrained baseline.
pub fn profile_level(format: &VideoFormat, bitrate: Bitrate) -> [u8; 3] {
    [0x42, 0xc0, level(format, bitrate).idc]
}

/// A row of ITU-T H.264, table A-1.
#[derive(Debug, Clone, Copy)]
struct LevelLimits {
    /// `level_idc`: the level times ten.
    idc: u8,
    /// Macroblocks per second.
    macroblocks_per_second: f64,
    /// Macroblocks per picture.
    macroblocks: u32,
    /// 1000 bits per second.
    kilobits_per_second: u32,
    codec: Level,
}

/// Level 1b is left out: baseline marks it by a constraint flag and not by its number.
#[rustfmt::skip]
const LEVELS: [LevelLimits; 16] = {
    const fn row(idc: u8, macroblocks_per_second: f64, macroblocks: u32, kilobits_per_second: u32, codec: Level) -> LevelLimits {
        LevelLimits { idc, macroblocks_per_second, macroblocks, kilobits_per_second, codec }
    }
    [
        row(10, 1_485.0, 99, 64, Level::Level_1_0),
        row(11, 3_000.0, 396, 192, Level::Level_1_1),
        row(12, 6_000.0, 396, 384, Level::Level_1_2),
        row(13, 11_880.0, 396, 768, Level::Level_1_3),
        row(20, 11_880.0, 396, 2_000, Level::Level_2_0),
        row(21, 19_800.0, 792, 4_000, Level::Level_2_1),
        row(22, 20_250.0, 1_620, 4_000, Level::Level_2_2),
        row(30, 40_500.0, 1_620, 10_000, Level::Level_3_0),
        row(31, 108_000.0, 3_600, 14_000, Level::Level_3_1),
        row(32, 216_000.0, 5_120, 20_000, Level::Level_3_2),
        row(40, 245_760.0, 8_192, 20_000, Level::Level_4_0),
        row(41, 245_760.0, 8_192, 50_000, Level::Level_4_1),
        row(42, 522_240.0, 8_704, 50_000, Level::Level_4_2),
        row(50, 589_824.0, 22_080, 135_000, Level::Level_5_0),
        row(51, 983_040.0, 36_864, 240_000, Level::Level_5_1),
        row(52, 2_073_600.0, 36_864, 240_000, Level::Level_5_2),
    ]
};

/// The lowest level that allows this size, frame rate and bitrate.
fn level(format: &VideoFormat, bitrate: Bitrate) -> LevelLimits {
    let (columns, rows) = (format.width.div_ceil(16), format.height.div_ceil(16));
    let macroblocks = columns * rows;
    let per_second = f64::from(macroblocks) * format.rate.per_second();
    LEVELS
        .into_iter()
        .find(|limits| {
            // Section A.3.1: neither side may be longer than the root of 8 times the largest picture.
            let longest = 8 * limits.macroblocks;
            macroblocks <= limits.macroblocks
                && columns * columns <= longest
                && rows * rows <= longest
                && per_second <= limits.macroblocks_per_second
                && bitrate.0.div_ceil(1000) <= limits.kilobits_per_second
        })
        .unwrap_or(LEVELS[LEVELS.len() - 1])
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
    fn level_is_the_lowest_that_allows_size_rate_and_bitrate() {
        for (width, height, fps, kilobits, idc) in [
            (176, 144, 15, 64, 10),
            (176, 144, 15, 65, 11),
            (320, 240, 30, 768, 13),
            (352, 288, 30, 1500, 20),
            (640, 480, 30, 1500, 30),
            (1280, 720, 30, 1500, 31),
            (1280, 720, 60, 1500, 32),
            (1280, 720, 30, 15_000, 32),
            (1920, 1080, 30, 4000, 40),
            (1920, 1080, 60, 4000, 42),
            (3840, 2160, 30, 4000, 51),
            (1920, 96, 30, 1500, 31),
        ] {
            let chosen = level(&format(width, height, fps), Bitrate(kilobits * 1000));
            assert_eq!(chosen.idc, idc, "{width}x{height} at {fps} fps and {kilobits} kbit/s");
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
