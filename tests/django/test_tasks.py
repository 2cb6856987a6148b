"""Tasks of Django itself (`django.tasks`, since 6.0) on a schedule: run in place, or handed to the project's backend."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from taskrunner.errors import InputError

django = pytest.importorskip("django")

needs_six = pytest.mark.skipif(
    django.VERSION < (6, 0), reason=f"Django {django.__version__} has no tasks; 6.0 has"
)


@needs_six
def test_a_task_of_django_runs_in_place_or_is_handed_to_its_backend(project):
    project.set(
        "TASKS = {'default': {'BACKEND': 'django.tasks.backends.immediate.ImmediateBackend'},"
        " 'later': {'BACKEND': 'django.tasks.backends.dummy.DummyBackend'}}"
    )
    project.write(
        "sales/tasks.py",
        """
        from django.tasks import task

        @task(backend="later")
        def send_report(who="all"):
            return f"report for {who}"

        @task
        async def gather():
            return "gathered"

        @task(takes_context=True)
        def counted(context):
            print("attempt", context.attempt)
        """,
    )
    project.write(
        "sales/scheduled.py",
        """
        from taskrunner.django import scheduled
        from sales.tasks import counted, gather, send_report

        scheduled(send_report, manual=True, args=["ann"])
        scheduled(send_report, name="queued", manual=True, enqueue=True)
        scheduled(gather, manual=True)
        scheduled(counted, manual=True, enqueue=True)
        """,
    )
    project.does("taskrunner", "apply")
    assert set(project.tasks()) == {"send_report", "queued", "gather", "counted"}
    assert "returned 'report for ann'" in project.does("taskrunner", "run", "send_report")
    assert "returned 'gathered'" in project.does("taskrunner", "run", "gather")
    queued = project.does("taskrunner", "run", "queued")
    assert "TaskResultStatus.READY" in queued, "the backend has it, and has not run it"
    assert "attempt 1\n" in project.does("taskrunner", "run", "counted"), "that backend runs it"

    project.write(
        "sales/scheduled.py",
        """
        from django.tasks import task
        from taskrunner.django import scheduled
        from sales.tasks import counted

        @task
        @scheduled(manual=True)
        def below():
            return "below"

        scheduled(counted, manual=True)
        """,
    )
    told = project.manage("taskrunner", "apply").stderr
    assert "'sales.tasks:counted' takes a context, which only a backend has" in told
    assert len(told.splitlines()) == 1, "a decorator below that of Django is well"


class Task(SimpleNamespace):
    """A Task by its shape, as the package django-tasks has it for older versions of Django."""

    def call(self):
        return self.func()

    def enqueue(self):
        return "enqueued"


def test_what_a_run_calls_for_a_task():
    from taskrunner.django import tasks

    made = Task(func=lambda: 1, takes_context=False)
    assert tasks.is_task(made)
    assert not tasks.is_task(sys.exit)
    assert tasks.spelled(made, "a:b", enqueue=False) == "a:b.call"
    assert tasks.spelled(made, "a:b", enqueue=True) == "a:b.enqueue"
    with pytest.raises(InputError, match="add enqueue=True"):
        tasks.spelled(Task(func=min, takes_context=True), "a:b", enqueue=False)
