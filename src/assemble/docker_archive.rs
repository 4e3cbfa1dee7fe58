//! Docker archives: what `docker save` writes and `docker load`, `podman load` and skopeo read (Docker image spec 1.2,
//! "Combined Image JSON + Filesystem Changeset Format"). The layer is in it uncompressed, as Docker has it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use serde_json::json;

use crate::assemble::staging::StagedFile;
use crate::assemble::tarball::{Kind, PLAIN, Record, TarWriter};
use crate::assemble::{AssembleError, Layer};
use crate::base::Digest;
use crate::image::{ImageConfig, Packed, PackedLayer};

/// Writes the archive under no name. Returns its length in bytes too.
pub fn stage(
    file: &Path,
    layer: &Layer,
    config: &ImageConfig,
    names: &[String],
) -> Result<(StagedFile, u64), AssembleError> {
    let repo_tags = names.iter().map(|name| repo_tag(name)).collect::<Result<Vec<_>, _>>()?;
    let config = config.to_bytes();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layer_name = format!("{}.tar", layer.diff_id.hex());
    let manifest = json!([{"Config": config_name, "RepoTags": repo_tags, "Layers": [layer_name]}]).to_string();
    let mut staged = StagedFile::new(file)?;
    let mut write = || {
        let mut tar = TarWriter::new(staged.file());
        tar.file(&Record { name: b"manifest.json", ..PLAIN }, manifest.as_bytes())?;
        tar.file(&Record { name: config_name.as_bytes(), ..PLAIN }, &config)?;
        tar.begin(&Record { name: layer_name.as_bytes(), kind: Kind::File { size: layer.bytes }, ..PLAIN })?;
        tar.splice(layer.bytes, |out| layer.reader().copy_to(out))?;
        tar.pad()?;
        tar.finish()?.stream_position()
    };
    let bytes = write().map_err(AssembleError::file("write", file))?;
    Ok((staged, bytes))
}

/// Writes an archive of an image as it is into `file`, which is empty. `name` has a tag.
pub fn write_packed(image: &Packed, name: &str, file: File) -> io::Result<()> {
    let config_name = format!("{}.json", image.digest.hex());
    let layer_name = |layer: &PackedLayer| format!("{}.tar", layer.diff_id.hex());
    let layers: Vec<String> = image.layers.iter().map(layer_name).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layers}]).to_string();
    let mut tar = TarWriter::new(file);
    tar.file(&Record { name: b"manifest.json", ..PLAIN }, manifest.as_bytes())?;
    tar.file(&Record { name: config_name.as_bytes(), ..PLAIN }, &image.config_bytes)?;
    let mut written = BTreeSet::new();
    // A layer may be in an image twice.
    for layer in image.layers.iter().filter(|layer| written.insert(layer.diff_id)) {
        let name = layer_name(layer);
        tar.begin(&Record { name: name.as_bytes(), kind: Kind::File { size: layer.bytes }, ..PLAIN })?;
        tar.splice(layer.bytes, |out| {
            let mut from = &layer.file;
            from.rewind()?;
            match io::copy(&mut from, out)? {
                bytes if bytes == layer.bytes => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })?;
        tar.pad()?;
    }
    tar.finish().map(drop)
}

/// The name of an image with its tag, `latest` where none is given (distribution/reference: domain, path, tag).
pub fn repo_tag(name: &str) -> Result<String, AssembleError> {
    let bad = |cause| AssembleError::Name { name: name.into(), cause };
    if name.contains('@') {
        return Err(bad("it has a digest, which only a registry can give"));
    }
    let (path, tag) = match name.rsplit_once(':') {
        // A colon before a slash belongs to a port.
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, "latest"),
    };
    let tag_is_good = tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !tag_is_good {
        return Err(bad("the tag may have letters, digits, '_', '.' and '-'"));
    }
    let mut components = path.split('/');
    let domain = |first: &str| first.contains(['.', ':']) || first == "localhost";
    if path.split('/').next().is_some_and(domain) && path.contains('/') {
        let domain = components.next().unwrap_or_default();
        if domain.is_empty() || !domain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':')) {
            return Err(bad("the registry is not a host name"));
        }
    }
    let component_is_good = |component: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        ends(component.chars().next())
            && ends(component.chars().last())
            && component.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
    };
    if !components.all(component_is_good) {
        return Err(bad("its parts may have lower-case letters and digits, and '.', '_' or '-' between them"));
    }
    Ok(format!("{path}:{tag}"))
}
