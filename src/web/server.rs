//! Connections: bounding them in number and time, and ending them. One task accepts; each connection
//! has its own. Not here: requests (`routes`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    WebSettings,
    routes::{Context, Peer, router},
};
use crate::{
    listen,
    signal::broker::{
        Broker,
        limits::{Crowd, Member},
    },
    tasks,
};

/// The largest head of a request, bytes.
const HEAD_MAX: usize = 16 * 1024;
/// How long connections may take to end.
const FAREWELL: Duration = Duration::from_millis(900);

pub(super) async fn run(
    listener: TcpListener,
    settings: WebSettings,
    broker: Option<Arc<Broker>>,
    cancel: CancellationToken,
) {
    let places = Arc::new(Places::new(&settings));
    let context = Context {
        broker: broker.clone(),
        names: settings.names,
        whep: settings.whep,
        health: settings.health,
        metrics: settings.metrics,
        tracker: TaskTracker::new(),
        kill: CancellationToken::new(),
    };
    let app = router(context.clone());
    listen::accept(listener, &cancel, |stream, peer| {
        let place = places.take(peer);
        let connection = connection(stream, peer, app.clone(), settings.header_time, place, cancel.clone());
        tasks::spawn("http connection", context.tracker.track_future(connection));
    })
    .await;
    if let Some(broker) = broker {
        broker.shut_down();
    }
    context.tracker.close();
    if timeout(FAREWELL, context.tracker.wait()).await.is_err() {
        context.kill.cancel();
        places.cut_all();
    }
}

/// One connection to its end, or until it becomes a WebSocket, or until its place is needed.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    header_time: Duration,
    place: Place,
    cancel: CancellationToken,
) {
    let service = TowerToHyperService::new(app.layer(Extension(Peer(peer))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = place.cut.cancelled() => return,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = place.cut.cancelled() => return,
                ended = connection => ended,
            }
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "http connection ended");
    }
}

/// The connections there may be. An old one goes for a new one, so that silent ones keep nobody out.
struct Places {
    /// Shared by all connections; held for one arrival or departure.
    inner: Mutex<Inner>,
}

struct Inner {
    crowd: Crowd,
    cuts: BTreeMap<Member, CancellationToken>,
}

/// One connection's place, given back when it is dropped.
struct Place {
    places: Arc<Places>,
    member: Member,
    /// Cancelled when another needs it.
    cut: CancellationToken,
}

impl Places {
    fn new(settings: &WebSettings) -> Self {
        let crowd = Crowd::new(settings.connections, settings.connections_per_address);
        Self { inner: Mutex::new(Inner { crowd, cuts: BTreeMap::new() }) }
    }

    fn take(self: &Arc<Self>, peer: SocketAddr) -> Place {
        let mut inner = self.lock();
        let (member, leaves) = inner.crowd.arrive(peer.ip());
        if let Some(cut) = leaves.and_then(|leaves| inner.cuts.remove(&leaves)) {
            cut.cancel();
        }
        let cut = CancellationToken::new();
        inner.cuts.insert(member, cut.clone());
        Place { places: Arc::clone(self), member, cut }
    }

    fn cut_all(&self) {
        for cut in self.lock().cuts.values() {
            cut.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        inner.crowd.leave(self.member);
        inner.cuts.remove(&self.member);
    }
}
