//! The privacy switch: while it is on, every camera is closed, sessions end, and nobody is let in. It is kept in the state
//! folder, so that a restart or a power cut does not open an eye that somebody has closed. Set from any task that may
//! block. Not here: who may set it (`control`, `home_assistant`), and what viewers are told (`peer`).

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::info;

use crate::{
    config::Switch,
    pipeline::CameraHandle,
    signal::keys::{self, KeyError},
};

const FILE: &str = "privacy.json";
const LOSS: &str = "and set the switch again: pinhole privacy on";

/// The switch. A clone is the same.
#[derive(Debug, Clone)]
pub struct Privacy {
    folder: Arc<PathBuf>,
    cameras: Arc<[CameraHandle]>,
    state: Arc<watch::Sender<Switch>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivacyFile {
    v: u32,
    on: bool,
}

/// How it was left, for who looks before the cameras are there; without a file it is off.
///
/// # Errors
/// The file is there and cannot be read: then nobody knows, and nothing may be shown.
pub fn saved(folder: &std::path::Path) -> Result<Switch, KeyError> {
    let file = keys::read_file::<PrivacyFile>(&folder.join(FILE), LOSS)?;
    Ok(match file {
        Some(PrivacyFile { on: true, .. }) => Switch::On,
        Some(PrivacyFile { on: false, .. }) | None => Switch::Off,
    })
}

impl Privacy {
    /// As it was [`saved`].
    pub fn new(folder: PathBuf, cameras: Arc<[CameraHandle]>, state: Switch) -> Self {
        cameras.iter().for_each(|camera| camera.set_privacy(state));
        if state == Switch::On {
            info!("privacy is on: the cameras stay closed until `pinhole privacy off`");
        }
        Self { folder: Arc::new(folder), cameras, state: Arc::new(watch::Sender::new(state)) }
    }

    /// How it is now.
    pub fn state(&self) -> Switch {
        *self.state.borrow()
    }

    /// Now, and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Switch> {
        self.state.subscribe()
    }

    /// Turns it on or off; `by` is for the log. The cameras close at once, even where that cannot be saved.
    ///
    /// # Errors
    /// It could not be saved; turned on, it holds until the agent ends, and turned off it stays on.
    pub fn set(&self, wanted: Switch, by: &str) -> Result<(), KeyError> {
        if self.state() == wanted {
            return Ok(());
        }
        let save = || keys::write_file(&self.folder, FILE, &PrivacyFile { v: 1, on: wanted == Switch::On });
        match wanted {
            Switch::On => {
                self.take(wanted);
                info!(by, "privacy was turned on: the cameras are closed");
                save()
            }
            Switch::Off => {
                save()?;
                self.take(wanted);
                info!(by, "privacy was turned off");
                Ok(())
            }
        }
    }

    fn take(&self, state: Switch) {
        self.cameras.iter().for_each(|camera| camera.set_privacy(state));
        self.state.send_replace(state);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_as_it_was_left() {
        let folder = std::env::temp_dir().join(format!("pinhole-privacy-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let open = || Privacy::new(folder.clone(), Arc::new([]), saved(&folder).unwrap());
        let first = open();
        let seen = first.watch();
        assert_eq!(*seen.borrow(), Switch::Off);
        first.set(Switch::On, "a test").unwrap();
        assert_eq!(*seen.borrow(), Switch::On);
        assert_eq!(*open().watch().borrow(), Switch::On);
        first.set(Switch::Off, "a test").unwrap();
        assert_eq!(saved(&folder).unwrap(), Switch::Off);
        fs::write(folder.join(FILE), "{").unwrap();
        assert!(saved(&folder).is_err(), "who does not know shows nothing");
        fs::remove_dir_all(&folder).unwrap();
        let error = first.set(Switch::On, "a test").unwrap_err().to_string();
        assert!(error.contains("privacy.json"), "{error}");
        assert_eq!(*seen.borrow(), Switch::On, "closed all the same");
        assert!(first.set(Switch::Off, "a test").is_err());
        assert_eq!(*seen.borrow(), Switch::On, "what cannot be saved does not open it");
    }
}
