"""Exceptions, named by the mistake, with their exit codes; and helpers for the text of a message.

    TaskRunnerError                 1   known failure
    |-- InputError (ValueError)     2   wrong on any machine: syntax or value
    |   |-- ScheduleError               not a valid expression, interval or one-off
    |   |-- DurationError               not a length of time
    |   |-- MomentError                 not an instant, or one without a zone
    |   |-- ZoneError                   not a time zone
    |   `-- TaskNameError               not a valid name of a task
    |-- StateError                  1   wrong given this store or this host
    |   |-- UnknownTask                 no task of that name or id
    |   |-- UnknownRun                  no run of that id
    |   |-- DuplicateTask               the name is taken
    |   |-- TaskBusy                    a live run of the task prevents it
    |   |-- HomeRefused                 the home is not private, or cannot be used
    |   |-- StoreRefused                the database is damaged or unreadable
    |   |   |-- StoreNewer                  it is newer than this program
    |   |   |-- StoreFull                   its disk is full
    |   |   `-- StoreReadOnly               its disk is mounted for reading only
    |   `-- LockHeld                    another tick has held the lock for too long
    `-- StoreBusy                  75   other writers kept the store locked

Each message is one sentence that contains the offending value. An idle tick imports this module, so it imports none.
"""

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUG = 3
EXIT_BUSY = 75  # EX_TEMPFAIL of sysexits(3)
EXIT_RUN_REFUSED = 125  # `run` could not start the command at all, as with env(1) and timeout(1)
EXIT_INTERRUPTED = 130  # 128 + SIGINT
LONGEST = 300  # characters of an unexpected error that are kept
LONGEST_WORD = 60  # characters of an unknown word that are compared
MOST_WORDS = 10_000  # known words that it is compared to


class TaskRunnerError(Exception):
    """A failure that the user can understand and fix."""

    exit_code = EXIT_FAILED


class InputError(TaskRunnerError, ValueError):
    """A value that would be wrong on any machine."""

    exit_code = EXIT_USAGE


class ScheduleError(InputError):
    """A text that is not a valid expression, interval or one-off."""


class DurationError(InputError):
    """A text that is not a valid length of time."""


class MomentError(InputError):
    """A text that is not an instant, or a datetime without a zone."""


class ZoneError(InputError):
    """A name that is not a time zone."""


class TaskNameError(InputError):
    """A text that cannot be the name of a task."""


class StateError(TaskRunnerError):
    """A request that makes sense, but not given this store or this host."""


class UnknownTask(StateError):
    """No task has that name or id."""


class UnknownRun(StateError):
    """No run has that id."""


class DuplicateTask(StateError):
    """The name is taken."""


class TaskBusy(StateError):
    """A live run of the task prevents the request; `force` says what the option or argument of that name would do."""

    def __init__(self, sentence: str, *, force: str) -> None:
        super().__init__(sentence)
        self.force = force


class HomeRefused(StateError):
    """The home is not private to its owner, or cannot be used."""


class StoreRefused(StateError):
    """The store is damaged or unreadable."""


class StoreNewer(StoreRefused):
    """The store is newer than this program."""


class StoreFull(StoreRefused):
    """The disk of the store is full."""


class StoreReadOnly(StoreRefused):
    """The disk of the store is mounted for reading only."""


class LockHeld(StateError):
    """One tick has held the lock for too long."""

    exit_code = EXIT_BUSY


class StoreBusy(TaskRunnerError):
    """Other writers kept the store locked for longer than we wait."""

    exit_code = EXIT_BUSY


def in_words(exc: BaseException) -> str:
    """Return an unexpected exception as text, for the reason of a run or a line of the log."""
    if isinstance(exc, TaskRunnerError):
        return str(exc)
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    kind = "" if isinstance(exc, OSError) else f"{type(exc).__name__}: "
    return storable(f"{kind}{text[:LONGEST]}")


def storable(text: str) -> str:
    """Return a text that the store accepts: characters that are not valid Unicode are escaped."""
    return text.encode(errors="backslashreplace").decode()


def origin(exc: BaseException) -> str:
    """Return the file and line that raised an exception: they identify the fault."""
    step = exc.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return "nowhere"
    return f"{step.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {step.tb_lineno}"


def shown(value: object) -> str:
    """Return `value` quoted for a message: control characters visible, cut to 200 characters."""
    text = repr(value if isinstance(value, str) else str(value))
    return text if len(text) <= 200 else text[:196] + "...'"


def nearest(word: str, known: "Iterable[str]", *, alike: float = 0.6) -> str | None:
    """Return the known word that is most similar to an unknown one, None when none is `alike` enough (0 to 1)."""
    import difflib

    meant = [each for each, _ in zip(known, range(MOST_WORDS), strict=False)]
    folded = {each.lower(): each for each in meant}
    near = difflib.get_close_matches(word[:LONGEST_WORD].lower(), folded, n=1, cutoff=alike)
    return folded[near[0]] if near else None


def advice(word: str, known: "Iterable[str]", otherwise: str) -> str:
    """Return "did you mean X?" for the most similar word, or another sentence when there is none."""
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean {near}?"
