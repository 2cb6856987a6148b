"""Runs a person asks for: started, followed, cancelled."""

import os
import signal
import threading
import time
from datetime import UTC, datetime

import pytest

from taskrunner import After, Manual, State, TaskBusy, TaskRunner, Trigger
from taskrunner.processes import alive
from taskrunner.tick import by_hand
from tests.samples import call, start, wait_for


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def add(runner, name="x", shell="true", **options):
    return runner.add(name, shell=shell, schedule=Manual(), **options)


def in_background(home, key, **options):
    """Run a task in a thread, with a runner of its own; returns the thread and where its run will be."""
    found = []

    def go():
        with TaskRunner(home) as mine:
            found.append(mine.run(key, **options))

    thread = threading.Thread(target=go)
    thread.start()
    return thread, found


def running(runner, name="x"):
    return wait_for(lambda: runner.history(name, state="running"))


def test_a_run_returns_when_it_has_ended_and_its_output_was_passed_on(runner):
    add(runner, shell="echo one; sleep 0.3; echo two >&2; exit 4")
    heard = []
    run = runner.run("x", echo=heard.append)
    assert (run.state, run.exit_code, run.trigger) == (State.FAILED, 4, Trigger.MANUAL)
    assert b"".join(heard) == b"one\ntwo\n"
    assert runner.output(run) == b"one\ntwo\n"


def test_large_output_is_passed_on_whole(runner):
    add(runner, shell="seq 1 200000")
    heard = []
    run = runner.run("x", echo=heard.append)
    whole = b"".join(b"%d\n" % number for number in range(1, 200_001))
    assert b"".join(heard) == whole
    assert run.output_size == len(whole)
    assert runner.output(run) == whole


def test_a_silent_run_leaves_no_output(runner, home):
    add(runner)
    run = runner.run("x")
    assert (run.output_size, runner.output(run)) == (0, b"")
    assert list((home / "output").iterdir()) == []


def test_a_disabled_task_can_be_run(runner):
    add(runner)
    runner.disable("x")
    assert runner.run("x").state is State.SUCCEEDED


def test_a_slot_can_be_done_again(runner):
    add(runner, shell='echo "$TASKRUNNER_SLOT"')
    slot = datetime(2026, 11, 19, 2, tzinfo=UTC)
    run = runner.run("x", slot=slot)
    assert (run.slot, run.trigger) == (slot, Trigger.MANUAL)
    assert runner.output(run) == b"2026-11-19T02:00:00Z\n"
    assert runner.run("x", slot=slot).state is State.SUCCEEDED


def test_a_second_run_is_refused_unless_forced(runner, home):
    add(runner, shell="sleep 300")
    thread, _ = in_background(home, "x")
    (first,) = running(runner)
    with pytest.raises(TaskBusy, match=rf"run {first.id} \(running\)"):
        runner.run("x")
    assert len(runner.history("x")) == 1  # a refusal leaves no row
    second, found = in_background(home, "x", force=True)
    wait_for(lambda: len(runner.history("x", state="running")) == 2)
    runner.cancel("x")
    thread.join()
    second.join()
    assert found[0].state is State.CANCELLED


def test_with_queue_a_run_waits_for_its_turn(runner, home, tmp_path):
    add(
        runner,
        shell=f"echo + >> {tmp_path}/log; sleep 0.5; echo - >> {tmp_path}/log",
        overlap="queue",
    )
    thread, _ = in_background(home, "x")
    running(runner)
    assert runner.run("x").state is State.SUCCEEDED
    thread.join()
    assert (tmp_path / "log").read_text().split() == ["+", "-", "+", "-"]


def test_with_replace_the_one_that_runs_is_stopped_first(runner, home, tmp_path):
    note = f"echo $TASKRUNNER_RUN >> {tmp_path}/log"
    shell = f"[ -e {tmp_path}/quick ] || {{ {note}; exec sleep 300; }}; {note}"
    add(runner, shell=shell, overlap="replace")
    thread, found = in_background(home, "x")
    (old,) = running(runner)
    wait_for((tmp_path / "log").exists)
    (tmp_path / "quick").touch()
    new = runner.run("x")
    thread.join()
    assert new.state is State.SUCCEEDED
    assert (found[0].id, found[0].state) == (old.id, State.CANCELLED)
    assert "replaced it" in found[0].reason
    assert (tmp_path / "log").read_text().split() == [str(old.id), str(new.id)]


def test_a_detached_run_is_carried_by_a_tick_of_its_own(runner):
    add(runner, shell="echo hello")
    asked = runner.run("x", detach=True)
    assert asked.state is State.PENDING
    wait_for(lambda: runner.run_of(asked.id).state is State.SUCCEEDED)
    assert runner.output(asked) == b"hello\n"


def test_a_detached_run_that_replaces_another_stops_it_at_once(runner, home, tmp_path):
    shell = f"[ -e {tmp_path}/quick ] || {{ echo waiting; exec sleep 300; }}"
    add(runner, shell=shell, overlap="replace")
    thread, found = in_background(home, "x")
    (old,) = running(runner)
    wait_for(lambda: runner.output(old))  # it has got past its question for the file
    wait_for(lambda: runner._here().store.processes.of(old.id).pid)
    (tmp_path / "quick").touch()
    asked = runner.run("x", detach=True)
    wait_for(lambda: runner.run_of(asked.id).state is State.SUCCEEDED)
    thread.join()
    assert (found[0].id, found[0].state) == (old.id, State.CANCELLED)


def test_what_waited_for_capacity_is_started_when_a_run_by_hand_ends(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_MAX_PARALLEL", "1")
    with TaskRunner(home) as runner:
        add(runner, "first", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
        add(runner, "second", now=True)
        thread, _ = in_background(home, "first")
        running(runner, "first")
        runner.tick()
        assert runner.history("second")[0].state is State.PENDING
        (tmp_path / "go").touch()
        thread.join()
        wait_for(lambda: runner.history("second")[0].state is State.SUCCEEDED)


def test_cancelling_a_run_that_waits_keeps_it_from_starting(runner, home):
    add(runner, shell="sleep 300", overlap="queue")
    thread, _ = in_background(home, "x")
    (first,) = running(runner)
    waiting = by_hand_request(runner)
    (cancelled,) = runner.cancel(waiting)
    assert (cancelled.state, cancelled.started) == (State.CANCELLED, None)
    assert "before it started" in cancelled.reason
    runner.cancel(first.id)
    thread.join()


def by_hand_request(runner):
    """Ask for a run without starting it; its id."""
    here = runner._here()
    with here.store.transaction():
        run, _ = by_hand.request(here, runner.task("x"), by_hand.Asked(), here.now())
    return run.id


def test_cancelling_by_name_ends_all_live_runs(runner, home):
    add(runner, shell="sleep 300", overlap="allow")
    threads = [in_background(home, "x")[0] for _ in range(3)]
    wait_for(lambda: len(runner.history("x", state="running")) == 3)
    assert {run.state for run in runner.cancel("x")} == {State.CANCELLED}
    for thread in threads:
        thread.join()


def test_a_cancelled_run_says_who_and_how_it_ended(runner, home):
    add(runner, shell="sleep 300")
    thread, _ = in_background(home, "x")
    (run,) = running(runner)
    (cancelled,) = runner.cancel(run.id, reason="cancelled by ann")
    thread.join()
    assert cancelled.reason == "cancelled by ann (killed by SIGTERM)"
    assert cancelled.signal == signal.SIGTERM


def test_a_run_that_has_ended_cannot_be_cancelled(runner):
    add(runner)
    run = runner.run("x")
    for key in (run.id, "x"):
        with pytest.raises(Exception, match="nothing to cancel"):
            runner.cancel(key)
    assert runner.run_of(run.id).state is State.SUCCEEDED


def test_a_tick_that_is_interrupted_cancels_what_it_runs_and_says_so(runner, home, tmp_path):
    add(runner, shell=f"touch {tmp_path}/up; sleep 300", now=True)
    with start(home, "tick") as process:
        wait_for((tmp_path / "up").exists)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=100)
    (run,) = runner.history("x")
    assert run.state is State.CANCELLED
    assert "tick was interrupted" in run.reason
    assert (out, process.returncode) == ("", 130)


def test_following_ends_with_the_run_and_misses_nothing(runner, home, tmp_path):
    wait = f"while [ ! -e {tmp_path}/heard ]; do sleep 0.05; done"
    add(runner, shell=f"for i in 1 2 3 4 5; do echo line $i; {wait}; done")
    thread, _ = in_background(home, "x")
    (run,) = running(runner)
    heard = []
    for block in runner.log(run, follow=True):
        heard.append(block)
        if block:
            (tmp_path / "heard").touch()
        else:
            time.sleep(0.02)
    thread.join()
    assert b"".join(heard) == b"".join(b"line %d\n" % number for number in range(1, 6))
    assert len([block for block in heard if block]) > 1  # it came while the run went on


def test_a_daemon_left_behind_does_not_write_into_the_next_output(runner, tmp_path):
    text = (
        f"(while [ ! -e {tmp_path}/stop ]; do echo noise; sleep 0.02; done) & echo mine; sleep 0.1"
    )
    add(runner, "noisy", text)
    add(runner, "quiet", "sleep 0.2; echo clean")
    runner.run("noisy")
    try:
        assert runner.output(runner.run("quiet")) == b"clean\n"
    finally:
        (tmp_path / "stop").touch()


def test_the_output_file_belongs_to_the_user_of_the_task(runner):
    if os.geteuid() != 0:
        pytest.skip("only root can run tasks as another user")
    add(
        runner,
        shell="echo reopened > /dev/stdout; stat -L -c '%U %a' /proc/self/fd/1",
        user="nobody",
        cwd="/",
    )
    assert runner.output(runner.run("x")).split() == [b"reopened", b"nobody", b"600"]


def test_a_cancel_ends_the_whole_group_also_what_ignores_term(runner, home, tmp_path):
    text = f"""sh -c 'trap "" TERM; echo $$ > {tmp_path}/pid; while :; do sleep 1; done' & wait"""
    add(runner, shell=text, kill_after="1s")
    thread, _ = in_background(home, "x")
    left = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    runner.cancel("x")
    thread.join()
    assert not alive.started_ticks(left)


def test_a_child_of_a_chain_that_replaces_is_stopped_at_once(runner, tmp_path):
    add(runner, "parent")
    schedule = After("parent")
    runner.add(
        "child",
        shell=f"[ -e {tmp_path}/quick ] || {{ echo waiting; sleep 300; }}",
        schedule=schedule,
        overlap="replace",
    )
    thread = threading.Thread(target=lambda: TaskRunner(runner.home).run("parent"))
    thread.start()
    thread.join()
    (old,) = wait_for(lambda: runner.history("child", state="running"))
    wait_for(lambda: runner.output(old))  # it has got past its question for the file
    wait_for(lambda: runner._here().store.processes.of(old.id).pid)
    (tmp_path / "quick").touch()
    runner.run("parent")
    wait_for(lambda: runner.run_of(old.id).state is State.CANCELLED)
    wait_for(lambda: runner.history("child")[0].state is State.SUCCEEDED)


@pytest.mark.slow
def test_a_run_that_waits_heeds_the_limit_of_its_group(runner, home, tmp_path):
    add(
        runner,
        "a",
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; sleep 1",
        overlap="queue",
        group="g:1",
    )
    add(runner, "b", "sleep 1", overlap="queue", group="g")
    runner.run("a", detach=True)
    running(runner, "a")
    runner.set("b", now=True)
    call(home, "tick")
    thread, found = in_background(home, "a")
    wait_for(lambda: len(runner.history(state="pending")) == 2)
    (tmp_path / "go").touch()
    together = 0
    while thread.is_alive():
        together = max(together, len(runner.history(state="running")))
    thread.join()
    wait_for(lambda: [run.state for run in runner.history()] == [State.SUCCEEDED] * 3)
    assert together == 1 and found[0].state is State.SUCCEEDED


def test_two_signals_at_once_cancel_a_run_before_they_kill_it(runner, home, tmp_path):
    shell = f"trap 'echo told >> {tmp_path}/log; exit' TERM; echo up; while :; do sleep 0.1; done"
    add(runner, shell=shell)
    with start(home, "run", "x") as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGSTOP)
        for each in (signal.SIGTERM, signal.SIGHUP):
            process.send_signal(each)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=100)
    (run,) = runner.history("x")
    assert run.state is State.CANCELLED
