"""The system check of the alias of the database that the admin and the models read."""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from taskrunner.django import router
from taskrunner.home import paths

HINT = (
    "set DATABASES['taskrunner'] = taskrunner.django.database(HOME) and DATABASE_ROUTERS = ['taskrunner.django.Router'], "
    "or silence it: SILENCED_SYSTEM_CHECKS = ['taskrunner.E002']"
)


def check_alias(home: str) -> Iterator[CheckMessage]:
    """Give the faults of the alias that the admin and the models read."""
    found = settings.DATABASES.get(router.ALIAS)
    routed = router.NAME in settings.DATABASE_ROUTERS
    if found is None:
        # Everything else works without it: then only whoever asks for checks is told.
        asked = sys.argv[1:2] == ["check"] and apps.is_installed("django.contrib.admin")
        if routed or asked:
            kind = checks.Error if routed else checks.Warning
            text = f"DATABASES has no alias {router.ALIAS!r}, so the admin shows no tasks and runs"
            yield kind(text, hint=HINT, id="taskrunner.E002")
        return
    fault = _fault_of_alias(found, home)
    if fault is None and not routed:
        fault = f"DATABASE_ROUTERS has no {router.NAME!r}, so its tables are looked for in the default database"
    if fault is not None:
        yield checks.Error(fault, hint=HINT, id="taskrunner.E002")


def _fault_of_alias(found: Mapping[str, Any], home: str) -> str | None:
    """Return the fault of the settings of the alias; None for those of the home, read-only."""
    name, wanted = str(found.get("NAME", "")), router.database(home)
    place, _, query = name.partition("?")
    if found.get("ENGINE") != wanted["ENGINE"] or not name.startswith("file:"):
        return f"DATABASES[{router.ALIAS!r}] is not the database of taskrunner, opened read-only"
    if parse_qs(query).get("mode") != ["ro"]:
        return f"DATABASES[{router.ALIAS!r}] is {name!r}, which may write: it must have ?mode=ro"
    if os.path.realpath(unquote(place.removeprefix("file:"))) != os.path.realpath(
        paths.path(home, paths.STORE)
    ):
        return f"DATABASES[{router.ALIAS!r}] is {name!r}, but the home is {home!r}"
    return None
