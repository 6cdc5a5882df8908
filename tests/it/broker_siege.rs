//! All attacks on the embedded broker's TCP listener again and again, with another device accepted and attacking, too:
//! memory stays flat, and whoever comes afterwards is served. For 20 seconds of random packets, by hand:
//! `cargo nextest run --run-ignored only twenty_seconds`.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use pinhole::{
    clock,
    signal::{Outgoing, broker::Limits, login::LoginKey, topic::DeviceId},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    broker_attacks::{almost, mutate, throw},
    broker_support::{
        IN, Random, RawClient, STATUS, TestBroker, connect, connect_by_key, log_in_by_hand, publish, session,
        subscribe,
    },
};

const OTHER_IN: &str = "pinhole/bbbbbbbbbbbbbbbb/in";
const OTHER_STATUS: &str = "pinhole/bbbbbbbbbbbbbbbb/status";
/// What may stay behind after all rounds: the allocator's own.
const SLACK: u64 = 6 * 1024 * 1024;

fn key() -> LoginKey {
    LoginKey::from_seed(DeviceId::parse("bbbbbbbbbbbbbbbb").unwrap(), &[1; 32])
}

/// Bytes of this process in memory (proc(5), statm). Each test has a process of its own.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

struct Siege {
    test: TestBroker,
    key: LoginKey,
    random: Random,
}

impl Siege {
    async fn begin() -> Self {
        let key = key();
        let test = TestBroker::accepting(Limits::default(), &[key.public()]).await;
        Self { test, key, random: Random(0x51e6e) }
    }

    async fn stream(&self) -> TcpStream {
        TcpStream::connect(self.test.at).await.unwrap()
    }

    /// The other device, logged in, unless too many of it are just being closed.
    async fn device(&self) -> Option<RawClient<TcpStream>> {
        let mut client = RawClient { stream: self.stream().await, level: 5 };
        let connect = connect_by_key(self.key.device().as_str(), Some((OTHER_STATUS, "gone")));
        let code = log_in_by_hand(&mut client, &connect, |challenge| self.key.sign(challenge)).await;
        (code == Some(0)).then_some(client)
    }

    /// Writes until the broker has had enough.
    async fn flood(client: &mut RawClient<TcpStream>, count: usize, bytes: &[u8]) {
        for _ in 0..count {
            if client.stream.write_all(bytes).await.is_err() {
                return;
            }
        }
    }

    async fn garbage(&mut self) {
        for _ in 0..60 {
            let bytes: Vec<u8> = (0..1 + self.random.below(200)).map(|_| self.random.next() as u8).collect();
            throw(self.test.at, &bytes).await;
        }
    }

    async fn crowds(&mut self) {
        let mut open = VecDeque::new();
        for round in 0..300 {
            let mut stream = self.stream().await;
            match round % 3 {
                0 => {}
                1 => stream.write_all(&connect(5, "same")).await.unwrap(),
                _ => stream.write_all(&connect_by_key("bbbbbbbbbbbbbbbb", None)).await.unwrap(),
            }
            open.push_back(stream);
            if open.len() > 100 {
                open.pop_front();
            }
        }
    }

    async fn floods(&mut self) {
        let large = vec![b'z'; 60_000];
        let device = self.device().await;
        if let Some(mut device) = device {
            // It subscribes and then reads nothing more, so that all queues fill.
            device.subscribe(OTHER_IN).await;
            let mut viewer = self.test.connect("flood", 5).await;
            Self::flood(&mut viewer, 150, &publish(5, OTHER_IN, &large, None, false)).await;
            Self::flood(&mut device, 2000, &publish(5, OTHER_STATUS, &[b's'; 1000], None, true)).await;
            Self::flood(&mut device, 50, &publish(5, STATUS, &large, None, true)).await;
        }
        for (topic, retain) in [("elsewhere", true), (STATUS, true), (IN, false)] {
            let mut viewer = self.test.connect("flood", 5).await;
            Self::flood(&mut viewer, 300, &publish(5, topic, &large, None, retain)).await;
        }
    }

    async fn slow_reader(&mut self) {
        let (session, topic) = session(1);
        let mut slow = self.test.connect("slow", 4).await;
        slow.write(&subscribe(4, &topic, 0)).await;
        slow.read_kind(0x90).await;
        let envelope = Bytes::from(vec![b'q'; 32 * 1024]);
        for _ in 0..300 {
            let reply = Outgoing::Reply { session, envelope: envelope.clone() };
            self.test.carrier.outgoing.send(reply).await.unwrap();
        }
    }

    async fn random_packets(&mut self, connections: usize) {
        for _ in 0..connections {
            let level = [4, 5][self.random.below(2)];
            let logged_in = if self.random.below(8) == 0 { self.device().await } else { None };
            let mut bytes = Vec::new();
            let mut stream = match logged_in {
                Some(device) => device.stream,
                None => {
                    if self.random.below(5) > 0 {
                        bytes = connect(level, &format!("f{}", self.random.below(9)));
                    }
                    self.stream().await
                }
            };
            for _ in 0..1 + self.random.below(8) {
                let mut packet = almost(level, &mut self.random);
                if self.random.below(2) == 0 {
                    mutate(&mut packet, &mut self.random);
                }
                bytes.extend(packet);
            }
            let _ = stream.write_all(&bytes).await;
            self.drain();
        }
    }

    /// The agent takes what has come for it.
    fn drain(&mut self) {
        while self.test.carrier.events.try_recv().is_ok() {}
    }

    async fn round(&mut self) {
        self.garbage().await;
        self.crowds().await;
        self.floods().await;
        self.slow_reader().await;
        self.random_packets(200).await;
        self.test.assert_serves().await;
        self.drain();
    }
}

#[tokio::test]
async fn memory_is_flat_while_everything_attacks_again_and_again() {
    let mut siege = Siege::begin().await;
    for _ in 0..3 {
        siege.round().await;
    }
    let before = resident();
    for _ in 0..6 {
        siege.round().await;
    }
    let after = resident();
    println!("{} KiB before, {} KiB after, {:?}", before / 1024, after / 1024, siege.test.broker.counters());
    assert!(after <= before + SLACK, "{before} bytes before, {after} after");
    let counters = siege.test.broker.counters();
    assert!(counters.too_fast > 0 && counters.slow > 0 && counters.device_missed > 0, "{counters:?}");
    assert!(counters.taken_over > 0 && counters.unfinished > 0, "{counters:?}");
}

#[tokio::test]
#[ignore = "takes 20 seconds; tests/run has the same by count"]
async fn twenty_seconds_of_random_packets() {
    let mut siege = Siege::begin().await;
    siege.random_packets(1000).await;
    let (before, end) = (resident(), clock::now() + Duration::from_secs(20));
    let mut connections = 0;
    while clock::now() < end {
        siege.random_packets(100).await;
        connections += 100;
    }
    let after = resident();
    println!("{connections} connections, {} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(after <= before + SLACK, "{before} bytes before, {after} after");
    siege.test.assert_serves().await;
}
