"""Tasks of Django (`django.tasks`, and the package django-tasks): told by their shape, as Django 5.2 has none."""

from typing import Any

from taskrunner.errors import InputError, shown


def is_task(target: object) -> bool:
    """Return whether an object is a Task of Django, not a function."""
    return callable(getattr(target, "func", None)) and callable(getattr(target, "enqueue", None))


def spelled(task: Any, function: str, *, enqueue: bool) -> str:
    """Return what a run calls for a Task at the place `function`, MODULE:NAME; raises InputError.

    That is its function, or with `enqueue` the method that hands it to its backend.
    """
    if enqueue:
        return f"{function}.enqueue"
    if getattr(task, "takes_context", False):
        raise InputError(
            f"{shown(function)} takes a context, which only a backend has: add enqueue=True"
        )
    return f"{function}.call"
