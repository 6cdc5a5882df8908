//! The setting `auto`: the first camera that is found when the agent starts; where there is none, the synthetic picture.
//! Not here: which devices there are (`devices`), and finding one again under another number (`v4l2`).

use std::sync::Arc;

use super::{
    CameraSource, synthetic,
    v4l2::{V4l2Source, capture_devices},
};

/// What `auto` means now. Looks at the devices once.
pub fn source() -> Arc<dyn CameraSource> {
    match capture_devices().into_iter().next() {
        Some(found) => Arc::new(V4l2Source::new(found.path)),
        None => synthetic::source(),
    }
}
