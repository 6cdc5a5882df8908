//! What viewers want of a camera and what its thread has done, behind one mutex. Pure: the lock, the waiting and the
//! clock are in `pipeline.rs`.

use std::time::{Duration, Instant};

use super::{
    Notice, PipelineStats,
    air::{Air, Due, Origin},
    meter::Meter,
};
use crate::{
    config::Switch,
    encode::{
        Bitrate, EncodedFrame, FrameKind, Request, bitrate::BitrateControl, choice::InUse,
        keyframe::KeyFrames,
    },
};

#[derive(Debug)]
pub(super) struct Control {
    /// The thread shall end.
    pub(super) stopping: bool,
    /// Nobody is to be seen: the camera is closed, whoever watches.
    pub(super) private: Switch,
    /// The thread has ended.
    pub(super) ended: bool,
    /// Which picture the viewers get.
    pub(super) air: Air,
    /// Of the camera's stream.
    pub(super) keys: KeyFrames,
    slate_keys: KeyFrames,
    pub(super) bitrate: BitrateControl,
    pub(super) counters: PipelineStats,
    /// Of the camera's stream.
    pub(super) meter: Meter,
    /// What viewers are told while the picture is slowed down.
    pub(super) slowed: Option<Notice>,
    /// How far it is, from 0 on.
    pub(super) governor_step: u8,
    /// What encodes, or did last.
    pub(super) encoder: Option<InUse>,
    /// What the camera failed of last, for its owner; viewers read what `air` has of it.
    pub(super) reason: Option<String>,
    /// By when the thread must have taken its next step; `None` while it waits for viewers, or to try again.
    pub(super) step_due: Option<Instant>,
    viewers: u64,
    /// Those among them who do not turn pictures as a header extension says.
    pub(super) rigid_viewers: u64,
    /// When the last viewer left.
    left: Option<Instant>,
    linger: Duration,
}

impl Control {
    pub(super) fn new(bitrate: Bitrate, linger: Duration) -> Self {
        Self {
            stopping: false,
            private: Switch::Off,
            ended: false,
            air: Air::new(),
            keys: KeyFrames::new(),
            slate_keys: KeyFrames::new(),
            bitrate: BitrateControl::new(bitrate),
            counters: PipelineStats::default(),
            meter: Meter::default(),
            slowed: None,
            governor_step: 0,
            encoder: None,
            reason: None,
            step_due: None,
            viewers: 0,
            rigid_viewers: 0,
            left: None,
            linger,
        }
    }

    pub(super) fn viewer_came(&mut self) {
        self.viewers += 1;
    }

    pub(super) fn viewer_left(&mut self, now: Instant) {
        self.viewers -= 1;
        self.left = Some(now);
    }

    /// Whether the camera is to be opened.
    pub(super) fn has_viewers(&self) -> bool {
        self.viewers > 0 && self.private == Switch::Off
    }

    /// Whether an open camera is to stay open.
    pub(super) fn keeps_open(&self, now: Instant) -> bool {
        !self.stopping
            && self.private == Switch::Off
            && (self.viewers > 0
                || self.left.is_some_and(|left| now.saturating_duration_since(left) < self.linger))
    }

    /// Whether the slate is to be shown: never to nobody.
    pub(super) fn slate(&self, now: Instant) -> Due {
        if self.has_viewers() { self.air.slate(now) } else { Due::No }
    }

    /// What to make of the slate's next frame.
    pub(super) fn slate_request(&mut self, now: Instant) -> Request {
        self.slate_keys.take(now)
    }

    /// A viewer needs a key frame of what it sees.
    pub(super) fn request_key_frame(&mut self) {
        match self.air.on() {
            Some(Origin::Slate) => self.slate_keys.request(),
            Some(Origin::Camera) | None => self.keys.request(),
        }
    }

    /// Counts a frame from the camera, which goes to the encoder, and says what to make of it.
    pub(super) fn captured(&mut self, skipped: u32, now: Instant) -> (Request, Bitrate) {
        self.counters.captured += 1;
        self.counters.skipped += u64::from(skipped);
        self.air.encoding(now);
        (self.keys.take(now), self.bitrate.target(now))
    }

    /// Counts a frame from the camera that is not encoded.
    pub(super) fn left_out(&mut self, skipped: u32) {
        self.counters.captured += 1;
        self.counters.skipped += u64::from(skipped);
        self.counters.left_out += 1;
    }

    /// Counts a frame on its way to the viewers.
    pub(super) fn published(&mut self, origin: Origin, frame: &EncodedFrame, now: Instant) {
        let keys = match origin {
            Origin::Camera => {
                self.counters.encoded += 1;
                self.counters.bytes += frame.data.len() as u64;
                self.meter.add(frame.data.len(), now);
                &mut self.keys
            }
            Origin::Slate => {
                self.counters.slate_frames += 1;
                &mut self.slate_keys
            }
        };
        if frame.kind == FrameKind::Key {
            self.counters.key_frames += u64::from(origin == Origin::Camera);
            keys.made(now);
        }
    }

    /// The slate is on the air: with the camera's next frame its stream begins anew.
    pub(super) fn slate_began(&mut self) {
        self.keys.failed();
    }

    pub(super) fn stats(&self) -> PipelineStats {
        PipelineStats {
            key_requests: self.keys.requested(),
            key_requests_merged: self.keys.merged(),
            viewers: self.viewers,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn camera_stays_open_for_a_while_after_the_last_viewer() {
        let linger = Duration::from_secs(1);
        let (mut control, now) = (Control::new(Bitrate(1), linger), clock::now());
        assert!(!control.keeps_open(now));
        control.viewer_came();
        control.viewer_came();
        control.viewer_left(now);
        assert!(control.keeps_open(now + linger * 100), "one is still there");
        control.viewer_left(now + linger * 100);
        assert!(!control.has_viewers());
        assert!(control.keeps_open(now + linger * 100 + linger / 2));
        assert!(!control.keeps_open(now + linger * 101));
    }

    #[test]
    fn privacy_comes_before_viewers_and_the_camera_does_not_linger() {
        let (mut control, now) = (Control::new(Bitrate(1), Duration::from_secs(1)), clock::now());
        control.viewer_came();
        control.private = Switch::On;
        assert!(!control.has_viewers() && !control.keeps_open(now) && control.slate(now) == Due::No);
        control.private = Switch::Off;
        assert!(control.has_viewers() && control.keeps_open(now));
    }

    #[test]
    fn stop_comes_before_viewers() {
        let mut control = Control::new(Bitrate(1), Duration::from_secs(1));
        control.viewer_came();
        control.stopping = true;
        assert!(!control.keeps_open(clock::now()));
    }
}
