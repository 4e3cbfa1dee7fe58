//! The libraries of languages whose interpreters find them by a name that is made at run time, and of which no
//! exerciser knows: an autoloader's class, a `package require`, a module for the language of a request. Who installed
//! them did so for the application, and they are small, so they are kept whole when the run has started the
//! interpreter, or loaded it as a library.
//!
//! Also what such an interpreter asks the system for by a name from a request: time zones, character sets, fonts. Fonts
//! come as well when the run has used one: the text of the next request may ask for another.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};

/// More than this, in bytes, is not kept of a library of which the run used little.
const MOST: u64 = 64 << 20;
/// Nor are more entries than this, whatever they weigh.
const MOST_ENTRIES: usize = 20_000;

/// A language by its interpreter.
struct Language {
    /// Beginnings of the names of programs; what follows is a version.
    programs: &'static [&'static str],
    /// Beginnings of the names of shared libraries that are the interpreter; what follows is a version.
    libraries: &'static [&'static str],
    /// Ends of the names of sources, which the interpreter reads as it goes.
    sources: &'static [&'static str],
    /// Directories whose entries are libraries; a `*` stands for the directories of the architecture.
    places: &'static [&'static str],
    /// What the language asks the system for.
    asks: &'static [Ask],
}

/// What a distribution has for all programs, and programs ask for by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Time zones.
    Zones,
    /// Modules of `iconv`.
    Conversions,
    /// Fonts, and what fontconfig reads to find them.
    Fonts,
}

const LANGUAGES: [Language; 6] = [
    Language {
        programs: &["tclsh", "wish", "expect"],
        libraries: &["libtcl"],
        sources: &[".tcl"],
        places: &["/usr/share/tcltk", "/usr/lib/tcltk", "/usr/lib/tcltk/*", "/usr/local/lib/tcltk", "/usr/share/tcl"],
        asks: &[Ask::Zones],
    },
    Language {
        programs: &["lua", "luajit", "texlua"],
        libraries: &["liblua", "libluajit-"],
        sources: &[".lua"],
        places: &[
            "/usr/share/lua",
            "/usr/lib/lua",
            "/usr/lib/*/lua",
            "/usr/lib64/lua",
            "/usr/local/share/lua",
            "/usr/local/lib/lua",
        ],
        asks: &[],
    },
    Language {
        programs: &["R", "Rscript"],
        libraries: &["libR"],
        sources: &[".R"],
        places: &[
            "/usr/lib/R",
            "/usr/lib/R/library",
            "/usr/lib/R/site-library",
            "/usr/lib64/R",
            "/usr/lib64/R/library",
            "/usr/local/lib/R",
            "/usr/local/lib/R/library",
            "/usr/local/lib/R/site-library",
        ],
        asks: &[Ask::Zones, Ask::Conversions, Ask::Fonts],
    },
    Language {
        programs: &["beam.smp", "beam"],
        libraries: &[],
        sources: &[".beam"],
        places: &[
            "/usr/lib/erlang",
            "/usr/lib/erlang/lib",
            "/usr/lib/elixir/lib",
            "/usr/local/lib/erlang",
            "/usr/local/lib/erlang/lib",
            "/usr/local/lib/elixir/lib",
        ],
        asks: &[],
    },
    Language {
        programs: &["guile"],
        libraries: &["libguile-"],
        sources: &[".scm"],
        places: &["/usr/share/guile", "/usr/lib/guile", "/usr/lib/*/guile", "/usr/local/share/guile"],
        asks: &[Ask::Zones, Ask::Conversions],
    },
    Language {
        programs: &["php", "php-fpm", "php-cgi"],
        libraries: &["libphp"],
        sources: &[".php", ".inc", ".phtml"],
        places: &["/usr/share/php", "/usr/local/lib/php"],
        asks: &[],
    },
];

/// Fonts, and what fontconfig reads to find them.
const FONTS: [&str; 4] = ["/etc/fonts", "/usr/share/fontconfig", "/usr/share/fonts", "/usr/local/share/fonts"];
/// Interpreters without which their own library cannot begin, by the beginning of its name, which a version follows.
/// When the run has started one, the trace and the exercisers know what it needs; when it comes only with a module that
/// nobody has loaded, as that of a database for procedures in the language, nobody does. `{}` stands for the version, a
/// `*` as above.
const EMBEDDED: [(&str, &[&str]); 2] = [
    (
        "libpython",
        &["/usr/lib/python{}", "/usr/local/lib/python{}", "/usr/lib/python3", "/usr/local/lib/python{}/dist-packages"],
    ),
    ("libperl.so.", &["/usr/lib/*/perl-base", "/usr/share/perl/{}", "/usr/lib/*/perl/{}"]),
];

/// Libraries of languages that ask for time zones.
const FOR_ZONES: [&[u8]; 2] = [b"/zoneinfo/_tzpath.py", b"/tzinfo/data_sources/zoneinfo_data_source.rb"];

/// Where PHP's package manager puts what it installs: beside a directory `composer` with a file of this name.
const AUTOLOADER: &[u8] = b"autoload_real.php";

/// Parts of libraries that no run reads.
const UNUSED_DIRECTORIES: [&[u8]; 17] = [
    b".git",
    b"__pycache__",
    b"demo",
    b"doc",
    b"docs",
    b"example",
    b"examples",
    b"help",
    b"html",
    b"include",
    b"man",
    b"Test",
    b"Tests",
    b"test",
    b"tests",
    b"testing",
    b"unitTests",
];
const UNUSED_ENDS: [&[u8]; 9] = [b".a", b".c", b".erl", b".h", b".hrl", b".la", b".md", b".o", b".rst"];

/// The libraries by their directories, each file with what it is; and what was left out.
#[derive(Default)]
pub(super) struct Libraries {
    pub(super) units: BTreeMap<ImagePath, Vec<(ImagePath, Entry)>>,
    pub(super) warnings: Vec<String>,
}

/// Finds the libraries of the languages that the run has used. `is_kept` says whether a path is kept already.
pub(super) fn find<'a>(
    rootfs: &Rootfs,
    observation: &Observation,
    kept: impl Iterator<Item = &'a ImagePath>,
) -> Result<Libraries, ClosureError> {
    let mut places = BTreeSet::new();
    let mut has_php = false;
    for language in LANGUAGES.iter().filter(|language| language.was_used(observation)) {
        has_php |= language.programs.contains(&"php");
        for place in language.places {
            places.extend(expand(rootfs, place)?);
        }
    }
    for path in kept.filter(|path| has_php && path.file_name() == Some(AUTOLOADER)) {
        let composer = path.parent().filter(|directory| directory.file_name() == Some(b"composer"));
        places.extend(composer.and_then(|composer| composer.parent()));
    }
    units_in(rootfs, observation, &places)
}

/// Finds the libraries of the interpreters that are kept as libraries, `kept`, and that the run has not loaded.
pub(super) fn embedded<'a>(
    rootfs: &Rootfs,
    observation: &Observation,
    kept: impl Iterator<Item = &'a ImagePath>,
) -> Result<Libraries, ClosureError> {
    let mut places = BTreeSet::new();
    for path in kept {
        let name = path.file_name().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
        for (beginning, directories) in EMBEDDED {
            let Some(rest) = name.strip_prefix(beginning) else { continue };
            let version = rest.split(".so").next().unwrap_or_default();
            // Another interpreter may be there, of another version, that the run has started; then this is known as
            // well.
            if !is_version(version.as_bytes()) || version.is_empty() || was_run(observation, beginning) {
                continue;
            }
            for directory in directories {
                places.extend(expand(rootfs, &directory.replace("{}", version))?);
            }
        }
    }
    units_in(rootfs, observation, &places)
}

/// Whether the run has started an interpreter or loaded it as a library, by the beginning of the library's name.
fn was_run(observation: &Observation, library: &str) -> bool {
    let program = library.trim_start_matches("lib").split('.').next().unwrap_or_default();
    observation.paths.iter().any(|(path, record)| {
        let name = path.file_name().unwrap_or_default();
        let is_started = record.operations.contains(&Operation::Exec)
            && name.strip_prefix(program.as_bytes()).is_some_and(is_version);
        let is_loaded = record.operations.contains(&Operation::Open) && name.starts_with(library.as_bytes());
        !record.probe_tool && matches!(record.found, Found::File { .. }) && (is_started || is_loaded)
    })
}

/// What is in directories whose entries are libraries.
fn units_in(
    rootfs: &Rootfs,
    observation: &Observation,
    places: &BTreeSet<ImagePath>,
) -> Result<Libraries, ClosureError> {
    let mut libraries = Libraries::default();
    for place in places {
        for name in rootfs.list(place)? {
            let Ok(unit) = place.child(&name) else { continue };
            let is_directory = rootfs.lookup(&unit)?.is_some_and(|entry| entry.is_dir());
            if places.contains(&unit) || is_directory && UNUSED_DIRECTORIES.contains(&&name[..]) {
                continue;
            }
            match below(rootfs, observation, places, &unit)? {
                Some(files) => drop(libraries.units.insert(unit, files)),
                None => libraries.warnings.push(format!(
                    "{unit} holds more than {} MB, or {MOST_ENTRIES} files, not used: it is left out\n\
                     hint: --keep '{unit}/**' keeps it",
                    MOST >> 20
                )),
            }
        }
    }
    Ok(libraries)
}

/// Whether a language that the run has used asks for it.
pub(super) fn ask_for(observation: &Observation, what: Ask) -> bool {
    LANGUAGES.iter().any(|language| language.asks.contains(&what) && language.was_used(observation))
}

/// Sources that the run has read of languages whose interpreters it has used.
pub(super) fn sources(observation: &Observation) -> Vec<&ImagePath> {
    let used = LANGUAGES.iter().filter(|language| language.was_used(observation));
    let ends: Vec<&str> = used.flat_map(|language| language.sources).copied().collect();
    let was_read = observation.paths.iter().filter(|(_, record)| {
        let is_file = matches!(record.found, Found::File { .. });
        !record.probe_tool && is_file && record.operations.contains(&Operation::Open)
    });
    was_read
        .map(|(path, _)| path)
        .filter(|path| ends.iter().any(|end| path.as_bytes().ends_with(end.as_bytes())))
        .collect()
}

/// What the distribution has of what a language, or a library of one that is kept, asks for: directories.
pub(super) fn asked<'a>(observation: &Observation, mut kept: impl Iterator<Item = &'a ImagePath>) -> Vec<&'static str> {
    let mut places = Vec::new();
    let is_for_zones = |path: &ImagePath| FOR_ZONES.iter().any(|end| path.as_bytes().ends_with(end));
    if ask_for(observation, Ask::Zones) || kept.any(is_for_zones) {
        places.push("/usr/share/zoneinfo");
    }
    if ask_for(observation, Ask::Fonts) || observation.paths.iter().any(|(path, record)| is_font(path, record)) {
        places.extend(FONTS);
    }
    places
}

/// Whether the run has read a font, or where fonts are: which one it was to be, its input has said.
fn is_font(path: &ImagePath, record: &PathRecord) -> bool {
    let is_within = |place: &str| ImagePath::parse(place).is_ok_and(|place| path.is_within(&place));
    !record.probe_tool
        && matches!(record.found, Found::File { .. })
        && record.operations.contains(&Operation::Open)
        && FONTS.iter().any(|place| is_within(place))
}

impl Language {
    fn was_used(&self, observation: &Observation) -> bool {
        observation.paths.iter().any(|(path, record)| {
            if record.probe_tool || record.exerciser().is_some() || !matches!(record.found, Found::File { .. }) {
                return false;
            }
            let name = path.file_name().unwrap_or_default();
            let is = |names: &[&str], ends: fn(&[u8]) -> bool| {
                names.iter().any(|start| name.strip_prefix(start.as_bytes()).is_some_and(ends))
            };
            record.operations.contains(&Operation::Exec) && is(self.programs, is_version)
                || record.operations.contains(&Operation::Open) && is(self.libraries, is_end_of_library)
        })
    }
}

fn is_version(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'))
}

/// `8.6.so`, `.so.0`, `5.3-c++.so.0`.
fn is_end_of_library(text: &[u8]) -> bool {
    let version = text.windows(3).position(|part| part == b".so").map(|at| &text[..at]);
    version.is_some_and(|version| is_version(version.strip_suffix(b"-c++").unwrap_or(version)))
}

/// The directories that a place stands for, without links.
fn expand(rootfs: &Rootfs, place: &str) -> Result<Vec<ImagePath>, ClosureError> {
    let mut found = Vec::new();
    let (before, after) = place.split_once("/*").map_or((place, None), |(before, after)| (before, Some(after)));
    let mut directories = vec![before.to_owned()];
    if let Some(after) = after {
        let walk = rootfs.resolve(before.as_bytes(), true)?;
        let is_there = walk.entry.is_some_and(|entry| entry.is_dir());
        let names = if is_there { rootfs.list(&walk.end)? } else { Vec::new() };
        let names = names.iter().filter_map(|name| std::str::from_utf8(name).ok());
        directories =
            names.filter(|name| name.contains("-linux")).map(|name| format!("{before}/{name}{after}")).collect();
    }
    for directory in directories {
        let walk = rootfs.resolve(directory.as_bytes(), true)?;
        if walk.entry.is_some_and(|entry| entry.is_dir()) {
            found.push(walk.end);
        }
    }
    Ok(found)
}

/// What is in the library `unit`; `None` when that is too much. What another place has comes with that.
fn below(
    rootfs: &Rootfs,
    observation: &Observation,
    places: &BTreeSet<ImagePath>,
    unit: &ImagePath,
) -> Result<Option<Vec<(ImagePath, Entry)>>, ClosureError> {
    let mut files = Vec::new();
    let (mut unused, mut unused_entries) = (0, 0);
    let mut pending = vec![unit.clone()];
    while let Some(path) = pending.pop() {
        let Some(entry) = rootfs.lookup(&path)? else { continue };
        let name = path.file_name().unwrap_or_default();
        let is_unused = !observation.paths.contains(&path);
        unused_entries += usize::from(is_unused);
        match &entry.kind {
            EntryKind::Dir if UNUSED_DIRECTORIES.contains(&name) || places.contains(&path) => {}
            EntryKind::Dir => {
                let children = rootfs.list(&path)?;
                pending.extend(children.iter().filter_map(|child| path.child(child).ok()));
            }
            EntryKind::File { .. } if UNUSED_ENDS.iter().any(|end| name.ends_with(end)) => {}
            EntryKind::File { size, .. } => {
                if is_unused {
                    unused += size;
                }
                files.push((path, entry));
            }
            EntryKind::Symlink { .. } => files.push((path, entry)),
            _ => {}
        }
        if unused > MOST || unused_entries > MOST_ENTRIES {
            return Ok(None);
        }
    }
    Ok(Some(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_known_by_name_and_version() {
        for (text, library, expected) in [
            ("", false, true),
            ("8.2", false, true),
            ("5.4-", false, true),
            ("unit", false, false),
            ("8.6.so", true, true),
            ("5.3-c++.so.0", true, true),
            (".so", true, true),
            ("ldap.so", true, false),
            ("8.6.a", true, false),
        ] {
            let found = if library { is_end_of_library(text.as_bytes()) } else { is_version(text.as_bytes()) };
            assert_eq!(found, expected, "{text}");
        }
    }
}
