//! A V4L2 capture device (a webcam, a capture card, the kernel's test driver), its buffers mapped, none copied.
//! The newest filled buffer is given out and goes back to the driver at the next call. Used on the camera's
//! pipeline thread. Not here: which format to take (`negotiate`), what `/dev` and `/proc` tell (`devices`).

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use v4l::{
    Control, Device, Format, Fraction,
    control::Value,
    frameinterval::FrameIntervalEnum,
    framesize::FrameSizeEnum,
    v4l_sys,
    video::{Capture, capture::Parameters},
};

use super::{
    Camera, CameraError, CameraSource, Frame, FrameRate, PixelFormat, SizeWish, VideoFormat, Wish, devices,
    negotiate::{self, Choice, FourCc, Offer, OfferedSize, RateRange, SizeRange},
};
use crate::{
    clock,
    encode::{Encoded, FrameKind},
    h264::access_unit::Assembler,
    sys::{
        buffers::{CaptureBuffers, Filled},
        time, video,
    },
};

pub use super::devices::{Found, capture_devices};

/// One to encode from, one that is being filled, two to wait.
const BUFFERS: u32 = 4;

/// How long a device may give no picture before it counts as stalled.
const STALL: Duration = Duration::from_secs(2);

/// Opens one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V4l2Source {
    /// As the user named it; a link, as in `/dev/v4l/by-id`, finds a camera again under another number.
    pub path: PathBuf,
    /// Takes this format alone; without one, the best of those that the device offers.
    pub only: Option<PixelFormat>,
}

impl V4l2Source {
    /// A device in the best of its formats.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), only: None }
    }
}

impl CameraSource for V4l2Source {
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let opening = Opening { path: &self.path, only: self.only, name: self.describe() };
        Ok(Box::new(opening.open(wish)?))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// The steps from a path to a streaming device, each of which gives the system's errors their meaning.
struct Opening<'a> {
    path: &'a Path,
    only: Option<PixelFormat>,
    name: String,
}

impl Opening<'_> {
    fn open(self, wish: &Wish) -> Result<V4l2Camera, CameraError> {
        let device = self.open_device()?;
        let offers = self.offers(&device, wish)?;
        let choice = negotiate::choose(&self.name, &offers, wish)?;
        let mut format = self.set_format(&device, &choice, wish)?;
        // After each S_FMT: some drivers keep the interval that the last program set, others reset it then.
        format.rate = self.set_rate(&device, choice.rate)?;
        let failed = |action| move |error| (action, error);
        let buffers = CaptureBuffers::new(&device, BUFFERS).map_err(failed("allocating buffers"));
        let mut buffers = buffers.map_err(|(action, error)| self.error(action, error))?;
        buffers.start().map_err(|error| self.error("starting the stream", error))?;
        let (rate, stride) = (format.rate.per_second(), format.stride);
        tracing::info!(device = %self.name, chosen = choice.why, rate, stride, "camera opened");
        Ok(V4l2Camera {
            name: self.name,
            buffers,
            device,
            format,
            losses: Losses::default(),
            last_picture: clock::now(),
            assembler: Assembler::default(),
            unit: None,
        })
    }

    fn open_device(&self) -> Result<Device, CameraError> {
        // The crate panics on a path with a zero byte.
        if self.path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(self.not_found());
        }
        let device = Device::with_path(self.path).map_err(|error| self.error("opening it", error))?;
        video::close_on_exec(&device).map_err(|error| self.error("opening it", error))?;
        let capability = video::capability(&device).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => self.not_usable("it is not a video device"),
            _ => self.error("asking what it is", error),
        })?;
        if capability.captures() && capability.streams() {
            Ok(device)
        } else if capability.captures() {
            Err(self.not_usable("it cannot stream"))
        } else if capability.captures_multiplanar() {
            Err(self.not_usable("it gives pictures in several planes each, which is not supported yet"))
        } else {
            Err(self.not_usable("this node gives no pictures (a webcam has further nodes, for its metadata)"))
        }
    }

    fn offers(&self, device: &Device, wish: &Wish) -> Result<Vec<Offer>, CameraError> {
        let formats = device.enum_formats().map_err(|error| self.error("asking for its formats", error))?;
        Ok(formats
            .into_iter()
            .map(|format| {
                let fourcc = FourCc(format.fourcc.repr);
                let usable = negotiate::pixel_format(fourcc)
                    .is_some_and(|pixel| self.only.is_none_or(|only| only == pixel));
                let ranges = if usable { size_ranges(device, fourcc) } else { Vec::new() };
                let sizes = ranges.into_iter().map(|range| {
                    let near = range.nearest(wish);
                    let rates = near.map(|(width, height)| rates(device, fourcc, width, height));
                    OfferedSize { range, rates: rates.unwrap_or_default() }
                });
                Offer { fourcc, sizes: sizes.collect() }
            })
            .collect())
    }

    fn set_format(&self, device: &Device, choice: &Choice, wish: &Wish) -> Result<VideoFormat, CameraError> {
        let asked = Format::new(choice.width, choice.height, v4l::FourCC { repr: choice.fourcc.0 });
        let got = device.set_format(&asked).map_err(|error| self.error("setting the format", error))?;
        let Format { width, height, .. } = got;
        if got.fourcc != asked.fourcc {
            let got = FourCc(got.fourcc.repr);
            return Err(self.not_usable(&format!("its driver turns {} into {got}", choice.fourcc)));
        }
        if (width, height) != (wish.width, wish.height) && wish.size == SizeWish::Exact {
            let (device, offered) = (self.name.clone(), format!("{width}x{height}"));
            return Err(CameraError::Size { device, width: wish.width, height: wish.height, offered });
        }
        if width % 2 != 0 || height % 2 != 0 || width == 0 || height == 0 {
            return Err(self.not_usable(&format!("its pictures of {width}x{height} are not even")));
        }
        let stride = choice.pixel.row_bytes(width).map_or(0, |row| got.stride.max(row));
        Ok(VideoFormat { pixel: choice.pixel, width, height, stride, rate: choice.rate })
    }

    fn set_rate(&self, device: &Device, wish: FrameRate) -> Result<FrameRate, CameraError> {
        let asked = Parameters::new(Fraction::new(wish.denominator, wish.numerator));
        match device.set_params(&asked) {
            Ok(got) => Ok(rate_of(got.interval).unwrap_or(wish)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EBUSY)) => {
                Err(self.error("setting the rate", error))
            }
            Err(reason) => {
                tracing::debug!(device = %self.name, %reason, "the driver does not let its rate be set");
                Ok(wish)
            }
        }
    }

    fn error(&self, action: &'static str, source: io::Error) -> CameraError {
        let device = self.name.clone();
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR) => self.not_found(),
            Some(libc::EACCES | libc::EPERM) => CameraError::Permission { device },
            Some(libc::EBUSY) => CameraError::Busy { device, by: devices::holder(self.path) },
            Some(libc::EISDIR) => self.not_usable("it is a directory"),
            _ => CameraError::Io { device, action, source },
        }
    }

    fn not_found(&self) -> CameraError {
        CameraError::NotFound { device: self.name.clone(), remedy: devices::remedy_for_missing() }
    }

    fn not_usable(&self, reason: &str) -> CameraError {
        let found = capture_devices();
        let remedy = match found.iter().find(|found| found.path != self.path) {
            Some(other) => format!("try --camera {} ({})", other.path.display(), other.card),
            None => "choose another with --camera, or use --camera synthetic".to_owned(),
        };
        CameraError::NotUsable { device: self.name.clone(), reason: reason.to_owned(), remedy }
    }
}

struct V4l2Camera {
    name: String,
    buffers: CaptureBuffers,
    device: Device,
    format: VideoFormat,
    losses: Losses,
    last_picture: Instant,
    /// For H.264: some cameras give parameter sets at the start only.
    assembler: Assembler,
    /// The access unit that was given out last; none of raw formats.
    unit: Option<Encoded>,
}

impl Camera for V4l2Camera {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        self.buffers.release().map_err(|error| self.failed(error))?;
        if !self.buffers.wait(wait).map_err(|error| self.failed(error))? {
            return self.nothing();
        }
        let Some(filled) = self.take()? else { return self.nothing() };
        if filled.damaged || self.buffers.bytes().len() < self.format.frame_bytes().max(1) {
            tracing::debug!(device = %self.name, sequence = filled.sequence, "dropped a damaged picture");
            self.losses.passed_over();
            return self.nothing();
        }
        if self.format.pixel == PixelFormat::H264 && !self.assemble(filled.sequence) {
            self.losses.passed_over();
            return self.nothing();
        }
        let now = clock::now();
        self.last_picture = now;
        let skipped = self.losses.delivered(filled.sequence);
        let captured = captured(now, time::monotonic(), filled.stamp);
        let data = self.unit.as_ref().map_or(self.buffers.bytes(), |unit| &unit.data);
        Ok(Some(Frame { data, captured, skipped }))
    }

    fn request_key_frame(&mut self) {
        if self.format.pixel == PixelFormat::H264 {
            let id = v4l_sys::V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME;
            let press = Control { id, value: Value::Integer(1) };
            if let Err(reason) = self.device.set_control(press) {
                tracing::debug!(device = %self.name, %reason, "the camera makes key frames when it likes");
            }
        }
    }
}

impl V4l2Camera {
    /// Makes an access unit of the held buffer. `false`: there is none in it, or it cannot be decoded because it
    /// refers to one that was lost.
    fn assemble(&mut self, sequence: u32) -> bool {
        let unbroken = !self.losses.break_before(sequence);
        let unit = self.assembler.whole(self.buffers.bytes());
        self.unit = unit.filter(|unit| unbroken || unit.kind == FrameKind::Key);
        self.unit.is_some()
    }

    /// Takes the newest filled buffer; of H.264 the next.
    fn take(&mut self) -> Result<Option<Filled>, CameraError> {
        let mut newest = None;
        // As many as there are buffers, or a fast driver would keep us here.
        for _ in 0..if self.format.pixel == PixelFormat::H264 { 1 } else { BUFFERS } {
            match self.buffers.take_next().map_err(|error| self.failed(error))? {
                None => break,
                Some(filled) => {
                    if newest.replace(filled).is_some() {
                        self.losses.passed_over();
                    }
                }
            }
        }
        Ok(newest)
    }

    fn nothing(&self) -> Result<Option<Frame<'_>>, CameraError> {
        let since = clock::now().saturating_duration_since(self.last_picture);
        if since >= STALL {
            return Err(CameraError::Stalled { device: self.name.clone(), seconds: since.as_secs_f32() });
        }
        Ok(None)
    }

    fn failed(&self, source: io::Error) -> CameraError {
        let device = self.name.clone();
        // After an unplug some calls give ENODEV, others EINVAL or EIO; asking for the name gives ENODEV always.
        let gone = source.raw_os_error() == Some(libc::ENODEV) || video::capability(&self.device).is_err();
        if gone {
            CameraError::Lost { device }
        } else {
            CameraError::Io { device, action: "capturing", source }
        }
    }
}

/// Frames that nobody will see, from the last delivered one on.
#[derive(Debug, Default)]
struct Losses {
    /// Sequence number of the last delivered frame.
    last: Option<u32>,
    passed_over: u32,
}

impl Losses {
    /// A frame came and was not delivered.
    fn passed_over(&mut self) {
        self.passed_over = self.passed_over.saturating_add(1);
    }

    /// How many were lost before the frame that is delivered now. The driver's count says so, as long as it makes
    /// sense (some drivers leave it at 0, or start anew); what we passed over ourselves is known anyway.
    fn delivered(&mut self, sequence: u32) -> u32 {
        const SANE: u32 = 10_000;
        let gap = self.last.map_or(0, |last| sequence.wrapping_sub(last).wrapping_sub(1));
        self.last = Some(sequence);
        let passed_over = std::mem::take(&mut self.passed_over);
        if gap < SANE { gap.max(passed_over) } else { passed_over }
    }

    /// Whether frames before this one are missing, so that decoding can go on at a key frame only.
    fn break_before(&self, sequence: u32) -> bool {
        self.passed_over > 0 || self.last.is_none_or(|last| sequence.wrapping_sub(last) > 1)
    }
}

/// When a picture was taken, from the driver's stamp; without a stamp that makes sense, now.
fn captured(now: Instant, monotonic: Duration, stamp: Option<Duration>) -> Instant {
    const SANE: Duration = Duration::from_secs(5);
    let age = stamp.and_then(|stamp| monotonic.checked_sub(stamp)).filter(|age| *age < SANE);
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

fn size_ranges(device: &Device, fourcc: FourCc) -> Vec<SizeRange> {
    let sizes = match device.enum_framesizes(v4l::FourCC { repr: fourcc.0 }) {
        Ok(sizes) => sizes,
        Err(reason) => {
            // The driver answers S_FMT with the nearest it can do, so anything may be asked.
            tracing::debug!(%fourcc, %reason, "the driver does not list its sizes");
            return vec![SizeRange { min: (16, 16), max: (16_384, 16_384), step: (2, 2) }];
        }
    };
    let range = |size: v4l::FrameSize| match size.size {
        FrameSizeEnum::Discrete(size) => SizeRange::single(size.width, size.height),
        FrameSizeEnum::Stepwise(size) => SizeRange {
            min: (size.min_width, size.min_height),
            max: (size.max_width, size.max_height),
            step: (size.step_width, size.step_height),
        },
    };
    sizes.into_iter().map(range).collect()
}

fn rates(device: &Device, fourcc: FourCc, width: u32, height: u32) -> Vec<RateRange> {
    let intervals = device.enum_frameintervals(v4l::FourCC { repr: fourcc.0 }, width, height);
    let range = |interval: v4l::FrameInterval| match interval.interval {
        FrameIntervalEnum::Discrete(interval) => rate_of(interval).map(RateRange::single),
        FrameIntervalEnum::Stepwise(interval) => {
            // The shortest interval is the fastest rate. vivid's is 0: it has no limit.
            let slowest = rate_of(interval.max)?;
            Some(RateRange { slowest, fastest: rate_of(interval.min).unwrap_or(FrameRate::new(1000)) })
        }
    };
    intervals.unwrap_or_default().into_iter().filter_map(range).collect()
}

fn rate_of(interval: Fraction) -> Option<FrameRate> {
    let Fraction { numerator, denominator } = interval;
    (numerator != 0 && denominator != 0)
        .then_some(FrameRate { numerator: denominator, denominator: numerator })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAREST: Wish =
        Wish { width: 1280, height: 720, rate: FrameRate::new(30), size: SizeWish::Nearest };

    fn refusal(path: &str) -> String {
        match V4l2Source::new(path).open(&NEAREST) {
            Ok(_) => panic!("{path} was opened"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_missing_device_is_named_with_a_remedy() {
        for path in ["/dev/video-none", "/dev/null/video0", "\0", ""] {
            let refusal = refusal(path);
            assert!(refusal.starts_with(&format!("no camera at {path}: ")), "{refusal}");
            assert!(refusal.contains("--camera"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_video_device_is_refused() {
        let (zero, folder) = (refusal("/dev/zero"), refusal("/dev"));
        assert!(
            zero.contains("/dev/zero is not a camera that can be used: it is not a video device"),
            "{zero}"
        );
        assert!(folder.contains("it is a directory"), "{folder}");
    }

    #[test]
    fn gaps_in_the_drivers_count_are_losses() {
        let mut losses = Losses::default();
        assert_eq!(losses.delivered(7), 0, "nothing is known of what was before the first");
        assert_eq!(losses.delivered(8), 0);
        assert_eq!(losses.delivered(11), 2);
        losses.passed_over();
        assert_eq!(losses.delivered(13), 1, "the frame passed over is the gap");
        losses.passed_over();
        assert_eq!(losses.delivered(16), 2);
        assert_eq!(losses.delivered(u32::MAX), 0, "a jump that cannot be");
        assert_eq!(losses.delivered(0), 0, "the count wraps");
    }

    #[test]
    fn without_a_useful_count_the_frames_passed_over_count() {
        let mut losses = Losses::default();
        assert_eq!(losses.delivered(0), 0);
        losses.passed_over();
        losses.passed_over();
        assert_eq!(losses.delivered(0), 2);
        assert_eq!(losses.delivered(0), 0);
    }

    #[test]
    fn compressed_video_breaks_at_the_start_and_after_losses() {
        let mut losses = Losses::default();
        assert!(losses.break_before(0));
        losses.delivered(0);
        assert!(!losses.break_before(1));
        assert!(losses.break_before(2));
        losses.passed_over();
        assert!(losses.break_before(1));
    }

    #[test]
    fn capture_time_is_the_drivers_stamp_if_that_makes_sense() {
        let now = clock::now();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert_eq!(captured(now, s(100), Some(s(100) - ms(40))), now - ms(40));
        assert_eq!(captured(now, s(100), None), now);
        assert_eq!(captured(now, s(100), Some(s(101))), now, "in the future");
        assert_eq!(captured(now, s(100), Some(s(3))), now, "of another clock");
    }

    #[test]
    fn intervals_become_rates() {
        assert_eq!(
            rate_of(Fraction::new(1001, 30000)),
            Some(FrameRate { numerator: 30000, denominator: 1001 })
        );
        assert_eq!(rate_of(Fraction::new(0, 1)), None);
        assert_eq!(rate_of(Fraction::new(1, 0)), None);
    }
}
