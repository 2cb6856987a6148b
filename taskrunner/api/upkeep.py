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
    """The requests about the store as a whole."""

    def prune(self, *, dry_run: bool = False, progress: Progress = untold) -> Pruned:
        """Remove all of the history that is not to be kept, and return what that was, or would be.

        Ticks do the same, a little each. Nothing is removed for its age while the clock may be wrong; `refused`
        says so then. Raises StoreBusy or StoreRefused.
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
        """Write a consistent, checked copy of the store to a new file, and return where and how large it is.

        Ticks may run meanwhile. Without a place it goes to `backups/` in the home, under the time; of the
        copies named so only the newest `keep` are left, if that is given. Raises StateError or InputError.
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
        """Put a copy in the place of the store, and return where what it replaces is kept.

        The copy is checked, and upgraded when it is older. Slots that came due since it was made are handled by
        catch-up at the next tick; with `skip_missed` they count as done, and so does what waits in it. `repeats` are
        those to run once that ran already. Runs that ran in it are lost. A hold goes on. Raises StateError, as while
        runs go on.
        """
        from taskrunner.tick import after_restore
        from taskrunner.upkeep import backup

        replaced, settings = paths.path(self.home, paths.STORE), Config()
        # A mistake in the settings keeps no store from being put back.
        with suppress(TaskRunnerError):
            settings = config.load(self.home)

        def settle(copy: str) -> tuple[Sequence[Repeat], int]:
            here = OpenHome(self.home, Store(copy), settings, self._clock or clock.now)
            try:
                return after_restore.settle(here, replaced, skip=skip_missed)
            finally:
                here.store.checkpoint()
                here.store.close()

        self.close()
        return backup.restore(self.home, _path(place) or "", self._wall(), settle, progress)


def _path(place: str | os.PathLike[str] | None) -> str | None:
    """Return a path as text; raises InputError for an empty one."""
    text = None if place is None else os.fspath(place)
    if text == "":
        raise InputError("the file '' is empty: give a path")
    return text
