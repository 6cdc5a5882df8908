//! From what the user named to a device's path. Remembers who the camera was when it was first opened, and finds that
//! one again under another number. On the camera's pipeline thread. Not here: what tells cameras apart (`identity`).

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::camera::{
    CameraError, devices,
    identity::{self, Identity, Place, Unclear},
};

/// How the user named a camera.
#[derive(Debug)]
pub(super) enum Named {
    /// By its node, which may become another's, or by a link, which tells by itself who is meant.
    Path(PathBuf),
    /// By its card.
    Card(String),
}

#[derive(Debug)]
pub(super) struct Finder {
    named: Named,
    /// A mutex because a source is shared: beside its camera's thread, who asks for its controls uses it.
    known: Mutex<Option<Known>>,
}

/// The camera that was opened first.
#[derive(Debug)]
struct Known {
    identity: Identity,
    /// Those that were there at the time, which are others therefore.
    beside: Vec<Identity>,
    /// Where it was last, so that a change is logged once.
    last: PathBuf,
    /// Whether another was found in its place, which is logged once.
    replaced: bool,
}

impl Known {
    fn at(path: &Path) -> Option<Self> {
        let node = path.canonicalize().ok()?;
        let (ours, others): (Vec<_>, Vec<_>) =
            devices::present().into_iter().partition(|camera| camera.path == node);
        let beside = others.into_iter().map(|camera| camera.identity).collect();
        let camera = ours.into_iter().next()?;
        Some(Self { identity: camera.identity, beside, last: path.to_path_buf(), replaced: false })
    }
}

impl Finder {
    pub(super) fn new(named: Named) -> Self {
        Self { named, known: Mutex::new(None) }
    }

    /// As the user wrote it.
    pub(super) fn describe(&self) -> String {
        match &self.named {
            Named::Path(path) => path.display().to_string(),
            Named::Card(name) => format!("card:{name}"),
        }
    }

    /// Where the camera is now.
    pub(super) fn find(&self) -> Result<PathBuf, CameraError> {
        let mut known = self.known();
        let path = match &self.named {
            Named::Path(path) => self.by_path(path, known.as_mut())?,
            Named::Card(name) => self.by_card(name, known.as_ref())?,
        };
        if let Some(known) = known.as_mut().filter(|known| known.last != path) {
            let (was, is) = (known.last.display(), path.display());
            tracing::info!(source = self.describe(), %was, %is, "the camera is found under another number");
            known.last = path.clone();
        }
        Ok(path)
    }

    /// It was opened there: the first is remembered.
    pub(super) fn opened(&self, path: &Path) {
        let mut known = self.known();
        if known.is_none() {
            *known = Known::at(path);
        }
    }

    fn by_path(&self, path: &Path, known: Option<&mut Known>) -> Result<PathBuf, CameraError> {
        let Some(known) = known.filter(|_| !path.is_symlink()) else { return Ok(path.to_path_buf()) };
        // Mostly it is where it was, and then there is no need to open all others.
        if devices::identify(path).as_ref() == Some(&known.identity) {
            return Ok(path.to_path_buf());
        }
        match identity::place(path, &known.identity, &known.beside, &devices::present()) {
            Place::Here => Ok(path.to_path_buf()),
            Place::Moved(camera) => Ok(camera.path.clone()),
            Place::Replaced => {
                if !std::mem::replace(&mut known.replaced, true) {
                    let (device, was) = (path.display(), &known.identity.card);
                    tracing::warn!(%device, was, "another camera is in its place");
                }
                Ok(path.to_path_buf())
            }
            Place::Gone => Err(self.not_found()),
        }
    }

    fn by_card(&self, name: &str, known: Option<&Known>) -> Result<PathBuf, CameraError> {
        let present = devices::present();
        match identity::by_card(name, known.map(|known| &known.identity), &present) {
            Ok(camera) => Ok(camera.path.clone()),
            Err(Unclear::None) => Err(self.not_found()),
            Err(Unclear::Several(names)) => Err(CameraError::NotUsable {
                device: self.describe(),
                reason: format!("{} cameras have this name", names.len()),
                remedy: format!("choose one by its path: {}", names.join(", ")),
            }),
        }
    }

    fn not_found(&self) -> CameraError {
        CameraError::NotFound { device: self.describe(), remedy: devices::remedy_for_missing() }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // Each change to it is one assignment, so it is usable after a panic elsewhere.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
