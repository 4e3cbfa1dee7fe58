//! Where musl's loader looks for a library (musl 1.2, ldso/dynlink.c, `load_library`).

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::closure::contents::Contents;
use crate::closure::elf::Arch;
use crate::closure::loader::search_path::{expand_musl, split};
use crate::closure::loader::{Find, Loader, Process};

/// Libraries that are part of musl's loader, up to the dot.
const PARTS: &[&str] = &["libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet."];
/// Where musl looks when no file says otherwise.
const DEFAULT_DIRECTORIES: &[u8] = b"/lib:/usr/local/lib:/usr/lib";
const LOADER_PREFIX: &[u8] = b"ld-musl-";

/// Whether `name` is the loader itself, for which no file is searched.
pub(super) fn is_loader(name: &[u8]) -> bool {
    PARTS.iter().any(|part| name.starts_with(part.as_bytes()))
}

/// The file that says where the loader at `interpreter` searches, `/etc/ld-musl-x86_64.path`.
pub(in crate::closure) fn path_file(interpreter: &[u8]) -> Option<String> {
    let name = interpreter.rsplit(|&b| b == b'/').next()?.strip_prefix(LOADER_PREFIX)?;
    let arch = name.split(|&b| b == b'.').next()?;
    Some(format!("/etc/ld-musl-{}.path", std::str::from_utf8(arch).ok()?))
}

impl Loader<'_> {
    /// The file that `name` is for `requester`.
    pub(super) fn search_musl(
        &mut self,
        contents: &mut Contents,
        process: &Process,
        name: &[u8],
        requester: usize,
    ) -> Result<Option<Find>, ClosureError> {
        if name.contains(&b'/') {
            return self.check(contents, &self.execution.absolute(name), process.arch);
        }
        let mut lists = vec![self.execution.variable("LD_LIBRARY_PATH").unwrap_or_default().as_bytes().to_vec()];
        for at in std::iter::successors(Some(requester), |&at| process.objects[at].parent) {
            let object = &process.objects[at];
            // Both kinds of list mean the same here, and are inherited.
            let list = object.elf.runpath.as_deref().or(object.elf.rpath.as_deref()).unwrap_or_default();
            lists.extend(expand_musl(list, object.origin()));
        }
        lists.push(self.musl_directories(process)?);
        for list in lists.iter().filter(|list| !list.is_empty()) {
            for directory in split(list, b":\n") {
                let path = self.execution.absolute(&[directory, b"/", name].concat());
                if let Some(find) = self.check(contents, &path, process.arch)? {
                    return Ok(Some(find));
                }
            }
        }
        Ok(None)
    }

    fn musl_directories(&self, process: &Process) -> Result<Vec<u8>, ClosureError> {
        let interpreter = process.interpreter.map(|at| &process.objects[at]);
        let names = interpreter.into_iter().flat_map(|object| &object.names);
        for file in names.filter_map(|name| path_file(name)) {
            if let Some(list) = self.read(&file)? {
                return Ok(list);
            }
        }
        Ok(DEFAULT_DIRECTORIES.to_vec())
    }

    /// The loader of an image that has musl's, for a library that does not name one.
    pub(super) fn musl_loader(&self, contents: &mut Contents, arch: Arch) -> Result<Option<Find>, ClosureError> {
        let Ok(directory) = ImagePath::parse("/lib") else { return Ok(None) };
        let real = self.rootfs.resolve(directory.as_bytes(), true)?.end;
        for name in self.rootfs.list(&real)? {
            if name.starts_with(LOADER_PREFIX)
                && let Some(find) = self.check(contents, &[b"/lib/", &name[..]].concat(), arch)?
            {
                return Ok(Some(find));
            }
        }
        Ok(None)
    }
}
