//! Messages that come in another order, or not at all.

use std::sync::{Arc, Mutex};

use pinhole::signal::{
    message::{ToDevice, ToViewer},
    viewer::{ViewerSession, new_session},
};

use super::{
    house::{House, assert_served, greet, topics, watch},
    proxy::Fate,
};

/// All orders of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let insert = |order: Vec<usize>| {
        (0..count).map(move |at| {
            let mut longer = order.clone();
            longer.insert(at, count - 1);
            longer
        })
    };
    orders(count - 1).into_iter().flat_map(insert).collect()
}

/// Which of them come through: each that is newer than all before.
fn heard(order: &[usize]) -> Vec<usize> {
    let mut newest = None;
    order.iter().copied().filter(|&one| newest < Some(one) && newest.replace(one) != Some(one)).collect()
}

#[test]
fn what_is_heard_rises() {
    assert_eq!(orders(4).len(), 24);
    assert_eq!(heard(&[1, 0, 3, 2]), [1, 3]);
    assert_eq!(heard(&[0, 1, 2, 3]), [0, 1, 2, 3]);
    assert_eq!(heard(&[3, 2, 1, 0]), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_any_order_newer_messages_are_taken_and_older_ones_dropped() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    for order in orders(3) {
        let mut session = ViewerSession::new(viewer.link.device, &viewer.record, new_session(), viewer.nonce);
        viewer.mail.listen(session.id()).await.expect("the broker");
        let mut hello = || session.seal(&ToDevice::Hello).expect("it fits");
        let (first, rest, last) = (hello(), [hello(), hello(), hello()], hello());
        let later = [&first].into_iter().chain(order.iter().map(|&one| &rest[one])).chain([&last]);
        for envelope in later {
            viewer.mail.send(envelope.clone()).await.expect("the broker");
        }
        // The device counts its answers from 0.
        let mut answers = Vec::new();
        for _ in 0..heard(&order).len() + 2 {
            answers.push(viewer.mail.next().await.expect("an answer"));
        }
        let back: Vec<usize> = order.iter().copied().filter(|one| *one < answers.len()).collect();
        for &one in &back {
            let opened = session.open(&answers[one]).is_some();
            assert_eq!(opened, heard(&back).contains(&one), "{one} of {back:?}");
        }
        let bye = session.seal(&ToDevice::Bye { reason: String::new() }).expect("it fits");
        viewer.mail.send(bye).await.expect("the broker");
    }
    let replies = house.proxy.replies();
    greet(&mut viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1, "there were no more answers than were counted");
    assert_served(&mut viewer).await;
}

/// Lets a session lose the message of this number, counted over both directions; whether it came to that.
fn lose(house: &House, number: usize) -> Arc<Mutex<Option<String>>> {
    let lost = Arc::new(Mutex::new(None));
    let (note, mut count) = (Arc::clone(&lost), 0);
    house.proxy.filter(move |message| {
        if !message.is_in() && !message.is_out() {
            return Fate::Pass;
        }
        count += 1;
        if count - 1 != number {
            return Fate::Pass;
        }
        let envelope: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        *note.lock().unwrap() = Some(envelope["t"].as_str().expect("a type").to_owned());
        Fate::Drop
    });
    lost
}

/// The message that follows in each direction of a session, one after the other; each is lost in turn. A viewer that
/// hears nothing asks again in a new session, and what is left of the old one ends by itself.
#[tokio::test(flavor = "multi_thread")]
async fn whichever_message_is_lost_the_viewer_gets_its_picture_and_nothing_is_left() {
    let house = House::new().await;
    let mut kinds = Vec::new();
    for number in 0..4 {
        let mut viewer = house.paired("Anna").await;
        let lost = lose(&house, number);
        let mut session = viewer.hello().await;
        if number > 1 {
            assert!(matches!(viewer.next(&mut session).await, ToViewer::Welcome(_)));
            let peer = crate::peer::viewer::Viewer::guarded("127.0.0.1").await;
            let sdp = peer.offer().await;
            let offer =
                pinhole::signal::message::Offer { camera: String::new(), sdp, audio: false, talk: false };
            let offer = session.seal(&ToDevice::Offer(offer)).expect("it fits");
            viewer.mail.send(offer).await.expect("the broker");
            drop(peer);
        }
        let (inbox, out) = (topics(&viewer).topic_in(), topics(&viewer).topic_out(&session.id()));
        let what = format!("message {number}");
        let gone = |_: &super::proxy::Message| lost.lock().unwrap().is_some();
        house
            .proxy
            .wait_for(&what, |message| (message.topic == inbox || message.topic == out) && gone(message))
            .await;
        kinds.push(lost.lock().unwrap().take().expect("one was lost"));
        house.proxy.filter(|_| Fate::Pass);
        let mut again = greet(&mut viewer).await;
        let peer = watch(&mut viewer, &mut again).await;
        house.until_watching(1).await;
        let bye = again.seal(&ToDevice::Bye { reason: String::new() }).expect("it fits");
        viewer.mail.send(bye).await.expect("the broker");
        peer.close().await;
        // The half-open one is ended by the device when its time is over.
        if number > 2 {
            loop {
                if matches!(viewer.next(&mut session).await, ToViewer::Bye { .. }) {
                    break;
                }
            }
        }
        house.says(&["revoke", &viewer.record.id.to_string()]);
    }
    assert_eq!(kinds, ["hello", "welcome", "offer", "answer"]);
    house.until_watching(0).await;
}
