//! What the machine's video devices are and offer, and what would be taken of it, for a person who looks. Nothing is set,
//! so a device that is in use may be looked at. On the thread that asks. Not here: how it is shown (`cli`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::opening::Opening;
use crate::camera::{
    CameraError, Wish,
    devices::{self, is_processor, video_nodes},
    negotiate::{Choice, Offer},
};

/// One device that captures, or may.
#[derive(Debug)]
pub struct Survey {
    pub path: PathBuf,
    /// Names that stay when numbers change: what udev makes in `/dev/v4l`.
    pub links: Vec<PathBuf>,
    /// Who else has it open: `by NAME (pid N)`, as far as that can be seen.
    pub used: Option<String>,
    /// Why it could not be looked at, or what it is.
    pub content: Result<Content, CameraError>,
}

/// What a device says of itself.
#[derive(Debug)]
pub struct Content {
    /// Its name for people.
    pub card: String,
    pub driver: String,
    /// The sizes and rates are only of formats that can be used.
    pub offers: Vec<Offer>,
    /// What would be taken, or why nothing can.
    pub choice: Result<Choice, CameraError>,
}

/// All devices that capture, by number, and those that cannot be opened to see.
pub fn survey(wish: &Wish) -> Vec<Survey> {
    let links = links();
    let look = |path: PathBuf| {
        let content = Opening { path: &path, name: path.display().to_string() }.look(wish);
        match &content {
            // A node of another kind: metadata, an encoder, an image processor.
            Err(CameraError::NotUsable { .. }) => return None,
            Ok(content) if is_processor(&content.driver) => return None,
            Ok(_) | Err(_) => {}
        }
        let used = devices::holder(&path).trim().to_owned();
        Some(Survey {
            links: links.iter().filter(|(_, node)| *node == path).map(|(link, _)| link.clone()).collect(),
            used: Some(used).filter(|used| !used.is_empty()),
            path,
            content,
        })
    };
    video_nodes().into_iter().filter_map(look).collect()
}

/// The links in `/dev/v4l`, each with its node.
fn links() -> Vec<(PathBuf, PathBuf)> {
    let within =
        |folder: &str| fs::read_dir(Path::new("/dev/v4l").join(folder)).into_iter().flatten().flatten();
    let entries = within("by-id").chain(within("by-path"));
    let resolve = |entry: fs::DirEntry| Some((entry.path(), entry.path().canonicalize().ok()?));
    let mut links: Vec<_> = entries.filter_map(resolve).collect();
    links.sort();
    links
}
