"""The pages for people, asked without a browser: what they show, what they do, and what they refuse."""

import html
import re
from datetime import timedelta

import pytest

from taskrunner import Every, Manual, TaskRunner
from taskrunner.home import lock
from tests.history import ran
from tests.web.conftest import form_token

pytest.importorskip("flask")

BIG = 20_000_000


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        made.add("backup", ["true"], Every("1d"), description="copies <all> & more")
        made.add("idle", ["true"], Manual())
        yield made


def get(client, path, code=200):
    answer = client.get(path)
    assert answer.status_code == code, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def words(page):
    """The text of a page."""
    main = page[page.index("<main") :]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", main)))


def post(client, path, code=303, **fields):
    answer = client.post(path, data={"token": form_token(client, "/tasks"), **fields})
    assert answer.status_code == code, answer.get_data(as_text=True)
    return answer


def written(runner, output, **more):
    """A run of a task with this output."""
    return ran(runner._here().store, "succeeded", runner.now(), output=output, **more)


# ---- looking


@pytest.mark.parametrize("path", ["/", "/runs", "/tasks", "/agenda"])
def test_pages_of_a_home_without_anything_say_so(ask, path):
    assert re.search(r"\b[Nn]o(thing)?\b", words(get(ask(), path)))


def test_a_daemon_is_told_also_after_a_tick_by_hand(ask, home, runner):
    runner.tick(caller="hand")
    assert re.search(r"Last tick [^,]*, by hand", words(get(ask(), "/")))
    assert "a daemon is at work" not in words(get(ask(), "/"))
    with lock.held(str(home / "daemon.lock")):
        assert "by hand; a daemon is at work" in words(get(ask(), "/"))


def test_what_a_task_says_is_text_and_never_markup(ask, runner):
    page = get(ask(), "/tasks/backup")
    assert "copies &lt;all&gt; &amp; more" in page and "<all>" not in page


def test_output_is_text_with_its_control_characters_visible(ask, home, runner):
    run = written(runner, b"<script>alert(1)</script>\n\x1b[31mred\x00\tend \xff\xe2\x80\xae")
    page = get(ask(), f"/runs/{run}")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\n\\x1b[31mred\\x00\tend" in page
    assert "<script>alert" not in page and "\x1b" not in page and "\u202e" not in page
    raw = ask().get(f"/runs/{run}?raw")
    assert raw.mimetype == "text/plain" and raw.data.endswith(b"\xff\xe2\x80\xae")
    assert raw.headers["Content-Disposition"] == f'attachment; filename="backup-{run}.txt"'


def test_commands_in_reasons_are_set_as_such_and_nothing_else_in_them_is_markup(ask, runner):
    ran(runner._here().store, "failed", runner.now(), output=b"call `<b>x</b>` & wait\n")
    page = get(ask(), "/")
    assert "call <code>&lt;b&gt;x&lt;/b&gt;</code> &amp; wait" in page and "<b>" not in page


def test_of_a_large_output_head_and_tail_are_shown(ask, home, runner):
    lines = b"".join(b"line %07d\n" % number for number in range(100_000))
    run = written(runner, lines)
    page = get(ask(), f"/runs/{run}")
    assert "line 0000000" in page and "line 0099999" in page and "line 0050000" not in page
    assert "are not shown here" in page and len(page) < 400_000


def test_the_reason_of_each_slot_is_beside_it(ask, runner):
    runner.run("idle")
    assert "started by hand; exit code 0" in words(get(ask(), "/tasks/idle"))


def test_a_run_of_a_task_that_was_removed_is_shown(ask, runner):
    run = runner.run("idle")
    runner.remove("idle")
    assert "idle (removed) run" in words(get(ask(operate=True), f"/runs/{run.id}"))
    assert "idle" in words(get(ask(), "/runs"))
    get(ask(), "/tasks/idle", 404)


def test_runs_are_filtered_and_paged_by_their_address(ask, runner):
    for number in range(60):
        written(runner, b"", slot=runner.now() - timedelta(minutes=number))
    failed = ran(runner._here().store, "failed", runner.now())
    assert words(get(ask(), "/runs?state=bad")).count("failed") >= 1
    first = get(ask(), "/runs?task=backup&state=succeeded")
    older = html.unescape(re.search(r'href="([^"]*)">Older runs', first)[1])
    second = get(ask(), older)
    rows = re.findall(r'data-key="run-(\d+)"', first + second)
    assert len(rows) == len(set(rows)) == 60 and str(failed) not in rows
    assert "Older runs" not in second and "Newest" in second
    assert "No runs match this filter" in words(get(ask(), "/runs?state=cancelled"))


@pytest.mark.parametrize(
    ("path", "code", "told"),
    [
        ("/runs?before=x", 400, "'x' is not the id of a run: give a whole number"),
        ("/runs?before=99999999999999999999", 400, "is not the id of a run"),
        ("/runs?state=nope", 400, "'nope' is not a state of a run"),
        ("/runs?since=never", 400, "'never' is not a valid time"),
        ("/runs?task=nobody", 404, "nobody"),
        ("/runs?task=%3Cb%3E", 404, "<b>"),
        ("/runs/99999999999999999999", 404, "there is no such page"),
        ("/runs/999", 404, "999"),
        ("/runs/x", 404, "there is no such page"),
        ("/tasks?state=nope", 400, "'nope' is not a filter"),
        ("/tasks/nobody", 404, "nobody"),
        ("/tasks/%26%3C%22", 404, '&<"'),
        ("/tasks/..%2F..%2Fetc", 404, "etc"),
        ("/agenda?until=never", 400, "'never' is not a valid time"),
    ],
)
def test_a_wrong_address_gets_one_sentence_and_the_page_lives_on(ask, runner, path, code, told):
    client = ask()
    page = get(client, path, code)
    assert told in words(page) and "Traceback" not in page and "<b>" not in page
    get(client, "/")


def test_tasks_are_searched_filtered_and_paged(ask, runner):
    for number in range(60):
        runner.add(f"many-{number:02}", ["true"], Manual())
    runner.disable("idle")
    found = get(ask(), "/tasks?q=MANY")
    assert "many-49" in found and "many-50" not in found and "backup" not in words(found)
    after = html.unescape(re.search(r'href="([^"]*)">More tasks', found)[1])
    assert "many-59" in get(ask(), after)
    off = words(get(ask(), "/tasks?state=disabled"))
    assert "idle disabled" in off and "backup" not in off


def test_a_store_that_cannot_be_read_is_told_in_one_sentence(ask, home, runner):
    client = ask()
    place = home / "taskrunner.db"
    runner.close()
    for name in ("taskrunner.db-wal", "taskrunner.db-shm"):
        (home / name).unlink(missing_ok=True)
    good = place.read_bytes()
    place.write_bytes(b"no database" * 1000)
    page = get(client, "/", 503)
    assert "The database cannot be used now" in page and "Traceback" not in page
    place.write_bytes(good)
    get(client, "/")


# ---- who sees which buttons


def test_buttons_are_shown_to_those_who_may_press_them(ask, runner):
    run = runner.run("idle").id
    seen = {
        role: [get(ask(**options), path) for path in ("/", "/tasks/idle", f"/runs/{run}", "/tasks")]
        for role, options in {
            "see": {},
            "operate": {"operate": True},
            "define": {"define": True},
        }.items()
    }
    forms = {
        role: sum(page.count('<form class="act"') for page in pages) for role, pages in seen.items()
    }
    assert forms["see"] == 0 < forms["operate"] < forms["define"]
    assert "Edit" not in seen["operate"][1] and "Edit" in seen["define"][1]


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("see", "/tasks/idle/run"),
        ("see", "/tasks/idle/disable"),
        ("see", "/hold"),
        ("see", "/runs/1/cancel"),
        ("operate", "/tasks/idle/remove"),
        ("operate", "/tasks/new"),
        ("operate", "/tasks/idle/edit"),
    ],
)
def test_what_one_may_not_do_is_refused(ask, runner, role, path):
    client = ask(operate=role == "operate")
    answer = client.post(path, data={"token": "x"})
    assert answer.status_code == 403
    assert runner.task("idle").enabled and runner.held() is None


# ---- doing


def test_a_task_is_run_and_the_page_leads_to_its_run(ask, runner):
    answer = post(ask(operate=True), "/tasks/idle/run")
    (run,) = runner.history("idle")
    assert answer.location == f"/runs/{run.id}"


def test_the_slot_of_a_run_is_run_again(ask, runner):
    old = ran(runner._here().store, "failed", runner.now())
    post(ask(operate=True), f"/runs/{old}/again")
    new = runner.history("backup")[0]
    assert new.id != old and new.slot == runner.run_of(f"run:{old}").slot


def test_tasks_are_enabled_disabled_and_removed(ask, runner):
    client = ask(define=True)
    answer = post(client, "/tasks/idle/disable", back="/tasks?q=i")
    assert answer.location == "/tasks?q=i" and not runner.task("idle").enabled
    assert "idle is disabled" in words(get(client, "/tasks"))
    assert "idle is disabled" not in words(get(client, "/tasks"))  # said once
    post(client, "/tasks/idle/enable")
    assert runner.task("idle").enabled
    runner.add("later", ["true"], Manual())
    post(client, "/tasks/idle/remove")
    assert [task.name for task in runner.tasks()] == ["backup", "later"]
    assert "its history stays" in words(get(client, "/tasks"))


def test_the_store_is_paused_and_resumed(ask, runner):
    client = ask(operate=True)
    post(client, "/hold", length="1h", reason="upgrade of <all>")
    assert runner.held().reason == "upgrade of <all>"
    for path in ("/", "/runs", "/tasks/idle"):
        page = words(get(client, path))
        assert "Scheduled runs are paused" in page and "upgrade of <all>" in page
    post(client, "/resume")
    assert runner.held() is None and "are paused" not in words(get(client, "/runs"))


def test_what_cannot_be_done_now_is_409_and_one_sentence(ask, runner):
    run = runner.run("idle").id
    answer = post(ask(operate=True), f"/runs/{run}/cancel", 409)
    assert "has ended already" in words(answer.get_data(as_text=True))


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "", "runs"]
)
def test_a_click_never_leads_to_another_site(ask, runner, back):
    assert post(ask(operate=True), "/tasks/idle/disable", back=back).location == "/"


@pytest.mark.parametrize(
    ("came", "back"),
    [
        ("http://localhost/tasks/backup", True),
        ("http://localhost.evil/", False),
        ("javascript:x", False),
        (None, False),
    ],
)
def test_a_refused_click_leads_back_to_its_page(ask, came, back):
    client = ask(operate=True)
    data = {"token": form_token(client, "/")}
    headers = {} if came is None else {"Referer": came}
    answer = client.post("/tasks/nobody/run", data=data, headers=headers)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 404
    assert (f'<a href="{came}">Go back</a>' in page, "Go back" in page) == (back, back)


def test_below_a_prefix_every_address_has_it(ask, runner):
    client = ask(operate=True)
    page = client.get("/tasks/backup", base_url="http://localhost/cron/").get_data(as_text=True)
    found = re.findall(r'(?:href|action|src|data-changes|data-url)="([^"]*)"', page)
    assert [each for each in found if not each.startswith(("/cron/", "#"))] == []
    assert 'name="back" value="/tasks/backup"' in page


def test_the_page_as_one_file_has_its_style_and_no_script_form_or_link(home, runner):
    from taskrunner.web import one_file

    text = one_file.text(str(home))
    assert "Written" in text and "--ground" in text and "backup" in text
    for each in ("<script", "<form", 'href="/', "http-equiv"):
        assert each not in text
