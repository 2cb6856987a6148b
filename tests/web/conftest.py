"""The page without a server: an application over a home, and somebody who asks it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')


@pytest.fixture
def ask(home) -> Callable[..., Any]:
    """Return what makes a client of a page over the home; its options are those of `create_app`."""
    from taskrunner.web.app import create_app

    def client(**options: Any) -> Any:
        return create_app(home, **options).test_client()

    return client


def form_token(client: Any, path: str = "/login") -> str:
    """The token in the first form of a page."""
    found = TOKEN.search(client.get(path).get_data(as_text=True))
    assert found, f"{path} has no form"
    return found[1]
