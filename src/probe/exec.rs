//! The exec probe: a command run beside the application.

use std::time::Duration;

use crate::base::Digest;
use crate::observation::{Answer, Redactor};
use crate::probe::ProbeError;
use crate::probe::expect::{ExecExpect, find};
use crate::probe::run::{Outcome, excerpt};
use crate::probe::step::{ExecStep, command_text};
use crate::probe::target::{ExecFailure, ExecOutcome, ExecRequest, Target};

/// Runs the command and judges how it ended.
pub(super) fn probe(
    step: &ExecStep,
    timeout: Duration,
    target: &dyn Target,
    redactor: &Redactor,
) -> Result<Outcome, ProbeError> {
    let request = ExecRequest { argv: step.argv.clone(), user: step.user.clone(), timeout, keep: step.keep };
    match target.exec(&request) {
        Ok(outcome) => {
            let judged = Outcome::new(answer(&outcome), judge(&step.expect, &outcome, redactor));
            Ok(judged.showing("stdout", outcome.stdout).showing("stderr", outcome.stderr))
        }
        Err(failure) => without_end(failure, &step.argv, timeout, "in the sandbox"),
    }
}

/// What it is for a probe that the command `argv`, run `place`, came to no end of its own.
pub(super) fn without_end(
    failure: ExecFailure,
    argv: &[String],
    timeout: Duration,
    place: &str,
) -> Result<Outcome, ProbeError> {
    match failure {
        ExecFailure::NotStarted(message) => Ok(Outcome::failed(format!("cannot run {}: {message}", argv[0]))),
        ExecFailure::TimedOut => Ok(Outcome::failed(format!("timed out after {} s", timeout.as_secs_f64()))),
        ExecFailure::Broken(cause) => {
            Err(ProbeError::Broken { operation: format!("run {} {place}", command_text(argv)), cause })
        }
    }
}

/// How a command ended, for a transcript.
pub(super) fn answer(outcome: &ExecOutcome) -> Answer {
    Answer::Exit {
        code: outcome.code,
        stdout_digest: Digest::of(&outcome.stdout),
        stdout_bytes: outcome.stdout.len() as u64,
        stderr_digest: Digest::of(&outcome.stderr),
        stderr_bytes: outcome.stderr.len() as u64,
    }
}

/// What of it was not expected.
pub(super) fn judge(expect: &ExecExpect, outcome: &ExecOutcome, redactor: &Redactor) -> Option<String> {
    let stdout = || format!("got {}", excerpt(&outcome.stdout, redactor));
    if outcome.code != expect.exit {
        return Some(wrong_code(expect.exit, outcome, redactor));
    }
    if let Some(text) = &expect.stdout_contains
        && find(&outcome.stdout, text.as_bytes()).is_none()
    {
        return Some(format!("expected {text:?} in the output, {}", stdout()));
    }
    if let Some(text) = &expect.stdout
        && outcome.stdout.trim_ascii_end() != text.as_bytes().trim_ascii_end()
    {
        return Some(format!("expected the output {text:?}, {}", stdout()));
    }
    let digest = Digest::of(&outcome.stdout);
    match expect.stdout_digest {
        Some(expected) if expected != digest => Some(format!("expected output with digest {expected}, got {digest}")),
        _ => None,
    }
}

fn wrong_code(expected: i32, outcome: &ExecOutcome, redactor: &Redactor) -> String {
    let output = [&outcome.stderr, &outcome.stdout].into_iter().find(|output| !output.trim_ascii().is_empty());
    let output = output.map(|output| format!(": {}", excerpt(output.trim_ascii(), redactor))).unwrap_or_default();
    format!("expected exit code {expected}, got {}{output}", outcome.code)
}
