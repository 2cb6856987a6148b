"""Pages of the history: what is asked for, newest first, by walks of indexes that stop when the page is full."""

import random
import re
from datetime import timedelta

import pytest

from taskrunner import Manual, State, Trigger
from taskrunner.store.store import open_store
from tests.history import ran
from tests.samples import MINUTE, NOON

TASKS = (1, 2, 3)


@pytest.fixture
def store(runner, home):
    for name in "xyz":
        runner.add(name, ["true"], Manual())
    made = open_store(str(home))
    yield made
    made.close()


@pytest.fixture
def filled(store):
    """Runs of all states, by hand and by schedule, of one slot and of several, in a random order."""
    dice = random.Random(14)
    states = [*State, *[State.SUCCEEDED] * 8]
    for number in range(150):
        slot = NOON + dice.randrange(60) * MINUTE
        task, state = dice.choice(TASKS), dice.choice(states)
        by_hand = dice.random() < 0.3
        ran(
            store,
            state,
            NOON + number * MINUTE,
            task=task,
            slot=slot,
            trigger=Trigger.MANUAL if by_hand else Trigger.SCHEDULE,
            attempt=1 if by_hand else number + 1,
        )
    with store.transaction():
        store.connection.run(
            "UPDATE runs SET first_slot = slot - (id % 7) * 60000 WHERE id % 3 = 0"
        )
    return store


def everything(store):
    rows = store.connection.rows("SELECT id FROM runs ORDER BY id DESC")
    return [store.runs.get(number) for (number,) in rows]


def test_a_page_has_what_a_look_at_all_runs_finds(filled):
    dice, runs = random.Random(15), everything(filled)
    for _ in range(300):
        ids = dice.choice([None, [1], [2, 3], [3, 3, 1], []])
        states = dice.choice(
            [None, *([one] for one in State), [State.LOST, State.FAILED], [*State]]
        )
        before = dice.choice([None, dice.choice(runs).id, 2**62])
        single = [] if ids is None else dice.choice([[], [dice.choice(runs).id]])
        limit = dice.choice([-1, 1, 7])
        wanted = [
            run
            for run in runs
            if (ids is None or run.task_id in ids or run.id in single)
            and (states is None or run.state in states)
            and (before is None or run.id < before)
        ]
        found = filled.runs.history(ids, run_ids=single, states=states, before=before, limit=limit)
        assert found == (wanted if limit < 0 else wanted[:limit]), (ids, states, before, limit)


def test_the_runs_of_slots_in_a_time_are_those_that_a_look_at_all_finds(filled):
    dice, runs = random.Random(16), everything(filled)
    for _ in range(200):
        task, limit = dice.choice(TASKS), dice.choice([1, 5, 1000])
        since = NOON + dice.randrange(-5, 62) * MINUTE
        until = since + dice.randrange(20) * MINUTE
        wanted = [
            run
            for run in sorted(runs, key=lambda run: (run.slot, run.id), reverse=True)
            if run.task_id == task and run.slot >= since and run.first_slot <= until
        ]
        assert filled.runs.between(task, since, until, limit) == wanted[:limit]


def plans(store, ask):
    """What SQLite says of how it does each query of a call."""
    asked, rows = [], store.connection.rows

    def note(sql, values=()):
        asked.append((sql, values))
        return rows(sql, values)

    store.connection.rows = note
    ask()
    return [row[3] for sql, values in asked for row in rows(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize(
    "ask",
    [
        lambda runs: runs.history(limit=50),
        lambda runs: runs.history(before=70, limit=50),
        lambda runs: runs.history([1], limit=50),
        lambda runs: runs.history([1, 2], limit=50),
        lambda runs: runs.history(states=[State.LOST], limit=50),
        lambda runs: runs.history(states=[State.LOST, State.FAILED], before=70, limit=50),
        lambda runs: runs.history([1, 2], states=[State.LOST, State.FAILED], limit=50),
        lambda runs: runs.history([1], states=[State.SUCCEEDED], limit=50),
        lambda runs: runs.between(1, NOON, NOON + MINUTE, 5),
    ],
)
def test_no_page_sorts_the_history_or_looks_at_all_of_it(filled, ask):
    told = plans(filled, lambda: ask(filled.runs))
    whole = re.compile(r"SCAN runs$|SCAN runs USING (?:COVERING )?INDEX runs_(?:of_task|once|not)")
    assert not [each for each in told if whole.search(each) and told != ["SCAN runs"]] or (
        # Newest first by id is the order of the table: the walk ends with the page.
        "TEMP B-TREE" not in " ".join(told)
    )


def test_what_stands_for_several_slots_is_found_by_its_first(store):
    ran(store, ended=NOON, slot=NOON)
    with store.transaction():
        hour = timedelta(hours=1) // timedelta(milliseconds=1)
        store.connection.run("UPDATE runs SET first_slot = slot - ?", (hour,))
    at = NOON - 30 * MINUTE
    assert [run.slot for run in store.runs.between(1, at, at, 5)] == [NOON]
    late = NOON - 90 * MINUTE
    assert store.runs.between(1, late, late, 5) == []
