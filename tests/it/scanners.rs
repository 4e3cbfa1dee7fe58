//! What a scanner finds in an image that was made small: syft, which shares no code with scrimp, sees the packages of
//! which there are files, and no others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Env, Image, busybox_with, fixture};

const INSTALLED: &str = "C:Q1WNPtsXlS7W6r1YPfiQbhgC0Q4OM=\nP:busybox\nV:1.36.1-r5\nA:x86_64\nT:Many tools\nL:GPL-2.0-only\no:busybox\n\
    F:bin\nR:busybox\na:0:0:755\nZ:Q1WNPtsXlS7W6r1YPfiQbhgC0Q4OM=\nR:vi\nZ:Q1WNPtsXlS7W6r1YPfiQbhgC0Q4OM=\n\n\
    C:Q1WNPtsXlS7W6r1YPfiQbhgC0Q4OM=\nP:pages\nV:2-r0\nA:x86_64\nT:Pages\nL:MIT\no:pages\n\
    F:www\nR:index.html\nZ:Q1WNPtsXlS7W6r1YPfiQbhgC0Q4OM=\n\n";

/// `TYPE NAME VERSION` of each package that syft sees in `source`.
fn scan(source: &str) -> BTreeSet<String> {
    let syft = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/syft/bin/syft");
    assert!(syft.exists(), "{} is missing\nhint: scripts/test installs it", syft.display());
    let mut command = Command::new(syft);
    command.args(["scan", source, "-q", "-o", "json"]).env("SYFT_CHECK_FOR_APP_UPDATE", "false");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = document["artifacts"].as_array().unwrap().iter();
    packages.map(|p| format!("{} {} {}", text(p, "type"), text(p, "name"), text(p, "version"))).collect()
}

/// The entries of a lock file.
fn lock(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Makes a directory from an image of busybox with `files`, of which only busybox itself is used, and scans it.
fn scan_small(files: &[(&str, &[u8])]) -> (BTreeSet<String>, Env) {
    let env = Env::new();
    let source = busybox_with(&env, "small", &json!({"Cmd": ["true"], "Env": ["PATH=/bin"]}), files);
    env.scrimp(&["slim", &source, "-o", "rootfs:root", "--lock", "lock"]).succeeds();
    (scan(&format!("dir:{}", env.path("root"))), env)
}

#[test]
fn a_scanner_sees_debians_packages_of_which_there_are_files() {
    let env = Env::new().sharing_the_store();
    let destination = format!("docker-archive:{}", env.path("small.tar"));
    let arguments = ["slim", &env.source("python-hello"), "--http", "/", "-o", &destination, "--lock", "lock"];
    env.scrimp(&arguments).succeeds();
    let (seen, base) = (scan(&destination), scan(&env.source("python-hello")));
    let debian = |seen: &BTreeSet<String>| seen.iter().filter(|p| p.starts_with("deb ")).cloned().collect();
    let (seen, base): (BTreeSet<String>, BTreeSet<String>) = (debian(&seen), debian(&base));
    assert!(seen.is_subset(&base), "{:?}", seen.difference(&base));
    let names: BTreeSet<&str> = seen.iter().map(|package| package.split(' ').nth(1).unwrap()).collect();
    let lock = lock(&env.path("lock"));
    let owners: BTreeSet<&str> = lock.iter().filter_map(|entry| entry["package"].as_str()).collect();
    assert_eq!(names, owners);
    for name in ["libc6", "python3.11-minimal", "base-files"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    assert!(!names.contains("dpkg") && !names.contains("apt"), "{names:?}");
    let tree = Image::read(Path::new(&env.path("small.tar"))).tree;
    for path in ["/var/lib/dpkg/status.d/libc6.md5sums", "/usr/share/doc/libc6/copyright", "/usr/lib/os-release"] {
        assert!(tree.contains_key(path), "{path}");
    }
    for path in ["/var/lib/dpkg/status", "/usr/share/doc/bash/copyright"] {
        assert!(!tree.contains_key(path), "{path}");
    }
}

#[test]
fn every_format_and_build_have_the_same_package_data() {
    let env = Env::new().sharing_the_store();
    let source = env.source("c-hello-glibc");
    let destinations = ["docker-archive:a.tar", "rootfs:root", "dockerfile:context"];
    let destinations = destinations.iter().flat_map(|destination| ["-o", destination]).collect::<Vec<_>>();
    env.scrimp(&[&["slim", &source], &destinations[..]].concat()).succeeds();
    env.scrimp(&["trace", &source, "-o", "trace"]).succeeds();
    env.scrimp(&["build", &source, "--trace", "trace", "-o", "docker-archive:b.tar"]).succeeds();
    assert_eq!(std::fs::read(env.path("a.tar")).unwrap(), std::fs::read(env.path("b.tar")).unwrap());
    let sums = std::fs::read_to_string(env.path("root/var/lib/dpkg/status.d/libc6.md5sums")).unwrap();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        let run = env.run("md5sum", &[&env.path(&format!("root/{path}"))]).succeeds();
        assert_eq!(run.stdout.split(' ').next(), Some(sum), "{path}");
    }
    assert!(sums.contains("libc.so.6"), "{sums}");
    let listed = env.run("tar", &["-tvf", "context/rootfs.tar"]);
    let listed = if listed.succeeded() { listed } else { env.run("tar", &["-tvf", "context/skeleton.tar"]).succeeds() };
    let line = listed.stdout.lines().find(|line| line.ends_with("var/lib/dpkg/status.d/libc6"));
    assert!(line.is_some_and(|line| line.starts_with("-rw-r--r-- 0/0")), "{listed}");
    let dockerfile = std::fs::read_to_string(env.path("context/Dockerfile")).unwrap();
    assert!(!dockerfile.contains("status.d"), "{dockerfile}");
}

#[test]
fn without_package_data_there_is_none() {
    let env = Env::new().sharing_the_store();
    let source = env.source("c-hello-glibc");
    let arguments =
        ["slim", &source, "--no-package-db", "-o", "docker-archive:a.tar", "--lock", "lock", "--format", "json"];
    let summary = env.scrimp(&arguments).succeeds().json();
    assert_eq!(summary["image"]["package_data"], json!({"bytes": 0, "files": 0}));
    let tree = Image::read(Path::new(&env.path("a.tar"))).tree;
    let data: Vec<_> = tree.keys().filter(|p| p.starts_with("/var/lib/dpkg") || p.contains("os-release")).collect();
    assert!(data.is_empty(), "{data:?}");
    let lock = lock(&env.path("lock"));
    assert!(lock.iter().any(|entry| entry["package"] == "libc6"), "{lock:?}");
}

#[test]
fn a_database_that_the_application_reads_stays_as_it_is() {
    let env = Env::new().sharing_the_store();
    let source = env.source("c-hello-glibc");
    let command = ["--entrypoint", "/bin/cat", "--", "/var/lib/dpkg/status"];
    env.scrimp(&[&["slim", &source, "-o", "docker-archive:a.tar"], &command[..]].concat()).succeeds();
    let (tree, base) = (Image::read(Path::new(&env.path("a.tar"))).tree, Image::read(&fixture("c-hello-glibc")).tree);
    assert_eq!(tree["/var/lib/dpkg/status"], base["/var/lib/dpkg/status"]);
    assert!(!tree.keys().any(|path| path.starts_with("/var/lib/dpkg/status.d")), "{tree:?}");
}

#[test]
fn a_scanner_sees_alpines_packages_of_which_there_are_files() {
    let files: [(&str, &[u8]); 3] = [
        ("www/index.html", b"hello"),
        ("lib/apk/db/installed", INSTALLED.as_bytes()),
        ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20.0\n"),
    ];
    let (seen, env) = scan_small(&files);
    assert_eq!(seen.iter().filter(|p| p.starts_with("apk ")).collect::<Vec<_>>(), ["apk busybox 1.36.1-r5"]);
    let installed = std::fs::read_to_string(env.path("root/lib/apk/db/installed")).unwrap();
    let end = "F:bin\nR:busybox\na:0:0:755\nZ:Q1WNPtsXlS7W6r1YPfiQbhgC0Q4OM=\n\n";
    assert!(installed.starts_with("C:") && installed.ends_with(end), "{installed}");
    let lock = lock(&env.path("lock"));
    let entry = lock.iter().find(|entry| entry["path"] == "/lib/apk/db/installed").unwrap();
    assert_eq!(entry["reasons"], json!(["package-data"]));
}

/// Two packages made by rpmbuild and put into a database by rpm: the one has busybox and a licence, the other a page.
fn rpm_database(env: &Env) -> PathBuf {
    for (name, epoch, files) in [
        ("tools", "Epoch: 1\n", "/bin/busybox\n%license /usr/share/licenses/tools/COPYING\n"),
        ("pages", "", "/www/index.html\n"),
    ] {
        let spec = format!(
            "Name: {name}\n{epoch}Version: 2.0\nRelease: 3\nSummary: Some\nLicense: MIT\nVendor: Nobody\nBuildArch: noarch\n\
             %description\nSome.\n%install\nmkdir -p %{{buildroot}}/bin %{{buildroot}}/www \
             %{{buildroot}}/usr/share/licenses/tools\n\
             cd %{{buildroot}}; touch bin/busybox www/index.html usr/share/licenses/tools/COPYING\n%files\n{files}"
        );
        std::fs::write(env.path(&format!("{name}.spec")), spec).unwrap();
        let top = format!("_topdir {}", env.path("rpm"));
        let unpackaged = "_unpackaged_files_terminate_build 0";
        let arguments = ["-bb", "--define", &top, "--define", unpackaged, &format!("{name}.spec")];
        env.run("rpmbuild", &arguments).succeeds();
    }
    let database = env.path("database");
    std::fs::create_dir(&database).unwrap();
    let packages = ["tools", "pages"].map(|name| format!("rpm/RPMS/noarch/{name}-2.0-3.noarch.rpm"));
    let options = ["--dbpath", &database, "--define", "_db_backend sqlite", "-i", "--justdb", "--nodeps"];
    env.run("rpm", &[&options[..], &[&packages[0], &packages[1]]].concat()).succeeds();
    Path::new(&database).join("rpmdb.sqlite")
}

/// The same packages in rpm's format ndb, which Debian's rpm cannot write: a page of slots, and the blobs behind it.
fn as_ndb(sqlite: &Path) -> Vec<u8> {
    let connection = Connection::open(sqlite).unwrap();
    let mut statement = connection.prepare("SELECT blob FROM Packages ORDER BY hnum").unwrap();
    let blobs: Vec<Vec<u8>> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let magic = |text: &[u8; 4]| u32::from_le_bytes(*text);
    let (mut slots, mut heap) = (words(&[magic(b"RpmP"), 0, 1, 1, 3, 0, 0, 0]), Vec::new());
    for (number, blob) in (1u32..).zip(&blobs) {
        let offset = (4096 + heap.len()) as u32 / 16;
        let start = heap.len();
        let (mut a, mut b) = (1u32, 0u32);
        for byte in blob {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        heap.extend(words(&[magic(b"BlbS"), number, 1, blob.len() as u32]));
        heap.extend_from_slice(blob);
        // The tail stands at the end of the last block.
        while (heap.len() + 12) % 16 != 0 {
            heap.push(0);
        }
        heap.extend(words(&[b << 16 | a, blob.len() as u32, magic(b"BlbE")]));
        slots.extend(words(&[magic(b"Slot"), number, offset, (heap.len() - start) as u32 / 16]));
    }
    while slots.len() < 4096 {
        slots.extend(words(&[magic(b"Slot"), 0, 0, 0]));
    }
    [slots, heap].concat()
}

#[test]
fn a_scanner_sees_rpms_packages_of_which_there_are_files() {
    let making = Env::new();
    let sqlite = rpm_database(&making);
    let [as_sqlite, as_ndb] = [std::fs::read(&sqlite).unwrap(), as_ndb(&sqlite)];
    for (name, database) in [("rpmdb.sqlite", as_sqlite), ("Packages.db", as_ndb)] {
        let path = format!("usr/lib/sysimage/rpm/{name}");
        let all = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(all.path().join("var/lib/rpm")).unwrap();
        std::fs::write(all.path().join("var/lib/rpm").join(name), &database).unwrap();
        let both = ["rpm pages 2.0-3", "rpm tools 1:2.0-3"];
        let seen = scan(&format!("dir:{}", all.path().display()));
        assert_eq!(seen.iter().collect::<Vec<_>>(), both, "syft reads the database itself: {name}");

        let files: [(&str, &[u8]); 4] = [
            ("www/index.html", b"hello"),
            ("usr/share/licenses/tools/COPYING", b"Do what you like."),
            (&path, &database),
            ("etc/os-release", b"ID=fedora\nVERSION_ID=40\n"),
        ];
        let (seen, env) = scan_small(&files);
        let seen: Vec<_> = seen.iter().filter(|package| package.starts_with("rpm ")).collect();
        // syft 1.18 takes the size in such a line for the epoch; what rpm says of the line is the measure of that.
        let [tools] = seen[..] else { panic!("{name}: {seen:?}") };
        assert!(tools.starts_with("rpm tools ") && tools.ends_with(":2.0-3"), "{name}: {tools}");
        let manifest = std::fs::read_to_string(env.path("root/var/lib/rpmmanifest/container-manifest-2")).unwrap();
        let query = "%{NAME}\\t%{VERSION}-%{RELEASE}\\t%{INSTALLTIME}\\t%{BUILDTIME}\\t%{VENDOR}\\t%{EPOCH}\\t%{SIZE}\\t\
            %{ARCH}\\t%{EPOCHNUM}\\t%{SOURCERPM}\\n";
        let database = making.path("database");
        let options = ["--dbpath", &database, "--define", "_db_backend sqlite", "-q", "tools", "--qf", query];
        assert_eq!(manifest, making.run("rpm", &options).succeeds().stdout, "{name}");
        assert!(Path::new(&env.path("root/usr/share/licenses/tools/COPYING")).exists());
        assert!(!Path::new(&env.path(&format!("root/{path}"))).exists());
    }
}
