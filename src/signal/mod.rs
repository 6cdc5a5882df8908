//! Signaling: pinhole/1, sealed from end to end, over any carrier (docs/signaling.md). The parts marked pure
//! take bytes and a time and give bytes; `mqtt` and `broker` move them. Not here: WebRTC (`peer`).

pub mod broker;
pub mod desk;
pub mod door;
pub mod envelope;
pub mod exchange;
pub mod hand;
pub mod keys;
pub mod limit;
pub mod link;
pub mod login;
pub mod message;
pub mod mqtt;
pub mod pairing;
pub mod people;
pub mod topic;
pub mod viewer;
pub mod whep;
pub mod whole;

#[cfg(test)]
mod vectors;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use topic::Address;
use topic::SessionId;

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

/// What `status` says of a device that is gone: the last will, and what a carrier publishes when it is stopped.
pub const OFFLINE_STATUS: &[u8] = br#"{"v":1,"online":false}"#;
