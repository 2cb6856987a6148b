"""Name the tasks from the lines of a crontab, as a person would.

Pure: texts in, a name out.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence

from taskrunner.tasks.readers import NAME

# Programs that only start another, each with its option letters that take a value.
WRAPPERS = {
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "ash", "busybox", "exec", "time"), ""),
    **dict.fromkeys(("chronic", "nohup", "setsid", "command", "builtin", "eval", "xvfb-run"), ""),
    **dict.fromkeys(("perl", "php", "ruby", "node", "java", "uv", "run", "poetry"), ""),
    "env": "uC",
    "nice": "n",
    "ionice": "cnp",
    "sudo": "ugphCT",
    "doas": "uC",
    "su": "s",
    "runuser": "ugs",
    "timeout": "ks",
    "flock": "wE",
}
ACCOUNTS = ("su", "runuser")  # their first plain word is a user
PYTHON = re.compile(r"python[0-9.]*|pypy[0-9.]*")
INTERPRETERS = re.compile(rf"{PYTHON.pattern}|perl|php|ruby|node")
# Words of shell syntax before a command, and commands that only prepare or guard another.
SYNTAX = {"if", "then", "else", "elif", "while", "until", "do", "!", "{", "}", "fi", "done", "esac"}
GUARDS = {
    *("cd", "test", "[", "[[", "export", ".", "source", "umask", "ulimit", "set", "sleep", "true"),
    *("for", "case", "select", "in", "local", "readonly", "unset", "trap", "pushd", "popd", ":"),
}
ASSIGNED = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
TEXT_FOLLOWS = re.compile(r"-[a-z]*c")
SUFFIX = re.compile(r"\.(?:sh|py|pl|php|rb|bash)$")
LONGEST_NAME = 60
DEEPEST = 5  # texts within texts
LONGEST_READ = 2000  # characters; cron takes half as many


def name(command: str, taken: Collection[str]) -> str:
    """Return a free name for the task of a command line."""
    base, more = _said(command)
    for candidate in (base, f"{base}-{more}" if more else base):
        if candidate not in taken:
            return candidate
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def _said(command: str) -> tuple[str, str]:
    """Return a name for a command line, and a suffix that distinguishes it from similar ones."""
    parts = [words for part in _parts(command[:LONGEST_READ]) if (words := _bare(part))]
    chosen = next((part for part in parts if part[0] not in GUARDS), parts[0] if parts else [])
    names = [each for each in map(_slug, _about(chosen, 0)) if each]
    return names[0] if names else "task", names[1] if len(names) > 1 else ""


def _parts(command: str) -> Iterator[list[str]]:
    """Yield the words of each simple command, without redirections and the contents of $( )."""
    words: list[str] = []
    inside, target = 0, False
    for word in _tokens(command):
        signs = word != "" and not word.strip("();<>|&")
        if inside:
            inside += (word.count("(") - word.count(")")) if signs else 0
        elif signs and word[0] == "(" and words and words[-1].endswith("$"):
            inside = word.count("(") - word.count(")")
        elif signs and ("<" in word or ">" in word):
            if words and words[-1].isdigit():
                words.pop()  # 2>
            target = True
        elif signs:
            yield words
            words, target = [], False
        elif target:
            target = False
        else:
            words.append(word)
    yield words


def _tokens(command: str) -> list[str]:
    """Return the words and the signs of a text for the shell."""
    text = command.replace("\n", ";")
    reader = shlex.shlex(text, posix=True, punctuation_chars=True)
    reader.whitespace_split, reader.commenters = True, ""
    try:
        return list(reader)
    except ValueError:  # a quote is not closed
        return re.sub(r"([();<>|&]+)", r" \1 ", text).split()


def _bare(words: Sequence[str]) -> list[str]:
    """Return the words of a command without assignments and shell syntax before it."""
    found = list(words)
    while found and (found[0] in SYNTAX or ASSIGNED.match(found[0])):
        found = found[1:]
    return found


def _about(words: Sequence[str], depth: int) -> list[str]:
    """Return the words of a command without options, and without the commands that only start it."""
    rest, by = list(words), ""
    while rest and rest[0] not in GUARDS and (inner := _unwrapped(rest, by)) is not None:
        by, rest = inner
        if TEXT_FOLLOWS.fullmatch(rest[0] if rest else ""):
            if INTERPRETERS.fullmatch(by):
                return [by]  # its code gives no name
            if len(rest) > 1 and depth < DEEPEST:
                parts = [found for part in _parts(rest[1]) if (found := _bare(part))]
                plain = [part for part in parts if part[0] not in GUARDS] or parts
                return _about(plain[0], depth + 1) if plain else [by]
    return [word for word in rest if not word.startswith("-")] or [by]


def _unwrapped(words: Sequence[str], by: str) -> tuple[str, list[str]] | None:
    """Return the words after a program that only starts another, and that program; else None."""
    word, rest = words[0], list(words[1:])
    program = word.rpartition("/")[2]
    if program in WRAPPERS or PYTHON.fullmatch(program):
        if program == "flock":
            rest = _without_lock(rest)
        return program, rest
    if word.startswith("-") and word != "-":
        takes = len(word) == 2 and word[1] in WRAPPERS.get(by, "")
        return by, rest[1:] if takes else rest
    of_account = by in ACCOUNTS and rest and any(map(TEXT_FOLLOWS.fullmatch, rest))
    length = word.replace(".", "").rstrip("smhd").isdigit()
    if word == "-" or ASSIGNED.match(word) or length or of_account:
        return by, rest
    return None


def _without_lock(words: Sequence[str]) -> list[str]:
    """Return the words after flock without the file that it locks."""
    found, skip = list(words), False
    for place, word in enumerate(found):
        if skip or word.startswith("-"):
            skip = not skip and word in ("-w", "-E")
            continue
        return found[:place] + found[place + 1 :]
    return found


def _slug(word: str) -> str:
    last = SUFFIX.sub("", word.rstrip("/").rpartition("/")[2])
    found = re.sub(r"[^A-Za-z0-9._@+-]+", "-", last)[:LONGEST_NAME].strip("-.@+")
    return found if NAME.fullmatch(found) and not found.isdigit() else ""
