//! `scrimp.toml`: what it says holds where neither a flag nor a variable does, and mistakes in it have a line.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Env, Run, busybox, web_config};

fn web(env: &Env) -> String {
    busybox(env, "web", &web_config(), &[("/www/index.html", "a page\n"), ("/www/other", "another\n")])
}

fn probed(env: &Env) -> Vec<String> {
    let trace = fs::read_to_string(env.path("t.jsonl")).unwrap();
    let header: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    let probes = header["transcript"]["probes"].as_array().unwrap();
    probes.iter().map(|probe| probe["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let env = Env::new();
    let source = web(&env);
    let text = format!(
        "trace = 't.jsonl'\nno-verify = true\n[image]\nsource = '{source}'\n[probes]\nhttp = ['/other', '/index.html']\n\
         [run]\nsandbox = 'c'\nstop-timeout = 5\n"
    );
    fs::write(env.path("scrimp.toml"), text).unwrap();
    let rung = |run: Run| {
        let json = run.succeeds().json();
        assert_eq!(json["verify"]["status"], "skipped");
        json["sandbox"]["rung"].as_str().unwrap().to_owned()
    };
    assert_eq!(rung(env.scrimp(&["slim", "--format", "json"])), "c");
    assert_eq!(probed(&env), ["http GET /other", "http GET /index.html"]);
    let mut command = env.scrimp_command(&["slim", "--format", "json"]);
    command.env("SCRIMP_SANDBOX", "b");
    assert_eq!(rung(Run::of(command)), "b");
    let mut command = env.scrimp_command(&["slim", "--sandbox", "a", "--http", "/", "--format", "json"]);
    command.env("SCRIMP_SANDBOX", "b");
    assert_eq!(rung(Run::of(command)), "a");
    assert_eq!(probed(&env), ["http GET /"], "a list that is typed replaces that of the file");
    // What speaks against a key of the file rules it out.
    env.scrimp(&["slim", "--no-probe"]).succeeds();
    assert_eq!(probed(&env), [""; 0]);
}

#[test]
fn paths_are_relative_to_the_file() {
    let env = Env::new();
    web(&env);
    fs::create_dir(env.path("project")).unwrap();
    fs::write(env.path("project/ask.toml"), "[[step]]\nkind = 'http'\npath = '/other'\n").unwrap();
    let text = "trace = 't.jsonl'\n[image]\nsource = 'docker-archive:../web.tar'\noutput = ['oci:out']\nlock = 'l.lock'\n\
                [probes]\nprobe = 'ask.toml'\n[run]\nvolume = 'data:/data:ro'\n";
    fs::create_dir(env.path("project/data")).unwrap();
    fs::write(env.path("project/scrimp.toml"), text).unwrap();
    env.scrimp(&["slim", "--config", "project/scrimp.toml"]).succeeds();
    for name in ["out", "l.lock", "t.jsonl"] {
        assert!(fs::exists(env.path(&format!("project/{name}"))).unwrap(), "{name}");
    }
    // Each command takes what is its: the trace is written by one and read by the other.
    env.scrimp(&["trace", "--config", "project/scrimp.toml"]).succeeds();
    env.scrimp(&["build", "--config", "project/scrimp.toml"]).succeeds();
    env.scrimp(&["verify", &format!("oci:{}", env.path("project/out")), "--config", "project/scrimp.toml"]).succeeds();
}

#[test]
fn mistakes_have_a_line_and_what_was_meant() {
    let env = Env::new();
    for (text, expected) in [
        ("[image]\nsorce = 'x'\n", "scrimp.toml:2: [image] has no key \"sorce\"\nhint: did you mean source?"),
        ("\n[imge]\n", "scrimp.toml:2: there is no section and no key \"imge\"\nhint: did you mean [image]?"),
        ("[run]\nhttp = '/'\n", "scrimp.toml:2: [run] has no key \"http\"\nhint: it belongs to [probes]"),
        ("http = '/'\n", "\nhint: it belongs to [probes]"),
        ("no-verfy = true\n", "hint: did you mean no-verify?"),
        ("[run]\ntimeout = 'soon'\n", "scrimp.toml:2: timeout = \"soon\": expected a number and ms, s, m or h"),
        ("[run]\nnet = 'all'\n", "scrimp.toml:2: net = \"all\": expected one of none, host"),
        ("[run]\n\nexact = 'yes'\n", "scrimp.toml:3: exact is true or false"),
        ("[run]\ntimeout = ['1s']\n", "scrimp.toml:2: timeout is one text or one number, and not an array"),
        ("[run]\ncommand = \"a 'b\"\n", "scrimp.toml:2: command is no command: a quote is not closed"),
        ("[[run]]\ncommand = 'x'\n", "scrimp.toml:1: the run has no name"),
        ("[[run]]\nname = 'x'\nnmae = 'y'\n", "scrimp.toml:3: [[run]] has no key \"nmae\"\nhint: did you mean name?"),
        ("[[run]]\nname = 'x'\n[[run]]\nname = 'x'\n", "two runs named \"x\""),
        ("[[run]]\nname='x'\ndefault=true\n[[run]]\nname='y'\ndefault=true\n", "more than one run has default"),
        ("[service]\nname = 'x'\n", "scrimp.toml:1: service is a list of tables\nhint: write [[service]]"),
        ("[[service]]\nname = 'x'\nport = 1\n", "scrimp.toml:3: [[service]] has no key \"port\""),
        ("[[service]]\nname = 'x'\nready = 'soon'\n", "scrimp.toml:3: ready is \"started\", \"ended\" or a table"),
        ("[[service]]\nname = 'x'\nready = { prt = 1 }\n", "scrimp.toml:3: unknown field `prt`"),
        ("[image]\nsource = 'host'\n[[service]]\nname = 'x'\n", "the service x has no source"),
        ("a = \n", "scrimp.toml:1: "),
    ] {
        fs::write(env.path("scrimp.toml"), text).unwrap();
        let run = env.scrimp(&["slim"]).exits(2);
        assert!(run.stderr.contains(expected), "{text}\n{expected}\n{run}");
    }
    fs::remove_file(env.path("scrimp.toml")).unwrap();
    assert!(env.scrimp(&["slim"]).exits(2).stderr.contains("hint: name an image"));
    assert!(env.scrimp(&["slim", "--config", "none.toml"]).exits(2).stderr.contains("none.toml"));
}

#[test]
fn values_of_variables_in_the_file_stay_secret() {
    let env = Env::new();
    let secret = "s3cret-0f-f1le";
    let script = "echo token is $TOKEN; echo $OTHER; exit 1";
    let source = busybox(&env, "web", &json!({"Cmd": ["sh", "-c", script], "Env": ["PATH=/bin"]}), &[]);
    let text = format!("[image]\nsource = '{source}'\n[run.env]\nTOKEN = '{secret}'\nOTHER = 'fr0m-the-file'\n");
    fs::write(env.path("scrimp.toml"), text).unwrap();
    let run = env.scrimp(&["slim", "-e", "OTHER=typed-0ne", "--trace", "t"]).exits(1);
    assert!(run.stderr.contains("token is [redacted]\n[redacted]"), "{run}");
    assert!(!run.stderr.contains(secret) && !run.stderr.contains("fr0m"), "{run}");
}
