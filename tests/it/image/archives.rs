//! An image of two layers in the archives that Docker has written over time.

use std::io::Write;

use scrimp::base::Digest;
use serde_json::{Value, json};

/// A tar archive in the making.
pub struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    pub fn new() -> Self {
        Archive(tar::Builder::new(Vec::new()))
    }

    pub fn entry(
        mut self,
        name: &str,
        kind: tar::EntryType,
        mode: u32,
        owner: u64,
        content: &[u8],
        target: &str,
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        match kind.is_symlink() || kind.is_hard_link() {
            true => self.0.append_link(&mut header, name, target).unwrap(),
            false => self.0.append_data(&mut header, name, content).unwrap(),
        }
        self
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(name, tar::EntryType::Regular, 0o644, 0, content.as_ref(), "")
    }

    pub fn dir(self, name: &str, mode: u32, owner: u64) -> Self {
        self.entry(name, tar::EntryType::Directory, mode, owner, b"", "")
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Symlink, 0o777, 0, b"", target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Link, 0o644, 0, b"", target)
    }

    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn layers() -> Vec<Vec<u8>> {
    let long = "long".repeat(40);
    let lower = Archive::new()
        .dir("etc", 0o755, 0)
        .file("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n")
        .file("etc/group", "web:x:33:\nlogs:x:4:web\n")
        .dir("data", 0o2750, 33)
        .file("data/old", "old")
        .file("data/kept", "kept")
        .hard_link("data/also", "data/kept")
        .link("bin", "usr/bin")
        .entry("usr/bin/tool", tar::EntryType::Regular, 0o4755, 0, b"tool", "")
        .file(&format!("{long}/{long}"), "far");
    let upper = Archive::new().file("data/.wh.old", "").file("data/new", "new").file("bin/second", "second");
    vec![lower.finish(), upper.finish()]
}

pub fn config(architecture: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let history: Vec<Value> =
        [json!({"created_by": "COPY lower"}), json!({"created_by": "ENV A=b", "empty_layer": true})]
            .into_iter()
            .chain([json!({"created_by": "RUN upper"})])
            .collect();
    let config = json!({"User": "web", "Env": ["A=b"], "Cmd": ["/usr/bin/tool"]});
    let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
    let document = json!({"architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
                          "config": config, "rootfs": rootfs, "history": history});
    document.to_string().into_bytes()
}

/// What `docker save` wrote before version 25.
pub fn docker_archive(tags: Value) -> Vec<u8> {
    let layers = layers();
    let config = config("amd64", &layers);
    let name = format!("{}.json", Digest::of(&config).hex());
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": ["aa/layer.tar", "bb/layer.tar"]}]);
    Archive::new()
        .dir("aa/", 0o755, 0)
        .file("aa/layer.tar", &layers[0])
        .file("bb/layer.tar", &layers[1])
        .file(&name, &config)
        .file("manifest.json", manifest.to_string())
        .finish()
}

/// What `docker save` writes since version 25: an image layout with a `manifest.json`.
pub fn docker_layout(names: &[&str]) -> Vec<u8> {
    let layers = layers();
    let config = config("amd64", &layers);
    let descriptor = |kind: &str, data: &[u8]| {
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": Digest::of(data).to_string(),
               "size": data.len()})
    };
    let listed: Vec<Value> = layers.iter().map(|layer| descriptor("layer.v1.tar", layer)).collect();
    let manifest = json!({"schemaVersion": 2, "config": descriptor("config.v1+json", &config), "layers": listed});
    let manifest = manifest.to_string().into_bytes();
    let mut indexed = Vec::new();
    let mut items = Vec::new();
    let blob = |data: &[u8]| format!("blobs/sha256/{}", Digest::of(data).hex());
    for name in names {
        let mut entry = descriptor("manifest.v1+json", &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": format!("docker.io/library/{name}"),
                                      "org.opencontainers.image.ref.name": name.rsplit(':').next()});
        indexed.push(entry);
        let blobs: Vec<String> = layers.iter().map(|layer| blob(layer)).collect();
        items.push(json!({"Config": blob(&config), "RepoTags": [name], "Layers": blobs}));
    }
    let index = json!({"schemaVersion": 2, "manifests": indexed});
    let mut archive = Archive::new().dir("blobs/", 0o755, 0).dir("blobs/sha256/", 0o755, 0);
    for data in layers.iter().chain([&config, &manifest]) {
        archive = archive.file(&blob(data), data);
    }
    let archive = archive.file("index.json", index.to_string()).file("manifest.json", json!(items).to_string());
    archive.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#).finish()
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
