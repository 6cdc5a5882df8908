//! Envelopes that were good once, or somewhere else: the same again, after the session's end, after a restart; of
//! another session, another viewer, another device; the device's own.

use pinhole::signal::{
    message::ToDevice,
    topic::DeviceId,
    viewer::{ViewerSession, new_session},
};

use super::house::{House, assert_served, greet, put, topics, watch};
use crate::people::Paired;

/// What viewers have sent so far.
fn recorded(house: &House) -> Vec<Vec<u8>> {
    house
        .proxy
        .messages()
        .into_iter()
        .filter(super::proxy::Message::is_in)
        .map(|message| message.payload)
        .collect()
}

/// Plays envelopes to the device; the log says nothing, and only the one who greets then is answered, once.
async fn assert_ignored(house: &House, viewer: &mut Paired, envelopes: &[Vec<u8>]) {
    let (loud, replies, people) = (house.loud().len(), house.proxy.replies(), house.viewers().len());
    let inbox = topics(viewer).topic_in();
    let mut attacker = house.attacker("mallory").await;
    for envelope in envelopes {
        put(&mut attacker, &inbox, envelope).await;
    }
    greet(viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1, "nothing else was answered");
    assert_eq!(house.viewers().len(), people, "nobody was paired");
    house.assert_quiet_since(loud);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_again_is_not_heard_while_the_session_lasts_after_it_and_after_a_restart() {
    let mut house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut session = greet(&mut viewer).await;
    let mut peer = watch(&mut viewer, &mut session).await;
    house.until_watching(1).await;
    // A used pairing request is answered for a viewer that lost its answer: the same bytes, which say nothing new.
    let mut envelopes = recorded(&house);
    let pair1 = envelopes.remove(0);
    assert!(envelopes.len() >= 2 && String::from_utf8_lossy(&pair1).contains("pair1"));
    assert_ignored(&house, &mut viewer, &envelopes).await;
    peer.access_units(3).await;
    house.until_watching(1).await;

    let bye = session.seal(&ToDevice::Bye { reason: String::new() }).expect("it fits");
    viewer.mail.send(bye).await.expect("the broker");
    peer.close().await;
    house.until_watching(0).await;
    assert_ignored(&house, &mut viewer, &envelopes).await;
    assert_eq!(house.watching(), 0);

    house.restart();
    let old = viewer.nonce;
    viewer.nonce = viewer.mail.nonce_after(old).await.expect("a status");
    envelopes.push(pair1);
    assert_ignored(&house, &mut viewer, &envelopes).await;
    // Sealed by the right key, but under the nonce of before: that could have been recorded, too.
    let record = viewer.record.clone();
    let mut late = ViewerSession::new(viewer.link.device, &record, new_session(), old);
    let late = late.seal(&ToDevice::Hello).expect("it fits").to_vec();
    assert_ignored(&house, &mut viewer, &[late]).await;
    assert_served(&mut viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_of_another_session_viewer_or_device_opens_nowhere() {
    let house = House::new().await;
    let mut anna = house.paired("Anna").await;
    let mut ben = house.paired("Ben").await;
    let mut first = greet(&mut anna).await;
    let second = greet(&mut anna).await;
    let other = greet(&mut ben).await;
    let sealed = String::from_utf8(first.seal(&ToDevice::Hello).expect("it fits").to_vec()).expect("JSON");
    let begun = |device: DeviceId, viewer: &Paired| {
        let mut session = ViewerSession::new(device, &viewer.record, new_session(), viewer.nonce);
        String::from_utf8(session.seal(&ToDevice::Hello).expect("it fits").to_vec()).expect("JSON")
    };
    let fresh = begun(anna.link.device, &anna);
    let swap = |text: &str, from: &dyn ToString, to: &dyn ToString| {
        let swapped = text.replace(&from.to_string(), &to.to_string());
        assert_ne!(swapped, text);
        swapped.into_bytes()
    };
    let envelopes = [
        swap(&sealed, &first.id(), &second.id()),
        swap(&sealed, &first.id(), &other.id()),
        swap(&sealed, &first.id(), &new_session()),
        swap(&sealed, &anna.record.id, &ben.record.id),
        swap(&fresh, &anna.record.id, &ben.record.id),
        begun(DeviceId::from_random([3; 10]), &anna).into_bytes(),
    ];
    assert_ignored(&house, &mut anna, &envelopes).await;
    assert_served(&mut anna).await;
    assert_served(&mut ben).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_thrown_back_is_heard_by_neither_side() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut session = greet(&mut viewer).await;
    let mut peer = watch(&mut viewer, &mut session).await;
    house.until_watching(1).await;
    let said = house.proxy.messages();
    let of_device: Vec<_> = said.iter().filter(|one| one.is_out()).map(|one| one.payload.clone()).collect();
    let of_viewers = recorded(&house);
    assert!(of_device.len() >= 3 && of_viewers.len() >= 3, "a pairing, a welcome and an answer");
    assert_ignored(&house, &mut viewer, &of_device).await;

    let out = topics(&viewer).topic_out(&session.id());
    let mut attacker = house.attacker("mirror").await;
    for envelope in &of_viewers {
        put(&mut attacker, &out, envelope).await;
        let thrown = viewer.mail.next().await.expect("it is carried");
        assert_eq!(thrown, envelope, "mosquitto hands it on");
        assert_eq!(session.open(&thrown), None);
    }
    peer.access_units(3).await;
    // The session goes on.
    viewer.mail.send(session.seal(&ToDevice::Hello).expect("it fits")).await.expect("the broker");
    viewer.next(&mut session).await;
    peer.close().await;
}
