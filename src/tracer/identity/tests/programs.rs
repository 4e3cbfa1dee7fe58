//! What an exec makes of a process: the model against the kernel, with a program that says what it got.

use std::path::Path;
use std::process::Command;

use super::super::{Credentials, FileIdentity, Ids};
use super::kernel::{assume, at, c_path, call, directory, identity, in_child, make, root, set};
use super::random::Random;
use super::{file_text, outcome, text};

/// Compiles `report.c` to `program`.
fn compile(dir: &Path, program: &Path) {
    let source = dir.join("report.c");
    std::fs::write(&source, include_str!("report.c")).unwrap();
    // The compiler is another process: a child that another test starts meanwhile cannot have the file open for
    // writing, which would be ETXTBSY.
    let status = Command::new("cc").arg("-O1").arg("-o").arg(program).arg(&source).status();
    assert!(status.expect("cc is missing: install gcc and libc6-dev").success());
}

/// What the program said, as credentials and AT_SECURE; an error's name otherwise.
fn parse(said: &str) -> String {
    let Ok(numbers) = said.lines().map(str::parse).collect::<Result<Vec<u64>, _>>() else { return said.into() };
    let ids = |at: usize| {
        let [real, effective, saved, filesystem] = [0, 1, 2, 3].map(|n| numbers[at + n] as u32);
        Ids { real, effective, saved, filesystem }
    };
    let who = Credentials {
        uid: ids(0),
        gid: ids(4),
        permitted: numbers[8],
        effective: numbers[9],
        inheritable: numbers[10],
        bounding: numbers[11],
        ambient: numbers[12],
        securebits: numbers[13] as u32,
        no_new_privs: numbers[14] == 1,
        groups: numbers[16..].iter().map(|&group| group as u32).collect(),
    };
    format!("{} secure {}", text(&who), numbers[15] == 1)
}

/// Lets a process that is `who` execute `path`; what differed.
fn compare(path: &Path, who: &Credentials, file: &FileIdentity) -> String {
    let said = in_child(|out| {
        let c_path = c_path(path);
        let arguments = [at(&c_path), 0];
        let environment = [0_u64];
        call(libc::SYS_dup2, &[out as u64, 1]).unwrap();
        assume(who);
        let pointers = [at(&c_path), arguments.as_ptr() as u64, environment.as_ptr() as u64];
        outcome(call(libc::SYS_execve, &pointers))
    });
    let expected = match who.may_exec(file) {
        Err(errno) => format!("{errno:?}"),
        Ok(()) => {
            let mut new = who.clone();
            let secure = new.exec(file);
            format!("{} secure {secure}", text(&new))
        }
    };
    let said = parse(&said);
    if said == expected {
        return String::new();
    }
    format!("{} by\n    {}\nis  {expected}\nnot {said}", file_text(file), text(who))
}

#[test]
fn programs_start_as_the_kernel_starts_them() {
    let own = root();
    let dir = directory();
    let path = dir.path().join("program");
    compile(dir.path(), &path);
    for seed in 0..800 {
        let mut random = Random::new(3_000_000 + seed);
        let who = random.credentials(own.bounding);
        let mut file = random.file(libc::S_IFREG);
        file.mode |= random.pick(&[0o111, 0o111, 0o001, 0]);
        if identity(&path).unwrap().capabilities.is_some() {
            xattr::remove(&path, "security.capability").unwrap();
        }
        set(&path, &file);
        assert_eq!(compare(&path, &who, &identity(&path).unwrap()), "", "case {seed}");
    }
}

#[test]
fn what_is_no_program_is_not_started() {
    let own = root();
    let dir = directory();
    let who = Credentials::new(0, 0, vec![], own.bounding);
    for kind in [libc::S_IFDIR, libc::S_IFIFO] {
        let path = dir.path().join("node");
        let file = FileIdentity::new(0, 0, kind | 0o755);
        make(&path, &file);
        assert_eq!(compare(&path, &who, &file), "");
    }
}
