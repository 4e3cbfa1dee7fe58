//! Several ways to start one image: each is traced, probed and verified; the image has what all of them need.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Env, Image, Podman, busybox};

/// A web server, a job that writes a report, and files that only one of them uses.
fn image(env: &Env) -> String {
    let config = json!({"Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"], "Env": ["PATH=/bin"]});
    let files = [
        ("/www/index.html", "a page\n"),
        ("/etc/job.conf", "of the job\n"),
        ("/etc/late.conf", "of the late job\n"),
        ("/bin/job", "#!/bin/sh\ncat /etc/job.conf\n"),
        ("/bin/late", "#!/bin/sh\ncat /etc/late.conf\nenv | cat\n"),
        ("/etc/unused", "nobody asks\n"),
    ];
    busybox(env, "several", &config, &files)
}

#[test]
fn the_union_of_all_runs_is_kept_and_each_is_verified() {
    let env = Env::new();
    let source = image(&env);
    let out = format!("docker-archive:{}:localhost/several:1", env.path("small.tar"));
    let files = ["--trace", "t.jsonl", "--lock", "l.lock"];
    let run = env.scrimp(&[&["slim", &source, "--run", "web=", "--run", "job=job", "-o", &out], &files[..]].concat());
    let run = run.succeeds();
    assert!(run.stdout.contains("run      web: 1 passed, 0 failed (httpd -f -p 8080 -h /www)\n"), "{run}");
    assert!(run.stdout.contains("run      job: 1 passed, 0 failed (job)\n"), "{run}");
    assert!(run.stdout.contains("probes   2 passed, 0 failed\n"), "{run}");
    assert!(!run.stderr.contains("different commands"), "{run}");

    let tree = Image::read(Path::new(&env.path("small.tar"))).tree;
    for path in ["/www/index.html", "/etc/job.conf", "/bin/job"] {
        assert!(tree.contains_key(path), "{path} is missing from {tree:#?}");
    }
    for path in ["/etc/unused", "/etc/late.conf"] {
        assert!(!tree.contains_key(path), "{path} is in {tree:#?}");
    }
    let trace = fs::read_to_string(env.path("t.jsonl")).unwrap();
    assert!(trace.contains("\"name\":\"web/http GET /\"") && trace.contains("\"name\":\"job/run\""), "{trace}");
    assert!(trace.contains("\"first_probe\":\"web/discover tcp 8080\""), "{trace}");

    let podman = Podman::new();
    let name = podman.load(Path::new(&env.path("small.tar")));
    assert_eq!(podman.run(&name, &["job"]).succeeds().stdout, "of the job\n");
    assert_eq!(podman.start(&name).get(8080, "/index.html").body, b"a page\n");

    // The trace of several runs is built from as that of one.
    env.scrimp(&["build", &source, "--trace", "t.jsonl", "-o", "docker-archive:again.tar"]).succeeds();
    assert_eq!(Image::read(Path::new(&env.path("again.tar"))).tree, tree);
}

#[test]
fn tables_have_settings_and_probes_of_their_own() {
    let env = Env::new();
    let source = image(&env);
    let file = format!(
        "[image]\nsource = '{source}'\noutput = 'docker-archive:small.tar'\ntag = 'localhost/several:2'\n\
         [all-runs]\nstop-timeout = '5s'\n\
         [[run]]\nname = 'web'\n[run.probes]\nhttp = '/index.html'\n\
         [[run]]\nname = 'late'\ndefault = true\ncommand = ['late']\nenv = {{ MODE = 'n1ght-shift' }}\nuser = '0'\n"
    );
    fs::write(env.path("scrimp.toml"), file).unwrap();
    let run = env.scrimp(&["slim", "--format", "json", "--trace", "t.jsonl"]).succeeds();
    let runs: Vec<_> = run.json()["runs"].as_array().unwrap().iter().map(|run| run["name"].clone()).collect();
    assert_eq!(runs, ["web", "late"]);
    let trace = fs::read_to_string(env.path("t.jsonl")).unwrap();
    assert!(trace.contains("\"web/http GET /index.html\"") && trace.contains("\"env_names\":[\"MODE\"]"), "{trace}");
    assert!(!trace.contains("n1ght-shift"), "{trace}");
    // The default is what the image starts.
    let podman = Podman::new();
    let name = podman.load(Path::new(&env.path("small.tar")));
    assert!(podman.run(&name, &[]).succeeds().stdout.starts_with("of the late job\n"));
    assert_eq!(Image::read(Path::new(&env.path("small.tar"))).config["Cmd"], json!(["late"]));
}

#[test]
fn one_run_that_fails_fails_all() {
    let env = Env::new();
    let source = image(&env);
    let run =
        env.scrimp(&["slim", &source, "--run", "job=job", "--run", "bad=sh -c 'exit 3'", "-o", "oci:out"]).exits(1);
    assert!(run.stderr.contains("failed: bad/run: it ended with exit code 3"), "{run}");
    assert!(!Path::new(&env.path("out")).exists());
    // What only the small image lacks is said of the run that misses it.
    let drop = ["--drop", "/etc/job.conf", "--force-drop"];
    let run = env.scrimp(&[&["slim", &source, "--run", "web=", "--run", "job=job"], &drop[..]].concat()).exits(1);
    assert!(run.stderr.contains("failed: job/"), "{run}");
}

#[test]
fn an_image_whose_own_command_no_run_starts_is_a_warning() {
    let env = Env::new();
    let source = image(&env);
    let run = env.scrimp(&["slim", &source, "--run", "job=job"]).succeeds();
    assert!(run.stderr.contains("the image starts httpd -f -p 8080 -h /www, which no run did"), "{run}");
}

#[test]
fn runs_that_cannot_be_understood_are_refused() {
    let env = Env::new();
    let source = image(&env);
    for (arguments, expected) in [
        (&["--run", "job"][..], "--run \"job\" is not NAME=COMMAND"),
        (&["--run", "a/b=job"], "is no name for a run"),
        (&["--run", "a=job 'x"], "a quote is not closed"),
        (&["--run", "a=job", "--run", "a=late"], "two runs of this name"),
        (&["--run", "a=job", "--", "late"], "cannot be used with"),
    ] {
        let run = env.scrimp(&[&["slim", &source], arguments].concat()).exits(2);
        assert!(run.stderr.contains(expected), "{expected}\n{run}");
    }
}
