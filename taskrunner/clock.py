"""Instants on this host, and its local zone.

With `host` the only reader of wall time. All other modules are given instants; they are aware and in UTC, and in the store
they are integer milliseconds since the epoch.
"""

import os
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from taskrunner import host

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
LOCALTIME = "/etc/localtime"
# When the clock goes back by more than this, it was wrong before; cron(8) uses the same limit.
STEP_BACK = timedelta(hours=3)


def now() -> datetime:
    """Return this instant, aware, in UTC, cut to the millisecond."""
    return from_ms(host.now_ms())


def to_ms(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch."""
    return (moment - EPOCH) // MILLISECOND


def from_ms(value: int) -> datetime:
    """Return milliseconds since the epoch as an aware datetime in UTC."""
    return EPOCH + value * MILLISECOND


@lru_cache(maxsize=256)  # many runs share the same few instants
def iso(moment: datetime) -> str:
    """Return an instant as ISO 8601 in UTC with `Z`; milliseconds only when there are any."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def zone_of_file(place: str) -> str | None:
    """Return the IANA name of the zone of a data file, None when its path does not contain one."""
    target = os.path.realpath(place) if os.path.isabs(place) else ""
    if "/zoneinfo/" not in target:
        return None
    return target.split("/zoneinfo/", 1)[1].removeprefix("posix/").removeprefix("right/")


def local_zone() -> str:
    """Return the IANA name of the host's zone: `/etc/localtime`, else `/etc/timezone`, else UTC."""
    if name := zone_of_file(LOCALTIME):
        return name
    try:
        with open("/etc/timezone", encoding="utf-8") as file:
            return file.read().strip() or "UTC"
    except OSError:
        return "UTC"
