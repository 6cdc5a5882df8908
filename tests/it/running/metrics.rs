//! `/metrics` and `/healthz` of the program itself.

use std::{fs, process::Command};

use tokio::task::block_in_place;

use super::{Agent, Watcher};

/// The value of the one series that begins so.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
    let line = line.unwrap_or_else(|| panic!("there is no {series} in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_a_viewer_from_its_offer_to_its_end() {
    let agent = Agent::start("metrics", "");
    let metrics = || block_in_place(|| agent.get("/metrics", &[]));
    let (code, before) = metrics();
    assert_eq!(code, 200);
    assert_eq!(value(&before, "pinhole_sessions_begun_total"), 0.0);
    assert_eq!(value(&before, r#"pinhole_camera_state{camera="cam0",state="closed"}"#), 1.0);
    assert_eq!(value(&before, r#"pinhole_carrier_up{carrier="embedded broker"}"#), 1.0);

    let mut viewer = Watcher::come(&agent, "Kitchen").await;
    assert_eq!(viewer.welcome.cameras[0].id, "cam0");
    viewer.sees(10).await;
    let (_, during) = metrics();
    assert_eq!(value(&during, r#"pinhole_viewers{camera="cam0"}"#), 1.0);
    assert_eq!(value(&during, r#"pinhole_camera_state{camera="cam0",state="streaming"}"#), 1.0);
    assert_eq!(value(&during, "pinhole_sessions_begun_total"), 1.0);
    assert_eq!(value(&during, "pinhole_sessions_connected_total"), 1.0);
    assert!(value(&during, r#"pinhole_key_frames_total{camera="cam0"}"#) >= 1.0);
    assert!(value(&during, r#"pinhole_encoded_bytes_total{camera="cam0"}"#) > 1000.0);
    assert!(value(&during, "pinhole_envelopes_delivered_total") >= 2.0);
    let encoded = value(&during, r#"pinhole_frame_encoded_seconds_count{camera="cam0"}"#);
    let sent = value(&during, r#"pinhole_frame_sent_seconds_count{camera="cam0"}"#);
    assert!(sent >= 10.0 && encoded >= sent, "{encoded} encoded, {sent} sent");
    assert!(!during.contains("Kitchen"), "{during}");

    viewer.leave().await;
    // Its task has told the viewer before it is counted as gone.
    let mut after = metrics().1;
    while value(&after, "pinhole_sessions_unfinished") > 0.0 || !after.contains(r#"{reason="left"} 1"#) {
        after = metrics().1;
    }
    assert_eq!(value(&after, r#"pinhole_sessions_ended_total{reason="left"}"#), 1.0);
}

#[test]
fn metrics_are_for_this_machine_and_for_who_has_the_token() {
    let agent = Agent::start("token", "");
    assert_eq!(agent.get("/metrics", &["X-Forwarded-For: 192.0.2.1"]).0, 404, "by a proxy");
    assert_eq!(agent.get("/metrics", &["Host: evil.test"]).0, 421, "a foreign name");
    drop(agent);

    let token = "0123456789abcdefghij";
    let file = std::env::temp_dir().join(format!("pinhole-metrics-token-{}", std::process::id()));
    fs::write(&file, format!("{token}\n")).unwrap();
    let keys = format!("[web]\nmetrics = \"off\"\nmetrics_token_file = \"{}\"", file.display());
    let agent = Agent::start("token", &keys);
    fs::remove_file(file).unwrap();
    assert_eq!(agent.get("/metrics", &[]).0, 401);
    assert_eq!(agent.get("/metrics", &["Authorization: Bearer 0123456789abcdefghi"]).0, 401);
    let (code, text) = agent.get("/metrics", &[&format!("Authorization: Bearer {token}")]);
    assert_eq!(code, 200);
    assert!(value(&text, "pinhole_uptime_seconds") >= 0.0 && !text.contains(token));
    assert!(!agent.log().contains(token));
}

#[test]
fn health_is_the_watchdogs_judgement() {
    let agent = Agent::start("health", "");
    assert_eq!(agent.get("/healthz", &["Host: whatever.example"]), (200, "ok\n".to_owned()));
    // A program with more to do than it can is not ill: many ask at once, and all are told.
    let urls = format!("{}/healthz?[1-100]", agent.url);
    let output = Command::new("curl")
        .args(["--silent", "--parallel", "--max-time", "20", "--write-out", "%{http_code}\n", &urls])
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| *line == "ok").count(), 100, "{text}");
}
