//! How often requests without a good token are told so, by address. Pure. A good token is never held up by others' wrong
//! ones, even where all come from one address, as behind a reverse proxy.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::signal::{broker::limits::Neighbour, limit::Bucket};

/// Refusals of one address in a second.
pub const PER_SECOND: u32 = 5;
const BURST: u32 = 10;
/// Addresses that are remembered. Those beyond share one place.
const MAX_ADDRESSES: usize = 256;
/// After so long a bucket is full again, and need not be remembered.
const FORGET: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Strangers {
    known: BTreeMap<Neighbour, (Bucket, Instant)>,
    others: Bucket,
}

impl Strangers {
    pub fn new(now: Instant) -> Self {
        Self { known: BTreeMap::new(), others: Bucket::new(now, PER_SECOND, BURST) }
    }

    /// Whether one more is told what is wrong, and not only that it is too fast.
    pub fn take(&mut self, now: Instant, address: IpAddr) -> bool {
        let address = Neighbour::of(address);
        if self.known.len() >= MAX_ADDRESSES && !self.known.contains_key(&address) {
            self.known.retain(|_, (_, seen)| now.saturating_duration_since(*seen) < FORGET);
        }
        if self.known.len() >= MAX_ADDRESSES && !self.known.contains_key(&address) {
            return self.others.take(now);
        }
        let new = || (Bucket::new(now, PER_SECOND, BURST), now);
        let (bucket, seen) = self.known.entry(address).or_insert_with(new);
        *seen = now;
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn count(strangers: &mut Strangers, now: Instant, address: &str) -> usize {
        let address: IpAddr = address.parse().unwrap();
        (0..50).filter(|_| strangers.take(now, address)).count()
    }

    #[test]
    fn each_address_has_its_own_bound_and_gets_it_back() {
        let now = clock::now();
        let mut strangers = Strangers::new(now);
        assert_eq!(count(&mut strangers, now, "192.0.2.1"), 10);
        assert_eq!(count(&mut strangers, now, "::ffff:192.0.2.1"), 0, "the same one");
        assert_eq!(count(&mut strangers, now, "192.0.2.2"), 10);
        assert_eq!(count(&mut strangers, now + Duration::from_secs(1), "192.0.2.1"), 5);
    }

    #[test]
    fn one_network_of_ipv6_counts_as_one() {
        let now = clock::now();
        let mut strangers = Strangers::new(now);
        assert_eq!(count(&mut strangers, now, "2001:db8::1"), 10);
        assert_eq!(count(&mut strangers, now, "2001:db8::2"), 0);
    }

    #[test]
    fn a_crowd_of_addresses_takes_no_more_memory_and_is_forgotten() {
        let now = clock::now();
        let mut strangers = Strangers::new(now);
        let crowd = |strangers: &mut Strangers, now| {
            let told = |n: &u32| strangers.take(now, IpAddr::V4((*n).into()));
            (0..2000).filter(told).count()
        };
        assert_eq!(crowd(&mut strangers, now), MAX_ADDRESSES + 10);
        assert_eq!(strangers.known.len(), MAX_ADDRESSES);
        assert_eq!(count(&mut strangers, now + FORGET, "192.0.2.1"), 10);
        assert_eq!(strangers.known.len(), 1);
    }
}
