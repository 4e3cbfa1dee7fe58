//! Corners of the process model, and of the ways to name a file, in which a tracer could lose a process or a path.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use scrimp::tracer::{Options, Tree};

use crate::tracer::{Run, compile, lines_without, root, trace_with};

static CORNERS: LazyLock<PathBuf> = LazyLock::new(|| compile("corners", &["-static"]));

fn run(name: &str, options: Options) -> Run {
    let root = root();
    fs::hard_link(&*CORNERS, root.path().join("bin/corners")).unwrap();
    let run = trace_with("pivot", root.path(), &["/bin/corners", name], options, &[(Tree::Application, None)]);
    assert_eq!(run.codes, [0], "{name} failed: {:?}", run.recording.warnings);
    run
}

/// Each case with what it is seen to use.
const CORNERS_SEEN: &[(&str, &str)] =
    &[("inherited", "/dir/file open\n"), ("replaced", ""), ("sibling", "/dir/other open\n")];

#[test]
fn nothing_is_lost_in_a_corner() {
    let mut wrong = String::new();
    for (name, expected) in CORNERS_SEEN {
        let found = lines_without(&run(name, Options::default()).recording, "/bin/corners");
        if found != *expected {
            wrong.push_str(&format!("--- {name}, expected:\n{expected}--- found:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
