//! Sets keys in the text of a configuration, with its comments and everything else kept as it stands. A sample behind a
//! `#` gives way to the key that it shows. Pure; values of one line alone. Not here: which keys (`plan`).

/// The lines of a table, without its header: from, up to but not with.
struct Range {
    from: usize,
    to: usize,
}

/// Sets `key` of a table (`None`: the top of the file) to `value`, a TOML value; `None` turns it into a comment.
pub(super) fn set(text: &str, table: Option<&str>, key: &str, value: Option<&str>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = value.map(|value| format!("{key} = {value}"));
    let range = find(&lines, table);
    let within = |range: &Range, wanted: fn(&str, &str) -> bool| {
        (range.from..range.to).find(|index| wanted(&lines[*index], key))
    };
    match (range, line) {
        (Some(range), Some(line)) => match within(&range, is_set).or_else(|| within(&range, is_sample)) {
            Some(index) => lines[index] = line,
            None => lines.insert(range.from, line),
        },
        (None, Some(line)) => {
            if lines.last().is_some_and(|last| !last.is_empty()) {
                lines.push(String::new());
            }
            lines.extend(table.map(|table| format!("[{table}]")));
            lines.push(line);
        }
        (Some(range), None) => {
            if let Some(index) = within(&range, is_set) {
                lines[index].insert_str(0, "# ");
            }
        }
        (None, None) => {}
    }
    lines.join("\n") + "\n"
}

/// Where a table's lines stand; `[name]` or the first `[[name]]`.
fn find(lines: &[String], table: Option<&str>) -> Option<Range> {
    let from = match table {
        None => 0,
        Some(table) => {
            let headers = [format!("[{table}]"), format!("[[{table}]]")];
            1 + lines.iter().position(|line| headers.iter().any(|header| starts(line, header)))?
        }
    };
    let length = lines[from..].iter().position(|line| line.trim_start().starts_with('['));
    Some(Range { from, to: length.map_or(lines.len(), |length| from + length) })
}

/// Whether a line is this header, with a comment perhaps.
fn starts(line: &str, header: &str) -> bool {
    let rest = line.trim().strip_prefix(header).map(str::trim_start);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

fn is_set(line: &str, key: &str) -> bool {
    line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}

fn is_sample(line: &str, key: &str) -> bool {
    line.trim_start().strip_prefix('#').is_some_and(|sample| is_set(sample, key))
}

/// A text as a TOML string of one line: all that JSON escapes, a basic string does in the same way (TOML 1.0, "String").
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# What viewers see.
# name = \"Front door\"

[camera]
# Where from.
# source = \"auto\"
fps = 30 # as it was

[broker] # signaling
url = \"mqtt://old\"
";

    #[test]
    fn a_key_takes_the_place_of_its_sample_or_of_its_old_value() {
        let text = set(SAMPLE, None, "name", Some("\"Garden\""));
        assert_eq!(text, SAMPLE.replace("# name = \"Front door\"", "name = \"Garden\""));
        let text = set(SAMPLE, Some("broker"), "url", Some("\"mqtts://new\""));
        assert_eq!(text, SAMPLE.replace("mqtt://old", "mqtts://new"));
        let text = set(SAMPLE, Some("camera"), "source", Some("\"csi\""));
        assert_eq!(text, SAMPLE.replace("# source = \"auto\"", "source = \"csi\""));
    }

    #[test]
    fn a_key_without_a_place_gets_one_in_its_own_table() {
        let text = set(SAMPLE, Some("broker"), "user", Some("\"a\""));
        assert_eq!(text, SAMPLE.replace("# signaling\n", "# signaling\nuser = \"a\"\n"));
        let text = set(SAMPLE, Some("web"), "listen", Some("\"1\""));
        assert_eq!(text, format!("{SAMPLE}\n[web]\nlisten = \"1\"\n"));
        assert_eq!(set("", Some("web"), "listen", Some("\"1\"")), "[web]\nlisten = \"1\"\n");
        assert_eq!(set("", None, "name", Some("\"x\"")), "name = \"x\"\n");
        let lists = "[[camera]]\nid = \"a\"\n";
        assert_eq!(
            set(lists, Some("camera"), "source", Some("\"b\"")),
            "[[camera]]\nsource = \"b\"\nid = \"a\"\n"
        );
    }

    #[test]
    fn a_key_that_is_taken_away_stays_to_be_read() {
        let text = set(SAMPLE, Some("broker"), "url", None);
        assert_eq!(text, SAMPLE.replace("url = ", "# url = "));
        assert_eq!(set(SAMPLE, Some("broker"), "user", None), SAMPLE);
        assert_eq!(set(SAMPLE, Some("web"), "listen", None), SAMPLE);
    }

    #[test]
    fn keys_of_other_tables_and_with_longer_names_are_not_touched() {
        let text = "[a]\nurl = 1\nurl_more = 2\n[b]\nurl = 3\n";
        assert_eq!(set(text, Some("b"), "url", Some("4")), text.replace('3', "4"));
        assert_eq!(set("url_more = 2\n", None, "url", Some("4")), "url = 4\nurl_more = 2\n");
    }

    #[test]
    fn texts_are_quoted_so_that_they_are_read_again() {
        for text in ["Anna's \"door\"", "back\\slash", "ü", "two\nlines"] {
            let read: toml::Table = toml::from_str(&format!("a = {}", quoted(text))).unwrap();
            assert_eq!(read["a"].as_str(), Some(text));
        }
        assert!(!quoted("plain").contains('\n'));
    }
}
