//! Signals between the application's users: all processes have one real user, so each could reach the other.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::people::Numbers;
use super::verdict::{Caller, Verdict, Virtual};

impl Virtual {
    /// A call that sends a signal. `None` when it is none.
    pub fn signal(&mut self, caller: &Caller<'_>, name: &str, arguments: &[u64; 6]) -> Option<Verdict> {
        let argument = |n: usize| arguments[n] as i32;
        match name {
            "kill" | "rt_sigqueueinfo" => Some(self.signal_processes(caller, argument(0), argument(1))),
            "tkill" => Some(self.signal_task(caller, argument(0), argument(1))),
            "tgkill" | "rt_tgsigqueueinfo" => Some(self.signal_task(caller, argument(1), argument(2))),
            "pidfd_send_signal" => {
                // What it stands for is told in the reader's numbers.
                let text = std::fs::read_to_string(format!("/proc/{}/fdinfo/{}", caller.id, argument(0))).ok()?;
                let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())?;
                Some(self.signal_known(caller, pid, argument(1)))
            }
            _ => None,
        }
    }

    /// To one process, or to those of a group, or to all.
    fn signal_processes(&mut self, caller: &Caller<'_>, target: i32, signal: i32) -> Verdict {
        let Some(who) = self.people.get(caller.id) else { return Verdict::Pass };
        if who.has(super::CAP_KILL) {
            return Verdict::Pass;
        }
        if target > 0 {
            // A process is found by the number of any of its threads.
            return self.signal_task(caller, target, signal);
        }
        let processes = self.people.processes();
        let Some(own) = self.people.numbers(caller.id) else { return Verdict::Pass };
        let meant = |numbers: &Numbers| match target {
            0 => numbers.group_inside == own.group_inside,
            // All, but for the first process and the caller's own.
            -1 => numbers.process_inside != 1 && numbers.process_inside != own.process_inside,
            group => group.checked_neg() == Some(numbers.group_inside),
        };
        let targets: Vec<(i32, Numbers)> = processes.into_values().filter(|(_, numbers)| meant(numbers)).collect();
        let (allowed, denied): (Vec<_>, Vec<_>) =
            targets.into_iter().partition(|(task, numbers)| self.may_signal(caller.id, *task, &own, numbers, signal));
        match (allowed.is_empty(), denied.is_empty()) {
            (_, true) => Verdict::Pass,
            (true, false) => Err(Errno::EPERM).into(),
            (false, false) => {
                let mut sent = Err(Errno::ESRCH);
                for (_, numbers) in allowed {
                    let signal = match signal {
                        0 => Ok(None),
                        number => Signal::try_from(number).map(Some),
                    };
                    let result = signal.and_then(|signal| kill(Pid::from_raw(numbers.process), signal));
                    sent = sent.or(result.map(|()| 0));
                }
                sent.into()
            }
        }
    }

    fn signal_task(&mut self, caller: &Caller<'_>, target: i32, signal: i32) -> Verdict {
        if let Some(task) = self.people.inside(target) {
            return self.signal_known(caller, task, signal);
        }
        // Without a PID namespace of its own it sees the machine's other processes: root's, as far as it knows.
        let sees_all = self.people.numbers(caller.id).is_some_and(|own| own.process == own.process_inside);
        let denied = self.people.get(caller.id).is_some_and(|who| ![who.uid.real, who.uid.effective].contains(&0));
        match sees_all && denied && std::path::Path::new(&format!("/proc/{target}")).exists() {
            true => Err(Errno::EPERM).into(),
            false => Verdict::Pass,
        }
    }

    fn signal_known(&mut self, caller: &Caller<'_>, task: i32, signal: i32) -> Verdict {
        let (Some(own), Some(numbers)) = (self.people.numbers(caller.id), self.people.numbers(task)) else {
            return Verdict::Pass;
        };
        match self.may_signal(caller.id, task, &own, &numbers, signal) {
            true => Verdict::Pass,
            false => Err(Errno::EPERM).into(),
        }
    }

    fn may_signal(&self, from: i32, to: i32, own: &Numbers, target: &Numbers, signal: i32) -> bool {
        let (Some(who), Some(whom)) = (self.people.get(from), self.people.get(to)) else { return true };
        own.process == target.process
            || signal == libc::SIGCONT && own.session_inside == target.session_inside
            || who.may_signal(&whom)
    }
}
