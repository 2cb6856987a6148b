"""Make a run a unit of systemd, which supervises it; no process of ours stays while the command runs.

The unit's main process is the command (started by `begin`); `RuntimeMaxSec` is its timeout, its control group is
stopped as a whole, its standard output is our file. `end` runs last and records the end.
"""

import marshal
import os
import string
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from taskrunner import clock
from taskrunner.home import config, lock, paths, program
from taskrunner.model.carried import Refused, Stage, Standing
from taskrunner.model.record import record
from taskrunner.model.values import Command, Run
from taskrunner.processes import output, programs, systemctl
from taskrunner.processes.output import OutputFile
from taskrunner.processes.spawn import LIMITS, as_user, bounds
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise.command import resolve
from taskrunner.supervise.outcomes import Watched
from taskrunner.supervise.systemd import journal

FOLDER = os.path.dirname(os.path.abspath(__file__))
BEGIN, END = (os.path.join(FOLDER, name) for name in ("begin.py", "end.py"))
# `end` runs in the unit's control group after the command: these limits leave it enough.
LEAST_MEMORY = 64_000_000  # bytes
LEAST_TASKS = 16
LEAST_STOP = 2.0  # seconds; until `end` asks for more
PLAIN = frozenset(
    string.ascii_letters + string.digits + "/._-=+@,"
)  # these are not encoded for `begin` and `end`
UTF8 = ("-X", "utf8")  # whatever the locale of systemd
EARLY = 0.02  # seconds that a timer may be early by the wall clock


@record
class Transient:
    """The carrier that hands each run to systemd; with `falls_back` the caller carries refused runs."""

    here: OpenHome
    falls_back: bool = True
    title: str = "systemd"
    lost: str = "its unit of systemd is gone, and its result was not recorded"

    def name(self, run_id: int) -> str:
        """Return the name of the unit for a run: `taskrunner-run-<id>.service`."""
        name = f"taskrunner-run-{run_id}"
        if os.path.exists(os.path.join(paths.runtime(), "systemd/transient", f"{name}.service")):
            name += f"-{os.urandom(4).hex()}"  # a run of another home has the same number
        return f"{name}.service"

    def start(self, watched: Watched, now: datetime) -> Refused | None:
        """Hand a run to systemd; return a refusal, or None. Raises LookupError for an unknown user."""
        name, run, file = watched.name, watched.run, watched.file
        command = resolve(watched.task, run, self.here.config, now)
        place = self.here.supervisor(name)
        try:
            _write_private(place, plain(command))
        except OSError as exc:
            return Refused(str(exc.strerror))
        begin = (sys.executable, "-I", "-S", *UTF8, BEGIN, _encoded(place))
        properties = self._properties(name, run, command, file)
        refused = _run_unit(name, f"run {run.id} of {run.task}", begin, *properties)
        if refused is None:
            with self.here.log.apart(f"the journal did not take run {run.id}"):
                journal.tell(self.here, run)  # the run goes on even if the journal fails
            return None
        os.unlink(place)
        return Refused(refused)

    def look(self, names: Sequence[str]) -> Mapping[str, Standing] | None:
        """Return which of these units are there; the end of one is recorded by its last program."""
        there = systemctl.units_there(names)
        if there is None:
            return None
        return {name: Standing(Stage.RUNNING if name in there else Stage.GONE) for name in names}

    def stop(self, name: str, kill_after: timedelta) -> bool:  # noqa: ARG002  its unit has it as TimeoutStopSec
        """Have systemd stop a unit, with TERM and later KILL; False when there is none."""
        return systemctl.stop_unit(name)

    def forget(self, names: Sequence[str]) -> None:
        """Do nothing: systemd keeps nothing of units that have ended."""

    def _properties(self, unit: str, run: Run, command: Command, file: OutputFile) -> Iterator[str]:
        yield from ("Type=exec", "KillMode=control-group", "IgnoreSIGPIPE=no", "OOMPolicy=continue")
        yield from ("NotifyAccess=exec", "StandardInput=null")  # `end` has to ask for time
        target = "null" if file.fault else f"append:{output.path_of(self.here.output, file.name)}"
        yield from (f"StandardOutput={target}", f"StandardError={target}")
        yield f"TimeoutStopSec={_length(max(command.kill_after, LEAST_STOP))}"
        yield f"RuntimeMaxSec={'infinity' if command.timeout is None else _length(command.timeout)}"
        yield from _bounds(command)
        yield f"ExecStopPost={self._end(unit, run)}"

    def _end(self, unit: str, run: Run) -> str:
        """Return the command line that records the end of a run.

        Without a `+`, which would exempt it from restrictions that an administrator sets for all runs: systemd 252
        forgets such a line when it reloads its units.
        """
        settings = [f"{name}={value}" for name, value in config.own_variables().items()]
        words = (self.here.folder, unit, str(run.id), *settings, "--", *_own_path())
        return " ".join((_quoted(sys.executable), "-I", *UTF8, _quoted(END), *map(_encoded, words)))

    def wake(self, ready: datetime, seconds: float) -> None:
        """Schedule a tick at `ready`, which is `seconds` away, for a delayed run."""
        name = f"taskrunner-wake-{clock.to_ms(ready)}"
        tick = program.words(program.own(), self.here.folder, "tick")
        timer = (f"--on-active={_length(seconds + EARLY)}", "--timer-property=AccuracySec=10ms")
        _run_unit(name, "a run whose time comes", tick, "Type=oneshot", *_settings(), options=timer)

    def send_off(self) -> None:
        """Send pending messages in a unit of its own, unless a sender is running."""
        if not lock.is_held(self.here.path(paths.SENDER)):
            words = program.words(program.own(), self.here.folder, "notify", "--send")
            name = f"taskrunner-send-{os.urandom(4).hex()}"
            _run_unit(
                name, "messages to be sent", words, "Type=exec", "StandardError=null", *_settings()
            )

    def tell(self, runs: Sequence[Run]) -> None:
        """Write the states of runs into the journal."""
        for run in runs:
            with self.here.log.apart(f"the journal did not take run {run.id}"):
                journal.tell(self.here, run)


def _run_unit(
    name: str, what: str, argv: Sequence[str], *properties: str, options: Sequence[str] = ()
) -> str | None:
    """Have systemd execute a command in a unit of its own; return the reason of a refusal, or None."""
    words = ["--quiet", "--collect", "--no-block", f"--unit={name}"]
    words += [f"--description=taskrunner: {what}", *options]
    words += [word for each in properties for word in ("-p", each)]
    words += ["--", *map(_unexpanded, argv)]
    said = programs.tool(*systemctl.reached("systemd-run"), *words)
    if said is None:
        return "systemd-run is not installed"
    return None if said.code == 0 else said.err or f"systemd-run ended with exit code {said.code}"


def plain(command: Command) -> bytes:
    """Return a command as the bytes that `begin` reads; raises LookupError for an unknown user."""
    become = as_user(command.user)
    limits = [(LIMITS[name][1], *bounds(name, value)) for name, value in command.limit.items()]
    values: dict[str, Any] = {
        "argv": (*command.argv,),
        "env": {name: str(value) for name, value in command.env.items()},
        "cwd": command.cwd,
        "stdin": None if command.stdin is None else command.stdin.encode(),
        "umask": command.umask,
        "become": (become["user"], become["group"], tuple(become["extra_groups"]))
        if become
        else None,
        "user": command.user,
        "limits": tuple(limits),
        "missing": (*command.missing,),
    }
    return marshal.dumps(values)


def _bounds(command: Command) -> Iterator[str]:
    """Yield the limits of all processes of a run together; `begin` sets those of each process."""
    if command.nice is not None:
        yield f"Nice={command.nice}"
    if "memory" in command.limit:
        yield f"MemoryMax={max(command.limit['memory'], LEAST_MEMORY)}"
    if "processes" in command.limit:
        yield f"TasksMax={max(command.limit['processes'], LEAST_TASKS)}"


def _write_private(place: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(place, flags, 0o600), "wb") as file:
        file.write(data)


def _settings() -> Iterator[str]:
    """Yield the settings in our environment, for another program of ours."""
    for name, value in config.own_variables().items():
        yield f"Environment={_quoted(f'{name}={value}')}"


def _quoted(word: str) -> str:
    """Return a word quoted for a property of systemd-run; unlike in a unit file, % has no special meaning."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _encoded(word: str) -> str:
    """Encode a word so that systemd expands nothing in it, even after writing and reading it again."""
    return "".join(
        chr(byte) if chr(byte) in PLAIN else f":{byte:02x}" for byte in os.fsencode(word)
    )


def _unexpanded(word: str) -> str:
    """Return a word of a command line in which systemd expands no variables."""
    return word.replace("$", "$$")


def _own_path() -> list[str]:
    """Return the folders of our modules and those they need."""
    places = (os.path.dirname(os.path.dirname(FOLDER)), *sys.path)
    return [place for place in dict.fromkeys(places) if os.path.isabs(place)]


def _length(seconds: float) -> str:
    return f"{max(1, round(seconds * 1e6))}us"
