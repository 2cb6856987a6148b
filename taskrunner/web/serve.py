"""Serving the page: the sockets it listens on, the server, and its end after a time without requests."""

import contextlib
import ipaddress
import logging
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from waitress import wasyncore
from waitress.server import create_server

from taskrunner.clocks.listen import Place
from taskrunner.errors import StateError, shown
from taskrunner.web.guard import LARGEST_BODY

FIRST_GIVEN = 3  # the first descriptor that a service manager hands over, sd_listen_fds(3)
THREADS = 4  # an answer may wait for others who write, half a minute at most
GRACE = 5.0  # seconds that answers have to end in
LOOK = 1.0  # seconds between two looks whether it is time to end
# Seconds after which a connection is closed on which nothing arrives and no answer goes on, and between two sweeps of
# such: else some hundred that were opened and left alone keep others out for two minutes.
SILENCE, SWEEP = 20, 5
TCP_FAMILIES = (socket.AF_INET, socket.AF_INET6)


# ---- sockets


def given_sockets() -> list[socket.socket]:
    """Return the listening sockets that a service manager handed over (LISTEN_FDS), none when it did not.

    The variables are removed: what we start shall not take the sockets for its own.
    """
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = []
    for number in range(FIRST_GIVEN, FIRST_GIVEN + int(count)):
        os.set_inheritable(number, False)
        try:
            found.append(socket.socket(fileno=number))
        except OSError as exc:
            raise StateError(
                f"descriptor {number}, which LISTEN_FDS hands over, is no socket: {exc.strerror}"
            ) from exc
    return found


def listening(places: Sequence[Place]) -> list[socket.socket]:
    """Return sockets bound to places; raises StateError for one that cannot be had, with none left bound."""
    with contextlib.ExitStack() as undo:
        made = []
        for each in places:
            for one in _unix(each) if each.path else _tcp(each):
                undo.callback(one.close)
                made.append(one)
        undo.pop_all()
    return made


def _tcp(each: Place) -> Iterator[socket.socket]:
    """Give a bound socket for each address of a name."""
    try:
        found = socket.getaddrinfo(
            each.host.strip("[]"), each.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as exc:
        raise StateError(f"{shown(each.host)} is no address of this host: {exc.strerror}") from exc
    for family, kind, protocol, _, address in dict.fromkeys(found):
        one = socket.socket(family, kind, protocol)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
        except OSError as exc:
            one.close()
            raise StateError(
                f"{each.host}:{each.port} cannot be listened on: {exc.strerror}"
            ) from exc
        yield one


def _unix(each: Place) -> Iterator[socket.socket]:
    """Give a bound unix socket; a file that a server left behind, and nobody answers at, is replaced.

    Connecting takes the right to write, so by the usual umask its owner alone can.
    """
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _left_behind(each.path):
            os.unlink(each.path)
        one.bind(each.path)
    except OSError as exc:
        one.close()
        why = exc.strerror or exc
        raise StateError(f"unix:{each.path} cannot be listened on: {why}") from exc
    yield one


def _left_behind(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        try:
            one.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def address(one: socket.socket) -> str:
    """Return where a socket listens, as an address of the web or a path."""
    found: Any = one.getsockname()
    if one.family not in TCP_FAMILIES:
        return f"unix:{found}"
    host = f"[{found[0]}]" if one.family == socket.AF_INET6 else found[0]
    return f"http://{host}:{found[1]}"


def is_private(one: socket.socket) -> bool:
    """Return whether only this host reaches a socket."""
    if one.family not in TCP_FAMILIES:
        return True
    return ipaddress.ip_address(one.getsockname()[0].partition("%")[0]).is_loopback


# ---- the server


class Idle:
    """A WSGI application around another that knows for how long nobody has asked anything."""

    def __init__(self, application: Any) -> None:
        """Take the application; the time counts from now."""
        self._application = application
        self._lock = threading.Lock()
        self._going = 0
        self._last = time.monotonic()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        """Answer a request, and count it until its last byte was given."""
        with self._lock:
            self._going += 1
        try:
            parts = self._application(environ, start_response)
            try:
                yield from parts
            finally:
                if hasattr(parts, "close"):
                    parts.close()
        finally:
            with self._lock:
                self._going -= 1
                self._last = time.monotonic()

    def since(self) -> float:
        """Return the seconds since the last answer ended; 0 while one goes on."""
        with self._lock:
            return 0.0 if self._going else time.monotonic() - self._last


def serve(
    application: Any,
    sockets: Sequence[socket.socket],
    *,
    idle: timedelta | None = None,
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Answer requests at some sockets until TERM or INT, or until nobody has asked for `idle`."""
    # It would tell on stderr how many requests wait; faults of the application are reported by it.
    logging.getLogger("waitress").setLevel(logging.CRITICAL)
    counted = Idle(application)
    servers: dict[int, Any] = {}  # by their descriptors; all servers share them
    families = [
        [one for one in sockets if one.family in TCP_FAMILIES],
        [one for one in sockets if one.family not in TCP_FAMILIES],
    ]
    made = [_server(counted, group, servers) for group in families if group]
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        ready()
        while idle is None or counted.since() < idle.total_seconds():
            wasyncore.loop(timeout=LOOK, use_poll=True, map=servers, count=1)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        for each in made:
            each.task_dispatcher.shutdown(timeout=GRACE)
        wasyncore.close_all(servers)


def _server(application: Any, sockets: Iterable[socket.socket], servers: dict[int, Any]) -> Any:
    return create_server(
        application,
        map=servers,
        sockets=[*sockets],
        threads=THREADS,
        ident=None,
        max_request_body_size=LARGEST_BODY,
        max_request_header_size=64 * 1024,
        clear_untrusted_proxy_headers=False,  # create_app decides whether they are believed
        connection_limit=500,
        channel_timeout=SILENCE,
        cleanup_interval=SWEEP,
    )


def _leave(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def forget(places: Sequence[Place]) -> None:
    """Remove the files of unix sockets that were ours."""
    for each in places:
        if each.path:
            with contextlib.suppress(OSError):
                os.unlink(each.path)
