//! Plans for roots that are directories of the host, or the host itself.
//!
//! A user namespace may not see a directory without the mounts that lie below it, so the kernel refuses an overlay over
//! such a directory. The plan therefore walks the mount table: the root is a tmpfs, each largest subtree without a
//! mount below it gets an overlay of its own, directories in between are made anew, files in between are bound
//! read-only.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::{ImagePath, escape_bytes};
use crate::sandbox::plan::{Choices, Mount, RootPlan, SandboxPlan, Upper, What};

/// File systems that show the kernel, not files (`/proc/filesystems`, `nodev`).
const PSEUDO: [&str; 23] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

/// Directories at the top of the root that every container gets anew.
const REPLACED: [&[u8]; 3] = [b"dev", b"proc", b"sys"];

/// One name in a directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The last component of its path.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: ListedKind,
}

/// What a name in a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Owner and group as seen from here.
        owner: (u32, u32),
    },
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A socket, FIFO or device: a way to other processes, which the sandbox does not hand on.
    Special,
}

/// Lists a directory of the host, sorted by name.
pub fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let kind = if meta.is_dir() {
            ListedKind::Directory { mode: meta.mode() & 0o7777, owner: (meta.uid(), meta.gid()) }
        } else if meta.is_file() {
            ListedKind::File
        } else if meta.is_symlink() {
            ListedKind::Symlink { target: std::fs::read_link(entry.path())?.into_os_string().into_vec() }
        } else {
            ListedKind::Special
        };
        found.push(Listed { name: entry.file_name().into_vec(), kind });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

impl SandboxPlan {
    /// The sandbox of a directory of the host (`/` for the host itself). `root` is absolute and free of links;
    /// `mountinfo` is the text of `/proc/self/mountinfo`; `list` lists a directory, normally [`list`].
    pub fn for_lazy(
        root: &Path,
        mountinfo: &[u8],
        list: &dyn Fn(&Path) -> io::Result<Vec<Listed>>,
        choices: &Choices,
    ) -> SandboxPlan {
        let table: Vec<MountPoint> = parse_mountinfo(mountinfo);
        let below = |directory: &Path| table.iter().any(|m| m.at != directory && m.at.starts_with(directory));
        if !below(root) && root != Path::new("/") {
            let upper = upper_for(root, &choices.upper, &mut 0);
            return Self::assemble(RootPlan::Overlay { lower: root.into(), upper }, Vec::new(), choices, Vec::new());
        }
        let mut walk = Walk {
            root,
            table: &table,
            list,
            upper: &choices.upper,
            uppers: 0,
            mounts: Vec::new(),
            warnings: Vec::new(),
        };
        walk.directory(root, &ImagePath::root());
        let Walk { mounts, warnings, .. } = walk;
        Self::assemble(RootPlan::Tmpfs, mounts, choices, warnings)
    }
}

/// Where file systems are mounted that show the kernel; `mountinfo` as in [`SandboxPlan::for_lazy`].
pub fn pseudo_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    parse_mountinfo(mountinfo).into_iter().filter(|m| m.pseudo).map(|m| m.at).collect()
}

/// Where something is mounted below `directory`, relative to it; `mountinfo` as in [`SandboxPlan::for_lazy`].
pub fn mounts_below(mountinfo: &[u8], directory: &Path) -> Vec<PathBuf> {
    let relative = |mount: MountPoint| mount.at.strip_prefix(directory).ok().map(Path::to_owned);
    parse_mountinfo(mountinfo).into_iter().filter_map(relative).filter(|path| !path.as_os_str().is_empty()).collect()
}

struct Walk<'a> {
    root: &'a Path,
    table: &'a [MountPoint],
    list: &'a dyn Fn(&Path) -> io::Result<Vec<Listed>>,
    upper: &'a Upper,
    uppers: usize,
    mounts: Vec<Mount>,
    warnings: Vec<String>,
}

impl Walk<'_> {
    /// Plans what is in a directory that has mounts below it.
    fn directory(&mut self, host: &Path, at: &ImagePath) {
        let listed = match (self.list)(host) {
            Ok(listed) => listed,
            Err(cause) => {
                self.warnings.push(format!("cannot list {}: {cause}; it is empty in the sandbox", shown(host)));
                return;
            }
        };
        for Listed { name, kind } in listed {
            if at.is_root() && REPLACED.contains(&name.as_slice()) {
                continue;
            }
            let Ok(at) = at.child(&name) else { continue };
            let host = host.join(OsString::from_vec(name));
            match kind {
                ListedKind::Directory { mode, owner } => self.subdirectory(&host, at, mode, owner),
                ListedKind::File => {
                    self.put(at, What::Bind { source: host, read_only: true }, false);
                }
                ListedKind::Symlink { target } => self.put(at, What::Symlink { target }, true),
                ListedKind::Special => {}
            }
        }
    }

    fn subdirectory(&mut self, host: &Path, at: ImagePath, mode: u32, owner: (u32, u32)) {
        // The last mount on a directory is the one that is seen.
        let mounted = self.table.iter().rfind(|m| m.at == host);
        if mounted.is_some_and(|m| m.pseudo) {
            self.put(at, What::Directory { mode, owner }, true);
        } else if self.table.iter().any(|m| m.at != host && m.at.starts_with(host)) {
            self.put(at.clone(), What::Directory { mode, owner }, true);
            self.directory(host, &at);
        } else {
            let upper = upper_for(host, self.upper, &mut self.uppers);
            self.put(at, What::Overlay { lower: host.into(), upper }, false);
        }
    }

    fn put(&mut self, at: ImagePath, what: What, required: bool) {
        debug_assert!(self.root.is_absolute());
        self.mounts.push(Mount { at, what, required, of_base: true });
    }
}

/// A directory of its own for each overlay; in memory where the directory would lie inside the lower one, which the
/// kernel refuses.
fn upper_for(lower: &Path, upper: &Upper, number: &mut usize) -> Upper {
    match upper {
        Upper::Dir(dir) if !dir.starts_with(lower) => {
            *number += 1;
            Upper::Dir(dir.join(number.to_string()))
        }
        _ => Upper::Tmpfs,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct MountPoint {
    at: PathBuf,
    pseudo: bool,
}

/// Reads `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`); lines that are not of its form are left out.
fn parse_mountinfo(text: &[u8]) -> Vec<MountPoint> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|&b| b == b' ');
        let at = unescape_octal(fields.nth(4)?);
        let kind = fields.skip_while(|&field| field != b"-").nth(1)?;
        let pseudo = PSEUDO.iter().any(|name| name.as_bytes() == kind);
        Some(MountPoint { at: OsString::from_vec(at).into(), pseudo })
    };
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] if byte == b'\\' => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                tail
            }
            _ => {
                out.push(byte);
                tail
            }
        };
    }
    out
}

fn shown(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_bytes()).into_owned()
}

/// The top-level directories that a lazy root leaves to the container, for whoever looks paths up in it.
pub fn replaced() -> BTreeSet<ImagePath> {
    REPLACED.iter().filter_map(|name| ImagePath::root().child(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory tree as text, one path per line; a directory ends in `/`, a link has an arrow, a socket an `=`.
    fn lister(tree: &'static str) -> impl Fn(&Path) -> io::Result<Vec<Listed>> {
        move |directory| {
            let mut found = Vec::new();
            for line in tree.lines().map(str::trim) {
                let (path, target) = line.split_once(" -> ").unwrap_or((line, ""));
                let trimmed = Path::new(path.trim_end_matches(['/', '=']));
                if trimmed.parent() != Some(directory) {
                    continue;
                }
                let kind = match path.chars().last() {
                    _ if !target.is_empty() => ListedKind::Symlink { target: target.into() },
                    Some('/') => ListedKind::Directory { mode: 0o755, owner: (0, 0) },
                    Some('=') => ListedKind::Special,
                    _ => ListedKind::File,
                };
                found.push(Listed { name: trimmed.file_name().unwrap().as_bytes().to_vec(), kind });
            }
            match directory.ends_with("secret") {
                true => Err(io::ErrorKind::PermissionDenied.into()),
                false => Ok(found),
            }
        }
    }

    fn describe(plan: &SandboxPlan) -> String {
        let mut text = String::new();
        for mount in plan.mounts.iter().filter(|m| m.of_base) {
            let what = match &mount.what {
                What::Overlay { lower, upper: Upper::Dir(dir) } => format!("overlay {} {}", shown(lower), shown(dir)),
                What::Overlay { lower, upper: Upper::Tmpfs } => format!("overlay {} tmpfs", shown(lower)),
                What::Bind { source, .. } => format!("file {}", shown(source)),
                What::Symlink { target } => format!("-> {}", escape_bytes(target)),
                What::Directory { .. } => "directory".into(),
                other => format!("{other:?}"),
            };
            text.push_str(&format!("{}: {what}\n", mount.at));
        }
        text
    }

    const TABLE: &[u8] = b"22 27 0:21 / /proc rw - proc proc rw\n\
        27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        28 27 0:25 / /run rw shared:5 - tmpfs tmpfs rw\n\
        29 28 0:26 / /run/lock rw - tmpfs tmpfs rw\n\
        30 27 254:1 /x /var/lib/my\\040data rw - ext4 /dev/vdb rw\n\
        31 27 0:30 / /srv/kernel rw - debugfs none rw\n\
        32 27 0:31 / /etc/resolv.conf rw - tmpfs tmpfs rw\n";

    #[test]
    fn each_largest_subtree_without_a_mount_below_gets_an_overlay() {
        let tree = "/bin -> usr/bin\n/proc/\n/dev/\n/etc/\n/etc/passwd\n/etc/resolv.conf\n/etc/ssl/\n/home/\n/run/\n/run/a.sock=\n\
            /run/lock/\n/run/user/\n/srv/\n/srv/kernel/\n/srv/www/\n/swapfile\n/var/\n/var/log/\n/var/lib/\n/var/lib/dpkg/\n\
            /var/lib/my data/";
        let choices = Choices::new(Upper::Dir("/home/ana/.cache/run".into()));
        let plan = SandboxPlan::for_lazy(Path::new("/"), TABLE, &lister(tree), &choices);
        assert_eq!(plan.root, RootPlan::Tmpfs);
        assert_eq!(
            describe(&plan),
            "/bin: -> usr/bin\n\
             /etc: directory\n\
             /etc/passwd: file /etc/passwd\n\
             /etc/resolv.conf: file /etc/resolv.conf\n\
             /etc/ssl: overlay /etc/ssl /home/ana/.cache/run/1\n\
             /home: overlay /home tmpfs\n\
             /run: directory\n\
             /run/lock: overlay /run/lock /home/ana/.cache/run/2\n\
             /run/user: overlay /run/user /home/ana/.cache/run/3\n\
             /srv: directory\n\
             /srv/kernel: directory\n\
             /srv/www: overlay /srv/www /home/ana/.cache/run/4\n\
             /swapfile: file /swapfile\n\
             /var: directory\n\
             /var/log: overlay /var/log /home/ana/.cache/run/5\n\
             /var/lib: directory\n\
             /var/lib/dpkg: overlay /var/lib/dpkg /home/ana/.cache/run/6\n\
             /var/lib/my data: overlay /var/lib/my data /home/ana/.cache/run/7\n"
        );
    }

    #[test]
    fn a_directory_without_mounts_is_one_overlay() {
        let choices = Choices::new(Upper::Tmpfs);
        let plan = SandboxPlan::for_lazy(Path::new("/home/ana/root"), TABLE, &lister(""), &choices);
        assert_eq!(plan.root, RootPlan::Overlay { lower: "/home/ana/root".into(), upper: Upper::Tmpfs });
        assert_eq!(describe(&plan), "");
    }

    #[test]
    fn what_cannot_be_listed_is_named() {
        let table = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:25 / /secret/x rw - tmpfs tmpfs rw\n";
        let plan = SandboxPlan::for_lazy(Path::new("/"), table, &lister("/secret/"), &Choices::new(Upper::Tmpfs));
        assert_eq!(describe(&plan), "/secret: directory\n");
        assert_eq!(plan.warnings, ["cannot list /secret: permission denied; it is empty in the sandbox"]);
    }

    #[test]
    fn names_in_the_mount_table_are_unescaped() {
        assert_eq!(unescape_octal(br"/a\040b\134c\011"), b"/a b\\c\t");
        assert_eq!(unescape_octal(br"/a\9"), br"/a\9");
    }
}
