//! Two cameras of one model, vivid's two devices, one bright and one dark, which change their numbers: here by renaming their
//! nodes, since the driver plugs both in and out together.

use std::{fs, process::Command};

use pinhole::camera::{self, Accept, CameraSource, PixelFormat, Wish, v4l2::V4l2Source};

use crate::{
    contract::{DEFAULT_WISH, next},
    wish,
};

/// What a camera sees.
#[derive(Debug, PartialEq, Eq)]
enum Sight {
    Bright,
    Dark,
}

fn set_up() {
    for (device, pattern) in [("/dev/video0", "100% White"), ("/dev/video1", "100% Black")] {
        let list = Command::new("v4l2-ctl").args(["-d", device, "--list-ctrls-menus"]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let number = list.lines().find_map(|line| line.trim().strip_suffix(&format!(": {pattern}")));
        let number = number.unwrap_or_else(|| panic!("vivid has no pattern {pattern}"));
        let set = format!("test_pattern={number},osd_text_mode=2");
        let status = Command::new("v4l2-ctl").args(["-d", device, "-c", &set]).status().unwrap();
        assert!(status.success());
    }
}

fn swap_numbers() {
    fs::rename("/dev/video0", "/dev/video9").unwrap();
    fs::rename("/dev/video1", "/dev/video0").unwrap();
    fs::rename("/dev/video9", "/dev/video1").unwrap();
}

fn sight(source: &dyn CameraSource) -> Sight {
    let wish = Wish { accept: Accept::Only(PixelFormat::Grey), ..wish(320, 180, 30) };
    let mut camera = source.open(&wish).unwrap_or_else(|error| panic!("{error}"));
    match next(camera.as_mut()).unwrap().data[320 * 90 + 160] {
        0..=60 => Sight::Dark,
        180.. => Sight::Bright,
        between => panic!("{between} is neither bright nor dark"),
    }
}

#[test]
#[ignore = "needs two of vivid's devices: run by tests/vm/test pair"]
fn cameras_that_swap_their_numbers_are_not_taken_for_each_other() {
    set_up();
    let (first, second) = (V4l2Source::new("/dev/video0"), V4l2Source::new("/dev/video1"));
    let see = || (sight(&first), sight(&second));
    assert_eq!(see(), (Sight::Bright, Sight::Dark));
    swap_numbers();
    assert_eq!(sight(&V4l2Source::new("/dev/video0")), Sight::Dark, "who was never there before");
    assert_eq!(see(), (Sight::Bright, Sight::Dark));
    swap_numbers();
    assert_eq!(see(), (Sight::Bright, Sight::Dark));
}

#[test]
#[ignore = "needs two of vivid's devices: run by tests/vm/test pair"]
fn another_camera_is_taken_where_the_one_that_was_there_is_gone() {
    set_up();
    let first = V4l2Source::new("/dev/video0");
    assert_eq!(sight(&first), Sight::Bright);
    fs::rename("/dev/video0", "/dev/unplugged").unwrap();
    assert!(first.open(&DEFAULT_WISH).is_err(), "nobody is at its path");
    fs::rename("/dev/video1", "/dev/video0").unwrap();
    assert_eq!(sight(&first), Sight::Dark, "with a warning");
    fs::rename("/dev/video0", "/dev/video1").unwrap();
    fs::rename("/dev/unplugged", "/dev/video0").unwrap();
    assert_eq!(sight(&first), Sight::Bright);
}

#[test]
#[ignore = "needs two of vivid's devices: run by tests/vm/test pair"]
fn without_a_name_another_is_taken_until_the_first_is_there_again() {
    set_up();
    let first = camera::auto::source(pinhole::encode::Bitrate(1_500_000));
    assert_eq!(sight(first.as_ref()), Sight::Bright);
    swap_numbers();
    assert_eq!((sight(first.as_ref()), first.describe()), (Sight::Bright, "/dev/video1".to_owned()));
    fs::rename("/dev/video1", "/dev/unplugged").unwrap();
    assert_eq!((sight(first.as_ref()), first.describe()), (Sight::Dark, "/dev/video0".to_owned()));
    fs::rename("/dev/unplugged", "/dev/video1").unwrap();
    assert_eq!((sight(first.as_ref()), first.describe()), (Sight::Bright, "/dev/video1".to_owned()));
    swap_numbers();
}

#[test]
#[ignore = "needs two of vivid's devices: run by tests/vm/test pair"]
fn a_name_that_both_have_is_refused_with_their_paths() {
    let both = "/dev/video0, /dev/video1";
    let error = camera::parse("card:vivid").unwrap().source().open(&DEFAULT_WISH).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "card:vivid is not a camera that can be used: 2 cameras have this name; choose one by its path: {both}"
        )
    );
    assert_eq!(
        camera::parse("vivid").unwrap_err(),
        format!("several cameras are called `vivid`: choose one by its path, {both}")
    );
}
