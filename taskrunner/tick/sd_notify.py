"""State of the daemon for its service manager, in the protocol of sd_notify(3).

Without a service manager there is no socket, and nothing is sent. A failed send is ignored: the tasks
matter more than their display. It must not know tasks, runs or stores.
"""

import math
import os
import socket
import time
from contextlib import suppress

from taskrunner.model.record import field, mutable

PACE = 1.0  # seconds between two status texts
STARTING = 30.0  # seconds of more time that a long start asks for, repeatedly
PATIENCE = 5.0  # seconds to wait for a listener that does not read
LONGEST = 500  # characters of a status text


@mutable
class Readiness:
    """The connection to a service manager at `place`; it kills us after `watchdog` seconds without a sign of life."""

    place: str | None = None
    watchdog: float | None = None
    _ready: bool = False
    _sign_at: float = 0.0  # monotonic
    _speak_at: float = 0.0
    _said: str = ""
    _socket: socket.socket = field(
        default_factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    )

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ready(self) -> None:
        """Report that we have started, or that the settings are reloaded."""
        self._ready, self._sign_at = True, 0.0
        self._tell("READY=1")

    def reloading(self) -> None:
        """Report that the settings are being reloaded."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that we are stopping."""
        self._tell("STOPPING=1")

    def go_on(self, status: str) -> float:
        """Send the sign of life and the status when they are due; return the seconds until the next time."""
        if self.place is None:
            return math.inf
        now = time.monotonic()
        if now >= self._sign_at:
            sign, every = self._sign()
            self._sign_at = now + every
            self._tell(*sign)
        if status != self._said and now >= self._speak_at:
            self._said, self._speak_at = status, now + PACE
            self._tell("STATUS=" + " ".join(status[:LONGEST].splitlines()))
        following = self._sign_at if status == self._said else min(self._sign_at, self._speak_at)
        return max(0.0, following - now)

    def _sign(self) -> tuple[list[str], float]:
        """Return the sign of life that is due now, and the seconds to the next one."""
        if not self._ready:
            return [f"EXTEND_TIMEOUT_USEC={STARTING * 1e6:.0f}"], STARTING / 2
        if self.watchdog is None:
            return [], math.inf
        return ["WATCHDOG=1"], self.watchdog / 2

    def _tell(self, *lines: str) -> None:
        if self.place is None or not lines:
            return
        address = os.fsencode(self.place)
        if address.startswith(b"@"):  # a name without a file, unix(7)
            address = b"\0" + address[1:]
        with suppress(OSError):
            self._socket.settimeout(PATIENCE)
            self._socket.sendto("\n".join(lines).encode(errors="replace"), address)
