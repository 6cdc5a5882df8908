//! The composition root: builds the stages, connects the channels, starts and stops them in order.
//!
//! ```text
//!  thread  cam0            one for each camera: capture + encode; parked while nobody watches
//!     │ hub (ring of encoded frames; a viewer that falls behind skips to the next key frame)
//!     ▼
//!  tasks   session         one for each viewer: hub → RTP; WebRTC's own driver task beside it
//!     ▲ 64 messages; full: the message is refused            │ 256 messages to viewers; full: the session waits
//!     │                                                      ▼
//!  task    exchange        owns desk and keys: opens, checks and seals every envelope
//!     ▲ 64 envelopes a carrier; full: dropped, counted       │ 64 a carrier; full or down: lost, as on any network
//!     │                                                      ▼
//!  tasks   mqtt, broker    one for each carrier, one for each client of the embedded broker
//!  task    web             the page, and WebSockets for the embedded broker
//! ```
//!
//! Stop order: no new viewers → `bye` to sessions (at most 1 s) → encode → camera → carriers → broker and page.

use std::{
    future::Future,
    io::{IsTerminal, Write},
    sync::Arc,
};

use anyhow::{Context, Result};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    camera::{CameraSource, SizeWish, Spec, v4l2},
    clock,
    config::{CameraConfig, Config, Embedded, Source},
    links::{self, Place, QrCode, Reach},
    peer::{self, PeerSettings},
    pipeline::{self, CameraSettings},
    signal::{
        Address, Carrier,
        broker::Broker,
        desk::Desk,
        exchange::{Command, Exchange},
        keys::KeyStore,
        message::Role,
        mqtt,
        pairing::Link,
    },
    tasks, web,
};

/// Messages between exchange and sessions, each way.
const QUEUE: usize = 256;

/// Runs the agent until `stop` ends, then stops it in order.
///
/// # Errors
/// Why it cannot serve: one sentence that names the thing, the reason and the remedy.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    let store = KeyStore::open(&config.state_dir)?;
    let sources = config.cameras.iter().map(open_source).collect::<Result<Vec<_>>>()?;
    let listener = web::bind(config.web.listen).await?;
    let bound = listener.local_addr().context("the page's listener has no address")?;

    let mut cameras = Vec::new();
    let mut pipelines = Vec::new();
    for (camera, source) in config.cameras.iter().zip(sources) {
        info!(camera = %camera.id, source = %source.describe(), "camera");
        let settings = CameraSettings {
            id: camera.id.clone(),
            name: camera.name.clone(),
            wish: camera.wish,
            bitrate: camera.bitrate,
        };
        let (handle, pipeline) = pipeline::start(settings, source).context("cannot start the camera's thread")?;
        cameras.push(handle);
        pipelines.push(pipeline);
    }

    let address = Address { root: config.broker.root.clone(), device: store.device() };
    let mut carriers: Vec<Carrier> = Vec::new();
    let broker = match config.broker.embedded {
        Embedded::On => {
            let broker = Broker::new(address.clone());
            carriers.push(broker.carrier());
            Some(broker)
        }
        Embedded::Off => None,
    };
    if let Some(external) = &config.broker.external {
        carriers.push(mqtt::start(external, &address)?);
    }

    let (to_viewers, from_peers) = mpsc::channel(QUEUE);
    let peers = peer::start(PeerSettings::new(&config), cameras, to_viewers);
    let desk = Desk::new(store.device(), store.viewers(), crate::signal::random(), clock::now());
    let (commands, command_queue) = mpsc::channel(8);
    let exchange = Exchange { desk, store, carriers, peers: peers.clone(), from_peers, commands: command_queue };
    let exchange = tasks::spawn("exchange", exchange.run());

    let web_stop = CancellationToken::new();
    let web = web::serve(listener, broker, web_stop.clone());

    let places = links::places(config.web.listen, bound, &links::interfaces(), config.web.page_url.as_deref());
    print_links(&config, &address, &places, &commands).await?;

    stop.await;
    info!("stopping");
    peers.shutdown().await;
    for pipeline in pipelines {
        pipeline.stop();
    }
    let _ = commands.send(Command::Stop).await;
    let _ = exchange.await;
    web_stop.cancel();
    let _ = web.await;
    info!("stopped");
    Ok(())
}
