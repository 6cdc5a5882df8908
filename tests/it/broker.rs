//! The embedded broker with real clients: mosquitto's, and one that writes by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use pinhole::{
    signal::{
        OFFLINE_STATUS, Outgoing,
        broker::{Broker, Limits},
    },
    tasks,
};
use tokio::{io::duplex, time::timeout};

use crate::{
    broker_support::{
        IN, RawClient, STATUS, TestBroker, address, connect_with, field, next_envelope, publish, session,
    },
    mqtt_support::{publish_with_mosquitto, subscribe_with_mosquitto},
};

const ONLINE: &[u8] = br#"{"v":1,"online":true,"nd":"00"}"#;

fn status(payload: &'static [u8]) -> Outgoing {
    Outgoing::Status(Bytes::from_static(payload))
}

#[tokio::test]
async fn mosquitto_clients_of_both_versions_read_status_and_send_envelopes() {
    let mut test = TestBroker::start(Limits::default()).await;
    test.carrier.outgoing.send(status(ONLINE)).await.unwrap();
    for (version, qos) in [("mqttv311", "0"), ("mqttv311", "1"), ("mqttv5", "0"), ("mqttv5", "1")] {
        let mut subscriber = subscribe_with_mosquitto(test.at, &["-V", version, "-q", qos, "-t", STATUS]);
        assert_eq!(subscriber.line().await.as_bytes(), ONLINE);
        let sent = format!("envelope of {version} {qos}");
        let out = publish_with_mosquitto(test.at, &["-V", version, "-q", qos, "-t", IN, "-m", &sent]).await;
        assert!(out.status.success(), "{out:?}");
        assert_eq!(next_envelope(&mut test.carrier).await, sent.as_bytes());
    }
}

#[tokio::test]
async fn reply_reaches_the_subscriber_of_its_session_alone() {
    let test = TestBroker::start(Limits::default()).await;
    let (one, topic_one) = session(1);
    let (two, topic_two) = session(2);
    let mut first = test.connect("first", 4).await;
    let mut second = test.connect("second", 5).await;
    assert_eq!(first.subscribe(&topic_one).await, 1);
    assert_eq!(second.subscribe(&topic_two).await, 1);
    for (session, envelope) in [(one, "to one"), (two, "to two"), (one, "again to one")] {
        let envelope = Bytes::from_static(envelope.as_bytes());
        test.carrier.outgoing.send(Outgoing::Reply { session, envelope }).await.unwrap();
    }
    assert_eq!(first.message().await, Some((false, topic_one.clone(), b"to one".to_vec())));
    assert_eq!(first.message().await, Some((false, topic_one, b"again to one".to_vec())));
    assert_eq!(second.message().await, Some((false, topic_two, b"to two".to_vec())));
}

#[tokio::test]
async fn mosquitto_is_refused_what_viewers_may_not_do() {
    let test = TestBroker::start(Limits::default()).await;
    let (_, out) = session(1);
    for filter in ["#", "pinhole/#", "pinhole/+/status", IN, "$SYS/#", "pinhole/abcdefghijkl2345/out/+"] {
        for version in ["mqttv311", "mqttv5"] {
            let subscriber = subscribe_with_mosquitto(test.at, &["-V", version, "-t", filter]);
            assert!(
                subscriber.complaint().await.contains("All subscription requests were denied"),
                "{filter} {version}"
            );
        }
    }
    for topic in [STATUS, out.as_str(), "other"] {
        let sent =
            publish_with_mosquitto(test.at, &["-V", "mqttv5", "-q", "1", "-t", topic, "-m", "x"]).await;
        let said = String::from_utf8_lossy(&sent.stderr).to_lowercase();
        assert!(said.contains("not authorized"), "{topic}: {sent:?}");
    }
    let will = ["--will-topic", STATUS, "--will-payload", "x", "-t", IN, "-m", "x"];
    assert!(!publish_with_mosquitto(test.at, &will).await.status.success());
    assert_eq!(test.broker.counters().publish_refused, 3);
    assert_eq!(test.broker.counters().subscribe_refused, 12);
}

#[tokio::test]
async fn unauthorized_publication_ends_an_old_client_and_only_refuses_a_new_one() {
    let test = TestBroker::start(Limits::default()).await;
    let mut old = test.connect("old", 4).await;
    old.write(&publish(4, STATUS, b"x", Some(5), false)).await;
    assert_eq!(old.end().await, None);
    let mut new = test.connect("new", 5).await;
    new.write(&publish(5, IN, b"x", Some(5), true)).await;
    assert_eq!(new.read().await, Some((0x40, vec![0, 5, 0x87, 0])));
    new.write(&[0xc0, 0]).await;
    assert_eq!(new.read().await, Some((0xd0, vec![])));
}

#[tokio::test]
async fn wills_are_refused_in_the_connack() {
    let test = TestBroker::start(Limits::default()).await;
    for (level, properties, code) in [(4, &[][..], 5), (5, &[0][..], 0x87)] {
        let will = [properties, &field(STATUS.as_bytes()), &field(b"gone")].concat();
        let stream = tokio::net::TcpStream::connect(test.at).await.unwrap();
        let mut client = RawClient { stream, level };
        client.write(&connect_with(level, "w", 2 | 4 | 0x20, 60, &will)).await;
        assert_eq!(client.read().await.map(|(kind, body)| (kind, body[1])), Some((0x20, code)));
        assert_eq!(client.read().await, None);
    }
}

#[tokio::test]
async fn stopped_agent_is_offline_for_who_is_there_and_who_comes() {
    let test = TestBroker::start(Limits::default()).await;
    let mut viewer = test.connect("viewer", 5).await;
    viewer.subscribe(STATUS).await;
    test.carrier.outgoing.send(status(ONLINE)).await.unwrap();
    drop(test.carrier.outgoing);
    test.carrier.task.await.unwrap();
    assert_eq!(viewer.message().await.map(|message| message.2), Some(ONLINE.to_vec()));
    assert_eq!(viewer.message().await.map(|message| message.2), Some(OFFLINE_STATUS.to_vec()));
    let listener = tokio::net::TcpStream::connect(test.at).await.unwrap();
    let mut late = RawClient::connected(listener, "late", 5).await;
    late.subscribe(STATUS).await;
    assert_eq!(late.message().await, Some((true, STATUS.to_owned(), OFFLINE_STATUS.to_vec())));
    late.write(&publish(5, IN, b"x", Some(3), false)).await;
    assert_eq!(late.read().await, Some((0x40, vec![0, 3, 0x10, 0])), "no matching subscribers");
}

#[tokio::test]
async fn aborted_agent_is_offline_as_by_a_last_will() {
    let test = TestBroker::start(Limits::default()).await;
    let mut viewer = test.connect("viewer", 5).await;
    viewer.subscribe(STATUS).await;
    test.carrier.task.abort();
    assert_eq!(viewer.message().await.map(|message| message.2), Some(OFFLINE_STATUS.to_vec()));
}

#[tokio::test]
async fn busy_agent_makes_viewers_hear_quota_exceeded() {
    let limits = Limits { packets_per_second: 10_000, ..Limits::default() };
    let test = TestBroker::start(limits).await;
    let mut viewer = test.connect("viewer", 5).await;
    let mut codes = Vec::new();
    for id in 1..=400 {
        viewer.write(&publish(5, IN, b"x", Some(id), false)).await;
        codes.push(viewer.read().await.unwrap().1[2]);
    }
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 256);
    assert!(codes[256..].iter().all(|code| *code == 0x97));
    assert_eq!(test.broker.counters().device_missed, 144);
}

#[tokio::test]
async fn shut_down_says_goodbye_after_what_was_queued() {
    let test = TestBroker::start(Limits::default()).await;
    let mut viewer = test.connect("viewer", 5).await;
    viewer.subscribe(STATUS).await;
    drop(test.carrier.outgoing);
    test.carrier.task.await.unwrap();
    test.broker.shut_down();
    assert_eq!(viewer.message().await.map(|message| message.2), Some(OFFLINE_STATUS.to_vec()));
    assert_eq!(viewer.end().await, Some(0x8b));
    let stream = tokio::net::TcpStream::connect(test.at).await.unwrap();
    let mut late = RawClient { stream, level: 5 };
    late.write(&crate::broker_support::connect(5, "late")).await;
    assert_eq!(late.read().await.map(|(_, body)| body[1]), Some(0x88));
}

#[tokio::test]
async fn taken_over_client_is_told_so() {
    let test = TestBroker::start(Limits::default()).await;
    let mut first = test.connect("same", 5).await;
    let mut second = test.connect("same", 5).await;
    assert_eq!(first.end().await, Some(0x8e));
    second.write(&[0xc0, 0]).await;
    assert_eq!(second.read().await, Some((0xd0, vec![])));
}

fn peer() -> SocketAddr {
    "192.0.2.1:1000".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn silent_connection_ends_with_its_handshake_time() {
    let limits = Limits::default();
    let broker = Broker::new(address(), limits, &[]);
    let (_silent, io) = duplex(64);
    let mut served = std::pin::pin!(broker.serve(io, peer()));
    assert!(timeout(limits.handshake_time / 2, &mut served).await.is_err(), "it has its time");
    served.await;
    assert_eq!(broker.counters().unfinished, 1);
}

#[tokio::test(start_paused = true)]
async fn client_silent_beyond_its_keep_alive_is_cut() {
    let broker = Broker::new(address(), Limits::default(), &[]);
    let (near, far) = duplex(4096);
    let serving = broker.clone();
    let served = tasks::spawn("serve", async move { serving.serve(far, peer()).await });
    let mut client = RawClient { stream: near, level: 5 };
    client.write(&connect_with(5, "quiet", 2, 10, &[])).await;
    let (_, connack) = client.read().await.unwrap();
    assert_eq!(connack[1], 0);
    assert_eq!(client.end().await, Some(0x8d));
    served.await.unwrap();
    assert_eq!(broker.connected(), 0);
}

#[tokio::test]
async fn tcp_listener_ends_with_a_goodbye_and_takes_nobody_any_more() {
    let test = TestBroker::start(Limits::default()).await;
    let mut viewer = test.connect("viewer", 5).await;
    let mut silent = tokio::net::TcpStream::connect(test.at).await.unwrap();
    test.cancel.cancel();
    assert_eq!(viewer.end().await, Some(0x8b), "the server shuts down");
    timeout(crate::broker_support::PATIENCE, test.task).await.expect("it ends").unwrap();
    assert!(tokio::net::TcpStream::connect(test.at).await.is_err());
    let rest = tokio::io::AsyncReadExt::read(&mut silent, &mut [0; 16]).await;
    assert!(matches!(rest, Ok(0) | Err(_)), "{rest:?}");
}
