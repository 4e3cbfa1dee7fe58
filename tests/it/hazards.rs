//! Nothing that is used is lost, and nothing that is changed ships: programs that use and change files in the ways in
//! which files get lost, each of which has to say the same in the base and in the small image, in a container that
//! podman runs. What the small image has it has as the base had it, down to the bytes of extended attributes.

mod base;
mod tree;

use std::path::Path;

use base::base;
use tree::Tree;

use crate::support::{Env, Image, Podman, Run, User};

/// A program of `fixtures/hazards`, one of its cases, and what the small image then has below `/haz`, a directory with
/// a slash at its end.
type Case = (&'static str, &'static str, &'static str);

const NAMES: &[Case] = &[
    ("names", "relative_access", "dir/ dir/file"),
    ("names", "relative_chdir", "dir/ dir/sub/"),
    ("names", "faccessat2", "dir/ dir/file"),
    ("names", "inotify", "dir/ dir/file dir/sub/"),
    ("names", "times", "dir/ dir/file link"),
    ("names", "mode", "dir/ dir/file"),
    ("names", "owner", "dir/ dir/file link"),
    ("names", "size", "dir/ dir/file dir/other dir/sub/ dir/sub/deep"),
    ("names", "attribute", "attributes dir/ dir/file"),
    ("names", "attributes", "attributes"),
    ("names", "file_system", "dir/ dir/file"),
    ("names", "beside", "dir/ dir/other"),
];

const KINDS_OF_NAMES: &[Case] = &[
    ("names", "both_prefixes", "mark mark.bak"),
    ("names", "long_prefix", "mark.bak"),
    ("names", "short_prefix", "mark"),
    ("names", "fifo_stat", "fifo"),
    ("names", "fifo_open", "fifo fifo2"),
    (
        "names",
        "links",
        "absolute chain1 chain2 chain3 chain4 chain5 dangling dir/ dir/file dir/sub/ dirlink link loop1 loop2 mark up",
    ),
    ("names", "chain", "chain1 chain2 chain3 chain4 chain5 dir/ dir/file"),
    ("names", "followed", "absolute dangling dir/ dir/file dir/sub/ dir/sub/deep dirlink link loop1 loop2 mark up"),
    ("names", "dangling", "dangling"),
    ("names", "empty_directory", "empty/ empty2/"),
    ("names", "unusual", base::ODD),
    ("names", "deep", "deep/..."),
];

const KINDS: &[Case] = &[
    ("kinds", "setuid", "bin/ bin/setuid"),
    ("kinds", "setgid", "bin/ bin/both bin/setgid"),
    ("kinds", "file_capability", "bin/ bin/capable"),
    ("kinds", "file_capability_unseen", "bin/ bin/capable"),
    ("kinds", "plain", "bin/ bin/plain"),
    ("kinds", "two_names", "hard/ hard/a hard/b hard/c"),
    ("kinds", "read_names", "hard/ hard/a hard/c"),
    ("kinds", "one_name", "hard/ hard/b"),
    ("kinds", "setgid_directory", "shared/"),
    ("kinds", "sticky_directory", "sticky/ sticky/roots"),
    (
        "kinds",
        "parents",
        "passable/ passable/file private/ private/file theirs/ theirs/file usr/ usr/bin/ usr/bin/tool",
    ),
    ("kinds", "owners", "owned/ owned/group owned/large owned/link owned/nobody"),
    ("kinds", "extended", "attributed/ attributes listed"),
    ("kinds", "sizes", "sparse zero"),
    ("kinds", "precise_times", "times/ times/before times/half times/whole"),
    ("kinds", "device", "null"),
];

const CHANGES: &[Case] = &[
    ("changes", "rewritten", "state/ state/config state/untouched"),
    ("changes", "appended", "state/ state/config state/untouched"),
    ("changes", "created", "log/"),
    ("changes", "deleted", "gone/ gone/beside gone/file"),
    ("changes", "renamed", "moved/ moved/from"),
    ("changes", "replaced", "state/ state/config state/untouched"),
    ("changes", "exchanged", "swap/ swap/a swap/b"),
    ("changes", "made_again", "again/ again/file"),
    ("changes", "other_kind", "kind/ kind/file kind/link"),
    ("changes", "metadata", "meta/ meta/file"),
];

/// Makes the small image for a command, into `NAME.tar` with `NAME.lock`.
fn slim(env: &Env, source: &str, name: &str, command: &[&str]) -> Result<(), Run> {
    let (out, lock) = (env.path(&format!("{name}.tar")), env.path(&format!("{name}.lock")));
    let output = format!("docker-archive:{out}:localhost/{name}:small");
    let fixed = ["slim", source, "-o", &output, "--lock", &lock, "--level", "closure", "--"];
    let run = env.scrimp(&[&fixed, command].concat());
    if run.succeeded() { Ok(()) } else { Err(run) }
}

/// Two programs side by side, one of which runs in the base.
struct Bench {
    env: Env,
    podman: Podman,
    source: String,
    tree: Tree,
    image: String,
}

impl Bench {
    fn new() -> Self {
        let (env, podman) = (Env::new().sharing_the_store(), Podman::new());
        let source = base(&env);
        let archive = Path::new(source.strip_prefix("docker-archive:").unwrap());
        let (tree, image) = (Tree::of(archive), podman.load(archive));
        Self { env, podman, source, tree, image }
    }

    fn slim(&self, name: &str, command: &[&str]) -> Result<(), Run> {
        slim(&self.env, &self.source, name, command)
    }

    /// What is wrong with the small image for a case; empty when nothing is.
    fn check(&self, (program, case, kept): Case) -> String {
        let path = format!("/bin/{program}");
        let command = [path.as_str(), case];
        let name = format!("{program}-{case}");
        if let Err(run) = self.slim(&name, &command) {
            return format!("--- {name}: {run}\n");
        }
        let small = self.env.path(&format!("{name}.tar"));
        let before = self.podman.run(&self.image, &command);
        let after = self.podman.run(&self.podman.load(Path::new(&small)), &command);
        let mut wrong = String::new();
        if !before.succeeded() || (&before.stdout, &before.stderr) != (&after.stdout, &after.stderr) {
            wrong += &format!("--- {name}, in the base:\n{before}\n--- and in the small image:\n{after}\n");
        }
        let tree = Tree::of(Path::new(&small));
        wrong += &tree.not_as_in(&self.tree).concat();
        let found = tree.below("haz/");
        if found != kept {
            wrong += &format!("--- {name} keeps\n{found}\n--- and should keep\n{kept}\n");
        }
        let lock = std::fs::read_to_string(self.env.path(&format!("{name}.lock"))).unwrap();
        wrong + &tree.without_reason(&lock).concat()
    }
}

fn check(cases: &[Case]) {
    let bench = Bench::new();
    let wrong: String = cases.iter().map(|case| bench.check(*case)).collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_file_that_was_never_opened_is_not_lost() {
    check(NAMES);
}

#[test]
fn a_name_is_kept_as_what_it_is() {
    check(KINDS_OF_NAMES);
}

#[test]
fn what_metadata_do_they_still_do() {
    check(KINDS);
}

#[test]
fn what_a_run_changes_does_not_ship() {
    check(CHANGES);
}

#[test]
fn a_burst_of_calls_loses_nothing() {
    let bench = Bench::new();
    bench.slim("burst", &["/bin/burst"]).unwrap_or_else(|run| panic!("{run}"));
    let small = bench.env.path("burst.tar");
    let tree = Tree::of(Path::new(&small));
    assert_eq!(tree.not_as_in(&bench.tree), Vec::<String>::new());
    assert_eq!(tree.names().filter(|name| name.starts_with("haz/many/")).count(), 5000 + 50 + 1);
    let outputs = [bench.image.clone(), bench.podman.load(Path::new(&small))].map(|image| {
        let run = bench.podman.run(&image, &["/bin/burst"]).succeeds();
        run.stdout
    });
    assert!(outputs[0].starts_with("5000 files, sum "), "{outputs:?}");
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn equal_runs_give_equal_layers() {
    let bench = Bench::new();
    for (n, command) in
        [&["/bin/burst"][..], &["/bin/names", "followed"], &["/bin/changes", "rewritten"]].into_iter().enumerate()
    {
        let layers = ["first", "second"].map(|time| {
            let name = &format!("{time}-{n}");
            bench.slim(name, command).unwrap_or_else(|run| panic!("{run}"));
            let lock = std::fs::read(bench.env.path(&format!("{name}.lock"))).unwrap();
            (Image::layers_of(Path::new(&bench.env.path(&format!("{name}.tar")))), lock)
        });
        assert!(layers[0] == layers[1], "two runs of {command:?} differ");
    }
}

#[test]
fn an_image_is_the_same_whoever_makes_it() {
    let callers = [
        ("root", Env::new()),
        ("with newuidmap", Env::as_user(User::Subordinate)),
        ("one id only", Env::as_user(User::Single)),
    ]
    .map(|(who, env)| {
        let env = env.sharing_the_store();
        (who, base(&env), env)
    });
    let mut wrong = String::new();
    for (program, case, _) in [&KINDS_OF_NAMES[5..8], KINDS, CHANGES].concat() {
        let path = format!("/bin/{program}");
        let mut roots = None;
        for (who, source, env) in &callers {
            let name = format!("{program}-{case}");
            if let Err(run) = slim(env, source, &name, &[&path, case]) {
                wrong += &format!("--- {who}: {run}\n");
                continue;
            }
            let archive = env.path(&format!("{name}.tar"));
            let layers = Image::layers_of(Path::new(&archive));
            if *roots.get_or_insert_with(|| layers.clone()) != layers {
                wrong += &format!("--- {who}: {name} is another image: {}\n", Tree::of(Path::new(&archive)).below(""));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
