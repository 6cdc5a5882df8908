//! Pictures to encode, and how much of them is left.

use pinhole::{
    camera::{PixelFormat, VideoFormat},
    sys::m2m::Picture,
};

/// A component of a picture: where its values are.
struct Component {
    offset: usize,
    stride: usize,
    /// Bytes from one value to the next.
    step: usize,
    columns: usize,
    rows: usize,
}

/// Y, U, V or R, G, B of a picture of `width` times `height` pixels, whose first plane has `rows` rows.
fn components(
    pixel: PixelFormat,
    (width, height): (usize, usize),
    stride: usize,
    rows: usize,
) -> [Component; 3] {
    let all = |offset, step| Component { offset, stride, step, columns: width, rows: height };
    let half = |offset, step| Component { offset, stride, step, columns: width / 2, rows: height };
    let quarter =
        |offset, stride, step| Component { offset, stride, step, columns: width / 2, rows: height / 2 };
    let luma = stride * rows;
    match pixel {
        PixelFormat::Yuyv => [all(0, 2), half(1, 4), half(3, 4)],
        PixelFormat::Uyvy => [all(1, 2), half(0, 4), half(2, 4)],
        PixelFormat::Nv12 => [all(0, 1), quarter(luma, stride, 2), quarter(luma + 1, stride, 2)],
        PixelFormat::I420 => {
            let v = luma + stride / 2 * (rows / 2);
            [all(0, 1), quarter(luma, stride / 2, 1), quarter(v, stride / 2, 1)]
        }
        PixelFormat::Rgb24 => [all(0, 3), all(1, 3), all(2, 3)],
        PixelFormat::Bgr24 => [all(2, 3), all(1, 3), all(0, 3)],
        PixelFormat::Grey | PixelFormat::Mjpeg | PixelFormat::H264 => panic!("not made here"),
    }
}

fn of_camera(format: &VideoFormat) -> [Component; 3] {
    let (width, height) = (format.width as usize, format.height as usize);
    components(format.pixel, (width, height), format.stride as usize, height)
}

/// A smooth picture in motion, each of whose components looks different.
pub fn smooth(format: &VideoFormat, number: usize) -> Vec<u8> {
    let mut data = vec![0; format.frame_bytes()];
    for (kind, component) in of_camera(format).into_iter().enumerate() {
        let (columns, rows) = (component.columns, component.rows);
        for row in 0..rows {
            for column in 0..columns {
                // From one corner of the picture to another, and back over the middle.
                let (x, y) = (column * 512 / columns, row * 512 / rows);
                let along = match kind {
                    0 => x + y + 8 * number,
                    1 => 2 * x + 4 * number,
                    _ => 2 * y + 512,
                } % 1024;
                let value = 40 + along.min(1024 - along) * 160 / 512;
                data[component.offset + row * component.stride + column * component.step] = value as u8;
            }
        }
    }
    data
}

/// The peak signal-to-noise ratio of each component of a camera's picture against a decoded one, in decibels.
pub fn psnr(format: &VideoFormat, picture: &[u8], layout: &Picture, decoded: &[u8]) -> [f64; 3] {
    let size = (format.width as usize, format.height as usize);
    let ours = of_camera(format);
    let theirs = components(format.pixel, size, layout.stride as usize, layout.height as usize);
    let mut qualities = [0.0; 3];
    for ((quality, a), b) in qualities.iter_mut().zip(ours).zip(theirs) {
        let mut error = 0_u64;
        for row in 0..a.rows {
            for column in 0..a.columns {
                let ours = picture[a.offset + row * a.stride + column * a.step];
                let theirs = decoded[b.offset + row * b.stride + column * b.step];
                error += u64::from(ours.abs_diff(theirs)).pow(2);
            }
        }
        let count = (a.rows * a.columns) as f64;
        *quality = 10.0 * (255.0_f64.powi(2) * count / error.max(1) as f64).log10();
    }
    qualities
}

/// The bound that decoded pictures are held to must be one that a picture of wrong planes cannot reach.
#[test]
fn planes_in_the_wrong_places_would_be_noticed() {
    use pinhole::camera::FrameRate;
    let (width, height) = (640, 360);
    for (ours, theirs, code) in
        [(PixelFormat::Yuyv, PixelFormat::Uyvy, *b"YUYV"), (PixelFormat::Rgb24, PixelFormat::Bgr24, *b"RGB3")]
    {
        let stride = ours.row_bytes(width).unwrap();
        let format = |pixel| VideoFormat { pixel, width, height, stride, rate: FrameRate::new(30) };
        let picture = smooth(&format(ours), 0);
        let layout = |stride, height| Picture { fourcc: code, width, height, stride, bytes: 0 };
        let worst = |decoded: &[u8], layout| {
            psnr(&format(ours), &picture, &layout, decoded).into_iter().fold(f64::INFINITY, f64::min)
        };
        assert!(worst(&picture, layout(stride, height)) > 80.0, "the same picture");
        assert!(worst(&smooth(&format(theirs), 0), layout(stride, height)) < 20.0, "{ours:?} for {theirs:?}");
        assert!(worst(&smooth(&format(ours), 5), layout(stride, height)) < 30.0, "a later frame");
        assert!(worst(&picture, layout(stride - 32, height)) < 20.0, "another stride");
    }
}
