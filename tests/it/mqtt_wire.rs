//! What the client says on the wire, and when: a broker by hand, which also does what real ones cannot be made to do.
//! Where time matters it is the test's own: it stands still but for the next timer.

use std::time::Duration;

use pinhole::{
    clock,
    signal::{
        Carrier, CarrierEvent,
        mqtt::{self, MqttSettings, Secret},
    },
    tasks,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    broker_support::{IN, PATIENCE, RawClient, STATUS, address, field, next_event},
    mqtt::{next_down, stop},
};

/// A port on which a test is the broker.
struct Port {
    listener: TcpListener,
}

impl Port {
    async fn open() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn settings(&self) -> MqttSettings {
        MqttSettings::new(format!("mqtt://{}", self.listener.local_addr().unwrap()))
    }

    async fn accept(&self) -> RawClient<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        RawClient { stream, level: 5 }
    }
}

fn start(settings: MqttSettings) -> Carrier {
    mqtt::start(settings, address()).unwrap()
}

/// Reads the CONNECT and answers it with that reason.
async fn answer_connect(client: &mut RawClient<TcpStream>, code: u8) {
    assert_eq!(client.read().await.expect("a CONNECT").0, 0x10);
    client.write(&[0x20, 3, 0, code, 0]).await;
}

/// Reads the SUBSCRIBE and grants it; gives the topic.
async fn grant_subscription(client: &mut RawClient<TcpStream>) -> String {
    let (kind, body) = client.read().await.expect("a SUBSCRIBE");
    assert_eq!((kind, body[2]), (0x82, 0), "SUBSCRIBE without properties");
    client.write(&[0x90, 4, body[0], body[1], 0, 1]).await;
    String::from_utf8(body[5..body.len() - 1].to_vec()).unwrap()
}

#[tokio::test]
async fn connect_asks_for_what_signaling_needs() {
    let port = Port::open().await;
    let user = MqttSettings {
        user: Some("camera".to_owned()),
        password: Some(Secret::new("right")),
        ..port.settings()
    };
    let carrier = start(user);
    let (kind, body) = port.accept().await.read().await.unwrap();
    assert_eq!(kind, 0x10);
    // MQTT 5; flags: user, password, will retained with QoS 1, clean start; 20 s of keep-alive.
    let head = [&field(b"MQTT")[..], &[5, 0b1110_1110, 0, 20]].concat();
    let (found, rest) = body.split_at(head.len());
    assert_eq!(found, head);
    // One property, the largest packet: 64 KiB.
    let (found, rest) = rest.split_at(6);
    assert_eq!(found, [5, 0x27, 0, 1, 0, 0]);
    let will = [&[0][..], &field(STATUS.as_bytes()), &field(br#"{"v":1,"online":false}"#)].concat();
    let payload =
        [&field(b"pinhole-abcdefghijkl2345")[..], &will, &field(b"camera"), &field(b"right")].concat();
    assert_eq!(rest, payload);
    stop(carrier).await;
}

#[tokio::test]
async fn client_id_that_is_named_is_used() {
    let port = Port::open().await;
    let carrier = start(MqttSettings { client_id: Some("garden".to_owned()), ..port.settings() });
    let (_, body) = port.accept().await.read().await.unwrap();
    assert_eq!(body[16..24], field(b"garden"));
    stop(carrier).await;
}

#[tokio::test]
async fn subscription_is_made_anew_at_each_connection() {
    let port = Port::open().await;
    let mut carrier = start(port.settings());
    for _ in 0..3 {
        let mut client = port.accept().await;
        answer_connect(&mut client, 0).await;
        assert_eq!(grant_subscription(&mut client).await, IN);
        while next_event(&mut carrier).await != CarrierEvent::Up {}
    }
    stop(carrier).await;
}

#[tokio::test(start_paused = true)]
async fn broker_that_lets_in_and_cuts_at_once_is_asked_ever_less_often() {
    let port = Port::open().await;
    let mut carrier = start(port.settings());
    let begun = clock::now();
    let mut tries = Vec::new();
    while clock::now() - begun < Duration::from_secs(900) {
        let mut client = port.accept().await;
        tries.push((clock::now() - begun).as_secs_f64());
        answer_connect(&mut client, 0).await;
        grant_subscription(&mut client).await;
        while carrier.events.try_recv().is_ok() {}
    }
    let until = |end: f64| tries.iter().filter(|at| **at < end).count();
    assert!(until(10.0) < 10, "less than one a second from the start: {tries:?}");
    assert!(until(900.0) < 120, "{} tries in 900 s", until(900.0));
    let waits = tries.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = waits.fold(0.0, f64::max);
    assert!((15.0..31.0).contains(&longest), "the longest wait is {longest} s");
    stop(carrier).await;
}

#[tokio::test(start_paused = true)]
async fn wrong_password_is_tried_at_most_every_thirty_seconds_and_told_once() {
    let port = Port::open().await;
    let mut carrier = start(port.settings());
    let mut last = None;
    for _ in 0..6 {
        let mut client = port.accept().await;
        let now = clock::now();
        if let Some(last) = last.replace(now) {
            let waited = now - last;
            assert!(waited >= Duration::from_secs(30), "tried again after {waited:?}");
        }
        answer_connect(&mut client, 0x86).await;
    }
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("wrong user or password"), "{reason}");
    assert!(carrier.events.try_recv().is_err(), "told once");
    stop(carrier).await;
}

#[tokio::test(start_paused = true)]
async fn causes_that_take_turns_are_told_once_each() {
    let port = Port::open().await;
    let mut carrier = start(port.settings());
    for code in [0x88, 0x97, 0x88, 0x97, 0x88] {
        answer_connect(&mut port.accept().await, code).await;
    }
    // The last answer has been read when it tries again.
    let mut client = port.accept().await;
    assert!(next_down(&mut carrier).await.contains("ServerUnavailable"));
    assert!(next_down(&mut carrier).await.contains("QuotaExceeded"));
    answer_connect(&mut client, 0).await;
    grant_subscription(&mut client).await;
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    drop(client);
    assert!(next_down(&mut carrier).await.contains("connection was lost"));
    answer_connect(&mut port.accept().await, 0x88).await;
    assert!(next_down(&mut carrier).await.contains("ServerUnavailable"), "told again after it was up");
    stop(carrier).await;
}

#[tokio::test]
async fn broker_without_mqtt_5_is_told_of_in_either_form() {
    // As MQTT 3.1.1 has it (3.2.2.3) and as MQTT 5 does (3.2.2.2).
    for connack in [&[0x20, 2, 0, 1][..], &[0x20, 3, 0, 0x84, 0]] {
        let port = Port::open().await;
        let mut carrier = start(port.settings());
        let mut client = port.accept().await;
        client.read().await.unwrap();
        client.write(connack).await;
        let reason = next_down(&mut carrier).await;
        assert!(reason.contains("does not speak MQTT 5: use a newer version"), "{reason}");
        stop(carrier).await;
    }
}

#[tokio::test]
async fn packet_beyond_64_kib_ends_the_connection_and_no_more() {
    let port = Port::open().await;
    let mut carrier = start(port.settings());
    let mut client = port.accept().await;
    answer_connect(&mut client, 0).await;
    grant_subscription(&mut client).await;
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    // A PUBLISH of 16 MiB is announced; what follows is never waited for.
    client.write(&[0x30, 0x80, 0x80, 0x80, 8, 0, 1, b'x']).await;
    next_down(&mut carrier).await;
    answer_connect(&mut port.accept().await, 0).await;
    stop(carrier).await;
}

#[tokio::test]
async fn websocket_keeps_path_and_query_and_names_its_protocol() {
    let port = Port::open().await;
    let at = port.listener.local_addr().unwrap();
    let carrier = start(MqttSettings::new(format!("ws://{at}/a/b?token=c%20d")));
    let (stream, _) = timeout(PATIENCE, port.listener.accept()).await.unwrap().unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut head = Vec::new();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
        if line.is_empty() {
            break;
        }
        head.push(line.to_ascii_lowercase());
    }
    assert_eq!(head[0], "get /a/b?token=c%20d http/1.1");
    assert!(head.contains(&"sec-websocket-protocol: mqtt".to_owned()), "{head:?}");
    assert!(head.contains(&format!("host: {at}")), "{head:?}");
    drop(lines);
    stop(carrier).await;
}

#[tokio::test]
async fn web_server_that_is_no_broker_is_told() {
    let port = Port::open().await;
    let at = port.listener.local_addr().unwrap();
    let server = tasks::spawn("web server", async move {
        let (mut stream, _) = port.listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream
    });
    let mut carrier = start(MqttSettings::new(format!("ws://{at}/nowhere")));
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("refused the WebSocket (404 Not Found): check the path"), "{reason}");
    server.await.unwrap();
    stop(carrier).await;
}
