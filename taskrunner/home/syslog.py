"""The journal of systemd, and syslog, by their own protocols; without a listener nothing is written.

Its caller gives the fields of each entry.
"""

# Not `socket`: that takes a tick 1.5 ms to import, for names that are not needed here.
from _socket import AF_UNIX, SOCK_DGRAM, socket
from collections.abc import Iterable, Mapping

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
ERROR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7  # syslog(3)
CRON = 9 << 3  # the facility of clocks
PATIENCE = 1.0  # seconds to wait for a listener that does not read
NAME = "taskrunner"

Entry = Mapping[str, object]


def send(**fields: object) -> bool:
    """Write one entry into the journal and return whether it was taken; a field is in capitals."""
    return send_all([fields])


def send_all(entries: Iterable[Entry]) -> bool:
    """Write entries into the journal (systemd.io/JOURNAL_NATIVE_PROTOCOL); return whether they were taken."""
    return _written(JOURNAL, map(_entry, entries))


def syslog(level: int, texts: Iterable[str], pid: int) -> bool:
    """Write lines to syslog; return whether they were taken."""
    head = f"<{CRON | level}>{NAME}[{pid}]: "
    return _written(SYSLOG, ((head + text).encode(errors="backslashreplace") for text in texts))


def _written(place: str, packets: Iterable[bytes]) -> bool:
    line = socket(AF_UNIX, SOCK_DGRAM)
    try:
        line.settimeout(PATIENCE)
        line.connect(place)
        for packet in packets:
            line.send(packet)
    except OSError:
        return False
    finally:
        line.close()
    return True


def _entry(fields: Entry) -> bytes:
    whole = {"SYSLOG_IDENTIFIER": NAME, **fields}
    return b"".join(_field(name, str(value)) for name, value in whole.items())


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
