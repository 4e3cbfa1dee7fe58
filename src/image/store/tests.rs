use super::*;
use crate::base::{Digest, ImagePath};

fn one_file(root: &Path) -> Result<FileTree<Entry>, ImageError> {
    fs::write(root.join("f"), "x").unwrap();
    let kind = crate::image::EntryKind::File { size: 1, digest: Some(Digest::of(b"x")), link_group: None };
    let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, nanos: 0, xattrs: Default::default() };
    Ok([(ImagePath::parse("/f").unwrap(), entry)].into_iter().collect())
}

fn scratch_count(store: &Store) -> usize {
    fs::read_dir(store.dir.join("scratch")).unwrap().count()
}

#[test]
fn a_root_is_made_once_and_stays_while_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.find("aa").unwrap().is_none());
    let made = store.find_or_make("aa", "app:1", "id", one_file).unwrap();
    let found = store.find_or_make("aa", "app:1", "id", |_| panic!("it is there already")).unwrap();
    assert_eq!(made.entries, found.entries);
    assert_eq!(fs::read(found.root.join("f")).unwrap(), b"x");
    assert!(store.roots().unwrap()[0].in_use);
    assert!(!store.remove_root("aa").unwrap());
    drop((made, found));
    let about = store.roots().unwrap()[0].about.clone().unwrap();
    assert_eq!((about.reference.as_str(), about.files, about.bytes), ("app:1", 1, 1));
    assert!(store.remove_root("aa").unwrap());
    assert!(store.find("aa").unwrap().is_none());
    assert_eq!(scratch_count(&store), 0);
}

#[test]
fn a_failed_unpacking_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let result = store.find_or_make("aa", "app:1", "id", |root| {
        one_file(root)?;
        Err(ImageError::Missing { source_name: "it".into(), what: "all".into() })
    });
    assert!(result.is_err());
    assert_eq!((scratch_count(&store), store.roots().unwrap().len()), (0, 0));
}

#[test]
fn damaged_roots_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for damage in ["index", "about.json", "root/f", "lock"] {
        drop(store.find_or_make("aa", "app:1", "id", one_file).unwrap());
        let root = store.dir.join("roots/aa");
        if damage == "root/f" {
            let mut about: About = serde_json::from_slice(&fs::read(root.join("about.json")).unwrap()).unwrap();
            about.boot = "another".into();
            assert!(store.find("aa").unwrap().is_some());
            write_about(&root, &about).unwrap();
        }
        match damage {
            "lock" => fs::remove_file(root.join(damage)).unwrap(),
            _ => fs::write(root.join(damage), "").unwrap(),
        }
        assert!(store.find("aa").unwrap().is_none(), "{damage}");
    }
}

#[test]
fn scratch_of_the_living_survives_a_sweep_and_that_of_the_dead_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let alive = store.scratch_dir().unwrap();
    let dead = store.dir.join("scratch/0-0");
    fs::write(store.dir.join("scratch/0-0.lock"), "").unwrap();
    fs::create_dir_all(dead.join("x/y")).unwrap();
    fs::set_permissions(dead.join("x"), fs::Permissions::from_mode(0o000)).unwrap();
    Store::open(dir.path()).unwrap();
    assert!(alive.path().exists() && !dead.exists());
    let path = alive.path().to_owned();
    drop(alive);
    assert!(!path.exists());
}

#[test]
fn those_who_ask_at_once_get_the_same_root() {
    let dir = tempfile::tempdir().unwrap();
    let made = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(dir.path()).unwrap();
                let opened = store.find_or_make("aa", "app:1", "id", |root| {
                    made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    one_file(root)
                });
                assert_eq!(fs::read(opened.unwrap().root.join("f")).unwrap(), b"x");
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn temporary_files_have_no_name() {
    use std::io::{Read, Seek, Write};
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut file = store.temp_file().unwrap();
    file.write_all(b"x").unwrap();
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), scratch_count(&store)), ("x", 0));
}
