//! What the running agent is doing, gathered into one value for whoever looks after it: `pinhole status`, systemd's status
//! line, `/metrics`, Home Assistant. Asked for from any task; nothing here runs by itself. Not here: how it is shown.

mod health;
mod host;
pub mod metrics;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

pub use self::{
    health::{Health, Trouble},
    host::Host,
};
use crate::{
    clock,
    config::Switch,
    pipeline::{CameraHandle, CameraState, Histogram, PipelineStats},
    signal::{
        broker::{Broker, Counters},
        exchange::{Command, Report},
        topic::DeviceId,
    },
    web::whep::Answers,
};

/// What the agent's parts do not know of it, and may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What people call the device.
    pub name: String,
    /// What is to be said of the configuration since it was read again: that it is wrong, or what waits for a restart.
    pub configuration: Option<String>,
}

/// The agent, as it can be looked at. A clone looks at the same.
#[derive(Debug, Clone)]
pub struct Monitor {
    /// When the agent was started.
    pub started: Instant,
    pub told: watch::Receiver<Told>,
    pub device: DeviceId,
    /// Where the page's server listens.
    pub page: SocketAddr,
    pub cameras: Arc<[CameraHandle]>,
    pub commands: mpsc::Sender<Command>,
    pub privacy: watch::Receiver<Switch>,
    /// The embedded one.
    pub broker: Option<Arc<Broker>>,
    /// What WHEP clients were answered; `None`: they are not served.
    pub whep: Option<Arc<Answers>>,
}

/// All of it, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// What people call the device.
    pub name: String,
    pub device: String,
    /// What is to be said of the configuration, as that a changed key waits for a restart; else absent.
    pub configuration: Option<String>,
    pub uptime_s: u64,
    /// Where the page's server listens; an unspecified address stands for all that the machine has.
    pub page: SocketAddr,
    /// Whether all cameras are closed by the owner's switch.
    pub privacy: Switch,
    pub cameras: Vec<CameraStatus>,
    pub signaling: Report,
    /// Absent where the embedded broker is turned off.
    pub broker: Option<BrokerStatus>,
    /// Answers to WHEP requests by their HTTP status; absent where there is no WHEP.
    pub whep: Option<BTreeMap<u16, u64>>,
    pub host: Host,
}

/// A camera, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraStatus {
    pub id: String,
    pub name: String,
    /// Where its pictures come from.
    pub source: String,
    pub state: StateName,
    /// Why there is no picture; absent while there is one, or nobody wants it.
    pub reason: Option<String>,
    /// What it gives, while it streams.
    pub picture: Option<Picture>,
    /// What encodes, or did when the camera was open last.
    pub encoder: Option<String>,
    /// Of the stream just now; 0 while there is none.
    pub frames_per_second: f64,
    /// As `frames_per_second`.
    pub bits_per_second: f64,
    /// The rate that is asked of the encoder, as viewers' networks bear it.
    pub target_bits_per_second: u32,
    /// Bits a second that the poorest viewer's connection is estimated to carry; absent without an estimate.
    pub lowest_estimate: Option<u64>,
    /// How far pictures are reduced to spare the processor: 0 not at all, 4 most.
    pub slowed_down: u8,
    /// What viewers are told beside the picture, as that it is slowed down.
    pub notice: Option<String>,
    pub counters: PipelineStats,
    /// How old frames are when they have been encoded, and when they were sent; for machines alone.
    #[serde(skip)]
    pub ages: [Histogram; 2],
}

/// What a camera is doing, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateName {
    /// Nobody watches.
    Closed,
    /// The owner's switch keeps it closed.
    Private,
    Opening,
    Streaming,
    /// It does not work, and is tried again while someone watches.
    NoPicture,
    /// It will not work before the agent is restarted.
    Failed,
}

/// What a camera gives, as its driver settled it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub frames_per_second: f64,
}

/// The embedded broker, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerStatus {
    /// Connected now.
    pub clients: usize,
    pub counters: Counters,
}

impl Monitor {
    /// Everything, now. Takes three seconds at most.
    ///
    /// # Errors
    /// Signaling does not answer, or has ended.
    pub async fn status(&self) -> Result<Status, Trouble> {
        let asked = self.ask(|reply| Command::Report { reply });
        let signaling = timeout(health::PATIENCE, asked).await.ok().flatten().ok_or(Trouble::Signaling)?;
        let told = self.told.borrow().clone();
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: told.name,
            configuration: told.configuration,
            device: self.device.to_string(),
            uptime_s: clock::now().saturating_duration_since(self.started).as_secs(),
            page: self.page,
            privacy: *self.privacy.borrow(),
            cameras: self.cameras(),
            signaling,
            broker: self
                .broker
                .as_ref()
                .map(|broker| BrokerStatus { clients: broker.connected(), counters: broker.counters() }),
            whep: self.whep.as_ref().map(|answers| answers.read()),
            host: Host::read(),
        })
    }

    /// The cameras alone, for which nobody is waited for.
    pub fn cameras(&self) -> Vec<CameraStatus> {
        self.cameras.iter().map(CameraStatus::of).collect()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl CameraStatus {
    fn of(camera: &CameraHandle) -> Self {
        let settings = camera.settings();
        let (state, reason, picture) = match camera.privacy() {
            Switch::On => (StateName::Private, None, None),
            Switch::Off => describe(&camera.state().borrow()),
        };
        let pace =
            if state == StateName::Streaming { camera.pace() } else { crate::pipeline::Pace::default() };
        Self {
            id: settings.id.clone(),
            name: camera.name(),
            source: camera.source(),
            state,
            reason,
            picture,
            encoder: camera.encoder().map(|encoder| encoder.name),
            frames_per_second: pace.frames_per_second,
            bits_per_second: pace.bits_per_second,
            target_bits_per_second: camera.target().0,
            lowest_estimate: camera.lowest_estimate(),
            slowed_down: camera.slowed_down(),
            notice: camera.notice().borrow().as_ref().map(|notice| notice.message.clone()),
            counters: camera.stats(),
            ages: camera.ages(),
        }
    }
}

fn describe(state: &CameraState) -> (StateName, Option<String>, Option<Picture>) {
    match state {
        CameraState::Idle => (StateName::Closed, None, None),
        CameraState::Opening => (StateName::Opening, None, None),
        CameraState::Streaming { format, .. } => {
            let picture = Picture {
                width: format.width,
                height: format.height,
                frames_per_second: format.rate.per_second(),
            };
            (StateName::Streaming, None, Some(picture))
        }
        CameraState::NoPicture { reason, .. } => (StateName::NoPicture, Some(reason.clone()), None),
        CameraState::Failed { reason } => (StateName::Failed, Some(reason.clone()), None),
    }
}
