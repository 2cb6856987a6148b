"""Reasons why the kernel does not execute a file, or the interpreter that its first line names (execve(2)).

Its own answer is misleading: "No such file or directory" of a script that exists. It must not know tasks.
"""

import os
import re
import stat

HEAD = 256  # bytes of a file that the kernel looks at
DEEPEST = 4  # scripts whose interpreters are scripts
MARK = b"\xef\xbb\xbf"
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
OF_THE_SHELL = """
. : alias bg break case cd command continue do done echo elif else esac eval exec exit export false fc fg fi for
getopts hash if in jobs kill local printf pwd read readonly return set shift test then times trap true type ulimit
umask unalias unset until wait while
"""  # sh(1)
BUILTINS = frozenset((*OF_THE_SHELL.split(), "source", "[[", "{", "(", "!"))


def fault(place: str, depth: int = 0) -> str | None:
    """Return why a file cannot be executed, None when no fault is found."""
    try:
        found = os.stat(place)
        if stat.S_ISDIR(found.st_mode):
            return "it is a directory"
        if not stat.S_ISREG(found.st_mode):
            return "it is not a regular file"
        if not found.st_mode & 0o111:
            return "it is not executable: run chmod +x on it"
        if os.statvfs(place).f_flag & os.ST_NOEXEC:
            return "its disk is mounted noexec, which forbids execution: name its interpreter, or move it"
        head = _head(place)
    except OSError:  # a program need not be readable
        return None
    return _script_fault(place, head, depth)


def _script_fault(place: str, head: bytes, depth: int) -> str | None:
    if head.startswith(MARK + b"#!"):
        return "it begins with a byte order mark, so that its #! is not seen: save it without"
    if not head.startswith(b"#!"):
        return _no_script(head)
    line = head[2:].partition(b"\n")[0]
    if line.endswith(b"\r"):
        return f"its first line ends as on Windows (CRLF): run sed -i 's/\\r$//' {place}"
    words = os.fsdecode(line).split()
    if not words:
        return "its first line, #!, names no interpreter"
    if not os.path.exists(words[0]):
        return f"its interpreter {words[0]!r}, of its first line, does not exist"
    why = fault(words[0], depth + 1) if depth < DEEPEST else None
    return None if why is None else f"its interpreter {words[0]!r} cannot be executed: {why}"


def _no_script(head: bytes) -> str | None:
    """Return the fault of a file without #!, None when it is not text: it may be a binary program."""
    if not head:
        return "it is empty"
    if b"\0" in head or head.startswith(b"\x7fELF"):
        return None
    return "its first line is not a #! line with an interpreter: begin it with #!/bin/sh, or use --shell"


def asked_of_env(place: str) -> str | None:
    """Return the program that a script's first line starts with env(1), None when it does not use env."""
    try:
        head = _head(place)
    except OSError:
        return None
    words = os.fsdecode(head[2:].partition(b"\n")[0]).split() if head.startswith(b"#!") else []
    if len(words) < 2 or os.path.basename(words[0]) != "env":
        return None
    rest = [word for word in words[1:] if not word.startswith("-") and not ASSIGNMENT.match(word)]
    return rest[0] if rest else None


def is_script(place: str) -> bool:
    """Return whether the first line of a file names an interpreter."""
    return _head(place).startswith(b"#!")


def _head(place: str) -> bytes:
    with open(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        return file.read(HEAD)


def is_line(argv: tuple[str, ...]) -> bool:
    """Return whether the words, which name no program, look like a shell command."""
    first = argv[0]
    spaced = len(argv) == 1 and len(first.split()) > 1
    return spaced or first in BUILTINS or ASSIGNMENT.match(first) is not None


def chosen(program: str, path: str, folder: str) -> str | None:
    """Return the file that is executed for a program's name, by a PATH and from a folder; None when there is none.

    When none is executable it is the first one with that name, which may be a folder.
    """
    where = [""] if "/" in program else path.split(":")
    files = [os.path.join(folder, each, program) for each in where]
    there = [file for file in files if os.path.exists(file)]
    good = (file for file in there if os.path.isfile(file) and os.access(file, os.X_OK))
    return next(good, there[0] if there else None)
