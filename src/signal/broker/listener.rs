//! The broker on a TCP port, for viewers and tools that speak MQTT without WebSocket, and for other devices of the
//! house. One task accepts; each connection has its own. What bounds them is the broker's own: a connection is either
//! one of the few that have not sent their CONNECT, or one of the few clients. Not here: opening the port (`listen`).

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Broker;
use crate::{listen, tasks};

/// How long connections may take to end.
const FAREWELL: Duration = Duration::from_millis(900);

/// Serves until `cancel`, then shuts the broker down, and ends within a second. Must be called on a runtime.
pub fn serve(listener: TcpListener, broker: Arc<Broker>, cancel: CancellationToken) -> JoinHandle<()> {
    tasks::spawn("broker listener", run(listener, broker, cancel))
}

async fn run(listener: TcpListener, broker: Arc<Broker>, cancel: CancellationToken) {
    let (tracker, kill) = (TaskTracker::new(), CancellationToken::new());
    listen::accept(listener, &cancel, |stream, peer| {
        let (broker, kill) = (Arc::clone(&broker), kill.clone());
        let connection = async move {
            tokio::select! {
                biased;
                () = kill.cancelled() => {}
                () = broker.serve(stream, peer) => {}
            }
        };
        tasks::spawn("mqtt connection", tracker.track_future(connection));
    })
    .await;
    broker.shut_down();
    tracker.close();
    if timeout(FAREWELL, tracker.wait()).await.is_err() {
        kill.cancel();
    }
}
