//! Carries a DTLS handshake over a lossy path. The WebRTC crate disarms its retransmit timer at any handshake
//! packet, even a repeated or incomplete flight, so that a lost packet can hang the handshake for ever. Two rules
//! cure it from outside (RFC 6347, 4.2.4):
//! 1. the datagrams of our last flight are sent again, unchanged, until the handshake is over;
//! 2. a repeated message that our last flight has already answered is not shown to the crate, but answered by
//!    sending that flight again.
//!
//! Pure: datagrams and times in, replays out. Relies on how `rtc-dtls` 0.21.1 behaves.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::dtls::{self, Piece};

const FIRST_REPLAY: Duration = Duration::from_millis(100);
const SLOWEST_REPLAY: Duration = Duration::from_secs(1);
/// After this the handshake is given up; the session's own deadline is shorter.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Datagrams further apart belong to different flights: a retransmission by the crate starts one anew.
const FLIGHT_GAP: Duration = Duration::from_millis(50);
/// Several repeated datagrams of one flight call for one answer.
const ANSWER_GAP: Duration = Duration::from_millis(20);
const CLIENT_HELLO: u8 = 1;
/// A flight with a certificate is three to six datagrams.
const MAX_DATAGRAMS: usize = 16;
const MAX_PIECES: usize = 256;

/// Datagrams to send once more, as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub local: SocketAddr,
    pub to: SocketAddr,
    pub datagrams: Vec<Bytes>,
}

/// What becomes of an inbound datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Deliver,
    /// A repetition: not shown to the crate, answered by the replay if there is one.
    Swallow(Option<Replay>),
}

/// One connection's handshake.
#[derive(Debug, Default)]
pub struct Handshake {
    state: State,
    /// Delivered since our current flight began.
    unanswered: BTreeSet<Piece>,
    /// Delivered before it.
    answered: BTreeSet<Piece>,
    datagrams: Vec<Bytes>,
    path: Option<(SocketAddr, SocketAddr)>,
    last_sent: Option<Instant>,
    last_replay: Option<Instant>,
    next_replay: Option<Instant>,
    wait: Duration,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    NotStarted,
    Running {
        role: Role,
        give_up: Instant,
    },
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

impl Handshake {
    /// Whether nothing is left to do, for ever.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Ends it and frees what it holds.
    pub fn end(&mut self) {
        *self = Self { state: State::Over, ..Self::default() };
    }

    /// The connection is up. Where the handshake went another way, through a relay, nothing will come here.
    pub fn connected(&mut self) {
        if self.state == State::NotStarted {
            self.end();
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn timeout(&self) -> Option<Instant> {
        let State::Running { give_up, .. } = self.state else { return None };
        Some(self.next_replay.map_or(give_up, |next| next.min(give_up)))
    }

    /// Gives the flight that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Replay> {
        let State::Running { give_up, .. } = self.state else { return None };
        if now >= give_up {
            self.end();
            return None;
        }
        self.next_replay.filter(|next| now >= *next)?;
        self.wait = (self.wait * 2).min(SLOWEST_REPLAY);
        self.next_replay = Some(now + self.wait);
        self.replay(now)
    }

    /// A datagram came from an admitted address.
    pub fn inbound(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Fate {
        if self.is_over() {
            return Fate::Deliver;
        }
        if is_media(datagram) {
            // The peer has the keys, and so has had our last flight.
            if self.state != State::NotStarted {
                self.end();
            }
            return Fate::Deliver;
        }
        if !dtls::is_dtls(datagram) {
            return Fate::Deliver;
        }
        let contents = dtls::read(datagram);
        if contents.encrypted {
            // The peer has gone on to its Finished; the crate's answer, if any, starts a new flight.
            self.next_replay = None;
        }
        let repeated = contents.plain_handshake_only
            && !self.datagrams.is_empty()
            && !contents.pieces.is_empty()
            && contents.pieces.iter().all(|piece| self.answered.contains(piece));
        if !repeated {
            self.unanswered.extend(contents.pieces);
            while self.unanswered.len() > MAX_PIECES {
                self.unanswered.pop_last();
            }
            return Fate::Deliver;
        }
        self.path = Some((local, from));
        let rested = self.last_replay.is_none_or(|last| now.saturating_duration_since(last) > ANSWER_GAP);
        Fate::Swallow(if rested { self.replay(now) } else { None })
    }

    /// The crate has sent a datagram.
    pub fn outbound(&mut self, now: Instant, local: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        if self.is_over() {
            return;
        }
        if is_media(datagram) {
            // A client sends media once it has the server's Finished, and owes nothing more. A server's
            // Finished may still be lost: it goes on until the client's media comes.
            if matches!(self.state, State::Running { role: Role::Client, .. }) {
                self.end();
            }
            return;
        }
        if !dtls::is_dtls(datagram) {
            return;
        }
        if self.state == State::NotStarted {
            let role = match dtls::read(datagram).first_type {
                Some(CLIENT_HELLO) => Role::Client,
                _ => Role::Server,
            };
            self.state = State::Running { role, give_up: now + GIVE_UP };
        }
        let paused = self.last_sent.is_none_or(|last| now.saturating_duration_since(last) > FLIGHT_GAP);
        if paused || !self.unanswered.is_empty() {
            self.datagrams.clear();
            self.wait = FIRST_REPLAY;
            self.answered.append(&mut self.unanswered);
            while self.answered.len() > MAX_PIECES {
                self.answered.pop_last();
            }
        }
        if self.datagrams.len() < MAX_DATAGRAMS {
            self.datagrams.push(Bytes::copy_from_slice(datagram));
        }
        self.path = Some((local, to));
        self.last_sent = Some(now);
        self.next_replay = Some(now + FIRST_REPLAY);
    }

    fn replay(&mut self, now: Instant) -> Option<Replay> {
        let (local, to) = self.path?;
        self.last_replay = Some(now);
        Some(Replay { local, to, datagrams: self.datagrams.clone() })
    }
}

/// SRTP or SRTCP by its first byte (RFC 7983).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191))
}

#[cfg(test)]
mod tests {
    use super::{
        super::dtls::tests::{message, record},
        *,
    };

    const CLIENT_HELLO: u8 = 1;
    const SERVER_HELLO: u8 = 2;
    const CERTIFICATE: u8 = 11;
    const SERVER_DONE: u8 = 14;
    const MEDIA: [u8; 40] = [128; 40];

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// A handshake and the time, with both ends' addresses fixed.
    struct Bench {
        handshake: Handshake,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { handshake: Handshake::default(), now: crate::clock::now() }
        }

        fn after(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn send(&mut self, datagram: &[u8]) {
            self.handshake.outbound(self.now, address(1), address(2), datagram);
        }

        fn receive(&mut self, datagram: &[u8]) -> Fate {
            self.handshake.inbound(self.now, address(1), address(2), datagram)
        }

        /// Runs timers for `span` and gives the milliseconds at which something was replayed.
        fn replays(&mut self, span: u64) -> Vec<u64> {
            let start = self.now;
            let mut at = Vec::new();
            while let Some(next) = self.handshake.timeout().filter(|t| *t <= start + ms(span)) {
                if self.handshake.handle_timeout(next).is_some() {
                    at.push((next - start).as_millis() as u64);
                }
            }
            self.now = start + ms(span);
            at
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn server_flight() -> Vec<u8> {
        [message(SERVER_HELLO, 0), message(CERTIFICATE, 1), message(SERVER_DONE, 2)].concat()
    }

    fn client_flight_five() -> Vec<u8> {
        [message(CERTIFICATE, 1), record(20, 0, &[1]), record(22, 1, &[9; 40])].concat()
    }

    #[test]
    fn the_last_flight_is_replayed_ever_more_slowly() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        assert_eq!(bench.replays(4000), [100, 300, 700, 1500, 2500, 3500]);
    }

    #[test]
    fn replays_end_when_the_handshake_is_given_up() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        assert!(bench.replays(GIVE_UP.as_millis() as u64).len() > 10);
        assert!(bench.handshake.is_over());
        assert_eq!(bench.handshake.timeout(), None);
        assert!(bench.handshake.datagrams.is_empty());
    }

    #[test]
    fn a_replay_is_the_flight_as_it_was() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        bench.after(10).receive(&server_flight());
        bench.send(&message(CERTIFICATE, 1));
        bench.after(3).send(&client_flight_five());
        let due = bench.handshake.timeout().unwrap();
        let replay = bench.handshake.handle_timeout(due).unwrap();
        assert_eq!(replay.datagrams, [message(CERTIFICATE, 1), client_flight_five()]);
        assert_eq!((replay.local, replay.to), (address(1), address(2)));
    }

    #[test]
    fn a_repetition_is_shown_until_it_was_answered_and_then_swallowed() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        assert_eq!(bench.receive(&server_flight()), Fate::Deliver);
        assert_eq!(bench.receive(&server_flight()), Fate::Deliver);
        bench.after(1).send(&client_flight_five());
        let Fate::Swallow(Some(replay)) = bench.after(1000).receive(&server_flight()) else {
            panic!("a repeated flight is swallowed and answered")
        };
        assert_eq!(replay.datagrams, [client_flight_five()]);
    }

    #[test]
    fn repetitions_in_one_burst_get_one_answer() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        bench.receive(&server_flight());
        bench.send(&client_flight_five());
        assert!(matches!(bench.after(500).receive(&message(SERVER_HELLO, 0)), Fate::Swallow(Some(_))));
        assert_eq!(bench.after(5).receive(&message(CERTIFICATE, 1)), Fate::Swallow(None));
        assert!(matches!(bench.after(30).receive(&message(SERVER_DONE, 2)), Fate::Swallow(Some(_))));
    }

    #[test]
    fn messages_out_of_order_are_all_delivered_once_new() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        for sequence in [2, 0, 1] {
            assert_eq!(bench.receive(&message(SERVER_HELLO, sequence)), Fate::Deliver);
        }
        bench.send(&client_flight_five());
        for sequence in [1, 2, 0] {
            assert!(matches!(bench.receive(&message(SERVER_HELLO, sequence)), Fate::Swallow(_)));
        }
        assert_eq!(bench.receive(&message(SERVER_HELLO, 3)), Fate::Deliver);
    }

    #[test]
    fn a_datagram_with_anything_new_or_encrypted_is_delivered() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        bench.receive(&message(SERVER_HELLO, 0));
        bench.send(&client_flight_five());
        let mixed = [message(SERVER_HELLO, 0), message(CERTIFICATE, 1)].concat();
        assert_eq!(bench.receive(&mixed), Fate::Deliver);
        let finished = [message(SERVER_HELLO, 0), record(22, 1, &[3; 40])].concat();
        assert_eq!(bench.receive(&finished), Fate::Deliver);
    }

    #[test]
    fn a_client_is_done_at_its_first_media_and_a_server_at_its_peers() {
        let mut client = Bench::new();
        client.send(&message(CLIENT_HELLO, 0));
        client.send(&MEDIA);
        assert!(client.handshake.is_over());

        let mut server = Bench::new();
        server.receive(&message(CLIENT_HELLO, 0));
        server.send(&server_flight());
        server.send(&MEDIA);
        assert!(!server.handshake.is_over());
        server.receive(&MEDIA);
        assert!(server.handshake.is_over());
    }

    #[test]
    fn a_connection_ends_only_a_handshake_that_never_came_by() {
        let mut relayed = Bench::new();
        relayed.handshake.connected();
        assert!(relayed.handshake.is_over());

        let mut server = Bench::new();
        server.receive(&message(CLIENT_HELLO, 0));
        server.send(&server_flight());
        server.handshake.connected();
        assert!(!server.handshake.is_over());
    }

    #[test]
    fn the_peers_finished_stops_the_timer() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        bench.receive(&server_flight());
        bench.send(&client_flight_five());
        bench.receive(&[record(20, 0, &[1]), record(22, 1, &[5; 40])].concat());
        assert_eq!(bench.replays(5000), [0; 0]);
    }

    #[test]
    fn an_answer_goes_where_the_repetition_came_from() {
        let mut bench = Bench::new();
        bench.send(&message(CLIENT_HELLO, 0));
        bench.receive(&server_flight());
        bench.send(&client_flight_five());
        let now = bench.now + ms(100);
        let Fate::Swallow(Some(replay)) =
            bench.handshake.inbound(now, address(7), address(8), &server_flight())
        else {
            panic!("swallowed and answered")
        };
        assert_eq!((replay.local, replay.to), (address(7), address(8)));
    }

    #[test]
    fn tables_stay_bounded() {
        let mut bench = Bench::new();
        for sequence in 0..2000 {
            bench.send(&message(CERTIFICATE, sequence));
            bench.receive(&message(CERTIFICATE, sequence));
        }
        for _ in 0..100 {
            bench.send(&client_flight_five());
        }
        assert!(bench.handshake.answered.len() <= MAX_PIECES);
        assert!(bench.handshake.unanswered.len() <= MAX_PIECES);
        assert!(bench.handshake.datagrams.len() <= MAX_DATAGRAMS);
    }
}
