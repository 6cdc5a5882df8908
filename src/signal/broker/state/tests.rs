//! The broker's state by lists of operations.

mod devices;

use std::time::Duration;

use super::{
    super::packet::{PublishAckReason, Will},
    *,
};
use crate::signal::{
    Address,
    topic::{DeviceId, SessionId},
};

const IN: &str = "pinhole/abcdefghijkl2345/in";
const STATUS: &str = "pinhole/abcdefghijkl2345/status";

/// A state, a time that stands still unless told, and short words for what clients do.
struct Bench {
    state: State,
    now: Instant,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let device = DeviceId::parse("abcdefghijkl2345").unwrap();
        let rules = Rules::new(&Address { root: "pinhole".to_owned(), device }, [other()]);
        Self { state: State::new(rules, limits), now: crate::clock::now() }
    }

    fn connect(&mut self, id: &str, version: Version, ip: u8) -> Result<ClientKey, ConnectAckReason> {
        self.state
            .connect(&hello(id, version), Party::Viewer, IpAddr::from([192, 0, 2, ip]), self.now)
            .map(|admitted| admitted.key)
    }

    fn viewer(&mut self, id: &str) -> ClientKey {
        self.connect(id, Version::V5, 1).unwrap()
    }

    fn handle(&mut self, key: ClientKey, request: Request) -> Result<Step, Reason> {
        self.state.handle(key, request, self.now)
    }

    fn subscribe(&mut self, key: ClientKey, topic: &str) -> SubscribeAckReason {
        let packet_id = id(1);
        let filters = vec![filter(topic)];
        match self.handle(key, Request::Subscribe { packet_id, filters }) {
            Ok(Step::Reply(Reply::Subscribed { codes, .. })) => codes[0],
            other => panic!("no SUBACK: {other:?}"),
        }
    }

    fn payloads(&mut self, key: ClientKey) -> Vec<Bytes> {
        std::iter::from_fn(|| self.state.fetch(key)).map(|delivery| delivery.payload).collect()
    }
}

fn hello(id: &str, version: Version) -> Connect {
    Connect {
        version,
        client_id: id.into(),
        keep_alive: 30,
        receive_maximum: u16::MAX,
        maximum_packet: None,
        wants_session: false,
        will: None,
        auth: None,
        refused: None,
    }
}

fn id(id: u16) -> NonZeroU16 {
    NonZeroU16::new(id).unwrap()
}

fn filter(topic: &str) -> Filter {
    Filter {
        topic: topic.into(),
        qos: Qos::AtLeastOnce,
        retain_as_published: false,
        retain_handling: RetainHandling::AtSubscribe,
    }
}

fn out(session: u8) -> (SessionId, String) {
    let session = SessionId::from_bytes([session; 16]);
    (session, format!("pinhole/abcdefghijkl2345/out/{session}"))
}

fn publish(topic: &str, retain: Retain, packet_id: Option<NonZeroU16>) -> Request {
    Request::Publish { topic: topic.into(), payload: Bytes::from_static(b"x"), retain, packet_id }
}

const OTHER: &str = "bbbbbbbbbbbbbbbb";
const OTHER_IN: &str = "pinhole/bbbbbbbbbbbbbbbb/in";
const OTHER_STATUS: &str = "pinhole/bbbbbbbbbbbbbbbb/status";

fn other() -> DeviceId {
    DeviceId::parse(OTHER).unwrap()
}

fn with_will(topic: &str, payload: &'static [u8], retain: Retain) -> Connect {
    let will = Will { topic: topic.into(), payload: Bytes::from_static(payload), retain };
    Connect { will: Some(will), ..hello("with a will", Version::V5) }
}

#[test]
fn envelope_goes_to_the_agent() {
    let mut bench = Bench::new(Limits::default());
    let viewer = bench.viewer("v");
    assert_eq!(
        bench.handle(viewer, publish(IN, Retain::No, Some(id(3)))),
        Ok(Step::ToAgent { payload: Bytes::from_static(b"x"), packet_id: Some(id(3)) })
    );
}

#[test]
fn other_publications_are_refused_as_the_protocol_version_allows() {
    let mut bench = Bench::new(Limits::default());
    let five = bench.viewer("five");
    let three = bench.connect("three", Version::V3, 1).unwrap();
    for (topic, retain) in [(STATUS, Retain::No), (IN, Retain::Yes), (out(1).1.as_str(), Retain::No)] {
        let refused = Reply::Published { packet_id: id(9), code: PublishAckReason::NotAuthorized };
        assert_eq!(bench.handle(five, publish(topic, retain, Some(id(9)))), Ok(Step::Reply(refused)));
        assert_eq!(bench.handle(five, publish(topic, retain, None)), Ok(Step::Nothing));
        assert_eq!(bench.handle(three, publish(topic, retain, Some(id(9)))), Err(Reason::NotAuthorized));
    }
    assert_eq!(bench.state.counters().publish_refused, 9);
}

#[test]
fn status_is_retained_for_who_comes_later() {
    let mut bench = Bench::new(Limits::default());
    let early = bench.viewer("early");
    assert_eq!(bench.subscribe(early, STATUS), SubscribeAckReason::GrantedQos1);
    assert_eq!(bench.state.fetch(early), None);
    bench.state.publish_status(Bytes::from_static(b"1"));
    assert_eq!(bench.state.fetch(early).map(|delivery| delivery.retain), Some(Retain::No));
    bench.state.publish_status(Bytes::from_static(b"2"));
    let late = bench.viewer("late");
    bench.subscribe(late, STATUS);
    let delivery = bench.state.fetch(late).unwrap();
    assert_eq!(
        (delivery.topic.as_ref(), &delivery.payload[..], delivery.retain),
        (STATUS, &b"2"[..], Retain::Yes)
    );
    assert_eq!(bench.state.fetch(late), None);
}

#[test]
fn retain_handling_and_retain_as_published_are_kept() {
    let mut bench = Bench::new(Limits::default());
    bench.state.publish_status(Bytes::from_static(b"1"));
    let viewer = bench.viewer("v");
    let subscribe = |bench: &mut Bench, retain_handling| {
        let filters = vec![Filter { retain_handling, retain_as_published: true, ..filter(STATUS) }];
        bench.handle(viewer, Request::Subscribe { packet_id: id(1), filters }).unwrap();
        bench.payloads(viewer).len()
    };
    assert_eq!(subscribe(&mut bench, RetainHandling::NoAtSubscribe), 0);
    assert_eq!(subscribe(&mut bench, RetainHandling::AtSubscribeNew), 0);
    assert_eq!(subscribe(&mut bench, RetainHandling::AtSubscribe), 1);
    bench.state.publish_status(Bytes::from_static(b"2"));
    assert_eq!(bench.state.fetch(viewer).map(|delivery| delivery.retain), Some(Retain::Yes));
}

#[test]
fn reply_reaches_only_its_session() {
    let mut bench = Bench::new(Limits::default());
    let (one, two) = (bench.viewer("one"), bench.viewer("two"));
    bench.subscribe(one, &out(1).1);
    bench.subscribe(two, &out(2).1);
    bench.state.drain_woken();
    bench.state.publish_reply(out(2).0, &Bytes::from_static(b"answer"));
    assert_eq!(bench.state.drain_woken(), BTreeSet::from([two]));
    assert_eq!(bench.payloads(one), Vec::<Bytes>::new());
    assert_eq!(bench.payloads(two), vec![Bytes::from_static(b"answer")]);
    bench.state.publish_reply(out(3).0, &Bytes::from_static(b"lost"));
    assert_eq!(bench.state.counters().undelivered, 1);
}

#[test]
fn refused_filter_does_not_spoil_the_others_of_its_packet() {
    let mut bench = Bench::new(Limits::default());
    let viewer = bench.viewer("v");
    let filters = vec![filter("#"), filter(STATUS), filter(IN), filter(&out(1).1)];
    let step = bench.handle(viewer, Request::Subscribe { packet_id: id(7), filters });
    let codes = vec![
        SubscribeAckReason::NotAuthorized,
        SubscribeAckReason::GrantedQos1,
        SubscribeAckReason::NotAuthorized,
        SubscribeAckReason::GrantedQos1,
    ];
    assert_eq!(step, Ok(Step::Reply(Reply::Subscribed { packet_id: id(7), codes })));
}

#[test]
fn subscriptions_are_bounded_and_unsubscribing_makes_room() {
    let mut bench = Bench::new(Limits { subscriptions_per_client: 2, ..Limits::default() });
    let viewer = bench.viewer("v");
    bench.subscribe(viewer, &out(1).1);
    bench.subscribe(viewer, &out(2).1);
    assert_eq!(bench.subscribe(viewer, &out(3).1), SubscribeAckReason::QuotaExceeded);
    assert_eq!(bench.subscribe(viewer, &out(2).1), SubscribeAckReason::GrantedQos1);
    let filters = vec![out(1).1.into(), out(9).1.into(), "#".into()];
    let codes = vec![
        UnsubscribeAckReason::Success,
        UnsubscribeAckReason::NoSubscriptionExisted,
        UnsubscribeAckReason::NoSubscriptionExisted,
    ];
    assert_eq!(
        bench.handle(viewer, Request::Unsubscribe { packet_id: id(2), filters }),
        Ok(Step::Reply(Reply::Unsubscribed { packet_id: id(2), codes }))
    );
    assert_eq!(bench.subscribe(viewer, &out(3).1), SubscribeAckReason::GrantedQos1);
}

#[test]
fn window_holds_back_what_is_not_acknowledged() {
    let mut bench = Bench::new(Limits { window: 2, ..Limits::default() });
    let viewer = bench.viewer("v");
    bench.subscribe(viewer, STATUS);
    for payload in [b"1", b"2", b"3"] {
        bench.state.publish_status(Bytes::from_static(payload));
    }
    let first = bench.state.fetch(viewer).unwrap();
    assert!(bench.state.fetch(viewer).is_some());
    assert_eq!(bench.state.fetch(viewer), None);
    bench.state.drain_woken();
    bench.handle(viewer, Request::Acknowledge(id(999))).unwrap();
    assert_eq!(bench.state.drain_woken(), BTreeSet::new());
    bench.handle(viewer, Request::Acknowledge(first.packet_id.unwrap())).unwrap();
    assert_eq!(bench.state.drain_woken(), BTreeSet::from([viewer]));
    assert_eq!(bench.payloads(viewer), vec![Bytes::from_static(b"3")]);
}

#[test]
fn slow_client_is_dropped_and_the_others_get_everything() {
    let mut bench = Bench::new(Limits { queue: 4, ..Limits::default() });
    let (slow, quick) = (bench.viewer("slow"), bench.viewer("quick"));
    bench.subscribe(slow, STATUS);
    bench.subscribe(quick, STATUS);
    let mut received = 0;
    for _ in 0..20 {
        bench.state.publish_status(Bytes::from_static(b"s"));
        while let Some(delivery) = bench.state.fetch(quick) {
            bench.handle(quick, Request::Acknowledge(delivery.packet_id.unwrap())).unwrap();
            received += 1;
        }
    }
    assert_eq!(received, 20);
    assert_eq!(bench.state.cut_reason(slow), Some(Reason::QuotaExceeded));
    assert_eq!(bench.state.cut_reason(quick), None);
    assert_eq!(bench.state.fetch(slow), None);
    assert_eq!(bench.state.counters().slow, 1);
}

#[test]
fn second_client_with_an_id_takes_the_first_one_s_place() {
    let mut bench = Bench::new(Limits { clients: 2, ..Limits::default() });
    let old = bench.viewer("same");
    bench.viewer("other");
    let new = bench.viewer("same");
    assert_eq!(bench.state.cut_reason(old), Some(Reason::SessionTakenOver));
    assert_eq!(bench.handle(old, Request::Ping), Err(Reason::SessionTakenOver));
    assert_eq!(bench.state.cut_reason(new), None);
    bench.state.disconnect(old);
    assert_eq!(bench.state.connected(), 2);
    assert_eq!(bench.handle(new, Request::Ping), Ok(Step::Reply(Reply::Pong)));
}

#[test]
fn storm_of_takeovers_stays_bounded() {
    let mut bench = Bench::new(Limits { clients: 4, ..Limits::default() });
    let let_in = (0..1000).filter(|_| bench.connect("same", Version::V5, 1).is_ok()).count();
    assert_eq!(let_in, 8);
    assert_eq!(bench.state.connected(), 1);
}

#[test]
fn clients_are_bounded_altogether_and_per_address() {
    let mut bench = Bench::new(Limits { clients: 3, clients_per_address: 2, ..Limits::default() });
    let first = bench.connect("a", Version::V5, 1).unwrap();
    bench.connect("b", Version::V5, 1).unwrap();
    assert_eq!(bench.connect("c", Version::V5, 1), Err(ConnectAckReason::QuotaExceeded));
    bench.connect("c", Version::V5, 2).unwrap();
    assert_eq!(bench.connect("d", Version::V5, 3), Err(ConnectAckReason::ServerBusy));
    bench.state.disconnect(first);
    assert!(bench.connect("d", Version::V5, 3).is_ok());
    assert_eq!(bench.state.counters().refused, 2);
}

#[test]
fn what_is_not_supported_and_odd_client_ids_are_refused() {
    let mut bench = Bench::new(Limits::default());
    let will = Connect { refused: Some(ConnectAckReason::QosNotSupported), ..hello("v", Version::V5) };
    let ip = IpAddr::from([192, 0, 2, 1]);
    let refused = bench.state.connect(&will, Party::Viewer, ip, bench.now);
    assert_eq!(refused, Err(ConnectAckReason::QosNotSupported));
    for odd in ["a\0b", "a\nb", "x".repeat(65).as_str()] {
        assert_eq!(bench.connect(odd, Version::V5, 1), Err(ConnectAckReason::ClientIdentifierNotValid));
    }
}

#[test]
fn nameless_clients_get_different_ids() {
    let mut bench = Bench::new(Limits::default());
    let ip = IpAddr::from([192, 0, 2, 1]);
    let one = bench.state.connect(&hello("", Version::V5), Party::Viewer, ip, bench.now).unwrap();
    let two = bench.state.connect(&hello("", Version::V5), Party::Viewer, ip, bench.now).unwrap();
    assert!(one.assigned.is_some());
    assert_ne!(one.assigned, two.assigned);
    assert_eq!(bench.state.connected(), 2);
}

#[test]
fn flooding_client_is_cut_and_a_steady_one_is_not() {
    let mut bench = Bench::new(Limits { packets_per_second: 10, ..Limits::default() });
    let (flood, steady) = (bench.viewer("flood"), bench.viewer("steady"));
    for _ in 0..10 {
        assert!(bench.handle(flood, Request::Ping).is_ok());
    }
    assert_eq!(bench.handle(flood, Request::Ping), Err(Reason::MessageRateTooHigh));
    for _ in 0..100 {
        bench.now += Duration::from_millis(100);
        assert!(bench.handle(steady, Request::Ping).is_ok());
    }
}

#[test]
fn closing_delivers_what_waits_and_lets_nobody_in() {
    let mut bench = Bench::new(Limits::default());
    let viewer = bench.viewer("v");
    bench.subscribe(viewer, STATUS);
    bench.state.publish_status(Bytes::from_static(b"offline"));
    bench.state.close();
    assert_eq!(bench.payloads(viewer), vec![Bytes::from_static(b"offline")]);
    assert_eq!(bench.state.cut_reason(viewer), Some(Reason::ServerShuttingDown));
    assert_eq!(bench.connect("w", Version::V5, 1), Err(ConnectAckReason::ServerUnavailable));
}

/// A small generator (xorshift64*), so that a failing run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[test]
fn invariants_hold_after_every_operation() {
    let limits = Limits {
        clients: 5,
        clients_per_address: 3,
        queue: 3,
        window: 2,
        subscriptions_per_client: 3,
        packets_per_second: 50,
        ..Limits::default()
    };
    for seed in 1..=40 {
        let mut random = Random(seed);
        let mut bench = Bench::new(limits);
        let mut keys = Vec::new();
        for _ in 0..400 {
            bench.now += Duration::from_millis(random.below(40) as u64);
            let version = [Version::V3, Version::V5][random.below(2)];
            match random.below(9) {
                8 => {
                    let ip = IpAddr::from([192, 0, 2, 9]);
                    let will = with_will(OTHER_STATUS, b"gone", Retain::Yes);
                    let device = Party::Device(other());
                    keys.extend(
                        bench.state.connect(&will, device, ip, bench.now).map(|admitted| admitted.key),
                    );
                }
                0 | 1 => {
                    let name = ["a", "b", "c", "d", "e", "f", "g"][random.below(7)];
                    keys.extend(bench.connect(name, version, random.below(3) as u8));
                }
                2 if !keys.is_empty() => bench.state.disconnect(keys.swap_remove(random.below(keys.len()))),
                3 => bench.state.publish_status(Bytes::from_static(b"s")),
                4 => bench.state.publish_reply(out(random.below(4) as u8).0, &Bytes::from_static(b"r")),
                _ if !keys.is_empty() => {
                    let key = keys[random.below(keys.len())];
                    let out = out(random.below(4) as u8).1;
                    let other_out = out.replace("abcdefghijkl2345", OTHER);
                    let topics = [IN, STATUS, "#", &out, OTHER_IN, OTHER_STATUS, &other_out];
                    let topic = topics[random.below(topics.len())].to_owned();
                    let request = match random.below(5) {
                        0 => publish(&topic, [Retain::Yes, Retain::No][random.below(2)], Some(id(1))),
                        1 | 2 => Request::Subscribe { packet_id: id(1), filters: vec![filter(&topic)] },
                        3 => Request::Unsubscribe { packet_id: id(1), filters: vec![topic.into()] },
                        _ => Request::Acknowledge(id(1 + random.below(4) as u16)),
                    };
                    let _ = bench.handle(key, request);
                    bench.state.fetch(key);
                }
                _ => {}
            }
            verify(&bench.state, &limits);
        }
    }
}

fn verify(state: &State, limits: &Limits) {
    let viewers = |client: &&Client| client.identity.party == Party::Viewer;
    let there = state.clients.values().filter(viewers).filter(|client| client.cut.is_none()).count();
    assert!(there <= limits.clients);
    assert!(state.clients.len() <= 2 * limits.clients + CONNECTIONS_OF_DEVICE);
    for (identity, key) in &state.by_identity {
        let client = &state.clients[key];
        assert_eq!((&client.identity, client.cut), (identity, None));
    }
    for (key, client) in &state.clients {
        assert!(client.queue.len() <= limits.queue);
        assert_eq!(
            client.queued_bytes,
            client.queue.iter().map(|message| message.payload.len()).sum::<usize>()
        );
        assert!(client.unacknowledged.len() <= client.window);
        assert!(client.subscriptions.len() <= limits.subscriptions_per_client);
        assert_eq!(client.cut.is_none(), state.by_identity.get(&client.identity) == Some(key));
    }
    assert!(state.statuses.len() <= 2);
    assert!(state.woken.iter().all(|key| state.clients.contains_key(key)));
}
