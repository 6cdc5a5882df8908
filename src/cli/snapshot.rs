//! `pinhole snapshot`: a JPEG of a camera, from the running agent if the camera is one of its own, else from the camera
//! itself. Not here: taking and encoding it (`encode::still`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    CommandError, Stdout,
    files::replace,
    place::{self, Agent},
};
use crate::{
    camera::{self, CameraSource, v4l2::capture_devices},
    clock, config,
    control::message::{Reply, Request},
    encode::still::{Settling, Taken, jpeg},
    links::Output,
};

/// For a camera to start, to settle and to come to a key frame.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest wait for a frame in one go.
const SLICE: Duration = Duration::from_millis(500);

/// Takes a picture and writes it.
pub(super) fn run(
    sockets: &[PathBuf],
    camera: Option<&str>,
    file: &Path,
    quality: u8,
    out: &mut Stdout,
) -> Result<(), CommandError> {
    let target = Target::new(file, out)?;
    let request = Request::Snapshot { camera: camera.map(str::to_owned), quality };
    let picture = match place::agent(sockets, &request)? {
        Agent::Answers(Reply::Picture { .. }, picture) => picture,
        Agent::Answers(other, _) => return Err(CommandError::unexpected(other)),
        Agent::Without(why) => {
            let source = source(camera).map_err(|error| why.beside(error))?;
            let refused = |error: &dyn std::error::Error| CommandError::Refused(error.to_string());
            let taken = take(source.as_ref())?;
            jpeg(&taken, clock::since_epoch(), quality).map_err(|error| refused(&error))?
        }
    };
    target.write(&picture, out)
}

/// The camera that is meant, where no agent has it.
fn source(camera: Option<&str>) -> Result<Arc<dyn CameraSource>, CommandError> {
    let Some(name) = camera else {
        let Some(first) = capture_devices().into_iter().next() else {
            let message = "no camera is plugged in: plug one in, or name another source with --camera";
            return Err(CommandError::Refused(message.to_owned()));
        };
        return Ok(camera::Spec::Device(first.path).source());
    };
    match camera::parse(name) {
        Ok(spec) => Ok(spec.source()),
        // A node or a part of a card's name will do here, too.
        Err(message) => match place::find(name) {
            Ok(path) => Ok(camera::Spec::Device(path).source()),
            Err(_) => Err(CommandError::Refused(message)),
        },
    }
}

fn take(source: &dyn CameraSource) -> Result<Taken, CommandError> {
    let refused = |error: camera::CameraError| CommandError::Refused(error.to_string());
    let mut camera = source.open(&config::default_wish()).map_err(refused)?;
    camera.request_key_frame();
    let (mut settling, end) = (Settling::default(), clock::now() + PATIENCE);
    while clock::now() < end {
        let format = camera.format();
        let Some(frame) = camera.next_frame(SLICE).map_err(refused)? else { continue };
        if let Some(taken) = settling.take(&format, frame.data, clock::now()) {
            return Ok(taken);
        }
    }
    let seconds = PATIENCE.as_secs();
    Err(CommandError::Refused(format!("{} gave no picture within {seconds} s", source.describe())))
}

/// Where the picture goes.
#[derive(Debug)]
enum Target {
    Stdout,
    /// A file, which may exist.
    File(PathBuf),
}

impl Target {
    /// Looked at before the camera is opened: what cannot be written need not be taken.
    fn new(file: &Path, out: &Stdout) -> Result<Self, CommandError> {
        if file == Path::new("-") {
            return match out.kind() {
                Output::Plain => Ok(Self::Stdout),
                Output::Terminal => Err(CommandError::Refused(
                    "a picture is nothing for a terminal: name a file with --out".to_owned(),
                )),
            };
        }
        // The target of a link is written, and the link stays.
        let path = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        match fs::metadata(&path) {
            Ok(there) if !there.is_file() => {
                Err(CommandError::Refused(format!("{} is no file: give --out another name", file.display())))
            }
            Ok(_) | Err(_) => Ok(Self::File(path)),
        }
    }

    fn write(&self, picture: &[u8], out: &mut Stdout) -> Result<(), CommandError> {
        match self {
            Self::Stdout => out.write(picture),
            Self::File(path) => replace(path, picture).map_err(|error| {
                let message = format!("cannot write {}: {error}; give --out another name", path.display());
                CommandError::Refused(message)
            }),
        }
    }
}
