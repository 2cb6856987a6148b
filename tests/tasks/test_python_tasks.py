"""Functions and texts of Python as tasks: through the command line, the library, files and crontabs."""

import dataclasses
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import tomllib
import venv
from contextlib import closing
from pathlib import Path

import pytest

from taskrunner import Cron, DuplicateTask, Every, InputError, Manual, State, TaskRunner
from taskrunner.errors import StateError
from taskrunner.supervise import command
from tests.samples import ROOT, TASK, call, imported_by

FOLDER = "from taskrunner import TaskRunner\nrunner = TaskRunner({home!r})\n"


@pytest.fixture
def app(tmp_path, monkeypatch):
    """A folder with modules of an application; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "app"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield lambda name, text: (folder / f"{name}.py").write_text(textwrap.dedent(text)) and folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def tell(home):
    return lambda *words: call(home, *words)


@pytest.fixture
def ended(tell):
    """Add a task by hand, run it, and return the row of the run."""

    def run(*words):
        _, err, code = tell("add", "x", "--replace", "--manual", *words)
        assert code == 0, err
        tell("run", "x")
        return json.loads(tell("history", "-n", "1", "--json")[0])["runs"][0]

    return run


# ---- what comes of a run


def test_the_value_a_function_returns_is_in_the_output_and_the_reason(tell, ended, app):
    folder = app("shop", "def double(n):\n    print('working')\n    return {'n': n * 2}\n")
    run = ended("--cwd", str(folder), "--python", "shop:double", "--args", "[4]")
    assert (run["state"], run["exit_code"]) == ("succeeded", 0)
    assert run["reason"] == "exit code 0; returned {'n': 8}"
    assert tell("log", "x")[0] == "working\nreturned {'n': 8}\n"


def test_an_exception_is_in_the_output_and_what_it_comes_to_in_the_reason(tell, ended, app):
    folder = app("shop", "def bad():\n    raise ValueError('no rows\\nnone at all')\n")
    run = ended("--cwd", str(folder), "--python", "shop:bad")
    assert (run["state"], run["exit_code"]) == ("failed", 1)
    assert run["reason"] == "exit code 1; ValueError: no rows"
    assert "Traceback" in tell("log", "x")[0] and "none at all" in tell("log", "x")[0]


def test_a_success_that_only_prints_has_no_more_of_a_reason(ended):
    assert ended("--code", "print('done')")["reason"] == "exit code 0"


def test_a_large_output_is_reported_too(ended):
    run = ended("--code", "print('z' * 200_000); raise ValueError('too much')")
    assert (run["state"], run["reason"]) == ("failed", "exit code 1; ValueError: too much")
    assert run["output_size"] > 200_000


def test_sys_exit_is_the_exit_code_of_the_run(ended):
    run = ended("--code", "import sys; sys.exit('no disk')")
    assert (run["exit_code"], run["reason"]) == (1, "exit code 1; no disk")
    assert ended("--code", "import sys; sys.exit(3)")["reason"] == "exit code 3"
    assert ended("--code", "import sys; sys.exit(0)")["state"] == "succeeded"


def test_a_timeout_says_only_that(ended):
    run = ended("--timeout", "1s", "--code", "import time; print('x'); time.sleep(60)")
    assert run["state"] == "timed_out"
    assert run["reason"] == "stopped at its timeout of 1s (killed by SIGTERM)"


def test_the_last_line_of_a_command_is_not_a_reason(ended):
    assert ended("--shell", "echo returned 4")["reason"] == "exit code 0"
    assert ended("--shell", "echo oh; exit 1")["reason"] == "exit code 1"


def test_a_long_last_line_is_cut_in_the_reason(ended):
    run = ended("--code", "raise ValueError('x' * 5000)")
    assert len(run["reason"]) < 350 and run["reason"].endswith("…")


def test_a_tick_runs_a_text_with_its_slot(runner, home, clock):
    runner.add("t", None, Cron("0 13 * * *", tz="UTC"), code="print(slot.isoformat(), task, run)")
    clock.forward(hours=1)
    (run,) = runner.tick().runs
    assert runner.output(run) == f"2026-11-20T13:00:00+00:00 t {run.id}\n".encode()


@pytest.mark.parametrize("work", [{"command": ["true"]}, {"code": "pass"}], ids=str)
def test_a_tick_imports_nothing_more_for_python(runner, home, work):
    runner.add("t", schedule=Every("1d"), now=True, **work)
    runner.close()
    loaded = imported_by(home, "tick")
    ours = {f"taskrunner.{room}" for room in ("functions", "obstacles", "launcher", "options")}
    assert "taskrunner.supervise.supervisor" in loaded and not ours & {*loaded}
    assert runner.history("t")[0].state is State.SUCCEEDED


# ---- which interpreter, and from where


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    place = tmp_path_factory.mktemp("foreign") / "venv"
    venv.create(place, symlinks=True)
    return place


WHO = "import os, sys; print(sys.prefix, os.environ.get('VIRTUAL_ENV'), os.environ['PATH'].split(':')[0])"


def test_the_folder_of_a_virtual_environment_is_as_if_activated(ended, tell, foreign):
    ended("--interpreter", str(foreign), "--code", WHO)
    assert tell("log", "x")[0].split() == [str(foreign), str(foreign), f"{foreign}/bin"]


def test_a_program_as_interpreter_changes_no_variable(ended, tell, foreign):
    ended("--interpreter", str(foreign / "bin" / "python"), "--code", WHO)
    prefix, active, first = tell("log", "x")[0].split()
    assert (prefix, active) == (str(foreign), "None") and first != f"{foreign}/bin"


def test_a_bare_name_is_looked_for_on_the_path_of_the_task(ended, tell, foreign):
    words = ("--interpreter", "python", "--env", f"PATH={foreign}/bin:/usr/bin:/bin")
    ended(*words, "--code", WHO)
    assert tell("log", "x")[0].split()[0] == str(foreign)


def test_an_interpreter_without_our_packages_has_relativedelta_all_the_same(ended, tell, foreign):
    run = ended("--interpreter", str(foreign), "--code", "print(relativedelta(months=1).months)")
    assert (run["state"], tell("log", "x")[0]) == ("succeeded", "1\n")


def test_without_an_interpreter_it_is_ours(ended, tell):
    ended("--code", "import sys; print(sys.executable)")
    assert tell("log", "x")[0].strip() == sys.executable


@pytest.mark.parametrize("name", ["nosuch/venv", "python9.9"])
def test_an_interpreter_that_is_not_there_is_a_warning(tell, name):
    _, err, code = tell("add", "x", "--manual", "--interpreter", name, "--code", "pass")
    assert code == 0 and "is not found" in err and name in err
    assert name in tell("doctor")[0]


def test_a_file_of_code_that_is_not_there_is_a_warning(tell, tmp_path):
    _, err, code = tell("add", "x", "--manual", "--code-file", str(tmp_path / "nosuch.py"))
    assert code == 0 and "nosuch.py' does not exist" in err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs tasks as others")
def test_a_user_who_cannot_read_the_launcher_is_a_warning(monkeypatch, tmp_path):
    from taskrunner.home.config import Config
    from taskrunner.tasks import obstacles

    place = tmp_path / "launcher.py"
    place.write_text("")
    task = dataclasses.replace(TASK, command=(), code="pass", user="nobody", cwd="/")
    monkeypatch.setattr(command, "LAUNCHER", str(place))
    tmp_path.chmod(0o700)
    said = [each for each in obstacles.obstacles(task, Config()) if "launcher" in each]
    assert said and said[0].startswith("nobody has no access to ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs tasks as others")
def test_a_program_that_the_user_cannot_reach_is_a_warning(tmp_path):
    from taskrunner.home.config import Config
    from taskrunner.tasks import obstacles

    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "closed" / "tool").chmod(0o755)
    (tmp_path / "tool").symlink_to(tmp_path / "closed" / "tool")
    task = dataclasses.replace(TASK, command=(str(tmp_path / "tool"),), user="nobody", cwd="/")
    (said,) = obstacles.obstacles(task, Config())
    assert said.startswith("nobody has no access to ") and "which holds the program" in said
    assert obstacles.obstacles(dataclasses.replace(task, user=None), Config()) == []
    everywhere = dataclasses.replace(task, command=("/bin/true",))
    assert obstacles.obstacles(everywhere, Config()) == []


# ---- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--python", "shop"], "'shop': it must be a function as MODULE:NAME"),
        (["--python", "shop.clean"], "did you mean shop:clean?"),
        (["--python", "shop:clean()"], "it must be a function as MODULE:NAME"),
        (["--python", "./shop.py:clean"], "it must be a function as MODULE:NAME"),
        (["--python", "a:b", "--args", "{"], "'{': it is not valid JSON: "),
        (["--python", "a:b", "--args", "3"], "it must be a JSON list or object"),
        (["--python", "a:b", "--args", "[NaN]"], "it is not valid JSON: "),
        (["--python", "a:b", "--args", '["\\ud800"]'], "it is not UTF-8"),
        (["--code", "x = 1\ny = = 2"], "--code cannot be run, line 2: invalid syntax"),
        (["--code", "return 1"], "line 1: 'return' outside function"),
        (["--code", " \n "], "it must be Python code that is not blank"),
        (["--code", ""], "it must be Python code that is not blank"),
        (["--code", "#" * 100_001], "it must be at most 100000 bytes"),
        (["--python", "a:b", "--code", "pass"], "a function of Python and a text of Python: give"),
        (["--python", "a:b", "--", "true"], "a command and a function of Python: give one"),
        (["--code", "pass", "--args", "[]"], "--args '[]' goes only with --python"),
        (["--interpreter", "python3", "--", "true"], "goes only with --python, --code or"),
        (["--django", "crm.settings", "--shell", "x"], "goes only with --python, --code or"),
        (["--django", "crm/settings.py", "--code", "pass"], "it must be a module of settings"),
        (["--"], "has no command: write it after --, or give"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_one_sentence_and_nothing_is_made(tell, home, words, said):
    out, err, code = tell("add", "x", "--manual", *words)
    assert (out, code, err.count("\n")) == ("", 2, 1)
    assert said in err
    assert not (home / "taskrunner.db").exists()


def test_code_for_another_python_is_not_refused_but_told(tell, foreign):
    words = ("--interpreter", str(foreign), "--code", "x = = 1")
    _, err, code = tell("add", "x", "--manual", *words)
    assert code == 0 and "does not compile for this Python, line 1: invalid syntax" in err


def test_a_command_cannot_be_a_default_of_all_tasks(home, tell):
    (home / "taskrunner.toml").write_text('[defaults]\ncode = "pass"\n')
    _, err, code = tell("add", "x", "--manual", "--", "true")
    assert code == 2 and "code cannot be a default" in err


def test_a_default_interpreter_is_for_python_only(home, runner):
    (home / "taskrunner.toml").write_text('[defaults]\ninterpreter = "/srv/app/venv"\n')
    assert runner.add("a", ["true"], Manual()).interpreter is None
    assert runner.add("b", None, Manual(), code="pass").interpreter == "/srv/app/venv"


# ---- changed, shown, written to files


def test_set_changes_one_kind_of_work_into_another(runner):
    runner.add("x", None, Manual(), python="a:b", args=[1], interpreter="python3", django="s")
    task = runner.set("x", code="pass")
    assert (task.python, task.args, task.code) == (None, None, "pass")
    assert (task.interpreter, task.django) == ("python3", "s")
    task = runner.set("x", command=["true"])
    assert (task.command, task.code, task.interpreter, task.django) == (("true",), None, None, None)
    task = runner.set("x", python="a:b")
    assert (task.command, task.python, task.args) == ((), "a:b", None)
    assert runner.set("x", args={"n": 1}).args == {"n": 1}
    for change in ({"code": None, "python": None}, {"shell": "x", "args": [1]}):
        with pytest.raises(InputError):
            runner.set("x", **change)


def test_show_has_the_text_line_by_line(tell):
    tell("add", "x", "--manual", "--code", "if True:\n    print(1)\n")
    out = tell("show", "x")[0]
    assert "code          if True:\n                  print(1)\n" in out
    assert "if True: …" in tell("list")[0]


def test_a_document_has_all_of_it(tell):
    words = ("--interpreter", "python3", "--django", "crm.settings")
    tell("add", "x", "--manual", "--python", "a:b", "--args", '{"n": [1, null]}', *words)
    (task,) = json.loads(tell("show", "x", "--json")[0])["tasks"]
    assert (task["python"], task["args"]) == ("a:b", {"n": [1, None]})
    assert (task["interpreter"], task["django"]) == ("python3", "crm.settings")
    assert (task["command"], task["shell"], task["code"], task["code_file"]) == (None,) * 4


FILE = """
[defaults]
interpreter = "/srv/app/venv"

[tasks.function]
manual = true
python = "app.tasks:clean"
args = { days = 7, names = ["a", "é"], deep = { on = true, x = 1.5 } }
django = "crm.settings"

[tasks.listed]
manual = true
python = "app.tasks:clean"
args = [1, "a"]

[tasks.null]
manual = true
python = "app.tasks:clean"
args = '{"days": null}'

[tasks.text]
manual = true
code = '''
    for n in range(3):
        print(n, "\\t")
'''

[tasks.file]
manual = true
code_file = "/srv/app/clean.py"

[tasks.command]
manual = true
command = ["true"]
"""


def test_a_task_file_goes_in_and_out_and_in_again(runner, tmp_path):
    file = tmp_path / "tasks.toml"
    file.write_text(FILE)
    runner.apply(str(file))
    tasks = {task.name: task for task in runner.tasks()}
    assert tasks["function"].args["deep"] == {"on": True, "x": 1.5}
    assert tasks["text"].code == 'for n in range(3):\n    print(n, "\\t")\n'
    assert (tasks["null"].args, tasks["command"].interpreter) == ({"days": None}, None)
    written = runner.export().text
    assert tomllib.loads(written)["tasks"]["function"]["args"]["days"] == 7
    file.write_text(written)
    assert not runner.apply(str(file)).changes


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('python = "a:b"\nshell = "x"', "there is a shell text and a function of Python: give one"),
        ('python = "a.b"', "did you mean a:b?"),
        ('python = "a:b"\nargs = 3', "args '3': it must be a JSON list or object"),
        ('python = "a:b"\nargs = [2026-01-01]', "it is not valid JSON"),
        ('code = "x = = 1"', "code cannot be run, line 1"),
        ('command = ["true"]\ndjango = "x"', "django 'x' goes only with python, code or code_file"),
    ],
)
def test_a_fault_in_a_task_file_has_its_line(runner, tmp_path, lines, said):
    file = tmp_path / "tasks.toml"
    file.write_text(f"[tasks.x]\nmanual = true\n{lines}\n")
    with pytest.raises(InputError, match=r"tasks\.toml, line [34]: x: ") as caught:
        runner.apply(str(file))
    assert said in str(caught.value)


def test_a_profile_may_run_something_else(runner, tmp_path):
    file = tmp_path / "tasks.toml"
    text = '[tasks.x]\nmanual = true\npython = "a:b"\nargs = [1]\n[profiles.dev.tasks.x]\nshell = "true"\n'
    file.write_text(text)
    runner.apply(str(file), profile="dev")
    assert (runner.task("x").shell, runner.task("x").args) == ("true", None)


def test_the_view_of_the_store_has_it(runner, home):
    runner.add("x", None, Manual(), python="a:b", args=[1])
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        row = store.execute("SELECT command, python, args, code FROM v_tasks").fetchone()
    store.close()
    assert row == ("[]", "a:b", "[1]", None)


def test_what_changed_is_kept_in_words(runner):
    runner.add("x", None, Manual(), python="a:b", args=[1])
    runner.set("x", args={"n": 2})
    told = [change.what for change in runner.explain("x").changes]
    assert told[-1] == 'changed: args [1] -> {"n": 2}'


def test_a_line_of_a_crontab_does_the_same(runner, app, tmp_path):
    folder = app("shop", "def add(a, b):\n    return f'{a}{b}%'\n")
    nightly = Cron("0 2 * * *", tz="UTC")
    runner.add("f", None, nightly, python="shop:add", args={"a": "é", "b": "'q\""}, cwd=folder)
    runner.add("t", None, nightly, code="if task:\n    print(task, '%', \"'\", '\\n!')\n", cwd="/")
    lines = [line for line in runner.export_crontab().splitlines() if line.startswith("0 2")]
    said = []
    for line in lines:
        text = line.split("  ", 1)[1].replace("\\%", "%")  # as cron reads it
        env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, env=env)
        said.append((done.stdout, done.stderr))
    assert said == [("returned 'é\\'q\"%'\n", ""), ("t % ' \n!\n", "")]
    assert "the launcher of taskrunner, which must stay" in runner.export_crontab()


# ---- the decorator


def test_a_function_becomes_a_task_and_stays_a_function(home, app, tell):
    text = FOLDER.format(home=str(home)) + textwrap.dedent(
        """
        @runner.task(every="1d", args=[3], timeout="5m", description="doubles")
        def double(n):
            return n * 2
        """
    )
    folder = app("shop", text)
    import shop

    task = shop.runner.task("double")
    assert shop.double(4) == 8
    assert (task.python, task.args, task.schedule) == ("shop:double", [3], "1d")
    assert (task.interpreter, task.cwd) == (sys.executable, str(folder))
    assert (task.description, task.timeout.total_seconds()) == ("doubles", 300)
    shop.runner.close()
    out, _, code = call(home, "run", "double")
    assert (out, code) == ("returned 6\n", 0)


def test_the_folder_is_that_of_the_top_package(runner, app, tmp_path):
    folder = tmp_path / "app"
    (folder / "crm" / "deep").mkdir(parents=True)
    (folder / "crm" / "deep" / "__init__.py").write_text("def inner(): pass\n")
    (folder / "crm" / "tasks.py").write_text("def outer(): pass\n")
    import crm.deep
    import crm.tasks

    runner.task(manual=True)(crm.deep.inner)
    runner.task(manual=True, cwd="/", interpreter="python3")(crm.tasks.outer)
    inner, outer = runner.task("inner"), runner.task("outer")
    assert (inner.python, inner.cwd) == ("crm.deep:inner", str(folder))
    assert (outer.cwd, outer.interpreter) == ("/", "python3")


def test_the_same_again_writes_nothing_and_another_replaces_it(runner, app, clock):
    app("shop", "def clean(): pass\n")
    import shop

    first = runner.add("other", ["true"], Every("1d"))
    runner.task(every="1d")(shop.clean)
    task = runner.task("clean")
    clock.forward(hours=5)
    runner.task(every="1d")(shop.clean)
    assert runner.task("clean") == task
    assert len(runner.explain("clean").changes) == 1
    runner.task(every="2d", retries=2)(shop.clean)
    changed = runner.task("clean")
    assert (changed.id, changed.schedule, changed.retries) == (task.id, "2d", 2)
    assert len(runner.explain("clean").changes) == 2
    assert runner.task("other") == first


def test_the_same_again_takes_no_write_lock(runner, app, home):
    app("shop", "def clean(): pass\n")
    import shop

    runner.task(every="1d")(shop.clean)
    other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    runner.task(every="1d")(shop.clean)
    other.execute("ROLLBACK")
    other.close()


def test_now_counts_only_when_the_task_is_new(runner, app):
    app("shop", "def clean(): return 'cleaned'\n")
    import shop

    runner.task(every="1d", now=True)(shop.clean)
    (run,) = runner.tick().runs
    assert run.state is State.SUCCEEDED
    runner.task(every="1d", now=True)(shop.clean)
    runner.task(every="2d", now=True)(shop.clean)
    assert runner.task("clean").requested is None


def test_every_way_to_say_when_is_known(runner, app):
    app("shop", "def a(): pass\ndef b(): pass\ndef c(): pass\ndef d(): pass\ndef e(): pass\n")
    import shop

    runner.task(manual=True)(shop.a)
    runner.task(after="a:any")(shop.b)
    runner.task(cron="0 2 * * *", tz="Europe/Berlin")(shop.c)
    runner.task("named", boot=True)(shop.d)
    runner.task("payday", on="last workday", at_time="09:00")(shop.d)
    runner.task(schedule=Every("1h", from_finish=True))(shop.e)
    kinds = [(task.name, str(task.kind), task.schedule) for task in runner.tasks()]
    assert kinds == [
        *[("a", "manual", ""), ("b", "after", "a:any"), ("c", "cron", "0 2 * * *")],
        *[("e", "every", "1h"), ("named", "boot", "")],
        ("payday", "on", "last workday at 09:00"),
    ]


def nested():
    def inner():
        pass

    return inner


class Holder:
    def method(self):
        pass


def in_main():
    pass


in_main.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: None, "it is a lambda"),
        (nested(), "it is defined inside a function"),
        (Holder.method, "it is part of a class"),
        (in_main, "it is in the main script, which cannot be imported"),
        (3, "'3' is not a function that can be imported"),
    ],
    ids=["lambda", "nested", "method", "main", "number"],
)
def test_what_nobody_else_could_import_is_refused(runner, home, function, why):
    with pytest.raises(InputError, match=why):
        runner.task(every="1d")(function)
    assert not (home / "taskrunner.db").exists()


def test_a_name_that_another_task_has_is_refused(runner, app):
    app("shop", "def clean(): pass\n")
    app("yard", "def clean(): pass\n")
    import shop
    import yard

    runner.task(every="1d")(shop.clean)
    with pytest.raises(DuplicateTask, match="runs shop:clean and not yard:clean"):
        runner.task(every="1d")(yard.clean)
    runner.task("clean-yard", every="1d")(yard.clean)
    runner.add("double", ["true"], Manual())
    with pytest.raises(DuplicateTask, match="is not a function"):
        runner.task("double", every="1d")(yard.clean)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "a task needs a schedule"),
        ({"timeout": "1s"}, "a task needs a schedule"),
        ({"every": "1d", "manual": True}, "every and manual are several schedules"),
        ({"cron": "@daily", "schedule": Manual()}, "cron and schedule are several schedules"),
        ({"every": "1x"}, "'1x'"),
        ({"every": "1d", "at_time": "09:00"}, "--at-time '09:00' goes only with --on"),
        ({"on": "last day", "at_time": "9"}, "'9' is not a time of day"),
        ({"every": "1d", "nosuch": 1}, "'nosuch' is not an option of a task"),
    ],
    ids=str,
)
def test_a_decorator_that_says_no_good_when_is_refused(runner, app, given, said):
    app("shop", "def clean(): pass\n")
    import shop

    with pytest.raises(InputError, match=said):
        runner.task(**given)(shop.clean)
    with pytest.raises(InputError, match="a task needs a schedule"):
        runner.task(shop.clean)


def test_inside_a_run_nothing_is_added(home, app, monkeypatch, tmp_path):
    """It would be, perhaps as another user, into another home."""
    app("shop", "def clean(): pass\n")
    import shop

    monkeypatch.setenv("TASKRUNNER_RUN", "7")
    with TaskRunner(tmp_path / "another") as other:
        assert other.task(every="1d")(shop.clean) is shop.clean
    assert not (tmp_path / "another").exists()


# ---- Django

SETTINGS = """
import os
SECRET_KEY = "of a test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "sales", "support"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.dirname(__file__) + ".sqlite3"}}
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models
class Contact(models.Model):
    name = models.CharField(max_length=20)
class {own}(models.Model):
    pass
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A real Django project with two applications that both have a model Contact."""
    pytest.importorskip("django")
    folder = tmp_path_factory.mktemp("project")
    for name, own in (("sales", "Offer"), ("support", "Ticket")):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
        (folder / name / "models.py").write_text(MODELS.format(own=own))
    (folder / "crm").mkdir()
    (folder / "crm" / "__init__.py").write_text("")
    (folder / "crm" / "settings.py").write_text(SETTINGS)
    manage(folder, "makemigrations", "sales", "support")
    manage(folder, "migrate")
    return folder


@pytest.fixture
def crm(project, tmp_path):
    """A copy of the project, to be changed."""
    return Path(shutil.copytree(project, tmp_path / "site"))


def manage(folder, *words):
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "crm.settings", "PYTHONPATH": str(folder)}
    argv = [sys.executable, "-m", "django", *words]
    return subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True, text=True)


@pytest.mark.slow
def test_a_text_has_the_models_and_the_zone_of_the_project(crm, ended, tell):
    text = (
        "Contact.objects.create(name='Ann'); Ticket.objects.create()\n"
        "print(Contact.__module__, Contact.objects.count(), Ticket.objects.count(), User.__name__)\n"
        "print(timezone.get_current_timezone_name(), timezone.localtime(slot).tzinfo, task)\n"
    )
    run = ended("--cwd", str(crm), "--django", "crm.settings", "--code", text)
    assert run["state"] == "succeeded", tell("log", "x")[0]
    assert tell("log", "x")[0].splitlines() == [
        "sales.models 1 1 User",
        "Europe/Berlin Europe/Berlin x",
    ]


@pytest.mark.slow
def test_models_of_one_name_are_decided_as_the_shell_does(crm, ended, tell):
    text = "print(Contact._meta.app_label)"
    ended("--cwd", str(crm), "--django", "crm.settings", "--code", text)
    shell = manage(crm, "shell", "-v", "0", "-c", text).stdout
    assert tell("log", "x")[0] == shell


@pytest.mark.slow
def test_the_shell_of_the_project_itself_decides_where_it_has_one(crm, ended, tell):
    place = crm / "sales" / "management" / "commands"
    place.mkdir(parents=True)
    for folder in (place.parent, place):
        (folder / "__init__.py").write_text("")
    (place / "shell.py").write_text(
        "from django.core.management.commands import shell\n"
        "class Command(shell.Command):\n"
        "    def get_auto_imports(self):\n"
        "        return ['support.models.Contact', 'decimal.Decimal']\n"
    )
    ended(
        "--cwd",
        str(crm),
        "--django",
        "crm.settings",
        "--code",
        "print(Contact.__module__, Decimal)",
    )
    assert tell("log", "x")[0] == "support.models <class 'decimal.Decimal'>\n"


@pytest.mark.slow
def test_a_function_runs_with_django_set_up_and_a_command_of_it_is_one(crm, ended, tell):
    (crm / "sales" / "tasks.py").write_text(
        "from sales.models import Contact\ndef count():\n    return Contact.objects.count()\n"
    )
    words = ("--cwd", str(crm), "--django", "crm.settings")
    assert ended(*words, "--python", "sales.tasks:count")["reason"] == "exit code 0; returned 0"
    call_command = "django.core.management:call_command"
    run = ended(*words, "--python", call_command, "--args", '["check", "--deploy"]')
    assert run["state"] == "succeeded" and "System check" in tell("log", "x")[0]


@pytest.mark.slow
def test_settings_that_are_not_there_are_reported_by_the_run(crm, ended):
    run = ended("--cwd", str(crm), "--django", "crm.nosuch", "--code", "pass")
    assert run["reason"] == "exit code 1; ModuleNotFoundError: No module named 'crm.nosuch'"


@pytest.mark.slow
def test_a_task_sees_which_settings(crm, tell):
    tell("add", "x", "--manual", "--cwd", str(crm), "--django", "crm.settings", "--code", "pass")
    found = json.loads(tell("env", "x", "--json")[0])
    assert found["environment"]["DJANGO_SETTINGS_MODULE"] == "crm.settings"


def test_a_task_that_cannot_be_resolved_has_no_environment(runner, tmp_path):
    runner.add("x", ["true"], Manual(), env_file=tmp_path / "nosuch")
    with pytest.raises(StateError, match="nosuch"):
        runner.environment("x")


def test_the_launcher_is_shipped_beside_the_package():
    assert Path(command.LAUNCHER) == ROOT / "taskrunner" / "launcher.py"
