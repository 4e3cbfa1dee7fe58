//! How an exerciser is run: after the probes, in sandboxes of its own, on fresh copies of what the base has, as the
//! image's user, with its variables and in its working directory. It reaches no network, and what it writes is gone
//! afterwards.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::base::{FileTree, ImagePath};
use crate::observation::{Observation, Overrides, PathRecord};
use crate::probe::{self, Assignment, Exercisers, Exit, Findings, Item, Report, Supply, Target};
use crate::sandbox::{Network, ProcessSpec, Rung, Volume};
use crate::session::application::Application;
use crate::session::arrange::{self, Neighbourhood, Task};
use crate::session::limits::Hold;
use crate::session::output::{Stream, capture_whole};
use crate::session::unseen::Unseen;
use crate::session::watch::Watch;
use crate::session::{Place, SessionError, Settings, Subject, owners, record};
use crate::tracer::Tree;

/// How long a scan may take. Neither this nor the next is meant to be reached: what is found must not depend on how
/// busy the machine is.
const SCAN_TIME: Duration = Duration::from_secs(600);
/// How long acting on its findings may take: much more than the scripts allow themselves, who count what they get of
/// the processor.
const ACT_TIME: Duration = Duration::from_secs(1800);
/// How many are named of those for which there was no time.
const NAMED: usize = 5;
/// How long its output may take to end, once nobody is left who writes.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

/// What an exerciser came to.
pub struct Exercised {
    /// Who did it and was told what.
    pub assignment: Assignment,
    /// What it was to do, to do the same again.
    pub findings: Findings,
    /// How that went.
    pub report: Report,
    /// What it used, on the base.
    pub paths: FileTree<PathRecord>,
    /// Why it did not do all, for people.
    pub notes: Vec<String>,
    /// Whether time decided what it did.
    pub is_incomplete: bool,
}

/// Which exercisers a run gives reason for. In place there are none: what they do would happen to the machine itself.
pub fn assignments(
    place: Place<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    chosen: &Exercisers,
    observation: &Observation,
) -> Result<Vec<Assignment>, SessionError> {
    let rung = place.rung(subject.rootfs)?;
    if rung == Rung::E {
        return Ok(Vec::new());
    }
    let task = Task::new(subject, settings, rung, arrange::HOSTNAME)?;
    Ok(probe::assignments(chosen, observation, &task.launch.working_dir))
}

/// Scans and acts.
pub fn exercise(
    place: Place<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    assignment: Assignment,
) -> Result<Exercised, SessionError> {
    let mut findings = assignment.findings();
    if let Some(argv) = assignment.scan() {
        let input = assignment.request.as_bytes();
        let job = Job { argv, input, supply: None, tree: Tree::Observer, label: None, limit: SCAN_TIME };
        let done = perform(place, subject, settings, job)?;
        findings = Findings::parse(&done.stdout.tail);
        findings.notes.extend(done.complaint("the sources could not be read"));
    }
    act(place, subject, settings, assignment, findings)
}

/// Acts on the findings of another time, on `subject`, but for what failed then: it would cost time and say nothing.
/// With `only`, of what went well then only these.
pub fn exercise_again(
    place: Place<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    before: &Exercised,
    only: Option<&BTreeSet<String>>,
) -> Result<Exercised, SessionError> {
    let (done, failed) = (&before.report.done, &before.report.failed);
    let wanted = |name: &String| only.is_none_or(|only| only.contains(name) || !done.contains(name));
    let again = |item: &&Item| !failed.contains_key(&item.to_string()) && wanted(&item.to_string());
    let items = before.findings.items.iter().filter(again).cloned().collect();
    let findings = Findings { items, notes: Vec::new() };
    act(place, subject, settings, before.assignment.clone(), findings)
}

fn act(
    place: Place<'_>,
    subject: &Subject<'_>,
    settings: &Settings,
    assignment: Assignment,
    mut findings: Findings,
) -> Result<Exercised, SessionError> {
    let label = assignment.language.label();
    let mut notes = std::mem::take(&mut findings.notes);
    if findings.is_empty() {
        let (report, paths) = (Report::default(), FileTree::new());
        return Ok(Exercised { assignment, findings, report, paths, notes, is_incomplete: false });
    }
    let input = findings.to_input();
    let job = Job {
        argv: assignment.act(&findings),
        input: &input,
        supply: assignment.supply(),
        tree: Tree::Application,
        label: Some(label),
        limit: ACT_TIME,
    };
    let done = perform(place, subject, settings, job)?;
    let report = Report { is_cut: done.exit.is_none(), ..Report::parse(&done.stdout.tail) };
    notes.extend(done.complaint("not everything was tried"));
    let unreached = report.unreached(&findings);
    notes.extend(no_time(&unreached, &findings));
    Ok(Exercised { assignment, findings, report, paths: done.paths, notes, is_incomplete: !unreached.is_empty() })
}

/// What there was no time for, in a sentence.
fn no_time(unreached: &[String], findings: &Findings) -> Option<String> {
    let named = unreached[..unreached.len().min(NAMED)].join(", ");
    let more = match unreached.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!unreached.is_empty()).then(|| {
        format!(
            "there was no time for {} of {}: {named}{more}; what they need is not in the image unless something else used \
             it, and on another machine it may be",
            unreached.len(),
            findings.items.len()
        )
    })
}

/// One process of an exerciser.
struct Job<'a> {
    argv: Vec<String>,
    input: &'a [u8],
    supply: Option<Supply>,
    tree: Tree,
    label: Option<String>,
    limit: Duration,
}

/// What came of it.
struct Done {
    stdout: Stream,
    stderr: Stream,
    exit: Option<Exit>,
    paths: FileTree<PathRecord>,
}

impl Done {
    /// What to say when it did not end well.
    fn complaint(&self, what: &str) -> Option<String> {
        let how = match self.exit {
            Some(exit) if exit.code() == 0 => return None,
            Some(exit) => format!("it ended with {exit}"),
            None => "it took too long".into(),
        };
        let text = String::from_utf8_lossy(&self.stderr.tail);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let last: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
        Some(if last.is_empty() { format!("{what}: {how}") } else { format!("{what}: {how}: {last}") })
    }
}

/// Runs one process to its end in a sandbox of its own.
fn perform(place: Place<'_>, subject: &Subject<'_>, settings: &Settings, job: Job<'_>) -> Result<Done, SessionError> {
    let system = |operation| move |cause| SessionError::System { operation, cause };
    let overrides = Overrides { entrypoint: Some(job.argv), cmd: None, ..settings.overrides.clone() };
    let mut settings = Settings { overrides, network: Network::Private, ..settings.clone() };
    // What an import does to the caller's files, nobody has asked for.
    settings.volumes.iter_mut().for_each(|volume| volume.read_only = true);
    let supplies = place.store.scratch_dir()?;
    if let Some(supply) = &job.supply {
        let made = lay_out(supplies.path(), supply).map_err(system("write what an exerciser needs"))?;
        settings.volumes.extend(made);
    }
    let rung = place.rung(subject.rootfs)?;
    let task = Task::new(subject, &settings, rung, arrange::HOSTNAME)?;
    let (hold, unseen) = (Hold::new(&settings.limits), Unseen::default());
    let alone = Neighbourhood { hostname: arrange::HOSTNAME, names: &[], network: None, observed_from: None };
    let (sandbox, scratch) = arrange::sandbox(place, rung, subject, &settings, &hold.bounds(), &unseen, &alone)?;
    let (watch, events) = Watch::start(place, subject, &settings, &sandbox)?;
    let process = ProcessSpec {
        ids: place.footing.ids,
        refusals: true,
        limits: hold.resources(),
        ..task.process(&settings, watch.options())
    };

    let mut input = place.store.temp_file()?;
    let written = input.write_all(job.input).and_then(|()| input.seek(SeekFrom::Start(0)));
    written.map_err(system("write what an exerciser is told"))?;
    let (mut stdio, captured) = capture_whole().map_err(system("make pipes for an exerciser's output"))?;
    stdio.stdin = input.into();

    watch.tracer().enter_probe(job.label);
    watch.tracer().next_tree(job.tree);
    watch.tracer().next_credentials(owners::credentials(&process));
    let spawned = sandbox.spawn(&process, stdio);
    let (exit, output) = match spawned {
        Err(cause) => {
            sandbox.finish();
            // What ended the sandbox comes first.
            watch.finish()?;
            return Err(cause.into());
        }
        Ok(spawned) => {
            let application = Application::new(&sandbox, watch.tracer(), process, subject.rootfs, spawned.pid);
            thread::scope(|scope| {
                scope.spawn(|| application.follow(events));
                application.wait_end(job.limit);
                let exit = application.exited();
                sandbox.finish();
                (exit, captured.collect(OUTPUT_GRACE))
            })
        }
    };
    let (recording, _) = watch.finish()?;
    let own = arrange::own_paths(place.store, subject.rootfs, sandbox.plan())?;
    let paths = record::records(recording.accesses, subject.rootfs, &own)?;
    drop(sandbox);
    scratch.remove()?;
    supplies.remove()?;
    Ok(Done { stdout: output.0, stderr: output.1, exit, paths })
}

/// Puts a file where the image's user can read it, and says where it has to be in the sandbox.
fn lay_out(scratch: &Path, supply: &Supply) -> io::Result<Option<Volume>> {
    let Ok(target) = ImagePath::parse(supply.directory) else { return Ok(None) };
    let source = scratch.join("supply");
    fs::create_dir(&source)?;
    fs::write(source.join(&supply.name), &supply.content)?;
    fs::set_permissions(source.join(&supply.name), Permissions::from_mode(0o644))?;
    fs::set_permissions(&source, Permissions::from_mode(0o755))?;
    Ok(Some(Volume { source, target, read_only: true }))
}
