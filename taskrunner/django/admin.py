"""The admin of the project shows tasks and runs, when it has the alias of the database."""

from django.conf import settings
from django.contrib import admin

from taskrunner.django.router import ALIAS

if ALIAS in settings.DATABASES:
    from taskrunner.django.run_admin import RunAdmin
    from taskrunner.django.tables import Run, Task
    from taskrunner.django.task_admin import TaskAdmin

    admin.site.register(Task, TaskAdmin)
    admin.site.register(Run, RunAdmin)
