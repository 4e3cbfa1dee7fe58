//! Ordinary users of this machine, made when a test first asks for one.

use std::fs::{File, read_to_string};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

/// Which of the two ways into a user namespace an ordinary user has.
#[derive(Clone, Copy)]
pub enum User {
    /// With subordinate ids, so that `newuidmap` can map a whole range.
    Subordinate,
    /// Without any: only the user's own id can be mapped.
    Single,
}

impl User {
    fn name(self) -> &'static str {
        match self {
            Self::Subordinate => "scrimp-test",
            Self::Single => "scrimp-single",
        }
    }

    /// The account, made if it is not there yet.
    pub fn account(self) -> nix::unistd::User {
        // The tests run at once, each in its own process under nextest.
        let lock = File::create("/tmp/scrimp-test-users.lock").expect("a lock file for the users of the tests");
        let lock = Flock::lock(lock, FlockArg::LockExclusive).expect("the lock of the users of the tests");
        if self.look_up().is_none() {
            // A system account gets no subordinate ids, another one gets them by login.defs.
            let kind: &[&str] = match self {
                Self::Subordinate => &["--no-create-home"],
                Self::Single => &["--system"],
            };
            let output = Command::new("useradd").args(kind).arg(self.name()).output().expect("useradd runs");
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "useradd {}: {problem}\nhint: run the tests as root", self.name());
        }
        drop(lock);
        let has_range = ["/etc/subuid", "/etc/subgid"].map(|file| self.has_range_in(file));
        let expected = matches!(self, Self::Subordinate);
        assert_eq!(has_range, [expected; 2], "subordinate ids of {}\nhint: see usermod --add-subuids", self.name());
        self.look_up().expect("the account that was just made")
    }

    fn look_up(self) -> Option<nix::unistd::User> {
        nix::unistd::User::from_name(self.name()).expect("the password database")
    }

    fn has_range_in(self, file: &str) -> bool {
        let ranges = read_to_string(file).unwrap_or_default();
        ranges.lines().any(|line| line.split(':').next() == Some(self.name()))
    }
}
