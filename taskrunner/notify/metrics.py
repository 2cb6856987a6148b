"""Metrics of one home, as OpenMetrics or as a file for node_exporter's textfile collector.

Counters come from the tallies in the database: they survive pruning, and cost the same for any number of runs. It
reads the store and never writes to it. It must not judge: alert rules belong to the monitoring system.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

import taskrunner
from taskrunner.errors import StateError, TaskRunnerError, shown
from taskrunner.home import heartbeat, paths
from taskrunner.home.syslog import WARNING
from taskrunner.model.record import like, record
from taskrunner.model.values import FAILING, LIVE, State
from taskrunner.store.figures import Standing, Tally
from taskrunner.store.open_home import OpenHome

ENDS = tuple(state for state in State if state not in LIVE)
ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
MOST_TASKS = 1_000  # with more, there are metrics of all tasks together only
NOT_UTF8 = re.compile(r"[\ud800-\udfff]")  # bytes of a path that are not UTF-8, in Python

Labels = Mapping[str, str]
Named = Sequence[tuple[Labels, Mapping[State, Tally]]]


@record
class Sample:
    """One line: the suffix of the name of its family, its labels and its number."""

    labels: Labels
    value: float
    suffix: str = ""


@record
class Family:
    """All samples of one name: a gauge, counter, summary or info; the name is without the suffix of its kind."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def families(here: OpenHome) -> list[Family]:
    """Return all metrics of a home, all from the same moment."""
    with here.store.connection.unchanged():
        tasks, tallies = here.store.figures.standings(), here.store.figures.tallies()
        live = here.store.figures.live()
        found = list(_of_all(here, tasks))
        if len(tasks) <= MOST_TASKS:
            found += [*_of_tasks(tasks), *_of_live(tasks, live), *_of_runs(named(tasks, tallies))]
        else:
            found += [*_of_many(tasks, live), *_of_runs([({}, together(tallies))])]
    return [family for family in found if family.samples]


def _gauge(name: str, about: str, samples: Iterable[tuple[Labels, float | None]]) -> Family:
    """Return a family of gauges, without samples that have no value."""
    known = [Sample(labels, value) for labels, value in samples if value is not None]
    return Family(f"taskrunner_{name}", "gauge", about, known)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _of_all(here: OpenHome, tasks: Sequence[Standing]) -> Iterator[Family]:
    """Yield the metrics of the home as a whole."""
    beat = heartbeat.read(here.path(paths.HEARTBEAT))
    coming = min((each.next for each in tasks if each.enabled and each.next), default=None)
    values: list[tuple[str, str, float | None]] = [
        (
            "last_tick_timestamp_seconds",
            "Time of the last tick; in a file written by ticks, of the last tick with work.",
            None if beat is None else _seconds(beat.at),
        ),
        (
            "tick_period_seconds",
            "Expected time between two ticks.",
            here.config.tick_period.total_seconds(),
        ),
        (
            "next_slot_timestamp_seconds",
            "Earliest next slot of all tasks; in the past when a tick is overdue.",
            _seconds(coming),
        ),
        (
            "held",
            "Whether scheduled runs are paused.",
            here.store.facts.held(here.now()) is not None,
        ),
        ("max_parallel", "Limit on parallel runs.", here.config.max_parallel),
        (
            "messages_waiting",
            "Pending notification messages.",
            here.store.outbox.count_pending(),
        ),
        (
            "store_size_bytes",
            "Size of the database.",
            None if here.store.missing else here.store.pruning.file_size(),
        ),
    ]
    version = Sample({"version": taskrunner.__version__}, 1)
    yield Family("taskrunner_build", "info", "The version of taskrunner.", [version])
    for name, about, value in values:
        yield _gauge(name, about, [({}, value)])


def _of_tasks(tasks: Sequence[Standing]) -> Iterator[Family]:
    """Yield the schedule of each task, and its last runs."""
    named = [(each, {"task": each.name}) for each in tasks]
    about = [
        Sample({**name, "kind": each.kind, "schedule": each.schedule, "tz": each.tz or ""}, 1)
        for each, name in named
    ]
    yield Family("taskrunner_task", "info", "The schedule of a task.", about)
    yield _gauge(
        "task_enabled",
        "Whether a task is scheduled.",
        [(name, each.enabled) for each, name in named],
    )
    yield _gauge(
        "task_broken",
        "Whether the schedule of a task could not be evaluated.",
        [(name, each.error is not None) for each, name in named],
    )
    yield _gauge(
        "task_next_slot_timestamp_seconds",
        "Next slot of a task.",
        [(name, _seconds(each.next) if each.enabled else None) for each, name in named],
    )
    yield _gauge(
        "task_last_run_timestamp_seconds",
        "Start of the last run that has ended.",
        [(name, _seconds(each.last_run)) for each, name in named],
    )
    yield _gauge(
        "task_last_success_timestamp_seconds",
        "End of the last run that succeeded.",
        [(name, _seconds(each.last_success)) for each, name in named],
    )
    yield _gauge(
        "task_streak",
        "Number of the newest runs in a row that succeeded or, negative, failed.",
        [(name, each.streak) for each, name in named],
    )


def _of_live(
    tasks: Sequence[Standing], live: Iterable[tuple[int, State, int, int]]
) -> Iterator[Family]:
    """Yield the live runs of each task."""
    now = {(task_id, state): (count, since) for task_id, state, count, since in live}
    named = [(each.id, {"task": each.name}) for each in tasks]

    def found(task_id: int, state: State) -> tuple[int, int | None]:
        return now.get((task_id, state), (0, None))

    for state, activity in ((State.RUNNING, "are running"), (State.PENDING, "are pending")):
        yield _gauge(
            f"task_{state}",
            f"Runs that {activity}.",
            [(name, found(task_id, state)[0]) for task_id, name in named],
        )
    yield _gauge(
        "task_running_since_timestamp_seconds",
        "Start of the oldest running run.",
        [(name, _seconds(found(task_id, State.RUNNING)[1])) for task_id, name in named],
    )


def _of_many(
    tasks: Sequence[Standing], live: Iterable[tuple[int, State, int, int]]
) -> Iterator[Family]:
    """Yield the counts that stand for the metrics of each task where there are very many tasks."""
    counts = {State.RUNNING: 0, State.PENDING: 0}
    for _, state, count, _ in live:
        counts[state] += count
    values = {
        "tasks": ("Tasks.", len(tasks)),
        "tasks_enabled": ("Tasks that are scheduled.", sum(each.enabled for each in tasks)),
        "tasks_failing": (
            "Tasks whose newest runs failed.",
            sum(each.streak < 0 for each in tasks),
        ),
        "tasks_broken": (
            "Tasks whose schedule could not be evaluated.",
            sum(each.error is not None for each in tasks),
        ),
        "runs_running": ("Running runs.", counts[State.RUNNING]),
        "runs_pending": ("Pending runs.", counts[State.PENDING]),
    }
    for name, (about, value) in values.items():
        yield _gauge(name, about, [({}, value)])


def named(tasks: Sequence[Standing], tallies: Sequence[Tally]) -> Named:
    """Return the tallies of each task, by state, under its label."""
    by_task: dict[int, dict[State, Tally]] = {}
    for tally in tallies:
        by_task.setdefault(tally.task_id, {})[tally.state] = tally
    return [({"task": each.name}, by_task.get(each.id, {})) for each in tasks]


def together(tallies: Sequence[Tally]) -> dict[State, Tally]:
    """Return the tallies of all tasks as one for each state."""
    found: dict[State, Tally] = {}
    for each in sorted(tallies, key=lambda tally: tally.last_end):
        old = found.get(each.state)
        added = ("runs", "slots", "started", "duration", "punctual", "late")
        sums = {} if old is None else {key: getattr(old, key) + getattr(each, key) for key in added}
        found[each.state] = like(each, **sums)
    return found


def _of_runs(named: Named) -> Iterator[Family]:
    """Yield the metrics of the runs of each task, or of all together."""
    yield _gauge(
        "task_last_failure_timestamp_seconds",
        "End of the last run that failed, timed out or was lost.",
        [
            (name, _seconds(max((found[s].last_end for s in FAILING if s in found), default=None)))
            for name, found in named
        ],
    )
    yield _gauge(
        "task_last_duration_seconds",
        "Duration of the last run.",
        [(name, _seconds(_newest(found, "last_duration"))) for name, found in named],
    )
    yield _gauge(
        "task_last_lateness_seconds",
        "Delay of the last scheduled run after its slot.",
        [(name, _seconds(_newest(found, "last_late"))) for name, found in named],
    )
    yield Family(
        "taskrunner_runs",
        "counter",
        "Ended runs, and slots that were not run, by state.",
        [
            Sample({**name, "state": state}, found[state].runs if state in found else 0, "_total")
            for name, found in named
            for state in ENDS
        ],
    )
    yield Family(
        "taskrunner_missed_slots",
        "counter",
        "Slots that passed without a run.",
        [
            Sample(name, found[State.MISSED].slots if State.MISSED in found else 0, "_total")
            for name, found in named
        ],
    )
    yield _summary("run_duration", "Duration of runs with a known end.", named, "duration")
    yield _summary("run_lateness", "Delay of runs after their slots.", named, "late")


COUNTED = {"duration": "started", "late": "punctual"}  # the count of each sum


def _summary(name: str, about: str, named: Named, what: str) -> Family:
    """Return count and sum of a duration for each task."""
    samples = []
    for labels, found in named:
        seen = [
            each for each in found.values() if what != "duration" or each.state is not State.LOST
        ]
        count = sum(getattr(each, COUNTED[what]) for each in seen)
        total = sum(getattr(each, what) for each in seen)
        samples += [Sample(labels, count, "_count"), Sample(labels, total / 1000, "_sum")]
    return Family(f"taskrunner_{name}_seconds", "summary", about, samples)


def _newest(found: Mapping[State, Tally], what: str) -> int | None:
    """Return a figure of the newest ended run that has it; lost runs have none."""
    known = [each for each in found.values() if getattr(each, what) is not None]
    seen = [each for each in known if each.state is not State.LOST]
    newest = max(seen, key=lambda each: each.last_end, default=None)
    return None if newest is None else getattr(newest, what)


# ---- as text


def openmetrics(here: OpenHome) -> str:
    """Return the metrics of a home as OpenMetrics 1.0."""
    lines = []
    for family in families(here):
        lines.append(f"# TYPE {family.name} {family.kind}")
        unit = next((u for u in ("seconds", "bytes") if family.name.endswith(f"_{u}")), None)
        if unit is not None:
            lines.append(f"# UNIT {family.name} {unit}")
        lines += [f"# HELP {family.name} {family.help}", *_lines(here.folder, family)]
    return "\n".join([*lines, "# EOF", ""])


def exposition(here: OpenHome) -> str:
    """Return the metrics in the older text format of Prometheus, the only one that node_exporter reads."""
    lines = []
    for family in families(here):
        # In this format an info is a gauge, and a counter is named with its suffix.
        name = family.name + {"info": "_info", "counter": "_total"}.get(family.kind, "")
        kind = "gauge" if family.kind == "info" else family.kind
        lines += [
            f"# HELP {name} {family.help}",
            f"# TYPE {name} {kind}",
            *_lines(here.folder, family),
        ]
    return "\n".join([*lines, ""])


def _lines(home: str, family: Family) -> Iterator[str]:
    # Every sample has its home as a label, so that the files of two homes do not clash.
    where = f'home="{_escaped(home)}"'
    end = "_info" if family.kind == "info" else ""
    for sample in family.samples:
        more = "".join(f',{key}="{_escaped(text)}"' for key, text in sample.labels.items())
        yield f"{family.name}{end}{sample.suffix}{{{where}{more}}} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return NOT_UTF8.sub("\ufffd", text).translate(ESCAPES)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


# ---- as a file


def write(here: OpenHome, place: str) -> None:
    """Write the metrics atomically to a file that others may read; raises StateError."""
    # Not named *.prom, which node_exporter reads; two ticks or threads may write at the same time.
    new = f"{place}.{threading.get_native_id()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with suppress(FileNotFoundError):  # left by a killed process
            os.unlink(new)
        with open(os.open(new, flags, 0o644), "w", encoding="utf-8") as file:
            try:
                file.write(exposition(here))
                file.flush()
                os.fchmod(file.fileno(), 0o644)  # whatever our umask: another user reads it
                os.rename(new, place)
            except BaseException:
                with suppress(OSError):
                    os.unlink(new)
                raise
    except OSError as exc:
        raise StateError(
            f"the metrics cannot be written to {shown(place)}: {exc.strerror}"
        ) from exc


def publish(here: OpenHome) -> str | None:
    """Write the metrics file of the settings, if there is one; return the error or None."""
    if here.config.metrics_textfile is None:
        return None
    try:
        write(here, here.config.metrics_textfile)
    except TaskRunnerError as exc:
        here.log.say(WARNING, here.now(), str(exc))
        here.log.write()
        return str(exc)
    return None
