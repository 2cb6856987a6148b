"""Signals to ourselves: those that stop us, and the alarm that limits a block of Python."""

import os
import selectors
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from taskrunner.processes.children import Children

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def stop_signals(
    children: Children, hangups: list[int] | None = None, *, first: bool = False
) -> Iterator[list[int]]:
    """Collect TERM, INT, HUP and QUIT for the block instead of ending, and wake the children's loop.

    HUP goes to `hangups` where that is given. In process 1 (`first`) the end of any child wakes it, too. Python
    handles signals in its main thread only; in another thread the list stays empty.
    """
    received: list[int] = []
    aside = received if hangups is None else hangups

    def remember(number: int, _: FrameType | None) -> None:
        (aside if number == signal.SIGHUP else received).append(number)

    try:
        # Signals ignored by nohup(1) or a shell's & stay ignored.
        heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, remember) for number in heeded}
        # We may inherit it ignored: then the kernel reports no ends.
        heed = _wake if first else signal.SIG_DFL
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, heed)
    except ValueError:  # not the main thread
        yield received
        return
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    children.selector.register(reader, selectors.EVENT_READ)
    try:
        yield received
    finally:
        children.selector.unregister(reader)
        signal.set_wakeup_fd(old)
        for number, previous in before.items():
            signal.signal(number, previous)
        os.close(reader)
        os.close(writer)


@contextmanager
def ended_by_term() -> Iterator[None]:
    """Let TERM and HUP end a block as ctrl-C does, so that its clean-up runs."""

    def end(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _wake(_: int, __: FrameType | None) -> None:
    """Do nothing: the signal itself has woken the loop."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block of Python that takes longer; only in the main thread.

    This interrupts a regular expression too: its search checks for signals.
    """

    def give_up(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    try:
        before = signal.signal(signal.SIGALRM, give_up)
    except ValueError:  # not the main thread
        yield
        return
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        # None: the old handler was not set by Python, and cannot be restored.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
