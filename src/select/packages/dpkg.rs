//! dpkg's database: `/var/lib/dpkg/status` with the lists in `info`, or `status.d` as images without dpkg have it
//! (dpkg-query(1), dpkg-divert(1); the layout of `status.d` is that of the distroless images).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::ImagePath;
use crate::select::SelectError;
use crate::select::packages::deb822::{field, paragraphs};
use crate::select::packages::reader::{MAX_TEXT, Reader, constant};
use crate::select::packages::{Found, Manager, Package, Record, without_directories};

/// Where dpkg keeps its data.
pub(in crate::select) const DIRECTORY: &str = "/var/lib/dpkg";
/// The database of an image that has dpkg.
pub(in crate::select) const STATUS: &str = "/var/lib/dpkg/status";

/// States of packages that have no files, or their configuration at most (dpkg(1)).
const REMOVED: [&str; 2] = ["not-installed", "config-files"];

/// What dpkg keeps of one package beside its lists.
#[derive(Debug)]
pub(in crate::select) struct Dpkg {
    /// Its paragraph.
    pub stanza: Vec<u8>,
    /// Where its checksums are, when there are any.
    pub md5sums: Option<ImagePath>,
    /// Those of all packages.
    pub diversions: Arc<Diversions>,
}

/// Which files lie elsewhere because another package has diverted them, by the path in lists.
#[derive(Debug, Default)]
pub(in crate::select) struct Diversions(BTreeMap<ImagePath, Diversion>);

#[derive(Debug)]
struct Diversion {
    to: ImagePath,
    by: String,
}

impl Diversions {
    /// Where a file of `package` lies that its list has at `path`.
    pub fn place<'a>(&'a self, path: &'a ImagePath, package: &str) -> &'a ImagePath {
        self.0.get(path).filter(|diversion| diversion.by != package).map_or(path, |diversion| &diversion.to)
    }
}

/// All packages that are installed.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Vec<Found>, SelectError> {
    let mut found = Vec::new();
    let info = constant(DIRECTORY).child(b"info").unwrap_or_else(|_| ImagePath::root());
    if let Some((_, status)) = reader.file(&constant(STATUS), super::reader::MAX_DATABASE)? {
        let lists: BTreeSet<Vec<u8>> = reader.names(&info)?.into_iter().collect();
        let diversions = match reader.file(&constant("/var/lib/dpkg/diversions"), MAX_TEXT)? {
            Some((_, text)) => diversions(&text),
            None => Diversions::default(),
        };
        let diversions = Arc::new(diversions);
        for stanza in paragraphs(&status) {
            let Some(package) = package(stanza) else { continue };
            let of = |extension: &str| {
                // A package of which several architectures can be installed has its architecture in the name.
                let names = [format!("{}:{}", package.name, package.architecture), package.name.clone()];
                let files = names.into_iter().map(|name| format!("{name}.{extension}").into_bytes());
                files.into_iter().find(|file| lists.contains(file)).and_then(|file| info.child(&file).ok())
            };
            let md5sums = of("md5sums");
            let list = match of("list") {
                Some(list) => reader.file(&list, MAX_TEXT)?.map(|(_, text)| text),
                None => None,
            };
            let lines = list.as_deref().unwrap_or_default().split(|&b| b == b'\n').filter(|line| !line.is_empty());
            let listed: Vec<ImagePath> = lines.filter_map(|line| ImagePath::from_relative(line).ok()).collect();
            let mut files = Vec::new();
            for path in without_directories(&listed) {
                files.push(reader.place(diversions.place(path, &package.name))?);
            }
            let record = Record::Dpkg(Dpkg { stanza: stanza.to_vec(), md5sums, diversions: diversions.clone() });
            found.push(Found { package, record, files });
        }
    }
    read_directory(reader, &mut found)?;
    Ok(found)
}

/// The packages of `status.d`, of whose files only those are known that have a checksum.
fn read_directory(reader: &mut Reader<'_>, found: &mut Vec<Found>) -> Result<(), SelectError> {
    let directory = constant("/var/lib/dpkg/status.d");
    let names = reader.names(&directory)?;
    for name in names.iter().filter(|name| !name.ends_with(b".md5sums")) {
        let Ok(path) = directory.child(name) else { continue };
        let Some((_, text)) = reader.file(&path, MAX_TEXT)? else { continue };
        let Some((stanza, package)) = paragraphs(&text).find_map(|stanza| Some((stanza, package(stanza)?))) else {
            continue;
        };
        // A name too long for this has no such list.
        let md5sums = directory.child(&[name, &b".md5sums"[..]].concat()).ok();
        let sums = match &md5sums {
            Some(path) => reader.file(path, MAX_TEXT)?.map(|(_, text)| text),
            None => None,
        };
        let mut files = Vec::new();
        for (_, path) in checksums(sums.as_deref().unwrap_or_default()) {
            files.push(reader.place(&path)?);
        }
        let md5sums = sums.is_some().then_some(md5sums).flatten();
        let record = Record::Dpkg(Dpkg { stanza: stanza.to_vec(), md5sums, diversions: Arc::default() });
        found.push(Found { package, record, files });
    }
    Ok(())
}

/// The package that a paragraph of a status file is about; `None` when it is not installed.
fn package(stanza: &[u8]) -> Option<Package> {
    let state = field(stanza, "Status");
    if state.is_some_and(|state| state.split_whitespace().nth(2).is_some_and(|state| REMOVED.contains(&state))) {
        return None;
    }
    let (name, architecture) = (field(stanza, "Package")?, field(stanza, "Architecture").unwrap_or_default());
    if !is_name(&name) || !architecture.is_empty() && !is_name(&architecture) {
        return None;
    }
    let version = field(stanza, "Version").unwrap_or_default();
    Some(Package { name, version, architecture, manager: Manager::Dpkg, place: None })
}

/// Whether it can be a name of Debian's, and so one of a file (Debian policy 5.6.1, a little wider).
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))
}

/// Three lines each: the path, where it is instead, and the package for which it is not (`:` for none).
fn diversions(text: &[u8]) -> Diversions {
    let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
    let read = |three: &[&[u8]]| {
        let by = String::from_utf8_lossy(three[2]).into_owned();
        Some((ImagePath::parse(three[0]).ok()?, Diversion { to: ImagePath::parse(three[1]).ok()?, by }))
    };
    Diversions(lines.chunks_exact(3).filter_map(read).collect())
}

/// The lines of a list of checksums, each with its path.
pub(in crate::select) fn checksums(text: &[u8]) -> impl Iterator<Item = (&[u8], ImagePath)> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        // 32 digits, two spaces (md5sum(1)).
        let path = line.get(34..).filter(|path| !path.is_empty() && line[32] == b' ')?;
        Some((line, ImagePath::from_relative(path).ok()?))
    })
}
