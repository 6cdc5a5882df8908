//! The web server: the viewer's page, MQTT over WebSocket at `/mqtt` (bridged to the embedded broker), WHEP, and
//! `/healthz`. The page's files are open to the network; pictures, names and addresses are not here at all.
//! `origin` is pure; `server` runs one task that accepts and one for each connection.

mod files;
mod origin;
mod routes;
mod server;
mod socket;
pub mod whep;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::whep::Whep;
use crate::{signal::broker::Broker, tasks};

/// What the configuration says about the web server, and its bounds.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// Host names, besides IP addresses, `localhost`, `*.local` and names without a dot, under which the page may be
    /// opened. All others are refused, so that a foreign page cannot turn its own name into this address (DNS
    /// rebinding).
    pub names: Vec<String>,
    /// HTTP connections at once; WebSockets are the broker's. When there are more, an old one is closed.
    pub connections: usize,
    /// Of these, from one address; loopback is exempt.
    pub connections_per_address: usize,
    /// How long the head of a request may take, and how long a connection may wait for the next request.
    pub header_time: Duration,
    /// The door for WHEP clients; `None`: there is no `/whep`.
    pub whep: Option<Whep>,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            connections: 256,
            connections_per_address: 64,
            header_time: Duration::from_secs(5),
            whep: None,
        }
    }
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(
        "cannot listen on {address}: another program uses this port; stop it, or choose another with --listen ADDR:PORT"
    )]
    InUse { address: SocketAddr },
    #[error(
        "cannot listen on {address}: this user may not use ports below 1024; choose one above with --listen ADDR:PORT"
    )]
    Permission { address: SocketAddr },
    #[error(
        "cannot listen on {address}: this machine does not have that address; use 0.0.0.0 for all, or one of its own, with --listen ADDR:PORT"
    )]
    NotHere { address: SocketAddr },
    #[error("cannot listen on {address}: {source}; choose another address with --listen ADDR:PORT")]
    Other { address: SocketAddr, source: io::Error },
}

impl WebError {
    /// The machine has no such address, or no addresses of its kind at all, as where IPv6 is turned off.
    pub fn is_address_missing(&self) -> bool {
        match self {
            Self::NotHere { .. } => true,
            Self::Other { source, .. } => source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            Self::InUse { .. } | Self::Permission { .. } => false,
        }
    }
}

/// Opens the port. Port 0 lets the system choose; the listener knows which.
///
/// # Errors
/// One sentence with the address, the reason and the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, WebError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => WebError::InUse { address },
        io::ErrorKind::PermissionDenied => WebError::Permission { address },
        io::ErrorKind::AddrNotAvailable => WebError::NotHere { address },
        _ => WebError::Other { address, source },
    })
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
