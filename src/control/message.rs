//! Requests and replies on the control socket. Pure. Not here: how they travel.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    camera::controls::{Control, Setting},
    config::Switch,
    links::Place,
    reload::Outcome,
    signal::{exchange::Carried, message::Role, people::Person, whep::token::Token},
    status::Status,
};

/// Bytes of a request at most, its end of line included.
pub const MAX_REQUEST: usize = 48 * 1024;
/// How long a viewer that is answered by hand may take to connect: at least, and at most.
pub const MIN_WAIT: Duration = Duration::from_secs(60);
pub const MAX_WAIT: Duration = Duration::from_secs(3600);
/// Bytes of a reply at most; 256 viewers need less than a tenth.
pub const MAX_REPLY: usize = 1024 * 1024;
/// Bytes of a picture at most. A large one in the best quality has less than ten megabytes.
pub const MAX_PICTURE: usize = 32 * 1024 * 1024;
/// The longest that a key can be good for: a hundred years.
pub const MAX_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What the owner wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Links for a new viewer.
    Pair {
        role: Role,
        name: Option<String>,
        /// Seconds for which its key is good; without, for ever.
        lifetime_s: Option<u64>,
    },
    /// A token for a new WHEP client.
    Whep {
        role: Role,
        name: String,
        /// As for `Pair`.
        lifetime_s: Option<u64>,
    },
    /// All viewers.
    Viewers {},
    /// What the agent is doing.
    Status {},
    /// Reads the configuration again.
    Reload {},
    /// Turns privacy on or off; without, tells which it is.
    Privacy { set: Option<Switch> },
    /// What another agent's configuration has to hold of this device's key.
    #[serde(rename = "device-key")]
    DeviceKey {},
    /// Ends a viewer's key: `who` is the key or the name.
    Revoke { who: String },
    /// The answer to an offer, or to a link's request, that was carried by hand.
    Answer {
        /// The envelope, as JSON.
        envelope: String,
        /// Seconds in which the viewer may connect.
        wait_s: u64,
    },
    /// A JPEG of a camera.
    Snapshot {
        /// As for `Controls`; without, the first.
        camera: Option<String>,
        /// 1 to 100.
        quality: u8,
    },
    /// Another filter for the log, until the agent ends.
    Log { filter: String },
    /// A camera's controls; those of `settings` are set first, and no others are told then.
    Controls {
        /// Its id, its device, or the name of its card.
        camera: String,
        settings: Vec<Setting>,
    },
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Links(Vec<Place>),
    /// A token, and where it is good: each place with each camera's endpoint.
    Whep {
        token: Token,
        endpoints: Vec<Place>,
    },
    Viewers(Vec<Person>),
    Status(Box<Status>),
    Privacy(Switch),
    Reloaded(Outcome),
    Revoked(Person),
    DeviceKey(String),
    /// More than one viewer is meant. Nothing was done.
    Several {
        message: String,
        who: Vec<Person>,
    },
    /// What is to be carried back.
    Answer {
        what: Carried,
        /// What its owner calls the viewer.
        name: String,
        /// As it is sent.
        text: String,
    },
    Controls(Vec<Control>),
    /// It was done, and there is nothing to say of it.
    Done,
    /// A JPEG, which follows this line: so many bytes, at most [`MAX_PICTURE`].
    Picture {
        bytes: usize,
    },
    /// The agent has no such camera, but the machine may.
    NoCamera {
        message: String,
    },
    /// One sentence. Nothing was done, unless it says so.
    Error(String),
}

/// Why a line is no request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadRequest {
    #[error("the request is longer than {MAX_REQUEST} bytes")]
    TooLong,
    #[error("this request means nothing to the running agent: it may be of another version, so restart it")]
    Unknown,
    #[error("a key is good for one second to a hundred years")]
    Lifetime,
    #[error("a viewer that is answered by hand is waited for one minute to one hour")]
    Wait,
}

impl Request {
    /// For how long the agent may work at it.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Pair { .. }
            | Self::Whep { .. }
            | Self::Viewers {}
            | Self::Status {}
            | Self::Privacy { .. }
            | Self::Reload {}
            | Self::Revoke { .. }
            | Self::Log { .. }
            | Self::DeviceKey {}
            | Self::Controls { .. } => Duration::from_secs(5),
            // A camera may have to be opened, and settles.
            Self::Snapshot { .. } | Self::Answer { .. } => Duration::from_secs(20),
        }
    }

    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// When it is no request.
    pub fn parse(line: &[u8]) -> Result<Self, BadRequest> {
        if line.len() > MAX_REQUEST {
            return Err(BadRequest::TooLong);
        }
        let request = serde_json::from_slice(line).map_err(|_| BadRequest::Unknown)?;
        match &request {
            Self::Pair { lifetime_s: Some(seconds), .. } | Self::Whep { lifetime_s: Some(seconds), .. }
                if !(1..=MAX_LIFETIME.as_secs()).contains(seconds) =>
            {
                Err(BadRequest::Lifetime)
            }
            Self::Answer { wait_s, .. } if !(MIN_WAIT.as_secs()..=MAX_WAIT.as_secs()).contains(wait_s) => {
                Err(BadRequest::Wait)
            }
            Self::Pair { .. }
            | Self::Whep { .. }
            | Self::Viewers {}
            | Self::Status {}
            | Self::Privacy { .. }
            | Self::Reload {}
            | Self::Revoke { .. }
            | Self::Log { .. }
            | Self::DeviceKey {}
            | Self::Controls { .. }
            | Self::Answer { .. }
            | Self::Snapshot { .. } => Ok(request),
        }
    }
}

/// One line, with its end.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("strings, numbers and lists are always JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::Reach;

    #[test]
    fn requests_are_read_as_they_were_written() {
        let name = Some("Anna's \"phone\"\n".to_owned());
        for request in [
            Request::Pair { role: Role::Control, name, lifetime_s: Some(604_800) },
            Request::Pair { role: Role::View, name: None, lifetime_s: None },
            Request::Whep { role: Role::View, name: "OBS".into(), lifetime_s: Some(60) },
            Request::Viewers {},
            Request::Status {},
            Request::Privacy { set: Some(Switch::On) },
            Request::Privacy { set: None },
            Request::Reload {},
            Request::DeviceKey {},
            Request::Revoke { who: "Anna".into() },
            Request::Log { filter: "info,pinhole::signal=debug".into() },
            Request::Snapshot { camera: Some("cam0".into()), quality: 85 },
            Request::Answer { envelope: r#"{"v":1}"#.into(), wait_s: 900 },
            Request::Controls {
                camera: "/dev/video0".into(),
                settings: vec![Setting { control: "gain".into(), value: " 3=".into() }],
            },
        ] {
            let line = line(&request);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(Request::parse(&line), Ok(request));
        }
    }

    #[test]
    fn the_form_of_a_request_is_fixed() {
        let written = r#"{"do":"pair","role":"view","name":"A","lifetime_s":60}"#;
        let request = Request::Pair { role: Role::View, name: Some("A".into()), lifetime_s: Some(60) };
        assert_eq!(Request::parse(written.as_bytes()), Ok(request));
        assert_eq!(Request::parse(br#"{"do":"viewers"}"#), Ok(Request::Viewers {}));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "pair",
            "[]",
            r#"{"do":"reboot"}"#,
            r#"{"do":"revoke"}"#,
            r#"{"do":"pair","role":"owner"}"#,
            r#"{"do":"viewers","all":true}"#,
            &"[".repeat(4000),
        ] {
            assert_eq!(Request::parse(text.as_bytes()), Err(BadRequest::Unknown), "{text}");
        }
        assert_eq!(Request::parse(&vec![b' '; MAX_REQUEST + 1]), Err(BadRequest::TooLong));
        for seconds in [0, u64::MAX] {
            let text = format!(r#"{{"do":"pair","role":"view","lifetime_s":{seconds}}}"#);
            assert_eq!(Request::parse(text.as_bytes()), Err(BadRequest::Lifetime));
        }
        for seconds in [0, 59, 3601] {
            let text = format!(r#"{{"do":"answer","envelope":"","wait_s":{seconds}}}"#);
            assert_eq!(Request::parse(text.as_bytes()), Err(BadRequest::Wait));
        }
    }

    #[test]
    fn replies_are_read_as_they_were_written() {
        let place = Place { url: "http://localhost:1/#x".into(), reach: Reach::Local };
        for reply in [
            Reply::Links(vec![place]),
            Reply::Whep { token: Token::new(), endpoints: Vec::new() },
            Reply::Viewers(Vec::new()),
            Reply::Several { message: "two".into(), who: Vec::new() },
            Reply::Picture { bytes: 7 },
            Reply::Done,
            Reply::Reloaded(Outcome::default()),
            Reply::Answer { what: Carried::Answer, name: "A".into(), text: "pinhole1:\n.".into() },
            Reply::NoCamera { message: "none".into() },
            Reply::Error("no".into()),
        ] {
            assert_eq!(serde_json::from_slice::<Reply>(&line(&reply)).unwrap(), reply);
        }
    }
}
