"""The rules of a task for notifications: for each event its channels, mail addresses or a command.

They are checked and read here. It must not know the store, nor send anything.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from taskrunner.errors import InputError, shown
from taskrunner.home.channels import EVENTS, NAME, Channel, mistakes

# An address as people type it. No = and no sign that means something to a shell: with such a sign it is a command.
ADDRESS = r"[^\s,;<>|&$`'\"()/@=]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
PART = rf" ?(?:@{NAME}|(?:mailto:)?{ADDRESS}|(?:\"[^\"<>@]*\"|[^\"<>@,;|&$`]*?) ?<{ADDRESS}>) ?"


def checked(value: Any) -> str:
    """Return the target of a rule, checked: channels as `@NAME` and mail addresses, else a command for the shell."""
    if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > 10_000:
        raise InputError("it must be @CHANNEL, a mail address, or a command for the shell")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise InputError("it is not UTF-8") from exc
    if any(recipients(value)):
        return value
    if value.startswith("@"):
        raise InputError("it must be channels such as @ops or @ops,@pager, or a command")
    if re.match(rf"\s*(?:mailto:)?{ADDRESS}(?:[\s,;]|$)", value):
        raise InputError("it must be mail addresses with commas between them, or a command")
    return value


def rules(value: Any) -> dict[str, str]:
    """Return rules by event, given as a table or as texts such as `@ops` or `failure,late=@ops`.

    A rule without an event is for the usual ones, kept under the name `usual`.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        value = _together(pair for text in value for pair in _rule(text))
    if not isinstance(value, Mapping):
        raise InputError("it must be rules such as @ops or failure,late=@ops")
    for event in value:
        if event not in EVENTS and event != "usual":
            raise InputError(f"{shown(event)} is not an event: use one of {', '.join(EVENTS)}")
    return {event: checked(target) for event, target in value.items()}


def _together(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return rules by event: several rules for one event are joined when they name channels; commands cannot be joined."""
    found: dict[str, str] = {}
    for event, target in pairs:
        before = found.get(event, target)
        old, new = recipients(before), recipients(target)
        if target != before and not (any(old) and any(new)):
            raise InputError(
                f"it names two recipients for {event}, {shown(before)} and {shown(target)}: give channels "
                "such as @ops,@pager, or one command"
            )
        all_of_them = [f"@{name}" for name in (*old[0], *new[0])] + [*old[1], *new[1]]
        found[event] = target if target == before else ",".join(dict.fromkeys(all_of_them))
    return found


def _rule(text: Any) -> list[tuple[str, str]]:
    """Return one rule as pairs of an event and its target."""
    if isinstance(text, str) and (text.startswith("@") or any(recipients(text))):
        return [("usual", text)]
    events, sign, target = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not sign:
        raise InputError(
            f"{shown(text)} is not a valid rule: write @CHANNEL, EVENT=@CHANNEL, EVENT=ADDRESS or EVENT=COMMAND"
        )
    return [(event.strip(), target) for event in events.split(",")]


@lru_cache(maxsize=256)
def recipients(target: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the channels and the mail addresses of a target; none of both for a command."""
    text = " ".join(
        target.split()
    )  # so that it matches in one way only, however many spaces there are
    if "@" not in text or not re.fullmatch(f"{PART}(?:[,;]{PART})*", text):
        return (), ()
    parts = [each.strip() for each in re.findall(PART, text)]
    found = dict.fromkeys(each.removeprefix("mailto:") for each in parts)
    names = tuple(each[1:] for each in found if each.startswith("@"))
    return names, tuple(each for each in found if not each.startswith("@"))


def addressed(target: str) -> tuple[str, ...]:
    """Return the mail addresses of a target, none for a command."""
    return recipients(target)[1]


def unknown_channels(
    on_failure: str | None, notify: Mapping[str, str], known: Mapping[str, Channel]
) -> list[str]:
    """Return a sentence for each channel that rules name and that the configuration lacks or cannot use."""
    names = dict.fromkeys(
        name for target in targets(on_failure, notify) for name in recipients(target)[0]
    )
    wrong = mistakes(known)
    return [
        f"there is no channel {shown(name)} in taskrunner.toml: no message is sent until it is added"
        if name not in wrong
        else f"no message is sent until this is fixed: {wrong[name]}"
        for name in names
        if name not in known
    ]


def targets(on_failure: str | None, notify: Mapping[str, str]) -> list[str]:
    """Return the targets of all rules of a task, each as it was written."""
    return [*([on_failure] if on_failure else []), *notify.values()]
