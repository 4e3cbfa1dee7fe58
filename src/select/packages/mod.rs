//! Which package a file of the base belongs to, as the base's own databases say: those of dpkg, apk and rpm, and what
//! the package managers of languages leave beside what they install.
//!
//! Databases are data of the image and are not trusted: a database that makes no sense is a warning, never an error,
//! and what one says leads nowhere outside the rootfs. Nothing is executed.

mod apk;
mod deb822;
mod dpkg;
mod language;
mod made;
mod parts;
pub(in crate::select) mod reader;
mod rpm;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::base::ImagePath;
use crate::closure::source_of;
use crate::image::Rootfs;
use crate::select::SelectError;
use crate::select::walk::KERNEL_TREES;
use language::Sign;
use reader::Reader;

pub(in crate::select) use apk::{Apk, lines as apk_lines};
pub(in crate::select) use deb822::fields;
pub(in crate::select) use dpkg::{DIRECTORY as DPKG_DIRECTORY, Dpkg, STATUS as DPKG_STATUS, checksums};
pub(in crate::select) use language::cut_composer;
pub(in crate::select) use rpm::{MANIFEST as RPM_MANIFEST, Rpm, header::Header as RpmHeader};

/// The packages of a base and the files that each of them installed or makes.
#[derive(Default)]
pub struct Packages {
    installed: Vec<Installed>,
    /// By path, without links on the way: the packages, the one that counts first.
    owners: HashMap<ImagePath, Vec<usize>>,
    links: HashMap<ImagePath, ImagePath>,
    looked_at: HashSet<ImagePath>,
    signs: BTreeSet<Sign>,
    warnings: Vec<String>,
}

/// A package with what is known of it.
pub(in crate::select) struct Installed {
    pub package: Package,
    pub record: Record,
    files: Vec<ImagePath>,
}

/// What a database says of a package beside its identity.
#[derive(Debug)]
pub(in crate::select) enum Record {
    Dpkg(Dpkg),
    Apk(Apk),
    Rpm(Rpm),
    /// A line in a list of packages; nobody knows its files.
    Listed,
    /// The files by which others know the package, and its licences.
    Language {
        metadata: Vec<ImagePath>,
    },
    /// The same, and the list in which it stands.
    Composer {
        metadata: Vec<ImagePath>,
        installed: ImagePath,
    },
}

/// A package as a database has it, with its files where links to directories lead. Directories can be among them.
struct Found {
    package: Package,
    record: Record,
    files: Vec<ImagePath>,
}

/// A package that is installed in the base.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Package {
    /// Its name, as its manager prints it: `libc6`, `@babel/core`, `org.slf4j:slf4j-api`.
    pub name: String,
    /// Its version, as its manager prints it: `2.36-9+deb12u4`.
    pub version: String,
    /// The architecture; empty where packages have none.
    pub architecture: String,
    /// What installed it.
    pub manager: Manager,
    /// What tells it from others of the same name and version: where a language's package lies, otherwise `None`.
    pub place: Option<ImagePath>,
}

/// What installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manager {
    /// Debian's, `/var/lib/dpkg`.
    Dpkg,
    /// Alpine's, `/lib/apk/db`.
    Apk,
    /// Of Red Hat, SUSE and others, `/var/lib/rpm`.
    Rpm,
    /// `pip` and others that write `*.dist-info` or `*.egg-info`.
    Python,
    /// `npm` and others that write `node_modules`.
    Node,
    /// RubyGems.
    Ruby,
    /// PHP's, `vendor/composer`.
    Composer,
    /// Java archives that say in `META-INF/maven` what they are.
    Maven,
}

impl Packages {
    /// Reads the databases that `rootfs` has; where it has none this is empty. What cannot be read is in
    /// [`Packages::warnings`]. Of a lazy rootfs the language packages are those that [`Packages::near`] is asked for.
    ///
    /// # Errors
    /// When the rootfs itself cannot be looked at.
    pub fn read(rootfs: &Rootfs) -> Result<Packages, SelectError> {
        let mut reader = Reader::new(rootfs);
        let mut found = dpkg::read(&mut reader)?;
        found.append(&mut apk::read(&mut reader)?);
        found.append(&mut rpm::read(&mut reader)?);
        let mut signs = BTreeSet::new();
        if let Some(entries) = rootfs.entries() {
            for (path, entry) in entries.iter() {
                signs.extend(Sign::of(path, entry));
                // Whoever asks for a path through a link is to be led on.
                if entry.link_target().is_some() {
                    reader.directory(path)?;
                }
            }
        }
        for sign in &signs {
            found.append(&mut sign.read(&mut reader)?);
        }
        let mut packages = Packages { signs, ..Packages::default() };
        packages.add(&reader, found)?;
        packages.add_made(&mut reader)?;
        packages.links = reader.links;
        packages.warnings = reader.warnings;
        Ok(packages)
    }

    /// Adds the language packages that lie around `paths`, which are without links to directories, in a lazy rootfs. Of
    /// a full one all are known.
    ///
    /// # Errors
    /// When the rootfs cannot be looked at.
    pub fn near<'a>(
        &mut self,
        rootfs: &Rootfs,
        paths: impl IntoIterator<Item = &'a ImagePath>,
    ) -> Result<(), SelectError> {
        if rootfs.entries().is_some() {
            return Ok(());
        }
        let mut reader = Reader::new(rootfs);
        let mut signs = BTreeSet::new();
        for path in paths {
            if path.file_name().is_some_and(|name| name.ends_with(b".jar")) {
                signs.extend(rootfs.lookup(path)?.and_then(|entry| Sign::of(path, &entry)));
            }
            let in_kernel = |dir: &ImagePath| KERNEL_TREES.iter().any(|tree| dir.as_bytes() == tree.as_bytes());
            if path.ancestors().any(|dir| in_kernel(&dir)) {
                continue;
            }
            for dir in path.ancestors() {
                if !self.looked_at.insert(dir.clone()) {
                    break;
                }
                signs.append(&mut language::signs_in(&mut reader, &dir)?);
            }
        }
        let mut found = Vec::new();
        for sign in signs {
            if self.signs.insert(sign.clone()) {
                found.append(&mut sign.read(&mut reader)?);
            }
        }
        self.add(&reader, found)?;
        self.links.extend(reader.links);
        self.warnings.extend(reader.warnings);
        Ok(())
    }

    /// The package that installed or makes what is at `path`: a path as a manifest has it, or through links to
    /// directories. A distribution's package before a language's where both have it; `None` for what nobody owns, and
    /// for directories.
    pub fn owner(&self, path: &ImagePath) -> Option<&Package> {
        self.owners(path).first().and_then(|&at| self.installed.get(at)).map(|installed| &installed.package)
    }

    /// All packages that have what is at `path`, the one that counts first, as places in [`Packages::installed`].
    pub(in crate::select) fn owners(&self, path: &ImagePath) -> &[usize] {
        let owners = self.find(path).or_else(|| self.find(&source_of(path)?));
        owners.map_or(&[], Vec::as_slice)
    }

    fn find(&self, path: &ImagePath) -> Option<&Vec<usize>> {
        self.owners.get(path).or_else(|| self.owners.get(&self.place(path)?))
    }

    /// Where `path` is without links on its way; `None` when there is none.
    fn place(&self, path: &ImagePath) -> Option<ImagePath> {
        let name = path.file_name()?;
        let parent = path.parent()?;
        let mut real = ImagePath::root();
        let mut was_link = false;
        for component in parent.components() {
            real = real.child(component).ok()?;
            if let Some(target) = self.links.get(&real) {
                real = target.clone();
                was_link = true;
            }
        }
        if was_link { real.child(name).ok() } else { None }
    }

    /// The packages of that name, of every manager, in order. `libc6:amd64` is the one of an architecture.
    pub fn named(&self, name: &str) -> Vec<&Package> {
        let packages = self.installed.iter().map(|installed| &installed.package);
        let mut named: Vec<&Package> = packages.filter(|package| package.is_named(name)).collect();
        named.sort();
        named
    }

    /// The files of `package`, in order, without directories; each where links to directories lead. A full rootfs has
    /// them all; of a lazy one nobody has looked whether they are there.
    pub fn files(&self, package: &Package) -> Vec<ImagePath> {
        let of = self.installed.iter().filter(|installed| installed.package == *package);
        let mut files: Vec<ImagePath> = of.flat_map(|installed| installed.files.iter().cloned()).collect();
        files.sort();
        files.dedup();
        files
    }

    /// All packages, those of one database in its order.
    pub(in crate::select) fn installed(&self) -> &[Installed] {
        &self.installed
    }

    /// What could not be read, each a sentence with its cause.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes in what was found, without directories, and of a full rootfs without what it does not have.
    fn add(&mut self, reader: &Reader<'_>, found: Vec<Found>) -> Result<(), SelectError> {
        // A directory is known by what lies in it, without looking at every file of every package.
        let parents: HashSet<ImagePath> =
            found.iter().flat_map(|found| &found.files).filter_map(ImagePath::parent).collect();
        for Found { package, record, mut files } in found {
            match reader.rootfs.entries() {
                Some(entries) => files.retain(|path| entries.get(path).is_some_and(|entry| !entry.is_dir())),
                None => files.retain(|path| !path.is_root() && !parents.contains(path)),
            }
            // An empty `/lib` in a list is the directory that it once was; the link in its place is nobody's.
            let is_merged = |path: &ImagePath| {
                reader.links.contains_key(path) && path.parent().is_some_and(|parent| parent.is_root())
            };
            files.retain(|path| !is_merged(path));
            files.sort();
            files.dedup();
            let at = self.installed.len();
            for file in &files {
                self.owners.entry(file.clone()).or_default().push(at);
            }
            self.installed.push(Installed { package, record, files });
        }
        let Packages { installed, owners, .. } = self;
        for owners in owners.values_mut().filter(|owners| owners.len() > 1) {
            let order = |&at: &usize| {
                installed.get(at).map(|Installed { package, .. }| (!package.manager.is_distribution(), package))
            };
            owners.sort_by(|a, b| order(a).cmp(&order(b)));
        }
        Ok(())
    }

    /// Takes in what programs of the packages made, and the bytecode of sources that they have.
    fn add_made(&mut self, reader: &mut Reader<'_>) -> Result<(), SelectError> {
        let mut made = made::read(reader, &|path| self.owners.contains_key(path))?;
        if let Some(entries) = reader.rootfs.entries() {
            made.retain(|(path, _)| entries.get(path).is_some_and(|entry| !entry.is_dir()));
            let files = entries.iter().filter(|(_, entry)| entry.is_file()).map(|(path, _)| path);
            let unowned = files.filter(|path| !self.owners.contains_key(path));
            made.extend(unowned.filter_map(|path| Some((path.clone(), source_of(path)?))));
        }
        for (path, other) in made {
            let Some(&owner) = self.owners.get(&other).and_then(|owners| owners.first()) else { continue };
            let owners = self.owners.entry(path.clone()).or_default();
            if owners.is_empty() {
                owners.push(owner);
                if let Some(installed) = self.installed.get_mut(owner) {
                    installed.files.push(path);
                }
            }
        }
        Ok(())
    }
}

/// What a list names as files: what nothing else of the list lies in. A directory of a package can be a link in the
/// base (`/lib`), and that link is none of the package's.
fn without_directories(listed: &[ImagePath]) -> impl Iterator<Item = &ImagePath> {
    let parents: HashSet<ImagePath> = listed.iter().filter_map(ImagePath::parent).collect();
    listed.iter().filter(move |path| !parents.contains(path))
}

impl Package {
    /// Whether `name` means this package: its name, or its name, a colon and its architecture.
    fn is_named(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(|arch| arch == self.architecture))
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Manager {
    /// Whether it installs the base itself, and not the packages of one language.
    pub fn is_distribution(self) -> bool {
        matches!(self, Manager::Dpkg | Manager::Apk | Manager::Rpm)
    }
}
