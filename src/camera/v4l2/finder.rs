//! From what the user named to a device's path. Remembers who the camera was when it was first opened, and finds that
//! one again under another number. On the camera's pipeline thread. Not here: what tells cameras apart (`identity`).

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::camera::{
    CameraError, devices,
    identity::{self, Identity, Place, Present, Unclear},
};

/// How the user named a camera.
#[derive(Debug)]
pub(super) enum Named {
    /// By its node, which may become another's, or by a link, which tells by itself who is meant.
    Path(PathBuf),
    /// By its card.
    Card(String),
    /// Not at all: the first there is.
    First,
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
    /// The camera at a node, among those that are there.
    fn at(node: &Path, present: Vec<Present>) -> Option<Self> {
        let (ours, others): (Vec<_>, Vec<_>) = present.into_iter().partition(|camera| camera.path == node);
        let beside = others.into_iter().map(|camera| camera.identity).collect();
        let Present { path, identity } = ours.into_iter().next()?;
        Some(Self { identity, beside, last: path, replaced: false })
    }

    /// It is there, perhaps again.
    fn found_at(&mut self, path: &Path) -> PathBuf {
        let was = std::mem::replace(&mut self.last, path.to_path_buf());
        if was != path || self.replaced {
            let (camera, was, is) = (&self.identity.card, was.display(), path.display());
            tracing::info!(camera, %was, %is, "the camera is found again");
        }
        self.replaced = false;
        self.last.clone()
    }

    /// It is not there, and another is taken, which is said once.
    fn replaced_by(&mut self, path: &Path) -> PathBuf {
        self.last = path.to_path_buf();
        if !std::mem::replace(&mut self.replaced, true) {
            let (device, was) = (path.display(), &self.identity.card);
            tracing::warn!(%device, was, "the camera that was there is gone: another is taken");
        }
        self.last.clone()
    }
}

impl Finder {
    pub(super) fn new(named: Named) -> Self {
        Self { named, known: Mutex::new(None) }
    }

    /// The first of those that are there.
    pub(super) fn first(present: Vec<Present>) -> Option<Self> {
        let path = present.first()?.path.clone();
        Some(Self { named: Named::First, known: Mutex::new(Known::at(&path, present)) })
    }

    /// As the user wrote it; where nothing was written, where the camera was last.
    pub(super) fn describe(&self) -> String {
        match &self.named {
            Named::Path(path) => path.display().to_string(),
            Named::Card(name) => format!("card:{name}"),
            Named::First => {
                self.known().as_ref().map_or("auto".to_owned(), |known| known.last.display().to_string())
            }
        }
    }

    /// Where the camera is now.
    pub(super) fn find(&self) -> Result<PathBuf, CameraError> {
        let name = self.describe();
        let mut known = self.known();
        let path = match &self.named {
            Named::Path(path) => by_path(path, known.as_mut()),
            Named::Card(card) => by_card(&name, card, known.as_mut())?,
            Named::First => first(known.as_mut()),
        };
        let path = path.ok_or_else(|| CameraError::NotFound {
            device: name.clone(),
            remedy: devices::remedy_for_missing(),
        })?;
        Ok(path)
    }

    /// It was opened there: the first is remembered.
    pub(super) fn opened(&self, path: &Path) {
        let mut known = self.known();
        if known.is_none() {
            let node = path.canonicalize();
            *known = node.ok().and_then(|node| Known::at(&node, devices::present()));
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // Each change to it is one assignment, so it is usable after a panic elsewhere.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the camera is that was named by its path; `None`: gone.
fn by_path(path: &Path, known: Option<&mut Known>) -> Option<PathBuf> {
    let Some(known) = known.filter(|_| !path.is_symlink()) else { return Some(path.to_path_buf()) };
    // Mostly it is where it was, and then there is no need to open all others.
    if devices::identify(path).as_ref() == Some(&known.identity) {
        return Some(known.found_at(path));
    }
    match identity::place(path, &known.identity, &known.beside, &devices::present()) {
        Place::Here => Some(known.found_at(path)),
        Place::Moved(camera) => Some(known.found_at(&camera.path)),
        Place::Replaced => Some(known.replaced_by(path)),
        Place::Gone => None,
    }
}

fn by_card(source: &str, card: &str, known: Option<&mut Known>) -> Result<Option<PathBuf>, CameraError> {
    let present = devices::present();
    match identity::by_card(card, known.as_ref().map(|known| &known.identity), &present) {
        Ok(camera) => {
            Ok(Some(known.map_or_else(|| camera.path.clone(), |known| known.found_at(&camera.path))))
        }
        Err(Unclear::None) => Ok(None),
        Err(Unclear::Several(names)) => Err(CameraError::NotUsable {
            device: source.to_owned(),
            reason: format!("{} cameras have this name", names.len()),
            remedy: format!("choose one by its path: {}", names.join(", ")),
        }),
    }
}

/// The camera that was the first, else the first now.
fn first(known: Option<&mut Known>) -> Option<PathBuf> {
    let present = devices::present();
    let first = present.first()?.path.clone();
    let Some(known) = known else { return Some(first) };
    let last = known.last.clone();
    match identity::place(&last, &known.identity, &known.beside, &present) {
        Place::Here => Some(known.found_at(&last)),
        Place::Moved(camera) => Some(known.found_at(&camera.path)),
        Place::Replaced | Place::Gone => Some(known.replaced_by(&first)),
    }
}
