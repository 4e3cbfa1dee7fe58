//! An application that watches directories sees what it does there itself, and nothing of the tracer.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use scrimp::tracer::{Options, Tree};

use crate::tracer::{compile, link_program, root, trace_with};

static WATCHED: LazyLock<PathBuf> = LazyLock::new(|| compile("watched", &["-static"]));

#[test]
fn nobody_but_the_application_opens_what_it_watches() {
    let root = root();
    link_program(&WATCHED, &root.path().join("bin/watched"));
    let tree = root.path().join("tree");
    for (directory, files) in (0..20).map(|n| (format!("d{n}"), 20)).chain([("many".into(), 2000)]) {
        fs::create_dir_all(tree.join(&directory)).unwrap();
        (0..files).for_each(|n| fs::write(tree.join(&directory).join(format!("f{n}")), "").unwrap());
    }
    let run = trace_with("pivot", root.path(), &["/bin/watched"], Options::default(), &[(Tree::Application, None)]);
    assert_eq!(run.codes, [0]);
    // All 2,400 names, the 21 directories, and the program.
    assert!(run.recording.accesses.len() >= 2422, "{}", run.recording.accesses.len());
}
