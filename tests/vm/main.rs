//! The V4L2 camera against the kernel's real test drivers, in the guest that tests/vm/run starts. Each module is a group of
//! tests that needs the drivers set up in its own way, which is written in tests/vm/test. One test at a time: there is one
//! device.

mod bars;
mod commands;
#[path = "../it/camera/contract.rs"]
mod contract;
mod encoder;
mod formats;
mod hdmi;
mod loopback;
mod multiplanar;
mod pair;
mod renumbered;
mod webcam;

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::fd::AsRawFd,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use contract::next;
use pinhole::camera::{
    Accept, Camera, CameraError, CameraSource, FrameRate, SizeWish, Wish, v4l2::V4l2Source,
};

const DEVICE: &str = "/dev/video0";
const DRIVER: &str = "/sys/bus/platform/drivers/vivid";

fn wish(width: u32, height: u32, rate: u32) -> Wish {
    Wish { width, height, rate: FrameRate::new(rate), size: SizeWish::Exact, accept: Accept::Any }
}

fn open(wish: &Wish) -> Box<dyn Camera> {
    V4l2Source::new(DEVICE).open(wish).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(wish: &Wish) -> CameraError {
    match V4l2Source::new(DEVICE).open(wish) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// The next error, past the frames before it.
fn failure(camera: &mut dyn Camera) -> CameraError {
    loop {
        if let Err(error) = next(camera) {
            return error;
        }
    }
}

/// A buffer that the driver marks as damaged is no picture, and counts as lost.
fn assert_counts_a_damaged_buffer() {
    let mut camera = open(&wish(320, 180, 10));
    next(camera.as_mut()).unwrap();
    assert_eq!(next(camera.as_mut()).unwrap().skipped, 0);
    control("inject_v4l2_buf_flag_error=1");
    let skipped: u32 = (0..10).map(|_| next(camera.as_mut()).unwrap().skipped).sum();
    assert!(skipped >= 1);
}

/// A stream that fails is an error, and the device gives pictures again when it is opened anew.
fn assert_opens_again_after_a_failed_stream() {
    let mut camera = open(&wish(320, 180, 30));
    next(camera.as_mut()).unwrap();
    control("inject_fatal_streaming_error=1");
    let error = failure(camera.as_mut());
    assert!(matches!(error, CameraError::Io { .. }), "{error}");
    drop(camera);
    next(open(&wish(320, 180, 30)).as_mut()).unwrap();
}

/// Another program that captures from the camera, and its pictures, of which some have come.
fn another_program() -> (Child, ChildStdout) {
    let mut other = Command::new("v4l2-ctl")
        .args(["-d", DEVICE, "--stream-mmap", "--stream-to=-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stream = other.stdout.take().unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    (other, stream)
}

/// Sets one of vivid's controls from another process, as a person would.
fn control(setting: &str) {
    v4l2_ctl(&["-c", setting]);
}

fn v4l2_ctl(arguments: &[&str]) {
    let output = Command::new("v4l2-ctl").args(["-d", DEVICE]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// The driver's buffer is a DMABUF of at least the picture's size, which another driver could read.
fn assert_shares_its_buffers() {
    let mut camera = open(&wish(640, 480, 25));
    let mut looked_at = 0;
    while looked_at < 3 {
        let Some(frame) = camera.next_frame(Duration::from_secs(5)).unwrap() else { continue };
        let shared = frame.dmabuf.expect("vivid shares its buffers");
        let link = fs::read_link(format!("/proc/self/fd/{}", shared.as_raw_fd())).unwrap();
        assert!(link.to_string_lossy().starts_with("/dmabuf:"), "{}", link.display());
        let mut file = File::from(shared.try_clone_to_owned().unwrap());
        let bytes = file.seek(SeekFrom::End(0)).unwrap();
        assert!(bytes >= frame.data.len() as u64, "{bytes} of {}", frame.data.len());
        looked_at += 1;
    }
    drop(camera);
    // Nothing of them is left that would keep the driver's memory.
    next(open(&wish(640, 480, 25)).as_mut()).unwrap();
}
