//! What a container runtime reads or needs before and while the application runs, which no trace of the application
//! shows: the user database, the working directory, volumes and mount points.

use crate::base::ImagePath;
use crate::closure::execution::Execution;
use crate::closure::kept::Kept;
use crate::closure::{ClosureError, Level, Reason, Requirements};
use crate::image::{ImageConfig, Rootfs};
use crate::observation::Observation;

const PASSWD: &[u8] = b"/etc/passwd";
const GROUP: &[u8] = b"/etc/group";

/// Directories that a runtime mounts over, and those that programs take for granted. They cost nothing, and a
/// read-only container cannot make them.
const TAKEN_FOR_GRANTED: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"];

/// Requires what the runtime needs.
pub(super) fn require(
    kept: &mut Kept<'_>,
    rootfs: &Rootfs,
    execution: &Execution,
    level: Level,
) -> Result<(), ClosureError> {
    let user = User::of(rootfs, execution)?;
    for other in &execution.other_users {
        User::of(rootfs, &execution.as_user(other))?.require(kept)?;
    }
    user.require(kept)?;
    let mut directories = vec![execution.working_dir.clone()];
    directories.extend(execution.volumes.iter().map(|volume| volume.as_bytes().to_vec()));
    if level >= Level::Closure {
        directories.extend(user.home);
        directories.extend(execution.variable("HOME").map(|home| execution.absolute(home.as_bytes())));
        directories.extend(TAKEN_FOR_GRANTED.iter().map(|directory| directory.as_bytes().to_vec()));
    }
    for directory in directories {
        let walk = rootfs.resolve(&directory, true)?;
        // The root is there whenever anything is.
        if !walk.end.is_root() && walk.entry.is_some_and(|entry| entry.is_dir()) {
            kept.require(&directory, Reason::Runtime)?;
        }
    }
    Ok(())
}

/// The home directory that must go into Env as HOME, because `/etc/passwd` told the runtime and will not be in the
/// image; `None` when Env has one, passwd is required or the home directory is `/` either way.
pub fn home(
    rootfs: &Rootfs,
    config: &ImageConfig,
    observation: &Observation,
    requirements: &Requirements,
) -> Result<Option<String>, ClosureError> {
    let execution = Execution::new(config, observation);
    let reads_passwd = requirements.paths.iter().any(|(path, _)| path.as_bytes() == PASSWD);
    if reads_passwd || execution.variable("HOME").is_some() {
        return Ok(None);
    }
    let home = User::of(rootfs, &execution)?.home.filter(|home| home != b"/");
    Ok(home.and_then(|home| String::from_utf8(home).ok()))
}

/// What the user database says about User, and which of its files a runtime needs to say so again.
#[derive(Debug, Default, PartialEq, Eq)]
struct User {
    needs_passwd: bool,
    needs_group: bool,
    home: Option<Vec<u8>>,
}

impl User {
    fn require(&self, kept: &mut Kept<'_>) -> Result<(), ClosureError> {
        for (file, is_read) in [(PASSWD, self.needs_passwd), (GROUP, self.needs_group)] {
            if is_read {
                kept.require(file, Reason::Runtime)?;
            }
        }
        Ok(())
    }

    fn of(rootfs: &Rootfs, execution: &Execution) -> Result<Self, ClosureError> {
        let read = |path: &[u8]| -> Result<Vec<u8>, ClosureError> {
            let Ok(path) = ImagePath::parse(path) else { return Ok(Vec::new()) };
            Ok(rootfs.read_resolved(&path)?.unwrap_or_default())
        };
        Ok(Self::parse(execution.user.as_deref().unwrap_or_default(), &read(PASSWD)?, &read(GROUP)?))
    }

    /// `user` is `NAME`, `UID`, `NAME:GROUP`, `UID:GID` or a mixture (OCI image-spec 1.1, config.md), empty for root.
    fn parse(user: &str, passwd: &[u8], group: &[u8]) -> Self {
        let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
        let name = if name.is_empty() { "0" } else { name };
        let entry = lines(passwd).find(|fields| {
            fields.first().is_some_and(|field| *field == name.as_bytes())
                || fields.get(2).is_some_and(|field| *field == name.as_bytes())
        });
        let is_number = name.bytes().all(|b| b.is_ascii_digit());
        let id = entry.as_ref().and_then(|fields| fields.get(2).copied()).unwrap_or(name.as_bytes());
        let is_root = !id.is_empty() && id.iter().all(|&b| b == b'0');
        let names_group = group_name.bytes().any(|b| !b.is_ascii_digit());
        // Without a group in User a runtime gives the process all groups that list the user as a member.
        let login = entry.as_ref().and_then(|fields| fields.first().copied()).unwrap_or(name.as_bytes());
        let is_member = lines(group).any(|fields| {
            fields.get(3).is_some_and(|members| members.split(|&b| b == b',').any(|member| member == login))
        });
        User {
            // A numeric user takes its group and home from its entry, if there is one.
            needs_passwd: !is_number || (!is_root && entry.is_some()),
            needs_group: names_group || (!is_root && group_name.is_empty() && is_member),
            home: entry
                .and_then(|fields| fields.get(5).map(|home| home.to_vec()))
                .filter(|home| home.starts_with(b"/")),
        }
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|&b| b == b'\n').filter(|line| !line.is_empty()).map(|line| line.split(|&b| b == b':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nbare:x:7:7::/:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:root\napp:x:1000:\naudio:x:29:app,other\n";

    #[test]
    fn users_need_the_files_that_say_who_they_are() {
        for (user, passwd, group, home) in [
            ("", false, false, Some("/root")),
            ("0", false, false, Some("/root")),
            ("0:0", false, false, Some("/root")),
            ("root", true, false, Some("/root")),
            ("app", true, true, Some("/home/app")),
            ("app:1000", true, false, Some("/home/app")),
            ("bare", true, false, Some("/")),
            ("bare:app", true, true, Some("/")),
            ("1000", true, true, Some("/home/app")),
            ("1000:1000", true, false, Some("/home/app")),
            ("4711", false, false, None),
            ("4711:audio", false, true, None),
            ("ghost", true, false, None),
        ] {
            let expected = User { needs_passwd: passwd, needs_group: group, home: home.map(|h| h.as_bytes().to_vec()) };
            assert_eq!(User::parse(user, PASSWD, GROUP), expected, "{user:?}");
        }
    }
}
