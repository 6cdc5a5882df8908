//! mosquitto, the broker and its two clients, as processes of a test.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use pinhole::tasks;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::Notify,
    time::timeout,
};

use crate::broker_support::PATIENCE;

const REMEDY: &str = "mosquitto and its clients are needed: apt-get install mosquitto mosquitto-clients";

/// A directory of its own for one test, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pinhole-it-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What this thread logs.
#[derive(Clone, Default)]
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    written: Arc<Notify>,
}

impl Log {
    /// Until the guard is dropped. A test on one thread runs all of its tasks there.
    pub fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// Waits until that was said.
    pub async fn until(&self, said: &str) {
        let heard = async {
            while !self.text().contains(said) {
                self.written.notified().await;
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("`{said}` in time: {}", self.text()));
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        self.written.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A port that was free a moment ago; for a program that cannot be told to choose one.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running mosquitto, killed when dropped.
pub struct Mosquitto {
    child: Child,
    _folder: Folder,
}

impl Mosquitto {
    /// Starts it with that configuration, and waits until it runs.
    pub async fn start(config: &str) -> Self {
        let folder = Folder::new();
        // Started by root it would become another user, who cannot read the test's files.
        let file = folder.write("mosquitto.conf", &format!("user root\n{config}\n"));
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let mut child = Command::new(program.unwrap_or("mosquitto"))
            .arg("-v")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect(REMEDY);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("mosquitto starts in time").unwrap();
            let line = line.unwrap_or_else(|| panic!("mosquitto does not start: {said}"));
            said.push_str(&line);
            said.push('\n');
            if line.ends_with(" running") {
                break;
            }
        }
        // Its pipe must not fill.
        tasks::spawn("mosquitto's log", async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, _folder: folder }
    }

    /// One that lets everybody do everything on that port.
    pub async fn open(port: u16) -> Self {
        Self::start(&format!("listener {port} 127.0.0.1\nallow_anonymous true")).await
    }

    /// Makes it read certificates, passwords and rules again.
    pub fn reload(&self) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args(["-HUP", &id]).status();
        assert!(sent.expect("kill exists").success());
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn client(program: &str, at: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs `mosquitto_pub` to its end.
pub async fn publish_with_mosquitto(at: SocketAddr, arguments: &[&str]) -> Output {
    let command = client("mosquitto_pub", at, arguments).output();
    timeout(PATIENCE, command).await.expect("mosquitto_pub ends").expect(REMEDY)
}

/// A running `mosquitto_sub`, killed when dropped.
pub struct Subscriber {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Subscriber {
    /// The next message.
    pub async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a message in time").unwrap();
        line.expect("mosquitto_sub goes on")
    }

    /// What it says on standard error until it ends.
    pub async fn complaint(mut self) -> String {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("taken once");
        timeout(PATIENCE, stderr.read_to_string(&mut said)).await.expect("mosquitto_sub ends").unwrap();
        said
    }
}

/// Starts `mosquitto_sub`.
pub fn subscribe_with_mosquitto(at: SocketAddr, arguments: &[&str]) -> Subscriber {
    let mut child = client("mosquitto_sub", at, arguments).spawn().expect(REMEDY);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Subscriber { child, lines }
}
