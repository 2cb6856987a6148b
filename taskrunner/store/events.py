"""Facts that hold for the store as a whole, and events that were recorded."""

from collections.abc import Iterable
from datetime import datetime

from taskrunner.clock import from_ms, to_ms
from taskrunner.host import is_new_boot
from taskrunner.model.values import Event, Hold
from taskrunner.store.connection import Part
from taskrunner.store.rows import EVENT, read_event

# One fact each, so that the idle check can read `held_until` (milliseconds as text) in SQL alone.
HELD = ("held_since", "held_until", "held_by", "held_reason")
STORE_ID = "store_id"  # tells our runs from those of another home in the same queue
NO_END = 2**63 - 1  # `held_until` of a hold that somebody has to end


class Facts(Part):
    """The queries about the store as a whole: the zone data it knows, its newest boot, its pause."""

    def get(self, name: str) -> str | None:
        """Return the value of a fact, None when it is unknown."""
        for row in self._db.rows("SELECT value FROM facts WHERE name = ?", (name,)):
            return str(row[0])
        return None

    def set(self, name: str, value: str) -> None:
        """Write the value of a fact."""
        self._db.run(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def forget(self, name: str) -> None:
        """Remove a fact."""
        self._db.run("DELETE FROM facts WHERE name = ?", (name,))

    def boot(self) -> str | None:
        """Return the newest boot that a tick has seen, as `host.boot` names it."""
        return self.get("boot_id")

    def see_boot(self, name: str) -> None:
        """Record a boot, when it is newer than the known one."""
        if is_new_boot(name, self.boot()):
            self.set("boot_id", name)

    def hold(self, hold: Hold) -> None:
        """Write a hold in place of an earlier one."""
        self.resume()
        until = NO_END if hold.until is None else to_ms(hold.until)
        facts = (str(to_ms(hold.since)), str(until), hold.by, hold.reason)
        for name, value in zip(HELD, facts, strict=True):
            if value is not None:
                self.set(name, value)

    def resume(self) -> None:
        """Remove the hold."""
        self._db.run(f"DELETE FROM facts WHERE name IN {HELD}")

    def held(self, now: datetime) -> Hold | None:
        """Return the hold at an instant, None when there is none or it has ended."""
        rows = self._db.rows(f"SELECT name, value FROM facts WHERE name IN {HELD}")
        found = {str(name): str(value) for name, value in rows}
        since, until, by, reason = map(found.get, HELD)
        if since is None or until is None or int(until) <= to_ms(now):
            return None
        end = None if int(until) == NO_END else from_ms(int(until))
        return Hold(from_ms(int(since)), end, by or "", reason)


class Events(Part):
    """Events: changes of tasks, gaps and steps of the clock, pauses, errors."""

    def add(self, event: Event, task_id: int | None = None) -> None:
        """Write an event."""
        self.add_all([(event, task_id)])

    def add_all(self, events: Iterable[tuple[Event, int | None]]) -> None:
        """Write events, each with the id of the task that it is about."""
        self._db.many(
            "INSERT INTO events (at, what, by, task_id, text) VALUES (?, ?, ?, ?, ?)",
            [
                (to_ms(event.at), event.what, event.by, task_id, event.text)
                for event, task_id in events
            ],
        )

    def all(self) -> list[Event]:
        """Return all events, oldest first."""
        return [read_event(row) for row in self._db.rows(f"{EVENT} ORDER BY events.id")]

    def about(self, task_id: int) -> list[Event]:
        """Return the events of a task and those of the store as a whole, oldest first."""
        sql = f"{EVENT} WHERE task_id = ? OR task_id IS NULL ORDER BY events.id"
        return [read_event(row) for row in self._db.rows(sql, (task_id,))]
