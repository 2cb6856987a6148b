"""What is true of the store as a whole: the zone data it knows, and what holds it."""

from datetime import datetime

from taskrunner.clock import from_ms, is_new_boot, to_ms
from taskrunner.model.values import Hold
from taskrunner.store.connection import Connection

# One fact each, so that the doorman can ask for `held_until` (milliseconds as text) in SQL alone.
HELD = ("held_since", "held_until", "held_by", "held_reason")
NO_END = 2**63 - 1  # `held_until` of a hold that somebody has to end


class Facts(Connection):
    """The queries about the store as a whole."""

    def next_id(self) -> int:
        """Return the id of the next task or run: one sequence, so that a number names one thing.

        Whoever takes ids writes them in the same transaction.
        """
        ((last,),) = self._rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")
        return int(last) + 1

    def fact(self, name: str) -> str | None:
        """Return a thing that is true of the whole store."""
        for row in self._rows("SELECT value FROM facts WHERE name = ?", (name,)):
            return str(row[0])
        return None

    def set_fact(self, name: str, value: str) -> None:
        """Write a thing that is true of the whole store."""
        self._run(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def boot(self) -> str | None:
        """Return the newest boot that a tick has seen, as `clock.boot` names it."""
        return self.fact("boot_id")

    def see_boot(self, name: str) -> None:
        """Keep the newest boot, unless it is known."""
        if is_new_boot(name, self.boot()):
            self.set_fact("boot_id", name)

    def hold(self, hold: Hold) -> None:
        """Write that the store is held, in place of what held it before."""
        self.resume()
        until = NO_END if hold.until is None else to_ms(hold.until)
        facts = (str(to_ms(hold.since)), str(until), hold.by, hold.reason)
        for name, value in zip(HELD, facts, strict=True):
            if value is not None:
                self.set_fact(name, value)

    def resume(self) -> None:
        """Write that the store is not held."""
        self._run(f"DELETE FROM facts WHERE name IN {HELD}")

    def held(self, now: datetime) -> Hold | None:
        """Return what holds the store at an instant, None when nothing does, or does no more."""
        rows = self._rows(f"SELECT name, value FROM facts WHERE name IN {HELD}")
        found = {str(name): str(value) for name, value in rows}
        since, until, by, reason = map(found.get, HELD)
        if since is None or until is None or int(until) <= to_ms(now):
            return None
        end = None if int(until) == NO_END else from_ms(int(until))
        return Hold(from_ms(int(since)), end, by or "", reason)
