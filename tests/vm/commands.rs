//! `pinhole devices` and `pinhole snapshot` as a person runs them, alone and beside a running agent.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Output, Stdio},
};

use pinhole::{
    camera::{FrameRate, PixelFormat, VideoFormat},
    encode::jpeg::JpegDecoder,
};
use serde_json::Value;

use crate::{DEVICE, another_program, bars::assert_bars, control};

const STATE: &str = "/tmp/commands";

fn pinhole(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinhole"));
    command.args(arguments).args(["--state", STATE]).stdin(Stdio::null());
    command
}

fn says(arguments: &[&str]) -> Vec<u8> {
    let Output { status, stdout, stderr } = pinhole(arguments).output().unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    stdout
}

fn refuses(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = pinhole(arguments).output().unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{arguments:?}");
    String::from_utf8(stderr).unwrap()
}

/// An agent on the camera, which ends with the test.
struct Agent(Child);

impl Agent {
    fn start(arguments: &[&str]) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0", "--log", "warn"], arguments].concat();
        let mut agent = Self(pinhole(&arguments).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(agent.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("Watch: "), "{line}");
        // The socket is made after the links are printed.
        while !fs::exists(format!("{STATE}/control.sock")).unwrap() {
            pinhole::clock::pause(std::time::Duration::from_millis(10));
        }
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(format!("{STATE}/control.sock"));
    }
}

/// The colour bars are those of the driver, in a picture of this size.
fn assert_shows_bars(jpeg: &[u8], width: u32, height: u32) {
    let mut decoder = JpegDecoder::new().unwrap();
    let picture = decoder.decode(jpeg, width, height).unwrap_or_else(|error| panic!("{error}"));
    let (columns, rows) = (width as usize, height as usize);
    let mut data = Vec::new();
    for (plane, stride, columns, rows) in [
        (picture.y, picture.y_stride, columns, rows),
        (picture.u, picture.chroma_stride, columns / 2, rows / 2),
        (picture.v, picture.chroma_stride, columns / 2, rows / 2),
    ] {
        plane.chunks(stride).take(rows).for_each(|row| data.extend(&row[..columns]));
    }
    let (pixel, rate) = (PixelFormat::I420, FrameRate::new(1));
    assert_bars(&VideoFormat { pixel, width, height, stride: width, rate }, &data);
}

/// Upright, and without text over them.
fn bars() {
    control("test_pattern=0,osd_text_mode=2,horizontal_flip=0,vertical_flip=0");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test"]
fn devices_are_listed_for_people_and_for_programs() {
    let text = String::from_utf8(says(&["devices"])).unwrap();
    assert!(text.starts_with(&format!("Cameras\n  {DEVICE}: vivid\n")), "{text}");
    for words in [
        "    chosen      YU12 1280x720 at 12.5 fps; asked for 1280x720 at 30 fps",
        "320x180",
        "    encoder     OpenH264: ",
    ] {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    let list: Value = serde_json::from_slice(&says(&["devices", "--json"])).unwrap();
    let camera = &list["cameras"][0];
    assert_eq!(list["cameras"].as_array().unwrap().len(), 1);
    assert_eq!((&camera["path"], &camera["card"]), (&Value::from(DEVICE), &Value::from("vivid")));
    assert_eq!((&camera["choice"]["fourcc"], &camera["choice"]["fps"]), (&"YU12".into(), &12.5.into()));
    assert_eq!(camera["used"], Value::Null);
    let formats = camera["formats"].as_array().unwrap();
    let yuyv = formats.iter().find(|format| format["fourcc"] == "YUYV").unwrap();
    assert_eq!(yuyv["usable"], true);
    assert!(
        yuyv["sizes"].as_array().unwrap().iter().any(|size| size["max"] == serde_json::json!([1280, 720]))
    );
    assert_eq!(list["encoders"].as_array().unwrap().last().unwrap()["name"], "OpenH264");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test"]
fn who_uses_a_device_is_told_and_it_is_left_alone() {
    let (mut other, mut stream) = another_program();
    let text = String::from_utf8(says(&["devices"])).unwrap();
    let refusal = refuses(&["snapshot", "--camera", DEVICE, "--out", "/tmp/busy.jpg"]);
    stream.read_exact(&mut [0; 1000]).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    let by = format!("by v4l2-ctl (pid {})", other.id());
    assert!(text.contains(&format!("    in use      {by}\n")) && text.contains("320x180"), "{text}");
    assert!(refusal.starts_with(&format!("pinhole: camera {DEVICE} is in use {by}: ")), "{refusal}");
    assert!(!fs::exists("/tmp/busy.jpg").unwrap());
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test"]
fn a_snapshot_without_an_agent_shows_the_bars() {
    bars();
    fs::write("/tmp/alone.jpg", "older").unwrap();
    says(&["snapshot", "--out", "/tmp/alone.jpg"]);
    assert_shows_bars(&fs::read("/tmp/alone.jpg").unwrap(), 1280, 720);
    let piped = says(&["snapshot", "--camera", "vivid", "--out", "-", "--quality", "100"]);
    assert_shows_bars(&piped, 1280, 720);
    assert!(piped.len() as u64 > fs::metadata("/tmp/alone.jpg").unwrap().len(), "better, so larger");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test"]
fn a_snapshot_by_the_agent_is_in_its_own_size_and_leaves_the_camera_closed() {
    bars();
    let _agent = Agent::start(&["--size", "640x360"]);
    for camera in [&["--camera", "cam0"][..], &["--camera", DEVICE], &[]] {
        let piped = says(&[&["snapshot", "--out", "-"], camera].concat());
        assert_shows_bars(&piped, 640, 360);
    }
    let refusal = refuses(&["snapshot", "--camera", "cam7", "--out", "/tmp/none.jpg"]);
    assert!(refusal.starts_with("pinhole: the agent has no camera `cam7`: it has cam0; "), "{refusal}");
}

#[test]
#[ignore = "needs vivid: run by tests/vm/test"]
fn a_snapshot_by_the_agent_is_turned_as_viewers_see_it() {
    bars();
    fs::create_dir_all(STATE).unwrap();
    let config = format!("{STATE}/turned.toml");
    fs::write(&config, "[camera]\nsize = \"640x360\"\nrotate = 180\n").unwrap();
    let _agent = Agent::start(&["--config", &config]);
    let jpeg = says(&["snapshot", "--out", "-"]);
    let mut decoder = JpegDecoder::new().unwrap();
    let picture = decoder.decode(&jpeg, 640, 360).unwrap();
    let row = &picture.y[180 * picture.y_stride..][..640];
    assert!(
        row[40] < 40 && row[600] > 150,
        "black is on the left, and white on the right: {} {}",
        row[40],
        row[600]
    );
}
