//! From a broker's address to a byte stream: the name's addresses, TCP, TLS, each with a deadline and with an error
//! that says which of them failed. Not here: WebSocket and MQTT on top, which are the client crate's.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use rumqttc::tokio_rustls::TlsConnector;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::url::BrokerUrl;

/// For one of: the name, one TCP connection, the TLS handshake.
const STEP: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried; more of them do not make a broker more reachable.
const ADDRESSES: usize = 4;
/// All of it, and the WebSocket and MQTT handshakes on top.
pub(super) const WHOLE: Duration = Duration::from_secs(30);

/// What failed below MQTT. It travels through the client crate inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFault {
    #[error("the name `{host}` cannot be resolved")]
    Resolve { host: String },
    #[error("connecting to {address} failed: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("the TLS handshake with {host} failed: {source}")]
    Tls { host: String, source: io::Error },
}

/// A stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the broker, with TLS when there is a configuration for it.
pub(super) async fn connect(
    url: Arc<BrokerUrl>,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Pin<Box<dyn Stream>>> {
    let stream = connect_tcp(&url).await?;
    // Signaling is small messages that somebody waits for.
    let _ = stream.set_nodelay(true);
    let Some(config) = tls else { return Ok(Box::pin(stream)) };
    let host = url.host();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other(ConnectFault::Resolve { host: host.to_owned() }))?;
    let handshake = timeout(STEP, TlsConnector::from(config).connect(name, stream)).await;
    match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Ok(Box::pin(stream)),
        Err(source) => Err(io::Error::other(ConnectFault::Tls { host: host.to_owned(), source })),
    }
}

async fn connect_tcp(url: &BrokerUrl) -> io::Result<TcpStream> {
    let unresolved = || io::Error::other(ConnectFault::Resolve { host: url.host().to_owned() });
    let addresses = match timeout(STEP, lookup_host((url.host(), url.port()))).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(_)) | Err(_) => return Err(unresolved()),
    };
    let mut last = unresolved();
    for address in addresses.take(ADDRESSES) {
        let attempt = timeout(STEP, TcpStream::connect(address)).await;
        match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(source) => last = io::Error::other(ConnectFault::Tcp { address, source }),
        }
    }
    Err(last)
}
