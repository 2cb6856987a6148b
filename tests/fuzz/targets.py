"""What is fuzzed: each target is fed bytes and fails by an exception that is none of ours.

One target for each parser, and one for the program as a whole. `python -m tests.fuzz TARGET` lets a
coverage-guided fuzzer choose the bytes, tests/cli/test_input.py hypothesis and the corpus. An input that is
refused is refused by one sentence; one that is taken must come back from a round trip.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from unittest import mock

from taskrunner import Every, clock, host
from taskrunner.api.task_runner import TaskRunner
from taskrunner.clocks import listen, systemd_text
from taskrunner.errors import InputError, StateError
from taskrunner.home import config, heartbeat, paths, program
from taskrunner.model.values import Process
from taskrunner.processes import env_file
from taskrunner.schedule import (
    describe,
    durations as duration,
    expression,
    instants as instant,
    zones,
)
from taskrunner.schedule.counting import count, newest
from taskrunner.schedule.kinds import Cron, On
from taskrunner.store import open_home
from taskrunner.supervise import spool
from taskrunner.tasks import (
    crontab,
    crontab_names,
    debian_cron,
    options,
    readers,
    taskfile_parser,
    writing,
)
from taskrunner.tick import visit
from taskrunner.web import app, users
from tests.fuzz import typed

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HANG = 1.0  # seconds of CPU time that no input may take
ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo")
TARGETS: dict[str, Callable[[bytes], None]] = {}


class Slow(AssertionError):
    """An input took too long."""


def target(what: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Make a function one of the targets, with a watch over its time."""

    @functools.wraps(what)
    def watched(data: bytes) -> None:
        began = time.process_time()
        what(data)
        took = time.process_time() - began
        if took > HANG * (MANY if what.__name__ == "commands" else 1):
            raise Slow(f"{what.__name__} took {took:.1f} s for {data!r}")

    TARGETS[what.__name__] = watched
    return watched


MANY = typed.MOST_LINES  # command lines in one input of the target `commands`


@contextlib.contextmanager
def refusable(*kinds: type[Exception]) -> Iterator[None]:
    """Let the block refuse its input, in one sentence that can be shown."""
    try:
        yield
    except (InputError, *kinds) as exc:
        sentence = str(exc)
        assert sentence and len(sentence) < 4000, sentence
        assert sentence.isprintable(), f"not one printable line: {sentence!r}"


def text(data: bytes) -> str:
    """Return bytes as Python gives them to a program in its argv."""
    return os.fsdecode(data)


@functools.cache
def scratch() -> str:
    """Return a private folder that goes with the process, in memory where there is such a place."""
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = tempfile.TemporaryDirectory(prefix="taskrunner-fuzz-", dir=parent)
    scratch.keep = folder
    return folder.name


def file(name: str, data: bytes) -> str:
    """Write a file to a private folder and return its path."""
    place = os.path.join(scratch(), name)
    with open(place, "wb") as out:
        out.write(data)
    return place


# ---- when


@target
def expressions(data: bytes) -> None:
    """Expressions of cron: taken ones are spelled one way, fire where they say, and are said in words."""
    with refusable():
        found = expression.read(text(data))
        normal = expression.normalise(text(data))
        assert expression.normalise(normal) == normal
        assert expression.read(normal).hours == found.hours
        assert describe.words(found).isprintable()
        chosen = ZONES[len(data) % len(ZONES)]
        slot, last = NOW, NOW
        for _ in range(3):
            slot = Cron(text(data), tz=chosen).next_after(slot)
            if slot is None:
                break
            assert slot > last
            last = slot


@target
def month_days(data: bytes) -> None:
    """Days of the month in words: taken ones have one spelling, fire once a month, and are counted as they fire."""
    with refusable():
        day, _, at_time = text(data).partition("\n")
        chosen = ZONES[len(data) % len(ZONES)]
        found = On(day, at_time or None, tz=chosen)
        assert On(found.text, tz=chosen) == found
        assert found.describe().isprintable()
        slot = found.next_after(NOW)
        later = found.next_after(slot)
        assert NOW < slot < later < slot + timedelta(days=366 + 31)
        assert newest(found, NOW, later) == later and count(found, NOW, later) == (2, False)


@target
def durations(data: bytes) -> None:
    """Lengths of time, in each of the places where one is typed."""
    with refusable():
        found = duration.parse(text(data))
        assert timedelta(0) < found <= duration.LONGEST
        assert duration.parse(duration.format(found)) == found
        assert duration.human(found.total_seconds())
    with refusable():
        duration.parse_interval(text(data))
        every = Every(text(data), anchor=NOW, tz=ZONES[len(data) % len(ZONES)])
        for slot in islice(iter(lambda: every.next_after(NOW), None), 2):
            assert slot > NOW
    with refusable():
        assert duration.parse_ago(text(data), NOW) < NOW


@target
def instants(data: bytes) -> None:
    """Instants, as --at and --since take them, in zones with clock changes; and the names of zones."""
    for where in ZONES:
        with refusable():
            found = instant.moment(text(data), tz=where, now=NOW)
            assert found.tzinfo is UTC and 1970 <= found.year < 10_000
            assert clock.from_ms(clock.to_ms(found)) == instant.cut(found)
            instant.moment_note(text(data), tz=where)
    with refusable():
        assert zones.zone(text(data))


@target
def names(data: bytes) -> None:
    """Names of tasks, groups, variables, and the values of every option of a task."""
    with refusable():
        assert readers.name(text(data)) == text(data)
    with refusable():
        env_file.assignment(text(data))
    with refusable():
        crontab_names.name(text(data), ())
    value = text(data[1:])
    reader = sorted(options.OPTIONS)[(data or b"\0")[0] % len(options.OPTIONS)]
    with refusable():
        options.read({reader: value})


# ---- files


@target
def settings(data: bytes) -> None:
    """The settings of a home."""
    with refusable():
        folder = os.path.dirname(file(paths.CONFIG, data))
        found = config.load(folder)
        assert 1 <= found.max_parallel <= 100_000
        with refusable():
            options.usual(found.defaults)
        with refusable():
            config.default_zone(found)


@target
def environments(data: bytes) -> None:
    """Environment files: what is taken can be given to execve(2), and what is refused is not repeated."""
    place = file("env", data)
    try:
        found = env_file.read_env_file(place)
    except StateError as exc:
        assert str(exc).isprintable()
        kept = str(exc).replace(place, "")
        lines = [line.strip() for line in data.decode(errors="replace").split("\n")]
        told = [line for line in lines if len(line) > 40 and line in kept]
        assert not told, f"a line is repeated: {exc}"
        return
    for name, value in found.items():
        assert name.isidentifier() and "\0" not in value
        os.fsencode(value)


@target
def task_files(data: bytes) -> None:
    """Task files: what is read can be written, and reads the same."""
    profile = "p" if len(data) % 2 else None
    try:
        content = data.decode()
    except UnicodeDecodeError:
        return
    found = taskfile_parser.read(content, "f.toml", "f", zone="UTC", profile=profile)
    for fault in found.faults:
        assert str(fault).isprintable() and fault.line >= 0, str(fault)
    if found.faults:
        return
    for each in found.definitions:
        readers.name(each.name)
        with refusable():
            options.read(dict(each.given))


@target
def applied(data: bytes) -> None:
    """Task files, applied to a store: all or nothing, and what is exported then makes the same tasks."""
    with empty_home() as folder, TaskRunner(folder, clock=lambda: NOW) as runner:
        with refusable(StateError):
            try:
                content = data.decode()
            except UnicodeDecodeError:
                return
            try:
                runner.apply("-", text=content)
            except (InputError, StateError) as exc:
                assert not runner.tasks(), "it was refused, and half of it is there"
                for line in str(exc).split("\n"):
                    assert line.isprintable(), line
                return
            exported = runner.export(secrets=True).text
            again = runner.apply("-", text=exported, dry_run=True)
            assert {step.action for step in again.tasks} <= {"keep"}, (exported, again)
        typed.check_store(folder)


@target
def crontabs(data: bytes) -> None:
    """Crontabs of users and of the system, and lines that call us."""
    content = data.decode(errors="surrogateescape")
    for system in (False, True):
        lines, left = crontab.read(content, system=system)
        assert all(each.number >= 1 for each in (*lines, *left))
        for line in lines:
            with refusable():
                crontab.schedule(line)
            with refusable():
                crontab.work(line)
            crontab.environment(line)
            crontab.notes(line)
            readers.name(crontab_names.name(line.command, ()))
    program.read(content.split())
    systemd_text.call(content)


@target
def imported(data: bytes) -> None:
    """Crontabs made tasks in a store."""
    # The comparison with Debian's rules walks through a year of each expression, which is meant to take its time.
    unproved = mock.patch.object(debian_cron, "differences", return_value=(0, ()))
    with unproved, empty_home() as folder, TaskRunner(folder, clock=lambda: NOW) as runner:
        with refusable(StateError):
            runner.import_crontab("-", text=text(data), system=len(data) % 2 == 1)
        assert runner.export_crontab() is not None
        typed.check_store(folder)


@target
def outcomes(data: bytes) -> None:
    """Files in the spool: what is no outcome is set aside, and what is one ends the run it is of."""
    with empty_home() as folder, TaskRunner(folder, clock=lambda: NOW) as runner:
        runner.add("a", ["true"], Every("1m"))
        here = open_home.open_home(folder, lambda: NOW)
        run = a_running_run(here)
        name = f"{run}.someone-1.json"
        with open(here.path(paths.SPOOL, name), "wb") as out:
            out.write(data.replace(b"RUN", str(run).encode()))
        spool.take_up(here)
        assert spool.waiting(here.folder) == []
        kept = os.path.exists(here.path(paths.SPOOL, name + spool.REFUSED))
        assert kept or runner.history(state="running") == [] or b"supervisor" in data
        here.store.close()
        typed.check_store(folder)


def a_running_run(here: open_home.OpenHome) -> int:
    """Make a run that a supervisor of the name someone-1 is said to watch."""
    later = dataclasses.replace(here, clock=lambda: NOW + timedelta(minutes=1))
    visit.Tick(later, "test").claim_under_lock()
    run = later.store.runs.startable_in(None, 1, later.now())[0]
    process = Process(run.id, "someone-1", host.boot_id(), "someone-1.1", 1, None)
    with here.store.transaction():
        here.store.runs.start([process], NOW)
    return run.id


@target
def heartbeats(data: bytes) -> None:
    """The heartbeat: a file that everybody reads and nothing depends on."""
    found = heartbeat.read(file("heartbeat", data))
    if found is not None:
        heartbeat.write(os.path.join(scratch(), "heartbeat"), found)


# ---- the page


@functools.cache
def asked_page() -> Any:
    """Return a page over an empty home that nobody has to log in at; it shows only, so nothing is ever started."""
    return app.create_app(os.path.join(scratch(), "page"))


@target
def requests(data: bytes) -> None:
    """A request: its method and address on one line, then a Host and an Authorization, then a body."""
    line, host_given, token, body = [*data.split(b"\n", 3), b"", b"", b""][:4]
    method, _, address = line.partition(b" ")
    path, _, query = address.partition(b"?")
    signs = [part.decode("latin-1") for part in (method, path, query, host_given, token)]
    environ = {
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": signs[0] or "GET",
        "PATH_INFO": f"/{signs[1].lstrip('/')}",
        "SCRIPT_NAME": "",
        "QUERY_STRING": signs[2],
        "HTTP_HOST": signs[3] or "localhost",
    }
    if token:
        environ["HTTP_AUTHORIZATION"] = signs[4]
    codes: list[str] = []
    parts = asked_page().wsgi_app(environ, lambda code, *_: codes.append(code))
    found = b"".join(parts)
    assert codes and int(codes[0][:3]) in (*range(200, 500), 503), codes
    assert b"Traceback" not in found


@target
def definitions(data: bytes) -> None:
    """A task as a program sends it to the page, as far as a check of it goes."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    with refusable(StateError), TaskRunner(os.path.join(scratch(), "page")) as runner:
        try:
            runner.apply(text=writing.definition("new", given), dry_run=True)
        except InputError as exc:  # a line for each fault
            raise InputError(str(exc).replace("\n", "; ")[:1000]) from exc


@target
def users_files(data: bytes) -> None:
    """The file of users of the page, and places to listen on."""
    place = file("page.users", data)
    os.chmod(place, 0o600)
    with refusable(StateError):
        assert all(each.line() for each in users.load(place))
    with refusable():
        assert listen.place(text(data))


# ---- everything


@target
def commands(data: bytes) -> None:
    """A few command lines, made of the program's own verbs and flags, one after another on a new home."""
    typed.play(data, scratch())


@contextlib.contextmanager
def empty_home() -> Iterator[str]:
    """Give a home of its own for the block."""
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        yield folder
