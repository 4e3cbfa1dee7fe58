//! Who an image's `User` is, by the image's own user database (Docker's rules, `moby/sys/user` `GetExecUser`).

use crate::base::ImagePath;
use crate::image::{Rootfs, RootfsError};

/// The largest id that Docker takes.
const MAX_ID: u32 = i32::MAX as u32;

/// The ids that a process starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User id in the image.
    pub uid: u32,
    /// Primary group id in the image.
    pub gid: u32,
    /// All groups, the primary one first, as the engines do it; sorted otherwise as `/etc/group` has them.
    pub groups: Vec<u32>,
    /// The home directory of the user database, or `/`.
    pub home: String,
}

/// A user or group cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No user of that name.
    #[error("the image has no user {0:?} in /etc/passwd\nhint: a number needs no entry there")]
    NoUser(String),
    /// No group of that name.
    #[error("the image has no group {0:?} in /etc/group\nhint: a number needs no entry there")]
    NoGroup(String),
    /// An id that Docker refuses.
    #[error("{0:?} is not an id: it must be between 0 and {MAX_ID}")]
    OutOfRange(String),
    /// The user database could not be read.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
}

struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Resolves `spec`, a config's `User`: `NAME`, `UID`, `NAME:GROUP`, `UID:GID`, or empty for root. A number needs no
/// entry; a name does. Without a group the user's own group counts, and the groups that `/etc/group` puts it in.
pub fn user(rootfs: &Rootfs, spec: &str) -> Result<Credentials, UserError> {
    let read = |path: &str| -> Result<String, UserError> {
        let path = ImagePath::from_relative(path).unwrap_or_else(|_| ImagePath::root());
        let bytes = rootfs.read_resolved(&path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    resolve(spec, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn resolve(spec: &str, passwd: &str, group: &str) -> Result<Credentials, UserError> {
    let mut parts = spec.split(':');
    let (wanted_user, wanted_group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut found = Credentials { uid: 0, gid: 0, groups: Vec::new(), home: "/".into() };
    let wanted_uid = if wanted_user.is_empty() { Some(0) } else { number(wanted_user)? };
    let users = passwd.lines().filter_map(parse_passwd);
    let entry = users.into_iter().find(|entry| wanted_uid.map_or(entry.name == wanted_user, |uid| entry.uid == uid));
    let mut name = None;
    match (entry, wanted_uid) {
        (Some(entry), _) => {
            (found.uid, found.gid) = (entry.uid, entry.gid);
            if !entry.home.is_empty() {
                found.home = entry.home;
            }
            name = Some(entry.name);
        }
        (None, Some(uid)) => found.uid = uid,
        (None, None) => return Err(UserError::NoUser(wanted_user.into())),
    }
    let mut groups = group.lines().filter_map(parse_group);
    if wanted_group.is_empty() {
        let is_member = |group: &Group| name.as_ref().is_some_and(|name| group.members.contains(name));
        found.groups = groups.filter(is_member).map(|group| group.gid).collect();
    } else {
        found.gid = match number(wanted_group)? {
            Some(gid) => gid,
            None => {
                let entry = groups.find(|group| group.name == wanted_group);
                entry.ok_or_else(|| UserError::NoGroup(wanted_group.into()))?.gid
            }
        };
    }
    found.groups.retain(|gid| *gid != found.gid);
    found.groups.insert(0, found.gid);
    let mut seen = std::collections::BTreeSet::new();
    found.groups.retain(|gid| seen.insert(*gid));
    Ok(found)
}

/// An id, or `None` for a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse::<u32>().ok().filter(|id| *id <= MAX_ID);
    id.map(Some).ok_or_else(|| UserError::OutOfRange(text.into()))
}

/// `name:password:uid:gid:comment:home:shell` (passwd(5)); lines that are not so are not users.
fn parse_passwd(line: &str) -> Option<Passwd> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
    let home = rest.get(1).copied().unwrap_or_default().to_owned();
    Some(Passwd { name: name.to_string(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

/// `name:password:gid:members` (group(5)).
fn parse_group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.trim().split(':').collect();
    let [name, _, gid, rest @ ..] = fields.as_slice() else { return None };
    let members = rest.first().copied().unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(Group { name: name.to_string(), gid: gid.parse().ok()?, members })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\n\nweb:x:33:33::/var/www:/bin/sh\nbare:x:44:45\n\
                          odd:x:y:z::/:\n12:x:77:78::/twelve:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlogs:x:4:web,bare\nssl:x:5:bare,web\n99:x:100:web\ndup:x:4:web\n";

    #[test]
    fn users_are_resolved_as_docker_does() {
        for (spec, expected) in [
            ("", "0:0 [0] /root"),
            ("root", "0:0 [0] /root"),
            ("0", "0:0 [0] /root"),
            ("web", "33:33 [33, 4, 5, 100] /var/www"),
            ("33", "33:33 [33, 4, 5, 100] /var/www"),
            ("web:logs", "33:4 [4] /var/www"),
            ("web:7", "33:7 [7] /var/www"),
            ("web:99", "33:99 [99] /var/www"),
            ("1000", "1000:0 [0] /"),
            ("1000:1000", "1000:1000 [1000] /"),
            (":web", "0:33 [33] /root"),
            ("web:", "33:33 [33, 4, 5, 100] /var/www"),
            ("bare", "44:45 [45, 4, 5] /"),
            ("12", "12:0 [0] /"),
            ("2147483647", "2147483647:0 [0] /"),
        ] {
            let found = resolve(spec, PASSWD, GROUP).unwrap();
            let shown = format!("{}:{} {:?} {}", found.uid, found.gid, found.groups, found.home);
            assert_eq!(shown, expected, "{spec:?}");
        }
    }

    #[test]
    fn who_cannot_be_found_is_named() {
        for (spec, expected) in [
            ("nobody", "the image has no user \"nobody\" in /etc/passwd\nhint: a number needs no entry there"),
            ("odd", "the image has no user \"odd\" in /etc/passwd\nhint: a number needs no entry there"),
            ("web:none", "the image has no group \"none\" in /etc/group\nhint: a number needs no entry there"),
            ("2147483648", "\"2147483648\" is not an id: it must be between 0 and 2147483647"),
            ("-1", "\"-1\" is not an id: it must be between 0 and 2147483647"),
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP).unwrap_err().to_string(), expected);
        }
    }
}
