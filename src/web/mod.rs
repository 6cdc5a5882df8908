//! The web server: the viewer's page, MQTT over WebSocket at `/mqtt` (bridged to the embedded broker), WHEP, `/healthz`,
//! and `/metrics` for who may read them. The page's files are open to the network; pictures, names and addresses are not here at all.
//! `origin` is pure; `server` runs one task that accepts and one for each connection.

mod files;
mod metrics;
mod origin;
mod routes;
mod server;
mod socket;
pub mod whep;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::metrics::Metrics;
use self::whep::Whep;
use crate::{signal::broker::Broker, status::Health, tasks};

/// What the configuration says about the web server, and its bounds.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// Host names, besides IP addresses, `localhost`, `*.local` and names without a dot, under which the page may be
    /// opened. All others are refused, so that a foreign page cannot turn its own name into this address (DNS
    /// rebinding).
    pub names: Names,
    /// HTTP connections at once; WebSockets are the broker's. When there are more, an old one is closed.
    pub connections: usize,
    /// Of these, from one address; loopback is exempt.
    pub connections_per_address: usize,
    /// How long the head of a request may take, and how long a connection may wait for the next request.
    pub header_time: Duration,
    /// The door for WHEP clients; `None`: there is no `/whep`.
    pub whep: Option<Whep>,
    /// What `/healthz` says; `None`: that it answers.
    pub health: Option<Health>,
    /// `None`: there is no `/metrics`.
    pub metrics: Option<Metrics>,
}

/// Host names that can be changed while the server runs. A clone is another handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<RwLock<NamesNow>>);

#[derive(Debug, Default)]
struct NamesNow {
    /// Of the page's own address, which stays.
    fixed: Option<String>,
    /// Replaced as a whole, and held for a copy of the handle.
    names: Arc<[String]>,
}

impl Names {
    /// `fixed`: a name that stays, whatever others come and go.
    pub fn new(fixed: Option<String>, names: Vec<String>) -> Self {
        let new = Self(Arc::new(RwLock::new(NamesNow { fixed, names: Arc::default() })));
        new.set(names);
        new
    }

    /// These from now on.
    pub fn set(&self, names: Vec<String>) {
        let mut now = self.0.write().unwrap_or_else(PoisonError::into_inner);
        now.names = names.into_iter().chain(now.fixed.clone()).collect();
    }

    fn now(&self) -> Arc<[String]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).names)
    }
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            names: Names::default(),
            connections: 256,
            connections_per_address: 64,
            header_time: Duration::from_secs(5),
            whep: None,
            health: None,
            metrics: None,
        }
    }
}

/// Serves until `cancel`, without `/mqtt` where there is no embedded broker; then shuts the broker down (everyone gets
/// what is queued for them) and ends within a second. Must be called on a runtime.
pub fn serve(
    listener: TcpListener,
    settings: WebSettings,
    broker: Option<Arc<Broker>>,
    cancel: CancellationToken,
) -> JoinHandle<()> {
    tasks::spawn("web server", server::run(listener, settings, broker, cancel))
}
