//! What Home Assistant may ask for: a topic and a payload, read. Pure. Not here: doing it (`home_assistant`).

use super::discovery::Topics;
use crate::{camera::controls::Setting, config::Switch};

/// Bytes of a payload at most; a control's value is a number or a menu's entry.
const MAX_PAYLOAD: usize = 128;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Privacy(Switch),
    /// The agent ends, and is started again by who watches over it.
    Restart,
    Control {
        camera: String,
        setting: Setting,
    },
}

/// `None`: it means nothing.
pub(super) fn parse(topics: &Topics, topic: &str, payload: &[u8]) -> Option<Command> {
    let wanted = topic.strip_prefix(&topics.set())?;
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let payload = std::str::from_utf8(payload).ok()?;
    match (wanted, payload) {
        ("privacy", "on") => Some(Command::Privacy(Switch::On)),
        ("privacy", "off") => Some(Command::Privacy(Switch::Off)),
        // As its button sends it.
        ("restart", "PRESS") => Some(Command::Restart),
        (wanted, value) => {
            let (camera, control) = wanted.strip_prefix("camera/")?.rsplit_once('/')?;
            let value = if value == "PRESS" { "" } else { value };
            let setting = Setting { control: control.to_owned(), value: value.to_owned() };
            Some(Command::Control { camera: camera.to_owned(), setting })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::topic::DeviceId;

    #[test]
    fn what_its_entities_send_is_read_and_nothing_else() {
        let device = DeviceId::parse("abcdefghijkl2345").unwrap();
        let topics = Topics { prefix: "homeassistant".into(), device };
        let read =
            |wanted: &str, payload: &[u8]| parse(&topics, &format!("{}{wanted}", topics.set()), payload);
        assert_eq!(read("privacy", b"on"), Some(Command::Privacy(Switch::On)));
        assert_eq!(read("privacy", b"off"), Some(Command::Privacy(Switch::Off)));
        assert_eq!(read("restart", b"PRESS"), Some(Command::Restart));
        let set = |value: &str| {
            let setting = Setting { control: "brightness".into(), value: value.into() };
            Some(Command::Control { camera: "cam0".into(), setting })
        };
        assert_eq!(read("camera/cam0/brightness", b"12"), set("12"));
        assert_eq!(read("camera/cam0/brightness", b"PRESS"), set(""));
        for (wanted, payload) in [
            ("privacy", &b"ON"[..]),
            ("restart", b""),
            ("camera", b"1"),
            ("camera/cam0", b"1"),
            ("", b"on"),
            ("camera/cam0/brightness", &[0xff]),
            ("camera/cam0/brightness", &[b'1'; 129]),
        ] {
            assert_eq!(read(wanted, payload), None, "{wanted}");
        }
        assert_eq!(parse(&topics, "pinhole-ha/other/set/privacy", b"on"), None);
    }
}
