"""Install the systemd units of the page: a socket, and the program that its first request starts."""

import os
from collections.abc import Sequence
from datetime import datetime

from taskrunner.clocks import entry, install_systemd as systemd, listen, page_text, systemd_text
from taskrunner.clocks.entry import Fitted
from taskrunner.clocks.listen import Place
from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import paths, program

VERBS = ("page",)


def install_page(
    folder: str,
    now: datetime,
    *,
    user: bool,
    places: Sequence[str],
    hosts: Sequence[str],
    operate: bool,
    define: bool,
    dry_run: bool,
) -> Fitted:
    """Let systemd listen for the page of a home, and start it when somebody asks.

    Raises StateError, HomeRefused or InputError.
    """
    found = [listen.place(text) for text in places or (listen.DEFAULT,)]
    _check_reach(folder, found, operate or define)
    entry.check_lasting(program.own())
    units = systemd.unit_folder(user)
    if not dry_run:
        systemd.check_access(user)
    flags = _flags([*hosts, *_names(found)], operate, define)
    texts = page_text.units(program.own(), entry.given(folder), found, flags, user=user)
    _check_foreign(units, folder)
    old, diff = systemd.current(units, texts)
    if dry_run:
        return Fitted(diff, [], systemd.lingering(user))
    entry.make_home(folder)
    changed = {name for name, text in texts.items() if old[name] != text}
    kept = systemd.keep_units(folder, old, changed, now)
    for name in changed:
        entry.write(os.path.join(units, name), texts[name])
    systemd.systemctl(user, "daemon-reload")
    systemd.systemctl(user, "enable", page_text.SOCKET)
    if changed:  # a page at work would go on with its old sockets and flags
        systemd.systemctl(user, "stop", page_text.SERVE)
    systemd.systemctl(user, "restart" if changed else "start", page_text.SOCKET)
    where = ", ".join(each.path or f"http://{each.host}:{each.port}" for each in found)
    told = f"systemd serves the page of {folder} at {where} ({page_text.SOCKET} in {units})"
    warnings = [*systemd.lingering(user), *entry.program_warnings(program.own())]
    return Fitted(diff, [told, *kept], warnings)


def _check_reach(folder: str, places: Sequence[Place], does: bool) -> None:
    """Refuse a page without users that others reach, or at which every user of this host could act as us."""
    for each in places:
        if not each.path and each.address is None:
            raise InputError(
                f"systemd listens on addresses in digits, not on the name {shown(each.host)}: give one such as {listen.DEFAULT}"
            )
        closed = each.path or os.path.exists(paths.path(folder, paths.PAGE_USERS))
        private = each.address is not None and each.address.is_loopback
        if closed or (private and not does):
            continue
        who = "every user of this host" if private else "everybody"
        raise InputError(
            f"{who} who reaches {each.host}:{each.port} could use the page: make a user with `taskrunner page --user NAME` first"
        )


def _names(places: Sequence[Place]) -> list[str]:
    """Return the hosts the page has to answer to, as it is not told where its sockets come from."""
    return [each.host for each in places if each.address and not each.address.is_loopback]


def _flags(hosts: Sequence[str], operate: bool, define: bool) -> list[str]:
    does = ["--define"] if define else ["--operate"] if operate else []
    return [*does, *(word for host in hosts for word in ("--host", host))]


def uninstall_page(folder: str, now: datetime, *, user: bool, dry_run: bool) -> Fitted:
    """Stop and remove the units of the page of a home; raises StateError or HomeRefused."""
    units = systemd.unit_folder(user)
    _check_foreign(units, folder)
    return systemd.take_away(folder, now, units, (page_text.SERVE, page_text.SOCKET), user, dry_run)


def _check_foreign(units: str, folder: str) -> None:
    """Refuse to touch units that serve the page of another home: there is one set of them."""
    place = os.path.join(units, page_text.SERVE)
    call = systemd_text.call(entry.read(place), VERBS)
    other = folder if call is None else entry.home_of(call.home, None)
    if other != folder:
        raise StateError(
            f"{place} serves the page of {shown(other)}, not of {shown(folder)}: one systemd has one such unit; "
            f"`taskrunner --home {other} uninstall page` removes it"
        )
