//! Images made of a list of entries, which say all that an entry of a layer can say.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::Env;

/// One entry of a layer, without its name.
#[derive(Clone)]
pub struct Node {
    kind: EntryType,
    mode: u32,
    owner: (u32, u32),
    /// In decimal, as a pax record has it.
    time: String,
    content: Vec<u8>,
    target: Vec<u8>,
    device: (u32, u32),
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Node {
    fn new(kind: EntryType, mode: u32) -> Self {
        let time = "1000000000".to_owned();
        let (content, target) = (Vec::new(), Vec::new());
        Self { kind, mode, owner: (0, 0), time, content, target, device: (0, 0), xattrs: Vec::new() }
    }

    pub fn dir(mode: u32) -> Self {
        Self::new(EntryType::Directory, mode)
    }

    pub fn file(mode: u32, content: impl Into<Vec<u8>>) -> Self {
        Self { content: content.into(), ..Self::new(EntryType::Regular, mode) }
    }

    pub fn link(target: &str) -> Self {
        Self { target: target.into(), ..Self::new(EntryType::Symlink, 0o777) }
    }

    /// Another name of an entry that is already there. Who unpacks it gives the file this mode and owner.
    pub fn name_of(target: &str, mode: u32) -> Self {
        Self { target: target.into(), ..Self::new(EntryType::Link, mode) }
    }

    pub fn fifo(mode: u32) -> Self {
        Self::new(EntryType::Fifo, mode)
    }

    pub fn char_device(mode: u32, device: (u32, u32)) -> Self {
        Self { device, ..Self::new(EntryType::Char, mode) }
    }

    pub fn owned(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    /// The time of the last change, with a fraction or without.
    pub fn at(self, time: &str) -> Self {
        Self { time: time.to_owned(), ..self }
    }

    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A layer, entry by entry.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Adds an entry; `path` has no slash at its beginning.
    pub fn add(mut self, path: impl AsRef<[u8]>, node: Node) -> Self {
        let mut path = path.as_ref().to_vec();
        let mut header = Header::new_ustar();
        header.set_entry_type(node.kind);
        header.set_mode(node.mode);
        header.set_size(node.content.len() as u64);
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let mut id = |key: &str, id: u32| {
            if id > 0o7_777_777 {
                records.push((key.to_owned(), id.to_string().into_bytes()));
            }
            u64::from(id & 0o7_777_777)
        };
        header.set_uid(id("uid", node.owner.0));
        header.set_gid(id("gid", node.owner.1));
        match node.time.parse() {
            Ok(time) => header.set_mtime(time),
            Err(_) => records.push(("mtime".into(), node.time.into_bytes())),
        }
        header.set_device_major(node.device.0).expect("a device number");
        header.set_device_minor(node.device.1).expect("a device number");
        if node.kind == EntryType::Directory {
            path.push(b'/');
        }
        let old = header.as_old_mut();
        for (key, field, value) in [("path", &mut old.name, &path), ("linkpath", &mut old.linkname, &node.target)] {
            let length = value.len().min(field.len());
            field[..length].copy_from_slice(&value[..length]);
            if value.len() > field.len() {
                records.push((key.into(), value.clone()));
            }
        }
        records.extend(node.xattrs.into_iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value)));
        header.set_cksum();
        let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.0.append_pax_extensions(records).expect("a pax header");
        self.0.append(&header, node.content.as_slice()).expect("an entry of a layer");
        self
    }

    /// Writes the image of this layer, and returns it as a SOURCE. `config` is the `config` object of the image's config.
    pub fn image(self, env: &Env, name: &str, config: &Value) -> String {
        let file = env.path(&format!("{name}.tar"));
        write_archive(Path::new(&file), name, config, self.0.into_inner().expect("a layer"));
        env.give(Path::new(&file));
        format!("docker-archive:{file}")
    }
}

/// Writes a docker-archive of one layer.
pub fn write_archive(file: &Path, name: &str, config: &Value, layer: Vec<u8>) {
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [format!("localhost/{name}:1")], "Layers": ["layer.tar"]}]);
    let mut archive = Builder::new(File::create(file).expect("an image's archive"));
    for (name, content) in [
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", layer),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content.as_slice()).expect("a member of an archive");
    }
    archive.into_inner().and_then(|mut file| file.flush()).expect("an image's archive");
}
