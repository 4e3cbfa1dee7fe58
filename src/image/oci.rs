//! `oci:` and `oci-archive:`, the OCI image layout (OCI image-spec 1.1, image-layout.md, image-index.md, manifest.md),
//! with Docker's media types where tools mix them in. Documents are told apart by what they hold, not by their type.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::base::Digest;
use crate::image::blobs::{Blobs, read_bounded};
use crate::image::docker_archive::is_same;
use crate::image::error::ImageError;
use crate::image::open::{Located, LocatedLayer};
use crate::image::{Limits, Platform};

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 8;
/// How many of them are read to find one that is for a platform.
const MAX_INDEXES: usize = 256;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const IMAGE_NAME: &str = "io.containerd.image.name";

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Value,
    #[serde(default)]
    annotations: Value,
}

/// An index, or the manifest of an image: which one, the fields say.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    annotations: Value,
}

/// The manifest of one image.
struct Manifest {
    digest: Digest,
    annotations: BTreeMap<String, String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Descriptor {
    /// The names this goes by, the fullest first.
    fn names(&self) -> impl Iterator<Item = &str> {
        [IMAGE_NAME, REF_NAME].into_iter().filter_map(|key| self.annotations[key].as_str())
    }

    fn platform(&self) -> Option<Platform> {
        Platform::of_document(&self.platform)
    }

    /// Whether this could be an image: provenance and signatures lie beside images in an index.
    fn is_image(&self) -> bool {
        self.annotations["vnd.docker.reference.type"].is_null()
            && self.platform().is_none_or(|platform| platform.os != "unknown")
    }
}

/// Finds an image in the layout: the one called `tag`, or the only one, for `platform` or this machine's.
pub(super) fn locate<'a>(
    blobs: &'a Blobs,
    tag: Option<&str>,
    platform: Option<&Platform>,
    limits: &Limits,
) -> Result<Located<'a>, ImageError> {
    let layout = Layout { blobs, platform, limits };
    let index = layout.index()?;
    let chosen = layout.choose_name(index, tag)?;
    let reference = chosen.first().and_then(|d| d.names().next()).map(String::from);
    let Manifest { digest: manifest_digest, annotations, config, layers } = layout.manifest(chosen, 0)?;
    let config = layout.blob(&config, "the config")?;
    let mut located = Vec::new();
    for layer in layers {
        if layer.media_type.ends_with("+encrypted") {
            return Err(layout.invalid(format!("the layer {}", layer.digest), "it is encrypted"));
        }
        let digest = layout.digest(&layer)?;
        let name = blob_name(&digest);
        let missing = move |name: &str| ImageError::Missing { source_name: blobs.name(), what: name.into() };
        let Some((_, bytes)) = blobs.open(&name)? else { return Err(missing(&name)) };
        let open = Box::new(move || Ok(blobs.open(&name)?.ok_or_else(|| missing(&name))?.0));
        located.push(LocatedLayer { blob: Some(digest), bytes, open });
    }
    Ok(Located { reference, manifest_digest: Some(manifest_digest), annotations, config, layers: located })
}

struct Layout<'a> {
    blobs: &'a Blobs,
    platform: Option<&'a Platform>,
    limits: &'a Limits,
}

impl Layout<'_> {
    fn index(&self) -> Result<Vec<Descriptor>, ImageError> {
        let Some((reader, _)) = self.blobs.open("index.json")? else {
            let is_docker = self.blobs.open("manifest.json")?.is_some();
            let name = self.blobs.name();
            let hint = match is_docker {
                true => format!("write docker-archive:{name}"),
                false => format!("`skopeo copy` makes a layout; a directory with a root filesystem is rootfs:{name}"),
            };
            return Err(ImageError::NotAnImage {
                source_name: self.blobs.name(),
                expected: "an OCI image layout",
                problem: "it holds no index.json".into(),
                hint: Some(hint),
            });
        };
        let what = format!("index.json of {}", self.blobs.name());
        let bytes = read_bounded(reader, &what, self.limits.json_bytes)?;
        let document: Document = parse(&bytes, &what)?;
        document.manifests.ok_or_else(|| self.invalid(what, "it lists no manifests"))
    }

    /// The entries of the layout's index that go by one name.
    fn choose_name(&self, index: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>, ImageError> {
        let images: Vec<Descriptor> = index.into_iter().filter(Descriptor::is_image).collect();
        let names = images.iter().filter_map(|d| d.annotations[REF_NAME].as_str().or(d.names().next()));
        let available: Vec<String> = names.map(String::from).collect::<BTreeSet<_>>().into_iter().collect();
        let source_name = self.blobs.name();
        let Some(wanted) = tag else {
            let unnamed = images.iter().any(|d| d.names().next().is_none());
            return match images.is_empty() {
                true => Err(self.invalid(format!("index.json of {source_name}"), "it lists no image")),
                false if available.len() + usize::from(unnamed) > 1 => {
                    Err(ImageError::Ambiguous { source_name, available })
                }
                false => Ok(images),
            };
        };
        let is_wanted = |d: &&Descriptor| {
            d.annotations[REF_NAME] == wanted || d.digest == wanted || d.names().any(|name| is_same(name, wanted))
        };
        let chosen: Vec<Descriptor> = images.iter().filter(is_wanted).cloned().collect();
        match chosen.is_empty() {
            true => Err(ImageError::NoSuchImage { source_name, wanted: wanted.into(), available }),
            false => Ok(chosen),
        }
    }

    /// The manifest that `candidates` lead to, through indexes.
    fn manifest(&self, candidates: Vec<Descriptor>, depth: usize) -> Result<Manifest, ImageError> {
        let chosen = self.choose_platform(self.with_platforms(candidates, depth)?)?;
        let digest = self.digest(&chosen)?;
        let what = format!("the manifest {digest} of {}", self.blobs.name());
        let document: Document = parse(&self.blob(&chosen, "the manifest")?, &what)?;
        match document {
            Document { manifests: Some(nested), config: None, .. } => {
                if depth == MAX_DEPTH {
                    return Err(self.invalid(what, "indexes lie too deep in indexes"));
                }
                let images: Vec<Descriptor> = nested.into_iter().filter(Descriptor::is_image).collect();
                if images.is_empty() {
                    return Err(self.invalid(what, "it is an index that lists no image"));
                }
                self.manifest(images, depth + 1)
            }
            Document { config: Some(config), layers: Some(layers), annotations, .. } => {
                let texts = annotations.as_object().into_iter().flatten();
                let texts = texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
                Ok(Manifest { digest, annotations: texts.collect(), config, layers })
            }
            _ => Err(self.invalid(what, "it is neither an index nor the manifest of an image")),
        }
    }

    /// What several candidates that do not say for what they are lead to, through indexes.
    fn with_platforms(&self, candidates: Vec<Descriptor>, depth: usize) -> Result<Vec<Descriptor>, ImageError> {
        if candidates.len() < 2 || candidates.iter().any(|d| d.platform().is_some()) {
            return Ok(candidates);
        }
        let mut found = Vec::new();
        let mut pending: Vec<(Descriptor, usize)> = candidates.into_iter().rev().map(|d| (d, depth)).collect();
        let mut read = 0;
        while let Some((candidate, depth)) = pending.pop() {
            if candidate.platform().is_some() {
                found.push(candidate);
                continue;
            }
            let what = format!("the manifest {} of {}", candidate.digest, self.blobs.name());
            read += 1;
            if depth > MAX_DEPTH || read > MAX_INDEXES {
                return Err(self.invalid(what, "too many indexes, or too deep ones, lead to it"));
            }
            match parse::<Document>(&self.blob(&candidate, "the manifest")?, &what)? {
                Document { manifests: Some(nested), config: None, .. } => {
                    let images = nested.into_iter().filter(Descriptor::is_image);
                    pending.extend(images.map(|d| (d, depth + 1)).rev());
                }
                _ => found.push(candidate),
            }
        }
        Ok(found)
    }

    /// The best of several; a single one is taken as it is unless the user asked for a platform.
    fn choose_platform(&self, mut candidates: Vec<Descriptor>) -> Result<Descriptor, ImageError> {
        if candidates.len() == 1 && (self.platform.is_none() || candidates[0].platform().is_none()) {
            return Ok(candidates.remove(0));
        }
        let wanted = self.platform.cloned().unwrap_or_else(Platform::of_this_machine);
        let ranked = candidates.iter().filter_map(|d| Some((wanted.rank(&d.platform()?)?, d)));
        let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, d)| d.clone());
        // One that does not say for what it is may still be an index that does.
        let best = best.or_else(|| candidates.iter().find(|d| d.platform().is_none()).cloned());
        best.ok_or_else(|| ImageError::NoPlatform {
            source_name: self.blobs.name(),
            wanted,
            available: candidates.iter().filter_map(|d| Some(d.platform()?.to_string())).collect(),
        })
    }

    /// The content of a document, checked against its digest.
    fn blob(&self, descriptor: &Descriptor, kind: &str) -> Result<Vec<u8>, ImageError> {
        let expected = self.digest(descriptor)?;
        let name = blob_name(&expected);
        let Some((reader, _)) = self.blobs.open(&name)? else {
            return Err(ImageError::Missing { source_name: self.blobs.name(), what: format!("{kind} {name}") });
        };
        let what = format!("{kind} {expected} of {}", self.blobs.name());
        let bytes = read_bounded(reader, &what, self.limits.json_bytes)?;
        let found = Digest::of(&bytes);
        if found == expected { Ok(bytes) } else { Err(ImageError::Digest { what, expected, found }) }
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Digest, ImageError> {
        descriptor.digest.parse().map_err(|cause| self.invalid(self.blobs.name(), cause))
    }

    fn invalid(&self, what: String, problem: impl ToString) -> ImageError {
        ImageError::Invalid { what, problem: problem.to_string(), hint: None }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|cause| ImageError::Json { what: what.into(), cause })
}
