//! Cameras that compress by themselves: v4l2loopback's devices, into which a writer puts JPEG pictures or access units of
//! H.264, as a webcam's driver would give them.

use std::{
    fs,
    io::Write,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use pinhole::{
    camera::{
        Accept, Camera, CameraError, CameraSource, PixelFormat, SizeWish, Wish,
        v4l2::{V4l2Source, capture_devices},
    },
    clock,
    h264::{NalKind, annexb},
};
use v4l::{Device, Format, FourCC, video::Output};

use crate::contract::{DEFAULT_WISH, check, next};

const JPEGS: &[u8] = include_bytes!("../fixtures/mjpeg/pattern-160x120.mjpeg");
const H264: &[u8] = include_bytes!("../fixtures/h264/bars-160x120-25fps.h264");

/// Writes its pictures again and again until it is dropped. The driver lets a device have one such writer, once.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Comes back when the device is a camera.
    fn start(device: &str, format: &[u8; 4], pictures: Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, path, format) = (Arc::clone(&stop), device.to_owned(), FourCC::new(format));
        let (running, started) = mpsc::channel();
        let write = move || {
            let mut device = Device::with_path(path).unwrap();
            let set = Output::set_format(&device, &Format::new(160, 120, format)).unwrap();
            assert_eq!(set.fourcc, format);
            for picture in pictures.iter().cycle().take_while(|_| !stopping.load(Relaxed)) {
                assert_eq!(device.write(picture).unwrap(), picture.len());
                let _ = running.send(());
                clock::pause(Duration::from_millis(20));
            }
        };
        let thread = thread::Builder::new().spawn(write).unwrap();
        started.recv().unwrap();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the writer failed");
        }
    }
}

/// The pictures of a file that has one after the other.
fn jpegs() -> Vec<Vec<u8>> {
    let starts: Vec<_> =
        (0..JPEGS.len()).filter(|at| JPEGS[*at..].starts_with(&[0xff, 0xd8, 0xff])).collect();
    let ends = starts.iter().skip(1).copied().chain([JPEGS.len()]);
    starts.iter().zip(ends).map(|(start, end)| JPEGS[*start..end].to_vec()).collect()
}

/// The access units of the file, each of one slice, with the parameter sets before the first alone.
fn access_units() -> Vec<Vec<u8>> {
    let (mut units, mut unit) = (Vec::new(), Vec::new());
    for nal in annexb::nal_units(H264) {
        let kind = NalKind::of(nal);
        if matches!(kind, NalKind::Sps | NalKind::Pps) && !units.is_empty() {
            continue;
        }
        unit.extend([0, 0, 0, 1]);
        unit.extend(nal);
        if matches!(kind, NalKind::Slice | NalKind::IdrSlice) {
            units.push(std::mem::take(&mut unit));
        }
    }
    units
}

fn of_kind(data: &[u8], kinds: &[NalKind]) -> Vec<Vec<u8>> {
    annexb::nal_units(data).filter(|nal| kinds.contains(&NalKind::of(nal))).map(<[u8]>::to_vec).collect()
}

#[test]
#[ignore = "needs v4l2loopback: run by tests/vm/test loopback"]
fn an_mjpeg_camera_gives_its_pictures_as_they_are() {
    let pictures = jpegs();
    assert_eq!(pictures.len(), 6);
    let writer = Writer::start("/dev/video40", b"MJPG", pictures.clone());
    assert!(capture_devices().iter().any(|found| found.path.ends_with("video40")));
    let source = V4l2Source::new("/dev/video40");
    let (format, picture) = check(&source, &DEFAULT_WISH, 20);
    assert_eq!((format.pixel, format.width, format.height, format.stride), (PixelFormat::Mjpeg, 160, 120, 0));
    assert!(pictures.contains(&picture.data));
    drop(writer);
}

#[test]
#[ignore = "needs v4l2loopback: run by tests/vm/test loopback"]
fn what_is_no_jpeg_picture_is_dropped_and_counted() {
    let good = jpegs();
    let bad = [&b"\0"[..], b"no picture", &[0xff], &[0xff, 0xd9]];
    let both = good.iter().cloned().zip(bad.iter().cycle().map(|bad| bad.to_vec()));
    let _writer = Writer::start("/dev/video41", b"MJPG", both.flat_map(|(good, bad)| [good, bad]).collect());
    let mut camera = V4l2Source::new("/dev/video41").open(&DEFAULT_WISH).unwrap();
    let mut skipped = 0;
    for _ in 0..20 {
        let picture = next(camera.as_mut()).unwrap();
        // Of the first that it gives, this driver says that they are as long as its buffer.
        assert!(good.iter().any(|good| picture.data.starts_with(good)), "{} bytes", picture.data.len());
        skipped += picture.skipped;
    }
    assert!(skipped >= 19, "{skipped} of 20 or so that were no pictures");
}

#[test]
#[ignore = "needs v4l2loopback: run by tests/vm/test loopback"]
fn an_h264_camera_gives_untouched_slices_and_parameter_sets_before_each_key_frame() {
    let units = access_units();
    assert_eq!(units.len(), 30);
    let sets = of_kind(&units[0], &[NalKind::Sps, NalKind::Pps]);
    let slices: Vec<_> =
        units.iter().flat_map(|unit| of_kind(unit, &[NalKind::Slice, NalKind::IdrSlice])).collect();
    let _writer = Writer::start("/dev/video42", b"H264", units);
    let source = V4l2Source::new("/dev/video42");
    let (format, _) = check(&source, &DEFAULT_WISH, 10);
    assert_eq!((format.pixel, format.width, format.height), (PixelFormat::H264, 160, 120));

    let mut camera = source.open(&DEFAULT_WISH).unwrap();
    let (mut keys, mut expected) = (0, None);
    while keys < 7 {
        let picture = next(camera.as_mut()).unwrap();
        let slice = of_kind(&picture.data, &[NalKind::Slice, NalKind::IdrSlice]);
        let [slice] = &slice[..] else { panic!("one slice a picture, not {}", slice.len()) };
        let place = slices.iter().position(|known| known == slice).expect("an untouched slice");
        if let Some(expected) = expected {
            let distance = (place + slices.len() - expected) % slices.len();
            assert_eq!(distance, picture.skipped as usize % slices.len(), "in order, and losses counted");
        }
        expected = Some((place + 1) % slices.len());
        if NalKind::of(slice) == NalKind::IdrSlice {
            keys += 1;
            assert_eq!(of_kind(&picture.data, &[NalKind::Sps, NalKind::Pps]), sets);
        }
    }
    assert_key_frames_are_asked_for(camera.as_mut(), "video42");
    drop(camera);
    assert_what_the_wish_does_not_accept_is_refused(&source);
}

/// The driver is asked by the control that the kernel's documentation names. (This one has no such control: then asking is no
/// error and changes nothing.)
fn assert_key_frames_are_asked_for(camera: &mut dyn Camera, node: &str) {
    let (ioctls_with_arguments, none) = ("0x3", "0x0");
    let debug = format!("/sys/class/video4linux/{node}/dev_debug");
    fs::write(&debug, ioctls_with_arguments).unwrap();
    camera.request_key_frame();
    fs::write(&debug, none).unwrap();
    next(camera).unwrap();
    let log = String::from_utf8(Command::new("dmesg").output().unwrap().stdout).unwrap();
    let asked: Vec<_> = log.lines().filter(|line| line.contains("VIDIOC_S_EXT_CTRLS")).collect();
    // V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME
    assert!(matches!(asked[..], [line] if line.contains(node) && line.contains("0x9909e5")), "{asked:?}");
}

fn assert_what_the_wish_does_not_accept_is_refused(source: &dyn CameraSource) {
    let pictures = source.open(&Wish { accept: Accept::Pictures, ..DEFAULT_WISH }).err().unwrap();
    assert!(pictures.to_string().contains("it gives video only (H264)"), "{pictures}");
    let exact = source.open(&Wish { size: SizeWish::Exact, ..DEFAULT_WISH }).err().unwrap();
    assert!(matches!(exact, CameraError::Size { .. }), "{exact}");
    assert!(exact.to_string().contains("it offers 160x120;"), "{exact}");
}

#[test]
#[ignore = "needs v4l2loopback: run by tests/vm/test loopback"]
fn a_device_into_which_nobody_writes_is_no_camera() {
    drop(Writer::start("/dev/video43", b"MJPG", jpegs()));
    let error = V4l2Source::new("/dev/video43").open(&DEFAULT_WISH).err().unwrap();
    assert!(error.to_string().contains("this node gives no pictures"), "{error}");
    assert!(!capture_devices().iter().any(|found| found.path.ends_with("video43")));
}
