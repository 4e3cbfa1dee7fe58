//! A database that was initialised when its image was made: it starts only when all of its state is there, and answers
//! only when what it had is still in it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Env, Image, Podman, fixture};

const QUESTION: &str = "select name, price from fruit order by name";
const ANSWER: &str = "apple|0.50\npear|0.75\nquince|2.25\n";
/// Where the state is, and so what is kept whole.
const DATA: &str = "/var/lib/postgresql";

/// The client as an argument of `--exec`, and as words.
fn client(sql: &str) -> (String, [String; 8]) {
    let words = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atc", sql, "shop"].map(String::from);
    (format!("psql -h 127.0.0.1 -U postgres -Atc '{sql}' shop"), words)
}

fn slim(env: &Env, out: &str, arguments: &[&str]) -> Value {
    let (probe, _) = client(QUESTION);
    let destination = format!("docker-archive:{out}:localhost/small:1");
    let fixed = ["slim", &env.source("postgres-15"), "-o", &destination, "--exec", &probe, "--format", "json"];
    let summary = env.scrimp(&[&fixed, arguments].concat()).succeeds().json();
    assert_eq!(summary["verify"], serde_json::json!({"status": "passed", "repaired": 0, "reason": null}), "{summary}");
    summary
}

#[test]
fn postgres_made_small_answers_and_stores_in_podman() {
    let env = Env::new().sharing_the_store();
    let out = env.path("small.tar");
    slim(&env, &out, &[]);
    let podman = Podman::new();
    for archive in [fixture("postgres-15"), out.into()] {
        let service = podman.start(&podman.load(&archive));
        let ask = |sql| service.says(&client(sql).1.each_ref().map(String::as_str));
        assert_eq!(ask(QUESTION), ANSWER, "{}", archive.display());
        ask("insert into fruit values ('sloe', 3)");
        assert_eq!(ask("select count(*), sum(price) from fruit"), "4|6.50\n");
        // Catalogs that the probe never asked for.
        for sql in ["create table cities (id serial primary key, at point)", "vacuum analyze", "checkpoint"] {
            ask(sql);
        }
        let (code, log) = service.stop();
        assert!(code == 0 && log.contains("database system is shut down"), "{code}\n{log}");
    }
}

#[test]
fn the_state_is_whole_and_as_it_was() {
    let env = Env::new().sharing_the_store();
    let (out, lock) = (env.path("small.tar"), env.path("scrimp.lock"));
    slim(&env, &out, &["--lock", &lock]);
    let (small, base) = (Image::read(Path::new(&out)), Image::read(&fixture("postgres-15")));
    let state = |image: &Image| {
        let within = |path: &&String| path.starts_with(DATA);
        image.tree.iter().filter(|(path, _)| within(path)).map(|(p, l)| (p.clone(), l.clone())).collect::<Vec<_>>()
    };
    assert!(state(&base).len() > 900, "{} paths", state(&base).len());
    assert_eq!(state(&small), state(&base));
    for path in ["/usr/share/postgresql/15/man", "/usr/bin/apt", "/var/lib/dpkg/info"] {
        assert!(!small.tree.contains_key(path), "{path} is there");
    }
    let lock = std::fs::read_to_string(lock).unwrap();
    let states = lock.lines().filter(|line| line.contains(&format!("\"state:{DATA}\"")));
    assert_eq!(states.count(), state(&base).len());
}

#[test]
fn two_runs_of_a_database_give_one_image() {
    let env = Env::new().sharing_the_store();
    let [first, second] = ["1.tar", "2.tar"].map(|name| slim(&env, &env.path(name), &[])["image"].clone());
    assert!(first["diff_id"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(first, second);
}

#[test]
fn without_a_probe_the_shipped_spec_asks_postgres() {
    let env = Env::new().sharing_the_store();
    let destination = format!("docker-archive:{}", env.path("small.tar"));
    let summary =
        env.scrimp(&["slim", &env.source("postgres-15"), "-o", &destination, "--format", "json"]).succeeds().json();
    assert_eq!(summary["probes"], serde_json::json!({"passed": 2, "failed": 0}));
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
}
