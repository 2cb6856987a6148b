"""Install our units of systemd: the tick's service and timer, or the daemon's service; and find such units."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from taskrunner.clocks import entry, systemd_text
from taskrunner.clocks.entry import Entry, Fitted
from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import paths, program
from taskrunner.processes import programs

SYSTEM_UNITS = "/etc/systemd/system"
UNIT_FOLDERS = (SYSTEM_UNITS, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
LINGER = "/var/lib/systemd/linger"
# Answers of `systemctl is-active`, and whether they mean alive; any other text is not an answer.
UNIT_STATES = {
    **dict.fromkeys(("active", "activating", "reloading"), True),
    **dict.fromkeys(("inactive", "failed", "deactivating"), False),
}
# Answers of `systemctl is-system-running` when systemd works (systemctl(1)).
AT_WORK = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")


def install_systemd(
    folder: str, now: datetime, *, user: bool, daemon: bool, dry_run: bool
) -> Fitted:
    """Let systemd call a tick of a home every minute, or run the daemon.

    Raises StateError, HomeRefused or InputError.
    """
    entry.check_lasting(program.own())
    place = unit_folder(user)
    if not dry_run:
        check_access(user)
    texts = systemd_text.units(program.own(), entry.given(folder), user=user, daemon=daemon)
    _check_foreign(place, folder, user)
    others = {systemd_text.TIMER, systemd_text.TICK, systemd_text.DAEMON} - set(texts)
    wanted = {name: texts.get(name, "") for name in sorted({*texts, *others})}
    old, diff = current(place, wanted)
    changed = {name for name, text in wanted.items() if old[name] != text}
    main = systemd_text.DAEMON if daemon else systemd_text.TIMER
    if dry_run:
        return Fitted(diff, [], lingering(user))
    entry.make_home(folder)
    kept = keep_units(folder, old, changed, now)
    disable(place, user, [name for name in others if old[name]])
    for name in changed:
        entry.write(os.path.join(place, name), wanted[name])
    systemctl(user, "daemon-reload")
    systemctl(user, "enable", "--now", main)
    if systemd_text.TIMER in changed and not daemon and old[systemd_text.TIMER]:
        systemctl(user, "restart", main)
    sentences = [f"systemd calls a tick of {folder} every minute ({main} in {place})"]
    if daemon:
        sentences = [f"systemd keeps the daemon of {folder} running ({main} in {place})"]
    if daemon and systemd_text.DAEMON in changed and old[systemd_text.DAEMON]:
        sentences.append(f"{main} has changed: `{_verb(user)} restart {main}` when no task runs")
    warnings = [*lingering(user), *_unit_warnings(texts)]
    return Fitted(diff, sentences + kept, warnings)


def uninstall_systemd(folder: str, now: datetime, *, user: bool, dry_run: bool) -> Fitted:
    """Stop and remove the units of a home; raises StateError or HomeRefused."""
    place = unit_folder(user)
    _check_foreign(place, folder, user)
    names = (systemd_text.DAEMON, systemd_text.TICK, systemd_text.TIMER)
    return take_away(folder, now, place, names, user, dry_run)


def take_away(
    folder: str, now: datetime, place: str, names: Sequence[str], user: bool, dry_run: bool
) -> Fitted:
    """Stop and remove those of some units that are there, with their texts kept in the home's backups."""
    wanted = dict.fromkeys(names, "")
    old, diff = current(place, wanted)
    there = [name for name in wanted if old[name]]
    if not there:
        return Fitted("", [f"{place} has no units of this home"])
    if dry_run:
        return Fitted(diff)
    check_access(user)
    kept = keep_units(folder, old, {*there}, now)
    disable(place, user, there)
    for name in there:
        entry.write(os.path.join(place, name), "")
    systemctl(user, "daemon-reload")
    # A failed unit would be listed for ever; an error here means that none failed.
    programs.tool("systemctl", *_scope(user), "reset-failed", *there)
    dropped = [f"{name}.d" for name in wanted if os.path.isdir(os.path.join(place, f"{name}.d"))]
    warnings = [
        f"{os.path.join(place, name)} is your own and was left unchanged" for name in dropped
    ]
    return Fitted(diff, [f"{', '.join(there)} removed from {place}", *kept], warnings)


def unit_folder(user: bool) -> str:
    """Return the folder of units."""
    return paths.user_units() if user else SYSTEM_UNITS


def check_access(user: bool) -> None:
    """Raise StateError, with advice, unless units can be written and systemd answers."""
    if not user and os.geteuid() != 0:
        raise StateError(f"only root can write {SYSTEM_UNITS}: use --user, or sudo")
    check_systemd(user)


def check_systemd(user: bool) -> None:
    """Raise StateError, with advice, unless systemd answers."""
    said = programs.tool("systemctl", *_scope(user), "is-system-running")
    if said is None:
        raise StateError(
            "systemd is not installed: systemctl is missing; use `taskrunner install cron`, or `taskrunner daemon`"
        )
    if said.out.strip() in AT_WORK:
        return
    if user:
        raise StateError(
            "your user systemd does not answer: log in as this user (not with su), or have root run "
            f"`loginctl enable-linger {entry.account()[0]}`; `taskrunner install cron` needs neither"
        )
    raise StateError(
        "systemd does not answer, as in most containers: use `taskrunner install cron`, or `taskrunner daemon`"
    )


def _scope(user: bool) -> tuple[str, ...]:
    return ("--user",) if user else ()


def _verb(user: bool) -> str:
    return " ".join(("systemctl", *_scope(user)))


def systemctl(user: bool, *words: str) -> None:
    """Have systemd do something; raises StateError with its words when it does not."""
    said = programs.tool("systemctl", *_scope(user), *words)
    if said is None or said.code != 0:
        why = "it is gone" if said is None else shown(said.err)
        raise StateError(f"`{_verb(user)} {' '.join(words)}` failed: {why}")


def disable(place: str, user: bool, names: Sequence[str]) -> None:
    """Stop and disable units; the tick's own unit is not enabled, and a running tick may end."""
    found = [name for name in names if name != systemd_text.TICK]
    if found:
        systemctl(user, "disable", "--now", *found)
    for name in found:  # links that systemctl leaves if the unit was a link, or is gone
        for link in _wanted_links(place, name):
            with contextlib.suppress(OSError):
                os.unlink(link)


def _wanted_links(place: str, name: str) -> list[str]:
    targets = ("timers.target", "sockets.target", "multi-user.target", "default.target")
    links = [os.path.join(place, f"{target}.wants", name) for target in targets]
    return [link for link in links if os.path.islink(link)]


def _check_foreign(place: str, folder: str, user: bool) -> None:
    """Refuse to change units of these names that belong to another home: systemd has only one set of them."""
    for other in _units_in(place, user):
        ours = os.path.basename(other.place) in (systemd_text.TIMER, systemd_text.DAEMON)
        if ours and other.home != folder:
            raise StateError(
                f"{other.place} calls taskrunner for {shown(other.home)}, not for {shown(folder)}: one systemd "
                f"has one such unit; `taskrunner --home {other.home} uninstall systemd` removes it"
            )


def current(place: str, wanted: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the current units, and a diff to the wanted ones."""
    places = {name: os.path.join(place, name) for name in wanted}
    old = {name: entry.read(path) for name, path in places.items()}
    return old, "".join(entry.diff(places[name], old[name], wanted[name]) for name in wanted)


def keep_units(folder: str, old: dict[str, str], changed: set[str], now: datetime) -> list[str]:
    """Keep the texts of units that are to change in the home's backups, and say where."""
    kept = [entry.keep(folder, name, old[name], now) for name in sorted(changed)]
    return [sentence for each in kept for sentence in each]


def lingers() -> bool:
    """Return whether the user's systemd runs while the user is not logged in (loginctl(1))."""
    return os.path.exists(os.path.join(LINGER, entry.account()[0]))


def lingering(user: bool) -> list[str]:
    """Return a warning when lingering is off."""
    if not user or lingers():
        return []
    name = entry.account()[0]
    return [
        f"lingering is off for {name}, so the units run only while you are logged in: `loginctl enable-linger {name}`"
    ]


def _unit_warnings(texts: dict[str, str]) -> list[str]:
    calls = [systemd_text.call(text) for text in texts.values()]
    return [each for call in calls if call for each in entry.program_warnings([call.program])]


def entries() -> Iterator[Entry]:
    """Yield the readable timers and daemons that call taskrunner."""
    for folder in UNIT_FOLDERS:
        yield from _units_in(folder, user=False)
    yield from _units_in(paths.user_units(), user=True)


def _units_in(folder: str, user: bool) -> Iterator[Entry]:
    """Yield the timers and daemons in a folder of units that call taskrunner."""
    names = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))
    for name in names:
        if not name.startswith("taskrunner") or not name.endswith(".service"):
            continue
        with contextlib.suppress(StateError, InputError):
            text = entry.read(os.path.join(folder, name))
            call = systemd_text.call(text)
            timer = name.removesuffix(".service") + ".timer"
            main = timer if call and call.verb == "tick" else name
            if call is not None and (main == name or main in names):
                who = None if user else systemd_text.user_of(text) or "root"
                place = os.path.join(folder, main)
                alive = _active(main, user)
                yield Entry(
                    "systemd", place, entry.home_of(call.home, who), call.program, None, alive
                )


def _active(name: str, user: bool) -> bool | None:
    """Return whether a unit is active, None when systemd does not answer."""
    said = programs.tool("systemctl", *_scope(user), "is-active", name)
    state = "" if said is None else said.out.strip()
    return UNIT_STATES.get(state)
