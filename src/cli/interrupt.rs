//! Ctrl-C and its kin.

use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use crate::cli::terminal;

/// The exit code that shells and the field use for an interrupted program.
const EXIT_INTERRUPTED: i32 = 130;

/// From now on SIGINT, SIGTERM and SIGHUP end this process at once with exit code 130. Whatever it had started dies
/// with it, and what it had staged has no name or is swept by the next run. A second signal finds the same end under
/// way, for nothing on this way waits. To be called before the first thread is started, so that all threads leave these
/// signals to the one that waits for them.
pub fn exit_on_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).context("cannot block signals")?;
    let wait = move || {
        // Nothing but a bad set makes this fail, and then there is nobody to tell.
        if signals.wait().is_ok() {
            terminal::say_at_once("interrupted\n");
            std::process::exit(EXIT_INTERRUPTED);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).context("cannot start a thread")?;
    Ok(())
}
