//! `pinhole check`, the program, against real brokers and servers, beside a running agent and without one.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tokio::task::block_in_place;

use crate::{
    coturn::Turn,
    mqtt_support::{Folder, Mosquitto, free_port},
};

/// What it found, and its exit status.
struct Report {
    findings: Vec<Value>,
    succeeded: bool,
}

impl Report {
    /// With the configuration, which has its own state folder, port and camera.
    fn of(folder: &Folder, config: &str) -> Self {
        let config = format!(
            "state_dir = \"state\"\nweb.listen = \"127.0.0.1:0\"\n{config}\n\
             [[camera]]\nid = \"made\"\nsource = \"synthetic\"\nsize = \"320x240\"\nfps = 10\n"
        );
        let file = folder.write("pinhole.toml", &config);
        let output = block_in_place(|| check(&file, &["--json"]));
        let findings = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("JSON: {}", String::from_utf8_lossy(&output.stderr)));
        Self { findings, succeeded: output.status.success() }
    }

    /// The outcome of a part, and what was said of it with the remedy.
    fn part(&self, part: &str) -> (&str, String) {
        let found = self.findings.iter().find(|found| found["part"] == part);
        let found = found.unwrap_or_else(|| panic!("{part}: {:?}", self.findings));
        let said = format!("{}: {}", found["said"].as_str().unwrap(), found["remedy"].as_str().unwrap_or(""));
        (found["outcome"].as_str().unwrap(), said)
    }
}

fn check(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinhole"))
        .arg("check")
        .arg("--config")
        .arg(config)
        .args(arguments)
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("STATE_DIRECTORY")
        .output()
        .unwrap()
}

fn broker(port: u16, more: &str) -> String {
    format!("[broker]\nurl = \"mqtt://127.0.0.1:{port}\"\npage_url = \"ws://127.0.0.1:{port}\"\n{more}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_has_everything_is_well() {
    let (folder, port) = (Folder::new(), free_port());
    let _broker = Mosquitto::open(port).await;
    let turn = Turn::start(&["--lt-cred-mech", "--user=porch:knock"]).await;
    let servers = format!(
        "[[webrtc.ice_server]]\nurls = [\"{}\"]\n[[webrtc.ice_server]]\nurls = [\"{}\"]\nusername = \"porch\"\ncredential = \"knock\"\n",
        turn.stun_url(),
        turn.url()
    );
    let report = Report::of(&folder, &format!("{}\n{servers}", broker(port, "")));
    for (part, words) in [
        ("configuration", "1 camera, 1 broker"),
        ("agent", "none is running"),
        ("state folder", "is made at the first start"),
        ("clock", "it says 20"),
        ("camera made", "gives 320x240 at"),
        ("encoder made", "frames per second"),
        ("page", "any port"),
        ("broker", "takes and acknowledges messages"),
        ("STUN", "sees this machine as ::1"),
        ("TURN", "relays by"),
    ] {
        let (outcome, said) = report.part(part);
        assert!(outcome == "ok" && said.contains(words), "{part}: {outcome}: {said}");
    }
    assert!(report.succeeded, "{:?}", report.findings);
    assert!(!folder.0.join("state").exists(), "looking makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_its_remedy_and_fails() {
    let (folder, port) = (Folder::new(), free_port());
    let passwords = folder.write("passwords", "");
    let config =
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}", passwords.display());
    let _broker = Mosquitto::start(&config).await;
    folder.write("secret", "hunter2\n");
    let turn = Turn::start(&["--lt-cred-mech", "--user=porch:knock"]).await;
    let servers = format!(
        "[[webrtc.ice_server]]\nurls = [\"{}\"]\nusername = \"porch\"\ncredential = \"swordfish\"\n",
        turn.url()
    );
    let report = Report::of(
        &folder,
        &format!("{}\n{servers}", broker(port, "user = \"a\"\npassword_file = \"secret\"\n")),
    );
    let (outcome, said) = report.part("broker");
    assert!(outcome == "bad" && said.contains("check `user` and `password_file`"), "{said}");
    let (outcome, said) = report.part("TURN");
    assert!(outcome == "bad" && said.contains("check username and credential"), "{said}");
    assert!(!report.succeeded);
    let all = format!("{:?}", report.findings);
    assert!(!all.contains("hunter2") && !all.contains("swordfish"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_is_and_one_that_is_taken_are_told() {
    let (folder, port) = (Folder::new(), free_port());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "web.listen = \"{}\"\nstate_dir = \"state\"\n{}",
        taken.local_addr().unwrap(),
        broker(port, "")
    );
    let file = folder.write("pinhole.toml", &config);
    let output = block_in_place(|| check(&file, &[]));
    let said = String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("another program uses this port -> stop it, or choose another with web.listen"),
        "{said}"
    );
    assert!(said.contains("connection refused by 127.0.0.1:"), "{said}");
    assert!(said.contains("no camera is there: a synthetic picture is shown"), "{said}");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "pinhole: 2 things are bad\n");
}

#[test]
fn a_configuration_that_is_wrong_is_all_that_is_told() {
    let folder = Folder::new();
    let file = folder.write("pinhole.toml", "[web]\nlissten = \"8480\"\n");
    let output = check(&file, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("bad      configuration") && said.contains("lissten"), "{said}");
    assert!(!output.status.success());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told() {
    let folder = Folder::new();
    let state = folder.write("state", "a file");
    let file = folder.write("pinhole.toml", "state_dir = \"state\"\nweb.listen = \"127.0.0.1:0\"\n");
    let output = check(&file, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("state is no folder"), "{}: {said}", state.display());
    assert!(!output.status.success());
}
