//! `pinhole devices` for a person. Pure. Not here: what there is.

use super::{CameraRow, Devices, EncoderRow, FormatRow, SizeRow, csi::Port};

/// Columns of a line at most, where there is a place to break it.
const WIDTH: usize = 100;
/// So many formats that are not used are named.
const MANY: usize = 8;
/// Below the labels.
const INDENT: usize = 12;

/// Cameras, then encoders.
pub(super) fn text(devices: &Devices) -> String {
    let mut text = "Cameras\n".to_owned();
    let ports = devices.csi.as_deref().unwrap_or_default();
    for Port { number, name } in ports {
        let source = if *number == 0 { "csi".to_owned() } else { format!("csi:{number}") };
        text += &format!("  {source}: {name}, by libcamera\n");
    }
    if devices.cameras.is_empty() && ports.is_empty() {
        text += "  no video device is there: plug a camera in, or use --camera synthetic\n";
    }
    for row in &devices.cameras {
        text += &camera(row);
    }
    text += "\nEncoders\n";
    for row in &devices.encoders {
        text += &encoder(row);
    }
    text
}

fn camera(row: &CameraRow) -> String {
    let card = row.card.as_ref().map(|card| format!(": {card}")).unwrap_or_default();
    let mut text = format!("  {}{card}\n", row.path.display());
    for (number, link) in row.links.iter().enumerate() {
        text += &labelled(if number == 0 { "also" } else { "" }, &link.display().to_string());
    }
    if let Some(used) = &row.used {
        text += &labelled("in use", used);
    }
    for (codes, sizes) in formats(&row.formats) {
        // A line of their own for several, or they would move the sizes.
        let mut label = codes[0];
        if codes.len() > 1 {
            text += &labelled("formats", &codes.join(", "));
            label = "";
        }
        for line in sizes {
            text += &labelled(label, &line);
            label = "";
        }
    }
    let unused: Vec<&str> = row
        .formats
        .iter()
        .filter(|row| !row.usable)
        .map(|FormatRow { fourcc, .. }| fourcc.as_str())
        .collect();
    let more = match unused.len().saturating_sub(MANY) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if !unused.is_empty() {
        text += &labelled("not used", &format!("{}{more}", unused[..unused.len().min(MANY)].join(", ")));
    }
    if let Some(choice) = &row.choice {
        text += &labelled("chosen", &choice.why);
        text += &labelled("encoder", &choice.encoder);
    }
    if let Some(problem) = &row.problem {
        text += &labelled("not usable", problem);
    }
    text
}

fn encoder(row: &EncoderRow) -> String {
    let inputs = format!("from {}", row.inputs.join(", "));
    let largest = row.largest.map(|(width, height)| format!(", up to {width}x{height}")).unwrap_or_default();
    match &row.path {
        Some(path) => format!("  {}: {}, H264 {inputs}{largest}\n", path.display(), row.name),
        None => format!("  {}: in software, H264 {inputs}, on every board\n", row.name),
    }
}

/// Formats that can be used, those of the same sizes and rates together, with a line for each of their rates.
fn formats(rows: &[FormatRow]) -> Vec<(Vec<&str>, Vec<String>)> {
    let mut groups: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for row in rows.iter().filter(|row| row.usable) {
        let lines = sizes(&row.sizes);
        match groups.last_mut() {
            Some((codes, same)) if *same == lines => codes.push(&row.fourcc),
            _ => groups.push((vec![&row.fourcc], lines)),
        }
    }
    groups
}

/// Sizes that have the same rates together.
fn sizes(sizes: &[SizeRow]) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for size in sizes {
        let (rates, size) = (rates(&size.rates), range(size));
        match groups.last_mut() {
            Some((same, group)) if *same == rates => group.push(size),
            _ => groups.push((rates, vec![size])),
        }
    }
    let group = |(rates, sizes): &(String, Vec<String>)| format!("{}{rates}", sizes.join(", "));
    groups.iter().map(group).collect()
}

fn range(size: &SizeRow) -> String {
    let SizeRow { min, max, step, .. } = size;
    if min == max {
        return format!("{}x{}", min.0, min.1);
    }
    let steps = if *step == (1, 1) { String::new() } else { format!(" in steps of {}x{}", step.0, step.1) };
    format!("{}x{} to {}x{}{steps}", min.0, min.1, max.0, max.1)
}

/// ` at 30, 15 fps`; more than three from the slowest to the fastest; nothing where the driver does not tell.
fn rates(rates: &[(f64, f64)]) -> String {
    let (slowest, fastest) = rates.iter().fold((f64::INFINITY, 0.0_f64), |(slowest, fastest), rate| {
        (slowest.min(rate.0), fastest.max(rate.1))
    });
    if rates.is_empty() {
        String::new()
    } else if rates.len() <= 3 && rates.iter().all(|(from, to)| from == to) {
        let list: Vec<String> = rates.iter().map(|(rate, _)| rate.to_string()).collect();
        format!(" at {} fps", list.join(", "))
    } else {
        format!(" at {slowest} to {fastest} fps")
    }
}

/// A line with a label before it, broken between words where it is long.
fn labelled(label: &str, content: &str) -> String {
    let mut text = format!("    {label:INDENT$}");
    let mut column = 4 + INDENT;
    for (number, word) in content.split(' ').enumerate() {
        let width = word.chars().count();
        if number > 0 && column + 1 + width > WIDTH {
            text += &format!("\n{:1$}", "", 4 + INDENT);
            column = 4 + INDENT;
        } else if number > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += width;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::devices::ChoiceRow;

    fn size(width: u32, height: u32, rates: &[f64]) -> SizeRow {
        let at = (width, height);
        SizeRow { min: at, max: at, step: (1, 1), rates: rates.iter().map(|rate| (*rate, *rate)).collect() }
    }

    fn format(fourcc: &str, sizes: Vec<SizeRow>) -> FormatRow {
        FormatRow { fourcc: fourcc.into(), usable: !sizes.is_empty(), sizes }
    }

    fn row(formats: Vec<FormatRow>) -> CameraRow {
        CameraRow {
            path: "/dev/video0".into(),
            links: Vec::new(),
            card: Some("HD Webcam".into()),
            driver: Some("uvcvideo".into()),
            used: None,
            formats,
            choice: None,
            problem: None,
        }
    }

    #[test]
    fn a_camera_is_shown_with_its_names_formats_and_choice() {
        let range = SizeRow { min: (32, 32), max: (640, 480), step: (2, 2), rates: vec![(1.0, 60.0)] };
        let formats = vec![
            format("MJPG", vec![size(1280, 720, &[30.0, 15.0]), size(640, 480, &[30.0, 15.0])]),
            format("YUYV", vec![size(640, 480, &[30.0, 24.0, 15.0, 7.5]), size(1280, 720, &[10.0])]),
            format("UYVY", vec![size(640, 480, &[30.0, 24.0, 15.0, 7.5]), size(1280, 720, &[10.0])]),
            format("NV12", vec![range]),
            format("Y16", Vec::new()),
        ];
        let choice = ChoiceRow {
            fourcc: "MJPG".into(),
            width: 1280,
            height: 720,
            fps: 30.0,
            why: "MJPG 1280x720 at 30 fps, as asked".into(),
            encoder: "/dev/video11 (bcm2835-codec-encode): the board has it".into(),
        };
        let links = vec!["/dev/v4l/by-id/usb-cam".into(), "/dev/v4l/by-path/usb-1".into()];
        let used = Some("by ffmpeg (pid 7)".into());
        let cameras = vec![CameraRow { links, used, choice: Some(choice), ..row(formats) }];
        let board = EncoderRow {
            name: "bcm2835-codec-encode".into(),
            path: Some("/dev/video11".into()),
            inputs: vec!["YU12".into(), "NV12".into()],
            largest: Some((1920, 1920)),
        };
        let expected = "\
Cameras
  /dev/video0: HD Webcam
    also        /dev/v4l/by-id/usb-cam
                /dev/v4l/by-path/usb-1
    in use      by ffmpeg (pid 7)
    MJPG        1280x720, 640x480 at 30, 15 fps
    formats     YUYV, UYVY
                640x480 at 7.5 to 30 fps
                1280x720 at 10 fps
    NV12        32x32 to 640x480 in steps of 2x2 at 1 to 60 fps
    not used    Y16
    chosen      MJPG 1280x720 at 30 fps, as asked
    encoder     /dev/video11 (bcm2835-codec-encode): the board has it

Encoders
  /dev/video11: bcm2835-codec-encode, H264 from YU12, NV12, up to 1920x1920
  OpenH264: in software, H264 from YU12, on every board
";
        assert_eq!(
            text(&Devices { cameras, csi: None, encoders: vec![board, EncoderRow::openh264()] }),
            expected
        );
    }

    #[test]
    fn cameras_of_the_port_have_the_name_to_use() {
        let port = |number, name: &str| Port { number, name: name.into() };
        let csi = Some(vec![port(0, "imx219 [3280x2464]"), port(1, "ov5647 [2592x1944]")]);
        let shown = text(&Devices { cameras: Vec::new(), csi, encoders: Vec::new() });
        let expected =
            "Cameras\n  csi: imx219 [3280x2464], by libcamera\n  csi:1: ov5647 [2592x1944], by libcamera\n";
        assert!(shown.starts_with(expected), "{shown}");
    }

    #[test]
    fn without_a_camera_it_says_what_to_do() {
        let shown = text(&Devices { cameras: Vec::new(), csi: None, encoders: vec![EncoderRow::openh264()] });
        assert!(shown.contains("plug a camera in, or use --camera synthetic"), "{shown}");
        assert!(shown.contains("OpenH264"), "{shown}");
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let problem = Some("word ".repeat(40).trim_end().to_owned());
        let shown = camera(&CameraRow { problem, ..row(vec![format("pBAA", Vec::new())]) });
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert!(lines.len() >= 2 && lines[0].starts_with("    not usable  word"), "{shown}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{shown}");
        assert!(
            lines[1..].iter().all(|line| line.starts_with(&format!("{:1$}word", "", 4 + INDENT))),
            "{shown}"
        );
        assert_eq!(shown.matches("word").count(), 40);
    }
}
