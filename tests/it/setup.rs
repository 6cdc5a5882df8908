//! `pinhole setup`, the program, on a terminal (script(1) makes one) and without, with a real broker to try.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use tokio::task::block_in_place;

use crate::mqtt_support::{Folder, Mosquitto, free_port};

const SAMPLE: &str = include_str!("../../systemd/pinhole.toml");

fn setup(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinhole"))
        .args(["setup", "--config"])
        .arg(config)
        .args(arguments)
        .env_remove("STATE_DIRECTORY")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// On a terminal, where this is typed. What it shows, and whether it succeeded.
fn typed(config: &Path, keys: &str) -> (String, bool) {
    let command = format!("{} setup --config {}", env!("CARGO_BIN_EXE_pinhole"), config.display());
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script comes with every Debian (bsdutils)");
    terminal.stdin.take().unwrap().write_all(keys.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap().replace('\r', ""), output.status.success())
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// With the user `cam` and the password `right`.
async fn guarded(port: u16, folder: &Folder) -> Mosquitto {
    let passwords = folder.write("passwords", "cam:right\n");
    let hashed = tokio::process::Command::new("mosquitto_passwd").arg("-U").arg(&passwords).status().await;
    assert!(hashed.expect("mosquitto_passwd comes with mosquitto").success());
    Mosquitto::start(&format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}",
        passwords.display()
    ))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_tried_shown_and_written() {
    let (folder, port) = (Folder::new(), free_port());
    let _broker = guarded(port, &folder).await;
    let file = folder.write("pinhole.toml", SAMPLE);
    let url = format!("mqtt://127.0.0.1:{port}");
    // The synthetic picture is the last choice; without a camera and a camera port the second. A wrong password first.
    let keys = format!(
        "2\nGarden\n2\n{url}\nws://127.0.0.1:{port}\ncam\nwrong\ny\n\nws://127.0.0.1:{port}\ncam\nright\ny\n"
    );
    let (shown, succeeded) = block_in_place(|| typed(&file, &keys));
    assert!(succeeded, "{shown}");
    assert!(shown.contains("check `user` and `password_file`"), "{shown}");
    assert!(shown.contains("takes and acknowledges messages"), "{shown}");
    assert!(shown.contains("  + name = \"Garden\"\n"), "{shown}");
    assert!(!shown.contains("right\n") && !shown.contains("= \"right"), "the password is not shown: {shown}");
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        "name = \"Garden\"",
        "source = \"synthetic\"",
        "user = \"cam\"",
        "password_file = \"broker-password\"",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    assert_eq!(fs::read_to_string(folder.0.join("pinhole.toml.bak")).unwrap(), SAMPLE);
    let password = folder.0.join("broker-password");
    assert_eq!(fs::read_to_string(&password).unwrap(), "right\n");
    assert_eq!(fs::metadata(&password).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn who_stops_in_between_has_changed_nothing() {
    let folder = Folder::new();
    let file = folder.write("pinhole.toml", SAMPLE);
    for keys in ["", "2\n", "2\nGarden\n2\nmqtt://127.0.0.1:1\n\ncam\nsec\u{3}", "2\nGarden\n1\nn\n"] {
        let (shown, succeeded) = typed(&file, keys);
        // Typed before the password is asked for, Ctrl-C is a signal, which ends it without a word.
        let told = shown.contains("stopped: nothing was changed") || keys.contains('\u{3}');
        assert!(!succeeded && told, "{keys:?}: {shown}");
        assert_eq!(fs::read_to_string(&file).unwrap(), SAMPLE);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_flags_are_the_answers() {
    let (folder, port) = (Folder::new(), free_port());
    let _broker = Mosquitto::open(port).await;
    let file = folder.0.join("new.toml");
    let url = format!("mqtt://127.0.0.1:{port}");
    let flags = ["--yes", "--camera", "synthetic", "--name", "Shed", "--broker", &url];
    let output = block_in_place(|| setup(&file, &flags));
    assert!(output.status.success(), "{}", said(&output));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("name = \"Shed\"\n") && text.contains(&format!("url = \"{url}\"\n")), "{text}");
    let again = block_in_place(|| setup(&file, &flags));
    assert!(String::from_utf8(again.stdout).unwrap().contains("Nothing is to be changed."));
    let back = block_in_place(|| setup(&file, &["--yes", "--broker", "embedded"]));
    assert!(
        back.status.success() && fs::read_to_string(&file).unwrap().contains("# url = "),
        "{}",
        said(&back)
    );
}

#[test]
fn what_cannot_be_set_up_is_told_and_changes_nothing() {
    let folder = Folder::new();
    let file = folder.write("pinhole.toml", SAMPLE);
    for (flags, words) in [
        (&[][..], "this is no terminal: give --yes"),
        (&["--yes", "--camera", "nonsense"], "no camera is called `nonsense`"),
        (&["--yes", "--name", ""], "name: give 1 to 64 characters"),
        (&["--yes", "--broker", "mqtt://127.0.0.1:1"], "connection refused"),
        (&["--yes", "--broker", "broker"], "nothing was changed"),
    ] {
        let output = setup(&file, flags);
        assert!(!output.status.success() && said(&output).contains(words), "{flags:?}: {}", said(&output));
        assert_eq!(fs::read_to_string(&file).unwrap(), SAMPLE);
    }
    let two =
        folder.write("two.toml", "[[camera]]\nid = \"a\"\n[[camera]]\nid = \"b\"\nsource = \"synthetic\"\n");
    let output = setup(&two, &["--yes", "--camera", "synthetic"]);
    assert!(said(&output).contains("more than one camera"), "{}", said(&output));
}
