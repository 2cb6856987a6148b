"""The JSON documents, held to the table of the contract: scripts outside rely on every key."""

import argparse
import json
import re
from datetime import datetime, timedelta

import pytest

from taskrunner import Every, Manual, TaskRunner
from taskrunner.cli import main
from tests.samples import call, wait_for

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")

TASK = {
    *("id", "name", "enabled", "kind", "schedule", "tz", "command", "shell", "next", "last_run"),
    *("last_state", "last_success", "timeout", "overlap", "catch_up"),
}
# Of `add`, these are no options of a task, or stand as kind, schedule, command and shell.
NO_OPTIONS = {
    *("help", "h", "home", "verbose", "color", "name", "json", "quiet", "replace", "now"),
    *("every", "cron", "on", "at_time", "at", "after", "boot", "manual"),
}
MORE = {"created", "error", "source"}  # docs/reference/json.md
RUN = {
    *("id", "task", "slot", "first_slot", "state", "reason", "attempt", "trigger", "coalesced"),
    *("coalesced_at_least", "started", "finished", "duration", "late", "exit_code", "signal"),
    *("output_size", "cpu_seconds", "peak_memory"),
}
UPCOMING = {"task", "slot", "local", "note"}
DECISION = {"task", "slot", "first_slot", "coalesced", "decision", "reason"}
STATUS = {
    *("version", "last_tick", "clock", "held", "running", "pending", "failing", "next"),
    "problems",
}
INSTANTS = {
    *("next", "last_run", "last_success", "anchor", "created", "slot", "first_slot", "started"),
    *("finished", "at", "last_tick"),
}


@pytest.fixture
def ask(home, capsys):
    """Do a command line in this process and return the one document it prints."""

    def ask(*words):
        code = main.main(["--home", str(home), *words])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)  # raises for anything before or after one document

    return ask


@pytest.fixture
def tell(home, capsys):
    def tell(*words):
        code = main.main(["--home", str(home), *words])
        capsys.readouterr()
        return code

    return tell


@pytest.fixture
def live_runner(home):
    with TaskRunner(home) as made:
        yield made


def check_instants(value, name=""):
    """Every value under the name of an instant is one, or null."""
    if isinstance(value, dict):
        for key, part in value.items():
            check_instants(part, key)
    elif isinstance(value, list):
        for part in value:
            check_instants(part)
    elif name in INSTANTS and value is not None:
        assert INSTANT.fullmatch(value), (name, value)


def options():
    """The names of the options of `add`, with an underscore."""
    whole = main.parser()
    (verbs,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    return {action.dest for action in verbs.choices["add"]._actions} - NO_OPTIONS


# ---- tasks


def test_a_task_has_the_keys_of_the_contract_and_every_option(tell, ask):
    tell("add", "x", "--every", "1h", "--", "true")
    for words in (["list", "--json"], ["show", "x", "--json"], ["set", "x", "--json"]):
        document = ask(*words)
        assert set(document) == {"version", "tasks"}
        assert document["version"] == 1
        (task,) = document["tasks"]
        assert set(task) == TASK | options() | MORE
        check_instants(document)


def test_a_fresh_task_in_full(ask):
    (task,) = ask(
        *("add", "x", "--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--json"),
        *("--timeout", "1h30m", "--deadline", "90s", "--umask", "027", "--nice", "-1"),
        *("--env", "A=1", "--stdin", "hi", "--cwd", "/tmp", "--overlap", "queue", "--", "a", "b c"),
    )["tasks"]
    told = {
        "id": 1,
        "name": "x",
        "enabled": True,
        "kind": "cron",
        "schedule": "0 2 * * *",
        "tz": "Europe/Berlin",
        "command": ["a", "b c"],
        "shell": None,
        "last_run": None,
        "last_state": None,
        "last_success": None,
        "timeout": 5400,
        "deadline": 90,
        "kill_after": 10,
        "overlap": "queue",
        "catch_up": "last",
        "catch_up_limit": None,
        "umask": "027",
        "nice": -1,
        "env": {"A": "1"},
        "env_file": None,
        "stdin": "hi",
        "cwd": "/tmp",
        "user": None,
        "anchor": None,
        "from_finish": False,
        "error": None,
    }
    assert {key: task[key] for key in told} == told


def test_what_is_unknown_or_none_is_null(tell, ask):
    tell("add", "x", "--manual", "--timeout", "none", "--shell", "true")
    (task,) = ask("show", "x", "--json")["tasks"]
    null = {key for key, value in task.items() if value is None}
    assert null == {
        *("tz", "command", "next", "last_run", "last_state", "last_success", "timeout"),
        *("catch_up_limit", "deadline", "max_instances", "anchor", "cwd", "env_file", "stdin"),
        *(
            "umask",
            "user",
            "nice",
            "queue",
            "error",
            "jitter",
            "group",
            "expect",
            "reject",
            "max_silence",
        ),
        *("description", "source", "on_failure", "late_after", "long_after"),
        *("python", "args", "code", "code_file", "interpreter", "django"),
    }


def test_after_a_run_a_task_knows_it(tell, ask):
    tell("add", "x", "--manual", "--", "true")
    tell("run", "x")
    (task,) = ask("list", "--json")["tasks"]
    assert task["last_state"] == "succeeded"
    assert INSTANT.fullmatch(task["last_run"])
    assert task["last_success"] >= task["last_run"]


@pytest.mark.parametrize(
    "name", ["TOKEN", "DB_PASSWORD", "my_secret", "API_KEY", "APIKEY", "AWS_SECRET_ACCESS_KEY"]
)
def test_the_values_of_secrets_are_masked_everywhere(tell, ask, name):
    tell("add", "x", "--manual", "--env", f"{name}=geheim", "--env", "PLAIN=seen", "--", "true")
    for words in (["list", "--json"], ["show", "x", "--json"], ["set", "x", "--json"]):
        (task,) = ask(*words)["tasks"]
        assert task["env"] == {name: "***", "PLAIN": "seen"}


def test_the_tasks_of_an_empty_home_are_none(ask):
    assert ask("list", "--json") == {"version": 1, "tasks": []}


def test_text_comes_as_it_is(tell, ask):
    tell("add", "x", "--manual", "--shell", 'echo "ü\t\x1b[31m"')
    assert ask("list", "--json")["tasks"][0]["shell"] == 'echo "ü\t\x1b[31m"'


# ---- runs


def test_a_run_has_the_keys_of_the_contract(tell, ask):
    tell("add", "x", "--manual", "--shell", "echo hi; exit 3")
    tell("run", "x")
    for words in (["history", "--json"], ["log", "x", "--json"], ["log", "2", "--json"]):
        document = ask(*words)
        assert set(document) == {"version", "runs"}
        assert document["version"] == 1
        (run,) = document["runs"]
        assert set(run) == RUN
        check_instants(document)
    assert (run["id"], run["task"], run["state"], run["trigger"]) == (2, "x", "failed", "manual")
    assert (run["exit_code"], run["signal"], run["reason"]) == (3, None, "exit code 3")
    assert (run["attempt"], run["coalesced"], run["coalesced_at_least"]) == (1, 1, False)
    assert run["output_size"] == 3
    assert run["slot"] == run["first_slot"]


def test_lengths_are_numbers_of_seconds(tell, ask):
    tell("add", "x", "--manual", "--", "sleep", "0.2")
    tell("run", "x")
    (run,) = ask("history", "--json")["runs"]
    assert isinstance(run["duration"], float)
    assert isinstance(run["cpu_seconds"], int | float)
    assert 0.2 <= run["duration"] < 60
    started, finished = (datetime.fromisoformat(run[key]) for key in ("started", "finished"))
    assert run["duration"] == pytest.approx((finished - started).total_seconds())
    assert run["late"] is None  # nobody waits for a run by hand


def test_a_late_run_has_its_delay_and_the_number_of_its_slots(runner, clock, ask):
    runner.add("x", ["true"], Every("1h"))
    clock.forward(hours=3, seconds=90)
    runner.tick()
    (run,) = ask("history", "--json")["runs"]
    assert (run["first_slot"], run["slot"]) == ("2026-11-20T13:00:00Z", "2026-11-20T15:00:00Z")
    assert (run["started"], run["late"]) == ("2026-11-20T15:01:30Z", 90)
    assert (run["coalesced"], run["coalesced_at_least"]) == (3, False)
    assert run["trigger"] == "catch-up"


def test_a_signal_is_a_number_and_there_is_no_exit_code_then(tell, ask):
    tell("add", "x", "--manual", "--shell", "kill -9 $$")
    tell("run", "x")
    (run,) = ask("history", "--json")["runs"]
    assert (run["exit_code"], run["signal"]) == (None, 9)


def test_a_run_that_never_started_has_nulls(tell, ask, live_runner):
    tell("add", "x", "--manual", "--overlap", "queue", "--", "sleep", "30")
    live_runner.run("x", detach=True)
    wait_for(lambda: live_runner.history("x", state="running"))
    live_runner.run("x", detach=True)
    tell("disable", "x")
    skipped, running = ask("history", "--json")["runs"]
    assert skipped["state"] == "skipped"
    for key in ("started", "duration", "late", "exit_code", "signal", "cpu_seconds", "peak_memory"):
        assert skipped[key] is None
    assert INSTANT.fullmatch(skipped["finished"])
    for key in ("finished", "duration", "exit_code", "output_size", "cpu_seconds"):
        assert running[key] is None
    tell("cancel", "x")


def test_no_runs_are_an_empty_list(ask):
    assert ask("history", "--json") == {"version": 1, "runs": []}


# ---- what comes


def test_a_slot_to_come_has_the_keys_of_the_contract(tell, ask):
    tell("add", "x", "--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--", "true")
    document = ask("next", "--json")
    assert set(document) == {"version", "next"}
    assert len(document["next"]) == 5
    for item in document["next"]:
        assert set(item) == UPCOMING
        assert item["task"] == "x"
        assert INSTANT.fullmatch(item["slot"])
        local = datetime.fromisoformat(item["local"])
        assert local == datetime.fromisoformat(item["slot"])
        assert (local.hour, local.utcoffset()) in [(2, timedelta(hours=1)), (2, timedelta(hours=2))]


def test_a_slot_of_an_expression_by_hand_has_no_task(ask):
    words = ["--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-10-24T12:00Z"]
    (item,) = ask("next", *words, "-n", "1", "--json")["next"]
    # The night the clocks go back has two 02:30; cron(8) takes the first, which is summer time.
    assert item["task"] is None
    assert item["slot"] == "2026-10-25T00:30:00Z"
    assert item["local"] == "2026-10-25T02:30:00+02:00"


def test_nothing_to_come_is_an_empty_list(ask):
    assert ask("next", "--json") == {"version": 1, "next": []}
    assert ask("next", "--at", "2020-01-01", "--json") == {"version": 1, "next": []}


# ---- what a tick would do


def test_a_decision_has_the_keys_of_the_contract(tell, ask):
    anchor = ["--anchor", "2031-01-01T08:00Z", "--tz", "UTC"]
    tell("add", "x", "--every", "1d", *anchor, "--", "true")
    document = ask("tick", "--dry-run", "--at", "2031-01-02T09:00Z", "--json")
    assert set(document) == {"version", "at", "decisions"}
    assert document["at"] == "2031-01-02T09:00:00Z"
    (decision,) = document["decisions"]
    assert set(decision) == DECISION
    assert {**decision, "reason": None} == {
        "task": "x",
        "slot": "2031-01-02T08:00:00Z",
        "first_slot": "2031-01-01T08:00:00Z",
        "coalesced": 2,
        "decision": "run",
        "reason": None,
    }
    assert "2 slots" in decision["reason"]


def test_each_way_to_decide_is_one_of_the_words(tell, ask):
    anchor = ["--every", "1h", "--anchor", "2031-01-01T08:00Z"]
    tell("add", "run", *anchor, "--", "true")
    tell("add", "miss", *anchor, "--deadline", "1m", "--catch-up", "none", "--", "true")
    found = ask("tick", "--dry-run", "--at", "2031-01-01T08:30Z", "--json")["decisions"]
    assert {(item["task"], item["decision"]) for item in found} == {
        ("run", "run"),
        ("miss", "miss"),
    }


def test_no_decisions_are_an_empty_list(ask):
    document = ask("tick", "--dry-run", "--at", "2031-01-02T09:00Z", "--json")
    assert document == {"version": 1, "at": "2031-01-02T09:00:00Z", "decisions": []}


# ---- how things stand


def test_status_has_the_keys_of_the_contract(tell, ask, live_runner):
    tell("add", "bad", "--manual", "--", "false")
    tell("run", "bad")
    tell("add", "x", "--every", "1h", "--overlap", "queue", "--", "sleep", "30")
    live_runner.run("x", detach=True)
    wait_for(lambda: live_runner.history("x", state="running"))
    live_runner.run("x", detach=True)
    document = ask("status", "--json")
    assert set(document) == STATUS
    check_instants(document)
    assert document["version"] == 1
    assert INSTANT.fullmatch(document["last_tick"])
    assert document["clock"] == "hand"
    assert document["held"] is None
    assert [set(run) for run in document["running"] + document["pending"]] == [RUN, RUN]
    assert document["failing"] == ["bad"]
    assert [set(item) for item in document["next"]] == [UPCOMING]  # one for each task
    assert all(isinstance(problem, str) for problem in document["problems"])
    assert tell("cancel", "x") == 0


def test_status_where_there_is_nothing(ask):
    assert ask("status", "--json") == {
        "version": 1,
        "last_tick": None,
        "clock": None,
        "held": None,
        "running": [],
        "pending": [],
        "failing": [],
        "next": [],
        "problems": [],
    }


def test_status_reports_that_no_tick_has_come(ask, live_runner):
    live_runner.add("x", ["true"], Manual())
    assert len(ask("status", "--json")["problems"]) == 1


# ---- the text itself


def test_the_real_program_prints_one_document_in_utf8_and_a_line_break(home, live_runner):
    live_runner.add("x", shell="echo ü", schedule=Manual())
    out, err, code = call(home, "list", "--json")
    assert (err, code) == ("", 0)
    assert out.endswith("}\n")
    assert out.index('"version"') < out.index('"tasks"')
    assert "echo ü" in out
