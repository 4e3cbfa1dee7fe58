//! What an application cannot do: programs that try to do harm from inside run in the real sandbox, and the machine
//! looks afterwards whether anything has reached it.
//!
//! The programs are in `fixtures/containment`; each tells what came of its attempts. What can be seen from here is not
//! left to them: the listener saw nobody, the key and the host name are as before, the unpacked base too, the processes
//! outside live, and none of those inside do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::LazyLock;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Env, Run, User, busybox_with};

/// The rungs of the ladder that promise anything, as `--sandbox` names them.
const RUNGS: [&str; 3] = ["a", "b", "c"];

/// Attempts that succeed on rung c, as `docs/sandbox.md` says: the caller's `/proc` and `/sys` are in sight there, and
/// with them its processes. Signals reach the supervisor alone, which ends the run.
const IN_SIGHT: [&str; 10] = [
    "interfaces in /sys: ",
    "namespace pid: ",
    "processes in /proc: ",
    "parent: ",
    "kill everybody: ",
    "kill of every number: HARM (reaches 1)",
    ": pidfd_open: ",
    ": getpgid: ",
    "/fd: HARM (opened)",
    "/status: HARM (opened)",
];

/// The programs that end by themselves.
const PROGRAMS: [&str; 9] =
    ["base", "descriptors", "devices", "kernel", "mounts", "network", "outlive", "processes", "root"];

/// Those of them that have nothing to say where the machine itself is what runs: its files are all in sight there.
const NOT_ON_HOST: [&str; 2] = ["base", "root"];

/// Of the file that must not be found.
const SECRET: &str = "a file of the machine";

/// All programs, compiled once per run of the tests: name and content.
static COMPILED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containment");
    let out = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let names = PROGRAMS.iter().copied().chain(["binary", "caller"]);
    names
        .map(|name| {
            let (source, program) = (sources.join(name).with_extension("c"), out.path().join(name));
            let mut cc = Command::new("cc");
            cc.args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(source);
            let status = cc.status().expect("cc is missing\nhint: scripts/test installs it");
            assert!(status.success(), "{name}.c does not compile");
            (name.to_owned(), fs::read(program).unwrap())
        })
        .collect()
});

/// A machine to attack: an image with the programs, and what they are after.
struct Target {
    who: &'static str,
    env: Env,
    image: String,
    caller: PathBuf,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: [UnixListener; 2],
    /// Held open, or nobody could write to it.
    _fifo: File,
    stranger: Child,
}

impl Target {
    fn new(who: &'static str, env: Env) -> Self {
        let programs: Vec<(String, &Vec<u8>)> =
            COMPILED.iter().map(|(name, content)| (format!("/containment/{name}"), content)).collect();
        let files: Vec<(&str, &[u8])> = programs.iter().map(|(path, content)| (&path[..], &content[..])).collect();
        let image = busybox_with(&env, "harm", &json!({"Env": ["PATH=/bin"]}), &files);
        let caller = PathBuf::from(env.path("caller"));
        fs::write(&caller, &COMPILED["caller"]).unwrap();
        fs::set_permissions(&caller, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(env.path("hidden"), SECRET).unwrap();
        for directory in ["out", "shown"] {
            fs::create_dir(env.path(directory)).unwrap();
            env.give(Path::new(&env.path(directory)));
        }
        fs::write(env.path("shown/secret"), "shown to the application\n").unwrap();
        for file in ["hidden", "shown/secret"] {
            env.give(Path::new(&env.path(file)));
        }
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let udp = UdpSocket::bind(("::", tcp.local_addr().unwrap().port())).unwrap();
        let abstract_name = SocketAddr::from_abstract_name(Self::abstract_name(&env)).unwrap();
        let unix = [UnixListener::bind_addr(&abstract_name).unwrap(), UnixListener::bind(env.path("socket")).unwrap()];
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        for listener in &unix {
            listener.set_nonblocking(true).unwrap();
        }
        nix::unistd::mkfifo(Path::new(&env.path("fifo")), Mode::S_IRWXU).unwrap();
        for file in ["fifo", "socket"] {
            env.give(Path::new(&env.path(file)));
        }
        let fifo = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(env.path("fifo")).unwrap();
        // Of the same user, so that nothing but the sandbox is between them.
        let stranger = env.command("sleep", &["1000"]).spawn().unwrap();
        Self { who, env, image, caller, tcp, udp, unix, _fifo: fifo, stranger }
    }

    fn abstract_name(env: &Env) -> String {
        env.dir().file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    /// What the programs are told, `NAME=VALUE`; `@PID@` and `@KEY@` are filled in by the caller.
    fn facts(&self) -> Vec<String> {
        let namespaces: String = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"]
            .map(|kind| format!("{} ", fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display()))
            .concat();
        let interfaces = nix::ifaddrs::getifaddrs().unwrap().filter_map(|interface| interface.address);
        let addresses: Vec<String> = interfaces
            .filter_map(|address| {
                let v4 = address.as_sockaddr_in().map(|v4| v4.ip().to_string());
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().to_string()))
            })
            .collect();
        vec![
            format!("SECRET={SECRET}"),
            format!("SECRET_FILE={}", self.env.path("hidden")),
            format!("NAMESPACES={namespaces}"),
            format!("ADDRESSES={}", addresses.join(" ")),
            format!("PORT={}", self.port()),
            format!("ABSTRACT={}", Self::abstract_name(&self.env)),
            format!("HOST_NAME={}", host_name()),
            format!("STRANGER_PID={}", self.stranger.id()),
            format!("SOCKET_FILE={}", self.env.path("socket")),
            format!("FIFO={}", self.env.path("fifo")),
            "SCRIMP_PID=@PID@".to_owned(),
            "CALLERS_KEY=@KEY@".to_owned(),
        ]
    }

    /// Runs a program under `scrimp trace`, and returns what it reports.
    fn attack(&self, rung: &str, program: &str, options: &[&str]) -> (Run, String) {
        self.attack_in(&self.image, &format!("/containment/{program}"), rung, program, options)
    }

    /// The same with the machine itself as what runs.
    fn attack_on_host(&self, rung: &str, program: &str) -> (Run, String) {
        let file = self.env.path(program);
        fs::write(&file, &COMPILED[program]).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        self.attack_in("host", &file, rung, program, &[])
    }

    fn attack_in(&self, source: &str, inside: &str, rung: &str, program: &str, options: &[&str]) -> (Run, String) {
        let report = self.env.path(&format!("out/{program}"));
        let facts = self.facts();
        let (out, shown) =
            (format!("{}:/out", self.env.path("out")), format!("{}:/read-only:ro", self.env.path("shown")));
        let reported = format!("/out/{program}");
        let hidden = self.env.path("hidden");
        let binary = self.env.scrimp_command(&[]);
        let mut arguments = vec![hidden.as_str(), binary.get_program().to_str().unwrap(), "trace", source];
        arguments.extend(["-o", "harm.trace", "--timeout", "120s", "-v", &out, "-v", &shown]);
        arguments.extend(facts.iter().flat_map(|fact| ["-e", fact]));
        arguments.extend(["--sandbox", rung]);
        arguments.extend(options);
        arguments.extend(["--", inside, &reported]);
        let run = self.env.run(&self.caller, &arguments);
        let text = fs::read_to_string(&report).unwrap_or_else(|cause| panic!("no report of {program}: {cause}\n{run}"));
        fs::remove_file(report).unwrap();
        (run, text)
    }

    /// Nothing has come out.
    #[track_caller]
    fn assert_unharmed(&mut self) {
        let nobody = |result: std::io::Result<String>, who: &str| match result {
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
            other => panic!("the listener at {who} was reached: {other:?}"),
        };
        nobody(self.tcp.accept().map(|(_, from)| from.to_string()), "tcp");
        nobody(self.udp.recv_from(&mut [0; 8]).map(|(_, from)| from.to_string()), "udp");
        for listener in &self.unix {
            nobody(listener.accept().map(|(_, from)| format!("{from:?}")), "a unix socket");
        }
        assert_eq!(self.stranger.try_wait().unwrap(), None, "a process outside has ended");
    }

    /// The unpacked base: kind, mode, owner, size, time and place of everything in it.
    fn base(&self) -> String {
        let roots = PathBuf::from(self.env.path("store/v2/roots"));
        let mut lines = Vec::new();
        let mut left = vec![roots];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let is = fs::symlink_metadata(&path).unwrap();
                let mut line = format!("{} {:o} {}:{}", path.display(), is.mode(), is.uid(), is.gid());
                if is.is_dir() {
                    left.push(path.clone());
                } else {
                    write!(line, " {} {}.{} {}", is.size(), is.mtime(), is.mtime_nsec(), is.nlink()).unwrap();
                }
                if is.is_file() {
                    let content = fs::read(&path).unwrap();
                    write!(line, " {:?}", Sha256::digest(&content)).unwrap();
                }
                lines.push(line);
            }
        }
        lines.sort();
        assert!(lines.iter().any(|line| line.contains("/containment/base ")), "{lines:?}");
        lines.join("\n")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // That it has ended already is a failure, and the test has said so.
        if self.stranger.kill().is_ok() {
            self.stranger.wait().unwrap();
        }
    }
}

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// The nodes of devices that the sandbox binds, and when they were changed last.
fn devices() -> Vec<String> {
    let about = |name| {
        let is = fs::metadata(Path::new("/dev").join(name)).unwrap();
        format!("{name} {:o} {}:{} {}.{}", is.mode(), is.uid(), is.gid(), is.ctime(), is.ctime_nsec())
    };
    // Writing to others changes their times.
    ["full", "zero"].map(about).to_vec()
}

fn users() -> [(&'static str, Env); 3] {
    [
        ("root", Env::new()),
        ("a user with subordinate ids", Env::as_user(User::Subordinate)),
        ("a user without", Env::as_user(User::Single)),
    ]
}

/// The lines that are not as they should be.
fn bad(report: &str) -> Vec<&str> {
    report.lines().filter(|line| line.contains(": HARM") || line.contains(": BROKEN")).collect()
}

#[test]
fn programs_that_try_to_do_harm_do_none() {
    let mut harm = String::new();
    for (who, env) in users() {
        let mut target = Target::new(who, env);
        // The first run unpacks.
        target.env.scrimp(&["trace", &target.image, "-o", "first.trace", "--", "/bin/true"]).succeeds();
        let (base, devices_before, name) = (target.base(), devices(), host_name());
        for rung in RUNGS {
            for program in PROGRAMS {
                // The kernel does not tell them apart but by their root, which the best rung has like the others.
                let has_host = rung == RUNGS[0] && !NOT_ON_HOST.contains(&program);
                let on_host = has_host.then(|| target.attack_on_host(rung, program));
                let runs = [("image", Some(target.attack(rung, program, &[]))), ("host", on_host)];
                for (source, (run, report)) in runs.into_iter().filter_map(|(source, run)| Some((source, run?))) {
                    assert!(report.lines().count() > 1, "{program} says nothing: {report}");
                    let promised = |line: &&str| rung != "c" || !IN_SIGHT.iter().any(|part| line.contains(part));
                    for line in bad(&report).into_iter().filter(promised) {
                        writeln!(harm, "{} in {source} on {rung}, {program}: {line}", target.who).unwrap();
                    }
                    if bad(&report).is_empty() {
                        run.succeeds();
                    }
                }
                target.assert_unharmed();
            }
        }
        assert_eq!(target.base(), base, "{harm}");
        assert_eq!(devices(), devices_before, "{harm}");
        assert_eq!(host_name(), name);
        assert_eq!(fs::read_to_string(target.env.path("hidden")).unwrap(), SECRET);
        assert_eq!(fs::read_to_string(target.env.path("shown/secret")).unwrap(), "shown to the application\n");
        let names: Vec<_> = fs::read_dir(target.env.path("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.is_empty(), "{names:?}");
        target.stranger.kill().unwrap();
        target.stranger.wait().unwrap();
        assert_eq!(target.env.leftovers(), Vec::<String>::new());
    }
    assert!(harm.is_empty(), "\n{harm}");
}

/// Each process that a probe starts in the sandbox is scrimp itself at first, in sight of the application.
#[test]
fn the_binary_of_scrimp_is_out_of_reach_while_probes_start() {
    for (who, env) in users() {
        let target = Target::new(who, env);
        let probes = ["--exec", "/bin/true"].repeat(30);
        let (run, report) = target.attack(RUNGS[0], "binary", &probes);
        assert_eq!(bad(&report), Vec::<&str>::new(), "{}: {run}", target.who);
        run.succeeds();
        assert!(!report.contains("(0 looks"), "the test has seen nothing: {report}");
    }
}
