//! Reading a NAL unit's bits (H.264 7.2, 9.1), emulation prevention removed. Pure; never panics: at the end of
//! the data, or at a code that no decoder allows, it gives `None`. Not here: what the bits mean.

/// How much of a NAL unit is ever read: parameter sets and the beginnings of slice headers are far shorter.
const MAX_READ: usize = 4096;

#[derive(Debug)]
pub(super) struct Bits {
    rbsp: Vec<u8>,
    /// The next bit.
    at: usize,
}

impl Bits {
    /// Reads the payload of a NAL unit: what comes after its one-byte header.
    pub(super) fn of(nal: &[u8]) -> Self {
        Self { rbsp: without_emulation_prevention(nal.get(1..).unwrap_or_default()), at: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.rbsp.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `count` bits, at most 32, as a number: u(n).
    pub(super) fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.number(8).map(|value| value as u8)
    }

    /// An unsigned Exp-Golomb code: ue(v), below 2^32 - 1.
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1u32 << zeros) - 1) + self.number(zeros)?)
    }

    /// A signed Exp-Golomb code: se(v).
    pub(super) fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 })
    }
}

fn without_emulation_prevention(payload: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(payload.len().min(MAX_READ));
    let mut zeros = 0;
    for &byte in payload.iter().take(MAX_READ) {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    rbsp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_exp_golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00101 and then 0001 to the end
        let mut bits = Bits::of(&[0, 0b1010_0110, 0b0100_0010, 0b1000_1000]);
        let codes: Vec<_> = (0..4).map(|_| bits.unsigned()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(bits.signed(), Some(-2));
        assert_eq!(bits.number(4), Some(1));
        assert_eq!((bits.number(3), bits.bit()), (Some(0), None));
    }

    #[test]
    fn longest_code_fits_and_a_longer_one_is_refused() {
        let mut longest = Bits::of(&[0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(longest.unsigned(), Some(u32::MAX - 1));
        assert_eq!(Bits::of(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unsigned(), None);
    }

    #[test]
    fn removes_emulation_prevention() {
        assert_eq!(without_emulation_prevention(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(without_emulation_prevention(&[0, 3, 0, 0, 2]), [0, 3, 0, 0, 2]);
    }
}
