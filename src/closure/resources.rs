//! Resources: what a program of a distribution looks up by a name that only a request, a setting or a query says: a
//! time zone, a dictionary, an extension with its module, a provider, an icon. No run uses them all, and none of them
//! is the application's own file, because a package brought it; so the directory that one program has for them is kept
//! whole.
//!
//! Such a directory is known by what the run did:
//!
//! 1. A program ran from `P/bin` or `P/sbin`, where P is its own (`/usr/lib/postgresql/15`, `/opt/java/openjdk`): then
//!    `lib`, `share`, `conf` and the like in P.
//! 2. A program ran from `/usr/lib/NAME` or `/usr/libexec/NAME`, where programs lie that only others start, or a module
//!    was loaded from there or from `/usr/lib/ARCHITECTURE/NAME`, where its like lie: then that.
//! 3. A file below `/etc/NAME` was read: see [`settings`].
//! 4. A file below `/usr/share/NAME` was read, or a directory there listed, or a program NAME ran: then that.
//! 5. An application is installed there: see [`installed`].
//!
//! What languages find there by `import` and `require` is left to those who know how to ask them, and what is for
//! readers or compilers is no resource. `/etc/localtime` leads into the time zones without asking for one by name.

mod area;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::kept::Kept;
use crate::closure::resources::area::Area;
use crate::closure::{ClosureError, Reason, installed};
use crate::image::{Entry, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};

/// Where programs have directories for data, and where for programs of their own.
pub(super) const DATA: [&str; 2] = ["/usr/share", "/usr/local/share"];
pub(super) const PROGRAMS: [&str; 4] = ["/usr/lib", "/usr/libexec", "/usr/local/lib", "/usr/local/libexec"];

/// The prefix of depth two that all programs have together. Those of less depth are no program's (`/usr`), or an
/// application's (`/app`), whose own files are not resources.
const SHARED_PREFIX: &str = "/usr/local";

/// What lies beside `bin` and is looked up at run time.
const BESIDE_PROGRAMS: [&[u8]; 9] =
    [b"conf", b"etc", b"extensions", b"lib", b"lib64", b"libexec", b"modules", b"plugins", b"share"];

/// Directories for data that belong to no single program.
const EVERYBODYS: [&[u8]; 18] = [
    b"applications",
    b"bash-completion",
    b"bug",
    b"common-licenses",
    b"dbus-1",
    b"doc-base",
    b"fonts",
    b"gdb",
    b"i18n",
    b"icons",
    b"licenses",
    b"lintian",
    b"pixmaps",
    b"polkit-1",
    b"systemd",
    b"terminfo",
    b"vim",
    b"zsh",
];

/// Directories, at any depth below programs, that are for readers or compilers, and those whose files are picked by
/// another rule (translations: the locale of the run).
const NO_RESOURCES: [&[u8]; 16] = [
    b"bitcode",
    b"cmake",
    b"debug",
    b"demo",
    b"doc",
    b"docs",
    b"include",
    b"info",
    b"jmods",
    b"legal",
    b"locale",
    b"man",
    b"pgxs",
    b"pkgconfig",
    b"samples",
    b"src",
];

/// Names of directories in which languages and loaders look for what a program names, without version or purpose
/// (`python3.11`, `perl-base`).
const LANGUAGES: [&[u8]; 20] = [
    b"R",
    b"dotnet",
    b"erlang",
    b"gcc",
    b"ghc",
    b"go",
    b"guile",
    b"javascript",
    b"jvm",
    b"llvm",
    b"lua",
    b"node",
    b"ocaml",
    b"perl",
    b"php",
    b"python",
    b"ruby",
    b"rustlib",
    b"site-packages",
    b"tcltk",
];

/// What such a name may go on with, as a word.
const OF_LANGUAGES: [&[u8]; 4] = [b"gems", b"jit", b"js", b"lang"];

/// The file that says which time zone the machine is in.
const LOCALTIME: &[u8] = b"/etc/localtime";

/// Directories with their files, each file with what it is; and what was left out.
pub(super) struct Resources {
    pub(super) areas: BTreeMap<ImagePath, Vec<(ImagePath, Entry)>>,
    pub(super) warnings: Vec<String>,
}

/// Finds the directories of resources that the run used, and what is in `roots`, of which others know it.
pub(super) fn find(
    rootfs: &Rootfs,
    observation: &Observation,
    kept: &Kept<'_>,
    mut roots: BTreeSet<ImagePath>,
) -> Result<Resources, ClosureError> {
    let localtime = rootfs.resolve(LOCALTIME, true)?.end;
    let applications = installed::find(observation);
    roots.extend(applications.iter().cloned());
    for (path, record) in observation.paths.iter().filter(|(_, record)| !record.probe_tool) {
        if record.operations.contains(&Operation::Exec) && matches!(record.found, Found::File { .. }) {
            roots.extend(installation(path));
            roots.extend(namesakes(path));
        }
        if is_module(path, record, kept) {
            roots.extend(below(&PROGRAMS, path, false).or_else(|| in_architecture(path, false)));
        }
        if was_looked_up(record) && *path != localtime {
            roots.extend(below(&DATA, path, record.found == Found::Dir));
        }
    }
    let reads_libtool = observation.paths.iter().any(|(path, record)| is_libtool(path) && was_looked_up(record));
    let mut resources = Resources { areas: BTreeMap::new(), warnings: Vec::new() };
    for root in &roots {
        if root.ancestors().any(|above| roots.contains(&above)) {
            continue;
        }
        if !rootfs.lookup(root)?.is_some_and(|entry| entry.is_dir()) {
            resources.areas.insert(root.clone(), Vec::new());
            continue;
        }
        let limit = if applications.contains(root) { area::OF_AN_APPLICATION } else { area::OF_A_PROGRAM };
        match (Area { rootfs, observation, root, limit, reads_libtool }).walk()? {
            Ok(files) => drop(resources.areas.insert(root.clone(), files)),
            Err(excess) => resources.warnings.push(format!(
                "{root} holds more than {excess} not used: it is left out\nhint: --keep '{root}/**' keeps it"
            )),
        }
    }
    Ok(resources)
}

/// Whether the run loaded the library at `path` because a program asked for it by its name or by a list, and not
/// because another library needs it.
fn is_module(path: &ImagePath, record: &PathRecord, kept: &Kept<'_>) -> bool {
    let name = path.file_name().unwrap_or_default();
    let has_version = || name.windows(4).any(|part| part == b".so.");
    was_looked_up(record)
        && matches!(record.found, Found::File { .. })
        && (name.ends_with(b".so") || has_version() && !is_needed(path, kept))
}

/// Whether a kept ELF file needs the library at `path`, by its name or by that of the link beside it.
fn is_needed(path: &ImagePath, kept: &Kept<'_>) -> bool {
    let reasons = |path| kept.paths().get(path).into_iter().flatten();
    let is_need = |reason: &Reason| matches!(reason, Reason::Needed(_));
    reasons(path).any(|reason| match reason {
        Reason::Link(link) => reasons(link).any(is_need),
        reason => is_need(reason),
    })
}

/// The directory of one program in which `path` lies, of those that distributions have for programs and their data.
pub(super) fn of_program(path: &ImagePath, is_dir: bool) -> Option<ImagePath> {
    below(&DATA, path, is_dir).or_else(|| below(&PROGRAMS, path, is_dir)).or_else(|| in_architecture(path, is_dir))
}

/// The directory of one program below the libraries of an architecture, `/usr/lib/x86_64-linux-gnu/NAME`.
fn in_architecture(path: &ImagePath, is_dir: bool) -> Option<ImagePath> {
    let libraries = path.ancestors().find(|above| {
        let is_named = above.file_name().is_some_and(is_triplet);
        is_named && above.parent().is_some_and(|parent| parent.as_bytes() == b"/usr/lib")
    })?;
    let mut way: Vec<ImagePath> = path.ancestors().collect();
    way.extend(is_dir.then(|| path.clone()));
    let is_in_place = |directory: &ImagePath| directory.parent().as_ref() == Some(&libraries);
    way.into_iter().find(|directory| is_in_place(directory) && directory.file_name().is_some_and(is_one_programs))
}

fn was_looked_up(record: &PathRecord) -> bool {
    matches!(record.found, Found::File { .. } | Found::Dir) && record.operations.contains(&Operation::Open)
}

/// Where the resources of the program at `path` are.
fn installation(path: &ImagePath) -> Vec<ImagePath> {
    let Some(directory) = path.parent() else { return Vec::new() };
    let prefix = directory.parent().filter(|_| matches!(directory.file_name(), Some(b"bin" | b"sbin")));
    match prefix {
        Some(prefix) if prefix.components().count() < 2 || prefix.as_bytes() == SHARED_PREFIX.as_bytes() => Vec::new(),
        Some(prefix) => BESIDE_PROGRAMS.iter().filter_map(|name| prefix.child(name).ok()).collect(),
        None => below(&PROGRAMS, path, false).into_iter().collect(),
    }
}

/// Where the data of the program at `path` is by convention (Filesystem Hierarchy Standard 3.0, 4.11).
fn namesakes(path: &ImagePath) -> Vec<ImagePath> {
    let Some(name) = path.file_name().filter(|name| is_one_programs(name)) else { return Vec::new() };
    let places = DATA.iter().filter_map(|place| ImagePath::parse(place).ok());
    places.filter_map(|place| place.child(name).ok()).collect()
}

/// The directory one below a directory of `places` in which `path` lies, if it is one program's.
pub(super) fn below(places: &[&str], path: &ImagePath, is_dir: bool) -> Option<ImagePath> {
    let mut way: Vec<ImagePath> = path.ancestors().collect();
    way.extend(is_dir.then(|| path.clone()));
    way.into_iter().find(|directory| {
        let parent = directory.parent();
        let is_in_place = parent.is_some_and(|parent| places.iter().any(|&p| parent.as_bytes() == p.as_bytes()));
        is_in_place && directory.file_name().is_some_and(is_one_programs)
    })
}

/// Whether many programs have something in the directory, below which one directory can be a single program's all the
/// same.
pub(super) fn is_data_of_many(directory: &ImagePath) -> bool {
    let is_data = |parent: ImagePath| DATA.iter().any(|&place| parent.as_bytes() == place.as_bytes());
    let name = directory.file_name().unwrap_or_default();
    directory.parent().is_some_and(is_data)
        && (is_triplet(name) || EVERYBODYS.contains(&name) || NO_RESOURCES.contains(&name) || name == b"zoneinfo")
}

pub(super) fn is_one_programs(name: &[u8]) -> bool {
    !is_left_out(name) && !EVERYBODYS.contains(&name)
}

fn is_left_out(name: &[u8]) -> bool {
    // Directories of an architecture, `x86_64-linux-gnu`, are shared by all libraries.
    is_triplet(name) || NO_RESOURCES.contains(&name) || is_language(name)
}

/// Whether a name begins as that of a language's interpreter or of the directory with its modules.
pub(super) fn is_language(name: &[u8]) -> bool {
    LANGUAGES.iter().filter_map(|language| name.strip_prefix(*language)).any(|rest| {
        // `go` has nothing to do with `goaccess`, nor `php` with `phpmyadmin`.
        let letters = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        letters == 0 || OF_LANGUAGES.contains(&&rest[..letters])
    })
}

fn is_triplet(name: &[u8]) -> bool {
    name.windows(7).any(|part| part == b"-linux-")
}

/// Whether the file says where libtool has put a library. Linkers read it; and programs that load their modules by
/// `lt_dlopen` (libltdl), which finds none without it.
fn is_libtool(path: &ImagePath) -> bool {
    path.file_name().is_some_and(|name| name.ends_with(b".la"))
}
