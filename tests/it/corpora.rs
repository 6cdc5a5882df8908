//! The bytes that fuzzing found worth keeping (tests/fuzz/corpus), through the bodies that they were found with.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::{fs, path::Path};

use pinhole::{
    cli::RunArgs, config::Config, control::message::Request, peer::sdp::Offer, signal::envelope::Envelope,
    signal::hand::find, signal::link::Link,
};

#[test]
fn kept_inputs_of_each_fuzz_target_do_no_harm() {
    for (target, body) in bodies::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            body(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 10, "{} holds only {inputs} inputs", folder.display());
    }
}

/// Else the bodies would only ever see what is refused at once.
#[test]
fn inputs_that_are_called_true_are_taken() {
    let takes = |target: &str, data: &[u8]| {
        let text = String::from_utf8_lossy(data);
        let arguments = RunArgs { state: Some("/nowhere".into()), ..RunArgs::default() };
        match target {
            "envelope" => Envelope::parse(data).is_ok(),
            "hand" => find(&text).is_ok(),
            "link" => Link::parse(&text).is_ok(),
            "sdp" => Offer::parse(&text).is_ok_and(|offer| !offer.formats().is_empty()),
            "control" => Request::parse(data).is_ok(),
            "config" => Config::from_text(&arguments, Path::new("/nowhere/pinhole.toml"), &text).is_ok(),
            _ => panic!("no such target: {target}"),
        }
    };
    for (target, expected) in
        [("envelope", 13), ("hand", 6), ("link", 2), ("sdp", 3), ("control", 6), ("config", 5)]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let truths: Vec<_> =
            paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("true-")).collect();
        assert!(truths.len() >= expected, "{target}: {}", truths.len());
        for path in truths {
            assert!(takes(target, &fs::read(&path).unwrap()), "{}", path.display());
        }
    }
}
