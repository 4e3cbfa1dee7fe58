//! What is in an image, read from its docker-archive without any of scrimp's own code.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

/// The merged tree of an image, and its config.
pub struct Image {
    /// A line per path, the root excepted: `"/dir/file"` is `"file 0644 cc55e2ec"`, a link `"symlink target"`, a further
    /// name of a file `"hardlink /first/name"`. Owners other than 0:0 and the names of extended attributes follow.
    pub tree: BTreeMap<String, String>,
    /// The `config` object of the image's config.
    pub config: Value,
    /// The sizes of the regular files, in bytes, hard links once.
    pub bytes: u64,
    /// The number of regular files, hard links once.
    pub files: usize,
}

impl Image {
    pub fn read(archive: &Path) -> Self {
        let manifest: Value = json(&member(archive, "manifest.json"));
        let name = |value: &Value| value.as_str().expect("a name in the manifest").to_owned();
        let config: Value = json(&member(archive, &name(&manifest[0]["Config"])));
        let mut tree = BTreeMap::new();
        for layer in manifest[0]["Layers"].as_array().expect("a list of layers") {
            apply(&member(archive, &name(layer)), &mut tree);
        }
        let sizes: Vec<u64> = tree.values().filter_map(|(_, size)| *size).collect();
        Self {
            bytes: sizes.iter().sum(),
            files: sizes.len(),
            tree: tree.into_iter().map(|(path, (line, _))| (path, line)).collect(),
            config: config["config"].clone(),
        }
    }
}

impl Image {
    /// The [`Image::config`] alone, which takes no time.
    pub fn config_of(archive: &Path) -> Value {
        let manifest: Value = json(&member(archive, "manifest.json"));
        let config = manifest[0]["Config"].as_str().expect("a name in the manifest");
        json(&member(archive, config))["config"].clone()
    }

    /// The bytes of the layers as they are, the lowest first.
    pub fn layers_of(archive: &Path) -> Vec<Vec<u8>> {
        let manifest: Value = json(&member(archive, "manifest.json"));
        let names = manifest[0]["Layers"].as_array().expect("a list of layers").iter();
        names.map(|name| member(archive, name.as_str().expect("the name of a layer"))).collect()
    }

    /// The [`Image::tree`] of a plain tar file.
    pub fn tree_of(layer: &Path) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        apply(&std::fs::read(layer).expect("a tar file"), &mut tree);
        tree.into_iter().map(|(path, (line, _))| (path, line)).collect()
    }
}

/// A line of the dump, and the size of a regular file under its first name.
type Node = (String, Option<u64>);

fn apply(layer: &[u8], tree: &mut BTreeMap<String, Node>) {
    for entry in Archive::new(layer).entries().expect("a layer") {
        let mut entry = entry.expect("an entry of a layer");
        let path = absolute(&entry.path_bytes());
        let (parent, name) = path.rsplit_once('/').expect("an absolute path");
        if name == ".wh..wh..opq" {
            remove(tree, |other| below(other, parent));
        } else if let Some(name) = name.strip_prefix(".wh.") {
            let path = format!("{parent}/{name}");
            remove(tree, |other| other == path || below(other, &path));
        } else if path != "/" {
            if entry.header().entry_type() != EntryType::Directory {
                remove(tree, |other| below(other, &path));
            }
            let node = describe(&mut entry);
            tree.insert(path, node);
        }
    }
}

fn describe(entry: &mut Entry<'_, &[u8]>) -> Node {
    let header = entry.header().clone();
    let link = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
    let mode = header.mode().expect("a mode") & 0o7777;
    let device = || (header.device_major(), header.device_minor());
    let (mut line, size) = match header.entry_type() {
        EntryType::Directory => (format!("dir {mode:04o}"), None),
        EntryType::Symlink => (format!("symlink {}", link.unwrap_or_default()), None),
        EntryType::Link => return (format!("hardlink {}", absolute(link.unwrap_or_default().as_bytes())), None),
        EntryType::Fifo => (format!("fifo {mode:04o}"), None),
        EntryType::Char => (format!("char {mode:04o} {:?}", device()), None),
        EntryType::Block => (format!("block {mode:04o} {:?}", device()), None),
        EntryType::Regular => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("the content of a file");
            (format!("file {mode:04o} {}", fingerprint(&content)), Some(content.len() as u64))
        }
        other => panic!("an entry of type {other:?} in a layer"),
    };
    let owner = (header.uid().expect("an owner"), header.gid().expect("a group"));
    if owner != (0, 0) {
        line += &format!(" {}:{}", owner.0, owner.1);
    }
    for extension in entry.pax_extensions().expect("pax headers").into_iter().flatten() {
        let key = extension.expect("a pax header").key().expect("a pax key in UTF-8");
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            line += &format!(" {name}");
        }
    }
    (line, size)
}

/// Eight digits are enough to tell two contents apart.
fn fingerprint(content: &[u8]) -> String {
    if content.is_empty() {
        return "empty".to_owned();
    }
    Sha256::digest(content)[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn absolute(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    format!("/{}", name.trim_start_matches("./").trim_matches('/'))
}

fn below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn remove(tree: &mut BTreeMap<String, Node>, what: impl Fn(&str) -> bool) {
    tree.retain(|path, _| !what(path));
}

fn member(archive: &Path, name: &str) -> Vec<u8> {
    let file = File::open(archive).unwrap_or_else(|error| panic!("opening {}: {error}", archive.display()));
    for entry in Archive::new(file).entries_with_seek().expect("an archive") {
        let mut entry = entry.expect("an entry of an archive");
        if entry.path_bytes().as_ref() == name.as_bytes() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a member of an archive");
            return content;
        }
    }
    panic!("{} has no {name}", archive.display());
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON in an archive")
}
