//! The composition root: builds the stages, connects the channels, starts and stops them in order.
//!
//! ```text
//!  thread  cam-ID          one for each camera: capture + encode; parked while nobody watches
//!  thread  slate-ID        one for each camera: shows why, while someone watches and there is no picture
//!     │ hub: a ring of encoded frames; a viewer that falls behind skips to the next key frame
//!     ▼
//!  tasks   session         two for each viewer (what it asks; hub → RTP), and those of the WebRTC crate
//!     ▲ 64 a session         │
//!  task    peers             │ 256, all together; full: lost and counted, but a session's last waits
//!     ▲ 256; full: `busy`    ▼
//!  task    exchange        owns desk and keys: opens, checks and seals every envelope
//!     ▲ 256 a carrier;       │ 64 to 128 a carrier; full or down: lost, as on any network
//!     │ full: dropped,       ▼
//!     │ counted
//!  tasks   mqtt, broker    one for each external broker, one for each client of the embedded broker
//!  task    ice-credentials asks for TURN credentials, one for each provider of them
//!  task    web             the page, WHEP, and WebSockets for the embedded broker
//!  tasks   whep session    one for each WHEP client's session: hears its answers (256; full: lost and counted as
//!                          such); what clients ask waits for the exchange (64, all together; full: 503)
//!  task    broker listener TCP connections for it, where they are wanted
//!  tasks   control         the owner's commands by a local socket, one for each connection, at most 8
//!  task    announce        the page's name on the local network; with a thread of its own, mDNS_daemon (100 events; full:
//!                          lost, and the name is told later)
//!  task    reload          reads the configuration again when it is asked to (4 may wait)
//!  tasks   home assistant  what Home Assistant sees, and its MQTT client (64 each way; full: lost)
//!  task    systemd         readiness, a line of status, and the watchdog, fed while all of the above moves
//! ```
//!
//! Stop order: no new viewers, the name is taken back → `bye` to sessions (at most 1 s) → encode → camera → carriers → broker and page.

use std::{
    future::Future,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    announce::Announcer,
    camera::{
        self, CameraSource, Spec,
        controls::{ControlDevice, ControlError},
    },
    clock,
    config::{self, CameraConfig, Config, Embedded, Hub, MetricsFor, Source, Switch, WebConfig},
    control::{self, Reach},
    encode::{
        EncodeError,
        choice::{self, Choice},
        overlay::Caption,
    },
    home_assistant,
    inviter::Inviter,
    links::{self, Output, Place},
    listen,
    log::Log,
    peer::{self, PeerSettings, ice::IceServers, rtc::RtcSettings, session::Timings},
    pipeline::{self, CameraHandle, CameraSettings, Pipeline},
    privacy::{self, Privacy},
    reload::{self, Again},
    signal::{
        Address, Carrier,
        broker::{self, Broker, Limits},
        desk::Desk,
        door::Doorbell,
        exchange::{Command, Exchange},
        keys::{self, KeyStore},
        message::Role,
        mqtt::{self, MqttSettings},
        people,
    },
    status::{Health, Monitor, Told},
    systemd, tasks,
    web::{self, Metrics, Names, WebSettings, whep::Whep},
};

/// Messages from sessions to the exchange.
const QUEUE: usize = 256;

/// Runs the agent until `stop` ends, then stops it in order.
///
/// # Errors
/// Why it cannot serve: one sentence that names the thing, the reason and the remedy.
pub async fn run(config: Config, again: Again, log: Log, stop: impl Future<Output = ()>) -> Result<()> {
    let started = clock::now();
    let store = KeyStore::open(&config.state_dir)?;
    let address = Address { root: config.broker.root.clone(), device: store.device() };
    let private = privacy::saved(&config.state_dir)?;
    let sources =
        config.cameras.iter().map(|camera| find_source(camera, private)).collect::<Result<Vec<_>>>()?;
    let listener = listen::bind(config.web.listen, "--listen ADDR:PORT").await?;
    let bound = listener.local_addr().context("the page's listener has no address")?;
    let broker_listener = match config.broker.house.listen {
        Some(at) => Some(listen::bind(at, "broker.listen").await?),
        None => None,
    };

    let (cameras, pipelines) = start_cameras(&config.cameras, sources)?;
    let (broker, mut carriers) = start_carriers(&config, &address)?;
    if let Some(hub) = &config.broker.house.hub {
        carriers.push(start_at_hub(hub, &store, &address)?);
    }
    let ice = IceServers::start(config.webrtc.ice_servers.clone())?;
    let (to_viewers, from_peers) = mpsc::channel(QUEUE);
    let reached: Arc<[CameraHandle]> = cameras.clone().into();
    let privacy = Privacy::new(config.state_dir.clone(), Arc::clone(&reached), private);
    let peers = peer::start(peer_settings(&config, ice, &privacy), cameras.clone(), to_viewers);
    let tuner = peers.tuner();
    let viewers = people::good(store.viewers(), clock::since_epoch());
    let desk = Desk::new(store.device(), viewers, Box::new(keys::random), clock::now());
    let (commands, queue) = mpsc::channel(8);
    let (doorbell, doors) = Doorbell::new();
    let exchange = Exchange { desk, store, carriers, peers, from_peers, commands: queue, doors };
    let mut exchange = tasks::spawn("exchange", exchange.run());
    let web_stop = CancellationToken::new();
    let mqtt = broker_listener.zip(broker.clone()).map(|(listener, broker)| {
        info!(at = ?listener.local_addr().ok(), "the embedded broker takes TCP connections");
        broker::listener::serve(listener, broker, web_stop.clone())
    });
    let whep = match config.web.whep {
        Switch::On => Some(Whep::new(doorbell)),
        Switch::Off => None,
    };
    let (told, is_told) = watch::channel(Told { name: config.name.clone(), configuration: None });
    let monitor = Monitor {
        started,
        told: is_told,
        device: address.device,
        page: bound,
        cameras: Arc::clone(&reached),
        commands: commands.clone(),
        privacy: privacy.watch(),
        broker: broker.clone(),
        whep: whep.as_ref().map(Whep::answers),
    };
    let announcer = match config.web.announce {
        Switch::On => Announcer::start(bound, monitor.told.clone()),
        Switch::Off => Announcer::none(),
    };
    let settings = web_settings(&config, whep, &monitor);
    let names = settings.names.clone();
    let mut web = web::serve(listener, settings, broker, web_stop.clone());
    let inviter = Inviter {
        listen: config.web.listen,
        bound,
        host: announcer.host(),
        page_url: config.web.page_url.clone(),
        hub_page: config.broker.house.hub.as_ref().map(|hub| hub.page.clone()),
        address,
        embedded: config.broker.embedded,
        brokers: config.broker.pages(),
        commands: commands.clone(),
    };
    if config::goes_to_journal(io::stdout()) {
        // Links are secrets, and many may read the journal.
        info!("`sudo pinhole pair` prints a link to watch on");
    } else {
        // The first to open a link of a new agent is its owner.
        print_links(&inviter.one_for_each_place(Role::Admin).await?);
    }
    let restart = CancellationToken::new();
    let home = match &config.home_assistant {
        Some(home) => {
            let reach = home_assistant::Reach {
                monitor: monitor.clone(),
                privacy: privacy.clone(),
                page: inviter.page(),
                restart: restart.clone(),
            };
            Some(home_assistant::start(home, &inviter.address, reach)?)
        }
        None => None,
    };
    let (reload, reloader) =
        reload::start(config.clone(), again, reload::Parts { cameras, peers: tuner, names, told });
    let control = control::start(
        &config.control,
        Reach {
            inviter,
            cameras: reached,
            monitor: monitor.clone(),
            privacy,
            reload,
            log,
            whep: config.web.whep,
        },
    );
    // Only now: whoever has waited for that may give commands.
    let service = systemd::start(monitor);

    let failed = tokio::select! {
        biased;
        () = stop => None,
        () = restart.cancelled() => None,
        // Nobody could reach the agent any more: better to end, and be started anew.
        ended = &mut exchange => Some(("signaling", why(ended.map(|ended| ended.map_err(anyhow::Error::from))))),
        ended = &mut web => Some(("the page's server", why(ended.map(Ok)))),
    };
    info!("stopping");
    service.stopping().await;
    control.stop().await;
    if let Some(home) = home {
        home.stop().await;
    }
    announcer.stop().await;
    reloader.abort();
    if !exchange.is_finished() {
        let (done, sessions_ended) = oneshot::channel();
        let _ = commands.send(Command::EndSessions { done }).await;
        let _ = sessions_ended.await;
    }
    tokio::task::block_in_place(|| Pipeline::stop_all(pipelines));
    if !exchange.is_finished() {
        let _ = commands.send(Command::Stop).await;
        let _ = exchange.await;
    }
    web_stop.cancel();
    if !web.is_finished() {
        let _ = web.await;
    }
    if let Some(mqtt) = mqtt {
        let _ = mqtt.await;
    }
    info!("stopped");
    match failed {
        None => Ok(()),
        Some((part, reason)) => {
            Err(anyhow!("{part} has failed: {reason}; start pinhole again, and report this as a fault in it"))
        }
    }
}

/// What a task has failed of that should not end by itself.
fn why(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}

/// The configured camera, opened once for a moment where that disturbs nobody: a wrong path or size is told at the
/// start and not to the first viewer. One that is absent, in use or does not work just now may be there later: viewers
/// see a slate until then.
fn find_source(camera: &CameraConfig, private: Switch) -> Result<Arc<dyn CameraSource>> {
    let source = match &camera.source {
        Source::Named(spec) => spec.clone().source(),
        Source::Auto => camera::auto::source(camera.bitrate),
    };
    if camera.encoder == Choice::M2m && choice::encoders().is_empty() {
        return Err(EncodeError::NoHardware.into());
    }
    if private == Switch::On {
        return Ok(source);
    }
    // A program is not run only to see whether it runs.
    if !matches!(camera.source, Source::Named(Spec::Process(_) | Spec::Csi(_))) {
        match source.open(&camera.wish) {
            // What it gives must be for the encoder that was named.
            Ok(opened) => drop(camera.encoder.candidates(opened.format().pixel)?),
            Err(error) if error.may_pass() => {
                warn!(camera = %camera.id, "{error}; it is tried again while someone watches");
            }
            Err(error) => return Err(error.into()),
        }
    }
    check_controls(camera, source.as_ref())?;
    Ok(source)
}

/// A wrong control or value is told at the start, where the camera is there to say so.
fn check_controls(camera: &CameraConfig, source: &dyn CameraSource) -> Result<()> {
    if camera.controls.is_empty() {
        return Ok(());
    }
    let key = || format!("controls of camera `{}`", camera.id);
    let Some(node) = source.control_node() else {
        if camera.source == Source::Auto {
            warn!(camera = %camera.id, "no camera was found, so its controls are not set");
            return Ok(());
        }
        return Err(anyhow!(
            "{}: {} has none: remove [camera.controls], or name a V4L2 device as the source",
            key(),
            source.describe()
        ));
    };
    match ControlDevice::open(&node) {
        Ok(device) => device.check(&camera.controls).with_context(key),
        Err(ControlError::NotFound(_)) => Ok(()),
        Err(error) => Err(error).with_context(key),
    }
}

fn start_cameras(
    cameras: &[CameraConfig],
    sources: Vec<Arc<dyn CameraSource>>,
) -> Result<(Vec<CameraHandle>, Vec<Pipeline>)> {
    let mut started = (Vec::new(), Vec::new());
    for (camera, source) in cameras.iter().zip(sources) {
        info!(camera = %camera.id, source = %source.describe(), "the camera opens with the first viewer");
        let settings = CameraSettings {
            id: camera.id.clone(),
            name: camera.name.clone(),
            wish: camera.wish,
            bitrate: camera.bitrate,
            encoder: camera.encoder,
            orientation: camera.orientation,
            caption: camera.overlay.map(|content| Caption { content, name: camera.name.clone() }),
            hot: camera.hot,
        };
        let (handle, pipeline) =
            pipeline::start(settings, source).context("cannot start the camera's thread")?;
        handle.preset_controls(&camera.controls);
        started.0.push(handle);
        started.1.push(pipeline);
    }
    Ok(started)
}

fn start_carriers(config: &Config, address: &Address) -> Result<(Option<Arc<Broker>>, Vec<Carrier>)> {
    let accepted = &config.broker.house.accept_devices;
    if accepted.iter().any(|other| other.device == address.device) {
        return Err(anyhow!(
            "broker.accept_devices names this device itself: give there what `pinhole device-key` prints on the others"
        ));
    }
    let broker = match config.broker.embedded {
        Embedded::On => Some(Broker::new(address.clone(), Limits::default(), accepted)),
        Embedded::Off => None,
    };
    let mut carriers: Vec<Carrier> = broker.iter().map(Broker::carrier).collect();
    for external in &config.broker.external {
        carriers.push(mqtt::start(external.settings(), address.clone())?);
    }
    Ok((broker, carriers))
}

/// The carrier by another agent's broker. Its key is needed there, and not before.
fn start_at_hub(hub: &Hub, store: &KeyStore, address: &Address) -> Result<Carrier> {
    let key = store.login_key().map_err(|error| anyhow!("broker.hub needs this device's key: {error}"))?;
    let settings = MqttSettings { login: Some(Arc::new(key)), ..MqttSettings::new(&hub.broker) };
    mqtt::start(settings, address.clone()).context("broker.hub")
}

fn peer_settings(config: &Config, ice: IceServers, privacy: &Privacy) -> PeerSettings {
    PeerSettings {
        rtc: RtcSettings { addresses: None },
        max_viewers: config.webrtc.max_viewers as usize,
        device_name: config.name.clone(),
        ice,
        timings: Timings::default(),
        privacy: privacy.watch(),
    }
}

/// The page may be opened under the name of its configured address, too.
fn web_settings(config: &Config, whep: Option<Whep>, monitor: &Monitor) -> WebSettings {
    let name = config.web.page_url.as_deref().and_then(|url| {
        let rest = url.split_once("://")?.1;
        let host = rest.split(['/', '?']).next()?;
        Some(host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned())
    });
    let WebConfig { metrics, metrics_token, .. } = &config.web;
    let metrics = match (metrics, metrics_token) {
        (MetricsFor::Nobody, None) => None,
        (readers, token) => Some(Metrics::new(*readers, token.as_ref(), monitor.clone())),
    };
    let health = Some(Health::new(monitor.clone()));
    let names = Names::new(name, config.web.names.clone());
    WebSettings { names, whep, health, metrics, ..WebSettings::default() }
}

/// Writes the links to standard output.
fn print_links(links: &[Place]) {
    let mut out = io::stdout();
    let output = if out.is_terminal() { Output::Terminal } else { Output::Plain };
    let note = "Each link pairs one browser, within ten minutes. Paired browsers need no link; `pinhole pair` prints \
                more. Ctrl-C stops.";
    let text = links::text(links, output, note);
    // Nobody may be reading: that is no reason not to serve.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
