//! What the tests of the whole stand on: a directory in which scrimp runs, as root or as an ordinary user, the images
//! under test, a look into an image that shares no code with scrimp, and podman as the second opinion.
//!
//! Nothing here skips a test: what is missing is a panic that says what to install. All of it may assume to be root.

mod image;
mod leftovers;
mod made;
mod podman;
mod small;
mod tiny;
mod user;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::SystemTime;

pub use image::Image;
pub use leftovers::{children, sandboxed};
pub use made::{Layer, Node};
use nix::fcntl::{Flock, FlockArg};
pub use podman::{Container, OPTIONS as PODMAN_OPTIONS, Podman, Response, configuration as podman_configuration};
pub use small::{Small, by_hand};
use tempfile::TempDir;
pub use tiny::{busybox, busybox_with, web_config};
pub use user::User;

/// A directory that is removed at the end, in which scrimp runs with a store of its own.
pub struct Env {
    dir: TempDir,
    binary: PathBuf,
    user: Option<nix::unistd::User>,
    store: PathBuf,
}

impl Env {
    /// Runs as the caller, that is root.
    pub fn new() -> Self {
        let dir = temporary_dir();
        Self { binary: env!("CARGO_BIN_EXE_scrimp").into(), user: None, store: dir.path().join("store"), dir }
    }

    /// Runs as an ordinary user, who owns the directory and can reach nothing of the checkout.
    pub fn as_user(user: User) -> Self {
        let user = user.account();
        let dir = temporary_dir();
        let binary = dir.path().join("scrimp");
        link_or_copy(Path::new(env!("CARGO_BIN_EXE_scrimp")), &binary);
        nix::unistd::chown(dir.path(), Some(user.uid), Some(user.gid)).expect("chown of the test's directory");
        Self { store: dir.path().join("store"), dir, binary, user: Some(user) }
    }

    /// The same with the store that all such environments of this user have together, so that an image is unpacked only
    /// once. It is emptied when scrimp has changed.
    pub fn sharing_the_store(mut self) -> Self {
        self.store = shared_store(self.user.as_ref());
        self
    }

    /// A path in the directory, as text for an argument.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// The SOURCE argument for an image under test, in a place where the user of this environment can read it.
    pub fn source(&self, name: &str) -> String {
        let mut file = fixture(name);
        if self.user.is_some() {
            let here = self.dir.path().join(format!("{name}.tar"));
            if !here.exists() {
                link_or_copy(&file, &here);
            }
            file = here;
        }
        format!("docker-archive:{}", file.display())
    }

    /// Makes the user of this environment the owner of a file.
    pub fn give(&self, file: &Path) {
        if let Some(user) = &self.user {
            nix::unistd::chown(file, Some(user.uid), Some(user.gid)).expect("chown of a file");
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a run should not leave, now that it has ended: processes and mounts that have to do with this environment,
    /// and scratch space in a store that nobody shares. Processes that are just ending are given their time.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = leftovers::processes_and_mounts(self.dir.path());
        if self.store.starts_with(self.dir.path()) {
            left.extend(self.scratch());
        }
        left
    }

    /// The names in the scratch space of the store.
    pub fn scratch(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.store.join("v2/scratch")) else { return Vec::new() };
        entries.map(|entry| format!("scratch {:?}", entry.expect("an entry").file_name())).collect()
    }

    /// The names in the directory, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("the directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs scrimp in the directory, to its end.
    pub fn scrimp(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(&self.binary, arguments))
    }

    /// Runs any program as scrimp would run: same user, directory and environment.
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Run {
        Run::of(self.command(program, arguments))
    }

    /// scrimp, ready to be started in another way than [`Env::scrimp`] does.
    pub fn scrimp_command(&self, arguments: &[&str]) -> Command {
        self.command(&self.binary, arguments)
    }

    /// Any program, ready to be started in another way than [`Env::run`] does.
    pub fn command(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        leftovers::adopt_orphans();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null()).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", self.dir.path()).env("SCRIMP_STORE", &self.store).env("RUST_BACKTRACE", "1");
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

/// A program that has ended, and what it said.
pub struct Run {
    command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = command.output().unwrap_or_else(|error| {
            panic!("cannot run {name}: {error}\nhint: scripts/test installs what the tests need");
        });
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        Self {
            command: words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Whether it ended with 0, where another end is no failure of the test.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "the exit code is another one\n{self}");
        self
    }

    /// The one JSON value on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}\n{}", self.command, self.status)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// The archive of an image under test.
pub fn fixture(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures").join(format!("{name}.tar"));
    assert!(file.exists(), "{} is missing\nhint: run scripts/fixtures {name}", file.display());
    file
}

fn temporary_dir() -> TempDir {
    // Not $TMPDIR, which may be a place that only the caller can reach.
    tempfile::Builder::new().prefix("scrimp-").tempdir_in("/tmp").expect("a temporary directory")
}

/// The store of a user, for this checkout and this build of scrimp.
fn shared_store(user: Option<&nix::unistd::User>) -> PathBuf {
    let dir = match user {
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("store"),
        // Ordinary users cannot reach the checkout.
        Some(user) => {
            let checkout = env!("CARGO_MANIFEST_DIR").replace('/', "-");
            Path::new("/tmp").join(format!("scrimp-test-store{checkout}-{}", user.name))
        }
    };
    std::fs::create_dir_all(&dir).expect("a directory for a store");
    let lock = File::create(dir.join("lock")).expect("the lock of a store");
    let lock = Flock::lock(lock, FlockArg::LockExclusive).expect("the lock of a store");
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_scrimp")).expect("scrimp itself");
    let age = binary.modified().expect("a time").duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    let stamp = format!("{} {}", age.as_nanos(), binary.len());
    let (stamp_file, store) = (dir.join("built"), dir.join("store"));
    if std::fs::read_to_string(&stamp_file).ok().as_deref() != Some(&stamp) {
        if store.exists() {
            std::fs::remove_dir_all(&store).expect("an old store");
        }
        std::fs::create_dir(&store).expect("a store");
        if let Some(user) = user {
            nix::unistd::chown(&store, Some(user.uid), Some(user.gid)).expect("chown of a store");
        }
        std::fs::write(&stamp_file, stamp).expect("the stamp of a store");
    }
    drop(lock);
    store
}

/// A link costs nothing, but does not reach another file system.
fn link_or_copy(from: &Path, to: &Path) {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to)
            .unwrap_or_else(|error| panic!("copying {} to {}: {error}", from.display(), to.display()));
    }
}
