//! The source over stand-ins: shell scripts that write down what they were told and give what the real program would.
//! They show the arguments, the supervision and the pictures' way, and nothing of libcamera.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::*;
use crate::{
    camera::FrameRate,
    encode::{Encoder, FrameKind, Request, passthrough::Passthrough},
};

const BARS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/h264/bars-160x120-25fps.h264");

/// A folder of programs, removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pinhole-csi-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn source(programs: Vec<PathBuf>, board: Board) -> CsiSource {
    CsiSource { programs, board: Some(board), ..CsiSource::new(0) }
}

fn wish(width: u32, height: u32, size: SizeWish) -> Wish {
    Wish { width, height, rate: FrameRate::new(25), size, accept: Accept::Any }
}

fn failure(source: &CsiSource) -> CameraError {
    let mut camera = match source.open(&wish(160, 120, SizeWish::Nearest)) {
        Ok(camera) => camera,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = camera.next_frame(Duration::from_secs(1)) {
            return error;
        }
    }
}

#[test]
fn a_board_that_encodes_gives_h264_that_is_handed_on() {
    let folder = Folder::new("h264");
    let script =
        format!("echo \"$*\" >\"{}/told\"\nwhile cat {BARS}; do sleep 0.1; done", folder.0.display());
    let program = folder.program("rpicam-vid", &script);
    let source = source(vec![program], Board::Encodes);
    let wish = wish(160, 120, SizeWish::Exact);
    let mut camera = source.open(&wish).unwrap();
    let mut passthrough = Passthrough::new();
    let mut kinds = Vec::new();
    while kinds.len() < 10 {
        let Some(frame) = camera.next_frame(Duration::from_secs(10)).unwrap() else { continue };
        if let Some(output) = passthrough.encode(&frame, Request::Any).unwrap() {
            kinds.push(output.kind);
        }
    }
    assert_eq!(kinds[0], FrameKind::Key);
    let format = camera.format();
    assert_eq!((format.pixel, format.width, format.height), (PixelFormat::H264, 160, 120));
    let told = arguments(
        0,
        &source.options,
        Board::Encodes,
        &arguments::format(Board::Encodes, &wish),
        source.bitrate,
    );
    assert_eq!(folder.read("told").trim(), told.join(" "));
}

#[test]
fn a_board_that_does_not_gives_pictures_with_the_levels_of_video() {
    let folder = Folder::new("raw");
    // White, and the strongest blue: 64x48 pixels.
    let script = "while head -c 3072 /dev/zero | tr '\\0' '\\377' && head -c 768 /dev/zero | tr '\\0' '\\377' && head -c 768 /dev/zero\n\
                  do sleep 0.02; done";
    let source = source(vec![folder.program("rpicam-vid", script)], Board::DoesNotEncode);
    let mut camera = source.open(&wish(64, 48, SizeWish::Exact)).unwrap();
    let frame = loop {
        if let Some(frame) = camera.next_frame(Duration::from_secs(10)).unwrap() {
            break frame.data.to_vec();
        }
    };
    assert_eq!(frame.len(), 64 * 48 * 3 / 2);
    assert!(frame[..3072].iter().all(|value| *value == 235));
    assert!(frame[3072..3840].iter().all(|value| *value == 240));
    assert!(frame[3840..].iter().all(|value| *value == 16));
}

#[test]
fn the_older_program_is_taken_where_the_newer_is_missing_and_without_both_the_package_is_named() {
    let folder = Folder::new("older");
    let older = folder.program("libcamera-vid", "echo older >&2; exit 3");
    let newer = folder.0.join("rpicam-vid");
    let error = failure(&source(vec![newer.clone(), older.clone()], Board::Encodes)).to_string();
    assert!(error.contains("libcamera-vid") && error.contains("older"), "{error}");
    fs::remove_file(older).unwrap();
    let error = failure(&source(vec![newer], Board::Encodes));
    assert!(error.to_string().ends_with("apt install rpicam-apps"), "{error}");
}

#[test]
fn what_the_program_says_of_its_failure_is_told() {
    let folder = Folder::new("fails");
    let program = folder.program("rpicam-vid", "echo 'ERROR: *** no cameras available ***' >&2; exit 255");
    let error = failure(&source(vec![program], Board::Encodes)).to_string();
    assert!(error.contains("exit status 255; it said: ERROR: *** no cameras available ***"), "{error}");
}

#[test]
fn closing_the_camera_ends_the_program() {
    let folder = Folder::new("ends");
    let script = format!("echo $$ >{}/pid\ncat /dev/zero", folder.0.display());
    let camera = source(vec![folder.program("rpicam-vid", &script)], Board::DoesNotEncode);
    let mut camera = camera.open(&wish(64, 48, SizeWish::Exact)).unwrap();
    while camera.next_frame(Duration::from_secs(10)).unwrap().is_none() {}
    let pid: u32 = folder.read("pid").trim().parse().unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(camera);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_size_that_cannot_be_is_refused_with_what_can() {
    let source = source(vec![], Board::DoesNotEncode);
    let error = source.open(&wish(800, 600, SizeWish::Exact)).map(drop).unwrap_err().to_string();
    assert!(error.contains("camera csi cannot do 800x600") && error.contains("a multiple of 64"), "{error}");
}

#[test]
fn pictures_are_had_where_h264_is_not_accepted_and_a_board_without_an_encoder_says_so() {
    let pictures = Wish { accept: Accept::Pictures, ..wish(64, 48, SizeWish::Exact) };
    let folder = Folder::new("accept");
    let program = folder.program("rpicam-vid", "cat /dev/zero");
    for accept in [Accept::Pictures, Accept::PicturesFirst] {
        let wish = Wish { accept, ..pictures };
        let camera = source(vec![program.clone()], Board::Encodes).open(&wish).unwrap();
        assert_eq!(camera.format().pixel, PixelFormat::I420);
    }
    let only_h264 = Wish { accept: Accept::H264, ..pictures };
    let error = source(vec![], Board::DoesNotEncode).open(&only_h264).map(drop).unwrap_err().to_string();
    assert!(error.contains("this board has no encoder for H.264"), "{error}");
}
