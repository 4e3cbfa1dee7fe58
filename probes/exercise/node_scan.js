// Finds the files that a Node.js application names and that its run did not read.
//
// Reads one JSON object from standard input: `command`, `used` (the files that the run opened), `cwd`. Executes nothing of
// the application: sources are cut into tokens, names are resolved as `require` and `import` would. Writes one JSON object
// per line: {"do": "file", "name": "/app/node_modules/x/index.js"} for a file to read, {"note": "..."} for what is not known.
'use strict';
const fs = require('fs');
const path = require('path');
const { createRequire, builtinModules } = require('module');

const MAX_SOURCE = 8 << 20;
const MAX_FILES = 50000;
// How many files a directory or a package of which any may be asked for can have, and how many bytes of sources.
const MAX_ANY = 5000;
const MAX_ANY_BYTES = 32 << 20;
// Parts of an application and of packages that no run loads.
const UNUSED = new Set(['node_modules', '__tests__', '__mocks__', 'test', 'tests', 'spec', 'coverage', 'doc', 'docs', 'example',
  'examples', 'benchmark', 'benchmarks', 'cypress', 'e2e']);
const UNUSED_FILE = /\.(test|spec|stories|config)\.[cm]?[jt]sx?$|\.d\.[cm]?ts$|\.(map|md|markdown|flow|sh|tsbuildinfo)$/;
const SOURCES = new Set(['.js', '.cjs', '.mjs', '.jsx', '.ts', '.cts', '.mts', '.tsx']);
const CONDITIONS = new Set(['node', 'import', 'module-sync', 'node-addons', 'default']);
// After these words a slash begins a regular expression.
const BEFORE_REGEX = new Set(['return', 'typeof', 'case', 'in', 'of', 'delete', 'void', 'throw', 'new', 'instanceof', 'do',
  'else', 'yield', 'await']);
// What looks for an addon in directories of the package that calls it.
const ADDON_LOADERS = new Set(['bindings', 'node-gyp-build', 'node-gyp-build-optional-packages', '@mapbox/node-pre-gyp',
  'pkg-prebuilds', 'prebuildify']);

// Names of what is built for one platform: `linux-x64`, `darwin-x64+arm64`, `index.linuxmusl-arm64.node`.
const PLATFORM = new RegExp('(?:^|[.@_-])(aix|android|darwin|freebsd|linux|linuxmusl|netbsd|openbsd|openharmony|sunos|win32)-' +
  '((?:arm|arm64|ia32|loong64|mips64el|ppc64|ppc64le|riscv64|s390x|universal|x64)(?:\\+\\w+)*)(?:[.-]|$)');
const LIBC = process.platform !== 'linux' ? '' : process.report && process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';

// Words, texts and signs of a source; comments, regular expressions and templates with expressions are passed over.
function tokens(text) {
  const out = [];
  const templates = [];
  let depth = 0;
  let line = 1;
  let i = 0;
  const push = (type, value) => out.push({ type, value, line });
  function quoted(quote) {
    let value = '';
    let j = i + 1;
    for (; j < text.length && text[j] !== quote; j++) {
      if (text[j] === '\n') return false;
      if (text[j] === '\\') { j++; value += text[j] === '\n' ? '' : text[j]; } else value += text[j];
    }
    if (j >= text.length) return false;
    push('text', value);
    i = j + 1;
    return true;
  }
  // From behind the backtick, or the brace that ends an expression, to the end of that piece.
  function template(isStart) {
    let value = '';
    for (; i < text.length; i++) {
      if (text[i] === '\\') { i++; value += text[i]; continue; }
      if (text[i] === '\n') line++;
      if (text[i] === '`') { i++; push(isStart ? 'text' : 'other', value); return; }
      if (text[i] === '$' && text[i + 1] === '{') { i += 2; templates.push(depth); depth = 0; push(isStart ? 'beginning' : 'other', value); return; }
      value += text[i];
    }
  }
  function regex() {
    let inClass = false;
    for (let j = i + 1; j < text.length && text[j] !== '\n'; j++) {
      if (text[j] === '\\') j++;
      else if (text[j] === '[') inClass = true;
      else if (text[j] === ']') inClass = false;
      else if (text[j] === '/' && !inClass) { push('other', '/'); i = j + 1; return true; }
    }
    return false;
  }
  const word = /[A-Za-z_$\u0080-\uffff][\w$\u0080-\uffff]*/y;
  if (text.startsWith('#!')) i = text.indexOf('\n') < 0 ? text.length : text.indexOf('\n');
  while (i < text.length) {
    const c = text[i];
    if (c === '\n') { line++; i++; continue; }
    if (c === ' ' || c === '\t' || c === '\r') { i++; continue; }
    if (c === '/' && text[i + 1] === '/') { const end = text.indexOf('\n', i); i = end < 0 ? text.length : end; continue; }
    if (c === '/' && text[i + 1] === '*') {
      const end = text.indexOf('*/', i + 2);
      const stop = end < 0 ? text.length : end + 2;
      for (; i < stop; i++) if (text[i] === '\n') line++;
      continue;
    }
    word.lastIndex = i;
    const match = word.exec(text);
    if (match) { push('word', match[0]); i += match[0].length; continue; }
    if ((c === '"' || c === "'") && quoted(c)) continue;
    if (c === '`') { i++; template(true); continue; }
    if (c === '/') {
      const last = out[out.length - 1];
      const divides = last && ((last.type === 'word' && !BEFORE_REGEX.has(last.value)) || last.type === 'text' ||
        last.type === 'number' || (last.type === 'sign' && (last.value === ')' || last.value === ']')));
      if (!divides && regex()) continue;
    }
    if (c === '{') depth++;
    if (c === '}') {
      if (depth === 0 && templates.length) { depth = templates.pop(); i++; template(false); continue; }
      depth--;
    }
    push(c >= '0' && c <= '9' ? 'number' : 'sign', c);
    i++;
  }
  return out;
}

// What a source names: { required, imported, beside, begun, served, started, dynamic, hasOwnDirectory }. `begun` are beginnings of
// names the rest of which is made at run time, `served` what is in directories of packages.
function names(text) {
  const found = { required: new Set(), imported: new Set(), beside: new Set(), begun: new Set(), served: new Set(), started: new Set(),
    dynamic: [], hasOwnDirectory: false };
  const all = tokens(text);
  const is = (at, value) => all[at] && all[at].type !== 'text' && all[at].value === value;
  const textAt = (at) => (all[at] && all[at].type === 'text' ? all[at].value : undefined);
  // The name in a call that is made at run time, from the sign behind the bracket on.
  const made = (at, line) => {
    const beginning = all[at] && all[at].type === 'beginning' ? all[at].value : is(at + 1, '+') ? textAt(at) : undefined;
    if (beginning && beginning.length > 1) found.begun.add(beginning);
    else found.dynamic.push(line);
  };
  // Texts that are joined to the name of a directory, which ends before `next`. Whoever has the directory itself can look for
  // anything in it.
  const joined = (at, next) => {
    const parts = [];
    while ((is(next, ',') || is(next, '+')) && textAt(next + 1) !== undefined) { parts.push(textAt(next + 1)); next += 2; }
    const isWhole = parts.length && !is(next, ',') && !is(next, '+');
    if (isWhole) found.beside.add(parts.join('/'));
    else if (parts.length) found.begun.add('./' + parts.join('/').replace(/^\/+/, '') + '/');
    else if (!is(at - 1, '.') && !is(next, ':') && !is(next, '=')) found.hasOwnDirectory = true;
  };
  const meta = (at, name) => is(at, 'import') && is(at + 1, '.') && is(at + 2, 'meta') && is(at + 3, '.') && is(at + 4, name);
  const requires = new Set(['require']);
  // Modules that are made for `import` make themselves one: `const load = createRequire(import.meta.url)`.
  for (let at = 0; at < all.length; at++) {
    if (!is(at, 'createRequire') || !is(at + 1, '(')) continue;
    const before = is(at - 1, '.') ? at - 3 : at - 1;
    if (is(before, '=') && all[before - 1] && all[before - 1].type === 'word') requires.add(all[before - 1].value);
    let end = at + 2;
    for (let depth = 1; end < all.length && depth; end++) depth += is(end, '(') ? 1 : is(end, ')') ? -1 : 0;
    if (is(end, '(') && textAt(end + 1) !== undefined && is(end + 2, ')')) found.required.add(textAt(end + 1));
  }
  for (let at = 0; at < all.length; at++) {
    const { value, line } = all[at];
    if (all[at].type === 'text') {
      const parts = [value];
      for (let next = at + 1; value === 'node_modules' && is(next, ',') && textAt(next + 1) !== undefined; next += 2) {
        parts.push(textAt(next + 1));
      }
      const inside = /(?:^|\/)node_modules\/([\w@.][\w@./-]*)$/.exec(parts.join('/'));
      if (inside) found.served.add(inside[1]);
    }
    if (all[at].type !== 'word') continue;
    if (requires.has(value)) {
      const resolves = is(at + 1, '.') && is(at + 2, 'resolve');
      const open = resolves ? at + 3 : at + 1;
      if (!is(open, '(')) continue;
      const name = textAt(open + 1);
      if (name !== undefined && (is(open + 2, ')') || is(open + 2, ','))) found.required.add(name);
      else if (!is(open + 1, ')') && value === 'require') made(open + 1, line);
    } else if (value === 'import') {
      if (textAt(at + 1) !== undefined) found.imported.add(textAt(at + 1));
      else if (is(at + 1, '(')) {
        const name = textAt(at + 2);
        if (name !== undefined && (is(at + 3, ')') || is(at + 3, ','))) found.imported.add(name);
        else if (!is(at - 1, '.')) made(at + 2, line);
      } else if (meta(at, 'resolve') && textAt(at + 6)) {
        found.imported.add(textAt(at + 6));
      } else if (meta(at, 'dirname')) {
        joined(at, at + 5);
      }
    } else if (value === 'from' && textAt(at + 1) !== undefined) {
      found.imported.add(textAt(at + 1));
    } else if (value === '__dirname') {
      joined(at, at + 1);
    } else if ((value === 'Worker' || value === 'fork') && is(at + 1, '(') && textAt(at + 2) !== undefined) {
      found.started.add(textAt(at + 2));
    } else if (value === 'URL' && is(at + 1, '(') && textAt(at + 2) !== undefined && is(at + 3, ',') && is(at + 4, 'import')) {
      found.beside.add(textAt(at + 2));
    }
  }
  return found;
}

function kindOf(file) {
  try {
    const stat = fs.statSync(file);
    return stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : 'other';
  } catch (error) {
    return 'none';
  }
}

const isFile = (file) => kindOf(file) === 'file';

// Whether a directory or an addon of that name is built for another machine than this.
function isForeign(name) {
  const libc = /[.-](glibc|gnu|musl)(?:\.node)?$/.exec(name);
  const platform = PLATFORM.exec(name);
  if (libc && (platform || name.endsWith('.node')) && LIBC && (libc[1] === 'musl') !== (LIBC === 'musl')) return true;
  if (!platform) return false;
  const [, system, architectures] = platform;
  const isHere = system === process.platform || (system === 'linuxmusl' && LIBC === 'musl');
  return !isHere || !architectures.split('+').some((each) => each === process.arch || each === 'universal');
}

// Whether a package is for this machine, by what it says of itself as npm reads it
// (https://docs.npmjs.com/cli/configuring-npm/package-json#os).
function isForHere(description) {
  const allows = (list, here) => {
    const all = [].concat(list || []);
    if (all.includes('!' + here)) return false;
    return !here || all.every((each) => String(each).startsWith('!')) || all.includes(here);
  };
  return allows(description.os, process.platform) && allows(description.cpu, process.arch) && allows(description.libc, LIBC);
}

function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    return undefined;
  }
}

// The target of a subpath in `exports` or `imports` (https://nodejs.org/api/packages.html), for `import`.
function target(value, star) {
  if (typeof value === 'string') return value.split('*').join(star);
  if (Array.isArray(value)) {
    for (const each of value) { const found = target(each, star); if (found) return found; }
  } else if (value && typeof value === 'object') {
    for (const condition of Object.keys(value)) {
      if (CONDITIONS.has(condition)) { const found = target(value[condition], star); if (found) return found; }
    }
  }
  return undefined;
}

function mapped(map, key) {
  if (Object.prototype.hasOwnProperty.call(map, key)) return target(map[key], '');
  let best;
  for (const pattern of Object.keys(map)) {
    const at = pattern.indexOf('*');
    if (at < 0 || !key.startsWith(pattern.slice(0, at)) || !key.endsWith(pattern.slice(at + 1))) continue;
    if (key.length >= pattern.length && (!best || at > best.indexOf('*'))) best = pattern;
  }
  if (!best) return undefined;
  const at = best.indexOf('*');
  return target(map[best], key.slice(at, key.length - (best.length - at - 1)));
}

class Scan {
  constructor(request) {
    this.used = new Set(request.used);
    this.cwd = request.cwd || '/';
    this.files = new Set();
    this.whole = new Set();
    this.queue = [];
    this.notes = [];
    for (const file of request.used) {
      if (SOURCES.has(path.extname(file)) || this.isScript(file)) this.queue.push(file);
    }
    const own = this.queue.filter((file) => !file.includes('/node_modules/'));
    for (const root of new Set(own.map((file) => this.rootOf(file)))) if (root) this.application(root);
  }

  // The directory of the package to which a file belongs.
  rootOf(file) {
    for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
      if (isFile(path.join(directory, 'package.json'))) return directory;
      if (directory === path.dirname(directory) || path.basename(directory) === 'node_modules') return undefined;
    }
  }

  // An application's sources are there to be loaded, by a name from a request or a list of a directory, and what it declares
  // that it needs is there to be required, as an engine of templates is by the ending of a name.
  application(root) {
    const description = path.join(root, 'package.json');
    const { dependencies, optionalDependencies } = readJson(description) || {};
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (name.startsWith('@types/')) continue;
      this.require(name, description);
      this.import(name, description);
    }
    for (const file of this.below(root, '') || []) if (SOURCES.has(path.extname(file))) this.queue.push(file);
  }

  // The files below a directory whose paths begin so; `undefined` when they are too many.
  below(root, beginning) {
    const found = [];
    const pending = [root];
    let bytes = 0;
    while (pending.length) {
      const directory = pending.pop();
      let entries = [];
      try { entries = fs.readdirSync(directory, { withFileTypes: true }); } catch (error) { continue; }
      for (const entry of entries) {
        const child = path.join(directory, entry.name);
        if (entry.name.startsWith('.') || UNUSED.has(entry.name) || UNUSED_FILE.test(entry.name)) continue;
        if ((entry.isDirectory() || entry.name.endsWith('.node')) && isForeign(entry.name)) continue;
        if (entry.isDirectory()) {
          if (child.startsWith(beginning) || beginning.startsWith(child)) pending.push(child);
        } else if (entry.isFile() && child.startsWith(beginning)) {
          found.push(child);
          if (SOURCES.has(path.extname(child))) bytes += fs.statSync(child).size;
        }
      }
      if (found.length > MAX_ANY || bytes > MAX_ANY_BYTES) return undefined;
    }
    return found;
  }

  // What a name can become of which only the beginning is known.
  begun(beginning, from) {
    const files = (root, start) => {
      const found = this.below(root, start);
      if (!found) this.notes.push(from);
      for (const file of found || []) this.add(file);
    };
    if (/^\.{0,2}\//.test(beginning)) {
      const start = path.resolve(path.dirname(from), beginning) + (beginning.endsWith('/') ? '/' : '');
      files(path.dirname(start + 'x'), start);
      return;
    }
    const scoped = beginning.startsWith('#') ? ['', '', ''] : /^(@[^/]+\/[^/]+|[^@/][^/]*)\/(.*)$/.exec(beginning);
    if (!scoped) {
      const root = this.rootOf(from);
      if (root) this.builtForHere(root, beginning);
      this.notes.push(from);
      return;
    }
    for (let directory = path.dirname(from); ; directory = path.dirname(directory)) {
      const root = scoped[1] ? path.join(directory, 'node_modules', scoped[1]) : directory;
      const description = readJson(path.join(root, 'package.json'));
      if (description) {
        if (scoped[1]) this.links(beginning, from);
        const map = scoped[1] ? description.exports : description.imports;
        const key = scoped[1] ? './' + scoped[2] : beginning;
        if (map && typeof map === 'object') {
          for (const each of Object.keys(map)) {
            const [before, after] = each.split('*');
            if (!each.startsWith(key) && !(after !== undefined && key.startsWith(before))) continue;
            const found = target(map[each], '*') || '';
            const [start, end] = path.join(root, found).split('*');
            if (end === undefined) this.add(start);
            else files(path.dirname(start + 'x'), start);
          }
        } else files(path.dirname(path.join(root, scoped[2]) + 'x'), path.join(root, scoped[2]));
        return;
      }
      if (directory === path.dirname(directory)) return;
    }
  }

  // A package that loads what it is told, or hands out its own directory.
  any(from) {
    const root = this.rootOf(from);
    if (!root || this.whole.has(root)) return;
    this.whole.add(root);
    const found = this.below(root, '');
    if (!found) this.notes.push(from);
    for (const file of found || []) this.add(file);
    const { peerDependencies } = readJson(path.join(root, 'package.json')) || {};
    for (const name of Object.keys(peerDependencies || {})) this.require(name, from);
    this.builtForHere(root, '');
  }

  // Of the packages that one at `root` has for each platform those for this one, if their names begin so.
  builtForHere(root, beginning) {
    const description = path.join(root, 'package.json');
    for (const name of Object.keys((readJson(description) || {}).optionalDependencies || {})) {
      if (name.startsWith(beginning)) this.builtFor(name, description);
    }
  }

  // A package of which there is one for each platform, whose name another makes at run time: an addon, a program, and
  // the libraries that they need.
  builtFor(name, from) {
    const directories = createRequire(from).resolve.paths(name) || [];
    const root = directories.map((directory) => path.join(directory, name)).find((each) => isFile(path.join(each, 'package.json')));
    if (!root || this.whole.has(root)) return;
    const description = readJson(path.join(root, 'package.json')) || {};
    if (!(description.os || description.cpu) || !isForHere(description) || isForeign(path.basename(name))) return;
    this.whole.add(root);
    this.links(name, from);
    const found = this.below(fs.realpathSync(root), '');
    if (!found) this.notes.push(from);
    for (const file of found || []) this.add(file);
    this.builtForHere(root, '');
  }

  // A directory of a package that is named from outside, to serve what is in it.
  served(name, from) {
    for (let directory = path.dirname(from); ; directory = path.dirname(directory)) {
      const named = path.join(directory, 'node_modules', name);
      const kind = kindOf(named);
      if (kind === 'file') this.add(named);
      if (kind === 'directory') for (const file of this.below(named, '') || []) this.add(file);
      if (kind !== 'none' || directory === path.dirname(directory)) return;
    }
  }

  isScript(file) {
    if (path.extname(file) !== '') return false;
    try {
      const head = Buffer.alloc(64);
      const handle = fs.openSync(file, 'r');
      const length = fs.readSync(handle, head, 0, 64, 0);
      fs.closeSync(handle);
      return /^#!.*node/.test(head.toString('latin1', 0, length));
    } catch (error) {
      return false;
    }
  }

  run() {
    const seen = new Set();
    while (this.queue.length) {
      const file = this.queue.pop();
      if (seen.has(file) || seen.size >= MAX_FILES) continue;
      seen.add(file);
      let text;
      try {
        if (fs.statSync(file).size > MAX_SOURCE) continue;
        text = fs.readFileSync(file, 'utf8');
      } catch (error) {
        continue;
      }
      const found = names(text);
      for (const name of found.required) this.require(name, file);
      for (const name of found.imported) this.import(name, file);
      for (const name of found.beside) this.add(path.join(path.dirname(file), decodeURIComponentOrNot(name)));
      // Threads and processes begin in the working directory, whoever starts them.
      for (const name of found.started) this.start(path.resolve(this.cwd, name));
      for (const beginning of found.begun) this.begun(beginning, file);
      for (const name of found.served) this.served(name, file);
      if (!file.includes('/node_modules/')) this.notes.push(...found.dynamic.map((line) => file + ':' + line));
      else if (found.dynamic.length || found.hasOwnDirectory) this.any(file);
    }
  }

  // A file that is named, with what says how it is read, and further what it names.
  add(file) {
    if (!isFile(file) || this.files.has(file)) return;
    this.files.add(file);
    for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
      const description = path.join(directory, 'package.json');
      if (isFile(description)) { this.files.add(description); break; }
      if (directory === path.dirname(directory) || path.basename(directory) === 'node_modules') break;
    }
    const real = fs.realpathSync(file);
    if (SOURCES.has(path.extname(real)) || path.extname(real) === '') this.queue.push(real);
  }

  start(file) {
    this.add(isFile(file) ? file : file + '.js');
  }

  require(name, from) {
    if (this.isBuiltin(name)) return;
    this.links(name, from);
    try {
      this.add(createRequire(from).resolve(name));
    } catch (error) {
      // It is not installed, or only for `import`.
    }
  }

  import(name, from) {
    if (this.isBuiltin(name)) return;
    if (name.startsWith('file:')) return;
    if (name.startsWith('.') || name.startsWith('/')) {
      const file = path.resolve(path.dirname(from), decodeURIComponentOrNot(name.split(/[?#]/)[0]));
      if (isFile(file)) this.add(file);
      // Compilers of TypeScript leave the ending out, or write that of their output.
      else this.require(name, from);
      return;
    }
    const inside = name.startsWith('#');
    const scoped = /^(@[^/]+\/[^/]+|[^/]+)(\/.*)?$/.exec(name);
    for (let directory = path.dirname(from); scoped; directory = path.dirname(directory)) {
      const root = inside ? directory : path.join(directory, 'node_modules', scoped[1]);
      const description = readJson(path.join(root, 'package.json'));
      const map = description && (inside ? description.imports : description.exports);
      if (map && typeof map === 'object' && (inside || Object.keys(map).some((key) => key.startsWith('.')))) {
        const found = mapped(map, inside ? name : '.' + (scoped[2] || ''));
        if (found && found.startsWith('./')) { this.links(name, from); this.add(path.join(root, found)); return; }
        if (found && inside) { this.import(found, path.join(root, 'package.json')); return; }
      } else if (map && !inside && !scoped[2]) {
        const found = target(map, '');
        if (found) { this.links(name, from); this.add(path.join(root, found)); return; }
      }
      if (description || directory === path.dirname(directory)) break;
    }
    if (scoped && !inside && this.importItself(scoped, from)) return;
    this.require(name, from);
  }

  // A package that has `exports` may name itself. Returns whether this was that.
  importItself([, name, rest], from) {
    for (let directory = path.dirname(from); ; directory = path.dirname(directory)) {
      const description = readJson(path.join(directory, 'package.json'));
      if (description) {
        const map = description.exports;
        if (description.name !== name || !map) return false;
        const paths = typeof map === 'object' && Object.keys(map).some((key) => key.startsWith('.'));
        const found = paths ? mapped(map, '.' + (rest || '')) : rest ? undefined : target(map, '');
        if (found) this.add(path.join(directory, found));
        return Boolean(found);
      }
      if (directory === path.dirname(directory)) return false;
    }
  }

  // Package managers put links into node_modules, which resolving follows and does not name.
  links(name, from) {
    const scoped = /^(@[^/]+\/[^/]+|[^./#][^/]*)/.exec(name);
    if (!scoped) return;
    for (const directory of createRequire(from).resolve.paths(name) || []) {
      const root = path.join(directory, scoped[1]);
      const description = path.join(root, 'package.json');
      if (!isFile(description)) continue;
      this.files.add(description);
      if (ADDON_LOADERS.has(scoped[1])) this.addons(from);
      return;
    }
  }

  // The addons of the package to which a source belongs, for this machine.
  addons(from) {
    let root = path.dirname(from);
    while (!isFile(path.join(root, 'package.json'))) {
      if (root === path.dirname(root)) return;
      root = path.dirname(root);
    }
    const walk = (directory, depth) => {
      let entries = [];
      try { entries = fs.readdirSync(directory, { withFileTypes: true }); } catch (error) { return; }
      for (const entry of entries) {
        const child = path.join(directory, entry.name);
        if (entry.isFile() && entry.name.endsWith('.node') && !isForeign(entry.name)) this.add(child);
        else if (entry.isDirectory() && depth < 6 && entry.name !== 'node_modules') {
          if (!isForeign(entry.name)) walk(child, depth + 1);
        }
      }
    };
    for (const directory of ['build/Release', 'prebuilds', 'lib/binding', 'compiled', 'addon-build']) {
      walk(path.join(root, directory), 0);
    }
  }

  isBuiltin(name) {
    return name.startsWith('node:') || name.startsWith('data:') || builtinModules.includes(name);
  }

  report() {
    const lines = [];
    for (const file of [...this.files].sort()) {
      if (!this.used.has(file)) lines.push({ do: 'file', name: file });
    }
    if (this.notes.length) {
      const more = this.notes.length > 3 ? ' and ' + (this.notes.length - 3) + ' more' : '';
      const where = this.notes.slice(0, 3).join(', ') + more;
      lines.push({ note: 'names of modules are made at run time (' + where + '): only a probe can reach those' });
    }
    return lines.map((line) => JSON.stringify(line) + '\n').join('');
  }
}

function decodeURIComponentOrNot(text) {
  try { return decodeURIComponent(text); } catch (error) { return text; }
}

const scan = new Scan(JSON.parse(fs.readFileSync(0, 'utf8')));
scan.run();
fs.writeSync(1, scan.report());
