"""Values that several tests start from."""

from datetime import UTC, datetime, timedelta

from taskrunner.model import CatchUp, Kind, Overlap, Run, Task, Trigger

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

TASK = Task(
    id=1,
    name="report",
    enabled=True,
    kind=Kind.CRON,
    schedule="* * * * *",
    tz="UTC",
    anchor=None,
    from_finish=False,
    command=("true",),
    shell=None,
    cwd=None,
    env={},
    env_file=None,
    stdin=None,
    umask=None,
    user=None,
    nice=None,
    timeout=timedelta(hours=1),
    kill_after=timedelta(seconds=10),
    overlap=Overlap.SKIP,
    catch_up=CatchUp.LAST,
    catch_up_limit=None,
    deadline=None,
    max_instances=None,
    created=NOON,
    evaluated=NOON,
)


def run(number, state, slot=NOON, trigger=Trigger.SCHEDULE, **more):
    return Run(
        number, "report", slot, slot, state, "because", 1, trigger, 1, False, task_id=1, **more
    )
