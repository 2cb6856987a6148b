"""Values of the model to rows and back: instants and durations are integer milliseconds there."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from taskrunner.clock import from_ms, to_ms
from taskrunner.model.record import names_of
from taskrunner.model.values import (
    CatchUp,
    Event,
    Kind,
    OnLost,
    Overlap,
    Process,
    Run,
    State,
    Task,
    Trigger,
)

Record = TypeVar("Record")
MILLISECOND = timedelta(milliseconds=1)


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(maxsize=1024)  # many tasks have the same codes, and one is read again and again
def _list(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _table(text: str) -> dict[str, Any]:
    return {} if text == "{}" else dict(json.loads(text))


MOMENT = (to_ms, from_ms)
LENGTH = (lambda value: value // MILLISECOND, lambda value: value * MILLISECOND)
FLAG = (int, bool)
LIST = (_json, _list)


def _member(kind: type[StrEnum]) -> tuple[Callable[[Any], str], Callable[[Any], StrEnum]]:
    return str, {member.value: member for member in kind}.__getitem__


# How a field is written and read, where it is not the same in SQL.
CODECS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    **dict.fromkeys(
        ["created", "anchor", "evaluated", "next", "following", "requested", "removed"], MOMENT
    ),
    **dict.fromkeys(
        ["last_run", "last_success", "slot", "first_slot", "started", "finished", "ready"], MOMENT
    ),
    **dict.fromkeys(["at", "stop_at"], MOMENT),
    **dict.fromkeys(
        ["timeout", "kill_after", "deadline", "jitter", "retry_delay", "max_silence", "late_after"],
        LENGTH,
    ),
    **dict.fromkeys(["enabled", "from_finish", "coalesced_at_least"], FLAG),
    **dict.fromkeys(["command", "ok_codes", "noop_codes", "retry_codes"], LIST),
    **dict.fromkeys(["env", "limit", "notify"], (_json, _table)),
    "args": (_json, json.loads),
    "cpu_seconds": (lambda seconds: round(seconds * 1000), lambda ms: ms / 1000),
    "kind": _member(Kind),
    "overlap": _member(Overlap),
    "catch_up": _member(CatchUp),
    "on_lost": _member(OnLost),
    "state": _member(State),
    "last_state": _member(State),
    "stop_state": _member(State),
    "trigger": _member(Trigger),
}

# Fields whose column has another name, or stands in another table.
COLUMNS = {
    "coalesced_at_least": "at_least",
    "cpu_seconds": "cpu",
    "group": "group_name",
    "limit": "limits",
}


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are written."""
    return {
        COLUMNS.get(name, name): CODECS[name][0](value)
        if value is not None and name in CODECS
        else value
        for name, value in values.items()
    }


def marks(values: Sequence[object]) -> str:
    """Return a place for each of some values, for IN; the same text for as many is prepared once."""
    return ", ".join("?" * len(values))


def milliseconds(moment: datetime | None) -> int | None:
    """Return an instant that may be missing as it is written."""
    return None if moment is None else to_ms(moment)


def reader(kind: type[Record]) -> Callable[[Sequence[Any]], Record]:
    """Return a function from a row, in the order of the fields, to a record."""
    found = names_of(kind)
    decoders = [(name, CODECS[name][1]) for name in found if name in CODECS]

    def read(row: Sequence[Any]) -> Record:
        # A frozen record sets its fields one by one; a tick reads thousands of records.
        record = object.__new__(kind)
        values = record.__dict__
        values.update(zip(found, row, strict=True))
        for name, decode in decoders:
            if values[name] is not None:
                values[name] = decode(values[name])
        return record

    return read


def columns(kind: type, table: str, **elsewhere: str) -> str:
    """Return the columns of a record, for a SELECT, in the order of its fields."""
    named = {**COLUMNS, **elsewhere}
    return ", ".join(
        elsewhere.get(name) or f"{table}.{named.get(name, name)}" for name in names_of(kind)
    )


read_task, read_run, read_process = reader(Task), reader(Run), reader(Process)
read_event = reader(Event)

TASK = f"SELECT {columns(Task, 'tasks')} FROM tasks"
RUN = f"SELECT {columns(Run, 'runs', task='tasks.name')} FROM runs JOIN tasks ON tasks.id = task_id"
PROCESS = f"SELECT {columns(Process, 'processes')} FROM processes"
EVENT = (
    f"SELECT {columns(Event, 'events', task='tasks.name')} "
    "FROM events LEFT JOIN tasks ON tasks.id = task_id"
)
