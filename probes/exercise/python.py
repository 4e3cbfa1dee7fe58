# Imports modules, each in a process of its own, so that what they load is seen and none spoils another.
#
# Reads lines of two fields, separated by a tab: `path` an entry of sys.path, `module` a module to import, `file` a file to
# read. Writes one JSON object per line: {"item": "module x", "ok": true} or {"item": ..., "ok": false, "error": "..."}.
# Uses nothing but what is built into the interpreter: what this script itself loads would count as used.
#
# What is too long is told by the processor, not by the clock: a busy machine must not make another set of modules.
import posix
import sys
import time
import _signal

LIMIT = 5  # seconds of the processor for one import; also how long it may do nothing at all
PATIENCE = 60  # seconds for one import, however little it gets of the processor
TOTAL = 300  # seconds of the processor after which none is begun
PROGRESS = 0.01  # seconds of the processor that are more than nothing
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


def report(item, error=None, late=False, untried=False):
    end = "true" if error is None else 'false, "error": ' + quote(error)
    if late:
        end += ', "late": true'
    if untried:
        end += ', "untried": true'
    posix.write(REPORT, ('{"item": %s, "ok": %s}\n' % (quote(item), end)).encode())


def spent(pid):
    """The processor time of a process (`CPUCLOCK_SCHED` of linux/posix-timers.h); None where no such clock is shown, or
    no longer, because it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        return None


class Watch:
    """Looks every few seconds whether a process gets on, and ends it when it does not."""

    def __init__(self, pid):
        self.pid = pid
        self.before = spent(pid)
        self.looks = 0

    def look(self, *_):
        self.looks += 1
        now = spent(self.pid)
        # Without a clock nobody knows whether it gets on: then it has its time and no more.
        idle = now is not None and self.before is not None and now - self.before < PROGRESS
        self.before = now
        if idle or self.looks * LIMIT >= PATIENCE:
            try:
                # What handles the one is told the other next time.
                posix.kill(self.pid, _signal.SIGALRM if self.looks * LIMIT <= PATIENCE else _signal.SIGKILL)
            except OSError:
                pass  # It has just ended.


def wait(pid):
    """Waits for a child that imports, and returns its status."""
    watch = Watch(pid)
    _signal.signal(_signal.SIGALRM, watch.look)
    _signal.setitimer(_signal.ITIMER_REAL, LIMIT, LIMIT)
    status = posix.waitpid(pid, 0)[1]
    _signal.setitimer(_signal.ITIMER_REAL, 0)
    return status


def guard():
    """Starts a process that watches this one; returns its id."""
    watched = posix.getpid()
    pid = posix.fork()
    if pid == 0:
        watch = Watch(watched)
        while posix.getppid() == watched:
            time.sleep(LIMIT)
            watch.look()
        posix._exit(0)
    return pid


def unguard(pid):
    try:
        posix.kill(pid, _signal.SIGKILL)
        posix.waitpid(pid, 0)
    except OSError:
        pass  # The module has waited for all children of this process.


def attempt(name):
    """Imports a module within its time of the processor; returns what is wrong, or None."""
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    _signal.signal(_signal.SIGPROF, _signal.SIG_DFL)
    _signal.setitimer(_signal.ITIMER_PROF, LIMIT)
    try:
        __import__(name)
        return None
    except BaseException as error:
        return "%s: %s" % (type(error).__name__, error)
    finally:
        _signal.setitimer(_signal.ITIMER_PROF, 0)


def ended(status, names):
    """Reports modules whose process was killed; True when it was."""
    if not posix.WIFSIGNALED(status):
        return False
    signal = posix.WTERMSIG(status)
    late = signal in (_signal.SIGALRM, _signal.SIGPROF)
    error = "it did not end within %d s" % LIMIT if late else "it was killed by signal %d" % signal
    for name in names:
        report("module " + name, error, late)
    return True


def alone(name):
    pid = posix.fork()
    if pid == 0:
        report("module " + name, attempt(name))
        posix._exit(0)
    ended(wait(pid), [name])


def family(names, budget):
    """A package and the modules in it, which begin where the package has been imported already."""
    top = names[0].partition(".")[0]
    if budget <= 0:
        untried(names)
        return
    guarding = guard()
    error = attempt(top)
    unguard(guarding)
    if names[0] == top:
        report("module " + names.pop(0), error)
    while names:
        if sum(posix.times()[:4]) > budget:
            untried(names)
            return
        name = names.pop(0)
        if name in sys.modules:
            report("module " + name)
        else:
            alone(name)


def untried(names):
    for name in names:
        report("module " + name, "there was no time left", late=True, untried=True)


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
    running = {}

    def wait_for_one():
        pid, status = posix.wait()
        # A module may have left a process behind, which is nobody's here.
        ended(status, running.pop(pid, []))

    for top in sorted(families):
        while len(running) == PARALLEL:
            wait_for_one()
        pid = posix.fork()
        if pid == 0:
            family(families[top], TOTAL - sum(posix.times()[2:4]))
            posix._exit(0)
        running[pid] = families[top]
    while running:
        wait_for_one()


main()
