//! For tests: reads what `v4l2-ctl` prints of a device's formats (`--list-formats-ext`) and of the signal on its cable
//! (`--query-dv-timings`), as in tests/fixtures/cameras.

use super::{FourCc, Offer, OfferedSize, RateRange, Signal, SizeRange};
use crate::camera::FrameRate;

/// The formats with their sizes and rates.
pub fn offers(text: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((_, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("]: '")) {
            let code = rest.split_once("' (").expect("a code in quotes, then its description").0;
            offers.push(Offer { fourcc: fourcc(code), sizes: Vec::new() });
        } else if let Some(size) = line.strip_prefix("Size: ") {
            let offer = offers.last_mut().expect("a format before its sizes");
            offer.sizes.push(OfferedSize { range: range(size), rates: Vec::new() });
        } else if let Some(interval) = line.strip_prefix("Interval: ") {
            let size = offers.last_mut().and_then(|offer| offer.sizes.last_mut());
            size.expect("a size before its intervals").rates.push(rates(interval));
        }
    }
    offers
}

/// The signal on the cable, if the text tells of one.
pub fn signal(text: &str) -> Option<Signal> {
    let value = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let number = |name| value(name).map(|text: &str| text.parse().expect("a number"));
    let (width, height) = (number("Active width:")?, number("Active height:")?);
    let (_, rate) = value("Pixelclock:")?.split_once('(')?;
    let rate: f64 = rate.split_once(' ')?.0.parse().expect("a rate");
    Some(Signal { width, height, rate: hundredths(rate) })
}

fn fourcc(code: &str) -> FourCc {
    let (code, swapped) = code.strip_suffix("-BE").map_or((code, 0), |code| (code, 0x80));
    let mut bytes: [u8; 4] = code.as_bytes().try_into().expect("four letters");
    bytes[3] |= swapped;
    FourCc(bytes)
}

/// `Discrete 640x480`, or `Stepwise 16x16 - 64x48 with step 2/2` (which is `Continuous` with steps of 1).
fn range(text: &str) -> SizeRange {
    let pair = |text: &str, between| {
        let (width, height) = text.split_once(between).expect("two numbers");
        (width.parse().expect("a width"), height.parse().expect("a height"))
    };
    let (kind, rest) = text.split_once(' ').expect("a kind of size");
    match kind {
        "Discrete" => {
            let (width, height) = pair(rest, 'x');
            SizeRange::single(width, height)
        }
        "Stepwise" | "Continuous" => {
            let (sizes, step) = rest.split_once(" with step ").unwrap_or((rest, "1/1"));
            let (min, max) = sizes.split_once(" - ").expect("two sizes");
            SizeRange { min: pair(min, 'x'), max: pair(max, 'x'), step: pair(step, '/') }
        }
        _ => panic!("no kind of size: {text}"),
    }
}

/// `Discrete 0.033s (30.000 fps)`, or `Continuous 0.017s - 1.000s (1.000-60.000 fps)`.
fn rates(text: &str) -> RateRange {
    let (_, rates) = text.split_once('(').expect("rates in brackets");
    let rates = rates.strip_suffix(" fps)").expect("frames per second");
    let rate = |text: &str| hundredths(text.parse().expect("a rate"));
    match rates.split_once('-') {
        Some((slowest, fastest)) => RateRange { slowest: rate(slowest), fastest: rate(fastest) },
        None => RateRange::single(rate(rates)),
    }
}

fn hundredths(rate: f64) -> FrameRate {
    FrameRate { numerator: (rate * 100.0).round() as u32, denominator: 100 }
}
