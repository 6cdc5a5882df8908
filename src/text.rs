//! Letters for pictures: a bitmap font of the printable ASCII characters, the breaking of text into lines, and the
//! writing of one line into a luma plane. Pure. Not here: what is written, and where.

/// Dots across a character; one more is left free to the next.
pub const WIDTH: usize = 5;
/// Dots from the top of a capital letter to the line it stands on.
pub const CAPITAL: usize = 7;
/// Dots from the top of a capital letter to the foot of a `g`.
pub const HEIGHT: usize = 9;
/// Dots from one character to the next.
pub const ADVANCE: usize = WIDTH + 1;

/// Characters in a row of the drawing below.
const BAND: usize = 16;

/// The characters from space to `~`, drawn.
#[rustfmt::skip]
const DRAWN: [[&str; HEIGHT]; 6] = [
    //  !"#$%&'()*+,-./
    [
        "        #    # #   # #    #   ##     ##     #      #   #                                       ",
        "        #    # #   # #   #### ##  # #  #    #     #     #     #     #                         #",
        "        #    # #  ##### # #      #  # #     #    #       #  # # #   #                        # ",
        "        #          # #   ###    #    #           #       #   ###  #####       #####         #  ",
        "        #         #####   # #  #    # # #        #       #  # # #   #                      #   ",
        "                   # #  ####  #  ## #  #          #     #     #     #    ##          ##   #    ",
        "        #          # #    #      ##  ## #          #   #                 ##          ##        ",
        "                                                                          #                    ",
        "                                                                         #                     ",
    ],
    // 0123456789:;<=>?
    [
        " ###    #    ###  #####    #  #####   ##  #####  ###   ###                 #         #     ### ",
        "#   #  ##   #   #    #    ##  #      #        # #   # #   #  ##    ##     #           #   #   #",
        "#  ##   #       #   #    # #  ####  #        #  #   # #   #  ##    ##    #    #####    #      #",
        "# # #   #      #     #  #  #      # ####    #    ###   ####             #               #    # ",
        "##  #   #     #       # #####     # #   #  #    #   #     #              #    #####    #    #  ",
        "#   #   #    #    #   #    #  #   # #   #  #    #   #    #   ##    ##     #           #        ",
        " ###   ###  #####  ###     #   ###   ###   #     ###   ##    ##    ##      #         #      #  ",
        "                                                                    #                          ",
        "                                                                   #                           ",
    ],
    // @ABCDEFGHIJKLMNO
    [
        " ###   ###  ####   ###  ####  ##### #####  ###  #   #  ###    ### #   # #     #   # #   #  ### ",
        "#   # #   # #   # #   # #   # #     #     #   # #   #   #      #  #  #  #     ## ## ##  # #   #",
        "# ### #   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # # # # # #   #",
        "# # # ##### ####  #     #   # ####  ####  # ### #####   #      #  ##    #     # # # #  ## #   #",
        "# ### #   # #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   # #   # #   #",
        "#     #   # #   # #   # #   # #     #     #   # #   #   #   #  #  #  #  #     #   # #   # #   #",
        " ###  #   # ####   ###  ####  ##### #      #### #   #  ###   ##   #   # ##### #   # #   #  ### ",
        "                                                                                               ",
        "                                                                                               ",
    ],
    // PQRSTUVWXYZ[\]^_
    [
        "####   ###  ####   #### ##### #   # #   # #   # #   # #   # #####  ###         ###    #        ",
        "#   # #   # #   # #       #   #   # #   # #   # #   # #   #     #  #    #        #   # #       ",
        "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #   #     #       #  #   #      ",
        "####  #   # ####   ###    #   #   # #   # # # #   #     #     #    #      #      #             ",
        "#     # # # # #       #   #   #   # #   # # # #  # #    #    #     #       #     #             ",
        "#     #  #  #  #      #   #   #   #  # #  ## ## #   #   #   #      #        #    #             ",
        "#      ## # #   # ####    #    ###    #   #   # #   #   #   #####  ###         ###             ",
        "                                                                                          #####",
        "                                                                                               ",
    ],
    // `abcdefghijklmno
    [
        " #          #               #         ##        #       #      #  #      ##                    ",
        "  #         #               #        #  #       #                 #       #                    ",
        "       ###  # ##   ###   ## #  ###   #     #### # ##   ##     ##  #  #    #   ## #  # ##   ### ",
        "          # ##  # #     #  ## #   # ###   #   # ##  #   #      #  # #     #   # # # ##  # #   #",
        "       #### #   # #     #   # #####  #    #   # #   #   #      #  ##      #   # # # #   # #   #",
        "      #   # #   # #   # #   # #      #    #   # #   #   #      #  # #     #   # # # #   # #   #",
        "       #### ####   ###   ####  ###   #     #### #   #  ###     #  #  #   ###  #   # #   #  ### ",
        "                                              #             #  #                               ",
        "                                           ###               ##                                ",
    ],
    // pqrstuvwxyz{|}~
    [
        "                         #                                           #    #    #               ",
        "                         #                                          #     #     #              ",
        "####   #### # ##   #### ###   #   # #   # #   # #   # #   # #####   #     #     #    #         ",
        "#   # #   # ##  # #      #    #   # #   # #   #  # #  #   #    #   #      #      #  # # #      ",
        "#   # #   # #      ###   #    #   # #   # # # #   #   #   #   #     #     #     #      #       ",
        "#   # #   # #         #  #  # #  ##  # #  # # #  # #  #   #  #      #     #     #              ",
        "####   #### #     ####    ##   ## #   #    # #  #   #  #### #####    #    #    #               ",
        "#         #                                               #               #                    ",
        "#         #                                            ###                                     ",
    ],
];

static DOTS: [[u8; HEIGHT]; 6 * BAND] = read();

const fn read() -> [[u8; HEIGHT]; 6 * BAND] {
    let mut all = [[0; HEIGHT]; 6 * BAND];
    let mut index = 0;
    while index < all.len() {
        let mut row = 0;
        while row < HEIGHT {
            let line = DRAWN[index / BAND][row].as_bytes();
            let mut column = 0;
            while column < WIDTH {
                let dot = line[index % BAND * ADVANCE + column] == b'#';
                all[index][row] = all[index][row] << 1 | dot as u8;
                column += 1;
            }
            row += 1;
        }
        index += 1;
    }
    all
}

/// A character's rows from the top; bit 4 is the leftmost dot. Letters with an accent lose it, and what is not in the
/// font is a question mark.
pub fn dots(character: char) -> [u8; HEIGHT] {
    let known = match plain(character) {
        known @ ' '..='~' => known,
        _ => '?',
    };
    DOTS[known as usize - ' ' as usize]
}

/// The letter without its accent, of those that are common in names.
fn plain(character: char) -> char {
    match character {
        'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => 'A',
        'à'..='å' | 'ā' | 'ă' | 'ą' => 'a',
        'Ç' | 'Ć' | 'Č' => 'C',
        'ç' | 'ć' | 'č' => 'c',
        'Ď' | 'Đ' | 'Ð' => 'D',
        'ď' | 'đ' | 'ð' => 'd',
        'È'..='Ë' | 'Ē' | 'Ė' | 'Ę' | 'Ě' => 'E',
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'Ğ' => 'G',
        'ğ' => 'g',
        'Ì'..='Ï' | 'Ī' | 'İ' => 'I',
        'ì'..='ï' | 'ī' | 'ı' => 'i',
        'Ł' => 'L',
        'ł' => 'l',
        'Ñ' | 'Ń' | 'Ň' => 'N',
        'ñ' | 'ń' | 'ň' => 'n',
        'Ò'..='Ö' | 'Ø' | 'Ō' | 'Ő' => 'O',
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => 'o',
        'Ř' => 'R',
        'ř' => 'r',
        'Ś' | 'Ş' | 'Š' => 'S',
        'ś' | 'ş' | 'š' | 'ß' => 's',
        'Ť' => 'T',
        'ť' => 't',
        'Ù'..='Ü' | 'Ū' | 'Ů' | 'Ű' => 'U',
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => 'u',
        'Ý' | 'Ÿ' => 'Y',
        'ý' | 'ÿ' => 'y',
        'Ź' | 'Ż' | 'Ž' => 'Z',
        'ź' | 'ż' | 'ž' => 'z',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        '–' | '—' => '-',
        other => other,
    }
}

/// Breaks text at its spaces into at most `most` lines of at most `columns` characters. A word that is longer is cut;
/// where the lines do not suffice, the last ends with three dots.
pub fn lines(text: &str, columns: usize, most: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line: Vec<char> = Vec::new();
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().collect();
        if !line.is_empty() && line.len() + 1 + word.len() > columns {
            lines.push(line.drain(..).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
        while line.len() > columns {
            lines.push(line.drain(..columns).collect());
        }
    }
    if !line.is_empty() {
        lines.push(line.into_iter().collect());
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let kept: String = last.chars().take(columns.saturating_sub(3)).collect();
            *last = format!("{}...", kept.trim_end());
        }
    }
    lines
}

/// Where a line of text begins, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Pixels from the left and from the top.
    pub left: usize,
    pub top: usize,
    /// Pixels across a dot.
    pub scale: usize,
}

/// Pixels across a text, the free dots between its characters included.
pub fn width(text: &str, scale: usize) -> usize {
    (text.chars().count() * ADVANCE).saturating_sub(1) * scale
}

/// Writes one line into a luma plane of `stride` bytes a row. What does not fit is left out.
pub fn write(luma: &mut [u8], stride: usize, place: Place, text: &str, value: u8) {
    let Place { left, top, scale } = place;
    for (index, character) in text.chars().enumerate() {
        let at = left + index * ADVANCE * scale;
        for (row, bits) in dots(character).into_iter().enumerate() {
            for column in (0..WIDTH).filter(|column| bits >> (WIDTH - 1 - column) & 1 == 1) {
                let x = at + column * scale;
                if x + scale > stride {
                    continue;
                }
                for y in top + row * scale..top + (row + 1) * scale {
                    if let Some(dots) = luma.get_mut(y * stride + x..y * stride + x + scale) {
                        dots.fill(value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_drawn_as_in_the_table() {
        assert_eq!(dots('T'), [0b11111, 0b100, 0b100, 0b100, 0b100, 0b100, 0b100, 0, 0]);
        assert_eq!(dots('j')[8], 0b01100);
        assert_eq!(dots(' '), [0; HEIGHT]);
    }

    #[test]
    fn each_character_but_the_space_has_dots_of_its_own() {
        let all: Vec<_> = ('!'..='~').map(dots).collect();
        assert!(all.iter().all(|rows| *rows != [0; HEIGHT]));
        for (index, rows) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(rows), "{} is drawn twice", (index as u8 + b'!') as char);
        }
    }

    #[test]
    fn accents_are_dropped_and_the_unknown_is_marked() {
        assert_eq!(dots('Ü'), dots('U'));
        assert_eq!(dots('é'), dots('e'));
        assert_eq!(dots('猫'), dots('?'));
        assert_eq!(dots('\n'), dots('?'));
    }

    #[test]
    fn text_is_broken_at_spaces_and_long_words_are_cut() {
        assert_eq!(lines("no camera at /dev/video0", 12, 9), ["no camera at", "/dev/video0"]);
        assert_eq!(lines("/dev/v4l/by-id/usb", 8, 9), ["/dev/v4l", "/by-id/u", "sb"]);
        assert_eq!(lines("one two three four", 9, 2), ["one two", "three..."]);
        assert_eq!(lines("  ", 9, 2), [] as [String; 0]);
        assert_eq!(lines("ab", 0, 2), ["a", "b"]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut luma = [0; 8 * 8];
        write(&mut luma, 8, Place { left: 3, top: 5, scale: 1 }, "HH", 200);
        assert_eq!(luma[5 * 8 + 3], 200);
        assert_eq!(luma.iter().filter(|value| **value != 0).count(), 3 * 2);
        assert_eq!(width("HH", 2), 22);
    }
}
