//! What `rpicam-vid` is told. Pure. Not here: running it.

use serde::Deserialize;

use crate::{
    camera::{FrameRate, PixelFormat, VideoFormat, Wish},
    encode::Bitrate,
};

/// Rows of raw pictures are padded to a multiple of 64 bytes, so only such widths come without padding (issue 188 of
/// rpicam-apps: a picture of 780x360 comes as 832x360).
const STEP: u32 = 64;
/// Macroblocks per second that level 4 allows (ITU-T H.264, table A-1).
const LEVEL_4: f64 = 245_760.0;
/// Pixels: the encoder's largest.
const LARGEST: (u32, u32) = (1920, 1080);

/// Whether the board has an encoder for H.264.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Board {
    /// Raspberry Pi Zero 2 W, 3, 4 and before.
    Encodes,
    /// Raspberry Pi 5.
    DoesNotEncode,
}

/// `[camera.csi]`: options of libcamera's, each as it is where it is not named.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsiOptions {
    /// Degrees: 0 or 180.
    pub rotation: Option<u32>,
    pub hflip: bool,
    pub vflip: bool,
    pub exposure: Option<Exposure>,
    /// Compensation in stops, -10 to 10.
    pub ev: Option<f32>,
    /// A fixed exposure, in microseconds.
    pub shutter: Option<u32>,
    /// A fixed gain, 1 to 64.
    pub gain: Option<f32>,
    pub metering: Option<Metering>,
    pub awb: Option<Awb>,
    /// -1 to 1, 0 is as it is.
    pub brightness: Option<f32>,
    /// 0 to 32, 1 is as it is.
    pub contrast: Option<f32>,
    /// 0 to 32, 1 is as it is.
    pub saturation: Option<f32>,
    /// 0 to 16, 1 is as it is.
    pub sharpness: Option<f32>,
    pub denoise: Option<Denoise>,
    pub autofocus_mode: Option<Autofocus>,
    /// Of the lens, in dioptres: 0 is infinity, 10 is 10 cm; at most 32.
    pub lens_position: Option<f32>,
    /// Seconds from one key frame to the next, 1 to 10, where the board encodes: the program cannot be asked for one, so
    /// a viewer who joins waits for so long at the most.
    pub key_frame_interval: Option<u32>,
}

/// An enum of words that the program takes, each as it is written in the configuration.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $word:literal),+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// As the program wants it.
            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// How long the sensor may expose.
    Exposure { Normal = "normal", Sport = "sport" }
}
words! {
    /// What the exposure is measured by.
    Metering { Centre = "centre", Spot = "spot", Average = "average" }
}
words! {
    /// White balance.
    Awb {
        Auto = "auto", Incandescent = "incandescent", Tungsten = "tungsten", Fluorescent = "fluorescent",
        Indoor = "indoor", Daylight = "daylight", Cloudy = "cloudy"
    }
}
words! {
    /// Noise reduction.
    Denoise { Auto = "auto", Off = "off", CdnOff = "cdn_off", CdnFast = "cdn_fast", CdnHq = "cdn_hq" }
}
words! {
    /// Who moves the lens.
    Autofocus { Manual = "manual", Auto = "auto", Continuous = "continuous" }
}

impl CsiOptions {
    /// Whether all values are in range.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.rotation.is_some_and(|degrees| !matches!(degrees, 0 | 180)) {
            return Err(("rotation", "libcamera turns by 0 or 180 degrees".to_owned()));
        }
        if self.shutter.is_some_and(|shutter| !(1..=10_000_000).contains(&shutter)) {
            return Err(("shutter", "give 1 to 10000000 microseconds".to_owned()));
        }
        if self.key_frame_interval.is_some_and(|seconds| !(1..=10).contains(&seconds)) {
            return Err(("key_frame_interval", "give 1 to 10 seconds".to_owned()));
        }
        for (key, value, least, most) in [
            ("ev", self.ev, -10.0, 10.0),
            ("gain", self.gain, 1.0, 64.0),
            ("brightness", self.brightness, -1.0, 1.0),
            ("contrast", self.contrast, 0.0, 32.0),
            ("saturation", self.saturation, 0.0, 32.0),
            ("sharpness", self.sharpness, 0.0, 16.0),
            ("lens_position", self.lens_position, 0.0, 32.0),
        ] {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                return Err((key, format!("give a number from {least} to {most}")));
            }
        }
        if self.lens_position.is_some() && !matches!(self.autofocus_mode, None | Some(Autofocus::Manual)) {
            return Err((
                "lens_position",
                "the lens stays there only with autofocus_mode = \"manual\"".to_owned(),
            ));
        }
        Ok(())
    }
}

/// What the program will give for a wish: libcamera scales, so nearly any size can be had.
pub(super) fn format(board: Board, wish: &Wish) -> VideoFormat {
    let (width, height) = (wish.width.min(LARGEST.0), wish.height.min(LARGEST.1) & !1);
    let (pixel, width) = match board {
        Board::Encodes => (PixelFormat::H264, width & !1),
        Board::DoesNotEncode => (PixelFormat::I420, (width / STEP * STEP).max(STEP)),
    };
    let stride = pixel.row_bytes(width).unwrap_or(0);
    VideoFormat { pixel, width, height, stride, rate: wish.rate }
}

/// The same in words.
pub(super) fn sizes(board: Board) -> &'static str {
    match board {
        Board::Encodes => "any even size up to 1920x1080",
        Board::DoesNotEncode => "any even height up to 1080 with a width up to 1920 that is a multiple of 64",
    }
}

/// All arguments.
pub(super) fn arguments(
    camera: u32,
    options: &CsiOptions,
    board: Board,
    format: &VideoFormat,
    bitrate: Bitrate,
) -> Vec<String> {
    let mut all = Arguments(Vec::new());
    all.option("camera", camera);
    all.option("timeout", 0);
    all.flag("nopreview");
    all.option("width", format.width);
    all.option("height", format.height);
    all.option("framerate", rate(format.rate));
    match board {
        Board::Encodes => {
            let seconds = options.key_frame_interval.unwrap_or(2);
            all.option("codec", "h264");
            all.flag("inline");
            all.option("profile", "baseline");
            all.option("level", level(format));
            all.option("bitrate", bitrate.0);
            all.option("intra", (f64::from(seconds) * format.rate.per_second()).round().max(1.0));
        }
        Board::DoesNotEncode => all.option("codec", "yuv420"),
    }
    all.options(options);
    all.flag("flush");
    all.option("output", "-");
    all.0
}

struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.0.push(format!("--{name}"));
    }

    /// Joined to its name, so that a negative number is not taken for an option.
    fn option(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push(format!("--{name}={value}"));
    }

    fn options(&mut self, options: &CsiOptions) {
        for (name, set) in [("hflip", options.hflip), ("vflip", options.vflip)] {
            if set {
                self.flag(name);
            }
        }
        let numbers = [
            ("ev", options.ev),
            ("gain", options.gain),
            ("brightness", options.brightness),
            ("contrast", options.contrast),
            ("saturation", options.saturation),
            ("sharpness", options.sharpness),
            ("lens-position", options.lens_position),
        ];
        let words = [
            ("rotation", options.rotation.map(|degrees| degrees.to_string())),
            ("shutter", options.shutter.map(|microseconds| microseconds.to_string())),
            ("exposure", options.exposure.map(|chosen| chosen.word().to_owned())),
            ("metering", options.metering.map(|chosen| chosen.word().to_owned())),
            ("awb", options.awb.map(|chosen| chosen.word().to_owned())),
            ("denoise", options.denoise.map(|chosen| chosen.word().to_owned())),
            ("autofocus-mode", options.autofocus_mode.map(|chosen| chosen.word().to_owned())),
        ];
        let numbers = numbers.map(|(name, number)| (name, number.map(|number| number.to_string())));
        for (name, value) in words.into_iter().chain(numbers) {
            if let Some(value) = value {
                self.option(name, value);
            }
        }
    }
}

/// Older versions take whole numbers alone, so those are written as such.
fn rate(rate: FrameRate) -> String {
    let rounded = (rate.per_second() * 1000.0).round() / 1000.0;
    rounded.to_string()
}

/// The lowest of those that the program knows: 4, 4.1, 4.2.
fn level(format: &VideoFormat) -> &'static str {
    let macroblocks = f64::from(format.width.div_ceil(16) * format.height.div_ceil(16));
    if macroblocks * format.rate.per_second() <= LEVEL_4 { "4" } else { "4.2" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{Accept, SizeWish};

    fn wish(width: u32, height: u32, fps: u32) -> Wish {
        Wish { width, height, rate: FrameRate::new(fps), size: SizeWish::Nearest, accept: Accept::Any }
    }

    fn line(options: &CsiOptions, board: Board, wish: &Wish) -> String {
        arguments(0, options, board, &format(board, wish), Bitrate(1_500_000)).join(" ")
    }

    #[test]
    fn each_board_is_told_what_it_can_do() {
        let plain = CsiOptions::default();
        for (board, wish, expected) in [
            (
                Board::Encodes,
                wish(1280, 720, 30),
                "--camera=0 --timeout=0 --nopreview --width=1280 --height=720 --framerate=30 --codec=h264 --inline \
                 --profile=baseline --level=4 --bitrate=1500000 --intra=60 --flush --output=-",
            ),
            (
                Board::Encodes,
                wish(1920, 1080, 60),
                "--camera=0 --timeout=0 --nopreview --width=1920 --height=1080 --framerate=60 --codec=h264 --inline \
                 --profile=baseline --level=4.2 --bitrate=1500000 --intra=120 --flush --output=-",
            ),
            (
                Board::DoesNotEncode,
                wish(1280, 720, 30),
                "--camera=0 --timeout=0 --nopreview --width=1280 --height=720 --framerate=30 --codec=yuv420 --flush \
                 --output=-",
            ),
        ] {
            assert_eq!(line(&plain, board, &wish), expected);
        }
    }

    #[test]
    fn all_options_are_passed_on_to_both_boards() {
        let all: CsiOptions = toml::from_str(
            "rotation = 180\nhflip = true\nvflip = true\nexposure = \"sport\"\nev = -0.5\nshutter = 8000\ngain = 2.5\n\
             metering = \"spot\"\nawb = \"daylight\"\nbrightness = -0.1\ncontrast = 1.2\nsaturation = 0\n\
             sharpness = 2\ndenoise = \"cdn_off\"\nautofocus_mode = \"manual\"\nlens_position = 0.5\n\
             key_frame_interval = 1\n",
        )
        .unwrap();
        assert_eq!(all.check(), Ok(()));
        let tail = "--hflip --vflip --rotation=180 --shutter=8000 --exposure=sport --metering=spot --awb=daylight \
                    --denoise=cdn_off --autofocus-mode=manual --ev=-0.5 --gain=2.5 --brightness=-0.1 --contrast=1.2 \
                    --saturation=0 --sharpness=2 --lens-position=0.5 --flush --output=-";
        for board in [Board::Encodes, Board::DoesNotEncode] {
            let line = line(&all, board, &wish(640, 480, 25));
            assert!(line.ends_with(tail), "{line}");
            assert_eq!(line.contains("--intra=25 "), board == Board::Encodes, "{line}");
        }
    }

    #[test]
    fn raw_pictures_have_widths_without_padding() {
        for (wished, given) in [
            ((1280, 720), (1280, 720)),
            ((800, 600), (768, 600)),
            ((854, 481), (832, 480)),
            ((32, 32), (64, 32)),
        ] {
            let format = format(Board::DoesNotEncode, &wish(wished.0, wished.1, 30));
            assert_eq!((format.width, format.height, format.stride), (given.0, given.1, given.0));
            assert_eq!(format.pixel, PixelFormat::I420);
        }
        let encoded = format(Board::Encodes, &wish(854, 480, 30));
        assert_eq!((encoded.width, encoded.height, encoded.pixel), (854, 480, PixelFormat::H264));
        assert_eq!(format(Board::Encodes, &wish(3840, 2160, 30)).width, 1920);
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_with_its_key() {
        for (text, key) in [
            ("rotation = 90", "rotation"),
            ("shutter = 0", "shutter"),
            ("ev = 11", "ev"),
            ("gain = 0", "gain"),
            ("brightness = 1.5", "brightness"),
            ("contrast = -1", "contrast"),
            ("lens_position = -0.1", "lens_position"),
            ("lens_position = 1\nautofocus_mode = \"continuous\"", "lens_position"),
            ("key_frame_interval = 0", "key_frame_interval"),
        ] {
            let options: CsiOptions = toml::from_str(text).unwrap();
            assert_eq!(options.check().unwrap_err().0, key);
        }
        for text in ["awb = \"moonlight\"", "brightnes = 1", "hflip = 1"] {
            assert!(toml::from_str::<CsiOptions>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn broken_rates_are_written_short() {
        assert_eq!(rate(FrameRate { numerator: 30000, denominator: 1001 }), "29.97");
        assert_eq!(rate(FrameRate::new(15)), "15");
    }
}
