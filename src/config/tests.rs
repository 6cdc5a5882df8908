//! How files, flags and mistakes are read.

use super::*;
use crate::{
    camera::{
        self, Accept, FrameRate, SizeWish,
        orientation::{Flip, Orientation, Rotation},
    },
    encode::{Bitrate, choice::Choice, overlay::Content},
    signal::mqtt::Secret,
};

fn files() -> Files<'static> {
    Files { folder: Path::new("/etc/pinhole"), credentials: None }
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &RunArgs::default())
}

fn load_with(text: &str, args: &RunArgs) -> Result<Config, ConfigError> {
    let raw = file::parse(Path::new("pinhole.toml"), text)?;
    let args = RunArgs { state: Some("/tmp/state".into()), ..args.clone() };
    Config::build(&args, raw, files())
}

fn refusal(text: &str) -> String {
    load(text).expect_err("it must be refused").to_string()
}

#[test]
fn the_page_is_announced_until_that_is_turned_off() {
    assert_eq!(load("").unwrap().web.announce, Switch::On);
    assert_eq!(load("[web]\nannounce = false").unwrap().web.announce, Switch::Off);
}

#[test]
fn whep_is_on_until_it_is_turned_off() {
    assert_eq!(load("").unwrap().web.whep, Switch::On);
    assert_eq!(load("[web]\nwhep = false").unwrap().web.whep, Switch::Off);
}

#[test]
fn metrics_are_for_this_machine_until_it_is_said_otherwise() {
    assert_eq!(load("").unwrap().web.metrics, MetricsFor::ThisMachine);
    for (text, readers) in [
        ("off", MetricsFor::Nobody),
        ("local", MetricsFor::ThisMachine),
        ("lan", MetricsFor::Lan),
        ("all", MetricsFor::Everybody),
    ] {
        assert_eq!(load(&format!("[web]\nmetrics = \"{text}\"")).unwrap().web.metrics, readers);
    }
    assert!(refusal("[web]\nmetrics = \"yes\"").contains("give off, local, lan or all"));
    let short = std::env::temp_dir().join(format!("pinhole-short-token-{}", std::process::id()));
    std::fs::write(&short, "secret\n").unwrap();
    let said = refusal(&format!("[web]\nmetrics_token_file = \"{}\"", short.display()));
    std::fs::remove_file(short).unwrap();
    assert!(said.contains("openssl rand -hex 32") && !said.contains("secret"), "{said}");
}

#[test]
fn every_example_in_the_documentation_parses() {
    let texts = [
        include_str!("../../docs/configuration.md"),
        include_str!("../../docs/brokers.md"),
        include_str!("../../docs/metrics.md"),
    ];
    let blocks: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.split("```toml\n").skip(1))
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 9, "found {} examples", blocks.len());
    for block in blocks {
        let read = file::parse(Path::new("an example"), block).expect("a documented example");
        // The password's file is not here: what is asked is whether the keys and values are right.
        match Config::build(
            &RunArgs { state: Some("/tmp/state".into()), ..RunArgs::default() },
            read,
            files(),
        ) {
            Ok(_) | Err(ConfigError::File { .. } | ConfigError::Credential { .. }) => {}
            Err(error) => panic!("{error}\n{block}"),
        }
    }
}

#[test]
fn every_key_is_documented() {
    let text = include_str!("../../docs/configuration.md");
    for section in [
        "x = 1",
        "camera.x = 1",
        "web.x = 1",
        "broker.x = 1",
        "broker.server = [{ x = 1 }]",
        "webrtc.x = 1",
        "webrtc.ice_server = [{ x = 1 }]",
    ] {
        // serde names all keys it knows beside the unknown one.
        let error = toml::from_str::<RawConfig>(section).expect_err("x is no key");
        let keys: Vec<&str> =
            error.message().split('`').skip(1).step_by(2).filter(|key| *key != "x").collect();
        assert!(!keys.is_empty(), "{}", error.message());
        for key in keys {
            assert!(
                text.contains(&format!("`{key}`"))
                    || text.contains(&format!("[{key}]"))
                    || text.contains(&format!(".{key}]")),
                "`{key}` ({section}) is not in docs/configuration.md"
            );
        }
    }
}

#[test]
fn every_variable_is_documented() {
    let text = include_str!("../../docs/configuration.md");
    let variables = crate::cli::Cli::variables();
    assert!(variables.len() >= 10);
    for variable in variables {
        assert!(text.contains(&format!("`{variable}`")), "{variable} is not in docs/configuration.md");
    }
}

#[test]
fn nothing_set_gives_the_defaults() {
    let config = load("").expect("an empty file is fine");
    let camera = &config.cameras[0];
    assert_eq!(config.cameras.len(), 1);
    assert_eq!(camera.source, Source::Auto);
    assert_eq!((camera.wish.width, camera.wish.height), (1280, 720));
    assert_eq!(camera.wish.size, SizeWish::Nearest);
    assert_eq!(camera.bitrate, Bitrate(1_500_000));
    assert_eq!((camera.encoder, camera.wish.accept), (Choice::Auto, Accept::Any));
    assert_eq!(config.web.listen, Listen::Everywhere(8480));
    assert_eq!(config.broker.embedded, Embedded::On);
    assert!(config.broker.external.is_empty());
    assert_eq!(config.webrtc.max_viewers, 8);
}

#[test]
fn flags_win_over_the_file_and_a_named_size_is_exact() {
    let args = RunArgs {
        camera: Some("synthetic".to_owned()),
        size: Some(Size { width: 640, height: 360 }),
        fps: Some(15),
        bitrate: Some("800k".parse().expect("a bitrate")),
        listen: Some("127.0.0.1:0".to_owned()),
        ..RunArgs::default()
    };
    let config = load_with("[camera]\nsource = \"/dev/video7\"\nfps = 25\n[web]\nlisten = \"9000\"", &args)
        .expect("good");
    let camera = &config.cameras[0];
    assert_eq!(camera.source, Source::Named(camera::parse("synthetic").expect("a source")));
    assert_eq!((camera.wish.width, camera.wish.size), (640, SizeWish::Exact));
    assert_eq!(camera.wish.rate, FrameRate::new(15));
    assert_eq!(camera.bitrate, Bitrate(800_000));
    assert_eq!(config.web.listen, Listen::At("127.0.0.1:0".parse().expect("an address")));
}

#[test]
fn the_files_state_folder_is_beside_it_and_a_flag_wins() {
    let raw = || Some(PathBuf::from("keys"));
    let flag = RunArgs { state: Some("here".into()), ..RunArgs::default() };
    let folder = Path::new("/etc/pinhole");
    assert_eq!(state_dir(&RunArgs::default(), raw(), folder), Some("/etc/pinhole/keys".into()));
    assert_eq!(state_dir(&RunArgs::default(), Some("/var/keys".into()), folder), Some("/var/keys".into()));
    assert_eq!(state_dir(&flag, raw(), folder), Some("here".into()));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    assert_eq!(
        refusal("[camera]\nfps = 30\nbitrat = \"1M\""),
        "pinhole.toml, line 3: unknown key `bitrat`: did you mean `bitrate`?"
    );
    assert_eq!(refusal("nmae = \"x\""), "pinhole.toml, line 1: unknown key `nmae`: did you mean `name`?");
    assert_eq!(
        refusal("[web]\nzzzzzzzz = 1"),
        "pinhole.toml, line 2: unknown key `zzzzzzzz`: known here are listen, page_url, names, whep, announce, metrics, metrics_token_file"
    );
    assert_eq!(
        refusal("[[camera]]\nsorce = \"auto\""),
        "pinhole.toml, line 2: unknown key `sorce`: did you mean `source`?"
    );
}

#[test]
fn malformed_values_name_the_line_and_what_would_fit() {
    for (text, line, words) in [
        ("[camera]\nsize = \"big\"", 2, "WIDTHxHEIGHT"),
        ("[camera]\nsize = \"641x360\"", 2, "even"),
        ("[camera]\nbitrate = \"fast\"", 2, "1500k"),
        ("[camera]\nbitrate = 12", 2, "100k to 50M"),
        ("[camera]\nrotate = 45", 2, "0, 90, 180 or 270"),
        ("[camera]\nrotate = -90", 2, "0, 90, 180 or 270"),
        ("[camera]\nflip = \"sideways\"", 2, "horizontal, vertical or both"),
        ("[camera]\noverlay = \"date\"", 2, "time, name or time+name"),
        ("name = ", 1, ""),
        ("[camera", 1, ""),
    ] {
        let message = refusal(text);
        assert!(message.starts_with(&format!("pinhole.toml, line {line}: ")), "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_rotation_comes_before_a_flip() {
    let orientation = |text: &str| load(text).expect("good").cameras[0].orientation;
    assert_eq!(orientation(""), Orientation::UPRIGHT);
    assert_eq!(orientation("[camera]\nrotate = 180\nflip = \"both\""), Orientation::UPRIGHT);
    assert_eq!(
        orientation("[camera]\nrotate = 90\nflip = \"horizontal\""),
        Orientation::new(Rotation::Quarter, Flip::Horizontal)
    );
}

#[test]
fn an_overlay_is_time_or_name_or_both_or_none() {
    let overlay = |text: &str| load(text).expect("good").cameras[0].overlay;
    assert_eq!(overlay(""), None);
    assert_eq!(overlay("[camera]\noverlay = \"none\""), None);
    assert_eq!(overlay("[camera]\noverlay = \"time\""), Some(Content::Time));
    assert_eq!(overlay("[camera]\noverlay = \"name\""), Some(Content::Name));
    assert_eq!(overlay("[camera]\noverlay = \"time+name\""), Some(Content::TimeAndName));
}

#[test]
fn controls_are_kept_as_they_were_written() {
    let config = load("[camera.controls]\nbrightness = -3\nhflip = true\nauto_exposure = \"manual mode\"");
    let written: Vec<String> =
        config.expect("good").cameras[0].controls.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["auto_exposure=manual mode", "brightness=-3", "hflip=true"]);
    let several = "[[camera]]\nid = \"a\"\n[[camera]]\nid = \"b\"\n[camera.controls]\ngain = 1";
    let config = load(several).expect("good");
    assert!(config.cameras[0].controls.is_empty());
    assert_eq!(config.cameras[1].controls[0].to_string(), "gain=1");
    let said = refusal("[camera.controls]\nbrightness = 1.5");
    assert!(said.starts_with("pinhole.toml, line 2: ") && said.contains("give a control's value"), "{said}");
}

#[test]
fn contradictions_name_the_key_and_the_remedy() {
    for (text, words) in [
        ("[broker]\nembedded = false", "broker.page_url"),
        ("[broker]\npage_url = \"ws://b/mqtt\"", "broker.url"),
        ("[broker]\nuser = \"u\"", "broker.url"),
        ("[broker]\nurl = \"mqtt://b\"\ncert_file = \"c\"", "broker.key_file"),
        ("[broker]\nurl = \"mqtt://b\"\npage_url = \"http://b\"", "ws://"),
        ("[broker]\nurl = \"mqtt://b\"\npassword_file = \"/nowhere/pw\"", "/nowhere/pw"),
        ("[broker]\nurl = \"wss://b\"\npage_user = \"u\"", "broker.page_password_file"),
        ("[broker]\nroot = \"a/#\"", "broker.root"),
        ("[[camera]]\nid = \"a\"\n[[camera]]\nid = \"a\"", "twice"),
        ("[[camera]]\nid = \"a/b\"", "letters"),
        ("[camera]\nfps = 0", "1 to 120"),
        ("[camera]\nsource = \"webcam\"", "webcam"),
        ("[web]\nlisten = \"here\"", "ADDRESS:PORT"),
        ("[webrtc]\nmax_viewers = 0", "max_viewers"),
        ("[[webrtc.ice_server]]\nurls = [\"turn:t:3478\"]", "credential"),
        ("[[webrtc.ice_server]]\nurls = [\"http://t\"]", "stun:"),
    ] {
        let message = refusal(text);
        assert!(message.contains(words), "{text}\n{message}");
    }
}

#[test]
fn a_websocket_broker_serves_the_page_too() {
    let config = load("[broker]\nurl = \"wss://b.example/mqtt\"\nembedded = false").expect("good");
    assert_eq!(config.broker.pages()[0].url, "wss://b.example/mqtt");
}

#[test]
fn the_viewers_account_is_in_the_links_and_nowhere_else() {
    let account = Some(("cam era".to_owned(), Secret::new("p@ss:/#")));
    let page = PageBroker { url: "wss://b.example:8084/mqtt".to_owned(), account };
    assert_eq!(page.address_for_links(), "wss://cam%20era:p%40ss%3A%2F%23@b.example:8084/mqtt");
    assert!(!format!("{page:?}").contains("p@ss"));
    let page = PageBroker { account: None, ..page };
    assert_eq!(page.address_for_links(), "wss://b.example:8084/mqtt");
}

#[test]
fn an_encoder_is_named_in_the_file_or_by_a_flag_and_says_what_the_camera_may_give() {
    let camera = |text, args: &RunArgs| load_with(text, args).expect("good").cameras.remove(0);
    let file = "[camera]\nencoder = \"passthrough\"";
    let from_file = camera(file, &RunArgs::default());
    assert_eq!((from_file.encoder, from_file.wish.accept), (Choice::Passthrough, Accept::H264));
    let from_flag = camera(file, &RunArgs { encoder: Some(Choice::M2m), ..RunArgs::default() });
    assert_eq!((from_flag.encoder, from_flag.wish.accept), (Choice::M2m, Accept::Pictures));
    let refused = refusal("[camera]\nencoder = \"h265\"");
    assert!(refused.contains("line 2") && refused.contains("there are auto, m2m"), "{refused}");
}

#[test]
fn bitrates_and_sizes_are_read_as_people_write_them() {
    for (text, bits) in
        [("1500k", 1_500_000), ("1.5M", 1_500_000), ("2M", 2_000_000), ("800000", 800_000), ("500K", 500_000)]
    {
        assert_eq!(text.parse::<BitrateValue>().map(|value| value.0), Ok(Bitrate(bits)), "{text}");
    }
    for text in ["", "k", "1", "100M", "-5k", "NaN", "infk", "1500 q"] {
        assert!(text.parse::<BitrateValue>().is_err(), "{text}");
    }
    for text in ["", "x", "1280", "1280x", "x720", "0x0", "99999x99999", "1281x720", "１２x３"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    for text in [
        "broker.url = \"mqtt://b\"\nbroker.page_url = \"wss://anna:hunter2@b/\"",
        "web.page_url = \"https://anna:hunter2@example.org/\"",
    ] {
        let message = refusal(text);
        assert!(message.contains("page_url: holds an `@`") && !message.contains("hunter2"), "{message}");
    }
}

#[test]
fn options_of_the_camera_port_are_checked_and_need_it() {
    let config =
        load("[camera]\nsource = \"csi:1\"\nbitrate = \"2M\"\n[camera.csi]\nhflip = true\n").unwrap();
    let Source::Named(camera::Spec::Csi(csi)) = &config.cameras[0].source else { panic!("no csi") };
    assert_eq!((csi.camera, csi.options.hflip, csi.bitrate), (1, true, Bitrate(2_000_000)));
    let said = refusal("[camera]\nsource = \"csi\"\n[camera.csi]\nrotation = 90\n");
    assert!(said.starts_with("camera.csi.rotation: ") && said.contains("0 or 180"), "{said}");
    let said = refusal("[camera]\nsource = \"synthetic\"\n[camera.csi]\nhflip = true\n");
    assert!(said.contains("source = \"csi\""), "{said}");
    let said = refusal("[camera]\nsource = \"csi\"\n[camera.csi]\nbrightnes = 1\n");
    assert!(said.contains("did you mean `brightness`"), "{said}");
}

#[test]
fn what_is_written_on_or_mirrored_is_taken_as_pictures_first_unless_an_encoder_is_named() {
    for (text, accept) in [
        ("", Accept::Any),
        ("rotate = 90", Accept::Any),
        ("overlay = \"time\"", Accept::PicturesFirst),
        ("flip = \"vertical\"", Accept::PicturesFirst),
        ("flip = \"both\"", Accept::Any),
        ("overlay = \"name\"\nencoder = \"openh264\"", Accept::Pictures),
        ("overlay = \"name\"\nencoder = \"passthrough\"", Accept::H264),
    ] {
        let config = load(&format!("[camera]\n{text}")).expect("good");
        assert_eq!(config.cameras[0].wish.accept, accept, "{text}");
    }
}

#[test]
fn the_services_configuration_is_good_and_so_is_each_line_that_it_shows() {
    let text = include_str!("../../systemd/pinhole.toml");
    let as_it_is = load(text).expect("good");
    let shown: String = text
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.starts_with('[') || rest.contains(" = "))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    // systemd's credential is not here; any file will do.
    let shown = ["credential:broker-password", "credential:home-assistant-password"]
        .into_iter()
        .fold(shown, |shown, name| shown.replace(name, concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
    let config = load(&shown).expect("good with all that it shows");
    // What it says is taken without a line, is.
    let (default, shown) = (&as_it_is.cameras[0], &config.cameras[0]);
    assert_eq!((default.bitrate, default.encoder, default.hot), (shown.bitrate, shown.encoder, shown.hot));
    assert_eq!((default.wish.width, default.wish.rate), (shown.wish.width, shown.wish.rate));
    assert_eq!(
        (as_it_is.web.listen, as_it_is.webrtc.max_viewers),
        (config.web.listen, config.webrtc.max_viewers)
    );
    assert_eq!(
        (&as_it_is.broker.root, as_it_is.broker.embedded),
        (&config.broker.root, config.broker.embedded)
    );
}
