"""The models of the project, when it has the alias of the database; else there are none, and no admin."""

from django.conf import settings

from taskrunner.django.router import ALIAS

if ALIAS in settings.DATABASES:
    from taskrunner.django.tables import Run, Task

    __all__ = ["Run", "Task"]
