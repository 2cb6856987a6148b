"""The Django application `taskrunner`."""

from typing import Any

from django.apps import AppConfig, apps
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS
from django.db.models.signals import post_migrate

from taskrunner.errors import TaskRunnerError


class TaskRunnerConfig(AppConfig):
    """Connects taskrunner with the project when all applications are loaded."""

    name = "taskrunner.django"
    label = "taskrunner"
    verbose_name = "taskrunner"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the checks, the definitions with `migrate`, and the clock with a server."""
        from taskrunner.django import checks, clock  # noqa: F401  the checks register themselves

        post_migrate.connect(apply_code, dispatch_uid="taskrunner.apply_code")
        clock.start_if_serving()


def apply_code(
    sender: AppConfig,
    using: str = DEFAULT_DB_ALIAS,
    verbosity: int = 1,
    stdout: Any = None,
    **_: Any,
) -> None:
    """Apply the definitions in the code after `migrate`, once for all applications; not for the database of a test."""
    from taskrunner.django import project, settings
    from taskrunner.django.applying import ProjectRunner

    last = [each for each in apps.get_app_configs() if each.models_module is not None][-1]
    if sender is not last or using != DEFAULT_DB_ALIAS or project.in_tests():
        return
    try:
        with ProjectRunner(settings.read()) as runner:
            plan = runner.apply_code()
            for line in runner.told(plan) if plan.tasks else ():
                if verbosity > 0 and stdout is not None:
                    stdout.write(f"taskrunner: {line}\n")
    except TaskRunnerError as exc:
        told = project.by_manage(str(exc))
        raise CommandError(f"taskrunner: the tasks stay as they were: {told}") from exc
