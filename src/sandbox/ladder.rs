//! The ladder: which sandbox this machine allows, found out by making each in a child process, best first.
//!
//! Nothing is inferred from a setting. What a trial does is what a run will do, in small: the user namespace with its
//! id maps, the other namespaces, an overlay that is written to, a fresh `/proc`, a process that is traced.

use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use crate::sandbox::attempt::{KILLED, attempt};
use crate::sandbox::identity::{self, Identity, IdentityKind};
use crate::sandbox::plan::{Rung, Upper};
use crate::sandbox::process::Ids;
use crate::sandbox::{build, build::mount_api};

/// What the sandboxes of this process stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footing {
    /// The rung for the source `host`.
    pub host: Rung,
    /// The rung for everything else, when there is one.
    pub trees: Option<Rung>,
    /// Whether what the application writes can lie in the store.
    pub upper_in_store: bool,
    /// Whether a tracer has to answer for ids: because only one exists, or because it could not follow a process that
    /// takes another.
    pub ids: Ids,
    /// Why each better rung was not taken.
    pub refused: Vec<(Rung, String)>,
}

impl Footing {
    /// Why there is no better rung, one line for each that was tried.
    pub fn why_not(&self) -> String {
        match self.refused.is_empty() {
            true => format!("the sandbox {} is for the source `host` alone", self.host),
            false => list(&self.refused),
        }
    }
}

/// No sandbox at all, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LadderError {
    /// The trial of the rung that was asked for failed.
    #[error("the sandbox {rung} cannot be made here: {cause}\nhint: leave out --sandbox, or see `scrimp doctor`")]
    Refused {
        /// Which.
        rung: Rung,
        /// Why.
        cause: String,
    },
    /// A trial was killed, so nothing is known.
    #[error("the process that tried the sandbox {0} was killed")]
    Killed(Rung),
    /// The same, of a user namespace.
    #[error("the process that tried a user namespace was killed")]
    NothingKnown,
    /// Every trial failed.
    #[error("this machine allows no sandbox:{}\nhint: `scrimp doctor` says what would help", list(.0))]
    None(Vec<(Rung, String)>),
    /// A rung worked in the trial and not afterwards.
    #[error(transparent)]
    Identity(#[from] identity::IdentityError),
}

/// One rung, and where what is written goes.
#[derive(Clone, Copy)]
pub struct Step {
    /// Which.
    pub rung: Rung,
    /// Whether it goes to the store; to memory otherwise.
    pub in_store: bool,
}

/// All, the best first.
pub const STEPS: [Step; 6] = [
    Step { rung: Rung::A, in_store: true },
    Step { rung: Rung::B, in_store: false },
    Step { rung: Rung::C, in_store: true },
    Step { rung: Rung::C, in_store: false },
    Step { rung: Rung::D, in_store: true },
    Step { rung: Rung::E, in_store: true },
];

/// Makes this process root of a user namespace where that is possible, for reading and writing images; nothing can be
/// run. The process must have one thread only.
pub fn settle() -> Result<(Identity, Footing), LadderError> {
    let identity = match attempt(identity::try_entering) {
        Ok(()) => identity::enter()?,
        // Another identity than the last time would not find what was unpacked then.
        Err(cause) if cause == KILLED => return Err(LadderError::NothingKnown),
        Err(_) => identity::stay(),
    };
    Ok((identity, Footing { host: Rung::E, trees: None, upper_in_store: false, ids: Ids::Own, refused: Vec::new() }))
}

/// Finds the best rung, or tries the one that is `wanted`, and makes this process what it has to be for it. `scratch`
/// is an empty directory of the store. The process must have one thread only.
pub fn climb(wanted: Option<Rung>, scratch: &Path) -> Result<(Identity, Footing), LadderError> {
    let mut refused = Vec::new();
    let steps = STEPS.iter().filter(|step| wanted.is_none_or(|wanted| wanted == step.rung));
    for (number, step) in steps.enumerate() {
        match trial(*step, &scratch.join(number.to_string())) {
            Ok(()) => return stand(*step, scratch, refused),
            Err(cause) if cause == KILLED => return Err(LadderError::Killed(step.rung)),
            Err(cause) => refused.push((step.rung, cause)),
        }
    }
    match (wanted, refused.pop()) {
        (Some(rung), Some((_, cause))) => Err(LadderError::Refused { rung, cause }),
        (_, last) => Err(LadderError::None(refused.into_iter().chain(last).collect())),
    }
}

fn stand(step: Step, scratch: &Path, refused: Vec<(Rung, String)>) -> Result<(Identity, Footing), LadderError> {
    let Step { rung, in_store } = step;
    let identity = match needs_user_namespace(rung) {
        true => identity::enter()?,
        false => identity::stay(),
    };
    let trees = match rung {
        Rung::E => (is_root() && trial(Step { rung: Rung::D, in_store }, scratch).is_ok()).then_some(Rung::D),
        rung => Some(rung),
    };
    let ids = match identity.kind {
        IdentityKind::Single => Ids::Named,
        IdentityKind::Caller if is_root() && attempt(look_into_another_user).is_err() => Ids::Virtual,
        IdentityKind::Root | IdentityKind::Subordinate | IdentityKind::Caller => Ids::Own,
    };
    Ok((identity, Footing { host: rung, trees, upper_in_store: in_store, ids, refused }))
}

/// Whether scrimp has to be root of a user namespace for it: real root can change its root without.
fn needs_user_namespace(rung: Rung) -> bool {
    match rung {
        Rung::A | Rung::B | Rung::C => true,
        Rung::D => !is_root(),
        Rung::E => false,
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a run on this step would work; `dir` is used for it and may exist.
pub fn trial(step: Step, dir: &Path) -> Result<(), String> {
    attempt(|| {
        if needs_user_namespace(step.rung) {
            identity::try_entering()?;
        }
        try_tracing()?;
        match step.rung {
            Rung::A | Rung::B | Rung::C => {
                let mut namespaces = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWCGROUP;
                if step.rung.has_pid_namespace() {
                    namespaces |= CloneFlags::CLONE_NEWPID;
                }
                unshare(namespaces).map_err(|e| format!("cannot make namespaces: {}", e.desc()))?;
                let lower = dir.join("lower");
                std::fs::create_dir_all(&lower).map_err(|e| format!("cannot make {}: {e}", lower.display()))?;
                let upper = if step.in_store { Upper::Dir(dir.join("upper")) } else { Upper::Tmpfs };
                build::try_overlay(&lower, &upper).map_err(|e| e.to_string())?;
                match step.rung.has_pid_namespace() {
                    true => attempt(|| build::try_proc().map_err(|e| e.to_string())),
                    false => mount_api::clone_tree(Path::new("/proc"))
                        .map(drop)
                        .map_err(|e| format!("cannot bind /proc: {}", e.desc())),
                }
            }
            Rung::D => {
                std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
                nix::unistd::chroot(dir).map_err(|e| format!("cannot change the root: {}", e.desc()))
            }
            Rung::E => Ok(()),
        }
    })
}

/// Traces a child and kills it.
pub fn try_tracing() -> Result<(), String> {
    beside_a_child(
        || Ok(()),
        |child| {
            // SAFETY: seizes our own child, without any pointer that the kernel would follow.
            match Errno::result(unsafe { libc::ptrace(libc::PTRACE_SEIZE, child, 0usize, 0usize) }) {
                // Nothing but its death explains that of a child that nobody has reaped.
                Err(Errno::ESRCH) => Err(KILLED.into()),
                seized => seized.map(drop).map_err(|errno| format!("cannot trace a process: {}", errno.desc())),
            }
        },
    )
}

/// Looks into a process that has become another user, which root may not without CAP_SYS_PTRACE.
pub fn look_into_another_user() -> Result<(), String> {
    let other = nix::unistd::Uid::from_raw(65534);
    beside_a_child(
        || nix::unistd::setresuid(other, other, other),
        |child| std::fs::read_link(format!("/proc/{child}/root")).map(drop).map_err(|e| e.to_string()),
    )
}

/// Does `action` while there is a child that has done `prepare` and waits to be killed; its id is passed. This process
/// must have one thread.
fn beside_a_child(
    prepare: impl FnOnce() -> nix::Result<()>,
    action: impl FnOnce(libc::pid_t) -> Result<(), String>,
) -> Result<(), String> {
    let (mut prepared, writer) = std::io::pipe().map_err(|e| format!("cannot make a pipe: {e}"))?;
    // SAFETY: this process has one thread; the child does nothing but wait to be killed.
    let child = match Errno::result(unsafe { libc::fork() }) {
        Ok(0) => {
            drop(prepared);
            let is_ready = prepare().is_ok()
                // Nobody else would end it when this process is killed. Asked for last: a change of ids withdraws it.
                // SAFETY: takes numbers only.
                && unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } == 0
                // Whoever had been killed before that no longer reads.
                && std::io::Write::write_all(&mut &writer, b"!").is_ok();
            drop(writer);
            if is_ready {
                loop {
                    // SAFETY: waits for a signal.
                    unsafe { libc::pause() };
                }
            }
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(1) }
        }
        Ok(child) => child,
        Err(errno) => return Err(format!("cannot fork: {}", errno.desc())),
    };
    drop(writer);
    let is_ready = std::io::Read::read_exact(&mut prepared, &mut [0]).is_ok();
    let done = if is_ready { action(child) } else { Ok(()) };
    let mut status = 0;
    // SAFETY: kills and reaps our own child; the status outlives the call.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &raw mut status, 0);
    }
    match is_ready {
        true => done,
        false if libc::WIFSIGNALED(status) => Err(KILLED.into()),
        false => Err("a process for a trial cannot become what it has to be".into()),
    }
}

fn list(refused: &[(Rung, String)]) -> String {
    let mut lines: Vec<String> = refused.iter().map(|(rung, cause)| format!("\n  {rung}: {cause}")).collect();
    // A rung is tried in more than one way.
    lines.dedup();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_of_a_rung_is_said_once() {
        let refused = [(Rung::C, "EPERM"), (Rung::C, "EPERM"), (Rung::C, "ENOSYS"), (Rung::D, "ENOSYS")];
        let refused = refused.map(|(rung, cause)| (rung, cause.to_owned()));
        assert_eq!(list(&refused), "\n  c: EPERM\n  c: ENOSYS\n  d: ENOSYS");
    }
}
