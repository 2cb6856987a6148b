"""Agenda of coming slots, day by day, with collisions marked, for people; and the same as JSON."""

from collections.abc import Sequence
from itertools import groupby

from taskrunner.model.answers import Entry, Upcoming
from taskrunner.render.documents import document, instant, upcoming_document
from taskrunner.render.page import Column, Page
from taskrunner.schedule import durations

MARK = "!"
SERIOUS = {"itself", "group", "capacity"}  # collisions that delay or drop a run


def agenda_page(page: Page, entries: Sequence[Entry]) -> str:
    """Return an agenda as one table for all days, with each day's name above it."""
    times = [_time(page, each) for each in entries]
    table = page.columns(
        [
            Column("time", times),
            Column("task", [each.task for each in entries], least=12),
            Column("usually", [_usual(each) for each in entries], rank=1),
            Column("", [_mark(page, each) for each in entries]),
            Column("", [_told(each) for each in entries]),
        ],
    )
    head, *lines = table.split("\n")
    return "\n".join([head, *_by_day(page, entries, lines, len(times))])


def _by_day(page: Page, entries: Sequence[Entry], lines: Sequence[str], count: int) -> list[str]:
    """Return lines grouped by day; a continued line has blanks in the place of the time."""
    starts = [at for at, line in enumerate(lines) if line[:1] != " "]
    assert len(starts) == count
    ends = [*starts[1:], len(lines)]
    found: list[str] = []
    days = groupby(range(count), lambda at: page.day(entries[at].slot))
    for day, places in days:
        found.append(day)
        for at in places:
            found += lines[starts[at] : ends[at]]
    return found


def _time(page: Page, entry: Entry) -> str:
    first = page.clock(entry.slot)
    return first if entry.count == 1 else f"{first}-{page.clock(entry.last)}"


def _usual(entry: Entry) -> str:
    return "-" if entry.usual is None else durations.human(entry.usual)


def _mark(page: Page, entry: Entry) -> str:
    if not entry.collisions:
        return ""
    serious = any(each.kind in SERIOUS for each in entry.collisions)
    return page.painted(MARK, "31" if serious else "33")


def _told(entry: Entry) -> str:
    many = [f"{'at least ' * entry.at_least}{entry.count} slots"] if entry.count > 1 else []
    note = [] if entry.note is None else [entry.note]
    return "; ".join([*many, *(each.what for each in entry.collisions), *note])


def agenda_sentence(entries: Sequence[Entry]) -> str:
    """Return a summary of an agenda as a sentence."""
    slots = sum(each.count for each in entries)
    marked = sum(bool(each.collisions) for each in entries)
    what = f"{slots} slots" if slots != 1 else "1 slot"
    if not marked:
        return f"{what}, and none of them delays another"
    return f"{what}; {marked} marked with {MARK}, as they may delay each other"


def agenda_document(items: Sequence[Upcoming], entries: Sequence[Entry]) -> str:
    """Return coming slots and collisions as a document."""
    found = [
        {
            "task": entry.task,
            "slot": instant(entry.slot),
            "kind": each.kind,
            "what": each.what,
            "tasks": list(each.tasks),
        }
        for entry in entries
        for each in entry.collisions
    ]
    return document(next=[upcoming_document(item) for item in items], collisions=found)
