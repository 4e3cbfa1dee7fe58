//! From a manifest to layers, archives, layouts, directories and build contexts, read back by the tools that people
//! use.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use scrimp::assemble::{
    Destination, DestinationError, Layer, check_all, created, publish_all, slim_config, stage_all, write_layer,
};
use scrimp::base::{Digest, Epoch};
use scrimp::image::{EntryKind, ImageConfig};
use scrimp::observation::Overrides;
use scrimp::select::{Manifest, Rules, select};
use serde_json::Value;

use crate::trees::{Base, dir_as_text, entry, everything, quiet, tar_as_text};

/// The value of `security.capability` for `cap_net_bind_service=ep`, version 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub fn manifest_of(base: &Base) -> Manifest {
    select(&base.rootfs(), &everything(base), &Rules::default(), &quiet()).unwrap()
}

pub fn layer_of(base: &Base, epoch: Option<Epoch>) -> Layer {
    write_layer(&manifest_of(base), &base.rootfs(), epoch, tempfile::tempfile().unwrap()).unwrap()
}

fn config_for(layer: &Layer) -> ImageConfig {
    let mut base = ImageConfig::bare();
    base.execution_mut().insert("Cmd".into(), serde_json::json!(["/bin/app"]));
    slim_config(&base, &Overrides::default(), None, None, &layer.diff_id, created(&base, None))
}

/// One of everything.
pub fn zoo() -> Base {
    Base::new()
        .dir("/bin", 0o755)
        .file("/bin/app", 0o755, b"application")
        .file("/bin/app2", 0o755, b"application")
        .hardlinked(1, &["/bin/app", "/bin/app2"])
        .file("/bin/su", 0o4755, b"su")
        .file("/bin/web", 0o755, b"web")
        .with("/bin/web", |entry| drop(entry.xattrs.insert("security.capability".into(), CAPABILITY.to_vec())))
        .dir("/etc", 0o750)
        .with("/etc", |entry| (entry.uid, entry.gid) = (5, 6))
        .file("/etc/app.conf", 0o640, b"a=b\n")
        .with("/etc/app.conf", |entry| (entry.uid, entry.gid) = (7, 8))
        .link("/lib", "usr/lib")
        .put("/run/fifo", entry(EntryKind::Fifo, 0o600))
        .dir("/run", 0o755)
        .dir("/tmp", 0o1777)
        .dir("/usr", 0o755)
        .dir("/usr/lib", 0o755)
        .file("/usr/lib/libx.so.1", 0o644, &vec![7; 700_000])
        .link("/usr/lib/libx.so", "libx.so.1")
}

pub const ZOO: [&str; 15] = [
    "bin/: dir 0755 0:0",
    "bin/app: file 0755 0:0 11 1fe28920",
    "bin/app2: hardlink 0755 0:0 -> bin/app",
    "bin/su: file 4755 0:0 2 0a64ce10",
    "bin/web: file 0755 0:0 3 4b5e57f6 security.capability=\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
    "etc/: dir 0750 5:6",
    "etc/app.conf: file 0640 7:8 4 77e7ce77",
    "lib: symlink 0777 0:0 -> usr/lib",
    "run/: dir 0755 0:0",
    "run/fifo: fifo 0600 0:0",
    "tmp/: dir 1777 0:0",
    "usr/: dir 0755 0:0",
    "usr/lib/: dir 0755 0:0",
    "usr/lib/libx.so: symlink 0777 0:0 -> libx.so.1",
    "usr/lib/libx.so.1: file 0644 0:0 700000 dbac631a",
];

const ZOO_ON_DISK: [&str; 16] = [
    "/: dir 0711",
    "bin/: dir 0755",
    "bin/app2: file 0755 11 1fe28920 2 names",
    "bin/app: file 0755 11 1fe28920 2 names",
    "bin/su: file 4755 2 0a64ce10",
    "bin/web: file 0755 3 4b5e57f6",
    "etc/: dir 0750",
    "etc/app.conf: file 0640 4 77e7ce77",
    "lib: symlink -> usr/lib",
    "run/: dir 0755",
    "run/fifo: fifo 0600",
    "tmp/: dir 1777",
    "usr/: dir 0755",
    "usr/lib/: dir 0755",
    "usr/lib/libx.so.1: file 0644 700000 dbac631a",
    "usr/lib/libx.so: symlink -> libx.so.1",
];

/// Runs a program and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|cause| panic!("cannot run {program}: {cause}; install it, e.g. `apt-get install {program}`"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn publish(destinations: &[Destination], base: &Base, tags: &[&str]) -> Vec<scrimp::assemble::Published> {
    let layer = layer_of(base, None);
    let tags: Vec<String> = tags.iter().map(|tag| tag.to_string()).collect();
    let staged =
        stage_all(destinations, &layer, &config_for(&layer), &manifest_of(base), &BTreeMap::new(), &tags).unwrap();
    publish_all(staged).unwrap()
}

/// `TRANSPORT:DIR/REST` as a destination.
fn at(transport: &str, dir: &Path, rest: &str) -> Destination {
    format!("{transport}:{}/{rest}", dir.display()).parse().unwrap()
}

/// All names in a directory, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn skopeo_and_umoci_read_a_docker_archive() {
    let out = tempfile::tempdir().unwrap();
    let published = publish(&[at("docker-archive", out.path(), "x.tar:team/app:1.0")], &zoo(), &["ignored"]);
    let archive = format!("docker-archive:{}/x.tar", out.path().display());
    assert_eq!(published[0].bytes, out.path().join("x.tar").metadata().unwrap().len());
    let inspected: Value = serde_json::from_str(&run("skopeo", &["inspect", "--config", &archive])).unwrap();
    assert_eq!(inspected["config"]["Cmd"], serde_json::json!(["/bin/app"]));
    let tags: Value = serde_json::from_str(&run("skopeo", &["list-tags", &archive])).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["team/app:1.0"]));
    let layout = format!("{}/y", out.path().display());
    run("skopeo", &["copy", "-q", "--insecure-policy", &archive, &format!("oci:{layout}:1.0")]);
    let bundle = format!("{}/bundle", out.path().display());
    run("umoci", &["unpack", "--rootless", "--image", &format!("{layout}:1.0"), &bundle]);
    assert_unpacked(&Path::new(&bundle).join("rootfs"));
}

/// That the zoo is at `root`, as far as a reader without privileges makes it.
fn assert_unpacked(root: &Path) {
    assert_eq!(fs::read(root.join("bin/app")).unwrap(), b"application");
    assert_eq!(root.join("bin/app").metadata().unwrap().ino(), root.join("bin/app2").metadata().unwrap().ino());
    assert_eq!(fs::read_link(root.join("lib")).unwrap(), PathBuf::from("usr/lib"));
    assert_eq!(root.join("bin/su").metadata().unwrap().permissions().mode() & 0o7777, 0o4755);
    assert_eq!(root.join("tmp").metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read(root.join("usr/lib/libx.so")).unwrap(), vec![7; 700_000]);
    assert_eq!(root.join("etc").metadata().unwrap().mtime(), 1_000_000_000);
}

#[test]
fn podman_loads_a_docker_archive_with_and_without_a_name() {
    let out = tempfile::tempdir().unwrap();
    let storage = Storage::new();
    for (rest, expected) in [("x.tar:team/app:1.0", "localhost/team/app:1.0"), ("y.tar", "sha256:")] {
        publish(&[at("docker-archive", out.path(), rest)], &zoo(), &[]);
        let file = format!("{}/{}", out.path().display(), &rest[..5]);
        let loaded = storage.run("podman", &["load", "-q", "-i", &file]);
        assert!(loaded.starts_with(&format!("Loaded image: {expected}")), "{loaded}");
    }
}

#[test]
fn oci_layouts_are_read_by_others_and_gain_names() {
    let out = tempfile::tempdir().unwrap();
    let first = publish(&[at("oci", out.path(), "layout:one")], &zoo(), &[]);
    assert_eq!(names(out.path()), ["layout"]);
    let layout = format!("oci:{}/layout", out.path().display());
    let digest = |name: &str| -> String {
        let text = run("skopeo", &["inspect", "--format", "{{.Digest}}", &format!("{layout}:{name}")]);
        text.trim().to_owned()
    };
    assert_eq!(digest("one"), first[0].digest.unwrap().to_string());
    let other = Base::new().file("/other", 0o644, b"other");
    let second = publish(&[at("oci", out.path(), "layout:two")], &other, &[]);
    assert_eq!(digest("one"), first[0].digest.unwrap().to_string());
    assert_eq!(digest("two"), second[0].digest.unwrap().to_string());
    publish(&[at("oci", out.path(), "layout:one")], &other, &[]);
    assert_eq!(digest("one"), second[0].digest.unwrap().to_string());
    assert_eq!(names(&out.path().join("layout")), ["blobs", "index.json", "oci-layout"]);
    let bundle = format!("{}/bundle", out.path().display());
    publish(&[at("oci", out.path(), "layout:zoo")], &zoo(), &[]);
    run("umoci", &["unpack", "--rootless", "--image", &format!("{}/layout:zoo", out.path().display()), &bundle]);
    assert_unpacked(&Path::new(&bundle).join("rootfs"));
}

#[test]
fn oci_archives_take_the_names_of_the_command_line() {
    let out = tempfile::tempdir().unwrap();
    let published = publish(&[at("oci-archive", out.path(), "x.tar")], &zoo(), &["app:1.0", "app:latest"]);
    for name in ["app:1.0", "app:latest"] {
        let image = format!("oci-archive:{}/x.tar:{name}", out.path().display());
        let digest = run("skopeo", &["inspect", "--format", "{{.Digest}}", &image]);
        assert_eq!(digest.trim(), published[0].digest.unwrap().to_string());
    }
}

#[test]
fn compressed_layers_are_one_gzip_member_of_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    // Several blocks, of data that compresses, that does not, and that reaches back over a cut.
    let mut noise = Vec::new();
    let mut state = 1u64;
    for _ in 0..200_000 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        noise.extend_from_slice(&state.to_le_bytes());
    }
    let base = Base::new().file("/noise", 0o644, &noise).file("/noise2", 0o644, &noise).file(
        "/zero",
        0o644,
        &vec![0; 3 << 20],
    );
    let layer = layer_of(&base, None);
    let compressed = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let dir = out.path().join(name);
        let destination = Destination::OciDir { dir: dir.clone(), tag: None };
        pool.install(|| {
            let staged =
                stage_all(&[destination], &layer, &config_for(&layer), &manifest_of(&base), &BTreeMap::new(), &[])
                    .unwrap();
            publish_all(staged).unwrap()
        });
        let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
        let blob = |digest: &Value| {
            let digest: Digest = digest.as_str().unwrap().parse().unwrap();
            fs::read(dir.join("blobs/sha256").join(digest.hex())).unwrap()
        };
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0]["digest"])).unwrap();
        let bytes = blob(&manifest["layers"][0]["digest"]);
        assert_eq!(Digest::of(&bytes).to_string(), manifest["layers"][0]["digest"]);
        bytes
    };
    let one = compressed("one", 1);
    assert_eq!(one, compressed("three", 3));
    let mut plain = Vec::new();
    // This reader stops after the first member.
    flate2::read::GzDecoder::new(&one[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(Digest::of(&plain), layer.diff_id);
    let file = out.path().join("x.gz");
    fs::write(&file, &one).unwrap();
    run("gzip", &["-t", file.to_str().unwrap()]);
}

#[test]
fn a_directory_gets_the_files_themselves() {
    let out = tempfile::tempdir().unwrap();
    let base = zoo().with("/", |entry| entry.mode = 0o711);
    let published = publish(&[at("rootfs", out.path(), "tree")], &base, &[]);
    assert_eq!(names(out.path()), ["tree"]);
    assert_eq!(dir_as_text(&out.path().join("tree")), ZOO_ON_DISK);
    assert_unpacked(&out.path().join("tree"));
    assert_eq!(published[0].bytes, manifest_of(&base).totals().bytes);
    if published[0].warnings.is_empty() {
        let meta = out.path().join("tree/etc/app.conf").metadata().unwrap();
        assert_eq!((meta.uid(), meta.gid()), (7, 8));
        assert_eq!(xattr::get(out.path().join("tree/bin/web"), "security.capability").unwrap().unwrap(), CAPABILITY);
    }
    // In a user namespace with one id nobody else can own a file.
    for warning in &published[0].warnings {
        assert!(
            warning.starts_with("the owner of 2 files could not be set, /etc/app.conf the first of them: "),
            "{warning}"
        );
    }
}

#[test]
fn an_empty_directory_is_filled_in_place() {
    let out = tempfile::tempdir().unwrap();
    for transport in ["rootfs", "oci", "dockerfile"] {
        let dir = out.path().join(transport);
        fs::create_dir(&dir).unwrap();
        let before = dir.metadata().unwrap().ino();
        publish(&[at(transport, out.path(), transport)], &zoo(), &[]);
        assert_eq!(dir.metadata().unwrap().ino(), before);
        assert!(names(&dir).len() >= 3 && names(&dir).iter().all(|name| !name.starts_with('.')));
    }
}

#[test]
fn destinations_are_read_as_skopeo_reads_them() {
    for text in [
        "docker-archive:a.tar",
        "docker-archive:a.tar:app",
        "docker-archive:a.tar:example.com:5000/app:1.0",
        "oci:dir",
        "oci:dir:tag",
        "oci-archive:/x/a.tar:tag",
        "rootfs:dir",
        "dockerfile:../dir",
    ] {
        assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
    }
    for (text, expected) in [
        (
            "app:1.0",
            "\"app:1.0\" is not a destination\nhint: use docker-archive:FILE[:REF], oci:DIR[:TAG], oci-archive:FILE[:TAG], rootfs:DIR or dockerfile:DIR",
        ),
        (
            "image.tar",
            "\"image.tar\" is not a destination\nhint: use docker-archive:FILE[:REF], oci:DIR[:TAG], oci-archive:FILE[:TAG], rootfs:DIR or dockerfile:DIR",
        ),
        (
            "docker://app:1",
            "\"docker://app:1\": writing to a registry is not supported by this version\nhint: write docker-archive:image.tar and run `skopeo copy docker-archive:image.tar docker://app:1`",
        ),
        (
            "docker-daemon:app:1",
            "\"docker-daemon:app:1\": writing to a Docker daemon is not supported by this version\nhint: write docker-archive:image.tar and run `skopeo copy docker-archive:image.tar docker-daemon:app:1`",
        ),
        ("oci:", "\"oci:\" names no directory"),
        ("docker-archive:x:", "\"docker-archive:x:\" names no name after the last colon"),
    ] {
        assert_eq!(text.parse::<Destination>().unwrap_err().to_string(), expected);
    }
}

#[test]
fn bad_destinations_are_refused_before_anything_is_done() {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("file"), "").unwrap();
    fs::create_dir(out.path().join("full")).unwrap();
    fs::write(out.path().join("full/file"), "").unwrap();
    let shown = out.path().display();
    let message = |transport: &str, rest: &str| at(transport, out.path(), rest).check().unwrap_err().to_string();
    let exists = "hint: remove it first, or choose another name";
    assert_eq!(message("docker-archive", "file"), format!("{shown}/file exists already\n{exists}"));
    assert_eq!(
        message("oci", "full"),
        format!("{shown}/full exists already and is not an empty directory, nor an OCI layout\n{exists}")
    );
    assert_eq!(
        message("rootfs", "full"),
        format!("{shown}/full exists already and is not an empty directory\n{exists}")
    );
    assert_eq!(
        message("rootfs", "file"),
        format!("{shown}/file exists already and is not an empty directory\n{exists}")
    );
    assert_eq!(
        message("oci-archive", "no/x.tar"),
        format!("cannot write to {shown}/no: there is no such directory\nhint: create it first")
    );
    assert_eq!(message("oci-archive", "file/x.tar"), format!("cannot write to {shown}/file: it is not a directory"));
    assert!(message("docker-archive", "x.tar:Bad Name").contains("is not an image name"));
    let named = check_all(&[at("docker-archive", out.path(), "x")], &["A".into()]).unwrap_err().to_string();
    assert!(named.starts_with("\"A\" is not an image name"), "{named}");
    let twice = [at("oci-archive", out.path(), "x"), at("rootfs", &out.path().join("full/.."), "x")];
    assert!(matches!(check_all(&twice, &[]), Err(DestinationError::Twice { .. })));
}

#[test]
fn what_is_staged_and_not_published_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    let base = zoo();
    let layer = layer_of(&base, None);
    let destinations = ["docker-archive", "oci", "oci-archive", "rootfs", "dockerfile"]
        .map(|transport| at(transport, out.path(), transport));
    let stage = || stage_all(&destinations, &layer, &config_for(&layer), &manifest_of(&base), &BTreeMap::new(), &[]);
    drop(stage().unwrap());
    assert_eq!(names(out.path()), Vec::<String>::new());
    // The third cannot be published: two are, and the rest leaves nothing.
    let staged = stage().unwrap();
    fs::write(out.path().join("oci-archive"), "mine").unwrap();
    let error = publish_all(staged).unwrap_err();
    assert_eq!(error.published.len(), 2);
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(names(out.path()), ["docker-archive", "oci", "oci-archive"]);
    assert_eq!(fs::read(out.path().join("oci-archive")).unwrap(), b"mine");
}

#[test]
fn what_a_killed_run_left_is_swept_and_what_lives_is_not() {
    let out = tempfile::tempdir().unwrap();
    let base = zoo();
    let layer = layer_of(&base, None);
    fs::create_dir_all(out.path().join(".tree.scrimp-1-0/locked/x")).unwrap();
    fs::set_permissions(out.path().join(".tree.scrimp-1-0/locked"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(out.path().join(".x.tar.scrimp-77-3"), "").unwrap();
    fs::create_dir(out.path().join(".mine.scrimp-x")).unwrap();
    let stage = |name: &str| {
        let destination = at("rootfs", out.path(), name);
        stage_all(&[destination], &layer, &config_for(&layer), &manifest_of(&base), &BTreeMap::new(), &[]).unwrap()
    };
    let living = stage("living");
    publish_all(stage("tree")).unwrap();
    let left = names(out.path());
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left[0].starts_with(".living.scrimp-") && left[1] == ".mine.scrimp-x" && left[2] == "tree", "{left:?}");
    publish_all(living).unwrap();
    assert_eq!(names(out.path()), [".mine.scrimp-x", "living", "tree"]);
}

/// A place for built images that goes away with the test.
pub struct Storage {
    dir: tempfile::TempDir,
}

impl Storage {
    pub fn new() -> Self {
        Storage { dir: tempfile::tempdir().unwrap() }
    }

    /// Runs a program of the containers family on this storage.
    fn run(&self, program: &str, args: &[&str]) -> String {
        let dir = self.dir.path().display();
        let (root, run_root) = (format!("{dir}/root"), format!("{dir}/run"));
        run(program, &[&["--root", &root, "--runroot", &run_root, "--storage-driver", "vfs"], args].concat())
    }

    fn buildah(&self, args: &[&str]) {
        self.run("buildah", args);
    }

    /// Loads a Docker archive under `name`.
    pub fn load(&self, archive: &Path, name: &str) {
        self.buildah(&["pull", "-q", &format!("docker-archive:{}", archive.display())]);
        self.buildah(&["inspect", "--type", "image", name]);
    }

    /// Builds a context and returns the layer of what came out, as text, and its config.
    pub fn build(&self, context: &Path) -> (Vec<String>, Value) {
        let context = context.to_str().unwrap();
        self.buildah(&[
            "bud",
            "-q",
            "--isolation",
            "chroot",
            "--pull=never",
            "--format",
            "docker",
            "-t",
            "built",
            context,
        ]);
        let out = self.dir.path().join("built");
        self.buildah(&["push", "-q", "--disable-compression", "built", &format!("dir:{}", out.display())]);
        let read = |digest: &Value| fs::read(out.join(&digest.as_str().unwrap()[7..])).unwrap();
        let manifest: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1, "one layer");
        let config = serde_json::from_slice(&read(&manifest["config"]["digest"])).unwrap();
        (tar_as_text(&read(&manifest["layers"][0]["digest"])[..]), config)
    }
}

#[test]
fn a_build_context_without_a_base_builds_the_same_tree() {
    let out = tempfile::tempdir().unwrap();
    publish(&[at("dockerfile", out.path(), "context")], &zoo(), &[]);
    assert_eq!(names(&out.path().join("context")), ["Dockerfile", "files.txt", "rootfs.tar"]);
    let (tree, _) = Storage::new().build(&out.path().join("context"));
    assert_eq!(tree, ZOO);
}

#[test]
fn a_build_context_takes_files_from_the_base_by_name() {
    let out = tempfile::tempdir().unwrap();
    let base = zoo().file("/etc/with blank", 0o600, b"b").file("/etc/[odd]$x", 0o600, b"o").file("/top", 0o644, b"t");
    let name = "localhost/scrimp-test-base:1";
    publish(&[at("docker-archive", out.path(), &format!("base.tar:{name}"))], &base, &[]);
    let storage = Storage::new();
    storage.load(&out.path().join("base.tar"), name);
    let layer = layer_of(&base, None);
    let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","Q=a \"b\" $c \\d"],"User":"7:8",
        "WorkingDir":"/usr","Entrypoint":["/bin/app","$x"],"Cmd":["a b"],"StopSignal":"SIGQUIT","Volumes":{"/tmp":{}},
        "ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["CMD-SHELL","app || exit 1"],"Interval":5000000000,"Retries":2},
        "Labels":{"a b":"c"},"OnBuild":["RUN x"],"Shell":["/bin/ash","-c"]}}"#;
    let config = ImageConfig::parse(text.as_bytes()).unwrap();
    let config = slim_config(&config, &Overrides::default(), Some(name), None, &layer.diff_id, Epoch(0));
    let context = at("dockerfile", out.path(), "context");
    let staged = stage_all(&[context], &layer, &config, &manifest_of(&base), &BTreeMap::new(), &[]).unwrap();
    publish_all(staged).unwrap();
    let context = out.path().join("context");
    assert_eq!(names(&context), ["Dockerfile", "files.txt", "skeleton.tar"]);
    let dockerfile = fs::read_to_string(context.join("Dockerfile")).unwrap();
    assert!(dockerfile.contains("ARG BASE=localhost/scrimp-test-base:1\nFROM ${BASE} AS source\n"), "{dockerfile}");
    assert!(dockerfile.contains("COPY --from=source --chown=7:8 [\"/etc/app.conf\", \\\n"), "{dockerfile}");
    let (tree, built) = storage.build(&context);
    assert_eq!(tree, tar_as_text(layer.reader()));
    for key in [
        "Env",
        "User",
        "WorkingDir",
        "Entrypoint",
        "Cmd",
        "StopSignal",
        "Volumes",
        "ExposedPorts",
        "Healthcheck",
        "OnBuild",
        "Shell",
    ] {
        assert_eq!(built["config"][key], config.document()["config"][key], "{key}");
    }
    assert_eq!(built["config"]["Labels"]["a b"], "c");
}
