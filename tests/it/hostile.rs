//! A hostile broker, attack by attack: it reads, changes, repeats, reorders, reflects, loses and invents messages, and
//! each time nobody is served who was not paired, nothing is learnt, and the paired viewer gets its picture afterwards.
//! What time alone can show (a nonce of two rotations ago) is shown in signal/desk/tests.rs, the page's part in
//! src/web/page/hostile.test.mjs.

mod frames;
mod house;
mod inventing;
mod losing;
mod pairing;
mod proxy;
mod reading;
mod replaying;
mod rewriting;
mod steady;

/// docs/security.md says by which tests each promise is shown.
#[test]
fn the_tests_that_the_docs_name_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let names: Vec<&str> =
        docs.split('`').skip(1).step_by(2).filter(|name| name.starts_with("hostile::")).collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let mut parts = name.split("::");
        let (folder, module) = (parts.next().unwrap(), parts.next().unwrap());
        let file = root.join(format!("tests/it/{folder}/{module}.rs"));
        let code =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Some(test) = parts.next() {
            assert!(code.contains(&format!("async fn {test}()")), "{name}");
        }
    }
}
