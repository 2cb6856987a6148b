"""A page that is redrawn on a terminal until the user quits.

It controls the terminal meanwhile and always restores it. It must not know the contents of the page.
"""

import contextlib
import os
import select
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

from taskrunner.cli.common import on_stdout
from taskrunner.errors import InputError, StateError, TaskRunnerError, shown
from taskrunner.processes import signals
from taskrunner.render.page import ascii_only, visible
from taskrunner.schedule import durations

LOOK = 0.2  # seconds between two looks at the keys, the size, and whether anything has changed
ENTER = "\033[?1049h\033[?25l\033[?7l"  # another screen, without cursor, lines cut at its edge
LEAVE = "\033[?7h\033[?25h\033[?1049l"
TOP, REST_OF_LINE, REST = "\033[H", "\033[K", "\033[J"
QUIT = b"qQ\x04"  # and ctrl-d
ESCAPE = b"\x1b"  # also quits; keys with several bytes begin with an escape and go on
SHARE = 4  # drawing a slow page takes at most a fifth of the time
LEAST, MOST = 0.1, 86_400.0  # seconds


def seconds(text: str) -> float:
    """Return the seconds of --watch: a number, or a length of time; raises InputError."""
    with contextlib.suppress(ValueError):
        found = float(text) if text[:1].isdigit() else 0.0
        if LEAST <= found <= MOST:
            return found
    with contextlib.suppress(InputError):
        return durations.parse(text).total_seconds()
    raise InputError(
        f"{shown(text)} is not a valid time for --watch: write seconds such as 5, or 1m"
    )


def check() -> None:
    """Raise StateError when stdout is not a terminal."""
    if sys.stdout is None or not sys.stdout.isatty():
        raise StateError("--watch needs a terminal, and stdout is not one: leave out --watch")


def watch(draw: Callable[[], str], changes: Callable[[], int], every: float) -> None:
    """Draw a page every `every` seconds, and at each change, until q or ctrl-C.

    `changes` returns a number that differs after a change. An error is shown, and the page drawn again later.
    """
    check()
    begun = time.monotonic()
    page, last, seen = draw(), begun, None  # a wrong request is refused here
    pause = SHARE * (time.monotonic() - begun)
    with contextlib.suppress(KeyboardInterrupt), _screen(), signals.ended_by_term():
        while True:
            now = time.monotonic()
            with on_stdout():
                size = os.get_terminal_size(sys.stdout.fileno())
            state = (size, _told(changes))
            if seen is None or now - last >= (pause if state != seen else max(every, pause)):
                page = page if seen is None else _told(draw)
                _show(page, every, size.lines)
                last, seen, pause = now, state, SHARE * (time.monotonic() - now)
            if _quit(min(LOOK, every)):
                return


def _told(ask: Callable[[], object]) -> str:
    """Return the page, or the error instead of it."""
    try:
        return str(ask())
    except TaskRunnerError as exc:
        return visible(str(exc))


def _show(page: str, every: float, height: int) -> None:
    """Draw a page from the top of the screen, cut to its height."""
    lines = page.split("\n")
    head = f"every {durations.human(every)}; q ends"
    room = max(2, height - 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
    text = "".join(f"{line}{REST_OF_LINE}\r\n" for line in [head, *lines[:-1]]) + lines[-1]
    _put(f"{TOP}{text}{REST_OF_LINE}{REST}")


def _put(text: str) -> None:
    with on_stdout():
        try:
            sys.stdout.write(text)
        except UnicodeEncodeError:
            sys.stdout.write(ascii_only(text))
        sys.stdout.flush()


def _quit(wait: float) -> bool:
    """Wait for a key, and return whether it means quit."""
    if sys.stdin is None or not sys.stdin.isatty():
        time.sleep(wait)
        return False
    fd = sys.stdin.fileno()
    if not select.select([fd], [], [], wait)[0]:
        return False
    keys = os.read(fd, 64)  # several, if they were typed while we were busy
    typed, escape, rest = keys.partition(ESCAPE)
    return not keys or any(key in QUIT for key in typed) or (escape == ESCAPE and not rest)


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """Use the alternate screen of the terminal for the block, and read keys without echo."""
    keys = sys.stdin is not None and sys.stdin.isatty()
    before = termios.tcgetattr(sys.stdin.fileno()) if keys else None
    try:
        if before is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, _by_key(before))
        _put(ENTER)
        yield
    finally:
        with contextlib.suppress(BrokenPipeError, StateError):
            _put(LEAVE)
        if before is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone: its window was closed
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def _by_key(before: list[Any]) -> list[Any]:
    """Return terminal settings in which keys arrive one by one, without echo, and do not suspend us."""
    made = list(before)
    made[3] &= ~(termios.ICANON | termios.ECHO)
    made[6] = list(before[6])
    made[6][termios.VMIN], made[6][termios.VTIME] = 1, 0
    made[6][termios.VSUSP] = b"\0"  # the screen would stay as it is
    return made
