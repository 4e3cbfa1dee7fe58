//! What is known of names before they are asked for, and when it is not believed.

use super::*;
use crate::tracer::names::ahead::MOST_CREDIT;

/// A tree with a directory `d` of `files` files, a directory and a link, and its names.
fn tree(files: u32) -> (tempfile::TempDir, Names, Name) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("d");
    fs::create_dir_all(dir.join("sub")).unwrap();
    std::os::unix::fs::symlink("sub", dir.join("link")).unwrap();
    (0..files).for_each(|n| fs::write(dir.join(format!("f{n}")), "").unwrap());
    let mut names = Names::new(fs::File::open(root.path()).unwrap().into()).unwrap();
    // With one CPU nothing is looked at ahead.
    names.credit = FIRST_CREDIT;
    let directory = names.child(names.root(), b"d");
    assert_eq!(names.look(directory).unwrap(), (Seen::Dir, true));
    (root, names, directory)
}

/// The application opens the directory and asks for the first name.
fn begin(names: &mut Names, directory: Name) {
    names.opened(directory);
    let first = names.child(directory, b"f0");
    names.look(first).unwrap();
}

/// Waits until everything that is under way has been told.
fn hear_all(names: &mut Names) {
    names.scout.as_ref().unwrap().rest();
    names.hear();
}

#[test]
fn what_is_in_an_opened_directory_is_known_before_it_is_asked_for() {
    let (root, mut names, directory) = tree(40);
    begin(&mut names, directory);
    hear_all(&mut names);
    // So it cannot be looked at any more.
    fs::remove_dir_all(root.path().join("d")).unwrap();
    for (name, seen) in
        [("f0", Seen::Other), ("f39", Seen::Other), ("sub", Seen::Dir), ("link", Seen::Link(b"sub"[..].into()))]
    {
        let name = names.child(directory, name.as_bytes());
        assert_eq!(names.look(name).unwrap(), (seen, true));
    }
    let other = names.child(directory, b"f40");
    assert_eq!(names.look(other).unwrap(), (Seen::Absent, true));
}

#[test]
fn what_was_looked_at_before_a_change_is_not_believed() {
    for change in ["a name", "mounts"] {
        let (root, mut names, directory) = tree(3);
        let name = names.child(directory, b"f1");
        begin(&mut names, directory);
        names.scout.as_ref().unwrap().rest();
        match change {
            "mounts" => names.disturb(),
            _ => drop(names.unsettle(name)),
        }
        fs::remove_file(root.path().join("d/f1")).unwrap();
        names.hear();
        match change {
            "mounts" => names.calm(),
            _ => names.settle(name),
        }
        assert_eq!(names.look(name).unwrap(), (Seen::Absent, true), "{change}");
    }
}

#[test]
fn nothing_is_looked_at_ahead_while_something_changes() {
    let (_root, mut names, directory) = tree(3);
    let name = names.child(directory, b"f1");
    names.unsettle(name);
    begin(&mut names, directory);
    assert!(names.scout.is_none());
    names.settle(name);
}

#[test]
fn looking_ahead_ends_when_nobody_asks_and_begins_again_when_somebody_does() {
    let (_root, mut names, directory) = tree(FIRST_CREDIT as u32 + 40);
    begin(&mut names, directory);
    hear_all(&mut names);
    assert_eq!(names.credit, 0);
    let all: Vec<Name> = (0..300).map(|n| names.child(directory, format!("f{n}").as_bytes())).collect();
    for name in all {
        names.look(name).unwrap();
    }
    assert!(names.credit > FIRST_CREDIT);
}

/// Has all names below `d` looked at ahead, as far as it goes.
fn walk(names: &mut Names, directory: Name) {
    names.credit = MOST_CREDIT;
    begin(names, directory);
    hear_all(names);
}

#[test]
fn who_walks_a_tree_finds_the_directories_below_looked_into() {
    let (root, mut names, directory) = tree(3);
    fs::create_dir_all(root.path().join("d/sub/deeper/still")).unwrap();
    fs::write(root.path().join("d/sub/deeper/file"), "").unwrap();
    walk(&mut names, directory);
    fs::remove_dir_all(root.path().join("d")).unwrap();
    for (path, seen) in [
        (&b"/d/sub/deeper"[..], Seen::Dir),
        (b"/d/sub/deeper/file", Seen::Other),
        (b"/d/sub/deeper/still", Seen::Dir),
        (b"/d/sub/deeper/absent", Seen::Absent),
    ] {
        let name = names.at(path);
        assert_eq!(names.look(name).unwrap(), (seen, true), "{}", String::from_utf8_lossy(path));
    }
}

#[test]
fn a_tree_is_not_walked_before_somebody_does() {
    let (root, mut names, directory) = tree(3);
    fs::write(root.path().join("d/sub/file"), "").unwrap();
    begin(&mut names, directory);
    hear_all(&mut names);
    fs::remove_file(root.path().join("d/sub/file")).unwrap();
    let name = names.at(b"/d/sub/file");
    assert_eq!(names.look(name).unwrap().0, Seen::Absent);
}

#[test]
fn what_was_found_on_a_walk_is_not_believed_after_a_change() {
    let (root, mut names, directory) = tree(3);
    fs::write(root.path().join("d/sub/file"), "").unwrap();
    walk(&mut names, directory);
    let sub = names.at(b"/d/sub");
    names.unsettle(sub);
    fs::remove_file(root.path().join("d/sub/file")).unwrap();
    names.settle(sub);
    let name = names.at(b"/d/sub/file");
    assert_eq!(names.look(name).unwrap(), (Seen::Absent, true));
}

#[test]
fn a_walk_stays_in_its_file_system() {
    // The devices below `/dev` are file systems of their own.
    let mut names = Names::new(fs::File::open("/").unwrap().into()).unwrap();
    names.credit = FIRST_CREDIT;
    let directory = names.at(b"/dev");
    assert_eq!(names.look(directory).unwrap(), (Seen::Dir, true));
    names.credit = MOST_CREDIT;
    names.opened(directory);
    let null = names.child(directory, b"null");
    names.look(null).unwrap();
    hear_all(&mut names);
    let pts = names.at(b"/dev/pts");
    assert!(names.node(pts).unwrap().descriptor.is_none());
    assert_eq!(names.node(pts).unwrap().children.len(), 0);
}

#[test]
fn who_watches_directories_is_alone_there() {
    let (_root, mut names, directory) = tree(3);
    names.keep_still();
    begin(&mut names, directory);
    assert!(names.scout.is_none());
}
