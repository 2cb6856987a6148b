"""Writes what is taken from the code, so that it cannot differ from it: reference and manual pages, completions, units,
the drawings of the folders and of a terminal.

    python docs/generate.py            writes the pages
    python docs/generate.py --check    writes nothing; exit code 1 names the pages that are stale

Everything is read from syntax trees, the parser, a store in memory and what the program prints, never from what one
version of Python prints, so that each Python writes the same pages.
"""

import argparse
import ast
import re
import sqlite3
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "taskrunner"
REFERENCE = ROOT / "docs" / "reference"
STRUCTURE = ROOT / "docs" / "explanation" / "structure.svg"
TERMINAL = ROOT / "docs" / "_static" / "terminal.svg"
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # this checkout, whatever is installed

import manual  # noqa: E402  the path comes first
import shells  # noqa: E402
import structure  # noqa: E402
import terminal  # noqa: E402

import taskrunner  # noqa: E402
from taskrunner import schema  # noqa: E402
from taskrunner.cli import main as cli  # noqa: E402
from taskrunner.cli.common import ALIASES, GROUPS  # noqa: E402
from taskrunner.clocks import systemd_text  # noqa: E402
from taskrunner.model.values import Kind  # noqa: E402
from taskrunner.tasks import options  # noqa: E402

WIDTH = 96


def main() -> int:
    """Write or check all generated pages; returns the exit code."""
    words = argparse.ArgumentParser(description="Write the generated reference pages.")
    words.add_argument("--check", action="store_true", help="only say which pages are stale")
    stale = list(stale_pages())
    if words.parse_args().check:
        for page, _ in stale:
            print(f"{page.relative_to(ROOT)} is stale: run python docs/generate.py")
        return 1 if stale else 0
    for page, text in stale:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


def stale_pages() -> Iterator[tuple[Path, str]]:
    """Give each page that is missing or differs from the code, with the text it should have."""
    pages = [(REFERENCE / name, make()) for name, make in PAGES.items()]
    pages += [(STRUCTURE, structure.drawing(PACKAGE)), (TERMINAL, terminal.picture())]
    for page, text in [*pages, *units(), *completions(), *manuals()]:
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            yield page, text


def units() -> Iterator[tuple[Path, str]]:
    """Give the example units with their texts, which are those that `install systemd` writes."""
    for daemon in (False, True):
        texts = systemd_text.units(("/usr/local/bin/taskrunner",), None, user=False, daemon=daemon)
        for name, text in texts.items():
            yield ROOT / "contrib" / "systemd" / name, text


def completions() -> Iterator[tuple[Path, str]]:
    """Give the completions of shells with their texts."""
    yield from shells.write_to(PACKAGE / "completions", cli.parser())


def page(title: str, source: str, *parts: str) -> str:
    """Return a page: its title, where it comes from, and its parts."""
    mark = f"<!-- Written by docs/generate.py from {source}. Do not edit. -->"
    return "\n\n".join([f"# {title}", mark, *(part.strip("\n") for part in parts)]) + "\n"


def escaped(text: str) -> str:
    """Return plain text for Markdown; what stands between backticks stays as it is."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if number % 2 else re.sub(r"([*<>|\\])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table with even columns."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def fenced(text: str, language: str = "text") -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.strip(chr(10))}\n```"


# ---- the command line


def cli_page() -> str:
    """Return the page of the command line, from its parser."""
    whole = cli.parser()
    verbs = next(a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    helps = {each.dest.partition(" ")[0]: each.help or "" for each in verbs._choices_actions}
    names = [name for name in verbs.choices if name not in ALIASES]
    helps = {name: helps[name] + short(name) for name in names}
    tables = []
    for title, group in GROUPS.items():
        rows = [(f"[`{name}`](#{name})", escaped(helps[name])) for name in group]
        tables += [f"{title[:1].upper() + title[1:]}:", table(("verb", "what it does"), rows)]
    common = [a for a in whole._actions if a is not verbs]
    return page(
        "Command line",
        "the parser in `taskrunner/cli/`",
        "Every verb with all its options, as `--help` has them.",
        fenced("taskrunner [--home DIR] [-v] VERB ..."),
        *tables,
        "A task is given by its name or its id, a run by its id. Data goes to stdout, everything else to\n"
        "stderr. [Exit codes](exit-codes.md) and [JSON documents](json.md) have pages of their own.",
        "These options go with every verb, before it or after it:",
        option_list(common),
        *(verb_section(name, verbs.choices[name], common) for name in names),
        "## How values are written",
        VALUES,
    )


def short(name: str) -> str:
    """Return what is said of the other names of a verb, if it has any."""
    others = [f"`{alias}`" for alias, verb in ALIASES.items() if verb == name]
    return f"; also: {', '.join(others)}" if others else ""


VALUES = """\
- LENGTH is a length of time: whole numbers with a unit, largest unit first, without blanks: `90s`, `1h30m`,
  `2d12h`. The units are `w d h m s`; a day is 24 hours. `--every` reads days, weeks, months (`mo`) and years
  (`y`) by the calendar and does not mix them with hours: see [Rules of time](../explanation/time.md).
  `history --since` and `--until` take `mo` and `y` too.
- WHEN is an instant: ISO 8601 with or without an offset (`2030-12-01 22:00`, `2030-12-01T22:00:00+01:00`),
  `now`, or a distance from now (`+30m`, `-2h`). Without an offset it is a wall-clock time in the zone of the
  task, or else in the default zone.
- ZONE is an IANA name such as `Europe/Berlin`.
- NAME, when a task is added, is 1 to 100 letters, digits and `. _ - @ +`. It begins with a letter, a digit or
  `_`, and is not digits alone.
- An empty value given to `set` takes an option back: `taskrunner set report --deadline ''`.
"""


def verb_section(name: str, verb: argparse.ArgumentParser, common: list[argparse.Action]) -> str:
    """Return what there is to say about one verb."""
    known = {a.dest for a in common} | {"help"}
    parts = [f"## {name}", escaped(verb.description or ""), fenced(usage(name, verb))]
    plain: list[argparse.Action] = []
    titled: list[str] = []
    for group in verb._action_groups:
        actions = [a for a in group._group_actions if a.dest not in known]
        if group.title in ("positional arguments", "options"):
            plain += actions
        elif actions:
            title = group.title or ""
            titled += [f"{escaped(title[:1].upper() + title[1:])}:", option_list(actions)]
    parts += [option_list(plain), *titled]
    if verb.epilog:
        examples = verb.epilog.partition("\n")[2]
        parts += ["Examples:", fenced(textwrap.dedent(examples))]
    return "\n\n".join(parts)


def usage(name: str, verb: argparse.ArgumentParser) -> str:
    """Return the usage of a verb, as its help has it or on one line."""
    if verb.usage:
        return verb.usage
    words = [f"taskrunner {name}"]
    if any(a.option_strings and a.dest != "help" for a in verb._actions):
        words.append("[options]")
    for action in verb._actions:
        if not action.option_strings:
            one = str(action.metavar or action.dest)
            words.append(
                {"?": f"[{one}]", "*": f"[{one} ...]", "+": f"{one} [{one} ...]"}.get(
                    str(action.nargs), one
                )
            )
    return " ".join(words)


def option_list(actions: list[argparse.Action]) -> str:
    """Return options and arguments with their help as a list."""
    lines = []
    for action in actions:
        value = "" if action.nargs == 0 or not action.metavar else f" {action.metavar}"
        names = ", ".join(action.option_strings)
        spelled = f"`{names}{value}`" if names else f"`{action.metavar or action.dest}`"
        told = "show the help and exit" if action.dest == "help" else action.help
        told = "show the version and exit" if action.dest == "version" else told
        lines += textwrap.wrap(
            f"- {spelled}" + (f": {escaped(told)}" if told else ""),
            WIDTH,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
    return "\n".join(lines)


# ---- the schema


def schema_page() -> str:
    """Return the page of the schema, from a store made by all steps."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        " AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    ).fetchall()
    connection.close()
    parts = []
    for kind, name, _, sql in rows:
        if kind in ("table", "view"):
            indexes = [each for k, _, of, each in rows if k in ("index", "trigger") and of == name]
            text = ";\n\n".join([sql, *indexes]) + ";"
            parts += [f"## {name}", fenced(text, "sql")]
    version = len(schema.STEPS)
    kinds = ", ".join(f"`{kind}`" for kind in Kind)
    return page(
        "Database schema",
        "a store made by `taskrunner/schema.py`",
        SCHEMA_HEAD.format(version=version, kinds=kinds),
        *parts,
    )


SCHEMA_HEAD = """\
The database, also called the store, is one SQLite file, `taskrunner.db` in the home, in WAL mode. `PRAGMA
user_version` is the number of schema steps it has seen; this page shows step {version}. A program that is older than
the store refuses it and leaves it untouched.

Read it with SQL in any SQLite tool, also while ticks are at work. Use the views `v_tasks` and `v_runs`: they have
names instead of ids, ISO 8601 text in UTC instead of numbers, and seconds instead of milliseconds. In the
tables an instant is the number of milliseconds since 1970-01-01 UTC, and a length is in milliseconds.
The `kind` of a task is one of {kinds}.

Do not write to it. The rows hang together, a tick may be at work, and a row put in by hand is a command that
will be run. Use the command line or the [library](library.md), which keep the rules.

```python
import os, sqlite3
from taskrunner import Manual, TaskRunner

with TaskRunner() as runner:
    runner.add("report", ["/bin/true"], Manual())
    runner.run("report")
    store = os.path.join(runner.home, "taskrunner.db")

connection = sqlite3.connect(f"file:{{store}}?mode=ro", uri=True)
row = connection.execute("SELECT task, state, reason FROM v_runs").fetchone()
print(row)  # ('report', 'succeeded', 'exit code 0')
```
"""


# ---- the library


class Module:
    """A module of the package as a syntax tree, with its lines."""

    def __init__(self, name: str) -> None:
        """Read the module."""
        source = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
        self.lines = source.splitlines()
        self.tree = ast.parse(source)
        self.text = ast.get_docstring(self.tree) or ""

    def classes(self) -> dict[str, ast.ClassDef]:
        """Return the classes by name, in the order of the file."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    def functions(self) -> dict[str, ast.FunctionDef]:
        """Return the functions by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    def comment(self, node: ast.stmt) -> str:
        """Return the comment behind a statement, on its last line or on lines of its own below."""
        found = re.search(r"  # (.*)", self.lines[(node.end_lineno or node.lineno) - 1])
        return found[1] if found else ""


def signature(node: ast.FunctionDef, name: str) -> str:
    """Return a signature as a person would write it, without self."""
    args = ast.parse(ast.unparse(node.args).join(("def f(", "): ..."))).body[0]
    assert isinstance(args, ast.FunctionDef)
    args.args.args = [each for each in args.args.args if each.arg != "self"]
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    return call(name, [spaced(each) for each in split_arguments(ast.unparse(args.args))], returns)


def call(name: str, arguments: list[str], returns: str = "") -> str:
    """Return a call on one line, or an argument on each when it is long."""
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) > WIDTH:
        line = f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returns}"
    return re.sub(r"\bvisits\.", "", line)


def spaced(argument: str) -> str:
    """Return an argument with blanks round the = of a default, as is the custom beside a type."""
    given, sign, default = argument.partition("=")
    return f"{given} = {default}" if sign and ":" in given else argument


def split_arguments(text: str) -> list[str]:
    """Return the arguments of an unparsed signature, one by one."""
    found, depth, start = [], 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            found.append(text[start:place].strip())
            start = place + 1
    return [each for each in [*found, text[start:].strip()] if each]


def methods(node: ast.ClassDef) -> Iterator[tuple[ast.FunctionDef, bool]]:
    """Give the public methods of a class, each with whether it is a property."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            yield item, any(ast.unparse(each) == "property" for each in item.decorator_list)


def fields(node: ast.ClassDef) -> list[tuple[str, str, str]]:
    """Return name, type and default of the fields of a record that can be given."""
    found = []
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        kind = ast.unparse(item.annotation)
        value = "" if item.value is None else ast.unparse(item.value)
        if kind.startswith("ClassVar") or "init=False" in value:
            continue
        found.append((item.target.id, kind, "" if value.startswith("field(") else value))
    return found


def docstring(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return the docstring of a node."""
    return ast.get_docstring(node) or ""


def library_page() -> str:
    """Return the page of the library, from its source."""
    schedules, model = Module("schedule/kinds"), Module("model/values")
    runner = Module("api/task_runner").classes()["TaskRunner"]
    body = Module("api/base").classes()["Base"].body
    made = next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    clock = Module("clocks/application").functions()["keep_clock"]
    records = [
        ("model/values", "Task"),
        ("model/values", "Run"),
        ("model/answers", "Upcoming"),
        ("model/answers", "Status"),
    ]
    records += [("tick/visit", "Visit")]
    records += [("model/decisions", "Decision"), ("model/decisions", "Span")]
    records += [
        ("model/answers", "Checkup"),
        ("model/answers", "Finding"),
        ("clocks/entry", "Fitted"),
        ("model/answers", "Written"),
    ]
    return page(
        "Library",
        "the source of `taskrunner/`",
        LIBRARY_HEAD,
        "## TaskRunner",
        fenced(signature(made, "TaskRunner").replace(" -> None", ""), "text"),
        docstring(runner),
        *(method_text(node, node.name) for node in _door_methods()),
        "### Options of a task",
        "`add` and `set` take these as keywords. Each has the name of its flag on the command line.",
        options_table(),
        "## keep_clock",
        fenced(signature(clock, clock.name), "text"),
        docstring(clock),
        "[Run tasks from inside an application](../how-to/application.md) shows it at work.",
        "## Schedules",
        "A schedule is a value. `add` fills in a missing zone and anchor. Each has `describe()`, which returns\n"
        "it in words, and `next_after(moment)`, which returns the first slot after an aware datetime, in UTC,\n"
        "or `None`. The rules are in [Rules of time](../explanation/time.md).",
        *(
            schedule_text(schedules.classes()[name])
            for name in ("Cron", "Every", "At", "After", "Boot", "Manual")
        ),
        "## Records",
        "Frozen values. Instants are aware datetimes in UTC. The words for states, triggers and policies are on\n"
        "[States and other constants](states.md).",
        *(
            record_text(name, model if room == "model/values" else Module(room))
            for room, name in records
        ),
        "## Errors",
        "All are importable from `taskrunner`. The number is the exit code of the command line.",
        fenced(errors_tree()),
    )


LIBRARY_HEAD = """\
`taskrunner` is also a Python package with type hints. Everything the command line can do goes through one
class, `TaskRunner`. Importing the package is cheap: names are looked up when they are first used.

```python
from datetime import UTC, datetime
from taskrunner import Cron, Every, TaskRunner

with TaskRunner() as runner:
    runner.add("report", ["/bin/echo", "done"], Every("1d"), now=True)
    visit = runner.tick()
    print(len(visit.runs), visit.runs[0].state)  # 1 succeeded
    run = runner.history("report", limit=1)[0]
    print(run.exit_code, runner.output(run))  # 0 b'done\\n'

moment = datetime(2026, 3, 28, 12, tzinfo=UTC)
print(Cron("30 2 * * *", tz="Europe/Berlin").next_after(moment))  # 2026-03-29 01:00:00+00:00
```

A `TaskRunner` keeps one connection per thread and opens it again after a fork. A failing command is a value,
a `Run` whose state is `failed`; exceptions are for bad input and for what is wrong with the store or the host.
A naive datetime is refused everywhere.

Each call that changes something takes `by`, the author of the change for the record, for a program that acts for a
person. `document` gives the [JSON document](json.md) that the command line prints for an answer, to the letter, and
`in_zone` puts the instants of a sentence, which are in UTC, into a zone:

```python
from taskrunner import TaskRunner, document, in_zone

with TaskRunner() as runner:
    runner.disable("report", by="ann")
    why = runner.explain("report").changes[-1]
    print(why.what, why.by)  # disabled ann
    text = document(runs=runner.history(state="bad"))  # `history --state bad --json`
    newest = runner.history(limit=50)
    older = runner.history(before=newest[-1].id, limit=50)
told = "it ended at 2026-07-01 10:00:00 UTC"
print(in_zone(told, "Europe/Berlin"))  # it ended at 2026-07-01 12:00:00 CEST
```
"""


def _door_methods() -> Iterator[ast.FunctionDef]:
    """Give the methods of TaskRunner, part by part."""
    for part, name in DOOR:
        for node, _ in methods(Module(f"api/{part}").classes()[name]):
            if "overload" not in map(ast.unparse, node.decorator_list):
                yield node


# The parts of TaskRunner, in the order that a reader needs them.
DOOR = (
    ("tasks", "Tasks"),
    ("forecast", "Forecast"),
    ("runs", "Runs"),
    ("history", "History"),
    ("clock", "Clock"),
    ("taskfiles", "TaskFiles"),
    ("upkeep", "Upkeep"),
    ("notices", "Notices"),
    ("base", "Base"),
)


def method_text(node: ast.FunctionDef, name: str) -> str:
    """Return heading, signature and docstring of a method."""
    return f"### {name}\n\n{fenced(signature(node, name), 'text')}\n\n{docstring(node)}"


def options_table() -> str:
    """Return the options with their types and defaults."""
    types = fields(Module("tasks/options").classes()["Options"])
    rows = [
        (f"`{name}`", f"`{kind}`".replace("|", "\\|"), f"`{options.DEFAULTS[name]!r}`")
        for name, kind, _ in types
    ]
    return table(("keyword", "type", "default"), rows)


def schedule_text(node: ast.ClassDef) -> str:
    """Return a schedule: how it is made, what it is, and what is special about it."""
    given = [
        f"{name}: {kind}" + (f" = {value}" if value else "") for name, kind, value in fields(node)
    ]
    parts = [f"### {node.name}", fenced(call(node.name, given)), docstring(node)]
    rows = [
        (f"`{item.name}`" if is_property else f"`{signature(item, item.name)}`", first(item))
        for item, is_property in methods(node)
        if item.name not in ("describe", "next_after", "text")
    ]
    if rows:
        parts.append(table(("also", "what it gives"), rows))
    return "\n\n".join(parts)


def first(node: ast.FunctionDef) -> str:
    """Return the first sentence of a docstring."""
    return escaped(docstring(node).splitlines()[0])


def record_text(name: str, module: Module) -> str:
    """Return a record: its fields and computed fields."""
    node = module.classes()[name]
    rows = [(f"`{field}`", f"`{kind}`".replace("|", "\\|"), "") for field, kind, _ in fields(node)]
    rows += [
        (f"`{item.name}`", f"`{ast.unparse(item.returns)}`".replace("|", "\\|"), first(item))
        for item, is_property in methods(node)
        if is_property and item.returns is not None
    ]
    if not any(row[2] for row in rows):
        listing = table(("field", "type"), [row[:2] for row in rows])
    else:
        listing = table(("field", "type", ""), rows)
    return f"### {name}\n\n{docstring(node)}\n\n{listing}"


def errors_tree() -> str:
    """Return the tree that the errors draw of themselves."""
    block = re.search(r"^ {4}TaskRunnerError.*?(?=\n\n)", Module("errors").text, re.S | re.M)
    assert block, "errors.py draws its tree in its docstring"
    return textwrap.dedent(block[0])


# ---- settings


def configuration_page() -> str:
    """Return the page of the settings, from the comments beside them."""
    module = Module("home/config")
    rows = []
    for node in module.classes()["Config"].body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            name = ast.unparse(node.target)
            default = toml_default(name, node.value)
            variable = (
                ""
                if name in ("env", "defaults", "notify", "queues")
                else f"`TASKRUNNER_{name.upper()}`"
            )
            rows.append((f"`{name}`", variable, default, escaped(module.comment(node))))
    return page(
        "Configuration",
        "`Config` in `taskrunner/home/config.py`",
        CONFIGURATION_HEAD,
        table(("setting", "variable", "default", "meaning"), rows),
        CONFIGURATION_TAIL,
    )


def toml_default(name: str, value: ast.expr) -> str:
    """Return a default as it would stand in the file."""
    text = ast.unparse(value)
    if text == "None":
        return "the host's" if name == "tz" else "none"
    if text.startswith("field(") or text == "()":
        return "none"
    if length := re.fullmatch(r"timedelta\((second|day)s=(\d+)\)", text):
        return f'`"{length[2]}{length[1][0]}"`'
    return {"True": "`true`", "False": "`false`"}.get(text, f"`{text}`".replace("'", '"'))


CONFIGURATION_HEAD = """\
taskrunner works without any configuration. Settings go into `taskrunner.toml` in the [home](files.md), which
you make yourself. A setting that is not known, or whose value is wrong, is an error, and no tick that has something to do runs: nothing
is ignored in silence. The zone and the defaults of tasks are looked at where they are needed, which is when a task is
added or changed, and by `taskrunner doctor`.

```toml
tz = "Europe/Berlin"
max_parallel = 4

[env]
MAILTO = "ops@example.org"
```

Each plain setting can also be given as an environment variable, which wins over the file. That is of use for
containers and units; a variable set in your shell is not seen by the tick that cron starts.
"""

CONFIGURATION_TAIL = """\
`notify` holds a table for each channel: [Be told when something goes wrong](../how-to/notifications.md) has its settings.

`queues` holds a table for each queue to other machines, which tasks name with `--queue`:

```toml
[queues.heavy]
engine = "rq"
url = "redis://redis.example.org:6379/0"
```

| setting   | meaning                                                                                        |
| --------- | ---------------------------------------------------------------------------------------------- |
| `engine`  | what carries the runs: `rq`, which needs `pip install 'taskrunner-tick[rq]'`                    |
| `url`     | the Redis server: `redis://`, `rediss://` (encrypted) or `unix://`; its password is shown as `***` |
| `url_env` | the environment variable that holds that address, instead of `url`                             |
| `name`    | the queue of RQ, `default` when not given                                                      |
| `limit`   | how many runs may be in the queue at a time (default: 500); `max_parallel` does not count them |

A mistake in such a table stops only the runs of that queue, which stay `pending`. `status` and `doctor` show it.

`tz` counts when a task is added. A task stores the name of its zone, so a later change of the setting does
not move it.

These variables are read besides:

| variable                  | meaning                                                                                          |
| ------------------------- | ------------------------------------------------------------------------------------------------ |
| `TASKRUNNER_HOME`         | the home, unless `--home` is given                                                               |
| `XDG_STATE_HOME`          | where the default home of a user is, `~/.local/state` when not set                               |
| `TZ`                      | the default zone when `tz` is not set: a name such as `Europe/Berlin`, or the path of its file   |
| `TASKRUNNER_CLOCK`        | what the tick says it was called by, at most 16 letters and digits; found out when it is not set |
| `TASKRUNNER_DJANGO_CLOCK` | `0`: processes that serve a [Django project](../how-to/django.md#the-clock) keep no clock        |
| `NO_COLOR`                | no colours on a terminal                                                                         |

What the tasks themselves see is on [The environment of a task](environment.md).
"""


# ---- words


def states_page() -> str:
    """Return the page of the small words, from the enums."""
    model = Module("model/values")
    return page(
        "States and other constants",
        "the enums in `taskrunner/model/`",
        STATES_HEAD,
        *(enum_text(model, name, title) for name, title in WORDS),
        enum_text(Module("model/decisions"), "Action", "Decisions (`tick --dry-run`)"),
    )


STATES_HEAD = """\
These words are the same in tables, JSON documents, the store and the library, where each is a `StrEnum` and
compares equal to its text.

Every run ends in a final state with a reason that a person can read. `pending` and `running` are live; all
others are final. `skipped` and `missed` stand for slots that were not run.
"""

WORDS = (
    ("State", "States of a run"),
    ("Trigger", "Triggers: why there is a run"),
    ("Kind", "Kinds of schedule"),
    ("CatchUp", "Catch-up (`--catch-up`)"),
    ("Overlap", "Overlap (`--overlap`)"),
    ("After", "After (`--after NAME:HOW`)"),
    ("OnLost", "Lost runs (`--on-lost`)"),
)


def enum_text(module: Module, name: str, title: str) -> str:
    """Return an enum as a table of its words."""
    node = module.classes()[name]
    words = [item for item in node.body if isinstance(item, ast.Assign)]
    rows = [(f"`{ast.literal_eval(item.value)}`", escaped(module.comment(item))) for item in words]
    return f"## {title}\n\n{escaped(docstring(node))}\n\n{table(('word', 'meaning'), rows)}"


# ---- manual pages


def manuals() -> Iterator[tuple[Path, str]]:
    """Give the manual pages with their texts."""
    pages = {
        ("taskrunner", 1): ("cron with a memory", program_manual()),
        ("taskrunner.toml", 5): ("settings of taskrunner", settings_manual()),
        ("taskrunner-time", 7): ("when taskrunner runs what", time_manual()),
    }
    for (name, section), (does, text) in pages.items():
        made = manual.manual(name, section, does, taskrunner.__version__, text)
        yield ROOT / "contrib" / "man" / f"{name}.{section}", made


def program_manual() -> str:
    """Return the manual of the program as Markdown, from its parser."""
    whole = cli.parser()
    verbs = next(a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    helps = {each.dest.partition(" ")[0]: each.help or "" for each in verbs._choices_actions}
    names = [name for name in verbs.choices if name not in ALIASES]
    common = [a for a in whole._actions if a is not verbs]
    groups: list[str] = []
    for title, group in GROUPS.items():
        groups.append(f"### {title.capitalize()}")
        groups.append(
            "\n".join(f"- `{each}`: {escaped(helps[each] + short(each))}" for each in group)
        )
    sections = [verb_section(name, verbs.choices[name], common) for name in names]
    exits = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    return "\n\n".join(
        [
            "## Synopsis",
            "**taskrunner** [**--home** *DIR*] [**-v**] *VERB* ...",
            "## Description",
            MANUAL_HEAD,
            "## Examples",
            fenced(textwrap.dedent(cli.EXAMPLES)),
            "## Verbs",
            *groups,
            "## Options of every verb",
            option_list(common),
            "## The verbs in detail",
            *(re.sub(r"^## ", "### ", text) for text in sections),
            VALUES.replace("## ", "### ").join(("## How values are written\n\n", "")),
            re.sub(r"^# .*\n", "## Exit status\n", body(exits)),
            MANUAL_TAIL,
        ]
    )


def body(text: str) -> str:
    """Return a page of Markdown without comments, its sections below one heading."""
    plain = re.sub(r"<!--.*?-->\n*", "", text, flags=re.S)
    return re.sub(r"^## ", "### ", plain, flags=re.M)


MANUAL_HEAD = """\
taskrunner remembers every task, every slot and every run in one SQLite file. A clock, which is cron, a systemd
timer or `taskrunner daemon`, calls `taskrunner tick` every minute; it runs what is due, and what was missed.

A task is given by its name or its id, a run by its id. Data goes to stdout, everything else to stderr."""

MANUAL_TAIL = """\
## Environment

- `TASKRUNNER_HOME`: the home, unless `--home` is given
- `NO_COLOR`: no colours on a terminal

**taskrunner.toml**(5) has the others.

## Files

- `/var/lib/taskrunner`: the home of root
- `~/.local/state/taskrunner`: the home of everybody else
- `taskrunner.db`, `taskrunner.toml`, `taskrunner.log`: in the home, the store, the settings, and what was done

## See also

**taskrunner.toml**(5), **taskrunner-time**(7), **crontab**(5), **systemd.timer**(5)"""


def settings_manual() -> str:
    """Return the manual of the settings as Markdown, from the comments beside them."""
    module = Module("home/config")
    lines = []
    for node in module.classes()["Config"].body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            name = ast.unparse(node.target)
            default = toml_default(name, node.value)
            lines.append(f"- `{name}`: {escaped(module.comment(node))}. Default: {default}")
    told = (ROOT / "docs/how-to/notifications.md").read_text(encoding="utf-8")
    parts = [
        found[0]
        .replace("## ", "## The table notify: ", 1)
        .replace("notify: Settings of", "notify: settings of")
        for found in [re.search(r"^## Settings of a channel\n.*?(?=^## |\Z)", told, re.S | re.M)]
        if found
    ]
    head = CONFIGURATION_HEAD.replace("[home](files.md)", "home")
    tail = CONFIGURATION_TAIL.partition("These variables")[2]
    return "\n\n".join(
        [
            "## Description",
            head,
            "## Settings",
            "\n".join(lines),
            *map(body, parts),
            "## Environment",
            f"These variables{tail.partition('What the tasks')[0]}",
            SETTINGS_TAIL,
        ]
    ).replace("### The table", "## The table")


SETTINGS_TAIL = """\
## See also

**taskrunner**(1), **taskrunner-time**(7)"""


def time_manual() -> str:
    """Return the manual of time as Markdown, which is the page that explains it."""
    text = (ROOT / "docs/explanation/time.md").read_text(encoding="utf-8")
    return f"{re.sub('^# .*', '## Description', text)}\n\n## See also\n\n**taskrunner**(1), **crontab**(5)"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "schema.md": schema_page,
    "library.md": library_page,
    "configuration.md": configuration_page,
    "states.md": states_page,
}

if __name__ == "__main__":
    sys.exit(main())
