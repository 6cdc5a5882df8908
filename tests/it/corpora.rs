//! The bytes that fuzzing found worth keeping (tests/fuzz/corpus), through the bodies that they were found with.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::{fs, path::Path};

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
