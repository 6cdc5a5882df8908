//! What must hold for any bytes from a camera, and, in the modules, for any from elsewhere, as ordinary functions: the fuzz
//! targets call them with bytes that a fuzzer makes, tests/it/corpora.rs with those that were kept. Each panics where
//! something does not hold.

mod service;
mod signaling;

pub use service::{broker_stream, config, control, sdp, sdpfrag};
pub use signaling::{desk_sequence as desk, envelope, hand, link, message, pairing, topic};

use pinhole::{
    encode::{Encoded, FrameKind, jpeg::JpegDecoder},
    h264::{
        NalKind,
        access_unit::{self, Assembler},
        annexb::{self, START_CODE, Splitter},
        sps::Sps,
        stream::AccessUnits,
    },
};

pub type Body = fn(&[u8]);

/// What to call each target, and its body.
pub const TARGETS: [(&str, Body); 16] = [
    ("annexb", annexb),
    ("access_units", access_units),
    ("sps", sps),
    ("jpeg", jpeg),
    ("envelope", envelope),
    ("message", message),
    ("topic", topic),
    ("hand", hand),
    ("link", link),
    ("pairing", pairing),
    ("desk", desk),
    ("broker_stream", broker_stream),
    ("sdp", sdp),
    ("sdpfrag", sdpfrag),
    ("control", control),
    ("config", config),
];

/// A byte stream gives the same NAL units whole and in pieces, and none of them holds a start code.
pub fn annexb(data: &[u8]) {
    let whole: Vec<&[u8]> = annexb::nal_units(data).collect();
    for nal in &whole {
        assert!(!nal.is_empty() && nal.last() != Some(&0));
        assert!(!nal.windows(3).any(|window| window == [0, 0, 1]));
    }
    let mut splitter = Splitter::default();
    let mut cut = Vec::new();
    for piece in pieces(data) {
        splitter.push(piece);
        while let Some(nal) = splitter.next_nal().expect("far shorter than the longest NAL unit") {
            cut.push(nal);
        }
    }
    cut.extend(splitter.flush());
    assert_eq!(cut, whole);
}

/// Access units, of a stream in pieces and of whole buffers, begin with a start code, and key frames with their parameter
/// sets; what was a B slice is seen.
pub fn access_units(data: &[u8]) {
    let mut stream = AccessUnits::default();
    for piece in pieces(data) {
        stream.push(piece);
        while let Some(unit) = stream.take_next().expect("far shorter than the longest NAL unit") {
            check(&unit);
        }
    }
    stream.flush().for_each(|unit| check(&unit));
    stream.torn();

    let mut assembler = Assembler::default();
    for piece in pieces(data) {
        if let Some(unit) = assembler.whole(piece) {
            check(&unit);
        }
    }
}

/// Whatever a sequence parameter set says, the size is one that H.264 can have, and the rate is one.
pub fn sps(data: &[u8]) {
    let Some(sps) = Sps::parse(data) else { return };
    assert!(sps.id <= 31);
    // √(8 × 139264 macroblocks), annex A.
    assert!((1..=16_896).contains(&sps.width) && (1..=16_896).contains(&sps.height), "{sps:?}");
    if let Some(rate) = sps.rate {
        assert!(rate.per_second().is_finite() && rate.per_second() > 0.0, "{sps:?}");
    }
}

/// A picture of an MJPEG camera is decoded to whole planes or refused, and what one was like changes nothing for the next.
pub fn jpeg(data: &[u8]) {
    let (width, height) = frame_size(data).filter(|size| size.0.max(size.1) <= 512).unwrap_or((64, 48));
    let (width, height) = ((width & !1).max(2), (height & !1).max(2));
    let mut decoder = JpegDecoder::new().expect("memory for a codec");
    let mut planes = || {
        let picture = decoder.decode(data, width, height).ok()?;
        let rows = |plane: &[u8], stride: usize, width: usize, height: usize| -> Vec<u8> {
            (0..height).flat_map(|row| &plane[row * stride..][..width]).copied().collect()
        };
        let (width, height) = (width as usize, height as usize);
        let y = rows(picture.y, picture.y_stride, width, height);
        // Limited range: BT.601 as the encoder takes it.
        assert!(y.iter().all(|luma| (16..=235).contains(luma)));
        let u = rows(picture.u, picture.chroma_stride, width / 2, height / 2);
        let v = rows(picture.v, picture.chroma_stride, width / 2, height / 2);
        assert!(u.iter().chain(&v).all(|chroma| (16..=240).contains(chroma)));
        Some((y, u, v))
    };
    assert_eq!(planes(), planes());
}

/// The size in the first frame header (T.81, B.2.2), in pixels.
fn frame_size(data: &[u8]) -> Option<(u32, u32)> {
    let header = data.windows(9).find(|window| window[0] == 0xff && matches!(window[1], 0xc0..=0xc2))?;
    let side = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
    Some((side(7), side(5)))
}

fn check(unit: &Encoded) {
    assert!(unit.data.starts_with(&START_CODE));
    assert!(unit.data.len() <= access_unit::MAX_ACCESS_UNIT + 288 * 2052);
    let kinds: Vec<NalKind> = annexb::nal_units(&unit.data).map(NalKind::of).collect();
    assert!(kinds.iter().any(|kind| matches!(kind, NalKind::Slice | NalKind::IdrSlice)), "{kinds:?}");
    if unit.kind == FrameKind::Key {
        assert_eq!(kinds[0], NalKind::Sps);
        let slice = kinds.iter().position(|kind| *kind == NalKind::IdrSlice || *kind == NalKind::Slice);
        let pps = kinds.iter().position(|kind| *kind == NalKind::Pps);
        assert!(pps.is_some() && pps < slice, "{kinds:?}");
    }
    access_unit::has_b_slice(&unit.data);
}

/// The bytes in pieces whose lengths follow from the bytes themselves.
fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let (piece, after) = rest.split_at((usize::from(first) % 61 + 1).min(rest.len()));
        rest = after;
        Some(piece)
    })
}
