//! A V4L2 capture device (a webcam, a capture card, the kernel's test driver), its buffers mapped, none copied.
//! The newest filled buffer is given out and goes back to the driver at the next call. Used on the camera's
//! pipeline thread. Not here: which path (`finder`), from there to a streaming device (`opening`), which format to take (`negotiate`), what
//! `/dev` and `/proc` tell (`devices`).

mod cable;
mod finder;
mod offers;
mod opening;
mod survey;
mod turning;

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use v4l::{Control, Device, control::Value, v4l_sys};

use super::{
    Camera, CameraError, CameraSource, Frame, PixelFormat, VideoFormat, Wish, identity::Present,
    orientation::Orientation,
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
use cable::{Cable, Trouble};
use finder::{Finder, Named};
use opening::Opening;

pub use super::devices::{Found, capture_devices};
pub use survey::{Content, Survey, survey};

/// One to encode from, one that is being filled, two to wait.
const BUFFERS: u32 = 4;

/// How long a device may give no picture before it counts as stalled.
const STALL: Duration = Duration::from_secs(2);

/// Opens one device, and the same again whatever number it has by then.
#[derive(Debug)]
pub struct V4l2Source {
    finder: Finder,
}

impl V4l2Source {
    /// The device at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { finder: Finder::new(Named::Path(path.into())) }
    }

    /// The device whose card has this name, in capitals or not.
    pub fn card(name: impl Into<String>) -> Self {
        Self { finder: Finder::new(Named::Card(name.into())) }
    }

    /// The first of the cameras that are there now, and whenever that one is not there, again the first there is.
    /// `None`: there is none.
    pub(super) fn first(present: Vec<Present>) -> Option<Self> {
        Some(Self { finder: Finder::first(present)? })
    }
}

impl CameraSource for V4l2Source {
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let path = self.finder.find()?;
        let opening = Opening { path: &path, name: self.describe() };
        let camera = opening.open(wish)?;
        self.finder.opened(&path);
        Ok(Box::new(camera))
    }

    fn describe(&self) -> String {
        self.finder.describe()
    }

    fn control_node(&self) -> Option<PathBuf> {
        // Of one that is absent, what it is called: nothing can be opened there, and the refusal names it.
        Some(self.finder.find().unwrap_or_else(|_| self.describe().into()))
    }
}

struct V4l2Camera {
    name: String,
    buffers: CaptureBuffers,
    device: Device,
    /// Of a grabber; a camera has none.
    cable: Option<Cable>,
    format: VideoFormat,
    losses: Losses,
    last_picture: Instant,
    /// For H.264: some cameras give parameter sets at the start only.
    assembler: Assembler,
    /// The access unit that was given out last; none of raw formats.
    unit: Option<Encoded>,
    before_turning: turning::Before,
}

impl Drop for V4l2Camera {
    fn drop(&mut self) {
        turning::restore(&self.device, &self.before_turning);
    }
}

impl Camera for V4l2Camera {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        self.buffers.release().map_err(|error| self.failed(error))?;
        let ready = self.buffers.wait(wait).map_err(|error| self.failed(error))?;
        // After the wait, so that what a grabber gives without a signal, or of half of one, is not given out.
        self.look_at_cable()?;
        if !ready {
            return self.nothing();
        }
        let Some(filled) = self.take()? else { return self.nothing() };
        if filled.damaged || !is_whole(&self.format, self.buffers.bytes()) {
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
        let (data, dmabuf) = match &self.unit {
            Some(unit) => (&unit.data[..], None),
            None => (self.buffers.bytes(), self.buffers.dmabuf()),
        };
        Ok(Some(Frame { data, captured, dmabuf, skipped }))
    }

    fn turn(&mut self, wanted: Orientation) -> Orientation {
        turning::turn(&self.device, &self.name, wanted, &mut self.before_turning)
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
    fn new(
        name: String,
        device: Device,
        cable: Option<Cable>,
        buffers: CaptureBuffers,
        format: VideoFormat,
    ) -> Self {
        Self {
            name,
            buffers,
            device,
            cable,
            format,
            losses: Losses::default(),
            last_picture: clock::now(),
            assembler: Assembler::default(),
            unit: None,
            before_turning: turning::Before::new(),
        }
    }

    /// Makes an access unit of the held buffer. `false`: there is none in it, or it cannot be decoded because it
    /// refers to one that was lost.
    fn assemble(&mut self, sequence: u32) -> bool {
        let unbroken = !self.losses.break_before(sequence);
        let unit = self.assembler.whole(self.buffers.bytes());
        self.unit = unit.filter(|unit| unbroken || unit.kind == FrameKind::Key);
        self.unit.is_some()
    }

    /// An error where another signal comes in by now, or none any more.
    fn look_at_cable(&mut self) -> Result<(), CameraError> {
        let Some(cable) = &mut self.cable else { return Ok(()) };
        let device = || self.name.clone();
        match cable.has_changed(&self.device, clock::now()) {
            Ok(false) => Ok(()),
            Ok(true) => Err(CameraError::SignalChanged { device: device() }),
            Err(Trouble::NoSignal(reason)) => Err(CameraError::NoSignal { device: device(), reason }),
            Err(Trouble::Io(error)) => Err(self.failed(error)),
        }
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

/// Whether the bytes can be a picture, as far as that is told without decoding.
fn is_whole(format: &VideoFormat, data: &[u8]) -> bool {
    /// How each JPEG picture begins (ITU-T T.81, B.2.1).
    const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
    match format.pixel {
        PixelFormat::Mjpeg => data.starts_with(&START_OF_IMAGE),
        PixelFormat::H264 => !data.is_empty(),
        PixelFormat::Yuyv
        | PixelFormat::Uyvy
        | PixelFormat::Nv12
        | PixelFormat::I420
        | PixelFormat::Rgb24
        | PixelFormat::Bgr24
        | PixelFormat::Grey => data.len() >= format.frame_bytes(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::FrameRate;

    const NEAREST: Wish = crate::config::default_wish();

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
        assert!(zero.contains("/dev/zero is not a camera that can be used: "), "{zero}");
        // Under qemu-user there are none.
        assert!(
            ["it is not a video device", "no requests to video devices"].iter().any(|why| zero.contains(why)),
            "{zero}"
        );
        assert!(folder.contains("it is a directory"), "{folder}");
    }

    #[test]
    fn what_cannot_be_a_picture_is_not_whole() {
        let format = |pixel| VideoFormat { pixel, width: 4, height: 2, stride: 6, rate: FrameRate::new(30) };
        let whole = |pixel, data: &[u8]| is_whole(&format(pixel), data);
        assert!(whole(PixelFormat::Grey, &[0; 12]) && !whole(PixelFormat::Grey, &[0; 11]));
        assert!(whole(PixelFormat::Nv12, &[0; 18]) && !whole(PixelFormat::Nv12, &[0; 17]));
        assert!(whole(PixelFormat::Mjpeg, &[0xff, 0xd8, 0xff]));
        for data in [&[][..], &[0xff], &[0, 0, 0, 0], &[0xd8, 0xff, 0xff, 0xd8]] {
            assert!(!whole(PixelFormat::Mjpeg, data), "{data:?}");
        }
        assert!(whole(PixelFormat::H264, &[0]) && !whole(PixelFormat::H264, &[]));
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
}
