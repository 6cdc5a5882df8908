//! The controls of a pipeline's camera: listed and set from outside while the camera is in use or not, remembered for as
//! long as the pipeline lives, and set anew at each opening. All of it blocks for as long as the driver does: not for a
//! task. Not here: what controls and values are (`camera::controls`).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::CameraHandle;
use crate::{
    camera::{
        CameraSource,
        controls::{Control, ControlDevice, ControlError, Kind, Setting, typed_name},
    },
    config::Switch,
};

/// The camera's controls as they shall be.
pub(super) struct CameraControls {
    source: Arc<dyn CameraSource>,
    /// The viewer of a camera and its owner are on different threads; held for a few moves.
    wanted: Mutex<Wanted>,
}

#[derive(Debug, Default)]
struct Wanted {
    /// In the order in which they were set first.
    settings: Vec<Setting>,
    /// What could not be set at the last opening, so that the log says so once.
    told: Vec<String>,
}

impl CameraControls {
    pub(super) fn new(source: Arc<dyn CameraSource>) -> Self {
        Self { source, wanted: Mutex::default() }
    }

    /// Before the camera is opened. What cannot be set is a warning: a picture with a wrong setting is better than none.
    pub(super) fn apply(&self, camera: &str) {
        let settings = self.lock().settings.clone();
        // Looking for the camera is not for nothing.
        if settings.is_empty() {
            return;
        }
        let Some(node) = self.source.control_node() else { return };
        let untold = match ControlDevice::open(&node).and_then(|device| device.apply(&settings)) {
            Ok(unset) => unset.into_iter().map(|unset| unset.error.to_string()).collect(),
            // Opening it will say so.
            Err(ControlError::NotFound(_)) => return,
            Err(error) => vec![error.to_string()],
        };
        let told = std::mem::replace(&mut self.lock().told, untold.clone());
        for warning in untold.iter().filter(|warning| !told.contains(warning)) {
            tracing::warn!(%camera, "a control is not set: {warning}");
        }
    }

    fn device(&self) -> Result<ControlDevice, ControlError> {
        let node = self.source.control_node();
        ControlDevice::open(&node.ok_or_else(|| ControlError::NoControls(self.source.describe()))?)
    }

    fn remember(&self, settings: &[Setting]) {
        let mut wanted = self.lock();
        for setting in settings {
            // The configuration may have it as the driver writes it.
            let same = |old: &&mut Setting| typed_name(&old.control) == typed_name(&setting.control);
            match wanted.settings.iter_mut().find(same) {
                Some(old) => old.value.clone_from(&setting.value),
                None => wanted.settings.push(setting.clone()),
            }
        }
    }

    /// Each change is whole before anything can panic.
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CameraHandle {
    /// Where its pictures come from, for a person.
    pub fn source(&self) -> String {
        self.shared.controls.source.describe()
    }

    /// The V4L2 node that has the camera's controls, if it has any.
    pub fn control_node(&self) -> Option<PathBuf> {
        self.shared.controls.source.control_node()
    }

    /// The camera's controls, as they are now.
    ///
    /// # Errors
    /// It has none, is not there, or is closed for privacy.
    pub fn controls(&self) -> Result<Vec<Control>, ControlError> {
        self.control_device()?.list()
    }

    /// Privacy keeps the device closed to all.
    fn control_device(&self) -> Result<ControlDevice, ControlError> {
        match self.privacy() {
            Switch::On => Err(ControlError::Private),
            Switch::Off => self.shared.controls.device(),
        }
    }

    /// Whether its bit rate was fixed at the start; see [`CameraSource::rate_is_fixed`].
    pub fn rate_is_fixed(&self) -> bool {
        self.shared.controls.source.rate_is_fixed()
    }

    /// Whether these could be set, as far as the camera is there to say so.
    ///
    /// # Errors
    /// The first that could not, or that this camera has none.
    pub fn check_controls(&self, settings: &[Setting]) -> Result<(), ControlError> {
        match self.control_device().and_then(|device| device.check(settings)) {
            Ok(()) | Err(ControlError::NotFound(_) | ControlError::Private) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets controls now, and at each opening of the camera from now on; all are checked before any is set. A button
    /// is pressed once. Gives the controls as they are then.
    ///
    /// # Errors
    /// One does not fit, or the camera is not there or is closed for privacy. Then none is remembered.
    pub fn set_controls(&self, settings: &[Setting]) -> Result<Vec<Control>, ControlError> {
        let (set, named) = self.control_device()?.set(settings)?;
        let lasting = set.iter().zip(named).filter(|(control, _)| control.kind != Kind::Button);
        self.shared.controls.remember(&lasting.map(|(_, setting)| setting).collect::<Vec<_>>());
        Ok(set)
    }

    /// Has controls set at each opening of the camera, as the configuration says; they are not looked at before.
    pub fn preset_controls(&self, settings: &[Setting]) {
        self.shared.controls.remember(settings);
    }
}
