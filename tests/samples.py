"""Values that several tests start from."""

import os
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskrunner.model.values import CatchUp, Kind, OnLost, Overlap, Run, Task, Trigger

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

TASK = Task(
    id=1,
    name="report",
    enabled=True,
    kind=Kind.CRON,
    schedule="* * * * *",
    tz="UTC",
    anchor=None,
    from_finish=False,
    command=("true",),
    shell=None,
    cwd=None,
    env={},
    env_file=None,
    stdin=None,
    umask=None,
    user=None,
    nice=None,
    queue=None,
    timeout=timedelta(hours=1),
    kill_after=timedelta(seconds=10),
    overlap=Overlap.SKIP,
    catch_up=CatchUp.LAST,
    catch_up_limit=None,
    deadline=None,
    max_instances=None,
    jitter=None,
    retries=0,
    retry_delay=MINUTE,
    retry_backoff=1.0,
    retry_codes=(),
    on_lost=OnLost.FAIL,
    group=None,
    group_limit=None,
    priority=0,
    ok_codes=(0,),
    noop_codes=(),
    expect=None,
    reject=None,
    max_silence=None,
    max_output=10_000_000,
    limit={},
    on_failure=None,
    notify={},
    late_after=None,
    long_after=None,
    created=NOON,
    evaluated=NOON,
)


def run(number, state, slot=NOON, trigger=Trigger.SCHEDULE, **more):
    return Run(
        number, "report", slot, slot, state, "because", 1, trigger, 1, False, task_id=1, **more
    )


ROOT = Path(__file__).resolve().parent.parent
STORES = sorted(
    (ROOT / "tests" / "stores").glob("schema-*.sql")
)  # of every schema that was released


def program(home, *words):
    """The argv of the checkout's program on a home, as a crontab would call it."""
    return [sys.executable, "-m", "taskrunner", "--home", str(home), *words]


def start(home, *words, **options):
    """Start the program on a home; its output goes to pipes."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(program(home, *words), env=env, **{**pipes, **options})


def call(home, *words):
    """Run the program on a home to its end; stdout, stderr and exit code."""
    with start(home, *words) as process:
        out, err = process.communicate(timeout=100)
    return out, err, process.returncode


def wait_for(what, limit=100.0):
    """Wait until `what()` is true and return it."""
    end = time.monotonic() + limit
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)
    return found


def rests(pid, seconds=1.5):
    """Whether a process only waits for so long; one that others keep from the CPU is no such process."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(0.02)
    return True


def old_store(home, file):
    """Make a home with a store of an older schema, from one of STORES."""
    home.mkdir(mode=0o700, exist_ok=True)
    place = home / "taskrunner.db"
    place.touch(mode=0o600)
    made = sqlite3.connect(place, isolation_level=None)
    made.execute("PRAGMA auto_vacuum = INCREMENTAL")
    made.execute("PRAGMA journal_mode = WAL")
    made.executescript(file.read_text())
    made.close()


def imported_by(home, *words, first=""):
    """Return the modules that the program has imported when it ends."""
    code = (
        f"import sys, os; sys.path.insert(0, {str(ROOT)!r})\n{first}\n"
        f"sys.argv[1:] = {['--home', str(home), *words]!r}\n"
        "def leave(code): print('\\nimported', *sys.modules, flush=True); real(code)\n"
        "real, os._exit = os._exit, leave\n"
        "from taskrunner.__main__ import main; main()"
    )
    return set(_python(code).rpartition("\nimported ")[2].split())


def with_library(ours, library):
    """Return modules of ours, and what importing some of Python's has loaded."""
    code = f"import sys, os, {', '.join(library.split())}; print(*sys.modules)"
    return {"taskrunner", *(f"taskrunner.{room}" for room in ours.split()), *_python(code).split()}


def _python(code):
    argv = [sys.executable, "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def command_lines():
    """The words of all processes that can be seen, by their numbers; there may be no ps(1)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended, or is not ours to see
            continue
        found[int(folder.name)] = text.replace(b"\0", b" ").decode(errors="replace")
    return found


def statuses():
    """What the kernel says of each process that can be seen."""
    for file in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        yield {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


CRONTAB = """\
#!/bin/sh
[ ! -f "$1" ] || exec "$0" - <"$1"
tab={folder}/tab
case $1 in
-l) if [ -e "$tab" ]; then cat "$tab"; else echo "no crontab for $(id -un)" >&2; exit 1; fi ;;
-) cat >"$tab.new"
   [ -z "$(tail -c 1 "$tab.new")" ] || {{ echo "missing newline before EOF" >&2; exit 1; }}
   mv "$tab.new" "$tab" ;;
-r) rm "$tab" ;;
esac
"""


def fake_crontab(folder):
    """Make a crontab(1) in a folder, and return the file in which it keeps the user's crontab."""
    made = folder / "crontab"
    made.write_text(CRONTAB.format(folder=folder))
    made.chmod(0o755)
    return folder / "tab"
