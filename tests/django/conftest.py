"""A real Django project in a temporary folder, and its commands as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.samples import ROOT

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "of a test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "{name}.urls"
WSGI_APPLICATION = "{name}.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "taskrunner.django",
    "sales",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {{"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]}},
}}]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
STATIC_URL = "static/"
TASKRUNNER = {{"HOME": BASE_DIR / "taskrunner"}}
SILENCED_SYSTEM_CHECKS = ["taskrunner.E002"]  # it has no alias
"""
URLS = """
from django.contrib import admin
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls), path("", lambda request: HttpResponse("hello"))]
"""
MANAGE = """
import os
import sys
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{name}.settings")
    execute_from_command_line(sys.argv)
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{name}.settings")
application = get_wsgi_application()
"""
ASGI = """
import os
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{name}.settings")
application = get_asgi_application()
"""
PATIENCE = 120  # seconds for a command; the machine may be busy


@dataclass
class Project:
    """A project on disk: its folder, the name of its package, and the environment of its processes."""

    folder: Path
    name: str = "crm"
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "taskrunner"

    def write(self, place: str, text: str) -> None:
        """Write a file of the project, at a path relative to it."""
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def set(self, text: str) -> None:
        """Append lines to the settings."""
        place = self.folder / self.name / "settings.py"
        place.write_text(f"{place.read_text()}\n{textwrap.dedent(text)}\n")

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process: the checkout is importable as if it were installed."""
        kept = {key: value for key, value in os.environ.items() if key != "TASKRUNNER_HOME"}
        return {**kept, "PYTHONPATH": str(ROOT), **self.env, **more}

    def words(self, *words: str) -> list[str]:
        """Return the command line of a management command."""
        return [sys.executable, "manage.py", *words]

    def manage(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end; its exit code is not looked at."""
        return self.ended(self.words(*words), **more)

    def python(self, text: str) -> subprocess.CompletedProcess[str]:
        """Execute a text of Python with the settings of the project; its exit code is not looked at."""
        settings = f"{self.name}.settings"
        words = [sys.executable, "-c", textwrap.dedent(text)]
        return self.ended(words, DJANGO_SETTINGS_MODULE=settings)

    def ended(self, words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command line in the folder of the project to its end."""
        return subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )

    def run(self, *words: str) -> dict[str, Any]:
        """Run a verb that succeeds, and return its document."""
        return json.loads(self.does("taskrunner", *words, "--json"))

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return the tasks of the home by their names."""
        return {each["name"]: each for each in self.run("list")["tasks"]}

    def does(self, *words: str, **more: str) -> str:
        """Run a management command that succeeds, and return its stdout."""
        ended = self.manage(*words, **more)
        assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
        return ended.stdout


def make(folder: Path, name: str = "crm") -> Project:
    """Write a project with one application, `sales`; it has no database yet, and no task."""
    project = Project(folder, name)
    folder.mkdir(mode=0o700)
    texts = {"settings": SETTINGS, "urls": URLS, "wsgi": WSGI, "asgi": ASGI, "__init__": ""}
    for module, text in texts.items():
        project.write(f"{name}/{module}.py", text.format(name=name))
    project.write("manage.py", MANAGE.format(name=name))
    project.write("sales/__init__.py", "")
    return project


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project whose database is there; it has no task, so it has no home. To be copied."""
    pytest.importorskip("django")
    project = make(tmp_path_factory.mktemp("django") / "site")
    project.does("migrate", "-v", "0")
    return project.folder


@pytest.fixture
def project(migrated: Path, tmp_path: Path) -> Project:
    """A project of the test's own."""
    return Project(Path(shutil.copytree(migrated, tmp_path / "site")))


@pytest.fixture
def another(tmp_path: Path) -> Callable[..., Project]:
    """Return what makes one more project, in a folder of its own."""

    def made(name: str, **env: Any) -> Project:
        project = make(tmp_path / name, name)
        project.env = env
        return project

    return made


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The project of this process, over the home of the test."""
    pytest.importorskip("django")
    # The driver of the browser, once it is started, has an event loop in this thread.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    from tests.django import in_process

    made = in_process.site()
    made.use(home)
    yield made
    made.close()
