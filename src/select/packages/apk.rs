//! Alpine's database, `installed`: a paragraph for each package, of lines that a letter begins (apk-package(5)); after
//! `F:` stands a directory, after `R:` a file in it.

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::deb822::paragraphs;
use crate::select::packages::reader::{MAX_DATABASE, Reader, constant};
use crate::select::packages::{Found, Manager, Package, Record};

/// Where the database is: of old, and since `/lib` is a part of `/usr`.
const PLACES: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// The paragraph of one package.
#[derive(Debug)]
pub(in crate::select) struct Apk {
    /// As it is.
    pub paragraph: Vec<u8>,
    /// The database that has it.
    pub database: ImagePath,
}

/// All packages that are installed.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Vec<Found>, SelectError> {
    let mut found = Vec::new();
    let mut seen: Vec<ImagePath> = Vec::new();
    for place in PLACES {
        let Some((database, text)) = reader.file(&constant(place), MAX_DATABASE)? else { continue };
        if seen.contains(&database) {
            continue;
        }
        for paragraph in paragraphs(&text) {
            let Some(package) = package(paragraph) else { continue };
            let mut files = Vec::new();
            for path in lines(paragraph).filter_map(|line| line.path) {
                files.push(reader.place(&path)?);
            }
            let record = Record::Apk(Apk { paragraph: paragraph.to_vec(), database: database.clone() });
            found.push(Found { package, record, files });
        }
        seen.push(database);
    }
    Ok(found)
}

fn package(paragraph: &[u8]) -> Option<Package> {
    let value = |key: &[u8]| {
        let line = lines(paragraph).find_map(|line| line.text.strip_prefix(key));
        line.map(|value| String::from_utf8_lossy(value).trim().to_owned())
    };
    let name = value(b"P:").filter(|name| !name.is_empty())?;
    let (version, architecture) = (value(b"V:").unwrap_or_default(), value(b"A:").unwrap_or_default());
    Some(Package { name, version, architecture, manager: Manager::Apk, place: None })
}

/// A line of a paragraph.
pub(in crate::select) struct Line<'a> {
    /// Without its line feed.
    pub text: &'a [u8],
    /// The file that it names; `None` for all lines but `R:`.
    pub path: Option<ImagePath>,
}

/// The lines of a paragraph in order.
pub(in crate::select) fn lines(paragraph: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut directory = ImagePath::root();
    paragraph.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(move |text| {
        let mut path = None;
        match text.split_first_chunk::<2>() {
            Some((b"F:", name)) => directory = ImagePath::from_relative(name).unwrap_or_else(|_| ImagePath::root()),
            Some((b"R:", name)) => path = directory.child(name).ok(),
            _ => {}
        }
        Line { text, path }
    })
}
