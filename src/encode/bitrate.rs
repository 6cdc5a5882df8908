//! What bitrate to encode at, from what each viewer's connection is estimated to carry. One encode serves all, and
//! a viewer with a poor connection must not lower the others' picture: the best estimate decides, and who cannot
//! keep up skips frames. Pure. Not here: how a connection is estimated (`peer`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Bitrate;

/// The lowest rate that is ever asked for, unless the configuration's own is lower: below it no picture is worth
/// watching.
pub const FLOOR: Bitrate = Bitrate(150_000);
/// An estimate counts for so long.
pub const STALE_AFTER: Duration = Duration::from_secs(10);
/// The rate rises by at most this part of itself a second: probing a link fast fills its queue.
const RISE_PER_SECOND: f64 = 0.08;
/// It rises in steps this far apart, as each change unsettles the encoder's rate control.
const RISE_EVERY: Duration = Duration::from_millis(500);

/// The viewers' estimates and the rate that follows from them.
#[derive(Debug)]
pub struct BitrateControl {
    ceiling: Bitrate,
    current: Bitrate,
    /// Since when `current` could have risen.
    changed: Option<Instant>,
    estimates: BTreeMap<u64, Estimate>,
}

#[derive(Debug, Clone, Copy)]
struct Estimate {
    bits_per_second: u64,
    at: Instant,
}

impl BitrateControl {
    /// `ceiling` is the configured rate; it is also the first.
    pub fn new(ceiling: Bitrate) -> Self {
        Self { ceiling, current: ceiling, changed: None, estimates: BTreeMap::new() }
    }

    /// The most that is asked for.
    pub fn ceiling(&self) -> Bitrate {
        self.ceiling
    }

    /// Another configured rate: a lower one holds at once, a higher one is risen to while somebody watches.
    pub fn set_ceiling(&mut self, ceiling: Bitrate) {
        self.ceiling = ceiling;
        self.current = if self.changed.is_none() { ceiling } else { self.current.min(ceiling) };
    }

    /// A viewer's connection is estimated to carry so much.
    pub fn report(&mut self, viewer: u64, bits_per_second: u64, now: Instant) {
        self.estimates.insert(viewer, Estimate { bits_per_second, at: now });
    }

    /// A viewer left.
    pub fn forget(&mut self, viewer: u64) {
        self.estimates.remove(&viewer);
    }

    /// The last viewer has gone: what was learnt of the connections is worth nothing to the next.
    pub fn reset(&mut self) {
        *self = Self::new(self.ceiling);
    }

    /// The rate that was told last.
    pub const fn current(&self) -> Bitrate {
        self.current
    }

    /// The rate to encode at from `now` on: falls at once, rises slowly.
    pub fn target(&mut self, now: Instant) -> Bitrate {
        self.estimates.retain(|_, estimate| now.saturating_duration_since(estimate.at) < STALE_AFTER);
        let goal = self.goal();
        let since = now.saturating_duration_since(*self.changed.get_or_insert(now));
        if goal <= self.current {
            self.current = goal;
            self.changed = Some(now);
        } else if since >= RISE_EVERY {
            // A long pause is not a reason to leap.
            let factor = 1.0 + RISE_PER_SECOND * since.as_secs_f64().min(1.0);
            self.current = Bitrate((f64::from(self.current.0) * factor) as u32).min(goal);
            self.changed = Some(now);
        }
        self.current
    }

    /// The lowest estimate that counts now, in bits a second.
    pub fn lowest(&self, now: Instant) -> Option<u64> {
        let fresh = |estimate: &&Estimate| now.saturating_duration_since(estimate.at) < STALE_AFTER;
        self.estimates.values().filter(fresh).map(|estimate| estimate.bits_per_second).min()
    }

    /// Where the rate should be by the estimates alone. Without any, nothing speaks against the configured one.
    fn goal(&self) -> Bitrate {
        let best = self.estimates.values().map(|estimate| estimate.bits_per_second).max();
        let floor = FLOOR.min(self.ceiling);
        best.map_or(self.ceiling, |best| {
            Bitrate(u32::try_from(best).unwrap_or(u32::MAX)).clamp(floor, self.ceiling)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const CEILING: Bitrate = Bitrate(1_500_000);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn without_estimates_the_configured_rate_holds() {
        let mut control = BitrateControl::new(CEILING);
        assert_eq!(control.target(clock::now()), CEILING);
    }

    #[test]
    fn another_ceiling_holds_at_once_when_lower_and_is_risen_to_when_higher() {
        let (mut control, now) = (BitrateControl::new(CEILING), clock::now());
        control.set_ceiling(Bitrate(2_000_000));
        assert_eq!(control.target(now), Bitrate(2_000_000), "nobody watched yet");
        control.set_ceiling(Bitrate(400_000));
        assert_eq!(control.target(now), Bitrate(400_000));
        control.set_ceiling(Bitrate(800_000));
        assert_eq!(control.target(now), Bitrate(400_000));
        let rising = control.target(now + seconds(1.0));
        assert!(rising > Bitrate(400_000) && rising < Bitrate(500_000), "{rising:?}");
        let mut risen = rising;
        for second in 2..20 {
            risen = control.target(now + seconds(f64::from(second)));
        }
        assert_eq!(risen, Bitrate(800_000));
    }

    #[test]
    fn the_lowest_fresh_estimate_is_told() {
        let (mut control, now) = (BitrateControl::new(CEILING), clock::now());
        assert_eq!(control.lowest(now), None);
        control.report(1, 900_000, now);
        control.report(2, 300_000, now);
        assert_eq!(control.lowest(now), Some(300_000));
        assert_eq!(control.lowest(now + STALE_AFTER), None);
    }

    #[test]
    fn a_single_slow_viewer_lowers_the_rate_at_once() {
        let (mut control, now) = (BitrateControl::new(CEILING), clock::now());
        control.target(now);
        control.report(1, 500_000, now);
        assert_eq!(control.target(now), Bitrate(500_000));
    }

    #[test]
    fn slow_viewer_lowers_nobody_elses_rate() {
        let (mut control, now) = (BitrateControl::new(CEILING), clock::now());
        control.report(1, 500_000, now);
        control.report(2, 5_000_000, now);
        control.report(3, 200_000, now);
        assert_eq!(control.target(now), CEILING);
    }

    #[test]
    fn rate_keeps_between_floor_and_ceiling() {
        let (mut control, now) = (BitrateControl::new(CEILING), clock::now());
        control.report(1, 0, now);
        assert_eq!(control.target(now), FLOOR);
        control.report(1, u64::MAX, now);
        for step in 0..1000 {
            assert!(control.target(now + seconds(f64::from(step))) <= CEILING);
        }
        let mut low = BitrateControl::new(Bitrate(100_000));
        low.report(1, 0, now);
        assert_eq!(low.target(now), Bitrate(100_000), "a configured rate below the floor is the floor");
    }

    #[test]
    fn rate_rises_by_at_most_eight_percent_a_second() {
        let (mut control, start) = (BitrateControl::new(CEILING), clock::now());
        control.report(1, 300_000, start);
        control.target(start);
        let mut rates = vec![];
        for frame in 0..300 {
            let now = start + seconds(f64::from(frame) / 30.0);
            control.report(1, 10_000_000, now);
            rates.push(control.target(now));
        }
        for (early, late) in rates.iter().zip(&rates[30..]) {
            assert!(late >= early);
            assert!(f64::from(late.0) <= f64::from(early.0) * 1.0817, "{early:?} then {late:?}");
        }
        assert!(rates[299].0 > 300_000 * 3 / 2, "after 10 s only {:?}", rates[299]);
    }

    #[test]
    fn a_pause_does_not_let_the_rate_leap() {
        let (mut control, start) = (BitrateControl::new(CEILING), clock::now());
        control.report(1, 300_000, start);
        control.target(start);
        control.forget(1);
        assert!(control.target(start + seconds(600.0)) <= Bitrate(324_000));
    }

    #[test]
    fn new_viewers_begin_at_the_configured_rate() {
        let (mut control, start) = (BitrateControl::new(CEILING), clock::now());
        control.report(1, 300_000, start);
        control.target(start);
        control.reset();
        assert_eq!(control.target(start), CEILING);
    }

    #[test]
    fn stale_and_forgotten_estimates_do_not_count() {
        let (mut control, start) = (BitrateControl::new(CEILING), clock::now());
        control.report(1, 400_000, start);
        control.report(2, 900_000, start);
        assert_eq!(control.target(start), Bitrate(900_000));
        control.forget(2);
        assert_eq!(control.target(start), Bitrate(400_000));
        let later = start + STALE_AFTER;
        control.report(3, 350_000, later);
        assert_eq!(control.target(later), Bitrate(350_000), "viewer 1 has not been heard of for 10 s");
    }
}
