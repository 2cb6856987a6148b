"""Checks of the callers of ticks: cron, systemd or a daemon, how often, and from how many entries."""

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from taskrunner import clock
from taskrunner.clocks import cron_text, install_cron, install_systemd, systemd_text
from taskrunner.clocks.entry import Entry
from taskrunner.home import lock, paths, program
from taskrunner.model.answers import Finding
from taskrunner.model.values import Severity
from taskrunner.processes import alive, programs
from taskrunner.report import status
from taskrunner.report.doctor.snapshot import Snapshot, error, ok, warning
from taskrunner.schedule import durations

MINUTE = timedelta(minutes=1)
INSTALL = "`taskrunner install cron` or `taskrunner install systemd`"
AHEAD = timedelta(minutes=1)
APPLICATION = "start the application whose server is the clock of this home"


def entries_of_host() -> list[Entry]:
    """Return every readable entry on this host that calls taskrunner."""
    return [*install_cron.entries(), *install_systemd.entries()]


def _install(folder: str) -> str:
    """Return how to get a clock for a home."""
    return f"{APPLICATION}, or {INSTALL}" if status.of_application(folder) else INSTALL


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings about the last tick and the entries that call it."""
    found = entries_of_host()
    entries = [each for each in found if each.home == snapshot.folder]
    daemons = _daemons(snapshot.folder)
    yield from _last_tick(snapshot, entries)
    yield from _entries(snapshot, found, entries, daemons)
    yield from _several_daemons(daemons)
    # Two crontab lines depend on the same stopped cron daemon: one finding is enough.
    findings_of_entries = [finding for each in entries for finding in _one(snapshot, each)]
    yield from dict.fromkeys(findings_of_entries)
    yield from _left(snapshot, entries)


def _last_tick(snapshot: Snapshot, entries: list[Entry]) -> Iterator[Finding]:
    if snapshot.beat is None:
        if snapshot.health is not None:
            cure = (
                f"{_install(snapshot.folder)}, then wait a minute"
                if not entries
                else "wait a minute, then see the findings below"
            )
            yield error("no tick has come yet", cure)
        return
    last = clock.from_ms(snapshot.beat.at)
    silent = (snapshot.now - last).total_seconds()
    if last - snapshot.now > AHEAD:
        cure = "correct the clock of the machine: nothing is due until that time"
        yield warning(f"the last tick was at {clock.iso(last)}, which is in the future", cure)
    elif status.is_silent(snapshot.beat, snapshot.now):
        cure = "see the findings below" if entries else _install(snapshot.folder)
        yield error(f"no tick has come for {durations.human(silent)}", cure)
    else:
        yield ok(
            f"the last tick came {durations.human(max(0.0, silent))} ago, by {snapshot.beat.caller}"
        )


def _entries(
    snapshot: Snapshot, found: list[Entry], entries: list[Entry], daemons: list[int]
) -> Iterator[Finding]:
    ticking = snapshot.beat is not None and not status.is_silent(snapshot.beat, snapshot.now)
    if not entries:
        others = [each for each in found if each.home != snapshot.folder]
        for each in others:
            cure = f"{INSTALL} for this home, or use that one with --home {shlex.quote(each.home)}"
            yield warning(f"{each.place} calls taskrunner for another home, {each.home}", cure)
        if ticking and snapshot.beat is not None:
            yield from _unfounded(snapshot, snapshot.beat.caller, daemons)
        elif not daemons:
            yield error(f"nothing calls a tick of {snapshot.folder}", _install(snapshot.folder))
        return
    yield from _several(entries)
    yield from _daemon_beside(snapshot, entries, daemons)


def _unfounded(snapshot: Snapshot, caller: str, daemons: list[int]) -> Iterator[Finding]:
    """Yield a warning when the caller of the last tick is gone, so that no more ticks will come."""
    cure = f"{_install(snapshot.folder)}, unless another program calls one each minute"
    if status.daemon_lives(snapshot.folder):
        return
    if caller == paths.HAND:
        what = f"no crontab and no unit calls a tick of {snapshot.folder}: the last one was called by hand"
        yield warning(what, cure)
    elif caller in ("cron", "systemd"):
        kind = "crontab" if caller == "cron" else "unit"
        what = f"{caller} called the last tick, and no {kind} that can be read here calls one of {snapshot.folder}"
        yield warning(f"{what} any more: was it just removed?", cure)
    elif caller == "daemon" and not daemons and not _somebody_lives(snapshot.folder):
        what = f"the last tick was done by a daemon that does not run any more, and nothing else calls a tick of {snapshot.folder}"
        again = "" if status.of_application(snapshot.folder) else "start it again, or "
        yield warning(what, f"{again}{_install(snapshot.folder)}")


def _several(entries: list[Entry]) -> Iterator[Finding]:
    """Yield duplicate entries: useless, but harmless, since a slot is started once."""
    for name in ("cron", "systemd"):
        places = [each.place for each in entries if each.clock == name]
        if len(places) > 1:
            what = (
                f"{name} calls a tick of this home from {len(places)} places: {', '.join(places)}"
            )
            others = [each for each in entries if each.clock == name][1:]
            cure = f"keep one: {', '.join(dict.fromkeys(map(_removal, others)))}"
            yield warning(f"{what}; harmless, but one is enough", cure)
    if len({each.clock for each in entries}) > 1:
        cure = "`taskrunner uninstall cron` or `taskrunner uninstall systemd`"
        yield warning(
            "cron and systemd both call ticks of this home; harmless, but one is enough", cure
        )


def _removal(each: Entry) -> str:
    """Return how to remove an entry."""
    system = "--system" if each.place.startswith("/") and "/user" not in each.place else "--user"
    if each.clock == "systemd":
        return f"`taskrunner uninstall systemd {system}` for {each.place}"
    if not each.ours:
        return f"remove {each.place}, with `crontab -e` if it is yours"
    scope = " --system" if " /" in each.place else ""
    return f"`taskrunner uninstall cron{scope}` for {each.place}"


def _daemon_beside(
    snapshot: Snapshot, entries: list[Entry], daemons: list[int]
) -> Iterator[Finding]:
    """Yield a finding about a daemon without a unit, by hand or in a container, in addition to other entries."""
    if any(os.path.basename(each.place) == systemd_text.DAEMON for each in entries):
        return
    last = snapshot.beat
    ticks = (
        last is not None and last.caller == "daemon" and not status.is_silent(last, snapshot.now)
    )
    if ticks or daemons:
        names = " and ".join(sorted({each.clock for each in entries}))
        what = f"a daemon ticks in this home, and {names} also calls ticks"
        end = f"`kill {daemons[0]}`" if daemons else "stop the daemon"
        yield warning(
            f"{what}; harmless, but one is enough",
            f"{end}, or `taskrunner uninstall {entries[0].clock}`",
        )


def _several_daemons(daemons: list[int]) -> Iterator[Finding]:
    if len(daemons) > 1:
        pids = ", ".join(map(str, daemons))
        what = f"{len(daemons)} daemons tick in this home (processes {pids}); harmless, but one is enough"
        cure = f"`kill {' '.join(map(str, daemons[1:]))}` ends all but one"
        yield warning(what, cure)


def _daemons(folder: str) -> list[int]:
    """Return the daemons of a home; the one of a unit first, then the oldest."""
    names = [name.partition("-")[0] for name in _supervisors(folder)]
    found = {int(pid) for pid in names if pid.isdigit() and _is_daemon(pid)}
    return sorted(found, key=lambda pid: (not _kept_by_unit(pid), alive.started_ticks(pid) or 0))


def _somebody_lives(folder: str) -> bool:
    return bool(_supervisors(folder))


def _supervisors(folder: str) -> list[str]:
    """Return the names of the living supervisors of a home, also in other containers."""
    place = paths.path(folder, paths.SUPERVISORS)
    with suppress(OSError):
        return [name for name in os.listdir(place) if lock.is_held(os.path.join(place, name))]
    return []


def _kept_by_unit(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return systemd_text.DAEMON in file.read()
    return False


def _is_daemon(pid: str) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"daemon" in file.read().split(b"\0")
    return False


def _one(snapshot: Snapshot, each: Entry) -> Iterator[Finding]:
    about = list(_program(each))
    if each.alive is False:
        yield _asleep(each)
    elif each.alive and all(finding.severity is not Severity.ERROR for finding in about):
        yield ok(f"{each.clock} calls it: {each.place}")
    yield from about
    rare = each.when not in (None, cron_text.EVERY_MINUTE)
    if rare and snapshot.settings.tick_period <= MINUTE:
        cure = "write * * * * * there (`crontab -e`), or set tick_period to its interval"
        yield warning(f"{each.place} calls a tick at {each.when} only", cure)
    if "/user" in each.place and each.clock == "systemd" and not install_systemd.lingers():
        what = "lingering is off: your units run only while you are logged in"
        yield warning(what, "`loginctl enable-linger`")


def _asleep(each: Entry) -> Finding:
    if each.clock == "cron":
        name = "crond" if programs.find("crond") and not programs.find("cron") else "cron"
        other = programs.find(name) or name
        return error(
            "the cron daemon is not running", f"`systemctl enable --now {name}`, or `{other}`"
        )
    name = os.path.basename(each.place)
    scope = "systemctl --user" if "/user" in each.place else "systemctl"
    return error(f"{each.place} is not active", f"`{scope} enable --now {name}`")


def _program(each: Entry) -> Iterator[Finding]:
    """Yield the faults of the program that an entry calls."""
    file = each.program
    if not os.path.isabs(file):
        cure = f"`taskrunner install {each.clock}` writes the whole path"
        yield warning(f"{each.place} calls {file} without its path: PATH is short there", cure)
    elif not os.access(file, os.X_OK):
        cure = f"`taskrunner install {each.clock}` makes it call this one; or {_removal(each)}"
        yield error(f"{each.place} calls {file}, which is missing or not executable", cure)
    elif (fleeting := program.fleeting([file])) is not None:
        what = f"{each.place} calls {file}, a copy that {fleeting[1]} made for one call and will remove"
        yield warning(what, f"{program.INSTALL}, then `taskrunner install {each.clock}`")
    elif not _same(file, _own_file()):
        cure = f"`taskrunner install {each.clock}` to call this one: {_own_file()}"
        yield warning(f"{each.place} calls another program, {file}", cure)
    by = program.changeable_by(file) if os.geteuid() == 0 and os.path.isabs(file) else None
    if by is not None:
        who = "everybody" if by == 0 else f"user id {by}"
        cure = f"use one that is root's, or `chown root {shlex.quote(file)}` if all that leads to it is"
        yield warning(f"{file} runs as root and can be changed by {who}", cure)


def _left(snapshot: Snapshot, entries: list[Entry]) -> Iterator[Finding]:
    """Yield the steps to remove taskrunner: entries, home and program."""
    if os.path.isdir(snapshot.folder):
        steps = [*dict.fromkeys(map(_removal, entries)), f"`rm -r {shlex.quote(snapshot.folder)}`"]
        yield ok(f"to remove taskrunner with its tasks and history: {', then '.join(steps)}")


def _same(file: str, own: str) -> bool:
    """Return whether two files start the same program; an environment's interpreter is a link to one of many."""
    if "python" in os.path.basename(file):
        return os.path.dirname(os.path.abspath(file)) == os.path.dirname(os.path.abspath(own))
    return os.path.realpath(file) == os.path.realpath(own)


def _own_file() -> str:
    words = program.own()
    found = program.read([*words, "tick"])
    return words[0] if found is None else found.program
