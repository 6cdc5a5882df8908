//! A camera made of arithmetic: a moving picture with a legible clock and a machine-readable one, at an exact
//! rate. It is what pinhole shows where there is no camera, and what the tests and measurements read. Runs on
//! the camera's pipeline thread. Not here: how the picture is drawn (`picture`, `font`).

mod font;
mod picture;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Camera, CameraError, CameraSource, Frame, FrameRate, PixelFormat, SizeWish, VideoFormat, Wish};
use crate::clock;
use picture::Picture;

/// Pixels: smallest and largest width, smallest and largest height. The barcode and the clock need the former.
const WIDTHS: (u32, u32) = (160, 1920);
const HEIGHTS: (u32, u32) = (96, 1080);
/// What it is called.
pub const NAME: &str = "synthetic";
/// Frames per second.
const RATES: (f64, f64) = (1.0, 60.0);

/// The synthetic camera, ready to be opened.
pub fn source() -> Arc<dyn CameraSource> {
    Arc::new(SyntheticSource)
}

/// Opens the synthetic camera: I420, any even size from 160x96 to 1920x1080, 1 to 60 frames per second.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyntheticSource;

impl CameraSource for SyntheticSource {
    fn open(&self, wish: &Wish) -> Result<Box<dyn Camera>, CameraError> {
        let format = format_for(wish)?;
        Ok(Box::new(Synthetic {
            format,
            schedule: Schedule { start: clock::now(), rate: format.rate },
            next: 0,
            picture: Picture::new(format.width as usize, format.height as usize),
        }))
    }

    fn describe(&self) -> String {
        NAME.to_owned()
    }
}

/// The format for a wish, or why there is none.
fn format_for(wish: &Wish) -> Result<VideoFormat, CameraError> {
    let width = wish.width.clamp(WIDTHS.0, WIDTHS.1) & !1;
    let height = wish.height.clamp(HEIGHTS.0, HEIGHTS.1) & !1;
    if wish.size == SizeWish::Exact && (width, height) != (wish.width, wish.height) {
        return Err(CameraError::Size {
            device: "synthetic".to_owned(),
            width: wish.width,
            height: wish.height,
            offered: format!("any even size from {}x{} to {}x{}", WIDTHS.0, HEIGHTS.0, WIDTHS.1, HEIGHTS.1),
        });
    }
    let per_second = wish.rate.per_second();
    let rate = if per_second < RATES.0 {
        FrameRate::new(RATES.0 as u32)
    } else if per_second > RATES.1 {
        FrameRate::new(RATES.1 as u32)
    } else {
        wish.rate
    };
    Ok(VideoFormat { pixel: PixelFormat::I420, width, height, stride: width, rate })
}

#[derive(Debug)]
struct Synthetic {
    format: VideoFormat,
    schedule: Schedule,
    /// The number of the next frame to show; skipped ones are counted too.
    next: u64,
    picture: Picture,
}

impl Camera for Synthetic {
    fn format(&self) -> VideoFormat {
        self.format
    }

    fn next_frame(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        let early = self.schedule.due(self.next).saturating_duration_since(clock::now());
        if !early.is_zero() {
            clock::pause(early.min(wait));
        }
        let now = clock::now();
        let Some(number) = self.schedule.newest(now).filter(|newest| *newest >= self.next) else {
            return Ok(None);
        };
        let skipped = u32::try_from(number - self.next).unwrap_or(u32::MAX);
        self.next = number + 1;
        let data = self.picture.draw(number, clock::since_epoch());
        Ok(Some(Frame { data, captured: now, dmabuf: None, skipped }))
    }
}

/// When each frame is due: counted from the start, so that no rounding adds up.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: FrameRate,
}

impl Schedule {
    fn due(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 * u128::from(self.rate.denominator)
            / u128::from(self.rate.numerator.max(1));
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4))
    }

    /// The newest frame that is due at `now`.
    fn newest(&self, now: Instant) -> Option<u64> {
        let elapsed = now.checked_duration_since(self.start)?;
        let frames = elapsed.as_nanos() * u128::from(self.rate.numerator)
            / (1_000_000_000 * u128::from(self.rate.denominator.max(1)));
        let newest = u64::try_from(frames).unwrap_or(u64::MAX / 4);
        // `due` rounds down, so the next frame may be due a nanosecond before the division says so.
        Some(if self.due(newest + 1) <= now { newest + 1 } else { newest })
    }
}

/// The synthetic pictures alone, as fast as they are asked for, for tests of what comes after the camera.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Pictures {
    picture: Picture,
    number: u64,
}

#[cfg(test)]
impl Pictures {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { picture: Picture::new(width as usize, height as usize), number: 0 }
    }

    /// The next picture in I420, a thirtieth of a second later.
    pub(crate) fn next(&mut self) -> &[u8] {
        let number = self.number;
        self.number += 1;
        self.picture.draw(number, Duration::from_millis(1_764_500_000_000 + number * 1000 / 30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Accept;

    fn wish(width: u32, height: u32, rate: FrameRate, size: SizeWish) -> Wish {
        Wish { width, height, rate, size, accept: Accept::Any }
    }

    #[test]
    fn schedule_is_exact_for_whole_and_broken_rates() {
        let start = clock::now();
        for rate in [
            FrameRate::new(30),
            FrameRate::new(7),
            FrameRate { numerator: 30_000, denominator: 1001 },
            FrameRate::new(60),
        ] {
            let schedule = Schedule { start, rate };
            assert_eq!(schedule.due(0), start);
            let hour = (rate.per_second() * 3600.0).round() as u64;
            let off =
                schedule.due(hour).duration_since(start).as_secs_f64() - hour as f64 / rate.per_second();
            assert!(off.abs() < 1e-6, "{rate:?} is off by {off} s after an hour");
            for number in [0, 1, 2, 29, 30, 12_345, hour] {
                assert_eq!(schedule.newest(schedule.due(number)), Some(number), "{rate:?} frame {number}");
                assert_eq!(
                    schedule.newest(schedule.due(number + 1) - Duration::from_nanos(1)),
                    Some(number),
                    "{rate:?} just before frame {}",
                    number + 1
                );
            }
        }
    }

    #[test]
    fn late_consumer_gets_the_newest_frame_and_the_count_of_the_skipped() {
        let start = clock::now() - Duration::from_secs(10);
        let mut camera = Synthetic {
            format: format_for(&wish(160, 96, FrameRate::new(1), SizeWish::Exact)).unwrap(),
            schedule: Schedule { start, rate: FrameRate::new(1) },
            next: 3,
            picture: Picture::new(160, 96),
        };
        let frame = camera.next_frame(Duration::ZERO).unwrap().unwrap();
        assert!(frame.skipped >= 7, "skipped only {}", frame.skipped);
        assert_eq!(frame.data.len(), 160 * 96 * 3 / 2);
        // The next one is a second away: nothing comes, and above all no burst of old ones.
        camera.schedule.start = clock::now() - Duration::from_millis(500);
        camera.next = 1;
        assert!(camera.next_frame(Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn named_size_that_cannot_be_is_refused_with_what_can() {
        for (width, height) in [(159, 120), (161, 120), (3840, 2160), (640, 95), (640, 1082)] {
            let error = format_for(&wish(width, height, FrameRate::new(30), SizeWish::Exact)).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(&format!("{width}x{height}")) && text.contains("160x96 to 1920x1080"),
                "{text}"
            );
        }
    }

    #[test]
    fn default_size_and_rate_are_brought_into_range() {
        let format = format_for(&wish(4001, 3, FrameRate::new(200), SizeWish::Nearest)).unwrap();
        assert_eq!(
            (format.width, format.height, format.stride, format.rate),
            (1920, 96, 1920, FrameRate::new(60))
        );
        let slow = format_for(&wish(640, 360, FrameRate { numerator: 1, denominator: 4 }, SizeWish::Exact));
        assert_eq!(slow.unwrap().rate, FrameRate::new(1));
    }

    #[test]
    fn opened_camera_gives_frames_of_its_format() {
        let mut camera = SyntheticSource.open(&wish(854, 480, FrameRate::new(60), SizeWish::Exact)).unwrap();
        let format = camera.format();
        assert_eq!((format.pixel, format.width, format.height), (PixelFormat::I420, 854, 480));
        let frame = camera.next_frame(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(frame.data.len(), 854 * 480 * 3 / 2);
    }
}
