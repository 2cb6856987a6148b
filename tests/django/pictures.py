"""Pictures of the admin for the docs: python -m tests.django.pictures [FOLDER]"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.django.in_process import OPERATES, served, site
from tests.web import demo
from tests.web.browser.conftest import launched
from tests.web.pictures import FOLDER

# By the name of the file: the address and the screen.
PICTURES = {"django-admin": ("/admin/taskrunner/task/", {"width": 1280, "height": 860})}


def make(folder: Path) -> None:
    """Write all pictures."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = (
        "1"  # the driver of the browser has a loop in this thread
    )
    project = site()
    with tempfile.TemporaryDirectory() as place:
        project.use(Path(place, "home"))
        demo.make(project.home, datetime.now(UTC) - timedelta(seconds=12))
        cookie = project.client(project.user("ann", *OPERATES)).cookies["sessionid"].value
        with served() as address, launched() as browser:
            for name, (path, screen) in PICTURES.items():
                context = browser.new_context(viewport=screen, color_scheme="light")
                context.add_cookies([{"name": "sessionid", "value": cookie, "url": address}])
                page = context.new_page()
                page.goto(address + path)
                page.screenshot(path=folder / f"{name}.png")
                context.close()
        project.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
