//! `pinhole answer`: hands an offer that came by mail or as a file to the running agent, and writes what it answers. Not
//! here: what is done with it (`signal::exchange`), and what the text looks like (`signal::hand`).

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{CommandError, Stdout, files::replace};
use crate::{
    control::{
        client::ask,
        message::{Reply, Request},
        show,
    },
    links::Output,
    signal::{
        exchange::Carried,
        hand::{self, MAX_TEXT, NoEnvelope},
    },
};

/// Reads the offer, has it answered, and writes the answer.
pub(super) fn run(
    sockets: &[PathBuf],
    offer: &Path,
    file: &Path,
    wait: Duration,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    let text = read(offer).map_err(|error| {
        refused(format!("cannot read {}: {error}; name another file with --offer", called(offer)))
    })?;
    let envelope =
        envelope(&text).map_err(|error| refused(format!("{} holds no offer: {error}", called(offer))))?;
    let (what, name, text) = match ask(sockets, &Request::Answer { envelope, wait_s: wait.as_secs() })? {
        Reply::Answer { what, name, text } => (what, name, text),
        other => return Err(CommandError::unexpected(other)),
    };
    let whole = format!("{text}\n");
    if file == Path::new("-") {
        out.print(&whole)?;
    } else {
        replace(file, whole.as_bytes()).map_err(|error| {
            refused(format!("cannot write {}: {error}; give --out another name", file.display()))
        })?;
    }
    eprintln!("{}", note(what, &name, wait, file, out.kind()));
    Ok(())
}

fn refused(message: String) -> CommandError {
    CommandError::Refused(message)
}

fn called(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn read(file: &Path) -> io::Result<String> {
    if file != Path::new("-") {
        return whole(File::open(file)?);
    }
    let stdin = io::stdin().lock();
    if !stdin.is_terminal() {
        return whole(stdin);
    }
    eprintln!("Paste the offer here, and press Enter.");
    pasted(stdin)
}

fn whole(reader: impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    reader.take(MAX_TEXT as u64).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads until an offer is whole: who pastes one into a terminal need not say that it has ended.
fn pasted(reader: impl BufRead) -> io::Result<String> {
    let mut text = Vec::new();
    let mut reader = reader.take(MAX_TEXT as u64);
    while reader.read_until(b'\n', &mut text)? > 0 {
        // The text ends with a full stop; it need not be searched before.
        if text.trim_ascii_end().ends_with(b".") && hand::find(&String::from_utf8_lossy(&text)).is_ok() {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first that a viewer made; else any, so that the agent says what is wrong with it.
fn envelope(text: &str) -> Result<String, NoEnvelope> {
    let found = hand::find(text)?;
    let offers = |kind: &str| kind == "offer" || kind == "pair1";
    let chosen = found.iter().find(|(_, envelope)| offers(&envelope.kind)).or(found.first());
    let (bytes, _) = chosen.ok_or(NoEnvelope::Nothing)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// What to do with the answer.
fn note(what: Carried, name: &str, wait: Duration, file: &Path, output: Output) -> String {
    let answer = match (file == Path::new("-"), output) {
        (false, _) => format!("the file {}", file.display()),
        (true, Output::Terminal) => "all of the text above".to_owned(),
        (true, Output::Plain) => "what was written".to_owned(),
    };
    match what {
        Carried::Answer => format!(
            "Send {answer} back to {name}, to be put into the page that made the offer, which must have stayed open. pinhole waits {} for it to connect.",
            show::length(wait.as_secs())
        ),
        Carried::Pairing => format!(
            "Send {answer} back to {name}, to be put into the page. It is paired by it and makes an offer next: give that to pinhole answer, too."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: &str) -> String {
        hand::write(
            format!(
                r#"{{"v":1,"t":"{kind}","k":"0101010101010101","s":"{0}","nd":"{0}","n":0,"c":"AA"}}"#,
                "0".repeat(32)
            )
            .as_bytes(),
        )
    }

    #[test]
    fn reading_ends_with_the_offer_and_not_before() {
        let pasted = format!("Hello.\n{}\nmore", text("offer"));
        let read = super::pasted(pasted.as_bytes()).unwrap();
        assert_eq!(read, format!("Hello.\n{}\n", text("offer")));
        assert_eq!(super::pasted(&b"no offer.\nat all"[..]).unwrap(), "no offer.\nat all");
        assert_eq!(whole(io::repeat(b'x')).unwrap().len(), MAX_TEXT);
    }

    #[test]
    fn an_offer_is_chosen_among_what_a_mail_quotes() {
        let mail = format!("{}\n> {}", text("answer"), text("offer"));
        assert!(envelope(&mail).unwrap().contains(r#""t":"offer""#));
        assert!(envelope(&text("answer")).unwrap().contains(r#""t":"answer""#));
        assert_eq!(envelope("pinhole"), Err(NoEnvelope::Nothing));
    }

    #[test]
    fn the_note_names_the_viewer_and_the_time() {
        let file = Path::new("a.txt");
        let said = note(Carried::Answer, "Anna", Duration::from_secs(900), file, Output::Plain);
        assert!(said.contains("the file a.txt back to Anna") && said.contains("waits 15 minutes"), "{said}");
    }
}
