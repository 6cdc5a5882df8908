//! A camera's pipeline: one thread that opens the camera at the first viewer, encodes each frame once, publishes
//! it to the hub, and closes the camera after the last viewer. Capture and encode share the thread: the driver's
//! own buffers are the slot in which the newest frame waits, so a frame is converted straight from the mapped
//! buffer, with nothing handed over between. A second thread shows the slate while the camera gives no picture. This
//! file is what others hold of it, from any task or thread; the threads themselves are in `worker` and `slate`. Not
//! here: what cameras and encoders do.

mod air;
mod control;
mod controls;
mod governor;
mod latency;
mod meter;
mod retry;
mod slate;
mod stage;
mod stills;
#[cfg(test)]
mod tests;
mod thermal;
mod throttle;
mod turning;
mod worker;

use std::{
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use crate::hub::Received;
use crate::{
    camera::{
        CameraSource, VideoFormat, Wish,
        orientation::{Orientation, Rotation},
    },
    clock,
    config::Switch,
    encode::{
        Bitrate, EncodeError, EncodedFrame, Output,
        choice::{self, Choice, InUse, Kind, Made},
        overlay::Caption,
    },
    hub::{Cursor, Event, Hub},
    tasks,
};
use air::{Origin, Slot};
use control::Control;
use controls::CameraControls;
use latency::Latency;
pub use latency::{BOUNDS_MS, Histogram};
pub use meter::Pace;
use slate::Slate;
pub use stills::StillError;
use stills::Stills;
pub use thermal::temperature;
use worker::Worker;

/// How long `Pipeline::stop` waits for the thread: a camera may be in a system call.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// What the configuration says of a camera.
#[derive(Debug, Clone)]
pub struct CameraSettings {
    /// Short and unique among the device's cameras; also in the thread's name.
    pub id: String,
    /// What people call it.
    pub name: String,
    pub wish: Wish,
    /// The rate to encode at where nothing speaks against it, and never more.
    pub bitrate: Bitrate,
    /// Which encoders may be used. The wish must accept what they take ([`Choice::accept`]).
    pub encoder: Choice,
    /// What makes its pictures upright.
    pub orientation: Orientation,
    /// What is written into its pictures.
    pub caption: Option<Caption>,
    /// How hot the board may become, in °C, before pictures that the processor encodes are slowed down; also when it
    /// does not keep up. `None`: never slowed down.
    pub hot: Option<f32>,
}

/// What a camera is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraState {
    /// Closed: nobody watches.
    Idle,
    /// There are viewers, and no picture yet.
    Opening,
    Streaming {
        format: VideoFormat,
        /// `profile_idc`, constraint flags and `level_idc` of the stream's SPS (RFC 6184, section 8.1).
        profile_level: [u8; 3],
    },
    /// There are viewers, and the camera does not work: it is tried again, and they see a slate meanwhile.
    NoPicture {
        /// One sentence for a person.
        reason: String,
        /// That of the picture as it was or is expected. The slate is in a profile that its decoders play.
        profile_level: [u8; 3],
    },
    /// The camera will not work again before the agent is restarted.
    Failed {
        /// One sentence for a person.
        reason: String,
    },
}

/// What viewers are told beside the picture, while it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub code: NoticeCode,
    /// One sentence for a person.
    pub message: String,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeCode {
    /// The picture is a slate: the camera does not work.
    Slate,
    /// Fewer or smaller pictures are sent, as the processor does not keep up.
    Slowed,
    /// The same, as the board is hot.
    Hot,
}

/// What a pipeline has done since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineStats {
    /// Frames that came from the camera.
    pub captured: u64,
    /// Frames that the camera made and nobody got: a newer one was there.
    pub skipped: u64,
    /// Frames that were no whole picture.
    pub damaged: u64,
    /// Frames published, key frames among them.
    pub encoded: u64,
    pub key_frames: u64,
    /// Bytes of all frames published.
    pub bytes: u64,
    /// Frames left out to spare the processor.
    pub left_out: u64,
    /// Frames of the slate.
    pub slate_frames: u64,
    /// Times that the camera was opened.
    pub opened: u64,
    /// Times that it was opened, or tried to be, after a failure.
    pub reopened: u64,
    /// Times that the encoder failed.
    pub encode_errors: u64,
    /// Frames that viewers did not get because they had fallen behind, all viewers together.
    pub behind: u64,
    /// Requests for a key frame, and among them those that one already asked for has served.
    pub key_requests: u64,
    pub key_requests_merged: u64,
    /// Viewers now.
    pub viewers: u64,
}

/// Starts a camera's thread. The camera is opened with the first viewer.
///
/// # Errors
/// The system's, where it has no thread to give.
pub fn start(
    settings: CameraSettings,
    source: Arc<dyn CameraSource>,
) -> io::Result<(CameraHandle, Pipeline)> {
    start_with(settings, Parts::real(source))
}

fn start_with(settings: CameraSettings, parts: Parts) -> io::Result<(CameraHandle, Pipeline)> {
    let names = (format!("cam-{}", settings.id), format!("slate-{}", settings.id));
    let shared = Arc::new(Shared {
        control: Mutex::new(Control::new(settings.bitrate, parts.timing.linger)),
        changed: Condvar::new(),
        hub: Hub::new(),
        state: watch::Sender::new(CameraState::Idle),
        notice: watch::Sender::new(None),
        now: Arc::clone(&parts.now),
        controls: CameraControls::new(Arc::clone(&parts.source)),
        stills: Stills::default(),
        ages: Ages::default(),
        name: Mutex::new(settings.name.clone()),
        settings,
    });
    let slate = Slate::new(Arc::clone(&shared), parts.timing);
    let worker = Worker::new(Arc::clone(&shared), parts);
    let mut pipeline = Pipeline { shared: Arc::clone(&shared), camera: None, slate: None };
    pipeline.camera = Some(tasks::thread(&names.0, move || worker.run())?);
    pipeline.slate = Some(tasks::thread(&names.1, move || slate.run())?);
    Ok((CameraHandle { shared }, pipeline))
}

/// What a pipeline is made of; tests put in their own.
struct Parts {
    source: Arc<dyn CameraSource>,
    make_encoder: Arc<MakeEncoder>,
    now: Arc<Now>,
    timing: Timing,
}

type MakeEncoder = dyn Fn(Kind, VideoFormat, Bitrate) -> Result<Made, EncodeError> + Send + Sync;
type Now = dyn Fn() -> Instant + Send + Sync;

impl Parts {
    fn real(source: Arc<dyn CameraSource>) -> Self {
        Self { source, make_encoder: Arc::new(choice::make), now: Arc::new(clock::now), timing: Timing::REAL }
    }
}

#[derive(Debug, Clone, Copy)]
struct Timing {
    /// The camera stays open for so long after the last viewer: who reloads the page finds it running.
    linger: Duration,
    /// The longest wait for a frame in one go, and so for a stop to be noticed.
    slice: Duration,
    /// A camera that gives no frame for so long (or three frame intervals) is reopened.
    silence: Duration,
    /// The same for its first frame: sensors and commands take their time to start.
    first_frame: Duration,
    /// Between attempts to open.
    retry: Duration,
    /// The same for a camera that opens and then fails, again and again.
    retry_slowly: Duration,
    /// The longest that the slate's thread waits, while there are viewers, before it looks whether they see something.
    look: Duration,
}

impl Timing {
    const REAL: Self = Self {
        linger: Duration::from_secs(1),
        slice: Duration::from_millis(100),
        silence: Duration::from_secs(2),
        first_frame: Duration::from_secs(10),
        retry: Duration::from_secs(1),
        retry_slowly: Duration::from_secs(5),
        look: Duration::from_secs(10),
    };
}

struct Shared {
    /// As they were at the start: [`Self::name`] and the control's bit rate may change.
    settings: CameraSettings,
    /// What people call it now; held for a copy.
    name: Mutex<String>,
    /// What viewers want and the thread obeys, and its counters. Held for a few lines, by the thread twice a frame.
    control: Mutex<Control>,
    /// Signalled when there may be something to do for a thread that waits, and when it has ended.
    changed: Condvar,
    hub: Hub,
    state: watch::Sender<CameraState>,
    notice: watch::Sender<Option<Notice>>,
    now: Arc<Now>,
    controls: CameraControls,
    stills: Stills,
    ages: Ages,
}

/// How old frames are on their way to viewers, and how many are lost at its end.
#[derive(Debug, Default)]
struct Ages {
    /// When they are published.
    encoded: Latency,
    /// When they were handed to a viewer's connection, once for each viewer.
    sent: Latency,
    behind: AtomicU64,
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        // Each change to it is a single assignment or counter, so it is usable after a panic elsewhere.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> MutexGuard<'_, String> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        (self.now)()
    }

    fn set_state(&self, state: CameraState) {
        replace(&self.state, state);
    }

    fn notify(&self, notice: Option<Notice>) {
        replace(&self.notice, notice);
    }

    /// Numbers a frame for the viewers, unless it is not their turn, and says whether it is the first after another
    /// origin's. It is to be published before the lock is let go, so that the numbers rise.
    fn admit(
        &self,
        control: &mut Control,
        origin: Origin,
        made: Output,
        rotation: Rotation,
        now: Instant,
    ) -> Option<(EncodedFrame, bool)> {
        let Slot { number, captured, first } = control.air.admit(origin, made.kind, made.captured, now)?;
        let frame = EncodedFrame { data: made.data, kind: made.kind, number, captured, rotation };
        control.published(origin, &frame, now);
        if origin == Origin::Camera {
            self.ages.encoded.add(now.saturating_duration_since(frame.captured));
        }
        if first && origin == Origin::Slate {
            control.slate_began();
        }
        tracing::trace!(number, bytes = frame.data.len(), kind = ?frame.kind, ?origin, "frame");
        Some((frame, first))
    }
}

fn replace<T: PartialEq>(shown: &watch::Sender<T>, new: T) {
    shown.send_if_modified(|current| {
        let changed = *current != new;
        *current = new;
        changed
    });
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .field("control", &self.control)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// A camera as its viewers' sessions know it. A clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct CameraHandle {
    shared: Arc<Shared>,
}

impl CameraHandle {
    pub fn settings(&self) -> &CameraSettings {
        &self.shared.settings
    }

    /// What people call it, now.
    pub fn name(&self) -> String {
        self.shared.name().clone()
    }

    /// It is called so from now on. What is written into its pictures stays.
    pub fn rename(&self, name: String) {
        *self.shared.name() = name;
    }

    /// It is encoded at this rate from now on, where nothing speaks against it, and never at more. A rate above the one
    /// before needs another encoder, whose first picture is a key frame.
    pub fn set_ceiling(&self, bitrate: Bitrate) {
        self.shared.control().bitrate.set_ceiling(bitrate);
    }

    /// A new viewer: it counts as one for as long as the subscription lives. The first opens the camera; one second
    /// after the last it is closed.
    pub fn subscribe(&self) -> Subscription {
        // Before the camera opens, so that its first frame finds the cursor there.
        let cursor = self.shared.hub.cursor();
        self.shared.control().viewer_came();
        self.shared.changed.notify_all();
        Subscription { handle: self.clone(), cursor, turning: Turns::Itself }
    }

    /// Closes the camera, whoever watches, and keeps it closed until it is turned off again.
    pub fn set_privacy(&self, privacy: Switch) {
        self.shared.control().private = privacy;
        self.shared.changed.notify_all();
    }

    /// Whether privacy keeps it closed.
    pub fn privacy(&self) -> Switch {
        self.shared.control().private
    }

    /// Asks for a key frame, for a viewer that cannot decode without. Requests are merged, and the key frames made for
    /// them are at least half a second apart.
    pub fn request_key_frame(&self) {
        self.shared.control().request_key_frame();
    }

    /// What the camera is doing, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<CameraState> {
        self.shared.state.subscribe()
    }

    /// What viewers are to be told now, and whenever that changes.
    pub fn notice(&self) -> watch::Receiver<Option<Notice>> {
        self.shared.notice.subscribe()
    }

    /// A viewer's connection is estimated to carry so much. It counts for ten seconds.
    pub fn report_estimate(&self, viewer: u64, bits_per_second: u64) {
        let now = self.shared.now();
        self.shared.control().bitrate.report(viewer, bits_per_second, now);
    }

    /// A viewer's estimate shall count no longer.
    pub fn forget_viewer(&self, viewer: u64) {
        self.shared.control().bitrate.forget(viewer);
    }

    /// Whether the camera's thread has not taken its next step in time: a driver or an encoder does not return. While
    /// it waits for viewers, or to try again, there is no step that it owes.
    pub fn is_stuck(&self, now: Instant) -> bool {
        self.shared.control().step_due.is_some_and(|due| now > due)
    }

    pub fn stats(&self) -> PipelineStats {
        let behind = self.shared.ages.behind.load(Ordering::Relaxed);
        PipelineStats { behind, ..self.shared.control().stats() }
    }

    /// How old frames are when they have been encoded, and when they have been handed to a viewer's connection.
    pub fn ages(&self) -> [Histogram; 2] {
        [self.shared.ages.encoded.read(), self.shared.ages.sent.read()]
    }

    /// How far the picture is slowed down: 0 not at all, up to 4.
    pub fn slowed_down(&self) -> u8 {
        self.shared.control().governor_step
    }

    /// Bits a second that the poorest of the viewers' connections is estimated to carry, where there is an estimate.
    pub fn lowest_estimate(&self) -> Option<u64> {
        let now = self.shared.now();
        self.shared.control().bitrate.lowest(now)
    }

    /// What the camera's stream has in a second just now; nothing while it is closed or shows the slate.
    pub fn pace(&self) -> Pace {
        let now = self.shared.now();
        self.shared.control().meter.read(now)
    }

    /// The rate that was asked of the encoder last.
    pub fn target(&self) -> Bitrate {
        self.shared.control().bitrate.current()
    }

    /// What the camera failed of last, with the remedy; it may work again since.
    pub fn last_failure(&self) -> Option<String> {
        self.shared.control().reason.clone()
    }

    /// The encoder that is in use, or was when the camera was open last.
    pub fn encoder(&self) -> Option<InUse> {
        self.shared.control().encoder.clone()
    }
}

/// A viewer's stream of frames. Dropping it is how a viewer leaves.
#[derive(Debug)]
pub struct Subscription {
    handle: CameraHandle,
    cursor: Cursor,
    turning: Turns,
}

/// Whether a viewer turns pictures as [`EncodedFrame::rotation`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turns {
    Itself,
    Not,
}

impl Subscription {
    /// This viewer does not turn pictures as [`EncodedFrame::rotation`] says: while it is there, it is done here.
    pub fn does_not_turn(&mut self) {
        if self.turning == Turns::Itself {
            self.turning = Turns::Not;
            self.handle.shared.control().rigid_viewers += 1;
        }
    }

    /// A frame was handed to the viewer's connection.
    pub fn sent(&self, frame: &EncodedFrame) {
        let shared = &self.handle.shared;
        shared.ages.sent.add(shared.now().saturating_duration_since(frame.captured));
    }

    /// The next frame. The first is a key frame, and so is the first after a loss (`Received::lost`); where one is
    /// needed it is asked for here. `None`: the pipeline has stopped. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            match self.cursor.next().await? {
                Event::Frame(received) => {
                    let behind = &self.handle.shared.ages.behind;
                    behind.fetch_add(u64::from(received.lost), Ordering::Relaxed);
                    return Some(received);
                }
                Event::NeedsKeyFrame => self.handle.request_key_frame(),
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        let now = shared.now();
        let mut control = shared.control();
        control.rigid_viewers -= u64::from(self.turning == Turns::Not);
        control.viewer_left(now);
        drop(control);
        shared.changed.notify_all();
    }
}

/// The running threads of a camera. Dropping it stops them without waiting for that.
#[derive(Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    camera: Option<JoinHandle<()>>,
    slate: Option<JoinHandle<()>>,
}

impl Pipeline {
    /// Stops the threads: subscriptions end, the camera is closed. Blocks until that is done, at most three seconds; a
    /// camera that holds its thread for longer is left behind.
    pub fn stop(self) {
        Self::stop_all(vec![self]);
    }

    /// Stops several cameras at once, in no more time than one.
    pub fn stop_all(pipelines: Vec<Self>) {
        pipelines.iter().for_each(Self::order_stop);
        let deadline = clock::now() + STOP_WITHIN;
        for pipeline in pipelines {
            pipeline.wait_for_end(deadline.saturating_duration_since(clock::now()));
        }
    }

    fn wait_for_end(mut self, patience: Duration) {
        let control = self.shared.control();
        let (control, _) = self
            .shared
            .changed
            .wait_timeout_while(control, patience, |control| !control.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let ended = control.ended;
        drop(control);
        let id = &self.shared.settings.id;
        if !ended {
            tracing::warn!(camera = %id, "the camera does not stop; going on without waiting for it");
            return;
        }
        for thread in [self.camera.take(), self.slate.take()].into_iter().flatten() {
            if thread.join().is_err() {
                tracing::error!(camera = %id, "one of the camera's threads had failed");
            }
        }
    }

    fn order_stop(&self) {
        self.shared.control().stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.order_stop();
    }
}
