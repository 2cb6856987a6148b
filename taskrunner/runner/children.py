"""Many child processes in one loop, each in a session of its own: their ends, their time, their silence."""

import heapq
import math
import os
import resource
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from taskrunner.model import Command, Outcome
from taskrunner.record import field, like, mutable, record
from taskrunner.runner import quick
from taskrunner.runner.processes import group_lives, signal_group, terminate
from taskrunner.runner.programs import NOT_EXECUTABLE, NOT_FOUND
from taskrunner.runner.spawn import not_started, quickly, spawn

SLOW = 0.5  # seconds between two looks at outputs that hardly grow
FAST = 0.05  # at those that do
FLOOD = 1_000_000  # bytes between two looks, above which the next one comes sooner
POLL = 0.05  # seconds between two looks where nothing tells us: no pidfd, or a group without its leader
GIVE_UP = 1.0  # seconds after KILL; what is left of a group then hangs in the kernel
RING = 100  # milliseconds; the bell of the starter rings long before
FOREVER = 3600.0  # a loop without deadlines looks up now and then all the same
OWN_FILES = 64  # descriptors we may need ourselves, and to start a child


@mutable
class Child:
    """One running command; `deadline` and `kill_at` are monotonic seconds, None when there is none."""

    key: int
    pid: int  # of its process, session and process group
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


@record
class Asked:
    """A command that is being started, and its output: its file, with its size and time of change before that."""

    command: Command
    output: int
    written: tuple[int, int]


@mutable
class Children:
    """The commands that run now, and the one place that waits for all of them.

    `on_start` is called with a child that was started beside us, `on_timeout` with the key of a child before it is
    stopped because its time is up, `on_silence` before it is because it wrote nothing for too long, `on_output` when
    it has written; `stopped_elsewhere` tells whether somebody else is stopping it, so that the rest of its group has
    to go.
    """

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    on_start: Callable[[Child], None] = lambda _: None
    on_timeout: Callable[[int], None] = lambda _: None
    on_silence: Callable[[int], None] = lambda _: None
    on_output: Callable[[int], None] = lambda _: None
    stopped_elsewhere: Callable[[int], bool] = lambda _: False
    running: dict[int, Child] = field(default_factory=dict)
    starting: dict[int, Asked] = field(default_factory=dict)
    _starter: quick.Starter | None = None
    _umask: int | None = field(default_factory=quick.own_umask)
    _failed: list[tuple[int, Outcome]] = field(default_factory=list)
    _timers: list[tuple[float, int]] = field(default_factory=list)
    _pace: float = SLOW
    _look_at: float = math.inf  # monotonic

    def start(self, key: int, command: Command, output: int) -> Child | Outcome:
        """Start a command with its output going to a descriptor, to be left open until it has ended.

        Returns an Outcome when it cannot be started.
        """
        asked = Asked(command, output, _written(output))
        try:
            pid = spawn(command, output)
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as exc:
            return not_started(command, exc)
        return self._watch(key, pid, asked)

    def start_beside(self, key: int, command: Command, output: int) -> None:
        """Start a command while the caller goes on: `on_start` tells when it runs, `wait` when it could not.

        Where that cannot be done it has been started, or not, when this returns.
        """
        self.starting[key] = Asked(command, output, _written(output))
        wanted = quickly(command, self._umask, output)
        starter = None if wanted is None else self._have_starter()
        if wanted is None or starter is None:
            self._begun(key, None)
        else:
            starter.ask(key, wanted)

    def _have_starter(self) -> quick.Starter | None:
        """Return what starts processes beside us; None where the machine has no thread or descriptor left for it."""
        if self._starter is None:
            with suppress(OSError, RuntimeError):
                self._starter = quick.Starter()
                self.selector.register(self._starter.bell, selectors.EVENT_READ)
        return self._starter

    def settle(self) -> None:
        """Wait until what is being started runs."""
        if self._starter is not None:
            ring = select.poll()  # select(2) knows no descriptors above 1023
            ring.register(self._starter.bell, select.POLLIN)
            while self.starting:
                ring.poll(RING)
                self._take_started()

    def _take_started(self) -> None:
        if self._starter is None:
            return
        with suppress(BlockingIOError):  # it has not rung
            os.eventfd_read(self._starter.bell)
        while self._starter.started:
            self._begun(*self._starter.started.popleft())

    def _begun(self, key: int, pid: int | None) -> None:
        """Go on with what the starter has done: without a process id it is tried in the way that tells why not."""
        asked = self.starting.pop(key)
        if pid is None:
            child = self.start(key, asked.command, asked.output)
        else:
            child = self._watch(key, pid, asked)
        if isinstance(child, Outcome):
            self._failed.append((key, child))
        else:
            self.on_start(child)

    def _watch(self, key: int, pid: int, asked: Asked) -> Child:
        pidfd, now = _pidfd(pid), time.monotonic()
        own_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        deadline = None if asked.command.timeout is None else now + asked.command.timeout
        # What it was given, an input of a megabyte perhaps, is not kept for as long as it runs.
        rest = like(asked.command, argv=(), env={}, stdin=None)
        child = Child(key, pid, rest, pidfd, own_memory, deadline, asked.output, now, asked.written)
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
            terminate(child.pid)

    def kill(self, key: int) -> None:
        """Send KILL to the group of a child."""
        signal_group(self.running[key].pid, signal.SIGKILL)

    def wait(self, timeout: float | None) -> list[tuple[int, Outcome]]:
        """Wait up to `timeout` seconds for something to happen and return what has ended: keys and outcomes.

        Returns early, with nothing, when a signal or a timer came.
        """
        for key in self._listen(time.monotonic() + (FOREVER if timeout is None else timeout)):
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
        failed, self._failed = self._failed, []
        return failed + [(child.key, child.outcome) for child in ended if child.outcome]

    def _listen(self, end: float) -> list[selectors.SelectorKey]:
        """Wait until something is ready, a timer is due or `end` has come.

        Meanwhile the outputs are looked at, and those that have been started are taken.
        """
        while True:
            until = 0.0 if self._failed else self._patience(end)
            found = self.selector.select(max(0.0, min(until, self._look_at) - time.monotonic()))
            self._take_started()
            now = time.monotonic()
            if now >= self._look_at:
                self._look(now)
            bell = None if self._starter is None else self._starter.bell
            ready = [key for key, _ in found if key.fd != bell]
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

    def close(self) -> None:
        """Let go of what waiting takes; what still runs goes on."""
        self.settle()
        if self._starter is not None:
            self.selector.unregister(self._starter.bell)
            self._starter.close()
            self._starter = None
        self.selector.close()

    def reap_strangers(self) -> None:
        """Take the ends of processes that were left to us, never that of a child of ours: only for process 1."""
        self.settle()
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
            child.outcome = Outcome(error="its end was taken by another part of this program")
        else:
            if pid == 0:
                return
            child.outcome = _outcome(child, os.waitstatus_to_exitcode(status), usage)
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


def _outcome(child: Child, code: int, usage: resource.struct_rusage) -> Outcome:
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


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # before Linux 5.3, elsewhere, or no descriptors left
        return None
