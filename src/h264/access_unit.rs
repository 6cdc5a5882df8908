//! Access units: the NAL units of one picture (H.264 7.4.1.2.3), each key frame with the parameter sets that
//! decoding it needs, so that a viewer can join there. Pure. Not here: finding NAL units (`annexb`).
//!
//! Delimiters, filler, ends of sequence and extension slices are left out: no WebRTC decoder wants them.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::{NalKind, annexb, annexb::START_CODE, bits::Bits};
use crate::encode::{Encoded, FrameKind};

/// The largest access unit that is given out, in bytes; a larger one is left out and counted.
pub const MAX_ACCESS_UNIT: usize = 8 << 20;

/// The longest parameter set that is kept, in bytes. Real ones have less than a hundred.
const MAX_PARAMETER_SET: usize = 2048;

/// Groups NAL units into access units.
#[derive(Debug, Default)]
pub struct Assembler {
    /// The latest of each id; at most 32 (7.4.2.1.1).
    sps: BTreeMap<u32, Bytes>,
    /// The latest of each id; at most 256 (7.4.2.2).
    pps: BTreeMap<u32, Bytes>,
    unit: Unit,
    dropped: u64,
    torn: u64,
}

/// The access unit in progress.
#[derive(Debug, Default)]
struct Unit {
    /// SEI and slices, with start codes.
    body: BytesMut,
    /// Parameter sets that came with it and say something new.
    new_sets: Vec<Bytes>,
    picture: Option<FrameKind>,
    oversized: bool,
}

impl Assembler {
    /// Takes the next NAL unit. Gives the access unit before it, if this one begins another.
    pub fn push(&mut self, nal: &[u8]) -> Option<Encoded> {
        let done = if self.unit.picture.is_some() && begins_access_unit(nal) { self.take() } else { None };
        self.add(nal);
        done
    }

    /// The access unit in progress, taken as complete because the stream has ended or rests.
    pub fn flush(&mut self) -> Option<Encoded> {
        self.take()
    }

    /// Takes a whole access unit in Annex B form, as a camera's driver gives it. `None` if there is no picture
    /// in it, or if it is a key frame whose parameter sets never came.
    pub fn whole(&mut self, data: &[u8]) -> Option<Encoded> {
        for nal in annexb::nal_units(data) {
            self.add(nal);
        }
        self.take()
    }

    /// Access units that were left out: key frames before their parameter sets, and oversized ones.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether the access unit in progress has a picture.
    pub fn has_picture(&self) -> bool {
        self.unit.picture.is_some()
    }

    /// Access units whose first slice is not their picture's first: the rest of one that was cut, or lost.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    fn add(&mut self, nal: &[u8]) {
        match NalKind::of(nal) {
            NalKind::Sps => self.keep(nal, NalKind::Sps),
            NalKind::Pps => self.keep(nal, NalKind::Pps),
            NalKind::Sei => self.unit.append(nal),
            NalKind::Slice => self.add_slice(nal, FrameKind::Delta),
            NalKind::IdrSlice => self.add_slice(nal, FrameKind::Key),
            NalKind::Delimiter | NalKind::Prefix | NalKind::Other => {}
        }
    }

    fn add_slice(&mut self, nal: &[u8], kind: FrameKind) {
        if self.unit.picture.is_none() && !is_first_slice(nal) {
            self.torn += 1;
        }
        self.unit.append(nal);
        self.unit.picture = Some(kind);
    }

    fn keep(&mut self, nal: &[u8], kind: NalKind) {
        let Some(id) = parameter_set_id(nal, kind).filter(|_| nal.len() <= MAX_PARAMETER_SET) else { return };
        let sets = if kind == NalKind::Sps { &mut self.sps } else { &mut self.pps };
        if sets.get(&id).is_none_or(|known| known != nal) {
            let set = Bytes::copy_from_slice(nal);
            sets.insert(id, set.clone());
            // At most as many as there are ids, or a stream of parameter sets alone could fill the memory.
            if self.unit.new_sets.len() < 288 {
                self.unit.new_sets.push(set);
            }
        }
    }

    fn take(&mut self) -> Option<Encoded> {
        let unit = std::mem::take(&mut self.unit);
        let Some(kind) = unit.picture else {
            // What came before the first picture still belongs to it.
            self.unit.new_sets = unit.new_sets;
            return None;
        };
        if unit.oversized || (kind == FrameKind::Key && (self.sps.is_empty() || self.pps.is_empty())) {
            self.dropped += 1;
            return None;
        }
        let data = match kind {
            FrameKind::Key => prefixed(self.sps.values().chain(self.pps.values()), &unit.body),
            FrameKind::Delta if unit.new_sets.is_empty() => unit.body.freeze(),
            FrameKind::Delta => prefixed(unit.new_sets.iter(), &unit.body),
        };
        Some(Encoded { data, kind })
    }
}

impl Unit {
    fn append(&mut self, nal: &[u8]) {
        if self.body.len() + START_CODE.len() + nal.len() > MAX_ACCESS_UNIT {
            self.oversized = true;
            self.body.clear();
        }
        if !self.oversized {
            self.body.put_slice(&START_CODE);
            self.body.put_slice(nal);
        }
    }
}

/// Whether a slice of the access unit is a B slice. A browser shows pictures in the order in which they come,
/// so such a stream cannot be served.
pub fn has_b_slice(data: &[u8]) -> bool {
    annexb::nal_units(data).any(|nal| {
        matches!(NalKind::of(nal), NalKind::Slice | NalKind::IdrSlice) && {
            let mut bits = Bits::of(&nal[..nal.len().min(16)]);
            let _first_mb = bits.unsigned();
            // Table 7-6: 1, and 6 where all slices of the picture are alike.
            matches!(bits.unsigned(), Some(1 | 6))
        }
    })
}

/// Whether a NAL unit that comes after a picture begins the next access unit (7.4.1.2.3). Its first two bytes tell.
pub(super) fn begins_access_unit(nal: &[u8]) -> bool {
    match NalKind::of(nal) {
        NalKind::Slice | NalKind::IdrSlice => is_first_slice(nal),
        NalKind::Sei | NalKind::Sps | NalKind::Pps | NalKind::Delimiter | NalKind::Prefix => true,
        NalKind::Other => false,
    }
}

/// Whether `first_mb_in_slice` is 0: its code is a one as the first bit. (7.4.1.2.4 compares more fields, for the
/// sake of arbitrary slice order and redundant pictures, which no camera makes and no browser plays.)
fn is_first_slice(nal: &[u8]) -> bool {
    nal.get(1).is_some_and(|byte| byte & 0x80 != 0)
}

fn parameter_set_id(nal: &[u8], kind: NalKind) -> Option<u32> {
    let mut bits = Bits::of(&nal[..nal.len().min(16)]);
    if kind == NalKind::Sps {
        bits.number(24)?;
        bits.unsigned().filter(|id| *id <= 31)
    } else {
        bits.unsigned().filter(|id| *id <= 255)
    }
}

fn prefixed<'a>(sets: impl Iterator<Item = &'a Bytes> + Clone, body: &[u8]) -> Bytes {
    let length = sets.clone().map(|set| START_CODE.len() + set.len()).sum::<usize>() + body.len();
    let mut data = BytesMut::with_capacity(length);
    for set in sets {
        data.put_slice(&START_CODE);
        data.put_slice(set);
    }
    data.put_slice(body);
    data.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::random::Random;

    const CLIP: &[u8] = include_bytes!("../../tests/fixtures/h264/bars-160x120-25fps.h264");

    const SPS: &[u8] = &[0x67, 0x42, 0xe0, 0x1f, 0x80];
    const PPS: &[u8] = &[0x68, 0x80];
    const IDR: &[u8] = &[0x65, 0x80, 1];
    const DELTA: &[u8] = &[0x41, 0x80, 2];
    const DELTA_SECOND_SLICE: &[u8] = &[0x41, 0x40, 3];
    const DELIMITER: &[u8] = &[0x09, 0xf0];
    const SEI: &[u8] = &[0x06, 5, 1, 7, 0x80];

    fn assemble(nals: &[&[u8]]) -> Vec<Encoded> {
        let mut assembler = Assembler::default();
        let mut units: Vec<_> = nals.iter().filter_map(|nal| assembler.push(nal)).collect();
        units.extend(assembler.flush());
        units
    }

    fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| START_CODE.iter().chain(*nal)).copied().collect()
    }

    fn expect(units: &[Encoded], expected: &[(FrameKind, &[&[u8]])]) {
        let units: Vec<_> = units.iter().map(|unit| (unit.kind, unit.data.to_vec())).collect();
        let expected: Vec<_> = expected.iter().map(|(kind, nals)| (*kind, annex_b(nals))).collect();
        assert_eq!(units, expected);
    }

    #[test]
    fn groups_slices_and_repeats_parameter_sets_at_each_key_frame() {
        let units = assemble(&[SPS, PPS, SEI, IDR, DELTA, DELTA_SECOND_SLICE, DELTA, IDR, DELTA]);
        expect(
            &units,
            &[
                (FrameKind::Key, &[SPS, PPS, SEI, IDR]),
                (FrameKind::Delta, &[DELTA, DELTA_SECOND_SLICE]),
                (FrameKind::Delta, &[DELTA]),
                (FrameKind::Key, &[SPS, PPS, IDR]),
                (FrameKind::Delta, &[DELTA]),
            ],
        );
    }

    #[test]
    fn delimiters_part_access_units_and_are_left_out() {
        let units = assemble(&[DELIMITER, SPS, PPS, IDR, DELIMITER, DELTA, DELIMITER, SEI, DELTA]);
        expect(
            &units,
            &[
                (FrameKind::Key, &[SPS, PPS, IDR]),
                (FrameKind::Delta, &[DELTA]),
                (FrameKind::Delta, &[SEI, DELTA]),
            ],
        );
    }

    #[test]
    fn a_changed_parameter_set_goes_with_its_picture_and_replaces_the_old() {
        let changed: &[u8] = &[0x68, 0x81];
        let second: &[u8] = &[0x68, 0x40];
        let units = assemble(&[SPS, PPS, IDR, changed, DELTA, changed, DELTA, second, IDR]);
        expect(
            &units,
            &[
                (FrameKind::Key, &[SPS, PPS, IDR]),
                (FrameKind::Delta, &[changed, DELTA]),
                (FrameKind::Delta, &[DELTA]),
                (FrameKind::Key, &[SPS, changed, second, IDR]),
            ],
        );
    }

    #[test]
    fn key_frames_without_parameter_sets_are_left_out_and_counted() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(IDR), None);
        assert_eq!(assembler.push(SPS), None);
        assert_eq!(assembler.push(IDR), None);
        assert_eq!(assembler.push(PPS), None);
        assert_eq!(assembler.dropped(), 2);
        assert_eq!(assembler.push(IDR), None);
        expect(&assembler.flush().into_iter().collect::<Vec<_>>(), &[(FrameKind::Key, &[SPS, PPS, IDR])]);
    }

    #[test]
    fn whole_access_units_get_parameter_sets_too() {
        let mut assembler = Assembler::default();
        let first = assembler.whole(&annex_b(&[DELIMITER, SPS, PPS, IDR])).unwrap();
        let delta = assembler.whole(&annex_b(&[DELIMITER, DELTA])).unwrap();
        let bare = assembler.whole(&annex_b(&[IDR])).unwrap();
        assert_eq!(assembler.whole(&annex_b(&[SPS, PPS])), None);
        expect(
            &[first, delta, bare],
            &[
                (FrameKind::Key, &[SPS, PPS, IDR]),
                (FrameKind::Delta, &[DELTA]),
                (FrameKind::Key, &[SPS, PPS, IDR]),
            ],
        );
    }

    #[test]
    fn a_unit_without_its_first_slice_is_counted_as_torn() {
        let mut assembler = Assembler::default();
        assembler.whole(&annex_b(&[SPS, PPS, IDR]));
        assembler.whole(&annex_b(&[DELTA, DELTA_SECOND_SLICE]));
        assert_eq!(assembler.torn(), 0);
        assembler.whole(&annex_b(&[DELTA_SECOND_SLICE]));
        assert_eq!(assembler.torn(), 1);
    }

    #[test]
    fn oversized_access_units_are_left_out() {
        let mut slice = vec![0xff; annexb::MAX_NAL];
        slice[..2].copy_from_slice(&[0x65, 0x40]);
        let units = assemble(&[SPS, PPS, IDR, &slice, &slice, DELTA]);
        expect(&units, &[(FrameKind::Delta, &[DELTA])]);
    }

    #[test]
    fn a_real_stream_comes_out_whole() {
        let units = assemble(&annexb::nal_units(CLIP).collect::<Vec<_>>());
        assert_eq!(units.len(), 30);
        let keys: Vec<_> = (0..30).filter(|at| units[*at].kind == FrameKind::Key).collect();
        assert_eq!(keys, [0, 10, 20]);
        assert!(!units.iter().any(|unit| has_b_slice(&unit.data)));
    }

    #[test]
    fn b_slices_are_seen() {
        // first_mb_in_slice 0, slice_type 6; then slice_type 1.
        assert!(has_b_slice(&annex_b(&[&[0x01, 0b1001_1100]])));
        assert!(has_b_slice(&annex_b(&[DELTA, &[0x01, 0b1010_0000]])));
        assert!(!has_b_slice(&annex_b(&[&[0x41, 0b1001_1000]])));
    }

    #[test]
    fn random_streams_do_no_harm() {
        let mut random = Random(3);
        let mut seen = 0;
        for _ in 0..2000 {
            let mut assembler = Assembler::default();
            let length = random.below(600);
            let mut stream = annex_b(&[SPS, PPS]);
            stream.extend(random.bytes(length));
            for nal in annexb::nal_units(&stream) {
                if let Some(unit) = assembler.push(nal) {
                    assert!(unit.data.starts_with(&START_CODE));
                    seen += 1;
                }
            }
            assembler.flush();
        }
        assert!(seen > 100);
    }
}
