//! From the WebRTC crate's callbacks, which run on its driver task and must not block, to the session: a bounded
//! queue in which states always find room. Also gathers our ICE candidates until the answer is written.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, mpsc};
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
};

use super::RtcEvent;
use crate::{peer::guard::Guard, signal::message::Candidate};

const CAPACITY: usize = 64;
/// Places that reports from the viewer, which may come in floods, leave free for states and candidates.
const RESERVED: usize = 40;

/// The sending end.
#[derive(Debug, Clone)]
pub struct Events {
    sender: mpsc::Sender<RtcEvent>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    pub fn new() -> (Self, mpsc::Receiver<RtcEvent>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender, dropped: Arc::default() }, receiver)
    }

    /// A report; dropped when the session is behind, for another will come.
    pub fn feedback(&self, event: RtcEvent) {
        if self.sender.capacity() > RESERVED {
            self.state(event);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something that comes once.
    pub fn state(&self, event: RtcEvent) {
        if self.sender.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The crate's event handler.
#[derive(Debug)]
pub struct Handler {
    events: Events,
    guard: Guard,
    gathered: Mutex<Gathered>,
    /// A candidate was gathered, or gathering ended.
    progress: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Whether candidates go to the viewer one by one, the answer being on its way.
    trickling: bool,
    waiting: Vec<String>,
    complete: bool,
    /// The video section's `mid` and index in the viewer's offer.
    section: (String, u16),
    told: BTreeSet<String>,
}

impl Handler {
    pub fn new(events: Events, guard: Guard) -> Self {
        Self { events, guard, gathered: Mutex::default(), progress: Notify::new() }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new answer is being made: candidates wait for it.
    pub fn hold(&self, mid: &str, index: u16) {
        *self.gathered() = Gathered { section: (mid.to_owned(), index), ..Gathered::default() };
    }

    /// Returns when `expected` candidates are there or gathering has ended.
    pub async fn wait_for(&self, expected: usize) {
        loop {
            let progress = self.progress.notified();
            {
                let gathered = self.gathered();
                if gathered.complete || gathered.waiting.len() >= expected {
                    return;
                }
            }
            progress.await;
        }
    }

    /// The answer is written: what it does not hold yet is told as events, and all that comes later.
    pub fn release(&self, answer: &str) {
        let mut gathered = self.gathered();
        gathered.trickling = true;
        for candidate in std::mem::take(&mut gathered.waiting) {
            if answer.contains(&candidate) {
                gathered.told.insert(candidate);
            } else {
                self.tell(&mut gathered, candidate);
            }
        }
        if gathered.complete {
            self.events.state(RtcEvent::LocalCandidate(None));
        }
    }

    fn tell(&self, gathered: &mut Gathered, candidate: String) {
        if gathered.told.insert(candidate.clone()) {
            let (mid, index) = gathered.section.clone();
            self.events.state(RtcEvent::LocalCandidate(Some(Candidate {
                candidate,
                sdp_mid: Some(mid),
                sdp_m_line_index: Some(index),
            })));
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let Ok(candidate) = event.candidate.to_json() else { return };
        let mut gathered = self.gathered();
        if gathered.trickling {
            self.tell(&mut gathered, candidate.candidate);
        } else {
            gathered.waiting.push(candidate.candidate);
        }
        drop(gathered);
        self.progress.notify_one();
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state != RTCIceGatheringState::Complete {
            return;
        }
        let mut gathered = self.gathered();
        gathered.complete = true;
        if gathered.trickling {
            self.events.state(RtcEvent::LocalCandidate(None));
        }
        drop(gathered);
        self.progress.notify_one();
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        match state {
            RTCPeerConnectionState::Connected => {
                self.guard.connected();
                self.events.state(RtcEvent::Connected);
            }
            RTCPeerConnectionState::Disconnected => self.events.state(RtcEvent::Disconnected),
            RTCPeerConnectionState::Failed => self.events.state(RtcEvent::Failed),
            RTCPeerConnectionState::Closed => self.events.state(RtcEvent::Closed),
            _ => {}
        }
    }
}
