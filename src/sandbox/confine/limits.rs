//! What a sandbox and its processes may use at most, as data.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::sandbox::process::Limit;

/// What all that is in a sandbox may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How much may be written, in bytes: all throw-away layers in memory together; besides, each tmpfs that was asked
    /// for.
    pub disk: Option<u64>,
    /// How much any one file system in memory may take, in bytes, where no control group counts them all.
    pub memory: Option<u64>,
    /// The directory of the control group in which the processes run, see [`crate::sandbox::confine::cgroup`].
    pub group: Option<String>,
}

impl Bounds {
    /// The size of a tmpfs that is `usual` bytes large, or as large as it gets, when there are no bounds.
    pub(in crate::sandbox) fn tmpfs(&self, usual: Option<u64>) -> Option<u64> {
        usual.into_iter().chain(self.memory).min()
    }

    /// The size of a tmpfs that takes what is written.
    pub(in crate::sandbox) fn disk(&self) -> Option<u64> {
        self.tmpfs(self.disk)
    }
}

/// The names of docker and podman (`RLIMIT_*` in lower case).
const NAMES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// A text that is no resource limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    /// It is not of the form.
    #[error("{0:?} is not NAME=SOFT[:HARD]\nhint: for instance nofile=1024:4096; -1 is unlimited")]
    Form(String),
    /// There is no such resource.
    #[error("there is no resource limit {0:?}\nhint: {names}", names = names())]
    Name(String),
    /// The soft limit is above the hard one.
    #[error("{0:?}: the soft limit is above the hard limit\nhint: NAME=SOFT:HARD, as nofile=1024:4096")]
    Order(String),
}

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl std::str::FromStr for Limit {
    type Err = BadLimit;

    /// Parses `NAME=SOFT[:HARD]` as docker and podman do; with one number both limits are the same.
    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let form = || BadLimit::Form(text.into());
        let number = |text: &str| match text {
            "-1" => Ok(libc::RLIM_INFINITY),
            _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map_err(|_| form()),
            _ => Err(form()),
        };
        let (name, values) = text.split_once('=').ok_or_else(form)?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        let resource = NAMES.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource);
        let resource = resource.ok_or_else(|| BadLimit::Name(name.into()))?;
        if soft > hard {
            return Err(BadLimit::Order(text.into()));
        }
        Ok(Limit { resource, soft, hard })
    }
}

impl std::fmt::Display for Limit {
    /// As it is parsed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = NAMES.iter().find(|(_, resource)| *resource == self.resource).map_or("?", |(name, _)| name);
        let number = |value: u64| if value == libc::RLIM_INFINITY { "-1".into() } else { value.to_string() };
        write!(f, "{name}={}:{}", number(self.soft), number(self.hard))
    }
}

impl Limit {
    /// What a process that is started here can have of it: without rights on the whole machine no hard limit can be
    /// raised. It is tried on this process, whose limits are as before when this returns.
    pub fn reachable(self) -> nix::Result<Limit> {
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure outlives the call.
        Errno::result(unsafe { libc::getrlimit(self.resource, &mut now) })?;
        if self.hard <= now.rlim_max {
            return Ok(self);
        }
        let raised = libc::rlimit { rlim_max: self.hard, ..now };
        // SAFETY: the structure outlives the call.
        match Errno::result(unsafe { libc::setrlimit(self.resource, &raised) }) {
            Ok(_) => {
                // SAFETY: the structure outlives the call.
                Errno::result(unsafe { libc::setrlimit(self.resource, &now) })?;
                Ok(self)
            }
            Err(Errno::EPERM) => Ok(Limit { soft: self.soft.min(now.rlim_max), hard: now.rlim_max, ..self }),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_docker_has_them() {
        for (text, expected) in [
            ("nofile=1024:4096", "nofile=1024:4096"),
            ("nproc=64", "nproc=64:64"),
            ("core=0", "core=0:0"),
            ("core=-1", "core=-1:-1"),
            ("memlock=65536:-1", "memlock=65536:-1"),
            ("rttime=18446744073709551615", "rttime=-1:-1"),
        ] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), expected);
        }
        for (name, _) in NAMES {
            assert_eq!(format!("{name}=1").parse::<Limit>().unwrap().to_string(), format!("{name}=1:1"));
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let problem = |text: &str| text.parse::<Limit>().unwrap_err().to_string().lines().next().unwrap().to_owned();
        for (text, expected) in [
            ("nofile", r#""nofile" is not NAME=SOFT[:HARD]"#),
            ("nofile=", r#""nofile=" is not NAME=SOFT[:HARD]"#),
            ("nofile=1:", r#""nofile=1:" is not NAME=SOFT[:HARD]"#),
            ("nofile=-2", r#""nofile=-2" is not NAME=SOFT[:HARD]"#),
            ("nofile=+2", r#""nofile=+2" is not NAME=SOFT[:HARD]"#),
            ("nofile=1:2:3", r#""nofile=1:2:3" is not NAME=SOFT[:HARD]"#),
            ("nofile=99999999999999999999", r#""nofile=99999999999999999999" is not NAME=SOFT[:HARD]"#),
            ("nofiles=1", r#"there is no resource limit "nofiles""#),
            ("nofile=2:1", r#""nofile=2:1": the soft limit is above the hard limit"#),
            ("nofile=-1:1", r#""nofile=-1:1": the soft limit is above the hard limit"#),
        ] {
            assert_eq!(problem(text), expected);
        }
    }

    #[test]
    fn the_smallest_bound_of_a_tmpfs_counts() {
        let bounds = |disk, memory| Bounds { disk, memory, group: None };
        for (bounds, usual, disk) in [
            (bounds(None, None), Some(64), None),
            (bounds(Some(32), None), Some(64), Some(32)),
            (bounds(None, Some(48)), Some(48), Some(48)),
            (bounds(Some(32), Some(16)), Some(16), Some(16)),
        ] {
            assert_eq!((bounds.tmpfs(Some(64)), bounds.disk()), (usual, disk), "{bounds:?}");
        }
    }

    #[test]
    fn a_limit_that_is_reached_already_stays() {
        let limit: Limit = "core=0".parse().unwrap();
        assert_eq!(limit.reachable(), Ok(limit));
    }
}
