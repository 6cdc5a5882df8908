//! What the exchange knows of itself, for whoever looks after the agent: which carriers are up, who watches, what was
//! counted. In the exchange's task. Not here: cameras and the machine (`status`).

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Work;
use crate::{
    clock,
    peer::{Peers, tally::SessionCounts},
    signal::{desk::DeskCounters, people::Person},
};

/// Signaling, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub carriers: Vec<CarrierReport>,
    /// All who are paired, in that order.
    pub people: Vec<Person>,
    /// Sessions since the start; `None` while the agent is stopping.
    pub sessions: Option<SessionCounts>,
    /// Sessions that have begun and do not play yet.
    pub connecting: usize,
    pub counters: DeskCounters,
}

/// A way for envelopes to travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarrierReport {
    /// As in [`Carrier::name`](crate::signal::Carrier::name).
    pub name: String,
    pub up: bool,
    /// Seconds since it came up or went down; since the start where it was never up.
    pub since_s: u64,
    /// Why it is down, in one sentence; absent while it is up, or has yet to come up for the first time.
    pub reason: Option<String>,
    /// Times that it came up.
    pub connects: u64,
    /// Messages to viewers that were lost, as it was down or overrun.
    pub lost: u64,
}

/// What is kept of a carrier to tell it.
#[derive(Debug)]
pub(super) struct Condition {
    up: bool,
    since: Instant,
    reason: Option<String>,
    connects: u64,
    pub(super) lost: u64,
}

impl Condition {
    pub(super) fn new(now: Instant) -> Self {
        Self { up: false, since: now, reason: None, connects: 0, lost: 0 }
    }

    pub(super) fn came_up(&mut self, now: Instant) {
        self.connects += 1;
        if !self.up {
            (self.up, self.since) = (true, now);
        }
        self.reason = None;
    }

    pub(super) fn went_down(&mut self, reason: &str, now: Instant) {
        if self.up {
            (self.up, self.since) = (false, now);
        }
        self.reason = Some(reason.to_owned());
    }

    fn report(&self, name: &str, now: Instant) -> CarrierReport {
        CarrierReport {
            name: name.to_owned(),
            up: self.up,
            since_s: now.saturating_duration_since(self.since).as_secs(),
            reason: self.reason.clone(),
            connects: self.connects,
            lost: self.lost,
        }
    }
}

impl Work {
    pub(super) fn report(&self) -> Report {
        let now = clock::now();
        let carriers = self.carriers.iter().zip(&self.conditions);
        Report {
            carriers: carriers.map(|(carrier, condition)| condition.report(&carrier.name, now)).collect(),
            people: self.people(),
            sessions: self.peers.as_ref().map(Peers::counts),
            connecting: self.connecting(),
            counters: self.desk.counters(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_carrier_is_down_since_it_went_down_however_often_it_fails() {
        let (start, second) = (clock::now(), Duration::from_secs(1));
        let mut condition = Condition::new(start);
        condition.went_down("refused", start + second);
        let report = condition.report("b", start + 5 * second);
        assert_eq!((report.up, report.since_s, report.reason.as_deref()), (false, 5, Some("refused")));
        condition.came_up(start + 10 * second);
        condition.came_up(start + 11 * second);
        let report = condition.report("b", start + 15 * second);
        assert_eq!((report.up, report.since_s, report.reason, report.connects), (true, 5, None, 2));
        condition.went_down("cut", start + 20 * second);
        condition.went_down("refused", start + 25 * second);
        let report = condition.report("b", start + 30 * second);
        assert_eq!((report.up, report.since_s, report.reason.as_deref()), (false, 10, Some("refused")));
    }
}
