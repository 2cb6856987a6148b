"""A program that cannot be executed says why, beforehand and when it is tried."""

import marshal
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from taskrunner import Manual, State
from taskrunner.home.config import Config
from taskrunner.model.values import Command
from taskrunner.processes import executable
from taskrunner.processes.spawn import not_started
from taskrunner.supervise.systemd import record_end
from taskrunner.tasks import modules, obstacles
from tests.samples import TASK

SCRIPTS = {
    "gone": (b"#!/usr/bin/pyhton3\nprint()\n", "its interpreter '/usr/bin/pyhton3', of its first"),
    "windows": (b"#!/bin/sh\r\necho\r\n", "its first line ends as on Windows (CRLF)"),
    "windows-option": (b"#!/bin/sh -e\r\necho\r\n", "its first line ends as on Windows (CRLF)"),
    "bare": (b"echo hello\n", "its first line is not a #! line with an interpreter"),
    "marked": (b"\xef\xbb\xbf#!/bin/sh\necho\n", "byte order mark"),
    "nothing": (b"", "it is empty"),
    "nameless": (b"#!\necho\n", "names no interpreter"),
    "by-a-folder": (b"#!/etc\necho\n", "its interpreter '/etc' cannot be executed: it is a dir"),
    "by-a-text": (
        b"#!/etc/passwd\n",
        "its interpreter '/etc/passwd' cannot be executed: it is not",
    ),
}


@pytest.fixture
def script(tmp_path):
    def make(name, text, mode=0o755):
        place = tmp_path / name
        place.write_bytes(text)
        place.chmod(mode)
        return str(place)

    return make


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_cannot_start_says_why(runner, script, name):
    text, why = SCRIPTS[name]
    place = script(name, text)
    runner.add("a", [place], Manual(), cwd="/")
    (found,) = obstacles.obstacles(runner.task("a"), Config())
    assert found.startswith(f"the program '{place}' cannot be executed: ") and why in found
    run = runner.run("a")
    assert run.state is State.FAILED
    assert name == "windows-option" or (
        run.reason.startswith("could not start") and why in run.reason
    )


@pytest.mark.parametrize("name", ["gone", "bare", "windows"])
def test_a_script_on_the_path_and_by_a_path_from_its_folder_says_the_same(
    runner, script, tmp_path, name
):
    text, why = SCRIPTS[name]
    script(name, text)
    runner.add("path", [name], Manual(), cwd="/", env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    runner.add("folder", [f"./{name}"], Manual(), cwd=str(tmp_path))
    runner.add("shell", shell=f"./{name} x", schedule=Manual(), cwd=str(tmp_path))
    for task in ("path", "folder", "shell"):
        (found,) = obstacles.obstacles(runner.task(task), Config())
        assert why in found
    assert why in runner.run("path").reason
    assert why in runner.run("folder").reason


@pytest.mark.parametrize("name", ["gone", "windows"])
@pytest.mark.parametrize("options", [{"nice": 5}, {"limit": {"files": 50}}], ids=str)
def test_a_script_that_is_started_with_limits_says_so_too(runner, script, name, options):
    text, why = SCRIPTS[name]
    runner.add("a", [script(name, text)], Manual(), cwd="/", **options)
    runner.add("b", ["no-such"], Manual(), cwd="/", **options)
    assert why in runner.run("a").reason
    assert "no program 'no-such' on PATH" in runner.run("b").reason


def test_a_folder_and_a_file_without_its_bit_say_so(runner, script):
    place = script("plain", b"#!/bin/sh\n", 0o644)
    for name, word, why in (("d", "/etc", "is a directory"), ("p", place, "run chmod +x")):
        runner.add(name, [word], Manual(), cwd="/")
        assert why in obstacles.obstacles(runner.task(name), Config())[0]
        assert why in runner.run(name).reason


def test_what_env_is_to_look_for_has_to_be_there(script):
    place = script("env", b"#!/usr/bin/env -S A=1 no-such-python -u\n")
    (found,) = obstacles.obstacles(replace(TASK, command=(place,), cwd="/"), Config())
    assert "has env look for 'no-such-python'" in found


def test_nothing_is_executed_on_a_disk_that_says_so(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    (tmp_path / "disk").mkdir()
    said = (
        f"mount -t tmpfs -o noexec tmpfs {tmp_path}/disk && printf '#!/bin/sh\\n' >{tmp_path}/disk/x && "
        f"chmod 755 {tmp_path}/disk/x && exec {sys.executable} -c "
        f"'from taskrunner.processes import executable; print(executable.fault(\"{tmp_path}/disk/x\"))'"
    )
    done = subprocess.run(["unshare", "--mount", "sh", "-c", said], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(done.stderr)
    assert "mounted noexec" in done.stdout


def test_a_unit_of_systemd_says_the_same(script):
    place = script("gone", SCRIPTS["gone"][0])
    left = marshal.dumps(
        {"argv": (place,), "path": "", "cwd": "/", "user": None, "error": (2, place)}
    )
    assert SCRIPTS["gone"][1] in record_end.begun(left).error


def test_a_good_program_has_no_fault(script):
    assert executable.fault("/bin/sh") is None
    assert executable.fault(script("good", b"#!/bin/sh\necho\n")) is None
    assert executable.fault(script("env", b"#!/usr/bin/env sh\n")) is None
    assert executable.fault(script("odd", b"MZ\0\0")) is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("echo hello",), "'echo hello'"),
        (("cd", "/x"), "'cd /x'"),
        (("FOO=1", "ls"), "'FOO=1 ls'"),
        (("FOO=a b", "ls", "x y"), None),
        (("export", "A=1"), "'export A=1'"),
        (("ls | wc -l",), "'ls | wc -l'"),
        (("source", "/x"), "'source /x'"),
        (("nosuch", "a b"), ""),
        (("nosuch",), ""),
        (("/no/such dir/x", "a"), ""),
    ],
)
def test_a_line_for_the_shell_is_asked_about(words, line):
    (found,) = obstacles.obstacles(replace(TASK, command=words, cwd="/"), Config())
    assert "is not found" in found
    assert ("is this a shell command?" in found) == (line != "")
    assert not line or f"write --shell {line}" in found
    why = not_started(Command(words, {"PATH": "/bin"}, "/"), FileNotFoundError(2, "gone")).error
    assert ("is this a shell command?" in why) == (line != "")


# ---- the function of a Python task


@pytest.fixture
def app(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "tasks.py").write_text(
        "import os as system\nfrom json import dumps\nraise SystemExit\n"
        "if True:\n    def clean(): ...\nclass Kind:\n    def go(self): ...\nlater = clean\n"
    )
    (tmp_path / "app" / "open.py").write_text("from os.path import *\n")
    return tmp_path


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("app.tasks:clean", None),
        ("app.tasks:later", None),
        ("app.tasks:Kind.go", None),
        ("app.tasks:dumps", None),
        ("app.open:join", None),
        ("os.path:join", None),
        ("time:sleep", None),
        ("app.tasks:gone", "the module 'app.tasks' has no 'gone'"),
        ("app.no:clean", "there is no module 'app.no'"),
        ("no_such_app.tasks:clean", "there is no module 'no_such_app.tasks'"),
        ("app.tasks.deep:clean", "'app.tasks' is not a package"),
    ],
)
@pytest.mark.parametrize("own", [True, False], ids=["own", "venv"])
def test_a_function_that_is_gone_is_found_out_without_importing_it(app, function, why, own):
    interpreter = None
    if not own:
        (app / "venv" / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
        (app / "venv" / "bin").mkdir()
        (app / "venv" / "bin" / "python").symlink_to(sys.executable)
        (app / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
        interpreter = str(app / "venv")
    found = modules.missing(function, [str(app)], interpreter)
    assert found is None if why is None else why in str(found)
    assert "app" not in sys.modules
    task = replace(TASK, command=(), python=function, cwd=str(app), interpreter=interpreter)
    told = obstacles.obstacles(task, Config())
    assert (told == []) == (why is None), told


def test_an_interpreter_that_is_gone_is_reported(tmp_path):
    task = replace(TASK, command=(), code="pass", cwd="/", interpreter=str(tmp_path / "venv"))
    (found,) = obstacles.obstacles(task, Config())
    assert f"the interpreter '{tmp_path}/venv' is not found" in found
