//! `pinhole status`: asks the running agent what it is doing, and shows it in 80 columns. Not here: what it is
//! (`crate::status`).

use std::{path::PathBuf, time::Duration};

use super::{
    CommandError, Stdout,
    table::{self, columns},
};
use crate::{
    clock,
    control::{
        client::ask,
        message::{Reply, Request},
        show::length,
    },
    links::Output,
    signal::exchange::{CarrierReport, Report},
    status::{CameraStatus, Host, StateName, Status},
};

/// How often `--watch` asks.
const EVERY: Duration = Duration::from_secs(2);

/// How it is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
    /// Again and again, until Ctrl-C.
    Watch,
}

pub(super) fn run(sockets: &[PathBuf], form: Form, out: &mut Stdout) -> Result<(), CommandError> {
    loop {
        let status = match ask(sockets, &Request::Status {})? {
            Reply::Status(status) => status,
            other => return Err(CommandError::unexpected(other)),
        };
        match form {
            Form::Json => return out.print_json(&status),
            Form::Text => return out.print(&text(&status)),
            Form::Watch => {
                // Home, the text, and away with what was below it: nothing flickers (ECMA-48, CUP, EL and ED).
                let text = match out.kind() {
                    Output::Terminal => format!("\x1b[H{}\x1b[J", text(&status).replace('\n', "\x1b[K\n")),
                    Output::Plain => format!("{}\n", text(&status)),
                };
                out.print(&text)?;
                clock::pause(EVERY);
            }
        }
    }
}

fn text(status: &Status) -> String {
    let mut text =
        format!("{}: pinhole {}, running for {}\n", status.name, status.version, length(status.uptime_s));
    text.push_str(&format!("device {}{}\n", status.device, host(&status.host)));
    if let Some(configuration) = &status.configuration {
        text.push_str(&format!("Configuration\n{}", wrapped(configuration)));
    }
    for camera in &status.cameras {
        text.push('\n');
        text.push_str(&about_camera(camera));
    }
    text.push_str("\nSignaling\n");
    for carrier in &status.signaling.carriers {
        text.push_str(&about_carrier(carrier));
    }
    text.push('\n');
    text.push_str(&watching(&status.signaling));
    text
}

/// `, 48 °C, 23.1 MiB, 14 threads, 42 open files`
fn host(host: &Host) -> String {
    let parts = [
        host.temperature_c.map(|degrees| format!("{degrees:.0} °C")),
        host.memory_bytes.map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))),
        host.threads.map(|threads| format!("{threads} threads")),
        host.open_files.map(|files| format!("{files} open files")),
    ];
    parts.into_iter().flatten().map(|part| format!(", {part}")).collect()
}

fn about_camera(camera: &CameraStatus) -> String {
    let title =
        if camera.name == camera.id { camera.id.clone() } else { format!("{} ({})", camera.name, camera.id) };
    let mut lines = vec![camera.source.clone()];
    let viewers = match camera.counters.viewers {
        1 => "1 viewer".to_owned(),
        viewers => format!("{viewers} viewers"),
    };
    lines.push(match (camera.state, &camera.picture) {
        (StateName::Closed, _) => "closed, as nobody watches".to_owned(),
        (StateName::Private, _) => "closed for privacy; `pinhole privacy off` opens it".to_owned(),
        (StateName::Streaming, Some(picture)) => {
            let fps = camera.frames_per_second;
            let kilobits = camera.bits_per_second / 1000.0;
            format!("{}x{}, {fps:.1} fps, {kilobits:.0} kbit/s, {viewers}", picture.width, picture.height)
        }
        (StateName::Opening | StateName::Streaming, _) => format!("opening, {viewers}"),
        (StateName::NoPicture | StateName::Failed, _) => format!("no picture, {viewers}"),
    });
    lines.extend(camera.reason.clone());
    lines.extend(camera.notice.clone().filter(|_| camera.reason.is_none()));
    if let Some(encoder) = camera.encoder.as_ref().filter(|_| camera.state == StateName::Streaming) {
        lines.push(format!("encoded by {encoder}"));
    }
    let counters = &camera.counters;
    if counters.opened > 0 {
        let mut counted = format!("{} frames since the start", counters.captured);
        let losses = [
            (counters.skipped, "skipped"),
            (counters.damaged, "damaged"),
            (counters.left_out, "left out"),
            (counters.encode_errors, "encoder errors"),
            (counters.reopened, "reopenings"),
        ];
        for (count, what) in losses.into_iter().filter(|(count, _)| *count > 0) {
            counted.push_str(&format!(", {count} {what}"));
        }
        lines.push(counted);
    }
    format!("{title}\n{}", lines.iter().map(|line| wrapped(line)).collect::<String>())
}

fn about_carrier(carrier: &CarrierReport) -> String {
    let since = length(carrier.since_s);
    let state = match (carrier.up, &carrier.reason) {
        (true, _) => format!("up for {since}"),
        (false, Some(reason)) => format!("down for {since}: {reason}"),
        (false, None) => format!("not up yet, for {since}"),
    };
    wrapped(&format!("{}: {state}", carrier.name))
}

fn watching(signaling: &Report) -> String {
    let watching = signaling.people.iter().filter(|person| !person.watching.is_empty());
    let rows: Vec<Vec<String>> =
        watching.map(|person| vec![format!("  {}", person.name), person.watching.join(", ")]).collect();
    let paired = match signaling.people.len() {
        0 => "nobody is paired; `pinhole pair` prints links".to_owned(),
        1 => "1 viewer is paired".to_owned(),
        more => format!("{more} viewers are paired"),
    };
    let connecting = match signaling.connecting {
        0 => String::new(),
        more => format!(", {more} connecting"),
    };
    format!(
        "Watching ({paired}{connecting})\n{}",
        if rows.is_empty() { "  nobody\n".to_owned() } else { columns(&rows) }
    )
}

/// A line with two blanks before it, and four before what does not fit into its width.
fn wrapped(line: &str) -> String {
    format!("  {}", table::wrapped(line, 2, 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::tally::SessionCounts,
        pipeline::PipelineStats,
        signal::{desk::DeskCounters, message::Role, people::Person},
        status::Picture,
    };

    fn status() -> Status {
        let front = CameraStatus {
            id: "front".into(),
            name: "Front door".into(),
            source: "/dev/video0".into(),
            state: StateName::Streaming,
            reason: None,
            picture: Some(Picture { width: 1280, height: 720, frames_per_second: 30.0 }),
            encoder: Some("OpenH264".into()),
            frames_per_second: 29.96,
            bits_per_second: 1_480_300.0,
            target_bits_per_second: 1_500_000,
            lowest_estimate: None,
            slowed_down: 0,
            notice: None,
            counters: PipelineStats {
                captured: 1000,
                skipped: 3,
                opened: 1,
                viewers: 1,
                ..PipelineStats::default()
            },
            ages: Default::default(),
        };
        let reason = "the camera /dev/video2 is in use by another program (ffmpeg, 1234): it is tried again each second";
        let back = CameraStatus {
            id: "back".into(),
            name: "back".into(),
            state: StateName::NoPicture,
            reason: Some(reason.into()),
            picture: None,
            notice: Some(reason.into()),
            counters: PipelineStats { viewers: 2, ..PipelineStats::default() },
            ..front.clone()
        };
        let carrier = CarrierReport {
            name: "embedded broker".into(),
            up: true,
            since_s: 7200,
            reason: None,
            connects: 1,
            lost: 0,
        };
        let far = CarrierReport {
            name: "mqtts://broker.example:8883".into(),
            up: false,
            reason: Some(
                "the server's certificate has expired: have it renewed, or set this machine's clock".into(),
            ),
            ..carrier.clone()
        };
        let anna = Person {
            key: "0101010101010101".into(),
            name: "Anna's phone".into(),
            role: Role::View,
            paired_at: None,
            seen_ago_s: None,
            expires_at: None,
            watching: vec!["front".into(), "back".into()],
            whep: false,
        };
        Status {
            version: "0.1.0".into(),
            name: "Garden".into(),
            configuration: None,
            device: "abcdefghijkl2345".into(),
            uptime_s: 7200,
            page: "[::]:8480".parse().unwrap(),
            privacy: crate::config::Switch::Off,
            cameras: vec![front, back],
            signaling: Report {
                carriers: vec![carrier, far],
                people: vec![anna],
                sessions: Some(SessionCounts { begun: 3, ..SessionCounts::default() }),
                connecting: 1,
                counters: DeskCounters::default(),
            },
            broker: None,
            whep: None,
            host: Host { temperature_c: Some(48.2), memory_bytes: Some(24_222_000), ..Host::default() },
        }
    }

    #[test]
    fn it_says_what_the_agent_is_doing_in_eighty_columns() {
        let shown = text(&status());
        let expected = "\
Garden: pinhole 0.1.0, running for 2 hours
device abcdefghijkl2345, 48 °C, 23.1 MiB

Front door (front)
  /dev/video0
  1280x720, 30.0 fps, 1480 kbit/s, 1 viewer
  encoded by OpenH264
  1000 frames since the start, 3 skipped

back
  /dev/video0
  no picture, 2 viewers
  the camera /dev/video2 is in use by another program (ffmpeg, 1234): it is
    tried again each second

Signaling
  embedded broker: up for 2 hours
  mqtts://broker.example:8883: down for 2 hours: the server's certificate has
    expired: have it renewed, or set this machine's clock

Watching (1 viewer is paired, 1 connecting)
  Anna's phone  front, back
";
        assert_eq!(shown, expected);
        assert!(shown.lines().all(|line| line.chars().count() <= table::WIDTH), "{shown}");
    }

    #[test]
    fn what_is_shown_as_json_is_read_again() {
        let json = serde_json::to_string(&status()).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status());
        assert!(json.contains(r#""state":"no-picture""#), "{json}");
    }
}
