//! Which memory-to-memory encoders a board has: found by what they can do, never by number or name. Not here: using
//! one.

use std::path::{Path, PathBuf};

use super::input;
use crate::{
    camera::{VideoFormat, negotiate::FourCc, video_nodes},
    encode::EncodeError,
    sys::m2m::{M2m, Picture, Side},
};

/// An encoder of the board's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEncoder {
    pub path: PathBuf,
    /// The device's name for people.
    pub card: String,
    pub driver: String,
    /// The coded formats that it gives.
    pub formats: Vec<FourCc>,
    /// The raw formats that it takes, for the coded format that was asked about.
    pub inputs: Vec<FourCc>,
    /// Width and height in pixels of the largest picture, where the driver tells.
    pub largest: Option<(u32, u32)>,
}

impl FoundEncoder {
    /// Whether it takes a camera's pictures, as they are or converted, by what it says of itself.
    pub fn takes(&self, format: &VideoFormat) -> bool {
        self.fits(format) && input::choose(format.pixel, &self.inputs).is_some()
    }

    /// Why it does not.
    pub fn refusal(&self, format: &VideoFormat) -> EncodeError {
        let (width, height) = (format.width, format.height);
        let reason = match self.largest {
            Some((most_x, most_y)) if !self.fits(format) => {
                format!("{self} codes {most_x}x{most_y} at the most")
            }
            Some(_) | None => {
                let inputs: Vec<_> = self.inputs.iter().map(ToString::to_string).collect();
                format!("{self} takes only {}", inputs.join(", "))
            }
        };
        EncodeError::Unsupported { width, height, reason }
    }

    fn fits(&self, format: &VideoFormat) -> bool {
        self.largest.is_none_or(|(width, height)| format.width <= width && format.height <= height)
    }
}

impl std::fmt::Display for FoundEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.card)
    }
}

/// The encoders for a coded format, in the order of their numbers.
pub fn find(coded: FourCc) -> Vec<FoundEncoder> {
    search(coded).collect()
}

/// The same, each looked at when it is its turn: some devices take their time to open.
pub(in crate::encode) fn search(coded: FourCc) -> impl Iterator<Item = FoundEncoder> {
    video_nodes().into_iter().filter_map(move |path| look_at(&path, coded))
}

fn look_at(path: &Path, coded: FourCc) -> Option<FoundEncoder> {
    // Most nodes are something else, and some may not be opened: neither is worth a line.
    let device = M2m::open(path).ok()?;
    let formats: Vec<_> = device.formats(Side::Capture).into_iter().map(FourCc).collect();
    if !formats.contains(&coded) {
        return None;
    }
    // Which raw formats there are may depend on the coded one that is set.
    let wanted = Picture { fourcc: coded.0, width: 0, height: 0, stride: 0, bytes: 0 };
    device.set_format(Side::Capture, &wanted).ok()?;
    let inputs: Vec<_> = device.formats(Side::Output).into_iter().map(FourCc).collect();
    Some(FoundEncoder {
        path: path.to_owned(),
        card: device.card().to_owned(),
        driver: device.driver().to_owned(),
        formats,
        inputs,
        largest: device.largest(coded.0),
    })
}
