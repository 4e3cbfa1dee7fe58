//! What packages of languages have beside their code: templates, translations, tables, pages. A module that was loaded
//! reads them by names that are made of a request, its language first of all, and no exerciser imports them. So of a
//! package of which the run has loaded code its data is kept whole, and its code is left to those who know what imports
//! what.
//!
//! A package is a directory in `site-packages`, `dist-packages` or `node_modules`, or one of a gem's own.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::image::{Entry, EntryKind, Rootfs};
use crate::observation::{Found, Observation, Operation};

/// More than this, in bytes, is not kept for a package that used little of it.
const MOST: u64 = 64 << 20;
/// Nor are more entries than this, whatever they weigh.
const MOST_ENTRIES: usize = 20_000;

/// Ends of the names of code, of what it was made from, and of what only translators read.
const CODE: [&[u8]; 20] = [
    b".a", b".c", b".cc", b".cpp", b".cu", b".f", b".gem", b".h", b".hpp", b".js.map", b".md", b".o", b".po", b".pot",
    b".pxd", b".pyi", b".pyx", b".rst", b".so", b".rb",
];
/// The same in packages of Node.js.
const NODE_CODE: [&[u8]; 17] = [
    b".cjs",
    b".coffee",
    b".cts",
    b".flow",
    b".gyp",
    b".gypi",
    b".js",
    b".jsx",
    b".map",
    b".markdown",
    b".mjs",
    b".mts",
    b".node",
    b".ts",
    b".tsbuildinfo",
    b".tsx",
    b".vue",
];

/// Directories that no application reads.
const FOR_DEVELOPERS: [&[u8]; 16] = [
    b"__pycache__",
    b"bench",
    b"benchmarks",
    b"doc",
    b"docs",
    b"example",
    b"examples",
    b"ext",
    b"features",
    b"include",
    b"node_modules",
    b"spec",
    b"src",
    b"test",
    b"testing",
    b"tests",
];

/// Directories in which code is data: the formats of a language.
const TRANSLATIONS: [&[u8]; 6] = [b"i18n", b"lang", b"langs", b"languages", b"locale", b"locales"];

/// The data of packages, by the package's directory; and what was left out.
#[derive(Default)]
pub(super) struct Bundled {
    pub(super) packages: BTreeMap<ImagePath, Vec<(ImagePath, Entry)>>,
    pub(super) warnings: Vec<String>,
}

/// Finds the data of the packages of which the run has loaded code.
pub(super) fn find(rootfs: &Rootfs, observation: &Observation) -> Result<Bundled, ClosureError> {
    let mut roots = BTreeSet::new();
    for (path, record) in observation.paths.iter().filter(|(_, record)| !record.probe_tool) {
        let is_read = matches!(record.found, Found::File { .. }) && record.operations.contains(&Operation::Open);
        if is_read && is_code(path) {
            roots.extend(package(path));
        }
    }
    let mut bundled = Bundled::default();
    for root in roots {
        match data(rootfs, observation, &root)? {
            Some(files) => drop(bundled.packages.insert(root, files)),
            None => bundled.warnings.push(format!(
                "{root} has more than {} MB, or {MOST_ENTRIES} files, of data that was not used: it is left out\n\
                 hint: --keep '{root}/**' keeps it",
                MOST >> 20
            )),
        }
    }
    Ok(bundled)
}

fn is_code(path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    [&b".py"[..], b".pyc", b".so", b".rb", b".js", b".cjs", b".mjs"].iter().any(|end| name.ends_with(end))
}

/// The directory of the package to which the code at `path` belongs.
fn package(path: &ImagePath) -> Option<ImagePath> {
    path.ancestors().find(|directory| {
        let Some(parent) = directory.parent() else { return false };
        let is_metadata = directory.file_name().is_some_and(|name| name.ends_with(b"-info") || name == b"__pycache__");
        !is_metadata
            && match parent.file_name() {
                Some(b"site-packages" | b"dist-packages") => true,
                // `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
                Some(b"node_modules") => !directory.file_name().is_some_and(|name| matches!(name[0], b'@' | b'.')),
                Some([b'@', ..]) => parent.parent().is_some_and(|above| above.file_name() == Some(b"node_modules")),
                // `gems/3.1.0/gems/NAME-1.0`, or that of a bundle, `ruby/3.1.0/gems/NAME-1.0`.
                Some(b"gems") => parent.components().any(|part| part == b"ruby") || gems(&parent) > 1,
                _ => false,
            }
    })
}

fn gems(directory: &ImagePath) -> usize {
    directory.components().filter(|part| *part == b"gems").count()
}

/// What lies in `root` and is no code; `None` when that is too much.
fn data(
    rootfs: &Rootfs,
    observation: &Observation,
    root: &ImagePath,
) -> Result<Option<Vec<(ImagePath, Entry)>>, ClosureError> {
    let is_nodes = root.ancestors().take(2).any(|above| above.file_name() == Some(b"node_modules"));
    let is_data = |name: &[u8], in_translations: bool| match is_nodes && !in_translations {
        true => is_data(name, false) && !NODE_CODE.iter().any(|end| name.ends_with(end)),
        false => is_data(name, in_translations) && !name.ends_with(b".d.ts") && !name.ends_with(b".map"),
    };
    let mut files = Vec::new();
    let (mut unused, mut unused_entries) = (0, 0);
    let mut pending = vec![(root.clone(), false)];
    while let Some((directory, in_translations)) = pending.pop() {
        if !rootfs.lookup(&directory)?.is_some_and(|entry| entry.is_dir()) {
            continue;
        }
        for name in rootfs.list(&directory)? {
            let Ok(path) = directory.child(&name) else { continue };
            let Some(entry) = rootfs.lookup(&path)? else { continue };
            let is_unused = !observation.paths.contains(&path);
            unused_entries += usize::from(is_unused);
            match &entry.kind {
                EntryKind::Dir if FOR_DEVELOPERS.contains(&&name[..]) => {}
                EntryKind::Dir => {
                    let is_translations = in_translations || TRANSLATIONS.contains(&&name[..]);
                    pending.push((path, is_translations));
                }
                EntryKind::File { size, .. } if is_data(&name, in_translations) => {
                    if is_unused {
                        unused += size;
                    }
                    files.push((path, entry));
                }
                EntryKind::Symlink { .. } if is_data(&name, in_translations) => files.push((path, entry)),
                _ => {}
            }
            if unused > MOST || unused_entries > MOST_ENTRIES {
                return Ok(None);
            }
        }
    }
    Ok(Some(files))
}

fn is_data(name: &[u8], in_translations: bool) -> bool {
    if name.ends_with(b".py") || name.ends_with(b".pyc") {
        return in_translations;
    }
    !CODE.iter().any(|end| name.ends_with(end)) && !name.windows(4).any(|part| part == b".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_directories_where_languages_install_them() {
        for (path, expected) in [
            ("/usr/lib/python3/dist-packages/django/conf/__init__.py", "/usr/lib/python3/dist-packages/django"),
            ("/app/.venv/lib/python3.12/site-packages/yaml/_yaml.so", "/app/.venv/lib/python3.12/site-packages/yaml"),
            ("/var/lib/gems/3.1.0/gems/rails-7/lib/a.rb", "/var/lib/gems/3.1.0/gems/rails-7"),
            ("/usr/local/lib/ruby/gems/3.3.0/gems/i18n-1/lib/a.rb", "/usr/local/lib/ruby/gems/3.3.0/gems/i18n-1"),
            ("/usr/lib/python3/dist-packages/six.py", ""),
            ("/usr/lib/python3.11/json/__init__.py", ""),
            ("/app/gems/x.py", ""),
            ("/app/node_modules/moment/src/a.js", "/app/node_modules/moment"),
            ("/app/node_modules/@a/b/c.mjs", "/app/node_modules/@a/b"),
            ("/app/node_modules/x/node_modules/y/lib/c.js", "/app/node_modules/x/node_modules/y"),
            ("/app/node_modules/.pnpm/y@1/node_modules/y/c.js", "/app/node_modules/.pnpm/y@1/node_modules/y"),
        ] {
            let found = package(&ImagePath::parse(path).unwrap()).map_or(String::new(), |path| path.to_string());
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn data_is_what_is_no_code() {
        for (name, in_translations, expected) in [
            ("login.html", false, true),
            ("django.mo", true, true),
            ("django.po", true, false),
            ("formats.py", true, true),
            ("views.py", false, false),
            ("_x.cpython-311-x86_64-linux-gnu.so", false, false),
            ("libx.so.1", false, false),
            ("de_DE.dat", false, true),
        ] {
            assert_eq!(is_data(name.as_bytes(), in_translations), expected, "{name}");
        }
    }
}
