"""Lines of crontabs under the real Debian cron: what an import makes of them, and what an export writes.

Each command prints what it was given into a file; the same command is then run as the task that it becomes.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskrunner.tasks import crontab, crontab_writing, debian_cron
from tests.samples import TASK
from tests.system import cronbox

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("daemons")]

START = datetime(2026, 3, 10, 11, 59, 30, tzinfo=UTC)

# What stands in a crontab after the fields.
TYPED = [
    r"printf '[\%s]' 'a\\b' > FILE",
    r"printf '[\%s]' 'a\\\\b' 'c\d' '\\\\\\' > FILE",
    r"printf '[\%s]' 'a\\\%b' '\\\\\%' > FILE",
    r"cat > FILE%a\\b%c\%d\\%e",
    r"cat > FILE # \\%one%%two%",
    r"cat > FILE%\ "[:-1],
    r"cat > FILE%a%\\ "[:-1],
    r"cat > FILE%only a word\ "[:-1],
    r"""printf '[\%s]' "it's \"so\" \\$HOME" '\n' > FILE""",
    r"sed 's/\\./x/;s,\\\\,y,' > FILE%a.b\c",
]
# What tasks are made of: a text for the shell, or words, and an input.
MADE = [
    ("printf '[%s]' 'a\nb' > FILE", None),
    ("printf '[%s]' 'a\\' \\\n 'b' > FILE", None),
    ("printf '[%s]' 'a\\\\b' '%d' '\\%' '\\\\%' > FILE", None),
    ("cat > FILE", "a\\\nb%c\n"),
    ("cat > FILE", "no line break at its end"),
    ("cat > FILE", "\\"),
    ("cat > FILE", "\n\n%\\%\n"),
    ("cat <<'END' > FILE\na\\\\b \\% %\n\tc\nEND\n", None),
    ("printf '[%s]' \"it's\" '\"so\"' \\\\ \\\\\\\\ > FILE; echo '\\\\' >> FILE\\\n", "unread\n"),
    ("{ cat; printf '[%s]' 'ünï\t€' '$(x)' '`y`'; } > FILE", "é\\\\%\n"),
]


@pytest.fixture(scope="module")
def world(needs, tmp_path_factory):
    """The output of each line under cron, and that of what we make of it."""
    cronbox.check_machine(needs)
    folder = tmp_path_factory.mktemp("lines")
    typed = [text.replace("FILE", str(folder / f"typed{n}")) for n, text in enumerate(TYPED)]
    tasks = [
        replace(TASK, name=f"t{n}", command=(), shell=of(folder, f"made{n}", text), stdin=given)
        for n, (text, given) in enumerate(MADE)
    ]
    written = [
        each
        for each in crontab_writing.write(tasks, "/usr/bin:/bin", "UTC").splitlines()
        if each.startswith("* * * * *")
    ]
    lines = [f"* * * * * {text}" for text in typed] + written
    with cronbox.running(lines, START) as box:
        box.until_fired(len(lines))
    assert (box.mail, box.left) == ("", "")
    return folder


def of(folder: Path, name: str, text: str) -> str:
    return text.replace("FILE", str(folder / name))


def ran(text: str, given: str | None, place: Path) -> bytes:
    subprocess.run(["/bin/sh", "-c", text], input=(given or "").encode(), check=True, cwd="/root")
    return place.read_bytes()


@pytest.mark.parametrize("number", range(len(TYPED)))
def test_a_line_becomes_the_command_that_cron_runs(world, number):
    theirs = (world / f"typed{number}").read_bytes()
    line = "* * * * * " + of(world, f"ours{number}", TYPED[number])
    (found,), _ = crontab.read(f"{line}\n")
    assert (found.command, found.stdin) == debian_cron.work(line, users=False, halves=True)
    assert ran(found.command, found.stdin, world / f"ours{number}") == theirs


@pytest.mark.parametrize("number", range(len(MADE)))
def test_cron_runs_what_an_export_writes_as_the_task_does(world, number):
    theirs = (world / f"made{number}").read_bytes()
    text, given = MADE[number]
    assert ran(of(world, f"mine{number}", text), given, world / f"mine{number}") == theirs
