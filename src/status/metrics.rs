//! The agent's status as Prometheus reads it: text format 0.0.4 of its exposition formats, names by its conventions (base
//! units, `_total`). Pure. Labels take values of fixed lists, and what the configuration names: cameras and brokers.
//! Nothing is of a single viewer. docs/metrics.md lists what there is, which a test compares. Not here: who may read it
//! (`web::metrics`).

use std::fmt::{Display, Write};

use super::{BrokerStatus, CameraStatus, Host, StateName, Status};
use crate::{
    peer::tally::SessionCounts,
    pipeline::{BOUNDS_MS, Histogram},
    signal::{desk::DeskCounters, exchange::CarrierReport},
};

/// What the text is, for `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All of it.
pub fn text(status: &Status) -> String {
    let mut page = Page::default();
    let build = [("version", status.version.as_str()), ("arch", std::env::consts::ARCH)];
    page.gauge("pinhole_build_info", "Always 1; what is running.").one(&build, 1);
    page.gauge("pinhole_uptime_seconds", "Time since the agent was started.").one(&[], status.uptime_s);
    cameras(&mut page, &status.cameras);
    stages(&mut page, &status.cameras);
    viewers(&mut page, status);
    if let Some(sessions) = &status.signaling.sessions {
        session_counts(&mut page, sessions);
    }
    carriers(&mut page, &status.signaling.carriers);
    desk(&mut page, &status.signaling.counters);
    if let Some(broker) = &status.broker {
        embedded_broker(&mut page, broker);
    }
    if let Some(answers) = &status.whep {
        let mut metric = page.counter("pinhole_whep_responses_total", "Answers to WHEP requests.");
        for (code, count) in answers {
            metric.one(&[("code", &code.to_string())], count);
        }
    }
    host(&mut page, &status.host);
    page.text
}

/// The text so far.
#[derive(Default)]
struct Page {
    text: String,
}

/// A metric whose values are to follow.
struct Metric<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Page {
    fn counter(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, help, "counter")
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, help, "gauge")
    }

    fn histogram(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, help, "histogram")
    }

    fn metric(&mut self, name: &'static str, help: &str, kind: &str) -> Metric<'_> {
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a string takes all");
        Metric { name, text: &mut self.text }
    }
}

impl Metric<'_> {
    fn one(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(self.text, "{before}{name}=\"{}\"", escaped(value)).expect("a string takes all");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(self.text, "{after} {value}").expect("a string takes all");
    }

    fn classes(&mut self, camera: &str, histogram: &Histogram) {
        let mut so_far = 0;
        for (class, count) in histogram.classes.iter().enumerate() {
            so_far += count;
            let bound =
                BOUNDS_MS.get(class).map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            self.part("_bucket", &[("camera", camera), ("le", &bound)], so_far);
        }
        self.part("_sum", &[("camera", camera)], histogram.sum.as_secs_f64());
        self.part("_count", &[("camera", camera)], so_far);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

type Field = fn(&CameraStatus) -> u64;

fn cameras(page: &mut Page, cameras: &[CameraStatus]) {
    let each = |metric: &mut Metric<'_>, value: Field| {
        for camera in cameras {
            metric.one(&[("camera", &camera.id)], value(camera));
        }
    };
    let counters: [(&'static str, &str, Field); 8] = [
        ("pinhole_frames_captured_total", "Frames that came from the camera.", |c| c.counters.captured),
        ("pinhole_frames_encoded_total", "Frames published, key frames among them.", |c| c.counters.encoded),
        ("pinhole_key_frames_total", "Key frames published.", |c| c.counters.key_frames),
        ("pinhole_key_frame_requests_total", "Requests of viewers for a key frame.", |c| {
            c.counters.key_requests
        }),
        (
            "pinhole_key_frame_requests_merged_total",
            "Among them, those that another's key frame served.",
            |c| c.counters.key_requests_merged,
        ),
        ("pinhole_encoded_bytes_total", "Bytes of all frames published.", |c| c.counters.bytes),
        ("pinhole_slate_frames_total", "Frames of the slate, shown where there is no picture.", |c| {
            c.counters.slate_frames
        }),
        ("pinhole_camera_opened_total", "Times that the camera was opened.", |c| c.counters.opened),
    ];
    for (name, help, value) in counters {
        each(&mut page.counter(name, help), value);
    }
    let reopened = "Times that it was opened, or tried to be, after a failure.";
    each(&mut page.counter("pinhole_camera_reopened_total", reopened), |c| c.counters.reopened);
    each(&mut page.counter("pinhole_encoder_errors_total", "Times that the encoder failed."), |c| {
        c.counters.encode_errors
    });
    dropped(page, cameras);
    states(page, cameras);
    let target = "Rate that is asked of the encoder.";
    each(&mut page.gauge("pinhole_target_bytes_per_second", target), |c| {
        u64::from(c.target_bits_per_second) / 8
    });
    let mut metric = page.gauge(
        "pinhole_lowest_estimate_bytes_per_second",
        "What the poorest viewer's connection is estimated to carry; absent without an estimate.",
    );
    for camera in cameras {
        if let Some(lowest) = camera.lowest_estimate {
            metric.one(&[("camera", &camera.id)], lowest / 8);
        }
    }
    let step = "How far pictures are reduced to spare the processor: 0 not at all, 4 most.";
    each(&mut page.gauge("pinhole_governor_step", step), |c| u64::from(c.slowed_down));
}

fn dropped(page: &mut Page, cameras: &[CameraStatus]) {
    let help = "Frames that got lost, by why; those of `behind` count once for each viewer.";
    let mut metric = page.counter("pinhole_frames_dropped_total", help);
    for camera in cameras {
        let counters = &camera.counters;
        let reasons = [
            ("skipped", counters.skipped),
            ("damaged", counters.damaged),
            ("left_out", counters.left_out),
            ("behind", counters.behind),
        ];
        for (reason, count) in reasons {
            metric.one(&[("camera", &camera.id), ("reason", reason)], count);
        }
    }
}

fn states(page: &mut Page, cameras: &[CameraStatus]) {
    const ALL: [(StateName, &str); 5] = [
        (StateName::Closed, "closed"),
        (StateName::Opening, "opening"),
        (StateName::Streaming, "streaming"),
        (StateName::NoPicture, "no_picture"),
        (StateName::Failed, "failed"),
    ];
    let mut metric =
        page.gauge("pinhole_camera_state", "1 for the state that the camera is in, 0 for others.");
    for camera in cameras {
        for (state, name) in ALL {
            metric.one(&[("camera", &camera.id), ("state", name)], u8::from(camera.state == state));
        }
    }
}

fn stages(page: &mut Page, cameras: &[CameraStatus]) {
    const STAGES: [(&str, &str); 2] = [
        (
            "pinhole_frame_encoded_seconds",
            "Age of frames when they have been encoded, from their capture on.",
        ),
        ("pinhole_frame_sent_seconds", "Age of frames when they were handed to a viewer's connection."),
    ];
    for (stage, (name, help)) in STAGES.into_iter().enumerate() {
        let mut metric = page.histogram(name, help);
        for camera in cameras {
            metric.classes(&camera.id, &camera.ages[stage]);
        }
    }
}

fn viewers(page: &mut Page, status: &Status) {
    let mut metric = page.gauge("pinhole_viewers", "Viewers that are connected.");
    for camera in &status.cameras {
        let watches = |id: &&String| **id == camera.id;
        let people = status.signaling.people.iter();
        let count: usize = people.map(|person| person.watching.iter().filter(watches).count()).sum();
        metric.one(&[("camera", &camera.id)], count);
    }
    let unfinished = "Sessions that have begun and are not connected, or are lost.";
    page.gauge("pinhole_sessions_unfinished", unfinished).one(&[], status.signaling.connecting);
    page.gauge("pinhole_viewers_paired", "Viewers whose keys are known.")
        .one(&[], status.signaling.people.len());
}

fn session_counts(page: &mut Page, sessions: &SessionCounts) {
    page.counter("pinhole_sessions_begun_total", "Offers that got a session.").one(&[], sessions.begun);
    page.counter("pinhole_sessions_connected_total", "Sessions whose viewer connected.")
        .one(&[], sessions.connected);
    let mut metric = page.counter("pinhole_sessions_ended_total", "Sessions that ended, by why.");
    for (reason, count) in &sessions.ended {
        metric.one(&[("reason", reason)], count);
    }
    let mut metric =
        page.counter("pinhole_messages_refused_total", "Viewers' messages that were refused, by why.");
    for (reason, count) in &sessions.refused {
        metric.one(&[("reason", reason)], count);
    }
    page.counter(
        "pinhole_messages_lost_total",
        "Messages to viewers that signaling did not take fast enough.",
    )
    .one(&[], sessions.messages_lost);
}

/// Which carrier it is; a broker that is configured twice is told apart.
fn carrier_names(carriers: &[CarrierReport]) -> Vec<String> {
    let name = |(index, carrier): (usize, &CarrierReport)| {
        let before = carriers[..index].iter().filter(|other| other.name == carrier.name).count();
        if before == 0 { carrier.name.clone() } else { format!("{} #{}", carrier.name, before + 1) }
    };
    carriers.iter().enumerate().map(name).collect()
}

fn carriers(page: &mut Page, carriers: &[CarrierReport]) {
    let names = carrier_names(carriers);
    let each = |mut metric: Metric<'_>, value: fn(&CarrierReport) -> u64| {
        for (carrier, name) in carriers.iter().zip(&names) {
            metric.one(&[("carrier", name)], value(carrier));
        }
    };
    each(page.gauge("pinhole_carrier_up", "Whether a way for signaling is up."), |c| u64::from(c.up));
    let since = "Time since it came up or went down.";
    each(page.gauge("pinhole_carrier_state_seconds", since), |c| c.since_s);
    let connects = "Times that it came up; above one, reconnections.";
    each(page.counter("pinhole_carrier_connects_total", connects), |c| c.connects);
    let lost = "Messages lost as it was down or overrun.";
    each(page.counter("pinhole_carrier_messages_lost_total", lost), |c| c.lost);
}

fn desk(page: &mut Page, counters: &DeskCounters) {
    let DeskCounters {
        delivered,
        paired,
        flooded,
        too_large,
        malformed,
        stale,
        wrong_session,
        unknown_key,
        replayed,
        forged,
        too_many_sessions,
        pairings_refused,
        rate_limited,
        bad_requests,
        answers_too_large,
    } = *counters;
    page.counter("pinhole_envelopes_delivered_total", "Envelopes that opened.").one(&[], delivered);
    page.counter("pinhole_pairings_total", "Viewers paired.").one(&[], paired);
    let mut metric =
        page.counter("pinhole_envelopes_dropped_total", "Envelopes that were not taken, by why.");
    for (reason, count) in [
        ("flooded", flooded),
        ("too_large", too_large),
        ("malformed", malformed),
        ("stale", stale),
        ("wrong_session", wrong_session),
        ("unknown_key", unknown_key),
        ("replayed", replayed),
        ("forged", forged),
        ("too_many_sessions", too_many_sessions),
        ("pairing_refused", pairings_refused),
        ("rate_limited", rate_limited),
        ("bad_request", bad_requests),
        ("answer_too_large", answers_too_large),
    ] {
        metric.one(&[("reason", reason)], count);
    }
}

fn embedded_broker(page: &mut Page, broker: &BrokerStatus) {
    page.gauge("pinhole_broker_clients", "Clients at the embedded broker.").one(&[], broker.clients);
    let counters = &broker.counters;
    let mut metric =
        page.counter("pinhole_broker_events_total", "What happened at the embedded broker, by what.");
    for (event, count) in [
        ("connected", counters.connected),
        ("refused", counters.refused),
        ("unfinished", counters.unfinished),
        ("taken_over", counters.taken_over),
        ("slow", counters.slow),
        ("too_fast", counters.too_fast),
        ("publish_refused", counters.publish_refused),
        ("subscribe_refused", counters.subscribe_refused),
        ("device_missed", counters.device_missed),
        ("undelivered", counters.undelivered),
    ] {
        metric.one(&[("event", event)], count);
    }
}

fn host(page: &mut Page, host: &Host) {
    if let Some(degrees) = host.temperature_c {
        page.gauge("pinhole_temperature_celsius", "Temperature of the hottest thermal zone.")
            .one(&[], degrees);
    }
    // The names that Prometheus' own libraries use for a process.
    let numbers = [
        ("process_resident_memory_bytes", "Resident memory size in bytes.", host.memory_bytes),
        ("process_threads", "Number of threads.", host.threads),
        ("process_open_fds", "Number of open file descriptors.", host.open_files),
        ("process_max_fds", "Maximum number of open file descriptors.", host.max_open_files),
    ];
    for (name, help, value) in numbers {
        if let Some(value) = value {
            page.gauge(name, help).one(&[], value);
        }
    }
    let help = "Total user and system CPU time spent in seconds.";
    page.counter("process_cpu_seconds_total", help).one(&[], host.cpu_seconds);
}

#[cfg(test)]
mod tests;
