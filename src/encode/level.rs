//! Which level of H.264 a stream needs (ITU-T H.264, annex A). Pure. Not here: how an encoder is told.

use super::Bitrate;
use crate::camera::VideoFormat;

/// A row of ITU-T H.264, table A-1.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// `level_idc`: the level times ten.
    idc: u8,
    /// Macroblocks per second.
    macroblocks_per_second: f64,
    /// Macroblocks per picture.
    macroblocks: u32,
    /// 1000 bits per second.
    kilobits_per_second: u32,
}

/// Level 1b is left out: baseline marks it by a constraint flag and not by its number.
const LEVELS: [Limits; 16] = {
    const fn row(idc: u8, macroblocks_per_second: f64, macroblocks: u32, kilobits_per_second: u32) -> Limits {
        Limits { idc, macroblocks_per_second, macroblocks, kilobits_per_second }
    }
    [
        row(10, 1_485.0, 99, 64),
        row(11, 3_000.0, 396, 192),
        row(12, 6_000.0, 396, 384),
        row(13, 11_880.0, 396, 768),
        row(20, 11_880.0, 396, 2_000),
        row(21, 19_800.0, 792, 4_000),
        row(22, 20_250.0, 1_620, 4_000),
        row(30, 40_500.0, 1_620, 10_000),
        row(31, 108_000.0, 3_600, 14_000),
        row(32, 216_000.0, 5_120, 20_000),
        row(40, 245_760.0, 8_192, 20_000),
        row(41, 245_760.0, 8_192, 50_000),
        row(42, 522_240.0, 8_704, 50_000),
        row(50, 589_824.0, 22_080, 135_000),
        row(51, 983_040.0, 36_864, 240_000),
        row(52, 2_073_600.0, 36_864, 240_000),
    ]
};

/// `level_idc` of the lowest level that allows this size, frame rate and bitrate.
pub fn idc(format: &VideoFormat, bitrate: Bitrate) -> u8 {
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
        .idc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{FrameRate, PixelFormat};

    #[test]
    fn level_is_the_lowest_that_allows_size_rate_and_bitrate() {
        for (width, height, fps, kilobits, level) in [
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
            let rate = FrameRate::new(fps);
            let format = VideoFormat { pixel: PixelFormat::I420, width, height, stride: width, rate };
            let chosen = idc(&format, Bitrate(kilobits * 1000));
            assert_eq!(chosen, level, "{width}x{height} at {fps} fps and {kilobits} kbit/s");
        }
    }
}
