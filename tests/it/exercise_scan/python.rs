//! What the scan of Python sources finds.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{PYTHON, assert_found, scan, scan_command};

#[test]
fn python_sources_name_modules_in_any_scope_and_for_this_platform() {
    let main = "
import importlib, os, sys
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import xdrlib
if sys.platform == 'win32' or os.name == 'nt':
    import poplib
else:
    import nntplib
if not sys.platform.startswith('linux'):
    import telnetlib
def late():
    class Inner:
        def method(self):
            try:
                import wave
            except ImportError:
                wave = None
    importlib.import_module('own.plugin')
    __import__('colorsys')
    importlib.import_module(name)
    b''.decode('cp1250')
SETTINGS = ['own.middleware.Timer', 'no.such.module']
from own import *
";
    let files = [
        ("main.py", main),
        ("own/__init__.py", "__all__ = ['shown']"),
        ("own/shown.py", "from . import sibling\nfrom .deep.more import x"),
        ("own/sibling.py", "import __main__"),
        ("own/deep/__init__.py", ""),
        ("own/deep/more.py", "from ...too_far import y"),
        ("own/plugin.py", "import sndhdr"),
        ("own/middleware.py", "this is no python"),
        ("own/unused.py", ""),
    ];
    let found = scan(PYTHON, "python_scan.py", &files, &["main.py"]);
    let there = ["nntplib", "wave", "own.plugin", "colorsys", "encodings.cp1250", "own.middleware", "own", "own.shown"];
    let there = there.into_iter().chain(["own.sibling", "own.deep.more", "sndhdr"]);
    let there: Vec<String> = there.map(|name| format!("module {name}")).collect();
    let not = ["xdrlib", "poplib", "telnetlib", "own.unused", "__main__", "no", "unittest", "test", "pydoc", "main"];
    let not: Vec<String> = not.iter().map(|name| format!("module {name}")).collect();
    let [there, not] = [&there, &not].map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_found(&found, &there, &not);
    let note = "names of modules are made at run time (@/main.py:21): only a probe can reach those";
    assert_found(&found, &["path @", note], &[]);
}

#[test]
fn python_packages_of_others_are_followed_without_their_tests_and_with_their_plugins() {
    let files = [
        ("main.py", "import third\n"),
        ("lib/site-packages/third/__init__.py", "def f():\n    import third.lazy, third.tests, third.testing\n"),
        (
            "lib/site-packages/third/lazy.py",
            "import unittest\nfrom importlib.metadata import entry_points\nentry_points(group='third.plugins')\n\
             VIEW = 'third.views.failure'\nOTHER = 'nothing.at.all'\n",
        ),
        ("lib/site-packages/third/tests.py", ""),
        ("lib/site-packages/third/testing.py", ""),
        ("lib/site-packages/third/other.py", ""),
        ("lib/site-packages/third/views.py", ""),
        ("lib/site-packages/plug.py", ""),
        ("lib/site-packages/nothing.py", ""),
        (
            "lib/site-packages/plug-1.dist-info/entry_points.txt",
            "[third.plugins]\nx = plug:main\n[other]\ny = nothing:z\n",
        ),
        ("lib/site-packages/plug-1.dist-info/METADATA", "Name: plug\n"),
    ];
    let found = scan(PYTHON, "python_scan.py", &files, &["main.py"]);
    let as_module = ["main.py", "third.other:app", "-m", "nothing"];
    let by_command = scan_command(PYTHON, "python_scan.py", &files, &as_module, &[]);
    assert_found(&by_command, &["module third.other", "module nothing"], &["module third.tests"]);
    let metadata = "file @/lib/site-packages/plug-1.dist-info/METADATA";
    let not =
        ["third.tests", "third.testing", "third.other", "nothing", "unittest"].map(|name| format!("module {name}"));
    assert_found(
        &found,
        &["module third", "module third.lazy", "module plug", metadata],
        &not.each_ref().map(String::as_str),
    );
}

#[test]
fn python_names_made_of_a_package_stand_for_that_part_of_each_package() {
    let third = "
from importlib import import_module
import other.sub
def one(app, name):
    import_module('%s.management.commands.%s' % (app, name))
    import_module(f'{app}.tags')
    import_module(app + '.formats.x_' + name)
    import_module('{}.backends.base'.format(app))
    import_module('%s.%s' % (app, name))
    import_module(app)
";
    let files = [
        ("main.py", "import third\n"),
        ("lib/site-packages/third/__init__.py", third),
        ("lib/site-packages/third/management/__init__.py", ""),
        ("lib/site-packages/third/management/commands/__init__.py", ""),
        ("lib/site-packages/third/management/commands/dump.py", "import wave\n"),
        ("lib/site-packages/third/management/commands/test.py", ""),
        ("lib/site-packages/third/management/unused.py", ""),
        ("lib/site-packages/other/__init__.py", ""),
        ("lib/site-packages/other/unused.py", ""),
        ("lib/site-packages/other/sub/__init__.py", ""),
        ("lib/site-packages/other/sub/tags.py", ""),
        ("lib/site-packages/other/sub/formats/__init__.py", ""),
        ("lib/site-packages/other/sub/formats/x_a.py", ""),
        ("lib/site-packages/other/sub/formats/y_a.py", ""),
        ("lib/site-packages/other/sub/backends/__init__.py", ""),
        ("lib/site-packages/other/sub/backends/base.py", ""),
        ("lib/site-packages/nobody/__init__.py", ""),
        ("lib/site-packages/nobody/tags.py", ""),
    ];
    let found = scan(PYTHON, "python_scan.py", &files, &["main.py"]);
    let site = |name: &str| format!("file @/lib/site-packages/{name}.py");
    let there =
        ["third/management/commands/dump", "other/sub/tags", "other/sub/formats/x_a", "other/sub/backends/base"];
    let not = [
        "third/management/commands/test",
        "third/management/unused",
        "other/unused",
        "other/sub/formats/y_a",
        "nobody/tags",
    ];
    let (there, not) = (there.map(site), not.map(site));
    assert_found(&found, &there.each_ref().map(String::as_str), &not.each_ref().map(String::as_str));
    // What they name is followed.
    assert_found(&found, &["module wave"], &[]);
}

#[test]
fn python_names_made_at_run_time_stand_for_the_modules_of_a_package() {
    let package = "
from importlib import import_module
def a(x): return import_module(f'third.backends._{x}')
def b(x): return __import__('third.dialects.%s' % x)
def c(x): return import_module('.codecs.' + x, __name__)
def d(x): return optional_import('wanted')
";
    let files = [
        ("main.py", "import third"),
        ("plugins/__init__.py", ""),
        ("plugins/one.py", "import wave\ndef f(x, name): return x.encode(name, 'replace')"),
        ("tests/x.py", "import sndhdr"),
        ("setup.py", "import nntplib"),
        ("lib/site-packages/third/__init__.py", package),
        ("lib/site-packages/third/backends/__init__.py", ""),
        ("lib/site-packages/third/backends/_loop.py", "import colorsys"),
        ("lib/site-packages/third/backends/other.py", ""),
        ("lib/site-packages/third/dialects/__init__.py", ""),
        ("lib/site-packages/third/dialects/sql/__init__.py", ""),
        ("lib/site-packages/third/codecs/__init__.py", ""),
        ("lib/site-packages/third/codecs/deep.py", ""),
        ("lib/site-packages/third/unnamed.py", ""),
        ("lib/site-packages/wanted.py", ""),
    ];
    let found = scan(PYTHON, "python_scan.py", &files, &["main.py"]);
    let there = [
        "file @/lib/site-packages/third/backends/_loop.py",
        "module colorsys",
        "file @/lib/site-packages/third/dialects/sql/__init__.py",
        "file @/lib/site-packages/third/codecs/deep.py",
        "module wanted",
        "module wave",
    ];
    let not = [
        "module third.backends._loop",
        "file @/lib/site-packages/third/backends/other.py",
        "file @/lib/site-packages/third/unnamed.py",
        "module sndhdr",
        "module nntplib",
    ];
    assert_found(&found, &there, &not);
    // Where the standard library lies, the machine says.
    assert!(found.iter().any(|item| item.starts_with("file ") && item.ends_with("/encodings/koi8_r.py")), "{found:#?}");
}

/// What reads archives takes the names in them for text of a code page, unless it is told another.
#[test]
fn python_codecs_that_stand_in_for_one_that_is_not_given_are_found() {
    let files = [("app.py", "import zipfile\ndef f(x, name=None): return x.decode(name or 'cp1251')")];
    let found = scan(PYTHON, "python_scan.py", &files, &["app.py"]);
    assert_found(&found, &["module encodings.cp437", "module encodings.cp1251"], &["module encodings.cp850"]);
}

/// Where the kernel shows no clock of another process, the exerciser once ended in a traceback before its first import.
#[test]
fn python_modules_are_imported_without_clocks_of_processes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes/exercise/python.py");
    let script = std::fs::read_to_string(script).unwrap();
    let blind = "import time\nclock = time.clock_gettime\ndef refuse(which):\n    if which < 0:\n        \
        raise OSError(22, 'Invalid argument')\n    return clock(which)\ntime.clock_gettime = refuse\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("family")).unwrap();
    for module in ["__init__.py", "there.py"] {
        std::fs::write(dir.path().join("family").join(module), "").unwrap();
    }
    let request = format!(
        "path\t{}\nmodule\tfamily\nmodule\tfamily.missing\nmodule\tfamily.there\n",
        dir.path().to_str().unwrap()
    );
    let mut child = Command::new("python3")
        .args(["-c", &format!("{blind}{script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python3: {error}\nhint: scripts/test installs what is missing"));
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && !errors.contains("Traceback"), "{said}{errors}");
    let mut lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["item"].to_string());
    let ends: Vec<_> = lines.iter().map(|line| format!("{} {}", line["item"].as_str().unwrap(), line["ok"])).collect();
    assert_eq!(ends, ["module family true", "module family.missing false", "module family.there true"], "{said}");
}
