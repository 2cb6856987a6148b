"""The systemd that carries runs: list its units and stop one, with systemctl(1)."""

import os
from collections.abc import Sequence

from taskrunner.home import paths
from taskrunner.processes import programs

PATIENCE = 5.0  # seconds for systemd to answer
UNIT = ".service"  # suffix of the supervisor's name when systemd carries a run


def systemctl(*words: str) -> programs.Said | None:
    """Ask the systemd that carries our runs: the system's for root, else the user's own."""
    return programs.tool(*reached("systemctl"), *words, patience=PATIENCE)


def reached(program: str) -> tuple[str, ...]:
    """Return the words that start a program of systemd, for the instance that carries our runs."""
    if os.geteuid() == 0:
        return (program,)
    # A shell started by su(1) or cron(8) does not have the variable.
    return ("env", f"XDG_RUNTIME_DIR={paths.runtime()}", program, "--user")


def units_there(names: Sequence[str]) -> set[str] | None:
    """Return which of these units exist; None when systemd does not answer."""
    if not names:
        return set()
    said = systemctl("show", "-p", "Id", "-p", "ActiveState", *names)
    if said is None or said.code != 0:
        return None
    blocks = [dict(_fields(block)) for block in said.out.split("\n\n")]
    gone = ("inactive", "failed")
    return {block.get("Id", "") for block in blocks if block.get("ActiveState") not in gone}


def _fields(block: str) -> list[tuple[str, str]]:
    return [
        (name, value) for name, sign, value in (line.partition("=") for line in block.splitlines())
    ]


def stop_unit(name: str) -> bool:
    """Have systemd stop a unit, with TERM and later KILL; False when there is none."""
    said = systemctl("stop", "--no-block", name)
    return said is not None and said.code == 0
