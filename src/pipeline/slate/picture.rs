//! Draws the slate: the camera's name, that there is no picture and why, a clock, and a mark that moves so that the
//! stream is seen to be alive. Pure: words and time in, I420 bytes out; nothing is allocated for the picture after
//! `new`. Not here: when it is shown (`air`).

use std::time::Duration;

use crate::text::{self, CAPITAL, HEIGHT, Place};

/// Y, U, V of a dark blue grey.
const BACKGROUND: [u8; 3] = [34, 136, 124];
/// Y, U, V of amber, for what moves.
const MARK: [u8; 3] = [170, 58, 158];
const BRIGHT: u8 = 235;
const SOFT: u8 = 170;

const HEADLINE: &str = "No picture";
/// Lines of the reason at the most; more would be read by nobody.
const REASON_LINES: usize = 6;
/// The mark goes from one side to the other in so many steps.
const STEPS: u64 = 16;

/// What a slate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Card {
    /// The camera's name.
    pub name: String,
    /// Why there is no picture, one sentence.
    pub reason: String,
}

/// The picture's buffer.
#[derive(Debug)]
pub(in crate::pipeline) struct Picture {
    width: usize,
    height: usize,
    /// I420 without padding.
    data: Vec<u8>,
}

impl Picture {
    /// `width` and `height` in pixels, even.
    pub(in crate::pipeline) fn new(width: usize, height: usize) -> Self {
        Self { width, height, data: vec![0; width * height * 3 / 2] }
    }

    /// Draws frame `number` at the time `since_epoch` (since 1970, UTC).
    pub(in crate::pipeline) fn draw(&mut self, card: &Card, number: u64, since_epoch: Duration) -> &[u8] {
        self.fill(Area { x: 0, y: 0, width: self.width, height: self.height }, BACKGROUND);
        let scale = self.scale();
        let columns = (self.width * 9 / 10) / (text::ADVANCE * scale);
        let name = text::lines(&card.name, columns, 1);
        let headline = if text::width(HEADLINE, 2 * scale) <= self.width { 2 * scale } else { scale };

        let line = (HEIGHT + 3) * scale;
        let (head, foot) = (line + (HEIGHT + 4) * headline, (CAPITAL + 8) * scale);
        let most = (self.height.saturating_sub(head + foot) / line).min(REASON_LINES);
        let reason = text::lines(&card.reason, columns, most);
        let block = head + reason.len() * line;
        let mut top = self.height.saturating_sub(block + foot) / 2;
        for name in &name {
            self.centred(name, top, scale, SOFT);
        }
        top += line + scale;
        self.centred(HEADLINE, top, headline, BRIGHT);
        top += (HEIGHT + 3) * headline;
        for words in &reason {
            self.centred(words, top, scale, SOFT);
            top += line;
        }
        self.foot(number, since_epoch, scale);
        &self.data
    }

    /// Pixels across a dot of the smaller letters: a phone held upright shows some forty of them side by side.
    fn scale(&self) -> usize {
        ((self.width + 128) / 256).min(self.height / 80).max(1)
    }

    fn centred(&mut self, words: &str, top: usize, scale: usize, value: u8) {
        let left = self.width.saturating_sub(text::width(words, scale)) / 2;
        let luma = &mut self.data[..self.width * self.height];
        text::write(luma, self.width, Place { left, top, scale }, words, value);
    }

    /// The clock, and under it the mark.
    fn foot(&mut self, number: u64, since_epoch: Duration, scale: usize) {
        let seconds = since_epoch.as_secs() % 86_400;
        let clock = format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let bottom = 2 * scale;
        self.centred(&clock, self.height.saturating_sub((CAPITAL + 6) * scale), scale, SOFT);
        let step = number % (2 * STEPS);
        let step = if step < STEPS { step } else { 2 * STEPS - step };
        let width = (self.width / 20).max(2) & !1;
        let x = ((self.width - width) as u64 * step / STEPS) as usize & !1;
        let y = self.height.saturating_sub(bottom + 2 * scale) & !1;
        self.fill(Area { x, y, width, height: (2 * scale).min(self.height - y) & !1 }, MARK);
    }

    /// Fills an area, all of whose sides are even, in all three planes.
    fn fill(&mut self, area: Area, [y, u, v]: [u8; 3]) {
        let (luma, chroma) = self.data.split_at_mut(self.width * self.height);
        let (u_plane, v_plane) = chroma.split_at_mut(self.width * self.height / 4);
        let half = Area { x: area.x / 2, y: area.y / 2, width: area.width / 2, height: area.height / 2 };
        for (plane, stride, area, value) in [
            (luma, self.width, area, y),
            (u_plane, self.width / 2, half, u),
            (v_plane, self.width / 2, half, v),
        ] {
            for row in plane.chunks_exact_mut(stride).skip(area.y).take(area.height) {
                row[area.x..area.x + area.width].fill(value);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(reason: &str) -> Card {
        Card { name: "Front door".into(), reason: reason.into() }
    }

    fn drawn(width: usize, height: usize, number: u64, seconds: u64) -> Vec<u8> {
        let mut picture = Picture::new(width, height);
        picture
            .draw(&card("camera /dev/video0 was disconnected"), number, Duration::from_secs(seconds))
            .to_vec()
    }

    /// Whether any pixel of these rows of the luma plane is as bright as letters.
    fn has_letters(data: &[u8], width: usize, rows: std::ops::Range<usize>) -> bool {
        data[rows.start * width..rows.end * width].iter().any(|value| *value >= SOFT)
    }

    #[test]
    fn any_even_size_is_drawn_whole() {
        for (width, height) in [(16, 16), (32, 32), (160, 96), (320, 240), (720, 1280), (1920, 1080)] {
            let data = drawn(width, height, 5, 1);
            assert_eq!(data.len(), width * height * 3 / 2);
            assert!(has_letters(&data, width, 0..height), "{width}x{height}");
            assert_eq!(data[0], BACKGROUND[0], "{width}x{height}");
        }
    }

    #[test]
    fn letters_are_a_fortieth_of_the_width_and_stay_inside() {
        for (width, height, scale) in [(1280, 720, 5), (640, 360, 3), (320, 240, 1), (1920, 1080, 8)] {
            assert_eq!(Picture::new(width, height).scale(), scale, "{width}x{height}");
        }
        let mut picture = Picture::new(640, 360);
        let long = card(&"word ".repeat(200));
        let data = picture.draw(&long, 0, Duration::ZERO);
        assert!(!has_letters(data, 640, 0..8));
        let above_the_mark = data.chunks(640).take(340);
        let at_the_edge = above_the_mark.filter(|row| row[..16].contains(&SOFT));
        assert_eq!(at_the_edge.count(), 0);
    }

    #[test]
    fn the_mark_moves_with_each_frame_and_the_clock_with_each_second() {
        assert_ne!(drawn(320, 240, 0, 7), drawn(320, 240, 1, 7));
        assert_ne!(drawn(320, 240, 0, 7), drawn(320, 240, 0, 8));
        assert_eq!(drawn(320, 240, 0, 7), drawn(320, 240, 2 * STEPS, 7));
    }

    #[test]
    fn the_reason_is_in_the_picture() {
        let mut picture = Picture::new(640, 360);
        let one = picture.draw(&card("it was unplugged"), 0, Duration::ZERO).to_vec();
        assert_ne!(one, picture.draw(&card("it is in use"), 0, Duration::ZERO));
    }
}
