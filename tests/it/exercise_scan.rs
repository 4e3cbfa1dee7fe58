//! What the exercisers' scans read out of sources, by the real interpreters.

mod node;
mod python;
mod ruby;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What a scan says about an application: each finding as `KIND NAME`, and notes. The directory is written as `@`.
fn scan(interpreter: [&str; 2], script: &str, files: &[(&str, &str)], used: &[&str]) -> BTreeSet<String> {
    scan_command(interpreter, script, files, &used[..1], used)
}

/// The same with the arguments of the interpreter.
fn scan_command(
    interpreter: [&str; 2],
    script: &str,
    files: &[(&str, &str)],
    arguments: &[&str],
    used: &[&str],
) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    for (name, text) in files {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text.replace('@', root.to_str().unwrap())).unwrap();
    }
    let used: Vec<String> = used.iter().map(|name| root.join(name).to_str().unwrap().to_owned()).collect();
    let command = [&[interpreter[0]], arguments].concat();
    let request = json!({"command": command, "cwd": root.to_str().unwrap(), "used": used});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes/exercise").join(script);
    let script = std::fs::read_to_string(script).unwrap();
    let mut child = Command::new(interpreter[0])
        .args([interpreter[1], &script])
        .current_dir(&root)
        .env("PYTHONPATH", root.join("lib/site-packages"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}\nhint: scripts/test installs what is missing", interpreter[0]));
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap().replace(root.to_str().unwrap(), "@");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        text("note").unwrap_or_else(|| format!("{} {}", text("do").unwrap(), text("name").unwrap()))
    };
    said.lines().map(line).collect()
}

#[track_caller]
fn assert_found(found: &BTreeSet<String>, there: &[&str], not_there: &[&str]) {
    let missing: Vec<_> = there.iter().filter(|item| !found.contains(**item)).collect();
    let too_many: Vec<_> = not_there.iter().filter(|item| found.contains(**item)).collect();
    assert!(missing.is_empty() && too_many.is_empty(), "missing {missing:?}, too many {too_many:?}\n{found:#?}");
}

const PYTHON: [&str; 2] = ["/usr/bin/python3", "-c"];
const NODE: [&str; 2] = ["node", "-e"];
const RUBY: [&str; 2] = ["ruby", "-e"];
