//! Which camera is meant: one of the running agent's, which answers for itself, else a device by its path, its node's
//! name, or the name of its card. Not here: what is done with it.

use std::path::PathBuf;

use super::CommandError;
use crate::{
    camera::v4l2::{Found, capture_devices},
    control::{
        client::{AskError, ask_for_picture},
        message::{Reply, Request},
    },
};

/// Who does what was asked of a camera.
pub(super) enum Agent {
    /// The running agent has done it, or says why not; and the picture that was asked for.
    Answers(Reply, Vec<u8>),
    /// It is to be done without it.
    Without(Reason),
}

/// Why without the agent.
pub(super) enum Reason {
    NotRunning,
    /// It does not know the camera.
    NoCamera(String),
    /// It may not be asked; a device can be opened all the same.
    Denied(AskError),
}

impl Reason {
    /// Why nothing could be done, where it could not be done without the agent either.
    pub(super) fn beside(self, error: CommandError) -> CommandError {
        match self {
            Self::NotRunning => error,
            Self::NoCamera(message) => CommandError::Refused(format!("{message}; {error}")),
            Self::Denied(denied) => denied.into(),
        }
    }
}

/// Asks the running agent, if there is one.
pub(super) fn agent(sockets: &[PathBuf], request: &Request) -> Result<Agent, CommandError> {
    match ask_for_picture(sockets, request) {
        Ok((Reply::NoCamera { message }, _)) => Ok(Agent::Without(Reason::NoCamera(message))),
        Ok((reply, picture)) => Ok(Agent::Answers(reply, picture)),
        Err(AskError::NotRunning(_)) => Ok(Agent::Without(Reason::NotRunning)),
        Err(error @ AskError::Denied { .. }) => Ok(Agent::Without(Reason::Denied(error))),
        Err(error @ AskError::NoAnswer { .. }) => Err(error.into()),
    }
}

/// The node of a device that is named by a person.
pub(super) fn find(name: &str) -> Result<PathBuf, CommandError> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let name = name.strip_prefix("card:").map_or(name, str::trim);
    let node = PathBuf::from("/dev").join(name);
    if name.starts_with("video") && node.exists() {
        return Ok(node);
    }
    by_card(name, capture_devices()).map_err(CommandError::Refused)
}

fn by_card(name: &str, found: Vec<Found>) -> Result<PathBuf, String> {
    let wanted = name.to_lowercase();
    let is = |found: &&Found| found.card.to_lowercase() == wanted;
    let has = |found: &&Found| found.card.to_lowercase().contains(&wanted);
    let exact: Vec<&Found> = found.iter().filter(is).collect();
    let fitting = if exact.is_empty() { found.iter().filter(has).collect() } else { exact };
    let list = |found: &[&Found]| {
        let devices: Vec<String> =
            found.iter().map(|found| format!("{} ({})", found.path.display(), found.card)).collect();
        devices.join(", ")
    };
    match fitting[..] {
        [one] => Ok(one.path.clone()),
        [] if found.is_empty() => Err(format!("no camera is called `{name}`, and none is plugged in")),
        [] => {
            Err(format!("no camera is called `{name}`: there is {}", list(&found.iter().collect::<Vec<_>>())))
        }
        _ => Err(format!("several cameras are called `{name}`: name one by its path, {}", list(&fitting))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(number: u32, card: &str) -> Found {
        Found { path: format!("/dev/video{number}").into(), card: card.into() }
    }

    #[test]
    fn a_card_is_found_by_its_name_or_a_part_of_it() {
        let all = || vec![found(0, "HD Pro Webcam C920"), found(2, "USB Video"), found(4, "USB Video 2")];
        assert_eq!(by_card("hd pro webcam c920", all()), Ok("/dev/video0".into()));
        assert_eq!(by_card("C920", all()), Ok("/dev/video0".into()));
        assert_eq!(by_card("usb video", all()), Ok("/dev/video2".into()), "a whole name comes first");
        let several = by_card("USB", all()).unwrap_err();
        assert!(several.ends_with("/dev/video2 (USB Video), /dev/video4 (USB Video 2)"), "{several}");
        assert!(by_card("elp", all()).unwrap_err().contains("there is /dev/video0 (HD Pro"));
        assert!(by_card("elp", Vec::new()).unwrap_err().contains("none is plugged in"));
    }
}
