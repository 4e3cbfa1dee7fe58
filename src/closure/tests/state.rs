//! What is state and what only looks like it: owners, who wrote where, and what the image declares.

use super::{Case, path};
use crate::closure::{Level, Reason};
use crate::observation::Operation::{self, Create, Exec, Open, Rename, Stat, Unlink, Write};

const NOBODY_ELSE: u32 = 0;
const APP: u32 = 101;

impl Case {
    /// Gives what is at `place` and below it to a user, and the rest to root: comes after all files.
    fn owned(self, place: &str, user: u32) -> Self {
        let mut case = if self.index.is_some() { self } else { self.indexed().owned("/", NOBODY_ELSE) };
        let index = case.index.as_mut().unwrap();
        let below: Vec<_> = index.subtree(&path(place)).map(|(path, _)| path.clone()).collect();
        for path in below {
            index.get_mut(&path).unwrap().uid = user;
        }
        case
    }

    /// Checks the paths that are kept as state, each with its unit.
    #[track_caller]
    fn has_state(self, expected: &str) -> Self {
        assert!(!self.require(Level::Observed).paths.iter().any(|(_, reasons)| reasons.iter().any(is_state)));
        let required = self.require(Level::Closure);
        let state = required.paths.iter().flat_map(|(path, reasons)| {
            reasons.iter().filter(|reason| is_state(reason)).map(move |reason| format!("{path} {reason}"))
        });
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(state.collect::<Vec<_>>().join("\n"), expected.join("\n"));
        self
    }
}

fn is_state(reason: &Reason) -> bool {
    matches!(reason, Reason::State(_))
}

/// A database as a distribution lays it out.
fn database() -> Case {
    Case::new()
        .program("/usr/bin/db", "")
        .file("/var/lib/db/15/main/VERSION", "15")
        .file("/var/lib/db/15/main/tables/1", "")
        .dir("/var/lib/db/15/main/empty")
        .link("/var/lib/db/15/main/wal", "/var/lib/db-wal")
        .file("/var/lib/db-wal/0001", "")
        .file("/var/lib/other/file", "")
        .used("/usr/bin/db", &[Exec])
}

#[test]
fn what_a_user_of_its_own_writes_in_is_kept_whole_as_far_up_as_it_owns() {
    let whole = "/var/lib/db state:/var/lib/db
         /var/lib/db/15 state:/var/lib/db
         /var/lib/db/15/main state:/var/lib/db
         /var/lib/db/15/main/VERSION state:/var/lib/db
         /var/lib/db/15/main/empty state:/var/lib/db
         /var/lib/db/15/main/tables state:/var/lib/db
         /var/lib/db/15/main/tables/1 state:/var/lib/db
         /var/lib/db/15/main/wal state:/var/lib/db";
    for (file, operation) in
        [("main/lock.pid", Create), ("main/tables/1", Write), ("main/VERSION", Rename), ("main/tables/1", Unlink)]
    {
        let file = format!("/var/lib/db/15/{file}");
        database().used(&file, &[operation]).owned("/var/lib/db", APP).has_state(whole);
    }
    // What is only read is no sign.
    database().used("/var/lib/db/15/main/VERSION", &[Open, Stat]).owned("/var/lib/db", APP).has_state("");
}

#[test]
fn another_owner_above_is_the_end_of_a_unit() {
    database().used("/var/lib/db/15/main/tables/1", &[Write]).owned("/var/lib/db/15/main/tables", APP).has_state(
        "/var/lib/db/15/main/tables state:/var/lib/db/15/main/tables
         /var/lib/db/15/main/tables/1 state:/var/lib/db/15/main/tables",
    );
}

#[test]
fn root_has_state_where_it_changed_what_was_there() {
    let tables = "/var/lib/db/15/main/tables state:/var/lib/db/15/main/tables
         /var/lib/db/15/main/tables/1 state:/var/lib/db/15/main/tables";
    database().used("/var/lib/db/15/main/tables/1", &[Write]).owned("/", 0).has_state(tables);
    database().used("/var/lib/db/15/main/tables/2", &[Create]).owned("/", 0).has_state("");
}

#[test]
fn volumes_are_state_whoever_writes_in_them() {
    let case = database().file("/srv/site/index.html", "").file("/data/dump", "").file("/var/log/db/old", "");
    let case = case.config(serde_json::json!({"Volumes": {
        "/data": {}, "/srv/site": {}, "/srv/missing": {}, "/var/log/db": {}, "/var/lib/db/15/main/empty": {}, "/var": {}, "/": {}, "/tmp": {}
    }}));
    case.owned("/", 0).has_state(
        "/data state:/data
         /data/dump state:/data
         /srv/site state:/srv/site
         /srv/site/index.html state:/srv/site",
    );
}

#[test]
fn directories_that_many_share_are_never_whole() {
    for directory in [
        "/",
        "/etc",
        "/etc/app",
        "/opt",
        "/run",
        "/run/app",
        "/srv",
        "/tmp",
        "/usr",
        "/usr/lib",
        "/usr/share",
        "/var",
        "/var/cache/apt",
        "/var/cache/app",
        "/var/lib",
        "/var/log",
        "/var/log/app",
        "/var/log/app/old",
        "/var/tmp",
        "/srv/app/logs",
        "/srv/app/tmp/x",
        "/dev/shm",
    ] {
        for owner in [0, APP] {
            let (there, made) = (format!("{directory}/there"), format!("{directory}/made"));
            let case = Case::new().file(&there, "").file(&format!("{directory}/unused"), "");
            case.used(&there, &[Create]).used(&made, &[Create]).owned("/", owner).has_state("");
        }
    }
    for directory in ["/usr/share/app/data", "/usr/lib/app", "/var/lib/dpkg", "/var/lib/apt/lists", "/usr/share"] {
        let there = format!("{directory}/there");
        Case::new().file(&there, "").used(&there, &[Write]).owned("/", 0).has_state("");
    }
}

#[test]
fn a_pid_file_does_not_keep_the_application_whole() {
    let case = || {
        Case::new()
            .program("/app/bin/node", "")
            .file("/app/server.js", "")
            .file("/app/pages/unused.html", "")
            .file("/app/data/table", "")
            .config(serde_json::json!({"WorkingDir": "/app"}))
            .command(&["node", "server.js"])
            .used("/app/bin/node", &[Exec])
            .used("/app/server.js", &[Open])
    };
    case().used("/app/server.pid", &[Create]).used("/app/pages/new", &[Stat]).owned("/app", APP).has_state("");
    // A directory beside the code may be state; the one above both is not.
    case().used("/app/data/table", &[Write]).owned("/app", APP).has_state(
        "/app/data state:/app/data
         /app/data/table state:/app/data",
    );
    let elsewhere = case().config(serde_json::json!({})).command(&["node", "/app/server.js"]);
    elsewhere.used("/app/server.pid", &[Create]).owned("/app", APP).has_state("");
}

#[test]
fn caches_and_what_a_probe_writes_are_left_out() {
    let case = Case::new()
        .file("/var/lib/app/logs/table", "")
        .file("/var/lib/app/.cache/big", "")
        .file("/var/lib/app/notes", "")
        .used("/var/lib/app/notes", &[Operation::Truncate]);
    let notes = "/var/lib/app state:/var/lib/app
         /var/lib/app/logs state:/var/lib/app
         /var/lib/app/logs/table state:/var/lib/app
         /var/lib/app/notes state:/var/lib/app";
    let case = case.owned("/var/lib/app", APP).has_state(notes);
    case.only_by_probe_tools("/var/lib/app/notes").has_state("");
}

#[test]
fn directories_without_files_need_no_unit() {
    let case = Case::new().dir("/var/lib/web/body").dir("/var/lib/web/proxy");
    case.used("/var/lib/web/body/0001", &[Create]).owned("/var/lib/web", APP).has_state("");
}

#[test]
fn empty_directories_that_were_prepared_for_a_service_are_kept_at_level_app() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::new()
        .dir("/var/lib/php/sessions")
        .dir("/var/lib/misc")
        .dir("/var/lib/apt/partial")
        .file("/var/spool/mail/joe", "")
        .dir("/var/mail")
        .link("/var/spool/post", "../mail")
        .link("/var/spool/misc", "../lib/misc")
        .dir("/usr/open");
    for open in ["/var/mail", "/var/lib/php/sessions", "/var/lib/apt/partial", "/var/spool/mail", "/usr/open"] {
        std::fs::set_permissions(case.on_host(open), std::fs::Permissions::from_mode(0o1733)).unwrap();
    }
    case.owned("/", NOBODY_ELSE).gives_files(Level::Closure, "").gives_files(
        Level::App,
        "/var/lib/php/sessions state:/var/lib/php/sessions
             /var/mail link:/var/spool/post state:/var/mail
             /var/spool/post state:/var/spool/post",
    );
}
