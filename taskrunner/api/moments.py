"""Instants as people write them, in the past or ahead of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrunner.errors import MomentError
from taskrunner.schedule import durations

if TYPE_CHECKING:
    from datetime import datetime

    from taskrunner.api.base import Base


def since(runner: Base, text: str | None) -> datetime | None:
    """Return the instant that a length of time ago, such as 7d, or an instant means, None for none."""
    if text is None:
        return None
    if text[:1].isdigit() and not text[:5].count("-") and ":" not in text:
        return durations.parse_ago(text, runner.now())
    try:
        return runner.moment(text)
    except MomentError as exc:
        raise MomentError(f"{exc}; or a length of time ago, such as 7d") from exc


def ahead(text: str) -> str:
    """Return the text of an instant to come; a bare length of time is counted from now."""
    return f"+{text}" if text[:1].isdigit() and "-" not in text and ":" not in text else text
