//! What a tracer needs of the sandbox: a filter that takes no rights away, and processes that can be followed from
//! birth.

use std::io::Read;

use scrimp::sandbox::{Exit, FilterInstruction};

use crate::harness::{Place, idle, run, sh, start};

pub fn a_filter_takes_no_rights_away() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    idle(&sandbox);
    // sethostname (170 on x86-64, 161 on arm64) fails with EPERM = 1; everything else goes on.
    let number = if cfg!(target_arch = "x86_64") { 170 } else { 161 };
    let filter = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x0005_0026), (0x06, 0, 0, 0x7fff_0000)];
    let filter = filter.map(|(code, jt, jf, k)| FilterInstruction { code, jt, jf, k });
    let mut spec = sh("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; busybox hostname x");
    spec.filter = Some(filter.to_vec());
    let (spawned, mut output) = start(&sandbox, &spec).unwrap_or_else(|e| panic!("{e}"));
    assert!(!spawned.no_new_privs);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "NoNewPrivs:\t0\nSeccomp:\t2\nhostname: sethostname: Function not implemented\n");
}

pub fn a_tracer_sees_one_execve_before_the_application() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let (seized, go_on) = std::sync::mpsc::channel();
    let supervisor = sandbox.supervisor();
    let tracer = std::thread::spawn(move || trace(supervisor, &seized));
    go_on.recv().unwrap();
    let mut spec = sh("cat /etc/plain");
    // Stops at every call but a few that take no path; the message says whether it is execve.
    let harmless: &[u32] = if cfg!(target_arch = "x86_64") {
        // read write mmap mprotect munmap brk rt_sigaction rt_sigprocmask prctl setresuid setresgid capget capset
        &[0, 1, 7, 9, 10, 11, 12, 13, 14, 157, 117, 119, 125, 126, 436]
    } else {
        &[63, 64, 73, 222, 226, 215, 214, 134, 135, 167, 147, 149, 90, 91, 436]
    };
    let execve = if cfg!(target_arch = "x86_64") { 59 } else { 221 };
    let mut filter = vec![(0x20, 0, 0, 0)];
    for &number in harmless {
        filter.extend([(0x15, 0, 1, number), (0x06, 0, 0, 0x7fff_0000)]);
    }
    filter.extend([(0x15, 0, 1, execve), (0x06, 0, 0, 0x7ff0_0001), (0x06, 0, 0, 0x7ff0_0002)]);
    spec.filter = Some(filter.into_iter().map(|(code, jt, jf, k)| FilterInstruction { code, jt, jf, k }).collect());
    let (text, exit) = run(&sandbox, &spec);
    assert_eq!((text.as_str(), exit), ("#!/bin/sh\n", Exit::Code(0)));
    sandbox.finish();
    let events = tracer.join().unwrap();
    let until_exec: Vec<&str> = events.iter().map(String::as_str).take_while(|e| *e != "exec").collect();
    assert_eq!(until_exec, ["supervisor forks", "execve"]);
    assert!(events.iter().any(|e| e == "another call"));
    assert_eq!(events.last().map(String::as_str), Some("supervisor ends"));
}

/// The smallest tracer there can be: seizes, lets everything go on, and tells what it saw until the supervisor ends.
fn trace(supervisor: i32, seized: &std::sync::mpsc::Sender<()>) -> Vec<String> {
    let options = libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: no pointer is passed but to a number that outlives its call.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, supervisor, 0usize, options as usize), 0);
        seized.send(()).unwrap();
        let mut seen = Vec::new();
        loop {
            let mut status = 0;
            let pid = libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD);
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if pid == supervisor {
                    seen.push("supervisor ends".to_owned());
                    return seen;
                }
                continue;
            }
            let mut message = 0u64;
            libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0usize, &raw mut message);
            let mut signal = 0;
            match status >> 16 {
                libc::PTRACE_EVENT_FORK if pid == supervisor => seen.push("supervisor forks".to_owned()),
                libc::PTRACE_EVENT_EXEC => seen.push("exec".to_owned()),
                libc::PTRACE_EVENT_SECCOMP if message == 1 => seen.push("execve".to_owned()),
                libc::PTRACE_EVENT_SECCOMP => seen.push("another call".to_owned()),
                0 => signal = libc::WSTOPSIG(status),
                _ => {}
            }
            libc::ptrace(libc::PTRACE_CONT, pid, 0usize, signal as usize);
        }
    }
}
