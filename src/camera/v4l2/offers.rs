//! What a device offers, in the terms of `negotiate`. On the thread that asks. Not here: what to choose of it.

use std::io;

use v4l::{Device, Fraction, frameinterval::FrameIntervalEnum, framesize::FrameSizeEnum, video::Capture};

use crate::{
    camera::{
        FrameRate, Wish,
        negotiate::{self, FourCc, Offer, OfferedSize, RateRange, SizeRange},
    },
    sys::format::{self, Api},
};

/// All of the device's formats; sizes and rates only of those that may be taken.
pub(super) fn all(device: &Device, api: Api, wish: &Wish) -> io::Result<Vec<Offer>> {
    let codes = format::formats(device, api)?;
    let offer = |code| {
        let fourcc = FourCc(code);
        let usable = negotiate::pixel_format(fourcc).is_some_and(|pixel| wish.accept.takes(pixel));
        let ranges = if usable { size_ranges(device, fourcc) } else { Vec::new() };
        let sizes = ranges.into_iter().map(|range| {
            let near = range.nearest(wish);
            let rates = near.map(|(width, height)| rates(device, fourcc, width, height));
            OfferedSize { range, rates: rates.unwrap_or_default() }
        });
        Offer { fourcc, sizes: sizes.collect() }
    };
    Ok(codes.into_iter().map(offer).collect())
}

fn size_ranges(device: &Device, fourcc: FourCc) -> Vec<SizeRange> {
    let sizes = match device.enum_framesizes(v4l::FourCC { repr: fourcc.0 }) {
        Ok(sizes) => sizes,
        Err(reason) => {
            // The driver answers S_FMT with the nearest it can do, so anything may be asked.
            tracing::debug!(%fourcc, %reason, "the driver does not list its sizes");
            return vec![SizeRange { min: (16, 16), max: (16_384, 16_384), step: (2, 2) }];
        }
    };
    let range = |size: v4l::FrameSize| match size.size {
        FrameSizeEnum::Discrete(size) => SizeRange::single(size.width, size.height),
        FrameSizeEnum::Stepwise(size) => SizeRange {
            min: (size.min_width, size.min_height),
            max: (size.max_width, size.max_height),
            step: (size.step_width, size.step_height),
        },
    };
    sizes.into_iter().map(range).collect()
}

fn rates(device: &Device, fourcc: FourCc, width: u32, height: u32) -> Vec<RateRange> {
    let intervals = device.enum_frameintervals(v4l::FourCC { repr: fourcc.0 }, width, height);
    let range = |interval: v4l::FrameInterval| match interval.interval {
        FrameIntervalEnum::Discrete(interval) => rate_of_fraction(interval).map(RateRange::single),
        FrameIntervalEnum::Stepwise(interval) => {
            // The shortest interval is the fastest rate. vivid's is 0: it has no limit.
            let slowest = rate_of_fraction(interval.max)?;
            Some(RateRange {
                slowest,
                fastest: rate_of_fraction(interval.min).unwrap_or(FrameRate::new(1000)),
            })
        }
    };
    intervals.unwrap_or_default().into_iter().filter_map(range).collect()
}

/// The rate of an interval, given as numerator and denominator of seconds; `None` where the driver says nothing.
pub(super) fn rate_of((numerator, denominator): (u32, u32)) -> Option<FrameRate> {
    (numerator != 0 && denominator != 0)
        .then_some(FrameRate { numerator: denominator, denominator: numerator })
}

fn rate_of_fraction(interval: Fraction) -> Option<FrameRate> {
    rate_of((interval.numerator, interval.denominator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_become_rates() {
        assert_eq!(rate_of((1001, 30000)), Some(FrameRate { numerator: 30000, denominator: 1001 }));
        assert_eq!(rate_of((0, 1)), None);
        assert_eq!(rate_of((1, 0)), None);
    }
}
