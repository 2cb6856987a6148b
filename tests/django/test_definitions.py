"""Tasks that are defined in code: what `migrate` and `manage.py taskrunner apply` make of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

slow = pytest.mark.slow

TWO = """
from taskrunner.django import command, scheduled

@scheduled(every="1h", timeout="10m")
def remind():
    from django.contrib.auth.models import User
    return f"{User.objects.count()} reminded"

command("clear-sessions", "clearsessions", cron="0 3 * * *")
"""


@pytest.mark.slow
def test_migrate_applies_them_once_and_each_runs_in_the_project(project):
    project.write("sales/scheduled.py", TWO)
    told = project.does("migrate")
    assert told.count("taskrunner: 2 added") == 1
    assert "taskrunner: clear-sessions added: every day at 03:00 (Europe/Berlin)" in told
    assert "taskrunner: nothing changed: 2 unchanged" in project.does("migrate")

    tasks = project.tasks()
    assert set(tasks) == {"remind", "clear-sessions"}
    assert tasks["remind"]["timeout"] == 600
    assert tasks["remind"]["python"] == "sales.scheduled:remind"
    assert tasks["remind"]["django"] == "crm.settings"
    assert tasks["clear-sessions"]["tz"] == "Europe/Berlin", "cron without a zone has the project's"
    assert tasks["clear-sessions"]["command"][1:] == [
        str(project.folder / "manage.py"),
        "clearsessions",
    ]
    project.does("taskrunner", "run", "clear-sessions")
    assert "returned '0 reminded'" in project.does("taskrunner", "run", "remind")


@slow
def test_a_renamed_and_a_removed_one_go_and_tasks_of_others_stay(project):
    project.write("sales/scheduled.py", TWO)
    project.does("taskrunner", "apply")
    project.does("taskrunner", "run", "remind")
    project.does("taskrunner", "add", "by-hand", "--manual", "--", "true")
    project.write("sales/scheduled.py", TWO.replace("remind", "nag").partition("command(")[0])

    plan = {each["task"]: each["action"] for each in project.run("apply", "--dry-run")["tasks"]}
    assert plan == {"nag": "add", "remind": "remove", "clear-sessions": "remove"}
    assert set(project.tasks()) == {"remind", "clear-sessions", "by-hand"}, "a dry run changes none"
    project.does("taskrunner", "apply", "--quiet")
    assert set(project.tasks()) == {"nag", "by-hand"}
    assert project.run("history", "remind")["runs"][0]["state"] == "succeeded"

    project.write("sales/scheduled.py", "")
    project.does("migrate", "-v", "0")
    assert set(project.tasks()) == {"by-hand"}


@slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'scheduled(lambda: 1, every="1h")',
            "sales.scheduled, line 3: sales.scheduled:<lambda> cannot be a task: it is a lambda",
        ),
        (
            'command("x", "check", every="1h")\ncommand("x", "check", every="2h")',
            "sales.scheduled, line 4: x: it is defined a second time, after sales.scheduled, line 3",
        ),
        ('command("x", "check", cron="61 * * * *")', "sales.scheduled, line 3: x: "),
    ],
    ids=["lambda", "twice", "cron"],
)
def test_migrate_says_a_fault_in_one_sentence_and_changes_nothing(another, text, told):
    project = another("shop")
    project.write("sales/scheduled.py", f"from taskrunner.django import *\n\n{text}\n")
    ended = project.manage("migrate")
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("taskrunner.E005") == 1
    assert not project.home.exists()
    tables = "from django.db import connection; print(connection.introspection.table_names())"
    assert project.does("shell", "-v", "0", "-c", tables) == "[]\n", "nothing is migrated either"

    skipped = project.manage("migrate", "-v", "0", "--skip-checks")
    assert skipped.returncode == 1
    assert f"CommandError: taskrunner: the tasks stay as they were: {told}" in skipped.stderr
    assert not project.home.exists()


@slow
def test_all_faults_are_reported_at_once_each_with_its_line(project):
    faults = {
        'scheduled(print, evry="1h")': "'evry' is not an option of a task: did you mean every?",
        "scheduled(print)": "there is no schedule: give one of every, cron, on, at, after, boot",
        'scheduled(print, every="1h", cron="* * * * *")': "every and cron are several schedules",
        'scheduled(print, every="1h", enqueue=True)': "enqueue goes only with a Task of Django",
        'scheduled(print, every="1h", now=1)': "now '1' is neither True nor False",
        'scheduled(7, every="1h")': "'7' is not a function that can be imported",
        'scheduled(print, every="1h", name="a b")': "'a b' cannot be the name of a task",
        'scheduled(print, every="1h", name="b", timeout="1x")': "b: timeout '1x'",
        'scheduled(print, every="1h", name="c", args="{")': "c: args '{': it is not valid JSON",
        'scheduled(print, every="1h", name="d", tz="Mars")': "d: 'Mars' is not a valid time zone",
        'command("e", "check", every="1h", args=[1])': "goes only with",
        'command("f", "check", after="nobody")': "f: it runs after 'nobody', which is neither",
        'command("h", "check", every="1h", enqueue=True)': "enqueue goes only with a Task of Django",
        'command("g", "check", every="1h", python="a:b")': "'python' is not an option of a task",
    }
    lines = "\n".join(faults)
    project.write(
        "sales/scheduled.py", f"from taskrunner.django import command, scheduled\n{lines}\n"
    )
    ended = project.manage("taskrunner", "apply")
    assert ended.returncode == 2
    said = ended.stderr.removeprefix("taskrunner: ").splitlines()
    for number, told in enumerate(faults.values(), start=2):
        mine = [each for each in said if each.startswith(f"sales.scheduled, line {number}: ")]
        assert mine, f"line {number} should be refused: {told}"
        assert told in mine[0]
    assert len(said) == len(faults)
    assert not project.home.exists()


@slow
def test_a_function_of_another_decorator_a_class_and_a_local_one(project):
    project.write(
        "sales/scheduled.py",
        """
        import functools
        from taskrunner.django import scheduled

        def loud(function):
            @functools.wraps(function)
            def inner():
                print("before")
                return function()
            return inner

        @loud
        @scheduled(manual=True)
        def wrapped():
            print("called")

        @scheduled(name="own-name", manual=True, args={"who": "ann"}, description="greets")
        async def greet(who):
            return f"hello {who}"
        """,
    )
    project.does("taskrunner", "apply")
    assert project.does("taskrunner", "run", "wrapped") == "before\ncalled\n"
    assert "hello ann" in project.does("taskrunner", "run", "own-name")
    project.write(
        "sales/scheduled.py",
        """
        from taskrunner.django import scheduled

        def outer():
            @scheduled(every="1h")
            def local(): ...

        outer()
        """,
    )
    assert "it is defined inside a function" in project.manage("taskrunner", "apply").stderr


@slow
def test_defaults_are_for_those_in_code_and_its_own_options_win(project):
    project.set("TASKRUNNER['DEFAULTS'] = {'timeout': '2m', 'retries': 3, 'env': {'A': '1'}}")
    project.write(
        "sales/scheduled.py",
        """
        from taskrunner.django import command
        command("usual", "check", manual=True)
        command("own", "check", manual=True, timeout="5m", env={"A": "2"}, tz=None)
        """,
    )
    project.does("taskrunner", "apply")
    project.does("taskrunner", "add", "by-hand", "--manual", "--", "true")
    tasks = project.tasks()
    assert [tasks[name]["timeout"] for name in ("usual", "own", "by-hand")] == [120, 300, 3600]
    assert tasks["own"]["retries"] == 3
    assert [tasks[name]["env"]["A"] for name in ("usual", "own")] == ["1", "2"]


@slow
def test_an_application_elsewhere_on_the_path_is_found_by_its_tasks(project, tmp_path):
    place = tmp_path / "apps"
    (place / "support").mkdir(parents=True)
    (place / "support" / "__init__.py").write_text("")
    (place / "support" / "scheduled.py").write_text(
        "from taskrunner.django import command, scheduled\n"
        "@scheduled(manual=True)\ndef answer():\n    return 42\n"
        "command('inspect', 'check', manual=True)\n"
    )
    manage = project.folder / "manage.py"
    manage.write_text(f"import sys\nsys.path.append({str(place)!r})\n{manage.read_text()}")
    project.set("INSTALLED_APPS.append('support')")
    project.does("taskrunner", "apply")
    assert "returned 42" in project.does("taskrunner", "run", "answer")
    assert "no issues" in project.does("taskrunner", "run", "inspect")


@slow
def test_two_projects_with_one_home_leave_the_tasks_of_the_other_alone(project, another):
    shop = another("shop")
    for each, name in ((project, "remind"), (shop, "restock")):
        each.set(f"TASKRUNNER['HOME'] = {str(project.home)!r}")
        each.write("sales/scheduled.py", TWO.replace("remind", name).partition("command(")[0])
        each.does("migrate", "-v", "0")
    assert set(project.tasks()) == {"remind", "restock"}
    project.write("sales/scheduled.py", "")
    project.does("migrate", "-v", "0")
    assert set(shop.tasks()) == {"restock"}
    assert "returned '0 restocked'" in shop.does("taskrunner", "run", "restock")


@slow
def test_tests_of_the_project_touch_no_home(project):
    project.write("sales/scheduled.py", TWO)
    project.write(
        "sales/tests.py",
        """
        from django.test import TestCase
        class Some(TestCase):
            def test_it(self):
                self.assertEqual(self.client.get("/").status_code, 200)
        """,
    )
    ended = project.manage("test")
    assert ended.returncode == 0, ended.stderr
    assert "no issues" in ended.stdout + ended.stderr, "nothing is said about definitions"
    assert not project.home.exists()


@slow
def test_definitions_that_are_not_applied_are_named_by_a_check(project):
    assert "no issues" in project.does("check")
    project.write("sales/scheduled.py", TWO)
    told = project.manage("check").stderr
    assert (
        "(taskrunner.W003) the definitions in the code are not applied: clear-sessions, remind"
        in told
    )
    assert "manage.py taskrunner apply" in told
    assert "W003" not in project.manage("migrate", "-v", "0").stderr, "it is just about to"
    assert "no issues" in project.does("check")
    project.write("sales/scheduled.py", TWO.replace("10m", "20m"))
    assert "not applied: remind differ" in project.manage("check").stderr


@slow
def test_wrong_settings_a_refused_home_and_a_newer_store_are_errors_of_the_check(project):
    project.write("sales/scheduled.py", TWO)
    project.does("taskrunner", "apply")
    project.home.chmod(0o777)
    ended = project.manage("check")
    assert ended.returncode == 1
    assert "(taskrunner.E001) '/" in ended.stderr
    assert "Traceback" not in ended.stderr
    ended = project.manage("taskrunner", "list")
    assert ended.returncode == 1
    assert "can be written by others" in ended.stderr
    project.home.chmod(0o700)

    link = sqlite3.connect(project.home / "taskrunner.db")
    (version,) = link.execute("PRAGMA user_version").fetchone()
    link.execute(f"PRAGMA user_version = {version + 1}")
    link.close()
    assert "(taskrunner.E003)" in project.manage("check").stderr

    project.set("TASKRUNNER = {'HOEM': 1}")
    ended = project.manage("check")
    assert "(taskrunner.E004) TASKRUNNER has the unknown key 'HOEM'" in ended.stderr
    assert "Traceback" not in ended.stderr
    ended = project.manage("taskrunner", "list")
    assert ended.returncode == 2
    assert "did you mean HOME?" in ended.stderr


@slow
def test_settings_without_a_module_are_a_fault_of_definitions_only(project):
    project.write("sales/scheduled.py", TWO)
    project.write(
        "alone.py",
        """
        import sys
        from django.conf import settings
        from django.core.management import execute_from_command_line

        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "taskrunner.django", *sys.argv[1:]],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            TASKRUNNER={"HOME": "taskrunner", "PASS_ENV": ["APP_SECRET"]},
        )
        execute_from_command_line(["alone.py", "migrate", "-v", "0"])
        """,
    )

    def migrate(*words):
        return subprocess.run(
            [sys.executable, "alone.py", *words],
            cwd=project.folder,
            env=project.environment(APP_SECRET="x"),
            capture_output=True,
            text=True,
        )

    ended = migrate()
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = migrate("sales")
    told = "settings.configure() makes settings that no task can import: set DJANGO_SETTINGS_MODULE"
    assert ended.returncode == 1
    assert f"(taskrunner.E005) sales.scheduled, line 4: {told}" in ended.stderr
    assert not project.home.exists()


@slow
def test_a_task_of_a_queue_has_the_variables_of_its_worker(project):
    project.set("TASKRUNNER['PASS_ENV'] = ['APP_SECRET']")
    project.home.mkdir(mode=0o700)
    project.write(
        "taskrunner/taskrunner.toml", "[queues.far]\nengine = 'rq'\nurl = 'redis://127.0.0.1:1/0'\n"
    )
    project.write(
        "sales/scheduled.py",
        """
        from taskrunner.django import command
        command("here", "check", manual=True)
        command("there", "check", manual=True, queue="far")
        """,
    )
    project.does("taskrunner", "apply")
    tasks = project.tasks()
    found = {name: (each["env_file"], each["pass_env"]) for name, each in tasks.items()}
    file = str(project.home / "django.env")
    assert found == {"here": (file, []), "there": (None, ["APP_SECRET"])}


@slow
def test_a_live_run_keeps_migrate_from_removing_its_task(project):
    project.write("sales/scheduled.py", TWO)
    project.write("sales/management/commands/wait.py", WAIT)
    project.write("sales/scheduled.py", f"{TWO}\ncommand('wait', 'wait', manual=True)\n")
    project.does("taskrunner", "apply")
    project.does("taskrunner", "run", "--detach", "wait")
    project.write("sales/scheduled.py", TWO)
    ended = project.manage("migrate", "-v", "0")
    assert ended.returncode == 1
    assert "wait is not removed" in ended.stderr and "Traceback" not in ended.stderr
    assert "wait" in project.tasks()
    project.does("taskrunner", "cancel", "wait")
    project.does("migrate", "-v", "0")
    assert "wait" not in project.tasks()


WAIT = """
import time
from django.core.management.base import BaseCommand
class Command(BaseCommand):
    def handle(self, **_):
        time.sleep(300)
"""


@slow
def test_a_command_that_fails_is_a_failed_run_with_its_words(project):
    project.write(
        "sales/management/commands/count.py",
        """
        from django.core.management.base import BaseCommand, CommandError
        class Command(BaseCommand):
            def add_arguments(self, parser):
                parser.add_argument("number", type=int)
                parser.add_argument("--fail", action="store_true")
            def handle(self, number, fail, **_):
                self.stdout.write(f"counted to {number}")
                if fail:
                    raise CommandError("no more fingers")
        """,
    )
    project.write(
        "sales/scheduled.py",
        """
        from taskrunner.django import command
        command("five", "count", "5", manual=True)
        command("ten", "count", "10", "--fail", manual=True)
        """,
    )
    project.does("taskrunner", "apply")
    assert project.does("taskrunner", "run", "five") == "counted to 5\n"
    ended = project.manage("taskrunner", "run", "ten")
    assert ended.returncode == 1
    assert project.run("history", "ten")["runs"][0]["state"] == "failed"
    assert "no more fingers" in project.does("taskrunner", "log", "ten")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("import nothing_here", 6, "ModuleNotFoundError: No module named 'nothing_here'"),
        ("command('look', every='1h')", 6, "TypeError: command() missing 1 required positional"),
        ("def broken(:", 6, "SyntaxError: "),
        ("import json\njson.loads('{')", 7, "JSONDecodeError: "),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(project, text, line, told):
    project.write(
        "sales/scheduled.py",
        f"from taskrunner.django import command, scheduled\n@scheduled(every='1h')\ndef first():\n    pass\n\n{text}\n",
    )
    ended = project.manage("migrate", "-v", "0")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
    assert f"sales.scheduled, line {line}: it cannot be imported: {told}" in ended.stderr
    assert not (project.home / "taskrunner.db").exists()


@pytest.mark.slow
def test_a_command_that_the_project_does_not_have_is_a_fault(project):
    project.write(
        "sales/scheduled.py",
        "from taskrunner.django import command\n"
        "command('look', 'chek', every='1h')\n"
        "command('other', 'theirs', every='1h', interpreter='/srv/other/bin/python')\n",
    )
    told = project.manage("check").stderr
    assert "line 2: 'chek' is not a management command of this project: did you mean check?" in told
    assert "theirs" not in told
