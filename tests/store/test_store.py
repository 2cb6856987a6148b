"""The store: what the database itself holds true, whoever writes."""

import os
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import Every, Manual, State, Trigger
from taskrunner.errors import DuplicateTask, StateError, StoreBusy, StoreRefused, UnknownTask
from taskrunner.model.values import End, Event, Outcome, Process
from taskrunner.store import connection, store as room
from taskrunner.store.store import open_store

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(runner, home):
    """The store of a home with one task, x."""
    runner.add("x", ["true"], Manual())
    made = open_store(str(home))
    yield made
    made.close()


def add_run(store, slot=NOON, state=State.PENDING, trigger=Trigger.SCHEDULE, **more):
    values = {"slot": slot, "first_slot": slot, "trigger": trigger, "reason": "because", **more}
    with store.transaction():
        return store.runs.add(1, state, NOON, **values)


def started(store, run_id, **more):
    process = Process(run_id, "nobody", "boot", "slot", 7, **more)
    with store.transaction():
        store.runs.start([process], NOON)
    return store.runs.get(run_id)


def test_tasks_that_are_added_together_have_ids_and_values_of_their_own(store):
    usual = vars(store.tasks.get("x"))
    own = ("kind", "schedule", "env", "created", "evaluated", "kill_after", "catch_up", "overlap")
    base = {name: usual[name] for name in own} | {"enabled": True, "command": ("true",)}
    given = [
        {**base, "name": "a", "command": ("echo", "a")},
        {**base, "name": "b", "nice": 5},
        {**base, "name": "c", "nice": 7, "env": {"A": "1"}},
        {**base, "name": "d", "requested": NOON},
    ]
    with store.transaction():
        first = store.tasks.add({**base, "name": "gone"})
        store.tasks.change(first, removed=NOON)
        ids = store.tasks.add_all(given)
    assert ids == [first + 1, first + 2, first + 3, first + 4]
    found = [store.tasks.get(key) for key in ids]
    assert [(each.name, each.command, each.nice, each.env, each.requested) for each in found] == [
        ("a", ("echo", "a"), None, {}, None),
        ("b", ("true",), 5, {}, None),
        ("c", ("true",), 7, {"A": "1"}, None),
        ("d", ("true",), None, {}, NOON),
    ]
    with store.transaction():
        assert store.tasks.add_all([]) == []


def test_a_slot_gets_one_row_and_no_second(store):
    assert add_run(store) == 2
    assert add_run(store) is None
    assert add_run(store, attempt=2, trigger=Trigger.RETRY) is not None
    assert len(store.runs.history()) == 2


def test_a_manual_run_never_eats_a_slot(store):
    assert add_run(store, trigger=Trigger.MANUAL) == 2
    assert add_run(store) == 3
    assert add_run(store, trigger=Trigger.MANUAL) == 4


def test_the_database_itself_refuses_a_second_row_for_a_slot(store, home):
    add_run(store)
    raw = sqlite3.connect(home / "taskrunner.db")
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute(
            "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed) "
            "SELECT task_id, slot, first_slot, 'catch-up', 'pending', 0 FROM runs"
        )
    raw.close()


def test_a_pending_run_is_started_once(store):
    run_id = add_run(store)
    process = Process(run_id, "me", "boot", "slot", 7)
    with store.transaction():
        store.runs.start([process], NOON)
    with pytest.raises(AssertionError), store.transaction():
        store.runs.start([process], NOON)
    assert store.runs.get(run_id).state is State.RUNNING


def test_a_run_ends_once(store):
    run = started(store, add_run(store))
    with store.transaction():
        (ended,) = store.runs.finish(
            [End(run, State.SUCCEEDED, "exit code 0", NOON, Outcome(exit_code=0))]
        )
        assert ended.state is State.SUCCEEDED
        assert store.runs.finish([End(run, State.LOST, "late news", NOON)]) == []
    assert store.runs.get(run.id).state is State.SUCCEEDED
    assert store.processes.of(run.id) is None


def test_what_finish_returns_is_what_was_written(store):
    run = started(store, add_run(store))
    outcome = Outcome(exit_code=3, cpu_seconds=1.5, peak_memory=50_000_000)
    with store.transaction():
        (ended,) = store.runs.finish(
            [End(run, State.FAILED, "exit code 3", NOON, outcome, b"abc", 3)]
        )
    assert ended == store.runs.get(run.id)
    assert store.runs.output(run.id) == b"abc"


def test_the_task_remembers_its_last_run_and_last_success(store):
    good = started(store, add_run(store))
    assert store.tasks.get("x").last_run is None  # it counts when it has ended
    with store.transaction():
        store.runs.finish([End(good, State.SUCCEEDED, "exit code 0", NOON + timedelta(seconds=5))])
    bad = started(store, add_run(store, NOON + timedelta(minutes=1)))
    with store.transaction():
        store.runs.finish([End(bad, State.FAILED, "exit code 1", NOON + timedelta(minutes=2))])
    task = store.tasks.get("x")
    assert (task.last_state, task.last_success) == (State.FAILED, NOON + timedelta(seconds=5))


def test_who_first_says_why_a_run_is_stopped_stands(store):
    run = started(store, add_run(store))
    with store.transaction():
        assert store.processes.ask_to_stop(run.id, State.CANCELLED, "by ann", NOON)
        assert not store.processes.ask_to_stop(run.id, State.TIMED_OUT, "too long", NOON)
    assert store.processes.of(run.id).stop_reason == "by ann"


def test_runs_start_oldest_slot_first_one_at_a_time_per_task(store):
    add_run(store, NOON)
    early = add_run(store, NOON - timedelta(hours=1))
    assert [run.id for run in store.runs.startable_in(None, 10, NOON)] == [early]
    started(store, early)
    assert store.runs.startable_in(None, 10, NOON) == []


def test_a_task_that_allows_it_has_several_running(store):
    with store.transaction():
        store.tasks.change(1, overlap="allow", max_instances=2)
    ids = [add_run(store, NOON + timedelta(minutes=n)) for n in range(3)]
    started(store, ids[0])
    assert [run.id for run in store.runs.startable_in(None, 10, NOON)] == ids[1:]
    started(store, ids[1])
    assert store.runs.startable_in(None, 10, NOON) == []


def test_a_transaction_is_all_or_nothing(store):
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012
        store.tasks.change(1, cwd="/half")
        raise ZeroDivisionError
    assert store.tasks.get("x").cwd is None


def test_a_savepoint_undoes_only_itself(store):
    with store.transaction():
        store.tasks.change(1, cwd="/kept")
        with pytest.raises(ZeroDivisionError), store.savepoint():  # noqa: PT012
            store.tasks.change(1, cwd="/undone")
            raise ZeroDivisionError
    assert store.tasks.get("x").cwd == "/kept"


def test_every_option_of_a_task_comes_back_as_it_went_in(runner):
    given = {
        "timeout": timedelta(seconds=90),
        "kill_after": timedelta(milliseconds=1500),
        "cwd": "/srv",
        "env": {"A": "1 ü", "B": ""},
        "env_file": "/etc/x.env",
        "stdin": "text\n",
        "umask": 0o27,
        "nice": 5,
        "overlap": "allow",
        "max_instances": 3,
        "catch_up": "all",
        "catch_up_limit": 7,
        "deadline": timedelta(hours=2),
    }
    runner.add("full", ["a", "b c", ""], Every("1mo", tz="Europe/Berlin"), **given)
    task = runner.task("full")
    assert {name: getattr(task, name) for name in given} == given
    assert task.command == ("a", "b c", "")


def test_a_name_is_unique_until_the_task_is_removed(runner, store):
    with pytest.raises(DuplicateTask, match="'x'"):
        runner.add("x", ["true"], Manual())
    runner.remove("x")
    assert runner.add("x", ["true"], Manual()).id == 2
    with pytest.raises(UnknownTask):
        store.tasks.get("1")


def test_history_is_paged_newest_first_and_filtered(store):
    for minute in range(5):
        state = State.SKIPPED if minute % 2 else State.MISSED
        add_run(store, NOON + timedelta(minutes=minute), state)
    assert [run.id for run in store.runs.history(limit=2)] == [6, 5]
    assert [run.id for run in store.runs.history(states=[State.SKIPPED])] == [5, 3]
    assert (
        store.runs.history(store.tasks.ids_ever("x"), since=NOON + timedelta(milliseconds=1)) == []
    )
    assert len(store.runs.history([1], until=NOON)) == 5


def test_another_writer_who_stays_makes_the_store_busy(store, home, monkeypatch):
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 0.1)
    blocker = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    other = open_store(str(home))
    with pytest.raises(StoreBusy, match=r"taskrunner\.db"), other.transaction():
        pass
    assert [task.name for task in other.tasks.all()] == ["x"]  # readers do not wait
    blocker.execute("ROLLBACK")
    blocker.close()
    with other.transaction():
        other.tasks.change(1, cwd="/later")
    other.close()


def test_each_thread_has_a_connection_of_its_own(store):
    found = []
    thread = threading.Thread(target=lambda: found.extend((store.tasks.all(), store.close())))
    thread.start()
    thread.join()
    assert [task.name for task in found[0]] == ["x"]
    assert [task.name for task in store.tasks.all()] == ["x"]


def test_a_connection_is_not_carried_across_a_fork(store):
    store.tasks.all()
    before = store.connection.raw
    pid = os.fork()
    if pid == 0:
        os._exit(0 if store.connection.raw is not before and store.tasks.all() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.connection.raw is before


def test_claims_survive_a_power_cut_by_default_and_notes_need_not(store):
    def synchronous():
        return store.connection.rows("PRAGMA synchronous")[0][0]

    assert synchronous() == 2  # FULL
    with store.transaction(durable=False):
        assert synchronous() == 1  # NORMAL
    assert synchronous() == 2


def test_the_file_is_private_and_in_write_ahead_mode(store, home):
    store.tasks.all()
    with store.transaction():
        store.tasks.change(1, cwd="/x")
    for place in home.glob("taskrunner.db*"):
        assert place.stat().st_mode & 0o777 == 0o600, place
    assert store.connection.rows("PRAGMA journal_mode")[0][0] == "wal"
    assert store.connection.rows("PRAGMA foreign_keys")[0][0] == 1


def test_a_checkpoint_leaves_no_log_behind(store, home):
    with store.transaction():
        store.tasks.change(1, cwd="/x")
    store.checkpoint()
    assert (home / "taskrunner.db-wal").stat().st_size == 0


def test_a_home_on_a_network_file_system_is_refused_unless_forced(store, home, monkeypatch):
    monkeypatch.setattr("taskrunner.home.paths.network_file_system", lambda _: "nfs4")
    with pytest.raises(StateError, match="is on nfs4"):
        open_store(str(home))
    open_store(str(home), network=True).close()


def test_two_who_make_the_store_at_once_make_one(home):
    faults, start = [], threading.Barrier(4)

    def make():
        try:
            start.wait()
            made = open_store(str(home), create=True)
            with made.transaction():
                made.events.add(Event(NOON, "here"))
            made.close()
        except Exception as exc:  # noqa: BLE001  shown by the assert below
            faults.append(exc)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = open_store(str(home))
    assert (faults, len(made.events.all())) == ([], 4)
    made.close()


def test_a_store_that_cannot_be_made_says_so(home, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room.os, "rename", full)
    with pytest.raises(StoreRefused, match="No space left"):
        open_store(str(home), create=True)
    assert not (home / "taskrunner.db").exists()


@pytest.mark.parametrize("name", ["with space", "100%", "what?", "#1", "ü"])
def test_a_home_may_have_any_name(tmp_path, name, clock):
    from taskrunner import TaskRunner

    with TaskRunner(tmp_path / name, clock=clock) as runner:
        runner.add("x", ["true"], Manual())
        assert [task.name for task in runner.tasks()] == ["x"]
    assert (tmp_path / name / "taskrunner.db").exists()


def test_what_is_asked_all_the_time_is_answered_from_an_index(store, monkeypatch):
    asked, asks = [], store.connection.run

    def listening(sql, values=()):
        asked.append((sql, values))
        return asks(sql, values)

    monkeypatch.setattr(store.connection, "run", listening)
    store.runs.live()
    store.runs.live(1)
    store.runs.running()
    store.runs.running_count()
    store.runs.startable_in(None, 16, NOON)
    store.runs.startable_in(None, 16, NOON)
    store.runs.startable_in("heavy", 16, NOON)
    store.processes.in_queue("heavy")
    store.processes.queues()
    store.runs.soonest(NOON)
    store.tasks.group_limits()
    store.tasks.of_group("db")
    store.processes.with_runs()
    store.processes.being_stopped()
    store.runs.history(store.tasks.ids_ever("x"))
    store.tasks.due(NOON, "boot", 200)
    store.tasks.get("x")
    run = store.runs.get(add_run(store))
    store.tasks.concerned(run, tells=False)
    store.tasks.any_concerned([run], tells=False)
    store.outbox.anything_due(NOON)
    store.outbox.notified(1)
    store.outbox.long_since(1)
    store.figures.succeeded_before(1, 1)
    monkeypatch.undo()
    small = (
        "SCAN processes",
        "SCAN processes USING INDEX processes_stopped",
        "SCAN tasks USING INDEX tasks_of_boot",
        "SCAN tasks USING INDEX tasks_by_parent",  # up to the first one
        "SCAN runs USING INDEX runs_pending",
        "SCAN runs USING INDEX runs_waiting",
        "SCAN sqlite_sequence",
    )
    for sql, values in asked:
        if sql.startswith("SELECT"):
            plan = [row[3] for row in store.connection.rows(f"EXPLAIN QUERY PLAN {sql}", values)]
            scans = [step for step in plan if step.startswith("SCAN") and step not in small]
            assert not [scan for scan in scans if "runs_running" not in scan], (sql, plan)
