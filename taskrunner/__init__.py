"""taskrunner: cron with a memory.

The names below are looked up when they are first used (PEP 562), so that an idle tick imports none of them.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from taskrunner.answers import (
        Checkup as Checkup,
        Environment as Environment,
        Explained as Explained,
        Explanation as Explanation,
        Exported as Exported,
        Figures as Figures,
        Finding as Finding,
        Import as Import,
        ImportedLine as ImportedLine,
        Plan as Plan,
        Planned as Planned,
        Stats as Stats,
        Status as Status,
        Upcoming as Upcoming,
    )
    from taskrunner.api import (
        TaskRunner as TaskRunner,
    )
    from taskrunner.entry.files import (
        Fitted as Fitted,
    )
    from taskrunner.errors import (
        DuplicateTask as DuplicateTask,
        DurationError as DurationError,
        HomeRefused as HomeRefused,
        InputError as InputError,
        LockHeld as LockHeld,
        MomentError as MomentError,
        ScheduleError as ScheduleError,
        StateError as StateError,
        StoreBusy as StoreBusy,
        StoreFull as StoreFull,
        StoreNewer as StoreNewer,
        StoreReadOnly as StoreReadOnly,
        StoreRefused as StoreRefused,
        TaskBusy as TaskBusy,
        TaskNameError as TaskNameError,
        TaskRunnerError as TaskRunnerError,
        UnknownRun as UnknownRun,
        UnknownTask as UnknownTask,
        ZoneError as ZoneError,
    )
    from taskrunner.model import (
        CatchUp as CatchUp,
        Change as Change,
        Event as Event,
        Gap as Gap,
        Hold as Hold,
        Kind as Kind,
        Outcome as Outcome,
        Overlap as Overlap,
        Pruned as Pruned,
        Run as Run,
        Severity as Severity,
        State as State,
        Task as Task,
        Trigger as Trigger,
    )
    from taskrunner.schedule import (
        After as After,
        At as At,
        Boot as Boot,
        Cron as Cron,
        Every as Every,
        Manual as Manual,
    )

# Each public name with the room it is looked up in.
_ROOMS = {
    "Checkup": "answers",
    "Environment": "answers",
    "Explained": "answers",
    "Explanation": "answers",
    "Exported": "answers",
    "Figures": "answers",
    "Finding": "answers",
    "Import": "answers",
    "ImportedLine": "answers",
    "Plan": "answers",
    "Planned": "answers",
    "Stats": "answers",
    "Status": "answers",
    "Upcoming": "answers",
    "TaskRunner": "api",
    "Fitted": "entry.files",
    "DuplicateTask": "errors",
    "DurationError": "errors",
    "HomeRefused": "errors",
    "InputError": "errors",
    "LockHeld": "errors",
    "MomentError": "errors",
    "ScheduleError": "errors",
    "StateError": "errors",
    "StoreBusy": "errors",
    "StoreFull": "errors",
    "StoreNewer": "errors",
    "StoreReadOnly": "errors",
    "StoreRefused": "errors",
    "TaskBusy": "errors",
    "TaskNameError": "errors",
    "TaskRunnerError": "errors",
    "UnknownRun": "errors",
    "UnknownTask": "errors",
    "ZoneError": "errors",
    "CatchUp": "model",
    "Change": "model",
    "Event": "model",
    "Gap": "model",
    "Hold": "model",
    "Kind": "model",
    "Outcome": "model",
    "Overlap": "model",
    "Pruned": "model",
    "Run": "model",
    "Severity": "model",
    "State": "model",
    "Task": "model",
    "Trigger": "model",
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
