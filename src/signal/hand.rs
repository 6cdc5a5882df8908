//! Envelopes that people carry: written as text that survives mail and chat programs, and found again in whatever
//! surrounds it by then (docs/signaling.md, "By file or mail"). Pure. Not here: what is in the envelopes (`envelope`),
//! and what is done with them (`desk`).

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use thiserror::Error;

use super::envelope::{Envelope, MAX_ENVELOPE};

/// Bytes of a text that is searched, at most: an envelope has a fifth of it, and mails have letterheads.
pub const MAX_TEXT: usize = 256 * 1024;
/// Characters of a line. Mail breaks lines above 78 (RFC 5322, section 2.1.1), and a terminal takes no more than 4095 in
/// one that is pasted.
const LINE: usize = 72;
/// Envelopes that are looked at in one text: a reply, and what it quotes.
const MAX_FOUND: usize = 8;
/// Beginnings that are looked at in one text, so that a text of nothing else takes no time.
const MAX_TRIED: usize = 64;
const WORD: &str = "pinhole";
const VERSION: &str = "1";
/// Digits of a version.
const MAX_DIGITS: usize = 4;

/// Why a text holds no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoEnvelope {
    #[error("nothing in it begins with pinhole1: as an offer does; copy the whole text that the page shows")]
    Nothing,
    #[error(
        "the text is damaged or not whole: it goes from pinhole1: to the full stop at its end, and all between counts"
    )]
    Damaged,
    #[error("it was made by a later pinhole: update this one")]
    Version,
}

/// An envelope as text: `pinhole1:`, its base64 and a full stop, in lines. The alphabet is the one with `+` and `/`, for
/// chat programs take `_` and `*` for italics.
pub fn write(envelope: &[u8]) -> String {
    let whole = format!("{WORD}{VERSION}:{}.", STANDARD_NO_PAD.encode(envelope));
    let mut text = String::with_capacity(whole.len() + whole.len() / LINE + 1);
    for (at, character) in whole.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text
}

/// The envelopes in a text, in their order, at least one. What mail programs put between the characters (line breaks,
/// blanks, `>`) is left out.
///
/// # Errors
/// When there is none; if some were begun, what is wrong with the last of them.
pub fn find(text: &str) -> Result<Vec<(Bytes, Envelope)>, NoEnvelope> {
    let mut found = Vec::new();
    let mut wrong = NoEnvelope::Nothing;
    let begun = text.match_indices(WORD).filter_map(|(at, _)| versioned(&text[at + WORD.len()..]));
    for (version, rest) in begun.take(MAX_TRIED) {
        match decode(rest) {
            _ if version != VERSION => wrong = NoEnvelope::Version,
            Some(envelope) => found.push(envelope),
            None => wrong = NoEnvelope::Damaged,
        }
        if found.len() == MAX_FOUND {
            break;
        }
    }
    if found.is_empty() { Err(wrong) } else { Ok(found) }
}

/// The version after the word, and what follows; `None` where that is ordinary prose.
fn versioned(rest: &str) -> Option<(&str, &str)> {
    let digits = rest.bytes().take(MAX_DIGITS + 1).take_while(u8::is_ascii_digit).count();
    let (version, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(':')?;
    (1..=MAX_DIGITS).contains(&digits).then_some((version, rest))
}

fn decode(rest: &str) -> Option<(Bytes, Envelope)> {
    let end = rest.find('.')?;
    let mut base64 = String::new();
    for character in rest[..end].chars().filter(|character| !is_from_elsewhere(*character)) {
        if base64.len() > MAX_ENVELOPE / 3 * 4 + 4 {
            return None;
        }
        base64.push(character);
    }
    let bytes = Bytes::from(STANDARD_NO_PAD.decode(base64).ok()?);
    let envelope = Envelope::parse(&bytes).ok()?;
    Some((bytes, envelope))
}

/// What programs put in: blanks, quotation marks of mails, soft line breaks (RFC 2045, section 6.7), and marks without
/// width.
fn is_from_elsewhere(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '>' | '|' | '=' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{
        envelope::{Channel, End, SessionIds, ViewerKey},
        topic::{DeviceId, DeviceNonce, KeyId, SessionId},
    };

    fn envelope(body: &str) -> Bytes {
        let ids = SessionIds {
            device: DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap(),
            key: KeyId::from_bytes([1; 8]),
            session: SessionId::from_bytes([2; 16]),
            nonce: DeviceNonce::BY_HAND,
        };
        Channel::new(End::Viewer, ids, &ViewerKey::from_bytes([4; 32]))
            .seal("offer", body.as_bytes())
            .unwrap()
    }

    fn only(text: &str) -> Bytes {
        let found = find(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(found.len(), 1);
        found[0].0.clone()
    }

    #[test]
    fn what_is_written_is_found_again() {
        for length in 0..100 {
            let envelope = envelope(&"x".repeat(length));
            let text = write(&envelope);
            assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
            assert!(text.starts_with("pinhole1:") && text.ends_with('.') && !text.contains(['_', '*', '~']));
            assert_eq!(only(&text), envelope);
        }
        let largest = envelope(&"x".repeat(24_000));
        assert_eq!(only(&write(&largest)), largest);
    }

    #[test]
    fn what_mail_and_chat_programs_do_to_it_is_undone() {
        let envelope = envelope("{}");
        let text = write(&envelope);
        for changed in [
            text.replace('\n', "\r\n"),
            text.replace('\n', ""),
            text.replace('\n', "=\r\n"),
            text.replace('\n', "\n> > "),
            text.replace('\n', "\n\u{a0}| "),
            format!("\u{feff}Dear Ben,\nhere is my offer: {text} Thank you. Anna"),
            format!(
                "Run pinhole answer, it wants what begins with pinhole1: and so on.\n\n{text}\n-- \npinhole"
            ),
        ] {
            assert_eq!(only(&changed), envelope, "{changed}");
        }
    }

    #[test]
    fn a_reply_and_what_it_quotes_are_both_found() {
        let (answer, offer) = (envelope("answer"), envelope("offer"));
        let mail = format!(
            "{}\n\nOn Sunday Anna wrote:\n> {}\n",
            write(&answer),
            write(&offer).replace('\n', "\n> ")
        );
        let found: Vec<_> = find(&mail).unwrap().into_iter().map(|(bytes, _)| bytes).collect();
        assert_eq!(found, [answer, offer]);
        let many = format!("{}\n", write(&envelope("{}"))).repeat(100);
        assert_eq!(find(&many).unwrap().len(), MAX_FOUND);
    }

    #[test]
    fn what_is_missing_is_told() {
        let text = write(&envelope(&"x".repeat(300)));
        for nothing in ["", "hello", "pinhole answer: as the page says.", "Pinhole1:AAAA."] {
            assert_eq!(find(nothing), Err(NoEnvelope::Nothing), "{nothing}");
        }
        for at in 10..text.len() - 1 {
            assert_eq!(find(&text[..at]), Err(NoEnvelope::Damaged), "without its end");
            if text.as_bytes()[at] != b'\n' {
                // A gap in the ciphertext alone is the seal's to notice.
                let gap = format!("{}{}", &text[..at], &text[at + 1..]);
                assert!(find(&gap).is_err() || only(&gap) != envelope(&"x".repeat(300)));
            }
        }
        for later in ["2:", "10:", "9999:"] {
            assert_eq!(find(&text.replace("1:", later)), Err(NoEnvelope::Version));
        }
        assert_eq!(find(&text.replace("1:", "10000:")), Err(NoEnvelope::Nothing));
        let many = "pinhole1:".repeat(MAX_TRIED);
        assert_eq!(find(&format!("{many}{text}")), Err(NoEnvelope::Damaged), "enough was looked at");
        assert_eq!(find(&format!("pinhole1:{}.", "A".repeat(100_000))), Err(NoEnvelope::Damaged));
    }
}
