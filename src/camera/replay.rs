//! An H.264 file as a camera: played at its own pace, again and again, without skipping. It is read in pieces, so
//! its length does not matter. Used on the camera's pipeline thread. Not here: other containers.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{Camera, CameraError, CameraSource, Frame, FrameRate, PixelFormat, SizeWish, VideoFormat, Wish};
use crate::{
    clock,
    encode::{Encoded, FrameKind},
    h264::{access_unit, sps::Sps, stream::AccessUnits},
};

/// How far into the file a picture must be found, in bytes.
const PROBE: u64 = 4 << 20;

/// How many pictures are looked at when it is opened.
const PROBE_PICTURES: usize = 64;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// Plays one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaySource {
    pub file: PathBuf,
}

impl CameraSource for ReplaySource {
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let name = self.file.display().to_string();
        let bad = |reason: String| CameraError::BadFile { file: name.clone(), reason };
        let mut file = self.open_file().map_err(bad)?;
        let sps = probe(&mut file).map_err(bad)?;
        file.rewind().map_err(|error| bad(error.to_string()))?;
        let Sps { width, height, .. } = sps;
        if wish.size == SizeWish::Exact && (width, height) != (wish.width, wish.height) {
            let offered = format!("{width}x{height} only");
            return Err(CameraError::Size { device: name, width: wish.width, height: wish.height, offered });
        }
        let rate = sps.rate.unwrap_or(wish.rate);
        tracing::info!(file = %name, width, height, rate = rate.per_second(), "playing a file");
        Ok(Box::new(ReplayCamera {
            format: VideoFormat { pixel: PixelFormat::H264, width, height, stride: 0, rate },
            wished: wish.rate,
            pace: Pace::default(),
            reel: Reel::new(file),
            current: None,
            name,
        }))
    }

    fn describe(&self) -> String {
        format!("replay:{}", self.file.display())
    }
}

impl ReplaySource {
    fn open_file(&self) -> Result<File, String> {
        let meta = self.file.metadata().map_err(|error| reason(&error))?;
        if meta.is_dir() {
            return Err("it is a directory".to_owned());
        }
        if !meta.is_file() {
            return Err("it is not a regular file".to_owned());
        }
        if meta.len() == 0 {
            return Err("it is empty".to_owned());
        }
        File::open(&self.file).map_err(|error| reason(&error))
    }
}

struct ReplayCamera {
    name: String,
    format: VideoFormat,
    /// For files that do not tell their rate.
    wished: FrameRate,
    pace: Pace,
    reel: Reel,
    current: Option<Encoded>,
}

impl Camera for ReplayCamera {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        let due_in = self.pace.due_in(clock::now());
        clock::pause(due_in.min(wait));
        if due_in > wait {
            return Ok(None);
        }
        let file = self.name.clone();
        let unit = self.reel.next().map_err(|reason| CameraError::BadFile { file, reason })?;
        if unit.kind == FrameKind::Key
            && let Some(sps) = Sps::of_access_unit(&unit.data)
        {
            let rate = sps.rate.unwrap_or(self.wished);
            self.format = VideoFormat { width: sps.width, height: sps.height, rate, ..self.format };
        }
        let captured = self.pace.play(clock::now(), self.format.rate.interval());
        let unit = self.current.insert(unit);
        Ok(Some(Frame { data: &unit.data, captured, dmabuf: None, skipped: 0 }))
    }
}

/// When each picture is due.
#[derive(Debug, Default)]
struct Pace {
    due: Option<Instant>,
}

impl Pace {
    /// Behind by more than this, we do not hurry to catch up: the process was stopped, or the disk was.
    const LATE: Duration = Duration::from_millis(500);

    fn due_in(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }

    /// A picture is played; gives the time it was due.
    fn play(&mut self, now: Instant, interval: Duration) -> Instant {
        let due = self.due.filter(|due| now.saturating_duration_since(*due) < Self::LATE).unwrap_or(now);
        self.due = Some(due + interval);
        due
    }
}

/// The file as an endless row of access units.
struct Reel {
    file: File,
    units: AccessUnits,
    /// The last ones, when the end is reached.
    last: VecDeque<Encoded>,
    piece: Vec<u8>,
    /// Whether this round has had its first key frame.
    running: bool,
}

impl Reel {
    fn new(file: File) -> Self {
        let piece = vec![0; PIECE];
        Self { file, units: AccessUnits::default(), last: VecDeque::new(), piece, running: false }
    }

    /// The next picture. What comes before a round's first key frame cannot be decoded, and is left out.
    fn next(&mut self) -> Result<Encoded, String> {
        loop {
            let unit = match self.last.pop_front() {
                Some(unit) => Some(unit),
                None => self.units.take_next().map_err(|error| error.to_string())?,
            };
            match unit {
                Some(unit) if self.running || unit.kind == FrameKind::Key => {
                    self.running = true;
                    return Ok(unit);
                }
                Some(_) => {}
                None => self.read_on()?,
            }
        }
    }

    fn read_on(&mut self) -> Result<(), String> {
        match self.file.read(&mut self.piece) {
            Ok(0) => {
                self.last.extend(self.units.flush());
                if self.last.is_empty() {
                    if !self.running {
                        return Err("it has no key frame any more".to_owned());
                    }
                    self.file.rewind().map_err(|error| reason(&error))?;
                    self.units = AccessUnits::default();
                    self.running = false;
                }
            }
            Ok(count) => self.units.push(&self.piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(reason(&error)),
        }
        Ok(())
    }
}

/// Looks whether the file's beginning can be played.
fn probe(file: &mut File) -> Result<Sps, String> {
    let (mut units, mut piece) = (AccessUnits::default(), vec![0; PIECE]);
    let (mut sps, mut pictures, mut read) = (None, 0, 0);
    let mut look_at = |unit: Encoded| {
        pictures += 1;
        if access_unit::has_b_slice(&unit.data) {
            return Err("it has B-frames, which cannot be played over WebRTC".to_owned());
        }
        if sps.is_none() && unit.kind == FrameKind::Key {
            sps = Sps::of_access_unit(&unit.data);
        }
        Ok(sps.filter(|_| pictures >= PROBE_PICTURES))
    };
    while read < PROBE {
        let count = file.read(&mut piece).map_err(|error| reason(&error))?;
        if let (0, Some(kind)) = (read, foreign(&piece[..count])) {
            return Err(format!("it is a {kind} file, not a bare H.264 stream"));
        }
        if count == 0 {
            break;
        }
        read += count as u64;
        units.push(&piece[..count]);
        while let Some(unit) = units.take_next().map_err(|error| error.to_string())? {
            if let Some(sps) = look_at(unit)? {
                return Ok(sps);
            }
        }
    }
    for unit in units.flush() {
        look_at(unit)?;
    }
    sps.ok_or_else(|| {
        let what = if pictures == 0 { "no H.264 pictures" } else { "no key frame" };
        let limit = if read < PROBE { "it".to_owned() } else { format!("its first {} MiB", PROBE >> 20) };
        format!("there is {what} in {limit}")
    })
}

/// What people give most often instead.
fn foreign(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some("MP4"),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some("Matroska or WebM"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', ..] => Some("AVI"),
        _ => None,
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARS: &str = "tests/fixtures/h264/bars-160x120-25fps.h264";

    const NEAREST: Wish = crate::config::default_wish();

    fn refusal(file: impl Into<PathBuf>, wish: &Wish) -> String {
        match (ReplaySource { file: file.into() }).open(wish) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        }
    }

    fn refusal_of(content: &[u8]) -> String {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pinhole-replay-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        let refusal = refusal(&path, &NEAREST);
        std::fs::remove_file(&path).unwrap();
        refusal
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_the_reason() {
        for (refusal, reason) in [
            (refusal("/nowhere/x.h264", &NEAREST), "/nowhere/x.h264 cannot be played: there is no such file"),
            (refusal("/tmp", &NEAREST), "it is a directory"),
            (refusal("/dev/zero", &NEAREST), "it is not a regular file"),
            (refusal("tests/fixtures/h264/b-frames.h264", &NEAREST), "it has B-frames"),
            (refusal_of(b""), "it is empty"),
            (refusal_of(b"hello"), "there is no H.264 pictures in it"),
            (refusal_of(&vec![7; 5 << 20]), "there is no H.264 pictures in its first 4 MiB"),
            (refusal_of(b"\0\0\0 ftypisom"), "it is a MP4 file"),
            (refusal_of(&[0, 0, 1, 0x41, 0x9a, 1, 0, 0, 1, 0x41, 0x9a, 2]), "there is no key frame in it"),
        ] {
            assert!(refusal.contains(reason), "{refusal}");
        }
    }

    #[test]
    fn another_size_than_the_named_one_is_refused() {
        let exact = Wish { size: SizeWish::Exact, ..NEAREST };
        let refusal = refusal(BARS, &exact);
        assert!(refusal.contains("cannot do 1280x720: it offers 160x120 only"), "{refusal}");
        let exact = Wish { width: 160, height: 120, ..exact };
        assert!((ReplaySource { file: BARS.into() }).open(&exact).is_ok());
    }

    #[test]
    fn the_reel_plays_everything_and_begins_again() {
        let mut reel = Reel::new(File::open(BARS).unwrap());
        let rounds: Vec<_> = (0..70).map(|_| reel.next().unwrap()).collect();
        assert_eq!(rounds[..30], rounds[30..60]);
        assert_eq!(rounds[..10], rounds[60..]);
        assert_eq!(rounds[0].kind, FrameKind::Key);
        assert!((1..10).all(|at| rounds[at].kind == FrameKind::Delta));
    }

    #[test]
    fn a_round_begins_at_a_key_frame() {
        let whole = std::fs::read(BARS).unwrap();
        let path = std::env::temp_dir().join(format!("pinhole-replay-headless-{}", std::process::id()));
        let mut content = vec![0, 0, 1, 0x41, 0x9a, 1];
        content.extend(whole);
        std::fs::write(&path, content).unwrap();
        let mut reel = Reel::new(File::open(&path).unwrap());
        let kinds: Vec<_> = (0..31).map(|_| reel.next().unwrap().kind).collect();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((kinds[0], kinds[30]), (FrameKind::Key, FrameKind::Key));
    }

    #[test]
    fn a_file_that_is_emptied_meanwhile_ends_with_an_error() {
        let path = std::env::temp_dir().join(format!("pinhole-replay-emptied-{}", std::process::id()));
        std::fs::copy(BARS, &path).unwrap();
        let mut reel = Reel::new(File::open(&path).unwrap());
        assert!(reel.next().is_ok());
        File::create(&path).unwrap();
        let error = (0..100).find_map(|_| reel.next().err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error.as_deref(), Some("it has no key frame any more"));
    }

    #[test]
    fn pictures_are_due_at_even_times_however_late_the_reader_is() {
        let (start, ms) = (clock::now(), Duration::from_millis);
        let mut pace = Pace::default();
        assert_eq!(pace.due_in(start), ms(0));
        assert_eq!(pace.play(start, ms(40)), start);
        assert_eq!(pace.due_in(start + ms(10)), ms(30));
        assert_eq!(pace.play(start + ms(47), ms(40)), start + ms(40));
        assert_eq!(pace.due_in(start + ms(47)), ms(33));
        assert_eq!(pace.play(start + ms(140), ms(40)), start + ms(80), "late: the next is due at once");
        assert_eq!(pace.due_in(start + ms(140)), ms(0));
        assert_eq!(pace.play(start + ms(9000), ms(40)), start + ms(9000), "too late: a new beginning");
        assert_eq!(pace.due_in(start + ms(9000)), ms(40));
    }
}
