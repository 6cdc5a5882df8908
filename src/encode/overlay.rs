//! The time and the camera's name, written into a picture: light letters in a dark box at the bottom left, which can be
//! read on bright and on dark. Only the box is touched. Pure. Used on the camera's pipeline thread. Not here: the font
//! (`text`), and whether a picture may be written on (`prepare`).

use super::planes::Picture;
use crate::{
    sys::time::LocalTime,
    text::{self, ADVANCE, HEIGHT, Place},
};

/// Limited range.
const LETTERS: u8 = 235;
const BOX: u8 = 28;
const COLOURLESS: u8 = 128;
/// A dot of the letters is so many times smaller than the picture's shorter side: at 1280x720 three pixels.
const DOTS_ACROSS: usize = 240;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Time,
    Name,
    TimeAndName,
}

/// What is written into a camera's pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    pub content: Content,
    /// The camera's. Characters that the font lacks are written as it says.
    pub name: String,
}

impl Caption {
    /// The text at a time, as `2026-11-25 01:02:03  Front door`.
    pub fn text(&self, time: LocalTime) -> String {
        let LocalTime { year, month, day, hour, minute, second } = time;
        let time = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
        match self.content {
            Content::Time => time,
            Content::Name => self.name.clone(),
            Content::TimeAndName => format!("{time}  {}", self.name),
        }
    }
}

/// Writes one line. What does not fit is cut off.
pub fn draw(picture: &mut Picture, line: &str) {
    let (width, height) = (picture.width(), picture.height());
    let scale = (width.min(height) / DOTS_ACROSS).max(1);
    // One dot free at the left and at the right of the letters, two above and below.
    let columns = width.saturating_sub(2 * scale) / (ADVANCE * scale);
    let end = line.char_indices().nth(columns).map_or(line.len(), |(at, _)| at);
    let line = &line[..end];
    let (box_width, box_height) = (text::width(line, scale) + 2 * scale, (HEIGHT + 4) * scale);
    if line.is_empty() || box_height > height {
        return;
    }
    // Even, for chroma has half the resolution.
    let (right, top) = (box_width.next_multiple_of(2).min(width), (height - box_height) & !1);
    let planes = picture.planes_mut();
    let half = (width / 2, right / 2, top / 2);
    for (plane, (stride, right, top), value) in [
        (&mut *planes.y, (width, right, top), BOX),
        (planes.u, half, COLOURLESS),
        (planes.v, half, COLOURLESS),
    ] {
        plane.chunks_exact_mut(stride).skip(top).for_each(|row| row[..right].fill(value));
    }
    let place = Place { left: scale, top: top + 2 * scale, scale };
    text::write(planes.y, width, place, line, LETTERS);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHT: LocalTime = LocalTime { year: 2026, month: 3, day: 9, hour: 1, minute: 2, second: 3 };

    fn caption(content: Content) -> Caption {
        Caption { content, name: "Front door".to_owned() }
    }

    fn grey(width: usize, height: usize, luma: u8) -> Picture {
        let mut picture = Picture::new(width, height);
        let planes = picture.planes_mut();
        planes.y.fill(luma);
        planes.u.fill(90);
        planes.v.fill(170);
        picture
    }

    #[test]
    fn text_is_time_or_name_or_both() {
        assert_eq!(caption(Content::Time).text(NIGHT), "2026-03-09 01:02:03");
        assert_eq!(caption(Content::Name).text(NIGHT), "Front door");
        assert_eq!(caption(Content::TimeAndName).text(NIGHT), "2026-03-09 01:02:03  Front door");
    }

    #[test]
    fn letters_stand_out_on_bright_and_on_dark_alike() {
        for luma in [16, 128, 235] {
            let mut picture = grey(640, 360, luma);
            draw(&mut picture, "2026-03-09 01:02:03");
            let (left, top) = (ADVANCE * 19, 360 - HEIGHT - 4);
            let inside: Vec<u8> = picture
                .planes()
                .y
                .chunks(640)
                .skip(top & !1)
                .flat_map(|row| row[..left].iter().copied())
                .collect();
            assert!(inside.iter().all(|value| [BOX, LETTERS].contains(value)), "on {luma}");
            let letters = inside.iter().filter(|value| **value == LETTERS).count();
            assert!(letters > 19 * 8 && letters < inside.len() / 2, "{letters} on {luma}");
        }
    }

    #[test]
    fn only_the_box_is_touched_and_it_has_no_colour() {
        for (width, height) in [(160, 96), (322, 242), (720, 1280), (1920, 1080)] {
            let mut picture = grey(width, height, 100);
            draw(&mut picture, "x");
            let scale = (width.min(height) / DOTS_ACROSS).max(1);
            let (box_width, box_height) = ((ADVANCE + 2) * scale + 1, (HEIGHT + 4) * scale + 1);
            for (index, (plane, stride)) in picture.planes().planes().into_iter().enumerate() {
                let shrink = if index == 0 { 1 } else { 2 };
                let before = [100, 90, 170][index];
                for (y, row) in plane.chunks(stride).enumerate() {
                    for (x, value) in row.iter().enumerate() {
                        let outside = x * shrink > box_width || (y + 1) * shrink < height - box_height;
                        if outside {
                            assert_eq!(*value, before, "{width}x{height}, plane {index} at {x},{y}");
                        }
                    }
                }
                assert_ne!(plane[plane.len() - stride], before, "plane {index}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        for (width, height) in [(16, 16), (32, 32), (2, 2), (160, 12), (160, 14)] {
            let mut picture = grey(width, height, 100);
            draw(&mut picture, &"Wide ä name ".repeat(20));
            draw(&mut picture, "");
        }
        let mut picture = grey(64, 32, 100);
        draw(&mut picture, &"#".repeat(100));
        let whole: Vec<u8> = picture.bytes().to_vec();
        draw(&mut picture, &"#".repeat(10));
        assert_eq!(picture.bytes(), whole, "ten of them fit");
    }
}
