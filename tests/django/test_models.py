"""The models on the tables of the store: right values by its indexes, and no way to change anything."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("django")

from taskrunner import Every, StateError, TaskRunner
from tests.history import ran

pytestmark = pytest.mark.xdist_group("django")
SECOND = timedelta(seconds=1)
IN_MARCH = datetime(2026, 3, 29, 0, 59, 59, 250_000, tzinfo=UTC)  # clocks go forward a second later
IN_OCTOBER = datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC)  # the first 02:59:59 of two in Berlin


@pytest.fixture
def store(site, runner):
    runner.add("report", ["true"], Every("1d"))
    return runner._here().store


def test_an_instant_is_that_of_the_store(store):
    from taskrunner.django.models import Run

    key = ran(store, ended=IN_MARCH)
    found = Run.objects.get(id=key)
    assert found.finished == IN_MARCH and found.finished.tzinfo is not None
    assert found.task.name == "report" and found.started == IN_MARCH - 10 * SECOND


@pytest.mark.parametrize("moment", [IN_MARCH, IN_OCTOBER])
def test_instants_are_compared_to_the_millisecond(store, moment):
    from taskrunner.django.models import Run

    ran(store, ended=moment)
    assert Run.objects.filter(finished=moment).count() == 1
    assert Run.objects.filter(finished__gt=moment).count() == 0
    assert Run.objects.filter(finished__gt=moment - timedelta(milliseconds=1)).count() == 1
    assert Run.objects.filter(finished__range=(moment - SECOND, moment)).count() == 1


def test_without_time_zones_an_instant_is_naive_in_the_zone_of_the_project(store):
    from django.test import override_settings

    from taskrunner.django.models import Run

    key = ran(store, ended=IN_MARCH)
    with override_settings(USE_TZ=False):
        found = Run.objects.get(id=key).finished
        assert found == IN_MARCH.replace(hour=1, tzinfo=None)
        assert Run.objects.filter(finished=found).count() == 1


def test_a_removed_task_is_no_task_but_its_runs_have_its_name(store, runner):
    from taskrunner.django.models import Run, Task

    key = ran(store)
    runner.remove("report")
    assert not Task.objects.exists()
    assert Run.objects.get(id=key).task.name == "report"


def test_the_orm_may_not_write(store):
    from django.db import OperationalError

    from taskrunner.django.models import Run, Task

    ran(store)
    task, run = Task.objects.get(), Run.objects.get()
    refused = "of taskrunner cannot be changed by the ORM: use taskrunner.TaskRunner"
    for write in (
        task.save,
        run.delete,
        lambda: Task.objects.update(enabled=False),
        lambda: Run.objects.all().delete(),
        lambda: Task.objects.create(name="new", enabled=True),
    ):
        with pytest.raises(StateError, match=refused):
            write()
    with pytest.raises(OperationalError, match="readonly database"):
        Task.objects.using("taskrunner").update(enabled=False)
    assert Task.objects.get().enabled


def test_the_alias_names_the_database_of_any_home(tmp_path):
    from taskrunner.django import database

    odd = tmp_path / "what? 100% #1"
    odd.mkdir(mode=0o700)
    with TaskRunner(odd) as runner:
        runner.add("report", ["true"], Every("1d"))
    found = database(odd)
    store = sqlite3.connect(found["NAME"], uri=True)
    assert store.execute("SELECT name FROM tasks").fetchall() == [("report",)]
    store.close()


def test_migrate_makes_permissions_in_the_default_database_alone(store, home):
    from django.contrib.auth.models import Permission
    from django.db import connections

    found = Permission.objects.filter(content_type__app_label="taskrunner")
    names = {"view_task", "change_task", "run_task", "view_run", "cancel_run"}
    assert {each.codename for each in found} == names
    with connections["taskrunner"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'django%'")
        assert cursor.fetchone() == (0,)


@pytest.mark.slow
def test_dumpdata_and_loaddata_leave_the_models_alone(project):
    project.set(ALIASED)
    project.does("migrate", "-v", "0")
    project.does("taskrunner", "add", "report", "--manual", "--", "true")
    dumped = project.does("dumpdata")
    models = {each["model"] for each in json.loads(dumped)}
    assert "auth.permission" in models and not any("taskrunner" in each for each in models)
    assert '"codename": "run_task"' in dumped
    project.write("all.json", dumped)
    project.does("loaddata", "-v", "0", "all.json")


ALIASED = """
import taskrunner.django
DATABASES["taskrunner"] = taskrunner.django.database(BASE_DIR / "taskrunner")
DATABASE_ROUTERS = ["taskrunner.django.Router"]
"""


@pytest.mark.slow
def test_the_tests_of_a_project_pass_without_a_database_of_taskrunner(project):
    project.set(ALIASED)
    project.write(
        "sales/tests.py",
        """
        from django.contrib.auth.models import User
        from django.core.management import call_command
        from django.test import TestCase, override_settings

        class Sales(TestCase):
            @override_settings(DEBUG=True)
            def test_checks(self):
                call_command("check")

            def test_users(self):
                root = User.objects.create_superuser("root")
                self.client.force_login(root)
                answer = self.client.get("/admin/taskrunner/task/")
                self.assertContains(answer, "shows no tasks and runs", status_code=503)
        """,
    )
    assert "No changes" in project.does("makemigrations", "--check")
    ended = project.manage("test")
    assert ended.returncode == 0, ended.stderr
    assert "Ran 2 tests" in ended.stderr
    assert not project.home.exists()


@pytest.mark.slow
def test_without_the_alias_there_is_no_admin_and_the_rest_works(project):
    project.does("migrate", "-v", "0")
    told = project.python(
        """
        import django
        from django.apps import apps
        from django.contrib import admin

        django.setup()
        print(len(list(apps.get_app_config("taskrunner").get_models())))
        print([model for model in admin.site._registry if model._meta.app_label == "taskrunner"])
        """
    )
    assert told.stdout.split("\n")[:2] == ["0", "[]"], told.stderr
