"""The runs that one supervisor watches: their outputs while they run, and their ends until these are recorded."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from taskrunner.errors import StoreBusy, StoreRefused
from taskrunner.model.record import field, mutable
from taskrunner.model.values import Outcome, Process, Run
from taskrunner.processes import bounded_output
from taskrunner.processes.bounded_output import Cut
from taskrunner.processes.output import OutputFiles
from taskrunner.store.open_home import OpenHome
from taskrunner.supervise import follow_up, outcomes, spool
from taskrunner.supervise.outcomes import Ended, Watched


@mutable
class WatchedRuns:
    """The runs of one supervisor, those that have `ended` and are not recorded yet among them."""

    here: OpenHome
    files: OutputFiles
    by_id: dict[int, Watched] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    spooled: set[int] = field(default_factory=set)  # runs whose ends are in the spool
    unbounded: set[int] = field(default_factory=set)  # runs whose output cannot be bounded
    retries: bool = True  # failed runs are retried by the options of their tasks

    def bound(self, run_id: int) -> None:
        """Cut the output of a run to its limit."""
        watched = self.by_id[run_id]
        try:
            cut = bounded_output.bound(watched.file.fd, watched.task.max_output, watched.cut)
            self._note_cut(watched, cut)
        except OSError:  # the next look tries again
            pass
        except Exception as exc:  # noqa: BLE001  whatever is wrong with one output, the others grow on
            if run_id not in self.unbounded:  # once, as it is checked each second
                self.unbounded.add(run_id)
                self.here.log.fault(f"the output of run {run_id} could not be bounded", exc)

    def _note_cut(self, watched: Watched, cut: Cut | None) -> None:
        """Remember the cut in an output, in its row for others; an unwritable database is not waited for."""
        if cut == watched.cut:
            return
        watched.cut = cut
        store = self.here.store
        with suppress(StoreBusy, StoreRefused), store.transaction(durable=False, patience=0):
            store.processes.note_cut(watched.run.id, *bounded_output.place_of(cut))

    def collect(
        self,
        watched: Watched,
        outcome: Outcome,
        at: datetime,
        note: str | None = None,
        *,
        full: bool = False,
    ) -> None:
        """Take the output of an ended run; `note` is a remark for its reason, `full` tells whether its disk is full."""
        self.unbounded.discard(watched.run.id)
        ended = outcomes.collect(
            watched,
            outcome,
            at,
            self.files,
            note=note,
            full=full,
            retry=self.retries,
            note_cut=self._note_cut,
        )
        self.ended.append(ended)

    def record(self, ended: Sequence[Ended], stopped: Mapping[int, Process]) -> list[Run]:
        """Write how runs ended, in the transaction of the caller; return those that had not ended before."""
        ends = [
            outcomes.judged(each, self.by_id[each.run], stopped.get(each.run)) for each in ended
        ]
        return follow_up.finish(self.here, *ends, retry=self.retries)

    def let_go(self, each: Ended) -> None:
        """Forget a run whose end is recorded."""
        file = self.by_id.pop(each.run).file
        spooled = each.run in self.spooled
        if spooled:
            self.spooled.remove(each.run)
            spool.drop(self.here.folder, each.name)
        if each.large:
            return  # the file is now that of the run
        if spooled:  # a tick that has just read it may be about to remove the file
            self.files.drop(file)
        else:
            self.files.put_back(file)

    @property
    def all_spooled(self) -> bool:
        """Whether no run is running, and every end is in the spool."""
        return len(self.spooled) == len(self.by_id)

    def spool(self) -> None:
        """Write ends that could not be recorded to the spool, so that none depends on us."""
        for each in self.ended:
            if each.run not in self.spooled:
                with suppress(OSError):  # kept, and tried again
                    spool.put(self.here.folder, each)
                    self.spooled.add(each.run)

    def leave(self) -> None:
        """Forget the runs whose ends are in the spool; their outputs stay in their files."""
        for each in [each for each in self.ended if each.run in self.spooled]:
            self.ended.remove(each)
            self.spooled.remove(each.run)
            watched = self.by_id.pop(each.run)
            if not each.large:
                os.close(watched.file.fd)
