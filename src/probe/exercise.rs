//! Exercisers: what an application's sources name, used by the image's own interpreter.
//!
//! Probes reach only the code they reach. An exerciser has two scripts, which are plain files in `probes/exercise/` and
//! no part of any image. The first one *scans*: it reads sources and looks names up, executes nothing of the
//! application, and counts as an observer. Its findings are a list of [`Item`]s. The second one *acts* on them, imports
//! modules or reads files, and what it uses counts. The same list is acted on in the small image.
//!
//! Here is what each language needs to be told and what it says; who runs it is `session`.

mod jvm;
mod report;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub use report::{Findings, Item, Report};

use crate::base::ImagePath;
use crate::observation::{Found, Observation, Operation, PathRecord};

/// A language for whose programs there is an exerciser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// CPython 3 and PyPy 3.
    Python,
    /// Node.js.
    Node,
    /// CRuby.
    Ruby,
    /// Whatever runs on a Java virtual machine.
    Jvm,
}

/// The two scripts of a language, and what stands before them on the command line.
struct Scripts {
    scan: &'static str,
    act: &'static str,
    option: &'static str,
}

/// Which exercisers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exercisers {
    /// Those whose interpreters the run has used.
    Auto,
    /// Only these, where their interpreters were used; none at all when it is empty.
    Only(BTreeSet<Language>),
}

/// A text does not name exercisers.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExercisersError {
    /// There is none of that name.
    #[error("there is no exerciser named {0:?}\nhint: there are auto, none, python, node, ruby and jvm")]
    Unknown(String),
    /// `none` beside another, or `auto`.
    #[error(
        "{0} stands alone: with it no other exerciser can be named\nhint: without auto and none those that are named run"
    )]
    Alone(&'static str),
}

/// One interpreter and what it is told about the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its language.
    pub language: Language,
    /// The interpreter, as the application starts it: of a virtual environment its own link.
    pub interpreter: ImagePath,
    /// The request that the scan reads: one JSON object.
    pub request: String,
    /// Where a virtual machine looks for the application's classes.
    pub class_path: Option<String>,
}

impl Language {
    /// All of them, in the order in which they run.
    pub const ALL: [Language; 4] = [Language::Python, Language::Node, Language::Ruby, Language::Jvm];

    /// The name that `--exercise` knows.
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Node => "node",
            Language::Ruby => "ruby",
            Language::Jvm => "jvm",
        }
    }

    /// What stands in the place of a probe where only the exerciser has used something.
    pub fn label(self) -> String {
        format!("{}{}", crate::observation::EXERCISE, self.name())
    }

    /// Whether an executable is an interpreter of it, by its name: `python3.11`, `ruby3.1`, `nodejs`, `java`.
    fn is_interpreter(self, executable: &ImagePath) -> bool {
        let Some(name) = executable.file_name().and_then(|name| std::str::from_utf8(name).ok()) else { return false };
        let is_version = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let names: &[&str] = match self {
            Language::Python => &["python", "pypy"],
            Language::Node => &["node", "nodejs"],
            Language::Ruby => &["ruby"],
            Language::Jvm => &["java"],
        };
        names.iter().any(|known| name.strip_prefix(known).is_some_and(is_version)) && !name.starts_with("python2")
    }

    /// `None` where there is nothing to scan for.
    fn scripts(self) -> Option<Scripts> {
        let (scan, act, option) = match self {
            Language::Python => (
                include_str!("../../probes/exercise/python_scan.py"),
                include_str!("../../probes/exercise/python.py"),
                "-c",
            ),
            Language::Node => (
                include_str!("../../probes/exercise/node_scan.js"),
                include_str!("../../probes/exercise/node.js"),
                "-e",
            ),
            Language::Ruby => (
                include_str!("../../probes/exercise/ruby_scan.rb"),
                include_str!("../../probes/exercise/ruby.rb"),
                "-e",
            ),
            Language::Jvm => return None,
        };
        Some(Scripts { scan, act, option })
    }
}

/// A file that an exerciser needs in the sandbox.
pub struct Supply {
    /// The directory that holds it, and nothing else.
    pub directory: &'static str,
    /// Its name there.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

impl Assignment {
    /// What finds out what there is to do; `None` where that is known beforehand, see [`Assignment::findings`].
    pub fn scan(&self) -> Option<Vec<String>> {
        let Scripts { scan, option, .. } = self.language.scripts()?;
        Some(vec![self.interpreter.to_string(), option.into(), scan.into()])
    }

    /// What there is to do without a scan.
    pub fn findings(&self) -> Findings {
        match self.language {
            Language::Jvm => jvm::findings(),
            _ => Findings::default(),
        }
    }

    /// What does it.
    pub fn act(&self, findings: &Findings) -> Vec<String> {
        let interpreter = self.interpreter.to_string();
        match self.language.scripts() {
            Some(Scripts { act, option, .. }) => vec![interpreter, option.into(), act.into()],
            None => {
                let own = self.class_path.iter().map(String::as_str).chain([jvm::DIRECTORY]);
                let path = own.collect::<Vec<_>>().join(":");
                let fixed = [interpreter, "-cp".into(), path, jvm::CLASS.into()];
                fixed.into_iter().chain(findings.items.iter().map(|item| item.name.clone())).collect()
            }
        }
    }

    /// What it needs in the sandbox besides.
    pub fn supply(&self) -> Option<Supply> {
        (self.language == Language::Jvm).then(|| Supply {
            directory: jvm::DIRECTORY,
            name: format!("{}.class", jvm::CLASS),
            content: jvm::class_file(),
        })
    }

    /// Whether what fails was named by the application, and not only by a list for all.
    pub fn is_named(&self) -> bool {
        self.language != Language::Jvm
    }
}

/// What the scan is told.
#[derive(Serialize)]
struct Request<'a> {
    command: &'a [String],
    cwd: &'a str,
    used: Vec<String>,
}

/// What there is to exercise after a run in `working_dir`.
pub fn assignments(chosen: &Exercisers, observation: &Observation, working_dir: &ImagePath) -> Vec<Assignment> {
    let mut out = Vec::new();
    for language in Language::ALL.into_iter().filter(|language| chosen.allows(*language)) {
        for executable in interpreters(language, observation) {
            let used: Vec<String> = used_by(&executable, observation).map(|path| path.to_string()).collect();
            let command = &observation.header.command;
            let class_path = (language == Language::Jvm).then(|| jvm_class_path(command, &used)).flatten();
            let request = Request { command, cwd: &working_dir.to_string(), used };
            let Ok(request) = serde_json::to_string(&request) else { continue };
            let interpreter = environment_of(&executable, observation).unwrap_or(executable);
            out.push(Assignment { language, interpreter, request, class_path });
        }
    }
    out
}

/// The class path of the command; where a script has started the virtual machine, the jars that it has opened.
fn jvm_class_path(command: &[String], used: &[String]) -> Option<String> {
    let jars = || used.iter().filter(|file| file.ends_with(".jar") && !file.contains("/jvm/")).cloned();
    jvm::class_path(command).or_else(|| Some(jars().collect::<Vec<_>>().join(":")).filter(|path| !path.is_empty()))
}

/// The executables of the application that are interpreters of a language.
fn interpreters(language: Language, observation: &Observation) -> BTreeSet<ImagePath> {
    // What the kernel starts for a `#!` line, it loads without a call that would execute it.
    let started = |operation: &Operation| matches!(operation, Operation::Exec | Operation::Load);
    let is_own = |path: &&ImagePath| {
        let record = observation.paths.get(path);
        record.is_some_and(|r| !r.probe_tool && r.operations.iter().any(started))
    };
    let executables = observation.paths.iter().flat_map(|(_, record)| &record.executables);
    executables.filter(|path| language.is_interpreter(path)).filter(is_own).cloned().collect()
}

/// The files that the processes of an executable have opened and that the base has.
fn used_by<'a>(executable: &'a ImagePath, observation: &'a Observation) -> impl Iterator<Item = &'a ImagePath> {
    let counts = move |record: &PathRecord| {
        matches!(record.found, Found::File { .. })
            && !record.probe_tool
            && record.operations.contains(&Operation::Open)
            && record.executables.contains(executable)
    };
    // A path that is no text cannot be told to a script; a source of such a name is imported by none.
    let used = observation.paths.iter().filter(move |(_, record)| counts(record)).map(|(path, _)| path);
    used.filter(|path| std::str::from_utf8(path.as_bytes()).is_ok_and(|text| text == path.to_string()))
}

/// The link by which an interpreter knows that it runs in a virtual environment: beside it, one directory up, is a
/// `pyvenv.cfg` that the run has read (PEP 405).
fn environment_of(executable: &ImagePath, observation: &Observation) -> Option<ImagePath> {
    let is_link = |path: &ImagePath| {
        observation.paths.get(path).is_some_and(|record| matches!(record.found, Found::Symlink { .. }))
    };
    let configs = observation.paths.iter().filter(|(path, record)| {
        path.file_name() == Some(b"pyvenv.cfg")
            && matches!(record.found, Found::File { .. })
            && record.executables.contains(executable)
    });
    let directories = configs.filter_map(|(path, _)| path.parent()?.child(b"bin").ok());
    let links = directories.flat_map(|bin| {
        [&b"python"[..], b"python3"].into_iter().filter_map(move |name| bin.child(name).ok()).collect::<Vec<_>>()
    });
    links.into_iter().find(is_link)
}

impl Exercisers {
    /// None at all.
    pub fn none() -> Self {
        Exercisers::Only(BTreeSet::new())
    }

    fn allows(&self, language: Language) -> bool {
        match self {
            Exercisers::Auto => true,
            Exercisers::Only(languages) => languages.contains(&language),
        }
    }

    /// Exercisers by their names, as they stand on the command line; none named is [`Exercisers::Auto`].
    pub fn named<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, ExercisersError> {
        let (mut languages, mut auto, mut none) = (BTreeSet::new(), false, false);
        for name in names {
            match name.as_ref() {
                "auto" => auto = true,
                "none" => none = true,
                name => {
                    languages.insert(name.parse()?);
                }
            }
        }
        match (none, auto, languages.is_empty()) {
            (true, true, _) | (true, _, false) => Err(ExercisersError::Alone("none")),
            (_, true, false) => Err(ExercisersError::Alone("auto")),
            (true, false, true) => Ok(Exercisers::none()),
            (false, _, true) => Ok(Exercisers::Auto),
            (false, false, false) => Ok(Exercisers::Only(languages)),
        }
    }
}

impl FromStr for Language {
    type Err = ExercisersError;

    fn from_str(text: &str) -> Result<Self, ExercisersError> {
        let known = Language::ALL.into_iter().find(|language| language.name() == text);
        known.ok_or_else(|| ExercisersError::Unknown(text.into()))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::read_trace;

    /// An observation whose paths are lines of a trace.
    fn observation(command: &str, lines: &[&str]) -> Observation {
        let header = format!(
            r#"{{"schema_version":1,"tool":"scrimp","source":"x","source_digest":null,"command":{command},"overrides":{{}},"env_names":[],"rung":"a","gaps":[],"warnings":[],"transcript":{{"probes":[]}}}}"#
        );
        let text = [&[header.as_str()], lines].concat().join("\n") + "\n";
        read_trace(text.as_bytes(), "test").unwrap()
    }

    fn line(path: &str, kind: &str, operations: &str, executable: &str) -> String {
        format!(
            r#"{{"path":"{path}","kind":{kind},"operations":[{operations}],"executables":["{executable}"],"resolved":true,"count":1}}"#
        )
    }

    fn found(lines: &[String], chosen: &str) -> Vec<String> {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let chosen = Exercisers::named(chosen.split(',')).unwrap();
        let observation = observation(r#"["java","-jar","/app.jar"]"#, &lines);
        let assignments = assignments(&chosen, &observation, &ImagePath::parse("/srv").unwrap());
        let shown = |a: &Assignment| format!("{} {} {}", a.language, a.interpreter, a.request);
        assignments.iter().map(shown).collect()
    }

    #[test]
    fn interpreters_are_those_that_the_application_ran() {
        let python = "/usr/bin/python3.11";
        let lines = [
            line("/app/x.py", "\"file\"", "\"open\"", python),
            line("/app/y.py", "\"file\"", "\"stat\"", python),
            line("/usr/bin/node-gyp", "\"file\"", "\"exec\"", "/usr/bin/node-gyp"),
            line(python, "\"file\"", "\"exec\"", python),
        ];
        let request = r#"{"command":["java","-jar","/app.jar"],"cwd":"/srv","used":["/app/x.py"]}"#;
        let expected = format!("python {python} {request}");
        assert_eq!(found(&lines, "auto"), std::slice::from_ref(&expected));
        assert_eq!(found(&lines, "ruby,python"), std::slice::from_ref(&expected));
        // A script with a `#!` line was executed, and the kernel has loaded the interpreter.
        let by_script = [lines[0].clone(), line(python, "\"file\"", "\"load\"", python)];
        assert_eq!(found(&by_script, "auto"), [expected]);
        assert!(found(&lines, "none").is_empty() && found(&lines, "ruby,jvm").is_empty());
        let as_tool = lines[3].replace("\"resolved\"", "\"probe_tool\":true,\"resolved\"");
        assert!(found(&[lines[0].clone(), as_tool], "auto").is_empty());
    }

    #[test]
    fn a_virtual_environment_is_started_by_its_own_link() {
        let python = "/usr/bin/python3.11";
        let lines = [
            line(python, "\"file\"", "\"exec\"", python),
            line("/venv/bin/python", "\"symlink\",\"target\":\"/usr/bin/python3.11\"", "\"traverse\"", python),
            line("/venv/pyvenv.cfg", "\"file\"", "\"open\"", python),
        ];
        assert!(found(&lines, "auto")[0].starts_with("python /venv/bin/python {"), "{:?}", found(&lines, "auto"));
    }

    #[test]
    fn exercisers_have_names() {
        let named = |names: &[&str]| Exercisers::named(names);
        assert_eq!(named(&[]), Ok(Exercisers::Auto));
        assert_eq!(named(&["none"]), Ok(Exercisers::none()));
        assert_eq!(named(&["node", "jvm"]), Ok(Exercisers::Only([Language::Node, Language::Jvm].into())));
        assert_eq!(named(&["none", "node"]), Err(ExercisersError::Alone("none")));
        assert_eq!(named(&["auto", "none"]), Err(ExercisersError::Alone("none")));
        assert_eq!(
            named(&["perl"]).unwrap_err().to_string(),
            "there is no exerciser named \"perl\"\nhint: there are auto, none, python, node, ruby and jvm"
        );
    }

    #[test]
    fn every_script_fits_on_a_command_line() {
        // MAX_ARG_STRLEN of Linux.
        for Scripts { scan, act, .. } in Language::ALL.into_iter().filter_map(Language::scripts) {
            assert!(scan.len() < 128 << 10 && act.len() < 128 << 10);
        }
    }
}
