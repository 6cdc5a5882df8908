//! The carrier through a real mosquitto.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use pinhole::{
    signal::{
        Carrier, CarrierEvent, OFFLINE_STATUS, Outgoing,
        mqtt::{self, MqttSettings, Secret},
    },
    tasks,
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

use crate::{
    broker_support::{IN, PATIENCE, RawClient, STATUS, address, next_envelope, next_event, session},
    mqtt_support::{Folder, Log, Mosquitto, free_port, publish_with_mosquitto, subscribe_with_mosquitto},
};

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn start(settings: MqttSettings) -> Carrier {
    mqtt::start(settings, address()).unwrap()
}

/// The reason of the next Down.
pub async fn next_down(carrier: &mut Carrier) -> String {
    match next_event(carrier).await {
        CarrierEvent::Down { reason } => reason,
        other => panic!("not down but {other:?}"),
    }
}

/// Stops a carrier and waits for its end.
pub async fn stop(carrier: Carrier) {
    drop(carrier.outgoing);
    timeout(PATIENCE, carrier.task).await.expect("the client ends").unwrap();
}

/// Envelopes in, status and replies out, whatever the bytes travel over.
pub async fn assert_carries(carrier: &mut Carrier, port: u16, credentials: &[&str]) {
    assert_eq!(next_event(carrier).await, CarrierEvent::Up);
    carrier.outgoing.send(Outgoing::Status(Bytes::from_static(b"here"))).await.unwrap();
    let with = |arguments: &[&str]| {
        [credentials, arguments].concat().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let arguments = with(&["-t", STATUS]);
    let mut status =
        subscribe_with_mosquitto(at(port), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // An earlier carrier's offline may be what is retained until this one's status has arrived.
    while status.line().await != "here" {}
    // The largest envelope, which is more than the client crate takes by itself.
    let large = "e".repeat(32 * 1024);
    let arguments = with(&["-q", "1", "-t", IN, "-m", &large]);
    let sent =
        publish_with_mosquitto(at(port), &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(next_envelope(carrier).await, large.as_bytes());
    let (session, topic) = session(1);
    let arguments = with(&["-q", "1", "-t", &topic, "-t", STATUS]);
    let mut replies =
        subscribe_with_mosquitto(at(port), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(replies.line().await, "here", "subscribed");
    let envelope = Bytes::from(large.clone());
    carrier.outgoing.send(Outgoing::Reply { session, envelope }).await.unwrap();
    assert_eq!(replies.line().await, large);
}

#[tokio::test]
async fn carries_over_tcp() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    assert_eq!(carrier.name, format!("mqtt://127.0.0.1:{port}"));
    assert_carries(&mut carrier, port, &[]).await;
    stop(carrier).await;
}

#[tokio::test]
async fn carries_over_websocket() {
    let (port, websocket) = (free_port(), free_port());
    let _broker = Mosquitto::start(&format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nlistener {websocket} 127.0.0.1\nprotocol websockets"
    ))
    .await;
    let mut carrier = start(MqttSettings::new(format!("ws://localhost:{websocket}/mqtt")));
    assert_carries(&mut carrier, port, &[]).await;
    stop(carrier).await;
}

#[tokio::test]
async fn broker_that_is_down_at_start_is_found_later() {
    let port = free_port();
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains(&format!("connection refused by 127.0.0.1:{port}")), "{reason}");
    let _broker = Mosquitto::open(port).await;
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
}

#[tokio::test]
async fn broker_that_goes_and_comes_back_is_up_again() {
    let port = free_port();
    let broker = Mosquitto::open(port).await;
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    broker.kill().await;
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("connection was lost"), "{reason}");
    let _broker = Mosquitto::open(port).await;
    loop {
        match next_event(&mut carrier).await {
            CarrierEvent::Up => break,
            CarrierEvent::Down { reason } => assert!(reason.contains("refused"), "{reason}"),
            CarrierEvent::Envelope(_) => panic!("no envelope was sent"),
        }
    }
    carrier.outgoing.send(Outgoing::Status(Bytes::from_static(b"back"))).await.unwrap();
    let mut status = subscribe_with_mosquitto(at(port), &["-t", STATUS]);
    assert_eq!(status.line().await, "back");
    let sent = publish_with_mosquitto(at(port), &["-t", IN, "-m", "hello again"]).await;
    assert!(sent.status.success());
    assert_eq!(next_envelope(&mut carrier).await, b"hello again"[..]);
}

#[tokio::test]
async fn retained_envelope_is_ignored() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    assert!(publish_with_mosquitto(at(port), &["-r", "-t", IN, "-m", "old"]).await.status.success());
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    assert!(publish_with_mosquitto(at(port), &["-q", "1", "-t", IN, "-m", "new"]).await.status.success());
    assert_eq!(next_envelope(&mut carrier).await, b"new"[..]);
}

#[tokio::test]
async fn stopping_publishes_what_is_queued_and_then_offline() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    let (session, topic) = session(4);
    carrier.outgoing.send(Outgoing::Status(Bytes::from_static(b"here"))).await.unwrap();
    let mut viewer = subscribe_with_mosquitto(at(port), &["-q", "1", "-t", &topic, "-t", STATUS]);
    assert_eq!(viewer.line().await, "here");
    for number in 0..20 {
        let envelope = Bytes::from(format!("bye {number}"));
        carrier.outgoing.send(Outgoing::Reply { session, envelope }).await.unwrap();
    }
    stop(carrier).await;
    for number in 0..20 {
        assert_eq!(viewer.line().await, format!("bye {number}"));
    }
    assert_eq!(viewer.line().await.as_bytes(), OFFLINE_STATUS);
}

#[tokio::test]
async fn agent_that_vanishes_leaves_its_last_will() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    carrier.outgoing.send(Outgoing::Status(Bytes::from_static(b"here"))).await.unwrap();
    let mut viewer = subscribe_with_mosquitto(at(port), &["-t", STATUS]);
    assert_eq!(viewer.line().await, "here");
    carrier.task.abort();
    assert_eq!(viewer.line().await.as_bytes(), OFFLINE_STATUS);
}

/// A configuration with the user `cam` and the password `right`, and rules.
async fn guarded(port: u16, folder: &Folder, rules: &str) -> Mosquitto {
    let passwords = folder.write("passwords", "cam:right\n");
    let hashed = tokio::process::Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status().await;
    assert!(hashed.expect("mosquitto_passwd comes with mosquitto").success());
    let rules = folder.write("rules", rules);
    Mosquitto::start(&format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}",
        passwords.display(),
        rules.display()
    ))
    .await
}

fn with_password(port: u16, password: &str) -> MqttSettings {
    MqttSettings {
        user: Some("cam".to_owned()),
        password: Some(Secret::new(password)),
        ..MqttSettings::new(format!("mqtt://127.0.0.1:{port}"))
    }
}

#[tokio::test]
async fn right_password_carries_and_a_wrong_one_is_told() {
    let (port, folder) = (free_port(), Folder::new());
    let _broker = guarded(port, &folder, "user cam\ntopic readwrite #\n").await;
    let mut carrier = start(with_password(port, "right"));
    assert_carries(&mut carrier, port, &["-u", "cam", "-P", "right"]).await;
    stop(carrier).await;
    let mut carrier = start(with_password(port, "wrong"));
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("check `user` and `password_file`"), "{reason}");
    assert!(!reason.contains("wrong\""), "{reason}");
    stop(carrier).await;
}

#[tokio::test]
async fn user_that_may_not_publish_is_told_in_the_log() {
    let (port, folder, log) = (free_port(), Folder::new(), Log::default());
    let _logging = log.listen();
    let _broker = guarded(port, &folder, "user cam\ntopic read pinhole/+/in\n").await;
    let mut carrier = start(with_password(port, "right"));
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    for number in 1..=3 {
        carrier.outgoing.send(Outgoing::Status(Bytes::from(format!("status {number}")))).await.unwrap();
    }
    log.until("the broker refused a message").await;
    // At the stop it waits until all are acknowledged.
    stop(carrier).await;
    let said = log.text();
    assert_eq!(said.matches("the broker refused a message").count(), 1, "once a connection: {said}");
    assert!(
        said.contains(&format!("allow this user to publish to {STATUS} and pinhole/abcdefghijkl2345/out/#")),
        "{said}"
    );
    assert!(said.contains(&format!("broker=mqtt://127.0.0.1:{port}")), "{said}");
}

#[tokio::test]
async fn name_that_does_not_exist_is_told() {
    let mut carrier = start(MqttSettings::new("mqtt://no-such-broker.invalid"));
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("the name `no-such-broker.invalid` cannot be resolved"), "{reason}");
    stop(carrier).await;
}

/// A broker that says what mosquitto cannot be made to say: lets the client in, and answers its SUBSCRIBE with that
/// code and what follows.
async fn scripted(code: u8, follows: &'static [u8]) -> (Carrier, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = tasks::spawn("scripted broker", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut client = RawClient { stream, level: 5 };
        assert_eq!(client.read().await.unwrap().0, 0x10);
        client.write(&[0x20, 3, 0, 0, 0]).await;
        let (kind, body) = client.read().await.unwrap();
        assert_eq!(kind, 0x82);
        client.write(&[&[0x90, 4, body[0], body[1], 0, code], follows].concat()).await;
        while client.read().await.is_some() {}
    });
    (start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}"))), broker)
}

#[tokio::test]
async fn user_that_may_not_subscribe_is_told() {
    let (mut carrier, broker) = scripted(0x87, &[]).await;
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains(&format!("may not subscribe to {IN}")), "{reason}");
    broker.await.unwrap();
}

#[tokio::test]
async fn client_whose_place_another_took_is_told() {
    let (mut carrier, broker) = scripted(1, &[0xe0, 2, 0x8e, 0]).await;
    // So soon after, the desk may never hear of the Up.
    let reason = match next_event(&mut carrier).await {
        CarrierEvent::Down { reason } => reason,
        _ => next_down(&mut carrier).await,
    };
    assert!(reason.contains("another client with the id pinhole-abcdefghijkl2345"), "{reason}");
    broker.await.unwrap();
}

#[tokio::test]
async fn broker_that_cuts_every_connection_is_told_of_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    for _ in 0..4 {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("another attempt").unwrap();
        let mut client = RawClient { stream, level: 5 };
        assert_eq!(client.read().await.unwrap().0, 0x10);
    }
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("connection was lost"), "{reason}");
    assert!(carrier.events.try_recv().is_err());
    stop(carrier).await;
}

#[tokio::test]
async fn desk_that_takes_nothing_does_not_stop_the_client() {
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let mut carrier = start(MqttSettings::new(format!("mqtt://127.0.0.1:{port}")));
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    let lines = ["x"; 1000].join("\n");
    let folder = Folder::new();
    let file = folder.write("lines", &lines);
    let sent = tokio::process::Command::new("mosquitto_pub")
        .args(["-p", &port.to_string(), "-q", "1", "-t", IN, "-l"])
        .stdin(std::fs::File::open(file).unwrap())
        .status()
        .await;
    assert!(sent.unwrap().success());
    // It still carries the other way, and what it kept is what came first.
    let mut status = subscribe_with_mosquitto(at(port), &["-t", STATUS]);
    carrier.outgoing.send(Outgoing::Status(Bytes::from_static(b"alive"))).await.unwrap();
    assert_eq!(status.line().await, "alive");
    let mut kept = 0;
    while let Ok(event) = carrier.events.try_recv() {
        assert_eq!(event, CarrierEvent::Envelope(Bytes::from_static(b"x")));
        kept += 1;
    }
    assert_eq!(kept, 256);
}
