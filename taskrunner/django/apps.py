"""The Django application `taskrunner`."""

from django.apps import AppConfig


class TaskRunnerConfig(AppConfig):
    """Connects taskrunner with the project when all applications are loaded."""

    name = "taskrunner.django"
    label = "taskrunner"
    verbose_name = "taskrunner"
    default_auto_field = "django.db.models.BigAutoField"
