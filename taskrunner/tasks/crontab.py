"""Read the text of a crontab into lines, as cron does (crontab(5)).

Pure: texts in, values out. It must not know where crontabs are kept, nor tasks.
"""

import re
from collections.abc import Mapping, Sequence

from taskrunner.errors import ScheduleError
from taskrunner.home.config import variable
from taskrunner.model.record import field, record
from taskrunner.schedule.kinds import Boot, Cron, Schedule
from taskrunner.tasks.readers import LONGEST_DESCRIPTION

SETTING = re.compile(
    r"""[ \t]*(?:"([^"]*)"|'([^']*)'|([^\s="']+))[ \t]*=[ \t]*(?:"([^"]*)"|'([^']*)'|([^"'].*?)?)[ \t]*"""
)
ENTRY = re.compile(r"[ \t]*(@[A-Za-z]+|[^ \t@]\S*(?:[ \t]+\S+){4})[ \t]+(.*)")
ALONE = re.compile(r"[ \t]*(@[A-Za-z]+|[^ \t@]\S*(?:[ \t]+\S+){4})[ \t]*")
MARK = "\ufeff"  # written by some editors before a text
USER = re.compile(r"(\S+)[ \t]+(.*)")
ESCAPED = re.compile(r"\\(.)|%")
HEADING = re.compile(r"#\s*m\s+h\s+dom\s", re.IGNORECASE)  # the heading of a new crontab
MOVED = "# moved to taskrunner as {}: "
MOVED_LINE = re.compile(r"^# moved to taskrunner as ([^\s:]+): (.*)$", re.MULTILINE)
OURS = re.compile(r"# moved to taskrunner as |# (?:>>>|<<<) taskrunner |#   cron cannot express: ")
SHELLS = ("/bin/sh", "/usr/bin/sh")
# Settings for cron itself, which commands do not need.
OF_CRON = {
    "MAILTO",
    "MAILFROM",
    "CRON_TZ",
    "RANDOM_DELAY",
    "CONTENT_TYPE",
    "CONTENT_TRANSFER_ENCODING",
}
FIXED = {"LOGNAME", "USER"}  # cron does not let them be changed
NO_COMMAND = "it has no command"
NOT_UTF8 = "it is not UTF-8"
EMPTY = 'an empty value needs quotes: NAME=""'
BOTH = "Debian's cron makes \\\\ in a command one backslash, cronie keeps both; the task has {}"


@record
class Line:
    """One entry: the command, and the settings above it; `stdin` is the text after a %."""

    number: int  # from 1
    text: str
    when: str
    command: str
    rest: str = ""  # the command as it is typed, with its input
    stdin: str | None = None
    user: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None


@record
class Left:
    """A line that cannot be used as an entry, and the reason."""

    number: int
    text: str
    why: str


# ---- text to lines


def read(text: str, *, system: bool = False, halves: bool = True) -> tuple[list[Line], list[Left]]:
    """Return the entries of a crontab, `system` with a user in each, and the unusable lines.

    Bytes that are not UTF-8 are in `text` as surrogates. See `unescaped` about `halves`.
    """
    lines: list[Line] = []
    left: list[Left] = []
    settings: dict[str, str] = {}
    above: list[str] = []
    for number, whole in enumerate(text.removeprefix(MARK).split("\n"), start=1):
        typed = whole.removesuffix("\r")
        bare = typed.strip(" \t")
        if bare.startswith("#") or not bare:
            above = _comment(above, bare)
            continue
        found = _setting(typed)
        if found is not None:
            name, value = found
            settings |= {name: value}
            why = "it is not a variable assignment" if _is_utf8(typed) else NOT_UTF8
            left += [] if variable(name, value) else [Left(number, legible(typed), why)]
        else:
            entry = _entry(number, typed, settings, above, system=system, halves=halves)
            (lines if isinstance(entry, Line) else left).append(entry)  # type: ignore[arg-type]
        above = []
    return lines, left


def _comment(above: list[str], line: str) -> list[str]:
    """Return the comments directly above the next line."""
    if not line or HEADING.match(line) or OURS.match(line):
        return above if line.startswith("#   ") else []
    bare = line.lstrip("#").strip()
    # A commented-out entry does not describe the next entry.
    return [] if _is_when(" ".join(bare.split()[:5])) else [*above, bare]


def _is_when(text: str) -> bool:
    try:
        Cron(text)
    except ScheduleError:
        return False
    return True


def _setting(line: str) -> tuple[str, str] | None:
    """Return name and value of a setting; an empty value needs quotes."""
    found = SETTING.fullmatch(line)
    if found is None:
        return None
    name = next(each for each in found.groups()[:3] if each is not None)
    value = next((each for each in found.groups()[3:] if each is not None), None)
    return None if value is None else (name, value)


def _entry(
    number: int,
    typed: str,
    settings: Mapping[str, str],
    above: Sequence[str],
    *,
    system: bool,
    halves: bool,
) -> Line | Left:
    if not _is_utf8(typed):
        return Left(number, legible(typed), NOT_UTF8)
    found = ENTRY.fullmatch(typed)
    if found is None:
        return Left(number, typed, _why_none(typed))
    when, user, rest = " ".join(found[1].split()), None, found[2]
    if system:
        fields = USER.fullmatch(rest)
        if fields is None:
            return Left(
                number,
                typed,
                "it lacks the user and the command that a line of a system crontab has",
            )
        user, rest = fields[1], fields[2]
    command, stdin = unescaped(rest, halves=halves)
    if not command.strip():
        return Left(number, typed, NO_COMMAND)
    description = "\n".join(above).strip()[:LONGEST_DESCRIPTION] or None
    if description is not None and not _is_utf8(description):
        description = None
    return Line(number, typed, when, command, rest, stdin, user, dict(settings), description)


def _why_none(typed: str) -> str:
    """Return why a line is not an entry."""
    alone = ALONE.fullmatch(typed)
    if alone is not None and (
        alone[1].lower() == "@reboot" or _is_when(" ".join(alone[1].split()))
    ):
        return NO_COMMAND
    return EMPTY if typed.strip().endswith("=") else "it is not a valid crontab line"


def _is_utf8(text: str) -> bool:
    return re.search("[\ud800-\udfff]", text) is None


def legible(text: str) -> str:
    """Return a text whose bytes that are not UTF-8 are shown as escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def unescaped(text: str, *, halves: bool = True) -> tuple[str, str | None]:
    r"""Return a command and its standard input: the text after the first % that has no \ before it.

    Debian's cron `halves` double backslashes in the command; cronie leaves them as they are. In the input both do.
    """
    end = next((each.start() for each in ESCAPED.finditer(text) if each[0] == "%"), None)
    signs = ("%", "\\") if halves else ("%",)
    command = ESCAPED.sub(lambda each: each[1] if each[1] in signs else each[0], text[:end])
    if end is None:
        return command, None
    given = re.sub(r"(\\?)%", lambda each: "%" if each[1] else "\n", text[end + 1 :])
    last = given.rstrip("\\")[-1:]  # cron looks at the last character that is not a backslash
    return command, given if last in ("", "\n") else f"{given}\n"


def schedule(line: Line) -> Schedule:
    """Return the schedule of an entry; raises ScheduleError or ZoneError."""
    if line.when.lower() == "@reboot":
        return Boot()
    return Cron(line.when, line.settings.get("CRON_TZ") or None)


def work(line: Line) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the argv of an entry when it has its own shell, else its text for /bin/sh."""
    own = line.settings.get("SHELL", SHELLS[0])
    return (None, line.command) if own in SHELLS else ((own, "-c", line.command), None)


def environment(line: Line) -> dict[str, str]:
    """Return the variables of an entry."""
    unfit = OF_CRON | FIXED
    return {
        name: value
        for name, value in line.settings.items()
        if name not in unfit and variable(name, value)
    }


def notes(line: Line) -> list[str]:
    """Return the differences between cron and a task for an entry."""
    found = []
    one, both = (unescaped(line.rest, halves=halves)[0] for halves in (True, False))
    if one != both:
        found.append(BOTH.format("one" if line.command == one else "both"))
    if line.settings.get("MAILTO"):
        found.append(f"its output is kept, and not mailed to {line.settings['MAILTO']}")
    if line.settings.get("CRON_TZ"):
        found.append("cronie obeys CRON_TZ, Debian's cron does not: the task does")
    if line.settings.get("RANDOM_DELAY"):
        delay = line.settings["RANDOM_DELAY"]
        found.append(
            f"RANDOM_DELAY={delay} is left out: `taskrunner set --jitter {delay}m` is like it"
        )
    return found


def moved(text: str) -> list[tuple[str, str]]:
    """Return the lines that were commented out on import, with the names of their tasks."""
    return MOVED_LINE.findall(text.replace("\r\n", "\n"))


def commented_out(text: str, moved: Mapping[int, str]) -> str:
    """Return a crontab with some lines, by number and the task they became, turned into comments."""
    lines = text.split("\n")
    for number, name in moved.items():
        lines[number - 1] = MOVED.format(name) + lines[number - 1].strip(" \t")
    return "\n".join(lines)
