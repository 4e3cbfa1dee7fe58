//! What a sandbox is made of, as data.
//!
//! A [`SandboxPlan`] says everything and does nothing: which namespaces, what the root is, what is mounted where, in
//! which order. Carrying it out (`build`, `mounts`) knows no rungs, identities or sources; another rung is another
//! plan.

mod container;
pub(super) mod lazy;
pub(super) mod observers;
mod rung;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use rung::{Rung, UnknownRung};

use crate::base::ImagePath;
use crate::sandbox::confine::limits::Bounds;
use crate::sandbox::plan::observers::ObserverTree;

/// A namespace that the sandbox does not share with scrimp (`namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Process ids: the application is process 1.
    Pid,
    /// Network interfaces, ports, abstract sockets.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// The host name.
    Uts,
    /// The view of the control groups.
    Cgroup,
}

/// Where the application's network ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Interfaces of its own, which lead nowhere.
    Private,
    /// That of another sandbox, whose namespace comes as a descriptor with the plan.
    Shared,
    /// The network of whoever started scrimp.
    Host,
}

/// Where an overlay keeps what is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upper {
    /// In this directory of the host, one per sandbox: what is needed below it is made, and the kernel refuses it a
    /// second time, because nothing in there is ever flushed to disk.
    Dir(#[serde(with = "host_path")] PathBuf),
    /// In memory, gone with the sandbox.
    Tmpfs,
}

/// What is mounted as `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootPlan {
    /// The base, never written, below a throw-away layer.
    Overlay {
        /// The base.
        #[serde(with = "host_path")]
        lower: PathBuf,
        /// The throw-away layer.
        upper: Upper,
    },
    /// An empty tmpfs that the mounts of the plan fill.
    Tmpfs,
    /// A copy of a tree that is thrown away afterwards; what the plan mounts is written into it as far as it can be.
    Copy {
        /// The base.
        #[serde(with = "host_path")]
        from: PathBuf,
        /// An empty directory for the copy.
        #[serde(with = "host_path")]
        to: PathBuf,
        /// What is left out: directories of the host, absolute.
        #[serde(with = "host_paths")]
        without: Vec<PathBuf>,
    },
    /// The root that there is.
    InPlace,
}

/// One thing that is put into the tree of the sandbox. A missing mount point is made in the throw-away layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, links in the tree followed.
    pub at: ImagePath,
    /// What.
    pub what: What,
    /// Whether the sandbox is of no use without it; otherwise a failure is a warning.
    pub required: bool,
    /// Whether it shows a part of the base; everything else was not there before.
    pub of_base: bool,
}

/// What is put into the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A directory, when there is none.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Owner and group as seen inside; left alone when they do not exist there.
        owner: (u32, u32),
    },
    /// A symbolic link, when nothing is there.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A directory of the host below a throw-away layer; bound read-only where the kernel refuses an overlay.
    Overlay {
        /// The directory of the host.
        #[serde(with = "host_path")]
        lower: PathBuf,
        /// The throw-away layer.
        upper: Upper,
    },
    /// A file or directory of the host itself, with the mounts below it.
    Bind {
        /// What is bound.
        #[serde(with = "host_path")]
        source: PathBuf,
        /// Whether writing is refused.
        read_only: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// Permission bits.
        mode: u32,
        /// Greatest size in bytes; half of the memory when absent.
        size: Option<u64>,
        /// Whether programs on it may be executed.
        exec: bool,
    },
    /// A read-only file with this content.
    File {
        /// The content.
        content: Vec<u8>,
    },
    /// The process ids of the sandbox. Mounted by its process 1, because the kernel takes the mounter's.
    Proc,
    /// The kernel's objects, read-only, with the network interfaces of the sandbox.
    Sysfs,
    /// Terminals of the sandbox's own.
    Devpts,
    /// POSIX message queues of the sandbox's own.
    Mqueue,
    /// The control groups, read-only (version 2).
    Cgroup,
    /// Hides what is there: an empty directory or an empty file.
    Mask,
    /// Makes what is there read-only.
    ReadOnly,
}

/// How a sandbox is made, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// For reports.
    pub rung: Rung,
    /// What is not shared.
    pub namespaces: BTreeSet<Namespace>,
    /// What is mounted as `/`.
    pub root: RootPlan,
    /// What is mounted into it, in this order.
    pub mounts: Vec<Mount>,
    /// Where the network ends.
    pub network: Network,
    /// The name of the machine, as the application sees it.
    pub hostname: String,
    /// What may be used at most.
    pub bounds: Bounds,
    /// The tree that observers see, where that is not the application's. Only where there is a mount namespace.
    pub observers: Option<ObserverTree>,
    /// What the plan leaves out, each a sentence.
    pub warnings: Vec<String>,
}

/// A file or directory of the host that the application may use (`-v HOST:CONTAINER[:ro]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// On the host, absolute.
    pub source: PathBuf,
    /// In the sandbox.
    pub target: ImagePath,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What a caller may choose about a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Which step of the ladder.
    pub rung: Rung,
    /// Where what is written goes.
    pub upper: Upper,
    /// Where the network ends.
    pub network: Network,
    /// The name of the machine; also in `/etc/hosts` and `/etc/hostname`.
    pub hostname: String,
    /// `-v`.
    pub volumes: Vec<Volume>,
    /// `--tmpfs`.
    pub tmpfs: Vec<ImagePath>,
    /// The content of `/etc/resolv.conf`. With a private network nothing answers, whatever it says.
    pub resolv_conf: Vec<u8>,
    /// Further lines for `/etc/hosts`: address and name.
    pub hosts: Vec<(std::net::IpAddr, String)>,
    /// What may be used at most.
    pub bounds: Bounds,
}

impl Choices {
    /// All namespaces, a private network, no volumes, everything written to `upper`.
    pub fn new(upper: Upper) -> Self {
        let rung = match upper {
            Upper::Dir(_) => Rung::A,
            Upper::Tmpfs => Rung::B,
        };
        Choices {
            rung,
            upper,
            network: Network::Private,
            hostname: "scrimp".into(),
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            resolv_conf: b"nameserver 127.0.0.1\n".to_vec(),
            hosts: Vec::new(),
            bounds: Bounds::default(),
        }
    }
}

impl SandboxPlan {
    /// The sandbox of an unpacked image: `lower` is its tree, without mounts below it.
    pub fn for_tree(lower: &Path, choices: &Choices) -> Self {
        let root = RootPlan::Overlay { lower: lower.into(), upper: choices.upper.clone() };
        Self::assemble(root, Vec::new(), choices, Vec::new())
    }

    /// Puts what every container gets on top of `root` and `mounts`.
    pub(super) fn assemble(
        root: RootPlan,
        mut mounts: Vec<Mount>,
        choices: &Choices,
        warnings: Vec<String>,
    ) -> SandboxPlan {
        mounts.extend(container::mounts(choices));
        let mut namespaces = BTreeSet::new();
        if choices.rung.has_namespaces() {
            namespaces.extend([Namespace::Mount, Namespace::Ipc, Namespace::Uts, Namespace::Cgroup]);
        }
        if choices.rung.has_pid_namespace() {
            namespaces.insert(Namespace::Pid);
        }
        if choices.network == Network::Private {
            namespaces.insert(Namespace::Network);
        }
        SandboxPlan {
            rung: choices.rung,
            namespaces,
            root,
            mounts,
            network: choices.network,
            hostname: choices.hostname.clone(),
            bounds: choices.bounds.clone(),
            observers: None,
            warnings,
        }
    }

    /// The sandbox without namespaces: a copy of `from` in the empty directory `to`, without what lies in `without`.
    /// The network is the caller's.
    pub fn for_copy(from: &Path, to: &Path, without: Vec<PathBuf>, choices: &Choices) -> Self {
        let root = RootPlan::Copy { from: from.into(), to: to.into(), without };
        let choices = Choices { network: Network::Host, rung: Rung::D, ..choices.clone() };
        Self::assemble(root, Vec::new(), &choices, Vec::new())
    }

    /// No sandbox at all: the host as it is.
    pub fn in_place(bounds: Bounds) -> Self {
        SandboxPlan {
            rung: Rung::E,
            namespaces: BTreeSet::new(),
            root: RootPlan::InPlace,
            mounts: Vec::new(),
            network: Network::Host,
            hostname: String::new(),
            bounds,
            observers: None,
            warnings: Vec::new(),
        }
    }

    /// The paths that the sandbox itself put something at: what the application did there says nothing about the base.
    /// Everything below a path of this list counts too, unless the plan mounts a part of the base there.
    pub fn mount_points(&self) -> Vec<ImagePath> {
        let own = self.mounts.iter().filter(|m| !m.of_base);
        let mut paths: BTreeSet<ImagePath> = own.map(|m| m.at.clone()).collect();
        if self.root == RootPlan::InPlace {
            // They show the machine, which is no part of any image either.
            paths.extend(["/dev", "/proc", "/sys"].into_iter().filter_map(|at| ImagePath::parse(at).ok()));
        }
        paths.into_iter().collect()
    }

    /// The mounts that process 1 of the sandbox has to make.
    pub(super) fn inside_mounts(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(|m| self.is_inside(m))
    }

    /// The mounts that can be made before there is a process 1.
    pub(super) fn outside_mounts(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(|m| !self.is_inside(m))
    }

    fn is_inside(&self, mount: &Mount) -> bool {
        self.namespaces.contains(&Namespace::Pid) && mount.at.components().next() == Some(b"proc")
    }
}

/// Several of [`host_path`].
mod host_paths {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super::host_path")] PathBuf);

    pub fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| One(path.clone())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(Vec::<One>::deserialize(deserializer)?.into_iter().map(|One(path)| path).collect())
    }
}

/// Paths of the host in JSON: text as [`crate::base::escape_bytes`] writes it, so that no name is lost.
mod host_path {
    use std::borrow::Cow;
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::base::{escape_bytes, unescape_bytes};

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape_bytes(path.as_os_str().as_bytes()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = unescape_bytes(&text).ok_or_else(|| D::Error::custom("a bad escape in a path"))?;
        Ok(OsString::from_vec(bytes.into_owned()).into())
    }
}
