//! Java archives that Maven made: `META-INF/maven/GROUP/ARTIFACT/pom.properties` says what it is. One that holds
//! several has been put together, by the application's own build as a rule: it is what its file is named after.

use std::io::Read;

use zip::ZipArchive;

use crate::base::ImagePath;
use crate::image::RootfsError;
use crate::select::SelectError;
use crate::select::packages::reader::Reader;
use crate::select::packages::{Found, Manager, Package, Record};

/// The longest `pom.properties` that is read; they have some 100 bytes.
const MAX_PROPERTIES: u64 = 64 << 10;
/// How many an archive may have.
const MAX_POMS: usize = 1000;

pub(super) fn read(reader: &mut Reader<'_>, archive: &ImagePath) -> Result<Vec<Found>, SelectError> {
    let file = match reader.rootfs.open(archive) {
        Ok(file) => file,
        Err(RootfsError::File { .. }) => return Ok(Vec::new()),
        Err(cause) => return Err(cause.into()),
    };
    // Not everything that is called an archive is one.
    let Ok(mut zip) = ZipArchive::new(file) else { return Ok(Vec::new()) };
    let is_properties = |name: &String| name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties");
    let names = zip.file_names().filter_map(Result::ok).map(String::from).filter(is_properties);
    let names: Vec<String> = names.take(MAX_POMS).collect();
    let mut poms = Vec::new();
    for name in names {
        let mut text = Vec::new();
        let Ok(member) = zip.by_name(&name) else { continue };
        if member.take(MAX_PROPERTIES).read_to_end(&mut text).is_ok() {
            poms.extend(pom(&text));
        }
    }
    let stem = archive.file_name().unwrap_or_default();
    let is_named_after = |pom: &&Pom| stem.starts_with(pom.artifact.as_bytes());
    let pom = match poms.as_slice() {
        [only] => Some(only),
        several => several.iter().filter(is_named_after).max_by_key(|pom| pom.artifact.len()),
    };
    let Some(pom) = pom else { return Ok(Vec::new()) };
    let package = Package {
        name: format!("{}:{}", pom.group, pom.artifact),
        version: pom.version.clone(),
        architecture: String::new(),
        manager: Manager::Maven,
        place: Some(archive.clone()),
    };
    Ok(vec![Found { package, record: Record::Language { metadata: Vec::new() }, files: vec![archive.clone()] }])
}

struct Pom {
    group: String,
    artifact: String,
    version: String,
}

/// Lines of `KEY=VALUE`.
fn pom(text: &[u8]) -> Option<Pom> {
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    Some(Pom { group: value("groupId")?, artifact: value("artifactId")?, version: value("version")? })
}
