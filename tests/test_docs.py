"""The documentation is true: generated pages are fresh, examples run, links lead somewhere.

What is executed, in README.md and in every page under docs/:

* ```console blocks: lines that begin with "$ " are commands, "> " goes on with one, the rest is
  what they print. All blocks of a page run in order in one /bin/sh, in a home of their own, with
  `taskrunner` being this checkout and the time zone UTC. A command must succeed unless the next
  one is `echo $?`. What it prints, stderr too, must be what is shown, where
  - `...` stands for any text in a line, and alone on a line for any number of lines,
  - an instant stands for itself or for any within a week of now,
  - a length of time (`3s`, `59m 57s`) stands for any, and blanks for any number of blanks.
* ```python blocks: run in the same order. What their `print(...)  # text` lines print must be
  those texts, by the same rules.
* ```toml blocks are loaded as taskrunner.toml, ```json blocks parsed.

What cannot be run (crontab -e, systemctl, docker) stands in ```sh or ```text blocks.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taskrunner import cli, config

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CONTRIB = ROOT / "contrib"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN = {"console", "python", "toml", "json"}
NOT_RUN = {"text", "sh", "sql", "ini", "dockerfile"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
INSTANT = (
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?"
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?"
)
LENGTH = r"\b\d+(?:\.\d+)?[smhd](?: \d{1,2}[smh])?\b"
VARIABLE = re.compile(rf"({INSTANT})|({LENGTH})|(\.\.\.)|([ ]+)")
NOW = timedelta(days=7)


@dataclass(frozen=True)
class Step:
    """One command of a page, and what the page says it prints."""

    command: str
    shown: str
    may_fail: bool


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


def steps(page: Path, folder: Path) -> list[Step]:
    """Everything of a page that runs, in order."""
    found: list[Step] = []
    for number, (language, text) in enumerate(blocks(page)):
        if language == "console":
            found += console_steps(text)
        elif language == "python":
            place = folder / f"block{number}.py"
            place.write_text(text, encoding="utf-8")
            shown = re.findall(r"^\s*print\(.*\)  # (.*)$", text, re.M)
            command = f'"$PYTHON" {place}'
            found.append(Step(command, "\n".join(shown), may_fail=False))
    return found


def console_steps(text: str) -> list[Step]:
    commands: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line.startswith("> ") and not commands[-1][1]:
            commands[-1] = (f"{commands[-1][0]}\n{line[2:]}", [])
        else:
            commands[-1][1].append(line)
    follows = [command for command, _ in commands[1:]] + [""]
    return [
        Step(command, "\n".join(shown), after.strip() == "echo $?")
        for (command, shown), after in zip(commands, follows, strict=True)
    ]


def perform(page: Path, folder: Path) -> list[tuple[Step, int, str]]:
    """Run a page in a shell of its own; gives each step with its exit code and what it printed."""
    tools = folder / "bin"
    home = folder / "reader"
    tools.mkdir()
    home.mkdir(mode=0o700)
    wrapper = tools / "taskrunner"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m taskrunner "$@"\n')
    wrapper.chmod(0o755)
    todo = steps(page, folder)
    script = "exec 2>&1\n" + "\n".join(
        f"{step.command}\ncode=$?; printf '\\036%s\\036\\n' \"$code\"; (exit $code)"
        for step in todo
    )
    environment = {
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TASKRUNNER_HOME": str(home / ".local/state/taskrunner"),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",  # so that both streams mix as on a terminal
    }
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env=environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    parts = re.split(r"\x1e(\d+)\x1e\n", done.stdout)
    assert len(parts) == 2 * len(todo) + 1, f"the shell stopped early:\n{done.stdout}"
    return [
        (step, int(parts[2 * number + 1]), parts[2 * number].rstrip("\n"))
        for number, step in enumerate(todo)
    ]


def pattern(shown: str) -> re.Pattern[str]:
    """What is shown, as an expression that what was printed must match; its groups are instants."""
    lines = []
    for line in shown.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        text, at = "", 0
        for found in VARIABLE.finditer(line):
            text += re.escape(line[at : found.start()])
            instant, length, dots, _ = found.groups()
            text += f"({INSTANT})" if instant else LENGTH if length else ".*?" if dots else " +"
            at = found.end()
        lines.append(text + re.escape(line[at:].rstrip()) + r" *\n")
    return re.compile("".join(lines))


def agrees(shown: str, printed: str) -> bool:
    found = pattern(shown).fullmatch(printed + "\n" if printed else "")
    if not found:
        return False
    told = [instant for instant, *_ in VARIABLE.findall(shown) if instant]
    return all(
        one == other or is_near(other) for one, other in zip(told, found.groups(), strict=True)
    )


def is_near(text: str) -> bool:
    """Whether an instant is within a week of now, give or take its zone."""
    bare = re.search(r"\d{4}-\d\d-\d\d", text)
    assert bare
    day = datetime.fromisoformat(bare[0]).replace(tzinfo=UTC)
    return abs(day - datetime.now(UTC)) < NOW + timedelta(days=1)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page, Path("/tmp")) or 0], ids=name)
def test_every_example_of_a_page_runs_and_prints_what_the_page_shows(
    page: Path, tmp_path: Path
) -> None:
    for step, code, printed in perform(page, tmp_path):
        assert code == 0 or step.may_fail, f"{step.command}\nfailed with {code}:\n{printed}"
        assert agrees(step.shown, printed), (
            f"{step.command}\nprinted\n{printed}\n\nbut the page shows\n{step.shown}"
        )
