//! What the desk lets in, and what it never does: against single attacks, and against long random lists of what
//! a broker can do.

mod by_hand;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    clock,
    signal::{
        envelope::ViewerKey,
        keys::random,
        link::Link,
        message::Offer,
        viewer::{Status, ViewerPairing, ViewerSession},
    },
};

const FINGERPRINT: &str = "a=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

fn device() -> DeviceId {
    DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap()
}

fn record(id: u8) -> ViewerRecord {
    let (id, key) = (KeyId::from_bytes([id; 8]), ViewerKey::from_bytes([id; 32]));
    ViewerRecord::new(id, key, Role::View, String::new())
}

fn desk(viewers: u8, now: Instant) -> Desk {
    let mut state = 1_u64;
    let random = move |bytes: &mut [u8]| bytes.fill_with(|| next(&mut state).to_le_bytes()[0]);
    Desk::new(device(), (1..=viewers).map(record).collect(), Box::new(random), now)
}

/// SplitMix64: the same lists of operations each time.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn nonce(desk: &Desk) -> DeviceNonce {
    match Status::parse(&desk.status()) {
        Some(Status::Online { nonce }) => nonce,
        other => panic!("{other:?}"),
    }
}

fn session(desk: &Desk, viewer: u8, id: u8) -> ViewerSession {
    ViewerSession::new(device(), &record(viewer), SessionId::from_bytes([id; 16]), nonce(desk))
}

fn offer() -> ToDevice {
    let sdp = FINGERPRINT.to_owned();
    ToDevice::Offer(Offer { camera: String::new(), sdp, audio: false, talk: false })
}

fn delivered(outputs: &[Output]) -> Option<&ToDevice> {
    outputs.iter().find_map(|output| match output {
        Output::Deliver { message, .. } => Some(message),
        _ => None,
    })
}

/// The code of the only output, an error.
fn refused(viewer: &mut ViewerSession, outputs: &[Output]) -> ErrorCode {
    match outputs {
        [Output::Reply { envelope, .. }] => match viewer.open(envelope) {
            Some(ToViewer::Error { code, .. }) => code,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_talks_in_both_directions() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let mut viewer = session(&desk, 1, 9);
    for message in
        [ToDevice::Hello, offer(), ToDevice::Candidate(None), ToDevice::Bye { reason: String::new() }]
    {
        let outputs = desk.receive(now, &viewer.seal(&message).unwrap());
        let expected =
            Output::Deliver { session: viewer.id(), viewer: record(1).id, role: Role::View, message };
        assert_eq!(outputs, [expected]);
        let answer = ToViewer::Answer { sdp: "v=0".into() };
        let sealed = desk.seal(now, viewer.id(), &answer).unwrap();
        assert_eq!(viewer.open(&sealed), Some(answer));
        assert_eq!(viewer.open(&sealed), None, "once");
    }
    assert_eq!(desk.counters(), DeskCounters { delivered: 4, ..DeskCounters::default() });
}

#[test]
fn each_attack_is_dropped_and_counted() {
    type Counter = fn(&DeskCounters) -> u64;

    let now = clock::now();
    let mut desk = desk(1, now);
    let mut viewer = session(&desk, 1, 9);
    let hello = viewer.seal(&ToDevice::Hello).unwrap();
    let own = {
        desk.receive(now, &hello);
        desk.seal(now, viewer.id(), &ToViewer::Bye { reason: ByeReason::Idle }).unwrap()
    };
    let text = String::from_utf8(viewer.seal(&ToDevice::Hello).unwrap().to_vec()).unwrap();
    let s = viewer.id().to_string();
    let nd = nonce(&desk).to_string();
    let k = record(1).id.to_string();
    let attacks: Vec<(&str, Vec<u8>, Counter)> = vec![
        ("replay", hello.to_vec(), |c| c.replayed),
        ("reflection", own.to_vec(), |c| c.replayed + c.forged),
        ("later counter", text.replace(r#""n":1"#, r#""n":7"#).into(), |c| c.forged),
        ("other session", text.replace(&s, &"0".repeat(32)).replace(r#""n":1"#, r#""n":0"#).into(), |c| {
            c.forged
        }),
        ("session in the middle", text.replace(&s, &"0".repeat(32)).into(), |c| c.wrong_session),
        ("other nonce", text.replace(&nd, &"1".repeat(32)).into(), |c| c.wrong_session),
        (
            "other nonce and session",
            text.replace(&nd, &"1".repeat(32)).replace(&s, &"0".repeat(32)).into(),
            |c| c.stale,
        ),
        ("other viewer", text.replace(&k, &"0".repeat(16)).into(), |c| c.wrong_session),
        ("unknown viewer", text.replace(&k, &"0".repeat(16)).replace(&s, &"0".repeat(32)).into(), |c| {
            c.unknown_key
        }),
        ("other type", text.replace("hello", "bye").into(), |c| c.forged),
        ("pairing type", text.replace("hello", "pair1").into(), |c| c.pairings_refused),
        ("topic in an id", text.replace(&s, "../#/+/aaaaaaaaaaaaaaaaaaaaaaaaa").into(), |c| c.malformed),
        ("33 KiB", vec![b'{'; 33 * 1024], |c| c.too_large),
        ("20,000 nested arrays", vec![b'['; 20_000], |c| c.malformed),
        ("nothing", Vec::new(), |c| c.malformed),
    ];
    for (name, payload, counter) in attacks {
        let before = counter(&desk.counters());
        assert_eq!(desk.receive(now, &payload), [], "{name}");
        assert_eq!(counter(&desk.counters()), before + 1, "{name}: {:?}", desk.counters());
    }
    assert_eq!(desk.counters().delivered, 1);
    assert!(delivered(&desk.receive(now, text.as_bytes())).is_some(), "nothing was lost to the attacks");
}

#[test]
fn a_nonce_is_accepted_for_two_minutes() {
    let start = clock::now();
    let mut desk = desk(1, start);
    let mut early = session(&desk, 1, 1);
    let mut late = session(&desk, 1, 2);
    assert_eq!(desk.poll_timeout(), Some(start + NONCE_LIFETIME));
    let after_one = start + NONCE_LIFETIME;
    let outputs = desk.handle_timeout(after_one);
    assert_eq!(outputs, [Output::Status(desk.status())]);
    assert!(delivered(&desk.receive(after_one, &early.seal(&ToDevice::Hello).unwrap())).is_some());
    let after_two = after_one + NONCE_LIFETIME;
    desk.handle_timeout(after_two);
    assert_eq!(desk.receive(after_two, &late.seal(&ToDevice::Hello).unwrap()), []);
    assert_eq!(desk.counters().stale, 1);
    let more = early.seal(&ToDevice::Hello).unwrap();
    assert!(delivered(&desk.receive(after_two, &more)).is_some(), "a session keeps its nonce");
}

#[test]
fn an_ended_session_stays_refused_until_its_nonce_has_expired() {
    let mut now = clock::now();
    let mut desk = desk(1, now);
    let mut viewer = session(&desk, 1, 1);
    let hello = viewer.seal(&ToDevice::Hello).unwrap();
    desk.receive(now, &hello);
    desk.end(viewer.id());
    assert_eq!(desk.seal(now, viewer.id(), &ToViewer::Candidate(None)), None);
    let counters: [fn(&DeskCounters) -> u64; 3] = [|c| c.wrong_session, |c| c.wrong_session, |c| c.stale];
    for counter in counters {
        let before = counter(&desk.counters());
        assert_eq!(desk.receive(now, &hello), []);
        assert_eq!(counter(&desk.counters()), before + 1);
        now += NONCE_LIFETIME;
        desk.handle_timeout(now);
    }
    assert!(desk.viewers[&record(1).id].ended.is_empty());
}

#[test]
fn idle_sessions_are_closed_and_answered_ones_are_not() {
    let start = clock::now();
    let mut desk = desk(1, start);
    let (mut idle, mut watching) = (session(&desk, 1, 1), session(&desk, 1, 2));
    desk.receive(start, &idle.seal(&ToDevice::Hello).unwrap());
    desk.receive(start, &watching.seal(&offer()).unwrap());
    desk.seal(start, watching.id(), &ToViewer::Answer { sdp: String::new() }).unwrap();
    let outputs = desk.handle_timeout(start + IDLE);
    let [Output::Reply { envelope, .. }, Output::Ended { session }, Output::Status(_)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(*session, idle.id());
    assert_eq!(idle.open(envelope), Some(ToViewer::Bye { reason: ByeReason::Idle }));
    assert!(desk.seal(start + IDLE * 100, watching.id(), &ToViewer::Candidate(None)).is_some());
}

#[test]
fn a_fast_viewer_is_told_so_once_a_second_and_slows_nobody_else() {
    let now = clock::now();
    let mut desk = desk(2, now);
    let (mut fast, mut other) = (session(&desk, 1, 1), session(&desk, 2, 2));
    let mut complaints = 0;
    for sent in 0..200 {
        let outputs = desk.receive(now, &fast.seal(&ToDevice::Hello).unwrap());
        assert_eq!(delivered(&outputs).is_some(), sent < ENVELOPES_PER_SECOND);
        if outputs.iter().any(|output| matches!(output, Output::Reply { .. })) {
            assert_eq!(refused(&mut fast, &outputs), ErrorCode::RateLimited);
            complaints += 1;
        }
    }
    assert_eq!((complaints, desk.counters().rate_limited), (1, 150));
    assert!(delivered(&desk.receive(now, &other.seal(&ToDevice::Hello).unwrap())).is_some());
    let later = now + Duration::from_secs(1);
    let offers = (0..10).filter(|_| delivered(&desk.receive(later, &fast.seal(&offer()).unwrap())).is_some());
    assert_eq!(offers.count(), 5);
}

#[test]
fn a_flood_of_strangers_is_dropped_unread() {
    let now = clock::now();
    let mut desk = desk(1, now);
    for _ in 0..3000 {
        assert_eq!(desk.receive(now, b"{}"), []);
    }
    assert_eq!((desk.counters().malformed, desk.counters().flooded), (2000, 1000));
    let mut viewer = session(&desk, 1, 1);
    let hello = viewer.seal(&ToDevice::Hello).unwrap();
    assert!(delivered(&desk.receive(now + Duration::from_millis(1), &hello)).is_some());
}

#[test]
fn a_bad_message_under_a_right_seal_is_answered() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let mut viewer = session(&desk, 1, 1);
    desk.receive(now, &viewer.seal(&ToDevice::Hello).unwrap());
    for (kind, body) in [("zoom", "{}"), ("offer", r#"{"sdp":"v=0"}"#), ("candidate", "[]")] {
        let outputs = desk.receive(now, &viewer.seal_raw(kind, body.as_bytes()).unwrap());
        assert_eq!(refused(&mut viewer, &outputs), ErrorCode::BadRequest, "{kind}");
    }
    assert_eq!(desk.counters().bad_requests, 3);
}

#[test]
fn a_session_begins_with_hello_or_offer() {
    let now = clock::now();
    let mut desk = desk(1, now);
    for (id, message) in [(1, ToDevice::Candidate(None)), (2, ToDevice::Bye { reason: String::new() })] {
        let mut viewer = session(&desk, 1, id);
        let first = viewer.seal(&message).unwrap();
        let outputs = desk.receive(now, &first);
        assert_eq!(refused(&mut viewer, &outputs), ErrorCode::BadRequest);
        assert_eq!(desk.receive(now, &first), [], "and is over");
        assert_eq!(desk.receive(now, &viewer.seal(&ToDevice::Hello).unwrap()), []);
    }
}

#[test]
fn the_longest_silent_session_makes_room() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let mut sessions: Vec<_> = (0..17).map(|id| session(&desk, 1, id)).collect();
    for (id, viewer) in (0_u32..).zip(&mut sessions[..16]) {
        let at = now + Duration::from_secs(1) * id;
        assert!(delivered(&desk.receive(at, &viewer.seal(&ToDevice::Hello).unwrap())).is_some());
    }
    let late = now + Duration::from_secs(17);
    let outputs = desk.receive(late, &sessions[16].seal(&ToDevice::Hello).unwrap());
    assert!(matches!(outputs[1], Output::Ended { session } if session == sessions[0].id()));
    assert!(delivered(&outputs).is_some());
    for viewer in &sessions[1..] {
        desk.seal(late, viewer.id(), &ToViewer::Answer { sdp: String::new() }).unwrap();
    }
    let mut more = session(&desk, 1, 99);
    let outputs = desk.receive(late, &more.seal(&ToDevice::Hello).unwrap());
    assert_eq!(refused(&mut more, &outputs), ErrorCode::Busy);
}

#[test]
fn remembered_sessions_are_bounded_and_none_is_forgotten_early() {
    let mut now = clock::now();
    let mut desk = desk(1, now);
    let mut hellos = Vec::new();
    for id in 0..300_u32 {
        now += Duration::from_millis(50);
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&id.to_be_bytes());
        let session = SessionId::from_bytes(bytes);
        let hello = ViewerSession::new(device(), &record(1), session, nonce(&desk)).seal(&ToDevice::Hello);
        let hello = hello.unwrap();
        assert_eq!(delivered(&desk.receive(now, &hello)).is_some(), hellos.len() < MAX_REMEMBERED);
        if desk.seal(now, session, &ToViewer::Candidate(None)).is_some() {
            desk.end(session);
            hellos.push(hello);
        }
    }
    assert_eq!((hellos.len(), desk.counters().too_many_sessions), (MAX_REMEMBERED, 44));
    for hello in &hellos {
        assert_eq!(desk.receive(now, hello), []);
    }
}

#[test]
fn a_revoked_viewer_is_told_and_heard_no_more() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let mut viewer = session(&desk, 1, 1);
    desk.receive(now, &viewer.seal(&ToDevice::Hello).unwrap());
    assert_eq!(desk.revoke(record(1).id), [viewer.id()]);
    let bye = ToViewer::Bye { reason: ByeReason::Revoked };
    let sealed = desk.seal(now, viewer.id(), &bye).unwrap();
    assert_eq!(viewer.open(&sealed), Some(bye));
    assert_eq!(desk.receive(now, &viewer.seal(&ToDevice::Hello).unwrap()), []);
    desk.end(viewer.id());
    assert_eq!(desk.seal(now, viewer.id(), &ToViewer::Candidate(None)), None);
    assert_eq!(desk.receive(now, &session(&desk, 1, 2).seal(&ToDevice::Hello).unwrap()), []);
    assert_eq!(desk.counters().unknown_key, 2);
}

#[test]
fn a_viewer_that_is_let_in_later_is_heard_from_then_on() {
    let now = clock::now();
    let mut desk = desk(0, now);
    assert_eq!(desk.receive(now, &session(&desk, 1, 1).seal(&ToDevice::Hello).unwrap()), []);
    desk.let_in(now, record(1));
    let mut viewer = session(&desk, 1, 2);
    let hello = viewer.seal(&ToDevice::Hello).unwrap();
    assert!(delivered(&desk.receive(now, &hello)).is_some());
    desk.end(viewer.id());
    desk.let_in(now, record(1));
    assert_eq!(desk.receive(now, &hello), [], "what has ended is still remembered");
}

#[test]
fn an_answer_that_does_not_fit_becomes_an_error() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let mut viewer = session(&desk, 1, 1);
    desk.receive(now, &viewer.seal(&offer()).unwrap());
    let sealed = desk.seal(now, viewer.id(), &ToViewer::Answer { sdp: "x".repeat(40_000) }).unwrap();
    assert!(matches!(viewer.open(&sealed), Some(ToViewer::Error { code: ErrorCode::Internal, .. })));
    assert_eq!(desk.counters().answers_too_large, 1);
}

#[test]
fn pairing_makes_a_viewer_that_is_let_in() {
    let now = clock::now();
    let mut desk = desk(0, now);
    let secret = desk.invite(now, Invite::to(Role::Admin));
    let link =
        Link { device: device(), root: "pinhole".into(), secret, broker: None, more_brokers: Vec::new() };
    let mut pairing = ViewerPairing::new(link, nonce(&desk), "phone").unwrap();
    let outputs = desk.receive(now, &pairing.request());
    let [Output::Pair { pairing: id, record }] = &outputs[..] else { panic!("{outputs:?}") };
    let mut early = ViewerSession::new(device(), record, SessionId::from_bytes([1; 16]), nonce(&desk));
    assert_eq!(desk.receive(now, &early.seal(&ToDevice::Hello).unwrap()), [], "not before it is saved");
    let answer = desk.commit_pairing(now, *id, Ok(()));
    let Some(Output::Reply { session, envelope }) = answer else { panic!("{answer:?}") };
    assert_eq!(session, pairing.id());
    let viewer = pairing.finish(&envelope).unwrap().unwrap();
    let mut session = ViewerSession::new(device(), &viewer, SessionId::from_bytes([2; 16]), nonce(&desk));
    let outputs = desk.receive(now, &session.seal(&ToDevice::Hello).unwrap());
    assert!(matches!(outputs[..], [Output::Deliver { role: Role::Admin, .. }]));
}

#[test]
fn the_devices_own_random_bytes_differ() {
    let now = clock::now();
    let nonces: BTreeSet<_> =
        (0..8).map(|_| nonce(&Desk::new(device(), Vec::new(), Box::new(random), now))).collect();
    assert_eq!(nonces.len(), 8);
}

/// A broker that keeps everything it ever carried, and viewers and a device that know nothing of it.
struct World {
    rng: u64,
    now: Instant,
    desk: Desk,
    viewers: Vec<ViewerSession>,
    /// What each session's viewer was: 1 to 3.
    owners: Vec<u8>,
    revoked: BTreeSet<u8>,
    /// Every envelope that was ever sent, by anyone.
    carried: Vec<Bytes>,
    /// What viewers said, by the text that makes each unique.
    said: BTreeMap<String, u8>,
    heard: BTreeSet<String>,
    /// What the device sealed, by key and counter.
    sealed: BTreeMap<(SessionId, DeviceNonce, KeyId, u64), Bytes>,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = clock::now();
        Self {
            rng: seed,
            now,
            desk: desk(3, now),
            viewers: Vec::new(),
            owners: Vec::new(),
            revoked: BTreeSet::new(),
            carried: Vec::new(),
            said: BTreeMap::new(),
            heard: BTreeSet::new(),
            sealed: BTreeMap::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(next(&mut self.rng) % bound as u64).unwrap()
    }

    fn step(&mut self) {
        match self.below(100) {
            0..15 => self.begin(),
            15..45 => self.say(),
            45..75 => self.carry(),
            75..82 => self.tamper(),
            82..90 => self.answer(),
            90..94 => self.end(),
            94..99 => self.wait(),
            _ => self.revoke(),
        }
        self.verify_invariants();
    }

    fn begin(&mut self) {
        let owner = 1 + u8::try_from(self.below(3)).unwrap();
        // Now and then a session id comes again, with the same nonce or a newer one.
        let id = SessionId::from_bytes([u8::try_from(self.below(40)).unwrap(); 16]);
        let used = self.viewers.iter().zip(&self.owners).any(|(v, o)| v.id() == id && *o == owner);
        if !used || self.below(4) == 0 {
            self.viewers.push(ViewerSession::new(device(), &record(owner), id, nonce(&self.desk)));
            self.owners.push(owner);
        }
    }

    fn say(&mut self) {
        if self.viewers.is_empty() {
            return;
        }
        let at = self.below(self.viewers.len());
        let unique = format!("x{}", self.said.len());
        let sdp = format!("{FINGERPRINT}\r\ns={unique}");
        let offer = Offer { camera: unique.clone(), sdp, audio: false, talk: false };
        self.said.insert(unique, self.owners[at]);
        let envelope = self.viewers[at].seal(&ToDevice::Offer(offer)).unwrap();
        self.carried.push(envelope.clone());
        if self.below(5) != 0 {
            self.deliver(&envelope);
        }
    }

    fn carry(&mut self) {
        if !self.carried.is_empty() {
            let at = self.below(self.carried.len());
            let envelope = self.carried[at].clone();
            self.deliver(&envelope);
        }
    }

    fn tamper(&mut self) {
        if !self.carried.is_empty() {
            let at = self.below(self.carried.len());
            let mut envelope = self.carried[at].to_vec();
            let (at, to) = (self.below(envelope.len()), self.below(128));
            let to = u8::try_from(to).unwrap();
            if envelope[at] != to {
                envelope[at] = to;
                // A changed space or escape may be the same JSON; what is delivered must still be new.
                self.deliver(&envelope);
            }
        }
    }

    fn answer(&mut self) {
        let sessions: Vec<_> = self.desk.sessions.keys().copied().collect();
        if !sessions.is_empty() {
            let session = sessions[self.below(sessions.len())];
            let answer = ToViewer::Answer { sdp: format!("{}", next(&mut self.rng)) };
            let sealed = self.desk.seal(self.now, session, &answer).unwrap();
            self.publish(&sealed);
        }
    }

    fn end(&mut self) {
        let sessions: Vec<_> = self.desk.sessions.keys().copied().collect();
        if !sessions.is_empty() {
            let session = sessions[self.below(sessions.len())];
            self.desk.end(session);
        }
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(next(&mut self.rng) % 40_000);
        if self.desk.poll_timeout().is_some_and(|at| at <= self.now) {
            let outputs = self.desk.handle_timeout(self.now);
            self.carry_out(&outputs);
        }
    }

    fn revoke(&mut self) {
        if self.below(3) == 0 {
            let owner = 1 + u8::try_from(self.below(3)).unwrap();
            self.desk.revoke(record(owner).id);
            self.revoked.insert(owner);
        }
    }

    fn deliver(&mut self, envelope: &[u8]) {
        let outputs = self.desk.receive(self.now, envelope);
        self.carry_out(&outputs);
    }

    fn carry_out(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Deliver { message: ToDevice::Offer(offer), viewer, .. } => {
                    let owner = self.said.get(&offer.camera).copied().expect("only what a viewer said");
                    assert_eq!(*viewer, record(owner).id, "and as that viewer");
                    assert!(!self.revoked.contains(&owner), "never a revoked one");
                    assert!(self.heard.insert(offer.camera.clone()), "and once: {}", offer.camera);
                }
                Output::Reply { envelope, .. } => self.publish(envelope),
                Output::Status(_) | Output::Ended { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn publish(&mut self, sealed: &Bytes) {
        let Envelope { session, nonce, key, counter, .. } = Envelope::parse(sealed).unwrap();
        let before = self.sealed.insert((session, nonce, key, counter), sealed.clone());
        assert_eq!(before, None, "a key and counter were used twice");
        self.carried.push(sealed.clone());
    }

    fn verify_invariants(&self) {
        for (key, viewer) in &self.desk.viewers {
            let live = self.desk.sessions_of(*key).count();
            assert!(live <= MAX_SESSIONS);
            assert!(live + viewer.ended.len() <= MAX_REMEMBERED);
            assert!(viewer.ended.values().all(|nonce| self.desk.knows(*nonce)));
        }
        assert!(self.desk.poll_timeout().is_some());
    }
}

#[test]
fn no_broker_gets_a_message_through_twice_or_a_key_used_twice() {
    let (mut heard, mut sealed, mut replayed, mut over) = (0, 0, 0, 0);
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..600 {
            world.step();
        }
        heard += world.heard.len();
        sealed += world.sealed.len();
        replayed += world.desk.counters().replayed;
        over += world.desk.counters().wrong_session;
    }
    assert!(
        heard > 1000 && sealed > 1000 && replayed > 1000 && over > 1000,
        "the lists reach what they are for"
    );
}
