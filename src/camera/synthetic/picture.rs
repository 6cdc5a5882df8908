//! Draws the synthetic picture: a scrolling gradient with fresh noise, a moving box, a clock to read and a
//! barcode for machines. Pure: frame number and time in, I420 bytes out; nothing is allocated after `new`.
//!
//! The barcode: 32 blocks in a row, each a fortieth of the width wide and 48 rows high, from x = width/10 and
//! y = 16. Bits, most significant first: `1`, `0`; 20 bits of milliseconds since 1970 modulo 2^20; 8 bits of
//! the frame number modulo 256; the parity (exclusive or) of these 28 bits; its complement. White is 1. A
//! viewer reads the frame number and, where its clock is the same, the time from glass to glass.

use std::time::Duration;

use super::font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};

/// The gradient repeats after so many pixels.
const PERIOD: usize = 256;
/// How many stretches of noise a row is picked from.
const NOISE_VARIANTS: usize = 1024;
/// The noise is even, from minus to plus this: about what a small sensor gives indoors. A picture without
/// noise would make the encoder look better than it is.
const NOISE: u32 = 8;

const BACKGROUND_U: u8 = 146;
const BACKGROUND_V: u8 = 116;

/// Pixels from the top.
const BARCODE_TOP: usize = 16;
/// Pixels.
const BARCODE_HEIGHT: usize = 48;
const BARCODE_BITS: usize = 32;
/// Pixels of dark margin around the barcode.
const BARCODE_MARGIN: usize = 8;

/// `2026-11-30 12:34:56.7 UTC`.
const CLOCK_LENGTH: usize = 25;

/// The picture's buffer and what its rows are copied from.
#[derive(Debug)]
pub(super) struct Picture {
    width: usize,
    height: usize,
    /// The gradient with noise in it, long enough for a row to start at any phase of any variant: a row of the
    /// picture is one copy from here, which is all that noise costs per frame.
    strip: Vec<u8>,
    /// I420 without padding.
    data: Vec<u8>,
    random: Random,
}

impl Picture {
    /// `width` and `height` in pixels, even, at least 160x96.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let mut random = Random(12_345);
        let strip = (0..PERIOD * (NOISE_VARIANTS + 1) + width)
            .map(|x| gradient(x) + (random.next() % (2 * NOISE + 1)) as u8 - NOISE as u8)
            .collect();
        Self { width, height, strip, data: vec![0; width * height * 3 / 2], random }
    }

    /// Draws frame `number` at the time `since_epoch` (since 1970, UTC).
    pub(super) fn draw(&mut self, number: u64, since_epoch: Duration) -> &[u8] {
        self.draw_background(number);
        self.draw_box(number);
        self.draw_clock(since_epoch);
        self.draw_barcode(number, since_epoch);
        &self.data
    }

    fn draw_background(&mut self, number: u64) {
        let (width, height) = (self.width, self.height);
        let scroll = (number % 64) as usize * 4;
        let (luma, chroma) = self.data.split_at_mut(width * height);
        for (y, row) in luma.chunks_exact_mut(width).enumerate() {
            let variant = self.random.next() as usize % NOISE_VARIANTS;
            let from = variant * PERIOD + (scroll + y) % PERIOD;
            row.copy_from_slice(&self.strip[from..from + width]);
        }
        let (u, v) = chroma.split_at_mut(width * height / 4);
        u.fill(BACKGROUND_U);
        v.fill(BACKGROUND_V);
    }

    fn draw_box(&mut self, number: u64) {
        let (width, height) = (self.width as u64, self.height as u64);
        // Even, as chroma has half the resolution.
        let x = (number * 6 % (width - width / 8)) as usize & !1;
        let y = (height / 3 + number * 3 % (height / 3)) as usize & !1;
        let size = ((self.width / 8) & !1, (self.height / 8) & !1);
        self.fill(Area { x, y, width: size.0, height: size.1 }, [190, 70, 165]);
    }

    fn draw_clock(&mut self, since_epoch: Duration) {
        let text = clock_text(since_epoch);
        let scale = (self.width / 320).max(1);
        let cell = (GLYPH_WIDTH + 1) * scale;
        let (padding, size) = (2 * scale, (CLOCK_LENGTH * cell, GLYPH_HEIGHT * scale));
        let left = ((self.width - size.0) / 2) & !1;
        let top = (self.height - size.1 - 4 * scale) & !1;
        self.fill(
            Area {
                x: left - padding,
                y: top - padding,
                width: size.0 + 2 * padding,
                height: size.1 + 2 * padding,
            },
            [16, 128, 128],
        );
        for (index, character) in text.into_iter().enumerate() {
            self.draw_glyph(glyph(character), left + index * cell, top, scale);
        }
    }

    /// One glyph in white, each dot `scale` pixels wide and high.
    fn draw_glyph(&mut self, rows: [u8; GLYPH_HEIGHT], left: usize, top: usize, scale: usize) {
        for (row, dots) in rows.into_iter().enumerate() {
            for column in (0..GLYPH_WIDTH).filter(|column| dots >> (GLYPH_WIDTH - 1 - column) & 1 == 1) {
                let x = left + column * scale;
                for y in top + row * scale..top + (row + 1) * scale {
                    self.data[y * self.width + x..][..scale].fill(235);
                }
            }
        }
    }

    fn draw_barcode(&mut self, number: u64, since_epoch: Duration) {
        let (block, left) = (self.width / 40, self.width / 10);
        let area = Area { x: left, y: BARCODE_TOP, width: BARCODE_BITS * block, height: BARCODE_HEIGHT };
        self.fill(area, [60, 128, 128]);
        for y in (BARCODE_TOP - BARCODE_MARGIN..BARCODE_TOP)
            .chain(BARCODE_TOP + BARCODE_HEIGHT..BARCODE_TOP + BARCODE_HEIGHT + BARCODE_MARGIN)
        {
            let from = y * self.width + left - BARCODE_MARGIN;
            self.data[from..from + area.width + 2 * BARCODE_MARGIN].fill(60);
        }
        let word = barcode(number, since_epoch);
        let first = BARCODE_TOP * self.width + left;
        for bit in 0..BARCODE_BITS {
            let luma = if word >> (BARCODE_BITS - 1 - bit) & 1 == 1 { 235 } else { 16 };
            self.data[first + bit * block..][..block].fill(luma);
        }
        for row in 1..BARCODE_HEIGHT {
            self.data.copy_within(first..first + area.width, first + row * self.width);
        }
    }

    /// Fills an area of all three planes with one colour (Y, U, V). Chroma has half the resolution, so an edge
    /// at an odd place is rounded down there.
    fn fill(&mut self, area: Area, [y, u, v]: [u8; 3]) {
        let (luma, chroma) = self.data.split_at_mut(self.width * self.height);
        let (u_plane, v_plane) = chroma.split_at_mut(self.width * self.height / 4);
        let half = Area { x: area.x / 2, y: area.y / 2, width: area.width / 2, height: area.height / 2 };
        fill_plane(luma, self.width, area, y);
        fill_plane(u_plane, self.width / 2, half, u);
        fill_plane(v_plane, self.width / 2, half, v);
    }
}

#[derive(Debug, Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

fn fill_plane(plane: &mut [u8], stride: usize, area: Area, value: u8) {
    for row in plane.chunks_exact_mut(stride).skip(area.y).take(area.height) {
        row[area.x..area.x + area.width].fill(value);
    }
}

/// Luma of the gradient at `x`, without noise: a triangle between 48 and 188.
fn gradient(x: usize) -> u8 {
    let phase = x % PERIOD;
    let height = phase.min(PERIOD - 1 - phase);
    (48 + height * 11 / 10) as u8
}

/// The 32 bits of the barcode, the first in the most significant place.
fn barcode(number: u64, since_epoch: Duration) -> u32 {
    let milliseconds = (since_epoch.as_millis() % (1 << 20)) as u32;
    let data = milliseconds << 8 | (number % 256) as u32;
    let parity = data.count_ones() & 1;
    0b10 << 30 | data << 2 | parity << 1 | (parity ^ 1)
}

/// Date and time of day with tenths, in UTC, which needs no time-zone data.
fn clock_text(since_epoch: Duration) -> [u8; CLOCK_LENGTH] {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let mut text = *b"0000-00-00 00:00:00.0 UTC";
    for (at, width, value) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, seconds / 3600 % 24),
        (14, 2, seconds / 60 % 60),
        (17, 2, seconds % 60),
        (20, 1, u64::from(since_epoch.subsec_millis() / 100)),
    ] {
        let mut value = value;
        for digit in text[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    text
}

/// Year, month and day of the proleptic Gregorian calendar, of the day so many days after 1970-01-01. Years are
/// counted from March, so that the leap day comes last, in eras of 400 years (146,097 days).
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A linear congruential generator: the same picture each run, and nothing to pay for.
#[derive(Debug, Clone, Copy)]
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the barcode as a viewer does: the middle of each block.
    fn read_barcode(data: &[u8], width: usize) -> Option<(u32, u32)> {
        let (block, left, row) = (width / 40, width / 10, BARCODE_TOP + BARCODE_HEIGHT / 2);
        let bits: Vec<u32> =
            (0..32).map(|bit| u32::from(data[row * width + left + bit * block + block / 2] > 125)).collect();
        let number = |range: std::ops::Range<usize>| bits[range].iter().fold(0, |sum, bit| sum * 2 + bit);
        let parity = bits[2..30].iter().fold(0, |sum, bit| sum ^ bit);
        (bits[0] == 1 && bits[1] == 0 && bits[30] == parity && bits[31] != parity)
            .then(|| (number(2..22), number(22..30)))
    }

    #[test]
    fn barcode_carries_time_and_frame_number_at_every_size() {
        for (width, height) in [(160, 96), (162, 98), (640, 360), (854, 480), (1280, 720), (1920, 1080)] {
            let mut picture = Picture::new(width, height);
            for (number, milliseconds) in [(0, 0), (1, 1_048_575), (255, 1_764_500_000_123), (70_000, 77)] {
                let data = picture.draw(number, Duration::from_millis(milliseconds));
                assert_eq!(data.len(), width * height * 3 / 2);
                assert_eq!(
                    read_barcode(data, width),
                    Some(((milliseconds % (1 << 20)) as u32, (number % 256) as u32)),
                    "{width}x{height} frame {number}"
                );
            }
        }
    }

    #[test]
    fn barcode_has_rows_16_to_64_and_a_dark_margin() {
        let mut picture = Picture::new(1280, 720);
        let data = picture.draw(3, Duration::ZERO);
        let luma = |x: usize, y: usize| data[y * 1280 + x];
        assert_eq!((luma(128, 16), luma(128, 63)), (235, 235), "the first bit is white");
        assert_eq!((luma(160, 16), luma(160, 63)), (16, 16), "the second is black");
        for (x, y) in [(120, 8), (120, 15), (128, 15), (128, 64), (1159, 71)] {
            assert_eq!(luma(x, y), 60, "margin at {x},{y}");
        }
    }

    #[test]
    fn picture_moves_and_its_noise_is_fresh() {
        let mut picture = Picture::new(640, 360);
        let first = picture.draw(0, Duration::ZERO).to_vec();
        let again = picture.draw(0, Duration::ZERO).to_vec();
        let second = picture.draw(1, Duration::ZERO);
        let region = 100 * 640..110 * 640;
        assert_ne!(first[region.clone()], again[region.clone()], "the same number has other noise");
        assert_ne!(first[region.clone()], second[region]);
        let far = first[..640 * 360].iter().zip(&again[..640 * 360]).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far <= Some(2 * NOISE as u8), "noise of {far:?}");
    }

    #[test]
    fn gradient_with_noise_never_wraps() {
        let picture = Picture::new(160, 96);
        assert!(picture.strip.iter().all(|luma| (40..=196).contains(luma)));
    }

    #[test]
    fn clock_text_follows_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00.0 UTC"),
            (951_782_399, "2000-02-28 23:59:59.0 UTC"),
            (951_782_400, "2000-02-29 00:00:00.0 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00.0 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59.0 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00.0 UTC"),
        ] {
            let shown = clock_text(Duration::from_secs(seconds));
            assert_eq!(std::str::from_utf8(&shown).unwrap(), text);
        }
        let shown = clock_text(Duration::from_millis(59_960));
        assert_eq!(std::str::from_utf8(&shown).unwrap(), "1970-01-01 00:00:59.9 UTC");
    }

    #[test]
    fn clock_is_white_on_black_and_changes_with_the_time() {
        let mut picture = Picture::new(1280, 720);
        let rows = (720 - 7 * 4 - 16) * 1280..(720 - 16) * 1280;
        let before = picture.draw(0, Duration::from_millis(100)).to_vec();
        assert!(before[rows.clone()].contains(&235) && before[rows.clone()].contains(&16));
        let text = |data: &[u8]| {
            data[rows.clone()]
                .chunks(1280)
                .flat_map(|row| row[340..940].iter().map(|luma| *luma == 235).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        let same = picture.draw(1, Duration::from_millis(199)).to_vec();
        let later = picture.draw(2, Duration::from_millis(200)).to_vec();
        assert_eq!(text(&before), text(&same));
        assert_ne!(text(&before), text(&later));
    }

    #[test]
    fn every_character_of_the_clock_has_a_glyph_of_its_own() {
        let characters = b"0123456789-:.UTC";
        for (index, one) in characters.iter().enumerate() {
            assert_ne!(glyph(*one), [0; GLYPH_HEIGHT]);
            assert!(characters[index + 1..].iter().all(|other| glyph(*other) != glyph(*one)));
        }
    }
}
