//! Which file a command is.

use std::ffi::{CString, OsString};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::base::{Shebang, escape_bytes};
use crate::sandbox::build::place;
use crate::sandbox::process::spawn::check;
use crate::sandbox::process::{ProcessSpec, SpawnError};

/// Interpreters of interpreters that the kernel follows.
const MAX_INTERPRETERS: usize = 5;

/// The file to execute, by the name it was asked for under: the command itself when it has a slash, otherwise the
/// first match along PATH.
pub(super) fn find_executable(spec: &ProcessSpec) -> Result<PathBuf, SpawnError> {
    let command = spec.argv.first().map(Vec::as_slice).unwrap_or_default();
    let shown = || escape_bytes(command).into_owned();
    let (mut denied, mut door) = (None, None);
    for candidate in candidates(command, spec.search_path()) {
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = denied.or(Some(candidate)),
            Err(Errno::ELOOP) => door = door.or(Some(candidate)),
            // Neither is a reason to look no further.
            Err(_) => {}
        }
    }
    if let Some(found) = denied {
        let command = escape_bytes(found.as_os_str().as_bytes()).into_owned();
        return Err(SpawnError::NotExecutable { command, uid: spec.uid });
    }
    if let Some(found) = door {
        let found = escape_bytes(found.as_os_str().as_bytes()).into_owned();
        let hint = format!("{found}, or its interpreter, leads through links without end, or of /proc to an open file");
        return Err(SpawnError::NotFound { command: shown(), hint });
    }
    let hint = match command.contains(&b'/') {
        true => format!("no file is there, seen from {}", escape_bytes(&spec.cwd)),
        false => format!("it is in none of the directories of PATH, {}", escape_bytes(spec.search_path())),
    };
    Err(SpawnError::NotFound { command: shown(), hint })
}

fn candidates(command: &[u8], path: &[u8]) -> Vec<PathBuf> {
    let as_path = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    if command.is_empty() {
        return Vec::new();
    }
    if command.contains(&b'/') {
        return vec![as_path(command)];
    }
    let in_dir = |dir: &[u8]| match dir {
        b"" => [b"./", command].concat(),
        dir => [dir, b"/", command].concat(),
    };
    path.split(|&b| b == b':').map(|dir| as_path(&in_dir(dir))).collect()
}

/// Whether the effective user may execute this regular file. One that is open in a process is none: `/proc/self/exe` is
/// scrimp itself here, for a script, too, that names it as its interpreter.
fn executable(path: &Path) -> nix::Result<()> {
    place::find(path)?;
    let mut interpreter = interpreter(path);
    for _ in 0..MAX_INTERPRETERS {
        let Some(path) = interpreter else { break };
        if let Err(errno @ Errno::ELOOP) = place::find(&path) {
            return Err(errno);
        }
        interpreter = self::interpreter(&path);
    }
    let stat = nix::sys::stat::stat(path)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EACCES);
    }
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path is a NUL-terminated string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
}

/// What the kernel executes for the script at `path` (`execve(2)`); `None` for what is no script. One that may not be
/// read says nothing here, and the kernel lets nobody look at the process that executes it.
fn interpreter(path: &Path) -> Option<PathBuf> {
    // A FIFO would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut beginning = Vec::new();
    file.take(Shebang::LONGEST as u64).read_to_end(&mut beginning).ok()?;
    Some(PathBuf::from(OsString::from_vec(Shebang::parse(&beginning)?.interpreter)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Such a script once ran the binary of scrimp in sight of the application, which could then open it for writing.
    #[test]
    fn no_script_has_scrimp_as_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/proc/self/exe", dir.path().join("link")).unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (name, text, expected) in [
            ("plain", "#!/bin/sh\n".to_owned(), Ok(())),
            ("program", "\x7fELF".into(), Ok(())),
            ("absent", "#!/no/such/interpreter".into(), Ok(())),
            ("own", "#!/proc/self/exe\n".into(), Err(Errno::ELOOP)),
            ("spaces", "#! \t/proc/self/exe -x".into(), Err(Errno::ELOOP)),
            ("linked", format!("#!{}\n", at("link")), Err(Errno::ELOOP)),
            ("nested", format!("#!{} x\n", at("own")), Err(Errno::ELOOP)),
            ("endless", format!("#!{}\n", at("endless")), Ok(())),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(executable(&path), expected, "{name}");
        }
    }

    #[test]
    fn commands_are_looked_for_as_a_shell_does() {
        let shown = |command: &str, path: &str| {
            let found = candidates(command.as_bytes(), path.as_bytes());
            found.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("sh", "/usr/bin:/bin"), "/usr/bin/sh /bin/sh");
        assert_eq!(shown("sh", "/a/::."), "/a//sh ./sh ./sh");
        assert_eq!(shown("./run", "/bin"), "./run");
        assert_eq!(shown("/bin/sh", "/bin"), "/bin/sh");
        assert_eq!(shown("", "/bin"), "");
    }

    #[test]
    fn the_last_path_of_an_environment_counts() {
        let mut spec = ProcessSpec::new(Vec::new());
        assert!(spec.search_path().starts_with(b"/usr/local/sbin:"));
        spec.env = vec![b"PATH=/a".to_vec(), b"PATHS=/b".to_vec(), b"PATH=/c".to_vec()];
        assert_eq!(spec.search_path(), b"/c");
    }

    #[test]
    fn what_may_be_executed_is_a_regular_file() {
        assert_eq!(executable(Path::new("/bin")), Err(Errno::EACCES));
        assert_eq!(executable(Path::new("/bin/no such file")), Err(Errno::ENOENT));
        executable(&std::env::current_exe().unwrap()).unwrap();
    }
}
