//! The form of the text, and that docs/metrics.md lists what is in it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    pipeline::PipelineStats,
    signal::{exchange::Report, message::Role, people::Person},
    status::Picture,
};

fn camera(id: &str) -> CameraStatus {
    let ages = Histogram { classes: [1, 0, 4, 0, 0, 0, 0, 0, 2], ..Histogram::default() };
    CameraStatus {
        id: id.into(),
        name: "A \"name\" with\\signs".into(),
        source: "/dev/video0".into(),
        state: StateName::Streaming,
        reason: None,
        picture: Some(Picture { width: 1280, height: 720, frames_per_second: 30.0 }),
        encoder: None,
        frames_per_second: 30.0,
        bits_per_second: 1e6,
        target_bits_per_second: 1_500_000,
        lowest_estimate: Some(900_000),
        slowed_down: 1,
        notice: None,
        counters: PipelineStats { captured: 100, behind: 3, ..PipelineStats::default() },
        ages: [ages; 2],
    }
}

fn status() -> Status {
    let carrier = CarrierReport {
        name: "mqtts://broker.example:8883".into(),
        up: true,
        since_s: 5,
        reason: None,
        connects: 2,
        lost: 0,
    };
    let anna = Person {
        key: "0101010101010101".into(),
        name: "Anna's phone".into(),
        role: Role::View,
        paired_at: None,
        seen_ago_s: None,
        expires_at: None,
        watching: vec!["front".into()],
        whep: false,
    };
    let sessions = SessionCounts {
        ended: [("left".to_owned(), 2)].into(),
        refused: [("busy".to_owned(), 1)].into(),
        ..SessionCounts::default()
    };
    Status {
        version: "0.1.0".into(),
        name: "Garden \"2\"".into(),
        configuration: None,
        device: "abcdefghijkl2345".into(),
        uptime_s: 7200,
        page: "[::]:8480".parse().unwrap(),
        privacy: crate::config::Switch::Off,
        cameras: vec![camera("front"), camera("back")],
        signaling: Report {
            carriers: vec![carrier.clone(), carrier],
            people: vec![anna],
            sessions: Some(sessions),
            connecting: 1,
            counters: DeskCounters { forged: 7, ..DeskCounters::default() },
        },
        broker: Some(BrokerStatus { clients: 1, counters: Default::default() }),
        whep: Some([(201, 4), (401, 1)].into()),
        host: Host {
            temperature_c: Some(48.5),
            memory_bytes: Some(1 << 24),
            threads: Some(9),
            open_files: Some(20),
            max_open_files: Some(1024),
            cpu_seconds: 1.5,
        },
    }
}

/// A family as the text has it: its type, its series in order.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    series: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Reads the text format strictly; panics where it is not that.
fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(help.ends_with('.') && help.len() > 5, "{line}");
            current = name.to_owned();
            assert!(families.insert(current.clone(), Family::default()).is_none(), "{name} is there twice");
            continue;
        }
        let family = families.get_mut(&current).expect("HELP first");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!((name, family.kind.as_str()), (current.as_str(), ""));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            family.kind = kind.to_owned();
            continue;
        }
        assert!(!family.kind.is_empty(), "TYPE before values: {line}");
        assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "twice: {line}");
        let (name, labels, value) = parse_line(line);
        let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} in {current}"));
        let suffixes: &[&str] =
            if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}");
        family.series.push((suffix.to_owned(), labels, value));
    }
    families
}

fn parse_line(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let (head, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().expect("a number");
    let Some((name, rest)) = head.split_once('{') else {
        assert!(is_name(head), "{line}");
        return (head.to_owned(), BTreeMap::new(), value);
    };
    assert!(is_name(name), "{line}");
    let mut rest = rest.strip_suffix('}').expect("closed");
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").expect("label=\"");
        assert!(is_name(label), "{line}");
        let mut text = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("an escaped sign").1 {
                    'n' => text.push('\n'),
                    sign @ ('\\' | '"') => text.push(sign),
                    other => panic!("\\{other} is no escape: {line}"),
                },
                (_, sign) => text.push(sign),
            }
        };
        assert!(labels.insert(label.to_owned(), text).is_none(), "{line}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (name.to_owned(), labels, value)
}

#[test]
fn the_text_is_what_prometheus_reads() {
    let families = parse(&text(&status()));
    for (name, family) in &families {
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(name.starts_with("pinhole_") || name.starts_with("process_"), "{name}");
    }
    let value = |name: &str, label: &str, is: &str| {
        let found = families[name].series.iter().find(|(_, labels, _)| labels[label] == is);
        found.unwrap_or_else(|| panic!("{name} has no {label}={is}")).2
    };
    assert_eq!(value("pinhole_frames_captured_total", "camera", "back"), 100.0);
    assert_eq!(value("pinhole_frames_dropped_total", "reason", "behind"), 3.0);
    assert_eq!(value("pinhole_viewers", "camera", "front"), 1.0);
    assert_eq!(value("pinhole_viewers", "camera", "back"), 0.0);
    assert_eq!(value("pinhole_envelopes_dropped_total", "reason", "forged"), 7.0);
    assert_eq!(value("pinhole_sessions_ended_total", "reason", "left"), 2.0);
    assert_eq!(value("pinhole_whep_responses_total", "code", "401"), 1.0);
    assert_eq!(value("pinhole_carrier_up", "carrier", "mqtts://broker.example:8883 #2"), 1.0);
    assert_eq!(value("pinhole_camera_state", "state", "streaming"), 1.0);
    assert_eq!(value("pinhole_camera_state", "state", "closed"), 0.0);
}

#[test]
fn classes_of_a_histogram_add_up() {
    let families = parse(&text(&status()));
    let family = &families["pinhole_frame_sent_seconds"];
    let of_front = family.series.iter().filter(|(_, labels, _)| labels["camera"] == "front");
    let mut last = 0.0;
    let mut bounds = Vec::new();
    let mut count = None;
    for (suffix, labels, value) in of_front {
        match suffix.as_str() {
            "_bucket" => {
                assert!(*value >= last, "{family:?}");
                last = *value;
                bounds.push(labels["le"].clone());
            }
            "_count" => count = Some(*value),
            _ => {}
        }
    }
    assert_eq!(bounds, ["0.005", "0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "1", "+Inf"]);
    assert_eq!((last, count), (7.0, Some(7.0)));
}

#[test]
fn nothing_of_a_person_is_told() {
    let text = text(&status());
    for private in ["Anna", "0101010101010101", "Garden", "signs"] {
        assert!(!text.contains(private), "{private}");
    }
    assert_eq!(escaped("a\\b\"c\nd"), r#"a\\b\"c\nd"#);
}

#[test]
fn the_documentation_lists_what_there_is_and_nothing_else() {
    let documented: BTreeMap<String, String> = include_str!("../../../docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            (name.starts_with("pinhole_") || name.starts_with("process_"))
                .then(|| (name, cells.next().unwrap_or_default().to_owned()))
        })
        .collect();
    let families = parse(&text(&status()));
    let made: BTreeMap<String, String> =
        families.iter().map(|(name, family)| (name.clone(), family.kind.clone())).collect();
    assert_eq!(documented, made);
}
