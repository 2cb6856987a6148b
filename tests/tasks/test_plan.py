"""Applying task files: what changes, what is told of it, and that all or nothing is done."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings, strategies as st

from taskrunner import Every, InputError, Manual, State, StateError, TaskRunner
from taskrunner.home.config import Config
from taskrunner.supervise import command
from taskrunner.tasks import plan
from taskrunner.tasks.options import DEFAULTS
from tests.samples import NOON, TASK, run

HOURLY = '[tasks.a]\nevery = "1h"\ntz = "UTC"\ncommand = ["true"]\n'


def manual(*names):
    return "".join(f'[tasks.{name}]\nmanual = true\ncommand = ["true"]\n' for name in names)


@pytest.fixture
def apply(runner):
    def apply(text, **more):
        plan = runner.apply(text=text, **more)
        return {each.task: (each.action, *each.told) for each in plan.tasks}

    return apply


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        return place

    return write


def names(runner):
    return [task.name for task in runner.tasks()]


# ---- add, change, keep


def test_tasks_are_added_with_their_options_and_the_file_they_came_from(runner, write):
    place = write("t.toml", HOURLY + 'timeout = "5m"\ndescription = "what for"\n')
    plan = runner.apply(place)
    assert [(each.task, each.action) for each in plan.tasks] == [("a", "add")]
    assert plan.tasks[0].told == ("every hour", "next slot 2026-11-20 13:00 (UTC)")
    task = runner.task("a")
    assert (task.timeout, task.description) == (timedelta(minutes=5), "what for")
    assert task.source == str(place)


def test_many_new_tasks_are_not_read_one_by_one(runner, apply):
    apply(manual("first"))
    asked = []
    runner._here().store.connection.raw.set_trace_callback(asked.append)

    def read(text):
        asked.clear()
        apply(text)
        return sum(sql.lstrip().startswith("SELECT") for sql in asked)

    assert read(manual("a", "b", "c", "d", "e")) == read(manual("f"))
    assert [runner.explain(name).changes[0].what for name in "abcdef"] == ["added: manual"] * 6


def test_applying_twice_changes_nothing_and_keeps_the_place_in_time(runner, apply, clock):
    apply(HOURLY)
    before = runner.task("a")
    clock.forward(minutes=20)
    assert apply(HOURLY) == {"a": ("keep",)}
    assert runner.task("a") == before
    assert not runner.apply(text=HOURLY).changes


def test_another_option_leaves_the_place_in_time(runner, apply, clock):
    apply(HOURLY)
    clock.forward(minutes=20)
    assert apply(HOURLY + "nice = 3\n") == {"a": ("change", "nice none -> 3")}
    assert runner.task("a").next == Every("1h", clock.at - timedelta(minutes=20)).slot(1)


def test_another_schedule_moves_the_next_slot_and_says_from_where_to_where(apply):
    cron = '[tasks.a]\ncron = "{} 2 * * *"\nshell = "x"\ntz = "Europe/Berlin"\n'
    apply(cron.format(0))
    assert apply(cron.format(30))["a"] == (
        "change",
        "every day at 02:30 (Europe/Berlin), instead of every day at 02:00 (Europe/Berlin)",
        "next slot moves from 2026-11-21 02:00 to 2026-11-21 02:30 (Europe/Berlin)",
        "no slot lost",
    )


def test_slots_that_have_come_due_and_are_lost_by_a_new_schedule_are_counted(apply, clock):
    apply(HOURLY)
    clock.forward(hours=3)
    told = apply(HOURLY.replace("1h", "2h"))["a"]
    assert "3 slots that came due and that no tick has handled yet will not run" in told


class Watched:
    """A task that notes which of its fields are read."""

    def __init__(self, task, read):
        self._task, self._read = task, read

    def __getattr__(self, name):
        self._read.add(name)
        return getattr(self._task, name)


def test_the_plan_knows_each_field_that_a_run_takes_from_its_task_when_it_starts(tmp_path):
    """With one missing, `apply` would not say that running runs keep the old value of that field."""
    empty = tmp_path / "env"
    empty.touch(0o600)
    kinds = (
        {"env_file": str(empty)},
        {"command": (), "shell": "true"},
        {"command": (), "python": "a:b", "args": [1], "interpreter": "/usr", "django": "a.b"},
        {"command": (), "code": "1"},
        {"command": (), "code_file": "/a.py"},
    )
    read = set()
    for kind in kinds:
        task = Watched(replace(TASK, **kind), read)
        command.resolve(task, run(7, State.PENDING), Config(), NOON)
    of_the_moment = {"name", "last_success"}
    # The queue is read by those who start it.
    assert read - of_the_moment | {"queue"} == set(plan.AT_START)


def test_runs_that_go_on_keep_the_old_settings_and_those_that_wait_take_the_new_ones(
    runner, apply, home
):
    apply(manual("a").replace("true\n", 'true\noverlap = "queue"\n'))
    insert = (
        "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed) "
        "VALUES (1, ?, ?, 'manual', ?, 1)"
    )
    with closing(sqlite3.connect(home / "taskrunner.db")) as made, made:
        for slot, state in ((1, "running"), (2, "running"), (3, "pending")):
            made.execute(insert, (slot, slot, state))
    made.close()
    told = apply(
        manual("a").replace("true\n", 'true\noverlap = "queue"\n').replace('"true"', '"x"')
    )
    assert told["a"] == (
        "change",
        "command true -> x",
        "2 runs keep the old settings",
        "1 waiting run takes the new ones",
    )


def test_a_task_made_by_hand_is_taken_over(runner, apply):
    runner.add("a", ["true"], Every("1h", tz="UTC"))
    assert apply(HOURLY) == {"a": ("change", "belongs to - from now on")}


def test_a_task_that_cannot_be_evaluated_is_mended_by_its_file(runner, apply, home):
    apply(HOURLY)
    with closing(sqlite3.connect(home / "taskrunner.db")) as made, made:
        made.execute("UPDATE tasks SET tz = 'Mars/Base', next = 1")
    made.close()
    told = apply(HOURLY)["a"]
    assert told[1].startswith(
        "every hour, instead of what could not be evaluated: 'Mars/Base' is no"
    )
    assert runner.task("a").tz == "UTC"


def test_another_anchor_moves_the_grid(apply):
    told = apply(HOURLY) and apply(HOURLY + 'anchor = "2026-11-20 11:50"\n')["a"]
    assert told == (
        "change",
        "next slot moves from 2026-11-20 13:00 to 2026-11-20 12:50 (UTC)",
        "no slot lost",
    )


def test_the_history_reports_what_a_file_changed(runner, apply):
    apply(HOURLY)
    apply(HOURLY + "nice = 3\n")
    told = [each.what for each in runner.explain("a").changes]
    assert told == ["added: every 1h from 2026-11-20 12:00:00 UTC (UTC)", "changed: nice none -> 3"]


# ---- one-offs, enabled, now


def test_a_one_off_that_has_passed_is_added_disabled_and_told(runner, apply):
    text = '[tasks.a]\nat = "2020-01-01"\nshell = "x"\n'
    assert apply(text)["a"][2] == "its instant, 2020-01-01T00:00:00, has passed: it will not run"
    assert not runner.task("a").enabled
    assert apply(text) == {"a": ("keep",)}
    assert apply(text + "enabled = true\n") == {"a": ("keep",)}


def test_a_one_off_that_gets_another_instant_comes_due_again(runner, apply):
    text = '[tasks.a]\nat = "{}"\nshell = "x"\n'
    apply(text.format("2020-01-01"))
    assert "is scheduled again" in apply(text.format("2030-01-01"))["a"]
    assert runner.task("a").enabled
    assert "is no longer scheduled" in apply(text.format("2020-01-01"))["a"]


def test_what_a_file_does_not_say_about_enabled_is_left_to_people(runner, apply):
    apply(HOURLY)
    runner.disable("a")
    assert apply(HOURLY) == {"a": ("keep",)}
    assert apply(HOURLY + "enabled = true\n") == {"a": ("change", "is scheduled again")}
    assert runner.task("a").enabled
    assert apply(HOURLY + "enabled = false\n") == {"a": ("change", "is no longer scheduled")}
    assert not runner.task("a").enabled


def test_a_task_that_is_enabled_by_a_file_keeps_its_grid(runner, apply, clock):
    apply(HOURLY + "enabled = false\n")
    clock.forward(minutes=20)
    apply(HOURLY + "enabled = true\n")
    assert runner.task("a").next == clock.at + timedelta(minutes=40)


def test_disabling_by_a_file_skips_what_waits(runner, apply):
    apply(HOURLY + "now = true\n")
    runner.run("a", detach=True)
    apply(HOURLY + "enabled = false\n")
    states = {run.state for run in runner.history("a")}
    assert states <= {"skipped", "succeeded", "running"}
    assert runner.task("a").requested is None


def test_now_makes_a_run_due_at_once_when_the_task_is_new_and_never_again(runner, apply):
    assert apply(HOURLY + "now = true\n")["a"][2] == "a run at once"
    assert runner.tick().runs[0].task == "a"
    assert apply(HOURLY + "now = true\n") == {"a": ("keep",)}
    assert runner.task("a").requested is None


# ---- chains and groups


def test_a_parent_may_stand_further_down_or_in_another_file(runner, write):
    child = '[tasks.{}]\nafter = "{}"\nshell = "x"\n'
    one = write("one.toml", child.format("c", "b") + child.format("b", "a"))
    two = write("two.toml", HOURLY)
    runner.apply(one, two)
    assert names(runner) == ["a", "b", "c"]


def test_a_parent_may_be_in_the_store(runner, apply):
    runner.add("a", ["true"], Manual())
    apply('[tasks.b]\nafter = "a"\nshell = "x"\n')
    assert names(runner) == ["a", "b"]


def test_a_parent_that_is_nowhere_is_a_fault_at_its_line(runner):
    text = '[tasks.b]\nshell = "x"\nafter = "nobody"\n'
    with pytest.raises(
        StateError, match=r"stdin, line 3: b: it runs after 'nobody', which is neither"
    ):
        runner.apply(text=text)


def test_a_circle_is_a_fault_of_each_task_in_it(runner):
    text = '[tasks.a]\nafter = "b"\nshell = "x"\n[tasks.b]\nafter = "a"\nshell = "x"\n'
    with pytest.raises(InputError) as caught:
        runner.apply(text=text)
    assert str(caught.value).splitlines() == [
        "stdin, line 2: a: it runs after itself: a after b after a",
        "stdin, line 5: b: it runs after itself: b after a after b",
    ]


def test_a_circle_that_goes_away_in_the_same_file_is_none(runner, apply):
    apply(manual("a") + '[tasks.b]\nafter = "a"\nshell = "x"\n')
    apply(manual("b") + '[tasks.a]\nafter = "b"\nshell = "x"\n')
    assert runner.task("a").schedule == "b"


def test_limits_of_a_group_must_agree_over_files_and_store(runner, apply):
    runner.add("old", ["true"], Manual(), group="db:2")
    text = manual("a") + 'group = "db:3"\n'
    with pytest.raises(
        InputError, match=r"line 4: a: group 'db:3' contradicts old, which says db:2"
    ):
        apply(text)
    apply(text.replace("db:3", "db:2") + manual("b") + 'group = "db"\n')


# ---- prune


def test_prune_removes_what_the_file_no_longer_has_and_only_what_it_owned(runner, write):
    one, two = write("one.toml", manual("a", "b")), write("two.toml", manual("c"))
    runner.apply(one)
    runner.apply(two)
    runner.add("mine", ["true"], Manual())
    write("one.toml", manual("a"))
    assert not runner.apply(one).changes
    assert names(runner) == ["a", "b", "c", "mine"]
    plan = runner.apply(one, prune=True)
    assert [(each.task, each.action) for each in plan.tasks] == [("a", "keep"), ("b", "remove")]
    assert names(runner) == ["a", "c", "mine"]


def test_prune_of_a_folder_removes_what_deleted_files_had(runner, write, tmp_path):
    write("conf/one.toml", manual("a"))
    gone = write("conf/two.toml", manual("b"))
    write("conf/.hidden.toml", manual("no"))
    write("conf/notes.txt", "not valid TOML")
    runner.apply(tmp_path / "conf")
    assert names(runner) == ["a", "b"]
    gone.unlink()
    runner.apply(tmp_path / "conf", prune=True)
    assert names(runner) == ["a"]


def test_a_removed_task_reports_its_history_and_what_came_after_it(runner, apply):
    runner.add("mine", ["true"], Manual())
    apply(manual("a", "b"))
    runner.set("mine", schedule=__import__("taskrunner").After("b"))
    runner.run("b")
    assert apply(manual("a"), prune=True)["b"] == (
        "remove",
        "1 run stays in history",
        "mine ran after it and will not run any more",
    )
    assert runner.history("b")


def test_a_task_whose_run_has_not_ended_is_not_pruned_and_nothing_else_happens(runner, apply, home):
    apply(manual("a"))
    with closing(sqlite3.connect(home / "taskrunner.db")) as made, made:
        made.execute(
            "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed) "
            "VALUES (1, 1, 1, 'manual', 'running', 1)"
        )
    made.close()
    with pytest.raises(StateError, match=r"a is not removed: run 1 .running. has not ended"):
        apply(manual("b"), prune=True)
    assert names(runner) == ["a"]


# ---- owners


def test_a_task_of_a_file_that_is_still_there_is_not_taken_by_another(runner, write):
    one, two = write("one.toml", manual("a")), write("two.toml", manual("a"))
    runner.apply(one)
    with pytest.raises(
        StateError, match=r"two\.toml, line 1: a: it belongs to .*one\.toml: take it"
    ):
        runner.apply(two)
    one.unlink()
    assert runner.apply(two).tasks[0].told == (f"belongs to {two} from now on",)


def test_a_task_may_move_between_files_that_are_applied_together(runner, write):
    one, two = write("one.toml", manual("a")), write("two.toml", manual("b"))
    runner.apply(one, two)
    write("one.toml", "")
    write("two.toml", manual("a", "b"))
    runner.apply(one, two, prune=True)
    assert names(runner) == ["a", "b"]


def test_a_task_that_is_defined_twice_is_a_fault(runner, write):
    one, two = write("one.toml", manual("a")), write("two.toml", "\n" + manual("a"))
    with pytest.raises(
        InputError, match=r"two\.toml, line 2: a: it is defined a second time, after"
    ):
        runner.apply(one, two)


# ---- all or nothing


def test_a_dry_run_writes_nothing_and_reports_the_same(runner, home, apply):
    told = apply(HOURLY, dry_run=True)
    assert list(home.iterdir()) == []
    assert apply(HOURLY) == told
    before = runner.tasks()
    apply(HOURLY + "nice = 3\n", dry_run=True)
    apply("", dry_run=True, prune=True)
    assert runner.tasks() == before


def test_faults_of_all_kinds_are_reported_together_and_nothing_is_written(runner, home, write):
    one = write("one.toml", manual("good") + '[tasks.x]\nevery = "1x"\nshell = "x"\n')
    two = write(
        "two.toml", manual("y") + 'user = "nonesuch"\n[tasks.z]\nafter = "no"\nshell = "z"\n'
    )
    with pytest.raises(InputError) as caught:
        runner.apply(one, two)
    assert [line.split(": ")[0].rpartition("/")[2] for line in str(caught.value).splitlines()] == [
        "one.toml, line 5",
        "two.toml, line 4",
        "two.toml, line 6",
    ]
    assert list(home.iterdir()) == []


def test_a_child_of_a_task_with_a_fault_is_not_a_fault_of_its_own(runner):
    text = '[tasks.a]\nevery = "1x"\nshell = "x"\n[tasks.b]\nafter = "a"\nshell = "x"\n'
    with pytest.raises(InputError) as caught:
        runner.apply(text=text)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_wrong_only_here_has_another_code_than_what_is_wrong_everywhere(runner):
    with pytest.raises(StateError):
        runner.apply(text=manual("a") + 'user = "nonesuch"\n')
    with pytest.raises(InputError, match="cannot be the name of a task"):
        runner.apply(text="[tasks.'-']\nmanual = true\nshell = 'x'\n")


def test_an_unknown_profile_is_refused_with_the_likely_one(runner):
    text = manual("a") + "[profiles.production.tasks]\n"
    with pytest.raises(
        InputError, match="'prodution' is not a profile of these files: did you mean pro"
    ):
        runner.apply(text=text, profile="prodution")
    with pytest.raises(InputError, match="they have none"):
        runner.apply(text=manual("a"), profile="x")


def test_a_file_that_cannot_be_read_is_named(runner, tmp_path):
    with pytest.raises(StateError, match=r"nothing\.toml' cannot be read: No such file"):
        runner.apply(tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"bytes\.toml' is not UTF-8"):
        runner.apply(tmp_path / "bytes.toml")
    with pytest.raises(InputError, match="there is no task file"):
        runner.apply()


def test_the_defaults_of_the_home_are_those_of_tasks_that_say_nothing(runner, home, apply):
    (home / "taskrunner.toml").write_text('[defaults]\ntimeout = "5m"\n')
    apply(manual("a"))
    assert runner.task("a").timeout == timedelta(minutes=5)


# ---- round trip

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9._@+-]{0,6}", fullmatch=True)
LENGTHS = st.timedeltas(timedelta(seconds=1), timedelta(days=30))
WHOLE = LENGTHS.map(lambda length: length - timedelta(microseconds=length.microseconds))
OPTIONS = {
    "timeout": st.one_of(st.none(), LENGTHS.map(lambda x: x - x % timedelta(milliseconds=1))),
    "kill_after": WHOLE,
    "cwd": st.just("/tmp"),
    "env": st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), TEXT, max_size=2),
    "env_file": st.just("/a b/c"),
    "stdin": st.one_of(st.just(""), TEXT),
    "umask": st.integers(0, 0o777),
    "nice": st.integers(-20, 19),
    "overlap": st.sampled_from(["skip", "queue", "replace", "allow"]),
    "catch_up": st.sampled_from(["last", "none", "all"]),
    "deadline": WHOLE,
    "retries": st.integers(0, 9),
    "retry_delay": WHOLE,
    "retry_backoff": st.floats(1, 100),
    "on_lost": st.sampled_from(["fail", "retry"]),
    "group": NAMES,
    "priority": st.integers(-1000, 1000),
    "ok_codes": st.lists(st.integers(0, 9), min_size=1, max_size=3),
    "noop_codes": st.lists(st.integers(10, 19), max_size=2),
    "expect": st.just("a'''\"b"),
    "reject": st.just("\\d+\n"),
    "max_silence": WHOLE,
    "max_output": st.integers(1, 10**12),
    "on_failure": st.one_of(st.just("@ops,@pager"), st.just('mail -s "$TASKRUNNER_TASK" ops')),
    "notify": st.just({"usual": "@ops", "first-success": "touch 'a b'"}),
    "late_after": WHOLE,
    "long_after": st.floats(1, 100),
    "description": TEXT,
}
SCHEDULES = st.one_of(
    st.sampled_from([{"every": "7h30m"}, {"every": "1mo", "tz": "Europe/Berlin"}]),
    st.just({"every": "5m", "from_finish": True}),
    st.sampled_from([{"cron": "0 2 * * *"}, {"cron": "@daily", "tz": "Asia/Kolkata"}]),
    st.sampled_from([{"on": "last day of may"}, {"on": "first mon at 9:00", "tz": "Asia/Kolkata"}]),
    st.sampled_from([{"at": "2031-01-01 10:00"}, {"at": "2020-01-01T10:00+05:30", "tz": "UTC"}]),
    st.sampled_from([{"boot": True}, {"manual": True}]),
)


def schedule(given):
    import taskrunner

    if "every" in given:
        return Every(given["every"], tz=given.get("tz"), from_finish="from_finish" in given)
    kind = next(key for key in given if key != "tz")
    made = getattr(taskrunner, kind.title())
    return made() if given[kind] is True else made(given[kind], tz=given.get("tz"))


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.dictionaries(
        NAMES,
        st.tuples(SCHEDULES, st.fixed_dictionaries({}, optional=OPTIONS), st.booleans(), TEXT),
        min_size=1,
        max_size=4,
    )
)
def test_what_export_writes_makes_the_same_tasks_elsewhere(tmp_path_factory, tasks):
    folder = tmp_path_factory.mktemp("trip")
    with TaskRunner(folder / "one") as one, TaskRunner(folder / "two") as two:
        for name, (when, given, enabled, text) in tasks.items():
            work = {"command": [text, "b c"]} if enabled else {"shell": f"x {text}"}
            one.add(name, schedule=schedule(when), now="at" in when, **work, **given)
            if not enabled or "2020" in str(when):  # one that has passed has only the run asked for
                one.disable(name)
        written = one.export(secrets=True).text
        two.apply(text=written)
        assert two.export(secrets=True).text == written
        assert not two.apply(text=written).changes
        for task in one.tasks():
            other = two.task(task.name)
            for key in (
                *DEFAULTS,
                "command",
                "shell",
                "kind",
                "schedule",
                "tz",
                "anchor",
                "enabled",
            ):
                if (key, task.kind) != ("enabled", "at"):
                    assert getattr(task, key) == getattr(other, key), key


def test_export_names_tasks_by_name_or_id_once(runner, apply):
    apply(manual("b", "a"))
    assert runner.export("a", 2).text == runner.export("a").text
    assert runner.export().text.index("tasks.a") < runner.export().text.index("tasks.b")


def test_what_export_hides_apply_refuses(runner):
    runner.add("a", ["true"], Manual(), env={"TOKEN": "geheim"})
    exported = runner.export()
    assert exported.hiding == ("a",)
    with pytest.raises(InputError, match=r"TOKEN is \*\*\*"):
        runner.apply(text=exported.text)
