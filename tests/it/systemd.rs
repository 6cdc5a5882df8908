//! What the program says to systemd (sd_notify(3)), with a socket of the test's in systemd's place.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The service manager's socket, and the agent that speaks to it. Both are gone with the test.
struct Service {
    folder: PathBuf,
    socket: UnixDatagram,
    agent: Child,
}

impl Service {
    /// Its output and its log go into a file, which stands for the journal.
    fn start(name: &str, watchdog: Duration) -> Self {
        let folder = std::env::temp_dir().join(format!("pinhole-systemd-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.join("pinhole.toml"), "").unwrap();
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let journal = File::create(folder.join("journal")).unwrap();
        let metadata = journal.metadata().unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(["--camera", "synthetic", "--listen", "127.0.0.1:0", "--state"])
            .arg(folder.join("state"))
            .arg("--config")
            .arg(folder.join("pinhole.toml"))
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()))
            .stdin(Stdio::null())
            .stdout(journal.try_clone().unwrap())
            .stderr(journal)
            .spawn()
            .unwrap();
        Self { folder, socket, agent }
    }

    /// The next message, its lines.
    fn hear(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("it goes on speaking");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }

    /// Everything up to a message with this line.
    fn hear_until(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.iter().any(|heard| heard == line) {
            heard.extend(self.hear());
            assert!(heard.len() < 1000, "{line} is not among {heard:?}");
        }
        heard
    }

    /// What a command answers: whether it succeeded, and what it said on standard error.
    fn command(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(arguments)
            .arg("--state")
            .arg(self.folder.join("state"))
            .env_remove("RUNTIME_DIRECTORY")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.folder.join("journal")).unwrap()
    }

    fn kill(&self, signal: &str) {
        let id = self.agent.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn it_says_ready_then_feeds_the_watchdog_with_a_status_and_says_when_it_stops() {
    let mut service = Service::start("whole", Duration::from_millis(300));
    assert_eq!(service.hear(), ["READY=1"], "first of all");
    let heard = service.hear_until("STATUS=cam0: closed, nobody watches");
    assert_eq!(heard.iter().filter(|line| *line == "WATCHDOG=1").count(), 1, "{heard:?}");
    for _ in 0..3 {
        service.hear_until("WATCHDOG=1");
    }
    service.kill("-TERM");
    let heard = service.hear_until("STOPPING=1");
    assert!(!heard.contains(&"READY=1".to_owned()), "{heard:?}");
    assert!(service.agent.wait().unwrap().success());
}

#[test]
fn it_says_that_it_reloads_and_what_came_of_it() {
    let service = Service::start("reload", Duration::from_secs(10));
    service.hear_until("READY=1");
    for (file, status) in [
        (
            "[web]\nwhep = false\n",
            "changed, and waiting for a restart: web.whep; cam0: closed, nobody watches",
        ),
        ("[web]\nwhpe = false\n", "the configuration was not taken up: "),
        ("", "cam0: closed, nobody watches"),
    ] {
        fs::write(service.folder.join("pinhole.toml"), file).unwrap();
        service.kill("-HUP");
        let heard = service.hear_until("RELOADING=1");
        let mut heard = heard[heard.iter().position(|line| line == "RELOADING=1").unwrap()..].to_vec();
        let says = |heard: &[String]| {
            heard.iter().any(|line| line == "READY=1")
                && heard
                    .iter()
                    .any(|line| line.strip_prefix("STATUS=").is_some_and(|l| l.starts_with(status)))
        };
        while !says(&heard) {
            heard.extend(service.hear());
            assert!(heard.len() < 1000, "{status}: {heard:?}");
        }
        assert!(heard[1].starts_with("MONOTONIC_USEC="), "with it, as systemd wants: {heard:?}");
    }
}

#[test]
fn links_which_are_secrets_do_not_get_into_the_journal() {
    let service = Service::start("links", Duration::from_secs(10));
    service.hear_until("READY=1");
    let journal = service.journal();
    assert!(journal.contains("`sudo pinhole pair` prints a link"), "{journal}");
    assert!(!journal.contains('#') && !journal.contains("Watch:"), "{journal}");
}

#[test]
fn the_level_of_the_log_is_changed_while_it_runs() {
    let service = Service::start("level", Duration::from_millis(300));
    service.hear_until("WATCHDOG=1");
    assert_eq!(service.command(&["log-level", "error"]), (true, String::new()));
    assert_eq!(service.command(&["log-level", "info"]), (true, String::new()));
    let journal = service.journal();
    assert!(journal.contains("filter=info") || journal.contains(r#"filter="info""#), "{journal}");
    assert!(!journal.contains("filter=error") && !journal.contains(r#"filter="error""#), "{journal}");
    let (succeeded, said) = service.command(&["log-level", "loud"]);
    assert!(
        !succeeded && said.contains("`loud` does not fit") && said.contains("info,pinhole::signal=debug"),
        "{said}"
    );
}
