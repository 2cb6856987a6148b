"""Runs whose supervisor is gone: real processes, really killed."""

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner import After, Every, Manual, State, TaskRunner, host
from taskrunner.processes import alive
from taskrunner.supervise import reconcile
from taskrunner.tick import visit
from tests.samples import start, wait_for

FOREVER = 'echo $$ > "$PIDFILE"; echo started; exec sleep 300'


@pytest.fixture
def runner(home):
    """A taskrunner with the real clock, since other processes take part."""
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def orphan(runner, home, tmp_path):
    """A run whose supervisor was killed while its child lives on; gives (run id, pid of the child)."""

    def make(**options):
        env = {"PIDFILE": str(tmp_path / "pid")}
        runner.add("slow", shell=FOREVER, schedule=Manual(), now=True, env=env, **options)
        with start(home, "tick") as supervisor:
            pid = int(wait_for(lambda: read(tmp_path / "pid")))
            run = wait_for(lambda: started_run(runner))
            supervisor.kill()
        made.append(pid)
        return run, pid

    made = []
    yield make
    for pid in made:
        if alive.started_ticks(pid):
            os.killpg(pid, signal.SIGKILL)


def read(place):
    return place.exists() and place.read_text().strip()


def started_run(runner):
    """The id of the run that is running and whose child has been noted."""
    store = runner._here().store
    for run, process in store.processes.with_runs():
        if process.pid is not None:
            return run.id
    return None


def later(runner, **length):
    """The same home with a clock that is ahead."""
    return TaskRunner(runner.home, clock=lambda: datetime.now(UTC) + timedelta(**length))


def test_a_child_that_outlived_its_supervisor_keeps_its_slot_busy(runner, orphan):
    run, pid = orphan()
    assert not runner.tick().idle
    assert runner.run_of(run).state is State.RUNNING
    assert alive.started_ticks(pid)
    with pytest.raises(Exception, match=f"run {run}"):
        runner.run("slow")


def test_an_orphan_that_ends_is_lost_and_its_output_is_kept(runner, orphan, home):
    run, pid = orphan()
    runner.tick()
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not alive.started_ticks(pid))
    runner.tick()
    lost = runner.run_of(run)
    assert (lost.state, lost.exit_code) == (State.LOST, None)
    assert "its result is unknown" in lost.reason
    assert runner.output(lost) == b"started\n"
    assert runner.tick().idle
    assert not list((home / "supervisors").iterdir())
    assert not list((home / "output").iterdir())


def test_an_orphan_is_stopped_at_its_timeout_by_a_later_tick(runner, orphan):
    run, pid = orphan(timeout="10m")
    with later(runner, minutes=9) as early:
        early.tick()
        assert early.run_of(run).state is State.RUNNING
    with later(runner, minutes=11) as late:
        late.tick()
        stopped = late.run_of(run)
    assert stopped.state is State.TIMED_OUT
    assert "timeout of 10m" in stopped.reason
    assert not alive.started_ticks(pid)


def test_an_orphan_that_ignores_term_is_killed(runner, home, tmp_path):
    env = {"PIDFILE": str(tmp_path / "pid")}
    shell = 'trap "" TERM; echo $$ > "$PIDFILE"; while :; do sleep 0.1; done'
    runner.add("hard", shell=shell, schedule=Manual(), env=env, kill_after="1s")
    with start(home, "run", "hard") as supervisor:
        pid = int(wait_for(lambda: read(tmp_path / "pid")))
        run = wait_for(lambda: started_run(runner))
        supervisor.kill()
    (cancelled,) = runner.cancel(run)
    assert cancelled.state is State.CANCELLED
    assert not alive.started_ticks(pid)


def test_the_end_of_a_lost_run_is_handled(runner, orphan):
    _, pid = orphan()
    runner.add("rescue", ["true"], After("slow", "failed"))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive.started_ticks(pid))
    runner.tick()
    assert [(r.task, r.state) for r in runner.history(limit=2)] == [
        ("rescue", State.SUCCEEDED),
        ("slow", State.LOST),
    ]


def test_after_a_reboot_everything_that_ran_is_lost(runner, orphan, monkeypatch):
    run, _ = orphan()
    monkeypatch.setattr(host, "boot_id", lambda: "another-boot")
    runner.tick()
    lost = runner.run_of(run)
    assert lost.state is State.LOST
    assert "restarted" in lost.reason


def test_a_recycled_pid_is_not_mistaken_for_the_child(runner, orphan):
    run, _ = orphan()
    store = runner._here().store
    with store.transaction():  # the number now belongs to a process started at another time
        store.processes.note_child(run, os.getpid(), alive.started_ticks(os.getpid()) + 1)
    runner.tick()
    assert runner.run_of(run).state is State.LOST


def test_a_child_in_another_pid_namespace_is_waited_for_until_its_time_is_up(runner, orphan):
    run, pid = orphan(timeout="1h", kill_after="10s")
    store = runner._here().store
    with store.transaction():
        store.connection.run("UPDATE processes SET pid_namespace = 1, pid = 1")
    runner.tick()
    assert runner.run_of(run).state is State.RUNNING
    with later(runner, hours=1, seconds=20) as late:
        late.tick()
        assert late.run_of(run).state is State.LOST
    assert alive.started_ticks(pid)  # nobody sent a signal to a pid of another namespace


def test_a_child_in_another_pid_namespace_without_timeout_is_lost_after_a_day(runner, orphan):
    run, _ = orphan(timeout=None)
    store = runner._here().store
    with store.transaction():
        store.connection.run("UPDATE processes SET pid_namespace = 1")
    for hours, state in ((23, State.RUNNING), (25, State.LOST)):
        with later(runner, hours=hours) as late:
            late.tick()
            assert late.run_of(run).state is state


def test_a_child_that_was_never_noted_is_found_by_its_output(runner, orphan):
    run, pid = orphan()
    store = runner._here().store
    with store.transaction():  # as if the supervisor had died right after the spawn
        store.connection.run("UPDATE processes SET pid = NULL, pid_started = NULL")
    runner.tick()
    assert runner.run_of(run).state is State.RUNNING
    assert store.processes.of(run).pid == pid


def test_a_run_whose_child_was_never_made_is_lost(runner, orphan):
    run, pid = orphan()
    os.killpg(pid, signal.SIGKILL)
    wait_for(lambda: not alive.started_ticks(pid))
    store = runner._here().store
    with store.transaction():
        store.connection.run("UPDATE processes SET pid = NULL, pid_started = NULL")
    runner.tick()
    assert "just before the start" in runner.run_of(run).reason


def test_a_run_cancelled_while_its_supervisor_is_dead_ends_as_cancelled(runner, orphan):
    run, pid = orphan()
    (cancelled,) = runner.cancel(run, reason="cancelled by ann")
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, "cancelled by ann")
    assert not alive.started_ticks(pid)


def test_pending_runs_of_a_dead_tick_are_started_by_the_next(runner, home):
    runner.add("one", ["true"], Every("1d"), now=True)
    visit.Tick(runner._here(), "test").claim_under_lock()  # and then it dies
    assert runner.history()[0].state is State.PENDING
    runner.tick()
    assert runner.history()[0].state is State.SUCCEEDED


def test_the_output_of_a_run_under_a_living_supervisor_is_left_alone(runner, home, tmp_path):
    env = {"PIDFILE": str(tmp_path / "pid")}
    runner.add("slow", shell=FOREVER, schedule=Every("1d"), now=True, env=env)
    with start(home, "tick") as supervisor:
        wait_for(lambda: read(tmp_path / "pid"))
        run = wait_for(lambda: started_run(runner))
        assert runner.tick().idle  # a supervised run is nobody else's business
        runner.add("other", ["true"], Every("1d"), now=True)
        runner.tick()  # a working tick beside it
        assert runner.history("other")[0].state is State.SUCCEEDED
        assert runner.run_of(run).state is State.RUNNING
        assert runner.output(runner.run_of(run)) == b"started\n"
        runner.cancel(run)
        assert supervisor.wait(100) == 0
    assert runner.run_of(run).state is State.CANCELLED


def test_who_is_alive_is_never_told_by_a_pid_alone(orphan, runner):
    run, _ = orphan()
    process = runner._here().store.processes.of(run)
    assert reconcile.lives(process)
    assert not reconcile.lives(replace(process, pid_started=process.pid_started - 1))
    assert not reconcile.lives(replace(process, pid_started=None))
    assert not reconcile.lives(replace(process, pid=None))


def test_a_run_that_was_marked_to_be_stopped_but_never_told_is_stopped_by_a_later_tick(
    runner, home, tmp_path
):
    env = {"PIDFILE": str(tmp_path / "pid")}
    runner.add("slow", shell=FOREVER, schedule=Manual(), now=True, env=env)
    with start(home, "tick") as supervisor:
        run = wait_for(lambda: started_run(runner))
        store = runner._here().store
        with store.transaction():  # as a cancel that dies before it sends the signal
            store.processes.ask_to_stop(run, State.CANCELLED, "cancelled by ann", runner.now())
        runner.tick()
        assert runner.run_of(run).state is State.RUNNING
        with later(runner, minutes=1) as late:
            late.tick()
        assert supervisor.wait(100) == 0
    cancelled = runner.run_of(run)
    assert (cancelled.state, cancelled.reason) == (
        State.CANCELLED,
        "cancelled by ann (killed by SIGTERM)",
    )


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def test_a_clock_that_is_set_does_not_end_a_healthy_orphan(runner, orphan, home, needs):
    needs("faketime", os.path.exists(FAKETIME), "libfaketime is not installed")
    run, pid = orphan(timeout="1h")
    # Only the wall clock is set; the time since the boot goes on as it was.
    fake = {"LD_PRELOAD": FAKETIME, "FAKETIME": "+3h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with start(home, "tick", env=fake) as ahead:
        assert ahead.wait(100) == 0
    assert runner.run_of(run).state is State.RUNNING
    assert alive.started_ticks(pid)


def test_an_orphan_past_its_timeout_by_its_age_is_stopped(runner, orphan):
    run, pid = orphan(timeout="1s")
    wait_for(lambda: alive.age(pid) > 1)
    runner.tick()
    assert runner.run_of(run).state is State.TIMED_OUT
