//! Who reaches whom with a signal: the model against the kernel.

use std::fs::File;
use std::io::{Read, Write};

use nix::errno::Errno;

use super::kernel::{assume, call, in_child, pipe, root};
use super::random::Random;
use super::text;

#[test]
fn signals_reach_whom_the_kernel_lets_them() {
    let own = root();
    for seed in 0..400 {
        let mut random = Random::new(2_000_000 + seed);
        let (sender, target) = (random.credentials(own.bounding), random.credentials(own.bounding));
        let said = in_child(|_| {
            let (ready, tell_ready) = pipe();
            let (over, _until_over) = pipe();
            // SAFETY: the child lives until this process ends; it does nothing but system calls and allocations.
            let pid = Errno::result(unsafe { libc::fork() }).unwrap();
            if pid == 0 {
                drop(_until_over);
                assume(&target);
                File::from(tell_ready).write_all(b"x").unwrap();
                File::from(over).read_to_end(&mut Vec::new()).unwrap();
                // SAFETY: ends the process.
                unsafe { libc::_exit(0) };
            }
            drop(tell_ready);
            File::from(ready).read_exact(&mut [0]).unwrap();
            assume(&sender);
            call(libc::SYS_kill, &[pid as u64, 0]).is_ok().to_string()
        });
        let expected = sender.may_signal(&target).to_string();
        assert_eq!(said, expected, "case {seed}: {} to {}", text(&sender), text(&target));
    }
}
