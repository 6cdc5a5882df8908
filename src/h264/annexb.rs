//! NAL units in a byte stream (H.264 annex B): each follows a start code `00 00 01`, often with one more zero
//! before it. Pure. Not here: what the NAL units mean.

use bytes::{Buf, Bytes, BytesMut};

/// The start code that everything pinhole writes uses.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The longest NAL unit that is taken, in bytes: far more than a camera's largest key frame.
pub const MAX_NAL: usize = 4 << 20;

const PREFIX: [u8; 3] = [0, 0, 1];

/// A NAL unit longer than [`MAX_NAL`]: this is no stream from a camera, and it shall not fill the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a NAL unit is longer than {} MiB", MAX_NAL >> 20)]
pub struct Oversized;

/// The NAL units of `data`, without start codes and trailing zeros. Bytes before the first start code are
/// left out; empty NAL units too.
pub fn nal_units(data: &[u8]) -> NalUnits<'_> {
    NalUnits { data, next: find_prefix(data, 0).map(|at| at + PREFIX.len()) }
}

/// See [`nal_units`].
#[derive(Debug, Clone)]
pub struct NalUnits<'a> {
    data: &'a [u8],
    /// Where the next NAL unit begins, after its start code.
    next: Option<usize>,
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let start = self.next?;
            let end = find_prefix(self.data, start);
            self.next = end.map(|at| at + PREFIX.len());
            let nal = &self.data[start..end.unwrap_or(self.data.len())];
            let nal = &nal[..length_without_zeros(nal)];
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    }
}

/// Cuts a byte stream that arrives in pieces into NAL units. However the stream is cut into pieces, the NAL
/// units are the same, and those of [`nal_units`] over the whole.
#[derive(Debug, Default)]
pub struct Splitter {
    /// What is not given out yet, from just after the last start code if there was one.
    buffer: BytesMut,
    /// How much of `buffer` holds no start code's first byte.
    scanned: usize,
    /// Whether `buffer` begins with a NAL unit.
    inside: bool,
    stray: u64,
}

impl Splitter {
    /// Takes the next piece of the stream. Call [`Splitter::next_nal`] until it gives `None` before the next.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next complete NAL unit: one after which a start code has come.
    ///
    /// # Errors
    /// A NAL unit is too long. Nothing sensible comes after that.
    pub fn next_nal(&mut self) -> Result<Option<Bytes>, Oversized> {
        if !self.inside && !self.find_first() {
            return Ok(None);
        }
        loop {
            let Some(end) = find_prefix(&self.buffer, self.scanned) else {
                self.scanned = self.buffer.len().saturating_sub(PREFIX.len() - 1);
                return if self.scanned > MAX_NAL { Err(Oversized) } else { Ok(None) };
            };
            if end > MAX_NAL {
                return Err(Oversized);
            }
            let mut nal = self.buffer.split_to(end);
            self.buffer.advance(PREFIX.len());
            self.scanned = 0;
            nal.truncate(length_without_zeros(&nal));
            if !nal.is_empty() {
                return Ok(Some(nal.freeze()));
            }
        }
    }

    /// What is there of the NAL unit in progress, if that is two bytes at least.
    pub fn begun(&self) -> Option<&[u8]> {
        (self.inside && self.buffer.len() >= 2).then_some(&self.buffer)
    }

    /// The NAL unit in progress, taken as complete because the stream has ended or rests. If it goes on, a
    /// start code must be next; what else comes before one is counted by [`Splitter::stray`].
    pub fn flush(&mut self) -> Option<Bytes> {
        if !self.inside {
            return None;
        }
        // Zeros at the end stay: they may be the beginning of the next start code.
        let nal = self.buffer.split_to(length_without_zeros(&self.buffer));
        self.scanned = 0;
        self.inside = false;
        (!nal.is_empty()).then(|| nal.freeze())
    }

    /// Bytes, other than zeros, that came where a start code had to be.
    pub fn stray(&self) -> u64 {
        self.stray
    }

    fn find_first(&mut self) -> bool {
        let found = find_prefix(&self.buffer, 0);
        let before = found.unwrap_or(self.buffer.len().saturating_sub(PREFIX.len() - 1));
        self.stray += self.buffer[..before].iter().filter(|byte| **byte != 0).count() as u64;
        self.buffer.advance(before);
        if found.is_some() {
            self.buffer.advance(PREFIX.len());
            self.inside = true;
        }
        self.inside
    }
}

/// Where the first `00 00 01` at or after `from` begins.
fn find_prefix(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&third) = data.get(at + 2) {
        at += match third {
            0 => 1,
            1 if data[at] == 0 && data[at + 1] == 0 => return Some(at),
            // No start code can begin at, or span, a byte that is not zero.
            _ => 3,
        };
    }
    None
}

/// A NAL unit never ends in a zero (7.4.1): such bytes belong to the byte stream.
fn length_without_zeros(data: &[u8]) -> usize {
    data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::random::Random;

    fn split(stream: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<Vec<u8>>, bool) {
        let (mut splitter, mut nals, mut rest) = (Splitter::default(), Vec::new(), stream);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
            splitter.push(now);
            rest = later;
            loop {
                match splitter.next_nal() {
                    Ok(Some(nal)) => nals.push(nal.to_vec()),
                    Ok(None) => break,
                    Err(Oversized) => return (nals, true),
                }
            }
        }
        nals.extend(splitter.flush().map(|nal| nal.to_vec()));
        (nals, false)
    }

    #[test]
    fn finds_nal_units_after_both_start_codes_and_trims_zeros() {
        let stream = [9, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0x65, 3, 0];
        let nals: Vec<_> = nal_units(&stream).collect();
        assert_eq!(nals, [&[0x67, 1][..], &[0x68, 2], &[0x65, 3]]);
    }

    #[test]
    fn empty_and_garbage_streams_have_no_nal_units() {
        for stream in [&[][..], &[0, 0], &[0, 0, 0, 0], &[0, 0, 2, 1], &[0, 0, 1], &[0, 0, 0, 1, 0, 0]] {
            assert_eq!(nal_units(stream).count(), 0, "{stream:?}");
            assert_eq!(split(stream, || 1).0.len(), 0, "{stream:?}");
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_nal_units() {
        let mut random = Random(7);
        for _ in 0..500 {
            let length = random.below(400);
            let stream = random.bytes(length);
            let whole: Vec<_> = nal_units(&stream).map(<[u8]>::to_vec).collect();
            for largest in [1, 2, 3, 7, 64, 400] {
                let (nals, oversized) = split(&stream, || random.below(largest) + 1);
                assert!(!oversized);
                assert_eq!(nals, whole, "pieces of up to {largest} of {stream:?}");
            }
        }
    }

    #[test]
    fn oversized_nal_unit_is_an_error_however_it_is_cut() {
        let mut stream = vec![0, 0, 1, 0x67, 1, 0, 0, 1];
        stream.resize(stream.len() + MAX_NAL + 1, 0xff);
        stream.extend([0, 0, 1, 0x65, 0, 0, 1]);
        for piece in [1000, 65_536, stream.len()] {
            assert_eq!(split(&stream, || piece), (vec![vec![0x67, 1]], true));
        }
        let longest = stream.len() - 8;
        stream.remove(longest);
        assert!(!split(&stream, || 65_536).1, "the longest that is allowed");
    }

    #[test]
    fn garbage_without_a_start_code_is_not_kept() {
        let mut splitter = Splitter::default();
        for _ in 0..100 {
            splitter.push(&[0xaa; 65_536]);
            assert_eq!(splitter.next_nal(), Ok(None));
            assert!(splitter.buffer.len() <= 2);
        }
        assert!(splitter.stray() > 6_000_000);
    }

    #[test]
    fn flush_gives_the_nal_unit_in_progress_and_tells_if_it_went_on() {
        let mut splitter = Splitter::default();
        splitter.push(&[0, 0, 1, 0x65, 1, 2, 0, 0]);
        assert_eq!(splitter.next_nal(), Ok(None));
        assert_eq!(splitter.flush().as_deref(), Some(&[0x65, 1, 2][..]));
        splitter.push(&[1, 0x41, 3, 0, 0, 1]);
        assert_eq!(splitter.next_nal().unwrap().as_deref(), Some(&[0x41, 3][..]));
        assert_eq!(splitter.stray(), 0);

        splitter.push(&[0x41, 4]);
        assert_eq!(splitter.flush().as_deref(), Some(&[0x41, 4][..]));
        splitter.push(&[5, 6, 0, 0, 1, 0x41, 7, 0, 0, 1]);
        assert_eq!(splitter.next_nal().unwrap().as_deref(), Some(&[0x41, 7][..]));
        assert_eq!(splitter.stray(), 2);
    }
}
