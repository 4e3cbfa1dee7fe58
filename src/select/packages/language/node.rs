//! Packages of Node in `node_modules`: a directory with a `package.json`, less the packages in its own `node_modules`.

use serde_json::Value;

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::language::{is_directly_in, is_license};
use crate::select::packages::reader::{MAX_TEXT, Reader};
use crate::select::packages::{Found, Manager, Package, Record};

pub(super) fn read(reader: &mut Reader<'_>, dir: &ImagePath) -> Result<Vec<Found>, SelectError> {
    let Ok(description) = dir.child(b"package.json") else { return Ok(Vec::new()) };
    let Some((_, text)) = reader.file(&description, MAX_TEXT)? else { return Ok(Vec::new()) };
    // What is no package to npm is none here: `node_modules` also has directories that tools write in.
    let Ok(document) = serde_json::from_slice::<Value>(&text) else { return Ok(Vec::new()) };
    let (Some(name), Some(version)) = (document["name"].as_str(), document["version"].as_str()) else {
        return Ok(Vec::new());
    };
    let own_depth = dir.components().count();
    let is_own = |path: &ImagePath| !path.components().skip(own_depth).any(|c| c == b"node_modules");
    let mut files: Vec<ImagePath> = reader.files_below(dir)?.into_iter().filter(is_own).collect();
    let is_metadata = |path: &&ImagePath| is_directly_in(path, dir) && (**path == description || is_license(path));
    let metadata = files.iter().filter(is_metadata).cloned().collect();
    for command in commands(&document, name) {
        files.extend(links(reader, dir, command.as_bytes())?);
    }
    let package = Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: String::new(),
        manager: Manager::Node,
        place: Some(dir.clone()),
    };
    Ok(vec![Found { package, record: Record::Language { metadata }, files }])
}

/// The commands that a package brings.
fn commands(document: &Value, name: &str) -> Vec<String> {
    match &document["bin"] {
        Value::String(_) => vec![name.rsplit('/').next().unwrap_or(name).to_owned()],
        Value::Object(commands) => commands.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The links to a command that npm makes: in `.bin` beside the packages, or in `bin` beside `lib/node_modules`.
fn links(reader: &Reader<'_>, dir: &ImagePath, command: &[u8]) -> Result<Vec<ImagePath>, SelectError> {
    let modules = dir.ancestors().find(|above| above.file_name() == Some(b"node_modules"));
    let prefix = modules.as_ref().and_then(|modules| modules.ancestors().nth(1));
    let places = [modules.and_then(|dir| dir.child(b".bin").ok()), prefix.and_then(|dir| dir.child(b"bin").ok())];
    let mut links = Vec::new();
    for link in places.into_iter().flatten().filter_map(|place| place.child(command).ok()) {
        if reader.lookup(&link)?.is_some_and(|entry| entry.link_target().is_some())
            && reader.rootfs.resolve(link.as_bytes(), true)?.end.is_within(dir)
        {
            links.push(link);
        }
    }
    Ok(links)
}
