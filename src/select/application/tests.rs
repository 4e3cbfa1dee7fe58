//! The rule on small trees. A tree is text: a path per line, a directory with a slash at its end, a file that the
//! distribution owns with `dpkg` behind it, one that a language's package owns with `node`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::base::Digest;
use crate::image::{EntryKind, ImageConfig, OwnersAsSeen};
use crate::observation::PathRecord;

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

struct Case {
    dir: TempDir,
    entries: FileTree<Entry>,
    owners: BTreeMap<ImagePath, Manager>,
    working_dir: &'static str,
    command: &'static [&'static str],
}

fn entry(kind: EntryKind) -> Entry {
    let mode = if kind == EntryKind::Dir { 0o755 } else { 0o644 };
    Entry { kind, mode, uid: 0, gid: 0, mtime: 0, nanos: 0, xattrs: BTreeMap::new() }
}

impl Case {
    fn of(tree: &str) -> Self {
        let mut case = Case {
            dir: TempDir::new().unwrap(),
            entries: FileTree::new(),
            owners: BTreeMap::new(),
            working_dir: "/",
            command: &[],
        };
        case.entries.insert(ImagePath::root(), entry(EntryKind::Dir));
        // What makes a distribution known, and what every run uses.
        for line in tree.lines().chain(["/usr/lib/libc.so.6 dpkg"]) {
            let mut words = line.split_whitespace();
            let Some(text) = words.next() else { continue };
            let name = path(text);
            for above in name.ancestors() {
                case.entries.get_or_insert_with(above, || entry(EntryKind::Dir));
            }
            let content = if text.ends_with("CACHEDIR.TAG") { runtime::CACHE_SIGNATURE } else { b"x" };
            let on_host = name.on_host(case.dir.path());
            if text.ends_with('/') {
                fs::create_dir_all(on_host).unwrap();
                case.entries.insert(name, entry(EntryKind::Dir));
                continue;
            }
            fs::create_dir_all(on_host.parent().unwrap()).unwrap();
            fs::write(on_host, content).unwrap();
            let size = content.len() as u64;
            let kind = EntryKind::File { size, digest: Some(Digest::of(content)), link_group: None };
            case.entries.insert(name.clone(), entry(kind));
            match words.next() {
                Some("dpkg") => drop(case.owners.insert(name, Manager::Dpkg)),
                Some("node") => drop(case.owners.insert(name, Manager::Node)),
                Some(other) => panic!("{other}"),
                None => {}
            }
        }
        case
    }

    fn starts_in(mut self, directory: &'static str) -> Self {
        self.working_dir = directory;
        self
    }

    fn runs(mut self, command: &'static [&'static str]) -> Self {
        self.command = command;
        self
    }

    fn without_a_database(mut self) -> Self {
        self.owners.clear();
        self
    }

    fn find(&self, rootfs: &Rootfs, used: &[&str], most: usize) -> Application {
        let record = |operation| PathRecord::of(Found::File { fingerprint: None }, &[operation]);
        let mut observation = Observation::blank();
        observation.header.command = self.command.iter().map(|word| word.to_string()).collect();
        observation.header.overrides.working_dir = Some(self.working_dir.into());
        let used = used.iter().chain(&["/usr/lib/libc.so.6"]).map(|text| match text.strip_prefix("stat ") {
            Some(text) => (path(text), record(Operation::Stat)),
            None => (path(text), record(Operation::Open)),
        });
        observation.paths = used.collect();
        let execution = Execution::new(&ImageConfig::bare(), &observation);
        let owner = |path: &ImagePath| self.owners.get(path).copied();
        find_up_to(most, rootfs, &execution, &observation, &owner).unwrap()
    }

    /// Checks which files and empty directories are the application's, each directory of it with its files, in one line.
    #[track_caller]
    fn gives(&self, used: &[&str], expected: &str) {
        let rootfs = Rootfs::full(self.dir.path(), self.entries.clone()).unwrap();
        let application = self.find(&rootfs, used, 0);
        assert_eq!(text_of(&application), expected, "{used:?}");
        assert_eq!(application.warnings, [""; 0]);
    }
}

/// `ROOT: FILE FILE | ROOT: FILE`, the files relative to the root.
fn text_of(application: &Application) -> String {
    let mut roots: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, reasons) in application.paths.iter() {
        let root = reasons.iter().next().unwrap().cause().unwrap();
        let files = roots.entry(root.to_string()).or_default();
        let below = path.to_string().strip_prefix(&root.to_string()).unwrap().to_owned();
        files.extend(Some(below.trim_start_matches('/').to_owned()).filter(|below| !below.is_empty()));
    }
    roots.iter().map(|(root, files)| format!("{root}: {}", files.join(" "))).collect::<Vec<_>>().join(" | ")
}

#[test]
fn an_application_has_templates_pages_and_translations_beside_what_it_ran() {
    Case::of(
        "/app/app.py\n/app/templates/x.html\n/app/static/never-probed.js\n/app/locale/de/LC_MESSAGES/app.mo\n/app/uploads/\n\
         /usr/lib/python3/os.py dpkg\n/usr/lib/python3/xml.py dpkg\n/entrypoint.sh\n/requirements.txt\n/data/unused",
    )
    .gives(
        &["/app/app.py", "/usr/lib/python3/os.py", "/entrypoint.sh"],
        "/app: app.py locale/de/LC_MESSAGES/app.mo static/never-probed.js templates/x.html uploads",
    );
}

#[test]
fn the_highest_directory_that_is_not_shared_is_the_application() {
    let tree =
        |root: &str| Case::of(&format!("{root}/src/lib/x.py\n{root}/public/y.html\n/opt/other/z\n/home/other/z/z"));
    for root in [
        "/app",
        "/opt/foo",
        "/usr/src/app",
        "/srv/site",
        "/usr/local/tool",
        "/usr/share/tool",
        "/home/user/app",
        "/var/www",
        "/var/lib/ghost",
        "/etc/tool",
        "/root/app",
        "/workspace",
        "/opt/bitnami/foo",
        "/go/src/app",
    ] {
        tree(root).gives(&[&format!("{root}/src/lib/x.py")], &format!("{root}: public/y.html src/lib/x.py"));
    }
    for root in [
        "/usr/lib/tool",
        "/usr/local/lib/tool",
        "/run/tool",
        "/tmp/tool",
        "/var/cache/tool",
        "/etc/ssl/x",
        "/usr/share/zoneinfo/x",
        "/var/lib/dpkg/x",
        "/nix/store/x",
        "/root/.local/share/x",
        "/usr/local/bin/x",
    ] {
        tree(root).gives(&[&format!("{root}/src/lib/x.py")], "");
    }
}

#[test]
fn files_straight_in_a_shared_directory_bring_nothing() {
    let case = Case::of(
        "/run.sh\n/other.sh\n/usr/local/bin/a\n/usr/local/bin/b\n/etc/a.conf\n/etc/b.conf\n/opt/a\n/opt/b\n/home/a/x\n/home/a/y",
    );
    case.gives(&["/run.sh", "/usr/local/bin/a", "/etc/a.conf", "/opt/a", "/home/a/x"], "");
}

#[test]
fn a_home_is_the_application_only_when_it_starts_there() {
    let tree = "/home/u/server.js\n/home/u/views/v.html\n/home/u/.npm/cache\n/home/u/.ssh/id\n/home/u/.config/x\n/home/u/.bash_history\n/home/u/.env";
    Case::of(tree).gives(&["/home/u/views/v.html"], "/home/u/views: v.html");
    let all = "/home/u: .env server.js views/v.html";
    Case::of(tree).starts_in("/home/u").gives(&["/home/u/views/v.html"], all);
    Case::of(tree).runs(&["node", "/home/u/server.js"]).gives(&["/home/u/server.js"], all);
}

#[test]
fn where_an_image_starts_is_where_its_application_is() {
    let case = Case::of("/site/templates/a.html\n/server");
    case.gives(&["/server"], "");
    case.starts_in("/site").gives(&["/server"], "/site: templates/a.html");
    Case::of("/usr/share/x/a dpkg\n/usr/share/x/b").starts_in("/usr/share/x").gives(&[], "");
    Case::of("/a\n/b").starts_in("/").gives(&["/a"], "");
}

#[test]
fn only_what_was_read_or_run_is_a_sign() {
    Case::of("/opt/a/x\n/opt/a/y\n/opt/b/x").gives(&["/opt/a/x", "stat /opt/b/x"], "/opt/a: x y");
}

#[test]
fn packages_are_not_the_application() {
    Case::of(
        "/app/index.js\n/app/view.html\n/app/node_modules/a/used.js node\n/app/node_modules/a/lazy.js node\n\
         /app/node_modules/.bin/a\n/app/node_modules/.cache/x\n/app/lib/jar.jar node\n/app/vendor/bundle/x\n/app/vendor/mine.php",
    )
    .gives(&["/app/index.js", "/app/node_modules/a/used.js"], "/app: index.js vendor/mine.php view.html");
    Case::of("/srv/node_modules/a/used.js node\n/srv/node_modules/a/more.js node\n/srv/node_modules/b/more.js")
        .gives(&["/srv/node_modules/a/used.js", "/srv/node_modules/b/more.js"], "");
    Case::of("/usr/lib/python3/dist-packages/own.py\n/usr/lib/python3/dist-packages/more.py")
        .gives(&["/usr/lib/python3/dist-packages/own.py"], "");
}

#[test]
fn a_directory_with_files_of_the_distribution_is_not_the_applications_as_a_whole() {
    let case = Case::of(
        "/etc/nginx/nginx.conf dpkg\n/etc/nginx/made-by-a-script\n/etc/nginx/own.d/a.conf\n/etc/nginx/own.d/b.conf\n\
         /usr/share/nginx/html/50x.html dpkg\n/usr/share/nginx/html/cv.pdf\n/usr/share/nginx/html/img/x.png\n/usr/share/nginx/modules/m",
    );
    case.gives(&["/etc/nginx/nginx.conf", "/etc/nginx/made-by-a-script"], "");
    case.gives(&["/etc/nginx/own.d/a.conf"], "/etc/nginx/own.d: a.conf b.conf");
    case.gives(&["/usr/share/nginx/html/50x.html"], "");
    case.gives(&["/usr/share/nginx/html/cv.pdf"], "/usr/share/nginx/html: cv.pdf img/x.png");
}

#[test]
fn without_a_database_nobody_knows_whose_the_distributions_directories_are() {
    let case =
        Case::of("/usr/share/x/a\n/usr/share/x/b\n/etc/x/a\n/etc/x/b\n/var/lib/x/a\n/var/lib/x/b\n/srv/x/a\n/srv/x/b");
    let case = case.without_a_database();
    case.gives(&["/usr/share/x/a", "/etc/x/a", "/var/lib/x/a", "/srv/x/a"], "/srv/x: a b");
}

#[test]
fn runtimes_environments_and_caches_are_not_the_application() {
    Case::of(
        "/app/main.py\n/app/venv/pyvenv.cfg\n/app/venv/bin/activate\n/app/jre/release\n/app/jre/lib/modules\n/app/jre/lib/x\n\
         /app/target/CACHEDIR.TAG\n/app/target/big\n/app/py/bin/python\n/app/py/lib/python3.12/os.py\n/app/lib/pythonic/x",
    )
    .gives(&["/app/main.py", "/app/venv/bin/activate"], "/app: lib/pythonic/x main.py");
    Case::of("/opt/java/openjdk/release\n/opt/java/openjdk/lib/modules\n/opt/java/openjdk/lib/src.zip")
        .gives(&["/opt/java/openjdk/lib/modules"], "");
    Case::of("/opt/venv/pyvenv.cfg\n/opt/venv/bin/python\n/opt/venv/bin/pip").gives(&["/opt/venv/bin/python"], "");
    Case::of("/app/not/CACHEDIR/x\n/app/y").gives(&["/app/y"], "/app: not/CACHEDIR/x y");
}

#[test]
fn version_control_and_leftovers_of_tools_never_ship() {
    Case::of(
        "/app/x.py\n/app/.git/config\n/app/.hg/x\n/app/.svn/x\n/app/sub/.git\n/app/.cache/x\n/app/.pytest_cache/x\n/app/.ssh/id_rsa\n\
         /app/.gitignore\n/app/.env\n/app/.well-known/security.txt\n/app/git/x",
    )
    .gives(&["/app/x.py"], "/app: .env .well-known/security.txt git/x x.py");
    Case::of("/app/.git/HEAD\n/app/x").gives(&["/app/.git/HEAD"], "");
}

#[test]
fn bytecode_ships_where_python_would_take_it() {
    Case::of(
        "/app/x.py\n/app/__pycache__/x.cpython-311.pyc\n/app/__pycache__/gone.cpython-311.pyc\n/app/compiled.pyc\n\
         /app/lib/p.py node\n/app/lib/__pycache__/p.cpython-311.pyc",
    )
    .gives(&["/app/x.py"], "/app: __pycache__/x.cpython-311.pyc compiled.pyc x.py");
}

#[test]
fn a_large_directory_of_a_lazy_base_is_not_walked() {
    let case = Case::of("/app/a\n/app/b/c\n/app/b/d\n/srv/x/y\n/srv/x/z").starts_in("/srv/x");
    let rootfs = Rootfs::lazy(case.dir.path(), Arc::new(OwnersAsSeen)).unwrap();
    assert_eq!(text_of(&case.find(&rootfs, &["/app/a"], 4)), "/app: a b/c b/d | /srv/x: y z");
    let application = case.find(&rootfs, &["/app/a"], 3);
    assert_eq!(text_of(&application), "/srv/x: y z");
    let [warning] = &application.warnings[..] else { panic!("{:?}", application.warnings) };
    assert!(warning.starts_with("/app has more than 3 files") && warning.contains("--keep /app"), "{warning}");
}

#[test]
fn on_a_machine_only_what_is_near_is_the_application() {
    // The tree of this test lies below `/tmp`, or wherever temporary files do, which is nobody's.
    let case = Case::of("/x");
    let rootfs = Rootfs::lazy(Path::new("/"), Arc::new(OwnersAsSeen)).unwrap();
    let own = case.dir.path().join("x");
    assert_eq!(text_of(&case.find(&rootfs, &[own.to_str().unwrap(), "/root/x", "/etc/passwd"], 10)), "");
    let near = |working: &str, file: &str| {
        let mut directories = Directories {
            rootfs: &rootfs,
            owner: &|_| None,
            working: Some(path(working)),
            named: BTreeSet::new(),
            has_database: true,
            is_host: true,
            most: 10,
            judged: BTreeMap::new(),
        };
        directories.of(&path(file)).unwrap().map(|found| found.to_string())
    };
    assert_eq!(near("/", "/home/me/src/project/app.py").as_deref(), Some("/home/me/src/project"));
    assert_eq!(near("/home/me/src", "/home/me/src/project/app.py").as_deref(), Some("/home/me/src"));
    assert_eq!(near("/home/me", "/home/me/src/app.py").as_deref(), Some("/home/me/src"));
    assert_eq!(near("/home/me", "/home/me/app.py"), None);
    assert_eq!(near("/home/me", "/home/me/.local/x/app.py"), None);
}

#[test]
fn what_services_serve_comes_although_no_probe_asked_for_it() {
    Case::of("/srv/share/x.txt\n/srv/repo/.git/x\n/srv/repo/db/1\n/srv/pkg/a dpkg\n/opt/unused/x\n/usr/sbin/d dpkg")
        .gives(&["/usr/sbin/d"], "/srv/repo: db/1 | /srv/share: x.txt");
}
