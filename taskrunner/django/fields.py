"""The field of instants: whole milliseconds since 1970 in the store, a datetime of Django here."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from taskrunner.clock import from_ms, to_ms


class InstantField(models.DateTimeField):
    """An instant, aware as Django's datetimes are when USE_TZ is on; comparisons use the indexes of the store."""

    def get_internal_type(self) -> str:
        """Return the type of the column, so that Django reads no text from it."""
        return "BigIntegerField"

    def from_db_value(self, value: int | None, *_: object) -> datetime | None:
        """Return the datetime of a number of the store."""
        if value is None:
            return None
        moment = from_ms(value)
        return moment if settings.USE_TZ else timezone.make_naive(moment)

    def get_prep_value(self, value: Any) -> int | None:
        """Return the number of the store; a naive datetime is one of the current zone."""
        moment = self.to_python(value)
        if moment is None:
            return None
        return to_ms(timezone.make_aware(moment) if timezone.is_naive(moment) else moment)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> int | None:  # noqa: ARG002  the signature is Django's
        """Return the number as it is: SQLite takes numbers."""
        return value if prepared else self.get_prep_value(value)


def aware(moment: datetime | None) -> datetime | None:
    """Return a datetime of Django as the library has them: aware, in UTC."""
    if moment is None:
        return None
    return (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).astimezone(UTC)
