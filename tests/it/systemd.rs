//! What the program says to systemd (sd_notify(3)), with a socket of the test's in systemd's place.

use std::{
    fs,
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
    fn start(name: &str, watchdog: Duration) -> Self {
        let folder = std::env::temp_dir().join(format!("pinhole-systemd-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(["--camera", "synthetic", "--listen", "127.0.0.1:0", "--state"])
            .arg(folder.join("state"))
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
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
    assert_eq!(service.hear(), ["READY=1"], "first of all, and once the links are there");
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

/// What is left of an agent's standard output when it is ready, where systemd says that `journal` is the journal.
fn output_of_agent(name: &str, journal: impl FnOnce(&fs::File) -> String) -> String {
    let folder = std::env::temp_dir().join(format!("pinhole-journal-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let output = fs::File::create(folder.join("output")).unwrap();
    let agent = Command::new(env!("CARGO_BIN_EXE_pinhole"))
        .args(["--camera", "synthetic", "--listen", "127.0.0.1:0", "--state"])
        .arg(folder.join("state"))
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .env("JOURNAL_STREAM", journal(&output))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let service = Service { folder, socket, agent };
    service.hear_until("READY=1");
    fs::read_to_string(service.folder.join("output")).unwrap()
}

#[test]
fn a_link_is_not_written_into_the_journal() {
    let of_output = |output: &fs::File| {
        let metadata = output.metadata().unwrap();
        format!("{}:{}", metadata.dev(), metadata.ino())
    };
    assert_eq!(output_of_agent("journal", of_output), "");
    // Run by hand from a service's shell, it writes to somewhere else.
    assert!(output_of_agent("elsewhere", |_| "1:1".to_owned()).starts_with("Watch: "));
}
