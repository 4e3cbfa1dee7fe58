//! Where glibc's loader looks for a library (`ld.so(8)`; glibc 2.36, elf/dl-load.c, `_dl_map_object`).

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::closure::ClosureError;
use crate::closure::contents::Contents;
use crate::closure::elf::Arch;
use crate::closure::ld_cache::LdCache;
use crate::closure::loader::search_path::{conf_directories, default_directories, expand_glibc, split};
use crate::closure::loader::{Find, Loader, Object, Process};

/// Where the names of libraries are cached.
pub(in crate::closure) const CACHE: &str = "/etc/ld.so.cache";
/// What is loaded into every process.
pub(in crate::closure) const PRELOAD: &str = "/etc/ld.so.preload";

/// Subdirectories that glibc before 2.37 searches on processors with these names, in any searched directory.
const LEGACY_VARIANTS: &[&str] = &[
    "haswell/avx512_1",
    "haswell",
    "xeon_phi",
    "i686/sse2",
    "i686",
    "sse2",
    "nosegneg",
    "neon",
    "vfp",
    "atomics",
    "tls",
];

impl Loader<'_> {
    /// All files that `name` can turn out to be for `requester`, on whatever processor: the variants for certain
    /// processors, and the one that every processor can use, which ends the search.
    pub(super) fn search_glibc(
        &mut self,
        contents: &mut Contents,
        process: &Process,
        name: &[u8],
        requester: usize,
    ) -> Result<Vec<Find>, ClosureError> {
        let object = &process.objects[requester];
        let arch = process.arch;
        let mut finds = Vec::new();
        if name.contains(&b'/') {
            for path in expand_glibc(name, object.origin(), arch).unwrap_or_default() {
                let find = self.check(contents, &self.execution.absolute(&path), arch)?;
                if let Some(find) = find {
                    finds.push(find);
                    break;
                }
            }
            return Ok(finds);
        }
        for directory in self.own_directories(process, requester) {
            if self.look_in(contents, &directory, name, arch, &mut finds)? {
                return Ok(finds);
            }
        }
        if self.look_in_cache(contents, object, name, arch, &mut finds)? || object.elf.no_default_directories {
            return Ok(finds);
        }
        let mut directories = default_directories(arch);
        // A glibc that was built with another prefix has its libraries beside its loader.
        directories.extend(process.interpreter.and_then(|at| process.objects[at].origin().map(<[u8]>::to_vec)));
        if self.cache()?.is_none() {
            // The loader itself does not read this file. An image whose cache was deleted can have it made at start.
            directories.extend(self.conf()?.iter().cloned());
        }
        for directory in directories {
            if self.look_in(contents, &directory, name, arch, &mut finds)? {
                break;
            }
        }
        Ok(finds)
    }

    /// RPATH of the requester and of whoever caused it to be loaded, LD_LIBRARY_PATH, RUNPATH of the requester.
    fn own_directories(&self, process: &Process, requester: usize) -> Vec<Vec<u8>> {
        let object = &process.objects[requester];
        let mut lists: Vec<(&Object, &[u8], &'static [u8])> = Vec::new();
        if object.elf.runpath.is_none() {
            let mut chain: Vec<usize> =
                std::iter::successors(Some(requester), |&at| process.objects[at].parent).collect();
            if process.has_main && !chain.contains(&0) {
                chain.push(0);
            }
            let with_rpath = chain.into_iter().map(|at| &process.objects[at]);
            lists.extend(with_rpath.filter_map(|link| Some((link, link.elf.rpath.as_deref()?, &b":"[..]))));
        }
        let library_path = self.execution.variable("LD_LIBRARY_PATH").filter(|list| !list.is_empty());
        // Its `$ORIGIN` is that of the executable.
        lists.extend(library_path.map(|list| (&process.objects[0], list.as_bytes(), &b":;"[..])));
        lists.extend(object.elf.runpath.as_deref().map(|list| (object, list, &b":"[..])));

        let mut directories: Vec<Vec<u8>> = Vec::new();
        let mut seen = BTreeSet::new();
        for (owner, list, separators) in lists {
            for directory in split(list, separators) {
                let expanded = expand_glibc(directory, owner.origin(), process.arch).unwrap_or_default();
                let absolute = expanded.iter().map(|directory| self.execution.absolute(directory));
                directories.extend(absolute.filter(|directory| seen.insert(directory.clone())));
            }
        }
        directories
    }

    fn look_in_cache(
        &mut self,
        contents: &mut Contents,
        object: &Object,
        name: &[u8],
        arch: Arch,
        finds: &mut Vec<Find>,
    ) -> Result<bool, ClosureError> {
        let Some(cache) = self.cache()? else { return Ok(false) };
        let defaults = if object.elf.no_default_directories { default_directories(arch) } else { Vec::new() };
        for library in cache.find(name) {
            let is_in =
                |directory: &Vec<u8>| library.path.strip_prefix(&directory[..]).is_some_and(|r| r.starts_with(b"/"));
            if defaults.iter().any(is_in) {
                continue;
            }
            if let Some(find) = self.check(contents, &library.path, arch)? {
                finds.push(find);
                if !library.is_variant {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Adds what `directory` has under `name`. Whether that includes a library for every processor.
    fn look_in(
        &mut self,
        contents: &mut Contents,
        directory: &[u8],
        name: &[u8],
        arch: Arch,
        finds: &mut Vec<Find>,
    ) -> Result<bool, ClosureError> {
        for variant in self.variants(directory)?.iter() {
            finds.extend(self.check(contents, &[variant, &b"/"[..], name].concat(), arch)?);
        }
        let find = self.check(contents, &[directory, b"/", name].concat(), arch)?;
        let is_found = find.is_some();
        finds.extend(find);
        Ok(is_found)
    }

    /// The subdirectories of `directory` that hold libraries for certain processors.
    fn variants(&mut self, directory: &[u8]) -> Result<Rc<Vec<Vec<u8>>>, ClosureError> {
        if let Some(known) = self.variants.get(directory) {
            return Ok(known.clone());
        }
        let mut candidates = Vec::new();
        let hwcaps = [directory, b"/glibc-hwcaps"].concat();
        let walk = self.rootfs.resolve(&hwcaps, true)?;
        if walk.entry.is_some_and(|entry| entry.is_dir()) {
            candidates.extend(self.rootfs.list(&walk.end)?.iter().map(|name| [&hwcaps, &b"/"[..], name].concat()));
        }
        candidates.extend(LEGACY_VARIANTS.iter().map(|name| [directory, b"/", name.as_bytes()].concat()));
        let mut variants = Vec::new();
        for candidate in candidates {
            if self.rootfs.resolve(&candidate, true)?.entry.is_some_and(|entry| entry.is_dir()) {
                variants.push(candidate);
            }
        }
        Ok(self.variants.entry(directory.to_vec()).or_insert(Rc::new(variants)).clone())
    }

    fn cache(&mut self) -> Result<Option<Rc<LdCache>>, ClosureError> {
        if self.cache.is_none() {
            let parsed = self.read(CACHE)?.and_then(|file| LdCache::parse(&file));
            self.cache = Some(parsed.map(Rc::new));
        }
        Ok(self.cache.clone().flatten())
    }

    fn conf(&mut self) -> Result<Rc<Vec<Vec<u8>>>, ClosureError> {
        match &self.conf {
            Some(directories) => Ok(directories.clone()),
            None => Ok(self.conf.insert(Rc::new(conf_directories(self.rootfs)?)).clone()),
        }
    }
}
