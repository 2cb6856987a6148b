"""The last line of a failed run, and the number of bytes left out of its output.

It must not write, nor wait for output that is still being written.
"""

from taskrunner.model.answers import Trace
from taskrunner.model.values import FAILING, LIVE, Run
from taskrunner.processes import output
from taskrunner.store.open_home import OpenHome

LAST = 4000  # bytes at the end of an output in which the last line is searched
NOTHING = Trace()


def trace(here: OpenHome, run: Run) -> Trace:
    """Return the last line of a failed run, unless its reason has it, and the number of bytes left out."""
    if run.state in LIVE or not run.output_size:
        return NOTHING
    last = _last_line(_end(here, run)) if run.state in FAILING else ""
    return Trace(None if not last or last in (run.reason or "") else last, run.left_out or 0)


def _end(here: OpenHome, run: Run) -> bytes:
    small = here.store.runs.output(run.id)
    return output.end(here.output, run.id, LAST) if small is None else small[-LAST:]


def _last_line(end: bytes) -> str:
    """Return the last line that is not blank."""
    lines = end.decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
