"""The Django project as its tasks need it: settings, folders, and the program that its commands are given to."""

import os
import sys
import tempfile
from functools import cache

from django.apps import apps
from django.conf import settings

from taskrunner.errors import InputError
from taskrunner.home.program import named
from taskrunner.tasks import python

SOURCE = "django"
COMMAND = "manage.py taskrunner"


def name() -> str:
    """Return the name of the project: of the package that its settings are in, "" when they are in no module."""
    return _module().partition(".")[0]


def source() -> str:
    """Return where its tasks come from: two projects with one home keep theirs apart by it."""
    return f"{SOURCE}:{name()}"


def settings_module() -> str:
    """Return the module of its settings; raises InputError when no other process can import them."""
    found = _module()
    if not found:
        raise InputError(
            "settings.configure() makes settings that no task can import: set DJANGO_SETTINGS_MODULE"
        )
    return found


def _module() -> str:
    # Below override_settings, as in tests of the project, the settings have no module.
    return str(settings.SETTINGS_MODULE or os.environ.get("DJANGO_SETTINGS_MODULE", ""))


def folder() -> str | None:
    """Return the folder that its settings are imported from, None when any directory works."""
    return python.folder_of(settings_module())


def variables() -> dict[str, str]:
    """Return the variables by which tasks find applications elsewhere, as where manage.py extends the path."""
    roots = [python.folder_of(each.module.__name__) for each in apps.get_app_configs()]
    path = [each for each in dict.fromkeys(roots) if each is not None and each != folder()]
    return {"PYTHONPATH": os.pathsep.join(path)} if path else {}


def program() -> tuple[str, ...]:
    """Return the words between the interpreter and the name of a management command."""
    own = folder()
    place = os.path.join(own or os.curdir, "manage.py")
    return (place,) if own and os.path.isfile(place) else ("-m", "django")


def by_manage(text: str) -> str:
    """Return a sentence whose `taskrunner VERB` is that of `manage.py`: only there it has the home of the project."""
    return named(text, COMMAND)


def in_tests() -> bool:
    """Return whether tests of the project run, with databases and a home of their own."""
    # Looked up, as its import takes longer than that of this application.
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


def said_by_module(name: str) -> bool:
    """Return whether a setting is as its module says, or missing: not one of `override_settings`."""
    module = sys.modules.get(_module())
    return getattr(settings, name, None) is getattr(module, name, None)


def home_of_tests() -> str:
    """Return the home of the tests of this process: an empty folder, removed when it ends."""
    return _folder_of_tests().name


@cache
def _folder_of_tests() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="taskrunner-tests-")
