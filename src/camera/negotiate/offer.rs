//! What a device offers: formats, sizes, rates, in V4L2's terms. Pure. Not here: asking for it (`v4l2::offers`), and
//! choosing of it (`negotiate`).

use crate::camera::{FrameRate, Wish};

/// A V4L2 pixel format code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl std::fmt::Display for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The highest bit says that the same layout is meant with its bytes swapped (V4L2_PIX_FMT_FLAG_BE).
        let [a, b, c, d] = self.0;
        let ending = if d & 0x80 == 0 { "" } else { "-BE" };
        write!(f, "{}{ending}", [a, b, c, d & 0x7f].escape_ascii().to_string().trim_end())
    }
}

impl std::fmt::Debug for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// One of the device's formats.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub fourcc: FourCc,
    pub sizes: Vec<OfferedSize>,
}

/// A size or a range of sizes, with the rates at the point of the range that is nearest to the wish.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedSize {
    pub range: SizeRange,
    /// Empty where the driver does not tell.
    pub rates: Vec<RateRange>,
}

/// Sizes from `min` to `max` in steps, each width then height in pixels. A single size has `min == max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    pub min: (u32, u32),
    pub max: (u32, u32),
    pub step: (u32, u32),
}

impl SizeRange {
    /// A single size.
    pub const fn single(width: u32, height: u32) -> Self {
        Self { min: (width, height), max: (width, height), step: (1, 1) }
    }

    /// The size of this range that is nearest to the wish and even in both directions.
    pub fn nearest(&self, wish: &Wish) -> Option<(u32, u32)> {
        let width = nearest_even(self.min.0, self.max.0, self.step.0, wish.width)?;
        let height = nearest_even(self.min.1, self.max.1, self.step.1, wish.height)?;
        Some((width, height))
    }
}

impl std::fmt::Display for SizeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.min;
        write!(f, "{width}x{height}")?;
        if self.min != self.max {
            let ((width, height), (step_x, step_y)) = (self.max, self.step);
            write!(f, " to {width}x{height} in steps of {step_x}x{step_y}")?;
        }
        Ok(())
    }
}

/// Rates from `slowest` to `fastest`. A single rate has both alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRange {
    pub slowest: FrameRate,
    pub fastest: FrameRate,
}

impl RateRange {
    /// A single rate.
    pub const fn single(rate: FrameRate) -> Self {
        Self { slowest: rate, fastest: rate }
    }

    /// The rate of this range that is nearest to the wish.
    pub fn nearest(&self, wish: FrameRate) -> FrameRate {
        let wished = wish.per_second();
        if wished >= self.fastest.per_second() {
            self.fastest
        } else if wished <= self.slowest.per_second() {
            self.slowest
        } else {
            wish
        }
    }
}

/// What comes in by a cable: its own size and rate, which a grabber gives and no other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub rate: FrameRate,
}

/// The offers of a grabber under a signal: all formats, each of the signal's size and rate. (Some drivers list further
/// sizes, to which they would scale or cut, and many list none.)
pub fn under(signal: &Signal, offers: Vec<Offer>) -> Vec<Offer> {
    let size = OfferedSize {
        range: SizeRange::single(signal.width, signal.height),
        rates: vec![RateRange::single(signal.rate)],
    };
    offers.into_iter().map(|offer| Offer { fourcc: offer.fourcc, sizes: vec![size.clone()] }).collect()
}

fn nearest_even(min: u32, max: u32, step: u32, wish: u32) -> Option<u32> {
    let step = step.max(1);
    let last = max.checked_sub(min)? / step;
    let below = wish.clamp(min, max).saturating_sub(min) / step;
    // With an odd step every other value is even: one of the neighbours is, if there are any.
    [below, below + 1, below.saturating_sub(1)]
        .into_iter()
        .filter(|steps| *steps <= last)
        .map(|steps| min + steps * step)
        .filter(|value| *value > 0 && value % 2 == 0)
        .min_by_key(|value| value.abs_diff(wish))
}
