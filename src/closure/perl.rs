//! What a Perl source loads by name. An unprobed CGI script, or a branch that no probe took, has its modules named in
//! plain words, and where they lie every installation of Perl has in common.
//!
//! The sources are read as words, not understood: `use` and `require` with a literal name, the classes that `base` and
//! `parent` get, the drivers in data source names, the modules behind names of encodings. One in a text that is no code
//! is looked for and seldom found. Of a name that is made at run time its beginning is known at best, so a module that
//! loads such a name brings its whole family: what lies in the directory of its own name (`DateTime/TimeZone.pm` has
//! `DateTime/TimeZone`), and in those that it has in quotes (`"DBD::$driver"`).

mod encodings;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::closure::perl::encodings::Encodings;
use crate::closure::perl::names::names;
use crate::image::{EntryKind, Rootfs};
use crate::observation::{Operation, PathRecord};

/// What is longer is no source.
const MOST: u64 = 4 << 20;
/// How many files in a directory belong to one module at most.
const MOST_BESIDE: usize = 256;
/// How many modules and files of data are taken from one directory of a family.
const MOST_IN_FAMILY: usize = 2000;
/// The bytes of a module of Encode that comes because some encoding is asked for: one with the tables of a whole script
/// has more.
const MOST_FOR_ANY_ENCODING: u64 = 1 << 20;

/// Where the directories of modules lie: straight there, or in directories of a version, an architecture or a vendor.
const PLACES: [&str; 11] = [
    "/etc/perl",
    "/usr/lib",
    "/usr/lib/perl5",
    "/usr/lib64/perl5",
    "/usr/local/lib",
    "/usr/local/lib/perl5",
    "/usr/local/lib64/perl5",
    "/usr/local/share/perl",
    "/usr/local/share/perl5",
    "/usr/share/perl",
    "/usr/share/perl5",
];
const DEPTH: usize = 3;

/// The directories in which the Perl of an image looks for modules.
pub(super) struct Perl<'a> {
    rootfs: &'a Rootfs,
    /// Known once somebody asks.
    directories: Option<Vec<ImagePath>>,
    seen: BTreeSet<ImagePath>,
    /// Those in which machine code lies.
    code: Vec<ImagePath>,
    /// What these directories have of a module, by its relative path: most are named by many.
    found: BTreeMap<String, Vec<ImagePath>>,
    /// Families of which all was found.
    complete: BTreeSet<String>,
}

impl<'a> Perl<'a> {
    pub(super) fn new(rootfs: &'a Rootfs) -> Self {
        Perl {
            rootfs,
            directories: None,
            code: Vec::new(),
            seen: BTreeSet::new(),
            found: BTreeMap::new(),
            complete: BTreeSet::new(),
        }
    }

    /// The paths, as Perl opens them, of what the source at `path` names, and what lies beside that for it. A source is
    /// looked at once.
    pub(super) fn needs_of(&mut self, path: &ImagePath) -> Result<Vec<ImagePath>, ClosureError> {
        let is_source = |kind: &EntryKind| matches!(kind, EntryKind::File { size, .. } if *size <= MOST);
        if !self.rootfs.lookup(path)?.is_some_and(|entry| is_source(&entry.kind)) || !self.seen.insert(path.clone()) {
            return Ok(Vec::new());
        }
        let text = self.rootfs.read(path)?;
        let text = String::from_utf8_lossy(&text);
        let mut names = names(&text);
        // A family of modules picks its members by such names. Encode's are another matter: see below.
        names.files.extend(names.quoted.iter().filter(|file| is_of_family(path, file)).cloned());
        let directories = self.directories()?;
        names.files.extend(self.encodings(path, &names.encodings, &directories)?);
        let mut found = Vec::new();
        if names.loads_any {
            names.families.extend(own_family(path, &directories));
            for family in names.families.iter().filter(|family| family.as_str() != "Encode") {
                if self.complete.insert(family.clone()) {
                    let mut members = Vec::new();
                    for directory in &directories {
                        self.members(directory, family, &mut members)?;
                    }
                    // The built-in functions are called `CORE::NAME`, and in `CORE` are headers.
                    found.extend(members.into_iter().filter(|path| !is_for_building(path)));
                }
            }
        }
        // An application has its modules near its scripts, and says so in a way that need not be a literal.
        let mut near = Vec::new();
        if !directories.iter().any(|directory| path.is_within(directory)) {
            for above in path.ancestors().filter(|above| above.components().next().is_some()) {
                near.extend(above.child(b"lib").ok());
                near.push(above);
            }
        }
        for file in &names.files {
            if !self.found.contains_key(file) {
                let mut modules = Vec::new();
                for directory in &directories {
                    self.find(directory, file, &mut modules)?;
                }
                self.found.insert(file.clone(), modules);
            }
            found.extend(self.found.get(file).into_iter().flatten().cloned());
            for directory in &near {
                self.find(directory, file, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Adds what `directory` has of the module in the relative path `file`.
    fn find(&self, directory: &ImagePath, file: &str, found: &mut Vec<ImagePath>) -> Result<(), ClosureError> {
        let Some(path) = below(directory, file) else { return Ok(()) };
        if !self.is_file(&path)? {
            return Ok(());
        }
        found.push(path);
        let Some(name) = file.strip_suffix(".pm") else { return Ok(()) };
        // What File::ShareDir finds for a distribution or a module of that name.
        for kind in ["dist", "module"] {
            self.members(directory, &format!("auto/share/{kind}/{}", name.replace('/', "-")), found)?;
        }
        self.beside(directory, name, found)
    }

    /// Adds the machine code of the module `name` (`File/Glob`), and functions that were split off: they lie beside it,
    /// in `directory`, or in another directory for modules.
    fn beside(&self, directory: &ImagePath, name: &str, found: &mut Vec<ImagePath>) -> Result<(), ClosureError> {
        let own = below(directory, "auto").filter(|auto| !self.code.contains(auto));
        for auto in self.code.iter().chain(&own) {
            let Some(auto) = below(auto, name) else { continue };
            let walk = self.rootfs.resolve(auto.as_bytes(), true)?;
            if !walk.entry.is_some_and(|entry| entry.is_dir()) {
                continue;
            }
            for beside in self.rootfs.list(&walk.end)?.into_iter().take(MOST_BESIDE) {
                let Ok(path) = auto.child(&beside) else { continue };
                if self.is_file(&path)? {
                    found.push(path);
                }
            }
        }
        Ok(())
    }

    /// Adds what lies in `family`, a path relative to `directory`, and below, with the machine code of the modules
    /// there.
    fn members(&self, directory: &ImagePath, family: &str, found: &mut Vec<ImagePath>) -> Result<(), ClosureError> {
        let Some(top) = below(directory, family) else { return Ok(()) };
        if !self.rootfs.resolve(top.as_bytes(), true)?.entry.is_some_and(|entry| entry.is_dir()) {
            return Ok(());
        }
        let mut pending = vec![family.to_owned()];
        let mut left = MOST_IN_FAMILY;
        while let Some(family) = pending.pop() {
            let Some(above) = below(directory, &family) else { continue };
            for name in self.rootfs.list(&self.rootfs.resolve(above.as_bytes(), true)?.end)? {
                let (Ok(path), Ok(name)) = (above.child(&name), std::str::from_utf8(&name)) else { continue };
                let Some(entry) = self.rootfs.lookup(&path)? else { continue };
                if entry.is_dir() {
                    pending.push(format!("{family}/{name}"));
                } else if entry.is_file() && !name.ends_with(".pod") {
                    found.push(path);
                    if let Some(module) = name.strip_suffix(".pm") {
                        self.beside(directory, &format!("{family}/{module}"), found)?;
                    }
                }
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The modules of Encode behind what the source at `path` asks for.
    fn encodings(
        &self,
        path: &ImagePath,
        asked: &Encodings,
        directories: &[ImagePath],
    ) -> Result<BTreeSet<String>, ClosureError> {
        let mut modules = BTreeSet::new();
        // That Encode converts by the names that others give it says nothing.
        let is_encodes = path.components().any(|part| matches!(part, b"Encode" | b"Encode.pm"));
        let any = asked.any && !is_encodes;
        if asked.names.is_empty() && !any {
            return Ok(modules);
        }
        for directory in directories {
            let Some(config) = below(directory, "Encode/Config.pm") else { continue };
            let walk = self.rootfs.resolve(config.as_bytes(), true)?;
            if !walk.entry.is_some_and(|entry| matches!(entry.kind, EntryKind::File { size, .. } if size <= MOST)) {
                continue;
            }
            let text = self.rootfs.read(&walk.end)?;
            let known = encodings::known(&String::from_utf8_lossy(&text));
            modules.extend(encodings::modules(&known, &asked.names));
            for module in known.values().filter(|module| any && encodings::is_first(module)) {
                if self.weight(directory, module)? <= MOST_FOR_ANY_ENCODING {
                    modules.insert(module.clone());
                }
            }
        }
        Ok(modules)
    }

    /// The bytes of the module in the relative path `file` with its machine code, as far as `directory` is where it
    /// lies.
    fn weight(&self, directory: &ImagePath, file: &str) -> Result<u64, ClosureError> {
        let mut found = Vec::new();
        self.find(directory, file, &mut found)?;
        let mut bytes = 0;
        for path in found {
            if let Some(EntryKind::File { size, .. }) =
                self.rootfs.resolve(path.as_bytes(), true)?.entry.map(|entry| entry.kind)
            {
                bytes += size;
            }
        }
        Ok(bytes)
    }

    fn is_file(&self, path: &ImagePath) -> Result<bool, ClosureError> {
        Ok(self.rootfs.resolve(path.as_bytes(), true)?.entry.is_some_and(|entry| entry.is_file()))
    }

    fn directories(&mut self) -> Result<Vec<ImagePath>, ClosureError> {
        if let Some(known) = &self.directories {
            return Ok(known.clone());
        }
        let mut directories = Vec::new();
        for place in PLACES.iter().filter_map(|place| ImagePath::parse(place).ok()) {
            self.collect(&place, DEPTH, &mut directories)?;
        }
        for auto in directories.iter().filter_map(|directory| below(directory, "auto")) {
            if self.rootfs.resolve(auto.as_bytes(), true)?.entry.is_some_and(|entry| entry.is_dir()) {
                self.code.push(auto);
            }
        }
        self.directories = Some(directories.clone());
        Ok(directories)
    }

    fn collect(&self, place: &ImagePath, depth: usize, out: &mut Vec<ImagePath>) -> Result<(), ClosureError> {
        let walk = self.rootfs.resolve(place.as_bytes(), true)?;
        if !walk.entry.is_some_and(|entry| entry.is_dir()) {
            return Ok(());
        }
        if !matches!(place.file_name(), Some(b"lib")) {
            out.push(place.clone());
        }
        if depth == 0 {
            return Ok(());
        }
        for name in self.rootfs.list(&walk.end)? {
            if leads_to_modules(&name)
                && let Ok(child) = place.child(&name)
            {
                self.collect(&child, depth - 1, out)?;
            }
        }
        Ok(())
    }
}

/// Whether a directory of this name below a place is one for modules, or has such: `5.36`, `x86_64-linux-gnu`,
/// `perl-base`.
fn leads_to_modules(name: &[u8]) -> bool {
    let is_version =
        name.first().is_some_and(u8::is_ascii_digit) && name.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    let is_triplet = name.windows(6).any(|part| part == b"-linux");
    let is_vendors = matches!(name, b"perl" | b"perl5" | b"perl-base" | b"site_perl" | b"vendor_perl" | b"core_perl");
    is_version || is_triplet || is_vendors
}

/// Whether the module in the relative path `file` has the name of the source at `path` or of a directory above it:
/// `JSON/PP.pm` is of the family of `JSON.pm`.
fn is_of_family(path: &ImagePath, file: &str) -> bool {
    let family = file.split('/').next().unwrap_or_default().as_bytes();
    let is_source = path.file_name().and_then(|name| name.strip_suffix(b".pm")) == Some(family);
    family != b"Encode" && (is_source || path.components().any(|part| part == family))
}

/// The directory in which a module has its family: `DateTime/TimeZone` for that of `DateTime/TimeZone.pm`.
fn own_family(path: &ImagePath, directories: &[ImagePath]) -> Option<String> {
    let text = path.as_bytes().strip_suffix(b".pm")?;
    // The longest, for they lie in each other.
    let directory =
        directories.iter().filter(|directory| path.is_within(directory)).max_by_key(|d| d.as_bytes().len())?;
    let name = text.strip_prefix(directory.as_bytes())?.strip_prefix(b"/")?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

/// Whether a file can be a source of Perl, by its name.
pub(super) fn is_source(path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    [&b".pl"[..], b".pm", b".psgi"].iter().any(|end| name.ends_with(end))
}

/// Whether only who builds or tests modules reads the file.
fn is_for_building(path: &ImagePath) -> bool {
    let ends = [&b".a"[..], b".c", b".h", b".packlist", b".t", b".xs"];
    path.file_name().is_some_and(|name| ends.iter().any(|end| name.ends_with(end)))
}

/// Whether a program of this file name interprets Perl.
pub(super) fn is_interpreter(name: &[u8]) -> bool {
    name.strip_prefix(b"perl").is_some_and(|rest| rest.iter().all(|b| b.is_ascii_digit() || *b == b'.'))
}

/// Whether a run has started the interpreter by this `path`, or loaded it as a library.
pub(super) fn was_run(path: &ImagePath, record: &PathRecord) -> bool {
    let name = path.file_name().unwrap_or_default();
    let is_started = record.operations.contains(&Operation::Exec) && is_interpreter(name);
    is_started || name.starts_with(b"libperl.so") && record.operations.contains(&Operation::Open)
}

fn below(directory: &ImagePath, relative: &str) -> Option<ImagePath> {
    relative.split('/').try_fold(directory.clone(), |path, part| path.child(part.as_bytes()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_known_by_the_name_of_a_source_or_directory() {
        for (path, file, expected) in [
            ("/usr/share/perl5/JSON.pm", "JSON/PP.pm", true),
            ("/usr/share/perl5/JSON/XS.pm", "JSON/PP.pm", true),
            ("/usr/share/perl5/LWP.pm", "JSON/PP.pm", false),
            ("/usr/lib/perl/5.36/Encode/Config.pm", "Encode/JP.pm", false),
        ] {
            assert_eq!(is_of_family(&ImagePath::parse(path).unwrap(), file), expected, "{path}");
        }
    }

    #[test]
    fn a_family_lies_in_the_directory_of_its_modules_name() {
        let directories = ["/usr/share", "/usr/share/perl5"].map(|d| ImagePath::parse(d).unwrap());
        let path = ImagePath::parse("/usr/share/perl5/DateTime/TimeZone.pm").unwrap();
        assert_eq!(own_family(&path, &directories).as_deref(), Some("DateTime/TimeZone"));
    }

    #[test]
    fn interpreters_are_known_by_name() {
        for (name, expected) in [("perl", true), ("perl5.36.0", true), ("perldoc", false), ("sperl", false)] {
            assert_eq!(is_interpreter(name.as_bytes()), expected, "{name}");
        }
    }
}
