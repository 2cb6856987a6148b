"""What a type checker sees of the package: real names only, and every type of a public signature."""

import ast
import os
import subprocess
import sys
import venv
from datetime import UTC, datetime
from importlib.util import find_spec

import pytest

import taskrunner
from taskrunner import Every, TaskRunner
from tests.samples import ROOT

pytestmark = pytest.mark.one_python

CONSUMER = '''
"""A project that uses the library, with a type for everything."""

from datetime import UTC, datetime, timedelta

from taskrunner import (
    At, Backup, Checkup, Cron, Decision, Delivery, Every, Finding, InputError, Options, Overlap, Plan, Posted,
    Progress, Run, Schedule, State, Status, Task, TaskRunner, Told, UnknownTask, Upcoming, Visit,
)

runner = TaskRunner("/srv/home", clock=lambda: datetime.now(UTC))


@runner.task(every="1d", timeout="10m")
def clean(days: int = 7) -> int:
    return days


def kept(days: int) -> int:
    return clean(days)


def add(name: str, schedule: Schedule, options: Options) -> Task:
    return runner.add(name, ["/opt/report.sh"], schedule, **options)


def tell(what: str, done: int, total: int | None) -> None:
    print(what, done, total)


progress: Progress = tell
whens: list[Schedule] = [Cron("30 2 * * *", tz="Europe/Berlin"), Every("1d"), At("2030-01-01")]
tasks: set[Task] = {add("a", each, {"timeout": timedelta(minutes=1), "overlap": "queue"}) for each in whens}
overlaps: dict[Task, Overlap] = {task: task.overlap for task in tasks}
failed: list[Run] = [run for run in runner.history("a", limit=5) if run.state is State.FAILED]
visit: Visit = runner.tick()
decided: list[Decision] = runner.dry_run()[1]
status: Status = runner.status()
coming: list[Upcoming] = runner.next()
channels: list[Told] = runner.channels()
messages: list[Posted] = runner.outbox()
sent: list[Delivery] = runner.deliver()
found: Checkup = runner.doctor()
worst: Finding = found.findings[0]
copy: Backup = runner.backup(progress=progress)
plan: Plan = runner.apply("tasks.toml")
moment: datetime | None = Every("1d", anchor=datetime.now(UTC), tz="UTC").next_after(datetime.now(UTC))

try:
    runner.remove("a")
except (UnknownTask, InputError) as exc:
    print(exc, exc.exit_code)
'''
# Each is wrong in its own way; a checker has to say so.
WRONG = {
    "from taskrunner import Corn": "Corn",
    "import taskrunner\ntaskrunner.Evry": "Evry",
    "import taskrunner\ntaskrunner.TaskRunner().hstory()": "hstory",
    "from taskrunner import TaskRunner\nTaskRunner().add('a', ['true'], timeot='1h')": "timeot",
    "from taskrunner import *\nCorn('* * * * *')": "Corn",
}
PRIVATE = {"Function"}  # a variable of types


@pytest.fixture(scope="module")
def strictly(tmp_path_factory):
    """Return what `mypy --strict` says of a text, in an environment that has the package installed."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    place = tmp_path_factory.mktemp("consumer")
    venv.create(place / "venv", with_pip=False)
    packages = place / "venv/lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (packages / "taskrunner").symlink_to(ROOT / "taskrunner")

    def check(*texts):
        files = [place / f"project{number}.py" for number, _ in enumerate(texts)]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        words = ("--strict", "--python-executable", place / "venv/bin/python", *files)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *words],
            cwd=place,
            env={**os.environ, "MYPY_CACHE_DIR": str(place / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout + done.stderr

    return check


@pytest.mark.slow
@pytest.mark.xdist_group("mypy")
def test_a_project_that_uses_the_library_passes_mypy_strict(strictly):
    assert strictly(CONSUMER).startswith("Success")


@pytest.mark.xdist_group("mypy")
def test_a_name_that_is_not_there_does_not_pass(strictly):
    said = strictly(*WRONG)
    for number, name in enumerate(WRONG.values()):
        told = [line for line in said.splitlines() if line.startswith(f"project{number}.py")]
        assert any("error" in line and name in line for line in told), (name, said)


def test_every_type_of_a_public_signature_can_be_imported_from_the_package():
    found = set()
    for name in taskrunner.__all__:
        value = getattr(taskrunner, name)
        found |= _types_of(value.__module__, name) if isinstance(value, type) else set()
    assert {"Told", "Backup", "Options"} <= found
    assert found - PRIVATE <= set(taskrunner.__all__)


def _types_of(module, name):
    """Return the types of ours in the annotations of a class and of what it derives from."""
    tree = _tree(module)
    known = {each.name: module for each in tree.body if isinstance(each, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("taskrunner"):
            known |= {each.name: node.module for each in node.names}
    found = set()
    for node in (each for each in tree.body if isinstance(each, ast.ClassDef)):
        if node.name != name:
            continue
        for base in _names(*node.bases) & known.keys():
            found |= _types_of(known[base], base)
        found |= _names(*_annotations(node)) & known.keys()
    return found


def _tree(module):
    path = ROOT.joinpath(*module.split("."))
    return ast.parse(
        (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    )


def _names(*nodes):
    return {each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)}


def _annotations(node):
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            yield part.annotation
        if isinstance(part, ast.FunctionDef) and (part.name == "__init__" or part.name[0] != "_"):
            given = part.args
            every = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
            yield from (each.annotation for each in every if each is not None and each.annotation)
            if part.returns is not None:
                yield part.returns


# ---- the values themselves


def test_a_task_and_what_the_library_answers_can_be_in_a_set(runner):
    runner.add("a", ["true"], Every("1d"), env={"A": "1"}, notify={"failure": "@ops"})
    first, again = runner.task("a"), runner.task("a")
    assert first is not again
    assert len({first, again}) == 1
    for answer in (runner.status(), runner.explain("a"), runner.stats()):
        assert hash(answer) == hash(answer)


def test_equal_records_with_tables_have_one_hash():
    values = [taskrunner.Exported("a", ("b",)), taskrunner.Gap(datetime.now(UTC), None, "off")]
    assert len({hash(each) for each in values}) == 2
    one = taskrunner.Environment("a", ("x",), None, "/", "u", 0, {"A": "1", "B": "2"})
    two = taskrunner.Environment("a", ("x",), None, "/", "u", 0, {"B": "2", "A": "1"})
    assert one == two
    assert hash(one) == hash(two)


def test_a_taskrunner_names_its_home(tmp_path):
    assert repr(TaskRunner(tmp_path / "h")) == f"TaskRunner({str(tmp_path / 'h')!r})"
