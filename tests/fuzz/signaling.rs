//! What must hold for any bytes from a broker, a viewer or a link: bodies of fuzz targets, as in bodies.rs. What the
//! seals rest on is that of tests/fixtures/vectors.json, so that an input means the same each time.

use std::{
    collections::BTreeSet,
    sync::LazyLock,
    time::{Duration, Instant},
};

use pinhole::{
    clock,
    signal::{
        Address,
        desk::{Desk, NONCE_LIFETIME, Output},
        envelope::{Channel, End, Envelope, Header, MAX_ENVELOPE, SealKey, SessionIds, ViewerKey},
        hand,
        keys::ViewerRecord,
        link::Link,
        login::AcceptedDevice,
        message::{ByeReason, Role, ToDevice, ToViewer},
        pairing::Invite,
        topic::{DeviceId, DeviceNonce, KeyId, SessionId, Topic, check_root},
        viewer::ViewerSession,
    },
};
use serde_json::Value;

static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../fixtures/vectors.json")).expect("the vectors are JSON")
});

fn text(path: &str) -> &'static str {
    VECTORS.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("a vector at {path}"))
}

fn bytes<const N: usize>(path: &str) -> [u8; N] {
    let hex = text(path);
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
}

fn device() -> DeviceId {
    DeviceId::parse(text("/session/d")).expect("a device")
}

fn viewer(number: u8) -> ViewerRecord {
    let (id, key) = (KeyId::from_bytes([number; 8]), ViewerKey::from_bytes([number; 32]));
    ViewerRecord::new(id, key, Role::View, format!("viewer {number}"))
}

/// An envelope is read alike each time, and opens only to what would be sealed to the very same, and once.
pub fn envelope(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    assert!(data.len() <= MAX_ENVELOPE);
    assert_eq!(Envelope::parse(data).as_ref(), Ok(&envelope));
    assert!(Envelope::parse(&[data, b"0"].concat()).is_err(), "nothing may follow it");
    let Envelope { ref kind, key, session, nonce, counter, ephemeral, .. } = envelope;
    let header = Header { kind, device: device(), key, session, nonce, counter };
    for of in ["/session/to_device_key", "/session/to_viewer_key", "/pairing/confirm_key"] {
        let seal = SealKey::new(&bytes(of));
        if let Some(body) = envelope.open(device(), &seal) {
            let again = header.seal(&seal, ephemeral.as_ref(), &body).expect("it fitted");
            assert_eq!(Envelope::parse(&again).as_ref(), Ok(&envelope), "only its own body is in it");
        }
    }
    let ids = SessionIds {
        device: device(),
        key: KeyId::parse(text("/session/k")).expect("a key"),
        session: SessionId::parse(text("/session/s")).expect("a session"),
        nonce: DeviceNonce::parse(text("/session/nd")).expect("a nonce"),
    };
    for end in [End::Device, End::Viewer] {
        let mut channel = Channel::new(end, ids, &ViewerKey::from_bytes(bytes("/session/viewer_key")));
        if channel.open(&envelope).is_ok() {
            assert!(channel.open(&envelope).is_err(), "it opens once");
            assert_eq!((key, session, nonce), (ids.key, ids.session, ids.nonce));
        }
    }
}

/// A message that is taken is written as it was meant: read again, it is the same.
pub fn message(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    const KINDS: [&str; 9] =
        ["hello", "offer", "candidate", "bye", "welcome", "answer", "error", "notice", "later"];
    let kind = KINDS[usize::from(first) % KINDS.len()];
    if let Ok(message) = ToDevice::decode(kind, body) {
        let (kind, body) = message.encode();
        assert_eq!(ToDevice::decode(kind, &body).as_ref(), Ok(&message));
        if let ToDevice::Offer(offer) = &message {
            assert!(offer.sdp.contains("fingerprint:"), "nothing may leave open whom the device talks to");
        }
        if let ToDevice::Bye { reason } = &message {
            assert!(!reason.chars().any(char::is_control), "it is logged: {reason:?}");
        }
    }
    if let Ok(message) = ToViewer::decode(kind, body) {
        let (kind, body) = message.encode();
        assert_eq!(ToViewer::decode(kind, &body).as_ref(), Ok(&message));
    }
}

/// Ids and topics have one text each, and a root that is taken cannot change what a topic means.
pub fn topic(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (root, topic) = text.split_once('\n').unwrap_or(("pinhole", &text));
    let ids = [
        DeviceId::parse(topic).map(|id| id.to_string()),
        KeyId::parse(topic).map(|id| id.to_string()),
        SessionId::parse(topic).map(|id| id.to_string()),
        DeviceNonce::parse(topic).map(|id| id.to_string()),
    ];
    assert!(ids.iter().flatten().all(|id| id == topic));
    assert!(ids.iter().flatten().all(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    if let Ok(device) = topic.parse::<AcceptedDevice>() {
        assert_eq!(device.to_string(), topic.trim());
    }
    let Ok(topics) = Address::new(root, device()) else {
        assert!(check_root(root).is_err());
        return;
    };
    let forbidden = |c: char| matches!(c, '+' | '#') || c.is_control();
    assert!(
        !root.contains(forbidden) && !root.starts_with('$') && !root.starts_with('/') && !root.ends_with('/')
    );
    match topics.parse(topic) {
        None => {}
        Some(Topic::Status) => assert_eq!(topic, topics.topic_status()),
        Some(Topic::In) => assert_eq!(topic, topics.topic_in()),
        Some(Topic::Out(session)) => assert_eq!(topic, topics.topic_out(&session)),
    }
}

/// A link that is taken can be written and read again, and leads to a WebSocket and plain topics alone.
pub fn link(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(link) = Link::parse(&text) else { return };
    assert_eq!(Link::parse(&link.fragment()).as_ref(), Ok(&link));
    assert_eq!(check_root(&link.root), Ok(()));
    if let Some(broker) = &link.broker {
        assert!(broker.starts_with("ws://") || broker.starts_with("wss://"));
        assert!(broker.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(!format!("{link:?}").contains(text.trim_start_matches('#')), "the secret is not shown");
}

/// A desk whose nonce and next secret are those of the vectors.
fn desk(viewers: Vec<ViewerRecord>, now: Instant) -> Desk {
    let mut drawn = 0_u8;
    let random = move |fill: &mut [u8]| match fill.len() {
        16 if drawn == 0 => {
            drawn = 1;
            fill.copy_from_slice(&bytes::<16>("/session/nd"));
        }
        32 => fill.copy_from_slice(&bytes::<32>("/pairing/secret")),
        _ => {
            drawn += 1;
            fill.fill(drawn);
        }
    };
    Desk::new(device(), viewers, Box::new(random), now)
}

/// `true_one` with bytes changed as `data` says: two for the place, one for the change.
fn altered(true_one: &[u8], data: &[u8]) -> Vec<u8> {
    let mut altered = true_one.to_vec();
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % altered.len();
        altered[at] ^= change[2];
    }
    altered
}

/// While an invitation is open, only its very request is answered; anything else pairs nobody and does not use it up.
pub fn pairing(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let right = text("/pairing/pair1/envelope").as_bytes();
    let payload = if first == 0 { rest.to_vec() } else { altered(right, rest) };
    let now = clock::now();
    let mut desk = desk(Vec::new(), now);
    desk.invite(now, Invite::to(Role::View));
    let is_right = Envelope::parse(&payload) == Envelope::parse(right);
    let outputs = desk.receive(now, &payload);
    let paired = matches!(outputs.as_slice(), [Output::Pair { .. }]);
    assert!(paired == is_right && (paired || outputs.is_empty()), "{outputs:?}");
    let outputs = if paired { outputs } else { desk.receive(now, right) };
    let [Output::Pair { pairing, record }] = outputs.as_slice() else { panic!("{outputs:?}") };
    let Some(Output::Reply { envelope: answer, .. }) = desk.commit_pairing(now, *pairing, Ok(())) else {
        panic!("the viewer is told")
    };
    assert!(desk.has(record.id));
    for outputs in [desk.receive(now, &payload), desk.receive(now, right)] {
        let same = |output: &Output| matches!(output, Output::Reply { envelope, .. } if *envelope == answer);
        assert!(
            outputs.iter().all(same),
            "the same viewer gets the same answer, nobody another: {outputs:?}"
        );
    }
    assert_eq!(desk.counters().paired, 1);
}

/// Bytes as a list of what viewers, the device, the broker and time do; whatever the order, nothing comes through that
/// was not sealed by a viewer that is let in, nothing twice, and no counter is used again.
pub fn desk_sequence(data: &[u8]) {
    let mut scene = Scene::new();
    let mut rest = data;
    for _ in 0..128 {
        let Some((&step, after)) = rest.split_first() else { return };
        rest = scene.step(step, after);
    }
}

struct Scene {
    desk: Desk,
    now: Instant,
    nonce: DeviceNonce,
    sessions: Vec<(ViewerSession, KeyId)>,
    /// What viewers sealed, and how often each was heard.
    sealed: Vec<(Envelope, Vec<u8>, usize)>,
    revoked: BTreeSet<KeyId>,
    /// Session and counter of what the device sealed.
    used: BTreeSet<(SessionId, u64)>,
    /// What the device said.
    said: Vec<Vec<u8>>,
}

impl Scene {
    fn new() -> Self {
        let now = clock::now();
        let desk = desk((1..=2).map(viewer).collect(), now);
        let nonce = DeviceNonce::from_bytes(bytes("/session/nd"));
        let (sessions, sealed, said) = Default::default();
        Self { desk, now, nonce, sessions, sealed, said, revoked: BTreeSet::new(), used: BTreeSet::new() }
    }

    /// One step; `rest` is what follows, and what is left of it is returned.
    fn step<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        let (argument, after) = rest.split_first().map_or((0, rest), |(first, after)| (*first, after));
        match step % 12 {
            0 => self.begin(argument),
            1..=3 => self.say(step, argument),
            4 => {
                if let Some((_, payload, _)) = self.sealed.get(usize::from(argument)).cloned() {
                    self.receive(&payload);
                }
            }
            5 => {
                let (change, after) = after.split_at(after.len().min(3));
                if let Some((_, payload, _)) = self.sealed.last().cloned() {
                    self.receive(&altered(&payload, change));
                }
                return after;
            }
            6 => {
                let (payload, after) = after.split_at(after.len().min(usize::from(argument) * 4));
                self.receive(payload);
                return after;
            }
            7 => self.answer(argument),
            8 => self.pass(Duration::from_secs(u64::from(argument))),
            9 => {
                if let Some(said) = self.said.get(usize::from(argument)).cloned() {
                    self.receive(&said);
                }
            }
            10 => {
                if let Some((session, _)) = self.sessions.get(usize::from(argument)) {
                    self.desk.end(session.id());
                }
            }
            _ => {
                let key = KeyId::from_bytes([argument % 8; 8]);
                self.desk.revoke(key);
                self.revoked.insert(key);
            }
        }
        after
    }

    fn begin(&mut self, argument: u8) {
        let record = viewer(1 + argument % 2);
        let id = SessionId::from_bytes([self.sessions.len() as u8; 16]);
        self.sessions.push((ViewerSession::new(device(), &record, id, self.nonce), record.id));
    }

    fn say(&mut self, step: u8, argument: u8) {
        let count = self.sessions.len().max(1);
        let Some((session, _)) = self.sessions.get_mut(usize::from(argument) % count) else { return };
        let sealed = match step % 12 {
            1 => session.seal(&ToDevice::Hello),
            2 => session.seal_raw("offer", &[argument]),
            _ => session.seal(&ToDevice::Bye { reason: String::new() }),
        };
        let payload = sealed.expect("it fits").to_vec();
        self.sealed.push((Envelope::parse(&payload).expect("an envelope"), payload, 0));
    }

    fn receive(&mut self, payload: &[u8]) {
        let outputs = self.desk.receive(self.now, payload);
        let envelope = Envelope::parse(payload).ok();
        let known = self.sealed.iter_mut().find(|(sealed, ..)| Some(sealed) == envelope.as_ref());
        let Some((sealed, _, heard)) = known else {
            assert!(outputs.is_empty(), "no answer without a seal: {outputs:?}");
            return;
        };
        for output in &outputs {
            match output {
                Output::Deliver { session, viewer, .. } => {
                    *heard += 1;
                    assert_eq!((*session, *viewer), (sealed.session, sealed.key));
                    assert!(*heard == 1, "nothing is heard twice");
                    assert!(!self.revoked.contains(viewer), "who is revoked is not heard");
                }
                Output::Pair { .. } | Output::Status(_) => panic!("nobody asked for that: {output:?}"),
                Output::Reply { .. } | Output::Ended { .. } => {}
            }
        }
        self.note(&outputs);
    }

    fn note(&mut self, outputs: &[Output]) {
        for output in outputs {
            if let Output::Reply { envelope, .. } = output {
                self.said(envelope);
            }
            if let Output::Status(status) = output {
                let status: Value = serde_json::from_slice(status).expect("JSON");
                self.nonce = DeviceNonce::parse(status["nd"].as_str().expect("online")).expect("a nonce");
            }
        }
    }

    fn said(&mut self, payload: &[u8]) {
        let envelope = Envelope::parse(payload).expect("the device writes envelopes");
        let fresh = self.used.insert((envelope.session, envelope.counter));
        assert!(fresh, "no counter of a session is used again");
        self.said.push(payload.to_vec());
    }

    fn answer(&mut self, argument: u8) {
        let Some((session, _)) = self.sessions.get(usize::from(argument)) else { return };
        let message = match argument % 2 {
            0 => ToViewer::Answer { sdp: "v=0".into() },
            _ => ToViewer::Bye { reason: ByeReason::Camera },
        };
        if let Some(payload) = self.desk.seal(self.now, session.id(), &message) {
            self.said(&payload);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time.min(2 * NONCE_LIFETIME);
        while self.desk.poll_timeout().is_some_and(|at| at <= self.now) {
            let outputs = self.desk.handle_timeout(self.now);
            self.note(&outputs);
        }
    }
}

/// What is found in a text that came by mail is found again when it is written anew and quoted, as the same envelopes.
pub fn hand(data: &[u8]) {
    let Ok(found) = hand::find(&String::from_utf8_lossy(data)) else { return };
    assert!((1..=8).contains(&found.len()));
    for (bytes, envelope) in found {
        assert_eq!(Envelope::parse(&bytes).as_ref(), Ok(&envelope));
        let quoted = hand::write(&bytes).replace('\n', "\r\n> ");
        let again = hand::find(&format!("Anna wrote:\r\n> {quoted}\r\n")).expect("it is whole");
        assert_eq!(again, [(bytes, envelope)]);
    }
}
