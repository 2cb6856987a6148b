"""Each page in each look: nothing that shuts people out, nothing wider than the screen, nothing from elsewhere."""

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from taskrunner import TaskRunner
from tests.web import demo
from tests.web.browser.conftest import SCREENS

pytest.importorskip("flask")
pytestmark = [pytest.mark.slow, pytest.mark.one_python]

PAGES = {
    "now": "/",
    "runs": "/runs",
    "failed runs": "/runs?state=bad",
    "no runs": "/runs?state=cancelled",
    "a wrong filter": "/runs?before=x",
    "a run": "/runs/{failed}",
    "tasks": "/tasks",
    "a search": "/tasks?q=check",
    "a task": "/tasks/import-prices",
    "a disabled task": "/tasks/warm-cache",
    "a new task": "/tasks/new",
    "a change": "/tasks/backup/edit",
    "agenda": "/agenda",
    "health": "/health",
    "no such task": "/tasks/nobody",
}


@pytest.fixture(scope="module")
def axe(needs):
    """The script of axe-core, which judges how well a page can be used by everybody."""
    found = find_spec("axe_playwright_python")
    needs("chromium", found, "there is no axe-playwright-python here")
    return Path(found.submodule_search_locations[0], "axe.min.js").read_text()


@pytest.fixture
def home(home):
    demo.make(home, datetime.now(UTC))
    return home


def addresses(home):
    with TaskRunner(home) as runner:
        failed = runner.history("import-prices", state="bad", limit=1)[0].id
    return {name: path.format(failed=failed) for name, path in PAGES.items()}


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_can_be_used_by_everybody(home, serve, visit, axe, screen):
    """Axe finds nothing; its own script needs another policy than ours."""
    base = serve(define=True)
    page = visit(base, screen, bypass_csp=True)
    found = {}
    for name, path in addresses(home).items():
        page.goto(base + path)
        page.evaluate(axe)
        told = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        for each in told["violations"]:
            targets = [node["target"] for node in each["nodes"][:3]]
            found.setdefault(name, []).append(f"{each['id']}: {targets}")
    assert found == {}


@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_is_wider_than_the_screen(home, serve, visit, screen):
    base = serve(define=True)
    page = visit(base, screen)
    wide = {}
    for name, path in addresses(home).items():
        page.goto(base + path)
        wide[name] = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert page.locator("h1").count() == 1, name
    assert {name: over for name, over in wide.items() if over > 0} == {}


def test_states_are_told_by_words_and_signs_beside_their_colours(home, serve, visit):
    page = visit(f"{serve()}/runs")
    for state in page.locator("tbody .state").all():
        assert state.inner_text().strip() and state.locator("svg").count() == 1
    page.goto(page.url.replace("/runs", "/tasks/import-prices"))
    for mark in page.locator(".strip a").all():
        assert mark.get_attribute("aria-label") and mark.locator("svg").count() == 1


def test_nothing_moves_for_who_wants_no_motion(home, serve, visit):
    from tests.history import ran

    with TaskRunner(home) as runner:
        ran(runner._here().store, "running", runner.now(), task=runner.task("backup").id)
    base = serve()
    for motion, names in (("reduce", {"none"}), ("no-preference", {"none", "breathe"})):
        page = visit(base, reduced_motion=motion)
        moved = page.evaluate(
            "[...document.querySelectorAll('*')].map((each) => getComputedStyle(each).animationName)"
        )
        assert set(moved) == names
