//! What bounds the broker: the numbers, and the crowd of connections that have not yet said who they are. Pure.
//! Not here: who acts on it (`session`, `state`, and the web server for its own connections).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// The broker's bounds. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Viewers connected at once. Other devices of the house have places of their own, one each.
    pub clients: usize,
    /// Viewers from one address (an IPv6 /64 counts as one). Loopback is exempt: a reverse proxy comes from there.
    pub clients_per_address: usize,
    /// Connections that have not sent their CONNECT yet.
    pub handshakes: usize,
    /// Of these, from one address; loopback is exempt.
    pub handshakes_per_address: usize,
    /// How long a connection may take until its CONNECT is complete.
    pub handshake_time: Duration,
    /// The largest packet, both ways (MQTT 5, 3.1.2.11.4).
    pub packet: u32,
    /// Enough for the statuses of all devices that can be accepted, and a few sessions.
    pub subscriptions_per_client: usize,
    /// Messages waiting for one client. A client that lets it fill is too slow, and is dropped.
    pub queue: usize,
    /// QoS 1 messages sent to a client and not acknowledged (MQTT 5, 4.9).
    pub window: u16,
    /// Bytes waiting for one client, with the same consequence.
    pub queue_bytes: usize,
    /// Packets that a viewer may send per second; one second's worth at once. Acknowledgements that are awaited do not
    /// count.
    pub packets_per_second: u32,
    /// The same for another device of the house, which may have many viewers.
    pub packets_per_second_of_device: u32,
    /// Bytes of a retained message. There is one of each device: its status.
    pub status: usize,
    /// Statuses that a device may publish per second; twice as many at once.
    pub statuses_per_second: u32,
    /// The longest keep-alive; a client that asks for more, or for none, gets this (MQTT 5, 3.2.2.3.14).
    pub keep_alive: Duration,
    /// How long one packet may take to be written.
    pub send_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 64,
            clients_per_address: 16,
            handshakes: 32,
            handshakes_per_address: 16,
            handshake_time: Duration::from_secs(5),
            packet: 64 * 1024,
            subscriptions_per_client: 64,
            queue: 128,
            queue_bytes: 1024 * 1024,
            window: 32,
            packets_per_second: 200,
            packets_per_second_of_device: 500,
            status: 1024,
            statuses_per_second: 5,
            keep_alive: Duration::from_secs(120),
            send_time: Duration::from_secs(5),
        }
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 /64, of which anybody has as many addresses as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour(IpAddr);

impl Neighbour {
    /// The group that `ip` belongs to.
    pub fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) if v6.is_loopback() => IpAddr::V6(v6),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        })
    }

    /// Whether it is this machine.
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

/// Connections that are let in but have not shown any reason to be kept. A newcomer is never refused: when there
/// are too many, the oldest must go, first of the newcomer's own address when that has too many, else of the address
/// that has most. So silent connections cost nobody else anything.
#[derive(Debug)]
pub struct Crowd {
    total: usize,
    per_address: usize,
    next: u64,
    /// In order of arrival.
    members: BTreeMap<Member, Neighbour>,
}

/// One connection in a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u64);

impl Crowd {
    /// An empty crowd that holds `total`, and `per_address` of one address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self { total, per_address, next: 0, members: BTreeMap::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Lets a newcomer in; the second value is who must go for it, who is no longer counted.
    pub fn arrive(&mut self, ip: IpAddr) -> (Member, Option<Member>) {
        let neighbour = Neighbour::of(ip);
        let crowded_address = !neighbour.is_loopback() && self.count(neighbour) >= self.per_address;
        let leaves = if crowded_address {
            self.oldest(neighbour)
        } else if self.members.len() >= self.total {
            self.most_present().and_then(|most| self.oldest(most))
        } else {
            None
        };
        if let Some(member) = leaves {
            self.members.remove(&member);
        }
        let member = Member(self.next);
        self.next += 1;
        self.members.insert(member, neighbour);
        (member, leaves)
    }

    /// A connection ended, or has shown that it is worth keeping. Leaving twice does nothing.
    pub fn leave(&mut self, member: Member) {
        self.members.remove(&member);
    }

    fn count(&self, neighbour: Neighbour) -> usize {
        self.members.values().filter(|one| **one == neighbour).count()
    }

    fn oldest(&self, neighbour: Neighbour) -> Option<Member> {
        self.members.iter().find(|(_, one)| **one == neighbour).map(|(member, _)| *member)
    }

    fn most_present(&self) -> Option<Neighbour> {
        let mut counts = BTreeMap::<Neighbour, usize>::new();
        for neighbour in self.members.values() {
            *counts.entry(*neighbour).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(neighbour, _)| neighbour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn newcomer_replaces_the_oldest_of_a_crowded_address() {
        let mut crowd = Crowd::new(10, 2);
        let (first, _) = crowd.arrive(ip(1));
        let (_, other) = crowd.arrive(ip(2));
        let (second, _) = crowd.arrive(ip(1));
        assert_eq!(other, None);
        assert_eq!(crowd.arrive(ip(1)).1, Some(first));
        assert_eq!(crowd.arrive(ip(1)).1, Some(second));
        assert_eq!(crowd.len(), 3);
    }

    #[test]
    fn full_crowd_takes_from_the_address_that_has_most() {
        let mut crowd = Crowd::new(4, 3);
        let (lone, _) = crowd.arrive(ip(9));
        let (oldest, _) = crowd.arrive(ip(1));
        crowd.arrive(ip(1));
        crowd.arrive(ip(1));
        assert_eq!(crowd.arrive(ip(2)).1, Some(oldest));
        assert_eq!(crowd.len(), 4);
        crowd.leave(lone);
        crowd.leave(lone);
        assert_eq!(crowd.len(), 3);
        assert_eq!(crowd.arrive(ip(3)).1, None);
    }

    #[test]
    fn crowd_never_grows_over_its_bounds_and_never_refuses() {
        let mut crowd = Crowd::new(32, 16);
        for round in 0..2000_u32 {
            let (member, leaves) = crowd.arrive(ip((round % 7) as u8));
            assert_ne!(leaves, Some(member));
            assert!(crowd.len() <= 32);
            if round % 5 == 0 {
                crowd.leave(member);
            }
        }
    }

    #[test]
    fn loopback_may_fill_the_whole_crowd_but_no_more() {
        let mut crowd = Crowd::new(8, 2);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let left = (0..20).filter(|_| crowd.arrive(loopback).1.is_some()).count();
        assert_eq!((crowd.len(), left), (8, 12));
    }

    #[test]
    fn ipv6_hosts_of_one_network_count_as_one_and_mapped_ipv4_as_ipv4() {
        let group = |text: &str| Neighbour::of(text.parse().unwrap());
        assert_eq!(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::9"));
        assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
        assert!(group("::1").is_loopback());
        assert!(group("127.0.0.1").is_loopback());
        assert!(!group("::2").is_loopback());
    }
}
