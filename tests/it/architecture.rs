//! The rooms of the house and the doors between them: which module may import which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every module with the modules it may import. A new door is a decision: it is made here.
const DOORS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("image", &["base"]),
    ("observation", &["base"]),
    ("sandbox", &["base"]),
    ("tracer", &["base", "observation"]),
    ("probe", &["base", "observation"]),
    ("session", &["base", "image", "observation", "sandbox", "tracer", "probe"]),
    ("closure", &["base", "image", "observation"]),
    ("select", &["base", "image", "observation", "closure"]),
    ("assemble", &["base", "image", "observation", "select"]),
    ("verify", &["base", "image", "observation", "select"]),
    ("report", &["base", "image", "observation", "select", "verify"]),
    ("runtime", &["base", "image", "observation", "sandbox", "probe", "session", "assemble"]),
    (
        "pipeline",
        &[
            "runtime",
            "base",
            "image",
            "observation",
            "sandbox",
            "tracer",
            "probe",
            "session",
            "closure",
            "select",
            "assemble",
            "verify",
            "report",
        ],
    ),
    (
        "cli",
        &[
            "runtime",
            "base",
            "image",
            "observation",
            "sandbox",
            "tracer",
            "probe",
            "session",
            "closure",
            "select",
            "assemble",
            "verify",
            "report",
            "pipeline",
        ],
    ),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// The modules that `text` names after `crate::`, comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut out = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            // `use crate::{a::X, b::{Y, Z}}`: the first word of each item at the outer level.
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            out.insert(word(item.trim()));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(c);
                }
                out.insert(word(item.trim()));
            }
            None => {
                out.insert(word(rest));
            }
        }
    }
    out.remove("");
    out
}

#[test]
fn modules_import_only_what_their_row_names() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let doors: BTreeMap<&str, &[&str]> = DOORS.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in sources(&src) {
        let relative = file.strip_prefix(&src).unwrap();
        let room = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let Some(allowed) = doors.get(room.as_str()) else {
            wrong.push(format!("{}: the module is not in the table", relative.display()));
            continue;
        };
        for module in imports(&fs::read_to_string(&file).unwrap()) {
            if module != room && !allowed.contains(&module.as_str()) {
                wrong.push(format!("{} imports {module}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "doors that the table does not have:\n{}", wrong.join("\n"));
}

#[test]
fn every_form_of_an_import_is_seen() {
    let text = "use crate::{a::X, b::{Y, Z}, c};\nuse crate::d;\nlet x = crate::e::f();\n// use crate::g;\n";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
}

#[test]
fn unsafe_code_lives_in_two_rooms() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let outside: Vec<_> = sources(&src)
        .into_iter()
        .filter(|f| !["sandbox", "tracer"].iter().any(|room| f.starts_with(src.join(room))))
        .filter(|f| {
            let text = fs::read_to_string(f).unwrap();
            text.lines().any(|l| !l.trim_start().starts_with("//") && l.split_whitespace().any(|w| w == "unsafe"))
        })
        .collect();
    assert!(outside.is_empty(), "unsafe outside sandbox and tracer: {outside:?}");
}

#[test]
fn main_is_thin() {
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 60);
}
