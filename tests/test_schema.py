"""The schema: made by steps, read by people, refused when it is newer."""

import sqlite3
import threading

import pytest

from taskrunner import schema
from taskrunner.errors import StoreRefused
from taskrunner.model.values import Process, Run, Task
from taskrunner.store import rows
from taskrunner.store.store import Store, open_store
from tests.samples import STORES, old_store


@pytest.fixture
def connection():
    made = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(made)
    yield made
    made.close()


def names(connection, kind):
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ? ORDER BY 1", (kind,))
    return [name for (name,) in rows if not name.startswith("sqlite_")]


def test_all_steps_make_the_whole_schema(connection):
    assert schema.version(connection) == len(schema.STEPS)
    assert names(connection, "table") == [
        "events",
        "facts",
        "outbox",
        "outputs",
        "processes",
        "runs",
        "tallies",
        "tasks",
        "told",
        "totals",
    ]
    assert names(connection, "view") == ["v_runs", "v_tasks"]


def test_every_table_and_view_opens_with_what_one_row_is(connection):
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite_%'"
    )
    for name, sql in rows:
        second_line = sql.splitlines()[1].strip()
        assert second_line.startswith("-- "), name


def test_migrating_twice_changes_nothing(connection):
    before = list(connection.iterdump())
    schema.migrate(connection)
    assert list(connection.iterdump()) == before


def test_a_step_that_fails_leaves_nothing_of_itself(monkeypatch):
    steps = ("CREATE TABLE one (a);", "CREATE TABLE two (a); CREATE TABLE one (a);")
    monkeypatch.setattr(schema, "STEPS", steps)
    made = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(made)
    assert schema.version(made) == 1
    assert names(made, "table") == ["one"]
    made.close()


def test_a_statement_may_hold_semicolons_in_texts_and_comments():
    text = "-- a; b\nCREATE TABLE a (b); -- c; d\nINSERT INTO a\n VALUES (';'); DELETE FROM a;\n"
    found = [statement.splitlines()[-1].split()[0] for statement in schema.statements(text)]
    assert found == ["CREATE", "VALUES", "DELETE"]


def test_two_who_migrate_at_once_do_it_once(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", ("CREATE TABLE one (a);", "CREATE TABLE two (a);"))
    place, faults = tmp_path / "store.db", []
    start = threading.Barrier(4)

    def migrate():
        made = sqlite3.connect(place, timeout=20, isolation_level=None)
        try:
            start.wait()
            schema.migrate(made)
        except sqlite3.Error as exc:
            faults.append(exc)
        finally:
            made.close()

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_newer_store_is_refused_and_not_touched(runner, home):
    runner.add("x", ["true"], manual())
    runner.close()
    place = home / "taskrunner.db"
    made = sqlite3.connect(place)
    made.execute(f"PRAGMA user_version = {len(schema.STEPS) + 1}")
    made.close()
    before = place.read_bytes()
    for attempt in (runner.tasks, runner.tick, lambda: runner.add("y", ["true"], manual())):
        with pytest.raises(StoreRefused, match="newer than the"):
            attempt()
        runner.close()
    assert place.read_bytes() == before


def test_an_older_store_is_kept_before_it_is_migrated(runner, home, monkeypatch):
    runner.add("x", ["true"], manual())
    runner.close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE more (a);"))
    assert [task.name for task in runner.tasks()] == ["x"]
    (backup,) = (home / "backups").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    old = sqlite3.connect(backup)
    assert old.execute("SELECT name FROM tasks").fetchall() == [("x",)]
    assert "more" not in names(old, "table")
    old.close()


def test_views_give_text_that_people_read(runner, home, clock):
    from taskrunner import Every

    runner.add("hello", ["true"], Every("1h"), now=True, timeout="90s")
    runner.tick()
    runner.close()
    made = sqlite3.connect(f"file:{home}/taskrunner.db?mode=ro", uri=True)
    made.row_factory = sqlite3.Row
    (task,) = made.execute("SELECT * FROM v_tasks")
    assert task["next"] == "2026-11-20T13:00:00.000Z"
    assert task["timeout"] == 90
    assert task["last_success"] == "2026-11-20T12:00:00.000Z"
    (run,) = made.execute("SELECT * FROM v_runs")
    assert (run["task"], run["slot"], run["state"]) == (
        "hello",
        "2026-11-20T12:00:00.000Z",
        "succeeded",
    )
    made.close()


def test_the_records_of_the_model_have_the_columns_of_the_tables(connection):
    def columns(table):
        return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}

    fields = {rows.COLUMNS.get(name, name) for name in Task.__dataclass_fields__}
    assert fields == columns("tasks") - {"removed"}
    renamed = {"coalesced_at_least": "at_least", "cpu_seconds": "cpu"}
    fields = {renamed.get(name, name) for name in Run.__dataclass_fields__}
    assert fields == columns("runs") - {"claimed", "forced"} | {"task"}
    assert set(Process.__dataclass_fields__) == columns("processes")


def manual():
    from taskrunner import Manual

    return Manual()


def test_a_store_that_is_not_a_database_is_refused_with_its_name(home):
    place = home / "taskrunner.db"
    place.write_bytes(b"garbage" * 1000)
    place.chmod(0o600)
    store = open_store(str(home))
    with pytest.raises(StoreRefused, match=r"taskrunner\.db.*not a database"):
        store.tasks.all()


def test_the_empty_store_answers_and_keeps_nothing(tmp_path):
    store = open_store(str(tmp_path / "nothing"))
    assert isinstance(store, Store)
    assert store.tasks.all() == [] and store.runs.history() == [] and store.runs.live() == []
    assert not (tmp_path / "nothing").exists()
    store.close()


def test_a_store_with_outputs_knows_what_they_come_to():
    made = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema.statements(schema.STEPS[0]):
        made.execute(statement)
    made.execute("PRAGMA user_version = 1")
    made.execute("INSERT INTO outputs VALUES (1, x'0102'), (2, x'030405')")
    schema.migrate(made)
    size = "SELECT value FROM facts WHERE name = 'output_bytes'"
    assert made.execute(size).fetchall() == [("5",)]
    made.execute("INSERT INTO outputs VALUES (3, x'06')")
    made.execute("DELETE FROM outputs WHERE run_id = 1")
    assert made.execute(size).fetchall() == [("4",)]
    made.close()


def test_there_is_a_store_of_every_schema_that_was_released():
    assert [int(file.stem.split("-")[1]) for file in STORES] == [*range(1, len(schema.STEPS))]


@pytest.mark.parametrize("file", STORES, ids=lambda file: file.stem)
def test_a_store_of_every_past_schema_is_upgraded_with_all_that_is_in_it(home, file, clock):
    from taskrunner import State, TaskRunner

    old_store(home, file)
    with TaskRunner(home, clock=clock) as live_runner:
        assert [task.name for task in live_runner.tasks()] == [
            "big",
            "boot",
            "cron",
            "every",
            "once",
            "then",
        ]
        runs = live_runner.history(limit=None)
        assert [run.id for run in runs] == [7, 6, 5, 4, 3, 2, 1]
        assert [run.task for run in runs if run.state is State.FAILED] == ["every", "every"]
        assert live_runner.output(live_runner.history("cron")[0]) == b"out\n"
        assert live_runner.stats().total.runs == 7
        assert live_runner.task("cron").next < clock()
        made = live_runner.tick()
        assert {run.task for run in made.runs} == {"cron", "then", "every", "boot"}
        assert min(run.id for run in made.runs) > 7
    store = sqlite3.connect(home / "taskrunner.db")
    assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert schema.version(store) == len(schema.STEPS)
    store.close()


def test_a_store_made_by_steps_from_an_old_one_is_as_one_made_anew(home, connection):
    def shape(store):
        sql = (
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
        )
        return store.execute(sql).fetchall()

    for file in STORES:
        old_store(home / file.stem, file)
        store = sqlite3.connect(home / file.stem / "taskrunner.db", isolation_level=None)
        schema.migrate(store)
        assert shape(store) == shape(connection)
        store.close()


def test_in_an_older_store_a_number_of_two_things_is_refused_with_both(home, clock):
    from taskrunner import TaskRunner
    from taskrunner.errors import StateError

    old_store(home, STORES[-1])
    with TaskRunner(home, clock=clock) as live_runner:
        both = (
            r"3 is the task once and a run of then, .* write once for the task, run:3 for the run"
        )
        for ask in (
            live_runner.cancel,
            live_runner.run_of,
            live_runner.explain,
            live_runner.either,
            live_runner.remove,
            live_runner.history,
        ):
            with pytest.raises(StateError, match=both):
                ask("3")
        with pytest.raises(StateError, match=both):
            live_runner.cancel(3)
        assert live_runner.run_of("run:3").task == "then"
        assert live_runner.task(3).name == "once"  # from a program, which knows what it has
        assert live_runner.add("new", ["true"], manual()).id == 8
        assert live_runner.run("new").id == 9
        assert live_runner.add("newer", ["true"], manual()).id == 10
