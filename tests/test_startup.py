"""What verbs import: all that is listed here, and nothing else. An idle tick has its own list, in test_idle."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

from taskrunner import Every
from taskrunner.cli import common, main
from tests.samples import ROOT, imported_by, program, with_library

# What our own code asks for; what these bring along comes with them, and `locale` with the words of argparse.
LIBRARY = (
    "__future__ _socket argparse contextlib errno fcntl gc importlib json locale shlex sqlite3 "
    "threading typing unicodedata weakref zlib zoneinfo"
)
EVERY_VERB = (
    "__main__ clock errors home host home.heartbeat home.lock home.paths schema tick tick.idle_check "  # an idle tick's
    "home.channels home.config home.log_file home.syslog model model.record model.values "
    "report_error schedule schedule.durations schedule.zones "
    "store store.connection store.events store.figures store.history store.keys store.open_home store.outbox store.processes store.pruning "
    "store.rows store.runs store.store store.tasks "
    "api api.clock api.base api.taskfiles api.forecast api.history api.upkeep api.notices api.queues api.runs api.task_runner api.tasks "
    "render render.documents render.page render.spelling render.tables cli cli.common cli.main "
)
OWN = {
    "list": "api.moments cli.tasks",
    "history": "api.moments cli.runs cli.watch render.graph render.statistics",
}
OWN_LIBRARY = {"history": " math"}
# What a tick that has something to do needs no more than an idle one.
NEVER_IN_A_TICK = {
    *("argparse", "croniter", "dateutil", "difflib", "logging", "tomllib"),
    *("taskrunner.api.task_runner", "taskrunner.cli.main", "taskrunner.render"),
    # Of queues, which few homes have.
    *("rq", "redis", "taskrunner.engines", "taskrunner.home.queues", "taskrunner.supervise.queues"),
}


@pytest.fixture
def at_work(runner, home):
    """A home with a run, and with one that is due."""
    runner.add("report", ["true"], Every("1d"), now=True)
    runner.tick()
    runner.add("backup", ["true"], Every("1d"), now=True)
    runner.close()
    return home


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "document"])
@pytest.mark.parametrize("verb", OWN)
def test_a_verb_imports_what_is_listed_and_nothing_else(at_work, verb, form):
    assert imported_by(at_work, verb, *form) == with_library(
        EVERY_VERB + OWN[verb], LIBRARY + OWN_LIBRARY.get(verb, "")
    )


def test_a_busy_tick_imports_no_parser_of_what_is_not_there(at_work):
    loaded = imported_by(at_work, "tick")
    assert "taskrunner.supervise.supervisor" in loaded
    assert not loaded & NEVER_IN_A_TICK


@pytest.mark.parametrize(
    "words", [["status"], ["show", "report"], ["add", "x", "--manual", "--", "true"]]
)
def test_no_verb_imports_what_only_another_one_needs(at_work, words):
    loaded = imported_by(at_work, *words)
    others = {
        "taskrunner.tick.daemon",
        "taskrunner.report.doctor",
        "taskrunner.clocks.install_systemd",
        "taskrunner.tasks.exchange",
    }
    assert "taskrunner.cli.main" in loaded
    assert not loaded & {
        *others,
        "taskrunner.notify.deliver",
        "taskrunner.cli.screen",
        "tomllib",
        "shutil",
    }


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_the_help_and_the_version_import_no_verb_and_no_database(home, words):
    argv = [sys.executable, "-X", "importtime", *program(home, *words)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "taskrunner.cli.main" in loaded
    assert not loaded & {"sqlite3", "taskrunner.home.config", "taskrunner.api.task_runner"}
    assert not loaded & {f"taskrunner.cli.{kind}" for kind in main.VERBS.values()}


def test_the_help_has_a_sentence_for_each_verb():
    assert [*common.SENTENCES] == [*main.VERBS]


@pytest.mark.parametrize("kind", sorted({*main.VERBS.values()}))
def test_every_verb_is_declared_where_the_command_line_looks_for_it(kind):
    looked_for = {verb for verb, place in main.VERBS.items() if place == kind}
    assert {*import_module(f"taskrunner.cli.{kind}").VERBS} == looked_for


def test_what_was_printed_last_is_not_lost_when_the_process_ends_at_once():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from taskrunner import __main__\nfrom taskrunner.cli import main\n"
        "main.main = lambda: print('the last line') or 3\n"
        "__main__.main()\nprint('not at once')"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (b"the last line\n", b"", 3)
