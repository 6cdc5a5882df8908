//! Who may publish and subscribe where. Pure. A viewer may send to a device's `in`, and read its `status` and the one
//! `out` topic of a session whose id it knows. Another device of the house may publish its own `status` (retained) and
//! `out`, and read its own `in`. Everything else, wildcards included, is refused: no other topics exist here.
//! Not here: who is connected and what is delivered (`state`).

use std::collections::BTreeSet;

use crate::signal::{
    Address,
    topic::{self, DeviceId, Topic},
};

/// Who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Anybody.
    Viewer,
    /// Another device of the house, which has shown its key.
    Device(DeviceId),
}

/// A topic that exists here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub device: DeviceId,
    pub topic: Topic,
}

/// The rules for one device's address, and for the other devices that are accepted there.
#[derive(Debug, Clone)]
pub struct Rules {
    root: String,
    own: DeviceId,
    others: BTreeSet<DeviceId>,
}

impl Rules {
    /// The rules of the device at `address`, with `others` beside it.
    pub fn new(address: &Address, others: impl IntoIterator<Item = DeviceId>) -> Self {
        let others = others.into_iter().collect();
        Self { root: address.root.clone(), own: address.device, others }
    }

    /// The device whose agent is in this process.
    pub fn own(&self) -> DeviceId {
        self.own
    }

    /// The others that are accepted.
    pub fn others(&self) -> impl Iterator<Item = DeviceId> {
        self.others.iter().copied()
    }

    /// Where that is, if it may be published there, retained or not. Nothing that a viewer says is ever kept.
    pub fn may_publish(&self, party: Party, topic: &str, retain: Retain) -> Option<Place> {
        let place = self.place(topic)?;
        let may = match (party, place.topic) {
            (Party::Viewer, Topic::In) => retain == Retain::No,
            (Party::Device(device), Topic::Status) => place.device == device && retain == Retain::Yes,
            (Party::Device(device), Topic::Out(_)) => place.device == device && retain == Retain::No,
            (Party::Viewer, Topic::Status | Topic::Out(_)) | (Party::Device(_), Topic::In) => false,
        };
        may.then_some(place)
    }

    /// What a subscription means; `None`: refused.
    pub fn may_subscribe(&self, party: Party, filter: &str) -> Option<Place> {
        let place = self.place(filter)?;
        let may = match (party, place.topic) {
            (Party::Viewer, Topic::Status | Topic::Out(_)) => true,
            (Party::Device(device), Topic::In) => place.device == device,
            (Party::Viewer, Topic::In) | (Party::Device(_), Topic::Status | Topic::Out(_)) => false,
        };
        may.then_some(place)
    }

    /// The topic as it goes over the wire.
    pub fn name(&self, place: Place) -> String {
        topic::name(&self.root, place.device, place.topic)
    }

    fn place(&self, topic: &str) -> Option<Place> {
        let (device, topic) = topic::parse(&self.root, topic)?;
        (device == self.own || self.others.contains(&device)).then_some(Place { device, topic })
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
    use crate::signal::topic::SessionId;

    const SESSION: &str = "0123456789abcdef0123456789abcdef";

    fn device(text: &str) -> DeviceId {
        DeviceId::parse(text).unwrap()
    }

    fn own() -> DeviceId {
        device("abcdefghijkl2345")
    }

    fn other() -> DeviceId {
        device("bbbbbbbbbbbbbbbb")
    }

    fn rules() -> Rules {
        let others = [other(), device("cccccccccccccccc")];
        Rules::new(&Address { root: "pinhole".to_owned(), device: own() }, others)
    }

    #[test]
    fn viewer_publishes_only_to_in_and_never_retained() {
        let rules = rules();
        for device in [own(), other()] {
            let topic = format!("pinhole/{device}/in");
            assert_eq!(
                rules.may_publish(Party::Viewer, &topic, Retain::No),
                Some(Place { device, topic: Topic::In })
            );
            assert_eq!(rules.may_publish(Party::Viewer, &topic, Retain::Yes), None);
        }
        for topic in [
            "pinhole/abcdefghijkl2345/status",
            "pinhole/bbbbbbbbbbbbbbbb/status",
            "pinhole/abcdefghijkl2345/in/",
            "pinhole/abcdefghijkl2345/IN",
            "pinhole/aaaaaaaaaaaaaaaa/in",
            "other/abcdefghijkl2345/in",
            &format!("pinhole/abcdefghijkl2345/out/{SESSION}"),
            &format!("pinhole/bbbbbbbbbbbbbbbb/out/{SESSION}"),
            "$SYS/broker",
            "",
            "#",
        ] {
            for retain in [Retain::No, Retain::Yes] {
                assert_eq!(rules.may_publish(Party::Viewer, topic, retain), None, "{topic}");
            }
        }
    }

    #[test]
    fn viewer_subscribes_only_to_status_and_an_exact_session() {
        let rules = rules();
        for device in [own(), other()] {
            for topic in [Topic::Status, Topic::Out(SessionId::parse(SESSION).unwrap())] {
                let place = Place { device, topic };
                assert_eq!(rules.may_subscribe(Party::Viewer, &rules.name(place)), Some(place));
            }
        }
        for filter in [
            "#",
            "+/+/status",
            "pinhole/#",
            "pinhole/+/status",
            "pinhole/abcdefghijkl2345/out/+",
            "pinhole/abcdefghijkl2345/out/#",
            "pinhole/abcdefghijkl2345/in",
            "pinhole/bbbbbbbbbbbbbbbb/in",
            "pinhole/abcdefghijkl2345/out/0123456789ABCDEF0123456789ABCDEF",
            "pinhole/abcdefghijkl2345/out/0123456789abcdef0123456789abcde",
            "pinhole/abcdefghijkl2345/out/0123456789abcdef0123456789abcdef0",
            "pinhole/aaaaaaaaaaaaaaaa/status",
            "$share/g/pinhole/abcdefghijkl2345/status",
            "$SYS/#",
            "",
        ] {
            assert_eq!(rules.may_subscribe(Party::Viewer, filter), None, "{filter}");
        }
    }

    #[test]
    fn device_speaks_for_itself_alone() {
        let rules = rules();
        let party = Party::Device(other());
        let out = Topic::Out(SessionId::from_bytes([7; 16]));
        let mine = |topic| rules.name(Place { device: other(), topic });
        assert!(rules.may_publish(party, &mine(Topic::Status), Retain::Yes).is_some());
        assert!(rules.may_publish(party, &mine(out), Retain::No).is_some());
        assert!(rules.may_subscribe(party, &mine(Topic::In)).is_some());
        for (topic, retain) in [
            (Topic::Status, Retain::No),
            (out, Retain::Yes),
            (Topic::In, Retain::No),
            (Topic::In, Retain::Yes),
        ] {
            assert_eq!(rules.may_publish(party, &mine(topic), retain), None, "{topic:?} {retain:?}");
        }
        for topic in [Topic::Status, out] {
            assert_eq!(rules.may_subscribe(party, &mine(topic)), None, "{topic:?}");
        }
        for device in [own(), device("cccccccccccccccc")] {
            for topic in [Topic::Status, Topic::In, out] {
                let name = rules.name(Place { device, topic });
                assert_eq!(rules.may_subscribe(party, &name), None, "{name}");
                for retain in [Retain::No, Retain::Yes] {
                    assert_eq!(rules.may_publish(party, &name, retain), None, "{name}");
                }
            }
        }
        assert_eq!(rules.may_subscribe(party, "#"), None);
        assert_eq!(rules.may_subscribe(party, "pinhole/bbbbbbbbbbbbbbbb/#"), None);
    }
}
