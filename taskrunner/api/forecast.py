"""Calls for coming slots, of tasks and of a schedule without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrunner import clock
from taskrunner.api.base import Base, at_most, several, utc
from taskrunner.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from taskrunner.model.answers import Disabled, Entry, Upcoming
    from taskrunner.schedule.kinds import Schedule


class Forecast(Base):
    """The requests about coming slots."""

    def next(
        self,
        name: str | int | Sequence[str | int] | None = None,
        *,
        since: datetime | None = None,
        count: int | None = None,
        until: datetime | None = None,
        each: bool = False,
    ) -> list[Upcoming]:
        """Return the next slots of a task, of several, or of all, soonest first; with `each` the next one of each task.

        `since` may be past: then these are the slots of its current schedule from that instant on. `count` is 5 unless
        `until` or `each` is given. A disabled task has none.
        """
        from taskrunner.report import status

        many = count if each and count is None else _count(count, until)
        return status.upcoming(self._here(), several(name), many, utc(until), utc(since), each=each)

    def disabled(self, name: str | int) -> Disabled | None:
        """Return since when a task is disabled, by whom, and its next slot if it were enabled now; None for others.

        Also None for a task whose only slot is over. Raises UnknownTask.
        """
        from taskrunner.report import status

        here = self._here()
        return status.disabled(here.store, name, here.now())

    def agenda(
        self,
        until: datetime,
        *,
        tz: str | None = None,
        name: str | int | Sequence[str | int] | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """Return the slots of all tasks up to an instant, with their collisions, soonest first.

        With `name` those of a task, or of several.

        A task with many slots has one entry for each day of a time zone (default: the default zone of tasks). The usual
        duration of a task is the median of its newest successes. With a `limit` the first entries, which cost little also
        among very many tasks: `due_count` tells how many tasks there are. Without, more than 10,000 are refused. Raises
        InputError.
        """
        from taskrunner.report import status

        here, end = self._here(), utc(until)
        assert end is not None
        at_most(limit, "entries")
        return status.agenda_until(here, end, tz or self.default_zone(), several(name), limit)

    def due_count(self, until: datetime) -> int:
        """Return the number of scheduled tasks whose next slot comes up to an instant; it costs no evaluation."""
        end = utc(until)
        assert end is not None
        return self._here().store.tasks.due_count(end)

    def upcoming(
        self,
        given: Schedule,
        *,
        tz: str | None = None,
        since: datetime | None = None,
        count: int | None = None,
        until: datetime | None = None,
    ) -> list[Upcoming]:
        """Return the next slots of a schedule without a task, from `since` or now on."""
        from itertools import islice

        from taskrunner.report import status
        from taskrunner.tasks import columns

        start = utc(since) or self.now()
        whole = columns.completed(self._here().config, given, tz, start)
        first = whole.next_after(start - clock.MILLISECOND)  # include a slot at this very instant
        return list(islice(status.walk(None, whole, first, utc(until)), _count(count, until)))


def _count(count: int | None, until: datetime | None) -> int | None:
    if count is not None and count < 1:
        raise InputError(f"{count} is not a valid number of slots: give 1 or more")
    return count if count is not None or until is not None else 5
