//! Virtual identities beside real ones: the same program in the same tree, once with real owners and once with owners
//! that only the tracer knows, has to see the same.

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

use crate::support::{Env, User};
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
    ("/proc/", 0o555, 0, 0),
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

/// How a program is run.
struct Case<'a> {
    /// Of the supervisor.
    mode: &'a str,
    program: Vec<&'a str>,
}

impl Case<'_> {
    /// Starts a supervisor in `dir`: the tree is `root` there, or that of the host.
    fn supervise(&self, dir: &Path) -> Child {
        let root = if self.mode == "host" { "/".into() } else { dir.join("root") };
        let mut command = Command::new(&*SUPERVISOR);
        command.env("CAPABILITIES", format!("{DOCKER:x}")).env("REPORT", dir.join("report"));
        command.env("WORK", dir.join("work")).env("LC_ALL", "C").arg(self.mode).arg(root).args(&self.program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

fn report(dir: &Path, code: u8) -> String {
    let text = fs::read_to_string(dir.join("report")).unwrap();
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
    fs::create_dir(dir.path().join("work")).unwrap();
    dir
}

/// What the case says with real ids.
fn really(case: &Case) -> String {
    let dir = work();
    tree(&dir.path().join("root"), true);
    let mut supervisor = case.supervise(dir.path());
    supervisor.stdin.as_mut().unwrap().write_all(&0_u32.to_le_bytes()).unwrap();
    let code = start(&mut supervisor);
    drop(supervisor.stdin.take());
    assert!(supervisor.wait().unwrap().success());
    report(dir.path(), code)
}

/// What it says with virtual ones.
#[allow(clippy::zombie_processes, reason = "the tracer reaps the supervisor")]
fn virtually(case: &Case) -> String {
    let dir = work();
    let base = tree(&dir.path().join("root"), false);
    let mut supervisor = case.supervise(dir.path());
    let (sender, _receiver) = channel();
    let options = Options {
        identity: Some(Identity { owners: Arc::new(base), in_place: case.mode == "host" }),
        ..Options::default()
    };
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
    report(dir.path(), code)
}

/// The lines in which two reports differ.
fn difference(real: &str, seen: &str) -> String {
    let (real, seen): (Vec<&str>, Vec<&str>) = (real.lines().collect(), seen.lines().collect());
    let line = |lines: &[&str], n: usize| lines.get(n).copied().unwrap_or("(nothing)").to_string();
    let differ = |&n: &usize| line(&real, n) != line(&seen, n);
    let numbers = (0..real.len().max(seen.len())).filter(differ);
    numbers.map(|n| format!("  {n}: really    {}\n     virtually {}\n", line(&real, n), line(&seen, n))).collect()
}

fn compare(case: &Case) -> String {
    let (real, seen) = (really(case), virtually(case));
    assert!(real.lines().count() > 2, "{:?} says nothing: {real}", case.program);
    if real == seen {
        String::new()
    } else {
        format!("{:?} ({}):\n{}", case.program, case.mode, difference(&real, &seen))
    }
}

fn check(mode: &str, cases: &[&str]) {
    let run = |name: &&str| compare(&Case { mode, program: vec!["/bin/identity", name] });
    let wrong: String = cases.iter().map(run).collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn ids_change_as_they_really_do() {
    check("chroot", &["ids", "saved_ids", "kept_capabilities", "threads", "i386"]);
}

#[test]
fn files_belong_to_whom_they_really_do() {
    check("chroot", &["owners", "changes", "creation", "attributes"]);
}

#[test]
fn files_that_are_copied_up_keep_their_owners() {
    check("overlay", &["owners", "changes", "creation", "attributes"]);
}

#[test]
fn what_users_may_not_they_cannot() {
    check("chroot", &["denied", "real_access", "sockets", "signals"]);
}

#[test]
fn programs_start_as_whom_they_really_do() {
    check("pivot", &["programs"]);
}

#[test]
fn processes_belong_to_whom_they_really_do() {
    check("pivot", &["processes", "signals"]);
}

#[test]
fn tools_that_change_ids_do_what_they_really_do() {
    let mut wrong = String::new();
    for script in [
        "setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'id -u; id -g; id -G; cat /etc/shadow; mkdir x; touch /root/x'",
        "setpriv --reuid=1000 --regid=500 --groups=500,600 sh -c 'id -G; mkdir y; ls -lnd .'",
        "setpriv --dump; setpriv --reuid=1000 --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw setpriv --dump",
        "setpriv --no-new-privs su nobody -s /bin/sh -c id; setpriv --dump",
        "su nobody -s /bin/sh -c 'id; cat /etc/shadow; touch x; kill -0 1; echo $?'; whoami",
        "chroot --userspec=1000:100 --groups=7,8 / id; id",
        "umask 077; install -o 1000 -g 7 -m 4750 /bin/true t; stat -c '%n %a %u %g' t; cp -a t u; stat -c '%n %a %u %g' u
         chown 5:6 u; chmod 640 u; stat -c '%n %a %u %g' u; mv u v; ls -ln v | cut -c 1-20; find . -user 5 -o -uid 1000 | sort",
        // `cp -p` sets permissions as an access control list.
        "echo x > f; chmod 640 f; chown 1000:5 f; mkdir d; chmod 750 d; cp -p f g; cp -a f d; cp -a d e; stat -c '%n %a %u %g' g d/* e e/*
         setpriv --reuid=1000 --clear-groups sh -c 'chmod 666 f; cp -p f d/f; cat g'; setpriv --reuid=7 --regid=5 --clear-groups cat g",
        "cp /bin/true t; setcap cap_net_bind_service+ep t; cp -a t u; getcap t u; cp t v; getcap v; chown 5 t; getcap t
         setpriv --reuid=1000 --clear-groups --bounding-set=-all getcap u",
        "mkdir -p a/b; echo x > a/b/c; chown -R 10:20 a; chmod g+s a; mkdir a/d; tar cf t.tar a; rm -r a; tar xpf t.tar
         find a -printf '%p %m %U %G\n' | sort; tar tvf t.tar --numeric-owner | cut -c 1-20",
        "echo x > f; chmod 600 f; chown 1000 f; setpriv --reuid=1000 --clear-groups sh -c 'cat f; echo y > f; rm -f f; chmod 644 f; ls -ln f | cut -c 1-16'
         setpriv --reuid=1001 --clear-groups sh -c 'cat f; ls -ln f | cut -c 1-16; test -r f || echo no; test -w f || echo no'
         for n in 1 2 3; do rm -f f; done; ls",
        "python3 -c \"
import os, socket, struct
os.setgroups([5, 6]); os.setresgid(7, 8, 9); os.setresuid(10, 11, 12)
print(os.getresuid(), os.getresgid(), os.getgroups(), os.access('/root', os.R_OK))
a, b = socket.socketpair(); print(struct.unpack('3i', a.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:])
try: os.setuid(0)
except OSError as e: print(e)
try: os.listdir('/root')
except OSError as e: print(e)
\"; id -u; id -g; id; id; id",
    ] {
        let script = format!("cd $WORK && exec 2>&9 >&9 && {script}");
        wrong.push_str(&compare(&Case { mode: "host", program: vec!["/bin/sh", "-c", &script] }));
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_server_that_drops_its_rights_is_made_small_where_one_id_exists() {
    let env = Env::as_user(User::Single).sharing_the_store();
    let (small, trace) = (format!("docker-archive:{}", env.path("small.tar")), env.path("trace.jsonl"));
    let source = env.source("nginx-cv");
    let arguments = ["slim", &source, "-o", &small, "--trace", &trace, "--http", "/cv", "--format", "json"];
    let summary = env.scrimp(&arguments).succeeds().json();
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
    let header = fs::read_to_string(&trace).unwrap();
    assert!(header.lines().next().unwrap().contains("\"virtual_identity\""), "{header}");
}

#[test]
fn users_are_told_apart_where_one_id_exists() {
    let env = Env::as_user(User::Single).sharing_the_store();
    let (volume, trace) = (env.path("volume"), env.path("trace.jsonl"));
    fs::create_dir(&volume).unwrap();
    env.give(Path::new(&volume));
    let script = "{ id -u; stat -c '%U %G %a' /etc/shadow /bin/su; cd /tmp; touch mine; chown 5:6 mine; stat -c '%u %g' mine /volume
        setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'id; cat /etc/shadow; touch yours; echo x > mine; rm mine'
        stat -c '%u %g' yours; su nobody -s /bin/sh -c whoami; } > /volume/out 2>&1";
    let volumes = format!("{volume}:/volume");
    let source = env.source("nginx-cv");
    let arguments = ["trace", &source, "-o", &trace, "-v", &volumes, "--entrypoint", "", "--", "/bin/sh", "-c", script];
    env.scrimp(&arguments).succeeds();
    let expected = "0\nroot shadow 640\nroot root 4755\n5 6\n0 0\nuid=1000 gid=1000 groups=1000\n\
        cat: /etc/shadow: Permission denied\nsh: 1: cannot create mine: Permission denied\n\
        rm: cannot remove 'mine': Operation not permitted\n1000 1000\nnobody\n";
    assert_eq!(fs::read_to_string(format!("{volume}/out")).unwrap(), expected);
}
