"""A real systemd for one test.

    with systemd_box.running() as box:
        box.run("systemctl", "start", "something.service")

`systemd_box.sh` does the work: systemd is process 1 of namespaces of its own, over an overlay of the
machine's files whose writes go to memory. Files of the checkout and of the interpreter are seen at the
same paths. The machine's units, users and clock are neither seen nor touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("systemd_box.sh")
SYSTEMD = "/lib/systemd/systemd"
UP = ("running", "degraded")
PATIENCE = 120.0  # seconds for it to come up, on a machine that has much else to do
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1)


def check_machine(needs: Callable[[str, object, str], None]) -> None:
    """Skips, or fails where they are demanded, without what a box is made of (see conftest.py)."""
    needs("root", os.geteuid() == 0, "only root can make the namespaces of a systemd of its own")
    needs("systemd", os.path.exists(SYSTEMD), "systemd is not installed")
    needs("systemd", os.path.exists("/usr/bin/dbus-daemon"), "dbus is not installed")
    needs("systemd", shutil.which("nsenter"), "there is no nsenter(1)")
    needs("systemd", _can_overlay(), "this machine lets root make no overlay of its files")


def _can_overlay() -> bool:
    script = (
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && "
        "mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/r"
    )
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    return subprocess.run(argv, stderr=subprocess.DEVNULL).returncode == 0


@dataclass
class Box:
    """A running systemd; `pid` is the number that the machine knows it by."""

    pid: int
    again: Callable[[int], Box] | None = None

    def run(self, *argv: str, check: bool = True, **options: object) -> str:
        """What a command prints in the box, stderr too; it must succeed unless told otherwise."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-p", "-C", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            **{"env": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}, **options},
        )
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}: {done.stdout}"
        return done.stdout

    def path(self, place: str) -> Path:
        """A path in the box, as it is reached from outside."""
        return Path(f"/proc/{self.pid}/root{place}")

    def reboot(self, how: signal.Signals | int = POWER_OFF) -> Box:
        """End it and start another one on the same disk, with a new boot id; KILL is a power cut."""
        assert self.again is not None
        return self.again(how)

    def until(self, holds: Callable[[], object], patience: float = 100.0) -> None:
        """Waits until something holds; fails when that takes too long."""
        end = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < end, "it did not come to hold"
            time.sleep(0.05)


@contextlib.contextmanager
def running() -> Iterator[Box]:
    """Runs a systemd until the block is left; at the end everything in the box is gone."""
    folder = Path(tempfile.mkdtemp(prefix="systemd-box-", dir="/run"))
    argv = ["unshare", "--mount", "--propagation", "private", "sh", str(SCRIPT)]
    argv += [str(folder), *{sys.prefix, sys.base_prefix, str(CHECKOUT)}]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield _when_up(process, folder)
    finally:
        _down(process)
        _remove_groups(folder)
        shutil.rmtree(folder)


def _when_up(process: subprocess.Popen[bytes], folder: Path, before: int | None = None) -> Box:
    """Wait for a systemd, or for the one after `before`."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        for pid in _first(process):
            if pid == before:
                continue
            state = Box(pid).run("systemctl", "is-system-running", check=False).strip()
            if state in UP and Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return Box(pid, partial(_reboot, process, folder, pid))
        time.sleep(0.05)
    raise RuntimeError(f"systemd did not come up: {(folder / 'said').read_text()}")


def _reboot(process: subprocess.Popen[bytes], folder: Path, pid: int, how: int) -> Box:
    (folder / "again").touch()
    os.kill(pid, how)
    return _when_up(process, folder, pid)


def _first(process: subprocess.Popen[bytes]) -> list[int]:
    """The process 1 of the box, if there is one: what the script has started has started it."""
    return [pid for each in _children(process.pid) for pid in _children(each)]


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _down(process: subprocess.Popen[bytes]) -> None:
    """Ask systemd to power off, and end the namespaces when it does not."""
    for pid in _first(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, POWER_OFF)
    try:
        process.wait(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()  # the kernel ends everything in the box with it
        process.wait()


def _remove_groups(folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    for place in (folder / "cgroups").read_text().split():
        while os.path.exists(place):
            for group, _, _ in os.walk(place, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(group)  # not while one that was killed is still on its way out
            assert time.monotonic() < end, f"{place} is still in use"
            time.sleep(0.02)
