"""taskrunner: cron with a memory.

The names below are looked up when they are first used (PEP 562), so that an idle tick imports none of them.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from taskrunner.api import TaskRunner as TaskRunner
    from taskrunner.errors import (
        DuplicateTask as DuplicateTask,
    )

_HOMES = {
    "TaskRunner": "api",
    **dict.fromkeys(("After", "At", "Boot", "Cron", "Every", "Manual"), "schedule"),
    **dict.fromkeys(
        (
            "CatchUp",
            "Event",
            "Kind",
            "Outcome",
            "Overlap",
            "Run",
            "State",
            "Task",
            "Trigger",
            "Status",
            "Upcoming",
        ),
        "model",
    ),
    **dict.fromkeys(
        ("TaskRunnerError", "InputError", "StateError", "ScheduleError", "DurationError"), "errors"
    ),
    **dict.fromkeys(
        ("MomentError", "ZoneError", "TaskNameError", "UnknownTask", "UnknownRun"), "errors"
    ),
    **dict.fromkeys(
        ("DuplicateTask", "TaskBusy", "HomeRefused", "StoreRefused", "StoreBusy", "LockHeld"),
        "errors",
    ),
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  the names are text


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'taskrunner' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"taskrunner.{_HOMES[name]}"), name)
