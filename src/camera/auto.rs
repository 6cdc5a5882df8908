//! The setting `auto`: the first camera that is found, and the same one again when it was unplugged and has come back
//! under another number. Where there is none when the agent starts, the synthetic picture. Not here: which devices
//! there are (`devices`), and which is the same (`identity`).

use std::sync::Arc;

use super::{CameraSource, synthetic, v4l2::V4l2Source};

/// What `auto` means now. Looks at the devices once.
pub fn source() -> Arc<dyn CameraSource> {
    match V4l2Source::first() {
        Some(source) => Arc::new(source),
        None => synthetic::source(),
    }
}
