"""The tutorial, typed line by line by a new user of a machine with a real cron, from the installation to the removal.

Each block of docs/tutorial.md is typed into a login shell of its own, as after logging in again: the lines of its `sh`
blocks in the checkout, and the commands of its `console` and `shell-session` blocks, whose output must be what the page
shows, by the rules of tests/test_docs.py. A command that waits for cron is typed again until it shows that.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.samples import ROOT
from tests.system import cronbox
from tests.test_docs import Step, agrees, blocks, console_steps

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1500)]

BOX = Path(__file__).with_name("tutorial_box.sh")
LEFT_OUT = (
    ".git",
    ".venv*",
    ".quickstart*",
    ".*_cache",
    "__pycache__",
    "build",
    "dist",
    "*.egg-info",
)
PATIENCE = 180  # seconds, for what cron does once a minute
LEFT = "/home/you:\ntaskrunner\n/home/you/.local/bin:\n/home/you/.local/state:"
END = re.compile(r"\x1e(\d+)\x1e\n$")


def typed() -> Iterator[tuple[str, list[Step]]]:
    """The folder in which a block of the tutorial is typed, and its commands."""
    for language, text in blocks(ROOT / "docs/tutorial.md"):
        if language == "sh":
            yield "~/taskrunner", [Step(line, "...", may_fail=False) for line in text.splitlines()]
        elif language in ("console", "shell-session"):
            yield "~", console_steps(text)


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[list[str]]:
    """A machine of its own with a user `you`; gives the command line of that user's login shell."""
    shutil.copytree(
        ROOT, folder / "checkout", ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True
    )
    namespaces = "--mount --propagation private --pid --fork --kill-child --mount-proc".split()
    argv = ["unshare", *namespaces, "sh", str(BOX), str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as box:
        try:
            deadline = monotonic() + 100
            while not (folder / "ready").exists():
                assert box.poll() is None, box.stderr.read()
                assert monotonic() < deadline, "the machine did not come up"
                sleep(0.05)
            inside = Path(f"/proc/{box.pid}/task/{box.pid}/children").read_text().split()[0]
            as_you = ["nsenter", "--mount", "--pid", "--target", inside]
            as_you += ["setpriv", "--reuid", "you", "--regid", "you", "--init-groups"]
            yield [*as_you, "bash", "--login"]
            box.stdin.close()
            assert box.wait(timeout=100) == 0
        finally:
            box.kill()  # the kernel ends everything in the box with it


class Shell:
    """A login shell that is typed into."""

    def __init__(self, argv: list[str]) -> None:
        kept = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_"))}
        own = {"HOME": "/home/you", "USER": "you", "LOGNAME": "you", "SHELL": "/bin/bash"}
        self.process = subprocess.Popen(
            argv,
            env={**kept, **own, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> tuple[int, str]:
        """Type a command; its exit code and what it printed."""
        mark = "code=$?; printf '\\036%s\\036\\n' \"$code\"; (exit $code)"
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\n{mark}\n")
        self.process.stdin.flush()
        printed = ""
        while not (end := END.search(printed)):
            line = self.process.stdout.readline()
            assert line, f"the shell ended:\n{printed}"
            printed += line
        return int(end[1]), printed[: end.start()].rstrip("\n")


@contextlib.contextmanager
def shell_of(argv: list[str]) -> Iterator[Shell]:
    """A login shell, for a while."""
    shell = Shell(argv)
    try:
        yield shell
    finally:
        shell.process.communicate()


def follow(shell: Shell, step: Step) -> None:
    """Type a command until it shows what the page shows."""
    deadline = monotonic() + PATIENCE
    while True:
        code, printed = shell.type(step.command)
        if (code == 0 or step.may_fail) and agrees(step.shown, printed):
            return
        assert "called by cron" in step.shown and monotonic() < deadline, (
            f"{step.command}\nended with {code} and printed\n{printed}\n\nbut the page shows\n{step.shown}"
        )
        sleep(2)


def wait_for_a_quiet_time() -> None:
    """Let 06:30 pass when it is close: cron would run the task of the tutorial in the middle of it."""
    while time(6, 26) <= datetime.now(UTC).time() < time(6, 31):
        sleep(1)


def test_the_tutorial_typed_by_a_new_user_does_what_it_says(tmp_path, needs):
    needs("root", os.geteuid() == 0, "only root can make a machine of its own for a new user")
    cronbox.check_machine(needs)
    wait_for_a_quiet_time()
    with machine(tmp_path) as login:
        for place, steps in typed():
            with shell_of(login) as shell:
                assert shell.type(f"cd {place}") == (0, "")
                for step in steps:
                    follow(shell, step)
        with shell_of(login) as shell:
            assert shell.type("crontab -l") == (1, "no crontab for you")
            assert shell.type("ls ~ ~/.local/bin ~/.local/state | grep .") == (0, LEFT)
