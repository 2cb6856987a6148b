"""The alias of the database of taskrunner, and the router that keeps Django from writing there."""

import os
from typing import Any
from urllib.parse import quote

from taskrunner.api.base import find_home
from taskrunner.django.lazy import plain
from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import paths

ALIAS = "taskrunner"  # in DATABASES
LABEL = "taskrunner"  # of the application
NAME = "taskrunner.django.Router"  # in DATABASE_ROUTERS
# Seconds to wait for a locked database: a page says so rather than keep a visitor waiting.
PATIENCE = 2


def database(home: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the settings of `DATABASES["taskrunner"]`: the database of a home, read-only.

        DATABASES["taskrunner"] = taskrunner.django.database(BASE_DIR / "taskrunner")

    Without `home` it is the default home. The database need not exist yet.
    """
    home = plain(home)
    if home is not None and not isinstance(home, str | os.PathLike):
        raise InputError(f"the home {shown(home)} is not the path of a folder")
    place = os.fsencode(paths.path(os.path.abspath(find_home(home)), paths.STORE))
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"file:{quote(place)}?mode=ro",
        "OPTIONS": {"uri": True, "timeout": PATIENCE},
        "TEST": {"MIRROR": "default"},  # else tests of the project would make a database of it
    }


class Router:
    """Django reads tasks and runs from the database of taskrunner, and changes nothing there."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """Return the alias for the models of taskrunner."""
        return ALIAS if model._meta.app_label == LABEL else None

    def db_for_write(self, model: Any, **_: Any) -> None:
        """Refuse changes of tasks and runs; raises StateError."""
        if model._meta.app_label == LABEL:
            raise StateError(
                f"{model._meta.verbose_name_plural} of taskrunner cannot be changed by the ORM: use taskrunner.TaskRunner, "
                "such as TaskRunner(home).disable(name)"
            )

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        """Keep all migrations away from the database of taskrunner, and its models out of the others.

        `dumpdata` asks this too: it would look for their tables in the default database.
        """
        return False if db == ALIAS or app_label == LABEL else None
