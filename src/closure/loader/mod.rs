//! Plays the dynamic loader: which files a process maps that starts an executable, or loads a library later.
//!
//! A [`Process`] is one such run. It needs no code of the image: the rules are those of glibc and musl, the files are
//! looked up in the rootfs. Where the processor decides between variants of a library, all of them are loaded.

mod glibc;
mod musl;
mod search_path;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(super) use glibc::{CACHE, PRELOAD};
pub(super) use musl::path_file;

use crate::base::{ImagePath, escape_bytes};
use crate::closure::contents::Contents;
use crate::closure::elf::{Arch, Elf};
use crate::closure::execution::Execution;
use crate::closure::ld_cache::LdCache;
use crate::closure::{ClosureError, Reason};
use crate::image::Rootfs;

/// The name under which glibc's `pthread_exit` and `pthread_cancel` load what they need to unwind a thread.
const UNWINDER: &[u8] = b"libgcc_s.so.1";
/// How long a path can be, in bytes with the NUL (limits.h).
const PATH_MAX: usize = 4096;

/// The loaders of a rootfs: their configuration, and what was found with it so far.
pub(super) struct Loader<'a> {
    rootfs: &'a Rootfs,
    execution: &'a Execution,
    cache: Option<Option<Rc<LdCache>>>,
    conf: Option<Rc<Vec<Vec<u8>>>>,
    variants: BTreeMap<Vec<u8>, Rc<Vec<Vec<u8>>>>,
    /// Names that some file needs and that no run found; whoever finds one later takes it out again.
    missing: BTreeSet<(ImagePath, Vec<u8>)>,
    found: BTreeSet<(ImagePath, Vec<u8>)>,
}

/// Which loader's rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    Glibc,
    Musl,
}

/// A file that a loader found: by which name, and where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Find {
    path: Vec<u8>,
    real: ImagePath,
    elf: Rc<Elf>,
}

/// One mapped file.
#[derive(Clone)]
struct Object {
    /// The names it was asked for by.
    names: BTreeSet<Vec<u8>>,
    /// The path by which it was found, links and all: `$ORIGIN` is its directory.
    path: Vec<u8>,
    real: ImagePath,
    elf: Rc<Elf>,
    /// The object that asked for it first.
    parent: Option<usize>,
}

impl Object {
    fn origin(&self) -> Option<&[u8]> {
        let slash = self.path.iter().rposition(|&b| b == b'/')?;
        Some(if slash == 0 { b"/" } else { &self.path[..slash] })
    }
}

/// A process as its loader sees it.
#[derive(Clone)]
pub(super) struct Process {
    flavor: Flavor,
    arch: Arch,
    /// The objects in the order in which they were loaded; the first is the executable when `has_main`.
    objects: Vec<Object>,
    has_main: bool,
    /// Which object is the loader itself.
    interpreter: Option<usize>,
    /// How many objects have their DT_NEEDED, and how many have what they load later.
    loaded: usize,
    finished: usize,
    /// Paths by which files were found, with the reason, in the order of being found.
    uses: Vec<(Vec<u8>, Reason)>,
}

impl Process {
    /// Which loader's rules hold.
    pub(super) fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// What its files are made for.
    pub(super) fn arch(&self) -> Arch {
        self.arch
    }

    /// Whether the file at `real` is mapped.
    pub(super) fn has(&self, real: &ImagePath) -> bool {
        self.objects.iter().any(|object| object.real == *real)
    }

    /// The files that are mapped.
    pub(super) fn files(&self) -> impl Iterator<Item = &ImagePath> {
        self.objects.iter().map(|object| &object.real)
    }

    /// Takes the paths by which files were found since the last call.
    pub(super) fn take_uses(&mut self) -> Vec<(Vec<u8>, Reason)> {
        std::mem::take(&mut self.uses)
    }

    fn push(&mut self, name: &[u8], find: Find, parent: Option<usize>) -> usize {
        if let Some(at) = self.objects.iter().position(|object| object.real == find.real) {
            self.objects[at].names.insert(name.to_vec());
            return at;
        }
        let names = BTreeSet::from([name.to_vec()]);
        self.objects.push(Object { names, path: find.path, real: find.real, elf: find.elf, parent });
        self.objects.len() - 1
    }
}

impl<'a> Loader<'a> {
    pub(super) fn new(rootfs: &'a Rootfs, execution: &'a Execution) -> Self {
        Loader {
            rootfs,
            execution,
            cache: None,
            conf: None,
            variants: BTreeMap::new(),
            missing: BTreeSet::new(),
            found: BTreeSet::new(),
        }
    }

    /// The process that the executable at `main` becomes: it and all that is loaded before its first instruction, and
    /// what these files declare to load later.
    pub(super) fn start(&mut self, contents: &mut Contents, main: &ImagePath) -> Result<Option<Process>, ClosureError> {
        let Some(elf) = contents.elf(main)? else { return Ok(None) };
        let Some(interpreter) = elf.interpreter.clone() else { return Ok(None) };
        let mut process = Process {
            flavor: self.flavor_of(&interpreter)?,
            arch: elf.arch,
            objects: Vec::new(),
            has_main: true,
            interpreter: None,
            loaded: 0,
            finished: 0,
            uses: Vec::new(),
        };
        let path = main.as_bytes().to_vec();
        process.push(main.as_bytes(), Find { path, real: main.clone(), elf }, None);
        let interpreter_path = self.execution.absolute(&interpreter);
        match self.check(contents, &interpreter_path, process.arch)? {
            Some(find) => {
                self.found.insert((main.clone(), interpreter.clone()));
                process.uses.push((find.path.clone(), Reason::Interpreter(main.clone())));
                let at = process.push(&interpreter, find, None);
                process.interpreter = Some(at);
            }
            None => {
                self.missing.insert((main.clone(), interpreter));
            }
        }
        for name in self.preloads(process.flavor)? {
            for at in self.load(contents, &mut process, &name, 0)? {
                let path = process.objects[at].path.clone();
                process.uses.push((path, Reason::Runtime));
            }
        }
        self.run(contents, &mut process)?;
        Ok(Some(process))
    }

    /// Loads the library at `path` into the process, as `dlopen` of that path would from the executable. Without a
    /// process one is made up in which nothing else is loaded.
    pub(super) fn open(
        &mut self,
        contents: &mut Contents,
        process: Option<Process>,
        path: &ImagePath,
        real: &ImagePath,
    ) -> Result<Option<Process>, ClosureError> {
        let Some(elf) = contents.elf(real)? else { return Ok(None) };
        let mut process = match process {
            Some(process) => process,
            None => self.made_up(contents, &elf)?,
        };
        // Whoever started the process knows what it used until now.
        process.uses.clear();
        let parent = process.has_main.then_some(0);
        process.push(path.as_bytes(), Find { path: path.as_bytes().to_vec(), real: real.clone(), elf }, parent);
        self.run(contents, &mut process)?;
        Ok(Some(process))
    }

    /// The paths by which the library at `real`, alone in a process, finds the library `name`.
    pub(super) fn find_from(
        &mut self,
        contents: &mut Contents,
        real: &ImagePath,
        name: &[u8],
    ) -> Result<Vec<Vec<u8>>, ClosureError> {
        let Some(mut process) = self.open(contents, None, real, real)? else { return Ok(Vec::new()) };
        let Some(at) = process.objects.iter().position(|object| object.real == *real) else { return Ok(Vec::new()) };
        let found = self.load(contents, &mut process, name, at)?;
        Ok(found.into_iter().map(|at| process.objects[at].path.clone()).collect())
    }

    /// A line for each library or loader that a file needs and that was found in no process; `is_there` knows of others,
    /// by the file and the name.
    pub(super) fn warnings(&self, is_there: impl Fn(&ImagePath, &[u8]) -> bool) -> Vec<String> {
        let missing = self.missing.difference(&self.found).filter(|(path, name)| !is_there(path, name));
        missing.map(|(path, name)| format!("{path} needs {}, which is not in the base", escape_bytes(name))).collect()
    }

    /// Loads what the objects of the process need, breadth first as loaders do, and then what they load while they run.
    fn run(&mut self, contents: &mut Contents, process: &mut Process) -> Result<(), ClosureError> {
        loop {
            while process.loaded < process.objects.len() {
                let at = process.loaded;
                process.loaded += 1;
                let Object { elf, real, .. } = process.objects[at].clone();
                for name in &elf.needed {
                    let found = self.load(contents, process, name, at)?;
                    let key = (real.clone(), name.clone());
                    if found.is_empty() { &mut self.missing } else { &mut self.found }.insert(key);
                    for library in found {
                        let path = process.objects[library].path.clone();
                        process.uses.push((path, Reason::Needed(real.clone())));
                    }
                }
            }
            if process.finished == process.objects.len() {
                return Ok(());
            }
            let at = process.finished;
            process.finished += 1;
            let Object { elf, real, .. } = process.objects[at].clone();
            let declared = elf.dlopens.iter().map(|dlopen| dlopen.sonames.clone());
            let unwinder = (elf.ends_threads && process.flavor == Flavor::Glibc).then(|| vec![UNWINDER.to_vec()]);
            for alternatives in declared.chain(unwinder) {
                for name in alternatives {
                    let found = self.load(contents, process, &name, at)?;
                    for &library in &found {
                        let path = process.objects[library].path.clone();
                        process.uses.push((path, Reason::Dlopen(real.clone())));
                    }
                    if !found.is_empty() {
                        break;
                    }
                }
            }
        }
    }

    /// Finds `name` for the object `requester` and maps it; the objects that it can turn out to be.
    fn load(
        &mut self,
        contents: &mut Contents,
        process: &mut Process,
        name: &[u8],
        requester: usize,
    ) -> Result<Vec<usize>, ClosureError> {
        if process.flavor == Flavor::Musl && musl::is_loader(name) {
            return Ok(process.interpreter.into_iter().collect());
        }
        let has_name = |object: &Object| {
            // musl knows what it loaded by the name it was asked for alone.
            object.names.contains(name) || process.flavor == Flavor::Glibc && object.elf.soname.as_deref() == Some(name)
        };
        let loaded: Vec<usize> = (0..process.objects.len()).filter(|&at| has_name(&process.objects[at])).collect();
        if !loaded.is_empty() {
            return Ok(loaded);
        }
        let finds = match process.flavor {
            Flavor::Glibc => self.search_glibc(contents, process, name, requester)?,
            Flavor::Musl => self.search_musl(contents, process, name, requester)?.into_iter().collect(),
        };
        Ok(finds.into_iter().map(|find| process.push(name, find, Some(requester))).collect())
    }

    /// The library at `path`, if there is one for this architecture.
    fn check(&self, contents: &mut Contents, path: &[u8], arch: Arch) -> Result<Option<Find>, ClosureError> {
        // What is longer the kernel does not open.
        if path.len() >= PATH_MAX {
            return Ok(None);
        }
        let walk = self.rootfs.resolve(path, true)?;
        if !walk.entry.is_some_and(|entry| entry.is_file()) {
            return Ok(None);
        }
        let elf = contents.elf(&walk.end)?.filter(|elf| elf.arch == arch);
        Ok(elf.map(|elf| Find { path: path.to_vec(), real: walk.end, elf }))
    }

    /// LD_PRELOAD and glibc's `/etc/ld.so.preload`.
    fn preloads(&self, flavor: Flavor) -> Result<Vec<Vec<u8>>, ClosureError> {
        let mut lists = vec![self.execution.variable("LD_PRELOAD").unwrap_or_default().as_bytes().to_vec()];
        if flavor == Flavor::Glibc {
            lists.push(self.read(PRELOAD)?.unwrap_or_default());
        }
        let words = lists.iter().flat_map(|list| list.split(|b| b" \t\n:".contains(b)));
        Ok(words.filter(|word| !word.is_empty()).map(Into::into).collect())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ClosureError> {
        match ImagePath::parse(path) {
            Ok(path) => Ok(self.rootfs.read_resolved(&path)?),
            Err(_) => Ok(None),
        }
    }

    /// Whose rules the interpreter at `path` follows: the name, or the name of what it is a link to, says it.
    fn flavor_of(&self, path: &[u8]) -> Result<Flavor, ClosureError> {
        let walk = self.rootfs.resolve(path, true)?;
        let mut names = walk.links.iter().chain([&walk.end]).filter_map(|path| path.file_name());
        let is_musl = |name: &[u8]| name.starts_with(b"ld-musl-") || name.starts_with(b"libgcompat.");
        Ok(if names.any(is_musl) { Flavor::Musl } else { Flavor::Glibc })
    }

    /// A process for a library of which nobody knows who loads it.
    fn made_up(&self, contents: &mut Contents, elf: &Elf) -> Result<Process, ClosureError> {
        let mut process = Process {
            flavor: Flavor::Glibc,
            arch: elf.arch,
            objects: Vec::new(),
            has_main: false,
            interpreter: None,
            loaded: 0,
            finished: 0,
            uses: Vec::new(),
        };
        let needs = |test: fn(&[u8]) -> bool| elf.needed.iter().any(|name| test(name));
        if needs(|name| name == b"libc.so.6" || name.starts_with(b"ld-linux")) {
            return Ok(process);
        }
        if let Some(find) = self.musl_loader(contents, elf.arch)? {
            process.flavor = Flavor::Musl;
            let name = find.path.clone();
            process.interpreter = Some(process.push(&name, find, None));
        }
        Ok(process)
    }
}
