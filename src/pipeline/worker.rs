//! The camera's thread: waits for viewers, opens the camera, encodes, publishes, and starts over when something
//! fails. Not here: what is wanted (`control`), and when to try again (`retry`).

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    CameraState, Control, MakeEncoder, Notice, Parts, Shared, Timing,
    air::{Origin, Stream},
    governor::Cost,
    retry::Retry,
    stage::{Described, Stage, Task},
    throttle::Throttle,
};
use crate::{
    camera::{Camera, CameraError, CameraSource, VideoFormat},
    encode::{Damage, EncodeError, EncodedFrame, FrameKind, Output, Request, choice::InUse, passthrough},
};

/// For one turn of the loop: at most a wait for a frame (`Timing::slice`) and its encoding.
const STEP: Duration = Duration::from_secs(4);
/// For opening a camera: a driver waits five seconds for each answer that a USB device owes it.
const OPENING: Duration = Duration::from_secs(20);

pub(super) struct Worker {
    shared: Arc<Shared>,
    source: Arc<dyn CameraSource>,
    make_encoder: Arc<MakeEncoder>,
    timing: Timing,
    retry: Retry,
    throttle: Throttle,
    /// Why the camera does not work, said in the log once.
    reported: Option<String>,
}

/// Why there is no picture, and how long to wait before the next attempt.
struct Failure {
    trouble: Trouble,
    wait: Duration,
}

/// Why there is no picture: for the owner with the remedy, for viewers without.
struct Trouble {
    reason: String,
    shown: String,
}

impl From<CameraError> for Trouble {
    fn from(error: CameraError) -> Self {
        Self { reason: error.to_string(), shown: error.for_viewers() }
    }
}

impl From<EncodeError> for Trouble {
    fn from(error: EncodeError) -> Self {
        let reason = error.to_string();
        let shown = reason.split("; ").next().unwrap_or_default().to_owned();
        Self { reason, shown }
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, parts: Parts) -> Self {
        let hot = shared.settings.hot;
        Self {
            shared,
            source: parts.source,
            make_encoder: parts.make_encoder,
            timing: parts.timing,
            retry: Retry::new(parts.timing),
            throttle: Throttle::new(hot),
            reported: None,
        }
    }

    /// Until the pipeline is stopped.
    pub(super) fn run(mut self) {
        let _end = End { shared: Arc::clone(&self.shared) };
        while self.wait_for_viewers() {
            let Err(failure) = self.serve_guarded() else {
                continue;
            };
            let Failure { trouble, wait } = failure;
            if self.reported.as_ref() != Some(&trouble.reason) {
                tracing::warn!(camera = %self.shared.settings.id, "{}", trouble.reason);
                self.reported = Some(trouble.reason.clone());
            }
            // The slate's thread says so to the viewers.
            {
                let mut control = self.shared.control();
                control.air.failed(trouble.shown);
                control.reason = Some(trouble.reason);
            }
            self.shared.changed.notify_all();
            self.wait_to_retry(wait);
        }
    }

    /// A fault in a driver's binding or in our own code is a failure like others: the camera was closed by the
    /// unwinding, what the thread keeps is whole between frames, and viewers wait for the next picture.
    fn serve_guarded(&mut self) -> Result<(), Failure> {
        let served = panic::catch_unwind(AssertUnwindSafe(|| self.serve()));
        self.shared.control().step_due = None;
        served.unwrap_or_else(|_| {
            self.forget_picture();
            let reason = "the camera's code failed, which is a fault in pinhole: please report it".to_owned();
            let trouble = Trouble { shown: reason.clone(), reason };
            Err(Failure { trouble, wait: self.retry.after_run(Duration::ZERO) })
        })
    }

    /// Waits, without limit and without cost, until someone watches; false when the thread shall end.
    fn wait_for_viewers(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut control = shared.control();
        if !control.has_viewers() {
            self.retry = Retry::new(self.timing);
            self.reported = None;
            control.bitrate.reset();
            control.air.closed();
            shared.set_state(CameraState::Idle);
            shared.notify(None);
        }
        while !control.has_viewers() && !control.stopping {
            control = shared.changed.wait(control).unwrap_or_else(PoisonError::into_inner);
        }
        !control.stopping
    }

    fn wait_to_retry(&self, wait: Duration) {
        let control = self.shared.control();
        let (mut control, _) = self
            .shared
            .changed
            .wait_timeout_while(control, wait, |control| !control.stopping && control.has_viewers())
            .unwrap_or_else(PoisonError::into_inner);
        control.counters.reopened += u64::from(control.has_viewers());
    }

    /// One opening of the camera, up to its end: `Ok` when it is not wanted any more.
    fn serve(&mut self) -> Result<(), Failure> {
        let (shared, source) = (Arc::clone(&self.shared), self.source.describe());
        let id = &shared.settings.id;
        {
            let (mut control, now) = (shared.control(), shared.now());
            control.air.opening(now);
            control.step_due = Some(now + OPENING);
        }
        shared.changed.notify_all();
        // While a failed camera is tried again, viewers go on seeing why it failed.
        if self.reported.is_none() {
            shared.set_state(CameraState::Opening);
        }
        shared.controls.apply(id);
        let mut camera = self
            .source
            .open(&shared.settings.wish)
            .map_err(|error| Failure { trouble: error.into(), wait: self.retry.after_refusal() })?;
        let opened = shared.now();
        shared.control().counters.opened += 1;
        tracing::info!(camera = %id, %source, format = %Described(camera.format()), "camera opened");
        let ended = self.stream(camera.as_mut());
        drop(camera);
        self.forget_picture();
        let ran = shared.now().saturating_duration_since(opened);
        tracing::info!(camera = %id, %source, seconds = ran.as_secs(), "camera closed");
        ended.map_err(|trouble| Failure { trouble, wait: self.retry.after_run(ran) })
    }

    /// Nobody shall begin with a picture from before; the slate is not from before.
    fn forget_picture(&self) {
        let control = self.shared.control();
        if control.air.on() != Some(Origin::Slate) {
            self.shared.hub.clear();
        }
    }

    /// Frames from an open camera to the hub, until nobody watches or it fails with a reason.
    fn stream(&mut self, camera: &mut dyn Camera) -> Result<(), Trouble> {
        let shared = Arc::clone(&self.shared);
        let mut stage = self.stage(camera).map_err(Trouble::from)?;
        {
            let mut control = shared.control();
            control.air.opened(stage.encoded_format().rate.interval());
            self.announce(&mut control, &stage, None);
        }
        shared.stills.opened(stage.whole_treatment());
        let mut silence = Silence { timing: self.timing, since: shared.now(), first: true };
        while self.goes_on() {
            let frame = camera.next_frame(self.timing.slice).map_err(Trouble::from)?;
            let now = shared.now();
            let Some(frame) = frame else {
                self.publish_late(&mut stage)?;
                silence.check(now, &stage.format, self.source.as_ref())?;
                continue;
            };
            shared.stills.offer(&stage.format, frame.data, now);
            let (rigid_viewers, ceiling) = {
                let control = shared.control();
                (control.rigid_viewers, control.bitrate.ceiling())
            };
            let raised = stage.raise_ceiling(ceiling).map_err(Trouble::from)?;
            if stage.turn_for(rigid_viewers).map_err(Trouble::from)? || raised {
                self.announce(&mut shared.control(), &stage, None);
            }
            let skipped = frame.skipped;
            let (request, result) = if stage.in_software() && !self.throttle.keeps() {
                shared.control().left_out(skipped);
                (Request::Any, Ok(None))
            } else {
                let (request, bitrate) = shared.control().captured(skipped, now);
                let result = stage.set_bitrate(bitrate).and_then(|()| stage.encoder.encode(&frame, request));
                (request, result)
            };
            let took = shared.now().saturating_duration_since(now);
            // Only now, with the frame given back, can the camera say whether this was the first of another format.
            // Then what the old encoder made of it is no picture, unless it made nothing of it at all.
            let format = camera.format();
            let result = if format == stage.format { result } else { stage.change(format, result) };
            shared.control().air.encoded();
            let kind = match result {
                Ok(output) => {
                    silence.broken(now);
                    output.and_then(|output| self.publish(output, &mut stage))
                }
                Err(error) => {
                    let damage = error.damage().cloned();
                    self.recover(error, &mut stage)?;
                    match damage {
                        Some(damage) => silence.damaged(now, &stage.format, self.source.as_ref(), &damage)?,
                        None => silence.broken(now),
                    }
                    None
                }
            };
            let kind = self.publish_late(&mut stage)?.or(kind);
            if stage.hands_on() {
                self.ask_camera(camera, request, kind);
            } else if request == Request::Key && kind != Some(FrameKind::Key) {
                shared.control().keys.failed();
            }
            if stage.in_software() {
                let interval = stage.format.rate.interval();
                self.govern(&mut stage, Cost { took, interval, skipped })?;
            }
        }
        Ok(())
    }

    /// Spares the processor where that is needed: with the next frame, which is a key frame.
    fn govern(&mut self, stage: &mut Stage, cost: Cost) -> Result<(), Trouble> {
        let shared = Arc::clone(&self.shared);
        let Some((step, cause)) = self.throttle.done(cost, shared.now()) else { return Ok(()) };
        stage.set_step(step).map_err(Trouble::from)?;
        let (camera, format) = (&shared.settings.id, stage.encoded_format());
        let slowed = cause.map(|cause| self.throttle.notice(cause, &format));
        match &slowed {
            Some(Notice { message, .. }) => tracing::warn!(%camera, "{message}"),
            None => tracing::info!(%camera, format = %Described(format), "all is encoded again"),
        }
        let mut control = shared.control();
        control.slowed = slowed;
        control.governor_step = self.throttle.level();
        control.air.opened(format.rate.interval());
        Ok(())
    }

    /// Whether the camera is still wanted; also the sign that the thread moves.
    fn goes_on(&self) -> bool {
        let (mut control, now) = (self.shared.control(), self.shared.now());
        control.step_due = Some(now + STEP);
        control.keeps_open(now)
    }

    /// The encoder for an open camera, which turns its pictures by itself as far as it can.
    fn stage(&self, camera: &mut dyn Camera) -> Result<Stage, EncodeError> {
        let settings = &self.shared.settings;
        let turned = camera.turn(settings.orientation);
        let left = settings.orientation.after(turned);
        if settings.orientation != turned {
            tracing::info!(camera = %settings.id, by_camera = %turned, left = %left, "the picture is to be turned");
        }
        let (rigid_viewers, ceiling) = {
            let control = self.shared.control();
            (control.rigid_viewers, control.bitrate.ceiling())
        };
        let make_encoder = Arc::clone(&self.make_encoder);
        let task = Task {
            choice: settings.encoder,
            ceiling,
            left,
            caption: settings.caption.clone(),
            rigid_viewers,
            step: self.throttle.step(),
        };
        Stage::new(make_encoder, camera.format(), task)
    }

    /// Gives a frame to the viewers. `None`: it is of no use to them, as they see the slate and this is no key frame.
    fn publish(&mut self, output: Output, stage: &mut Stage) -> Option<FrameKind> {
        stage.worked();
        let kind = output.kind;
        let shared = Arc::clone(&self.shared);
        let now = shared.now();
        let mut control = shared.control();
        let (frame, _) = shared.admit(&mut control, Origin::Camera, output, stage.plan.show, now)?;
        if kind == FrameKind::Key {
            self.announce(&mut control, stage, Some(&frame));
        }
        shared.hub.publish(frame);
        Some(kind)
    }

    /// Frames that an encoder which was behind has finished meanwhile; gives the last one's kind, or a key frame's.
    fn publish_late(&mut self, stage: &mut Stage) -> Result<Option<FrameKind>, Trouble> {
        let mut kind = None;
        loop {
            match stage.encoder.take_ready() {
                Ok(Some(output)) => {
                    let published = self.publish(output, stage);
                    kind = if kind == Some(FrameKind::Key) { kind } else { published.or(kind) };
                }
                Ok(None) => return Ok(kind),
                Err(error) => {
                    self.recover(error, stage)?;
                    return Ok(kind);
                }
            }
        }
    }

    /// Tells the viewers' sessions what the stream is, as soon as that is known: for a camera that is encoded here
    /// before the first frame, for another with its first key frame.
    fn announce(&mut self, control: &mut Control, stage: &Stage, key_frame: Option<&EncodedFrame>) {
        if control.encoder.as_ref() != Some(&stage.in_use) {
            let InUse { name, why, .. } = &stage.in_use;
            tracing::info!(camera = %self.shared.settings.id, encoder = %name, %why, "encoder chosen");
            control.encoder = Some(stage.in_use.clone());
        }
        let format = stage.encoded_format();
        let from_stream = || passthrough::profile_level(&key_frame?.data);
        let profile_level = stage.encoder.profile_level().or_else(from_stream);
        let Some(profile_level) = profile_level else {
            return;
        };
        control.air.known = Some(Stream { format, profile_level });
        // A camera that failed, or let viewers wait, works when there is a picture, not when it opens.
        let waits = self.reported.is_some() || control.air.on() == Some(Origin::Slate);
        if waits && key_frame.is_none() {
            return;
        }
        if self.reported.take().is_some() {
            tracing::info!(camera = %self.shared.settings.id, "camera works again");
        }
        self.shared.notify(control.slowed.clone());
        self.shared.set_state(CameraState::Streaming { format, profile_level });
    }

    /// After an error of the encoder: a damaged frame is dropped, a failed encoder is made anew.
    fn recover(&mut self, error: EncodeError, stage: &mut Stage) -> Result<(), Trouble> {
        let camera = &self.shared.settings.id;
        if error.damage().is_some() {
            self.shared.control().counters.damaged += 1;
            tracing::debug!(%camera, "{error}");
            return Ok(());
        }
        self.shared.control().counters.encode_errors += 1;
        tracing::warn!(%camera, encoder = %stage.in_use.name, "{error}; making a new encoder");
        stage.replace(error).map_err(Trouble::from)
    }

    /// Key frames of a camera that encodes by itself: it is asked for those that are wanted, and for the one that is
    /// missing where its stream has a gap.
    fn ask_camera(&self, camera: &mut dyn Camera, request: Request, published: Option<FrameKind>) {
        if published.is_none() {
            self.shared.control().keys.request();
        }
        if request == Request::Key && published != Some(FrameKind::Key) {
            camera.request_key_frame();
        }
    }
}

/// Notices that a camera says nothing, or nothing that can be understood.
struct Silence {
    timing: Timing,
    since: Instant,
    first: bool,
}

impl Silence {
    fn broken(&mut self, now: Instant) {
        self.since = now;
        self.first = false;
    }

    fn check(&self, now: Instant, format: &VideoFormat, source: &dyn CameraSource) -> Result<(), Trouble> {
        let silent = now.saturating_duration_since(self.since);
        if silent < self.allowed(format) {
            return Ok(());
        }
        Err(CameraError::Stalled { device: source.describe(), seconds: silent.as_secs_f32() }.into())
    }

    /// After a damaged picture.
    fn damaged(
        &self,
        now: Instant,
        format: &VideoFormat,
        source: &dyn CameraSource,
        damage: &Damage,
    ) -> Result<(), Trouble> {
        if now.saturating_duration_since(self.since) < self.allowed(format) {
            return Ok(());
        }
        Err(CameraError::Damaged { device: source.describe(), what: damage.to_string() }.into())
    }

    fn allowed(&self, format: &VideoFormat) -> Duration {
        let allowed = if self.first { self.timing.first_frame } else { self.timing.silence };
        allowed.max(format.rate.interval() * 3)
    }
}

/// Ends everything that waits for the thread, however the thread ends.
struct End {
    shared: Arc<Shared>,
}

impl Drop for End {
    fn drop(&mut self) {
        let state = if thread::panicking() {
            tracing::error!(camera = %self.shared.settings.id, "the camera's thread failed");
            CameraState::Failed { reason: "the camera's thread failed: restart pinhole".to_owned() }
        } else {
            CameraState::Idle
        };
        // First, so that the slate's thread says nothing any more.
        self.shared.control().ended = true;
        self.shared.set_state(state);
        self.shared.notify(None);
        self.shared.hub.close();
        self.shared.changed.notify_all();
    }
}
