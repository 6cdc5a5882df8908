//! Lengths of time as people write and read them, and the table of viewers. Pure; times are passed in. Not here: where
//! it is printed.

use std::time::Duration;

use crate::signal::{keys::date, people::Person};

const UNITS: [(char, &str, u64); 5] = [
    ('w', "week", 7 * 86_400),
    ('d', "day", 86_400),
    ('h', "hour", 3600),
    ('m', "minute", 60),
    ('s', "second", 1),
];

/// Reads `7d`, `12h`, `30m`, `2w` or `90s`.
///
/// # Errors
/// What would fit, in one sentence.
pub fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` does not fit: give a number and w, d, h, m or s, as 7d or 12h");
    let unit = UNITS.iter().find(|(letter, _, _)| text.ends_with(*letter)).ok_or_else(refused)?;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let seconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit.2));
    let lifetime =
        seconds.map(Duration::from_secs).filter(|lifetime| *lifetime <= super::message::MAX_LIFETIME);
    match lifetime {
        Some(lifetime) if !lifetime.is_zero() => Ok(lifetime),
        Some(_) => Err(refused()),
        None => Err(format!(
            "`{text}` is too long: a hundred years are the most; without --expires, a key never ends"
        )),
    }
}

/// `3 days`, in the largest unit of which there are two, or one where nothing is left over.
pub fn length(seconds: u64) -> String {
    let fits = |(_, _, unit): &&(char, &str, u64)| seconds >= 2 * unit || seconds == *unit;
    let (_, name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[4]);
    let number = seconds / unit;
    format!("{number} {name}{}", if number == 1 { "" } else { "s" })
}

/// The viewers as a table, one a line below a line of titles.
pub fn table(viewers: &[Person], since_epoch: Duration) -> String {
    let mut rows =
        vec![["NAME", "ROLE", "BY", "PAIRED", "LAST SEEN", "WATCHING", "EXPIRES", "KEY"].map(str::to_owned)];
    rows.extend(viewers.iter().map(|viewer| row(viewer, since_epoch)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(viewer: &Person, since_epoch: Duration) -> [String; 8] {
    let now = date(since_epoch);
    let ago = |seconds| format!("{} ago", length(seconds));
    let watching = !viewer.watching.is_empty();
    [
        viewer.name.clone(),
        viewer.role.name().to_owned(),
        if viewer.whep { "whep" } else { "key" }.to_owned(),
        viewer
            .paired_at
            .zip(now)
            .map_or_else(|| "unknown".to_owned(), |(at, now)| ago(now.saturating_sub(at))),
        match viewer.seen_ago_s {
            _ if watching => "now".to_owned(),
            Some(seconds) => ago(seconds),
            None => "unknown".to_owned(),
        },
        if watching { viewer.watching.join(", ") } else { "no".to_owned() },
        match (viewer.expires_at, now) {
            (None, _) => "never".to_owned(),
            (Some(end), Some(now)) => format!("in {}", length(end.saturating_sub(now))),
            (Some(_), None) => "refused until the clock is set".to_owned(),
        },
        viewer.key.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::message::Role;

    const TODAY: u64 = 1_790_000_000;

    fn person(name: &str) -> Person {
        Person {
            key: "0101010101010101".into(),
            name: name.into(),
            role: Role::View,
            paired_at: Some(TODAY - 3 * 86_400),
            seen_ago_s: None,
            expires_at: None,
            watching: Vec::new(),
            whep: false,
        }
    }

    #[test]
    fn lifetimes_are_read_as_people_write_them() {
        for (text, seconds) in [("7d", 604_800), ("12h", 43_200), ("30m", 1800), ("2w", 1_209_600), ("1s", 1)]
        {
            assert_eq!(parse_lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "7", "-7d", "+7d", "7 d", "1.5h", "0d", "7D", "７d", "7dd", "é"] {
            let error = parse_lifetime(text).unwrap_err();
            assert!(error.contains("7d or 12h"), "{error}");
        }
        for text in ["36501d", "99999999999999999999d", "18446744073709551615w"] {
            assert!(parse_lifetime(text).unwrap_err().contains("hundred years"), "{text}");
        }
    }

    #[test]
    fn lengths_are_rounded_to_what_people_say() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (60, "1 minute"),
            (3600, "1 hour"),
            (7000, "116 minutes"),
            (86_400, "1 day"),
            (604_799, "6 days"),
            (604_800, "1 week"),
        ] {
            assert_eq!(length(seconds), text);
        }
    }

    #[test]
    fn the_table_stands_in_columns() {
        let anna =
            Person {
                seen_ago_s: Some(300), watching: vec!["front".into(), "back".into()], ..person("Änna")
            };
        let ben = Person {
            seen_ago_s: Some(300),
            expires_at: Some(TODAY + 172_800),
            whep: true,
            ..person("Ben the second")
        };
        let shown = table(&[anna, ben], Duration::from_secs(TODAY));
        let expected = "\
NAME            ROLE  BY    PAIRED      LAST SEEN      WATCHING     EXPIRES    KEY
Änna            view  key   3 days ago  now            front, back  never      0101010101010101
Ben the second  view  whep  3 days ago  5 minutes ago  no           in 2 days  0101010101010101
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_a_clock_no_time_is_made_up() {
        let shown = table(&[Person { expires_at: Some(TODAY), ..person("Anna") }], Duration::ZERO);
        assert!(shown.contains("unknown") && shown.contains("until the clock is set"), "{shown}");
    }
}
