"""A real Chromium before a real server: pages as people have them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPEN: list[Any] = []  # the browser of this process
PATIENCE = 60_000  # ms; the machine may be busy
SCREENS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(scope="session")
def chromium(needs: Any) -> Iterator[Any]:
    """A browser for all tests of a process."""
    found = CHROMIUM and find_spec("playwright") and find_spec("flask")
    needs("chromium", found, "there is no Chromium with playwright here")
    with launched() as browser:
        yield browser


@contextmanager
def launched() -> Iterator[Any]:
    """A browser that ends with the block; playwright allows one in a process, so blocks within it share it."""
    from playwright.sync_api import sync_playwright

    if OPEN:
        yield OPEN[0]
        return
    with sync_playwright() as playwright:
        # A browser refuses to be root in its sandbox; what it shows here is ours.
        OPEN.append(playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
        try:
            yield OPEN[0]
        finally:
            OPEN.clear()


class Served:
    """A server of a home, in threads of this process."""

    def __init__(self, home: Path, **options: Any) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        from taskrunner.web.app import create_app

        class Silent(WSGIRequestHandler):
            def log_request(self, *_: object) -> None:
                pass

        self.app = app = create_app(home, **options)
        self.server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
        self.server.daemon_threads = False  # so that closing it waits for the last answers
        self.address = f"http://127.0.0.1:{self.server.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def serve(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """`serve(operate=True)` serves the home and returns its address."""
    servers: list[Served] = []
    fakes = tmp_path / "fakes"  # Health asks these what calls ticks
    fakes.mkdir()
    for name in ("crontab", "systemctl"):
        (fakes / name).write_text("#!/bin/sh\nexit 1\n")
        (fakes / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fakes}:{os.environ['PATH']}")

    def start(**options: Any) -> str:
        servers.append(Served(home, **options))
        return servers[-1].address

    yield start
    for each in servers:
        each.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`visit(address, "phone")` returns a page; a fault of its script or a request elsewhere fails the test."""
    contexts, faults = [], []

    def opened(address: str, screen: str = "light", **options: Any) -> Any:
        context = chromium.new_context(**{**SCREENS[screen], **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        origin = "/".join(address.split("/")[:3])
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.on("console", lambda told: faults.append(told.text) if _bad(told) else None)
        page.on(
            "request", lambda asked: faults.append(asked.url) if _foreign(asked, origin) else None
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def _bad(told: Any) -> bool:
    """Whether a message of the console is of a fault; that a page answered 400 or 404 is what tests want."""
    return told.type == "error" and "Failed to load resource" not in told.text


def _foreign(asked: Any, origin: str) -> bool:
    return not asked.url.startswith((origin + "/", "data:", "about:"))
