//! The agent's in-process end of the broker: no socket, no credentials, and the only one that may publish `status`
//! and `out`. Runs on one task. Not here: what the agent says.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Agent, Broker};
use crate::{
    signal::{Carrier, CarrierEvent, OFFLINE_STATUS, Outgoing},
    tasks,
};

/// Envelopes waiting for the agent; what comes when it is full is refused with "quota exceeded".
const EVENTS: usize = 256;
/// Messages of the agent waiting for this task.
const OUTGOING: usize = 64;

pub(super) fn start(broker: &Arc<Broker>) -> Carrier {
    let (events_in, events) = mpsc::channel(EVENTS);
    let (outgoing, outgoing_out) = mpsc::channel(OUTGOING);
    // The channel is new, so there is room.
    let _ = events_in.try_send(CarrierEvent::Up);
    let number = {
        let mut shared = broker.lock();
        shared.next_agent += 1;
        let number = shared.next_agent;
        shared.agent = Some(Agent { number, events: events_in });
        number
    };
    let attached = Attached { broker: Arc::clone(broker), number };
    let task = tasks::spawn("broker link", run(attached, outgoing_out));
    Carrier { name: "embedded broker".to_owned(), events, outgoing, task }
}

async fn run(attached: Attached, mut outgoing: mpsc::Receiver<Outgoing>) {
    while let Some(message) = outgoing.recv().await {
        attached.broker.with_state(|state| match message {
            Outgoing::Status(status) => state.publish_status(status),
            Outgoing::Reply { session, envelope } => state.publish_reply(session, &envelope),
        });
    }
}

/// The agent's place in the broker, given up when this is dropped: also when the task is aborted, as a last will.
struct Attached {
    broker: Arc<Broker>,
    number: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        {
            let mut shared = self.broker.lock();
            if shared.agent.as_ref().is_none_or(|agent| agent.number != self.number) {
                return;
            }
            shared.agent = None;
        }
        self.broker.with_state(|state| state.publish_status(Bytes::from_static(OFFLINE_STATUS)));
    }
}
