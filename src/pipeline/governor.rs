//! Slows the picture down while the processor cannot encode it in time or the board is hot: first fewer frames, then
//! smaller ones, step by step, and back again. For encoding in software alone. Pure: how long frames took, how hot the
//! board is and the time go in, what to encode comes out. Not here: measuring (`worker`, `thermal`), and scaling
//! (`encode::scaled`).

use std::time::{Duration, Instant};

/// Of a frame's time; above it the next disturbance costs frames.
const TOO_MUCH: f64 = 0.85;
/// What the next better step may cost by what is known, to be tried.
const ENOUGH: f64 = 0.60;
/// Of the camera's frames; so many may be lost for other reasons.
const SKIPPED: f64 = 0.15;
/// How long it must have been too much.
const SUSTAINED: Duration = Duration::from_secs(2);
/// After a step down, until the next.
const SETTLES: Duration = Duration::from_secs(4);
/// The same while the board is hot, as it cools slowly.
const COOLS: Duration = Duration::from_secs(20);
/// Before a step up, at first and at most: a step that had to be taken back is tried less and less often.
const RISE_AFTER: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(240));
/// A step up that has to be taken back within this time was one too much.
const REGRET: Duration = Duration::from_secs(60);
/// Degrees below the limit at which a hot board counts as cool again.
const HYSTERESIS: f32 = 5.0;
/// How much a new measurement counts, for each second that has passed.
const SMOOTHING: f64 = 1.5;

/// What is encoded of what the camera gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// So many frames of ...
    pub keep: u32,
    /// ... so many.
    pub of: u32,
    /// Width and height are divided by this.
    pub shrink: u32,
}

/// From all to the least: fewer frames first, for a smaller picture is missed more.
const STEPS: [Step; 5] = [
    Step { keep: 1, of: 1, shrink: 1 },
    Step { keep: 2, of: 3, shrink: 1 },
    Step { keep: 1, of: 2, shrink: 1 },
    Step { keep: 2, of: 3, shrink: 2 },
    Step { keep: 1, of: 3, shrink: 2 },
];

impl Step {
    /// Nothing is left out.
    pub const ALL: Self = STEPS[0];

    /// The cost of a second of it, in parts of all.
    fn cost(self) -> f64 {
        f64::from(self.keep) / f64::from(self.of) / f64::from(self.shrink * self.shrink)
    }
}

/// Why the picture is slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The processor is too slow, or others use it.
    Load,
    Heat,
}

/// A change to make now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub step: Step,
    /// `None` when all is encoded again.
    pub cause: Option<Cause>,
}

/// What one frame of the camera's cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// In conversion and encoder; zero for a frame that was left out.
    pub took: Duration,
    /// From one of the camera's frames to the next.
    pub interval: Duration,
    /// Frames that the camera made before it and nobody got.
    pub skipped: u32,
}

#[derive(Debug)]
pub struct Governor {
    /// °C.
    limit: f32,
    step: usize,
    cause: Cause,
    /// Of the time there is, smoothed.
    load: f64,
    /// Of the camera's frames, smoothed.
    skipped: f64,
    last: Option<Instant>,
    too_much_since: Option<Instant>,
    changed: Option<Instant>,
    /// When it last went up.
    rose: Option<Instant>,
    rise_after: Duration,
    hot: bool,
    /// Counts the camera's frames, to leave some out evenly.
    phase: u32,
}

impl Governor {
    /// All is encoded until it is seen to be too much. `limit` in °C.
    pub fn new(limit: f32) -> Self {
        Self {
            limit,
            step: 0,
            cause: Cause::Load,
            load: 0.0,
            skipped: 0.0,
            last: None,
            too_much_since: None,
            changed: None,
            rose: None,
            rise_after: RISE_AFTER.0,
            hot: false,
            phase: 0,
        }
    }

    /// What is encoded now.
    pub fn step(&self) -> Step {
        STEPS[self.step]
    }

    /// How far it is from all: 0 to 4.
    pub fn level(&self) -> u8 {
        u8::try_from(self.step).unwrap_or(u8::MAX)
    }

    /// Whether the camera's next frame is to be encoded.
    pub fn keeps(&mut self) -> bool {
        let Step { keep, of, .. } = self.step();
        self.phase = (self.phase + 1) % of;
        // Evenly: of three frames the first and the second, of two the first.
        self.phase * keep % of < keep
    }

    /// How hot the board is now, in °C.
    pub fn temperature(&mut self, degrees: f32) {
        self.hot = degrees >= if self.hot { self.limit - HYSTERESIS } else { self.limit };
    }

    /// A frame of the camera's is done with. A change is to be made at once: the next measurements are of it.
    pub fn frame(&mut self, cost: Cost, now: Instant) -> Option<Change> {
        self.measure(cost, now);
        let since_change = self.changed.map(|at| now.saturating_duration_since(at));
        let settled = |wait: Duration| since_change.is_none_or(|since| since >= wait);
        let overloaded = self.load > TOO_MUCH || self.skipped > SKIPPED;
        if overloaded {
            self.too_much_since.get_or_insert(now);
        } else {
            self.too_much_since = None;
        }
        let sustained =
            self.too_much_since.is_some_and(|since| now.saturating_duration_since(since) >= SUSTAINED);
        if sustained && settled(SETTLES) {
            return self.down(Cause::Load, now);
        }
        if self.hot && settled(COOLS) {
            return self.down(Cause::Heat, now);
        }
        let better = self.step.checked_sub(1)?;
        let predicted = self.load * STEPS[better].cost() / self.step().cost();
        if !self.hot && !overloaded && predicted < ENOUGH && settled(self.rise_after) {
            return self.up(better, now);
        }
        None
    }

    fn measure(&mut self, cost: Cost, now: Instant) {
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        let interval = cost.interval.as_secs_f64().max(0.001);
        let weight = (SMOOTHING * passed.as_secs_f64().max(interval)).min(1.0);
        // Between frames that are encoded lie those that are left out, which cost nothing.
        let load = (cost.took.as_secs_f64() / interval).min(4.0);
        self.load += weight * (load - self.load);
        let skipped = f64::from(cost.skipped) / f64::from(cost.skipped + 1);
        self.skipped += weight * (skipped - self.skipped);
    }

    fn down(&mut self, cause: Cause, now: Instant) -> Option<Change> {
        let worse = self.step + 1;
        if worse >= STEPS.len() {
            return None;
        }
        if self.rose.is_some_and(|rose| now.saturating_duration_since(rose) < REGRET) {
            self.rise_after = (self.rise_after * 2).min(RISE_AFTER.1);
        }
        self.cause = cause;
        Some(self.go(worse, now))
    }

    fn up(&mut self, better: usize, now: Instant) -> Option<Change> {
        if self.rose.is_none_or(|rose| now.saturating_duration_since(rose) >= REGRET + self.rise_after) {
            self.rise_after = RISE_AFTER.0;
        }
        self.rose = Some(now);
        Some(self.go(better, now))
    }

    fn go(&mut self, step: usize, now: Instant) -> Change {
        // What was measured is what the new step will cost, until it is measured itself.
        self.load *= STEPS[step].cost() / self.step().cost();
        self.skipped = 0.0;
        self.too_much_since = None;
        self.step = step;
        self.changed = Some(now);
        Change { step: self.step(), cause: (step > 0).then_some(self.cause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const INTERVAL: Duration = Duration::from_millis(33);

    /// A camera of 30 frames a second on a board that needs so long for a whole frame.
    struct Board {
        governor: Governor,
        now: Instant,
        start: Instant,
        /// The number of the camera's next frame.
        next: u32,
        /// When each change came, and to which step.
        changes: Vec<(Duration, Change)>,
    }

    impl Board {
        fn new() -> Self {
            let now = clock::now();
            Self { governor: Governor::new(80.0), now, start: now, next: 0, changes: Vec::new() }
        }

        /// So many seconds with frames that take so long each. As from a driver, the newest frame is taken.
        fn run(&mut self, seconds: u64, whole_frame_ms: f64) {
            let end = self.now + Duration::from_secs(seconds);
            while self.now < end {
                let newest = ((self.now - self.start).as_nanos() / INTERVAL.as_nanos()) as u32;
                let number = newest.max(self.next);
                let skipped = number - self.next;
                self.next = number + 1;
                self.now = self.now.max(self.start + INTERVAL * number);
                let Step { shrink, .. } = self.governor.step();
                let keeps = self.governor.keeps();
                let took = if keeps { whole_frame_ms / f64::from(shrink * shrink) } else { 0.0 };
                let took = Duration::from_secs_f64(took / 1000.0);
                self.now += took;
                let cost = Cost { took, interval: INTERVAL, skipped };
                if let Some(change) = self.governor.frame(cost, self.now) {
                    self.changes.push((self.now - self.start, change));
                }
            }
        }

        fn steps(&self) -> Vec<Step> {
            self.changes.iter().map(|(_, change)| change.step).collect()
        }
    }

    #[test]
    fn a_board_that_keeps_up_is_left_alone() {
        let mut board = Board::new();
        board.run(600, 20.0);
        assert_eq!(board.changes, []);
    }

    #[test]
    fn a_short_disturbance_changes_nothing() {
        let mut board = Board::new();
        for _ in 0..20 {
            board.run(1, 60.0);
            board.run(10, 10.0);
        }
        assert_eq!(board.changes, []);
    }

    #[test]
    fn a_slow_board_gets_fewer_frames_and_then_smaller_ones_until_it_keeps_up() {
        let mut board = Board::new();
        board.run(60, 38.0);
        assert_eq!(board.steps(), STEPS[1..2]);
        assert!(board.changes[0].0 <= Duration::from_secs(4), "{:?}", board.changes);
        let mut board = Board::new();
        board.run(60, 90.0);
        assert_eq!(board.steps()[..3], STEPS[1..4]);
        assert!(board.changes.iter().all(|(_, change)| change.cause == Some(Cause::Load)));
    }

    #[test]
    fn when_the_load_has_gone_all_is_encoded_again_step_by_step() {
        let mut board = Board::new();
        board.run(30, 90.0);
        let down = board.changes.len();
        board.run(120, 10.0);
        let last = board.changes.last().unwrap().1;
        assert_eq!(last, Change { step: STEPS[0], cause: None });
        assert_eq!(board.changes.len(), 2 * down, "one step at a time");
    }

    #[test]
    fn a_hot_board_is_slowed_down_until_it_has_cooled() {
        let mut board = Board::new();
        board.run(10, 5.0);
        board.governor.temperature(80.0);
        board.run(50, 5.0);
        assert_eq!(board.steps(), STEPS[1..4]);
        assert!(board.changes.iter().all(|(_, change)| change.cause == Some(Cause::Heat)));
        board.governor.temperature(76.0);
        board.run(5, 5.0);
        let hot = board.changes.len();
        board.governor.temperature(74.0);
        board.run(120, 5.0);
        assert_eq!(board.governor.step(), STEPS[0]);
        assert_eq!(board.changes.len(), 2 * hot);
    }

    #[test]
    fn a_step_that_has_to_be_taken_back_is_tried_less_and_less_often() {
        let mut board = Board::new();
        // Cheap while slowed down, too much when not: as if others used the processor whenever it is tried.
        for _ in 0..400 {
            let whole = if board.governor.step() == STEPS[0] { 40.0 } else { 12.0 };
            board.run(1, whole);
        }
        let tries: Vec<_> = board.changes.iter().filter(|(_, change)| change.cause.is_none()).collect();
        assert!((3..=6).contains(&tries.len()), "{tries:?}");
        let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.windows(2).all(|pair| pair[1] > pair[0]), "{gaps:?}");
    }

    #[test]
    fn frames_are_left_out_evenly() {
        for (step, Step { keep, of, .. }) in STEPS.into_iter().enumerate() {
            let mut governor = Governor { step, ..Governor::new(80.0) };
            let kept: Vec<_> = (0..of * 10).map(|_| governor.keeps()).collect();
            for group in kept.chunks(of as usize) {
                assert_eq!(group.iter().filter(|kept| **kept).count() as u32, keep, "{kept:?}");
            }
        }
    }

    /// Seeded loads and temperatures: changes are one step at a time and never faster than they may be, and when all is
    /// well again, all is encoded again.
    #[test]
    fn invariants_hold_under_any_load_and_heat() {
        let mut seed = 0x9e37_79b9_u32;
        let mut random = move |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed % below
        };
        for _ in 0..60 {
            let mut board = Board::new();
            for _ in 0..40 {
                board.governor.temperature(50.0 + random(40) as f32);
                board.run(u64::from(random(12)), f64::from(random(120)));
            }
            let mut step = STEPS[0];
            let mut last = None;
            for (at, change) in &board.changes {
                let index = |step: Step| STEPS.iter().position(|one| *one == step).unwrap();
                assert_eq!(index(change.step).abs_diff(index(step)), 1, "one step at a time");
                let down = index(change.step) > index(step);
                let least = if down { SETTLES } else { RISE_AFTER.0 };
                assert!(last.is_none_or(|last| *at - last >= least), "{:?}", board.changes);
                assert_eq!(change.cause.is_none(), change.step == STEPS[0]);
                (step, last) = (change.step, Some(*at));
            }
            board.governor.temperature(40.0);
            board.run(5 * RISE_AFTER.1.as_secs(), 5.0);
            assert_eq!(board.governor.step(), STEPS[0], "it recovers");
        }
    }
}
