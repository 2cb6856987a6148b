"""The user of a request: their name in the record of taskrunner, and their permissions."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from taskrunner.django import settings
from taskrunner.django.router import LABEL

SEES = ("view_task", "view_run")  # permissions that the mounted page needs, all of them
LONGEST_NAME = 100  # characters of an author


def author(request: HttpRequest) -> str:
    """Return the name of the user, for the record."""
    name = str(request.user.get_username())[:LONGEST_NAME]
    return name if name.strip() and name.isprintable() else f"user {request.user.pk}"


def has(user: Any, names: Sequence[str]) -> bool:
    """Return whether a user has some permissions of taskrunner, all of them."""
    return bool(user.has_perms([f"{LABEL}.{name}" for name in names]))


def may_define(user: Any) -> bool:
    """Return whether a user may define tasks: whoever does runs any command, so only superusers."""
    return settings.read().edit and bool(user.is_active and user.is_staff and user.is_superuser)
