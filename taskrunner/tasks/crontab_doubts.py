"""Warnings about a crontab line that is valid for cron, but probably a mistake.

Pure: lines in, sentences out.
"""

import re
from collections.abc import Callable, Iterator

from taskrunner.errors import shown
from taskrunner.tasks import crontab, debian_cron
from taskrunner.tasks.crontab import Line

NAMES = "|".join(["l", "lw", *debian_cron.NAMES[0], *debian_cron.NAMES[1]])
NUMBER = rf"(?:\d+|{NAMES}|[*?])"
FIELD = re.compile(rf"{NUMBER}(?:[-,/#]{NUMBER})*[lw]?", re.IGNORECASE)
EXPANDED = re.compile(r"\$[A-Za-z_{(]|`|(?:^|:)~")
OF_A_DATE = re.compile(r"(?:\+\S*|\bprintf\s+|://\S*)$")  # before a % that is meant literally
OPENING = {"(": ")", "{": "}"}


def of_fields(line: Line) -> Iterator[str]:
    """Yield doubts about where the fields end."""
    word = line.command.split()[0]
    if line.when.lower() == "@every":
        yield f"cron has no @every: `taskrunner add NAME --every {word} --shell ...` is like it"
    elif FIELD.fullmatch(word) or word[0] in "*?":
        yield (
            f"its command begins with {shown(word)}: cron has five fields, minutes first, without seconds or a year, "
            f"so {shown(line.when)} is the schedule, and {shown(line.command)} the command"
        )
    elif word[0] in "-@":
        yield f"its command begins with {shown(word)}: cron does not know this word after the fields"


def doubts(line: Line, is_user: Callable[[str], bool]) -> list[str]:
    """Return the doubts about a line, a sentence each; `is_user` recognises names of users."""
    found = [*of_fields(line), *_of_user(line, is_user), *_of_percent(line), *_of_settings(line)]
    if debian_cron.refuses(line.when):
        found.append(f"Debian's crontab refuses {shown(line.when)}")
    return found


def _of_user(line: Line, is_user: Callable[[str], bool]) -> Iterator[str]:
    words = line.command.split()
    if line.user is None and len(words) > 1 and words[1][0] != "-" and is_user(words[0]):
        yield f"its command begins with {shown(words[0])}, a user: is this a system crontab? then give --system"


def _of_percent(line: Line) -> Iterator[str]:
    if line.stdin is None:
        return
    inside = _is_open(line.command)
    if inside or OF_A_DATE.search(line.command):
        where = ", inside quotes or brackets" if inside else ""
        yield (
            f"cron ends a command at the first bare %{where}: this one is {shown(line.command)}, and the rest its "
            "input; for a sign write \\%"
        )


def _is_open(text: str) -> bool:
    """Return whether a text for the shell ends inside quotes, or in $( ), $(( )), ${ } or ` `."""
    awaited: list[str] = []
    signs = iter(enumerate(text))
    for place, sign in signs:
        inner = awaited[-1] if awaited else ""
        if sign == inner:
            awaited.pop()
        elif inner == "'":
            continue
        elif sign == "\\":
            next(signs, None)
        elif sign in "({" and (awaited[-1:] in ([")"], ["}"]) or text[place - 1 : place] == "$"):
            awaited.append(OPENING[sign])
        elif sign in "'\"`" and not (inner == '"' and sign == "'"):
            awaited.append(sign)
    return bool(awaited)


def _of_settings(line: Line) -> Iterator[str]:
    for name, value in line.settings.items():
        if name in crontab.OF_CRON:
            continue
        if EXPANDED.search(value):
            yield f"{name} is {shown(value)} literally: cron expands neither $ nor ~ in a setting"
        elif re.search(r"\s#", value):
            yield f"{name} is {shown(value)} literally: cron does not support a comment after a setting"
