"""Install our line in a crontab: the user's, or /etc/cron.d/taskrunner; and find such lines."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime

from taskrunner.clocks import cron_text, entry
from taskrunner.clocks.entry import Entry, Fitted
from taskrunner.errors import StateError, shown
from taskrunner.home import program
from taskrunner.model.record import record
from taskrunner.processes import alive, programs

CRON_FOLDER = "/etc/cron.d"
CRON_FILE = f"{CRON_FOLDER}/taskrunner"
CRONTAB = "/etc/crontab"
CRON_DAEMONS = ("cron", "crond", "busybox-crond", "fcron")
DEBIANS = "/usr/sbin/cron"
CRONIES = ("/usr/sbin/crond", "/usr/bin/crond", "/sbin/crond")
NO_CRON = (
    "cron is not installed: {} is missing; install it (on Debian: apt-get install cron), "
    "or use `taskrunner install systemd` or `taskrunner daemon`"
)
NO_CRON_DAEMON = (
    "the cron daemon is not running: start it (`systemctl enable --now cron`, or crond)"
)


@record
class Tab:
    """A crontab: its name, functions to read and write it, and the user in its lines, if they have one."""

    name: str
    read: Callable[[], str]
    write: Callable[[str], None]
    user: str | None = None


def install_cron(folder: str, now: datetime, *, system: bool, dry_run: bool) -> Fitted:
    """Let cron call a tick of a home every minute; raises StateError, HomeRefused or InputError."""
    entry.check_lasting(program.own())
    tab = _system_tab() if system else _user_tab()
    words = program.words(program.own(), entry.given(folder), "tick")
    old = tab.read()
    new = cron_text.with_block(old, folder, cron_text.entry(words, tab.user))
    if not dry_run:
        entry.make_home(folder)
    kept = [] if dry_run or old == new else _replace(tab, folder, old, new, now)
    sentences = [] if old != new else [f"{tab.name} already calls it"]
    if not dry_run:
        sentences.append(f"cron calls `{' '.join(words)}` every minute ({tab.name})")
    warnings = [
        *_cron_warnings(),
        *entry.program_warnings(words),
        *_left_by_others(tab, new, folder),
    ]
    return Fitted(entry.diff(tab.name, old, new), sentences + kept, warnings)


def uninstall_cron(folder: str, now: datetime, *, system: bool, dry_run: bool) -> Fitted:
    """Remove the entry of a home; raises StateError or HomeRefused."""
    tab = _system_tab() if system else _user_tab()
    old = tab.read()
    new = cron_text.without_block(old, folder)
    kept = [] if dry_run or old == new else _replace(tab, folder, old, new, now)
    sentences = "no longer calls it" if old != new else "has no entry of this home"
    said = [] if dry_run and old != new else [f"{tab.name} {sentences}"]
    return Fitted(entry.diff(tab.name, old, new), said + kept, _left_by_others(tab, new, folder))


def _replace(tab: Tab, folder: str, old: str, new: str, now: datetime) -> list[str]:
    """Write a crontab after keeping a copy of the old one, and return a sentence with its path."""
    kept = entry.keep(folder, os.path.basename(tab.name.replace(" ", "-")), old, now)
    tab.write(new)
    found = tab.read()
    if found.split() != new.split():
        raise StateError(
            f"{tab.name} does not hold the lines that were written to it: check it with `crontab -l`"
        )
    return kept


def _user_tab() -> Tab:
    name = f"crontab of {entry.account()[0]}"
    return Tab(name, read_user_tab, _write_user_tab)


def read_user_tab() -> str:
    """Return the user's crontab, "" when there is none; raises StateError."""
    said = programs.tool("crontab", "-l")
    if said is None:
        raise StateError(NO_CRON.format("crontab(1)"))
    if said.code == 0:
        return said.out
    # The messages of Debian's cron and cronie, and of busybox.
    if "no crontab for" in said.err or "No such file" in said.err:
        return ""
    raise StateError(f"crontab -l failed: {shown(said.err)}")


def halves() -> bool:
    """Return whether the cron of this host reduces two backslashes in a command to one; cronie does not."""
    return os.path.exists(DEBIANS) or not any(map(os.path.exists, CRONIES))


def own_name() -> str:
    """Return our user name; raises StateError."""
    return entry.account()[0]


def user_crontab() -> tuple[str, str]:
    """Return the name and the text of our own crontab; raises StateError."""
    tab = _user_tab()
    return tab.name, tab.read()


def replace_user_crontab(folder: str, old: str, new: str, now: datetime) -> list[str]:
    """Write our own crontab after keeping a copy of the old one in a home, and return sentences with its path."""
    return _replace(_user_tab(), folder, old, new, now)


def _write_user_tab(text: str) -> None:
    words = ("crontab", "-") if text else ("crontab", "-r")
    said = programs.tool(*words, stdin=text)
    if said is None or said.code != 0:
        why = "it is gone" if said is None else shown(said.err)
        raise StateError(f"{' '.join(words)} failed, so the crontab is as it was: {why}")


def _system_tab() -> Tab:
    if os.geteuid() != 0:
        raise StateError(f"only root can write {CRON_FILE}: leave --system out, or use sudo")
    if not os.path.isdir(CRON_FOLDER):
        raise StateError(NO_CRON.format(CRON_FOLDER))
    return Tab(
        CRON_FILE, lambda: entry.read(CRON_FILE), lambda text: entry.write(CRON_FILE, text), "root"
    )


def _cron_warnings() -> list[str]:
    return [NO_CRON_DAEMON] if alive.process_named(*CRON_DAEMONS) is False else []


def _left_by_others(tab: Tab, text: str, folder: str) -> list[str]:
    """Return a sentence for each line, not written by us, that calls a tick of the same home."""
    lines = cron_text.lines_that_call(text, users=tab.user is not None)
    return [
        f"line {line.number} of {tab.name} also calls taskrunner and was not written by it: one entry is enough"
        for line in lines
        if not line.ours and entry.home_of(line.call.home, line.user) == folder
    ]


def entries() -> Iterator[Entry]:
    """Yield the lines of readable crontabs that call taskrunner."""
    runs = alive.process_named(*CRON_DAEMONS)
    for name, text, users in _crontabs():
        for line in cron_text.lines_that_call(text, users=users):
            place = f"line {line.number} of {name}"
            home_ = entry.home_of(line.call.home, line.user)
            program_ = line.call.program
            yield Entry("cron", place, home_, program_, line.when, runs, line.ours)


def _crontabs() -> Iterator[tuple[str, str, bool]]:
    """Yield the name and the text of each readable crontab, and whether its lines have a user."""
    with contextlib.suppress(StateError):
        yield f"crontab of {entry.account()[0]}", read_user_tab(), False
    places: list[str] = []
    with contextlib.suppress(OSError):
        # As Debian's cron does: it skips names with a dot, such as files left by a package manager.
        names = [name for name in os.listdir(CRON_FOLDER) if re.fullmatch(r"[\w-]+", name)]
        places = [os.path.join(CRON_FOLDER, name) for name in sorted(names)]
    for place in (CRONTAB, *places):
        with contextlib.suppress(StateError):
            yield place, entry.read(place), True
