//! What is chosen of what known cameras offer, and of anything else.

use super::*;
use crate::camera::Accept;

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
    Wish { width, height, rate: FrameRate::new(rate), size, accept: Accept::Any }
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

fn why(offers: &[Offer], wish: &Wish) -> String {
    choose("/dev/video9", offers, wish).unwrap().why
}

fn refusal(offers: &[Offer], wish: &Wish) -> String {
    choose("/dev/video9", offers, wish).unwrap_err().to_string()
}

/// The webcam without its MJPEG.
fn raw_webcam() -> Vec<Offer> {
    webcam().split_off(1)
}

#[test]
fn a_default_size_gives_way_to_a_fluent_picture() {
    let wish = wish(1280, 720, 30, SizeWish::Nearest);
    assert_eq!(chosen(&raw_webcam(), &wish), ("YUYV".into(), 640, 480, 30.0));
    assert_eq!(
        why(&raw_webcam(), &wish),
        "YUYV 640x480 at 30 fps; asked for 1280x720 at 30 fps: at that size it gives 10 fps; \
         raw pictures, nothing to decode"
    );
}

#[test]
fn a_named_size_is_kept_and_the_rate_gives_way() {
    let wish = wish(1280, 720, 30, SizeWish::Exact);
    assert_eq!(chosen(&raw_webcam(), &wish), ("YUYV".into(), 1280, 720, 10.0));
    assert_eq!(
        why(&raw_webcam(), &wish),
        "YUYV 1280x720 at 10 fps; asked for 1280x720 at 30 fps: the nearest rate at this size; \
         raw pictures, nothing to decode"
    );
}

#[test]
fn mjpeg_is_taken_where_the_bus_does_not_carry_raw_pictures() {
    let large = wish(1280, 720, 30, SizeWish::Nearest);
    assert_eq!(chosen(&webcam(), &large), ("MJPG".into(), 1280, 720, 30.0));
    assert_eq!(why(&webcam(), &large), "MJPG 1280x720 at 30 fps; as asked; raw pictures it gives at 10 fps");
    let small = wish(640, 480, 30, SizeWish::Nearest);
    assert_eq!(chosen(&webcam(), &small).0, "YUYV");
    assert_eq!(why(&webcam(), &small), "YUYV 640x480 at 30 fps; as asked; raw pictures, nothing to decode");
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
fn of_equals_the_first_in_the_order_of_preference_is_taken() {
    // The rate that the others have is met by 29.97 too.
    let nearly = RateRange::single(FrameRate { numerator: 30_000, denominator: 1001 });
    let order = [b"GREY", b"JPEG", b"MJPG", b"BGR3", b"RGB3", b"UYVY", b"YUYV", b"NV12", b"YU12", b"H264"];
    let offers: Vec<_> = order
        .iter()
        .enumerate()
        .map(|(i, code)| offer(code, &[size(1280, 720, &[if i % 2 == 0 { fps(30) } else { nearly }])]))
        .collect();
    let wish = wish(1280, 720, 30, SizeWish::Nearest);
    for (left, first) in order.iter().enumerate() {
        assert_eq!(chosen(&offers[..=left], &wish).0.as_bytes(), *first);
    }
}

#[test]
fn pictures_without_colour_are_the_last_resort() {
    let offers = [
        offer(b"GREY", &[size(1280, 720, &[fps(30)]), size(800, 600, &[fps(30)])]),
        offer(b"YUYV", &[size(640, 480, &[fps(5)]), size(1280, 720, &[fps(5)])]),
    ];
    assert_eq!(chosen(&offers, &wish(1280, 720, 30, SizeWish::Exact)).0, "YUYV");
    assert_eq!(chosen(&offers, &wish(800, 600, 30, SizeWish::Nearest)).0, "YUYV");
    let named = wish(800, 600, 30, SizeWish::Exact);
    assert_eq!(chosen(&offers, &named).0, "GREY");
    assert!(why(&offers, &named).ends_with("nothing with colour has that size"));
}

#[test]
fn only_what_the_wish_accepts_is_taken() {
    let all = [size(1280, 720, &[fps(30)])];
    let offers = [offer(b"H264", &all), offer(b"YUYV", &all), offer(b"MJPG", &all)];
    let accepting = |accept| Wish { accept, ..wish(1280, 720, 30, SizeWish::Nearest) };
    for (accept, taken) in [
        (Accept::Any, "H264"),
        (Accept::PicturesFirst, "YUYV"),
        (Accept::Pictures, "YUYV"),
        (Accept::H264, "H264"),
        (Accept::Only(PixelFormat::Mjpeg), "MJPG"),
    ] {
        assert_eq!(chosen(&offers, &accepting(accept)).0, taken);
    }
    assert_eq!(chosen(&offers[..1], &accepting(Accept::PicturesFirst)).0, "H264", "there is nothing else");
    let none = refusal(&offers[1..], &accepting(Accept::H264));
    assert!(none.contains("it makes no H.264 by itself (it gives YUYV, MJPG)"), "{none}");
    let video_only = refusal(&offers[..1], &accepting(Accept::Pictures));
    assert!(video_only.contains("it gives video only (H264), and pictures are needed"), "{video_only}");
    let other = refusal(&offers, &accepting(Accept::Only(PixelFormat::Nv12)));
    assert!(other.contains("it does not give Nv12 (it gives H264, YUYV, MJPG)"), "{other}");
}

#[test]
fn camera_made_h264_is_taken_where_raw_pictures_fall_short() {
    let offers = [
        offer(b"YUYV", &[size(1280, 720, &[fps(10)])]),
        offer(b"H264", &[size(1280, 720, &[fps(30)]), size(1920, 1080, &[fps(30)])]),
    ];
    assert_eq!(chosen(&offers, &wish(1280, 720, 30, SizeWish::Exact)).0, "H264");
    assert_eq!(chosen(&offers, &wish(1920, 1080, 30, SizeWish::Nearest)), ("H264".into(), 1920, 1080, 30.0));
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
        let range =
            SizeRange { min, max: (min.0 + number(90), min.1 + number(90)), step: (number(9), number(9)) };
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
    let one = [size(1280, 720, &[])];
    let sensor = refusal(&[offer(b"pBAA", &one), offer(b"BG10", &one)], &wish);
    assert!(sensor.contains("Raspberry Pi CSI camera"), "{sensor}");
    assert!(sensor.contains("use --camera csi"), "{sensor}");
    let scattered = refusal(&[offer(b"NM12", &one), offer(b"YM12", &one)], &wish);
    assert!(scattered.contains("(NM12, YM12) those that could be used are spread over"), "{scattered}");
    let thermal = refusal(&[offer(b"Y16 ", &one)], &wish);
    assert!(thermal.contains("none of its formats (Y16) is supported"), "{thermal}");
    let odd = refusal(&[offer(b"YUYV", &[size(161, 121, &[])])], &wish);
    assert!(odd.contains("even in both directions"), "{odd}");
    assert!(refusal(&[], &wish).contains("no picture format"));
}

#[test]
fn codes_with_strange_bytes_are_printed_safely() {
    assert_eq!(FourCc([b'Y', 0, 0x1b, 0x7f]).to_string(), "Y\\x00\\x1b\\x7f");
    assert_eq!(FourCc([b'Y', b'1', b'6', b' ' | 0x80]).to_string(), "Y16-BE");
}

/// What the devices of tests/fixtures/cameras are asked for, and what is chosen; `None`: refused.
#[test]
fn each_known_device_is_used_as_it_is_best() {
    use Accept::{Any, H264, Pictures};
    use SizeWish::{Exact, Nearest};
    type Wanted = (u32, u32, u32, SizeWish, Accept);
    const C920: &str = include_str!("../../../tests/fixtures/cameras/c920.txt");
    const UVC: &str = include_str!("../../../tests/fixtures/cameras/uvc.txt");
    const HDMI: &str = include_str!("../../../tests/fixtures/cameras/hdmi.txt");
    const VIVID: &str = include_str!("../../../tests/fixtures/cameras/vivid.txt");
    const VIVID_MULTIPLANAR: &str = include_str!("../../../tests/fixtures/cameras/vivid-multiplanar.txt");
    let table: &[(&str, Wanted, Option<&str>)] = &[
        (C920, (1280, 720, 30, Nearest, Any), Some("H264 1280x720 30")),
        (C920, (1920, 1080, 30, Exact, Any), Some("H264 1920x1080 30")),
        (C920, (640, 480, 30, Exact, Any), Some("H264 640x480 30")),
        (C920, (1280, 720, 30, Nearest, Pictures), Some("MJPG 1280x720 30")),
        (C920, (640, 480, 30, Nearest, Pictures), Some("YUYV 640x480 30")),
        (C920, (1280, 720, 10, Nearest, Pictures), Some("YUYV 1280x720 10")),
        (C920, (2304, 1536, 2, Exact, Any), Some("YUYV 2304x1536 2")),
        (C920, (1280, 720, 60, Nearest, Any), Some("H264 1280x720 30")),
        (C920, (1280, 800, 30, Exact, Any), None),
        (UVC, (1280, 720, 30, Nearest, Any), Some("MJPG 1280x720 30")),
        (UVC, (640, 480, 30, Nearest, Any), Some("YUYV 640x480 30")),
        (UVC, (1280, 720, 10, Exact, Any), Some("YUYV 1280x720 10")),
        (UVC, (800, 480, 30, Nearest, Any), Some("MJPG 848x480 30")),
        (UVC, (1280, 720, 30, Nearest, H264), None),
        (HDMI, (1280, 720, 30, Nearest, Any), Some("UYVY 1920x1080 30")),
        (HDMI, (1920, 1080, 60, Exact, Any), Some("UYVY 1920x1080 30")),
        (HDMI, (1280, 720, 30, Exact, Any), None),
        (VIVID, (1280, 720, 30, Nearest, Any), Some("YU12 1280x720 12.5")),
        (VIVID, (640, 480, 25, Exact, Any), Some("YU12 640x480 25")),
        (VIVID_MULTIPLANAR, (640, 480, 25, Exact, Any), Some("YU12 640x480 25")),
        (VIVID_MULTIPLANAR, (1920, 1080, 30, Exact, Any), Some("YU12 1920x1080 5")),
    ];
    for (text, (width, height, rate, size, accept), expected) in table {
        let wish = Wish { accept: *accept, ..wish(*width, *height, *rate, *size) };
        let offers = dump::offers(text);
        let offers = match dump::signal(text) {
            Some(signal) => under(&signal, offers),
            None => offers,
        };
        let choice = choose("/dev/video9", &offers, &wish).ok();
        let choice = choice.map(|choice| {
            format!("{} {}x{} {}", choice.fourcc, choice.width, choice.height, choice.rate.per_second())
        });
        assert_eq!(choice.as_deref(), *expected, "{wish:?} of {}", text.lines().nth(3).unwrap_or_default());
    }
}

#[test]
fn a_raspberry_pis_camera_port_is_refused_with_the_word_csi() {
    let offers = dump::offers(include_str!("../../../tests/fixtures/cameras/csi.txt"));
    assert_eq!(offers.len(), 3);
    assert_eq!(
        refusal(&offers, &wish(1280, 720, 30, SizeWish::Nearest)),
        "/dev/video9 is not a camera that can be used: it gives a sensor's raw pictures (pRAA, RG10, RGGB), as a \
         Raspberry Pi CSI camera does; let libcamera make the video of it: use --camera csi"
    );
}

/// Offers as a strange driver might make them: any formats in any order, single sizes and ranges, rates or none.
fn random_offers(random: &mut crate::h264::random::Random) -> Vec<Offer> {
    const CODES: [&[u8; 4]; 13] = [
        b"H264", b"YU12", b"NV12", b"YUYV", b"UYVY", b"RGB3", b"BGR3", b"MJPG", b"JPEG", b"GREY", b"NM12",
        b"BG10", b"Y16 ",
    ];
    const SIDES: [u32; 7] = [0, 90, 120, 161, 240, 480, 640];
    let mut offers = Vec::new();
    for _ in 0..random.below(5) {
        let mut sizes = Vec::new();
        for _ in 0..random.below(4) {
            let (a, b) = (SIDES[random.below(7)], SIDES[random.below(7)]);
            let range = match random.below(3) {
                0 => {
                    let step = (random.below(17) as u32, random.below(17) as u32);
                    SizeRange { min: (a, b), max: (a + random.below(900) as u32, b + 200), step }
                }
                _ => SizeRange::single(a, b),
            };
            let rates = (0..random.below(4)).map(|_| {
                let slowest = 1 + random.below(60) as u32;
                let span = if random.below(3) == 0 { random.below(60) as u32 } else { 0 };
                RateRange { slowest: FrameRate::new(slowest), fastest: FrameRate::new(slowest + span) }
            });
            sizes.push(OfferedSize { range, rates: rates.collect() });
        }
        offers.push(Offer { fourcc: FourCc(*CODES[random.below(CODES.len())]), sizes });
    }
    offers
}

/// Whether the device has said that it does this.
fn is_offered(offers: &[Offer], fourcc: FourCc, (width, height): (u32, u32), rate: FrameRate) -> bool {
    let on_step = |value: u32, min: u32, max: u32, step: u32| {
        (min..=max).contains(&value) && (value - min).is_multiple_of(step.max(1))
    };
    let sizes = offers.iter().filter(|offer| offer.fourcc == fourcc).flat_map(|offer| &offer.sizes);
    sizes.into_iter().any(|OfferedSize { range: SizeRange { min, max, step }, rates }| {
        on_step(width, min.0, max.0, step.0)
            && on_step(height, min.1, max.1, step.1)
            && (rates.is_empty()
                || rates.iter().any(|range| {
                    (range.slowest.per_second()..=range.fastest.per_second()).contains(&rate.per_second())
                }))
    })
}

#[test]
fn of_any_offers_the_choice_is_one_and_exact_wishes_are_honoured() {
    const ACCEPT: [Accept; 4] =
        [Accept::Any, Accept::Pictures, Accept::H264, Accept::Only(PixelFormat::Yuyv)];
    let mut random = crate::h264::random::Random(11);
    let (mut taken, mut met, mut refused) = (0, 0, 0);
    for _ in 0..30_000 {
        let offers = random_offers(&mut random);
        let named = if random.below(2) == 0 { SizeWish::Exact } else { SizeWish::Nearest };
        let accept = ACCEPT[random.below(4)];
        let (width, height) = ([120, 240, 480, 640][random.below(4)], [90, 120, 240, 480][random.below(4)]);
        let rate = 1 + random.below(60) as u32;
        let wish = Wish { accept, ..wish(width, height, rate, named) };
        let of_kind = |test: fn(PixelFormat) -> bool| {
            USABLE
                .iter()
                .filter(move |(_, pixel)| accept.takes(*pixel) && test(*pixel))
                .any(|(code, _)| is_offered(&offers, *code, (width, height), wish.rate))
        };
        let Ok(choice) = choose("/dev/video9", &offers, &wish) else {
            refused += 1;
            assert!(!of_kind(|_| true), "{wish:?} is offered: {offers:?}");
            continue;
        };
        taken += 1;
        let size = (choice.width, choice.height);
        assert!(is_offered(&offers, choice.fourcc, size, choice.rate), "{choice:?} of {offers:?}");
        assert!(size.0 > 0 && size.1 > 0 && size.0 % 2 == 0 && size.1 % 2 == 0, "{choice:?}");
        assert!(accept.takes(choice.pixel) && pixel_format(choice.fourcc) == Some(choice.pixel));
        if named == SizeWish::Exact {
            assert_eq!(size, (width, height));
        }
        // What meets the wish is taken before all else, and in the order of preference.
        let kinds: [fn(PixelFormat) -> bool; 3] = [
            |pixel| pixel == PixelFormat::H264,
            |pixel| pixel.row_bytes(2).is_some() && pixel != PixelFormat::Grey,
            |pixel| pixel == PixelFormat::Mjpeg,
        ];
        if let Some(kind) = kinds.iter().find(|kind| of_kind(**kind)) {
            met += 1;
            assert!(kind(choice.pixel), "{choice:?} for {wish:?} of {offers:?}");
            assert_eq!(size, (width, height));
            assert!((choice.rate.per_second() / f64::from(rate)).ln().abs() < 0.005, "{choice:?}");
        }
    }
    assert!(taken > 5000 && met > 300 && refused > 5000, "{taken}, {met}, {refused}");
}
