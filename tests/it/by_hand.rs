//! Offers that are carried by hand: `pinhole answer` beside a running agent, and viewers that reach no broker of it.

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    process::{Output, Stdio},
    time::Duration,
};

use pinhole::{
    clock,
    signal::{
        hand,
        keys::ViewerRecord,
        link::Link,
        message::{Offer, Role, by_hand},
        topic::{DeviceId, DeviceNonce},
        viewer::{HandSession, ViewerPairing},
    },
};
use tokio::{task::block_in_place, time::timeout};

use crate::{
    cli::{Agent, Folder, pinhole, refusal},
    peer::viewer::Viewer,
};

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent, and what its viewers and its owner do by hand.
struct House {
    folder: Folder,
    _agent: Agent,
    link: Link,
}

impl House {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let arguments =
            ["--listen", "127.0.0.1:0", "--camera", "synthetic", "--size", "320x240", "--fps", "5"];
        let (agent, line) = Agent::start(pinhole(&folder, &arguments));
        let (_, fragment) = line.trim_end().split_once('#').expect("a link");
        let link = Link::parse(fragment).expect("a link");
        while UnixStream::connect(folder.0.join("state/control.sock")).is_err() {
            clock::pause(Duration::from_millis(10));
        }
        Self { folder, _agent: agent, link }
    }

    /// `pinhole answer` with an offer as a file: the answer, and what its owner is told.
    fn answer(&self, text: &str) -> (String, String) {
        let offer = self.folder.file("offer.txt", text);
        let Output { status, stdout, stderr } =
            pinhole(&self.folder, &["answer", "--offer", &offer]).output().expect("it runs");
        let told = String::from_utf8(stderr).expect("text");
        assert!(status.success(), "{told}");
        (String::from_utf8(stdout).expect("text"), told)
    }

    fn refuses(&self, text: &str) -> String {
        let offer = self.folder.file("offer.txt", text);
        let said = refusal(&self.folder, &["answer", "--offer", &offer]);
        said.replace(&offer, "FILE")
    }

    fn pair(&self) -> ViewerRecord {
        let mut pairing =
            ViewerPairing::new(self.link.clone(), DeviceNonce::BY_HAND, "Anna").expect("it fits");
        let (text, told) = self.answer(&hand::write(&pairing.request()));
        assert!(told.contains("to Anna") && told.contains("give that to pinhole answer"), "{told}");
        let found = hand::find(&text).expect("two envelopes");
        let record = pairing.finish(&found[0].0).expect("no refusal").expect("a key");
        let session = HandSession::resume(self.link.device, record.clone(), pairing.id());
        let welcome = session.open_welcome(&found[1].0).expect("a welcome");
        assert_eq!((welcome.role, welcome.cameras.len()), (Role::Admin, 1));
        // The same request again gets the same again.
        let (again, _) = self.answer(&hand::write(&pairing.request()));
        assert_eq!(hand::find(&again).expect("one")[0].0, found[0].0);
        record
    }

    fn revoke(&self, name: &str) {
        assert!(pinhole(&self.folder, &["revoke", name]).status().expect("it runs").success());
    }
}

async fn offer(device: DeviceId, record: &ViewerRecord) -> (Viewer, HandSession, String) {
    let peer = Viewer::guarded("127.0.0.1").await;
    let session = HandSession::new(device, record.clone());
    let offer = Offer { camera: String::new(), sdp: peer.offer().await, audio: false, talk: false };
    let text = hand::write(&session.offer(&offer).expect("it fits"));
    (peer, session, text)
}

fn opened(session: &HandSession, text: &str) -> by_hand::Answer {
    session.open(&hand::find(text).expect("an answer")[0].0).expect("to this offer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_and_then_an_offer_by_hand_show_a_picture() {
    let house = House::new("by-hand");
    let record = block_in_place(|| house.pair());
    let (mut peer, session, text) = offer(house.link.device, &record).await;

    // By standard input, as a mail has it, and to a file.
    let file = house.folder.0.join("answer.txt").display().to_string();
    let mail = format!("Hello!\r\n\r\n> {}\r\nAnna\r\n", text.replace('\n', "\r\n> "));
    let told = block_in_place(|| {
        let mut command = pinhole(&house.folder, &["answer", "--out", &file, "--wait", "5m"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("it is piped").write_all(mail.as_bytes()).expect("it reads");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
        assert!(status.success() && stdout.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stderr).expect("text")
    });
    assert!(
        told.contains(&format!("Send the file {file} back to Anna")) && told.contains("5 minutes"),
        "{told}"
    );
    let answer = opened(&session, &fs::read_to_string(&file).expect("it was written"));
    assert_eq!(answer.welcome.expect("what a welcome says").cameras[0].width, 320);
    assert!(answer.sdp.contains("a=candidate:"), "{}", answer.sdp);

    let said = block_in_place(|| house.refuses(&text));
    assert_eq!(said, "this offer was answered already: make a new one on the page");

    peer.take(&answer.sdp).await;
    timeout(PATIENCE, peer.access_units(2)).await.expect("a picture");
    let listed = block_in_place(|| pinhole(&house.folder, &["viewers", "--json"]).output().expect("it runs"));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("a list");
    assert_eq!(listed[0]["watching"], serde_json::json!(["cam0"]), "{listed}");

    block_in_place(|| house.revoke("Anna"));
    let unheard = timeout(PATIENCE, async {
        loop {
            if timeout(Duration::from_secs(1), peer.access_units(1)).await.is_err() {
                break;
            }
        }
    });
    unheard.await.expect("a viewer that is revoked gets no picture");
    let (_, _, text) = offer(house.link.device, &record).await;
    let said = block_in_place(|| house.refuses(&text));
    assert!(said.starts_with("no viewer of this device made this offer: its key was revoked"), "{said}");
    peer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_told_in_one_sentence() {
    let house = House::new("by-hand-refused");
    let record = block_in_place(|| house.pair());
    let (_, session, text) = offer(house.link.device, &record).await;
    let second = ViewerPairing::new(house.link.clone(), DeviceNonce::BY_HAND, "Ben").expect("it fits");
    block_in_place(|| {
        let (answer, _) = house.answer(&text);
        opened(&session, &answer);
        for (text, words) in [
            (
                "Dear Ben,\nI want to watch.\n".to_owned(),
                "FILE holds no offer: nothing in it begins with pinhole1:",
            ),
            (text[..text.len() - 1].to_owned(), "FILE holds no offer: the text is damaged or not whole"),
            (text.replace("pinhole1", "pinhole7"), "FILE holds no offer: it was made by a later pinhole"),
            (answer, "this is an answer of a device, not a viewer's offer"),
            (hand::write(&second.request()), "this link has paired another browser already: pinhole pair"),
        ] {
            let said = house.refuses(&text);
            assert!(said.starts_with(words), "{said}");
        }
        let nowhere = refusal(&house.folder, &["answer", "--offer", "/nowhere/offer.txt"]);
        assert!(nowhere.starts_with("cannot read /nowhere/offer.txt: "), "{nowhere}");
        let output = pinhole(&house.folder, &["answer", "--wait", "2h"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("one minute to one hour"));
        let empty = Folder::new("by-hand-nobody");
        let said = refusal(&empty, &["answer", "--offer", &house.folder.file("offer.txt", &text)]);
        assert!(said.starts_with("no pinhole is running here: "), "{said}");
    });
    // Of another device: nobody here has that key. Of the key of one, but for another device: its seal.
    let elsewhere = DeviceId::parse("aaaaaaaaaaaaaaaa").expect("an id");
    let (_, _, text) = offer(elsewhere, &record).await;
    let said = block_in_place(|| house.refuses(&text));
    assert!(said.starts_with("this offer is damaged, or its seal is forged"), "{said}");
    let sdp = Viewer::guarded("127.0.0.1").await.offer().await;
    let camera = Offer { camera: "garage".into(), sdp, audio: false, talk: false };
    let session = HandSession::new(house.link.device, record);
    let text = hand::write(&session.offer(&camera).expect("it fits"));
    let said = block_in_place(|| house.refuses(&text));
    assert_eq!(said, "there is no such camera on this device");
}
