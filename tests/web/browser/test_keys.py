"""Pages without a mouse, and pages without script."""

from datetime import UTC, datetime

import pytest

from taskrunner import Manual, TaskRunner
from tests.web import demo
from tests.web.browser.test_live import expect

pytest.importorskip("flask")
pytestmark = [pytest.mark.slow, pytest.mark.one_python]


@pytest.fixture
def home(home):
    demo.make(home, datetime.now(UTC))
    with TaskRunner(home) as runner:
        runner.set("import-prices", shell="echo again", now=False)
        runner.add("idle", ["true"], Manual())
    return home


def shown(page, title):
    """Wait for a page and its script, which takes keys from then on."""
    expect(page.locator("h1")).to_have_text(title)
    expect(page.locator("#show-keys")).to_be_visible()


def test_by_keyboard_alone_a_failed_run_is_found_read_and_run_again(home, serve, visit):
    page = visit(serve(operate=True))
    shown(page, "Now")
    page.keyboard.press("g")
    page.keyboard.press("r")
    shown(page, "Runs")
    page.get_by_role("link", name="Failed, timed out, lost").focus()
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(9)
    expect(page.locator("#show-keys")).to_be_visible()  # of the new page: its script takes keys
    for _ in range(15):
        page.keyboard.press("j")
        if page.evaluate("document.activeElement.closest('tr')?.textContent.includes('import')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#output")).to_contain_text("ConnectionError")
    button = page.get_by_role("button", name="Run again: this slot")
    for _ in range(20):
        page.keyboard.press("Tab")
        if button.evaluate("each => each === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#output")).to_contain_text("again")
    expect(page.locator(".lead .state")).to_have_text("succeeded")


def test_keys_lead_to_pages_rows_and_their_own_list(home, serve, visit):
    page = visit(serve())
    shown(page, "Now")
    for key, title in (("t", "Tasks"), ("a", "Agenda"), ("h", "Health"), ("n", "Now")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        shown(page, title)
    page.keyboard.press("/")
    page.keyboard.type("gt?check")  # letters are letters in a field
    assert page.locator("#search").input_value() == "gt?check"
    page.locator("#search").fill("check")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)
    shown(page, "Tasks")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    shown(page, "check-disk")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def test_without_script_pages_reload_themselves_and_everything_can_be_done(home, serve, visit):
    page = visit(serve(define=True), java_script_enabled=False)
    assert page.locator("noscript meta[http-equiv=refresh]").get_attribute("content") == "5"
    assert not page.locator("#live").is_visible() and not page.locator("#show-keys").is_visible()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("link", name="Failed, timed out, lost").click()
    page.locator("tr", has_text="import-prices").first.locator("a.run").click()
    expect(page.locator("#output")).to_contain_text("ConnectionError")
    page.get_by_role("button", name="Run again: this slot").click()
    expect(page.locator("#output")).to_contain_text("again")  # by reloading

    page.goto(page.url.rpartition("/runs")[0] + "/tasks/new")
    assert page.locator("noscript").count() == 0  # what is typed must not be lost
    page.get_by_label("Name", exact=True).fill("new-one")
    page.get_by_label("How many").fill("2")
    page.get_by_label("What it runs").fill("echo hello")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#checked tbody tr")).to_have_count(5)
    page.get_by_role("button", name="Add task").click()
    expect(page.locator("h1")).to_have_text("new-one")
    page.locator("summary", has_text="Remove").click()
    page.get_by_role("button", name="Remove new-one").click()
    expect(page.get_by_text("new-one is removed")).to_be_visible()
