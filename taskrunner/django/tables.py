"""The tables of tasks and runs as unmanaged models: read-only, with the columns that lists and filters need.

All that is computed, such as words and reasons, comes from `taskrunner.TaskRunner`.
"""

from django.db import models

from taskrunner.django.fields import InstantField
from taskrunner.django.router import LABEL
from taskrunner.model.values import Kind, State, Trigger


def _choices(values: object) -> list[tuple[str, str]]:
    """Return the values of an enumeration for people; with choices Django does not look for those in use."""
    return [(str(each), str(each).replace("_", " ")) for each in values]  # type: ignore[attr-defined]


class Present(models.Manager):
    """The tasks that are not removed."""

    def get_queryset(self) -> models.QuerySet:
        """Return them by the condition of the indexes."""
        return super().get_queryset().filter(removed__isnull=True)


class Task(models.Model):
    """A task: its definition in part, and its current state."""

    id = models.BigAutoField(primary_key=True)
    # Unique among those that are not removed: so the order by name is one, without the id.
    name = models.CharField(max_length=100, unique=True)
    enabled = models.BooleanField()
    created = InstantField()
    removed = InstantField(null=True)
    kind = models.CharField(max_length=10, choices=_choices(Kind))
    schedule = models.TextField()
    tz = models.TextField("time zone", null=True)
    group = models.TextField(null=True, db_column="group_name")
    description = models.TextField(null=True)
    source = models.TextField(null=True)
    next = InstantField(null=True)
    error = models.TextField(null=True)
    last_run = InstantField(null=True)
    last_state = models.CharField(max_length=10, null=True, choices=_choices(State))
    last_success = InstantField(null=True)
    streak = models.IntegerField()

    objects = Present()

    class Meta:
        """A table of taskrunner, with permissions for the actions of the admin."""

        app_label = LABEL
        managed = False
        db_table = "tasks"
        ordering = ("name",)
        default_permissions = ("view", "change")
        permissions = (("run_task", "Can run task"),)

    def __str__(self) -> str:
        return self.name


class WithTask(models.Manager):
    """The runs with their tasks, also with removed ones."""

    def get_queryset(self) -> models.QuerySet:
        """Return both at once."""
        return super().get_queryset().select_related("task")


class Run(models.Model):
    """A run: the record of one slot, or of one manual start."""

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(Task, models.DO_NOTHING)
    slot = InstantField()
    first_slot = InstantField()
    coalesced = models.IntegerField()
    attempt = models.IntegerField()
    trigger = models.CharField(max_length=10, choices=_choices(Trigger))
    state = models.CharField(max_length=10, choices=_choices(State))
    reason = models.TextField("why", null=True)
    claimed = InstantField()
    started = InstantField(null=True)
    finished = InstantField(null=True)
    exit_code = models.IntegerField(null=True)
    signal = models.IntegerField(null=True)
    output_size = models.BigIntegerField(null=True)

    objects = WithTask()

    class Meta:
        """A table of taskrunner."""

        app_label = LABEL
        managed = False
        db_table = "runs"
        ordering = ("-id",)
        default_permissions = ("view",)
        permissions = (("cancel_run", "Can cancel run"),)

    def __str__(self) -> str:
        return f"run {self.id} of {self.task}"
