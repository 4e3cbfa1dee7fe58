//! What a caller relies on: streams, exit codes, the JSON object, help.

use std::fs::OpenOptions;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Env, Run, busybox, web_config};

const COMMANDS: [&str; 6] = ["slim", "trace", "build", "verify", "inspect", "doctor"];

fn web(env: &Env) -> String {
    busybox(env, "web", &web_config(), &[("/www/index.html", "a page\n")])
}

/// The names and types of a JSON value, those of a list from its first item.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(number) if number.is_u64() => "int".into(),
        Value::Number(_) => "float".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => format!("[{}]", items.first().map(shape).unwrap_or_default()),
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{}", shape(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}

#[test]
fn the_json_object_has_the_shape_that_is_promised() {
    let env = Env::new();
    let source = web(&env);
    let slim = env.scrimp(&["slim", &source, "--http", "/", "-o", "docker-archive:out.tar", "--format", "json"]);
    let slim = slim.succeeds();
    assert_eq!(slim.stdout.lines().count(), 1, "{slim}");
    let object = slim.json();
    assert_eq!(
        shape(&object),
        "{schema_version:int,source:{bytes:int,files:int},image:{bytes:int,files:int,package_data:{bytes:int,files:int},digest:string,diff_id:string},\
         probes:{passed:int,failed:int},verify:{status:string,repaired:int,reason:null},sandbox:{rung:string},\
         phases:[{name:string,seconds:float}],outputs:[{destination:string,digest:string,bytes:int}],warnings:[string],\
         application:{bytes:int,files:int,directories:[string]},listed:{directories:int,entries:int,bytes:int},\
         secrets:{files:int,paths:[]},advice:[]}"
    );
    assert_eq!(object["schema_version"], 1);
    assert_eq!(object["verify"]["status"], "passed");
    assert_eq!(object["outputs"][0]["destination"], "docker-archive:out.tar");
    let names: Vec<_> = object["phases"].as_array().unwrap().iter().map(|phase| phase["name"].clone()).collect();
    assert_eq!(names, ["unpack", "trace", "select", "assemble", "verify", "publish"]);
    let length = std::fs::metadata(env.path("out.tar")).unwrap().len();
    assert_eq!(object["outputs"][0]["bytes"], length);

    let failed = env.scrimp(&["slim", &source, "--exec", "false", "--format", "json"]).exits(1).json();
    assert_eq!((&failed["image"], &failed["outputs"]), (&Value::Null, &serde_json::json!([])));
    assert_eq!(failed["probes"], serde_json::json!({"passed": 0, "failed": 1}));
    assert_eq!(failed["verify"]["status"], "skipped");
}

#[test]
fn results_go_to_stdout_and_everything_else_to_stderr() {
    let env = Env::new();
    let source = web(&env);
    let run = env.scrimp(&["slim", &source, "--http", "/", "-o", "docker-archive:out.tar"]).succeeds();
    for line in [
        "image    ",
        "diff id  sha256:",
        "probes   1 passed, 0 failed",
        "verify   the image answers",
        "wrote    docker-archive:out.tar",
    ] {
        assert!(run.stdout.lines().any(|found| found.starts_with(line)), "{line}\n{run}");
    }
    assert!(!run.stderr.contains("wrote"), "{run}");
    let run = env.scrimp(&["slim", &source, "--exec", "false"]).exits(1);
    assert!(run.stderr.contains("failed: exec false") && !run.stdout.contains("exec false"), "{run}");
    let run = env.scrimp(&["slim", "docker-archive:none"]).exits(2);
    assert!(run.stdout.is_empty() && run.stderr.starts_with("error: "), "{run}");
}

#[test]
fn quiet_says_nothing_but_errors_and_results() {
    let env = Env::new();
    let source = web(&env);
    let run = env.scrimp(&["-q", "slim", &source, "--http", "/", "-o", "docker-archive:out.tar"]).succeeds();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let run = env.scrimp(&["slim", &source, "--http", "/", "--format", "json", "-q"]).succeeds();
    assert_eq!((&run.json()["schema_version"], run.stderr.as_str()), (&Value::from(1), ""));
    let run = env.scrimp(&["slim", "-q", &source, "--exec", "false"]).exits(1);
    assert!(run.stderr.contains("failed: exec false") && run.stdout.is_empty(), "{run}");
}

#[test]
fn every_command_has_help() {
    let env = Env::new();
    let run = env.scrimp(&["--help"]).succeeds();
    assert!(COMMANDS.iter().all(|command| run.stdout.contains(&format!("  {command} "))), "{run}");
    assert_eq!(env.scrimp(&["--version"]).succeeds().stdout, format!("scrimp {}\n", env!("CARGO_PKG_VERSION")));
    for command in COMMANDS {
        let run = env.scrimp(&[command, "--help"]).succeeds();
        assert!(run.stdout.contains(&format!("Usage: scrimp {command} ")) && run.stderr.is_empty(), "{run}");
    }
    assert_eq!(env.names(), Vec::<String>::new());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let env = Env::new();
    let source = web(&env);
    env.scrimp(&["inspect", &source]).succeeds();
    for arguments in [&["inspect", &source, "--top", "1000"][..], &["slim", &source, "--format", "json", "--", "true"]]
    {
        let mut command = env.scrimp_command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let env = Env::new();
    let source = web(&env);
    let mut command = env.scrimp_command(&["inspect", &source]);
    command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("error: ") && said.contains("No space left"), "{said}");
}

#[test]
fn inspect_shows_config_sums_directories_and_files() {
    let env = Env::new();
    let source = web(&env);
    let busybox = std::fs::metadata("/bin/busybox").unwrap().len();
    let run = env.scrimp(&["inspect", &source, "--top", "2"]).succeeds();
    let bytes = busybox + "root:x:0:0:root:/:/bin/sh\nroot:x:0:\na page\n".len() as u64;
    for part in [
        "cmd          httpd -f -p 8080 -h /www".to_owned(),
        "ports        8080/tcp".to_owned(),
        format!("({bytes} bytes): 6 directories, 4 files, 9 links"),
        "largest directories".to_owned(),
        "  /bin\n".to_owned(),
        "largest files".to_owned(),
        "  /bin/busybox\n".to_owned(),
    ] {
        assert!(run.stdout.contains(&part), "{part}\n{run}");
    }
    assert!(!run.stdout.contains("/www/index.html"), "only two are asked for\n{run}");
    assert!(run.stderr.is_empty(), "{run}");
}

#[test]
fn doctor_finds_that_this_machine_can_run_the_tests() {
    let env = Env::new();
    let run = env.scrimp(&["doctor"]).succeeds();
    for name in ["sandbox a: ", "sandbox d: ", "user namespace: "] {
        assert!(run.stdout.lines().any(|line| line.starts_with(&format!("yes  {name}"))), "{run}");
    }
    let findings = env.scrimp(&["doctor", "--format", "json"]).succeeds().json();
    assert_eq!((&findings[0]["name"], &findings[0]["ok"]), (&Value::from("sandbox a"), &Value::from(true)));
    assert_eq!(findings.as_array().unwrap().len(), run.stdout.lines().filter(|line| !line.starts_with(' ')).count());
}

#[test]
fn messages_have_colours_where_somebody_wants_them() {
    let env = Env::new();
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = env.scrimp_command(arguments);
        command.envs(variables.iter().copied());
        Run::of(command).exits(2).stderr
    };
    let (wrong, red) = (["slim", "nothing:x"], "\x1b[1;31merror\x1b[0m: ");
    for (arguments, variables, colored) in [
        (&[][..], &[][..], false),
        (&["--color", "always"], &[], true),
        (&["--color=auto"], &[("CLICOLOR_FORCE", "1")], true),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&["--color", "never"], &[("CLICOLOR_FORCE", "1")], false),
        (&[], &[("SCRIMP_COLOR", "always")], true),
        (&[], &[("NO_COLOR", "1")], false),
    ] {
        let said = run(&[&wrong[..], arguments].concat(), variables);
        assert_eq!(said.starts_with(red), colored, "{arguments:?} {variables:?}: {said:?}");
        assert_eq!(said.contains('\x1b'), colored, "{said:?}");
        assert_eq!(said.contains("\n\x1b[1;36mhint\x1b[0m: "), colored, "{said:?}");
        // What the parser says, too.
        assert_eq!(run(&[&["slim", "--nonsense"], arguments].concat(), variables).contains('\x1b'), colored);
    }
    std::fs::write(env.path("scrimp.toml"), "color = 'always'\n").unwrap();
    assert!(run(&wrong, &[]).starts_with(red));
    assert!(run(&["slim", "--color", "pink"], &[]).contains("[possible values: auto, always, never]"));
}

/// Runs scrimp with a terminal as its standard error, and prints all that came there.
const WITH_A_TERMINAL: &str = "
import os, pty, subprocess, sys
master, slave = pty.openpty()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=slave)
os.close(slave)
said = b''
while True:
    try:
        more = os.read(master, 4096)
    except OSError:
        break
    if not more:
        break
    said += more
sys.stdout.write(said.decode())
sys.exit(child.wait())
";

#[test]
fn a_terminal_shows_which_phase_it_is_and_nothing_of_it_stays() {
    let env = Env::new();
    let source = web(&env);
    let slim = [env!("CARGO_BIN_EXE_scrimp"), "slim", &source, "--http", "/"];
    let shown = |arguments: &[&str], term: &str| {
        let mut command = env.command("python3", &[&["-c", WITH_A_TERMINAL], &slim[..], arguments].concat());
        command.env("TERM", term);
        Run::of(command).succeeds().stdout
    };
    let moving = shown(&[], "xterm");
    for phase in ["starting", "unpack", "trace", "verify"] {
        assert!(moving.contains(&format!("\r\x1b[K{phase}")), "{moving:?}");
    }
    let after = moving.rsplit("\r\x1b[K").next().unwrap();
    assert!(after.is_empty() || after.starts_with("\x1b[1;33mwarning"), "the line is taken away: {moving:?}");
    for (arguments, term) in [(&["--no-progress"][..], "xterm"), (&["-q"], "xterm"), (&[], "dumb")] {
        let said = shown(arguments, term);
        assert!(!said.contains("\x1b[K") && !said.contains("unpack"), "{arguments:?}: {said:?}");
    }
}

/// The settings of an image once reached the terminal as they are, with what a terminal carries out.
#[test]
fn settings_of_an_image_do_nothing_to_a_terminal() {
    let env = Env::new();
    let config = serde_json::json!({"Cmd": ["/bin/sh", "-c", "\u{1b}]0;owned\u{7}exit 0"], "User": "root\u{1b}[2J"});
    busybox(&env, "hostile", &config, &[]);
    for arguments in [&["inspect", "docker-archive:hostile.tar"][..], &["slim", "docker-archive:hostile.tar"]] {
        let run = env.scrimp(arguments);
        let is_command = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(!run.stdout.contains(is_command) && !run.stderr.contains(is_command), "{run}");
    }
}
