//! What a network client may publish and subscribe to. Pure. A network client is always a viewer: it may send to
//! the device's `in`, and read `status` and the one `out` topic of a session whose id it knows. Everything else,
//! wildcards included, is refused: no other topics exist here.
//! Not here: who is connected and what is delivered (`state`).

use crate::signal::{Address, topic::SessionId};

/// The topics that a viewer can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// `<root>/<d>/status`.
    Status,
    /// `<root>/<d>/out/<s>`.
    Out(SessionId),
}

/// The rules for one device's address.
#[derive(Debug, Clone)]
pub struct Rules {
    input: String,
    status: String,
    /// Up to and including the slash before the session.
    out: String,
}

impl Rules {
    /// The rules of the device at `address`.
    pub fn new(address: &Address) -> Self {
        Self {
            input: address.topic_in(),
            status: address.topic_status(),
            out: format!("{}/{}/out/", address.root, address.device),
        }
    }

    /// Whether a viewer may publish there, retained or not. Nothing that a viewer says is ever kept.
    pub fn may_publish(&self, topic: &str, retain: Retain) -> bool {
        retain == Retain::No && topic == self.input
    }

    /// What a viewer's subscription means; `None`: refused.
    pub fn may_subscribe(&self, filter: &str) -> Option<Topic> {
        if filter == self.status {
            return Some(Topic::Status);
        }
        filter.strip_prefix(&self.out).and_then(SessionId::parse).map(Topic::Out)
    }

    /// The topic as it goes over the wire.
    pub fn name(&self, topic: Topic) -> String {
        match topic {
            Topic::Status => self.status.clone(),
            Topic::Out(session) => format!("{}{session}", self.out),
        }
    }
}

/// The retain flag of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::topic::DeviceId;

    const SESSION: &str = "0123456789abcdef0123456789abcdef";

    fn rules() -> Rules {
        let device = DeviceId::parse("abcdefghijkl2345").unwrap();
        Rules::new(&Address { root: "pinhole".to_owned(), device })
    }

    #[test]
    fn viewer_publishes_only_to_in_and_never_retained() {
        let rules = rules();
        assert!(rules.may_publish("pinhole/abcdefghijkl2345/in", Retain::No));
        assert!(!rules.may_publish("pinhole/abcdefghijkl2345/in", Retain::Yes));
        for topic in [
            "pinhole/abcdefghijkl2345/status",
            "pinhole/abcdefghijkl2345/in/",
            "pinhole/abcdefghijkl2345/IN",
            "pinhole/aaaaaaaaaaaaaaaa/in",
            "other/abcdefghijkl2345/in",
            &format!("pinhole/abcdefghijkl2345/out/{SESSION}"),
            "$SYS/broker",
            "",
            "#",
        ] {
            assert!(!rules.may_publish(topic, Retain::No), "{topic}");
        }
    }

    #[test]
    fn viewer_subscribes_only_to_status_and_an_exact_session() {
        let rules = rules();
        assert_eq!(rules.may_subscribe("pinhole/abcdefghijkl2345/status"), Some(Topic::Status));
        assert_eq!(
            rules.may_subscribe(&format!("pinhole/abcdefghijkl2345/out/{SESSION}")),
            Some(Topic::Out(SessionId::parse(SESSION).unwrap()))
        );
        for filter in [
            "#",
            "+/+/status",
            "pinhole/#",
            "pinhole/+/status",
            "pinhole/abcdefghijkl2345/out/+",
            "pinhole/abcdefghijkl2345/out/#",
            "pinhole/abcdefghijkl2345/in",
            "pinhole/abcdefghijkl2345/out/0123456789ABCDEF0123456789ABCDEF",
            "pinhole/abcdefghijkl2345/out/0123456789abcdef0123456789abcde",
            "pinhole/abcdefghijkl2345/out/0123456789abcdef0123456789abcdef0",
            "pinhole/aaaaaaaaaaaaaaaa/status",
            "$share/g/pinhole/abcdefghijkl2345/status",
            "$SYS/#",
            "",
        ] {
            assert_eq!(rules.may_subscribe(filter), None, "{filter}");
        }
    }

    #[test]
    fn name_is_what_may_be_subscribed_to() {
        let rules = rules();
        for topic in [Topic::Status, Topic::Out(SessionId::from_bytes([7; 16]))] {
            assert_eq!(rules.may_subscribe(&rules.name(topic)), Some(topic));
        }
    }
}
