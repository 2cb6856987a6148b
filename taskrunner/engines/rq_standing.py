"""The state of a run, derived from all that Redis has of it; nothing is asked here.

its end is kept                        ended
it has begun, and gives signs of life  running
it has begun, and gives none           in doubt: its process, worker or machine may have died
RQ has it in its queue                 waiting
a worker has fetched it, or nobody     in doubt: it begins now, or that worker has died
RQ has a result, and it has not begun  it could not start there
what Redis has of it cannot be read    gone: anybody with access to Redis could have written it
Redis does not know it                 gone
"""

import json
import zlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from taskrunner import clock
from taskrunner.engines.rq_keys import NOBODY
from taskrunner.model.carried import Stage, Standing
from taskrunner.model.record import record
from taskrunner.model.values import Outcome

SILENT = 30_000  # milliseconds without a sign of life, of which there is one each second
# The same where RQ has a result: RQ has seen a process of the run end, which may have been another one.
DONE = 3_000
SETTLE = 10_000  # milliseconds after an end in which RQ does its own bookkeeping
FAILED = 2  # of rq.results.Result.Type
# What RQ says of a worker that was not set up as it must be, and our words for that.
FAULTS = {
    "DeserializationError": "its worker was started without `--serializer json`",
    "Invalid attribute name: ": "its worker has no taskrunner: install 'taskrunner-tick[rq]' where its `rq` is",
}
FORBIDDEN = "no worker began it in time"
UNKNOWN = "the queue does not know it"
UNREADABLE = "what its queue says of it cannot be read"
# The faults of values that others could have written; a recursion is that of nested JSON.
GARBAGE = (ValueError, TypeError, LookupError, OverflowError, RecursionError, zlib.error)
LARGEST = 2**53  # of a number that any JSON can tell exactly
LONGEST = 1000  # characters of a text that becomes part of a reason
TEXT = 1_000_000  # bytes of a result of RQ that are unpacked


class Doubt(StrEnum):
    """A reason for which a run may not go on; a second look some time later tells."""

    SILENT = "silent"  # it has begun
    LIMBO = "limbo"  # it has not


@record
class Known:
    """All that Redis has of a run; instants are milliseconds, None for none."""

    name: str
    there: bool  # RQ has it
    waits: bool  # in the queue
    # A worker has it, and lives until then if its clock is right; seconds.
    fetched_until: float | None
    began: str | None  # the mark of the one who began it
    host: str | None
    since: int | None
    beat: int | None
    ended: int | None
    outcome: bytes | None
    size: int  # bytes of output
    result: Mapping[str, Any] | None  # RQ's: its type, and its text


FIELDS = ("began", "host", "since", "beat", "ended", "outcome", "size")  # of our record of a run


def known(
    name: str,
    fields: Sequence[bytes | None],
    results: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
    *,
    there: bool,
    waits: bool,
    fetched_until: float | None,
) -> Known:
    """Return what Redis has of a run from its answers: our record's FIELDS, RQ's results; raises one of GARBAGE."""
    began, host, since, beat, ended, outcome, size = fields
    return Known(
        name=name,
        there=there,
        waits=waits,
        fetched_until=fetched_until,
        began=_text(began),
        host=_text(host),
        since=_instant(since),
        beat=_instant(beat),
        ended=_instant(ended),
        outcome=outcome,
        size=_whole(int(size or 0), least=0) or 0,
        result=_result(results[0][1]) if results else None,
    )


def _text(written: bytes | None) -> str | None:
    return None if written is None else written[:LONGEST].decode(errors="replace")


def _instant(written: bytes | None) -> int | None:
    """Return an instant as milliseconds, or None; raises one of GARBAGE."""
    if not written:
        return None
    clock.from_ms(int(written))  # raises for one beyond the calendar
    return int(written)


def _whole(value: object, least: int = -LARGEST) -> int | None:
    """Return a whole number that a database can keep, or None; raises ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
        raise ValueError(value)
    return value


def _clean(value: object) -> str | None:
    """Return a text without what a database or a file cannot keep, or None."""
    return None if value is None else str(value)[:LONGEST].encode(errors="replace").decode()


def _result(fields: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """Return the type and the text of a result of RQ; the text of a run that was not begun is the reason."""
    text: object = None
    if b"exc_string" in fields:
        packed = b64decode(fields[b"exc_string"])
        text = zlib.decompressobj().decompress(packed, TEXT).decode(errors="replace")
    elif b"return_value" in fields:
        told = json.loads(b64decode(fields[b"return_value"]))
        text = told.get("not_begun") if isinstance(told, dict) else None
    return {"type": int(fields[b"type"]), "text": text}


def standing(known: Known, now: int) -> Standing | Doubt:
    """Return the state of a run at `now`, by Redis' clock; the output of one that has ended is not in it."""
    if known.ended is not None:
        settled = known.result is not None or now - known.ended > SETTLE
        return _ended(known) if settled else running(known)
    if known.began == NOBODY:
        return gone(FORBIDDEN)
    if known.began is not None:
        return _begun(known, now)
    if not known.there:
        return gone(UNKNOWN)
    if known.result is not None:
        return _not_begun(known.result)
    fetched = known.fetched_until is not None and known.fetched_until * 1000 > now
    return Standing(Stage.WAITING) if known.waits or fetched else Doubt.LIMBO


def gone(why: str) -> Standing:
    """Return the standing of a run that is lost."""
    return Standing(Stage.GONE, note=why)


def died(known: Known) -> Standing:
    """Return the standing of a run that gave no sign of life for too long."""
    return gone(f"its worker on {known.host} died")


def running(known: Known) -> Standing:
    """Return the standing of a run that has begun."""
    since = None if known.since is None else clock.from_ms(known.since)
    return Standing(Stage.RUNNING, since=since, host=known.host)


def _begun(known: Known, now: int) -> Standing | Doubt:
    silent = now - (known.beat or 0)
    if known.result is not None and silent > DONE:
        return gone(f"its process on {known.host} was killed")
    return Doubt.SILENT if silent > SILENT else running(known)


def _ended(known: Known) -> Standing:
    """Return the end as the worker told it; anybody with access to Redis could have written it."""
    try:
        told = json.loads(known.outcome or b"")
        return Standing(
            Stage.ENDED,
            since=clock.from_ms(int(told["since"])),
            host=_clean(told["host"]),
            at=clock.from_ms(int(told["at"])),
            outcome=_outcome(told),
            cut_at=_whole(told["cut_at"], least=0),
            left_out=_whole(told["left_out"], least=0),
            written=_whole(told["written"], least=0) or 0,
            note=_clean(told["note"]),
        )
    except GARBAGE:
        return gone("its end in Redis cannot be read")


def _outcome(told: Mapping[str, Any]) -> Outcome:
    seconds = told["cpu_seconds"]
    return Outcome(
        exit_code=_whole(told["exit_code"]),
        signal=_whole(told["signal"]),
        error=_clean(told["error"]),
        timed_out=bool(told["timed_out"]),
        silent=bool(told["silent"]),
        cpu_seconds=None if seconds is None else float(seconds),
        peak_memory=_whole(told["peak_memory"], least=0),
    )


def _not_begun(result: Mapping[str, Any]) -> Standing:
    """Return the state of a run that RQ is done with although it never began."""
    text = str(result["text"] or "")
    if result["type"] == FAILED and text.startswith("Traceback"):
        last = text.strip().splitlines()[-1]
        why = next((said for known, said in FAULTS.items() if known in last), None)
        why = why or f"on its worker: {last}"
        return Standing(Stage.ENDED, outcome=Outcome(error=_clean(f"could not start: {why}")))
    if result["type"] == FAILED:
        return gone("its worker died before its start")
    return gone(f"it was not started: {_clean(text)}")
