//! Envelopes that were changed on their way, in each bit and each field, and offers that the broker writes itself.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pinhole::signal::{
    message::{Offer, ToDevice, ToViewer},
    viewer::{ViewerSession, new_session},
};
use serde_json::{Value, json};

use super::{
    house::{CAMERA_ID, House, assert_served, greet, put, topics},
    proxy::Fate,
};
use crate::peer::viewer::Viewer;

fn flipped(envelope: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = envelope.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bit_of_an_envelope_can_be_changed_in_either_direction() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let inbox = topics(&viewer).topic_in();
    let loud = house.loud().len();
    let mut session = ViewerSession::new(viewer.link.device, &viewer.record, new_session(), viewer.nonce);
    viewer.mail.listen(session.id()).await.expect("the broker");
    let hello = session.seal(&ToDevice::Hello).expect("it fits");
    let replies = house.proxy.replies();
    let mut attacker = house.attacker("mallory").await;
    for bit in 0..hello.len() * 8 {
        put(&mut attacker, &inbox, &flipped(&hello, bit)).await;
    }
    // The true one has not been used up by them.
    viewer.mail.send(hello.clone()).await.expect("the broker");
    let welcome = viewer.mail.next().await.expect("an answer");
    assert_eq!(house.proxy.replies(), replies + 1, "only the true one was answered");
    house.assert_quiet_since(loud);

    for bit in 0..welcome.len() * 8 {
        assert_eq!(session.open(&flipped(&welcome, bit)), None, "bit {bit}");
    }
    assert!(matches!(session.open(&welcome), Some(ToViewer::Welcome(_))));
    assert_served(&mut viewer).await;
}

/// What a broker can put into an envelope that passes it: it knows all fields but the keys.
fn rewritten(envelope: &[u8], sdp: &str) -> Vec<Vec<u8>> {
    let original: Value = serde_json::from_slice(envelope).expect("JSON");
    let with = |field: &str, value: Value| {
        let mut changed = original.clone();
        changed[field] = value;
        changed
    };
    let body = json!({"camera": CAMERA_ID, "sdp": sdp}).to_string();
    let plain = URL_SAFE_NO_PAD.encode(&body);
    // As if the tag came first, last, or were nothing.
    let padded = URL_SAFE_NO_PAD.encode([body.as_bytes(), &[0; 16]].concat());
    let mut sealed = URL_SAFE_NO_PAD.decode(original["c"].as_str().expect("text")).expect("base64url");
    let end = sealed.len();
    sealed[..end - 16].fill(0);
    let emptied = URL_SAFE_NO_PAD.encode(&sealed);
    let without_tag = URL_SAFE_NO_PAD.encode(&sealed[..end - 16]);
    let mut extended = original.clone();
    extended["sdp"] = json!(sdp);
    let mut without = original.clone();
    without.as_object_mut().expect("an object").remove("c");
    without["sdp"] = json!(sdp);
    let twice =
        String::from_utf8(envelope.to_vec()).expect("JSON").replace("{", &format!(r#"{{"c":"{plain}","#));
    let kinds = ["hello", "bye", "candidate", "answer", "pair1", "pair2"].map(|kind| with("t", json!(kind)));
    let counters = [0, 1, 2, 3, 1_u64 << 52].into_iter().map(|counter| with("n", json!(counter)));
    let changed = [
        with("c", json!(plain)),
        with("c", json!(padded)),
        with("c", json!(emptied)),
        with("c", json!(without_tag)),
        with("c", json!("")),
        with("c", json!({"sdp": sdp})),
        with("v", json!(2)),
        with("e", json!(URL_SAFE_NO_PAD.encode([4; 65]))),
        extended,
        without,
    ];
    let all = changed.into_iter().chain(kinds).chain(counters).filter(|changed| *changed != original);
    all.map(|one| one.to_string().into_bytes()).chain([twice.into_bytes()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_or_answer_with_another_fingerprint_reaches_nobody() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut session = greet(&mut viewer).await;
    // The broker's own end of a connection, with its own certificate.
    let intruder = Viewer::guarded("127.0.0.1").await;
    let own = intruder.offer().await;
    assert!(own.contains("a=fingerprint:sha-256"));

    let mut peer = Viewer::guarded("127.0.0.1").await;
    let offer = Offer { camera: CAMERA_ID.into(), sdp: peer.offer().await, audio: false, talk: false };
    let offer = session.seal(&ToDevice::Offer(offer)).expect("it fits");
    let (loud, replies) = (house.loud().len(), house.proxy.replies());
    let mut attacker = house.attacker("mallory").await;
    let inbox = topics(&viewer).topic_in();
    let forgeries = rewritten(&offer, &own);
    assert!(forgeries.len() > 15);
    for forgery in &forgeries {
        put(&mut attacker, &inbox, forgery).await;
    }
    let mut other = greet(&mut viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1, "only the greeting was answered");
    house.assert_quiet_since(loud);

    // On the way back: the answer comes only in the broker's words, and the viewer takes none of them.
    let target = topics(&viewer).topic_out(&session.id());
    let answer = std::sync::Arc::new(std::sync::Mutex::new(None));
    let kept = std::sync::Arc::clone(&answer);
    house.proxy.filter(move |message| {
        let mut kept = kept.lock().unwrap();
        if message.topic == target && kept.is_none() {
            *kept = Some(message.payload.clone());
            return Fate::Drop;
        }
        Fate::Pass
    });
    viewer.mail.send(offer).await.expect("the broker");
    let topic = topics(&viewer).topic_out(&session.id());
    house.proxy.wait_for("the answer", |message| message.topic == topic && is_answer(&message.payload)).await;
    let answer = answer.lock().unwrap().take().expect("it was kept");
    for forgery in rewritten(&answer, &own) {
        assert_eq!(session.open(&forgery), None, "{}", String::from_utf8_lossy(&forgery));
    }
    let Some(ToViewer::Answer { sdp }) = session.open(&answer) else { panic!("the true answer opens") };
    peer.take(&sdp).await;
    peer.access_units(1).await;
    assert_eq!(other.open(&answer), None);
    peer.close().await;
    intruder.close().await;
    assert_served(&mut viewer).await;
}

fn is_answer(payload: &[u8]) -> bool {
    serde_json::from_slice::<Value>(payload).is_ok_and(|message| message["t"] == "answer")
}
