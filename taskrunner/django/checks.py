"""System checks: faults of the home, of the settings and of the definitions, and a missing clock."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from taskrunner.django import clock, environment, project, settings
from taskrunner.django.alias_check import check_alias
from taskrunner.django.applying import ProjectRunner
from taskrunner.errors import HomeRefused, InputError, StateError, StoreNewer, TaskRunnerError
from taskrunner.home import config, heartbeat, lock, paths
from taskrunner.model.values import Severity
from taskrunner.report import status
from taskrunner.report.doctor import check_callers

TAG = "taskrunner"
TOLD = 3  # tasks that are named


@checks.register(TAG)
def check(**_: Any) -> list[CheckMessage]:
    """Return the faults of a project; commands in them are those of `manage.py`."""
    found = _found()
    for each in found:
        each.msg = project.by_manage(each.msg)
        each.hint = each.hint and project.by_manage(each.hint)
    return found


def _found() -> list[CheckMessage]:
    """Return the faults of the settings, else of the home, of the definitions and of the clock.

    None in a run of a task: it has neither the environment of the project's commands nor, maybe, their home.
    """
    if config.inside_run():
        return []
    try:
        wanted = settings.read()
        environment.check(wanted, project.name())
    except ImproperlyConfigured as exc:
        return [checks.Error(str(exc), id="taskrunner.E004")]
    except StateError as exc:
        return [checks.Error(str(exc), id="taskrunner.E006")]
    with ProjectRunner(wanted) as runner:
        # Tests have a home of their own, and the alias leads to their database.
        alias = () if project.in_tests() else check_alias(wanted.home)
        found = [*alias, *_definitions(runner)]
        if project.in_tests() or any(isinstance(each, checks.Error) for each in found):
            return found
        return [*found, *_clock(runner), *_environment(wanted)]


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
        changes = [each.task for each in plan.tasks if each.action != "keep"]
        # `migrate` applies them right after the checks, and tests have a home of their own.
        if changes and sys.argv[1:2] != ["migrate"] and not project.in_tests():
            yield checks.Warning(
                f"the definitions in the code are not applied: {_some(changes)} differ",
                hint="apply them with `manage.py migrate` or `manage.py taskrunner apply`",
                id="taskrunner.W003",
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return f"{', '.join(names[:TOLD])}{more}"


def _clock(runner: ProjectRunner) -> Iterator[CheckMessage]:
    """Yield what the library calls an error, and a missing clock; nothing for a home without a database."""
    if not os.path.exists(paths.path(runner.home, paths.STORE)):
        return
    own = runner.wanted.clock and not clock.switched_off()
    if not own and not _has_clock(runner):
        yield checks.Warning(
            "nothing runs the tasks: the clock inside the application is switched off, and there is no other",
            hint="let cron call them: `manage.py taskrunner install cron`",
            id="taskrunner.W002",
        )
    elif not own or _is_served(runner.home):
        worst = runner.check()
        if worst.severity is Severity.ERROR:
            yield checks.Warning(worst.what, hint=worst.cure, id="taskrunner.W001")


def _is_served(home: str) -> bool:
    """Return whether the application serves in other processes, so that ticks should arrive."""
    return not clock.begun() and lock.is_held(paths.path(home, paths.APPLICATION_LOCK), shared=True)


def _has_clock(runner: ProjectRunner) -> bool:
    """Return whether ticks arrive, a daemon lives, or an entry of cron or systemd calls ticks."""
    beat = heartbeat.read(paths.path(runner.home, paths.HEARTBEAT))
    if beat is not None and beat.caller != paths.HAND and not status.is_silent(beat, runner.now()):
        return True
    if status.daemon_lives(runner.home):
        return True
    return any(each.home == runner.home for each in check_callers.entries_of_host())


def _environment(wanted: settings.Settings) -> Iterator[CheckMessage]:
    names = environment.missing(wanted)
    if names:
        yield checks.Warning(
            f"tasks go without {_some(names)}: PASS_ENV names variables that are not set here, or hold a line break",
            hint="set them for the application, or take them out of TASKRUNNER['PASS_ENV']",
            id="taskrunner.W004",
        )
