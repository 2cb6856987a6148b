"""`manage.py taskrunner VERB`: the command line with the home of the project."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_verbs_have_the_home_of_the_project_and_exit_codes_pass_through(project):
    project.does("taskrunner", "add", "seven", "--manual", "--", "sh", "-c", "echo said; exit 7")
    assert (project.home / "taskrunner.db").exists()
    ended = project.manage("taskrunner", "run", "seven")
    assert (ended.returncode, ended.stdout) == (7, "said\n")
    ended = project.manage("taskrunner", "show", "eight")
    assert ended.returncode == 1
    assert ended.stderr.startswith("taskrunner: ")
    ended = project.manage("taskrunner", "lsit")
    assert ended.returncode == 2
    assert "did you mean list?" in ended.stderr
    assert project.manage("taskrunner", "--home", "/elsewhere", "list").returncode == 2
    assert project.manage("taskrunner", "status", "--check").returncode == 2, "no tick has come"


def test_options_of_django_are_its_own_and_words_of_a_task_stay(project):
    words = ("--settings=crm.settings", "--pythonpath", ".", "--", "echo", "--settings", "x")
    project.does("taskrunner", "add", "echo", "--manual", *words)
    assert project.does("taskrunner", "run", "echo") == "--settings x\n"
    assert project.manage("taskrunner", "list", "--settings", "crm.nothing").returncode == 1


def test_the_help_is_that_of_the_verbs_and_of_apply_without_a_file(project):
    for words in (("taskrunner",), ("taskrunner", "--help"), ("help", "taskrunner")):
        assert "show whether ticks arrive" in project.does(*words)
    assert "--catch-up" in project.does("taskrunner", "add", "--help")
    told = project.does("taskrunner", "apply", "--help")
    assert "--profile" in told
    assert "applies the definitions in scheduled.py" in told
    assert "taskrunner" in project.does("help")


def test_apply_takes_task_files_too_and_they_leave_the_code_alone(project):
    project.write(
        "sales/scheduled.py",
        "from taskrunner.django import command\ncommand('look', 'check', manual=True)\n",
    )
    project.write("tasks.toml", '[tasks.filed]\nmanual = true\ncommand = ["true"]\n')
    project.does("taskrunner", "apply")
    assert project.does("taskrunner", "apply", "--quiet") == ""
    assert "filed" in project.does("taskrunner", "apply", "tasks.toml", "--prune")
    assert set(project.tasks()) == {"look", "filed"}
    assert "keep" in project.does("taskrunner", "apply", "--json")
    assert "look unchanged" in project.manage("taskrunner", "apply", "--verbose").stderr


def test_call_command_runs_a_verb_and_raises_what_failed(project):
    code = (
        "from django.core.management import CommandError, call_command\n"
        "call_command('taskrunner', 'add', 'x', '--manual', '--shell', 'exit 3')\n"
        "try:\n    call_command('taskrunner', 'run', 'x')\n"
        "except CommandError as exc:\n    print(exc.returncode, exc)\n"
    )
    assert project.does("shell", "-v", "0", "-c", code).endswith("3 taskrunner run x failed\n")


def test_a_management_command_in_a_run_says_nothing_of_another_home(project, tmp_path):
    """TASKRUNNER_HOME of the shell is not in the environment of a run, which sees the default home."""
    project.set("TASKRUNNER = {}\n")
    here = {"TASKRUNNER_HOME": str(tmp_path / "elsewhere")}
    project.write(
        "sales/scheduled.py",
        "from taskrunner.django import command\ncommand('clear', 'clearsessions', manual=True)\n",
    )
    project.does("migrate", "-v", "0", **here)
    ended = project.manage("taskrunner", "run", "clear", **here)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_messages_and_advice_name_the_verbs_of_manage(project):
    shell = "echo `taskrunner list`"
    project.does("taskrunner", "add", "off", "--every", "1d", "--shell", shell)
    project.does("taskrunner", "disable", "off")
    assert "until `manage.py taskrunner enable off`" in project.does("taskrunner", "explain", "off")
    assert "`manage.py taskrunner" in project.manage("taskrunner", "doctor").stdout
    assert "`manage.py taskrunner list` shows" in project.manage("taskrunner", "tasks").stderr
    assert shell in project.does("taskrunner", "export"), "the command of a task stays"
    assert "manage.py" not in project.does("taskrunner", "explain", "off", "--json")


def test_before_the_first_start_nobody_is_sent_to_cron(project):
    project.write(
        "sales/scheduled.py",
        "from taskrunner.django import command\ncommand('look', 'check', every='10s')\n",
    )
    applied = project.manage("taskrunner", "apply")
    told = [applied.stdout + applied.stderr, project.manage("taskrunner", "status").stdout]
    assert "look added" in told[0] and "start the application" in told[1]
    assert not [each for each in told if "cron" in each], told
    project.set("TASKRUNNER['CLOCK'] = False")
    (project.home / "application.lock").unlink()
    assert "install cron" in project.does("taskrunner", "status")
    assert not (project.home / "application.lock").exists()
