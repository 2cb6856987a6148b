"""Many child processes in one loop, each in a session of its own: exits, timeouts, silence."""

import heapq
import math
import os
import resource
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from taskrunner.model.record import field, mutable
from taskrunner.model.values import Command, Outcome
from taskrunner.processes.alive import descriptor, group_lives, signal_group, terminate
from taskrunner.processes.programs import NOT_EXECUTABLE, NOT_FOUND
from taskrunner.processes.spawn import not_started, spawn

SLOW = 1.0  # seconds between two looks at outputs that hardly grow
FAST = 0.05  # the same while they grow
RARELY = (
    20  # times as long as a look has taken, until the next one: there may be thousands of outputs
)
FLOOD = 1_000_000  # bytes between two looks, above which the next one comes sooner
POLL = 0.05  # seconds between two polls where there is no event: no pidfd, or a group without its leader
GIVE_UP = 1.0  # seconds after KILL; a group that still has members then hangs in the kernel
FOREVER = 3600.0  # seconds; a loop without deadlines wakes up this often
OWN_FILES = 64  # descriptors we may need ourselves, and to start a child
NOTHING = 0, 0  # `written` of an output that was not looked at yet


@mutable
class Child:
    """One running command; `deadline` and `kill_at` are monotonic seconds, or None."""

    key: int
    pid: int  # of its process, session and process group
    pidfd: int | None
    own_memory: int
    deadline: float | None
    max_silence: float | None  # seconds
    kill_after: float  # seconds
    output: int  # its open file
    heard: float  # when it was last seen to have written, monotonic
    written: tuple[int, int] = NOTHING  # size of the output and time of its last change, then
    kill_at: float | None = None
    timed_out: bool = False
    silent: bool = False
    outcome: Outcome | None = None  # the leader has ended; others of its group are being stopped


@mutable
class Children:
    """The running commands, and the one loop that waits for all of them.

    `on_timeout` is called with the key of a child before it is stopped at its timeout, `on_silence` before it
    is stopped for writing nothing for too long, `on_output` when it has written, `on_look` about each second while
    any runs; `stopped_elsewhere` tells whether another process stops it: then the rest of its group must end too.
    With `nothing_stays` we end that rest ourselves. `prepare` is called in each child (see `spawn`).
    """

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    on_timeout: Callable[[int], None] = lambda _: None
    on_silence: Callable[[int], None] = lambda _: None
    on_output: Callable[[int], None] = lambda _: None
    on_look: Callable[[], None] = lambda: None
    stopped_elsewhere: Callable[[int], bool] = lambda _: False
    nothing_stays: bool = False
    prepare: Callable[[], None] | None = None
    running: dict[int, Child] = field(default_factory=dict)
    _polled: dict[int, Child] = field(default_factory=dict)  # without a pidfd or their leader
    _done: list[tuple[int, Outcome]] = field(default_factory=list)
    _timers: list[tuple[float, int]] = field(default_factory=list)
    _pace: float = SLOW
    _look_at: float = math.inf  # monotonic
    _rest_until: float = 0.0  # monotonic; the outputs are not looked at before

    def start(self, key: int, command: Command, output: int) -> Child | Outcome:
        """Start a command with its output going to a descriptor, to be left open until it has ended.

        Returns an Outcome when it cannot be started.
        """
        try:
            pid = spawn(command, output, self.prepare)
        except Exception as exc:  # noqa: BLE001  whatever is wrong with one command, the others have to start
            return not_started(command, exc)
        now = time.monotonic()
        deadline = None if command.timeout is None else now + command.timeout
        # Keep only the needed fields of the command: its input may be a megabyte.
        child = self.running[key] = Child(
            *(key, pid, descriptor(pid), _own_memory(), deadline),
            *(command.max_silence, command.kill_after, output, now),
        )
        self._watch(child)
        self._set_timer(deadline, key)
        self._pace = FAST
        self._look_at = min(self._look_at, now + FAST)
        return child

    def _watch(self, child: Child) -> None:
        """Register a child with the selector; it is polled where the kernel has no pidfd."""
        if child.pidfd is not None:
            try:
                self.selector.register(child.pidfd, selectors.EVENT_READ, child)
                return
            except OSError:  # the kernel refuses another one
                os.close(child.pidfd)
                child.pidfd = None
        self._polled[child.key] = child

    def stop(self, key: int) -> None:
        """Send TERM to the group of a child; KILL follows after the command's `kill_after`."""
        child = self.running[key]
        if child.kill_at is None and child.outcome is None:
            child.kill_at = time.monotonic() + child.kill_after
            self._set_timer(child.kill_at, key)
            terminate(child.pid)

    def kill(self, key: int) -> None:
        """Send KILL to the group of a child."""
        signal_group(self.running[key].pid, signal.SIGKILL)

    def wait(self, timeout: float | None) -> list[tuple[int, Outcome]]:
        """Wait up to `timeout` seconds for an event and return the ended children: keys and outcomes.

        Returns early, with nothing, when a signal or a timer came.
        """
        self._listen(time.monotonic() + (FOREVER if timeout is None else timeout))
        self._obey_timers()
        return self.ended()

    def ended(self) -> list[tuple[int, Outcome]]:
        """Return the ended children, without waiting: keys and outcomes."""
        for child in [child for child in self._polled.values() if child.outcome is None]:
            self._reap(child)
        over = [child for child in self._polled.values() if child.outcome and _over(child)]
        for child in over:
            self._gone(child)
        found, self._done = self._done, []
        return found

    def _gone(self, child: Child) -> None:
        assert child.outcome is not None
        self._done.append((child.key, child.outcome))
        self._polled.pop(child.key, None)
        del self.running[child.key]

    def _listen(self, end: float) -> None:
        """Wait until a child has ended, a timer is due, a signal has come or `end` is reached.

        The outputs are looked at meanwhile.
        """
        while True:
            until = 0.0 if self._done else self._patience(end)
            found = self.selector.select(max(0.0, min(until, self._look_at) - time.monotonic()))
            now = time.monotonic()
            if now >= self._look_at:
                self._look_at = self._rest_until
            if now >= self._look_at:
                self._look(now)
            for key, _ in found:
                if key.data is None:
                    os.read(key.fd, 512)  # the pipe that wakes us on a signal
                else:
                    self._reap(key.data)
            if found or now >= until:
                return

    def _look(self, now: float) -> None:
        """Find the children that have written, and stop those that were silent for too long."""
        most = max((self._growth(child, now) for child in self.running.values()), default=0)
        for child in self.running.values():
            patience = child.max_silence
            if patience is not None and now - child.heard >= patience and child.kill_at is None:
                child.timed_out = child.silent = True
                self.on_silence(child.key)
                self.stop(child.key)
        self.on_look()
        self._pace = FAST if most > FLOOD else min(SLOW, 2 * self._pace)
        self._rest_until = now + RARELY * (time.monotonic() - now)
        self._look_at = max(now + self._pace, self._rest_until) if self.running else math.inf

    def _growth(self, child: Child, now: float) -> int:
        """Return how many bytes a child has written since the last look."""
        before, found = child.written, os.fstat(child.output)
        # The time of the last change counts too: a command may overwrite its file with the same number of bytes.
        if before == (found.st_size, found.st_mtime_ns):
            return 0
        self.on_output(child.key)
        # With the size from before, so that the next look sees bytes written meanwhile; the time is read again,
        # as on_output may have changed it.
        child.written = found.st_size, os.fstat(child.output).st_mtime_ns
        child.heard = now
        return found.st_size - before[0]

    def close(self) -> None:
        """Close the selector; running commands go on."""
        self.selector.close()

    def reap_strangers(self) -> None:
        """Reap orphans that became our children, never a command of ours: only for process 1."""
        own = {child.pid for child in self.running.values() if child.outcome is None}
        with suppress(ChildProcessError):  # there are no children at all
            # Looked at first (WNOWAIT), as a wait for any child might reap a command of ours.
            while (
                found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            ) is not None:
                if found.si_pid in own:
                    return  # it is reaped by its own wait first; the orphans behind it come after that
                os.waitpid(found.si_pid, 0)

    def _end_the_rest(self, child: Child) -> None:
        """End the rest of the group of a child as if we had stopped it, if nothing may stay or another process stops it."""
        if self.nothing_stays:
            terminate(child.pid)
        if self.nothing_stays or self.stopped_elsewhere(child.key):
            child.kill_at = time.monotonic() + child.kill_after
            self._set_timer(child.kill_at, child.key)

    def _patience(self, end: float) -> float:
        """Return the monotonic time of the next deadline, at most `end`."""
        if self._polled:
            end = min(end, time.monotonic() + POLL)
        return min(end, self._timers[0][0]) if self._timers else end

    def _set_timer(self, when: float | None, key: int) -> None:
        if when is not None:
            heapq.heappush(self._timers, (when, key))

    def _obey_timers(self) -> None:
        """Stop children at their timeout, and kill those that ignored TERM."""
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
        """Reap a child if it has ended; only ever this child (wait4(2))."""
        try:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        except ChildProcessError:  # another part of this program reaped it
            child.outcome = Outcome(error="another part of this program collected its exit status")
        else:
            if pid == 0:
                return
            child.outcome = _outcome(child, os.waitstatus_to_exitcode(status), usage)
            if child.kill_at is None and signal_group(child.pid, 0):
                self._end_the_rest(child)
        if child.pidfd is not None:
            self.selector.unregister(
                child.pidfd
            )  # a copy of the descriptor in a new process would keep it registered
            os.close(child.pidfd)
            child.pidfd = None
        if _over(child):
            self._gone(child)
        else:
            self._polled[child.key] = child


def room() -> int:
    """Return how many children the limit on open files allows; each needs two, and we need some ourselves."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 100_000 if soft == resource.RLIM_INFINITY else max(1, (soft - OWN_FILES) // 2)


def _over(child: Child) -> bool:
    """Return whether a child is finished: a stopped command is when its whole group has ended."""
    if child.kill_at is None:
        return True
    if time.monotonic() >= child.kill_at + GIVE_UP:
        return True
    # The number stays reserved for the group while it has members, so this cannot be somebody else's.
    return not group_lives(child.pid)


def _outcome(child: Child, code: int, usage: resource.struct_rusage) -> Outcome:
    # A new process starts as a copy of ours, which the kernel counts: a figure that is not above our
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


def _own_memory() -> int:
    """Return our own peak memory, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
    except ValueError:  # the real-time signals have no names
        return f"signal {number}"
