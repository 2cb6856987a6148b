"""Programs of the system: run for their output, or started detached."""

import os
import subprocess
import sys
from functools import lru_cache

from taskrunner.model.record import record

NOT_FOUND = 127  # exit code of sh(1) and env(1) for a program that does not exist
NOT_EXECUTABLE = 126  # the same for one that cannot be executed
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # of the package
TOOLS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")


@record
class Said:
    """The output and the exit code of a program of the system."""

    code: int
    out: str
    err: str


def tool(name: str, *words: str, stdin: str = "", patience: float = 30.0) -> Said | None:
    """Run a program of the system to its end; None when there is none of that name."""
    places = (os.path.join(folder, name) for folder in (*os.get_exec_path(), *TOOLS))
    place = next((each for each in places if os.path.isfile(each) and os.access(each, os.X_OK)), "")
    if not place:
        return None
    given = stdin.encode(errors="surrogateescape")
    try:
        done = subprocess.run(
            (place, *words), input=given, capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return Said(NOT_EXECUTABLE, "", f"{place} did not end within {patience:g} s")
    except OSError as exc:
        return Said(NOT_EXECUTABLE, "", f"{place}: {exc.strerror}")
    out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return Said(done.returncode, out, err.strip())


def detach(argv: tuple[str, ...], cwd: str, stdin: int | None = None) -> None:
    """Start a program that outlives us, silent and in a session of its own; not our child, so it leaves no zombie.

    An open file given as its `stdin` stays open, and locked if it is, as long as the program lives.
    """
    null = subprocess.DEVNULL
    # A background command of a shell has no input unless it is redirected (POSIX).
    shell = ("/bin/sh", "-c", 'exec 3<&0; "$@" <&3 3<&- &', "sh", *argv)
    subprocess.run(
        shell,
        stdin=null if stdin is None else stdin,
        stdout=null,
        stderr=null,
        cwd=cwd,
        start_new_session=True,
        check=True,
    )


def run_beside(home: str, *words: str, stdin: int | None = None) -> None:
    """Run this program for a home in a process that outlives us."""
    # -m looks into the working directory first, and finds the same program as ours there.
    argv = (sys.executable, "-m", "taskrunner", "--home", home, *words)
    detach(argv, cwd=FOLDER, stdin=stdin)


@lru_cache(maxsize=8)
def find(name: str) -> str | None:
    """Return the file of a program of the system, None when there is none."""
    places = (os.path.join(folder, name) for folder in TOOLS)
    return next((place for place in places if os.access(place, os.X_OK)), None)
