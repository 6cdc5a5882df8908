//! Messages that nobody sent: nonsense, ids that mean something to a broker, what is retained, forged statuses and
//! wills, keys that are unknown or revoked; and a thousand of them.

use pinhole::signal::{
    envelope::ViewerKey,
    keys::ViewerRecord,
    message::{Offer, ToDevice},
    topic::{DeviceNonce, KeyId, SessionId},
    viewer::{Status, ViewerSession, new_session},
};

use super::house::{House, assert_served, greet, put, put_retained, topics, watch};
use crate::{
    broker_support::{connect_with, field},
    people::Paired,
};

fn text(envelope: &[u8]) -> String {
    String::from_utf8(envelope.to_vec()).expect("JSON")
}

/// A good envelope with each of its ids in turn made into something that a broker, a file system, a shell or a page
/// would read otherwise; of the right length, too.
fn injections(envelope: &str, ids: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for id in ids {
        for part in
            ["/", "+", "#", "$SYS/", "../", "\\u0000", "\\n", "é", "\u{202e}", "<b>", "${HOME}", "%s", "'--"]
        {
            let filled = format!("{part}{}", &id[part.len().min(id.len())..]);
            for injected in [part.to_owned(), format!("{id}{part}"), filled, format!("{part}{id}")] {
                all.push(envelope.replace(id.as_str(), &injected));
            }
        }
        all.push(envelope.replace(id.as_str(), &id.to_uppercase()));
        all.push(envelope.replace(id.as_str(), ""));
        all.push(envelope.replace(&format!("\"{id}\""), "null"));
        all.push(envelope.replace(&format!("\"{id}\""), "[[]]"));
    }
    all.retain(|one| one != envelope);
    all
}

/// What is no envelope at all, or hardly one.
fn nonsense(envelope: &str) -> Vec<Vec<u8>> {
    let number = |n: &str| envelope.replace("\"n\":0", &format!("\"n\":{n}")).into_bytes();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000 / 2), close.repeat(20_000 / 2));
    let mut all = vec![
        Vec::new(),
        b"null".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        vec![b'a'; 33 * 1024],
        envelope.replace("\"c\":\"", &format!("\"c\":\"{}", "A".repeat(33 * 1024))).into_bytes(),
        "[".repeat(20_000).into_bytes(),
        deep("[", "]").into_bytes(),
        "{\"a\":".repeat(6_000).into_bytes(),
        envelope.replace("\"v\":1", &format!("\"v\":1,\"x\":{}", deep("[", "]"))).into_bytes(),
        format!("\u{feff}{envelope}").into_bytes(),
        format!("{envelope}{envelope}").into_bytes(),
        envelope.as_bytes()[..envelope.len() - 1].to_vec(),
        envelope.replace("\"v\":1", "\"v\":1,\"v\":1").into_bytes(),
    ];
    let numbers = ["-1", "0.0", "1e3", "1e400", "9007199254740992", "18446744073709551616", "\"0\"", "null"];
    all.extend(numbers.map(number));
    all
}

fn offer() -> ToDevice {
    let sdp = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\n".repeat(50);
    ToDevice::Offer(Offer { camera: String::new(), sdp, audio: false, talk: false })
}

/// An offer of somebody who was never paired.
pub fn stranger(viewer: &Paired, number: u64) -> Vec<u8> {
    let mut record: ViewerRecord = viewer.record.clone();
    record.key = ViewerKey::from_bytes([number as u8; 32]);
    // Every second one under a key that there is.
    if number.is_multiple_of(2) {
        record.id = KeyId::from_bytes(number.to_be_bytes());
    }
    let mut session = ViewerSession::new(viewer.link.device, &record, new_session(), viewer.nonce);
    session.seal(&offer()).expect("it fits").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_inventions_leave_no_session_no_line_and_no_memory() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut revoked = house.paired("Ben").await;
    house.says(&["revoke", &revoked.record.id.to_string()]);
    assert_served(&mut viewer).await;
    house.until_watching(0).await;
    greet(&mut viewer).await;
    let mut all_topics = house.attacker("reader").await;
    assert_eq!(all_topics.subscribe("#").await, 1);

    let mut fresh = ViewerSession::new(viewer.link.device, &viewer.record, new_session(), viewer.nonce);
    let (id, key, nonce) = (fresh.id().to_string(), viewer.record.id.to_string(), viewer.nonce.to_string());
    let envelope = text(&fresh.seal(&ToDevice::Hello).expect("it fits"));
    let injected =
        injections(&envelope, &[id, key, nonce, "hello".to_owned()]).into_iter().map(String::into_bytes);
    let mut inventions: Vec<Vec<u8>> = injected.chain(nonsense(&envelope)).collect();
    for _ in 0..20 {
        let mut session =
            ViewerSession::new(revoked.link.device, &revoked.record, new_session(), revoked.nonce);
        inventions.push(session.seal(&offer()).expect("it fits").to_vec());
    }
    inventions.extend((0..).map(|number| stranger(&viewer, number)).take(1_000 - inventions.len()));
    assert_eq!(inventions.len(), 1_000);

    let (loud, replies, people) = (house.loud().len(), house.proxy.replies(), house.viewers());
    let inbox = topics(&viewer).topic_in();
    let mut attacker = house.attacker("mallory").await;
    let before = house.resident();
    for invention in &inventions {
        put(&mut attacker, &inbox, invention).await;
    }
    greet(&mut viewer).await;
    let grown = house.resident().saturating_sub(before);
    assert!(grown <= 5 * 1024, "memory grew by {grown} KiB");
    assert_eq!(house.proxy.replies(), replies + 1, "only the greeting was answered");
    house.assert_quiet_since(loud);
    let names =
        |people: &[serde_json::Value]| people.iter().map(|one| one["key"].clone()).collect::<Vec<_>>();
    assert_eq!((names(&house.viewers()), house.watching()), (names(&people), 0));

    put(&mut attacker, "the/end", b"").await;
    let topics = topics(&viewer);
    loop {
        let (_, topic, _) = all_topics.message().await.expect("mosquitto goes on");
        if topic == "the/end" {
            break;
        }
        assert!(topics.parse(&topic).is_some(), "no id was written into a topic: {topic}");
    }
    revoked.mail.listen(SessionId::from_bytes([1; 16])).await.expect("the broker");
    assert_served(&mut viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_offer_is_not_heard() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut session = ViewerSession::new(viewer.link.device, &viewer.record, new_session(), viewer.nonce);
    let hello = session.seal(&ToDevice::Hello).expect("it fits");
    let mut attacker = house.attacker("mallory").await;
    house.proxy.cut();
    put_retained(&mut attacker, &topics(&viewer).topic_in(), &hello).await;
    house.proxy.wait_for("it is handed on as retained", |message| message.is_in() && message.retain).await;
    let replies = house.proxy.replies();
    greet(&mut viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1, "only the greeting was answered");
    assert_served(&mut viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_status_or_will_keeps_newcomers_away_and_nothing_else() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut session = greet(&mut viewer).await;
    let mut peer = watch(&mut viewer, &mut session).await;
    let status = topics(&viewer).topic_status();
    let mut attacker = house.attacker("mallory").await;
    let other = DeviceNonce::from_bytes([0xee; 16]);
    let online = format!(r#"{{"v":1,"online":true,"nd":"{other}"}}"#);
    let huge = vec![b' '; 60 * 1024];
    let deep = "[".repeat(20_000);
    for forged in
        [&huge, deep.as_bytes(), b"not json", br#"{"v":2}"#, br#"{"v":1,"online":true,"nd":"../#"}"#]
    {
        assert_eq!(Status::parse(forged), None);
        put_retained(&mut attacker, &status, forged).await;
    }
    // A will is a message like any other: this one's owner goes without a goodbye.
    let will = [&[0][..], &field(status.as_bytes()), &field(br#"{"v":1,"online":false}"#)].concat();
    let mut dying = house.attacker("dying").await;
    dying.stream = tokio::net::TcpStream::connect(house.at).await.expect("mosquitto runs");
    dying.write(&connect_with(5, "will", 0x2e, 60, &will)).await;
    dying.read_kind(0x20).await;
    drop(dying);
    put_retained(&mut attacker, &status, online.as_bytes()).await;
    peer.access_units(5).await;
    viewer.mail.send(session.seal(&ToDevice::Hello).expect("it fits")).await.expect("the broker");
    viewer.next(&mut session).await;

    // A newcomer believes it, and opens nothing with it.
    let replies = house.proxy.replies();
    let true_nonce = std::mem::replace(&mut viewer.nonce, other);
    viewer.hello().await;
    viewer.nonce = true_nonce;
    greet(&mut viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1, "under a forged nonce nothing opens");

    // With its next connection, if not before, the device says how it is.
    house.proxy.cut();
    let seen = viewer.mail.nonce_after(other).await;
    assert_eq!(seen.expect("a status"), true_nonce);
    peer.access_units(5).await;
    house.until_watching(1).await;
    peer.close().await;
    assert_served(&mut viewer).await;
}
