"""`manage.py test` of a project that has the alias: its tests see nothing of the real home."""

import pytest

pytest.importorskip("django")

SETTINGS = """
import taskrunner.django
DATABASES["taskrunner"] = taskrunner.django.database(BASE_DIR / "taskrunner")
DATABASE_ROUTERS = ["taskrunner.django.Router"]
SILENCED_SYSTEM_CHECKS = []
TASKRUNNER = {"HOME": BASE_DIR / "taskrunner", "EDIT": True}
"""
URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("tasks/", include("taskrunner.django.urls"))]
"""
TESTS = """
import contextlib
import io
import json
import tempfile

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase, override_settings


def called(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        call_command("taskrunner", *words)
    return out.getvalue()


def listed():
    return [each["name"] for each in json.loads(called("list", "--json"))["tasks"]]


class CommandTest(SimpleTestCase):
    def test_the_real_tasks_are_not_there(self):
        self.assertEqual(listed(), [])


class HomeTest(SimpleTestCase):
    def test_a_home_that_a_test_gives_is_taken(self):
        with tempfile.TemporaryDirectory() as home:
            with override_settings(TASKRUNNER={"HOME": home}):
                called("add", "mine", "--manual", "--shell", "true")
                self.assertEqual(listed(), ["mine"])
            self.assertEqual(listed(), [])


class PagesTest(TestCase):
    def setUp(self):
        self.client.force_login(User.objects.create_superuser("root"))

    def test_the_admin_says_that_it_shows_nothing(self):
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        for place in ("task/", "run/", "task/1/change/"):
            answer = self.client.get(f"/admin/taskrunner/{place}")
            self.assertContains(answer, "in tests of the project", status_code=503)

    def test_the_page_has_none_of_the_real_tasks(self):
        answer = self.client.get("/tasks/tasks")
        self.assertNotContains(answer, "report")
"""


@pytest.fixture
def tested(project):
    """A project with a real task, and the tests of its own."""
    project.set(SETTINGS)
    project.write("crm/urls.py", URLS)
    project.write("sales/tests.py", TESTS)
    project.does("taskrunner", "add", "report", "--manual", "--shell", "true")
    return project


@pytest.mark.slow
def test_tests_of_a_project_run_and_see_nothing_of_its_home(tested, tmp_path):
    place = tmp_path / "tmp"
    place.mkdir()
    ended = tested.manage("test", TMPDIR=str(place))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Ran 4 tests" in ended.stderr
    assert list(place.iterdir()) == []
    assert set(tested.tasks()) == {"report"}


@pytest.mark.slow
def test_tests_without_a_database_run_too(tested):
    ended = tested.manage("test", "sales.tests.CommandTest")
    assert ended.returncode == 0 and "Ran 1 test" in ended.stderr, ended.stderr
