//! Why nothing that a device offers can be used, in words. Pure. Not here: choosing (`negotiate`).

use super::{FourCc, Offer, pixel_format};
use crate::camera::{Accept, CameraError, PixelFormat, Wish};

/// The user named a size that the device does not offer.
pub(super) fn size_error(device: &str, offers: &[Offer], wish: &Wish) -> CameraError {
    let mut ranges: Vec<_> =
        usable(offers, wish.accept).flat_map(|offer| offer.sizes.iter().map(|size| size.range)).collect();
    ranges.retain(|range| range.nearest(wish).is_some());
    ranges.sort_by_key(|range| (range.min, range.max));
    ranges.dedup();
    let offered = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    CameraError::Size { device: device.to_owned(), width: wish.width, height: wish.height, offered }
}

/// None of the formats can be used.
pub(super) fn not_usable(device: &str, offers: &[Offer], accept: Accept) -> CameraError {
    let has = |test: fn(FourCc) -> bool| offers.iter().any(|offer| test(offer.fourcc));
    let names = offers.iter().map(|offer| offer.fourcc.to_string()).collect::<Vec<_>>().join(", ");
    let another = "choose another with --camera".to_owned();
    let (reason, remedy) = if offers.is_empty() {
        ("it offers no picture format".to_owned(), another)
    } else if usable(offers, accept).next().is_some() {
        let reason = format!("its formats ({names}) have no size that is even in both directions");
        (reason, another)
    } else if usable(offers, Accept::Any).next().is_some() {
        not_accepted(&names, accept)
    } else if has(is_bayer) {
        let reason = format!("it gives a sensor's raw pictures ({names}), as a Raspberry Pi CSI camera does");
        (reason, "let libcamera make the video of it: use --camera csi".to_owned())
    } else if has(is_scattered) {
        let reason =
            format!("of its formats ({names}) those that could be used are spread over several buffers");
        (reason, another)
    } else {
        let reason = format!("none of its formats ({names}) is supported");
        (reason, "choose a camera that gives H264, MJPG, YUYV, NV12 or YU12".to_owned())
    };
    CameraError::NotUsable { device: device.to_owned(), reason, remedy }
}

/// It has formats that could be used, but for what they are wanted.
fn not_accepted(names: &str, accept: Accept) -> (String, String) {
    match accept {
        Accept::H264 | Accept::Only(PixelFormat::H264) => (
            format!("it makes no H.264 by itself (it gives {names})"),
            "set encoder = \"auto\", or choose another camera".to_owned(),
        ),
        Accept::Pictures | Accept::PicturesFirst | Accept::Any => (
            format!(
                "it gives video only ({names}), and pictures are needed, to encode them or to draw on them"
            ),
            "set encoder = \"auto\" and overlay = \"none\", or choose another camera".to_owned(),
        ),
        Accept::Only(pixel) => {
            (format!("it does not give {pixel:?} (it gives {names})"), "choose another format".to_owned())
        }
    }
}

fn usable(offers: &[Offer], accept: Accept) -> impl Iterator<Item = &Offer> {
    offers.iter().filter(move |offer| pixel_format(offer.fourcc).is_some_and(|pixel| accept.takes(pixel)))
}

/// The codes of Bayer patterns: of 8 bits, of 10 to 16 bits in two bytes (`BG10`), packed, A-law and DPCM
/// compressed (`pBAA`, `aBA8`, `bBA8`).
fn is_bayer(fourcc: FourCc) -> bool {
    matches!(&fourcc.0, b"BA81" | b"GBRG" | b"GRBG" | b"RGGB" | b"BYR2")
        || matches!(&fourcc.0, [b'B' | b'G' | b'R', b'A' | b'B' | b'G' | b'R', b'1', _])
        || matches!(&fourcc.0, [b'a' | b'b' | b'p', b'B' | b'G' | b'g' | b'R', b'A' | b'B' | b'C' | b'E', _])
}

/// The codes of layouts whose planes are in a buffer each (`NM12`, `YM12` and their like).
fn is_scattered(fourcc: FourCc) -> bool {
    matches!(&fourcc.0, [b'N' | b'Y', b'M', b'1' | b'2' | b'4' | b'6', _])
}
