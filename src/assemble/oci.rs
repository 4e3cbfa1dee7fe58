//! OCI image layouts (OCI image-spec 1.1, image-layout.md), as a directory or in a tar file. The layer is compressed
//! with gzip.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::assemble::staging::{StagedDir, StagedFile};
use crate::assemble::tarball::{Kind, PLAIN, Record, TarWriter};
use crate::assemble::{AssembleError, Layer, LayerReader, gzip};
use crate::base::{Digest, HashingWriter};
use crate::image::ImageConfig;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How the keys of annotations begin that name what an image was made from.
const BASE: &str = "org.opencontainers.image.base.";
const LAYOUT_FILE: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout that is to become a directory, or to be added to one.
pub struct StagedLayout {
    staged: StagedDir,
    /// The layout that exists; `None` when the staged directory is all there will be.
    existing: Option<PathBuf>,
    descriptors: Vec<Value>,
}

/// Everything but the layer.
struct Documents {
    config: Vec<u8>,
    manifest: Vec<u8>,
    descriptors: Vec<Value>,
}

/// Whether the directory is an OCI layout.
pub fn is_layout(dir: &Path) -> bool {
    let version = || -> Option<bool> {
        let marker: Value = serde_json::from_slice(&fs::read(dir.join("oci-layout")).ok()?).ok()?;
        Some(marker["imageLayoutVersion"].as_str()?.starts_with("1."))
    };
    version() == Some(true)
}

/// Writes the layout beside the directory, or in it when it exists. Returns the manifest's digest and the length of
/// all blobs in bytes too.
pub fn stage_dir(
    dir: &Path,
    layer: &Layer,
    config: &ImageConfig,
    annotations: &BTreeMap<String, String>,
    names: &[String],
) -> Result<(StagedLayout, Digest, u64), AssembleError> {
    let existing = is_layout(dir).then(|| dir.to_owned());
    if let Some(existing) = &existing {
        read_index(&existing.join("index.json"))?;
    }
    let staged = StagedDir::new(dir)?;
    let blobs = staged.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(AssembleError::file("create", &blobs))?;
    staged.open_to_others()?;
    let unnamed = blobs.join("layer");
    let mut file = File::create(&unnamed).map_err(AssembleError::file("create", &unnamed))?;
    let (layer_digest, layer_bytes) = compress(layer, &mut file, &unnamed)?;
    let named = blobs.join(layer_digest.hex());
    fs::rename(&unnamed, &named).map_err(AssembleError::file("rename", &unnamed))?;
    let documents = documents(config, annotations, layer_digest, layer_bytes, names);
    let put = |path: PathBuf, content: &[u8]| fs::write(&path, content).map_err(AssembleError::file("write", &path));
    for blob in [&documents.config, &documents.manifest] {
        put(blobs.join(Digest::of(blob).hex()), blob)?;
    }
    if existing.is_none() {
        put(staged.path().join("oci-layout"), LAYOUT_FILE.as_bytes())?;
        put(staged.path().join("index.json"), index(documents.descriptors.clone()).as_bytes())?;
    }
    let bytes = layer_bytes + (documents.config.len() + documents.manifest.len()) as u64;
    let digest = Digest::of(&documents.manifest);
    Ok((StagedLayout { staged, existing, descriptors: documents.descriptors }, digest, bytes))
}

/// Writes the tar file under no name. Returns the manifest's digest and the length of the file in bytes too.
pub fn stage_archive(
    file: &Path,
    layer: &Layer,
    config: &ImageConfig,
    annotations: &BTreeMap<String, String>,
    names: &[String],
) -> Result<(StagedFile, Digest, u64), AssembleError> {
    // The header of the layer's entry has its digest and length, so it is compressed elsewhere first.
    let mut compressed = StagedFile::new(file)?;
    let (layer_digest, layer_bytes) = compress(layer, compressed.file(), file)?;
    let documents = documents(config, annotations, layer_digest, layer_bytes, names);
    let mut staged = StagedFile::new(file)?;
    let index = index(documents.descriptors);
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let mut write = || {
        let mut tar = TarWriter::new(staged.file());
        tar.file(&Record { name: b"oci-layout", ..PLAIN }, LAYOUT_FILE.as_bytes())?;
        tar.file(&Record { name: b"index.json", ..PLAIN }, index.as_bytes())?;
        for dir in [&b"blobs"[..], b"blobs/sha256"] {
            tar.begin(&Record { name: dir, mode: 0o755, ..PLAIN })?;
        }
        for document in [&documents.manifest, &documents.config] {
            tar.file(&Record { name: blob(Digest::of(document)).as_bytes(), ..PLAIN }, document)?;
        }
        let name = blob(layer_digest);
        tar.begin(&Record { name: name.as_bytes(), kind: Kind::File { size: layer_bytes }, ..PLAIN })?;
        tar.splice(layer_bytes, |out| LayerReader::of(compressed.file(), layer_bytes).copy_to(out))?;
        tar.pad()?;
        tar.finish()?.stream_position()
    };
    let bytes = write().map_err(AssembleError::file("write", file))?;
    Ok((staged, Digest::of(&documents.manifest), bytes))
}

impl StagedLayout {
    /// Puts the layout in its place, or its blobs and then its names into the layout that exists.
    pub fn publish(self) -> Result<(), AssembleError> {
        let Some(layout) = self.existing else { return self.staged.publish() };
        let lock = File::open(&layout).map_err(AssembleError::file("open", &layout))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| AssembleError::file("lock", &layout)(errno.into()))?;
        let (from, to) = (self.staged.path().join("blobs/sha256"), layout.join("blobs/sha256"));
        fs::create_dir_all(&to).map_err(AssembleError::file("create", &to))?;
        for blob in fs::read_dir(&from).map_err(AssembleError::file("list", &from))? {
            let blob = blob.map_err(AssembleError::file("list", &from))?;
            // A blob that is there already has the same content, or should have.
            fs::rename(blob.path(), to.join(blob.file_name())).map_err(AssembleError::file("move", &blob.path()))?;
        }
        let path = layout.join("index.json");
        let mut document = read_index(&path)?;
        if let Some(manifests) = document["manifests"].as_array_mut() {
            let name = |descriptor: &Value| descriptor["annotations"][REF_NAME].clone();
            let replaced: Vec<Value> = self.descriptors.iter().map(name).collect();
            manifests.retain(|descriptor| !replaced.contains(&name(descriptor)));
            manifests.extend(self.descriptors);
        }
        let new = self.staged.path().join("index.json");
        fs::write(&new, document.to_string()).map_err(AssembleError::file("write", &new))?;
        fs::rename(&new, &path).map_err(AssembleError::file("replace", &path))?;
        drop(lock);
        Ok(())
    }
}

fn read_index(path: &Path) -> Result<Value, AssembleError> {
    let bad = |cause: String| AssembleError::Index { path: path.display().to_string(), cause };
    let text = fs::read(path).map_err(|e| bad(e.to_string()))?;
    let document: Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    if !document["manifests"].is_array() {
        return Err(bad("it has no list of manifests".into()));
    }
    Ok(document)
}

fn compress(layer: &Layer, out: &mut File, shown: &Path) -> Result<(Digest, u64), AssembleError> {
    let write = |out| -> std::io::Result<(Digest, u64)> {
        let mut out = HashingWriter::new(BufWriter::new(out));
        gzip::compress(layer, &mut out)?;
        out.flush()?;
        let (_, digest, bytes) = out.finish();
        Ok((digest, bytes))
    };
    write(out).map_err(AssembleError::file("write", shown))
}

fn documents(
    config: &ImageConfig,
    annotations: &BTreeMap<String, String>,
    layer: Digest,
    layer_bytes: u64,
    names: &[String],
) -> Documents {
    let config = config.to_bytes();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": Digest::of(&config), "size": config.len()},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": layer_bytes}],
    });
    // The base's own base is not this image's, which the labels name.
    let annotations: BTreeMap<_, _> = annotations.iter().filter(|(key, _)| !key.starts_with(BASE)).collect();
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    let manifest = manifest.to_string().into_bytes();
    let descriptor = json!({"mediaType": MANIFEST_TYPE, "digest": Digest::of(&manifest), "size": manifest.len()});
    let mut descriptors: Vec<Value> = Vec::new();
    for name in names {
        let mut named = descriptor.clone();
        named["annotations"] = json!({REF_NAME: name});
        descriptors.push(named);
    }
    if descriptors.is_empty() {
        descriptors.push(descriptor);
    }
    Documents { config, manifest, descriptors }
}

fn index(descriptors: Vec<Value>) -> String {
    json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors}).to_string()
}
