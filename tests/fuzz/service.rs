//! What must hold for any bytes from clients of the embedded broker, in an offer, on the control socket and in the
//! configuration file: bodies of fuzz targets, as in bodies.rs.

use std::{net::SocketAddr, path::Path, sync::LazyLock, time::Duration};

use pinhole::{
    cli::RunArgs,
    config::Config,
    control::message::{MAX_REQUEST, Request, line},
    peer::sdp::{MAX_OFFER_LEN, Offer, is_usable_candidate},
    signal::{
        Address, CarrierEvent, OFFLINE_STATUS, Outgoing,
        broker::{Broker, Limits},
        topic::{DeviceId, check_root},
        whep::sdpfrag::{self, Fragment, MAX_FRAGMENT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Runtime,
    time::timeout,
};

/// For what must happen at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// CONNECT of MQTT 3.1.1 with the client id "w".
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01w";
/// SUBSCRIBE to the statuses of both devices, with QoS 0; then DISCONNECT.
const FOLLOW: &[u8] = b"\x82\x46\x00\x01\x00\x1fpinhole/abcdefghijkl2345/status\x00\x00\x1fpinhole/\
    q3v7m2k5x4n6p7r2/status\x00\xe0\x00";
/// Another device that may come: nobody here has its private key.
const ACCEPTED: &str = "q3v7m2k5x4n6p7r2:O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik";

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// Up to four clients write what they like, in pieces of each other's; when they are gone nothing is left of them, the
/// agent was sent nothing but what a viewer may send, no status was forged, and a newcomer is served.
pub fn broker_stream(data: &[u8]) {
    RUNTIME.block_on(async {
        let device = DeviceId::parse("abcdefghijkl2345").expect("a device");
        let accepted = [ACCEPTED.parse().expect("a device with its key")];
        let broker =
            Broker::new(Address { root: "pinhole".to_owned(), device }, Limits::default(), &accepted);
        let mut agent = broker.carrier();
        let status = b"{\"v\":1}";
        agent.outgoing.try_send(Outgoing::Status(status.as_slice().into())).expect("there is room");
        let mut clients: Vec<Option<DuplexStream>> = Vec::new();
        let mut serving = tokio::task::JoinSet::new();
        let mut connect = || {
            let (near, far) = tokio::io::duplex(256 * 1024);
            let (broker, peer) = (broker.clone(), SocketAddr::from(([192, 0, 2, 1], 4000)));
            serving.spawn(async move { broker.serve(far, peer).await });
            near
        };
        let mut rest = data;
        while let Some((&first, after)) = rest.split_first() {
            // Two bits say who writes, and the others how much; without others, he is cut off.
            let (who, count) = (usize::from(first & 3), usize::from(first >> 2) * 4);
            let (piece, after) = after.split_at(after.len().min(count));
            rest = after;
            while clients.len() <= who {
                clients.push(Some(connect()));
            }
            if count == 0 {
                clients[who] = None;
            }
            let client = clients[who].get_or_insert_with(&mut connect);
            // Who was cut cannot write any more.
            let _ = timeout(PATIENCE, client.write_all(piece)).await.expect("the broker reads or goes");
            tokio::task::yield_now().await;
        }
        let mut newcomer = connect();
        drop(clients);
        newcomer.write_all(CONNECT).await.expect("it is served");
        let mut connack = [0; 4];
        let answer = timeout(PATIENCE, newcomer.read_exact(&mut connack)).await;
        answer.expect("an answer in time").expect("a CONNACK");
        assert_eq!(connack, [0x20, 2, 0, 0]);
        newcomer.write_all(FOLLOW).await.expect("it is served");
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, newcomer.read_to_end(&mut heard)).await;
        end.expect("an end in time").expect("an end in order");
        let count = |what: &[u8]| heard.windows(what.len()).filter(|window| *window == what).count();
        let statuses = (count(b"/status"), count(status), count(OFFLINE_STATUS));
        assert_eq!(
            statuses,
            (2, 1, 1),
            "the agent's own status, and the other device is not here: {heard:?}"
        );
        drop(newcomer);
        let ended = async { while serving.join_next().await.is_some_and(|one| one.is_ok()) {} };
        timeout(PATIENCE, ended).await.expect("all are gone");
        assert_eq!(broker.connected(), 0);
        assert!(matches!(agent.events.try_recv(), Ok(CarrierEvent::Up)));
        while let Ok(event) = agent.events.try_recv() {
            let CarrierEvent::Envelope(payload) = event else { panic!("only viewers speak: {event:?}") };
            assert!(payload.len() <= 64 * 1024 && data_holds(data, b"pinhole/abcdefghijkl2345/in"));
        }
        broker.shut_down();
    });
}

/// Whether the topic was written: it may lie in pieces of different clients, so all its letters must be there.
fn data_holds(data: &[u8], topic: &[u8]) -> bool {
    topic.iter().all(|letter| data.contains(letter))
}

/// A fragment of a WHEP client changes nothing of an offer but its ICE session, and what is made of it reads as what it
/// says.
pub fn sdpfrag(data: &[u8]) {
    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=fingerprint:sha-256 \
        00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=setup:actpass\r\na=recvonly\r\na=rtpmap:102 H264/90000\r\n";
    let Ok(fragment) = Fragment::parse(data) else { return };
    assert!(data.len() <= MAX_FRAGMENT);
    let Some(restarted) = fragment.restarted(OFFER) else {
        assert_eq!(fragment.credentials, None);
        return;
    };
    assert!(fragment.continues(&restarted) && !fragment.restarts(&restarted));
    let (before, after) =
        (Offer::parse(OFFER).expect("an offer"), Offer::parse(&restarted).expect("one still"));
    assert_eq!((before.mid(), before.formats()), (after.mid(), after.formats()));
    let kept = |sdp: &str| -> Vec<String> {
        let of_ice = |line: &&str| !line.starts_with("a=ice-") && !line.starts_with("a=candidate:");
        sdp.lines().filter(of_ice).map(str::to_owned).collect()
    };
    assert_eq!(kept(OFFER), kept(&restarted));
    let written = sdpfrag::write(&restarted).expect("it has credentials and a video");
    let again = Fragment::parse(written.as_bytes()).expect("what we write is a fragment");
    assert_eq!(again.credentials, fragment.credentials);
}

/// An offer that is taken has one certificate and a video to receive, whichever format is chosen; what the WebRTC crate
/// is given of it is an offer of the same, and the answer has a section for each of its own.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    text.lines().for_each(|line| {
        if is_usable_candidate(line) {
            assert!(line.to_ascii_lowercase().contains("udp"));
        }
    });
    let Ok(offer) = Offer::parse(&text) else { return };
    assert!(text.len() <= MAX_OFFER_LEN);
    for format in offer.formats() {
        let narrowed = offer.narrowed(format);
        // Some parsers end a line at a bare CR, too.
        let starting =
            |start: &str| narrowed.split(['\r', '\n']).filter(|line| line.starts_with(start)).count();
        assert_eq!(
            (starting("a=fingerprint:"), starting("m="), starting("m=video ")),
            (1, 1, 1),
            "{narrowed}"
        );
        let again = Offer::parse(&narrowed).unwrap_or_else(|error| panic!("{error}: {narrowed}"));
        assert!(again.formats().len() <= 1, "{narrowed}");
        let answer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
                      m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=sendonly\r\n";
        let complete = offer.complete(answer).expect("an answer of one section");
        let sections = |sdp: &str| sdp.lines().filter(|line| line.starts_with("m=")).count();
        assert_eq!(sections(&complete), sections(&text), "{complete}");
    }
}

/// A request of the owner's is read as it was written, or refused.
pub fn control(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    assert!(data.len() <= MAX_REQUEST);
    let written = line(&request);
    assert!(written.ends_with(b"\n") && !written[..written.len() - 1].contains(&b'\n'), "it is one line");
    if written.len() <= MAX_REQUEST {
        assert_eq!(Request::parse(&written).as_ref(), Ok(&request));
    }
    assert!(request.patience() <= Duration::from_secs(60));
}

/// A configuration that is taken is within its bounds; one that is not is refused in one line.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Other files are not the matter here.
    if text.contains("_file") {
        return;
    }
    let arguments = RunArgs { state: Some("/nowhere".into()), ..RunArgs::default() };
    match Config::from_text(&arguments, Path::new("/nowhere/pinhole.toml"), &text) {
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains('\n'), "{said:?}");
        }
        Ok(config) => {
            assert!((1..=64).contains(&config.name.len()) && !config.name.contains(char::is_control));
            assert!(!config.cameras.is_empty() && config.webrtc.max_viewers > 0);
            assert_eq!(check_root(&config.broker.root), Ok(()));
            for (at, camera) in config.cameras.iter().enumerate() {
                let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                assert!(
                    camera.id.chars().all(fits) && (1..=32).contains(&camera.id.len()),
                    "{:?}",
                    camera.id
                );
                assert!(config.cameras[..at].iter().all(|other| other.id != camera.id), "each id once");
            }
        }
    }
}
