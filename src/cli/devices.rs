//! `pinhole devices`: the cameras and encoders of this machine, what they offer, and what pinhole would choose. Nothing
//! is set, and no agent is asked. Not here: looking at them (`camera::v4l2`, `encode::m2m`), but for the camera port
//! (`csi`).

mod csi;
mod show;

use std::path::PathBuf;

use serde::Serialize;

use super::{CommandError, Stdout};
use crate::{
    camera::{
        VideoFormat,
        negotiate::{self, Offer, RateRange, SizeRange},
        v4l2::{self, Survey},
    },
    config,
    encode::{
        choice::{self, Choice, InUse},
        m2m::{self, FoundEncoder},
    },
};

/// Looks, and shows it.
pub(super) fn run(json: bool, out: &mut Stdout) -> Result<(), CommandError> {
    let found = m2m::find(m2m::H264);
    let surveys = v4l2::survey(&config::default_wish()).into_iter();
    let devices = Devices {
        cameras: surveys.map(|survey| CameraRow::new(survey, &found)).collect(),
        csi: csi::list(),
        encoders: found.into_iter().map(EncoderRow::board).chain([EncoderRow::openh264()]).collect(),
    };
    if json { out.print_json(&devices) } else { out.print(&show::text(&devices)) }
}

/// All that there is, in the form for programs.
#[derive(Debug, Serialize)]
struct Devices {
    cameras: Vec<CameraRow>,
    /// Cameras of a Raspberry Pi's camera port; `null` where no program for it is installed.
    csi: Option<Vec<csi::Port>>,
    encoders: Vec<EncoderRow>,
}

#[derive(Debug, Serialize)]
struct CameraRow {
    path: PathBuf,
    /// Names that stay when numbers change.
    links: Vec<PathBuf>,
    card: Option<String>,
    driver: Option<String>,
    /// Who has it open.
    used: Option<String>,
    formats: Vec<FormatRow>,
    /// What pinhole would take, with the default size and rate.
    choice: Option<ChoiceRow>,
    /// Why it takes nothing.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct FormatRow {
    fourcc: String,
    usable: bool,
    /// None of a format that cannot be used.
    sizes: Vec<SizeRow>,
}

/// One size, or a range of sizes in steps, each width and height in pixels.
#[derive(Debug, Serialize)]
struct SizeRow {
    min: (u32, u32),
    max: (u32, u32),
    step: (u32, u32),
    /// Frames per second, from and to.
    rates: Vec<(f64, f64)>,
}

#[derive(Debug, Serialize)]
struct ChoiceRow {
    fourcc: String,
    width: u32,
    height: u32,
    fps: f64,
    why: String,
    /// What would encode it, and why.
    encoder: String,
}

#[derive(Debug, Serialize)]
struct EncoderRow {
    name: String,
    /// None of one in software.
    path: Option<PathBuf>,
    /// The raw formats that it takes.
    inputs: Vec<String>,
    /// Width and height in pixels.
    largest: Option<(u32, u32)>,
}

impl CameraRow {
    fn new(survey: Survey, encoders: &[FoundEncoder]) -> Self {
        let Survey { path, links, used, content } = survey;
        let bare = Self {
            path,
            links,
            card: None,
            driver: None,
            used,
            formats: Vec::new(),
            choice: None,
            problem: None,
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => return Self { problem: Some(error.to_string()), ..bare },
        };
        let (choice, problem) = match content.choice {
            Ok(choice) => {
                let fourcc = choice.fourcc.to_string();
                let fps = rounded(choice.rate.per_second());
                let encoder = encoder(&choice, encoders);
                let negotiate::Choice { width, height, why, .. } = choice;
                (Some(ChoiceRow { fourcc, width, height, fps, why, encoder }), None)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let formats = content.offers.iter().map(FormatRow::new).collect();
        Self { card: Some(content.card), driver: Some(content.driver), formats, choice, problem, ..bare }
    }
}

/// Which encoder a camera would get, in words.
fn encoder(choice: &negotiate::Choice, found: &[FoundEncoder]) -> String {
    let negotiate::Choice { pixel, width, height, rate, .. } = *choice;
    let stride = pixel.row_bytes(width).unwrap_or(0);
    match choice::explain(Choice::Auto, &VideoFormat { pixel, width, height, stride, rate }, found) {
        Ok(InUse { name, why, .. }) => format!("{name}: {why}"),
        Err(error) => error.to_string(),
    }
}

impl FormatRow {
    fn new(offer: &Offer) -> Self {
        let size = |size: &negotiate::OfferedSize| {
            let SizeRange { min, max, step } = size.range;
            let rates = size.rates.iter().map(|RateRange { slowest, fastest }| {
                (rounded(slowest.per_second()), rounded(fastest.per_second()))
            });
            SizeRow { min, max, step, rates: rates.collect() }
        };
        Self {
            fourcc: offer.fourcc.to_string(),
            usable: negotiate::pixel_format(offer.fourcc).is_some(),
            sizes: offer.sizes.iter().map(size).collect(),
        }
    }
}

impl EncoderRow {
    fn board(found: FoundEncoder) -> Self {
        Self {
            name: found.card,
            path: Some(found.path),
            inputs: found.inputs.iter().map(ToString::to_string).collect(),
            largest: found.largest,
        }
    }

    /// Built in, so it is there always.
    fn openh264() -> Self {
        Self { name: "OpenH264".to_owned(), path: None, inputs: vec!["YU12".to_owned()], largest: None }
    }
}

/// 30000/1001 as 29.97.
fn rounded(fps: f64) -> f64 {
    (fps * 100.0).round() / 100.0
}
