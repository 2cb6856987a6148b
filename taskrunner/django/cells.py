"""The cells of lists and pages of the admin: instants, states and sources, for people.

It must not know which table they are of.
"""

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import get_current_timezone_name

from taskrunner import TaskRunner
from taskrunner.django import project
from taskrunner.django.fields import aware
from taskrunner.model.values import State
from taskrunner.render.page import Page as Layout

NOTHING = "–"
SIGNS = {
    State.PENDING: "○",
    State.RUNNING: "▸",
    State.SUCCEEDED: "✓",
    State.FAILED: "✗",
    State.TIMED_OUT: "◷",
    State.CANCELLED: "⊘",
    State.LOST: "?",
    State.SKIPPED: "»",
    State.MISSED: "−",
}


class Told(Layout):
    """A page whose sentences name the verbs as `manage.py` has them."""

    def local(self, text: str) -> str:
        """Return a sentence with its instants in the zone of the page."""
        return project.by_manage(super().local(text))


def layout_of(runner: TaskRunner) -> Layout:
    """Return how instants are written: in the time zone of the request."""
    return Told(get_current_timezone_name(), runner.now())


def when(
    layout: Layout, moment: Any, *, far: bool = False, whole: bool = False
) -> SafeString | str:
    """Return an instant for a cell, with its distance from now if `far`, and with all its parts if `whole`."""
    instant = aware(moment)
    if instant is None:
        return NOTHING
    distance = format_html(" <small>{}</small>", layout.distance(instant)) if far else ""
    return format_html(
        '<time datetime="{}" title="{} {}">{}</time>{}',
        instant.isoformat(),
        layout.time(instant),
        layout.tz,
        layout.time(instant) if whole else layout.shortly(instant),
        distance,
    )


def state(given: str | None, instead: str | None = None) -> SafeString | str:
    """Return a state as a sign and a word, or a text `instead` of it that is read with it."""
    if given is None:
        return "never ran"
    word = given.replace("_", " ")
    if instead is not None:
        word = format_html('{} <span class="visually-hidden">{}</span>', instead, word)
    return format_html(
        '<span class="taskrunner-state {}"><span aria-hidden="true">{}</span> {}</span>',
        given,
        SIGNS[State(given)],
        word,
    )


def origin(source: str | None) -> str:
    """Return where a definition comes from, in words."""
    if source is None:
        return "this database"
    kind, _, name = source.partition(":")
    return f"scheduled.py of the project {name}" if kind == project.SOURCE else source
