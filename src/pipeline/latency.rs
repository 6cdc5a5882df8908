//! How old frames are when they come to a stage, counted in a few classes without a lock or an allocation. Counted by the
//! thread or task that has the frame, read by whoever asks. Not here: which stages there are (`pipeline.rs`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the classes, in milliseconds; the last class has none. A frame of 30 a second lasts 33.
pub const BOUNDS_MS: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 1000];

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Latency {
    classes: [AtomicU64; BOUNDS_MS.len() + 1],
    micros: AtomicU64,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// So many in each class alone, the one without a bound last.
    pub classes: [u64; BOUNDS_MS.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl Latency {
    pub(super) fn add(&self, age: Duration) {
        let milliseconds = age.as_micros().div_ceil(1000);
        let class = BOUNDS_MS.iter().position(|bound| milliseconds <= u128::from(*bound));
        self.classes[class.unwrap_or(BOUNDS_MS.len())].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(age.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Histogram {
        Histogram {
            classes: std::array::from_fn(|class| self.classes[class].load(Ordering::Relaxed)),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_class_and_what_is_older_than_all_is_counted_too() {
        let latency = Latency::default();
        for micros in [0, 5000, 5001, 1_000_000, 1_000_001, 60_000_000] {
            latency.add(Duration::from_micros(micros));
        }
        let Histogram { classes, sum } = latency.read();
        assert_eq!(classes, [2, 1, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(sum, Duration::from_micros(62_010_002));
    }
}
