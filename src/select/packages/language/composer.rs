//! PHP's packages: `vendor/composer/installed.json` says what lies where in `vendor`.

use serde_json::Value;

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::language::{is_directly_in, is_license, join};
use crate::select::packages::reader::{MAX_TEXT, Reader};
use crate::select::packages::{Found, Manager, Package, Record};

pub(super) fn read(reader: &mut Reader<'_>, installed: &ImagePath) -> Result<Vec<Found>, SelectError> {
    let Some(composer) = installed.parent() else { return Ok(Vec::new()) };
    let Some((_, text)) = reader.file(installed, MAX_TEXT)? else { return Ok(Vec::new()) };
    let Ok(document) = serde_json::from_slice::<Value>(&text) else {
        reader.warn(installed, "it is no JSON");
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for package in packages(&document) {
        let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str()) else { continue };
        // Composer 1 does not say where; it is always in the directory of its name.
        let path = package["install-path"].as_str().map_or_else(|| format!("../{name}"), str::to_owned);
        let Some(dir) = join(&composer, path.as_bytes()) else { continue };
        let dir = reader.directory(&dir)?;
        // A package of the application itself can be linked in, from anywhere.
        let Some(vendor) = composer.parent().filter(|vendor| dir.is_within(vendor) && dir != *vendor) else { continue };
        let files = reader.files_below(&dir)?;
        let is_metadata = |path: &&ImagePath| {
            is_directly_in(path, &dir) && (path.file_name() == Some(b"composer.json") || is_license(path))
        };
        let metadata = files.iter().filter(is_metadata).cloned().collect();
        let package = Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: String::new(),
            manager: Manager::Composer,
            place: Some(vendor),
        };
        found.push(Found { package, record: Record::Composer { metadata, installed: installed.clone() }, files });
    }
    Ok(found)
}

/// A list of them, or since Composer 2 an object that has it.
fn packages(document: &Value) -> &[Value] {
    document.as_array().or_else(|| document["packages"].as_array()).map_or(&[], Vec::as_slice)
}

/// `installed.json` with the packages that `is_kept` by name; `None` when it is no JSON.
pub(in crate::select) fn cut(text: &[u8], is_kept: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(text).ok()?;
    let list = match &mut document {
        Value::Array(list) => list,
        document => document["packages"].as_array_mut()?,
    };
    list.retain(|package| package["name"].as_str().is_some_and(&is_kept));
    if let Some(development) = document.get_mut("dev-package-names").and_then(Value::as_array_mut) {
        development.retain(|name| name.as_str().is_some_and(&is_kept));
    }
    let mut out = serde_json::to_vec_pretty(&document).ok()?;
    out.push(b'\n');
    Some(out)
}
