//! Snapshots of a pipeline's camera: who asks counts as a viewer, so that the camera is open, and gets the first frame
//! that has settled, copied on the camera's thread. One at a time. Not here: how the frame becomes a JPEG (`encode::still`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{CameraHandle, CameraState};
use crate::{
    camera::VideoFormat,
    clock,
    config::Switch,
    encode::{
        EncodeError,
        prepare::Treatment,
        still::{self, Settling, Taken},
    },
    tasks,
};

/// For a camera to open, to settle and, of one that makes H.264, to come to a key frame.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where the camera's thread leaves a frame for who asked.
#[derive(Debug, Default)]
pub(super) struct Stills(
    /// Held for a few lines by the thread once a frame; while a picture is taken, for as long as copying it takes.
    Mutex<Desk>,
);

#[derive(Debug, Default)]
struct Desk {
    settling: Settling,
    asked: Option<oneshot::Sender<Taken>>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum StillError {
    #[error("another snapshot of this camera is being taken: try again")]
    Busy,
    /// The camera's own words.
    #[error("{0}")]
    Camera(String),
    #[error("the camera gave no picture within {} s: see the agent's log", PATIENCE.as_secs())]
    Late,
    #[error("the camera is turned off for privacy: `pinhole privacy off` turns it on again")]
    Private,
    #[error("the agent is stopping")]
    Stopped,
    #[error(transparent)]
    Jpeg(#[from] EncodeError),
    #[error("making the picture failed, which is a fault in pinhole: see the agent's log")]
    Fault,
}

impl Stills {
    /// The camera was opened, and must settle. Its pictures are to be treated like this.
    pub(super) fn opened(&self, treatment: Treatment) {
        self.lock().settling = Settling::new(treatment);
    }

    /// A frame has come from the camera.
    pub(super) fn offer(&self, format: &VideoFormat, data: &[u8], now: Instant) {
        let mut desk = self.lock();
        if desk.asked.as_ref().is_none_or(oneshot::Sender::is_closed) {
            desk.settling.pass(now);
            return;
        }
        let Some(taken) = desk.settling.take(format, data, now) else { return };
        if let Some(asked) = desk.asked.take() {
            // Whoever asked may have gone.
            let _ = asked.send(taken);
        }
    }

    fn ask(&self) -> Result<oneshot::Receiver<Taken>, StillError> {
        let mut desk = self.lock();
        if desk.asked.as_ref().is_some_and(|asked| !asked.is_closed()) {
            return Err(StillError::Busy);
        }
        let (sender, receiver) = oneshot::channel();
        desk.asked = Some(sender);
        Ok(receiver)
    }

    /// Each change is whole before anything can panic.
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CameraHandle {
    /// A JPEG of the camera as it is now. Quality: 1 to 100. Opens the camera if nobody watches.
    ///
    /// # Errors
    /// As of [`still`](Self::still), or what was taken is no whole picture.
    pub async fn jpeg(&self, quality: u8) -> Result<Vec<u8>, StillError> {
        let (taken, now) = (self.still().await?, clock::since_epoch());
        let made = tasks::blocking(move || still::jpeg(&taken, now, quality)).await;
        Ok(made.map_err(|_| StillError::Fault)??)
    }

    /// A picture of the camera, taken when it has settled. Opens the camera if nobody watches.
    ///
    /// # Errors
    /// The camera does not work, gives nothing in time, or is asked by someone else.
    pub async fn still(&self) -> Result<Taken, StillError> {
        if self.shared.control().private == Switch::On {
            return Err(StillError::Private);
        }
        let taken = self.shared.stills.ask()?;
        let mut state = self.state();
        let viewer = self.subscribe();
        // For a camera that makes H.264: without, it may take long to the next.
        self.request_key_frame();
        let failed = async {
            loop {
                let reason = match &*state.borrow_and_update() {
                    CameraState::Failed { reason } => Some(reason.clone()),
                    // The slate is shown to a camera that takes its time, too.
                    CameraState::Idle
                    | CameraState::Opening
                    | CameraState::Streaming { .. }
                    | CameraState::NoPicture { .. } => None,
                };
                let trouble = || {
                    let control = self.shared.control();
                    control.air.trouble().and(control.reason.clone())
                };
                if let Some(reason) = reason.or_else(trouble) {
                    return StillError::Camera(reason);
                }
                if state.changed().await.is_err() {
                    return StillError::Stopped;
                }
            }
        };
        let result = tokio::select! {
            biased;
            taken = taken => taken.map_err(|_| StillError::Stopped),
            error = failed => Err(error),
            () = clock::sleep(PATIENCE) => Err(StillError::Late),
        };
        drop(viewer);
        result
    }
}
