"""Parameters and bodies of requests, read strictly: an unknown or odd one is refused in a sentence."""

from collections.abc import Mapping
from typing import Any

from flask import request

from taskrunner.errors import InputError, UnknownRun, advice, shown
from taskrunner.model.values import Run
from taskrunner.web import current

MOST = 1000  # rows in one answer; a page of a list
LARGEST = 2**63 - 1


def only(*known: str) -> None:
    """Refuse parameters of the address that are not `known`, and a known one that is given twice."""
    for name, given in request.args.lists():
        if name not in known:
            others = f"use one of {', '.join(known)}" if known else "it takes none"
            raise InputError(
                f"{shown(name)} is not a parameter of {request.path}: {advice(name, known, others)}"
            )
        if len(given) > 1:
            raise InputError(f"{name} is given {len(given)} times: give it once, several as a,b")


def text(name: str) -> str | None:
    """Return a parameter, None when it is left out or empty."""
    return request.args.get(name) or None


def several(name: str) -> list[str] | None:
    """Return the values of a parameter `a,b`, None when it is left out or empty."""
    given = text(name)
    return None if given is None else given.split(",")


def whole(name: str, least: int, most: int) -> int | None:
    """Return a parameter that is a whole number, None when it is left out."""
    given = text(name)
    if given is None:
        return None
    good = given.isascii() and given.isdigit() and len(given) <= len(str(most))
    if not good or not least <= int(given) <= most:
        raise InputError(
            f"{name}={shown(given)} is not a valid number: give a whole number from {least} to {most}"
        )
    return int(given)


def flag(name: str) -> bool | None:
    """Return a parameter that is 1, 0, true or false, None when it is left out."""
    given = text(name)
    if given is None:
        return None
    if given not in ("1", "0", "true", "false"):
        raise InputError(f"{name}={shown(given)} is neither yes nor no: give 1 or 0")
    return given in ("1", "true")


def run(key: str) -> Run:
    """Return the run of an id that stands in an address; raises UnknownRun, also for a text that can be no id."""
    if not (
        key.isascii() and key.isdigit() and len(key) <= len(str(LARGEST)) and int(key) <= LARGEST
    ):
        raise UnknownRun(f"there is no run {shown(key)}")
    found = current.runner().either(f"run:{key}")
    assert isinstance(found, Run)
    return found


def body() -> dict[str, Any]:
    """Return the JSON object that was sent, an empty one when nothing was."""
    if not request.get_data(cache=True):
        return {}
    try:
        found = request.get_json(force=True, silent=True)
    except RecursionError:  # a thousand brackets
        found = None
    if not isinstance(found, dict):
        raise InputError('the body is not a JSON object: send one such as {"reason": "a test"}')
    return found


def fields(*known: str) -> Mapping[str, Any]:
    """Return the JSON object that was sent, which has only `known` keys."""
    found = body()
    for name in found:
        if name not in known:
            others = f"use one of {', '.join(known)}" if known else "the body is empty here"
            raise InputError(f"{shown(name)} is not known here: {advice(name, known, others)}")
    return found
