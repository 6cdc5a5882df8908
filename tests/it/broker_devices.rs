//! Other devices of the house at the embedded broker: the agent's own MQTT client with its key, and devices that do
//! what they may not.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pinhole::signal::{
    Address, Carrier, CarrierEvent, OFFLINE_STATUS, Outgoing,
    broker::Limits,
    login::LoginKey,
    mqtt::{self, MqttSettings},
    topic::{DeviceId, SessionId},
};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    broker_support::{
        IN, PATIENCE, RawClient, STATUS, TestBroker, auth, connect_by_key, log_in_by_hand, next_envelope,
        next_event, publish,
    },
    mqtt_support::{Mosquitto, free_port, publish_with_mosquitto, subscribe_with_mosquitto},
};

const ONLINE: &[u8] = br#"{"v":1,"online":true,"nd":"00"}"#;

fn key(seed: u8) -> Arc<LoginKey> {
    let device = DeviceId::parse("bbbbbbbbbbbbbbbb").unwrap();
    Arc::new(LoginKey::from_seed(device, &[seed; 32]))
}

fn there(topic: &str) -> String {
    format!("pinhole/bbbbbbbbbbbbbbbb/{topic}")
}

fn log_in(at: impl std::fmt::Display, key: &Arc<LoginKey>) -> Carrier {
    let address = Address { root: "pinhole".to_owned(), device: key.device() };
    let url = format!("mqtt://{at}");
    mqtt::start(MqttSettings { login: Some(Arc::clone(key)), ..MqttSettings::new(url) }, address).unwrap()
}

async fn why_down(carrier: &mut Carrier) -> String {
    match next_event(carrier).await {
        CarrierEvent::Down { reason } => reason,
        other => panic!("it is not down but {other:?}"),
    }
}

#[tokio::test]
async fn an_agent_with_an_accepted_key_is_reached_by_viewers_of_the_hub() {
    let key = key(1);
    let test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let mut viewer = test.connect("viewer", 5).await;
    assert_eq!(viewer.subscribe(&there("status")).await, 1);
    assert_eq!(
        viewer.message().await,
        Some((true, there("status"), OFFLINE_STATUS.to_vec())),
        "before it comes"
    );

    let mut agent = log_in(test.at, &key);
    assert_eq!(next_event(&mut agent).await, CarrierEvent::Up);
    agent.outgoing.send(Outgoing::Status(Bytes::from_static(ONLINE))).await.unwrap();
    assert_eq!(viewer.message().await, Some((false, there("status"), ONLINE.to_vec())));
    let mut late = subscribe_with_mosquitto(test.at, &["-V", "mqttv311", "-t", &there("status")]);
    assert_eq!(late.line().await.as_bytes(), ONLINE, "it is retained");

    let sent =
        publish_with_mosquitto(test.at, &["-V", "mqttv5", "-q", "1", "-t", &there("in"), "-m", "hello"])
            .await;
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(next_envelope(&mut agent).await, &b"hello"[..]);
    let session = SessionId::from_bytes([3; 16]);
    viewer.subscribe(&there(&format!("out/{session}"))).await;
    agent.outgoing.send(Outgoing::Reply { session, envelope: Bytes::from_static(b"welcome") }).await.unwrap();
    assert_eq!(viewer.message().await.map(|(_, _, payload)| payload), Some(b"welcome".to_vec()));

    drop(agent.outgoing);
    timeout(PATIENCE, agent.task).await.expect("it ends").unwrap();
    assert_eq!(viewer.message().await.map(|(_, _, payload)| payload), Some(OFFLINE_STATUS.to_vec()));
}

#[tokio::test]
async fn an_agent_that_dies_is_offline_by_its_will_and_comes_back() {
    let key = key(1);
    let test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let mut viewer = test.connect("viewer", 5).await;
    viewer.subscribe(&there("status")).await;
    viewer.message().await;
    for _ in 0..2 {
        let mut agent = log_in(test.at, &key);
        assert_eq!(next_event(&mut agent).await, CarrierEvent::Up);
        agent.outgoing.send(Outgoing::Status(Bytes::from_static(ONLINE))).await.unwrap();
        assert_eq!(viewer.message().await.map(|(_, _, payload)| payload), Some(ONLINE.to_vec()));
        agent.task.abort();
        assert_eq!(viewer.message().await.map(|(_, _, payload)| payload), Some(OFFLINE_STATUS.to_vec()));
    }
}

#[tokio::test]
async fn an_unknown_key_and_a_broker_that_takes_none_are_told_with_the_remedy() {
    let test = TestBroker::accepting(Limits::default(), &[key(1).public()]).await;
    let mut wrong = log_in(test.at, &key(2));
    let reason = why_down(&mut wrong).await;
    assert!(reason.contains("pinhole device-key") && reason.contains("accept_devices"), "{reason}");
    let stranger = TestBroker::start(Limits::default()).await;
    let reason = why_down(&mut log_in(stranger.at, &key(1))).await;
    assert!(reason.contains("accept_devices"), "{reason}");
    let port = free_port();
    let _mosquitto = Mosquitto::open(port).await;
    let reason = why_down(&mut log_in(format!("127.0.0.1:{port}"), &key(1))).await;
    assert!(reason.contains("no pinhole that takes devices' keys"), "{reason}");
}

async fn raw(test: &TestBroker) -> RawClient<TcpStream> {
    RawClient { stream: TcpStream::connect(test.at).await.unwrap(), level: 5 }
}

async fn device(test: &TestBroker, key: &LoginKey) -> RawClient<TcpStream> {
    let mut client = raw(test).await;
    let connect = connect_by_key(key.device().as_str(), Some((&there("status"), "gone")));
    assert_eq!(log_in_by_hand(&mut client, &connect, |challenge| key.sign(challenge)).await, Some(0));
    client
}

#[tokio::test]
async fn neither_a_recorded_answer_nor_a_made_up_one_lets_in() {
    let key = key(1);
    let mut test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let connect = connect_by_key(key.device().as_str(), None);
    let mut recorded = Vec::new();
    let mut first = raw(&test).await;
    let code = log_in_by_hand(&mut first, &connect, |challenge| {
        recorded = key.sign(challenge);
        recorded.clone()
    });
    assert_eq!(code.await, Some(0));
    for answer in [recorded.clone(), vec![0; 64], vec![], vec![0; 100]] {
        assert_eq!(log_in_by_hand(&mut raw(&test).await, &connect, |_| answer).await, Some(0x87));
    }
    let other = connect_by_key("abcdefghijkl2345", None);
    assert_eq!(
        log_in_by_hand(&mut raw(&test).await, &other, |_| recorded.clone()).await,
        Some(0x87),
        "the hub's own"
    );
    // An answer that none was asked for, and a challenge that is never answered.
    let mut early = raw(&test).await;
    early.write(&auth(&recorded)).await;
    assert_eq!(early.end().await, None);
    let mut silent = raw(&test).await;
    silent.write(&connect).await;
    assert_eq!(silent.read().await.map(|(kind, _)| kind), Some(0xf0));
    first.write(&[0xc0, 0]).await;
    assert_eq!(first.read().await, Some((0xd0, vec![])), "nobody took its place");
    test.assert_serves().await;
}

#[tokio::test]
async fn silent_devices_refuse_nobody() {
    let key = key(1);
    let mut test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut client = raw(&test).await;
        client.write(&connect_by_key(key.device().as_str(), None)).await;
        silent.push(client);
    }
    test.assert_serves().await;
    device(&test, &key).await;
}

#[tokio::test]
async fn a_device_that_speaks_for_another_is_refused_and_harms_nobody() {
    let key = key(1);
    let mut test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let mut viewer = test.connect("viewer", 5).await;
    viewer.subscribe(STATUS).await;
    let mut bad = device(&test, &key).await;
    let session = SessionId::from_bytes([1; 16]);
    for topic in [STATUS, IN, &format!("pinhole/abcdefghijkl2345/out/{session}"), &there("in"), "pinhole/#"] {
        for retain in [true, false] {
            bad.write(&publish(5, topic, b"forged", Some(5), retain)).await;
            assert_eq!(bad.acknowledged().await, Some(0x87), "{topic}");
        }
    }
    for filter in [STATUS, IN, "#", "pinhole/+/in"] {
        assert_eq!(bad.subscribe(filter).await, 0x87, "{filter}");
    }
    for topic in [STATUS, IN] {
        let connect = connect_by_key(key.device().as_str(), Some((topic, "forged")));
        let code = log_in_by_hand(&mut raw(&test).await, &connect, |challenge| key.sign(challenge)).await;
        assert_eq!(code, Some(0x87), "{topic}");
    }
    viewer.write(&[0xc0, 0]).await;
    assert_eq!(viewer.read().await, Some((0xd0, vec![])), "nothing forged came first");
    test.assert_serves().await;
}

#[tokio::test]
async fn a_device_that_floods_is_cut_and_its_will_is_said_once() {
    let key = key(1);
    let mut test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let mut viewer = test.connect("viewer", 5).await;
    viewer.subscribe(&there("status")).await;
    viewer.message().await;
    let mut bad = device(&test, &key).await;
    for _ in 0..5000 {
        if bad.stream_write(&publish(5, &there("status"), &[b'z'; 900], None, true)).await.is_err() {
            break;
        }
    }
    bad.end().await;
    assert_eq!(test.broker.counters().too_fast, 1);
    let mut seen = 0;
    while viewer.message().await.expect("the viewer is not cut").2 != b"gone" {
        seen += 1;
    }
    assert!(seen <= 20, "{seen} statuses within a moment");
    device(&test, &key).await;
    test.assert_serves().await;
}

#[tokio::test]
async fn a_storm_of_the_same_device_ends_with_the_last_and_without_a_crowd() {
    let key = key(1);
    let mut test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
    let mut kept = Vec::new();
    for _ in 0..200 {
        let mut client = raw(&test).await;
        let connect = connect_by_key(key.device().as_str(), Some((&there("status"), "gone")));
        // Those that have been taken over are closed within a moment; until then a newcomer may be told to wait.
        let code = log_in_by_hand(&mut client, &connect, |challenge| key.sign(challenge)).await;
        assert!(matches!(code, Some(0 | 0x89)), "{code:?}");
        kept.push(client);
    }
    assert!(test.broker.connected() <= 1);
    let last = timeout(PATIENCE, async {
        loop {
            let mut client = raw(&test).await;
            let connect = connect_by_key(key.device().as_str(), None);
            if log_in_by_hand(&mut client, &connect, |challenge| key.sign(challenge)).await == Some(0) {
                return client;
            }
            pinhole::clock::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut last = last.await.expect("let in once the others are closed");
    last.write(&[0xc0, 0]).await;
    assert_eq!(last.read().await, Some((0xd0, vec![])));
    test.assert_serves().await;
}

#[tokio::test]
async fn the_hubs_own_device_cannot_be_logged_in_from_outside() {
    let own = LoginKey::from_seed(DeviceId::parse("abcdefghijkl2345").unwrap(), &[1; 32]);
    let test = TestBroker::accepting(Limits::default(), &[own.public()]).await;
    let connect = connect_by_key(own.device().as_str(), None);
    let code = log_in_by_hand(&mut raw(&test).await, &connect, |challenge| own.sign(challenge)).await;
    assert_eq!(code, Some(0x87));
}
