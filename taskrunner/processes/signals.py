"""Signals to ourselves: those that stop us, and the alarm that ends what takes too long."""

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
    """Collect TERM, INT, HUP and QUIT for the block instead of dying of them, and wake the children's loop.

    HUP goes to `hangups` where that is given. For the `first` process the end of any child wakes, too. Python
    handles signals in its main thread only; in another thread the list stays empty.
    """
    received: list[int] = []
    aside = received if hangups is None else hangups

    def remember(number: int, _: FrameType | None) -> None:
        (aside if number == signal.SIGHUP else received).append(number)

    try:
        # What nohup(1) or a shell's & has set to be ignored stays ignored.
        heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, remember) for number in heeded}
        # Ignored, as it may come to us, no ends are told.
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
    """Let TERM and HUP end a block as ctrl-C does, so that what it has to put back is put back."""

    def end(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _wake(_: int, __: FrameType | None) -> None:
    """Do nothing: that there is a signal has woken the loop."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block of Python that takes longer; in another thread than the main one never.

    Also in the midst of a search with a regular expression, which looks for signals now and then.
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
        # None: it was set by something that is not Python, and cannot be put back.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
