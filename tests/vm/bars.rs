//! vivid's colour bars, as a picture in one of the pixel formats must show them.

use pinhole::camera::{PixelFormat, VideoFormat};

/// From left to right: white, yellow, cyan, green, magenta, red, blue, black; sRGB, each channel one of two levels.
const BARS: [[f64; 3]; 8] = {
    const HIGH: f64 = 191.0;
    const LOW: f64 = 0.0;
    [
        [HIGH, HIGH, HIGH],
        [HIGH, HIGH, LOW],
        [LOW, HIGH, HIGH],
        [LOW, HIGH, LOW],
        [HIGH, LOW, HIGH],
        [HIGH, LOW, LOW],
        [LOW, LOW, HIGH],
        [LOW, LOW, LOW],
    ]
};

/// Compares the mean colour of each bar's middle with what it must be.
pub fn assert_bars(format: &VideoFormat, data: &[u8]) {
    const TOLERANCE: f64 = 3.0;
    let width = format.width as usize / BARS.len();
    for (bar, color) in BARS.into_iter().enumerate() {
        // Away from the edges, over which chroma is smoothed.
        let columns = bar * width + width / 4..(bar + 1) * width - width / 4;
        let (mut sum, mut count) = ([0.0; 3], 0.0);
        for row in 0..format.height as usize {
            for column in columns.clone() {
                for (sum, value) in sum.iter_mut().zip(pixel(format, data, column, row)) {
                    *sum += value;
                }
                count += 1.0;
            }
        }
        let expected = match format.pixel {
            PixelFormat::Grey => [full_bt709_luma(color), 128.0, 128.0],
            _ => limited_bt601(color),
        };
        for ((sum, expected), channel) in sum.into_iter().zip(expected).zip(["Y", "U", "V"]) {
            let mean = sum / count;
            assert!(
                (mean - expected).abs() <= TOLERANCE,
                "{:?}: bar {bar} has {channel} {mean:.1} instead of {expected:.1}",
                format.pixel
            );
        }
    }
}

/// Luma and both chroma of a pixel; those of an RGB picture as they are converted, of a grey one without colour.
fn pixel(format: &VideoFormat, data: &[u8], x: usize, y: usize) -> [f64; 3] {
    let (stride, height) = (format.stride as usize, format.height as usize);
    let at = |offset: usize| f64::from(data[offset]);
    match format.pixel {
        PixelFormat::Yuyv => {
            let pair = y * stride + x / 2 * 4;
            [at(y * stride + x * 2), at(pair + 1), at(pair + 3)]
        }
        PixelFormat::Uyvy => {
            let pair = y * stride + x / 2 * 4;
            [at(y * stride + x * 2 + 1), at(pair), at(pair + 2)]
        }
        PixelFormat::Nv12 => {
            let chroma = stride * height + y / 2 * stride + x / 2 * 2;
            [at(y * stride + x), at(chroma), at(chroma + 1)]
        }
        PixelFormat::I420 => {
            let u = stride * height + y / 2 * (stride / 2) + x / 2;
            [at(y * stride + x), at(u), at(u + stride / 2 * (height / 2))]
        }
        PixelFormat::Rgb24 => {
            let pixel = y * stride + x * 3;
            limited_bt601([at(pixel), at(pixel + 1), at(pixel + 2)])
        }
        PixelFormat::Bgr24 => {
            let pixel = y * stride + x * 3;
            limited_bt601([at(pixel + 2), at(pixel + 1), at(pixel)])
        }
        PixelFormat::Grey => [at(y * stride + x), 128.0, 128.0],
        PixelFormat::Mjpeg | PixelFormat::H264 => panic!("not a layout that is read here"),
    }
}

/// ITU-R BT.601 with luma from 16 to 235, which is V4L2's default for sRGB.
fn limited_bt601([red, green, blue]: [f64; 3]) -> [f64; 3] {
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    let chroma = |value: f64, span: f64| 128.0 + 224.0 / 255.0 * (value - luma) / span;
    [16.0 + 219.0 / 255.0 * luma, chroma(blue, 1.772), chroma(red, 1.402)]
}

/// ITU-R BT.709 with luma from 0 to 255, which is what vivid makes its grey pictures by.
fn full_bt709_luma([red, green, blue]: [f64; 3]) -> f64 {
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}
