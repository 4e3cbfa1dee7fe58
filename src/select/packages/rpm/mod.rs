//! rpm's databases: SQLite and ndb; and the list of packages that images without rpm have in its place. Berkeley DB, of
//! rpm before 4.16, is not read.

pub(in crate::select) mod header;
mod ndb;
mod sqlite;

use std::collections::HashMap;

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::reader::{MAX_DATABASE, Reader, constant};
use crate::select::packages::{Found, Manager, Package, Record, without_directories};
use header::Header;

/// Where rpm keeps its databases, of old and on systems whose `/var` is not part of the image.
const DIRECTORIES: [&str; 3] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"];
/// The list of packages that an image without rpm has, as of Microsoft's distributions.
pub(in crate::select) const MANIFEST: &str = "/var/lib/rpmmanifest/container-manifest-2";

/// What rpm knows of one package.
#[derive(Debug)]
pub(in crate::select) struct Rpm {
    /// Its header, its files taken out.
    pub header: Header,
    /// The database that has it.
    pub database: ImagePath,
    /// Those of its files that are its licence.
    pub licenses: Vec<ImagePath>,
}

/// A format of rpm's databases, by its file.
type Format = (&'static [u8], fn(Vec<u8>) -> Result<Vec<Vec<u8>>, String>);
const FORMATS: [Format; 2] = [(b"rpmdb.sqlite", sqlite::blobs), (b"Packages.db", owned_ndb)];

fn owned_ndb(database: Vec<u8>) -> Result<Vec<Vec<u8>>, String> {
    Ok(ndb::blobs(&database)?.into_iter().map(<[u8]>::to_vec).collect())
}

/// All packages that are installed.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Vec<Found>, SelectError> {
    let mut found = Vec::new();
    let mut seen: Vec<ImagePath> = Vec::new();
    for directory in DIRECTORIES.map(constant) {
        let directory = reader.directory(&directory)?;
        if seen.contains(&directory) {
            continue;
        }
        let mut is_known = false;
        for (name, blobs) in FORMATS {
            let Ok(path) = directory.child(name) else { continue };
            let Some((database, content)) = reader.file(&path, MAX_DATABASE)? else { continue };
            is_known = true;
            match blobs(content) {
                Ok(blobs) => read_headers(reader, &database, &blobs, &mut found)?,
                Err(cause) => reader.warn(&database, &cause),
            }
            warn_of_log(reader, &database)?;
        }
        let old = directory.child(b"Packages").unwrap_or_else(|_| directory.clone());
        if !is_known && reader.lookup(&old)?.is_some_and(|entry| entry.is_file()) {
            reader.warn(&old, "it is a Berkeley DB, which is not read; `rpmdb --rebuilddb` of rpm 4.16 makes another");
        }
        seen.push(directory);
    }
    if found.is_empty() {
        read_manifest(reader, &mut found)?;
    }
    Ok(found)
}

fn read_headers(
    reader: &mut Reader<'_>,
    database: &ImagePath,
    blobs: &[Vec<u8>],
    found: &mut Vec<Found>,
) -> Result<(), SelectError> {
    for blob in blobs {
        let mut header = match header::parse(blob) {
            Ok(header) => header,
            Err(cause) => {
                reader.warn(database, &format!("a header in it is damaged: {cause}"));
                continue;
            }
        };
        let (mut files, mut licenses) = (Vec::new(), Vec::new());
        let listed = std::mem::take(&mut header.files);
        let is_license: HashMap<ImagePath, bool> =
            listed.iter().filter_map(|file| Some((ImagePath::parse(&file.path).ok()?, file.is_license))).collect();
        let listed: Vec<ImagePath> = listed.iter().filter_map(|file| ImagePath::parse(&file.path).ok()).collect();
        for path in without_directories(&listed) {
            let place = reader.place(path)?;
            if is_license.get(path) == Some(&true) {
                licenses.push(place.clone());
            }
            files.push(place);
        }
        let package = package(&header);
        let record = Record::Rpm(Rpm { database: database.clone(), licenses, header });
        found.push(Found { package, record, files });
    }
    Ok(())
}

fn package(header: &Header) -> Package {
    let epoch = header.epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Package {
        name: header.name.clone(),
        version: format!("{epoch}{}-{}", header.version, header.release),
        architecture: header.architecture.clone().unwrap_or_default(),
        manager: Manager::Rpm,
        place: None,
    }
}

/// Changes that SQLite has not put into the database yet are not seen.
fn warn_of_log(reader: &mut Reader<'_>, database: &ImagePath) -> Result<(), SelectError> {
    let log = database.file_name().map(|name| [name, b"-wal"].concat());
    let log = log.and_then(|name| database.parent()?.child(&name).ok());
    let has_log = match &log {
        Some(log) => reader
            .lookup(log)?
            .is_some_and(|entry| matches!(entry.kind, crate::image::EntryKind::File { size, .. } if size > 0)),
        None => false,
    };
    if has_log {
        reader.warn(database, "the last changes to it are in a write-ahead log beside it, which is not read");
    }
    Ok(())
}

/// The packages of an image without rpm. Nobody knows their files.
fn read_manifest(reader: &mut Reader<'_>, found: &mut Vec<Found>) -> Result<(), SelectError> {
    let Some((_, text)) = reader.file(&constant(MANIFEST), MAX_DATABASE)? else { return Ok(()) };
    for line in String::from_utf8_lossy(&text).lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, _, _, _, epoch, _, architecture, ..] = fields[..] else { continue };
        let epoch = if epoch == "(none)" { String::new() } else { format!("{epoch}:") };
        let package = Package {
            name: name.to_owned(),
            version: format!("{epoch}{version}"),
            architecture: architecture.to_owned(),
            manager: Manager::Rpm,
            place: None,
        };
        found.push(Found { package, record: Record::Listed, files: Vec::new() });
    }
    Ok(())
}
