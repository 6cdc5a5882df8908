//! Which of a device's formats, sizes and rates to use. Pure: what the device offers and what is wished go in,
//! a choice with its reason comes out. Not here: asking the device (`v4l2`).
//!
//! The order of preference. What meets the wish, its size and its rate, is taken before all that does not; of what
//! does not, the nearest (`cost`). Of those that are as near:
//! 1. H.264 made by the camera: nothing is encoded here.
//! 2. Raw pictures, the cheapest to convert first. On USB 2 they meet small wishes only: 720p of YUYV at 30 pictures
//!    a second has 442 Mbit/s, more than the bus carries.
//! 3. MJPEG, which must be decoded before it is encoded.
//!
//! Pictures without colour are taken where nothing else has a size that will do. Where the wish is for pictures first
//! ([`Accept::PicturesFirst`]), H.264 comes last but for those.

#[cfg(test)]
mod dump;
mod offer;
mod refusal;
#[cfg(test)]
mod tests;

use super::{Accept, CameraError, FrameRate, PixelFormat, SizeWish, Wish};
pub use offer::{FourCc, Offer, OfferedSize, RateRange, Signal, SizeRange, under};

/// What can be used, in the order of preference. Another format is added by a line here, and its conversion in `encode`.
const USABLE: [(FourCc, PixelFormat); 10] = [
    (FourCc(*b"H264"), PixelFormat::H264),
    (FourCc(*b"YU12"), PixelFormat::I420),
    (FourCc(*b"NV12"), PixelFormat::Nv12),
    (FourCc(*b"YUYV"), PixelFormat::Yuyv),
    (FourCc(*b"UYVY"), PixelFormat::Uyvy),
    (FourCc(*b"RGB3"), PixelFormat::Rgb24),
    (FourCc(*b"BGR3"), PixelFormat::Bgr24),
    (FourCc(*b"MJPG"), PixelFormat::Mjpeg),
    (FourCc(*b"JPEG"), PixelFormat::Mjpeg),
    (FourCc(*b"GREY"), PixelFormat::Grey),
];

/// What pinhole makes of a format; `None`: nothing.
pub fn pixel_format(fourcc: FourCc) -> Option<PixelFormat> {
    USABLE.iter().find(|(usable, _)| *usable == fourcc).map(|(_, pixel)| *pixel)
}

/// What to ask of the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub fourcc: FourCc,
    pub pixel: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// The rate to ask for.
    pub rate: FrameRate,
    /// One line for the log: what was chosen, why, and why not what was wished.
    pub why: String,
}

/// Chooses by the order of preference above, of the formats that the wish accepts.
///
/// # Errors
/// `NotUsable`: no format can be used. `Size`: the user named a size that the device does not offer.
pub fn choose(device: &str, offers: &[Offer], wish: &Wish) -> Result<Choice, CameraError> {
    let modes = modes(offers, wish);
    if modes.is_empty() {
        return Err(refusal::not_usable(device, offers, wish.accept));
    }
    let Some(best) = best(&modes, wish) else { return Err(refusal::size_error(device, offers, wish)) };
    Ok(Choice {
        fourcc: best.fourcc,
        pixel: best.pixel,
        width: best.width,
        height: best.height,
        rate: best.rate,
        why: explain(best, &modes, wish),
    })
}

/// A format and a size, with the rate nearest to the wish.
#[derive(Debug, Clone, Copy)]
struct Mode {
    fourcc: FourCc,
    pixel: PixelFormat,
    width: u32,
    height: u32,
    rate: FrameRate,
}

impl Mode {
    fn has_size(&self, (width, height): (u32, u32)) -> bool {
        (self.width, self.height) == (width, height)
    }
}

/// All that may be taken, in the order of preference.
fn modes(offers: &[Offer], wish: &Wish) -> Vec<Mode> {
    let mut modes = Vec::new();
    for (fourcc, pixel) in USABLE.into_iter().filter(|(_, pixel)| wish.accept.takes(*pixel)) {
        for offer in offers.iter().filter(|offer| offer.fourcc == fourcc) {
            for size in &offer.sizes {
                let Some((width, height)) = size.range.nearest(wish) else { continue };
                modes.push(Mode { fourcc, pixel, width, height, rate: nearest_rate(&size.rates, wish.rate) });
            }
        }
    }
    modes
}

fn best<'a>(modes: &'a [Mode], wish: &Wish) -> Option<&'a Mode> {
    let fits = |mode: &&Mode| match wish.size {
        SizeWish::Exact => mode.has_size((wish.width, wish.height)),
        SizeWish::Nearest => true,
    };
    let has_colour = |mode: &&Mode| mode.pixel != PixelFormat::Grey;
    let is_picture = |mode: &&Mode| wish.accept != Accept::PicturesFirst || mode.pixel != PixelFormat::H264;
    // `min_by` gives the first of equals.
    let order = |a: &&Mode, b: &&Mode| cost(a, wish).total_cmp(&cost(b, wish));
    let fitting = || modes.iter().filter(fits);
    let preferred = fitting().filter(has_colour).filter(is_picture).min_by(order);
    preferred.or_else(|| fitting().filter(has_colour).min_by(order)).or_else(|| fitting().min_by(order))
}

/// How far a mode is from the wish. Ratios count, so half the size is as far off as twice the size; too slow a
/// rate weighs more than a size, because 720p at 10 pictures a second serves people less than VGA at 30.
fn cost(mode: &Mode, wish: &Wish) -> f64 {
    const SLOW: f64 = 1.5;
    const FAST: f64 = 0.5;
    // Rates that differ by less are alike: 29.97 pictures a second are 30.
    const ALIKE: f64 = 0.01;
    let ratio = |got: f64, wished: f64| (got / wished.max(1e-3)).ln();
    let size = ratio(mode.width.into(), wish.width.into()).abs()
        + ratio(mode.height.into(), wish.height.into()).abs();
    let rate = (ratio(mode.rate.per_second(), wish.rate.per_second()) / ALIKE).round() * ALIKE;
    size + if rate < 0.0 { -SLOW * rate } else { FAST * rate }
}

/// The nearest by ratio; of equals the slower, which costs less. Where the driver does not tell: the wish.
fn nearest_rate(rates: &[RateRange], wish: FrameRate) -> FrameRate {
    let distance = |rate: &FrameRate| (rate.per_second() / wish.per_second().max(1e-3)).ln().abs();
    let order = |a: &FrameRate, b: &FrameRate| {
        let by_distance = distance(a).total_cmp(&distance(b));
        // 15 and 60 are as far from 30, but not to the last bit.
        let alike = (distance(a) - distance(b)).abs() < 1e-9;
        if alike { a.per_second().total_cmp(&b.per_second()) } else { by_distance }
    };
    rates.iter().map(|range| range.nearest(wish)).min_by(order).unwrap_or(wish)
}

/// One line: the choice, whether it is what was asked for and why not, and what speaks for this format.
fn explain(best: &Mode, modes: &[Mode], wish: &Wish) -> String {
    let Mode { fourcc, width, height, rate, .. } = *best;
    let chosen = format!("{fourcc} {width}x{height} at {} fps", fps(rate));
    let same_size = best.has_size((wish.width, wish.height));
    let same_rate = (rate.per_second() - wish.rate.per_second()).abs() < 0.05;
    let met = if same_size && same_rate {
        "as asked".to_owned()
    } else {
        let reason = match modes.iter().find(|mode| mode.has_size((wish.width, wish.height))) {
            Some(_) if same_size => "the nearest rate at this size".to_owned(),
            Some(mode) => format!("at that size it gives {} fps", fps(mode.rate)),
            None => "the nearest it has".to_owned(),
        };
        format!("asked for {}x{} at {} fps: {reason}", wish.width, wish.height, fps(wish.rate))
    };
    format!("{chosen}; {met}; {}", merit(best, modes))
}

/// What speaks for the chosen format.
fn merit(best: &Mode, modes: &[Mode]) -> String {
    match best.pixel {
        PixelFormat::H264 => "the camera encodes by itself".to_owned(),
        PixelFormat::I420
        | PixelFormat::Nv12
        | PixelFormat::Yuyv
        | PixelFormat::Uyvy
        | PixelFormat::Rgb24
        | PixelFormat::Bgr24 => "raw pictures, nothing to decode".to_owned(),
        PixelFormat::Grey => "nothing with colour has that size".to_owned(),
        PixelFormat::Mjpeg => {
            let raw = modes.iter().filter(|mode| mode.pixel.row_bytes(mode.width).is_some());
            let alike = raw.filter(|mode| mode.has_size((best.width, best.height)));
            match alike.max_by(|a, b| a.rate.per_second().total_cmp(&b.rate.per_second())) {
                Some(raw) => format!("raw pictures it gives at {} fps", fps(raw.rate)),
                None => "raw pictures it does not give at that size".to_owned(),
            }
        }
    }
}

fn fps(rate: FrameRate) -> String {
    let text = format!("{:.2}", rate.per_second());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
