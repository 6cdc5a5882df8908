//! Vector code for 32-bit ARM: packed YUV 4:2:2 into planes. Only some of those processors have NEON, and the program is
//! built for all of them, so the kernel is asked. On 64-bit ARM the `yuv` crate has such code; here it has none. Not here:
//! whole pictures, and what is done without NEON (`encode::convert`).

use std::arch::asm;

/// In `getauxval(AT_HWCAP)` (the kernel's `asm/hwcap.h` for ARM): the processor has NEON.
const HWCAP_NEON: libc::c_ulong = 1 << 12;
/// Pixels that are taken at once.
const BLOCK: usize = 16;

/// What the four bytes of two pixels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Y, U, Y, V.
    Yuyv,
    /// U, Y, V, Y.
    Uyvy,
}

/// Two rows of the picture, and where they go.
#[derive(Debug)]
pub struct Rows<'a> {
    /// Two bytes a pixel.
    pub packed: [&'a [u8]; 2],
    /// A byte a pixel.
    pub luma: [&'a mut [u8]; 2],
    /// A byte for two pixels of both rows.
    pub u: &'a mut [u8],
    /// As `u`.
    pub v: &'a mut [u8],
}

/// That the processor has NEON.
#[derive(Debug, Clone, Copy)]
pub struct Neon(());

impl Neon {
    /// `None`: it has none.
    pub fn of_this_processor() -> Option<Self> {
        // SAFETY: it reads a value that the kernel gave to the process, and takes any key.
        let has = unsafe { libc::getauxval(libc::AT_HWCAP) } & HWCAP_NEON != 0;
        has.then_some(Self(()))
    }

    /// Takes two rows apart; chroma is the mean of both rows, rounded up. False, and nothing is done, where a row is shorter
    /// than 16 pixels or has an odd number of them, or another is not as long as the first of luma.
    pub fn unpack(self, order: Order, rows: &mut Rows<'_>) -> bool {
        let width = rows.luma[0].len();
        let fits = rows.luma[1].len() == width
            && rows.packed.iter().all(|packed| packed.len() == width * 2)
            && rows.u.len() == width / 2
            && rows.v.len() == width / 2;
        if !fits || width < BLOCK || width % 2 != 0 {
            return false;
        }
        self.blocks(order, rows, 0, width / BLOCK);
        if width % BLOCK != 0 {
            // The last sixteen, some of which were taken already.
            self.blocks(order, rows, width - BLOCK, 1);
        }
        true
    }

    /// `count` blocks, at least one, from the pixel `at` on, which is even. All of them must lie within the rows.
    #[inline(never)]
    fn blocks(self, order: Order, rows: &mut Rows<'_>, at: usize, count: usize) {
        let end = at + count * BLOCK;
        let (above, below) = (&rows.packed[0][at * 2..end * 2], &rows.packed[1][at * 2..end * 2]);
        let [luma_above, luma_below] = &mut rows.luma;
        let (luma_above, luma_below) = (&mut luma_above[at..end], &mut luma_below[at..end]);
        let (u, v) = (&mut rows.u[at / 2..end / 2], &mut rows.v[at / 2..end / 2]);
        // Eight times four bytes are loaded into a register for each of the four.
        macro_rules! take_apart {
            ($luma:literal, $luma_below:literal, $first:literal, $first_below:literal, $second:literal, $second_below:literal) => {
                // SAFETY: the processor has NEON, as `self` exists. Each pass of the loop reads 32 bytes of each packed row,
                // and writes 16 of each row of luma and 8 of each chroma; the slices have that for `count` passes, and there is
                // at least one. What is written is borrowed mutably, and does not overlap. The registers are named.
                unsafe {
                    asm!(
                        ".fpu neon",
                        "2:",
                        "vld4.8 {{d0, d1, d2, d3}}, [{above}]!",
                        "vld4.8 {{d4, d5, d6, d7}}, [{below}]!",
                        "subs {count}, {count}, #1",
                        concat!("vrhadd.u8 ", $first, ", ", $first, ", ", $first_below),
                        concat!("vrhadd.u8 ", $second, ", ", $second, ", ", $second_below),
                        concat!("vst2.8 {{", $luma, "}}, [{luma_above}]!"),
                        concat!("vst2.8 {{", $luma_below, "}}, [{luma_below}]!"),
                        concat!("vst1.8 {{", $first, "}}, [{u}]!"),
                        concat!("vst1.8 {{", $second, "}}, [{v}]!"),
                        "bne 2b",
                        above = inout(reg) above.as_ptr() => _,
                        below = inout(reg) below.as_ptr() => _,
                        count = inout(reg) count => _,
                        luma_above = inout(reg) luma_above.as_mut_ptr() => _,
                        luma_below = inout(reg) luma_below.as_mut_ptr() => _,
                        u = inout(reg) u.as_mut_ptr() => _,
                        v = inout(reg) v.as_mut_ptr() => _,
                        out("d0") _, out("d1") _, out("d2") _, out("d3") _,
                        out("d4") _, out("d5") _, out("d6") _, out("d7") _,
                        options(nostack),
                    );
                }
            };
        }
        match order {
            Order::Yuyv => take_apart!("d0, d2", "d4, d6", "d1", "d5", "d3", "d7"),
            Order::Uyvy => take_apart!("d1, d3", "d5, d7", "d0", "d4", "d2", "d6"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `width` pixels, taken apart; `None`: they were refused.
    fn taken(order: Order, packed: [&[u8]; 2], width: usize) -> Option<[Vec<u8>; 4]> {
        let mut planes = [vec![0; width], vec![0; width], vec![0; width / 2], vec![0; width / 2]];
        let [above, below, u, v] = &mut planes;
        let mut rows = Rows { packed, luma: [above, below], u, v };
        Neon::of_this_processor()?.unpack(order, &mut rows).then_some(planes)
    }

    #[test]
    fn each_byte_goes_to_its_plane_whatever_the_width() {
        for width in [16, 18, 30, 32, 46, 640, 854] {
            let bytes =
                |seed: usize| (0..width * 2).map(|at| (at * 7 + at / 3 + seed) as u8).collect::<Vec<_>>();
            let (above, below) = (bytes(0), bytes(91));
            for (order, y_at, u_at, v_at) in [(Order::Yuyv, 0, 1, 3), (Order::Uyvy, 1, 0, 2)] {
                let Some(planes) = taken(order, [&above, &below], width) else {
                    assert!(Neon::of_this_processor().is_none());
                    continue;
                };
                let luma = |row: &[u8]| row.iter().skip(y_at).step_by(2).copied().collect::<Vec<_>>();
                let mean = |at: usize| {
                    let pairs = above.iter().zip(&below).skip(at).step_by(4);
                    pairs.map(|(a, b)| (u16::from(*a) + u16::from(*b)).div_ceil(2) as u8).collect::<Vec<_>>()
                };
                assert_eq!(planes, [luma(&above), luma(&below), mean(u_at), mean(v_at)], "{order:?} {width}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let row = [0; 64];
        for (above, below, width) in [(28, 28, 14), (34, 34, 17), (64, 62, 32), (62, 64, 32)] {
            assert_eq!(taken(Order::Yuyv, [&row[..above], &row[..below]], width), None);
        }
    }
}
