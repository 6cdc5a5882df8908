//! The state that Home Assistant is told, from what the agent is doing. Pure. Not here: which entities read it
//! (`discovery`).

use serde_json::{Map, Value, json};

use crate::{
    config::Switch,
    status::{CameraStatus, Status},
};

/// Characters of a state that Home Assistant keeps.
const MAX_STATE: usize = 255;
/// What is said where nothing is wrong.
const NONE: &str = "none";

/// One JSON object for all. Rates are rounded, so that what has hardly changed is not told again.
pub(super) fn state(status: &Status) -> Value {
    let viewers: u64 = status.cameras.iter().map(|camera| camera.counters.viewers).sum();
    let cameras: Map<String, Value> = status.cameras.iter().map(camera).collect();
    json!({
        "viewers": viewers,
        "temperature": status.host.temperature_c.map(|degrees| (f64::from(degrees) * 2.0).round() / 2.0),
        "privacy": match status.privacy {
            Switch::On => "on",
            Switch::Off => "off",
        },
        "problem": problem(status),
        "cameras": cameras,
    })
}

fn camera(camera: &CameraStatus) -> (String, Value) {
    let kilobits = (camera.bits_per_second / 50_000.0).round() * 50.0;
    let fps = camera.frames_per_second.round();
    (camera.id.clone(), json!({ "kbit_s": kilobits, "fps": fps, "viewers": camera.counters.viewers }))
}

/// The first thing that is wrong.
fn problem(status: &Status) -> String {
    let camera = status.cameras.iter().find_map(|camera| camera.reason.clone());
    let carrier = || {
        let down = status.signaling.carriers.iter().find(|carrier| !carrier.up);
        down.and_then(|carrier| carrier.reason.clone())
    };
    let notice = || status.cameras.iter().find_map(|camera| camera.notice.clone());
    let told = camera.or_else(carrier).or_else(notice).or_else(|| status.configuration.clone());
    let problem = told.unwrap_or_else(|| NONE.to_owned());
    problem.chars().take(MAX_STATE).collect()
}
