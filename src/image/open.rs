//! From a source to a base: an image's config and its rootfs, unpacked or found in the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Digest, FileTree, ImagePath};
use crate::image::archive::Archive;
use crate::image::blobs::Blobs;
use crate::image::error::ImageError;
use crate::image::layer::{LayerInput, Opener};
use crate::image::store::{RootGuard, ScratchDir, Store};
use crate::image::unpack::unpack_layers;
use crate::image::{
    Entry, EntryKind, ImageConfig, Owners, OwnersAsSeen, Platform, Rootfs, Source, docker_archive, oci,
};

/// What an application runs on: a config and a rootfs.
pub struct Base {
    /// What it is called: the name of the image in its archive, or else the source as it was written.
    pub reference: String,
    /// The name of the image in a registry, where its archive tells one.
    pub name: Option<String>,
    /// The digest of the config, the image's id; `None` for a directory and the host.
    pub digest: Option<Digest>,
    /// The digest of the manifest, where the source has one.
    pub manifest_digest: Option<Digest>,
    /// The annotations of the manifest (OCI image-spec 1.1, annotations.md); none where the source has no manifest.
    pub annotations: BTreeMap<String, String>,
    /// The config; for a directory and the host a bare one.
    pub config: ImageConfig,
    /// The layers, lowest first; none for a directory and the host.
    pub layers: Vec<LayerInfo>,
    /// The files.
    pub rootfs: Rootfs,
    /// Keeps the files in the store.
    pub guard: Option<RootGuard>,
}

/// What is known of a layer without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// The digest of the blob, where the source promises one.
    pub digest: Option<Digest>,
    /// The digest of the plain archive.
    pub diff_id: Digest,
    /// Length of the blob as it is stored, in bytes.
    pub bytes: u64,
    /// The build step that made it, from the config's history.
    pub created_by: Option<String>,
}

/// How to open a source.
#[derive(Clone)]
pub struct OpenOptions {
    /// Which of the images for several platforms: `None` for this machine's, or the only one there is.
    pub platform: Option<Platform>,
    /// Who owns the files of a directory or the host.
    pub owners: Arc<dyn Owners>,
    /// A name for the mapping of ids under which this process writes files. Roots are kept apart by it.
    pub id_map_key: String,
    /// What an image may be at most.
    pub limits: Limits,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            platform: None,
            owners: Arc::new(OwnersAsSeen),
            id_map_key: "as-seen".into(),
            limits: Limits::default(),
        }
    }
}

/// What an image may be at most. These are far above any image that is meant well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The sum of the sizes of all layers when they are plain, and of all files, in bytes.
    pub unpacked_bytes: u64,
    /// How many entries its layers may have.
    pub entries: u64,
    /// The size of one JSON document, in bytes.
    pub json_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { unpacked_bytes: 128 << 30, entries: 8_000_000, json_bytes: 16 << 20 }
    }
}

impl Limits {
    pub(super) fn too_large(&self, what: String) -> ImageError {
        let limit = format!("{} bytes or {} files", self.unpacked_bytes, self.entries);
        ImageError::TooLarge { what, limit, hint: Some("unpack it by other means and read it as rootfs:DIR".into()) }
    }
}

/// An image that was found in its source, not unpacked yet.
pub(super) struct Located<'a> {
    pub(super) reference: Option<String>,
    pub(super) manifest_digest: Option<Digest>,
    pub(super) annotations: BTreeMap<String, String>,
    /// The config as it is stored.
    pub(super) config: Vec<u8>,
    /// Lowest first.
    pub(super) layers: Vec<LocatedLayer<'a>>,
}

/// A layer of a located image.
pub(super) struct LocatedLayer<'a> {
    pub(super) blob: Option<Digest>,
    pub(super) bytes: u64,
    pub(super) open: Opener<'a>,
}

/// Opens a source. An image whose layers were unpacked before, under the same mapping of ids, is found in the store
/// without reading its layers.
pub fn open(source: &Source, store: &Store, options: &OpenOptions) -> Result<Base, ImageError> {
    match source {
        Source::Host => lazy(source, Path::new("/"), options),
        Source::Rootfs { dir } => lazy(source, dir, options),
        _ => with_located(source, store, options, |located| full(source, located, store, options)),
    }
}

/// Finds an image in its source and does `work` with it.
pub(super) fn with_located<T>(
    source: &Source,
    store: &Store,
    options: &OpenOptions,
    work: impl FnOnce(Located<'_>) -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    let (platform, limits) = (options.platform.as_ref(), &options.limits);
    match source {
        Source::Host | Source::Rootfs { .. } => Err(ImageError::NotAnImage {
            source_name: source.to_string(),
            expected: "an image",
            problem: "it is a root filesystem without a config".into(),
            hint: Some("`scrimp slim` makes an image of it, -o docker-archive:FILE".into()),
        }),
        Source::DockerArchive { file, reference } => {
            let archive = Archive::open(file, store, limits)?;
            work(docker_archive::locate(&archive, reference.as_deref(), platform, limits)?)
        }
        Source::OciArchive { file, tag } => {
            let blobs = Blobs::Archive(Archive::open(file, store, limits)?);
            work(oci::locate(&blobs, tag.as_deref(), platform, limits)?)
        }
        Source::OciDir { dir, tag } => {
            std::fs::read_dir(dir).map_err(|cause| ImageError::File {
                operation: "open the image layout",
                path: dir.clone(),
                cause,
            })?;
            let blobs = Blobs::Dir(dir.clone());
            work(oci::locate(&blobs, tag.as_deref(), platform, limits)?)
        }
    }
}

/// Unpacks one layer, which this program made itself, into scratch space: the image that is to be verified. The rootfs
/// is there as long as the directory.
pub fn unpack_staged(
    layer: impl std::io::Read + Send,
    scratch: ScratchDir,
    limits: &Limits,
) -> Result<(Rootfs, ScratchDir), ImageError> {
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).map_err(|cause| ImageError::Store {
        operation: "make the directory",
        path: root.clone(),
        cause,
    })?;
    let open: Opener<'_> = Box::new(move || Ok(Box::new(layer)));
    let input = LayerInput { name: "the new layer".into(), blob: None, diff_id: None, open };
    let entries = unpack_layers(vec![input], &root, limits)?;
    Ok((Rootfs::full(&root, entries)?, scratch))
}

fn lazy(source: &Source, dir: &Path, options: &OpenOptions) -> Result<Base, ImageError> {
    let fail = |cause| ImageError::File { operation: "open the directory", path: dir.to_owned(), cause };
    let dir = std::fs::canonicalize(dir).map_err(fail)?;
    if !dir.is_dir() {
        return Err(ImageError::NotAnImage {
            source_name: source.to_string(),
            expected: "a root filesystem",
            problem: "it is not a directory".into(),
            hint: Some(format!("an archive is docker-archive:{0} or oci-archive:{0}", dir.display())),
        });
    }
    Ok(Base {
        reference: source.to_string(),
        name: None,
        digest: None,
        manifest_digest: None,
        annotations: BTreeMap::new(),
        config: ImageConfig::bare(),
        layers: Vec::new(),
        rootfs: Rootfs::lazy(&dir, options.owners.clone())?,
        guard: None,
    })
}

/// An image whose config fits its layers.
pub(super) struct Checked<'a> {
    pub(super) config: ImageConfig,
    pub(super) diff_ids: Vec<Digest>,
    /// The name of the image in its archive, or else the source as it was written.
    pub(super) reference: String,
    name: Option<String>,
    layers: Vec<LayerInfo>,
    pub(super) inputs: Vec<LayerInput<'a>>,
}

/// Reads the config of an image, and holds it against what is wanted and what there is.
pub(super) fn checked<'a>(
    source: &Source,
    located: Located<'a>,
    options: &OpenOptions,
) -> Result<Checked<'a>, ImageError> {
    let source_name = source.to_string();
    let config = ImageConfig::parse(&located.config)
        .map_err(|cause| ImageError::Config { source_name: source_name.clone(), cause })?;
    check_platform(&config, &source_name, options)?;
    let diff_ids = diff_ids(&config, &source_name)?;
    if diff_ids.len() != located.layers.len() {
        return Err(ImageError::Invalid {
            what: format!("the config of {source_name}"),
            problem: format!("it names {} layers, and the image has {}", diff_ids.len(), located.layers.len()),
            hint: None,
        });
    }
    let steps = build_steps(&config);
    let info = |(index, layer): (usize, &LocatedLayer<'_>)| LayerInfo {
        digest: layer.blob,
        diff_id: diff_ids[index],
        bytes: layer.bytes,
        created_by: steps.get(index).cloned().flatten(),
    };
    let layers: Vec<LayerInfo> = located.layers.iter().enumerate().map(info).collect();
    // A bare tag, as layouts have it, names an image in its layout only.
    let name = located.reference.filter(|name| name.contains(['/', ':']));
    let reference = name.clone().unwrap_or(source_name);
    let input = |(layer, diff_id): (LocatedLayer<'a>, &Digest)| LayerInput {
        name: format!("the layer {diff_id}"),
        blob: layer.blob,
        diff_id: Some(*diff_id),
        open: layer.open,
    };
    let inputs = located.layers.into_iter().zip(&diff_ids).map(input).collect();
    Ok(Checked { config, diff_ids, reference, name, layers, inputs })
}

fn full(source: &Source, located: Located<'_>, store: &Store, options: &OpenOptions) -> Result<Base, ImageError> {
    let (digest, manifest_digest) = (Digest::of(&located.config), located.manifest_digest);
    let annotations = located.annotations.clone();
    let Checked { config, diff_ids, reference, name, layers, inputs } = checked(source, located, options)?;
    let key = key(&diff_ids, &options.id_map_key);
    let opened = store
        .find_or_make(&key, &reference, &options.id_map_key, |root| unpack_layers(inputs, root, &options.limits))?;
    Ok(Base {
        reference,
        name,
        digest: Some(digest),
        manifest_digest,
        annotations,
        config,
        layers,
        rootfs: Rootfs::full(&opened.root, opened.entries)?,
        guard: Some(opened.guard),
    })
}

/// Where the tree of these layers is in the store: it depends on nothing else of the image.
fn key(diff_ids: &[Digest], id_map: &str) -> String {
    let mut text = format!("{id_map}\n");
    for diff_id in diff_ids {
        text += &format!("{diff_id}\n");
    }
    Digest::of(text.as_bytes()).hex()
}

/// An image that came without an index says only in its config for what it is.
fn check_platform(config: &ImageConfig, source_name: &str, options: &OpenOptions) -> Result<(), ImageError> {
    let (Some(wanted), Some(offered)) = (&options.platform, config.platform()) else {
        return Ok(());
    };
    if wanted.rank(&offered).is_some() {
        return Ok(());
    }
    let available = vec![offered.to_string()];
    Err(ImageError::NoPlatform { source_name: source_name.into(), wanted: wanted.clone(), available })
}

fn diff_ids(config: &ImageConfig, source_name: &str) -> Result<Vec<Digest>, ImageError> {
    let invalid = |problem: String| ImageError::Invalid {
        what: format!("the config of {source_name}"),
        problem,
        hint: Some("is it the image of a container? Charts and other artifacts cannot be run".into()),
    };
    let Some(listed) = config.document()["rootfs"]["diff_ids"].as_array() else {
        return Err(invalid("it has no list rootfs.diff_ids".into()));
    };
    let parse = |value: &serde_json::Value| value.as_str().unwrap_or_default().parse::<Digest>();
    listed.iter().map(parse).collect::<Result<_, _>>().map_err(|cause| invalid(cause.to_string()))
}

/// The build step of each layer, lowest first, from those items of the history that made one.
fn build_steps(config: &ImageConfig) -> Vec<Option<String>> {
    let history = config.document()["history"].as_array();
    let made_layer = |item: &&serde_json::Value| item["empty_layer"].as_bool() != Some(true);
    let step = |item: &serde_json::Value| item["created_by"].as_str().map(String::from);
    history.into_iter().flatten().filter(made_layer).map(step).collect()
}

/// How many regular files there are, hard links counted once, and the sum of their sizes in bytes.
pub fn totals(entries: &FileTree<Entry>) -> (u64, u64) {
    let mut groups = std::collections::BTreeSet::new();
    let mut sum = (0, 0);
    let mut add = |(_, entry): (&ImagePath, &Entry)| {
        if let EntryKind::File { size, link_group, .. } = entry.kind
            && link_group.is_none_or(|group| groups.insert(group))
        {
            sum = (sum.0 + 1, sum.1 + size);
        }
    };
    entries.iter().for_each(&mut add);
    sum
}
