"""The text of a crontab: write and remove our block, and find lines that call taskrunner.

Each home has a block of its own between two markers; lines outside of blocks are left as they are.
Pure: texts in, texts out. It must not know where crontabs are kept.
"""

import re
import shlex
from collections.abc import Sequence

from taskrunner.home import program
from taskrunner.home.program import Call
from taskrunner.model.record import like, record

EVERY_MINUTE = "* * * * *"
# The program of a package of the system; /bin is the same folder as /usr/bin.
PACKAGED = ("/usr/bin/taskrunner", "/bin/taskrunner", "/usr/lib/taskrunner/bin/taskrunner")
FIRST = (
    "# >>> taskrunner {} >>> written by `taskrunner install cron`, which writes all of this anew"
)
LAST = "# <<< taskrunner {} <<<"
MARK = re.compile(r"# (>>>|<<<) taskrunner (.+?) (?:>>>|<<<)")
ASSIGNMENT = re.compile(r"\s*[\"']?([A-Za-z_][A-Za-z0-9_]*)[\"']?\s*=\s*(.*?)\s*")
ENTRY = re.compile(r"\s*(@[a-z]+|\S+(?:\s+\S+){4})\s+(.*)")
PERCENT = re.compile(r"(\\?)%")


@record
class Line:
    """A line of a crontab that calls taskrunner; `user` only where there is such a field."""

    number: int  # from 1
    when: str
    user: str | None
    call: Call
    ours: bool  # it is in a block


def entry(words: Sequence[str], user: str | None = None) -> str:
    """Return the line that calls a command every minute; with a user for files in /etc/cron.d."""
    who = "" if user is None else f"{user}  "
    # The package can be removed by somebody who does not know of the line, which would then fail every minute.
    guard = f"[ -x {words[0]} ] && " if words[0] in PACKAGED else ""
    # For cron an unescaped % is a line break (crontab(5)), also inside quotes.
    return f"{EVERY_MINUTE}  {who}{guard}{shlex.join(words)}".replace("%", "\\%")


def with_block(text: str, home: str, line: str) -> str:
    """Return a crontab with this line as the only block of a home, in the place of its first old block."""
    lines, ours = _split(text, home)
    place = min(ours, default=len(lines))
    name = shlex.quote(home)
    kept = [each for number, each in enumerate(lines) if number not in ours]
    kept[place:place] = [FIRST.format(name), line, LAST.format(name)]
    return _joined(kept)


def without_block(text: str, home: str) -> str:
    """Return a crontab without the blocks of a home."""
    lines, ours = _split(text, home)
    return _joined([each for number, each in enumerate(lines) if number not in ours])


def block(text: str, home: str) -> list[str]:
    """Return the lines in the blocks of a home, markers and all."""
    lines, ours = _split(text, home)
    return [each for number, each in enumerate(lines) if number in ours]


def _joined(lines: Sequence[str]) -> str:
    # crontab(1) refuses a text without a line break at the end.
    return "".join(f"{line}\n" for line in lines)


def _split(text: str, home: str) -> tuple[list[str], set[int]]:
    """Return the lines of a crontab, and which of them are in blocks of a home."""
    lines = text.removesuffix("\n").split("\n") if text else []
    name, ours, start = shlex.quote(home), set[int](), None
    for number, line in enumerate(lines):
        sign, whose = _mark(line)
        if sign is not None and start is not None and (sign, whose) != ("<<<", name):
            ours |= _torn(lines, start)
            start = None
        if whose == name and sign == ">>>":
            start = number
        elif whose == name:
            ours |= set(range(number if start is None else start, number + 1))
            start = None
    return lines, ours if start is None else ours | _torn(lines, start)


def _mark(line: str) -> tuple[str, str] | tuple[None, None]:
    found = MARK.match(line)
    return (found[1], found[2]) if found else (None, None)


def _torn(lines: Sequence[str], start: int) -> set[int]:
    """Return the lines of a block without its end marker: the first marker, and the line if it is still there."""
    after = lines[start + 1 : start + 2]
    called = bool(after) and _line(after[0], users=False) is not None
    return {start, start + 1} if called else {start}


def lines_that_call(text: str, *, users: bool = False) -> list[Line]:
    """Return the lines that call taskrunner; `users` when they have a sixth field, as in /etc/cron.d."""
    found, inside, home = [], False, None
    for number, text_line in enumerate(text.split("\n"), start=1):
        sign, _ = _mark(text_line)
        inside = sign == ">>>" if sign else inside
        assigned = ASSIGNMENT.fullmatch(text_line)
        if assigned and assigned[1] == "TASKRUNNER_HOME":
            home = assigned[2].strip("\"'")
        line = None if assigned else _line(text_line, users=users)
        if line is not None:
            call = like(line.call, home=line.call.home or home)
            found.append(like(line, number=number, ours=inside, call=call))
    return found


def _line(text: str, *, users: bool) -> Line | None:
    fields = ENTRY.fullmatch(text)
    if fields is None or text.lstrip().startswith("#"):
        return None
    when, command, user = " ".join(fields[1].split()), fields[2], None
    if users:
        user, command = (*command.split(None, 1), "", "")[:2]
        user = user.removeprefix("-")  # cronie: do not log
    call = program.read(_words(command))
    return None if call is None else Line(0, when, user, call, ours=False)


def _words(command: str) -> list[str]:
    """Return the words that the shell sees: the text after an unescaped % is standard input."""
    end = next((each.start() for each in PERCENT.finditer(command) if not each[1]), len(command))
    text = command[:end].replace("\\%", "%")
    try:
        return shlex.split(text)
    except ValueError:  # a quote is not closed
        return text.split()
