//! The memory of a stopped tracee.
//!
//! Addresses come from the application and may be anything: what cannot be read is `None`. Mostly that is EFAULT, and
//! then between the application and the kernel; but a process can also be closed to its tracer ([`is_closed`]), and
//! then the call goes on with what nobody has seen.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Longest path the kernel takes, with its NUL (`linux/limits.h`).
const PATH_MAX: usize = 4096;
/// Few paths are longer than this, so that one read is enough.
const FIRST_READ: usize = 256;
const PAGE: u64 = 4096;

/// Reads the NUL-terminated string at `address` into `out`, without the NUL. `None` when it is not readable or longer
/// than a path may be; the call fails then.
pub fn read_path(task: i32, address: u64, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let mut want = FIRST_READ;
    while out.len() < PATH_MAX {
        let have = out.len();
        out.resize(PATH_MAX.min(have + want), 0);
        let n = read_some(task, address.checked_add(have as u64)?, &mut out[have..])?;
        out.truncate(have + n);
        if let Some(end) = out[have..].iter().position(|&b| b == 0) {
            out.truncate(have + end);
            return Some(());
        }
        want = PATH_MAX;
    }
    None
}

/// Fills `out` from `address`; `None` unless all of it can be read.
pub fn read_exact(task: i32, address: u64, out: &mut [u8]) -> Option<()> {
    let mut done = 0;
    while done < out.len() {
        done += read_some(task, address.checked_add(done as u64)?, &mut out[done..])?;
    }
    Some(())
}

/// Reads a word of the tracee, little endian.
pub fn read_word(task: i32, address: u64) -> Option<u64> {
    let mut word = [0; 8];
    read_exact(task, address, &mut word)?;
    Some(u64::from_le_bytes(word))
}

/// Writes a word; `None` when that is impossible.
pub fn write_word(task: i32, address: u64, word: u64) -> Option<()> {
    // This file can write also where the application itself cannot.
    let memory = File::options().write(true).open(format!("/proc/{task}/mem")).ok()?;
    memory.write_all_at(&word.to_le_bytes(), address).ok()
}

/// Writes `bytes` at `address`, as the kernel does for a call: where the application may not write, it fails. `None`
/// unless all of it was written.
pub fn write_exact(task: i32, address: u64, bytes: &[u8]) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: bytes.len() };
    // SAFETY: the kernel reads `bytes.len()` bytes of `bytes`; the remote address is the tracee's.
    let n = unsafe { libc::process_vm_writev(task, &local, 1, &remote, 1, 0) };
    if n >= 0 {
        return (n as usize == bytes.len()).then_some(());
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EFAULT) => None,
        // A sandbox around scrimp may forbid the call.
        _ => {
            let memory = File::options().write(true).open(format!("/proc/{task}/mem")).ok()?;
            memory.write_all_at(bytes, address).ok()
        }
    }
}

/// Whether `address` of a stopped task could not be read because this process may not look into it. Without
/// CAP_SYS_PTRACE over its user namespace that is so for a process whose program its user may execute and not read, and
/// for one that asked for it (`PR_SET_DUMPABLE`, `ptrace(2)`).
pub fn is_closed(task: i32, address: u64) -> bool {
    let mut byte = 0u8;
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: 1 };
    // SAFETY: the kernel writes at most one byte, into `byte`; the remote address is the tracee's.
    let read = unsafe { libc::process_vm_readv(task, &local, 1, &remote, 1, 0) };
    let refused = std::io::Error::last_os_error().raw_os_error();
    read < 0
        && matches!(refused, Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
        && File::open(format!("/proc/{task}/mem")).is_err()
}

/// Reads at least one byte, and as many as there are before a page that cannot be read.
fn read_some(task: i32, address: u64, out: &mut [u8]) -> Option<usize> {
    // A page is read whole or not at all, per piece: so one piece up to the page's end and one for what follows. What
    // `out` can hold beyond a second page is read, too, when all of it is there.
    let first = usize::try_from(PAGE - address % PAGE).ok()?.min(out.len());
    let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    let remote = [
        libc::iovec { iov_base: address as *mut _, iov_len: first },
        libc::iovec { iov_base: address.wrapping_add(first as u64) as *mut _, iov_len: out.len() - first },
    ];
    // SAFETY: the kernel writes at most `out.len()` bytes, into `out`; the remote addresses are the tracee's.
    let n = unsafe { libc::process_vm_readv(task, &local, 1, remote.as_ptr(), 2, 0) };
    if n > 0 {
        return Some(n as usize);
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EFAULT) => None,
        // A sandbox around scrimp may forbid the call.
        _ => {
            let memory = File::open(format!("/proc/{task}/mem")).ok()?;
            memory.read_at(&mut out[..first], address).ok().filter(|&n| n > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, through the same door.
    fn own() -> i32 {
        std::process::id() as i32
    }

    /// `pages` readable pages and one after them that is not.
    fn mapping(pages: usize) -> &'static mut [u8] {
        let len = pages * PAGE as usize;
        // SAFETY: a new private mapping; nothing else knows it.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + PAGE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: inside the mapping just made.
        assert_eq!(unsafe { libc::mprotect(start.byte_add(len), PAGE as usize, libc::PROT_NONE) }, 0);
        // SAFETY: mapped above, never unmapped.
        unsafe { std::slice::from_raw_parts_mut(start.cast(), len) }
    }

    #[test]
    fn strings_end_where_they_end() {
        let mut out = Vec::new();
        let area = mapping(2);
        let end = area.as_ptr() as u64 + area.len() as u64;
        for (text, name) in [
            (b"/short".to_vec(), "before the end of the mapping"),
            (vec![b'x'; 300], "longer than one read"),
            (vec![b'x'; PATH_MAX - 1], "longest, over a page boundary"),
            (Vec::new(), "empty"),
        ] {
            let at = area.len() - text.len() - 1;
            area[at..at + text.len()].copy_from_slice(&text);
            area[at + text.len()] = 0;
            assert_eq!(read_path(own(), end - text.len() as u64 - 1, &mut out), Some(()), "{name}");
            assert_eq!(out, text, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_there() {
        let area = mapping(2);
        let start = area.as_ptr() as u64;
        assert_eq!(write_exact(own(), start + 4094, b"over"), Some(()));
        assert_eq!(&area[4093..4099], b"\0over\0");
        assert_eq!(write_exact(own(), start + 8190, b"over"), None);
        assert_eq!(write_exact(own(), 0, b"over"), None);
        assert_eq!(write_exact(own(), 0, b""), Some(()));
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let mut out = Vec::new();
        let area = mapping(2);
        area.fill(b'x');
        let start = area.as_ptr() as u64;
        for (address, name) in [
            (0, "NULL"),
            (u64::MAX - 3, "the end of all addresses"),
            (start, "too long"),
            (start + 8000, "no end before the mapping's"),
            (start + 8192, "not readable"),
        ] {
            assert_eq!(read_path(own(), address, &mut out), None, "{name}");
        }
    }
}
