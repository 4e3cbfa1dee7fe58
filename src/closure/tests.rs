//! The rules on made-up root filesystems, whose ELF files a compiler makes.
//!
//! Expectations are trees as text: a line for each path with its reasons. Paths that are there as parents only and
//! what every image has (`/tmp`, ...) are left out where they are not the point.

mod companions;
mod interpreted;
mod libraries;
mod loaders;
mod named;
mod resources;
mod rootfs;
mod state;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::base::{FileTree, ImagePath};
use crate::closure::{Level, Reason, Requirements, home, ld_cache, requirements};
use crate::image::{ImageConfig, OwnersAsSeen, Rootfs};
use crate::observation::{Found, Observation, Operation, Overrides, PathRecord};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

/// A rootfs that is being put together, and a run in it.
struct Case {
    dir: TempDir,
    config: ImageConfig,
    observation: Observation,
    /// What the rootfs has, when it is to be a full one.
    index: Option<FileTree<crate::image::Entry>>,
}

impl Case {
    fn new() -> Self {
        Case {
            dir: TempDir::new().unwrap(),
            config: ImageConfig::bare(),
            observation: Observation::blank(),
            index: None,
        }
    }

    fn on_host(&self, path: &str) -> PathBuf {
        let host = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(host.parent().unwrap()).unwrap();
        host
    }

    fn dir(self, path: &str) -> Self {
        fs::create_dir_all(self.on_host(path)).unwrap();
        self
    }

    fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.on_host(path), content).unwrap();
        self
    }

    fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let case = self.file(path, content);
        fs::set_permissions(case.on_host(path), fs::Permissions::from_mode(0o755)).unwrap();
        case
    }

    fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.on_host(path)).unwrap();
        self
    }

    /// A shared object with the soname that its file name is, which needs libraries by name.
    fn shared_library(self, path: &str, needs: &[&str], flags: &[&str]) -> Self {
        let soname = format!("-Wl,-soname,{}", Path::new(path).file_name().unwrap().to_str().unwrap());
        elf(&self.on_host(path), needs, &[&["-shared", &soname], flags].concat());
        self
    }

    /// An executable whose interpreter is [`LOADER`], which is there too.
    fn executable(self, path: &str, needs: &[&str], flags: &[&str]) -> Self {
        let interpreter = format!("-Wl,--dynamic-linker={LOADER}");
        elf(&self.on_host(path), needs, &[&["-pie", "-e", "f", &interpreter], flags].concat());
        if self.dir.path().join(LOADER.trim_start_matches('/')).exists() {
            return self;
        }
        self.shared_library(LOADER, &[], &[])
    }

    fn config(mut self, execution: serde_json::Value) -> Self {
        self.config = ImageConfig::parse(serde_json::json!({"config": execution}).to_string().as_bytes()).unwrap();
        self
    }

    fn command(mut self, words: &[&str]) -> Self {
        self.observation.header.command = words.iter().map(|w| w.to_string()).collect();
        self
    }

    fn overrides(mut self, overrides: Overrides) -> Self {
        self.observation.header.overrides = overrides;
        self
    }

    fn used(self, file: &str, operations: &[Operation]) -> Self {
        self.used_by(file, operations, &[])
    }

    fn used_by(mut self, file: &str, operations: &[Operation], executables: &[&str]) -> Self {
        let host = self.dir.path().join(file.trim_start_matches('/'));
        let found = match host.symlink_metadata() {
            Err(_) => Found::Absent,
            Ok(meta) if meta.is_dir() => Found::Dir,
            Ok(meta) if meta.is_symlink() => Found::Symlink { target: String::new() },
            Ok(_) => Found::File { fingerprint: None },
        };
        let executables = executables.iter().map(|e| path(e)).collect();
        let record = PathRecord { executables, resolved: true, ..PathRecord::of(found, operations) };
        self.observation.paths.insert(path(file), record);
        self
    }

    fn found_in_base(mut self, file: &str, found: Found) -> Self {
        self.observation.paths.get_mut(&path(file)).unwrap().found = found;
        self
    }

    fn only_by_probe_tools(mut self, file: &str) -> Self {
        self.observation.paths.get_mut(&path(file)).unwrap().probe_tool = true;
        self
    }

    fn rootfs(&self) -> Rootfs {
        match &self.index {
            Some(index) => Rootfs::full(self.dir.path(), index.clone()).unwrap(),
            None => Rootfs::lazy(self.dir.path(), Arc::new(OwnersAsSeen)).unwrap(),
        }
    }

    fn require(&self, level: Level) -> Requirements {
        requirements(&self.rootfs(), &self.config, &self.observation, level, &FileTree::new()).unwrap()
    }

    /// Checks all paths.
    fn gives(self, level: Level, expected: &str) -> Self {
        self.compare(level, expected, |_, _| true)
    }

    /// Checks the paths that are not there as parents or for the runtime only.
    fn gives_files(self, level: Level, expected: &str) -> Self {
        self.compare(level, expected, |_, reasons| {
            reasons.iter().any(|reason| !matches!(reason, Reason::Parent | Reason::Runtime))
        })
    }

    fn compare(self, level: Level, expected: &str, shown: impl Fn(&ImagePath, &BTreeSet<Reason>) -> bool) -> Self {
        let required = self.require(level);
        let mut lines: Vec<String> =
            required.paths.iter().filter(|(path, reasons)| shown(path, reasons)).map(line).collect();
        lines.extend(required.warnings.iter().map(|warning| format!("warning: {warning}")));
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.join("\n"), expected.join("\n"));
        self
    }
}

fn line((path, reasons): (&ImagePath, &BTreeSet<Reason>)) -> String {
    let reasons: Vec<String> = reasons.iter().map(Reason::to_string).collect();
    format!("{path} {}", reasons.join(" "))
}

/// Compiles an ELF file that needs libraries which need not exist: the linker gets stubs of those names.
fn elf(out: &Path, needs: &[&str], flags: &[&str]) {
    let stubs = TempDir::new().unwrap();
    let mut libraries = Vec::new();
    for need in needs {
        let stub = stubs.path().join(need.replace('/', "_"));
        compile("gcc", "int g;", &stub, &["-shared", "-nostdlib", &format!("-Wl,-soname,{need}")]);
        libraries.push(stub.to_str().unwrap().to_owned());
    }
    let libraries = libraries.iter().map(String::as_str);
    let fixed = ["-nostdlib", "-Wl,--no-as-needed", "-Wl,--disable-new-dtags"];
    compile(
        "gcc",
        "void f(void) {}",
        out,
        &fixed.into_iter().chain(libraries).chain(flags.iter().copied()).collect::<Vec<_>>(),
    );
}

fn compile(compiler: &str, source: &str, out: &Path, flags: &[&str]) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("source.c");
    fs::write(&file, source).unwrap();
    let output = Command::new(compiler)
        .args(["-w", "-fPIC", "-o"])
        .arg(out)
        .arg(&file)
        .args(flags)
        .output()
        .unwrap_or_else(|cause| panic!("cannot run {compiler}: {cause}; install gcc and musl-tools"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
}

const RUNPATH: &str = "-Wl,--enable-new-dtags";

#[test]
fn what_was_used_is_kept_with_its_parents_and_what_was_absent_is_not() {
    Case::new()
        .file("/haz/mark", "")
        .file("/haz/mark.bak", "")
        .dir("/srv/empty")
        .file("/srv/data/unused", "")
        .used("/haz/mark.bak", &[Operation::Open, Operation::Stat])
        .used("/haz/missing", &[Operation::Open])
        .used("/srv/data", &[Operation::Open])
        .used("/srv/empty", &[Operation::Chdir])
        .used("/gone", &[Operation::Open])
        .found_in_base("/gone", Found::File { fingerprint: None })
        .gives(
            Level::Observed,
            "/ parent
             /haz parent
             /haz/mark.bak open stat
             /srv parent
             /srv/data open
             /srv/empty chdir",
        );
}

#[test]
fn what_lies_in_a_directory_that_gets_another_name_goes_with_it() {
    Case::new()
        .file("/srv/tree/leaf", "")
        .dir("/srv/tree/deep/empty")
        .file("/srv/other", "")
        .used("/srv/tree", &[Operation::Rename])
        .used("/srv/tree.away", &[Operation::Rename])
        .used("/srv/tree.away/leaf", &[Operation::Open])
        .gives_files(
            Level::Observed,
            "/srv parent written:/srv/tree.away
             /srv/tree rename parent
             /srv/tree/deep rename parent
             /srv/tree/deep/empty rename
             /srv/tree/leaf rename",
        );
}

#[test]
fn links_are_followed_link_by_link() {
    Case::new()
        .file("/usr/lib/x/real", "")
        .link("/usr/lib/x/second", "real")
        .link("/lib", "usr/lib")
        .link("/etc/first", "/lib/x/second")
        .link("/etc/dangling", "../lib/nowhere")
        .link("/etc/circle", "circle")
        .used("/etc/first", &[Operation::Open])
        .used("/etc/dangling", &[Operation::Readlink])
        .used("/etc/circle", &[Operation::Open])
        .gives(
            Level::Observed,
            "/ parent
             /etc parent
             /etc/circle open link:/etc/circle
             /etc/dangling readlink
             /etc/first open
             /lib link:/etc/dangling link:/etc/first
             /usr parent
             /usr/lib parent link:/lib
             /usr/lib/x parent
             /usr/lib/x/real link:/usr/lib/x/second
             /usr/lib/x/second link:/etc/first",
        );
}

#[test]
fn paths_through_directory_links_stand_where_the_links_lead() {
    Case::new()
        .file("/usr/lib64/ld.so", "")
        .link("/lib64", "usr/lib64")
        .used("/lib64/ld.so", &[Operation::Load])
        .gives(
            Level::Observed,
            "/ parent
             /lib64 traverse
             /usr parent
             /usr/lib64 parent link:/lib64
             /usr/lib64/ld.so load",
        );
}

#[test]
fn a_directory_that_a_link_leaves_again_is_kept() {
    Case::new()
        .file("/opt/b/file", "")
        .dir("/opt/a/deep")
        .link("/current", "opt/a/deep/../../b/file")
        .used("/current", &[Operation::Open])
        .gives(
            Level::Observed,
            "/ parent
             /current open
             /opt parent
             /opt/a parent link:/current
             /opt/a/deep link:/current
             /opt/b parent
             /opt/b/file link:/current",
        );
}

#[test]
fn sockets_cannot_ship_and_probe_tools_are_told_apart() {
    let case = Case::new().program("/usr/bin/curl", "").link("/usr/bin/c", "curl").dir("/run");
    let _socket = std::os::unix::net::UnixListener::bind(case.on_host("/run/socket")).unwrap();
    case.used("/run/socket", &[Operation::Connect])
        .found_in_base("/run/socket", Found::Socket)
        .used("/usr/bin/c", &[Operation::Exec])
        .only_by_probe_tools("/usr/bin/c")
        .gives(
            Level::Observed,
            "/ parent
             /usr parent
             /usr/bin parent
             /usr/bin/c probe-tool
             /usr/bin/curl link:/usr/bin/c",
        );
}

#[test]
fn the_command_is_kept_although_no_access_shows_it() {
    Case::new()
        .program("/opt/bin/tool", "")
        .file("/usr/bin/tool", "not executable")
        .config(serde_json::json!({"Env": ["PATH=/usr/bin:/opt/bin"]}))
        .command(&["tool", "-x"])
        .gives(
            Level::Observed,
            "/ parent
             /opt parent
             /opt/bin parent
             /opt/bin/tool exec",
        )
        .command(&["ghost"])
        .gives(Level::Observed, "warning: the command ghost is not in the base")
        .overrides(Overrides { working_dir: Some("/opt".into()), ..Default::default() })
        .command(&["bin/tool"])
        .gives(
            Level::Observed,
            "/ parent
             /opt parent runtime
             /opt/bin parent
             /opt/bin/tool exec",
        );
}

#[test]
fn the_runtime_finds_user_directory_and_volumes() {
    let case = Case::new()
        .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:9:9::/home/app:/bin/sh\n")
        .file("/etc/group", "app:x:9:\nx:x:10:app\n")
        .dir("/home/app")
        .dir("/work")
        .dir("/data")
        .dir("/tmp")
        .config(serde_json::json!({
            "User": "app", "WorkingDir": "/work", "Volumes": {"/data": {}, "/not/there": {}}
        }));
    let case = case.gives(
        Level::Observed,
        "/ parent
         /data runtime
         /etc parent
         /etc/group runtime
         /etc/passwd runtime
         /work runtime",
    );
    let case = case.gives(
        Level::Closure,
        "/ parent
         /data runtime
         /etc parent
         /etc/group runtime
         /etc/passwd runtime
         /home parent
         /home/app runtime
         /tmp runtime
         /work runtime",
    );
    let required = case.require(Level::Closure);
    assert_eq!(home(&case.rootfs(), &case.config, &case.observation, &required).unwrap(), None);
}

#[test]
fn home_is_set_when_nothing_in_the_image_says_it() {
    let case = Case::new().file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n").dir("/root");
    let home = |case: &Case| {
        let required = case.require(Level::Closure);
        home(&case.rootfs(), &case.config, &case.observation, &required).unwrap()
    };
    assert_eq!(home(&case).as_deref(), Some("/root"));
    let case = case.used("/etc/passwd", &[Operation::Open]);
    assert_eq!(home(&case), None);
    let case = Case::new().file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    assert_eq!(home(&case.config(serde_json::json!({"Env": ["HOME=/x"]}))), None);
}

#[test]
fn levels_are_ordered_and_have_names() {
    assert!(Level::Observed < Level::Closure);
    for level in [Level::Observed, Level::Closure] {
        assert_eq!(level.to_string().parse::<Level>(), Ok(level));
    }
    assert!("everything".parse::<Level>().is_err());
}
