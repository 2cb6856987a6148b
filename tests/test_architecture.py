"""The floor plan and the walls of CONTRIBUTING.md, held over the syntax tree.

Nothing of the package is imported here. Each rule is a function from a parsed module to the list
of what is wrong with it, and each is itself tried on a snippet that breaks it: a check that cannot
fail is no check.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "taskrunner"

# The street, in the order the data walks: a room may import from rooms before it, never after.
# A folder (cli/, clocks/, ...) is one room.
STREET = (
    "record errors clock home trust rights duration nearest foreign expression zone instant words dial model answers schedule channels functions journal lock logbook config values options "
    "heartbeat ballast complaint migrations policy capacity verdict ledger explain excerpt output executable modules command obstacles runner store "
    "opened names trace telling metrics announce sender claim ending spool slots render taskfile notify clocks entry doorman steps reconcile retention stops supervise carrier by_hand live_output rehearsal "
    "tick definition plan imported exchange stats graph agenda outlook inquiry doctor readiness safekeeping awaited daemon api refusal cli __init__ __main__ launcher"
).split()

# What only the named rooms may use: whole modules, or names in them.
MODULE_WALLS = {
    "sqlite3": {"store", "migrations", "doorman"},
    "subprocess": {"runner"},
    "multiprocessing": {"runner"},
    "pty": {"runner"},
    "signal": {"runner", "daemon"},
    "fcntl": {"lock"},
    "croniter": {"schedule"},
    "dateutil": {"schedule"},
    "argparse": {"cli"},
}
NAME_WALLS = {
    "time.time": {"clock"},
    "time.time_ns": {"clock"},
    "time.clock_gettime": {"clock"},
    "time.clock_gettime_ns": {"clock"},
    "datetime.datetime.now": {"clock", "launcher"},
    "datetime.datetime.utcnow": {"clock"},
    "datetime.datetime.today": {"clock"},
    "datetime.date.today": {"clock"},
    "os.kill": {"runner"},
    "os.killpg": {"runner"},
    "os.fork": {"runner"},
    "os.forkpty": {"runner"},
    "os.posix_spawn": {"runner"},
    "os.posix_spawnp": {"runner"},
    "os.system": {"runner"},
    "os.popen": {"runner"},
    "signal.pidfd_send_signal": {"runner"},
    # launcher, and parts of carrier, are programs of their own
    "os.environ": {"config", "home", "launcher", "carrier"},
    "os.environb": {"config", "home"},
    "os.getenv": {"config", "home"},
    "os.getenvb": {"config", "home"},
    "os.putenv": {"config", "home"},
    "print": {"cli", "launcher"},
    "sys.exit": {"cli", "__main__", "launcher", "carrier"},
    "SystemExit": {"cli", "__main__"},
    "exit": {"cli", "__main__"},
    "quit": {"cli", "__main__"},
    "os._exit": {"__main__"},
}
# These read the clock when they are called with fewer arguments than this.
CLOCK_WITHOUT_ARGUMENT = {
    "time.localtime": 1,
    "time.gmtime": 1,
    "time.ctime": 1,
    "time.asctime": 1,
    "time.strftime": 2,
}
# The street alone would allow these imports.
BLIND = {"store": {"schedule", "policy"}, "runner": {"store"}}
# What may import inside functions: the doors, where what is asked for decides what is needed, and those who
# seldom need what they import, as croniter, a reader of TOML, and a search for what was meant.
DOORS = {"__init__", "__main__", "carrier", "carrier.end", "cli", "cli.watch"} | {
    f"api.{part}" for part in ("door", "tasks", "runs", "clock", "files", "keeping", "notices")
}
LAZY = DOORS | {"schedule", "config", "nearest"}
# Rooms whose public functions and classes must say what they do.
DOCUMENTED = {"api", "schedule", "model"}
# Words we never use for things of ours, and where one is somebody else's name for a thing.
BANNED = {"job", "worker", "manager", "handler", "service", "util"}
SPOKEN_BY_OTHERS = {"service": {"clocks"}}  # systemd's services


@dataclass(frozen=True)
class Module:
    """One parsed module; `name` is dotted and starts with `taskrunner`."""

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    def at(self, node: ast.AST) -> str:
        return f"{self.name}, line {getattr(node, 'lineno', 0)}"


def modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["taskrunner", *path.relative_to(PACKAGE).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(name, path.read_text(), is_package))
    return found


# ---------------------------------------------------------------------------- reading a module


def imported(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Each import statement with the full dotted names it brings in."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                yield node, f"{base}.{alias.name}"


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    drop = node.level - (1 if module.is_package else 0)
    parts = parts[: len(parts) - drop]
    return ".".join([*parts, node.module] if node.module else parts)


def rooms_imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each import from the package with the room it goes to.

    `from taskrunner import lock` goes to the room, `from taskrunner import Task` to the front door;
    so does `import taskrunner` where `taskrunner.Task` is used.
    """
    for node, name in [*imported(module), *used(module)]:
        top, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        # The version is a literal that is there before anything is imported: anyone's.
        if top != "taskrunner" or part in ("", "__version__"):
            continue
        known = part in STREET or (PACKAGE / f"{part}.py").exists()
        yield node, part if known else "__init__"


def used(module: Module) -> Iterator[tuple[ast.expr, str]]:
    """Each name and attribute chain with its full dotted name, imports and aliases resolved."""
    full = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                full[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full[alias.asname or alias.name] = f"{_absolute(module, node)}.{alias.name}"

    def dotted(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return full.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = dotted(node.value)
            return f"{base}.{node.attr}" if base else None
        return None

    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and (name := dotted(node)):
            yield node, name


def defined(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each identifier this module makes up: other people's names (logging.Handler) are theirs."""
    for node in ast.walk(module.tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node, node.name
            case ast.arg():
                yield node, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node, node.attr
            case ast.alias(asname=str(name)):
                yield node, name
            case ast.ExceptHandler(name=str(name)):
                yield node, name


def words(identifier: str) -> set[str]:
    """`JobHandler`, `job_handlers` -> job, handler."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)
    return {part.lower() for part in parts} | {part.lower().removesuffix("s") for part in parts}


# ---------------------------------------------------------------------------- the rules


def place_on_the_street(module: Module) -> list[str]:
    if module.room in STREET:
        return []
    return [
        (
            f"{module.name}: the room '{module.room}' has no place on the street; decide what it may import "
            "and put it into STREET in tests/test_architecture.py and into CONTRIBUTING.md"
        )
    ]


def imports_go_down_the_street(module: Module) -> list[str]:
    if module.room not in STREET:
        return []
    here = STREET.index(module.room)
    faults = [
        f"{module.at(node)}: '{module.room}' imports '{room}', which comes later on the street"
        for node, room in rooms_imported(module)
        if room != module.room and room in STREET and STREET.index(room) > here
    ]
    return list(dict.fromkeys(faults))


def walls(module: Module) -> list[str]:
    faults = []
    for node, name in imported(module):
        rooms = MODULE_WALLS.get(name.split(".")[0])
        if rooms is not None and module.room not in rooms:
            faults.append(f"{module.at(node)}: {name} belongs to {_either(rooms)}")
        rooms = NAME_WALLS.get(name)
        if rooms is not None and module.room not in rooms:
            faults.append(f"{module.at(node)}: {name} belongs to {_either(rooms)}")
    for node, name in used(module):
        rooms = NAME_WALLS.get(name)
        if rooms is not None and module.room not in rooms:
            faults.append(f"{module.at(node)}: {name} belongs to {_either(rooms)}")
    return faults


def _either(rooms: set[str]) -> str:
    return " and ".join(sorted(rooms)) + " only"


def only_the_clock_reads_the_time(module: Module) -> list[str]:
    """The calls that read the wall clock only when an argument is left out."""
    if module.room == "clock":
        return []
    names = {id(node): name for node, name in used(module)}
    return [
        f"{module.at(node)}: {name} without an argument reads the wall clock; only clock may"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (name := names.get(id(node.func))) in CLOCK_WITHOUT_ARGUMENT
        and len(node.args) < CLOCK_WITHOUT_ARGUMENT[name]
    ]


def blind_rooms(module: Module) -> list[str]:
    return [
        f"{module.at(node)}: '{module.room}' must not know '{room}'"
        for node, room in rooms_imported(module)
        if room in BLIND.get(module.room, ())
    ]


def runner_sees_no_task(module: Module) -> list[str]:
    """A command knows no task: the room that runs it must not even have a name for one."""
    if module.room != "runner":
        return []
    names = list(defined(module)) + [(n, n.id) for n in ast.walk(module.tree) if _is_name(n)]
    names += [(n, n.attr) for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)]
    names += [(node, name.split(".")[-1]) for node, name in imported(module)]
    return sorted(
        {
            f"{module.at(node)}: '{name}' names a task"
            for node, name in names
            if "task" in words(name)
        }
    )


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def imports_stand_at_the_top(module: Module) -> list[str]:
    if module.name in {f"taskrunner.{room}" for room in LAZY} | {"taskrunner"}:
        return []
    allowed = ", ".join(sorted(LAZY))
    return [
        f"{module.at(node)}: an import inside '{function.name}'; allowed in {allowed} only"
        for function in ast.walk(module.tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]


def modules_have_docstrings(module: Module) -> list[str]:
    return [] if ast.get_docstring(module.tree) else [f"{module.name}: has no docstring"]


def public_things_have_docstrings(module: Module) -> list[str]:
    if module.room not in DOCUMENTED:
        return []
    return [
        f"{module.at(node)}: '{node.name}' is public and has no docstring"
        for node in _public(module.tree)
        if not ast.get_docstring(node)
    ]


def _public(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in scope.body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        marks = {ast.unparse(mark).split(".")[-1] for mark in node.decorator_list}
        if marks & {"overload", "setter", "deleter", "override"}:
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


def our_words_only(module: Module) -> list[str]:
    names = [*defined(module), (module.tree, module.name.removeprefix("taskrunner"))]
    return [
        f"{module.at(node)}: '{name}' says '{word}', which is no word of ours"
        for node, name in names
        for word in sorted(words(name) & BANNED)
        if module.room not in SPOKEN_BY_OTHERS.get(word, ())
    ]


def no_cycles_inside_a_room(house: list[Module]) -> list[str]:
    """Takes all modules: within one room too, imports go one way."""
    names = {module.name for module in house}
    edges: dict[str, set[str]] = {}
    for module in house:
        for _, name in imported(module):
            target = name
            while target and target not in names:
                target = target.rpartition(".")[0]
            same_room = target.split(".")[1:2] == module.name.split(".")[1:2]
            if target and target != module.name and same_room:
                edges.setdefault(module.name, set()).add(target)
    return sorted({f"imports in a circle: {' -> '.join(circle)}" for circle in _circles(edges)})


def _circles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    def walk(name: str, trail: list[str]) -> Iterator[list[str]]:
        if name in trail:
            circle = trail[trail.index(name) :]
            first = circle.index(min(circle))
            yield [*circle[first:], *circle[:first], circle[first]]
            return
        for target in sorted(edges.get(name, ())):
            yield from walk(target, [*trail, name])

    for name in sorted(edges):
        yield from walk(name, [])


def mentions(texts: dict[str, str], outside: str) -> list[str]:
    """Takes file names and texts: the project stands alone and points to nothing beside it."""
    return [f"{name} mentions {outside}" for name, text in texts.items() if outside in text]


RULES: tuple[Callable[[Module], list[str]], ...] = (
    place_on_the_street,
    imports_go_down_the_street,
    walls,
    only_the_clock_reads_the_time,
    blind_rooms,
    runner_sees_no_task,
    imports_stand_at_the_top,
    modules_have_docstrings,
    public_things_have_docstrings,
    our_words_only,
)

# ---------------------------------------------------------------------------- the house


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule):
    house = modules()
    assert house, "the package has no modules"
    faults = [fault for module in house for fault in rule(module)]
    assert not faults, "\n" + "\n".join(faults)


def test_the_house_has_no_circles_inside_a_room():
    assert no_cycles_inside_a_room(modules()) == []


OUTSIDE = "../" + "shared"
NOT_OURS = {".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def test_the_repository_points_to_nothing_beside_it():
    texts = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in NOT_OURS and not name.startswith((".venv", ".quickstart"))
        ]
        for name in files:
            path = Path(folder, name)
            if path.is_file():
                texts[str(path.relative_to(ROOT))] = path.read_text(errors="replace")
    assert "pyproject.toml" in texts
    assert mentions(texts, OUTSIDE) == []


# ---------------------------------------------------------------------------- the rules' own tests


def module(name: str, text: str) -> Module:
    dotted = "taskrunner" if name == "__init__" else f"taskrunner.{name}"
    return Module(dotted, f'"""Doc."""\n{text}\n', is_package=name == "__init__")


BAD = [
    (place_on_the_street, "shed", ""),
    (imports_go_down_the_street, "model", "from taskrunner.store.store import Store"),
    (imports_go_down_the_street, "model", "from taskrunner import store"),
    (imports_go_down_the_street, "model", "import taskrunner.store.store"),
    (imports_go_down_the_street, "model", "from .store import Store"),
    (imports_go_down_the_street, "model", "from . import store"),
    (imports_go_down_the_street, "model", "from taskrunner import Task"),
    (imports_go_down_the_street, "cli", "import taskrunner\ntaskrunner.Task"),
    (imports_go_down_the_street, "lock", "import taskrunner as front\nfront.store"),
    (imports_go_down_the_street, "clocks.cron", "from ..api import TaskRunner"),
    (imports_go_down_the_street, "lock", "def f():\n    from .cli import main"),
    (walls, "store", "import time\nnow = time.time()"),
    (walls, "store", "import time as t\nnow = t.time_ns()"),
    (walls, "store", "from time import time"),
    (walls, "tick", "def f(clock=None):\n    import time\n    return (clock or time.time)()"),
    (walls, "store", "from datetime import datetime, UTC\nnow = datetime.now(UTC)"),
    (walls, "store", "import datetime as dt\nnow = dt.datetime.utcnow()"),
    (walls, "store", "from datetime import date\nnow = date.today()"),
    (walls, "api", "import sqlite3"),
    (walls, "api", "from sqlite3 import connect"),
    (walls, "clocks.cron", "import subprocess"),
    (walls, "clocks.cron", "from subprocess import run"),
    (walls, "supervise", "import os\nos.kill(1, 15)"),
    (walls, "supervise", "import os\nos.killpg(1, 15)"),
    (walls, "supervise", "from os import fork"),
    (walls, "supervise", "import os\nstop = os.posix_spawn"),
    (walls, "daemon", "import signal\nsignal.pidfd_send_signal(3, 15)"),
    (walls, "supervise", "import signal"),
    (walls, "heartbeat", "import fcntl"),
    (walls, "duration", "from dateutil.relativedelta import relativedelta"),
    (walls, "duration", "def f():\n    import croniter"),
    (walls, "runner", "import os\npath = os.environ['PATH']"),
    (walls, "runner", "from os import environ"),
    (walls, "runner", "import os\npath = os.getenv('PATH')"),
    (walls, "tick", "print('done')"),
    (walls, "tick", "import sys\nsys.exit(1)"),
    (walls, "tick", "raise SystemExit(1)"),
    (walls, "tick", "import argparse"),
    (walls, "cli.runs", "import os\nos._exit(1)"),
    (only_the_clock_reads_the_time, "render", "import time\ntime.localtime()"),
    (only_the_clock_reads_the_time, "render", "from time import gmtime\ngmtime()"),
    (only_the_clock_reads_the_time, "render", "import time\ntime.strftime('%H')"),
    (blind_rooms, "store", "from .schedule import Cron"),
    (blind_rooms, "store.claims", "from taskrunner import policy"),
    (blind_rooms, "runner", "from . import store"),
    (runner_sees_no_task, "runner", "from .model import Task"),
    (runner_sees_no_task, "runner", "from . import model\nx: model.Task"),
    (runner_sees_no_task, "runner", "def start(task): ..."),
    (runner_sees_no_task, "runner", "def start(run):\n    return run.task_id"),
    (imports_stand_at_the_top, "tick", "def f():\n    import json"),
    (
        imports_stand_at_the_top,
        "cli.runs",
        "class A:\n    def f(self):\n        from . import clock",
    ),
    (imports_stand_at_the_top, "cli.__main__", "def f():\n    import json"),
    (public_things_have_docstrings, "api", "def add(): ..."),
    (public_things_have_docstrings, "model", "class Task: ..."),
    (public_things_have_docstrings, "schedule", "class A:\n    'Doc.'\n    def next(self): ..."),
    (our_words_only, "tick", "job = 1"),
    (our_words_only, "tick", "class RunHandler: ..."),
    (our_words_only, "tick", "def f(workers): ..."),
    (our_words_only, "tick", "import json as json_utils"),
    (our_words_only, "tick", "def f(self):\n    self.task_manager = 1"),
    (our_words_only, "tick", "service_name = 1"),
    (our_words_only, "utils", ""),
    (our_words_only, "cli.job_list", ""),
]

GOOD = [
    (imports_go_down_the_street, "tick", "from .store import Store\nfrom . import runner"),
    (imports_go_down_the_street, "cli.runs", "from taskrunner.cli.main import tasks"),
    (imports_go_down_the_street, "__init__", "from .api import TaskRunner"),
    (imports_go_down_the_street, "cli", "import taskrunner\ntaskrunner.__version__"),
    (imports_go_down_the_street, "cli", "from taskrunner import __version__"),
    (walls, "clock", "from datetime import UTC, datetime\nnow = datetime.now(UTC)"),
    (walls, "tick", "import time\nstart = time.monotonic()"),
    (walls, "tick", "def f(clock):\n    return clock.now()"),
    (walls, "store", "import sqlite3"),
    (walls, "runner", "import os, signal, subprocess\nos.killpg(1, signal.SIGTERM)"),
    (walls, "cli.runs", "import sys\nprint(1)\nsys.exit(0)"),
    (walls, "home", "import os\nhome = os.environ.get('HOME')"),
    (walls, "tick", "def f(out):\n    out.print('x')"),
    (only_the_clock_reads_the_time, "render", "import time\ntime.localtime(0)"),
    (blind_rooms, "tick", "from . import policy, schedule"),
    (runner_sees_no_task, "runner", "from taskrunner.model.values import Command"),
    (imports_stand_at_the_top, "schedule", "def f():\n    import croniter"),
    (imports_stand_at_the_top, "__init__", "def __getattr__(name):\n    from . import api"),
    (public_things_have_docstrings, "api", "def _add(): ..."),
    (our_words_only, "tick", "import logging\nlogging.StreamHandler()"),
    (our_words_only, "clocks.systemd", "service_text = ''"),
]


def _case(case):
    rule, name, text = case
    return f"{rule.__name__}-{name}-{text.splitlines()[-1].strip() if text else 'empty'}"


@pytest.mark.parametrize(("rule", "name", "text"), BAD, ids=map(_case, BAD))
def test_a_rule_sees_what_breaks_it(rule, name, text):
    assert rule(module(name, text)), f"{rule.__name__} is blind to this"


@pytest.mark.parametrize(("rule", "name", "text"), GOOD, ids=map(_case, GOOD))
def test_a_rule_leaves_what_keeps_it_alone(rule, name, text):
    assert rule(module(name, text)) == []


def test_a_module_without_docstring_is_seen():
    assert modules_have_docstrings(Module("taskrunner.tick.visit", "x = 1"))
    assert not modules_have_docstrings(Module("taskrunner.tick.visit", '"""Doc."""'))


def test_every_rule_has_something_that_breaks_it():
    tried = {rule for rule, _, _ in BAD} | {modules_have_docstrings}
    assert set(RULES) == tried


def test_every_wall_is_held_for_every_room():
    for name in MODULE_WALLS:
        assert walls(module("errors", f"import {name}")), name
    for name in NAME_WALLS:
        text = f"import {name.split('.')[0]}\n{name}" if "." in name else name
        assert walls(module("errors", text)), name


def test_a_circle_inside_a_room_is_seen():
    runs = module("cli.runs", "from .tasks import x")
    tasks = module("cli.tasks", "from taskrunner.cli.main import lists")
    lists = module("cli.lists", "from . import runs")
    (fault,) = no_cycles_inside_a_room([runs, tasks, lists])
    circle = fault.removeprefix("imports in a circle: ").replace("taskrunner.cli.main.", "")
    assert circle == "lists -> runs -> tasks -> lists"
    assert no_cycles_inside_a_room([runs, tasks]) == []


def test_a_pointer_to_the_outside_is_seen():
    assert mentions({"a": "fine", "b": f"see {OUTSIDE}/design.md"}, OUTSIDE) == [
        f"b mentions {OUTSIDE}"
    ]
