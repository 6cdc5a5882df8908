//! What systemd is told (sd_notify(3); `Type=notify` in systemd.service(5)): that the agent can serve, what it is doing in
//! one line, and that it moves. One task, `systemd`; where nobody listens (`NOTIFY_SOCKET`) there is none. Not here: the
//! unit (systemd/pinhole.service), and the log's form under the journal (`log`).
//!
//! The watchdog (`WATCHDOG_USEC`) is fed by progress and by nothing else: each camera's thread waits for viewers or has
//! taken a step in time, and the exchange, which carries all signaling, has answered a question.

use std::{fmt::Write, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::{
    clock,
    pipeline::{CameraHandle, CameraState},
    signal::exchange::Command,
    tasks,
};

/// How often systemd hears of us, at the least.
const PERIOD: Duration = Duration::from_secs(5);
/// The exchange answers within microseconds; while it writes to a slow SD card it may take a second or two.
const PATIENCE: Duration = Duration::from_secs(3);

/// The task that speaks to systemd.
#[derive(Debug)]
pub struct Service {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Says that the agent can serve, and goes on saying how it is.
pub fn start(cameras: Vec<CameraHandle>, commands: mpsc::Sender<Command>) -> Service {
    let stop = CancellationToken::new();
    if !crate::config::systemd_listens() {
        return Service { stop, task: None };
    }
    tell(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled();
    // Three chances within the time.
    let period = watchdog.map_or(PERIOD, |within| (within / 3).min(PERIOD));
    let speaker = Speaker { cameras, commands, feeds: watchdog.is_some(), last: Vec::new() };
    let task = tasks::spawn("systemd", speaker.run(period, stop.clone()));
    Service { stop, task: Some(task) }
}

impl Service {
    /// Says that the agent is stopping.
    pub async fn stopping(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
            tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        }
    }
}

struct Speaker {
    cameras: Vec<CameraHandle>,
    commands: mpsc::Sender<Command>,
    feeds: bool,
    /// Bytes that each camera had encoded a period ago.
    last: Vec<u64>,
}

impl Speaker {
    async fn run(mut self, period: Duration, stop: CancellationToken) {
        loop {
            if self.feeds {
                match self.trouble().await {
                    None => tell(&[NotifyState::Watchdog]),
                    Some(trouble) => {
                        error!("{trouble}: the watchdog is not fed, so systemd will restart pinhole")
                    }
                }
            }
            tell(&[NotifyState::Status(&self.status(period))]);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = clock::sleep(period) => {}
            }
        }
    }

    /// What does not move, in words.
    async fn trouble(&self) -> Option<String> {
        let now = clock::now();
        if let Some(camera) = self.cameras.iter().find(|camera| camera.is_stuck(now)) {
            return Some(format!("the thread of camera `{}` hangs", camera.settings().id));
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(Command::Viewers { reply }).await.ok()?;
            answer.await.ok()
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some(_)) => None,
            Ok(None) | Err(_) => Some("signaling does not answer".to_owned()),
        }
    }

    fn status(&mut self, period: Duration) -> String {
        let now: Vec<(String, CameraState, u64, u64)> = self
            .cameras
            .iter()
            .map(|camera| {
                let stats = camera.stats();
                let state = camera.state().borrow().clone();
                (camera.settings().id.clone(), state, stats.viewers, stats.bytes)
            })
            .collect();
        let before = std::mem::replace(&mut self.last, now.iter().map(|(.., bytes)| *bytes).collect());
        let mut line = String::new();
        for (index, (id, state, viewers, bytes)) in now.iter().enumerate() {
            let new = bytes.saturating_sub(before.get(index).copied().unwrap_or(*bytes));
            let separator = if index == 0 { "" } else { "; " };
            let kilobits = new as f64 * 8.0 / 1000.0 / period.as_secs_f64();
            let what = describe(state, *viewers, kilobits);
            write!(line, "{separator}{id}: {what}").expect("a string takes all");
        }
        line
    }
}

/// One camera, as `systemctl status` shows it. `kilobits`: made each second.
fn describe(state: &CameraState, viewers: u64, kilobits: f64) -> String {
    let people = if viewers == 1 { "1 viewer".to_owned() } else { format!("{viewers} viewers") };
    match state {
        CameraState::Idle => "closed, nobody watches".to_owned(),
        CameraState::Opening => format!("opening, {people}"),
        CameraState::Streaming { format, .. } => {
            let fps = (format.rate.per_second() * 10.0).round() / 10.0;
            let (width, height) = (format.width, format.height);
            format!("{width}x{height} at {fps} fps, {people}, {kilobits:.0} kbit/s")
        }
        CameraState::NoPicture { reason, .. } | CameraState::Failed { reason } => {
            format!("no picture, {people}: {reason}")
        }
    }
}

/// A line for systemd that it cannot take is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd was not told");
    }
}
