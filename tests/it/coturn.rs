//! A real TURN server, coturn, for tests. Not here: what is relayed.

use std::{
    net::{Ipv6Addr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pinhole::clock;

/// For what must happen; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A TURN server on loopback, ended with the test.
pub struct Turn {
    server: Child,
    port: u16,
    /// coturn's database of users, which stays empty.
    users: PathBuf,
}

impl Turn {
    /// `auth` says who may use it.
    pub async fn start(auth: &[&str]) -> Self {
        Self::run(|_| {
            auth.iter()
                .map(|one| (*one).to_owned())
                .chain(["-n".to_owned(), "--realm=test".to_owned(), "--no-cli".to_owned()])
                .collect()
        })
        .await
    }

    /// With this configuration file, whose port another takes the place of.
    pub async fn configured(text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("pinhole-turn-{}.conf", std::process::id()));
        let turn = Self::run(|port| {
            let text = text.replace("listening-port=3478", &format!("listening-port={port}"));
            assert!(
                text.contains(&format!("listening-port={port}")),
                "the file says at which port it listens"
            );
            std::fs::write(&file, text).unwrap();
            vec!["-c".to_owned(), file.display().to_string()]
        });
        let turn = turn.await;
        std::fs::remove_file(&file).unwrap();
        turn
    }

    async fn run(options: impl FnOnce(u16) -> Vec<String>) -> Self {
        let port = {
            let free = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
            free.local_addr().unwrap().port()
        };
        let users = std::env::temp_dir().join(format!("pinhole-turn-{}-{port}", std::process::id()));
        let server = Command::new("turnserver")
            .args(options(port))
            .arg(format!("--listening-port={port}"))
            .args(["--listening-ip=::1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"])
            .args(["--no-tls", "--no-dtls", "--no-tcp"])
            .args(["--log-file=stdout", "--pidfile=/dev/null"])
            // It makes one, and with no place for it forgets the secret, too.
            .arg(format!("--userdb={}", users.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver runs (Debian: the package coturn)");
        let turn = Self { server, port, users };
        tokio::time::timeout(PATIENCE, turn.wait_until_up()).await.expect("the TURN server is up in time");
        turn
    }

    /// By UDP, for the device.
    pub fn url(&self) -> String {
        format!("turn:[::1]:{}?transport=udp", self.port)
    }

    /// By UDP, as a STUN server.
    pub fn stun_url(&self) -> String {
        format!("stun:[::1]:{}", self.port)
    }

    async fn wait_until_up(&self) {
        let socket = tokio::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        let binding_request = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        loop {
            let _ = socket.send_to(&binding_request, (Ipv6Addr::LOCALHOST, self.port)).await;
            let mut response = [0; 1500];
            let heard =
                tokio::time::timeout(Duration::from_millis(100), socket.recv_from(&mut response)).await;
            if matches!(heard, Ok(Ok(_))) {
                return;
            }
            clock::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_file(&self.users);
    }
}
