use std::collections::BTreeSet;
use std::path::Path;

use super::document::{Setting, Value};
use super::*;

fn keys() -> Keys {
    let mut command = definition();
    command.build();
    Keys::of(&command)
}

fn document(text: &str) -> Document {
    Document::parse(text, Path::new("scrimp.toml"), &keys()).unwrap_or_else(|error| panic!("{error:#}"))
}

fn shown(settings: &[Setting]) -> Vec<String> {
    let value = |value: &Value| match value {
        Value::Switch(value) => value.to_string(),
        Value::Texts(texts) => texts.join("|"),
    };
    settings.iter().map(|s| format!("{}:{}.{}={}", s.line, s.section, s.key, value(&s.value))).collect()
}

/// The command line that comes of `arguments` and the file.
fn merged(arguments: &[&str], text: &str) -> Result<Cli> {
    let mut command = definition();
    command.build();
    let arguments: Vec<OsString> = ["scrimp"].iter().chain(arguments).map(OsString::from).collect();
    let matches = command.clone().try_get_matches_from(&arguments)?;
    let (name, given) = matches.subcommand().unwrap();
    let document = document(text);
    read(&Merge::new(&command, name, given, &arguments, &document), &document, given)
}

fn slim(arguments: &[&str], text: &str) -> crate::cli::args::SlimArgs {
    match merged(&[&["slim"], arguments].concat(), text).unwrap_or_else(|error| panic!("{error:#}")).command {
        Command::Slim(args) => *args,
        _ => panic!("not slim"),
    }
}

#[test]
fn every_flag_has_a_key_and_a_variable_where_it_takes_one_value() {
    let mut command = definition();
    command.build();
    let keys = Keys::of(&command);
    for name in COMMANDS {
        for arg in command.find_subcommand(name).unwrap().get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !["help", "version", "config", "run"].contains(long)) else {
                continue;
            };
            let (section, key) = keys::key_of(name, arg).unwrap_or_else(|| panic!("{name} --{long} has no key"));
            assert!(keys.0[&section].contains_key(&key), "{name} --{long}");
            let is_scalar = matches!(keys::shape_of(arg), keys::Shape::One | keys::Shape::Switch);
            assert_eq!(arg.get_env().is_some(), is_scalar, "{name} --{long}");
        }
    }
}

#[test]
fn one_run_and_several_do_not_go_together() {
    let text = "[run]\ntimeout = '3s'\n[[run]]\nname = 'a'\n";
    let error = Document::parse(text, Path::new("s.toml"), &keys()).err().unwrap().to_string();
    assert_eq!(
        error,
        "s.toml:3: duplicate key\nhint: there is one [run], or several [[run]]; what all of several have stands in [all-runs]"
    );
    let error = Document::parse("[image]\n[image]\n", Path::new("s.toml"), &keys()).err().unwrap().to_string();
    assert_eq!(error, "s.toml:2: duplicate key");
}

#[test]
fn every_key_is_in_the_documentation() {
    let text = include_str!("../../../docs/settings.md");
    let documented: BTreeSet<&str> = text.split('`').skip(1).step_by(2).collect();
    let mut missing = Vec::new();
    for (section, keys) in keys().0 {
        missing.extend(
            keys.into_keys().filter(|key| !documented.contains(key.as_str())).map(|key| format!("{section}.{key}")),
        );
    }
    assert!(missing.is_empty(), "docs/settings.md does not have {missing:?}");
}

#[test]
fn values_are_read_as_they_are_meant() {
    let document = document(
        "quiet = true\n[image]\ntag = ['a', 'b']\n[run]\ncommand = \"sh -c 'a b'\"\nentrypoint = ['/e', 'x y']\ntimeout = 90\n\
         env = { A = '1', B = 2 }\nvolume = 'a:/b'\n[probes]\nhttp = '/'\n",
    );
    assert_eq!(
        shown(&document.settings),
        [
            "1:.quiet=true",
            "3:image.tag=a|b",
            "5:run.command=sh|-c|a b",
            "6:run.entrypoint=/e|x y",
            "7:run.timeout=90",
            "8:run.env=A=1|B=2",
            "9:run.volume=a:/b",
            "11:probes.http=/"
        ]
    );
}

#[test]
fn what_was_typed_goes_first() {
    let text =
        "[image]\nsource = 'host'\n[run]\ncommand = 'a b'\nuser = 'u'\nenv = ['A=1', 'B=2']\ntmpfs = ['/x', '/y']\n";
    let args = slim(&[], text);
    assert_eq!((args.source.as_deref(), args.command), (Some("host"), vec!["a".into(), "b".into()]));
    assert_eq!(
        (args.run.user.as_deref(), args.run.env, args.run.tmpfs.len()),
        (Some("u"), vec!["A=1".into(), "B=2".into()], 2)
    );
    let args = slim(&["oci:x", "-u", "v", "-e", "B=3", "--tmpfs", "/z", "--", "c"], text);
    assert_eq!((args.source.as_deref(), args.command), (Some("oci:x"), vec!["c".into()]));
    assert_eq!((args.run.user.as_deref(), args.run.tmpfs), (Some("v"), vec!["/z".into()]));
    assert_eq!(args.run.env, ["B=3", "A=1"], "variables are merged by name");
    assert_eq!(slim(&[], "[run]\nentrypoint = ['/e', 'a b']\n").run.entrypoint.as_deref(), Some(r#"["/e","a b"]"#));
}

#[test]
fn runs_have_what_all_have_and_what_is_theirs() {
    let text = "[all-runs]\nuser = 'u'\ntimeout = '5s'\nenv = ['A=1']\n[probes]\nhttp = '/all'\n[[run]]\nname = 'web'\nuser = 'w'\n\
                [[run]]\nname = 'job'\ndefault = true\ncommand = 'job'\n[run.probes]\nexec = 'true'\n";
    let runs = slim(&["host"], text).run.project.runs;
    let shown: Vec<String> = runs
        .iter()
        .map(|r| {
            format!(
                "{} {} {:?} {:?} {:?} {:?} {:?}",
                r.name, r.is_default, r.run.user, r.run.env, r.command, r.probe.http, r.probe.exec
            )
        })
        .collect();
    assert_eq!(
        shown,
        [r#"web false Some("w") ["A=1"] [] ["/all"] []"#, r#"job true Some("u") ["A=1"] ["job"] [] ["true"]"#]
    );
    assert!(slim(&["host", "--run", "x=y"], text).run.project.runs.is_empty(), "those that are typed replace all");
    assert!(slim(&["host", "--", "y"], text).run.project.runs.is_empty());
}

#[test]
fn services_have_settings_of_their_own() {
    let text = "[run]\nuser = 'app'\n[[service]]\nname = 'db'\nsource = 'oci:db'\nuser = 'postgres'\ncommand = ['a', 'b c']\n\
                timeout = '1m'\nready = { port = 5432 }\n[[service]]\nname = 'job'\nready = 'ended'\n";
    let services = slim(&["host"], text).run.project.services;
    assert_eq!((services[0].run.user.as_deref(), services[1].run.user.as_deref()), (Some("postgres"), None));
    assert_eq!(services[0].command, ["a", "b c"]);
    assert!(matches!(&services[0].until, Until::Ready(Some(ready)) if ready.port == Some(5432)));
    assert!(matches!(services[1].until, Until::Ended));
    let error = merged(&["slim", "host"], "[[service]]\nname = 'db'\ntimeout = 'x'\n").unwrap_err();
    assert!(error.to_string().starts_with("scrimp.toml:3: timeout = \"x\": "), "{error}");
}

#[test]
fn each_command_takes_what_is_its() {
    let text = "trace = 't'\n[image]\nsource = 'host'\noutput = ['oci:x']\n[run]\nuser = 'u'\n[probes]\nhttp = '/'\n";
    let Command::Trace(trace) = merged(&["trace"], text).unwrap().command else { panic!() };
    assert_eq!((trace.source.as_deref(), trace.output), (Some("host"), Some("t".into())));
    let Command::Build(build) = merged(&["build"], text).unwrap().command else { panic!() };
    assert_eq!((build.trace, build.output.output), (vec!["t".into()], vec!["oci:x".into()]));
    let Command::Verify(verify) = merged(&["verify", "oci:x"], text).unwrap().command else { panic!() };
    assert_eq!((verify.slim.as_str(), verify.against.as_deref()), ("oci:x", Some("host")));
}
