"""The launcher of Python tasks: a program of its own, under any interpreter."""

import ast
import os
import pwd
import subprocess
import sys
import venv
from glob import glob
from pathlib import Path

import dateutil
import pytest

from tests.samples import ROOT, wait_for

LAUNCHER = ROOT / "taskrunner" / "launcher.py"
OURS = str(Path(dateutil.__file__).parent.parent)
OLDEST = (3, 8)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The Python of a virtual environment that has nothing installed."""
    place = tmp_path_factory.mktemp("foreign") / "venv"
    venv.create(place, symlinks=True)
    return str(place / "bin" / "python")


@pytest.fixture
def launch(tmp_path, foreign):
    """Run the launcher in a folder of its own; stdout, stderr and exit code."""

    def run(*words, python=foreign, **env):
        base = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        argv = [python, str(LAUNCHER), *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, cwd=tmp_path, env=base | env, timeout=100
        )
        return done.stdout, done.stderr, done.returncode

    return run


@pytest.fixture
def module(tmp_path):
    """Write a module into the folder that the launcher starts in."""
    return lambda text, name="tasks": (tmp_path / f"{name}.py").write_text(text)


# ---- what it stands on


def test_it_is_understood_by_the_oldest_python():
    ast.parse(LAUNCHER.read_text(), feature_version=OLDEST)


def test_it_imports_nothing_but_the_standard_library():
    tree = ast.parse(LAUNCHER.read_text())
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    names += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def pythons():
    """Other interpreters of this machine, as pyenv keeps them or as they are called in /usr/bin."""
    kept = os.environ.get("PYENV_ROOT") or f"{pwd.getpwuid(os.getuid()).pw_dir}/.pyenv"
    # glob(1) and not Path: a folder that we may not read has nothing for us.
    found = [Path(each) for each in glob(f"{kept}/versions/3.*/bin/python")]
    found += Path("/usr/bin").glob("python3.?*")
    fit = [str(each) for each in found if "-" not in each.name and os.access(each, os.X_OK)]
    return sorted(each for each in fit if _version(each) >= OLDEST)


def _version(python):
    said = subprocess.run([python, "-V"], capture_output=True, text=True).stdout  # Python 3.8.18
    if not said.startswith("Python 3."):  # a shim whose Python is gone
        return (0, 0)
    return tuple(int(part) for part in said.split()[1].split(".")[:2])


@pytest.mark.parametrize("python", pythons())
def test_other_pythons_run_functions_and_texts(launch, module, python):
    module("def double(n):\n    return n * 2\n")
    words = ("--python", "tasks:double", "--args", '{"n": 4}')
    assert launch(*words, python=python) == ("returned 8\n", "", 0)
    text = "print(datetime.date(2026, 1, 31) + relativedelta(months=1), slot.tzname(), task, run)"
    said = {
        "TASKRUNNER_SLOT": "2026-01-31T02:00:00Z",
        "TASKRUNNER_TASK": "x",
        "TASKRUNNER_RUN": "7",
    }
    out, err, code = launch("--dateutil", OURS, "--code", text, python=python, **said)
    assert (out, err, code) == ("2026-02-28 UTC x 7\n", "", 0)


def test_the_working_directory_comes_first_and_our_own_folder_is_not_there(launch, module):
    module("def where():\n    import sys\n    return sys.path[0]\n")
    out, _, _ = launch("--python", "tasks:where")
    assert "returned" in out and "taskrunner/taskrunner" not in out
    out, _, code = launch("--code", "import sys; print(*sys.path, sep='\\n'); import launcher")
    assert str(LAUNCHER.parent) not in out.split() and code == 1


def test_a_safe_path_is_left_as_it_is(launch, module, foreign):
    module("def f():\n    return 1\n")
    _, err, code = launch("--python", "tasks:f", PYTHONSAFEPATH="1")
    assert (code, "finds no module 'tasks'" in err) == (1, True)


def test_what_is_printed_is_seen_at_once(tmp_path, foreign):
    text = "import time; print('begun'); time.sleep(60)"
    with open(tmp_path / "out", "wb") as file:
        child = subprocess.Popen([foreign, str(LAUNCHER), "--code", text], stdout=file)
    wait_for(lambda: (tmp_path / "out").read_text() == "begun\n")
    child.kill()
    child.wait()


# ---- functions


@pytest.mark.parametrize(
    ("args", "returned"),
    [
        ([], "returned ((), {})"),
        (["--args", '[1, "a", null]'], "returned ((1, 'a', None), {})"),
        (["--args", '{"days": 7, "names": ["é"]}'], "returned ((), {'days': 7, 'names': ['é']})"),
    ],
)
def test_a_list_is_given_by_position_and_an_object_by_name(launch, module, args, returned):
    module("def f(*args, **kwargs):\n    return args, kwargs\n")
    assert launch("--python", "tasks:f", *args) == (f"{returned}\n", "", 0)


def test_nothing_returned_is_nothing_said(launch, module):
    module("def f():\n    pass\n")
    assert launch("--python", "tasks:f") == ("", "", 0)


def test_a_long_value_is_cut_and_one_of_several_lines_is_one_line(launch, module):
    module("class Odd:\n    def __repr__(self): return 'a\\nb' * 1000\ndef f(): return Odd()\n")
    out, _, _ = launch("--python", "tasks:f")
    assert out.startswith("returned a ba b") and out.count("\n") == 1 and len(out) < 1100


def test_a_value_that_stdout_cannot_show_is_not_a_failure(launch, module):
    module("def f(): return 'é'\n")
    odd = {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii",
    }
    assert launch("--python", "tasks:f", **odd) == ("returned '\\xe9'\n", "", 0)


def test_a_coroutine_is_run_to_its_end(launch, module):
    module("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 'done'\n")
    assert launch("--python", "tasks:f") == ("returned 'done'\n", "", 0)


def test_a_function_of_a_class_and_of_a_package_is_found(launch, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("")
    (tmp_path / "app" / "tasks.py").write_text(
        "class Clean:\n    @staticmethod\n    def all(): return 1\n"
    )
    assert launch("--python", "app.tasks:Clean.all") == ("returned 1\n", "", 0)


def test_an_exception_is_a_traceback_without_our_frames_and_exit_code_1(launch, module, tmp_path):
    module("def f():\n    raise ValueError('no rows')\n")
    out, err, code = launch("--python", "tasks:f")
    assert (out, code) == ("", 1)
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{tmp_path}/tasks.py", line 2, in f'
    assert lines[-1] == "ValueError: no rows"
    assert "launcher" not in err and "importlib" not in err


@pytest.mark.parametrize(
    ("raised", "last"),
    [
        ("ValueError('first\\nsecond')", "ValueError: first"),
        ("KeyError('x')", "KeyError: 'x'"),
        ("AssertionError()", "AssertionError"),
        ("Own('why')", "tasks.Own: why"),
        ("SyntaxError('odd')", "SyntaxError: odd"),
    ],
)
def test_the_last_line_is_what_an_exception_comes_to(launch, module, raised, last):
    module(f"class Own(Exception): pass\ndef f():\n    raise {raised}\n")
    assert launch("--python", "tasks:f")[1].splitlines()[-1] == last


def test_exceptions_in_a_group_come_to_the_group(launch):
    text = "raise ExceptionGroup('two', [ValueError('a'), ValueError('b')])"
    last = launch("--code", text)[1].splitlines()[-1]
    assert last == "ExceptionGroup: two (2 sub-exceptions)"


@pytest.mark.parametrize(
    ("raised", "err", "code"),
    [("3", "", 3), ("", "", 0), ("'no disk'", "no disk\n", 1), ("None", "", 0), ("0", "", 0)],
)
def test_sys_exit_means_what_it_means_in_a_program(launch, module, raised, err, code):
    module(f"import sys\ndef f():\n    sys.exit({raised})\n")
    assert launch("--python", "tasks:f") == ("", err, code)


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("nosuch:f", "finds no module 'nosuch'; it looks in"),
        ("tasks.nosuch:f", "finds no module 'tasks.nosuch'"),
        ("tasks:nosuch", "AttributeError: tasks has no 'nosuch'"),
        ("tasks:Clean.nosuch", "AttributeError: tasks has no 'Clean.nosuch'"),
        ("tasks:number", "TypeError: tasks:number is not a function, but 3"),
    ],
)
def test_a_function_that_is_not_there_is_one_sentence(launch, module, spelling, said):
    module("number = 3\nclass Clean: pass\n")
    out, err, code = launch("--python", spelling)
    assert (out, code, err.count("\n")) == ("", 1, 1)
    assert said in err


def test_a_module_that_lacks_another_says_where(launch, module):
    module("import nosuch\ndef f(): pass\n")
    _, err, code = launch("--python", "tasks:f")
    assert code == 1
    assert 'tasks.py", line 1' in err
    assert err.splitlines()[-1] == "ModuleNotFoundError: No module named 'nosuch'"


# ---- texts


def test_the_names_of_a_text_are_ready(launch):
    text = (
        "print(datetime(2026, 1, 1, tzinfo=timezone.utc) - timedelta(days=1), date(2026, 1, 1))\n"
        "print(repr(task), repr(run), slot.isoformat(), slot.utcoffset())\n"
    )
    said = {"TASKRUNNER_SLOT": "2026-11-20T01:00:00.500Z", "TASKRUNNER_TASK": "clean"}
    out, err, code = launch("--code", text, TASKRUNNER_RUN="12", **said)
    assert (err, code) == ("", 0)
    assert out.splitlines() == [
        "2025-12-31 00:00:00+00:00 2026-01-01",
        "'clean' 12 2026-11-20T01:00:00.500000+00:00 0:00:00",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "datetime.datetime(2026, 1, 2) == datetime(2026, 1, 2)",
        "datetime.datetime.now(datetime.timezone.utc) - datetime.now(timezone.utc) < datetime.timedelta(1)",
        "datetime.date.today() - date.today() < timedelta(days=2)",
        "datetime.time(12) == datetime(2026, 1, 2, 12).time()",
        "datetime(2026, 1, 2).date() == datetime.date(2026, 1, 2)",
        "isinstance(slot, datetime) and isinstance(slot, datetime.datetime) and type(slot) == datetime",
        "not isinstance(date.today(), datetime) and issubclass(datetime.datetime, datetime)",
        "type(datetime.now()) is datetime.datetime and type(datetime.strptime('2026', '%Y')) is datetime.datetime",
        "datetime.combine(date(2026, 1, 2), datetime.time(3), tzinfo=timezone.utc).hour == 3",
        "repr(datetime(2026, 1, 2)) == 'datetime.datetime(2026, 1, 2, 0, 0)'",
        "datetime.fromisoformat('2026-01-02') == datetime.max.replace(2026, 1, 2, 0, 0, 0, 0)",
        "datetime.MINYEAR == 1 and {datetime: 1}[datetime.datetime] == 1",
        "__import__('pickle').loads(__import__('pickle').dumps(datetime(2026, 1, 2))) == datetime(2026, 1, 2)",
    ],
)
def test_datetime_is_the_class_and_has_what_the_module_has(launch, text):
    assert launch("--code", f"print(bool({text}))") == ("True\n", "", 0)


def test_a_text_may_import_datetime_itself(launch):
    assert (
        launch("--code", "import datetime\nprint(datetime.date(2026, 1, 2))")[0] == "2026-01-02\n"
    )
    text = "from datetime import datetime\nprint(datetime(2026, 1, 2).date())"
    assert launch("--code", text)[0] == "2026-01-02\n"


def test_without_a_run_the_slot_is_this_minute(launch):
    out, _, _ = launch(
        "--code", "print(slot.tzinfo, slot.second, slot.microsecond, repr(task), run)"
    )
    assert out == "UTC 0 0 '' None\n"


def test_relativedelta_is_that_of_the_interpreter_where_it_has_one(launch, tmp_path):
    (tmp_path / "dateutil").mkdir()
    (tmp_path / "dateutil" / "__init__.py").write_text("")
    (tmp_path / "dateutil" / "relativedelta.py").write_text("relativedelta = 'their own'\n")
    out, _, _ = launch("--dateutil", OURS, "--code", "print(relativedelta)")
    assert out == "their own\n"


def test_ours_comes_behind_and_brings_nothing_else_along(launch):
    text = "print(relativedelta(days=+1).days)\nimport croniter"
    out, err, code = launch("--dateutil", OURS, "--code", text)
    assert (out, code) == ("1\n", 1)
    assert err.splitlines()[-1] == "ModuleNotFoundError: No module named 'croniter'"


def test_dateutil_is_looked_for_only_where_it_is_named(launch):
    out, _, code = launch("--code", "import sys; print('dateutil' in sys.modules)")
    assert (out, code) == ("False\n", 0)


def test_the_logger_writes_to_stderr_with_the_level_and_once(launch):
    text = (
        "import logging; logging.basicConfig()\n"
        "logger.debug('unseen'); logger.info('%s rows', 3); logger.error('bad')\n"
        "print(logger.name)"
    )
    out, err, _ = launch("--code", text, TASKRUNNER_TASK="clean")
    assert (out, err) == ("clean\n", "INFO 3 rows\nERROR bad\n")


def test_a_traceback_of_a_text_shows_its_lines(launch):
    _, err, code = launch("--code", "def f():\n    return 1 / 0\n\nf()\n")
    assert code == 1
    assert 'File "<code>", line 4, in <module>\n    f()\n' in err
    assert 'File "<code>", line 2, in f\n    return 1 / 0\n' in err


def test_a_text_is_the_main_module(launch):
    text = (
        "import pickle, sys\nclass A: pass\n"
        "if __name__ == '__main__': print(type(pickle.loads(pickle.dumps(A()))), sys.argv)"
    )
    assert launch("--code", text) == ("<class '__main__.A'> ['-c']\n", "", 0)


def test_a_file_is_read_each_time_and_knows_its_name(launch, tmp_path):
    place = tmp_path / "clean.py"
    place.write_bytes("# coding: latin-1\nprint(__file__, task, 'é')\n".encode("latin-1"))
    out, _, code = launch("--code-file", str(place), TASKRUNNER_TASK="clean")
    assert (out, code) == (f"{place} clean é\n", 0)
    place.write_text("x = = 1\n")
    _, err, code = launch("--code-file", str(place))
    assert code == 1 and f'File "{place}", line 1' in err
    assert "launcher" not in err
    place.unlink()
    _, err, code = launch("--code-file", str(place))
    assert (code, err) == (1, f"the file '{place}' cannot be read: No such file or directory\n")


def test_words_that_it_does_not_know_are_refused(launch):
    for words in (["--nosuch", "x"], ["--code"]):
        _, err, code = launch(*words)
        assert code == 1 and "does not know these words" in err


def test_django_that_is_not_there_is_one_sentence(launch):
    _, err, code = launch("--django", "crm.settings", "--code", "pass")
    assert code == 1 and "has no Django: give --interpreter" in err and err.count("\n") == 1
