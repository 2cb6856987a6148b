"""What is found about the clock: whether a tick comes, from where, and from how many places."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from taskrunner import clock, duration, entry, home, lock, outlook
from taskrunner.answers import Finding
from taskrunner.clocks import cron, program, systemd
from taskrunner.doctor.seen import Seen, error, ok, warning
from taskrunner.entry import units
from taskrunner.entry.files import Entry

MINUTE = timedelta(minutes=1)
INSTALL = "`taskrunner install cron` or `taskrunner install systemd`"
AHEAD = timedelta(minutes=1)


def findings(seen: Seen) -> Iterator[Finding]:
    """Give what is found about the last tick and the entries that call it."""
    found = entry.entries()
    here = [each for each in found if each.home == seen.folder]
    yield from _last_tick(seen, here)
    yield from _entries(seen, found, here)
    # Two lines of cron have one daemon of cron that does not run: that is told once.
    told = [finding for each in here for finding in _one(seen, each)]
    yield from dict.fromkeys(told)


def _last_tick(seen: Seen, here: list[Entry]) -> Iterator[Finding]:
    if seen.beat is None:
        if seen.health is not None:
            cure = f"{INSTALL}, then wait a minute" if not here else "wait a minute, then see below"
            yield error("no tick has come yet", cure)
        return
    last = clock.from_ms(seen.beat.at)
    silent = (seen.now - last).total_seconds()
    if last - seen.now > AHEAD:
        cure = "set the clock of the machine right: nothing comes due before it gets there"
        yield warning(f"the last tick was at {clock.iso(last)}, which is to come", cure)
    elif outlook.is_silent(seen.beat, seen.now):
        cure = "look at what calls it, below" if here else INSTALL
        yield error(f"no tick has come for {duration.human(silent)}", cure)
    else:
        yield ok(
            f"the last tick came {duration.human(max(0.0, silent))} ago, by {seen.beat.caller}"
        )


def _entries(seen: Seen, found: list[Entry], here: list[Entry]) -> Iterator[Finding]:
    ticking = seen.beat is not None and not outlook.is_silent(seen.beat, seen.now)
    if not here:
        others = [each for each in found if each.home != seen.folder]
        for each in others:
            cure = f"{INSTALL} for this home, or use that one (--home {each.home})"
            yield warning(f"{each.place} calls taskrunner for another home, {each.home}", cure)
        if not ticking:
            yield error(f"nothing calls a tick of {seen.folder}", INSTALL)
        elif seen.beat is not None and seen.beat.caller == home.HAND:
            what = f"no crontab and no unit calls a tick of {seen.folder}: the last one was called by hand"
            yield warning(what, f"{INSTALL}, unless something else calls one each minute")
        return
    yield from _several(here)
    yield from _daemon_beside(seen, here)


def _several(here: list[Entry]) -> Iterator[Finding]:
    """Give what there is more than one of: harmless, since a slot is started once, and of no use."""
    for name in ("cron", "systemd"):
        places = [each.place for each in here if each.clock == name]
        if len(places) > 1:
            what = (
                f"{name} calls a tick of this home from {len(places)} places: {', '.join(places)}"
            )
            cure = f"remove all but one: `taskrunner uninstall {name}`, with --system or --user, takes one away"
            yield warning(f"{what}; harmless, but one is enough", cure)
    if len({each.clock for each in here}) > 1:
        cure = "`taskrunner uninstall cron` or `taskrunner uninstall systemd`"
        yield warning(
            "cron and systemd both call ticks of this home; harmless, but one is enough", cure
        )


def _daemon_beside(seen: Seen, here: list[Entry]) -> Iterator[Finding]:
    """Give a daemon that no unit keeps, as it is started by hand or in a container, beside another clock."""
    if any(os.path.basename(each.place) == systemd.DAEMON for each in here):
        return
    last = seen.beat
    ticks = last is not None and last.caller == "daemon" and not outlook.is_silent(last, seen.now)
    if ticks or _daemon_lives(seen.folder):
        names = " and ".join(sorted({each.clock for each in here}))
        what = f"a daemon ticks in this home, and {names} calls ticks, too"
        cure = f"end the daemon, or `taskrunner uninstall {here[0].clock}`"
        yield warning(f"{what}; harmless, but one is enough", cure)


def _daemon_lives(folder: str) -> bool:
    """Return whether one of the living supervisors of a home was started as a daemon."""
    place = home.path(folder, home.SUPERVISORS)
    with suppress(OSError):
        for name in os.listdir(place):
            if lock.is_held(os.path.join(place, name)) and _is_daemon(name.partition("-")[0]):
                return True
    return False


def _is_daemon(pid: str) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"daemon" in file.read().split(b"\0")
    return False


def _one(seen: Seen, each: Entry) -> Iterator[Finding]:
    if each.alive is False:
        yield _asleep(each)
    elif each.alive:
        yield ok(f"{each.clock} calls it: {each.place}")
    yield from _program(each)
    rare = each.when not in (None, cron.EVERY_MINUTE)
    if rare and seen.settings.tick_period <= MINUTE:
        cure = "write * * * * *, or set tick_period to how often it comes"
        yield warning(f"{each.place} calls a tick at {each.when} only", cure)
    if "/user" in each.place and each.clock == "systemd" and not units.lingers():
        what = "lingering is off: your units run only while you are logged in"
        yield warning(what, "`loginctl enable-linger`")


def _asleep(each: Entry) -> Finding:
    if each.clock == "cron":
        return error("no cron daemon runs", "`systemctl enable --now cron`, or start crond")
    name = os.path.basename(each.place)
    scope = "systemctl --user" if "/user" in each.place else "systemctl"
    return error(f"{each.place} is not active", f"`{scope} enable --now {name}`")


def _program(each: Entry) -> Iterator[Finding]:
    """Give what is wrong with the program that an entry calls."""
    file = each.program
    if not os.path.isabs(file):
        cure = f"`taskrunner install {each.clock}` writes the whole path"
        yield warning(f"{each.place} calls {file} without its path: PATH is short there", cure)
    elif not os.access(file, os.X_OK):
        cure = f"`taskrunner install {each.clock}` from the program that is to be called"
        yield error(f"{each.place} calls {file}, which is not there or cannot be executed", cure)
    elif not _same(file, _own_file()):
        cure = f"`taskrunner install {each.clock}` if this one is to be called: {_own_file()}"
        yield warning(f"{each.place} calls another program, {file}", cure)
    by = program.changeable_by(file) if os.geteuid() == 0 and os.path.isabs(file) else None
    if by is not None:
        who = "everybody" if by == 0 else f"user id {by}"
        yield warning(f"{file} runs as root and can be changed by {who}", "use one that is root's")


def _same(file: str, own: str) -> bool:
    """Return whether two files start the same program; an environment's interpreter is a link to one of many."""
    if "python" in os.path.basename(file):
        return os.path.dirname(os.path.abspath(file)) == os.path.dirname(os.path.abspath(own))
    return os.path.realpath(file) == os.path.realpath(own)


def _own_file() -> str:
    words = program.own()
    found = program.read([*words, "tick"])
    return words[0] if found is None else found.program
