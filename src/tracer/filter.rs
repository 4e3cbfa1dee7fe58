//! From the table of system calls to the seccomp program that stops them.
//!
//! Pure: what comes out is a list of classic BPF instructions, installed by whoever starts the application. The
//! program runs on every system call of every process, so the way to `ALLOW` is short: the architecture, the number,
//! a binary search; arguments are looked at only for the few calls where they decide. The kernel runs it once per
//! number in advance and remembers the numbers that are always allowed (`seccomp_cache_prepare`), for which it is
//! therefore free.

use serde::{Deserialize, Serialize};

use super::Options;
use super::syscalls::{Architecture, TABLE, When};

/// One instruction of classic BPF, the `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip when true.
    pub jt: u8,
    /// How many instructions to skip when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// What our `RET_TRACE` carries, to tell our stops from those of an application's own filter.
pub const TRACE_DATA: u16 = 0x5c1a;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_NOT_LESS: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_BITS: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const RET_TRACE: u32 = 0x7ff0_0000 | TRACE_DATA as u32;
const RET_ALLOW: u32 = 0x7fff_0000;

const AT_EMPTY_PATH: u32 = 0x1000;
const AT_FDCWD: u32 = -100_i32 as u32;
/// Numbers of x32 calls have this bit (`asm/unistd.h`).
pub const X32_BIT: u32 = 0x4000_0000;

// Offsets in `struct seccomp_data`; arguments are 64 bits, little endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const fn low(argument: u8) -> u32 {
    16 + 8 * argument as u32
}

const fn high(argument: u8) -> u32 {
    low(argument) + 4
}

const fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The program that stops every call of the table. With [`Options::exact`], also those that are nearly always harmless
/// and frequent (`gaps` of a recording names them); with [`Options::witnessed`], also those that change the file of a
/// descriptor; with [`Options::tasks`], also those that make a task; with [`Options::identity`], also those that show
/// or change ids.
pub fn filter(options: &Options) -> Vec<Instruction> {
    let stops = Stops {
        exact: options.exact,
        witnessed: options.witnessed,
        counted: options.tasks.is_some(),
        identity: options.identity.is_some(),
    };
    filter_for(Architecture::HERE, stops)
}

/// An architecture that is not among these is stopped with every call.
fn filter_for(architectures: &[Architecture], stops: Stops) -> Vec<Instruction> {
    let mut program = vec![statement(LOAD, ARCHITECTURE)];
    for &architecture in architectures {
        let calls = search(architecture, stops);
        // Too far for a conditional jump.
        program.extend([branch(JUMP_EQUAL, architecture.audit(), 1, 0), statement(JUMP, 1 + calls.len() as u32)]);
        program.push(statement(LOAD, NUMBER));
        program.extend(calls);
    }
    program.push(statement(RETURN, RET_TRACE));
    program
}

/// What is stopped besides what always is.
#[derive(Clone, Copy)]
struct Stops {
    exact: bool,
    witnessed: bool,
    identity: bool,
    counted: bool,
}

/// From this number on, up to the next range.
struct Range {
    from: u32,
    code: Vec<Instruction>,
}

/// Expects the number in the accumulator; always returns.
fn search(architecture: Architecture, stops: Stops) -> Vec<Instruction> {
    let allow = || vec![statement(RETURN, RET_ALLOW)];
    let mut calls: Vec<(u32, Vec<Instruction>)> =
        TABLE.iter().filter_map(|call| Some((architecture.number(call)?, decide(call.when, stops)))).collect();
    if architecture == Architecture::X86_64 {
        calls.extend([(X32_BIT, vec![statement(RETURN, RET_TRACE)])]);
    }
    calls.sort_by_key(|(number, _)| *number);
    let mut ranges: Vec<Range> = Vec::new();
    let mut next = 0;
    for (number, code) in calls {
        if number > next {
            push(&mut ranges, next, allow());
        }
        push(&mut ranges, number, code);
        next = if number == X32_BIT { 2 * X32_BIT } else { number + 1 };
    }
    push(&mut ranges, next, allow());
    tree(&ranges)
}

fn push(ranges: &mut Vec<Range>, from: u32, code: Vec<Instruction>) {
    // Neighbours that do the same are one range.
    if ranges.last().is_none_or(|last| last.code != code) {
        ranges.push(Range { from, code });
    }
}

fn tree(ranges: &[Range]) -> Vec<Instruction> {
    if let [only] = ranges {
        return only.code.clone();
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let (below, above) = (tree(left), tree(right));
    let mut out = match u8::try_from(below.len()) {
        Ok(distance) => vec![branch(JUMP_NOT_LESS, right[0].from, distance, 0)],
        Err(_) => vec![branch(JUMP_NOT_LESS, right[0].from, 0, 1), statement(JUMP, below.len() as u32)],
    };
    out.extend(below);
    out.extend(above);
    out
}

/// What happens once the number is known.
fn decide(when: When, Stops { exact, witnessed, counted, identity }: Stops) -> Vec<Instruction> {
    let (allow, trace) = (statement(RETURN, RET_ALLOW), statement(RETURN, RET_TRACE));
    match when {
        When::Always => vec![trace],
        When::Identity | When::NotFstat { .. } if identity => vec![trace],
        When::Identity => vec![allow],
        When::IdentityEither { .. } if !identity => vec![allow],
        When::Either { argument, values: [one, other] } | When::IdentityEither { argument, values: [one, other] } => {
            vec![
                statement(LOAD, low(argument)),
                branch(JUMP_EQUAL, one, 1, 0),
                branch(JUMP_EQUAL, other, 0, 1),
                trace,
                allow,
            ]
        }
        When::AtLeast { argument, least } => {
            vec![statement(LOAD, low(argument)), branch(JUMP_NOT_LESS, least, 0, 1), trace, allow]
        }
        When::Exact if exact => vec![trace],
        When::WitnessedOrIdentity if witnessed || identity => vec![trace],
        When::Counted | When::CountedOrBit { .. } if counted => vec![trace],
        When::Exact | When::WitnessedOrIdentity | When::Counted => vec![allow],
        When::CountedOrBit { argument, bit } => {
            vec![statement(LOAD, low(argument)), branch(JUMP_BITS, bit, 0, 1), trace, allow]
        }
        When::Bit { argument, bit } => {
            vec![statement(LOAD, low(argument)), branch(JUMP_BITS, bit, 0, 1), trace, allow]
        }
        When::NotNull { argument } => vec![
            statement(LOAD, low(argument)),
            branch(JUMP_EQUAL, 0, 0, 2),
            statement(LOAD, high(argument)),
            branch(JUMP_EQUAL, 0, 1, 0),
            trace,
            allow,
        ],
        When::NotFstat { fd, path, flags } => {
            let mut code = vec![
                statement(LOAD, low(flags)),
                branch(JUMP_EQUAL, AT_EMPTY_PATH, 1, 0),
                trace,
                statement(LOAD, low(fd)),
                branch(JUMP_EQUAL, AT_FDCWD, 0, 1),
                trace,
            ];
            if exact {
                code.extend([
                    statement(LOAD, low(path)),
                    branch(JUMP_EQUAL, 0, 0, 2),
                    statement(LOAD, high(path)),
                    branch(JUMP_EQUAL, 0, 1, 0),
                    trace,
                ]);
            }
            code.push(allow);
            code
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracer::syscalls::Call;

    fn options(exact: bool) -> Options {
        Options { exact, ..Options::default() }
    }

    /// `struct seccomp_data`, as the program sees it.
    struct Data {
        number: u32,
        architecture: u32,
        arguments: [u64; 6],
    }

    /// As much of a BPF machine as the program uses. Jumps may only go forward and stay inside.
    fn run(program: &[Instruction], data: &Data) -> u32 {
        let mut words = vec![data.number, data.architecture, 0, 0];
        words.extend(data.arguments.iter().flat_map(|&a| [a as u32, (a >> 32) as u32]));
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let condition = match code {
                LOAD => {
                    accumulator = words[k as usize / 4];
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                RETURN => return k,
                JUMP_EQUAL => accumulator == k,
                JUMP_NOT_LESS => accumulator >= k,
                JUMP_BITS => accumulator & k != 0,
                _ => panic!("unexpected code {code:#x}"),
            };
            at += usize::from(if condition { jt } else { jf });
        }
    }

    fn traced(exact: bool, architecture: Architecture, number: u32, arguments: [u64; 6]) -> bool {
        let data = Data { number, architecture: architecture.audit(), arguments };
        match run(&filter(&options(exact)), &data) {
            RET_TRACE => true,
            RET_ALLOW => false,
            other => panic!("unexpected verdict {other:#x}"),
        }
    }

    #[test]
    fn every_number_gets_what_the_table_says() {
        for architecture in [Architecture::X86_64, Architecture::I386] {
            let program = filter(&options(false));
            for number in 0..600 {
                let call: Option<&Call> = TABLE.iter().find(|c| architecture.number(c) == Some(number));
                let data = Data { number, architecture: architecture.audit(), arguments: [0; 6] };
                let expected = match call.map(|c| c.when) {
                    Some(When::Always | When::NotFstat { .. }) => RET_TRACE,
                    Some(When::Either { values: [0, _], .. }) => RET_TRACE,
                    _ => RET_ALLOW,
                };
                assert_eq!(run(&program, &data), expected, "{architecture:?} {number}");
            }
        }
    }

    #[test]
    fn arguments_decide_where_they_must() {
        const CWD: u64 = -100_i32 as u32 as u64;
        const CWD_EXTENDED: u64 = -100_i64 as u64;
        const PATH: u64 = 0x7fff_0000_1000;
        let x86_64 = Architecture::X86_64;
        // (what, exact, number, arguments, traced)
        for (what, exact, number, arguments, expected) in [
            ("fstat of glibc", false, 262, [3, PATH, 0, 0x1000, 0, 0], false),
            ("the same, exact", true, 262, [3, PATH, 0, 0x1000, 0, 0], true),
            ("exact with a NULL path", true, 262, [3, 0, 0, 0x1000, 0, 0], false),
            ("exact, low half of the path 0", true, 262, [3, 0x7fff_0000_0000, 0, 0x1000, 0, 0], true),
            ("current directory", false, 262, [CWD, PATH, 0, 0x1000, 0, 0], true),
            ("current directory, extended", false, 262, [CWD_EXTENDED, PATH, 0, 0x1000, 0, 0], true),
            ("flags are not exactly that", false, 262, [3, PATH, 0, 0x1100, 0, 0], true),
            ("fstatat", false, 262, [3, PATH, 0, 0, 0, 0], true),
            ("fstat of musl and Rust", false, 332, [3, PATH, 0x1000, 0xfff, 0, 0], false),
            ("statx", false, 332, [CWD, PATH, 0x100, 0xfff, 0, 0], true),
            ("send", false, 44, [3, PATH, 1, 0, 0, 0], false),
            ("sendto", false, 44, [3, PATH, 1, 0, PATH, 110], true),
            ("sendto, low half 0", false, 44, [3, PATH, 1, 0, 0x1_0000_0000, 110], true),
            ("fork of glibc", false, 56, [0x0120_0011, 0, 0, 0, 0, 0], false),
            ("untraced clone", false, 56, [0x0080_0011, 0, 0, 0, 0, 0], true),
            ("sendmsg", false, 46, [3, PATH, 0, 0, 0, 0], false),
            ("sendmsg, exact", true, 46, [3, PATH, 0, 0, 0, 0], true),
            ("read", false, 0, [0; 6], false),
            ("x32 read", false, X32_BIT, [0; 6], true),
            ("x32 open", false, X32_BIT + 2, [0; 6], true),
            ("no call at all", false, u32::MAX, [0; 6], false),
            ("dup2 to a standard stream", false, 33, [5, 2, 0, 0, 0, 0], false),
            ("dup2", false, 33, [2, 3, 0, 0, 0, 0], true),
            ("dup2, high half ignored", false, 33, [2, 0x1_0000_0002, 0, 0, 0, 0], false),
            ("dup3", false, 292, [5, 77, 0x80000, 0, 0, 0], true),
            ("F_DUPFD", false, 72, [0, 0, 10, 0, 0, 0], true),
            ("F_DUPFD_CLOEXEC", false, 72, [0, 0xffff_ffff_0000_0406, 10, 0, 0, 0], true),
            ("F_GETFD", false, 72, [5, 1, 0, 0, 0, 0], false),
            ("socketpair", false, 53, [1, 1, 0, PATH, 0, 0], true),
            ("socketpair of AF_TIPC", false, 53, [30, 1, 0, PATH, 0, 0], false),
            ("SO_PASSCRED", false, 54, [5, 1, 16, PATH, 4, 0], true),
            ("SO_REUSEADDR", false, 54, [5, 1, 2, PATH, 4, 0], false),
            ("close_range", false, 436, [3, !0, 4, 0, 0, 0], false),
            ("close_range that unshares", false, 436, [3, !0, 6, 0, 0, 0], true),
            ("seccomp", false, 317, [1, 1, PATH, 0, 0, 0], false),
            ("seccomp with a listener", false, 317, [1, 9, PATH, 0, 0, 0], true),
        ] {
            assert_eq!(traced(exact, x86_64, number, arguments), expected, "{what}");
        }
        assert!(traced(false, Architecture::I386, 5, [0; 6]), "i386 open");
        assert!(!traced(false, Architecture::I386, 3, [0; 6]), "i386 read");
    }

    #[test]
    fn descriptors_are_stopped_for_a_witness() {
        for (architecture, fchmod) in [(Architecture::X86_64, 91), (Architecture::I386, 94)] {
            for witnessed in [false, true] {
                let program = filter(&Options { witnessed, ..options(false) });
                let data = Data { number: fchmod, architecture: architecture.audit(), arguments: [0; 6] };
                let expected = if witnessed { RET_TRACE } else { RET_ALLOW };
                assert_eq!(run(&program, &data), expected, "{architecture:?} {witnessed}");
            }
        }
    }

    #[test]
    fn ids_are_stopped_where_they_are_virtual() {
        struct Nobody;
        impl crate::tracer::VirtualOwners for Nobody {
            fn base(&self, _: &crate::base::ImagePath) -> Option<crate::tracer::FileIdentity> {
                None
            }
        }
        let identity = crate::tracer::Identity { owners: std::sync::Arc::new(Nobody), in_place: false };
        let programs =
            [Options::default(), Options { identity: Some(identity), ..Options::default() }].map(|o| filter(&o));
        for (what, number, arguments, always) in [
            ("getuid", 102, [0; 6], false),
            ("fchmod", 91, [3, 0, 0, 0, 0, 0], false),
            ("fstat", 5, [3, 1, 0, 0, 0, 0], false),
            ("fstat of glibc", 262, [3, 1, 0, 0x1000, 0, 0], false),
            ("fstat of musl", 332, [3, 0, 0x1000, 0, 0, 0], false),
            ("SO_PEERCRED", 55, [3, 1, 17, 0, 0, 0], false),
            ("SO_PEERGROUPS", 55, [3, 1, 59, 0, 0, 0], false),
            ("stat", 4, [1, 0, 0, 0, 0, 0], true),
        ] {
            let data = Data { number, architecture: Architecture::X86_64.audit(), arguments };
            let verdicts = programs.each_ref().map(|program| run(program, &data));
            assert_eq!(verdicts, [if always { RET_TRACE } else { RET_ALLOW }, RET_TRACE], "{what}");
        }
        let error = Data { number: 55, architecture: Architecture::X86_64.audit(), arguments: [3, 1, 4, 0, 0, 0] };
        assert_eq!(run(&programs[1], &error), RET_ALLOW, "SO_ERROR");
        assert!(programs[1].len() < 4096, "BPF_MAXINSNS");
    }

    #[test]
    fn where_tasks_are_counted_each_call_that_makes_one_is_stopped() {
        let stopped = |tasks, architecture: Architecture, number| {
            let data = Data { number, architecture: architecture.audit(), arguments: [0x0120_0011, 0, 0, 0, 0, 0] };
            run(&filter(&Options { tasks, ..Options::default() }), &data) == RET_TRACE
        };
        for name in ["fork", "vfork", "clone", "clone3"] {
            let call = TABLE.iter().find(|c| c.name == name).unwrap();
            for architecture in [Architecture::X86_64, Architecture::I386] {
                let number = architecture.number(call).unwrap();
                assert!(stopped(Some(1), architecture, number), "{name}");
                assert_eq!(stopped(None, architecture, number), name == "clone3", "{name}");
            }
        }
    }

    #[test]
    fn aarch64_has_numbers_of_its_own() {
        let stops = Stops { exact: false, witnessed: false, identity: false, counted: false };
        let program = filter_for(&[Architecture::Aarch64], stops);
        for (what, number, arguments, expected) in [
            ("openat", 56, [0; 6], RET_TRACE),
            ("execve", 221, [0; 6], RET_TRACE),
            ("file_setattr", 469, [0; 6], RET_TRACE),
            ("fstat of glibc", 79, [3, 1, 0, 0x1000, 0, 0], RET_ALLOW),
            ("read", 63, [0; 6], RET_ALLOW),
            ("io_setup, which is read on x86_64", 0, [0; 6], RET_ALLOW),
        ] {
            let data = Data { number, architecture: Architecture::Aarch64.audit(), arguments };
            assert_eq!(run(&program, &data), expected, "{what}");
        }
        let foreign = Data { number: 63, architecture: Architecture::X86_64.audit(), arguments: [0; 6] };
        assert_eq!(run(&program, &foreign), RET_TRACE);
    }

    #[test]
    fn an_unknown_architecture_is_stopped() {
        let data = Data { number: 0, architecture: 0xc000_00b7, arguments: [0; 6] };
        assert_eq!(run(&filter(&options(false)), &data), RET_TRACE);
    }

    #[test]
    fn it_fits_and_every_jump_lands() {
        for (exact, witnessed) in [(false, false), (true, false), (true, true)] {
            let program = filter(&Options { witnessed, ..options(exact) });
            assert!(program.len() < 4096, "BPF_MAXINSNS");
            for (at, i) in program.iter().enumerate() {
                let furthest = match i.code {
                    JUMP => i.k as usize,
                    _ => usize::from(i.jt.max(i.jf)),
                };
                assert!(at + furthest < program.len() && (i.code == RETURN || at + 1 < program.len()));
            }
        }
    }
}
