//! The setting `auto`: the first camera that is found, and the same one again when it was unplugged and has come back
//! under another number. Where there is none when the agent starts, the synthetic picture. Not here: which devices
//! there are (`devices`).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Camera, CameraError, CameraSource, Wish, synthetic,
    v4l2::{Found, V4l2Source, capture_devices},
};

/// What `auto` means now. Looks at the devices once.
pub fn source() -> Arc<dyn CameraSource> {
    match capture_devices().into_iter().next() {
        Some(found) => Arc::new(AutoSource { last: Mutex::new(found) }),
        None => synthetic::source(),
    }
}

/// Opens the camera that was used last, wherever it is now, or else the first there is.
#[derive(Debug)]
struct AutoSource {
    /// Locked for a look or a change: descriptions are asked for from other threads than the camera's.
    last: Mutex<Found>,
}

impl CameraSource for AutoSource {
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let now = choose(&self.last(), capture_devices());
        let camera = V4l2Source::new(&now.path).open(wish)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(camera)
    }

    fn describe(&self) -> String {
        self.last().path.display().to_string()
    }

    fn control_node(&self) -> Option<PathBuf> {
        Some(choose(&self.last(), capture_devices()).path)
    }
}

impl AutoSource {
    fn last(&self) -> Found {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The camera of the last time, by place and name, else by name, else the first; where there is none, the last again,
/// so that the error names it.
fn choose(last: &Found, present: Vec<Found>) -> Found {
    let same = present.iter().find(|found| *found == last);
    let moved = || present.iter().find(|found| found.card == last.card);
    same.or_else(moved).or(present.first()).unwrap_or(last).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(number: u32, card: &str) -> Found {
        Found { path: format!("/dev/video{number}").into(), card: card.to_owned() }
    }

    #[test]
    fn the_same_camera_is_taken_again_wherever_it_is() {
        let last = found(0, "C920");
        for (present, chosen) in [
            (vec![found(2, "Grabber"), found(0, "C920"), found(4, "C920")], found(0, "C920")),
            (vec![found(0, "Grabber"), found(2, "C920")], found(2, "C920")),
            (vec![found(1, "Grabber"), found(2, "Other")], found(1, "Grabber")),
            (vec![], last.clone()),
        ] {
            assert_eq!(choose(&last, present), chosen);
        }
    }
}
