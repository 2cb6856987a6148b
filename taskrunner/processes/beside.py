"""A thread that does for us what would keep us waiting: for the disk, or for the kernel to make a process.

It must not know what it does.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Beside(threading.Thread):
    """Does one thing after another, in the order in which they are asked for; raises RuntimeError where none starts."""

    def __init__(self, name: str) -> None:
        """Begin to wait for something to do."""
        super().__init__(name=name, daemon=True)
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.start()

    def ask(self, step: Callable[[], None]) -> None:
        """Let something be done, that must not raise, when what was asked for before it is."""
        self._asked.put(step)

    def run(self) -> None:
        """Do what is asked for until the end."""
        for step in iter(self._asked.get, None):
            step()

    def close(self) -> None:
        """End, when all that was asked for is done."""
        self._asked.put(None)
        self.join()
