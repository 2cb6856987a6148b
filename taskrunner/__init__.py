"""taskrunner: cron with a memory.

The names below are looked up when they are first used (PEP 562), so that an idle tick imports none of them.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from taskrunner.api import (
        TaskRunner as TaskRunner,
    )
    from taskrunner.errors import (
        DuplicateTask as DuplicateTask,
    )
    from taskrunner.errors import (
        DurationError as DurationError,
    )
    from taskrunner.errors import (
        HomeRefused as HomeRefused,
    )
    from taskrunner.errors import (
        InputError as InputError,
    )
    from taskrunner.errors import (
        LockHeld as LockHeld,
    )
    from taskrunner.errors import (
        MomentError as MomentError,
    )
    from taskrunner.errors import (
        ScheduleError as ScheduleError,
    )
    from taskrunner.errors import (
        StateError as StateError,
    )
    from taskrunner.errors import (
        StoreBusy as StoreBusy,
    )
    from taskrunner.errors import (
        StoreRefused as StoreRefused,
    )
    from taskrunner.errors import (
        TaskBusy as TaskBusy,
    )
    from taskrunner.errors import (
        TaskNameError as TaskNameError,
    )
    from taskrunner.errors import (
        TaskRunnerError as TaskRunnerError,
    )
    from taskrunner.errors import (
        UnknownRun as UnknownRun,
    )
    from taskrunner.errors import (
        UnknownTask as UnknownTask,
    )
    from taskrunner.errors import (
        ZoneError as ZoneError,
    )
    from taskrunner.model import (
        CatchUp as CatchUp,
    )
    from taskrunner.model import (
        Event as Event,
    )
    from taskrunner.model import (
        Kind as Kind,
    )
    from taskrunner.model import (
        Outcome as Outcome,
    )
    from taskrunner.model import (
        Overlap as Overlap,
    )
    from taskrunner.model import (
        Run as Run,
    )
    from taskrunner.model import (
        State as State,
    )
    from taskrunner.model import (
        Status as Status,
    )
    from taskrunner.model import (
        Task as Task,
    )
    from taskrunner.model import (
        Trigger as Trigger,
    )
    from taskrunner.model import (
        Upcoming as Upcoming,
    )
    from taskrunner.schedule import (
        After as After,
    )
    from taskrunner.schedule import (
        At as At,
    )
    from taskrunner.schedule import (
        Boot as Boot,
    )
    from taskrunner.schedule import (
        Cron as Cron,
    )
    from taskrunner.schedule import (
        Every as Every,
    )
    from taskrunner.schedule import (
        Manual as Manual,
    )

# Each public name with the room it is looked up in.
_ROOMS = {
    "TaskRunner": "api",
    "DuplicateTask": "errors",
    "DurationError": "errors",
    "HomeRefused": "errors",
    "InputError": "errors",
    "LockHeld": "errors",
    "MomentError": "errors",
    "ScheduleError": "errors",
    "StateError": "errors",
    "StoreBusy": "errors",
    "StoreRefused": "errors",
    "TaskBusy": "errors",
    "TaskNameError": "errors",
    "TaskRunnerError": "errors",
    "UnknownRun": "errors",
    "UnknownTask": "errors",
    "ZoneError": "errors",
    "CatchUp": "model",
    "Event": "model",
    "Kind": "model",
    "Outcome": "model",
    "Overlap": "model",
    "Run": "model",
    "State": "model",
    "Status": "model",
    "Task": "model",
    "Trigger": "model",
    "Upcoming": "model",
    "After": "schedule",
    "At": "schedule",
    "Boot": "schedule",
    "Cron": "schedule",
    "Every": "schedule",
    "Manual": "schedule",
}
__all__ = ["__version__", *_ROOMS]  # noqa: PLE0604  the names are text


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'taskrunner' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"taskrunner.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
