//! The program itself, given what is wrong: it says the thing, the reason and the remedy in one line, and exits with 1
//! where nothing can be served.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

/// A folder of its own for each test, removed at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pinhole-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its mode");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    pub(crate) fn state(&self) -> String {
        self.0.join("state").display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn pinhole(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.args(["--state", &folder.state(), "--log", "warn"]).args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be a refusal in one line.
pub(crate) fn refusal(folder: &Folder, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        pinhole(folder, arguments).output().expect("the program was built");
    let said = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(stdout.is_empty(), "no link where nothing is served");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "{said}");
    said.strip_prefix("pinhole: ").expect("it says who speaks").trim_end().to_owned()
}

/// A running agent, killed at the end of a test.
pub(crate) struct Agent(Child);

impl Agent {
    /// Waits for the first link.
    pub(crate) fn start(mut command: Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says something");
        (Self(child), line)
    }

    fn stop(&self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill exists").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const QUIET: [&str; 4] = ["--camera", "synthetic", "--listen", "127.0.0.1:0"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    QUIET.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn a_missing_device_is_no_reason_not_to_start_and_is_named_with_what_there_is_instead() {
    let folder = Folder::new("missing");
    let command = pinhole(&folder, &["--camera", "/dev/video97", "--listen", "127.0.0.1:0"]);
    let (mut agent, link) = Agent::start(command);
    assert!(link.starts_with("Watch: "), "{link}");
    let said = BufReader::new(agent.0.stderr.take().expect("it is piped"));
    let line = said.lines().map_while(Result::ok).find(|line| line.contains("no camera at /dev/video97: "));
    assert!(line.is_some_and(|line| line.contains("--camera")));
    agent.stop();
    assert!(agent.0.wait().expect("it was started").success());
}

#[test]
fn a_credential_that_systemd_did_not_give_is_refused_with_the_line_that_is_missing() {
    let folder = Folder::new("credential");
    let config = folder.file(
        "pinhole.toml",
        "[broker]\nurl = \"mqtts://localhost\"\npassword_file = \"credential:broker-password\"\n",
    );
    let said = refusal(&folder, &with(&["--config", &config]));
    assert!(
        said.contains("add LoadCredential=broker-password:/etc/pinhole/broker-password under [Service]"),
        "{said}"
    );
}

#[test]
fn a_size_that_the_camera_cannot_do_is_refused_at_the_start() {
    let folder = Folder::new("size");
    let said = refusal(&folder, &with(&["--size", "64x48"]));
    assert!(said.contains("64x48") && said.contains("160x96 to 1920x1080"), "{said}");
}

#[test]
fn an_encoder_that_is_not_there_or_not_for_this_camera_is_refused_at_the_start() {
    let folder = Folder::new("encoder");
    let said = refusal(&folder, &with(&["--encoder", "m2m"]));
    assert!(said.contains("no H.264 encoder") && said.contains("--encoder auto"), "{said}");
    let said = refusal(&folder, &with(&["--encoder", "passthrough"]));
    assert!(said.contains("passthrough") && said.contains("auto"), "{said}");
}

#[test]
fn a_file_that_is_no_camera_and_one_that_is_no_h264_are_refused() {
    let folder = Folder::new("files");
    let said = refusal(&folder, &["--camera", "/dev/null", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("/dev/null"), "{said}");
    let text = folder.file("notes.txt", "this is no video\n".repeat(100));
    let said = refusal(&folder, &["--camera", &format!("replay:{text}"), "--listen", "127.0.0.1:0"]);
    assert!(said.starts_with(&format!("{text} cannot be played: ")) && said.contains("ffmpeg"), "{said}");
    let said = refusal(&folder, &["--camera", "replay:/nowhere/a.h264", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("/nowhere/a.h264"), "{said}");
}

#[test]
fn a_source_that_means_nothing_is_refused_with_the_forms() {
    let folder = Folder::new("source");
    let said = refusal(&folder, &["--camera", "webcam"]);
    assert!(said.contains("webcam") && said.contains("replay:FILE"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let said = refusal(&folder, &["--camera", "synthetic", "--listen", &address]);
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn two_agents_do_not_share_a_state_folder() {
    let folder = Folder::new("shared");
    let (_first, line) = Agent::start(pinhole(&folder, &QUIET));
    assert!(line.starts_with("Watch: http://127.0.0.1:"), "{line}");
    let said = refusal(&folder, &QUIET);
    assert!(said.contains(&folder.state()), "{said}");
}

#[test]
fn unreadable_and_malformed_key_files_are_named_and_kept() {
    let folder = Folder::new("keys");
    let (agent, _) = Agent::start(pinhole(&folder, &QUIET));
    drop(agent);
    let device = format!("{}/device.json", folder.state());
    let whole = fs::read_to_string(&device).expect("the agent wrote it");
    assert_eq!(fs::metadata(&device).expect("it is there").permissions().mode() & 0o777, 0o600);

    fs::write(&device, &whole[..whole.len() / 2]).expect("cut off");
    let said = refusal(&folder, &QUIET);
    assert!(said.contains(&device) && said.contains("backup"), "{said}");
    assert_eq!(
        fs::read_to_string(&device).expect("still there"),
        whole[..whole.len() / 2],
        "never made anew"
    );

    fs::write(&device, &whole).expect("whole again");
    fs::set_permissions(&device, fs::Permissions::from_mode(0o644)).expect("its mode");
    let said = refusal(&folder, &QUIET);
    assert!(said.contains(&device) && said.contains("chmod"), "{said}");
}

#[test]
fn configuration_files_are_refused_with_line_and_remedy() {
    let folder = Folder::new("config");
    let config = folder.file("pinhole.toml", "name = \"x\"\n[camera]\nfsp = 3\n");
    let said = refusal(&folder, &["--config", &config]);
    assert_eq!(said, format!("{config}, line 3: unknown key `fsp`: did you mean `fps`?"));
    let said = refusal(&folder, &["--config", "/nowhere/pinhole.toml"]);
    assert!(said.contains("/nowhere/pinhole.toml") && said.contains("--config"), "{said}");
}

#[test]
fn a_broker_that_can_never_work_is_refused() {
    let folder = Folder::new("broker");
    for (arguments, words) in [
        (["--broker", "http://b"], "use ws://"),
        (["--broker", "mqtt://user:secret@b"], "password_file"),
        (["--broker-page", "ws://b/mqtt"], "broker.url"),
    ] {
        let said = refusal(&folder, &with(&arguments));
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let certificate = folder.file("ca.pem", "no certificate");
    let config = folder.file("p.toml", format!("[broker]\nurl = \"mqtts://b\"\nca_file = \"{certificate}\""));
    let said = refusal(&folder, &with(&["--config", &config]));
    assert!(said.contains(&certificate) && said.contains("PEM"), "{said}");
}

#[test]
fn a_broker_that_is_down_is_not_fatal_and_sigterm_ends_it_in_order() {
    let folder = Folder::new("down");
    let (mut agent, line) = Agent::start(pinhole(&folder, &with(&["--broker", "mqtt://127.0.0.1:1"])));
    assert!(line.starts_with("Watch: http://127.0.0.1:"), "{line}");
    agent.stop();
    let status = agent.0.wait().expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn a_size_that_is_no_size_is_a_usage_error() {
    let folder = Folder::new("usage");
    let output = pinhole(&folder, &["--size", "big"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("WIDTHxHEIGHT"), "{said}");
}
