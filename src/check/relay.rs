//! One question to a STUN or TURN server over UDP: a binding request (RFC 8489), or an allocation with the configured
//! credentials (RFC 8656), which is given back at once. In the task that asks. Not here: which servers there are (`reach`).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rtc::{
    crypto::{RTCCryptoProvider, default_provider},
    sansio::Protocol as _,
    shared::{TransportContext, TransportMessage, TransportProtocol},
    turn::client::{Client, ClientConfig, Event},
};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    clock,
    peer::servers::{Kind, Server},
};

/// For the server's answer; lost datagrams are sent again meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const DATAGRAM: usize = 1500;

/// What a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Our address as the server sees it.
    Seen(SocketAddr),
    /// The address of the relay.
    Relay(SocketAddr),
}

/// Why a server is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("it does not answer: check its address, that UDP gets there, and that it runs")]
    Silent,
    #[error("it refuses ({0}): check username and credential, or the shared secret, against the server's")]
    Refused(String),
    #[error("it cannot be asked ({0}): check this machine's network")]
    Io(#[from] io::Error),
    #[error("it cannot be asked ({0}): report this as a fault in pinhole")]
    Fault(String),
}

/// Asks it.
pub(super) async fn ask(server: &Server) -> Result<(Answer, Duration), NoAnswer> {
    let any: SocketAddr = match server.address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server.address).await?;
    let local = socket.local_addr()?;
    let fault = |error: &dyn std::fmt::Display| NoAnswer::Fault(error.to_string());
    let provider: Arc<dyn RTCCryptoProvider> = default_provider().map_err(|error| fault(&error))?;
    let mut client = Client::new(config(server, local), provider).map_err(|error| fault(&error))?;
    let began = clock::now();
    let asked = match server.kind {
        Kind::Stun => client.send_binding_request(began),
        Kind::Turn { .. } => client.allocate(began),
    };
    asked.map_err(|error| fault(&error))?;
    let asking = Asking { socket: &socket, local, server: server.address };
    let answer = timeout(PATIENCE, asking.run(&mut client)).await.unwrap_or(Err(NoAnswer::Silent))?;
    let took = clock::now().saturating_duration_since(began);
    if let Answer::Relay(address) = answer {
        let released = client.relay(address).and_then(|mut relay| relay.close(clock::now()));
        if released.is_ok() {
            asking.send(&mut client).await?;
        }
    }
    Ok((answer, took))
}

fn config(server: &Server, local: SocketAddr) -> ClientConfig {
    let address = server.address.to_string();
    let bare = ClientConfig {
        local_addr: local,
        transport_protocol: TransportProtocol::UDP,
        ..ClientConfig::default()
    };
    match &server.kind {
        Kind::Stun => ClientConfig { stun_serv_addr: address, ..bare },
        Kind::Turn { username, credential } => ClientConfig {
            turn_serv_addr: address,
            username: username.clone(),
            password: credential.clone(),
            ..bare
        },
    }
}

struct Asking<'a> {
    socket: &'a UdpSocket,
    local: SocketAddr,
    server: SocketAddr,
}

impl Asking<'_> {
    async fn run(&self, client: &mut Client) -> Result<Answer, NoAnswer> {
        let mut datagram = [0; DATAGRAM];
        loop {
            self.send(client).await?;
            if let Some(answer) = take(client)? {
                return Ok(answer);
            }
            let until: Option<Instant> = client.poll_timeout();
            tokio::select! {
                received = self.socket.recv(&mut datagram) => {
                    // A port that nobody listens at (ICMP): the server may come yet.
                    let Ok(length) = received else {
                        clock::sleep(Duration::from_millis(200)).await;
                        continue;
                    };
                    let transport = TransportContext {
                        local_addr: self.local,
                        peer_addr: self.server,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    };
                    let message = BytesMut::from(&datagram[..length]);
                    // What is no answer is passed over.
                    let _ = client.handle_read(TransportMessage { now: clock::now(), transport, message });
                }
                () = clock::sleep_until(until) => {
                    let _ = client.handle_timeout(clock::now());
                }
            }
        }
    }

    async fn send(&self, client: &mut Client) -> io::Result<()> {
        while let Some(message) = client.poll_write() {
            match self.socket.send(&message.message).await {
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What the client has made of the answers so far.
fn take(client: &mut Client) -> Result<Option<Answer>, NoAnswer> {
    while let Some(event) = client.poll_event() {
        match event {
            Event::BindingResponse(_, seen) => return Ok(Some(Answer::Seen(seen))),
            Event::AllocateResponse(_, relay) => return Ok(Some(Answer::Relay(relay))),
            Event::BindingError(_, error) | Event::AllocateError(_, error) => {
                return Err(NoAnswer::Refused(error.to_string()));
            }
            Event::TransactionTimeout(_) => return Err(NoAnswer::Silent),
            _ => {}
        }
    }
    Ok(None)
}
