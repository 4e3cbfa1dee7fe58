//! The system calls that a container is refused, as a seccomp program.
//!
//! In a user namespace the kernel refuses most of them anyway. What is left matters: a further user namespace gives
//! back every right over mounts, and with it the control groups of whoever started scrimp; keys are not part of any
//! namespace, nor are the sockets of the hypervisor; and for real root, who is root on both sides, owning a file of the
//! machine is enough to change it. The list is that of Docker's default profile (moby `profiles/seccomp/default.json`)
//! turned round: what is known to do harm is refused, what nobody knows yet is left to the kernel. A capability that
//! was added on purpose brings its calls back.
//!
//! Pure; the program is in force beside the tracer's, and a refusal goes before a stop.

use crate::sandbox::confine::capability::CapabilitySet;
use crate::sandbox::process::FilterInstruction;

// Numbers of `linux/capability.h`.
const DAC_READ_SEARCH: u32 = 2;
const SYS_MODULE: u32 = 16;
const SYS_RAWIO: u32 = 17;
const SYS_PACCT: u32 = 20;
const SYS_ADMIN: u32 = 21;
const SYS_BOOT: u32 = 22;
const SYS_TIME: u32 = 25;
const SYS_TTY_CONFIG: u32 = 26;
const SYSLOG: u32 = 34;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// When a call is refused.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// Unless it has one of these capabilities.
    Without(&'static [u32]),
    /// The same, as a call that this kernel does not know: its flags are in memory, and C libraries then use another.
    UnknownWithout(&'static [u32]),
    /// Unless it has SYS_ADMIN, when the first argument asks for a namespace (`clone(2)`).
    Namespaces,
    /// When the argument with this number says that a device is made, and the next which (`mknod(2)`).
    Device(u8),
    /// When the first argument is the family of the hypervisor's sockets.
    Vsock,
}

/// A call that is refused, by its numbers on x86-64 and i386.
struct Refusal {
    x86_64: Option<u32>,
    i386: Option<u32>,
    when: When,
}

const fn both(x86_64: u32, i386: u32, when: When) -> Refusal {
    Refusal { x86_64: Some(x86_64), i386: Some(i386), when }
}

const fn x86_64(number: u32, when: When) -> Refusal {
    Refusal { x86_64: Some(number), i386: None, when }
}

const fn i386(number: u32, when: When) -> Refusal {
    Refusal { x86_64: None, i386: Some(number), when }
}

const ADMIN: When = When::Without(&[SYS_ADMIN]);
const TIME: When = When::Without(&[SYS_TIME]);
const MODULE: When = When::Without(&[SYS_MODULE]);
const RAWIO: When = When::Without(&[SYS_RAWIO]);

const REFUSALS: [Refusal; 61] = [
    both(165, 21, ADMIN),                                 // mount
    i386(22, ADMIN),                                      // umount
    both(166, 52, ADMIN),                                 // umount2
    both(428, 428, ADMIN),                                // open_tree
    both(429, 429, ADMIN),                                // move_mount
    both(430, 430, ADMIN),                                // fsopen
    both(431, 431, ADMIN),                                // fsconfig
    both(432, 432, ADMIN),                                // fsmount
    both(433, 433, ADMIN),                                // fspick
    both(442, 442, ADMIN),                                // mount_setattr
    both(467, 467, ADMIN),                                // open_tree_attr
    both(155, 217, When::Always),                         // pivot_root
    both(272, 310, ADMIN),                                // unshare
    both(308, 346, ADMIN),                                // setns
    both(56, 120, When::Namespaces),                      // clone
    both(435, 435, When::UnknownWithout(&[SYS_ADMIN])),   // clone3
    both(170, 74, ADMIN),                                 // sethostname
    both(171, 121, ADMIN),                                // setdomainname
    both(300, 338, ADMIN),                                // fanotify_init
    both(179, 131, ADMIN),                                // quotactl
    both(443, 443, ADMIN),                                // quotactl_fd
    both(212, 253, ADMIN),                                // lookup_dcookie
    both(321, 357, When::Without(&[SYS_ADMIN, BPF])),     // bpf
    both(298, 336, When::Without(&[SYS_ADMIN, PERFMON])), // perf_event_open
    both(103, 103, When::Without(&[SYS_ADMIN, SYSLOG])),  // syslog
    both(304, 342, When::Without(&[DAC_READ_SEARCH])),    // open_by_handle_at
    both(175, 128, MODULE),                               // init_module
    both(313, 350, MODULE),                               // finit_module
    both(176, 129, MODULE),                               // delete_module
    both(174, 127, When::Always),                         // create_module
    both(178, 167, When::Always),                         // query_module
    both(169, 88, When::Without(&[SYS_BOOT])),            // reboot
    both(246, 283, When::Always),                         // kexec_load
    x86_64(528, When::Always),                            // kexec_load as x32
    x86_64(320, When::Always),                            // kexec_file_load
    both(163, 51, When::Without(&[SYS_PACCT])),           // acct
    both(167, 87, When::Always),                          // swapon
    both(168, 115, When::Always),                         // swapoff
    both(164, 79, TIME),                                  // settimeofday
    i386(25, TIME),                                       // stime
    both(227, 264, TIME),                                 // clock_settime
    i386(404, TIME),                                      // clock_settime64
    both(172, 110, RAWIO),                                // iopl
    both(173, 101, RAWIO),                                // ioperm
    i386(113, When::Always),                              // vm86old
    i386(166, When::Always),                              // vm86
    both(153, 111, When::Without(&[SYS_TTY_CONFIG])),     // vhangup
    both(248, 286, When::Always),                         // add_key
    both(249, 287, When::Always),                         // request_key
    both(250, 288, When::Always),                         // keyctl
    both(323, 374, When::Always),                         // userfaultfd
    both(134, 86, When::Always),                          // uselib
    both(156, 149, When::Always),                         // _sysctl
    both(180, 169, When::Always),                         // nfsservctl
    i386(134, When::Always),                              // bdflush
    both(133, 14, When::Device(1)),                       // mknod
    both(259, 297, When::Device(2)),                      // mknodat
    both(41, 359, When::Vsock),                           // socket
    both(53, 360, When::Vsock),                           // socketpair
    x86_64(136, When::Always),                            // ustat
    i386(62, When::Always),                               // ustat
];

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_BITS: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: FilterInstruction = statement(RETURN, 0x7fff_0000);

// Offsets in `struct seccomp_data`; arguments are 64 bits, little endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

// `linux/audit.h`.
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_I386: u32 = 0x4000_0003;
/// Numbers of x32 calls have this bit (`asm/unistd.h`); without it nearly all are those of x86-64.
const X32_BIT: u32 = 0x4000_0000;

/// Every `CLONE_NEW*` that `clone` takes.
const NAMESPACES: u32 = 0x7e02_0000;
/// In `S_IFMT`, what devices of both kinds have and nothing else that can be made.
const IS_DEVICE: u32 = 0o020_000;

/// `RET_ERRNO` with this number.
const fn refuse(errno: i32) -> FilterInstruction {
    statement(RETURN, 0x0005_0000 | errno as u32)
}

const fn statement(code: u16, k: u32) -> FilterInstruction {
    FilterInstruction { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> FilterInstruction {
    FilterInstruction { code, jt, jf, k }
}

const fn argument(number: u8) -> u32 {
    16 + 8 * number as u32
}

/// The program for a process with these capabilities in its bounding set.
pub fn program(capabilities: CapabilitySet) -> Vec<FilterInstruction> {
    let native = calls(capabilities, |refusal| refusal.x86_64);
    let mut program = vec![
        statement(LOAD, ARCHITECTURE),
        branch(JUMP_EQUAL, AUDIT_X86_64, 1, 0),
        // Too far for a conditional jump.
        statement(JUMP, 2 + native.len() as u32),
        statement(LOAD, NUMBER),
        statement(AND, !X32_BIT),
    ];
    program.extend(native);
    // What is neither is for the tracer to stop.
    program.extend([branch(JUMP_EQUAL, AUDIT_I386, 1, 0), ALLOW, statement(LOAD, NUMBER)]);
    program.extend(calls(capabilities, |refusal| refusal.i386));
    program
}

/// Expects the number in the accumulator; always returns.
fn calls(capabilities: CapabilitySet, number: impl Fn(&Refusal) -> Option<u32>) -> Vec<FilterInstruction> {
    let mut out = Vec::new();
    for refusal in &REFUSALS {
        let Some(number) = number(refusal) else { continue };
        let code = decide(refusal.when, capabilities);
        if !code.is_empty() {
            out.push(branch(JUMP_EQUAL, number, 0, code.len() as u8));
            out.extend(code);
        }
    }
    out.push(ALLOW);
    out
}

/// What happens once the number is known; nothing when the call is not refused.
fn decide(when: When, capabilities: CapabilitySet) -> Vec<FilterInstruction> {
    let has_any = |wanted: &[u32]| wanted.iter().any(|&capability| capabilities.contains(capability));
    match when {
        When::Without(wanted) | When::UnknownWithout(wanted) if has_any(wanted) => Vec::new(),
        When::Namespaces if has_any(&[SYS_ADMIN]) => Vec::new(),
        When::Always | When::Without(_) => vec![refuse(libc::EPERM)],
        When::UnknownWithout(_) => vec![refuse(libc::ENOSYS)],
        When::Namespaces => {
            vec![statement(LOAD, argument(0)), branch(JUMP_BITS, NAMESPACES, 0, 1), refuse(libc::EPERM), ALLOW]
        }
        // Device 0:0 is the mark of a deleted name in an overlay, and anybody may make it.
        When::Device(mode) => vec![
            statement(LOAD, argument(mode)),
            branch(JUMP_BITS, IS_DEVICE, 0, 3),
            statement(LOAD, argument(mode + 1)),
            branch(JUMP_EQUAL, 0, 1, 0),
            refuse(libc::EPERM),
            ALLOW,
        ],
        When::Vsock => vec![
            statement(LOAD, argument(0)),
            branch(JUMP_EQUAL, libc::AF_VSOCK as u32, 0, 1),
            refuse(libc::EAFNOSUPPORT),
            ALLOW,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a BPF machine as the program uses.
    fn run(program: &[FilterInstruction], architecture: u32, number: u32, arguments: [u64; 4]) -> String {
        let mut words = vec![number, architecture, 0, 0];
        words.extend(arguments.iter().flat_map(|&a| [a as u32, (a >> 32) as u32]));
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let FilterInstruction { code, jt, jf, k } = program[at];
            at += 1;
            let condition = match code {
                LOAD => {
                    accumulator = words[k as usize / 4];
                    continue;
                }
                AND => {
                    accumulator &= k;
                    continue;
                }
                JUMP => {
                    at += k as usize;
                    continue;
                }
                RETURN if k == ALLOW.k => return "allowed".into(),
                RETURN => return nix::errno::Errno::from_raw((k & 0xffff) as i32).to_string(),
                JUMP_EQUAL => accumulator == k,
                JUMP_BITS => accumulator & k != 0,
                _ => panic!("unexpected code {code:#x}"),
            };
            at += usize::from(if condition { jt } else { jf });
        }
    }

    fn words(result: &str) -> &str {
        result.split(':').next().unwrap_or_default()
    }

    #[test]
    fn what_does_harm_is_refused_and_the_rest_is_not() {
        let docker = program(CapabilitySet::docker());
        let names: [&str; 1] = ["SYS_ADMIN"];
        let admin = program(CapabilitySet::with_changes(&names, &[]).unwrap());
        const USER: u64 = 0x1000_0011;
        const CHAR: u64 = 0o020_644;
        // (what, architecture, number, arguments, without, with SYS_ADMIN)
        for (what, architecture, number, arguments, without, with) in [
            ("read", AUDIT_X86_64, 0, [0; 4], "allowed", "allowed"),
            ("mount", AUDIT_X86_64, 165, [0; 4], "EPERM", "allowed"),
            ("mount of i386", AUDIT_I386, 21, [0; 4], "EPERM", "allowed"),
            ("mount of x32", AUDIT_X86_64, X32_BIT | 165, [0; 4], "EPERM", "allowed"),
            ("fork", AUDIT_X86_64, 56, [17, 0, 0, 0], "allowed", "allowed"),
            ("clone into a user namespace", AUDIT_X86_64, 56, [USER, 0, 0, 0], "EPERM", "allowed"),
            ("clone of i386", AUDIT_I386, 120, [USER, 0, 0, 0], "EPERM", "allowed"),
            ("clone3", AUDIT_X86_64, 435, [0; 4], "ENOSYS", "allowed"),
            ("keyctl", AUDIT_X86_64, 250, [0; 4], "EPERM", "EPERM"),
            ("keyctl of i386", AUDIT_I386, 288, [0; 4], "EPERM", "EPERM"),
            ("getxattr, whose number on i386 is another call's", AUDIT_I386, 250, [0; 4], "allowed", "allowed"),
            ("a device", AUDIT_X86_64, 133, [0, CHAR, 0x101, 0], "EPERM", "EPERM"),
            ("a mark in an overlay", AUDIT_X86_64, 133, [0, CHAR, 0, 0], "allowed", "allowed"),
            ("a FIFO", AUDIT_X86_64, 133, [0, 0o010_644, 0, 0], "allowed", "allowed"),
            ("a block device", AUDIT_X86_64, 259, [0, 0, 0o060_600, 0x800], "EPERM", "EPERM"),
            ("a socket on disk", AUDIT_X86_64, 259, [0, 0, 0o140_600, 0], "allowed", "allowed"),
            ("a socket", AUDIT_X86_64, 41, [2, 1, 0, 0], "allowed", "allowed"),
            ("a socket to the hypervisor", AUDIT_X86_64, 41, [40, 1, 0, 0], "EAFNOSUPPORT", "EAFNOSUPPORT"),
            ("another architecture", 0xc000_00b7, 165, [0; 4], "allowed", "allowed"),
        ] {
            assert_eq!(words(&run(&docker, architecture, number, arguments)), without, "{what}");
            assert_eq!(words(&run(&admin, architecture, number, arguments)), with, "{what} with SYS_ADMIN");
        }
    }

    #[test]
    fn a_capability_brings_its_own_calls_back() {
        for (capability, number) in
            [("SYS_MODULE", 175), ("SYS_TIME", 227), ("BPF", 321), ("PERFMON", 298), ("SYSLOG", 103), ("SYS_BOOT", 169)]
        {
            let program = program(CapabilitySet::with_changes(&[capability], &[]).unwrap());
            assert_eq!(run(&program, AUDIT_X86_64, number, [0; 4]), "allowed", "{capability}");
            assert_eq!(words(&run(&program, AUDIT_X86_64, 165, [0; 4])), "EPERM", "{capability}");
        }
    }
}
