//! A real container runtime, to run images of which scrimp says that they work.
//!
//! Each `Podman` has its own storage, and each container a network namespace with nothing but `lo` in it, so that tests
//! can run at once and use the same ports. A test reaches a port by joining that namespace with a thread.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit};
use tempfile::TempDir;

use super::{Run, temporary_dir};

/// How long a service may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(10);

/// Of podman alone.
pub const OPTIONS: [&str; 6] = ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"];

pub struct Podman {
    dir: TempDir,
    /// How many there were so far.
    containers: AtomicU32,
}

impl Podman {
    pub fn new() -> Self {
        let dir = temporary_dir();
        std::fs::write(dir.path().join("containers.conf"), configuration(dir.path())).expect("podman's configuration");
        Self { dir, containers: AtomicU32::new(0) }
    }

    /// Loads a docker-archive, and returns the name by which it can be run.
    pub fn load(&self, archive: &Path) -> String {
        let run = self.podman(&["load", "--quiet", "--input", archive.to_str().expect("a path in UTF-8")]).succeeds();
        let line = run.stdout.lines().find_map(|line| line.strip_prefix("Loaded image: "));
        line.unwrap_or_else(|| panic!("podman loaded no image\n{run}")).to_owned()
    }

    /// Builds an image from the Dockerfile in a directory, as an engine without privileges of its own does, with
    /// volumes (`FROM:TO:OPTIONS`) in each RUN. Returns the name by which it can be run, and what was said.
    pub fn build(&self, context: &Path, volumes: &[&str]) -> (String, Run) {
        let name = "localhost/built:latest";
        let mut command = self.tool("buildah");
        command.args(["bud", "--isolation", "chroot", "--pull=never", "--tag", name]);
        command.args(volumes.iter().flat_map(|volume| ["--volume", volume])).arg(context);
        (name.to_owned(), Run::of(command).succeeds())
    }

    /// Runs a container to its end.
    pub fn run(&self, image: &str, command: &[&str]) -> Run {
        self.run_with(&[], image, command)
    }

    /// The same with options of `podman run`.
    pub fn run_with(&self, options: &[&str], image: &str, command: &[&str]) -> Run {
        let monitor = self.monitor_file();
        let fixed = ["run", "--rm", "--network=none", "--conmon-pidfile", &monitor];
        let run = self.podman(&[&fixed, options, &[image], command].concat());
        wait_for_monitor(&monitor);
        run
    }

    /// Starts a service.
    pub fn start(&self, image: &str) -> Container<'_> {
        self.start_with(&["--network=none"], image)
    }

    /// The same with options of `podman run`, one for the network among them.
    pub fn start_with(&self, options: &[&str], image: &str) -> Container<'_> {
        self.start_command(options, image, &[])
    }

    /// The same with a command in the place of the image's, where one is given.
    pub fn start_command(&self, options: &[&str], image: &str, command: &[&str]) -> Container<'_> {
        let monitor = self.monitor_file();
        let fixed = ["run", "--detach", "--conmon-pidfile", &monitor];
        let run = self.podman(&[&fixed, options, &[image], command].concat()).succeeds();
        let mut container = Container { podman: self, id: run.stdout.trim().to_owned(), pid: 0, monitor };
        container.pid = container.state("Pid");
        container
    }

    /// A directory with a `podman` in it that works on this storage, for a program that looks for one in PATH. What
    /// stands before it in PATH is not looked at again.
    pub fn program_dir(&self) -> String {
        let dir = self.dir.path().join("bin");
        std::fs::create_dir(&dir).expect("a directory for podman");
        let (here, podman) = (self.dir.path().display(), self.tool("podman"));
        let options: Vec<_> = podman.get_args().map(|argument| argument.to_string_lossy()).collect();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {here}/calls\nPATH=\"${{PATH#*:}}\"\nexport CONTAINERS_CONF={here}/containers.conf\n\
             if [ \"$3\" = create ]; then\n  shift 3\n  set -- create --conmon-pidfile {here}/monitor-of-$$ \"$@\"\nfi\n\
             exec podman {} {} \"$@\"\n",
            OPTIONS.join(" "),
            options.join(" ")
        );
        std::fs::write(dir.join("podman"), script).expect("a script");
        std::fs::set_permissions(dir.join("podman"), Permissions::from_mode(0o755)).expect("a mode");
        dir.to_str().expect("a path in UTF-8").to_owned()
    }

    /// The arguments of each call of the program in [`Podman::program_dir`].
    pub fn calls(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default()
    }

    /// All containers and images that there are, by their names.
    pub fn holdings(&self) -> Vec<String> {
        let containers = self.podman(&["ps", "--all", "--format", "{{.Names}}"]).succeeds().stdout;
        let images = self.podman(&["images", "--all", "--format", "{{.Repository}}:{{.Tag}}"]).succeeds().stdout;
        containers.lines().chain(images.lines()).map(String::from).collect()
    }

    /// Where podman writes the process id of the next container's monitor.
    fn monitor_file(&self) -> String {
        let name = format!("monitor-{}", self.containers.fetch_add(1, Ordering::Relaxed));
        self.dir.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    fn podman(&self, arguments: &[&str]) -> Run {
        let mut command = self.tool("podman");
        command.args(OPTIONS);
        command.args(arguments);
        Run::of(command)
    }

    /// A program that works on this storage.
    fn tool(&self, program: &str) -> Command {
        let path = |name| self.dir.path().join(name);
        let mut command = Command::new(program);
        command.args(["--storage-driver", "overlay", "--root"]).arg(path("root")).arg("--runroot").arg(path("run"));
        command.env("CONTAINERS_CONF", path("containers.conf"));
        command
    }
}

/// Podman's configuration for a storage in a directory of its own.
pub fn configuration(dir: &Path) -> String {
    // Without CAP_SYS_RESOURCE podman cannot raise limits, and it has lowered its own number of processes by the time
    // it sets the container's. Locks in shared memory, its default, would be shared by all storages of the machine.
    let limits = [("nofile", Resource::RLIMIT_NOFILE, 1 << 20), ("nproc", Resource::RLIMIT_NPROC, 1 << 15)];
    let limits = limits.map(|(name, resource, wanted)| {
        let (_, hard) = getrlimit(resource).expect("a resource limit");
        let limit = hard.min(wanted);
        format!("\"{name}={limit}:{limit}\"")
    });
    format!(
        "[containers]\ndefault_ulimits=[{}]\n[engine]\nlock_type=\"file\"\ntmp_dir=\"{}\"\n",
        limits.join(","),
        dir.join("tmp").display()
    )
}

impl Drop for Podman {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.dir.path()).expect("podman's directory") {
            let path = entry.expect("an entry").path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("monitor-of-")) {
                wait_for_monitor(path.to_str().expect("a path in UTF-8"));
            }
        }
        // Podman mounts its storage onto itself, and leaves it so.
        let mounted = umount2(&self.dir.path().join("root/overlay"), MntFlags::MNT_DETACH);
        if let Err(error) = mounted
            && !matches!(error, Errno::EINVAL | Errno::ENOENT)
            && !thread::panicking()
        {
            panic!("unmounting podman's storage: {error}");
        }
    }
}

/// A container that runs, and is removed at the end of the test.
pub struct Container<'a> {
    podman: &'a Podman,
    id: String,
    /// Its first process, in the caller's namespace.
    pid: i32,
    monitor: String,
}

impl Container<'_> {
    /// The option for another container to be in the same network.
    pub fn network(&self) -> String {
        format!("--network=container:{}", self.id)
    }

    /// Asks for a path by HTTP, as soon as the port accepts connections.
    #[track_caller]
    pub fn get(&self, port: u16, path: &str) -> Response {
        // A client that speaks 1.0 is sent no chunks.
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let answer = self.talk(port, request.as_bytes());
        let answer = answer.and_then(|bytes| {
            Response::parse(&bytes).ok_or_else(|| format!("not HTTP: {}", String::from_utf8_lossy(&bytes)))
        });
        answer.unwrap_or_else(|problem| panic!("GET {path} on port {port}: {problem}\n{}", self.logs()))
    }

    /// Sends bytes to a port, as soon as it accepts connections, and returns all that comes back until the other side
    /// closes.
    pub fn talk(&self, port: u16, request: &[u8]) -> Result<Vec<u8>, String> {
        self.in_network(|| self.ask(port, request))
    }

    /// Runs a command in the container.
    pub fn exec(&self, command: &[&str]) -> Run {
        self.podman.podman(&[&["exec", &self.id], command].concat())
    }

    /// What a command in the container prints, as soon as it succeeds: a service may listen before it can answer.
    #[track_caller]
    pub fn says(&self, command: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let run = self.exec(command);
            if run.status.success() {
                return run.stdout;
            }
            let is_over = !Path::new(&format!("/proc/{}", self.pid)).exists() || Instant::now() > deadline;
            assert!(!is_over, "{run}\n{}", self.logs());
            thread::sleep(INTERVAL);
        }
    }

    /// Whether the image's HEALTHCHECK is content.
    pub fn is_healthy(&self) -> bool {
        self.podman.podman(&["healthcheck", "run", &self.id]).status.success()
    }

    /// Stops it by the image's signal, and returns its exit code and all that it wrote.
    pub fn stop(self) -> (i32, String) {
        self.podman.podman(&["stop", &self.id]).succeeds();
        (self.state("ExitCode"), self.logs())
    }

    fn ask(&self, port: u16, request: &[u8]) -> Result<Vec<u8>, String> {
        let mut stream = self.connect(port)?;
        let failed = |error: std::io::Error| error.to_string();
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.write_all(request).map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed)?;
        Ok(answer)
    }

    fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => return Ok(stream),
                Err(_) if !Path::new(&format!("/proc/{}", self.pid)).exists() => return Err("it has ended".to_owned()),
                Err(error) if Instant::now() > deadline => return Err(error.to_string()),
                Err(_) => thread::sleep(INTERVAL),
            }
        }
    }

    /// Does something in the network of the container, in a thread, because joining it is for good.
    fn in_network<T: Send>(&self, action: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
        let namespace = format!("/proc/{}/ns/net", self.pid);
        let join = || {
            let file = File::open(&namespace).map_err(|error| format!("opening {namespace}: {error}"))?;
            setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| format!("joining {namespace}: {error}"))?;
            action()
        };
        thread::scope(|scope| scope.spawn(join).join().expect("a thread in the network of a container"))
    }

    fn state(&self, field: &str) -> i32 {
        let run = self.podman.podman(&["inspect", "--format", &format!("{{{{.State.{field}}}}}"), &self.id]).succeeds();
        run.stdout.trim().parse().unwrap_or_else(|_| panic!("no number\n{run}"))
    }

    /// All that it has written so far.
    pub fn logs(&self) -> String {
        let run = self.podman.podman(&["logs", &self.id]);
        run.stdout + &run.stderr
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let run = self.podman.podman(&["rm", "--force", "--time", "0", &self.id]);
        wait_for_monitor(&self.monitor);
        if !run.status.success() && !thread::panicking() {
            panic!("a container stays behind\n{run}");
        }
    }
}

/// A container's monitor becomes a podman that tidies up after it, and mounts the storage again while it does: only
/// when it has ended too does nothing stay behind.
fn wait_for_monitor(file: &str) {
    // No file, no container: why, podman has said.
    let Ok(pid) = std::fs::read_to_string(file) else { return };
    let status = format!("/proc/{}/status", pid.trim());
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&status).is_ok_and(|status| !status.contains("\nState:\tZ")) {
        if Instant::now() > deadline {
            assert!(thread::panicking(), "the monitor {} of a container stays", pid.trim());
            return;
        }
        thread::sleep(INTERVAL);
    }
}

/// An answer by HTTP. The names of the headers are in lower case.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    /// `None` when the bytes are no answer by HTTP.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self { status, headers: headers.collect::<Option<_>>()?, body: bytes[end + 4..].to_vec() })
    }
}
