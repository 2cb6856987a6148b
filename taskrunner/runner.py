"""Commands to outcomes: many child processes in one loop, each in a session of its own.

The only user of `subprocess` and of kill(2). A failing command is a value; only our own faults raise. It must
not know what a task, a slot or a store is: its caller gives each child a key and an open file for the output.
"""

import heapq
import math
import os
import pwd
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from types import FrameType
from typing import IO, Any

from taskrunner import clock
from taskrunner.model import Command, Outcome

NOT_FOUND = 127  # what sh(1) and env(1) give for a program that does not exist
NOT_EXECUTABLE = 126  # and for one that cannot be executed
SLOW = 0.5  # seconds between two looks at outputs that hardly grow
FAST = 0.05  # at those that do
FLOOD = 1_000_000  # bytes between two looks, above which the next one comes sooner
POLL = 0.05  # seconds between two looks where nothing tells us: no pidfd, or a group without its leader
GIVE_UP = 1.0  # seconds after KILL; what is left of a group then hangs in the kernel
FOREVER = 3600.0  # a loop without deadlines looks up now and then all the same
OWN_FILES = 64  # descriptors we may need ourselves, and to start a child
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# Our words for limits: the option of prlimit(1), and the resource of setrlimit(2).
LIMITS = {
    "memory": ("as", resource.RLIMIT_AS),
    "cpu": ("cpu", resource.RLIMIT_CPU),
    "files": ("nofile", resource.RLIMIT_NOFILE),
    "processes": ("nproc", resource.RLIMIT_NPROC),
}
TOOLS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(eq=False)
class Child:
    """One running command; `deadline` and `kill_at` are monotonic seconds, None when there is none."""

    key: int
    process: subprocess.Popen[bytes]
    command: Command
    pidfd: int | None
    own_memory: int
    deadline: float | None
    output: int  # its open file
    heard: float  # when it was last seen to have written, monotonic
    written: tuple[int, int]  # size of the output and time of its last change, then
    kill_at: float | None = None
    timed_out: bool = False
    silent: bool = False
    outcome: Outcome | None = None  # the leader has ended; others of its group are being stopped

    @property
    def pid(self) -> int:
        """The id of its process, session and process group."""
        return self.process.pid


@dataclass(eq=False)
class Children:
    """The commands that run now, and the one place that waits for all of them.

    `on_timeout` is called with the key of a child before it is stopped because its time is up, `on_silence`
    before it is because it wrote nothing for too long, `on_output` when it has written; `stopped_elsewhere` tells
    whether somebody else is stopping it, so that the rest of its group has to go.
    """

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    on_timeout: Callable[[int], None] = lambda _: None
    on_silence: Callable[[int], None] = lambda _: None
    on_output: Callable[[int], None] = lambda _: None
    stopped_elsewhere: Callable[[int], bool] = lambda _: False
    running: dict[int, Child] = field(default_factory=dict)
    _timers: list[tuple[float, int]] = field(default_factory=list)
    _pace: float = SLOW
    _look_at: float = math.inf  # monotonic

    def start(self, key: int, command: Command, output: int) -> Child | Outcome:
        """Start a command with its output going to a descriptor, to be left open until it has ended.

        Returns an Outcome when it cannot be started.
        """
        written = _written(output)
        try:
            with _opened_again(output) as own:
                process = _spawn(command, own)
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as exc:
            return _not_started(command, exc)
        pidfd = _pidfd(process.pid)
        own_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        now = time.monotonic()
        deadline = None if command.timeout is None else now + command.timeout
        child = Child(key, process, command, pidfd, own_memory, deadline, output, now, written)
        self.running[key] = child
        if pidfd is not None:
            self.selector.register(pidfd, selectors.EVENT_READ, child)
        self._set_timer(deadline, key)
        self._pace = FAST
        self._look_at = min(self._look_at, now + FAST)
        return child

    def stop(self, key: int) -> None:
        """Send TERM to the group of a child; KILL follows after the command's `kill_after`."""
        child = self.running[key]
        if child.kill_at is None and child.outcome is None:
            child.kill_at = time.monotonic() + child.command.kill_after
            self._set_timer(child.kill_at, key)
            signal_group(child.pid, signal.SIGTERM)

    def kill(self, key: int) -> None:
        """Send KILL to the group of a child."""
        signal_group(self.running[key].pid, signal.SIGKILL)

    def wait(self, timeout: float | None) -> list[tuple[Child, Outcome]]:
        """Wait up to `timeout` seconds for something to happen and return the children that have ended.

        Returns early, with nothing, when a signal or a timer came.
        """
        for key, _ in self._listen(time.monotonic() + (FOREVER if timeout is None else timeout)):
            if isinstance(key.data, Child):
                self._reap(key.data)
            else:
                os.read(key.fd, 512)  # the pipe that wakes us on a signal
        for child in [child for child in self.running.values() if child.pidfd is None]:
            self._reap(child)
        self._obey_timers()
        ended = [child for child in self.running.values() if child.outcome and _over(child)]
        for child in ended:
            del self.running[child.key]
        return [(child, child.outcome) for child in ended if child.outcome]

    def _listen(self, end: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something is ready, a timer is due or `end` has come, with a look at the outputs meanwhile."""
        while True:
            until = self._patience(end)
            ready = self.selector.select(max(0.0, min(until, self._look_at) - time.monotonic()))
            now = time.monotonic()
            if now >= self._look_at:
                self._look(now)
            if ready or now >= until:
                return ready

    def _look(self, now: float) -> None:
        """See who has written, and stop who has not for too long."""
        most = max((self._growth(child, now) for child in self.running.values()), default=0)
        for child in self.running.values():
            patience = child.command.max_silence
            if patience is not None and now - child.heard >= patience and child.kill_at is None:
                child.timed_out = child.silent = True
                self.on_silence(child.key)
                self.stop(child.key)
        self._pace = FAST if most > FLOOD else min(SLOW, 2 * self._pace)
        self._look_at = now + self._pace if self.running else math.inf

    def _growth(self, child: Child, now: float) -> int:
        """Return how many bytes a child has written since the last look."""
        before, found = child.written, os.fstat(child.output)
        # The time of the last change is only compared: a command may write the same number of bytes anew.
        if before == (found.st_size, found.st_mtime_ns):
            return 0
        self.on_output(child.key)
        # Of the size from before, so that the next look sees what was written meanwhile; what on_output did
        # to the file has changed the time.
        child.written = found.st_size, os.fstat(child.output).st_mtime_ns
        child.heard = now
        return found.st_size - before[0]

    def reap_strangers(self) -> None:
        """Take the ends of processes that were left to us, never that of a child of ours: only for process 1."""
        own = {child.pid for child in self.running.values() if child.outcome is None}
        with suppress(ChildProcessError):  # there are none at all
            # Looked at first, as a wait for anybody might take the end of a child of ours.
            while (
                found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ) is not None:
                if found.si_pid in own:
                    return  # its own wait comes first; what is behind it is taken after that
                os.waitpid(found.si_pid, 0)

    def _end_the_rest(self, child: Child) -> None:
        """Let the group of a child that somebody else is stopping end as if we had stopped it."""
        if self.stopped_elsewhere(child.key):
            child.kill_at = time.monotonic() + child.command.kill_after
            self._set_timer(child.kill_at, child.key)

    def _patience(self, end: float) -> float:
        """Return when there is something to do at the latest, monotonic."""
        if any(child.pidfd is None for child in self.running.values()):
            end = min(end, time.monotonic() + POLL)
        return min(end, self._timers[0][0]) if self._timers else end

    def _set_timer(self, when: float | None, key: int) -> None:
        if when is not None:
            heapq.heappush(self._timers, (when, key))

    def _obey_timers(self) -> None:
        """Stop what has run for too long, kill what has been stopped for too long."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            child = self.running.get(heapq.heappop(self._timers)[1])
            if child is None:
                continue
            if child.kill_at is None and child.deadline is not None and child.deadline <= now:
                child.timed_out = True
                self.on_timeout(child.key)
                self.stop(child.key)
            elif child.kill_at is not None and child.kill_at <= now:
                signal_group(child.pid, signal.SIGKILL)

    def _reap(self, child: Child) -> None:
        """Take the end of a child, when it has one; only ever of this child (wait4(2))."""
        if child.outcome is not None:
            return
        try:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else in this program reaped it
            child.process.returncode = 0  # not known; but Popen must not wait for it again
            child.outcome = Outcome(error="its end was taken by another part of this program")
        else:
            if pid == 0:
                return
            child.process.returncode = os.waitstatus_to_exitcode(
                status
            )  # or Popen would wait for it again
            child.outcome = _outcome(child, usage)
            if child.kill_at is None and signal_group(child.pid, 0):
                self._end_the_rest(child)
        if child.pidfd is not None:
            self.selector.unregister(child.pidfd)
            os.close(child.pidfd)
            child.pidfd = None


def room() -> int:
    """Return how many children the limit on open files has room for; each takes two, and some are ours."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 100_000 if soft == resource.RLIM_INFINITY else max(1, (soft - OWN_FILES) // 2)


def _over(child: Child) -> bool:
    """Whether nothing is left to do: a stopped command has ended when the whole of its group has."""
    if child.kill_at is None:
        return True
    if time.monotonic() >= child.kill_at + GIVE_UP:
        return True
    # The number stays reserved for the group while it has members, so this cannot be somebody else's.
    return not group_lives(child.pid)


def _outcome(child: Child, usage: resource.struct_rusage) -> Outcome:
    code = child.process.returncode
    # A new process starts from a copy of ours, and the kernel counts that in: a figure that is not above our
    # own says nothing about the command.
    told = usage.ru_maxrss > child.own_memory
    return Outcome(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        timed_out=child.timed_out,
        silent=child.silent,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory=usage.ru_maxrss * 1024 if told else None,
    )


def _written(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_size, found.st_mtime_ns


def in_words(outcome: Outcome) -> str:
    """Return how a command ended, in words."""
    if outcome.error:
        return outcome.error
    if outcome.signal is not None:
        return f"killed by {_signal_name(outcome.signal)}"
    hint = {NOT_EXECUTABLE: " (cannot be executed)", NOT_FOUND: " (command not found)"}
    return f"exit code {outcome.exit_code}{hint.get(outcome.exit_code or 0, '')}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals have no names of their own
        return f"signal {number}"


def _spawn(command: Command, output: int) -> subprocess.Popen[bytes]:
    argv = (*_niced(command.nice), *_limited(command.limit), *command.argv)
    with _stdin(command.stdin) as stdin:
        # But for another user nothing here may leave CPython's vfork path (no preexec_fn): forking a large
        # parent costs milliseconds.
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=output,
            stderr=output,
            cwd=command.cwd,
            env=command.env,
            umask=command.umask,
            start_new_session=True,  # so that the whole group can be stopped, and a terminal's ^C does not reach it
            **_as_user(command.user),
            **_limits_inside(command.limit),
        )


def _as_user(user: str | None) -> dict[str, Any]:
    """Return the arguments of Popen that make a command run as `user`, with all its groups.

    Not setpriv(1) as a prefix, though that is faster: root would execute it with the task's environment, and
    the loader obeys LD_PRELOAD.
    """
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return {}
    groups = os.getgrouplist(user, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def _niced(nice: int | None) -> tuple[str, ...]:
    return () if nice is None else (_tool("nice") or "nice", "-n", str(nice), "--")


def _limited(limit: Mapping[str, int]) -> tuple[str, ...]:
    """Return prlimit(1) as a prefix; with a user it runs as that user already, and limits may be lowered by all."""
    tool = _tool("prlimit") if limit else None
    if tool is None:
        return ()
    pairs = ((LIMITS[name][0], *_bounds(name, value)) for name, value in limit.items())
    return (tool, *(f"--{option}={soft}:{hard}" for option, soft, hard in pairs), "--")


def _bounds(name: str, value: int) -> tuple[int, int]:
    """Return the soft and the hard limit; past the soft one of CPU time a second is left to end by SIGXCPU."""
    return value, value + (name == "cpu")


def _limits_inside(limit: Mapping[str, int]) -> dict[str, Any]:
    """Return the arguments of Popen that set limits where there is no prlimit(1), which is slower."""
    if not limit or _tool("prlimit") is not None:
        return {}

    def set_them() -> None:
        for name, value in limit.items():
            resource.setrlimit(LIMITS[name][1], _bounds(name, value))

    return {"preexec_fn": set_them}


@lru_cache(maxsize=8)
def _tool(name: str) -> str | None:
    places = (os.path.join(folder, name) for folder in TOOLS)
    return next((place for place in places if os.access(place, os.X_OK)), None)


@dataclass(frozen=True)
class Said:
    """What a program of the system said, and its exit code."""

    code: int
    out: str
    err: str


def tool(name: str, *words: str, stdin: str = "", patience: float = 30.0) -> Said | None:
    """Run a program of the system to its end; None when there is none of that name."""
    places = (os.path.join(folder, name) for folder in (*os.get_exec_path(), *TOOLS))
    place = next((each for each in places if os.path.isfile(each) and os.access(each, os.X_OK)), "")
    if not place:
        return None
    given = stdin.encode(errors="surrogateescape")
    try:
        done = subprocess.run(
            (place, *words), input=given, capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return Said(NOT_EXECUTABLE, "", f"{place} did not end within {patience:g} s")
    except OSError as exc:
        return Said(NOT_EXECUTABLE, "", f"{place}: {exc.strerror}")
    out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return Said(done.returncode, out, err.strip())


def process_named(*names: str) -> bool | None:
    """Return whether a process of one of these names runs; None where those of others are hidden (proc(5))."""
    if not os.access("/proc/1/stat", os.R_OK):
        return None
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
                if file.read().strip() in names:
                    return True
        except OSError:  # gone meanwhile
            continue
    return False


@lru_cache(maxsize=1)
def _null() -> int:
    """Return a descriptor of /dev/null, opened once: Popen would open it for every child."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


@contextmanager
def _opened_again(output: int) -> Iterator[int]:
    """Open the file of a descriptor a second time, for the child alone.

    So the kernel can tell whether somebody else still has the file open (the lease of `lock`): it counts how
    often a file was opened, not who has inherited that.
    """
    try:
        fd = os.open(f"/proc/self/fd/{output}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # no /proc
        yield output
        return
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _stdin(text: str | None) -> Iterator[int | IO[bytes]]:
    if text is None:
        yield _null()
        return
    # A file in memory and not a pipe: nobody has to feed it while the child runs.
    with open(os.memfd_create("stdin", os.MFD_CLOEXEC), "w+b") as file:
        file.write(text.encode())
        file.seek(0)
        yield file


def _not_started(command: Command, exc: Exception) -> Outcome:
    """Say why a command could not be started, with the exit code a shell would give."""
    if isinstance(exc, LookupError):
        return Outcome(error=f"could not start: there is no user {command.user!r}")
    if isinstance(exc, OSError) and exc.filename == command.cwd and command.cwd != command.argv[0]:
        return Outcome(error=f"could not start: the directory {command.cwd!r}: {exc.strerror}")
    if isinstance(exc, FileNotFoundError):
        return Outcome(
            NOT_FOUND,
            error=f"could not start: no program {command.argv[0]!r} on PATH={_path(command)}",
        )
    if isinstance(exc, OSError) and exc.strerror:
        return Outcome(
            NOT_EXECUTABLE, error=f"could not start: {command.argv[0]!r}: {exc.strerror}"
        )
    return Outcome(error=f"could not start: {exc}")


def _path(command: Command) -> str:
    return command.env.get("PATH", "")


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # before Linux 5.3, elsewhere, or no descriptors left
        return None


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False when it is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # some members run as another user; what could be reached was
        return True
    return True


def terminate(group: int) -> None:
    """Ask a process group to end."""
    signal_group(group, signal.SIGTERM)


def kill(group: int) -> None:
    """End a process group."""
    signal_group(group, signal.SIGKILL)


def group_lives(group: int) -> bool:
    """Return whether a process group has members that are no zombies; where nobody reaps they stay for ever."""
    if not signal_group(group, 0):
        return False
    stats = (_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return any(fields[2] == str(group) and fields[0] != "Z" for fields in stats if fields)


def started_ticks(pid: int) -> int | None:
    """Return when a process was started, in clock ticks after boot; None when it is gone or a zombie.

    Field 22 of proc_pid_stat(5): with the boot id it tells a process from a later one with the same number.
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def age(pid: int) -> float:
    """Return for how many seconds a process has lived, by the time since the boot; 0 when it is gone."""
    ticks = started_ticks(pid)
    if ticks is None:
        return 0.0
    return clock.since_boot() / 1000 - ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def pid_namespace() -> int | None:
    """Return the inode of our pid namespace (pid_namespaces(7)); None where there is none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def session_that_has_open(inode: int, device: int) -> int | None:
    """Return the session of a process that has this file open, None when nobody has; looks into /proc."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with os.scandir(f"/proc/{name}/fd") as entries:
                found = any(_writes_to(entry.path, inode, device) for entry in entries)
        except OSError:  # gone meanwhile, or not ours to see
            continue
        fields = _stat(int(name)) if found else None
        if fields is not None and int(name) != os.getpid():
            return int(fields[3])
    return None


def _writes_to(path: str, inode: int, device: int) -> bool:
    """Return whether a /proc/PID/fd/N is this file, open for writing: who only reads it is no child of ours."""
    try:
        found = os.stat(path)
        if (found.st_ino, found.st_dev) != (inode, device):
            return False
        with open(path.replace("/fd/", "/fdinfo/"), encoding="utf-8") as file:
            flags = next(line for line in file if line.startswith("flags:"))
    except (OSError, StopIteration):
        return False
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block of Python that takes longer; in another thread than the main one never.

    Also in the midst of a search with a regular expression, which looks for signals now and then.
    """

    def give_up(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    try:
        before = signal.signal(signal.SIGALRM, give_up)
    except ValueError:  # not the main thread
        yield
        return
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def stop_signals(
    children: Children, hangups: list[int] | None = None, *, first: bool = False
) -> Iterator[list[int]]:
    """Collect TERM, INT, HUP and QUIT for the block instead of dying of them, and wake the children's loop.

    HUP goes to `hangups` where that is given. For the `first` process the end of any child wakes, too. Python
    handles signals in its main thread only; in another thread the list stays empty.
    """
    received: list[int] = []
    aside = received if hangups is None else hangups

    def remember(number: int, _: FrameType | None) -> None:
        (aside if number == signal.SIGHUP else received).append(number)

    try:
        # What nohup(1) or a shell's & has set to be ignored stays ignored.
        heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, remember) for number in heeded}
        # Ignored, as it may come to us, no ends are told.
        heed = _wake if first else signal.SIG_DFL
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, heed)
    except ValueError:  # not the main thread
        yield received
        return
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    children.selector.register(reader, selectors.EVENT_READ)
    try:
        yield received
    finally:
        children.selector.unregister(reader)
        signal.set_wakeup_fd(old)
        for number, previous in before.items():
            signal.signal(number, previous)
        os.close(reader)
        os.close(writer)


def _wake(_: int, __: FrameType | None) -> None:
    """Do nothing: that there is a signal has woken the loop."""


def is_first() -> bool:
    """Return whether we are process 1, to whom the kernel leaves what others leave behind (pid_namespaces(7))."""
    return os.getpid() == 1


def has_terminal() -> bool:
    """Return whether there is a terminal that we belong to, and nobody has hung it up (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def detach(argv: tuple[str, ...], cwd: str) -> None:
    """Start a program that outlives us, silent and in a session of its own; not our child, so nobody's zombie."""
    null = subprocess.DEVNULL
    shell = ("/bin/sh", "-c", '"$@" &', "sh", *argv)
    subprocess.run(
        shell, stdin=null, stdout=null, stderr=null, cwd=cwd, start_new_session=True, check=True
    )
