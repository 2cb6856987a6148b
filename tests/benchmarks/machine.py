"""What machine this is: what a reader has to know to compare figures."""

import os
import platform
import re
import sqlite3
import time
from pathlib import Path

KILOBYTE = 1024


def described(place: Path) -> dict[str, str]:
    """Return what is measured on, by the names that the report has for it."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} that we may use",
        "memory": f"{_meminfo('MemTotal') / 1e9:.1f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}",
        "SQLite": sqlite3.sqlite_version,
        "file system": _file_system(place),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }
    if governor.exists():
        found["governor"] = governor.read_text(encoding="ascii").strip()
    return found


def available() -> int:
    """Return how many bytes of memory are to be had."""
    return _meminfo("MemAvailable")


def _meminfo(name: str) -> int:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(rf"^{name}: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * KILOBYTE if found else 0


def _processor() -> str:
    """Return the model of the processor, else its architecture."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"^model name\s*: (.+)", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "not known"


def _file_system(place: Path) -> str:
    """Return the kind of file system that a folder is on."""
    device = os.stat(place).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        words, _, rest = line.partition(" - ")
        if words.split()[2] == name:
            return rest.split()[0]
    return "not known"
