//! H.264 as bytes (ITU-T H.264): finding NAL units, grouping them into access units, reading a sequence
//! parameter set. Everything here is pure and takes hostile input. Not here: encoding (`encode`) and
//! packetising (`peer/rtc.rs`).

pub mod access_unit;
pub mod annexb;
pub mod sps;
pub mod stream;

mod bits;

/// What a NAL unit is, as far as anything here cares (7.4.1, table 7-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NalKind {
    /// A slice, or a partition of one, of a picture that is not an IDR picture (types 1 to 4).
    Slice,
    /// A slice of an IDR picture (type 5).
    IdrSlice,
    /// Supplemental enhancement information (type 6).
    Sei,
    /// Sequence parameter set (type 7).
    Sps,
    /// Picture parameter set (type 8).
    Pps,
    /// Access unit delimiter (type 9).
    Delimiter,
    /// Types 14 to 18: of no use here, but where one follows a picture, a new access unit begins.
    Prefix,
    /// Anything else: ends of sequence and stream, filler, auxiliary and extension slices.
    Other,
}

impl NalKind {
    /// The kind of a NAL unit that begins with its one-byte header; `Other` for an empty one.
    pub fn of(nal: &[u8]) -> Self {
        match nal.first().map_or(0, |header| header & 0x1f) {
            1..=4 => Self::Slice,
            5 => Self::IdrSlice,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::Delimiter,
            14..=18 => Self::Prefix,
            _ => Self::Other,
        }
    }
}

/// A seeded generator for tests that feed random bytes: the same bytes in each run.
#[cfg(test)]
pub(crate) mod random {
    pub(crate) struct Random(pub u64);

    impl Random {
        /// The next number below `limit` (xorshift64*).
        pub(crate) fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
        }

        /// `length` bytes in which zeros and ones, which start codes are made of, are common.
        pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
            (0..length)
                .map(|_| match self.below(8) {
                    0..=2 => 0,
                    3 => 1,
                    4 => 3,
                    _ => self.below(256) as u8,
                })
                .collect()
        }
    }
}
