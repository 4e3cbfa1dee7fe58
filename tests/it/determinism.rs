//! Same image and same trace, same bytes: whoever runs it, where and when.

use std::path::Path;

use tar::Archive;

use crate::support::{Env, Image, Run, User, busybox, web_config};

const FILES: [(&str, &str); 3] = [("/www/index.html", "a page\n"), ("/www/a", "a\n"), ("/www/b", "b\n")];

/// Slims a web server into both kinds of archive, `umask` and variables set, and returns them with the diff id.
fn archives(env: &Env, umask: &str, variables: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>, String) {
    let source = busybox(env, "web", &web_config(), &FILES);
    let [docker, oci] = [env.path("out.tar"), env.path("out.oci.tar")];
    let destinations = [format!("docker-archive:{docker}:localhost/web:1"), format!("oci-archive:{oci}:latest")];
    let slim = ["slim", &source, "--http", "/", "--http", "/a", "--format", "json"];
    let scrimp = env.scrimp_command(&[]).get_program().to_str().unwrap().to_owned();
    let shell = ["-c", "umask $0; exec \"$@\"", umask, &scrimp];
    let mut command =
        env.command("sh", &[&shell, &slim[..], &["-o", &destinations[0], "-o", &destinations[1]]].concat());
    command.envs(variables.iter().copied());
    let summary = Run::of(command).succeeds().json();
    let diff_id = summary["image"]["diff_id"].as_str().unwrap().to_owned();
    (std::fs::read(docker).unwrap(), std::fs::read(oci).unwrap(), diff_id)
}

/// All times in the members of a tar file and in the layers among them.
fn times(archive: &[u8]) -> Vec<u64> {
    let mut times = Vec::new();
    for entry in Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        times.push(entry.header().mtime().unwrap());
        if entry.path().unwrap().to_string_lossy().ends_with(".tar") {
            let mut layer = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut layer).unwrap();
            times.extend(self::times(&layer));
        }
    }
    times
}

#[test]
fn two_runs_write_the_same_bytes_whatever_their_environment_is() {
    let first = archives(&Env::new(), "022", &[]);
    let second = archives(&Env::new(), "077", &[("TZ", "Asia/Kathmandu"), ("LANG", "de_DE.UTF-8")]);
    let third = archives(&Env::as_user(User::Subordinate), "000", &[("TZ", "UTC")]);
    for other in [second, third] {
        assert_eq!(first.2, other.2);
        assert!(first.0 == other.0, "the docker-archives differ");
        assert!(first.1 == other.1, "the oci-archives differ");
    }
}

#[test]
fn no_time_is_later_than_source_date_epoch() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    // What tar wrote has the time 0, so a newer file is needed to see the clamp.
    let root = env.path("tree");
    std::fs::create_dir_all(Path::new(&root).join("bin")).unwrap();
    std::fs::copy("/bin/busybox", format!("{root}/bin/busybox")).unwrap();
    let source_tree = format!("rootfs:{root}");
    for (name, source, command) in [
        ("image", source.as_str(), &["httpd", "-f", "-p", "8080", "-h", "/www"][..]),
        ("tree", &source_tree, &["/bin/busybox", "true"]),
    ] {
        let out = env.path(&format!("{name}-out.tar"));
        let destination = format!("docker-archive:{out}");
        let mut scrimp = env.scrimp_command(&["slim", source, "-o", &destination, "--"]);
        scrimp.args(command).env("SOURCE_DATE_EPOCH", "1000000000");
        Run::of(scrimp).succeeds();
        let times = times(&std::fs::read(&out).unwrap());
        assert!(times.iter().all(|time| *time <= 1_000_000_000), "{name}: {times:?}");
        assert!(name == "image" || times.contains(&1_000_000_000), "{name}: {times:?}");
    }
}

#[test]
fn a_bad_source_date_epoch_is_an_error() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let mut scrimp = env.scrimp_command(&["slim", &source, "--", "true"]);
    scrimp.env("SOURCE_DATE_EPOCH", "yesterday");
    let run = Run::of(scrimp).exits(2);
    assert!(run.stderr.contains("SOURCE_DATE_EPOCH"), "{run}");
}

#[test]
fn a_trace_and_a_build_make_the_image_that_slim_makes() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let [by_slim, by_build, trace] = ["slim.tar", "build.tar", "a.trace.jsonl"].map(|name| env.path(name));
    let destination = |file: &str| format!("docker-archive:{file}:localhost/web:1");
    let slim = ["slim", &source, "--http", "/a", "-o", &destination(&by_slim), "--format", "json"];
    let slim = env.scrimp(&slim).succeeds().json();
    env.scrimp(&["trace", &source, "--http", "/a", "-o", &trace]).succeeds();
    let build = ["build", &source, "--trace", &trace, "-o", &destination(&by_build), "--format", "json"];
    let build = env.scrimp(&build).succeeds().json();
    assert_eq!(slim["image"], build["image"]);
    assert_eq!(std::fs::read(by_slim).unwrap(), std::fs::read(by_build).unwrap());
}

#[test]
fn two_traces_of_the_same_run_are_the_same() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let traces = ["one", "two"].map(|name| {
        env.scrimp(&["trace", &source, "--http", "/", "--http", "/none", "-o", &env.path(name)]).succeeds();
        std::fs::read_to_string(env.path(name)).unwrap()
    });
    assert!(traces[0].contains("[\"content-type\",\"text/html\"]"), "{}", traces[0]);
    assert!(!traces[0].contains("[\"date\""), "a date is not compared, so it is not written: {}", traces[0]);
    assert_eq!(traces[0], traces[1]);
}

#[test]
fn an_image_of_two_traces_has_what_either_used() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let traces = ["a", "b"].map(|name| {
        let trace = env.path(&format!("{name}.trace.jsonl"));
        env.scrimp(&["trace", &source, "--http", &format!("/{name}"), "-o", &trace]).succeeds();
        trace
    });
    let build = |name: &str, traces: &[&String]| {
        let out = env.path(&format!("{name}.tar"));
        let destination = format!("docker-archive:{out}");
        let mut arguments = vec!["build", &source, "--level", "closure", "-o", &destination];
        arguments.extend(traces.iter().flat_map(|trace| ["--trace", trace]));
        env.scrimp(&arguments).succeeds();
        std::fs::read(out).unwrap()
    };
    let [a, b] = &traces;
    let both = build("both", &[a, b]);
    assert_eq!(both, build("reversed", &[b, a]));
    build("alone", &[a]);
    let files = |name: &str| {
        let image = Image::read(Path::new(&env.path(&format!("{name}.tar"))));
        image.tree.into_keys().filter(|path| path.starts_with("/www/")).collect::<Vec<_>>()
    };
    assert_eq!(files("both"), ["/www/a", "/www/b"]);
    assert_eq!(files("alone"), ["/www/a"]);
}

#[test]
fn a_trace_of_another_image_is_refused() {
    let env = Env::new();
    let source = busybox(&env, "web", &web_config(), &FILES);
    let other = busybox(&env, "other", &web_config(), &FILES[..1]);
    env.scrimp(&["trace", &source, "--http", "/", "-o", &env.path("trace")]).succeeds();
    let run =
        env.scrimp(&["build", &other, "--trace", &env.path("trace"), "-o", &format!("rootfs:{}", env.path("out"))]);
    let run = run.exits(2);
    assert!(run.stderr.contains("localhost/web:1") && run.stderr.contains("hint: trace"), "{run}");
    assert!(!Path::new(&env.path("out")).exists());
}
