//! The program that a supervisor executes: a copy of scrimp in memory that nobody can write.
//!
//! A child of the supervisor is scrimp until it executes the application's command. What it executes is looked up in
//! the application's tree, and between the look and the `execve` the application can put a link to `/proc/self/exe`
//! there, for the command or for the interpreter of a script. The process then *is* scrimp in the application's sight,
//! with the application's ids, and `/proc/PID/exe` is a way to its binary: the attack of CVE-2019-5736. No check closes
//! the gap, so there is nothing behind it: `/proc/self/exe` is a sealed copy (`memfd_create(2)`), which is as public as
//! scrimp is, and lives as long as this process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use goblin::elf::program_header::PT_LOAD;
use goblin::elf::{Elf, ProgramHeader};
use goblin::elf64::header::SIZEOF_EHDR;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// This process's program, as whoever executes it sees it.
pub const OWN: &str = "/proc/self/exe";

/// The copy, or why there is none.
static COPY: OnceLock<Result<File, String>> = OnceLock::new();
/// Whether something has been executed from the copy.
static WORKS: AtomicBool = AtomicBool::new(false);

/// Executes scrimp from a copy that nobody can write. `prepare` says everything but the program, once for each attempt.
/// Where the machine allows no such copy it is executed from its own file, and a sentence says so.
pub fn start(prepare: impl Fn(&mut Command) -> io::Result<()>) -> io::Result<(Child, Option<String>)> {
    let spawn = |program: &str| {
        let mut command = Command::new(program);
        prepare(&mut command)?;
        command.spawn()
    };
    let why = match COPY.get_or_init(copy) {
        Ok(copy) => match spawn(&format!("/proc/self/fd/{}", copy.as_raw_fd())) {
            Ok(child) => {
                WORKS.store(true, Ordering::Relaxed);
                return Ok((child, None));
            }
            // A security module may let nothing be executed from memory. Once something was, it is an application that
            // has changed the mode, and must not get more by it.
            Err(cause) if is_refusal(&cause) && !WORKS.load(Ordering::Relaxed) => {
                format!("cannot execute a copy in memory: {cause}")
            }
            Err(cause) => return Err(cause),
        },
        Err(why) => why.clone(),
    };
    let warning = format!(
        "scrimp's own program file is not out of the application's reach ({why}): an application that is out to attack, and has \
         the right to write that file, could\nhint: run images that you do not trust as a user who may not write it"
    );
    Ok((spawn(OWN)?, Some(warning)))
}

fn is_refusal(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error().map(Errno::from_raw), Some(Errno::EACCES | Errno::EPERM))
}

/// Copies what the kernel maps of this program, and seals it.
fn copy() -> Result<File, String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |cause: io::Error| format!("cannot {what}: {cause}")
    };
    let mut own = File::open(OWN).map_err(failed("open it"))?;
    let length = loaded(&mut own).map_err(failed("read it"))?;
    own.seek(SeekFrom::Start(0)).map_err(failed("read it"))?;
    let mut copy = make().map_err(|errno| failed("make a copy in memory")(errno.into()))?;
    io::copy(&mut own.take(length), &mut copy).map_err(failed("make a copy in memory"))?;
    seal(&copy).map_err(|errno| failed("seal a copy in memory")(errno.into()))?;
    Ok(copy)
}

fn make() -> nix::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // The sysctl vm.memfd_noexec takes the right to execute away where it is not asked for. Linux 6.3 knows the flag.
    let made = match memfd_create(c"scrimp", flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        Err(Errno::EINVAL) => memfd_create(c"scrimp", flags),
        other => other,
    };
    Ok(File::from(made?))
}

fn seal(copy: &File) -> nix::Result<()> {
    fchmod(copy, Mode::from_bits_truncate(0o555))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    // From Linux 6.3 on, the right to execute cannot be taken away either.
    match fcntl(copy, FcntlArg::F_ADD_SEALS(seals | SealFlag::from_bits_retain(libc::F_SEAL_EXEC))) {
        Err(Errno::EINVAL) => fcntl(copy, FcntlArg::F_ADD_SEALS(seals))?,
        other => other?,
    };
    fcntl(copy, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SEAL)).map(drop)
}

/// Up to where the program is mapped, in bytes: behind that are symbols and what debuggers read, often most of the
/// file.
fn loaded(program: &mut File) -> io::Result<u64> {
    let whole = program.metadata()?.len();
    let mut beginning = Vec::new();
    program.take(1 << 16).read_to_end(&mut beginning)?;
    let headers = || -> goblin::error::Result<Vec<ProgramHeader>> {
        let header = Elf::parse_header(&beginning[..beginning.len().min(SIZEOF_EHDR)])?;
        let context = goblin::container::Ctx::new(header.container()?, header.endianness()?);
        ProgramHeader::parse(&beginning, header.e_phoff as usize, header.e_phnum.into(), context)
    };
    let headers = headers().map_err(io::Error::other)?;
    let ends = headers.iter().filter(|header| header.p_type == PT_LOAD);
    let end = ends.map(|header| header.p_offset.saturating_add(header.p_filesz)).max();
    Ok(end.map_or(whole, |end| end.min(whole)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    #[test]
    fn the_copy_is_this_program_and_cannot_be_changed() {
        let copy = copy().unwrap();
        let length = copy.metadata().unwrap().len();
        let mut expected = vec![0; length as usize];
        File::open(OWN).unwrap().read_exact_at(&mut expected, 0).unwrap();
        let mut text = vec![0; length as usize];
        copy.read_exact_at(&mut text, 0).unwrap();
        assert!(text == expected && length > 1 << 20, "{length}");
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        // Root may open it for writing, and that is all.
        let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error().map(Errno::from_raw);
        assert_eq!(errno(copy.write_at(b"x", 0).map(drop)), Some(Errno::EPERM));
        assert_eq!(errno(copy.set_len(0)), Some(Errno::EPERM));
        assert_eq!(errno(copy.set_len(length + 1)), Some(Errno::EPERM));
        assert_eq!(fcntl(&copy, FcntlArg::F_ADD_SEALS(SealFlag::empty())), Err(Errno::EPERM));
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o555);
    }
}
