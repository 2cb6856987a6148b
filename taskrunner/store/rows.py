"""Records of the model to rows and back: instants and durations are integer milliseconds in the database."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin

from taskrunner.clock import from_ms, to_ms
from taskrunner.model.record import names_of
from taskrunner.model.values import Event, Process, Run, Task

Record = TypeVar("Record")
MILLISECOND = timedelta(milliseconds=1)


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(maxsize=1024)  # many tasks have the same codes
def _list(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _table(text: str) -> dict[str, Any]:
    return {} if text == "{}" else dict(json.loads(text))


MOMENT = (to_ms, from_ms)
# How a value of a type is written and read, where it is not the same in SQL.
BY_TYPE: Mapping[Any, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    datetime: MOMENT,
    timedelta: (lambda value: value // MILLISECOND, lambda value: value * MILLISECOND),
    bool: (int, bool),
    tuple: (_json, _list),
    Mapping: (_json, _table),
    Any: (_json, json.loads),
}


def _codec(kind: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
    """Return how values of a field are written and read, by its type; None for those that SQL knows."""
    bare = kind
    if isinstance(kind, UnionType):  # a field that may be None
        bare = next(each for each in get_args(kind) if each is not NoneType)
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return str, {member.value: member for member in bare}.__getitem__
    return BY_TYPE.get(get_origin(bare) or bare)


CODECS = {
    name: codec
    for kind in (Task, Run, Process, Event)
    for name, type_of in kind.__annotations__.items()
    if (codec := _codec(type_of)) is not None
}
CODECS["removed"] = MOMENT
CODECS["cpu_seconds"] = (lambda seconds: round(seconds * 1000), lambda ms: ms / 1000)

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
    """Return a parameter for each of some values, for IN; SQLite prepares each text once."""
    return ", ".join("?" * len(values))


def milliseconds(moment: datetime | None) -> int | None:
    """Return an instant as it is written, None for None."""
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
