"""The entry point: the idle check first, everything else only when something is due.

An idle tick imports it, so it does without `contextlib`, which takes longer to import than the idle check to run.
"""

import os
import sys

from taskrunner import host
from taskrunner.home import paths
from taskrunner.tick import idle_check

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> int:
    """Run the command line and end the process; only names for a shell, and help, return."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        _restart_in_utf8()
    words = sys.argv[1:]
    if words == ["tick"] or (len(words) == 3 and words[0] == "--home" and words[2] == "tick"):
        given = words[1] if len(words) == 3 else None
        _leave(0 if _idle(given) else _tick(given))
    if words[-2:] == ["completion", "--tasks"] and (len(words) == 2 or words[:-3] == ["--home"]):
        return _names(words[1] if len(words) == 4 else None)
    _collect_seldom(kept=words[:1] == ["apply"])
    from taskrunner.cli.main import main as command_line

    return _leave(command_line())


def _restart_in_utf8() -> None:
    """Start again with arguments, file names and all else in UTF-8, as Python does by itself in a C locale (PEP 540).

    A task must be started by the same bytes whatever the locale when it is added and when it is started.
    """
    from contextlib import suppress

    with suppress(OSError):
        argv = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, argv)  # noqa: S606  the same program, by the same words


def _leave(code: int) -> "NoReturn":
    """End at once: the database is closed, and the clean-up of the interpreter takes longer than an idle tick."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        pass
    os._exit(code)


def _collect_seldom(*, kept: bool = False) -> None:
    """Collect garbage rarely: thousands of objects are made here, with hardly a reference cycle.

    Never when nearly all of them are `kept` to the end.
    """
    import gc

    gc.set_threshold(0 if kept else 50_000, 1000)


def _names(given: str | None) -> int:
    """Print the names of the tasks for completion in a shell: without the parser, as each key press asks."""
    from taskrunner.store.open_home import task_names

    try:
        sys.stdout.write("".join(f"{name}\n" for name in task_names(given)))
        sys.stdout.flush()
    except OSError:
        pass
    return 0


def _idle(given: str | None) -> bool:
    try:
        return idle_check.idle(paths.find(given), host.now_ms(), paths.caller())
    except Exception:  # noqa: BLE001  the full tick meets it again, and reports it
        return False


def _tick(given: str | None) -> int:
    """Run the verb `tick` without the parser of all verbs."""
    _collect_seldom()
    from taskrunner import errors, report_error
    from taskrunner.store import open_home
    from taskrunner.supervise import carriers
    from taskrunner.tick import visit as tick

    def due(text: str) -> bool:
        # cron sends a mail for each message, and calls again in a minute.
        watched = sys.stderr is not None and sys.stderr.isatty()
        return watched or report_error.is_new(paths.find(given), text, host.now_ms())

    def warn(text: str) -> None:
        if due(text):
            report_error.to_stderr(text)

    try:
        here = open_home.open_home(paths.find(given))
        carried, warning = carriers.chosen(here)
        publish: tick.Publish = tick.quietly
        if here.config.metrics_textfile is not None:
            from taskrunner.notify import metrics

            publish = metrics.publish
        visit = tick.full(here, caller=paths.caller(), carrier=carried, publish=publish)
        here.store.close()
        if warning := warning or visit.warning:
            warn(warning)
        return errors.EXIT_INTERRUPTED if visit.interrupted else errors.EXIT_DONE
    except errors.TaskRunnerError as exc:
        warn(str(exc))
        return exc.exit_code
    except KeyboardInterrupt:
        return report_error.refuse("interrupted", errors.EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001  a bug of ours: keep the traceback in a file, show one sentence
        return report_error.report(due)


if __name__ == "__main__":
    sys.exit(main())
