//! A viewer that watches is sent every packet and every frame while the broker dies and returns, while bogus offers
//! arrive, and while the topic is flooded; by mosquitto and by the embedded broker. How long frames were apart, and what
//! it cost the agent, is printed and not asserted: it is the machine's affair (`cargo nextest run steady --no-capture`).

use std::time::Duration;

use pinhole::{
    clock,
    signal::{Address, CarrierEvent, mqtt::MqttSettings},
};

use super::{
    frames::{Seen, Watcher},
    house::{House, greet, put, topics, watch},
    inventing::stranger,
};
use crate::{
    broker_support::{IN, address, next_event, publish},
    mqtt_support::{Mosquitto, free_port},
    people::{
        Paired,
        mail::{self, Mail},
    },
};

/// Messages of a flood, and how many of them in a second.
const FLOOD: usize = 30_000;
const FLOOD_PER_SECOND: usize = 10_000;
/// So often the flood's pace is kept.
const BEAT: Duration = Duration::from_millis(10);

async fn watching(house: &House, viewer: &mut Paired) -> Watcher {
    let mut session = greet(viewer).await;
    let mut watcher = Watcher::new(watch(viewer, &mut session).await);
    house.until_watching(1).await;
    watcher.more(10).await;
    watcher
}

fn assert_whole(seen: &Seen) {
    let Seen { missing_packets, missing_frames, key_frames, .. } = *seen;
    assert_eq!((missing_packets, missing_frames), (0, 0), "{seen:?}");
    assert_eq!(key_frames, 0, "nobody had to ask for one: {seen:?}");
    assert!(seen.packets >= seen.frames && seen.frames >= 15, "{seen:?}");
}

/// What a flood consists of: envelopes of nobody, and what is no envelope.
fn rubbish(viewer: &Paired) -> Vec<Vec<u8>> {
    let strangers = (0..16).map(|number| stranger(viewer, number));
    strangers.chain([vec![b'{'; 200], b"null".to_vec(), vec![0; 2000], Vec::new()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_is_lost_when_the_broker_dies_and_when_it_is_back() {
    let mut house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut watcher = watching(&house, &mut viewer).await;
    house.stop_broker().await;
    watcher.more(20).await;
    let statuses = house.proxy.messages().len();
    house.start_broker().await;
    house.proxy.wait_for_more("the device is back", statuses, |one| one.topic.ends_with("/status")).await;
    // It hears again, without a restart.
    let mut other = house.paired("Ben").await;
    greet(&mut other).await;
    watcher.more(5).await;
    house.until_watching(1).await;
    let seen = watcher.stop().await;
    eprintln!("broker gone and back: at most {:?} between frames", seen.longest_gap);
    assert_whole(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_is_lost_to_a_thousand_bogus_offers() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let mut watcher = watching(&house, &mut viewer).await;
    let mut attacker = house.attacker("mallory").await;
    let inbox = topics(&viewer).topic_in();
    for number in 0..1_000 {
        put(&mut attacker, &inbox, &stranger(&viewer, number)).await;
    }
    greet(&mut viewer).await;
    watcher.more(5).await;
    let seen = watcher.stop().await;
    eprintln!("a thousand bogus offers: at most {:?} between frames", seen.longest_gap);
    assert_whole(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_is_lost_to_a_flood() {
    let house = House::new().await;
    let mut viewer = house.paired("Anna").await;
    let inbox = topics(&viewer).topic_in();
    let rubbish: Vec<Vec<u8>> =
        rubbish(&viewer).iter().map(|payload| publish(5, &inbox, payload, None, false)).collect();
    let mut watcher = watching(&house, &mut viewer).await;
    let (loud, memory) = (house.loud().len(), house.resident());
    let (cpu, started) = (house.cpu(), clock::now());
    let mut attacker = house.attacker("mallory").await;
    let batch = FLOOD_PER_SECOND * BEAT.as_millis() as usize / 1_000;
    let mut beat = tokio::time::interval(BEAT);
    for number in 0..FLOOD / batch {
        beat.tick().await;
        let packets = (0..batch).map(|one| &rubbish[(number + one) % rubbish.len()][..]);
        attacker.write(&packets.collect::<Vec<_>>().concat()).await;
    }
    let (cost, took) = (house.cpu() - cpu, started.elapsed());
    // Mosquitto has read all of it.
    put(&mut attacker, "the/end", b"").await;
    watcher.more(5).await;
    let grown = house.resident().saturating_sub(memory);
    // What came too fast was dropped, the device's own viewers with it; then they are heard again.
    super::house::greet_patiently(&mut viewer).await;
    let seen = watcher.stop().await;
    let gap = seen.longest_gap;
    eprintln!(
        "{FLOOD} messages in {took:?}: {cost:?} of CPU, {grown} KiB more, at most {gap:?} between frames"
    );
    assert_whole(&seen);
    assert!(grown <= 8 * 1024, "memory grew by {grown} KiB");
    let said = &house.loud()[loud..];
    assert!(said.len() <= 1 && said.iter().all(|line| line.contains("messages were lost")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_frame_is_lost_to_a_flood_at_the_embedded_broker() {
    let house = House::alone().await;
    let url = house.link();
    let mut viewer = Paired::by(&url, "Anna").await;
    let mut watcher = watching(&house, &mut viewer).await;
    let (loud, memory) = (house.loud().len(), house.resident());
    let rubbish = rubbish(&viewer);
    let (link, broker) = mail::address(&url).expect("a link");
    let (mut sent, mut connections) = (0, 0);
    // Who is too fast is cut off, and comes again.
    while sent < FLOOD && connections < 40 {
        let topics = Address::new(&link.root, link.device).expect("a root");
        let Ok(flooder) = Mail::connect(&broker, topics).await else { break };
        connections += 1;
        for payload in rubbish.iter().cycle().take(FLOOD - sent) {
            if flooder.is_cut() || flooder.send(payload.clone().into()).await.is_err() {
                break;
            }
            sent += 1;
        }
    }
    watcher.more(5).await;
    greet(&mut viewer).await;
    let grown = house.resident().saturating_sub(memory);
    let seen = watcher.stop().await;
    let gap = seen.longest_gap;
    eprintln!(
        "{sent} messages by {connections} connections: {grown} KiB more, at most {gap:?} between frames"
    );
    assert!(sent >= 1_000, "that is no flood: {sent}");
    assert_whole(&seen);
    assert!(grown <= 8 * 1024, "memory grew by {grown} KiB");
    house.assert_quiet_since(loud);
}

#[tokio::test]
async fn what_the_desk_does_not_take_is_not_kept_for_it() {
    let port = free_port();
    let _broker =
        Mosquitto::start(&format!("max_queued_messages 0\nlistener {port} 127.0.0.1\nallow_anonymous true"))
            .await;
    let settings = MqttSettings::new(format!("mqtt://127.0.0.1:{port}"));
    let mut carrier = pinhole::signal::mqtt::start(settings, address()).unwrap();
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut flooder = crate::broker_support::RawClient::connected(stream, "flooder", 5).await;
    // Two thousand while nobody takes one: the client's task must take, count and drop them.
    for _ in 0..2_000 {
        put(&mut flooder, IN, b"flood").await;
    }
    let mut kept = 0;
    loop {
        put(&mut flooder, IN, b"end").await;
        match tokio::time::timeout(BEAT, carrier.events.recv()).await {
            Ok(Some(CarrierEvent::Envelope(envelope))) if envelope == b"end"[..] => break,
            Ok(Some(CarrierEvent::Envelope(_))) => kept += 1,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
    }
    assert!((200..=600).contains(&kept), "the queue holds 256 and a little more on the way: {kept}");
}
