"""Draws a terminal on the morning after a reboot, as an SVG: what the program itself prints; `generate.py` calls it.

Every command is a process of this checkout, with a real database and real runs. Only the clock, which is a file that a
task may set forward, the boot id and the user's name are given.
"""

import contextlib
import io
import os
import pty
import shlex
import subprocess
import sys
import tempfile
import termios
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
MINUTE = timedelta(minutes=1)
OFF = datetime.fromisoformat("2030-11-19T23:41+01:00")
ON = datetime.fromisoformat("2030-11-20T08:10+01:00")
TASKS = (
    (
        "backup",
        "--cron",
        "0 2 * * *",
        "--shell",
        "echo $(($(cat clock) + 48)) >new && mv new clock",
    ),
    ("digest", "--cron", "0 7 * * *", "--catch-up", "none", "--", "true"),
)
SHOWN = (
    ("history",),
    ("explain", "backup", "--at", "2030-11-20 02:00"),
)
# The first argument is the file of the clock, the second the id of the boot.
PROGRAM = """\
import os, sys, time
place, boot, *words = sys.argv[1:]
def time_ns():
    with open(place) as file:
        return int(file.read()) * 10**9
time.time_ns = time_ns
time.time = lambda: time_ns() / 10**9
from taskrunner import host
from taskrunner.cli import main
from taskrunner.processes import account
host.boot_id = lambda: boot
account.account = lambda user: ("ann", os.environ["HOME"])
sys.exit(main.main(words))
"""
# That of rich, without fonts from elsewhere.
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>A terminal: taskrunner history and taskrunner explain on the morning after a reboot</title>
<!-- Written by docs/generate.py from what taskrunner prints. Do not edit. -->
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Scene:
    """A home in a folder, at an instant of a boot."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.boot = folder, folder / "clock", "before"

    def at(self, moment: datetime, *words: str) -> str:
        """Do a command line at an instant and return what it prints on a terminal; raises what its failure raises."""
        self.clock.write_text(f"{moment.timestamp():.0f}\n")
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "TZ": "Europe/Berlin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "TASKRUNNER_HOME": str(self.folder / "home"),
            "TASKRUNNER_CLOCK": "cron",
        }
        argv = [sys.executable, "-P", "-c", PROGRAM, str(self.clock), self.boot, *words]
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, COLUMNS))
        with subprocess.Popen(argv, cwd=self.folder, env=environment, stdout=theirs) as process:
            os.close(theirs)
            printed = io.BytesIO()
            with contextlib.suppress(
                OSError
            ):  # so Linux says that nobody has the terminal any more
                while block := os.read(ours, 65536):
                    printed.write(block)
        os.close(ours)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, argv)
        return printed.getvalue().decode().replace("\r\n", "\n")


def picture() -> str:
    """Return the SVG."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        for task in TASKS:
            scene.at(OFF - 2 * MINUTE, "add", "--quiet", *task)
        scene.at(OFF - MINUTE, "tick")
        scene.at(OFF, "tick")
        scene.boot = "after"
        scene.at(ON, "tick")
        scene.at(ON + MINUTE, "tick")
        shown = [(words, scene.at(ON + MINUTE, *words)) for words in SHOWN]
    console = Console(record=True, width=COLUMNS + 1, file=io.StringIO(), legacy_windows=False)
    for words, printed in shown:
        console.print(Text(f"$ {shlex.join(('taskrunner', *words))}", "bold"))
        console.print(Text.from_ansi(printed), soft_wrap=True)
    made = console.export_svg(
        title="the morning after a reboot", code_format=FORMAT, unique_id="terminal"
    )
    return "\n".join(line.strip() for line in made.splitlines() if line.strip()) + "\n"
