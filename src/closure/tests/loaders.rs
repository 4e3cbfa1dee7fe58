//! The loaders' rules against the loaders of this machine, glibc's and musl's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::{Case, compile};
use crate::base::{FileTree, ImagePath};
use crate::closure::{Level, Reason, requirements};
use crate::image::{OwnersAsSeen, Rootfs};
use crate::observation::{Found, Operation};

/// The files that the closure of an executable of this machine maps: whatever is there because of DT_NEEDED or
/// PT_INTERP, links followed.
fn mapped(executable: &Path, env: &[&str]) -> BTreeSet<PathBuf> {
    let mut case = Case::new().config(serde_json::json!({"Env": env}));
    let text = executable.to_str().unwrap();
    case = case.used(text, &[Operation::Exec]).found_in_base(text, Found::File { fingerprint: None });
    let rootfs = Rootfs::lazy(Path::new("/"), Arc::new(OwnersAsSeen)).unwrap();
    let required = requirements(&rootfs, &case.config, &case.observation, Level::Closure, &FileTree::new()).unwrap();
    // What modules for conversions need is loaded with them, and not with the executable.
    let is_module = |path: &ImagePath| path.components().any(|part| part == b"gconv");
    let is_mapped = |reasons: &BTreeSet<Reason>| {
        reasons.iter().any(|reason| match reason {
            Reason::Needed(by) => !is_module(by),
            reason => matches!(reason, Reason::Interpreter(_)),
        })
    };
    let paths = required.paths.iter().filter(|(_, reasons)| is_mapped(reasons));
    paths.map(|(path, _)| fs::canonicalize(path.on_host(Path::new("/"))).unwrap()).collect()
}

/// The files that the loader itself says it maps: `NAME => PATH (ADDRESS)` and `PATH (ADDRESS)`.
fn listed(command: &mut Command) -> BTreeSet<PathBuf> {
    let output = command.output().unwrap_or_else(|cause| panic!("cannot run {command:?}: {cause}"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command:?}: {text}");
    let paths = text.lines().filter_map(|line| line.split_whitespace().rev().nth(1));
    paths.filter(|path| path.starts_with('/')).map(|path| fs::canonicalize(path).unwrap()).collect()
}

#[test]
fn closures_of_this_machines_programs_are_what_ldd_says() {
    for program in ["sh", "ls", "env", "python3", "git", "openssl", "gcc", "perl", "ld", "tar"] {
        let file = fs::canonicalize(Path::new("/usr/bin").join(program))
            .unwrap_or_else(|cause| panic!("no /usr/bin/{program} to compare with: {cause}; install it"));
        assert_eq!(mapped(&file, &[]), listed(Command::new("ldd").arg(&file)), "{program}");
    }
}

#[test]
fn rpath_runpath_and_origin_are_what_glibc_makes_of_them() {
    let case = Case::new();
    let root = fs::canonicalize(case.dir.path()).unwrap();
    let at = |text: &str| format!("{}/{text}", root.display());
    let build = |out: &str, source: &str, flags: &[&str]| {
        let mut all = vec!["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"];
        all.extend(flags);
        fs::create_dir_all(Path::new(&at(out)).parent().unwrap()).unwrap();
        compile("gcc", source, Path::new(&at(out)), &all);
    };
    for (dir, needs) in [("one", "b"), ("two", "b"), ("env", "b")] {
        // `c` is needed by whichever `b` is found; there is one in each directory.
        build(&format!("{dir}/libc1.so"), "int c;", &["-shared", "-Wl,-soname,libc1.so"]);
        let b = at(&format!("{dir}/libc1.so"));
        build(&format!("{dir}/lib{needs}.so"), "int b;", &["-shared", "-Wl,-soname,libb.so", &b]);
    }
    let (a, b) = (at("lib/liba.so"), at("two/libb.so"));
    for (index, (tags, path, library_tags, library_path)) in [
        ("--disable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--disable-new-dtags", "$ORIGIN/../two"),
        ("--disable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--enable-new-dtags", "$ORIGIN/../two"),
        ("--disable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--enable-new-dtags", "/nowhere:${ORIGIN}/../two"),
        ("--enable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one", "--disable-new-dtags", "$ORIGIN/../two"),
        ("--enable-new-dtags", "$ORIGIN/../lib:$ORIGIN/../one:$ORIGIN/../two", "--enable-new-dtags", "$ORIGIN/../one"),
    ]
    .into_iter()
    .enumerate()
    {
        let rpath = |tags: &str, path: &str| format!("-Wl,{tags},-rpath,{path}");
        build("lib/liba.so", "int a;", &["-shared", "-Wl,-soname,liba.so", &rpath(library_tags, library_path), &b]);
        build("bin/app", "int main(void) { return 0; }", &[&rpath(tags, path), &a, &at("one/libc1.so")]);
        let app = root.join("bin/app");
        for env in ["", &at("env")] {
            let setting = format!("LD_LIBRARY_PATH={env}");
            let expected = listed(Command::new("ldd").arg(&app).env("LD_LIBRARY_PATH", env));
            assert_eq!(mapped(&app, &[&setting]), expected, "case {index} with {setting}");
        }
    }
}

#[test]
fn closures_of_musl_programs_are_what_its_loader_says() {
    let case = Case::new();
    let root = fs::canonicalize(case.dir.path()).unwrap();
    let (library, inner) = (root.join("lib/liba.so"), root.join("inner/libb.so"));
    for file in [&library, &inner] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    compile("musl-gcc", "int b;", &inner, &["-shared", "-Wl,-soname,libb.so"]);
    let flags = ["-shared", "-Wl,-soname,liba.so", "-Wl,--no-as-needed", inner.to_str().unwrap()];
    compile("musl-gcc", "int a;", &library, &flags);
    let rpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib:$ORIGIN/inner,--allow-shlib-undefined,--no-as-needed";
    let app = root.join("app");
    compile("musl-gcc", "int main(void) { return 0; }", &app, &[rpath, library.to_str().unwrap()]);
    let expected = listed(Command::new("/lib/ld-musl-x86_64.so.1").arg("--list").arg(&app));
    assert_eq!(expected.len(), 3, "{expected:?}");
    assert_eq!(mapped(&app, &[]), expected);
}
