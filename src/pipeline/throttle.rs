//! The governor at its place on the camera's thread: gives it what was measured, and puts its changes into words.
//! Not here: when to change (`governor`), and changing (`stage`).

use std::time::Instant;

use super::{
    Notice, NoticeCode,
    governor::{Cause, Cost, Governor, Step},
    thermal::Thermometer,
};
use crate::camera::VideoFormat;

/// For one camera, over its openings.
#[derive(Debug)]
pub(super) struct Throttle {
    /// `None` where the configuration has turned it off.
    governor: Option<Governor>,
    thermometer: Thermometer,
    /// °C, when last looked.
    degrees: Option<f32>,
}

impl Throttle {
    /// `limit` in °C; without one, nothing is ever slowed down.
    pub(super) fn new(limit: Option<f32>) -> Self {
        Self { governor: limit.map(Governor::new), thermometer: Thermometer::default(), degrees: None }
    }

    /// What is encoded now.
    pub(super) fn step(&self) -> Step {
        self.governor.as_ref().map_or(Step::ALL, Governor::step)
    }

    /// How far that is from all.
    pub(super) fn level(&self) -> u8 {
        self.governor.as_ref().map_or(0, Governor::level)
    }

    /// Whether the next frame is to be encoded.
    pub(super) fn keeps(&mut self) -> bool {
        self.governor.as_mut().is_none_or(Governor::keeps)
    }

    /// A frame is done with; gives the step to take now and why.
    pub(super) fn done(&mut self, cost: Cost, now: Instant) -> Option<(Step, Option<Cause>)> {
        let governor = self.governor.as_mut()?;
        if let Some(degrees) = self.thermometer.look(now) {
            self.degrees = Some(degrees);
            governor.temperature(degrees);
        }
        governor.frame(cost, now).map(|change| (change.step, change.cause))
    }

    /// What viewers and the log are told of a step. `format` is what is encoded in it.
    pub(super) fn notice(&self, cause: Cause, format: &VideoFormat) -> Notice {
        let VideoFormat { width, height, rate, .. } = format;
        let rate = rate.per_second().round();
        let now = format!("{width}x{height} at {rate} pictures a second");
        match (cause, self.degrees) {
            (Cause::Load, _) => Notice {
                code: NoticeCode::Slowed,
                message: format!("the device cannot encode more than {now}"),
            },
            (Cause::Heat, Some(degrees)) => Notice {
                code: NoticeCode::Hot,
                message: format!("the device is hot ({degrees:.0} °C) and sends only {now}"),
            },
            (Cause::Heat, None) => {
                Notice { code: NoticeCode::Hot, message: format!("the device is hot and sends only {now}") }
            }
        }
    }
}
