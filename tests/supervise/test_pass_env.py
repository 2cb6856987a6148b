"""Variables that a run takes from whoever starts it: their order, their absence, and that no value is kept."""

import json
import signal
from dataclasses import replace

import pytest

from taskrunner import Every, InputError, Manual, TaskRunner, Trigger
from taskrunner.home import config
from taskrunner.model.values import Command, Outcome, State
from taskrunner.supervise import command
from taskrunner.supervise.systemd import begin, record_end, transient
from tests.samples import NOON, TASK, call, run, start, wait_for

SECRET = "hunter2-of-the-caller"
SAYS = 'echo "${APP_SECRET-none}"'


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


def by_hand(home, *words, **env):
    """Run the program with these variables in its environment."""
    with start(home, *words, env=env) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out


# ---- whoever starts it


def test_a_run_by_hand_has_the_variables_of_the_shell(home, runner):
    runner.add("x", shell=SAYS, schedule=Manual(), pass_env=["APP_SECRET"])
    assert by_hand(home, "run", "x", APP_SECRET="1") == "1\n"
    assert by_hand(home, "run", "x", APP_SECRET="") == "\n"  # it is set
    assert runner.history("x")[0].reason == "exit code 0"


def test_a_run_has_those_of_the_tick_or_the_daemon_that_starts_it(home, runner):
    runner.add("x", shell=SAYS, schedule=Manual(), pass_env=["APP_SECRET"], now=True)
    by_hand(home, "tick", APP_SECRET="of the tick")
    assert runner.output(runner.history("x")[0]) == b"of the tick\n"
    runner.add("y", shell=SAYS, schedule=Manual(), pass_env="APP_SECRET", now=True)
    daemon = start(home, "daemon", "--interval", "1s", env={"APP_SECRET": "of the daemon"})
    try:
        wait_for(lambda: runner.history("y", state=State.SUCCEEDED))
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=100)
    assert runner.output(runner.history("y")[0]) == b"of the daemon\n"


def test_without_the_option_a_run_has_none_of_them(home, runner):
    runner.add("x", shell=SAYS, schedule=Manual())
    assert by_hand(home, "run", "x", APP_SECRET="1") == "none\n"


def test_the_config_names_variables_for_all_tasks(home, runner):
    runner.add("x", shell='echo "$A-$B-$C"', schedule=Manual(), pass_env=["B"])
    (home / "taskrunner.toml").write_text('pass_env = ["A"]\n')
    assert by_hand(home, "run", "x", A="1", B="2", C="3") == "1-2-\n"
    both = {"TASKRUNNER_PASS_ENV": "A, C", "A": "1", "B": "2", "C": "3"}
    assert by_hand(home, "run", "x", **both) == "1-2-3\n"


def test_a_value_that_is_not_utf_8_arrives_as_it_is(home, runner):
    runner.add("x", shell="printf %s $RAW | od -An -tx1", schedule=Manual(), pass_env=["RAW"])
    assert by_hand(home, "run", "x", RAW=b"\xff\x01".decode(errors="surrogateescape")).split() == [
        "ff",
        "01",
    ]


# ---- the order


def environment(task, settings):
    this = run(7, State.PENDING, trigger=Trigger.MANUAL)
    return command.environment(task, this, settings, NOON)


def test_what_is_written_for_a_task_wins_over_what_is_passed(monkeypatch, tmp_path):
    for name in "ABCD":
        monkeypatch.setenv(name, "passed")
    monkeypatch.setenv("LANG", "passed")
    file = tmp_path / "file"
    file.write_text("B=file\nC=file\n")
    task = replace(TASK, env={"C": "task"}, env_file=str(file), pass_env=("A", "B", "C", "LANG"))
    found = environment(task, config.Config(env={"A": "config", "D": "config"}))
    assert {name: found[name] for name in (*"ABCD", "LANG")} == {
        "A": "passed",  # over the config's
        "B": "file",
        "C": "task",
        "D": "config",  # it is not passed
        "LANG": "passed",  # over the base
    }


def test_a_variable_is_missing_when_nobody_sets_it(monkeypatch, tmp_path):
    for name in "ABCDE":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("A", "passed")
    file = tmp_path / "file"
    file.write_text("B=file\n")
    task = replace(TASK, env={"C": "task"}, env_file=str(file), pass_env=tuple("ABCDE"))
    settings = config.Config(env={"D": "config"}, pass_env=("PATH", "F"))
    found = command.resolve(task, run(7, State.PENDING), settings, NOON)
    assert found.missing == ("F", "E")


# ---- missing ones


def test_the_reason_of_a_run_names_missing_variables(home, runner):
    names = ["APP_SECRET", "DATABASE_URL", "HOME"]
    runner.add("x", shell="exit $CODE", schedule=Manual(), pass_env=[*names, "CODE"])
    by_hand(home, "run", "x", CODE="0", APP_SECRET="1")
    (first,) = runner.history("x")
    assert first.reason == "exit code 0; not set where it was started: DATABASE_URL"
    runner.set("x", shell="exit 3")
    by_hand(home, "tick")
    assert call(home, "run", "x")[2] == 3
    (last, _) = runner.history("x")
    why = "exit code 3; not set where it was started: APP_SECRET, DATABASE_URL, CODE"
    assert (last.state, last.reason) == (State.FAILED, why)


def test_env_names_them_and_hides_the_values_of_the_others(home, runner):
    runner.add("x", ["true"], Manual(), pass_env=["APP_SECRET", "NAME", "GONE"])
    env = {"APP_SECRET": SECRET, "NAME": "ann"}
    for words in ((), ("--diff",), ("--json",)):
        with start(home, "env", "x", *words, env=env) as process:
            out, err = process.communicate(timeout=100)
        assert SECRET not in out + err
        assert "ann" not in out
        assert ("taskrunner: to be passed, and not set here: GONE\n" in err) == (
            words != ("--json",)
        )
    assert "NAME=ann\n" in by_hand(home, "env", "x", "--show-secrets", **env)


# ---- no value is kept


def test_no_value_is_in_the_home_nor_in_what_is_shown(home, runner):
    runner.add("x", shell='test "$APP_SECRET"', schedule=Every("1h"), pass_env=["APP_SECRET"])
    runner.add("bad", ["no-such"], Manual(), pass_env=["APP_SECRET"], now=True)
    (home / "taskrunner.toml").write_text('log_level = "debug"\n')
    by_hand(home, "run", "x", APP_SECRET=SECRET)
    by_hand(home, "tick", APP_SECRET=SECRET)
    assert runner.history("x")[0].state is State.SUCCEEDED
    for verb in ("show x", "show x --json", "explain x", "history --json", "export", "list --json"):
        assert SECRET not in by_hand(home, *verb.split(), APP_SECRET=SECRET)
    for place in home.rglob("*"):
        assert place.is_dir() or SECRET.encode() not in place.read_bytes(), place


def test_systemd_gets_the_values_in_the_private_file_that_is_emptied(tmp_path):
    place = tmp_path / "command"
    given = Command(("/usr/bin/env",), {"APP_SECRET": SECRET}, "/", missing=("A", "B"))
    place.write_bytes(transient.plain(given))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(begin, "_execute", lambda *_: None)  # it would become the command
        patch.setattr(begin, "_prepare", lambda _: None)
        begin.begin(str(place))
    left = place.read_bytes()
    assert SECRET.encode() not in left
    assert record_end.begun(left) is None
    assert record_end.not_found(left) == ("A", "B")
    assert record_end.not_found(b"") == record_end.not_found(b"what") == ()


def test_a_start_that_failed_under_systemd_names_missing_variables_too(tmp_path):
    place = tmp_path / "command"
    given = Command(("/no/such",), {}, "/", missing=("A",))
    place.write_bytes(transient.plain(given))
    assert begin.begin(str(place)) == 126
    outcome = record_end.begun(place.read_bytes())
    assert isinstance(outcome, Outcome)
    assert "no program '/no/such'" in outcome.error
    assert record_end.not_found(place.read_bytes()) == ("A",)


# ---- as an option


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("1A", "without values"),
        ("", "without values"),
        ("A,", "without values"),
        (["A B"], "without values"),
        (["É"], "without values"),
        ([5], "without values"),
        ("TASKRUNNER_HOME", "not taskrunner's own"),
        ("A,B,A", "a list that has A once"),
        (5, "a list of names"),
    ],
)
def test_a_wrong_name_is_refused(runner, home, value, fault):
    with pytest.raises(InputError, match=f"--pass-env .*{fault}"):
        runner.add("x", ["true"], Manual(), pass_env=value)
    (home / "taskrunner.toml").write_text(f"pass_env = {json.dumps(value)}\n")
    with pytest.raises(InputError, match=f"pass_env in .*taskrunner.toml is .*{fault}"):
        config.load(str(home))


def test_a_value_in_place_of_a_name_is_not_repeated(home):
    words = ("add", "x", "--manual", "--pass-env", f"APP_SECRET={SECRET}", "--", "true")
    _, err, code = call(home, *words)
    hidden = "taskrunner: --pass-env APP_SECRET=*** has a value: give the name alone, or --env\n"
    assert (code, err) == (2, hidden)


def test_the_flag_may_be_repeated_and_is_reset_by_an_empty_text(home, runner):
    words = ("--pass-env", "A", "--pass-env", "B,C")
    assert call(home, "add", "x", "--manual", *words, "--", "true")[2] == 0
    assert runner.task("x").pass_env == ("A", "B", "C")
    assert 'pass_env = ["A", "B", "C"]' in call(home, "export", "x")[0]
    assert call(home, "set", "x", "--pass-env", "")[2] == 0
    assert runner.task("x").pass_env == ()
    assert "pass" not in call(home, "show", "x")[0]


def test_a_task_file_and_the_defaults_have_it(home, runner, tmp_path):
    (home / "taskrunner.toml").write_text('[defaults]\npass_env = ["A"]\n')
    file = tmp_path / "tasks.toml"
    file.write_text(
        '[tasks.x]\nmanual = true\ncommand = ["true"]\n'
        '[tasks.y]\nmanual = true\ncommand = ["true"]\npass_env = ["B", "C"]\n'
    )
    assert call(home, "apply", str(file))[2] == 0
    assert runner.task("x").pass_env == ("A",)
    assert runner.task("y").pass_env == ("B", "C")
    file.write_text(file.read_text().replace('"B", "C"', '"B B"'))
    _, err, code = call(home, "apply", str(file))
    assert code == 2
    assert err.startswith(f"taskrunner: {file}, line 7: ")


def test_a_crontab_cannot_say_it(home, runner):
    runner.add("x", ["true"], Every("1h"), pass_env=["A"])
    out, err, _ = call(home, "export", "--crontab")
    assert "cannot express: timeout 1h, pass-env A, overlap" in out + err
