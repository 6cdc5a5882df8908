//! A command as a camera: what it writes to standard output are raw pictures, or an H.264 stream as from
//! `rpicam-vid`. It runs as long as the camera is open. Used on the camera's pipeline thread; `cam-read` reads for
//! it. Not here: starting it again when it has ended, which the pipeline does for all cameras.

use std::{
    fmt,
    process::{ChildStdout, Command},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    Camera, CameraError, CameraSource, Frame, FrameRate, PixelFormat, SizeWish, VideoFormat, Wish,
    child::{self, ChildGroup},
    mailbox::{End, Mailbox, Newest, Picture, Queue, Taken, Waiting},
    pipe,
};
use crate::{
    clock,
    encode::{Encoded, FrameKind},
    h264::sps::Sps,
    tasks,
};

/// How long a command may take to its first picture: starting a sensor takes seconds on a slow board.
const FIRST_PICTURE: Duration = Duration::from_secs(10);

/// How long it may then give no picture, or three frames' time if that is longer.
const STALL: Duration = Duration::from_secs(5);

/// Runs one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSource {
    /// Given to `sh -c`.
    pub command: String,
    pub output: Output,
}

/// What a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// An H.264 byte stream (Annex B) with parameter sets before its first key frame, at least.
    H264,
    /// I420 pictures one after the other, rows without padding: 1.5 bytes a pixel.
    I420(Geometry),
    /// YUYV pictures one after the other, rows without padding: 2 bytes a pixel.
    Yuyv(Geometry),
}

/// What raw pictures cannot say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels; even.
    pub width: u32,
    /// Pixels; even.
    pub height: u32,
    /// Without one, the wish is taken for true.
    pub rate: Option<FrameRate>,
}

/// Reads what follows `process:` in the setting `camera`, one of
/// - `COMMAND`: it writes an H.264 byte stream;
/// - `i420:WIDTHxHEIGHT[@FPS]:COMMAND`: it writes raw I420 pictures;
/// - `yuyv:WIDTHxHEIGHT[@FPS]:COMMAND`: it writes raw YUYV pictures.
///
/// Width and height are even and at most 8192, `FPS` is a number as 30 or a ratio as 30000/1001, at most 240.
/// `COMMAND` is everything up to the end, colons included.
///
/// # Errors
/// One line that says what is wrong and what would be right.
pub fn parse(text: &str) -> Result<ProcessSource, String> {
    const EXAMPLE: &str = "as in process:i420:1280x720@30:COMMAND";
    let geometry_and_command = |text: &str, rest: &str| {
        let (geometry, command) =
            rest.split_once(':').ok_or_else(|| format!("`process:{text}` has no command, {EXAMPLE}"))?;
        let geometry = parse_geometry(geometry).map_err(|error| format!("{error}, {EXAMPLE}"))?;
        Ok::<_, String>((geometry, command.to_owned()))
    };
    let (output, command) = match text.split_once(':') {
        Some(("i420", rest)) => {
            let (geometry, command) = geometry_and_command(text, rest)?;
            (Output::I420(geometry), command)
        }
        Some(("yuyv", rest)) => {
            let (geometry, command) = geometry_and_command(text, rest)?;
            (Output::Yuyv(geometry), command)
        }
        _ => (Output::H264, text.to_owned()),
    };
    if command.trim().is_empty() {
        return Err("process: needs a command, as in process:rpicam-vid -t 0 --inline -o -".to_owned());
    }
    Ok(ProcessSource { command, output })
}

fn parse_geometry(text: &str) -> Result<Geometry, String> {
    let (size, rate) = text.split_once('@').map_or((text, None), |(size, rate)| (size, Some(rate)));
    let side = |text: &str| text.parse().ok().filter(|side| side % 2 == 0 && (2..=8192).contains(side));
    let sides = size.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (width, height) =
        sides.ok_or_else(|| format!("`{size}` is not a size of two even numbers up to 8192"))?;
    let rate = rate.map(|rate| parse_rate(rate).ok_or_else(|| format!("`{rate}` is not a rate up to 240")));
    Ok(Geometry { width, height, rate: rate.transpose()? })
}

fn parse_rate(text: &str) -> Option<FrameRate> {
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    let rate = FrameRate { numerator: numerator.parse().ok()?, denominator: denominator.parse().ok()? };
    (rate.numerator > 0 && rate.denominator > 0 && rate.per_second() <= 240.0).then_some(rate)
}

/// As [`parse`] reads it.
impl fmt::Display for ProcessSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, geometry) = match self.output {
            Output::H264 => return f.write_str(&self.command),
            Output::I420(geometry) => ("i420", geometry),
            Output::Yuyv(geometry) => ("yuyv", geometry),
        };
        write!(f, "{name}:{}x{}", geometry.width, geometry.height)?;
        match geometry.rate {
            Some(FrameRate { numerator, denominator: 1 }) => write!(f, "@{numerator}")?,
            Some(FrameRate { numerator, denominator }) => write!(f, "@{numerator}/{denominator}")?,
            None => {}
        }
        write!(f, ":{}", self.command)
    }
}

impl CameraSource for ProcessSource {
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let format = self.format(wish);
        let shell = child::shell(&self.command);
        let camera = match self.output {
            Output::H264 => h264(&self.command, shell, wish),
            Output::I420(_) | Output::Yuyv(_) => {
                check_size(&self.command, &format, wish)?;
                pictures(&self.command, shell, format, None)
            }
        };
        camera.map_err(|error| error.named(&self.command))
    }

    fn describe(&self) -> String {
        format!("process:{self}")
    }
}

impl ProcessSource {
    fn format(&self, wish: &Wish) -> VideoFormat {
        let (pixel, geometry) = match self.output {
            Output::H264 => {
                (PixelFormat::H264, Geometry { width: wish.width, height: wish.height, rate: None })
            }
            Output::I420(geometry) => (PixelFormat::I420, geometry),
            Output::Yuyv(geometry) => (PixelFormat::Yuyv, geometry),
        };
        let Geometry { width, height, rate } = geometry;
        let stride = pixel.row_bytes(width).unwrap_or(0);
        VideoFormat { pixel, width, height, stride, rate: rate.unwrap_or(wish.rate) }
    }
}

/// Why a command does not run.
pub(super) enum StartError {
    /// There is no such program.
    NotInstalled,
    Other(CameraError),
}

impl StartError {
    fn named(self, command: &str) -> CameraError {
        match self {
            Self::NotInstalled => CameraError::Command {
                command: command.to_owned(),
                what: "cannot be started: there is no such program".to_owned(),
                stderr: String::new(),
            },
            Self::Other(error) => error,
        }
    }
}

/// A command that writes an H.264 byte stream, as a camera. `title` is what people call it. Its size shows with its
/// first picture.
pub(super) fn h264(title: &str, command: Command, wish: &Wish) -> Result<Box<dyn Camera>, StartError> {
    let Wish { width, height, rate, .. } = *wish;
    let format = VideoFormat { pixel: PixelFormat::H264, width, height, stride: 0, rate };
    let rest = (rate.interval() / 4).clamp(Duration::from_millis(3), Duration::from_millis(10));
    let read = move |pipe: ChildStdout, mailbox: &Mailbox<Queue>| pipe::read_h264(pipe, rest, mailbox);
    let running = Running::start(title, command, rate, read)?;
    Ok(Box::new(H264Camera { format, wish: *wish, running, current: None }))
}

/// A command that writes I420 pictures whose levels are those of JPEG (0 to 255), as a camera whose levels are those of
/// video.
pub(super) fn full_range_pictures(
    title: &str,
    command: Command,
    format: VideoFormat,
) -> Result<Box<dyn Camera>, StartError> {
    pictures(title, command, format, Some(Box::new(Levels::new())))
}

fn pictures(
    title: &str,
    command: Command,
    format: VideoFormat,
    levels: Option<Box<Levels>>,
) -> Result<Box<dyn Camera>, StartError> {
    let size = format.frame_bytes();
    let read = move |pipe: ChildStdout, mailbox: &Mailbox<Newest>| pipe::read_raw(pipe, size, mailbox);
    let running = Running::start(title, command, format.rate, read)?;
    Ok(Box::new(RawCamera { format, running, levels, current: Vec::new() }))
}

/// From the levels of JPEG (ITU-T T.871: 0 to 255) to those of video, which decoders take for granted (ITU-R BT.601:
/// luma 16 to 235, chroma 16 to 240).
struct Levels {
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl Levels {
    fn new() -> Self {
        let level = |from: f32, span: f32| {
            std::array::from_fn(|value| ((value as f32 - from) * span / 255.0 + from.max(16.0)).round() as u8)
        };
        Self { luma: level(0.0, 219.0), chroma: level(128.0, 224.0) }
    }

    /// A picture of so many pixels in I420.
    fn apply(&self, picture: &mut [u8], pixels: usize) {
        let (luma, chroma) = picture.split_at_mut(pixels.min(picture.len()));
        for (plane, table) in [(luma, &self.luma), (chroma, &self.chroma)] {
            for value in plane {
                *value = table[usize::from(*value)];
            }
        }
    }
}

fn check_size(command: &str, format: &VideoFormat, wish: &Wish) -> Result<(), CameraError> {
    let VideoFormat { width, height, .. } = *format;
    if wish.size == SizeWish::Exact && (width, height) != (wish.width, wish.height) {
        let (device, offered) = (format!("command `{command}`"), format!("{width}x{height} only"));
        return Err(CameraError::Size { device, width: wish.width, height: wish.height, offered });
    }
    Ok(())
}

struct RawCamera {
    format: VideoFormat,
    running: Running<Newest>,
    levels: Option<Box<Levels>>,
    /// The picture that was given out last; empty before the first.
    current: Vec<u8>,
}

impl Camera for RawCamera {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        let Some(picture) = self.running.next(wait)? else { return Ok(None) };
        let done = std::mem::replace(&mut self.current, picture.content);
        if !done.is_empty() {
            self.running.mailbox.with(|slot| slot.give_back(done));
        }
        if let Some(levels) = &self.levels {
            levels.apply(&mut self.current, (self.format.stride * self.format.height) as usize);
        }
        Ok(Some(Frame {
            data: &self.current,
            captured: picture.captured,
            dmabuf: None,
            skipped: picture.skipped,
        }))
    }
}

struct H264Camera {
    format: VideoFormat,
    wish: Wish,
    running: Running<Queue>,
    current: Option<Encoded>,
}

impl Camera for H264Camera {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        let Some(picture) = self.running.next(wait)? else { return Ok(None) };
        if picture.content.kind == FrameKind::Key
            && let Some(sps) = Sps::of_access_unit(&picture.content.data)
        {
            let rate = sps.rate.unwrap_or(self.wish.rate);
            self.format = VideoFormat { width: sps.width, height: sps.height, rate, ..self.format };
            check_size(&self.running.command, &self.format, &self.wish)?;
        }
        let unit = self.current.insert(picture.content);
        Ok(Some(Frame {
            data: &unit.data,
            captured: picture.captured,
            dmabuf: None,
            skipped: picture.skipped,
        }))
    }
}

/// A command with its reader.
struct Running<W: Waiting + Default> {
    command: String,
    child: ChildGroup,
    mailbox: Arc<Mailbox<W>>,
    reader: Option<JoinHandle<()>>,
    /// The last picture, or the start.
    since: Instant,
    patience: Duration,
    stall: Duration,
}

impl<W: Waiting + Default + Send + 'static> Running<W> {
    fn start(
        title: &str,
        command: Command,
        rate: FrameRate,
        read: impl FnOnce(ChildStdout, &Mailbox<W>) + Send + 'static,
    ) -> Result<Self, StartError> {
        let cannot = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => StartError::NotInstalled,
            _ => StartError::Other(CameraError::Command {
                command: title.to_owned(),
                what: format!("cannot be started: {error}"),
                stderr: String::new(),
            }),
        };
        let (child, pipe) = ChildGroup::start(command).map_err(cannot)?;
        let mailbox = Arc::new(Mailbox::new());
        let theirs = Arc::clone(&mailbox);
        let reader = tasks::thread("cam-read", move || read(pipe, &theirs)).map_err(cannot)?;
        tracing::info!(command = title, "camera command started");
        Ok(Self {
            command: title.to_owned(),
            child,
            mailbox,
            reader: Some(reader),
            since: clock::now(),
            patience: FIRST_PICTURE,
            stall: STALL.max(rate.interval() * 3),
        })
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Picture<W::Content>>, CameraError> {
        match self.mailbox.take(wait) {
            Taken::Picture(picture) => {
                (self.since, self.patience) = (clock::now(), self.stall);
                Ok(Some(picture))
            }
            Taken::Nothing => {
                let waited = clock::now().saturating_duration_since(self.since);
                if waited < self.patience {
                    return Ok(None);
                }
                let device = format!("command `{}`", self.command);
                Err(CameraError::Stalled { device, seconds: waited.as_secs_f32() })
            }
            Taken::End(end) => Err(self.failure(end)),
        }
    }

    fn failure(&mut self, end: End) -> CameraError {
        const GOING: Duration = Duration::from_millis(500);
        let what = match end {
            End::Unusable(what) => what,
            // The output is closed a moment before the command is gone.
            End::Closed if self.child.ends_within(GOING) => {
                self.child.end(|| true).map_or_else(|| "ended".to_owned(), child::describe)
            }
            End::Closed => "closed its standard output".to_owned(),
        };
        CameraError::Command { command: self.command.clone(), what, stderr: self.child.last_words() }
    }
}

impl<W: Waiting + Default> Drop for Running<W> {
    fn drop(&mut self) {
        let reader = self.reader.take();
        // The reader reads on meanwhile, so that a command that is writing can end in order.
        self.child.end(|| reader.as_ref().is_none_or(JoinHandle::is_finished));
        self.mailbox.stop();
        if let Some(reader) = reader {
            // It panicked or not: there is nothing of it left.
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(width: u32, height: u32, rate: Option<FrameRate>) -> Geometry {
        Geometry { width, height, rate }
    }

    #[test]
    fn jpegs_levels_become_those_of_video() {
        let mut picture = vec![0, 128, 255, 64, 0, 255];
        Levels::new().apply(&mut picture, 4);
        assert_eq!(picture, [16, 126, 235, 71, 16, 240]);
        let mut grey = vec![128; 6];
        Levels::new().apply(&mut grey, 4);
        assert_eq!(grey[4..], [128, 128], "no colour stays no colour");
    }

    #[test]
    fn reads_each_form_and_writes_it_again() {
        let ntsc = Some(FrameRate { numerator: 30000, denominator: 1001 });
        for (text, command, output) in [
            ("rpicam-vid -o - | tee a:b", "rpicam-vid -o - | tee a:b", Output::H264),
            ("http://x | y", "http://x | y", Output::H264),
            ("i420:64x48:cat a:b", "cat a:b", Output::I420(raw(64, 48, None))),
            ("i420:1280x720@30:c", "c", Output::I420(raw(1280, 720, Some(FrameRate::new(30))))),
            ("yuyv:640x480@30000/1001:c", "c", Output::Yuyv(raw(640, 480, ntsc))),
        ] {
            let source = parse(text).unwrap();
            assert_eq!(source, ProcessSource { command: command.to_owned(), output });
            assert_eq!(source.to_string(), text);
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, reason) in [
            ("", "needs a command"),
            ("  ", "needs a command"),
            ("i420:64x48:", "needs a command"),
            ("i420:64x48", "has no command, as in process:i420:1280x720@30:COMMAND"),
            ("i420:cat x:y", "`cat x` is not a size"),
            ("yuyv:63x48:c", "two even numbers"),
            ("yuyv:0x48:c", "two even numbers"),
            ("yuyv:99998x48:c", "up to 8192"),
            ("yuyv:64x48@0:c", "`0` is not a rate"),
            ("yuyv:64x48@500:c", "`500` is not a rate"),
            ("yuyv:64x48@30/0:c", "`30/0` is not a rate"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
