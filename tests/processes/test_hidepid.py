"""A /proc that hides the processes of others (proc(5), hidepid): what cannot be seen is no fault, and is not dead."""

import os
import shutil
import signal
import subprocess

import pytest

from taskrunner import Manual, State, TaskRunner
from taskrunner.processes import alive
from tests.samples import ROOT, program, wait_for

NOBODY_SEES = "--inh-caps=-sys_ptrace --bounding-set=-sys_ptrace"  # as root in a container
STUBBORN = "trap '' TERM; echo up; while sleep 0.1; do :; done"


def hiding(how, *argv):
    """The words that run something where /proc hides what is another user's, from root too."""
    mounted = f'mount -t proc -o hidepid={how} proc /proc && exec setpriv {NOBODY_SEES} -- "$@"'
    return ["unshare", "--mount", "sh", "-c", mounted, "sh", *argv]


@pytest.fixture(params=[1, 2])
def hidden(request, home):
    """Runs the program on the home where processes are hidden; gives what it said and its exit code."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        pytest.skip("only root can mount a /proc, with unshare and setpriv")
    seen = subprocess.run(hiding(request.param, "true"), capture_output=True)
    if seen.returncode:
        pytest.skip(f"no such /proc can be mounted here: {seen.stderr.decode()}")

    def call(*words, wait=True):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        argv = hiding(request.param, *program(home, *words))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(argv, env=env, **pipes)
        if not wait:
            return process
        out, err = process.communicate(timeout=100)
        return out, err, process.returncode

    return call


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["sleep 100", STUBBORN], ids=["polite", "stubborn"])
def test_a_run_whose_process_is_hidden_is_stopped_at_its_timeout(runner, hidden, shell):
    options = {"timeout": "1s", "kill_after": "1s", "user": "games", "cwd": "/"}
    runner.add("other", shell="echo done", schedule=Manual(), now=True)
    runner.add("slow", shell=shell, schedule=Manual(), now=True, **options)
    out, err, code = hidden("tick")
    assert (out, err, code) == ("", "", 0)
    assert {run.task: run.state for run in runner.history()} == {
        "slow": State.TIMED_OUT,
        "other": State.SUCCEEDED,
    }


def test_a_hidden_run_outlives_its_supervisor_and_is_stopped_when_it_is_cancelled(runner, hidden):
    runner.add("slow", shell=STUBBORN, schedule=Manual(), user="games", cwd="/", kill_after="1s")
    supervisor = hidden("run", "slow", wait=False)
    process = wait_for(lambda: noted(runner))
    supervisor.send_signal(signal.SIGKILL)
    supervisor.communicate(timeout=100)
    try:
        assert hidden("tick")[1:] == ("", 0)
        assert [run.state for run in runner.history()] == [State.RUNNING]
        out, err, code = hidden("cancel", "slow")
        assert code == 0, (out, err)
        assert [run.state for run in runner.history()] == [State.CANCELLED]
    finally:
        alive.kill(process.pid)


def noted(runner):
    """The process of the run that is running, once it is known."""
    return next((each for _, each in runner._here().store.processes.with_runs() if each.pid), None)


def test_where_there_is_no_proc_a_group_lives_as_long_as_the_kernel_says_so(monkeypatch):
    def refuse(_):
        raise FileNotFoundError

    with subprocess.Popen(["sleep", "100"], start_new_session=True) as child:
        monkeypatch.setattr(os, "listdir", refuse)
        assert alive.group_lives(child.pid)
        assert alive.session_that_has_open(1, 1) is None
        child.kill()
        child.wait()
        assert not alive.group_lives(child.pid)


def test_a_process_that_is_hidden_is_not_taken_for_a_dead_one(monkeypatch):
    def refuse(pid):
        raise PermissionError

    mine, started = os.getpid(), alive.started_ticks(os.getpid())
    assert alive.is_same(mine, started)
    assert not alive.is_same(mine, started + 1)
    monkeypatch.setattr(alive, "_stat", refuse)
    assert alive.is_same(mine, started)
    assert alive.age(mine) is None
    monkeypatch.undo()
    assert alive.is_same(mine, alive.UNSEEN)
