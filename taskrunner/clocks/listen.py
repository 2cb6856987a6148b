"""Places to listen on, as they are written: HOST:PORT, or unix:PATH."""

import ipaddress
import os
import re

from taskrunner.errors import InputError, shown
from taskrunner.model.record import record

DEFAULT = "127.0.0.1:8470"
TCP = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


@record
class Place:
    """A place to listen on: `host` and `port`, or the `path` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """Its address in digits, None for a name or a path."""
        try:
            return ipaddress.ip_address(self.host.strip("[]"))
        except ValueError:
            return None


def place(text: str) -> Place:
    """Return the place that HOST:PORT or unix:PATH means; raises InputError."""
    if text.startswith("unix:") and len(text) > 5:
        return Place(path=os.path.abspath(text.removeprefix("unix:")))
    found = TCP.fullmatch(text)
    if found is None or not 0 <= int(found[2]) < 65536:
        raise InputError(
            f"{shown(text)} is not a place to listen on: write HOST:PORT, such as {DEFAULT}, or unix:/PATH"
        )
    return Place(found[1].lower(), int(found[2]))
