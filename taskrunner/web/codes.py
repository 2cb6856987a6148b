"""The codes of HTTP that the errors of the library are answered with. It must not know Flask."""

from taskrunner import errors

# The first that fits. 503 is for a state that may end soon without another request.
CODES: tuple[tuple[type[errors.TaskRunnerError], int], ...] = (
    (errors.InputError, 400),
    (errors.UnknownTask, 404),
    (errors.UnknownRun, 404),
    (errors.HomeRefused, 503),
    (errors.StoreRefused, 503),
    (errors.StoreBusy, 503),
    (errors.LockHeld, 503),
    (errors.StateError, 409),
)


def code(exc: errors.TaskRunnerError) -> int:
    """Return the code of an error."""
    return next((code for kind, code in CODES if isinstance(exc, kind)), 500)
