"""What of the history is kept, what goes, and that those who count do not miss it."""

import json
import os
import sqlite3
import threading
import time
from datetime import timedelta

import pytest
from hypothesis import example, given, settings, strategies as st

from taskrunner import Every, Manual, State, TaskRunner, UnknownRun, clock as clock_room, host
from taskrunner.cli import main
from taskrunner.errors import StateError
from taskrunner.home import heartbeat
from taskrunner.home.heartbeat import Beat
from taskrunner.model.values import Event, Pruned
from taskrunner.store import connection, pruning
from taskrunner.store.store import open_store
from taskrunner.supervise.supervisor import open_supervisor
from taskrunner.tick import daemon as loop
from taskrunner.upkeep import retention
from tests.conftest import Clock
from tests.history import SECOND, ran
from tests.samples import MINUTE, NOON

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
OLD = NOON - 100 * DAY
S, F = State.SUCCEEDED, State.FAILED


@pytest.fixture
def boot(clock, monkeypatch):
    """The time since the boot goes along with the clock of the test; `boot.off` milliseconds are lost."""

    class Boot:
        off = 0

        def __call__(self):
            return clock_room.to_ms(clock()) - clock_room.to_ms(NOON - 1000 * DAY) + self.off

    made = Boot()
    monkeypatch.setattr(host, "since_boot", made)
    return made


@pytest.fixture
def settle(home):
    """Write the settings of the home."""

    def settle(**values):
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        (home / "taskrunner.toml").write_text(text)

    settle(keep_runs=2)
    return settle


@pytest.fixture
def live_runner(settle, boot, runner, clock):
    """A taskrunner that keeps two runs of each task, with the tasks x and y, and a tick behind it."""
    for name in "xy":
        runner.add(name, ["true"], Manual())
    runner.tick()
    clock.forward(minutes=1)
    return runner


@pytest.fixture
def store(live_runner, home):
    made = open_store(str(home))
    yield made
    made.close()


def tick(live_runner, clock):
    """A tick that has something to do, a minute later."""
    clock.forward(minutes=1)
    live_runner.set("y", now=True)
    return live_runner.tick()


@pytest.fixture
def agreed(monkeypatch):
    """What each tick found of the clock."""
    found, look = [], retention.agrees

    def agrees(last, beat):
        found.append(look(last, beat))
        return found[-1]

    monkeypatch.setattr(retention, "agrees", agrees)
    return found


def left(live_runner, name="x"):
    return [run.id for run in reversed(live_runner.history(name, limit=None))]


def again(live_runner):
    """The same home, its settings read anew."""
    live_runner.close()
    return live_runner


# ---- which runs go


def test_runs_that_ended_too_long_ago_go_but_the_newest_of_each_task_stay(
    live_runner, store, clock
):
    ids = [ran(store, ended=OLD + number * MINUTE) for number in range(5)]
    young = ran(store, ended=NOON - 89 * DAY)
    only = ran(store, ended=OLD, task=2)
    tick(live_runner, clock)
    assert left(live_runner) == [ids[4], young]
    assert left(live_runner, "y")[0] == only
    with pytest.raises(UnknownRun):
        live_runner.run_of(ids[0])


def test_the_last_run_and_the_last_success_stay_whatever_came_after(live_runner, store, clock):
    success = ran(store, S, OLD)
    last = ran(store, F, OLD + MINUTE)
    more = [ran(store, State.SKIPPED, OLD + (2 + n) * MINUTE) for n in range(4)]
    tick(live_runner, clock)
    assert left(live_runner) == [success, last, *more[2:]]


def test_runs_that_never_started_go_like_others(live_runner, store, clock):
    ids = [ran(store, State.MISSED, OLD + number * MINUTE) for number in range(4)]
    tick(live_runner, clock)
    assert left(live_runner) == ids[2:]


def test_what_waits_or_runs_is_never_touched(live_runner, store, clock):
    live = [ran(store, State.RUNNING, OLD), ran(store, State.PENDING, OLD + MINUTE, task=2)]
    ids = [ran(store, ended=OLD + (2 + number) * MINUTE) for number in range(3)]
    assert live_runner.prune().runs == 1
    assert left(live_runner) == [live[0], *ids[1:]]
    assert live_runner.run_of(live[1]).state is State.PENDING


def test_all_old_runs_of_a_removed_task_go(live_runner, store, clock):
    for number in range(3):
        ran(store, ended=OLD + number * MINUTE)
    young = ran(store, ended=NOON)
    live_runner.remove("x")
    tick(live_runner, clock)
    assert left(live_runner) == [young]


def test_a_task_that_was_removed_goes_when_nothing_refers_to_it(live_runner, store, clock):
    ran(store, ended=OLD)
    live_runner.add("never-ran", ["true"], Manual())
    for name in ("x", "never-ran"):
        live_runner.remove(name)
    clock.forward(days=91)
    live_runner.tick()
    tick(live_runner, clock)
    ids = {task.id: task.name for task in store.figures.known()}
    assert ids == {1: "x", 2: "y"}  # x is in the totals
    assert live_runner.stats("x").total.runs == 1


def test_events_that_are_old_go(live_runner, store, clock):
    with store.transaction():
        store.events.add(Event(OLD, "gap", "tick", text="long ago"))
        store.events.add(Event(NOON, "gap", "tick", text="now"))
    store.connection.run(
        "UPDATE events SET id = -id WHERE text = 'long ago'"
    )  # as if it had come first
    before = len(store.events.all())
    assert live_runner.prune().events == 1
    assert len(store.events.all()) == before - 1


# ---- the figures of what is gone


STATES = [state for state in State if state not in (State.PENDING, State.RUNNING)]
PAST = st.lists(
    st.tuples(
        st.sampled_from([S, S, F, *STATES]),
        st.sampled_from([1, 2]),
        st.booleans(),
        st.integers(1, 120),  # not 0: a slot of a task has one run
    ),
    max_size=25,
)


def lasting(found):
    """What of the figures does not depend on which runs are kept."""
    names = [name for name in found.__dataclass_fields__ if not name.startswith(("dur", "late"))]
    return {name: getattr(found, name) for name in names}


@pytest.mark.slow
@settings(max_examples=25)
@given(PAST)
@example(
    [(S, 2, False, 1), (F, 2, False, 1), (State.CANCELLED, 2, True, 1)]
)  # the end of a streak goes
def test_the_figures_over_everything_are_the_same_before_and_after(tmp_path_factory, past):
    home = tmp_path_factory.mktemp("home", numbered=True)
    home.chmod(0o700)
    (home / "taskrunner.toml").write_text("keep_runs = 1\n")
    with TaskRunner(home, clock=Clock(NOON)) as live_runner:
        for name in "xy":
            live_runner.add(name, ["true"], Manual())
        store = open_store(str(home))
        ended = NOON - 200 * DAY
        for state, task, started, days in past:
            ended += days * DAY / 12
            ran(store, state, ended, task=task, started=started or state is not State.CANCELLED)
        store.close()
        stamp = host.since_boot()
        beat = Beat(clock_room.to_ms(NOON), 60_000, host.boot_id(), "test", stamp)
        heartbeat.write(str(home / "heartbeat"), beat)
        before, would = live_runner.stats(), live_runner.prune(dry_run=True)
        done, after = live_runner.prune(), live_runner.stats()
        assert (done.refused, done.runs) == (None, would.runs)
        assert [lasting(row) for row in after.tasks] == [lasting(row) for row in before.tasks]
        total = lasting(before.total) | {"streak": None}
        assert lasting(after.total) | {"streak": None} == total
        assert live_runner.prune().runs == 0


def test_totals_hold_what_the_pruned_runs_came_to(live_runner, store, clock):
    ran(store, State.CANCELLED, OLD - MINUTE, started=False)
    for number in range(4):
        ran(store, S, OLD + number * MINUTE, took=3 * SECOND)
    tick(live_runner, clock)
    rows = store.connection.rows("SELECT state, runs, started, duration FROM totals ORDER BY state")
    assert rows == [("cancelled", 1, 0, 0), ("succeeded", 2, 2, 6_000)]


# ---- outputs


def outputs(live_runner, *ids):
    return [live_runner.output(live_runner.run_of(run_id)) for run_id in ids]


def random_text(size):
    return os.urandom(size)  # which zlib cannot make smaller


def test_the_oldest_outputs_go_when_there_are_too_many_and_the_runs_stay(
    live_runner, store, settle
):
    ids = [ran(store, ended=NOON + n * SECOND, output=random_text(1000)) for n in range(5)]
    settle(keep_output=2500)
    done = again(live_runner).prune()
    assert (done.runs, done.outputs) == (0, 3)
    assert left(live_runner) == ids
    assert [len(block) for block in outputs(live_runner, *ids[3:])] == [1000, 1000]
    assert store.pruning.output_bytes() <= 2500


def test_a_log_says_that_its_output_was_pruned(live_runner, store, settle, home, capsys):
    first, silent, *_ = (
        ran(store, ended=NOON, output=random_text(1000)),
        ran(store, ended=NOON + SECOND),
        ran(store, ended=NOON + MINUTE, output=random_text(1000)),
    )
    settle(keep_output=1500)
    again(live_runner).prune()
    assert main.main(["--home", str(home), "log", str(first)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"the output of run {first} was pruned: it wrote 1000 bytes" in told.err
    assert main.main(["--home", str(home), "log", str(silent)]) == 0
    assert capsys.readouterr() == ("", "")
    with pytest.raises(StateError, match="was pruned"):
        live_runner.output(live_runner.run_of(first))


def test_the_output_of_a_last_run_or_last_success_stays(live_runner, store, settle, home):
    success = ran(store, S, NOON, output=random_text(1000))
    between = ran(store, F, NOON + SECOND, output=random_text(1000))
    last = ran(store, F, NOON + MINUTE, size=70_000)
    place = large(home, last)
    settle(keep_output=1)
    assert again(live_runner).prune().outputs == 1
    assert [len(block) for block in outputs(live_runner, success)] == [1000]
    assert place.exists()
    with pytest.raises(StateError):
        outputs(live_runner, between)


def large(home, run_id, size=70_000, age=0.0):
    place = home / "output" / f"{run_id}.log"
    place.write_bytes(b"x" * size)
    return place


def test_files_and_rows_go_together_the_oldest_first(live_runner, store, settle, home):
    first = ran(store, ended=NOON, size=70_000)
    second = ran(store, ended=NOON + SECOND, output=random_text(1000))
    third = ran(store, ended=NOON + 2 * SECOND, size=70_000)
    ran(store, ended=NOON + MINUTE)
    place, kept = large(home, first), large(home, third)
    settle(keep_output=90_000)
    done = again(live_runner).prune()
    assert (done.outputs, place.exists(), kept.exists()) == (1, False, True)
    assert done.bytes == done.freed == 70_000
    settle(keep_output=10_000)
    assert again(live_runner).prune().outputs == 2
    assert not kept.exists()
    for run_id in (first, second, third):
        with pytest.raises(StateError, match="pruned"):
            outputs(live_runner, run_id)


def test_the_output_of_a_run_that_goes_goes_with_it(live_runner, store, clock, home):
    small = ran(store, ended=OLD, output=b"some")
    big = ran(store, ended=OLD + SECOND, size=70_000)
    for number in range(2):
        ran(store, ended=OLD + (1 + number) * MINUTE)
    place = large(home, big)
    tick(live_runner, clock)
    assert store.runs.output(small) is None
    assert not place.exists()
    assert store.pruning.output_bytes() == 0


def test_a_file_of_no_run_goes_after_a_day(live_runner, store, home, clock):
    orphan, mine = large(home, 4711), home / "output" / "notes"
    mine.write_text("not ours")
    live = large(home, ran(store, State.RUNNING, NOON))
    written = clock_room.from_ms(int(orphan.stat().st_ctime * 1000))
    for later, stays in ((23 * HOUR, True), (25 * HOUR, False)):
        clock.at = written + later
        retention.step(live_runner._here(), clock.at, by_age=True)
        assert orphan.exists() is stays
    assert mine.exists() and live.exists()


def test_what_all_outputs_come_to_is_counted_as_they_come_and_go(live_runner, store):
    ids = [ran(store, ended=NOON + n * SECOND, output=random_text(500)) for n in range(3)]
    ((size,),) = store.connection.rows("SELECT sum(length(data)) FROM outputs")
    assert store.pruning.output_bytes() == size
    with store.transaction():
        store.pruning.drop_outputs(ids[:2])
    ((size,),) = store.connection.rows("SELECT sum(length(data)) FROM outputs")
    assert store.pruning.output_bytes() == size
    store.connection.run("UPDATE facts SET value = 7 WHERE name = 'output_bytes'")
    live_runner.prune()  # adds them up, whoever wrote past us
    assert store.pruning.output_bytes() == size


# ---- the clock


def at(minutes, since_boot=None, boot_id="one"):
    now = clock_room.to_ms(NOON) + round(minutes * 60_000)
    return Beat(now, 60_000, boot_id, "cron", 10**9 if since_boot is None else since_boot)


@pytest.mark.parametrize(
    ("last", "beat", "agree"),
    [
        (at(0), at(1, 10**9 + 60_000), True),
        (at(0), at(1, 10**9 + 56_000), True),
        (at(0), at(1, 10**9 + 50_000), False),
        (at(0), at(1, 10**9 + 70_000), False),
        (at(0), at(600, 10**9 + 600 * 60_000 - 30_000), True),
        (at(0), at(60 * 24 * 365, 10**9 + 60_000), False),
        (at(0), at(-60, 10**9 + 60_000), False),
        (at(0), at(1, 10**9 + 60_000, "two"), False),
        (at(1, 10**9 + 60_000), at(0), False),
        (None, at(1), False),
        (Beat(clock_room.to_ms(NOON), 60_000, "one", "cron"), at(1), False),
        (at(0), Beat(clock_room.to_ms(NOON) + 60_000, 60_000, "one", "cron"), False),
    ],
)
def test_the_clock_agrees_when_it_went_on_as_far_as_the_time_since_the_boot(last, beat, agree):
    assert retention.agrees(last, beat) is agree


def test_one_wrong_clock_does_not_erase_the_history(live_runner, store, clock, boot, agreed):
    ids = [ran(store, ended=NOON + number * SECOND) for number in range(5)]
    boot.off = -365 * DAY // clock_room.MILLISECOND
    clock.forward(days=365)
    live_runner.set("y", now=True)
    live_runner.tick()
    assert (agreed[-1], left(live_runner)) == (False, ids)
    boot.off = 0
    clock.forward(days=-365, minutes=2)
    live_runner.tick()
    tick(live_runner, clock)
    assert (agreed[-1], left(live_runner)) == (True, ids)


def test_prune_by_hand_obeys_the_clock_too_and_says_so(
    live_runner, store, clock, boot, home, capsys
):
    ids = [ran(store, ended=OLD + number * MINUTE) for number in range(5)]
    boot.off = 3_600_000
    for words in (["prune"], ["prune", "--dry-run"]):
        found = live_runner.prune(dry_run=len(words) > 1)
        assert "clock" in found.refused and "two more ticks" in found.refused
        assert (found.runs, found.dry_run) == (0, len(words) > 1)
    assert left(live_runner) == ids
    live_runner.tick()
    tick(live_runner, clock)
    assert live_runner.prune().refused is None


def test_outputs_beyond_their_size_go_whatever_the_clock_says(
    live_runner, store, settle, clock, boot, agreed
):
    ran(store, ended=NOON, output=random_text(1000))
    ran(store, ended=NOON + SECOND, output=random_text(1000))
    settle(keep_output=1500)
    boot.off = 3_600_000
    tick(again(live_runner), clock)
    assert agreed[-1] is False
    assert store.pruning.output_bytes() < 1500


# ---- a little at a time


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(retention, "ROWS", 4)
    monkeypatch.setattr(retention, "FEW", 2)
    monkeypatch.setattr(retention, "STEPS", 2)


def test_a_tick_prunes_a_few_and_the_next_goes_on(live_runner, store, clock, small_steps):
    kept = [ran(store, ended=OLD - DAY, task=2)]
    for number in range(22):
        ran(store, ended=OLD + number * MINUTE)
    counts = []
    for _ in range(4):
        tick(live_runner, clock)
        counts.append(len(left(live_runner)))
    assert counts == [15, 7, 2, 2]  # one of the first eight is the run of y
    assert left(live_runner, "y")[0] == kept[0]


def test_once_through_nothing_is_looked_at_for_an_hour(live_runner, store, clock):
    tick(live_runner, clock)
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE)
    tick(live_runner, clock)
    assert len(left(live_runner)) == 5
    clock.forward(hours=1)
    live_runner.tick()  # a gap, by which the clock is looked at
    assert len(left(live_runner)) == 2


def test_a_clock_that_went_back_does_not_put_pruning_off_for_long(live_runner, store, clock):
    clock.forward(days=10)
    live_runner.tick()
    tick(live_runner, clock)
    clock.forward(days=-10)
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE)
    live_runner.tick()
    tick(live_runner, clock)
    assert len(left(live_runner)) == 2


def test_an_idle_tick_does_not_prune(live_runner, store, clock, agreed):
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE)
    clock.forward(minutes=1)
    assert live_runner.tick().idle
    assert len(left(live_runner)) == 5
    tick(live_runner, clock)
    assert agreed[-1]  # with what the idle one has left
    assert len(left(live_runner)) == 2


def test_the_daemon_prunes_at_its_visits(live_runner, store, clock):
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE)
    live_runner.add("z", ["true"], Every("1d"), now=True)
    here = live_runner._here()
    with open_supervisor(here) as me:
        assert loop._visit(here, me, MINUTE, first=False) == (False, None)
    assert len(left(live_runner)) == 2


def test_a_store_that_is_held_by_another_keeps_no_tick_from_its_end(
    live_runner, store, home, monkeypatch
):
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 0.0)
    again(live_runner)
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE)
    other = sqlite3.connect(home / "taskrunner.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    retention.step(live_runner._here(), NOON, by_age=True)
    other.execute("ROLLBACK")
    other.close()
    assert len(left(live_runner)) == 5


def test_what_is_old_is_found_by_an_index(store):
    values = {"before": 1, "finished": 0, "id": 0, "rows": 10, "keep": 2}
    steps = [row[3] for row in store.connection.rows("EXPLAIN QUERY PLAN " + pruning.OLD, values)]
    assert any("runs_ended" in step for step in steps)
    assert not any(step.startswith("SCAN runs") for step in steps)


# ---- beside others


def test_two_who_prune_at_once_count_each_run_once(live_runner, store, home, small_steps):
    for number in range(60):
        ran(store, ended=OLD + number * MINUTE)
    before = live_runner.stats("x").total
    faults, found = [], []

    def prune():
        try:
            with TaskRunner(home, clock=live_runner._clock) as other:
                found.append(other.prune().runs)
        except Exception as exc:  # noqa: BLE001  told by the test
            faults.append(exc)

    threads = [threading.Thread(target=prune) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (faults, sum(found)) == ([], 58)
    assert lasting(live_runner.stats("x").total) == lasting(before)


def test_others_write_while_the_history_is_pruned(live_runner, store, home, small_steps):
    for number in range(60):
        ran(store, ended=OLD + number * MINUTE)
    end = threading.Event()
    written, faults = [], []

    def write():
        other = open_store(str(home))
        try:
            while not end.is_set() or not written:
                written.append(ran(other, ended=NOON + len(written) * SECOND, task=2))
                time.sleep(
                    0.002
                )  # SQLite's lock goes to whoever asks first, and that were always we
        except Exception as exc:  # noqa: BLE001  told by the test
            faults.append(exc)
        finally:
            other.close()

    thread = threading.Thread(target=write)
    thread.start()
    done = live_runner.prune()
    end.set()
    thread.join()
    assert (faults, done.runs) == ([], 58)
    assert [run_id for run_id in left(live_runner, "y") if run_id in written] == written


# ---- at once, by hand


def test_a_dry_run_writes_nothing_and_says_what_would_go(live_runner, store, settle, home, clock):
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE, output=random_text(1000))
    first = ran(store, ended=OLD + HOUR, task=2, size=70_000)
    for number in range(5):
        ran(store, ended=NOON + number * MINUTE, output=random_text(600))
    place = large(home, first)
    settle(keep_runs=2, keep_output=72_900)
    again(live_runner)
    rows = list(store.connection.raw.iterdump())
    would = live_runner.prune(dry_run=True)
    assert list(store.connection.raw.iterdump()) == rows
    assert place.exists()
    done = live_runner.prune()
    assert would == Pruned(done.runs, done.outputs, done.bytes, done.events, dry_run=True)
    assert (done.runs, done.outputs) == (5, 6)


def test_the_disk_gets_back_what_is_not_needed(live_runner, store, home):
    for number in range(100):
        ran(store, ended=OLD + number * MINUTE, output=random_text(20_000))
    store.close()
    live_runner.close()
    before = (home / "taskrunner.db").stat().st_size
    done = live_runner.prune()
    after = (home / "taskrunner.db").stat().st_size
    assert done.freed > 1_500_000
    assert before - after == done.freed
    assert store.pruning.free_bytes() == 0


def test_a_tick_gives_back_a_little_when_much_is_free(live_runner, store, clock, monkeypatch):
    monkeypatch.setattr(retention, "SLACK", 100_000)
    monkeypatch.setattr(retention, "PAGES", 50)
    for number in range(40):
        ran(store, ended=OLD + number * MINUTE, output=random_text(20_000))
    tick(live_runner, clock)
    free = store.pruning.free_bytes()
    tick(live_runner, clock)
    assert free > 100_000
    assert store.pruning.free_bytes() <= free - 40 * 4096


def test_where_there_is_no_store_there_is_nothing_to_prune(runner, home):
    assert runner.prune() == Pruned()
    assert list(home.iterdir()) == []


def test_the_command_line_says_what_was_removed(
    live_runner, store, home, boot, capsys, monkeypatch
):
    for number in range(5):
        ran(store, ended=OLD + number * MINUTE, output=b"some output")
    # The program has the real clock: by it all of this is as old, or older.
    monkeypatch.setattr("taskrunner.clock.now", live_runner._clock)
    assert main.main(["--home", str(home), "prune", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("3 runs, 3 outputs (")
    assert main.main(["--home", str(home), "prune", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == [
        *("version", "dry_run", "runs", "outputs", "bytes", "events", "freed", "refused"),
    ]
    assert (told["runs"], told["outputs"], told["refused"]) == (3, 3, None)
    boot.off = 3_600_000
    assert main.main(["--home", str(home), "prune"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("0 runs, 0 outputs (0 bytes) and 0 events removed")
    assert "the clock" in err
