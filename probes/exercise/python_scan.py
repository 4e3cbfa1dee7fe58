"""Finds the modules that a Python application names and that its run did not load.

Reads one JSON object from standard input: `command` (the application's command line), `used` (the files that the run
opened), `cwd`. Executes nothing of the application: sources are parsed, modules are looked up by the interpreter's own
finders. Writes one JSON object per line:

    {"do": "path", "name": "/app"}          an entry of sys.path
    {"do": "module", "name": "xml.sax"}     a module to import
    {"do": "file", "name": "/x/METADATA"}   a file to read
    {"note": "..."}                         what is made at run time and so not known
"""

import _imp
import ast
import encodings
import encodings.aliases
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import sys
import sysconfig
import tokenize

# Never loaded while an application works, unless it names them itself.
TOOLS = {
    "bdb", "cProfile", "cmd", "code", "codeop", "curses", "distutils", "doctest", "ensurepip", "idlelib", "lib2to3", "pdb",
    "pip", "pkg_resources", "profile", "pstats", "pydoc", "pydoc_data", "rlcompleter", "setuptools", "test", "this",
    "readline", "timeit", "tkinter", "trace", "turtle", "turtledemo", "unittest", "venv", "webbrowser", "wheel", "_distutils_hack",
    "antigravity", "_aix_support", "_osx_support", "pytest", "_pytest", "nose", "mypy", "IPython",
}
# Parts of third parties' packages that are not for use.
UNUSED = {"test", "tests", "testing", "_test", "_tests", "conftest", "__main__"}
# What the interpreter's own C code or names made at run time load.
IMPLIED = {
    "dbm": ["dbm.gnu", "dbm.ndbm", "dbm.dumb"],
    "socket": ["encodings.idna"],
    "xml.sax": ["xml.sax.expatreader"],
}
MAX_SOURCE = 4 << 20
MAX_MODULES = 20000
# How many modules in one package can be meant by a name that is made at run time, and how many own sources are looked at.
MAX_MEMBERS = 2000
MAX_OWN = 3000
# Where the sources of others lie beside an application's.
SHARED = {"/", "/etc", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin",
          "/usr/local/lib", "/usr/sbin", "/usr/share", "/usr/src", "/var", "/var/lib"}
# Scripts for those who build and test.
BUILDING = {"setup.py", "conftest.py", "noxfile.py", "fabfile.py", "tasks.py", "dodo.py"}


def below(path, directory):
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class Places:
    """What belongs to whom, by its directory."""

    def __init__(self):
        paths = sysconfig.get_paths()
        self.std = {os.path.realpath(paths[key]) for key in ("stdlib", "platstdlib")}
        site = {paths["purelib"], paths["platlib"]}
        site.update(p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages"))
        self.site = {os.path.realpath(p) for p in site}
        self.kinds = {}

    def kind(self, file):
        # Each look at a link costs a system call, so the answer is kept for the directory.
        directory, name = os.path.split(file)
        if directory not in self.kinds:
            self.kinds[directory] = self.find(os.path.realpath(directory) + "/" + name)
        return self.kinds[directory]

    def find(self, real):
        if any(below(real, d) for d in self.site) or re.search("/(site|dist)-packages/", real):
            return "site"
        return "std" if any(below(real, d) for d in self.std) else "app"


def static(test, main):
    """What a condition is here and now, where the platform alone decides it; None where it does not."""
    if isinstance(test, ast.BoolOp):
        values = [static(v, main) for v in test.values]
        decisive = isinstance(test.op, ast.Or)
        if decisive in values:
            return decisive
        return None if None in values else not decisive
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        value = static(test.operand, main)
        return None if value is None else not value
    if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
        return False
    if isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING":
        return False
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute) and test.func.attr == "startswith":
        if dotted(test.func.value) == "sys.platform" and len(test.args) == 1:
            prefix = literal(test.args[0])
            return None if prefix is None else sys.platform.startswith(prefix)
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        left, right = test.left, test.comparators[0]
        known = {"sys.platform": sys.platform, "os.name": os.name, "sys.version_info": sys.version_info}
        known["__name__"] = None if main else "a module"
        value = known.get(dotted(left))
        try:
            other = ast.literal_eval(right)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
        if value is None:
            return None
        try:
            compare = {
                ast.Eq: lambda: value == other, ast.NotEq: lambda: value != other,
                ast.Lt: lambda: value < other, ast.LtE: lambda: value <= other,
                ast.Gt: lambda: value > other, ast.GtE: lambda: value >= other,
                ast.In: lambda: value in other, ast.NotIn: lambda: value not in other,
            }.get(type(test.ops[0]))
            return compare() if compare else None
        except TypeError:
            return None
    return None


def beginning(node):
    """The literal text with which a name begins that is made at run time; None where there is none."""
    if isinstance(node, ast.JoinedStr):
        return literal(node.values[0]) if node.values else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal(node.left) or beginning(node.left)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        text = literal(node.left)
        return text.partition("%")[0] if text else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = literal(node.func.value)
        return text.partition("{")[0] if text else None
    return None


def inside(node):
    """Of a name that begins with a package made at run time the literal part that follows it, and how the module's own name
    begins: `management.commands` and nothing of "%s.management.commands.%s"; None where there is none."""
    text = None
    if isinstance(node, ast.JoinedStr):
        text = "".join(literal(value) or "\0" for value in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and literal(node.left):
        text = re.sub(r"%(\(\w+\))?[sr]", "\0", literal(node.left))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        text = "".join(literal(part) or "\0" for part in added(node))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        text = re.sub(r"\{[^{}]*\}", "\0", literal(node.func.value) or "")
    match = re.match(r"\0((?:\.[A-Za-z_]\w*)+)(?:\.(\w*)\0|(\0))?$", text or "")
    if not match:
        return None
    package, start = match.group(1)[1:], match.group(2)
    if match.group(3):
        package, _, start = package.rpartition(".")
    return (package, start) if package else None


def added(node):
    """What a sum of texts consists of, from left to right."""
    parts = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts.append(node.right)
        node = node.left
    return [node] + parts[::-1]


def default(node):
    """A text, or the one that stands in for what is not given: `name or "cp437"`."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        node = node.values[-1]
    return literal(node)


def dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id] + parts[::-1])


def is_variable(node):
    return isinstance(node, (ast.Name, ast.Attribute, ast.Subscript))


def literal(node):
    value = getattr(node, "value", getattr(node, "s", None))
    return value if isinstance(value, str) and not isinstance(node, (ast.Attribute, ast.Name)) else None


class Source:
    """What one source names."""

    def __init__(self, text, kind, package, main, resolves=None):
        self.kind, self.package, self.main = kind, package, main
        # Each a tuple of the module, the names taken from it, and whether the module stands there for itself.
        self.imports, self.dynamic, self.codecs, self.texts, self.groups = [], [], set(), set(), set()
        # Packages of which any module can be meant, with how its name begins; an empty one is the source's own.
        self.made = set()
        # What any package can have in it, with how the name of a module there begins; None where the package itself is meant.
        self.families = set()
        self.strptime = self.metadata = False
        self.all = []
        stack = [ast.parse(text)]
        while stack:
            node = stack.pop()
            if isinstance(node, (ast.If, ast.IfExp)):
                value = static(node.test, main)
                if value is not None:
                    taken = node.body if value else node.orelse
                    stack.extend(taken if isinstance(taken, list) else [taken])
                    continue
            if isinstance(node, ast.FunctionDef) and kind == "std" and re.match("_?test|_?main$", node.name):
                continue
            if isinstance(node, ast.Try) and kind in ("site", "std") and resolves is not None and self.is_settled(node, resolves):
                stack.extend(node.body + node.orelse + node.finalbody)
                continue
            self.look(node)
            stack.extend(ast.iter_child_nodes(node))

    def is_settled(self, node, resolves):
        """Whether what a `try` imports is there, so that nobody needs what stands in its place otherwise."""
        names = [n for statement in node.body for n in ast.walk(statement) if isinstance(n, (ast.Import, ast.ImportFrom))]
        modules = []
        for each in names:
            if isinstance(each, ast.Import):
                modules += [alias.name for alias in each.names]
            else:
                modules.append(self.absolute(each.module or "", each.level))
        return bool(modules) and all(m and resolves(m) for m in modules)

    def absolute(self, name, level):
        if level == 0:
            return name
        parts = self.package.split(".") if self.package else []
        if level > len(parts):
            return None
        return ".".join(parts[: len(parts) - level + 1] + ([name] if name else []))

    def look(self, node):
        if isinstance(node, ast.Import):
            self.imports += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = self.absolute(node.module or "", node.level)
            if module:
                self.imports.append((module, [alias.name for alias in node.names]))
        elif isinstance(node, ast.Call):
            self.call(node)
        elif isinstance(node, ast.Attribute) and node.attr == "strptime":
            self.strptime = True
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            self.all += [t for t in map(literal, getattr(node.value, "elts", [])) if t]
        elif literal(node) is not None and (self.kind in ("app", "own") or self.is_of_family(literal(node))):
            self.texts.add(literal(node))

    def is_of_family(self, text):
        """Whether a text names something in the package that has it, as the defaults of settings do."""
        return self.kind == "site" and bool(self.package) and text.startswith(self.package.partition(".")[0] + ".")

    def call(self, node):
        name = dotted(node.func) or getattr(node.func, "attr", "")
        last = name.rpartition(".")[2]
        first = literal(node.args[0]) if node.args else None
        if last in ("import_module", "__import__", "import_string", "import_object"):
            if first is not None:
                level = len(first) - len(first.lstrip("."))
                module = self.absolute(first.lstrip("."), level)
                if module:
                    self.imports.append((module.replace(":", "."), ["*"]))
            elif node.args:
                self.dynamic.append(node.lineno)
                family = inside(node.args[0])
                if family:
                    self.families.add(family)
                level = next((k.value.value for k in node.keywords if k.arg == "level" and isinstance(k.value, ast.Constant)), 0)
                self.make(beginning(node.args[0]), level if isinstance(level, int) else 0)
        elif "import" in last and first and first.isascii() and all(map(str.isidentifier, first.split("."))):
            # What a package has for modules that need not be there.
            self.imports.append((first, []))
        elif last in ("iter_modules", "walk_packages", "find_modules"):
            self.make(None, 0)
        elif last in ("encode", "decode", "lookup", "getreader", "getwriter", "getdecoder", "getencoder") and node.args and default(node.args[0]):
            self.codecs.add(default(node.args[0]))
        elif last in ("encode", "decode") and self.kind in ("app", "own") and len(node.args) in (1, 2) and is_variable(node.args[0]):
            # Any codec: what a request, a header or a file says.
            self.made.add(("encodings", ""))
        elif last in ("entry_points", "iter_entry_points"):
            self.metadata = True
            groups = [first] + [literal(k.value) for k in node.keywords if k.arg == "group"]
            self.groups.update(g for g in groups if g)
        for keyword in node.keywords:
            if keyword.arg in ("encoding", "charset") and default(keyword.value):
                self.codecs.add(default(keyword.value))


    def make(self, text, level):
        """A name that is made at run time and begins with `text`."""
        if not text:
            self.made.add(("", ""))
            return
        level = level or len(text) - len(text.lstrip("."))
        package, dot, rest = text.lstrip(".").rpartition(".")
        if level or dot:
            package = self.absolute(package, level)
            if package:
                self.made.add((package, rest))


class Scan:
    def __init__(self, request):
        self.used, self.command = set(request["used"]), request["command"]
        self.places = Places()
        self.specs, self.reached, self.queue = {}, set(), []
        self.app_named, self.notes, self.groups, self.metadata = set(), [], set(), False
        # Modules that may be meant by a name that is made at run time: too many to import each.
        self.members = set()
        # Parts of packages by names that go on behind the package's, and which packages have been asked for which.
        self.families, self.asked = set(), set()
        self.scripts(request)

    # Where modules are.

    def scripts(self, request):
        """The application's sources that the run used, and the directories in which it looks for modules."""
        roots, self.sources = [], []
        command = request["command"]
        for word in command:
            file = os.path.join(request["cwd"], word)
            if word.endswith(".py") and os.path.isfile(file):
                roots.append(os.path.dirname(os.path.realpath(file)))
        roots.append(request["cwd"])
        for file in sorted(self.used):
            if self.places.kind(file) != "app" or not is_source(file):
                continue
            self.sources.append(file)
            directory = os.path.dirname(file)
            if not file.endswith(".py"):
                continue
            while os.path.isfile(os.path.join(directory, "__init__.py")) and directory != "/":
                directory = os.path.dirname(directory)
            roots.append(directory)
        known = [p for p in sys.path if p]
        first = list(dict.fromkeys(r for r in roots if r not in known))
        # What stands beside the command is found first, what was only used somewhere last.
        self.path = first + known
        sys.path[:] = self.path
        self.roots = first

    def spec(self, name):
        if name not in self.specs:
            self.specs[name] = self.find(name)
        return self.specs[name]

    def find(self, name):
        parent, _, last = name.rpartition(".")
        if not all(part.isidentifier() for part in name.split(".")):
            return None
        try:
            if not parent:
                return importlib.util.find_spec(name) if name != "__main__" else None
            above = self.spec(parent)
            if above is None or above.submodule_search_locations is None:
                return None
            return importlib.machinery.PathFinder.find_spec(name, list(above.submodule_search_locations))
        except Exception:
            return None

    def kind(self, spec):
        if spec.origin in (None, "built-in", "frozen"):
            locations = list(spec.submodule_search_locations or [])
            return self.places.kind(locations[0]) if locations else "std"
        return self.places.kind(spec.origin)

    # What is reached.

    def reach(self, name, by_app):
        """A module that somebody names, with the packages above it."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if part in self.reached:
                continue
            spec = self.spec(part)
            if spec is None:
                return False
            if self.kind(spec) != "app" and not by_app and self.is_left_out(part):
                return False
            if len(self.reached) >= MAX_MODULES:
                return False
            self.reached.add(part)
            self.queue.append(part)
            for other in IMPLIED.get(part, []):
                self.reach(other, by_app)
        return True

    def is_left_out(self, name):
        parts = name.split(".")
        return parts[0] in TOOLS or not UNUSED.isdisjoint(parts)

    def take_in(self, source, file):
        by_app = source.kind == "app"
        for module, names in source.imports:
            if not self.reach(module, by_app):
                # `import_string("package.module.name")`: the last part need not be a module.
                if names == ["*"] and "." in module:
                    self.reach(module.rpartition(".")[0], by_app)
                continue
            for name in names:
                if name == "*":
                    names_of_all = self.all_of(module)
                    for each in names_of_all:
                        self.reach(module + "." + each, by_app)
                else:
                    self.reach(module + "." + name, by_app)
        for package, start in source.made:
            # Of an application's own all are looked at anyway, and of codecs most applications use two.
            if source.kind == "std" and package == "encodings":
                continue
            if (package or source.kind == "site") and self.reach(package or source.package, by_app):
                self.any_of(package or source.package, start)
        if source.strptime:
            self.reach("_strptime", by_app)
        for codec in source.codecs:
            name = encodings.normalize_encoding(codec).lower() if codec.isascii() else ""
            name = encodings.aliases.aliases.get(name, name)
            if name:
                self.reach("encodings." + name, by_app)
        for text in source.texts:
            # Settings name modules, or what is in them: `django.middleware.csrf.CsrfViewMiddleware`, `app.main:create`.
            if re.match(r"^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)+(:[A-Za-z_]\w*)?$", text):
                module = text.partition(":")[0]
                if self.spec(module.partition(".")[0]) is not None and not self.reach(module, by_app):
                    parent = module.rpartition(".")[0]
                    if "." in parent:
                        self.reach(parent, by_app)
        if by_app:
            self.notes += ["%s:%d" % (file, line) for line in source.dynamic]
        self.groups |= source.groups
        if source.kind != "std":
            self.families |= source.families
        self.metadata = self.metadata or source.metadata

    def any_of(self, package, start):
        """The modules straight in a package whose names begin so."""
        spec = self.spec(package)
        names = set()
        for directory in (spec and spec.submodule_search_locations) or []:
            try:
                entries = os.listdir(directory)
            except OSError:
                continue
            for entry in entries:
                name = entry.partition(".")[0]
                is_module = entry.endswith((".py", ".so")) or os.path.isfile(os.path.join(directory, entry, "__init__.py"))
                if is_module and name.startswith(start) and name != "__init__":
                    names.add(package + "." + name)
        for name in sorted(names)[:MAX_MEMBERS]:
            if name not in self.reached and self.reach(name, False):
                self.members.add(name)

    def own(self):
        """The application's sources that the run did not use: a name from a request or a setting may ask for them."""
        known = {os.path.realpath(file) for file in self.sources}
        roots = {os.path.dirname(file) for file in known if file.endswith(".py")}
        roots = {root for root in roots if root not in SHARED and self.places.kind(root + "/x.py") == "app"}
        found = set()
        for root in sorted(roots):
            for directory, directories, files in os.walk(root):
                inside = lambda name: os.path.join(directory, name)
                directories[:] = sorted(
                    name for name in directories
                    if name not in UNUSED and name not in ("node_modules", "site-packages", "dist-packages", "__pycache__")
                    and not name.startswith(".") and not os.path.exists(os.path.join(inside(name), "pyvenv.cfg"))
                )
                found.update(inside(name) for name in files if name.endswith(".py") and name not in BUILDING)
                if len(found) > MAX_OWN:
                    return
        for file in sorted(found - known):
            name = self.name_of(file)
            package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
            self.scan(file, "own", package, False)

    def all_of(self, module):
        spec = self.spec(module)
        if spec is None or spec.submodule_search_locations is None or not is_text(spec.origin):
            return []
        try:
            return Source(read(spec.origin), self.kind(spec), module, False).all
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return []

    def run(self):
        for file in self.sources:
            name = self.name_of(file)
            package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
            self.scan(file, "app", package, True)
        self.own()
        for before, word in zip([""] + self.command, self.command):
            # `python3 -m package`, `celery -A project`, `gunicorn package.module:app`.
            named = before in ("-m", "-A", "--app") or re.match(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*", word)
            if named and re.match(r"^[A-Za-z_][\w.]*", word):
                self.reach(word.partition(":")[0], True)
        for variable in ("DJANGO_SETTINGS_MODULE", "FLASK_APP", "CELERY_APP"):
            value = os.environ.get(variable, "").partition(":")[0]
            self.reach(value[:-3] if value.endswith(".py") else value, True)
        while self.queue or self.plugins() or self.parts():
            name = self.queue.pop()
            spec = self.spec(name)
            if spec.origin and is_text(spec.origin):
                package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
                self.scan(spec.origin, self.kind(spec), package, False)

    def scan(self, file, kind, package, main):
        try:
            resolves = lambda name: self.spec(name) is not None
            self.take_in(Source(read(file), kind, package, main, resolves), file)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            # Neither is one for this interpreter: templates of sources, sources for another version.
            pass

    def name_of(self, file):
        for root in self.roots:
            if below(file, root):
                parts = file[len(root.rstrip("/")) + 1 : -3].split("/")
                if all(os.path.isfile("/".join([root] + parts[:n] + ["__init__.py"])) for n in range(1, len(parts))):
                    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        return ""

    def plugins(self):
        """Entry points of the groups that somebody asks for by a literal name, once."""
        groups, self.groups = self.groups, set()
        if not groups:
            return False
        for file in self.dist_files("entry_points.txt"):
            group = None
            for line in read(file).splitlines():
                line = line.strip()
                if line.startswith("["):
                    group = line.strip("[]").strip()
                elif group in groups and "=" in line:
                    self.reach(line.partition("=")[2].partition(":")[0].strip().partition(" ")[0], True)
        return bool(self.queue)

    def parts(self):
        """What the packages that are reached have under the names that somebody makes of a package's."""
        for package in sorted(self.reached):
            spec = self.spec(package)
            if spec.submodule_search_locations is None:
                continue
            for part, start in sorted(self.families, key=str):
                if (package, part, start) in self.asked:
                    continue
                self.asked.add((package, part, start))
                name = package + "." + part
                if self.spec(name) is not None and self.reach(name, False) and start is not None:
                    self.any_of(name, start)
        return bool(self.queue)

    def dist_files(self, name):
        for directory in self.path:
            try:
                entries = sorted(os.listdir(directory))
            except OSError:
                continue
            for entry in entries:
                file = os.path.join(directory, entry, name)
                if entry.endswith((".dist-info", ".egg-info")) and os.path.isfile(file):
                    yield file

    # What is left to do.

    def is_used(self, spec):
        if spec.origin in (None, "built-in", "frozen"):
            return True
        files = {spec.origin, os.path.realpath(spec.origin)}
        if spec.cached:
            files.add(spec.cached)
        return not files.isdisjoint(self.used)

    def report(self, out):
        def line(**fields):
            out.write(json.dumps(fields) + "\n")

        for entry in self.path:
            line(do="path", name=entry)
        for name in sorted(self.reached):
            spec = self.spec(name)
            if self.is_used(spec):
                continue
            # Its file, too: nobody knows whether there will be time to import it, and whether that goes well without arguments.
            if spec.has_location and not _imp.is_frozen(name):
                line(do="file", name=spec.origin)
            if name not in self.members:
                line(do="module", name=name)
        if self.metadata:
            for name in ("METADATA", "PKG-INFO", "entry_points.txt"):
                for file in self.dist_files(name):
                    line(do="file", name=file)
        if self.notes:
            shown = ", ".join(self.notes[:3]) + (" and %d more" % (len(self.notes) - 3) if len(self.notes) > 3 else "")
            line(note="names of modules are made at run time (%s): only a probe can reach those" % shown)


def is_text(file):
    return bool(file) and file.endswith(".py") and os.path.isfile(file)


def is_source(file):
    if file.endswith(".py"):
        return True
    if "." in os.path.basename(file):
        return False
    try:
        with open(file, "rb") as script:
            head = script.readline(256)
    except OSError:
        return False
    return head.startswith(b"#!") and b"python" in head


def read(file):
    with open(file, "rb") as source:
        data = source.read(MAX_SOURCE + 1)
    if len(data) > MAX_SOURCE:
        raise ValueError("too long")
    encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    return data.decode(encoding)


def main():
    request = json.load(sys.stdin)
    sys.setrecursionlimit(10000)
    scan = Scan(request)
    scan.run()
    scan.report(sys.stdout)


main()
