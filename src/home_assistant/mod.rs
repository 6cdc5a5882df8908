//! Home Assistant, by its MQTT discovery: the device with its cameras stands there by itself, with values, pictures and
//! switches. Off unless `[home_assistant]` names a broker, which is trusted with pictures and commands, unlike those of
//! signaling (docs/security.md). `discovery`, `values` and `command` are pure; one task, here, does what they say. Not
//! here: MQTT (`signal::mqtt::plain`).

mod command;
mod discovery;
mod values;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    command::Command,
    discovery::{Camera, Device, Topics, Wanted},
};
use crate::{
    camera::controls::{Control, Setting},
    clock,
    config::{self, HomeAssistantConfig, Switch},
    pipeline::{CameraHandle, CameraState, StillError},
    privacy::Privacy,
    signal::{
        Address,
        mqtt::plain::{self, Kept, Message, Plain, PlainEvent, Purpose},
    },
    status::Monitor,
    tasks,
};

/// How often values are looked at; what has not changed is not told.
const LOOK: Duration = Duration::from_secs(10);
/// Bytes of a picture at most.
const LARGEST: usize = 2 << 20;
/// To end: a driver that hangs shall not hold up the agent's end.
const ENDING: Duration = Duration::from_secs(2);
/// Of pictures: good enough to see who is there.
const QUALITY: u8 = 70;

/// What Home Assistant sees and reaches.
#[derive(Debug)]
pub struct Reach {
    pub monitor: Monitor,
    pub privacy: Privacy,
    /// The page, for people.
    pub page: Option<String>,
    /// Ends the agent, for systemd to start it again.
    pub restart: CancellationToken,
}

/// The task. It ends in order when it is told so.
#[derive(Debug)]
pub struct HomeAssistant {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts it.
///
/// # Errors
/// The broker can never be reached: its address, or a file.
pub fn start(config: &HomeAssistantConfig, address: &Address, reach: Reach) -> anyhow::Result<HomeAssistant> {
    let topics = Topics { prefix: config.prefix.clone(), device: address.device };
    let purpose = Purpose {
        client_id: config
            .broker
            .client_id
            .clone()
            .unwrap_or_else(|| format!("pinhole-ha-{}", address.device)),
        subscriptions: vec![format!("{}#", topics.set()), topics.birth()],
        will: (topics.availability(), Bytes::from_static(b"offline")),
    };
    let Plain { events, outgoing, task } =
        plain::start(config.broker.settings(), address, purpose).context("home_assistant")?;
    let stop = CancellationToken::new();
    let (taken, pictures) = mpsc::channel(reach.monitor.cameras.len().max(1));
    let work = Work {
        topics,
        config: config.clone(),
        reach,
        outgoing,
        taken,
        told: BTreeMap::new(),
        next_picture: clock::now(),
        connected: false,
        ignored: 0,
        down: None,
    };
    let running = work.run(events, pictures, stop.clone());
    let task = tasks::spawn("home assistant", async move {
        running.await;
        let _ = task.await;
    });
    Ok(HomeAssistant { stop, task })
}

impl HomeAssistant {
    /// Says that the device is away, and ends within a second or two.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut task = self.task;
        if timeout(ENDING, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// A picture of a camera, or why there is none.
type Taken = (String, Result<Vec<u8>, StillError>);

struct Work {
    topics: Topics,
    config: HomeAssistantConfig,
    reach: Reach,
    outgoing: mpsc::Sender<Message>,
    taken: mpsc::Sender<Taken>,
    /// What was told last, by topic.
    told: BTreeMap<String, Bytes>,
    next_picture: Instant,
    connected: bool,
    /// Messages that meant nothing.
    ignored: u64,
    /// Why the broker is away, said in the log once.
    down: Option<String>,
}

impl Work {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<PlainEvent>,
        mut pictures: mpsc::Receiver<Taken>,
        stop: CancellationToken,
    ) {
        let mut privacy = self.reach.privacy.watch();
        loop {
            let picture_at = Some(self.next_picture).filter(|_| self.connected && self.takes_pictures());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                event = events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    None => return,
                },
                Ok(()) = privacy.changed() => {
                    let state = *privacy.borrow_and_update();
                    self.on_privacy(state).await;
                }
                Some((camera, taken)) = pictures.recv() => self.tell_picture(&camera, taken),
                () = clock::sleep_until(picture_at) => self.take_pictures(),
                () = clock::sleep(LOOK), if self.connected => self.look().await,
            }
        }
    }

    async fn on_event(&mut self, event: PlainEvent) {
        match event {
            PlainEvent::Up => {
                info!("Home Assistant's broker is there");
                (self.connected, self.down) = (true, None);
                self.tell_all().await;
            }
            PlainEvent::Down(reason) => {
                self.connected = false;
                if self.down.as_ref() != Some(&reason) {
                    warn!("Home Assistant is not reached: {reason}; trying again until it is back");
                    self.down = Some(reason);
                }
            }
            PlainEvent::Received { topic, payload } if topic == self.topics.birth() => {
                if payload == "online" {
                    self.tell_all().await;
                }
            }
            PlainEvent::Received { topic, payload } => {
                match command::parse(&self.topics, &topic, &payload)
                    .filter(|_| self.config.controls == Switch::On)
                {
                    Some(command) => self.obey(command).await,
                    None => {
                        self.ignored += 1;
                        debug!(ignored = self.ignored, "a message of Home Assistant's broker means nothing");
                    }
                }
            }
        }
    }

    /// The last picture is not kept anywhere while nothing is to be seen; and controls can be asked again after it.
    async fn on_privacy(&mut self, state: Switch) {
        if !self.connected {
            return;
        }
        match state {
            Switch::On => {
                self.forget_pictures();
                self.tell_state().await;
            }
            Switch::Off => self.tell_all().await,
        }
    }

    fn forget_pictures(&self) {
        for camera in self.reach.monitor.cameras.iter() {
            self.publish(self.topics.picture(&camera.settings().id), Bytes::new());
        }
    }

    /// What others may have changed. A closed camera is not opened for it.
    async fn look(&mut self) {
        self.tell_state().await;
        let cameras = std::sync::Arc::clone(&self.reach.monitor.cameras);
        for camera in cameras.iter() {
            let streams = matches!(*camera.state().borrow(), CameraState::Streaming { .. });
            if streams && camera.privacy() == Switch::Off {
                let controls = self.controls(camera).await;
                self.tell_controls(&camera.settings().id, &controls);
            }
        }
    }

    /// All that it must know to show the device.
    async fn tell_all(&mut self) {
        self.told.clear();
        let mut cameras = Vec::new();
        for camera in self.reach.monitor.cameras.iter() {
            let controls = self.controls(camera).await;
            cameras.push(Camera { id: camera.settings().id.clone(), name: camera.name(), controls });
        }
        let wanted = |yes: bool| if yes { Wanted::Yes } else { Wanted::No };
        let device = Device {
            name: self.reach.monitor.told.borrow().name.clone(),
            pictures: wanted(self.takes_pictures()),
            commands: wanted(self.config.controls == Switch::On),
            restart: wanted(config::systemd_listens()),
            temperature: wanted(crate::pipeline::temperature().is_some()),
            page: self.reach.page.clone(),
            cameras,
        };
        let discovery = discovery::payload(&self.topics, &device);
        self.tell(self.topics.discovery(), &discovery);
        for Camera { id, controls, .. } in &device.cameras {
            self.tell_controls(id, controls);
        }
        self.tell_state().await;
        if self.reach.privacy.state() == Switch::On {
            self.forget_pictures();
        }
        self.publish(self.topics.availability(), Bytes::from_static(b"online"));
        self.next_picture = clock::now();
    }

    /// Those that are offered; none where the camera is not there or closed for privacy, or nothing may be changed.
    async fn controls(&self, camera: &CameraHandle) -> Vec<Control> {
        if self.config.controls == Switch::Off {
            return Vec::new();
        }
        let camera = camera.clone();
        let listed = tasks::blocking(move || camera.controls()).await;
        let listed = listed.ok().and_then(Result::ok).unwrap_or_default();
        listed.into_iter().filter(discovery::is_offered).collect()
    }

    fn tell_controls(&mut self, camera: &str, controls: &[Control]) {
        if controls.is_empty() {
            return;
        }
        let values: Value = controls
            .iter()
            .map(|control| (control.name.clone(), discovery::control_value(control)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        self.tell(self.topics.controls(camera), &values);
    }

    async fn tell_state(&mut self) {
        if !self.connected {
            return;
        }
        match self.reach.monitor.status().await {
            Ok(status) => self.tell(self.topics.state(), &values::state(&status)),
            Err(trouble) => debug!("nothing is told to Home Assistant: {trouble}"),
        }
    }

    /// What is known already is not told again.
    fn tell(&mut self, topic: String, value: &Value) {
        let payload = Bytes::from(value.to_string());
        if self.told.get(&topic) != Some(&payload) {
            self.told.insert(topic.clone(), payload.clone());
            self.publish(topic, payload);
        }
    }

    fn publish(&self, topic: String, payload: Bytes) {
        if self.outgoing.try_send(Message { topic, payload, kept: Kept::Yes }).is_err() {
            debug!("a message to Home Assistant is lost: its broker does not take them fast enough");
        }
    }

    fn takes_pictures(&self) -> bool {
        !self.config.picture_every.is_zero()
    }

    /// One of each camera, at the same time. A camera that nobody watches is opened for it.
    fn take_pictures(&mut self) {
        self.next_picture = clock::now() + self.config.picture_every;
        for camera in self.reach.monitor.cameras.iter().filter(|camera| camera.privacy() == Switch::Off) {
            let (camera, taken) = (camera.clone(), self.taken.clone());
            tasks::spawn("picture", async move {
                let picture = camera.jpeg(QUALITY).await;
                // The agent may have stopped.
                let _ = taken.send((camera.settings().id.clone(), picture)).await;
            });
        }
    }

    fn tell_picture(&self, camera: &str, taken: Result<Vec<u8>, StillError>) {
        match taken {
            // It was taken before the switch was turned.
            Ok(_) if self.reach.privacy.state() == Switch::On => {}
            Ok(picture) if self.connected && picture.len() < LARGEST => {
                self.publish(self.topics.picture(camera), picture.into());
            }
            Ok(_) => {}
            Err(reason) => debug!(camera, "there is no picture for Home Assistant: {reason}"),
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Privacy(wanted) => {
                let privacy = self.reach.privacy.clone();
                let set = tasks::blocking(move || privacy.set(wanted, "Home Assistant")).await;
                if let Ok(Err(error)) = set {
                    warn!("Home Assistant's switch: {error}");
                }
                self.told.remove(&self.topics.state());
                self.tell_state().await;
            }
            Command::Restart if config::systemd_listens() => {
                info!("Home Assistant asks for a restart");
                self.reach.restart.cancel();
            }
            Command::Restart => {
                debug!("Home Assistant asks for a restart, and nobody would start the agent again")
            }
            Command::Control { camera, setting } => self.set_control(&camera, setting).await,
        }
    }

    async fn set_control(&mut self, id: &str, setting: Setting) {
        let found = self.reach.monitor.cameras.iter().find(|camera| camera.settings().id == id);
        let Some(camera) = found.filter(|camera| camera.privacy() == Switch::Off).cloned() else { return };
        let set = {
            let camera = camera.clone();
            tasks::blocking(move || camera.set_controls(&[setting])).await
        };
        if let Ok(Err(error)) = set {
            warn!(camera = id, "Home Assistant's setting: {error}");
        }
        // One control may change others; and a setting that was refused must go back there.
        self.told.remove(&self.topics.controls(id));
        let controls = self.controls(&camera).await;
        self.tell_controls(id, &controls);
    }
}
