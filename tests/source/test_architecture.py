"""The order of the layers and what only some of them may use, held over the syntax tree.

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
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "taskrunner"

# One row a layer, lowest first: a layer imports from those above it in this table, never from those below.
# Beside it stands what only the layers that name it may use: modules, names in modules, and `lazy` for
# imports inside functions. A row with a dot grants that to one module and is no layer of its own.
TABLE = """
host                time.time time.time_ns time.clock_gettime time.clock_gettime_ns
clock               datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today
errors              lazy
model
schedule
schedule.kinds      dateutil lazy
schedule.next_day   croniter dateutil lazy
home
home.lock           fcntl
home.paths          os.environ os.environb os.getenv os.getenvb os.putenv lazy
home.config         os.environ os.environb os.getenv os.getenvb os.putenv lazy
processes.rights    lazy
processes           subprocess multiprocessing pty signal os.kill os.killpg os.fork os.forkpty os.posix_spawn os.posix_spawnp os.system os.popen signal.pidfd_send_signal
engines             rq redis lazy
engines.rq          os.environ
schema              sqlite3
store               sqlite3
decide
render
notify
upkeep
supervise
supervise.carriers  lazy
supervise.supervisor lazy
supervise.systemd   signal os.environ sys.exit lazy
tick
tick.idle_check     lazy
tick.idle_question  sqlite3
tick.daemon         signal
clocks
tasks
report
api                 lazy
report_error
web                 flask jinja2 waitress werkzeug
web.serve           signal os.environ
cli                 argparse print sys.exit SystemExit exit quit lazy
__init__            lazy
__main__            sys.exit SystemExit exit quit os._exit lazy
carrier
django              django lazy os.environ
django.management   argparse sys.exit
launcher            datetime.datetime.now os.environ print sys.exit
"""
ROWS = {row.split()[0]: frozenset(row.split()[1:]) for row in TABLE.strip().splitlines()}
LAYERS = [name for name in ROWS if "." not in name]
BUILTINS = {"print", "exit", "quit", "SystemExit"}
WALLED = frozenset().union(*ROWS.values()) - {"lazy"}
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60  # lines
MOST_WITH_HOME = 95  # functions
# These read the clock when they are called with fewer arguments than this.
CLOCK_WITHOUT_ARGUMENT = {
    "time.localtime": 1,
    "time.gmtime": 1,
    "time.ctime": 1,
    "time.asctime": 1,
    "time.strftime": 2,
}
# The order alone would allow these imports.
BLIND = {
    "store": {"schedule", "decide"},
    "decide": {"store"},
    "processes": {"store"},
    "engines": {"store", "schedule", "home"},
}
# The form of the admin is that of the page, from modules that do not know Flask.
THAT_IMPORT_THE_PAGE = (
    "taskrunner.cli.page",
    "taskrunner.django.page",
    "taskrunner.django.task_form",
)
# Layers whose public functions and classes must say what they do.
DOCUMENTED = {"api", "schedule", "model"}
# Words we never use for things of ours, and where one is somebody else's name for a thing.
BANNED = {"job", "worker", "manager", "handler", "service", "util"}
SPOKEN_BY_OTHERS = {
    "service": {"clocks"},  # systemd's
    "job": {"engines"},  # RQ's
    "worker": {"__init__", "engines", "model", "render"},
}


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
    def layer(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    def may(self, use: str) -> bool:
        """Whether a row of the table for this module, or for a folder it is in, grants this."""
        name = self.name.partition(".")[2] or "__init__"
        return any(use in ROWS[row] for row in ROWS if name == row or name.startswith(f"{row}."))

    def at(self, node: ast.AST) -> str:
        return f"{self.name}, line {getattr(node, 'lineno', 0)}"


@cache
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


def layers_imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Each import from the package with the layer it goes to.

    `from taskrunner.home import lock` goes to the layer, `from taskrunner import Task` to the public names;
    so does `import taskrunner` where `taskrunner.Task` is used.
    """
    for node, name in [*imported(module), *used(module)]:
        top, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        # The version is a literal that is there before anything is imported: anyone's.
        if top != "taskrunner" or part in ("", "__version__"):
            continue
        known = part in LAYERS or (PACKAGE / f"{part}.py").exists()
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


def every_module_is_in_a_layer(module: Module) -> list[str]:
    if module.layer in LAYERS:
        return []
    return [
        (
            f"{module.name}: '{module.layer}' is no layer; decide what it may import and give it a row "
            "in TABLE in tests/source/test_architecture.py"
        )
    ]


def imports_go_down(module: Module) -> list[str]:
    if module.layer not in LAYERS:
        return []
    here = LAYERS.index(module.layer)
    faults = [
        f"{module.at(node)}: '{module.layer}' imports '{layer}', which is a higher layer"
        for node, layer in layers_imported(module)
        if layer != module.layer and layer in LAYERS and LAYERS.index(layer) > here
    ]
    return list(dict.fromkeys(faults))


def walls(module: Module) -> list[str]:
    uses = [(node, use) for node, name in imported(module) for use in {name, name.split(".")[0]}]
    uses += [(node, name) for node, name in used(module) if "." in name or name in BUILTINS]
    return [
        f"{module.at(node)}: {use} belongs to {_holders(use)}"
        for node, use in uses
        if use in WALLED and not module.may(use)
    ]


def _holders(use: str) -> str:
    return " and ".join(sorted(row for row in ROWS if use in ROWS[row])) + " only"


def only_the_clock_reads_the_time(module: Module) -> list[str]:
    """The calls that read the wall clock only when an argument is left out."""
    if module.layer in ("host", "clock"):
        return []
    names = {id(node): name for node, name in used(module)}
    return [
        f"{module.at(node)}: {name} without an argument reads the wall clock; only clock may"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (name := names.get(id(node.func))) in CLOCK_WITHOUT_ARGUMENT
        and len(node.args) < CLOCK_WITHOUT_ARGUMENT[name]
    ]


def what_a_layer_must_not_know(module: Module) -> list[str]:
    return [
        f"{module.at(node)}: '{module.layer}' must not know '{layer}'"
        for node, layer in layers_imported(module)
        if layer in BLIND.get(module.layer, ())
    ]


def only_its_verb_imports_the_page(module: Module) -> list[str]:
    """The page needs an extra: what is started without it must not come across it."""
    if module.layer == "web" or module.name in THAT_IMPORT_THE_PAGE:
        return []
    return [
        f"{module.at(node)}: only {', '.join(THAT_IMPORT_THE_PAGE)} import the page"
        for node, layer in layers_imported(module)
        if layer == "web"
    ]


def processes_see_no_task(module: Module) -> list[str]:
    """A command knows no task: the layer that runs it must not even have a name for one."""
    if module.layer != "processes":
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
    if module.may("lazy"):
        return []
    return [
        f"{module.at(node)}: an import inside '{function.name}'; allowed in {_holders('lazy')}"
        for function in ast.walk(module.tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]


def modules_have_docstrings(module: Module) -> list[str]:
    return [] if ast.get_docstring(module.tree) else [f"{module.name}: has no docstring"]


def public_things_have_docstrings(module: Module) -> list[str]:
    if module.layer not in DOCUMENTED:
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
        if module.layer not in SPOKEN_BY_OTHERS.get(word, ())
    ]


def modules_and_functions_are_short(module: Module) -> list[str]:
    """A reader holds so many lines in mind; a longer module has a part with a name of its own."""
    faults = [
        f"{module.at(node)}: '{node.name}' has more than {LONGEST_FUNCTION} lines"
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    if module.text.count("\n") > LONGEST_MODULE:
        faults.append(f"{module.name}: has more than {LONGEST_MODULE} lines")
    return faults


def takes_open_home(module: Module) -> list[str]:
    """Return the functions of a module that take the whole open home; most need its store, a path or an instant."""
    return [
        f"{module.name}.{node.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(each.arg == "here" for each in (*node.args.args, *node.args.kwonlyargs))
    ]


def no_cycles_between_modules(found: list[Module]) -> list[str]:
    """Takes all modules: between any two of them imports go one way; `import taskrunner` is for its version."""
    names = {module.name for module in found} - {"taskrunner"}
    edges: dict[str, set[str]] = {}
    for module in found:
        for _, name in imported(module):
            target = name
            while target and target not in names:
                target = target.rpartition(".")[0]
            if target and target != module.name:
                edges.setdefault(module.name, set()).add(target)
    return sorted({f"imports in a circle: {' -> '.join(circle)}" for circle in _circles(edges)})


def _circles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    done: set[str] = set()  # nothing below these leads back

    def walk(name: str, trail: list[str]) -> Iterator[list[str]]:
        if name in trail:
            circle = trail[trail.index(name) :]
            first = circle.index(min(circle))
            yield [*circle[first:], *circle[:first], circle[first]]
            return
        if name in done:
            return
        for target in sorted(edges.get(name, ())):
            yield from walk(target, [*trail, name])
        done.add(name)

    for name in sorted(edges):
        yield from walk(name, [])


def mentions(texts: dict[str, str], outside: str) -> list[str]:
    """Takes file names and texts: the project stands alone and points to nothing beside it."""
    return [f"{name} mentions {outside}" for name, text in texts.items() if outside in text]


RULES: tuple[Callable[[Module], list[str]], ...] = (
    every_module_is_in_a_layer,
    imports_go_down,
    walls,
    only_the_clock_reads_the_time,
    what_a_layer_must_not_know,
    only_its_verb_imports_the_page,
    processes_see_no_task,
    imports_stand_at_the_top,
    modules_have_docstrings,
    public_things_have_docstrings,
    our_words_only,
    modules_and_functions_are_short,
)

# ---------------------------------------------------------------------------- the package


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    found = modules()
    assert found, "the package has no modules"
    faults = [fault for module in found for fault in rule(module)]
    assert not faults, "\n" + "\n".join(faults)


def test_modules_import_in_no_circle():
    assert no_cycles_between_modules(modules()) == []


def test_few_functions_take_the_whole_open_home():
    taking = [name for module in modules() for name in takes_open_home(module)]
    assert 0 < len(taking) <= MOST_WITH_HOME, "give them the store, a path or an instant"


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
    (every_module_is_in_a_layer, "shed", ""),
    (imports_go_down, "model", "from taskrunner.store.store import Store"),
    (imports_go_down, "model", "from taskrunner import store"),
    (imports_go_down, "model", "import taskrunner.store.store"),
    (imports_go_down, "model", "from .store import Store"),
    (imports_go_down, "model", "from . import store"),
    (imports_go_down, "model", "from taskrunner import Task"),
    (imports_go_down, "cli", "import taskrunner\ntaskrunner.Task"),
    (imports_go_down, "home.lock", "import taskrunner as front\nfront.store"),
    (imports_go_down, "clocks.cron_text", "from ..api import TaskRunner"),
    (imports_go_down, "home.lock", "def f():\n    from ..cli import main"),
    (walls, "store", "import time\nnow = time.time()"),
    (walls, "store", "import time as t\nnow = t.time_ns()"),
    (walls, "store", "from time import time"),
    (walls, "tick", "def f(clock=None):\n    import time\n    return (clock or time.time)()"),
    (walls, "store", "from datetime import datetime, UTC\nnow = datetime.now(UTC)"),
    (walls, "store", "import datetime as dt\nnow = dt.datetime.utcnow()"),
    (walls, "store", "from datetime import date\nnow = date.today()"),
    (walls, "api", "import sqlite3"),
    (walls, "api", "from sqlite3 import connect"),
    (walls, "clocks.cron_text", "import subprocess"),
    (walls, "clocks.cron_text", "from subprocess import run"),
    (walls, "supervise.stops", "import os\nos.kill(1, 15)"),
    (walls, "supervise", "import os\nos.killpg(1, 15)"),
    (walls, "supervise", "from os import fork"),
    (walls, "supervise", "import os\nstop = os.posix_spawn"),
    (walls, "tick.daemon", "import signal\nsignal.pidfd_send_signal(3, 15)"),
    (walls, "supervise", "import signal"),
    (walls, "home.heartbeat", "import fcntl"),
    (walls, "schedule.durations", "from dateutil.relativedelta import relativedelta"),
    (walls, "schedule.durations", "def f():\n    import croniter"),
    (walls, "processes", "import os\npath = os.environ['PATH']"),
    (walls, "processes", "from os import environ"),
    (walls, "processes", "import os\npath = os.getenv('PATH')"),
    (walls, "tick", "print('done')"),
    (walls, "tick", "import sys\nsys.exit(1)"),
    (walls, "tick", "raise SystemExit(1)"),
    (walls, "tick", "import argparse"),
    (walls, "cli.runs", "import os\nos._exit(1)"),
    (only_the_clock_reads_the_time, "render", "import time\ntime.localtime()"),
    (only_the_clock_reads_the_time, "render", "from time import gmtime\ngmtime()"),
    (only_the_clock_reads_the_time, "render", "import time\ntime.strftime('%H')"),
    (what_a_layer_must_not_know, "store", "from .schedule import Cron"),
    (what_a_layer_must_not_know, "store.claims", "from taskrunner.decide import policy"),
    (what_a_layer_must_not_know, "decide.capacity", "from taskrunner.store.store import Store"),
    (what_a_layer_must_not_know, "processes", "from . import store"),
    (only_its_verb_imports_the_page, "cli.main", "from taskrunner.web import app"),
    (only_its_verb_imports_the_page, "__main__", "def f():\n    import taskrunner.web.serve"),
    (only_its_verb_imports_the_page, "django.admin", "from taskrunner.web import app"),
    (imports_go_down, "cli.main", "from taskrunner.django import registry"),
    (imports_go_down, "__init__", "def f():\n    import taskrunner.django.apps"),
    (walls, "web.app", "from django.http import HttpResponse"),
    (walls, "api.clock", "import django"),
    (walls, "cli.page", "def f():\n    from flask import Flask"),
    (walls, "api", "import waitress"),
    (processes_see_no_task, "processes", "from .model import Task"),
    (processes_see_no_task, "processes", "from . import model\nx: model.Task"),
    (processes_see_no_task, "processes", "def start(task): ..."),
    (processes_see_no_task, "processes", "def start(run):\n    return run.task_id"),
    (imports_stand_at_the_top, "tick", "def f():\n    import json"),
    (
        imports_stand_at_the_top,
        "tick.visit",
        "class A:\n    def f(self):\n        from . import clock",
    ),
    (imports_stand_at_the_top, "tick.__main__", "def f():\n    import json"),
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
    (modules_and_functions_are_short, "tick", "x = 1\n" * 400),
    (modules_and_functions_are_short, "tick", "def f():\n" + "    x = 1\n" * 61),
]

GOOD = [
    (imports_go_down, "tick", "from .store import Store\nfrom . import processes"),
    (imports_go_down, "cli.runs", "from taskrunner.cli.main import tasks"),
    (imports_go_down, "__init__", "from .api import TaskRunner"),
    (imports_go_down, "cli", "import taskrunner\ntaskrunner.__version__"),
    (imports_go_down, "cli", "from taskrunner import __version__"),
    (walls, "clock", "from datetime import UTC, datetime\nnow = datetime.now(UTC)"),
    (walls, "tick", "import time\nstart = time.monotonic()"),
    (walls, "tick", "def f(clock):\n    return clock.now()"),
    (walls, "store", "import sqlite3"),
    (walls, "processes", "import os, signal, subprocess\nos.killpg(1, signal.SIGTERM)"),
    (walls, "cli.runs", "import sys\nprint(1)\nsys.exit(0)"),
    (walls, "home.paths", "import os\nhome = os.environ.get('HOME')"),
    (walls, "tick", "def f(out):\n    out.print('x')"),
    (only_the_clock_reads_the_time, "render", "import time\ntime.localtime(0)"),
    (what_a_layer_must_not_know, "tick", "from . import decide, schedule"),
    (only_its_verb_imports_the_page, "cli.page", "def f():\n    from taskrunner.web import app"),
    (only_its_verb_imports_the_page, "web.app", "from taskrunner.web import guard"),
    (walls, "web.pages", "from flask import Blueprint"),
    (walls, "django.apps", "from django.apps import AppConfig"),
    (
        imports_go_down,
        "django.apps",
        "from taskrunner import TaskRunner\nfrom taskrunner.cli import main",
    ),
    (processes_see_no_task, "processes", "from taskrunner.model.values import Command"),
    (imports_stand_at_the_top, "schedule.kinds", "def f():\n    import croniter"),
    (imports_stand_at_the_top, "__init__", "def __getattr__(name):\n    from . import api"),
    (public_things_have_docstrings, "api", "def _add(): ..."),
    (our_words_only, "tick", "import logging\nlogging.StreamHandler()"),
    (our_words_only, "clocks.systemd_text", "service_text = ''"),
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


def test_every_wall_is_held_for_every_layer():
    for name in WALLED:
        text = f"import {name.split('.')[0]}\n{name}" if name not in BUILTINS else name
        assert walls(module("errors", text)), name


def test_a_circle_of_imports_is_seen():
    runs = module("cli.runs", "from .tasks import x")
    tasks = module("cli.tasks", "from taskrunner.cli import lists")
    lists = module("cli.lists", "from . import runs")
    (fault,) = no_cycles_between_modules([runs, tasks, lists])
    circle = fault.removeprefix("imports in a circle: ").replace("taskrunner.cli.", "")
    assert circle == "lists -> runs -> tasks -> lists"
    assert no_cycles_between_modules([runs, tasks]) == []


def test_a_pointer_to_the_outside_is_seen():
    assert mentions({"a": "fine", "b": f"see {OUTSIDE}/design.md"}, OUTSIDE) == [
        f"b mentions {OUTSIDE}"
    ]
