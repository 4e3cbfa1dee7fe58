//! `docker-archive:`, the format of `docker save` (Docker image spec v1.2, "Combined Image JSON + Filesystem Changeset
//! Format"), as every Docker since 1.10, skopeo, podman and buildah write it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::Digest;
use crate::image::archive::Archive;
use crate::image::blobs::read_bounded;
use crate::image::error::ImageError;
use crate::image::open::{Located, LocatedLayer};
use crate::image::{ImageConfig, Limits, Platform};

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Finds an image in the archive: the one called `reference`, or the only one.
pub(super) fn locate<'a>(
    archive: &'a Archive,
    reference: Option<&str>,
    platform: Option<&Platform>,
    limits: &Limits,
) -> Result<Located<'a>, ImageError> {
    let source_name = format!("docker-archive:{}", archive.name());
    let items = read_manifest(archive, &source_name, limits)?;
    let item = choose(items, reference, platform, archive, &source_name, limits)?;
    let config = read_config(archive, &item, &source_name, limits)?;
    let mut layers = Vec::new();
    for name in item.layers.unwrap_or_default() {
        let Some((_, bytes)) = archive.read(&name) else {
            return Err(ImageError::Missing { source_name, what: format!("the layer {name}") });
        };
        let missing = ImageError::Missing { source_name: source_name.clone(), what: format!("the layer {name}") };
        let open = Box::new(move || match archive.read(&name) {
            Some((section, _)) => Ok(Box::new(section) as Box<dyn std::io::Read + Send>),
            None => Err(missing),
        });
        layers.push(LocatedLayer { blob: None, bytes, open });
    }
    let tags = item.repo_tags.unwrap_or_default();
    let reference = reference.filter(|name| !name.starts_with('@')).map(tagged).or(tags.into_iter().next());
    Ok(Located { reference, manifest_digest: None, annotations: BTreeMap::new(), config, layers })
}

fn read_manifest(archive: &Archive, source_name: &str, limits: &Limits) -> Result<Vec<Item>, ImageError> {
    let Some((reader, _)) = archive.read("manifest.json") else {
        let (problem, hint) = if archive.contains("oci-layout") || archive.contains("index.json") {
            ("it is an OCI image layout", Some(format!("write oci-archive:{}", archive.name())))
        } else if archive.contains("repositories") {
            ("it was written by a Docker before 1.10", Some("`docker load` and `docker save` it anew".into()))
        } else {
            ("it holds no manifest.json", Some("a root filesystem is unpacked first, then read as rootfs:DIR".into()))
        };
        let source_name = source_name.to_owned();
        return Err(ImageError::NotAnImage {
            source_name,
            expected: "a docker archive",
            problem: problem.into(),
            hint,
        });
    };
    let what = format!("manifest.json of {source_name}");
    let bytes = read_bounded(reader, &what, limits.json_bytes)?;
    serde_json::from_slice(&bytes).map_err(|cause| ImageError::Json { what, cause })
}

fn read_config(archive: &Archive, item: &Item, source_name: &str, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let what = format!("the config {} of {source_name}", item.config);
    let Some((reader, _)) = archive.read(&item.config) else {
        let what = format!("the config {}", item.config);
        return Err(ImageError::Missing { source_name: source_name.into(), what });
    };
    let bytes = read_bounded(reader, &what, limits.json_bytes)?;
    // The config is called by its digest, `HEX.json` or `blobs/sha256/HEX`.
    let base = item.config.rsplit('/').next().unwrap_or_default();
    // A config under any other name promises nothing.
    let promised = format!("sha256:{}", base.strip_suffix(".json").unwrap_or(base)).parse::<Digest>().ok();
    let found = Digest::of(&bytes);
    match promised {
        Some(expected) if expected != found => Err(ImageError::Digest { what, expected, found }),
        _ => Ok(bytes),
    }
}

fn choose(
    mut items: Vec<Item>,
    reference: Option<&str>,
    platform: Option<&Platform>,
    archive: &Archive,
    source_name: &str,
    limits: &Limits,
) -> Result<Item, ImageError> {
    let source_name = source_name.to_owned();
    let available: Vec<String> = items
        .iter()
        .enumerate()
        .flat_map(|(index, item)| match item.repo_tags.as_deref().unwrap_or_default() {
            [] => vec![format!("@{index}")],
            tags => tags.to_vec(),
        })
        .collect();
    if let Some(wanted) = reference {
        let position = match wanted.strip_prefix('@') {
            Some(index) => index.parse().ok().filter(|&index: &usize| index < items.len()),
            None => items.iter().position(|item| item.repo_tags.iter().flatten().any(|tag| is_same(tag, wanted))),
        };
        let wanted = wanted.to_owned();
        let position = position.ok_or(ImageError::NoSuchImage { source_name, wanted, available })?;
        return Ok(items.swap_remove(position));
    }
    if items.len() > 1
        && let Some(platform) = platform
    {
        // Images of one name for several platforms lie side by side.
        let mut fitting = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let config = read_config(archive, item, &source_name, limits)?;
            let offered = ImageConfig::parse(&config).ok().and_then(|config| config.platform());
            if offered.is_some_and(|offered| platform.rank(&offered).is_some()) {
                fitting.push(index);
            }
        }
        if let [index] = fitting.as_slice() {
            return Ok(items.swap_remove(*index));
        }
    }
    match (items.pop(), items.is_empty()) {
        (Some(item), true) => Ok(item),
        (None, _) => Err(ImageError::NotAnImage {
            source_name,
            expected: "a docker archive",
            problem: "its manifest.json lists no image".into(),
            hint: None,
        }),
        _ => Err(ImageError::Ambiguous { source_name, available }),
    }
}

/// Whether two names mean the same image: Docker's registry and the tag `latest` go without saying.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    fn familiar(name: &str) -> String {
        let name = name.strip_prefix("docker.io/").or(name.strip_prefix("index.docker.io/")).unwrap_or(name);
        tagged(name.strip_prefix("library/").unwrap_or(name))
    }
    familiar(one) == familiar(other)
}

/// The name with its tag.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn names_are_the_same_with_what_goes_without_saying() {
        for (one, other, expected) in [
            ("nginx:latest", "nginx", true),
            ("docker.io/library/nginx:1", "nginx:1", true),
            ("localhost:5000/a", "localhost:5000/a:latest", true),
            ("nginx:1", "nginx", false),
            ("a/nginx", "nginx", false),
        ] {
            assert_eq!(is_same(one, other), expected, "{one} {other}");
        }
    }
}
