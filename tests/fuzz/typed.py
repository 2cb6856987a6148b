"""Command lines made of bytes: verbs and flags are asked of the parser, so a new one is tried at once.

They run in this process through the real `main`, on a home of their own; what a task of them executes is
chosen from a list that does no harm. After each the exit code, what was said and the store are looked at.
"""

import argparse
import contextlib
import functools
import io
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TypeVar
from unittest import mock

from taskrunner import errors
from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli import main

T = TypeVar("T")

MOST_LINES = 7
FAR_OFF = {"daemon", "install", "page", "uninstall"}  # they do not end, or change the machine
WITHHELD = {"--home", "--help", "-h", "--version", "--comment-out", "--detach", "--follow", "-f"}
CODES = {errors.EXIT_DONE, errors.EXIT_FAILED, errors.EXIT_USAGE, errors.EXIT_BUSY}
JUDGES = ("status", "doctor")  # their exit code is their answer

COMMANDS = (
    ["true"], ["false"], ["/bin/sh", "-c", "exit 7"], ["echo", "\x1b[31mred"], ["no-such-program"],
    ["head", "-c", "200000", "/dev/zero"], ["/bin/sh", "-c", "kill -9 $$"], [""], [], ["/"], ["true", ""],
)  # fmt: skip
LENGTHS = (
    "1h",
    "1d",
    "7h30m",
    "2w",
    "1mo",
    "1y6mo",
    "none",
    "0s",
    "1d1h",
    "999999d",
    "-5m",
    "1h30",
)
NAMES = (
    "a",
    "b",
    "a",
    "b",
    "c.d",
    "x@y",
    "1",
    "2",
    "99",
    "999999999999999999999",
    "-",
    "--",
    "*",
    "ä",
)
PLACES = (
    "a.toml",
    "b.toml",
    "env",
    "tab",
    "nothing",
    "a",
    ".",
    "no/where",
    "copy.db",
    "-",
    "x\x1by",
)
FLAGS: dict[str, Sequence[str]] = {
    "--shell": ("true", "exit 3", "echo hello; exit 1", "echo out; echo err >&2", "", " ", "kill $$"),
    "--user": ("nobody", "root", "no-such-user", "0", ""),
    "--cwd": ("/", ".", "/nowhere", "~", "~nobody", "", "x\x1by"),
    "--env-file": ("env", "bad.env", "/dev/null", "/nowhere", ".", "fifo"),
    "--overlap": ("skip", "queue", "replace", "allow", "all"),
    "--catch-up": ("last", "all", "none"),
    "--on-lost": ("fail", "retry"),
    "--limit": ("memory=512MB", "cpu=10m,files=1024,processes=64", "memory=512M", "cpu=1s", "files=3", "x=1"),
    "--umask": ("022", "0", "777", "8", "-1", "0o22"),
    "--retry-delay": ("1h", "2m", "1d"),  # not so short that a tick would wait for it
    "--jitter": ("1h", "30m", "1d"),
}  # fmt: skip
VALUES: dict[str, Sequence[str]] = {
    "LENGTH": LENGTHS,
    "NAME": NAMES,
    "NEW": NAMES,
    "RUN": (*NAMES, "3", "4", "5"),
    "EXPR": ("* * * * *", "*/5 * * * *", "0 0 31 2 *", "@daily", "@reboot", "30 2 * * sun", "61 * * * *"),
    "DAY": ("first monday", "last day of feb", "last workday at 9:00", "fifth monday", "day 15", ""),
    "TIME": ("09:00", "24:00", "9am", "0:00"),
    "WHEN": ("now", "+30m", "-2h", "2030-12-01 22:00", "2026-03-29T02:30", "7d", "1mo", "2026-02-30", "tomorrow"),
    "NAME[:HOW]": ("a", "b:failed", "a:any", "b:succeeded", "nobody", "a:", ":", "a:b:c"),
    "NAME[:N]": ("g", "g:2", "h:1", "g:0", ":", "g:g"),
    "ZONE": ("UTC", "Europe/Berlin", "Mars/Base", "", "../../etc/passwd", "europe/berlin"),
    "WHAT": ("skip", "queue", "last", "all", "none", "fail", "retry"),
    "N": ("0", "1", "2", "-1", "19", "100", "99999", "1e3", "٣"),
    "X": ("1", "2", "1.5", "0", "nan", "inf", "-1", "1e400"),
    "CODES": ("0", "1,3-5", "255", "256", "5-1", ",", "0-255"),
    "REGEX": ("hello", "^$", "(", "(a+)+$", "\\Z", "[", "(?i)x", "a{99999}"),
    "SIZE": ("10MB", "64kB", "1", "0", "1e9", "999999999999999", "1 kb"),
    "NAME=VALUE": ("A=1", "API_KEY=secret", "=", "A", "A=\x1b]0;x\x07", "PATH=/nowhere", "A=\udcff", "1A=2"),
    "OCTAL": ("022", "777"),
    "KIND": ("cron", "every", "on", "at", "after", "boot", "manual", "never"),
    "STATE": ("failed", "succeeded", "running", "lost", "pending", "done"),
    "FILE": PLACES,
    "DIR": PLACES,
    "crontab": ("crontab",),
}  # fmt: skip
# A text of any kind may stand for a value of these: whatever it is, nothing is executed by it.
ANY_TEXT = {*VALUES} - {"crontab"} | {"TEXT"}
BEFORE: Sequence[list[list[str]]] = (
    [
        ["add", "a", "--every=1h", "--now", "--", "true"],
        ["add", "b", "--after=a", "--shell=exit 3"],
    ],
    [["add", "a", "--cron=* * * * *", "--", "false"], ["run", "a"]],
    [["add", "b", "--every=1h", "--anchor=2026-01-01", "--now", "--", "echo", "\x1b[2J"], ["tick"]],
    [],
)
SAFE = ("", "x", "1", "1h", "a")  # for what is not known here
FILES = {
    "a.toml": '[tasks.a]\nevery = "1h"\ncommand = ["true"]\n[tasks.b]\nafter = "a"\nshell = "echo b"\n',
    "b.toml": '[tasks.a]\ncron = "* * * * *"\ncommand = ["false"]\nenv = {TOKEN = "x"}\n',
    "env": "A=1\nexport B='two words'\n",
    "bad.env": "A=1\nwhat is this\n",
    "tab": "MAILTO=me\n*/5 * * * * /bin/true\n@reboot echo 50\\% of it%and this\nnonsense\n",
    "taskrunner.toml": 'tick_period = "1s"\n',
}


class Bytes:
    """Choices, taken from bytes one after another; at their end the first of each."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, below: int) -> int:
        """Return a number from 0 to below - 1."""
        self.at += 1
        return self.data[self.at - 1] % below if self.at <= len(self.data) else 0

    def one(self, of: Sequence[T]) -> T:
        """Return one of some."""
        return of[self.number(len(of))]

    def likely(self, of: Sequence[T]) -> T:
        """Return one of some, more often of those that stand first."""
        return of[self.number(len(of)) // (1 + self.number(3))]

    def text(self) -> str:
        """Return a short text, such as can stand in an argv; it leads to no other folder."""
        length = self.number(40)
        found = self.data[self.at : self.at + length]
        self.at += length
        return os.fsdecode(found.replace(b"\0", b"0").replace(b"/", b"|"))

    @property
    def over(self) -> bool:
        """Whether all has been used."""
        return self.at >= len(self.data)


@functools.cache
def verbs() -> dict[str, list[argparse.Action]]:
    """Return the flags and places of each verb, as its parser has them."""
    whole = main.parser()
    found = next(each for each in whole._actions if isinstance(each, argparse._SubParsersAction))
    return {
        verb: [each for each in parser._actions if not WITHHELD & {*each.option_strings}]
        for verb, parser in found.choices.items()
        if verb not in FAR_OFF
    }


def value(choice: Bytes, action: argparse.Action) -> str:
    """Return a value for a flag or a place."""
    known = next((FLAGS[flag] for flag in action.option_strings if flag in FLAGS), None)
    if known is not None:
        return choice.likely(known)
    kind = str(action.metavar)
    if kind in ANY_TEXT and choice.number(8) == 7:
        return choice.text()
    if kind == "TEXT":
        return choice.text()
    return choice.likely(VALUES.get(kind, SAFE))


def line(choice: Bytes) -> list[str]:
    """Return one command line."""
    verb = choice.one(sorted(verbs()))
    flags = [each for each in verbs()[verb] if each.option_strings]
    places = [each for each in verbs()[verb] if not each.option_strings]
    words = [verb]
    for place in places:
        many = {None: 1, "?": choice.number(2), "*": choice.number(3), "+": 1 + choice.number(2)}
        must = verb == "import"  # without a file it is the crontab of who runs this
        count = 1 if must else many[place.nargs if isinstance(place.nargs, str) else None]
        words += [value(choice, place) for _ in range(count)]
    for _ in range(choice.number(5)):
        flag = choice.one(flags) if flags else None
        if flag is not None:
            words.append(flag.option_strings[-1])
            words += [] if flag.nargs == 0 else [value(choice, flag)]
    if verb in ("add", "set"):
        when = ["--manual", "--every=1h", "--cron=* * * * *", "--on=last day", "--at=+1h"]
        when += ["--after=a", "--boot", ""]
        words += [each for each in [choice.one(when)] if each]
    if choice.number(12) == 11:
        words.insert(choice.number(len(words) + 1), choice.text())
    if (verb in ("add", "set") and choice.number(4)) or choice.number(20) == 19:
        words += ["--", *choice.likely(COMMANDS)]
    return words


def lines(data: bytes) -> list[list[str]]:
    """Return the command lines that some bytes stand for."""
    choice = Bytes(data)
    found = [*choice.one(BEFORE), line(choice)]
    while not choice.over and len(found) < MOST_LINES:
        found.append(line(choice))
    return found


def play(data: bytes, scratch: str) -> None:
    """Type command lines one after another, and look at what each has done."""
    folder = tempfile.mkdtemp(dir=scratch)
    try:
        with in_folder(folder):
            for words in lines(data):
                type_one(folder, words, stdin=data)
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def in_folder(folder: str) -> Iterator[None]:
    """Be in a folder with a few files for the block, on a machine without cron and systemd."""
    for name, content in FILES.items():
        fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT, 0o600)
        with open(fd, "w", encoding="utf-8") as out:
            out.write(content)
    os.mkfifo(f"{folder}/fifo")
    os.mkdir(f"{folder}/home", 0o700)
    os.rename(f"{folder}/taskrunner.toml", f"{folder}/home/taskrunner.toml")
    before = os.getcwd()
    os.chdir(folder)
    try:
        with mock.patch("taskrunner.processes.programs.tool", return_value=None):
            yield
    finally:
        os.chdir(before)


def type_one(folder: str, words: Sequence[str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Type one command line, and look at what came of it."""
    home = f"{folder}/home"
    code, out, err = said(["--home", home, *words], stdin)
    shown = f"{words!r} gave {code} and {err!r}"
    assert "this is a bug" not in err and "Traceback" not in out + err, shown
    verb = next((word for word in words if word in verbs()), "")
    assert verb == "run" or code in CODES, shown
    if verb != "run" and code and not (verb in JUDGES and out):
        check_refusal(words, err)
        assert not out or verb not in ("add", "set"), f"{shown}, and said {out!r}"
    for each in err.split("\n"):
        assert each.isprintable(), shown
    check_store(home)
    return code, out, err


def check_refusal(words: Sequence[str], err: str) -> None:
    """What is refused is refused in one sentence, and at most one line that tells where to read on."""
    told = err.rstrip("\n").split("\n")
    sentences = [each for each in told if not each.startswith("see taskrunner")]
    assert sentences[0].startswith("taskrunner: "), (words, err)
    # A task file may have several faults, and what could be cancelled is, as with kill(1).
    several = {"apply", "cancel"} & {*words}
    assert several or (len(sentences) == 1 and len(told) <= 2), (words, err)


def said(words: Sequence[str], stdin: bytes = b"") -> tuple[int, str, str]:
    """Return the exit code of a command line, and what it said on stdout and stderr."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8")
    before = sys.stdout, sys.stderr, sys.stdin
    sys.stdout, sys.stderr, sys.stdin = out, err, given
    try:
        code = main.main(words)
    except SystemExit as exc:
        code = int(exc.code or 0)
    finally:
        sys.stdout, sys.stderr, sys.stdin = before
    texts = [each.buffer.getvalue().decode(errors="replace") for each in (out, err)]
    for report in re.findall(r"(/tmp/taskrunner-report-\S+\.txt)", texts[1]):
        with open(report, encoding="utf-8") as file:
            texts[1] += file.read()
        os.unlink(report)
    return code, *texts


def check_store(home: str) -> None:
    """Whatever was typed, the store is whole and everything in it can be read."""
    place = f"{home}/taskrunner.db"
    if not os.path.exists(place):
        return
    with closing(sqlite3.connect(place)) as connection:
        ask = connection.execute
        assert ask("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ask("PRAGMA foreign_key_check").fetchall() == []
        alone = "SELECT id FROM runs WHERE state = 'running' AND id NOT IN (SELECT run_id FROM processes)"
        assert ask(alone).fetchall() == [], "a running row that nobody watches"
        dead = "SELECT run_id FROM processes JOIN runs ON id = run_id WHERE state <> 'running'"
        assert ask(dead).fetchall() == [], "a process of a run that has ended"
        unsaid = "SELECT id FROM runs WHERE state NOT IN ('pending', 'running') AND reason IS NULL"
        assert ask(unsaid).fetchall() == [], "a run that has ended without a reason"
        ask("SELECT * FROM v_tasks").fetchall()
        ask("SELECT * FROM v_runs").fetchall()
    with TaskRunner(home) as runner:
        for task in runner.tasks():
            runner.describe(task)
        runner.history(limit=None)
