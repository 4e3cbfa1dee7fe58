//! The script probe: a program of the caller's, run outside of the sandbox with the way to the application in its
//! environment. It may be a whole test suite: the application is traced for as long as it runs.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::env_vars;
use crate::observation::Redactor;
use crate::probe::arguments::alone;
use crate::probe::expect::ExecExpect;
use crate::probe::plan::Plan;
use crate::probe::run::{Outcome, Probing};
use crate::probe::step::{Action, Step, command_text};
use crate::probe::target::{Port, Protocol, ScriptRequest, Target};
use crate::probe::{ProbeError, Spec, exec};

/// How long a script may take when nothing else is said.
pub(super) const SCRIPT_TIMEOUT: Duration = Duration::from_secs(300);

/// How long the command of `--while` may take.
const WHILE_TIMEOUT: Duration = Duration::from_secs(3600);

/// A program of the caller's that talks to the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScriptStep {
    /// How it is called in a transcript: `script ./check.sh`.
    pub title: String,
    /// The program, by a path of the host's, and its arguments.
    pub argv: Vec<String>,
    /// Where the application is reached; `None` until the plan is resolved, and where it listens nowhere.
    pub port: Option<Port>,
    /// What must come.
    pub expect: ExecExpect,
}

/// Runs the script and judges how it ended.
pub(super) fn probe(
    step: &ScriptStep,
    addresses: &[IpAddr],
    timeout: Duration,
    target: &dyn Target,
    redactor: &Redactor,
) -> Result<Outcome, ProbeError> {
    let env = match (step.port, addresses.first()) {
        (Some(port), Some(&address)) => variables(port, address),
        _ => Vec::new(),
    };
    match target.script(&ScriptRequest { argv: step.argv.clone(), env, timeout }) {
        Ok(outcome) => {
            let judged = Outcome::new(exec::answer(&outcome), exec::judge(&step.expect, &outcome, redactor));
            Ok(judged.showing("stdout", outcome.stdout))
        }
        Err(failure) => exec::without_end(failure, &step.argv, timeout, "on this machine"),
    }
}

fn variables(port: Port, address: IpAddr) -> Vec<(String, String)> {
    let variable = |name: &str, value: String| (name.to_owned(), value);
    let mut out = vec![
        variable(env_vars::APPLICATION_HOST, address.to_string()),
        variable(env_vars::APPLICATION_PORT, port.number.to_string()),
    ];
    if port.protocol == Protocol::Tcp {
        out.push(variable(env_vars::URL, format!("http://{}", SocketAddr::new(address, port.number))));
    }
    out
}

impl Probing<'_> {
    /// Gives a script a port if it has none: as a request gets one, and where nothing listens on TCP, one of UDP.
    pub(super) fn resolve_script(&self, plan: &Plan, script: &mut ScriptStep) -> Result<(), ProbeError> {
        if script.port.is_some() {
            return Ok(());
        }
        if plan.circumstances.port.is_some() {
            script.port = plan.circumstances.port;
            return Ok(());
        }
        let candidates = self.candidates(plan, Protocol::Tcp);
        let chosen = match candidates.len() {
            0 | 1 => candidates.first().copied(),
            _ => self.first_http(&candidates)?.or(candidates.first().copied()),
        };
        let datagrams = || self.candidates(plan, Protocol::Udp).first().copied().map(Port::udp);
        script.port = chosen.map(Port::tcp).or_else(datagrams);
        Ok(())
    }
}

impl Spec {
    /// `--script FILE`: an executable of the host's. Exit code 0 passes, and its output has to be the same for both images.
    pub fn from_script_argument(text: &str) -> Result<Spec, ProbeError> {
        let program = executable(Path::new(text), || format!("--script {text:?}"))?;
        let step = ScriptStep {
            title: format!("script {}", command_text(&[text.into()])),
            argv: vec![program],
            port: None,
            expect: ExecExpect::default(),
        };
        Ok(alone("--script", Step { timeout: SCRIPT_TIMEOUT, ..Step::new(Action::Script(step)) }))
    }

    /// `--while CMD`: a line for the host's shell. Exit code 0 passes; what it writes is not compared.
    pub fn from_while_argument(text: &str) -> Result<Spec, ProbeError> {
        if text.trim().is_empty() || text.contains('\0') {
            let message = if text.contains('\0') { "it holds a NUL byte" } else { "it names no command" };
            let hint =
                "it is a line for `sh -c`, run on this machine while the application runs: `--while 'make check'`";
            return Err(ProbeError::Script { place: format!("--while {text:?}"), message: message.into(), hint });
        }
        let step = ScriptStep {
            title: format!("while {}", command_text(&[text.into()])),
            argv: shell(text),
            port: None,
            expect: ExecExpect::default(),
        };
        let ignore = vec!["stdout".into()];
        Ok(alone("--while", Step { timeout: WHILE_TIMEOUT, ignore, ..Step::new(Action::Script(step)) }))
    }
}

/// The words that run a line in the host's shell.
pub(super) fn shell(line: &str) -> Vec<String> {
    ["/bin/sh", "-c", line].map(String::from).to_vec()
}

/// The absolute path of a program of the host's that can be run: a mistake in it is to be found before anything is run.
/// `place` is where its name stands, for messages.
pub(super) fn executable(path: &Path, place: impl Fn() -> String) -> Result<String, ProbeError> {
    let wrong = |message: String, hint| ProbeError::Script { place: place(), message, hint };
    let absolute = std::path::absolute(path).and_then(|path| {
        let metadata = std::fs::metadata(&path)?;
        Ok((path, metadata))
    });
    let (path, metadata) = absolute
        .map_err(|cause| wrong(format!("cannot read it: {cause}"), "give the path of an executable on this machine"))?;
    if !metadata.is_file() {
        return Err(wrong("it is no file".into(), "give the path of an executable on this machine"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(wrong("it is not executable".into(), "chmod +x makes it so; a line for a shell goes to --while"));
    }
    let mut beginning = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(4).read_to_end(&mut beginning));
    // A program may be executable and not readable; the system knows what to do with it.
    if read.is_ok() && !beginning.starts_with(b"#!") && beginning != b"\x7fELF" {
        let hint = "let its first line name the interpreter, as `#!/bin/sh` does";
        return Err(wrong("it is neither a program nor a script that begins with #!".into(), hint));
    }
    path.into_os_string().into_string().map_err(|path| wrong(format!("{path:?} is not UTF-8"), "rename it"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::probe::step::names;

    #[test]
    fn what_cannot_be_run_is_refused_before_anything_is() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content, mode, expected) in [
            ("none", None, 0, "cannot read it: No such file or directory"),
            ("plain", Some("#!/bin/sh\n"), 0o644, "it is not executable\nhint: chmod +x"),
            ("bare", Some("exit 0\n"), 0o755, "it is neither a program nor a script that begins with #!\nhint: "),
            ("empty", Some(""), 0o755, "it is neither a program"),
            ("good", Some("#!/bin/sh\n"), 0o755, ""),
        ] {
            let file = dir.path().join(name);
            if let Some(content) = content {
                fs::write(&file, content).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            }
            let made = Spec::from_script_argument(file.to_str().unwrap());
            let message = made.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(expected) && message.is_empty() == expected.is_empty(), "{name}: {message}");
        }
        let message = Spec::from_script_argument("/").unwrap_err().to_string();
        assert!(message.starts_with("--script \"/\": it is no file\nhint: "), "{message}");
        assert!(Spec::from_while_argument(" ").unwrap_err().to_string().starts_with("--while \" \": it names no"));
    }

    #[test]
    fn names_are_as_they_were_typed() {
        let spec = Spec::from_while_argument("pytest  -q\ntests").unwrap();
        assert_eq!(names(&spec.steps), [["while 'pytest -q tests'"]]);
        assert_eq!(spec.steps[0].all_ignored(), ["stderr", "stdout"]);
        let spec = Spec::from_script_argument("/bin/true").unwrap();
        assert_eq!(
            (names(&spec.steps), spec.steps[0].all_ignored()),
            (vec![vec!["script /bin/true".into()]], vec!["stderr".into()])
        );
    }

    #[test]
    fn the_way_to_the_application_is_in_the_environment() {
        let text = |port, address: &str| {
            let variables = variables(port, address.parse().unwrap());
            variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            text(Port::tcp(80), "127.0.0.1"),
            "SCRIMP_HOST=127.0.0.1 SCRIMP_PORT=80 SCRIMP_URL=http://127.0.0.1:80"
        );
        assert_eq!(text(Port::tcp(80), "::1"), "SCRIMP_HOST=::1 SCRIMP_PORT=80 SCRIMP_URL=http://[::1]:80");
        assert_eq!(text(Port::udp(53), "127.0.0.1"), "SCRIMP_HOST=127.0.0.1 SCRIMP_PORT=53");
    }
}
