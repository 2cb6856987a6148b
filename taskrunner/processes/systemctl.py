"""The systemd that carries runs: asked with systemctl(1), which of its units are there, and told to stop one."""

import os
from collections.abc import Sequence

from taskrunner.home import paths
from taskrunner.processes import programs

PATIENCE = 5.0  # seconds for systemd to answer
UNIT = ".service"  # how the supervisor of a run is called that systemd carries


def systemctl(*words: str) -> programs.Said | None:
    """Ask the systemd that carries our runs: the system's for root, else the user's own."""
    return programs.tool(*reached("systemctl"), *words, patience=PATIENCE)


def reached(program: str) -> tuple[str, ...]:
    """Return the words that start a program of systemd for the one that carries our runs."""
    if os.geteuid() == 0:
        return (program,)
    # A shell that su(1) or cron(8) made does not have the variable.
    return ("env", f"XDG_RUNTIME_DIR={paths.runtime()}", program, "--user")


def units_there(names: Sequence[str]) -> set[str] | None:
    """Return which of the units of these names are there; None when systemd does not say."""
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
    """Have systemd stop a unit, which it does with TERM, and KILL later; False when there is none."""
    said = systemctl("stop", "--no-block", name)
    return said is not None and said.code == 0
