"""The page without a server: an application over a home, and somebody who asks it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

QUICK = {"n": 2**4, "r": 8, "p": 1}
TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')


@pytest.fixture
def quick_passwords(monkeypatch) -> None:
    """Hash passwords in this process quickly: a real hash takes a quarter of a second, on purpose."""
    from taskrunner.web import users

    for name, value in QUICK.items():
        monkeypatch.setitem(users.SCRYPT, name, value)


@pytest.fixture(scope="session")
def compiled_templates(tmp_path_factory) -> Any:
    """Where the applications of a session keep their compiled templates; each would compile its own."""
    from jinja2 import FileSystemBytecodeCache

    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def ask(home, compiled_templates, monkeypatch) -> Callable[..., Any]:
    """Return what makes a client of a page over the home; its options are those of `create_app`."""
    from flask import Flask

    from taskrunner.web.app import create_app

    monkeypatch.setattr(Flask, "jinja_options", {"bytecode_cache": compiled_templates})

    def client(**options: Any) -> Any:
        return create_app(home, **options).test_client()

    return client


def form_token(client: Any, path: str = "/login") -> str:
    """The token in the first form of a page."""
    found = TOKEN.search(client.get(path).get_data(as_text=True))
    assert found, f"{path} has no form"
    return found[1]
