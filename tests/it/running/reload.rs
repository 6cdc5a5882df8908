//! The configuration is read again while a viewer watches.

use std::{
    fs,
    process::{Command, Output},
};

use pinhole::{
    clock,
    signal::message::{ErrorCode, Offer, ToDevice, ToViewer},
};
use tokio::task::block_in_place;

use super::{Agent, CAMERA, Watcher};
use crate::peer::viewer::Viewer;

impl Agent {
    /// Other keys before those of the camera, and more of these.
    fn write(&self, keys: &str, camera: &str) {
        fs::write(self.folder.join("pinhole.toml"), format!("{keys}\n{CAMERA}{camera}")).unwrap();
    }

    fn reload(&self) -> String {
        block_in_place(|| self.says(&["reload"])).trim_end().to_owned()
    }

    /// The one value of a metric.
    fn measure(&self, series: &str) -> f64 {
        let text = block_in_place(|| self.get("/metrics", &[])).1;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("there is no {series}")).trim().parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_taken_up_is_and_who_watches_goes_on_watching() {
    let agent = Agent::start("take", "name = \"Old\"");
    let mut first = Watcher::come(&agent, "Anna").await;
    assert_eq!((first.welcome.name.as_str(), first.welcome.cameras[0].name.as_str()), ("Old", "Old"));
    assert_eq!(block_in_place(|| agent.get("/", &["Host: cam.example.org"])).0, 421);

    agent.write(
        "name = \"New\"\n[web]\nnames = [\"cam.example.org\"]\n[webrtc]\nmax_viewers = 1\n\
         [[webrtc.ice_server]]\nurls = [\"stun:192.0.2.1:3478\"]",
        "name = \"Gate\"\nbitrate = \"400k\"",
    );
    assert_eq!(
        agent.reload(),
        "taken up: name, camera.name, camera.bitrate, web.names, webrtc.max_viewers, webrtc.ice_server"
    );
    first.sees(10).await;
    assert!(agent.measure(r#"pinhole_target_bytes_per_second{camera="cam0"}"#) <= 50_000.0);
    assert_eq!(block_in_place(|| agent.get("/", &["Host: cam.example.org"])).0, 200);
    let mut session = first.paired.hello().await;
    let ToViewer::Welcome(welcome) = first.paired.next(&mut session).await else { panic!("no welcome") };
    assert_eq!((welcome.name.as_str(), welcome.cameras[0].name.as_str()), ("New", "Gate"));
    assert_eq!((welcome.limits.viewers, welcome.ice_servers.len()), (1, 1));
    let status = block_in_place(|| agent.says(&["status"]));
    assert!(status.starts_with("New: pinhole") && status.contains("Gate (cam0)"), "{status}");

    // The place is taken by the one who watches: the next is refused.
    let sdp = Viewer::guarded("127.0.0.1").await.offer().await;
    let offer = Offer { camera: "cam0".to_owned(), sdp, audio: false, talk: false };
    first.paired.mail.send(session.seal(&ToDevice::Offer(offer)).unwrap()).await.unwrap();
    let refused = first.paired.next(&mut session).await;
    assert!(matches!(refused, ToViewer::Error { code: ErrorCode::Busy, .. }), "{refused:?}");

    // A higher rate needs another encoder, and no other session.
    agent.write("name = \"New\"\n[web]\nnames = [\"cam.example.org\"]", "name = \"Gate\"\nbitrate = \"12M\"");
    assert_eq!(agent.reload(), "taken up: camera.bitrate, webrtc.max_viewers, webrtc.ice_server");
    let rises = clock::now() + crate::people::mail::PATIENCE;
    while agent.measure(r#"pinhole_target_bytes_per_second{camera="cam0"}"#) <= 50_000.0 {
        assert!(clock::now() < rises, "the rate does not rise");
        first.sees(1).await;
    }
    first.sees(10).await;
    assert_eq!(agent.measure("pinhole_sessions_begun_total"), 1.0, "it is the same session");
    assert_eq!(agent.reload(), "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_told_by_its_key_until_it_is_taken_back() {
    let agent = Agent::start("wait", "name = \"A\"");
    let mut viewer = Watcher::come(&agent, "Anna").await;
    agent.write("name = \"B\"\n[web]\nwhep = false", "rotate = 90");
    let told = "taken up: name; these need a restart: camera.rotate or flip, web.whep";
    assert_eq!(agent.reload(), told);
    let log = agent.log();
    assert!(log.contains(told), "{log}");
    let status = block_in_place(|| agent.says(&["status"]));
    assert!(status.contains("waiting for a restart: camera.rotate or flip, web.whep"), "{status}");
    assert_eq!(agent.reload(), "these need a restart: camera.rotate or flip, web.whep");
    agent.write("name = \"B\"", "");
    assert_eq!(agent.reload(), "nothing has changed");
    let status = block_in_place(|| agent.says(&["status"]));
    assert!(!status.contains("Configuration"), "{status}");
    viewer.sees(3).await;
    assert_eq!(agent.measure("pinhole_sessions_begun_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_is_told_by_its_line() {
    let mut agent = Agent::start("wrong", "name = \"A\"");
    let mut viewer = Watcher::come(&agent, "Anna").await;
    agent.write("name = \"B\"\nnmae = \"C\"", "");
    let Output { status, stderr, .. } = block_in_place(|| agent.command(&["reload"]));
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && said.contains("nothing has changed: "), "{said}");
    assert!(said.contains("pinhole.toml, line 2: unknown key `nmae`: did you mean `name`?"), "{said}");
    // A control that this camera cannot have is found before the name is changed.
    agent.write("name = \"B\"", "[camera.controls]\nhue = 1");
    let Output { status, stderr, .. } = block_in_place(|| agent.command(&["reload"]));
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && said.contains("controls of camera `cam0`: "), "{said}");
    let shown = block_in_place(|| agent.says(&["status"]));
    assert!(shown.starts_with("A: pinhole") && shown.contains("not taken up: controls of camera"), "{shown}");
    viewer.sees(3).await;

    agent.write("name = \"B\"", "");
    let id = agent.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    block_in_place(|| agent.wait_for("SIGHUP does the same", |agent| agent.log().contains("taken up: name")));
    viewer.sees(3).await;
}
