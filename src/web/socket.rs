//! A WebSocket as the byte stream that the broker serves: binary messages, whose borders mean nothing (MQTT 5, 6).
//! Runs on the WebSocket's own task. Not here: who may open one (`routes`), and what the bytes say.

use std::{io, net::SocketAddr, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, future::ready};
use tokio::{
    io::{AsyncWriteExt, join},
    time::timeout,
};
use tokio_util::{
    io::{CopyToBytes, SinkWriter, StreamReader},
    sync::CancellationToken,
};

use crate::signal::broker::Broker;

/// How long the closing handshake may take.
const CLOSING: Duration = Duration::from_millis(200);

/// Lets the broker serve the WebSocket to its end, or to `kill`.
pub(super) async fn bridge(
    websocket: WebSocket,
    broker: &Broker,
    peer: SocketAddr,
    kill: &CancellationToken,
) {
    let (sink, stream) = websocket.split();
    let bytes_in = stream
        .map(|message| match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(Message::Ping(_) | Message::Pong(_)) => Some(Ok(Bytes::new())),
            Ok(Message::Close(_)) => None,
            // Text is against MQTT 5, 6.0.0-1.
            Ok(Message::Text(_)) => Some(Err(io::ErrorKind::InvalidData.into())),
            Err(error) => Some(Err(io::Error::other(error))),
        })
        .take_while(|item| ready(item.is_some()))
        .filter_map(ready)
        // An empty piece would look like the end of the stream.
        .filter(|piece| ready(!matches!(piece, Ok(bytes) if bytes.is_empty())));
    let bytes_out = sink
        .sink_map_err(io::Error::other)
        .with(|bytes: Bytes| ready(Ok::<_, io::Error>(Message::Binary(bytes))));
    let mut io = join(StreamReader::new(bytes_in), SinkWriter::new(CopyToBytes::new(bytes_out)));
    tokio::select! {
        biased;
        () = kill.cancelled() => {}
        () = broker.serve(&mut io, peer) => {
            let _ = timeout(CLOSING, io.shutdown()).await;
        }
    }
}
