//! What the owner asks of the agent's cameras. Blocks for as long as a driver does. Not here: how requests travel
//! (`server`), and what controls are (`camera::controls`).

use std::path::Path;

use super::message::Reply;
use crate::{
    camera::controls::{ControlDevice, Setting},
    pipeline::CameraHandle,
};

/// Lists the controls of a camera, or sets some.
pub(super) fn controls(cameras: &[CameraHandle], camera: &str, settings: &[Setting]) -> Reply {
    let Some(handle) = find(cameras, camera) else { return no_camera(cameras, camera) };
    let done = if settings.is_empty() { handle.controls() } else { handle.set_controls(settings) };
    done.map_or_else(|error| Reply::Error(error.to_string()), Reply::Controls)
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

fn no_camera(cameras: &[CameraHandle], name: &str) -> Reply {
    let ids: Vec<&str> = cameras.iter().map(|camera| camera.settings().id.as_str()).collect();
    Reply::NoCamera { message: format!("the agent has no camera `{name}`: it has {}", ids.join(", ")) }
}
