//! Who reads everything: a subscriber to `#` on a broker without access rules.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use pinhole::signal::{
    message::{Candidate, ToDevice, ToViewer},
    topic::Topic,
};
use serde_json::Value;

use super::house::{
    CAMERA_ID, CAMERA_NAME, DEVICE_NAME, House, TURN_PASSWORD, TURN_USER, greet, topics, watch,
};
use crate::people::Paired;

/// `secret` as it would stand in a text: plain, in hex, and in base64 wherever in a group of three it begins.
fn disguises(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut disguises = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skipped in 0..3 {
        let whole = &secret[skipped.min(secret.len())..];
        let whole = &whole[..whole.len() / 3 * 3];
        disguises.push(STANDARD_NO_PAD.encode(whole).into_bytes());
        disguises.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
    }
    disguises
}

/// Whether `secret`, in any disguise, is in `heard`, or in what is base64url there.
fn is_in(secret: &[u8], heard: &[u8]) -> bool {
    assert!(secret.len() >= 8, "shorter ones would be found by chance");
    let sealed = serde_json::from_slice::<Value>(heard).ok();
    let sealed = sealed.and_then(|value| URL_SAFE_NO_PAD.decode(value["c"].as_str()?).ok());
    disguises(secret).iter().any(|disguise| {
        [Some(heard), sealed.as_deref()]
            .into_iter()
            .flatten()
            .any(|text| text.windows(disguise.len()).any(|window| window.eq_ignore_ascii_case(disguise)))
    })
}

#[test]
fn a_secret_is_found_in_each_disguise() {
    let secret = b"a=candidate:1 1 udp 1 192.0.2.7 9 typ host";
    for before in ["", "x", "xy"] {
        let text = [before.as_bytes(), secret, b"tail"].concat();
        let heard = [
            text.clone(),
            URL_SAFE_NO_PAD.encode(&text).into_bytes(),
            STANDARD_NO_PAD.encode(&text).into_bytes(),
            format!(r#"{{"c":"{}"}}"#, URL_SAFE_NO_PAD.encode(&text)).into_bytes(),
            text.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into_bytes(),
        ];
        assert!(heard.iter().all(|heard| is_in(secret, heard)), "{before:?}");
    }
    assert!(!is_in(secret, br#"{"v":1,"c":"AAAA"}"#));
}

/// The lines of an SDP that say something, and the addresses and credentials in them.
fn lines(sdp: &str) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    for line in sdp.lines().filter(|line| line.len() >= 8) {
        secrets.push(line.as_bytes().to_vec());
        if let Some(fingerprint) = line.strip_prefix("a=fingerprint:sha-256 ") {
            secrets.push(fingerprint.as_bytes().to_vec());
            let digits = fingerprint.split(':').map(|byte| u8::from_str_radix(byte, 16));
            secrets.push(digits.collect::<Result<_, _>>().expect("hex"));
        }
        for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
            secrets.extend(
                line.strip_prefix(name).filter(|rest| rest.len() >= 8).map(|s| s.as_bytes().to_vec()),
            );
        }
    }
    secrets
}

/// A whole session with a picture; returns what was said in it that nobody else may know.
async fn converse(viewer: &mut Paired) -> Vec<Vec<u8>> {
    let mut secrets = vec![viewer.record.key.as_bytes().to_vec(), viewer.link.secret.as_bytes().to_vec()];
    let mut session = greet(viewer).await;
    let candidate = Candidate {
        candidate: "candidate:7 1 udp 2130706431 192.0.2.77 50777 typ host".into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
    };
    secrets.push(candidate.candidate.clone().into_bytes());
    let peer = watch(viewer, &mut session).await;
    for description in peer.descriptions().await {
        secrets.extend(lines(&description));
    }
    for message in [ToDevice::Candidate(Some(candidate)), ToDevice::Bye { reason: "a private reason".into() }]
    {
        viewer.mail.send(session.seal(&message).expect("it fits")).await.expect("the broker");
    }
    peer.close().await;
    // What is refused is sealed, too.
    let mut session = greet(viewer).await;
    let nonsense = session.seal_raw("offer", b"{}").expect("it fits");
    viewer.mail.send(nonsense).await.expect("the broker");
    let ToViewer::Error { message, .. } = viewer.next(&mut session).await else { panic!("no error") };
    secrets.extend([message.into_bytes(), b"a private reason".to_vec()]);
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_everything_learns_ids_types_sizes_and_times_alone() {
    let house = House::new().await;
    let mut reader = house.attacker("reader").await;
    assert_eq!(reader.subscribe("#").await, 1, "nothing is kept from the reader");
    let mut viewer = house.paired("Anna's telephone").await;
    let mut secrets = converse(&mut viewer).await;
    for text in ["Anna's telephone", DEVICE_NAME, CAMERA_ID, CAMERA_NAME, TURN_USER, TURN_PASSWORD] {
        secrets.push(text.as_bytes().to_vec());
    }
    for text in ["127.0.0.1", "192.0.2.77", "candidate:", "fingerprint", "a=ice-ufrag", "m=video "] {
        secrets.push(text.as_bytes().to_vec());
    }
    // This machine's own, which the agent offers.
    let own = if_addrs::get_if_addrs().expect("the kernel tells").into_iter().map(|one| one.ip().to_string());
    secrets.extend(own.filter(|ip| ip.len() >= 8).map(String::into_bytes));

    let mut attacker = house.attacker("last").await;
    super::house::put(&mut attacker, "the/end", b"").await;
    let topics = topics(&viewer);
    let (mut inward, mut outward) = (0, 0);
    loop {
        let (_, topic, payload) = reader.message().await.expect("mosquitto goes on");
        if topic == "the/end" {
            break;
        }
        for secret in &secrets {
            let found = is_in(secret, &payload) || is_in(secret, topic.as_bytes());
            assert!(!found, "{:?} in {topic}", String::from_utf8_lossy(secret));
        }
        let message: serde_json::Map<String, Value> = serde_json::from_slice(&payload).expect("an object");
        let mut fields: Vec<&str> =
            message.keys().map(String::as_str).filter(|field| *field != "e").collect();
        fields.sort_unstable();
        match topics.parse(&topic).expect("a topic of this device") {
            Topic::Status => assert!(fields == ["nd", "online", "v"], "{message:?}"),
            Topic::In => inward += 1,
            Topic::Out(session) => {
                outward += 1;
                assert_eq!(message["s"], session.to_string());
            }
        }
        let is_envelope = fields == ["c", "k", "n", "nd", "s", "t", "v"];
        assert!(is_envelope || topic == topics.topic_status(), "{message:?}");
    }
    assert!(inward >= 7 && outward >= 5, "all of it was read: {inward} and {outward} messages");
}
