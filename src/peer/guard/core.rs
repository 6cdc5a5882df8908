//! The guarded socket without the socket: filter first, then handshake. Pure: datagrams and times in, verdicts
//! and replays out; one core serves all sockets of a connection.

use std::{net::SocketAddr, time::Instant};

use super::{
    filter::{Admission, Filter},
    flight::{Fate, Handshake, Replay},
    stun::Credentials,
};

/// Whether a datagram goes on to the WebRTC crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Deliver,
    Drop,
}

/// What the guard has done so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Flights sent again.
    pub replays: u64,
    /// Repeated handshake datagrams kept from the crate.
    pub swallowed: u64,
    /// Datagrams dropped because their source had not proved that it knows our ICE password.
    pub unverified: u64,
    /// Binding requests dropped because they were not sealed with it.
    pub unauthenticated: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Core {
    filter: Filter,
    handshake: Handshake,
    counts: Counts,
}

impl Core {
    /// `relays`: addresses of TURN servers in use.
    pub fn new(relays: Vec<SocketAddr>) -> Self {
        Self { filter: Filter::new(relays), handshake: Handshake::default(), counts: Counts::default() }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the handshake is behind us. The filter stays.
    pub fn is_over(&self) -> bool {
        self.handshake.is_over()
    }

    /// Our ICE credentials, from each description of ours before it is sent.
    pub fn learn(&mut self, credentials: Credentials) {
        self.filter.learn(credentials);
    }

    /// Stops replaying and frees the flight.
    pub fn end(&mut self) {
        self.handshake.end();
    }

    /// The connection is up.
    pub fn connected(&mut self) {
        self.handshake.connected();
    }

    /// When to call [`Self::handle_timeout`].
    pub fn timeout(&self) -> Option<Instant> {
        self.handshake.timeout()
    }

    /// Gives the flight that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Replay> {
        let replay = self.handshake.handle_timeout(now);
        self.counts.replays += u64::from(replay.is_some());
        replay
    }

    /// Judges a datagram from the network.
    pub fn inbound(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &[u8],
    ) -> (Verdict, Option<Replay>) {
        match self.filter.admit(from, datagram) {
            Admission::Admitted => {}
            Admission::Unverified => {
                self.counts.unverified += 1;
                return (Verdict::Drop, None);
            }
            Admission::Unauthenticated => {
                self.counts.unauthenticated += 1;
                return (Verdict::Drop, None);
            }
        }
        match self.handshake.inbound(now, local, from, datagram) {
            Fate::Deliver => (Verdict::Deliver, None),
            Fate::Swallow(replay) => {
                self.counts.swallowed += 1;
                self.counts.replays += u64::from(replay.is_some());
                (Verdict::Drop, replay)
            }
        }
    }

    /// Notes a datagram that the crate has sent.
    pub fn outbound(&mut self, now: Instant, local: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.handshake.outbound(now, local, to, datagram);
    }
}

/// Keeps of several datagrams received at once (UDP GRO: each `stride` long, the last perhaps shorter) those
/// that `keep` wants, in order, at the front of `buffer`. Returns their length together.
pub fn retain_segments(
    buffer: &mut [u8],
    length: usize,
    stride: usize,
    mut keep: impl FnMut(&[u8]) -> bool,
) -> usize {
    let length = length.min(buffer.len());
    let (mut read, mut written) = (0, 0);
    while read < length {
        let end = (read + stride.max(1)).min(length);
        if keep(&buffer[read..end]) {
            buffer.copy_within(read..end, written);
            written += end - read;
        }
        read = end;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::{
        super::{dtls::tests::message, stun::tests::binding_request},
        *,
    };

    fn address(last: u8, port: u16) -> SocketAddr {
        ([127, 0, 0, last], port).into()
    }

    fn verified_core(peer: SocketAddr) -> Core {
        let mut core = Core::new(Vec::new());
        core.learn(Credentials::new("ours", "secret"));
        let now = crate::clock::now();
        let (verdict, _) = core.inbound(now, address(1, 1), peer, &binding_request("ours", "secret"));
        assert_eq!(verdict, Verdict::Deliver);
        core
    }

    #[test]
    fn a_flood_from_a_third_address_neither_passes_nor_disturbs_the_handshake() {
        let (peer, attacker) = (address(1, 2), address(9, 9));
        let mut core = verified_core(peer);
        let now = crate::clock::now();
        core.outbound(now, address(1, 1), peer, &message(1, 0));
        let due = core.timeout();
        for sequence in 0..500 {
            let verdict = core.inbound(now, address(1, 1), attacker, &message(1, sequence));
            assert_eq!(verdict, (Verdict::Drop, None));
        }
        assert_eq!(core.timeout(), due);
        assert_eq!(core.counts().unverified, 500);
        assert_eq!(core.inbound(now, address(1, 1), peer, &message(2, 0)), (Verdict::Deliver, None));
    }

    #[test]
    fn the_filter_outlives_the_handshake() {
        let peer = address(1, 2);
        let mut core = verified_core(peer);
        core.end();
        assert!(core.is_over());
        let now = crate::clock::now();
        assert_eq!(core.inbound(now, address(1, 1), address(9, 9), &[128; 30]).0, Verdict::Drop);
        assert_eq!(core.inbound(now, address(1, 1), peer, &[128; 30]).0, Verdict::Deliver);
    }

    #[test]
    fn segments_are_kept_in_order() {
        let mut buffer = *b"aabbccd-----";
        let length = retain_segments(&mut buffer, 7, 2, |segment| segment != b"bb");
        assert_eq!(&buffer[..length], b"aaccd");
        let mut buffer = *b"aabbccd-----";
        assert_eq!(retain_segments(&mut buffer, 7, 2, |_| false), 0);
        assert_eq!(retain_segments(&mut buffer, 99, 0, |_| true), buffer.len());
    }

    #[test]
    fn junk_is_judged_without_panic_and_in_bounds() {
        let peer = address(1, 2);
        let mut core = verified_core(peer);
        let mut now = crate::clock::now();
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for round in 0..100_000_u32 {
            let mut junk: Vec<u8> = (0..random() % 80).map(|_| random() as u8).collect();
            if junk.len() > 12 {
                // Half of it looks like the start of something that is read further.
                junk[0] = [0, 22, 20, 63, 64, 128][round as usize % 6];
                junk[3..5].copy_from_slice(&[0, u8::from(round % 7 == 0)]);
                junk[11] = 0;
            }
            let from = if round % 2 == 0 { peer } else { address(2, round as u16) };
            if round % 3 == 0 {
                core.outbound(now, address(1, 1), from, &junk);
            }
            let (verdict, replay) = core.inbound(now, address(1, 1), from, &junk);
            let stun = junk.first().is_some_and(|first| *first < 4);
            assert!(from == peer || stun || verdict == Verdict::Drop);
            assert!(replay.is_none_or(|replay| replay.datagrams.len() <= 16));
            now += std::time::Duration::from_micros(random() % 3000);
            core.handle_timeout(now);
            if core.is_over() {
                core = verified_core(peer);
            }
        }
    }
}
