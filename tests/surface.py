"""The public surface as it is: seen from outside alone, so that it can be compared whatever is moved inside.

    .venv/bin/python -m tests.surface

writes what there is now to tests/data/surface/; tests/test_surface.py holds the program to that. It uses nothing but
the command line, the names of the package and of its settings, and the store's own schema.
"""

import enum
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import taskrunner
from taskrunner.home import config
from tests.samples import ROOT, program

RECORDED = ROOT / "tests" / "data" / "surface"
PLAIN = (bool, int, float, str, type(None))
VARIES = re.compile(r"[0-9a-f]{6,}|\d+")
SHELLS = {"PWD", "OLDPWD", "SHLVL", "_"}  # variables that a shell adds
DYNAMIC = {"env", "variables"}  # objects whose keys are data


def ask(home, *words, **more):
    """Do a command line as a user would; its exit code and what it printed on both streams."""
    environment = {
        "HOME": str(home.parent),
        "PATH": "/usr/bin:/bin",
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "COLUMNS": "300",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        program(home, *words),
        env=environment | more,
        cwd=home.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def must(home, *words):
    code, out, err = ask(home, *words)
    assert code == 0, f"{words}: {code} {err}"
    return out


# ---- help


def verbs(home):
    """Each verb of `--help` with its other names."""
    listed = must(home, "--help").partition("\ntasks:\n")[2].partition("\noptions:\n")[0]
    found = re.findall(r"^  ([a-z][\w-]*)(?: \(([\w, ]+)\))?(?: |$)", listed, re.M)
    return {verb: sorted(others.split(", ")) if others else [] for verb, others in found}


def options(text):
    """The options of a help with their values; Python 3.13 names the value of `-n N, --limit N` once."""
    found = re.findall(r"^  (-\S.*?)(?:  |$)", text, re.M)
    return sorted(re.sub(r"^(-\w) [A-Z]+, --", r"\1, --", each) for each in found)


def helps(home):
    """Of each verb its other names and the options that its help lists."""
    found = {"": options(must(home, "--help"))}
    for verb, others in verbs(home).items():
        found[verb] = others + options(must(home, verb, "--help"))
    return found


# ---- JSON documents

TASK_FILE = '[tasks.one]\nmanual = true\ncommand = ["true"]\n'
CRONTAB = "5 4 * * * true\nnot a line\n"
FIRST = (  # what a home holds before the documents are asked for
    ("add", "report", "--cron", "0 2 * * *", "--tz", "UTC", "--now", "--", "echo", "hi"),
    ("add", "bad", "--manual", "--env", "A=1", "--retries", "1", "--shell", "exit 3"),
    ("add", "other", "--cron", "0 2 * * *", "--tz", "UTC", "--group", "disk", "--", "true"),
    ("add", "another", "--cron", "0 2 * * *", "--tz", "UTC", "--group", "disk", "--", "true"),
    ("add", "gone", "--manual", "--", "/no/such/program"),  # so that doctor has something to say
    ("tick",),
)
DOCUMENTS = (
    "add new --every 1h --json -- true",
    "set new --timeout 5m --json",
    "show report --json",
    "list --json",
    "export --json",
    "apply tasks.toml --json",
    "import crontab crontab --json",
    "history --json",
    "log report --json",
    "next --json",
    "next --until 2d --json",
    "status --json",
    "explain report --json",
    "stats --json",
    "env bad --json",
    "prune --dry-run --json",
    "doctor --json",
    "notify --json",
    "queue --json",
    "tick --dry-run --at +3d --json",
)


# A queue whose server is not there.
QUEUE = "[queues.heavy]\nengine = 'rq'\nurl = 'unix:///nowhere/redis'\n"


def furnish(home):
    """Fill a home with a few tasks and runs."""
    (home.parent / "tasks.toml").write_text(TASK_FILE)
    (home.parent / "crontab").write_text(CRONTAB)
    for words in FIRST:
        must(home, *words)
    ask(home, "run", "bad")
    (home / "taskrunner.toml").write_text(QUEUE)


def documents(home):
    """Of each JSON document the path of every key, with the kinds of its values."""
    furnish(home)
    found = {}
    for line in DOCUMENTS:
        _, out, err = ask(home, *line.split())
        assert out, f"{line}: {err}"
        found[line] = shape(json.loads(out))
    return found


def shape(document):
    """Each path in a document with the kinds of value that stand there: `runs[].id: number`."""
    found = {}

    def see(path, value):
        found.setdefault(path, set()).add(kind(value))
        if isinstance(value, dict):
            for key, part in value.items():
                name = "*" if path.rpartition(".")[2] in DYNAMIC else key
                see(f"{path}.{name}" if path else name, part)
        elif isinstance(value, list):
            for part in value:
                see(f"{path}[]", part)

    see("", document)
    return {path: sorted(kinds) for path, kinds in sorted(found.items())}


def kind(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "list", str: "text", int: "number", float: "number"}
    return names[type(value)]


# ---- the store and the home


def schema(home):
    """Of each table and view of the store its columns; and the names of its indexes and triggers."""
    must(home, "add", "report", "--manual", "--", "true")
    found = {}
    with closing(sqlite3.connect(home / "taskrunner.db")) as store:
        for kind, name in store.execute("SELECT type, name FROM sqlite_schema ORDER BY 1, 2"):
            columns = []
            if kind in ("table", "view"):
                # The kind of a view's column is SQLite's guess.
                columns = [
                    f"{column} {kept}".strip() if kind == "table" else column
                    for _, column, kept, *_ in store.execute(f'PRAGMA table_info("{name}")')
                ]
            found[f"{kind} {name}"] = columns
    return found


def files(home):
    """The names in a home at work and at rest; `N` stands for numbers and random letters."""
    listing = f"find {home} -printf '%P\\n'"
    large = ("--shell", f"{listing}; yes | head -c 200000")
    must(home, "add", "report", "--every", "1d", "--now", *large)
    must(home, "add", "small", "--every", "1d", "--now", "--shell", listing)
    must(home, "tick")
    must(home, "backup")
    lines = [line for name in ("report", "small") for line in must(home, "log", name).splitlines()]
    names = {line for line in lines if line != "y"}
    names |= {str(place.relative_to(home)) for place in home.rglob("*")}
    return {"": sorted({VARIES.sub("N", name) for name in names if name and name != "."})}


# ---- settings and variables


def settings(_):
    """The names in taskrunner.toml; those of a task file are the options of `add`."""
    return {"taskrunner.toml": sorted(config.READERS)}


def variables(home):
    """The names of the variables that a task is given."""
    must(home, "add", "report", "--manual", "--now", "--shell", "env")
    must(home, "tick")
    names = [line.partition("=")[0] for line in must(home, "log", "report").splitlines()]
    return {"": sorted({*names} - SHELLS)}


# ---- the library


def library(_):
    """Each public name: of classes what they are, what they have, and how it is called."""
    return {name: described(getattr(taskrunner, name)) for name in sorted(taskrunner.__all__)}


def described(thing):
    if not inspect.isclass(thing):
        return ["a function", *signature(thing)] if inspect.isroutine(thing) else ["a value"]
    public = {*taskrunner.__all__, "Exception", "ValueError", "str", "StrEnum"}
    found = [f"is {each.__name__}" for each in thing.__mro__[1:] if each.__name__ in public]
    if issubclass(thing, enum.Enum):
        return found + [f"{member.name} = {member.value!r}" for member in thing]
    if issubclass(thing, BaseException):
        return [*found, f"exit code {thing.exit_code}"]
    fields = list(inspect.get_annotations(thing))
    # What a record is made from may be put together at its first use; its fields tell it at any time.
    found += [f"field {name}" for name in fields if not name.startswith("_")]
    found += [] if fields else [f"({each})" for each in signature(thing)]
    for name, value in inspect.getmembers(thing):
        if name.startswith("_") or name in fields:
            continue
        if inspect.isroutine(value):
            # One entry for each parameter: one more with a default is no change for those who call it.
            found += [f"{name}()", *(f"{name}({each})" for each in signature(value))]
        else:
            found.append(f".{name}")
    return found


def signature(thing):
    try:
        given = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter(each) for each in given]


def parameter(given):
    sign = {given.KEYWORD_ONLY: "*, ", given.VAR_POSITIONAL: "*", given.VAR_KEYWORD: "**"}
    text = sign.get(given.kind, "") + given.name
    if given.default is given.empty:
        return text
    return f"{text}={given.default!r}" if isinstance(given.default, PLAIN) else f"{text}=..."


# ---- the Django application

DJANGO = """
import json, sys
import django
import taskrunner.django
from django.apps import apps
from django.conf import settings

settings.configure(
    DATABASES={"default": {}, "taskrunner": taskrunner.django.database(sys.argv[1])},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "taskrunner.django"],
    TASKRUNNER={"HOME": sys.argv[1], "CLOCK": False},
)
django.setup()
from taskrunner.django.settings import KEYS

found = {"TASKRUNNER": sorted(KEYS), "taskrunner.django": sorted(taskrunner.django.__all__)}
for model in apps.get_app_config("taskrunner").get_models():
    found[model.__name__] = sorted(
        [f"field {each.name}" for each in model._meta.get_fields()]
        + [f"may {word}" for word, _ in model._meta.permissions]
        + [f"may {word}_{model._meta.model_name}" for word in model._meta.default_permissions]
    )
print(json.dumps(found))
"""


def django(home):
    """The keys of the setting, the names to import, and the models with fields and permissions."""
    words = [sys.executable, "-c", DJANGO, str(home)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home.parent), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


# ---- all of it

PARTS = {
    "django": django,
    "help": helps,
    "json": documents,
    "schema": schema,
    "files": files,
    "library": library,
    "settings": settings,
    "variables": variables,
}


def seen(part, folder):
    """What there is now of a part of the surface, made in a folder of its own."""
    home = Path(folder) / "home"
    home.mkdir(mode=0o700)
    return PARTS[part](home)


def missing(before, now):
    """What was recorded and is not there any more, or is something else; more may have come."""
    found = [f"{name} is gone" for name in before if name not in now]
    for name in before.keys() & now.keys():
        if isinstance(before[name], list):
            found += lost(name, before[name], now[name])
        else:
            for key, kinds in before[name].items():
                there = now[name].get(key)
                if there is None:
                    found.append(f"{name}: {key} is gone")
                elif not {*there} <= {*kinds, "null"}:
                    found.append(f"{name}: {key} was {kinds}, and is {there}")
    return sorted(found)


def lost(name, before, now):
    """What a list has no longer, or has in another order."""
    gone = [f"{name}: {each} is gone" for each in before if each not in now]
    kept = [each for each in now if each in before]
    if not gone and kept != before:
        gone.append(f"{name}: the order was {before}, and is {kept}")
    return gone


def refused(home, words):
    """Do a command line that is to be refused; its exit code, what it printed, and whether the store is as it was."""
    before = rows(home)
    code, out, err = ask(home, *words)
    return code, out, err, rows(home) == before


def rows(home):
    with closing(sqlite3.connect(home / "taskrunner.db")) as store:
        return list(store.iterdump())


def recorded(part):
    return json.loads((RECORDED / f"{part}.json").read_text(encoding="utf-8"))


def main():
    RECORDED.mkdir(exist_ok=True)
    for part in PARTS:
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(seen(part, folder), indent=1, ensure_ascii=False)
        (RECORDED / f"{part}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
