"""Runs a function or a text of Python as a task, in a process of its own.

    python launcher.py [--django SETTINGS] --python MODULE:NAME [--args JSON]
    python launcher.py [--django SETTINGS] [--dateutil DIR] --code TEXT | --code-file FILE

A separate program: the interpreter may be any from 3.8 on, with packages of its own and without
ours. So it imports nothing of the package, and it must not know the store; its task and its slot are in the
environment.
"""

from __future__ import annotations

import sys

OWN_PATH = __name__ == "__main__" and not getattr(sys.flags, "safe_path", False)
if OWN_PATH:
    del sys.path[0]  # our own folder: its modules would hide others

import builtins
import importlib
import importlib.machinery
import json
import linecache
import os
import tokenize
import traceback
import types
from datetime import date, datetime, timedelta, timezone

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

CODE = "<code>"  # the file name of a text without a file
OF_DATES = (
    "MAXYEAR",
    "MINYEAR",
    "UTC",
    "date",
    "datetime",
    "time",
    "timedelta",
    "timezone",
    "tzinfo",
)
LONGEST_VALUE = 1000  # characters of a returned value
FLAGS = {"--python", "--args", "--django", "--dateutil", "--code", "--code-file"}
OURS = (__file__, importlib.__file__, "<frozen importlib")  # files whose frames are not shown


def main(words: list[str]) -> None:
    """Run the function or text that the words name; its result decides the exit code."""
    given = dict(zip(words[::2], words[1::2]))  # noqa: B905  not in Python 3.8
    if len(words) % 2 or not given.keys() <= FLAGS:
        _refuse(f"the launcher of taskrunner does not know these words: {words}")
    if OWN_PATH:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        _carry_out(given)
    except Exception as exc:  # noqa: BLE001  whatever it is, it is the task's
        _tell(exc)
        sys.exit(1)


def _carry_out(given: dict[str, str]) -> None:
    if "--django" in given:
        _set_django_up(given["--django"])
    if "--python" not in given:
        _execute(given)
        return
    result = _call(given["--python"], json.loads(given.get("--args", "[]")))
    if result is not None:
        _say(f"returned {_short(result)}")  # the last line, which becomes the reason of the run


def _refuse(sentence: str) -> NoReturn:
    sys.stdout.flush()
    print(sentence, file=sys.stderr)
    sys.exit(1)


def _short(value: object) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _say(text: str) -> None:
    """Print on stdout; characters outside its encoding are escaped."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _tell(exc: Exception) -> None:
    """Print an exception as Python does, without our own frames; the last line is a summary."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(exc), exc, trace)).rstrip("\n")
    lines = "".join(traceback.format_exception_only(type(exc), exc)).splitlines()
    last = next((line for line in lines if line and line[0] != " "), type(exc).__name__)
    sys.stdout.flush()
    print(text, file=sys.stderr)
    if text.rpartition("\n")[2] != last:  # it has several lines, notes, or exceptions in it
        print(last, file=sys.stderr)


# ---- a function


def _call(spelling: str, args: Any) -> Any:
    """Call a function with its arguments, a list or a table, and return what it returns."""
    sys.argv[:] = [spelling]
    function = _found(spelling)
    result = function(**args) if isinstance(args, dict) else function(*args)
    if isinstance(result, types.CoroutineType):
        return importlib.import_module("asyncio").run(result)  # slow to import, and rarely needed
    return result


def _found(spelling: str) -> Any:
    """Return the function of that name; one sentence tells which part is missing."""
    place, _, path = spelling.partition(":")
    try:
        found = importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{place}.".startswith(f"{exc.name}."):
            raise  # a dependency of the module is missing
        first = sys.path[0] if sys.path else "no folder"
        _refuse(
            f"ModuleNotFoundError: {sys.executable} finds no module {exc.name!r}; it looks in {first} first"
        )
    for name in path.split("."):
        if not hasattr(found, name):
            _refuse(f"AttributeError: {place} has no {path!r}")
        found = getattr(found, name)
    if not callable(found):
        _refuse(f"TypeError: {spelling} is not a function, but {_short(found)}")
    return found


# ---- a text


def _execute(given: dict[str, str]) -> None:
    """Execute a text as the main module, with some names predefined."""
    text, place = _text(given)
    code = compile(text, place, "exec", dont_inherit=True)
    made = types.ModuleType("__main__")
    names = vars(made)
    names.update(_names(text, given), __builtins__=builtins)
    if place != CODE:
        names["__file__"] = place
    sys.argv[:] = ["-c" if place == CODE else place]
    sys.modules["__main__"] = made
    exec(code, names)  # noqa: S102  what this program is for


def _text(given: dict[str, str]) -> tuple[str, str]:
    """Return a text and its path; tracebacks show its lines even without a file."""
    if "--code" in given:
        text = given["--code"]
        linecache.cache[CODE] = (len(text), None, text.splitlines(keepends=True), CODE)
        return text, CODE
    place = given["--code-file"]
    try:
        with tokenize.open(place) as file:
            return file.read(), place
    except OSError as exc:
        _refuse(f"the file {place!r} cannot be read: {exc.strerror}")


def _names(text: str, given: dict[str, str]) -> dict[str, Any]:
    """Return the predefined names: Django's replace ours of dates, ours of the run replace all."""
    found: dict[str, Any] = {
        "datetime": _datetime(),
        "date": date,
        "timedelta": timedelta,
        "timezone": timezone,
    }
    if "relativedelta" in text:
        found["relativedelta"] = _relativedelta(given.get("--dateutil"))
    if "--django" in given:
        found.update(_names_of_django())
    task, run = os.environ.get("TASKRUNNER_TASK", ""), os.environ.get("TASKRUNNER_RUN", "")
    found.update(slot=_slot(), task=task, run=int(run or 0) or None, logger=_logger(task or "task"))
    return found


class _Both(type):
    """Makes `datetime` behave as the class and as the module of that name."""

    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, datetime)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, datetime)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is datetime

    def __hash__(cls) -> int:
        return hash(datetime)


def _datetime() -> Any:
    """Return the class `datetime` with the contents of the module too, as people write datetime.datetime.now().

    Its instances are plain datetimes, so the contents of the module hide none of their methods.
    """
    module = sys.modules["datetime"]
    found = {name: getattr(module, name) for name in OF_DATES if hasattr(module, name)}
    found["__new__"] = lambda _, *args, **named: datetime(*args, **named)  # noqa: DTZ001
    return _Both("datetime", (datetime,), {**found, "__module__": "datetime"})


def _slot() -> datetime:
    """Return the slot of this run; this minute when none is given."""
    said = os.environ.get("TASKRUNNER_SLOT")
    if said:
        return datetime.fromisoformat(said.replace("Z", "+00:00"))
    return datetime.now(timezone.utc).replace(second=0, microsecond=0)


def _logger(name: str) -> Any:
    """Return a logger that writes to stderr, with the level, independent of other settings."""
    logging = importlib.import_module("logging")  # only where there is a text
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    found = logging.getLogger(name)
    found.setLevel(logging.INFO)
    found.addHandler(to_stderr)
    found.propagate = False  # else a root logger would write them again
    return found


def _relativedelta(place: str | None) -> Any:
    """Return dateutil's relativedelta, from `place` when the interpreter has none of its own."""
    try:
        return importlib.import_module("dateutil.relativedelta").relativedelta
    except ImportError:
        if place is None:
            raise
    sys.meta_path.append(_Behind(place))
    return importlib.import_module("dateutil.relativedelta").relativedelta


class _Behind:
    """Finds dateutil and its dependencies in a folder, and hides the other packages there."""

    def __init__(self, place: str) -> None:
        self.place = place

    def find_spec(self, name: str, _path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Return the place of one of these modules, None for others."""
        if name not in ("dateutil", "six"):
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self.place], target)


# ---- Django


def _set_django_up(settings: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    try:
        django = importlib.import_module("django")
    except ModuleNotFoundError:
        _refuse(f"ModuleNotFoundError: {sys.executable} has no Django: give --interpreter")
    django.setup()


def _names_of_django() -> dict[str, Any]:
    """Return the names of the project's `manage.py shell`; it decides between models of the same name."""
    found: dict[str, Any] = {"timezone": importlib.import_module("django.utils.timezone")}
    management = importlib.import_module("django.core.management")
    app = management.get_commands()["shell"]
    shell = management.load_command_class(app, "shell") if isinstance(app, str) else app
    if hasattr(shell, "get_namespace"):  # since Django 5.2
        return {**found, **shell.get_namespace(verbosity=0)}
    for model in reversed(importlib.import_module("django.apps").apps.get_models()):
        found[model.__name__] = model  # of the first app that is installed
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
