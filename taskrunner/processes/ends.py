"""Descriptors of processes, and those among them that have ended: one descriptor for all, where the system has it."""

import os
import select

from taskrunner.processes.alive import descriptor


class Ends:
    """An epoll(7) of its own, which can be read when a process has ended: it may be one of those to wait for."""

    def __init__(self) -> None:
        """Begin with none."""
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        self.fd = None if self._poll is None else self._poll.fileno()

    def watch(self, pid: int) -> int | None:
        """Look at a process from here on and return its descriptor, None where it has to be polled; for any thread."""
        pidfd = None if self._poll is None else descriptor(pid)
        if self._poll is None or pidfd is None:
            return None
        try:
            self._poll.register(pidfd, select.EPOLLIN)
        except OSError:  # the kernel has no room for another one
            os.close(pidfd)
            return None
        return pidfd

    def forget(self, pidfd: int) -> None:
        """Look at it no longer, and close its descriptor: a copy of it in a new process would keep it here."""
        assert self._poll is not None
        self._poll.unregister(pidfd)
        os.close(pidfd)

    def seen(self) -> list[int]:
        """Return those that have ended."""
        return [] if self._poll is None else [fd for fd, _ in self._poll.poll(0)]

    def close(self) -> None:
        """Let go."""
        if self._poll is not None:
            self._poll.close()
