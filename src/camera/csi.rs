//! The camera port of a Raspberry Pi. Its sensors give Bayer patterns, of which libcamera makes pictures; Raspberry Pi OS
//! has a program for that, which runs while the camera is open: it gives H.264 where the board encodes that by itself,
//! and else pictures to encode here. Used on the camera's pipeline thread. Not here: what it is told (`arguments`), and
//! running it (`process`).
//!
//! Facts about `rpicam-vid` are from its sources (github.com/raspberrypi/rpicam-apps, options.cpp and rpicam_vid.cpp, and
//! issues 42 and 188 there). Nothing of this was tried on a board.

mod arguments;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{Accept, Camera, CameraError, CameraSource, PixelFormat, SizeWish, Wish, process};
use crate::encode::{Bitrate, m2m};
pub use arguments::{Autofocus, Awb, CsiOptions, Denoise, Exposure, Metering};
use arguments::{Board, arguments};

/// What it is called in Raspberry Pi OS since Bookworm (October 2023), and before.
const PROGRAMS: [&str; 2] = ["rpicam-vid", "libcamera-vid"];
/// The driver of the encoder that all boards up to the 4 have; the 5 has none.
const ENCODER: &str = "bcm2835-codec";

/// One camera of the port.
#[derive(Debug, Clone, PartialEq)]
pub struct CsiSource {
    /// As `rpicam-vid --list-cameras` counts.
    pub camera: u32,
    pub options: CsiOptions,
    pub bitrate: Bitrate,
    /// The programs that may be there, the best first; a name without a slash is looked for in `PATH`.
    programs: Vec<PathBuf>,
    /// What the board can do; without it, that is looked up at each opening.
    board: Option<Board>,
}

impl CsiSource {
    /// The camera of this number, as it comes.
    pub fn new(camera: u32) -> Self {
        let programs = PROGRAMS.map(PathBuf::from).to_vec();
        Self { camera, options: CsiOptions::default(), bitrate: Bitrate(1_500_000), programs, board: None }
    }

    /// Whether the program is where distributions put it.
    pub fn is_installed() -> bool {
        let folders = ["/usr/bin", "/usr/local/bin"].map(Path::new);
        folders.iter().any(|folder| PROGRAMS.iter().any(|program| folder.join(program).exists()))
    }

    /// What is used of the board: pictures shall be had where they are to be encoded or turned here.
    fn board(&self, accept: Accept) -> Board {
        if accept == Accept::PicturesFirst || !accept.takes(PixelFormat::H264) {
            return Board::DoesNotEncode;
        }
        self.board.unwrap_or_else(|| {
            let encodes = m2m::find(m2m::H264).iter().any(|found| found.driver == ENCODER);
            if encodes { Board::Encodes } else { Board::DoesNotEncode }
        })
    }

    fn missing(&self) -> CameraError {
        CameraError::NotUsable {
            device: self.describe(),
            reason: "the program rpicam-vid is not installed".to_owned(),
            remedy: "install it: apt install rpicam-apps".to_owned(),
        }
    }
}

impl CameraSource for CsiSource {
    fn rate_is_fixed(&self) -> bool {
        true
    }

    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let board = self.board(wish.accept);
        let format = arguments::format(board, wish);
        if !wish.accept.takes(format.pixel) {
            return Err(CameraError::NotUsable {
                device: self.describe(),
                reason: "this board has no encoder for H.264".to_owned(),
                remedy: "set encoder = \"auto\"".to_owned(),
            });
        }
        if wish.size == SizeWish::Exact && (format.width, format.height) != (wish.width, wish.height) {
            return Err(CameraError::Size {
                device: self.describe(),
                width: wish.width,
                height: wish.height,
                offered: arguments::sizes(board).to_owned(),
            });
        }
        let arguments = arguments(self.camera, &self.options, board, &format, self.bitrate);
        for program in &self.programs {
            let mut command = Command::new(program);
            command.args(&arguments);
            let title = format!("{} {}", program.display(), arguments.join(" "));
            let started = match board {
                Board::Encodes => process::h264(&title, command, wish),
                Board::DoesNotEncode => process::full_range_pictures(&title, command, format),
            };
            match started {
                Err(process::StartError::NotInstalled) => {}
                Err(process::StartError::Other(error)) => return Err(error),
                Ok(camera) => return Ok(camera),
            }
        }
        Err(self.missing())
    }

    fn describe(&self) -> String {
        if self.camera == 0 { "csi".to_owned() } else { format!("csi:{}", self.camera) }
    }
}

#[cfg(test)]
mod tests;
