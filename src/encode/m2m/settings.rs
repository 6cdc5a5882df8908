//! What an encoder is told by its controls: bitrate, distance of key frames, profile and level. Encoders differ in
//! which controls they have, so each is set where it is there. The list is pure. Not here: asking for a key frame.

use v4l::v4l_sys;

use crate::{
    camera::VideoFormat,
    encode::{Bitrate, level},
    sys::m2m::M2m,
};

/// Key frames are made on request; one comes by itself after so many seconds, or as late as the encoder can.
const KEY_FRAME_EVERY: f64 = 600.0;

/// A control and what it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    name: &'static str,
    id: u32,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// The nearest that the control takes.
    Number(i32),
    /// The first of these menu entries that there is.
    Entry(Vec<i32>),
}

/// Tells a new encoder what it shall do, before its buffers are allocated. What it refuses is logged: it works
/// without.
pub(super) fn apply(device: &M2m, format: &VideoFormat, bitrate: Bitrate) {
    for Setting { name, id, value } in settings(format, bitrate) {
        let Some(range) = device.control(id) else {
            tracing::trace!(control = name, "the encoder has no such control");
            continue;
        };
        let value = match value {
            Value::Number(number) => number.clamp(range.min, range.max),
            Value::Entry(entries) => {
                let Some(entry) = entries.into_iter().find(|entry| device.has_entry(id, *entry)) else {
                    tracing::debug!(
                        control = name,
                        left_at = range.default,
                        "the encoder has no fitting entry"
                    );
                    continue;
                };
                entry
            }
        };
        match device.set_control(id, value) {
            Ok(()) => tracing::debug!(control = name, value, "set"),
            Err(reason) => tracing::debug!(control = name, value, %reason, "the encoder refuses"),
        }
    }
}

/// In the order in which they are set: encoders check some against those before.
fn settings(format: &VideoFormat, bitrate: Bitrate) -> Vec<Setting> {
    use v4l_sys as v;
    let number = |name, id, value| Setting { name, id, value: Value::Number(value) };
    let entry = |name, id, entries: &[i32]| Setting { name, id, value: Value::Entry(entries.to_vec()) };
    let key_frame_every = (KEY_FRAME_EVERY * format.rate.per_second()) as i32;
    vec![
        // V4L2_MPEG_VIDEO_BITRATE_MODE_CBR, else …_VBR.
        entry("bitrate mode", v::V4L2_CID_MPEG_VIDEO_BITRATE_MODE, &[1, 0]),
        number("frame rate control", v::V4L2_CID_MPEG_VIDEO_FRAME_RC_ENABLE, 1),
        number("bitrate", v::V4L2_CID_MPEG_VIDEO_BITRATE, bits(bitrate)),
        // No browser plays B frames, and they cost a frame's time.
        number("B frames", v::V4L2_CID_MPEG_VIDEO_B_FRAMES, 0),
        number("GOP size", v::V4L2_CID_MPEG_VIDEO_GOP_SIZE, key_frame_every),
        number("I period", v::V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, key_frame_every),
        // V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE, else …_BASELINE: what every browser decodes.
        entry("profile", v::V4L2_CID_MPEG_VIDEO_H264_PROFILE, &[1, 0]),
        entry("level", v::V4L2_CID_MPEG_VIDEO_H264_LEVEL, &levels(level::idc(format, bitrate))),
        // V4L2_MPEG_VIDEO_HEADER_MODE_JOINED_WITH_1ST_FRAME.
        entry("header mode", v::V4L2_CID_MPEG_VIDEO_HEADER_MODE, &[1]),
        number("repeated headers", v::V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER, 1),
        number("headers before key frames", v::V4L2_CID_MPEG_VIDEO_PREPEND_SPSPPS_TO_IDR, 1),
    ]
}

/// A bitrate as the control takes it.
pub(super) fn bits(bitrate: Bitrate) -> i32 {
    i32::try_from(bitrate.0).unwrap_or(i32::MAX)
}

/// The entries of `V4L2_CID_MPEG_VIDEO_H264_LEVEL` (enum v4l2_mpeg_video_h264_level) from a level on: the lowest that
/// the encoder has is taken.
fn levels(idc: u8) -> Vec<i32> {
    const ENTRIES: [(u8, i32); 16] = [
        (10, 0),
        (11, 2),
        (12, 3),
        (13, 4),
        (20, 5),
        (21, 6),
        (22, 7),
        (30, 8),
        (31, 9),
        (32, 10),
        (40, 11),
        (41, 12),
        (42, 13),
        (50, 14),
        (51, 15),
        (52, 16),
    ];
    ENTRIES.into_iter().filter(|(level, _)| *level >= idc).map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{FrameRate, PixelFormat};

    fn value(name: &str, fps: u32, bitrate: Bitrate) -> Value {
        let rate = FrameRate::new(fps);
        let format = VideoFormat { pixel: PixelFormat::Yuyv, width: 1280, height: 720, stride: 2560, rate };
        let all = settings(&format, bitrate);
        all.into_iter().find(|setting| setting.name == name).expect("it is in the list").value
    }

    #[test]
    fn the_stream_is_one_that_browsers_play() {
        let value = |name| value(name, 30, Bitrate(1_500_000));
        assert_eq!(value("B frames"), Value::Number(0));
        assert_eq!(value("profile"), Value::Entry(vec![1, 0]), "constrained baseline first");
        assert_eq!(value("bitrate"), Value::Number(1_500_000));
        // Level 3.1 is entry 9 of the kernel's menu.
        assert_eq!(value("level"), Value::Entry(vec![9, 10, 11, 12, 13, 14, 15, 16]));
    }

    #[test]
    fn key_frames_come_on_request() {
        assert_eq!(value("GOP size", 30, Bitrate(1_500_000)), Value::Number(18_000));
        assert_eq!(value("I period", 10, Bitrate(1_500_000)), Value::Number(6_000));
    }

    #[test]
    fn level_follows_rate_and_bitrate() {
        assert_eq!(value("level", 60, Bitrate(1_500_000)), Value::Entry((10..=16).collect()));
        assert_eq!(value("level", 30, Bitrate(15_000_000)), Value::Entry((10..=16).collect()));
        assert_eq!(value("bitrate", 30, Bitrate(u32::MAX)), Value::Number(i32::MAX));
    }
}
