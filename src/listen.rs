//! TCP listeners: opening a port, with errors for people, and accepting for as long as it takes. The page's server and
//! the broker's listener use it. Not here: what is done with a connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{clock, config::Listen};

/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Failed accepts are logged once per so long.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Why nobody can connect. `option` is what to change.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen on {address}: another program uses this port; stop it, or choose another with {option}"
    )]
    InUse { address: SocketAddr, option: &'static str },
    #[error(
        "cannot listen on {address}: this user may not use ports below 1024; choose one above with {option}"
    )]
    Permission { address: SocketAddr, option: &'static str },
    #[error(
        "cannot listen on {address}: this machine does not have that address; use 0.0.0.0 for all, or one of its own, with {option}"
    )]
    NotHere { address: SocketAddr, option: &'static str },
    #[error("cannot listen on {address}: {source}; choose another address with {option}")]
    Other { address: SocketAddr, source: io::Error, option: &'static str },
}

impl ListenError {
    /// The machine has no such address, or no addresses of its kind at all, as where IPv6 is turned off.
    fn is_address_missing(&self) -> bool {
        match self {
            Self::NotHere { .. } => true,
            Self::Other { source, .. } => source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            Self::InUse { .. } | Self::Permission { .. } => false,
        }
    }
}

/// Opens the port: at all addresses that is IPv6 and IPv4 together, or IPv4 alone where the kernel has no IPv6. Port 0
/// lets the system choose; the listener knows which. `option` is what the error names, as `--listen ADDR:PORT`.
///
/// # Errors
/// One sentence with the address, the reason and the remedy.
pub async fn bind(listen: Listen, option: &'static str) -> Result<TcpListener, ListenError> {
    match listen {
        Listen::At(address) => bind_at(address, option).await,
        Listen::Everywhere(port) => {
            let at = |ip| SocketAddr::new(ip, port);
            match bind_at(at(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), option).await {
                Err(error) if error.is_address_missing() => {
                    bind_at(at(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), option).await
                }
                bound => bound,
            }
        }
    }
}

async fn bind_at(address: SocketAddr, option: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { address, option },
        io::ErrorKind::PermissionDenied => ListenError::Permission { address, option },
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere { address, option },
        _ => ListenError::Other { address, source, option },
    })
}

/// Hands each connection to `take`, until `cancel`; then nobody can connect any more. What cannot be accepted is counted.
pub async fn accept(
    listener: TcpListener,
    cancel: &CancellationToken,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    let (mut refused, mut warned) = (0_u64, None::<Instant>);
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Requests and messages are small, and somebody waits for them.
                let _ = stream.set_nodelay(true);
                take(stream, peer);
            }
            Err(error) => {
                refused += 1;
                let now = clock::now();
                if warned.is_none_or(|at| now.saturating_duration_since(at) >= WARN_INTERVAL) {
                    warned = Some(now);
                    tracing::warn!(%error, refused, "connections cannot be accepted (count since the start)");
                }
                clock::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
