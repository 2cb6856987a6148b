"""Who is told, of what, and how often: rules into the outbox. The clock is moved by hand, nothing is sent."""

import sqlite3
import threading
from contextlib import closing, contextmanager

import pytest

from taskrunner import Cron, Every, InputError, Manual, TaskRunner, clock as clock_room
from taskrunner.store import outbox
from taskrunner.tick import idle_check
from tests.samples import wait_for

CHANNELS = """
[notify.ops]
kind = "command"
shell = "true"

[notify.pager]
kind = "command"
shell = "true"
repeat = "10m"

[notify.quiet]
kind = "command"
shell = "true"
repeat = "never"

[notify.loud]
kind = "command"
shell = "true"
repeat = "always"

[notify.switch]
kind = "ping"
url = "http://127.0.0.1:9/uuid"
"""


@pytest.fixture
def told(home, clock):
    """Returns who was told what since it was last asked: pairs of channel and event, oldest first."""
    (home / "taskrunner.toml").write_text(CHANNELS)
    with TaskRunner(home, clock=clock) as runner:
        last = 0

        def ask():
            nonlocal last
            found = [each for each in reversed(runner.outbox(1000)) if each.id > last]
            last = max([last, *(each.id for each in found)])
            return [(each.channel, each.event) for each in found]

        ask.runner = runner
        yield ask


def minutely(told, clock, shell, **options):
    """Add a task of every minute, and return a function that lets some minutes pass."""
    told.runner.add("x", None, Cron("* * * * *", tz="UTC"), shell=shell, **options)

    def minutes(count=1):
        for _ in range(count):
            clock.forward(minutes=1)
            told.runner.tick()

    return minutes


def test_nobody_is_notified_without_a_rule(told, clock):
    minutely(told, clock, "false")(3)
    assert told() == []


def test_a_failure_that_goes_on_is_reported_once_and_then_the_recovery(told, clock, tmp_path):
    flag = tmp_path / "good"
    minutes = minutely(told, clock, f"test -e {flag}", notify="@ops")
    minutes(5)
    assert told() == [("ops", "failure")]
    flag.touch()
    minutes(3)
    assert told() == [("ops", "recovery")]
    flag.unlink()
    minutes(2)
    assert told() == [("ops", "failure")]


def test_a_failure_that_goes_on_is_reported_again_after_the_repeat_of_the_channel(told, clock):
    rules = {"failure": "@ops,@pager,@quiet,@loud"}
    minutes = minutely(told, clock, "false", notify=rules)
    minutes(1)
    told()
    minutes(9)
    assert set(told()) == {("loud", "failure")}
    minutes(1)
    assert set(told()) == {("loud", "failure"), ("pager", "failure")}
    clock.forward(hours=24)
    minutes(1)
    assert sorted(told()) == [("loud", "failure"), ("ops", "failure"), ("pager", "failure")]


def test_a_success_is_not_a_recovery_when_no_failure_was_told(told, clock):
    minutely(told, clock, "true", notify="@ops")(2)
    assert told() == []


def test_who_asks_for_the_recovery_alone_is_told_of_it(told, clock, tmp_path):
    flag = tmp_path / "good"
    minutes = minutely(told, clock, f"test -e {flag}", notify="recovery=@ops")
    minutes(2)
    assert told() == []
    flag.touch()
    minutes(2)
    assert told() == [("ops", "recovery")]


def test_a_slot_with_further_attempts_is_reported_after_the_last_one(told, clock):
    runner = told.runner
    runner.add("x", ["false"], Cron("0 * * * *", tz="UTC"), retries=2, notify="start,failure=@ops")
    clock.forward(hours=1)
    runner.tick()
    assert told() == [("ops", "start")]
    clock.forward(minutes=2)
    runner.tick()
    assert told() == []
    clock.forward(minutes=2)
    runner.tick()
    assert told() == [("ops", "failure")]
    assert runner.history("x", limit=1)[0].attempt == 3


def test_an_attempt_that_succeeds_in_the_end_is_not_a_failure(told, clock, tmp_path):
    flag = tmp_path / "good"
    told.runner.add(
        "x", None, Cron("0 * * * *", tz="UTC"), shell=f"test -e {flag}", retries=1, notify="@ops"
    )
    clock.forward(hours=1)
    told.runner.tick()
    flag.touch()
    clock.forward(minutes=2)
    told.runner.tick()
    assert [run.state for run in told.runner.history("x")] == ["succeeded", "failed"]
    assert told() == []


def test_the_first_success_is_reported_once(told, clock, tmp_path):
    flag = tmp_path / "good"
    minutes = minutely(told, clock, f"test -e {flag}", notify="first-success=@ops")
    minutes(1)
    flag.touch()
    minutes(3)
    assert told() == [("ops", "first-success")]


def test_a_success_before_there_was_a_rule_is_the_first_one(told, clock):
    minutes = minutely(told, clock, "true")
    minutes(1)
    told.runner.set("x", notify="first-success=@ops")
    minutes(1)
    assert told() == []


def test_every_success_is_told_to_who_asks_for_it(told, clock):
    minutely(told, clock, "true", notify="success=@ops")(2)
    assert told() == [("ops", "success")] * 2


def test_a_missed_slot_is_reported_once_until_one_runs_again(told, clock):
    told.runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"), catch_up="none", notify="@ops")
    for _ in range(2):
        clock.forward(hours=1, minutes=30)
        told.runner.tick()
    assert told() == [("ops", "missed")]
    clock.forward(minutes=60 - clock().minute)
    told.runner.tick()
    clock.forward(hours=1, minutes=30)
    told.runner.tick()
    assert told() == [("ops", "missed")]


def test_a_slot_that_is_skipped_is_not_reported(told, clock):
    told.runner.add("x", ["true"], Manual(), notify={"failure": "@ops", "missed": "@ops"})
    told.runner.add("y", ["true"], Every("1m"), notify="@ops")
    told.runner.disable("y")
    clock.forward(minutes=2)
    told.runner.tick()
    assert told() == []


def test_a_run_that_starts_late_is_reported_and_only_once_until_one_is_in_time(told, clock):
    told.runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"), late_after="10m", notify="@ops")
    for minutes, expected in (
        (61, []),
        (70, [("ops", "late")]),
        (70, []),
        (39, []),
        (75, [("ops", "late")]),
    ):
        clock.forward(minutes=minutes)
        told.runner.tick()
        assert told() == expected, clock()


def test_what_is_asked_for_by_hand_is_never_late(told, clock):
    told.runner.add("x", ["true"], Manual(), late_after="1m", notify="@ops")
    told.runner.run("x", slot=clock.forward(days=-3))
    assert told() == []


LONG = {"long_after": 3, "notify": "@ops"}


def with_usual_time(told, clock, seconds, **options):
    """Add a task with a history of runs that took as long, and return its id."""
    task = told.runner.add("x", ["true"], Cron("0 * * * *", tz="UTC"), **options)
    for _ in range(3):
        clock.forward(hours=1)
        told.runner.tick()
    told.runner.close()
    with closing(sqlite3.connect(told.runner.home + "/taskrunner.db")) as store, store:
        store.execute("UPDATE runs SET finished = started + ?", (seconds * 1000,))
    store.close()
    return task.id


@contextmanager
def running(told, clock, tmp_path):
    """The task x of a history goes on in a thread, until the block is left."""
    go, begun = tmp_path / "go", tmp_path / "begun"
    shell = f"touch {begun}; while ! test -e {go}; do sleep 0.02; done; rm {go} {begun}"
    told.runner.set("x", shell=shell)
    clock.forward(hours=1)

    def tick():
        with TaskRunner(told.runner.home, clock=clock) as other:
            other.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        wait_for(begun.exists)
        yield
    finally:
        go.touch()
        thread.join()


def test_a_run_that_takes_longer_than_usual_is_reported_while_it_runs(told, clock, tmp_path):
    with_usual_time(told, clock, 60, **LONG)
    with running(told, clock, tmp_path):
        clock.forward(minutes=2, seconds=59)
        assert (told.runner.deliver(), told()) == ([], [])
        clock.forward(seconds=1)
        (done,) = told.runner.deliver()
        assert (done.channel, done.event, done.error) == ("ops", "long", None)
    assert told() == [("ops", "long")]
    with running(told, clock, tmp_path):  # it is known by now that it does
        clock.forward(minutes=30)
        assert told.runner.deliver() == []
    clock.forward(days=2)
    with running(told, clock, tmp_path):
        clock.forward(minutes=30)
        assert len(told.runner.deliver()) == 1


def test_a_run_that_ends_in_time_takes_back_what_would_have_been_told(told, clock, tmp_path, home):
    with_usual_time(told, clock, 60, **LONG)
    with running(told, clock, tmp_path):
        clock.forward(minutes=1)
        assert len(rows(home, "SELECT 1 FROM outbox WHERE event = 'long'")) == 1
    assert rows(home, "SELECT 1 FROM outbox") == []
    clock.forward(hours=2)
    assert told.runner.deliver() == []


def test_the_idle_path_wakes_up_when_a_run_begins_to_take_long(told, clock, tmp_path, home):
    with_usual_time(told, clock, 60, **LONG)
    with running(told, clock, tmp_path):
        for expected in (True, True, True, False):
            assert idle_check.idle(str(home), clock_room.to_ms(clock()), "test") is expected
            clock.forward(minutes=1)


def rows(home, sql):
    store = sqlite3.connect(home / "taskrunner.db")
    found = store.execute(sql).fetchall()
    store.close()
    return found


def test_an_interval_that_is_too_short_to_matter_is_never_long(told, clock):
    minutes = minutely(told, clock, "sleep 0.05", **LONG)
    minutes(6)
    assert told() == []


def test_a_rule_of_the_configuration_is_for_all_tasks_or_for_those_it_names(home, clock):
    (home / "taskrunner.toml").write_text(
        '[notify.all]\nkind = "command"\nshell = "true"\non = ["failure"]\n'
        '[notify.some]\nkind = "command"\nshell = "true"\non = ["failure"]\ntasks = ["db-*", "x"]\n'
    )
    with TaskRunner(home, clock=clock) as runner:
        for name in ("db-dump", "x", "other"):
            runner.add(name, ["false"], Manual())
            runner.run(name)
        found = {(each.task, each.channel) for each in runner.outbox()}
    assert found == {
        *(("db-dump", "all"), ("db-dump", "some"), ("x", "all"), ("x", "some"), ("other", "all")),
    }


def test_a_channel_that_two_rules_name_is_reported_once(told):
    told.runner.add("x", ["false"], Manual(), on_failure="@ops", notify={"failure": "@ops,@pager"})
    told.runner.run("x")
    assert sorted(told()) == [("ops", "failure"), ("pager", "failure")]


def test_a_ping_reports_each_start_and_each_end(told, clock):
    minutely(told, clock, "false", notify="@switch")(2)
    assert told() == [("switch", "start"), ("switch", "failure")] * 2


def test_a_lost_run_is_a_failure_and_is_reported_as_lost(told, clock, home):
    told.runner.add("x", ["true"], Manual(), notify={"lost": "@pager", "failure": "@ops"})
    told.runner.run("x")
    told.runner.close()
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        store.execute("UPDATE runs SET state = 'running', finished = NULL")
        store.execute(
            "INSERT INTO processes (run_id, supervisor, boot_id, output, inode) "
            "VALUES (2, 'gone', 'another boot', 'x', 1)"
        )
    store.close()
    told.runner.tick()
    assert told.runner.history()[0].state == "lost"
    assert sorted(told()) == [("ops", "lost"), ("pager", "lost")]


def test_a_run_that_timed_out_has_failed_and_one_that_was_cancelled_has_not(told):
    told.runner.add("x", ["sleep", "60"], Manual(), timeout="1s", notify="@ops")
    told.runner.run("x")
    assert told() == [("ops", "failure")]


def test_a_command_of_the_task_is_a_channel_of_its_own(told, clock, tmp_path):
    flag = tmp_path / "good"
    minutes = minutely(
        told, clock, f"test -e {flag}", on_failure="echo bad", notify={"recovery": "echo good"}
    )
    minutes(2)
    flag.touch()
    minutes(2)
    rows = [(each.channel, each.event, each.command) for each in told.runner.outbox()]
    assert rows == [("", "recovery", "echo good"), ("", "failure", "echo bad")]


def test_a_message_that_the_store_does_not_take_costs_no_outcome(told, home):
    told.runner.add("x", ["false"], Manual(), notify="@ops")
    told.runner.run("x")
    told.runner.close()
    forbid = "CREATE TRIGGER t BEFORE INSERT ON outbox BEGIN SELECT raise(FAIL, 'no'); END"
    rows(home, forbid)
    told.runner.set("x", notify="failure=@loud")
    run = told.runner.run("x")
    assert run.state == "failed" and "IntegrityError" in run.reason
    rows(home, "DROP TRIGGER t")
    told.runner.run("x")
    assert told() == [("ops", "failure"), ("loud", "failure")]


def test_a_store_without_rules_pays_no_statement_for_a_run(home, clock, monkeypatch):
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["false"], Manual())
        runner.run("x")
        store = runner._here().store
        asked = []
        real = store.connection.run
        monkeypatch.setattr(
            store.connection, "run", lambda sql, v=(): (asked.append(sql), real(sql, v))[1]
        )
        runner.run("x")
    assert not [sql for sql in asked if "outbox" in sql or "told" in sql]


def test_what_is_done_with_is_kept_up_to_a_number(told, monkeypatch, home):
    monkeypatch.setattr(outbox, "KEPT", 3)
    told.runner.add("x", ["true"], Manual(), notify="success=@ops")
    for _ in range(6):
        told.runner.run("x")
    told.runner.deliver()
    assert [each.run_id for each in told.runner.outbox()] == [7, 6, 5]


def test_a_task_that_is_gone_takes_its_messages_along(told, clock, home):
    told.runner.add("x", ["false"], Manual(), notify="@ops")
    told.runner.run("x")
    told.runner.close()
    with closing(sqlite3.connect(home / "taskrunner.db")) as store, store:
        store.execute("PRAGMA foreign_keys = ON")
        store.execute("DELETE FROM outputs")
        store.execute("DELETE FROM runs")
        store.execute("DELETE FROM events")
        store.execute("DELETE FROM tasks")
        assert store.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        assert store.execute("SELECT count(*) FROM told").fetchone() == (0,)
    store.close()


# ---- rules as they are written


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        ("@ops", {"usual": "@ops"}),
        ("@ops,@pager", {"usual": "@ops,@pager"}),
        ("failure,late=@ops", {"failure": "@ops", "late": "@ops"}),
        (["@ops", "success=touch a=b"], {"usual": "@ops", "success": "touch a=b"}),
        (["failure=@ops", "failure=@pager"], {"failure": "@ops,@pager"}),
        (["failure,late=@ops", "late=@pager,@ops"], {"failure": "@ops", "late": "@ops,@pager"}),
        (["@ops", "@pager", "@ops"], {"usual": "@ops,@pager"}),
        (["failure=date, time", "failure=date, time"], {"failure": "date, time"}),
        ({"lost": "@ops"}, {"lost": "@ops"}),
        ({}, {}),
    ],
)
def test_rules_are_given_as_texts_or_as_a_table(runner, given, rules):
    assert runner.add("x", ["true"], Manual(), notify=given).notify == rules
    assert runner.task("x").notify == rules


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"notify": "ops"},
            "'ops' is not a valid rule: write @CHANNEL, EVENT=@CHANNEL, EVENT=ADDRESS or EVENT=COMMAND",
        ),
        ({"notify": "failed=@ops"}, "'failed' is not an event: use one of start, success"),
        ({"notify": "failure=@o ps"}, "it must be channels such as @ops or @ops,@pager"),
        (
            {"notify": ["failure=@ops", "failure=date"]},
            "it names two recipients for failure, '@ops' and 'date': give channels such as @ops,@pager, or one",
        ),
        ({"notify": ["late=date", "late=time"]}, "two recipients for late, 'date' and 'time'"),
        (
            {"notify": {"failure": 3}},
            "it must be @CHANNEL, a mail address, or a command for the shell",
        ),
        (
            {"on_failure": " "},
            "--on-failure ' ': it must be @CHANNEL, a mail address, or a command for the shell",
        ),
        ({"late_after": "soon"}, "--late-after 'soon'"),
        ({"long_after": 0.5}, "--long-after '0.5': it must be a number from 1 to 100"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(runner, options, sentence):
    with pytest.raises(InputError) as caught:
        runner.add("x", ["true"], Manual(), **options)
    assert sentence in str(caught.value)
    assert runner.tasks() == []


def test_a_channel_that_is_not_there_is_reported_at_once(told):
    task = told.runner.add("x", ["true"], Manual(), notify="@opps", on_failure="@ops")
    assert told.runner.advice(task) == [
        "there is no channel 'opps' in taskrunner.toml: no message is sent until it is added"
    ]


# ---- channels as they are written


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("notify = 3", "notify in {} must be tables such as [notify.ops]"),
        (
            "[notify.x]",
            "the channel 'x' in {}: has no kind: it must be one of command, mail, webhook, ping",
        ),
        ('[notify.x]\nkind = "fax"', "kind 'fax' must be one of command, mail, webhook, ping"),
        ('[notify."a b"]\nkind = "ping"', "the channel 'a b' in {}: use letters, digits"),
        ('[notify.x]\nkind = "ping"', "give one of url, url_file, url_env"),
        ('[notify.x]\nkind = "ping"\nurl = "ftp://x/"', "url must be an address that begins with"),
        ('[notify.x]\nkind = "ping"\nurl = "http://x/"\non = ["late"]', "a ping can send only"),
        ('[notify.x]\nkind = "command"\nshell = "x"\ncommand = "y"', "give one of command, shell"),
        (
            '[notify.x]\nkind = "command"\nshel = "x"',
            "'shel' is not a setting of command: did you mean shell?",
        ),
        ('[notify.x]\nkind = "command"\nshell = "x"\non = ["fail"]', "on must be a list of events"),
        (
            '[notify.x]\nkind = "command"\nshell = "x"\nrepeat = "1"',
            "repeat must be a duration such as 6h",
        ),
        (
            '[notify.x]\nkind = "command"\nshell = "x"\ntime_limit = "1h"',
            "a duration of at most 10m",
        ),
        ('[notify.x]\nkind = "mail"', "to is missing"),
        ('[notify.x]\nkind = "mail"\nto = "a b"', "to must be a mail address"),
        ('[notify.x]\nkind = "mail"\nto = "a"\ntls = "tls"', "tls goes only with smtp"),
        (
            '[notify.x]\nkind = "mail"\nto = "a"\nsmtp = "h"\npassword = "hunter2"',
            "give password_file",
        ),
        ('[notify.x]\nkind = "mail"\nto = "a"\nsmtp = "h"\nuser = "u"', "user and password_file"),
        (
            '[notify.x]\nkind = "mail"\nto = "a"\nsmtp = "h"\nuser = "u"\npassword_env = "P"\ntls = "none"',
            "with tls none the password would be sent in clear text",
        ),
        (
            '[notify.x]\nkind = "mail"\nto = "a"\nsmtp = "h"\nsendmail = "/s"',
            "give sendmail or smtp",
        ),
        (
            '[notify.x]\nkind = "webhook"\nurl = "http://x/"\nheaders = {"a b" = "c"}',
            "header names",
        ),
    ],
)
def test_a_channel_that_means_nothing_is_refused(home, text, sentence):
    place = home / "taskrunner.toml"
    place.write_text(text)
    with pytest.raises(InputError) as caught:
        TaskRunner(home).channels()
    assert sentence.format(repr(str(place))) in str(caught.value).replace(
        str(place), repr(str(place))
    ) or (sentence.format(place) in str(caught.value))
    assert "hunter2" not in str(caught.value)


def test_no_secret_of_an_address_is_in_a_sentence(home):
    (home / "taskrunner.toml").write_text(
        '[notify.x]\nkind = "webhook"\nurl = "http://tok en@x/secret"\n'
    )
    with pytest.raises(InputError) as caught:
        TaskRunner(home).channels()
    assert "/secret'" not in str(caught.value) and "tok en" not in str(caught.value)


def test_channels_are_shown_without_what_may_be_secret(home):
    (home / "taskrunner.toml").write_text(
        '[notify.a]\nkind = "webhook"\nurl = "https://u:p@hooks.example.org/T0/B0/tok"\n'
        '[notify.b]\nkind = "webhook"\nurl = "https://hooks.example.org?key=tok"\n'
        '[notify.c]\nkind = "ping"\nurl_file = "/etc/ping"\n'
        '[notify.d]\nkind = "mail"\nto = ["a@b", "c@d"]\nsmtp = "mail.example.org:587"\n'
    )
    assert [each.where for each in TaskRunner(home).channels()] == [
        "https://hooks.example.org/***",
        "https://hooks.example.org/***",
        "the address in /etc/ping",
        "a@b, c@d by mail.example.org:587",
    ]
