//! What of scrimp itself a process of a sandbox can be: a copy that nobody can write.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scrimp::sandbox::{Sandbox, SandboxError, Stdio};

use crate::harness::{Place, command, idle, sh};
use crate::rungs::{RUNGS, start_on};
use crate::scenarios::refuse_call;

/// Which file a process executes.
fn executed(pid: &str) -> (File, (u64, u64)) {
    let file = File::open(format!("/proc/{pid}/exe")).unwrap();
    let meta = file.metadata().unwrap();
    (file, (meta.dev(), meta.ino()))
}

/// Whoever gets hold of `/proc/PID/exe` of a process on its way to a command once held scrimp's own binary.
pub fn no_process_of_a_sandbox_is_the_file_of_scrimp() {
    let place = &Place::enter();
    let (_, own) = executed("self");
    for rung in RUNGS {
        let sandbox = start_on(place, rung);
        let (file, found) = executed(&sandbox.supervisor().to_string());
        assert_ne!(found, own, "{rung}");
        let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
        let wanted = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        assert!(seals.contains(wanted), "{rung}: {seals:?}");
        assert_eq!(reach(&sandbox), 0, "{rung}");
        idle(&sandbox);
    }
}

fn reach(sandbox: &Sandbox) -> usize {
    sandbox.warnings().iter().filter(|warning| warning.contains("is not out of the application's reach")).count()
}

pub fn where_nothing_can_be_sealed_a_warning_says_so() {
    let place = &Place::enter();
    refuse_call(libc::SYS_memfd_create as u32, libc::EPERM);
    let sandbox = place.start(&place.choices());
    assert_eq!(reach(&sandbox), 1, "{:?}", sandbox.warnings());
    assert_eq!(executed(&sandbox.supervisor().to_string()).1, executed("self").1);
    idle(&sandbox);
}

/// Its end could not be brought about for certain, and once that was taken for its having ended.
pub fn a_process_that_cannot_be_held_on_to_is_an_error() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let stdio = Stdio::null().unwrap();
    let free = std::os::fd::AsRawFd::as_raw_fd(&File::open("/dev/null").unwrap()) as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free, hard).unwrap();
    let result = sandbox.spawn(&command(&["sleep", "1000"]), stdio);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let error = result.map(|spawned| spawned.pid).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, SandboxError::Look { .. }) && text.contains("Too many open files"), "{text}");
}

/// An application that stops all it sees once stopped scrimp as well, which waited for the process for ever.
pub fn a_process_that_is_stopped_on_its_way_is_not_waited_for() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let stopper = sh("while :; do kill -STOP -1 2>/dev/null; done");
    sandbox.spawn(&stopper, Stdio::null().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    // One may be fast enough to be stopped only when it is what it was to be.
    let results = (0..50).map(|_| sandbox.spawn(&command(&["id"]), Stdio::null().unwrap()));
    let error = results.filter_map(Result::err).next().expect("none was stopped on its way").to_string();
    assert!(error.contains("something has stopped it"), "{error}");
}
