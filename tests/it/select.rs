//! From requirements and rules to a manifest and a lock file.

use std::collections::BTreeSet;
use std::sync::Arc;

use scrimp::base::Digest;
use scrimp::closure::Reason;
use scrimp::image::{EntryKind, OwnersAsSeen, Rootfs};
use scrimp::observation::{Fingerprint, Found, Observation, Operation, PathRecord};
use scrimp::select::{Lock, LockError, Manifest, Rules, SelectError, Totals, measure, select};

use crate::trees::{Base, entry, opened, path, quiet};

fn base() -> Base {
    Base::new()
        .link("/bin", "usr/bin")
        .dir("/usr", 0o755)
        .dir("/usr/bin", 0o751)
        .file("/usr/bin/app", 0o755, b"app")
        .file("/usr/bin/app2", 0o755, b"app")
        .hardlinked(7, &["/usr/bin/app", "/usr/bin/app2"])
        .dir("/etc", 0o755)
        .dir("/etc/ssl", 0o700)
        .file("/etc/ssl/one.pem", 0o644, b"1")
        .link("/etc/ssl/two.pem", "/usr/share/two.pem")
        .dir("/usr/share", 0o755)
        .file("/usr/share/two.pem", 0o644, b"22")
        .file("/usr/share/three.pem", 0o644, b"333")
        .put("/etc/socket", entry(EntryKind::Socket, 0o755))
}

fn as_text(manifest: &Manifest) -> Vec<String> {
    let reasons = |reasons: &BTreeSet<Reason>| reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(",");
    manifest.entries.iter().map(|(path, chosen)| format!("{path} {}", reasons(&chosen.reasons))).collect()
}

fn keep(patterns: &[&str]) -> Rules {
    Rules { keep: patterns.iter().map(|p| p.parse().unwrap()).collect(), ..Rules::default() }
}

fn drop_rules(patterns: &[&str]) -> Rules {
    Rules { drop: patterns.iter().map(|p| p.parse().unwrap()).collect(), ..Rules::default() }
}

#[test]
fn parents_and_links_come_along_and_sockets_never() {
    let manifest = select(
        &base().rootfs(),
        &opened(&["/bin/app", "/etc/socket", "/etc/ssl/one.pem"]),
        &Rules::default(),
        &quiet(),
    );
    assert_eq!(
        as_text(&manifest.unwrap()),
        [
            "/ parent",
            "/bin open",
            "/etc parent",
            "/etc/ssl parent",
            "/etc/ssl/one.pem open",
            "/usr parent",
            "/usr/bin parent",
            "/usr/bin/app open"
        ]
    );
}

#[test]
fn keep_takes_globs_directories_and_what_links_lead_to() {
    for (pattern, expected) in [
        ("/etc/ssl/one.*", "/etc/ssl/one.pem keep"),
        (
            "/etc/ssl",
            "/etc/ssl keep|/etc/ssl/one.pem keep|/etc/ssl/two.pem keep|/usr parent|/usr/share parent|/usr/share/two.pem link:/etc/ssl/two.pem",
        ),
        (
            "/etc/ssl/",
            "/etc/ssl keep|/etc/ssl/one.pem keep|/etc/ssl/two.pem keep|/usr parent|/usr/share parent|/usr/share/two.pem link:/etc/ssl/two.pem",
        ),
        ("/bin/app*", "/bin keep|/usr parent|/usr/bin link:/bin|/usr/bin/app keep|/usr/bin/app2 keep"),
        (
            "t{wo,hree}.pem",
            "/etc/ssl/two.pem keep|/usr parent|/usr/share parent|/usr/share/three.pem keep|/usr/share/two.pem link:/etc/ssl/two.pem,keep",
        ),
        ("/bin", "/bin keep|/usr parent|/usr/bin link:/bin,keep|/usr/bin/app keep|/usr/bin/app2 keep"),
    ] {
        let manifest = select(&base().rootfs(), &opened(&[]), &keep(&[pattern]), &quiet()).unwrap();
        let text = as_text(&manifest);
        let parents = ["/ parent", "/etc parent", "/etc/ssl parent"];
        let shown: Vec<&str> = text.iter().map(String::as_str).filter(|line| !parents.contains(line)).collect();
        assert_eq!(shown.join("|"), expected, "{pattern}");
        assert!(manifest.warnings.is_empty(), "{pattern}");
    }
}

#[test]
fn a_keep_without_a_match_is_said() {
    let manifest = select(&base().rootfs(), &opened(&[]), &keep(&["/nowhere/*"]), &quiet()).unwrap();
    assert_eq!(manifest.warnings, ["--keep /nowhere/*: the base has nothing that matches"]);
}

#[test]
fn a_drop_removes_what_was_not_used_and_is_refused_otherwise() {
    let rootfs = base().rootfs();
    let mut rules = drop_rules(&["/etc/ssl"]);
    rules.keep = keep(&["/etc/ssl", "/usr/share"]).keep;
    let manifest = select(&rootfs, &opened(&["/bin/app"]), &rules, &quiet()).unwrap();
    assert!(!manifest.entries.contains(&path("/etc/ssl/one.pem")) && !manifest.entries.contains(&path("/etc/ssl")));

    let rules = drop_rules(&["/bin/a*", "/usr/share/**"]);
    let error = select(&rootfs, &opened(&["/bin/app", "/usr/share/two.pem"]), &rules, &quiet()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rules drop 2 paths that the application used:\n  /usr/bin/app\n  /usr/share/two.pem\n\
         hint: narrow the pattern, or pass --force-drop to leave them out all the same"
    );
    let rules = Rules { force_drop: true, ..rules };
    let manifest = select(&rootfs, &opened(&["/bin/app", "/usr/share/two.pem"]), &rules, &quiet()).unwrap();
    assert!(!manifest.entries.contains(&path("/usr/bin/app")));
}

#[test]
fn a_required_path_that_the_base_lacks_is_an_error() {
    let error = select(&base().rootfs(), &opened(&["/gone"]), &Rules::default(), &quiet()).unwrap_err();
    assert!(matches!(error, SelectError::Missing { ref paths } if *paths == [path("/gone")]), "{error}");
}

#[test]
fn repair_adds_the_whole_way() {
    let rootfs = base().rootfs();
    let mut manifest = select(&rootfs, &opened(&["/etc"]), &Rules::default(), &quiet()).unwrap();
    assert!(manifest.add(&rootfs, &path("/etc/ssl/two.pem"), Reason::Repair(Operation::Open, None)).unwrap());
    assert!(!manifest.add(&rootfs, &path("/etc/none"), Reason::Repair(Operation::Open, None)).unwrap());
    assert_eq!(
        as_text(&manifest),
        [
            "/ parent",
            "/etc open",
            "/etc/ssl parent",
            "/etc/ssl/two.pem repair:open",
            "/usr parent",
            "/usr/share parent",
            "/usr/share/two.pem link:/etc/ssl/two.pem"
        ]
    );
}

#[test]
fn totals_count_hardlinks_once() {
    let base = base();
    assert_eq!(measure(&base.rootfs()).unwrap(), Totals { bytes: 3 + 1 + 2 + 3, files: 4 });
    let manifest = select(&base.rootfs(), &opened(&["/usr/bin/app", "/usr/bin/app2"]), &Rules::default(), &quiet());
    assert_eq!(manifest.unwrap().totals(), Totals { bytes: 3, files: 1 });
}

#[test]
fn attributes_of_the_machine_stay_behind() {
    let base = Base::new().file("/f", 0o755, b"").with("/f", |entry| {
        for name in
            ["security.selinux", "system.nfs4_acl", "trusted.overlay.opaque", "user.overlay.origin", "user.mine"]
        {
            entry.xattrs.insert(name.into(), b"x".to_vec());
        }
        entry.xattrs.insert("security.capability".into(), vec![9; 20]);
    });
    let manifest = select(&base.rootfs(), &opened(&["/f"]), &Rules::default(), &quiet()).unwrap();
    let xattrs = &manifest.entries.get(&path("/f")).unwrap().entry.xattrs;
    assert_eq!(xattrs.keys().collect::<Vec<_>>(), ["security.capability", "user.mine"]);
    assert_eq!(xattrs["security.capability"], [9; 20]);
}

/// A directory looked up as needed, and an observation of all its regular files as they are now.
fn lazy(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Rootfs, Observation) {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let mut observation = quiet();
    for (text, content) in files {
        let on_host = path(text).on_host(dir.path());
        std::fs::create_dir_all(on_host.parent().unwrap()).unwrap();
        std::fs::write(&on_host, content).unwrap();
        let mtime = on_host.metadata().unwrap().mtime();
        let fingerprint = Fingerprint { size: content.len() as u64, mtime, sha256: Digest::of(content) };
        let record = PathRecord {
            found: Found::File { fingerprint: Some(fingerprint) },
            operations: BTreeSet::from([Operation::Open]),
            executables: BTreeSet::new(),
            first_probe: None,
            probe_tool: false,
            resolved: true,
            count: 1,
            listed: BTreeSet::new(),
        };
        observation.paths.insert(path(text), record);
    }
    let rootfs = Rootfs::lazy(dir.path(), Arc::new(OwnersAsSeen)).unwrap();
    (dir, rootfs, observation)
}

#[test]
fn a_lazy_base_is_digested_and_walked() {
    let (dir, rootfs, observation) = lazy(&[("/a/x", b"x"), ("/a/y", b"yy"), ("/proc/z", b"z")]);
    std::fs::hard_link(dir.path().join("a/x"), dir.path().join("a/x2")).unwrap();
    let manifest = select(&rootfs, &opened(&["/a/x", "/a/x2"]), &keep(&["/**/y", "**/z"]), &observation).unwrap();
    let digest = |text: &str| match manifest.entries.get(&path(text)).unwrap().entry.kind {
        EntryKind::File { digest, .. } => digest,
        _ => None,
    };
    assert_eq!(digest("/a/x"), Some(Digest::of(b"x")));
    assert_eq!(digest("/a/x2"), Some(Digest::of(b"x")));
    assert_eq!(digest("/a/y"), Some(Digest::of(b"yy")));
    assert!(!manifest.entries.contains(&path("/proc/z")), "a walk stays out of /proc");
    assert_eq!(manifest.hardlinks().into_iter().collect::<Vec<_>>(), [(path("/a/x2"), path("/a/x"))]);
    assert_eq!(measure(&rootfs).unwrap(), Totals { bytes: 3, files: 2 });
}

#[test]
fn a_lazy_base_that_changed_since_the_trace_is_refused() {
    let (dir, rootfs, observation) = lazy(&[("/a", b"old"), ("/b", b"old"), ("/same", b"s")]);
    std::fs::write(dir.path().join("a"), b"newer").unwrap();
    let times = std::fs::File::open(dir.path().join("b")).unwrap();
    std::fs::write(dir.path().join("b"), b"new").unwrap();
    let mtime = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5);
    times.set_modified(mtime).unwrap();
    let error = select(&rootfs, &opened(&["/a", "/b", "/same"]), &Rules::default(), &observation).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 paths changed since the trace was made:\n  /a: its size was 3 and is 5\n  /b: its content is another\n\
         hint: run `scrimp trace` again"
    );
}

#[test]
fn lock_files_are_lines_of_json_and_round_trip() {
    let base = base()
        .put("/dev/null", entry(EntryKind::CharDevice { major: 1, minor: 3 }, 0o666))
        .file("/odd\\xff", 0o4755, b"")
        .with("/odd\\xff", |entry| drop(entry.xattrs.insert("user.a".into(), vec![0, 255])));
    let all = ["/bin", "/dev/null", "/etc/ssl/two.pem", "/odd\\xff", "/usr/bin/app", "/usr/bin/app2"];
    let manifest = select(&base.rootfs(), &opened(&all), &Rules::default(), &quiet()).unwrap();
    let lock = Lock::of(&manifest);
    let mut text = Vec::new();
    lock.write(&mut text).unwrap();
    let digest = Digest::of(b"app");
    let empty = Digest::of(b"");
    let source = Digest::of(b"config");
    let expected = format!(
        r#"{{"schema_version":1,"tool":"scrimp 0.1.0","source":"docker-archive:app.tar","source_digest":"{source}","command":["/bin/app"],"bytes":3,"files":2}}
{{"path":"/","kind":"dir","mode":"0755","uid":0,"gid":0,"reasons":["parent"]}}
{{"path":"/bin","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"usr/bin","reasons":["open"]}}
{{"path":"/dev","kind":"dir","mode":"0755","uid":0,"gid":0,"reasons":["parent"]}}
{{"path":"/dev/null","kind":"char-device","mode":"0666","uid":0,"gid":0,"target":"1:3","reasons":["open"]}}
{{"path":"/etc","kind":"dir","mode":"0755","uid":0,"gid":0,"reasons":["parent"]}}
{{"path":"/etc/ssl","kind":"dir","mode":"0700","uid":0,"gid":0,"reasons":["parent"]}}
{{"path":"/etc/ssl/two.pem","kind":"symlink","mode":"0777","uid":0,"gid":0,"target":"/usr/share/two.pem","reasons":["open"]}}
{{"path":"/odd\\xff","kind":"file","mode":"4755","uid":0,"gid":0,"size":0,"sha256":"{empty}","xattrs":{{"user.a":"00ff"}},"reasons":["open"]}}
{{"path":"/usr","kind":"dir","mode":"0755","uid":0,"gid":0,"reasons":["parent"]}}
{{"path":"/usr/bin","kind":"dir","mode":"0751","uid":0,"gid":0,"reasons":["parent"]}}
{{"path":"/usr/bin/app","kind":"file","mode":"0755","uid":0,"gid":0,"size":3,"sha256":"{digest}","reasons":["open"]}}
{{"path":"/usr/bin/app2","kind":"hardlink","mode":"0755","uid":0,"gid":0,"size":3,"sha256":"{digest}","target":"/usr/bin/app","reasons":["open"]}}
"#
    );
    assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
    assert_eq!(Lock::read(&text[..]).unwrap(), lock);
}

#[test]
fn bad_lock_files_are_refused_by_line() {
    let header =
        r#"{"schema_version":1,"tool":"t","source":"s","source_digest":null,"command":[],"bytes":0,"files":0}"#;
    let dir = r#"{"path":"/","kind":"dir","mode":"0755","uid":0,"gid":0,"reasons":["parent"]}"#;
    assert_eq!(Lock::read(format!("{header}\n\n{dir}\n").as_bytes()).unwrap().entries.len(), 1);
    assert!(matches!(Lock::read(&b""[..]), Err(LockError::Empty)));
    assert!(matches!(Lock::read(header.replace(":1,", ":2,").as_bytes()), Err(LockError::Schema(2))));
    for (bad, expected) in [
        ("{", "EOF"),
        ("{}", "no path"),
        (&format!("{dir}\n{dir}"), "twice"),
        (&dir.replace("0755", "rwx"), "not a mode"),
        (&dir.replace("parent", "whim"), "not a reason"),
        (&dir.replace("\"gid\"", "\"guid\""), "guid"),
    ] {
        let error = Lock::read(format!("{header}\n{bad}\n").as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line ") && error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn globs_that_are_none_are_refused() {
    let error = "/a[".parse::<scrimp::select::Pattern>().unwrap_err().to_string();
    assert!(error.starts_with("\"/a[\" is not a glob"), "{error}");
    assert_eq!("x/*".parse::<scrimp::select::Pattern>().unwrap().to_string(), "x/*");
}
