"""The entry point: the doorman first, everything else only when there is something to do."""

import contextlib
import os
import sys

from taskrunner import clock
from taskrunner.home import paths
from taskrunner.tick import idle_check

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> int:
    """Run the command line and end the process; only names for a shell, and help, return."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        _begin_in_utf8()
    words = sys.argv[1:]
    if words == ["tick"] or (len(words) == 3 and words[0] == "--home" and words[2] == "tick"):
        given = words[1] if len(words) == 3 else None
        _leave(0 if _idle(given) else _tick(given))
    if words[-2:] == ["completion", "--tasks"] and (len(words) == 2 or words[:-3] == ["--home"]):
        return _names(words[1] if len(words) == 4 else None)
    _be_patient(kept=words[:1] == ["apply"])
    from taskrunner.cli.main import main as command_line

    return _leave(command_line())


def _begin_in_utf8() -> None:
    """Begin anew with words, names of files and all else in UTF-8, as in a C locale Python does by itself (PEP 540).

    A task is to be started by the same bytes whatever the locale of who adds it and of who starts it.
    """
    with contextlib.suppress(OSError):
        argv = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, argv)  # noqa: S606  the same program, by the same words


def _leave(code: int) -> "NoReturn":
    """End at once: the store is closed, and to tidy up takes the interpreter longer than an idle tick."""
    with contextlib.suppress(OSError):
        if sys.stdout is not None:
            sys.stdout.flush()
    os._exit(code)


def _be_patient(*, kept: bool = False) -> None:
    """Look for garbage seldom: classes and records are made by the thousand here, and hardly a circle.

    Where nearly all is `kept` to the end, never.
    """
    import gc

    gc.set_threshold(0 if kept else 50_000, 1000)


def _names(given: str | None) -> int:
    """Print the names of the tasks, for a shell that completes them: it asks at each key, so no parser is loaded."""
    from taskrunner.store.open_home import task_names

    with contextlib.suppress(OSError):
        sys.stdout.write("".join(f"{name}\n" for name in task_names(given)))
        sys.stdout.flush()
    return 0


def _idle(given: str | None) -> bool:
    try:
        return idle_check.idle(paths.find(given), clock.now_ms(), paths.caller())
    except Exception:  # noqa: BLE001  the full way meets it again, and says what is wrong
        return False


def _tick(given: str | None) -> int:
    """Do what the verb does, without the parser of all verbs."""
    _be_patient()
    from taskrunner import errors, report_error
    from taskrunner.store import open_home
    from taskrunner.tick import visit as tick

    def due(text: str) -> bool:
        # cron sends a mail for each sentence, and comes again in a minute.
        watched = sys.stderr is not None and sys.stderr.isatty()
        return watched or report_error.is_new(paths.find(given), text, clock.now_ms())

    def tell(text: str) -> None:
        if due(text):
            report_error.tell(text)

    try:
        here = open_home.open_home(paths.find(given))
        carried, warning = None, None
        if here.config.carrier == "systemd":
            from taskrunner.supervise.systemd import carrier

            carried, warning = carrier.of(here)
        publish: tick.Publish = tick.quietly
        if here.config.metrics_textfile is not None:
            from taskrunner.notify import metrics

            publish = metrics.publish
        visit = tick.tick(here, caller=paths.caller(), carrier=carried, publish=publish)
        here.store.close()
        if warning := warning or visit.warning:
            tell(warning)
        return errors.EXIT_INTERRUPTED if visit.interrupted else errors.EXIT_DONE
    except errors.TaskRunnerError as exc:
        tell(str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        return report_error.refuse("interrupted", errors.EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001  a bug of ours: keep what is needed to mend it, show one sentence
        return report_error.report(due)


if __name__ == "__main__":
    sys.exit(main())
