//! What the agent reads from an offer and writes into an answer (SDP, RFC 8866 and 9429). A viewer's offer is cut
//! down to the one video section and the one codec that we will send, so that the WebRTC crate sees nothing else;
//! the other sections are put back into its answer, rejected. Pure.

use std::fmt::Write as _;

use super::codec::{H264Format, Packetization};

/// Bytes; the envelope that carries an offer is no larger.
pub const MAX_OFFER_LEN: usize = 32 * 1024;
const MAX_SECTIONS: usize = 32;
/// Candidates taken from one offer; each makes the ICE agent send checks.
const MAX_CANDIDATES: usize = 32;

/// The header extension that says how a picture must be turned.
pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";

/// What is wrong with an offer. Goes to the viewer, and says nothing about us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    #[error("the offer has {0} bytes; at most {MAX_OFFER_LEN} are taken")]
    TooLarge(usize),
    #[error("the offer is not SDP: {0}")]
    Malformed(&'static str),
    #[error("the offer has {0} different sha-256 fingerprints; it must have exactly one")]
    Fingerprints(usize),
    #[error("the offer has no video section that wants to receive; add a recvonly video transceiver")]
    NoVideo,
}

/// A viewer's offer, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    session: Vec<String>,
    sections: Vec<Section>,
    video: usize,
    /// The value of the one `a=fingerprint`.
    fingerprint: String,
    formats: Vec<H264Format>,
    /// Candidates taken.
    most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    kind: String,
    port: String,
    protocol: String,
    formats: Vec<String>,
    lines: Vec<String>,
}

impl Offer {
    /// # Errors
    /// See [`SdpError`].
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_OFFER_LEN {
            return Err(SdpError::TooLarge(text.len()));
        }
        let (session, sections) = split(text)?;
        let fingerprint = only_fingerprint(&session, &sections)?;
        let video =
            sections.iter().position(|section| section.wants_video(&session)).ok_or(SdpError::NoVideo)?;
        let formats = sections[video].h264_formats();
        let offer = Self { session, sections, video, fingerprint, formats, most: MAX_CANDIDATES };
        for needed in ["ice-ufrag", "ice-pwd", "setup"] {
            offer.transport(needed).ok_or(SdpError::Malformed("no ICE credentials or DTLS role"))?;
        }
        Ok(offer)
    }

    /// The same with at most so many of its candidates.
    pub fn with_candidates(self, most: usize) -> Self {
        Self { most: most.min(MAX_CANDIDATES), ..self }
    }

    /// The H.264 formats of the video section, in the viewer's order.
    pub fn formats(&self) -> &[H264Format] {
        &self.formats
    }

    /// The video section's `mid`.
    pub fn mid(&self) -> &str {
        self.sections[self.video].attribute("mid").unwrap_or_default()
    }

    /// Whether candidates of the section `mid` are for the transport that the video uses: its own, or that of the first
    /// section of its bundle, where browsers put them (RFC 8843, 7.1.1).
    pub fn is_transport_of_video(&self, mid: &str) -> bool {
        let of_carrier = || {
            attributes(&self.session, "group")
                .filter_map(|group| group.strip_prefix("BUNDLE "))
                .find(|mids| mids.split(' ').any(|mid| mid == self.mid()))
                .and_then(|bundle| bundle.split(' ').next())
        };
        mid == self.mid() || of_carrier() == Some(mid)
    }

    /// The id of the video-orientation header extension (RFC 8285, section 5), if the viewer takes it.
    pub fn orientation_id(&self) -> Option<u8> {
        self.sections[self.video].attributes("extmap").find_map(|value| {
            let (id, uri) = value.split_once(' ')?;
            let (id, direction) = id.split_once('/').unwrap_or((id, "sendrecv"));
            let named = uri.split(' ').next() == Some(VIDEO_ORIENTATION);
            let taken = matches!(direction, "sendrecv" | "recvonly");
            // The one-byte form has room for these.
            id.parse().ok().filter(|id| named && taken && (1..=14).contains(id))
        })
    }

    /// The video section's place among all.
    pub fn index(&self) -> u16 {
        self.video as u16
    }

    /// The offer as the WebRTC crate gets it: one video section, one codec with its retransmissions.
    pub fn narrowed(&self, format: &H264Format) -> String {
        let section = &self.sections[self.video];
        let mut sdp = String::with_capacity(1024);
        for line in &self.session {
            let kept =
                ["v=", "o=", "s=", "t=", "c=", "a=msid-semantic", "a=ice-lite", "a=extmap-allow-mixed"];
            if kept.iter().any(|start| line.starts_with(start)) {
                line_to(&mut sdp, format_args!("{line}"));
            }
        }
        let mid = self.mid();
        line_to(&mut sdp, format_args!("a=group:BUNDLE {mid}"));
        let payload_type = format.payload_type;
        let rtx = format.rtx.map(|rtx| format!(" {rtx}")).unwrap_or_default();
        line_to(&mut sdp, format_args!("m=video 9 {} {payload_type}{rtx}", section.protocol));
        line_to(&mut sdp, format_args!("c=IN IP4 0.0.0.0"));
        line_to(&mut sdp, format_args!("a=mid:{mid}"));
        for name in ["ice-ufrag", "ice-pwd", "ice-options", "setup"] {
            if let Some(value) = self.transport(name) {
                line_to(&mut sdp, format_args!("a={name}:{value}"));
            }
        }
        line_to(&mut sdp, format_args!("a=fingerprint:sha-256 {}", self.fingerprint));
        for line in ["a=recvonly", "a=rtcp-mux", "a=rtcp-rsize"] {
            line_to(&mut sdp, format_args!("{line}"));
        }
        if let Some(id) = self.orientation_id() {
            line_to(&mut sdp, format_args!("a=extmap:{id} {VIDEO_ORIENTATION}"));
        }
        line_to(&mut sdp, format_args!("a=rtpmap:{payload_type} H264/90000"));
        line_to(&mut sdp, format_args!("a=fmtp:{payload_type} {}", format.parameters));
        for feedback in &format.feedback {
            line_to(&mut sdp, format_args!("a=rtcp-fb:{payload_type} {feedback}"));
        }
        if let Some(rtx) = format.rtx {
            line_to(&mut sdp, format_args!("a=rtpmap:{rtx} rtx/90000"));
            line_to(&mut sdp, format_args!("a=fmtp:{rtx} apt={payload_type}"));
        }
        for candidate in self.candidates() {
            line_to(&mut sdp, format_args!("a=candidate:{candidate}"));
        }
        sdp
    }

    /// The crate's answer to [`Self::narrowed`] as the viewer gets it: each section of its offer answered in
    /// its place, all but the video rejected, or inactive where the video has its transport from it.
    ///
    /// # Errors
    /// [`SdpError::Malformed`], when the answer has not exactly one section.
    pub fn complete(&self, answer: &str) -> Result<String, SdpError> {
        let (session, answered) = split(answer)?;
        let [video] = answered.as_slice() else {
            return Err(SdpError::Malformed("the answer must have one section"));
        };
        let mut sdp = String::with_capacity(answer.len() + 512);
        let carrier = self.carrier();
        for line in &session {
            match carrier.and_then(|carrier| self.sections[carrier].attribute("mid")) {
                Some(mid) if line.starts_with("a=group:BUNDLE") => {
                    line_to(&mut sdp, format_args!("a=group:BUNDLE {mid} {}", self.mid()));
                }
                _ => line_to(&mut sdp, format_args!("{line}")),
            }
        }
        for (index, section) in self.sections.iter().enumerate() {
            if index == self.video {
                video.write(&mut sdp);
            } else if Some(index) == carrier {
                section.write_inactive(&mut sdp, video);
            } else {
                section.write_rejected(&mut sdp);
            }
        }
        Ok(sdp)
    }

    /// The section whose transport the video section uses, when the viewer gathers for one alone: the first of
    /// the bundle (RFC 8843, 7.1.1; the policy `max-bundle`). It must not be rejected, or Chromium takes no answer
    /// to the video either.
    fn carrier(&self) -> Option<usize> {
        let video = &self.sections[self.video];
        let bundle = attributes(&self.session, "group")
            .filter_map(|group| group.strip_prefix("BUNDLE "))
            .find(|mids| mids.split(' ').any(|mid| mid == self.mid()))?;
        let first = bundle.split(' ').next()?;
        let carrier = self.sections.iter().position(|section| section.attribute("mid") == Some(first))?;
        let section = &self.sections[carrier];
        let own_transport = video.attribute("ice-ufrag").filter(|_| !video.has("bundle-only"));
        let shared = own_transport.is_none() || own_transport == section.attribute("ice-ufrag");
        (carrier != self.video && shared && section.protocol.ends_with("RTP/SAVPF")).then_some(carrier)
    }

    /// A transport attribute of the video section. In a bundle it may stand in the first section alone
    /// (RFC 8843, 7.1.1).
    fn transport(&self, name: &str) -> Option<&str> {
        self.sections[self.video]
            .attribute(name)
            .or_else(|| attribute(&self.session, name))
            .or_else(|| self.sections.iter().find_map(|section| section.attribute(name)))
    }

    fn candidates(&self) -> impl Iterator<Item = &str> {
        let own = &self.sections[self.video];
        let section = if own.attribute("candidate").is_some() { own } else { &self.sections[0] };
        section.attributes("candidate").filter(|candidate| is_usable_candidate(candidate)).take(self.most)
    }
}

impl Section {
    fn parse(line: &str) -> Result<Self, SdpError> {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().ok_or(SdpError::Malformed("a short m= line"));
        let (kind, port, protocol) = (word()?, word()?, word()?);
        let formats: Vec<String> = words.collect();
        if formats.is_empty() || kind.is_empty() {
            return Err(SdpError::Malformed("a short m= line"));
        }
        Ok(Self { kind, port, protocol, formats, lines: Vec::new() })
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        attribute(&self.lines, name)
    }

    fn attributes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        attributes(&self.lines, name)
    }

    fn has(&self, property: &str) -> bool {
        has(&self.lines, property)
    }

    fn wants_video(&self, session: &[String]) -> bool {
        let refused = |lines: &[String]| has(lines, "sendonly") || has(lines, "inactive");
        let open = self.port != "0" || self.has("bundle-only");
        let named = self.attribute("mid").is_some_and(|mid| !mid.is_empty());
        let own_direction = self.has("recvonly") || self.has("sendrecv");
        self.kind == "video"
            && open
            && named
            && self.protocol.ends_with("RTP/SAVPF")
            && !refused(&self.lines)
            && (own_direction || !refused(session))
    }

    fn h264_formats(&self) -> Vec<H264Format> {
        self.formats.iter().filter_map(|format| self.h264_format(format)).collect()
    }

    fn h264_format(&self, text: &str) -> Option<H264Format> {
        let payload_type = text.parse().ok().filter(|payload_type: &u8| *payload_type < 128)?;
        let mapping = self.for_payload("rtpmap", text).next()?;
        if !mapping.eq_ignore_ascii_case("H264/90000") {
            return None;
        }
        let offered = self.for_payload("fmtp", text).next().unwrap_or_default();
        let value = |name| parameter(offered, name);
        // RFC 6184, 8.1: without it, Baseline at level 1.
        let profile_level = match value("profile-level-id") {
            Some(id) => parse_profile_level(id)?,
            None => [0x42, 0x00, 0x0a],
        };
        let (packetization, mode) = match value("packetization-mode") {
            Some("1") => (Packetization::NonInterleaved, 1),
            None | Some("0") => (Packetization::SingleNal, 0),
            // Interleaved mode, which WebRTC does not use.
            Some(_) => return None,
        };
        let [idc, flags, level] = profile_level;
        let asymmetry = match value("level-asymmetry-allowed") {
            Some("1") => "level-asymmetry-allowed=1;",
            _ => "",
        };
        Some(H264Format {
            payload_type,
            profile_level,
            packetization,
            parameters: format!(
                "{asymmetry}packetization-mode={mode};profile-level-id={idc:02x}{flags:02x}{level:02x}"
            ),
            rtx: self.rtx_for(text),
            feedback: self
                .for_payload("rtcp-fb", text)
                .chain(self.for_payload("rtcp-fb", "*"))
                .filter(|feedback| ANSWERED_FEEDBACK.contains(feedback))
                .map(str::to_owned)
                .collect(),
        })
    }

    fn rtx_for(&self, payload_type: &str) -> Option<u8> {
        self.formats.iter().find_map(|format| {
            let mapping = self.for_payload("rtpmap", format).next()?;
            let apt = parameter(self.for_payload("fmtp", format).next()?, "apt")?;
            let matches = mapping.eq_ignore_ascii_case("rtx/90000") && apt == payload_type;
            format.parse().ok().filter(|rtx: &u8| matches && *rtx < 128)
        })
    }

    /// The values of `a=NAME:PAYLOAD …`.
    fn for_payload<'a>(&'a self, name: &'a str, payload: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes(name)
            .filter_map(move |value| value.split_once(' ').filter(|(of, _)| *of == payload))
            .map(|(_, value)| value.trim())
    }

    fn write(&self, sdp: &mut String) {
        let (kind, port, protocol) = (&self.kind, &self.port, &self.protocol);
        line_to(sdp, format_args!("m={kind} {port} {protocol} {}", self.formats.join(" ")));
        for line in self.lines.iter().filter(|line| !is_second_component(line)) {
            line_to(sdp, format_args!("{line}"));
        }
    }

    /// Open but idle, with the transport of `video`: the agent's answer for that.
    fn write_inactive(&self, sdp: &mut String, video: &Section) {
        let format = &self.formats[0];
        line_to(sdp, format_args!("m={} 9 {} {format}", self.kind, self.protocol));
        line_to(sdp, format_args!("c=IN IP4 0.0.0.0"));
        line_to(sdp, format_args!("a=mid:{}", self.attribute("mid").unwrap_or_default()));
        for name in ["rtpmap", "fmtp"] {
            for value in self.for_payload(name, format) {
                line_to(sdp, format_args!("a={name}:{format} {value}"));
            }
        }
        line_to(sdp, format_args!("a=inactive"));
        line_to(sdp, format_args!("a=rtcp-mux"));
        for name in ["setup", "ice-ufrag", "ice-pwd", "candidate"] {
            for line in video.attributes(name).map(|value| format!("a={name}:{value}")) {
                if !is_second_component(&line) {
                    line_to(sdp, format_args!("{line}"));
                }
            }
        }
    }

    /// RFC 9429, 5.3.1: port 0. The `mid` stays for correlation, and Firefox insists on a `c=` line.
    fn write_rejected(&self, sdp: &mut String) {
        line_to(sdp, format_args!("m={} 0 {} {}", self.kind, self.protocol, self.formats[0]));
        line_to(sdp, format_args!("c=IN IP4 0.0.0.0"));
        if let Some(mid) = self.attribute("mid") {
            line_to(sdp, format_args!("a=mid:{mid}"));
        }
        line_to(sdp, format_args!("a=inactive"));
    }
}

/// The feedback we act on. Not transport-cc: a viewer that is answered with it sends no REMB.
const ANSWERED_FEEDBACK: [&str; 4] = ["goog-remb", "ccm fir", "nack", "nack pli"];

/// Our own ICE user name fragment and password, from a description of ours.
pub fn ice_credentials(sdp: &str) -> Option<(&str, &str)> {
    let value = |start| sdp.lines().find_map(|line| line.trim_end().strip_prefix(start));
    Some((value("a=ice-ufrag:")?, value("a=ice-pwd:")?))
}

/// Whether the ICE agent can do anything with a candidate: one of UDP with an address. Names under `.local` are
/// found as peer-reflexive candidates instead.
pub fn is_usable_candidate(candidate: &str) -> bool {
    let mut words = candidate.trim_start_matches("candidate:").split_ascii_whitespace();
    let udp = words.nth(2).is_some_and(|protocol| protocol.eq_ignore_ascii_case("udp"));
    udp && words.nth(1).is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok())
}

/// The crate lists each candidate for RTCP too, which goes with RTP (`rtcp-mux`).
fn is_second_component(line: &str) -> bool {
    line.strip_prefix("a=candidate:").is_some_and(|candidate| candidate.split(' ').nth(1) == Some("2"))
}

fn split(text: &str) -> Result<(Vec<String>, Vec<Section>), SdpError> {
    let mut session = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.as_bytes().get(1) != Some(&b'=') || line.chars().any(char::is_control) {
            return Err(SdpError::Malformed("a line is not of the form x=value"));
        }
        if let Some(media) = line.strip_prefix("m=") {
            if sections.len() == MAX_SECTIONS {
                return Err(SdpError::Malformed("too many sections"));
            }
            sections.push(Section::parse(media)?);
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line.to_owned());
        } else {
            session.push(line.to_owned());
        }
    }
    if session.first().map(String::as_str) != Some("v=0") {
        return Err(SdpError::Malformed("it does not begin with v=0"));
    }
    Ok((session, sections))
}

/// The one SHA-256 fingerprint. A browser repeats it in each section.
fn only_fingerprint(session: &[String], sections: &[Section]) -> Result<String, SdpError> {
    let lines = session.iter().chain(sections.iter().flat_map(|section| &section.lines));
    let mut found: Vec<String> = lines
        .filter_map(|line| line.strip_prefix("a=fingerprint:")?.split_once(' '))
        .filter(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha-256"))
        .map(|(_, value)| value.trim().to_ascii_uppercase())
        .collect();
    found.sort();
    found.dedup();
    let [fingerprint] = found.as_slice() else { return Err(SdpError::Fingerprints(found.len())) };
    let octets: Vec<&str> = fingerprint.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
    if octets.len() != 32 || !octets.iter().all(is_octet) {
        return Err(SdpError::Malformed("a fingerprint that is not SHA-256"));
    }
    Ok(fingerprint.clone())
}

fn attribute<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| attribute_value(line, name))
}

fn attributes<'a>(lines: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(move |line| attribute_value(line, name))
}

fn attribute_value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')
}

fn has(lines: &[String], property: &str) -> bool {
    lines.iter().any(|line| line.strip_prefix("a=") == Some(property))
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn parse_profile_level(text: &str) -> Option<[u8; 3]> {
    let number = u32::from_str_radix(text, 16).ok().filter(|_| text.len() == 6)?;
    let [_, idc, flags, level] = number.to_be_bytes();
    Some([idc, flags, level])
}

fn line_to(sdp: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = write!(sdp, "{line}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str =
        "0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9:0A:1B:2C:3D:4E:5F:60:71:82:93:A4:B5:C6:D7:E8:F9";

    fn section(first: &str, mid: &str, rest: &str) -> String {
        format!(
            "m={first}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abc{mid}\r\na=ice-pwd:0123456789abcdef01234567\r\n\
             a=ice-options:trickle\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\na=mid:{mid}\r\n{rest}"
        )
    }

    fn video(direction: &str) -> String {
        section(
            "video 9 UDP/TLS/RTP/SAVPF 96 97 109 114 115",
            "1",
            &format!(
                "a={direction}\r\na=extmap:3 urn:x\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
                 a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:109 H264/90000\r\n\
                 a=rtcp-fb:109 goog-remb\r\na=rtcp-fb:109 transport-cc\r\na=rtcp-fb:109 nack\r\n\
                 a=rtcp-fb:109 nack pli\r\n\
                 a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
                 a=rtpmap:114 rtx/90000\r\na=fmtp:114 apt=109\r\na=rtpmap:115 H264/90000\r\n\
                 a=fmtp:115 profile-level-id=4d001f\r\n\
                 a=candidate:1 1 udp 2113937151 192.0.2.7 54321 typ host\r\n\
                 a=candidate:2 1 udp 2113937151 0f7c.local 54322 typ host\r\n\
                 a=candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active\r\n"
            ),
        )
    }

    fn offer(sections: &[String]) -> String {
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n{}",
            sections.concat()
        )
    }

    fn whole_offer() -> String {
        let audio = section("audio 9 UDP/TLS/RTP/SAVPF 111 63", "0", "a=recvonly\r\n");
        let data = section("application 9 UDP/DTLS/SCTP webrtc-datachannel", "2", "a=sctp-port:5000\r\n");
        offer(&[audio, video("recvonly"), data])
    }

    #[test]
    fn h264_formats_are_read_with_their_retransmission_and_feedback() {
        let offer = Offer::parse(&whole_offer()).unwrap();
        let [baseline, main] = offer.formats() else { panic!("two formats: {:?}", offer.formats()) };
        assert_eq!((baseline.payload_type, baseline.rtx), (109, Some(114)));
        assert_eq!(baseline.profile_level, [0x42, 0xe0, 0x1f]);
        assert_eq!(baseline.packetization, Packetization::NonInterleaved);
        assert_eq!(baseline.feedback, ["goog-remb", "nack", "nack pli"]);
        assert_eq!((main.payload_type, main.rtx), (115, None));
        assert_eq!(main.packetization, Packetization::SingleNal);
        assert_eq!(main.parameters, "packetization-mode=0;profile-level-id=4d001f");
    }

    #[test]
    fn video_orientation_is_taken_where_the_viewer_takes_it() {
        let with = |line: &str| {
            let video = format!("{}{line}\r\n", video("recvonly"));
            Offer::parse(&offer(&[video])).unwrap()
        };
        for (line, id) in [
            ("a=extmap:13 urn:3gpp:video-orientation", Some(13)),
            ("a=extmap:4/recvonly urn:3gpp:video-orientation", Some(4)),
            ("a=extmap:4/sendonly urn:3gpp:video-orientation", None),
            ("a=extmap:4/inactive urn:3gpp:video-orientation", None),
            ("a=extmap:15 urn:3gpp:video-orientation", None),
            ("a=extmap:0 urn:3gpp:video-orientation", None),
            ("a=extmap:x urn:3gpp:video-orientation", None),
            ("a=extmap:4 urn:3gpp:video-orientation:6", None),
            ("a=mid:1", None),
        ] {
            let offer = with(line);
            assert_eq!(offer.orientation_id(), id, "{line}");
            let narrowed = offer.narrowed(&offer.formats()[0]);
            let passed = id.map(|id| format!("a=extmap:{id} urn:3gpp:video-orientation\r\n"));
            assert_eq!(narrowed.contains("extmap"), passed.is_some(), "{line}");
            assert!(passed.is_none_or(|passed| narrowed.contains(&passed)), "{narrowed}");
        }
    }

    #[test]
    fn the_narrowed_offer_holds_one_section_and_one_codec() {
        let offer = Offer::parse(&whole_offer()).unwrap();
        let narrowed = offer.narrowed(&offer.formats()[0]);
        assert_eq!(narrowed.matches("m=").count(), 1);
        assert!(narrowed.contains("m=video 9 UDP/TLS/RTP/SAVPF 109 114\r\n"));
        assert!(narrowed.contains("a=group:BUNDLE 1\r\n"));
        assert_eq!(narrowed.matches("a=fingerprint:").count(), 1);
        assert_eq!(narrowed.matches("a=candidate:").count(), 1);
        assert!(
            !narrowed.contains("transport-cc") && !narrowed.contains("VP8") && !narrowed.contains("extmap:")
        );
        let again = Offer::parse(&narrowed).unwrap();
        assert_eq!(again.formats(), &offer.formats()[..1]);
    }

    #[test]
    fn no_more_candidates_are_taken_than_may_be() {
        let more: String =
            (1..=100).map(|port| format!("a=candidate:1 1 udp 1 192.0.2.1 {port} typ host\r\n")).collect();
        let offer = Offer::parse(&offer(&[format!("{}{more}", video("recvonly"))])).unwrap();
        for (most, taken) in [(100, MAX_CANDIDATES), (12, 12)] {
            let narrowed = offer.clone().with_candidates(most).narrowed(&offer.formats()[0]);
            assert_eq!(narrowed.matches("a=candidate:").count(), taken);
        }
    }

    #[test]
    fn the_answer_rejects_all_but_the_video_in_the_order_of_the_offer() {
        let offer = Offer::parse(&whole_offer()).unwrap();
        let answer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 1\r\n\
                      m=video 9 UDP/TLS/RTP/SAVPF 109 114\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\n\
                      a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=candidate:1 2 udp 1 192.0.2.1 5 typ host\r\n";
        let complete = offer.complete(answer).unwrap();
        let media: Vec<&str> = complete.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(
            media,
            [
                "m=audio 0 UDP/TLS/RTP/SAVPF 111",
                "m=video 9 UDP/TLS/RTP/SAVPF 109 114",
                "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            ]
        );
        let mids: Vec<&str> = complete.lines().filter(|line| line.starts_with("a=mid:")).collect();
        assert_eq!(mids, ["a=mid:0", "a=mid:1", "a=mid:2"]);
        assert_eq!(complete.matches("a=candidate:").count(), 1);
        assert!(complete.contains("a=group:BUNDLE 1\r\n"));
    }

    #[test]
    fn a_bundle_only_video_section_takes_its_transport_from_the_first() {
        let audio = section("audio 9 UDP/TLS/RTP/SAVPF 111", "0", "a=recvonly\r\n");
        let bundled: String = video("recvonly")
            .replace("m=video 9", "m=video 0")
            .lines()
            .filter(|line| !line.starts_with("a=ice-") && !line.starts_with("a=setup"))
            .map(|line| format!("{line}\r\n"))
            .chain(["a=bundle-only\r\n".to_owned()])
            .collect();
        let offer = Offer::parse(&offer(&[audio, bundled])).unwrap();
        let narrowed = offer.narrowed(&offer.formats()[0]);
        assert!(narrowed.contains("m=video 9 "));
        assert!(narrowed.contains("a=ice-ufrag:abc0\r\n") && narrowed.contains("a=setup:actpass\r\n"));

        let answer = "v=0\r\na=group:BUNDLE 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 109 114\r\na=mid:1\r\n\
                      a=setup:active\r\na=ice-ufrag:ours\r\na=ice-pwd:secret\r\na=sendonly\r\n";
        let complete = offer.complete(answer).unwrap();
        assert!(complete.contains("a=group:BUNDLE 0 1\r\n"));
        let (_, sections) = split(&complete).unwrap();
        let [audio, video] = sections.as_slice() else { panic!("two sections: {complete}") };
        assert_eq!((audio.port.as_str(), video.port.as_str()), ("9", "9"));
        assert!(audio.has("inactive") && audio.has("rtcp-mux"));
        assert_eq!(audio.attribute("ice-ufrag"), Some("ours"));
    }

    #[test]
    fn exactly_one_fingerprint_is_wanted() {
        let none = whole_offer().replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
        assert_eq!(Offer::parse(&none), Err(SdpError::Fingerprints(0)));
        let other = FINGERPRINT.replace("0A:", "0B:");
        let two = format!("{}a=fingerprint:sha-256 {other}\r\n", whole_offer());
        assert_eq!(Offer::parse(&two), Err(SdpError::Fingerprints(2)));
        let short = whole_offer().replace(FINGERPRINT, "0A:1B");
        assert!(matches!(Offer::parse(&short), Err(SdpError::Malformed(_))));
    }

    #[test]
    fn an_offer_that_wants_no_video_is_refused() {
        for direction in ["sendonly", "inactive"] {
            assert_eq!(Offer::parse(&offer(&[video(direction)])), Err(SdpError::NoVideo));
        }
        let rejected = offer(&[video("recvonly").replace("m=video 9", "m=video 0")]);
        assert_eq!(Offer::parse(&rejected), Err(SdpError::NoVideo));
        assert!(Offer::parse(&offer(&[video("sendrecv")])).is_ok());
    }

    #[test]
    fn large_and_malformed_offers_are_refused() {
        let large = format!("{}a=x:{}\r\n", whole_offer(), "y".repeat(MAX_OFFER_LEN));
        assert!(matches!(Offer::parse(&large), Err(SdpError::TooLarge(_))));
        for text in ["", "v=0", "junk", "v=0\r\nm=video", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"] {
            assert!(Offer::parse(text).is_err(), "{text}");
        }
        assert!(Offer::parse(&whole_offer().replace("a=ice-pwd", "a=ice-wdp")).is_err());
    }

    #[test]
    fn mutated_offers_never_panic() {
        let base = whole_offer().into_bytes();
        let mut seed = 0x9e37_79b9_u32;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as usize
        };
        for _ in 0..20_000 {
            let mut bytes = base.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() % bytes.len();
                match random() % 3 {
                    0 => bytes[at] = random() as u8,
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            if let Ok(offer) = Offer::parse(&String::from_utf8_lossy(&bytes)) {
                for format in offer.formats() {
                    let narrowed = offer.narrowed(format);
                    assert_eq!(narrowed.matches("m=video").count(), 1);
                }
            }
        }
    }
}
