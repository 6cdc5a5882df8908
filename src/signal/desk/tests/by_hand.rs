//! What the desk takes from its owner's hand, and nowhere else.

use super::*;
use crate::signal::{message::Offer, viewer::HandSession};

fn hand(viewer: u8) -> (HandSession, Bytes) {
    let session = HandSession::new(device(), record(viewer));
    let ToDevice::Offer(offer) = offer() else { unreachable!() };
    let envelope = session.offer(&offer).unwrap();
    (session, envelope)
}

fn accepted(desk: &mut Desk, envelope: &[u8]) -> HandOffer {
    match desk.receive_by_hand(clock::now(), envelope) {
        Ok(ByHand::Offer(offer)) => *offer,
        other => panic!("an offer: {other:?}"),
    }
}

fn refusal(desk: &mut Desk, envelope: &[u8]) -> HandRefusal {
    desk.receive_by_hand(clock::now(), envelope).expect_err("it is refused")
}

fn swapped(envelope: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(envelope).unwrap();
    assert!(text.contains(from), "{from}");
    text.replace(from, to).into()
}

#[test]
fn an_offer_is_answered_once_under_keys_that_are_new() {
    let mut desk = desk(2, clock::now());
    let (viewer, envelope) = hand(1);
    // Two that are taken before the first is answered: each answer opens, and none has the other's keys.
    let (one, two) = (accepted(&mut desk, &envelope), accepted(&mut desk, &envelope));
    assert_eq!((one.viewer, one.role, one.offer.sdp.as_str()), (record(1).id, Role::View, FINGERPRINT));
    let session = one.session;
    let answers = [one, two].map(|offer| offer.seal.answer("v=0", None).unwrap());
    let nonces = answers.each_ref().map(|answer| Envelope::parse(answer).unwrap().nonce);
    assert!(
        nonces[0] != nonces[1] && !nonces.contains(&DeviceNonce::BY_HAND) && !nonces.contains(&nonce(&desk))
    );
    for answer in &answers {
        let opened = viewer.open(answer).unwrap();
        assert_eq!((opened.sdp.as_str(), opened.welcome), ("v=0", None));
    }
    let other = swapped(&answers[0], &nonces[0].to_string(), &nonces[1].to_string());
    assert!(viewer.open(&other).is_none(), "a nonce belongs to its answer");
    desk.answered_by_hand(session);
    assert_eq!(refusal(&mut desk, &envelope), HandRefusal::Answered);
    assert!(hand(1).0.open(&answers[0]).is_none(), "of another session");
}

#[test]
fn carriers_take_nothing_that_is_for_the_hand_and_the_hand_nothing_of_theirs() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let (_, envelope) = hand(1);
    assert_eq!(desk.receive(now, &envelope), []);
    let secret = desk.invite(now, Invite::to(Role::View));
    let link =
        Link { device: device(), root: "pinhole".into(), secret, broker: None, more_brokers: Vec::new() };
    let pairing = ViewerPairing::new(link.clone(), DeviceNonce::BY_HAND, "Anna").unwrap();
    assert_eq!(desk.receive(now, &pairing.request()), []);
    assert_eq!(desk.counters(), DeskCounters { stale: 2, ..DeskCounters::default() });

    let live = session(&desk, 1, 9).seal(&offer()).unwrap();
    assert_eq!(refusal(&mut desk, &live), HandRefusal::ForBroker);
    let live = ViewerPairing::new(link, nonce(&desk), "Anna").unwrap();
    assert_eq!(refusal(&mut desk, &live.request()), HandRefusal::ForBroker);
    // A session that was begun by hand cannot be gone on with by a carrier.
    let taken = accepted(&mut desk, &envelope);
    desk.answered_by_hand(taken.session);
    assert_eq!(desk.receive(now, &envelope), []);
}

#[test]
fn the_owner_hears_what_is_wrong() {
    let now = clock::now();
    let mut desk = desk(1, now);
    let (_, envelope) = hand(1);
    let answer = accepted(&mut desk, &envelope).seal.answer("v=0", None).unwrap();
    assert_eq!(refusal(&mut desk, &answer), HandRefusal::Answer);
    assert_eq!(refusal(&mut desk, &hand(7).1), HandRefusal::UnknownViewer);
    assert_eq!(refusal(&mut desk, b"{}"), HandRefusal::Form(ParseError::Malformed));
    let elsewhere = DeviceId::parse("aaaaaaaaaaaaaaaa").unwrap();
    let other = HandSession::new(elsewhere, record(1));
    let sdp = |sdp: &str| Offer { camera: String::new(), sdp: sdp.into(), audio: false, talk: false };
    assert_eq!(refusal(&mut desk, &other.offer(&sdp(FINGERPRINT)).unwrap()), HandRefusal::Forged);
    let text = std::str::from_utf8(&envelope).unwrap();
    let sealed = &text[text.len() - 12..text.len() - 2];
    let damaged = swapped(&envelope, sealed, "AAAAAAAAAA");
    assert_eq!(refusal(&mut desk, &damaged), HandRefusal::Forged);
    assert_eq!(
        refusal(&mut desk, &swapped(&envelope, "offer", "hello")),
        HandRefusal::NoOffer("hello".into())
    );
    let bare = HandSession::new(device(), record(1)).offer(&sdp("v=0")).unwrap();
    assert!(matches!(refusal(&mut desk, &bare), HandRefusal::Body(_)));
    desk.revoke(record(1).id);
    assert_eq!(refusal(&mut desk, &envelope), HandRefusal::UnknownViewer);
}

#[test]
fn a_link_pairs_by_hand_and_then_no_other() {
    let now = clock::now();
    let mut desk = desk(0, now);
    let secret = desk.invite(now, Invite::to(Role::Control));
    let link =
        Link { device: device(), root: "pinhole".into(), secret, broker: None, more_brokers: Vec::new() };
    let mut pairing = ViewerPairing::new(link.clone(), DeviceNonce::BY_HAND, "Anna").unwrap();
    let Ok(ByHand::Pair(Output::Pair { pairing: id, .. })) = desk.receive_by_hand(now, &pairing.request())
    else {
        panic!("a pairing");
    };
    let Some(Output::Reply { envelope, .. }) = desk.commit_pairing(now, id, Ok(())) else {
        panic!("a reply")
    };
    let again = desk.receive_by_hand(now, &pairing.request());
    assert!(matches!(again, Ok(ByHand::Pair(Output::Reply { envelope: same, .. })) if same == envelope));
    let viewer = pairing.finish(&envelope).unwrap().expect("a key");
    assert_eq!(viewer.role, Role::Control);

    let session = HandSession::new(device(), viewer);
    let ToDevice::Offer(offer) = offer() else { unreachable!() };
    assert_eq!(accepted(&mut desk, &session.offer(&offer).unwrap()).role, Role::Control);

    let second = ViewerPairing::new(link, DeviceNonce::BY_HAND, "Ben").unwrap();
    assert_eq!(refusal(&mut desk, &second.request()), HandRefusal::LinkUsed);
    let secret = PairingSecret::from_bytes([9; 32]);
    let old =
        Link { device: device(), root: "pinhole".into(), secret, broker: None, more_brokers: Vec::new() };
    let old = ViewerPairing::new(old, DeviceNonce::BY_HAND, "Ben").unwrap();
    assert_eq!(refusal(&mut desk, &old.request()), HandRefusal::UnknownLink);
}
