//! Signaling: pinhole/1, sealed from end to end, over any carrier (docs/signaling.md). The parts marked pure
//! take bytes and a time and give bytes; `mqtt` and `broker` move them. Not here: WebRTC (`peer`).

pub mod broker;
pub mod desk;
pub mod envelope;
pub mod exchange;
pub mod hand;
pub mod keys;
pub mod limit;
pub mod link;
pub mod message;
pub mod mqtt;
pub mod pairing;
pub mod people;
pub mod topic;
pub mod viewer;

#[cfg(test)]
mod vectors;

use bytes::Bytes;
use tokio::sync::mpsc;

use topic::{DeviceId, SessionId};

/// What a carrier tells the desk's task. The channel is bounded; when it is full, a carrier drops the
/// envelope and counts it, and waits with everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarrierEvent {
    /// Subscribed and ready to publish. Comes again after each reconnect; the status must then be published anew.
    Up,
    /// No longer; the carrier keeps trying. `reason` is one sentence for the log.
    Down { reason: String },
    /// A message on the device's `in` topic. Retained ones were already left out.
    Envelope(Bytes),
}

/// What the desk wants carried. Sending fails only when the carrier is down; then it is lost, as on any network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// To `<root>/<d>/status`, QoS 1, retained.
    Status(Bytes),
    /// To `<root>/<d>/out/<s>`, QoS 1, never retained.
    Reply { session: SessionId, envelope: Bytes },
}

/// One way for envelopes to travel. Each carrier runs tasks of its own and is stopped by dropping its `outgoing`
/// sender: it then publishes what is queued and the offline status, and ends.
#[derive(Debug)]
pub struct Carrier {
    /// For logs: `embedded broker`, `mqtts://host:8883`. Never with a password.
    pub name: String,
    pub events: mpsc::Receiver<CarrierEvent>,
    pub outgoing: mpsc::Sender<Outgoing>,
    pub task: tokio::task::JoinHandle<()>,
}

/// Where a carrier's messages go: the root (`pinhole`) and the device's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub root: String,
    pub device: DeviceId,
}

impl Address {
    /// `<root>/<d>/in`: viewer → device.
    pub fn topic_in(&self) -> String {
        format!("{}/{}/in", self.root, self.device)
    }

    /// `<root>/<d>/status`: device → all, retained.
    pub fn topic_status(&self) -> String {
        format!("{}/{}/status", self.root, self.device)
    }

    /// `<root>/<d>/out/<s>`: device → one viewer's session.
    pub fn topic_out(&self, session: &SessionId) -> String {
        format!("{}/{}/out/{session}", self.root, self.device)
    }
}

/// What `status` says of a device that is gone: the last will, and what a carrier publishes when it is stopped.
pub const OFFLINE_STATUS: &[u8] = br#"{"v":1,"online":false}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_made_of_root_device_and_session() {
        let device = DeviceId::parse("abcdefghijkl2345").expect("sixteen characters of the alphabet");
        let address = Address { root: "home/pinhole".to_owned(), device };
        assert_eq!(address.topic_in(), "home/pinhole/abcdefghijkl2345/in");
        assert_eq!(address.topic_status(), "home/pinhole/abcdefghijkl2345/status");
        let session = SessionId::from_bytes([0xa5; 16]);
        assert_eq!(
            address.topic_out(&session),
            "home/pinhole/abcdefghijkl2345/out/a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"
        );
    }
}
