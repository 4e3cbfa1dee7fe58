//! Calls in any order, made to the model and to the kernel, with what each returns and leaves behind.

use std::fmt::Write;

use nix::errno::Errno;

use super::super::{ALL_CAPABILITIES, CapabilitySets, Credentials};
use super::kernel::{call, in_child, own, root};
use super::random::Random;
use super::{done, outcome, text};

#[derive(Clone, Debug)]
enum Call {
    Setuid(u32),
    Setgid(u32),
    Setreuid(u32, u32),
    Setregid(u32, u32),
    Setresuid(u32, u32, u32),
    Setresgid(u32, u32, u32),
    Setfsuid(u32),
    Setfsgid(u32),
    Setgroups(Vec<u32>),
    /// Effective, permitted, inheritable.
    Capset(u64, u64, u64),
    Prctl(i32, [u64; 4]),
}

impl Call {
    fn to_model(&self, model: &mut Credentials) -> String {
        match *self {
            Call::Setuid(id) => done(model.setuid(id)),
            Call::Setgid(id) => done(model.setgid(id)),
            Call::Setreuid(r, e) => done(model.setreuid(r, e)),
            Call::Setregid(r, e) => done(model.setregid(r, e)),
            Call::Setresuid(r, e, s) => done(model.setresuid(r, e, s)),
            Call::Setresgid(r, e, s) => done(model.setresgid(r, e, s)),
            Call::Setfsuid(id) => model.setfsuid(id).to_string(),
            Call::Setfsgid(id) => model.setfsgid(id).to_string(),
            Call::Setgroups(ref groups) => done(model.setgroups(groups.clone())),
            Call::Capset(e, p, i) => done(model.capset(e, p, i)),
            Call::Prctl(option, args) => outcome(model.prctl(option, args).unwrap()),
        }
    }

    fn to_kernel(&self) -> String {
        let ids = |number, ids: &[u32]| outcome(call(number, &ids.iter().copied().map(u64::from).collect::<Vec<_>>()));
        match *self {
            Call::Setuid(id) => ids(libc::SYS_setuid, &[id]),
            Call::Setgid(id) => ids(libc::SYS_setgid, &[id]),
            Call::Setreuid(r, e) => ids(libc::SYS_setreuid, &[r, e]),
            Call::Setregid(r, e) => ids(libc::SYS_setregid, &[r, e]),
            Call::Setresuid(r, e, s) => ids(libc::SYS_setresuid, &[r, e, s]),
            Call::Setresgid(r, e, s) => ids(libc::SYS_setresgid, &[r, e, s]),
            Call::Setfsuid(id) => ids(libc::SYS_setfsuid, &[id]),
            Call::Setfsgid(id) => ids(libc::SYS_setfsgid, &[id]),
            Call::Setgroups(ref groups) => {
                outcome(call(libc::SYS_setgroups, &[groups.len() as u64, groups.as_ptr() as u64]))
            }
            Call::Capset(effective, permitted, inheritable) => {
                let header = [super::super::CAPABILITY_VERSION, 0];
                let data = CapabilitySets { effective, permitted, inheritable }.encode(24);
                outcome(call(libc::SYS_capset, &[header.as_ptr() as u64, data.as_ptr() as u64]))
            }
            Call::Prctl(option, [a, b, c, d]) => outcome(call(libc::SYS_prctl, &[option as u64, a, b, c, d])),
        }
    }

    /// A call that may well do something to a process that is `now`.
    fn random(random: &mut Random, now: &Credentials) -> Call {
        let mut id = || random.id_or_none();
        let (a, b, c) = (id(), id(), id());
        match random.below(18) {
            0 => Call::Setuid(a),
            1 => Call::Setgid(a),
            2 => Call::Setreuid(a, b),
            3 => Call::Setregid(a, b),
            4 | 5 => Call::Setresuid(a, b, c),
            6 => Call::Setresgid(a, b, c),
            7 => Call::Setfsuid(a),
            8 => Call::Setfsgid(a),
            9 => Call::Setgroups(random.groups()),
            10..=12 => {
                let mut set = || match random.below(6) {
                    0 => now.permitted,
                    1 => now.permitted & (random.capabilities() | 0xc0),
                    2 => now.effective,
                    3 => now.inheritable,
                    4 => now.inheritable | random.capabilities(),
                    _ => random.next() & random.next(),
                };
                let (effective, permitted, inheritable) = (set(), set(), set());
                let effective = if inheritable & 1 == 0 { effective & permitted } else { effective };
                Call::Capset(effective, permitted, inheritable)
            }
            _ => Call::random_prctl(random, now),
        }
    }

    fn random_prctl(random: &mut Random, now: &Credentials) -> Call {
        let number = if random.one_in(12) { 41 + random.next() % 3 } else { random.next() % 41 };
        let stray = if random.one_in(12) { 1 } else { 0 };
        match random.below(12) {
            0 => Call::Prctl(libc::PR_CAPBSET_READ, [number, 0, 0, 0]),
            1 => Call::Prctl(libc::PR_CAPBSET_DROP, [number, 0, 0, 0]),
            2..=5 => {
                let usable = now.permitted & now.inheritable;
                let number = if usable != 0 { u64::from(usable.trailing_zeros()) } else { number };
                let operation = random.pick(&[0, 1, 2, 2, 2, 2, 3, 4, 5]);
                let number = if operation == 4 && !random.one_in(3) { 0 } else { number };
                Call::Prctl(libc::PR_CAP_AMBIENT, [operation, number, 0, stray])
            }
            6 => Call::Prctl(libc::PR_GET_KEEPCAPS, [0; 4]),
            7 => Call::Prctl(libc::PR_SET_KEEPCAPS, [random.pick(&[0, 1, 1, 2]), 0, 0, 0]),
            8 => Call::Prctl(libc::PR_GET_SECUREBITS, [0; 4]),
            9 | 10 => {
                let bits = match random.below(8) {
                    0 => random.next() & 0xfff,
                    1 => random.next(),
                    2 => u64::from(now.securebits) | 1 << random.below(12),
                    _ => random.next() & 0x54,
                };
                Call::Prctl(libc::PR_SET_SECUREBITS, [bits, 0, 0, 0])
            }
            _ if random.one_in(2) => Call::Prctl(libc::PR_GET_NO_NEW_PRIVS, [0, 0, stray, 0]),
            _ => Call::Prctl(libc::PR_SET_NO_NEW_PRIVS, [random.pick(&[1, 1, 0]), 0, 0, stray]),
        }
    }
}

/// Makes calls to both, `next` after `next`, in a child; what differed, with the way to it.
fn compare(mut next: impl FnMut(&Credentials) -> Option<Call>) -> String {
    in_child(|_| {
        let mut model = own();
        let mut log = format!("{}\n", text(&model));
        while let Some(call) = next(&model) {
            let expected = call.to_model(&mut model);
            let found = call.to_kernel();
            let now = own();
            writeln!(log, "{call:x?} = {expected}: {}", text(&model)).unwrap();
            if expected != found || now != model {
                writeln!(log, "but the kernel says {found}: {}", text(&now)).unwrap();
                return log;
            }
        }
        String::new()
    })
}

#[test]
fn what_daemons_do_the_kernel_does_alike() {
    root();
    const NONE: u32 = u32::MAX;
    let keep = Call::Prctl(libc::PR_SET_KEEPCAPS, [1, 0, 0, 0]);
    let cases: &[&[Call]] = &[
        &[Call::Setgroups(vec![3, 1, 2, 1]), Call::Setgid(1000), Call::Setuid(1000), Call::Setuid(0)],
        &[Call::Setresuid(1000, 1000, 0), Call::Setresuid(NONE, 0, NONE), Call::Setresuid(0, 0, 0)],
        &[Call::Setreuid(NONE, 1000), Call::Setreuid(1000, 0), Call::Setreuid(1000, 1000), Call::Setuid(0)],
        &[Call::Setfsuid(1000), Call::Setresuid(NONE, NONE, NONE), Call::Setresuid(NONE, 0, NONE)],
        &[Call::Setfsgid(1000), Call::Setresgid(NONE, NONE, NONE), Call::Setregid(NONE, NONE)],
        &[keep, Call::Setuid(1000), Call::Capset(1 << 10, 1 << 10, 1 << 10), Call::Prctl(47, [2, 10, 0, 0])],
        &[Call::Capset(ALL_CAPABILITIES, ALL_CAPABILITIES, 0), Call::Capset(0, 0, u64::MAX), Call::Setuid(5)],
        &[Call::Setuid(NONE), Call::Setgid(NONE), Call::Setgroups(vec![NONE])],
    ];
    for calls in cases {
        let mut calls = calls.iter().cloned();
        assert_eq!(compare(|_| calls.next()), "");
    }
}

#[test]
fn calls_in_any_order_end_as_in_the_kernel() {
    root();
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let mut left = 14;
        let differed = compare(|now| {
            left -= 1;
            (left > 0).then(|| Call::random(&mut random, now))
        });
        assert_eq!(differed, "", "sequence {seed}");
    }
}

#[test]
fn too_many_groups_are_refused() {
    let own = root();
    for (count, capable, expected) in
        [(65536, true, "0"), (65537, true, "EINVAL"), (65537, false, "EPERM"), (0, true, "0"), (0, false, "EPERM")]
    {
        let groups: Vec<u32> = (0..count).rev().collect();
        let said = in_child(|_| {
            let mut model = own.clone();
            if !capable {
                for call in [Call::Setuid(1), Call::Setgid(1)] {
                    call.to_model(&mut model);
                    call.to_kernel();
                }
            }
            let call = Call::Setgroups(groups);
            format!("{} {}", call.to_model(&mut model), call.to_kernel())
        });
        assert_eq!(said, format!("{expected} {expected}"), "{count} groups");
    }
}

#[test]
fn other_options_of_prctl_are_not_answered() {
    let mut model = Credentials::new(0, 0, vec![], ALL_CAPABILITIES);
    for option in [libc::PR_SET_NAME, libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE, libc::PR_SET_SECCOMP, -1] {
        assert_eq!(model.prctl(option, [0; 4]).map(|r| r.map_err(|e: Errno| e)), None);
    }
}
