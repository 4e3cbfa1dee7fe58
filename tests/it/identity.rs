//! Virtual identities beside real ones: the same program in the same tree, once with real owners and once with owners that
//! only the tracer knows, has to see the same.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};

use scrimp::base::ImagePath;
use scrimp::tracer::{self, Credentials, FileCapabilities, FileIdentity, Identity, Options, VirtualOwners};

use crate::tracer::{SUPERVISOR, compile};

/// What Docker gives a container.
const DOCKER: u64 = 0xa804_25fb;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| compile("identity", &["-static"]));

/// Path, mode, owner, group. A directory ends in a slash, ` -> ` is a link, ` = ` a file with this content, ` < ` the
/// program with this file capability.
const TREE: &[(&str, u32, u32, u32)] = &[
    ("/", 0o755, 0, 0),
    ("/bin/", 0o755, 0, 0),
    ("/bin/identity <", 0o755, 0, 0),
    ("/bin/setuid <", 0o4755, 1234, 1234),
    ("/bin/setgid <", 0o2755, 0, 77),
    ("/bin/root <", 0o4755, 0, 0),
    ("/bin/owners <", 0o6711, 2000, 2001),
    ("/bin/plain <", 0o755, 0, 0),
    ("/bin/capable < 1:2000", 0o755, 0, 0),
    ("/bin/demanding < 1:200000", 0o755, 0, 0),
    ("/bin/script = #!/bin/setuid\n", 0o4755, 0, 0),
    ("/home/", 0o755, 0, 0),
    ("/home/user/", 0o755, 1000, 1000),
    ("/home/user/file = text", 0o640, 1000, 500),
    ("/home/user/plain = text", 0o644, 1000, 1000),
    ("/home/user/own = text", 0o644, 1000, 1000),
    ("/private/", 0o700, 0, 0),
    ("/private/secret = text", 0o600, 0, 0),
    ("/private/link -> secret", 0o777, 0, 0),
    ("/private/program <", 0o755, 0, 0),
    ("/secretlink -> private/secret", 0o777, 0, 0),
    ("/public/", 0o755, 0, 0),
    ("/public/file = text", 0o644, 0, 0),
    ("/public/other = text", 0o644, 0, 0),
    ("/public/hidden = text", 0o600, 0, 0),
    ("/public/group = text", 0o660, 0, 500),
    ("/public/script = #!/bin/identity\n", 0o644, 0, 0),
    ("/public/dir/", 0o755, 0, 0),
    ("/public/link -> file", 0o777, 33, 34),
    ("/listed/", 0o744, 0, 0),
    ("/listed/file = text", 0o644, 0, 0),
    ("/passed/", 0o711, 0, 0),
    ("/passed/file = text", 0o644, 0, 0),
    ("/shared/", 0o2775, 0, 300),
    ("/open/", 0o777, 0, 0),
    ("/open/writable = text", 0o666, 0, 0),
    ("/open/closed = text", 0o600, 0, 0),
    ("/open/dir0/", 0o755, 0, 0),
    ("/tmp/", 0o1777, 0, 0),
    ("/tmp/sticky = text", 0o666, 0, 0),
    ("/tmp/users = text", 0o666, 1000, 1000),
];

struct Base(BTreeMap<ImagePath, FileIdentity>);

impl VirtualOwners for Base {
    fn base(&self, path: &ImagePath) -> Option<FileIdentity> {
        self.0.get(path).copied()
    }
}

fn split(line: &str) -> (&str, Option<(&str, &str)>) {
    let marks = [" -> ", " = ", " <"];
    match marks.iter().find_map(|mark| line.split_once(mark).map(|(path, rest)| (path, (mark.trim(), rest)))) {
        Some((path, rest)) => (path, Some(rest)),
        None => (line, None),
    }
}

/// `security.capability`, version 2, of `EFFECTIVE:PERMITTED`.
fn capability(text: &str) -> Option<Vec<u8>> {
    let (effective, permitted) = text.trim().split_once(':')?;
    let words = [0x0200_0000 | effective.parse::<u32>().unwrap(), u32::from_str_radix(permitted, 16).unwrap(), 0, 0, 0];
    Some(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

/// Makes the tree, with its owners or without, and says what they are.
fn tree(root: &Path, real: bool) -> Base {
    let mut base = BTreeMap::new();
    for (line, mode, uid, gid) in TREE {
        let (path, content) = split(line);
        let image = ImagePath::parse(path).unwrap();
        let at = image.on_host(root);
        let mut identity = FileIdentity::new(*uid, *gid, *mode);
        let owner = real.then_some(*uid).zip(real.then_some(*gid));
        match content {
            None => fs::create_dir_all(&at).unwrap(),
            Some(("->", target)) => symlink(target, &at).unwrap(),
            Some(("=", text)) => fs::write(&at, text).unwrap(),
            Some((_, capabilities)) => {
                // Another process writes it: see `write_script` of the tracer's tests.
                assert!(Command::new("cp").arg(&*PROGRAM).arg(&at).status().unwrap().success());
                if let Some(value) = capability(capabilities) {
                    identity.capabilities = FileCapabilities::parse(&value);
                    if real {
                        set_capability(&at, &value);
                    }
                }
            }
        }
        if let Some((uid, gid)) = owner {
            let before = capability(content.map_or("", |c| c.1));
            lchown(&at, Some(uid), Some(gid)).unwrap();
            if let Some(value) = before {
                set_capability(&at, &value);
            }
        }
        if content.is_none_or(|c| c.0 != "->") {
            let real_mode = if real { *mode } else { mode & 0o777 };
            fs::set_permissions(&at, Permissions::from_mode(real_mode)).unwrap();
        }
        base.insert(image, identity);
    }
    Base(base)
}

fn set_capability(path: &Path, value: &[u8]) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
    let text = format!("import os,sys; os.setxattr(sys.argv[1], 'security.capability', bytes.fromhex('{hex}'))");
    let status = Command::new("python3").args(["-c", &text, path.to_str().unwrap()]).status();
    assert!(status.expect("install python3").success());
}

fn supervise(root: &Path, case: &str) -> Child {
    let mut command = Command::new(&*SUPERVISOR);
    command.env("CAPABILITIES", format!("{DOCKER:x}")).arg("chroot").arg(root).args(["/bin/identity", case]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn report(root: &Path, code: u8) -> String {
    let text = fs::read_to_string(root.join("report")).unwrap_or_default();
    format!("{text}code {code}\n")
}

fn start(supervisor: &mut Child) -> u8 {
    supervisor.stdin.as_mut().unwrap().write_all(b"g").unwrap();
    let mut code = [0];
    supervisor.stdout.as_mut().unwrap().read_exact(&mut code).expect("the supervisor failed");
    code[0]
}

fn work() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    dir
}

/// What the case says with real ids.
fn really(case: &str) -> String {
    let root = work();
    tree(root.path(), true);
    let mut supervisor = supervise(root.path(), case);
    supervisor.stdin.as_mut().unwrap().write_all(&0_u32.to_le_bytes()).unwrap();
    let code = start(&mut supervisor);
    drop(supervisor.stdin.take());
    assert!(supervisor.wait().unwrap().success());
    report(root.path(), code)
}

/// What it says with virtual ones.
#[allow(clippy::zombie_processes, reason = "the tracer reaps the supervisor")]
fn virtually(case: &str) -> String {
    let root = work();
    let base = tree(root.path(), false);
    let mut supervisor = supervise(root.path(), case);
    let (sender, _receiver) = channel();
    let options = Options { identity: Some(Identity { owners: Arc::new(base) }), ..Options::default() };
    let tracer = tracer::start(supervisor.id() as i32, options.clone(), sender).unwrap();
    let filter = tracer::filter(&options);
    let mut bytes = (filter.len() as u32).to_le_bytes().to_vec();
    for i in filter {
        bytes.extend(i.code.to_le_bytes());
        bytes.extend([i.jt, i.jf]);
        bytes.extend(i.k.to_le_bytes());
    }
    supervisor.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
    tracer.next_credentials(Credentials::new(0, 0, Vec::new(), DOCKER));
    let code = start(&mut supervisor);
    drop(supervisor.stdin.take());
    let recording = tracer.join().unwrap();
    assert!(recording.gaps.iter().any(|gap| gap == "virtual_identity"), "{:?}", recording.gaps);
    report(root.path(), code)
}

/// The lines in which two reports differ.
fn difference(real: &str, seen: &str) -> String {
    let (real, seen): (Vec<&str>, Vec<&str>) = (real.lines().collect(), seen.lines().collect());
    let line = |lines: &[&str], n: usize| lines.get(n).copied().unwrap_or("(nothing)").to_string();
    let differ = |&n: &usize| line(&real, n) != line(&seen, n);
    let numbers = (0..real.len().max(seen.len())).filter(differ);
    numbers.map(|n| format!("  {n}: really    {}\n     virtually {}\n", line(&real, n), line(&seen, n))).collect()
}

fn check(cases: &[&str]) {
    let mut wrong = String::new();
    for case in cases {
        let (real, seen) = (really(case), virtually(case));
        assert!(real.lines().count() > 5, "{case} says nothing: {real}");
        if real != seen {
            wrong.push_str(&format!("{case}:\n{}", difference(&real, &seen)));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn ids_change_as_they_really_do() {
    check(&["ids", "saved_ids", "kept_capabilities", "threads", "i386"]);
}

#[test]
fn files_belong_to_whom_they_really_do() {
    check(&["owners", "changes", "creation", "attributes"]);
}

#[test]
fn what_users_may_not_they_cannot() {
    check(&["denied", "real_access", "sockets", "signals"]);
}

#[test]
fn programs_start_as_whom_they_really_do() {
    check(&["programs"]);
}
