//! An answer with all its candidates, for viewers that take one text and no more: WHEP, and an exchange by hand. Pure.
//! Not here: how long to wait for the last candidate, which each user says.

use std::collections::BTreeSet;

use super::message::{Candidate, ToViewer};

/// Candidates that are gathered at most. A device has one for each address, and one or two for each server.
const MAX_CANDIDATES: usize = 128;

/// Gathers an answer and what comes after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whole {
    sdp: Option<String>,
    candidates: Vec<Candidate>,
    ended: bool,
}

impl Whole {
    /// Takes a message of the session; those that are no part of an answer are left alone. A new answer takes the
    /// place of one before it.
    pub fn take(&mut self, message: &ToViewer) {
        match message {
            ToViewer::Answer { sdp } => {
                *self = Self { sdp: Some(sdp.clone()), ..Self::default() };
            }
            ToViewer::Candidate(None) => self.ended = self.sdp.is_some(),
            ToViewer::Candidate(Some(candidate)) => {
                if self.sdp.is_some() && self.candidates.len() < MAX_CANDIDATES {
                    self.candidates.push(candidate.clone());
                }
            }
            ToViewer::Welcome(_) | ToViewer::Bye { .. } | ToViewer::Error { .. } | ToViewer::Notice(_) => {}
        }
    }

    /// Whether the answer came, and the end of its candidates.
    pub const fn is_complete(&self) -> bool {
        self.ended
    }

    /// The answer with the candidates so far, as the last word: each section that has a transport says that there are
    /// no more (RFC 8840, 8.2). `None` while there is no answer.
    pub fn sdp(&self) -> Option<String> {
        let sdp = self.sdp.as_deref()?;
        let (session, sections) = sections(sdp);
        let mut whole = String::with_capacity(sdp.len() + 128 * self.candidates.len());
        push_lines(&mut whole, session);
        for section in sections {
            let kept = section.lines().filter(|line| *line != END).collect::<Vec<_>>().join("\r\n");
            push_lines(&mut whole, &kept);
            if has_transport(section) {
                for line in self.candidate_lines(section) {
                    push_lines(&mut whole, &line);
                }
                push_lines(&mut whole, END);
            }
        }
        Some(whole)
    }

    /// What a section does not have yet. All sections share one transport (`a=group:BUNDLE`), so that each
    /// candidate is good for each.
    fn candidate_lines(&self, section: &str) -> BTreeSet<String> {
        let line = |candidate: &Candidate| format!("a={}", candidate.candidate.trim_start_matches("a="));
        let is_new = |line: &String| section.lines().all(|there| there != line);
        self.candidates.iter().map(line).filter(is_new).collect()
    }
}

const END: &str = "a=end-of-candidates";

/// The session's part, and the media sections.
fn sections(sdp: &str) -> (&str, Vec<&str>) {
    let starts: Vec<usize> = sdp
        .match_indices("m=")
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || sdp[..*at].ends_with('\n'))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([sdp.len()]);
    let sections = starts.iter().zip(ends).map(|(start, end)| &sdp[*start..end]).collect();
    (&sdp[..starts.first().copied().unwrap_or(sdp.len())], sections)
}

/// A section that is rejected has port 0, and no transport.
fn has_transport(section: &str) -> bool {
    let rejected = section.lines().next().and_then(|line| line.split(' ').nth(1)) == Some("0");
    !rejected && section.lines().any(|line| line.starts_with("a=ice-ufrag:"))
}

fn push_lines(sdp: &mut String, lines: &str) {
    for line in lines.lines().filter(|line| !line.is_empty()) {
        sdp.push_str(line);
        sdp.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 1\r\n\
        m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:0123456789012345678901\r\na=candidate:1 1 udp 9 192.0.2.1 1000 typ host\r\n";

    fn answer() -> ToViewer {
        ToViewer::Answer { sdp: ANSWER.to_owned() }
    }

    fn candidate(number: u16) -> ToViewer {
        ToViewer::Candidate(Some(Candidate {
            candidate: format!("candidate:{number} 1 udp 9 192.0.2.{number} 1000 typ host"),
            sdp_mid: Some("1".to_owned()),
            sdp_m_line_index: Some(1),
        }))
    }

    fn whole(messages: &[ToViewer]) -> Whole {
        let mut whole = Whole::default();
        messages.iter().for_each(|message| whole.take(message));
        whole
    }

    #[test]
    fn an_answer_is_whole_when_its_candidates_have_ended() {
        let mut whole = whole(&[answer(), candidate(2)]);
        assert!(!whole.is_complete());
        whole.take(&ToViewer::Candidate(None));
        assert!(whole.is_complete());
        let expected =
            format!("{ANSWER}a=candidate:2 1 udp 9 192.0.2.2 1000 typ host\r\na=end-of-candidates\r\n");
        assert_eq!(whole.sdp(), Some(expected));
    }

    #[test]
    fn what_is_in_the_answer_already_is_not_said_twice() {
        let sdp =
            whole(&[answer(), candidate(1), candidate(2), candidate(2), ToViewer::Candidate(None)]).sdp();
        let sdp = sdp.unwrap();
        assert_eq!(sdp.matches("a=candidate:1 ").count(), 1, "{sdp}");
        assert_eq!(sdp.matches("a=candidate:2 ").count(), 1, "{sdp}");
        let ended = ToViewer::Answer { sdp: sdp.clone() };
        assert_eq!(whole(&[ended]).sdp(), Some(sdp));
    }

    #[test]
    fn a_late_candidate_is_left_out_and_the_answer_still_ends() {
        let whole = whole(&[answer()]);
        assert!(!whole.is_complete());
        assert_eq!(whole.sdp(), Some(format!("{ANSWER}a=end-of-candidates\r\n")));
    }

    #[test]
    fn candidates_go_into_each_section_with_a_transport_and_no_other() {
        let bundled = ANSWER.replace(
            "m=audio 0 UDP/TLS/RTP/SAVPF 111\r\n",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\n",
        );
        let end = ToViewer::Candidate(None);
        let sdp = whole(&[ToViewer::Answer { sdp: bundled }, candidate(2), end]).sdp().unwrap();
        assert_eq!(sdp.matches("a=candidate:2 ").count(), 2, "{sdp}");
        assert_eq!(sdp.matches("a=end-of-candidates").count(), 2, "{sdp}");
    }

    #[test]
    fn a_second_answer_begins_anew() {
        let whole = whole(&[candidate(3), answer(), candidate(2), ToViewer::Candidate(None), answer()]);
        assert!(!whole.is_complete());
        assert_eq!(whole.sdp(), Some(format!("{ANSWER}a=end-of-candidates\r\n")));
        assert_eq!(Whole::default().sdp(), None);
    }

    #[test]
    fn a_flood_of_candidates_is_bounded() {
        let mut whole = whole(&[answer()]);
        (0..1000).for_each(|number| whole.take(&candidate(number)));
        assert_eq!(whole.candidates.len(), MAX_CANDIDATES);
    }
}
