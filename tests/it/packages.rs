//! Which package a file belongs to: small trees with the databases of each manager.

use scrimp::image::Rootfs;
use scrimp::select::Packages;

use crate::trees::{Base, path};

/// Owners of paths as text: `/usr/bin/x: dpkg coreutils 9.1`, and `/x: nobody`.
fn owners(packages: &Packages, paths: &[&str]) -> Vec<String> {
    let line = |text: &&str| match packages.owner(&path(text)) {
        Some(package) => {
            format!("{text}: {} {package} {}", format!("{:?}", package.manager).to_lowercase(), package.version)
        }
        None => format!("{text}: nobody"),
    };
    paths.iter().map(line).collect()
}

fn read(rootfs: &Rootfs) -> Packages {
    let packages = Packages::read(rootfs).unwrap();
    assert_eq!(packages.warnings(), [""; 0]);
    packages
}

/// A paragraph of a dpkg status file.
fn stanza(name: &str, version: &str, architecture: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\n\n")
}

fn debian() -> Base {
    let status = [
        stanza("libc6", "2.36", "amd64"),
        stanza("libc6", "2.36", "i386"),
        stanza("libc-bin", "2.36", "amd64"),
        stanza("dash", "0.5", "amd64"),
        stanza("mawk", "1.3", "amd64"),
        stanza("ca-certificates", "2023", "all"),
        stanza("python3-app", "1.0", "all"),
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n".into(),
        "Package: ../../escape\nStatus: install ok installed\nVersion: 1\n\n".into(),
    ];
    let lists = [
        (
            "libc6:amd64",
            "/.\n/lib\n/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu/libc.so.6\n/usr/share/doc/libc6/gone\n",
        ),
        ("libc6:i386", "/.\n/lib\n/lib/i386\n/lib/i386/libc.so.6\n"),
        ("libc-bin", "/sbin\n/sbin/ldconfig\n"),
        ("dash", "/bin\n/bin/dash\n/bin/sh\n"),
        ("mawk", "/lib\n/usr/bin/mawk\n/usr/share/man/mawk.1\n"),
        ("ca-certificates", "/usr/sbin/update-ca-certificates\n/usr/share/ca-certificates/mozilla/A.crt\n"),
        ("python3-app", "/usr/lib/python3/app.py\n"),
        ("gone", "/etc/gone.conf\n"),
    ];
    let mut base = Base::new()
        .link("/bin", "usr/bin")
        .link("/sbin", "usr/sbin")
        .link("/lib", "usr/lib")
        .dir("/usr", 0o755)
        .file("/usr/lib/x86_64-linux-gnu/libc.so.6", 0o644, b"64")
        .file("/usr/lib/i386/libc.so.6", 0o644, b"32")
        .file("/usr/sbin/ldconfig", 0o755, b"")
        .file("/usr/sbin/update-ca-certificates", 0o755, b"")
        .file("/usr/bin/dash", 0o755, b"")
        .link("/usr/bin/sh", "busybox")
        .file("/usr/bin/sh.distrib", 0o755, b"")
        .file("/usr/bin/mawk", 0o755, b"")
        .link("/usr/bin/awk", "/etc/alternatives/awk")
        .link("/usr/bin/nawk", "/etc/alternatives/nawk")
        .link("/etc/alternatives/awk", "/usr/bin/mawk")
        .link("/etc/alternatives/nawk", "/bin/mawk")
        .file(
            "/var/lib/dpkg/alternatives/awk",
            0o644,
            b"auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n\n",
        )
        .file("/var/lib/dpkg/diversions", 0o644, b"/bin/sh\n/bin/sh.distrib\nbusybox\n")
        .file("/etc/ld.so.cache", 0o644, b"")
        .file("/etc/gone.conf", 0o644, b"")
        .file("/usr/share/ca-certificates/mozilla/A.crt", 0o644, b"")
        .link("/etc/ssl/certs/A.pem", "/usr/share/ca-certificates/mozilla/A.crt")
        .link("/etc/ssl/certs/0123abcd.0", "A.pem")
        .file("/etc/ssl/certs/own.pem", 0o644, b"")
        .file("/etc/ssl/certs/ca-certificates.crt", 0o644, b"")
        .file("/usr/lib/python3/app.py", 0o644, b"")
        .file("/usr/lib/python3/__pycache__/app.cpython-311.pyc", 0o644, b"")
        .file("/var/lib/dpkg/status", 0o644, status.concat().as_bytes());
    for (name, list) in lists {
        base = base.file(&format!("/var/lib/dpkg/info/{name}.list"), 0o644, list.as_bytes());
    }
    for dir in ["/etc", "/etc/ssl", "/etc/ssl/certs", "/etc/alternatives", "/usr/bin", "/usr/lib", "/usr/sbin"] {
        base = base.dir(dir, 0o755);
    }
    for dir in ["/usr/lib/x86_64-linux-gnu", "/usr/lib/i386", "/usr/lib/python3", "/usr/lib/python3/__pycache__"] {
        base = base.dir(dir, 0o755);
    }
    for dir in ["/var", "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/info", "/var/lib/dpkg/alternatives"] {
        base = base.dir(dir, 0o755);
    }
    for dir in ["/usr/share", "/usr/share/ca-certificates", "/usr/share/ca-certificates/mozilla"] {
        base = base.dir(dir, 0o755);
    }
    base
}

#[test]
fn debian_files_belong_to_what_installed_or_makes_them() {
    let packages = read(&debian().rootfs());
    let paths = [
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib",
        "/usr/bin/sh",
        "/bin/sh.distrib",
        "/usr/bin/awk",
        "/etc/alternatives/awk",
        "/etc/alternatives/nawk",
        "/usr/bin/nawk",
        "/etc/ld.so.cache",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs/0123abcd.0",
        "/etc/ssl/certs/own.pem",
        "/usr/lib/python3/__pycache__/app.cpython-311.pyc",
        "/etc/gone.conf",
        "/usr/lib",
    ];
    assert_eq!(
        owners(&packages, &paths),
        [
            "/usr/lib/x86_64-linux-gnu/libc.so.6: dpkg libc6 2.36",
            "/lib/x86_64-linux-gnu/libc.so.6: dpkg libc6 2.36",
            "/lib: nobody",
            "/usr/bin/sh: nobody",
            "/bin/sh.distrib: dpkg dash 0.5",
            "/usr/bin/awk: dpkg mawk 1.3",
            "/etc/alternatives/awk: dpkg mawk 1.3",
            "/etc/alternatives/nawk: dpkg mawk 1.3",
            "/usr/bin/nawk: dpkg mawk 1.3",
            "/etc/ld.so.cache: dpkg libc-bin 2.36",
            "/etc/ssl/certs/ca-certificates.crt: dpkg ca-certificates 2023",
            "/etc/ssl/certs/0123abcd.0: dpkg ca-certificates 2023",
            "/etc/ssl/certs/own.pem: nobody",
            "/usr/lib/python3/__pycache__/app.cpython-311.pyc: dpkg python3-app 1.0",
            "/etc/gone.conf: nobody",
            "/usr/lib: nobody",
        ]
    );
}

#[test]
fn packages_are_found_by_name_and_have_the_files_that_are_there() {
    let packages = read(&debian().rootfs());
    let count = |name: &str| packages.named(name).len();
    assert_eq!(["libc6", "libc6:i386", "libc6:arm64", "gone", "../../escape", "lib"].map(count), [2, 1, 0, 0, 0, 0]);
    let files = |name: &str| -> Vec<String> {
        packages.files(packages.named(name)[0]).iter().map(ToString::to_string).collect()
    };
    assert_eq!(files("libc6:amd64"), ["/usr/lib/x86_64-linux-gnu/libc.so.6"]);
    assert_eq!(files("python3-app"), ["/usr/lib/python3/__pycache__/app.cpython-311.pyc", "/usr/lib/python3/app.py"]);
}

#[test]
fn a_directory_on_the_host_is_read_as_an_image_is() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let file = dir.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    };
    write("usr/lib/x/libz.so", "");
    std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
    write("var/lib/dpkg/status", &stanza("zlib1g", "1.2", "amd64"));
    write("var/lib/dpkg/info/zlib1g:amd64.list", "/.\n/lib\n/lib/x\n/lib/x/libz.so\n");
    write("srv/node_modules/left-pad/package.json", r#"{"name": "left-pad", "version": "1.3.0"}"#);
    write("srv/node_modules/left-pad/index.js", "");
    let rootfs = Rootfs::lazy(dir.path(), std::sync::Arc::new(scrimp::image::OwnersAsSeen)).unwrap();
    let mut packages = read(&rootfs);
    let paths = ["/usr/lib/x/libz.so", "/lib/x/libz.so", "/srv/node_modules/left-pad/index.js"];
    let mut expected = vec![
        "/usr/lib/x/libz.so: dpkg zlib1g 1.2",
        "/lib/x/libz.so: dpkg zlib1g 1.2",
        "/srv/node_modules/left-pad/index.js: nobody",
    ];
    assert_eq!(owners(&packages, &paths), expected);
    packages.near(&rootfs, [&path("/srv/node_modules/left-pad/index.js")]).unwrap();
    expected[2] = "/srv/node_modules/left-pad/index.js: node left-pad 1.3.0";
    assert_eq!(owners(&packages, &paths), expected);
}

#[test]
fn images_without_dpkg_have_their_packages_one_by_one() {
    let base = Base::new()
        .dir("/usr", 0o755)
        .dir("/usr/share", 0o755)
        .file("/usr/share/zone", 0o644, b"")
        .dir("/var", 0o755)
        .dir("/var/lib", 0o755)
        .dir("/var/lib/dpkg", 0o755)
        .dir("/var/lib/dpkg/status.d", 0o755)
        .file("/var/lib/dpkg/status.d/tzdata", 0o644, b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n")
        .file(
            "/var/lib/dpkg/status.d/tzdata.md5sums",
            0o644,
            b"d41d8cd98f00b204e9800998ecf8427e  usr/share/zone\nd41d8cd98f00b204e9800998ecf8427e  ../../etc/shadow\nshort\n",
        );
    assert_eq!(owners(&read(&base.rootfs()), &["/usr/share/zone"]), ["/usr/share/zone: dpkg tzdata 2024a"]);
}

#[test]
fn alpine_files_belong_to_packages() {
    let base = Base::new()
        .link("/lib", "usr/lib")
        .dir("/usr", 0o755)
        .dir("/usr/lib", 0o755)
        .file("/usr/lib/ld-musl-x86_64.so.1", 0o755, b"")
        .dir("/usr/lib/apk", 0o755)
        .dir("/usr/lib/apk/db", 0o755)
        .file(
            "/usr/lib/apk/db/installed",
            0o644,
            b"C:Q1=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nF:..\nR:evil\n\nP:none\nV:1\n",
        );
    let packages = read(&base.rootfs());
    assert_eq!(
        owners(&packages, &["/lib/ld-musl-x86_64.so.1", "/usr/lib/ld-musl-x86_64.so.1", "/usr/lib/apk/db/installed"]),
        [
            "/lib/ld-musl-x86_64.so.1: apk musl 1.2.4-r2",
            "/usr/lib/ld-musl-x86_64.so.1: apk musl 1.2.4-r2",
            "/usr/lib/apk/db/installed: nobody",
        ]
    );
    assert_eq!(packages.named("musl").len(), 1);
}

#[test]
fn languages_say_what_belongs_to_their_packages() {
    let site = "/usr/lib/python3/site-packages";
    let mut base = Base::new();
    for (file, content) in [
        (
            "/app/node_modules/@babel/core/package.json",
            r#"{"name": "@babel/core", "version": "7.1.0", "bin": {"b": "b.js"}}"#,
        ),
        ("/app/node_modules/@babel/core/b.js", ""),
        ("/app/node_modules/@babel/core/node_modules/ms/package.json", r#"{"name": "ms", "version": "2.0.0"}"#),
        ("/app/node_modules/@babel/core/node_modules/ms/index.js", ""),
        ("/app/node_modules/.cache/x", ""),
        ("/app/package.json", r#"{"name": "app", "version": "1.0.0"}"#),
        (&format!("{site}/flask/app.py"), ""),
        (&format!("{site}/flask/__pycache__/app.cpython-311.pyc"), ""),
        (&format!("{site}/own.py"), ""),
        ("/usr/bin/flask", ""),
        (
            &format!("{site}/flask-2.3.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: Flask\nVersion: 2.3.0\n\nName: x\n",
        ),
        (
            &format!("{site}/flask-2.3.dist-info/RECORD"),
            "flask/app.py,sha256=x,0\n../../../bin/flask,,\n../../../../../../etc/passwd,,\n",
        ),
        (&format!("{site}/old-1.egg-info/PKG-INFO"), "Name: old\nVersion: 1\n"),
        (&format!("{site}/old-1.egg-info/top_level.txt"), "old\n"),
        (&format!("{site}/old/x.py"), ""),
        ("/var/gems/specifications/rack-2.2.gemspec", "# -*- encoding: utf-8 -*-\n# stub: rack 2.2.7 ruby lib\n"),
        ("/var/gems/gems/rack-2.2/lib/rack.rb", ""),
        (
            "/srv/vendor/composer/installed.json",
            r#"{"packages": [{"name": "a/b", "version": "1.5", "install-path": "../a/b"}, {"name": "up", "version": "1", "install-path": "../../.."}]}"#,
        ),
        ("/srv/vendor/a/b/src/x.php", ""),
        ("/srv/index.php", ""),
        ("/etc/passwd", ""),
    ] {
        for dir in path(file).ancestors().filter(|dir| !dir.is_root()) {
            base = base.dir(&dir.to_string(), 0o755);
        }
        base = base.file(file, 0o644, content.as_bytes());
    }
    base = base.dir("/app/node_modules/.bin", 0o755).link("/app/node_modules/.bin/b", "../@babel/core/b.js");
    let packages = read(&base.rootfs());
    let paths = [
        "/app/node_modules/@babel/core/b.js",
        "/app/node_modules/.bin/b",
        "/app/node_modules/@babel/core/node_modules/ms/index.js",
        "/app/node_modules/.cache/x",
        "/app/package.json",
        "/usr/lib/python3/site-packages/flask/app.py",
        "/usr/lib/python3/site-packages/flask/__pycache__/app.cpython-311.pyc",
        "/usr/lib/python3/site-packages/own.py",
        "/usr/bin/flask",
        "/usr/lib/python3/site-packages/old/x.py",
        "/var/gems/gems/rack-2.2/lib/rack.rb",
        "/srv/vendor/a/b/src/x.php",
        "/srv/index.php",
        "/etc/passwd",
    ];
    assert_eq!(
        owners(&packages, &paths),
        [
            "/app/node_modules/@babel/core/b.js: node @babel/core 7.1.0",
            "/app/node_modules/.bin/b: node @babel/core 7.1.0",
            "/app/node_modules/@babel/core/node_modules/ms/index.js: node ms 2.0.0",
            "/app/node_modules/.cache/x: nobody",
            "/app/package.json: nobody",
            "/usr/lib/python3/site-packages/flask/app.py: python Flask 2.3.0",
            "/usr/lib/python3/site-packages/flask/__pycache__/app.cpython-311.pyc: python Flask 2.3.0",
            "/usr/lib/python3/site-packages/own.py: nobody",
            "/usr/bin/flask: python Flask 2.3.0",
            "/usr/lib/python3/site-packages/old/x.py: python old 1",
            "/var/gems/gems/rack-2.2/lib/rack.rb: ruby rack 2.2.7",
            "/srv/vendor/a/b/src/x.php: composer a/b 1.5",
            "/srv/index.php: nobody",
            "/etc/passwd: nobody",
        ]
    );
}

#[test]
fn an_archive_of_java_is_the_package_that_its_properties_name() {
    let jar = |poms: &[(&str, &str)]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (group, artifact) in poms {
            let name = format!("META-INF/maven/{group}/{artifact}/pom.properties");
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            let text = format!("#Generated\ngroupId={group}\nartifactId={artifact}\nversion=2.0\n");
            std::io::Write::write_all(&mut zip, text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let base = Base::new()
        .dir("/lib", 0o755)
        .file("/lib/slf4j-api-2.0.jar", 0o644, &jar(&[("org.slf4j", "slf4j-api")]))
        .file("/lib/app.jar", 0o644, &jar(&[("org.slf4j", "slf4j-api"), ("com.example", "app"), ("x", "y")]))
        .file("/lib/fat.jar", 0o644, &jar(&[("org.slf4j", "slf4j-api"), ("x", "y")]))
        .file("/lib/broken.jar", 0o644, b"PK\x03\x04 and no more");
    assert_eq!(
        owners(&read(&base.rootfs()), &["/lib/slf4j-api-2.0.jar", "/lib/app.jar", "/lib/fat.jar", "/lib/broken.jar"]),
        [
            "/lib/slf4j-api-2.0.jar: maven org.slf4j:slf4j-api 2.0",
            "/lib/app.jar: maven com.example:app 2.0",
            "/lib/fat.jar: nobody",
            "/lib/broken.jar: nobody",
        ]
    );
}

#[test]
fn a_database_that_cannot_be_read_is_a_warning() {
    let base = Base::new().dir("/var", 0o755).dir("/var/lib", 0o755).dir("/var/lib/rpm", 0o755).file(
        "/var/lib/rpm/Packages",
        0o644,
        b"\0\0\0\0",
    );
    let packages = Packages::read(&base.rootfs()).unwrap();
    assert!(packages.warnings()[0].contains("Berkeley DB"), "{:?}", packages.warnings());
    let base = base.file("/var/lib/rpm/rpmdb.sqlite", 0o644, &[b'S'; 9000]);
    let packages = Packages::read(&base.rootfs()).unwrap();
    assert_eq!(
        packages.warnings(),
        ["the packages in /var/lib/rpm/rpmdb.sqlite are not known: it is no SQLite database"]
    );
}
