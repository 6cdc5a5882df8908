//! A token bucket. Pure. Not here: what is limited, which each user says.

use std::time::{Duration, Instant};

/// Lets `burst` through at once and `per_second` in the long run.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { per_second: f64::from(per_second), burst, tokens: burst, filled: now }
    }

    /// Whether one more would be let through.
    pub fn is_open(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= 1.0
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let open = self.is_open(now);
        if open {
            self.tokens -= 1.0;
        }
        open
    }

    fn fill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn lets_a_burst_through_and_then_the_rate() {
        let start = clock::now();
        let mut bucket = Bucket::new(start, 5, 10);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 5);
        assert!(!bucket.is_open(later));
    }

    #[test]
    fn a_long_pause_fills_no_more_than_the_burst() {
        let start = clock::now();
        let mut bucket = Bucket::new(start, 5, 10);
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 10);
        assert!(!bucket.take(start), "an earlier time gives nothing back");
    }
}
