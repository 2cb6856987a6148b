"""The daemon as process 1: of a pid namespace, as a container engine makes one; and the files that go with it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskrunner import Boot, Every, Manual, State, TaskRunner, host
from taskrunner.cli import main
from taskrunner.model.values import Command
from taskrunner.processes.children import Children
from taskrunner.schedule import durations
from taskrunner.web import users
from tests.samples import ROOT, program, start, wait_for
from tests.web.serving import served

pytestmark = pytest.mark.one_python

PLACE = ROOT / "contrib" / "container"
USER = pwd.getpwnam("daemon").pw_uid  # somebody who is on every Debian
# Another user may not be let into the folders of this interpreter: it may read all, and write nothing.
AS_USER = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
)
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def namespace(needs):
    """Starts a program as process 1; gives what started it, and its number as seen from here."""
    needs("root", os.geteuid() == 0, "only root can make a pid namespace")
    made = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False)
    needs("root", made.returncode == 0, "this machine lets root make no pid namespace")
    started = []

    def begin(*argv):
        words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *argv]
        process = subprocess.Popen(
            words, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        (pid,) = wait_for(lambda: children(process.pid))
        return process, pid

    yield begin
    for process in started:
        for pid in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.communicate()


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def children(pid):
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def ends_well(process, pid):
    os.kill(pid, signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert (out, process.returncode) == ("", 0), err
    return err


def orphan(place):
    """A shell text that leaves a process behind; it writes who its new parent is, and ends with 5."""
    look = "read a b c d rest </proc/$$/stat"
    left = f"{look}; while [ $d = $1 ]; do sleep 0.05; {look}; done; echo $d >{place}; exit 5"
    return f"setsid sh -c {shlex.quote(left)} sh $$ & exit 3"


def daemon(home, *words):
    return program(home, "daemon", "--interval", "1s", *words)


def test_as_process_1_it_reaps_what_tasks_leave_behind(namespace, runner, home, tmp_path):
    process, pid = namespace(*daemon(home))
    wait_for((home / "heartbeat").exists)
    runner.add("x", shell=orphan(tmp_path / "parent"), schedule=Manual(), now=True)
    wait_for((tmp_path / "parent").exists)
    wait_for(lambda: (tmp_path / "parent").read_text() == "1\n")  # it was left to us
    runner.disable("x")
    wait_for(lambda: children(pid) == [])
    assert ends_well(process, pid) == ""


def test_the_start_of_the_daemon_as_process_1_is_the_boot(namespace, runner, home):
    runner.add("warm", ["true"], Boot())
    process, pid = namespace(*daemon(home))
    wait_for(lambda: len(ended(runner, "warm")) == 1)
    runner.add("later", ["true"], Boot())
    runner.add("beat", ["true"], Every("1s"))
    wait_for(lambda: len(ended(runner, "beat")) >= 2)
    assert ended(runner, "later") == []  # it was added in this boot
    ends_well(process, pid)
    runner.tick()  # by another clock, which knows the machine's boots alone
    process, pid = namespace(*daemon(home))
    wait_for(lambda: len(ended(runner, "warm")) == 2 and len(ended(runner, "later")) == 1)
    ends_well(process, pid)
    runner.tick()
    assert len(ended(runner, "warm")) == 2


@pytest.mark.slow
def test_a_daemon_that_is_started_again_in_its_container_makes_no_boot(namespace, runner, home):
    beat = home.parent / "beat"
    runner.add("warm", ["true"], Boot())
    runner.add("beat", ["touch", str(beat)], Every("1s"))
    once = f"{shlex.join(daemon(home))} & until [ -e {beat} ]; do sleep 0.1; done; kill $!; wait $!"
    process, _ = namespace("sh", "-c", f"{once}; rm {beat}; {once}; exit 3")
    process.communicate(timeout=100)
    assert process.returncode == 3
    assert len(ended(runner, "warm")) == 1


def test_a_run_that_ended_with_its_container_is_lost_at_once(namespace, runner, home):
    runner.add("x", ["sleep", "1000"], Manual(), now=True)
    process, pid = namespace(*daemon(home))
    wait_for(
        lambda: runner.status().running and runner._here().store.processes.with_runs()[0][1].pid
    )
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=100)
    runner.tick()
    (run,) = runner.history("x")
    assert (run.state, run.reason.split(";")[0]) == (
        State.LOST,
        "its container ended while it ran",
    )


@pytest.mark.parametrize(
    ("caller", "said"), [("daemon", "each start of the container"), ("cron", "that of the machine")]
)
def test_a_task_of_the_boot_is_told_what_a_boot_is_in_a_container(
    runner, monkeypatch, caller, said
):
    task = runner.add("warm", ["true"], Boot())
    assert runner.advice(task) == [] or host.in_container()
    runner.tick(caller=caller)
    runner.add("x", ["true"], Manual(), now=True)
    runner.tick(caller=caller)
    monkeypatch.setattr(host, "in_container", lambda: True)
    assert said in runner.advice(task)[-1]


def test_a_later_boot_is_told_from_an_earlier_one():
    one, other = "a" * 36, "b" * 36
    assert host.is_new_boot(one, None)
    assert host.is_new_boot(one, other)
    assert host.is_new_boot(other, one)
    assert host.is_new_boot(f"{one}/{5:020}", one)
    assert host.is_new_boot(f"{one}/{50:020}", f"{one}/{6:020}")
    assert not host.is_new_boot(one, f"{one}/{5:020}")
    assert not host.is_new_boot(f"{one}/{6:020}", f"{one}/{50:020}")
    assert not host.is_new_boot(one, one)


def test_as_process_1_it_reaps_at_once_and_not_at_its_next_visit(namespace, runner, home, tmp_path):
    runner.add("x", shell=orphan(tmp_path / "parent"), schedule=Manual(), now=True)
    process, pid = namespace(*program(home, "daemon", "--interval", "1h"))
    wait_for(lambda: (tmp_path / "parent").exists() and children(pid) == [])
    ends_well(process, pid)


def test_as_process_1_it_takes_the_ends_of_its_own_runs_as_ever(namespace, runner, home, tmp_path):
    for number in range(5):
        runner.add(f"x{number}", shell=orphan(tmp_path / f"{number}"), schedule=Every("1s"))
    process, pid = namespace(*daemon(home))
    wait_for(lambda: all(len(ended(runner, f"x{number}")) >= 3 for number in range(5)))
    ends_well(process, pid)
    runs = [run for number in range(5) for run in ended(runner, f"x{number}")]
    assert {(run.state, run.exit_code) for run in runs} == {(State.FAILED, 3)}


def ended(runner, name):
    return [run for run in runner.history(name) if run.finished is not None and run.started]


def test_a_daemon_that_is_not_process_1_reaps_no_strangers(runner, home, tmp_path):
    """What is left to it then (PR_SET_CHILD_SUBREAPER of prctl(2)) is the business of who arranged that."""
    runner.add("x", shell=orphan(tmp_path / "parent"), schedule=Manual(), now=True)
    arranged = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    argv = [sys.executable, "-c", arranged, *daemon(home)[1:]]
    with subprocess.Popen(argv, env=ENV) as process, contextlib.ExitStack() as at_last:
        at_last.callback(process.kill)
        wait_for((tmp_path / "parent").exists)
        wait_for(lambda: (tmp_path / "parent").read_text() == f"{process.pid}\n")
        wait_for(lambda: [x for x in children(process.pid) if state(x) == "Z"])
        before = runner.status().last_tick
        wait_for(lambda: runner.status().last_tick > before)
        assert [state(x) for x in children(process.pid)] == ["Z"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(100) == 0


def test_the_end_of_a_child_of_ours_is_left_to_its_own_wait(tmp_path):
    ours = Children()
    with open(tmp_path / "out", "a+b") as out:
        shell = ("/bin/sh", "-c", "exit 3")
        child = ours.start(1, Command(argv=shell, env={}, cwd="/"), out.fileno())
        stranger = os.posix_spawn("/bin/true", ["true"], {})
        wait_for(lambda: state(child.pid) == "Z" and state(stranger) == "Z")
        ours.reap_strangers()
        assert state(child.pid) == "Z"
        ((_, outcome),) = wait_for(lambda: ours.wait(100))
    assert outcome.exit_code == 3
    wait_for(lambda: ours.reap_strangers() or stranger not in children(os.getpid()))
    ours.close()


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_process_1_stops_its_runs_at_term_within_the_grace(namespace, runner, home, tmp_path):
    shell = f"touch {tmp_path}/up; sleep 300"
    runner.add("slow", shell=shell, schedule=Manual(), now=True)
    process, pid = namespace(*daemon(home, "--grace", "1s"))
    wait_for((tmp_path / "up").exists)
    ends_well(process, pid)
    (run,) = runner.history("slow")
    assert run.state is State.CANCELLED


def test_process_1_ends_at_term_also_while_it_waits(namespace, home):
    process, pid = namespace(*daemon(home, "--wait-for", "file:/nowhere/at/all"))
    wait_for(lambda: caught(pid, signal.SIGTERM))
    ends_well(process, pid)


def caught(pid, sent):
    """Whether a process has its own way with a signal (SigCgt of proc_pid_status(5))."""
    mask = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(mask[1], 16) >> (sent - 1) & 1


@pytest.mark.slow
def test_a_user_without_rights_does_with_a_disk_that_only_the_home_can_be_written_on(
    namespace, home, tmp_path
):
    dev = tmp_path / "dev"
    dev.mkdir()
    script = f"""
        set -e
        mount -t tmpfs -o mode=700,uid={USER},gid={USER} tmpfs {home}
        mount -t tmpfs tmpfs {dev}
        for name in null zero urandom; do : >{dev}/$name; mount --bind /dev/$name {dev}/$name; done
        mount --rbind {dev} /dev
        mount -o remount,ro,bind /
        exec "$@"
    """
    process, pid = namespace(
        *("sh", "-c", script, "sh", *AS_USER, *daemon(home, "--grace", "5s")),
    )
    inside = Path(f"/proc/{pid}/root")
    wait_for(lambda: process.poll() is None and (inside / f"{home}/heartbeat".strip("/")).exists())
    assert not (inside / "dev/log").exists()

    def tell(*words):
        argv = ["nsenter", "-t", str(pid), "-m", "-p", "--", *AS_USER, *program(home, *words)]
        done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=100)
        return done.stdout + done.stderr

    tell("add", "who", "--every", "1s", "--shell", f"id -u; touch {tmp_path}/no")
    wait_for(lambda: "failed" in tell("history", "who"))
    assert tell("log", "who").splitlines()[0] == str(USER)
    assert "Read-only file system" in tell("log", "who")
    tell("set", "who", "--shell", "true")
    wait_for(lambda: "succeeded" in tell("history", "who"))
    ends_well(process, pid)


# ---- Dockerfile and compose.yaml


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each on one line."""
    text = re.sub(r"^#.*\n", "", (PLACE / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last(word: str) -> str:
    return [rest for found, rest in instructions() if found == word][-1]


def compose() -> dict[str, list[str] | str]:
    """The keys of compose.yaml that hold plain values, with the keys they are under."""
    found, path = {}, []
    for line in (PLACE / "compose.yaml").read_text().splitlines():
        entry = re.fullmatch(r"( *)(- )?([\w/.-]+)(?::(?: (.*))?)?", line)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assert entry or line.lstrip().startswith("- "), f"not understood: {line}"
        if entry and not entry[2]:
            path = [*path[: len(entry[1]) // 2], entry[3]]
            if entry[4]:
                value = entry[4]
                found[".".join(path)] = json.loads(value) if value.startswith("[") else value
        else:
            found.setdefault(".".join(path), []).append(line.strip()[2:])
    return found


def checked(words: list[str]) -> object:
    """The words of a command line of ours, as our parser understands them."""
    return main.parser().parse_args(words)


def test_what_the_image_starts_is_a_command_line_of_ours():
    assert json.loads(last("ENTRYPOINT")) == ["taskrunner"]
    assert checked(json.loads(last("CMD"))).verb == "daemon"


def test_what_compose_starts_is_a_command_line_of_ours_and_so_is_what_its_comments_advise():
    assert checked(compose()["services.scheduler.command"]).verb == "daemon"
    text = (PLACE / "compose.yaml").read_text()
    advised = json.loads("[" + re.search(r'^ +#   ("--wait-for".*)$', text, re.MULTILINE)[1] + "]")
    assert len(checked(["daemon", *advised]).wait_for) == 2
    line = re.search(r"exec scheduler taskrunner (.*) -- date$", text, re.MULTILINE)[1]
    assert checked(line.split()).verb == "add"


def test_compose_starts_the_page_of_the_same_home_and_makes_its_users():
    page = {key.removeprefix("services.page."): value for key, value in compose().items()}
    args = checked(page["command"])
    assert (args.verb, args.listen, args.operate) == ("page", ["0.0.0.0:8470"], True)
    text = (PLACE / "compose.yaml").read_text()
    words = re.search(r"run --rm page (.*)$", text, re.MULTILINE)[1].split()
    assert checked(words).user == "ann"
    for key in ("volumes", "read_only", "cap_drop", "security_opt", "tmpfs"):
        assert page[key] == compose()[f"services.scheduler.{key}"], key
    assert page["image"] == compose()["services.scheduler.image"]
    assert {rest for word, rest in instructions() if word == "ARG"} == {"EXTRAS=page"}
    assert "[$EXTRAS]" in " ".join(rest for word, rest in instructions() if word == "RUN")


@pytest.mark.slow
def test_the_page_of_compose_is_healthy_with_a_daemon_and_not_without(home, tmp_path):
    users.keep(str(home), None, users.with_password("ann", users.Role.OPERATE, "correct horse"))
    with TaskRunner(home) as runner:
        runner.add("often", ["true"], Every("1h"))
    _, _, *words = compose()["services.page.healthcheck.test"]
    with served(home, "--listen", "0.0.0.0:0", "--operate") as page:
        check = [sys.executable, "-c", words[-1].replace("8470", str(page.port))]
        assert subprocess.run(check, capture_output=True).returncode == 1
        with start(home, "daemon", "--interval", "1s") as process:
            wait_for(lambda: subprocess.run(check, capture_output=True).returncode == 0)
            process.terminate()


def health() -> list[str]:
    """The shell texts of the health checks."""
    of_compose = compose()["services.scheduler.healthcheck.test"]
    assert of_compose[0] == "CMD-SHELL"
    return [last("HEALTHCHECK").partition(" CMD ")[2], of_compose[1].replace("$$", "$")]


def test_the_health_checks_call_a_verb_of_ours_and_are_the_same():
    one, other = health()
    assert one == other
    assert checked(shlex.split(one.partition(" || ")[0])[1:]).check


@pytest.mark.parametrize(("code", "healthy"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_a_warning_is_healthy_and_nothing_but_0_and_1_comes_out(tmp_path, code, healthy):
    fake = tmp_path / "taskrunner"
    fake.write_text(f"#!/bin/sh\nexit {code}\n")
    fake.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert subprocess.run(["sh", "-c", health()[0]], env=env).returncode == healthy


@pytest.mark.slow
def test_the_health_check_finds_a_daemon_well_and_a_dead_one_not(home, tmp_path):
    wrapper = tmp_path / "taskrunner"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(program(home))} "$@"\n')
    wrapper.chmod(0o755)
    env = {**ENV, "PATH": f"{tmp_path}:/usr/bin:/bin"}

    def asked():
        return subprocess.run(["sh", "-c", health()[0]], env=env, capture_output=True).returncode

    process = start(home, "daemon", "--interval", "1s")
    with process, contextlib.ExitStack() as at_last:
        at_last.callback(process.kill)
        wait_for((home / "heartbeat").exists)
        wait_for(lambda: asked() == 0)
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: asked() == 1)


@pytest.mark.parametrize("text", ["CMD", "compose"])
def test_a_stop_waits_for_longer_than_the_daemon_does(text):
    words = json.loads(last("CMD")) if text == "CMD" else compose()["services.scheduler.command"]
    grace = durations.parse(checked(words).grace).total_seconds()
    period = durations.parse(compose()["services.scheduler.stop_grace_period"]).total_seconds()
    assert period > grace + 10  # --kill-after


def test_the_image_has_a_user_of_its_own_to_whom_the_volume_belongs():
    assert last("USER") not in ("0", "root")
    (home,) = (value for word, value in instructions() if word == "VOLUME")
    assert f"TASKRUNNER_HOME={home}" in last("ENV")
    assert f"-m 700 -o taskrunner -g taskrunner {home}" in " ".join(r for _, r in instructions())
    assert compose()["services.scheduler.volumes"] == [f"home:{home}"]


def test_the_base_is_named_without_a_registry():
    bases = [value.split()[0] for word, value in instructions() if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)


def test_what_the_image_is_built_from_is_there_and_compose_finds_it():
    copied = [value for word, value in instructions() if word == "COPY" and "--from" not in value]
    for place in (part for value in copied for part in value.split()[:-1]):
        assert (ROOT / place).exists()
    build = "services.scheduler.build"
    assert (PLACE / compose()[f"{build}.context"]).resolve() == ROOT
    assert (ROOT / compose()[f"{build}.dockerfile"]).exists()


def test_it_is_started_again_but_not_when_it_was_stopped():
    assert compose()["services.scheduler.restart"] == "unless-stopped"


def test_a_cancel_from_outside_ends_a_run_in_a_container(namespace, runner, home):
    runner.add(
        "slow",
        shell="trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.1; done",
        schedule=Manual(),
        now=True,
    )
    process, pid = namespace(*daemon(home))
    (run,) = wait_for(lambda: runner.history("slow", state="running"))
    wait_for(lambda: runner._here().store.processes.of(run.id).pid)
    wait_for(lambda: runner.output(run))
    (run,) = runner.cancel("slow", reason="enough")
    assert (run.state, run.reason) == (State.CANCELLED, "enough (exit code 3)")
    assert runner.output(run).count(b"told") == 1
    ends_well(process, pid)


def test_a_cancel_from_a_container_ends_a_run_outside(namespace, runner, home):
    runner.add("slow", ["sleep", "60"], Manual(), now=True)
    outside = start(home, "tick")
    (run,) = wait_for(lambda: runner.history("slow", state="running"))
    process, _ = namespace(*program(home, "cancel", "slow"))
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0
    assert f"run {run.id} of slow cancelled: cancelled by" in err
    outside.communicate(timeout=100)


def test_a_replacement_from_outside_ends_a_run_in_a_container(namespace, runner, home):
    runner.add("slow", ["sleep", "60"], Manual(), now=True, overlap="replace")
    process, pid = namespace(*daemon(home))
    (run,) = wait_for(lambda: runner.history("slow", state="running"))
    runner.run("slow", detach=True)
    wait_for(lambda: runner.history(str(run.id))[0].state is State.CANCELLED)
    runner.cancel("slow")
    ends_well(process, pid)


def test_a_run_whose_container_is_gone_can_be_cancelled(namespace, runner, home):
    runner.add("slow", ["sleep", "60"], Manual(), now=True)
    process, pid = namespace(
        "sh", "-c", f"{shlex.join(daemon(home))}; exit 0"
    )  # it is not process 1
    (run,) = wait_for(lambda: runner.history("slow", state="running"))
    wait_for(lambda: runner._here().store.processes.of(run.id).pid)
    os.kill(pid, signal.SIGKILL)
    process.wait()
    runner.tick()
    assert runner.history("slow")[0].state is State.RUNNING
    (run,) = runner.cancel("slow", reason="enough")
    assert run.state is State.CANCELLED
    assert run.reason == "enough; its supervisor died, and its process is not visible from here"
