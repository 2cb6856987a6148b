"""Calls for the database as a whole: prune, back up, restore."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from taskrunner import clock
from taskrunner.api.base import Base
from taskrunner.errors import InputError, TaskRunnerError, shown
from taskrunner.home import config, paths
from taskrunner.home.config import Config
from taskrunner.model.values import Progress, Pruned, untold
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskrunner.upkeep.backup import Backup, Repeat, Restored


class Upkeep(Base):
    """The requests about the database as a whole."""

    def prune(self, *, dry_run: bool = False, progress: Progress = untold) -> Pruned:
        """Delete all history older than the retention settings, and return the amount; with `dry_run` only count it.

        Ticks do the same in small parts. Nothing is deleted for its age while the clock may be wrong; then `refused`
        gives the reason. Raises StoreBusy or StoreRefused.
        """
        from taskrunner.upkeep import retention

        here = self._here()
        return retention.prune(here, here.now(), dry_run=dry_run, progress=progress)

    def backup(
        self,
        place: str | os.PathLike[str] | None = None,
        *,
        keep: int | None = None,
        progress: Progress = untold,
    ) -> Backup:
        """Write a consistent, checked copy of the database to a new file, and return its path and size.

        Ticks may run meanwhile. The default is a file in `backups/` in the home, named after the time; of the
        backups named so only the newest `keep` stay, if given. Raises StateError or InputError.
        """
        from taskrunner.upkeep import backup

        if keep is not None and keep < 1:
            raise InputError(f"{shown(keep)} is not a valid number of backups: give 1 or more")
        here = self._here()
        return backup.backup(here, _path(place), here.now(), keep, progress)

    def restore(
        self,
        place: str | os.PathLike[str],
        *,
        skip_missed: bool = False,
        progress: Progress = untold,
    ) -> Restored:
        """Restore the database from a backup, and return the path where the current one is kept.

        The backup is checked, and upgraded if it is older. Slots that came due since the backup are handled by
        catch-up at the next tick; with `skip_missed` they count as done, and so do its pending runs. `repeats` are
        runs that the next tick will repeat. Runs that were running in it are lost. A pause continues. Raises
        StateError, also while runs are active.
        """
        from taskrunner.store import copies
        from taskrunner.supervise import carriers
        from taskrunner.tick import after_restore
        from taskrunner.upkeep import backup

        replaced, settings = paths.path(self.home, paths.STORE), Config()
        # A mistake in the settings must not prevent a restore.
        with suppress(TaskRunnerError):
            settings = config.load(self.home)

        def carried(names: Sequence[str]) -> bool:
            return carriers.any_lives(names) or copies.has_runs_in_queues(replaced)

        def settle(copy: str) -> tuple[Sequence[Repeat], int]:
            here = OpenHome(self.home, Store(copy), settings, self._clock or clock.now)
            try:
                return after_restore.settle(here, replaced, skip=skip_missed)
            finally:
                here.store.checkpoint()
                here.store.close()

        self.close()
        source, now = _path(place) or "", self._wall()
        return backup.restore(self.home, source, now, settle, carried, progress)


def _path(place: str | os.PathLike[str] | None) -> str | None:
    """Return a path as text; raises InputError for an empty one."""
    text = None if place is None else os.fspath(place)
    if text == "":
        raise InputError("the file '' is empty: give a path")
    return text
