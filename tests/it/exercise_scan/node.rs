//! What the scan of JavaScript sources finds.

use super::{NODE, assert_found, scan};

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
