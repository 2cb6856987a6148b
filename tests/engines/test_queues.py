"""Runs handed to a queue of RQ and fetched from it, by ticks, manual runs and cancels: a real Redis, real workers."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zlib

import pytest

from taskrunner import After, Manual, TaskRunner
from taskrunner.errors import StateError, StoreBusy
from taskrunner.home import lock, paths
from taskrunner.model.carried import NoAnswer, Refused
from taskrunner.model.values import State
from taskrunner.processes import alive, output
from taskrunner.report.doctor import check_queues, snapshot
from taskrunner.supervise import queues
from taskrunner.supervise.rq_carrier import RqCarrier
from taskrunner.supervise.supervisor import Supervisor, open_supervisor
from taskrunner.tick import by_hand
from tests.engines.redis_box import PATIENCE, until, until_there
from tests.samples import NOON, ROOT, call

pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow, pytest.mark.one_python]
HOST = os.uname().nodename


def due(runner: TaskRunner, name: str, shell: str, **more: object) -> None:
    runner.add(name, None, Manual(), shell=shell, queue="heavy", now=True, **more)


def newest(runner: TaskRunner, task: str):
    return next(iter(runner.history(task, limit=1)), None)


def ended(runner: TaskRunner, task: str):
    """Tick until a task has no live run, and return its newest run."""

    def done():
        runner.tick()
        found = newest(runner, task)
        return found if found is not None and found.finished else None

    return until(done, every=0.2)


def said(runner: TaskRunner, task: str) -> bytes:
    return b"".join(runner.log(newest(runner, task)))


def process(runner: TaskRunner, task: str):
    return runner._here().store.processes.of(newest(runner, task).id)


def tick_without_answers(runner: TaskRunner, monkeypatch, before=lambda *_: None) -> None:
    """Tick while each hand-over ends without an answer; `before` is done all the same."""

    def unheard(*args):
        before(*args)
        raise NoAnswer

    with monkeypatch.context() as broken:
        broken.setattr(RqCarrier, "start", unheard)
        runner.tick()


# ---- a run from its claim to its end


def test_an_end_is_recorded_with_its_consequences_as_that_of_a_local_run(shared, make):
    runner = make(shared)
    before = set(shared.redis.keys("rq:job:taskrunner-*"))  # of other tests
    due(runner, "report", "echo out; echo $TASKRUNNER_TASK; exit 7", env={"A": "1"})
    runner.add("here", ["true"], After("report", on="failed"))
    runner.add("there", ["true"], After("here"), queue="heavy")
    run = ended(runner, "report")
    assert (run.state, run.exit_code, run.reason) == ("failed", 7, f"exit code 7; on {HOST}")
    assert said(runner, "report") == b"out\nreport\n"
    assert ended(runner, "here").reason == "exit code 0"
    assert ended(runner, "there").reason == f"exit code 0; on {HOST}"
    assert set(shared.redis.keys("rq:job:taskrunner-*")) <= before  # ours are forgotten


def test_where_a_run_is_and_since_when_is_told(own, make, tmp_path):
    runner = make(own)
    due(runner, "report", f"{until_there(tmp_path / 'go')}; sleep 1")
    runner.tick()
    waits = newest(runner, "report")
    assert (waits.state, waits.started, waits.late) == ("running", None, None)
    assert re.fullmatch(r"waits in heavy since \S+ \S+ UTC", waits.reason)
    told = f"it {waits.reason}, and no worker has started it yet"
    assert runner.explain(waits.id).slots[0].reason.endswith(told)
    time.sleep(0.3)
    own.worker("one")
    until(lambda: runner.tick() and newest(runner, "report").reason == f"on {HOST}")
    assert newest(runner, "report").started > process(runner, "report").handed
    (tmp_path / "go").touch()
    run = ended(runner, "report")
    assert run.state == "succeeded"
    assert 0.9 < run.duration < PATIENCE


def test_a_large_output_is_kept_as_that_of_a_local_run(shared, make):
    runner = make(shared)
    due(runner, "report", "head -c 300000 /dev/zero | tr '\\0' x; echo end", max_output="100kB")
    run = ended(runner, "report")
    found = said(runner, "report")
    assert run.output_size == 300_004
    assert found.endswith(b"xend\n")
    assert b"bytes left out]" in found
    assert 90_000 < len(found) < 110_000


def test_a_timeout_is_kept_on_the_worker(shared, make):
    runner = make(shared)
    due(runner, "report", "echo begun; sleep 60", timeout="1s", kill_after="1s")
    run = ended(runner, "report")
    assert run.state == "timed_out"
    assert said(runner, "report") == b"begun\n"


@pytest.mark.parametrize(
    ("then", "state"),
    [
        ("sleep 60", "timed_out: stopped at its timeout of 1s (killed by SIGTERM)"),
        ("sleep 0.2", "succeeded: exit code 0"),
    ],
)
def test_processes_that_a_run_leaves_behind_on_the_worker_are_reported(
    shared, make, tmp_path, then, state
):
    runner, place = make(shared), tmp_path / "pid"
    due(runner, "report", f"setsid sleep 300 & echo $! > {place}; {then}", timeout="1s")
    try:
        run = ended(runner, "report")
        assert f"{run.state}: {run.reason}" == f"{state}; left 1 process running; on {HOST}"
    finally:
        alive.kill(int(place.read_text()))


def test_a_manual_run_waits_for_the_end_and_gives_the_output(shared, make):
    runner = make(shared)
    runner.add("report", None, Manual(), shell="echo out; exit 3", queue="heavy", retries=2)
    heard = list[bytes]()
    run = runner.run("report", echo=heard.append)
    assert (run.state, run.exit_code, b"".join(heard)) == ("failed", 3, b"out\n")
    assert [each.state for each in runner.history("report")] == ["failed"]  # and is not retried


def test_a_failed_run_is_retried_by_the_options_of_its_task(shared, make, tmp_path):
    runner = make(shared)
    shell = f"test -e {tmp_path}/once || {{ touch {tmp_path}/once; exit 1; }}"
    due(runner, "report", shell, retries=1, retry_delay="1s")
    until(lambda: ended(runner, "report").attempt == 2)
    assert [run.state for run in runner.history("report")] == ["succeeded", "failed"]


@contextlib.contextmanager
def by_hand_of(home, *words: str):
    """`run` of a task in a process of its own, whose words can be read."""
    argv = [sys.executable, "-m", "taskrunner", "--home", str(home), "run", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def test_a_run_that_somebody_waits_for_is_not_retried_whoever_fetches_its_end(own, make, home):
    runner = make(own)
    runner.add("report", None, Manual(), shell="exit 3", queue="heavy", retries=2, retry_delay="1s")
    with by_hand_of(home, "report") as waiting:
        until(lambda: newest(runner, "report") and own.redis.llen("rq:queue:default"))

        def stopped() -> bool:
            waiting.send_signal(signal.SIGSTOP)
            os.waitpid(waiting.pid, os.WUNTRACED)
            if lock.is_held(str(home / paths.QUEUES)):  # it was just looking
                waiting.send_signal(signal.SIGCONT)
                return False
            return True

        until(stopped)
        own.worker("one")
        assert ended(runner, "report").state == "failed"
        waiting.send_signal(signal.SIGCONT)
        assert waiting.wait(PATIENCE) == 3
    assert [run.state for run in runner.history("report")] == ["failed"]


def test_why_a_run_waits_for_its_queue_is_told_to_whoever_waits(own, make, home, tmp_path):
    runner, go = make(own), tmp_path / "go"
    runner.add("report", None, Manual(), shell=until_there(go), queue="heavy")
    own.stop()
    with by_hand_of(home, "report") as waiting:
        line = waiting.stderr.readline()
        assert line.startswith("taskrunner: the run waits: the queue heavy does not answer since ")
        assert newest(runner, "report").reason in line
        # On a busy machine the server may not answer again for a while, which is told, too.
        rest = (line for line in waiting.stderr if "does not answer" not in line)
        own.start()
        assert next(rest).startswith("taskrunner: the run waits in heavy since ")
        own.worker("one")
        assert next(rest).startswith(f"taskrunner: the run started on {HOST} at ")
        go.touch()
        assert waiting.wait(PATIENCE) == 0
        assert list(rest) == []


def test_a_second_signal_leaves_a_run_whose_queue_does_not_answer(own, make, home):
    runner = make(own)
    runner.add("report", None, Manual(), shell="true", queue="heavy")
    with by_hand_of(home, "report") as waiting:
        until(lambda: newest(runner, "report") and own.redis.llen("rq:queue:default"))
        own.stop()
        waiting.send_signal(signal.SIGINT)
        until(lambda: process(runner, "report").stop_state)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(PATIENCE) == 130
        run = newest(runner, "report")
        said = (
            f"run {run.id} of report is marked to be stopped, and its queue has not stopped it yet"
        )
        assert said in waiting.stderr.read()
    assert run.state == "running"
    own.start()
    assert ended(runner, "report").reason == "cancelled from the terminal before it started"


# ---- limits


def test_a_queue_has_its_own_limit_and_does_not_count_for_max_parallel(own, make):
    runner = make(own, "max_parallel = 1", limit=2)
    for name in ("a", "b", "c"):
        due(runner, name, "true")
    runner.add("here", ["true"], Manual(), now=True)
    decided = {each.task: each for each in runner.dry_run()[1]}
    runner.tick()
    assert newest(runner, "here").state == "succeeded"
    assert [newest(runner, name).state for name in ("a", "b", "c")] == ["running"] * 2 + ["pending"]
    assert decided["c"].action == "wait"
    assert "limit = 2 of the queue heavy" in decided["c"].reason
    assert decided["here"].action == "run"


# ---- cancelling


def test_a_waiting_run_is_taken_out_at_once_and_never_starts(own, make):
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    (run,) = runner.cancel("report", by="ops")
    assert (run.state, run.reason, run.started) == (
        "cancelled",
        "cancelled by ops before it started",
        None,
    )
    assert own.redis.llen("rq:queue:default") == 0


def test_a_running_run_is_stopped_with_grace(own, make, tmp_path):
    runner, up = make(own), tmp_path / "up"
    own.worker("one")
    trap = f"trap 'echo last words; exit 7' TERM; touch {up}; while sleep 0.05; do :; done"
    due(runner, "report", trap, kill_after="5m")
    until(lambda: runner.tick() and up.exists())
    begun = time.monotonic()
    (run,) = runner.cancel("report", by="ops")
    took = time.monotonic() - begun
    assert (run.state, run.exit_code) == ("cancelled", 7)
    assert run.reason.startswith("cancelled by ops")
    assert said(runner, "report").endswith(b"last words\n")
    assert took < PATIENCE  # 2 s but for a busy machine, and not the time until it is killed


# ---- when the server does not answer, forgets, refuses


def test_nobody_waits_long_for_the_end_of_a_run_in_a_queue_that_does_not_answer(own, make, home):
    runner = make(own)
    due(runner, "report", "true", kill_after="1m")
    runner.tick()
    own.stop()
    begun = time.monotonic()
    _, said, code = call(home, "cancel", "report")
    assert time.monotonic() - begun < 60  # 5 s but for a busy machine; else kill-after and a minute
    assert code == 1
    assert "is still running (waits in heavy since " in said
    assert "the queue heavy does not answer since " in said
    assert "its cancellation is recorded" in said
    own.start()
    assert ended(runner, "report").reason.endswith(" before it started")


def test_without_a_server_a_run_stays_pending_and_says_so(own, make):
    runner = make(own)
    own.stop()
    due(runner, "report", "true")
    runner.tick()
    run = newest(runner, "report")
    assert run.state == "pending"
    assert re.match(r"the queue heavy does not answer since \S+ \S+ UTC: ", run.reason)
    own.start()
    own.worker("one")
    assert ended(runner, "report").state == "succeeded"


def test_one_time_out_ends_the_attempts_of_a_tick_and_nothing_is_lost(
    own, make, impatient, tmp_path
):
    runner = make(own)
    own.worker("one")
    due(runner, "before", until_there(tmp_path / "go"))
    until(lambda: runner.tick() and newest(runner, "before").reason == f"on {HOST}")
    for number in range(20):
        due(runner, f"late-{number}", "true")
    with own.frozen():
        begun = time.monotonic()
        runner.tick()
        assert time.monotonic() - begun < 30  # 20 attempts of 2 s each would be 40 s
    (tmp_path / "go").touch()
    assert newest(runner, "before").state == "running"
    assert {newest(runner, f"late-{number}").state for number in range(20)} == {"pending"}
    for number in range(20):
        assert ended(runner, f"late-{number}").state == "succeeded"
    assert ended(runner, "before").state == "succeeded"


def test_a_run_that_was_not_handed_over_for_certain_is_handed_over_again(
    own, make, monkeypatch, tmp_path
):
    runner = make(own)
    due(runner, "report", f"echo x >> {tmp_path}/ran")
    tick_without_answers(runner, monkeypatch)
    assert newest(runner, "report").state == "running"
    assert process(runner, "report").handed is None
    own.worker("one")
    assert ended(runner, "report").state == "succeeded"
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_run_that_arrived_though_nobody_heard_so_is_not_there_twice(
    own, make, monkeypatch, tmp_path
):
    runner = make(own)
    due(runner, "report", f"echo x >> {tmp_path}/ran")
    tick_without_answers(runner, monkeypatch, RqCarrier.start)
    assert process(runner, "report").handed is None
    runner.tick()
    assert process(runner, "report").handed is not None
    assert own.redis.llen("rq:queue:default") == 1
    own.worker("one")
    assert ended(runner, "report").state == "succeeded"
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_run_is_lost_when_its_server_was_emptied_and_retried_by_on_lost(own, make):
    runner = make(own)
    due(runner, "report", "true", on_lost="retry", retries=1, retry_delay="1s")
    runner.tick()
    own.redis.flushall()
    runner.tick()
    lost = next(run for run in runner.history("report") if run.state == "lost")
    assert lost.reason == "lost in the queue heavy: its server was restarted or emptied"
    own.worker("one")
    run = ended(runner, "report")
    assert (run.state, run.attempt) == ("succeeded", 2)


def test_what_was_never_handed_over_is_lost_when_its_server_is_another_one(own, make, monkeypatch):
    runner = make(own)
    due(runner, "report", "true")

    tick_without_answers(runner, monkeypatch)
    own.redis.flushall()
    runner.tick()
    run = newest(runner, "report")
    assert run.state == "lost"
    assert "restarted or emptied before the run was handed over for certain" in run.reason


def test_a_full_server_leaves_runs_pending(own, make):
    runner = make(own)
    own.redis.config_set("maxmemory-policy", "noeviction")
    due(runner, "report", "true")
    own.redis.set("taskrunner:engine", "x")
    own.redis.config_set("maxmemory", 1)
    runner.tick()
    run = newest(runner, "report")
    assert run.state == "pending"
    assert "heavy" in run.reason
    assert "maxmemory" in run.reason
    own.redis.config_set("maxmemory", 0)
    own.worker("one")
    assert ended(runner, "report").state == "succeeded"


def test_a_variable_with_the_address_that_is_not_set_is_told(own, make, home):
    make(own)
    (home / "taskrunner.toml").write_text(
        '[queues.heavy]\nengine = "rq"\nurl_env = "NO_SUCH_URL"\n'
    )
    with TaskRunner(home) as runner:
        due(runner, "report", "true")
        runner.tick()
        reason = newest(runner, "report").reason
    assert reason == "the variable NO_SUCH_URL with the address of the queue heavy is not set"


# ---- faults of one run, one queue, the disk, the database


def turns_of(runner: TaskRunner, seconds: float) -> int:
    """How often a supervisor that waits for nothing looks at its queues within so many seconds."""
    with open_supervisor(runner._here()) as ours:
        ours.patient = lambda _: None
        count, end = 0, time.monotonic() + seconds
        for _ in ours.rounds(lambda: time.monotonic() < end, lambda: 0.5):
            count += 1
    return count


def test_an_output_that_cannot_be_written_does_not_prevent_the_end(shared, make, monkeypatch):
    runner = make(shared)
    due(runner, "report", "echo out; exit 7")

    def full(file, data):
        os.write(file.fd, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output, "write", full)
    run = ended(runner, "report")
    lost = "its output was lost: No space left on device"
    assert (run.state, run.reason) == ("failed", f"exit code 7; {lost}; on {HOST}")
    assert said(runner, "report") == b""


def test_a_fault_of_one_queue_is_logged_and_affects_no_other(shared, make, home, monkeypatch):
    runner = make(shared)
    settings = (home / "taskrunner.toml").read_text()
    (home / "taskrunner.toml").write_text(settings.replace("heavy", "bad") + settings)
    runner = TaskRunner(home)
    real = RqCarrier.look

    def look(self, names):
        if self.settings.name == "bad":
            raise ValueError("garbage")
        return real(self, names)

    monkeypatch.setattr(RqCarrier, "look", look)
    runner.add("stuck", ["true"], Manual(), queue="bad", now=True)
    runner.tick()
    due(runner, "report", "true")
    assert ended(runner, "report").state == "succeeded"
    assert newest(runner, "stuck").state == "running"
    assert "the queue bad: ValueError: garbage" in (home / paths.LOG).read_text()
    monkeypatch.undo()
    assert ended(runner, "stuck").state == "succeeded"
    runner.close()


def test_after_a_time_out_runs_that_nobody_tried_to_hand_over_are_pending(own, make, monkeypatch):
    runner = make(own)
    for name in ("a", "b", "c"):
        due(runner, name, "true")

    tick_without_answers(runner, monkeypatch)
    states = [newest(runner, name).state for name in ("a", "b", "c")]
    assert states == ["running", "pending", "pending"]
    assert newest(runner, "b").reason.startswith("the queue heavy does not answer")
    own.redis.flushall()
    own.worker("one")
    assert [ended(runner, name).state for name in ("a", "b", "c")] == ["lost"] + ["succeeded"] * 2


def test_a_daemon_rests_after_its_last_queue_was_removed(own, make, home):
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    here = runner._here()
    with open_supervisor(here) as ours:
        ours.turn()
        assert ours.queues.seconds() is not None
        (home / "taskrunner.toml").unlink()
        here.reload()
        ours.turn()
        assert ours.queues.seconds() is None
        assert not ours.queues._carriers


def test_changed_settings_of_a_queue_close_its_old_connection(own, make, home, monkeypatch):
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    here = runner._here()
    with open_supervisor(here) as ours:
        ours.turn()
        closed = list[int]()
        monkeypatch.setattr(RqCarrier, "close", lambda self: closed.append(self.settings.limit))
        settings = (home / "taskrunner.toml").read_text()
        (home / "taskrunner.toml").write_text(f"{settings}limit = 7\n")
        here.reload()
        time.sleep(1.1)  # until the next look
        ours.turn()
        assert closed == [500]


def test_no_look_follows_another_at_once_while_the_database_cannot_be_written(
    own, make, monkeypatch
):
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    here = runner._here()

    def locked(*_, **__):
        raise StoreBusy("locked")

    with monkeypatch.context() as broken:
        broken.setattr(here.store, "transaction", locked)
        assert turns_of(runner, 2.5) < 20
    runner.add("here", ["true"], Manual())
    with here.store.transaction():
        by_hand.request(here, here.store.tasks.get("here"), by_hand.JUST_NOW, here.now())
    with monkeypatch.context() as broken:
        broken.setattr(here.store, "transaction", locked)
        assert turns_of(runner, 2.5) < 20


def test_a_run_that_is_cancelled_while_its_queue_refuses_it_does_not_start_later(
    own, make, monkeypatch
):
    runner = make(own)
    due(runner, "report", "true")

    def refuse(self, watched, _):
        store = self.here.store
        with store.transaction():
            store.processes.ask_to_stop(watched.run.id, State.CANCELLED, "cancelled by ops", NOON)
        return Refused("full", later=True)

    monkeypatch.setattr(RqCarrier, "start", refuse)
    runner.tick()
    run = newest(runner, "report")
    assert (run.state, run.reason) == ("cancelled", "cancelled by ops before it started")
    assert run.started is None


def test_a_full_server_is_not_asked_each_second_and_no_start_is_logged(
    own, make, home, monkeypatch
):
    runner = make(own)
    due(runner, "report", "true")
    asked = list[int]()

    def refuse(self, watched, _):
        asked.append(watched.run.id)
        return Refused("full", later=True)

    with monkeypatch.context() as broken:
        broken.setattr(queues, "REST", 1000.0)
        broken.setattr(RqCarrier, "start", refuse)
        runner.tick()
        turns_of(runner, 2.5)
    assert len(asked) == 2  # once by the tick, once by the other supervisor
    assert f"run {asked[0]} started" not in (home / paths.LOG).read_text()
    own.worker("one")
    ended(runner, "report")
    assert (home / paths.LOG).read_text().count(f"run {asked[0]} started") == 1


def test_a_supervisor_does_not_write_for_runs_that_wait_for_a_queue(own, make, monkeypatch):
    runner = make(own, limit=1)
    for name in ("a", "b"):
        due(runner, name, "true")
    runner.tick()
    assert newest(runner, "b").state == "pending"
    turns = list[Supervisor]()
    monkeypatch.setattr(Supervisor, "_turn", turns.append)
    runner.tick()
    turns_of(runner, 1)
    assert turns == []


def test_a_process_without_the_address_does_not_explain_over_the_reason_of_one_with_it(
    own, make, home
):
    runner = make(own)
    own.stop()
    due(runner, "report", "true")
    runner.tick()
    known = newest(runner, "report").reason
    assert known.startswith("the queue heavy does not answer")
    (home / "taskrunner.toml").write_text(
        '[queues.heavy]\nengine = "rq"\nurl_env = "NO_SUCH_URL"\n'
    )
    with TaskRunner(home) as other:
        other.tick()
        assert newest(other, "report").reason == known


# ---- many, and side by side


def test_many_runs_are_handed_over_and_collected_once_each(shared, make, tmp_path):
    runner = make(shared)
    for number in range(60):
        due(runner, f"t{number}", f"echo {number} >> {tmp_path}/ran")
    clones = [TaskRunner(runner.home) for _ in range(3)]

    def tick(each: TaskRunner) -> None:
        with each:
            until(lambda: each.tick() and not each._here().store.runs.live(), every=0.1)

    threads = [threading.Thread(target=tick, args=(each,)) for each in clones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = {newest(runner, f"t{number}").state for number in range(60)}
    assert states == {"succeeded"}
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == [*range(60)]


def test_a_restore_is_refused_while_other_machines_have_runs(own, make, tmp_path):
    runner = make(own)
    runner.add("other", ["true"], Manual())
    backup = runner.backup(tmp_path / "copy.db")
    due(runner, "report", "true")
    runner.tick()
    with pytest.raises(StateError, match="runs are active"):
        runner.restore(backup.place)


def test_a_tick_with_a_run_in_a_queue_is_not_idle(own, make):
    runner = make(own)
    due(runner, "report", "true")
    runner.tick()
    assert not runner.tick().idle
    runner.cancel("report")
    runner.tick()
    until(lambda: runner.tick().idle)


def test_the_daemon_sees_an_end_without_a_tick_and_starts_what_comes_after(own, make, home):
    runner = make(own)
    own.worker("one")
    runner.add("report", ["true"], Manual(), queue="heavy")
    runner.add("here", ["true"], After("report"))
    argv = [sys.executable, "-m", "taskrunner", "--home", str(home), "daemon", "--interval", "1h"]
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}) as daemon:
        try:
            until((home / "heartbeat").exists)
            runner.run("report", detach=True)
            daemon.send_signal(signal.SIGHUP)
            until(lambda: (run := newest(runner, "here")) is not None and run.finished)
        finally:
            daemon.terminate()
    report, here = newest(runner, "report"), newest(runner, "here")
    assert report.state == here.state == "succeeded"
    # 2 s but for a busy machine; the next tick is an hour away.
    assert (here.started - report.finished).total_seconds() < PATIENCE


def findings(home) -> str:
    found = check_queues.findings(snapshot.take(str(home), NOON))
    return "\n".join(f"{each.severity}: {each.what} => {each.cure}" for each in found)


def test_doctor_tells_whether_a_queue_answers_and_who_could_listen(own, make, home):
    make(own, name="big").add("report", ["true"], Manual(), queue="heavy")
    told = "warning: the queue heavy answers, and no worker listens to it: its runs wait => start one: "
    assert told + "`rq worker --serializer json big`" in findings(home)
    own.worker("one", queue="big")
    until(lambda: f"ok: the queue heavy answers at {own.url}, and has 1 worker" in findings(home))
    own.stop()
    assert "error: the queue heavy does not answer: " in findings(home)
    make(own, url="redis://me:geheim@redis.invalid:1/0")
    far = findings(home)
    assert "geheim" not in far
    assert "warning: the queue heavy has no encryption: whoever reaches redis://me:***@" in far
    (home / "taskrunner.toml").write_text(
        '[queues.heavy]\nengine = "rq"\nurl_env = "NO_SUCH_URL"\n'
    )
    assert "error: the variable NO_SUCH_URL with the address of the queue" in findings(home)
    (home / "taskrunner.toml").unlink()
    assert "report has the queue heavy, which is not in taskrunner.toml" in findings(home)


def test_the_environment_of_a_task_with_a_queue_is_that_of_its_workers(shared, make, home):
    make(shared).add("report", ["env"], Manual(), queue="heavy", pass_env=["SECRET"])
    argv = [sys.executable, "-m", "taskrunner", "--home", str(home), "env", "report"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    assert "its runs go to the queue heavy: account, HOME, programs and the values" in done.stderr
    assert "not set here" not in done.stderr


def test_a_run_whose_queue_was_removed_from_the_settings_ends_when_it_is_cancelled_or_too_old(
    own, make, home
):
    runner = make(own)
    due(runner, "old", "true", timeout="1s", kill_after="1s")
    due(runner, "cancelled", "true")
    due(runner, "young", "true")
    runner.tick()
    (home / "taskrunner.toml").unlink()
    with TaskRunner(home) as other:
        other.cancel("cancelled", by="ops", wait=False)
        until(lambda: other.tick() and newest(other, "old").finished)
        old, cancelled, young = (newest(other, name) for name in ("old", "cancelled", "young"))
    assert (old.state, cancelled.state, young.state) == ("lost", "cancelled", "running")
    assert old.reason == "its queue heavy is not in taskrunner.toml any more"


def test_a_restored_backup_has_no_run_handed_over_a_second_time(own, make, monkeypatch, tmp_path):
    runner = make(own)
    due(runner, "report", f"echo x >> {tmp_path}/ran")
    tick_without_answers(runner, monkeypatch)
    backup = runner.backup(tmp_path / "copy.db")
    own.worker("one")
    assert ended(runner, "report").state == "succeeded"
    runner.restore(backup.place)
    assert ended(runner, "report").state == "lost"
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_restored_backup_takes_no_run_of_the_replaced_database_for_its_own(
    own, make, home, tmp_path
):
    runner = make(own)
    due(runner, "before", "true")
    own.worker("one")
    assert ended(runner, "before").state == "succeeded"
    backup = runner.backup(tmp_path / "copy.db")
    own.end(own.processes[0])
    due(runner, "old", "echo old")
    runner.tick()
    number = newest(runner, "old").id
    (home / "taskrunner.db").write_bytes(b"damaged" * 1000)
    runner.restore(backup.place)
    due(runner, "new", "echo new; exit 3")
    runner.tick()
    assert newest(runner, "new").id == number
    own.worker("two")
    assert (ended(runner, "new").exit_code, said(runner, "new")) == (3, b"new\n")


def test_variables_are_passed_by_the_worker_and_not_through_redis(make, own, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "that of the scheduler")
    runner = make(own)
    due(runner, "x", 'echo "$SECRET_KEY"', pass_env=["SECRET_KEY", "NOWHERE"])
    runner.tick()
    name = own.redis.lindex("rq:queue:default", 0).decode()
    job = own.redis.hgetall(f"rq:job:{name}")
    data = zlib.decompress(job[b"data"])
    assert b"SECRET_KEY" in data and b"that of the scheduler" not in data
    own.worker("one", SECRET_KEY="that of the worker")
    found = ended(runner, "x")
    assert said(runner, "x") == b"that of the worker\n"
    assert found.reason == f"exit code 0; not set where it was started: NOWHERE; on {HOST}"
