"""The entry point: the doorman first, everything else only when there is something to do."""

import os
import sys

from taskrunner import clock, doorman, home


def main() -> int:
    """Run the command line; an idle tick ends here."""
    if sys.argv[1:] == ["tick"] or (
        len(sys.argv) == 4 and sys.argv[1] == "--home" and sys.argv[3] == "tick"
    ):
        given = sys.argv[2] if len(sys.argv) == 4 else None
        if _idle(given):
            os._exit(
                0
            )  # nothing was printed or opened for writing: the interpreter need not tidy up
    from taskrunner.cli import main as command_line

    return command_line()


def _idle(given: str | None) -> bool:
    try:
        return doorman.idle(home.find(given), clock.now_ms(), home.caller())
    except Exception:  # noqa: BLE001  the full way meets it again, and says what is wrong
        return False


if __name__ == "__main__":
    sys.exit(main())
