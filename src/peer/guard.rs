//! The socket under each WebRTC connection, guarded: it keeps datagrams of strangers from the WebRTC crate and
//! carries the DTLS handshake over loss (see `filter` and `flight` for why). The crate takes it through its own
//! seam, `Runtime::wrap_udp_socket`; nothing is patched. This file is the IO shell: it moves datagrams between
//! the crate's socket and `core`, and owns the replay timer. It runs on the connection's driver task, the timer on
//! one of its own that ends with the handshake or the session.
//!
//! Not guarded: TURN over anything but UDP, and ICE over TCP, which the agent does not use.

pub mod core;
pub mod dtls;
pub mod filter;
pub mod flight;
pub mod stun;

use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use self::{
    core::{Core, Counts, Verdict, retain_segments},
    flight::Replay,
    stun::Credentials,
};
use crate::{clock, tasks};

/// Reads that end in dropped datagrams before other tasks get a turn.
const MAX_DROPPED_READS: usize = 32;

/// Guards all sockets of one connection. A clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held for one datagram at a time; the driver and the timer share it.
    core: Mutex<Core>,
    /// Second descriptors of the same sockets, for replays: the runtime keeps one waker a socket, which is
    /// the driver's. Emptied when the handshake is over.
    sockets: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>,
    /// Copy of `core.is_over()`, so that sending media takes no lock.
    over: AtomicBool,
    timer_started: AtomicBool,
    /// The core's timeout changed.
    changed: Notify,
}

impl Guard {
    /// `relays`: addresses of the TURN servers in use.
    pub fn new(relays: Vec<SocketAddr>) -> Self {
        Self(Arc::new(Shared {
            core: Mutex::new(Core::new(relays)),
            sockets: Mutex::default(),
            over: AtomicBool::new(false),
            timer_started: AtomicBool::new(false),
            changed: Notify::new(),
        }))
    }

    /// Our ICE credentials, from each description of ours before it is sent.
    pub fn learn(&self, ufrag: &str, password: &str) {
        self.0.core().learn(Credentials::new(ufrag, password));
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.0.core().counts()
    }

    /// The connection is up: where its handshake did not come by here, the guard waits for none.
    pub fn connected(&self) {
        let over = {
            let mut core = self.0.core();
            core.connected();
            core.is_over()
        };
        if over {
            self.0.finish();
        }
    }

    /// Ends the timer and gives the second descriptors back. The filter stays.
    pub fn end(&self) {
        self.0.core().end();
        self.0.finish();
    }

    /// What the WebRTC crate shall make its sockets with.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(GuardedRuntime(Arc::clone(&self.0)))
    }
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sockets(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<UdpSocket>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        self.over.store(true, Ordering::Release);
        self.sockets().clear();
        self.changed.notify_one();
    }

    fn inbound(&self, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Verdict {
        let (verdict, replay, over) = {
            let mut core = self.core();
            let (verdict, replay) = core.inbound(clock::now(), local, from, datagram);
            (verdict, replay, core.is_over())
        };
        if let Some(replay) = replay {
            self.send(&replay);
        }
        if over && !self.over.load(Ordering::Acquire) {
            self.finish();
        }
        verdict
    }

    fn outbound(self: &Arc<Self>, local: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let (waits, over) = {
            let mut core = self.core();
            core.outbound(clock::now(), local, to, datagram);
            (core.timeout().is_some(), core.is_over())
        };
        if over {
            self.finish();
        } else if waits {
            self.changed.notify_one();
            if !self.timer_started.swap(true, Ordering::AcqRel) {
                tasks::spawn("dtls-replay", replay_on_time(Arc::clone(self)));
            }
        }
    }

    /// As on any network a datagram may be lost here: the next replay makes up for it.
    fn send(&self, replay: &Replay) {
        let Some(socket) = self.sockets().get(&replay.local).cloned() else { return };
        for datagram in &replay.datagrams {
            if let Err(error) = socket.send_to(datagram, replay.to) {
                tracing::debug!(%error, "a replayed handshake datagram was not sent");
            }
        }
    }
}

async fn replay_on_time(shared: Arc<Shared>) {
    loop {
        let due = shared.core().timeout();
        let Some(due) = due else { break };
        tokio::select! {
            biased;
            () = shared.changed.notified() => continue,
            () = clock::sleep_until(Some(due)) => {}
        }
        let replay = shared.core().handle_timeout(clock::now());
        if let Some(replay) = replay {
            shared.send(&replay);
        }
    }
    shared.over.store(true, Ordering::Release);
    shared.sockets().clear();
}

#[derive(Debug)]
struct GuardedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    local: SocketAddr,
    shared: Arc<Shared>,
}

impl AsyncUdpSocket for GuardedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let result = ready!(self.inner.poll_send(cx, transmit));
        if result.is_ok() && !self.shared.over.load(Ordering::Acquire) {
            let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
            for datagram in transmit.contents.chunks(segment) {
                self.shared.outbound(self.local, transmit.destination, datagram);
            }
        }
        Poll::Ready(result)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..MAX_DROPPED_READS {
            // One at a time: a batch would have to be closed up where a whole message is dropped.
            let (Some(_), Some(_)) = (bufs.first(), meta.first()) else { return Poll::Ready(Ok(0)) };
            match ready!(self.inner.poll_recv(cx, &mut bufs[..1], &mut meta[..1])) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let (message, buffer) = (&mut meta[0], &mut bufs[0]);
            let from = message.addr;
            message.len = retain_segments(buffer, message.len, message.stride, |datagram| {
                self.shared.inbound(self.local, from, datagram) == Verdict::Deliver
            });
            if message.len > 0 {
                return Poll::Ready(Ok(1));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Tokio's runtime with guarded UDP sockets.
#[derive(Debug)]
struct GuardedRuntime(Arc<Shared>);

impl Runtime for GuardedRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = socket.local_addr()?;
        let second = socket.try_clone()?;
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        if !self.0.over.load(Ordering::Acquire) {
            self.0.sockets().insert(local, Arc::new(second));
        }
        Ok(Arc::new(GuardedSocket { inner, local, shared: Arc::clone(&self.0) }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        // The crate connects to every TCP candidate a viewer names, past the guard.
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        // The driver waits here, and ICE and media with it, so that only addresses are resolved; names were
        // resolved before (`servers`).
        let address = parse_address(host).ok_or_else(|| io::ErrorKind::InvalidInput.into());
        Box::pin(async move { address.map(|address| vec![address]) })
    }

    fn now(&self) -> Instant {
        clock::now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(clock::sleep(duration))
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, guarded"
    }
}

/// The crate writes an IPv6 address and a port without brackets between.
fn parse_address(host: &str) -> Option<SocketAddr> {
    host.parse().ok().or_else(|| {
        let (address, port) = host.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::parse_address;

    #[test]
    fn addresses_are_read_with_and_without_brackets_and_names_are_not() {
        for text in ["192.0.2.1:3478", "[2001:db8::1]:3478", "2001:db8::1:3478"] {
            assert_eq!(parse_address(text).map(|address| address.port()), Some(3478), "{text}");
        }
        assert_eq!(parse_address("turn.example:3478"), None);
    }
}
