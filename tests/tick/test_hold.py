"""The hold as data: who holds the store, until when and why, and who ended it."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from taskrunner import Hold, InputError, Manual, StateError
from taskrunner.cli import main
from taskrunner.clock import to_ms
from taskrunner.render import tables
from taskrunner.render.page import Page


@pytest.fixture
def store(runner):
    """The store of a runner that has one task."""
    runner.add("report", ["true"], Manual())
    return runner._here().store


def events(store):
    return [(event.what, event.by, event.text) for event in store.events.all()][1:]


def fact(home, name):
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
        rows = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchall()
    return rows[0][0] if rows else None


def test_a_hold_lasts_until_its_end(runner, store, clock):
    made = runner.hold("2h", reason="the database moves")
    assert made == Hold(clock.at, clock.at + timedelta(hours=2), made.by, "the database moves")
    clock.forward(hours=2, milliseconds=-1)
    assert runner.held() == made
    clock.forward(milliseconds=1)
    assert runner.held() is None


def test_a_hold_without_a_length_lasts_until_it_is_resumed(runner, store, clock):
    made = runner.hold()
    clock.forward(days=10_000)
    assert runner.held() == made
    assert runner.resume() == made
    assert runner.held() is None


def test_the_idle_check_can_ask_for_the_end_of_a_hold_in_sql_alone(runner, store, clock, home):
    runner.hold(timedelta(hours=1))
    assert fact(home, "held_until") == str(to_ms(clock.at + timedelta(hours=1)))
    runner.hold()
    assert int(fact(home, "held_until")) > to_ms(clock.at + timedelta(days=36_525))
    runner.resume()
    assert fact(home, "held_until") is None


def test_a_hold_in_force_is_replaced_by_another_with_all_that_it_said(runner, store):
    runner.hold("2h", reason="the database moves")
    runner.hold()
    assert (runner.held().until, runner.held().reason) == (None, None)


def test_a_resume_without_a_hold_does_nothing(runner, store):
    assert runner.resume() is None
    assert events(store) == []


def test_the_ledger_says_who_held_the_store_and_why_and_who_ended_it(runner, store):
    who = runner.hold("1h", reason="the database moves").by
    runner.resume()
    assert events(store) == [
        ("held", who, "until 2026-11-20T13:00:00Z: the database moves"),
        ("resumed", who, None),
    ]


def test_a_home_without_a_store_cannot_be_held(runner, home):
    with pytest.raises(StateError, match=r"no database in .* nothing to pause: add a task first"):
        runner.hold()
    assert runner.resume() is None
    assert not list(home.iterdir())


@pytest.mark.parametrize("reason", ["", " ", "one\ntwo", "x" * 201, 7, "\udcff"])
def test_a_reason_is_one_short_line(runner, store, reason):
    with pytest.raises(
        InputError, match="is not a valid reason: write one line of 1 to 200 characters"
    ):
        runner.hold(reason=reason)


def test_a_hold_has_a_length_as_everything_has(runner, store):
    with pytest.raises(InputError, match="'2 hours' is not a valid length of time: write 2h"):
        runner.hold("2 hours")


def test_status_says_that_the_store_is_held(runner, store):
    assert runner.status().held is None
    who = runner.hold("1h", reason="the database moves").by
    said = (
        "scheduled runs are paused since 2026-11-20 12:00:00 UTC until 2026-11-20 13:00:00 UTC, "
        f"by {who} (the database moves)"
    )
    assert runner.status().held == said
    assert runner.status().problems[0] == (
        f"scheduled runs are paused by {who}; `taskrunner resume` ends the pause"
    )


def test_the_page_of_the_status_begins_with_the_hold(runner, store, clock):
    page = Page("UTC", clock.at)
    assert tables.status_page(page, runner.status()).startswith("last tick")
    runner.hold()
    top = tables.status_page(page, runner.status()).splitlines()[0]
    assert top == f"held       {runner.status().held}"


# ---- the verbs


@pytest.fixture
def tell(home, capsys):
    """Do what a command line asks for, in this process; returns stdout, stderr and the exit code."""

    def tell(*words):
        code = main.main(["--home", str(home), *words])
        return *capsys.readouterr(), code

    return tell


def test_the_verbs_say_one_sentence_each(tell, store):
    out, err, code = tell("hold")
    assert (out, code) == ("", 0)
    assert err == "taskrunner: scheduled runs are paused: `taskrunner resume` ends the pause\n"
    out, err, code = tell("resume")
    assert (out, code) == ("", 0)
    assert err == (
        "taskrunner: resumed; runs missed during the pause follow each task's --catch-up\n"
    )


def test_a_hold_that_replaces_another_says_so(tell, store):
    tell("hold", "--for", "2h", "--reason", "the database moves")
    _, err, code = tell("hold", "--for", "1h")
    assert code == 0
    assert ", replacing the pause by " in err


def test_resuming_what_is_not_held_says_so_and_is_not_a_failure(tell, store):
    assert tell("resume") == ("", "taskrunner: nothing was paused\n", 0)


def test_the_verbs_can_be_quiet(tell, store):
    assert tell("hold", "--quiet") == ("", "", 0)
    assert tell("resume", "--quiet") == ("", "", 0)
    assert tell("resume", "--quiet") == ("", "", 0)


def test_a_length_that_is_none_is_wrong_usage(tell, store):
    out, err, code = tell("hold", "--for", "soon")
    assert (out, code) == ("", 2)
    assert "'soon' is not a valid length of time" in err


def test_a_length_that_is_none_is_wrong_also_where_there_is_no_store(home, capsys):
    assert main.main(["--home", str(home), "hold", "--for", "soon"]) == 2
    assert "'soon' is not a valid length of time" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_dry_run_says_that_the_store_is_held(home, runner, capsys):
    runner.add("x", ["true"], Manual())
    assert main.main(["--home", str(home), "hold", "--quiet"]) == 0
    assert main.main(["--home", str(home), "tick", "--dry-run"]) == 0
    assert "nothing would be started: scheduled runs are paused by " in capsys.readouterr().err
