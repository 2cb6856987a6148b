"""The clock inside a Django project: real servers, reloaded and killed, have one daemon; nothing else has any."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskrunner.home import lock
from tests.daemons import (
    application_lives,
    applications,
    begun,
    daemons,
    end_all,
    free_port,
    gone,
    lives,
    one,
)
from tests.samples import wait_for

pytestmark = pytest.mark.slow

QUICK = "TASKRUNNER |= {'INTERVAL': '1s', 'LINGER': '1s'}"


class Server:
    """A process that serves a project, with its forks."""

    def __init__(self, project: Any, words: list[str], port: int, **env: str) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.place = project.folder / f"said-{port}"
        with open(self.place, "wb") as said:
            self.process = subprocess.Popen(
                words,
                cwd=project.folder,
                env=project.environment(PYTHONDONTWRITEBYTECODE="1", **env),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # as in a terminal of its own, whose ctrl-C all of them get
            )

    def said(self) -> str:
        return self.place.read_text()

    def answer(self) -> str:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=30) as response:
            return response.read().decode()
        assert self.process.poll() is None, self.said()
        return ""

    def children(self) -> set[int]:
        place = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in place.read_text().split()}

    def end(self, number: int = signal.SIGTERM) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait(100)


@pytest.fixture
def serve(tmp_path) -> Iterator[Any]:
    """Return what serves a project; what a failed test leaves is ended."""
    started: list[Server] = []

    def begin(project, kind="gunicorn", *words, **env):
        port = free_port()
        asgi = f"{project.name}.asgi:application"
        said = {
            "gunicorn": f"-m gunicorn -b 127.0.0.1:{port} {project.name}.wsgi",
            "hypercorn": f"-m hypercorn -b 127.0.0.1:{port} {asgi}",
            "runserver": f"manage.py runserver 127.0.0.1:{port}",
            "script": f"serve.py {port}",
            "uvicorn": f"-m uvicorn --port {port} {asgi}",
        }[kind]
        started.append(Server(project, [sys.executable, *said.split(), *words], port, **env))
        wait_for(started[-1].answer)
        return started[-1]

    yield begin
    for each in started:
        each.end(signal.SIGKILL)
    for home in tmp_path.rglob("taskrunner.db"):
        end_all(home.parent)


def slots(project):
    """The slots that the task of each second has really run for, one line each."""
    written = project.folder / "slots"
    return written.read_text().split() if written.exists() else []


def lives_on(project, first):
    """Check that a daemon is the first one, for longer than it lingers without an application."""
    count = len(slots(project))
    wait_for(lambda: len(slots(project)) > count + 2)
    assert (one(project.home), begun(project.home)) == (first, 1)


def with_a_task(project):
    """Define a task that runs each second, and a quick clock."""
    project.set(QUICK)
    shell = f"echo $TASKRUNNER_SLOT >> {project.folder}/slots"
    project.does("taskrunner", "add", "second", "--every", "1s", "--shell", shell)


@pytest.mark.parametrize("words", [(), ("--preload",)], ids=["plain", "preload"])
def test_gunicorn_has_one_daemon_whatever_is_killed(project, serve, words):
    with_a_task(project)
    project.set("TASKRUNNER['PASS_ENV'] = ['APP_SECRET']")
    server = serve(project, "gunicorn", "-w", "3", *words, APP_SECRET="open sesame")
    first = one(project.home)
    with application_lives(project.home):
        wait_for(lambda: len(server.children()) == 3)
        before = server.children()
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: len(server.children()) == 3 and min(before) not in server.children())
        before = server.children()
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: len(server.children()) == 3 and not before & server.children())
        wait_for(server.answer)
    lives_on(project, first)

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: first not in daemons(project.home))
    second = one(project.home)
    count = len(slots(project))
    wait_for(lambda: len(slots(project)) > count + 1)
    assert (second, begun(project.home)) == (one(project.home), 2)

    server.end()
    assert gone(project.home)
    ran = slots(project)
    assert len(ran) == len(set(ran)), "no slot runs twice"
    assert (project.home / "django.env").stat().st_mode & 0o777 == 0o600
    stored = b"".join(each.read_bytes() for each in project.home.glob("taskrunner.*"))
    assert b"open sesame" not in stored


@pytest.mark.one_python
@pytest.mark.parametrize(("kind", "option"), [("uvicorn", "--workers"), ("hypercorn", "-w")])
def test_a_server_of_asgi_has_one_daemon_over_a_reload_and_none_afterwards(
    project, serve, kind, option
):
    with_a_task(project)
    # Otherwise uvicorn gives a reload up when a new process is not there within 5 s.
    server = serve(project, kind, option, "2", UVICORN_TIMEOUT_WORKER_HEALTHCHECK="100")
    first = one(project.home)
    with application_lives(project.home):
        before = server.children()
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: len(server.children() - before) == 2 and server.answer() == "hello")
        wait_for(lambda: (server.children() - before) & applications(project.home))
    lives_on(project, first)
    server.end()
    assert gone(project.home)
    ran = slots(project)
    assert len(ran) == len(set(ran))


def test_runserver_keeps_its_daemon_over_reloads_and_a_second_server(project, serve, another):
    with_a_task(project)
    server = serve(project, "runserver")
    first = one(project.home)
    place = project.folder / "crm" / "urls.py"
    assert "W001" not in server.said(), "no tick can have come when it begins"

    def is_reloaded(word):
        place.touch()  # a change before the first look of the reloader is not seen by it
        for _ in range(10):  # another one at once could reload it again before it answers
            time.sleep(1)
            if f"hello {word}" in server.answer():
                return True
        return False

    with application_lives(project.home):
        for word in ("one", "two", "three"):
            place.write_text(place.read_text().replace("hello", f"hello {word}"))
            wait_for(lambda word=word: is_reloaded(word))
    lives_on(project, first)

    shop = another("shop")  # another project with the same home
    shop.set(f"TASKRUNNER['HOME'] = {str(project.home)!r}\n{QUICK}")
    others = [serve(shop, "gunicorn"), serve(project, "runserver", "--noreload")]
    assert (one(project.home), begun(project.home)) == (first, 1)
    server.end(signal.SIGINT)
    others[0].end()
    lives_on(project, first)
    others[1].end(signal.SIGINT)
    assert gone(project.home)
    ran = slots(project)
    assert len(ran) == len(set(ran))


ELSEWHERE = """
import os, sys
from wsgiref.simple_server import make_server
os.environ["DJANGO_SETTINGS_MODULE"] = "crm.settings"
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
print(os.path.exists("taskrunner/application.lock"), flush=True)
make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
"""


def test_an_unknown_server_has_the_clock_from_its_first_request_on(project, serve):
    project.set(QUICK)
    project.write("serve.py", ELSEWHERE)
    server = serve(project, "script")
    one(project.home)
    assert "False" in server.said(), "there is no clock before a request"
    server.end(signal.SIGINT)
    assert gone(project.home)


@pytest.mark.parametrize("how", ["setting", "environment"])
def test_switched_off_no_server_has_a_clock(project, serve, how):
    project.does("taskrunner", "add", "x", "--manual", "--", "true")
    if how == "setting":
        project.set("TASKRUNNER['CLOCK'] = False")
    else:
        project.env["TASKRUNNER_DJANGO_CLOCK"] = "0"
    project.write("serve.py", ELSEWHERE)
    for kind in ("gunicorn", "runserver", "script"):
        server = serve(project, kind)
        assert server.answer() == "hello"
        server.end(signal.SIGINT)
    assert not (project.home / "application.lock").exists()
    assert not lives(project.home)
    assert "(taskrunner.W002) nothing runs the tasks" in project.manage("check").stderr


def test_commands_shells_tests_and_scripts_have_no_clock(project):
    project.does("taskrunner", "add", "x", "--manual", "--", "true")
    asks = "from django.test import Client; print(Client().get('/').content)"
    project.write(
        "sales/tests.py",
        """
        import urllib.request
        from django.test import LiveServerTestCase
        class Live(LiveServerTestCase):
            def test_it(self):
                with urllib.request.urlopen(self.live_server_url) as response:
                    self.assertEqual(response.read(), b"hello")
        """,
    )
    project.write("script.py", f"import django; django.setup(); {asks}")
    for words in (
        ("check",),
        ("migrate", "-v", "0"),
        ("shell", "-v", "0", "-c", asks),
        ("test",),
        ("runserver", "--help"),
        ("taskrunner", "run", "x"),
    ):
        ended = project.manage(*words)
        assert ended.returncode == 0, ended.stderr
    env = project.environment(DJANGO_SETTINGS_MODULE="crm.settings")
    words = [sys.executable, "script.py"]
    subprocess.run(words, cwd=project.folder, env=env, check=True, capture_output=True)
    assert not lock.is_held(str(project.home / "application.lock"), shared=True)
    assert not lives(project.home)


def test_tasks_have_the_variables_of_pass_env_from_the_application(project, serve):
    project.set(f"{QUICK}\nTASKRUNNER['PASS_ENV'] = ['APP_SECRET', 'ODD']")
    project.set("import os; SECRET_KEY = os.environ.get('APP_SECRET', 'unset')")
    project.write(
        "sales/scheduled.py",
        """
        import os
        from taskrunner.django import scheduled

        @scheduled(manual=True)
        def tell():
            from django.conf import settings
            return settings.SECRET_KEY, os.environ.get("ODD")
        """,
    )
    project.does("migrate", "-v", "0", APP_SECRET="of migrate")
    assert "'of migrate', None" in project.does("taskrunner", "run", "tell")
    server = serve(project, APP_SECRET="open sesame", ODD='"quoted" # = é')
    told = project.does("taskrunner", "run", "tell")
    assert """('open sesame', '"quoted" # = é')""" in told
    server.end()
    assert gone(project.home)
    project.does("taskrunner", "apply", APP_SECRET="of a command")
    assert "open sesame" in project.does("taskrunner", "run", "tell"), "a command leaves the file"
    told = project.manage("check", APP_SECRET="x").stderr
    assert "(taskrunner.W004) tasks go without ODD: PASS_ENV names" in told


def test_two_projects_with_pass_env_need_a_home_each(project, another):
    project.set("TASKRUNNER['PASS_ENV'] = ['A']")
    shop = another("shop")
    shop.set(f"TASKRUNNER['HOME'] = {str(project.home)!r}; TASKRUNNER['PASS_ENV'] = ['A']")
    for each in (project, shop):
        each.write(
            "sales/scheduled.py",
            f"from taskrunner.django import command\ncommand('{each.name}', 'check', manual=True)",
        )
    project.does("migrate", "-v", "0", A="1")
    ended = shop.manage("migrate", "-v", "0", A="2")
    assert ended.returncode == 1
    assert "(taskrunner.E006)" in ended.stderr
    assert "has the variables of the project 'crm'" in ended.stderr
    assert set(project.tasks()) == {"crm"}
    assert 'A="1"' in (project.home / "django.env").read_text()


@pytest.mark.parametrize(
    ("program", "serves"),
    [
        ("/srv/venv/bin/gunicorn", True),
        ("/srv/venv/lib/python3.12/site-packages/uvicorn/__main__.py", True),
        ("/usr/bin/waitress-serve", True),
        ("/usr/share/passenger/helper-scripts/wsgi-loader.py", True),
        ("manage.py", False),
        ("/srv/venv/bin/celery", False),
        ("/srv/gunicorn/manage.py", False),
        ("", False),
    ],
)
def test_a_server_is_known_by_the_name_of_its_program(program, serves):
    from taskrunner.django import clock

    assert clock.is_server(program) is serves


@pytest.mark.parametrize(
    ("module", "inside"), [("mod_wsgi", "process_group"), ("uwsgi", "version")]
)
def test_a_module_is_no_server_unless_a_server_has_filled_it(monkeypatch, module, inside):
    from taskrunner.django import clock

    made = ModuleType(
        module
    )  # mod_wsgi.server in INSTALLED_APPS imports the package in each command
    monkeypatch.setitem(sys.modules, module, made)
    assert not clock.is_server("manage.py")
    setattr(made, inside, "")
    assert clock.is_server("manage.py")


def test_a_wrong_setting_is_logged_and_the_application_serves(project, serve):
    project.set("TASKRUNNER['LINGRE'] = '1s'")
    server = serve(project)
    assert server.answer() == "hello"
    said = server.said()
    assert "no clock of its tasks: TASKRUNNER has the unknown key 'LINGRE': did you mean" in said


def test_a_fault_of_the_home_is_logged_and_the_application_serves(project, serve):
    project.home.mkdir(mode=0o777)
    project.home.chmod(0o777)
    server = serve(project)
    assert server.answer() == "hello"
    assert "the application is no clock of its tasks: " in server.said()


def test_a_late_clock_is_a_warning_only_while_the_application_serves(project):
    project.does("taskrunner", "add", "x", "--manual", "--", "true")
    assert "no issues" in project.does("check"), "it does not serve"
    place = project.home / "application.lock"
    hold = f"import fcntl, time; f = open({str(place)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_SH); print(1, flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        served.stdout.readline()
        told = project.manage("check").stderr
        served.kill()
    assert "(taskrunner.W001) no tick has come yet" in told
