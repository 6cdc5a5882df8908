//! Which of a device's formats, sizes and rates to use. Pure: what the device offers and what is wished go in,
//! a choice with its reason comes out. Not here: asking the device (`v4l2`).

use super::{CameraError, FrameRate, PixelFormat, SizeWish, Wish};

/// A V4L2 pixel format code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

impl std::fmt::Display for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii().to_string().trim_end())
    }
}

impl std::fmt::Debug for FourCc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// What can be used, the cheapest to encode first; camera-made H.264 last, because its bitrate and key frames
/// are the camera's affair. Another format is added by a line here, and its conversion in `encode`.
const USABLE: [(FourCc, PixelFormat); 4] = [
    (FourCc(*b"YU12"), PixelFormat::I420),
    (FourCc(*b"NV12"), PixelFormat::Nv12),
    (FourCc(*b"YUYV"), PixelFormat::Yuyv),
    (FourCc(*b"H264"), PixelFormat::H264),
];

/// What pinhole makes of a format; `None`: nothing.
pub fn pixel_format(fourcc: FourCc) -> Option<PixelFormat> {
    USABLE.iter().find(|(usable, _)| *usable == fourcc).map(|(_, pixel)| *pixel)
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

    fn nearest(&self, wish: FrameRate) -> FrameRate {
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

/// What to ask of the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub fourcc: FourCc,
    pub pixel: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// The rate to ask for.
    pub rate: FrameRate,
    /// One line for the log: what was chosen, and why not what was wished.
    pub why: String,
}

/// Chooses what is nearest to the wish.
///
/// # Errors
/// `NotUsable`: no format can be used. `Size`: the user named a size that the device does not offer.
pub fn choose(device: &str, offers: &[Offer], wish: &Wish) -> Result<Choice, CameraError> {
    let modes = modes(offers, wish);
    if modes.is_empty() {
        return Err(not_usable(device, offers));
    }
    let exact = |mode: &&Mode| (mode.width, mode.height) == (wish.width, wish.height);
    let best = match wish.size {
        SizeWish::Exact => best(modes.iter().filter(exact), wish),
        SizeWish::Nearest => best(modes.iter(), wish),
    };
    let Some(best) = best else { return Err(size_error(device, offers, wish)) };
    Ok(Choice {
        fourcc: best.fourcc,
        pixel: best.pixel,
        width: best.width,
        height: best.height,
        rate: best.rate,
        why: explain(best, &modes, wish),
    })
}

#[derive(Debug, Clone, Copy)]
struct Mode {
    fourcc: FourCc,
    pixel: PixelFormat,
    width: u32,
    height: u32,
    rate: FrameRate,
}

fn modes(offers: &[Offer], wish: &Wish) -> Vec<Mode> {
    let mut modes = Vec::new();
    // In the order of USABLE, so that the first of equals is the one to take.
    for (fourcc, pixel) in USABLE {
        for offer in offers.iter().filter(|offer| offer.fourcc == fourcc) {
            for size in &offer.sizes {
                let Some((width, height)) = size.range.nearest(wish) else { continue };
                modes.push(Mode { fourcc, pixel, width, height, rate: nearest_rate(&size.rates, wish.rate) });
            }
        }
    }
    modes
}

fn best<'a>(modes: impl Iterator<Item = &'a Mode>, wish: &Wish) -> Option<&'a Mode> {
    // `min_by` gives the first of equals.
    modes.min_by(|a, b| cost(a, wish).total_cmp(&cost(b, wish)))
}

/// How far a mode is from the wish. Ratios count, so half the size is as far off as twice the size; too slow a
/// rate weighs more than a size, because 720p at 10 pictures a second serves people less than VGA at 30.
fn cost(mode: &Mode, wish: &Wish) -> f64 {
    const SLOW: f64 = 1.5;
    const FAST: f64 = 0.5;
    let ratio = |got: f64, wished: f64| (got / wished.max(1e-3)).ln();
    let size = ratio(mode.width.into(), wish.width.into()).abs()
        + ratio(mode.height.into(), wish.height.into()).abs();
    let rate = ratio(mode.rate.per_second(), wish.rate.per_second());
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

fn explain(best: &Mode, modes: &[Mode], wish: &Wish) -> String {
    let Mode { fourcc, width, height, rate, .. } = best;
    let chosen = format!("{fourcc} {width}x{height} at {} fps", fps(*rate));
    let same_size = (*width, *height) == (wish.width, wish.height);
    let same_rate = (rate.per_second() - wish.rate.per_second()).abs() < 0.05;
    if same_size && same_rate {
        return format!("{chosen}, as asked");
    }
    let reason = match modes.iter().find(|mode| (mode.width, mode.height) == (wish.width, wish.height)) {
        Some(_) if same_size => "the nearest rate at this size".to_owned(),
        Some(mode) => format!("at that size it gives {} fps", fps(mode.rate)),
        None => "the nearest it has".to_owned(),
    };
    format!("{chosen}; asked for {}x{} at {} fps: {reason}", wish.width, wish.height, fps(wish.rate))
}

fn fps(rate: FrameRate) -> String {
    let text = format!("{:.2}", rate.per_second());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn size_error(device: &str, offers: &[Offer], wish: &Wish) -> CameraError {
    let usable = offers.iter().filter(|offer| pixel_format(offer.fourcc).is_some());
    let mut ranges: Vec<_> = usable.flat_map(|offer| offer.sizes.iter().map(|size| size.range)).collect();
    ranges.retain(|range| range.nearest(wish).is_some());
    ranges.sort_by_key(|range| (range.min, range.max));
    ranges.dedup();
    let offered = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    CameraError::Size { device: device.to_owned(), width: wish.width, height: wish.height, offered }
}

fn not_usable(device: &str, offers: &[Offer]) -> CameraError {
    let has = |test: fn(FourCc) -> bool| offers.iter().any(|offer| test(offer.fourcc));
    let names = offers.iter().map(|offer| offer.fourcc.to_string()).collect::<Vec<_>>().join(", ");
    let (reason, remedy) = if offers.is_empty() {
        ("it offers no picture format".to_owned(), "choose another with --camera".to_owned())
    } else if has(is_mjpeg) {
        let reason = format!("of its formats ({names}) none is supported, MJPEG not yet");
        (reason, "choose a camera that gives YUYV, NV12 or YU12".to_owned())
    } else if has(is_bayer) {
        let reason = format!("it gives a sensor's raw pictures ({names}), as a Raspberry Pi CSI camera does");
        let command = "rpicam-vid -n -t 0 --inline --flush -o -";
        (reason, format!("let its own program make the video: --camera \"process:{command}\""))
    } else if offers.iter().any(|offer| pixel_format(offer.fourcc).is_some()) {
        let reason = format!("its formats ({names}) have no size that is even in both directions");
        (reason, "choose another with --camera".to_owned())
    } else {
        let reason = format!("none of its formats ({names}) is supported");
        (reason, "choose a camera that gives YUYV, NV12 or YU12".to_owned())
    };
    CameraError::NotUsable { device: device.to_owned(), reason, remedy }
}

fn is_mjpeg(fourcc: FourCc) -> bool {
    matches!(&fourcc.0, b"MJPG" | b"JPEG")
}

/// The codes of Bayer patterns: of 8 bits, of 10 to 16 bits in two bytes (`BG10`), packed, A-law and DPCM
/// compressed (`pBAA`, `aBA8`, `bBA8`).
fn is_bayer(fourcc: FourCc) -> bool {
    matches!(&fourcc.0, b"BA81" | b"GBRG" | b"GRBG" | b"RGGB" | b"BYR2")
        || matches!(&fourcc.0, [b'B' | b'G' | b'R', b'A' | b'B' | b'G' | b'R', b'1', _])
        || matches!(&fourcc.0, [b'a' | b'b' | b'p', b'B' | b'G' | b'g' | b'R', b'A' | b'B' | b'C' | b'E', _])
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn fps(rate: u32) -> RateRange {
        RateRange::single(FrameRate::new(rate))
    }

    fn size(width: u32, height: u32, rates: &[RateRange]) -> OfferedSize {
        OfferedSize { range: SizeRange::single(width, height), rates: rates.to_vec() }
    }

    fn offer(fourcc: &[u8; 4], sizes: &[OfferedSize]) -> Offer {
        Offer { fourcc: FourCc(*fourcc), sizes: sizes.to_vec() }
    }

    fn wish(width: u32, height: u32, rate: u32, size: SizeWish) -> Wish {
        Wish { width, height, rate: FrameRate::new(rate), size }
    }

    fn chosen(offers: &[Offer], wish: &Wish) -> (String, u32, u32, f64) {
        let choice = choose("/dev/video9", offers, wish).unwrap();
        (choice.fourcc.to_string(), choice.width, choice.height, choice.rate.per_second())
    }

    /// What a common webcam on USB 2 offers.
    fn webcam() -> Vec<Offer> {
        vec![
            offer(b"MJPG", &[size(1280, 720, &[fps(30)]), size(640, 480, &[fps(30)])]),
            offer(
                b"YUYV",
                &[
                    size(640, 480, &[fps(30), fps(15)]),
                    size(1280, 720, &[fps(10), fps(5)]),
                    size(320, 240, &[fps(30)]),
                ],
            ),
        ]
    }

    #[test]
    fn a_default_size_gives_way_to_a_fluent_picture() {
        let wish = wish(1280, 720, 30, SizeWish::Nearest);
        assert_eq!(chosen(&webcam(), &wish), ("YUYV".into(), 640, 480, 30.0));
        let why = choose("/dev/video9", &webcam(), &wish).unwrap().why;
        assert_eq!(why, "YUYV 640x480 at 30 fps; asked for 1280x720 at 30 fps: at that size it gives 10 fps");
    }

    #[test]
    fn a_named_size_is_kept_and_the_rate_gives_way() {
        let wish = wish(1280, 720, 30, SizeWish::Exact);
        assert_eq!(chosen(&webcam(), &wish), ("YUYV".into(), 1280, 720, 10.0));
        let why = choose("/dev/video9", &webcam(), &wish).unwrap().why;
        assert_eq!(
            why,
            "YUYV 1280x720 at 10 fps; asked for 1280x720 at 30 fps: the nearest rate at this size"
        );
    }

    #[test]
    fn a_named_size_that_is_not_offered_is_refused_with_the_list() {
        let error = choose("/dev/video9", &webcam(), &wish(800, 600, 30, SizeWish::Exact)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "camera /dev/video9 cannot do 800x600: it offers 320x240, 640x480, 1280x720; choose one of them with --size"
        );
    }

    #[test]
    fn of_equals_the_cheapest_format_is_taken() {
        let all = [size(1280, 720, &[fps(30)])];
        let offers = [offer(b"H264", &all), offer(b"YUYV", &all), offer(b"NV12", &all), offer(b"YU12", &all)];
        let wish = wish(1280, 720, 30, SizeWish::Nearest);
        for (left, first) in [(4, "YU12"), (3, "NV12"), (2, "YUYV"), (1, "H264")] {
            assert_eq!(chosen(&offers[..left], &wish).0, first);
        }
    }

    #[test]
    fn camera_made_h264_is_taken_where_raw_pictures_fall_short() {
        let offers = [
            offer(b"YUYV", &[size(1280, 720, &[fps(10)])]),
            offer(b"H264", &[size(1280, 720, &[fps(30)]), size(1920, 1080, &[fps(30)])]),
        ];
        assert_eq!(chosen(&offers, &wish(1280, 720, 30, SizeWish::Exact)).0, "H264");
        assert_eq!(
            chosen(&offers, &wish(1920, 1080, 30, SizeWish::Nearest)),
            ("H264".into(), 1920, 1080, 30.0)
        );
    }

    #[test]
    fn ranges_give_the_size_itself_or_the_nearest_even_one() {
        let range = SizeRange { min: (2, 1), max: (4096, 2160), step: (2, 1) };
        let near = |width, height| range.nearest(&wish(width, height, 30, SizeWish::Nearest));
        assert_eq!(near(1280, 720), Some((1280, 720)));
        assert_eq!(near(9000, 9000), Some((4096, 2160)));
        assert_eq!(near(1281, 721).map(|(width, _)| width), Some(1280));
        assert_eq!(near(100, 0).map(|(_, height)| height), Some(2));
        let coarse = SizeRange { min: (48, 32), max: (640, 480), step: (16, 16) };
        assert_eq!(coarse.nearest(&wish(330, 250, 30, SizeWish::Nearest)), Some((336, 256)));
        assert_eq!(SizeRange::single(161, 120).nearest(&wish(161, 120, 30, SizeWish::Exact)), None);
        assert_eq!(coarse.to_string(), "48x32 to 640x480 in steps of 16x16");
    }

    #[test]
    fn nearest_sizes_are_always_within_the_range_and_even() {
        let mut random = crate::h264::random::Random(5);
        let mut found = 0;
        for _ in 0..20_000 {
            let mut number = |limit| random.below(limit) as u32;
            let min = (number(50), number(50));
            let range = SizeRange {
                min,
                max: (min.0 + number(90), min.1 + number(90)),
                step: (number(9), number(9)),
            };
            let wish = wish(number(200), number(200), 30, SizeWish::Nearest);
            if let Some((width, height)) = range.nearest(&wish) {
                found += 1;
                for (value, min, max, step) in [
                    (width, range.min.0, range.max.0, range.step.0),
                    (height, range.min.1, range.max.1, range.step.1),
                ] {
                    assert!(value > 0 && value % 2 == 0 && (min..=max).contains(&value));
                    assert_eq!((value - min) % step.max(1), 0);
                }
            }
        }
        assert!(found > 5000);
    }

    #[test]
    fn rates_are_the_nearest_and_of_equals_the_slower() {
        let near = |rates: &[RateRange]| nearest_rate(rates, FrameRate::new(30)).per_second();
        assert_eq!(near(&[fps(60), fps(15)]), 15.0);
        assert_eq!(near(&[fps(60), fps(10)]), 60.0);
        assert_eq!(near(&[fps(25), fps(50)]), 25.0);
        let any = RateRange { slowest: FrameRate::new(1), fastest: FrameRate::new(60) };
        assert_eq!(near(&[any]), 30.0);
        let slow = RateRange { slowest: FrameRate::new(1), fastest: FrameRate::new(12) };
        assert_eq!(near(&[slow]), 12.0);
        assert_eq!(near(&[]), 30.0, "a driver that does not tell is asked for the wish");
    }

    #[test]
    fn devices_without_a_usable_format_are_refused_with_a_remedy() {
        let wish = wish(1280, 720, 30, SizeWish::Nearest);
        let refusal = |offers: &[Offer]| choose("/dev/video9", offers, &wish).unwrap_err().to_string();
        let one = [size(1280, 720, &[])];

        let sensor = refusal(&[offer(b"pBAA", &one), offer(b"BG10", &one)]);
        assert!(sensor.contains("Raspberry Pi CSI camera"), "{sensor}");
        assert!(sensor.contains("--camera \"process:rpicam-vid "), "{sensor}");
        let mjpeg = refusal(&[offer(b"MJPG", &one)]);
        assert!(mjpeg.contains("MJPEG not yet"), "{mjpeg}");
        let thermal = refusal(&[offer(b"Y16 ", &one)]);
        assert!(thermal.contains("none of its formats (Y16) is supported"), "{thermal}");
        let odd = refusal(&[offer(b"YUYV", &[size(161, 121, &[])])]);
        assert!(odd.contains("even in both directions"), "{odd}");
        assert!(refusal(&[]).contains("no picture format"));
    }

    #[test]
    fn codes_with_strange_bytes_are_printed_safely() {
        assert_eq!(FourCc([b'Y', 0, 0x1b, 0xff]).to_string(), "Y\\x00\\x1b\\xff");
    }
}
