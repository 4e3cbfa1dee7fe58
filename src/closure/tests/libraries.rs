//! What ELF files bring: loaders, libraries, and what is loaded while they run.

use std::fs;

use super::{Case, LOADER, RUNPATH, compile, elf, ld_cache};
use crate::closure::{Level, Reason};
use crate::observation::Operation;

#[test]
fn an_executable_brings_its_loader_and_libraries() {
    let case = Case::new()
        .link("/lib64", "usr/lib64")
        .dir("/usr/lib64")
        .executable("/usr/bin/app", &["liba.so.1", "libgone.so"], &[])
        .shared_library("/usr/lib/liba.so.1.2", &["libb.so", "liba.so.1"], &["-Wl,-soname,liba.so.1"])
        .link("/usr/lib/liba.so.1", "liba.so.1.2")
        .shared_library("/usr/lib/x86_64-linux-gnu/libb.so", &["liba.so.1"], &[])
        .file("/etc/ld.so.cache", "not a cache")
        .used("/usr/bin/app", &[Operation::Exec]);
    let case = case.gives(
        Level::Observed,
        "/ parent
         /usr parent
         /usr/bin parent
         /usr/bin/app exec",
    );
    case.gives(
        Level::Closure,
        "/ parent
         /etc parent
         /etc/ld.so.cache runtime
         /lib64 parent
         /usr parent
         /usr/bin parent
         /usr/bin/app exec
         /usr/lib parent
         /usr/lib/liba.so.1 needed:/usr/bin/app needed:/usr/lib/liba.so.1.2 needed:/usr/lib/x86_64-linux-gnu/libb.so
         /usr/lib/liba.so.1.2 link:/usr/lib/liba.so.1
         /usr/lib/x86_64-linux-gnu parent
         /usr/lib/x86_64-linux-gnu/libb.so needed:/usr/lib/liba.so.1.2
         /usr/lib64 parent link:/lib64
         /usr/lib64/ld-linux-x86-64.so.2 interpreter:/usr/bin/app
         warning: /usr/bin/app needs libgone.so, which is not in the base",
    );
}

#[test]
fn search_paths_come_in_the_loaders_order() {
    // Each library lies in all directories that are searched later, too.
    Case::new()
        .executable(
            "/app/bin/app",
            &["librpath.so", "libenv.so", "libcache.so", "libdefault.so"],
            &["-Wl,-rpath,$ORIGIN/../rpath"],
        )
        .shared_library("/app/rpath/librpath.so", &["libinherited.so"], &[])
        .shared_library("/app/rpath/libinherited.so", &[], &[])
        .shared_library("/env/librpath.so", &[], &[])
        .shared_library(
            "/env/libenv.so",
            &["libin-rpath.so", "libin-runpath.so"],
            &[RUNPATH, "-Wl,-rpath,$ORIGIN/../run"],
        )
        .shared_library("/app/rpath/libin-rpath.so", &[], &[])
        .shared_library("/run/libin-rpath.so", &["libnot-inherited.so"], &[])
        .shared_library("/run/libin-runpath.so", &[], &[])
        .shared_library("/run/libnot-inherited.so", &[], &[])
        .shared_library("/usr/lib/libin-runpath.so", &[], &[])
        .shared_library("/cached/libcache.so", &[], &[])
        .shared_library("/usr/lib/libcache.so", &[], &[])
        .shared_library("/usr/lib/libdefault.so", &[], &[])
        .shared_library("/conf/libdefault.so", &[], &[])
        .file("/etc/ld.so.conf", "/conf\n")
        .file(
            "/etc/ld.so.cache",
            ld_cache::tests::cache(&[
                ("libcache.so", "/cached/libcache.so", 0),
                ("libdefault.so", "/stale/libdefault.so", 0),
            ]),
        )
        .config(serde_json::json!({"Env": ["LD_LIBRARY_PATH=/nowhere:/env"]}))
        .used("/app/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/app/bin/app exec
             /app/rpath/libinherited.so needed:/app/rpath/librpath.so
             /app/rpath/librpath.so needed:/app/bin/app
             /cached/libcache.so needed:/app/bin/app
             /env/libenv.so needed:/app/bin/app
             /lib64/ld-linux-x86-64.so.2 interpreter:/app/bin/app
             /run/libin-rpath.so needed:/env/libenv.so
             /run/libin-runpath.so needed:/env/libenv.so
             /usr/lib/libdefault.so needed:/app/bin/app
             warning: /run/libin-rpath.so needs libnot-inherited.so, which is not in the base",
        );
}

#[test]
fn without_a_cache_the_configuration_is_read_last() {
    Case::new()
        .executable("/bin/app", &["libx.so", "liby.so"], &[])
        .file("/etc/ld.so.conf", "# comment\ninclude ld.so.conf.d/*.conf\n")
        .file("/etc/ld.so.conf.d/a.conf", "/opt/a\n")
        .file("/etc/ld.so.conf.d/a.conf.bak", "/opt/bak\n")
        .shared_library("/opt/a/libx.so", &[], &[])
        .shared_library("/opt/bak/liby.so", &[], &[])
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/a/libx.so needed:/bin/app
             warning: /bin/app needs liby.so, which is not in the base",
        );
}

#[test]
fn all_variants_for_other_processors_are_kept() {
    Case::new()
        .executable("/bin/app", &["libx.so", "liby.so"], &[])
        .shared_library("/usr/lib/libx.so", &[], &[])
        .shared_library("/usr/lib/glibc-hwcaps/x86-64-v2/libx.so", &[], &[])
        .shared_library("/usr/lib/glibc-hwcaps/x86-64-v4/libx.so", &["libfast.so"], &[])
        .shared_library("/usr/lib/haswell/libx.so", &[], &[])
        .shared_library("/usr/lib/libfast.so", &[], &[])
        .shared_library("/c/glibc-hwcaps/x86-64-v3/liby.so", &[], &[])
        .shared_library("/c/liby.so", &[], &[])
        .file(
            "/etc/ld.so.cache",
            ld_cache::tests::cache(&[
                ("liby.so", "/c/glibc-hwcaps/x86-64-v3/liby.so", 1 << 62),
                ("liby.so", "/c/liby.so", 0),
            ]),
        )
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /c/glibc-hwcaps/x86-64-v3/liby.so needed:/bin/app
             /c/liby.so needed:/bin/app
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /usr/lib/glibc-hwcaps/x86-64-v2/libx.so needed:/bin/app
             /usr/lib/glibc-hwcaps/x86-64-v4/libx.so needed:/bin/app
             /usr/lib/haswell/libx.so needed:/bin/app
             /usr/lib/libfast.so needed:/usr/lib/glibc-hwcaps/x86-64-v4/libx.so
             /usr/lib/libx.so needed:/bin/app",
        );
}

#[test]
fn a_library_for_another_machine_is_passed_over() {
    let other = |case: Case, path: &str, at: usize, value: u8| {
        let case = case.shared_library(path, &[], &[]);
        let mut bytes = fs::read(case.on_host(path)).unwrap();
        bytes[at] = value;
        case.file(path, bytes)
    };
    // EM_AARCH64 in e_machine.
    let case = other(Case::new(), "/first/libx.so", 18, 183);
    case.executable("/bin/app", &["libx.so"], &["-Wl,-rpath,/text:/first:/second"])
        .file("/text/libx.so", "INPUT(-lx)")
        .shared_library("/second/libx.so", &[], &[])
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /second/libx.so needed:/bin/app",
        );
}

#[test]
fn no_default_directories_means_none() {
    Case::new()
        .executable("/bin/app", &["libx.so", "liby.so"], &["-Wl,-z,nodefaultlib"])
        .shared_library("/usr/lib/libx.so", &[], &[])
        .shared_library("/opt/liby.so", &[], &[])
        .file(
            "/etc/ld.so.cache",
            ld_cache::tests::cache(&[("libx.so", "/usr/lib/libx.so", 0), ("liby.so", "/opt/liby.so", 0)]),
        )
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/liby.so needed:/bin/app
             warning: /bin/app needs libx.so, which is not in the base",
        );
}

#[test]
fn a_plugin_is_loaded_as_the_process_that_used_it_would() {
    Case::new()
        .executable("/app/bin/app", &["libshared.so"], &["-Wl,-rpath,/app/lib"])
        .shared_library("/app/lib/libshared.so", &[], &[])
        .shared_library("/app/lib/libonly-here.so", &[], &[])
        .shared_library("/app/plugins/plugin.so", &["libshared.so", "libonly-here.so", "libbeside.so"], &[])
        .shared_library("/store/linked.so", &["libbeside.so"], &["-Wl,-rpath,$ORIGIN"])
        .link("/app/plugins/linked.so", "/store/linked.so")
        .shared_library("/app/plugins/libbeside.so", &[], &[])
        .used("/app/bin/app", &[Operation::Exec])
        .used_by("/app/plugins/plugin.so", &[Operation::Open], &["/app/bin/app"])
        .used_by("/app/plugins/linked.so", &[Operation::Open], &["/app/bin/app"])
        .gives_files(
            Level::Closure,
            "/app/bin/app exec
             /app/lib/libonly-here.so needed:/app/plugins/plugin.so
             /app/lib/libshared.so needed:/app/bin/app needed:/app/plugins/plugin.so
             /app/plugins/libbeside.so needed:/store/linked.so
             /app/plugins/linked.so open
             /app/plugins/plugin.so open
             /lib64/ld-linux-x86-64.so.2 interpreter:/app/bin/app
             /store/linked.so link:/app/plugins/linked.so
             warning: /app/plugins/plugin.so needs libbeside.so, which is not in the base",
        );
}

#[test]
fn a_library_that_its_process_has_loaded_already_is_not_missing() {
    // As a Java machine does: its launcher loads libjvm.so by its path, and the others need it by its name.
    Case::new()
        .executable("/jre/bin/java", &[], &[])
        .executable("/bin/other", &[], &[])
        .shared_library("/jre/lib/server/libjvm.so", &[], &["-Wl,-soname,libjvm.so"])
        .shared_library("/jre/lib/libjava.so", &["libjvm.so"], &[])
        .shared_library("/jre/lib/libother.so", &["libjvm.so"], &[])
        .used("/jre/bin/java", &[Operation::Exec])
        .used("/bin/other", &[Operation::Exec])
        .used_by("/jre/lib/server/libjvm.so", &[Operation::Open], &["/jre/bin/java"])
        .used_by("/jre/lib/libjava.so", &[Operation::Open], &["/jre/bin/java"])
        .used_by("/jre/lib/libother.so", &[Operation::Open], &["/bin/other"])
        .gives_files(
            Level::Closure,
            "/bin/other exec
             /jre/bin/java exec
             /jre/lib/libjava.so open
             /jre/lib/libother.so open
             /jre/lib/server/libjvm.so open
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/other interpreter:/jre/bin/java
             warning: /jre/lib/libother.so needs libjvm.so, which is not in the base",
        );
}

#[test]
fn a_module_that_nobody_loaded_finds_what_its_runtime_has_loaded() {
    Case::new()
        .executable("/usr/jre/bin/java", &[], &[])
        .shared_library("/usr/jre/lib/server/libjvm.so", &[], &["-Wl,-soname,libjvm.so"])
        .shared_library("/usr/jre/lib/libawt.so", &["libjvm.so"], &[])
        .shared_library("/usr/jre/lib/libodd.so", &["libgone.so"], &[])
        .used("/usr/jre/bin/java", &[Operation::Exec])
        .used_by("/usr/jre/lib/server/libjvm.so", &[Operation::Open], &["/usr/jre/bin/java"])
        .gives_files(
            Level::Closure,
            "/lib64/ld-linux-x86-64.so.2 interpreter:/usr/jre/bin/java
             /usr/jre/bin/java exec
             /usr/jre/lib/libawt.so resource:/usr/jre/lib
             /usr/jre/lib/libodd.so resource:/usr/jre/lib
             /usr/jre/lib/server/libjvm.so open resource:/usr/jre/lib
             warning: /usr/jre/lib/libodd.so needs libgone.so, which is not in the base",
        );
}

#[test]
fn preloads_are_loaded_first() {
    Case::new()
        .executable("/bin/app", &["libx.so"], &[])
        .shared_library("/opt/preload.so", &["libx.so"], &["-Wl,-rpath,/opt"])
        .shared_library("/opt/libx.so", &[], &[])
        .shared_library("/usr/lib/libenv.so", &[], &[])
        .file("/etc/ld.so.preload", "/opt/preload.so\n")
        .config(serde_json::json!({"Env": ["LD_PRELOAD=libenv.so"]}))
        .used("/bin/app", &[Operation::Exec])
        .compare(
            Level::Closure,
            "/bin/app exec
             /etc/ld.so.preload runtime
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/libx.so needed:/opt/preload.so
             /opt/preload.so runtime
             /usr/lib/libenv.so runtime
             warning: /bin/app needs libx.so, which is not in the base",
            |_, reasons| !reasons.contains(&Reason::Parent),
        );
}

#[test]
fn libraries_that_are_loaded_later_are_kept_when_they_are_there() {
    let note = r#"
        [{"soname":["libone.so.2","libone.so.1"],"priority":"required"},
         {"soname":["libtwo.so"]},{"soname":["libthree.so"],"priority":"suggested"},
         {"soname":["libgone.so"],"priority":"recommended"}]"#;
    let source = format!(
        "void f(void) {{}}
         __attribute__((section(\".note.dlopen\"), aligned(4), used)) static const struct {{
             unsigned a, b, c; char owner[4]; char text[{size}]; }} note = {{4, {size}, 0x407c0c0a, \"FDO\", {note:?}}};",
        size = (note.len() + 1).next_multiple_of(4),
    );
    let case = Case::new().shared_library(LOADER, &[], &[]).shared_library("/usr/lib/libone.so.1", &["libtwo.so"], &[]);
    let flags =
        ["-nostdlib", "-pie", "-e", "f", &format!("-Wl,--dynamic-linker={LOADER},--enable-new-dtags,-rpath,/opt")];
    compile("gcc", &source, &case.on_host("/bin/app"), &flags);
    case.shared_library("/opt/libtwo.so", &[], &[])
        .shared_library("/usr/lib/libthree.so", &[], &[])
        .used("/bin/app", &[Operation::Exec])
        .gives_files(
            Level::Closure,
            "/bin/app exec
             /lib64/ld-linux-x86-64.so.2 interpreter:/bin/app
             /opt/libtwo.so needed:/usr/lib/libone.so.1 dlopen:/bin/app
             /usr/lib/libone.so.1 dlopen:/bin/app",
        );
}

#[test]
fn who_ends_threads_needs_the_unwinder() {
    let case = Case::new()
        .shared_library("/usr/lib/libc.so.6", &[], &[])
        .shared_library("/usr/lib/libgcc_s.so.1", &["libc.so.6"], &[])
        .shared_library("/usr/lib/libother.so", &["libc.so.6"], &[]);
    let stub = case.on_host("/usr/lib/libc.so.6");
    let flags = ["-shared", "-nostdlib", "-Wl,--no-as-needed", stub.to_str().unwrap()];
    compile(
        "gcc",
        "void pthread_exit(void*); void f(void) { pthread_exit(0); }",
        &case.on_host("/usr/lib/libt.so"),
        &flags,
    );
    case.used("/usr/lib/libother.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/usr/lib/libc.so.6 needed:/usr/lib/libother.so
             /usr/lib/libother.so open",
        )
        .used("/usr/lib/libt.so", &[Operation::Open])
        .gives_files(
            Level::Closure,
            "/usr/lib/libc.so.6 needed:/usr/lib/libgcc_s.so.1 needed:/usr/lib/libother.so needed:/usr/lib/libt.so
             /usr/lib/libgcc_s.so.1 dlopen:/usr/lib/libt.so
             /usr/lib/libother.so open
             /usr/lib/libt.so open",
        );
}

#[test]
fn musl_searches_by_its_own_rules() {
    let interpreter = "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1";
    let case = Case::new().shared_library("/lib/ld-musl-x86_64.so.1", &[], &["-Wl,-soname,libc.so"]);
    let needs = ["libc.musl-x86_64.so.1", "libx.so.1", "liby.so"];
    elf(&case.on_host("/usr/bin/app"), &needs, &["-pie", "-e", "f", interpreter, RUNPATH, "-Wl,-rpath,$ORIGIN/../x"]);
    let case = case
        .link("/lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
        .shared_library("/usr/x/libx.so.1.0", &["libz.so", "libc.so"], &["-Wl,-soname,libx.so.1"])
        .link("/usr/x/libx.so.1", "libx.so.1.0")
        // A RUNPATH is inherited here.
        .shared_library("/usr/x/libz.so", &[], &[])
        .shared_library("/usr/lib/libz.so", &[], &[])
        .shared_library("/usr/local/lib/liby.so", &[], &[])
        .shared_library("/usr/lib/liby.so", &[], &[])
        .used("/usr/bin/app", &[Operation::Exec]);
    let files = "/lib/ld-musl-x86_64.so.1 needed:/usr/bin/app needed:/usr/x/libx.so.1.0 interpreter:/usr/bin/app
         /usr/bin/app exec
         LIBY needed:/usr/bin/app
         /usr/x/libx.so.1 needed:/usr/bin/app
         /usr/x/libx.so.1.0 link:/usr/x/libx.so.1
         /usr/x/libz.so needed:/usr/x/libx.so.1.0";
    case.gives_files(Level::Closure, &files.replace("LIBY", "/usr/local/lib/liby.so"))
        .file("/etc/ld-musl-x86_64.path", "/none\n/usr/lib\n")
        .gives_files(Level::Closure, &files.replace("LIBY", "/usr/lib/liby.so"));
}
