//! A camera that comes back under another number. vicodec's three nodes take the first numbers when the guest starts, and
//! vivid the next; unplugged together and plugged in the other way round, they change places.

use std::{fs, path::Path};

use pinhole::camera::{self, Camera, CameraError, CameraSource, v4l2::V4l2Source};

use crate::{
    contract::{DEFAULT_WISH, next},
    wish,
};

/// A driver, as /sys names it.
#[derive(Clone, Copy)]
enum Driver {
    Vivid,
    Vicodec,
}

impl Driver {
    fn write(self, file: &str) {
        let name = match self {
            Self::Vivid => "vivid",
            Self::Vicodec => "vicodec",
        };
        fs::write(format!("/sys/bus/platform/drivers/{name}/{file}"), format!("{name}.0")).unwrap();
    }
}

fn unplug() {
    Driver::Vivid.write("unbind");
    Driver::Vicodec.write("unbind");
}

/// The first gets the lower numbers.
fn plug_in(order: [Driver; 2]) {
    for driver in order {
        driver.write("bind");
    }
}

/// vivid at /dev/video3 first, then at /dev/video0 and an encoder at /dev/video3, then as at first.
fn follows_the_camera(source: &dyn CameraSource) {
    let picture = |number: u32| {
        let name = fs::read_to_string(format!("/sys/class/video4linux/video{number}/name")).unwrap();
        assert!(name.starts_with("vivid-000"), "video{number} is {name}");
        let mut camera = source.open(&wish(320, 180, 30)).unwrap();
        next(camera.as_mut()).unwrap();
        camera
    };
    let mut open: Box<dyn Camera> = picture(3);
    unplug();
    let error = crate::failure(open.as_mut());
    assert!(matches!(error, CameraError::Lost { .. }), "{error}");
    drop(open);
    let error = source.open(&DEFAULT_WISH).err().unwrap();
    assert!(matches!(error, CameraError::NotFound { .. }), "{error}");

    Driver::Vicodec.write("bind");
    let error = source.open(&DEFAULT_WISH).err().unwrap();
    assert!(matches!(error, CameraError::NotFound { .. }), "only an encoder is there: {error}");
    Driver::Vicodec.write("unbind");

    plug_in([Driver::Vivid, Driver::Vicodec]);
    assert!(Path::new("/dev/video3").exists());
    drop(picture(0));
    unplug();
    plug_in([Driver::Vicodec, Driver::Vivid]);
    drop(picture(3));
}

#[test]
#[ignore = "needs vivid and vicodec: run by tests/vm/test renumbered"]
fn a_camera_named_by_its_path_is_found_under_another_number() {
    follows_the_camera(&V4l2Source::new("/dev/video3"));
}

#[test]
#[ignore = "needs vivid and vicodec: run by tests/vm/test renumbered"]
fn a_camera_named_by_its_card_is_found_under_any_number() {
    follows_the_camera(camera::parse("card:vivid").unwrap().source().as_ref());
    follows_the_camera(camera::parse("Vivid").unwrap().source().as_ref());
}

#[test]
#[ignore = "needs vivid and vicodec: run by tests/vm/test renumbered"]
fn the_first_camera_is_found_under_any_number() {
    follows_the_camera(camera::auto::source(pinhole::encode::Bitrate(1_500_000)).as_ref());
}

#[test]
#[ignore = "needs vivid and vicodec: run by tests/vm/test renumbered"]
fn a_card_that_is_not_there_is_told_with_those_that_are() {
    let error = camera::parse("card:C920").unwrap().source().open(&DEFAULT_WISH).err().unwrap();
    assert_eq!(
        error.to_string(),
        "no camera at card:C920: there is /dev/video3 (vivid); choose one with --camera"
    );
}
