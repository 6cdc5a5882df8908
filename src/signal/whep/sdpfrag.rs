//! `application/trickle-ice-sdpfrag` (RFC 8840, 9): reads what a client sends, makes of it and of the client's offer the
//! offer of an ICE restart, and writes the agent's answer to that. Pure.

use std::fmt::Write as _;

use crate::peer::sdp::{Offer, ice_credentials};

/// Bytes of a fragment at most.
pub const MAX_FRAGMENT: usize = 16 * 1024;
const MAX_SECTIONS: usize = 32;
/// Candidates taken from one fragment; each makes the ICE agent send checks.
const MAX_CANDIDATES: usize = 32;
/// Bytes of a candidate at most; the longest that browsers write are below 300.
const MAX_CANDIDATE: usize = 1024;

/// What is wrong with a fragment. Goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("the fragment is longer than {MAX_FRAGMENT} bytes")]
    TooLarge,
    #[error("the fragment is not UTF-8")]
    NotText,
    #[error("a line of the fragment is not of the form x=value")]
    Line,
    #[error("the fragment has an ice-ufrag or an ice-pwd that is not of its form (RFC 8839, section 5.4)")]
    Credentials,
    #[error("the fragment has different ICE credentials; all media must use one transport")]
    SeveralCredentials,
    #[error("the fragment has an ice-ufrag without an ice-pwd")]
    NoPassword,
    #[error("the fragment has a candidate of more than {MAX_CANDIDATE} bytes")]
    Candidate,
    #[error("the fragment has more than {MAX_SECTIONS} sections")]
    Sections,
}

/// A fragment that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The user name fragment and the password of the client's ICE session.
    pub credentials: Option<(String, String)>,
    /// Each with the `mid` of its section, where it has one; with `candidate:`.
    pub candidates: Vec<(Option<String>, String)>,
    /// No more will come.
    pub ended: bool,
}

impl Fragment {
    /// # Errors
    /// See [`FragmentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FragmentError> {
        if bytes.len() > MAX_FRAGMENT {
            return Err(FragmentError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FragmentError::NotText)?;
        let mut reader = Reader::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if line.as_bytes().get(1) != Some(&b'=') || line.chars().any(char::is_control) {
                return Err(FragmentError::Line);
            }
            reader.line(line)?;
        }
        reader.finish()
    }

    /// Whether it is of another ICE session than that of `offer`: a restart.
    pub fn restarts(&self, offer: &str) -> bool {
        let now = ice_credentials(offer);
        self.credentials
            .as_ref()
            .is_some_and(|(ufrag, _)| Some(ufrag.as_str()) != now.map(|(ufrag, _)| ufrag))
    }

    /// Whether it says that it is of the ICE session of `offer`.
    pub fn continues(&self, offer: &str) -> bool {
        let new = self.credentials.as_ref().map(|(ufrag, password)| (ufrag.as_str(), password.as_str()));
        new.is_some() && new == ice_credentials(offer)
    }

    /// The candidates that are for the transport of the video of `offer`.
    pub fn candidates_for(&self, offer: &str) -> Vec<String> {
        let Ok(offer) = Offer::parse(offer) else { return Vec::new() };
        let ours = |mid: &Option<String>| mid.as_ref().is_none_or(|mid| offer.is_transport_of_video(mid));
        self.candidates.iter().filter(|(mid, _)| ours(mid)).map(|(_, line)| line.clone()).collect()
    }

    /// `offer` with this fragment's ICE session in the place of its own.
    pub fn restarted(&self, offer: &str) -> Option<String> {
        let (ufrag, password) = self.credentials.as_ref()?;
        let candidates = self.candidates_for(offer);
        let mut sdp = String::with_capacity(offer.len() + 256);
        let mut push = |line: &str| {
            sdp.push_str(line);
            sdp.push_str("\r\n");
        };
        for line in offer.lines() {
            if line.starts_with("a=ice-ufrag:") {
                push(&format!("a=ice-ufrag:{ufrag}"));
                // Beside the credentials, in the session's part or in a section's, is where they are found with them.
                candidates.iter().for_each(|candidate| push(&format!("a={candidate}")));
            } else if line.starts_with("a=ice-pwd:") {
                push(&format!("a=ice-pwd:{password}"));
            } else if !line.starts_with("a=candidate:") && line != "a=end-of-candidates" {
                push(line);
            }
        }
        Some(sdp)
    }
}

#[derive(Debug, Default)]
struct Reader {
    fragment: Fragment,
    ufrag: Option<String>,
    password: Option<String>,
    sections: usize,
    mid: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), FragmentError> {
        if line.starts_with("m=") {
            self.sections += 1;
            self.mid = None;
            return if self.sections > MAX_SECTIONS { Err(FragmentError::Sections) } else { Ok(()) };
        }
        let Some(attribute) = line.strip_prefix("a=") else { return Ok(()) };
        if let Some(mid) = attribute.strip_prefix("mid:") {
            self.mid = Some(mid.to_owned());
        } else if let Some(ufrag) = attribute.strip_prefix("ice-ufrag:") {
            only(&mut self.ufrag, ufrag, 4)?;
        } else if let Some(password) = attribute.strip_prefix("ice-pwd:") {
            only(&mut self.password, password, 22)?;
        } else if attribute == "end-of-candidates" {
            self.fragment.ended = true;
        } else if attribute.starts_with("candidate:") {
            if attribute.len() > MAX_CANDIDATE {
                return Err(FragmentError::Candidate);
            }
            if self.fragment.candidates.len() < MAX_CANDIDATES {
                self.fragment.candidates.push((self.mid.clone(), attribute.to_owned()));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Fragment, FragmentError> {
        let credentials = match (self.ufrag, self.password) {
            (Some(ufrag), Some(password)) => Some((ufrag, password)),
            (Some(_), None) => return Err(FragmentError::NoPassword),
            (None, _) => None,
        };
        Ok(Fragment { credentials, ..self.fragment })
    }
}

/// One value, of the form of ICE credentials (RFC 8839, 5.4), however often it is said.
fn only(known: &mut Option<String>, value: &str, shortest: usize) -> Result<(), FragmentError> {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if !(shortest..=256).contains(&value.len()) || !value.bytes().all(is_ice_char) {
        return Err(FragmentError::Credentials);
    }
    match known {
        Some(known) if known != value => Err(FragmentError::SeveralCredentials),
        Some(_) => Ok(()),
        None => {
            *known = Some(value.to_owned());
            Ok(())
        }
    }
}

/// The agent's part of an ICE restart, from its whole answer: credentials, and the candidates of its video section.
pub fn write(answer: &str) -> Option<String> {
    let (ufrag, password) = ice_credentials(answer)?;
    let mut fragment = String::with_capacity(512);
    let mut push = |line: std::fmt::Arguments| {
        let _ = write!(fragment, "{line}\r\n");
    };
    for line in answer.lines().filter(|line| line.starts_with("a=group:BUNDLE") || *line == "a=ice-lite") {
        push(format_args!("{line}"));
    }
    push(format_args!("a=ice-ufrag:{ufrag}"));
    push(format_args!("a=ice-pwd:{password}"));
    let mut lines = answer.lines().skip_while(|line| !line.starts_with("m=video"));
    push(format_args!("{}", lines.next()?));
    for line in lines.take_while(|line| !line.starts_with("m=")) {
        if ["a=mid:", "a=candidate:", "a=end-of-candidates"].iter().any(|start| line.starts_with(start)) {
            push(format_args!("{line}"));
        }
    }
    Some(fragment)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENT: &str = "a=group:BUNDLE 0 1\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
        m=video 9 RTP/AVP 0\r\na=mid:1\r\na=candidate:3 1 udp 99 192.0.2.9 9 typ host\r\na=end-of-candidates\r\n";

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=setup:actpass\r\na=recvonly\r\na=candidate:9 1 udp 99 192.0.2.7 9 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=setup:actpass\r\na=recvonly\r\na=rtpmap:102 H264/90000\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:2\r\na=ice-ufrag:zzzz\r\na=ice-pwd:0123456789012345678901\r\n\
        a=setup:actpass\r\na=inactive\r\n";

    fn credentials(ufrag: &str, password: &str) -> Fragment {
        Fragment { credentials: Some((ufrag.to_owned(), password.to_owned())), ..Fragment::default() }
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let fragment = Fragment::parse(FRAGMENT.as_bytes()).unwrap();
        assert_eq!(fragment.credentials, Some(("EsAw".into(), "P2uYro0UCOQ4zxjKXaWCBui1".into())));
        let mids: Vec<_> = fragment.candidates.iter().map(|(mid, _)| mid.as_deref()).collect();
        assert_eq!(mids, [Some("0"), Some("1")]);
        assert!(fragment.candidates[0].1.starts_with("candidate:1387637174 1 udp"));
        assert!(fragment.ended);
        assert_eq!(Fragment::parse(FRAGMENT.replace("\r\n", "\n").as_bytes()), Ok(fragment));
    }

    #[test]
    fn what_is_missing_or_unknown_is_left_out() {
        let fragment =
            Fragment::parse(b"a=ice-options:trickle\r\nc=IN IP4 0.0.0.0\r\na=candidate:1 1 udp 1 a 1\r\n");
        let candidates = vec![(None, "candidate:1 1 udp 1 a 1".to_owned())];
        assert_eq!(fragment, Ok(Fragment { candidates, ..Fragment::default() }));
        assert_eq!(Fragment::parse(b""), Ok(Fragment::default()));
        assert_eq!(
            Fragment::parse(b"a=end-of-candidates"),
            Ok(Fragment { ended: true, ..Fragment::default() })
        );
    }

    #[test]
    fn what_is_wrong_is_refused_by_its_reason() {
        let long = format!("a=candidate:{}", "1".repeat(MAX_CANDIDATE));
        let many = "m=audio 9 RTP/AVP 0\r\n".repeat(MAX_SECTIONS + 1);
        for (text, error) in [
            ("v", FragmentError::Line),
            ("a=mid:0\u{7}", FragmentError::Line),
            ("ice-ufrag:abcd", FragmentError::Line),
            ("a=ice-ufrag:abc", FragmentError::Credentials),
            ("a=ice-ufrag:ab d", FragmentError::Credentials),
            ("a=ice-ufrag:abcd\na=ice-pwd:short", FragmentError::Credentials),
            ("a=ice-ufrag:abcd", FragmentError::NoPassword),
            ("a=ice-ufrag:abcd\na=ice-ufrag:abce", FragmentError::SeveralCredentials),
            (&long, FragmentError::Candidate),
            (&many, FragmentError::Sections),
        ] {
            assert_eq!(Fragment::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(Fragment::parse(&[b'a', b'=', 0xff]), Err(FragmentError::NotText));
        assert_eq!(Fragment::parse(&vec![b'\n'; MAX_FRAGMENT + 1]), Err(FragmentError::TooLarge));
    }

    #[test]
    fn a_flood_of_candidates_is_bounded() {
        let text = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n".repeat(200);
        assert_eq!(Fragment::parse(text.as_bytes()).unwrap().candidates.len(), MAX_CANDIDATES);
    }

    #[test]
    fn another_user_name_is_a_restart_and_the_same_is_not() {
        let same = credentials("abcd", "0123456789012345678901");
        assert!(same.continues(OFFER) && !same.restarts(OFFER));
        let new = credentials("efgh", "0123456789012345678901");
        assert!(!new.continues(OFFER) && new.restarts(OFFER));
        let forged = credentials("abcd", "9999999999999999999999");
        assert!(!forged.continues(OFFER) && !forged.restarts(OFFER));
        let silent = Fragment::default();
        assert!(!silent.continues(OFFER) && !silent.restarts(OFFER));
    }

    #[test]
    fn candidates_of_the_bundle_and_of_no_section_are_for_the_video_and_others_are_not() {
        let text = "a=candidate:0 none\nm=audio 9 X 0\na=mid:0\na=candidate:1 first\nm=video 9 X 0\na=mid:1\n\
            a=candidate:2 video\nm=video 9 X 0\na=mid:2\na=candidate:3 other\n";
        let fragment = Fragment::parse(text.as_bytes()).unwrap();
        assert_eq!(
            fragment.candidates_for(OFFER),
            ["candidate:0 none", "candidate:1 first", "candidate:2 video"]
        );
    }

    #[test]
    fn a_restart_is_the_offer_with_another_ice_session() {
        let fragment = Fragment {
            candidates: vec![(Some("1".into()), "candidate:5 1 udp 99 192.0.2.8 9 typ host".into())],
            ..credentials("efgh", "abcdefghijklmnopqrstuv")
        };
        let sdp = fragment.restarted(OFFER).unwrap();
        assert!(!sdp.contains("abcd\r\n") && !sdp.contains("192.0.2.7") && !sdp.contains("zzzz"), "{sdp}");
        assert!(fragment.continues(&sdp), "{sdp}");
        let narrowed = Offer::parse(&sdp).unwrap();
        assert_eq!(narrowed.mid(), "1");
        let format = narrowed.formats()[0].clone();
        assert!(narrowed.narrowed(&format).contains("a=candidate:5 1 udp 99 192.0.2.8"), "{sdp}");
        assert_eq!(Fragment::default().restarted(OFFER), None);
    }

    #[test]
    fn the_answer_to_a_restart_has_credentials_and_the_candidates_of_the_video() {
        let answer = OFFER.replace(
            "a=mid:1\r\n",
            "a=mid:1\r\na=candidate:1 1 udp 9 192.0.2.1 1000 typ host\r\na=end-of-candidates\r\n",
        );
        let expected = "a=group:BUNDLE 0 1\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\na=candidate:1 1 udp 9 192.0.2.1 1000 typ host\r\n\
            a=end-of-candidates\r\n";
        assert_eq!(write(&answer).as_deref(), Some(expected));
        assert_eq!(write("v=0\r\n"), None);
    }
}
