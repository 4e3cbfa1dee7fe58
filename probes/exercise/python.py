# Imports modules, each in a process of its own, so that what they load is seen and none spoils another.
#
# Reads lines of two fields, separated by a tab: `path` an entry of sys.path, `module` a module to import, `file` a file to
# read. Writes one JSON object per line: {"item": "module x", "ok": true} or {"item": ..., "ok": false, "error": "..."}.
# Uses nothing but what is built into the interpreter: what this script itself loads would count as used.
import posix
import sys
import time
import _signal

LIMIT = 5  # seconds for one import
TOTAL = 60  # seconds after which none is begun
PARALLEL = 2

sys.dont_write_bytecode = True
REPORT = posix.dup(1)
posix.dup2(2, 1)


def quote(text):
    out = ""
    for c in text[:300]:
        if c in '"\\':
            out += "\\" + c
        elif " " <= c <= "~":
            out += c
        else:
            out += "\\u%04x" % min(ord(c), 0xFFFD)
    return '"' + out + '"'


def report(item, error=None, late=False):
    end = "true" if error is None else 'false, "error": ' + quote(error)
    if late:
        end += ', "late": true'
    posix.write(REPORT, ('{"item": %s, "ok": %s}\n' % (quote(item), end)).encode())


def attempt(name):
    """Imports a module within the limit; returns what is wrong, or None."""
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    _signal.alarm(LIMIT)
    try:
        __import__(name)
        return None
    except BaseException as error:
        return "%s: %s" % (type(error).__name__, error)
    finally:
        _signal.alarm(0)


def ended(status, names):
    """Reports modules whose process was killed; True when it was."""
    if not posix.WIFSIGNALED(status):
        return False
    signal = posix.WTERMSIG(status)
    late = signal == _signal.SIGALRM
    error = "it did not end within %d s" % LIMIT if late else "it was killed by signal %d" % signal
    for name in names:
        report("module " + name, error, late)
    return True


def alone(name):
    pid = posix.fork()
    if pid == 0:
        report("module " + name, attempt(name))
        posix._exit(0)
    ended(posix.waitpid(pid, 0)[1], [name])


def family(names, deadline):
    """A package and the modules in it, which begin where the package has been imported already."""
    top = names[0].partition(".")[0]
    if time.time() > deadline:
        for name in names:
            report("module " + name, "there was no time left", late=True)
        return
    error = attempt(top)
    if names[0] == top:
        report("module " + names.pop(0), error)
    for name in names:
        if name in sys.modules:
            report("module " + name)
        elif time.time() > deadline:
            report("module " + name, "there was no time left", late=True)
        else:
            alone(name)


def main():
    data = b""
    while True:
        more = posix.read(0, 65536)
        if not more:
            break
        data += more
    paths, families, files = [], {}, []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        kind, _, name = line.partition("\t")
        if kind == "path":
            paths.append(name)
        elif kind == "module":
            families.setdefault(name.partition(".")[0], []).append(name)
        elif kind == "file":
            files.append(name)
    sys.path[:] = paths
    for file in files:
        try:
            posix.close(posix.open(file, posix.O_RDONLY))
            report("file " + file)
        except OSError as error:
            report("file " + file, str(error))
    deadline = time.time() + TOTAL
    running = {}
    for top in sorted(families) + [None] * PARALLEL:
        if len(running) == PARALLEL or (top is None and running):
            pid, status = posix.wait()
            # A module may have left a process behind, which is nobody's here.
            ended(status, running.pop(pid, []))
        if top is not None:
            pid = posix.fork()
            if pid == 0:
                family(families[top], deadline)
                posix._exit(0)
            running[pid] = families[top]


main()
