//! Text in columns, and in lines of eighty. Pure.

/// Rows, each cell as wide as the widest of its column, two blanks between; nothing at the ends of lines.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Columns of a terminal as all of them have.
pub(super) const WIDTH: usize = 80;

/// A text with its end of line, where the first line already has `begun` columns, and the others begin with `indent`
/// blanks.
pub(super) fn wrapped(text: &str, begun: usize, indent: usize) -> String {
    let (mut lines, mut column) = (String::new(), begun);
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            lines.push_str(&format!("\n{:indent$}", ""));
            column = indent;
        } else if index > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_the_eightieth_column() {
        let words = ["word"; 20].join(" ");
        let text = wrapped(&words, 10, 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], ["word"; 14].join(" "));
        assert_eq!(lines[1], format!("    {}", ["word"; 6].join(" ")));
        assert_eq!(wrapped("one", 79, 4), "one\n", "a first word is not moved");
    }

    #[test]
    fn cells_stand_under_each_other() {
        let rows = [vec!["NAME", "VALUE"], vec!["ä", "1"], vec!["long one"], vec!["b", ""]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(columns(&rows), "NAME      VALUE\nä         1\nlong one\nb\n");
    }
}
