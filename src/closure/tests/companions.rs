//! What comes with files that are no ELF files: interpreters, sources, name service modules, what HEALTHCHECK runs.

use super::Case;
use crate::closure::Level;
use crate::observation::Operation;

#[test]
fn scripts_bring_their_interpreters() {
    Case::new()
        .program("/app/start", "#!/usr/bin/env -S tool -x\n")
        .program("/usr/bin/env", "")
        .program("/usr/local/bin/tool", "#! /bin/sh -e\n")
        .link("/bin", "usr/bin")
        .link("/usr/bin/sh", "dash")
        .program("/usr/bin/dash", "")
        .file("/app/data", "#!/usr/bin/perl\n")
        .program("/app/broken", "#!/usr/bin/perl\n")
        .used("/app/start", &[Operation::Exec])
        .used("/app/data", &[Operation::Open])
        .used("/app/broken", &[Operation::Stat])
        .gives_files(
            Level::Closure,
            "/app/broken stat
             /app/data open
             /app/start exec
             /usr/bin link:/bin parent
             /usr/bin/dash link:/usr/bin/sh
             /usr/bin/env interpreter:/app/start
             /usr/bin/sh interpreter:/usr/local/bin/tool
             /usr/local/bin/tool interpreter:/app/start
             warning: /app/broken needs /usr/bin/perl, which is not in the base"
                .replace("link:/bin parent", "parent link:/bin")
                .as_str(),
        );
}

#[test]
fn bytecode_brings_its_source() {
    Case::new()
        .file("/lib/__pycache__/a.cpython-311.pyc", "")
        .file("/lib/a.py", "")
        .file("/lib/__pycache__/b.cpython-311.pyc", "")
        .used("/lib/__pycache__/a.cpython-311.pyc", &[Operation::Open])
        .used("/lib/__pycache__/b.cpython-311.pyc", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/lib/__pycache__/a.cpython-311.pyc open
             /lib/__pycache__/b.cpython-311.pyc open
             /lib/a.py source:/lib/__pycache__/a.cpython-311.pyc",
        );
}

#[test]
fn name_service_modules_come_when_something_was_looked_up() {
    let case = Case::new()
        .executable("/bin/app", &["libc.so.6"], &[])
        .shared_library("/usr/lib/libc.so.6", &[], &[])
        .shared_library("/usr/lib/libnss_sss.so.2", &["libextra.so"], &[])
        .shared_library("/usr/lib/libextra.so", &[], &[])
        .shared_library("/usr/lib/libnss_unused.so.2", &[], &[])
        .file("/etc/nsswitch.conf", "passwd: files sss\n")
        .file("/etc/passwd", "")
        .used("/bin/app", &[Operation::Exec]);
    let without = "/bin/app exec
         /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
         /usr/lib/libc.so.6 needed:/bin/app";
    case.gives_files(Level::Closure, without).used("/etc/passwd", &[Operation::Open]).gives_files(
        Level::Closure,
        "/bin/app exec
         /etc/nsswitch.conf nss:/usr/lib/libc.so.6
         /etc/passwd open
         /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
         /usr/lib/libc.so.6 needed:/bin/app
         /usr/lib/libextra.so needed:/usr/lib/libnss_sss.so.2
         /usr/lib/libnss_sss.so.2 nss:/etc/nsswitch.conf",
    );
}

#[test]
fn health_checks_bring_what_they_run() {
    let case = Case::new()
        .program("/bin/sh", "")
        .program("/usr/bin/curl", "#!/bin/curl-real\n")
        .program("/bin/curl-real", "")
        .program("/usr/bin/test", "");
    let case = case.config(serde_json::json!({
        "Healthcheck": {"Test": ["CMD-SHELL", "test -e /bin/sh && curl -f http://localhost/ || exit 1"]}
    }));
    let case = case.gives(Level::Observed, "").gives_files(
        Level::Closure,
        "/bin/curl-real interpreter:/usr/bin/curl
         /bin/sh healthcheck
         /usr/bin/curl healthcheck",
    );
    case.config(serde_json::json!({"Healthcheck": {"Test": ["CMD", "checker"]}}))
        .gives(Level::Closure, "warning: HEALTHCHECK runs checker, which is not in the base");
}

#[test]
fn damaged_elf_files_are_warnings() {
    Case::new()
        .file("/lib/damaged.so", b"\x7fELF\x02\x01\x01")
        .used("/lib/damaged.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/lib/damaged.so open
             warning: cannot find out what /lib/damaged.so needs: it is not a valid ELF file: its header is cut short",
        );
}
