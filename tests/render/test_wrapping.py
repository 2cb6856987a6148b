"""What a narrow terminal shows: reasons go on under themselves and lose nothing; a pipe gets all on one line."""

import os
import pty
import re
import struct
import subprocess
import termios
from dataclasses import replace
from datetime import timedelta
from fcntl import ioctl

import pytest

from taskrunner import Cron, Manual, TaskRunner
from taskrunner.model.answers import (
    Checkup,
    Explained,
    Explanation,
    Finding,
    ImportedLine,
    Planned,
    Told,
    Trace,
    Upcoming,
)
from taskrunner.model.decisions import Action, Decision, Span
from taskrunner.model.values import Change, Gap, Severity, State, Trigger
from taskrunner.render import notices
from taskrunner.render.page import Page, folded, wide
from taskrunner.render.plans import import_table, plan_table
from taskrunner.render.tables import (
    checkup_page,
    decisions_table,
    explanation_page,
    run_page,
    runs_table,
    task_page,
    upcoming_table,
)
from tests.samples import NOON, ROOT, TASK, program, run

FAR = "America/Argentina/ComodRivadavia"
LONG = (
    "it waits for 漢字漢字漢字 and e\u0301le\u0300ves, /a/path-with-hyphens/that-is-very-long-indeed/and/never/ends/"
    + "x" * 90
    + " then `taskrunner history backup` tells"
)
NAME = "a-name.of_one+hundred@signs" + "n" * 73


def joined(text):
    """A text without anything that folding may have changed."""
    return re.sub(r"\s+", "", text)


def tables(page, text, name=NAME):
    """Each table with a reason, made of one reason and one name."""
    failed = replace(run(7, State.FAILED, started=NOON, finished=NOON), task=name, reason=text)
    span = Span(NOON, NOON, 1)
    given = Decision(1, name, span, Action.SKIP, text, Trigger.SCHEDULE)
    explained = Explained(NOON, NOON, State.FAILED, text, 7)
    gap, change = Gap(NOON, NOON + timedelta(hours=1), text), Change(NOON, text, "somebody")
    told = Explanation(name, text, "UTC", [explained], [gap], [change])
    checkup = Checkup([Finding(Severity.ERROR, text, text)], {"home": "/x"})
    line = ImportedLine(1, "leave", name, "* * * * *", "true", None, (text,))
    local = NOON.astimezone(page._zone)
    return {
        "history": runs_table(page, [failed]),
        "tick --dry-run": decisions_table(page, [given]),
        "next": upcoming_table(page, [Upcoming(name, NOON, local, text)]),
        "explain": explanation_page(page, told),
        "doctor": checkup_page(checkup, page.width),
        "apply": plan_table(page, [Planned(name, "change", (text,))]),
        "import": import_table(page, [line]),
        "notify": notices.channels_table(
            page, [Told("ops", "mail", "m" * 90, ("failure",), ("*",), 1, text)]
        ),
        "show": task_page(page, replace(TASK, error=text, description=text), text, [], [failed]),
    }


@pytest.mark.parametrize(
    ("zone", "width"), [("UTC", 60), ("UTC", 80), ("UTC", 132), (FAR, 80), (FAR, 132)]
)
@pytest.mark.parametrize("what", tables(Page("UTC", NOON), "x"))
def test_a_reason_is_whole_in_every_table_and_no_line_is_too_long(what, width, zone):
    found = tables(Page(zone, NOON, width), LONG)[what]
    assert joined(LONG) in joined(found)
    long = [line for line in found.split("\n") if wide(line) > width]
    assert [line for line in long if "no tick from" not in line] == []


@pytest.mark.parametrize("what", tables(Page("UTC", NOON), "x"))
def test_a_pipe_has_the_reason_in_one_piece(what):
    assert LONG in tables(Page("UTC", NOON), LONG)[what]


def test_a_reason_goes_on_under_itself():
    skipped = replace(run(7, State.SKIPPED), reason="one two " * 12)
    text = runs_table(Page("UTC", NOON, 80), [skipped])
    head, first, *more = text.split("\n")
    place = head.index("why")
    assert more
    assert all(line[:place].strip() == "" and line[place] != " " for line in more)
    assert " ".join([first[place:], *(line.strip() for line in more)]) == ("one two " * 12).strip()


@pytest.mark.parametrize(
    ("text", "room", "lines"),
    [
        ("", 10, [""]),
        ("just fits!", 10, ["just fits!"]),
        ("two  blanks stay", 20, ["two  blanks stay"]),
        ("one two three", 8, ["one two", "three"]),
        ("a-b-c-d-e-f g", 12, ["a-b-c-d-e-f", "g"]),
        ("漢字漢字漢字", 5, ["漢字", "漢字", "漢字"]),
        ("e\u0301" * 7, 5, ["e\u0301" * 5, "e\u0301" * 2]),
        ("see `a b c` now", 9, ["see", "`a b c`", "now"]),
        ("`a b c d e f`", 6, ["`a b c", "d e f`"]),
        ("x" * 12 + " y", 5, ["xxxxx", "xxxxx", "xx y"]),
        ("漢", 1, ["漢"]),
    ],
)
def test_a_text_is_folded_by_the_columns_it_takes(text, room, lines):
    assert folded(text, room) == lines


def on_terminal(home, *words, width=80):
    """What the program prints, data and sentences, on a terminal of its own."""
    mine, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with subprocess.Popen(
        program(home, *words), stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                block = os.read(mine, 65536)
            except OSError:  # the other side is closed
                break
            if not block:
                break
            text += block
        process.wait()
    os.close(mine)
    return text.decode().replace("\r\n", "\n")


def test_sentences_wrap_between_words_on_a_terminal(home):
    words = [
        "add",
        "b" * 60,
        "--cron",
        "0 9 1-7 * 1",
        "--tz",
        "America/Argentina/Buenos_Aires",
        "--",
        "/no/such/program",
    ]
    said = on_terminal(home, *words)
    assert all(len(line) <= 80 for line in said.split("\n")), said
    assert "/no/such/program" in said
    refused = on_terminal(home, "add", "c", "--overlap", "word " * 30, "--manual", "--", "true")
    assert all(len(line) <= 80 for line in refused.split("\n")), refused
    assert joined("it must be one of skip, queue, replace, allow") in joined(refused)
    found = on_terminal(home, "doctor", width=60)
    assert all(len(line) <= 60 for line in found.split("\n\n")[0].split("\n")), found


def test_a_sentence_in_a_pipe_is_one_line(home):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [
        "add",
        "b" * 60,
        "--cron",
        "0 9 1-7 * 1",
        "--tz",
        "UTC",
        "--quiet",
        "--",
        "/no/such/" + "p" * 90,
    ]
    done = subprocess.run(
        program(home, *words), capture_output=True, text=True, env=env, check=False
    )
    assert all(line.startswith("taskrunner: ") for line in done.stderr.splitlines())


# ---- what outputs tell


@pytest.fixture
def traced(home):
    """A home with a run that failed and one whose output was cut."""
    with TaskRunner(home) as runner:
        runner.add(
            "copy", shell="echo begin; echo 'no space left' >&2; echo; exit 3", schedule=Manual()
        )
        runner.add("big", shell="seq 100000", schedule=Manual(), max_output="4KB")
        runner.add("huge", shell="seq 100000; exit 4", schedule=Manual(), max_output="200KB")
        runner.add("quiet", ["false"], Manual())
        runner.add("good", ["echo", "all is well"], Manual())
        for name in ("copy", "big", "huge", "quiet", "good"):
            runner.run(name)
        yield runner


def test_the_library_reports_last_lines_and_what_was_left_out(traced):
    runs = {each.task: each for each in traced.history()}
    found = traced.traces(runs.values())
    assert found[runs["copy"].id] == Trace("no space left", 0)
    assert found[runs["huge"].id].last_line == "100000"
    for name in ("big", "huge"):
        kept = len(
            re.sub(rb"\n\[taskrunner: \d+ bytes left out\]\n", b"", traced.output(runs[name]))
        )
        assert found[runs[name].id].left_out == runs[name].output_size - kept > 0
    assert {runs["quiet"].id, runs["good"].id}.isdisjoint(found)
    assert traced.traces([runs["copy"].id]) == {runs["copy"].id: Trace("no space left", 0)}


@pytest.mark.parametrize(
    "words", [["history"], ["show", "copy"], ["explain", "copy"]], ids=" ".join
)
def test_the_last_line_of_what_failed_is_shown(traced, home, words):
    assert "exit code 3; last line: no space left\n" in on_terminal(home, *words, width=160) + "\n"


@pytest.mark.parametrize("words", [["history"], ["show", "big"], ["explain", "big"]], ids=" ".join)
def test_an_output_that_was_cut_is_reported(traced, home, words):
    assert "of its output left out" in on_terminal(home, *words, width=160)


def test_a_narrow_history_has_it_only_when_it_is_asked_for(traced, home):
    assert "last line" not in on_terminal(home, "history", width=80)
    text = on_terminal(home, "history", "--wide", width=80)
    assert "last line" in text
    assert all(len(line) <= 80 for line in text.split("\n"))


def test_a_last_line_cannot_steer_the_terminal_and_is_not_told_twice(home):
    with TaskRunner(home) as runner:
        runner.add("nasty", shell="printf '\\033[2J\\377 gone'; exit 1", schedule=Manual())
        runner.add("py", code="raise ValueError('it is wrong')", schedule=Cron("0 0 1 1 *"))
        for name in ("nasty", "py"):
            runner.run(name)
    text = on_terminal(home, "history", width=200)
    assert "\033" not in text
    assert "\\x1b[2J\ufffd gone" in text
    assert text.count("it is wrong") == 1


def test_the_reason_of_a_run_goes_on_beside_its_title():
    failed = replace(run(7, State.FAILED, started=NOON, finished=NOON), reason=LONG)
    lines = run_page(Page("UTC", NOON, 80), failed, {}).split("\n")
    assert max(map(wide, lines)) <= 80
    why = next(number for number, line in enumerate(lines) if line.startswith("why"))
    assert len(lines) > why + 1
    assert all(line.startswith(" " * 10) for line in lines[why + 1 :])
    assert joined("".join(lines[why:])) == "why" + joined(LONG)
