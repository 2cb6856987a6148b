"""Pages of runs, tasks and output, and a cheap look for changes: what a screen with many rows asks for."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from taskrunner import (
    Every,
    InputError,
    Manual,
    State,
    StateError,
    TaskRunner,
    UnknownTask,
    Written,
)
from taskrunner.cli import main, runs as runs_verb
from taskrunner.render import documents
from taskrunner.store import tag as tags
from taskrunner.store.store import open_store
from tests.history import ran
from tests.samples import MINUTE, NOON, ROOT, wait_for


@pytest.fixture
def store(runner, home):
    runner.add("x", ["true"], Manual())
    made = open_store(str(home))
    yield made
    made.close()


def ids(runs):
    return [run.id for run in runs]


# ---- runs


def test_the_id_of_the_last_run_of_a_page_gives_the_next_page(runner, store):
    for number in range(25):  # all claimed at one instant, as by one tick
        ran(store, slot=NOON + number * MINUTE)
    whole = ids(runner.history(limit=None))
    pages, before = [], None
    while page := runner.history(before=before, limit=10):
        pages.append(ids(page))
        before = page[-1].id
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [number for page in pages for number in page] == whole
    assert runner.history(before=min(whole)) == []
    assert ids(runner.history(before=10**30, limit=None)) == whole


@pytest.mark.parametrize("before", [0, -1, "7", 1.5, True])
def test_what_is_not_an_id_is_refused(runner, before):
    with pytest.raises(InputError, match="is not the id of a run"):
        runner.history(before=before)


def test_bad_stands_for_all_states_that_went_wrong(runner, store):
    made = {
        state: ran(store, state, slot=NOON + place * MINUTE) for place, state in enumerate(State)
    }
    wrong = [made[state] for state in (State.LOST, State.TIMED_OUT, State.FAILED)]
    assert ids(runner.history(state="bad")) == sorted(wrong, reverse=True)
    both = ids(runner.history("x", state=["bad", "skipped", "failed"]))
    assert both == sorted([*wrong, made[State.SKIPPED]], reverse=True)
    with pytest.raises(InputError, match=r"'worse' is not a state of a run: use one of .*bad"):
        runner.history(state="worse")


def test_the_command_line_pages_and_knows_bad_states(runner, store, home, capsys):
    made = [ran(store, State.FAILED, slot=NOON + number * MINUTE) for number in range(4)]
    ran(store, State.SUCCEEDED)

    def told(*words):
        code = main.main(["--home", str(home), "history", *words, "--json"])
        out, err = capsys.readouterr()
        return err if code else [run["id"] for run in json.loads(out)["runs"]]

    assert told("--state", "bad", "--before", str(made[2])) == [made[1], made[0]]
    assert told("--before", str(made[3]), "-n", "1") == [made[2]]
    assert "--before 3 goes only without --graph" in told("--graph", "--before", "3")
    assert "'x' is not a valid id of a run" in told("--before", "x")


# ---- tasks


def test_tasks_are_chosen_by_all_that_is_given(runner, home):
    for name in ("alpha", "beta-A", "gamma", "delta_1", "delta21"):
        runner.add(name, ["true"], Every("1h") if "a-" in name else Manual())
    runner.disable("gamma")
    with closing(sqlite3.connect(home / "taskrunner.db")) as db, db:
        db.execute("UPDATE tasks SET last_state = 'timed_out' WHERE name IN ('alpha', 'gamma')")
        db.execute("UPDATE tasks SET last_state = 'cancelled' WHERE name = 'beta-A'")

    def names(**given):
        return [task.name for task in runner.tasks(**given)]

    assert names(like="TA") == ["beta-A", "delta21", "delta_1"]
    assert names(like="ta_") == ["delta_1"]  # no sign stands for others
    assert names(like="%") == []
    assert names(enabled=False) == ["gamma"]
    assert names(failing=True) == ["alpha", "gamma"]
    assert names(failing=True, enabled=True) == ["alpha"]
    assert names(failing=False) == ["beta-A", "delta21", "delta_1"]
    assert names(kind="every", like="a") == ["beta-A"]
    assert names(limit=2) == ["alpha", "beta-A"]
    assert names(after="beta-A", limit=2) == ["delta21", "delta_1"]
    assert names(after="gamma") == []


@pytest.mark.parametrize("limit", [0, -1, "many"])
def test_a_page_of_tasks_has_one_at_least(runner, limit):
    with pytest.raises(InputError, match="is not a valid number of tasks"):
        runner.tasks(limit=limit)


# ---- the tag


@pytest.fixture
def settled(monkeypatch):
    """A tag that is not of the last moment, whatever was written just now."""
    monkeypatch.setattr(tags, "COARSE", 0)


@pytest.mark.usefixtures("settled")
def test_all_threads_and_processes_see_the_same_tag(runner, home):
    assert runner.tag() == "none"
    runner.add("x", ["true"], Manual())
    seen = []
    thread = threading.Thread(target=lambda: seen.append(runner.tag()))
    thread.start()
    thread.join()
    code = (
        "import sys; from taskrunner import TaskRunner; from taskrunner.store import tag; "
        "tag.COARSE = 0; print(TaskRunner(sys.argv[1]).tag())"
    )
    argv = [sys.executable, "-c", code, str(home)]
    told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {*seen, told.strip()} == {runner.tag()}


@pytest.mark.usefixtures("settled")
def test_the_tag_changes_with_each_change_of_anybody_and_with_nothing_else(runner, home):
    runner.add("x", ["true"], Manual())
    seen = [runner.tag()]
    for change in (
        lambda: runner.disable("x"),
        lambda: runner.run("x"),
        lambda: TaskRunner(home).enable("x"),
    ):
        change()
        seen.append(runner.tag())
    assert len(set(seen)) == len(seen)
    runner.history()
    TaskRunner(home).status()
    assert runner.tag() == seen[-1]
    runner.close()
    copy = home / "copy.db"
    copy.write_bytes((home / "taskrunner.db").read_bytes())
    os.replace(copy, home / "taskrunner.db")
    assert runner.tag() not in seen


def test_what_was_written_just_now_has_another_tag_at_each_look_until_it_is_settled(
    runner, home, monkeypatch
):
    runner.add("x", ["true"], Manual())
    files = (home / "taskrunner.db", home / "taskrunner.db-wal")
    written = max(file.stat().st_mtime_ns for file in files) // 1_000_000

    def tag(later):
        monkeypatch.setattr(tags.host, "now_ms", lambda: written + later)
        return runner.tag()

    assert len({tag(0), tag(1), tag(tags.COARSE - 1), tag(tags.COARSE)}) == 4
    assert tag(tags.COARSE) == tag(10**9)


# ---- output


def whole(lines):
    return b"".join(b"%d\n" % number for number in range(1, lines + 1))


@pytest.mark.parametrize("lines", [10, 100_000], ids=["in the store", "in a file"])
def test_a_part_of_an_output_is_read_from_any_place(runner, lines):
    runner.add("x", ["seq", "1", str(lines)], Manual())
    run, text = runner.run("x"), whole(lines)
    assert runner.output(run, start=3, most=5) == text[3:8]
    assert runner.output(run, start=5) == text[5:]
    assert runner.output(run, start=-4) == text[-4:]
    assert runner.output(run, start=-len(text) - 10, most=3) == text[:3]
    found = runner.written(run.id, start=2, most=4)
    assert found == Written(text[2:6], 6, len(text), True)
    assert runner.written(run, start=len(text)) == Written(b"", len(text), len(text), True)
    assert runner.written(run, start=10**9, most=2).data == text[:2]
    parts, start = [], 0
    while (part := runner.written(run, start=start, most=60_000)).data:
        assert len(part.data) <= 60_000
        parts.append(part.data)
        start = part.end
    assert b"".join(parts) == text


def test_the_parts_of_an_output_that_was_cut_have_a_mark_where_bytes_are_missing(runner):
    runner.add("x", ["seq", "1", "200000"], Manual(), max_output="100kB")
    run, parts, start = runner.run("x"), [], 0
    while (part := runner.written(run, start=start, most=7_000)).data:
        parts.append(part.data)
        start = part.end
    assert b"".join(parts) == runner.output(run)
    assert b"bytes left out]" in runner.output(run)
    assert start == part.size == run.output_size


def test_the_growth_of_an_output_is_seen_while_its_run_goes_on(home):
    with TaskRunner(home) as runner:
        go = home / "go"
        runner.add(
            "x",
            shell=f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two",
            schedule=Manual(),
        )
        run = runner.run("x", detach=True)
        assert runner.written(run).data in (b"", b"one\n")
        wait_for(lambda: runner.written(run).size == 4)
        first = runner.written(run)
        assert first == Written(b"one\n", 4, 4, False)
        assert runner.written(run, start=first.end) == Written(b"", 4, 4, False)
        go.touch()
        wait_for(lambda: runner.written(run, start=4).complete)
        assert runner.written(run, start=4) == Written(b"two\n", 8, 8, True)


def test_an_output_that_was_pruned_is_refused_and_a_number_of_bytes_is_positive(runner, home):
    runner.add("x", ["seq", "1", "100000"], Manual())
    run = runner.run("x")
    with pytest.raises(InputError, match="'0' is not a valid number of bytes"):
        runner.written(run, most=0)
    (home / "output" / f"{run.id}.log").unlink()
    with pytest.raises(StateError, match="was pruned"):
        runner.written(run)


def test_the_last_states_of_some_tasks_are_told_newest_first(runner, clock):
    for name in ("one", "two", "none"):
        runner.add(name, ["true"], Manual())
    store = runner._here().store
    for minutes, state in enumerate((State.FAILED, State.LOST, State.SUCCEEDED)):
        ran(store, state, clock() + minutes * MINUTE)
    ran(store, State.MISSED, clock(), task=runner.task("two").id)
    found = runner.last_states(["one", "two", "none"], limit=2)
    assert found == {"one": ["succeeded", "lost"], "two": ["missed"], "none": []}
    with pytest.raises(UnknownTask):
        runner.last_states(["nobody"])


# ---- very many runs


def test_very_many_runs_are_printed_page_by_page_and_to_the_letter(
    runner, store, home, capsys, monkeypatch
):
    for number in range(23):
        state = State.FAILED if number == 20 else State.SUCCEEDED
        ran(
            store,
            state,
            NOON + number * MINUTE,
            slot=NOON + number * MINUTE,
            took=number**3 * MINUTE,
        )

    def told(*words):
        assert main.main(["--home", str(home), "history", *words]) == 0
        return capsys.readouterr().out

    # One clock for both, as a table tells how far slots are away.
    for words in (["-n", "999"], ["-n", "22"], ["-n", "20", "--json"], ["-n", "999", "--json"]):
        monkeypatch.setattr(runs_verb, "MOST_TRACED", 1000)
        whole = told(*words)
        monkeypatch.setattr(runs_verb, "MOST_TRACED", 5)
        assert told(*words) == whole


def test_a_list_in_pieces_is_the_document_to_the_letter():
    for items in ([], [1], [{"a": "é\x1b"}, {"b": [1, 2]}]):
        pieces = documents.streamed("runs", items)
        assert "\n".join(pieces) == documents.document(runs=items)
