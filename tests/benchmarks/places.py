"""The environments that things are measured in: each is one virtual environment in the folder of the benchmark."""

import shutil
import subprocess
from pathlib import Path

from tests.benchmarks import timing

PROGRAMS = Path(__file__).parent / "programs"
PACKAGES = {
    "django": ("django",),
    "apscheduler": ("apscheduler>=3,<4", "sqlalchemy"),
    "celery": ("celery",),
    "matplotlib": ("matplotlib",),
}


class NotHere(Exception):
    """Something that is to be compared with is not to be had on this machine."""


def environment(place: Path, python: Path, name: str) -> Path:
    """Return the Python of an environment that has the packages of that name; raises NotHere."""
    found = place / name / "bin/python"
    if found.exists():
        return found
    timing.tell(f"installing {name}")
    # Not this environment's own Python: one of an environment would hand its path on.
    for words in (
        [python, "-m", "venv", place / name],
        [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[name]],
    ):
        try:
            subprocess.run(words, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as exc:
            shutil.rmtree(place / name, ignore_errors=True)
            last = (exc.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotHere(f"{name} could not be installed: {last}") from exc
    return found


def version(python: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return timing.printed(python, "-c", code).strip()


def compiled(place: Path) -> Path:
    """Return the C program that starts commands as fast as the kernel allows; raises NotHere."""
    cc = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if cc is None:
        raise NotHere("there is no C compiler on this machine")
    found = place / "spawn"
    words = [cc, "-O2", "-o", str(found), str(PROGRAMS / "spawn.c")]
    subprocess.run(words, check=True)
    return found


def program(name: str) -> str:
    """Return the path of a program beside this one, or on PATH; raises NotHere."""
    found = shutil.which(name)
    if found is None:
        raise NotHere(f"there is no {name} on this machine")
    return found
