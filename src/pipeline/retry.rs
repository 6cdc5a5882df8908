//! How long to wait before a camera that failed is opened again. Pure.

use std::time::Duration;

use super::Timing;

/// A camera that ran for so long worked.
const WORKED: Duration = Duration::from_secs(10);
/// So many runs in a row that were shorter, and it is tried less often.
const SHORT_RUNS: u32 = 5;

#[derive(Debug)]
pub(super) struct Retry {
    timing: Timing,
    short_runs: u32,
}

impl Retry {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, short_runs: 0 }
    }

    /// After a camera that could not be opened. Always the short wait: it is found soon after it was plugged in.
    pub(super) fn after_refusal(&self) -> Duration {
        self.timing.retry
    }

    /// After a camera that was open for so long and then failed. Each opening costs the driver and the bus something,
    /// so a camera that does not last is tried less often.
    pub(super) fn after_run(&mut self, ran: Duration) -> Duration {
        self.short_runs = if ran < WORKED { self.short_runs + 1 } else { 1 };
        if self.short_runs > SHORT_RUNS { self.timing.retry_slowly } else { self.timing.retry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_that_does_not_last_is_tried_less_often_until_it_lasts() {
        let mut retry = Retry::new(Timing::REAL);
        let short = Duration::from_millis(300);
        for run in 0..SHORT_RUNS {
            assert_eq!(retry.after_run(short), Timing::REAL.retry, "run {run}");
        }
        assert_eq!(retry.after_run(short), Timing::REAL.retry_slowly);
        assert_eq!(retry.after_run(short), Timing::REAL.retry_slowly);
        assert_eq!(retry.after_refusal(), Timing::REAL.retry);
        assert_eq!(retry.after_run(WORKED), Timing::REAL.retry);
        assert_eq!(retry.after_run(short), Timing::REAL.retry);
    }
}
