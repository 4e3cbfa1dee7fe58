//! What the exercisers' scans read out of sources, by the real interpreters.

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

#[test]
fn node_names_made_at_run_time_stand_for_files_that_begin_so() {
    let server = r#"
import { createRequire } from 'module';
export const a = (l) => import(`pkg/locale/${l}.js`);
export const b = (l) => import(`mapped/lang/${l}`);
export const c = (l) => import('#own/' + l);
serve(path.join(root, 'node_modules', 'pages', 'dist'));
"#;
    let files = [
        ("server.mjs", server),
        (
            "package.json",
            r##"{"imports": {"#own/*": "./lib/*.js"}, "dependencies": {"engine": "1"}, "devDependencies": {"tool": "1"}}"##,
        ),
        ("lib/x.js", ""),
        ("plugins/p.js", "require('late')"),
        ("test/t.js", "require('tested')"),
        ("node_modules/pkg/package.json", "{}"),
        ("node_modules/pkg/locale/de.js", "require('../deep')"),
        ("node_modules/pkg/deep.js", ""),
        ("node_modules/pkg/other.js", ""),
        ("node_modules/mapped/package.json", r#"{"exports": {"./lang/*": "./l/*.js", "./x/*": "./x/*.js"}}"#),
        ("node_modules/mapped/l/fr.js", ""),
        ("node_modules/mapped/x/fr.js", ""),
        ("node_modules/engine/package.json", "{}"),
        ("node_modules/engine/index.js", "module.exports = (x) => require('./parts/' + x)"),
        ("node_modules/engine/parts/a.js", ""),
        ("node_modules/engine/unused.js", ""),
        ("node_modules/late/index.js", "module.exports = (x) => require(x)"),
        ("node_modules/late/package.json", "{}"),
        ("node_modules/late/any.js", ""),
        ("node_modules/late/test/any.js", ""),
        ("node_modules/tested/index.js", ""),
        ("node_modules/tool/index.js", ""),
        ("node_modules/pages/dist/app.js", ""),
    ];
    let found = scan(NODE, "node_scan.js", &files, &["server.mjs"]);
    let there = [
        "file @/lib/x.js",
        "file @/node_modules/pkg/locale/de.js",
        "file @/node_modules/pkg/deep.js",
        "file @/node_modules/mapped/l/fr.js",
        "file @/node_modules/engine/index.js",
        "file @/node_modules/engine/parts/a.js",
        "file @/node_modules/late/any.js",
        "file @/node_modules/pages/dist/app.js",
    ];
    let not =
        ["pkg/other.js", "mapped/x/fr.js", "engine/unused.js", "late/test/any.js", "tested/index.js", "tool/index.js"];
    let not = not.map(|name| format!("file @/node_modules/{name}"));
    assert_found(&found, &there, &not.each_ref().map(String::as_str));
}

#[test]
fn node_sources_name_files_and_texts_do_not() {
    let server = r#"#!/usr/bin/env node
const a = require('./a'), { b } = require("pkg");
// require('./comment')
/* import './comment' */
const text = "require('./text')", regex = /require('.\/regex')\/['"]/g, half = 4 / 2;
const nested = `${require('./template')} require('./in-template') ${`${half}`}`;
if (half) { import('esm'); import(`./dynamic.mjs`); require(text); }
new Worker(new URL('./worker.js', import.meta.url));
fs.readFile(path.join(__dirname, 'data', 'x.json'));
require('fs'); require('node:net'); require('not-installed');
"#;
    let files = [
        ("server.js", server),
        ("a.js", "exports.x = require.resolve('./b.json')"),
        ("b.json", "{}"),
        ("comment.js", ""),
        ("text.js", ""),
        ("regex.js", ""),
        ("in-template.js", ""),
        ("template.js", ""),
        ("dynamic.mjs", "export * from './deeper.mjs'; import './side.mjs'"),
        ("deeper.mjs", ""),
        ("side.mjs", "import x, { y } from '#inside'"),
        ("inside.mjs", ""),
        ("worker.js", ""),
        ("data/x.json", "[]"),
        ("package.json", r##"{"imports": {"#inside": {"node": "./inside.mjs"}}}"##),
        ("node_modules/pkg/package.json", r#"{"main": "lib"}"#),
        ("node_modules/pkg/lib/index.js", "require('bindings')('x')"),
        ("node_modules/pkg/lib/unused.js", ""),
        ("node_modules/pkg/build/Release/x.node", ""),
        ("node_modules/bindings/package.json", "{}"),
        ("node_modules/bindings/index.js", ""),
        (
            "node_modules/esm/package.json",
            r#"{"exports": {".": {"browser": "./b.js", "import": {"default": "./i.mjs"}, "require": "./r.cjs"}}}"#,
        ),
        ("node_modules/esm/i.mjs", ""),
        ("node_modules/esm/b.js", ""),
        ("node_modules/esm/r.cjs", ""),
    ];
    let found = scan(NODE, "node_scan.js", &files, &["server.js"]);
    let there = [
        "file @/a.js",
        "file @/b.json",
        "file @/template.js",
        "file @/dynamic.mjs",
        "file @/deeper.mjs",
        "file @/side.mjs",
        "file @/inside.mjs",
        "file @/worker.js",
        "file @/data/x.json",
        "file @/package.json",
        "file @/node_modules/pkg/package.json",
        "file @/node_modules/pkg/lib/index.js",
        "file @/node_modules/pkg/build/Release/x.node",
        "file @/node_modules/bindings/index.js",
        "file @/node_modules/esm/i.mjs",
        "names of modules are made at run time (@/server.js:7): only a probe can reach those",
    ];
    let not =
        ["comment", "text", "regex", "in-template", "server", "node_modules/pkg/lib/unused", "node_modules/esm/b"];
    let not: Vec<String> = not.iter().map(|name| format!("file @/{name}.js")).collect();
    assert_found(&found, &there, &not.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Further ways to name a file: by a `require` of one's own making, by where a source lies, by the conditions of a
/// package and by its own name, as a thread or a process.
#[test]
fn node_sources_name_what_they_load_in_every_way() {
    let app = r##"
import { createRequire } from 'node:module';
import settings from './settings.json' with { type: 'json' };
const load = createRequire(import.meta.url);
const addon = load('./native.node');
const other = load.resolve('both/sub/one');
createRequire(import.meta.url)('./once.cjs');
fs.readFileSync(path.join(import.meta.dirname, 'data', 'x.txt'));
new Worker(new URL('./thread.mjs', import.meta.url));
new Worker('./by-cwd.js'); child_process.fork('jobs/job');
export const late = async () => import('both');
export const own = () => import('shop/inner'), mapped = () => import('#db'), star = () => import('#lib/a.mjs');
const never = () => load(name), text = "load('./text.cjs')";
"##;
    let both = r#"{"exports": {
        ".": {"types": "./t.d.ts", "node": {"import": "./node.mjs", "require": "./node.cjs"}, "default": "./default.mjs"},
        "./sub/*": {"import": "./sub/*.mjs", "require": "./sub/*.cjs"}}}"#;
    let package = r##"{"name": "shop", "exports": {"./inner": {"import": "./inner.mjs", "require": "./inner.cjs"}},
        "imports": {"#db": {"browser": "./browser.mjs", "default": "both"}, "#lib/*": "./lib/*"}}"##;
    let mut files = vec![("app.mjs", app), ("package.json", package), ("node_modules/both/package.json", both)];
    let empty = [
        "settings.json",
        "native.node",
        "once.cjs",
        "data/x.txt",
        "thread.mjs",
        "by-cwd.js",
        "jobs/job.js",
        "inner.mjs",
        "inner.cjs",
        "lib/a.mjs",
        "lib/b.mjs",
        "browser.mjs",
        "text.cjs",
        "node_modules/both/node.mjs",
        "node_modules/both/node.cjs",
        "node_modules/both/default.mjs",
        "node_modules/both/sub/one.cjs",
        "node_modules/both/sub/one.mjs",
    ];
    files.extend(empty.map(|name| (name, "")));
    let found = scan(NODE, "node_scan.js", &files, &["app.mjs"]);
    let not = [
        "inner.cjs",
        "lib/b.mjs",
        "browser.mjs",
        "text.cjs",
        "node_modules/both/default.mjs",
        "node_modules/both/node.cjs",
        "node_modules/both/sub/one.mjs",
    ];
    let there =
        empty.iter().filter(|name| !not.contains(name)).map(|name| format!("file @/{name}")).collect::<Vec<_>>();
    let not: Vec<String> = not.iter().map(|name| format!("file @/{name}")).collect();
    assert_found(
        &found,
        &there.iter().map(String::as_str).collect::<Vec<_>>(),
        &not.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

/// Addons come in packages of which there is one for each platform; the package that loads them makes their names.
#[test]
fn node_packages_for_this_platform_are_found_by_what_is_optional() {
    let (here, there) = if cfg!(target_arch = "x86_64") { ("x64", "arm64") } else { ("arm64", "x64") };
    let optional = format!(
        r#"{{"optionalDependencies": {{"of-linux-{here}": "1", "of-linuxmusl-{here}": "1", "of-linux-{there}": "1",
            "of-wasm32": "1", "fast": "1"}}}}"#
    );
    let package = |arch: &str, libc: &str, more: &str| {
        format!(r#"{{"os": ["linux"], "cpu": ["{arch}"], "libc": ["{libc}"] {more}}}"#)
    };
    let needs = format!(r#", "optionalDependencies": {{"of-libs-linux-{here}": "1"}}"#);
    let mut files: Vec<(String, String)> = vec![
        ("server.js".into(), "require('sharp'); require('query'); require('hash')".into()),
        ("node_modules/sharp/package.json".into(), optional),
        ("node_modules/sharp/index.js".into(), "for (const name of names) require(name)".into()),
        ("node_modules/fast/package.json".into(), "{}".into()),
        ("node_modules/query/package.json".into(), format!(r#"{{"optionalDependencies": {{"q-{here}": "1"}}}}"#)),
        ("node_modules/query/index.js".into(), "require(`q-${target}`)".into()),
        (format!("node_modules/q-{here}/package.json"), format!(r#"{{"cpu": ["{here}"]}}"#)),
        ("node_modules/hash/package.json".into(), "{}".into()),
        ("node_modules/hash/index.js".into(), "require('node-gyp-build')(__dirname)".into()),
        ("node_modules/node-gyp-build/package.json".into(), "{}".into()),
        (format!("node_modules/of-linux-{here}/package.json"), package(here, "glibc", &needs)),
        (format!("node_modules/of-linuxmusl-{here}/package.json"), package(here, "musl", "")),
        (format!("node_modules/of-linux-{there}/package.json"), package(there, "glibc", "")),
        (format!("node_modules/of-libs-linux-{here}/package.json"), package(here, "glibc", "")),
        ("node_modules/of-wasm32/package.json".into(), r#"{"cpu": ["wasm32"]}"#.into()),
    ];
    let empty = [
        format!("of-linux-{here}/lib/addon.node"),
        format!("of-libs-linux-{here}/lib/libvips.so.42"),
        format!("q-{here}/index.node"),
        format!("hash/prebuilds/linux-{here}/hash.glibc.node"),
    ];
    let not = [
        format!("of-linuxmusl-{here}/lib/addon.node"),
        format!("of-linux-{there}/lib/addon.node"),
        "of-wasm32/addon.node".to_owned(),
        "fast/index.js".to_owned(),
        format!("hash/prebuilds/linux-{here}/hash.musl.node"),
        format!("hash/prebuilds/linux-{there}/hash.glibc.node"),
        format!("hash/prebuilds/freebsd-{here}/hash.node"),
    ];
    files.extend(empty.iter().chain(&not).map(|name| (format!("node_modules/{name}"), String::new())));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let found = scan(NODE, "node_scan.js", &files, &["server.js"]);
    let [there, not] = [&empty[..], &not].map(|names| names.iter().map(|name| format!("file @/node_modules/{name}")));
    let (there, not): (Vec<String>, Vec<String>) = (there.collect(), not.collect());
    assert_found(
        &found,
        &there.iter().map(String::as_str).collect::<Vec<_>>(),
        &not.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

/// What reads archives takes the names in them for text of a code page, unless it is told another.
#[test]
fn python_codecs_that_stand_in_for_one_that_is_not_given_are_found() {
    let files = [("app.py", "import zipfile\ndef f(x, name=None): return x.decode(name or 'cp1251')")];
    let found = scan(PYTHON, "python_scan.py", &files, &["app.py"]);
    assert_found(&found, &["module encodings.cp437", "module encodings.cp1251"], &["module encodings.cp850"]);
}

/// A gem whose modules find their parts by the names of constants.
#[test]
fn ruby_constants_name_features_of_their_modules() {
    let lib = "
module ActiveThing
  extend ActiveSupport::Autoload
  autoload :StatementCache
  autoload :HTMLPart, 'active_thing/named'
  eager_autoload do
    autoload :Column
  end
  module Adapters
    class Pool::Inner
      autoload :Deep
    end
    autoload_under 'abstract' do
      autoload :Savepoint
    end
    autoload_at 'active_thing/adapters/all' do
      autoload :One
      autoload :Two
    end
  end
end";
    let files = [
        ("app.rb", "$:.unshift('lib'); require 'active_thing'"),
        ("lib/active_thing.rb", lib),
        ("lib/active_thing/statement_cache.rb", "require 'json/add/ostruct'"),
        ("lib/active_thing/named.rb", ""),
        ("lib/active_thing/column.rb", ""),
        ("lib/active_thing/adapters/pool/inner/deep.rb", ""),
        ("lib/active_thing/adapters/abstract/savepoint.rb", ""),
        ("lib/active_thing/adapters/all.rb", ""),
        ("lib/active_thing/savepoint.rb", ""),
        ("lib/active_thing/unused.rb", ""),
    ];
    let found = scan(RUBY, "ruby_scan.rb", &files, &["app.rb", "lib/active_thing.rb"]);
    let there =
        ["statement_cache", "column", "adapters/pool/inner/deep", "adapters/abstract/savepoint", "adapters/all"];
    let there = there.map(|name| format!("file @/lib/active_thing/{name}.rb"));
    let not = ["file @/lib/active_thing/savepoint.rb", "file @/lib/active_thing/unused.rb"];
    assert_found(&found, &there.each_ref().map(String::as_str), &not);
    assert_found(&found, &["feature active_thing/named", "feature json/add/ostruct"], &[]);
}

#[test]
fn ruby_sources_name_features_in_any_scope() {
    let app = "
require 'set' # require 'comment'
module Own
  autoload :Late, File.expand_path('own/late', __dir__)
  autoload :Other, File.join(File.dirname(__FILE__), 'own', 'other')
end
def work
  require_relative 'own/work'
  require name
  text = \"require 'text'\"
  begin
    require 'weakref'
  rescue LoadError
  end
  \"\".unicode_normalize(:nfd).encode('utf-16le').force_encoding(Encoding::Shift_JIS)
  File.open('data', 'r:bom|koi8-r:utf-8') # .encode('no-such')
end
";
    let files = [
        ("app.rb", app),
        ("own/late.rb", "require 'shellwords'"),
        ("own/work.rb", "Kernel.require 'abbrev'\nrequire 'no/such/feature'\nrequire 'irb'\n"),
        ("own/unused.rb", ""),
        ("lib/used.rb", "require 'inside'"),
        ("lib/inside.rb", ""),
    ];
    let found = scan(RUBY, "ruby_scan.rb", &files, &["app.rb", "lib/used.rb"]);
    let there = [
        "feature set",
        "feature weakref",
        "feature shellwords",
        "feature abbrev",
        "feature inside",
        "feature @/own/late.rb",
        "feature @/own/work.rb",
        "feature unicode_normalize/normalize",
        "encoding UTF-16LE",
        "encoding Shift_JIS",
        "encoding KOI8-R",
        "path @/lib",
        "names of features are made at run time (@/app.rb:9): only a probe can reach those",
    ];
    assert_found(
        &found,
        &there,
        &[
            "feature comment",
            "feature text",
            "feature pp",
            "feature @/own/unused.rb",
            "feature no/such/feature",
            "encoding no-such",
        ],
    );
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
