//! `pinhole devices`, `controls` and `snapshot` where no camera is plugged in: what they say, and their exit codes.

use std::{fs, io::Write, os::unix::net::UnixStream, process::Output};

use pinhole::encode::jpeg::JpegDecoder;

use crate::cli::{Agent, Folder, pinhole, refusal};

const SYNTHETIC: [&str; 4] = ["--camera", "synthetic", "--size", "320x240"];

/// Runs it to its end, which must be a success without a word on standard error.
fn says(folder: &Folder, arguments: &[&str]) -> Vec<u8> {
    let Output { status, stdout, stderr } = pinhole(folder, arguments).output().expect("it runs");
    assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    stdout
}

/// Runs it to its end, which must be that its arguments are wrong.
fn usage_error(folder: &Folder, arguments: &[&str]) -> String {
    let output = pinhole(folder, arguments).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).expect("text")
}

/// An agent that takes commands.
fn agent(folder: &Folder, camera: &[&str]) -> Agent {
    let (agent, _) = Agent::start(pinhole(folder, &[&["--listen", "127.0.0.1:0"], camera].concat()));
    while UnixStream::connect(folder.0.join("state/control.sock")).is_err() {
        pinhole::clock::pause(std::time::Duration::from_millis(10));
    }
    agent
}

/// The decoder knows the size that it must have, and refuses others.
fn assert_is_picture(jpeg: &[u8], (width, height): (u32, u32)) {
    let mut decoder = JpegDecoder::new().expect("memory");
    let picture = decoder.decode(jpeg, width, height).unwrap_or_else(|error| panic!("{error}"));
    let (least, most) = (picture.y.iter().min(), picture.y.iter().max());
    assert!(most > least, "the synthetic picture is not of one colour");
}

#[test]
fn devices_are_listed_where_there_are_none() {
    let folder = Folder::new("devices");
    let text = String::from_utf8(says(&folder, &["devices"])).expect("text");
    assert!(text.starts_with("Cameras\n  ") && text.contains("\nEncoders\n"), "{text}");
    assert!(text.contains("OpenH264: in software"), "{text}");
    let list: serde_json::Value =
        serde_json::from_slice(&says(&folder, &["devices", "--json"])).expect("JSON");
    assert!(list["cameras"].is_array() && list["encoders"][0]["name"].is_string(), "{list}");
}

#[test]
fn the_devices_key_is_made_when_it_is_first_asked_for() {
    let folder = Folder::new("device-key");
    let _agent = agent(&folder, &SYNTHETIC);
    let file = folder.0.join("state/login.json");
    assert!(!file.exists(), "nobody has asked for it");
    let key = says(&folder, &["device-key"]);
    assert!(file.exists() && key.len() > 16 && key.contains(&b':'), "{}", String::from_utf8_lossy(&key));
    assert_eq!(says(&folder, &["device-key"]), key, "and stays what it is");
    fs::write(&file, "{}").expect("a file");
    let broken = refusal(&folder, &["device-key"]);
    assert!(broken.contains("login.json") && !broken.contains("panicked"), "{broken}");
}

#[test]
fn controls_of_what_is_no_camera_are_refused() {
    let folder = Folder::new("controls");
    let missing = refusal(&folder, &["controls", "/dev/video97"]);
    assert_eq!(missing, "no camera at /dev/video97: plug it in, or see pinhole devices");
    let null = refusal(&folder, &["controls", "/dev/null", "gain=1"]);
    assert_eq!(null, "/dev/null has no controls: it is not a video device");
    let unknown = refusal(&folder, &["controls", "Unheard of"]);
    assert!(unknown.starts_with("no camera is called `Unheard of`"), "{unknown}");
    let setting = usage_error(&folder, &["controls", "/dev/null", "=1"]);
    assert!(setting.contains("NAME=VALUE"), "{setting}");
    usage_error(&folder, &["controls"]);
}

#[test]
fn controls_of_an_agents_camera_without_any_are_refused_by_it() {
    let folder = Folder::new("agent-controls");
    let _agent = agent(&folder, &SYNTHETIC);
    let none = refusal(&folder, &["controls", "cam0"]);
    assert_eq!(none, "synthetic has no controls: it is not a video device");
    let other = refusal(&folder, &["controls", "cam1"]);
    assert!(
        other.starts_with("the agent has no camera `cam1`: it has cam0; no camera is called `cam1`"),
        "{other}"
    );
}

#[test]
fn controls_in_the_configuration_need_a_camera_that_can_have_some() {
    let folder = Folder::new("config-controls");
    let config = folder.file("p.toml", "[camera]\nsource = \"synthetic\"\n[camera.controls]\ngain = 1\n");
    let said = refusal(&folder, &["--config", &config, "--listen", "127.0.0.1:0"]);
    assert!(
        said.starts_with("controls of camera `cam0`: synthetic has none: remove [camera.controls]"),
        "{said}"
    );
}

#[test]
fn a_snapshot_is_taken_with_and_without_an_agent() {
    let folder = Folder::new("snapshot");
    let file = folder.0.join("a.jpg");
    let path = file.display().to_string();
    says(&folder, &["snapshot", "--camera", "synthetic", "--out", &path]);
    assert_is_picture(&fs::read(&file).expect("it was written"), (1280, 720));
    {
        let _agent = agent(&folder, &SYNTHETIC);
        says(&folder, &["snapshot", "--out", &path]);
        assert_is_picture(&fs::read(&file).expect("it was replaced"), (320, 240));
        assert_is_picture(&says(&folder, &["snapshot", "--camera", "cam0", "--out", "-"]), (320, 240));
    }
    let files = fs::read_dir(&folder.0).expect("the folder").flatten();
    let names: Vec<_> = files.map(|entry| entry.file_name()).filter(|name| *name != *"state").collect();
    assert_eq!(names, ["a.jpg"], "nothing is left beside it");
}

#[test]
fn a_snapshot_of_h264_is_decoded_by_the_agent_too() {
    let folder = Folder::new("snapshot-h264");
    let replay =
        concat!("replay:", env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/h264/bars-160x120-25fps.h264");
    let jpeg = says(&folder, &["snapshot", "--camera", replay, "--out", "-"]);
    assert_is_picture(&jpeg, (160, 120));
    let _agent = agent(&folder, &["--camera", replay]);
    assert_is_picture(&says(&folder, &["snapshot", "--out", "-"]), (160, 120));
}

#[test]
fn a_snapshot_that_cannot_be_taken_or_written_is_refused() {
    let folder = Folder::new("no-snapshot");
    let path = folder.0.join("a.jpg").display().to_string();
    let missing = refusal(&folder, &["snapshot", "--camera", "/dev/video97", "--out", &path]);
    assert!(missing.starts_with("no camera at /dev/video97: "), "{missing}");
    let here = folder.0.display().to_string();
    let no_file = refusal(&folder, &["snapshot", "--camera", "synthetic", "--out", &here]);
    assert_eq!(no_file, format!("{here} is no file: give --out another name"));
    let nowhere = refusal(&folder, &["snapshot", "--camera", "synthetic", "--out", "/nowhere/a.jpg"]);
    assert!(nowhere.starts_with("cannot write /nowhere/a.jpg: "), "{nowhere}");
    let quality = usage_error(&folder, &["snapshot", "--out", &path, "--quality", "0"]);
    assert!(quality.contains("1..=100"), "{quality}");
    assert!(!fs::exists(&path).expect("the folder is there"));
}

#[test]
fn a_request_of_another_version_is_answered_in_words() {
    let folder = Folder::new("version");
    let _agent = agent(&folder, &SYNTHETIC);
    let mut stream = UnixStream::connect(folder.0.join("state/control.sock")).expect("it listens");
    stream.write_all(b"{\"do\":\"snapshot\",\"camera\":1}\n").expect("it reads");
    let reply = std::io::read_to_string(stream).expect("it answers");
    assert!(reply.starts_with("{\"error\":") && reply.contains("another version"), "{reply}");
}

#[test]
fn a_token_is_printed_once_with_the_addresses_it_is_good_for() {
    let folder = Folder::new("whep");
    let _agent = agent(&folder, &SYNTHETIC);
    let printed = String::from_utf8(says(&folder, &["pair", "--whep", "--name", "Recorder"])).expect("text");
    let lines: Vec<&str> = printed.lines().collect();
    let [url, token] = lines[..] else { panic!("two lines: {printed}") };
    assert!(url.starts_with("URL: http://127.0.0.1:") && url.ends_with("/whep/cam0"), "{url}");
    let token = token.strip_prefix("Token: ").expect("a token");
    assert!(token.starts_with("pinhole_whep_"));
    let viewers = String::from_utf8(says(&folder, &["viewers"])).expect("text");
    assert!(viewers.contains("Recorder") && viewers.contains("whep"), "{viewers}");
    let json = String::from_utf8(says(&folder, &["viewers", "--json"])).expect("text");
    assert!(json.contains("\"whep\": true") && !json.contains(token), "{json}");
    let revoked = String::from_utf8(says(&folder, &["revoke", "Recorder"])).expect("text");
    assert!(revoked.contains("is revoked"), "{revoked}");
    let nameless = usage_error(&folder, &["pair", "--whep"]);
    assert!(nameless.contains("--name"), "{nameless}");
}

#[test]
fn no_token_is_made_where_whep_is_turned_off() {
    let folder = Folder::new("no-whep");
    let config = folder.0.join("pinhole.toml");
    fs::write(&config, "[web]\nwhep = false\n").expect("a file");
    let config = config.to_str().expect("text");
    let _agent = agent(&folder, &[&SYNTHETIC[..], &["--config", config]].concat());
    let refused = refusal(&folder, &["pair", "--whep", "--name", "Recorder"]);
    assert!(refused.contains("WHEP is turned off"), "{refused}");
}
