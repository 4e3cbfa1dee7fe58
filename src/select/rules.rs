//! What the user wants kept or dropped: globs over the paths of the base.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use globset::{Glob, GlobBuilder, GlobMatcher};

use crate::base::{ImagePath, escape_bytes};
use crate::image::Rootfs;
use crate::select::{Asked, SelectError};

/// The user's rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What is added, with its parents, its links and, for a directory, all below it.
    pub keep: Vec<Pattern>,
    /// What is added by what it is.
    pub asked: Asked,
    /// What is removed, a directory with all below it; it prevails over `keep`.
    pub drop: Vec<Pattern>,
    /// Whether `drop` may remove what the application used.
    pub force_drop: bool,
    /// Whether the data by which scanners know the packages, and the licences, are added.
    pub package_data: bool,
}

/// A glob over paths: `*` and `?` stay inside one component, `**` spans any number of them, `{a,b}` and `[a-z]` are
/// alternatives, a backslash escapes. One that does not begin with a slash matches at any depth. What matches a
/// directory goes for all that lies below it.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    glob: Glob,
}

impl Rules {
    /// Whether `path` is among what `drop` removes, as it is written or where links above it lead.
    pub fn drops(&self, rootfs: &Rootfs, path: &ImagePath) -> Result<bool, SelectError> {
        let end = rootfs.resolve(path.as_bytes(), false)?.end;
        for pattern in &self.drop {
            let anchored = pattern.anchor(rootfs)?;
            for path in [path, &end] {
                let mut above = Some(path.clone());
                while let Some(path) = above {
                    if anchored.matches(&path) {
                        return Ok(true);
                    }
                    above = path.parent();
                }
            }
        }
        Ok(false)
    }
}

impl FromStr for Pattern {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        let wrong = |problem: String| SelectError::Pattern { pattern: text.to_owned(), problem };
        if text.is_empty() {
            return Err(wrong("it is empty".into()));
        }
        let trimmed = text.trim_end_matches('/');
        let absolute = match trimmed {
            "" => "/".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            anywhere => format!("/**/{anywhere}"),
        };
        let glob = compile(&absolute).map_err(|cause| wrong(cause.kind().to_string()))?;
        Ok(Pattern { text: text.to_owned(), glob })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn compile(glob: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build()
}

/// A pattern as it applies to one base: a directory link in its literal beginning has been followed, so that
/// `/lib/modules/*` means `/usr/lib/modules/*` where `/lib` is a link.
pub struct Anchored {
    matcher: GlobMatcher,
    /// The directory in which all matches lie.
    pub start: ImagePath,
    /// The path as the user wrote it that leads to `start` through links; `None` when there is no link in it.
    pub through: Option<ImagePath>,
}

impl Pattern {
    /// Follows the links in the literal beginning of the pattern.
    pub fn anchor(&self, rootfs: &Rootfs) -> Result<Anchored, SelectError> {
        let glob = self.glob.glob();
        let parent = glob.rfind('/').unwrap_or(0);
        let literal = match glob.find(['*', '?', '[', '{', '\\']) {
            Some(meta) => glob[..meta].rfind('/').unwrap_or(0).min(parent),
            None => parent,
        };
        let plain = || Anchored { matcher: self.glob.compile_matcher(), start: ImagePath::root(), through: None };
        let Ok(start) = ImagePath::parse(format!("/{}", &glob[..literal])) else { return Ok(plain()) };
        let resolution = rootfs.resolve(start.as_bytes(), true)?;
        if resolution.links.is_empty() {
            return Ok(Anchored { start, ..plain() });
        }
        let Ok(end) = std::str::from_utf8(resolution.end.relative()) else { return Ok(plain()) };
        let rewritten = format!("/{}{}", globset::escape(end), &glob[literal..]);
        let rewritten = compile(&rewritten.replacen("//", "/", 1))
            .map_err(|cause| SelectError::Pattern { pattern: self.text.clone(), problem: cause.kind().to_string() })?;
        Ok(Anchored { matcher: rewritten.compile_matcher(), start: resolution.end, through: Some(start) })
    }
}

impl Anchored {
    /// Whether the glob itself matches `path`.
    pub fn matches(&self, path: &ImagePath) -> bool {
        self.matcher.is_match(Path::new(OsStr::from_bytes(path.as_bytes())))
    }
}

/// Walks in order over paths and tells which of them patterns match, by themselves or by a directory above.
#[derive(Default)]
pub struct Matching {
    inside: Option<ImagePath>,
}

/// How a path matches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Not at all.
    No,
    /// A directory above it matches.
    Below,
    /// The glob matches it.
    Itself,
}

impl Matching {
    /// Takes the next path of a walk.
    pub fn next(&mut self, pattern: &Anchored, path: &ImagePath) -> Match {
        if self.inside.as_ref().is_some_and(|dir| path.is_within(dir)) {
            return Match::Below;
        }
        if pattern.matches(path) {
            self.inside = Some(path.clone());
            return Match::Itself;
        }
        Match::No
    }
}

/// The warning that a rule had no effect.
pub fn nothing_matches(flag: &str, pattern: &Pattern) -> String {
    format!("{flag} {}: the base has nothing that matches", escape_bytes(pattern.text.as_bytes()))
}
