//! The cameras that need no device: each keeps the contract of `Camera`, and what is special to each.

mod contract;

use std::{fs, path::Path, time::Duration};

use contract::{DEFAULT_WISH, check, next};
use pinhole::{
    camera::{self, CameraError, CameraSource, FrameRate, PixelFormat, SizeWish, Wish},
    clock,
    h264::{NalKind, annexb},
};

const BARS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/h264/bars-160x120-25fps.h264");

fn source(text: &str) -> std::sync::Arc<dyn CameraSource> {
    camera::parse(text).unwrap_or_else(|error| panic!("{error}")).source()
}

fn failure(text: &str) -> String {
    let mut camera = source(text).open(&DEFAULT_WISH).unwrap();
    loop {
        if let Err(error) = next(camera.as_mut()) {
            assert!(matches!(error, CameraError::Command { .. }), "{error:?}");
            return error.to_string();
        }
    }
}

#[test]
fn synthetic_keeps_the_contract() {
    let wish = Wish { width: 320, height: 240, size: SizeWish::Exact, ..DEFAULT_WISH };
    let (format, _) = check(source("synthetic").as_ref(), &wish, 4);
    assert_eq!((format.width, format.height), (320, 240));
}

#[test]
fn replay_keeps_the_contract() {
    let (format, _) = check(source(&format!("replay:{BARS}")).as_ref(), &DEFAULT_WISH, 4);
    assert_eq!((format.width, format.height, format.rate), (160, 120, FrameRate::new(25)));
}

#[test]
fn replay_is_not_played_before_its_time() {
    let mut camera = source(&format!("replay:{BARS}")).open(&DEFAULT_WISH).unwrap();
    let start = clock::now();
    for _ in 0..4 {
        assert_eq!(next(camera.as_mut()).unwrap().skipped, 0);
    }
    assert!(clock::now() - start >= Duration::from_millis(3 * 40), "at 25 a second");
}

#[test]
fn a_command_with_raw_pictures_keeps_the_contract() {
    for (text, pixel, bytes) in [
        ("process:i420:64x48@50:cat /dev/zero", PixelFormat::I420, 64 * 48 * 3 / 2),
        ("process:yuyv:64x48@50:cat /dev/zero", PixelFormat::Yuyv, 64 * 48 * 2),
    ] {
        let (format, last) = check(source(text).as_ref(), &DEFAULT_WISH, 10);
        assert_eq!((format.pixel, format.rate), (pixel, FrameRate::new(50)));
        assert_eq!(last.data.len(), bytes);
    }
}

#[test]
fn a_command_with_h264_keeps_the_contract() {
    let (format, _) = check(source(&format!("process:cat {BARS}; sleep 60")).as_ref(), &DEFAULT_WISH, 10);
    assert_eq!(format.pixel, PixelFormat::H264);
    assert_eq!((format.width, format.height, format.rate), (160, 120, FrameRate::new(25)));
}

#[test]
fn raw_pictures_are_whole_and_in_step() {
    // Pictures of one byte value each, 0 to 9, of 6 bytes: the reader must not lose its place.
    let numbers = "for n in 0 1 2 3 4 5 6 7 8 9; do printf \"$n$n$n$n$n$n\"; done";
    let mut camera =
        source(&format!("process:i420:2x2:while :; do {numbers}; done")).open(&DEFAULT_WISH).unwrap();
    for _ in 0..50 {
        let picture = next(camera.as_mut()).unwrap();
        let first = picture.data[0];
        assert!(first.is_ascii_digit());
        assert_eq!(picture.data, [first; 6]);
    }
}

#[test]
fn the_newest_raw_picture_wins_and_the_others_are_counted() {
    let mut camera = source("process:i420:64x48:cat /dev/zero").open(&DEFAULT_WISH).unwrap();
    let mut skipped = 0;
    while skipped == 0 {
        clock::pause(Duration::from_millis(1));
        skipped = next(camera.as_mut()).unwrap().skipped;
    }
}

#[test]
fn an_access_unit_is_not_kept_until_the_next_begins() {
    let mut camera = source(&format!("process:cat {BARS}; sleep 60")).open(&DEFAULT_WISH).unwrap();
    let kinds: Vec<_> = (0..30)
        .map(|_| {
            let picture = next(camera.as_mut()).unwrap();
            assert_eq!(picture.skipped, 0);
            annexb::nal_units(&picture.data).any(|nal| NalKind::of(nal) == NalKind::IdrSlice)
        })
        .collect();
    assert_eq!(kinds.iter().filter(|key| **key).count(), 3);
}

#[test]
fn an_access_unit_in_two_parts_costs_the_pictures_up_to_the_next_key_frame() {
    let command = format!("head -c 300 {BARS}; sleep 1; tail -c +301 {BARS}; sleep 60");
    let mut camera = source(&format!("process:{command}")).open(&DEFAULT_WISH).unwrap();
    next(camera.as_mut()).unwrap();
    let key = next(camera.as_mut()).unwrap();
    let kinds: Vec<_> = annexb::nal_units(&key.data).map(NalKind::of).collect();
    assert_eq!(kinds, [NalKind::Sps, NalKind::Pps, NalKind::IdrSlice]);
    assert!(key.skipped > 0);
    // All others of the two later groups but the last, which is not taken for complete any more.
    for _ in 0..18 {
        assert_eq!(next(camera.as_mut()).unwrap().skipped, 0);
    }
}

#[test]
fn a_command_that_ends_says_how_and_why() {
    let error = failure("process:echo no camera found >&2; exit 3");
    assert!(error.contains("ended with exit status 3; it said: no camera found"), "{error}");
    let error = failure("process:i420:64x48:head -c 10000 /dev/zero; kill -9 $$");
    assert!(error.contains("was killed by signal 9"), "{error}");
    let error = failure("process:exec >&-; sleep 60");
    assert!(error.contains("closed its standard output"), "{error}");
}

#[test]
fn output_that_is_not_h264_is_named_with_the_remedy() {
    for (command, reason) in [
        ("yes", "no start code in its first 1 MiB"),
        ("cat /dev/zero", "no picture with its parameter sets in its first 4 MiB"),
        ("echo hello", "no picture in the 6 bytes that it wrote"),
        ("printf '\\000\\000\\001'; yes", "4 MiB"),
    ] {
        let error = failure(&format!("process:{command}"));
        assert!(error.contains("gives no H.264 in Annex B form"), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("process:i420:1280x720@30:COMMAND"), "{error}");
    }
}

#[test]
fn a_command_of_another_size_than_the_named_one_is_refused() {
    let exact = Wish { size: SizeWish::Exact, ..DEFAULT_WISH };
    let Err(error) = source("process:i420:64x48:cat /dev/zero").open(&exact) else { panic!("it was opened") };
    assert!(error.to_string().contains("it offers 64x48 only"), "{error}");
    let mut camera = source(&format!("process:cat {BARS}; sleep 60")).open(&exact).unwrap();
    let error = next(camera.as_mut()).unwrap_err();
    assert!(error.to_string().contains("it offers 160x120 only"), "{error}");
}

#[test]
fn closing_the_camera_ends_the_command_and_its_descendants() {
    let folder = std::env::temp_dir().join(format!("pinhole-process-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("pids");
    // Two processes in a pipeline, one that the shell waits for and that ignores SIGTERM, and the shell itself.
    let command = format!("trap '' TERM; sleep 600 & echo $! $$ >{}; cat /dev/zero | cat", file.display());
    let mut camera = source(&format!("process:i420:64x48:{command}")).open(&DEFAULT_WISH).unwrap();
    next(camera.as_mut()).unwrap();
    let pids: Vec<u32> =
        fs::read_to_string(&file).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_running(*pid)));
    drop(camera);
    fs::remove_dir_all(&folder).unwrap();
    assert!(!is_running(pids[1]), "the shell was reaped");
    while is_running(pids[0]) {
        clock::pause(Duration::from_millis(1));
    }
}

#[test]
fn a_descendant_that_left_the_group_does_not_hold_up_closing() {
    let mut camera = source("process:i420:2x2:setsid sleep 5 & cat /dev/zero").open(&DEFAULT_WISH).unwrap();
    next(camera.as_mut()).unwrap();
    drop(camera);
}

/// Whether there is such a process, other than as a zombie that its new parent has yet to reap.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}
