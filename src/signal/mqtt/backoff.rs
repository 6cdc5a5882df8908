//! How long to wait before the next attempt to reach a broker. Pure: the random number is an argument.
//! Not here: what went wrong (`reason`), and the waiting.

use std::time::Duration;

/// The ceiling of the first wait.
const FIRST: Duration = Duration::from_millis(500);
/// The ceiling of all waits.
const LONGEST: Duration = Duration::from_secs(30);
/// No wait is shorter: chance alone must not make a storm.
const SHORTEST: Duration = Duration::from_millis(100);
/// A connection that lasted so long was a good one; one that was shorter counts as another failure.
const STABLE: Duration = Duration::from_secs(30);
/// After a refusal that only a person can cure there is at most one attempt in this time.
const REFUSED: Duration = Duration::from_secs(30);
/// While this machine's clock is wrong: short, for time comes soon after the network.
const CLOCK: Duration = Duration::from_secs(5);

/// What the next attempt depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It may be better at any moment.
    Passing,
    /// The broker does not want this user, or not on this topic.
    Refused,
    /// The certificate is of another time than this machine's clock.
    Clock,
}

/// Doubles from attempt to attempt, with full jitter, and starts anew only after a connection that lasted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt failed, or a connection ended after `lasted`. Gives the wait before the next; `random` is uniform
    /// over its type.
    pub fn failed(&mut self, kind: Kind, lasted: Duration, random: u32) -> Duration {
        if lasted >= STABLE {
            self.failures = 0;
        }
        let ceiling = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1).min(16);
        let fraction = f64::from(random) / f64::from(u32::MAX);
        match kind {
            Kind::Passing => ceiling.mul_f64(fraction).max(SHORTEST),
            Kind::Refused => REFUSED + ceiling.mul_f64(fraction),
            Kind::Clock => ceiling.min(CLOCK).mul_f64(fraction).max(SHORTEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(kind: Kind, lasted: Duration, random: u32) -> Vec<Duration> {
        let mut backoff = Backoff::default();
        (0..40).map(|_| backoff.failed(kind, lasted, random)).collect()
    }

    #[test]
    fn ceiling_doubles_from_half_a_second_to_thirty() {
        let waits = waits(Kind::Passing, Duration::ZERO, u32::MAX);
        assert_eq!(waits[..4], [500, 1000, 2000, 4000].map(Duration::from_millis));
        assert!(waits[7..].iter().all(|wait| *wait == Duration::from_secs(30)));
    }

    #[test]
    fn jitter_is_full_but_never_nothing() {
        assert!(waits(Kind::Passing, Duration::ZERO, 0).iter().all(|wait| *wait == SHORTEST));
        let half = waits(Kind::Passing, Duration::ZERO, u32::MAX / 2);
        assert!(half[10] > Duration::from_secs(14) && half[10] < Duration::from_secs(16));
    }

    #[test]
    fn connection_that_is_cut_at_once_does_not_start_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed(Kind::Passing, Duration::from_secs(29), u32::MAX);
        }
        assert_eq!(backoff.failed(Kind::Passing, Duration::from_secs(29), u32::MAX), LONGEST);
        assert_eq!(backoff.failed(Kind::Passing, STABLE, u32::MAX), FIRST);
        assert_eq!(backoff.failed(Kind::Passing, Duration::ZERO, u32::MAX), FIRST * 2);
    }

    #[test]
    fn refusals_are_repeated_at_most_every_thirty_seconds() {
        for random in [0, u32::MAX / 3, u32::MAX] {
            assert!(waits(Kind::Refused, Duration::ZERO, random).iter().all(|wait| *wait >= REFUSED));
        }
    }

    #[test]
    fn wrong_clock_is_looked_at_again_soon() {
        assert!(waits(Kind::Clock, Duration::ZERO, u32::MAX).iter().all(|wait| *wait <= CLOCK));
    }
}
