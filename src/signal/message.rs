//! The bodies inside the seal (docs/signaling.md, "Messages"). Pure. Not here: the envelope around them.
//!
//! Fields that are not known are ignored, so that a later viewer can say more; what is known must be right.

pub mod by_hand;

use std::fmt;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use thiserror::Error;

use super::envelope::from_json_object;

/// What a viewer may do. Later ones may do all that earlier ones may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watch.
    View,
    /// Also camera controls and talking.
    Control,
    /// Also pair and revoke.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::View, Self::Control, Self::Admin];

    /// As people and messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Control => "control",
            Self::Admin => "admin",
        }
    }
}

/// Viewer → device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDevice {
    Hello,
    Offer(Offer),
    /// `None` ends the candidates.
    Candidate(Option<Candidate>),
    Bye {
        reason: String,
    },
}

/// Asks for a camera; again in the same session for an ICE restart or renegotiation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// A camera's id from `welcome`; empty for the first.
    #[serde(default)]
    pub camera: String,
    pub sdp: String,
    #[serde(default)]
    pub audio: bool,
    #[serde(default)]
    pub talk: bool,
}

/// An ICE candidate as browsers write it (W3C WebRTC, RTCIceCandidateInit).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    pub candidate: String,
    #[serde(default)]
    pub sdp_mid: Option<String>,
    #[serde(default)]
    pub sdp_m_line_index: Option<u16>,
}

/// Device → viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToViewer {
    Welcome(Welcome),
    Answer { sdp: String },
    Candidate(Option<Candidate>),
    Bye { reason: ByeReason },
    Error { code: ErrorCode, message: String },
    Notice(Notice),
}

/// Something about the picture of a session, while the session goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The camera's id.
    pub camera: String,
    pub code: NoticeCode,
    /// A sentence for people; empty with `ok`.
    #[serde(default)]
    pub message: String,
}

/// What a notice is about. Each takes the place of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeCode {
    /// The camera does not work; the picture is a slate that says why.
    Slate,
    /// Fewer or smaller pictures are sent, as the device cannot encode more.
    Slowed,
    /// The same, as the device is hot.
    Hot,
    /// What was said before holds no longer.
    Ok,
}

/// What a viewer learns first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The device's name.
    pub name: String,
    /// The role of the viewer that asked.
    pub role: Role,
    pub cameras: Vec<CameraInfo>,
    pub ice_servers: Vec<IceServer>,
    /// Seconds for which `ice_servers` may be used again without asking.
    pub ice_expires_s: u32,
    pub limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraInfo {
    pub id: String,
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    pub audio: bool,
}

/// As browsers want it (W3C WebRTC, RTCIceServer).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Without the credential, which belongs in no log.
impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What a viewer must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Viewers at once, all together.
    pub viewers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByeReason {
    Shutdown,
    Revoked,
    Replaced,
    Idle,
    Camera,
    Privacy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    Busy,
    Forbidden,
    NoCamera,
    Privacy,
    Codec,
    BadRequest,
    RateLimited,
    Internal,
}

/// Bytes of a camera's id at most.
const MAX_CAMERA_ID: usize = 64;
/// Bytes of an ICE candidate at most; the longest that browsers write are below 300.
const MAX_CANDIDATE: usize = 1024;
/// Bytes of a media section's identification at most (RFC 8843 gives no limit; browsers write one digit).
const MAX_MID: usize = 64;
/// Characters that are kept of a viewer's reason to leave, which is only ever shown in a log.
const MAX_REASON: usize = 64;

/// Why a body that came out of its seal is still not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    #[error("there is no message {0:?}")]
    UnknownKind(String),
    #[error("the body of {kind:?} is wrong: {reason}")]
    Malformed { kind: String, reason: String },
    #[error("{field:?} is longer than {limit} bytes")]
    TooLong { field: &'static str, limit: usize },
    #[error("the SDP has no fingerprint: a line a=fingerprint:sha-256 must say which certificate is used")]
    NoFingerprint,
    #[error("the SDP has a fingerprint that is not 32 bytes of sha-256")]
    BadFingerprint,
    #[error("the SDP has different fingerprints: all media must use one certificate")]
    SeveralFingerprints,
}

impl ToDevice {
    /// Reads a message that a viewer sealed.
    ///
    /// # Errors
    /// When there is no such message, or its body is not right.
    pub fn decode(kind: &str, body: &[u8]) -> Result<Self, BodyError> {
        match kind {
            "hello" => read::<Empty>(kind, body).map(|Empty {}| Self::Hello),
            "offer" => {
                let offer: Offer = read(kind, body)?;
                at_most("camera", &offer.camera, MAX_CAMERA_ID)?;
                check_fingerprint(&offer.sdp)?;
                Ok(Self::Offer(offer))
            }
            "candidate" => read_candidate(body).map(Self::Candidate),
            "bye" => {
                let bye: ViewerBye = read(kind, body)?;
                Ok(Self::Bye { reason: printable(&bye.reason, MAX_REASON) })
            }
            _ => Err(BodyError::UnknownKind(kind.to_owned())),
        }
    }

    /// The message's type and body.
    pub fn encode(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Hello => ("hello", write(&Empty {})),
            Self::Offer(offer) => ("offer", write(offer)),
            Self::Candidate(candidate) => ("candidate", write_candidate(candidate.as_ref())),
            Self::Bye { reason } => ("bye", write(&ViewerBye { reason: reason.clone() })),
        }
    }
}

impl ToViewer {
    /// Reads a message that a device sealed.
    ///
    /// # Errors
    /// When there is no such message, or its body is not right.
    pub fn decode(kind: &str, body: &[u8]) -> Result<Self, BodyError> {
        match kind {
            "welcome" => read(kind, body).map(Self::Welcome),
            "answer" => read(kind, body).map(|Answer { sdp }| Self::Answer { sdp }),
            "candidate" => read_candidate(body).map(Self::Candidate),
            "bye" => read(kind, body).map(|DeviceBye { reason }| Self::Bye { reason }),
            "error" => read(kind, body).map(|Refused { code, message }| Self::Error { code, message }),
            "notice" => read(kind, body).map(Self::Notice),
            _ => Err(BodyError::UnknownKind(kind.to_owned())),
        }
    }

    /// The message's type and body.
    pub fn encode(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Welcome(welcome) => ("welcome", write(welcome)),
            Self::Answer { sdp } => ("answer", write(&Answer { sdp: sdp.clone() })),
            Self::Candidate(candidate) => ("candidate", write_candidate(candidate.as_ref())),
            Self::Bye { reason } => ("bye", write(&DeviceBye { reason: *reason })),
            Self::Error { code, message } => {
                ("error", write(&Refused { code: *code, message: message.clone() }))
            }
            Self::Notice(notice) => ("notice", write(notice)),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Empty {}

#[derive(Serialize, Deserialize)]
struct ViewerBye {
    #[serde(default)]
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    sdp: String,
}

#[derive(Serialize, Deserialize)]
struct DeviceBye {
    reason: ByeReason,
}

#[derive(Serialize, Deserialize)]
struct Refused {
    code: ErrorCode,
    message: String,
}

/// `{"candidate":null}`: there are no more.
#[derive(Serialize, Deserialize)]
struct NoMoreCandidates {
    candidate: (),
}

fn read<'a, T: Deserialize<'a>>(kind: &str, body: &'a [u8]) -> Result<T, BodyError> {
    from_json_object(body)
        .map_err(|error| BodyError::Malformed { kind: kind.to_owned(), reason: error.to_string() })
}

fn write<T: Serialize>(body: &T) -> Vec<u8> {
    serde_json::to_vec(body).expect("strings, numbers and lists are always JSON")
}

/// A candidate of no characters also ends them: so do browsers write it (W3C WebRTC, RTCIceCandidate).
fn read_candidate(body: &[u8]) -> Result<Option<Candidate>, BodyError> {
    #[derive(Deserialize)]
    struct AtLeast {
        candidate: Option<IgnoredAny>,
    }
    if read::<AtLeast>("candidate", body)?.candidate.is_none() {
        return read("candidate", body).map(|NoMoreCandidates { candidate: () }| None);
    }
    let candidate: Candidate = read("candidate", body)?;
    at_most("candidate", &candidate.candidate, MAX_CANDIDATE)?;
    at_most("sdpMid", candidate.sdp_mid.as_deref().unwrap_or_default(), MAX_MID)?;
    Ok((!candidate.candidate.is_empty()).then_some(candidate))
}

fn write_candidate(candidate: Option<&Candidate>) -> Vec<u8> {
    candidate.map_or_else(|| write(&NoMoreCandidates { candidate: () }), write)
}

fn at_most(field: &'static str, text: &str, limit: usize) -> Result<(), BodyError> {
    if text.len() > limit { Err(BodyError::TooLong { field, limit }) } else { Ok(()) }
}

/// The SDP must name one certificate, by SHA-256 (RFC 8122, section 5). Browsers repeat the line in each media
/// section, so it may come several times, but always the same.
fn check_fingerprint(sdp: &str) -> Result<(), BodyError> {
    let mut one = None;
    for value in sdp.lines().filter_map(|line| line.strip_prefix("a=fingerprint:")) {
        let fingerprint = sha256_fingerprint(value).ok_or(BodyError::BadFingerprint)?;
        if *one.get_or_insert(fingerprint) != fingerprint {
            return Err(BodyError::SeveralFingerprints);
        }
    }
    one.map(|_| ()).ok_or(BodyError::NoFingerprint)
}

fn sha256_fingerprint(value: &str) -> Option<[u8; 32]> {
    let (hash, hex) = value.split_once(' ')?;
    let mut bytes = [0; 32];
    if !hash.eq_ignore_ascii_case("sha-256") || hex.split(':').count() != bytes.len() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.split(':')) {
        let two_digits = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| two_digits)?;
    }
    Some(bytes)
}

/// `text` without what would disturb a terminal or a list: control characters and changes of writing direction
/// (Unicode's Bidi_Control), no blanks around it, cut to `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = |c| matches!(c, '\u{2028}' | '\u{2029}');
    let kept: String = text.chars().filter(|&c| !c.is_control() && !turns(c) && !breaks(c)).collect();
    let cut: String = kept.trim().chars().take(limit).collect();
    cut.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "a=fingerprint:sha-256 \
        00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

    fn offer(sdp: &str) -> Result<ToDevice, BodyError> {
        ToDevice::decode("offer", &write(&serde_json::json!({ "sdp": sdp })))
    }

    #[test]
    fn every_message_reads_back() {
        let candidate = Candidate {
            candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
        };
        let sdp = format!("v=0\r\n{FINGERPRINT}\r\n");
        let offer = Offer { camera: "front".into(), sdp: sdp.clone(), audio: true, talk: false };
        for message in [
            ToDevice::Hello,
            ToDevice::Offer(offer),
            ToDevice::Candidate(Some(candidate.clone())),
            ToDevice::Candidate(None),
            ToDevice::Bye { reason: "closed".into() },
        ] {
            let (kind, body) = message.encode();
            assert_eq!(ToDevice::decode(kind, &body).unwrap(), message);
        }
        let welcome = Welcome {
            name: "Garden".into(),
            role: Role::Control,
            cameras: vec![CameraInfo {
                id: "front".into(),
                name: "Front".into(),
                width: 1280,
                height: 720,
                fps: 30,
                audio: false,
            }],
            ice_servers: vec![IceServer {
                urls: vec!["stun:192.0.2.1".into()],
                username: None,
                credential: None,
            }],
            ice_expires_s: 3600,
            limits: Limits { viewers: 8 },
        };
        for message in [
            ToViewer::Welcome(welcome),
            ToViewer::Answer { sdp },
            ToViewer::Candidate(Some(candidate)),
            ToViewer::Candidate(None),
            ToViewer::Bye { reason: ByeReason::Replaced },
            ToViewer::Error { code: ErrorCode::NoCamera, message: "unplugged".into() },
        ] {
            let (kind, body) = message.encode();
            assert_eq!(ToViewer::decode(kind, &body).unwrap(), message);
        }
    }

    #[test]
    fn candidates_end_by_null_or_by_an_empty_one() {
        assert_eq!(ToDevice::Candidate(None).encode().1, br#"{"candidate":null}"#);
        for body in [r#"{"candidate":null}"#, r#"{"candidate":"","sdpMid":"0"}"#] {
            assert_eq!(ToDevice::decode("candidate", body.as_bytes()), Ok(ToDevice::Candidate(None)));
        }
        for body in ["{}", r#"{"candidate":1}"#, r#"{"candidate":{}}"#, "null", r#"[null]"#] {
            assert!(ToDevice::decode("candidate", body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn fields_of_the_future_are_ignored() {
        let body = format!(r#"{{"sdp":"{FINGERPRINT}","codecs":[["h265"]],"quality":{{"x":1}}}}"#);
        assert!(matches!(ToDevice::decode("offer", body.as_bytes()), Ok(ToDevice::Offer(_))));
        assert_eq!(ToDevice::decode("hello", br#"{"page":"1.2"}"#), Ok(ToDevice::Hello));
        assert_eq!(ToDevice::decode("zoom", b"{}"), Err(BodyError::UnknownKind("zoom".into())));
    }

    #[test]
    fn bodies_of_another_form_are_refused() {
        for (kind, body) in [
            ("hello", "[]"),
            ("hello", ""),
            ("offer", "{}"),
            ("offer", r#"{"sdp":1}"#),
            ("offer", r#"["front","v=0",false,false]"#),
            ("bye", r#"{"reason":null}"#),
            ("welcome", "{}"),
        ] {
            assert!(ToDevice::decode(kind, body.as_bytes()).is_err(), "{kind} {body}");
        }
        let deep = format!(r#"{{"x":{}"#, "[".repeat(20_000));
        assert!(ToDevice::decode("hello", deep.as_bytes()).is_err());
        let long = format!(r#"{{"candidate":"{}"}}"#, "x".repeat(1025));
        let too_long = BodyError::TooLong { field: "candidate", limit: 1024 };
        assert_eq!(ToDevice::decode("candidate", long.as_bytes()), Err(too_long));
    }

    #[test]
    fn an_offer_names_one_certificate() {
        let lower = FINGERPRINT.replace("AA", "aa").replace("sha-256", "SHA-256");
        for sdp in
            [FINGERPRINT.to_owned(), format!("v=0\r\nm=video\r\n{FINGERPRINT}\r\nm=audio\r\n{lower}\r\n")]
        {
            assert!(offer(&sdp).is_ok(), "{sdp}");
        }
        assert_eq!(offer("v=0\r\n"), Err(BodyError::NoFingerprint));
        let other = FINGERPRINT.replace("00:11", "00:12");
        assert_eq!(offer(&format!("{FINGERPRINT}\n{other}")), Err(BodyError::SeveralFingerprints));
        for bad in [
            FINGERPRINT.replace("sha-256", "sha-1"),
            FINGERPRINT.replace(":FF", ""),
            FINGERPRINT.replace("00:11:22", "0:011:22"),
            FINGERPRINT.replace("00:11", "+0:11"),
            FINGERPRINT.replace("sha-256 ", "sha-256"),
        ] {
            assert_eq!(offer(&bad), Err(BodyError::BadFingerprint), "{bad}");
        }
    }

    #[test]
    fn a_servers_credential_is_not_printed() {
        let server = IceServer {
            urls: vec!["turn:turn.example".into()],
            username: Some("porch".into()),
            credential: Some("hunter2".into()),
        };
        let printed = format!("{server:?}");
        assert!(printed.contains("turn.example") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn names_disturb_no_terminal() {
        assert_eq!(printable("  Anna\u{1b}[2J's\n\u{202e}phone ", 64), "Anna[2J'sphone");
        assert_eq!(printable(&"ä".repeat(100), 64).chars().count(), 64);
    }
}
