//! The rules on made-up root filesystems, whose ELF files a compiler makes, and the loaders' rules against the loaders
//! of this machine.
//!
//! Expectations are trees as text: a line for each path with its reasons. Paths that are there as parents only and
//! what every image has (`/tmp`, ...) are left out where they are not the point.

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
use crate::observation::{Found, Header, Observation, Operation, Overrides, PathRecord, SCHEMA_VERSION, Transcript};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

/// A rootfs that is being put together, and a run in it.
struct Case {
    dir: TempDir,
    config: ImageConfig,
    observation: Observation,
}

impl Case {
    fn new() -> Self {
        let header = Header {
            schema_version: SCHEMA_VERSION,
            tool: "test".into(),
            source: "rootfs:test".into(),
            source_digest: None,
            command: Vec::new(),
            overrides: Overrides::default(),
            env_names: Vec::new(),
            rung: "a".into(),
            gaps: Vec::new(),
            warnings: Vec::new(),
            transcript: Transcript::default(),
        };
        Case {
            dir: TempDir::new().unwrap(),
            config: ImageConfig::bare(),
            observation: Observation { header, paths: FileTree::new() },
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
    fn library(self, path: &str, needs: &[&str], flags: &[&str]) -> Self {
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
        self.library(LOADER, &[], &[])
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
        let record = PathRecord {
            found,
            operations: operations.iter().copied().collect(),
            executables: executables.iter().map(|e| path(e)).collect(),
            first_probe: None,
            probe_tool: false,
            resolved: true,
            count: 1,
        };
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
        Rootfs::lazy(self.dir.path(), Arc::new(OwnersAsSeen)).unwrap()
    }

    fn require(&self, level: Level) -> Requirements {
        requirements(&self.rootfs(), &self.config, &self.observation, level, &BTreeSet::new()).unwrap()
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
fn an_executable_brings_its_loader_and_libraries() {
    let case = Case::new()
        .link("/lib64", "usr/lib64")
        .dir("/usr/lib64")
        .executable("/usr/bin/app", &["liba.so.1", "libgone.so"], &[])
        .library("/usr/lib/liba.so.1.2", &["libb.so", "liba.so.1"], &["-Wl,-soname,liba.so.1"])
        .link("/usr/lib/liba.so.1", "liba.so.1.2")
        .library("/usr/lib/x86_64-linux-gnu/libb.so", &["liba.so.1"], &[])
        .file("/etc/ld.so.cache", "not a cache")
        .used("/usr/bin/app", &[Operation::Exec]);
    let case = case.gives(
        Level::Observed,
        "/ parent
         /usr parent
         /usr/bin parent
         /usr/bin/app exec",
    );
    case.gives(
        Level::Closure,
        "/ parent
         /etc parent
         /etc/ld.so.cache runtime
         /lib64 parent
         /usr parent
         /usr/bin parent
         /usr/bin/app exec
         /usr/lib parent
         /usr/lib/liba.so.1 needed:/usr/bin/app needed:/usr/lib/liba.so.1.2 needed:/usr/lib/x86_64-linux-gnu/libb.so
         /usr/lib/liba.so.1.2 link:/usr/lib/liba.so.1
         /usr/lib/x86_64-linux-gnu parent
         /usr/lib/x86_64-linux-gnu/libb.so needed:/usr/lib/liba.so.1.2
         /usr/lib64 parent link:/lib64
         /usr/lib64/ld-linux-x86-64.so.2 interpreter:/usr/bin/app
         warning: /usr/bin/app needs libgone.so, which is not in the base",
    );
}

#[test]
fn search_paths_come_in_the_loaders_order() {
    // Each library lies in all directories that are searched later, too.
    Case::new()
        .executable(
            "/app/bin/app",
            &["librpath.so", "libenv.so", "libcache.so", "libdefault.so"],
            &["-Wl,-rpath,$ORIGIN/../rpath"],
        )
        .library("/app/rpath/librpath.so", &["libinherited.so"], &[])
        .library("/app/rpath/libinherited.so", &[], &[])
        .library("/env/librpath.so", &[], &[])
        .library("/env/libenv.so", &["libin-rpath.so", "libin-runpath.so"], &[RUNPATH, "-Wl,-rpath,$ORIGIN/../run"])
        .library("/app/rpath/libin-rpath.so", &[], &[])
        .library("/run/libin-rpath.so", &["libnot-inherited.so"], &[])
        .library("/run/libin-runpath.so", &[], &[])
        .library("/run/libnot-inherited.so", &[], &[])
        .library("/usr/lib/libin-runpath.so", &[], &[])
        .library("/cached/libcache.so", &[], &[])
        .library("/usr/lib/libcache.so", &[], &[])
        .library("/usr/lib/libdefault.so", &[], &[])
        .library("/conf/libdefault.so", &[], &[])
        .file("/etc/ld.so.conf", "/conf\n")
        .file(
            "/etc/ld.so.cache",
            ld_cache::tests::cache(&[
                ("libcache.so", "/cached/libcache.so", 0),
                ("libdefault.so", "/stale/libdefault.so", 0),
            ]),
        )
        .config(serde_json::json!({"Env": ["LD_LIBRARY_PATH=/nowhere:/env"]}))
        .used("/app/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/app/bin/app exec
             /app/rpath/libinherited.so needed:/app/rpath/librpath.so
             /app/rpath/librpath.so needed:/app/bin/app
             /cached/libcache.so needed:/app/bin/app
             /env/libenv.so needed:/app/bin/app
             /lib64/ld-linux-x86-64.so.2 interpreter:/app/bin/app
             /run/libin-rpath.so needed:/env/libenv.so
             /run/libin-runpath.so needed:/env/libenv.so
             /usr/lib/libdefault.so needed:/app/bin/app
             warning: /run/libin-rpath.so needs libnot-inherited.so, which is not in the base",
        );
}

#[test]
fn without_a_cache_the_configuration_is_read_last() {
    Case::new()
        .executable("/bin/app", &["libx.so", "liby.so"], &[])
        .file("/etc/ld.so.conf", "# comment\ninclude ld.so.conf.d/*.conf\n")
        .file("/etc/ld.so.conf.d/a.conf", "/opt/a\n")
        .file("/etc/ld.so.conf.d/a.conf.bak", "/opt/bak\n")
        .library("/opt/a/libx.so", &[], &[])
        .library("/opt/bak/liby.so", &[], &[])
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/a/libx.so needed:/bin/app
             warning: /bin/app needs liby.so, which is not in the base",
        );
}

#[test]
fn all_variants_for_other_processors_are_kept() {
    Case::new()
        .executable("/bin/app", &["libx.so", "liby.so"], &[])
        .library("/usr/lib/libx.so", &[], &[])
        .library("/usr/lib/glibc-hwcaps/x86-64-v2/libx.so", &[], &[])
        .library("/usr/lib/glibc-hwcaps/x86-64-v4/libx.so", &["libfast.so"], &[])
        .library("/usr/lib/haswell/libx.so", &[], &[])
        .library("/usr/lib/libfast.so", &[], &[])
        .library("/c/glibc-hwcaps/x86-64-v3/liby.so", &[], &[])
        .library("/c/liby.so", &[], &[])
        .file(
            "/etc/ld.so.cache",
            ld_cache::tests::cache(&[
                ("liby.so", "/c/glibc-hwcaps/x86-64-v3/liby.so", 1 << 62),
                ("liby.so", "/c/liby.so", 0),
            ]),
        )
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /c/glibc-hwcaps/x86-64-v3/liby.so needed:/bin/app
             /c/liby.so needed:/bin/app
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /usr/lib/glibc-hwcaps/x86-64-v2/libx.so needed:/bin/app
             /usr/lib/glibc-hwcaps/x86-64-v4/libx.so needed:/bin/app
             /usr/lib/haswell/libx.so needed:/bin/app
             /usr/lib/libfast.so needed:/usr/lib/glibc-hwcaps/x86-64-v4/libx.so
             /usr/lib/libx.so needed:/bin/app",
        );
}

#[test]
fn a_library_for_another_machine_is_passed_over() {
    let other = |case: Case, path: &str, at: usize, value: u8| {
        let case = case.library(path, &[], &[]);
        let mut bytes = fs::read(case.on_host(path)).unwrap();
        bytes[at] = value;
        case.file(path, bytes)
    };
    // EM_AARCH64 in e_machine.
    let case = other(Case::new(), "/first/libx.so", 18, 183);
    case.executable("/bin/app", &["libx.so"], &["-Wl,-rpath,/text:/first:/second"])
        .file("/text/libx.so", "INPUT(-lx)")
        .library("/second/libx.so", &[], &[])
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /second/libx.so needed:/bin/app",
        );
}

#[test]
fn no_default_directories_means_none() {
    Case::new()
        .executable("/bin/app", &["libx.so", "liby.so"], &["-Wl,-z,nodefaultlib"])
        .library("/usr/lib/libx.so", &[], &[])
        .library("/opt/liby.so", &[], &[])
        .file(
            "/etc/ld.so.cache",
            ld_cache::tests::cache(&[("libx.so", "/usr/lib/libx.so", 0), ("liby.so", "/opt/liby.so", 0)]),
        )
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/liby.so needed:/bin/app
             warning: /bin/app needs libx.so, which is not in the base",
        );
}

#[test]
fn a_plugin_is_loaded_as_the_process_that_used_it_would() {
    Case::new()
        .executable("/app/bin/app", &["libshared.so"], &["-Wl,-rpath,/app/lib"])
        .library("/app/lib/libshared.so", &[], &[])
        .library("/app/lib/libonly-here.so", &[], &[])
        .library("/app/plugins/plugin.so", &["libshared.so", "libonly-here.so", "libbeside.so"], &[])
        .library("/store/linked.so", &["libbeside.so"], &["-Wl,-rpath,$ORIGIN"])
        .link("/app/plugins/linked.so", "/store/linked.so")
        .library("/app/plugins/libbeside.so", &[], &[])
        .used("/app/bin/app", &[Operation::Exec])
        .used_by("/app/plugins/plugin.so", &[Operation::Open], &["/app/bin/app"])
        .used_by("/app/plugins/linked.so", &[Operation::Open], &["/app/bin/app"])
        .gives_files(
            Level::Closure,
            "/app/bin/app exec
             /app/lib/libonly-here.so needed:/app/plugins/plugin.so
             /app/lib/libshared.so needed:/app/bin/app needed:/app/plugins/plugin.so
             /app/plugins/libbeside.so needed:/store/linked.so
             /app/plugins/linked.so open
             /app/plugins/plugin.so open
             /lib64/ld-linux-x86-64.so.2 interpreter:/app/bin/app
             /store/linked.so link:/app/plugins/linked.so
             warning: /app/plugins/plugin.so needs libbeside.so, which is not in the base",
        );
}

#[test]
fn preloads_are_loaded_first() {
    Case::new()
        .executable("/bin/app", &["libx.so"], &[])
        .library("/opt/preload.so", &["libx.so"], &["-Wl,-rpath,/opt"])
        .library("/opt/libx.so", &[], &[])
        .library("/usr/lib/libenv.so", &[], &[])
        .file("/etc/ld.so.preload", "/opt/preload.so\n")
        .config(serde_json::json!({"Env": ["LD_PRELOAD=libenv.so"]}))
        .used("/bin/app", &[Operation::Exec])
        .compare(
            Level::Closure,
            "/bin/app exec
             /etc/ld.so.preload runtime
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/libx.so needed:/opt/preload.so
             /opt/preload.so runtime
             /usr/lib/libenv.so runtime
             warning: /bin/app needs libx.so, which is not in the base",
            |_, reasons| !reasons.contains(&Reason::Parent),
        );
}

#[test]
fn libraries_that_are_loaded_later_are_kept_when_they_are_there() {
    let note = r#"
        [{"soname":["libone.so.2","libone.so.1"],"priority":"required"},
         {"soname":["libtwo.so"]},{"soname":["libthree.so"],"priority":"suggested"},
         {"soname":["libgone.so"],"priority":"recommended"}]"#;
    let source = format!(
        "void f(void) {{}}
         __attribute__((section(\".note.dlopen\"), aligned(4), used)) static const struct {{
             unsigned a, b, c; char owner[4]; char text[{size}]; }} note = {{4, {size}, 0x407c0c0a, \"FDO\", {note:?}}};",
        size = (note.len() + 1).next_multiple_of(4),
    );
    let case = Case::new().library(LOADER, &[], &[]).library("/usr/lib/libone.so.1", &["libtwo.so"], &[]);
    let flags =
        ["-nostdlib", "-pie", "-e", "f", &format!("-Wl,--dynamic-linker={LOADER},--enable-new-dtags,-rpath,/opt")];
    compile("gcc", &source, &case.on_host("/bin/app"), &flags);
    case.library("/opt/libtwo.so", &[], &[])
        .library("/usr/lib/libthree.so", &[], &[])
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/libtwo.so needed:/usr/lib/libone.so.1 dlopen:/bin/app
             /usr/lib/libone.so.1 dlopen:/bin/app",
        );
}

#[test]
fn who_ends_threads_needs_the_unwinder() {
    let case = Case::new()
        .library("/usr/lib/libc.so.6", &[], &[])
        .library("/usr/lib/libgcc_s.so.1", &["libc.so.6"], &[])
        .library("/usr/lib/libother.so", &["libc.so.6"], &[]);
    let stub = case.on_host("/usr/lib/libc.so.6");
    let flags = ["-shared", "-nostdlib", "-Wl,--no-as-needed", stub.to_str().unwrap()];
    compile(
        "gcc",
        "void pthread_exit(void*); void f(void) { pthread_exit(0); }",
        &case.on_host("/usr/lib/libt.so"),
        &flags,
    );
    case.used("/usr/lib/libother.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/usr/lib/libc.so.6 needed:/usr/lib/libother.so
             /usr/lib/libother.so open",
        )
        .used("/usr/lib/libt.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/usr/lib/libc.so.6 needed:/usr/lib/libgcc_s.so.1 needed:/usr/lib/libother.so needed:/usr/lib/libt.so
             /usr/lib/libgcc_s.so.1 dlopen:/usr/lib/libt.so
             /usr/lib/libother.so open
             /usr/lib/libt.so open",
        );
}

#[test]
fn musl_searches_by_its_own_rules() {
    let interpreter = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    let case = Case::new().library("/lib/ld-musl-x86_64.so.1", &[], &["-Wl,-soname,libc.so"]);
    let needs = ["libc.musl-x86_64.so.1", "libx.so.1", "liby.so"];
    elf(&case.on_host("/usr/bin/app"), &needs, &["-pie", "-e", "f", interpreter, RUNPATH, "-Wl,-rpath,$ORIGIN/../x"]);
    let case = case
        .link("/lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
        .library("/usr/x/libx.so.1.0", &["libz.so", "libc.so"], &["-Wl,-soname,libx.so.1"])
        .link("/usr/x/libx.so.1", "libx.so.1.0")
        // A RUNPATH is inherited here.
        .library("/usr/x/libz.so", &[], &[])
        .library("/usr/lib/libz.so", &[], &[])
        .library("/usr/local/lib/liby.so", &[], &[])
        .library("/usr/lib/liby.so", &[], &[])
        .used("/usr/bin/app", &[Operation::Exec]);
    let files = "/lib/ld-musl-x86_64.so.1 needed:/usr/bin/app needed:/usr/x/libx.so.1.0 interpreter:/usr/bin/app
         /usr/bin/app exec
         LIBY needed:/usr/bin/app
         /usr/x/libx.so.1 needed:/usr/bin/app
         /usr/x/libx.so.1.0 link:/usr/x/libx.so.1
         /usr/x/libz.so needed:/usr/x/libx.so.1.0";
    case.gives_files(Level::Closure, &files.replace("LIBY", "/usr/local/lib/liby.so"))
        .file("/etc/ld-musl-x86_64.path", "/none\n/usr/lib\n")
        .gives_files(Level::Closure, &files.replace("LIBY", "/usr/lib/liby.so"));
}

#[test]
fn scripts_bring_their_interpreters() {
    Case::new()
        .program("/app/start", "#!/usr/bin/env -S tool -x\n")
        .program("/usr/bin/env", "")
        .program("/usr/local/bin/tool", "#! /bin/sh -e\n")
        .link("/bin", "usr/bin")
        .link("/usr/bin/sh", "dash")
        .program("/usr/bin/dash", "")
        .file("/app/data", "#!/usr/bin/perl\n")
        .program("/app/broken", "#!/usr/bin/perl\n")
        .used("/app/start", &[Operation::Exec])
        .used("/app/data", &[Operation::Open])
        .used("/app/broken", &[Operation::Stat])
        .gives_files(
            Level::Closure,
            "/app/broken stat
             /app/data open
             /app/start exec
             /usr/bin link:/bin parent
             /usr/bin/dash link:/usr/bin/sh
             /usr/bin/env interpreter:/app/start
             /usr/bin/sh interpreter:/usr/local/bin/tool
             /usr/local/bin/tool interpreter:/app/start
             warning: /app/broken needs /usr/bin/perl, which is not in the base"
                .replace("link:/bin parent", "parent link:/bin")
                .as_str(),
        );
}

#[test]
fn bytecode_brings_its_source() {
    Case::new()
        .file("/lib/__pycache__/a.cpython-311.pyc", "")
        .file("/lib/a.py", "")
        .file("/lib/__pycache__/b.cpython-311.pyc", "")
        .used("/lib/__pycache__/a.cpython-311.pyc", &[Operation::Open])
        .used("/lib/__pycache__/b.cpython-311.pyc", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/lib/__pycache__/a.cpython-311.pyc open
             /lib/__pycache__/b.cpython-311.pyc open
             /lib/a.py source:/lib/__pycache__/a.cpython-311.pyc",
        );
}

#[test]
fn name_service_modules_come_when_something_was_looked_up() {
    let case = Case::new()
        .executable("/bin/app", &["libc.so.6"], &[])
        .library("/usr/lib/libc.so.6", &[], &[])
        .library("/usr/lib/libnss_sss.so.2", &["libextra.so"], &[])
        .library("/usr/lib/libextra.so", &[], &[])
        .library("/usr/lib/libnss_unused.so.2", &[], &[])
        .file("/etc/nsswitch.conf", "passwd: files sss\n")
        .file("/etc/passwd", "")
        .used("/bin/app", &[Operation::Exec]);
    let without = "/bin/app exec
         /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
         /usr/lib/libc.so.6 needed:/bin/app";
    case.gives_files(Level::Closure, without).used("/etc/passwd", &[Operation::Open]).gives_files(
        Level::Closure,
        "/bin/app exec
         /etc/nsswitch.conf nss:/usr/lib/libc.so.6
         /etc/passwd open
         /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
         /usr/lib/libc.so.6 needed:/bin/app
         /usr/lib/libextra.so needed:/usr/lib/libnss_sss.so.2
         /usr/lib/libnss_sss.so.2 nss:/etc/nsswitch.conf",
    );
}

#[test]
fn health_checks_bring_what_they_run() {
    let case = Case::new()
        .program("/bin/sh", "")
        .program("/usr/bin/curl", "#!/bin/curl-real\n")
        .program("/bin/curl-real", "")
        .program("/usr/bin/test", "");
    let case = case.config(serde_json::json!({
        "Healthcheck": {"Test": ["CMD-SHELL", "test -e /bin/sh && curl -f http://localhost/ || exit 1"]}
    }));
    let case = case.gives(Level::Observed, "").gives_files(
        Level::Closure,
        "/bin/curl-real interpreter:/usr/bin/curl
         /bin/sh healthcheck
         /usr/bin/curl healthcheck",
    );
    case.config(serde_json::json!({"Healthcheck": {"Test": ["CMD", "checker"]}}))
        .gives(Level::Closure, "warning: HEALTHCHECK runs checker, which is not in the base");
}

#[test]
fn damaged_elf_files_are_warnings() {
    Case::new()
        .file("/lib/damaged.so", b"\x7fELF\x02\x01\x01")
        .used("/lib/damaged.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/lib/damaged.so open
             warning: cannot find out what /lib/damaged.so needs: it is not a valid ELF file: its header is cut short",
        );
}

#[test]
fn levels_are_ordered_and_have_names() {
    assert!(Level::Observed < Level::Closure);
    for level in [Level::Observed, Level::Closure] {
        assert_eq!(level.to_string().parse::<Level>(), Ok(level));
    }
    assert!("everything".parse::<Level>().is_err());
}

/// The files that the closure of an executable of this machine maps: whatever is there because of DT_NEEDED or
/// PT_INTERP, links followed.
fn mapped(executable: &Path, env: &[&str]) -> BTreeSet<PathBuf> {
    let mut case = Case::new().config(serde_json::json!({"Env": env}));
    let text = executable.to_str().unwrap();
    case = case.used(text, &[Operation::Exec]).found_in_base(text, Found::File { fingerprint: None });
    let rootfs = Rootfs::lazy(Path::new("/"), Arc::new(OwnersAsSeen)).unwrap();
    let required = requirements(&rootfs, &case.config, &case.observation, Level::Closure, &BTreeSet::new()).unwrap();
    let is_mapped = |reasons: &BTreeSet<Reason>| {
        reasons.iter().any(|reason| matches!(reason, Reason::Needed(_) | Reason::Interpreter(_)))
    };
    let paths = required.paths.iter().filter(|(_, reasons)| is_mapped(reasons));
    paths.map(|(path, _)| fs::canonicalize(path.on_host(Path::new("/"))).unwrap()).collect()
}

/// The files that the loader itself says it maps: `NAME => PATH (ADDRESS)` and `PATH (ADDRESS)`.
fn listed(command: &mut Command) -> BTreeSet<PathBuf> {
    let output = command.output().unwrap_or_else(|cause| panic!("cannot run {command:?}: {cause}"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {text}");
    let paths = text.lines().filter_map(|line| line.split_whitespace().rev().nth(1));
    paths.filter(|path| path.starts_with('/')).map(|path| fs::canonicalize(path).unwrap()).collect()
}

#[test]
fn closures_of_this_machines_programs_are_what_ldd_says() {
    for program in ["sh", "ls", "env", "python3", "git", "openssl", "gcc", "perl", "ld", "tar"] {
        let file = fs::canonicalize(Path::new("/usr/bin").join(program))
            .unwrap_or_else(|cause| panic!("no /usr/bin/{program} to compare with: {cause}; install it"));
        assert_eq!(mapped(&file, &[]), listed(Command::new("ldd").arg(&file)), "{program}");
    }
}

#[test]
fn rpath_runpath_and_origin_are_what_glibc_makes_of_them() {
    let case = Case::new();
    let root = fs::canonicalize(case.dir.path()).unwrap();
    let at = |text: &str| format!("{}/{text}", root.display());
    let build = |out: &str, source: &str, flags: &[&str]| {
        let mut all = vec!["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"];
        all.extend(flags);
        fs::create_dir_all(Path::new(&at(out)).parent().unwrap()).unwrap();
        compile("gcc", source, Path::new(&at(out)), &all);
    };
    for (dir, needs) in [("one", "b"), ("two", "b"), ("env", "b")] {
        // `c` is needed by whichever `b` is found; there is one in each directory.
        build(&format!("{dir}/libc1.so"), "int c;", &["-shared", "-Wl,-soname,libc1.so"]);
        let b = at(&format!("{dir}/libc1.so"));
        build(&format!("{dir}/lib{needs}.so"), "int b;", &["-shared", "-Wl,-soname,libb.so", &b]);
    }
    let (a, b) = (at("lib/liba.so"), at("two/libb.so"));
    for (index, (tags, path, library_tags, library_path)) in [
        ("--disable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--disable-new-dtags", "$ORIGIN/../two"),
        ("--disable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--enable-new-dtags", "$ORIGIN/../two"),
        ("--disable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--enable-new-dtags", "/nowhere:${ORIGIN}/../two"),
        ("--enable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--disable-new-dtags", "$ORIGIN/../two"),
        ("--enable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one:$ORIGIN/../two", "--enable-new-dtags", "$ORIGIN/../one"),
    ]
    .into_iter()
    .enumerate()
    {
        let rpath = |tags: &str, path: &str| format!("-Wl,{tags},-rpath,{path}");
        build("lib/liba.so", "int a;", &["-shared", "-Wl,-soname,liba.so", &rpath(library_tags, library_path), &b]);
        build("bin/app", "int main(void) { return 0; }", &[&rpath(tags, path), &a, &at("one/libc1.so")]);
        let app = root.join("bin/app");
        for env in ["", &at("env")] {
            let setting = format!("LD_LIBRARY_PATH={env}");
            let expected = listed(Command::new("ldd").arg(&app).env("LD_LIBRARY_PATH", env));
            assert_eq!(mapped(&app, &[&setting]), expected, "case {index} with {setting}");
        }
    }
}

#[test]
fn closures_of_musl_programs_are_what_its_loader_says() {
    let case = Case::new();
    let root = fs::canonicalize(case.dir.path()).unwrap();
    let (library, inner) = (root.join("lib/liba.so"), root.join("inner/libb.so"));
    for file in [&library, &inner] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    compile("musl-gcc", "int b;", &inner, &["-shared", "-Wl,-soname,libb.so"]);
    let flags = ["-shared", "-Wl,-soname,liba.so", "-Wl,--no-as-needed", inner.to_str().unwrap()];
    compile("musl-gcc", "int a;", &library, &flags);
    let rpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib:$ORIGIN/inner,--allow-shlib-undefined,--no-as-needed";
    let app = root.join("app");
    compile("musl-gcc", "int main(void) { return 0; }", &app, &[rpath, library.to_str().unwrap()]);
    let expected = listed(Command::new("/lib/ld-musl-x86_64.so.1").arg("--list").arg(&app));
    assert_eq!(expected.len(), 3, "{expected:?}");
    assert_eq!(mapped(&app, &[]), expected);
}
