//! What systemd is told (sd_notify(3); `Type=notify` in systemd.service(5)): that the agent can serve, what it is doing in
//! one line, and that it moves. One task, `systemd`; where nobody listens (`NOTIFY_SOCKET`) there is none. Not here: the
//! unit (systemd/pinhole.service), and the log's form under the journal (`log`).
//!
//! The watchdog (`WATCHDOG_USEC`) is fed by progress and by nothing else: each camera's thread waits for viewers or has
//! taken a step in time, and the exchange, which carries all signaling, has answered a question.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::{
    clock,
    status::{CameraStatus, Monitor, StateName},
    tasks,
};

/// How often systemd hears of us, at the least.
const PERIOD: Duration = Duration::from_secs(5);

/// The task that speaks to systemd.
#[derive(Debug)]
pub struct Service {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Says that the agent can serve, and goes on saying how it is.
pub fn start(monitor: Monitor) -> Service {
    let stop = CancellationToken::new();
    if !crate::config::systemd_listens() {
        return Service { stop, task: None };
    }
    tell(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled();
    // Three chances within the time.
    let period = watchdog.map_or(PERIOD, |within| (within / 3).min(PERIOD));
    let speaker = Speaker { monitor, feeds: watchdog.is_some() };
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
    monitor: Monitor,
    feeds: bool,
}

impl Speaker {
    async fn run(mut self, period: Duration, stop: CancellationToken) {
        loop {
            if self.feeds {
                match self.monitor.check().await {
                    Ok(()) => tell(&[NotifyState::Watchdog]),
                    Err(trouble) => {
                        error!("{trouble}: the watchdog is not fed, so systemd will restart pinhole");
                    }
                }
            }
            let told = self.monitor.told.borrow_and_update().configuration.clone();
            tell(&[NotifyState::Status(&line(told.as_deref(), &self.monitor.cameras()))]);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = self.monitor.told.changed() => {}
                () = clock::sleep(period) => {}
            }
        }
    }
}

/// That the configuration is read again (`ExecReload=` in systemd.service(5)).
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// That it was, whatever came of it: the line of status says that.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What is to be said of the configuration, and the cameras, as `systemctl status` shows them.
fn line(configuration: Option<&str>, cameras: &[CameraStatus]) -> String {
    let cameras = cameras.iter().map(|camera| format!("{}: {}", camera.id, describe(camera)));
    configuration.map(str::to_owned).into_iter().chain(cameras).collect::<Vec<_>>().join("; ")
}

fn describe(camera: &CameraStatus) -> String {
    let viewers = camera.counters.viewers;
    let people = if viewers == 1 { "1 viewer".to_owned() } else { format!("{viewers} viewers") };
    match (camera.state, &camera.picture) {
        (StateName::Closed, _) => "closed, nobody watches".to_owned(),
        (StateName::Private, _) => "closed for privacy".to_owned(),
        (StateName::Streaming, Some(picture)) => {
            let fps = (picture.frames_per_second * 10.0).round() / 10.0;
            let kilobits = camera.bits_per_second / 1000.0;
            format!("{}x{} at {fps} fps, {people}, {kilobits:.0} kbit/s", picture.width, picture.height)
        }
        (StateName::Opening | StateName::Streaming, _) => format!("opening, {people}"),
        (StateName::NoPicture | StateName::Failed, _) => {
            format!("no picture, {people}: {}", camera.reason.as_deref().unwrap_or("it is not known why"))
        }
    }
}

/// A line for systemd that it cannot take is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd was not told");
    }
}
