"""Record the end of a run carried by systemd, by the same steps as for a child of ours.

Recording an outcome may let pending runs start, so this is a supervisor for a moment, known by the name of the unit.
An end that the database refuses goes to the spool. It must not know how the unit was made.
"""

import marshal
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta

from taskrunner import clock
from taskrunner.errors import TaskRunnerError, UnknownRun
from taskrunner.home import paths
from taskrunner.model.record import like, record
from taskrunner.model.values import Command, Outcome, State, not_passed
from taskrunner.notify import metrics
from taskrunner.processes import alive, bounded_output, output, systemctl
from taskrunner.processes.output import OutputFile
from taskrunner.processes.programs import NOT_EXECUTABLE
from taskrunner.processes.spawn import not_started
from taskrunner.store import open_home
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import spool
from taskrunner.supervise.outcomes import Ended, Watched
from taskrunner.supervise.supervisor import Supervisor, open_supervisor
from taskrunner.supervise.systemd import journal
from taskrunner.supervise.systemd.transient import Transient

KILLED = 9  # SIGKILL
TIMEOUT = "timeout"  # SERVICE_RESULT of a unit that ran longer than RuntimeMaxSec
FOR_MEMORY = "the kernel killed it for its memory"


@record
class UnitEnd:
    """End of a run as systemd reports it; `closing_down` when the whole machine goes down."""

    run_id: int
    unit: str
    outcome: Outcome
    at: datetime
    note: str | None
    closing_down: bool
    missing: tuple[str, ...] = ()  # variables to pass that are set nowhere


def main(folder: str, unit: str, run_id: int, result: str, code: str, status: str) -> int:
    """Record the end of a run as systemd reports it; problems go to the journal."""
    try:
        end = _gather(folder, unit, run_id, ended(result, code, status))
        _record(folder, end)
    except Exception as exc:  # noqa: BLE001  nobody else would report it; the next tick finds the run lost
        journal.complain(
            f"the end of run {run_id} ({result} {code} {status}) could not be recorded: {exc!r}",
            run_id,
        )
        return 1
    return 0


def _gather(folder: str, unit: str, run_id: int, outcome: Outcome) -> UnitEnd:
    """Collect the end of a run; we were started as soon as all processes of the command had ended."""
    at = clock.now() - timedelta(seconds=alive.age(os.getpid()) or 0)
    with open(paths.path(folder, paths.SUPERVISORS, unit), "rb") as file:  # written by `begin`
        left = file.read()
    fault = begun(left)
    stopped, closing_down = _stop_asked(unit)
    if fault is not None:
        outcome = fault
    elif stopped:
        outcome = like(outcome, stopped=True, timed_out=False)
    killed = outcome.signal == KILLED or outcome.exit_code == 128 + KILLED  # from a shell
    note = FOR_MEMORY if killed and _out_of_memory() else None
    return UnitEnd(run_id, unit, outcome, at, note, closing_down, not_found(left))


def _stop_asked(unit: str) -> tuple[bool, bool]:
    """Return whether systemd was asked to stop the unit, and whether the machine is shutting down."""
    said = systemctl.systemctl("list-jobs", "--no-legend", "--plain")
    asked = [] if said is None else [line.split()[1:3] for line in said.out.splitlines()]
    return [unit, "stop"] in asked or [unit, "restart"] in asked, [
        "shutdown.target",
        "start",
    ] in asked


def _out_of_memory() -> bool:
    """Return whether the kernel killed a process of our control group (the unit's) for its memory."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        groups = [line.rstrip("\n").split(":", 2)[1:] for line in file]
    for controllers, path in groups:
        if controllers in ("", "memory"):
            name = "memory.events" if not controllers else "memory.oom_control"
            place = f"/sys/fs/cgroup/{controllers}{path}/{name}"
            if any(
                line.startswith("oom_kill ") and not line.endswith(" 0\n") for line in _lines(place)
            ):
                return True
    return False


def _lines(place: str) -> list[str]:
    try:
        with open(place, encoding="utf-8") as file:
            return file.readlines()
    except OSError:
        return []


def _record(folder: str, end: UnitEnd) -> None:
    """Record an end and start the next runs; if the database cannot be read, write the end to the spool."""
    try:
        here = open_home.open_home(folder)
        with closing(here.store):
            found = _still_ours(here, end)
            if found is not None:
                with _supervisor(here, end) as ours:
                    _see_through(ours, found, end)
                metrics.publish(here)
                here.store.checkpoint()
    except Exception as exc:  # also for settings with a mistake
        if not spool.holds(folder, end.run_id):
            known = (end.run_id, end.unit, end.at, end.outcome)
            note = "; ".join(filter(None, (end.note, not_passed(end.missing)))) or None
            spool.put(folder, Ended(*known, size=0, large=False, fault=None, note=note, retry=True))
        if not isinstance(exc, TaskRunnerError):  # a bug of ours, to be reported
            raise


def _still_ours(here: OpenHome, end: UnitEnd) -> Watched | None:
    """Return the run that has ended, with its output; None when its end is recorded already."""
    try:
        run, process = here.store.runs.get(end.run_id), here.store.processes.of(end.run_id)
    except UnknownRun:  # an older database was restored meanwhile
        return None
    if run.state is not State.RUNNING or process is None or process.supervisor != end.unit:
        return None
    cut = bounded_output.noted(process.cut_at, process.left_out)
    return Watched(run, here.store.tasks.of_run(run), _file(here, process.output), end.unit, cut)


def _not_before(start: datetime | None, at: datetime) -> datetime:
    """Return the end of a run, not before its start: our age is known only to a hundredth of a second."""
    return at if start is None else max(start, at)


def _file(here: OpenHome, name: str) -> OutputFile:
    try:  # only for reading: a lease held by the task may forbid more
        fd = output.open_plain(output.path_of(here.output, name), os.O_RDONLY)
    except OSError as exc:
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        gone = isinstance(exc, FileNotFoundError)
        fault = "its output file is missing" if gone else output.lost(exc)
        return OutputFile(name, fd, alive.inode(os.fstat(fd)), fault)
    return OutputFile(name, fd, alive.inode(os.fstat(fd)))


@contextmanager
def _supervisor(here: OpenHome, end: UnitEnd) -> Iterator[Supervisor]:
    carried = Transient(here, falls_back=False)  # we are about to end
    with open_supervisor(here, name=end.unit, carrier=carried) as ours:
        ours.closing = end.closing_down  # pending runs wait until the machine is up again
        yield ours


def _see_through(ours: Supervisor, watched: Watched, end: UnitEnd) -> None:
    ours.watched[watched.run.id] = watched
    watched.missing = end.missing
    at = _not_before(watched.run.started, end.at)
    ours.runs.collect(watched, end.outcome, at, end.note)
    for _ in ours.rounds(hand_on=True):  # more than once when a run could not be started
        pass
    for run in ours.finished:
        journal.tell(ours.here, run)


# ---- reports of systemd and of `begin`


def begun(data: bytes) -> Outcome | None:
    """Return the failed start of a command from the file that `begin` wrote; None when it started."""
    if not data:
        return None
    try:
        left = marshal.loads(data)  # noqa: S302  a private file that we have written
        if left.keys() == {"missing"}:
            return None
        if "error" not in left:
            return Outcome(error="could not start: systemd could not execute it")
        given = Command(left["argv"], {"PATH": left["path"]}, left["cwd"], user=left["user"])
        number, place = left["error"]
    except (EOFError, ValueError, TypeError, KeyError, AttributeError):
        return Outcome(error="could not start: the data handed to systemd is damaged")
    if number is None:
        sentence = f"could not start: its limits or its user {given.user!r} could not be set as they should be"
        return Outcome(NOT_EXECUTABLE, error=sentence)
    return not_started(given, OSError(number, os.strerror(number), place))


def not_found(data: bytes) -> tuple[str, ...]:
    """Return the variables to pass that were set nowhere, from the same file."""
    with suppress(EOFError, ValueError, TypeError, KeyError):
        return tuple(marshal.loads(data)["missing"])  # noqa: S302  as above
    return ()


def ended(result: str, code: str, status: str) -> Outcome:
    """Return the outcome by SERVICE_RESULT, EXIT_CODE and EXIT_STATUS (systemd.exec(5))."""
    timed_out = result == TIMEOUT
    if code == "exited" and status.isdigit():
        return Outcome(exit_code=int(status), timed_out=timed_out)
    if code in ("killed", "dumped"):
        return Outcome(signal=_signal_number(status), timed_out=timed_out)
    return Outcome(error=f"systemd did not report its result ({result or 'no result'})")


def _signal_number(name: str) -> int | None:
    """Return the number of a signal by its name without SIG, also of the real-time ones (kill(1))."""
    base, _, more = name.partition("+")
    try:
        return int(base) if base.isdigit() else signal.Signals[f"SIG{base}"] + int(more or 0)
    except (KeyError, ValueError):
        return None
