"""Processes started by posix_spawn(3), which can be called beside the interpreter: while the kernel makes one, we go on.

What it does not do as `spawn` does is left to that: `plan` says no. So is a start that fails, since only there the
reason is found. It takes glibc 2.34; elsewhere everything is left to `spawn`.
"""

import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import NamedTuple

from taskrunner.model.values import Command
from taskrunner.processes.beside import Beside

FLAGS = 0x80 | 0x04  # POSIX_SPAWN_SETSID and POSIX_SPAWN_SETSIGDEF (spawn.h)
OPAQUE = 1024  # bytes, more than the C library takes for one of its types
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # ignored by Python, and not to be by its children

Strings = ctypes.Array[ctypes.c_char_p]  # they end with NULL
LIBC = ctypes.CDLL(None)
AVAILABLE = hasattr(LIBC, "posix_spawn_file_actions_addclosefrom_np")


def encoded(text: str) -> bytes:
    """Return the bytes of a word, a variable or a path for a command: UTF-8, whatever the locale of who starts it."""
    return text.encode("utf-8", "surrogateescape")


class Plan(NamedTuple):
    """A process as posix_spawn(3) takes it."""

    path: bytes
    argv: Strings
    env: Strings
    actions: "Actions"


Wish = tuple[
    int, Plan | None
]  # with its key; without a plan it is only told when it would be its turn


class Started(NamedTuple):
    """The result of a start: the process id, None without one, its pidfd, the monotonic time, and the fault."""

    key: int
    pid: int | None = None
    fd: int | None = None
    at: float = 0.0
    fault: str | None = None


class Actions:
    """The first actions of a new process: open its three files, change the directory, close everything else."""

    def __init__(self, output: int, cwd: str) -> None:
        """Take the descriptor of the output, whose file is opened anew (see `spawn`), and the directory."""
        self.made = ctypes.create_string_buffer(OPAQUE)
        self._destroy = (
            LIBC.posix_spawn_file_actions_destroy
        )  # a module is gone before its last objects
        LIBC.posix_spawn_file_actions_init(self.made)
        for number, place in ((0, os.devnull), (1, f"/proc/self/fd/{output}")):
            flags = os.O_RDWR | (os.O_APPEND if number else 0)
            LIBC.posix_spawn_file_actions_addopen(self.made, number, place.encode(), flags, 0)
        LIBC.posix_spawn_file_actions_adddup2(self.made, 1, 2)
        LIBC.posix_spawn_file_actions_addchdir_np(self.made, encoded(cwd))
        LIBC.posix_spawn_file_actions_addclosefrom_np(self.made, 3)

    def __del__(self) -> None:
        self._destroy(self.made)


actions = lru_cache(maxsize=32)(Actions)


@lru_cache(maxsize=1)
def attributes() -> ctypes.Array[ctypes.c_char]:
    """Return what all our processes have in common: a session of their own, and no signal ignored by us."""
    made, restored = (ctypes.create_string_buffer(OPAQUE) for _ in range(2))
    LIBC.sigemptyset(restored)
    for number in RESTORED:
        LIBC.sigaddset(restored, number)
    LIBC.posix_spawnattr_init(made)
    LIBC.posix_spawnattr_setsigdefault(made, restored)
    LIBC.posix_spawnattr_setflags(made, ctypes.c_short(FLAGS))
    return made


def own_umask() -> int | None:
    """Return our umask, which posix_spawn(3) passes on, without changing it for a moment as umask(2) would."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1], 8) for line in file if line.startswith("Umask:"))
    except (OSError, StopIteration):
        return None


def plan(command: Command, argv: tuple[str, ...], output: int) -> Plan | None:
    """Return how to start a command with its output in the file of a descriptor; None when it cannot be told."""
    words = _strings(argv)
    settings = _strings([f"{name}={value}" for name, value in command.env.items()])
    path = None if words is None else _program(argv[0], command.env.get("PATH", ""))
    if words is None or settings is None or path is None:
        return None
    return Plan(path, words, settings, actions(output, command.cwd))


def _program(name: str, path: str) -> bytes | None:
    """Return the file of a program, which posix_spawnp(3) would look for on our own PATH."""
    if "/" in name:
        return encoded(name)
    places = (encoded(f"{folder}/{name}") for folder in path.split(":") if folder.startswith("/"))
    return next((place for place in places if os.access(place, os.X_OK)), None)


def _strings(texts: Iterable[str]) -> Strings | None:
    """Return texts as an array for C; None when one of them holds a NUL."""
    texts = list(texts)
    found = encoded("\0".join(texts)).split(b"\0")
    if len(found) != len(texts):
        return None
    made = (ctypes.c_char_p * (len(found) + 1))()
    made[:-1] = found  # type: ignore[assignment]  # it takes bytes
    return made


def start(wanted: Plan) -> int | None:
    """Start a process and return its id; None when it could not be."""
    pid = ctypes.c_int()
    made, common = wanted.actions.made, attributes()
    failed = LIBC.posix_spawn(ctypes.byref(pid), wanted.path, made, common, wanted.argv, wanted.env)
    return None if failed else pid.value


class Starter:
    """Starts processes beside us, in turn; `bell` is a descriptor that can be read when one could not be watched."""

    def __init__(self, watch: Callable[[int], int | None]) -> None:
        """Take what lets the end of a process be seen, and returns a descriptor of it."""
        self.started: deque[Started] = deque()
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._watch = watch
        self._waiting: deque[tuple[Sequence[Wish], Callable[[], None]]] = deque()
        try:
            self._first, self._then = Beside("first"), Beside("starter")
        except RuntimeError:  # the machine has room for no other thread
            os.close(self.bell)
            raise

    def ask(self, batch: Sequence[Wish], first: Callable[[], None] | None) -> None:
        """Let processes be started when those before them are, and when `first` has been done since.

        It is done once for all that wait meanwhile.
        """
        if first is None:
            self._start_all(batch)
        else:
            self._waiting.append((batch, first))
            self._first.ask(self._begin)

    def _begin(self) -> None:
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting:  # what was asked for has been begun with what came before
            return
        wishes = [wish for batch, _ in waiting for wish in batch]
        _, first = waiting[-1]
        try:
            first()
        except Exception as exc:  # noqa: BLE001  who asked has to hear of it
            for key, _ in wishes:
                self._tell(Started(key, fault=str(getattr(exc, "strerror", None) or exc)))
        else:
            self._start_all(wishes)

    def _start_all(self, batch: Sequence[Wish]) -> None:
        for key, wanted in batch:
            self._then.ask(partial(self._start, key, wanted))

    def _start(self, key: int, wanted: Plan | None) -> None:
        pid = None
        with suppress(Exception):  # the slower way meets it again, and says what is wrong
            pid = None if wanted is None else start(wanted)
        fd = None if pid is None else self._watch(pid)
        self._tell(Started(key, pid, fd, time.monotonic()))

    def _tell(self, started: Started) -> None:
        self.started.append(started)
        if started.fd is None:
            with suppress(OSError):  # who waits looks now and then all the same
                os.eventfd_write(self.bell, 1)

    def close(self) -> None:
        """End, when all that was asked for has been started."""
        self._first.close()
        self._then.close()
        os.close(self.bell)
