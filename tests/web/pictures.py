"""Pictures of the pages for README and docs: python -m tests.web.pictures [FOLDER]"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskrunner import State, TaskRunner
from taskrunner.web import pages
from tests.history import ran
from tests.web import demo
from tests.web.browser.conftest import Served, launched

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "_static"
WIDE, PHONE = {"width": 1180, "height": 700}, {"width": 390, "height": 700}
# By the name of the file: the address, the look, the screen.
PICTURES = {
    "page-now": ("/", "light", WIDE),
    "page-task": ("/tasks/import-prices", "light", {"width": 1180, "height": 860}),
    "page-run": ("/runs?state=bad&task=import-prices", "light", {"width": 1180, "height": 560}),
    "page-agenda": ("/agenda", "dark", {"width": 1180, "height": 900}),
    "page-new": ("/tasks/new", "light", {"width": 1180, "height": 900}),
    "page-tasks-phone": ("/tasks", "light", PHONE),
}


def make(folder: Path) -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place, "home")
        now = datetime.now(UTC)
        demo.make(home, now - timedelta(seconds=12))
        pages.HOST = "shop-1"
        with TaskRunner(home) as runner:
            going = runner._here().store
            ran(
                going, State.SUCCEEDED, now, task=runner.task("check-mail").id, reason="exit code 0"
            )
            started = now - timedelta(seconds=38)
            ran(going, State.RUNNING, started, task=runner.task("sync-stock").id, took=timedelta(0))
        served = Served(home, define=True)
        try:
            with launched() as browser:
                for name, (address, look, screen) in PICTURES.items():
                    page = browser.new_page(viewport=screen, color_scheme=look)
                    page.goto(served.address + address)
                    if name == "page-run":
                        page.locator("tbody a.run").first.click()
                    if name == "page-new":
                        fill(page)
                    page.locator("#show-keys").wait_for(state="attached")
                    page.screenshot(path=folder / f"{name}.png")
                    page.close()
        finally:
            served.close()


def fill(page: object) -> None:
    """Type a task, and have it checked."""
    page.get_by_label("Name", exact=True).fill("reindex")
    page.get_by_label("Cron expression").fill("0 4 * * 1-5")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("What it runs").fill("/srv/shop/manage.py reindex --all")
    page.get_by_role("button", name="Check").click()
    page.locator("#checked").wait_for()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
