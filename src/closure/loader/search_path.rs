//! Lists of directories, as loaders read them: RPATH, RUNPATH, LD_LIBRARY_PATH, `ld.so.conf` and what is built in.

use std::collections::BTreeSet;

use goblin::elf::header::{
    EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_MIPS, EM_PPC, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64,
};

use crate::base::ImagePath;
use crate::closure::ClosureError;
use crate::closure::elf::Arch;
use crate::image::Rootfs;

/// How deep `include` lines of `ld.so.conf` may nest.
const MAX_INCLUDES: usize = 8;
/// No machine has so many directories of libraries, nor so many `include` lines.
const MAX_DIRECTORIES: usize = 4096;
const MAX_PATTERNS: usize = 256;

/// The directories in a list; an empty one is the working directory, `.`.
pub(super) fn split<'a>(list: &'a [u8], separators: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    list.split(|b| separators.contains(b)).map(|directory| if directory.is_empty() { &b"."[..] } else { directory })
}

/// Replaces glibc's `$ORIGIN`, `$LIB` and `$PLATFORM` (`ld.so(8)`). What `$LIB` and `$PLATFORM` stand for depends on
/// the distribution and the processor, so there can be several results, the likeliest first. `None` when `$ORIGIN` is
/// not known.
pub(super) fn expand_glibc(text: &[u8], origin: Option<&[u8]>, arch: Arch) -> Option<Vec<Vec<u8>>> {
    let mut results = vec![match origin {
        Some(origin) => replace(text, "ORIGIN", origin),
        None if next_token(text, "ORIGIN").is_some() => return None,
        None => text.to_vec(),
    }];
    let libraries = library_directories(arch);
    let libraries: Vec<&str> = libraries.iter().map(String::as_str).collect();
    for (name, values) in [("LIB", &libraries[..]), ("PLATFORM", platforms(arch))] {
        // One value holds for all places in a text.
        if next_token(text, name).is_some() {
            let replaced =
                |text: &Vec<u8>| values.iter().map(|v| replace(text, name, v.as_bytes())).collect::<Vec<_>>();
            results = results.iter().flat_map(replaced).collect();
        }
    }
    Some(results)
}

/// Replaces musl's `$ORIGIN`. `None` when there is any other `$`: musl then ignores the whole list.
pub(super) fn expand_musl(list: &[u8], origin: Option<&[u8]>) -> Option<Vec<u8>> {
    if replace(list, "ORIGIN", b"").contains(&b'$') {
        return None;
    }
    match origin {
        Some(origin) => Some(replace(list, "ORIGIN", origin)),
        None => (!list.contains(&b'$')).then(|| list.to_vec()),
    }
}

fn replace(mut text: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((before, after)) = next_token(text, name) {
        out.extend_from_slice(before);
        out.extend_from_slice(value);
        text = after;
    }
    out.extend_from_slice(text);
    out
}

/// What is before and after the first `$NAME` or `${NAME}`.
fn next_token<'a>(text: &'a [u8], name: &str) -> Option<(&'a [u8], &'a [u8])> {
    (0..text.len()).filter(|&at| text[at] == b'$').find_map(|at| {
        let rest = &text[at + 1..];
        let after = match rest.strip_prefix(b"{") {
            Some(braced) => braced.strip_prefix(name.as_bytes())?.strip_prefix(b"}")?,
            None => rest.strip_prefix(name.as_bytes())?,
        };
        Some((&text[..at], after))
    })
}

/// The directories that glibc searches last, below `/` and `/usr`: those of Debian (multiarch), Fedora and the rest.
pub(super) fn default_directories(arch: Arch) -> Vec<Vec<u8>> {
    library_directories(arch)
        .iter()
        .flat_map(|name| [format!("/{name}"), format!("/usr/{name}")])
        .map(String::into_bytes)
        .collect()
}

fn library_directories(arch: Arch) -> Vec<String> {
    let mut names: Vec<String> = triplets(arch).iter().map(|triplet| format!("lib/{triplet}")).collect();
    names.push(
        if arch.is_64() {
            "lib64"
        } else if arch.machine == EM_X86_64 {
            "libx32"
        } else {
            "lib32"
        }
        .into(),
    );
    names.push("lib".into());
    names
}

fn triplets(arch: Arch) -> &'static [&'static str] {
    match (arch.machine, arch.is_64(), arch.is_little_endian()) {
        (EM_X86_64, true, _) => &["x86_64-linux-gnu"],
        (EM_X86_64, false, _) => &["x86_64-linux-gnux32"],
        (EM_386, ..) => &["i386-linux-gnu"],
        (EM_AARCH64, true, _) => &["aarch64-linux-gnu"],
        (EM_ARM, ..) => &["arm-linux-gnueabihf", "arm-linux-gnueabi"],
        (EM_PPC64, _, true) => &["powerpc64le-linux-gnu"],
        (EM_PPC64, _, false) => &["powerpc64-linux-gnu"],
        (EM_PPC, ..) => &["powerpc-linux-gnu"],
        (EM_S390, true, _) => &["s390x-linux-gnu"],
        (EM_RISCV, true, _) => &["riscv64-linux-gnu"],
        (EM_LOONGARCH, true, _) => &["loongarch64-linux-gnu"],
        (EM_MIPS, true, true) => &["mips64el-linux-gnuabi64"],
        (EM_MIPS, false, true) => &["mipsel-linux-gnu"],
        _ => &[],
    }
}

fn platforms(arch: Arch) -> &'static [&'static str] {
    match arch.machine {
        EM_X86_64 => &["x86_64", "haswell", "xeon_phi"],
        EM_386 => &["i686", "i586", "i486", "i386"],
        EM_AARCH64 => &["aarch64"],
        EM_ARM => &["v7l", "v6l"],
        _ => &[],
    }
}

/// The directories that `/etc/ld.so.conf` and the files it includes name, in order, each once.
pub(super) fn conf_directories(rootfs: &Rootfs) -> Result<Vec<Vec<u8>>, ClosureError> {
    let mut conf = Conf::default();
    conf.read(rootfs, b"/etc/ld.so.conf", 0)?;
    Ok(conf.directories)
}

/// What was read of `ld.so.conf`. A file, or a pattern, that comes again says nothing new: files that include each
/// other, or themselves, many times over would otherwise be read as often as there are ways through them.
#[derive(Default)]
struct Conf {
    directories: Vec<Vec<u8>>,
    known: BTreeSet<Vec<u8>>,
    files: BTreeSet<ImagePath>,
    patterns: BTreeSet<Vec<u8>>,
}

impl Conf {
    fn read(&mut self, rootfs: &Rootfs, file: &[u8], depth: usize) -> Result<(), ClosureError> {
        let Ok(path) = ImagePath::parse(file) else { return Ok(()) };
        let end = rootfs.resolve(path.as_bytes(), true)?.end;
        if !self.files.insert(end) {
            return Ok(());
        }
        let Some(text) = rootfs.read_resolved(&path)? else { return Ok(()) };
        let too_much =
            |what: &str| ClosureError::Read { path: path.clone(), cause: std::io::Error::other(what.to_owned()) };
        for line in text.split(|&b| b == b'\n') {
            let line = line.split(|&b| b == b'#').next().unwrap_or_default().trim_ascii();
            let mut words = line.split(|b| b" \t:,=".contains(b)).filter(|word| !word.is_empty());
            match words.next() {
                Some(b"include") if depth < MAX_INCLUDES => {
                    for pattern in words {
                        if !self.patterns.insert(pattern.to_vec()) {
                            continue;
                        }
                        if self.patterns.len() > MAX_PATTERNS {
                            return Err(too_much(&format!("there are more than {MAX_PATTERNS} includes")));
                        }
                        for file in matching_files(rootfs, pattern)? {
                            self.read(rootfs, &file, depth + 1)?;
                        }
                    }
                }
                Some(b"include" | b"hwcap") | None => {}
                // "dir=libc4" was a way to write a type; what is left of it is the directory.
                Some(directory) if self.known.insert(directory.to_vec()) => self.directories.push(directory.to_vec()),
                Some(_) => {}
            }
            if self.directories.len() > MAX_DIRECTORIES {
                return Err(too_much(&format!("it names more than {MAX_DIRECTORIES} directories")));
            }
        }
        Ok(())
    }
}

/// The files that an include pattern names, sorted; wildcards in the last component only, as everybody writes it.
fn matching_files(rootfs: &Rootfs, pattern: &[u8]) -> Result<Vec<Vec<u8>>, ClosureError> {
    // A relative pattern is relative to the file that includes it, and that is in /etc.
    let pattern = if pattern.starts_with(b"/") { pattern.to_vec() } else { [b"/etc/", pattern].concat() };
    let slash = pattern.iter().rposition(|&b| b == b'/').unwrap_or_default();
    let (directory, name) = (&pattern[..slash], &pattern[slash + 1..]);
    let Some(glob) = std::str::from_utf8(name).ok().and_then(|name| globset::Glob::new(name).ok()) else {
        return Ok(Vec::new());
    };
    let glob = glob.compile_matcher();
    let walk = rootfs.resolve(directory, true)?;
    if walk.entry.is_none() {
        return Ok(Vec::new());
    }
    let names = rootfs.list(&walk.end)?;
    let is_match = |name: &&Vec<u8>| std::str::from_utf8(name).is_ok_and(|name| glob.is_match(name));
    Ok(names.iter().filter(is_match).map(|name| [directory, b"/", name].concat()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: Arch = Arch { class: 2, data: 1, machine: EM_X86_64 };

    fn texts(list: Vec<Vec<u8>>) -> Vec<String> {
        list.into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
    }

    /// Each of these files once was read as often as there are ways through the others, eight deep.
    #[test]
    fn files_that_include_each_other_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/ld.so.conf.d")).unwrap();
        let includes = "include ld.so.conf.d/*.conf\ninclude /etc/ld.so.conf\n".repeat(50);
        std::fs::write(dir.path().join("etc/ld.so.conf"), &includes).unwrap();
        for number in 10..60 {
            let text = format!("/lib/{number}\n{includes}/lib/all\n");
            std::fs::write(dir.path().join(format!("etc/ld.so.conf.d/{number}.conf")), text).unwrap();
        }
        let rootfs = Rootfs::lazy(dir.path(), std::sync::Arc::new(crate::image::OwnersAsSeen)).unwrap();
        let found = texts(conf_directories(&rootfs).unwrap());
        assert_eq!((found.len(), found[..3].join(" ").as_str()), (51, "/lib/10 /lib/all /lib/11"));
        let many: String = (0..=MAX_DIRECTORIES).map(|n| format!("/lib/{n}\n")).collect();
        std::fs::write(dir.path().join("etc/ld.so.conf"), many).unwrap();
        let error = conf_directories(&rootfs).unwrap_err().to_string();
        assert!(error.ends_with("it names more than 4096 directories"), "{error}");
    }

    #[test]
    fn glibc_tokens() {
        for (text, expected) in [
            ("/opt/lib", vec!["/opt/lib"]),
            ("$ORIGIN/../lib", vec!["/app/bin/../lib"]),
            ("${ORIGIN}", vec!["/app/bin"]),
            ("/x/$LIB", vec!["/x/lib/x86_64-linux-gnu", "/x/lib64", "/x/lib"]),
            ("$LIB/$LIB", vec!["lib/x86_64-linux-gnu/lib/x86_64-linux-gnu", "lib64/lib64", "lib/lib"]),
            ("/x/$PLATFORM/y", vec!["/x/x86_64/y", "/x/haswell/y", "/x/xeon_phi/y"]),
            ("/x/$OTHER/${ORIGIN", vec!["/x/$OTHER/${ORIGIN"]),
        ] {
            assert_eq!(texts(expand_glibc(text.as_bytes(), Some(b"/app/bin"), X86_64).unwrap()), expected, "{text}");
        }
        assert_eq!(expand_glibc(b"$ORIGIN", None, X86_64), None);
    }

    #[test]
    fn musl_knows_one_token_and_gives_up_on_others() {
        for (list, expected) in [
            ("/a:$ORIGIN/b:${ORIGIN}", Some("/a:/o/b:/o")),
            ("/a", Some("/a")),
            ("/a:$LIB", None),
            ("$LIB/$ORIGIN", None),
            ("$ORIGIN/$LIB", None),
        ] {
            let expanded = expand_musl(list.as_bytes(), Some(b"/o")).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(expanded.as_deref(), expected, "{list}");
        }
    }

    #[test]
    fn default_directories_cover_the_distributions() {
        assert_eq!(
            texts(default_directories(X86_64)).join(" "),
            "/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64 /usr/lib64 /lib /usr/lib"
        );
        assert_eq!(
            texts(default_directories(Arch { class: 1, data: 1, machine: EM_386 })).join(" "),
            "/lib/i386-linux-gnu /usr/lib/i386-linux-gnu /lib32 /usr/lib32 /lib /usr/lib"
        );
    }
}
