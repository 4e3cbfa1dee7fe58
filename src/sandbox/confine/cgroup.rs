//! A control group (version 2) for what runs in a sandbox, where one is delegated to the caller.
//!
//! Only an ancestor of scrimp's own group can hand a controller on, because a group that holds processes hands on none
//! (`Documentation/admin-guide/cgroup-v2.rst`, "No Internal Process Constraint"); and its `cgroup.procs` must be
//! writable, or nothing could be moved below it. In a session of systemd that is the user's slice; in most containers
//! there is none. The group is made by scrimp and holds the application and its children, not scrimp, so that scrimp
//! can tell when the kernel has killed them. Every function takes the directory that stands for `/`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// How the names of groups begin; the process id and the start of their maker follow.
const PREFIX: &str = "scrimp-";
/// How many groups one process may have at once.
const MAX_GROUPS: u32 = 100;

/// What a group may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of memory, files in memory included; no swap.
    pub memory: u64,
    /// Processes and threads.
    pub tasks: Option<u32>,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum NoGroup {
    /// There is no hierarchy of version 2.
    #[error("control groups of version 2 are not mounted")]
    NotMounted,
    /// Nobody hands the controller on.
    #[error("no control group that scrimp may use hands on the memory controller")]
    NotDelegated,
    /// The kernel refused.
    #[error("cannot {operation} {path}: {cause}")]
    Refused {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

fn refused<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> NoGroup + 'a {
    move |cause| NoGroup::Refused { operation, path: path.to_owned(), cause }
}

/// A group without processes, to be filled; it is removed when this is dropped, or by the next run in the same place.
#[derive(Debug)]
pub struct Group {
    dir: PathBuf,
}

impl Group {
    /// Makes a group with these limits, in the nearest place where that is possible.
    pub fn make(base: &Path, limits: GroupLimits) -> Result<Self, NoGroup> {
        let mut problem = NoGroup::NotDelegated;
        for parent in ancestors(base)? {
            let controllers = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
            let mut handed_on = controllers.split_ascii_whitespace();
            if !handed_on.any(|name| name == "memory")
                || access(&parent.join("cgroup.procs"), AccessFlags::W_OK).is_err()
            {
                continue;
            }
            match make_below(base, &parent).and_then(|group| group.limit(limits).map(|()| group)) {
                Ok(group) => return Ok(group),
                Err(cause) => problem = cause,
            }
        }
        Err(problem)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the kernel has killed a process of it for want of memory.
    pub fn was_short_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        count(&events, "oom_kill") > 0
    }

    fn limit(&self, limits: GroupLimits) -> Result<(), NoGroup> {
        let write = |file: &str, value: &str| {
            let path = self.dir.join(file);
            fs::write(&path, value).map_err(refused("write", &path))
        };
        write("memory.max", &limits.memory.to_string())?;
        // Kernels without swap have no such file, old ones kill processes one by one; and the tracer counts tasks, too.
        let further = [
            ("memory.swap.max", Some("0".to_owned())),
            ("memory.oom.group", Some("1".to_owned())),
            ("pids.max", limits.tasks.map(|n| n.to_string())),
        ];
        for (file, value) in further {
            if let Some(value) = value {
                drop(write(file, &value));
            }
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that is just ending may still be in it: then the next run removes it.
        drop(fs::remove_dir(&self.dir));
    }
}

/// The supervisor's way into a group and out of it. Descriptors keep working when the host is out of reach, and with
/// them the view of the groups that their opener had.
#[derive(Debug)]
pub struct Seat {
    group: File,
    home: Option<File>,
}

impl Seat {
    /// Moves this process into the group. A cgroup namespace that it makes now has the group as its root, which is what
    /// the application looks at to find out what it may use.
    pub fn take(base: &Path, dir: &Path) -> io::Result<Self> {
        let home = ancestors(base).ok().and_then(|dirs| open(dirs.first()?).ok());
        let seat = Seat { group: open(dir)?, home };
        seat.join()?;
        Ok(seat)
    }

    /// Moves the supervisor out again, so that it outlives an application that is killed; where that is not allowed it
    /// stays.
    pub fn leave(&self) {
        if let Some(home) = &self.home {
            drop(enter(home));
        }
    }

    /// Moves the calling process into the group.
    pub fn join(&self) -> io::Result<()> {
        enter(&self.group)
    }
}

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(dir.join("cgroup.procs"))
}

/// 0 is whoever writes it.
fn enter(mut group: &File) -> io::Result<()> {
    group.write_all(b"0")
}

/// The directory of this process's group and of all above it, as far as they are visible, the nearest first.
fn ancestors(base: &Path) -> Result<Vec<PathBuf>, NoGroup> {
    let read = |file: &str| {
        let path = base.join(file);
        fs::read_to_string(&path).map_err(refused("read", &path))
    };
    let (groups, mounts) = (read("proc/self/cgroup")?, read("proc/self/mountinfo")?);
    let (root, at) = mounted(&mounts).ok_or(NoGroup::NotMounted)?;
    let own = own_group(&groups).ok_or(NoGroup::NotMounted)?;
    // Outside of what is mounted nothing can be reached.
    let Ok(below) = Path::new(own).strip_prefix(root) else { return Err(NoGroup::NotDelegated) };
    let at = base.join(at.strip_prefix('/').unwrap_or(at));
    Ok(below.ancestors().map(|part| if part.as_os_str().is_empty() { at.clone() } else { at.join(part) }).collect())
}

/// The group of version 2 in `/proc/PID/cgroup` (`cgroups(7)`).
fn own_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// What is mounted of version 2, and where, in `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).
fn mounted(text: &str) -> Option<(&str, &str)> {
    text.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        kind.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    })
}

/// The value of a line `NAME NUMBER`.
fn count(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn make_below(base: &Path, parent: &Path) -> Result<Group, NoGroup> {
    let stat = base.join("proc/self/stat");
    let (pid, start) = fs::read_to_string(&stat)
        .and_then(|text| identity(&text).ok_or(io::ErrorKind::InvalidData.into()))
        .map_err(refused("read", &stat))?;
    for number in 0..MAX_GROUPS {
        let dir = parent.join(format!("{PREFIX}{pid}-{start}-{number}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(Group { dir }),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(refused("make the control group", &dir)(cause)),
        }
    }
    Err(refused("make a control group in", parent)(io::ErrorKind::AlreadyExists.into()))
}

/// Process id and start time, which together are no other process's, of `/proc/PID/stat` (`proc_pid_stat(5)`).
fn identity(stat: &str) -> Option<(u32, u64)> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    // The name may hold anything, also a parenthesis.
    let start = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((pid, start))
}

/// Removes the groups of processes that died, wherever this process would make one.
pub fn sweep(base: &Path) {
    for parent in ancestors(base).unwrap_or_default() {
        sweep_in(base, &parent);
    }
}

/// Removes the groups in `parent` whose maker is gone. The kernel refuses it for one that holds processes.
fn sweep_in(base: &Path, parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| {
            let mut numbers = rest.split('-').map(|n| n.parse::<u64>().ok());
            Some((u32::try_from(numbers.next()??).ok()?, numbers.next()??))
        });
        let Some(maker) = maker else { continue };
        let now = fs::read_to_string(base.join(format!("proc/{}/stat", maker.0)));
        if now.ok().and_then(|stat| identity(&stat)) != Some(maker) {
            drop(fs::remove_dir(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";

    /// A tree that stands for `/`, as path and content; a path that ends in a slash is a directory.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let at = dir.path().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            match path.ends_with('/') {
                true => fs::create_dir_all(at).unwrap(),
                false => fs::write(at, content).unwrap(),
            }
        }
        dir
    }

    const MOUNTS: &str =
        "24 1 0:22 / /proc rw - proc proc rw\n30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_group_is_made_below_the_nearest_ancestor_that_hands_memory_on() {
        let dir = tree(&[
            ("proc/self/cgroup", "1:name=systemd:/x\n0::/user.slice/app.slice/term.scope\n"),
            ("proc/self/mountinfo", MOUNTS),
            ("proc/self/stat", STAT),
            ("sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n"),
            ("sys/fs/cgroup/cgroup.procs", ""),
            ("sys/fs/cgroup/user.slice/cgroup.subtree_control", "memory pids\n"),
            ("sys/fs/cgroup/user.slice/cgroup.procs", ""),
            ("sys/fs/cgroup/user.slice/app.slice/cgroup.subtree_control", "pids\n"),
            ("sys/fs/cgroup/user.slice/app.slice/cgroup.procs", ""),
            ("sys/fs/cgroup/user.slice/app.slice/term.scope/cgroup.subtree_control", "\n"),
            ("sys/fs/cgroup/user.slice/scrimp-7-4710-0/", ""),
            ("sys/fs/cgroup/user.slice/scrimp-7-4711-0/", ""),
            ("sys/fs/cgroup/user.slice/scrimp-9-1-0/", ""),
            ("sys/fs/cgroup/user.slice/scrimp-x/", ""),
            ("proc/7/stat", STAT),
        ]);
        sweep(dir.path());
        let group = Group::make(dir.path(), GroupLimits { memory: 64 << 20, tasks: Some(99) }).unwrap();
        let at = dir.path().join("sys/fs/cgroup/user.slice");
        assert_eq!(group.dir(), at.join("scrimp-7-4711-1"));
        let written = |file: &str| fs::read_to_string(group.dir().join(file)).unwrap();
        let files = ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max"];
        assert_eq!(files.map(written), ["67108864", "0", "1", "99"]);
        // Of processes that are gone, or whose id is another's now, nothing is left.
        let mut names: Vec<_> =
            fs::read_dir(&at).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with(PREFIX));
        names.sort();
        assert_eq!(names, ["scrimp-7-4711-0", "scrimp-7-4711-1", "scrimp-x"]);
    }

    #[test]
    fn what_the_dead_left_is_removed_without_a_group_of_ones_own() {
        let dir = tree(&[
            ("proc/self/cgroup", "0::/a\n"),
            ("proc/self/mountinfo", MOUNTS),
            ("proc/7/stat", STAT),
            ("sys/fs/cgroup/scrimp-9-1-0/", ""),
            ("sys/fs/cgroup/scrimp-7-4711-0/", ""),
            ("sys/fs/cgroup/a/scrimp-7-1-3/", ""),
        ]);
        sweep(dir.path());
        let left = ["scrimp-9-1-0", "scrimp-7-4711-0", "a/scrimp-7-1-3"];
        assert_eq!(left.map(|name| dir.path().join("sys/fs/cgroup").join(name).exists()), [false, true, false]);
    }

    #[test]
    fn without_delegation_there_is_no_group() {
        let why = |files: &[(&str, &str)]| {
            let dir = tree(files);
            let problem = Group::make(dir.path(), GroupLimits { memory: 1, tasks: None }).unwrap_err().to_string();
            problem.replace(dir.path().to_str().unwrap(), "")
        };
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let none = "no control group that scrimp may use hands on the memory controller";
        for (group, mounts, control, expected) in [
            (
                "0::/\n",
                "24 1 0:22 / /proc rw - proc proc rw\n",
                "memory\n",
                "control groups of version 2 are not mounted",
            ),
            ("4:memory:/x\n", MOUNTS, "memory\n", "control groups of version 2 are not mounted"),
            ("0::/\n", MOUNTS, "cpu\n", none),
            ("0::/\n", hybrid, "memory\n", none),
            ("0::/a\n", "30 24 0:26 /b /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "memory\n", none),
        ] {
            let said = why(&[
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mounts),
                ("proc/self/stat", STAT),
                ("sys/fs/cgroup/cgroup.subtree_control", control),
                ("sys/fs/cgroup/cgroup.procs", ""),
            ]);
            assert_eq!(said, expected, "{group:?} {mounts:?}");
        }
        assert!(why(&[]).starts_with("cannot read /proc/self/cgroup: "));
    }

    #[test]
    fn events_tell_of_kills() {
        let dir = tree(&[("memory.events", "low 0\noom 3\noom_kill 0\noom_group_kill 0\n")]);
        let group = Group { dir: dir.path().into() };
        assert!(!group.was_short_of_memory());
        fs::write(dir.path().join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert!(group.was_short_of_memory());
    }

    #[test]
    fn what_is_mounted_may_be_a_part() {
        let part = "30 24 0:26 /a/b /mnt rw - cgroup2 cgroup2 rw\n";
        let dir = tree(&[("proc/self/cgroup", "0::/a/b/c\n"), ("proc/self/mountinfo", part)]);
        let shown: Vec<_> = ancestors(dir.path()).unwrap();
        assert_eq!(shown, [dir.path().join("mnt/c"), dir.path().join("mnt")]);
    }

    #[test]
    fn a_seat_is_taken_and_left() {
        let dir = tree(&[
            ("proc/self/cgroup", "0::/home\n"),
            ("proc/self/mountinfo", MOUNTS),
            ("sys/fs/cgroup/home/cgroup.procs", ""),
            ("sys/fs/cgroup/group/cgroup.procs", ""),
        ]);
        let at = |name: &str| dir.path().join("sys/fs/cgroup").join(name);
        let content = |name: &str| fs::read_to_string(at(name).join("cgroup.procs")).unwrap();
        let seat = Seat::take(dir.path(), &at("group")).unwrap();
        assert_eq!((content("group").as_str(), content("home").as_str()), ("0", ""));
        seat.leave();
        assert_eq!((content("group").as_str(), content("home").as_str()), ("0", "0"));
    }
}
