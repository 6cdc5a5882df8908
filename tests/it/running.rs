//! The program with a configuration file, watched over from outside while a viewer looks at its pictures.

mod check;
mod metrics;
mod reload;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use pinhole::{
    clock,
    signal::message::{Offer, ToDevice, ToViewer, Welcome},
    signal::viewer::ViewerSession,
};
use tokio::time::timeout;

use crate::{
    peer::viewer::Viewer,
    people::{Paired, mail::PATIENCE},
};

const CAMERA: &str = "[camera]\nsource = \"synthetic\"\nsize = \"320x240\"\nfps = 10\n";

/// A running agent; it and its folder go when the test ends.
struct Agent {
    child: Child,
    folder: PathBuf,
    /// Of its page.
    url: String,
}

impl Agent {
    /// Starts it with these keys, and waits until it serves.
    fn start(name: &str, keys: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pinhole-running-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("pinhole.toml"), format!("{keys}\n{CAMERA}")).unwrap();
        let log = |name: &str| File::create(folder.join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(["--listen", "127.0.0.1:0", "--log", "info", "--config"])
            .arg(folder.join("pinhole.toml"))
            .arg("--state")
            .arg(folder.join("state"))
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("log"))
            .spawn()
            .unwrap();
        let mut agent = Self { child, folder, url: String::new() };
        agent.wait_for("its end comes later", |agent| agent.folder.join("state/control.sock").exists());
        let out = fs::read_to_string(agent.folder.join("out")).unwrap();
        let link = out.lines().find_map(|line| line.strip_prefix("Watch: ")).expect("a link");
        agent.url = link.split_once('#').expect("a fragment").0.trim_end_matches('/').to_owned();
        agent
    }

    /// Until it holds, or the patience is over.
    fn wait_for(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = clock::now() + PATIENCE;
        while !holds(self) {
            assert!(self.child.try_wait().unwrap().is_none(), "it runs: {}", self.log());
            assert!(clock::now() < end, "{what}: {}", self.log());
            clock::pause(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pinhole"))
            .args(arguments)
            .arg("--state")
            .arg(self.folder.join("state"))
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What a command prints that succeeds.
    fn says(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// A page of its server: the status and the body.
    fn get(&self, path: &str, headers: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10", "--write-out", "\n%{http_code}"]);
        headers.iter().for_each(|header| {
            command.args(["--header", header]);
        });
        let output = command.arg(format!("{}{path}", self.url)).output().expect("curl runs");
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').expect("curl's last line");
        (code.parse().unwrap(), body.to_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A paired viewer with its session and its connection.
struct Watcher {
    paired: Paired,
    session: ViewerSession,
    peer: Viewer,
    welcome: Welcome,
}

impl Watcher {
    /// Pairs, and sees the first picture.
    async fn come(agent: &Agent, name: &str) -> Self {
        let said = tokio::task::block_in_place(|| agent.says(&["pair", "--name", name]));
        let link = said.lines().next().and_then(|line| line.strip_prefix("Watch: ")).expect("a link");
        let mut paired = Paired::by(link, name).await;
        let mut session = paired.hello().await;
        let ToViewer::Welcome(welcome) = paired.next(&mut session).await else { panic!("no welcome") };
        let mut peer = Viewer::guarded("127.0.0.1").await;
        let camera = welcome.cameras[0].id.clone();
        let offer = Offer { camera, sdp: peer.offer().await, audio: false, talk: false };
        paired.mail.send(session.seal(&ToDevice::Offer(offer)).unwrap()).await.unwrap();
        paired.see(&mut session, &mut peer).await;
        Self { paired, session, peer, welcome }
    }

    /// So many more pictures.
    async fn sees(&mut self, pictures: usize) {
        timeout(PATIENCE, self.peer.access_units(pictures)).await.expect("pictures");
    }

    async fn leave(mut self) {
        let bye = self.session.seal(&ToDevice::Bye { reason: String::new() }).unwrap();
        self.paired.mail.send(bye).await.unwrap();
        while !matches!(self.paired.next(&mut self.session).await, ToViewer::Bye { .. }) {}
    }
}
