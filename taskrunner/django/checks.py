"""System checks: faults of the home, of the settings and of the definitions, and a missing clock."""

import sys
from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from taskrunner.django import settings
from taskrunner.django.applying import ProjectRunner
from taskrunner.errors import HomeRefused, InputError, StoreNewer, TaskRunnerError

TAG = "taskrunner"
TOLD = 3  # tasks that are named
# The first applies the definitions right after the checks, the second has a database of its own.
COMMANDS = ("migrate", "test")


@checks.register(TAG)
def check(**_: Any) -> list[CheckMessage]:
    """Return the faults of the settings, else of the home and of the definitions."""
    try:
        wanted = settings.read()
    except ImproperlyConfigured as exc:
        return [checks.Error(str(exc), id="taskrunner.E004")]
    with ProjectRunner(wanted) as runner:
        return [*_definitions(runner)]


def _definitions(runner: ProjectRunner) -> Iterator[CheckMessage]:
    try:
        plan = runner.apply_code(dry_run=True)
    except HomeRefused as exc:
        yield checks.Error(str(exc), id="taskrunner.E001")
    except StoreNewer as exc:
        yield checks.Error(str(exc), id="taskrunner.E003")
    except InputError as exc:
        yield from (checks.Error(each, id="taskrunner.E005") for each in str(exc).splitlines())
    except TaskRunnerError as exc:
        yield checks.Warning(f"the definitions cannot be compared: {exc}", id="taskrunner.W003")
    else:
        changes = [] if _just_now() else [each.task for each in plan.tasks if each.action != "keep"]
        if changes:
            more = f" and {len(changes) - TOLD} more" if len(changes) > TOLD else ""
            named = ", ".join(changes[:TOLD])
            yield checks.Warning(
                f"the definitions in the code are not applied: {named}{more} differ",
                hint="apply them with `manage.py migrate` or `manage.py taskrunner apply`",
                id="taskrunner.W003",
            )


def _just_now() -> bool:
    """Return whether this is a command after or for which definitions need not be applied."""
    return sys.argv[1:2] != [] and sys.argv[1] in COMMANDS
