//! Whether the processes of a sandbox do anything, read from `/proc` (`proc_pid_stat(5)`; `schedstat` is described in
//! the kernel's `Documentation/scheduler/sched-stats.rst`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What the tasks of a tree of processes were doing at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The time that each task has run so far, by its id.
    pub ran: BTreeMap<i32, Duration>,
    /// Whether one of them was not asleep: it ran, waited for a disk or was stopped.
    pub awake: bool,
}

/// Looks at the descendants of the process `ancestor`. What ends meanwhile is left out.
pub fn of_descendants(proc: &Path, ancestor: i32) -> io::Result<Activity> {
    let mut parents = BTreeMap::new();
    for pid in ids(proc)? {
        if let Some(stat) = read_stat(&proc.join(pid.to_string()).join("stat")) {
            parents.insert(pid, stat.parent);
        }
    }
    let mut activity = Activity { ran: BTreeMap::new(), awake: false };
    for &pid in parents.keys().filter(|pid| descends(&parents, **pid, ancestor)) {
        let tasks = proc.join(pid.to_string()).join("task");
        for task in ids(&tasks).unwrap_or_default() {
            let task_dir = tasks.join(task.to_string());
            let Some(stat) = read_stat(&task_dir.join("stat")) else { continue };
            if matches!(stat.state, b'Z' | b'X') {
                continue;
            }
            // A task in an idle wait is S; kernel threads aside, nothing is I.
            activity.awake |= stat.state != b'S';
            activity.ran.insert(task, run_time(&task_dir).unwrap_or(stat.ticks));
        }
    }
    Ok(activity)
}

impl Activity {
    /// Whether nothing but the odd timer has happened from `earlier` until this, `apart` later: the same tasks sleep,
    /// and have run for less than a hundredth of the time.
    pub fn is_rest_since(&self, earlier: &Activity, apart: Duration) -> bool {
        let total = |activity: &Activity| activity.ran.values().sum::<Duration>();
        let same = self.ran.keys().eq(earlier.ran.keys());
        same && !self.awake && !earlier.awake && total(self).saturating_sub(total(earlier)) <= apart / 100
    }
}

/// The entries of a directory that are numbers.
fn ids(dir: &Path) -> io::Result<Vec<i32>> {
    let names = fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(names.collect())
}

fn descends(parents: &BTreeMap<i32, i32>, pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    // A process that was read late may have a parent that was born after the others were read: no more steps than
    // there are processes, then.
    for _ in 0..parents.len() {
        match parents.get(&at) {
            Some(&parent) if parent == ancestor => return true,
            Some(&parent) => at = parent,
            None => return false,
        }
    }
    false
}

struct Stat {
    state: u8,
    parent: i32,
    /// Processor time in user and kernel mode, as exact as the clock's ticks.
    ticks: Duration,
}

/// Clock ticks per second as `/proc` counts them, whatever the kernel's own are (`USER_HZ`).
const USER_HZ: u64 = 100;

fn read_stat(file: &Path) -> Option<Stat> {
    parse_stat(&fs::read(file).ok()?)
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name of the program, in parentheses, may hold anything.
    let after = text.iter().rposition(|&byte| byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&text[after + 1..]).ok()?.split_ascii_whitespace().collect();
    // A line of another form says nothing.
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = Duration::from_millis((number(11)? + number(12)?) * 1000 / USER_HZ);
    Some(Stat { state: *fields.first()?.as_bytes().first()?, parent: fields.get(1)?.parse().ok()?, ticks })
}

/// The time on a processor; `None` where the kernel keeps no account of it.
fn run_time(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: i32, parent: i32, tasks: &[(i32, char, u64)]) {
        let stat = |id: i32, state: char| format!("{id} (a) b)) {state} {parent} 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1");
        let dir = proc.join(pid.to_string());
        fs::create_dir_all(dir.join("task")).unwrap();
        fs::write(dir.join("stat"), stat(pid, tasks[0].1)).unwrap();
        for (task, state, nanoseconds) in tasks {
            let dir = dir.join(format!("task/{task}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("stat"), stat(*task, *state)).unwrap();
            fs::write(dir.join("schedstat"), format!("{nanoseconds} 5 7\n")).unwrap();
        }
    }

    #[test]
    fn descendants_are_looked_at_and_nobody_else() {
        let proc = tempfile::tempdir().unwrap();
        let proc = proc.path();
        process(proc, 1, 0, &[(1, 'R', 9_000_000)]);
        process(proc, 10, 1, &[(10, 'S', 1_000_000)]);
        process(proc, 11, 10, &[(11, 'S', 2_000_000), (12, 'S', 3_000_000)]);
        process(proc, 13, 11, &[(13, 'S', 0)]);
        process(proc, 14, 11, &[(14, 'Z', 8_000_000)]);
        let seen = of_descendants(proc, 10).unwrap();
        let millis: Vec<_> = seen.ran.iter().map(|(task, ran)| (*task, ran.as_millis())).collect();
        assert_eq!(
            (millis, seen.awake),
            (vec![(11, 2), (12, 3), (13, 2000)], false),
            "ticks where there is no account"
        );
        process(proc, 11, 10, &[(11, 'S', 2_000_000), (12, 'D', 3_000_000)]);
        assert!(of_descendants(proc, 10).unwrap().awake);
    }

    #[test]
    fn rest_is_sleep_without_work_by_the_same_tasks() {
        let activity = |ran: &[(i32, u64)], awake| Activity {
            ran: ran.iter().map(|(task, millis)| (*task, Duration::from_millis(*millis))).collect(),
            awake,
        };
        let before = activity(&[(1, 500), (2, 7)], false);
        for (after, rest) in [
            (activity(&[(1, 500), (2, 7)], false), true),
            (activity(&[(1, 505), (2, 11)], false), true),
            (activity(&[(1, 520), (2, 7)], false), false),
            (activity(&[(1, 500), (2, 7)], true), false),
            (activity(&[(1, 500)], false), false),
            (activity(&[(1, 500), (3, 7)], false), false),
        ] {
            assert_eq!(after.is_rest_since(&before, Duration::from_secs(1)), rest, "{after:?}");
        }
    }
}
