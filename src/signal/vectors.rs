//! The test vectors of pinhole/1, `tests/fixtures/vectors.json` (docs/signaling.md, "Test vectors"): derived here
//! from fixed inputs, compared with the committed file, and read back. The page's `protocol.test.mjs` holds the
//! viewer's side to the same file, and the elliptic-curve exchange with it, which needs fixed private keys.
//!
//! To write the file anew after a deliberate change of the protocol:
//! `cargo test --lib signal::vectors::write -- --ignored`

use std::fs;

use serde_json::{Value, json};

use super::{
    desk::{ByHand, Desk},
    envelope::{
        Channel, End, Envelope, Header, MAX_COUNTER, Point, SealKey, SessionIds, ViewerKey, session_keys,
        to_base64,
    },
    hand::{self, NoEnvelope},
    link::{Link, PairingSecret},
    login::{LoginKey, METHOD},
    message::{ToDevice, ToViewer},
    pairing::{agree, pairing_id, request_key},
    topic::{Address, DeviceId, DeviceNonce, KeyId, SessionId},
    viewer::{HandSession, Status, ViewerSession},
};
use crate::clock;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vectors.json");

const FINGERPRINT: &str = "a=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

/// The exchange on P-256 of RFC 5903, section 8.1: private keys, public points, shared x-coordinate.
const VIEWER_PRIVATE: &str = "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433";
const VIEWER_POINT: &str = "04\
    dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180\
    5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3";
const DEVICE_PRIVATE: &str = "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53";
const DEVICE_POINT: &str = "04\
    d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
    56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab";
const SHARED: &str = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    let digits = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    assert_eq!(hex.len(), 2 * N);
    std::array::from_fn(digits)
}

/// `first`, `first + 1`, and so on.
fn counted<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(u8::try_from(at).unwrap()))
}

fn text(envelope: impl AsRef<[u8]>) -> String {
    String::from_utf8(envelope.as_ref().to_vec()).unwrap()
}

fn ids() -> SessionIds {
    SessionIds {
        device: DeviceId::parse("q3v7m2k5x4n6p7r2").unwrap(),
        key: KeyId::from_bytes(counted(0xa0)),
        session: SessionId::from_bytes(counted(0x10)),
        nonce: DeviceNonce::from_bytes(counted(0xd0)),
    }
}

fn viewer_key() -> ViewerKey {
    ViewerKey::from_bytes(counted(0x40))
}

/// Bodies in the order in which they are sealed.
fn to_device() -> Vec<(&'static str, String)> {
    let offer = json!({ "camera": "front", "sdp": format!("v=0\r\n{FINGERPRINT}\r\n"), "audio": false, "talk": false });
    let candidate = json!({ "candidate": "candidate:1 1 udp 2122260223 192.0.2.1 54321 typ host", "sdpMid": "0", "sdpMLineIndex": 0 });
    vec![
        ("hello", "{}".into()),
        ("offer", offer.to_string()),
        ("candidate", candidate.to_string()),
        ("candidate", r#"{"candidate":null}"#.into()),
        ("bye", r#"{"reason":"closed"}"#.into()),
    ]
}

fn to_viewer() -> Vec<(&'static str, String)> {
    let camera =
        json!({ "id": "front", "name": "Küche", "width": 1280, "height": 720, "fps": 30, "audio": false });
    let server = json!({ "urls": ["turn:192.0.2.9:3478"], "username": "u", "credential": "p" });
    let welcome = json!({
        "name": "Garten", "role": "view", "cameras": [camera], "ice_servers": [server], "ice_expires_s": 3600,
        "limits": { "viewers": 8 },
    });
    vec![
        ("welcome", welcome.to_string()),
        ("answer", json!({ "sdp": format!("v=0\r\n{FINGERPRINT}\r\n") }).to_string()),
        ("candidate", r#"{"candidate":null}"#.into()),
        ("notice", r#"{"camera":"front","code":"slate","message":"the camera is unplugged"}"#.into()),
        ("error", r#"{"code":"no_camera","message":"the camera is unplugged"}"#.into()),
        ("bye", r#"{"reason":"shutdown"}"#.into()),
    ]
}

fn envelopes(end: End, bodies: Vec<(&'static str, String)>) -> Value {
    let SessionIds { device, key, session, nonce } = ids();
    let mut channel = Channel::new(end, ids(), &viewer_key());
    let sealed = bodies.into_iter().enumerate().map(|(n, (t, body))| {
        let aad = format!("pinhole/1|{t}|{device}|{key}|{session}|{nonce}|{n}");
        let envelope = text(channel.seal(t, body.as_bytes()).unwrap());
        json!({ "t": t, "n": n, "aad": aad, "body": body, "envelope": envelope })
    });
    sealed.collect()
}

/// The last counter there is.
fn last() -> Value {
    let SessionIds { device, key, session, nonce } = ids();
    let header = Header { kind: "bye", device, key, session, nonce, counter: MAX_COUNTER - 1 };
    let keys = session_keys(&ids(), &viewer_key());
    let seal = SealKey::new(keys[32..].try_into().unwrap());
    let body = r#"{"reason":"idle"}"#;
    json!({ "t": "bye", "n": MAX_COUNTER - 1, "body": body, "envelope": text(header.seal(&seal, None, body.as_bytes()).unwrap()) })
}

/// Changes to a right first envelope that make it one to be dropped, at either end.
fn changes(good: &str, reflected: &str) -> Vec<(&'static str, String)> {
    let SessionIds { key, session, nonce, .. } = ids();
    let swap = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed
    };
    let c = good.split(r#""c":""#).nth(1).unwrap().trim_end_matches(r#""}"#);
    let mut flipped = c.to_owned();
    let flip = if c.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(0..1, flip);
    vec![
        ("a bit of the ciphertext flipped", swap(c, &flipped)),
        ("the tag cut off", swap(c, &c[..c.len() - 8])),
        ("no ciphertext", swap(c, "")),
        ("padding", swap(c, &format!("{c}="))),
        ("another type", swap(r#""t":""#, r#""t":"x"#)),
        ("another counter", swap(r#""n":0"#, r#""n":1"#)),
        ("a counter that is a fraction", swap(r#""n":0"#, r#""n":0.5"#)),
        ("a counter below zero", swap(r#""n":0"#, r#""n":-1"#)),
        ("a counter of 2^53", swap(r#""n":0"#, r#""n":9007199254740992"#)),
        ("another key", swap(&key.to_string(), &"0".repeat(16))),
        ("another session", swap(&session.to_string(), &"0".repeat(32))),
        ("another nonce", swap(&nonce.to_string(), &"0".repeat(32))),
        ("another version", swap(r#""v":1"#, r#""v":2"#)),
        ("a field of its own", swap(r#""v":1"#, r#""v":1,"d":"q3v7m2k5x4n6p7r2""#)),
        (
            "a point, which only pairing has",
            swap(r#""c":"#, &format!(r#""e":"{}","c":"#, to_base64(&[4; 65]))),
        ),
        ("the other direction's", reflected.to_owned()),
        ("an array", r"[1]".to_owned()),
        ("nothing", String::new()),
    ]
}

fn pairing() -> Value {
    let SessionIds { device, session, nonce, .. } = ids();
    let secret = PairingSecret::from_bytes(counted(0x80));
    let (viewer_point, device_point): (Point, Point) = (bytes(VIEWER_POINT), bytes(DEVICE_POINT));
    let request = request_key(&secret, &viewer_point, device);
    let agreed = agree(&bytes::<32>(SHARED), &secret, &viewer_point, &device_point, device);
    let key = KeyId::from_bytes(*pairing_id(&secret).as_bytes());
    let seal = |kind, seal: &[u8; 32], point: &Point, body: &str| {
        let header = Header { kind, device, key, session, nonce, counter: 0 };
        let envelope = header.seal(&SealKey::new(seal), Some(point), body.as_bytes()).unwrap();
        let aad = format!("pinhole/1|{kind}|{device}|{key}|{session}|{nonce}|0");
        json!({ "aad": aad, "body": body, "envelope": text(envelope) })
    };
    let confirmed = r#"{"k":"a0a1a2a3a4a5a6a7","role":"admin","name":"Anna's phone"}"#;
    let refused = r#"{"code":"internal","message":"the disk is full"}"#;
    json!({
        "secret": hex(secret.as_bytes()),
        "id": key.to_string(),
        "viewer_private": VIEWER_PRIVATE,
        "viewer_point": VIEWER_POINT,
        "device_private": DEVICE_PRIVATE,
        "device_point": DEVICE_POINT,
        "shared": SHARED,
        "request_key": hex(&request),
        "viewer_key": hex(agreed.viewer_key.as_bytes()),
        "confirm_key": hex(&agreed.confirm_key),
        "pair1": seal("pair1", &request, &viewer_point, r#"{"name":"Anna's phone"}"#),
        "pair2": seal("pair2", &agreed.confirm_key, &device_point, confirmed),
        "refusal": seal("error", &agreed.confirm_key, &device_point, refused),
    })
}

fn links() -> Value {
    let here = Link {
        device: ids().device,
        root: "pinhole".into(),
        secret: PairingSecret::from_bytes(counted(0x80)),
        broker: None,
        more_brokers: Vec::new(),
    };
    let elsewhere = Link {
        root: "home/cameras".into(),
        broker: Some("wss://viewer:secret@broker.example:8084/mqtt".into()),
        ..here.clone()
    };
    let several = Link {
        more_brokers: vec!["wss://second.example/mqtt".into(), "ws://third.example:9001/".into()],
        ..elsewhere.clone()
    };
    let both = Link { more_brokers: several.more_brokers.clone(), ..here.clone() };
    let written = [here, elsewhere, several, both].map(|link| {
        let (device, root, secret) = (link.device.to_string(), &link.root, hex(link.secret.as_bytes()));
        json!({ "fragment": link.fragment(), "d": device, "r": root, "s": secret, "b": link.broker, "bs": link.more_brokers })
    });
    Value::from(written.to_vec())
}

fn bad_links() -> Value {
    let s = to_base64(&counted::<32>(0x80));
    let good = format!(r#"{{"v":1,"d":"q3v7m2k5x4n6p7r2","r":"pinhole","s":"{s}"}}"#);
    let bad = |name: &str, code: &str, json: &str| json!({ "name": name, "code": code, "fragment": to_base64(json.as_bytes()) });
    let swap = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed
    };
    json!([
        { "name": "nothing", "code": "malformed", "fragment": "" },
        { "name": "no base64url", "code": "malformed", "fragment": "a+b/" },
        bad("cut", "malformed", &good[..good.len() - 10]),
        bad("an array", "malformed", "[]"),
        bad("a later version", "version", r#"{"v":2}"#),
        bad("a wildcard in the root", "malformed", &swap("pinhole", "+")),
        bad("an empty level in the root", "malformed", &swap("pinhole", "pinhole/")),
        bad("a root of the broker's own", "malformed", &swap("pinhole", "$SYS")),
        bad("a root of five levels", "malformed", &swap("pinhole", "a/b/c/d/e")),
        bad("a device in capitals", "malformed", &swap("q3v7", "Q3V7")),
        bad("a short secret", "malformed", &swap(&s, &s[..20])),
        bad("a broker by http", "malformed", &swap(r#""r":"#, r#""b":"http://a/","r":"#)),
        bad("another broker by http", "malformed", &swap(r#""r":"#, r#""bs":["ws://a/","http://a/"],"r":"#)),
        bad("five brokers", "malformed", &swap(r#""r":"#, r#""bs":["ws://a","ws://b","ws://c","ws://d"],"r":"#)),
        bad("brokers that are no list", "malformed", &swap(r#""r":"#, r#""bs":"ws://a","r":"#)),
    ])
}

fn statuses(address: &Address) -> Value {
    let nonce = ids().nonce.to_string();
    let status = |payload: String, online: bool| json!({ "payload": payload, "online": online, "nd": online.then(|| nonce.clone()) });
    json!({
        "topic": address.topic_status(),
        "right": [
            status(format!(r#"{{"v":1,"online":true,"nd":"{nonce}"}}"#), true),
            status(text(super::OFFLINE_STATUS), false),
        ],
        "wrong": ["", "null", "{}", r#"{"v":1,"online":true}"#, r#"{"v":1,"online":true,"nd":"00"}"#, r#"{"v":2,"online":false}"#],
    })
}

/// One offer and one answer by hand, and what may become of them on their way.
fn by_hand() -> Value {
    let channel =
        |end: End, nonce: DeviceNonce| Channel::new(end, SessionIds { nonce, ..ids() }, &viewer_key());
    let carried = |(t, body): (&'static str, String), mut channel: Channel| {
        let SessionIds { device, key, session, nonce } = *channel.ids();
        let aad = format!("pinhole/1|{t}|{device}|{key}|{session}|{nonce}|0");
        let envelope = channel.seal(t, body.as_bytes()).unwrap();
        let written = hand::write(&envelope);
        json!({ "t": t, "nd": nonce.to_string(), "aad": aad, "body": body, "envelope": text(envelope), "text": written })
    };
    let welcome = serde_json::from_str::<Value>(&to_viewer()[0].1).unwrap();
    let sdp = format!("v=0\r\n{FINGERPRINT}\r\n");
    let answer = json!({ "sdp": sdp, "welcome": welcome }).to_string();
    let offer = carried(to_device().remove(1), channel(End::Viewer, DeviceNonce::BY_HAND));
    let answer = carried(("answer", answer), channel(End::Device, ids().nonce));
    let (asked, replied) = (offer["text"].as_str().unwrap(), answer["text"].as_str().unwrap());
    let quoted = asked.replace('\n', "\r\n> ");
    let of_answer = [answer["envelope"].clone()];
    let found = json!([
        { "name": "as written", "text": replied, "envelopes": of_answer },
        { "name": "in one line", "text": replied.replace('\n', ""), "envelopes": of_answer },
        { "name": "quoted in a mail", "text": replied.replace('\n', "\r\n> "), "envelopes": of_answer },
        { "name": "with soft line breaks", "text": replied.replace('\n', "=\r\n"), "envelopes": of_answer },
        { "name": "with blanks of no width", "text": replied.replace('\n', "\u{200b}\u{a0}"), "envelopes": of_answer },
        { "name": "in prose", "text": format!("pinhole answer says what begins with pinhole1: and more.\n{replied} Regards."), "envelopes": of_answer },
        { "name": "an answer over what it answers", "text": format!("{replied}\r\n\r\nAnna wrote:\r\n> {quoted}\r\n"), "envelopes": [answer["envelope"], offer["envelope"]] },
    ]);
    let bad = json!([
        { "name": "nothing", "code": "nothing", "text": "" },
        { "name": "prose", "code": "nothing", "text": "Run pinhole answer, and send me what it prints." },
        { "name": "without its end", "code": "damaged", "text": &replied[..replied.len() - 1] },
        { "name": "without a character", "code": "damaged", "text": replied.replacen("pinhole1:e", "pinhole1:", 1) },
        { "name": "of another alphabet", "code": "damaged", "text": "pinhole1:_-_-." },
        { "name": "padded", "code": "damaged", "text": "pinhole1:e30==." },
        { "name": "no envelope", "code": "damaged", "text": "pinhole1:e30." },
        { "name": "of a later version", "code": "version", "text": replied.replacen("pinhole1", "pinhole2", 1) },
    ]);
    let keys = |nonce| session_keys(&SessionIds { nonce, ..ids() }, &viewer_key());
    json!({
        "to_device_key": hex(&keys(DeviceNonce::BY_HAND)[..32]),
        "to_viewer_key": hex(&keys(ids().nonce)[32..]),
        "offer": offer, "answer": answer, "found": found, "bad": bad,
    })
}

fn login() -> Value {
    let (seed, challenge) = (std::array::from_fn(|at| at as u8), std::array::from_fn(|at| 0xff - at as u8));
    let key = LoginKey::from_seed(ids().device, &seed);
    json!({
        "seed": hex(&seed), "method": METHOD, "data": key.device().as_str(), "challenge": hex(&challenge),
        "signature": hex(&key.sign(&challenge)), "accepted": key.public().to_string(),
    })
}

fn vectors() -> Value {
    let SessionIds { device, key, session, nonce } = ids();
    let keys = session_keys(&ids(), &viewer_key());
    let address = Address::new("pinhole", device).unwrap();
    let (there, back) = (envelopes(End::Viewer, to_device()), envelopes(End::Device, to_viewer()));
    let first = |envelopes: &Value| envelopes[0]["envelope"].as_str().unwrap().to_owned();
    let refused = |good: &Value, reflected: &Value| -> Value {
        let changes = changes(&first(good), &first(reflected)).into_iter();
        changes.map(|(name, envelope)| json!({ "name": name, "envelope": envelope })).collect()
    };
    json!({
        "protocol": "pinhole/1",
        "encoding": "binary values are lower-case hex; bodies, envelopes and payloads are the exact text",
        "session": {
            "d": device.to_string(), "k": key.to_string(), "s": session.to_string(), "nd": nonce.to_string(),
            "viewer_key": hex(viewer_key().as_bytes()),
            "salt": format!("{session}{nonce}"),
            "info": format!("pinhole/1 session|{device}|{key}"),
            "to_device_key": hex(&keys[..32]), "to_viewer_key": hex(&keys[32..]),
        },
        "topics": { "root": "pinhole", "status": address.topic_status(), "in": address.topic_in(), "out": address.topic_out(&session) },
        "to_device": there,
        "to_viewer": back,
        "to_viewer_last": last(),
        "refused_by_device": refused(&there, &back),
        "refused_by_viewer": refused(&back, &there),
        "pairing": pairing(),
        "links": links(),
        "bad_links": bad_links(),
        "status": statuses(&address),
        "login": login(),
        "by_hand": by_hand(),
    })
}

fn committed() -> Value {
    serde_json::from_str(&fs::read_to_string(PATH).unwrap()).unwrap()
}

fn strings<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[test]
#[ignore = "writes the committed file"]
fn write() {
    fs::write(PATH, format!("{:#}\n", vectors())).unwrap();
}

#[test]
fn what_is_derived_is_what_is_committed() {
    let (derived, committed) = (vectors(), committed());
    for (part, value) in committed.as_object().unwrap() {
        assert_eq!(&derived[part], value, "{part}");
    }
    assert_eq!(derived, committed);
}

#[test]
fn each_end_opens_what_the_other_sealed() {
    let committed = committed();
    let mut device = Channel::new(End::Device, ids(), &viewer_key());
    for (envelope, body) in
        strings(&committed["to_device"], "envelope").iter().zip(strings(&committed["to_device"], "body"))
    {
        let envelope = Envelope::parse(envelope.as_bytes()).unwrap();
        let opened = device.open(&envelope).unwrap();
        assert_eq!(text(&opened), body);
        assert!(ToDevice::decode(&envelope.kind, &opened).is_ok(), "{body}");
    }
    let mut viewer = Channel::new(End::Viewer, ids(), &viewer_key());
    let last = &committed["to_viewer_last"];
    let (mut envelopes, mut bodies) =
        (strings(&committed["to_viewer"], "envelope"), strings(&committed["to_viewer"], "body"));
    envelopes.push(last["envelope"].as_str().unwrap());
    bodies.push(last["body"].as_str().unwrap());
    for (envelope, body) in envelopes.iter().zip(bodies) {
        let envelope = Envelope::parse(envelope.as_bytes()).unwrap();
        let opened = viewer.open(&envelope).unwrap();
        assert_eq!(text(&opened), body);
        assert!(ToViewer::decode(&envelope.kind, &opened).is_ok(), "{body}");
    }
}

#[test]
fn a_device_and_a_viewer_drop_what_must_be_dropped() {
    let committed = committed();
    // The desk's first random bytes are its nonce.
    let random = |bytes: &mut [u8]| bytes.copy_from_slice(&ids().nonce.as_bytes()[..bytes.len()]);
    let role = super::message::Role::View;
    let record = super::keys::ViewerRecord::new(ids().key, viewer_key(), role, String::new());
    let now = clock::now();
    let mut desk = Desk::new(ids().device, vec![record.clone()], Box::new(random), now);
    assert_eq!(Status::parse(&desk.status()), Some(Status::Online { nonce: ids().nonce }));
    for bad in strings(&committed["refused_by_device"], "envelope") {
        assert_eq!(desk.receive(now, bad.as_bytes()), [], "{bad}");
    }
    let good = strings(&committed["to_device"], "envelope")[0];
    assert_eq!(desk.receive(now, good.as_bytes()).len(), 1, "and only that");

    let mut viewer = ViewerSession::new(ids().device, &record, ids().session, ids().nonce);
    for bad in strings(&committed["refused_by_viewer"], "envelope") {
        assert_eq!(viewer.open(bad.as_bytes()), None, "{bad}");
    }
    assert!(viewer.open(strings(&committed["to_viewer"], "envelope")[0].as_bytes()).is_some());
}

#[test]
fn links_and_statuses_read_as_committed() {
    let committed = committed();
    for link in committed["links"].as_array().unwrap() {
        let read = Link::parse(link["fragment"].as_str().unwrap()).unwrap();
        assert_eq!(hex(read.secret.as_bytes()), link["s"].as_str().unwrap());
        assert_eq!(read.broker.as_deref(), link["b"].as_str());
        assert_eq!(json!(read.more_brokers), link["bs"]);
    }
    for fragment in strings(&committed["bad_links"], "fragment") {
        assert!(Link::parse(fragment).is_err(), "{fragment}");
    }
    for status in committed["status"]["right"].as_array().unwrap() {
        let expected = match status["online"].as_bool().unwrap() {
            true => Status::Online { nonce: ids().nonce },
            false => Status::Offline,
        };
        assert_eq!(Status::parse(status["payload"].as_str().unwrap().as_bytes()), Some(expected));
    }
    for payload in committed["status"]["wrong"].as_array().unwrap() {
        assert_eq!(Status::parse(payload.as_str().unwrap().as_bytes()), None, "{payload}");
    }
}

#[test]
fn texts_and_answers_by_hand_read_as_committed() {
    let by_hand = &committed()["by_hand"];
    for found in by_hand["found"].as_array().unwrap() {
        let envelopes: Vec<Value> = hand::find(found["text"].as_str().unwrap())
            .unwrap_or_else(|error| panic!("{error}: {found}"))
            .into_iter()
            .map(|(bytes, _)| Value::from(text(bytes)))
            .collect();
        assert_eq!(Value::from(envelopes), found["envelopes"], "{}", found["name"]);
    }
    for bad in by_hand["bad"].as_array().unwrap() {
        let code = match hand::find(bad["text"].as_str().unwrap()) {
            Err(NoEnvelope::Nothing) => "nothing",
            Err(NoEnvelope::Damaged) => "damaged",
            Err(NoEnvelope::Version) => "version",
            Ok(found) => panic!("{found:?}"),
        };
        assert_eq!(code, bad["code"].as_str().unwrap(), "{}", bad["name"]);
    }
    let role = super::message::Role::View;
    let record = super::keys::ViewerRecord::new(ids().key, viewer_key(), role, String::new());
    let (now, device) = (clock::now(), ids().device);
    let mut desk = Desk::new(device, vec![record.clone()], Box::new(super::keys::random), now);
    let offer = by_hand["offer"]["envelope"].as_str().unwrap().as_bytes();
    assert_eq!(desk.receive(now, offer), [], "a carrier's");
    let Ok(ByHand::Offer(taken)) = desk.receive_by_hand(now, offer) else { panic!("an offer") };
    assert_eq!((taken.session, taken.offer.camera.as_str()), (ids().session, "front"));
    let viewer = HandSession::resume(device, record, ids().session);
    let answer = viewer.open(by_hand["answer"]["envelope"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(answer.welcome.expect("it is there").name, "Garten");
    assert!(viewer.open(offer).is_none());
}
