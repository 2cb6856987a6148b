"""Files of the host with an entry: read them, back them up, replace them, show a diff."""

import difflib
import os
import pwd
from collections.abc import Sequence
from datetime import datetime

from taskrunner.errors import StateError, shown
from taskrunner.home import paths, program
from taskrunner.model.record import field, record


@record
class Entry:
    """One place from which a clock calls taskrunner; `alive` is None where that is unknown."""

    clock: str  # cron or systemd
    place: str
    home: str
    program: str
    when: str | None = None  # the five fields, with cron
    alive: bool | None = None
    ours: bool = True  # written by `install`, and removed by `uninstall`


@record
class Fitted:
    """The result of an installation: a unified diff, empty when nothing changes, and sentences about it."""

    diff: str
    told: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_lasting(words: Sequence[str]) -> None:
    """Refuse a program that exists for one call only, as the entry would soon be broken; raises StateError."""
    found = program.fleeting(words)
    if found is not None:
        file, whose = found
        raise StateError(
            f"{shown(file)} is a copy that {whose} made for one call, and will be removed: {program.INSTALL}, "
            "then install the entry with the taskrunner that this puts on PATH"
        )


def program_warnings(words: Sequence[str]) -> list[str]:
    """Return a warning when root is to run a file that others can change."""
    call = program.read([*words, "tick"])
    file = words[0] if call is None else call.program
    by = program.changeable_by(file) if os.geteuid() == 0 else None
    if by is None:
        return []
    who = "everybody" if by == 0 else f"user id {by}"
    return [f"{file} will run as root and can be changed by {who}: use one that belongs to root"]


def make_home(folder: str) -> None:
    """Create a home for an entry; raises HomeRefused."""
    paths.check(folder)
    paths.create(folder)


def keep(folder: str, name: str, text: str, now: datetime) -> list[str]:
    """Keep a text in the home's backups, if there is a home, and return a sentence about it; skips an empty text."""
    if not text or not os.path.isdir(folder):
        return []
    stem = paths.path(folder, paths.BACKUPS, f"{name}-{now:%Y%m%dT%H%M%SZ}")
    place, number = stem, 1
    while os.path.lexists(place):
        number += 1
        place = f"{stem}-{number}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(place, flags, 0o600), "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
    except OSError as exc:
        raise StateError(f"{shown(place)} cannot be written: {exc.strerror}") from exc
    return [f"the previous file is kept in {place}"]


def read(place: str) -> str:
    """Return a text file, "" when there is none; raises StateError."""
    try:
        with open(place, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise StateError(f"{shown(place)} cannot be read: {exc.strerror}") from exc


def write(place: str, text: str) -> None:
    """Replace a file as a whole, or remove it when there is nothing to write."""
    # Neither cron nor systemd reads a file whose name starts with a dot.
    new_file = os.path.join(os.path.dirname(place), f".{os.path.basename(place)}.new")
    try:
        if not text:
            os.unlink(place)
            return
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        with open(new_file, "wb") as file:
            file.write(text.encode(errors="surrogateescape"))
        os.chmod(new_file, 0o644)
        os.rename(new_file, place)
    except OSError as exc:
        raise StateError(f"{shown(place)} cannot be written: {exc.strerror}") from exc


def diff(name: str, old: str, new: str) -> str:
    """Return a change of a file as a unified diff."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        name if old else "/dev/null",
        name if new else "/dev/null",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ no line end\n" for line in lines)


def given(folder: str) -> str | None:
    """Return the home to name in an entry, None when the clock uses it by default."""
    return None if folder == own_default() else folder


def own_default() -> str:
    """Return the default home of our user when a clock calls us."""
    entry = account()
    return paths.of_user("root" if os.geteuid() == 0 else entry[0], entry[1])


def account() -> tuple[str, str]:
    """Return our name and home folder on this host; raises StateError."""
    try:
        found = pwd.getpwuid(os.geteuid())
    except KeyError as exc:
        raise StateError(f"user id {os.geteuid()} has no name on this host, as cron needs") from exc
    return found.pw_name, found.pw_dir


def home_of(named: str | None, user: str | None) -> str:
    """Return the home of an entry: the one it names, else that of its user."""
    if named:
        return os.path.abspath(os.path.expanduser(named))
    try:
        return own_default() if user is None else paths.of_user(user, pwd.getpwnam(user).pw_dir)
    except (KeyError, StateError):
        return f"the home of {user}"
