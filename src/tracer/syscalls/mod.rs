//! The one table of system calls: what is traced, where the arguments name a path, and what that means.
//!
//! The filter, the decoder and the documentation come from [`TABLE`]; a call that is missing here is not seen. Numbers
//! are those of `arch/x86/entry/syscalls/syscall_64.tbl` and `syscall_32.tbl` of Linux 6.18, written out because the
//! newest are in no library yet. Both architectures share a row: arguments have the same places unless the row says
//! so by being there twice. Numbers of aarch64 are in `aarch64`; why a call is not here is in `census`.

mod table;

use super::aarch64;
use crate::observation::Operation;
pub use table::TABLE;

/// No number: the architecture does not have the call.
pub const NONE: u32 = u32::MAX;

/// One system call.
pub struct Call {
    /// Its name, as in the manual.
    pub name: &'static str,
    /// Its number on x86_64.
    pub x86_64: u32,
    /// Its number on i386.
    pub i386: u32,
    /// What it does.
    pub action: Action,
    /// Which of its uses are stopped.
    pub when: When,
}

/// What a call does, as far as it matters here. Numbers are argument indices.
pub enum Action {
    /// It names paths.
    Paths(&'static [Place]),
    /// It replaces the program by the one at a path.
    Exec(Place),
    /// It changes to the directory of a descriptor.
    Fchdir,
    /// It changes the file of a descriptor that need not have been opened for writing.
    Descriptor { operation: Operation, effect: Effect },
    /// It gives a socket an address, or uses one: `(descriptor, address, length)`.
    Address { operation: Operation, address: u8, length: u8 },
    /// `listen`.
    Listen,
    /// It sends a `struct msghdr`, or an array of `struct mmsghdr`.
    Message,
    /// i386's multiplexer of the socket calls.
    SocketCall,
    /// `fork` and `vfork`.
    Fork,
    /// `clone`: flags in an argument.
    Clone,
    /// `clone3`: flags in memory.
    Clone3,
    /// `unshare`.
    Unshare,
    /// `setns`.
    Setns,
    /// `fsconfig`: names a path for two of its commands.
    Fsconfig,
    /// `bpf`: names a path for two of its commands, in a structure.
    Bpf,
    /// `perf_event_open`: names the file of a uprobe, in a structure.
    PerfEvent,
    /// `ptrace`: fails for who is traced already, and does not go unsaid.
    Ptrace,
    /// It may give a number to a directory that is open already, or has no path.
    Number,
    /// After it descriptors may arrive by message: `socketpair`, `pidfd_getfd`, `fanotify_init`, and options of sockets.
    Receive,
    /// `close_range`, where it gives the task a table of descriptors of its own.
    CloseRange,
    /// `seccomp` with a listener, whose calls are answered before the tracer could see them.
    Seccomp,
    /// It reads the CPUs on which a task may run, or depends on them.
    Affinity,
    /// It changes them.
    SetAffinity,
    /// It asks for or changes ids, or is about a file or process whose owner counts; stopped only for the sake of
    /// virtual identities, which know it by its name.
    Identity,
    /// It is answered with ENOSYS, because what follows it cannot be seen; the gap has this name.
    Refuse(&'static str),
    /// It goes on, but what it opens cannot be seen; the gap has this name.
    Blind(&'static str),
}

/// An argument that names a path.
#[derive(Clone, Copy)]
pub struct Place {
    /// What the call does to it.
    pub operation: Operation,
    /// The argument with the directory's descriptor; `None` for the current directory.
    pub dir: Option<u8>,
    /// The argument with the address of the path.
    pub path: u8,
    /// What happens to a link in its last component, and to an empty path.
    pub last: Last,
    /// What the call changes there.
    pub effect: Effect,
}

/// What decides whether a link in the last component is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is.
    Follow,
    /// It is not.
    Keep,
    /// It is not, and an empty path means the descriptor: `readlinkat`.
    KeepOrEmpty,
    /// `open` flags: O_NOFOLLOW, and O_CREAT with O_EXCL.
    Open(u8),
    /// The address of a `struct open_how`.
    OpenHow(u8),
    /// `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH`.
    At(u8),
    /// The same, and NULL means the descriptor whatever the flags: `futimens`.
    AtOrNull(u8),
    /// `AT_SYMLINK_FOLLOW` and `AT_EMPTY_PATH`.
    AtFollow(u8),
    /// It is followed, and NULL means the descriptor.
    FollowOrNull,
    /// It is kept when any of these bits is set.
    KeepIf(u8, u32),
    /// It is followed when the second mask is set; an empty path is the descriptor when the third is.
    FollowIf(u8, u32, u32),
    /// It is followed; the argument may be something else than a path, which then does not begin with a slash.
    FollowAbsolute,
}

/// What a call changes in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The content of a file, and with it its times and set-id bits.
    Content,
    /// Mode, owner, times, attributes, or how many names it has.
    Metadata,
    /// There may be something where nothing was.
    Create,
    /// The same, and what is there already may be written.
    CreateOrWrite,
    /// There may be nothing, or something else, where a file or an empty directory was.
    Replace,
    /// The same, also where a directory was that is not empty.
    Move,
    /// The target of a rename: [`Effect::Move`] when this argument has RENAME_EXCHANGE, else [`Effect::Replace`].
    Target(u8),
    /// Anything may be anywhere.
    Mount,
    /// The current or the root directory of the process.
    Directory,
}

impl Effect {
    /// Whether every later look-up finds the same names.
    pub fn keeps_names(self) -> bool {
        matches!(self, Effect::None | Effect::Content | Effect::Metadata)
    }
}

/// Which uses of a call are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// All but what glibc, musl and Rust do for `fstat`: flags exactly AT_EMPTY_PATH with a real descriptor. In exact
    /// mode all but those with a NULL path.
    NotFstat { fd: u8, path: u8, flags: u8 },
    /// All where tasks are counted, otherwise none.
    Counted,
    /// All where tasks are counted, otherwise those with this bit set in the low half of the argument.
    CountedOrBit { argument: u8, bit: u32 },
    /// Those whose argument is not NULL.
    NotNull { argument: u8 },
    /// Those with this bit set in the low half of the argument.
    Bit { argument: u8, bit: u32 },
    /// All in exact mode, otherwise none.
    Exact,
    /// All when a [`Witness`](super::Witness) is told of changes or with virtual identities, otherwise none.
    WitnessedOrIdentity,
    /// All with virtual identities, otherwise none.
    Identity,
    /// Those with one of these two values in the low half of the argument.
    Either { argument: u8, values: [u32; 2] },
    /// With virtual identities those with one of these two values in the low half of the argument.
    IdentityEither { argument: u8, values: [u32; 2] },
    /// Those with at least this in the low half of the argument.
    AtLeast { argument: u8, least: u32 },
}

const fn at(operation: Operation, dir: u8, path: u8, last: Last) -> Place {
    Place { operation, dir: Some(dir), path, last, effect: Effect::None }
}

const fn cwd(operation: Operation, path: u8, last: Last) -> Place {
    Place { operation, dir: None, path, last, effect: Effect::None }
}

impl Place {
    const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

const fn paths(name: &'static str, x86_64: u32, i386: u32, places: &'static [Place]) -> Call {
    Call { name, x86_64, i386, action: Action::Paths(places), when: When::Always }
}

const fn other(name: &'static str, x86_64: u32, i386: u32, action: Action) -> Call {
    Call { name, x86_64, i386, action, when: When::Always }
}

const fn identity(name: &'static str, x86_64: u32, i386: u32) -> Call {
    Call { name, x86_64, i386, action: Action::Identity, when: When::Identity }
}

impl Call {
    const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }
}

/// `CLONE_UNTRACED`: the child is not traced. With the filter and without a tracer each of its calls would fail.
pub const CLONE_UNTRACED: u64 = 0x0080_0000;

/// The architecture of a call, as the kernel reports it (`linux/audit.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `AUDIT_ARCH_X86_64`.
    X86_64,
    /// `AUDIT_ARCH_I386`: 32-bit programs, and `int 0x80` in any.
    I386,
    /// `AUDIT_ARCH_AARCH64`.
    Aarch64,
}

impl Architecture {
    /// Those of the machine this program is made for; the first one is its own.
    #[cfg(target_arch = "x86_64")]
    pub const HERE: &[Architecture] = &[Architecture::X86_64, Architecture::I386];
    /// Those of the machine this program is made for.
    #[cfg(target_arch = "aarch64")]
    pub const HERE: &[Architecture] = &[Architecture::Aarch64];

    /// The value of `linux/audit.h`.
    pub const fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 => 0xc000_003e,
            Architecture::I386 => 0x4000_0003,
            Architecture::Aarch64 => 0xc000_00b7,
        }
    }

    /// The number of `call` here, if it has one.
    pub fn number(self, call: &Call) -> Option<u32> {
        let number = match self {
            Architecture::X86_64 => call.x86_64,
            Architecture::I386 => call.i386,
            Architecture::Aarch64 => aarch64::number(call),
        };
        (number != NONE).then_some(number)
    }
}

/// Finds calls by number.
pub struct Index([Vec<Option<&'static Call>>; 3]);

impl Index {
    /// The index of [`TABLE`].
    pub fn new() -> Self {
        let by_number = |architecture: Architecture| {
            let mut calls = Vec::new();
            for call in TABLE {
                if let Some(number) = architecture.number(call) {
                    let number = number as usize;
                    calls.resize(calls.len().max(number + 1), None);
                    calls[number] = Some(call);
                }
            }
            calls
        };
        Index([Architecture::X86_64, Architecture::I386, Architecture::Aarch64].map(by_number))
    }

    /// The call with this number.
    pub fn get(&self, architecture: Architecture, number: u64) -> Option<&'static Call> {
        let calls = &self.0[architecture as usize];
        *calls.get(usize::try_from(number).ok()?)?
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn header(path: &str) -> BTreeMap<String, u32> {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}; install linux-libc-dev"));
        let number = |line: &str| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((name.to_string(), number.trim().parse().ok()?))
        };
        text.lines().filter_map(number).collect()
    }

    #[test]
    fn numbers_are_those_of_the_kernel_headers() {
        for (architecture, file) in [(Architecture::X86_64, "unistd_64.h"), (Architecture::I386, "unistd_32.h")] {
            let known = header(&format!("/usr/include/x86_64-linux-gnu/asm/{file}"));
            let newest = *known.values().max().unwrap();
            for call in TABLE {
                let Some(number) = architecture.number(call) else { continue };
                match known.get(call.name) {
                    Some(&expected) => assert_eq!(number, expected, "{} in {file}", call.name),
                    None => assert!(number > newest, "{} is not in {file}", call.name),
                }
            }
        }
    }

    #[test]
    fn no_number_is_there_twice() {
        for architecture in [Architecture::X86_64, Architecture::I386, Architecture::Aarch64] {
            let mut numbers: Vec<u32> = TABLE.iter().filter_map(|c| architecture.number(c)).collect();
            numbers.sort_unstable();
            let all = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), all);
        }
    }

    #[test]
    fn the_index_finds_what_the_table_has() {
        let index = Index::new();
        assert_eq!(index.get(Architecture::X86_64, 257).unwrap().name, "openat");
        assert_eq!(index.get(Architecture::I386, 5).unwrap().name, "open");
        assert_eq!(index.get(Architecture::Aarch64, 56).unwrap().name, "openat");
        assert!(index.get(Architecture::X86_64, 0).is_none());
        assert!(index.get(Architecture::X86_64, u64::MAX).is_none());
    }
}
