"""The file of variables that serving processes write for their tasks."""

from __future__ import annotations

import errno
import os
from datetime import timedelta

import pytest

pytest.importorskip("django")

from taskrunner.django import environment
from taskrunner.django.settings import Settings


def test_a_file_that_cannot_be_written_stays_as_it_was_and_no_half_of_a_new_one_stays(
    home, monkeypatch
):
    wanted = Settings(str(home), True, timedelta(0), None, False, ("APP_SECRET",), {})
    monkeypatch.setenv("APP_SECRET", "old")
    environment.write(wanted, "crm")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("APP_SECRET", "new")
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            environment.write(wanted, "crm")
    (file,) = home.glob("django.env*")
    assert file.read_text().endswith('APP_SECRET="old"\n')
