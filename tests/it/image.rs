//! Images as real tools write them: one image goes through skopeo in every format and comes out the same.

mod archives;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use scrimp::base::{Digest, ImagePath, escape_bytes};
use scrimp::image::{
    Base, Entry, EntryKind, ImageError, OpenOptions, OwnersAsSeen, Source, Store, open, unpack_staged, user,
};
use serde_json::json;

use self::archives::{Archive, config, docker_archive, docker_layout, gzip, layers};

/// A directory with a store in it and what the test puts there.
struct Env {
    dir: tempfile::TempDir,
    store: Store,
}

impl Env {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Env { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens `TRANSPORT:NAME[:REF]`, NAME in this directory.
    fn open(&self, source: &str) -> Result<Base, ImageError> {
        self.open_with(source, &self.store, None)
    }

    fn open_with(&self, source: &str, store: &Store, platform: Option<&str>) -> Result<Base, ImageError> {
        let (transport, rest) = source.split_once(':').unwrap();
        let source: Source = format!("{transport}:{}/{rest}", self.dir.path().display()).parse().unwrap();
        let platform = platform.map(|text| text.parse().unwrap());
        open(&source, store, &OpenOptions { platform, ..OpenOptions::default() })
    }

    fn error(&self, source: &str) -> String {
        let message = self.open(source).err().unwrap_or_else(|| panic!("{source} was opened")).to_string();
        message.replace(&format!("{}/", self.dir.path().display()), "")
    }

    /// Copies an image with skopeo, both names relative to this directory.
    fn skopeo(&self, options: &[&str], from: &str, to: &str) {
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .args(options)
            .args([from, to])
            .current_dir(self.dir.path())
            .output()
            .expect("skopeo is needed: apt-get install skopeo");
        assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Asserts that no scratch space and no half of a root is left.
    fn holds_roots(&self, count: usize) {
        assert_eq!(self.store.roots().unwrap().len(), count);
        assert_eq!(fs::read_dir(self.store.dir().join("scratch")).unwrap().count(), 0);
    }
}

const TREE: &str = "\
/bin -> usr/bin
/data dir 2750 33
/data/also file 79f076ab 0644 0 link1
/data/kept file 79f076ab 0644 0 link1
/data/new file 11507a0e 0644 0
/etc dir 0755 0
/etc/group file 97c4d6dc 0644 0
/etc/passwd file 2940fb83 0644 0
/LONG dir 0755 0
/LONG/LONG file 512eea46 0644 0
/usr dir 0755 0
/usr/bin dir 0755 0
/usr/bin/second file 16367aac 0644 0
/usr/bin/tool file 7c9bbe5e 4755 0
";

fn show(path: &ImagePath, entry: &Entry) -> String {
    let what = match &entry.kind {
        EntryKind::Symlink { target } => return format!("{path} -> {}\n", escape_bytes(target)),
        EntryKind::File { digest, .. } => format!("file {}", &digest.unwrap().hex()[..8]),
        EntryKind::Dir => "dir".into(),
        other => format!("{other:?}"),
    };
    let group = match entry.kind {
        EntryKind::File { link_group: Some(group), .. } => format!(" link{group}"),
        _ => String::new(),
    };
    format!("{path} {what} {:04o} {}{group}\n", entry.mode, entry.uid)
}

fn tree(base: &Base) -> String {
    let entries = base.rootfs.entries().expect("an image is unpacked");
    let lines = entries.iter().filter(|(path, _)| !path.is_root()).map(|(path, entry)| show(path, entry));
    lines.collect::<String>().replace(&"long".repeat(40), "LONG")
}

#[test]
fn one_image_is_the_same_in_every_format_that_skopeo_writes() {
    let env = Env::new();
    env.write("a.tar", docker_archive(json!(["app:1"])));
    env.skopeo(&[], "docker-archive:a.tar", "oci:layout:v1");
    env.skopeo(&[], "docker-archive:a.tar", "oci-archive:gzip.tar:v1");
    env.skopeo(&["--dest-compress-format", "zstd"], "docker-archive:a.tar", "oci-archive:zstd.tar:v1");
    env.skopeo(&[], "oci-archive:gzip.tar", "docker-archive:back.tar:app:1");
    env.write("whole.tar.gz", gzip(&docker_archive(json!(["app:1"]))));
    for source in [
        "docker-archive:a.tar",
        "docker-archive:a.tar:app:1",
        "oci:layout",
        "oci:layout:v1",
        "oci-archive:gzip.tar",
        "oci-archive:zstd.tar:v1",
        "docker-archive:back.tar:app:1",
        "docker-archive:whole.tar.gz",
    ] {
        // In a store of its own, or it would be found there.
        let store = tempfile::tempdir().unwrap();
        let store = Store::open(store.path()).unwrap();
        let base = env.open_with(source, &store, None).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(tree(&base), TREE, "{source}");
        assert_eq!(base.config.user(), Some("web"), "{source}");
        let steps: Vec<_> = base.layers.iter().map(|layer| layer.created_by.as_deref().unwrap()).collect();
        assert_eq!(steps, ["COPY lower", "RUN upper"], "{source}");
        // And in the common store all of them are one.
        env.open(source).unwrap();
    }
    let base = env.open("docker-archive:a.tar").unwrap();
    assert_eq!((base.reference.as_str(), base.digest), ("app:1", Some(Digest::of(&config("amd64", &layers())))));
    assert_eq!(base.rootfs.read(&ImagePath::parse("/data/also").unwrap()).unwrap(), b"kept");
    let credentials = user(&base.rootfs, base.config.user().unwrap()).unwrap();
    assert_eq!((credentials.uid, credentials.groups, credentials.home.as_str()), (33, vec![33, 4], "/srv"));
    env.holds_roots(1);
}

#[test]
fn an_image_that_was_unpacked_is_opened_without_its_layers() {
    let env = Env::new();
    env.write("a.tar", docker_archive(json!(["app:1"])));
    env.skopeo(&[], "docker-archive:a.tar", "oci:layout");
    let cold = env.open("oci:layout").unwrap();
    for layer in &cold.layers {
        fs::write(env.path("layout/blobs/sha256").join(layer.digest.unwrap().hex()), "").unwrap();
    }
    let warm = env.open("oci:layout").unwrap();
    assert_eq!(tree(&warm), tree(&cold));
    assert_eq!(warm.rootfs.location(), cold.rootfs.location());
    let [root] = &env.store.roots().unwrap()[..] else { panic!("there is one root") };
    assert!(root.in_use);
    assert_eq!(root.about.as_ref().unwrap().files, 7);
    // Files that belong to other ids are not shared.
    let source = format!("oci:{}", env.path("layout").display()).parse().unwrap();
    let other = OpenOptions { id_map_key: "another".into(), ..OpenOptions::default() };
    let error = open(&source, &env.store, &other).err().expect("the layers are gone").to_string();
    assert!(error.contains("is damaged: its digest is "), "{error}");
}

#[test]
fn the_archive_of_a_new_docker_is_both() {
    let env = Env::new();
    env.write("one.tar", docker_layout(&["app:1"]));
    env.write("two.tar", docker_layout(&["app:1", "other:2"]));
    for source in [
        "docker-archive:one.tar",
        "oci-archive:one.tar",
        "docker-archive:two.tar:other:2",
        "oci-archive:two.tar:2",
        "oci-archive:two.tar:other:2",
        "docker-archive:two.tar:@1",
        "docker-archive:one.tar:docker.io/library/app:1",
    ] {
        assert_eq!(tree(&env.open(source).unwrap_or_else(|error| panic!("{source}: {error}"))), TREE, "{source}");
    }
    for (source, expected) in [
        (
            "docker-archive:two.tar",
            "docker-archive:two.tar holds several images\nhint: name one of them: app:1, other:2",
        ),
        ("oci-archive:two.tar", "two.tar holds several images\nhint: name one of them: 1, 2"),
        ("docker-archive:two.tar:app", "docker-archive:two.tar has no image \"app\"\nhint: it has app:1, other:2"),
        ("docker-archive:two.tar:@2", "docker-archive:two.tar has no image \"@2\"\nhint: it has app:1, other:2"),
        ("oci-archive:two.tar:3", "two.tar has no image \"3\"\nhint: it has 1, 2"),
    ] {
        assert_eq!(env.error(source), expected, "{source}");
    }
}

#[test]
fn layers_of_an_old_docker_can_be_links() {
    let env = Env::new();
    let layer = Archive::new().file("f", "x").finish();
    let config = config("amd64", &[layer.clone(), layer.clone(), layer.clone()]);
    let manifest = json!([{"Config": "c.json", "RepoTags": null,
                           "Layers": ["aa/layer.tar", "bb/layer.tar", "cc/layer.tar"]}]);
    let archive = Archive::new()
        .link("bb/layer.tar", "../aa/layer.tar")
        .file("aa/layer.tar", &layer)
        .hard_link("cc/layer.tar", "bb/layer.tar")
        .file("c.json", &config)
        .file("manifest.json", manifest.to_string());
    env.write("a.tar", archive.finish());
    let base = env.open("docker-archive:a.tar").unwrap();
    assert_eq!(tree(&base), "/f file 2d711642 0644 0\n");
    assert_eq!(base.reference, format!("docker-archive:{}", env.path("a.tar").display()));
}

#[test]
fn the_platform_is_chosen_in_nested_indexes() {
    let env = Env::new();
    let blob = |data: &[u8]| env.write(&format!("layout/blobs/sha256/{}", Digest::of(data).hex()), data);
    let describe = |data: &[u8]| json!({"digest": Digest::of(data).to_string(), "size": data.len()});
    let mut entries = Vec::new();
    for platform in ["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "unknown/unknown"] {
        let mut parts = platform.split('/');
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        let layer = Archive::new().file("platform", platform).finish();
        let config = config(architecture, std::slice::from_ref(&layer));
        let layers = [describe(&layer)];
        let manifest = json!({"config": describe(&config), "layers": layers}).to_string().into_bytes();
        [&layer, &config, &manifest].into_iter().for_each(|data| blob(data));
        let mut entry = describe(&manifest);
        entry["platform"] = json!({"os": os, "architecture": architecture, "variant": parts.next()});
        entries.push(entry);
    }
    let nested = json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes();
    blob(&nested);
    let mut top = describe(&nested);
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "multi"});
    let mut only = entries[1].clone();
    only["annotations"] = json!({"org.opencontainers.image.ref.name": "only"});
    // An index of indexes, of which each has one image and none says for what.
    let indexes = entries.iter().map(|entry| {
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();
        blob(&index);
        describe(&index)
    });
    let indexes = json!({"schemaVersion": 2, "manifests": indexes.rev().collect::<Vec<_>>()}).to_string().into_bytes();
    blob(&indexes);
    let mut deep = describe(&indexes);
    deep["annotations"] = json!({"org.opencontainers.image.ref.name": "deep"});
    env.write("layout/index.json", json!({"schemaVersion": 2, "manifests": [top, only, deep]}).to_string());
    let content = |source: &str, platform| {
        let base = env.open_with(source, &env.store, platform).map_err(|error| error.to_string())?;
        let bytes = base.rootfs.read(&ImagePath::parse("/platform").unwrap()).unwrap();
        Ok::<_, String>(String::from_utf8(bytes).unwrap())
    };
    assert_eq!(content("oci:layout:multi", Some("linux/arm64")).unwrap(), "linux/arm64/v8");
    assert_eq!(
        content("oci:layout:multi", Some("linux/s390x")).unwrap_err().lines().last().unwrap(),
        "hint: choose with --platform among linux/amd64, linux/arm64/v8, linux/arm/v7"
    );
    assert_eq!(content("oci:layout:multi", Some("linux/arm/v7")).unwrap(), "linux/arm/v7");
    for platform in ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"] {
        assert_eq!(content("oci:layout:deep", Some(platform)).unwrap(), platform);
    }
    assert!(content("oci:layout:deep", Some("linux/s390x")).unwrap_err().contains("has no image for linux/s390x"));
    assert_eq!(content("oci:layout:only", None).unwrap(), "linux/arm64/v8");
    assert!(content("oci:layout:only", Some("linux/amd64")).unwrap_err().contains("has no image for linux/amd64"));
    env.write("a.tar", docker_archive(json!(["app:1"])));
    let error = content("docker-archive:a.tar", Some("linux/arm64")).unwrap_err();
    assert!(error.ends_with("has no image for linux/arm64\nhint: choose with --platform among linux/amd64"), "{error}");
}

#[test]
fn what_is_not_an_image_is_named_and_leaves_nothing() {
    let env = Env::new();
    let layers = layers();
    let good = config("amd64", &layers);
    let archive = |config_name: &str, config: &[u8], names: &[&str], layer: &[u8]| {
        let manifest = json!([{"Config": config_name, "RepoTags": ["app:1"], "Layers": names}]);
        Archive::new()
            .file("0/layer.tar", layer)
            .file("1/layer.tar", &layers[1])
            .file(config_name, config)
            .file("manifest.json", manifest.to_string())
            .finish()
    };
    let both = ["0/layer.tar", "1/layer.tar"];
    let other = Archive::new().file("f", "tampered").finish();
    let wrong_name = format!("{}.json", Digest::of(b"x").hex());
    let escaping = Archive::new().file("a", "x").finish();
    let escaping = {
        let mut bytes = escaping;
        bytes[..9].copy_from_slice(b"../escape");
        let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    };
    let escape_config = config("amd64", &[escaping.clone(), layers[1].clone()]);
    let truncated = archive("c.json", &good, &both, &layers[0]);
    for (name, data, expected) in [
        ("empty", Vec::new(), "docker-archive:empty is not a docker archive: it holds no manifest.json\n\
                               hint: a root filesystem is unpacked first, then read as rootfs:DIR".to_string()),
        ("text", vec![b'x'; 2000], "cannot read the archive text: this is no tar header: its checksum is wrong (at byte 512)".into()),
        ("cut", truncated[..3000].to_vec(), "cannot read the archive cut: the archive ends in the middle of an entry (at byte 512)".into()),
        ("missing", archive("c.json", &good, &["0/layer.tar", "2/layer.tar"], &layers[0]),
         "docker-archive:missing names the layer 2/layer.tar, but does not hold it".into()),
        ("tampered", archive("c.json", &good, &both, &other),
         format!("the layer {0} is damaged: its digest is {1}, not {0}", Digest::of(&layers[0]), Digest::of(&other))),
        ("config", archive(&wrong_name, &good, &both, &layers[0]),
         format!("the config {wrong_name} of docker-archive:config is damaged: its digest is {}, not {}", Digest::of(&good), Digest::of(b"x"))),
        ("few", archive("c.json", &good, &both[..1], &layers[0]),
         "the config of docker-archive:few: it names 2 layers, and the image has 1".into()),
        ("json", archive("c.json", b"{", &both, &layers[0]),
         "docker-archive:json: the image config is not a JSON object: EOF while parsing an object at line 1 column 1".into()),
        ("escape", archive("c.json", &escape_config, &both, &escaping),
         format!("cannot unpack \"../escape\" of the layer {}: its name leads out of the image", Digest::of(&escaping))),
        ("gz", gzip(&truncated)[..600].to_vec(), "cannot decompress to the store gz: ".into()),
    ] {
        env.write(name, data);
        let message = env.error(&format!("docker-archive:{name}"));
        assert!(message.starts_with(&expected), "{name}: {message}\n{expected}");
        env.holds_roots(0);
    }
    assert!(!env.path("escape/../../escape").exists());
    assert!(env.error("docker-archive:none").starts_with("cannot open none: No such file"));
    env.write("layout/x", "");
    assert_eq!(
        env.error("oci:layout"),
        "layout is not an OCI image layout: it holds no index.json\n\
         hint: `skopeo copy` makes a layout; a directory with a root filesystem is rootfs:layout"
    );
    assert_eq!(
        env.error("docker-archive:layout"),
        "layout is not a tar archive: it is a directory\n\
                                                    hint: an image layout in a directory is oci:layout"
    );
    env.write("layout.tar", Archive::new().file("index.json", "{}").file("oci-layout", "{}").finish());
    assert!(env.error("docker-archive:layout.tar").ends_with("hint: write oci-archive:layout.tar"));
    env.write("a.tar", docker_archive(json!(["app:1"])));
    assert!(env.error("oci-archive:a.tar").ends_with("hint: write docker-archive:a.tar"));
    assert!(env.error("rootfs:a.tar").contains("it is not a directory\nhint: an archive is docker-archive:a.tar"));
}

#[test]
fn directories_are_opened_as_they_are() {
    let env = Env::new();
    env.write("tree/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    let base = env.open("rootfs:tree").unwrap();
    assert!(base.rootfs.entries().is_none() && base.digest.is_none() && base.guard.is_none());
    assert_eq!(user(&base.rootfs, "root").unwrap().home, "/root");
    let options = OpenOptions { owners: Arc::new(OwnersAsSeen), ..OpenOptions::default() };
    let host = open(&Source::Host, &env.store, &options).unwrap();
    assert_eq!((host.reference.as_str(), host.rootfs.location()), ("host", Path::new("/")));
}

#[test]
fn a_staged_layer_lives_as_long_as_its_directory() {
    let env = Env::new();
    let layer = layers().remove(0);
    let scratch = env.store.scratch_dir().unwrap();
    let (rootfs, scratch) = unpack_staged(layer.as_slice(), scratch, &Default::default()).unwrap();
    assert_eq!(rootfs.read(&ImagePath::parse("/data/kept").unwrap()).unwrap(), b"kept");
    assert!(rootfs.location().starts_with(scratch.path()));
    let location = rootfs.location().to_owned();
    drop((rootfs, scratch));
    assert!(!location.exists());
    env.holds_roots(0);
}

#[test]
fn an_archive_can_come_through_a_pipe() {
    let env = Env::new();
    let pipe = env.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, docker_archive(json!(["app:1"]))).unwrap()
    });
    assert_eq!(tree(&env.open("docker-archive:pipe").unwrap()), TREE);
    writer.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// The archive around the layers is as hostile as what is in them.
    #[test]
    fn damaged_archives_open_as_they_were_or_not_at_all(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        transport in prop::sample::select(vec!["docker-archive", "oci-archive"]),
    ) {
        let env = Env::new();
        let mut archive = docker_layout(&["app:1"]);
        for (at, byte) in flips {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        env.write("a.tar", archive);
        match env.open(&format!("{transport}:a.tar")) {
            Ok(base) => prop_assert_eq!(tree(&base), TREE),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        let mut around: Vec<_> = fs::read_dir(env.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        around.sort();
        prop_assert_eq!(around, ["a.tar", "store"]);
        prop_assert_eq!(fs::read_dir(env.store.dir().join("scratch")).unwrap().count(), 0);
    }
}
