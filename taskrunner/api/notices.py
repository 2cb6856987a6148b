"""Calls for notifications: channels, the outbox, test messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrunner.api.base import Base
from taskrunner.errors import InputError, StateError, shown
from taskrunner.model.values import Posted

if TYPE_CHECKING:
    from taskrunner.model.answers import Delivery, Told


class Notices(Base):
    """The requests about notifications."""

    def channels(self) -> list[Told]:
        """Return the channels of the configuration with pending messages; raises InputError for a mistake in one."""
        from taskrunner.home import channels
        from taskrunner.notify import deliver

        for wrong in channels.mistakes(self._here().config.notify).values():
            raise InputError(wrong)
        return deliver.channels_of(self._here())

    def outbox(self, limit: int = 20) -> list[Posted]:
        """Return the newest messages, newest first: pending, sent and given up."""
        if limit < 1:
            raise InputError(f"{shown(limit)} is not a valid number of messages: give 1 or more")
        here = self._here()
        return [] if here.store.missing else here.store.outbox.newest(limit)

    def test_channel(self, name: str) -> Delivery:
        """Send a test message to a channel and return the result; raises StateError for an unknown channel.

        It is sent at once, without the outbox. A ping is sent as a log line of the monitoring service, which changes
        nothing there.
        """
        from taskrunner.home import channels
        from taskrunner.notify import deliver

        here = self._here()
        if name in (wrong := channels.mistakes(here.config.notify)):
            raise StateError(wrong[name])
        if name not in here.config.notify:
            raise StateError(channels.unknown(name, here.config.notify))
        return deliver.test(here, name)

    def deliver(self) -> list[Delivery]:
        """Send all due messages and return the results; nothing while another process sends.

        Ticks start a process of its own for this. Raises StoreBusy or StoreRefused.
        """
        from taskrunner.notify import deliver

        here = self._here()
        return [] if here.store.missing else deliver.send(here)
