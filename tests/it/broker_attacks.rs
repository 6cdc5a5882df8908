//! What kills weaker brokers. After each attack the broker serves a newcomer as if nothing had happened.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use bytes::Bytes;
use pinhole::{
    signal::{
        Outgoing,
        broker::{Broker, Limits},
    },
    tasks,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    time::timeout,
};

use crate::broker_support::{
    IN, PATIENCE, Random, RawClient, STATUS, TestBroker, address, auth, connect, connect_by_key,
    connect_with, field, next_event, packet, publish, session, subscribe,
};

/// Writes as far as the broker lets it, and reads to the end of the connection.
pub async fn throw(at: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    match timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the broker ends the connection") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[tokio::test]
async fn garbage_as_first_packet() {
    let mut test = TestBroker::start(Limits::default()).await;
    let bodies: [&[u8]; 9] = [
        b"\0",
        b"\x02\0\0",
        b"\x03\0\0\0",
        b"\x04\0\x01\0\0",
        b"\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff",
        b"\x0c\0\x04MQTT\x05\x02\0\x1e\0\0",
        b"\x0d\0\x04MQTT\x05\xc2\0\x1e\0\0\0",
        b"\x0e\0\x06MQIsdp\x03\x02\0\x1e\0\0",
    ];
    for kind in 0..16_u8 {
        let flags = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        for body in bodies {
            throw(test.at, &[&[kind << 4 | flags], body].concat()).await;
        }
    }
    test.assert_serves().await;
}

#[tokio::test]
async fn storm_of_takeovers() {
    let mut test = TestBroker::start(Limits::default()).await;
    let mut open = std::collections::VecDeque::new();
    for round in 0..1000 {
        let mut stream = TcpStream::connect(test.at).await.unwrap();
        let flags = if round % 2 == 0 { 0 } else { 2 };
        let _ = stream.write_all(&connect_with(5, "same", flags, 60, &[])).await;
        if round % 3 == 0 {
            let mut byte = [0];
            let _ = stream.read(&mut byte).await;
        }
        open.push_back(stream);
        if open.len() > 40 {
            open.pop_front();
        }
    }
    test.assert_serves().await;
    assert!(test.broker.counters().taken_over > 100);
}

#[tokio::test]
async fn flood_of_retained_messages_leaves_nothing() {
    let mut test = TestBroker::start(Limits::default()).await;
    let mut flood = test.connect("flood", 5).await;
    let payload = vec![b'z'; 4096];
    for number in 0..5000 {
        let bytes = publish(5, &format!("retained/{number}"), &payload, None, true);
        if flood.stream.write_all(&bytes).await.is_err() {
            break;
        }
    }
    // Cut in the middle of what was still under way, it may have been reset before it could read why.
    flood.end().await;
    assert_eq!(test.broker.counters().too_fast, 1);
    let mut reader = test.connect("reader", 5).await;
    assert_eq!(reader.subscribe("retained/1").await, 0x87);
    assert_eq!(reader.subscribe(STATUS).await, 1);
    reader.write(&[0xc0, 0]).await;
    assert_eq!(reader.read().await, Some((0xd0, vec![])), "nothing retained comes first");
    drop(reader);
    test.assert_serves().await;
}

#[tokio::test]
async fn three_hundred_silent_connections_refuse_nobody() {
    let mut test = TestBroker::start(Limits::default()).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(test.at).await.unwrap());
    }
    test.assert_serves().await;
    // The oldest were closed for the newest.
    let mut byte = [0];
    let first = timeout(PATIENCE, silent[0].read(&mut byte)).await.expect("closed");
    assert!(matches!(first, Ok(0) | Err(_)));
}

#[tokio::test]
async fn silent_connections_of_one_address_leave_room_for_others() {
    let broker = Broker::new(address(), Limits::default(), &[]);
    let mut attackers = Vec::new();
    let mut ends = Vec::new();
    let mut serve = |peer: &str| {
        let (near, far) = duplex(4096);
        let (broker, peer) = (Arc::clone(&broker), peer.parse().unwrap());
        ends.push(tasks::spawn("serve", async move { broker.serve(far, peer).await }));
        near
    };
    let mut viewer = RawClient { stream: serve("198.51.100.1:1"), level: 5 };
    for _ in 0..100 {
        attackers.push(serve("192.0.2.1:1"));
    }
    tokio::task::yield_now().await;
    viewer.write(&connect(5, "viewer")).await;
    assert_eq!(viewer.read().await.map(|(_, body)| body[1]), Some(0));
}

#[tokio::test]
async fn full_broker_refuses_with_a_reason_and_has_room_again() {
    let limits = Limits { clients: 10, ..Limits::default() };
    let mut test = TestBroker::start(limits).await;
    let mut clients = Vec::new();
    for number in 0..10 {
        clients.push(test.connect(&format!("c{number}"), 5).await);
    }
    let stream = TcpStream::connect(test.at).await.unwrap();
    let mut late = RawClient { stream, level: 5 };
    late.write(&connect(5, "late")).await;
    assert_eq!(late.read().await.map(|(_, body)| body[1]), Some(0x89));
    for client in &mut clients {
        client.write(&[0xe0, 0]).await;
        client.end().await;
    }
    test.assert_serves().await;
}

#[tokio::test]
async fn packets_beyond_the_limit() {
    let mut test = TestBroker::start(Limits::default()).await;
    throw(test.at, &[&b"\x10\xff\xff\xff\x7f\0\x04MQTT\x04\x02\0\x1e"[..], &[b'a'; 300_000]].concat()).await;
    for level in [4, 5] {
        let mut client = test.connect("big", level).await;
        let _ = client.stream.write_all(&publish(level, IN, &[b'z'; 70_000], None, false)).await;
        client.end().await;
        assert_eq!(test.broker.connected(), 0);
    }
    test.assert_serves().await;
}

#[tokio::test]
async fn envelope_of_the_largest_size_passes() {
    let mut test = TestBroker::start(Limits::default()).await;
    let mut client = test.connect("large", 5).await;
    let payload = vec![b'z'; 32 * 1024];
    client.write(&publish(5, IN, &payload, Some(1), false)).await;
    assert_eq!(client.read().await, Some((0x40, vec![0, 1, 0, 0])));
    assert_eq!(crate::broker_support::next_envelope(&mut test.carrier).await, payload);
}

#[tokio::test]
async fn reader_that_never_reads_is_dropped_and_the_others_miss_nothing() {
    let mut test = TestBroker::start(Limits::default()).await;
    let (session_slow, topic_slow) = session(1);
    let mut slow = test.connect("slow", 4).await;
    slow.write(&subscribe(4, &topic_slow, 0)).await;
    let _ = slow.read_kind(0x90).await;
    let mut quick = test.connect("quick", 5).await;
    quick.subscribe(STATUS).await;
    let large = Bytes::from(vec![b'q'; 32 * 1024]);
    let outgoing = test.carrier.outgoing.clone();
    for number in 0..600_u32 {
        outgoing.send(Outgoing::Reply { session: session_slow, envelope: large.clone() }).await.unwrap();
        if number % 20 == 0 {
            outgoing.send(Outgoing::Status(Bytes::copy_from_slice(&number.to_be_bytes()))).await.unwrap();
            assert_eq!(quick.message().await.map(|message| message.2), Some(number.to_be_bytes().to_vec()));
        }
    }
    assert_eq!(test.broker.counters().slow, 1);
    drop(outgoing);
    test.assert_serves().await;
}

#[tokio::test]
async fn client_that_never_acknowledges_is_dropped() {
    let mut test = TestBroker::start(Limits::default()).await;
    let mut lazy = test.connect("lazy", 5).await;
    lazy.subscribe(STATUS).await;
    for number in 0..200_u8 {
        test.carrier.outgoing.send(Outgoing::Status(Bytes::copy_from_slice(&[number]))).await.unwrap();
    }
    // It reads, so that it hears why.
    assert_eq!(lazy.end().await, Some(0x97));
    test.assert_serves().await;
}

#[tokio::test]
async fn agent_that_does_not_read_stops_nobody() {
    let mut test = TestBroker::start(Limits { packets_per_second: 100_000, ..Limits::default() }).await;
    let mut flood = test.connect("flood", 4).await;
    for _ in 0..5000 {
        flood.write(&publish(4, IN, b"x", None, false)).await;
    }
    flood.write(&[0xc0, 0]).await;
    assert_eq!(flood.read().await, Some((0xd0, vec![])));
    assert_eq!(test.broker.counters().device_missed, 5000 - 256);
    for _ in 0..256 {
        next_event(&mut test.carrier).await;
    }
    test.assert_serves().await;
}

/// Packets that are right, or almost.
pub fn almost(level: u8, random: &mut Random) -> Vec<u8> {
    let (_, out) = session(random.below(3) as u8);
    let topic = [IN, STATUS, "#", "$share/g/a", "a/+/b", "", &out][random.below(7)].to_owned();
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    match random.below(16) {
        14 => auth(&random.next().to_be_bytes()),
        15 => connect_by_key(["bbbbbbbbbbbbbbbb", "abcdefghijkl2345", ""][random.below(3)], None),
        0 => connect(level, "again"),
        1..=3 => subscribe(level, &topic, random.below(4) as u8),
        4..=6 => publish(
            level,
            &topic,
            b"x",
            [None, Some(random.below(3) as u16)][random.below(2)],
            random.below(2) == 0,
        ),
        7 => packet(0xa2, &[&[0, 1], properties, &field(topic.as_bytes())].concat()),
        8 => packet([0x40, 0x50, 0x62, 0x70][random.below(4)], &[0, random.below(3) as u8]),
        9 => vec![0xc0, 0],
        10 => vec![0xe0, 0],
        11 => vec![0xd0, 0],
        12 => packet(0x90, &[0, 1, 0]),
        _ => packet(0x36, &[&field(topic.as_bytes())[..], &[0, 1], properties, b"x"].concat()),
    }
}

pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        match random.below(10) {
            0..=6 if !bytes.is_empty() => {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            7 | 8 => bytes.truncate(random.below(bytes.len() + 1)),
            _ => bytes.extend((0..1 + random.below(8)).map(|_| random.next() as u8)),
        }
    }
}

/// Every case ends by itself and leaves nobody behind, and the agent gets only what went to its topic.
#[tokio::test]
async fn random_packets() {
    let broker = Broker::new(address(), Limits::default(), &[]);
    let mut carrier = broker.carrier();
    let peer = "127.0.0.1:1".parse().unwrap();
    let mut random = Random(0x5eed);
    for case in 0..6000 {
        let level = [4, 5][random.below(2)];
        let mut bytes =
            if random.below(5) > 0 { connect(level, &format!("f{}", random.below(9))) } else { Vec::new() };
        for _ in 0..1 + random.below(8) {
            let mut packet = almost(level, &mut random);
            if random.below(2) == 0 {
                mutate(&mut packet, &mut random);
            }
            bytes.extend(packet);
        }
        let (mut near, far) = duplex(64 * 1024);
        let serving = Arc::clone(&broker);
        let served = tasks::spawn("serve", async move { serving.serve(far, peer).await });
        near.write_all(&bytes).await.unwrap();
        near.shutdown().await.unwrap();
        timeout(PATIENCE, served).await.unwrap_or_else(|_| panic!("case {case} ends")).expect("no panic");
        assert_eq!(broker.connected(), 0);
        while carrier.events.try_recv().is_ok() {}
    }
    assert!(broker.counters().connected > 1000);
    let _ = carrier.outgoing.send(Outgoing::Status(Bytes::new())).await;
    assert!(
        timeout(Duration::from_secs(1), async { carrier.task.is_finished() }).await.is_ok_and(|ended| !ended)
    );
}
