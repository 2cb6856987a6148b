"""Names for what the lines of a crontab do, as a person would choose them.

Pure: texts in, a name out.
"""

import re
import shlex
from collections.abc import Collection

from taskrunner.options import NAME

# Words of a command line that are not what it is about.
WRAPPERS = {
    *(
        "sh",
        "bash",
        "dash",
        "zsh",
        "env",
        "nice",
        "ionice",
        "chronic",
        "nohup",
        "sudo",
        "exec",
        "time",
    ),
    *(
        "timeout",
        "flock",
        "setsid",
        "perl",
        "php",
        "ruby",
        "node",
        "java",
        "uv",
        "run",
        "poetry",
        "command",
    ),
}
PYTHON = re.compile(r"python[0-9.]*|pypy[0-9.]*")
GUARDS = {
    "cd",
    "test",
    "[",
    "[[",
    "export",
    ".",
    "source",
    "umask",
    "ulimit",
    "set",
    "{",
    "(",
    "sleep",
}
PARTS = re.compile(r"&&|\|\||;|\|")
SUFFIX = re.compile(r"\.(?:sh|py|pl|php|rb|bash)$")
LONGEST_NAME = 60


def name(command: str, taken: Collection[str]) -> str:
    """Return a name for what a command line does that is not taken."""
    base, more = _said(command)
    for candidate in (base, f"{base}-{more}" if more else base):
        if candidate not in taken:
            return candidate
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def _said(command: str) -> tuple[str, str]:
    """Return what a command line is about, as a name, and what tells it from others of the kind."""
    parts = [_words(part) for part in PARTS.split(command)]
    parts = [part for part in parts if part and part[0] not in GUARDS] or [
        part for part in parts if part
    ]
    names = [_slug(word) for word in (parts[0] if parts else [])]
    names = [each for each in names if each]
    first = names[0] if names else "task"
    return first, names[1] if len(names) > 1 else ""


def _words(part: str) -> list[str]:
    """Return the words of a part of a command line, without variables, options and wrappers at its start."""
    try:
        words = shlex.split(part)
    except ValueError:
        words = part.split()
    while words and words[0] not in GUARDS and _wraps(words[0]):
        words = words[1:]
    return [word for word in words if not word.startswith("-")]


def _wraps(word: str) -> bool:
    program = word.rpartition("/")[2]
    return (
        word.startswith("-")
        or "=" in word
        or word.replace(".", "").rstrip("smhd").isdigit()
        or program in WRAPPERS
        or PYTHON.fullmatch(program) is not None
        or word.endswith(".lock")
    )


def _slug(word: str) -> str:
    last = SUFFIX.sub("", word.rstrip("/").rpartition("/")[2])
    found = re.sub(r"[^A-Za-z0-9._@+-]+", "-", last)[:LONGEST_NAME].strip("-.@+")
    return found if NAME.fullmatch(found) and not found.isdigit() else ""
