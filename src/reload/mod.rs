//! Reads the configuration anew while the agent runs: by SIGHUP (`systemctl reload pinhole`), or by `pinhole reload`. What
//! can be taken up without ending a session is; of the rest is said, by key, that it waits for a restart. A file that is
//! wrong changes nothing. One task, `reload`. Not here: what can be taken up (`plan`).

mod plan;

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::{error, info, warn};

use self::plan::{Change, Plan, RateOf};
use crate::{
    config::{Config, ConfigError},
    peer::{Tuner, ice::IceServers},
    pipeline::CameraHandle,
    status::Told,
    systemd, tasks,
    web::Names,
};

/// Who asks while another is answered waits.
const QUEUE: usize = 4;

/// Reads the configuration as it was read at the start.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// How a change comes about, beside by command.
pub struct Again {
    pub reread: Reread,
    /// SIGHUP; `None` where that ends the agent, as when a terminal closes.
    pub hangup: Option<Signal>,
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Again").field("hangup", &self.hangup).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Keys that had changed and hold now.
    pub applied: Vec<String>,
    /// Keys that have changed and wait for a restart.
    pub restart: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.applied[..], &self.restart[..]) {
            ([], []) => f.write_str("nothing has changed"),
            (applied, []) => write!(f, "taken up: {}", applied.join(", ")),
            ([], restart) => write!(f, "these need a restart: {}", restart.join(", ")),
            (applied, restart) => {
                write!(f, "taken up: {}; these need a restart: {}", applied.join(", "), restart.join(", "))
            }
        }
    }
}

/// A request to do it; the answer is what came of it, or one sentence why nothing was changed.
pub type Ask = oneshot::Sender<Result<Outcome, String>>;

/// The parts that can change while the agent runs.
#[derive(Debug)]
pub struct Parts {
    pub cameras: Vec<CameraHandle>,
    pub peers: Tuner,
    pub names: Names,
    /// What is told of the agent.
    pub told: watch::Sender<Told>,
}

/// Starts the task; it ends with the last sender.
pub fn start(running: Config, again: Again, parts: Parts) -> (mpsc::Sender<Ask>, JoinHandle<()>) {
    let (asks, queue) = mpsc::channel(QUEUE);
    let reloader = Reloader { running, reread: again.reread, parts };
    (asks, tasks::spawn("reload", reloader.run(queue, again.hangup)))
}

struct Reloader {
    /// What the agent runs with.
    running: Config,
    reread: Reread,
    parts: Parts,
}

impl Reloader {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut hangup: Option<Signal>) {
        loop {
            let ask = tokio::select! {
                biased;
                ask = asks.recv() => match ask {
                    Some(ask) => Some(ask),
                    None => break,
                },
                () = hung_up(&mut hangup) => None,
            };
            systemd::reloading();
            let done = tokio::task::block_in_place(|| self.reload());
            self.tell(&done);
            systemd::ready();
            if let Some(ask) = ask {
                let _ = ask.send(done);
            }
        }
    }

    /// Files are read, and devices asked.
    fn reload(&mut self) -> Result<Outcome, String> {
        let new = (self.reread)().map_err(|error| error.to_string())?;
        let rates: Vec<RateOf> = self
            .parts
            .cameras
            .iter()
            .map(|camera| if camera.rate_is_fixed() { RateOf::Source } else { RateOf::Encoder })
            .collect();
        let Plan { changes, applied, restart } = plan::plan(&self.running, &new, &rates);
        let ice = self.check(&changes)?;
        for change in changes {
            self.apply(&change);
            change.note(&mut self.running);
        }
        if let Some(ice) = ice {
            self.parts.peers.set_ice(ice);
        }
        Ok(Outcome { applied, restart })
    }

    /// What can fail is tried before anything is changed.
    fn check(&self, changes: &[Change]) -> Result<Option<IceServers>, String> {
        let mut ice = None;
        for change in changes {
            match change {
                Change::IceServers(sources) => {
                    let started = IceServers::start(sources.clone());
                    ice = Some(started.map_err(|error| format!("webrtc.ice_server: {error}"))?);
                }
                Change::Controls { camera, changed, .. } => {
                    let camera = &self.parts.cameras[*camera];
                    let id = &camera.settings().id;
                    let checked = camera.check_controls(changed);
                    checked.map_err(|error| format!("controls of camera `{id}`: {error}"))?;
                }
                Change::Name(_)
                | Change::MaxViewers(_)
                | Change::WebNames(_)
                | Change::CameraName { .. }
                | Change::Bitrate { .. } => {}
            }
        }
        Ok(ice)
    }

    fn apply(&self, change: &Change) {
        match change {
            Change::Name(name) => {
                self.parts.peers.set_name(name.clone());
                self.parts.told.send_modify(|told| told.name.clone_from(name));
            }
            Change::MaxViewers(max) => self.parts.peers.set_max_viewers(*max as usize),
            // It is there already, and is handed over at the end.
            Change::IceServers(_) => {}
            Change::WebNames(names) => self.parts.names.set(names.clone()),
            Change::CameraName { camera, name } => self.parts.cameras[*camera].rename(name.clone()),
            Change::Bitrate { camera, bitrate } => self.parts.cameras[*camera].set_ceiling(*bitrate),
            Change::Controls { camera, changed, .. } => {
                let camera = &self.parts.cameras[*camera];
                camera.preset_controls(changed);
                // It may have been unplugged meanwhile, or closed for privacy; then they are set when it is opened again.
                if let Err(error) = camera.set_controls(changed) {
                    info!(camera = %camera.settings().id, "controls are set when the camera is opened: {error}");
                }
            }
        }
    }

    /// The log, and the line of status, where it stays until there is nothing left to say.
    fn tell(&self, done: &Result<Outcome, String>) {
        let lasting = match done {
            Ok(outcome) if outcome.restart.is_empty() => {
                info!("the configuration was read again: {outcome}");
                None
            }
            Ok(outcome) => {
                warn!("the configuration was read again: {outcome}");
                Some(format!("changed, and waiting for a restart: {}", outcome.restart.join(", ")))
            }
            Err(reason) => {
                error!("the configuration was not taken up, and nothing has changed: {reason}");
                Some(format!("the configuration was not taken up: {reason}"))
            }
        };
        self.parts.told.send_modify(|told| told.configuration = lasting);
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    let Some(signal) = hangup else { return std::future::pending().await };
    if signal.recv().await.is_none() {
        *hangup = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_told_in_one_line() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        for (applied, restart, line) in [
            (keys(&[]), keys(&[]), "nothing has changed"),
            (keys(&["name"]), keys(&[]), "taken up: name"),
            (
                keys(&[]),
                keys(&["camera.size", "web.listen"]),
                "these need a restart: camera.size, web.listen",
            ),
            (keys(&["name"]), keys(&["camera.fps"]), "taken up: name; these need a restart: camera.fps"),
        ] {
            assert_eq!(Outcome { applied, restart }.to_string(), line);
        }
    }
}
