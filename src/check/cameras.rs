//! Cameras and encoders: opened for two seconds, and one frame after the other counted and encoded. What a running agent
//! has, it is asked for a picture of instead. Not here: what follows from the figures (`judge`).

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Case, Finding,
    judge::{self, Frames},
};
use crate::{
    camera::{self, Camera, synthetic},
    clock,
    config::{CameraConfig, Size, Source, Switch},
    control::{
        client::ask_for_picture,
        message::{Reply, Request},
    },
    encode::{
        EncodeError, Encoder, Request as Wanted,
        choice::{self, Choice, InUse},
    },
};

/// A camera is watched for so long.
const WATCH: Duration = Duration::from_millis(1500);
/// For its first frame: sensors and commands take their time.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait for a frame in one go.
const SLICE: Duration = Duration::from_millis(250);
/// Frames that are encoded to see how long one takes: of a slow board fewer, for two seconds.
const FRAMES: u32 = 30;
const ENCODE: Duration = Duration::from_secs(2);
/// An encoder's first frames are not like the others.
const WARM: u32 = 3;
/// Of the picture that the agent is asked for.
const QUALITY: u8 = 85;

/// One camera, and the encoder of its pictures.
pub(super) fn look(case: &Case, known: &CameraConfig, sockets: &[PathBuf], tell: &mut dyn FnMut(Finding)) {
    let part = format!("camera {}", known.id);
    let is_the_agents =
        || case.running.iter().flat_map(|status| &status.cameras).any(|camera| camera.id == known.id);
    let unopened = match case.private {
        Switch::On => Some(Finding::warning(
            &part,
            "privacy is on: it is closed, and was not looked at",
            "`pinhole privacy off` opens it again",
        )),
        Switch::Off => is_the_agents().then(|| through_agent(&part, known, sockets)),
    };
    if let Some(found) = unopened {
        tell(found);
        tell(encode_synthetic(known));
        return;
    }
    let source = match &known.source {
        Source::Named(spec) => spec.clone().source(),
        Source::Auto => camera::auto::source(known.bitrate),
    };
    match source.open(&known.wish) {
        Err(error) => {
            tell(Finding::failed(&part, &error.to_string()));
            tell(encode_synthetic(known));
        }
        Ok(mut opened) => match watch(opened.as_mut(), known) {
            Ok((frames, encoded)) => {
                let found = judge::camera(&part, &source.describe(), &frames);
                let stands_in = matches!(known.source, Source::Auto) && source.describe() == synthetic::NAME;
                tell(if stands_in { without_camera(found) } else { found });
                tell(encoded);
            }
            Err(error) => tell(Finding::failed(&part, &error.to_string())),
        },
    }
}

/// A synthetic picture is shown where there is no camera, which is hardly what was wanted.
fn without_camera(found: Finding) -> Finding {
    let remedy = "plug one in (lsusb, or rpicam-hello --list-cameras, shows what is there), or choose --camera synthetic";
    Finding::warning(&found.part, "no camera is there: a synthetic picture is shown", remedy)
}

/// The agent has it, so it shows what it has.
fn through_agent(part: &str, known: &CameraConfig, sockets: &[PathBuf]) -> Finding {
    let request = Request::Snapshot { camera: Some(known.id.clone()), quality: QUALITY };
    match ask_for_picture(sockets, &request) {
        Ok((Reply::Picture { bytes }, _)) => Finding::ok(
            part,
            format!("the running agent took a picture of it ({})", judge::bytes(bytes as u64)),
        ),
        Ok((Reply::Error(message) | Reply::NoCamera { message }, _)) => Finding::failed(part, &message),
        Ok(_) => Finding::bad(part, "the running agent answered something else", "restart it"),
        Err(error) => Finding::failed(part, &error.to_string()),
    }
}

/// Counts what comes, and encodes it as it comes.
fn watch(camera: &mut dyn Camera, known: &CameraConfig) -> Result<(Frames, Finding), camera::CameraError> {
    let mut format = camera.format();
    let mut bench = Bench::new(known, format);
    let (mut count, mut damaged, mut first, mut last) = (0, 0, None::<Instant>, clock::now());
    let end = clock::now() + FIRST;
    loop {
        let now = clock::now();
        if first.map_or(now > end, |first| now.saturating_duration_since(first) > WATCH) {
            break;
        }
        if camera.format() != format {
            format = camera.format();
            bench = Bench::new(known, format);
        }
        let Some(frame) = camera.next_frame(SLICE)? else { continue };
        last = clock::now();
        first.get_or_insert(last);
        // Those that the driver made while the one before was encoded were made all the same.
        count += 1 + frame.skipped;
        if bench.encode(&frame).is_err_and(|error| error.damage().is_some()) {
            damaged += 1;
        }
    }
    let (width, height) = (format.width, format.height);
    let over = first.map_or(Duration::ZERO, |first| last.saturating_duration_since(first));
    let frames = Frames { width, height, promised: format.rate.per_second(), count, damaged, over };
    Ok((frames, bench.judge()))
}

/// Where the camera cannot be used just now, its encoder can be looked at all the same.
fn encode_synthetic(known: &CameraConfig) -> Finding {
    let source = synthetic::source();
    let mut camera = match source.open(&known.wish) {
        Ok(camera) => camera,
        Err(error) => return Finding::failed(&encoder_part(known), &error.to_string()),
    };
    let mut bench = Bench::new(known, camera.format());
    let end = clock::now() + ENCODE;
    while bench.count < FRAMES && clock::now() < end {
        match camera.next_frame(SLICE) {
            Ok(Some(frame)) => drop(bench.encode(&frame)),
            Ok(None) => {}
            Err(error) => return Finding::failed(&encoder_part(known), &error.to_string()),
        }
    }
    bench.judge()
}

fn encoder_part(known: &CameraConfig) -> String {
    format!("encoder {}", known.id)
}

/// An encoder whose time is taken.
struct Bench {
    part: String,
    made: Result<(Box<dyn Encoder>, InUse), EncodeError>,
    size: Size,
    rate: f64,
    count: u32,
    took: Duration,
    failure: Option<EncodeError>,
}

impl Bench {
    fn new(known: &CameraConfig, format: camera::VideoFormat) -> Self {
        Self {
            part: encoder_part(known),
            made: make(known, format),
            size: Size { width: format.width, height: format.height },
            rate: format.rate.per_second(),
            count: 0,
            took: Duration::ZERO,
            failure: None,
        }
    }

    fn encode(&mut self, frame: &camera::Frame<'_>) -> Result<(), EncodeError> {
        let Ok((encoder, _)) = &mut self.made else { return Ok(()) };
        if self.failure.is_some() {
            return Ok(());
        }
        let began = clock::now();
        let result = encoder.encode(frame, Wanted::Any).and_then(|_| {
            while encoder.take_ready()?.is_some() {}
            Ok(())
        });
        self.count += 1;
        if self.count > WARM {
            self.took += clock::now().saturating_duration_since(began);
        }
        match result {
            Err(error) if error.damage().is_none() => {
                self.failure = Some(error);
                Ok(())
            }
            other => other,
        }
    }

    fn judge(self) -> Finding {
        let part = self.part;
        match (self.made, self.failure) {
            (Err(error), _) | (Ok(_), Some(error)) => Finding::failed(&part, &error.to_string()),
            (Ok(_), None) if self.count <= WARM => Finding::warning(
                &part,
                "there were too few pictures to see how fast it is",
                "run this again when the camera works, or with --camera synthetic",
            ),
            (Ok((_, in_use)), None) => {
                let each = self.took / (self.count - WARM);
                judge::encoder(&part, &in_use, self.size, self.rate, each)
            }
        }
    }
}

/// The first that can be made of those that the setting allows, as the agent chooses.
fn make(known: &CameraConfig, format: camera::VideoFormat) -> Result<(Box<dyn Encoder>, InUse), EncodeError> {
    let choice: Choice = known.encoder;
    let mut refusal = None;
    for kind in choice.candidates(format.pixel)?.iter().copied() {
        match choice::make(kind, format, known.bitrate) {
            Ok(made) => {
                let why = choice::why(choice, kind, refusal.as_ref());
                return Ok((made.encoder, InUse { kind, name: made.name, why }));
            }
            Err(error) => refusal = Some(refusal.unwrap_or(error)),
        }
    }
    Err(refusal.unwrap_or(EncodeError::NoHardware))
}
