//! User and group id maps (`user_namespaces(7)`) and where they come from. Pure: files are passed as text.

use serde::{Deserialize, Serialize};

/// A run of ids that is mapped as one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The first id inside the user namespace.
    pub inside: u32,
    /// The first id in the namespace of the caller.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// The ids of a user namespace and what they are outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// User ids.
    pub uids: Vec<Extent>,
    /// Group ids.
    pub gids: Vec<Extent>,
}

impl IdMap {
    /// What an owner outside is called inside; an id that is not mapped stays as it is.
    pub fn inside_or_raw(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        (to_inside(&self.uids, uid).unwrap_or(uid), to_inside(&self.gids, gid).unwrap_or(gid))
    }

    /// Whether an application in the namespace can be this user.
    pub fn has_uid(&self, inside: u32) -> bool {
        covers(&self.uids, inside)
    }

    /// Whether an application in the namespace can be in this group.
    pub fn has_gid(&self, inside: u32) -> bool {
        covers(&self.gids, inside)
    }

    /// Whether every id is mapped to itself.
    pub fn is_identity(&self) -> bool {
        let same = |extents: &[Extent]| extents.iter().all(|e| e.inside == e.outside);
        same(&self.uids) && same(&self.gids)
    }

    /// One line of text that is equal for equal maps: `u0:1000:1,1:100000:65536;g0:1000:1`.
    pub fn key(&self) -> String {
        let side = |extents: &[Extent]| {
            let parts: Vec<String> =
                extents.iter().map(|e| format!("{}:{}:{}", e.inside, e.outside, e.count)).collect();
            parts.join(",")
        };
        format!("u{};g{}", side(&self.uids), side(&self.gids))
    }
}

fn to_inside(extents: &[Extent], outside: u32) -> Option<u32> {
    let extent = extents.iter().find(|e| outside >= e.outside && outside - e.outside < e.count)?;
    Some(extent.inside + (outside - extent.outside))
}

fn covers(extents: &[Extent], inside: u32) -> bool {
    extents.iter().any(|e| inside >= e.inside && inside - e.inside < e.count)
}

/// The lines that `/proc/PID/uid_map` and `gid_map` take.
pub fn to_proc(extents: &[Extent]) -> String {
    extents.iter().map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count)).collect()
}

/// What `newuidmap` and `newgidmap` take after the process id.
pub fn to_arguments(extents: &[Extent]) -> Vec<String> {
    extents.iter().flat_map(|e| [e.inside, e.outside, e.count]).map(|n| n.to_string()).collect()
}

/// Maps every id that exists here (`map` is the text of `/proc/self/uid_map`) to itself.
pub fn identity(map: &str) -> Vec<Extent> {
    let extent = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let (inside, _, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let _: u32 = inside;
        Some(Extent { inside, outside: inside, count })
    };
    map.lines().filter_map(extent).collect()
}

/// The caller alone, as id 0.
pub fn single(caller: u32) -> Vec<Extent> {
    vec![Extent { inside: 0, outside: caller, count: 1 }]
}

/// The caller as id 0 and the subordinate ids from 1 on; `None` when there are none. `table` is the text of
/// `/etc/subuid` or `/etc/subgid` (`subuid(5)`), where a line names its user by name or by number.
pub fn subordinate(table: &str, caller: u32, user_id: u32, user_name: Option<&str>) -> Option<Vec<Extent>> {
    let mut extents = single(caller);
    let mut next: u32 = 1;
    for line in table.lines() {
        let mut fields = line.trim().split(':');
        let (Some(user), Some(start), Some(count), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let is_ours = Some(user) == user_name || user.parse() == Ok(user_id);
        let (Some(after), Some(_)) = (next.checked_add(count), start.checked_add(count)) else { continue };
        if is_ours && count > 0 {
            extents.push(Extent { inside: next, outside: start, count });
            next = after;
        }
    }
    (next > 1).then_some(extents)
}

/// The name of the user with this id in the text of `/etc/passwd` (`passwd(5)`).
pub fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_follow_the_caller() {
        let table = "# a comment\nana:100000:65536\nbo:165536:65536\n1000:300000:10\nana:x:1\nana:5:0\n";
        let text = |id, name| subordinate(table, id, id, name).map(|map| to_proc(&map));
        assert_eq!(text(1000, Some("ana")).unwrap(), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
        assert_eq!(text(1001, Some("bo")).unwrap(), "0 1001 1\n1 165536 65536\n");
        assert_eq!(text(1000, None).unwrap(), "0 1000 1\n1 300000 10\n");
        assert_eq!(text(7, Some("eve")), None);
    }

    #[test]
    fn root_keeps_the_ids_it_has() {
        assert_eq!(to_proc(&identity("         0          0 4294967295\n")), "0 0 4294967295\n");
        assert_eq!(to_proc(&identity("0 1000 1\n1 100000 65536\n")), "0 0 1\n1 1 65536\n");
    }

    #[test]
    fn owners_are_named_as_inside_when_they_are_mapped() {
        let uids = subordinate("1000:100000:65536", 1000, 1000, None).unwrap();
        let map = IdMap { uids, gids: single(50) };
        for (raw, expected) in [((1000, 50), (0, 0)), ((100_032, 51), (33, 51)), ((0, 0), (0, 0)), ((99, 9), (99, 9))] {
            assert_eq!(map.inside_or_raw(raw), expected, "{raw:?}");
        }
        assert!(map.has_uid(65_536) && !map.has_uid(65_537) && map.has_gid(0) && !map.has_gid(1));
        assert_eq!(map.key(), "u0:1000:1,1:100000:65536;g0:50:1");
        assert!(!map.is_identity());
    }

    #[test]
    fn users_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), Some("ana"));
        assert_eq!(user_name(passwd, 1), None);
    }
}
