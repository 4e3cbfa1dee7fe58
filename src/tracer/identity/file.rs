//! What the kernel's decisions need to know of a file: whose it is, its mode, and its capabilities
//! (Linux: `linux/capability.h`, `get_vfs_caps_from_disk` in `security/commoncap.c`).

use super::capability::ALL_CAPABILITIES;

const REVISION: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const EFFECTIVE: u32 = 1;

/// Whose a file is and what it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type (`S_IFMT`) and permission bits with setuid, setgid and sticky, as in `st_mode`.
    pub mode: u32,
    /// Of its `security.capability` attribute.
    pub capabilities: Option<FileCapabilities>,
}

impl FileIdentity {
    /// A file without capabilities.
    pub fn new(uid: u32, gid: u32, mode: u32) -> FileIdentity {
        FileIdentity { uid, gid, mode, capabilities: None }
    }

    pub(super) fn is(&self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }

    pub(super) fn is_dir(&self) -> bool {
        self.is(libc::S_IFDIR)
    }

    pub(super) fn is_regular(&self) -> bool {
        self.is(libc::S_IFREG)
    }

    /// Its capabilities, unless they are for the root of another user namespace.
    pub(super) fn own_capabilities(&self) -> Option<FileCapabilities> {
        self.capabilities.filter(|c| c.root_id.is_none_or(|root| root == 0))
    }
}

/// The capabilities that a program gets on exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCapabilities {
    /// What it gets as far as the bounding set allows.
    pub permitted: u64,
    /// What it keeps of the process's inheritable set.
    pub inheritable: u64,
    /// Whether all it gets is effective at once.
    pub effective: bool,
    /// Of version 3: the root of the user namespace in which they count. `None`: version 2.
    pub root_id: Option<u32>,
}

impl FileCapabilities {
    /// Reads the value of `security.capability`: version 2 or 3, little endian. `None` for anything else (an exec of
    /// such a file fails with EINVAL).
    pub fn parse(value: &[u8]) -> Option<FileCapabilities> {
        let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
        let set = |at: usize| Some((u64::from(word(at)?) | u64::from(word(at + 8)?) << 32) & ALL_CAPABILITIES);
        let magic = word(0)?;
        let root_id = match (magic & REVISION, value.len()) {
            (REVISION_2, 20) => None,
            (REVISION_3, 24) => Some(word(20)?),
            _ => return None,
        };
        Some(FileCapabilities { permitted: set(4)?, inheritable: set(8)?, effective: magic & EFFECTIVE != 0, root_id })
    }

    /// The value of `security.capability`: version 3 with a root id, else 2.
    pub fn encode(&self) -> Vec<u8> {
        let revision = if self.root_id.is_some() { REVISION_3 } else { REVISION_2 };
        let [permitted, inheritable] = [self.permitted, self.inheritable].map(|set| [set as u32, (set >> 32) as u32]);
        let mut words = vec![revision | u32::from(self.effective)];
        words.extend([permitted[0], inheritable[0], permitted[1], inheritable[1]]);
        words.extend(self.root_id);
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}
