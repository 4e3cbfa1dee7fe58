//! The program that is asked: whether it is there and works, how a command of it is run, and how its containers are
//! reached.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use crate::base::env_vars;
use crate::runtime::RuntimeError;
use crate::runtime::error::system;
use crate::sandbox::{Caretaker, with_all_signals};

/// Which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// podman, with root or without.
    Podman,
    /// docker, with its daemon on this machine.
    Docker,
}

/// How probes get to what a container listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its network has nothing but a loopback interface, and a thread can enter it.
    Join,
    /// It is on the runtime's own bridge and answers at its address there, because nobody here may enter its network.
    Bridge,
}

/// A runtime that works.
pub struct Engine {
    kind: Kind,
    version: String,
    reach: Reach,
    /// What this process's containers and images are called, as nobody else's are.
    name: String,
    caretaker: Caretaker,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Podman => "podman",
            Kind::Docker => "docker",
        }
    }

    /// The oldest that knows all options that are used.
    fn least(self) -> (u32, u32) {
        match self {
            Kind::Podman => (3, 4),
            Kind::Docker => (20, 10),
        }
    }

    /// A command of it, that gets no input. It is in a process group of its own: what it does for scrimp is not to be
    /// cut off by an interrupt at the terminal, which is for scrimp.
    fn command(self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(["--log-level", "error"]).args(arguments).stdin(Stdio::null()).process_group(0);
        with_all_signals(&mut command);
        command
    }

    /// Asks it for something before anything is trusted.
    fn introduce(self, arguments: &[&str]) -> Result<String, RuntimeError> {
        let output = self.command(arguments).output().map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => RuntimeError::Missing(self),
            _ => RuntimeError::Unusable { kind: self, cause: cause.to_string(), hint: self.hint("") },
        })?;
        let cause = said(&output);
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(RuntimeError::Unusable { kind: self, hint: self.hint(&cause), cause }),
        }
    }

    fn hint(self, cause: &str) -> &'static str {
        match self {
            Kind::Podman => "`podman info` has to work for this user; without --runtime scrimp's own sandbox is used",
            Kind::Docker if cause.to_ascii_lowercase().contains("permission denied") => {
                "run as root, or as a member of the group docker; without --runtime scrimp's own sandbox is used"
            }
            Kind::Docker => {
                "start its daemon (systemctl start docker), or name the right one in DOCKER_HOST; without --runtime \
                 scrimp's own sandbox is used"
            }
        }
    }
}

/// Goes on as root of podman's own user namespace, in which its containers' networks can be entered, where this process
/// is not root: `podman unshare` executes the same command line once more. To be called first of all; it returns where
/// nothing needs to be done.
pub fn enter_namespace(kind: Kind) -> Result<(), RuntimeError> {
    let is_inside = std::env::var_os(env_vars::PODMAN_USER_NAMESPACE).is_some();
    if kind != Kind::Podman || is_inside || nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    // What podman says of itself is told better than what comes of the next step.
    kind.introduce(&["version", "--format", "{{.Client.Version}}"])?;
    let this = std::env::current_exe().map_err(system("find the program that runs"))?;
    let mut command = Command::new(kind.program());
    command.args(["--log-level", "error", "unshare"]).arg(this).args(std::env::args_os().skip(1));
    Err(RuntimeError::Unusable { kind, cause: command.exec().to_string(), hint: kind.hint("") })
}

impl Engine {
    /// Finds out whether it is there, works and is new enough. From now on what is left with it is removed when scrimp
    /// ends, however that happens.
    pub fn find(kind: Kind) -> Result<Self, RuntimeError> {
        let version = match kind {
            Kind::Podman => {
                let said = kind.introduce(&["info", "--format", "{{.Version.Version}} {{.Host.ServiceIsRemote}}"])?;
                let (version, is_remote) = said.split_once(' ').unwrap_or((&said, ""));
                if is_remote == "true" {
                    return Err(RuntimeError::Elsewhere(kind));
                }
                version.to_owned()
            }
            Kind::Docker => kind.introduce(&["version", "--format", "{{.Server.Version}}"])?,
        };
        if release(&version).is_some_and(|release| release < kind.least()) {
            let (major, minor) = kind.least();
            return Err(RuntimeError::TooOld { kind, version, least: format!("{major}.{minor}") });
        }
        let reach = if nix::unistd::geteuid().is_root() { Reach::Join } else { Reach::Bridge };
        let name = format!("scrimp-verify-{}", random().map_err(system("read random numbers"))?);
        let caretaker = Caretaker::start().map_err(system("start a helper process"))?;
        Ok(Engine { kind, version, reach, name, caretaker })
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Which version of it, as it says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How its containers are reached.
    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// What this process's containers and images are called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A command of it.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        self.kind.command(arguments)
    }

    /// Runs a command of it and returns what it printed; `operation` is for messages.
    pub(super) fn ask(&self, operation: &'static str, command: Command) -> Result<String, RuntimeError> {
        let output = self.output(command).map_err(system("run a command of the runtime"))?;
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(RuntimeError::Command { kind: self.kind, operation, cause: said(&output) }),
        }
    }

    /// Runs a command of it that may fail.
    pub(super) fn output(&self, mut command: Command) -> io::Result<Output> {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        self.caretaker.busy(Some(child.id()))?;
        let output = child.wait_with_output();
        self.caretaker.busy(None)?;
        output
    }

    /// From now on these commands of it are run when scrimp ends.
    pub(super) fn owe(&self, name: &str, commands: &[&[&str]]) -> Result<(), RuntimeError> {
        let program = [self.kind.program()];
        let whole = |command: &&[&str]| program.iter().chain(*command).map(|word| (*word).to_owned()).collect();
        self.caretaker.owe(name, commands.iter().map(whole).collect()).map_err(system("tell a helper process"))
    }

    /// What was owed under this name is done.
    pub(super) fn paid(&self, name: &str) -> Result<(), RuntimeError> {
        self.caretaker.paid(name).map_err(system("tell a helper process"))
    }
}

/// What a command says that failed, in one line.
fn said(output: &Output) -> String {
    let lines = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => format!("it ended with {}", output.status),
        false => plain(&lines.join("; ")).to_owned(),
    }
}

/// A message without the word that it begins with.
pub(super) fn plain(message: &str) -> &str {
    let message = message.trim();
    ["Error: ", "Error response from daemon: "]
        .iter()
        .fold(message, |rest, word| rest.strip_prefix(word).unwrap_or(rest))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// The first two numbers of a version; `None` when it is none, as those of a build from a repository.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Sixteen digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        for (version, expected) in [
            ("4.3.1", Some((4, 3))),
            ("28.2.2", Some((28, 2))),
            ("5.0.0-dev", Some((5, 0))),
            ("20.10+dfsg1", Some((20, 10))),
            ("dev", None),
            ("", None),
        ] {
            assert_eq!(release(version), expected, "{version}");
        }
        assert!((3, 0) < Kind::Podman.least() && (19, 3) < Kind::Docker.least());
    }

    #[test]
    fn messages_are_plain() {
        for message in ["Error: no such image", "Error response from daemon: no such image\n", "no such image"] {
            assert_eq!(plain(message), "no such image");
        }
    }
}
