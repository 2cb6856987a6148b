"""A project inside this process, once: its admin and its page can be asked without a server."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.django.conftest import make

PASSWORD = "correct horse battery"
SEES = ("view_task", "view_run")
OPERATES = (*SEES, "run_task", "cancel_run", "change_task")


class Site:
    """The project: its folder, and the home that it has at present."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "taskrunner"

    def use(self, home: Path, **said: Any) -> None:
        """Let the project have a home, and settings of its own; it has no user then."""
        from django.conf import settings
        from django.contrib.admin.models import LogEntry
        from django.contrib.auth.models import User
        from django.db import connections

        from taskrunner.django import database

        connections.close_all()
        self.home = home
        settings.TASKRUNNER = {"HOME": home, "CLOCK": False, **said}
        connections.settings["taskrunner"]["NAME"] = database(home)["NAME"]
        LogEntry.objects.all().delete()
        User.objects.all().delete()

    def close(self) -> None:
        from django.db import connections

        connections.close_all()

    def user(self, name: str, *permissions: str, staff: bool = True) -> Any:
        """Make a user with permissions of taskrunner."""
        from django.contrib.auth.models import Permission, User

        made = User.objects.create_user(name, password=PASSWORD, is_staff=staff)
        found = Permission.objects.filter(codename__in=permissions)
        assert found.count() == len(permissions)
        made.user_permissions.set(found)
        return made

    def superuser(self, name: str = "root") -> Any:
        from django.contrib.auth.models import User

        return User.objects.create_superuser(name, password=PASSWORD)

    def client(self, user: Any = None, **options: Any) -> Any:
        """Return a client of that user; CSRF is checked."""
        from django.test import Client

        made = Client(enforce_csrf_checks=True, **options)
        if user is not None:
            made.force_login(user)
        return made


@cache
def site() -> Site:
    """Set Django up in this process, and return its project; its folder is removed when the process ends."""
    import django

    place = tempfile.TemporaryDirectory(prefix="taskrunner-django-")
    atexit.register(place.cleanup)
    project = make(Path(place.name, "site"), "in_process")
    project.write("in_process/urls.py", URLS)
    project.set(SETTINGS)
    sys.path.append(str(project.folder))
    with pytest.MonkeyPatch.context() as patched:  # children have projects and zones of their own
        patched.setenv("DJANGO_SETTINGS_MODULE", "in_process.settings")
        patched.setenv(
            "TZ", os.environ.get("TZ", "UTC")
        )  # which Django sets to that of the project
        django.setup()
    time.tzset()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    return Site(project.folder)


URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("tasks/", include("taskrunner.django.urls")),
]
"""
SETTINGS = """
import taskrunner.django

ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    *MIDDLEWARE,
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
DATABASES["taskrunner"] = taskrunner.django.database(BASE_DIR / "taskrunner")
DATABASE_ROUTERS = ["taskrunner.django.Router"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
TASKRUNNER["CLOCK"] = False
SILENCED_SYSTEM_CHECKS = []
LOGGING_CONFIG = None
"""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve the project, in threads of this process, and give its address."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.wsgi import get_wsgi_application
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    application = StaticFilesHandler(get_wsgi_application())
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Silent)
    server.daemon_threads = False  # so that closing it waits for the last answers
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
