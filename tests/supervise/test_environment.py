"""What a task sees, told before it runs: `env` and what warns of a program that is not there."""

import json
import os
import pwd

import pytest

from taskrunner import Every, Manual, StateError, UnknownTask
from tests.samples import ROOT, call, start

PER_RUN = ("TASKRUNNER_SLOT", "TASKRUNNER_STARTED")  # two commands are two moments
ME = pwd.getpwuid(os.geteuid())


@pytest.fixture
def tell(home):
    return lambda *words: call(home, *words)


def lines(text):
    return [line for line in text.splitlines() if not line.startswith(PER_RUN)]


def test_env_is_what_a_run_by_hand_sees(tell, home, tmp_path):
    (home / "taskrunner.toml").write_text('path = "/usr/bin:/bin"\n[env]\nFROM_CONFIG = "1"\n')
    (tmp_path / "variables").write_text("FROM_FILE=2\n")
    words = ("--env-file", str(tmp_path / "variables"), "--env", "OWN=3", "--", "env")
    tell("add", "x", "--manual", *words)
    told = lines(tell("env", "x", "--quiet")[0].replace("=''", "="))
    assert told == sorted(lines(tell("run", "x")[0]))
    assert {"FROM_CONFIG=1", "FROM_FILE=2", "OWN=3", "TASKRUNNER_RUN=2"} <= set(told)
    assert "TASKRUNNER_RUN=3" in tell("env", "x")[0]


def test_env_is_what_a_tick_gives_but_for_the_run_itself(runner, clock):
    runner.add("x", ["env"], Every("1h", anchor=clock()))
    before = dict(runner.environment("x").variables)
    clock.forward(hours=1)
    (run,) = runner.tick().runs
    seen = dict(line.split("=", 1) for line in runner.output(run).decode().splitlines())
    changed = {name for name in before.keys() | seen.keys() if before.get(name) != seen.get(name)}
    assert changed == {"TASKRUNNER_SLOT", "TASKRUNNER_STARTED", "TASKRUNNER_TRIGGER"}


def test_env_writes_nothing_and_makes_no_run(runner, home):
    runner.add("x", ["true"], Manual())
    runner.environment("x")
    assert runner.history() == []
    assert runner.environment("x").variables["TASKRUNNER_RUN"] == "2"


def test_secrets_are_hidden_unless_asked_for(tell):
    tell("add", "x", "--manual", "--env", "API_KEY=hunter2", "--env", "A=plain", "--", "true")
    for words in (["env", "x"], ["env", "x", "--json"], ["env", "x", "--diff"]):
        out, err, code = tell(*words)
        assert code == 0 and "hunter2" not in out + err and "***" in out
        assert "hunter2" in tell(*words, "--show-secrets")[0]


def test_the_lines_are_read_by_a_shell(tell, home):
    odd = 'it\'s "so" $HOME `x` é'
    tell("add", "x", "--manual", "--env", f"ODD={odd}", "--", "true")
    text = tell("env", "x", "--quiet")[0]
    with start(home, "env", "x") as process:  # the second time to see that it does not change
        process.communicate()
    script = f'set -a; {text}\nprintf %s "$ODD"'
    tell("add", "y", "--manual", "--shell", script)
    assert tell("run", "y")[0] == odd


def test_env_says_where_and_as_whom(tell, tmp_path):
    tell("add", "x", "--manual", "--cwd", str(tmp_path), "--umask", "027", "--", "true")
    _, err, _ = tell("env", "x")
    assert f" in {tmp_path} as {ME.pw_name}, with umask 027" in err and "/bin/true" in err
    assert tell("env", "x", "--quiet")[1] == ""
    tell("add", "y", "--manual", "--", "nosuch")
    assert "y starts nosuch, which is not found in " in tell("env", "y")[1]


def test_the_difference_to_the_shell_has_both_sides(home, tell):
    tell("add", "x", "--manual", "--env", "OWN=1", "--env", "SAME=2", "--", "true")
    env = {"ONLY_HERE": "3", "SAME": "2", "PATH": f"/opt/tools:{os.environ['PATH']}", "LANG": "xx"}
    with start(home, "env", "x", "--diff", env=env) as process:
        out, err = process.communicate()
    found = out.splitlines()
    assert {"+OWN=1", "-ONLY_HERE=3", "-LANG=xx", "+LANG=C.UTF-8"} <= set(found)
    assert not any("SAME" in line for line in found)
    assert [line[1:].partition("=")[0] for line in found] == sorted(
        line[1:].partition("=")[0] for line in found
    )
    assert "not on the PATH of the task: /opt/tools" in err


def test_the_document_has_all_of_it(home, tell):
    tell("add", "x", "--manual", "--env", "TOKEN=1", "--umask", "077", "--", "env", "-0")
    found = json.loads(tell("env", "x", "--json")[0])
    assert (found["version"], found["task"], found["command"]) == (1, "x", ["env", "-0"])
    assert found["program"].endswith("/env") and os.access(found["program"], os.X_OK)
    assert (found["cwd"], found["user"], found["umask"]) == (ME.pw_dir, ME.pw_name, "077")
    assert found["environment"]["TOKEN"] == "***" and "differing" not in found
    with start(home, "env", "x", "--json", "--diff", env={"TOKEN": "2", "HERE": "3"}) as process:
        found = json.loads(process.communicate()[0])["differing"]
    assert found["TOKEN"] == {"task": "***", "caller": "***"}
    assert found["HERE"] == {"task": None, "caller": "3"}


def test_a_task_that_cannot_be_resolved_is_refused_as_its_run_would_be(runner, tell, tmp_path):
    runner.add("x", ["true"], Manual(), env_file=tmp_path / "nosuch")
    with pytest.raises(StateError, match="nosuch"):
        runner.environment("x")
    with pytest.raises(UnknownTask):
        runner.environment("y")
    assert tell("env", "y")[2] == 1


# ---- programs that are not there


@pytest.fixture
def tools(tmp_path):
    """A folder with a program that only the caller has on PATH."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "mytool").write_text("#!/bin/sh\n")
    (tmp_path / "tools" / "mytool").chmod(0o755)
    return tmp_path / "tools"


@pytest.mark.parametrize("work", [["--", "mytool"], ["--shell", "mytool --all | sort"]])
def test_add_and_doctor_warn_and_add_says_where_the_caller_has_it(home, tools, work):
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with start(home, "add", "x", "--manual", *work, env=env) as process:
        _, err = process.communicate()
    assert process.returncode == 0
    assert (
        f"'mytool' is not found on the PATH that the task will see; you have it as {tools}" in err
    )
    out, _, _ = call(home, "doctor")
    assert "x cannot start: the program 'mytool' is not found" in out


def test_the_path_is_that_of_all_layers(runner, home, tools, tmp_path):
    def warned(**given):
        task = runner.add("x", ["mytool"], Manual(), replace=True, **given)
        return any("mytool" in each for each in runner.advice(task))

    (tmp_path / "variables").write_text(f"PATH={tools}\n")
    assert warned()
    assert not warned(env={"PATH": str(tools)})
    assert not warned(env_file=tmp_path / "variables")
    assert warned(env_file=tmp_path / "variables", env={"PATH": "/bin"})
    assert not warned(env={"PATH": "tools"}, cwd=tmp_path)
