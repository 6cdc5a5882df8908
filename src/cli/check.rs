//! `pinhole check`: shows what the doctor finds, as it finds it. Not here: the looking (`crate::check`).

use super::{CommandError, Stdout, table::wrapped};
use crate::{
    check::{self, Finding, Outcome},
    cli::RunArgs,
    links::Output,
};

/// Before the text: the outcome and the part.
const OUTCOME: usize = 9;
const PART: usize = 15;

/// Looks, and shows it; it fails when something is bad.
pub(super) fn run(
    args: &RunArgs,
    camera: Option<&str>,
    json: bool,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    let (mut findings, mut shown) = (Vec::new(), Ok(()));
    let kind = out.kind();
    check::run(args, camera, |finding| {
        if !json && shown.is_ok() {
            shown = out.print(&text(&finding, kind));
        }
        findings.push(finding);
    });
    shown?;
    if json {
        out.print_json(&findings)?;
    }
    match findings.iter().filter(|finding| finding.outcome == Outcome::Bad).count() {
        0 => Ok(()),
        bad => Err(CommandError::Bad(bad)),
    }
}

fn text(finding: &Finding, output: Output) -> String {
    let (word, colour) = match finding.outcome {
        Outcome::Ok => ("ok", "32"),
        Outcome::Warning => ("warning", "33"),
        Outcome::Bad => ("bad", "31"),
    };
    let word = format!("{word:OUTCOME$}");
    // SGR: colours (ECMA-48, 8.3.117).
    let word = match output {
        Output::Terminal => format!("\x1b[{colour}m{word}\x1b[0m"),
        Output::Plain => word,
    };
    let mut text = format!("{word}{:PART$} ", finding.part);
    let indent = OUTCOME + PART + 1;
    // A part with a long name takes a line of its own.
    if finding.part.chars().count() > PART {
        text.truncate(text.trim_end().len());
        text.push_str(&format!("\n{:indent$}", ""));
    }
    text.push_str(&wrapped(&finding.said, indent, indent));
    if let Some(remedy) = &finding.remedy {
        text.push_str(&format!("{:indent$}{}", "", wrapped(&format!("-> {remedy}"), indent, indent)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(part: &str, outcome: Outcome) -> Finding {
        Finding {
            part: part.into(),
            outcome,
            said: "/dev/video0 gives 1280x720 at 10.0 frames per second, and not at 30 as it says".into(),
            remedy: Some("give it more light, or a smaller --size".into()),
        }
    }

    #[test]
    fn it_stands_in_columns_of_eighty_characters() {
        let shown = text(&finding("camera cam0", Outcome::Warning), Output::Plain);
        let expected = "\
warning  camera cam0     /dev/video0 gives 1280x720 at 10.0 frames per second,
                         and not at 30 as it says
                         -> give it more light, or a smaller --size
";
        assert_eq!(shown, expected);
        let long = text(&finding("camera at-the-front-door", Outcome::Bad), Output::Plain);
        assert!(
            long.starts_with("bad      camera at-the-front-door\n                         /dev/video0"),
            "{long}"
        );
        assert!(long.lines().all(|line| line.chars().count() <= super::super::table::WIDTH), "{long}");
    }

    #[test]
    fn there_are_colours_on_a_terminal_alone() {
        assert!(
            text(&finding("camera", Outcome::Bad), Output::Terminal).starts_with("\x1b[31mbad      \x1b[0m")
        );
        assert!(!text(&finding("camera", Outcome::Bad), Output::Plain).contains('\x1b'));
    }
}
