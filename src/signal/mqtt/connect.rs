//! From a broker's address to a byte stream: the name's addresses, TCP, TLS, each with a deadline and with an error
//! that says which of them failed. Not here: WebSocket and MQTT on top, which are the client crate's, but for one answer
//! that it waits over for ever.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rumqttc::tokio_rustls::{TlsConnector, client::TlsStream};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
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
    #[error("a CONNACK of MQTT 3.1.1")]
    OldMqtt,
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
    let stream: Pin<Box<dyn Stream>> = match tls {
        None => Box::pin(stream),
        Some(config) => Box::pin(connect_tls(&url, config, stream).await?),
    };
    Ok(if url.scheme().is_websocket() { stream } else { Box::pin(OldMqttFilter::new(stream)) })
}

async fn connect_tls(
    url: &BrokerUrl,
    config: Arc<ClientConfig>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let host = url.host();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other(ConnectFault::Resolve { host: host.to_owned() }))?;
    let handshake = timeout(STEP, TlsConnector::from(config).connect(name, stream)).await;
    match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => Ok(stream),
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

/// Looks at the first bytes of the broker. A CONNACK of MQTT 3.1.1 (3.2) is a byte shorter than any of MQTT 5, and the
/// client crate would wait for that byte.
struct OldMqttFilter {
    inner: Pin<Box<dyn Stream>>,
    first: [u8; 2],
    seen: usize,
}

impl OldMqttFilter {
    const OLD_CONNACK: [u8; 2] = [0x20, 2];

    fn new(inner: Pin<Box<dyn Stream>>) -> Self {
        Self { inner, first: [0; 2], seen: 0 }
    }

    fn look_at(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes.iter().take(self.first.len() - self.seen) {
            self.first[self.seen] = *byte;
            self.seen += 1;
        }
        if self.first == Self::OLD_CONNACK { Err(io::Error::other(ConnectFault::OldMqtt)) } else { Ok(()) }
    }
}

impl AsyncRead for OldMqttFilter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.inner.as_mut().poll_read(cx, buf))?;
        Poll::Ready(self.look_at(&buf.filled()[before..]))
    }
}

impl AsyncWrite for OldMqttFilter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(parts: &[&[u8]]) -> bool {
        let mut filter = OldMqttFilter::new(Box::pin(tokio::io::empty()));
        parts.iter().all(|part| filter.look_at(part).is_ok())
    }

    #[test]
    fn connack_of_the_old_mqtt_is_noticed_however_it_arrives() {
        assert!(!looks(&[&[0x20, 2, 0, 1]]));
        assert!(!looks(&[&[0x20], &[2, 0, 1]]));
        assert!(looks(&[&[0x20, 3, 0, 0, 0], &[0x20, 2]]));
        assert!(looks(&[&[0xd0, 0], &[0x20, 2]]));
    }
}
