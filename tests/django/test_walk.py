"""One walk in a real Chromium: from the login through the admin to the mounted page and back."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("django")

from taskrunner import Every, Manual, TaskRunner
from tests.django.in_process import OPERATES, PASSWORD, served
from tests.samples import wait_for
from tests.web import demo
from tests.web.browser.conftest import chromium, visit  # noqa: F401  fixtures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("django"), pytest.mark.one_python]
LISTS = ("/admin/taskrunner/task/", "/admin/taskrunner/run/?state=bad")


def log_in(page, name):
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def test_an_operator_walks_from_the_admin_to_the_page(site, visit):  # noqa: F811
    with TaskRunner(site.home) as runner:
        runner.add("backup", shell="echo saved; exec sleep 300", schedule=Manual())
        runner.add("report", ["true"], Every("1d"))
        site.user("ann", *OPERATES)
        with served() as address:
            page = visit(f"{address}/admin/taskrunner/task/")
            log_in(page, "ann")
            page.get_by_role("link", name="backup").click()
            page.get_by_role("button", name="Run now").click()
            page.get_by_text("Started: 1 task").wait_for()
            run = wait_for(lambda: runner.history("backup", state="running"))[0]
            wait_for(lambda: runner.output(run))
            page.goto(f"{address}/admin/taskrunner/run/?state=live")
            page.get_by_role("link", name=str(run.id), exact=True).click()
            page.get_by_label(f"Output of run {run.id}").get_by_text("saved").wait_for()
            page.get_by_role("link", name="Live page").click()
            page.get_by_role("button", name="Cancel").click()
            page.get_by_text("is being cancelled").wait_for()
            page.get_by_text("cancelled by ann").first.wait_for()
            page.get_by_role("link", name="Tasks", exact=True).click()
            page.wait_for_url(f"{address}/tasks/tasks")
            page.goto(f"{address}/admin/taskrunner/run/{run.id}/change/")
            page.get_by_text("cancelled by ann").first.wait_for()
            page.goto(f"{address}/admin/taskrunner/task/")
            page.get_by_role("row", name=re.compile("report")).get_by_role("checkbox").check()
            page.locator("select[name=action]").select_option(label="Disable")
            page.get_by_role("button", name="Go").click()
            page.get_by_text("Disabled: 1 task").wait_for()
            assert not runner.task("report").enabled


@pytest.mark.parametrize("screen", ["dark", "phone"])
def test_no_page_of_the_admin_is_wider_than_its_screen(site, visit, screen):  # noqa: F811
    with TaskRunner(site.home) as runner:
        demo.make(site.home, runner.now())
        task = runner.task("import-prices")
        run = runner.history("import-prices", state="bad", limit=1)[0]
    site.superuser("root")
    with served() as address:
        page = visit(f"{address}/admin/", screen)
        log_in(page, "root")
        for path in (
            *LISTS,
            f"/admin/taskrunner/task/{task.id}/change/",
            f"/admin/taskrunner/run/{run.id}/change/",
            "/admin/taskrunner/task/hold/",
        ):
            page.goto(address + path)
            wide = page.locator("html").evaluate("page => page.scrollWidth - innerWidth")
            assert wide <= 0, path
