//! What the owner asks of the agent's cameras. In the connection's task; what blocks is on threads for that. Not here:
//! how requests travel (`server`), and what controls are (`camera::controls`).

use std::{path::Path, sync::Arc};

use super::{message::Reply, server::Answer};
use crate::{
    camera::controls::{ControlDevice, Setting},
    pipeline::CameraHandle,
    tasks,
};

/// Lists the controls of a camera, or sets some.
pub(super) async fn controls(cameras: Arc<[CameraHandle]>, camera: String, settings: Vec<Setting>) -> Reply {
    let work = move || {
        let Some(handle) = find(&cameras, &camera) else {
            return Reply::NoCamera { message: no_camera(&cameras, &camera) };
        };
        let done = if settings.is_empty() { handle.controls() } else { handle.set_controls(&settings) };
        done.map_or_else(|error| Reply::Error(error.to_string()), Reply::Controls)
    };
    tasks::blocking(work).await.unwrap_or_else(|_| fault())
}

/// A JPEG of a camera, without a name of the first.
pub(super) async fn snapshot(cameras: Arc<[CameraHandle]>, camera: Option<String>, quality: u8) -> Answer {
    let look = move || match camera {
        Some(camera) => find(&cameras, &camera).cloned().ok_or_else(|| no_camera(&cameras, &camera)),
        None => cameras.first().cloned().ok_or_else(|| no_camera(&cameras, "")),
    };
    let handle = match tasks::blocking(look).await {
        Ok(Ok(handle)) => handle,
        Ok(Err(message)) => return Reply::NoCamera { message }.into(),
        Err(_) => return fault().into(),
    };
    match handle.jpeg(quality).await {
        Ok(picture) => Answer { reply: Reply::Picture { bytes: picture.len() }, picture },
        Err(error) => Reply::Error(error.to_string()).into(),
    }
}

fn fault() -> Reply {
    Reply::Error("the camera's code failed, which is a fault in pinhole: see the agent's log".to_owned())
}

/// By its id, its device (under whatever link), or the name of its card.
fn find<'a>(cameras: &'a [CameraHandle], name: &str) -> Option<&'a CameraHandle> {
    let by_id = || cameras.iter().find(|camera| camera.settings().id == name);
    let by_node = || cameras.iter().find(|camera| is_node(camera, Path::new(name)));
    let by_card = || cameras.iter().find(|camera| is_card(camera, name));
    if name.contains('/') { by_node() } else { by_id().or_else(by_card) }
}

fn is_node(camera: &CameraHandle, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    camera.control_node().is_some_and(|node| real(&node) == real(path))
}

fn is_card(camera: &CameraHandle, name: &str) -> bool {
    let device = camera.control_node().and_then(|node| ControlDevice::open(&node).ok());
    device.is_some_and(|device| device.card().eq_ignore_ascii_case(name))
}

fn no_camera(cameras: &[CameraHandle], name: &str) -> String {
    let ids: Vec<&str> = cameras.iter().map(|camera| camera.settings().id.as_str()).collect();
    format!("the agent has no camera `{name}`: it has {}", ids.join(", "))
}
