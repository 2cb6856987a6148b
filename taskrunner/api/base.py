"""The base class of `TaskRunner`: the opened home, and common helpers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from taskrunner import clock
from taskrunner.errors import InputError, shown
from taskrunner.home import config, paths
from taskrunner.schedule import zones
from taskrunner.store.open_home import OpenHome, open_home

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType


class Base:
    """A home that is opened by the first request, and created by the first request that writes."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        clock: Callable[[], datetime] | None = None,
        patience: str | timedelta | None = None,
    ) -> None:
        """Take the folder of the home; the first request opens or creates it."""
        self.home = find_home(home)
        self._clock = clock
        self._patience = None if patience is None else _seconds(patience)
        self._opened: OpenHome | None = None
        self._snapshot: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.home!r})"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """Close the store; a later request opens it again."""
        if self._opened is not None:
            self._snapshot = self.snapshot
            self._opened.log.write()
            self._opened.store.close()
            self._opened = None

    @property
    def snapshot(self) -> str | None:
        """The reason why answers came from a snapshot of the database, None when they did not.

        That happens when the database can be read but not written, as on a full disk.
        """
        return self._snapshot if self._opened is None else self._opened.store.connection.snapshot

    def _wall(self) -> datetime:
        """Return the current time, also when the home cannot be opened."""
        return (self._clock or clock.now)()

    def _here(self, *, create: bool = False) -> OpenHome:
        """Return the opened home; a missing database counts as empty until something is written."""
        if self._opened is not None and self._opened.store.missing:
            if not create and not os.path.exists(paths.path(self.home, paths.STORE)):
                return self._opened
            self._opened.store.close()
            self._opened = None
        if self._opened is None:
            self._opened = open_home(self.home, self._clock, create=create)
            if self._patience is not None:
                self._opened.store.connection.patience = self._patience
        return self._opened

    def moment(self, text: str, tz: str | None = None) -> datetime:
        """Return the instant of a text: ISO 8601, `now`, `+30m` or `-2h`; without offset in `tz`."""
        from taskrunner.schedule import kinds

        here = self._here()
        return kinds.moment(text, tz=tz or config.default_zone(here.config), now=here.now())

    def default_zone(self) -> str:
        """Return the default time zone of tasks."""
        return config.default_zone(self._here().config)

    def now(self) -> datetime:
        """Return the current time by the clock in use."""
        return self._here().now()


def _seconds(length: str | timedelta) -> float:
    from taskrunner.schedule import durations

    return durations.parse(length).total_seconds()


def find_home(given: str | os.PathLike[str] | None) -> str:
    """Return the path of the home."""
    return paths.find(None if given is None else os.fsdecode(given))


def several(
    given: str | int | Sequence[str | int] | None,
) -> Sequence[str | int] | None:
    """Return the given names or ids of tasks as a list, None for all tasks."""
    return [given] if isinstance(given, str | int) else given


def line(text: Any, what: str, most: int = 200) -> str | None:
    """Return a text for the record, None for none; raises InputError for more than one line, or a longer one."""
    if text is None:
        return None
    if isinstance(text, str) and text.strip() and len(text) <= most and text.isprintable():
        return text
    raise InputError(
        f"{shown(text)} is not a valid {what}: write one line of 1 to {most} characters"
    )


def author(by: Any) -> str | None:
    """Return the name of the person who changes something, None for the user of this process."""
    return line(by, "name of an author", 100)


def at_most(limit: Any, what: str) -> int:
    """Return how many at most, as SQLite has it: -1 for no limit; raises InputError."""
    if limit is None:
        return -1
    if not isinstance(limit, int) or limit < 1:
        raise InputError(
            f"{shown(limit)} is not a valid number of {what}: give 1 or more, or None for all"
        )
    return limit


def utc(moment: datetime | None) -> datetime | None:
    """Return an aware datetime in UTC; raises MomentError for one without a zone."""
    return None if moment is None else zones.utc(moment)
