//! scrimp inside containers, which allow less than a machine does: in a step of an image build, in a container without
//! further privileges, and in one with fewer than those. What it makes there is what it makes outside.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Env, Podman, fixture};

/// An image with Debian's libc, in which scrimp can be started: it is not static.
const HOST: &str = "python-hello";
const NGINX: [&str; 4] = ["--http", "/", "--http", "/cv"];

/// scrimp as a volume, where a user's own programs are.
fn scrimp() -> String {
    format!("{}:/usr/local/bin/scrimp:ro", env!("CARGO_BIN_EXE_scrimp"))
}

/// The summary of `slim` outside.
fn outside(env: &Env, name: &str, probes: &[&str]) -> Value {
    let destination = format!("docker-archive:{}", env.path(&format!("outside-{name}.tar")));
    env.scrimp(&[&["slim", &env.source(name), "-o", &destination, "--format", "json"], probes].concat())
        .succeeds()
        .json()
}

/// The summary of `slim` in a container with these options, which has to write the same archive as outside.
#[track_caller]
fn inside(options: &[&str], name: &str, probes: &[&str]) -> Value {
    let env = Env::new();
    std::fs::create_dir(env.path("out")).unwrap();
    std::fs::set_permissions(env.path("out"), Permissions::from_mode(0o777)).unwrap();
    let podman = Podman::new();
    let image = podman.load(&fixture(HOST));
    let volumes = [scrimp(), format!("{}:/in.tar:ro", fixture(name).display()), format!("{}:/out", env.path("out"))];
    let volumes: Vec<&str> = volumes.iter().flat_map(|volume| ["--volume", volume]).collect();
    let options = [&volumes[..], &["--env", "SCRIMP_STORE=/tmp/store"], options].concat();
    let slim = ["scrimp", "slim", "docker-archive:/in.tar", "-o", "docker-archive:/out/small.tar", "--format", "json"];
    let summary = podman.run_with(&options, &image, &[&slim, probes].concat()).succeeds().json();
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
    assert_eq!(summary["image"], outside(&Env::new().sharing_the_store(), name, probes)["image"]);
    summary
}

#[test]
fn a_build_step_makes_an_image_of_what_it_runs_in() {
    // The network of a step is the machine's, so the port is one that nobody else here takes.
    const PORT: u16 = 18_943;
    let env = Env::new();
    let podman = Podman::new();
    let base = podman.load(&fixture(HOST));
    let command = format!("python3 -m http.server {PORT} --directory /app/pages");
    let dockerfile = format!(
        "FROM {base}\n\
         RUN scrimp slim host --http /hidden.html -p {PORT} -o rootfs:/out --format json -- {command}\n\
         FROM scratch\n\
         COPY --from=0 /out /\n\
         CMD {}\n",
        serde_json::json!(command.split(' ').collect::<Vec<_>>())
    );
    std::fs::write(env.path("Dockerfile"), dockerfile).unwrap();
    let (image, said) = podman.build(env.dir(), &[&scrimp()]);
    let summary = said.stdout.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
    let summary: Value = serde_json::from_str(summary).unwrap();
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
    let server = podman.start(&image);
    let page = server.get(PORT, "/hidden.html");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(!page.body.is_empty());
    // Nothing but what Python needs is in there, scrimp itself least of all.
    let listing = podman.run(&image, &["python3", "-c", "import os; print(*os.listdir('/usr/local/bin'))"]);
    assert!(!listing.stdout.contains("scrimp"), "{listing}");
}

#[test]
fn root_in_a_container_makes_the_image_that_is_made_outside() {
    assert_eq!(inside(&[], "nginx-cv", &NGINX)["sandbox"]["rung"], "c");
}

#[test]
fn a_container_with_all_privileges_is_a_machine() {
    assert_eq!(inside(&["--privileged"], "c-hello-glibc", &[])["sandbox"]["rung"], "b");
}

const NO_RIGHTS: [&str; 4] = ["--user", "1000", "--cap-drop=all", "--security-opt=no-new-privileges"];

#[test]
fn a_user_without_rights_in_a_container_makes_the_image_that_is_made_outside() {
    assert_eq!(inside(&NO_RIGHTS, "c-hello-glibc", &[])["sandbox"]["rung"], "c");
}

/// The one id that there is stands for root's, for that of the workers, and for the owners of all files.
#[test]
fn a_user_without_rights_in_a_container_runs_what_changes_its_user() {
    assert_eq!(inside(&NO_RIGHTS, "nginx-cv", &NGINX)["sandbox"]["rung"], "c");
}

/// In a container of root with fewer rights than usual, and a profile that refuses what makes namespaces, as Docker's
/// does.
#[track_caller]
fn inside_without_user_namespaces(name: &str, probes: &[&str]) {
    let env = Env::new();
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["unshare", "setns", "mount", "fsopen", "open_tree"], "action": "SCMP_ACT_ERRNO"}]
    });
    std::fs::write(env.path("profile.json"), profile.to_string()).unwrap();
    let option = format!("--security-opt=seccomp={}", env.path("profile.json"));
    assert_eq!(inside(&[&option], name, probes)["sandbox"]["rung"], "d");
}

#[test]
fn a_container_without_user_namespaces_has_a_copy() {
    inside_without_user_namespaces("c-hello-glibc", &[]);
}

/// Its workers are another user's, into whom nobody may look there: the tracer answers for the ids instead.
#[test]
fn a_container_without_user_namespaces_runs_what_changes_its_user() {
    inside_without_user_namespaces("nginx-cv", &NGINX);
}

/// Its script starts as root and goes on as another user, who owns the data.
#[test]
fn a_container_without_user_namespaces_runs_a_database() {
    let probe = "psql -h 127.0.0.1 -U postgres -Atc 'select name, price from fruit order by name' shop";
    inside_without_user_namespaces("postgres-15", &["--exec", probe]);
}
