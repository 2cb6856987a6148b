"""taskrunner: cron with a memory.

The names below are looked up when they are first used (PEP 562), so that an idle tick imports none of them. A type
checker reads the imports and skips the look-up: it reports an unknown name.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from taskrunner.api.task_runner import TaskRunner as TaskRunner
    from taskrunner.clocks.application import keep_clock as keep_clock
    from taskrunner.clocks.entry import Fitted as Fitted
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
    from taskrunner.model.answers import (
        Checkup as Checkup,
        Collision as Collision,
        Delivery as Delivery,
        Disabled as Disabled,
        Emptied as Emptied,
        Entry as Entry,
        Environment as Environment,
        Explained as Explained,
        Explanation as Explanation,
        Exported as Exported,
        Figures as Figures,
        Finding as Finding,
        Graph as Graph,
        Import as Import,
        ImportedLine as ImportedLine,
        Line as Line,
        Piece as Piece,
        Plan as Plan,
        Planned as Planned,
        QueueState as QueueState,
        Stats as Stats,
        Status as Status,
        Told as Told,
        Trace as Trace,
        Upcoming as Upcoming,
        Worker as Worker,
        Written as Written,
    )
    from taskrunner.model.decisions import Action as Action, Decision as Decision, Span as Span
    from taskrunner.model.values import (
        CatchUp as CatchUp,
        Change as Change,
        Event as Event,
        Gap as Gap,
        Hold as Hold,
        Kind as Kind,
        OnLost as OnLost,
        Outcome as Outcome,
        Overlap as Overlap,
        Posted as Posted,
        Progress as Progress,
        Pruned as Pruned,
        Run as Run,
        Severity as Severity,
        State as State,
        Task as Task,
        Trigger as Trigger,
    )
    from taskrunner.render.answer import document as document, in_zone as in_zone
    from taskrunner.schedule.durations import Interval as Interval
    from taskrunner.schedule.expression import Calendar as Calendar, Expression as Expression
    from taskrunner.schedule.kinds import (
        After as After,
        At as At,
        Boot as Boot,
        Cron as Cron,
        Every as Every,
        Manual as Manual,
        On as On,
        Schedule as Schedule,
    )
    from taskrunner.schedule.month_days import MonthDay as MonthDay
    from taskrunner.tasks.options import Options as Options
    from taskrunner.tick.visit import Visit as Visit
    from taskrunner.upkeep.backup import Backup as Backup, Repeat as Repeat, Restored as Restored
else:
    # Each public name with the module it is looked up in.
    _MODULES = {
        "Checkup": "model.answers",
        "Collision": "model.answers",
        "Delivery": "model.answers",
        "Emptied": "model.answers",
        "Disabled": "model.answers",
        "Entry": "model.answers",
        "Environment": "model.answers",
        "Piece": "model.answers",
        "Trace": "model.answers",
        "Explained": "model.answers",
        "Explanation": "model.answers",
        "Exported": "model.answers",
        "Figures": "model.answers",
        "Finding": "model.answers",
        "Graph": "model.answers",
        "Import": "model.answers",
        "ImportedLine": "model.answers",
        "Line": "model.answers",
        "Plan": "model.answers",
        "Planned": "model.answers",
        "QueueState": "model.answers",
        "Stats": "model.answers",
        "Status": "model.answers",
        "Told": "model.answers",
        "Upcoming": "model.answers",
        "Worker": "model.answers",
        "Written": "model.answers",
        "document": "render.answer",
        "in_zone": "render.answer",
        "TaskRunner": "api.task_runner",
        "Interval": "schedule.durations",
        "Fitted": "clocks.entry",
        "keep_clock": "clocks.application",
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
        "Calendar": "schedule.expression",
        "Expression": "schedule.expression",
        "CatchUp": "model.values",
        "Change": "model.values",
        "Event": "model.values",
        "Gap": "model.values",
        "Hold": "model.values",
        "Kind": "model.values",
        "OnLost": "model.values",
        "Outcome": "model.values",
        "Overlap": "model.values",
        "Progress": "model.values",
        "Pruned": "model.values",
        "Run": "model.values",
        "Severity": "model.values",
        "State": "model.values",
        "Task": "model.values",
        "Trigger": "model.values",
        "Options": "tasks.options",
        "Action": "model.decisions",
        "Decision": "model.decisions",
        "Span": "model.decisions",
        "Backup": "upkeep.backup",
        "Repeat": "upkeep.backup",
        "Restored": "upkeep.backup",
        "After": "schedule.kinds",
        "At": "schedule.kinds",
        "Boot": "schedule.kinds",
        "Cron": "schedule.kinds",
        "Every": "schedule.kinds",
        "Manual": "schedule.kinds",
        "On": "schedule.kinds",
        "MonthDay": "schedule.month_days",
        "Schedule": "schedule.kinds",
        "Posted": "model.values",
        "Visit": "tick.visit",
    }
    __all__ = ["__version__", *_MODULES]  # noqa: PLE0604  the names are text

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'taskrunner' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"taskrunner.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES})
