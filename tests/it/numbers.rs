//! A descriptor's number that becomes that of another directory, in each way there is: the tracer must not take it for
//! what it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use scrimp::observation::Operation;
use scrimp::tracer::{Options, Tree};
use tempfile::TempDir;

use crate::tracer::{Run, compile, link_program, root, trace_with};

static NUMBERS: LazyLock<PathBuf> = LazyLock::new(|| compile("numbers", &["-static"]));

fn place() -> TempDir {
    let root = root();
    let at = |path: &str| root.path().join(path);
    link_program(&NUMBERS, &at("bin/numbers"));
    for dir in ["a", "b", "c", "churn/x", "r/d0", "r/d1"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for file in ["file", "churn/y"] {
        fs::write(at(file), "").unwrap();
    }
    fs::remove_file(at("link")).unwrap();
    std::os::unix::fs::symlink("b", at("link")).unwrap();
    root
}

fn run(root: &TempDir, arguments: &[&str]) -> Run {
    let argv = [&["/bin/numbers"], arguments].concat();
    let run = trace_with("pivot", root.path(), &argv, Options::default(), &[(Tree::Application, None)]);
    assert_eq!(run.codes, [0], "{arguments:?} failed: {:?}", run.recording.warnings);
    run
}

/// The paths that were asked for, which all are absent.
fn asked(run: &Run) -> BTreeSet<String> {
    let accesses = run.recording.accesses.iter();
    accesses
        .filter(|(_, folded)| folded.operations.contains(&Operation::Access))
        .map(|(path, _)| path.to_string())
        .collect()
}

/// Each way, and where its names were asked for.
const CASES: &[(&str, &str)] = &[
    ("reopened", "/a/1 /b/2"),
    ("without_o_directory", "/a/1 /b/2"),
    ("through_a_link", "/a/1 /b/2"),
    ("through_a_magic_link", "/a/1 /b/2"),
    ("below_one_without_a_name", "/a/1 /b/2"),
    ("openat2ed", "/a/1 /b/2"),
    ("open_treed", "/a/1 /b/2"),
    ("dup2ed", "/a/1 /b/2"),
    ("dup3ed", "/a/1 /b/2"),
    ("duped", "/a/1 /b/2"),
    ("fcntled", "/a/1 /b/2"),
    ("fcntled_cloexec", "/a/1 /b/2"),
    ("standard_stream", "/a/1 /b/2"),
    ("int80_dup2", "/a/1 /b/2"),
    ("int80_fcntl", "/a/1 /b/2"),
    ("int80_fcntl64", "/a/1 /b/2"),
    ("by_socketpair", "/a/1 /b/2"),
    ("by_inherited_socketpair", "/a/1 /b/2"),
    ("by_accepting", "/a/1 /b/2"),
    ("by_connecting", "/a/1 /b/2"),
    ("connected_by_another", "/a/1 /b/2"),
    ("by_a_name_of_its_own", "/a/1 /b/2"),
    ("taken_from_another", "/a/1 /b/2"),
    ("put_by_a_listener", "/a/1 /b/2"),
    ("by_a_thread", "/a/1 /b/2"),
    ("by_a_process_that_shares", "/a/1 /b/2"),
    ("by_one_of_clone3", "/a/1 /b/2"),
    ("by_one_of_int80", "/a/1 /b/2"),
    ("not_by_a_child", "/a/1 /a/2 /a/3 /b/4"),
    ("not_by_a_vforked_child", "/a/1 /a/2 /b/4"),
    ("unshared", "/a/1 /a/2 /b/4"),
    ("unshared_by_close_range", "/a/1 /a/2 /b/4"),
    ("not_unshared", "/a/1 /b/2"),
    ("executed", "/a/1 /a/2 /c/4"),
    ("executed_with_cloexec", "/a/1 /c/2"),
    ("executed_by_one_that_shares", "/a/1 /a/2 /a/3 /c/4"),
    ("executed_with_socket", "/a/1 /b/2"),
    ("renamed", "/a/1 /y/3 /z/2"),
    ("renamed_above", "/c/d/1 /z/d/2"),
    ("removed", "/z/1 /z/2 /z/3"),
];

#[test]
fn a_number_is_never_taken_for_what_it_was() {
    let mut wrong = String::new();
    for (name, expected) in CASES {
        let found = asked(&run(&place(), &[name])).into_iter().collect::<Vec<_>>().join(" ");
        if found != *expected {
            wrong.push_str(&format!("--- {name}, expected: {expected}, found: {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_number_that_became_that_of_a_file_is_that_of_the_file() {
    let run = run(&place(), &["of_a_file"]);
    let operations = |path| {
        let folded = run.recording.accesses.get(&scrimp::base::ImagePath::parse(path).unwrap()).unwrap();
        folded.operations.iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(operations("/file"), [Operation::Open, Operation::Stat, Operation::Utime]);
    assert_eq!(operations("/a"), [Operation::Open]);
}

/// The program says by its own `fstat` in which directory it asks.
#[test]
fn what_is_done_at_random_is_seen_as_it_was() {
    for seed in ["1", "2"] {
        let root = place();
        let found = asked(&run(&root, &["random", seed]));
        // The two names of this one are exchanged meanwhile.
        let found: BTreeSet<String> = found.into_iter().map(|path| path.replace("/churn/y/", "/churn/x/")).collect();
        let expected = fs::read_to_string(root.path().join("report")).unwrap();
        let expected: BTreeSet<String> = expected.lines().map(str::to_string).collect();
        assert!(expected.len() > 3000, "{}", expected.len());
        let differs: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(differs.is_empty(), "seed {seed}: {} of {}: {differs:?}", differs.len(), expected.len());
    }
}
