"""A real cron daemon on a fast clock, for one test.

    with cronbox.running(["* * * * * /usr/bin/something"], start, speed=60) as box:
        box.pass_minutes(5)
    box.fired, box.log, box.mail

`cronbox.sh` does the work inside: Debian's cron in namespaces of its own, under libfaketime, so that
at sixty times the speed a minute takes a second. This side waits, listens to what cron logs, and
ends the box. Times given and returned are of the fake clock, aware.

What cron starts is on the fake clock as long as it keeps the environment; a program that starts its
children with a clean one (taskrunner does) gives them the real clock: their `sleep 2.5` is 2.5 real
seconds. Under libfaketime a `threading` wait with a timeout never returns.
"""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

SCRIPT = Path(__file__).with_name("cronbox.sh")
# Of a first attempt, and of those after one in which the machine stalled for a minute of the box.
SPEEDS = (60, 20, 6)


def check_machine(needs: Callable[[str, object, str], None]) -> None:
    """Skips, or fails where they are demanded, without what a box is made of (see conftest.py)."""
    needs("root", os.geteuid() == 0, "only root can make the namespaces of a cron of its own")
    found = shutil.which("unshare") and can_unshare()
    needs("root", found, "this machine lets root make no mount namespace")
    needs("cron", os.path.exists("/usr/sbin/cron") and _has_group(), "there is no Debian cron")
    needs("faketime", shutil.which("faketime"), "faketime is not installed")


def can_unshare() -> bool:
    """Return whether root may make a mount namespace here."""
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode == 0


def _has_group() -> bool:
    try:
        return bool(grp.getgrnam("crontab"))
    except KeyError:
        return False


@dataclass
class Box:
    """A running cron, and after the end what became of it."""

    speed: int
    start: datetime  # the box's clock ...
    began: float  # ... when the real monotonic one showed this
    heard: list[tuple[float, str]] = field(default_factory=list)
    mail: str = ""
    left: str = ""  # command lines of what had not ended 30 s after cron

    def clock(self, monotonic: float) -> datetime:
        """The instant of the box, in UTC, at one of the real monotonic clock."""
        return self.start + timedelta(seconds=(monotonic - self.began) * self.speed)

    @property
    def log(self) -> list[str]:
        """What cron logged, line by line."""
        return [line for _, line in self.heard]

    @property
    def fired(self) -> list[datetime]:
        """The minutes at which cron started something, oldest first, in UTC.

        Taken from when a line was heard: syslog(3) stamps lines with the real time even under
        libfaketime. cron fires a second past the minute; we hear of it some real milliseconds
        later, or, as far as the clock of the box is known here, sooner.
        """
        heard = [self.clock(moment) for moment, line in self.heard if ") CMD (" in line]
        early = timedelta(seconds=15)
        return [(moment + early).replace(second=0, microsecond=0) for moment in heard]

    def pass_minutes(self, minutes: int) -> None:
        """Waits until `minutes` further full minutes have struck, and for most of the last one."""
        now = self.clock(time.monotonic())
        until = now.replace(second=0, microsecond=0) + timedelta(minutes=minutes, seconds=45)
        time.sleep((until - now).total_seconds() / self.speed)

    def until_fired(self, count: int) -> None:
        """Waits until cron has started so many lines; those minutes may be longer on a busy machine."""
        end = time.monotonic() + 100
        while len(self.fired) < count:
            assert time.monotonic() < end, f"cron has not fired {count} times: {self.log}"
            time.sleep(0.01)

    def pass_until(self, moment: datetime) -> None:
        """Waits until the clock of the box shows an instant; several boxes are waited for one by one."""
        left = (moment - self.clock(time.monotonic())).total_seconds() / self.speed
        time.sleep(max(0.0, left))


@contextlib.contextmanager
def running(
    lines: Sequence[str],
    start: datetime,
    *,
    speed: int = 60,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Box]:
    """Runs cron with a crontab of root's that has these lines, from `start` on.

    cron needs some real time to come up, a few seconds or more of the box's: `start` is best half a
    minute before the first one wanted, and what fires is known from `fired`, not by counting. The
    zone of `start`, a ZoneInfo or UTC, is the zone cron lives in; a wall time that comes twice is no
    start. At the end cron is stopped first; what it started gets 30 real seconds to finish.
    """
    # Not pytest's own folder: the name of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="cronbox-"))
    try:
        (folder / "dev").mkdir()
        assignments = [f"{name}={value}" for name, value in (environment or {}).items()]
        (folder / "tab").write_text("\n".join([*assignments, *lines, ""]))
        with _log_of(folder) as heard, _cron(folder, start, speed):
            began = time.monotonic()
            start = datetime.fromtimestamp(float(_text(folder / "ready")), UTC)
            box = Box(speed, start, began, heard)
            yield box
        box.mail = _text(folder / "mail")
        box.left = _text(folder / "left")
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _cron(folder: Path, start: datetime, speed: int) -> Iterator[None]:
    namespaces = "--mount --propagation private --pid --fork --kill-child --mount-proc".split()
    clock = f"@{start:%Y-%m-%d %H:%M:%S} x{speed}"
    said = folder / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["unshare", *namespaces, "sh", str(SCRIPT), str(folder), clock],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": _zone(start)},
            cwd="/",
        )
    try:
        deadline = time.monotonic() + 100
        while not (folder / "ready").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the box did not start: {_text(said)}")
            time.sleep(0.002)
        yield
        assert process.poll() is None, f"the box ended early: {_text(said)}"
        process.stdin.close()
        process.wait(timeout=100)
    finally:
        process.kill()  # the kernel ends everything in the box with it
        process.stdin.close()
        process.wait()
    assert process.returncode == 0, f"the box failed: {_text(said)}"


@contextlib.contextmanager
def _log_of(folder: Path) -> Iterator[list[tuple[float, str]]]:
    """Listens where syslog(3) of the box writes; gives lines with the real time they came."""
    lines: list[tuple[float, str]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "dev" / "log"))

        def listen() -> None:
            while message := listener.recv(8192):
                lines.append((time.monotonic(), message.decode(errors="replace")))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield lines
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.sendto(b"", str(folder / "dev" / "log"))
            thread.join()


def at_some_speed(check: Callable[[int], None]) -> None:
    """Call something with a speed, and with slower ones while the machine is too busy for what it asserts."""
    for speed in SPEEDS[:-1]:
        with contextlib.suppress(AssertionError):
            return check(speed)
    return check(SPEEDS[-1])


def _zone(moment: datetime) -> str:
    return getattr(moment.tzinfo, "key", None) or "UTC"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def at(
    moment: datetime, argv: Sequence[str], **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs one program as if it were `moment`; its clock goes on from there at the usual speed."""
    # faketime names its clock in /dev/shm by its pid. One that was left there by another process
    # of this number makes it refuse, so it gets a folder of its own.
    alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    alone += ['mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"]
    faked = [*alone, "faketime", "-f", f"@{moment:%Y-%m-%d %H:%M:%S}", *argv]
    environment = {**os.environ, "TZ": _zone(moment)}
    return subprocess.run(faked, env=environment, text=True, capture_output=True, **options)
