//! Either end of a WebRTC handshake as a process of its own, for tests between network namespaces. Both talk JSON
//! lines on standard input and output; what they find is on standard error.
//!
//! `handshake device ADDRESS`: answers each offer, and says when it is connected.
//! `handshake viewer ADDRESS COUNT`: makes so many offers, one after the other; fails if one does not connect.

// Made for all tests: not all of it is used here.
#[allow(dead_code)]
#[path = "../it/peer/viewer.rs"]
mod viewer;

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use pinhole::{
    clock,
    peer::{
        Signaling,
        rtc::{Connection, RtcEvent, RtcSettings},
    },
};
use serde::{Deserialize, Serialize};

/// The session's own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
enum Line {
    Offer(String),
    Answer(String),
    Connected { ms: u64, replays: u64, swallowed: u64 },
    NotConnected,
}

fn send(line: &Line) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

async fn receive() -> anyhow::Result<Option<Line>> {
    let read = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        std::io::stdin().lock().read_line(&mut text).map(|length| (length > 0).then_some(text))
    });
    Ok(read.await??.map(|text| serde_json::from_str(&text)).transpose()?)
}

async fn device(address: &str) -> anyhow::Result<()> {
    let settings = RtcSettings { addresses: Some(vec![address.parse()?]), ..RtcSettings::default() };
    while let Some(line) = receive().await? {
        let Line::Offer(offer) = line else { bail!("an offer is expected, not {line:?}") };
        let mut answered =
            Connection::answer(&settings, &[], &offer, [0x42, 0xe0, 0x1f], Signaling::Live).await?;
        send(&Line::Answer(answered.sdp))?;
        let start = clock::now();
        let connected = async {
            while let Some(event) = answered.events.recv().await {
                if event == RtcEvent::Connected {
                    return;
                }
            }
            std::future::pending().await
        };
        let in_time = tokio::time::timeout(CONNECT_TIMEOUT, connected).await.is_ok();
        let (guard, _) = answered.connection.counts();
        let ms = clock::now().duration_since(start).as_millis() as u64;
        send(&match in_time {
            true => Line::Connected { ms, replays: guard.replays, swallowed: guard.swallowed },
            false => Line::NotConnected,
        })?;
        answered.connection.close().await;
    }
    Ok(())
}

async fn viewer(address: &str, count: u32) -> anyhow::Result<()> {
    let mut failed = 0;
    for round in 1..=count {
        let viewer = viewer::Viewer::guarded(address).await;
        send(&Line::Offer(viewer.offer().await))?;
        let Some(Line::Answer(answer)) = receive().await? else { bail!("the device gave no answer") };
        viewer.take(&answer).await;
        let outcome = receive().await?.context("the device said nothing more")?;
        failed += u32::from(!matches!(outcome, Line::Connected { .. }));
        eprintln!("handshake {round}: {outcome:?}");
        viewer.close().await;
    }
    ensure!(failed == 0, "{failed} of {count} handshakes did not connect");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["device", address] => device(address).await,
        ["viewer", address, count] => viewer(address, count.parse()?).await,
        _ => bail!("usage: handshake device ADDRESS | handshake viewer ADDRESS COUNT"),
    }
}
