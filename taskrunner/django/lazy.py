"""Lazy values of Django, evaluated: functions written in C take only the real ones."""

from collections.abc import Mapping
from typing import Any

from django.utils.functional import LazyObject, Promise, empty


def plain(value: Any) -> Any:
    """Return a value of the settings without laziness, also in lists and dictionaries."""
    if isinstance(value, LazyObject):
        if value._wrapped is empty:
            value._setup()
        return plain(value._wrapped)
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value
