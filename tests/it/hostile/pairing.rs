//! Pairings that the broker takes part in: as the device, as the viewer, as the man between them, and afterwards.

use pinhole::signal::{
    Address,
    envelope::{Envelope, Header, POINT_BYTES, Point, SealKey},
    link::{Link, PairingSecret},
    pairing::{MAX_FAILURES, agree, pairing_id, request_key},
    topic::{KeyId, PairingId},
    viewer::ViewerPairing,
};
use ring::{
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    rand::SystemRandom,
};

use super::{
    house::{House, assert_served, put},
    proxy::Fate,
};
use crate::people::{
    Paired,
    mail::{Mail, address},
};

/// A key pair of the broker's own.
fn own_pair() -> (EphemeralPrivateKey, Point) {
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).expect("random bytes");
    let public = private.compute_public_key().expect("it has one");
    let point: [u8; POINT_BYTES] = public.as_ref().try_into().expect("an uncompressed point");
    (private, point)
}

/// What the broker takes for the secret, as it does not know it.
fn guesses(id: PairingId) -> [PairingSecret; 3] {
    let mut padded = [0; 32];
    padded[..8].copy_from_slice(id.as_bytes());
    [
        PairingSecret::from_bytes([0; 32]),
        PairingSecret::from_bytes(padded),
        PairingSecret::from_bytes([0xff; 32]),
    ]
}

/// A link that was opened but not yet taken.
struct Opened {
    mail: Mail,
    link: Link,
    pairing: ViewerPairing,
    topics: Address,
}

impl Opened {
    async fn by(url: &str, name: &str) -> Self {
        let (link, broker) = address(url).expect("a link");
        let topics = Address::new(&link.root, link.device).expect("a root");
        let mut mail = Mail::connect(&broker, topics.clone()).await.expect("the broker");
        let nonce = mail.nonce().await.expect("a status");
        let pairing = ViewerPairing::new(link.clone(), nonce, name).expect("it fits");
        mail.listen(pairing.id()).await.expect("the broker");
        Self { mail, link, pairing, topics }
    }

    fn request(&self) -> Envelope {
        Envelope::parse(&self.pairing.request()).expect("an envelope")
    }

    /// Takes the link, and is a viewer like any other.
    async fn take(mut self) -> Paired {
        self.mail.send(self.pairing.request()).await.expect("the broker");
        let answer = self.mail.next().await.expect("an answer");
        let record = self.pairing.finish(&answer).expect("not refused").expect("the device's own answer");
        let nonce = self.request().nonce;
        Paired { mail: self.mail, link: self.link, nonce, record }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_a_pairing_itself_is_not_believed() {
    let house = House::new().await;
    let url = house.link();
    let mut attacker = house.attacker("mallory").await;
    let body = br#"{"k":"0011223344556677","role":"admin","name":"Anna"}"#;
    for guess in 0..3 {
        let mut opened = Opened::by(&url, "Anna").await;
        house.proxy.filter(|message| if message.is_in() { Fate::Drop } else { Fate::Pass });
        opened.mail.send(opened.pairing.request()).await.expect("the broker");
        let Envelope { key, session, nonce, ephemeral, .. } = opened.request();
        let request = opened.pairing.request();
        house.proxy.wait_for("the request", |message| message.payload == request).await;
        let viewer_point = ephemeral.expect("it is a pairing");
        let secret = &guesses(PairingId::from_bytes(*key.as_bytes()))[guess];
        let (private, point) = own_pair();
        let other = UnparsedPublicKey::new(&ECDH_P256, viewer_point);
        let device = opened.link.device;
        let agreement =
            agree_ephemeral(private, &other, |shared| agree(shared, secret, &viewer_point, &point, device));
        let seal = SealKey::new(&agreement.expect("a point of the curve").confirm_key);
        let header = Header { kind: "pair2", device, key, session, nonce, counter: 0 };
        let forged = header.seal(&seal, Some(&point), body).expect("it fits");
        put(&mut attacker, &opened.topics.topic_out(&session), &forged).await;
        assert_eq!(opened.mail.next().await.expect("it is carried"), forged);
        assert_eq!(opened.pairing.finish(&forged), Ok(None), "not the device's");
    }
    // The link is still good.
    house.proxy.filter(|_| Fate::Pass);
    assert!(house.viewers().is_empty());
    assert_served(&mut Opened::by(&url, "Anna").await.take().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_between_viewer_and_device_pairs_with_neither() {
    let house = House::new().await;
    let mut opened = Opened::by(&house.link(), "Anna").await;
    let Envelope { key, session, nonce, .. } = opened.request();
    let device = opened.link.device;
    let mut attacker = house.attacker("mallory").await;
    let (loud, replies) = (house.loud().len(), house.proxy.replies());
    // His point instead of the viewer's: with her seal, and with one of his.
    let (_, point) = own_pair();
    let text = String::from_utf8(opened.pairing.request().to_vec()).expect("JSON");
    let theirs = pinhole::signal::envelope::to_base64(&opened.request().ephemeral.expect("it is a pairing"));
    let mine = pinhole::signal::envelope::to_base64(&point);
    let inbox = opened.topics.topic_in();
    put(&mut attacker, &inbox, text.replace(&theirs, &mine).as_bytes()).await;
    let header = Header { kind: "pair1", device, key, session, nonce, counter: 0 };
    for guess in guesses(PairingId::from_bytes(*key.as_bytes())) {
        let seal = SealKey::new(&request_key(&guess, &point, device));
        put(&mut attacker, &inbox, &header.seal(&seal, Some(&point), b"{}").expect("it fits")).await;
    }
    // And his point instead of the device's.
    let target = opened.topics.topic_out(&session);
    house.proxy.filter(move |message| {
        if message.topic != target {
            return Fate::Pass;
        }
        let mut answer: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        answer["e"] = mine.clone().into();
        Fate::Instead(answer.to_string().into_bytes())
    });
    opened.mail.send(opened.pairing.request()).await.expect("the broker");
    let changed = opened.mail.next().await.expect("it is carried");
    assert_eq!(opened.pairing.finish(&changed), Ok(None));
    assert_eq!(house.proxy.replies(), replies + 1, "only she was answered");
    assert_eq!(house.loud().len(), loud + 1, "and only she is in the log: {:?}", &house.loud()[loud..]);
    // What was paired is hers, and of no use to him; she asks for another link.
    house.proxy.filter(|_| Fate::Pass);
    assert_served(&mut house.paired("Anna again").await).await;
    let people = house.viewers();
    assert_eq!(people.len(), 2);
    assert!(people[0]["seen_ago_s"].is_null() && people[1]["seen_ago_s"].is_u64(), "{people:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_makes_a_link_void_and_pairs_nobody() {
    let house = House::new().await;
    let opened = Opened::by(&house.link(), "Anna").await;
    let Envelope { key, session, nonce, .. } = opened.request();
    let (device, inbox) = (opened.link.device, opened.topics.topic_in());
    let (loud, replies) = (house.loud().len(), house.proxy.replies());
    let mut attacker = house.attacker("mallory").await;
    let header = Header { kind: "pair1", device, key, session, nonce, counter: 0 };
    for guess in 0..MAX_FAILURES {
        let (_, point) = own_pair();
        let seal = SealKey::new(&request_key(&PairingSecret::from_bytes([guess as u8; 32]), &point, device));
        put(&mut attacker, &inbox, &header.seal(&seal, Some(&point), b"{}").expect("it fits")).await;
    }
    // Even its holder has to ask for another link now.
    opened.mail.send(opened.pairing.request()).await.expect("the broker");
    let other = Opened::by(&house.link(), "Anna").await;
    assert_ne!(pairing_id(&other.link.secret), pairing_id(&opened.link.secret));
    let mut viewer = other.take().await;
    assert_eq!(house.proxy.replies(), replies + 1, "the void link was not answered");
    assert_eq!(house.loud().len(), loud + 1, "{:?}", &house.loud()[loud..]);
    assert_eq!(house.viewers().len(), 1);
    assert_served(&mut viewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leaks_after_its_use_opens_nothing_even_to_who_recorded_everything() {
    let mut house = House::new().await;
    let url = house.link();
    let mut viewer = Opened::by(&url, "Anna").await.take().await;
    let recorded: Vec<_> = house.proxy.messages().into_iter().filter(|message| message.is_in()).collect();
    let key: KeyId = viewer.record.id;
    // Who has it now: asks with it, and plays what was asked.
    let late = Opened::by(&url, "Eve").await;
    let (loud, replies) = (house.loud().len(), house.proxy.replies());
    late.mail.send(late.pairing.request()).await.expect("the broker");
    super::house::greet(&mut viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1, "only the greeting was answered");
    assert_eq!(house.loud().len(), loud);

    house.restart();
    viewer.nonce = viewer.mail.nonce_after(viewer.nonce).await.expect("a status");
    let replies = house.proxy.replies();
    let mut attacker = house.attacker("mallory").await;
    for message in recorded {
        put(&mut attacker, &message.topic, &message.payload).await;
    }
    late.mail.send(late.pairing.request()).await.expect("the broker");
    super::house::greet(&mut viewer).await;
    assert_eq!(house.proxy.replies(), replies + 1);
    let people = house.viewers();
    assert_eq!((people.len(), people[0]["key"].as_str()), (1, Some(key.to_string().as_str())));
    assert_served(&mut viewer).await;
}
