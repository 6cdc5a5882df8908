//! The bodies inside the seal (docs/signaling.md, "Messages"). Pure. Not here: the envelope around them.

use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
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
