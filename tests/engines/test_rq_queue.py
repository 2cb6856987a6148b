"""The queue under faults: servers that stop, stand still, forget or are full; workers and processes that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from redis import RedisError

from taskrunner.engines import rq_keys, rq_queue, rq_standing
from taskrunner.engines.rq_queue import Handed, Queue, Stopped
from taskrunner.model.carried import Refused, Stage, Standing
from taskrunner.processes import alive
from tests.engines.redis_box import PATIENCE, Box, given, horses, until, until_there
from tests.samples import command_lines

pytestmark = [pytest.mark.xdist_group("rq"), pytest.mark.slow]

OURS = "taskrunner-store-"
RUN = f"{OURS}1"
# RQ's lists: a queue, and the names that a worker has fetched from it and not begun.
WAITING, FETCHED = "rq:queue:default", "rq:queue:default:intermediate"
TEN = timedelta(seconds=10)


def hand_over(queue: Queue, *argv: str, name: str = RUN, **values: object) -> None:
    assert queue.ask_server_id() is not None
    assert queue.enqueue(name, given(*argv, **values), 600, 10) is Handed.TAKEN


def stand(queue: Queue, name: str = RUN) -> Standing | None:
    found = queue.look([name])
    return None if found is None else found[name]


def reach(queue: Queue, *stages: Stage, name: str = RUN) -> Standing:
    """Wait until a run has one of these stages."""
    return until(lambda: (found := stand(queue, name)) and found.stage in stages and found)  # type: ignore[return-value]


def keepers(group: int) -> list[str]:
    """The processes that end the command with this process group when the process that performs it is gone."""
    return [line for line in command_lines().values() if line.strip().endswith(f" sh {group}")]


def counted(place: Path) -> str:
    """A command that tells of each of its starts in a file, and of its pid."""
    return f"echo $$ >> {place}"


# ---- handing over


def test_a_name_is_in_the_queue_once(own, tmp_path):
    queue = own.queue()
    hand_over(queue, "sh", "-c", counted(tmp_path / "starts"))
    assert queue.enqueue(RUN, given("true"), 600, 10) is Handed.THERE
    own.worker("one", "--burst").wait(PATIENCE)
    assert stand(queue).stage is Stage.ENDED
    assert queue.enqueue(RUN, given("true"), 600, 10) is Handed.THERE, "also after its end"
    assert len((tmp_path / "starts").read_text().split()) == 1


def test_a_server_that_is_down_refuses_for_now(own):
    queue = own.queue()
    own.stop()
    found = queue.enqueue(RUN, given("true"), 600, 10)
    assert isinstance(found, Refused) and found.later
    assert found.why == f"{own.socket}: No such file or directory"
    assert queue.look([RUN]) is None and queue.ask_server_id() is None
    assert queue.stop(RUN, TEN) is None and queue.survey(None) is None
    assert queue.trouble


def test_a_server_that_stands_still_has_not_refused(own, impatient):
    queue = own.queue()
    hand_over(queue, "true", name="taskrunner-store-2")  # it is connected now
    with own.frozen():
        assert queue.enqueue(RUN, given("true"), 600, 10) is None
        assert queue.look([RUN]) is None
    until(queue.ask_server_id)
    assert queue.enqueue(RUN, given("true"), 600, 10) in (Handed.THERE, Handed.TAKEN)
    assert stand(queue).stage is Stage.WAITING


def test_a_full_server_refuses_for_now(own):
    queue = own.queue()
    queue.ask_server_id()
    own.redis.config_set("maxmemory-policy", "noeviction")
    own.redis.config_set("maxmemory", 1)
    found = queue.enqueue(RUN, given("true"), 600, 10)
    assert isinstance(found, Refused) and found.later and "memory" in found.why
    assert stand(queue).stage is Stage.GONE
    own.redis.config_set("maxmemory", 0)
    assert queue.enqueue(RUN, given("true"), 600, 10) is Handed.TAKEN


def test_the_end_of_a_run_waits_until_a_full_server_takes_it(own, tmp_path):
    queue, place = own.queue(), tmp_path / "end"
    own.worker("one")
    hand_over(queue, "sh", "-c", f"{until_there(place)}; echo done")
    reach(queue, Stage.RUNNING)
    own.redis.config_set("maxmemory", 1)
    place.touch()
    time.sleep(3)
    assert stand(queue).stage is Stage.RUNNING
    own.redis.config_set("maxmemory", 0)
    assert reach(queue, Stage.ENDED).output == b"done\n"


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:hunter2@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password=hunter2",
        "rediss://127.0.0.1:1/0?ssl_password=hunter2",
        "unix:///no/such?db=0&password=hunter2",
    ],
)
def test_a_password_is_never_shown(url):
    queue = Queue(url, "default")
    found = queue.enqueue(RUN, given("true"), 600, 10)
    assert isinstance(found, Refused) and "hunter2" not in found.why
    assert "hunter2" not in queue._words(RedisError("it does not take hunter2"))


def test_an_address_that_is_none_of_redis_is_told_without_what_is_in_it():
    for url in ("http://ann:hunter2@r", "redis://ann:hunter2#x@r"):
        queue = Queue(url, "default")
        assert queue.ask_server_id() is None and "not that of a Redis" in queue.trouble
        assert "hunter2" not in queue.trouble
        found = queue.enqueue(RUN, given("true"), 600, 10)
        assert isinstance(found, Refused) and "hunter2" not in found.why


# ---- stopping


def test_a_run_that_waits_is_taken_out(own, tmp_path):
    queue = own.queue()
    hand_over(queue, "sh", "-c", counted(tmp_path / "starts"))
    assert queue.stop(RUN, TEN) is Stopped.OUT
    own.worker("one", "--burst").wait(PATIENCE)
    assert not (tmp_path / "starts").exists()
    assert stand(queue).stage is Stage.GONE
    assert queue.stop(RUN, TEN) is Stopped.UNKNOWN


def test_a_run_that_traps_term_ends_with_its_own_code_and_last_words(shared, tmp_path):
    queue, ready = shared.queue(), tmp_path / "ready"
    line = f"trap 'echo last words; exit 7' TERM; touch {ready}; while sleep 0.05; do :; done"
    hand_over(queue, "sh", "-c", line, name="taskrunner-trap", kill_after=300.0)
    until(ready.exists)
    assert queue.stop("taskrunner-trap", timedelta(minutes=5)) is Stopped.TOLD
    found = reach(queue, Stage.ENDED, name="taskrunner-trap")
    assert found.outcome.exit_code == 7 and found.output.endswith(b"last words\n")
    queue.forget(["taskrunner-trap"])


def test_a_run_that_ignores_term_is_killed(shared, tmp_path):
    queue, ready = shared.queue(), tmp_path / "ready"
    line = f"trap '' TERM; touch {ready}; while sleep 0.05; do :; done"
    hand_over(queue, "sh", "-c", line, name="taskrunner-stubborn", kill_after=1.0)
    until(ready.exists)
    queue.stop("taskrunner-stubborn", timedelta(seconds=1))
    assert reach(queue, Stage.ENDED, name="taskrunner-stubborn").outcome.signal == signal.SIGKILL
    queue.forget(["taskrunner-stubborn"])


def test_a_worker_that_does_not_obey_has_its_process_killed(own, monkeypatch):
    queue = own.queue()
    worker = own.worker("one")
    hand_over(queue, "sleep", "100")
    reach(queue, Stage.RUNNING)
    (horse,) = until(lambda: horses(worker))
    os.kill(horse, signal.SIGSTOP)
    monkeypatch.setattr(rq_queue, "STUBBORN", timedelta(0))
    until(lambda: queue.stop(RUN, timedelta(0)) and horse not in horses(worker))
    assert reach(queue, Stage.GONE).note == f"its process on {os.uname().nodename} was killed"


# ---- workers that die


def test_a_run_goes_on_when_its_worker_is_killed(own, tmp_path):
    queue, place = own.queue(), tmp_path / "end"
    worker = own.worker("one")
    hand_over(queue, "sh", "-c", f"{until_there(place)}; echo done")
    reach(queue, Stage.RUNNING)
    own.end(worker)
    time.sleep(1.5)
    place.touch()
    assert reach(queue, Stage.ENDED, Stage.GONE).output == b"done\n"


def test_a_run_is_lost_with_its_worker_and_its_process(own, monkeypatch):
    queue = own.queue()
    worker = own.worker("one")
    hand_over(queue, "sleep", "100")
    reach(queue, Stage.RUNNING)
    (horse,) = until(lambda: horses(worker))
    own.end(worker)
    os.kill(horse, signal.SIGKILL)
    # Not before: on a busy machine a living worker may be silent for as long.
    monkeypatch.setattr(rq_standing, "SILENT", 2_000)
    monkeypatch.setattr(rq_queue, "CONFIRMED", 1_000)
    assert reach(queue, Stage.GONE).note == f"its worker on {os.uname().nodename} died"
    assert queue.forget([RUN])
    assert not own.redis.keys("taskrunner:run:*")


def test_the_processes_that_a_command_has_started_are_killed_with_it(own, tmp_path):
    queue = own.queue()
    worker = own.worker("one")
    place = tmp_path / "pid"
    shell = f"for i in 1 2; do sh -c 'sleep 100; :' & done; echo $$ > {place}; wait"
    hand_over(queue, "sh", "-c", shell)
    group = int(until(lambda: place.exists() and place.read_text()))
    reach(queue, Stage.RUNNING)
    (horse,) = until(lambda: horses(worker))
    until(lambda: keepers(group))
    os.kill(horse, signal.SIGKILL)
    until(lambda: not alive.group_lives(group))
    assert reach(queue, Stage.GONE).note == f"its process on {os.uname().nodename} was killed"


def test_the_keeper_of_a_command_ends_with_it(own, tmp_path):
    queue, place, go = own.queue(), tmp_path / "pid", tmp_path / "go"
    own.worker("one")
    hand_over(queue, "sh", "-c", f"echo $$ > {place}; {until_there(go)}")
    group = int(until(lambda: place.exists() and place.read_text()))
    until(lambda: keepers(group))
    go.touch()
    reach(queue, Stage.ENDED)
    until(lambda: not keepers(group))


def fetch(own: Box) -> None:
    """Fetch the next run as a worker does, and do nothing more with it."""
    assert own.redis.lmove(WAITING, FETCHED, "LEFT", "RIGHT")


def test_a_run_that_a_dying_worker_has_fetched_waits_again(own, monkeypatch, tmp_path):
    queue, place = own.queue(), tmp_path / "starts"
    hand_over(queue, "sh", "-c", counted(place))
    hand_over(queue, "true", name="taskrunner-store-2")
    fetch(own)
    assert stand(queue).stage is Stage.WAITING
    assert own.redis.lrange(FETCHED, 0, -1) == [RUN.encode()], "a worker may be about to begin it"
    monkeypatch.setattr(rq_queue, "LIMBO", 200)
    until(lambda: stand(queue).stage is Stage.WAITING and not own.redis.exists(FETCHED))
    assert own.redis.lrange(WAITING, 0, -1) == [RUN.encode(), b"taskrunner-store-2"], "first"
    own.redis.rpush(WAITING, RUN)  # the worker was slow, and not dead
    own.worker("one", "--burst").wait(PATIENCE)
    assert reach(queue, Stage.ENDED).outcome.exit_code == 0
    assert len(place.read_text().split()) == 1


def test_a_run_that_a_dying_worker_has_begun_does_not_wait_again(own, monkeypatch, tmp_path):
    queue = own.queue()
    hand_over(queue, "sh", "-c", counted(tmp_path / "starts"))
    fetch(own)
    own.redis.hset(rq_keys.RUN + RUN, mapping={"began": "me", "host": "web", "beat": 1})
    for limit in ("LIMBO", "CONFIRMED"):
        monkeypatch.setattr(rq_queue, limit, 200)
    assert reach(queue, Stage.GONE).note == "its worker on web died"
    assert queue.forget([RUN])
    assert not own.redis.exists(WAITING, FETCHED), "else it would count as waiting"


def test_a_run_that_is_nowhere_never_starts(own, monkeypatch, tmp_path):
    queue = own.queue()
    hand_over(queue, "sh", "-c", counted(tmp_path / "starts"))
    own.redis.lpop(WAITING)  # as a worker of several queues does
    assert stand(queue).stage is Stage.WAITING, "a worker may be about to begin it"
    monkeypatch.setattr(rq_queue, "LIMBO", 200)
    assert reach(queue, Stage.GONE).note == rq_standing.FORBIDDEN
    own.redis.lmove("rq:queue:default:intermediate", "rq:queue:default", "LEFT", "RIGHT")
    own.worker("one", "--burst").wait(PATIENCE)
    assert not (tmp_path / "starts").exists(), "the worker was slow, and not dead"
    assert stand(queue).stage is Stage.GONE


def test_whoever_has_rq_repeat_a_run_does_not_start_it_twice(own, tmp_path):
    queue, place = own.queue(), tmp_path / "starts"
    hand_over(queue, "sh", "-c", counted(place))
    own.worker("one", "--burst").wait(PATIENCE)
    for _ in range(2):
        own.redis.rpush("rq:queue:default", RUN)
    own.worker("two", "--burst").wait(PATIENCE)
    assert len(place.read_text().split()) == 1
    assert stand(queue).outcome.exit_code == 0


def test_a_worker_without_the_serializer_says_so(own):
    queue = own.queue()
    hand_over(queue, "true")
    own.worker("one", "--burst", "--serializer", "pickle").wait(PATIENCE)
    found = reach(queue, Stage.ENDED, Stage.GONE)
    said = "could not start: its worker was started without `--serializer json`"
    assert (found.stage, found.outcome.error) == (Stage.ENDED, said)


def test_a_worker_without_the_package_says_so(own, monkeypatch):
    monkeypatch.setattr(rq_queue, "PERFORM", "taskrunner.not_there.perform")
    queue = own.queue()
    hand_over(queue, "true")
    own.worker("one", "--burst").wait(PATIENCE)
    said = reach(queue, Stage.ENDED).outcome.error
    assert said.startswith("could not start: its worker has no taskrunner: install "), said


def test_a_worker_of_another_version_says_so_and_starts_nothing(own, tmp_path):
    queue, place = own.queue(), tmp_path / "starts"
    payload = {**given("sh", "-c", counted(place)), "format": 7, "version": "9.9"}
    assert queue.ask_server_id() and queue.enqueue(RUN, payload, 600, 10) is Handed.TAKEN
    own.worker("one", "--burst").wait(PATIENCE)
    said = reach(queue, Stage.ENDED).outcome.error
    assert "which cannot run tasks of taskrunner 9.9: install the same on both" in said
    assert not place.exists()


# ---- servers that restart or forget


def test_a_restart_of_the_server_loses_nothing(own, tmp_path):
    queue, place = own.queue(), tmp_path / "end"
    own.worker("one")
    line = f"{until_there(place)}; echo done"
    hand_over(queue, "sh", "-c", line)
    hand_over(queue, "true", name="taskrunner-store-2")
    reach(queue, Stage.RUNNING)
    before = queue.ask_server_id()
    own.stop(signal.SIGKILL)
    place.touch()
    time.sleep(1)
    own.start()
    assert reach(queue, Stage.ENDED, Stage.GONE).output == b"done\n"
    assert queue.ask_server_id() != before
    own.worker("two")
    assert reach(queue, Stage.ENDED, name="taskrunner-store-2").outcome.exit_code == 0


def test_a_server_that_may_have_forgotten_an_end_starts_nothing(own, tmp_path):
    queue, place = own.queue(), tmp_path / "starts"
    own.stop()
    own.start("--appendonly", "no")
    hand_over(queue, "sh", "-c", counted(place))
    own.redis.save()  # here it still waits ...
    own.worker("one", "--burst").wait(PATIENCE)
    assert reach(queue, Stage.ENDED).outcome.exit_code == 0
    queue.forget([RUN])
    own.stop(signal.SIGKILL)
    own.start("--appendonly", "no")
    assert stand(queue).stage is Stage.WAITING  # ... and now again
    own.worker("two", "--burst").wait(PATIENCE)
    assert len(place.read_text().split()) == 1
    assert "restarted without appendonly" in reach(queue, Stage.GONE).note


def test_a_flushed_server_has_lost_its_runs_and_their_commands_are_stopped(own, tmp_path):
    queue, place = own.queue(), tmp_path / "pid"
    own.worker("one")
    hand_over(queue, "sh", "-c", f"{counted(place)}; exec sleep 100")
    reach(queue, Stage.RUNNING)
    hand_over(queue, "true", name="taskrunner-store-2")
    pid = until(lambda: place.exists() and place.read_text().strip())
    before = queue.ask_server_id()
    own.redis.flushall()
    for name in (RUN, "taskrunner-store-2"):
        assert stand(queue, name).note == rq_standing.UNKNOWN
    assert queue.ask_server_id() != before, "as good as another server"
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_run_that_was_flushed_under_a_worker_is_begun_once(own, tmp_path):
    queue, place = own.queue(), tmp_path / "starts"
    hand_over(queue, "sh", "-c", counted(place))
    key = f"rq:job:{RUN}"
    data = own.redis.hget(key, "data")
    own.redis.hdel(
        key, "data"
    )  # as a worker leaves it that had read it before the server was flushed
    own.redis.hset(key, "left", data)
    own.worker("one", "--burst").wait(PATIENCE)
    assert not place.exists()


def test_a_run_goes_on_when_the_server_has_stood_still(own, impatient, monkeypatch, tmp_path):
    queue, place = own.queue(), tmp_path / "end"
    own.worker("one")
    hand_over(queue, "sh", "-c", f"{until_there(place)}; echo done")
    reach(queue, Stage.RUNNING)
    with own.frozen():
        assert stand(queue) is None
        time.sleep(2)
    monkeypatch.setattr(rq_standing, "SILENT", 2_000)
    before = own.redis.time()[0]

    def lives() -> bool:
        """Whether signs of life come again; after 10 s without one it would be lost."""
        found = stand(queue)
        assert found is None or found.stage is Stage.RUNNING
        beat, missed = own.redis.hmget(rq_keys.RUN + RUN, "beat", "missed")
        return int(beat) / 1000 > before + 1 and missed is None

    until(lives)
    monkeypatch.undo()
    place.touch()
    assert reach(queue, Stage.ENDED, Stage.GONE).output == b"done\n"


def test_the_clock_of_a_worker_does_not_matter(own, needs):
    tool = shutil.which("faketime")
    needs("faketime", tool, "there is no faketime")
    queue = own.queue()
    own.worker("ahead", "--burst", prefix=(tool, "-f", "+5m"))
    hand_over(queue, "sh", "-c", "date +%s; sleep 1")
    found = reach(queue, Stage.ENDED, Stage.GONE)
    seconds, _ = own.redis.time()
    assert abs(seconds - found.since.timestamp()) < 120
    assert abs(seconds - found.at.timestamp()) < 120
    assert 0.9 < (found.at - found.since).total_seconds() < 60


# ---- many


def test_two_workers_execute_each_run_once(shared, tmp_path):
    queue = shared.queue()
    names = [f"taskrunner-many-{number}" for number in range(40)]
    for name in names:
        hand_over(queue, "sh", "-c", f"echo {name} >> {tmp_path}/starts", name=name)
    until(lambda: {each.stage for each in queue.look(names).values()} == {Stage.ENDED})
    assert sorted((tmp_path / "starts").read_text().split()) == sorted(names)
    assert queue.forget(names)
    assert not [key for key in shared.redis.scan_iter() if b"taskrunner-many" in key]


def test_large_outputs_are_fetched_one_after_another(own, monkeypatch):
    queue = own.queue()
    names = [f"taskrunner-large-{number}" for number in range(3)]
    for name in names:
        hand_over(queue, "head", "-c", "200000", "/dev/urandom", name=name)
    own.worker("one", "--burst").wait(PATIENCE)
    monkeypatch.setattr(rq_queue, "FETCHED", 300_000)
    found = queue.look(names)
    assert [each.stage for each in found.values()] == [Stage.ENDED, Stage.RUNNING, Stage.RUNNING]
    queue.forget(names[:1])
    assert len(queue.look(names[1:])[names[1]].output) == 200_000


def test_the_queue_tells_ours_from_others(own):
    queue = own.queue()
    assert queue.survey(OURS).oldest is None
    their = rq_queue.TheirQueue("default", connection=own.redis, serializer=rq_queue.JSONSerializer)
    their.enqueue("time.sleep", 1)
    hand_over(queue, "sleep", "100")
    found = queue.survey(OURS)
    assert (found.waiting, found.others_waiting, found.workers) == ([RUN], 1, ())
    assert abs(found.oldest.timestamp() - time.time()) < 120
    fetch(own)
    fetch(own)
    found = queue.survey(OURS)
    assert (found.waiting, found.others_waiting) == ([RUN], 1), "fetched, and not begun"
    assert found.oldest is not None
    for _ in range(2):
        own.redis.lmove(FETCHED, WAITING, "LEFT", "RIGHT")
    assert queue.drop_others(OURS) == 1
    worker = own.worker("one")
    reach(queue, Stage.RUNNING)
    found = queue.survey(OURS)
    assert (found.waiting, found.running, found.others_waiting, found.others_running) == ([], [RUN], 0, 0)  # fmt: skip
    (machine,) = found.workers
    assert (machine.name, machine.host, machine.state) == ("one", os.uname().nodename, "busy")
    assert queue.survey(None).others_running == 1
    assert worker.poll() is None
