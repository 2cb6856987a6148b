"""Values of the model to rows and back: instants and durations are integer milliseconds there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

from taskrunner.clock import from_ms, to_ms
from taskrunner.model import (
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


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@lru_cache(maxsize=1024)  # a tick reads a task when it claims and when it starts
def _list(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _table(text: str) -> dict[str, Any]:
    return {} if text == "{}" else dict(json.loads(text))


MOMENT = (to_ms, from_ms)
LENGTH = (lambda value: value // MILLISECOND, lambda value: value * MILLISECOND)
FLAG = (int, bool)
LIST = (_json, _list)

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
        ["timeout", "kill_after", "deadline", "jitter", "retry_delay", "max_silence"], LENGTH
    ),
    **dict.fromkeys(["enabled", "from_finish", "coalesced_at_least"], FLAG),
    **dict.fromkeys(["command", "ok_codes", "noop_codes", "retry_codes"], LIST),
    **dict.fromkeys(["env", "limit"], (_json, _table)),
    "cpu_seconds": (lambda seconds: round(seconds * 1000), lambda ms: ms / 1000),
    "kind": (str, Kind),
    "overlap": (str, Overlap),
    "catch_up": (str, CatchUp),
    "on_lost": (str, OnLost),
    "state": (str, State),
    "last_state": (str, State),
    "stop_state": (str, State),
    "trigger": (str, Trigger),
}

# Fields whose column has another name, or stands in another table.
COLUMNS = {
    "coalesced_at_least": "at_least",
    "cpu_seconds": "cpu",
    "group": "group_name",
    "limit": "limits",
}


LARGEST_ID = 2**63 - 1  # of a row in SQLite


def id_of(key: str | int) -> int | None:
    """Return the id that a key of a task or a run is, None when it is a name.

    18 digits are always an id within bounds; a name has not digits alone.
    """
    if isinstance(key, str):
        return int(key) if key.isascii() and key.isdigit() and len(key) <= 18 else None
    return key


def can_be_stored(key: str | int) -> bool:
    """Return whether a key could be that of a row at all; bytes of a terminal need not be text."""
    if isinstance(key, int):
        return key <= LARGEST_ID
    return key.isascii()


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are written."""
    return {
        COLUMNS.get(name, name): CODECS[name][0](value)
        if value is not None and name in CODECS
        else value
        for name, value in values.items()
    }


def milliseconds(moment: datetime | None) -> int | None:
    """Return an instant that may be missing as it is written."""
    return None if moment is None else to_ms(moment)


def reader(kind: type[Record]) -> Callable[[Sequence[Any]], Record]:
    """Return a function from a row, in the order of the fields, to a record."""
    names = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    decoders = [(name, CODECS[name][1]) for name in names if name in CODECS]

    def read(row: Sequence[Any]) -> Record:
        # A frozen record sets its fields one by one; a tick reads thousands of records.
        record = object.__new__(kind)
        values = record.__dict__
        values.update(zip(names, row, strict=True))
        for name, decode in decoders:
            if values[name] is not None:
                values[name] = decode(values[name])
        return record

    return read


def columns(kind: type, table: str, **elsewhere: str) -> str:
    """Return the columns of a record, for a SELECT, in the order of its fields."""
    named = {**COLUMNS, **elsewhere}
    return ", ".join(
        elsewhere.get(entry.name) or f"{table}.{named.get(entry.name, entry.name)}"
        for entry in fields(kind)
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
