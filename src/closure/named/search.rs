//! The look-up of what is named: whether it is there, whose it is, and whether it can be kept whole.

use std::collections::BTreeSet;

use super::{MOST_OF_INVOKED, MOST_OF_TEXT, Named, OF_THE_SYSTEM, is_small_tool, is_within};
use crate::base::ImagePath;
use crate::closure::contents::Contents;
use crate::closure::execution::Execution;
use crate::closure::{ClosureError, resources, script, state};
use crate::image::{Entry, EntryKind, Rootfs};

/// A file of more, or a directory of more or with more entries, is not kept for its name alone.
const MOST: u64 = 64 << 20;
const MOST_ENTRIES: usize = 20_000;
/// After so many names in all no further one is looked up.
const MOST_OF_ALL_NAMES: usize = 1 << 19;
/// After so many entries no further directory is looked into: names can be many, and each too much.
const MOST_LOOKED_AT: usize = 1 << 20;
/// Many share these, further to what no application has as a whole.
const SHARED: [&str; 6] = ["/etc/ssl", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/var/www"];

/// Takes what is named, if it is there and worth it.
pub(super) struct Search<'a> {
    rootfs: &'a Rootfs,
    execution: &'a Execution,
    pub(super) named: Named,
    seen: BTreeSet<ImagePath>,
    /// Directories that are taken with what is in them: many names may lead into one.
    taken: BTreeSet<ImagePath>,
    /// How many entries of directories may still be looked at.
    left: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(rootfs: &'a Rootfs, execution: &'a Execution) -> Self {
        let (named, seen, taken) = <(Named, BTreeSet<_>, BTreeSet<_>)>::default();
        Search { rootfs, execution, named, seen, taken, left: MOST_LOOKED_AT }
    }

    pub(super) fn add_from_settings(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let is_shell = path.file_name().is_some_and(script::is_shell_name);
        match entry.kind {
            EntryKind::File { size, .. } if size <= MOST && !is_shell => self.named.paths.push((path, source.clone())),
            EntryKind::Dir if is_of_programs(&path) => self.add_resources(path, None),
            EntryKind::Dir if may_be_kept_whole(&path) => self.add_directory(path, source)?,
            EntryKind::Dir if !is_shared(&path) => self.named.paths.push((path, source.clone())),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn add_from_program(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let is_system = OF_THE_SYSTEM.iter().any(|place| is_within(&path, place));
        let is_etc = is_within(&path, "/etc") && !is_system;
        let is_shell = path.file_name().is_some_and(script::is_shell_name);
        match entry.kind {
            EntryKind::File { size, .. } if size <= MOST && !is_shell => {
                let is_program = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|place| is_within(&path, place));
                if is_etc || is_program && size <= MOST_OF_INVOKED || resources::of_program(&path, false).is_some() {
                    self.named.paths.push((path, source.clone()));
                }
            }
            EntryKind::Dir if is_within(&path, "/usr") => self.add_resources(path, Some(source)),
            EntryKind::Dir if is_etc && may_be_kept_whole(&path) => self.add_directory(path, source)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes a file of settings: a tool of a service reads what the service has read, and a table of its own.
    pub(super) fn add_from_tool(&mut self, name: &[u8], source: &ImagePath) -> Result<(), ClosureError> {
        let is_settings =
            |path: &ImagePath| is_within(path, "/etc") && !OF_THE_SYSTEM.iter().any(|place| is_within(path, place));
        if ImagePath::parse(name).is_ok_and(|path| is_settings(&path))
            && let Some((path, entry)) = self.look(name)?
            && matches!(entry.kind, EntryKind::File { size, .. } if size <= MOST_OF_TEXT)
        {
            self.named.paths.push((path, source.clone()));
        }
        Ok(())
    }

    /// Takes a directory of one of the `programs`, or a file in one.
    pub(super) fn add_from_library(
        &mut self,
        name: &[u8],
        source: &ImagePath,
        programs: &BTreeSet<ImagePath>,
    ) -> Result<(), ClosureError> {
        // Of a directory that was used itself other rules know what comes of that.
        let is_known = |path: &ImagePath, is_dir| {
            let Some(directory) = resources::of_program(path, is_dir) else { return false };
            programs.iter().any(|used| *used != directory && used.file_name() == directory.file_name())
                && !programs.contains(&directory)
        };
        // Whether it is there is asked only of what could count.
        if !ImagePath::parse(name).is_ok_and(|path| is_known(&path, true)) {
            return Ok(());
        }
        match self.look(name)? {
            Some((path, entry)) if entry.is_dir() && is_known(&path, true) => self.add_resources(path, Some(source)),
            Some((path, entry)) if entry.is_file() && is_known(&path, false) => {
                self.named.paths.push((path, source.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a file, or a directory among data, that the application's own source has as a text of its own.
    pub(super) fn add_from_source(
        &mut self,
        name: &[u8],
        source: &ImagePath,
        contents: &mut Contents<'_>,
    ) -> Result<(), ClosureError> {
        let Some((path, entry)) = self.look(name)? else { return Ok(()) };
        let real = self.rootfs.resolve(path.as_bytes(), true)?.end;
        let is_system = [&path, &real].iter().any(|path| OF_THE_SYSTEM.iter().any(|place| is_within(path, place)));
        if is_system || state::is_never(&real) {
            return Ok(());
        }
        match entry.kind {
            EntryKind::File { size, .. } => {
                let is_worth_it = match entry.mode & 0o111 {
                    0 => size <= MOST,
                    _ => is_small_tool(self.rootfs, path.as_bytes())? && contents.elf(&real)?.is_some(),
                };
                if is_worth_it {
                    self.named.paths.push((path, source.clone()));
                }
            }
            EntryKind::Dir if is_data(&path) && may_be_kept_whole(&path) => self.add_directory(path, source)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes the program that PATH finds by `name`. One that is a script, or a language's, says nothing of what it is
    /// to run.
    pub(super) fn add_invoked(
        &mut self,
        name: &[u8],
        source: &ImagePath,
        contents: &mut Contents<'_>,
    ) -> Result<(), ClosureError> {
        let Some(path) = self.execution.find_program(self.rootfs, name)? else { return Ok(()) };
        let Some((path, entry)) = self.look(&path)? else { return Ok(()) };
        if entry.is_file() && is_small_tool(self.rootfs, path.as_bytes())? {
            let real = self.rootfs.resolve(path.as_bytes(), true)?.end;
            if contents.elf(&real)?.is_some() {
                self.named.paths.push((path, source.clone()));
            }
        }
        Ok(())
    }

    /// What is at `name`, if nobody has looked before.
    fn look(&mut self, name: &[u8]) -> Result<Option<(ImagePath, Entry)>, ClosureError> {
        let Ok(path) = ImagePath::parse(name) else { return Ok(None) };
        if self.seen.len() == MOST_OF_ALL_NAMES || !self.seen.insert(path.clone()) {
            return Ok(None);
        }
        // A link on the way comes with what it leads to when the name itself is required.
        let walk = self.rootfs.resolve(path.as_bytes(), true)?;
        let Some(entry) = walk.entry else { return Ok(None) };
        Ok(Some((if entry.is_dir() { walk.end } else { path }, entry)))
    }

    fn add_resources(&mut self, directory: ImagePath, program: Option<&ImagePath>) {
        // Where programs are is named to find one of them; which, nobody knows.
        let is_of_programs = directory.file_name().is_some_and(|name| matches!(name, b"bin" | b"sbin"));
        if !is_of_programs && resources::of_program(&directory, true).is_some() {
            let namer = self.named.resources.entry(directory).or_insert_with(|| program.cloned());
            *namer = namer.take().filter(|_| program.is_some());
        }
    }

    /// Takes a directory with what is in it, unless that is too much.
    fn add_directory(&mut self, directory: ImagePath, source: &ImagePath) -> Result<(), ClosureError> {
        let mut found = Vec::new();
        let mut taken = BTreeSet::new();
        let mut pending = vec![directory.clone()];
        let (mut bytes, mut seen) = (0, 0);
        while let Some(inner) = pending.pop() {
            if self.taken.contains(&inner) {
                continue;
            }
            if inner != directory {
                found.push((inner.clone(), source.clone()));
            }
            for name in self.rootfs.list(&inner)? {
                let Ok(path) = inner.child(&name) else { continue };
                let Some(entry) = self.rootfs.lookup(&path)? else { continue };
                seen += 1;
                match entry.kind {
                    EntryKind::Dir if state::is_left_out(&name) => continue,
                    EntryKind::Dir => pending.push(path.clone()),
                    EntryKind::File { size, .. } => bytes += size,
                    _ => {}
                }
                if bytes > MOST || seen > MOST_ENTRIES || self.left == 0 {
                    return Ok(());
                }
                self.left -= 1;
                if !matches!(entry.kind, EntryKind::Dir) {
                    found.push((path, source.clone()));
                }
            }
            taken.insert(inner);
        }
        self.taken.extend(taken);
        self.named.paths.push((directory, source.clone()));
        self.named.contents.extend(found);
        Ok(())
    }
}

/// Whether a directory is in a place for programs, of which a part is for compilers. What settings name among data is
/// data.
fn is_of_programs(directory: &ImagePath) -> bool {
    is_within(directory, "/usr") && !["/usr/local", "/usr/share"].iter().any(|place| is_within(directory, place))
}

fn is_data(directory: &ImagePath) -> bool {
    resources::DATA.iter().any(|place| is_within(directory, place))
}

fn is_shared(directory: &ImagePath) -> bool {
    let is_listed = SHARED.iter().any(|&shared| directory.as_bytes() == shared.as_bytes());
    state::is_shared(directory) || is_listed || resources::is_data_of_many(directory)
}

fn may_be_kept_whole(directory: &ImagePath) -> bool {
    let is_home = directory.parent().is_some_and(|parent| parent.as_bytes() == b"/home");
    !is_shared(directory) && !is_home && !state::is_never(directory) && !is_within(directory, "/root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_that_lead_into_one_directory_take_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "/d".repeat(50);
        std::fs::create_dir_all(dir.path().join(format!("data{deep}"))).unwrap();
        std::fs::write(dir.path().join(format!("data{deep}/file")), "").unwrap();
        let rootfs = Rootfs::lazy(dir.path(), std::sync::Arc::new(crate::image::OwnersAsSeen)).unwrap();
        let source = ImagePath::parse("/etc/x").unwrap();
        for deepest_first in [false, true] {
            let execution = Execution::default();
            let mut search = Search::new(&rootfs, &execution);
            for depth in 1..=50 {
                let depth = if deepest_first { 51 - depth } else { depth };
                let name = format!("/data{}", "/d".repeat(depth));
                search.add_from_settings(name.as_bytes(), &source).unwrap();
            }
            let Named { paths, contents, .. } = search.named;
            assert!(paths.len() == 50 && contents.len() <= 50, "{} {}", paths.len(), contents.len());
            assert_eq!(paths.into_iter().chain(contents).collect::<BTreeSet<_>>().len(), 51);
        }
    }
}
