//! From a byte stream in pieces to access units: `annexb::Splitter` and `access_unit::Assembler` in a row. Pure.
//! Not here: where the bytes come from, and how fast.

use super::{
    NalKind,
    access_unit::{Assembler, begins_access_unit},
    annexb::{Oversized, Splitter},
};
use crate::encode::Encoded;

/// Turns a stream into access units.
#[derive(Debug, Default)]
pub struct AccessUnits {
    splitter: Splitter,
    assembler: Assembler,
}

impl AccessUnits {
    /// Takes the next piece of the stream. Call [`AccessUnits::take_next`] until it gives `None` before the next.
    pub fn push(&mut self, piece: &[u8]) {
        self.splitter.push(piece);
    }

    /// The next complete access unit: one after which the first bytes of another have come.
    ///
    /// # Errors
    /// A NAL unit is too long. Nothing sensible comes after that.
    pub fn take_next(&mut self) -> Result<Option<Encoded>, Oversized> {
        while let Some(nal) = self.splitter.next_nal()? {
            if let Some(unit) = self.assembler.push(&nal) {
                return Ok(Some(unit));
            }
        }
        // Not to wait until that NAL unit is complete saves a frame's time.
        let begun = self.splitter.begun();
        Ok(if begun.is_some_and(begins_access_unit) { self.assembler.flush() } else { None })
    }

    /// Whether what is in progress has a picture's slice, or the beginning of one.
    pub fn in_picture(&self) -> bool {
        let slice = |nal| matches!(NalKind::of(nal), NalKind::Slice | NalKind::IdrSlice);
        self.assembler.has_picture() || self.splitter.begun().is_some_and(slice)
    }

    /// What is in progress, taken as complete because the stream has ended or rests: mostly one access unit. If
    /// that was wrong, [`AccessUnits::torn`] will have risen after the next piece.
    pub fn flush(&mut self) -> impl Iterator<Item = Encoded> + use<> {
        let before = self.splitter.flush().and_then(|nal| self.assembler.push(&nal));
        before.into_iter().chain(self.assembler.flush())
    }

    /// Counts signs of a stream that was cut where it must not be: bytes without a start code, pictures without
    /// their first slice.
    pub fn torn(&self) -> u64 {
        self.splitter.stray() + self.assembler.torn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::{access_unit::Assembler, annexb, random::Random};

    const CLIP: &[u8] = include_bytes!("../../tests/fixtures/h264/bars-160x120-25fps.h264");

    fn whole() -> Vec<Encoded> {
        let mut assembler = Assembler::default();
        let mut units: Vec<_> = annexb::nal_units(CLIP).filter_map(|nal| assembler.push(nal)).collect();
        units.extend(assembler.flush());
        units
    }

    #[test]
    fn pieces_of_any_size_give_the_same_access_units() {
        let mut random = Random(13);
        for largest in [1, 10, 1000, CLIP.len()] {
            let (mut stream, mut units, mut rest) = (AccessUnits::default(), Vec::new(), CLIP);
            while !rest.is_empty() {
                let (now, later) = rest.split_at((random.below(largest) + 1).min(rest.len()));
                stream.push(now);
                rest = later;
                units.extend(std::iter::from_fn(|| stream.take_next().unwrap()));
            }
            units.extend(stream.flush());
            assert_eq!(units, whole(), "pieces of up to {largest}");
        }
    }

    #[test]
    fn an_access_unit_is_complete_when_the_next_has_begun() {
        let units = whole();
        let mut stream = AccessUnits::default();
        stream.push(&units[0].data);
        stream.push(&[0, 0, 0, 1, 0x41]);
        assert_eq!(stream.take_next(), Ok(None), "it may be a further slice");
        assert!(stream.in_picture());
        stream.push(&[0x9a]);
        assert_eq!(stream.take_next(), Ok(Some(units[0].clone())));
        assert_eq!(stream.take_next(), Ok(None));
    }

    #[test]
    fn a_resting_stream_gives_each_access_unit_at_once() {
        let mut stream = AccessUnits::default();
        assert!(!stream.in_picture());
        for unit in whole() {
            stream.push(&unit.data);
            assert_eq!(stream.take_next(), Ok(None));
            assert_eq!(stream.flush().collect::<Vec<_>>(), [unit]);
        }
        assert_eq!(stream.torn(), 0);
    }

    #[test]
    fn a_flush_within_an_access_unit_is_seen_afterwards() {
        let mut stream = AccessUnits::default();
        let (begun, rest) = CLIP.split_at(120);
        stream.push(begun);
        assert_eq!(stream.take_next(), Ok(None));
        assert_eq!(stream.flush().count(), 1);
        assert_eq!(stream.torn(), 0);
        stream.push(rest);
        stream.take_next().unwrap();
        assert!(stream.torn() > 0);
    }
}
