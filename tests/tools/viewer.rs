//! A viewer without a browser, for tests on machines that have none: takes a link, pairs, asks for the first camera,
//! decodes what comes, and prints what it saw as one JSON object. It exits with 1 when it saw no picture. All it sees is
//! of one session: when the device ends that, the pictures end.
//!
//! `viewer LINK [SECONDS]`

#[path = "../it/people/mail.rs"]
#[allow(dead_code)]
mod mail;
#[path = "../it/peer/viewer.rs"]
#[allow(dead_code, clippy::disallowed_methods)]
mod rtc_viewer;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use mail::{Mail, PATIENCE, address};
use openh264::{OpenH264API, decoder::Decoder, formats::YUVSource, nal_units};
use pinhole::{
    clock,
    signal::{
        message::{Offer, ToDevice, ToViewer},
        topic::Address,
        viewer::{ViewerSession, new_session},
    },
};
use rtc_viewer::Viewer;
use serde_json::json;
use tokio::time::timeout;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(&arguments)) {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("viewer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<serde_json::Value> {
    let (url, seconds) = match arguments {
        [url] => (url, 5),
        [url, seconds] => (url, seconds.parse().context("SECONDS is no number")?),
        _ => bail!("usage: viewer LINK [SECONDS]"),
    };
    let (link, broker) = address(url)?;
    let mut mail = Mail::connect(&broker, Address::new(&link.root, link.device)?).await?;
    let nonce = mail.nonce().await?;

    let viewer = mail.pair(link.clone(), nonce, "test viewer").await?;
    let mut session = ViewerSession::new(link.device, &viewer, new_session(), nonce);
    mail.listen(session.id()).await?;
    mail.send(session.seal(&ToDevice::Hello)?).await?;
    let welcome = loop {
        match session.open(&mail.next().await?) {
            Some(ToViewer::Welcome(welcome)) => break welcome,
            Some(other) => bail!("instead of a welcome came {other:?}"),
            None => {}
        }
    };
    let started = clock::now();
    let address = local_address(&broker)?;
    let mut peer = Viewer::guarded(&address).await;
    let offer = Offer {
        camera: welcome.cameras.first().context("the device has no camera")?.id.clone(),
        sdp: peer.offer().await,
        audio: false,
        talk: false,
    };
    mail.send(session.seal(&ToDevice::Offer(offer))?).await?;
    loop {
        match session.open(&mail.next().await?) {
            Some(ToViewer::Answer { sdp }) => break peer.take(&sdp).await,
            Some(ToViewer::Candidate(_)) | None => {}
            Some(other) => bail!("instead of an answer came {other:?}"),
        }
    }

    let mut seen = Seen::new()?;
    let first = timeout(PATIENCE, peer.access_units(1)).await.context("no picture came")?;
    let first_after = clock::now() - started;
    seen.take(&first[0].annex_b)?;
    let end = clock::now() + Duration::from_secs(seconds);
    while let Some(left) = end.checked_duration_since(clock::now()) {
        match timeout(left, peer.access_units(1)).await {
            Ok(units) => seen.take(&units[0].annex_b)?,
            Err(_) => break,
        }
    }
    // The device may have ended the session before, and be gone.
    if let Err(error) = mail.send(session.seal(&ToDevice::Bye { reason: "done".into() })?).await {
        eprintln!("viewer: {error:#}");
    }
    peer.close().await;
    mail.close().await;
    if seen.decoded == 0 {
        bail!("{} access units came, and none could be decoded", seen.received);
    }
    Ok(json!({
        "name": welcome.name,
        "first_access_unit_ms": first_after.as_millis() as u64,
        "received": seen.received,
        "decoded": seen.decoded,
        "width": seen.size.0,
        "height": seen.size.1,
        "bars": seen.bars,
        "longest_gap_ms": seen.longest_gap.as_millis() as u64,
        "shown": seen.shown.iter().map(|(at, what, size)| json!({
            "at_ms": at.as_millis() as u64,
            "what": what,
            "size": [size.0, size.1],
        })).collect::<Vec<_>>(),
    }))
}

/// Which of this machine's addresses reaches the broker: what a viewer offers first.
fn local_address(broker: &str) -> Result<String> {
    let host = broker.split_once("://").context("the broker's address has no scheme")?.1;
    let host = host.split('/').next().unwrap_or(host);
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(host.replace("localhost", "127.0.0.1"))?;
    Ok(socket.local_addr()?.ip().to_string())
}

/// What was decoded.
struct Seen {
    decoder: Decoder,
    received: usize,
    decoded: usize,
    size: (usize, usize),
    /// Mean Y, U and V of each eighth of the last picture's middle rows: a test card has its bars there.
    bars: Vec<[u8; 3]>,
    /// The longest time from one picture to the next.
    longest_gap: Duration,
    last: Option<Duration>,
    /// What was seen, from when on (since 1970), and how large, whenever that changed: `slate` or `picture`.
    shown: Vec<(Duration, &'static str, (usize, usize))>,
}

impl Seen {
    fn new() -> Result<Self> {
        let decoder = Decoder::with_api_config(OpenH264API::from_source(), Default::default())?;
        Ok(Self {
            decoder,
            received: 0,
            decoded: 0,
            size: (0, 0),
            bars: Vec::new(),
            longest_gap: Duration::ZERO,
            last: None,
            shown: Vec::new(),
        })
    }

    fn take(&mut self, annex_b: &[u8]) -> Result<()> {
        self.received += 1;
        for unit in nal_units(annex_b) {
            if let Some(picture) = self.decoder.decode(unit)? {
                self.decoded += 1;
                self.size = picture.dimensions();
                self.bars = bars(&picture);
                let now = clock::since_epoch();
                self.longest_gap = self.longest_gap.max(now.saturating_sub(self.last.unwrap_or(now)));
                self.last = Some(now);
                let what = if is_slate(&picture) { "slate" } else { "picture" };
                if self.shown.last().is_none_or(|(_, was, size)| *was != what || *size != self.size) {
                    self.shown.push((now, what, self.size));
                }
            }
        }
        Ok(())
    }
}

/// The agent's slate, by the colour of its corners, which no test card has in all four.
fn is_slate(picture: &impl YUVSource) -> bool {
    let (width, height) = picture.dimensions();
    let (y_stride, u_stride, v_stride) = picture.strides();
    [(0, 0), (width - 2, 0), (0, height / 2), (width - 2, height / 2)].into_iter().all(|(x, y)| {
        let luma = picture.y()[y * y_stride + x];
        let (u, v) = (picture.u()[y / 2 * u_stride + x / 2], picture.v()[y / 2 * v_stride + x / 2]);
        luma.abs_diff(34) <= 4 && u.abs_diff(136) <= 4 && v.abs_diff(124) <= 4
    })
}

fn bars(picture: &impl YUVSource) -> Vec<[u8; 3]> {
    let (width, height) = picture.dimensions();
    let (y_stride, u_stride, v_stride) = picture.strides();
    let mean = |plane: &[u8], stride: usize, width: usize, height: usize, bar: usize| -> u8 {
        let (from, to) = (width * bar / 8 + width / 32, width * (bar + 1) / 8 - width / 32);
        let rows = height * 3 / 8..height * 4 / 8;
        let count = rows.len() * (to - from);
        let sum: usize = rows
            .flat_map(|row| &plane[row * stride + from..row * stride + to])
            .map(|v| usize::from(*v))
            .sum();
        (sum / count.max(1)) as u8
    };
    (0..8)
        .map(|bar| {
            [
                mean(picture.y(), y_stride, width, height, bar),
                mean(picture.u(), u_stride, width / 2, height / 2, bar),
                mean(picture.v(), v_stride, width / 2, height / 2, bar),
            ]
        })
        .collect()
}
