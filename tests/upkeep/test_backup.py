"""Copies of the store: consistent, checked, and put back without losing or mixing up anything."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from taskrunner import Cron, Manual, State, TaskRunner, schema
from taskrunner.errors import InputError, StateError, StoreBusy, StoreRefused, UnknownTask
from taskrunner.store import copies
from tests.samples import call, start, wait_for


@pytest.fixture
def filled(runner):
    """A home with one task and one run of it."""
    runner.add("x", shell="echo one", schedule=Manual())
    runner.run("x")
    return runner


def test_a_copy_is_whole_private_and_named_by_its_time(filled, home):
    made = filled.backup()
    assert made.place == str(home / "backups" / "20261120T120000Z.db")
    assert (made.tasks, made.runs, made.size) == (1, 1, os.path.getsize(made.place))
    assert os.stat(made.place).st_mode & 0o777 == 0o600
    assert filled.backup().place.endswith("20261120T120000Z-2.db")
    assert len(list((home / "backups").iterdir())) == 2


def test_a_copy_beside_writers_is_consistent(filled, tmp_path):
    over = threading.Event()

    def write():
        with TaskRunner(filled.home) as other:
            while not over.is_set():
                store = other._here().store
                with store.transaction():
                    number = store.tasks.add({**vars_of(store), "name": os.urandom(8).hex()})
                    store.runs.add(
                        number,
                        State.SKIPPED,
                        other.now(),
                        slot=other.now(),
                        first_slot=other.now(),
                        trigger="manual",
                    )

    def vars_of(store):
        task = store.tasks.get("x")
        names = "enabled kind schedule command env created evaluated kill_after catch_up overlap"
        return {name: getattr(task, name) for name in names.split()}

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(20):
            made = filled.backup(tmp_path / f"{number}.db")
            assert made.tasks == made.runs  # one of each in every transaction
    finally:
        over.set()
        thread.join()


def test_only_the_newest_copies_of_our_own_are_kept(filled, home, clock):
    (home / "backups" / "mine.db").touch()
    for _ in range(4):
        clock.forward(hours=1)
        filled.backup(keep=2)
    names = sorted(place.name for place in (home / "backups").iterdir())
    assert names == ["20261120T150000Z.db", "20261120T160000Z.db", "mine.db"]


def test_a_copy_never_overwrites(filled, tmp_path):
    (tmp_path / "there").write_text("precious")
    with pytest.raises(StateError, match="already exists"):
        filled.backup(tmp_path / "there")
    with pytest.raises(StateError, match="cannot be written"):
        filled.backup(tmp_path / "no" / "folder.db")
    with pytest.raises(InputError):
        filled.backup("")
    assert (tmp_path / "there").read_text() == "precious"


def test_what_is_restored_is_what_was_copied_and_what_it_replaces_is_kept(filled, home, tmp_path):
    made = filled.backup(tmp_path / "copy.db")
    filled.add("y", ["true"], Manual())
    done = filled.restore(made.place)
    assert [task.name for task in filled.tasks()] == ["x"]
    assert filled.output(filled.history()[0]) == b"one\n"
    assert (home / "taskrunner.db").stat().st_mode & 0o777 == 0o600
    assert done.kept == str(home / "backups" / "before-restore-20261120T120000Z.db")
    filled.restore(done.kept)
    assert [task.name for task in filled.tasks()] == ["x", "y"]
    (event,) = [each for each in filled._here().store.events.all() if each.what == "restored"]
    assert "before-restore" in event.text


def test_no_id_of_a_run_or_a_task_is_used_again_after_a_restore(filled, home, tmp_path):
    made = filled.backup(tmp_path / "copy.db")
    filled.set("x", shell="seq 50000")
    big = filled.run("x")
    assert (home / "output" / f"{big.id}.log").exists()
    gone = filled.add("y", ["true"], Manual())
    filled.restore(made.place)
    filled.set("x", shell="true")
    new = filled.run("x")
    assert new.id > big.id and filled.output(new) == b""
    assert (home / "output" / f"{big.id}.log").exists()  # left alone
    assert filled.add("z", ["true"], Manual()).id > gone.id


def test_ids_go_on_above_the_output_files_when_the_old_store_is_gone(filled, home, tmp_path):
    made = filled.backup(tmp_path / "copy.db")
    (home / "output" / "70.log").write_bytes(b"of another run")
    filled.close()
    for name in ("taskrunner.db", "taskrunner.db-wal", "taskrunner.db-shm"):
        (home / name).unlink(missing_ok=True)
    assert filled.restore(made.place).kept is None
    assert filled.run("x").id == 71


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000])
def test_a_damaged_store_is_replaced_and_kept(filled, home, tmp_path, damage):
    made = filled.backup(tmp_path / "copy.db")
    filled.close()
    (home / "taskrunner.db").write_bytes(damage)
    with pytest.raises(StoreRefused, match="taskrunner restore FILE"):
        filled.tasks()
    done = filled.restore(made.place)
    assert Path(done.kept).read_bytes() == damage
    assert [task.name for task in filled.tasks()] == ["x"]


def test_slots_since_the_copy_are_caught_up_with_and_its_live_runs_are_lost(
    runner, clock, tmp_path, home
):
    runner.add("hourly", ["true"], Cron("0 * * * *", tz="UTC"))
    runner.add("slow", ["true"], Manual())
    runner.tick()
    store = runner._here().store
    with store.transaction():  # it runs while the copy is made
        number = store.runs.add(
            2, State.RUNNING, clock(), slot=clock(), first_slot=clock(), trigger="manual"
        )
        store.connection.run("UPDATE runs SET started = claimed WHERE id = ?", (number,))
        store.connection.run(
            "INSERT INTO processes (run_id, supervisor, boot_id, output, inode) "
            "VALUES (?, 'gone', 'boot', 'gone.1', 1)",
            (number,),
        )
    made = runner.backup(tmp_path / "copy.db")
    clock.forward(hours=5)
    runner.restore(made.place)
    runner.tick()
    assert runner.run_of(number).state is State.LOST
    (caught,) = runner.history("hourly")
    assert (caught.state, caught.coalesced) == (State.SUCCEEDED, 5)


def test_an_older_copy_is_upgraded(runner, home, tmp_path):
    old = sqlite3.connect(tmp_path / "old.db", isolation_level=None)
    for statement in schema.statements(schema.STEPS[0]):
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    old.execute(
        "INSERT INTO tasks (name, enabled, created, kind, schedule, command, env, kill_after, "
        "catch_up, overlap, evaluated) VALUES ('x', 1, 0, 'manual', '', '[\"true\"]', '{}', 10000, "
        "'last', 'skip', 0)"
    )
    old.close()
    runner.restore(tmp_path / "old.db")
    assert runner.run("x").state is State.SUCCEEDED


def test_a_bad_backup_is_refused_and_nothing_is_changed(filled, home, tmp_path):
    good = filled.backup(tmp_path / "good.db").place
    filled.close()
    before = (home / "taskrunner.db").read_bytes()
    newer = sqlite3.connect(filled.backup(tmp_path / "newer.db").place)
    newer.execute("PRAGMA user_version = 999")
    newer.close()
    sqlite3.connect(tmp_path / "empty.db").close()
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE a (b)")
    other.close()
    whole = Path(good).read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.db").write_text("hello " * 500)
    filled.close()
    for name in ("newer", "empty", "other", "cut", "text", "missing"):
        out, err, code = call(home, "restore", str(tmp_path / f"{name}.db"))
        assert (out, code, err.count("\n")) == ("", 1, 1), err
        assert f"{name}.db" in err
    assert "is the database itself" in call(home, "restore", str(home / "taskrunner.db"))[1]
    assert (home / "taskrunner.db").read_bytes() == before


def test_a_restore_waits_for_nobody_while_runs_go_on(home, tmp_path):
    with TaskRunner(home) as live_runner:
        live_runner.add("x", ["sleep", "60"], Manual(), now=True)
        made = live_runner.backup(tmp_path / "copy.db")
        with start(home, "tick") as supervisor:
            wait_for(lambda: live_runner.status().running)
            with pytest.raises(StateError, match="runs are active"):
                live_runner.restore(made.place)
            live_runner.cancel("x")
            supervisor.wait(100)
        live_runner.restore(made.place)


def test_the_verbs_say_where_and_how_much(home, tmp_path):
    assert call(home, "backup")[1:] == (
        f"taskrunner: there is no database in '{home}' to back up: add a task first\n",
        1,
    )
    call(home, "add", "x", "--manual", "--", "true")
    out, err, code = call(home, "backup", str(tmp_path / "copy.db"))
    assert (err, code) == ("", 0)
    assert out.startswith(f"{tmp_path}/copy.db: ") and "tasks 1, runs 0" in out
    out, err, code = call(home, "restore", str(tmp_path / "copy.db"))
    assert (out, code) == ("", 0)
    assert "before-restore-" in err
    assert call(home, "backup", "--keep", "0")[2] == 2


def test_who_has_the_store_open_goes_on_with_what_is_put_back(home, tmp_path):
    with TaskRunner(home) as live_runner, TaskRunner(home) as looker:
        live_runner.add("x", shell="echo one", schedule=Manual())
        made = live_runner.backup(tmp_path / "copy.db")
        live_runner.add("y", ["true"], Manual())
        assert [task.name for task in looker.tasks()] == ["x", "y"]
        inode = os.stat(home / "taskrunner.db").st_ino
        live_runner.restore(made.place)
        assert os.stat(home / "taskrunner.db").st_ino == inode
        assert [task.name for task in looker.tasks()] == ["x"]
        looker.add("z", ["true"], Manual())
        assert [task.name for task in live_runner.tasks()] == ["x", "z"]
        with pytest.raises(UnknownTask):
            looker.run("y")


def test_a_restore_waits_for_who_writes_and_gives_up_in_the_end(home, tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "BUSY_TIMEOUT", 0.2)
    with TaskRunner(home) as live_runner:
        live_runner.add("x", ["true"], Manual())
        made = live_runner.backup(tmp_path / "copy.db")
        live_runner.add("y", ["true"], Manual())
        other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="in use"):
            live_runner.restore(made.place)
        other.close()
        assert [task.name for task in live_runner.tasks()] == ["x", "y"]
        assert not list((home / "backups").glob("before-restore-*"))


@pytest.mark.slow
def test_what_writers_do_beside_a_restore_is_in_the_store_or_in_what_is_kept(home, tmp_path):
    """Tasks are added without a pause while a copy is put back again and again; each is in one of the two."""
    with TaskRunner(home) as live_runner:
        live_runner.add("x", ["true"], Manual())
        made = live_runner.backup(tmp_path / "copy.db")
        added, over = [], threading.Event()

        def write():
            with TaskRunner(home) as other:
                while not over.is_set():
                    name = f"t{len(added)}"
                    other.add(name, ["true"], Manual())
                    added.append(name)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            kept = []
            while len(kept) < 15 or len(added) <= 15:
                kept.append(live_runner.restore(made.place).kept)
        finally:
            over.set()
            thread.join()
        known = {task.name for task in live_runner.tasks()}
        for place in kept:
            with closing(sqlite3.connect(place)) as old:
                assert old.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                known |= {name for (name,) in old.execute("SELECT name FROM tasks")}
        assert known >= {*added, "x"}


def test_a_run_by_hand_is_over_when_its_output_has_been_read(home, tmp_path):
    """Until then nothing takes the place of the store that it is read from."""
    heard = []

    def listen(block):
        with TaskRunner(home) as other:
            wait_for(lambda: other.history("x")[0].finished is not None)
            with pytest.raises(StateError, match="runs are active"):
                other.restore(made.place)
        heard.append(block)

    with TaskRunner(home) as live_runner:
        live_runner.add("x", shell="echo said", schedule=Manual())
        made = live_runner.backup(tmp_path / "copy.db")
        assert live_runner.run("x", echo=listen).state is State.SUCCEEDED
        assert heard == [b"said\n"]
        live_runner.restore(made.place)


def test_runs_by_hand_beside_a_restore_are_recorded_where_they_ran(home, tmp_path):
    """Runs are started one after another while a copy is put back; each is in the store or in what is kept."""
    log = tmp_path / "log"
    with TaskRunner(home) as live_runner:
        live_runner.add("x", shell=f"echo $TASKRUNNER_RUN >> {log}", schedule=Manual())
        made = live_runner.backup(tmp_path / "copy.db")
        over = threading.Event()

        def write():
            with TaskRunner(home) as other:
                while not over.is_set():
                    assert other.run("x").state is State.SUCCEEDED
                    over.wait(0.05)  # while one goes on a restore is refused

        thread = threading.Thread(target=write)
        thread.start()
        kept, refused = [], 0
        try:
            while len(kept) < 4:
                try:
                    kept.append(live_runner.restore(made.place).kept)
                except (StateError, StoreBusy):  # a run goes on, or is being recorded
                    refused += 1
        finally:
            over.set()
            thread.join()
        recorded = {run.id for run in live_runner.history(limit=None)}
        for place in kept:
            with closing(sqlite3.connect(place)) as old:
                recorded |= {
                    run_id
                    for (run_id,) in old.execute("SELECT id FROM runs WHERE state = 'succeeded'")
                }
        started = [int(line) for line in log.read_text().split()]
        assert len(started) == len(set(started)) and recorded == set(started)
