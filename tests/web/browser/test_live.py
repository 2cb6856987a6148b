"""Pages that are open follow what happens."""

import re
import sys
from datetime import timedelta

import pytest

from taskrunner import Manual, TaskRunner
from tests.samples import call, start, wait_for
from tests.web.browser.conftest import PATIENCE

pytest.importorskip("flask")
pytestmark = [pytest.mark.slow, pytest.mark.one_python]


def expect(found):
    from playwright.sync_api import expect as expected

    expected.set_options(timeout=PATIENCE)
    return expected(found)


def python(code):
    return [sys.executable, "-u", "-c", code]


@pytest.fixture
def tasks(home):
    """Tasks of a home by what they run, as Python code."""

    def add(**codes):
        with TaskRunner(home) as runner:
            for name, code in codes.items():
                runner.add(name, python(code), Manual())

    return add


def test_a_run_that_another_process_started_and_that_is_over_at_once_is_seen(
    home, tasks, serve, visit, monkeypatch
):
    from taskrunner.web import shown

    monkeypatch.setattr(shown, "JUST", timedelta(hours=1))  # on a busy machine a look may come late
    tasks(quick="print(1)")
    page = visit(serve())
    expect(page.locator("#main")).to_contain_text("Nothing is running")
    call(home, "run", "quick")
    row = page.locator("section:has(#h-active) tr", has_text="quick")
    expect(row).to_contain_text("succeeded")


def test_a_run_is_cancelled_with_a_click_and_the_page_shows_its_end(home, tasks, serve, visit):
    tasks(slow="import time; print('first'); time.sleep(600)")
    with start(home, "run", "slow") as process:
        with TaskRunner(home) as runner:
            run = wait_for(lambda: runner.history("slow", state="running"))[0]
        page = visit(f"{serve(operate=True)}/runs/{run.id}")
        expect(page.locator("#output")).to_contain_text("first")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".lead .state")).to_have_text("cancelled")
        process.communicate(timeout=100)


def test_output_that_comes_later_is_text_with_its_control_characters_visible(
    home, tasks, serve, visit, tmp_path
):
    go = tmp_path / "go"
    tasks(
        slow=f"""
import os, time
print('first')
while not os.path.exists({str(go)!r}): time.sleep(.05)
print('second \\x1b[31m<b>bold</b>')
time.sleep(600)
"""
    )
    with start(home, "run", "slow") as process:
        with TaskRunner(home) as runner:
            run = wait_for(lambda: runner.history("slow", state="running"))[0]
            page = visit(f"{serve(operate=True)}/runs/{run.id}")
            output = page.locator("#output")
            expect(output).to_contain_text("first")
            go.touch()
            expect(output).to_contain_text("second \\x1b[31m<b>bold</b>")
            assert page.locator("#output b").count() == 0
            runner.cancel(run.id)
        process.communicate(timeout=100)
        expect(page.locator(".lead .state")).to_have_text("cancelled")
        expect(output).to_contain_text("second")


def test_focus_selection_and_text_stay_when_a_page_is_refreshed(home, tasks, serve, visit):
    tasks(one="print(1)", two="print(2)")
    call(home, "run", "one")
    page = visit(f"{serve()}/runs")
    page.get_by_label("Since").fill("-1")
    page.locator("[data-row]").first.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    call(home, "run", "two")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert page.evaluate("document.activeElement.closest('tr').textContent.includes('one')")
    assert page.evaluate("getSelection().toString()") == "Runs"
    assert page.get_by_label("Since").input_value() == "-1"


def test_a_paused_page_stays_as_it_is_until_it_is_resumed(home, tasks, serve, visit):
    tasks(one="print(1)")
    page = visit(f"{serve()}/runs")
    page.get_by_role("button", name="Live").click()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.locator("#live")).to_have_text("Paused")
    call(home, "run", "one")
    page.wait_for_timeout(2500)
    assert asked == [] and page.locator("tbody tr").count() == 0
    page.get_by_role("button", name="Paused").click()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_page_that_is_paused_during_a_look_stays_paused(home, tasks, serve, visit):
    tasks(one="print(1)")
    page = visit(f"{serve()}/runs")
    held = []
    page.route("**/changes", lambda route: held.append(route))  # noqa: PLW0108  it takes no builtin
    call(home, "run", "one")
    while not held:
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Live").click()
    with page.expect_response("**/changes"):
        held[0].continue_()
    page.wait_for_timeout(1000)
    expect(page.locator("#live")).to_have_text("Paused")
    assert page.locator("tbody tr").count() == 0


def test_a_hidden_tab_asks_nothing(home, tasks, serve, visit):
    tasks(one="print(1)")
    page = visit(serve())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")

    def nothing():
        asked.clear()
        page.wait_for_timeout(2500)
        return not asked

    wait_for(nothing)  # after what was under way


def test_an_open_page_tells_that_no_answer_comes_and_goes_on_when_one_does(
    home, tasks, serve, visit
):
    tasks(one="print(1)")
    page = visit(serve())
    expect(page.locator("#live")).to_have_text("Live")
    place, aside = home / "taskrunner.db", home / "aside.db"
    place.rename(aside)
    place.write_bytes(b"this is no database" * 100)
    expect(page.locator("#live")).to_have_text("No answer")
    place.unlink()
    aside.rename(place)
    expect(page.locator("#live")).to_have_text(re.compile("Live"))


def test_what_was_said_after_a_click_stays_while_the_page_is_refreshed(home, tasks, serve, visit):
    tasks(one="print(1)")
    page = visit(f"{serve(operate=True)}/tasks")
    page.get_by_role("button", name="Disable one").click()
    note = page.get_by_text("one is disabled")
    expect(note).to_be_visible()
    call(home, "run", "one")
    expect(page.locator("tbody tr")).to_contain_text("succeeded")
    expect(note).to_be_visible()
