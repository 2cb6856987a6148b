"""Disks that are full or read-only, and stores that are damaged: real ones, small enough to fill."""

import os
import shutil
import sqlite3
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import After, Cron, Every, Manual, State, TaskRunner, host, report_error, schema
from taskrunner.errors import StoreReadOnly, StoreRefused, UnknownRun
from taskrunner.model.values import Trigger
from taskrunner.report.doctor import check_store, snapshot
from taskrunner.tick import idle_check
from taskrunner.upkeep import disk_reserve
from tests.samples import NOON, ROOT, call, program, start, wait_for

pytestmark = pytest.mark.one_python


@pytest.fixture
def disk(tmp_path, needs):
    """A disk of 2 MB of its own, with a home on it; full when filled, read-only when remounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    argv = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)]
    made = os.geteuid() == 0 and mount and subprocess.run(argv, capture_output=True, check=False)
    needs("root", made and made.returncode == 0, "a disk can be mounted by root only")

    class Disk:
        home = place / "home"

        def fill(self):
            """Leave no byte free."""
            with open(place / "filler", "ab", buffering=0) as file:
                for size in (65536, 4096, 512, 1):
                    try:
                        while file.write(b"x" * size) == size:
                            pass
                    except OSError:
                        continue

        def free(self):
            (place / "filler").unlink()

        def remount(self, how):
            subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)

    Disk.home.mkdir(mode=0o700)
    yield Disk()
    subprocess.run(["umount", "-l", str(place)], check=True)
    for told, _ in report_error._places(str(Disk.home))[1:]:
        if os.path.exists(told):
            os.unlink(told)


def whole(home):
    store = sqlite3.connect(home / "taskrunner.db")
    ((found,),) = store.execute("PRAGMA integrity_check").fetchall()
    store.close()
    return found == "ok"


WAITS = "touch {0}/up; while [ -e {0}/up ]; do sleep 0.02; done; echo done; exit 3"


# ---- full


def test_a_full_disk_is_said_in_one_sentence_and_nothing_is_half_written(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Manual())
    disk.fill()
    out, err, code = call(disk.home, "add", "y", "--manual", "--", "true")
    assert (out, code, err.count("\n")) == ("", 1, 1)
    assert "is full" in err and str(disk.home / "taskrunner.db") in err
    disk.free()
    assert call(disk.home, "add", "y", "--manual", "--", "true")[2] == 0
    assert whole(disk.home)


@pytest.mark.slow
def test_a_full_disk_can_be_read(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Manual())
        live_runner.run("x")
    disk.fill()
    for words in (
        ["list"],
        ["show", "x"],
        ["history"],
        ["status"],
        ["next"],
        ["stats"],
        ["log", "1"],
    ):
        out, err, code = call(disk.home, *words)
        assert code == 0, err
    out, err, _ = call(disk.home, "history")
    assert "succeeded" in out
    assert "snapshot" in err and err.count("\n") == 1


def test_the_disk_reserve_is_made_when_there_is_room_and_given_up_when_there_is_none(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Manual(), now=True)
        place = disk.home / "ballast"
        live_runner.tick()
        assert not place.exists()  # the disk is too small to spare any
        disk_reserve._make(str(place))
        assert place.stat().st_size == disk_reserve.SIZE <= 256_000
        assert place.stat().st_mode & 0o777 == 0o600
        live_runner.set("x", now=True)
        live_runner.close()
        disk.fill()
        live_runner.tick()
        assert not place.exists()
        assert [run.state for run in live_runner.history()] == [State.SUCCEEDED] * 2


def test_the_disk_reserve_comes_with_the_first_working_tick(runner, home):
    runner.add("x", ["true"], Manual(), now=True)
    runner.tick()
    assert (home / "ballast").stat().st_blocks * 512 >= disk_reserve.SIZE


def test_a_full_disk_can_be_pruned_by_the_disk_reserve(disk, monkeypatch):
    (disk.home / "taskrunner.toml").write_text("keep_output = 1000\n")
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", shell="head -c 60000 /dev/urandom", schedule=Manual())
        for _ in range(4):
            live_runner.run("x")
        disk_reserve._make(str(disk.home / "ballast"))
        live_runner.close()
        disk.fill()
        pruned = live_runner.prune()
        assert pruned.outputs == 3


def test_an_outcome_is_recorded_by_the_disk_reserve_when_the_disk_fills_up_meanwhile(
    disk, tmp_path
):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", shell=WAITS.format(tmp_path), schedule=Manual(), now=True)
        disk_reserve._make(str(disk.home / "ballast"))
        with start(disk.home, "tick") as supervisor:
            wait_for((tmp_path / "up").exists)
            wait_for(
                lambda: [p for _, p in live_runner._here().store.processes.with_runs() if p.pid]
            )
            disk.fill()
            (tmp_path / "up").unlink()
            assert supervisor.wait(100) == 0
        run = live_runner.run_of(1)
        assert (run.state, run.exit_code) == (State.FAILED, 3)
        assert "the disk of its output was full" in run.reason


def test_an_outcome_stays_in_memory_while_not_even_the_spool_takes_it(disk, tmp_path):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", shell=WAITS.format(tmp_path), schedule=Manual(), now=True)
        with start(disk.home, "tick") as supervisor:
            wait_for((tmp_path / "up").exists)
            wait_for(
                lambda: [p for _, p in live_runner._here().store.processes.with_runs() if p.pid]
            )
            disk.fill()
            (tmp_path / "up").unlink()
            time.sleep(3)
            state = live_runner.run_of(1).state
            alive = supervisor.poll() is None
            disk.free()
            assert supervisor.wait(100) == 0
        assert (state is State.FAILED) or alive
        assert (live_runner.run_of(1).state, live_runner.run_of(1).exit_code) == (State.FAILED, 3)
        assert not list((disk.home / "spool").iterdir())


def test_a_run_whose_output_has_no_file_runs_all_the_same_and_says_so(home):
    with TaskRunner(home) as live_runner:
        spoil = f"rm -r {home}/output; touch {home}/output"
        live_runner.add("x", shell=spoil, schedule=Manual(), now=True)
        live_runner.add("y", shell="echo hello", schedule=After("x"))
        live_runner.tick()
        (run,) = live_runner.history("y")
        assert run.state is State.SUCCEEDED
        assert run.reason == "exit code 0; no file could be made for its output: Not a directory"
        assert live_runner.output(run) == b"hello\n"


def test_an_output_folder_that_disappears_is_made_again(home, tmp_path):
    with TaskRunner(home) as live_runner:
        live_runner.add(
            "x", shell=f"rm -r {home}/output {home}/supervisors; echo hello", schedule=Manual()
        )
        live_runner.add("y", ["echo", "there"], Manual())
        assert live_runner.run("x").state is State.SUCCEEDED
        assert live_runner.output(live_runner.run("y")) == b"there\n"
        shutil.rmtree(home / "output")
        shutil.rmtree(home / "spool")
        assert live_runner.run("x").state is State.SUCCEEDED


def test_a_tick_that_cannot_work_says_so_once_an_hour(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Every("1d"), now=True)
        live_runner.tick()
        live_runner.set("x", now=True)
    disk.fill()
    told = [call(disk.home, "tick")[1:] for _ in range(3)]
    if told[0][1]:  # where the log of the store takes the few rows there is nothing to complain of
        assert told[0][0].count("\n") == 1 and "is full" in told[0][0]
        assert told[1:] == [("", 1)] * 2
    disk.free()
    assert call(disk.home, "tick")[1:] == ("", 0)


STAGES = {
    "add": ["add", "y", "--manual", "--", "true"],
    "set": ["set", "x", "--timeout", "5s"],
    "apply": ["apply", "{0}/tasks.toml"],
    "remove": ["remove", "x"],
    "backup": ["backup"],
    "backup to a file": ["backup", "{0}/home/copy.db"],
    "restore": ["restore", "{1}/good.db"],
    "run": ["run", "x"],
    "prune": ["prune"],
    "claim": ["tick"],
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_at_any_stage_is_named_and_all_goes_on_once_there_is_room(
    disk, tmp_path, stage
):
    words = [word.format(disk.home.parent, tmp_path) for word in STAGES[stage]]
    (disk.home.parent / "tasks.toml").write_text('[tasks.z]\nmanual = true\ncommand = ["true"]\n')
    with TaskRunner(disk.home) as live_runner:
        live_runner.add(
            "x", shell="head -c 30000 /dev/urandom | base64", schedule=Every("1d"), now=True
        )
        live_runner.backup(tmp_path / "good.db")
    disk.fill()
    out, err, code = call(disk.home, *words)
    if code:  # the log of the store may have room for the few rows of a small change
        assert code == (125 if stage == "run" else 1) and out == ""
        assert "full" in err or "No space left" in err or "nothing was pruned" in err, err
        assert err.count("\n") == 1 and "bug" not in err and "Traceback" not in err
    disk.free()
    assert whole(disk.home)
    if code and stage != "prune":
        assert call(disk.home, *words)[2] == 0
    assert call(disk.home, "tick")[1:] == ("", 0)
    if stage not in ("remove", "restore"):
        assert State.SUCCEEDED in {run.state for run in TaskRunner(disk.home).history("x")}
    left = [place.name for place in disk.home.rglob("*.new*")]
    assert not left and not list((disk.home / "spool").iterdir())


def test_a_run_whose_output_fills_the_disk_ends_and_says_so(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add(
            "x", shell="head -c 5000000 /dev/zero; echo done >&2; true", schedule=Manual()
        )
        disk_reserve._make(str(disk.home / "ballast"))
        live_runner.close()
        call(disk.home, "set", "x", "--now")
        assert call(disk.home, "tick")[1:] == ("", 0)
        (run,) = live_runner.history("x")
        assert run.state is State.SUCCEEDED
        assert run.reason == "exit code 0; the disk of its output was full"
        live_runner.prune()


# ---- read-only


@pytest.mark.slow
@pytest.mark.parametrize("how", ["full", "reading only"])
def test_the_doctor_blames_the_disk_and_not_the_store_on_it(disk, how):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Manual())
    disk.fill() if how == "full" else disk.remount("ro")
    try:
        said = call(disk.home, "doctor")[0]
        state = call(disk.home, "status", "--check")[0]
        status = call(disk.home, "status")[0]
    finally:
        disk.free() if how == "full" else disk.remount("rw")
    assert "restore COPY" not in said and "chmod 600" not in said
    if "the database is intact" not in said:  # SQLite may need no room to read
        assert f"its disk is {'full' if how == 'full' else 'mounted for reading only'}" in said
        assert "its disk is" in state
    if how == "full":
        assert f"the disk of {disk.home} is full" in " ".join(status.split())


@pytest.mark.slow
def test_a_read_only_home_is_read_and_not_written(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", shell="echo hello", schedule=Cron("0 2 * * *", tz="UTC"))
        live_runner.run("x")
    disk.remount("ro")
    try:
        for words in (
            *(["list"], ["show", "x"], ["history"], ["log", "x"], ["status"], ["next"]),
            *(["explain", "x"], ["stats"], ["tick", "--dry-run"]),
        ):
            out, err, code = call(disk.home, *words)
            assert code == 0, (words, err)
            assert err.splitlines()[-1].startswith("taskrunner: the home"), (words, err)
            assert "reading only" in err and "snapshot" in err
        assert "hello" in call(disk.home, "log", "x")[0]
        for words in (
            ["tick", "-v"],
            ["run", "x"],
            ["set", "x", "--now"],
            ["disable", "x"],
            ["prune"],
        ):
            out, err, code = call(disk.home, *words)
            assert (out, code) == ("", 125 if words[0] == "run" else 1), (words, err)
            assert err.count("\n") == 1 and "Traceback" not in err and "bug" not in err
        told = [call(disk.home, "tick") for _ in range(2)]
        assert told[0][1].count("\n") == 1 and told[0][2] == told[1][2] == 1
        assert told[1][1] == ""
    finally:
        disk.remount("rw")
    assert call(disk.home, "tick")[1:] == ("", 0)
    with TaskRunner(disk.home) as live_runner:
        assert live_runner.snapshot is None and live_runner.tasks() and live_runner.snapshot is None


def test_a_disk_that_becomes_read_only_is_reported_although_nothing_is_due(disk, monkeypatch):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Cron("0 2 1 1 *", tz="UTC"))
        live_runner.tick()
    monkeypatch.setattr(idle_check, "RECENT", -1_000_000)
    assert idle_check.idle(str(disk.home), host.now_ms(), "test")
    assert (disk.home / "idle").exists()
    disk.remount("ro")
    try:
        _, err, code = call(disk.home, "tick")
    finally:
        disk.remount("rw")
    assert code == 1 and "Read-only file system" in err and err.count("\n") == 1


def test_a_library_that_has_read_a_snapshot_writes_once_it_can(disk):
    with TaskRunner(disk.home) as live_runner:
        live_runner.add("x", ["true"], Manual())
        live_runner.close()
        disk.remount("ro")
        assert live_runner.tasks() and "snapshot" in live_runner.snapshot
        with pytest.raises(StoreReadOnly):
            live_runner.set("x", now=True)
        disk.remount("rw")
        live_runner.set("x", now=True)
        assert live_runner.snapshot is None


# ---- damage


@pytest.fixture
def store(home):
    """The file of a store with a task and runs in it, closed."""
    with TaskRunner(home) as live_runner:
        live_runner.add("x", shell="echo hello", schedule=Manual())
        live_runner.run("x")
    return home / "taskrunner.db"


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:50],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"garbage " * 4000,
        lambda whole: whole[:100] + os.urandom(8000) + whole[8100:],
    ],
    ids=["empty", "cut short", "cut in half", "garbage", "garbage in the middle"],
)
def test_a_damaged_store_is_named_with_what_to_do(store, home, damage):
    store.write_bytes(damage(store.read_bytes()))
    for words in (["list"], ["tick"], ["add", "y", "--manual", "--", "true"]):
        out, err, code = call(home, *words)
        assert (out, code, err.count("\n")) == ("", 1, 1), (words, err)
        assert "taskrunner restore FILE" in err and str(home / "backups") in err


def test_a_store_without_its_log_is_what_was_written_before(store, home):
    with TaskRunner(home) as live_runner:
        live_runner.add("y", ["true"], Manual())
        copy = store.read_bytes()  # y is in the log alone
        live_runner.close()
    store.write_bytes(copy)
    _, err, code = call(home, "list")
    assert (err, code) == ("", 0) or "restore" in err


def test_a_store_of_the_first_schema_is_upgraded_with_a_copy_of_what_it_was(home):
    place = home / "taskrunner.db"
    old = sqlite3.connect(place, isolation_level=None)
    for statement in schema.statements(schema.STEPS[0]):
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    old.executescript(
        "INSERT INTO tasks (name, enabled, created, kind, schedule, command, env, kill_after, catch_up, "
        "overlap, evaluated) VALUES ('x', 1, 0, 'manual', '', '[\"true\"]', '{}', 10000, 'last', 'skip', 0);"
        "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed, started, finished, exit_code) "
        "VALUES (1, 0, 0, 'manual', 'succeeded', 0, 0, 5, 0);"
        "INSERT INTO outputs VALUES (1, x'789c4b040000620062');"
    )
    old.close()
    place.chmod(0o600)
    with TaskRunner(home) as live_runner:
        assert [(run.id, run.state) for run in live_runner.history()] == [(1, State.SUCCEEDED)]
        assert live_runner.output(live_runner.history()[0]) == b"a"
        assert live_runner.run("x").id == 2
    (kept,) = (home / "backups").iterdir()
    copy = sqlite3.connect(kept)
    assert schema.version(copy) == 1
    copy.close()


def _owner(place):
    os.chown(place, 12345, 12345)


def _log_of_another_program(place):
    other = sqlite3.connect(place.parent.parent / "other.db", isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("CREATE TABLE t (a)")
    shutil.copy(place.parent.parent / "other.db-wal", f"{place}-wal")
    os.chmod(f"{place}-wal", 0o600)
    other.close()


def _folder(place):
    place.unlink()
    place.mkdir()


WRONG = {
    "cut": (lambda place: os.truncate(place, 30000), "malformed", "restore"),
    "garbage": (lambda place: place.write_bytes(b"garbage " * 900), "not a database", "restore"),
    "empty": (lambda place: place.write_bytes(b""), "is empty", "restore a backup"),
    "a folder": (_folder, "unable to open", "restore"),
    "mode": (lambda place: place.chmod(0o666), "can be written by others", "chmod go-w"),
    "owner": (_owner, "belongs to user id 12345", "chown"),
    "newer": (lambda place: _version(place, 99), "newer than the", "use the newer taskrunner"),
    "the log of another": (_log_of_another_program, "is empty", "restore a backup"),
}


def _version(place, number):
    store = sqlite3.connect(place)
    store.execute(f"PRAGMA user_version = {number}")
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
def test_doctor_names_what_is_wrong_with_a_store_and_a_copy_put_back_mends_it(
    store, home, tmp_path, what, needs
):
    needs("root", os.geteuid() == 0, "files can be given away by root only")
    spoil, said, cure = WRONG[what]
    with TaskRunner(home) as live_runner:
        good = live_runner.backup().place
    spoil(store)
    out, err, code = call(home, "doctor")
    assert (err, code) == ("", 2)
    lines = out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if said in line]
    assert lines[at].startswith("error") and cure in lines[at] + lines[at + 1]
    out, err, code = call(home, "list")
    assert (out, code, err.count("\n")) == ("", 1, 1) and "Traceback" not in err
    if what == "mode":
        store.chmod(0o600)
    elif what == "owner":
        os.chown(store, os.geteuid(), os.getegid())
    if what == "a folder":
        store.rmdir()
    if what != "newer":
        assert call(home, "restore", good)[2] == 0
        assert call(home, "log", "x")[:1] == ("hello\n",)


def test_a_log_of_garbage_is_left_aside(store, home):
    (home / "taskrunner.db-wal").write_bytes(os.urandom(20_000))
    (home / "taskrunner.db-wal").chmod(0o600)
    assert call(home, "log", "x") == ("hello\n", "", 0)


def test_a_store_that_its_user_may_not_read_says_how_to_mend_that(store, home, monkeypatch):
    """Root may read everything, so that only the answer to who asks is what a user would get."""
    store.unlink()
    store.mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with TaskRunner(home) as live_runner, pytest.raises(StoreRefused, match="chmod 600"):
        live_runner.tasks()
    looked = snapshot.take(str(home), NOON)
    assert f"`chmod 600 {store}`" in [each.cure for each in check_store.findings(looked)]


def test_outputs_newer_than_the_store_that_was_put_back_belong_to_no_run_of_it(home, tmp_path):
    with TaskRunner(home) as live_runner:
        live_runner.add("x", shell="head -c 100000 /dev/zero", schedule=Manual())
        good = live_runner.backup().place
        old = live_runner.run("x")
        live_runner.restore(good)
        with pytest.raises(UnknownRun):
            live_runner.run_of(old.id)
        new = live_runner.run("x")
        assert new.id > old.id and len(live_runner.output(new)) == 100_000
        names = {place.name for place in (home / "output").iterdir()}
        assert names == {f"{old.id}.log", f"{new.id}.log"}


# ---- temporary folders that take nothing

# Arguments: the home, then a program, which finds the home at /mnt.
NO_TEMPORARY_FOLDERS = """
mount --bind "$1" /mnt; shift
for each in /tmp /var/tmp; do mount --bind $each $each; mount -o remount,bind,ro $each; done
cd /tmp; unset TMPDIR SQLITE_TMPDIR
! touch /tmp/x /var/tmp/x 2>&- || exit 99
exec "$@"
"""


def without_temporary_folders(home, *words):
    """Run the program where neither /tmp nor /var/tmp can be written; stdout, stderr and exit code."""
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", NO_TEMPORARY_FOLDERS]
    argv += ["sh", str(home), *program("/mnt", *words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False, timeout=100)
    return done.stdout, done.stderr, done.returncode


@pytest.fixture
def namespace(needs):
    """Mount namespaces can be made."""
    argv = ["unshare", "--mount", "true"]
    made = os.geteuid() == 0 and shutil.which("unshare") and subprocess.run(argv, check=False)
    needs("root", made and made.returncode == 0, "a mount namespace can be made by root only")


def test_a_hundred_tasks_run_where_no_temporary_file_can_be_made(home, namespace):
    with TaskRunner(home) as live_runner:
        for number in range(100):
            live_runner.add(f"x{number}", ["true"], Every("1d"), now=True)
        assert without_temporary_folders(home, "tick") == ("", "", 0)
        assert [run.state for run in live_runner.history(limit=200)] == [State.SUCCEEDED] * 100


@pytest.mark.slow
def test_ten_thousand_runs_are_pruned_where_no_temporary_file_can_be_made(home, namespace):
    with TaskRunner(home) as live_runner:
        task, store = live_runner.add("x", ["true"], Manual()), live_runner._here().store
        old = datetime.now(UTC) - timedelta(days=1000)
        slots = [old + timedelta(seconds=number) for number in range(10_000)]
        values = {"task_id": task.id, "state": State.MISSED, "trigger": Trigger.SCHEDULE}
        with store.transaction():
            store.runs.add_all(
                {**values, "claimed": at, "slot": at, "first_slot": at} for at in slots
            )
    for _ in range(2):  # runs are pruned by age once the clock was seen to go on
        assert without_temporary_folders(home, "tick")[1:] == ("", 0)
    _, err, code = without_temporary_folders(home, "prune")
    assert (err, code) == ("", 0)
    with TaskRunner(home) as live_runner:
        assert len(live_runner.history(limit=20_000)) < 1000
