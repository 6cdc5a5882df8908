//! What follows from what was measured. Pure.

use std::time::Duration;

use super::Finding;
use crate::{
    config::Size,
    encode::choice::{InUse, Kind},
};

/// Of a camera's rate, so much may be missing without a word: clocks and drivers differ.
const RATE_SLACK: f64 = 0.9;
/// How much of the time between two frames an encoder may take: the rest is for capturing, sending, and everything
/// else that runs.
const SHARE: f64 = 0.8;
/// Sizes that cameras have, the largest first.
const SIZES: [(u32, u32); 6] = [(1920, 1080), (1280, 720), (960, 540), (640, 480), (640, 360), (320, 240)];
/// Bytes on the disk that the keys of many viewers need, and what else is written there.
const ROOM: u64 = 8 << 20;
/// Bytes of memory that the agent takes with several viewers.
const MEMORY: u64 = 64 << 20;
/// A viewer takes about ten; cameras, brokers and the page take some too.
const OPEN_FILES: u64 = 256;

/// What a camera gave in a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    pub width: u32,
    pub height: u32,
    /// Frames per second that the driver said it would give.
    pub promised: f64,
    pub count: u32,
    pub damaged: u32,
    /// From the first to the last.
    pub over: Duration,
}

impl Frames {
    /// Frames per second; without a second frame there is no telling.
    pub(super) fn per_second(&self) -> Option<f64> {
        (self.count > 1 && !self.over.is_zero()).then(|| f64::from(self.count - 1) / self.over.as_secs_f64())
    }
}

/// Whether a camera gives what it should.
pub(super) fn camera(part: &str, source: &str, frames: &Frames) -> Finding {
    let Frames { width, height, promised, .. } = *frames;
    let Some(rate) = frames.per_second() else {
        return Finding::bad(
            part,
            format!("{source} gave {} pictures", frames.count),
            "try another USB socket and cable, or another size with --size",
        );
    };
    let said = format!("{source} gives {width}x{height} at {rate:.1} frames per second");
    if frames.damaged * 10 > frames.count {
        let said = format!("{said}, of which {} of {} were damaged", frames.damaged, frames.count);
        return Finding::warning(part, said, "try another USB socket and cable, or another size with --size");
    }
    if rate < promised * RATE_SLACK {
        let said = format!("{said}, and not at {promised:.0} as it says");
        return Finding::warning(
            part,
            said,
            "give it more light (many cameras expose longer in the dark), a USB socket of its own, or a smaller --size",
        );
    }
    Finding::ok(part, said)
}

/// Whether an encoder keeps up with a camera: `took` for one frame of `size`, `rate` frames per second wanted.
pub(super) fn encoder(part: &str, encoder: &InUse, size: Size, rate: f64, took: Duration) -> Finding {
    let name = &encoder.name;
    let each = took.as_secs_f64();
    let Size { width, height } = size;
    if encoder.kind == Kind::Passthrough {
        return Finding::ok(part, format!("{name}: nothing is to be done here"));
    }
    let most = SHARE / each.max(1e-6);
    let said = format!("{name} takes {:.1} ms for a picture of {width}x{height}", each * 1000.0);
    if most >= rate {
        return Finding::ok(part, format!("{said}: up to {most:.0} frames per second"));
    }
    // The time for a picture is that of its pixels, near enough.
    let pixels = f64::from(width * height);
    let fits = |(w, h): &&(u32, u32)| f64::from(w * h) <= pixels * most / rate;
    let smaller = SIZES.iter().find(fits).map(|(w, h)| format!("--size {w}x{h}, or "));
    let fps = most.floor().max(1.0);
    Finding::warning(
        part,
        format!("{said}: {most:.0} frames per second at most, and {rate:.0} are wanted"),
        format!("choose {}--fps {fps:.0}; pictures are left out meanwhile", smaller.unwrap_or_default()),
    )
}

/// Whether the state folder's disk has room.
pub(super) fn disk(part: &str, said: &str, free: u64) -> Finding {
    let said = format!("{said}, {} free", bytes(free));
    if free < ROOM {
        return Finding::bad(part, said, "make room on this disk: viewers cannot be paired when it is full");
    }
    Finding::ok(part, said)
}

/// Whether there is memory; without a running agent, for one.
pub(super) fn memory(available: u64, taken: Option<u64>) -> Finding {
    let said = match taken {
        Some(taken) => format!("the agent takes {}, {} are left", bytes(taken), bytes(available)),
        None => format!("{} are available", bytes(available)),
    };
    if taken.is_none() && available < MEMORY {
        return Finding::warning("memory", said, "end other programs, or choose a smaller --size");
    }
    Finding::ok("memory", said)
}

/// Whether enough files may be open at once.
pub(super) fn open_files(most: u64, open: Option<u64>) -> Finding {
    let said = match open {
        Some(open) => format!("the agent has {open} of {most} open"),
        None => format!("{most} may be open at once"),
    };
    if most < OPEN_FILES || open.is_some_and(|open| open * 10 > most * 8) {
        let remedy = "raise the limit: LimitNOFILE=4096 in the unit, or ulimit -n 4096";
        return Finding::warning("open files", said, remedy);
    }
    Finding::ok("open files", said)
}

/// `2.3 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let (unit, size) = units.into_iter().find(|(_, size)| bytes >= *size).unwrap_or(("bytes", 1));
    if size == 1 { format!("{bytes} bytes") } else { format!("{:.1} {unit}", bytes as f64 / size as f64) }
}

#[cfg(test)]
mod tests {
    use super::{super::Outcome, *};

    fn frames(count: u32, millis: u64) -> Frames {
        let over = Duration::from_millis(millis);
        Frames { width: 1280, height: 720, promised: 30.0, count, damaged: 0, over }
    }

    fn in_use(kind: Kind) -> InUse {
        InUse { kind, name: "OpenH264".into(), why: String::new() }
    }

    #[test]
    fn a_camera_that_gives_what_it_says_is_well() {
        let found = camera("camera", "/dev/video0", &frames(46, 1500));
        assert_eq!(found.outcome, Outcome::Ok);
        assert_eq!(found.said, "/dev/video0 gives 1280x720 at 30.0 frames per second");
    }

    #[test]
    fn a_camera_that_is_slow_or_damaged_or_gives_nothing_is_told() {
        let slow = camera("camera", "/dev/video0", &frames(16, 1500));
        assert_eq!(slow.outcome, Outcome::Warning);
        assert!(slow.said.contains("at 10.0 frames per second, and not at 30"), "{}", slow.said);
        assert!(slow.remedy.unwrap().contains("more light"));
        let damaged = camera("camera", "/dev/video0", &Frames { damaged: 20, ..frames(46, 1500) });
        assert_eq!(damaged.outcome, Outcome::Warning);
        for count in [0, 1] {
            assert_eq!(camera("camera", "/dev/video0", &frames(count, 0)).outcome, Outcome::Bad);
        }
    }

    #[test]
    fn an_encoder_that_does_not_keep_up_is_told_with_what_would() {
        let size = Size { width: 1280, height: 720 };
        let judged =
            |millis| encoder("encoder", &in_use(Kind::OpenH264), size, 30.0, Duration::from_millis(millis));
        assert_eq!(judged(5).outcome, Outcome::Ok);
        assert!(judged(5).said.ends_with("up to 160 frames per second"), "{}", judged(5).said);
        let slow = judged(60);
        assert_eq!(slow.outcome, Outcome::Warning);
        let remedy = slow.remedy.unwrap();
        assert!(remedy.contains("--size 640x480, or --fps 13"), "{remedy}");
        let hopeless = judged(2000).remedy.unwrap();
        assert!(hopeless.starts_with("choose --fps 1;"), "{hopeless}");
        let own = encoder("encoder", &in_use(Kind::Passthrough), size, 30.0, Duration::ZERO);
        assert_eq!(own.outcome, Outcome::Ok);
    }

    #[test]
    fn what_is_short_is_told() {
        assert_eq!(disk("state", "/x", ROOM - 1).outcome, Outcome::Bad);
        assert_eq!(disk("state", "/x", 3 << 30).said, "/x, 3.0 GiB free");
        assert_eq!(memory(MEMORY - 1, None).outcome, Outcome::Warning);
        assert_eq!(memory(MEMORY - 1, Some(1)).outcome, Outcome::Ok, "it has what it needs");
        assert_eq!(open_files(1024, None).outcome, Outcome::Ok);
        assert_eq!(open_files(64, None).outcome, Outcome::Warning);
        assert_eq!(open_files(1024, Some(1000)).outcome, Outcome::Warning);
    }

    #[test]
    fn an_errors_remedy_stands_by_itself() {
        let found =
            Finding::failed("camera", "no camera at /dev/video0: plug one in, or use --camera synthetic");
        assert_eq!(found.said, "no camera at /dev/video0");
        assert_eq!(found.remedy.as_deref(), Some("plug one in, or use --camera synthetic"));
        let two = Finding::failed("camera", "no camera at /dev/video0: there is none; plug one in");
        assert_eq!(two.remedy.as_deref(), Some("plug one in"));
        assert_eq!(Finding::failed("camera", "lost").remedy, None);
    }
}
