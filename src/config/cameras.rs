//! The cameras of a configuration, checked, and the governor, which is one for all of them. Pure. Not here: what the file
//! may hold (`file`), and opening cameras.

use super::{
    ConfigError,
    file::{RawCamera, RawGovernor},
    value,
    values::Size,
};
use crate::{
    camera::{
        self, Accept, FrameRate, SizeWish, Spec, Wish,
        controls::Setting,
        csi::CsiOptions,
        orientation::{Flip, Mirror, Orientation, Rotation},
    },
    cli::RunArgs,
    encode::{Bitrate, choice::Choice, overlay::Content},
};

const DEFAULT_SIZE: Size = Size { width: 1280, height: 720 };
const DEFAULT_FPS: u32 = 30;
const DEFAULT_BITRATE: Bitrate = Bitrate(1_500_000);
/// °C. A Raspberry Pi slows its processor down at 80 to 85.
const DEFAULT_HOT: f32 = 80.0;

/// One camera.
#[derive(Debug, Clone)]
pub struct CameraConfig {
    /// Short and stable: viewers ask for a camera by it.
    pub id: String,
    /// What viewers see.
    pub name: String,
    pub source: Source,
    pub wish: Wish,
    pub bitrate: Bitrate,
    pub encoder: Choice,
    /// What makes its pictures upright.
    pub orientation: Orientation,
    /// What is written into its pictures.
    pub overlay: Option<Content>,
    /// °C; see [`crate::pipeline::CameraSettings::hot`].
    pub hot: Option<f32>,
    /// Set at each opening.
    pub controls: Vec<Setting>,
}

/// Where a camera's pictures come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The first V4L2 capture device, or the synthetic picture where there is none.
    Auto,
    Named(camera::Spec),
}

/// What is asked of a camera of which nothing is said.
pub const fn default_wish() -> Wish {
    Wish {
        width: DEFAULT_SIZE.width,
        height: DEFAULT_SIZE.height,
        rate: FrameRate::new(DEFAULT_FPS),
        size: SizeWish::Nearest,
        accept: Accept::Any,
    }
}

/// At how many °C pictures are slowed down, if at all.
pub(super) fn governor(raw: &RawGovernor) -> Result<Option<f32>, ConfigError> {
    let hot = raw.hot.unwrap_or(DEFAULT_HOT);
    if !(40.0..=110.0).contains(&hot) {
        return Err(value("governor.hot", format!("{hot} does not fit: give 40 to 110 °C")));
    }
    Ok(raw.enabled.unwrap_or(true).then_some(hot))
}

/// Flags and environment speak of the first camera.
pub(super) fn cameras(
    args: &RunArgs,
    mut raw: Vec<RawCamera>,
    device: &str,
    hot: Option<f32>,
) -> Result<Vec<CameraConfig>, ConfigError> {
    if raw.is_empty() {
        raw.push(RawCamera::default());
    }
    let first = &mut raw[0];
    first.source = args.camera.clone().or(first.source.take());
    first.size = args.size.or(first.size);
    first.fps = args.fps.or(first.fps);
    first.bitrate = args.bitrate.or(first.bitrate);
    first.encoder = args.encoder.or(first.encoder);

    let several = raw.len() > 1;
    let mut cameras: Vec<CameraConfig> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let id = checked_id(&raw, index)?;
        if cameras.iter().any(|camera| camera.id == id) {
            return Err(value("camera.id", format!("`{id}` is there twice: give each camera its own")));
        }
        let name = raw.name.clone();
        let name = name.unwrap_or_else(|| if several { id.clone() } else { device.to_owned() });
        let key =
            |field: &str| if several { format!("camera `{id}`: {field}") } else { format!("camera.{field}") };
        cameras.push(camera(raw, id.clone(), name, hot, &key)?);
    }
    Ok(cameras)
}

fn checked_id(raw: &RawCamera, index: usize) -> Result<String, ConfigError> {
    let id = raw.id.clone().unwrap_or_else(|| format!("cam{index}"));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > 32 || !id.bytes().all(fits) {
        let what = format!("`{id}` does not fit: give 1 to 32 letters, digits, `-` or `_`");
        return Err(value("camera.id", what));
    }
    Ok(id)
}

/// `key`: what a field of this camera is called in messages.
fn camera(
    raw: RawCamera,
    id: String,
    name: String,
    hot: Option<f32>,
    key: &dyn Fn(&str) -> String,
) -> Result<CameraConfig, ConfigError> {
    let fps = raw.fps.unwrap_or(DEFAULT_FPS);
    if !(1..=120).contains(&fps) {
        return Err(value(key("fps"), format!("{fps} does not fit: give 1 to 120 frames per second")));
    }
    let size = raw.size.unwrap_or(DEFAULT_SIZE);
    let bitrate = raw.bitrate.map_or(DEFAULT_BITRATE, |bitrate| bitrate.0);
    let encoder = raw.encoder.unwrap_or_default();
    let orientation = Orientation::new(
        raw.rotate.map_or(Rotation::None, |rotate| rotate.0),
        raw.flip.map_or(Flip::None, |flip| flip.0),
    );
    let overlay = raw.overlay.and_then(|overlay| overlay.0);
    let controls = raw.controls.into_iter();
    Ok(CameraConfig {
        id,
        name,
        source: source(raw.source.as_deref(), raw.csi, bitrate, key)?,
        wish: Wish {
            width: size.width,
            height: size.height,
            rate: FrameRate::new(fps),
            size: if raw.size.is_some() { SizeWish::Exact } else { SizeWish::Nearest },
            accept: accept(encoder, orientation, overlay.is_some()),
        },
        bitrate,
        encoder,
        orientation,
        overlay,
        hot,
        controls: controls.map(|(control, value)| Setting { control, value: value.0 }).collect(),
    })
}

/// What nobody can write into, and no browser mirrors, comes last where the user leaves the choice to us.
fn accept(encoder: Choice, orientation: Orientation, writes: bool) -> Accept {
    match encoder {
        Choice::Auto if writes || orientation.mirror == Mirror::Yes => Accept::PicturesFirst,
        Choice::Auto | Choice::M2m | Choice::OpenH264 | Choice::Passthrough => encoder.accept(),
    }
}

fn source(
    text: Option<&str>,
    options: Option<CsiOptions>,
    bitrate: Bitrate,
    key: &dyn Fn(&str) -> String,
) -> Result<Source, ConfigError> {
    let mut source = match text {
        None | Some("auto") => Source::Auto,
        Some(text) => Source::Named(camera::parse(text).map_err(|what| value(key("source"), what))?),
    };
    if let Some(options) = &options {
        options.check().map_err(|(name, what)| value(key(&format!("csi.{name}")), what))?;
    }
    match (&mut source, options) {
        (Source::Named(Spec::Csi(csi)), options) => {
            csi.bitrate = bitrate;
            csi.options = options.unwrap_or_default();
        }
        (_, None) => {}
        (_, Some(_)) => {
            return Err(value(key("csi"), "is for a camera at the camera port: set source = \"csi\""));
        }
    }
    Ok(source)
}
