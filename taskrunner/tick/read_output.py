"""The output of one run: all of it, as it grows, or the bytes from a position on.

A position counts all bytes that the command wrote before it, also those left out. It must not write.
"""

import os
from collections.abc import Iterator

from taskrunner.errors import StateError
from taskrunner.model.answers import Written
from taskrunner.model.record import record
from taskrunner.model.values import LIVE, Process, Run
from taskrunner.processes import bounded_output, output
from taskrunner.processes.bounded_output import Cut
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store


@record
class RunOutput:
    """The output of one run: in the file of its supervisor, in one of its own in a `folder`, or in the store."""

    store: Store
    folder: str
    run_id: int

    def follow(self) -> Iterator[bytes]:
        """Yield it as it grows, b"" when there is nothing new, until the run has ended."""
        sent = 0
        while self.store.runs.get(self.run_id).state in LIVE:
            block, sent = self._part(sent)
            yield block
        yield from self._rest(sent)

    def read(self) -> Iterator[bytes]:
        """Yield it up to now."""
        sent, process = 0, self._process()
        end = 0 if process is None else output.written(self.folder, process.output, _cut(process))
        while sent < end:  # a command that writes faster than its reader would keep us for ever
            block, sent = self._part(sent)
            if not block:
                break
            yield block
        if self._process() is None:
            yield from self._rest(sent)

    def part(self, start: int, most: int) -> Written:
        """Return at most `most` bytes of it from a position on; a negative one counts from the end."""
        process = self._process()
        if process is not None:
            size = output.written(self.folder, process.output, _cut(process))
            data, end = output.part(
                self.folder, process.output, _cut(process), _position(start, size), most
            )
            if self._process() is not None:  # as in `_part`
                return Written(data, end, max(size, end), False)
        run, small = self.store.runs.get(self.run_id), self.store.runs.output(self.run_id)
        size = run.output_size or 0
        begin = _position(start, size)
        if small is not None:
            data, end = bounded_output.part_of(small, _cut(run), begin, most)
        else:
            self._check_retained(run)
            data, end = output.kept_part(self.folder, self.run_id, _cut(run), begin, most)
        return Written(data, end, size, run.state not in LIVE)

    def _process(self) -> Process | None:
        return self.store.processes.of(self.run_id)

    def _part(self, sent: int) -> tuple[bytes, int]:
        """Return the output of a live run after the first `sent` bytes, and the new value of `sent`."""
        process = self._process()
        if process is None:
            return b"", sent
        block, end = output.part(self.folder, process.output, _cut(process), sent)
        # The file is emptied only after the end of the run is recorded: a block read before that is valid.
        return (block, end) if block and self._process() is not None else (b"", sent)

    def _rest(self, sent: int) -> Iterator[bytes]:
        """Yield the retained output of an ended run after the first `sent` bytes."""
        small, run = self.store.runs.output(self.run_id), self.store.runs.get(self.run_id)
        if small is not None:
            yield bounded_output.rest_of(small, run.output_size, sent, _cut(run))
            return
        if not sent:
            self._check_retained(run)
        yield from output.rest(self.folder, self.run_id, run.output_size, sent, _cut(run))

    def _check_retained(self, run: Run) -> None:
        """Raise StateError for an output that had a file of its own and was pruned."""
        if run.output_size and not os.path.exists(output.kept(self.folder, run.id)):
            raise StateError(
                f"the output of run {run.id} was pruned: it wrote {run.output_size} bytes, and the oldest outputs go "
                "when all together are more than keep_output"
            )


def of(here: OpenHome, run_id: int) -> RunOutput:
    """Return the output of a run."""
    return RunOutput(here.store, here.output, run_id)


def _cut(noted: Process | Run) -> Cut | None:
    return bounded_output.noted(noted.cut_at, noted.left_out)


def _position(start: int, size: int) -> int:
    """Return the position of `start`; one beyond the end is the beginning: the command has emptied its output."""
    return max(0, size + start) if start < 0 else start if start <= size else 0
