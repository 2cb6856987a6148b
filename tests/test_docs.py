"""The documentation is true: generated pages are fresh, examples run, links lead somewhere.

What is executed, in README.md and in every page under docs/:

* ```console blocks: lines that begin with "$ " are commands, "> " goes on with one, the rest is
  what they print. All blocks of a page run in order in one /bin/sh, in a home of their own, with
  `taskrunner` being this checkout, the time zone UTC and the time of day always the same (four times
  of day with TASKRUNNER_TEST_LONG=1). A command must succeed unless the next
  one is `echo $?`. What it prints, stderr too, must be what is shown, where
  - `...` stands for any text in a line, and alone on a line for any number of lines,
  - an instant stands for itself or for any within a week of now,
  - a length of time (`3s`, `59m 57s`) stands for any, and blanks for any number of blanks,
  - /home/you stands for the home folder, which is also where the shell is.
* ```python blocks: run in the same order. What their `print(...)  # text` lines print must be
  those texts, by the same rules.
* ```toml blocks are loaded as taskrunner.toml, ```json blocks parsed.

What cannot be run (crontab -e, systemctl, docker) stands in ```sh or ```text blocks; those of the tutorial, and its
```shell-session blocks, are typed by tests/system/test_tutorial.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from taskrunner.cli import main
from taskrunner.home import config
from tests.samples import fake_crontab

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CONTRIB = ROOT / "contrib"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# Their examples run in tests/django/test_moves.py, where the scheduler that they leave runs, too.
MOVES = [
    DOCS / "how-to" / f"move-{name}.md"
    for name in ("django-apscheduler", "django-crontab", "celery-beat")
]
RUN = {"console", "python", "toml", "json"}
NOT_RUN = {"text", "sh", "shell-session", "sql", "ini", "dockerfile"}

FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.M | re.S)
PART = re.compile(rf"{FENCE.pattern}|^##+ ([^\n]*)$", re.M | re.S)  # a fence, or a heading
END = "the end of the page"
INSTANT = (
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?"
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?"
)
LENGTH = r"\b\d+(?:\.\d+)?(?:ms|[smhd])(?: \d{1,2}[smh])?\b"
VARIABLE = re.compile(rf"({INSTANT})|({LENGTH})|(\.\.\.)|([ ]+)")
NOW = timedelta(days=7)
HOURS = [time(17, 30)]  # the time of day at which each page is read
if os.environ.get("TASKRUNNER_TEST_LONG"):
    HOURS += [time(0, 30), time(6, 30), time(9, 30)]


@dataclass(frozen=True)
class Step:
    """One command of a page, and what the page says it prints."""

    command: str
    shown: str
    may_fail: bool


def blocks(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


def steps(page: Path, folder: Path, before: Mapping[str, str]) -> list[Step]:
    """Everything of a page that runs, in order, and other commands before some headings."""
    found: list[Step] = []
    parts = [*PART.findall(page.read_text(encoding="utf-8")), ("", "", END)]
    assert before.keys() <= {heading for *_, heading in parts}
    for number, (language, text, heading) in enumerate(parts):
        if heading in before:
            found.append(Step(before[heading], "...", may_fail=False))
        elif language == "console":
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


def set_clock(folder: Path, start: time, later: timedelta = timedelta()) -> None:
    """Let each Python that has this folder on its path begin at a time of this day, or days later."""
    now = datetime.now(UTC)
    ahead = datetime.combine(now.date(), start, UTC) + later - now
    (folder / "sitecustomize.py").write_text(
        "import time\n"
        f"nanoseconds, ahead = time.time_ns, {round(ahead.total_seconds() + 1) * 10**9}\n"
        "time.time_ns = lambda: nanoseconds() + ahead\n"
        "time.time = lambda: time.time_ns() / 10**9\n"
    )


def perform(
    page: Path, folder: Path, start: time, before: Mapping[str, str] = MappingProxyType({})
) -> list[tuple[Step, int, str]]:
    """Run a page in a shell of its own; gives each step with its exit code and what it printed."""
    tools = folder / "bin"
    home = folder / "reader"
    clock = folder / "clock"
    for made in (tools, home, clock):
        made.mkdir(mode=0o700)
    set_clock(clock, start)
    wrapper = tools / "taskrunner"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m taskrunner "$@"\n')
    wrapper.chmod(0o755)
    fake_crontab(tools)
    todo = steps(page, folder, before)
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
        "PYTHONPATH": f"{clock}:{ROOT}",
        "PYTHONUNBUFFERED": "1",  # so that both streams mix as on a terminal
    }
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env=environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=900,  # the machine may be busy; the test itself has a shorter one
        check=False,
    )
    parts = re.split(r"\x1e(\d+)\x1e\n", done.stdout)
    assert len(parts) == 2 * len(todo) + 1, f"the shell stopped early:\n{done.stdout}"
    return [
        (
            step,
            int(parts[2 * number + 1]),
            parts[2 * number].rstrip("\n").replace(str(home), "/home/you"),
        )
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


EXAMPLES = [
    page
    for page in PAGES
    if page not in MOVES and {"console", "python"} & {kind for kind, _ in blocks(page)}
]


def check_examples(performed: list[tuple[Step, int, str]]) -> None:
    """Compare what a page printed with what it shows."""
    for step, code, printed in performed:
        assert code == 0 or step.may_fail, f"{step.command}\nfailed with {code}:\n{printed}"
        assert agrees(step.shown, printed), (
            f"{step.command}\nprinted\n{printed}\n\nbut the page shows\n{step.shown}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("start", HOURS, ids=lambda start: f"{start:%H:%M}")
@pytest.mark.parametrize("page", EXAMPLES, ids=name)
def test_every_example_of_a_page_runs_and_prints_what_the_page_shows(
    page: Path, start: time, tmp_path: Path
) -> None:
    check_examples(perform(page, tmp_path, start))


@pytest.mark.slow
@pytest.mark.parametrize("start", [time(2, 29, 50), time(6, 30), time(9, 0, 10), time(23, 59, 55)])
def test_the_page_on_laptops_is_true_at_any_hour(start: time, tmp_path: Path) -> None:
    for step, _, printed in perform(DOCS / "how-to/laptops.md", tmp_path, start):
        assert agrees(step.shown, printed), printed


def test_a_page_is_read_at_the_time_of_day_that_is_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ taskrunner add sweep --every 1d -- true\n```\n", encoding="utf-8"
    )
    for start in (time(3, 0), time(21, 0)):
        folder = tmp_path / f"{start:%H}"
        folder.mkdir()
        *_, (_, code, printed) = perform(page, folder, start)
        assert code == 0
        assert f"every day at {start:%H:%M}" in printed


def test_the_comparison_reports_a_difference() -> None:
    shown = "run  slot\n1    2026-03-29 03:00:00 CEST  in 3h 20m  ..."
    assert agrees(shown, "run   slot\n1   2026-03-29 03:00:00 CEST  in 5s  anything")
    assert not agrees(shown, "run   slot\n1   2026-03-29 02:00:00 CEST  in 5s  anything")
    assert not agrees(shown, "run   slot\n2   2026-03-29 03:00:00 CEST  in 5s  anything")
    assert not agrees(shown, f"{shown}\nmore")
    assert agrees("...\nlast", "first\nsecond\nlast")
    soon = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    assert agrees("at 2020-02-29T10:00:00Z", f"at {soon}Z")
    assert not agrees("", "something")
    assert not agrees("something", "")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_block_is_of_a_kind_that_is_known_and_data_can_be_read(
    page: Path, tmp_path: Path
) -> None:
    for language, text in blocks(page):
        assert language in RUN | NOT_RUN, f"a block of {language or 'no language'}:\n{text}"
        if language == "toml":
            (tmp_path / "taskrunner.toml").write_text(text, encoding="utf-8")
            assert config.load(str(tmp_path)) != config.Config()
        elif language == "json":
            json.loads(text)


def test_rows_that_would_share_a_name_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (script,) = [
        text
        for kind, text in blocks(ROOT / "docs/how-to/move-scheduled-code.md")
        if kind == "python"
    ]
    rows = [("Send: mails", 1), ("send mails", 1), ("Other", 1), ("Other", 2)]
    with closing(sqlite3.connect(tmp_path / "tickets.db")) as db, db:
        db.execute("CREATE TABLE scheduled_tasks (name, number, unit, code, active)")
        db.executemany("INSERT INTO scheduled_tasks VALUES (?, ?, 'days', 'pass', 1)", rows)
    home = tmp_path / "home"
    environment = {**os.environ, "TASKRUNNER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "these rows would share a name, so nothing is written: 'Other', 'Other', 'Send: mails', 'send mails'\n"
    )
    assert not home.exists()


def test_the_terminal_of_the_readme_shows_a_night_with_a_reboot_and_loads_nothing() -> None:
    drawing = (DOCS / "_static/terminal.svg").read_text(encoding="utf-8")
    shown = re.sub(r"<[^>]*>", "", drawing).replace("\xa0", " ").replace("&#160;", " ")
    for words in (
        "started 6h 10m late; no tick came from",
        "23:41:00 CET to",
        "08:10:00 CET: reboot",
    ):
        assert words in shown
    assert re.findall(r"\w+://[^\"']+", drawing) == ["http://www.w3.org/2000/svg"]
    assert "url(http" not in drawing


@pytest.mark.slow
def test_a_stale_page_is_named_and_fails_the_check(tmp_path: Path) -> None:
    for folder in ("docs", "taskrunner"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    command = [sys.executable, str(tmp_path / "docs/generate.py")]
    subprocess.run(command, capture_output=True, check=True)
    page = tmp_path / "docs/reference/states.md"
    page.write_text(page.read_text(encoding="utf-8") + "one more line\n", encoding="utf-8")
    done = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "docs/reference/states.md is stale: run python docs/generate.py\n"
    subprocess.run(command, capture_output=True, check=True)
    assert subprocess.run([*command, "--check"], capture_output=True, check=False).returncode == 0


# ---- the pages as a whole


LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name
)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(found), f"{target}: no such heading"


def test_the_index_leads_to_every_page() -> None:
    index = DOCS / "index.md"
    seen, todo = set[Path](), [index]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        found = LINK.findall(page.read_text(encoding="utf-8"))
        todo += [
            (page.parent / target.partition("#")[0]).resolve()
            for target in found
            if "://" not in target and target.partition("#")[0].endswith(".md")
        ]
    assert not set(DOCS.rglob("*.md")) - seen


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_each_verb_has_a_section_and_is_mentioned_where_a_person_would_look(verb: str) -> None:
    assert verb in anchors(DOCS / "reference/cli.md")
    guides = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
    mention = re.compile(rf"taskrunner (?:--\w+ )?{verb}\b")
    assert any(mention.search(page.read_text(encoding="utf-8")) for page in guides)


# ---- contrib


UNITS = sorted((CONTRIB / "systemd").iterdir())


def test_the_units_pass_systemd_analyze(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed here")
    program = shutil.which("true") or "/bin/true"
    for unit in UNITS:  # the program need not be installed on this machine
        text = unit.read_text(encoding="utf-8").replace("/usr/local/bin/taskrunner", program)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [tool, "verify", *(str(tmp_path / unit.name) for unit in UNITS)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def settings(unit: str) -> dict[str, str]:
    text = (CONTRIB / "systemd" / unit).read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.M))


def test_the_timer_keeps_to_the_minute_and_leaves_memory_to_us() -> None:
    timer = settings("taskrunner.timer")
    assert timer["OnCalendar"].endswith("UTC")
    assert timer["AccuracySec"] == "1s"
    assert "Persistent" not in timer


def test_the_daemons_unit_waits_for_longer_than_the_daemon_does() -> None:
    unit = settings("taskrunner-daemon.service")
    grace = re.search(r"--grace (\d+)s", unit["ExecStart"])
    assert grace
    assert int(unit["TimeoutStopSec"].removesuffix("s")) > int(grace[1]) + 10  # --kill-after


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=name)
def test_what_the_units_start_is_a_command_line_of_ours(unit: Path) -> None:
    program, *words = settings(unit.name)["ExecStart"].split()
    assert program == "/usr/local/bin/taskrunner"
    assert main.parser().parse_args(words).verb in ("tick", "daemon", "page")


@pytest.mark.parametrize(("file", "fields"), [("taskrunner", 6), ("crontab.example", 5)])
def test_the_crontabs_call_a_tick_each_minute_by_its_absolute_path(file: str, fields: int) -> None:
    text = (CONTRIB / "cron" / file).read_text(encoding="utf-8")
    assert text.endswith("\n")  # cron ignores a last line without it
    entries = [line.split() for line in text.splitlines() if line[:1] == "*"]
    assert [words[:5] for words in entries] == [["*"] * 5]
    assert entries[0][fields:] == ["/usr/local/bin/taskrunner", "tick"]


def test_the_tests_that_a_page_names_are_there():
    named = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
    found = [
        (page, place, name)
        for page in PAGES
        for place, name in named.findall(page.read_text(encoding="utf-8"))
    ]
    assert found
    for page, place, name in found:
        text = (ROOT / place).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def|class) {name}\b", text, re.M), f"{page.name}: {place}::{name}"
