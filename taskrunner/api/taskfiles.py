"""Calls for task files and crontabs: apply, export, import."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taskrunner.api.base import author
from taskrunner.api.tasks import Tasks
from taskrunner.errors import InputError, shown
from taskrunner.model.values import Progress, Task, untold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taskrunner.model.answers import Exported, Import, Plan
    from taskrunner.store.open_home import OpenHome
    from taskrunner.tasks.taskfile import Defined


class TaskFiles(Tasks):
    """The requests about task files and crontabs."""

    def apply(
        self,
        *files: str | os.PathLike[str],
        text: str | None = None,
        profile: str | None = None,
        prune: bool = False,
        dry_run: bool = False,
        progress: Progress = untold,
        by: str | None = None,
    ) -> Plan:
        """Create, change and remove tasks to match task files, all or nothing, and return the changes.

        A file may be a folder, for the `*.toml` in it, or `-` for `text`. `profile` also applies this profile of the
        files. `prune` removes tasks that came from these files and are not in them any more. Tasks that already match
        are not changed. `by` as with `add`. Raises InputError or StateError with all faults, a line each.
        """
        from taskrunner.tasks import exchange

        here = self._here()
        places = files or ((exchange.STDIN,) if text is not None else ())
        defined = exchange.read(places, text, self.default_zone(), profile)
        owned = exchange.owner(places) if prune else None
        return self._carry_out(here, defined, owned, author(by), dry_run=dry_run, progress=progress)

    def _carry_out(
        self,
        here: OpenHome,
        defined: Defined,
        owned: Callable[[str], bool] | None,
        by: str | None,
        *,
        dry_run: bool,
        progress: Progress,
    ) -> Plan:
        from taskrunner.tasks import plan

        moment = here.now()
        made, defined = plan.drafts(here.config, defined, moment, progress)
        if dry_run or defined.faults or here.store.missing:  # a refused call creates no database
            compared = plan.compare(here.store, made, owned, defined)
            if dry_run:
                steps = plan.steps(here.store, made, compared, moment, progress)
                return plan.told(steps, dry_run=True)
        here = self._here(create=True)
        with here.store.transaction():
            compared = plan.compare(here.store, made, owned, defined)
            steps = plan.steps(here.store, made, compared, moment, progress)
            plan.carry_out(here, steps, moment, progress, by)
        return plan.told(steps, dry_run=False)

    def export(self, *names: str | int, secrets: bool = False) -> Exported:
        """Return tasks, or all of them, as the text of a task file.

        Values of variables whose names look secret are `***` without `secrets`. Raises UnknownTask.
        """
        from taskrunner.tasks import exchange

        here = self._here()
        return exchange.export(self._chosen(names), here.config.defaults, secrets=secrets)

    def export_crontab(self, *names: str | int) -> str:
        """Return tasks, or all of them, as lines of a crontab; comments name the options that cron cannot express."""
        from taskrunner.tasks import crontab_writing

        settings = self._here().config
        return crontab_writing.write(self._chosen(names), settings.path, self.default_zone())

    def import_crontab(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        text: str | None = None,
        system: bool = False,
        dry_run: bool = False,
        comment_out: bool = False,
        prune: bool = False,
        progress: Progress = untold,
        by: str | None = None,
    ) -> Import:
        """Create tasks from the lines of a crontab, and return the result for each line.

        The default is our own crontab, or with `system` that of the system; `-` is for `text`. `system` means
        lines with a user field. A line that was imported before keeps its task, and edits of the line change the task;
        an unusable line is left alone. `prune` removes tasks whose line is gone; otherwise they are only reported.
        `comment_out` comments out the imported lines of our own crontab, with a backup. `by` as with `add`.
        Raises InputError or StateError.
        """
        from taskrunner.model.answers import Import
        from taskrunner.tasks import crontab_lines, exchange, plan

        file = exchange.STDIN if text is not None and file is None else file
        if comment_out and (file is not None or system):
            raise InputError(
                f"--comment-out goes only with your own crontab: leave out {shown(file or '--system')}"
            )
        by = author(by)
        here, tab = self._here(), exchange.tab(file, text, system=system)
        moment = here.now()
        reading = crontab_lines.Importing(here, tab, moment)
        reading.take_all(progress)
        if not dry_run and (reading.made or reading.known):
            here = self._here(create=True)
            with here.store.transaction():
                compared = plan.compare(
                    here.store, reading.made, reading.owner(prune), reading.defined()
                )
                steps = plan.steps(here.store, reading.made, compared, moment)
                plan.carry_out(here, steps, moment, progress, by)
                reading.keep(here, prune=prune)
        lines = reading.told
        done = comment_out and not dry_run
        told = exchange.remarks(tab)
        told += exchange.comment_out(tab, lines, self.home, moment) if done else []
        told += [] if dry_run else exchange.advice(lines, commented=done)
        if prune:
            lines = sorted(
                [*lines, *map(crontab_lines.removed, reading.gone)], key=lambda each: each.line
            )
        else:
            told += map(crontab_lines.still_there, reading.gone)
        return Import(tab.source, lines, tuple(told), dry_run)

    def _chosen(self, names: Sequence[str | int]) -> list[Task]:
        """Return tasks by name or id, in the order of their names; all tasks when none is given."""
        store = self._here().store
        named = {task.id: task for task in map(store.tasks.get, names)} if names else {}
        return sorted(named.values(), key=lambda each: each.name) if names else store.tasks.all()
