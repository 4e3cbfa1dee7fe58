//! The image in which the programs run.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::json;

use crate::support::{Env, Layer, Node};

/// What the case `unusual` uses.
pub const ODD: &str = "odd/ odd/\\x20leading\\x20and\\x20trailing\\x20 odd/-rf odd/.wh odd/\\xff\\xfe odd/a\\\\b\"c'd* \
    odd/new\\x0aline odd/xxx...";

/// How many directories the deepest file is below, each with a name of 100 bytes.
const DEPTH: usize = 38;

static PROGRAMS: LazyLock<Vec<(&str, Vec<u8>)>> =
    LazyLock::new(|| ["names", "kinds", "changes", "burst"].map(|name| (name, compile(name))).into());

/// Compiles a source in `fixtures/hazards` to a program.
fn compile(name: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/hazards/{name}.c"));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = dir.path().join(name);
    let status = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&out).arg(source).arg("-lpthread").status();
    assert!(status.expect("cc is missing: install gcc and libc6-dev").success(), "{name}.c does not compile");
    std::fs::read(out).unwrap()
}

/// `security.capability`, version 2: CAP_NET_BIND_SERVICE, permitted and effective.
pub fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 10, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect()
}

/// `system.posix_acl_access`: besides owner, group and others the user 1000 may read.
fn access_list() -> Vec<u8> {
    let entry =
        |tag: u16, rights: u16, id: u32| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat();
    let none = u32::MAX;
    let entries = [(0x01, 6, none), (0x02, 4, 1000), (0x04, 4, none), (0x10, 4, none), (0x20, 0, none)];
    entries
        .into_iter()
        .fold(2_u32.to_le_bytes().to_vec(), |list, (tag, rights, id)| [list, entry(tag, rights, id)].concat())
}

/// Writes the image, and returns it as a SOURCE.
pub fn base(env: &Env) -> String {
    let program = |name: &str| PROGRAMS.iter().find(|(other, _)| *other == name).unwrap().1.clone();
    let text = |mode, text: &str| Node::file(mode, text);
    let mut layer = Layer::new();
    for dir in
        ["bin", "etc", "proc", "sys", "dev", "haz", "haz/dir", "haz/dir/sub", "haz/bin", "haz/usr", "haz/usr/bin"]
    {
        layer = layer.add(dir, Node::dir(0o755));
    }
    layer = layer.add("tmp", Node::dir(0o1777));
    for (name, content) in PROGRAMS.iter() {
        layer = layer.add(format!("bin/{name}"), Node::file(0o755, content.clone()));
    }
    layer = layer
        .add("etc/passwd", text(0o644, "root:x:0:0:root:/:/bin/sh\n"))
        .add("etc/group", text(0o644, "root:x:0:\n"));
    for file in ["dir/file", "dir/other", "dir/sub/deep", "mark", "mark.bak", "usr/bin/tool"] {
        layer = layer.add(format!("haz/{file}"), text(0o644, file));
    }
    for (link, target) in [
        ("link", "dir/file"),
        ("chain1", "chain2"),
        ("chain2", "/haz/chain3"),
        ("chain3", "dir/../chain4"),
        ("chain4", "./chain5"),
        ("chain5", "dir/file"),
        ("loop1", "loop2"),
        ("loop2", "loop1"),
        ("dangling", "nowhere/at/all"),
        ("dirlink", "dir"),
        ("up", "../haz/dir/../mark"),
        ("absolute", "/haz/dir/sub"),
    ] {
        layer = layer.add(format!("haz/{link}"), Node::link(target));
    }
    layer = layer
        .add("haz/fifo", Node::fifo(0o622).owned(3, 4))
        .add("haz/fifo2", Node::fifo(0o600))
        .add("haz/empty", Node::dir(0o750))
        .add("haz/empty2", Node::dir(0o700).owned(1000, 1000))
        .add("haz/null", Node::char_device(0o666, (1, 3)));
    let kinds = || program("kinds");
    layer = layer
        .add("haz/bin/setuid", Node::file(0o4755, kinds()))
        .add("haz/bin/setgid", Node::file(0o2755, kinds()).owned(0, 77))
        .add("haz/bin/both", Node::file(0o6755, kinds()).owned(1234, 77))
        .add("haz/bin/capable", Node::file(0o755, kinds()).xattr("security.capability", &capability()))
        .add("haz/bin/plain", Node::file(0o755, kinds()))
        .add("haz/hard", Node::dir(0o755))
        .add("haz/hard/a", text(0o640, "one file").owned(5, 6))
        .add("haz/hard/b", Node::name_of("haz/hard/a", 0o640).owned(5, 6))
        .add("haz/hard/c", Node::name_of("haz/hard/a", 0o640).owned(5, 6))
        .add("haz/shared", Node::dir(0o2775).owned(0, 300))
        .add("haz/sticky", Node::dir(0o1777))
        .add("haz/sticky/roots", text(0o666, "root's"));
    for (dir, mode, uid, gid) in
        [("private", 0o700, 0, 0), ("passable", 0o711, 0, 0), ("theirs", 0o755, 65534, 65534), ("state", 0o755, 0, 0)]
    {
        layer = layer.add(format!("haz/{dir}"), Node::dir(mode).owned(uid, gid));
        if dir != "state" {
            layer = layer.add(format!("haz/{dir}/file"), text(0o644, dir));
        }
    }
    layer = layer
        .add("haz/owned", Node::dir(0o750).owned(60_000, 20))
        .add("haz/owned/nobody", text(0o640, "nobody's").owned(65534, 65534))
        .add("haz/owned/large", text(0o604, "somebody's").owned(64_999, 2000))
        .add("haz/owned/group", text(0o464, "a group's").owned(0, 50))
        .add("haz/owned/link", Node::link("nobody").owned(7, 8))
        .add(
            "haz/attributes",
            text(0o644, "x").xattr("user.color", b"red").xattr("user.empty", b"").xattr("user.bär", b"\0\n="),
        )
        .add("haz/attributed", Node::dir(0o755).xattr("user.dir", b"yes"))
        .add("haz/listed", text(0o640, "x").xattr("system.posix_acl_access", &access_list()))
        .add("haz/zero", text(0o644, ""))
        .add("haz/sparse", Node::file(0o644, [vec![1], vec![0; 8 << 20], vec![1]].concat()))
        .add("haz/times", Node::dir(0o755))
        .add("haz/times/whole", text(0o644, "").at("1234567890"))
        .add("haz/times/half", text(0o644, "").at("1234567890.123456789"))
        .add("haz/times/before", text(0o644, "").at("-5"))
        .add("haz/state/config", text(0o640, "as it was").owned(9, 10))
        .add("haz/state/untouched", text(0o644, "as it was"));
    for dir in ["log", "gone", "moved", "swap", "again", "kind", "meta", "odd", "many"] {
        layer = layer.add(format!("haz/{dir}"), Node::dir(0o755));
    }
    for file in ["gone/file", "gone/beside", "moved/from", "swap/a", "swap/b", "again/file", "kind/file"] {
        layer = layer.add(format!("haz/{file}"), text(0o644, file));
    }
    layer = layer
        .add("haz/kind/link", Node::link("file"))
        .add("haz/meta/file", text(0o644, "x").xattr("user.color", b"blue"));
    for name in [&b"new\nline"[..], b"\xff\xfe", b"-rf", b" leading and trailing ", b"a\\b\"c'd*", b".wh", &[b'x'; 255]]
    {
        layer = layer.add([b"haz/odd/", name].concat(), text(0o644, "odd"));
    }
    let mut deep = "haz/deep".to_owned();
    for _ in 0..DEPTH {
        layer = layer.add(&deep, Node::dir(0o755));
        deep = format!("{deep}/{}", "d".repeat(100));
    }
    layer = layer.add(&deep, Node::dir(0o755)).add(format!("{deep}/bottom"), text(0o644, "bottom"));
    for dir in 0..50 {
        layer = layer.add(format!("haz/many/{dir:02}"), Node::dir(0o755));
    }
    for n in 0..5000_u32 {
        layer = layer.add(format!("haz/many/{:02}/{n:04}", n % 50), Node::file(0o644, [(n % 100) as u8]));
    }
    layer.image(env, "hazards", &json!({"Env": ["PATH=/bin"], "WorkingDir": "/"}))
}
